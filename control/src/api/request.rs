//! What a request addresses, read off its method and path. Pure.
//!
//! Source: `k8s.io/apiserver/pkg/endpoints/request/requestinfo.go`.

use http::Method;

use crate::kinds::Subresource;

use super::query::Query;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    Create,
    Get,
    List,
    Watch,
    Update,
    Patch,
    Delete,
    DeleteCollection,
}

impl Verb {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
        }
    }
}

/// The parts of a path under `/api/v1` or `/apis/{group}/{version}`. Absent parts are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Address {
    pub group: String,
    pub version: String,
    pub namespace: String,
    pub resource: String,
    pub name: String,
    pub subresource: String,
    /// What follows the subresource, without the leading slash, not decoded: a proxied path.
    pub rest: String,
}

/// A path of the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Path {
    /// `/api`
    CoreVersions,
    /// `/apis`
    Groups,
    /// `/apis/{group}`
    Group(String),
    /// `/api/v1`, `/apis/{group}/{version}`
    Version { group: String, version: String },
    /// A collection, an object, or a subresource. `watch`: by the old `/watch/` prefix.
    Resource { address: Address, watch: bool },
    /// Anything else.
    Other,
}

impl Path {
    pub fn parse(path: &str) -> Self {
        // A segment of nothing is a segment: `namespaces//pods` are those of all namespaces.
        let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
        let (group, version, rest) = match segments.as_slice() {
            ["api"] => return Self::CoreVersions,
            ["apis"] => return Self::Groups,
            // The core group has no name, and does not stand here.
            ["apis", "", ..] => return Self::Other,
            ["apis", group] => return Self::Group(decode(group)),
            ["api", version, rest @ ..] => (String::new(), decode(version), rest),
            ["apis", group, version, rest @ ..] => (decode(group), decode(version), rest),
            _ => return Self::Other,
        };
        let (watch, rest) = match rest {
            [] => return Self::Version { group, version },
            ["watch", rest @ ..] if !rest.is_empty() => (true, rest),
            rest => (false, rest),
        };
        let ends_in_slash = path.ends_with('/');
        let address = Address { group, version, ..Address::default() };
        Self::Resource { address: in_group(address, rest, ends_in_slash), watch }
    }
}

impl Path {
    /// The group that the path names, unless it is the core group.
    pub fn group(&self) -> Option<&str> {
        let group = match self {
            Self::Group(group) | Self::Version { group, .. } => group,
            Self::Resource { address, .. } => &address.group,
            Self::CoreVersions | Self::Groups | Self::Other => return None,
        };
        Some(group.as_str()).filter(|group| !group.is_empty())
    }
}

/// Fills in what stands behind the version.
fn in_group(mut address: Address, rest: &[&str], ends_in_slash: bool) -> Address {
    let rest = match rest {
        // Namespaces are objects themselves, and so are their subresources.
        ["namespaces", namespace, resource, more @ ..]
            if !matches!(*resource, "status" | "finalize") =>
        {
            address.namespace = decode(namespace);
            address.resource = decode(resource);
            more
        }
        [resource, more @ ..] => {
            address.resource = decode(resource);
            if *resource == "namespaces"
                && let Some(name) = more.first()
            {
                address.namespace = decode(name);
            }
            more
        }
        [] => rest,
    };
    if let Some(name) = rest.first() {
        address.name = decode(name);
        // There is no such path.
        if name.is_empty() {
            address.resource.clear();
        }
    }
    if let Some(subresource) = rest.get(1) {
        address.subresource = decode(subresource);
    }
    if let Some(more) = rest.get(2..) {
        address.rest = more.join("/");
        if ends_in_slash && !more.is_empty() {
            address.rest.push('/');
        }
    }
    address
}

impl Address {
    /// What the method means here.
    pub fn verb(&self, method: &Method, query: &Query, watch_prefix: bool) -> Option<Verb> {
        let verb = match *method {
            ref method if watch_prefix && method != Method::GET => return None,
            Method::POST => Verb::Create,
            Method::PUT => Verb::Update,
            Method::PATCH => Verb::Patch,
            Method::DELETE if self.name.is_empty() => Verb::DeleteCollection,
            Method::DELETE => Verb::Delete,
            Method::GET if watch_prefix => Verb::Watch,
            Method::GET if self.name.is_empty() => {
                if query.flag("watch") {
                    Verb::Watch
                } else {
                    Verb::List
                }
            }
            Method::GET => Verb::Get,
            // Whatever is proxied to decides on its methods itself.
            Method::HEAD | Method::OPTIONS if self.subresource == "proxy" => Verb::Get,
            _ => return None,
        };
        Some(verb)
    }
}

