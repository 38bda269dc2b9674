//! From bytes to an artifact: what kind of WebAssembly it is, which world it exports, its code.
//!
//! Judged before it is compiled, and by name: a file of another kind, a world that is not supported. What it imports
//! beyond what the host offers another container may give: that is judged when it starts (`compose.rs`).

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER,
};
use wasmparser::{Parser, Payload};
use wasmtime::component::{Component, Instance, InstancePre};
use wasmtime::{PoolConcurrencyLimitError, Store};
use wasmtime_wasi::p2::bindings::{Command, CommandPre};
use wasmtime_wasi_http::p2::bindings::{Proxy, ProxyPre};

use crate::aot;
use crate::compose::{self, Key, Links};
use crate::container::StartError;
use crate::context::Ctx;
use crate::engine::{Lane, Shared};
use crate::imports::{self, Name};
use crate::neighbours;

/// Compositions of one artifact that are kept; when there are more, all are made anew as they are needed.
const COMPOSED_MAX: usize = 16;

/// What an artifact is, by what it exports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum World {
    /// `wasi:cli/run` 0.2: runs to its exit.
    Command,
    /// `wasi:http/incoming-handler` 0.2: called for each request.
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
    #[error("exports {world}, a world that is not supported yet; build for WASI 0.2")]
    UnsupportedWorld { world: String },
    #[error("read or write the cache of compiled code")]
    Io(#[from] std::io::Error),
}

/// A component, compiled and, unless it wants something of other containers, linked: ready to be instantiated any
/// number of times.
pub struct Artifact {
    digest: String,
    world: World,
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
            .field("world", &self.world)
            .finish_non_exhaustive()
    }
}

#[derive(Clone)]
enum Pre {
    Command(CommandPre<Ctx>),
    Http(ProxyPre<Ctx>),
    Library(InstancePre<Ctx>),
    /// Wants something that is not linked.
    Unlinked(Component),
}

impl Pre {
    fn component(&self) -> &Component {
        match self {
            Pre::Command(pre) => pre.instance_pre().component(),
            Pre::Http(pre) => pre.instance_pre().component(),
            Pre::Library(pre) => pre.component(),
            Pre::Unlinked(component) => component,
        }
    }

