//! JSON patch: RFC 6902.

use json_patch::jsonptr::PointerBuf;
use json_patch::{Patch, PatchOperation};
use serde_json::Value;

use super::PatchError;

/// Upstream's `maxJSONPatchOperations`.
const OPERATIONS_MAX: usize = 10_000;
/// What `copy` may add to an object: upstream's limit too is its limit on a request's size.
const GROWTH_BYTES_MAX: usize = 3 * 1024 * 1024;

/// Applies a JSON patch, all of it or nothing.
pub fn json(object: &Value, patch: &Value) -> Result<Value, PatchError> {
    let operations: Patch = serde_json::from_value(patch.clone())
        .map_err(|error| PatchError::Malformed(format!("error decoding patch: {error}")))?;
    let got = operations.0.len();
    if got > OPERATIONS_MAX {
        return Err(PatchError::TooLong { max: OPERATIONS_MAX, got });
    }
    let mut patched = object.clone();
    let mut copied = 0;
    for (at, operation) in operations.0.into_iter().enumerate() {
        let operation = &from_front(&patched, operation);
        if let PatchOperation::Copy(copy) = operation {
            copied += patched.pointer(copy.from.as_str()).map_or(0, size);
            if copied > GROWTH_BYTES_MAX {
                return Err(PatchError::Unprocessable(format!(
                    "Unable to complete the copy, the accumulated size increase of copy is {copied}, exceeding the limit {GROWTH_BYTES_MAX}"
                )));
            }
        }
        if is_missing_removal(&patched, operation) {
            let path = operation.path();
            return Err(PatchError::Unprocessable(format!(
                "remove operation does not apply: doc is missing path: {path:?}: missing value"
            )));
        }
        json_patch::patch(&mut patched, std::slice::from_ref(operation)).map_err(|error| {
            PatchError::Unprocessable(format!("operation {at} of the patch: {}", error.kind))
        })?;
    }
    Ok(patched)
}

/// The operation with its indices as this crate's patches write them. Upstream reads them as Go reads
/// numbers, `+1` and `01` too, and counts from the end where they are negative: -1 is the last
/// element, and where something is added, the end.
fn from_front(object: &Value, mut operation: PatchOperation) -> PatchOperation {
    let resolve = |path: &mut PointerBuf, adds: bool| {
        let tokens: Vec<String> = path.tokens().map(|token| token.decoded().into_owned()).collect();
        let mut resolved: Vec<String> = Vec::with_capacity(tokens.len());
        for (at, token) in tokens.iter().enumerate() {
            let list = PointerBuf::from_tokens(&resolved);
            let list = object.pointer(list.as_str()).and_then(Value::as_array);
            let length = list.map_or(0, Vec::len) + usize::from(adds && at + 1 == tokens.len());
            let index = list.and_then(|_| token.parse::<isize>().ok());
            let front = index.and_then(|index| match index {
                0.. => usize::try_from(index).ok(),
                _ => length.checked_sub(index.unsigned_abs()),
            });
            resolved.push(front.map_or_else(|| token.clone(), |front| front.to_string()));
        }
        *path = PointerBuf::from_tokens(&resolved);
    };
    match &mut operation {
        PatchOperation::Add(add) => resolve(&mut add.path, true),
        PatchOperation::Remove(remove) => resolve(&mut remove.path, false),
        PatchOperation::Replace(replace) => resolve(&mut replace.path, false),
        PatchOperation::Test(test) => resolve(&mut test.path, false),
        PatchOperation::Move(moved) => {
            resolve(&mut moved.from, false);
            resolve(&mut moved.path, true);
        }
        PatchOperation::Copy(copy) => {
            resolve(&mut copy.from, false);
            resolve(&mut copy.path, true);
        }
    }
    operation
}

fn is_missing_removal(object: &Value, operation: &PatchOperation) -> bool {
    matches!(operation, PatchOperation::Remove(remove) if object.pointer(remove.path.as_str()).is_none())
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
            json!([{ "op": "replace", "path": "/absent", "value": 1 }]),
            json!([{ "op": "add", "path": "/absent/deep", "value": 1 }]),
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
        for patch in [json!({}), json!([{ "op": "jump", "path": "/a" }]), json!([1])] {
            assert!(matches!(apply(patch), Err(PatchError::Malformed(_))));
        }
        let many = vec![json!({ "op": "add", "path": "/x", "value": 1 }); 10_001];
        assert_eq!(
            apply(Value::Array(many)),
            Err(PatchError::TooLong { max: 10_000, got: 10_001 })
        );
    }

    /// The examples of RFC 6902, appendix A, and what it asks for besides.
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
            (json!({"foo":1}), from("copy", "/bar", "/baz"), None),
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
        let doubling: Vec<Value> = (0..60)
            .map(|at| json!({ "op": "copy", "from": "", "path": format!("/x{at}") }))
            .collect();
        assert!(matches!(apply(Value::Array(doubling)), Err(PatchError::Unprocessable(_))));
    }
}
