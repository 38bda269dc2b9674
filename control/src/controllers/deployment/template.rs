//! Pod templates: whether two are the same, and the hash that names a ReplicaSet.

use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde_json::Value;

pub(super) const HASH_LABEL: &str = "pod-template-hash";

/// Whether two templates are the same but for the hash label; absent and empty are the same.
pub(super) fn same(a: &PodTemplateSpec, b: &PodTemplateSpec) -> bool {
    a == b || canonical(a) == canonical(b)
}

/// A template as a value without the hash label and without what is empty.
fn canonical(template: &PodTemplateSpec) -> Value {
    let mut value = serde_json::to_value(template).unwrap_or_default();
    if let Some(labels) = value.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove(HASH_LABEL);
    }
    prune(&mut value);
    value
}

/// Drops nulls and empty lists, and the empty maps that mean nothing. An empty object elsewhere does
/// mean something: `emptyDir: {}`.
fn prune(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.values_mut().for_each(prune);
            map.retain(|key, value| match value {
                Value::Null => false,
                Value::Array(items) => !items.is_empty(),
                Value::Object(inner) => !inner.is_empty() || !PLAIN_MAPS.contains(&key.as_str()),
                _ => true,
            });
        }
        Value::Array(items) => items.iter_mut().for_each(prune),
        _ => {}
    }
}

const PLAIN_MAPS: [&str; 9] = [
    "annotations",
    "labels",
    "limits",
    "matchLabels",
    "metadata",
    "nodeSelector",
    "requests",
    "resources",
    "securityContext",
];

/// The hash of a template, with the count of collisions met so far, in letters that spell no word.
pub(super) fn hash(template: &PodTemplateSpec, collisions: Option<i32>) -> String {
    let mut hash = fnv1a(canonical(template).to_string().as_bytes(), 0x811c_9dc5);
    if let Some(collisions) = collisions {
        hash = fnv1a(&collisions.to_le_bytes(), hash);
    }
    safe_letters(&hash.to_string())
}

fn fnv1a(bytes: &[u8], start: u32) -> u32 {
    bytes.iter().fold(start, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// Source: `SafeEncodeString` of `k8s.io/apimachinery/pkg/util/rand`.
fn safe_letters(text: &str) -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    text.bytes().map(|byte| char::from(LETTERS[usize::from(byte) % LETTERS.len()])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(text: &str) -> PodTemplateSpec {
        serde_yaml::from_str(text).unwrap()
    }

    #[test]
    fn the_hash_label_and_empty_fields_make_no_difference() {
        let a =
            template("{metadata: {labels: {app: web}}, spec: {containers: [{name: c, env: []}]}}");
        let b = template(
            "{metadata: {labels: {app: web, pod-template-hash: x}}, spec: {containers: [{name: c}]}}",
        );
        assert!(same(&a, &b));
        assert_eq!(hash(&a, None), hash(&b, None));
        let c = template("{metadata: {labels: {app: web}}, spec: {containers: [{name: d}]}}");
        assert!(!same(&a, &c));
        assert_ne!(hash(&a, None), hash(&c, None));
        assert_ne!(hash(&a, None), hash(&a, Some(1)));
    }

    #[test]
    fn an_empty_volume_source_is_not_nothing() {
        let with = template("{spec: {containers: [], volumes: [{name: v, emptyDir: {}}]}}");
        let without = template("{spec: {containers: [], volumes: [{name: v}]}}");
        assert!(!same(&with, &without));
    }

    #[test]
    fn the_hash_is_stable() {
        assert_eq!(
            hash(&template("{spec: {containers: [{name: c, image: i}]}}"), None),
            "677c74d6dd"
        );
    }
}
