//! From bytes to an artifact: what kind of WebAssembly it is, which world it exports, whether it can run here, its code.
//!
//! Judged before it is compiled, and by name: a file of another kind, a world that is not supported, imports that
//! nobody offers.

use std::sync::Arc;

use parking_lot::Mutex;
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER,
};
use wasmparser::{Parser, Payload};
use wasmtime::component::Component;
use wasmtime::{PoolConcurrencyLimitError, Store};
use wasmtime_wasi::p2::bindings::{Command, CommandPre};
use wasmtime_wasi_http::p2::bindings::{Proxy, ProxyPre};

use crate::aot;
use crate::context::{Ctx, OFFERED, OFFERED_VERSION};
use crate::engine::{Lane, Shared};
use crate::snapshot::SnapshotError;

/// What an artifact is, by what it exports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum World {
    /// `wasi:cli/run` 0.2: runs to its exit.
    Command,
    /// `wasi:http/incoming-handler` 0.2: called for each request.
    Http,
}

#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("not a WebAssembly module or component: {found}")]
    NotWasm { found: String },
    #[error("invalid WebAssembly: {reason}")]
    Invalid { reason: String },
    #[error(
        "exports neither wasi:cli/run nor wasi:http/incoming-handler, so there is nothing to start (exports: {})",
        list(exports)
    )]
    NoWorld { exports: Vec<String> },
    #[error("imports what is not offered here: {} (offered: {})", list(missing), list(offered))]
    UnknownImports { missing: Vec<String>, offered: Vec<String> },
    #[error("exports {world}, a world that is not supported yet; build for WASI 0.2")]
    UnsupportedWorld { world: String },
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

#[derive(Clone)]
enum Pre {
    Command(CommandPre<Ctx>),
    Http(ProxyPre<Ctx>),
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
    let component = to_component(wasm)?;
    judge(&Interfaces::parse(&component)?)?;
    let code = shared.on_demand.engine.precompile_component(&component).map_err(invalid)?;
    if let Err(error) = shared.cache.store(digest, &code) {
        // The artifact runs all the same; the next process compiles again.
        tracing::warn!(digest, "cannot keep compiled code: {error}");
    }
    if let Some(cached) = load_cached(shared, digest) {
        return Ok(cached);
    }
    link(shared, digest, |lane| aot::adopt(&lane.engine, &code))
}

/// Maps compiled code from the cache; `None` where there is none, or none that is sound.
pub(crate) fn load_cached(shared: &Arc<Shared>, digest: &str) -> Option<Arc<Artifact>> {
    let file = shared.cache.verified(digest)?;
    let linked = link(shared, digest, |lane| aot::map(&lane.engine, &file));
    linked
        .inspect_err(|error| tracing::warn!(digest, "unusable compiled code in the cache: {error}"))
        .ok()
}

/// In the pool, or on demand where the component does not fit the pool's slots.
fn link(
    shared: &Arc<Shared>,
    digest: &str,
    component: impl Fn(&Lane) -> wasmtime::Result<Component>,
) -> Result<Arc<Artifact>, LoadError> {
    let pooled = shared.pooled.as_ref().and_then(|lane| Some((lane, component(lane).ok()?)));
    let (lane, component) = match pooled {
        Some(pooled) => pooled,
        None => {
            let lane = &shared.on_demand;
            (lane, component(lane).map_err(invalid)?)
        }
    };
    let world = judge(&Interfaces::of(&component))?;
    Ok(Arc::new(Artifact {
        digest: digest.to_owned(),
        world,
        first: pre(lane, &component, world).map_err(invalid)?,
        overflow: Mutex::new(None),
        shared: shared.clone(),
    }))
}

