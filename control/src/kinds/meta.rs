//! What all kinds share: the rules of `metadata`, labels, annotations, ages.
//!
//! Source: `k8s.io/apimachinery/pkg/api/validation/objectmeta.go`, `pkg/apis/meta/v1/validation` and
//! `pkg/util/duration`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, Time};
use serde_json::Value;

use super::{FieldError, KindInfo, names};

/// What the name of an owner, a label or an immutable field says when it changes.
pub const IMMUTABLE: &str = "field is immutable";
/// What a finalizer says that is neither.
pub const UNQUALIFIED: &str = "name is neither a standard finalizer name nor is it fully qualified";
const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;
const MANAGER_BYTES_MAX: usize = 128;
const SUBRESOURCE_BYTES_MAX: usize = 256;
const NULL: &Value = &Value::Null;

/// All problems of the metadata of a new object, whose name is already generated.
pub fn validate(value: &Value, info: &KindInfo) -> Vec<FieldError> {
    let meta = &value["metadata"];
    let mut errors = validate_names(meta, info);
    errors.extend(validate_namespace(text(meta, "namespace"), info));
    if let Some(generation) = meta["generation"].as_i64().filter(|generation| *generation < 0) {
        errors.push(FieldError::invalid(
            "metadata.generation",
            generation,
            "must be greater than or equal to 0",
        ));
    }
    errors.extend(validate_mutable(meta));
    errors.extend(validate_finalizers(meta, info));
    errors
}

/// All problems of the metadata of an update.
pub fn validate_update(new: &Value, old: &Value, info: &KindInfo) -> Vec<FieldError> {
    let (new, old) = (&new["metadata"], &old["metadata"]);
    let mut errors = Vec::new();
    if !old["deletionTimestamp"].is_null() {
        errors.extend(no_new_finalizers(new, old));
    }
    if text(new, "resourceVersion").is_empty() {
        errors.push(FieldError::invalid(
            "metadata.resourceVersion",
            "",
            "must be specified for an update",
        ));
    }
    if new["generation"].as_i64().unwrap_or_default()
        < old["generation"].as_i64().unwrap_or_default()
    {
        errors.push(FieldError::invalid(
            "metadata.generation",
            new["generation"].as_i64().unwrap_or_default(),
            "must not be decremented",
        ));
    }
    for field in [
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ] {
        errors.extend(immutable(&new[field], &old[field], &format!("metadata.{field}")));
    }
    errors.extend(validate_prefix(new, info));
    errors.extend(validate_mutable(new));
    errors.extend(validate_finalizers(new, info));
    errors
}

/// An error where a field that may not change did.
pub fn immutable(new: &Value, old: &Value, path: &str) -> Option<FieldError> {
    let field = path.rsplit('.').next().unwrap_or(path);
    (!super::semantic::equal_as(field, new, old))
        .then(|| FieldError::invalid(path, new.clone(), IMMUTABLE))
}

/// The age of a timestamp: `5s`, `2m3s`, `3h`, `5d`, `2y10d`; `<unknown>` where there is none.
pub fn age(timestamp: Option<&Time>, now: Timestamp) -> String {
    timestamp.map_or_else(|| "<unknown>".to_owned(), |time| since(time.0, now))
}

/// The same for times with microseconds.
pub fn micro_age(timestamp: Option<&MicroTime>, now: Timestamp) -> String {
    timestamp.map_or_else(|| "<unknown>".to_owned(), |time| since(time.0, now))
}

/// The age column of an object.
pub fn object_age(meta: &ObjectMeta, now: Timestamp) -> Value {
    age(meta.creation_timestamp.as_ref(), now).into()
}

/// The name column of an object.
pub fn object_name(meta: &ObjectMeta) -> Value {
    meta.name.clone().unwrap_or_default().into()
}

/// The row of a kind without columns of its own: name and time of creation.
pub fn plain_row(object: &Value) -> Vec<Value> {
    let metadata = &object["metadata"];
    vec![metadata["name"].clone(), metadata["creationTimestamp"].clone()]
}

