//! Protobuf → JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Number, Value};

use super::wire::{Reader, Scalar};
use super::{DEPTH_MAX, MAGIC, ProtobufError};
use crate::schema::types::{Alternative, Field, FieldKind, JSON_SCHEMA_PROPS, Part, Type};
use crate::schema::{decode_json, schema};

type Result<T> = std::result::Result<T, ProtobufError>;

/// Reads an object in its envelope: its apiVersion, its kind, and the object with both.
pub fn decode(bytes: &[u8]) -> Result<(String, String, Value)> {
    enveloped(bytes, 0)
}

/// Reads a type's message without an envelope.
pub fn decode_as(ty: &Type, bytes: &[u8]) -> Result<Value> {
    message(ty, bytes, 0).map(Value::Object)
}

fn enveloped(bytes: &[u8], depth: usize) -> Result<(String, String, Value)> {
    let unknown = Unknown::read(bytes)?;
    let (api_version, kind) = (unknown.api_version, unknown.kind);
    match unknown.content_type {
        // Empty is the default: protobuf.
        "" | "application/vnd.kubernetes.protobuf" => {}
        "application/json" => {
            let (value, _) = decode_json(unknown.raw).map_err(ProtobufError::BadJson)?;
            return Ok((api_version.to_owned(), kind.to_owned(), value));
        }
        other => return Err(ProtobufError::UnsupportedContent { content_type: other.to_owned() }),
    }
    let Some(ty) = schema().by_api_version(api_version, kind) else {
        return Err(ProtobufError::UnknownKind {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
        });
    };
    let mut object = message(ty, unknown.raw, depth)?;
    if ty.field("apiVersion").is_some_and(|field| field.tag == 0) {
        object.insert("apiVersion".to_owned(), api_version.into());
        object.insert("kind".to_owned(), kind.into());
    }
    Ok((api_version.to_owned(), kind.to_owned(), Value::Object(object)))
}

/// `runtime.Unknown`.
#[derive(Default)]
struct Unknown<'a> {
    api_version: &'a str,
    kind: &'a str,
    raw: &'a [u8],
    content_type: &'a str,
}

impl<'a> Unknown<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self> {
        let bytes = bytes.strip_prefix(MAGIC).ok_or(ProtobufError::NoMagic)?;
        let mut unknown = Self::default();
        let mut reader = Reader::new(bytes);
        while let Some((tag, value)) = reader.next("Unknown")? {
            match (tag, value) {
                (1, Scalar::Bytes(bytes)) => unknown.read_type(bytes)?,
                (2, Scalar::Bytes(bytes)) => unknown.raw = bytes,
                (3, Scalar::Bytes(bytes)) if !bytes.is_empty() => {
                    let encoding = String::from_utf8_lossy(bytes).into_owned();
                    return Err(ProtobufError::UnsupportedContent { content_type: encoding });
                }
                (4, Scalar::Bytes(bytes)) => {
                    unknown.content_type = text(bytes, "Unknown", "contentType")?;
                }
                _ => {}
            }
        }
        Ok(unknown)
    }

    fn read_type(&mut self, bytes: &'a [u8]) -> Result<()> {
        let mut reader = Reader::new(bytes);
        while let Some((tag, value)) = reader.next("TypeMeta")? {
            match (tag, value) {
                (1, Scalar::Bytes(bytes)) => {
                    self.api_version = text(bytes, "TypeMeta", "apiVersion")?;
                }
                (2, Scalar::Bytes(bytes)) => self.kind = text(bytes, "TypeMeta", "kind")?,
                _ => {}
            }
        }
        Ok(())
    }
}

fn text<'a>(bytes: &'a [u8], ty: &str, field: &'static str) -> Result<&'a str> {
    std::str::from_utf8(bytes).map_err(|_| ProtobufError::BadValue { ty: ty.to_owned(), field })
}

fn message(ty: &Type, bytes: &[u8], depth: usize) -> Result<Map<String, Value>> {
    let mut object = Map::new();
    message_into(ty, bytes, depth, &mut object)?;
    Ok(object)
}

