//! From bytes to an artifact: what kind of WebAssembly it is, which world it exports, whether it can run here, its code.
//!
//! Judged before it is compiled, and by name: a file of another kind, a world that is not supported, imports that
//! nobody offers.

use std::sync::Arc;

use parking_lot::Mutex;
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER,
};
use wasmparser::{CanonicalFunction, CanonicalOption, Parser, Payload};
use wasmtime::component::Component;
use wasmtime::{Engine, PoolConcurrencyLimitError, Store};
use wasmtime_wasi::{p2, p3};
use wasmtime_wasi_http::{p2 as http2, p3 as http3};

use crate::aot;
use crate::context::{Ctx, OFFERED, OFFERED_3, OFFERED_3_VERSION, OFFERED_VERSION};
use crate::engine::{Lane, Lanes, Shared, Wasi};
use crate::exit_code;
use crate::size::{self, TooLarge};
use crate::snapshot::SnapshotError;

/// What an artifact is, by what it exports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum World {
    /// `wasi:cli/run` 0.2 or 0.3: runs to its exit.
    Command,
    /// `wasi:http/incoming-handler` 0.2 or `wasi:http/handler` 0.3: called for each request.
    Http,
}

#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("not a WebAssembly module or component: {found}")]
    NotWasm { found: String },
    #[error("invalid WebAssembly: {reason}")]
    Invalid { reason: String },
    #[error(
        "exports neither wasi:cli/run nor wasi:http/incoming-handler nor wasi:http/handler, so there is nothing to start (exports: {})",
        list(exports)
    )]
    NoWorld { exports: Vec<String> },
    #[error("imports what is not offered here: {} (offered: {})", list(missing), list(offered))]
    UnknownImports { missing: Vec<String>, offered: Vec<String> },
    #[error("too large: {reason}")]
    TooLarge { reason: TooLarge },
    #[error("there is no engine for WASI 0.3 here; the log says why")]
    NoEngine,
    #[error("cannot start from a snapshot: {0}")]
    Snapshot(#[from] SnapshotError),
    #[error("read or write the cache of compiled code")]
    Io(#[from] std::io::Error),
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        return "none".to_owned();
    }
    names.join(", ")
}

/// A component, compiled and linked, ready to be instantiated any number of times.
pub struct Artifact {
    digest: String,
    world: World,
    wasi: Wasi,
    first: Pre,
    /// The same code on the on-demand engine, made when the pool is first found full.
    overflow: Mutex<Option<Pre>>,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Artifact {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Artifact")
            .field("digest", &self.digest)
            .field("world", &self.world)
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
}

/// What can be called.
pub(crate) enum Instance {
    Command(p2::bindings::Command),
    AsyncCommand(p3::bindings::Command),
    Http(http2::bindings::Proxy),
    AsyncHttp(http3::bindings::Service),
}

impl Pre {
    fn new(lane: &Lane, component: &Component, export: Export) -> wasmtime::Result<Pre> {
        let linked = lane.linker.instantiate_pre(component)?;
        match export {
            Export::Run => p2::bindings::CommandPre::new(linked).map(Pre::Command),
            Export::AsyncRun => p3::bindings::CommandPre::new(linked).map(Pre::AsyncCommand),
            Export::Handler => http2::bindings::ProxyPre::new(linked).map(Pre::Http),
            Export::AsyncHandler => http3::bindings::ServicePre::new(linked).map(Pre::AsyncHttp),
        }
    }

