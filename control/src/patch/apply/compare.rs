//! What differs between two objects of a type: paths that were removed, modified, added.
//!
//! Source: `typed/compare.go`.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::schema::FieldKind;

use super::check::{Misfits, scalar};
use super::element::{Element, order};
use super::set::{Keep, Node, Set};
use super::shape::{Form, Items, Shape, element_of};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison<'a> {
    pub removed: Set<'a>,
    pub modified: Set<'a>,
    pub added: Set<'a>,
}

impl<'a> Comparison<'a> {
    pub fn is_same(&self) -> bool {
        self.removed.is_empty() && self.modified.is_empty() && self.added.is_empty()
    }

    /// What the new object says that the old one did not.
    pub fn set(&self) -> Set<'a> {
        self.modified.union(&self.added)
    }

    /// The same, of a comparison that is not looked at again.
    pub fn into_set(self) -> Set<'a> {
        if self.modified.is_empty() { self.added } else { self.set() }
    }

    pub fn kept(self, keep: Keep<'_>) -> Self {
        Self {
            removed: self.removed.kept(keep),
            modified: self.modified.kept(keep),
            added: self.added.kept(keep),
        }
    }
}

/// # Errors
/// Where an item of a list cannot be told apart from others.
pub fn compare<'a>(
    shape: Shape,
    old: &'a Value,
    new: &'a Value,
) -> Result<Comparison<'a>, Misfits> {
    let found = visit(shape, Some(old), Some(new))?;
    Ok(Comparison {
        removed: found.removed.below,
        modified: found.modified.below,
        added: found.added.below,
    })
}

/// Whether two values are the same, however their numbers are written.
pub fn equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => order(left, right).is_eq(),
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len()
                && left.iter().zip(right).all(|(left, right)| equal(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .zip(right)
                    .all(|((name, left), (other, right))| name == other && equal(left, right))
        }
        _ => left == right,
    }
}

/// What is known of one place: whether it counts itself, and what does below it.
#[derive(Default)]
struct Mark<'a> {
    here: bool,
    below: Set<'a>,
}

#[derive(Default)]
struct Found<'a> {
    removed: Mark<'a>,
    modified: Mark<'a>,
    added: Mark<'a>,
}

/// The levels below a place, while they are gathered.
#[derive(Default)]
struct Levels<'a> {
    removed: Vec<Node<'a>>,
    modified: Vec<Node<'a>>,
    added: Vec<Node<'a>>,
}

impl<'a> Mark<'a> {
    const HERE: Self = Self { here: true, below: Set::EMPTY };

    fn push(self, element: &Element<'a>, nodes: &mut Vec<Node<'a>>) {
        if self.here || !self.below.is_empty() {
            let element = element.clone();
            nodes.push(Node { element, member: self.here, children: self.below });
        }
    }
}

impl<'a> Levels<'a> {
    fn push(&mut self, element: &Element<'a>, found: Found<'a>) {
        found.removed.push(element, &mut self.removed);
        found.modified.push(element, &mut self.modified);
        found.added.push(element, &mut self.added);
    }

    fn done(self) -> Found<'a> {
        let mark = |nodes| Mark { here: false, below: Set::of_nodes(nodes) };
        Found {
            removed: mark(self.removed),
            modified: mark(self.modified),
            added: mark(self.added),
        }
    }
}

type Side<'a> = Option<&'a Value>;

fn visit<'a>(shape: Shape, old: Side<'a>, new: Side<'a>) -> Result<Found<'a>, Misfits> {
    if let (Some(old), Some(new)) = (old, new)
        && old == new
    {
        return Ok(Found::default());
    }
    let seen = |side: Side<'_>| side.map_or(shape, |value| shape.seen(value));
    // Where a value of any type has changed its type, it is looked at as both.
    let (before, after) = (seen(old), seen(new));
    let mut found = level(if new.is_some() { after } else { before }, old, new)?;
    let both = old.is_some() && new.is_some();
    if both && std::mem::discriminant(&before.form) != std::mem::discriminant(&after.form) {
        let other = level(before, old, new)?;
        for (mine, other) in [
            (&mut found.removed, other.removed),
            (&mut found.modified, other.modified),
            (&mut found.added, other.added),
        ] {
            mine.here |= other.here;
            mine.below = mine.below.union(&other.below);
        }
    }
    Ok(found)
}