fn message_into(
    ty: &Type,
    bytes: &[u8],
    depth: usize,
    object: &mut Map<String, Value>,
) -> Result<()> {
    if depth >= DEPTH_MAX {
        return Err(ProtobufError::TooDeep);
    }
    let mut reader = Reader::new(bytes);
    while let Some((tag, value)) = reader.next(&ty.name)? {
        // A tag that is not known is of a newer version: skipped, as upstream does.
        let Ok(at) = ty.parts.binary_search_by_key(&tag, Part::tag) else { continue };
        match &ty.parts[at] {
            Part::Inline { ty: inner, .. } => match value {
                Scalar::Bytes(bytes) => message_into(inner.get(), bytes, depth + 1, object)?,
                other => return Err(wrong_wire_type(&Context::inline(ty, depth), other)),
            },
            Part::Field { at, .. } => {
                let field = &ty.fields[*at];
                Context { ty, field: field.json, depth }.field(field, value, object)?;
            }
        }
    }
    Ok(())
}

fn wrong_wire_type(context: &Context<'_>, value: Scalar<'_>) -> ProtobufError {
    ProtobufError::WrongWireType {
        ty: context.ty.name.to_string(),
        field: context.field,
        wire_type: value.wire_type(),
    }
}

/// The field being read, for errors, and how deep its message is.
#[derive(Clone, Copy)]
struct Context<'a> {
    ty: &'a Type,
    field: &'static str,
    depth: usize,
}

impl<'a> Context<'a> {
    fn inline(ty: &'a Type, depth: usize) -> Self {
        Self { ty, field: "", depth }
    }

    fn bad(&self) -> ProtobufError {
        ProtobufError::BadValue { ty: self.ty.name.to_string(), field: self.field }
    }

