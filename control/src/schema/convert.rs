//! A value that was decoded without a type becomes one of a type, as upstream's converter does it:
//! what strategic merge patches and applied configurations become. Pure.
//!
//! Source: `k8s.io/apimachinery/pkg/runtime/converter.go` (FromUnstructured).

use serde_json::{Number, Value};

use super::check::{base64, check_types, spelling, word};
use super::types::{FieldKind, Type};

/// Makes numbers what their fields hold. The error is what upstream's converter would complain about
/// first, such as `cannot restore slice from string`.
pub fn convert_to(ty: &Type, value: &mut Value) -> Result<(), String> {
    object(ty, value)?;
    check_types(ty, value)
}

fn object(ty: &Type, value: &mut Value) -> Result<(), String> {
    let map = match value {
        Value::Null => return Ok(()),
        Value::Object(map) => map,
        other => return Err(format!("cannot restore struct from: {}", kind(other))),
    };
    for (key, value) in map.iter_mut() {
        if let Some(field) = ty.field(key) {
            convert(&field.kind, field.go, value)?;
        }
    }
    Ok(())
}

/// `go`: Go's spelling of the type where it is not the kind's own.
fn convert(target: &FieldKind, go: Option<&str>, value: &mut Value) -> Result<(), String> {
    let spelled = || go.map_or_else(|| spelling(target), str::to_owned);
    match (target, value) {
        (_, Value::Null)
        | (FieldKind::String, Value::String(_))
        | (FieldKind::Bool, Value::Bool(_))
        | (FieldKind::Double, Value::Number(_)) => Ok(()),
        (FieldKind::Int32 | FieldKind::Int64, Value::Number(number)) => {
            let whole = whole(number, *target == FieldKind::Int32);
            *number = whole.ok_or_else(|| format!("cannot convert float64 to {}", spelled()))?;
            Ok(())
        }
        // Go converts whole numbers to letters; the converter does not.
        (FieldKind::String, Value::Number(number)) if !number.is_f64() => {
            Err(format!("cannot convert int64 to {}", spelled()))
        }
        (
            FieldKind::String
            | FieldKind::Bool
            | FieldKind::Int32
            | FieldKind::Int64
            | FieldKind::Double,
            _,
        ) => Err(format!("unrecognized type: {}", spelling(target))),
        (FieldKind::Object(ty), value) => object(ty.get(), value),
        (FieldKind::List(item), Value::Array(items)) => {
            let go = go.and_then(|go| go.strip_prefix("[]"));
            items.iter_mut().try_for_each(|value| convert(item, go, value))
        }
        (FieldKind::Map(item), Value::Object(map)) => {
            let go = go.and_then(|go| go.split_once(']')).map(|(_, go)| go);
            map.values_mut().try_for_each(|value| convert(item, go, value))
        }
        (FieldKind::Bytes, Value::String(text)) => {
            base64(text).map_err(|why| format!("error decoding from json: {why}"))
        }
        (FieldKind::List(_) | FieldKind::Bytes, other) => {
            Err(format!("cannot restore slice from {}", kind(other)))
        }
        (FieldKind::Map(_), other) => Err(format!("cannot restore map from {}", kind(other))),
        // These read themselves from JSON.
        (FieldKind::Time | FieldKind::MicroTime, other) if !other.is_string() => {
            Err(unmarshal(other, "string"))
        }
        (FieldKind::IntOrString, other) if !other.is_string() && !other.is_number() => {
            Err(unmarshal(other, "int32"))
        }
        (
            FieldKind::Time
            | FieldKind::MicroTime
            | FieldKind::IntOrString
            | FieldKind::Quantity
            | FieldKind::RawExtension
            | FieldKind::Fields
            | FieldKind::Json
            | FieldKind::SchemaOr(_),
            _,
        ) => Ok(()),
    }
}

/// The whole number that Go makes of a number: what does not fit loses its high bits.
fn whole(number: &Number, is_short: bool) -> Option<Number> {
    let whole = match (number.as_i64(), number.as_f64()) {
        (Some(whole), _) => whole,
        (None, Some(number)) if number.trunc() == number => number as i64,
        (None, _) => return None,
    };
    Some(if is_short { Number::from(whole as i32) } else { Number::from(whole) })
}

fn unmarshal(value: &Value, go: &str) -> String {
    format!("json: cannot unmarshal {} into Go value of type {go}", word(value))
}

/// Go's kind of a value that was decoded without a type.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "invalid",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "slice",
        Value::Object(_) => "map",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::schema;
    use super::*;

    #[test]
    fn what_does_not_fit_is_told_in_the_converters_words() {
        let ty = schema().by_api_version("v1", "Pod").expect("it is known");
        let container = |container: Value| json!({ "spec": { "containers": [container] } });
        for (value, expected) in [
            (json!({ "metadata": { "labels": { "a": 1 } } }), "cannot convert int64 to string"),
            (json!({ "metadata": { "labels": { "a": true } } }), "unrecognized type: string"),
            (json!({ "metadata": { "labels": [] } }), "cannot restore map from slice"),
            (json!({ "metadata": "x" }), "cannot restore struct from: string"),
            (json!({ "kind": {} }), "unrecognized type: string"),
            (json!({ "spec": { "containers": {} } }), "cannot restore slice from map"),
            (container(json!({ "imagePullPolicy": 1 })), "cannot convert int64 to v1.PullPolicy"),
            (container(json!({ "stdin": "x" })), "unrecognized type: bool"),
            (json!({ "spec": { "priority": 1.5 } }), "cannot convert float64 to int32"),
            (json!({ "spec": { "priority": 1.0 } }), ""),
            (
                json!({ "metadata": { "creationTimestamp": 1 } }),
                "json: cannot unmarshal number into Go value of type string",
            ),
        ] {
            let shown = value.to_string();
            let mut value = value;
            let complaint = object(ty, &mut value).err().unwrap_or_default();
            assert_eq!(complaint, expected, "{shown}");
        }
    }

    #[test]
    fn numbers_become_what_their_fields_hold() {
        let ty = schema().by_api_version("apps/v1", "Deployment").expect("it is known");
        for (given, held) in [(json!(2.0), 2), (json!(2), 2), (json!(4_294_967_299_i64), 3)] {
            let mut value = json!({ "spec": { "replicas": given } });
            convert_to(ty, &mut value).expect("it fits");
            assert_eq!(value, json!({ "spec": { "replicas": held } }));
        }
    }
}
