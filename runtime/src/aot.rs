//! The cache of compiled code: one file a digest, beside it the checksum that is verified before the file is mapped.
//!
//! The only unsafe code of the crate stands here: wasmtime trusts compiled code that it is given. What is trusted is
//! what this process compiled itself, or a file of the cache folder whose checksum fits: a truncated or damaged file is
//! never mapped. Whoever may write to the folder may replace both, so it is created for its owner alone.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest as _, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

/// The folder for one engine's code. `None` as the path: nothing is kept.
#[derive(Debug, Clone)]
pub(crate) struct AotCache {
    dir: Option<PathBuf>,
}

impl AotCache {
    /// Code of another engine version or of other settings lies in another folder and is never looked at.
    pub(crate) fn open(root: Option<&Path>, engine: &Engine) -> io::Result<AotCache> {
        let Some(root) = root else {
            return Ok(AotCache { dir: None });
        };
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        let dir = root.join(format!("{:016x}", hasher.finish()));
        create_private_dir(&dir)?;
        Ok(AotCache { dir: Some(dir) })
    }

    /// The file of a digest, where its checksum fits.
    pub(crate) fn verified(&self, digest: &str) -> Option<PathBuf> {
        let file = self.file(digest)?;
        let expected = std::fs::read(sum_of(&file)).ok()?;
        let code = std::fs::read(&file).ok()?;
        if Sha256::digest(&code).as_slice() == expected {
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
        write_atomically(&sum_of(&file), &Sha256::digest(code))
    }

    fn file(&self, digest: &str) -> Option<PathBuf> {
        let dir = self.dir.as_ref()?;
        let name = digest.replace(':', "-");
        let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        (plain && !name.is_empty()).then(|| dir.join(format!("{name}.cwasm")))
    }
}

fn sum_of(file: &Path) -> PathBuf {
    file.with_extension("sha256")
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
    let temporary = file.with_extension(format!("tmp-{}-{unique}", std::process::id()));
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
