//! How upstream prints a whole part of an object in an error: by the names of its internal type.

use serde_json::{Map, Value};

/// The value with the names of Go's fields. What is absent and present in `whole` is null.
pub fn internal(value: &Value, whole: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let absent = whole.as_object().into_iter().flatten();
            let absent = absent.filter(|(key, _)| !map.contains_key(*key));
            let known = map.iter().map(|(key, value)| {
                (go_name(key), internal(value, whole.get(key).unwrap_or(&Value::Null)))
            });
            let absent = absent.map(|(key, _)| (go_name(key), Value::Null));
            known.chain(absent).collect::<Map<_, _>>().into()
        }
        Value::Array(items) => {
            let whole = whole.get(0).unwrap_or(&Value::Null);
            items.iter().map(|item| internal(item, whole)).collect()
        }
        plain => plain.clone(),
    }
}

fn go_name(key: &str) -> String {
    let mut name = key.to_owned();
    if let Some(first) = name.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    match name.strip_prefix("Api") {
        Some(rest) => format!("API{rest}"),
        None => name,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_bear_gos_names() {
        let value = json!({"apiGroups": ["a"], "rules": [{"verbs": ["get"]}]});
        let whole = json!({"rules": [{"verbs": [], "nonResourceURLs": []}], "type": "x"});
        let expected = json!({"APIGroups": ["a"], "Type": null,
            "Rules": [{"Verbs": ["get"], "NonResourceURLs": null}]});
        assert_eq!(internal(&value, &whole), expected);
    }
}
