//! Sample values made from the schema itself, for property tests.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::schema;
use super::types::{Alternative, Field, FieldKind, JSON_SCHEMA_PROPS, Type};

/// A small generator of choices: proptest gives the seed, so that a failure shrinks to a number.
pub struct Chooser(u64);

impl Chooser {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Below `bound`. Source: Vigna's splitmix64.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// An object of the type in the form that a decoder leaves: no empty lists, no zeros that Go's JSON
/// leaves out.
pub fn object(ty: &Type, choose: &mut Chooser, depth: usize) -> Value {
    let mut object = Map::new();
    for field in &ty.fields {
        // apiVersion and kind are the envelope's.
        if field.tag == 0 || choose.below(1 + depth as u64) > 1 {
            continue;
        }
        if let Some(value) = value(&field.kind, Some(field), choose, depth) {
            object.insert(field.json.to_owned(), value);
        }
    }
    let mut object = Value::Object(object);
    super::settle(ty, &mut object);
    object
}

fn value(
    kind: &FieldKind,
    field: Option<&Field>,
    choose: &mut Chooser,
    depth: usize,
) -> Option<Value> {
    let omits_zero = field.is_some_and(|field| field.omit_empty && !field.pointer);
    let least = u64::from(omits_zero);
    Some(match kind {
        FieldKind::String => {
            let texts = ["", "a", "grüße", "kube-system/x y"];
            let at = least + choose.below(texts.len() as u64 - least);
            json!(texts[at as usize])
        }
        FieldKind::Bool => json!(omits_zero || choose.below(2) == 1),
        FieldKind::Int32 => {
            json!([0, 1, -1, i32::MAX, i32::MIN][(least + choose.below(5 - least)) as usize])
        }
        FieldKind::Int64 => {
            json!([0, 1, -1, i64::MAX, i64::MIN][(least + choose.below(5 - least)) as usize])
        }
        FieldKind::Double => json!([0.0, 1.5, -2.25][(least + choose.below(3 - least)) as usize]),
        FieldKind::Bytes => {
            json!(["", "aGk=", "AAECAw=="][(least + choose.below(3 - least)) as usize])
        }
        FieldKind::Time => json!(
            ["1970-01-01T00:00:00Z", "2026-02-28T23:59:59Z", "1901-12-13T20:45:52Z"]
                [choose.below(3) as usize]
        ),
        FieldKind::MicroTime => json!(
            ["2026-02-28T23:59:59.000001Z", "1969-12-31T23:59:59.500000Z"]
                [choose.below(2) as usize]
        ),
        FieldKind::Quantity => json!(["1", "500m", "1Gi", "-3"][choose.below(4) as usize]),
        FieldKind::IntOrString => {
            if choose.below(2) == 0 {
                json!("25%")
            } else {
                json!(8080)
            }
        }
        FieldKind::RawExtension | FieldKind::Fields => json!({ "f:metadata": { "x": [1, "two"] } }),
        FieldKind::Json => json!([1, { "a": "b" }]),
        FieldKind::SchemaOr(alternative) => return schema_or(*alternative, choose, depth),
        FieldKind::Object(ty) => {
            if depth > 6 {
                return None;
            }
            let object = object(ty.get(), choose, depth + 1);
            if omits_zero && object.as_object().is_some_and(Map::is_empty) {
                return None;
            }
            object
        }
        FieldKind::List(item) => {
            let items: Vec<Value> = (0..=choose.below(2))
                .filter_map(|_| value(item, None, choose, depth + 1))
                .collect();
            if items.is_empty() {
                return None;
            }
            Value::Array(items)
        }
        FieldKind::Map(item) => {
            let entries: Map<String, Value> = ["a.b/c", "", "k"]
                .into_iter()
                .take(1 + choose.below(3) as usize)
                .filter_map(|key| Some((key.to_owned(), value(item, None, choose, depth + 1)?)))
                .collect();
            if entries.is_empty() {
                return None;
            }
            Value::Object(entries)
        }
    })
}

fn schema_or(alternative: Alternative, choose: &mut Chooser, depth: usize) -> Option<Value> {
    let other = choose.below(2) == 0 || depth > 5;
    let ty = schema().by_name(JSON_SCHEMA_PROPS)?;
    Some(match alternative {
        Alternative::Bool if other => json!(choose.below(2) == 1),
        Alternative::Strings if other => json!(["a", "b"]),
        Alternative::Schemas if other => json!([{ "type": "string" }, {}]),
        Alternative::Bool | Alternative::Strings | Alternative::Schemas => {
            object(ty, choose, depth + 1)
        }
    })
}

/// Every type that has a kind, options and events included.
pub fn kinds() -> Vec<&'static Type> {
    schema().types().iter().filter(|ty| !ty.gvks.is_empty()).collect()
}

/// Seeds for [`Chooser`].
pub fn seeds() -> impl Strategy<Value = u64> {
    any::<u64>()
}
