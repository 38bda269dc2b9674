//! One step of a path: a field, an item of a list by its keys or by its value, or an index.
//!
//! Source: `fieldpath/{element,serialize-pe}.go` and the order of `value/value.go`.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

use serde_json::{Number, Value};

/// The order of the variants is the order of the text form.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Element<'a> {
    /// A struct's field, or a map's key.
    Field(Cow<'a, str>),
    /// The item of a list whose keys have these values. Sorted by key.
    Key(Vec<(Cow<'a, str>, Scalar<'a>)>),
    /// The member of a set.
    Value(Scalar<'a>),
    /// The item of an atomic list; only in errors.
    Index(i64),
}

/// The value of a key or of a set's member.
#[derive(Clone, Debug)]
pub enum Scalar<'a> {
    Number(Number),
    Text(Cow<'a, str>),
    Bool(bool),
    /// What no built-in list has: a list, a map or null.
    Other(Cow<'a, Value>),
}

/// A path from the object's root, for messages.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path<'a>(pub Vec<Element<'a>>);

impl<'a> Element<'a> {
    pub fn field(name: impl Into<Cow<'a, str>>) -> Self {
        Self::Field(name.into())
    }

    /// The text form, as a key of `fieldsV1`, without JSON's escapes.
    pub fn text(&self) -> String {
        match self {
            Self::Field(name) => format!("f:{name}"),
            Self::Key(keys) => {
                let mut text = "k:{".to_owned();
                for (at, (name, value)) in keys.iter().enumerate() {
                    if at > 0 {
                        text.push(',');
                    }
                    push_json(&mut text, name);
                    text.push(':');
                    value.push(&mut text);
                }
                text.push('}');
                text
            }
            Self::Value(value) => {
                let mut text = "v:".to_owned();
                value.push(&mut text);
                text
            }
            Self::Index(index) => format!("i:{index}"),
        }
    }

    /// Reads the text form. `Ok(None)`: of a sort that a later version may know.
    pub fn parse(text: Cow<'a, str>) -> Result<Option<Self>, String> {
        let bytes = text.as_bytes();
        if bytes.len() < 2 {
            return Err("key must be 2 characters long:".to_owned());
        }
        if bytes[1] != b':' {
            return Err(format!("missing colon: {text}"));
        }
        Ok(Some(match bytes[0] {
            b'f' => Self::Field(match text {
                Cow::Borrowed(text) => Cow::Borrowed(&text[2..]),
                Cow::Owned(mut text) => Cow::Owned(text.split_off(2)),
            }),
            b'v' => Self::Value(Scalar::owned(json(&text[2..])?)),
            b'k' => {
                let Value::Object(fields) = json(&text[2..])? else {
                    return Err(format!("keys are no object: {text}"));
                };
                let keys = fields.into_iter();
                Self::Key(keys.map(|(name, value)| (name.into(), Scalar::owned(value))).collect())
            }
            b'i' => Self::Index(text[2..].parse().map_err(|_| format!("no index: {text}"))?),
            _ => return Ok(None),
        }))
    }
}

fn json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

fn push_json(text: &mut String, value: &(impl serde::Serialize + ?Sized)) {
    text.push_str(&serde_json::to_string(value).expect("text and values are JSON"));
}

impl<'a> Scalar<'a> {
    pub fn of(value: &'a Value) -> Self {
        match value {
            Value::Number(number) => Self::Number(number.clone()),
            Value::String(text) => Self::Text(text.as_str().into()),
            Value::Bool(truth) => Self::Bool(*truth),
            other => Self::Other(Cow::Borrowed(other)),
        }
    }

    fn owned(value: Value) -> Self {
        match value {
            Value::Number(number) => Self::Number(number),
            Value::String(text) => Self::Text(text.into()),
            Value::Bool(truth) => Self::Bool(truth),
            other => Self::Other(Cow::Owned(other)),
        }
    }

    fn push(&self, text: &mut String) {
        match self {
            Self::Number(number) => push_json(text, number),
            Self::Text(value) => push_json(text, value),
            Self::Bool(truth) => push_json(text, truth),
            Self::Other(value) => push_json(text, value),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Number(_) => 0,
            Self::Text(_) => 1,
            Self::Bool(_) => 2,
            Self::Other(value) if value.is_array() => 3,
            Self::Other(value) if value.is_object() => 4,
            Self::Other(_) => 5,
        }
    }
}

/// Numbers in their order, whether whole or not. Total, so that it can sort.
pub(super) fn order(left: &Number, right: &Number) -> Ordering {
    let (left, right) = (place(left), place(right));
    left.0.partial_cmp(&right.0).unwrap_or(Ordering::Equal).then(left.1.cmp(&right.1))
}

/// As a float, and as the whole number that tells large ones apart that are the same float.
fn place(number: &Number) -> (f64, i128) {
    let whole = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
    let float = number.as_f64().unwrap_or_default();
    (float, whole.unwrap_or(float as i128))
}

impl Ord for Scalar<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Number(left), Self::Number(right)) => order(left, right),
            (Self::Text(left), Self::Text(right)) => left.cmp(right),
            (Self::Bool(left), Self::Bool(right)) => left.cmp(right),
            (Self::Other(left), Self::Other(right)) if self.rank() == other.rank() => {
                left.to_string().cmp(&right.to_string())
            }
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Scalar<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Scalar<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Scalar<'_> {}

impl fmt::Display for Scalar<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Bool(truth) => write!(f, "{truth}"),
            Self::Other(value) => write!(f, "{value}"),
        }
    }
}

impl fmt::Display for Element<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => write!(f, ".{name}"),
            Self::Key(keys) => {
                f.write_str("[")?;
                for (at, (name, value)) in keys.iter().enumerate() {
                    let comma = if at > 0 { "," } else { "" };
                    write!(f, "{comma}{name}={value}")?;
                }
                f.write_str("]")
            }
            Self::Value(value) => write!(f, "[={value}]"),
            Self::Index(index) => write!(f, "[{index}]"),
        }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|element| write!(f, "{element}"))
    }
}
