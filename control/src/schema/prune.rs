//! Brings a decoded value into the form that the type gives it: what upstream's decoder does by
//! reading JSON into a struct.

use serde_json::Value;

use super::path::Path;
use super::quantity;
use super::schema;
use super::settle;
use super::types::{Alternative, FieldKind, Type};

/// Upstream stops collecting there.
const COMPLAINTS_MAX: usize = 100;

/// What pruning found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// `unknown field "spec.containers[0].foo"`, at most a hundred.
    pub unknown: Vec<String>,
}

/// Drops unknown fields in place, writes quantities in their canonical form, and settles the value
/// ([`super::settle`]) but for empty lists and maps: what upstream's decoder makes of it. Values of a
/// wrong type are left for [`super::check_types`] to refuse.
pub fn prune(ty: &Type, value: &mut Value) -> Pruned {
    let mut pruned = Pruned::default();
    object(ty, value, Path::Root, &mut pruned);
    pruned
}

fn object(ty: &Type, value: &mut Value, path: Path<'_>, pruned: &mut Pruned) {
    let Value::Object(map) = value else { return };
    map.retain(|key, value| {
        let here = Path::Key(&path, key);
        let Some(field) = ty.field(key) else {
            complain(pruned, &here);
            return false;
        };
        if !value.is_null() {
            visit(&field.kind, value, here, pruned);
        }
        is_given_empty(&field.kind, value) || settle::keeps(ty, field, value)
    });
    settle::fill_in(ty, map);
}

/// What is given empty is not stored, but defaults and rules tell it from what is not given: an
/// autoscaler's rules get policies only where none are given, and an empty list of managers says that
/// there shall be none.
fn is_given_empty(kind: &FieldKind, value: &Value) -> bool {
    match (kind, value) {
        (FieldKind::List(_), Value::Array(items)) => items.is_empty(),
        (FieldKind::Map(_), Value::Object(map)) => map.is_empty(),
        _ => false,
    }
}

fn complain(pruned: &mut Pruned, at: &Path<'_>) {
    if pruned.unknown.len() < COMPLAINTS_MAX {
        pruned.unknown.push(format!("unknown field {:?}", at.to_string()));
    }
}

fn visit(kind: &FieldKind, value: &mut Value, path: Path<'_>, pruned: &mut Pruned) {
    match kind {
        FieldKind::Object(ty) => object(ty.get(), value, path, pruned),
        FieldKind::List(item) => {
            let Value::Array(items) = value else { return };
            for (at, value) in items.iter_mut().enumerate() {
                settle::zero_for_null(item, value);
                visit(item, value, Path::Index(&path, at), pruned);
            }
        }
        FieldKind::Map(item) => {
            let Value::Object(map) = value else { return };
            for (key, value) in map.iter_mut() {
                settle::zero_for_null(item, value);
                visit(item, value, Path::Key(&path, key), pruned);
            }
        }
        FieldKind::Quantity => canonical_quantity(value),
        FieldKind::SchemaOr(alternative) => schema_or(*alternative, value),
        FieldKind::String
        | FieldKind::Bool
        | FieldKind::Int32
        | FieldKind::Int64
        | FieldKind::Double
        | FieldKind::Bytes
        | FieldKind::Time
        | FieldKind::MicroTime
        | FieldKind::IntOrString
        | FieldKind::RawExtension
        | FieldKind::Fields
        | FieldKind::Json => {}
    }
}

/// Numbers may stand for quantities in JSON; the stored form is always a string.
fn canonical_quantity(value: &mut Value) {
    let canonical = match &*value {
        Value::String(text) => quantity::canonical(text),
        Value::Number(number) => quantity::canonical(&number.to_string()),
        _ => return,
    };
    if let Ok(canonical) = canonical
        && value.as_str() != Some(canonical.as_str())
    {
        *value = canonical.into();
    }
}

