//! What a neighbour feels of a hostile guest: the latency of its HTTP requests alone and during each attack, and how long
//! a kill takes. The attacks are those of the runtime's tests (`runtime/tests/guests/hostile`), the runtime is as it
//! ships, and the requests are made in process, one after another, with a fresh instance each.

#[path = "support/figures.rs"]
mod figures;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use copepod_runtime::{
    Artifact, Body, Container, ContainerSpec, HttpError, HttpHandler, Output, OutputStream,
    Outside, Protocol, Route, Runtime, RuntimeConfig, Sandbox, SandboxSpec, Switch,
};
use figures::{Figure, Figures, median, quantile, time};
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use tokio::sync::Notify;
use wasmtime_wasi::async_trait;

/// How long the neighbour is asked during each attack.
const ASKED_FOR: Duration = Duration::from_secs(3);
const KILLS: usize = 20;
const KILLS_TARGET: Duration = Duration::from_millis(10);

/// An attack: the hostile command's arguments, how many do it at once, and its memory limit in MiB.
const ATTACKS: &[(&str, &[&str], usize, u64)] = &[
    ("an endless loop", &["spin"], 1, 64),
    ("20 endless loops", &["spin"], 20, 64),
    ("endless recursion, again and again", &["recurse"], 2, 64),
    ("a memory bomb, again and again", &["grow"], 2, 256),
    ("filling 64 MiB, 4 guests", &["fill", "64"], 4, 128),
    ("100,000 sockets", &["sockets", "100000"], 1, 64),
    ("handles without end, again and again", &["handles"], 2, 64),
    ("1,000 connections that nobody reads", &["buffers", "1000"], 1, 64),
    ("a flood of output, 4 guests", &["flood"], 4, 64),
];

/// HTTP attacks: the path, and how many requests at once.
const REQUESTS: &[(&str, &str, usize)] = &[
    ("64 requests that never end", "/spin", 64),
    ("64 bodies of a byte a second", "/drip", 64),
    ("64 bodies that nobody reads", "/gush", 64),
    ("64 answers with 10 MB of headers", "/headers?10000000", 64),
];

fn main() -> anyhow::Result<()> {
    // `cargo test` runs benches too; the attacks have tests of their own.
    if !std::env::args().any(|argument| argument == "--bench") {
        return Ok(());
    }
    let here =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    here.block_on(report())
}

async fn report() -> anyhow::Result<()> {
    let scene = Scene::set().await?;
    let mut figures = Figures::default();
    let alone = scene.ask(ASKED_FOR).await?;
    figures.add(Figure::new("neighbour alone, p50", time(alone.p50)));
    figures.add(Figure::new("neighbour alone, p99", time(alone.p99)));
    for (name, args, count, mib) in ATTACKS {
        let attack = scene.attack(args, *count, mib << 20).await?;
        let during = scene.ask(ASKED_FOR).await?;
        attack.end().await;
        add(&mut figures, name, &alone, &during);
    }
    for (name, path, count) in REQUESTS {
        let attack = scene.request(path, *count).await?;
        let during = scene.ask(ASKED_FOR).await?;
        attack.end().await;
        add(&mut figures, name, &alone, &during);
    }
    for args in [
        &["spin"][..],
        &["fill", "64"],
        &["fill", "1024"],
        &["copy", "1024"],
        &["random"],
        &["sleep"],
    ] {
        let mut took = Vec::new();
        for _ in 0..KILLS {
            took.push(scene.kill(args).await?.as_secs_f64());
        }
        let name = format!("kill of `{}`", args.join(" "));
        let of = |seconds| time(Duration::from_secs_f64(seconds));
        figures
            .add(Figure::new(format!("{name}, p50"), of(median(&took))).target(time(KILLS_TARGET)));
        figures.add(
            Figure::new(format!("{name}, worst of {KILLS}"), of(quantile(&took, 1.0)))
                .target(time(KILLS_TARGET)),
        );
    }
    figures.print_table();
    Ok(())
}

fn add(figures: &mut Figures, name: &str, alone: &Latency, during: &Latency) {
    for (which, during, alone) in [("p50", during.p50, alone.p50), ("p99", during.p99, alone.p99)] {
        let ratio = during.as_secs_f64() / alone.as_secs_f64();
        figures.add(
            Figure::new(format!("during {name}, {which}"), time(during))
                .against(time(alone), ratio),
        );
    }
}

struct Latency {
    p50: Duration,
    p99: Duration,
}

struct Scene {
    runtime: Arc<Runtime>,
    command: Arc<Artifact>,
    http: Arc<Artifact>,
    switch: Arc<Switch>,
    neighbour: HttpHandler,
    _sandbox: Sandbox,
}

