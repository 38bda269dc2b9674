//! The annotation in which `kubectl apply` without `--server-side` keeps what it applied.
//!
//! Source: `lastappliedmanager.go`, `lastappliedupdater.go`.

use serde_json::{Map, Value};

use super::super::apply::{Set, Setting, check, collect, compare};

const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// As upstream's TotalAnnotationSizeLimitB.
const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;

fn annotations(object: &Value) -> Option<&Map<String, Value>> {
    object["metadata"]["annotations"].as_object()
}

fn text(object: &Value) -> Option<&str> {
    annotations(object)?.get(ANNOTATION)?.as_str().filter(|text| !text.is_empty())
}

/// What was applied last, as the live object's annotation has it.
pub fn parse(live: &Value) -> Option<Value> {
    serde_json::from_str(text(live)?).ok()
}

/// The fields that were applied last and are as they were then: an apply may take them.
pub fn allowed<'a>(setting: Setting<'_>, applied: &'a Value, live: &'a Value) -> Option<Set<'a>> {
    if applied["apiVersion"] != setting.api_version {
        return None;
    }
    check(setting.shape, applied).ok()?;
    check(setting.shape, live).ok()?;
    let comparison = compare(setting.shape, applied, live).ok()?;
    let set = collect(setting.shape, applied).difference(&comparison.modified);
    Some(set.difference(&comparison.added).difference(&comparison.removed))
}

/// Writes into the object what has been applied now, where it says what was applied last.
pub fn renew(object: &mut Value, config: &Value) {
    if text(object).is_none() {
        return;
    }
    let applied = annotation(config);
    let Some(annotations) =
        object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut)
    else {
        return;
    };
    annotations.insert(ANNOTATION.to_owned(), applied.into());
    let size = |(key, value): (&String, &Value)| key.len() + value.as_str().map_or(0, str::len);
    if annotations.iter().map(size).sum::<usize>() > ANNOTATIONS_BYTES_MAX {
        annotations.remove(ANNOTATION);
    }
}

/// The configuration as the annotation holds it, which is not part of it.
fn annotation(config: &Value) -> String {
    let mut config = config.clone();
    if let Some(annotations) =
        config.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut)
    {
        annotations.remove(ANNOTATION);
    }
    let mut text = String::new();
    for letter in config.to_string().chars() {
        match letter {
            // As Go's encoder writes them.
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                text.push_str(&format!("\\u{:04x}", u32::from(letter)));
            }
            other => text.push(other),
        }
    }
    text.push('\n');
    text
}
