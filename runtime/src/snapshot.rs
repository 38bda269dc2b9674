//! Snapshots: a component is initialised once, and each of its instances starts from the memory that this left.
//!
//! The guest exports a function `wizer-initialize`, without parameters and results. This is run once, on an instance whose
//! every import is refused by name: an answer of the host (a variable, the time, a random value) would be the same in
//! all instances from then on, and a handle of the host would point to nothing. The instance's memories and globals then
//! replace the initial ones of the component, by `wasmtime-wizer`. The result is an artifact like any other, compiled
//! once and kept under the digest of the original and the word `snapshot`.
//!
//! A core module of WASI preview 1 is initialised before it is adapted, since the adapter would hide the function.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use wasmparser::{Parser, Payload};
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{self, Component, Lift, LinkerInstance, ResourceType, WasmList};
use wasmtime::{
    Config, Engine, Module, OptLevel, Store, StoreLimits, StoreLimitsBuilder, UpdateDeadline, Val,
};
use wasmtime_wizer::{ComponentInstanceState, InstanceState, SnapshotVal, Wizer};

use crate::artifact::{self, Artifact, LoadError};
use crate::container::cause;
use crate::engine::{Runtime, Shared, Wasi};

/// The export that initialises a guest, by Wizer's convention.
const INITIALISE: &str = "wizer-initialize";
/// A running initialisation yields so often, to be seen by the time-out.
const EPOCH: Duration = Duration::from_millis(10);
/// How long an initialisation may take.
const WITHIN: Duration = Duration::from_secs(60);
/// Bytes of a linear memory while it is initialised: all of it is kept on disk and mapped by each instance.
const MEMORY_MAX: usize = 1 << 30;

#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error(
        "it exports no function {INITIALISE} without parameters and results, by which it could be initialised \
         (those of componentize-js and componentize-py are initialised when they are built, and need no snapshot)"
    )]
    NoInitialiser,
    #[error(
        "its {INITIALISE} calls {import}, and what that answers now would be the same for all who start from the \
         snapshot: call it later"
    )]
    Import { import: String },
    #[error("its {INITIALISE} failed: {cause}")]
    Failed { cause: String },
    #[error("its {INITIALISE} takes longer than {} s", WITHIN.as_secs())]
    TooLong,
    /// What snapshots do not cover: tables that are changed at run time, nested components with modules…
    #[error("its state cannot be taken over: {reason}")]
    Unsupported { reason: String },
}

impl Runtime {
    /// As [`load`](Runtime::load), but initialised: instances start from the memory that the component's own
    /// `wizer-initialize` left.
    pub async fn load_snapshot(
        &self,
        digest: &str,
        wasm: Bytes,
    ) -> Result<Arc<Artifact>, LoadError> {
        let cell = self.cell(&key(digest));
        let artifact = cell.get_or_try_init(|| async {
            let (shared, key) = (self.shared.clone(), key(digest));
            let compiler = self.shared.compiler.clone();
            let loaded = compiler.run(move || load(&shared, &key, &wasm));
            loaded.await.unwrap_or_else(|| {
                let reason = "the initialisation broke off".to_owned();
                Err(SnapshotError::Unsupported { reason }.into())
            })
        });
        artifact.await.cloned()
    }

    /// As [`load_cached`](Runtime::load_cached), for a snapshot. Neither initialises nor compiles.
    pub async fn load_cached_snapshot(&self, digest: &str) -> Option<Arc<Artifact>> {
        self.load_cached(&key(digest)).await
    }
}

/// What the snapshot of a component is known by, in memory and in the cache of compiled code.
pub(crate) fn key(digest: &str) -> String {
    format!("{digest}-snapshot")
}

/// Blocks.
fn load(shared: &Arc<Shared>, key: &str, wasm: &[u8]) -> Result<Arc<Artifact>, LoadError> {
    if let Some(cached) = artifact::load_cached(shared, key) {
        return Ok(cached);
    }
    let wasi = artifact::needs(wasm)?;
    if !has_initialiser(wasm) {
        return Err(SnapshotError::NoInitialiser.into());
    }
    let engine = engine(wasi).map_err(unsupported)?;
    let taken = async {
        match Parser::is_core_wasm(wasm) {
            true => of_module(&engine, wasm).await,
            false => of_component(&engine, wasm).await,
        }
    };
    let ticking = shared.guests.spawn(tick(engine.clone()));
    // On the guests' runtime for its timer; the thread is one that may block.
    let taken = shared.guests.block_on(taken);
    ticking.abort();
    artifact::load(shared, key, &taken?)
}

