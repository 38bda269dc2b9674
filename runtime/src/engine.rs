//! Engines, the epoch clock and the guests' threads.
//!
//! Two engines compile alike and differ in where instances live: a pool of slots that starts in microseconds, and
//! on-demand memory for what does not fit the pool, or not any more. The same compiled code loads in both.
//! Concurrency support of the component model is off: what runs here is WASI 0.2, and a request then costs two fifths less.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::OnceCell;
use wasmtime::component::Linker;
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::aot::AotCache;
use crate::artifact::{self, Artifact, LoadError};
use crate::context::{self, Ctx};
use crate::net::Switch;
use crate::sandbox::{Sandbox, SandboxError, SandboxSpec};
use crate::snapshot;

/// Running guests yield at each tick: the bound of how long a kill, or another guest, waits.
const EPOCH: Duration = Duration::from_millis(5);

#[derive(Debug, Clone, Default)]
pub struct RuntimeConfig {
    /// Where compiled code is kept. Default: nowhere, each process compiles anew.
    pub cache_dir: Option<PathBuf>,
    /// Threads that run guests. Default: as many as cores.
    pub guest_threads: Option<usize>,
    pub pool: PoolConfig,
}

#[derive(Debug, Clone)]
pub struct PoolConfig {
    /// Instances the pool holds at a time; each reserves 4 GiB of address space, none of memory. Where the system
    /// grants less, the pool is made smaller. Further instances are allocated on demand. 0: no pool.
    pub instances: u32,
}

impl Default for PoolConfig {
    fn default() -> Self {
        PoolConfig { instances: 10_000 }
    }
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
    /// `None` where the system grants no pool.
    pub(crate) pooled: Option<Lane>,
    pub(crate) on_demand: Lane,
    pub(crate) cache: AotCache,
    pub(crate) guests: Handle,
    artifacts: Mutex<HashMap<String, Arc<OnceCell<Arc<Artifact>>>>>,
}

/// An engine with everything that a guest may import.
pub(crate) struct Lane {
    pub(crate) engine: Engine,
    pub(crate) linker: Linker<Ctx>,
}

impl Lane {
    fn new(config: &Config) -> wasmtime::Result<Lane> {
        let engine = Engine::new(config)?;
        let linker = context::linker(&engine)?;
        Ok(Lane { engine, linker })
    }
}

impl Runtime {
    /// Needs no tokio runtime around it; guests get their own.
    pub fn new(config: RuntimeConfig) -> Result<Arc<Runtime>, RuntimeError> {
        allow_open_files();
        let on_demand = Lane::new(&engine_config()).map_err(RuntimeError::Engine)?;
        let pooled = pooled_lane(config.pool.instances).map_err(RuntimeError::Engine)?;
        let cache =
            AotCache::open(config.cache_dir.as_deref(), &on_demand.engine).map_err(|source| {
                RuntimeError::Cache { dir: config.cache_dir.clone().unwrap_or_default(), source }
            })?;
        let threads = config.guest_threads.unwrap_or_else(cores).max(1);
        let guests = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("guest")
            .enable_all()
            .build()
            .map_err(RuntimeError::Threads)?;
        let engines = pooled.iter().chain([&on_demand]);
        tick_epochs(engines.map(|lane| lane.engine.clone()).collect())
            .map_err(RuntimeError::Threads)?;
        let shared = Arc::new(Shared {
            pooled,
            on_demand,
            cache,
            guests: guests.handle().clone(),
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
            let loaded = self.blocking(move || artifact::load(&shared, &digest, &wasm));
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

    /// Drops the artifact from memory once no container uses it; its compiled code stays in the cache.
    pub fn forget(&self, digest: &str) {
        let mut artifacts = self.shared.artifacts.lock();
        artifacts.remove(digest);
        artifacts.remove(&snapshot::key(digest));
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

fn engine_config() -> Config {
    let mut config = Config::new();
    config.concurrency_support(false);
    config.epoch_interruption(true);
    config.memory_init_cow(true);
    config
}

/// The pool, halved until the system grants its address space.
fn pooled_lane(instances: u32) -> wasmtime::Result<Option<Lane>> {
    let mut instances = instances;
    while instances > 0 {
        let mut config = engine_config();
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(instances)));
        match Lane::new(&config) {
            Ok(lane) => return Ok(Some(lane)),
            Err(error) => tracing::debug!(instances, "no pool of this size: {error:#}"),
        }
        instances /= 2;
    }
    Ok(None)
}

fn pool(instances: u32) -> PoolingAllocationConfig {
    // Adapted and shimmed components are made of up to four core instances, with about a table each.
    let parts = instances.saturating_mul(4);
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
        .max_unused_warm_slots(1000);
    if PoolingAllocationConfig::is_pagemap_scan_available() {
        pool.pagemap_scan(Enabled::Yes);
    }
    pool
}

/// Ticks on a thread of its own, so that no busy executor can hold the clock; ends with the engines.
fn tick_epochs(engines: Vec<Engine>) -> io::Result<()> {
    let engines: Vec<_> = engines.iter().map(Engine::weak).collect();
    let tick = move || {
        loop {
            std::thread::sleep(EPOCH);
            let mut alive = false;
            for engine in engines.iter().filter_map(|engine| engine.upgrade()) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::{DefaultHasher, Hash, Hasher};

    #[test]
    fn both_engines_load_the_same_compiled_code() {
        let hash = |engine: &Engine| {
            let mut hasher = DefaultHasher::new();
            engine.precompile_compatibility_hash().hash(&mut hasher);
            hasher.finish()
        };
        let on_demand = Lane::new(&engine_config()).unwrap();
        let pooled = pooled_lane(10).unwrap().unwrap();
        assert_eq!(hash(&on_demand.engine), hash(&pooled.engine));
    }
}
