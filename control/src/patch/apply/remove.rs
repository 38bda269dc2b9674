//! Takes fields and items away.
//!
//! Source: `typed/remove.go`.

use serde_json::{Map, Value};

use crate::schema::FieldKind;

use super::element::Element;
use super::set::Set;
use super::shape::{Form, Items, Shape, element_of};

/// The value without these paths. What lies within an atomic value stays.
pub fn remove(shape: Shape, value: &Value, paths: &Set<'_>) -> Value {
    if paths.is_empty() {
        return value.clone();
    }
    let shape = shape.seen(value);
    match (shape.form, value) {
        // An atomic value goes when something within it does; only old sets name such a thing.
        (Form::Struct(_) | Form::Map(_) | Form::List(..), Value::Object(_) | Value::Array(_))
            if shape.is_atomic() =>
        {
            empty_like(value)
        }
        (Form::Struct(_) | Form::Map(_), Value::Object(fields)) => map(shape, fields, paths),
        (Form::List(item, items), Value::Array(values)) => list(item, items, values, paths),
        _ => value.clone(),
    }
}

fn empty_like(value: &Value) -> Value {
    match value {
        Value::Array(_) => Value::Array(Vec::new()),
        _ => Value::Object(Map::new()),
    }
}

fn map(shape: Shape, fields: &Map<String, Value>, paths: &Set<'_>) -> Value {
    let mut left = Map::new();
    for (name, value) in fields {
        let node = paths.get(&Element::field(name));
        if node.is_some_and(|node| node.member) {
            continue;
        }
        let value = match (node, shape.field(name)) {
            (Some(node), Some(shape)) => remove(shape, value, &node.children),
            _ => value.clone(),
        };
        left.insert(name.clone(), value);
    }
    Value::Object(left)
}

fn list(item: &'static FieldKind, items: Items, values: &[Value], paths: &Set<'_>) -> Value {
    let mut left = Vec::with_capacity(values.len());
    for value in values {
        let element = element_of(item, items, value).ok();
        let node = element.as_ref().and_then(|element| paths.get(element));
        match node {
            Some(node) if node.member => {}
            Some(node) => left.push(remove(Shape::of_kind(item), value, &node.children)),
            None => left.push(value.clone()),
        }
    }
    Value::Array(left)
}
