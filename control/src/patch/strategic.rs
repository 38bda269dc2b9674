//! Strategic merge patch: a merge patch that knows which lists are sets of named things.
//!
//! Source of the rules: `k8s.io/apimachinery/pkg/util/strategicpatch`. Where upstream's iteration
//! over a map leaves the order open, ours is the keys' order.
//!
//! Directives: `$patch: replace|delete` in an object or a list element, `$retainKeys`,
//! `$setElementOrder/FIELD`, `$deleteFromPrimitiveList/FIELD`.

use serde_json::{Map, Value};

use super::{PatchError, go_text};
use crate::schema::{Field, FieldKind, Type};

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM_LIST: &str = "$deleteFromPrimitiveList";
const SET_ORDER: &str = "$setElementOrder";
/// A list, as Go names its type.
const LIST: &str = "[]interface {}";

type Result<T> = std::result::Result<T, PatchError>;
type Object = Map<String, Value>;

/// Applies a strategic merge patch to an object of a built-in type.
pub fn strategic(ty: &Type, object: &Value, patch: &Value) -> Result<Value> {
    let (Value::Object(object), Value::Object(patch)) = (object, patch) else {
        return Err(PatchError::Malformed("invalid JSON document".to_owned()));
    };
    merge_object(Shape::Object(ty), object.clone(), patch.clone()).map(Value::Object)
}

/// What the schema says of the place that is being patched.
#[derive(Clone, Copy)]
enum Shape<'a> {
    Object(&'a Type),
    /// A map with values of one kind.
    Map(&'a FieldKind),
    /// Beyond the schema (`RawExtension`, a scalar): merged as plain JSON.
    Free,
}

/// How one field is patched.
struct Rules<'a> {
    shape: Shape<'a>,
    merge: bool,
    replace: bool,
    key: Option<&'static str>,
}

impl<'a> Shape<'a> {
    fn of(kind: &'a FieldKind) -> Self {
        match kind {
            FieldKind::Object(ty) => Self::Object(ty.get()),
            FieldKind::Map(item) => Self::Map(item),
            _ => Self::Free,
        }
    }

    /// The rules of the field `key`; for a list, the shape is its elements'.
    fn field(self, key: &str) -> Result<Rules<'a>> {
        let plain = |kind: &'a FieldKind| Rules {
            shape: Self::of(element(kind)),
            merge: false,
            replace: false,
            key: None,
        };
        match self {
            Self::Object(ty) => {
                let field: &Field = ty.field(key).ok_or_else(|| PatchError::NoField {
                    field: key.to_owned(),
                    ty: ty.short_name().to_owned(),
                })?;
                Ok(Rules {
                    merge: field.patch.merge,
                    replace: field.patch.replace,
                    key: field.patch.merge_key,
                    ..plain(&field.kind)
                })
            }
            Self::Map(item) => Ok(plain(item)),
            Self::Free => Ok(Rules { shape: Self::Free, merge: false, replace: false, key: None }),
        }
    }
}

fn element(kind: &FieldKind) -> &FieldKind {
    match kind {
        FieldKind::List(item) => item,
        kind => kind,
    }
}

fn merge_object(shape: Shape<'_>, mut original: Object, mut patch: Object) -> Result<Object> {
    match patch.get(PATCH).map(Value::as_str) {
        None => {}
        Some(Some("replace")) => {
            // The patch itself is the value.
            patch.remove(PATCH);
            return Ok(patch);
        }
        Some(Some("delete")) => return Ok(Object::new()),
        Some(_) => return Err(unknown_directive(&Value::Object(patch))),
    }
    retain_keys(&mut original, &mut patch)?;
    ordered_lists(shape, &mut original, &mut patch)?;
    for (key, patch) in patch {
        match key.strip_prefix(DELETE_FROM_LIST) {
            Some(rest) => {
                let key = rest.strip_prefix('/').ok_or(PatchError::PrimitiveList)?;
                delete_from_list(&mut original, key, &patch)?;
            }
            None => merge_field(shape, &mut original, key, patch)?,
        }
    }
    Ok(original)
}

