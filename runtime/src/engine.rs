//! Engines, the epoch clock and the guests' threads.
//!
//! Two pairs of engines, chosen by the WASI that a component needs ([`Wasi`]). For WASI 0.2 concurrency support of the
//! component model is off: a request then costs two fifths less. For 0.3 it is on; that pair is made when the first
//! such component loads. Code of one pair does not load in the other.
//! The engines of a pair compile alike and differ in where instances live: a pool of slots that starts in microseconds,
//! and on-demand memory for what does not fit the pool, or not any more. The same compiled code loads in both.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::OnceCell;
use wasmtime::component::Linker;
use wasmtime::{
    Config, Enabled, Engine, EngineWeak, InstanceAllocationStrategy, PoolingAllocationConfig,
};

use crate::aot::{self, AotCache};
use crate::artifact::{self, Artifact, LoadError};
use crate::awake::Awake;
use crate::compile::Compiler;
use crate::container::Finish;
use crate::context::{self, Ctx};
use crate::fair::Turns;
use crate::kept;
use crate::net::Switch;
use crate::sandbox::{Sandbox, SandboxError, SandboxSpec};
use crate::snapshot;

/// Running guests yield at each tick: the bound of how long a kill, or another guest, waits.
const EPOCH: Duration = Duration::from_millis(5);
/// Slots that stay warm in the pool of WASI 0.2, and in that of 0.3.
const WARM_MAX: u32 = 1000;
const WARM_3_MAX: u32 = 200;

/// How many polls a thread of the guests takes from its own queue before it looks at what came from outside. Tokio's own
/// choice follows the polls' usual length: some long ones after many short ones, and a request waited for seconds.
const LOOK_OUTSIDE_EVERY: u32 = 2;

/// Threads for guests beyond the turns: where guests that spin hold every turn, a short request finds a thread all the
/// same, and the system shares the processors.
const SPARE_THREADS: usize = 1;

/// How deep a guest may recurse; beyond, it traps. As wasmtime has it, and as much as native threads of WASI's own
/// toolchains get for their shadow stack.
const WASM_STACK: usize = 512 << 10;
/// What the host's functions have of the same stack below a guest that has used up its own.
const HOST_STACK: usize = 1536 << 10;

#[derive(Debug, Clone, Default)]
pub struct RuntimeConfig {
    /// Where compiled code is kept. Default: nowhere, each process compiles anew.
    pub cache_dir: Option<PathBuf>,
    /// Bytes of compiled code that are kept; beyond, what was used least recently goes. Default: 2 GiB.
    pub cache_bytes_max: Option<u64>,
    /// How many guests may run on and on at a time. Default: as many as cores. There is one thread more, for whoever is
    /// done within a few milliseconds.
    pub guest_threads: Option<usize>,
    pub pool: PoolConfig,
}

#[derive(Debug, Clone)]
pub struct PoolConfig {
    /// Instances the pools hold at a time; each reserves 4 GiB of address space, none of memory. A fifth of them are
    /// for components of WASI 0.3, whose pool is reserved when the first of them loads. Where the system grants less,
    /// a pool is made smaller. Further instances are allocated on demand. 0: no pool.
    pub instances: u32,
}

impl Default for PoolConfig {
    fn default() -> Self {
        PoolConfig { instances: 12_500 }
    }
}

impl PoolConfig {
    fn share(&self, wasi: Wasi) -> u32 {
        let third = self.instances / 5;
        match wasi {
            Wasi::V2 => self.instances - third,
            Wasi::V3 => third,
        }
    }
}

/// Which WASI a component needs: what decides on its engines. Preview 1 is adapted to 0.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wasi {
    V2,
    /// Offers 0.2 as well: components mix them.
    V3,
}

#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    #[error("create the WebAssembly engine: {0:#}")]
    Engine(wasmtime::Error),
    #[error("open the cache of compiled code in {}", dir.display())]
    Cache { dir: PathBuf, source: io::Error },
    #[error("start the threads for guests")]
    Threads(#[source] io::Error),
}

/// Loads artifacts and makes sandboxes. Dropped, its guests end.
pub struct Runtime {
    pub(crate) shared: Arc<Shared>,
    /// `Some` until dropped.
    guests: Option<tokio::runtime::Runtime>,
}

