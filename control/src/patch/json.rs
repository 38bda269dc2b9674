//! JSON patch: RFC 6902.

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
    for (at, operation) in operations.0.iter().enumerate() {
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

    #[test]
    fn copies_cannot_grow_an_object_without_end() {
        let doubling: Vec<Value> = (0..60)
            .map(|at| json!({ "op": "copy", "from": "", "path": format!("/x{at}") }))
            .collect();
        assert!(matches!(apply(Value::Array(doubling)), Err(PatchError::Unprocessable(_))));
    }
}