/// Looked for before anything is compiled; its type is checked later.
fn has_initialiser(wasm: &[u8]) -> bool {
    // Nested modules and components have exports of their own.
    let mut depth = 0_usize;
    Parser::new(0).parse_all(wasm).flatten().any(|payload| {
        match payload {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentExportSection(exports) if depth == 0 => {
                return exports.into_iter().flatten().any(|export| export.name.name == INITIALISE);
            }
            Payload::ExportSection(exports) if depth == 0 => {
                return exports.into_iter().flatten().any(|export| export.name == INITIALISE);
            }
            _ => {}
        }
        false
    })
}

/// An engine that compiles quickly rather than well: its code runs once.
fn engine(wasi: Wasi) -> wasmtime::Result<Engine> {
    let mut config = Config::new();
    config
        .cranelift_opt_level(OptLevel::None)
        .concurrency_support(wasi == Wasi::V3)
        .epoch_interruption(true);
    Engine::new(&config)
}

async fn tick(engine: Engine) {
    loop {
        tokio::time::sleep(EPOCH).await;
        engine.increment_epoch();
    }
}

// ---- components

async fn of_component(engine: &Engine, wasm: &[u8]) -> Result<Vec<u8>, SnapshotError> {
    let mut wizer = Wizer::new();
    // Nobody calls it again. Taken away, it would be from the core modules too, which the component still refers to.
    wizer.keep_init_func(true);
    let (context, instrumented) = wizer.instrument_component(wasm).map_err(unsupported)?;
    let component = Component::new(engine, &instrumented).map_err(unsupported)?;
    let initialiser = match component.get_export(None, INITIALISE) {
        Some((ComponentItem::ComponentFunc(ty), index))
            if ty.params().len() == 0 && ty.results().len() == 0 =>
        {
            index
        }
        _ => return Err(SnapshotError::NoInitialiser),
    };
    let mut linker = component::Linker::new(engine);
    refuse_imports(&mut linker, &component).map_err(unsupported)?;
    let mut store = store(engine);
    let instance = in_time(async {
        let instance = linker.instantiate_async(&mut store, &component).await.map_err(failed)?;
        let function = instance.get_typed_func::<(), ()>(&mut store, initialiser);
        function.map_err(failed)?.call_async(&mut store, ()).await.map_err(failed)?;
        Ok(instance)
    });
    let instance = instance.await?;
    let mut seen = SeenComponent { store, instance };
    wizer.snapshot_component(&context, &mut seen).await.map_err(unsupported)
}

fn refuse_imports(
    linker: &mut component::Linker<StoreLimits>,
    component: &Component,
) -> wasmtime::Result<()> {
    let engine = component.engine();
    let mut root = linker.root();
    for (name, import) in component.component_type().imports(engine) {
        match import.ty {
            ComponentItem::ComponentInstance(instance) => {
                let mut interface = root.instance(name)?;
                for (function, export) in instance.exports(engine) {
                    refuse(&mut interface, function, format!("{name}#{function}"), &export.ty)?;
                }
            }
            item => refuse(&mut root, name, name.to_owned(), &item)?,
        }
    }
    Ok(())
}

fn refuse(
    linker: &mut LinkerInstance<'_, StoreLimits>,
    name: &str,
    full_name: String,
    item: &ComponentItem,
) -> wasmtime::Result<()> {
    match item {
        ComponentItem::ComponentFunc(_) => linker
            .func_new(name, move |_, _, _, _| Err(Refused { import: full_name.clone() }.into())),
        // None is ever made.
        ComponentItem::Resource(_) => {
            linker.resource(name, ResourceType::host::<()>(), |_, _| Ok(()))
        }
        // A type needs no definition; modules and components were refused before.
        _ => Ok(()),
    }
}

struct SeenComponent {
    store: Store<StoreLimits>,
    instance: component::Instance,
}

/// Wizer asks for what it has itself put into the component: that it is missing, or fails, is a bug.
impl SeenComponent {
    async fn call<R: Lift + Send + Sync + 'static>(&mut self, instance: &str, name: &str) -> R {
        let mut index = None;
        for name in [instance, name] {
            index = self.instance.get_export_index(&mut self.store, index.as_ref(), name);
        }
        let index = index.expect("an accessor of the instrumented component");
        let function = self.instance.get_typed_func::<(), (R,)>(&mut self.store, index);
        let function = function.expect("an accessor's type");
        function.call_async(&mut self.store, ()).await.expect("an accessor reads").0
    }
}

