//! Images on this node: references, the content store, and artifacts ready to start.
//!
//! There is no pull from a registry yet: an image is here because it was imported, or it is a
//! `file://` of an allowed folder. What a user wrote stays what is shown; look-ups use the
//! normal form.

mod form;
mod reference;
mod store;
mod turns;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use copepod_runtime::{Artifact, LoadError, Runtime};
use parking_lot::RwLock;
use tokio::sync::{mpsc, watch};

pub use reference::{FilePath, Reference};
pub use store::{Imported, StoreError, Stored};

use crate::pods::machine::ImageProblem;
use crate::pods::snapshot::StartFrom;
use store::Store;
use turns::Turns;

/// The images of one node.
pub struct Images {
    store: Arc<Store>,
    runtime: Arc<Runtime>,
    allowed_dirs: Vec<PathBuf>,
    /// By digest; what is here starts without a look at the disk.
    artifacts: RwLock<HashMap<Arc<str>, Arc<Artifact>>>,
    /// The same, initialised.
    snapshots: RwLock<HashMap<Arc<str>, Arc<Artifact>>>,
    loading: Turns,
    changed: watch::Sender<u64>,
}

impl Images {
    /// Opens the store under `folder`, making it where it is missing.
    pub fn open(
        folder: &Path,
        runtime: Arc<Runtime>,
        allowed_dirs: Vec<PathBuf>,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            store: Arc::new(Store::open(folder)?),
            runtime,
            allowed_dirs,
            artifacts: RwLock::default(),
            snapshots: RwLock::default(),
            loading: Turns::default(),
            changed: watch::Sender::new(0),
        })
    }

    /// Changes whenever an image is added or removed.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Takes in a file as its pieces come; `None` says that it is whole. Where the pieces end
    /// without it, nothing is kept.
    pub async fn import(
        &self,
        reference: &str,
        mut pieces: mpsc::Receiver<Option<Bytes>>,
    ) -> Result<Option<Imported>, StoreError> {
        let reference = Reference::parse(reference)?;
        let store = self.store.clone();
        let imported = blocking(move || {
            let mut incoming = store.receive()?;
            while let Some(piece) = pieces.blocking_recv() {
                match piece {
                    Some(bytes) => incoming.write(&bytes)?,
                    None => return incoming.finish(&reference).map(Some),
                }
            }
            Ok(None)
        })
        .await?;
        let Some((imported, unused)) = imported else { return Ok(None) };
        if let Some(digest) = unused {
            self.forget(digest).await;
        }
        self.changed.send_modify(|count| *count += 1);
        Ok(Some(imported))
    }

    pub fn list(&self) -> Vec<Stored> {
        self.store.list()
    }

    pub async fn remove(&self, reference: &str) -> Result<bool, StoreError> {
        let reference = Reference::parse(reference)?;
        let store = self.store.clone();
        let removed = blocking(move || store.remove(&reference)).await?;
        if let Some(digest) = removed.unused {
            self.forget(digest).await;
        }
        self.changed.send_modify(|count| *count += 1);
        Ok(removed.found)
    }

    /// Frees what is held of an image, in memory once no container runs it, and its compiled code on disk.
    async fn forget(&self, digest: String) {
        self.artifacts.write().remove(digest.as_str());
        self.snapshots.write().remove(digest.as_str());
        let runtime = self.runtime.clone();
        blocking(move || runtime.forget(&digest)).await;
    }

    /// The digest of an image that can be started without any waiting.
    pub fn ready(&self, image: &str, start: StartFrom) -> Option<Arc<str>> {
        let reference = Reference::parse(image).ok()?;
        let digest = self.store.digest(&reference)?;
        let artifacts = self.of(start).read();
        artifacts.get_key_value(digest.as_str()).map(|(digest, _)| digest.clone())
    }

    /// The artifact of a digest that [`Images::ensure`] gave out before.
    pub fn artifact(&self, digest: &str, start: StartFrom) -> Option<Arc<Artifact>> {
        self.of(start).read().get(digest).cloned()
    }

    fn of(&self, start: StartFrom) -> &RwLock<HashMap<Arc<str>, Arc<Artifact>>> {
        match start {
            StartFrom::Scratch => &self.artifacts,
            StartFrom::Snapshot => &self.snapshots,
        }
    }

    /// Looks the image up and makes it ready, compiling it where that was not done before;
    /// gives its digest.
    pub async fn ensure(
        &self,
        image: &str,
        policy: Option<&str>,
        start: StartFrom,
    ) -> Result<Arc<str>, ImageProblem> {
        if image.starts_with("file:") {
            return self.loading.take(image, self.ensure_file(image, start)).await;
        }
        let reference = Reference::parse(image)
            .map_err(|error| ImageProblem::InvalidName { message: error.kubelet_message(image) })?;
        let Some(digest) = self.store.digest(&reference) else {
            return Err(match policy {
                Some("Never") => ImageProblem::NeverPull,
                _ => ImageProblem::Pull { message: missing(image) },
            });
        };
        let key = format!("{digest} {start:?}");
        self.loading.take(&key, self.ensure_stored(image, digest, start)).await
    }

    async fn ensure_stored(
        &self,
        image: &str,
        digest: String,
        start: StartFrom,
    ) -> Result<Arc<str>, ImageProblem> {
        if self.artifact(&digest, start).is_some() {
            return Ok(digest.into());
        }
        let cached = match start {
            StartFrom::Scratch => self.runtime.load_cached(&digest).await,
            StartFrom::Snapshot => self.runtime.load_cached_snapshot(&digest).await,
        };
        if let Some(artifact) = cached {
            return Ok(self.keep(&digest, start, artifact));
        }
        let store = self.store.clone();
        let wanted = digest.clone();
        let wasm = blocking(move || store.read(&wanted)).await.map_err(|error| {
            ImageProblem::Pull { message: format!("the stored image cannot be read: {error}") }
        })?;
        self.load(image, &digest, start, wasm).await
    }

    async fn ensure_file(&self, image: &str, start: StartFrom) -> Result<Arc<str>, ImageProblem> {
        let path = FilePath::parse(image)
            .map_err(|error| ImageProblem::InvalidName { message: error.kubelet_message(image) })?;
        let allowed = self.allowed_dirs.clone();
        let read = blocking(move || path.read(&allowed)).await;
        let wasm = read.map_err(|error| ImageProblem::Pull { message: error.to_string() })?;
        let digest = store::digest(&wasm);
        if self.artifact(&digest, start).is_some() {
            return Ok(digest.into());
        }
        self.load(image, &digest, start, wasm).await
    }

    async fn load(
        &self,
        image: &str,
        digest: &str,
        start: StartFrom,
        wasm: Bytes,
    ) -> Result<Arc<str>, ImageProblem> {
        let loaded = match start {
            StartFrom::Scratch => self.runtime.load(digest, wasm).await,
            StartFrom::Snapshot => self.runtime.load_snapshot(digest, wasm).await,
        };
        match loaded {
            Ok(artifact) => Ok(self.keep(digest, start, artifact)),
            Err(error) => Err(ImageProblem::Unusable { message: unusable(image, &error) }),
        }
    }

    fn keep(&self, digest: &str, start: StartFrom, artifact: Arc<Artifact>) -> Arc<str> {
        let digest: Arc<str> = digest.into();
        self.of(start).write().insert(digest.clone(), artifact);
        digest
    }
}

