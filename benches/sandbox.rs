//! Sandbox start: from a [`SandboxSpec`] to the guest's first byte, the image warm, beside the bare floor: a store, a
//! WASI context, an instance and a run to the first byte, on the best pool, with nothing of ours around it.
//!
//! The floor is taken twice: on the calling thread, and spawned onto other threads as the runtime does. Their difference
//! is the price of waking a thread, which keeps guests apart from the API server. So are starts: one after another, where
//! a guest thread stays awake for the next, and each alone, when all of them sleep.
//!
//! Criterion watches for regressions; the percentiles and ratios come from samples of our own, the subjects in turns.

#[path = "support/figures.rs"]
mod figures;
#[path = "support/guests.rs"]
mod guests;
#[path = "support/nowhere.rs"]
mod nowhere;
#[path = "support/pool.rs"]
mod pool;

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use copepod_runtime::{
    Artifact, Container, ContainerSpec, Output, OutputStream, Outside, Runtime, RuntimeConfig,
    Sandbox, SandboxSpec, Switch,
};
use criterion::Criterion;
use figures::{Figure, Figures, quantile, time};
use nowhere::Nowhere;
use pool::best_config;
use tokio::io::AsyncWrite;
use tokio::task::JoinHandle;
use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::{Engine, Store};
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::bindings::CommandPre;
use wasmtime_wasi::p2::{OutputStream as WasiOutputStream, Pollable, StreamResult};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView, async_trait};

/// The guest prints a line at once, and ends.
const ARGS: [&str; 2] = ["agent", "print=started"];
const SAMPLES: usize = 3_000;
/// The subjects take turns, so that a machine that slows down slows all of them.
const TURN: usize = 100;
/// The first of a turn find the guests' threads asleep; they count for neither kind of start.
const FIRST: usize = 2;
/// Long enough for the guests' threads to fall asleep.
const REST: Duration = Duration::from_millis(1);
/// Sandboxes that start at once, for the rate.
const BURST: usize = 1_000;
const BURSTS: usize = 20;

fn main() -> anyhow::Result<()> {
    let here = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let bench = here.block_on(Bench::new())?;
    let mut criterion = Criterion::default().configure_from_args();
    regressions(&mut criterion, &here, &bench);
    criterion.final_summary();
    // `cargo test` runs benches too, to see that they still work: then once is enough.
    if std::env::args().any(|argument| argument == "--bench") {
        here.block_on(report(&bench))?;
    }
    Ok(())
}

fn regressions(criterion: &mut Criterion, here: &tokio::runtime::Runtime, bench: &Bench) {
    let mut group = criterion.benchmark_group("sandbox");
    for subject in [Subject::Floor, Subject::FloorSpawned, Subject::Start] {
        group.bench_function(subject.name(), |bencher| {
            bencher.to_async(here).iter_custom(|iterations| async move {
                let mut total = Duration::ZERO;
                for _ in 0..iterations {
                    // Criterion has no way to be told of a failure.
                    total += bench.once(subject).await.expect("the guest runs");
                }
                total
            });
        });
    }
    group.finish();
}

async fn report(bench: &Bench) -> anyhow::Result<()> {
    let mut figures = Figures::default();
    let [floor, spawned, start, alone] = &samples(bench).await?;
    let at = |samples: &[f64], place| Duration::from_secs_f64(quantile(samples, place));
    let (floor_p50, spawned_p50) = (at(floor, 0.5), at(spawned, 0.5));
    figures.add(Figure::new("bare floor, p50", time(floor_p50)));
    figures.add(Figure::new("bare floor, p99", time(at(floor, 0.99))));
    figures.add(
        Figure::new("bare floor on another thread, p50", time(spawned_p50))
            .against(time(floor_p50), quantile(spawned, 0.5) / quantile(floor, 0.5)),
    );
    figures.add(
        Figure::new("sandbox start, p50", time(at(start, 0.5)))
            .against(time(floor_p50), quantile(start, 0.5) / quantile(floor, 0.5))
            .target("2×, then 1.5× the floor"),
    );
    figures.add(
        Figure::new("sandbox start, p50, beside the floor on another thread", time(at(start, 0.5)))
            .against(time(spawned_p50), quantile(start, 0.5) / quantile(spawned, 0.5)),
    );
    figures.add(
        Figure::new("sandbox start, all threads asleep, p50", time(at(alone, 0.5)))
            .against(time(spawned_p50), quantile(alone, 0.5) / quantile(spawned, 0.5)),
    );
    figures.add(Figure::new("sandbox start, all threads asleep, p99", time(at(alone, 0.99))));
    figures.add(
        Figure::new("sandbox start, p99", time(at(start, 0.99)))
            .against(time(at(floor, 0.99)), quantile(start, 0.99) / quantile(floor, 0.99))
            .target("50 µs, then 25 µs"),
    );
    let (floor_rate, rate) = rates(bench).await?;
    figures.add(
        Figure::new("sandboxes started and ended a second", format!("{rate:.0}/s"))
            .against(format!("{floor_rate:.0}/s"), rate / floor_rate),
    );
    figures.print_table();
    Ok(())
}

