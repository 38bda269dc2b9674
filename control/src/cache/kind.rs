//! The cache of one kind: its objects, its window of events, and those who watch.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use parking_lot::RwLock;
use tokio::sync::watch;
use tokio::time::Instant;

use super::feed::Fed;
use super::object::{OfKind, Place};
use super::window::{Options, Position, Window};
use super::{CacheEvent, Cached, Expired, Key, Occurred};
use crate::store::{Change, Revision, Store, StoreError, Stored};

/// Events that a watcher takes under one read lock.
const EVENTS_AT_ONCE: usize = 256;

/// See the module's documentation.
pub struct Cache {
    kind: Arc<OfKind>,
    store: Arc<dyn Store>,
    fed: Fed,
    state: Arc<RwLock<State>>,
    /// Wakes the watchers; they read the state.
    changed: watch::Sender<()>,
}

struct State {
    /// By `namespace/name`: the order of the store's keys.
    objects: BTreeMap<Arc<str>, Arc<Cached>>,
    window: Window,
    /// The last change of this kind, or the list that it began with.
    changed: Revision,
    /// The last progress announced to sleeping watchers.
    progress: Revision,
}

/// The objects of a list at one revision, by key.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub revision: Revision,
    pub items: Vec<Arc<Cached>>,
}

impl Cache {
    pub(super) fn new(resource: &str, store: Arc<dyn Store>, fed: Fed, options: Options) -> Self {
        let state = State {
            objects: BTreeMap::new(),
            window: Window::new(options),
            changed: Revision(0),
            progress: Revision(0),
        };
        Self {
            kind: Arc::new(OfKind {
                resource: resource.to_owned(),
                decoded: AtomicBool::new(false),
            }),
            store,
            fed,
            state: Arc::new(RwLock::new(state)),
            changed: watch::Sender::new(()),
        }
    }

    /// `pods`, or `deployments.apps`.
    pub fn resource(&self) -> &str {
        &self.kind.resource
    }

    /// Waits until everything up to `to` has arrived here. `Future` where that takes longer than
    /// `Options::patience`, as upstream waits for a resourceVersion that it has not seen.
    pub async fn caught_up(&self, to: Revision) -> Result<(), StoreError> {
        self.fed.wait(to).await
    }

    /// Waits until everything that is committed now has arrived here.
    pub async fn latest(&self) -> Result<(), StoreError> {
        self.caught_up(self.store.current().await?).await
    }

    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<Cached>> {
        self.state.read().objects.get(&*format!("{namespace}/{name}")).cloned()
    }

    /// All objects, or those of a namespace. Costs a reference each.
    pub fn list(&self, namespace: Option<&str>) -> Snapshot {
        self.snapshot(&self.state.read(), namespace)
    }

    /// What happens after `from`; a revision that has not been written yet is allowed.
    pub fn watch(&self, from: Revision) -> Result<CacheWatch, Expired> {
        let position = self.state.read().window.position(from)?;
        Ok(self.watch_from(position, from))
    }

    /// The oldest revision that a watch may begin at.
    pub fn oldest(&self) -> Revision {
        self.state.read().window.start()
    }

    /// All objects, and what happens after exactly that.
    pub fn snapshot_and_watch(&self) -> (Snapshot, CacheWatch) {
        self.snapshot_and_watch_in(None)
    }

    /// All objects, or those of a namespace, and what happens (in all namespaces) after exactly that.
    pub fn snapshot_and_watch_in(&self, namespace: Option<&str>) -> (Snapshot, CacheWatch) {
        let state = self.state.read();
        let snapshot = self.snapshot(&state, namespace);
        let watch = self.watch_from(state.window.end(), snapshot.revision);
        (snapshot, watch)
    }

    /// What happens from now on, and after which revision that is.
    pub fn watch_on(&self) -> (Revision, CacheWatch) {
        let state = self.state.read();
        let revision = state.revision(&self.fed);
        (revision, self.watch_from(state.window.end(), revision))
    }