/// Whether a request lasts as long as its client likes, so that no timeout holds for it.
pub fn is_long_running(address: &Address, verb: Verb) -> bool {
    verb == Verb::Watch
        || Subresource::named(&address.subresource).is_some_and(Subresource::passes_through)
}

/// Undoes percent-encoding; what is no valid escape stays as it is.
pub fn decode(segment: &str) -> String {
    let bytes = segment.as_bytes();
    if !bytes.contains(&b'%') {
        return segment.to_owned();
    }
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = (bytes[at] == b'%')
            .then(|| segment.get(at + 1..at + 3))
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match escaped {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(path: &str) -> [String; 7] {
        match Path::parse(path) {
            Path::Resource { address, .. } => [
                address.group,
                address.version,
                address.namespace,
                address.resource,
                address.name,
                address.subresource,
                address.rest,
            ],
            other => panic!("{path} is {other:?}"),
        }
    }

    #[test]
    fn paths_fall_into_their_parts() {
        let table: [(&str, [&str; 7]); 12] = [
            ("/api/v1/pods", ["", "v1", "", "pods", "", "", ""]),
            ("/api/v1/namespaces", ["", "v1", "", "namespaces", "", "", ""]),
            ("/api/v1/namespaces/a", ["", "v1", "a", "namespaces", "a", "", ""]),
            ("/api/v1/namespaces/a/finalize", ["", "v1", "a", "namespaces", "a", "finalize", ""]),
            ("/api/v1/namespaces/a/pods/b/log", ["", "v1", "a", "pods", "b", "log", ""]),
            ("/apis/apps/v1/deployments", ["apps", "v1", "", "deployments", "", "", ""]),
            (
                "/apis/apps/v1/namespaces/a/deployments/b%3Ac/scale",
                ["apps", "v1", "a", "deployments", "b:c", "scale", ""],
            ),
            ("/api/v1/nodes/n/proxy/a/b%20c/", ["", "v1", "", "nodes", "n", "proxy", "a/b%20c/"]),
            ("/api/v1/watch/namespaces/a/pods", ["", "v1", "a", "pods", "", "", ""]),
            ("/api/v1/namespaces//pods", ["", "v1", "", "pods", "", "", ""]),
            ("/api/v1/pods//status", ["", "v1", "", "", "", "status", ""]),
            ("/api/v1/nodes/n/proxy/a//b", ["", "v1", "", "nodes", "n", "proxy", "a//b"]),
        ];
        for (path, expected) in table {
            assert_eq!(resource(path), expected.map(str::to_owned), "{path}");
        }
    }

    #[test]
    fn discovery_paths_are_told_apart() {
        let version = |group: &str| Path::Version { group: group.into(), version: "v1".into() };
        let table = [
            ("/api", Path::CoreVersions),
            ("/api/", Path::CoreVersions),
            ("/apis", Path::Groups),
            ("/apis/apps", Path::Group("apps".into())),
            ("/apis/apps/v1", version("apps")),
            ("/api/v1", version("")),
            ("/", Path::Other),
            ("/foo", Path::Other),
            ("/apis//v1/pods", Path::Other),
        ];
        for (path, expected) in table {
            assert_eq!(Path::parse(path), expected, "{path}");
        }
    }

    #[test]
    fn methods_become_verbs() {
        let verb = |method: Method, path: &str, query: &str| match Path::parse(path) {
            Path::Resource { address, watch } => address.verb(&method, &Query::parse(query), watch),
            other => panic!("{path} is {other:?}"),
        };
        assert_eq!(verb(Method::GET, "/api/v1/pods", ""), Some(Verb::List));
        assert_eq!(verb(Method::GET, "/api/v1/pods", "watch=true"), Some(Verb::Watch));
        assert_eq!(verb(Method::GET, "/api/v1/pods", "watch=0"), Some(Verb::List));
        assert_eq!(verb(Method::GET, "/api/v1/watch/pods", ""), Some(Verb::Watch));
        assert_eq!(verb(Method::DELETE, "/api/v1/pods", ""), Some(Verb::DeleteCollection));
        assert_eq!(verb(Method::DELETE, "/api/v1/nodes/a", ""), Some(Verb::Delete));
        assert_eq!(verb(Method::OPTIONS, "/api/v1/nodes/a", ""), None);
        assert_eq!(verb(Method::DELETE, "/api/v1/watch/nodes/a", ""), None);
    }
}