/// The time since `then` in two or three significant figures.
pub fn since(then: Timestamp, now: Timestamp) -> String {
    human_duration(now.duration_since(then).as_secs())
}

/// Upstream's `HumanDuration`. Up to two seconds in the future count as now: clocks differ.
pub fn human_duration(seconds: i64) -> String {
    const HOUR: i64 = 3600;
    const DAY: i64 = 24 * HOUR;
    const YEAR: i64 = 365 * DAY;
    match seconds {
        ..-1 => "<invalid>".to_owned(),
        -1..0 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        120..600 => two_figures(seconds, 60, "m", 1, "s"),
        600..10_800 => format!("{}m", seconds / 60),
        10_800..28_800 => two_figures(seconds, HOUR, "h", 60, "m"),
        28_800..172_800 => format!("{}h", seconds / HOUR),
        172_800..691_200 => two_figures(seconds, DAY, "d", HOUR, "h"),
        _ if seconds < 2 * YEAR => format!("{}d", seconds / DAY),
        _ if seconds < 8 * YEAR => two_figures(seconds, YEAR, "y", DAY, "d"),
        _ => format!("{}y", seconds / YEAR),
    }
}

fn two_figures(seconds: i64, unit: i64, name: &str, part: i64, part_name: &str) -> String {
    match seconds % unit / part {
        0 => format!("{}{name}", seconds / unit),
        rest => format!("{}{name}{rest}{part_name}", seconds / unit),
    }
}

/// All problems of a map of labels at `path`.
pub fn validate_labels(labels: Option<&BTreeMap<String, String>>, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (key, value) in labels.into_iter().flatten() {
        errors.extend(validate_label_key(key, path));
        errors.extend(invalid_each(path, value, names::label_value(value)));
    }
    errors
}

/// All problems of a label's key, or of any qualified name.
pub fn validate_label_key(key: &str, path: &str) -> Vec<FieldError> {
    invalid_each(path, key, names::label_key(key))
}

/// All problems of a map of annotations at `path`.
pub fn validate_annotations(
    annotations: Option<&BTreeMap<String, String>>,
    path: &str,
) -> Vec<FieldError> {
    let pairs = || annotations.into_iter().flatten();
    let mut errors: Vec<FieldError> = pairs()
        .flat_map(|(key, _)| invalid_each(path, key, names::label_key(&key.to_lowercase())))
        .collect();
    let size: usize = pairs().map(|(key, value)| key.len() + value.len()).sum();
    if size > ANNOTATIONS_BYTES_MAX {
        errors.push(FieldError::too_long(path, ANNOTATIONS_BYTES_MAX));
    }
    errors
}

/// An `Invalid` error for each message.
pub fn invalid_each(path: &str, value: &str, messages: Vec<String>) -> Vec<FieldError> {
    messages.into_iter().map(|message| FieldError::invalid(path, value, message)).collect()
}

fn validate_names(meta: &Value, info: &KindInfo) -> Vec<FieldError> {
    let name = text(meta, "name");
    let mut errors = validate_prefix(meta, info);
    if name.is_empty() {
        errors.push(FieldError::required("metadata.name", "name or generateName is required"));
    } else {
        let messages = names::check(info.names, name, false);
        errors.extend(invalid_each("metadata.name", name, messages));
    }
    errors
}

fn validate_prefix(meta: &Value, info: &KindInfo) -> Vec<FieldError> {
    let prefix = text(meta, "generateName");
    if prefix.is_empty() {
        return Vec::new();
    }
    invalid_each("metadata.generateName", prefix, names::check(info.names, prefix, true))
}

fn validate_namespace(namespace: &str, info: &KindInfo) -> Vec<FieldError> {
    const PATH: &str = "metadata.namespace";
    match (info.is_namespaced(), namespace) {
        (true, "") => vec![FieldError::required(PATH, "")],
        (true, _) => invalid_each(PATH, namespace, names::label(namespace)),
        (false, "") => Vec::new(),
        (false, _) => vec![FieldError::forbidden(PATH, "not allowed on this type")],
    }
}