impl ComponentInstanceState for SeenComponent {
    async fn call_func_ret_list_u8(
        &mut self,
        instance: &str,
        func: &str,
        contents: impl FnOnce(&[u8]) + Send,
    ) {
        let list: WasmList<u8> = self.call(instance, func).await;
        contents(list.as_le_slice(&self.store));
    }

    async fn call_func_ret_s32(&mut self, instance: &str, func: &str) -> i32 {
        self.call(instance, func).await
    }

    async fn call_func_ret_s64(&mut self, instance: &str, func: &str) -> i64 {
        self.call(instance, func).await
    }

    async fn call_func_ret_f32(&mut self, instance: &str, func: &str) -> u32 {
        self.call::<f32>(instance, func).await.to_bits()
    }

    async fn call_func_ret_f64(&mut self, instance: &str, func: &str) -> u64 {
        self.call::<f64>(instance, func).await.to_bits()
    }
}

// ---- core modules

async fn of_module(engine: &Engine, wasm: &[u8]) -> Result<Vec<u8>, SnapshotError> {
    let wizer = Wizer::new();
    let (context, instrumented) = wizer.instrument(wasm).map_err(unsupported)?;
    let module = Module::new(engine, &instrumented).map_err(unsupported)?;
    let mut linker = wasmtime::Linker::<StoreLimits>::new(engine);
    for import in module.imports() {
        let wasmtime::ExternType::Func(ty) = import.ty() else {
            let reason = format!("it imports {}, which is no function", import.name());
            return Err(SnapshotError::Unsupported { reason });
        };
        let name = format!("{}#{}", import.module(), import.name());
        let refuse = move |_: wasmtime::Caller<'_, StoreLimits>, _: &[Val], _: &mut [Val]| {
            Err(Refused { import: name.clone() }.into())
        };
        linker.func_new(import.module(), import.name(), ty, refuse).map_err(unsupported)?;
    }
    let mut store = store(engine);
    let instance = in_time(async {
        let instance = linker.instantiate_async(&mut store, &module).await.map_err(failed)?;
        let initialise = instance.get_typed_func::<(), ()>(&mut store, INITIALISE);
        let initialise = initialise.map_err(|_| SnapshotError::NoInitialiser)?;
        initialise.call_async(&mut store, ()).await.map_err(failed)?;
        Ok(instance)
    });
    let instance = instance.await?;
    let mut seen = SeenModule { store, instance };
    wizer.snapshot(&context, &mut seen).await.map_err(unsupported)
}

struct SeenModule {
    store: Store<StoreLimits>,
    instance: wasmtime::Instance,
}

impl InstanceState for SeenModule {
    async fn global_get(&mut self, name: &str, _: wasmtime_wizer::ValType) -> SnapshotVal {
        let global = self.instance.get_global(&mut self.store, name);
        match global.expect("an instrumented global").get(&mut self.store) {
            Val::I32(x) => SnapshotVal::I32(x),
            Val::I64(x) => SnapshotVal::I64(x),
            Val::F32(x) => SnapshotVal::F32(x),
            Val::F64(x) => SnapshotVal::F64(x),
            Val::V128(x) => SnapshotVal::V128(x.as_u128()),
            other => unreachable!("validated as a number: {other:?}"),
        }
    }

    async fn memory_contents(&mut self, name: &str, contents: impl FnOnce(&[u8]) + Send) {
        let memory = self.instance.get_memory(&mut self.store, name);
        contents(memory.expect("an instrumented memory").data(&self.store));
    }
}

// ---- both

async fn in_time<T>(
    run: impl Future<Output = Result<T, SnapshotError>>,
) -> Result<T, SnapshotError> {
    tokio::time::timeout(WITHIN, run).await.unwrap_or(Err(SnapshotError::TooLong))
}

/// Limited in memory, and yielding at each epoch, so that the time-out is seen.
fn store(engine: &Engine) -> Store<StoreLimits> {
    let limits = StoreLimitsBuilder::new().memory_size(MEMORY_MAX).trap_on_grow_failure(true);
    let mut store = Store::new(engine, limits.build());
    store.limiter(|limits| limits);
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(|_| {
        Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
    });
    store
}

/// What an import answers while the guest is initialised.
#[derive(Debug, thiserror::Error)]
#[error("{import} is not to be had while the guest is initialised")]
struct Refused {
    import: String,
}

fn failed(error: wasmtime::Error) -> SnapshotError {
    match error.downcast_ref::<Refused>() {
        Some(Refused { import }) => SnapshotError::Import { import: import.clone() },
        None => SnapshotError::Failed { cause: cause(&error) },
    }
}

fn unsupported(error: wasmtime::Error) -> SnapshotError {
    SnapshotError::Unsupported { reason: format!("{error:#}") }
}
