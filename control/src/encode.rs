//! The stored form of objects, and the revision that is put into it as text.
//!
//! A store gives the revision only when it commits, so stored bytes omit `metadata.resourceVersion`;
//! it is spliced in when they are read, without parsing. For that, `apiVersion`, `kind` and
//! `metadata` come first: `"metadata":{` cannot stand inside a JSON string (its quotes would be
//! escaped), so its first occurrence is the object's own.
//!
//! `metadata.managedFields` comes last in the metadata. Few read it and it is large, so that it can
//! be cut out without parsing, too. This module performs no I/O.

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::store::Revision;

const METADATA: &[u8] = b"\"metadata\":{";
const REVISION: &[u8] = b"\"resourceVersion\":\"";

/// The bytes to store: `apiVersion`, `kind`, `metadata` first, without a resourceVersion.
pub fn stored(object: &Value) -> Bytes {
    stored_with(object, None)
}

/// The same with these `metadata.managedFields`, which are JSON already.
pub fn stored_with(object: &Value, managers: Option<&str>) -> Bytes {
    let empty = Map::new();
    let fields = object.as_object().unwrap_or(&empty);
    let mut out = Vec::with_capacity(1024);
    out.push(b'{');
    for name in ["apiVersion", "kind"] {
        if let Some(value) = fields.get(name) {
            write_field(&mut out, name, value);
        }
    }
    let metadata = fields.get("metadata").and_then(Value::as_object).unwrap_or(&empty);
    write_metadata(&mut out, metadata, managers);
    for (name, value) in fields {
        if !matches!(name.as_str(), "apiVersion" | "kind" | "metadata") {
            write_field(&mut out, name, value);
        }
    }
    out.push(b'}');
    out.shrink_to_fit();
    Bytes::from(out)
}

fn write_metadata(out: &mut Vec<u8>, metadata: &Map<String, Value>, managers: Option<&str>) {
    separate(out);
    out.extend_from_slice(METADATA);
    for (name, value) in metadata {
        if name != "resourceVersion" && name != "managedFields" {
            write_field(out, name, value);
        }
    }
    match (managers, metadata.get("managedFields")) {
        (Some(managers), _) => {
            separate(out);
            write_json(out, "managedFields");
            out.push(b':');
            out.extend_from_slice(managers.as_bytes());
        }
        (None, Some(value)) => write_field(out, "managedFields", value),
        (None, None) => {}
    }
    out.push(b'}');
}

fn write_field(out: &mut Vec<u8>, name: &str, value: &Value) {
    separate(out);
    write_json(out, name);
    out.push(b':');
    write_json(out, value);
}

fn separate(out: &mut Vec<u8>) {
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
}

fn write_json<T: serde::Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    serde_json::to_writer(out, value).expect("a JSON value with string keys is written to memory");
}

/// Stored bytes with `metadata.resourceVersion` in them. Bytes without a `metadata` come back as
/// they are.
pub fn splice(stored: &Bytes, revision: Revision) -> Bytes {
    match inside_metadata(stored) {
        Some(at) => insert(&stored[..at], revision, &stored[at..]),
        None => stored.clone(),
    }
}

/// Writes stored bytes as the item of a list: with `metadata.resourceVersion`, and without the
/// `apiVersion` and `kind` that stand before the metadata. The list says them for all.
pub fn put_item(out: &mut Vec<u8>, stored: &[u8], revision: Revision) {
    let Some(at) = inside_metadata(stored) else { return out.extend_from_slice(stored) };
    out.push(b'{');
    out.extend_from_slice(METADATA);
    put_revision(out, revision, stored.get(at));
    out.extend_from_slice(&stored[at..]);
}

/// `next`: what stands behind it. What is not kept has revision 0, and shows none.
fn put_revision(out: &mut Vec<u8>, revision: Revision, next: Option<&u8>) {
    if revision == Revision(0) {
        return;
    }
    out.extend_from_slice(REVISION);
    out.extend_from_slice(revision.to_string().as_bytes());
    out.push(b'"');
    if next != Some(&b'}') {
        out.push(b',');
    }
}

fn insert(before: &[u8], revision: Revision, rest: &[u8]) -> Bytes {
    // Of the revision there are 20 digits at the most.
    let mut out = Vec::with_capacity(before.len() + REVISION.len() + 22 + rest.len());
    out.extend_from_slice(before);
    put_revision(&mut out, revision, rest.first());
    out.extend_from_slice(rest);
    Bytes::from(out)
}

/// The offset just behind the first `"metadata":{`.
fn inside_metadata(bytes: &[u8]) -> Option<usize> {
    let at = bytes.windows(METADATA.len()).position(|window| window == METADATA)?;
    Some(at + METADATA.len())
}

/// The JSON of `metadata.managedFields`, where the object has one.
pub fn managers(object: &[u8]) -> Option<&str> {
    let field = managers_field(object)?;
    let value = field.value..field.end;
    std::str::from_utf8(&object[value]).ok()
}

/// The object without `metadata.managedFields`.
pub fn without_managers(object: &Bytes) -> Bytes {
    let Some(field) = managers_field(object) else { return object.clone() };
    let mut out = Vec::with_capacity(object.len() - (field.end - field.start));
    out.extend_from_slice(&object[..field.start]);
    out.extend_from_slice(&object[field.end..]);
    Bytes::from(out)
}

/// Where `metadata.managedFields` lies: from the comma before its name to behind its value.
struct Field {
    start: usize,
    value: usize,
    end: usize,
}