/// What artifacts, sandboxes and containers keep of the runtime.
pub(crate) struct Shared {
    v2: Lanes,
    v3: OnceLock<Option<Lanes>>,
    config: RuntimeConfig,
    clock: EpochClock,
    pub(crate) guests: Handle,
    pub(crate) awake: Arc<Awake<Finish>>,
    pub(crate) turns: Arc<Turns>,
    pub(crate) compiler: Compiler,
    artifacts: Mutex<HashMap<String, Arc<OnceCell<Arc<Artifact>>>>>,
}

impl Shared {
    /// `None` where the system does not allow such engines; 0.2's always are.
    pub(crate) fn lanes(&self, wasi: Wasi) -> Option<&Lanes> {
        match wasi {
            Wasi::V2 => Some(&self.v2),
            Wasi::V3 => self.v3.get_or_init(|| self.lanes_3()).as_ref(),
        }
    }

    /// Whether compiled code outlives the process.
    pub(crate) fn keeps_code(&self) -> bool {
        self.config.cache_dir.is_some()
    }

    fn lanes_3(&self) -> Option<Lanes> {
        let lanes = Lanes::new(Wasi::V3, &self.config, &self.clock);
        lanes.inspect_err(|error| tracing::error!("no engine for WASI 0.3: {error}")).ok()
    }
}

/// A pair of engines, and the folder of the code that loads in both.
pub(crate) struct Lanes {
    /// Made at first use; `None` where the system grants no pool.
    pooled: OnceLock<Option<Lane>>,
    pub(crate) on_demand: Lane,
    pub(crate) cache: AotCache,
    wasi: Wasi,
    instances: u32,
    clock: EpochClock,
}

impl Lanes {
    fn new(wasi: Wasi, config: &RuntimeConfig, clock: &EpochClock) -> Result<Lanes, RuntimeError> {
        let on_demand = Lane::new(wasi, &engine_config(wasi)).map_err(RuntimeError::Engine)?;
        let cache_dir = config.cache_dir.as_deref();
        let bytes_max = config.cache_bytes_max.unwrap_or(kept::CODE_BYTES_MAX);
        let cache = AotCache::open(cache_dir, bytes_max, &on_demand.engine).map_err(|source| {
            RuntimeError::Cache { dir: cache_dir.map(Path::to_owned).unwrap_or_default(), source }
        })?;
        clock.tick(&on_demand.engine);
        Ok(Lanes {
            pooled: OnceLock::new(),
            on_demand,
            cache,
            wasi,
            instances: config.pool.share(wasi),
            clock: clock.clone(),
        })
    }

    pub(crate) fn pooled(&self) -> Option<&Lane> {
        let make = || {
            let lane = pooled_lane(self.wasi, self.instances)?;
            self.clock.tick(&lane.engine);
            Some(lane)
        };
        self.pooled.get_or_init(make).as_ref()
    }
}

/// An engine with everything that a guest may import.
pub(crate) struct Lane {
    pub(crate) engine: Engine,
    pub(crate) linker: Linker<Ctx>,
}

impl Lane {
    fn new(wasi: Wasi, config: &Config) -> wasmtime::Result<Lane> {
        let engine = Engine::new(config)?;
        let linker = context::linker(&engine, wasi)?;
        Ok(Lane { engine, linker })
    }
}

