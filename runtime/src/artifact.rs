//! From bytes to an artifact: what kind of WebAssembly it is, which world it exports, its code.
//!
//! Judged before it is compiled, and by name: a file of another kind, one that is too large, a world that is not
//! supported. What it imports beyond what the host offers another container may give: that is judged when it starts
//! (`compose.rs`).

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER,
};
use wasmparser::{CanonicalFunction, CanonicalOption, Parser, Payload};
use wasmtime::component::{self, Component, InstancePre};
use wasmtime::{Engine, PoolConcurrencyLimitError, Store};
use wasmtime_wasi::{p2, p3};
use wasmtime_wasi_http::{p2 as http2, p3 as http3};

use crate::aot;
use crate::bulk;
use crate::compose::{self, Key, Links};
use crate::container::StartError;
use crate::context::Ctx;
use crate::engine::{Lane, Lanes, Shared, Wasi};
use crate::exit_code;
use crate::imports::{self, Name};
use crate::neighbours;
use crate::size::{self, TooLarge};
use crate::snapshot::SnapshotError;

/// Compositions of one artifact that are kept; when there are more, all are made anew as they are needed.
const COMPOSED_MAX: usize = 16;

/// What an artifact is, by what it exports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum World {
    /// `wasi:cli/run` 0.2 or 0.3: runs to its exit.
    Command,
    /// `wasi:http/incoming-handler` 0.2 or `wasi:http/handler` 0.3: called for each request.
    Http,
    /// Neither, but other interfaces or functions: runs nothing by itself, and is called by other containers of its
    /// sandbox or by the embedder.
    Library,
}

