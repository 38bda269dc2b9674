//! One informer per resource: follows its cache, keeps indexes, tells controllers what changed.
//!
//! The indexes hold keys only; objects stay in the cache. They are written by one task and read
//! under a lock that is never held across an await.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use super::head::Head;
use crate::cache::{Cache, CacheEvent, CacheWatch, Cached, Occurred};
use crate::store::Revision;

/// So many events are indexed and told under one lock.
const BATCH: usize = 256;

/// So many heads of objects that changed lately are kept; beyond, all are forgotten.
const RECENT_MAX: usize = 4096;

/// Waiting for one's own write is given up after so long: the next plan may then see the past, which
/// preconditions make harmless.
const SEEN_TIMEOUT: Duration = Duration::from_secs(10);

/// What happened to an object.
#[derive(Clone, Debug)]
pub struct Change {
    pub resource: Arc<str>,
    /// The new state; for a deletion the last one.
    pub object: Arc<Cached>,
    pub head: Arc<Head>,
    pub previous: Option<Arc<Cached>>,
    /// The head of `previous`.
    pub before: Option<Arc<Head>>,
    pub deleted: bool,
}

/// Namespace and name.
pub(super) type Place = (Arc<str>, Arc<str>);

/// Which indexes a resource has beside that of owners.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Indexed {
    /// Objects without a controller, by namespace: what may be adopted.
    pub uncontrolled: bool,
    /// Pods by node.
    pub node: bool,
    pub labels: Labels,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Labels {
    #[default]
    None,
    /// By each of an object's labels.
    Own,
    /// By the first pair of `spec.selector`: services.
    Selector,
}

pub(super) fn indexed(resource: &str) -> Indexed {
    match resource {
        "pods" => Indexed { uncontrolled: true, node: true, labels: Labels::Own },
        "replicasets.apps" => Indexed { uncontrolled: true, ..Indexed::default() },
        "endpointslices.discovery.k8s.io" => Indexed { labels: Labels::Own, ..Indexed::default() },
        "services" => Indexed { labels: Labels::Selector, ..Indexed::default() },
        _ => Indexed::default(),
    }
}

#[derive(Default)]
pub(super) struct Index {
    /// By the UID of each owner.
    owners: HashMap<String, BTreeSet<Place>>,
    uncontrolled: HashMap<Arc<str>, BTreeSet<Place>>,
    nodes: HashMap<String, BTreeSet<Place>>,
    labels: HashMap<String, BTreeSet<Place>>,
}

impl Index {
    pub(super) fn owned(&self, uid: &str) -> Vec<Place> {
        collect(self.owners.get(uid))
    }

    pub(super) fn uncontrolled(&self, namespace: &str) -> Vec<Place> {
        collect(self.uncontrolled.get(namespace))
    }

    pub(super) fn on_node(&self, node: &str) -> Vec<Place> {
        collect(self.nodes.get(node))
    }

    /// The objects of a namespace with a label. For services: whose selector begins with that pair.
    pub(super) fn labelled(&self, namespace: &str, label: &str, value: &str) -> Vec<Place> {
        collect(self.labels.get(&label_key(namespace, label, value)))
    }

    pub(super) fn labelled_count(&self, namespace: &str, label: &str, value: &str) -> usize {
        self.labels.get(&label_key(namespace, label, value)).map_or(0, BTreeSet::len)
    }

    pub(super) fn bears(&self, namespace: &str, label: &str, value: &str, place: &Place) -> bool {
        self.labels
            .get(&label_key(namespace, label, value))
            .is_some_and(|places| places.contains(place))
    }

    fn put(&mut self, indexed: Indexed, place: &Place, head: &Head) {
        self.visit(indexed, place, head, |set| {
            set.insert(place.clone());
        });
    }

    fn remove(&mut self, indexed: Indexed, place: &Place, head: &Head) {
        self.visit(indexed, place, head, |set| {
            set.remove(place);
        });
        self.forget_empty(indexed, place, head);
    }

    /// Calls `touch` with each set that the object belongs to.
    fn visit(
        &mut self,
        indexed: Indexed,
        place: &Place,
        head: &Head,
        mut touch: impl FnMut(&mut BTreeSet<Place>),
    ) {
        for owner in &head.metadata.owner_references {
            touch(self.owners.entry(owner.uid.clone()).or_default());
        }
        if indexed.uncontrolled && head.controller().is_none() {
            touch(self.uncontrolled.entry(place.0.clone()).or_default());
        }
        if let Some(node) = head.node().filter(|_| indexed.node) {
            touch(self.nodes.entry(node.to_owned()).or_default());
        }
        for key in label_keys(indexed.labels, &place.0, head) {
            touch(self.labels.entry(key).or_default());
        }
    }