fn missing(image: &str) -> String {
    format!(
        "image \"{image}\" is not on this node and is not pulled from a registry: \
         put it there with `copepod image import FILE {image}`"
    )
}

fn unusable(image: &str, error: &LoadError) -> String {
    format!("image \"{image}\" cannot be run: {error}")
}

/// Runs file work on a thread that may block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        // The work panicked, or the runtime is going down with everything on it.
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use copepod_runtime::RuntimeConfig;

    /// A command that does nothing, with a section that tells it from others.
    fn command(mark: u8) -> Bytes {
        let sections: [&[u8]; 6] = [
            b"\0asm\x01\0\0\0",
            b"\x01\x04\x01\x60\0\0",
            b"\x03\x02\x01\0",
            b"\x05\x03\x01\0\x01",
            b"\x07\x13\x02\x06_start\0\0\x06memory\x02\0",
            b"\x0a\x04\x01\x02\0\x0b",
        ];
        [&sections.concat()[..], &[0, 2, 1, mark]].concat().into()
    }

    async fn import(images: &Images, wasm: Bytes) -> Stored {
        let (pieces, receiver) = mpsc::channel(2);
        pieces.send(Some(wasm)).await.unwrap();
        pieces.send(None).await.unwrap();
        images.import("it", receiver).await.unwrap().unwrap()
    }

    /// How many files lie in the folder of compiled code.
    fn kept(cache: &Path) -> usize {
        let folders = std::fs::read_dir(cache).unwrap().map(|folder| folder.unwrap().path());
        folders.flat_map(|folder| std::fs::read_dir(folder).unwrap()).count()
    }

    #[tokio::test]
    async fn nothing_is_held_of_an_image_that_was_replaced_or_removed() {
        let folder = tempfile::tempdir().unwrap();
        let cache = folder.path().join("compiled");
        let config = RuntimeConfig { cache_dir: Some(cache.clone()), ..RuntimeConfig::default() };
        let runtime = Runtime::new(config).unwrap();
        let images = Images::open(folder.path(), runtime, Vec::new()).unwrap();
        let mut held = Vec::new();
        for mark in [b'a', b'b'] {
            let imported = import(&images, command(mark)).await;
            let digest = images.ensure("it", None, StartFrom::Scratch).await.unwrap();
            assert_eq!(*imported.digest, *digest);
            held.push(Arc::downgrade(&images.artifact(&digest, StartFrom::Scratch).unwrap()));
            assert_eq!(kept(&cache), 2, "its code and the checksum");
        }
        assert!(held[0].upgrade().is_none(), "it was replaced");
        assert!(held[1].upgrade().is_some());
        assert!(images.remove("it").await.unwrap());
        assert!(held[1].upgrade().is_none(), "it was removed");
        assert_eq!(kept(&cache), 0);
    }
}