    fn component(&self) -> &Component {
        match self {
            Pre::Command(pre) => pre.instance_pre().component(),
            Pre::AsyncCommand(pre) => pre.instance_pre().component(),
            Pre::Http(pre) => pre.instance_pre().component(),
            Pre::AsyncHttp(pre) => pre.instance_pre().component(),
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
        }
    }
}

/// Whether it could be run here, and as what; nothing is compiled. What is found sound here may still not validate.
pub fn judge(wasm: &[u8]) -> Result<World, LoadError> {
    Ok(examine(wasm)?.2.world())
}

/// Everything that is judged before compiling, and the component to compile.
fn examine(wasm: &[u8]) -> Result<(std::borrow::Cow<'_, [u8]>, Interfaces, Export), LoadError> {
    if !Parser::is_component(wasm) && !Parser::is_core_wasm(wasm) {
        return Err(LoadError::NotWasm { found: describe(wasm) });
    }
    size::check(wasm)
        .map_err(|error| LoadError::Invalid { reason: error.to_string() })?
        .map_err(|reason| LoadError::TooLarge { reason })?;
    let component = to_component(wasm)?;
    let interfaces = Interfaces::parse(&component)?;
    let export = judge_interfaces(&interfaces)?;
    Ok((component, interfaces, export))
}

/// The engine that compiles it, once it is judged.
pub(crate) fn engine<'a>(shared: &'a Shared, wasm: &[u8]) -> Result<&'a Engine, LoadError> {
    let wasi = examine(wasm)?.1.wasi();
    Ok(&shared.lanes(wasi).ok_or(LoadError::NoEngine)?.on_demand.engine)
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
    let export = judge_interfaces(&Interfaces::of(&component))?;
    Ok(Arc::new(Artifact {
        digest: digest.to_owned(),
        world: export.world(),
        wasi,
        first: Pre::new(lane, &component, export).map_err(invalid)?,
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
        self.world
    }

    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// An instance in a store of its own, from the pool or, where that is full, on demand.
    pub(crate) async fn instance(
        &self,
        ctx: impl Fn() -> wasmtime::Result<Ctx>,
    ) -> wasmtime::Result<(Store<Ctx>, Instance)> {
        let mut store = ctx()?.into_store(self.first.component().engine());
        match self.first.instance(&mut store).await {
            Err(error) if error.is::<PoolConcurrencyLimitError>() => {}
            instance => return Ok((store, instance?)),
        }
        let pre = self.overflow()?;
        let mut store = ctx()?.into_store(pre.component().engine());
        let instance = pre.instance(&mut store).await?;
        Ok((store, instance))
    }

    fn overflow(&self) -> wasmtime::Result<Pre> {
        let mut overflow = self.overflow.lock();
        if let Some(pre) = &*overflow {
            return Ok(pre.clone());
        }
        let pooled = self.first.component();
        let lanes = self.shared.lanes(self.wasi);
        let lane = &lanes.ok_or_else(|| wasmtime::format_err!("no engine"))?.on_demand;
        let component = aot::adopt(&lane.engine, &pooled.serialize()?)?;
        let export = judge_interfaces(&Interfaces::of(&component))?;
        let made = Pre::new(lane, &component, export)?;
        *overflow = Some(made.clone());
        Ok(made)
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
            name.starts_with("wasi:")
                && name.split_once('@').is_some_and(|(_, version)| is_compatible(version, "0.3"))
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
}

impl Export {
    /// One that exports several is called at the first of these.
    const ALL: [(Export, &str, &str); 4] = [
        (Export::AsyncHandler, "wasi:http/handler", "0.3"),
        (Export::Handler, "wasi:http/incoming-handler", "0.2"),
        (Export::AsyncRun, "wasi:cli/run", "0.3"),
        (Export::Run, "wasi:cli/run", "0.2"),
    ];

    fn world(self) -> World {
        match self {
            Export::Run | Export::AsyncRun => World::Command,
            Export::Handler | Export::AsyncHandler => World::Http,
        }
    }
}

/// What is called in it, or why it cannot run.
fn judge_interfaces(interfaces: &Interfaces) -> Result<Export, LoadError> {
    let export = export(&interfaces.exports)?;
    let missing: Vec<_> =
        interfaces.imports.iter().filter(|import| !is_offered(import)).cloned().collect();
    if missing.is_empty() {
        return Ok(export);
    }
    let second = OFFERED.iter().map(|name| format!("{name}@{OFFERED_VERSION}"));
    let third = OFFERED_3.iter().map(|name| format!("{name}@{OFFERED_3_VERSION}"));
    Err(LoadError::UnknownImports { missing, offered: second.chain(third).collect() })
}

fn export(exports: &[String]) -> Result<Export, LoadError> {
    let has = |interface: &str, series: &str| {
        exports.iter().any(|export| {
            export
                .split_once('@')
                .is_some_and(|(name, version)| name == interface && is_compatible(version, series))
        })
    };
    let found = Export::ALL.iter().find(|(_, interface, series)| has(interface, series));
    match found {
        Some((export, ..)) => Ok(*export),
        None => Err(LoadError::NoWorld { exports: exports.to_vec() }),
    }
}

fn is_offered(import: &str) -> bool {
    let Some((name, version)) = import.split_once('@') else { return false };
    (OFFERED.contains(&name) && is_compatible(version, OFFERED_VERSION))
        || (OFFERED_3.contains(&name) && is_compatible(version, OFFERED_3_VERSION))
}

/// `0.2.7` fits `0.2`; a pre-release fits nothing but itself.
fn is_compatible(version: &str, series: &str) -> bool {
    version
        .strip_prefix(series)
        .and_then(|rest| rest.strip_prefix('.'))
        .is_some_and(|patch| patch.bytes().all(|b| b.is_ascii_digit()))
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
        ] {
            assert_eq!(export(&names(exports)).unwrap(), expected);
        }
        for unknown in ["a:b/c", "wasi:cli/run@0.3.0-rc-2026-03-15", "wasi:cli/run"] {
            assert!(matches!(export(&names(&[unknown])), Err(LoadError::NoWorld { .. })));
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

    #[test]
    fn all_unknown_imports_are_listed() {
        let error = judge_interfaces(&Interfaces {
            imports: names(&[
                "wasi:io/streams@0.2.1",
                "wasi:cli/stdin@0.3.2",
                "wasi:nn/graph@0.2.0",
                "wasi:io/streams@0.3.0",
                "wasi:io/streams@0.2.0-rc-2023-11-10",
                "acme:db/store",
            ]),
            exports: names(&["wasi:cli/run@0.2.0"]),
            is_async: false,
        });
        let Err(LoadError::UnknownImports { missing, offered }) = error else {
            panic!("{error:?}");
        };
        assert_eq!(missing.len(), 4);
        assert!(offered.contains(&"wasi:io/streams@0.2".to_owned()));
        assert!(offered.contains(&"wasi:cli/stdin@0.3".to_owned()));
    }
}
