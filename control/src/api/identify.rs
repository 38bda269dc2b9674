//! What an object says that it is, and whether it can be what is expected. Pure.
//!
//! Source: `k8s.io/apimachinery/pkg/runtime/serializer/{json,codec_factory}.go`,
//! `pkg/runtime/{error,converter}.go`.

use serde_json::Value;

use crate::schema::{self, schema};

use super::decode::Expected;

/// Go's name for what is read first of every object.
const HEAD: &str = r#"struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#;

/// Why an object is not what is expected.
#[derive(Clone, Debug, PartialEq)]
pub enum Misfit {
    /// It does not say what it is.
    Unrecognized(String),
    /// It is something else: its kind and version, and why that is of no use.
    Other { kind: String, version: String, why: String },
    /// The same kind in another version.
    Version(String),
}

/// Checks that an object is of the kind that is expected. What it does not say of itself is taken
/// for granted.
pub fn check(expected: &Expected<'_>, value: &Value) -> Result<(), Misfit> {
    let (api_version, kind) = said(expected, value)?;
    if kind == expected.kind && expected.is_version(&api_version) {
        return Ok(());
    }
    let version = api_version.rsplit('/').next().unwrap_or_default().to_owned();
    let other = |why: String| Misfit::Other { kind: kind.clone(), version: version.clone(), why };
    if !is_registered(expected, &api_version, &kind) {
        let scheme = scheme(expected);
        return Err(other(format!(
            "no kind {kind:?} is registered for version {api_version:?} in scheme {scheme:?}"
        )));
    }
    if kind == expected.kind {
        return Err(Misfit::Version(api_version));
    }
    let internal = &expected.internal;
    Err(other(format!("converting ({version}.{kind}) to ({internal}): unknown conversion")))
}

/// Its apiVersion and kind.
fn said(expected: &Expected<'_>, value: &Value) -> Result<(String, String), Misfit> {
    let unreadable = |why: String| {
        Misfit::Unrecognized(format!("couldn't get version/kind; json parse error: json: {why}"))
    };
    let map = match value {
        Value::Object(map) => map,
        other => {
            let given = schema::check::word(other);
            return Err(unreadable(format!(
                "cannot unmarshal {given} into Go value of type {HEAD}"
            )));
        }
    };
    let text = |field: &str| match map.get(field) {
        None | Some(Value::Null) => Ok(""),
        Some(Value::String(text)) => Ok(text.as_str()),
        Some(other) => {
            let given = schema::check::word(other);
            Err(unreadable(format!(
                "cannot unmarshal {given} into Go struct field .{field} of type string"
            )))
        }
    };
    let (api_version, kind) = (text("apiVersion")?, text("kind")?);
    if api_version.matches('/').count() > 1 {
        let why = format!("unexpected GroupVersion string: {api_version}");
        return Err(Misfit::Unrecognized(why));
    }
    let or = |said: &str, expected: &str| {
        if said.is_empty() { expected.to_owned() } else { said.to_owned() }
    };
    Ok((or(api_version, &expected.api_version), or(kind, expected.kind)))
}

/// Whether the server that serves what is expected knows a kind at all.
fn is_registered(expected: &Expected<'_>, api_version: &str, kind: &str) -> bool {
    let known = |kind: &str| schema().by_api_version(api_version, kind).is_some();
    let own_scheme = OWN_SCHEMES.iter().any(|(group, _)| group_of(&expected.api_version) == *group);
    let own_group = group_of(&expected.api_version) == group_of(api_version);
    let core = api_version == "v1";
    if expected.bare || own_scheme && !own_group {
        return false;
    }
    known(kind)
        || kind.strip_suffix("List").is_some_and(known)
        || core && matches!(kind, "List" | "SerializedReference" | "RangeAllocation")
}

/// The groups whose servers upstream has put together with its main one, and the names of what they
/// know.
const OWN_SCHEMES: [(&str, &str); 2] = [
    ("apiregistration.k8s.io", "k8s.io/kube-aggregator/pkg/apiserver/scheme/scheme.go:28"),
    ("apiextensions.k8s.io", "k8s.io/apiextensions-apiserver/pkg/apiserver/apiserver.go:55"),
];

fn scheme(expected: &Expected<'_>) -> &'static str {
    if expected.bare {
        return "k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:27";
    }
    let own = OWN_SCHEMES.iter().find(|(group, _)| group_of(&expected.api_version) == *group);
    own.map_or("pkg/api/legacyscheme/scheme.go:30", |(_, scheme)| scheme)
}

fn group_of(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_something_else_is_refused_by_what_it_is() {
        let expected = Expected::new("v1", "ConfigMap", "io.k8s.api.core.v1.ConfigMap");
        let unregistered = |kind: &str, version: &str| {
            format!(
                "no kind {kind:?} is registered for version {version:?} in scheme \"pkg/api/legacyscheme/scheme.go:30\""
            )
        };
        let other = |kind: &str, version: &str, why: String| {
            Err(Misfit::Other { kind: kind.to_owned(), version: version.to_owned(), why })
        };
        let unknown =
            |from: &str| format!("converting ({from}) to (core.ConfigMap): unknown conversion");
        let unreadable = |why: &str| {
            let head = "couldn't get version/kind; json parse error: json: cannot unmarshal";
            Err(Misfit::Unrecognized(format!("{head} {why}")))
        };
        let table = [
            (json!({}), Ok(())),
            (json!({ "apiVersion": null, "kind": "ConfigMap" }), Ok(())),
            (json!({ "kind": "Secret" }), other("Secret", "v1", unknown("v1.Secret"))),
            (json!({ "kind": "PodList" }), other("PodList", "v1", unknown("v1.PodList"))),
            (json!({ "kind": "List" }), other("List", "v1", unknown("v1.List"))),
            (
                json!({ "apiVersion": "apps/v1", "kind": "Deployment" }),
                other("Deployment", "v1", unknown("v1.Deployment")),
            ),
            (json!({ "kind": "Nope" }), other("Nope", "v1", unregistered("Nope", "v1"))),
            (json!({ "kind": "Scale" }), other("Scale", "v1", unregistered("Scale", "v1"))),
            (
                json!({ "apiVersion": "v2" }),
                other("ConfigMap", "v2", unregistered("ConfigMap", "v2")),
            ),
            (
                json!({ "apiVersion": "apps/v1" }),
                other("ConfigMap", "v1", unregistered("ConfigMap", "apps/v1")),
            ),
            (
                json!({ "apiVersion": "a/b/c" }),
                Err(Misfit::Unrecognized("unexpected GroupVersion string: a/b/c".into())),
            ),
            (
                json!({ "apiVersion": 1 }),
                unreadable("number into Go struct field .apiVersion of type string"),
            ),
            (json!([]), unreadable(&format!("array into Go value of type {HEAD}"))),
        ];
        for (value, verdict) in table {
            assert_eq!(check(&expected, &value), verdict, "{value}");
        }
        let event = Expected::new("v1", "Event", "io.k8s.api.core.v1.Event");
        assert_eq!(
            check(&event, &json!({ "apiVersion": "events.k8s.io/v1" })),
            Err(Misfit::Version("events.k8s.io/v1".into()))
        );
    }
}