#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("not a WebAssembly module or component: {found}")]
    NotWasm { found: String },
    #[error("invalid WebAssembly: {reason}")]
    Invalid { reason: String },
    #[error("exports nothing: there is nothing to start, and nothing to call")]
    NoWorld,
    #[error(
        "exports {world}, a version of the world that cannot run here; build for WASI 0.2 or 0.3"
    )]
    UnsupportedWorld { world: String },
    #[error("too large: {reason}")]
    TooLarge { reason: TooLarge },
    #[error("there is no engine for WASI 0.3 here; the log says why")]
    NoEngine,
    #[error("cannot start from a snapshot: {0}")]
    Snapshot(#[from] SnapshotError),
    #[error("read or write the cache of compiled code")]
    Io(#[from] std::io::Error),
}

/// A component, compiled and, unless it wants something of other containers, linked: ready to be instantiated any
/// number of times.
pub struct Artifact {
    digest: String,
    export: Export,
    wasi: Wasi,
    exports: Vec<String>,
    imports: Arc<[String]>,
    /// What it imports that the host does not offer.
    wants: Vec<String>,
    /// Who gives it that; empty until it is [composed](Artifact::composed).
    links: Arc<Links>,
    composed: Mutex<HashMap<Key, Arc<Artifact>>>,
    first: Pre,
    /// The same code on the on-demand engine, made when the pool is first found full.
    overflow: Mutex<Option<Pre>>,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Artifact {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Artifact")
            .field("digest", &self.digest)
            .field("world", &self.world())
            .finish_non_exhaustive()
    }
}

/// Linked for its export: the world of its version of WASI.
#[derive(Clone)]
enum Pre {
    Command(p2::bindings::CommandPre<Ctx>),
    AsyncCommand(p3::bindings::CommandPre<Ctx>),
    Http(http2::bindings::ProxyPre<Ctx>),
    AsyncHttp(http3::bindings::ServicePre<Ctx>),
    Library(InstancePre<Ctx>),
    /// Wants something that is not linked.
    Unlinked(Component),
}

/// What can be called.
pub(crate) enum Instance {
    Command(p2::bindings::Command),
    AsyncCommand(p3::bindings::Command),
    Http(http2::bindings::Proxy),
    AsyncHttp(http3::bindings::Service),
}

impl Pre {
    fn new(
        lane: &Lane,
        component: &Component,
        export: Export,
        links: &Arc<Links>,
    ) -> wasmtime::Result<Pre> {
        let linked = match links.interfaces.is_empty() {
            true => lane.linker.instantiate_pre(component)?,
            false => {
                let mut linker = lane.linker.clone();
                neighbours::define(links, &mut linker)?;
                linker.instantiate_pre(component)?
            }
        };
        match export {
            Export::Run => p2::bindings::CommandPre::new(linked).map(Pre::Command),
            Export::AsyncRun => p3::bindings::CommandPre::new(linked).map(Pre::AsyncCommand),
            Export::Handler => http2::bindings::ProxyPre::new(linked).map(Pre::Http),
            Export::AsyncHandler => http3::bindings::ServicePre::new(linked).map(Pre::AsyncHttp),
            Export::Library => Ok(Pre::Library(linked)),
        }
    }

    fn component(&self) -> &Component {
        match self {
            Pre::Command(pre) => pre.instance_pre().component(),
            Pre::AsyncCommand(pre) => pre.instance_pre().component(),
            Pre::Http(pre) => pre.instance_pre().component(),
            Pre::AsyncHttp(pre) => pre.instance_pre().component(),
            Pre::Library(pre) => pre.component(),
            Pre::Unlinked(component) => component,
        }
    }

    fn instance_pre(&self) -> wasmtime::Result<&InstancePre<Ctx>> {
        match self {
            Pre::Command(pre) => Ok(pre.instance_pre()),
            Pre::AsyncCommand(pre) => Ok(pre.instance_pre()),
            Pre::Http(pre) => Ok(pre.instance_pre()),
            Pre::AsyncHttp(pre) => Ok(pre.instance_pre()),
            Pre::Library(pre) => Ok(pre),
            Pre::Unlinked(_) => Err(wasmtime::format_err!("its imports are not linked")),
        }
    }

    async fn instance(&self, store: &mut Store<Ctx>) -> wasmtime::Result<Instance> {
        match self {
            Pre::Command(pre) => pre.instantiate_async(store).await.map(Instance::Command),
            Pre::AsyncCommand(pre) => {
                pre.instantiate_async(store).await.map(Instance::AsyncCommand)
            }
            Pre::Http(pre) => pre.instantiate_async(store).await.map(Instance::Http),
            Pre::AsyncHttp(pre) => pre.instantiate_async(store).await.map(Instance::AsyncHttp),
            Pre::Library(_) | Pre::Unlinked(_) => {
                Err(wasmtime::format_err!("it runs nothing by itself"))
            }
        }
    }

    /// An instance of whatever world, of which nothing runs yet.
    async fn bare(&self, store: &mut Store<Ctx>) -> wasmtime::Result<component::Instance> {
        self.instance_pre()?.instantiate_async(store).await
    }
}

/// Whether it could be run here, and as what; nothing is compiled. What is found sound here may still not validate.
pub fn judge(wasm: &[u8]) -> Result<World, LoadError> {
    Ok(examine(wasm)?.2.world())
}

/// Refuses what is no WebAssembly, and what is too large to compile.
fn check_form(wasm: &[u8]) -> Result<(), LoadError> {
    if !Parser::is_component(wasm) && !Parser::is_core_wasm(wasm) {
        return Err(LoadError::NotWasm { found: describe(wasm) });
    }
    size::check(wasm)
        .map_err(|error| LoadError::Invalid { reason: error.to_string() })?
        .map_err(|reason| LoadError::TooLarge { reason })
}

/// Everything that is judged before compiling, and the component to compile.
fn examine(wasm: &[u8]) -> Result<(std::borrow::Cow<'_, [u8]>, Interfaces, Export), LoadError> {
    check_form(wasm)?;
    let component = to_component(wasm)?;
    let interfaces = Interfaces::parse(&component)?;
    let export = export(&interfaces.exports)?;
    Ok((component, interfaces, export))
}

/// The WASI that it needs; refused where it is no WebAssembly or too large to compile.
pub(crate) fn needs(wasm: &[u8]) -> Result<Wasi, LoadError> {
    check_form(wasm)?;
    match Parser::is_component(wasm) {
        true => Ok(Interfaces::parse(wasm)?.wasi()),
        false => Ok(Wasi::V2),
    }
}

/// Loads from the cache where it can, else compiles and fills the cache. Blocks.
pub(crate) fn load(
    shared: &Arc<Shared>,
    digest: &str,
    wasm: &[u8],
) -> Result<Arc<Artifact>, LoadError> {
    if let Some(cached) = load_cached(shared, digest) {
        return Ok(cached);
    }
    let (component, interfaces, _) = examine(wasm)?;
    let wasi = interfaces.wasi();
    let lanes = shared.lanes(wasi).ok_or(LoadError::NoEngine)?;
    let component = bulk::in_steps(&component)
        .map_err(|error| LoadError::Invalid { reason: error.to_string() })?
        .map_err(|reason| LoadError::TooLarge { reason })?;
    let code = lanes.on_demand.engine.precompile_component(&component).map_err(invalid)?;
    if let Err(error) = lanes.cache.store(digest, &code) {
        // The artifact runs all the same; the next process compiles again.
        tracing::warn!(digest, "cannot keep compiled code: {error}");
    }
    if let Some(cached) = from_cache(shared, wasi, digest) {
        return Ok(cached);
    }
    link(shared, wasi, digest, |lane| aot::adopt(&lane.engine, &code))
}

/// Maps compiled code from the cache; `None` where there is none, or none that is sound.
pub(crate) fn load_cached(shared: &Arc<Shared>, digest: &str) -> Option<Arc<Artifact>> {
    from_cache(shared, Wasi::V2, digest).or_else(|| from_cache(shared, Wasi::V3, digest))
}

fn from_cache(shared: &Arc<Shared>, wasi: Wasi, digest: &str) -> Option<Arc<Artifact>> {
    // Without a cache there is no need to make engines in order to look.
    if !shared.keeps_code() {
        return None;
    }
    let file = shared.lanes(wasi)?.cache.verified(digest)?;
    let linked = link(shared, wasi, digest, |lane| aot::map(&lane.engine, &file));
    linked
        .inspect_err(|error| tracing::warn!(digest, "unusable compiled code in the cache: {error}"))
        .ok()
}

/// In the pool, or on demand where the component does not fit the pool's slots.
fn link(
    shared: &Arc<Shared>,
    wasi: Wasi,
    digest: &str,
    component: impl Fn(&Lane) -> wasmtime::Result<Component>,
) -> Result<Arc<Artifact>, LoadError> {
    let lanes = shared.lanes(wasi).ok_or(LoadError::NoEngine)?;
    let (lane, component) = place(lanes, component).map_err(invalid)?;
    let interfaces = Interfaces::of(&component);
    let export = export(&interfaces.exports)?;
    let wants = compose::wants(&component);
    let links = Arc::new(Links::default());
    let first = match wants.is_empty() {
        true => Pre::new(lane, &component, export, &links).map_err(invalid)?,
        false => Pre::Unlinked(component),
    };
    Ok(Arc::new(Artifact {
        digest: digest.to_owned(),
        export,
        wasi,
        exports: interfaces.exports,
        imports: interfaces.imports.into(),
        wants,
        links,
        composed: Mutex::default(),
        first,
        overflow: Mutex::new(None),
        shared: shared.clone(),
    }))
}

fn place(
    lanes: &Lanes,
    component: impl Fn(&Lane) -> wasmtime::Result<Component>,
) -> wasmtime::Result<(&Lane, Component)> {
    if let Some(lane) = lanes.pooled()
        && let Ok(component) = component(lane)
    {
        return Ok((lane, component));
    }
    Ok((&lanes.on_demand, component(&lanes.on_demand)?))
}

fn invalid(error: wasmtime::Error) -> LoadError {
    LoadError::Invalid { reason: format!("{error:#}") }
}

impl Artifact {
    pub fn world(&self) -> World {
        self.export.world()
    }

    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The names of its exports, with their versions.
    pub fn exports(&self) -> &[String] {
        &self.exports
    }

    /// Whether it imports this interface, in whatever version.
    pub fn imports(&self, interface: &str) -> bool {
        self.imports.iter().any(|name| Name::parse(name).interface == interface)
    }

    /// The imports that the host does not offer: another container has to.
    pub fn wants(&self) -> &[String] {
        &self.wants
    }

    /// Whether it exports this interface, in a version that is compatible.
    pub fn gives(&self, interface: &str) -> bool {
        self.exports.iter().any(|export| imports::is_same(interface, export))
    }

    pub(crate) fn component(&self) -> Component {
        self.first.component().clone()
    }

    pub(crate) fn links(&self) -> &Links {
        &self.links
    }

    pub(crate) fn guests(&self) -> &Handle {
        &self.shared.guests
    }

    /// The same code with these links, compared and made once for each set of providers.
    pub(crate) fn composed(
        self: &Arc<Self>,
        mut links: Links,
        others: &[(&str, &Artifact)],
    ) -> Result<Arc<Artifact>, StartError> {
        if links.interfaces.is_empty() {
            return Ok(self.clone());
        }
        let key = links.key();
        if let Some(made) = self.composed.lock().get(&key) {
            return Ok(made.clone());
        }
        links.compare(self, others).map_err(|unmet| StartError::Imports { unmet })?;
        let links = Arc::new(links);
        let failed = |error| StartError::Link { reason: format!("{error:#}") };
        let component = self.component();
        let lanes = self.lanes().map_err(failed)?;
        let lane = lanes
            .pooled()
            .filter(|lane| Engine::same(&lane.engine, component.engine()))
            .unwrap_or(&lanes.on_demand);
        let first = Pre::new(lane, &component, self.export, &links).map_err(failed)?;
        let made = Arc::new(Artifact {
            digest: self.digest.clone(),
            export: self.export,
            wasi: self.wasi,
            exports: self.exports.clone(),
            imports: self.imports.clone(),
            wants: self.wants.clone(),
            first,
            links,
            composed: Mutex::default(),
            overflow: Mutex::new(None),
            shared: self.shared.clone(),
        });
        let mut composed = self.composed.lock();
        if composed.len() >= COMPOSED_MAX {
            composed.clear();
        }
        composed.insert(key, made.clone());
        Ok(made)
    }

    /// What is called in an instance in a store of its own, from the pool or, where that is full, on demand.
    pub(crate) async fn instance(
        &self,
        ctx: impl Fn() -> wasmtime::Result<Ctx>,
    ) -> wasmtime::Result<(Store<Ctx>, Instance)> {
        let mut store = ctx()?.into_store(self.first.component().engine());
        match self.first.instance(&mut store).await {
            Err(error) if error.is::<PoolConcurrencyLimitError>() => {}
            instance => return Ok((store, instance?)),
        }
        // Not to be charged for both.
        drop(store);
        let pre = self.overflow()?;
        let mut store = ctx()?.into_store(pre.component().engine());
        let instance = pre.instance(&mut store).await?;
        Ok((store, instance))
    }

    /// As [`instance`](Self::instance), of whatever world: for calls by name.
    pub(crate) async fn bare_instance(
        &self,
        ctx: impl Fn() -> wasmtime::Result<Ctx>,
    ) -> wasmtime::Result<(Store<Ctx>, component::Instance)> {
        let mut store = ctx()?.into_store(self.first.component().engine());
        match self.first.bare(&mut store).await {
            Err(error) if error.is::<PoolConcurrencyLimitError>() => {}
            instance => return Ok((store, instance?)),
        }
        // Not to be charged for both.
        drop(store);
        let pre = self.overflow()?;
        let mut store = ctx()?.into_store(pre.component().engine());
        let instance = pre.bare(&mut store).await?;
        Ok((store, instance))
    }

    fn overflow(&self) -> wasmtime::Result<Pre> {
        let mut overflow = self.overflow.lock();
        if let Some(pre) = &*overflow {
            return Ok(pre.clone());
        }
        let lane = &self.lanes()?.on_demand;
        let component = aot::adopt(&lane.engine, &self.component().serialize()?)?;
        let made = Pre::new(lane, &component, self.export, &self.links)?;
        *overflow = Some(made.clone());
        Ok(made)
    }

    fn lanes(&self) -> wasmtime::Result<&Lanes> {
        self.shared.lanes(self.wasi).ok_or_else(|| wasmtime::format_err!("no engine"))
    }
}

/// Component bytes; a core module is adapted from WASI preview 1.
fn to_component(wasm: &[u8]) -> Result<std::borrow::Cow<'_, [u8]>, LoadError> {
    if Parser::is_component(wasm) {
        return Ok(wasm.into());
    }
    adapt(wasm).map(Into::into).map_err(|reason| LoadError::Invalid {
        reason: format!("cannot adapt this core module from WASI preview 1: {reason}"),
    })
}

