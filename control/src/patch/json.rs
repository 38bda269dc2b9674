//! JSON patch: RFC 6902, as upstream reads it, which forgives more: what a map does not have may be
//! replaced, tested for null and copied as null, and an index may count from the end.
//!
//! Source: `gopkg.in/evanphx/json-patch.v4`.

use serde_json::{Map, Value};

use super::PatchError;

/// Upstream's `maxJSONPatchOperations`.
const OPERATIONS_MAX: usize = 10_000;
/// What `copy` may add to an object: upstream's limit too is its limit on a request's size.
const GROWTH_BYTES_MAX: usize = 3 * 1024 * 1024;

/// Applies a JSON patch, all of it or nothing.
pub fn json(object: &Value, patch: &Value) -> Result<Value, PatchError> {
    let malformed = || PatchError::Malformed("a JSON patch is a list of objects".to_owned());
    let operations = patch.as_array().ok_or_else(malformed)?;
    let operations: Option<Vec<_>> = operations.iter().map(Value::as_object).collect();
    let operations = operations.ok_or_else(malformed)?;
    let got = operations.len();
    if got > OPERATIONS_MAX {
        return Err(PatchError::TooLong { max: OPERATIONS_MAX, got });
    }
    let mut patched = object.clone();
    let mut copied = 0;
    for operation in operations {
        apply(&mut patched, operation, &mut copied).map_err(PatchError::Unprocessable)?;
    }
    Ok(patched)
}

/// `copied`: how much all copies have added so far. The error says why it cannot be done.
fn apply(
    object: &mut Value,
    operation: &Map<String, Value>,
    copied: &mut usize,
) -> Result<(), String> {
    let text = |field: &str| {
        let text = operation.get(field).and_then(Value::as_str);
        text.ok_or_else(|| format!("the operation has no {field}"))
    };
    let value = operation.get("value");
    match text("op")? {
        "add" => Place::find(object, text("path")?)?.add(value.cloned().unwrap_or_default()),
        "remove" => Place::find(object, text("path")?)?.remove(),
        "replace" => replace(object, text("path")?, value),
        "test" => test(object, text("path")?, value),
        "move" => {
            let from = Place::find(object, text("from")?)?;
            let value = from.get()?.cloned().unwrap_or_default();
            from.remove()?;
            Place::find(object, text("path")?)?.add(value)
        }
        "copy" => {
            let value = Place::find(object, text("from")?)?.get()?.cloned().unwrap_or_default();
            let place = Place::find(object, text("path")?)?;
            *copied += size(&value);
            if *copied > GROWTH_BYTES_MAX {
                return Err(format!(
                    "all copies add {copied} bytes, more than {GROWTH_BYTES_MAX} of them"
                ));
            }
            place.add(value)
        }
        other => Err(format!("there is no operation {other:?}")),
    }
}

fn replace(object: &mut Value, path: &str, value: Option<&Value>) -> Result<(), String> {
    if path.is_empty() {
        let whole = value.filter(|value| value.is_object() || value.is_array());
        *object = whole.ok_or("the whole becomes an object or a list")?.clone();
        return Ok(());
    }
    let place = Place::find(object, path)?;
    place.get()?;
    place.set(value.cloned().unwrap_or_default())
}

fn test(object: &mut Value, path: &str, value: Option<&Value>) -> Result<(), String> {
    let is_null = |value: Option<&Value>| value.is_none_or(Value::is_null);
    let is = |found| found == value || is_null(found) && is_null(value);
    let holds =
        if path.is_empty() { is(Some(object)) } else { is(Place::find(object, path)?.get()?) };
    if holds { Ok(()) } else { Err(format!("the test of {path:?} fails")) }
}

/// A place in a map or in a list, whether something stands there or not.
struct Place<'a> {
    within: Within<'a>,
    /// The last part of the path.
    key: String,
}

