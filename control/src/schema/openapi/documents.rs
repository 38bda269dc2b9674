//! The documents, made when first asked for and kept while they are asked for.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};

use super::document::{self, Document};
use super::protobuf::{self, NoPlace};
use crate::kinds::Registry;

/// The OpenAPI documents of a registry.
pub struct OpenApi {
    registry: Registry,
    /// By path (`api/v1`); version 2 stands under `v2`, and as protobuf under `v2.pb`.
    made: Mutex<HashMap<String, Made>>,
    /// Whether somebody calls `rest` now and then.
    rests: AtomicBool,
}

/// A document that somebody has asked for.
struct Made {
    bytes: Bytes,
    /// Since the last `rest`.
    used: bool,
}

impl OpenApi {
    pub fn new(registry: Registry) -> Self {
        Self { registry, made: Mutex::default(), rests: AtomicBool::new(false) }
    }

    /// `/openapi/v3`: where each document stands. The hash in its address lets clients keep a
    /// document for ever; it is of what a document is made from, so that the index costs no document.
    pub fn v3_index(&self) -> Value {
        let documents = Document::all(&self.registry);
        let paths = documents.iter().map(|document| {
            let (path, hash) = (document.path(), document.hash());
            let url = format!("/openapi/v3/{path}?hash={hash}");
            (path, json!({ "serverRelativeURL": url }))
        });
        json!({ "paths": paths.collect::<Map<String, Value>>() })
    }

    /// The hash of one version 3 document: its entity tag.
    pub fn v3_hash(&self, path: &str) -> Option<String> {
        self.document(path).map(|document| document.hash())
    }

    /// `/openapi/v3/{path}`, where the path is such as `api/v1`, `apis/apps/v1` or `version`.
    pub fn v3(&self, path: &str) -> Option<Bytes> {
        if let Some(made) = self.kept(path) {
            return Some(made);
        }
        let document = self.document(path)?;
        Some(self.keep(path, finish(&document::v3(&document))))
    }

    /// `/openapi/v2`, as JSON.
    pub fn v2(&self) -> Bytes {
        let make = || self.keep("v2", finish(&document::v2(&Document::all(&self.registry))));
        self.kept("v2").unwrap_or_else(make)
    }

    /// `/openapi/v2`, as protobuf.
    pub fn v2_protobuf(&self) -> Result<Bytes, NoPlace> {
        if let Some(made) = self.kept("v2.pb") {
            return Ok(made);
        }
        let message = protobuf::document(&document::v2(&Document::all(&self.registry)))?;
        Ok(self.keep("v2.pb", Bytes::from(message)))
    }

    /// The hash of the version 2 document, in either form.
    pub fn v2_hash(&self) -> String {
        document::hash_of_all(&Document::all(&self.registry))
    }

    /// Whether documents are kept and nobody calls `rest` yet: the caller is the one to do it.
    pub fn begin_to_rest(&self) -> bool {
        !self.made.lock().is_empty() && !self.rests.swap(true, Ordering::Relaxed)
    }

    /// Lets go of the documents that nobody has asked for since this was last called. Whether any
    /// are left.
    pub fn rest(&self) -> bool {
        let mut all = self.made.lock();
        all.retain(|_, made| std::mem::take(&mut made.used));
        if all.is_empty() {
            self.rests.store(false, Ordering::Relaxed);
        }
        !all.is_empty()
    }

    fn document(&self, path: &str) -> Option<Document<'_>> {
        Document::all(&self.registry).into_iter().find(|document| document.path() == path)
    }

    fn kept(&self, name: &str) -> Option<Bytes> {
        let mut all = self.made.lock();
        let made = all.get_mut(name)?;
        made.used = true;
        Some(made.bytes.clone())
    }

    fn keep(&self, name: &str, bytes: Bytes) -> Bytes {
        let made = Made { bytes: bytes.clone(), used: true };
        self.made.lock().insert(name.to_owned(), made);
        bytes
    }
}

fn finish(document: &Value) -> Bytes {
    Bytes::from(document.to_string())
}
