//! An object on its way out, and small readings of objects as JSON values. Pure.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

use crate::cache::Cached;
use crate::encode;
use crate::kinds::{AnyKind, Storage};
use crate::store::Revision;

/// An object as its JSON text; the value is decoded when it is first looked into.
#[derive(Clone)]
pub struct Object {
    pub bytes: Bytes,
    value: OnceLock<Arc<Value>>,
}

impl Object {
    /// What a cache holds, in the form of this kind's version.
    pub fn of_cached(kind: &dyn AnyKind, cached: &Cached) -> Self {
        Self::of_bytes(kind, cached.bytes())
    }

    /// What the store holds, spliced, in the form of this kind's version.
    pub fn of_bytes(kind: &dyn AnyKind, bytes: Bytes) -> Self {
        let object = Self { bytes, value: OnceLock::new() };
        match kind.info().storage {
            Storage::As { .. } => Self::of_value(kind.restore(Value::clone(object.value()))),
            Storage::Own | Storage::Virtual => object,
        }
    }

    pub fn value(&self) -> &Arc<Value> {
        self.value.get_or_init(|| Arc::new(serde_json::from_slice(&self.bytes).unwrap_or_default()))
    }

    /// Its metadata; nothing else is decoded for that.
    pub fn metadata(&self) -> Value {
        #[derive(Deserialize)]
        struct Head {
            metadata: Value,
        }
        match self.value.get() {
            Some(value) => value["metadata"].clone(),
            None => {
                serde_json::from_slice(&self.bytes).map_or(Value::Null, |head: Head| head.metadata)
            }
        }
    }

    /// A value with the resourceVersion that it holds, if any.
    pub fn of_value(value: Value) -> Self {
        let bytes = encode::stored(&value);
        let bytes = match revision_of(&value) {
            Some(revision) => encode::splice(&bytes, revision),
            None => bytes,
        };
        Self { bytes, value: Arc::new(value).into() }
    }

    /// A JSON text in its own form.
    pub fn of_text(bytes: Bytes) -> Self {
        Self { bytes, value: OnceLock::new() }
    }

    /// The value alone.
    pub fn into_value(self) -> Value {
        let value = self.value().clone();
        drop(self);
        Arc::unwrap_or_clone(value)
    }

    /// All objects of a kind that is not kept.
    pub fn computed(kind: &dyn AnyKind) -> Vec<Self> {
        kind.computed().into_iter().map(Self::of_value).collect()
    }

    /// A value with its own JSON text.
    pub fn of_parts(value: Value, bytes: Bytes) -> Self {
        Self { bytes, value: Arc::new(value).into() }
    }
}

/// The text at a JSON pointer; empty where there is none.
pub fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

pub fn name(value: &Value) -> &str {
    text(value, "/metadata/name")
}

pub fn namespace(value: &Value) -> &str {
    text(value, "/metadata/namespace")
}

pub fn uid(value: &Value) -> &str {
    text(value, "/metadata/uid")
}

pub fn resource_version(value: &Value) -> &str {
    text(value, "/metadata/resourceVersion")
}

pub fn is_deleting(value: &Value) -> bool {
    !value["metadata"]["deletionTimestamp"].is_null()
}

pub fn finalizers(value: &Value) -> Vec<&str> {
    let list = value["metadata"]["finalizers"].as_array();
    list.map(|list| list.iter().filter_map(Value::as_str).collect()).unwrap_or_default()
}

pub fn revision_of(value: &Value) -> Option<Revision> {
    resource_version(value).parse().ok().map(Revision)
}

pub fn set_revision(value: &mut Value, revision: Revision) {
    value["metadata"]["resourceVersion"] = revision.to_string().into();
}

/// `metadata` as a map, made if it is missing.
pub fn metadata_mut(value: &mut Value) -> &mut serde_json::Map<String, Value> {
    if !value["metadata"].is_object() {
        value["metadata"] = Value::Object(serde_json::Map::new());
    }
    value["metadata"].as_object_mut().expect("just made")
}
