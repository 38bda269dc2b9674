//! A container: one artifact with its arguments, mounts and limits, from its start to its exit.
//!
//! A command is one task on the guests' threads. An HTTP component is no task at all: it is a handler in the switch, and
//! an instance only while a request runs. Every way to end passes through `Inner::finish`, once.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::io::AsyncRead;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;
use wasmtime::component::Accessor;
use wasmtime_wasi::cli::AsyncStdinStream;
use wasmtime_wasi::{FsPerms, I32Exit, WasiCtx};

use crate::activity::Activity;
use crate::artifact::{Artifact, Instance, World};
use crate::bounds::Limits;
use crate::clocks::{self, Determinism};
use crate::compose::UnmetImport;
use crate::context::{Ctx, give_back};
use crate::engine::Shared;
use crate::gate::Gate;
use crate::host::{Host, Setup};
use crate::http::HttpHandler;
use crate::latency::LatencyCounts;
use crate::limits::{Account, Metered};
use crate::neighbours::Neighbourhood;
use crate::net::guest::NetCtx;
use crate::net::{Dialer, PortTaken, Reservation};
use crate::output::{Faucet, Output, OutputStream, Pipe};
use crate::reuse::Reuse;

/// Random bytes of one call; more is a trap. A call is not interrupted, and a kill should not wait for it.
const RANDOM_BYTES_MAX: u64 = 1 << 20;

pub struct ContainerSpec {
    pub name: String,
    pub artifact: Arc<Artifact>,
    /// `argv`: the first is the program.
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
    /// What `wasi:config/store` answers; of two values of a key the later counts.
    pub config: Vec<(String, String)>,
    pub mounts: Vec<Mount>,
    pub working_dir: Option<String>,
    pub limits: Limits,
    /// What the guest's clocks are rounded down to: [`RESOLUTION_DEFAULT`](crate::RESOLUTION_DEFAULT) unless it needs
    /// a finer one.
    pub clock_resolution: Duration,
    /// For tests. Default: real clocks and random numbers.
    pub determinism: Option<Determinism>,
    /// Where an HTTP component is served; without meaning for a command.
    pub http_port: u16,
    /// `None`: an HTTP component gets a fresh instance for each request.
    pub reuse: Option<Reuse>,
    pub output: Arc<dyn Output>,
    /// For a command; an HTTP component's is closed.
    pub stdin: Stdin,
}

impl ContainerSpec {
    /// With no arguments, environment, mounts or input, and every limit at its default.
    pub fn new(name: &str, artifact: Arc<Artifact>, output: Arc<dyn Output>) -> ContainerSpec {
        ContainerSpec {
            name: name.to_owned(),
            artifact,
            args: Vec::new(),
            env: Vec::new(),
            config: Vec::new(),
            mounts: Vec::new(),
            working_dir: None,
            limits: Limits::default(),
            clock_resolution: clocks::RESOLUTION_DEFAULT,
            determinism: None,
            http_port: 80,
            reuse: None,
            output,
            stdin: Stdin::Closed,
        }
    }
}

/// A folder of the host, as a folder of the guest.
#[derive(Debug, Clone)]
pub struct Mount {
    pub guest_path: String,
    pub host_dir: PathBuf,
    pub read_only: bool,
}

pub enum Stdin {
    Closed,
    Reader(Box<dyn AsyncRead + Send + Sync + Unpin>),
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("mount {} at {guest_path}", host_dir.display())]
    Mount { guest_path: String, host_dir: PathBuf, source: std::io::Error },
    #[error(
        "port {port} is already served in this sandbox: each HTTP component needs a port of its own"
    )]
    PortInUse { port: u16 },
    #[error("sandbox {sandbox} is closed")]
    SandboxClosed { sandbox: String },
    #[error("imports that nobody gives: {}", list(unmet))]
    Imports { unmet: Vec<UnmetImport> },
    #[error("imports from container {with}, which imports from this one")]
    Cycle { with: String },
    #[error("link it with other containers: {reason}")]
    Link { reason: String },
}

