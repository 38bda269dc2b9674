//! The cache of compiled code: one file a digest, beside it the checksum that is verified before the file is mapped.
//! What goes again, and when: `kept.rs`.
//!
//! The only unsafe code of the crate stands here: wasmtime trusts compiled code that it is given. What is trusted is
//! what this process compiled itself, or a file of the cache folder whose checksum fits: a truncated or damaged file is
//! never mapped. Whoever may write to the folder may replace both, so it is created for its owner alone.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use sha2::{Digest as _, Sha256};
use wasi_preview1_component_adapter_provider::WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER;
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::exit_code;
use crate::kept;

/// Raised with every change of what is done to a file before it is compiled, be it ours or that of a library
/// (`wit-component`, `wasmtime-wizer`): code that was compiled before is then never run again. The engine's version and
/// settings and the adapters are in the key by themselves.
const REVISION: u32 = 2;

/// The folder for one engine's code. `None`: nothing is kept.
#[derive(Debug, Clone)]
pub(crate) struct AotCache(Option<Folder>);

#[derive(Debug, Clone)]
struct Folder {
    root: PathBuf,
    dir: PathBuf,
    /// Of all engines' code together.
    bytes_max: u64,
}

impl AotCache {
    /// Code of another [key](key_of) lies in another folder and is never looked at.
    pub(crate) fn open(
        root: Option<&Path>,
        bytes_max: u64,
        engine: &Engine,
    ) -> io::Result<AotCache> {
        let Some(root) = root else {
            return Ok(AotCache(None));
        };
        let dir = root.join(key_of(engine));
        create_private_dir(&dir)?;
        Ok(AotCache(Some(Folder { root: root.to_owned(), dir, bytes_max })))
    }

    /// The file of a digest, where its checksum fits. It counts as used.
    pub(crate) fn verified(&self, digest: &str) -> Option<PathBuf> {
        let file = self.file(digest)?;
        let expected = std::fs::read(sum_of(&file)).ok()?;
        let code = std::fs::read(&file).ok()?;
        if Sha256::digest(&code).as_slice() == expected {
            let used =
                std::fs::File::open(&file).and_then(|open| open.set_modified(SystemTime::now()));
            if let Err(error) = used {
                tracing::debug!(file = %file.display(), "its use is not noted: {error}");
            }
            return Some(file);
        }
        tracing::warn!(file = %file.display(), "damaged file in the cache of compiled code: compiling anew");
        None
    }

    /// Writes both files, each whole or not at all.
    pub(crate) fn store(&self, digest: &str, code: &[u8]) -> io::Result<()> {
        let Some(file) = self.file(digest) else {
            return Ok(());
        };
        write_atomically(&file, code)?;
        write_atomically(&sum_of(&file), &Sha256::digest(code))?;
        if let Some(folder) = &self.0 {
            kept::trim(&folder.root, &file, folder.bytes_max);
        }
        Ok(())
    }

    fn file(&self, digest: &str) -> Option<PathBuf> {
        let dir = &self.0.as_ref()?.dir;
        kept::file_name(digest).map(|name| dir.join(name).with_extension(kept::CODE))
    }
}

/// What the code that an engine compiles here depends on, beside the file: two binaries with the same key compile alike.
pub(crate) fn key_of(engine: &Engine) -> String {
    let (module, interface) = exit_code::parts();
    let adapters = [WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER, &module, interface.as_bytes()];
    key(engine.precompile_compatibility_hash(), REVISION, &adapters)
}

fn key(engine: impl Hash, revision: u32, adapters: &[&[u8]]) -> String {
    let mut hasher = DefaultHasher::new();
    engine.hash(&mut hasher);
    revision.hash(&mut hasher);
    adapters.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

fn sum_of(file: &Path) -> PathBuf {
    file.with_extension(kept::SUM)
}

fn create_private_dir(dir: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

fn write_atomically(file: &Path, bytes: &[u8]) -> io::Result<()> {
    static UNIQUE: AtomicU64 = AtomicU64::new(0);
    let unique = UNIQUE.fetch_add(1, Ordering::Relaxed);
    let temporary = file.with_extension(format!("{}{unique}", kept::temporary()));
    let written = std::fs::File::create(&temporary)
        .and_then(|mut open| open.write_all(bytes))
        .and_then(|()| std::fs::rename(&temporary, file));
    if written.is_err() {
        // Best effort: a leftover is harmless, its name is never read.
        let _ = std::fs::remove_file(&temporary);
    }
    written
}

/// Maps a verified file of the cache.
pub(crate) fn map(engine: &Engine, file: &Path) -> wasmtime::Result<Component> {
    #[expect(unsafe_code, reason = "wasmtime's API; `file` comes from `AotCache::verified`")]
    // SAFETY: the file's checksum fits what this program compiled, and files are replaced by renaming, never changed.
    unsafe {
        Component::deserialize_file(engine, file)
    }
}

/// Loads code that this process compiled.
pub(crate) fn adopt(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    #[expect(unsafe_code, reason = "wasmtime's API; `code` was compiled by this process")]
    // SAFETY: `code` comes from `Engine::precompile_component` or `Component::serialize` in this process.
    unsafe {
        Component::deserialize(engine, code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_covers_whatever_changes_what_is_compiled() {
        let adapters: [&[u8]; 2] = [b"one", b"two"];
        let ours = key("engine", 1, &adapters);
        assert_eq!(ours, key("engine", 1, &adapters));
        for other in [
            key("another", 1, &adapters),
            key("engine", 2, &adapters),
            key("engine", 1, &[b"one", b"TWO"]),
            key("engine", 1, &[b"on", b"etwo"]),
        ] {
            assert_ne!(ours, other);
        }
    }
}
