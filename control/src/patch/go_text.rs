//! Values as Go prints them in error messages.

use serde_json::Value;

/// `%v`: `map[image:x name:a]`, `[a b]`, `<nil>`.
pub fn value(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(value) => value.to_string(),
        Value::String(text) => text.clone(),
        Value::Array(items) => list(items),
        Value::Object(map) => {
            let entries = map.iter().map(|(key, it)| format!("{key}:{}", self::value(it)));
            format!("map[{}]", entries.collect::<Vec<_>>().join(" "))
        }
    }
}

pub(super) fn list(items: &[Value]) -> String {
    format!("[{}]", items.iter().map(value).collect::<Vec<_>>().join(" "))
}

/// The type of a value that was decoded without one.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "%!s(<nil>)",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_printed_as_go_prints_them() {
        let nested = json!({ "b": [1, "x", { "c": null }], "a": true });
        assert_eq!(value(&nested), "map[a:true b:[1 x map[c:<nil>]]]");
    }
}
