//! What the schema makes of a value: a leaf, fields, items by key, or a whole that has one owner.
//!
//! Source: `k8s.io/kube-openapi/pkg/schemaconv`.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use parking_lot::RwLock;
use serde_json::{Map, Value};

use crate::schema::{Field, FieldKind, ListKind, Type, settle};

use super::element::{Element, Scalar};

/// The type of a value, as far as ownership goes.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub form: Form,
    atomic: bool,
}

#[derive(Clone, Copy, Debug)]
pub enum Form {
    Scalar(Leaf),
    Struct(&'static Type),
    Map(&'static FieldKind),
    List(&'static FieldKind, Items),
    /// Whatever comes; its lists are atomic.
    Any,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaf {
    Text,
    Number,
    Truth,
    /// Any scalar.
    Any,
}

/// What tells the items of a list apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Items {
    /// Nothing: the list is one leaf.
    Atomic,
    /// Their values.
    Set,
    /// The values of these fields.
    Keys(&'static [&'static str]),
}

static ANY: FieldKind = FieldKind::Json;

impl Shape {
    /// Of what the schema says nothing of.
    pub const ANY: Self = Self { form: Form::Any, atomic: false };

    /// Of a whole object.
    pub fn of(ty: &'static Type) -> Self {
        Self::structure(ty, false)
    }

    fn structure(ty: &'static Type, atomic: bool) -> Self {
        // A type without fields says nothing of what it may hold.
        let form = if ty.fields.is_empty() { Form::Map(&ANY) } else { Form::Struct(ty) };
        Self { form, atomic }
    }

    pub fn of_field(field: &'static Field) -> Self {
        Self::new(&field.kind, Some(field))
    }

    pub fn of_kind(kind: &'static FieldKind) -> Self {
        Self::new(kind, None)
    }

    fn new(kind: &'static FieldKind, field: Option<&'static Field>) -> Self {
        let marked = field.is_some_and(|field| field.atomic);
        let leaf = |leaf| Self { form: Form::Scalar(leaf), atomic: false };
        match kind {
            FieldKind::String | FieldKind::Bytes => leaf(Leaf::Text),
            FieldKind::Bool => leaf(Leaf::Truth),
            FieldKind::Int32 | FieldKind::Int64 | FieldKind::Double => leaf(Leaf::Number),
            FieldKind::Time | FieldKind::MicroTime | FieldKind::Quantity => leaf(Leaf::Any),
            FieldKind::RawExtension => Self { form: Form::Any, atomic: true },
            FieldKind::Fields => Self { form: Form::Map(&ANY), atomic: marked },
            FieldKind::IntOrString | FieldKind::Json | FieldKind::SchemaOr(_) => {
                Self { form: Form::Any, atomic: false }
            }
            FieldKind::Object(ty) => {
                let granular = field.is_some_and(|field| field.granular);
                let ty = ty.get();
                Self::structure(ty, marked || (ty.atomic && !granular))
            }
            FieldKind::Map(item) => Self { form: Form::Map(item), atomic: marked },
            FieldKind::List(item) => {
                let items = field.map_or(Items::Atomic, items);
                Self { form: Form::List(item, items), atomic: items == Items::Atomic }
            }
        }
    }

    /// What an object of this type has before anything was set in it.
    pub fn zero(self) -> Arc<Value> {
        match self.form {
            Form::Struct(ty) => zero(ty),
            _ => Arc::new(Value::Object(Map::new())),
        }
    }

    /// Whether a whole value is one leaf. Scalars are leaves by nature and do not count.
    pub fn is_atomic(self) -> bool {
        self.atomic
    }

    /// What a value of any type turns out to be. Null may be everything.
    pub fn seen(self, value: &Value) -> Self {
        if !matches!(self.form, Form::Any) {
            return self;
        }
        let form = match value {
            Value::Null => return self,
            Value::Object(_) => return Self { form: Form::Map(&ANY), atomic: self.atomic },
            Value::Array(_) => Form::List(&ANY, Items::Atomic),
            Value::Bool(_) | Value::Number(_) | Value::String(_) => Form::Scalar(Leaf::Any),
        };
        let atomic = matches!(form, Form::List(..));
        Self { form, atomic }
    }

    /// The type of a field or of a map's value. `None`: there is no such field.
    pub fn field(self, name: &str) -> Option<Self> {
        match self.form {
            Form::Struct(ty) => ty.field(name).map(Self::of_field),
            Form::Map(item) if std::ptr::eq(item, &ANY) => {
                Some(Self { form: Form::Any, atomic: self.atomic })
            }
            Form::Map(item) => Some(Self::of_kind(item)),
            Form::Any => Some(self),
            Form::Scalar(_) | Form::List(..) => None,
        }
    }

    /// Whether this is a struct with a field of this name.
    pub fn declares(self, element: &Element<'_>) -> bool {
        match (self.form, element) {
            (Form::Struct(ty), Element::Field(name)) => ty.field(name).is_some(),
            _ => false,
        }
    }

    /// The type of what an element of a path leads to.
    pub fn below(self, element: &Element<'_>) -> Option<Self> {
        match (self.form, element) {
            (_, Element::Field(name)) => self.field(name),
            (Form::List(item, _), _) => Some(Self::of_kind(item)),
            _ => None,
        }
    }
}

fn items(field: &'static Field) -> Items {
    match &field.list {
        Some(ListKind::Atomic) => Items::Atomic,
        Some(ListKind::Set) => Items::Set,
        Some(ListKind::Map { keys }) => Items::Keys(keys),
        None if field.patch.merge => match field.patch.merge_key.as_slice() {
            [] => Items::Set,
            keys => Items::Keys(keys),
        },
        None => Items::Atomic,
    }
}

/// What tells an item of a list apart; the error says what it lacks.
///
/// Source: `typed/helpers.go` (listItemToPathElement).
pub(super) fn element_of<'a>(
    item: &'static FieldKind,
    items: Items,
    value: &'a Value,
) -> Result<Element<'a>, String> {
    match items {
        Items::Atomic => Err("invalid indexing of non-associative list".to_owned()),
        Items::Set => match value {
            Value::Object(_) => {
                Err("associative list without keys has an element that's a map type".to_owned())
            }
            Value::Array(_) => {
                Err("not supported: associative list with lists as elements".to_owned())
            }
            Value::Null => {
                Err("associative list without keys has an element that's an explicit null"
                    .to_owned())
            }
            scalar => Ok(Element::Value(Scalar::of(scalar))),
        },
        Items::Keys(keys) => keyed(item, keys, value),
    }
}

