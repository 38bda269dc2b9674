//! JSON → protobuf.
//!
//! A value that is not of its field's type is left out: callers check types first.

use base64::Engine as _;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::MAGIC;
use super::wire::{put_bytes, put_key, put_message, put_number};
use crate::schema::check::BASE64;
use crate::schema::schema;
use crate::schema::types::{Alternative, Field, FieldKind, JSON_SCHEMA_PROPS, Part, Type};

/// Writes an object in its envelope.
pub fn encode(ty: &Type, api_version: &str, kind: &str, value: &Value) -> Vec<u8> {
    enveloped(api_version, kind, |out| message(ty, value, out))
}

/// The envelope around a message.
pub(super) fn enveloped(
    api_version: &str,
    kind: &str,
    message: impl FnOnce(&mut Vec<u8>),
) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    put_message(&mut out, 1, |out| {
        put_bytes(out, 1, api_version.as_bytes());
        put_bytes(out, 2, kind.as_bytes());
    });
    put_message(&mut out, 2, message);
    // Upstream writes these two though they are empty.
    put_bytes(&mut out, 3, b"");
    put_bytes(&mut out, 4, b"");
    out
}

/// Writes a type's message without an envelope: the form of watch events in a stream.
pub fn encode_message(ty: &Type, value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    message(ty, value, &mut out);
    out
}

fn message(ty: &Type, value: &Value, out: &mut Vec<u8>) {
    if let Value::Object(object) = value {
        parts(ty, object, out);
    }
}

fn parts(ty: &Type, object: &Map<String, Value>, out: &mut Vec<u8>) {
    for part in &ty.parts {
        match part {
            Part::Inline { tag, ty: inner } => {
                put_message(out, *tag, |out| parts(inner.get(), object, out));
            }
            Part::Field { at, .. } => {
                let field = &ty.fields[*at];
                if let Some(value) = object.get(field.json).filter(|value| !value.is_null()) {
                    put_field(ty, field, value, out);
                }
            }
        }
    }
}

fn put_field(ty: &Type, field: &Field, value: &Value, out: &mut Vec<u8>) {
    let tag = field.tag;
    match (&field.kind, value) {
        (FieldKind::List(_), Value::Array(_)) if field.wrapped => {
            put(ty, tag, &field.kind, value, out);
        }
        (FieldKind::List(item), Value::Array(items)) => {
            for value in items {
                put(ty, tag, item, value, out);
            }
        }
        (FieldKind::Map(item), Value::Object(entries)) => {
            for (key, value) in entries {
                put_message(out, tag, |out| {
                    put_bytes(out, 1, key.as_bytes());
                    put(ty, 2, item, value, out);
                });
            }
        }
        (kind, value) => put(ty, tag, kind, value, out),
    }
}

