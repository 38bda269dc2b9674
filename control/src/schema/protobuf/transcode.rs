//! JSON text → protobuf in one pass, with no tree of values between: what lists and watches send.

use std::fmt;
use std::ops::Range;

use base64::Engine as _;
use serde::Deserialize;
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::value::RawValue;
use serde_json::{Number, Value};

use super::encode::{encode_message, enveloped, put, put_int_or_string, put_time};
use super::wire::{put_bytes, put_key, put_message, put_number, try_put_message};
use crate::schema::check::BASE64;
use crate::schema::key::Key;
use crate::schema::types::{Field, FieldKind, Part, Type};

/// Appends the message of an object that JSON text says, as `encode_message` does for its value.
pub fn put_text(ty: &Type, text: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    let mut json = serde_json::Deserializer::from_slice(text);
    if json.deserialize_map(Message { ty, out }).is_err() {
        // A value that is not of its field's type: the slow way leaves it out.
        out.truncate(start);
        let value: Value = serde_json::from_slice(text).unwrap_or_default();
        out.extend(encode_message(ty, &value));
    }
}

/// Writes an object that JSON text says in its envelope, as `encode` does for its value.
pub fn encode_text(ty: &Type, text: &[u8]) -> Vec<u8> {
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Named {
        api_version: String,
        kind: String,
    }
    let Named { api_version, kind } = serde_json::from_slice(text).unwrap_or_default();
    enveloped(&api_version, &kind, |out| put_text(ty, text, out))
}

/// The fields of one message.
struct Message<'a> {
    ty: &'a Type,
    out: &'a mut Vec<u8>,
}

/// Where a field of `Type::fields` was written.
struct Span {
    at: usize,
    bytes: Range<usize>,
}

impl<'de> Visitor<'de> for Message<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a {}", self.ty.go)
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        let Self { ty, out } = self;
        let start = out.len();
        let mut spans: Vec<Span> = Vec::new();
        let mut in_order = true;
        while let Some(Key(key)) = map.next_key()? {
            let Some(at) = ty.place(&key).filter(|at| ty.fields[*at].tag != 0) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let begin = out.len();
            let field = &ty.fields[at];
            map.next_value_seed(OfField { ty, field, out })?;
            if out.len() > begin {
                in_order &= spans.last().is_none_or(|last| ty.fields[last.at].tag < field.tag);
                spans.push(Span { at, bytes: begin - start..out.len() - start });
            }
        }
        let is_flat = ty.parts.iter().all(|part| matches!(part, Part::Field { .. }));
        if is_flat && in_order {
            return Ok(());
        }
        let written = out.split_off(start);
        if is_flat {
            spans.sort_unstable_by_key(|span| ty.fields[span.at].tag);
            for span in spans {
                out.extend_from_slice(&written[span.bytes]);
            }
        } else {
            let find = |json: &str| {
                let span = spans.iter().find(|span| ty.fields[span.at].json == json)?;
                Some(&written[span.bytes.clone()])
            };
            put_parts(ty, &find, out);
        }
        Ok(())
    }
}

/// Puts fields that are written already where the wire form has them: those of inlined types into
/// messages of their own.
fn put_parts<'b>(ty: &Type, find: &dyn Fn(&str) -> Option<&'b [u8]>, out: &mut Vec<u8>) {
    for part in &ty.parts {
        match part {
            Part::Inline { tag, ty } => {
                put_message(out, *tag, |out| put_parts(ty.get(), find, out))
            }
            Part::Field { at, .. } => {
                out.extend_from_slice(find(ty.fields[*at].json).unwrap_or_default());
            }
        }
    }
}

/// All of a field: each element of a list, each entry of a map.
struct OfField<'a> {
    ty: &'a Type,
    field: &'a Field,
    out: &'a mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for OfField<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        match &self.field.kind {
            FieldKind::List(_) if !self.field.wrapped => json.deserialize_any(self),
            FieldKind::Map(_) => json.deserialize_any(self),
            kind => One { ty: self.ty, tag: self.field.tag, kind, out: self.out }.deserialize(json),
        }
    }
}