fn adapt(core: &[u8]) -> Result<Vec<u8>, String> {
    let mut starts = false;
    for payload in Parser::new(0).parse_all(core) {
        if let Payload::ExportSection(exports) = payload.map_err(|error| error.to_string())? {
            starts |= exports.into_iter().flatten().any(|export| export.name == "_start");
        }
    }
    if !starts {
        return Err("it exports no _start function, so it is a library, not a command".to_owned());
    }
    let exits = exit_code::redirect(core);
    let exit_adapter = exits.as_ref().map(|_| exit_code::adapter()).transpose()?;
    wit_component::ComponentEncoder::default()
        .module(exits.as_deref().unwrap_or(core))
        .and_then(|encoder| {
            encoder.adapter(
                WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME,
                WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER,
            )
        })
        .and_then(|encoder| match exit_adapter {
            Some(adapter) => encoder.adapter(exit_code::ADAPTER_NAME, adapter),
            None => Ok(encoder),
        })
        .and_then(|mut encoder| encoder.encode())
        .map_err(|error| format!("{error:#}"))
}

/// What the first bytes look like, in words for whoever gave the wrong file.
fn describe(bytes: &[u8]) -> String {
    const MAGIC: &[(&[u8], &str)] = &[
        (b"\x7fELF", "an ELF file, a native program or library"),
        (b"\x1f\x8b", "gzip data; unpack it first"),
        (b"\x28\xb5\x2f\xfd", "zstd data; unpack it first"),
        (b"BZh", "bzip2 data; unpack it first"),
        (b"\xfd7zXZ", "xz data; unpack it first"),
        (b"PK\x03\x04", "a zip archive"),
        (b"MZ", "a Windows program"),
        (b"\xcf\xfa\xed\xfe", "a macOS program"),
        (b"\xca\xfe\xba\xbe", "a macOS program or Java class"),
        (b"!<arch>", "a static library"),
        (b"BC\xc0\xde", "LLVM bitcode"),
        (b"(module", "WebAssembly text; assemble it first (wat2wasm)"),
        (b"(component", "WebAssembly text; assemble it first (wasm-tools parse)"),
        (b"{", "JSON text"),
        (b"<", "HTML or XML text"),
    ];
    if bytes.is_empty() {
        return "the file is empty".to_owned();
    }
    if bytes.starts_with(b"\0asm") {
        return "a WebAssembly file of an unknown version".to_owned();
    }
    let head = &bytes[..bytes.len().min(64)];
    if head.starts_with(b"#!") {
        let line = head.split(|b| *b == b'\n').next().unwrap_or(head);
        return format!("a script ({})", String::from_utf8_lossy(line).trim_end());
    }
    if bytes.get(257..262) == Some(b"ustar") {
        return "a tar archive".to_owned();
    }
    if let Some((_, name)) = MAGIC.iter().find(|(magic, _)| head.starts_with(magic)) {
        return (*name).to_owned();
    }
    // The cut at 64 bytes may split a character.
    let text = match std::str::from_utf8(head) {
        Ok(text) => Some(text),
        Err(error) if head.len() - error.valid_up_to() < 4 => {
            std::str::from_utf8(&head[..error.valid_up_to()]).ok()
        }
        Err(_) => None,
    };
    let printable = |text: &&str| !text.contains(|c: char| c.is_control() && !c.is_whitespace());
    match text.filter(printable) {
        Some(text) => format!("text ({:?}…)", text.chars().take(24).collect::<String>()),
        None => {
            let hex: Vec<_> = head.iter().take(8).map(|b| format!("{b:02x}")).collect();
            format!("it begins with the bytes {}", hex.join(" "))
        }
    }
}

