//! Merges an applied configuration into the live object: fields and items of the configuration win,
//! nothing is taken away.
//!
//! Source: `typed/merge.go`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::{Map, Value};

use crate::schema::FieldKind;

use super::element::Element;
use super::shape::{Form, Items, Shape, element_of};

/// The live object with the configuration in it. Both have been checked.
pub fn merge(shape: Shape, live: &Value, config: &Value) -> Value {
    visit(shape, Some(live), Some(config)).unwrap_or(Value::Null)
}

type Side<'a> = Option<&'a Value>;

/// `None`: nothing is left on either side.
fn visit(shape: Shape, live: Side<'_>, config: Side<'_>) -> Option<Value> {
    let winner = || config.or(live).cloned();
    let shape = match config.or(live) {
        Some(value) => shape.seen(value),
        None => return None,
    };
    if shape.is_atomic() {
        return winner();
    }
    match shape.form {
        Form::Scalar(_) => winner(),
        Form::List(item, items) => {
            let values = |side: Side<'_>| {
                side.and_then(Value::as_array).is_some_and(|list| !list.is_empty())
            };
            if !values(live) && !values(config) {
                return winner();
            }
            list(item, items, live, config)
        }
        Form::Struct(_) | Form::Map(_) | Form::Any => {
            let fields =
                |side: Side<'_>| side.and_then(Value::as_object).is_some_and(|map| !map.is_empty());
            if !fields(live) && !fields(config) {
                return winner();
            }
            map(shape, live, config)
        }
    }
}

fn map(shape: Shape, live: Side<'_>, config: Side<'_>) -> Option<Value> {
    let empty = Map::new();
    let live = live.and_then(Value::as_object).unwrap_or(&empty);
    let config = config.and_then(Value::as_object).unwrap_or(&empty);
    let names = live.keys().chain(config.keys().filter(|name| !live.contains_key(*name)));
    let mut merged = Map::new();
    for name in names {
        let (live, config) = (live.get(name), config.get(name));
        let value = match shape.field(name) {
            Some(shape) => visit(shape, live, config),
            None => config.or(live).cloned(),
        };
        if let Some(value) = value {
            merged.insert(name.clone(), value);
        }
    }
    (!merged.is_empty()).then_some(Value::Object(merged))
}

/// One side's items in their order. Of an item that stands more than once, nothing is merged.
struct Indexed<'a> {
    order: Vec<(Element<'a>, &'a Value)>,
    by_element: BTreeMap<Element<'a>, &'a Value>,
}

impl<'a> Indexed<'a> {
    fn new(item: &'static FieldKind, items: Items, side: Side<'a>) -> Self {
        let values = side.and_then(Value::as_array).into_iter().flatten();
        let order: Vec<(Element<'a>, &'a Value)> = values
            .filter_map(|value| Some((element_of(item, items, value).ok()?, value)))
            .collect();
        let mut by_element = BTreeMap::new();
        for (element, value) in &order {
            let known = by_element.contains_key(element);
            by_element.insert(element.clone(), if known { &Value::Null } else { *value });
        }
        Self { order, by_element }
    }
}

/// Items of the configuration stand in its order; an item of the live list alone stands before the
/// shared item that it stood before.
fn list(item: &'static FieldKind, items: Items, live: Side<'_>, config: Side<'_>) -> Option<Value> {
    let live = Indexed::new(item, items, live);
    let config = Indexed::new(item, items, config);
    let mut shared: VecDeque<&Element<'_>> = config
        .order
        .iter()
        .map(|(element, _)| element)
        .filter(|element| live.by_element.contains_key(*element))
        .collect();
    let mut next = shared.pop_front();
    let shape = Shape::of_kind(item);
    let mut done: BTreeSet<&Element<'_>> = BTreeSet::new();
    let mut merged = Vec::with_capacity(live.order.len().max(config.order.len()));
    let (mut left, mut right) = (0, 0);
    while left < live.order.len() || right < config.order.len() {
        let (ours, theirs) = (live.order.get(left), config.order.get(right));
        if let (Some((ours, _)), Some((theirs, value))) = (ours, theirs) {
            if ours == theirs {
                done.insert(theirs);
                merged.extend(visit(shape, live.by_element.get(ours).copied(), Some(value)));
                left += 1;
                right += 1;
                next = shared.pop_front();
                continue;
            }
            // Shared, but not the one whose turn it is: the configuration says when it comes.
            if config.by_element.contains_key(ours) && next.is_some_and(|next| next != ours) {
                left += 1;
                continue;
            }
        }
        if let Some((ours, value)) = ours {
            if !config.by_element.contains_key(ours) {
                merged.extend(visit(shape, Some(value), None));
                left += 1;
                continue;
            }
            if done.contains(ours) {
                left += 1;
            }
        }
        if let Some((theirs, value)) = theirs {
            done.insert(theirs);
            merged.extend(visit(shape, live.by_element.get(theirs).copied(), Some(value)));
            right += 1;
            if next == Some(theirs) {
                next = shared.pop_front();
            }
        }
    }
    (!merged.is_empty()).then_some(Value::Array(merged))
}
