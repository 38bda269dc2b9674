//! What a guest's language costs: an instance, and from a `SandboxSpec` to the first answer or byte, the image warm.
//!
//! The guests in JavaScript and Python were initialised when they were built: their engines start from that memory. They
//! and the one in C are built by `just guests-all`; one that is not there is skipped, and that is said.

#[path = "support/figures.rs"]
mod figures;
#[path = "support/guests.rs"]
mod guests;
#[path = "support/nowhere.rs"]
mod nowhere;
#[path = "support/pool.rs"]
mod pool;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use copepod_runtime::{
    Artifact, Body, ContainerSpec, HttpError, Output, OutputStream, Runtime, RuntimeConfig,
    SandboxSpec, Switch, World,
};
use figures::{Figure, Figures, median, time};
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use nowhere::Nowhere;
use pool::best_config;
use wasmtime::component::{Component, InstancePre, Linker, ResourceTable};
use wasmtime::{Engine, Store};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView};

/// In turns, so that a machine that slows down slows all of them.
const TURNS: usize = 20;
const PER_TURN: usize = 20;

fn main() -> anyhow::Result<()> {
    // `cargo test` runs benches too: the guests are not there then, and there is nothing to see.
    if !std::env::args().any(|argument| argument == "--bench") {
        return Ok(());
    }
    let here = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    here.block_on(report())
}

async fn report() -> anyhow::Result<()> {
    let runtime = Runtime::new(RuntimeConfig::default())?;
    let floor = Floor::new()?;
    let mut figures = Figures::default();
    // A first one of each world is Rust's, which the others are held against.
    let commands = [("Rust", Some(guests::guest("agent").await?)), ("C", example("c-words")?)];
    let http = [
        ("Rust", Some(guests::guest("web").await?)),
        ("JavaScript", example("js-invoice")?),
        ("Python", example("python-stats")?),
    ];
    for guests in [&commands[..], &http[..]] {
        let mut subjects = Vec::new();
        for (language, wasm) in guests {
            match wasm {
                Some(wasm) => {
                    subjects.push(Subject::new(&runtime, &floor, language, wasm.clone()).await?);
                }
                None => println!("{language}: skipped, its guest is not built (`just guests-all`)"),
            }
        }
        measure(&mut figures, &floor, &subjects).await?;
    }
    figures.print_table();
    Ok(())
}