    fn instance_pre(&self) -> wasmtime::Result<&InstancePre<Ctx>> {
        match self {
            Pre::Command(pre) => Ok(pre.instance_pre()),
            Pre::Http(pre) => Ok(pre.instance_pre()),
            Pre::Library(pre) => Ok(pre),
            Pre::Unlinked(_) => Err(wasmtime::format_err!("its imports are not linked")),
        }
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
    let component = to_component(wasm)?;
    judge(&Exports::parse(&component)?)?;
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
    let exports = Exports::of(&component);
    let world = judge(&exports)?;
    let wants = compose::wants(&component);
    let imported = component.component_type();
    let imported = imported.imports(component.engine());
    let imports = imported.map(|(name, _)| name.to_owned()).collect();
    let links = Arc::new(Links::default());
    let first = match wants.is_empty() {
        true => pre(lane, &component, world, &links).map_err(invalid)?,
        false => Pre::Unlinked(component),
    };
    Ok(Arc::new(Artifact {
        digest: digest.to_owned(),
        world,
        exports: exports.0,
        imports,
        wants,
        links,
        composed: Mutex::default(),
        first,
        overflow: Mutex::new(None),
        shared: shared.clone(),
    }))
}

fn pre(
    lane: &Lane,
    component: &Component,
    world: World,
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
    match world {
        World::Command => CommandPre::new(linked).map(Pre::Command),
        World::Http => ProxyPre::new(linked).map(Pre::Http),
        World::Library => Ok(Pre::Library(linked)),
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
        let component = self.component();
        let pooled = self.shared.pooled.as_ref();
        let lane = pooled
            .filter(|lane| wasmtime::Engine::same(&lane.engine, component.engine()))
            .unwrap_or(&self.shared.on_demand);
        let first = pre(lane, &component, self.world, &links)
            .map_err(|error| StartError::Link { reason: format!("{error:#}") })?;
        let made = Arc::new(Artifact {
            digest: self.digest.clone(),
            world: self.world,
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

    /// An instance of whatever world, of which nothing runs yet.
    pub(crate) async fn instance(
        &self,
        ctx: impl Fn() -> wasmtime::Result<Ctx>,
    ) -> wasmtime::Result<(Store<Ctx>, Instance)> {
        let pre = self.first.instance_pre()?;
        let mut store = ctx()?.into_store(pre.engine());
        match pre.instantiate_async(&mut store).await {
            Err(error) if error.is::<PoolConcurrencyLimitError>() => {}
            instance => return Ok((store, instance?)),
        }
        let overflow = self.overflow()?;
        let pre = overflow.instance_pre()?;
        let mut store = ctx()?.into_store(pre.engine());
        let instance = pre.instantiate_async(&mut store).await?;
        Ok((store, instance))
    }

    /// An instance in a store of its own, from the pool or, where that is full, on demand.
    pub(crate) async fn command(
        &self,
        ctx: impl Fn() -> wasmtime::Result<Ctx>,
    ) -> wasmtime::Result<(Store<Ctx>, Command)> {
        let command = |pre: Pre| match pre {
            Pre::Command(pre) => Ok(pre),
            _ => Err(wasmtime::format_err!("not a command")),
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
            _ => Err(wasmtime::format_err!("not an HTTP component")),
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
        let pooled = self.component();
        let lane = &self.shared.on_demand;
        let component = aot::adopt(&lane.engine, &pooled.serialize()?)?;
        let made = pre(lane, &component, self.world, &self.links)?;
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

/// A component's exports by name.
#[derive(Debug, Default, PartialEq, Eq)]
struct Exports(Vec<String>);

impl Exports {
    /// From bytes, before they are compiled.
    fn parse(component: &[u8]) -> Result<Exports, LoadError> {
        let broken =
            |error: wasmparser::BinaryReaderError| LoadError::Invalid { reason: error.to_string() };
        let mut found = Exports::default();
        // Nested modules and components have interfaces of their own.
        let mut depth = 0usize;
        for payload in Parser::new(0).parse_all(component) {
            match payload.map_err(broken)? {
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ComponentExportSection(exports) if depth == 0 => {
                    for export in exports {
                        found.0.push(export.map_err(broken)?.name.name.to_owned());
                    }
                }
                _ => {}
            }
        }
        Ok(found)
    }

    fn of(component: &Component) -> Exports {
        let engine = component.engine();
        let ty = component.component_type();
        Exports(ty.exports(engine).map(|(name, _)| name.to_owned()).collect())
    }
}

/// The world, or why it cannot run.
fn judge(exports: &Exports) -> Result<World, LoadError> {
    const WORLDS: &[&str] = &["wasi:http/incoming-handler", "wasi:http/handler", "wasi:cli/run"];
    let has = |interface: &str, version: &str| {
        exports.0.iter().map(|export| Name::parse(export)).any(|export| {
            export.interface == interface
                && export.version.is_some_and(|exported| imports::fits(exported, version))
        })
    };
    if has("wasi:http/incoming-handler", "0.2") {
        return Ok(World::Http);
    }
    if has("wasi:cli/run", "0.2") {
        return Ok(World::Command);
    }
    // Of another version: to take it for a library would be to never run it, without a word.
    let other = exports.0.iter().find(|export| WORLDS.contains(&Name::parse(export).interface));
    match other {
        Some(world) => Err(LoadError::UnsupportedWorld { world: world.clone() }),
        None if exports.0.is_empty() => Err(LoadError::NoWorld),
        None => Ok(World::Library),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    fn world(exports: &[&str]) -> Result<World, LoadError> {
        judge(&Exports(exports.iter().map(|name| (*name).to_owned()).collect()))
    }

    #[test]
    fn the_world_is_found_by_its_export_in_any_patch_version() {
        for (exports, expected) in [
            (&["wasi:cli/run@0.2.0"][..], World::Command),
            (&["wasi:cli/run@0.2.12"], World::Command),
            (&["acme:a/b", "wasi:http/incoming-handler@0.2.3"], World::Http),
            (&["acme:a/b@1.0.0"], World::Library),
            (&["add"], World::Library),
        ] {
            assert_eq!(world(exports).unwrap(), expected);
        }
    }

    #[test]
    fn a_world_of_another_wasi_is_refused_by_name() {
        for export in ["wasi:cli/run@0.3.0", "wasi:http/handler@0.3.0", "wasi:cli/run@0.2.0-rc-1"] {
            let error = world(&["acme:a/b", export]).unwrap_err();
            assert!(error.to_string().contains(export), "{error}");
        }
        assert!(matches!(world(&[]), Err(LoadError::NoWorld)));
    }
}
