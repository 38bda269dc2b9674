//! Equality as upstream's strategies mean it: formatting and emptiness do not count.
//!
//! Source: `k8s.io/apimachinery/pkg/api/equality`.

use serde_json::{Map, Value};

use super::quantity::Quantity;

/// So many lines of differences are shown.
const DIFFERENCES_MAX: usize = 16;

/// Fields that hold maps: empty is as good as absent there. Elsewhere an empty object is a choice
/// (`emptyDir: {}`).
const MAPS: &[&str] = &[
    "annotations",
    "attachmentMetadata",
    "capacity",
    "hard",
    "labels",
    "limits",
    "matchLabels",
    "nodeSelector",
    "options",
    "overhead",
    "parameters",
    "requests",
    "selector",
    "volumeAttributes",
];

/// Fields whose values are quantities, or maps of them.
const QUANTITIES: &[&str] =
    &["capacity", "divisor", "hard", "limits", "overhead", "requests", "sizeLimit"];

/// Whether two values mean the same: absent, null and empty lists and maps are equal, and so are
/// `1` and `1000m`.
pub fn equal(a: &Value, b: &Value) -> bool {
    a == b || equal_as("", a, b)
}

/// The same of the values of a field with this name.
pub fn equal_as(field: &str, a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => equal_objects(field, a, b),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal_as(field, a, b))
        }
        (Value::String(a), Value::String(b)) if QUANTITIES.contains(&field) => {
            a == b || same_amount(a, b)
        }
        _ => a == b || (is_nothing(field, a) && is_nothing(field, b)),
    }
}

fn equal_objects(field: &str, a: &Map<String, Value>, b: &Map<String, Value>) -> bool {
    let keys = a.keys().chain(b.keys().filter(|key| !a.contains_key(*key)));
    keys.into_iter().all(|key| {
        let (a, b) = (a.get(key).unwrap_or(&Value::Null), b.get(key).unwrap_or(&Value::Null));
        // The entries of a map of quantities are quantities.
        let inner = if QUANTITIES.contains(&field) { field } else { key.as_str() };
        equal_as(inner, a, b)
    })
}

fn is_nothing(field: &str, value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty() && MAPS.contains(&field),
        // Upstream's types hold plain strings, booleans and numbers whose zero is "not set".
        Value::String(text) => text.is_empty(),
        Value::Bool(set) => !set && PLAIN_BOOLEANS.contains(&field),
        Value::Number(_) => false,
    }
}

/// Booleans that upstream does not hold by pointer: `false` is as good as absent.
const PLAIN_BOOLEANS: &[&str] = &[
    "hostIPC",
    "hostNetwork",
    "hostPID",
    "readOnly",
    "stdin",
    "stdinOnce",
    "tty",
    "unschedulable",
];

fn same_amount(a: &str, b: &str) -> bool {
    match (Quantity::parse(a), Quantity::parse(b)) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    }
}

/// What an update changed that it may not, a line for each value that was and each that is. (Upstream
/// prints its types in Go's form here.)
pub fn differences(old: &Value, new: &Value, path: &str) -> String {
    let mut lines = Vec::new();
    differ(old, new, path, &mut lines);
    lines.join("\n")
}

fn differ(old: &Value, new: &Value, path: &str, lines: &mut Vec<String>) {
    if lines.len() >= DIFFERENCES_MAX || equal(old, new) {
        return;
    }
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            for key in old.keys().chain(new.keys().filter(|key| !old.contains_key(*key))) {
                let value = |map: &Map<String, Value>| map.get(key).cloned().unwrap_or_default();
                differ(&value(old), &value(new), &format!("{path}.{key}"), lines);
            }
        }
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            for (index, (old, new)) in old.iter().zip(new).enumerate() {
                differ(old, new, &format!("{path}[{index}]"), lines);
            }
        }
        _ => {
            for (sign, value) in [('-', old), ('+', new)] {
                if !value.is_null() {
                    lines.push(format!("{sign} {path}: {value}"));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn emptiness_and_formatting_do_not_count() {
        let cases = [
            (json!({"args": []}), json!({}), true),
            (json!({"nodeSelector": {}}), json!({}), true),
            (json!({"emptyDir": {}}), json!({}), false),
            (json!({"hostname": ""}), json!({}), true),
            (json!({"hostNetwork": false}), json!({}), true),
            (json!({"automountServiceAccountToken": false}), json!({}), false),
            (json!({"limits": {"cpu": "1"}}), json!({"limits": {"cpu": "1000m"}}), true),
            (json!({"limits": {"cpu": "1"}}), json!({"limits": {"cpu": "2"}}), false),
            (json!({"labels": {"cpu": "1"}}), json!({"labels": {"cpu": "1000m"}}), false),
            (json!({"a": [1, 2]}), json!({"a": [2, 1]}), false),
        ];
        for (a, b, same) in cases {
            assert_eq!(equal(&a, &b), same, "{a} {b}");
            assert_eq!(equal(&b, &a), same, "{b} {a}");
        }
    }
}