/// The parts of the metadata that creates and updates are held to alike.
/// All problems of what a client may change of an object's metadata at any time.
pub fn validate_mutable(meta: &Value) -> Vec<FieldError> {
    let labels = string_map(&meta["labels"]);
    let annotations = string_map(&meta["annotations"]);
    let mut errors = validate_labels(Some(&labels), "metadata.labels");
    errors.extend(validate_annotations(Some(&annotations), "metadata.annotations"));
    errors.extend(validate_owners(&meta["ownerReferences"]));
    errors
}

fn validate_owners(owners: &Value) -> Vec<FieldError> {
    const PATH: &str = "metadata.ownerReferences";
    let mut errors = Vec::new();
    let mut first_controller: Option<String> = None;
    for owner in items(owners) {
        errors.extend(validate_owner(owner, PATH));
        if owner["controller"] != true {
            continue;
        }
        let controller = format!("{}/{}", text(owner, "kind"), text(owner, "name"));
        let Some(first) = &first_controller else {
            first_controller = Some(controller);
            continue;
        };
        let detail = format!(
            "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {controller}"
        );
        errors.push(FieldError::invalid(PATH, owners.clone(), detail));
    }
    errors
}

fn validate_owner(owner: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let api_version = text(owner, "apiVersion");
    // More than one slash makes it no version at all.
    let version = match api_version.split('/').collect::<Vec<_>>().as_slice() {
        [version] | [_, version] => *version,
        _ => "",
    };
    if version.is_empty() {
        let detail = "version must not be empty";
        errors.push(FieldError::invalid(format!("{path}.apiVersion"), api_version, detail));
    }
    for field in ["kind", "name", "uid"] {
        if text(owner, field).is_empty() {
            errors.push(FieldError::invalid(format!("{path}.{field}"), "", "must not be empty"));
        }
    }
    if api_version == "v1" && text(owner, "kind") == "Event" {
        let detail = "/v1, Kind=Event is disallowed from being an owner";
        errors.push(FieldError::invalid(path, owner.clone(), detail));
    }
    errors
}

/// Whether a finalizer that is not qualified must be one of the standard ones. Upstream's own kinds
/// are held to it, but for these.
fn qualifies_finalizers(info: &KindInfo) -> bool {
    let lax = matches!(
        (info.group, info.resource),
        ("", "events") | ("coordination.k8s.io" | "node.k8s.io", _)
    );
    info.schema.starts_with("io.k8s.api.") && !lax
}

/// Whether a finalizer is qualified or one of the standard ones.
pub fn is_known_finalizer(finalizer: &str) -> bool {
    finalizer.contains('/') || matches!(finalizer, "kubernetes" | "orphan" | "foregroundDeletion")
}

fn validate_finalizers(meta: &Value, info: &KindInfo) -> Vec<FieldError> {
    const PATH: &str = "metadata.finalizers";
    let finalizers = strings(&meta["finalizers"]);
    let mut errors: Vec<FieldError> = finalizers
        .iter()
        .flat_map(|finalizer| invalid_each(PATH, finalizer, names::label_key(finalizer)))
        .collect();
    if finalizers.contains(&"orphan") && finalizers.contains(&"foregroundDeletion") {
        errors.push(FieldError::invalid(
            PATH,
            finalizers.clone(),
            "finalizer orphan and foregroundDeletion cannot be both set",
        ));
    }
    if qualifies_finalizers(info) {
        let unknown = |(_, finalizer): &(usize, &&str)| !is_known_finalizer(finalizer);
        errors.extend(finalizers.iter().enumerate().filter(unknown).map(|(index, finalizer)| {
            FieldError::invalid(format!("{PATH}[{index}]"), *finalizer, UNQUALIFIED)
        }));
    }
    errors
}

