//! An object in the cache: the store's own bytes, and what was decoded of them lately.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use parking_lot::Mutex;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::encode;
use crate::store::Revision;

/// One revision of an object; immutable.
pub struct Cached {
    at: Place,
    pub revision: Revision,
    /// The object as it is stored, without its resourceVersion: the same memory as the store's.
    stored: Bytes,
    meta: OnceLock<Box<Meta>>,
    view: Mutex<View>,
}

/// Where an object lies within its kind. Shared by all its revisions.
#[derive(Clone)]
pub(super) struct Place {
    pub kind: Arc<OfKind>,
    /// `namespace/name`: the order of the store's keys.
    pub path: Arc<str>,
}

/// What the objects of a kind have in common.
pub(super) struct OfKind {
    pub resource: String,
    /// A view has been kept since this was last looked at.
    pub decoded: AtomicBool,
}

/// The typed view that was asked for last, of the first type asked for: there is seldom a second.
#[derive(Default)]
struct View {
    kept: Option<Arc<dyn Any + Send + Sync>>,
    /// Asked for since the last `rest`.
    used: bool,
    /// A later revision has taken its place: nobody asks twice.
    superseded: bool,
}

/// What is looked at of objects whatever their kind.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Meta {
    pub uid: Option<Box<str>>,
    pub labels: Labels,
    pub deletion_timestamp: Option<Box<str>>,
}

/// Labels by key, as small as they can be held.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(from = "Option<BTreeMap<Box<str>, Box<str>>>")]
pub struct Labels(Box<[(Box<str>, Box<str>)]>);

impl From<Option<BTreeMap<Box<str>, Box<str>>>> for Labels {
    fn from(labels: Option<BTreeMap<Box<str>, Box<str>>>) -> Self {
        Self(labels.into_iter().flatten().collect())
    }
}

impl Labels {
    pub fn get(&self, key: &str) -> Option<&str> {
        let at = self.0.binary_search_by(|(own, _)| (**own).cmp(key)).ok()?;
        Some(&self.0[at].1)
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Head {
    metadata: Meta,
}

impl Cached {
    /// Of an object's stored bytes.
    pub(super) fn new(at: Place, revision: Revision, stored: Bytes) -> Self {
        Self { at, revision, stored, meta: OnceLock::new(), view: Mutex::default() }
    }

    /// The last state, as of its deletion.
    pub(super) fn deleted(&self, revision: Revision) -> Self {
        let last = Self::new(self.at.clone(), revision, self.stored.clone());
        last.supersede();
        last
    }

    pub(super) fn at(&self) -> &Place {
        &self.at
    }

    pub fn namespace(&self) -> &str {
        self.at.path.split_once('/').map_or("", |(namespace, _)| namespace)
    }

    pub fn name(&self) -> &str {
        self.at.path.split_once('/').map_or("", |(_, name)| name)
    }

    /// The whole object as JSON without its resourceVersion: what there is to decode where nobody
    /// asks for that.
    pub fn stored(&self) -> &Bytes {
        &self.stored
    }

    /// The whole object as JSON, with its resourceVersion; made anew each time.
    pub fn bytes(&self) -> Bytes {
        self.bytes_at(self.revision)
    }

    /// The same under another revision: that of its deletion.
    pub fn bytes_at(&self, revision: Revision) -> Bytes {
        encode::splice(&self.stored, revision)
    }

    /// Decodes no more than the metadata, once.
    pub fn meta(&self) -> &Meta {
        self.meta.get_or_init(|| {
            let head = serde_json::from_slice::<Head>(&self.stored);
            Box::new(head.map(|head| head.metadata).unwrap_or_default())
        })
    }

    pub fn uid(&self) -> &str {
        self.meta().uid.as_deref().unwrap_or_default()
    }

    pub fn labels(&self) -> &Labels {
        &self.meta().labels
    }

    /// The object as its type. The first type asked for is kept and shared, as long as it is asked
    /// for now and then and this is the object's newest revision: typed, an object is several times
    /// as large as its bytes.
    pub fn try_view<T>(&self) -> Result<Arc<T>, serde_json::Error>
    where
        T: DeserializeOwned + Send + Sync + 'static,
    {
        if let Some(view) = self.kept() {
            if let Ok(view) = view.downcast::<T>() {
                return Ok(view);
            }
            return self.decode().map(Arc::new);
        }
        let view: Arc<T> = Arc::new(self.decode()?);
        self.keep(view.clone());
        Ok(view)
    }

    /// The object as any type, for one look at it.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.bytes())
    }

    fn kept(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        let mut view = self.view.lock();
        view.used = true;
        view.kept.clone()
    }

    /// If two race, both decode and the first is kept.
    fn keep(&self, decoded: Arc<dyn Any + Send + Sync>) {
        let mut view = self.view.lock();
        if view.kept.is_none() && !view.superseded {
            view.kept = Some(decoded);
            self.at.kind.decoded.store(true, Ordering::Relaxed);
        }
    }

    /// Another revision has come: lets go of what is kept for those who would ask again.
    pub(super) fn supersede(&self) {
        let mut view = self.view.lock();
        view.superseded = true;
        view.kept = None;
    }

    /// Lets go of a view that nobody has asked for since the last time. Whether one stays.
    pub(super) fn rest(&self) -> bool {
        let mut view = self.view.lock();
        if !std::mem::take(&mut view.used) {
            view.kept = None;
        }
        view.kept.is_some()
    }

    /// As `try_view`.
    ///
    /// # Panics
    /// Where the object is not a `T`: what is stored has passed through its kind's type, so to ask
    /// for another one is a bug.
    pub fn view<T>(&self) -> Arc<T>
    where
        T: DeserializeOwned + Send + Sync + 'static,
    {
        self.try_view().unwrap_or_else(|error| {
            panic!("{self:?} is not a {}: {error}", std::any::type_name::<T>())
        })
    }
}

impl fmt::Debug for Cached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}@{}", self.at.kind.resource, self.at.path, self.revision)
    }
}