fn pre(lane: &Lane, component: &Component, world: World) -> wasmtime::Result<Pre> {
    let linked = lane.linker.instantiate_pre(component)?;
    match world {
        World::Command => CommandPre::new(linked).map(Pre::Command),
        World::Http => ProxyPre::new(linked).map(Pre::Http),
    }
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
    pub(crate) async fn command(
        &self,
        ctx: impl Fn() -> wasmtime::Result<Ctx>,
    ) -> wasmtime::Result<(Store<Ctx>, Command)> {
        let command = |pre: Pre| match pre {
            Pre::Command(pre) => Ok(pre),
            Pre::Http(_) => Err(wasmtime::format_err!("not a command")),
        };
        let pre = command(self.first.clone())?;
        let mut store = ctx()?.into_store(pre.engine());
        match pre.instantiate_async(&mut store).await {
            Err(error) if error.is::<PoolConcurrencyLimitError>() => {}
            instance => return Ok((store, instance?)),
        }
        let pre = command(self.overflow()?)?;
        let mut store = ctx()?.into_store(pre.engine());
        let instance = pre.instantiate_async(&mut store).await?;
        Ok((store, instance))
    }

    /// As [`command`](Self::command), for a request.
    pub(crate) async fn proxy(
        &self,
        ctx: impl Fn() -> wasmtime::Result<Ctx>,
    ) -> wasmtime::Result<(Store<Ctx>, Proxy)> {
        let proxy = |pre: Pre| match pre {
            Pre::Http(pre) => Ok(pre),
            Pre::Command(_) => Err(wasmtime::format_err!("not an HTTP component")),
        };
        let pre = proxy(self.first.clone())?;
        let mut store = ctx()?.into_store(pre.engine());
        match pre.instantiate_async(&mut store).await {
            Err(error) if error.is::<PoolConcurrencyLimitError>() => {}
            instance => return Ok((store, instance?)),
        }
        let pre = proxy(self.overflow()?)?;
        let mut store = ctx()?.into_store(pre.engine());
        let instance = pre.instantiate_async(&mut store).await?;
        Ok((store, instance))
    }

    fn overflow(&self) -> wasmtime::Result<Pre> {
        let mut overflow = self.overflow.lock();
        if let Some(pre) = &*overflow {
            return Ok(pre.clone());
        }
        let pooled = match &self.first {
            Pre::Command(pre) => pre.instance_pre().component().clone(),
            Pre::Http(pre) => pre.instance_pre().component().clone(),
        };
        let lane = &self.shared.on_demand;
        let component = aot::adopt(&lane.engine, &pooled.serialize()?)?;
        let made = pre(lane, &component, self.world)?;
        *overflow = Some(made.clone());
        Ok(made)
    }
}

/// Component bytes; a core module is adapted from WASI preview 1.
fn to_component(wasm: &[u8]) -> Result<std::borrow::Cow<'_, [u8]>, LoadError> {
    if Parser::is_component(wasm) {
        return Ok(wasm.into());
    }
    if !Parser::is_core_wasm(wasm) {
        let found = describe(wasm);
        return Err(LoadError::NotWasm { found });
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
    wit_component::ComponentEncoder::default()
        .module(core)
        .and_then(|encoder| {
            encoder.adapter(
                WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME,
                WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER,
            )
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
        }
    }
}

/// The world, or why it cannot run.
fn judge(interfaces: &Interfaces) -> Result<World, LoadError> {
    let world = world(&interfaces.exports)?;
    let missing: Vec<_> =
        interfaces.imports.iter().filter(|import| !is_offered(import)).cloned().collect();
    if missing.is_empty() {
        return Ok(world);
    }
    Err(LoadError::UnknownImports {
        missing,
        offered: OFFERED.iter().map(|name| format!("{name}@{OFFERED_VERSION}")).collect(),
    })
}

fn world(exports: &[String]) -> Result<World, LoadError> {
    let has = |interface: &str, version: &str| {
        exports.iter().find(|export| {
            export.split_once('@').is_some_and(|(name, exported)| {
                name == interface && is_compatible(exported, version)
            })
        })
    };
    if has("wasi:http/incoming-handler", "0.2").is_some() {
        return Ok(World::Http);
    }
    if has("wasi:cli/run", "0.2").is_some() {
        return Ok(World::Command);
    }
    let next = has("wasi:http/handler", "0.3").or_else(|| has("wasi:cli/run", "0.3"));
    match next {
        Some(world) => Err(LoadError::UnsupportedWorld { world: world.clone() }),
        None => Err(LoadError::NoWorld { exports: exports.to_vec() }),
    }
}

fn is_offered(import: &str) -> bool {
    import.split_once('@').is_some_and(|(name, version)| {
        OFFERED.contains(&name) && is_compatible(version, OFFERED_VERSION)
    })
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
        for (export, expected) in [
            ("wasi:cli/run@0.2.0", World::Command),
            ("wasi:cli/run@0.2.12", World::Command),
            ("wasi:http/incoming-handler@0.2.3", World::Http),
        ] {
            assert_eq!(world(&names(&[export])).unwrap(), expected);
        }
    }

    #[test]
    fn a_world_of_the_next_wasi_is_refused_by_name() {
        for export in ["wasi:cli/run@0.3.0", "wasi:http/handler@0.3.0"] {
            let error = world(&names(&[export])).unwrap_err();
            assert!(error.to_string().contains(export), "{error}");
        }
        assert!(matches!(world(&names(&["a:b/c"])), Err(LoadError::NoWorld { .. })));
    }

    #[test]
    fn all_unknown_imports_are_listed() {
        let error = judge(&Interfaces {
            imports: names(&[
                "wasi:io/streams@0.2.1",
                "wasi:nn/graph@0.2.0",
                "wasi:io/streams@0.2.0-rc-2023-11-10",
                "acme:db/store",
            ]),
            exports: names(&["wasi:cli/run@0.2.0"]),
        });
        let Err(LoadError::UnknownImports { missing, offered }) = error else {
            panic!("{error:?}");
        };
        assert_eq!(missing.len(), 3);
        assert!(offered.contains(&"wasi:io/streams@0.2".to_owned()));
    }
}
