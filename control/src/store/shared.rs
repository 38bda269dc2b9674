//! What the local backends have in common around [`Mvcc`]: the lock, reads, watches, and the task
//! that deletes what has expired and forgets old history.
//!
//! How a write becomes durable is not seen here. A watch holds a position in the history, not a
//! queue: a watcher that falls behind the kept history is told `Compacted`.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::StreamExt;
use futures::future::join_all;
use parking_lot::RwLock;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::mvcc::{Expiry, Mvcc};
use super::{Changes, Listed, Range, Revision, Store, StoreError, Stored, WatchItem, Write};
use crate::ambient::Ambient;

/// Changes that a watch takes under one read lock.
const CHANGES_AT_ONCE: usize = 512;
/// Expired values deleted together, so that a burst of them shares syncs.
const EXPIRED_AT_ONCE: usize = 256;
/// How often the history's age is looked at when nothing is written.
const TRIM_EVERY: Duration = Duration::from_secs(30);
/// The pause after a deletion of the expired was refused.
const RETRY_AFTER: Duration = Duration::from_secs(1);

pub(super) struct Shared {
    pub state: RwLock<Mvcc>,
    /// Follows `state`'s revision; waked watchers read the state.
    revision: watch::Sender<Revision>,
    expiry_changed: Notify,
    closed: AtomicBool,
}

impl Shared {
    pub fn new(state: Mvcc) -> Arc<Self> {
        let revision = watch::Sender::new(state.current());
        Arc::new(Self {
            state: RwLock::new(state),
            revision,
            expiry_changed: Notify::new(),
            closed: AtomicBool::new(false),
        })
    }

    /// Tells the watchers what was applied.
    pub fn publish(&self, revision: Revision, expiry_changed: bool) {
        self.revision.send_replace(revision);
        if expiry_changed {
            self.expiry_changed.notify_one();
        }
    }

    /// Ends every watch; the state stays readable for those who still hold it.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.revision.send_modify(|_| {});
    }

    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub fn current(&self) -> Revision {
        *self.revision.borrow()
    }

    pub fn get(&self, key: &str, at: Option<Revision>) -> Result<Option<Stored>, StoreError> {
        self.state.read().get(key, at)
    }

    pub fn list(&self, range: &Range, at: Option<Revision>) -> Result<Listed, StoreError> {
        self.state.read().list(range, at)
    }

    pub fn compact(&self, before: Revision) -> Result<(), StoreError> {
        self.state.write().compact(before)
    }

    pub fn watch(self: &Arc<Self>, prefix: &str, from: Revision) -> Result<Changes, StoreError> {
        self.state.read().watchable(from)?;
        let watcher = Watcher {
            shared: self.clone(),
            revision: self.revision.subscribe(),
            prefix: prefix.to_owned(),
            seen: from,
            marked: None,
            ready: VecDeque::new(),
            ended: false,
        };
        Ok(futures::stream::unfold(watcher, Watcher::next).boxed())
    }
}

/// The error of all that is asked of a closed store.
pub(super) fn closed() -> StoreError {
    StoreError::Closed
}

struct Watcher {
    shared: Arc<Shared>,
    revision: watch::Receiver<Revision>,
    prefix: String,
    /// The history is looked through up to here.
    seen: Revision,
    /// The last progress told.
    marked: Option<Revision>,
    ready: VecDeque<WatchItem>,
    ended: bool,
}

impl Watcher {
    async fn next(mut self) -> Option<(Result<WatchItem, StoreError>, Self)> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Some((Ok(item), self));
            }
            if self.ended {
                return None;
            }
            if let Err(error) = self.look() {
                self.ended = true;
                return Some((Err(error), self));
            }
            if self.ready.is_empty() && self.revision.changed().await.is_err() {
                return None;
            }
        }
    }

    /// Fills `ready` with what has happened since.
    fn look(&mut self) -> Result<(), StoreError> {
        if self.shared.is_closed() {
            return Err(closed());
        }
        self.revision.mark_unchanged();
        let state = self.shared.state.read();
        let (changes, seen) = state.changes(&self.prefix, self.seen, CHANGES_AT_ONCE)?;
        self.seen = seen;
        self.ready.extend(changes.into_iter().map(WatchItem::Change));
        // A watch that began in the future has nothing to tell until that revision is written.
        if seen == state.current() && self.marked != Some(seen) {
            self.marked = Some(seen);
            self.ready.push_back(WatchItem::Progress(seen));
        }
        // Nothing for this watcher in this stretch, but more behind it: look again at once.
        if self.ready.is_empty() && seen < state.current() {
            self.revision.mark_changed();
        }
        Ok(())
    }
}

/// The deadline of a write, if it has a time to live.
pub(super) fn expiry_of(write: &Write, now: Instant, ambient: &Ambient) -> Option<Expiry> {
    let ttl = match write {
        Write::Create { ttl, .. } | Write::Update { ttl, .. } => (*ttl)?,
        Write::Delete { .. } => return None,
    };
    let unix_ms = unix_ms(ambient).saturating_add(ttl.as_millis().try_into().unwrap_or(u64::MAX));
    Some(Expiry { at: now + ttl, unix_ms })
}

pub(super) fn unix_ms(ambient: &Ambient) -> u64 {
    ambient.now().as_millisecond().try_into().unwrap_or(0)
}

/// Deletes expired values, each with a revision of its own, and lets old history go, until the
/// store is dropped or closed.
pub(super) async fn upkeep(shared: Arc<Shared>, store: Weak<dyn Store>) {
    loop {
        let next = shared.state.read().next_expiry();
        let trim = Instant::now() + TRIM_EVERY;
        tokio::select! {
            () = tokio::time::sleep_until(next.map_or(trim, |next| next.min(trim))) => {}
            () = shared.expiry_changed.notified() => continue,
        }
        let Some(store) = store.upgrade().filter(|_| !shared.is_closed()) else { return };
        shared.state.write().trim(Instant::now());
        if !delete_expired(&shared, &*store).await {
            drop(store);
            tokio::time::sleep(RETRY_AFTER).await;
        }
    }
}

/// False where a deletion was refused for another reason than that the value was refreshed.
async fn delete_expired(shared: &Shared, store: &dyn Store) -> bool {
    let expired = shared.state.read().expired(Instant::now(), EXPIRED_AT_ONCE);
    let results = join_all(expired.into_iter().map(|delete| store.commit(delete))).await;
    results.iter().all(|result| matches!(result, Ok(_) | Err(StoreError::Conflict { .. })))
}
