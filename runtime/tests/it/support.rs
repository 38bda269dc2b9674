//! Fixtures: built guests, one runtime for all tests, a world with names and routes, recorded output.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use copepod_runtime::{
    Artifact, Container, ContainerSpec, Output, OutputStream, Outside, PoolConfig, Protocol, Route,
    Runtime, RuntimeConfig, Sandbox, SandboxSpec, Switch,
};
use tokio::sync::Notify;

/// Far beyond what anything here takes: passed only by a bug.
pub const DEADLINE: Duration = Duration::from_secs(60);

pub async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, work).await {
        Ok(done) => done,
        Err(_) => panic!("not within {DEADLINE:?}: {what}"),
    }
}

fn temporary() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
}

/// The guest's bytes; all guests are built once a process.
pub fn guest(file: &str) -> Bytes {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let dir = BUILT.get_or_init(|| {
        let target = temporary().join("guests");
        let built = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--target", "wasm32-wasip2"])
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/guests"))
            .env("CARGO_TARGET_DIR", &target)
            .status()
            .expect("run cargo");
        assert!(built.success(), "the guests do not build");
        target.join("wasm32-wasip2/debug")
    });
    std::fs::read(dir.join(file)).expect("read a guest").into()
}

/// One runtime for all tests: guests are compiled once.
pub fn runtime() -> &'static Arc<Runtime> {
    static RUNTIME: OnceLock<Arc<Runtime>> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        Runtime::new(RuntimeConfig {
            cache_dir: None,
            cache_bytes_max: None,
            guest_threads: Some(2),
            pool: PoolConfig { instances: 200 },
        })
        .expect("start the runtime")
    })
}

pub async fn command() -> Arc<Artifact> {
    let wasm = guest("command-guest.wasm");
    runtime().load("test:command", wasm).await.unwrap()
}

pub async fn http() -> Arc<Artifact> {
    let wasm = guest("http_guest.wasm");
    runtime().load("test:http", wasm).await.unwrap()
}

pub async fn p3_command() -> Arc<Artifact> {
    let wasm = guest("p3_command_guest.wasm");
    runtime().load("test:p3-command", wasm).await.unwrap()
}

pub async fn p3_http() -> Arc<Artifact> {
    let wasm = guest("p3_http_guest.wasm");
    runtime().load("test:p3-http", wasm).await.unwrap()
}

/// What lies outside: names, and routes that differ from "the switch".
#[derive(Default)]
pub struct World {
    pub names: Mutex<HashMap<String, IpAddr>>,
    pub routes: Mutex<HashMap<SocketAddr, Route>>,
    /// Ways that are given out once each, before `routes` is asked.
    pub turns: Mutex<HashMap<SocketAddr, VecDeque<SocketAddr>>>,
}

#[async_trait::async_trait]
impl Outside for World {
    async fn resolve(&self, _: IpAddr, name: &str) -> io::Result<Vec<IpAddr>> {
        let found = self.names.lock().unwrap().get(name).copied();
        found.map(|ip| vec![ip]).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn route(&self, _: SocketAddr, to: SocketAddr, _: Protocol) -> Route {
        let turn = self.turns.lock().unwrap().get_mut(&to).and_then(VecDeque::pop_front);
        if let Some(turn) = turn {
            return Route::Switch(turn);
        }
        let routes = self.routes.lock().unwrap();
        routes.get(&to).copied().unwrap_or(Route::Switch(to))
    }
}

/// A switch and what lies outside of it.
pub struct Net {
    pub switch: Arc<Switch>,
    pub world: Arc<World>,
}

impl Net {
    pub fn new() -> Net {
        Net { switch: Switch::new(), world: Arc::default() }
    }

    pub fn name(&self, name: &str, ip: &str) {
        let ip = ip.parse().unwrap();
        self.world.names.lock().unwrap().insert(name.to_owned(), ip);
    }

    pub fn route(&self, from: &str, to: Route) {
        let from = from.parse().unwrap();
        self.world.routes.lock().unwrap().insert(from, to);
    }

    pub fn turns(&self, from: &str, ways: &[&str]) {
        let from = from.parse().unwrap();
        let ways = ways.iter().map(|way| way.parse().unwrap()).collect();
        self.world.turns.lock().unwrap().insert(from, ways);
    }

    pub fn sandbox(&self, ip: &str) -> Sandbox {
        let spec = SandboxSpec {
            name: format!("sandbox-{ip}"),
            hostname: "myself".to_owned(),
            ip: ip.parse().unwrap(),
            outside: self.world.clone(),
        };
        runtime().sandbox(&self.switch, spec).unwrap()
    }
}

/// Keeps what a container writes.
#[derive(Default)]
pub struct Recorder {
    text: Mutex<(String, String)>,
    grown: Notify,
}

impl Recorder {
    pub fn stdout(&self) -> String {
        self.text.lock().unwrap().0.clone()
    }

    pub fn stderr(&self) -> String {
        self.text.lock().unwrap().1.clone()
    }

    /// Waits until standard output holds `part`.
    pub async fn says(&self, part: &str) {
        let wait = async {
            loop {
                let grown = self.grown.notified();
                tokio::pin!(grown);
                grown.as_mut().enable();
                if self.stdout().contains(part) {
                    return;
                }
                grown.await;
            }
        };
        if tokio::time::timeout(DEADLINE, wait).await.is_err() {
            panic!("never said {part:?}: {:?} {:?}", self.stdout(), self.stderr());
        }
    }
}

impl Output for Recorder {
    fn write(&self, stream: OutputStream, bytes: &[u8]) {
        let mut text = self.text.lock().unwrap();
        let bytes = String::from_utf8_lossy(bytes);
        match stream {
            OutputStream::Stdout => text.0.push_str(&bytes),
            OutputStream::Stderr => text.1.push_str(&bytes),
        }
        drop(text);
        self.grown.notify_waiters();
    }
}

pub fn spec(artifact: Arc<Artifact>, args: &[&str]) -> (ContainerSpec, Arc<Recorder>) {
    let recorder = Arc::new(Recorder::default());
    let spec = ContainerSpec {
        args: [&["guest"], args].concat().iter().map(|arg| (*arg).to_owned()).collect(),
        ..ContainerSpec::new("main", artifact, recorder.clone())
    };
    (spec, recorder)
}

/// Starts a command in the sandbox.
pub async fn start(sandbox: &Sandbox, args: &[&str]) -> (Container, Arc<Recorder>) {
    let (spec, recorder) = spec(command().await, args);
    (sandbox.start(spec).unwrap(), recorder)
}

/// Runs a command to its exit, which must be good, and returns what it wrote.
pub async fn run(sandbox: &Sandbox, args: &[&str]) -> String {
    let (container, recorder) = start(sandbox, args).await;
    let exit = soon("the command's exit", container.exited()).await;
    assert_eq!(exit.code, 0, "{exit:?}: {}", recorder.stderr());
    recorder.stdout()
}
