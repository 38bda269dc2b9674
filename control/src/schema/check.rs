//! Checks that JSON values are of the types that the schema says, with the messages of Go's decoder.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Number, Value};

use super::types::{Alternative, Field, FieldKind, JSON_SCHEMA_PROPS, Type};
use super::{quantity, schema, time};

/// Base64 as Go's `StdEncoding` reads it: bits after the last byte may be set.
pub(super) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// Says what upstream's decoder would complain about first, such as
/// `json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32`.
pub fn check_types(ty: &Type, value: &Value) -> Result<(), String> {
    let place = Place { ty, field: None, outer: None };
    match value {
        Value::Null => Ok(()),
        Value::Object(_) => object(ty, value, &place),
        other => {
            Err(format!("json: cannot unmarshal {} into Go value of type {}", word(other), ty.go))
        }
    }
}

/// Where the check stands, in Go's terms: the structs and fields that led here. Indices and map
/// keys do not show in Go's messages.
struct Place<'a> {
    ty: &'a Type,
    field: Option<&'a Field>,
    outer: Option<&'a Place<'a>>,
}

impl Place<'_> {
    fn path(&self, into: &mut Vec<String>) {
        if let Some(outer) = self.outer {
            outer.path(into);
        }
        if let Some(field) = self.field {
            into.extend(field.inline.as_deref().map(str::to_owned));
            into.push(field.json.to_owned());
        }
    }

    fn mismatch(&self, what: &str, go: &str) -> String {
        let mut path = Vec::new();
        self.path(&mut path);
        let (of, path) = (self.ty.short_name(), path.join("."));
        format!("json: cannot unmarshal {what} into Go struct field {of}.{path} of type {go}")
    }
}

