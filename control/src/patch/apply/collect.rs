//! The set of what a configuration names: its leaves, and the items of its lists and maps.
//!
//! Source: `typed/tofieldset.go`.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::schema::FieldKind;

use super::element::Element;
use super::set::{Node, Set};
use super::shape::{Form, Items, Shape, element_of};

/// The paths of a value that was checked. An item that cannot be told apart is left out.
pub fn collect(shape: Shape, value: &Value) -> Set<'_> {
    visit(shape, value).1
}

/// Whether the value itself is a leaf, and what is below it.
fn visit(shape: Shape, value: &Value) -> (bool, Set<'_>) {
    let shape = shape.seen(value);
    if shape.is_atomic() {
        return (true, Set::default());
    }
    match (shape.form, value) {
        (Form::Scalar(_), _) => (true, Set::default()),
        (Form::Struct(_) | Form::Map(_), Value::Object(fields)) => {
            let mut set = Set::default();
            for (name, value) in fields {
                let element = Element::field(name);
                let declared = shape.declares(&element);
                let (leaf, below) =
                    shape.field(name).map_or((false, Set::default()), |shape| visit(shape, value));
                let empty = value.is_null() || value.as_object().is_some_and(|map| map.is_empty());
                set.put(element, leaf || empty || !declared, below);
            }
            (false, set)
        }
        (Form::List(item, items), Value::Array(values)) => (false, members(item, items, values)),
        _ => (false, Set::default()),
    }
}

/// The items of a list. One that stands more than once is owned as a whole.
fn members<'a>(item: &'static FieldKind, items: Items, values: &'a [Value]) -> Set<'a> {
    let mut found: BTreeMap<Element<'a>, Vec<&'a Value>> = BTreeMap::new();
    for value in values {
        if let Ok(element) = element_of(item, items, value) {
            found.entry(element).or_default().push(value);
        }
    }
    let nodes = found.into_iter().map(|(element, values)| {
        let children = match values.as_slice() {
            [one] => visit(Shape::of_kind(item), one).1,
            _ => Set::default(),
        };
        Node { element, member: true, children }
    });
    Set::of_nodes(nodes.collect())
}