fn list(unmet: &[UnmetImport]) -> String {
    let words: Vec<_> = unmet.iter().map(UnmetImport::to_string).collect();
    words.join("; ")
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    pub code: i32,
    pub cause: ExitCause,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExitCause {
    /// Passed the deadline of its run: 137.
    DeadlineExceeded,
    /// Ended by itself, with code 0.
    Completed,
    /// Ended by itself, with another code.
    Error,
    /// Passed its memory limit: 137.
    OutOfMemory,
    /// Broke off with this message: 134.
    Trap(String),
    /// 137.
    Killed,
    /// Asked to stop, and done within its grace: 143.
    Stopped,
}

impl Exit {
    fn new(code: i32, cause: ExitCause) -> Exit {
        Exit { code, cause }
    }

    fn of_code(code: i32) -> Exit {
        match code {
            0 => Exit::new(0, ExitCause::Completed),
            code => Exit::new(code, ExitCause::Error),
        }
    }

    pub(crate) fn out_of_memory() -> Exit {
        Exit::new(137, ExitCause::OutOfMemory)
    }

    fn deadline_exceeded() -> Exit {
        Exit::new(137, ExitCause::DeadlineExceeded)
    }

    fn killed() -> Exit {
        Exit::new(137, ExitCause::Killed)
    }

    fn stopped() -> Exit {
        Exit::new(143, ExitCause::Stopped)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerStats {
    /// Approximate: see `limits.rs`.
    pub cpu_time: Duration,
    /// Linear memory of its live instances.
    pub memory_bytes: u64,
    /// HTTP requests begun, and those that failed.
    pub requests: u64,
    pub errors: u64,
    /// From the specification to the guest's first instruction; of an HTTP component, to being served.
    /// `None` until then.
    pub start_latency: Option<Duration>,
    /// From an HTTP request's arrival to its response's head.
    pub request_latency: LatencyCounts,
}

/// A handle; the container lives on when all handles are dropped, until it exits or its sandbox closes.
#[derive(Clone)]
pub struct Container(Arc<Inner>);

/// What every instance of a container is given.
pub(crate) struct Blueprint {
    args: Vec<String>,
    env: Vec<(String, String)>,
    mounts: Vec<Mount>,
    working_dir: Option<String>,
    output: Arc<Faucet>,
    clock_resolution: Duration,
    determinism: Option<Determinism>,
    dialer: Dialer,
    host: Arc<Setup>,
}

/// How a container was told to end; the number is stored.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Ending {
    Kill = 1,
    Stop = 2,
    Deadline = 3,
}

pub(crate) struct Inner {
    name: String,
    blueprint: Blueprint,
    pub(crate) artifact: Arc<Artifact>,
    pub(crate) account: Arc<Account>,
    pub(crate) activity: Arc<Activity>,
    pub(crate) gate: Gate,
    /// Ends every instance.
    pub(crate) ended: CancellationToken,
    /// Refuses new requests; the ones in flight go on.
    pub(crate) draining: CancellationToken,
    ending: AtomicU8,
    exit: watch::Sender<Option<Exit>>,
    /// The port of an HTTP component.
    served: Mutex<Option<Reservation>>,
}

impl Container {
    pub(crate) fn start(
        shared: &Arc<Shared>,
        dialer: &Dialer,
        neighbourhood: &Arc<Neighbourhood>,
        spec: ContainerSpec,
    ) -> Result<Container, StartError> {
        let begun = Instant::now();
        let span = tracing::debug_span!(
            "start",
            container = spec.name,
            digest = spec.artifact.digest(),
            world = ?spec.artifact.world(),
        );
        let _entered = span.enter();
        for mount in &spec.mounts {
            check(mount)?;
        }
        let run_deadline = spec.limits.time.run;
        let output = Faucet::new(spec.output, spec.limits.output.bytes_per_second);
        let group = &neighbourhood.group;
        let inner = Arc::new(Inner {
            name: spec.name,
            blueprint: Blueprint {
                args: spec.args,
                env: spec.env,
                mounts: spec.mounts,
                working_dir: spec.working_dir,
                host: Arc::new(Setup {
                    config: spec.config.into_iter().collect(),
                    buckets: neighbourhood.buckets.clone(),
                    output: output.clone(),
                    neighbourhood: Arc::downgrade(neighbourhood),
                }),
                output,
                clock_resolution: spec.clock_resolution,
                determinism: spec.determinism,
                dialer: dialer.clone(),
            },
            account: Account::new(spec.limits.clone(), group.party(spec.limits.cpu.weight_millis)),
            artifact: spec.artifact,
            activity: Arc::default(),
            gate: Gate::new(&spec.limits.counts),
            ended: CancellationToken::new(),
            draining: CancellationToken::new(),
            ending: AtomicU8::new(0),
            exit: watch::Sender::new(None),
            served: Mutex::new(None),
        });
        match inner.artifact.world() {
            World::Command => {
                let run = run_command(inner.clone(), spec.stdin, begun);
                shared.awake.start(&shared.guests, run.instrument(span.clone()));
            }
            World::Http => {
                let handler = HttpHandler::new(
                    inner.clone(),
                    shared.guests.clone(),
                    spec.http_port,
                    spec.reuse,
                );
                let served = dialer.interface.serve_http(spec.http_port, handler);
                let port = spec.http_port;
                let served = served.map_err(|PortTaken| StartError::PortInUse { port })?;
                *inner.served.lock() = Some(served);
                inner.activity.started(begun);
            }
            // Nothing of it runs until somebody calls it.
            World::Library => {}
        }
        if let Some(deadline) = run_deadline {
            shared.guests.spawn(end_after(deadline, inner.clone()));
        }
        Ok(Container(inner))
    }

    pub fn name(&self) -> &str {
        &self.0.name
    }

    pub(crate) fn inner(&self) -> Arc<Inner> {
        self.0.clone()
    }

    /// Resolves when the container has ended, for any number of waiters, at any time. Nothing of its guest runs any more;
    /// much memory is given back a little later.
    pub async fn exited(&self) -> Exit {
        let mut exit = self.0.exit.subscribe();
        let ended = exit.wait_for(Option::is_some).await.ok();
        // The sender lives in `self`: the channel cannot close first.
        ended.and_then(|exit| exit.clone()).unwrap_or_else(Exit::killed)
    }

    pub(crate) fn has_exited(&self) -> bool {
        self.0.exit.borrow().is_some()
    }

    /// Ends it at once: 137.
    pub fn kill(&self) {
        self.0.end(Ending::Kill);
    }

    /// Closes its listeners, lets open connections and requests finish, but for connections on which nothing was said,
    /// and ends it: 143, or 137 where `grace` ran out.
    /// A command that listens nowhere is ended at once: it could not be told.
    pub async fn stop(&self, grace: Duration) -> Exit {
        let inner = &self.0;
        let listened = inner.drain();
        if !listened && inner.activity.is_idle() {
            inner.end(Ending::Stop);
            return self.exited().await;
        }
        tokio::select! {
            biased;
            exit = self.exited() => return exit,
            () = inner.activity.idle() => inner.end(Ending::Stop),
            () = tokio::time::sleep(grace) => inner.end(Ending::Kill),
            never = inner.activity.end_silent() => match never {},
        }
        self.exited().await
    }

    pub fn stats(&self) -> ContainerStats {
        let inner = &self.0;
        ContainerStats {
            cpu_time: inner.account.cpu_time(),
            memory_bytes: inner.account.memory_bytes(),
            requests: inner.activity.requests.load(Ordering::Relaxed),
            errors: inner.activity.errors.load(Ordering::Relaxed),
            start_latency: inner.activity.start_latency(),
            request_latency: inner.activity.latency.counts(),
        }
    }
}

fn check(mount: &Mount) -> Result<(), StartError> {
    let found = std::fs::metadata(&mount.host_dir).and_then(|metadata| {
        if metadata.is_dir() { Ok(()) } else { Err(std::io::ErrorKind::NotADirectory.into()) }
    });
    found.map_err(|source| StartError::Mount {
        guest_path: mount.guest_path.clone(),
        host_dir: mount.host_dir.clone(),
        source,
    })
}

impl Inner {
    /// A fresh instance's state. Opens the mounts.
    pub(crate) fn ctx(&self, stdin: Option<&Arc<AsyncStdinStream>>) -> wasmtime::Result<Ctx> {
        let blueprint = &self.blueprint;
        let mut wasi = WasiCtx::builder();
        wasi.args(&blueprint.args)
            .envs(&blueprint.env)
            .stdout(Pipe::new(&blueprint.output, OutputStream::Stdout))
            .stderr(Pipe::new(&blueprint.output, OutputStream::Stderr));
        if let Some(stdin) = stdin {
            wasi.stdin(stdin.clone());
        }
        if let Some(dir) = &blueprint.working_dir {
            wasi.initial_cwd(dir);
        }
        for mount in &blueprint.mounts {
            let perms = match mount.read_only {
                true => FsPerms::ReadOnly,
                false => FsPerms::ReadWrite,
            };
            // Without what the system said of the host's folder: the error is told to the guest's readers.
            wasi.preopened_dir(&mount.host_dir, &mount.guest_path, perms).map_err(|_| {
                wasmtime::format_err!("the folder mounted at {} cannot be opened", mount.guest_path)
            })?;
        }
        wasi.max_random_size(RANDOM_BYTES_MAX);
        clocks::set(&mut wasi, blueprint.clock_resolution, blueprint.determinism.as_ref());
        let net = NetCtx {
            dialer: blueprint.dialer.clone(),
            activity: self.activity.clone(),
            account: self.account.clone(),
        };
        let host = Host::new(blueprint.host.clone());
        Ctx::new(wasi.build(), net, host, self.account.clone())
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn authority(&self, port: u16) -> String {
        std::net::SocketAddr::new(self.blueprint.dialer.interface.ip(), port).to_string()
    }

    /// A line for the operator, among the guest's own.
    pub(crate) fn complain(&self, error: &wasmtime::Error) {
        let message = format!("{error:?}\n");
        self.blueprint.output.write(OutputStream::Stderr, message.as_bytes());
    }

    /// Takes no new work; true where it listened.
    fn drain(&self) -> bool {
        self.draining.cancel();
        let served = self.served.lock().take().is_some();
        let interface = &self.blueprint.dialer.interface;
        interface.close_listeners(&self.activity) > 0 || served
    }

    fn end(&self, ending: Ending) {
        let first =
            self.ending.compare_exchange(0, ending as u8, Ordering::AcqRel, Ordering::Acquire);
        if first.is_err() {
            return;
        }
        self.drain();
        self.ended.cancel();
        // A command's task says itself when it has ended.
        if self.artifact.world() != World::Command {
            self.finish(self.ended_exit());
        }
    }

    /// Whether nobody may call into it any more. A library that was stopped runs nothing that could end: it still
    /// answers the containers that finish beside it.
    pub(crate) fn is_cut_off(&self) -> bool {
        let stopped = self.ending.load(Ordering::Acquire) == Ending::Stop as u8;
        self.ended.is_cancelled() && !(stopped && self.artifact.world() == World::Library)
    }

    async fn cut_off(&self) {
        self.ended.cancelled().await;
        if !self.is_cut_off() {
            std::future::pending().await
        }
    }

    /// Does a piece of this container's work for somebody else: under its limits, until it ends; a failure is its own,
    /// and is told to whoever asked in words.
    pub(crate) async fn lend<T>(
        &self,
        what: &str,
        work: impl Future<Output = wasmtime::Result<T>>,
    ) -> wasmtime::Result<T> {
        let name = &self.name;
        let _open = self.activity.enter();
        let done = tokio::select! {
            biased;
            () = self.cut_off() => return Err(wasmtime::format_err!("container {name} ended in {what}")),
            done = Metered::new(work, self.account.clone()) => done,
        };
        done.map_err(|error| {
            self.activity.errors.fetch_add(1, Ordering::Relaxed);
            self.complain(&error);
            if self.account.is_out_of_memory() {
                self.finish(Exit::out_of_memory());
            }
            let cause = match error.downcast_ref() {
                Some(I32Exit(code)) => format!("it exited with code {code}"),
                None => cause(&error),
            };
            wasmtime::format_err!("container {name} failed in {what}: {cause}")
        })
    }

    fn ended_exit(&self) -> Exit {
        match self.ending.load(Ordering::Acquire) {
            ending if ending == Ending::Stop as u8 => Exit::stopped(),
            ending if ending == Ending::Deadline as u8 => Exit::deadline_exceeded(),
            _ => Exit::killed(),
        }
    }

    /// The first exit counts.
    pub(crate) fn finish(&self, exit: Exit) {
        self.drain();
        self.ended.cancel();
        self.exit.send_if_modified(|held| {
            let first = held.is_none();
            if first {
                *held = Some(exit);
            }
            first
        });
    }

    /// How an instance that ended with an error ends its container; tells the operator of a trap.
    fn exit_of(&self, error: &wasmtime::Error) -> Exit {
        if self.account.is_out_of_memory() {
            return Exit::out_of_memory();
        }
        if let Some(I32Exit(code)) = error.downcast_ref() {
            return Exit::of_code(*code);
        }
        self.complain(error);
        Exit::new(134, ExitCause::Trap(cause(error)))
    }
}

/// The trap without its backtrace.
pub(crate) fn cause(error: &wasmtime::Error) -> String {
    match error.downcast_ref::<wasmtime::Trap>() {
        Some(trap) => trap.to_string(),
        None => error.root_cause().to_string(),
    }
}

/// Dropped, says that the container has ended; even where its task was torn away: a host panic, or the end of the runtime.
pub(crate) struct Finish {
    inner: Arc<Inner>,
    exit: Option<Exit>,
}

impl Drop for Finish {
    fn drop(&mut self) {
        let exit = self.exit.take().unwrap_or_else(|| self.inner.ended_exit());
        self.inner.finish(exit);
    }
}

/// Ends a container that still runs then.
async fn end_after(deadline: Duration, inner: Arc<Inner>) {
    tokio::select! {
        biased;
        () = inner.ended.cancelled() => {}
        () = tokio::time::sleep(deadline) => inner.end(Ending::Deadline),
    }
}

async fn run_command(inner: Arc<Inner>, stdin: Stdin, begun: Instant) -> Finish {
    let mut finish = Finish { inner, exit: None };
    let inner = &finish.inner;
    let stdin = match stdin {
        Stdin::Closed => None,
        Stdin::Reader(reader) => Some(Arc::new(AsyncStdinStream::new(reader))),
    };
    let guest = async {
        let ctx = || inner.ctx(stdin.as_ref());
        let (store, instance) = inner.artifact.instance(ctx).await?;
        let mut store = scopeguard::guard(store, give_back);
        inner.activity.started(begun);
        tracing::debug!("the guest begins");
        match instance {
            Instance::Command(command) => command.wasi_cli_run().call_run(&mut *store).await,
            // Done when `run` returns, whatever the guest has begun beside it.
            Instance::AsyncCommand(command) => {
                let run =
                    async |store: &Accessor<Ctx>| command.wasi_cli_run().call_run(store).await;
                store.run_concurrent(run).await?
            }
            Instance::Http(_) | Instance::AsyncHttp(_) => {
                Err(wasmtime::format_err!("not a command"))
            }
        }
    };
    let exit = tokio::select! {
        biased;
        () = inner.ended.cancelled() => inner.ended_exit(),
        result = Metered::new(guest, inner.account.clone()) => match result {
            Ok(Ok(())) => Exit::of_code(0),
            Ok(Err(())) => Exit::of_code(1),
            Err(error) => inner.exit_of(&error),
        },
    };
    finish.exit = Some(exit);
    finish
}