enum Within<'a> {
    Map(&'a mut Map<String, Value>),
    List(&'a mut Vec<Value>),
}

impl<'a> Place<'a> {
    /// What stands before the path's first slash says nothing.
    fn find(object: &'a mut Value, path: &str) -> Result<Self, String> {
        let missing = || format!("there is no {path:?}");
        let (_, inside) = path.split_once('/').ok_or_else(missing)?;
        let (parents, key) = inside.rsplit_once('/').unwrap_or(("", inside));
        let mut within = object;
        for part in parents.split('/').filter(|_| inside.len() > key.len()) {
            let part = decoded(part);
            let next = match within {
                Value::Object(map) => map.get_mut(&part),
                Value::Array(list) => {
                    let at = index(&part, list.len())?;
                    list.get_mut(at)
                }
                _ => None,
            };
            within = next.ok_or_else(missing)?;
        }
        let within = match within {
            Value::Object(map) => Within::Map(map),
            Value::Array(list) => Within::List(list),
            _ => return Err(missing()),
        };
        Ok(Self { within, key: decoded(key) })
    }

    /// What stands there. A list is refused a place that it does not have.
    fn get(&self) -> Result<Option<&Value>, String> {
        match &self.within {
            Within::Map(map) => Ok(map.get(&self.key)),
            Within::List(list) => Ok(list.get(index(&self.key, list.len())?)),
        }
    }

    fn set(self, value: Value) -> Result<(), String> {
        match self.within {
            Within::Map(map) => drop(map.insert(self.key, value)),
            Within::List(list) => {
                let at = index(&self.key, list.len())?;
                list[at] = value;
            }
        }
        Ok(())
    }

    fn add(self, value: Value) -> Result<(), String> {
        match self.within {
            Within::Map(map) => drop(map.insert(self.key, value)),
            Within::List(list) if self.key == "-" => list.push(value),
            Within::List(list) => {
                let at = index(&self.key, list.len() + 1)?;
                list.insert(at, value);
            }
        }
        Ok(())
    }

    fn remove(self) -> Result<(), String> {
        match self.within {
            Within::Map(map) => {
                map.remove(&self.key).ok_or_else(|| format!("there is no {:?}", self.key))?;
            }
            Within::List(list) => {
                let at = index(&self.key, list.len())?;
                list.remove(at);
            }
        }
        Ok(())
    }
}

/// An index as Go reads numbers, `+1` and `01` too; from the end where it is negative.
fn index(text: &str, places: usize) -> Result<usize, String> {
    let at = text.parse::<isize>().ok().and_then(|index| match index {
        0.. => usize::try_from(index).ok(),
        _ => places.checked_sub(index.unsigned_abs()),
    });
    at.filter(|at| *at < places).ok_or_else(|| format!("{text:?} is no index of the list"))
}

/// A part of a path. Source: RFC 6901, section 4.
fn decoded(part: &str) -> String {
    part.replace("~1", "/").replace("~0", "~")
}

/// About the length of a value's text.
fn size(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
        Value::String(text) => text.len() + 2,
        Value::Array(items) => 2 + items.iter().map(|item| size(item) + 1).sum::<usize>(),
        Value::Object(map) => {
            2 + map.iter().map(|(key, value)| key.len() + 4 + size(value)).sum::<usize>()
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn apply(patch: Value) -> Result<Value, PatchError> {
        json(&json!({ "metadata": { "labels": { "a/b": "1" } }, "list": [1, 2, 3] }), &patch)
    }

    #[test]
    fn operations_apply_in_order() {
        let patched = apply(json!([
            { "op": "test", "path": "/list/0", "value": 1 },
            { "op": "add", "path": "/list/-", "value": 4 },
            { "op": "replace", "path": "/metadata/labels/a~1b", "value": "2" },
            { "op": "copy", "from": "/list", "path": "/copy" },
            { "op": "move", "from": "/list", "path": "/moved" },
            { "op": "remove", "path": "/copy/0" },
        ]));
        let expected = json!({ "metadata": { "labels": { "a/b": "2" } },
                               "moved": [1, 2, 3, 4], "copy": [2, 3, 4] });
        assert_eq!(patched, Ok(expected));
    }

    #[test]
    fn indices_may_count_from_the_end() {
        for (patch, list) in [
            (json!([{ "op": "add", "path": "/list/-1", "value": 4 }]), json!([1, 2, 3, 4])),
            (json!([{ "op": "add", "path": "/list/-2", "value": 4 }]), json!([1, 2, 4, 3])),
            (json!([{ "op": "remove", "path": "/list/-1" }]), json!([1, 2])),
            (json!([{ "op": "remove", "path": "/list/-0" }]), json!([2, 3])),
            (json!([{ "op": "add", "path": "/list/01", "value": 4 }]), json!([1, 4, 2, 3])),
            (json!([{ "op": "replace", "path": "/list/-3", "value": 0 }]), json!([0, 2, 3])),
        ] {
            assert_eq!(apply(patch).expect("it applies")["list"], list);
        }
        apply(json!([{ "op": "remove", "path": "/list/-4" }])).expect_err("out of range");
    }

    #[test]
    fn a_failed_operation_is_unprocessable() {
        for patch in [
            json!([{ "op": "test", "path": "/list/0", "value": 2 }]),
            json!([{ "op": "remove", "path": "/absent" }]),
            json!([{ "op": "replace", "path": "/list/3", "value": 1 }]),
            json!([{ "op": "add", "path": "/absent/deep", "value": 1 }]),
            json!([{ "op": "add", "path": "", "value": {} }]),
            json!([{ "op": "add", "path": "absent", "value": 1 }]),
            json!([{ "op": "add", "value": 1 }]),
            json!([{ "op": "replace", "path": "", "value": "text" }]),
            json!([{ "op": "copy", "path": "/list" }]),
            json!([{ "op": "jump", "path": "/a" }]),
            json!([{ "path": "/a" }]),
        ] {
            let error = apply(patch).expect_err("must fail");
            assert!(matches!(error, PatchError::Unprocessable(_)), "{error:?}");
            let error = crate::status::ApiError::from(error);
            assert_eq!((error.code, error.reason), (422, "Invalid"));
            assert_eq!(
                error.message,
                "the server rejected our request due to an error in our request"
            );
        }
    }

    #[test]
    fn what_is_no_patch_is_a_bad_request() {
        for patch in [json!({}), json!([1])] {
            assert!(matches!(apply(patch), Err(PatchError::Malformed(_))));
        }
        let many = vec![json!({ "op": "add", "path": "/x", "value": 1 }); 10_001];
        assert_eq!(
            apply(Value::Array(many)),
            Err(PatchError::TooLong { max: 10_000, got: 10_001 })
        );
    }

    /// The examples of RFC 6902, appendix A, what it asks for besides, and what upstream forgives.
    #[test]
    fn the_cases_of_the_rfc_hold() {
        let op =
            |op: &str, path: &str, value: Value| json!({ "op": op, "path": path, "value": value });
        let from =
            |op: &str, from: &str, path: &str| json!({ "op": op, "from": from, "path": path });
        let table = [
            (
                json!({"foo":"bar"}),
                op("add", "/baz", json!("qux")),
                Some(json!({"baz":"qux","foo":"bar"})),
            ),
            (
                json!({"foo":["bar","baz"]}),
                op("add", "/foo/1", json!("qux")),
                Some(json!({"foo":["bar","qux","baz"]})),
            ),
            (
                json!({"baz":"qux","foo":"bar"}),
                json!({"op":"remove","path":"/baz"}),
                Some(json!({"foo":"bar"})),
            ),
            (
                json!({"foo":["bar","qux","baz"]}),
                json!({"op":"remove","path":"/foo/1"}),
                Some(json!({"foo":["bar","baz"]})),
            ),
            (
                json!({"baz":"qux","foo":"bar"}),
                op("replace", "/baz", json!("boo")),
                Some(json!({"baz":"boo","foo":"bar"})),
            ),
            (
                json!({"foo":{"bar":"baz","waldo":"fred"},"qux":{"corge":"grault"}}),
                from("move", "/foo/waldo", "/qux/thud"),
                Some(json!({"foo":{"bar":"baz"},"qux":{"corge":"grault","thud":"fred"}})),
            ),
            (
                json!({"foo":["all","grass","cows","eat"]}),
                from("move", "/foo/1", "/foo/3"),
                Some(json!({"foo":["all","cows","eat","grass"]})),
            ),
            (
                json!({"baz":"qux","foo":["a",2,"c"]}),
                op("test", "/foo/1", json!(2)),
                Some(json!({"baz":"qux","foo":["a",2,"c"]})),
            ),
            (json!({"baz":"qux"}), op("test", "/baz", json!("bar")), None),
            (
                json!({"foo":"bar"}),
                op("add", "/child", json!({"grandchild":{}})),
                Some(json!({"foo":"bar","child":{"grandchild":{}}})),
            ),
            (
                json!({"foo":"bar"}),
                json!({"op":"add","path":"/baz","value":"qux","xyz":123}),
                Some(json!({"foo":"bar","baz":"qux"})),
            ),
            (json!({"foo":"bar"}), op("add", "/baz/bat", json!("qux")), None),
            (json!({"/":9,"~1":10}), op("test", "/~01", json!(10)), Some(json!({"/":9,"~1":10}))),
            (json!({"/":9,"~1":10}), op("test", "/~01", json!("10")), None),
            (
                json!({"foo":["bar"]}),
                op("add", "/foo/-", json!(["abc", "def"])),
                Some(json!({"foo":["bar",["abc","def"]]})),
            ),
            // Beyond the end of a list, with leading zeros, and where nothing is.
            (json!({"foo":["bar"]}), op("add", "/foo/2", json!("x")), None),
            (
                json!({"foo":["bar"]}),
                op("add", "/foo/1", json!("x")),
                Some(json!({"foo":["bar","x"]})),
            ),
            (json!({"foo":["bar"]}), op("replace", "/foo/1", json!("x")), None),
            (json!({"foo":["bar"]}), json!({"op":"remove","path":"/foo/-"}), None),
            (json!({"foo":1}), from("copy", "/bar", "/baz"), Some(json!({"foo":1,"baz":null}))),
            (json!({"foo":1}), op("replace", "/bar", json!(2)), Some(json!({"foo":1,"bar":2}))),
            (json!({"foo":1}), op("test", "/bar", Value::Null), Some(json!({"foo":1}))),
            (json!({"foo":1}), op("test", "/bar", json!(1)), None),
            (json!({"foo":1}), op("replace", "", json!({"a":1})), Some(json!({"a":1}))),
            (json!({"foo":1}), op("add", "odd/bar", json!(2)), Some(json!({"foo":1,"bar":2}))),
            (json!({"foo":{}}), op("add", "/foo/-", json!(2)), Some(json!({"foo":{"-":2}}))),
            (json!({"foo":{}}), op("add", "/", json!(2)), Some(json!({"foo":{},"":2}))),
            (json!({"foo":null}), op("add", "/foo/a", json!(2)), None),
            (json!({"foo":1}), from("move", "/bar", "/baz"), None),
            (json!({"foo":null}), op("test", "/foo", Value::Null), Some(json!({"foo":null}))),
            (
                json!({"foo":{"a":1,"b":[1]}}),
                op("test", "/foo", json!({"b":[1],"a":1})),
                Some(json!({"foo":{"a":1,"b":[1]}})),
            ),
        ];
        for (object, operation, expected) in table {
            let found = json(&object, &json!([operation]));
            match expected {
                Some(expected) => assert_eq!(found, Ok(expected), "{object} {operation}"),
                None => assert!(
                    matches!(found, Err(PatchError::Unprocessable(_))),
                    "{object} {operation}: {found:?}"
                ),
            }
        }
    }

    #[test]
    fn all_of_a_patch_is_done_or_nothing_up_to_ten_thousand_operations() {
        let add = |at: usize| json!({ "op": "add", "path": format!("/{at}"), "value": at });
        let most: Vec<Value> = (0..10_000).map(add).collect();
        let done = json(&json!({}), &Value::Array(most)).expect("that many are allowed");
        assert_eq!(done.as_object().map(serde_json::Map::len), Some(10_000));
        let error = json(&json!({}), &(0..10_001).map(add).collect()).expect_err("too many");
        let error = crate::status::ApiError::from(error);
        assert_eq!((error.code, error.reason), (413, "RequestEntityTooLarge"));
        assert_eq!(
            error.message,
            "The allowed maximum operations in a JSON patch is 10000, got 10001"
        );
        let broken =
            json!([{ "op": "add", "path": "/a", "value": 1 }, { "op": "remove", "path": "/b" }]);
        assert!(json(&json!({}), &broken).is_err());
    }

    #[test]
    fn copies_cannot_grow_an_object_without_end() {
        let doubling: Vec<Value> =
            (0..60).map(|_| json!({ "op": "copy", "from": "/list", "path": "/list/-" })).collect();
        assert!(matches!(apply(Value::Array(doubling)), Err(PatchError::Unprocessable(_))));
    }
}
