//! The rules of `metadata` that hold for every kind. Pure; validation stands in `kinds::meta`.
//!
//! Source: `k8s.io/apiserver/pkg/registry/rest/{meta,create,update}.go`.

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::status::ApiError;

use super::object::{metadata_mut, name, namespace};

/// Names that are generated are at most this long, suffix included.
const GENERATED_LENGTH_MAX: usize = 63;
pub const SUFFIX_LENGTH: usize = 5;

/// A timestamp as objects hold it: whole seconds.
pub fn timestamp(now: Timestamp) -> Value {
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into()
}

pub fn parse_timestamp(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

/// Before a create: drops what only the server sets.
pub fn wipe_system_fields(value: &mut Value) {
    let metadata = metadata_mut(value);
    for field in
        ["creationTimestamp", "uid", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"]
    {
        metadata.remove(field);
    }
}

/// The object takes the request's namespace; another one is refused.
pub fn settle_namespace(value: &mut Value, requested: &str) -> Result<(), ApiError> {
    let own = namespace(value);
    if own == requested {
        return Ok(());
    }
    if !own.is_empty() && !requested.is_empty() {
        return Err(ApiError::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    let metadata = metadata_mut(value);
    if requested.is_empty() {
        metadata.remove("namespace");
    } else {
        metadata.insert("namespace".into(), requested.into());
    }
    Ok(())
}

/// The object must bear the name in the path.
pub fn check_name(value: &Value, in_path: &str) -> Result<(), ApiError> {
    let own = name(value);
    if own.is_empty() {
        return Err(ApiError::bad_request(format!(
            "the name of the object ({in_path} based on URL) was undeterminable: name must be provided"
        )));
    }
    if own != in_path {
        return Err(ApiError::bad_request(format!(
            "the name of the object ({own}) does not match the name on the URL ({in_path})"
        )));
    }
    Ok(())
}

/// The name for a `generateName`, with these letters at its end.
pub fn generated_name(base: &str, suffix: &str) -> String {
    let end = base.floor_char_boundary(GENERATED_LENGTH_MAX - SUFFIX_LENGTH);
    format!("{}{suffix}", &base[..end.min(base.len())])
}

/// On an update: the server's own fields stay as they are. What is set of an object's deletion while
/// it is not being deleted is left to validation, which refuses it.
pub fn restore_system_fields(new: &mut Value, old: &Value) {
    let old = &old["metadata"];
    let metadata = metadata_mut(new);
    if metadata.get("uid").and_then(Value::as_str).unwrap_or_default().is_empty() {
        copy(metadata, old, "uid");
    }
    if metadata.get("deletionGracePeriodSeconds").is_none_or(Value::is_null) {
        copy(metadata, old, "deletionGracePeriodSeconds");
    }
    for field in ["creationTimestamp", "deletionTimestamp"] {
        if !old[field].is_null() {
            copy(metadata, old, field);
        }
    }
    copy(metadata, old, "generation");
    metadata.remove("selfLink");
}

fn copy(metadata: &mut Map<String, Value>, old: &Value, field: &str) {
    match &old[field] {
        Value::Null => metadata.remove(field),
        value => metadata.insert(field.to_owned(), value.clone()),
    };
}

/// Whether anything but metadata and status differs.
pub fn spec_changed(new: &Value, old: &Value) -> bool {
    let (Some(new), Some(old)) = (new.as_object(), old.as_object()) else { return new != old };
    let counts = |key: &String| !matches!(key.as_str(), "metadata" | "status");
    let same = |(key, value): (&String, &Value)| old.get(key) == Some(value);
    new.keys().filter(|key| counts(key)).count() != old.keys().filter(|key| counts(key)).count()
        || !new.iter().filter(|(key, _)| counts(key)).all(same)
}

pub fn raise_generation(value: &mut Value) {
    let generation = value["metadata"]["generation"].as_i64().unwrap_or_default();
    metadata_mut(value).insert("generation".into(), (generation + 1).into());
}

/// Drops owner references that stand twice; returns the UIDs of those dropped.
pub fn dedup_owners(value: &mut Value) -> Vec<String> {
    let Some(owners) = value.pointer_mut("/metadata/ownerReferences").and_then(Value::as_array_mut)
    else {
        return Vec::new();
    };
    let mut seen: Vec<Value> = Vec::new();
    let mut dropped = Vec::new();
    owners.retain(|owner| {
        let known = seen.contains(owner);
        if known {
            dropped.push(owner["uid"].as_str().unwrap_or_default().to_owned());
        } else {
            seen.push(owner.clone());
        }
        !known
    });
    dropped
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_takes_the_namespace_of_the_request_but_not_another() {
        let mut value = json!({});
        settle_namespace(&mut value, "a").expect("filled in");
        assert_eq!(value, json!({ "metadata": { "namespace": "a" } }));
        assert_eq!(settle_namespace(&mut value, "b").expect_err("refused").code, 400);
        settle_namespace(&mut value, "").expect("cleared");
        assert_eq!(value, json!({ "metadata": {} }));
    }

    #[test]
    fn generated_names_fit() {
        assert_eq!(generated_name("web-", "abcde"), "web-abcde");
        assert_eq!(generated_name(&"a".repeat(70), "abcde").len(), 63);
    }

    #[test]
    fn an_update_cannot_touch_what_the_server_sets() {
        let old = json!({ "metadata": {
            "uid": "u", "creationTimestamp": "t", "generation": 3, "deletionTimestamp": "d",
            "deletionGracePeriodSeconds": 0,
        }});
        let mut new = json!({ "metadata": { "creationTimestamp": "x", "generation": 9 } });
        restore_system_fields(&mut new, &old);
        assert_eq!(new, old);
    }

    #[test]
    fn only_changes_outside_metadata_and_status_count_for_the_generation() {
        let old = json!({ "metadata": {}, "spec": { "a": 1 }, "status": { "b": 1 } });
        let table = [
            (json!({ "metadata": { "x": 1 }, "spec": { "a": 1 }, "status": {} }), false),
            (json!({ "spec": { "a": 2 } }), true),
            (json!({ "metadata": {} }), true),
            (json!({ "spec": { "a": 1 }, "data": {} }), true),
        ];
        for (new, expected) in table {
            assert_eq!(spec_changed(&new, &old), expected, "{new}");
        }
    }

    #[test]
    fn owners_that_stand_twice_are_dropped() {
        let owner = json!({ "uid": "u", "name": "n" });
        let mut value = json!({ "metadata": { "ownerReferences": [owner, owner] } });
        assert_eq!(dedup_owners(&mut value), ["u"]);
        assert_eq!(value, json!({ "metadata": { "ownerReferences": [owner] } }));
    }
}
