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
use serde_json::Value;

use crate::encode;
use crate::store::Revision;

/// One revision of an object; immutable.
pub struct Cached {
    at: Place,
    pub revision: Revision,
    /// The object as it is stored, without its resourceVersion: the same memory as the store's.
    stored: Bytes,
    meta: OnceLock<Box<Meta>>,
    views: Mutex<Views>,
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

/// More types are seldom asked for of one object: each further one is decoded each time.
const VIEWS_MAX: usize = 2;

/// The typed views that were asked for, one of a type.
#[derive(Default)]
struct Views {
    kept: Vec<Arc<dyn Any + Send + Sync>>,
    /// Asked for since the last `rest`.
    used: bool,
    /// A later revision has taken its place: nobody asks twice.
    superseded: bool,
    /// That it cannot be decoded has been said.
    told: bool,
}

/// What is looked at of objects whatever their kind.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Meta {
    pub uid: Option<Box<str>>,
    pub labels: Labels,
    pub deletion_timestamp: Option<Box<str>>,
    /// `spec.nodeName` and `status.phase`, which kubelets and clients select by all the time.
    #[serde(skip)]
    pub node_name: Option<Box<str>>,
    #[serde(skip)]
    pub phase: Option<Box<str>>,
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

/// The same, with the fields besides. In a kind that means something else by them this is no form
/// of it.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Wide {
    metadata: Meta,
    spec: WideSpec,
    status: WideStatus,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct WideSpec {
    node_name: Option<Box<str>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WideStatus {
    phase: Option<Box<str>>,
}

impl Meta {
    fn of_stored(stored: &[u8]) -> Self {
        match serde_json::from_slice::<Wide>(stored) {
            Ok(Wide { metadata, spec, status }) => {
                Self { node_name: spec.node_name, phase: status.phase, ..metadata }
            }
            Err(_) => {
                let head = serde_json::from_slice::<Head>(stored);
                head.map(|head| head.metadata).unwrap_or_default()
            }
        }
    }
}

impl Cached {
    /// Of an object's stored bytes.
    pub(super) fn new(at: Place, revision: Revision, stored: Bytes) -> Self {
        Self { at, revision, stored, meta: OnceLock::new(), views: Mutex::default() }
    }

    /// Of an object that is not kept: it has no revision.
    pub fn computed(resource: String, name: &str, value: &Value) -> Self {
        let kind = Arc::new(OfKind { resource, decoded: AtomicBool::new(false) });
        let place = Place { kind, path: format!("/{name}").into() };
        Self::new(place, Revision(0), encode::stored(value))
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

    /// Decodes no more than what stands there, once.
    pub fn meta(&self) -> &Meta {
        self.meta.get_or_init(|| Box::new(Meta::of_stored(&self.stored)))
    }

    pub fn uid(&self) -> &str {
        self.meta().uid.as_deref().unwrap_or_default()
    }

    pub fn labels(&self) -> &Labels {
        &self.meta().labels
    }

    /// The object as its type, or as a type that has only some of its fields. What was decoded is
    /// kept and shared as long as it is asked for now and then and this is the object's newest
    /// revision: typed, an object is several times as large as its bytes.
    pub fn try_view<T>(&self) -> Result<Arc<T>, serde_json::Error>
    where
        T: DeserializeOwned + Send + Sync + 'static,
    {
        if let Some(view) = self.kept() {
            return Ok(view);
        }
        let view: Arc<T> = Arc::new(self.decode()?);
        self.keep(view.clone());
        Ok(view)
    }

    /// The object as any type, for one look at it, without `managedFields`: typed they are larger
    /// than all the rest, and nobody here asks for them.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&encode::without_managers(&self.bytes()))
    }

    fn kept<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        let mut views = self.views.lock();
        views.used = true;
        let view = views.kept.iter().find(|view| (***view).is::<T>())?;
        view.clone().downcast().ok()
    }

    /// If two race, both decode and the first is kept.
    fn keep<T: Send + Sync + 'static>(&self, decoded: Arc<T>) {
        let mut views = self.views.lock();
        let is_known = views.kept.iter().any(|view| (**view).is::<T>());
        if !is_known && !views.superseded && views.kept.len() < VIEWS_MAX {
            views.kept.push(decoded);
            self.at.kind.decoded.store(true, Ordering::Relaxed);
        }
    }

    /// Another revision has come: lets go of what is kept for those who would ask again.
    pub(super) fn supersede(&self) {
        let mut views = self.views.lock();
        views.superseded = true;
        views.kept = Vec::new();
    }

    /// Lets go of views that nobody has asked for since the last time. Whether any stay.
    pub(super) fn rest(&self) -> bool {
        let mut views = self.views.lock();
        if !std::mem::take(&mut views.used) {
            views.kept = Vec::new();
        }
        !views.kept.is_empty()
    }

    /// As `try_view`, for those who go on without an object that is not what its kind says: it was
    /// written by another version of this program, or damaged. The log says so, once.
    pub fn view<T>(&self) -> Option<Arc<T>>
    where
        T: DeserializeOwned + Send + Sync + 'static,
    {
        self.try_view().inspect_err(|error| self.tell::<T>(error)).ok()
    }

    fn tell<T>(&self, error: &serde_json::Error) {
        if !std::mem::replace(&mut self.views.lock().told, true) {
            let ty = std::any::type_name::<T>();
            tracing::error!(object = ?self, ty, %error, "a stored object cannot be decoded; it is passed over");
        }
    }
}

impl fmt::Debug for Cached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}@{}", self.at.kind.resource, self.at.path, self.revision)
    }
}
