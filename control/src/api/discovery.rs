//! What the server serves: groups, versions, resources, in the old form and the aggregated one.
//!
//! The kinds are fixed for now, so every document is made once.
//! Source: `k8s.io/apiserver/pkg/endpoints/discovery`.

use std::collections::BTreeMap;

use axum::response::Response;
use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, ETAG, HOST, IF_NONE_MATCH, VARY};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Value, json};

use crate::kinds::{AnyKind, KindInfo, Registry, Storage};
use crate::status::ApiError;

use super::answer::{self, json_text, respond};
use super::negotiate::{Clause, Media, Output, Shapes, clauses};
use super::object::Object;
use super::query::Query;
use super::request::Path;
use super::route::{self, OBJECTS};

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// The groups in the order in which they are listed, after the core: by upstream's priorities. Others
/// follow by name.
///
/// Source: `pkg/controlplane/apiserver/aggregator.go` (DefaultGenericAPIServicePriorities).
const ORDER: [&str; 21] = [
    "apiregistration.k8s.io",
    "apps",
    "events.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "scheduling.k8s.io",
    "coordination.k8s.io",
    "node.k8s.io",
    "discovery.k8s.io",
    "resource.k8s.io",
    "flowcontrol.apiserver.k8s.io",
    "internal.apiserver.k8s.io",
];

pub struct Discovery {
    core: Aggregated,
    groups: Root,
    group: BTreeMap<String, Value>,
    version: BTreeMap<(String, String), Value>,
    /// Paths of all of it, for the index at `/`.
    paths: Vec<String>,
}

/// What stands at `/apis`, in both forms.
struct Root {
    plain: Value,
    aggregated: Aggregated,
}

/// An aggregated document, with the tag that says whether a client has it already.
struct Aggregated {
    bytes: Bytes,
    tag: HeaderValue,
}

impl Discovery {
    pub fn new(kinds: &Registry) -> Self {
        let groups = groups(kinds);
        let (core, named): (Vec<_>, Vec<_>) =
            groups.iter().partition(|group| group.name.is_empty());
        let hash = |info: &KindInfo| storage_hash(kinds, info);
        let list = json!({
            "kind": "APIGroupList",
            "apiVersion": "v1",
            "groups": named.iter().map(|group| api_group(group)).collect::<Vec<_>>(),
        });
        let mut group_documents = BTreeMap::new();
        for group in &named {
            let mut document = api_group(group);
            document["kind"] = "APIGroup".into();
            document["apiVersion"] = "v1".into();
            group_documents.insert(group.name.to_owned(), document);
        }
        let mut versions = BTreeMap::new();
        for group in &groups {
            for version in &group.versions {
                let key = (group.name.to_owned(), version.name.to_owned());
                versions.insert(key, resource_list(group, version, &hash));
            }
        }
        Self {
            core: Aggregated::of(&core),
            groups: Root { plain: list, aggregated: Aggregated::of(&named) },
            group: group_documents,
            version: versions,
            paths: paths(&groups),
        }
    }