fn keyed<'a>(
    item: &'static FieldKind,
    keys: &[&'static str],
    value: &'a Value,
) -> Result<Element<'a>, String> {
    let fields = match value {
        Value::Object(fields) => fields,
        Value::Null => {
            return Err("associative list with keys may not have a null element".to_owned());
        }
        _ => return Err("associative list with keys may not have non-map elements".to_owned()),
    };
    let mut found: Vec<(Cow<'a, str>, Scalar<'a>)> = Vec::with_capacity(keys.len());
    for key in keys {
        if let Some(value) = fields.get(*key) {
            found.push(((*key).into(), Scalar::of(value)));
        } else if let Some(value) = default(item, key) {
            found.push(((*key).into(), value));
        }
    }
    if found.is_empty() {
        let keys: Vec<String> = keys.iter().map(|key| format!("{key:?}")).collect();
        return Err(format!(
            "associative list with keys has an element that omits all key fields [{}] (and doesn't have default values for any key fields)",
            keys.join(" ")
        ));
    }
    found.sort_by(|(left, _), (right, _)| left.cmp(right));
    Ok(Element::Key(found))
}

/// The value of a key that an item leaves out: what the field says, or Go's zero where it is
/// always there.
fn default(item: &'static FieldKind, key: &str) -> Option<Scalar<'static>> {
    let FieldKind::Object(ty) = item else { return None };
    let field = ty.get().field(key)?;
    if let Some(default) = &field.default {
        return Some(Scalar::of(default));
    }
    if field.omit_empty || field.pointer {
        return None;
    }
    match field.kind {
        FieldKind::String => Some(Scalar::Text("".into())),
        FieldKind::Int32 | FieldKind::Int64 => Some(Scalar::Number(0.into())),
        FieldKind::Bool => Some(Scalar::Bool(false)),
        _ => None,
    }
}

/// What an object of a type has before anything was set in it. Structs that are no pointers are
/// always there, so nobody comes to own them by setting something in them.
fn zero(ty: &'static Type) -> Arc<Value> {
    static MADE: OnceLock<RwLock<HashMap<&'static str, Arc<Value>>>> = OnceLock::new();
    let made = MADE.get_or_init(RwLock::default);
    if let Some(known) = made.read().get(&*ty.name) {
        return known.clone();
    }
    let mut zero = Value::Object(Map::new());
    settle(ty, &mut zero);
    made.write().entry(&ty.name).or_insert(Arc::new(zero)).clone()
}