impl Runtime {
    /// Needs no tokio runtime around it; guests get their own.
    pub fn new(config: RuntimeConfig) -> Result<Arc<Runtime>, RuntimeError> {
        allow_open_files();
        let clock = EpochClock::default();
        let v2 = Lanes::new(Wasi::V2, &config, &clock)?;
        v2.pooled();
        let threads = config.guest_threads.unwrap_or_else(cores).max(1);
        let guests = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads + SPARE_THREADS)
            .thread_name("guest")
            .global_queue_interval(LOOK_OUTSIDE_EVERY)
            .enable_all()
            .build()
            .map_err(RuntimeError::Threads)?;
        clock.start().map_err(RuntimeError::Threads)?;
        let shared = Arc::new(Shared {
            v2,
            v3: OnceLock::new(),
            config,
            clock,
            guests: guests.handle().clone(),
            awake: Awake::new(cores()),
            turns: Turns::new(threads),
            compiler: Compiler::new(cores()),
            artifacts: Mutex::default(),
        });
        Ok(Arc::new(Runtime { shared, guests: Some(guests) }))
    }

    /// Compiles `wasm`, once a digest: later calls, and concurrent ones, share the first one's work.
    /// The caller vouches for `digest` being that of `wasm`.
    pub async fn load(&self, digest: &str, wasm: Bytes) -> Result<Arc<Artifact>, LoadError> {
        let cell = self.cell(digest);
        let artifact = cell.get_or_try_init(|| async {
            let (shared, digest) = (self.shared.clone(), digest.to_owned());
            let compiler = self.shared.compiler.clone();
            let loaded = compiler.run(move || artifact::load(&shared, &digest, &wasm));
            loaded.await.unwrap_or_else(|| {
                let reason = "the compiler failed on it".to_owned();
                Err(LoadError::Invalid { reason })
            })
        });
        artifact.await.cloned()
    }

    /// The artifact, where it is in memory or its compiled code in the cache. Never compiles.
    pub async fn load_cached(&self, digest: &str) -> Option<Arc<Artifact>> {
        let cell = self.cell(digest);
        let artifact = cell.get_or_try_init(|| async {
            let (shared, digest) = (self.shared.clone(), digest.to_owned());
            let loaded = self.blocking(move || artifact::load_cached(&shared, &digest));
            loaded.await.flatten().ok_or(())
        });
        artifact.await.ok().cloned()
    }

    /// Drops the artifact from memory once no container uses it, and its compiled code from the cache. Blocks.
    pub fn forget(&self, digest: &str) {
        let snapshot = snapshot::key(digest);
        {
            let mut artifacts = self.shared.artifacts.lock();
            artifacts.remove(digest);
            artifacts.remove(&snapshot);
        }
        if let Some(root) = &self.shared.config.cache_dir {
            kept::remove(root, &[digest, &snapshot]);
        }
    }

    /// Removes from the cache what an earlier process has left there and nobody asks for: code of other versions, and of
    /// digests other than these that was not used for a day. Blocks. No other process may use the folder.
    pub fn sweep<'a>(&self, digests: impl IntoIterator<Item = &'a str>) {
        let Some(root) = &self.shared.config.cache_dir else { return };
        let both = |digest: &'a str| [digest.to_owned(), snapshot::key(digest)];
        let named = digests.into_iter().flat_map(both);
        let named = named.filter_map(|digest| kept::file_name(&digest)).collect();
        // Made for its key alone: the engine of 0.3 proper waits for a component that needs it.
        let engines = [Wasi::V2, Wasi::V3].map(|wasi| Engine::new(&engine_config(wasi)));
        let keys: Vec<String> = engines.iter().flatten().map(aot::key_of).collect();
        kept::sweep(root, &keys, &named);
    }

    /// The threads that guests run on, for work of the embedder that calls them: it then waits for no other thread.
    /// Work that takes long there delays guests.
    pub fn handle(&self) -> &Handle {
        &self.shared.guests
    }

    /// Attaches an address to the switch.
    pub fn sandbox(
        &self,
        switch: &Arc<Switch>,
        spec: SandboxSpec,
    ) -> Result<Sandbox, SandboxError> {
        Sandbox::attach(self.shared.clone(), switch.clone(), spec)
    }

    pub(crate) fn cell(&self, digest: &str) -> Arc<OnceCell<Arc<Artifact>>> {
        let mut artifacts = self.shared.artifacts.lock();
        artifacts.entry(digest.to_owned()).or_default().clone()
    }

    /// `None` where the work panicked, or the runtime is being dropped.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        self.shared.guests.spawn_blocking(work).await.ok()
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        // Not a plain drop: that would block, which is forbidden inside another runtime.
        if let Some(guests) = self.guests.take() {
            guests.shutdown_background();
        }
    }
}