/// `$retainKeys`: what the patch's list does not name goes.
fn retain_keys(original: &mut Object, patch: &mut Object) -> Result<()> {
    let Some(directive) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    let Value::Array(keep) = directive else { return Err(PatchError::RetainKeys) };
    let keeps = |key: &str| keep.iter().any(|kept| kept.as_str() == Some(key));
    let foreign = patch.iter().any(|(key, value)| {
        !value.is_null()
            && !key.starts_with(DELETE_FROM_LIST)
            && !key.starts_with(SET_ORDER)
            && !keeps(key)
    });
    if foreign {
        return Err(PatchError::RetainKeys);
    }
    original.retain(|key, _| keeps(key));
    Ok(())
}

/// `$setElementOrder/FIELD`: merges the list of each such field, then puts it in the order asked for.
fn ordered_lists(shape: Shape<'_>, original: &mut Object, patch: &mut Object) -> Result<()> {
    let directives: Vec<String> =
        patch.keys().filter(|key| key.starts_with(SET_ORDER)).cloned().collect();
    for directive in directives {
        let Some(order) = patch.remove(&directive) else { continue };
        let Value::Array(order) = order else {
            return Err(wrong_type(LIST, &order));
        };
        let key = directive
            .strip_prefix(SET_ORDER)
            .and_then(|rest| rest.strip_prefix('/'))
            .ok_or(PatchError::SetElementOrder)?;
        let live = original.get(key).filter(|live| !live.is_null()).map(as_list).transpose()?;
        let change = patch.remove(key).map(into_list).transpose()?;
        let rules = shape.field(key)?;
        if let Some(change) = &change {
            follows_order(change, &order, rules.key)?;
        }
        if let Some(key) = rules.key.filter(|_| live.is_some() || change.is_some()) {
            for (at, item) in order.iter().enumerate() {
                if !item.is_object() {
                    return Err(PatchError::NoMap { at });
                }
                name_of(item, key)?;
            }
        }
        let live = live.cloned();
        let merged = match (live.clone(), change) {
            (Some(live), None) => live,
            (None, Some(change)) => without_directives(change),
            (Some(live), Some(change)) if rules.merge => merge_list(&rules, live, change)?,
            (Some(_), Some(change)) => change,
            (None, None) => continue,
        };
        let ordered = in_order(merged, &order, live.as_deref().unwrap_or_default(), rules.key)?;
        original.insert(key.to_owned(), Value::Array(ordered));
    }
    Ok(())
}

/// The patch's elements must come in the order that the directive gives, and be named by it.
fn follows_order(change: &[Value], order: &[Value], key: Option<&'static str>) -> Result<()> {
    if change.is_empty() || order.is_empty() {
        return Ok(());
    }
    let mut order_left = order.iter();
    for item in change.iter().filter(|item| !has_directive(item)) {
        loop {
            let Some(next) = order_left.next() else {
                return Err(PatchError::OrderMismatch {
                    patch: go_text::list(change),
                    order: go_text::list(order),
                });
            };
            if same_identity(item, next, key)? {
                break;
            }
        }
    }
    Ok(())
}

/// `$deleteFromPrimitiveList/FIELD`: takes the listed values out of a list.
fn delete_from_list(original: &mut Object, key: &str, unwanted: &Value) -> Result<()> {
    if unwanted.is_null() {
        original.remove(key);
        return Ok(());
    }
    // A field that is no list, or absent, has nothing to lose: as upstream.
    let (Some(Value::Array(list)), Value::Array(unwanted)) = (original.get_mut(key), unwanted)
    else {
        return Ok(());
    };
    if list.iter().chain(unwanted).any(Value::is_array) {
        return Err(PatchError::ListOfLists);
    }
    let kinds = || list.iter().chain(unwanted).map(std::mem::discriminant);
    if kinds().any(|kind| Some(kind) != kinds().next()) {
        let lists = [Value::from(list.clone()), unwanted.clone().into()];
        return Err(PatchError::MixedList { lists: go_text::list(&lists) });
    }
    list.retain(|item| !unwanted.contains(item));
    Ok(())
}

