//! The documents, made when first asked for.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};

use super::components::Components;
use super::operations::{Operation, operations};
use super::prose::Prose;
use super::protobuf::{self, NoPlace};
use super::{Dialect, render};
use crate::kinds::{AnyKind, KindInfo, Registry};
use crate::schema::table::TABLE;

/// The version of Kubernetes that the documents claim.
const VERSION: &str = "v1.36.0";

/// The OpenAPI documents of a registry.
pub struct OpenApi {
    registry: Registry,
    /// By path (`api/v1`); version 2 stands under `v2`, and as protobuf under `v2.pb`.
    made: Mutex<HashMap<String, Bytes>>,
}

impl OpenApi {
    pub fn new(registry: Registry) -> Self {
        Self { registry, made: Mutex::default() }
    }

    /// `/openapi/v3`: where each group version's document stands. The hash in its address lets
    /// clients keep a document for ever; it is of what a document is made from, so that the index
    /// costs no document.
    pub fn v3_index(&self) -> Value {
        let paths: Map<String, Value> = self
            .group_versions()
            .into_iter()
            .map(|(path, kinds)| {
                let hash = hash(&kinds);
                let url = format!("/openapi/v3/{path}?hash={hash}");
                (path, json!({ "serverRelativeURL": url }))
            })
            .collect();
        json!({ "paths": paths })
    }

    /// The hash of one group version's document: its entity tag.
    pub fn v3_hash(&self, path: &str) -> Option<String> {
        self.group_versions().get(path).map(|kinds| hash(kinds))
    }

    /// `/openapi/v3/{path}`, where the path is `api/v1` or `apis/apps/v1`.
    pub fn v3_group(&self, path: &str) -> Option<Bytes> {
        if let Some(made) = self.made.lock().get(path) {
            return Some(made.clone());
        }
        let kinds = self.group_versions().remove(path)?;
        let document = v3(&kinds);
        self.made.lock().insert(path.to_owned(), document.clone());
        Some(document)
    }

    /// `/openapi/v2`, as JSON.
    pub fn v2(&self) -> Bytes {
        if let Some(made) = self.made.lock().get("v2") {
            return made.clone();
        }
        let document = finish(&v2(&self.kinds()));
        self.made.lock().insert("v2".to_owned(), document.clone());
        document
    }

    /// `/openapi/v2`, as protobuf.
    pub fn v2_protobuf(&self) -> Result<Bytes, NoPlace> {
        if let Some(made) = self.made.lock().get("v2.pb") {
            return Ok(made.clone());
        }
        let document = Bytes::from(protobuf::document(&v2(&self.kinds()))?);
        self.made.lock().insert("v2.pb".to_owned(), document.clone());
        Ok(document)
    }

    /// The hash of the version 2 document, in either form.
    pub fn v2_hash(&self) -> String {
        hash(&self.kinds())
    }

    fn kinds(&self) -> Vec<&dyn AnyKind> {
        self.registry.iter().map(|kind| &**kind).collect()
    }

    fn group_versions(&self) -> BTreeMap<String, Vec<&dyn AnyKind>> {
        let mut paths: BTreeMap<String, Vec<&dyn AnyKind>> = BTreeMap::new();
        for kind in self.registry.iter() {
            paths.entry(path(kind.info())).or_default().push(&**kind);
        }
        paths
    }
}

fn path(info: &KindInfo) -> String {
    match info.group {
        "" => format!("api/{}", info.version),
        group => format!("apis/{group}/{}", info.version),
    }
}

/// Of all that a document is made from.
fn hash(kinds: &[&dyn AnyKind]) -> String {
    // Its keys are fixed: the same on every node and after every start of one build.
    let mut hasher = DefaultHasher::new();
    (env!("CARGO_PKG_VERSION"), TABLE).hash(&mut hasher);
    for kind in kinds {
        format!("{:?}", kind.info()).hash(&mut hasher);
    }
    format!("{:016X}", hasher.finish())
}

fn v3(kinds: &[&dyn AnyKind]) -> Bytes {
    let operations = all_operations(kinds);
    let schemas = Components::reached(&operations).write(Dialect::V3, &Prose::of(kinds));
    finish(&json!({
        "openapi": "3.0.0",
        "info": { "title": "Kubernetes", "version": VERSION },
        "paths": render::paths(&operations, Dialect::V3),
        "components": {
            "schemas": schemas,
            "securitySchemes": { "BearerToken": bearer_token() },
        },
    }))
}

fn v2(kinds: &[&dyn AnyKind]) -> Value {
    let operations = all_operations(kinds);
    let definitions = Components::reached(&operations).write(Dialect::V2, &Prose::of(kinds));
    json!({
        "swagger": "2.0",
        "info": { "title": "Kubernetes", "version": VERSION },
        "paths": render::paths(&operations, Dialect::V2),
        "definitions": definitions,
        "securityDefinitions": { "BearerToken": bearer_token() },
        "security": [{ "BearerToken": [] }],
    })
}

fn all_operations(kinds: &[&dyn AnyKind]) -> Vec<Operation> {
    kinds.iter().flat_map(|kind| operations(kind.info())).collect()
}

fn bearer_token() -> Value {
    json!({ "type": "apiKey", "in": "header", "name": "authorization",
            "description": "Bearer Token authentication" })
}

fn finish(document: &Value) -> Bytes {
    Bytes::from(document.to_string())
}