    fn forget_empty(&mut self, indexed: Indexed, place: &Place, head: &Head) {
        for owner in &head.metadata.owner_references {
            forget_if_empty(&mut self.owners, &owner.uid);
        }
        if indexed.uncontrolled {
            forget_if_empty(&mut self.uncontrolled, &place.0);
        }
        if let Some(node) = head.node() {
            forget_if_empty(&mut self.nodes, node);
        }
        for key in label_keys(indexed.labels, &place.0, head) {
            forget_if_empty(&mut self.labels, &key);
        }
    }
}

fn collect(set: Option<&BTreeSet<Place>>) -> Vec<Place> {
    set.map(|set| set.iter().cloned().collect()).unwrap_or_default()
}

fn forget_if_empty<K, Q>(map: &mut HashMap<K, BTreeSet<Place>>, key: &Q)
where
    K: std::borrow::Borrow<Q> + std::hash::Hash + Eq,
    Q: std::hash::Hash + Eq + ?Sized,
{
    if map.get(key).is_some_and(BTreeSet::is_empty) {
        map.remove(key);
    }
}

fn place(object: &Cached) -> Place {
    (object.namespace().into(), object.name().into())
}

fn label_key(namespace: &str, label: &str, value: &str) -> String {
    format!("{namespace}\n{label}={value}")
}

fn label_keys(labels: Labels, namespace: &str, head: &Head) -> Vec<String> {
    let key = |(label, value): (&String, &String)| label_key(namespace, label, value);
    match labels {
        Labels::None => Vec::new(),
        Labels::Own => head.metadata.labels.iter().map(key).collect(),
        Labels::Selector => head.selector().iter().take(1).map(key).collect(),
    }
}

/// The heads of objects that changed lately: most of them change several times in a row, and what one
/// was before is known then.
#[derive(Default)]
struct Recent(HashMap<Place, (Revision, Arc<Head>)>);

impl Recent {
    /// The head of a new state.
    fn head(&mut self, place: &Place, object: &Cached) -> Arc<Head> {
        let head = Arc::new(Head::of(object));
        if head.is_small() {
            return head;
        }
        if self.0.len() >= RECENT_MAX {
            self.0.clear();
        }
        self.0.insert(place.clone(), (object.revision, head.clone()));
        head
    }

    /// The head of a state that is over.
    fn before(&mut self, place: &Place, previous: &Cached) -> Arc<Head> {
        match self.0.remove(place) {
            Some((revision, head)) if revision == previous.revision => head,
            _ => Arc::new(Head::of(previous)),
        }
    }
}

/// What an informer begins with: the objects there are, and the watch of what follows.
pub(super) struct Primed {
    changes: Vec<Change>,
    watch: CacheWatch,
}

/// See the module's documentation.
pub(super) struct Informer {
    pub(super) resource: Arc<str>,
    pub(super) cache: Arc<Cache>,
    indexed: Indexed,
    index: RwLock<Index>,
    recent: Mutex<Recent>,
    seen: watch::Sender<Revision>,
}

impl Informer {
    pub(super) fn new(resource: Arc<str>, cache: Arc<Cache>) -> Self {
        Self {
            indexed: indexed(&resource),
            resource,
            cache,
            index: RwLock::default(),
            recent: Mutex::default(),
            seen: watch::channel(Revision(0)).0,
        }
    }

