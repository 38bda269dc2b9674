//! Which documents there are, what each holds, and how it is put together.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::OnceLock;

use serde_json::{Value, json};

use super::components::Components;
use super::operation::Operation;
use super::operations::operations;
use super::prose::Prose;
use super::{Dialect, render, roots, shared};
use crate::kinds::{AnyKind, KindInfo, Registry};
use crate::schema::table::TABLE;

/// The version of Kubernetes that the documents claim.
const VERSION: &str = "v1.36.0";

/// One document of version 3, before it is written.
pub(super) enum Document<'a> {
    /// `.well-known/openid-configuration`
    Issuer,
    /// `api`
    CoreVersions,
    /// `apis`
    Groups,
    /// `apis/apps`
    Group(&'static str),
    /// `api/v1`, `apis/apps/v1`
    Kinds {
        group: &'static str,
        version: &'static str,
        kinds: Vec<&'a dyn AnyKind>,
    },
    Logs,
    /// `openid/v1/jwks`
    KeySet,
    Version,
}

impl<'a> Document<'a> {
    /// Those of a registry, by path.
    pub fn all(registry: &'a Registry) -> Vec<Self> {
        let mut versions: BTreeMap<(&'static str, &'static str), Vec<&dyn AnyKind>> =
            BTreeMap::new();
        for kind in registry.iter() {
            let info = kind.info();
            versions.entry((info.group, info.version)).or_default().push(&**kind);
        }
        let mut groups: Vec<&'static str> = versions.keys().map(|(group, _)| *group).collect();
        groups.dedup();
        let groups = groups.into_iter().filter(|group| !group.is_empty());
        let mut all: Vec<Self> = groups.map(Self::Group).collect();
        all.extend(versions.into_iter().map(|((group, version), kinds)| Self::Kinds {
            group,
            version,
            kinds,
        }));
        all.extend([Self::Issuer, Self::CoreVersions, Self::Groups, Self::Logs, Self::KeySet]);
        all.push(Self::Version);
        all.sort_by_cached_key(Self::path);
        all
    }

    /// Its address below `/openapi/v3/`.
    pub fn path(&self) -> String {
        match self {
            Self::Issuer => ".well-known/openid-configuration".to_owned(),
            Self::CoreVersions => "api".to_owned(),
            Self::Groups => "apis".to_owned(),
            Self::Group(group) => format!("apis/{group}"),
            Self::Kinds { group: "", version, .. } => format!("api/{version}"),
            Self::Kinds { group, version, .. } => format!("apis/{group}/{version}"),
            Self::Logs => "logs".to_owned(),
            Self::KeySet => "openid/v1/jwks".to_owned(),
            Self::Version => "version".to_owned(),
        }
    }

    /// Of all that it is made from.
    pub fn hash(&self) -> String {
        hash_of_all(std::slice::from_ref(self))
    }

    fn version(&self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Kinds { group, version, .. } => Some((group, version)),
            _ => None,
        }
    }

    fn kinds(&self) -> &[&'a dyn AnyKind] {
        match self {
            Self::Kinds { kinds, .. } => kinds,
            _ => &[],
        }
    }

    fn operations(&self) -> Vec<Operation> {
        match self {
            Self::Issuer => roots::issuer(),
            Self::CoreVersions => roots::core_versions(),
            Self::Groups => roots::groups(),
            Self::Group(group) => roots::group(group),
            Self::Kinds { group, version, kinds } => {
                let mut all = roots::resources(group, version);
                all.extend(kinds.iter().flat_map(|kind| operations(kind.info())));
                all
            }
            Self::Logs => roots::logs(),
            Self::KeySet => roots::key_set(),
            Self::Version => roots::version(),
        }
    }
}

/// Of all that a document of all these is made from: the same on every node and after every start of
/// one build.
pub(super) fn hash_of_all(documents: &[Document<'_>]) -> String {
    // Its keys are fixed.
    let mut hasher = DefaultHasher::new();
    (env!("CARGO_PKG_VERSION"), hash_of_table()).hash(&mut hasher);
    for document in documents {
        document.path().hash(&mut hasher);
        for kind in document.kinds() {
            hash(kind.info(), &mut hasher);
        }
    }
    format!("{:016X}", hasher.finish())
}

fn hash_of_table() -> u64 {
    static HASH: OnceLock<u64> = OnceLock::new();
    *HASH.get_or_init(|| {
        let mut hasher = DefaultHasher::new();
        TABLE.hash(&mut hasher);
        hasher.finish()
    })
}

/// What a kind's operations depend on.
fn hash(info: &KindInfo, hasher: &mut DefaultHasher) {
    (info.group, info.version, info.kind, info.resource, info.schema).hash(hasher);
    (info.is_namespaced(), info.verbs.names(), info.returns_deleted).hash(hasher);
    for subresource in info.subresources {
        subresource.name().hash(hasher);
    }
}

pub(super) fn v3(document: &Document<'_>) -> Value {
    let operations = document.operations();
    let prose = Prose::of(document.kinds());
    let schemas = Components::reached(&operations, Dialect::V3, document.version()).write(&prose);
    let mut components = json!({ "securitySchemes": { "BearerToken": bearer_token() } });
    if !schemas.is_empty() {
        components["schemas"] = schemas.into();
    }
    json!({
        "openapi": "3.0.0",
        "info": { "title": "Kubernetes", "version": VERSION },
        "paths": render::paths(&operations, Dialect::V3),
        "components": components,
    })
}

pub(super) fn v2(documents: &[Document<'_>]) -> Value {
    let operations: Vec<Operation> = documents.iter().flat_map(Document::operations).collect();
    let kinds: Vec<&dyn AnyKind> = documents.iter().flat_map(Document::kinds).copied().collect();
    let definitions = Components::reached(&operations, Dialect::V2, None).write(&Prose::of(&kinds));
    let mut paths = render::paths(&operations, Dialect::V2);
    let parameters = shared::take_out(&mut paths);
    json!({
        "swagger": "2.0",
        "info": { "title": "Kubernetes", "version": VERSION },
        "paths": paths,
        "definitions": definitions,
        "parameters": parameters,
        "securityDefinitions": { "BearerToken": bearer_token() },
        "security": [{ "BearerToken": [] }],
    })
}

fn bearer_token() -> Value {
    json!({ "type": "apiKey", "in": "header", "name": "authorization",
            "description": "Bearer Token authentication" })
}
