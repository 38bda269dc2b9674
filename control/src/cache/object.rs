//! An object in the cache: its bytes, and what was decoded from them, once.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Key;
use crate::encode;
use crate::store::Revision;

/// One revision of an object; immutable.
pub struct Cached {
    pub key: Key,
    pub revision: Revision,
    /// The whole object as JSON, with its resourceVersion.
    pub bytes: Bytes,
    meta: OnceLock<Box<Meta>>,
    value: OnceLock<Arc<Value>>,
    /// The first type that was asked for; there is seldom a second.
    view: OnceLock<Arc<dyn Any + Send + Sync>>,
}

/// What is looked at of objects whatever their kind.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Meta {
    pub uid: Option<String>,
    pub labels: Option<BTreeMap<String, String>>,
    pub deletion_timestamp: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Head {
    metadata: Meta,
}

impl Cached {
    /// Of an object's stored bytes.
    pub fn new(key: Key, revision: Revision, stored: &Bytes) -> Self {
        Self::of(key, revision, encode::splice(stored, revision))
    }

    /// The last state, as of its deletion.
    pub(super) fn deleted(&self, revision: Revision) -> Self {
        Self::of(self.key.clone(), revision, encode::resplice(&self.bytes, revision))
    }

    fn of(key: Key, revision: Revision, bytes: Bytes) -> Self {
        let (meta, value, view) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
        Self { key, revision, bytes, meta, value, view }
    }

    pub fn namespace(&self) -> &str {
        &self.key.namespace
    }

    pub fn name(&self) -> &str {
        &self.key.name
    }

    /// Decodes no more than the metadata, once.
    pub fn meta(&self) -> &Meta {
        self.meta.get_or_init(|| {
            let head = serde_json::from_slice::<Head>(&self.bytes);
            Box::new(head.map(|head| head.metadata).unwrap_or_default())
        })
    }

    pub fn uid(&self) -> &str {
        self.meta().uid.as_deref().unwrap_or_default()
    }

    pub fn labels(&self) -> &BTreeMap<String, String> {
        static NONE: BTreeMap<String, String> = BTreeMap::new();
        self.meta().labels.as_ref().unwrap_or(&NONE)
    }

    /// The object as a JSON value, decoded once and kept. Several times as large as the bytes: to
    /// look at many objects once, decode `bytes`.
    pub fn value(&self) -> &Arc<Value> {
        self.value.get_or_init(|| Arc::new(serde_json::from_slice(&self.bytes).unwrap_or_default()))
    }

    /// The object as its type; decoded once for the first type asked for, and shared.
    pub fn try_view<T>(&self) -> Result<Arc<T>, serde_json::Error>
    where
        T: DeserializeOwned + Send + Sync + 'static,
    {
        if let Some(view) = self.view.get() {
            if let Ok(view) = view.clone().downcast::<T>() {
                return Ok(view);
            }
            return serde_json::from_slice(&self.bytes).map(Arc::new);
        }
        let view: Arc<T> = Arc::new(serde_json::from_slice(&self.bytes)?);
        // If two race, both decode and the first is kept.
        let _ = self.view.set(view.clone());
        Ok(view)
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
            panic!("{} is not a {}: {error}", self.key, std::any::type_name::<T>())
        })
    }
}

impl fmt::Debug for Cached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.key, self.revision)
    }
}
