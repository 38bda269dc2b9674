//! The content store: blobs by digest, and a small table from references to digests.
//!
//! A blob is complete and synced before a reference names it; the table is replaced as a whole.
//! So a crash leaves at worst a blob that nothing names, which the next start removes.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::form::{Form, FormError};
use super::reference::{Reference, ReferenceError};

/// Why the store could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{0}")]
    Reference(#[from] ReferenceError),
    #[error("{0}")]
    Form(#[from] FormError),
    #[error("the reference pins {pinned}, but the file is {actual}")]
    Digest { pinned: String, actual: String },
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{} is damaged: {source}", path.display())]
    Table { path: PathBuf, source: serde_json::Error },
    #[error("the blob {digest} is damaged: its content is {actual}; import the image again")]
    Blob { digest: String, actual: String },
}

/// An image as listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    pub reference: String,
    pub digest: String,
    pub size: u64,
}

/// What an import made of a file.
pub type Imported = Stored;

/// What a removal did.
pub struct Removed {
    pub found: bool,
    /// The digest that nothing names any more.
    pub unused: Option<String>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Entry {
    digest: String,
    size: u64,
}

type Table = BTreeMap<String, Entry>;

pub struct Store {
    folder: PathBuf,
    table: RwLock<Table>,
    /// Held by whoever changes blobs and table.
    writing: Mutex<()>,
    /// Names files that are on their way in.
    received: AtomicU64,
}

impl Store {
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let blobs = folder.join("blobs").join("sha256");
        fs::create_dir_all(&blobs).map_err(io_error(&blobs))?;
        let path = folder.join("references.json");
        let table = match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text)
                .map_err(|source| StoreError::Table { path: path.clone(), source })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Table::new(),
            Err(source) => return Err(StoreError::Io { path, source }),
        };
        let store = Self {
            folder: folder.to_owned(),
            table: RwLock::new(table),
            writing: Mutex::new(()),
            received: AtomicU64::new(0),
        };
        store.remove_unnamed(&blobs)?;
        Ok(store)
    }

    /// Begins to take in a file, piece by piece.
    pub fn receive(&self) -> Result<Incoming<'_>, StoreError> {
        let number = self.received.fetch_add(1, Ordering::Relaxed);
        let path = self.blob_path(&format!("incoming-{number}.part"));
        let file = File::create(&path).map_err(io_error(&path))?;
        Ok(Incoming {
            store: self,
            path,
            file,
            hash: Sha256::new(),
            form: Form::default(),
            size: 0,
        })
    }

    #[cfg(test)]
    fn import(&self, reference: &Reference, bytes: &[u8]) -> Result<Imported, StoreError> {
        let mut incoming = self.receive()?;
        for piece in bytes.chunks(3) {
            incoming.write(piece)?;
        }
        incoming.finish(reference).map(|(imported, _)| imported)
    }

    pub fn remove(&self, reference: &Reference) -> Result<Removed, StoreError> {
        let _writing = self.writing.lock();
        let mut table = self.table.read().clone();
        let Some(entry) = table.remove(&reference.to_string()) else {
            return Ok(Removed { found: false, unused: None });
        };
        self.replace(table)?;
        let unused = self.drop_if_unnamed(&entry.digest).then_some(entry.digest);
        Ok(Removed { found: true, unused })
    }

    pub fn list(&self) -> Vec<Stored> {
        let table = self.table.read();
        table
            .iter()
            .map(|(reference, entry)| Stored {
                reference: reference.clone(),
                digest: entry.digest.clone(),
                size: entry.size,
            })
            .collect()
    }

    /// The digest that a reference means on this node.
    pub fn digest(&self, reference: &Reference) -> Option<String> {
        let table = self.table.read();
        if let Some(pinned) = reference.digest() {
            return table.values().any(|e| e.digest == pinned).then(|| pinned.to_owned());
        }
        table.get(&reference.to_string()).map(|entry| entry.digest.clone())
    }

    /// The content of a blob, checked against its digest.
    pub fn read(&self, wanted: &str) -> Result<Bytes, StoreError> {
        let path = self.blob_path(wanted);
        let bytes = fs::read(&path).map_err(io_error(&path))?;
        let actual = digest(&bytes);
        if actual != wanted {
            // Out of the way, so that an import can heal it.
            let _ = fs::remove_file(&path);
            return Err(StoreError::Blob { digest: wanted.into(), actual });
        }
        Ok(bytes.into())
    }

    fn replace(&self, table: Table) -> Result<(), StoreError> {
        let path = self.folder.join("references.json");
        let text = serde_json::to_vec_pretty(&table)
            .map_err(|source| StoreError::Table { path: path.clone(), source })?;
        write_durably(&path, &text).map_err(io_error(&path))?;
        *self.table.write() = table;
        Ok(())
    }

    fn drop_if_unnamed(&self, digest: &str) -> bool {
        let named = self.table.read().values().any(|entry| entry.digest == digest);
        if !named {
            let _ = fs::remove_file(self.blob_path(digest));
        }
        !named
    }

    fn remove_unnamed(&self, blobs: &Path) -> Result<(), StoreError> {
        let table = self.table.read();
        for entry in fs::read_dir(blobs).map_err(io_error(blobs))? {
            let entry = entry.map_err(io_error(blobs))?;
            let digest = format!("sha256:{}", entry.file_name().to_string_lossy());
            if !table.values().any(|entry| entry.digest == digest) {
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok(())
    }

    fn blob_path(&self, digest: &str) -> PathBuf {
        let hex = digest.strip_prefix("sha256:").unwrap_or(digest);
        self.folder.join("blobs").join("sha256").join(hex)
    }
}

/// A file on its way into the store; nothing remains of one that is dropped before it is finished.
pub struct Incoming<'a> {
    store: &'a Store,
    path: PathBuf,
    file: File,
    hash: Sha256,
    form: Form,
    size: u64,
}