/// Upstream reads these by themselves, and never strictly: what is unknown in them is not told.
fn schema_or(alternative: Alternative, value: &mut Value) {
    let Some(ty) = schema().by_name(super::types::JSON_SCHEMA_PROPS) else { return };
    let untold = &mut Pruned::default();
    match (alternative, value) {
        (Alternative::Schemas, Value::Array(items)) => {
            for value in items {
                object(ty, value, Path::Root, untold);
            }
        }
        (Alternative::Schemas, value) if !value.is_object() => *value = Value::Null,
        (_, value) => object(ty, value, Path::Root, untold),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;

    fn pruned(kind: &str, mut value: Value) -> (Value, Vec<String>) {
        let ty = schema().by_api_version(value["apiVersion"].as_str().unwrap_or("v1"), kind);
        let pruned = prune(ty.expect("kind"), &mut value);
        (value, pruned.unknown)
    }

    #[test]
    fn unknown_fields_are_dropped_and_named_by_their_path() {
        let (value, unknown) = pruned(
            "Pod",
            json!({
                "foo": 1,
                "metadata": { "name": "a", "labels": { "any": "thing" }, "bar": {} },
                "spec": { "containers": [{ "name": "c", "ports": [{ "containerPort": 1, "baz": 2 }] }],
                          "volumes": [{ "name": "v", "emptyDir": {}, "volumeSource": {} }] },
            }),
        );
        assert_eq!(
            unknown,
            [
                r#"unknown field "foo""#,
                r#"unknown field "metadata.bar""#,
                r#"unknown field "spec.containers[0].ports[0].baz""#,
                r#"unknown field "spec.volumes[0].volumeSource""#,
            ]
        );
        assert_eq!(
            value,
            json!({
                "metadata": { "name": "a", "labels": { "any": "thing" } },
                "spec": { "containers": [{ "name": "c", "ports": [{ "containerPort": 1 }], "resources": {} }],
                          "volumes": [{ "name": "v", "emptyDir": {} }] },
                "status": {},
            })
        );
    }

    #[test]
    fn nulls_become_what_go_makes_of_them() {
        let (value, unknown) = pruned(
            "Pod",
            json!({ "metadata": { "labels": { "a": null }, "creationTimestamp": null }, "spec": null }),
        );
        assert_eq!(
            value,
            json!({ "metadata": { "labels": { "a": "" } }, "spec": { "containers": null }, "status": {} })
        );
        assert!(unknown.is_empty());
    }

    #[test]
    fn a_condition_without_a_time_gets_gos_zero_time() {
        let condition = json!({ "type": "a", "status": "True", "lastTransitionTime": null });
        let (value, unknown) =
            pruned("Service", json!({ "status": { "conditions": [condition] } }));
        let condition = &value["status"]["conditions"][0];
        assert_eq!(condition["lastTransitionTime"], "0001-01-01T00:00:00Z");
        assert!(unknown.is_empty());
    }

    #[test]
    fn what_is_given_empty_is_not_missing() {
        let metadata = json!({ "name": "a", "managedFields": [], "labels": {}, "uid": "" });
        let (value, _) = pruned("PodTemplate", json!({ "metadata": metadata }));
        assert_eq!(value["metadata"], json!({ "name": "a", "managedFields": [], "labels": {} }));
    }

    #[test]
    fn quantities_become_canonical() {
        let (value, _) = pruned(
            "Pod",
            json!({ "spec": { "containers": [{ "resources": { "limits":
                { "cpu": 0.5, "memory": "1024Mi", "ephemeral-storage": 1000 } } }] } }),
        );
        assert_eq!(
            value["spec"]["containers"][0]["resources"]["limits"],
            json!({ "cpu": "500m", "memory": "1Gi", "ephemeral-storage": "1k" })
        );
    }

    #[test]
    fn complaints_end_at_a_hundred() {
        let many: Map<String, Value> = (0..200).map(|at| (format!("x{at}"), json!(1))).collect();
        assert_eq!(pruned("Pod", json!({ "spec": many })).1.len(), 100);
    }
}