fn merge_field(shape: Shape<'_>, original: &mut Object, key: String, patch: Value) -> Result<()> {
    if patch.is_null() {
        original.remove(&key);
        return Ok(());
    }
    let merged = match (original.remove(&key), patch) {
        (Some(Value::Object(live)), Value::Object(change)) => {
            let rules = shape.field(&key)?;
            Some(Value::Object(if rules.replace {
                change
            } else {
                merge_object(rules.shape, live, change)?
            }))
        }
        (Some(Value::Array(live)), Value::Array(change)) => {
            let rules = shape.field(&key)?;
            Some(Value::Array(if rules.merge { merge_list(&rules, live, change)? } else { change }))
        }
        // New, or of another type: the patch's value counts.
        (_, mut change) => {
            drop_nulls(&mut change);
            without_directive(change)
        }
    };
    if let Some(merged) = merged {
        original.insert(key, merged);
    }
    Ok(())
}

fn merge_list(rules: &Rules<'_>, live: Vec<Value>, change: Vec<Value>) -> Result<Vec<Value>> {
    let mut all = live.iter().chain(&change);
    let Some(first) = all.next() else { return Ok(live) };
    if first.is_array() {
        return Err(PatchError::ListOfLists);
    }
    if all.any(|item| std::mem::discriminant(item) != std::mem::discriminant(first)) {
        return Err(PatchError::MixedList { lists: go_text::list(&[live.into(), change.into()]) });
    }
    if !first.is_object() {
        return merge_scalars(live, change);
    }
    let Some(key) = rules.key else {
        return Err(PatchError::MergeWithoutKey("struct".to_owned()));
    };
    let (live, change) = take_special_elements(live, change, key)?;
    let mut merged = live.clone();
    for item in &change {
        merge_element(rules, &mut merged, item, key)?;
    }
    in_order(merged, &change, &live, Some(key))
}

fn merge_scalars(live: Vec<Value>, change: Vec<Value>) -> Result<Vec<Value>> {
    let mut merged: Vec<Value> = Vec::with_capacity(live.len() + change.len());
    for item in live.iter().chain(&change) {
        if !merged.contains(item) {
            merged.push(item.clone());
        }
    }
    in_order(merged, &change, &live, None)
}

fn merge_element(
    rules: &Rules<'_>,
    merged: &mut Vec<Value>,
    change: &Value,
    key: &'static str,
) -> Result<()> {
    let name = name_of(change, key)?;
    let found = merged.iter_mut().find(|item| item.get(key) == Some(name));
    match (found, change) {
        (Some(Value::Object(live)), Value::Object(change)) => {
            *live = merge_object(rules.shape, std::mem::take(live), change.clone())?;
        }
        _ => merged.push(change.clone()),
    }
    Ok(())
}

/// Elements with `$patch`: `delete` takes the element of that name out of the live list, one
/// `replace` empties it.
fn take_special_elements(
    mut live: Vec<Value>,
    change: Vec<Value>,
    key: &'static str,
) -> Result<(Vec<Value>, Vec<Value>)> {
    let mut plain = Vec::with_capacity(change.len());
    let mut replace = false;
    for item in change {
        match item.get(PATCH).map(|directive| directive.as_str()) {
            None => plain.push(item),
            Some(Some("delete")) => {
                let name = name_of(&item, key)?;
                live.retain(|live| live.get(key) != Some(name));
            }
            Some(Some("replace")) => replace = true,
            Some(Some("merge")) => return Err(PatchError::MergeDirectiveInList),
            Some(_) => {
                return Err(unknown_directive(&item));
            }
        }
    }
    Ok(if replace { (plain, Vec::new()) } else { (live, plain) })
}