/// A component's imports and exports by name.
#[derive(Debug, Default, PartialEq, Eq)]
struct Interfaces {
    imports: Vec<String>,
    exports: Vec<String>,
    /// It lifts, lowers or uses something asynchronous, itself or within.
    is_async: bool,
}

impl Interfaces {
    /// From bytes, before they are compiled.
    fn parse(component: &[u8]) -> Result<Interfaces, LoadError> {
        let broken =
            |error: wasmparser::BinaryReaderError| LoadError::Invalid { reason: error.to_string() };
        let mut found = Interfaces::default();
        // Nested modules and components have interfaces of their own.
        let mut depth = 0usize;
        for payload in Parser::new(0).parse_all(component) {
            match payload.map_err(broken)? {
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ComponentCanonicalSection(functions) => {
                    for function in functions {
                        found.is_async |= is_async(&function.map_err(broken)?);
                    }
                }
                Payload::ComponentImportSection(imports) if depth == 0 => {
                    for import in imports {
                        found.imports.push(import.map_err(broken)?.name.name.to_owned());
                    }
                }
                Payload::ComponentExportSection(exports) if depth == 0 => {
                    for export in exports {
                        found.exports.push(export.map_err(broken)?.name.name.to_owned());
                    }
                }
                _ => {}
            }
        }
        Ok(found)
    }