    /// The first objects, or those of a namespace, and how many there are behind them. Costs no more
    /// than is shown, but for the count of a namespace.
    pub fn first(&self, namespace: Option<&str>, limit: usize) -> (Snapshot, usize) {
        let state = self.state.read();
        let revision = state.revision(&self.fed);
        let Some(namespace) = namespace else {
            let items: Vec<_> = state.objects.values().take(limit).cloned().collect();
            let rest = state.objects.len() - items.len();
            return (Snapshot { revision, items }, rest);
        };
        let prefix = format!("{namespace}/");
        let mut objects = state.in_namespace(&prefix);
        let items: Vec<_> = objects.by_ref().take(limit).cloned().collect();
        let rest = objects.count();
        (Snapshot { revision, items }, rest)
    }

    /// An object as a list of the store found it, in the form of those that are held here.
    pub fn of_stored(&self, stored: &Stored) -> Arc<Cached> {
        let place = self.place(Key::within_kind(&stored.key));
        Arc::new(Cached::new(place, stored.modified, stored.value.clone()))
    }

    fn snapshot(&self, state: &State, namespace: Option<&str>) -> Snapshot {
        let items = match namespace {
            None => state.objects.values().cloned().collect(),
            Some(namespace) => state.in_namespace(&format!("{namespace}/")).cloned().collect(),
        };
        Snapshot { revision: state.revision(&self.fed), items }
    }

    fn watch_from(&self, position: Position, seen: Revision) -> CacheWatch {
        let told = Arc::new(AtomicU64::new(seen.0));
        let watcher = Watcher {
            state: self.state.clone(),
            fed: self.fed.clone(),
            changed: self.changed.subscribe(),
            position,
            after: seen,
            queued: seen,
            is_fresh: true,
            told: told.clone(),
            ready: VecDeque::new(),
        };
        CacheWatch {
            state: self.state.clone(),
            fed: self.fed.clone(),
            told,
            events: futures::stream::unfold(watcher, Watcher::next).boxed(),
        }
    }

    /// Takes a change in. The feed alone calls it; it wakes nobody: see `wake`.
    pub(super) fn apply(&self, change: &Change, now: Instant) {
        if Key::parse(&change.key).is_none() {
            return;
        }
        let path = Key::within_kind(&change.key);
        let mut state = self.state.write();
        let object = change.value.as_ref().map(|stored| {
            let known = state.objects.get(path).map(|old| old.at().clone());
            let at = known.unwrap_or_else(|| self.place(path));
            Arc::new(Cached::new(at, change.revision, stored.clone()))
        });
        let previous = match &object {
            Some(object) => state.objects.insert(object.at().path.clone(), object.clone()),
            None => state.objects.remove(path),
        };
        state.changed = change.revision;
        if let Some(previous) = &previous {
            previous.supersede();
        }
        let event = match (object, previous) {
            (Some(object), None) => CacheEvent::Added { object },
            (Some(object), Some(previous)) => CacheEvent::Modified { object, previous },
            (None, Some(previous)) => {
                let object = Arc::new(previous.deleted(change.revision));
                CacheEvent::Deleted { object, previous }
            }
            (None, None) => return,
        };
        state.window.push(Arc::new(Occurred::new(event)), now);
    }

    /// Begins anew with a list's values, sorted by key. Objects that are unchanged keep what was
    /// decoded of them. The feed alone calls it.
    pub(super) fn replace(&self, values: &[&Stored], revision: Revision) {
        let mut state = self.state.write();
        let mut old = std::mem::take(&mut state.objects);
        let kept = values.iter().map(|stored| {
            let path = Key::within_kind(&stored.key);
            let same = old.remove(path).filter(|old| old.revision == stored.modified);
            let object = same.unwrap_or_else(|| {
                Arc::new(Cached::new(self.place(path), stored.modified, stored.value.clone()))
            });
            (object.at().path.clone(), object)
        });
        state.objects = kept.collect();
        state.changed = revision;
        state.progress = revision;
        state.window.restart(revision);
    }

    fn place(&self, path: &str) -> Place {
        Place { kind: self.kind.clone(), path: path.into() }
    }