/// Attacks under way.
struct Attack {
    sandbox: Sandbox,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Attack {
    async fn end(self) {
        for task in &self.tasks {
            task.abort();
        }
        self.sandbox.close();
        // What they have left behind is not the next one's.
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

impl Scene {
    async fn set() -> anyhow::Result<Scene> {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("runtime/tests/guests");
        let built = copepod_sdk::guests::build(&dir).await?;
        let read = |name: &str| -> anyhow::Result<Bytes> {
            let guest = built.iter().find(|guest| guest.name == name);
            let path = &guest.with_context(|| format!("no guest {name}"))?.wasm;
            Ok(std::fs::read(path)?.into())
        };
        let runtime = Runtime::new(RuntimeConfig::default())?;
        let command = runtime.load("bench:hostile", read("hostile-guest")?).await?;
        let http = runtime.load("bench:hostile-http", read("hostile_http_guest")?).await?;
        let switch = Switch::new();
        let sandbox = attach(&runtime, &switch, [10, 0, 0, 2])?;
        sandbox.start(spec(&http, &[], Arc::default()))?;
        let neighbour = switch.http(([10, 0, 0, 2], 80).into()).context("the neighbour")?;
        Ok(Scene { runtime, command, http, switch, neighbour, _sandbox: sandbox })
    }

    /// Asks the neighbour for a while, one request after another.
    async fn ask(&self, time: Duration) -> anyhow::Result<Latency> {
        let (begun, mut took) = (Instant::now(), Vec::new());
        while begun.elapsed() < time {
            let asked = Instant::now();
            let response = self.neighbour.call(get("/hello")).await?;
            anyhow::ensure!(
                response.status() == 200,
                "the neighbour answered {}",
                response.status()
            );
            response.into_body().collect().await?;
            took.push(asked.elapsed().as_secs_f64());
        }
        let at = |fraction| Duration::from_secs_f64(quantile(&took, fraction));
        Ok(Latency { p50: at(0.5), p99: at(0.99) })
    }

    /// Runs the hostile command so many times at once; one that ends is started again.
    async fn attack(&self, args: &[&str], count: usize, memory: u64) -> anyhow::Result<Attack> {
        let sandbox = attach(&self.runtime, &self.switch, [10, 0, 0, 1])?;
        let mut tasks = Vec::new();
        // The sandbox stays with the attack; each task keeps what it needs to start anew.
        let starts: Vec<_> = (0..count).map(|_| Arc::<Heard>::default()).collect();
        for heard in &starts {
            start(&sandbox, &self.command, args, memory, heard)?;
        }
        for heard in &starts {
            heard.wait().await;
        }
        let again = args[0] == "recurse" || args[0] == "grow" || args[0] == "handles";
        if again {
            let own = attach(&self.runtime, &self.switch, [10, 0, 0, 3])?;
            let (command, args) = (
                self.command.clone(),
                args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>(),
            );
            tasks.push(tokio::spawn(async move {
                let args: Vec<_> = args.iter().map(String::as_str).collect();
                while let Ok(container) = start(&own, &command, &args, memory, &Arc::default()) {
                    container.exited().await;
                }
            }));
        }
        Ok(Attack { sandbox, tasks })
    }

    async fn request(&self, path: &str, count: usize) -> anyhow::Result<Attack> {
        let sandbox = attach(&self.runtime, &self.switch, [10, 0, 0, 1])?;
        sandbox.start(spec(&self.http, &[], Arc::default()))?;
        let handler = self.switch.http(([10, 0, 0, 1], 80).into()).context("the attacker")?;
        let requests = (0..count).map(|_| {
            let (handler, path) = (handler.clone(), path.to_owned());
            tokio::spawn(async move {
                // An answer is held, and not read; one that ends is asked for again.
                while let Ok(held) = handler.call(get(&path)).await {
                    if held.status() != 200 || path.starts_with("/headers") {
                        continue;
                    }
                    std::future::pending::<()>().await;
                }
            })
        });
        let tasks = requests.collect();
        tokio::time::sleep(Duration::from_millis(500)).await;
        Ok(Attack { sandbox, tasks })
    }

    async fn kill(&self, args: &[&str]) -> anyhow::Result<Duration> {
        let sandbox = attach(&self.runtime, &self.switch, [10, 0, 0, 1])?;
        let heard = Arc::default();
        let container = start(&sandbox, &self.command, args, 4 << 30, &heard)?;
        heard.wait().await;
        // Somewhere in the middle of what it does.
        tokio::time::sleep(Duration::from_millis(23)).await;
        let killed = Instant::now();
        container.kill();
        container.exited().await;
        Ok(killed.elapsed())
    }
}

fn start(
    sandbox: &Sandbox,
    command: &Arc<Artifact>,
    args: &[&str],
    memory: u64,
    heard: &Arc<Heard>,
) -> anyhow::Result<Container> {
    let mut spec = spec(command, args, heard.clone());
    spec.limits.memory.bytes = Some(memory);
    Ok(sandbox.start(spec)?)
}

fn attach(runtime: &Runtime, switch: &Arc<Switch>, ip: [u8; 4]) -> anyhow::Result<Sandbox> {
    let spec = SandboxSpec {
        name: "bench".to_owned(),
        hostname: "bench".to_owned(),
        ip: IpAddr::from(ip),
        outside: Arc::new(Within),
    };
    Ok(runtime.sandbox(switch, spec)?)
}

fn spec(artifact: &Arc<Artifact>, args: &[&str], heard: Arc<Heard>) -> ContainerSpec {
    ContainerSpec {
        args: [&["guest"], args].concat().iter().map(|arg| (*arg).to_owned()).collect(),
        ..ContainerSpec::new("main", artifact.clone(), heard)
    }
}

fn get(path: &str) -> Request<Body> {
    let empty = Empty::new().map_err(HttpError::from).boxed_unsync();
    Request::get(format!("http://service.example{path}")).body(empty).expect("a request")
}

/// Hears that an attack has begun, and forgets the rest.
#[derive(Default)]
struct Heard(Notify);

impl Heard {
    async fn wait(&self) {
        self.0.notified().await;
    }
}

impl Output for Heard {
    fn write(&self, _: OutputStream, _: &[u8]) {
        self.0.notify_one();
    }
}

/// No names; every address is the switch's.
struct Within;

#[async_trait]
impl Outside for Within {
    async fn resolve(&self, _: IpAddr, _: &str) -> io::Result<Vec<IpAddr>> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn route(&self, _: SocketAddr, to: SocketAddr, _: Protocol) -> Route {
        Route::Switch(to)
    }
}