fn no_new_finalizers(new: &Value, old: &Value) -> Option<FieldError> {
    let known = strings(&old["finalizers"]);
    let mut added: Vec<&str> = strings(&new["finalizers"]);
    added.retain(|finalizer| !known.contains(finalizer));
    added.sort_unstable();
    added.dedup();
    if added.is_empty() {
        return None;
    }
    let quoted: Vec<String> = added.iter().map(|finalizer| format!("{finalizer:?}")).collect();
    let detail = format!(
        "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
        quoted.join(", ")
    );
    Some(FieldError::forbidden("metadata.finalizers", detail))
}

/// All problems of the entries of `managedFields`: of their managers' names and their subresources.
/// What else they say is right: the server has written it.
pub fn validate_managers<'a>(entries: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (index, (manager, subresource)) in entries.enumerate() {
        let path = format!("metadata.managedFields[{index}]");
        errors.extend(validate_manager(manager, &format!("{path}.manager")));
        if subresource.len() > SUBRESOURCE_BYTES_MAX {
            errors.push(FieldError::too_long(format!("{path}.subresource"), SUBRESOURCE_BYTES_MAX));
        }
    }
    errors
}

/// All problems of a field manager's name, also of the query parameter `fieldManager`.
pub fn validate_manager(manager: &str, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if manager.len() > MANAGER_BYTES_MAX {
        errors.push(FieldError::too_long(path, MANAGER_BYTES_MAX));
    }
    for (position, letter) in manager.char_indices().filter(|(_, letter)| letter.is_control()) {
        let detail =
            format!("invalid character U+{:04X} (at position {position})", u32::from(letter));
        errors.push(FieldError::invalid(path, manager, detail));
    }
    errors
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).unwrap_or(NULL).as_str().unwrap_or_default()
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn strings(value: &Value) -> Vec<&str> {
    items(value).iter().filter_map(Value::as_str).collect()
}