/// Seconds of each subject.
async fn samples(bench: &Bench) -> anyhow::Result<[Vec<f64>; 4]> {
    let mut taken = [const { Vec::new() }; 4];
    // The first turn warms up.
    for turn in 0..=SAMPLES / TURN {
        for (subject, taken) in Subject::ALL.into_iter().zip(&mut taken) {
            for nth in 0..TURN {
                if matches!(subject, Subject::StartAlone) {
                    tokio::time::sleep(REST).await;
                }
                let sample = bench.once(subject).await?;
                if turn > 0 && nth >= FIRST {
                    taken.push(sample.as_secs_f64());
                }
            }
        }
    }
    Ok(taken)
}

/// Whole lives a second, of bare instances and of sandboxes, on as many threads.
async fn rates(bench: &Bench) -> anyhow::Result<(f64, f64)> {
    let (mut floor, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..BURSTS {
        let start = Instant::now();
        let running: Vec<_> = (0..BURST).map(|_| bench.spawn_floor()).collect();
        for run in running {
            run.await??;
        }
        floor.push(BURST as f64 / start.elapsed().as_secs_f64());
        let start = Instant::now();
        let running: Vec<_> =
            (0..BURST).map(|nth| bench.ours.start(address(nth))).collect::<Result<_, _>>()?;
        for run in running {
            run.first_byte().await?;
        }
        ours.push(BURST as f64 / start.elapsed().as_secs_f64());
    }
    Ok((figures::median(&floor), figures::median(&ours)))
}

fn address(nth: usize) -> IpAddr {
    let first = u32::from(Ipv4Addr::new(10, 0, 0, 1));
    Ipv4Addr::from(first + u32::try_from(nth).unwrap_or(0)).into()
}

#[derive(Clone, Copy)]
enum Subject {
    Floor,
    FloorSpawned,
    Start,
    StartAlone,
}

impl Subject {
    const ALL: [Subject; 4] =
        [Subject::Floor, Subject::FloorSpawned, Subject::Start, Subject::StartAlone];

    fn name(self) -> &'static str {
        match self {
            Subject::Floor => "floor",
            Subject::FloorSpawned => "floor_spawned",
            Subject::Start => "sandbox_start",
            Subject::StartAlone => "sandbox_start_alone",
        }
    }
}

struct Bench {
    floor: Floor,
    /// As many threads as the runtime has for guests.
    threads: tokio::runtime::Runtime,
    ours: Ours,
}

impl Bench {
    async fn new() -> anyhow::Result<Bench> {
        let wasm = guests::guest("agent").await?;
        let floor = Floor::new(&wasm).map_err(into_anyhow)?;
        let threads = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        Ok(Bench { floor, threads, ours: Ours::new(wasm).await? })
    }

    fn spawn_floor(&self) -> JoinHandle<anyhow::Result<Duration>> {
        let (start, floor) = (Instant::now(), self.floor.clone());
        self.threads.spawn(async move { floor.run(start).await })
    }

    /// From the start to the first byte, after which the guest is let end.
    async fn once(&self, subject: Subject) -> anyhow::Result<Duration> {
        match subject {
            Subject::Floor => self.floor.run(Instant::now()).await,
            Subject::FloorSpawned => self.spawn_floor().await?,
            Subject::Start | Subject::StartAlone => self.ours.start(address(0))?.first_byte().await,
        }
    }
}

/// When the guest first wrote: known at once, on the guest's own thread.
#[derive(Default)]
struct FirstByte(OnceLock<Instant>);

impl FirstByte {
    fn seen(&self) {
        self.0.get_or_init(Instant::now);
    }