pub(super) fn put(ty: &Type, tag: u32, kind: &FieldKind, value: &Value, out: &mut Vec<u8>) {
    match (kind, value) {
        (FieldKind::String, Value::String(text)) => put_bytes(out, tag, text.as_bytes()),
        (FieldKind::Bool, Value::Bool(value)) => put_number(out, tag, u64::from(*value)),
        (FieldKind::Int32 | FieldKind::Int64, Value::Number(number)) => {
            if let Some(number) = number.as_i64() {
                // Negative numbers travel as 64 bits.
                put_number(out, tag, number as u64);
            }
        }
        (FieldKind::Double, Value::Number(number)) => {
            put_key(out, tag, 1);
            let bits = number.as_f64().unwrap_or_default().to_bits();
            out.extend_from_slice(&bits.to_le_bytes());
        }
        (FieldKind::Bytes, Value::String(text)) => {
            put_bytes(out, tag, &BASE64.decode(text).unwrap_or_default());
        }
        (FieldKind::Time, Value::String(text)) => put_time(tag, text, false, out),
        (FieldKind::MicroTime, Value::String(text)) => put_time(tag, text, true, out),
        (FieldKind::Quantity, Value::String(text)) => {
            put_message(out, tag, |out| put_bytes(out, 1, text.as_bytes()));
        }
        (FieldKind::Quantity, Value::Number(number)) => {
            put_message(out, tag, |out| put_bytes(out, 1, number.to_string().as_bytes()));
        }
        (FieldKind::IntOrString, value) => {
            let (is_string, number, text) = match value {
                Value::String(text) => (1, 0, text.as_str()),
                Value::Number(number) => (0, number.as_i64().unwrap_or_default(), ""),
                _ => (0, 0, ""),
            };
            put_message(out, tag, |out| put_int_or_string(is_string, number, text, out));
        }
        (FieldKind::RawExtension, value) => {
            let object = ty.holds_objects().then(|| known(value)).flatten();
            let raw = object.unwrap_or_else(|| value.to_string().into_bytes());
            put_message(out, tag, |out| put_bytes(out, 1, &raw));
        }
        (FieldKind::Fields | FieldKind::Json, value) => {
            put_message(out, tag, |out| put_bytes(out, 1, value.to_string().as_bytes()));
        }
        (FieldKind::SchemaOr(alternative), value) => {
            put_message(out, tag, |out| put_schema_or(*alternative, value, out));
        }
        (FieldKind::Object(inner), value @ Value::Object(_)) => {
            put_message(out, tag, |out| message(inner.get(), value, out));
        }
        // A list as a map's value is a message of its own.
        (FieldKind::List(item), Value::Array(items)) => put_message(out, tag, |out| {
            for value in items {
                put(ty, 1, item, value, out);
            }
        }),
        (
            FieldKind::String
            | FieldKind::Bool
            | FieldKind::Int32
            | FieldKind::Int64
            | FieldKind::Double
            | FieldKind::Bytes
            | FieldKind::Time
            | FieldKind::MicroTime
            | FieldKind::Quantity
            | FieldKind::Object(_)
            | FieldKind::List(_)
            | FieldKind::Map(_),
            _,
        ) => {}
    }
}

/// An object of a known kind in an envelope of its own.
fn known(value: &Value) -> Option<Vec<u8>> {
    let (api_version, kind) = (value["apiVersion"].as_str()?, value["kind"].as_str()?);
    let ty = schema().by_api_version(api_version, kind)?;
    Some(encode(ty, api_version, kind, value))
}

pub(super) fn put_time(tag: u32, text: &str, micros: bool, out: &mut Vec<u8>) {
    let Ok(at) = text.parse::<Timestamp>() else { return };
    // Times before 1970 count up from their second, as Go's do.
    let (mut seconds, mut nanos) = (at.as_second(), at.subsec_nanosecond());
    if nanos < 0 {
        seconds -= 1;
        nanos += 1_000_000_000;
    }
    let nanos = if micros { nanos / 1000 * 1000 } else { 0 };
    put_message(out, tag, |out| {
        put_number(out, 1, seconds as u64);
        put_number(out, 2, nanos as u64);
    });
}

pub(super) fn put_int_or_string(is_string: u64, number: i64, text: &str, out: &mut Vec<u8>) {
    put_number(out, 1, is_string);
    put_number(out, 2, number as u64);
    put_bytes(out, 3, text.as_bytes());
}

fn put_schema_or(alternative: Alternative, value: &Value, out: &mut Vec<u8>) {
    let Some(ty) = schema().by_name(JSON_SCHEMA_PROPS) else { return };
    let schema_tag = match alternative {
        Alternative::Bool => 2,
        Alternative::Schemas | Alternative::Strings => 1,
    };
    match (alternative, value) {
        (Alternative::Bool, Value::Bool(allows)) => put_number(out, 1, u64::from(*allows)),
        (_, Value::Object(_)) => {
            if alternative == Alternative::Bool {
                put_number(out, 1, 1);
            }
            put_message(out, schema_tag, |out| message(ty, value, out));
        }
        (Alternative::Schemas, Value::Array(items)) => {
            for item in items {
                put_message(out, 2, |out| message(ty, item, out));
            }
        }
        (Alternative::Strings, Value::Array(items)) => {
            for item in items {
                put_bytes(out, 2, item.as_str().unwrap_or_default().as_bytes());
            }
        }
        (Alternative::Bool | Alternative::Schemas | Alternative::Strings, _) => {}
    }
}
