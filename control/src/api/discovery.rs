//! What the server serves: groups, versions, resources, in the old form and the aggregated one.
//!
//! The kinds are fixed for now, so every document is made once.
//! Source: `k8s.io/apiserver/pkg/endpoints/discovery`.

use std::collections::BTreeMap;

use axum::response::Response;
use bytes::Bytes;
use http::header::{ACCEPT, ETAG, IF_NONE_MATCH, VARY};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Value, json};

use crate::kinds::{AnyKind, KindInfo, Registry, Storage};
use crate::status::ApiError;

use super::answer::{json_text, respond};
use super::negotiate::{JSON, clauses};
use super::request::Path;

const AGGREGATED_V2: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
const AGGREGATED_V2_BETA: &str =
    "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";
/// A document with the tag that says whether a client has it already.
struct Document {
    bytes: Bytes,
    tag: HeaderValue,
}

impl Document {
    fn new(value: &Value) -> Self {
        let bytes = json_text(value, false);
        let tag = tag(&bytes);
        Self { bytes, tag }
    }

    fn respond(&self, headers: &HeaderMap, content_type: &'static str) -> Response {
        let mut response = if headers.get(IF_NONE_MATCH) == Some(&self.tag) {
            respond(StatusCode::NOT_MODIFIED, content_type, Bytes::new())
        } else {
            respond(StatusCode::OK, content_type, self.bytes.clone())
        };
        response.headers_mut().insert(ETAG, self.tag.clone());
        response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
        response
    }
}

/// An entity tag of these bytes.
fn tag(bytes: &[u8]) -> HeaderValue {
    let text = format!("\"{}\"", super::kubelet::sha256_hex(bytes));
    HeaderValue::from_str(&text).expect("hexadecimal digits")
}

/// The documents of `/api` and `/apis`, each in the plain form and two aggregated ones.
struct Root {
    plain: Document,
    v2: Document,
    v2_beta: Document,
}

pub struct Discovery {
    core: Root,
    groups: Root,
    group: BTreeMap<String, Document>,
    version: BTreeMap<(String, String), Document>,
    /// Paths of all of it, for the index at `/`.
    paths: Vec<String>,
}

impl Discovery {
    pub fn new(kinds: &Registry) -> Self {
        let groups = groups(kinds);
        let named: Vec<(&&str, &Versions)> =
            groups.iter().filter(|(group, _)| !group.is_empty()).collect();
        let list = json!({
            "kind": "APIGroupList",
            "apiVersion": "v1",
            "groups": named.iter().map(|(name, versions)| api_group(name, versions)).collect::<Vec<_>>(),
        });
        let core_versions = json!({
            "kind": "APIVersions",
            "versions": ["v1"],
            "serverAddressByClientCIDRs": [],
        });
        let aggregated = |core: bool, version: &str| {
            let items = groups.iter().filter(|(group, _)| group.is_empty() == core);
            Document::new(&aggregate(items, version))
        };
        let root = |plain: &Value, core: bool| Root {
            plain: Document::new(plain),
            v2: aggregated(core, "v2"),
            v2_beta: aggregated(core, "v2beta1"),
        };
        Self {
            core: root(&core_versions, true),
            groups: root(&list, false),
            group: named
                .iter()
                .map(|(name, versions)| {
                    let mut group = api_group(name, versions);
                    group["kind"] = "APIGroup".into();
                    group["apiVersion"] = "v1".into();
                    ((**name).to_owned(), Document::new(&group))
                })
                .collect(),
            version: groups
                .iter()
                .flat_map(|(group, versions)| versions.iter().map(move |entry| (*group, entry)))
                .map(|(group, (version, kinds))| {
                    let key = (group.to_owned(), (*version).to_owned());
                    (key, Document::new(&resource_list(group, version, kinds)))
                })
                .collect(),
            paths: paths(&groups),
        }
    }

    pub fn answer(&self, path: &Path, headers: &HeaderMap) -> Result<Response, ApiError> {
        let found = |document: Option<&Document>| {
            let document = document.ok_or_else(ApiError::page_not_found)?;
            Ok(document.respond(headers, JSON))
        };
        match path {
            Path::CoreVersions => Ok(self.core.answer(headers)),
            Path::Groups => Ok(self.groups.answer(headers)),
            Path::Group(group) => found(self.group.get(group)),
            Path::Version { group, version } => {
                found(self.version.get(&(group.clone(), version.clone())))
            }
            Path::Resource { .. } | Path::Other => Err(ApiError::page_not_found()),
        }
    }

    /// Whether a group is served, in whatever version.
    pub fn knows(&self, group: &str) -> bool {
        self.group.contains_key(group)
    }

    /// The paths below `/`.
    pub fn paths(&self) -> &[String] {
        &self.paths
    }
}

impl Root {
    fn answer(&self, headers: &HeaderMap) -> Response {
        let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        for clause in clauses(accept) {
            if clause.kind != "application" || clause.parameter("as") != "APIGroupDiscoveryList" {
                if clause.parameter("as").is_empty() {
                    break;
                }
                continue;
            }
            match clause.parameter("v") {
                "v2" => return self.v2.respond(headers, AGGREGATED_V2),
                "v2beta1" => return self.v2_beta.respond(headers, AGGREGATED_V2_BETA),
                _ => {}
            }
        }
        self.plain.respond(headers, JSON)
    }
}

