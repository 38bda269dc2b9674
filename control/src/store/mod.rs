//! The store: a durable map from keys to bytes, with one global revision, as in etcd.
//!
//! Every write gets its own revision; a read may name an older one until it is compacted; a watch
//! replays every change after a revision and then follows. A backend never looks into the bytes.
//! Every backend passes the one suite in `contract`.
//!
//! `memory` and `sled` share their state (`mvcc`) and its reads and watches (`shared`); `sled` adds
//! a commit log (`log`, `record`, over `disk`) and checkpoints of it (`checkpoint`).

mod checkpoint;
#[cfg(test)]
mod contract;
mod disk;
mod log;
pub mod memory;
mod mvcc;
mod record;
mod shared;
pub mod sled;

pub use mvcc::History;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

/// The store's version: rises by one with every write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A stored value with the revisions that made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    pub key: String,
    pub value: Bytes,
    /// When the key was created.
    pub created: Revision,
    /// When the value was last written: the expectation of the next update.
    pub modified: Revision,
}

/// Part of the key space: the keys that begin with `prefix`, in byte order.
#[derive(Clone, Debug, Default)]
pub struct Range {
    pub prefix: String,
    /// Begin behind this key (exclusive), to go on with a list that was cut.
    pub after: Option<String>,
    /// At most so many; 0 means all.
    pub limit: usize,
    /// Count what lies behind the limit.
    pub count: bool,
}

/// One answer to a list.
#[derive(Clone, Debug)]
pub struct Listed {
    pub items: Vec<Stored>,
    /// The revision that the items were read at.
    pub revision: Revision,
    pub more: bool,
    /// How many there are behind these; where it was asked.
    pub rest: Option<usize>,
}

/// One write. Each is atomic and gets its own revision.
#[derive(Clone, Debug)]
pub enum Write {
    /// Fails with `Exists` where the key has a value. `ttl`: the key is deleted when it has passed.
    Create { key: String, value: Bytes, ttl: Option<Duration> },
    /// Fails with `Conflict` unless the key was last written at `expected`.
    Update { key: String, value: Bytes, expected: Revision, ttl: Option<Duration> },
    /// Fails with `Conflict` unless the key was last written at `expected`.
    Delete { key: String, expected: Revision },
}

/// A change as watchers see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub key: String,
    pub revision: Revision,
    /// The new value; `None` for a deletion.
    pub value: Option<Bytes>,
}

/// What a watch yields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchItem {
    Change(Change),
    /// Everything up to this revision has been yielded.
    Progress(Revision),
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("key {key} exists")]
    Exists { key: String },
    /// The key has another revision than expected; `None`: it does not exist.
    #[error("key {key} was changed")]
    Conflict { key: String, current: Option<Stored> },
    /// Older than the oldest revision kept.
    #[error("revision {asked} is compacted; the oldest kept is {oldest}")]
    Compacted { asked: Revision, oldest: Revision },
    /// The revision has not been written yet.
    #[error("revision {asked} is in the future; the newest is {current}")]
    Future { asked: Revision, current: Revision },
    /// The write may or may not have happened: read before trying again.
    #[error("outcome of the write unknown: {0}")]
    OutcomeUnknown(String),
    #[error("store unavailable: {0}")]
    Unavailable(String),
    /// This process has closed the store; it does not open again.
    #[error("the store is closed")]
    Closed,
    #[error(
        "data folder {dir} is in use by another process; stop it, or choose another --data-dir"
    )]
    Locked { dir: String },
    #[error("store {path} is damaged: {what}")]
    Damaged { path: String, what: String },
}

pub type Changes = BoxStream<'static, Result<WatchItem, StoreError>>;

/// See the module's documentation.
#[async_trait]
pub trait Store: Send + Sync {
    /// The newest committed revision. A read at it sees every acknowledged write.
    async fn current(&self) -> Result<Revision, StoreError>;

    /// The value of a key, now or `at` an older revision.
    async fn get(&self, key: &str, at: Option<Revision>) -> Result<Option<Stored>, StoreError>;

    /// The values of a range, now or `at` an older revision.
    async fn list(&self, range: Range, at: Option<Revision>) -> Result<Listed, StoreError>;

    /// Writes durably: when this answers, a power cut cannot undo it.
    async fn commit(&self, write: Write) -> Result<Revision, StoreError>;

    /// Every change after `from` to keys that begin with `prefix`, then what follows, with
    /// `Progress` marks in between whenever the watch has drained what is committed.
    async fn watch(&self, prefix: &str, from: Revision) -> Result<Changes, StoreError>;

    /// Forgets the history before `before`: older reads and watches answer `Compacted`.
    async fn compact(&self, before: Revision) -> Result<(), StoreError>;

    /// Ends the watches, refuses further writes, and leaves what makes the next start quick.
    /// Nothing acknowledged depends on it.
    async fn close(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