    pub(super) fn index(&self) -> parking_lot::RwLockReadGuard<'_, Index> {
        self.index.read()
    }

    /// The head of a state of one of its objects.
    pub(super) fn head(&self, object: &Cached) -> Arc<Head> {
        match self.recent.lock().0.get(&place(object)) {
            Some((revision, head)) if *revision == object.revision => head.clone(),
            _ => Arc::new(Head::of(object)),
        }
    }

    /// Indexes what the cache holds. Every informer is primed before any of them tells a change, so
    /// that no controller takes an index not yet filled for an absence.
    pub(super) fn prime(&self) -> Primed {
        let (snapshot, watch) = self.cache.snapshot_and_watch();
        let changes = self.restart(&snapshot.items);
        self.seen.send_replace(snapshot.revision);
        Primed { changes, watch }
    }

    /// Follows the cache for ever, handing each change to `tell` after it is indexed.
    pub(super) async fn follow(&self, mut primed: Primed, tell: impl Fn(&Change)) {
        loop {
            primed.changes.iter().for_each(&tell);
            let mut batches = primed.watch.ready_chunks(BATCH);
            while let Some(events) = batches.next().await {
                let (changes, revision) = self.apply(&events);
                changes.iter().for_each(&tell);
                self.seen.send_if_modified(|seen| {
                    let newer = revision > *seen;
                    if newer {
                        *seen = revision;
                    }
                    newer
                });
            }
            // The cache dropped a watcher that fell behind: begin anew, telling everything.
            tracing::warn!(resource = %self.resource, "informer fell behind its cache; starting over");
            primed = self.prime();
        }
    }

    fn restart(&self, items: &[Arc<Cached>]) -> Vec<Change> {
        let mut index = Index::default();
        let mut changes = Vec::with_capacity(items.len());
        for object in items {
            let head = Arc::new(Head::of(object));
            index.put(self.indexed, &place(object), &head);
            changes.push(self.change(object, head, None, false));
        }
        *self.index.write() = index;
        changes
    }

    fn apply(&self, events: &[Arc<Occurred>]) -> (Vec<Change>, Revision) {
        let newest = events.iter().map(|event| event.revision()).max().unwrap_or_default();
        let changes: Vec<(Place, Change)> = {
            let mut recent = self.recent.lock();
            if events.iter().all(|event| event.object().is_none()) {
                // Nothing of this kind has happened for a while.
                *recent = Recent::default();
            }
            events.iter().filter_map(|event| self.changed(&mut recent, event)).collect()
        };
        let mut index = self.index.write();
        for (place, change) in &changes {
            let same = change.before.as_ref().is_some_and(|b| b.same_places(&change.head));
            if same && !change.deleted {
                continue;
            }
            if let Some(before) = &change.before {
                index.remove(self.indexed, place, before);
            }
            if !change.deleted {
                index.put(self.indexed, place, &change.head);
            }
        }
        (changes.into_iter().map(|(_, change)| change).collect(), newest)
    }

    fn changed(&self, recent: &mut Recent, event: &CacheEvent) -> Option<(Place, Change)> {
        let place = place(event.object()?);
        let change = match event {
            CacheEvent::Added { object } => {
                let head = recent.head(&place, object);
                self.change(object, head, None, false)
            }
            CacheEvent::Modified { object, previous } => {
                let before = recent.before(&place, previous);
                let head = recent.head(&place, object);
                self.change(object, head, Some((previous, before)), false)
            }
            // The last state is what it was before.
            CacheEvent::Deleted { object, previous } => {
                let before = recent.before(&place, previous);
                self.change(object, before.clone(), Some((previous, before)), true)
            }
            CacheEvent::Progress { .. } => return None,
        };
        Some((place, change))
    }

    fn change(
        &self,
        object: &Arc<Cached>,
        head: Arc<Head>,
        previous: Option<(&Arc<Cached>, Arc<Head>)>,
        deleted: bool,
    ) -> Change {
        let (previous, before) = previous.unzip();
        Change {
            resource: self.resource.clone(),
            object: object.clone(),
            head,
            previous: previous.cloned(),
            before,
            deleted,
        }
    }

    /// Waits until a write of this revision is indexed.
    pub(super) async fn seen(&self, revision: Revision) {
        let mut seen = self.seen.subscribe();
        self.within_reason(seen.wait_for(|seen| *seen >= revision)).await;
    }

    /// Waits until the object with this UID is gone, or marked for deletion.
    pub(super) async fn seen_leaving(&self, namespace: &str, name: &str, uid: &str) {
        let mut seen = self.seen.subscribe();
        let leaving = || match self.cache.get(namespace, name) {
            Some(object) => object.uid() != uid || object.meta().deletion_timestamp.is_some(),
            None => true,
        };
        self.within_reason(seen.wait_for(|_| leaving())).await;
    }

    async fn within_reason<T>(&self, wait: impl Future<Output = T>) {
        if tokio::time::timeout(SEEN_TIMEOUT, wait).await.is_err() {
            tracing::warn!(resource = %self.resource, "own write not seen in time; going on");
        }
    }
}