    fn since(&self, start: Instant) -> anyhow::Result<Duration> {
        let seen = self.0.get().ok_or_else(|| anyhow::anyhow!("the guest wrote nothing"))?;
        Ok(seen.duration_since(start))
    }
}

// ---- the floor

/// Wasmtime, and the least that a guest needs around it.
#[derive(Clone)]
struct Floor {
    engine: Engine,
    command: CommandPre<Bare>,
}

struct Bare {
    wasi: WasiCtx,
    table: ResourceTable,
}

impl WasiView for Bare {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl Floor {
    fn new(wasm: &Bytes) -> wasmtime::Result<Floor> {
        let engine = Engine::new(&best_config())?;
        let mut linker = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
        let component = Component::new(&engine, wasm)?;
        let command = CommandPre::new(linker.instantiate_pre(&component)?)?;
        Ok(Floor { engine, command })
    }

    async fn run(&self, start: Instant) -> anyhow::Result<Duration> {
        let first_byte = Arc::new(FirstByte::default());
        self.guest(first_byte.clone()).await.map_err(into_anyhow)?;
        first_byte.since(start)
    }

    async fn guest(&self, first_byte: Arc<FirstByte>) -> wasmtime::Result<()> {
        let mut wasi = WasiCtx::builder();
        wasi.args(&ARGS).stdout(Sink(first_byte));
        let bare = Bare { wasi: wasi.build(), table: ResourceTable::new() };
        let mut store = Store::new(&self.engine, bare);
        let command = self.command.instantiate_async(&mut store).await?;
        let ended = command.wasi_cli_run().call_run(&mut store).await?;
        ended.map_err(|()| wasmtime::format_err!("the guest failed"))
    }
}

fn into_anyhow(error: wasmtime::Error) -> anyhow::Error {
    anyhow::Error::from_boxed(error.into_boxed_dyn_error())
}

/// Tells when something is written, and forgets it.
#[derive(Clone)]
struct Sink(Arc<FirstByte>);

impl IsTerminal for Sink {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Sink {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn WasiOutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait]
impl WasiOutputStream for Sink {
    fn write(&mut self, _: Bytes) -> StreamResult<()> {
        self.0.seen();
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(64 << 10)
    }
}

#[async_trait]
impl Pollable for Sink {
    async fn ready(&mut self) {}
}

impl AsyncWrite for Sink {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.seen();
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

// ---- the sandbox

/// The runtime as it ships, with a warm artifact.
struct Ours {
    runtime: Arc<Runtime>,
    artifact: Arc<Artifact>,
    switch: Arc<Switch>,
    outside: Arc<dyn Outside>,
}

/// A sandbox with its one container.
struct Started {
    start: Instant,
    first_byte: Arc<FirstByte>,
    sandbox: Sandbox,
    container: Container,
}

impl Ours {
    async fn new(wasm: Bytes) -> anyhow::Result<Ours> {
        let runtime = Runtime::new(RuntimeConfig::default())?;
        let artifact = runtime.load("bench:agent", wasm).await?;
        Ok(Ours { runtime, artifact, switch: Switch::new(), outside: Arc::new(Nowhere) })
    }

    fn start(&self, ip: IpAddr) -> anyhow::Result<Started> {
        let first_byte = Arc::new(FirstByte::default());
        let container = ContainerSpec {
            args: ARGS.map(str::to_owned).into(),
            ..ContainerSpec::new("agent", self.artifact.clone(), first_byte.clone())
        };
        let spec = SandboxSpec {
            name: "bench".to_owned(),
            hostname: "bench".to_owned(),
            ip,
            outside: self.outside.clone(),
        };
        let start = Instant::now();
        let sandbox = self.runtime.sandbox(&self.switch, spec)?;
        let container = sandbox.start(container)?;
        Ok(Started { start, first_byte, sandbox, container })
    }
}

impl Started {
    /// How long it took until the first byte; lets the guest end.
    async fn first_byte(self) -> anyhow::Result<Duration> {
        let exit = self.container.exited().await;
        anyhow::ensure!(exit.code == 0, "the guest failed: {exit:?}");
        self.sandbox.close();
        self.first_byte.since(self.start)
    }
}

impl Output for FirstByte {
    fn write(&self, _: OutputStream, _: &[u8]) {
        self.seen();
    }
}