/// Puts a list in order: what `order` names in its order, the rest in the live order, the two
/// interleaved so that neither order breaks and the live order decides where it can.
fn in_order(
    items: Vec<Value>,
    order: &[Value],
    live: &[Value],
    key: Option<&'static str>,
) -> Result<Vec<Value>> {
    let mut named = Vec::new();
    let mut others = Vec::new();
    for item in items {
        if let Some(key) = key {
            name_of(&item, key)?;
        }
        match place(order, &item, key) {
            Some(at) => named.push((at, place(live, &item, key), item)),
            None => others.push((place(live, &item, key), item)),
        }
    }
    named.sort_by_key(|(at, ..)| *at);
    // What neither list knows comes first, as a place of -1 does upstream.
    others.sort_by_key(|(at, _)| *at);

    let mut ordered = Vec::with_capacity(named.len() + others.len());
    let mut named = named.into_iter().peekable();
    for (other_at, other) in others {
        while let Some((_, named_at, _)) = named.peek() {
            if matches!((other_at, named_at), (Some(other), Some(named)) if other < *named) {
                break;
            }
            ordered.extend(named.next().map(|(_, _, item)| item));
        }
        ordered.push(other);
    }
    ordered.extend(named.map(|(_, _, item)| item));
    Ok(ordered)
}

/// Where an item stands in a list: by its name, or as a whole where names are not used.
fn place(list: &[Value], item: &Value, key: Option<&str>) -> Option<usize> {
    match key {
        Some(key) => {
            let name = item.get(key)?;
            list.iter().position(|other| other.get(key) == Some(name))
        }
        None => list.iter().position(|other| other == item),
    }
}

fn same_identity(left: &Value, right: &Value, key: Option<&'static str>) -> Result<bool> {
    match key {
        Some(key) => Ok(name_of(left, key)? == name_of(right, key)?),
        None => Ok(left == right),
    }
}

/// The value of an element's merge key.
fn name_of<'a>(item: &'a Value, key: &'static str) -> Result<&'a Value> {
    let Value::Object(map) = item else { return Err(wrong_type("map[string]interface {}", item)) };
    map.get(key).ok_or_else(|| PatchError::NoMergeKey { map: go_text::value(item), key })
}

fn has_directive(value: &Value) -> bool {
    value.get(PATCH).is_some()
}

/// A value new to the object: nothing to apply its directives to, so what bears one goes.
fn without_directive(value: Value) -> Option<Value> {
    match value {
        Value::Object(map) if map.contains_key(PATCH) => None,
        Value::Object(map) => Some(Value::Object(
            map.into_iter()
                .filter_map(|(key, value)| Some((key, without_directive(value)?)))
                .collect(),
        )),
        Value::Array(items) => Some(Value::Array(without_directives(items))),
        value => Some(value),
    }
}

fn without_directives(items: Vec<Value>) -> Vec<Value> {
    items.into_iter().filter_map(without_directive).collect()
}

/// A null in a new value deletes nothing and says nothing.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

fn as_list(value: &Value) -> Result<&Vec<Value>> {
    value.as_array().ok_or_else(|| wrong_type(LIST, value))
}

fn into_list(value: Value) -> Result<Vec<Value>> {
    match value {
        Value::Array(items) => Ok(items),
        other => Err(wrong_type(LIST, &other)),
    }
}

fn wrong_type(expected: &'static str, received: &Value) -> PatchError {
    PatchError::WrongType { expected, received: go_text::kind(received) }
}

fn unknown_directive(map: &Value) -> PatchError {
    let directive = match &map[PATCH] {
        Value::String(text) => text.clone(),
        // As Go prints with `%s` what is no text.
        other => format!("%!s({}={})", go_text::kind(other), go_text::value(other)),
    };
    PatchError::UnknownDirective { directive, map: go_text::value(map) }
}

#[cfg(test)]
mod tests;