    pub fn answer(
        &self,
        path: &Path,
        query: &Query,
        headers: &HeaderMap,
    ) -> Result<Response, ApiError> {
        let found = |document: Option<&Value>| {
            let document = document.ok_or_else(ApiError::page_not_found)?;
            plain(document, query, headers)
        };
        // The lists of groups and a group's versions stand in no router's table.
        if matches!(path, Path::CoreVersions | Path::Version { .. }) {
            route::accepts(headers, OBJECTS)?;
        }
        match path {
            Path::CoreVersions if wants_aggregated(headers) => Ok(self.core.respond(headers)),
            Path::CoreVersions => plain(&core_versions(headers), query, headers),
            Path::Groups if wants_aggregated(headers) => {
                Ok(self.groups.aggregated.respond(headers))
            }
            Path::Groups => found(Some(&self.groups.plain)),
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

/// Whether the first thing that a client asks for and can be had is the aggregated form.
fn wants_aggregated(headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_plain = |clause: &Clause<'_>| clause.parameter("as").is_empty();
    let clauses = clauses(accept);
    let mut wanted = clauses.iter().take_while(|clause| !is_plain(clause));
    wanted.any(|clause| {
        (clause.kind, clause.subtype) == ("application", "json")
            && clause.parameter("g") == "apidiscovery.k8s.io"
            && clause.parameter("v") == "v2"
            && clause.parameter("as") == "APIGroupDiscoveryList"
    })
}

/// A document in the plain form, in the encoding that was asked for.
fn plain(document: &Value, query: &Query, headers: &HeaderMap) -> Result<Response, ApiError> {
    let output = Output::negotiate(headers, query, Shapes::None)?;
    let kind = document["kind"].as_str().unwrap_or_default();
    let ty = format!("io.k8s.apimachinery.pkg.apis.meta.v1.{kind}");
    let text = serde_json::to_vec(document).map_err(ApiError::internal)?;
    let object = Object::of_parts(document.clone(), text.into());
    let mut response = answer::whole(&output, StatusCode::OK, &ty, &object);
    if output.media == Media::Json {
        response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    }
    Ok(response)
}

/// What stands at `/api`. The server's address is the one that the client has used.
fn core_versions(headers: &HeaderMap) -> Value {
    let address = headers.get(HOST).and_then(|host| host.to_str().ok());
    let reached =
        address.map(|address| json!({ "clientCIDR": "0.0.0.0/0", "serverAddress": address }));
    json!({
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": reached.into_iter().collect::<Vec<_>>(),
    })
}

impl Aggregated {
    fn of(groups: &[&Group<'_>]) -> Self {
        let bytes = json_text(&aggregate(groups), false);
        let tag = format!("\"{}\"", super::kubelet::sha256_hex(&bytes));
        Self { bytes, tag: HeaderValue::from_str(&tag).expect("hexadecimal digits") }
    }

    fn respond(&self, headers: &HeaderMap) -> Response {
        let mut response = if headers.get(IF_NONE_MATCH) == Some(&self.tag) {
            respond(StatusCode::NOT_MODIFIED, AGGREGATED, Bytes::new())
        } else {
            respond(StatusCode::OK, AGGREGATED, self.bytes.clone())
        };
        let headers = response.headers_mut();
        headers.insert(ETAG, self.tag.clone());
        headers.insert(VARY, HeaderValue::from_static("Accept"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("public"));
        response
    }
}

/// A group, the preferred version first.
struct Group<'a> {
    name: &'a str,
    versions: Vec<Version<'a>>,
}

struct Version<'a> {
    name: &'a str,
    kinds: Vec<&'a dyn AnyKind>,
}

impl Version<'_> {
    /// Stable before beta before alpha, then higher numbers first: `v2`, `v1`, `v1beta1`.
    ///
    /// Source: `k8s.io/apimachinery/pkg/version/helpers.go` (CompareKubeAwareVersionStrings).
    fn rank(&self) -> (u8, std::cmp::Reverse<u32>, std::cmp::Reverse<u32>) {
        let text = self.name.strip_prefix('v').unwrap_or(self.name);
        let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
        let (major, rest) = text.split_at(digits);
        let (stage, minor) = match rest {
            "" => (0, ""),
            rest => match (rest.strip_prefix("beta"), rest.strip_prefix("alpha")) {
                (Some(minor), _) => (1, minor),
                (None, minor) => (2, minor.unwrap_or_default()),
            },
        };
        let number = |text: &str| std::cmp::Reverse(text.parse().unwrap_or_default());
        (stage, number(major), number(minor))
    }
}

fn groups(kinds: &Registry) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for kind in kinds.iter() {
        let info = kind.info();
        let at = groups.iter().position(|group| group.name == info.group).unwrap_or_else(|| {
            groups.push(Group { name: info.group, versions: Vec::new() });
            groups.len() - 1
        });
        let versions = &mut groups[at].versions;
        match versions.iter_mut().find(|version| version.name == info.version) {
            Some(version) => version.kinds.push(kind.as_ref()),
            None => versions.push(Version { name: info.version, kinds: vec![kind.as_ref()] }),
        }
    }
    for group in &mut groups {
        group.versions.sort_by_key(Version::rank);
    }
    let place = |name: &str| ORDER.iter().position(|known| *known == name).unwrap_or(ORDER.len());
    groups.sort_by_key(|group| (!group.name.is_empty(), place(group.name), group.name));
    groups
}

fn api_group(group: &Group<'_>) -> Value {
    let name = group.name;
    let entry =
        |version: &str| json!({ "groupVersion": format!("{name}/{version}"), "version": version });
    let preferred = group.versions.first().map_or("", |version| version.name);
    json!({
        "name": name,
        "versions": group.versions.iter().map(|it| entry(it.name)).collect::<Vec<_>>(),
        "preferredVersion": entry(preferred),
    })
}

fn resource_list(
    group: &Group<'_>,
    version: &Version<'_>,
    hash: &dyn Fn(&KindInfo) -> Option<String>,
) -> Value {
    let mut resources = Vec::new();
    for info in version.kinds.iter().map(|kind| kind.info()) {
        let mut resource = json!({
            "name": info.resource,
            "singularName": info.singular,
            "namespaced": info.is_namespaced(),
            "kind": info.kind,
            "verbs": info.verbs.names(),
        });
        put_unless_empty(&mut resource, "shortNames", info.short_names);
        put_unless_empty(&mut resource, "categories", info.categories);
        if let Some(hash) = hash(info) {
            resource["storageVersionHash"] = hash.into();
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
    resources.sort_by_cached_key(|resource| resource["name"].as_str().map(str::to_owned));
    let group_version = match group.name {
        "" => version.name.to_owned(),
        name => format!("{name}/{}", version.name),
    };
    let mut list = json!({
        "kind": "APIResourceList",
        "groupVersion": group_version,
        "resources": resources,
    });
    // Clients of old take the core's list for one without a version.
    if !group.name.is_empty() {
        list["apiVersion"] = "v1".into();
    }
    list
}

fn aggregate(groups: &[&Group<'_>]) -> Value {
    let items = groups.iter().map(|group| {
        let versions = group.versions.iter().map(|version| {
            let kinds = version.kinds.iter().map(|kind| kind.info());
            let resources: Vec<Value> = kinds.map(aggregated_resource).collect();
            json!({ "version": version.name, "resources": resources, "freshness": "Current" })
        });
        let metadata =
            if group.name.is_empty() { json!({}) } else { json!({ "name": group.name }) };
        json!({ "metadata": metadata, "versions": versions.collect::<Vec<_>>() })
    });
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": items.collect::<Vec<_>>(),
    })
}

/// A resource, whose kind is of the version around it unless said otherwise.
fn aggregated_resource(info: &KindInfo) -> Value {
    let mut resource = json!({
        "resource": info.resource,
        "responseKind": { "group": "", "version": "", "kind": info.kind },
        "scope": if info.is_namespaced() { "Namespaced" } else { "Cluster" },
        "singularResource": info.singular,
        "verbs": info.verbs.names(),
    });
    put_unless_empty(&mut resource, "shortNames", info.short_names);
    put_unless_empty(&mut resource, "categories", info.categories);
    let mut subresources: Vec<_> = info.subresources.iter().collect();
    subresources.sort_by_key(|subresource| subresource.name());
    let subresources = subresources.into_iter().map(|subresource| {
        let form = subresource.form(info);
        let is_own = (form.group, form.version) == (info.group, info.version);
        let (group, version) = if is_own { ("", "") } else { (form.group, form.version) };
        json!({
            "subresource": subresource.name(),
            "responseKind": { "group": group, "version": version, "kind": form.kind },
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

/// Eight bytes that name the kind that objects are stored as; none for what is not stored.
///
/// Source: `k8s.io/apiserver/pkg/endpoints/discovery/storageversionhash.go`.
fn storage_hash(kinds: &Registry, info: &KindInfo) -> Option<String> {
    use base64::Engine as _;
    let stored = match info.storage {
        Storage::Virtual => return None,
        Storage::Own => info,
        Storage::As { resource } => {
            let mut all = kinds.iter().map(|kind| kind.info());
            all.find(|it| it.storage == Storage::Own && it.group_resource() == resource)?
        }
    };
    let name = format!("{}/{}/{}", stored.group, stored.version, stored.kind);
    let digest = super::kubelet::sha256(name.as_bytes());
    Some(base64::engine::general_purpose::STANDARD.encode(&digest[..8]))
}

fn paths(groups: &[Group<'_>]) -> Vec<String> {
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
    for group in groups {
        let root = match group.name {
            "" => "/api".to_owned(),
            name => format!("/apis/{name}"),
        };
        if !group.name.is_empty() {
            paths.push(root.clone());
        }
        paths.extend(group.versions.iter().map(|version| format!("{root}/{}", version.name)));
    }
    paths.sort();
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stable_and_higher_versions_come_first() {
        let mut versions: Vec<Version<'_>> = ["v1beta1", "v1", "v2alpha1", "v2", "v1beta2", "v10"]
            .map(|name| Version { name, kinds: Vec::new() })
            .into();
        versions.sort_by_key(Version::rank);
        let names: Vec<&str> = versions.iter().map(|version| version.name).collect();
        assert_eq!(names, ["v10", "v2", "v1", "v1beta2", "v1beta1", "v2alpha1"]);
    }

    #[test]
    fn groups_come_by_priority_and_resources_by_name() {
        let discovery = Discovery::new(&crate::kinds::registry());
        let groups = &discovery.groups.plain["groups"];
        let names: Vec<&str> =
            groups.as_array().into_iter().flatten().filter_map(|it| it["name"].as_str()).collect();
        let place = |name: &str| ORDER.iter().position(|known| *known == name);
        assert!(names.is_sorted_by_key(|name| place(name)), "{names:?}");
        let core = &discovery.version[&(String::new(), "v1".to_owned())];
        let resources = core["resources"].as_array().expect("a list");
        assert!(resources.is_sorted_by_key(|it| it["name"].as_str()));
    }

    #[test]
    fn the_storage_version_is_named_by_upstreams_hash() {
        let kinds = crate::kinds::registry();
        for (group, version, resource, hash) in [
            ("", "v1", "pods", Some("xPOwRZ+Yhw8=")),
            ("apps", "v1", "deployments", Some("8aSe+NMegvE=")),
            // Stored as events of the core.
            ("events.k8s.io", "v1", "events", Some("r2yiGXH7wu8=")),
            ("", "v1", "bindings", None),
        ] {
            let kind = kinds.at(group, version, resource).expect(resource);
            assert_eq!(storage_hash(&kinds, kind.info()).as_deref(), hash, "{resource}");
        }
    }

    #[test]
    fn the_aggregated_form_is_for_those_who_ask_for_it_first() {
        let wants = |accept: &'static str| {
            wants_aggregated(&HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accept))]))
        };
        assert!(wants(AGGREGATED));
        assert!(wants(
            "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,\
             application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
        ));
        assert!(!wants("application/json"));
        assert!(!wants(
            "application/json,\
             application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList;q=0.1"
        ));
        assert!(!wants(
            "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList"
        ));
    }
}
