//! The watch cache: one per kind, fed by the store's watch alone.
//!
//! It answers gets, lists and watches without asking the store. An object's bytes are the store's
//! own, held once for both: the resourceVersion is spliced into what goes out. A typed view is
//! decoded where it is asked for and shared as long as it is asked for again and again; an object
//! that nobody looks into costs little more than its bytes.
//!
//! One task reads `Store::watch` over all keys and hands each change to the kind that its key names.
//! The revision up to which it has done so is one mark for all kinds: `caught_up` waits for it. Where
//! the watch fails, everything is listed anew and all who watch are told that they have expired.
//!
//! A watcher is a position in a kind's window of past events, not a queue: it costs nothing while it
//! sleeps, and one that is so slow that the window has moved past it has expired. An event is encoded
//! once for all who watch in the same form (`frames`).

mod feed;
mod frames;
mod key;
mod kind;
mod object;
mod window;

pub use frames::{Form, Occurred};
pub use key::Key;
pub use kind::{Cache, CacheWatch, Snapshot};
pub use object::{Cached, Labels, Meta};
pub use window::Options;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::task::AbortHandle;

use crate::ambient::Ambient;
use crate::kinds::{Registry, Storage};
use crate::store::{Revision, Store, StoreError};
use feed::Fed;

/// The watcher's revision is older than the window, or it was too slow: it must list again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too old resource version")]
pub struct Expired;

/// What a watch yields.
#[derive(Clone, Debug)]
pub enum CacheEvent {
    Added {
        object: Arc<Cached>,
    },
    Modified {
        object: Arc<Cached>,
        previous: Arc<Cached>,
    },
    /// `object`: the last state, with the deletion's revision.
    Deleted {
        object: Arc<Cached>,
        previous: Arc<Cached>,
    },
    /// Everything up to here has been yielded. Comes first when a watch has replayed what it
    /// missed, and now and then while nothing of its kind happens.
    Progress {
        revision: Revision,
    },
}

impl CacheEvent {
    pub fn revision(&self) -> Revision {
        match self {
            Self::Added { object }
            | Self::Modified { object, .. }
            | Self::Deleted { object, .. } => object.revision,
            Self::Progress { revision } => *revision,
        }
    }

    /// The object that it is about; `None` for progress.
    pub fn object(&self) -> Option<&Arc<Cached>> {
        match self {
            Self::Added { object }
            | Self::Modified { object, .. }
            | Self::Deleted { object, .. } => Some(object),
            Self::Progress { .. } => None,
        }
    }
}

/// All kinds' caches. Dropping it ends the feed.
pub struct Caches {
    kinds: Arc<BTreeMap<String, Arc<Cache>>>,
    feed: AbortHandle,
}

impl Caches {
    /// Lists the store into the caches of all stored kinds, and follows it from there.
    pub async fn start(
        store: Arc<dyn Store>,
        ambient: &Ambient,
        kinds: &Registry,
    ) -> Result<Arc<Self>, StoreError> {
        let stored = kinds.iter().map(|kind| kind.info());
        let resources = stored
            .filter(|info| !matches!(info.storage, Storage::Virtual))
            .map(|info| info.stored_resource())
            .collect();
        Self::start_for(store, ambient, resources, Options::default()).await
    }

    /// The same for named resources (`pods`, `deployments.apps`).
    pub async fn start_for(
        store: Arc<dyn Store>,
        ambient: &Ambient,
        resources: BTreeSet<String>,
        options: Options,
    ) -> Result<Arc<Self>, StoreError> {
        let fed = Fed::new(options.patience);
        let kind = |resource: String| {
            let cache = Cache::new(&resource, store.clone(), fed.clone(), options);
            (resource, Arc::new(cache))
        };
        let kinds: Arc<BTreeMap<_, _>> = Arc::new(resources.into_iter().map(kind).collect());
        let changes = feed::fill(&*store, &kinds, &fed).await?;
        let feed = ambient
            .spawn(feed::follow(store, kinds.clone(), fed, changes, options.progress_every))
            .abort_handle();
        Ok(Arc::new(Self { kinds, feed }))
    }

    /// The cache of a stored resource (`KindInfo::stored_resource`).
    pub fn kind(&self, resource: &str) -> Option<Arc<Cache>> {
        self.kinds.get(resource).cloned()
    }

    /// All of them, by resource.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Cache>> {
        self.kinds.values()
    }
}

impl Drop for Caches {
    fn drop(&mut self) {
        self.feed.abort();
    }
}

#[cfg(test)]
mod tests;