fn level<'a>(shape: Shape, old: Side<'a>, new: Side<'a>) -> Result<Found<'a>, Misfits> {
    let nothing = |side: Side<'_>, is_empty: fn(&Value) -> bool| side.is_none_or(is_empty);
    let mut found = match shape.form {
        _ if shape.is_atomic() => return Ok(leaf(old, new)),
        Form::Scalar(kind) => {
            let wrong = |side: Side<'_>| side.and_then(|value| scalar(kind, value));
            if let (Some(why), Some(_)) = (wrong(old), wrong(new)) {
                return Err(Misfits::one(format!("lhs: {why}")));
            }
            return Ok(leaf(old, new));
        }
        Form::List(item, items) => {
            let empty = |value: &Value| value.as_array().is_none_or(Vec::is_empty);
            if nothing(old, empty) && nothing(new, empty) {
                return Ok(leaf(old, new));
            }
            list(item, items, old, new)?
        }
        Form::Struct(_) | Form::Map(_) | Form::Any => {
            let empty = |value: &Value| value.as_object().is_none_or(|map| map.is_empty());
            if nothing(old, empty) && nothing(new, empty) {
                return Ok(leaf(old, new));
            }
            fields(shape, old, new)?
        }
    };
    found.added.here |= old.is_none();
    found.removed.here |= new.is_none();
    Ok(found)
}

fn leaf<'a>(old: Side<'a>, new: Side<'a>) -> Found<'a> {
    let mut found = Found::default();
    match (old, new) {
        (None, _) => found.added = Mark::HERE,
        (_, None) => found.removed = Mark::HERE,
        (Some(old), Some(new)) if !equal(old, new) => found.modified = Mark::HERE,
        _ => {}
    }
    found
}

fn fields<'a>(shape: Shape, old: Side<'a>, new: Side<'a>) -> Result<Found<'a>, Misfits> {
    let mut levels = Levels::default();
    let mut visit_field = |name: &'a str, old: Side<'a>, new: Side<'a>| {
        let element = Element::field(name);
        // What the schema has forgotten meanwhile is told apart all the same.
        let shape = shape.field(name).unwrap_or(Shape::ANY);
        let found = visit(shape, old, new).map_err(|misfits| misfits.at(&element))?;
        levels.push(&element, found);
        Ok(())
    };
    let map = |side: Side<'a>| side.and_then(Value::as_object).into_iter().flatten().peekable();
    let (mut left, mut right) = (map(old), map(new));
    loop {
        match (left.peek(), right.peek()) {
            (None, None) => return Ok(levels.done()),
            (Some((name, value)), other) if other.is_none_or(|(other, _)| name < other) => {
                visit_field(name, Some(value), None)?;
                left.next();
            }
            (one, Some((name, value))) if one.is_none_or(|(one, _)| one > name) => {
                visit_field(name, None, Some(value))?;
                right.next();
            }
            _ => {
                if let (Some((name, old)), Some((_, new))) = (left.next(), right.next()) {
                    visit_field(name, Some(old), Some(new))?;
                }
            }
        }
    }
}

/// The items of both sides that an element names.
type Items2<'a> = (Vec<&'a Value>, Vec<&'a Value>);

fn list<'a>(
    item: &'static FieldKind,
    items: Items,
    old: Side<'a>,
    new: Side<'a>,
) -> Result<Found<'a>, Misfits> {
    let values = |side: Side<'a>| side.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let mut found: BTreeMap<Element<'a>, Items2<'a>> = BTreeMap::new();
    for (side, values) in [values(old), values(new)].into_iter().enumerate() {
        for (at, value) in values.iter().enumerate() {
            let element = element_of(item, items, value)
                .map_err(|why| Misfits::one(format!("element {at}: {why}")))?;
            let both = found.entry(element).or_default();
            if side == 0 { both.0.push(value) } else { both.1.push(value) }
        }
    }
    let shape = Shape::of_kind(item);
    let mut levels = Levels::default();
    for (element, (old, new)) in found {
        let found = one_item(shape, &old, &new).map_err(|misfits| misfits.at(&element))?;
        levels.push(&element, found);
    }
    Ok(levels.done())
}

/// An item that stands more than once is one leaf with all its occurrences.
fn one_item<'a>(shape: Shape, old: &[&'a Value], new: &[&'a Value]) -> Result<Found<'a>, Misfits> {
    match (old, new) {
        ([] | [_], [] | [_]) => visit(shape, old.first().copied(), new.first().copied()),
        ([_, _, ..], [_, _, ..]) => {
            let same =
                old.len() == new.len() && old.iter().zip(new).all(|(old, new)| equal(old, new));
            let modified = if same { Mark::default() } else { Mark::HERE };
            Ok(Found { modified, ..Found::default() })
        }
        (_, [] | [_]) => {
            let mut found = match new.first() {
                Some(new) => visit(shape, None, Some(new))?,
                None => Found::default(),
            };
            found.removed.here = true;
            Ok(found)
        }
        ([] | [_], _) => {
            let mut found = match old.first() {
                Some(old) => visit(shape, Some(old), None)?,
                None => Found::default(),
            };
            found.added.here = true;
            Ok(found)
        }
    }
}