/// The built guest of an example; `None` where it is not built.
fn example(name: &str) -> anyhow::Result<Option<Bytes>> {
    let file = format!("examples/{name}/build/{name}.wasm");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    match std::fs::read(&path) {
        Ok(bytes) => Ok(Some(bytes.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

struct Subject {
    language: &'static str,
    runtime: Arc<Runtime>,
    artifact: Arc<Artifact>,
    /// On the floor's engine; a core module of preview 1 is not adapted there.
    bare: Option<InstancePre<Bare>>,
    switch: Arc<Switch>,
}

async fn measure(figures: &mut Figures, floor: &Floor, subjects: &[Subject]) -> anyhow::Result<()> {
    let mut instances = vec![Vec::new(); subjects.len()];
    let mut starts = vec![Vec::new(); subjects.len()];
    // The first turn warms up.
    for turn in 0..=TURNS {
        for (nth, subject) in subjects.iter().enumerate() {
            for _ in 0..PER_TURN {
                let instance = match &subject.bare {
                    Some(pre) => Some(floor.instance(pre).await.map_err(into_anyhow)?),
                    None => None,
                };
                let start = subject.start().await?;
                if turn > 0 {
                    instances[nth].extend(instance.map(|took| took.as_secs_f64()));
                    starts[nth].push(start.as_secs_f64());
                }
            }
        }
    }
    let Some(first) = subjects.first() else { return Ok(()) };
    let what = match first.artifact.world() {
        World::Command => "first byte",
        _ => "first answer",
    };
    for (name, samples) in [("an instance, and its end", &instances), (what, &starts)] {
        let baseline = median(&samples[0]);
        for (subject, samples) in subjects.iter().zip(samples).filter(|(_, s)| !s.is_empty()) {
            let took = median(samples);
            let shown = |seconds: f64| time(Duration::from_secs_f64(seconds));
            let mut figure = Figure::new(format!("{}: {name}, p50", subject.language), shown(took));
            if subject.language != first.language {
                figure = figure.against(shown(baseline), took / baseline);
                if subject.language == "JavaScript" {
                    figure = figure.target("10× Rust");
                }
            }
            figures.add(figure);
        }
    }
    Ok(())
}

impl Subject {
    async fn new(
        runtime: &Arc<Runtime>,
        floor: &Floor,
        language: &'static str,
        wasm: Bytes,
    ) -> anyhow::Result<Subject> {
        let size = wasm.len() >> 10;
        let bare = floor.prepare(&wasm);
        let begun = Instant::now();
        let artifact = runtime.load(&format!("bench:{language}-{size}"), wasm).await?;
        println!("{language}: {size} KiB, compiled in {}", time(begun.elapsed()));
        let (runtime, switch) = (runtime.clone(), Switch::new());
        Ok(Subject { language, runtime, artifact, bare, switch })
    }

    /// From the specification to the answer of the first request, or a command's first byte.
    async fn start(&self) -> anyhow::Result<Duration> {
        let first_byte = Arc::new(FirstByte::default());
        let container = ContainerSpec {
            args: ["agent", "print=started"].map(str::to_owned).into(),
            ..ContainerSpec::new(self.language, self.artifact.clone(), first_byte.clone())
        };
        let ip = IpAddr::from(Ipv4Addr::new(10, 0, 0, 1));
        let spec = SandboxSpec {
            name: "bench".to_owned(),
            hostname: "bench".to_owned(),
            ip,
            outside: Arc::new(Nowhere),
        };
        let start = Instant::now();
        let sandbox = self.runtime.sandbox(&self.switch, spec)?;
        let container = sandbox.start(container)?;
        if self.artifact.world() == World::Command {
            container.exited().await;
            let seen = first_byte.0.get().context("the guest wrote nothing")?;
            return Ok(seen.duration_since(start));
        }
        let handler = self.switch.http(SocketAddr::new(ip, 80)).context("a handler")?;
        let body = Empty::new().map_err(HttpError::from).boxed_unsync();
        let request: Request<Body> = Request::get("http://bench/").body(body)?;
        let response = handler.call(request).await?;
        let took = start.elapsed();
        anyhow::ensure!(response.status().as_u16() < 500, "{response:?}");
        response.into_body().collect().await?;
        Ok(took)
    }
}

/// When the guest first wrote.
#[derive(Default)]
struct FirstByte(OnceLock<Instant>);

impl Output for FirstByte {
    fn write(&self, _: OutputStream, _: &[u8]) {
        self.0.get_or_init(Instant::now);
    }
}

// ---- bare instances

/// Wasmtime's best pool, and nothing of ours.
struct Floor {
    engine: Engine,
    linker: Linker<Bare>,
}

struct Bare {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    hooks: Unused,
    table: ResourceTable,
}

/// The default way out, which no guest takes.
struct Unused;

impl WasiHttpHooks for Unused {}

impl WasiView for Bare {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for Bare {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.hooks, table: &mut self.table, ctx: &mut self.http }
    }
}

impl Floor {
    fn new() -> anyhow::Result<Floor> {
        let build = || {
            let engine = Engine::new(&best_config())?;
            let mut linker = Linker::new(&engine);
            wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
            wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
            Ok(Floor { engine, linker })
        };
        build().map_err(into_anyhow)
    }

    fn prepare(&self, wasm: &[u8]) -> Option<InstancePre<Bare>> {
        let component = Component::new(&self.engine, wasm).ok()?;
        self.linker.instantiate_pre(&component).ok()
    }

    /// A store, an instance, and the end of both.
    async fn instance(&self, pre: &InstancePre<Bare>) -> wasmtime::Result<Duration> {
        let start = Instant::now();
        let bare = Bare {
            wasi: WasiCtx::builder().build(),
            http: WasiHttpCtx::new(),
            hooks: Unused,
            table: ResourceTable::new(),
        };
        let mut store = Store::new(&self.engine, bare);
        pre.instantiate_async(&mut store).await?;
        drop(store);
        Ok(start.elapsed())
    }
}

fn into_anyhow(error: wasmtime::Error) -> anyhow::Error {
    anyhow::Error::from_boxed(error.into_boxed_dyn_error())
}