/// Go's word for a JSON value's type.
pub fn word(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn object(ty: &Type, value: &Value, outer: &Place<'_>) -> Result<(), String> {
    let Value::Object(map) = value else { return Ok(()) };
    for (key, value) in map {
        if let Some(field) = ty.field(key) {
            let place = Place { ty, field: Some(field), outer: Some(outer) };
            check(&field.kind, field.go, value, &place)?;
        }
    }
    Ok(())
}

/// `go`: Go's spelling of the type where it is not the kind's own.
fn check(
    kind: &FieldKind,
    go: Option<&str>,
    value: &Value,
    place: &Place<'_>,
) -> Result<(), String> {
    let mismatch = || {
        let go = go.map_or_else(|| spelling(kind), str::to_owned);
        Err(place.mismatch(word(value), &go))
    };
    match (kind, value) {
        (_, Value::Null) => Ok(()),
        (FieldKind::String, Value::String(_)) | (FieldKind::Bool, Value::Bool(_)) => Ok(()),
        (FieldKind::Int32, Value::Number(number)) => {
            let fits = number.as_i64().is_some_and(|number| i32::try_from(number).is_ok());
            whole(fits, number, go.unwrap_or("int32"), place)
        }
        (FieldKind::Int64, Value::Number(number)) => {
            whole(number.as_i64().is_some(), number, go.unwrap_or("int64"), place)
        }
        (FieldKind::Double, Value::Number(_)) => Ok(()),
        (FieldKind::Bytes, Value::String(text)) => base64(text),
        (FieldKind::Time, Value::String(text)) => time::parse(text, time::SECONDS).map(|_| ()),
        (FieldKind::MicroTime, Value::String(text)) => time::parse(text, time::MICROS).map(|_| ()),
        (FieldKind::Time | FieldKind::MicroTime, other) => {
            Err(place.mismatch(word(other), "string"))
        }
        (FieldKind::Quantity, Value::String(text)) => {
            quantity::check(text).map_err(|error| error.to_string())
        }
        (FieldKind::Quantity, Value::Number(_)) => Ok(()),
        (FieldKind::Quantity, _) => Err(quantity::QuantityError::Format.to_string()),
        (FieldKind::IntOrString, Value::String(_)) => Ok(()),
        (FieldKind::IntOrString, Value::Number(number)) => {
            let fits = number.as_i64().is_some_and(|number| i32::try_from(number).is_ok());
            whole(fits, number, "int32", place)
        }
        (FieldKind::IntOrString, other) => Err(place.mismatch(word(other), "int32")),
        (FieldKind::RawExtension | FieldKind::Fields | FieldKind::Json, _) => Ok(()),
        (FieldKind::SchemaOr(alternative), value) => schema_or(*alternative, value, place),
        (FieldKind::Object(ty), Value::Object(_)) => object(ty.get(), value, place),
        (FieldKind::List(item), Value::Array(items)) => {
            let go = go.and_then(|go| go.strip_prefix("[]"));
            items.iter().try_for_each(|value| check(item, go, value, place))
        }
        (FieldKind::Map(item), Value::Object(map)) => {
            let go = go.and_then(|go| go.split_once(']')).map(|(_, go)| go);
            map.values().try_for_each(|value| check(item, go, value, place))
        }
        (
            FieldKind::String
            | FieldKind::Bool
            | FieldKind::Int32
            | FieldKind::Int64
            | FieldKind::Double
            | FieldKind::Bytes
            | FieldKind::Object(_)
            | FieldKind::List(_)
            | FieldKind::Map(_),
            _,
        ) => mismatch(),
    }
}

fn whole(fits: bool, number: &Number, go: &str, place: &Place<'_>) -> Result<(), String> {
    if fits {
        return Ok(());
    }
    Err(place.mismatch(&format!("number {number}"), go))
}

fn schema_or(alternative: Alternative, value: &Value, place: &Place<'_>) -> Result<(), String> {
    let Some(ty) = schema().by_name(JSON_SCHEMA_PROPS) else { return Ok(()) };
    match (alternative, value) {
        (Alternative::Bool, Value::Bool(_)) => Ok(()),
        (Alternative::Schemas, Value::Array(items)) => {
            items.iter().try_for_each(|value| object(ty, value, place))
        }
        (Alternative::Strings, Value::Array(items)) => {
            items.iter().try_for_each(|value| check(&FieldKind::String, None, value, place))
        }
        (_, Value::Object(_)) => object(ty, value, place),
        (Alternative::Bool, _) => Err("boolean or JSON schema expected".to_owned()),
        (Alternative::Schemas | Alternative::Strings, other) => {
            Err(place.mismatch(word(other), "v1.JSONSchemaProps"))
        }
    }
}

pub(super) fn base64(text: &str) -> Result<(), String> {
    if BASE64.decode(text).is_ok() {
        return Ok(());
    }
    match breaks_off(text.as_bytes()) {
        Some(at) => Err(format!("illegal base64 data at input byte {at}")),
        None => Ok(()),
    }
}

/// Where Go says that base64 breaks off. It skips line ends. Source: `encoding/base64`.
fn breaks_off(text: &[u8]) -> Option<usize> {
    let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let is_end = |(_, byte): &(usize, u8)| !matches!(byte, b'\r' | b'\n');
    let mut bytes = text.iter().copied().enumerate().filter(is_end);
    loop {
        for place in 0..4 {
            let Some((at, byte)) = bytes.next() else {
                return (place > 0).then(|| text.len() - place);
            };
            if is_digit(byte) {
                continue;
            }
            if byte != b'=' || place < 2 {
                return Some(at);
            }
            if place == 2 {
                match bytes.next() {
                    None => return Some(text.len()),
                    Some((_, b'=')) => {}
                    Some((next, _)) => return Some(next - 1),
                }
            }
            return bytes.next().map(|(at, _)| at);
        }
    }
}

/// Go's own name of a kind.
pub(super) fn spelling(kind: &FieldKind) -> String {
    let plain = match kind {
        FieldKind::String => "string",
        FieldKind::Bool => "bool",
        FieldKind::Int32 => "int32",
        FieldKind::Int64 => "int64",
        FieldKind::Double => "float64",
        FieldKind::Bytes => "[]uint8",
        FieldKind::Time => "v1.Time",
        FieldKind::MicroTime => "v1.MicroTime",
        FieldKind::Quantity => "resource.Quantity",
        FieldKind::IntOrString => "intstr.IntOrString",
        FieldKind::RawExtension => "runtime.RawExtension",
        FieldKind::Fields => "v1.FieldsV1",
        FieldKind::Json => "v1.JSON",
        FieldKind::SchemaOr(_) => "v1.JSONSchemaProps",
        FieldKind::Object(ty) => return ty.get().go.to_string(),
        FieldKind::List(item) => return format!("[]{}", spelling(item)),
        FieldKind::Map(item) => return format!("map[string]{}", spelling(item)),
    };
    plain.to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(api_version: &str, kind: &str, value: Value) -> String {
        let ty = schema().by_api_version(api_version, kind).expect("kind");
        check_types(ty, &value).err().unwrap_or_default()
    }

    #[test]
    fn messages_are_those_of_go() {
        for (kind, value, expected) in [
            (
                "Deployment",
                json!({ "spec": { "replicas": "three" } }),
                "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
            ),
            (
                "Deployment",
                json!({ "spec": { "replicas": 1.5 } }),
                "json: cannot unmarshal number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32",
            ),
            (
                "Deployment",
                json!({ "spec": [] }),
                "json: cannot unmarshal array into Go struct field Deployment.spec of type v1.DeploymentSpec",
            ),
            (
                "Deployment",
                json!({ "spec": { "template": { "spec": { "containers": [{ "image": 1 }] } } } }),
                "json: cannot unmarshal number into Go struct field Container.spec.template.spec.containers.image of type string",
            ),
            (
                "Deployment",
                json!({ "spec": { "template": { "spec": { "containers": { "a": 1 } } } } }),
                "json: cannot unmarshal object into Go struct field PodSpec.spec.template.spec.containers of type []v1.Container",
            ),
            (
                "Deployment",
                json!({ "metadata": { "labels": { "a": 1 } } }),
                "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string",
            ),
            (
                "Deployment",
                json!({ "spec": { "template": { "spec": { "containers": [{ "imagePullPolicy": true }] } } } }),
                "json: cannot unmarshal bool into Go struct field Container.spec.template.spec.containers.imagePullPolicy of type v1.PullPolicy",
            ),
            (
                "Deployment",
                json!([]),
                "json: cannot unmarshal array into Go value of type v1.Deployment",
            ),
            ("Deployment", json!({ "spec": { "replicas": 3, "unknown": 1 } }), ""),
        ] {
            assert_eq!(check("apps/v1", kind, value), expected);
        }
    }

    #[test]
    fn special_forms_complain_in_their_own_words() {
        let limits = |cpu: Value| json!({ "spec": { "containers": [{ "resources": { "limits": { "cpu": cpu } } }] } });
        let wrong = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
        assert_eq!(check("v1", "Pod", limits(json!("x"))), wrong);
        assert_eq!(check("v1", "Pod", limits(json!(true))), wrong);
        assert_eq!(check("v1", "Pod", limits(json!(1))), "");
        assert_eq!(
            check("v1", "Secret", json!({ "data": { "a": "no base64!" } })),
            "illegal base64 data at input byte 2"
        );
        assert_eq!(
            check("v1", "Pod", json!({ "metadata": { "creationTimestamp": 5 } })),
            "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.creationTimestamp of type string"
        );
        assert_eq!(
            check("v1", "Service", json!({ "spec": { "ports": [{ "targetPort": {} }] } })),
            "json: cannot unmarshal object into Go struct field ServicePort.spec.ports.targetPort of type int32"
        );
    }

    #[test]
    fn inlined_fields_show_the_struct_that_they_come_from() {
        assert_eq!(
            check("v1", "Pod", json!({ "spec": { "volumes": [{ "emptyDir": 1 }] } })),
            "json: cannot unmarshal number into Go struct field Volume.spec.volumes.VolumeSource.emptyDir of type v1.EmptyDirVolumeSource"
        );
    }

    #[test]
    fn base64_breaks_off_where_go_says() {
        for (text, at) in [
            ("YQ==", None),
            ("YR==", None),
            ("Y\nQ=\r=\n", None),
            ("YQ==x", Some(4)),
            ("YWI=xx", Some(4)),
            ("YQ=x", Some(2)),
            ("=", Some(0)),
            ("Y", Some(0)),
            ("YQ", Some(0)),
            ("YW!j", Some(2)),
            ("YQ==\nx", Some(5)),
            ("Y\nQ=x", Some(3)),
            ("Y===", Some(1)),
            ("YWJj=", Some(4)),
            ("YWJjYQ=", Some(7)),
        ] {
            assert_eq!(breaks_off(text.as_bytes()), at, "{text:?}");
            assert_eq!(base64(text).is_ok(), at.is_none(), "{text:?}");
        }
    }
}