    fn of(component: &Component) -> Interfaces {
        let engine = component.engine();
        let ty = component.component_type();
        Interfaces {
            imports: ty.imports(engine).map(|(name, _)| name.to_owned()).collect(),
            exports: ty.exports(engine).map(|(name, _)| name.to_owned()).collect(),
            is_async: engine.get_concurrency_support(),
        }
    }

    /// The engines it needs: those of 0.3 where anything of it is in sight.
    fn wasi(&self) -> Wasi {
        let mut names = self.imports.iter().chain(&self.exports);
        let third = |name: &String| {
            let version = Name::parse(name).version.filter(|_| name.starts_with("wasi:"));
            version.is_some_and(|version| imports::fits(version, "0.3"))
        };
        match self.is_async || names.any(third) {
            true => Wasi::V3,
            false => Wasi::V2,
        }
    }
}

fn is_async(function: &CanonicalFunction) -> bool {
    match function {
        CanonicalFunction::Lift { options, .. } | CanonicalFunction::Lower { options, .. } => {
            options.contains(&CanonicalOption::Async)
        }
        CanonicalFunction::ResourceNew { .. }
        | CanonicalFunction::ResourceDrop { .. }
        | CanonicalFunction::ResourceRep { .. } => false,
        // Tasks, streams, futures, waiting.
        _ => true,
    }
}