/// Each mount of each instance is an open file: as many as the system lets us have.
fn allow_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let most = getrlimit(Resource::Nofile).maximum;
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }) {
        tracing::debug!(%error, "the number of open files stays limited");
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn engine_config(wasi: Wasi) -> Config {
    let mut config = Config::new();
    match wasi {
        Wasi::V2 => config.concurrency_support(false),
        Wasi::V3 => config.concurrency_support(true).wasm_component_model_async(true),
    };
    config.epoch_interruption(true);
    config.memory_init_cow(true);
    config.max_wasm_stack(WASM_STACK);
    config.async_stack_size(WASM_STACK + HOST_STACK);
    config
}

/// The pool, halved until the system grants its address space.
fn pooled_lane(wasi: Wasi, instances: u32) -> Option<Lane> {
    let mut instances = instances;
    while instances > 0 {
        let mut config = engine_config(wasi);
        let pool = pool(wasi, instances);
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        match Lane::new(wasi, &config) {
            Ok(lane) => return Some(lane),
            Err(error) => tracing::debug!(instances, "no pool of this size: {error:#}"),
        }
        instances /= 2;
    }
    None
}

fn pool(wasi: Wasi, instances: u32) -> PoolingAllocationConfig {
    // Adapted and shimmed components are made of up to four core instances, with about a table each.
    let parts = instances.saturating_mul(4);
    let warm = match wasi {
        Wasi::V2 => WARM_MAX,
        Wasi::V3 => WARM_3_MAX,
    };
    let mut pool = PoolingAllocationConfig::default();
    pool.total_component_instances(instances)
        .total_core_instances(parts)
        .total_memories(instances)
        .total_tables(parts)
        .total_stacks(instances)
        .total_gc_heaps(instances.min(100))
        .linear_memory_keep_resident(2 << 20)
        .table_keep_resident(64 << 10)
        .async_stack_keep_resident(64 << 10)
        .max_unused_warm_slots(warm);
    if PoolingAllocationConfig::is_pagemap_scan_available() {
        pool.pagemap_scan(Enabled::Yes);
    }
    pool
}

/// The engines whose epochs tick; one that is made later joins.
#[derive(Clone, Default)]
struct EpochClock(Arc<Mutex<Vec<EngineWeak>>>);

impl EpochClock {
    fn tick(&self, engine: &Engine) {
        self.0.lock().push(engine.weak());
    }

    /// Ticks on a thread of its own, so that no busy executor can hold the clock; ends with the engines.
    fn start(&self) -> io::Result<()> {
        let engines = self.0.clone();
        let tick = move || {
            loop {
                std::thread::sleep(EPOCH);
                let mut alive = false;
                for engine in engines.lock().iter().filter_map(EngineWeak::upgrade) {
                    engine.increment_epoch();
                    alive = true;
                }
                if !alive {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("guest-epochs".to_owned()).spawn(tick).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::{DefaultHasher, Hash, Hasher};

    fn hash(lane: &Lane) -> u64 {
        let mut hasher = DefaultHasher::new();
        lane.engine.precompile_compatibility_hash().hash(&mut hasher);
        hasher.finish()
    }

    #[test]
    fn code_loads_in_both_engines_of_its_pair_and_in_no_other() {
        let code = |wasi| {
            let on_demand = Lane::new(wasi, &engine_config(wasi)).unwrap();
            let pooled = pooled_lane(wasi, 10).unwrap();
            assert_eq!(hash(&on_demand), hash(&pooled));
            let code = on_demand.engine.precompile_component(b"\0asm\x0d\0\x01\0").unwrap();
            aot::adopt(&pooled.engine, &code).unwrap();
            (on_demand, code)
        };
        let ((v2, code_2), (v3, code_3)) = (code(Wasi::V2), code(Wasi::V3));
        assert_ne!(hash(&v2), hash(&v3));
        assert!(aot::adopt(&v2.engine, &code_3).is_err());
        assert!(aot::adopt(&v3.engine, &code_2).is_err());
    }

    #[test]
    fn the_pools_share_one_budget() {
        for instances in [0, 1, 10, 12_500] {
            let pool = PoolConfig { instances };
            assert_eq!(pool.share(Wasi::V2) + pool.share(Wasi::V3), instances);
        }
    }
}