    fn bytes<'b>(&self, value: Scalar<'b>) -> Result<&'b [u8]> {
        match value {
            Scalar::Bytes(bytes) => Ok(bytes),
            other => Err(wrong_wire_type(self, other)),
        }
    }

    fn varint(&self, value: Scalar<'_>) -> Result<u64> {
        match value {
            Scalar::Varint(value) => Ok(value),
            other => Err(wrong_wire_type(self, other)),
        }
    }

    /// One occurrence of a field: lists and maps grow, anything else is replaced.
    fn field(
        &self,
        field: &Field,
        wire: Scalar<'_>,
        object: &mut Map<String, Value>,
    ) -> Result<()> {
        match &field.kind {
            FieldKind::List(item) if field.wrapped => {
                let items = self.wrapped(item, wire)?;
                object.insert(field.json.to_owned(), items);
            }
            FieldKind::List(item) => {
                let list = object.entry(field.json).or_insert_with(|| Value::Array(Vec::new()));
                if let Value::Array(list) = list {
                    self.item(item, wire, list)?;
                }
            }
            FieldKind::Map(item) => {
                let (key, value) = self.entry(item, wire)?;
                let map = object.entry(field.json).or_insert_with(|| Value::Object(Map::new()));
                if let Value::Object(map) = map {
                    map.insert(key, value);
                }
            }
            kind => {
                let value = self.value(kind, wire)?;
                // Go writes the zero of every field that is not a pointer, and its JSON leaves
                // those out again where the field says so.
                if value.is_null() || field.omit_empty && !field.pointer && is_zero(kind, &value) {
                    object.remove(field.json);
                } else {
                    object.insert(field.json.to_owned(), value);
                }
            }
        }
        Ok(())
    }

    /// A list element. Numbers may come packed, many in one.
    fn item(&self, kind: &FieldKind, wire: Scalar<'_>, list: &mut Vec<Value>) -> Result<()> {
        let packable = matches!(kind, FieldKind::Bool | FieldKind::Int32 | FieldKind::Int64);
        if let (true, Scalar::Bytes(bytes)) = (packable, wire) {
            let mut reader = Reader::new(bytes);
            while !reader.rest.is_empty() {
                let number = Scalar::Varint(reader.varint()?);
                list.push(self.value(kind, number)?);
            }
            return Ok(());
        }
        list.push(self.value(kind, wire)?);
        Ok(())
    }

    /// A list that is a message of its own, with the elements as field 1.
    fn wrapped(&self, item: &FieldKind, wire: Scalar<'_>) -> Result<Value> {
        let mut reader = Reader::new(self.bytes(wire)?);
        let mut items = Vec::new();
        while let Some((tag, value)) = reader.next(&self.ty.name)? {
            if tag == 1 {
                self.item(item, value, &mut items)?;
            }
        }
        Ok(Value::Array(items))
    }

    /// A map's entry: a message with the key as field 1 and the value as field 2.
    fn entry(&self, item: &FieldKind, wire: Scalar<'_>) -> Result<(String, Value)> {
        let mut reader = Reader::new(self.bytes(wire)?);
        let (mut key, mut value) = ("", None);
        while let Some((tag, part)) = reader.next(&self.ty.name)? {
            match tag {
                1 => key = text(self.bytes(part)?, &self.ty.name, self.field)?,
                2 => value = Some(self.value(item, part)?),
                _ => {}
            }
        }
        let value = match value {
            Some(value) => value,
            None => self.value(item, zero_on_the_wire(item))?,
        };
        Ok((key.to_owned(), value))
    }

    fn nested(&self, ty: &Type, wire: Scalar<'_>) -> Result<Value> {
        message(ty, self.bytes(wire)?, self.depth + 1).map(Value::Object)
    }

    fn value(&self, kind: &FieldKind, wire: Scalar<'_>) -> Result<Value> {
        Ok(match kind {
            FieldKind::String => text(self.bytes(wire)?, &self.ty.name, self.field)?.into(),
            FieldKind::Bool => (self.varint(wire)? != 0).into(),
            // Negative numbers travel as 64 bits; the low half is the number.
            FieldKind::Int32 => (self.varint(wire)? as i32).into(),
            FieldKind::Int64 => (self.varint(wire)? as i64).into(),
            FieldKind::Double => self.double(wire)?,
            FieldKind::Bytes => STANDARD.encode(self.bytes(wire)?).into(),
            FieldKind::Time => self.time(wire, 0)?,
            FieldKind::MicroTime => self.time(wire, 6)?,
            FieldKind::Quantity => match self.first_bytes(wire)? {
                Some(bytes) => text(bytes, &self.ty.name, self.field)?.into(),
                None => "0".into(),
            },
            FieldKind::IntOrString => self.int_or_string(wire)?,
            FieldKind::RawExtension => match self.first_bytes(wire)? {
                Some(bytes) if bytes.starts_with(MAGIC) => self.enveloped(bytes)?,
                Some(bytes) => json(bytes)?,
                None => Value::Null,
            },
            FieldKind::Fields | FieldKind::Json => match self.first_bytes(wire)? {
                Some(bytes) => json(bytes)?,
                None => Value::Null,
            },
            FieldKind::SchemaOr(alternative) => self.schema_or(*alternative, wire)?,
            FieldKind::Object(ty) => self.nested(ty.get(), wire)?,
            // A list as a map's value is a message of its own.
            FieldKind::List(item) => self.wrapped(item, wire)?,
            // No type of upstream has a map as a value of a list or a map.
            FieldKind::Map(_) => return Err(self.bad()),
        })
    }

    fn enveloped(&self, bytes: &[u8]) -> Result<Value> {
        if self.depth + 1 >= DEPTH_MAX {
            return Err(ProtobufError::TooDeep);
        }
        enveloped(bytes, self.depth + 1).map(|(_, _, object)| object)
    }

    fn double(&self, wire: Scalar<'_>) -> Result<Value> {
        let Scalar::Fixed64(bits) = wire else { return Err(wrong_wire_type(self, wire)) };
        Number::from_f64(f64::from_bits(bits)).map(Value::Number).ok_or_else(|| self.bad())
    }

    /// Field 1 of a message that holds nothing else of interest.
    fn first_bytes<'b>(&self, wire: Scalar<'b>) -> Result<Option<&'b [u8]>> {
        let mut reader = Reader::new(self.bytes(wire)?);
        let mut first = None;
        while let Some((tag, value)) = reader.next(&self.ty.name)? {
            if tag == 1 {
                first = Some(self.bytes(value)?);
            }
        }
        Ok(first)
    }

    /// Seconds and nanoseconds; an empty message is the zero time, which is null in JSON.
    fn time(&self, wire: Scalar<'_>, digits: u8) -> Result<Value> {
        let bytes = self.bytes(wire)?;
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        let mut reader = Reader::new(bytes);
        let (mut seconds, mut nanos) = (0i64, 0i32);
        while let Some((tag, value)) = reader.next(&self.ty.name)? {
            match tag {
                1 => seconds = self.varint(value)? as i64,
                2 => nanos = self.varint(value)? as i32,
                _ => {}
            }
        }
        // `Time` has whole seconds whatever was sent: so does its JSON.
        let nanos = if digits == 0 { 0 } else { nanos / 1000 * 1000 };
        let at = Timestamp::new(seconds, nanos).map_err(|_| self.bad())?;
        Ok(match digits {
            0 => at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into(),
            _ => at.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string().into(),
        })
    }

    fn int_or_string(&self, wire: Scalar<'_>) -> Result<Value> {
        let mut reader = Reader::new(self.bytes(wire)?);
        let (mut is_string, mut number, mut string) = (false, 0i32, "");
        while let Some((tag, value)) = reader.next(&self.ty.name)? {
            match tag {
                1 => is_string = self.varint(value)? != 0,
                2 => number = self.varint(value)? as i32,
                3 => string = text(self.bytes(value)?, &self.ty.name, self.field)?,
                _ => {}
            }
        }
        Ok(if is_string { string.into() } else { number.into() })
    }

    fn schema_or(&self, alternative: Alternative, wire: Scalar<'_>) -> Result<Value> {
        let Some(ty) = schema().by_name(JSON_SCHEMA_PROPS) else { return Err(self.bad()) };
        let mut reader = Reader::new(self.bytes(wire)?);
        let (mut schema, mut others, mut allows) = (None, Vec::new(), false);
        while let Some((tag, value)) = reader.next(&self.ty.name)? {
            match (alternative, tag) {
                (Alternative::Bool, 1) => allows = self.varint(value)? != 0,
                (Alternative::Bool, 2) | (Alternative::Schemas | Alternative::Strings, 1) => {
                    schema = Some(self.nested(ty, value)?);
                }
                (Alternative::Schemas, 2) => others.push(self.nested(ty, value)?),
                (Alternative::Strings, 2) => {
                    others.push(text(self.bytes(value)?, &self.ty.name, self.field)?.into());
                }
                _ => {}
            }
        }
        Ok(match (schema, alternative) {
            (Some(schema), _) => schema,
            (None, Alternative::Bool) => allows.into(),
            (None, Alternative::Schemas | Alternative::Strings) => Value::Array(others),
        })
    }
}

fn json(bytes: &[u8]) -> Result<Value> {
    decode_json(bytes).map(|(value, _)| value).map_err(ProtobufError::BadJson)
}

/// What an absent value of a map's entry reads as.
fn zero_on_the_wire(kind: &FieldKind) -> Scalar<'static> {
    match kind {
        FieldKind::Bool | FieldKind::Int32 | FieldKind::Int64 => Scalar::Varint(0),
        FieldKind::Double => Scalar::Fixed64(0),
        _ => Scalar::Bytes(&[]),
    }
}

fn is_zero(kind: &FieldKind, value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(value) => match kind {
            // `targetPort` is a struct in Go: its zero is left out too.
            FieldKind::IntOrString | FieldKind::Int32 | FieldKind::Int64 => {
                value.as_i64() == Some(0)
            }
            _ => value.as_f64() == Some(0.0),
        },
        Value::String(value) => value.is_empty(),
        Value::Array(value) => value.is_empty(),
        Value::Object(value) => value.is_empty(),
    }
}