fn string_map(value: &Value) -> BTreeMap<String, String> {
    let pairs = value.as_object().into_iter().flatten();
    pairs.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::{NameRule, Scope};
    use serde_json::json;

    const POD: KindInfo = KindInfo::namespaced("", "v1", "Pod", "pods", "pod", "");

    fn texts(errors: &[FieldError]) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn ages_have_two_or_three_figures() {
        let cases = [
            (-5, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (123, "2m3s"),
            (600, "10m"),
            (10_799, "179m"),
            (10_800, "3h"),
            (12_000, "3h20m"),
            (28_800, "8h"),
            (172_799, "47h"),
            (172_800, "2d"),
            (190_800, "2d5h"),
            (691_200, "8d"),
            (86_400 * 729, "729d"),
            (86_400 * 730, "2y"),
            (86_400 * 740, "2y10d"),
            (86_400 * 365 * 8, "8y"),
        ];
        for (seconds, text) in cases {
            assert_eq!(human_duration(seconds), text, "{seconds}");
        }
    }

    #[test]
    fn a_missing_timestamp_has_an_unknown_age() {
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().unwrap();
        let then = Time("2026-01-01T00:00:00Z".parse().unwrap());
        assert_eq!(age(None, now), "<unknown>");
        assert_eq!(age(Some(&then), now), "60s");
    }

    #[test]
    fn sound_metadata_has_no_problems() {
        let value = json!({"metadata": {
            "name": "web", "namespace": "default", "labels": {"app": "web"},
            "annotations": {"Example.com/Any": "x"}, "finalizers": ["example.com/f"],
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "w", "uid": "1", "controller": true}],
        }});
        assert_eq!(validate(&value, &POD), []);
    }

    #[test]
    fn all_problems_of_metadata_are_told_at_once() {
        let value = json!({"metadata": {
            "name": "Web", "labels": {"app": "-"}, "annotations": {"a b": ""},
            "finalizers": ["orphan", "foregroundDeletion"],
            "ownerReferences": [
                {"apiVersion": "v1", "kind": "A", "name": "a", "uid": "1", "controller": true},
                {"apiVersion": "", "kind": "", "name": "b", "uid": "2", "controller": true},
            ],
        }});
        let texts = texts(&validate(&value, &POD));
        assert!(texts[0].starts_with(
            "metadata.name: Invalid value: \"Web\": a lowercase RFC 1123 subdomain must consist"
        ));
        assert_eq!(texts[1], "metadata.namespace: Required value");
        assert!(texts[2].starts_with("metadata.labels: Invalid value: \"-\": a valid label"));
        assert!(
            texts[3].starts_with("metadata.annotations: Invalid value: \"a b\": name part must")
        );
        assert_eq!(
            texts[4],
            "metadata.ownerReferences.apiVersion: Invalid value: \"\": version must not be empty"
        );
        assert_eq!(
            texts[5],
            "metadata.ownerReferences.kind: Invalid value: \"\": must not be empty"
        );
        assert!(texts[6].contains("Only one reference can have Controller set to true. Found \"true\" in references for A/a and /b"));
        assert_eq!(
            texts[7],
            "metadata.finalizers: Invalid value: [\"orphan\",\"foregroundDeletion\"]: finalizer orphan and foregroundDeletion cannot be both set"
        );
        assert_eq!(texts.len(), 8);
    }

    #[test]
    fn cluster_scoped_kinds_refuse_a_namespace_and_names_are_required() {
        let info = KindInfo { scope: Scope::Cluster, names: NameRule::Label, ..POD };
        let value = json!({"metadata": {"namespace": "a"}});
        assert_eq!(
            texts(&validate(&value, &info)),
            [
                "metadata.name: Required value: name or generateName is required",
                "metadata.namespace: Forbidden: not allowed on this type",
            ]
        );
    }

    #[test]
    fn annotations_are_limited_in_total() {
        let value = json!({"metadata": {"name": "a", "namespace": "b", "annotations": {"k": "x".repeat(262_144)}}});
        assert_eq!(
            texts(&validate(&value, &POD)),
            ["metadata.annotations: Too long: may not be more than 262144 bytes"]
        );
    }

    #[test]
    fn identity_is_immutable() {
        let old =
            json!({"metadata": {"name": "a", "uid": "1", "generation": 2, "resourceVersion": "5"}});
        let new = json!({"metadata": {"name": "b", "uid": "2", "generation": 1}});
        assert_eq!(
            texts(&validate_update(&new, &old, &POD)),
            [
                "metadata.resourceVersion: Invalid value: \"\": must be specified for an update",
                "metadata.generation: Invalid value: 1: must not be decremented",
                "metadata.name: Invalid value: \"b\": field is immutable",
                "metadata.uid: Invalid value: \"2\": field is immutable",
            ]
        );
    }

    #[test]
    fn finalizers_are_standard_or_qualified_in_creates_and_updates() {
        let map = KindInfo { schema: "io.k8s.api.core.v1.ConfigMap", ..POD };
        let lease = KindInfo { group: "coordination.k8s.io", ..map };
        let with = |finalizer: &str| {
            json!({"metadata": {
                "name": "a", "namespace": "b", "resourceVersion": "5", "finalizers": [finalizer],
            }})
        };
        let told = [
            "metadata.finalizers[0]: Invalid value: \"mine\": name is neither a standard finalizer name nor is it fully qualified",
        ];
        assert_eq!(texts(&validate(&with("mine"), &map)), told);
        assert_eq!(texts(&validate_update(&with("mine"), &with("orphan"), &map)), told);
        for (finalizer, info) in [("x.io/a", &map), ("kubernetes", &map), ("mine", &lease)] {
            assert_eq!(validate(&with(finalizer), info), []);
        }
        let errors = validate_update(&with("a b"), &with("orphan"), &lease);
        assert_eq!(errors[0].path, "metadata.finalizers");
    }

    #[test]
    fn a_dying_object_gets_no_new_finalizers() {
        let old = json!({"metadata": {"name": "a", "resourceVersion": "5", "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["x.io/a"]}});
        let mut new = old.clone();
        assert_eq!(validate_update(&new, &old, &POD), []);
        new["metadata"]["finalizers"] = json!(["x.io/a", "x.io/b"]);
        assert_eq!(
            texts(&validate_update(&new, &old, &POD)),
            [
                "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{\"x.io/b\"}"
            ]
        );
    }
}