fn managers_field(bytes: &[u8]) -> Option<Field> {
    const NAME: &[u8] = b"managedFields";
    let mut at = inside_metadata(bytes)?;
    loop {
        let start = at;
        if bytes.get(at) == Some(&b',') {
            at += 1;
        }
        // The end of the metadata, or no JSON as this module writes it.
        if bytes.get(at) != Some(&b'"') {
            return None;
        }
        let name = at + 1;
        at = skip_string(bytes, at)?;
        let is_it = bytes.get(name..at - 1) == Some(NAME);
        if bytes.get(at) != Some(&b':') {
            return None;
        }
        let value = at + 1;
        at = skip_value(bytes, value)?;
        if is_it {
            // It is the last field; where it is not, it is left in its place.
            let last = bytes.get(at) == Some(&b'}');
            return last.then_some(Field { start, value, end: at });
        }
    }
}

/// Behind the string that begins here.
fn skip_string(bytes: &[u8], at: usize) -> Option<usize> {
    let mut at = at + 1;
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// Behind the value that begins here.
fn skip_value(bytes: &[u8], at: usize) -> Option<usize> {
    let mut at = at;
    let mut depth = 0_usize;
    loop {
        match bytes.get(at)? {
            b'"' => {
                at = skip_string(bytes, at)?;
                if depth == 0 {
                    return Some(at);
                }
            }
            b'{' | b'[' => {
                depth += 1;
                at += 1;
            }
            b'}' | b']' if depth == 0 => return Some(at),
            b'}' | b']' => {
                depth -= 1;
                at += 1;
                if depth == 0 {
                    return Some(at);
                }
            }
            b',' if depth == 0 => return Some(at),
            _ => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn identity_comes_first_and_the_revision_is_left_out() {
        let object = json!({"spec": {"a": 1}, "metadata": {"name": "x", "resourceVersion": "7"},
            "kind": "Pod", "apiVersion": "v1"});
        assert_eq!(
            stored(&object),
            r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"x"},"spec":{"a":1}}"#
        );
    }

    #[test]
    fn the_revision_is_spliced_into_the_objects_own_metadata() {
        let cases = [
            (json!({}), r#"{"metadata":{"resourceVersion":"5"}}"#),
            (json!({"metadata": {}}), r#"{"metadata":{"resourceVersion":"5"}}"#),
            (
                json!({"kind": "a\"metadata\":{", "metadata": {"name": "x"}}),
                r#"{"kind":"a\"metadata\":{","metadata":{"resourceVersion":"5","name":"x"}}"#,
            ),
            (
                json!({"a": {"metadata": {"name": "inner"}}, "metadata": {"name": "x"}}),
                r#"{"metadata":{"resourceVersion":"5","name":"x"},"a":{"metadata":{"name":"inner"}}}"#,
            ),
        ];
        for (object, expected) in cases {
            let spliced = splice(&stored(&object), Revision(5));
            assert_eq!(spliced, expected);
        }
    }

    #[test]
    fn managers_come_last_and_can_be_cut_out() {
        let managers = r#"[{"manager":"a\"]}","fieldsV1":{"f:x":{}}}]"#;
        for (metadata, rest) in [
            (json!({}), json!({})),
            (
                json!({"name": "x", "zone": [1, {"a": "}"}]}),
                json!({"kind": "K", "spec": {"a": null}}),
            ),
            (
                json!({"annotations": {"managedFields": "\"managedFields\":[", "b": "\\"}}),
                json!({}),
            ),
        ] {
            let mut object = rest.clone();
            object["metadata"] = metadata;
            let bare = stored(&object);
            let whole = splice(&stored_with(&object, Some(managers)), Revision(5));
            assert_eq!(super::managers(&whole), Some(managers));
            assert_eq!(without_managers(&whole), splice(&bare, Revision(5)));
            assert_eq!(super::managers(&bare), None);
            assert_eq!(without_managers(&bare), bare);
            object["metadata"]["managedFields"] = serde_json::from_str(managers).expect("JSON");
            assert_eq!(without_managers(&stored(&object)), bare);
        }
        for broken in ["", "{}", r#"{"metadata":{"a""#, r#"{"metadata":{"managedFields":["#] {
            let bytes = Bytes::from_static(broken.as_bytes());
            assert_eq!(without_managers(&bytes), bytes, "{broken}");
        }
    }

    #[test]
    fn an_item_leaves_its_type_to_its_list() {
        for (object, expected) in [
            (
                json!({"kind": "a\"metadata\":{", "apiVersion": "v1", "metadata": {}, "b": 1}),
                r#"{"metadata":{"resourceVersion":"5"},"b":1}"#,
            ),
            (
                json!({"metadata": {"name": "x"}}),
                r#"{"metadata":{"resourceVersion":"5","name":"x"}}"#,
            ),
        ] {
            let mut out = Vec::new();
            put_item(&mut out, &stored(&object), Revision(5));
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn bytes_without_metadata_stay_as_they_are() {
        let bytes = Bytes::from_static(b"[1]");
        assert_eq!(splice(&bytes, Revision(5)), bytes);
    }

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".*".prop_map(Value::from),
            Just(Value::from("\"metadata\":{")),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(
                    prop_oneof![".*", Just("metadata".to_owned())],
                    inner,
                    0..4
                )
                .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn splicing_equals_setting_the_field(
            fields in prop::collection::btree_map(".*", json_value(), 0..5),
            metadata in prop::collection::btree_map(".*", json_value(), 0..5),
            revision in 1_u64..,
        ) {
            let mut object = Value::Object(fields.into_iter().collect());
            object["metadata"] = Value::Object(metadata.into_iter().collect());
            let spliced = splice(&stored(&object), Revision(revision));
            object["metadata"]["resourceVersion"] = revision.to_string().into();
            prop_assert_eq!(&serde_json::from_slice::<Value>(&spliced).unwrap(), &object);
            prop_assert_eq!(stored(&object), stored(&serde_json::from_slice(&spliced).unwrap()));
        }
    }
}