/// What is called in a component.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Export {
    /// `wasi:cli/run` 0.2.
    Run,
    /// `wasi:cli/run` 0.3.
    AsyncRun,
    /// `wasi:http/incoming-handler` 0.2.
    Handler,
    /// `wasi:http/handler` 0.3.
    AsyncHandler,
    /// Whatever it exports, by name.
    Library,
}

impl Export {
    /// One that exports several is called at the first of these.
    const WORLDS: [(Export, &str, &str); 4] = [
        (Export::AsyncHandler, "wasi:http/handler", "0.3"),
        (Export::Handler, "wasi:http/incoming-handler", "0.2"),
        (Export::AsyncRun, "wasi:cli/run", "0.3"),
        (Export::Run, "wasi:cli/run", "0.2"),
    ];

    fn world(self) -> World {
        match self {
            Export::Run | Export::AsyncRun => World::Command,
            Export::Handler | Export::AsyncHandler => World::Http,
            Export::Library => World::Library,
        }
    }
}

/// What is called in it, or why it cannot run.
fn export(exports: &[String]) -> Result<Export, LoadError> {
    let has = |interface: &str, series: &str| {
        exports.iter().map(|export| Name::parse(export)).any(|export| {
            export.interface == interface
                && export.version.is_some_and(|exported| imports::fits(exported, series))
        })
    };
    let found = Export::WORLDS.iter().find(|(_, interface, series)| has(interface, series));
    if let Some((export, ..)) = found {
        return Ok(*export);
    }
    // Of another version: to take it for a library would be to never run it, without a word.
    let is_world = |export: &&String| {
        let interface = Name::parse(export).interface;
        Export::WORLDS.iter().any(|(_, world, _)| *world == interface)
    };
    match exports.iter().find(is_world) {
        Some(world) => Err(LoadError::UnsupportedWorld { world: world.clone() }),
        None if exports.is_empty() => Err(LoadError::NoWorld),
        None => Ok(Export::Library),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn files_of_other_kinds_are_named() {
        for (bytes, expected) in [
            (&b""[..], "the file is empty"),
            (b"\x7fELF\x02\x01", "an ELF file, a native program or library"),
            (b"#!/bin/sh\necho", "a script (#!/bin/sh)"),
            (b"\x1f\x8b\x08", "gzip data; unpack it first"),
            (b"hello there", "text (\"hello there\"…)"),
            (b"\x01\x02\xff\xfe", "it begins with the bytes 01 02 ff fe"),
            (b"(module)", "WebAssembly text; assemble it first (wat2wasm)"),
        ] {
            assert_eq!(describe(bytes), expected);
        }
    }

    #[test]
    fn the_world_is_found_by_its_export_in_any_patch_version() {
        for (exports, expected) in [
            (&["wasi:cli/run@0.2.0"][..], Export::Run),
            (&["wasi:cli/run@0.2.12"], Export::Run),
            (&["wasi:cli/run@0.3.0"], Export::AsyncRun),
            (&["wasi:cli/run@0.2.0", "wasi:cli/run@0.3.2"], Export::AsyncRun),
            (&["wasi:http/incoming-handler@0.2.3"], Export::Handler),
            (&["wasi:cli/run@0.2.3", "wasi:http/handler@0.3.1"], Export::AsyncHandler),
            (&["acme:a/b", "wasi:http/incoming-handler@0.2.3"], Export::Handler),
            (&["acme:a/b@1.0.0"], Export::Library),
            (&["add"], Export::Library),
        ] {
            assert_eq!(export(&names(exports)).unwrap(), expected);
        }
        assert!(matches!(export(&[]), Err(LoadError::NoWorld)));
    }

    #[test]
    fn a_world_of_another_version_is_refused_by_name() {
        for world in ["wasi:cli/run@0.3.0-rc-2026-03-15", "wasi:cli/run", "wasi:http/handler@0.2.0"]
        {
            let error = export(&names(&["acme:a/b", world])).unwrap_err();
            assert!(error.to_string().contains(world), "{error}");
        }
    }

    #[test]
    fn anything_of_wasi_0_3_asks_for_its_engines() {
        for (imports, export, is_async, expected) in [
            ("wasi:io/streams@0.2.1", "wasi:cli/run@0.2.0", false, Wasi::V2),
            ("acme:db/store@0.3.0", "wasi:cli/run@0.2.0", false, Wasi::V2),
            ("wasi:random/random@0.3.0", "wasi:cli/run@0.2.0", false, Wasi::V3),
            ("wasi:io/streams@0.2.1", "wasi:http/handler@0.3.0", false, Wasi::V3),
            ("wasi:io/streams@0.2.1", "wasi:cli/run@0.2.0", true, Wasi::V3),
        ] {
            let imports = names(&[imports]);
            let interfaces = Interfaces { imports, exports: names(&[export]), is_async };
            assert_eq!(interfaces.wasi(), expected, "{interfaces:?}");
        }
    }
}
