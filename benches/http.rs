//! A request in process: from the call of a handler to the last byte of its answer, a fresh instance each, beside the bare
//! floor: a store, a WASI context, an instance and its answer, on the best pool, with nothing of ours around it.
//!
//! One caller shows the latency, several the rate on one thread and on two; then what every request adds when the caller
//! waits on another thread than the guests' is taken out by calling from theirs. The runtime has one thread more than it is
//! asked for, the floor has not.

#[path = "support/figures.rs"]
mod figures;
#[path = "support/guests.rs"]
mod guests;
#[path = "support/nowhere.rs"]
mod nowhere;
#[path = "support/pool.rs"]
mod pool;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use copepod_runtime::{
    Body, ContainerSpec, HttpHandler, Runtime, RuntimeConfig, Sandbox, SandboxSpec, Switch,
};
use figures::{Figure, Figures, median, quantile, time};
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use nowhere::Nowhere;
use pool::best_config;
use tokio::sync::oneshot;
use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::{Engine, Store};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const PORT: u16 = 80;
const SAMPLES: usize = 3_000;
/// The subjects take turns, so that a machine that slows down slows all of them.
const TURN: usize = 100;
/// Requests in flight, for the rate.
const CALLERS: usize = 16;
const PERIOD: Duration = Duration::from_secs(2);
const ROUNDS: usize = 5;

fn main() -> anyhow::Result<()> {
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("measures under `cargo bench --bench http` only");
        return Ok(());
    }
    let here = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let wasm = here.block_on(guests::guest("plain"))?;
    let floor = Floor::new(&wasm).map_err(into_anyhow)?;
    let mut figures = Figures::default();
    let two = here.block_on(Ours::new(&wasm, 2))?;
    here.block_on(latency(&mut figures, &floor, &two))?;
    let one = here.block_on(Ours::new(&wasm, 1))?;
    rates(&mut figures, &floor, &one, &two)?;
    figures.print_table();
    Ok(())
}

async fn latency(figures: &mut Figures, floor: &Floor, ours: &Ours) -> anyhow::Result<()> {
    let (mut bare, mut outside, mut inside) = (Vec::new(), Vec::new(), Vec::new());
    // The first turn warms up.
    for turn in 0..=SAMPLES / TURN {
        let (mut a, mut b) = (Vec::new(), Vec::new());
        for _ in 0..TURN {
            let start = Instant::now();
            floor.request().await?;
            a.push(start.elapsed().as_secs_f64());
        }
        for _ in 0..TURN {
            let start = Instant::now();
            ours.request().await?;
            b.push(start.elapsed().as_secs_f64());
        }
        let c = ours.inside(|ours| async move {
            let mut taken = Vec::new();
            for _ in 0..TURN {
                let start = Instant::now();
                ours.request().await?;
                taken.push(start.elapsed().as_secs_f64());
            }
            anyhow::Ok(taken)
        });
        let c = c.await??;
        if turn > 0 {
            bare.extend(a);
            outside.extend(b);
            inside.extend(c);
        }
    }
    let at = |samples: &[f64], place| time(Duration::from_secs_f64(quantile(samples, place)));
    figures.add(Figure::new("bare floor, p50", at(&bare, 0.5)));
    for (name, samples) in
        [("from the guests' threads", &inside), ("from another thread", &outside)]
    {
        for (place, percentile) in [(0.5, "p50"), (0.99, "p99")] {
            let ratio = quantile(samples, place) / quantile(&bare, place);
            figures.add(
                Figure::new(
                    format!("request in process, {name}, {percentile}"),
                    at(samples, place),
                )
                .against(at(&bare, place), ratio)
                .target(if place < 0.9 { "1.5× the floor" } else { "–" }),
            );
        }
    }
    Ok(())
}

fn rates(figures: &mut Figures, floor: &Floor, one: &Ours, two: &Ours) -> anyhow::Result<()> {
    let mut taken: [Vec<f64>; 4] = Default::default();
    for _ in 0..ROUNDS {
        let rates = [floor.rate(1)?, floor.rate(2)?, one.rate()?, two.rate()?];
        for (rate, taken) in rates.iter().zip(&mut taken) {
            taken.push(*rate);
        }
    }
    let [floor_one, floor_two, ours_one, ours_two] = taken.map(|rates| median(&rates));
    for (threads, floor, ours, target) in
        [("one thread", floor_one, ours_one, "–"), ("two threads", floor_two, ours_two, "80,000/s")]
    {
        figures.add(
            Figure::new(format!("requests in process, {threads}"), format!("{ours:.0}/s"))
                .against(format!("{floor:.0}/s"), ours / floor)
                .target(target),
        );
    }
    figures.add(
        Figure::new("two threads beside one", format!("{:.2}×", ours_two / ours_one))
            .against(format!("{:.2}×", floor_two / floor_one), {
                (ours_two / ours_one) / (floor_two / floor_one)
            })
            .target("no slowdown"),
    );
    Ok(())
}

fn request() -> anyhow::Result<Request<Body>> {
    let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
    Ok(Request::get(format!("http://{ADDRESS}:{PORT}/")).body(body)?)
}

fn into_anyhow(error: wasmtime::Error) -> anyhow::Error {
    anyhow::Error::from_boxed(error.into_boxed_dyn_error())
}

