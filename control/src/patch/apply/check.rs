//! Whether an applied configuration is of its type. Nothing is let through that the schema does
//! not know: nobody could own it.
//!
//! Source: `typed/validate.go`.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::Value;

use super::element::Element;
use super::shape::{Form, Items, Leaf, Shape, element_of};

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// Built from its end.
    path: String,
    what: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Misfits(Vec<Misfit>);

impl Misfits {
    pub(super) fn one(what: impl Into<String>) -> Self {
        Self(vec![Misfit { path: String::new(), what: what.into() }])
    }

    pub(super) fn at(mut self, element: &Element<'_>) -> Self {
        if self.0.is_empty() {
            return self;
        }
        let prefix = element.to_string();
        for misfit in &mut self.0 {
            misfit.path.insert_str(0, &prefix);
        }
        self
    }

    fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.as_str() {
            "" => f.write_str(&self.what),
            path => write!(f, "{path}: {}", self.what),
        }
    }
}

impl fmt::Display for Misfits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [one] = self.0.as_slice() {
            return one.fmt(f);
        }
        f.write_str("errors:")?;
        self.0.iter().try_for_each(|misfit| write!(f, "\n  {misfit}"))
    }
}

impl std::error::Error for Misfits {}

/// All that is wrong with a value.
pub fn check(shape: Shape, value: &Value) -> Result<(), Misfits> {
    let misfits = visit(shape, value);
    if misfits.0.is_empty() { Ok(()) } else { Err(misfits) }
}

fn visit(shape: Shape, value: &Value) -> Misfits {
    let shape = shape.seen(value);
    match (shape.form, value) {
        (_, Value::Null) => Misfits::default(),
        (Form::Scalar(leaf), value) => scalar(leaf, value).map(Misfits::one).unwrap_or_default(),
        (Form::Struct(_) | Form::Map(_), Value::Object(fields)) => {
            let mut misfits = Misfits::default();
            for (name, value) in fields {
                let element = Element::field(name);
                let Some(below) = shape.field(name) else {
                    misfits.extend(Misfits::one("field not declared in schema").at(&element));
                    break;
                };
                misfits.extend(visit(below, value).at(&element));
            }
            misfits
        }
        (Form::Struct(_) | Form::Map(_), other) => {
            Misfits::one(format!("expected map, got &{{{}}}", Printed(other)))
        }
        (Form::List(item, items), Value::Array(values)) => {
            let mut misfits = Misfits::default();
            let mut seen: BTreeSet<Element<'_>> = BTreeSet::new();
            for (at, value) in values.iter().enumerate() {
                let element = match items {
                    Items::Atomic => Element::Index(at as i64),
                    items => match element_of(item, items, value) {
                        Ok(element) => element,
                        Err(why) => {
                            misfits.extend(Misfits::one(format!("element {at}: {why}")));
                            return misfits;
                        }
                    },
                };
                if items != Items::Atomic && !seen.insert(element.clone()) {
                    let what = format!("duplicate entries for key {element}");
                    misfits.extend(Misfits::one(what));
                }
                misfits.extend(visit(Shape::of_kind(item), value).at(&element));
            }
            misfits
        }
        (Form::List(..), other) => {
            Misfits::one(format!("expected list, got &{{{}}}", Printed(other)))
        }
        // A value of any type has become something else above.
        (Form::Any, _) => Misfits::default(),
    }
}

/// Source: `typed/validate.go` (validateScalar).
pub(super) fn scalar(leaf: Leaf, value: &Value) -> Option<String> {
    match (leaf, value) {
        (_, Value::Null)
        | (Leaf::Number, Value::Number(_))
        | (Leaf::Text, Value::String(_))
        | (Leaf::Truth, Value::Bool(_))
        | (Leaf::Any, Value::Number(_) | Value::String(_) | Value::Bool(_)) => None,
        (Leaf::Number, other) => {
            Some(format!("expected numeric (int or float), got {}", go_type(other)))
        }
        (Leaf::Text, other) => {
            Some(format!("expected string, got &value.valueUnstructured{{Value:{}}}", Typed(other)))
        }
        (Leaf::Truth, other) => Some(format!("expected boolean, got &{{{}}}", Printed(other))),
        (Leaf::Any, other) => Some(format!("expected any scalar, got &{{{}}}", Printed(other))),
    }
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// As Go's `%v`.
struct Printed<'a>(&'a Value);

impl fmt::Display for Printed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::Null => f.write_str("<nil>"),
            Value::String(text) => f.write_str(text),
            Value::Array(items) => {
                f.write_str("[")?;
                for (at, item) in items.iter().enumerate() {
                    let space = if at > 0 { " " } else { "" };
                    write!(f, "{space}{}", Printed(item))?;
                }
                f.write_str("]")
            }
            Value::Object(fields) => {
                f.write_str("map[")?;
                for (at, (name, value)) in fields.iter().enumerate() {
                    let space = if at > 0 { " " } else { "" };
                    write!(f, "{space}{name}:{}", Printed(value))?;
                }
                f.write_str("]")
            }
            other => write!(f, "{other}"),
        }
    }
}

/// As Go's `%#v`.
struct Typed<'a>(&'a Value);

impl fmt::Display for Typed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::Null => f.write_str("interface {}(nil)"),
            Value::String(text) => write!(f, "{text:?}"),
            Value::Array(items) => {
                f.write_str("[]interface {}{")?;
                for (at, item) in items.iter().enumerate() {
                    let comma = if at > 0 { ", " } else { "" };
                    write!(f, "{comma}{}", Typed(item))?;
                }
                f.write_str("}")
            }
            Value::Object(fields) => {
                f.write_str("map[string]interface {}{")?;
                for (at, (name, value)) in fields.iter().enumerate() {
                    let comma = if at > 0 { ", " } else { "" };
                    write!(f, "{comma}{name:?}:{}", Typed(value))?;
                }
                f.write_str("}")
            }
            other => write!(f, "{other}"),
        }
    }
}
