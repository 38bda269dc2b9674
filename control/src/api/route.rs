//! What stands at a path, what it takes and what it gives: upstream's router goes by its table, and
//! compares media types letter by letter, before any handler looks at the request. What gets past
//! that is negotiated in `negotiate`. Pure.
//!
//! Source: `go-restful` (jsr311.go, route.go), `k8s.io/apiserver/pkg/endpoints/installer.go`.

use http::HeaderMap;
use http::header::{ACCEPT, AsHeaderName, CONTENT_TYPE};
use serde_json::json;

use crate::kinds::{AnyKind, KindInfo, Scope, Subresource};
use crate::status::ApiError;

use super::apply::APPLY;
use super::negotiate::{JSON, JSON_STREAM, PROTOBUF, PROTOBUF_STREAM, YAML};
use super::patch::{JSON_PATCH, MERGE, STRATEGIC};
use super::request::{Address, Verb};
use super::{special, subresources};

/// What single objects are given as, and discovery.
pub const OBJECTS: &[&str] = &[JSON, YAML, PROTOBUF];
const LISTS: &[&str] = &[JSON, YAML, PROTOBUF, JSON_STREAM, PROTOBUF_STREAM];
const LOGS: &[&str] = &["text/plain", JSON, YAML, PROTOBUF];
const PATCHES: &[&str] = &[JSON_PATCH, MERGE, STRATEGIC, APPLY];

/// Whether anything stands at this address, for whatever verb. `watched`: by the old `/watch/` prefix.
pub fn stands(kind: &dyn AnyKind, address: &Address, watched: bool) -> bool {
    let info = kind.info();
    let can = |verb: &str| info.verbs.names().contains(&verb);
    let in_scope = match info.scope {
        Scope::Cluster => address.namespace.is_empty() || special::is_namespaces(info),
        // A collection of all namespaces is there where it can be listed.
        Scope::Namespaced => {
            !address.namespace.is_empty() || address.name.is_empty() && can("list")
        }
    };
    let is_one_segment = !address.name.contains('/') && !address.subresource.contains('/');
    in_scope
        && is_one_segment
        && match (address.name.as_str(), address.subresource.as_str()) {
            (_, "") if watched => can("watch"),
            ("", "") => true,
            (_, "") => can("get"),
            ("", _) => false,
            (_, _) => !watched && subresources::find(kind, address).is_ok(),
        }
}

/// Whether what stands at this address can be done that with.
pub fn takes(info: &KindInfo, address: &Address, verb: Verb) -> bool {
    if let Some(subresource) = Subresource::named(&address.subresource) {
        return subresource.form(info).verbs.contains(&verb.name());
    }
    // A collection of all namespaces can be listed and watched, nothing else.
    let is_everywhere = info.is_namespaced() && address.namespace.is_empty();
    let fits = match verb {
        Verb::Create => address.name.is_empty() && !is_everywhere,
        Verb::DeleteCollection => !is_everywhere,
        Verb::Update | Verb::Patch => !address.name.is_empty(),
        Verb::Get | Verb::List | Verb::Watch | Verb::Delete => true,
    };
    fits && info.verbs.names().contains(&verb.name())
}

/// Whether a resource's path takes what the request brings and gives what it wants.
pub fn check(headers: &HeaderMap, address: &Address, verb: Verb) -> Result<(), ApiError> {
    let subresource = Subresource::named(&address.subresource);
    if subresource.is_some_and(|it| it.passes_through() && it != Subresource::Log) {
        return Ok(());
    }
    if verb == Verb::Patch && !lists(text(headers, CONTENT_TYPE), PATCHES) {
        let error = ApiError::unsupported_media_type("415: Unsupported Media Type");
        return Err(ApiError { details: Some(json!({})), ..error });
    }
    let given = match (subresource, verb) {
        (Some(Subresource::Log), _) => LOGS,
        (_, Verb::List | Verb::Watch) => LISTS,
        _ => OBJECTS,
    };
    accepts(headers, given)
}

/// Whether the client takes one of these forms.
pub fn accepts(headers: &HeaderMap, given: &[&str]) -> Result<(), ApiError> {
    let accept = text(headers, ACCEPT);
    let any = accept.is_empty() || lists(accept, &["*/*"]);
    if any || lists(accept, given) {
        return Ok(());
    }
    let available = given.join(", ");
    let error = ApiError::not_acceptable(format!(
        "406: Not Acceptable\n\nAvailable representations: {available}"
    ));
    Err(ApiError { details: Some(json!({})), ..error })
}

fn text(headers: &HeaderMap, name: impl AsHeaderName) -> &str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Whether a header names one of these media types, whatever their parameters.
fn lists(header: &str, types: &[&str]) -> bool {
    let mut named = header.split(',').map(|part| part.split(';').next().unwrap_or_default().trim());
    named.any(|named| types.contains(&named))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_are_compared_letter_by_letter() {
        let verdict = |accept: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, accept.parse().expect("a value"));
            accepts(&headers, OBJECTS).map_err(|error| (error.code, error.message))
        };
        for accept in
            ["", "*/*", "text/html, */*;q=0.1", "application/json;as=Table", "application/yaml"]
        {
            assert_eq!(verdict(accept), Ok(()), "{accept}");
        }
        for accept in ["application/*", "text/html", "Application/JSON", "garbage"] {
            let why = "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, application/vnd.kubernetes.protobuf";
            assert_eq!(verdict(accept), Err((406, why.to_owned())), "{accept}");
        }
    }

    #[test]
    fn a_patch_must_say_which_it_is() {
        let verdict = |given: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            if let Some(given) = given {
                headers.insert(CONTENT_TYPE, given.parse().expect("a value"));
            }
            let checked = check(&headers, &Address::default(), Verb::Patch);
            checked.map_err(|error| (error.code, error.message))
        };
        assert_eq!(verdict(Some("application/merge-patch+json; charset=utf-8")), Ok(()));
        for given in [None, Some("application/json"), Some("*/*")] {
            assert_eq!(verdict(given), Err((415, "415: Unsupported Media Type".to_owned())));
        }
    }
}