// ---- the floor

/// Wasmtime, and the least that a guest needs around it.
#[derive(Clone)]
struct Floor {
    engine: Engine,
    proxy: ProxyPre<Bare>,
}

struct Bare {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    table: ResourceTable,
}

impl WasiView for Bare {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for Bare {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            hooks: wasmtime_wasi_http::default_hooks(),
            table: &mut self.table,
            ctx: &mut self.http,
        }
    }
}

impl Floor {
    fn new(wasm: &Bytes) -> wasmtime::Result<Floor> {
        let engine = Engine::new(&best_config())?;
        let mut linker = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
        wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
        let component = Component::new(&engine, wasm)?;
        let proxy = ProxyPre::new(linker.instantiate_pre(&component)?)?;
        Ok(Floor { engine, proxy })
    }

    async fn request(&self) -> anyhow::Result<()> {
        let response = self.answer().await.map_err(into_anyhow)?;
        drop(response.into_body().collect().await?);
        Ok(())
    }

    async fn answer(
        &self,
    ) -> wasmtime::Result<
        hyper::Response<impl hyper::body::Body<Data = Bytes, Error = wasmtime_wasi_http::Error>>,
    > {
        let bare = Bare {
            wasi: WasiCtx::builder().build(),
            http: WasiHttpCtx::new(),
            table: ResourceTable::new(),
        };
        let mut store = Store::new(&self.engine, bare);
        let (respond, response) = oneshot::channel();
        let request = request().map_err(|error| wasmtime::format_err!("{error}"))?;
        let mut http = store.data_mut().http();
        let request = http.new_incoming_request(Scheme::Http, request)?;
        let out = http.new_response_outparam(respond)?;
        let proxy = self.proxy.instantiate_async(&mut store).await?;
        proxy.wasi_http_incoming_handler().call_handle(&mut store, request, out).await?;
        let answered = response.await.map_err(|_| wasmtime::format_err!("no response"))?;
        answered.map_err(|code| wasmtime::format_err!("{code:?}"))
    }

    /// Requests a second on so many threads, one at a time on each.
    fn rate(&self, threads: usize) -> anyhow::Result<f64> {
        let start = Instant::now();
        let running: Vec<_> = (0..threads)
            .map(|_| {
                let floor = self.clone();
                std::thread::spawn(move || {
                    let here = tokio::runtime::Builder::new_current_thread().build()?;
                    here.block_on(async {
                        let mut count = 0_u64;
                        while start.elapsed() < PERIOD {
                            floor.request().await?;
                            count += 1;
                        }
                        anyhow::Ok(count)
                    })
                })
            })
            .collect();
        let mut count = 0;
        for thread in running {
            count += thread.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??;
        }
        Ok(count as f64 / start.elapsed().as_secs_f64())
    }
}

// ---- the handler

/// The runtime as it ships, with one component in a sandbox.
#[derive(Clone)]
struct Ours {
    runtime: Arc<Runtime>,
    handler: HttpHandler,
    _sandbox: Arc<Sandbox>,
}

impl Ours {
    async fn new(wasm: &Bytes, threads: usize) -> anyhow::Result<Ours> {
        let config = RuntimeConfig { guest_threads: Some(threads), ..RuntimeConfig::default() };
        let runtime = Runtime::new(config)?;
        let switch = Switch::new();
        let spec = SandboxSpec {
            name: "bench".to_owned(),
            hostname: "bench".to_owned(),
            ip: ADDRESS,
            outside: Arc::new(Nowhere),
        };
        let sandbox = runtime.sandbox(&switch, spec)?;
        sandbox.start(ContainerSpec {
            args: vec!["plain".to_owned()],
            http_port: PORT,
            ..ContainerSpec::new(
                "plain",
                runtime.load("bench:plain", wasm.clone()).await?,
                Arc::new(Nowhere),
            )
        })?;
        let handler = switch.http(SocketAddr::new(ADDRESS, PORT));
        let handler = handler.ok_or_else(|| anyhow::anyhow!("nobody serves"))?;
        Ok(Ours { runtime, handler, _sandbox: Arc::new(sandbox) })
    }

    async fn request(&self) -> anyhow::Result<()> {
        let response = self.handler.call(request()?).await?;
        anyhow::ensure!(response.status().is_success(), "{}", response.status());
        drop(response.into_body().collect().await?);
        Ok(())
    }

    /// Runs work of the embedder on the guests' threads.
    fn inside<W, T>(&self, work: impl FnOnce(Ours) -> W) -> tokio::task::JoinHandle<T>
    where
        W: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        self.runtime.handle().spawn(work(self.clone()))
    }

    fn rate(&self) -> anyhow::Result<f64> {
        let start = Instant::now();
        let calling: Vec<_> = (0..CALLERS)
            .map(|_| {
                self.inside(|ours| async move {
                    let mut count = 0_u64;
                    while start.elapsed() < PERIOD {
                        ours.request().await?;
                        count += 1;
                    }
                    anyhow::Ok(count)
                })
            })
            .collect();
        let here = tokio::runtime::Builder::new_current_thread().build()?;
        let mut count = 0;
        for caller in calling {
            count += here.block_on(caller)??;
        }
        Ok(count as f64 / start.elapsed().as_secs_f64())
    }
}
