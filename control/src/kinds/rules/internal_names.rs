//! How upstream prints a whole part of an object in an error: by the names of its internal type.

use serde_json::{Map, Value};

/// The value with the names of Go's fields. What is absent is as in `zero`, whose lists hold one
/// item to show the shape of all.
pub fn internal(value: &Value, zero: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let absent = zero.as_object().into_iter().flatten();
            let absent = absent.filter(|(key, _)| !map.contains_key(*key)).map(|(key, zero)| {
                let is_list = zero.is_array();
                (go_name(key), if is_list { Value::Null } else { internal(zero, zero) })
            });
            let known = map.iter().map(|(key, value)| {
                (go_name(key), internal(value, zero.get(key).unwrap_or(&Value::Null)))
            });
            known.chain(absent).collect::<Map<_, _>>().into()
        }
        Value::Array(items) => {
            let zero = zero.get(0).unwrap_or(&Value::Null);
            items.iter().map(|item| internal(item, zero)).collect()
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
        let zero =
            json!({"rules": [{"verbs": [], "nonResourceURLs": [], "any": false}], "type": ""});
        let expected = json!({"APIGroups": ["a"], "Type": "",
            "Rules": [{"Verbs": ["get"], "NonResourceURLs": null, "Any": false}]});
        assert_eq!(internal(&value, &zero), expected);
    }
}