impl Incoming<'_> {
    /// Adds a piece. Refuses a file that is no Wasm as soon as that shows; one that was cut off, at its end.
    pub fn write(&mut self, piece: &[u8]) -> Result<(), StoreError> {
        self.form.follow(piece)?;
        self.hash.update(piece);
        self.size += piece.len() as u64;
        self.file.write_all(piece).map_err(io_error(&self.path))
    }

    /// The file is whole: it becomes the blob that `reference` names. Given back beside it is the digest, if any, that
    /// nothing names any more.
    pub fn finish(self, reference: &Reference) -> Result<(Imported, Option<String>), StoreError> {
        self.form.end()?;
        let actual = digest_text(self.hash.clone());
        if let Some(pinned) = reference.digest()
            && pinned != actual
        {
            return Err(StoreError::Digest { pinned: pinned.into(), actual });
        }
        let store = self.store;
        let _writing = store.writing.lock();
        let path = store.blob_path(&actual);
        if !path.exists() {
            self.file.sync_all().map_err(io_error(&self.path))?;
            rename_durably(&self.path, &path).map_err(io_error(&path))?;
        }
        let entry = Entry { digest: actual.clone(), size: self.size };
        let mut table = store.table.read().clone();
        let before = table.insert(reference.to_string(), entry.clone());
        store.replace(table)?;
        let unused = before
            .map(|before| before.digest)
            .filter(|before| *before != actual && store.drop_if_unnamed(before));
        let Entry { digest, size } = entry;
        Ok((Stored { reference: reference.to_string(), digest, size }, unused))
    }
}

impl Drop for Incoming<'_> {
    fn drop(&mut self) {
        // Not there any more where it has become a blob.
        let _ = fs::remove_file(&self.path);
    }
}

/// `sha256:` and the hexadecimal digest.
pub fn digest(bytes: &[u8]) -> String {
    digest_text(Sha256::new_with_prefix(bytes))
}

fn digest_text(hash: Sha256) -> String {
    let hash = hash.finalize();
    let mut text = String::with_capacity(71);
    text.push_str("sha256:");
    for byte in hash {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io { path, source }
}

/// Writes a file beside its place, syncs it, renames it, syncs the folder.
fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("part");
    let mut file = File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    rename_durably(&beside, path)
}

fn rename_durably(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    match to.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(text: &str) -> Reference {
        Reference::parse(text).unwrap()
    }

    /// A module with this text in a section of its own.
    fn wasm(text: &str) -> Vec<u8> {
        [&b"\0asm\x01\0\0\0\0"[..], &[text.len() as u8], text.as_bytes()].concat()
    }

    #[test]
    fn images_come_back_after_a_restart_and_unnamed_blobs_go() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let first = store.import(&reference("hello"), &wasm("one")).unwrap();
        let second = store.import(&reference("hello"), &wasm("two")).unwrap();
        store.import(&reference("other:v1"), &wasm("two")).unwrap();
        assert_ne!(first.digest, second.digest);
        assert!(store.read(&first.digest).is_err(), "nothing names the first any more");
        drop(store);
        let stray = folder.path().join("blobs/sha256").join("0".repeat(64));
        fs::write(&stray, b"x").unwrap();
        let store = Store::open(folder.path()).unwrap();
        assert!(!stray.exists());
        assert_eq!(
            store.digest(&reference("docker.io/library/hello")),
            Some(second.digest.clone())
        );
        assert_eq!(store.read(&second.digest).unwrap(), wasm("two"));
        assert_eq!(store.list().len(), 2);
        assert!(store.remove(&reference("hello")).unwrap().unused.is_none());
        assert_eq!(store.remove(&reference("other:v1")).unwrap().unused, Some(second.digest));
        assert!(!store.remove(&reference("hello")).unwrap().found);
    }

    #[test]
    fn files_that_are_no_wasm_and_wrong_digests_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        assert!(matches!(
            store.import(&reference("a"), b"#!/bin/sh"),
            Err(StoreError::Form(FormError::NotWasm))
        ));
        let pinned = format!("a@sha256:{}", "0".repeat(64));
        let result = store.import(&reference(&pinned), &wasm("other"));
        assert!(matches!(result, Err(StoreError::Digest { .. })));
    }

    #[test]
    fn nothing_remains_of_a_file_that_did_not_arrive_whole() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let mut incoming = store.receive().unwrap();
        incoming.write(&wasm("begun")[..12]).unwrap();
        assert!(matches!(
            incoming.finish(&reference("a")),
            Err(StoreError::Form(FormError::CutOff { .. }))
        ));
        let mut refused = store.receive().unwrap();
        refused.write(b"\0a").unwrap();
        assert!(matches!(refused.write(b"rm64"), Err(StoreError::Form(FormError::NotWasm))));
        drop(refused);
        assert_eq!(fs::read_dir(folder.path().join("blobs/sha256")).unwrap().count(), 0);
    }

    #[test]
    fn a_damaged_blob_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let stored = store.import(&reference("a"), &wasm("good")).unwrap();
        fs::write(store.blob_path(&stored.digest), b"\0asm bad").unwrap();
        assert!(matches!(store.read(&stored.digest), Err(StoreError::Blob { .. })));
        store.import(&reference("a"), &wasm("good")).unwrap();
        assert!(store.read(&stored.digest).is_ok());
    }
}
