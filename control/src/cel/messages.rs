//! Messages that expressions may construct whatever they are about: the well-known ones.
//!
//! Source: the well-known types of protocol buffers, as `common/types/types.go` of cel-go takes them.

use super::declarations::read;
use super::types::Type;

/// A message: its name, the type that constructing it gives (none: its own), its fields.
type Message = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

const MESSAGES: &[Message] = &[
    ("Any", "any", &[("type_url", "string"), ("value", "bytes")]),
    ("BoolValue", "wrapper(bool)", &[("value", "bool")]),
    ("BytesValue", "wrapper(bytes)", &[("value", "bytes")]),
    ("DoubleValue", "wrapper(double)", &[("value", "double")]),
    ("Duration", "duration", &[("seconds", "int"), ("nanos", "int")]),
    ("Empty", "", &[]),
    ("FloatValue", "wrapper(double)", &[("value", "double")]),
    ("Int32Value", "wrapper(int)", &[("value", "int")]),
    ("Int64Value", "wrapper(int)", &[("value", "int")]),
    ("ListValue", "list(dyn)", &[("values", "list(dyn)")]),
    ("StringValue", "wrapper(string)", &[("value", "string")]),
    ("Struct", "map(string, dyn)", &[("fields", "map(string, dyn)")]),
    ("Timestamp", "timestamp", &[("seconds", "int"), ("nanos", "int")]),
    ("UInt32Value", "wrapper(uint)", &[("value", "uint")]),
    ("UInt64Value", "wrapper(uint)", &[("value", "uint")]),
    (
        "Value",
        "dyn",
        &[
            ("null_value", "int"),
            ("number_value", "double"),
            ("string_value", "string"),
            ("bool_value", "bool"),
            ("struct_value", "map(string, dyn)"),
            ("list_value", "list(dyn)"),
        ],
    ),
];
const PREFIX: &str = "google.protobuf.";
/// The only value of an enumeration that there is.
pub const NULL_VALUE: &str = "google.protobuf.NullValue.NULL_VALUE";

fn find(name: &str) -> Option<&'static Message> {
    let name = name.strip_prefix(PREFIX)?;
    MESSAGES.iter().find(|(it, ..)| *it == name)
}

/// What constructing the message gives.
pub fn type_of(name: &str) -> Option<Type> {
    let (_, text, _) = find(name)?;
    Some(if text.is_empty() { Type::object(name) } else { read(text) })
}

pub fn field_type(name: &str, field: &str) -> Option<Type> {
    let (_, _, fields) = find(name)?;
    fields.iter().find(|(it, _)| *it == field).map(|(_, text)| read(text))
}

/// The name of the message that gives a type whose own name is another one.
pub fn well_known_name(constructed: &Type) -> Option<String> {
    let name = match constructed {
        Type::Any => "Any",
        Type::Duration => "Duration",
        Type::Dyn => "Value",
        Type::Null => "NullValue",
        Type::Timestamp => "Timestamp",
        Type::List(item) if matches!(**item, Type::Dyn) => "ListValue",
        Type::Map(pair) if matches!(**pair, (Type::String, Type::Dyn)) => "Struct",
        Type::Wrapper(inner) => match **inner {
            Type::Bool => "BoolValue",
            Type::Bytes => "BytesValue",
            Type::Double => "DoubleValue",
            Type::Int => "Int64Value",
            Type::String => "StringValue",
            _ => "UInt64Value",
        },
        _ => return None,
    };
    Some(format!("{PREFIX}{name}"))
}