    /// Lets go of typed views that nobody has asked for since the last time, and of the frames of
    /// events that every watcher must have taken.
    pub(super) fn rest(&self, now: Instant) {
        let settled = self.state.write().window.settled(now);
        settled.iter().for_each(|event| event.settle());
        if !self.kind.decoded.swap(false, Ordering::Relaxed) {
            return;
        }
        // Outside the lock: to let go of many views takes its time.
        let objects: Vec<_> = self.state.read().objects.values().cloned().collect();
        let kept = objects.iter().filter(|object| object.rest()).count();
        if kept > 0 {
            self.kind.decoded.store(true, Ordering::Relaxed);
        }
    }

    pub(super) fn wake(&self) {
        self.changed.send_replace(());
    }

    /// Announces progress to those who sleep, and lets old events go.
    pub(super) fn progress(&self, revision: Revision, now: Instant) {
        let mut state = self.state.write();
        state.window.trim(now);
        if state.progress < revision {
            state.progress = revision;
            drop(state);
            self.wake();
        }
    }
}

impl State {
    /// The objects whose paths begin with `namespace/`.
    fn in_namespace<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a Arc<Cached>> {
        self.objects
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(move |(key, _)| key.starts_with(prefix))
            .map(|(_, object)| object)
    }

    /// The revision that the state shows. The mark is read under the state's lock: what is fed is
    /// applied before the mark rises, and nothing of this kind lies between the two.
    fn revision(&self, fed: &Fed) -> Revision {
        self.changed.max(fed.revision())
    }
}

/// A watcher's events, in order. The stream ends when the watcher has expired, by slowness or
/// because the feed had to begin anew: list again.
pub struct CacheWatch {
    state: Arc<RwLock<State>>,
    fed: Fed,
    told: Arc<AtomicU64>,
    events: BoxStream<'static, Arc<Occurred>>,
}

impl CacheWatch {
    /// All that happened up to this revision has been yielded: what a bookmark may say now.
    pub fn position(&self) -> Revision {
        let told = Revision(self.told.load(Ordering::Acquire));
        let state = self.state.read();
        if told < state.changed { told } else { state.revision(&self.fed).max(told) }
    }
}

impl Stream for CacheWatch {
    type Item = Arc<Occurred>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.events.poll_next_unpin(cx)
    }
}

struct Watcher {
    state: Arc<RwLock<State>>,
    fed: Fed,
    changed: watch::Receiver<()>,
    position: Position,
    /// Events up to here are not wanted; they may yet come, where it was in the future.
    after: Revision,
    /// The revision of the last event put into `ready`.
    queued: Revision,
    /// Has not yet been told that the replay is over.
    is_fresh: bool,
    /// The revision of the last event yielded.
    told: Arc<AtomicU64>,
    ready: VecDeque<Arc<Occurred>>,
}

impl Watcher {
    async fn next(mut self) -> Option<(Arc<Occurred>, Self)> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                self.told.store(event.revision().0, Ordering::Release);
                return Some((event, self));
            }
            self.look().ok()?;
            if self.ready.is_empty() {
                self.changed.changed().await.ok()?;
            }
        }
    }

    /// Fills `ready` with what has happened since.
    fn look(&mut self) -> Result<(), Expired> {
        self.changed.mark_unchanged();
        let state = self.state.read();
        let (events, position) = state.window.read(self.position, EVENTS_AT_ONCE)?;
        self.ready.extend(events.filter(|event| event.revision() > self.after).cloned());
        self.position = position;
        if let Some(last) = self.ready.back() {
            self.queued = last.revision();
        }
        if position != state.window.end() {
            // Where none of these was wanted, look on at once.
            self.changed.mark_changed();
            return Ok(());
        }
        let progress = if self.is_fresh { state.revision(&self.fed) } else { state.progress };
        if progress > self.queued || (self.is_fresh && progress == self.queued) {
            self.is_fresh = false;
            self.queued = progress;
            let progress = CacheEvent::Progress { revision: progress };
            self.ready.push_back(Arc::new(Occurred::new(progress)));
        }
        Ok(())
    }
}