/// The kinds of a group by version, the preferred version first.
type Versions<'a> = Vec<(&'a str, Vec<&'a dyn AnyKind>)>;

fn groups(kinds: &Registry) -> BTreeMap<&str, Versions<'_>> {
    let mut groups: BTreeMap<&str, Versions<'_>> = BTreeMap::new();
    for kind in kinds.iter() {
        let info = kind.info();
        let versions = groups.entry(info.group).or_default();
        match versions.iter_mut().find(|(version, _)| *version == info.version) {
            Some((_, kinds)) => kinds.push(kind.as_ref()),
            None => versions.push((info.version, vec![kind.as_ref()])),
        }
    }
    for versions in groups.values_mut() {
        versions.sort_by_key(|(version, _)| (version.contains("alpha"), version.contains("beta")));
    }
    groups
}

fn api_group(name: &str, versions: &Versions<'_>) -> Value {
    let entry =
        |version: &str| json!({ "groupVersion": format!("{name}/{version}"), "version": version });
    let preferred = versions.first().map_or("", |(version, _)| version);
    json!({
        "name": name,
        "versions": versions.iter().map(|(version, _)| entry(version)).collect::<Vec<_>>(),
        "preferredVersion": entry(preferred),
    })
}

fn resource_list(group: &str, version: &str, kinds: &[&dyn AnyKind]) -> Value {
    let mut resources = Vec::new();
    for kind in kinds {
        let info = kind.info();
        let mut resource = json!({
            "name": info.resource,
            "singularName": info.singular,
            "namespaced": info.is_namespaced(),
            "kind": info.kind,
            "verbs": info.verbs.names(),
        });
        put_unless_empty(&mut resource, "shortNames", info.short_names);
        put_unless_empty(&mut resource, "categories", info.categories);
        if info.storage != Storage::Virtual {
            let key = format!("{group}/{version}/{}", info.resource);
            resource["storageVersionHash"] = hash(&key).into();
        }
        resources.push(resource);
        for subresource in info.subresources {
            let form = subresource.form(info);
            let mut entry = json!({
                "name": format!("{}/{}", info.resource, subresource.name()),
                "singularName": "",
                "namespaced": info.is_namespaced(),
                "kind": form.kind,
                "verbs": form.verbs,
            });
            if (form.group, form.version) != (info.group, info.version) {
                entry["group"] = form.group.into();
                entry["version"] = form.version.into();
            }
            resources.push(entry);
        }
    }
    let group_version =
        if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": group_version,
        "resources": resources,
    })
}

fn aggregate<'a>(
    groups: impl Iterator<Item = (&'a &'a str, &'a Versions<'a>)>,
    version: &str,
) -> Value {
    let items: Vec<Value> = groups
        .map(|(name, versions)| {
            let versions: Vec<Value> = versions
                .iter()
                .map(|(version, kinds)| {
                    let resources: Vec<Value> =
                        kinds.iter().map(|kind| aggregated_resource(kind.info())).collect();
                    json!({ "version": version, "resources": resources, "freshness": "Current" })
                })
                .collect();
            json!({ "metadata": { "name": name }, "versions": versions })
        })
        .collect();
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": format!("apidiscovery.k8s.io/{version}"),
        "metadata": {},
        "items": items,
    })
}

fn aggregated_resource(info: &KindInfo) -> Value {
    let mut resource = json!({
        "resource": info.resource,
        "responseKind": { "group": info.group, "version": info.version, "kind": info.kind },
        "scope": if info.is_namespaced() { "Namespaced" } else { "Cluster" },
        "singularResource": info.singular,
        "verbs": info.verbs.names(),
    });
    put_unless_empty(&mut resource, "shortNames", info.short_names);
    put_unless_empty(&mut resource, "categories", info.categories);
    let subresources = info.subresources.iter().map(|subresource| {
        let form = subresource.form(info);
        json!({
            "subresource": subresource.name(),
            "responseKind": { "group": form.group, "version": form.version, "kind": form.kind },
            "verbs": form.verbs,
        })
    });
    let subresources: Vec<Value> = subresources.collect();
    if !subresources.is_empty() {
        resource["subresources"] = subresources.into();
    }
    resource
}

fn put_unless_empty(object: &mut Value, field: &str, list: &[&str]) {
    if !list.is_empty() {
        object[field] = list.to_vec().into();
    }
}

/// Eight bytes that name a resource's storage version.
fn hash(key: &str) -> String {
    use base64::Engine as _;
    let digest = super::kubelet::sha256(key.as_bytes());
    base64::engine::general_purpose::STANDARD.encode(&digest[..8])
}

fn paths(groups: &BTreeMap<&str, Versions<'_>>) -> Vec<String> {
    let mut paths: Vec<String> = [
        "/api",
        "/apis",
        "/healthz",
        "/livez",
        "/metrics",
        "/openapi/v2",
        "/openapi/v3",
        "/readyz",
        "/version",
    ]
    .map(str::to_owned)
    .to_vec();
    for (group, versions) in groups {
        let root = if group.is_empty() { "/api".to_owned() } else { format!("/apis/{group}") };
        if !group.is_empty() {
            paths.push(root.clone());
        }
        paths.extend(versions.iter().map(|(version, _)| format!("{root}/{version}")));
    }
    paths.sort();
    paths
}