impl<'de> Visitor<'de> for OfField<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.field.json)
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut items: S) -> Result<(), S::Error> {
        let Self { ty, field, out } = self;
        let FieldKind::List(kind) = &field.kind else {
            return Err(S::Error::custom("a list was not expected"));
        };
        while items.next_element_seed(One { ty, tag: field.tag, kind, out })?.is_some() {}
        Ok(())
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        let Self { ty, field, out } = self;
        let FieldKind::Map(kind) = &field.kind else {
            return Err(M::Error::custom("an object was not expected"));
        };
        while let Some(Key(key)) = map.next_key()? {
            try_put_message(out, field.tag, |out| {
                put_bytes(out, 1, key.as_bytes());
                map.next_value_seed(One { ty, tag: 2, kind, out })
            })?;
        }
        Ok(())
    }
}

/// One value of a kind, under a tag.
struct One<'a> {
    ty: &'a Type,
    tag: u32,
    kind: &'a FieldKind,
    out: &'a mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for One<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        match self.kind {
            FieldKind::Fields => {
                let raw = <&RawValue>::deserialize(json)?;
                if raw.get() != "null" {
                    put_message(self.out, self.tag, |out| put_bytes(out, 1, raw.get().as_bytes()));
                }
                Ok(())
            }
            FieldKind::RawExtension | FieldKind::Json | FieldKind::SchemaOr(_) => {
                let value = Value::deserialize(json)?;
                if !value.is_null() {
                    put(self.ty, self.tag, self.kind, &value, self.out);
                }
                Ok(())
            }
            _ => json.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for One<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.kind)
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        if *self.kind == FieldKind::Bool {
            put_number(self.out, self.tag, u64::from(value));
        }
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.number(Number::from(value));
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.number(Number::from(value));
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.number(Number::from_f64(value).unwrap_or_else(|| Number::from(0)));
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        let Self { tag, kind, out, .. } = self;
        match kind {
            FieldKind::String => put_bytes(out, tag, text.as_bytes()),
            FieldKind::Bytes => put_bytes(out, tag, &BASE64.decode(text).unwrap_or_default()),
            FieldKind::Time => put_time(tag, text, false, out),
            FieldKind::MicroTime => put_time(tag, text, true, out),
            FieldKind::Quantity => put_message(out, tag, |out| put_bytes(out, 1, text.as_bytes())),
            FieldKind::IntOrString => {
                put_message(out, tag, |out| put_int_or_string(1, 0, text, out));
            }
            _ => {}
        }
        Ok(())
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut items: S) -> Result<(), S::Error> {
        let Self { ty, tag, kind, out } = self;
        let FieldKind::List(item) = kind else {
            return Err(S::Error::custom("a list was not expected"));
        };
        // A list in a place of one value is a message of its own.
        try_put_message(out, tag, |out| {
            while items.next_element_seed(One { ty, tag: 1, kind: item, out })?.is_some() {}
            Ok(())
        })
    }

    fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<(), M::Error> {
        let FieldKind::Object(ty) = self.kind else {
            return Err(M::Error::custom("an object was not expected"));
        };
        try_put_message(self.out, self.tag, |out| Message { ty: ty.get(), out }.visit_map(map))
    }
}

impl One<'_> {
    fn number(self, number: Number) {
        let Self { tag, kind, out, .. } = self;
        match kind {
            FieldKind::Int32 | FieldKind::Int64 => {
                if let Some(number) = number.as_i64() {
                    put_number(out, tag, number as u64);
                }
            }
            FieldKind::Double => {
                put_key(out, tag, 1);
                let bits = number.as_f64().unwrap_or_default().to_bits();
                out.extend_from_slice(&bits.to_le_bytes());
            }
            FieldKind::Quantity => {
                put_message(out, tag, |out| put_bytes(out, 1, number.to_string().as_bytes()));
            }
            FieldKind::IntOrString => {
                let number = number.as_i64().unwrap_or_default();
                put_message(out, tag, |out| put_int_or_string(0, number, "", out));
            }
            _ => {}
        }
    }
}
