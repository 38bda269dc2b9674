//! Version 2 of the document as protobuf: the message `openapi.v2.Document` of gnostic, which
//! kubectl asks for where version 3 does not help it.
//!
//! The tables at the end say which field each key has; above them stands one walk for all. They
//! hold what `render` and `components` write and no more: a key without a field is refused by name,
//! so that a test finds it, rather than left out unseen. This module performs no I/O.
//!
//! Field numbers: `openapiv2/OpenAPIv2.proto` of `github.com/google/gnostic-models`. Unlike the
//! objects in `schema::protobuf`, nothing here is read back.

use serde_json::{Map, Value};

use crate::schema::protobuf::wire::{put_bytes, put_number};

/// Something in the document that its message cannot hold: a mistake of ours, not of a client.
#[derive(Debug, thiserror::Error)]
#[error("no place in the OpenAPI message for {0}")]
pub struct NoPlace(String);

/// Writes a whole document.
pub(super) fn document(value: &Value) -> Result<Vec<u8>, NoPlace> {
    match value {
        Value::Object(map) => fields(&DOCUMENT, map),
        value => Err(NoPlace(value.to_string())),
    }
}

/// A message and the keys of the JSON object that it stands for.
struct Message {
    name: &'static str,
    fields: &'static [(&'static str, u32, Form)],
    /// The field of the keys that begin with `x-`.
    extensions: u32,
}

/// How a JSON value is written.
enum Form {
    Text,
    Flag,
    /// Anything, as YAML.
    Any,
    Message(&'static Message),
    /// A repeated field: of an array's items, or of a lone value.
    Each(&'static Form),
    /// A repeated field: of an object's entries, each a message of name and value.
    Named(&'static Form),
    /// In the given field of a message around it.
    In(u32, &'static Form),
    /// As the value decides.
    Choice(fn(&Value) -> Option<&'static Form>),
}

fn fields(message: &Message, map: &Map<String, Value>) -> Result<Vec<u8>, NoPlace> {
    let mut out = Vec::new();
    for (key, value) in map {
        if key.starts_with("x-") {
            put_named(&mut out, message.extensions, key, &Form::Any, value)?;
            continue;
        }
        let field = message.fields.iter().find(|(name, ..)| name == key);
        let (_, tag, form) = field.ok_or_else(|| NoPlace(format!("{}.{key}", message.name)))?;
        put(&mut out, *tag, form, value)?;
    }
    Ok(out)
}

fn put(out: &mut Vec<u8>, tag: u32, form: &Form, value: &Value) -> Result<(), NoPlace> {
    let misfit = || NoPlace(value.to_string());
    match (form, value) {
        (Form::Text, Value::String(text)) => put_bytes(out, tag, text.as_bytes()),
        (Form::Flag, Value::Bool(flag)) => put_number(out, tag, u64::from(*flag)),
        (Form::Any, value) => {
            let yaml = serde_yaml::to_string(value).map_err(|_| misfit())?;
            let mut any = Vec::new();
            put_bytes(&mut any, 2, yaml.as_bytes());
            put_bytes(out, tag, &any);
        }
        (Form::Message(message), Value::Object(map)) => {
            put_bytes(out, tag, &fields(message, map)?);
        }
        (Form::Each(form), Value::Array(items)) => {
            for item in items {
                put(out, tag, form, item)?;
            }
        }
        (Form::Each(form), value) => put(out, tag, form, value)?,
        (Form::Named(form), Value::Object(map)) => {
            for (name, value) in map {
                put_named(out, tag, name, form, value)?;
            }
        }
        (Form::In(inner, form), value) => {
            let mut around = Vec::new();
            put(&mut around, *inner, form, value)?;
            put_bytes(out, tag, &around);
        }
        (Form::Choice(choose), value) => {
            put(out, tag, choose(value).ok_or_else(misfit)?, value)?;
        }
        (Form::Text | Form::Flag | Form::Message(_) | Form::Named(_), _) => return Err(misfit()),
    }
    Ok(())
}

/// One `Named…` message.
fn put_named(
    out: &mut Vec<u8>,
    tag: u32,
    name: &str,
    form: &Form,
    value: &Value,
) -> Result<(), NoPlace> {
    let mut entry = Vec::new();
    put_bytes(&mut entry, 1, name.as_bytes());
    put(&mut entry, 2, form, value)?;
    put_bytes(out, tag, &entry);
    Ok(())
}

static TEXTS: Form = Form::Each(&Form::Text);

static DOCUMENT: Message = Message {
    name: "Document",
    fields: &[
        ("swagger", 1, Form::Text),
        ("info", 2, Form::Message(&INFO)),
        ("paths", 8, Form::In(2, &Form::Named(&Form::Message(&PATH_ITEM)))),
        ("definitions", 9, Form::In(1, &Form::Named(&Form::Message(&SCHEMA)))),
        ("parameters", 10, Form::In(1, &Form::Named(&Form::Choice(own_parameter)))),
        // A requirement: each scheme's name with its scopes.
        ("security", 12, Form::Each(&Form::In(1, &Form::Named(&Form::In(1, &TEXTS))))),
        ("securityDefinitions", 13, Form::In(1, &Form::Named(&Form::Choice(security)))),
    ],
    extensions: 16,
};

static INFO: Message = Message {
    name: "Info",
    fields: &[("title", 1, Form::Text), ("version", 2, Form::Text), ("description", 3, Form::Text)],
    extensions: 7,
};

static PATH_ITEM: Message = Message {
    name: "PathItem",
    fields: &[
        ("get", 2, Form::Message(&OPERATION)),
        ("put", 3, Form::Message(&OPERATION)),
        ("post", 4, Form::Message(&OPERATION)),
        ("delete", 5, Form::Message(&OPERATION)),
        ("options", 6, Form::Message(&OPERATION)),
        ("head", 7, Form::Message(&OPERATION)),
        ("patch", 8, Form::Message(&OPERATION)),
        ("parameters", 9, Form::Each(&Form::Choice(parameter))),
    ],
    extensions: 10,
};

static OPERATION: Message = Message {
    name: "Operation",
    fields: &[
        ("tags", 1, Form::Each(&Form::Text)),
        ("description", 3, Form::Text),
        ("operationId", 5, Form::Text),
        ("produces", 6, Form::Each(&Form::Text)),
        ("consumes", 7, Form::Each(&Form::Text)),
        ("parameters", 8, Form::Each(&Form::Choice(parameter))),
        // Each is a `Response`, never a reference to one.
        ("responses", 9, Form::In(1, &Form::Named(&Form::In(1, &Form::Message(&RESPONSE))))),
        ("schemes", 10, Form::Each(&Form::Text)),
    ],
    extensions: 13,
};

/// `ParametersItem`: a parameter, or a reference to one of the document's.
fn parameter(value: &Value) -> Option<&'static Form> {
    static OWN: Form = Form::In(1, &Form::Choice(own_parameter));
    static REFERENCE: Form = Form::In(2, &Form::Message(&JSON_REFERENCE));
    Some(if value.get("$ref").is_some() { &REFERENCE } else { &OWN })
}

static JSON_REFERENCE: Message =
    Message { name: "JsonReference", fields: &[("$ref", 1, Form::Text)], extensions: 0 };

/// `Parameter`, then for all but bodies `NonBodyParameter`.
fn own_parameter(value: &Value) -> Option<&'static Form> {
    static BODY: Form = Form::In(1, &Form::Message(&BODY_PARAMETER));
    static QUERY: Form = Form::In(2, &Form::In(3, &Form::Message(&QUERY_PARAMETER)));
    static PATH: Form = Form::In(2, &Form::In(4, &Form::Message(&PATH_PARAMETER)));
    match value["in"].as_str()? {
        "body" => Some(&BODY),
        "query" => Some(&QUERY),
        "path" => Some(&PATH),
        _ => None,
    }
}

static BODY_PARAMETER: Message = Message {
    name: "BodyParameter",
    fields: &[
        ("description", 1, Form::Text),
        ("name", 2, Form::Text),
        ("in", 3, Form::Text),
        ("required", 4, Form::Flag),
        ("schema", 5, Form::Message(&SCHEMA)),
    ],
    extensions: 6,
};

static QUERY_PARAMETER: Message = Message {
    name: "QueryParameterSubSchema",
    fields: &[
        ("required", 1, Form::Flag),
        ("in", 2, Form::Text),
        ("description", 3, Form::Text),
        ("name", 4, Form::Text),
        ("type", 6, Form::Text),
        ("uniqueItems", 20, Form::Flag),
    ],
    extensions: 23,
};

/// From `type` on one less than a query's, which may also be empty.
static PATH_PARAMETER: Message = Message {
    name: "PathParameterSubSchema",
    fields: &[
        ("required", 1, Form::Flag),
        ("in", 2, Form::Text),
        ("description", 3, Form::Text),
        ("name", 4, Form::Text),
        ("type", 5, Form::Text),
        ("uniqueItems", 19, Form::Flag),
    ],
    extensions: 22,
};

static RESPONSE: Message = Message {
    name: "Response",
    fields: &[("description", 1, Form::Text), ("schema", 2, Form::In(1, &Form::Message(&SCHEMA)))],
    extensions: 5,
};

static SCHEMA: Message = Message {
    name: "Schema",
    fields: &[
        ("$ref", 1, Form::Text),
        ("format", 2, Form::Text),
        ("description", 4, Form::Text),
        ("default", 5, Form::Any),
        ("required", 19, Form::Each(&Form::Text)),
        ("additionalProperties", 21, Form::Choice(additional_properties)),
        ("type", 22, Form::In(1, &TEXTS)),
        ("items", 23, Form::In(1, &Form::Each(&Form::Message(&SCHEMA)))),
        ("allOf", 24, Form::Each(&Form::Message(&SCHEMA))),
        ("properties", 25, Form::In(1, &Form::Named(&Form::Message(&SCHEMA)))),
    ],
    extensions: 31,
};

fn additional_properties(value: &Value) -> Option<&'static Form> {
    static ALLOWED: Form = Form::In(2, &Form::Flag);
    static OF: Form = Form::In(1, &Form::Message(&SCHEMA));
    match value {
        Value::Bool(_) => Some(&ALLOWED),
        Value::Object(_) => Some(&OF),
        _ => None,
    }
}

fn security(value: &Value) -> Option<&'static Form> {
    static API_KEY: Form = Form::In(2, &Form::Message(&API_KEY_SECURITY));
    (value["type"] == "apiKey").then_some(&API_KEY)
}

static API_KEY_SECURITY: Message = Message {
    name: "ApiKeySecurity",
    fields: &[
        ("type", 1, Form::Text),
        ("name", 2, Form::Text),
        ("in", 3, Form::Text),
        ("description", 4, Form::Text),
    ],
    extensions: 5,
};

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::OpenApi;
    use super::*;
    use crate::schema::protobuf::wire::{Reader, Scalar};

    /// Every field of a message: a flag as one byte, the rest as it stands.
    fn walk(message: &[u8]) -> Vec<(u32, &[u8])> {
        let mut reader = Reader::new(message);
        let mut found = Vec::new();
        while let Some((tag, value)) = reader.next("").expect("a field") {
            found.push(match value {
                Scalar::Bytes(bytes) => (tag, bytes),
                Scalar::Varint(flag) => (tag, if flag == 0 { &[0][..] } else { &[1] }),
                other => panic!("{other:?}"),
            });
        }
        found
    }

    fn all<'a>(message: &'a [u8], tags: &[u32]) -> Vec<&'a [u8]> {
        tags.iter().fold(vec![message], |messages, tag| {
            let fields = messages.into_iter().flat_map(walk);
            fields.filter(|(found, _)| found == tag).map(|(_, value)| value).collect()
        })
    }

    fn texts<'a>(message: &'a [u8], tags: &[u32]) -> Vec<&'a str> {
        let values = all(message, tags).into_iter();
        values.map(|value| std::str::from_utf8(value).expect("UTF-8")).collect()
    }

    /// The value of the entry of that name in the map that stands in a field.
    fn named<'a>(message: &'a [u8], tags: &[u32], name: &str) -> &'a [u8] {
        let entries = all(message, tags);
        let entry = entries.into_iter().find(|entry| texts(entry, &[1]) == [name]);
        all(entry.expect(name), &[2])[0]
    }

    /// A document with one definition, `A`.
    fn schema(value: &Value) -> Vec<u8> {
        let bytes = document(&json!({ "definitions": { "A": value } })).expect("written");
        named(&bytes, &[9, 1], "A").to_vec()
    }

    #[test]
    fn a_small_document_is_written_byte_for_byte() {
        let written = document(&json!({
            "definitions": { "A": { "type": "object", "x-kubernetes-map-type": "atomic" } },
            "info": { "title": "T", "version": "v1" },
            "swagger": "2.0",
        }));
        let expected = [
            &b"\x4a\x37\x0a\x35\x0a\x01A\x12\x30"[..], // definitions: one entry, its name
            b"\xb2\x01\x08\x0a\x06object",             // type
            b"\xfa\x01\x22\x0a\x15x-kubernetes-map-type\x12\x09\x12\x07atomic\n",
            b"\x12\x07\x0a\x01T\x12\x02v1", // info
            b"\x0a\x032.0",
        ];
        assert_eq!(written.expect("written"), expected.concat());
    }

    #[test]
    fn schemas_are_written_in_the_fields_that_kubectl_reads() {
        let bytes = schema(&json!({
            "allOf": [{ "$ref": "#/definitions/B" }, { "format": "int32" }],
            "default": { "a": 1 },
            "description": "Words.",
            "items": { "type": "string" },
            "properties": { "p": { "additionalProperties": { "type": "integer" } } },
            "required": ["a", "b"],
            "x-kubernetes-list-map-keys": ["a", "b"],
        }));
        assert_eq!(texts(&bytes, &[24, 1]), ["#/definitions/B"]);
        assert_eq!(texts(&bytes, &[24, 2]), ["int32"]);
        assert_eq!(texts(&bytes, &[5, 2]), ["a: 1\n"]);
        assert_eq!(texts(&bytes, &[4]), ["Words."]);
        assert_eq!(texts(&bytes, &[23, 1, 22, 1]), ["string"]);
        assert_eq!(texts(named(&bytes, &[25, 1], "p"), &[21, 1, 22, 1]), ["integer"]);
        assert_eq!(texts(&bytes, &[19]), ["a", "b"]);
        assert_eq!(texts(named(&bytes, &[31], "x-kubernetes-list-map-keys"), &[2]), ["- a\n- b\n"]);
        assert_eq!(all(&schema(&json!({ "additionalProperties": false })), &[21, 2]), [[0]]);
        assert!(schema(&json!({})).is_empty());
    }

    #[test]
    fn what_the_message_cannot_hold_is_refused_by_name() {
        let refused = |value: Value| document(&value).expect_err("refused").to_string();
        assert_eq!(
            refused(json!({ "info": { "other": 1 } })),
            "no place in the OpenAPI message for Info.other"
        );
        assert_eq!(refused(json!({ "swagger": 2 })), "no place in the OpenAPI message for 2");
        assert!(refused(json!([])).ends_with("[]"));
    }

    #[test]
    fn the_whole_document_is_read_back_by_its_field_numbers() {
        let open_api = OpenApi::new(crate::kinds::registry());
        let bytes = open_api.v2_protobuf().expect("every key has a field");
        let json: Value = serde_json::from_slice(&open_api.v2()).expect("JSON");
        let size = |key: &str| json[key].as_object().map_or(0, Map::len);

        assert_eq!(texts(&bytes, &[1]), ["2.0"]);
        assert_eq!(texts(&bytes, &[2, 1]), ["Kubernetes"]);
        assert_eq!(texts(&bytes, &[8, 2, 1]).len(), size("paths"));
        assert_eq!(texts(&bytes, &[9, 1, 1]).len(), size("definitions"));
        assert_eq!(texts(&bytes, &[12, 1, 1]), ["BearerToken"]);
        assert_eq!(texts(&bytes, &[13, 1, 2, 2, 2]), ["authorization"]);

        let pod = named(&bytes, &[9, 1], "io.k8s.api.core.v1.Pod");
        assert_eq!(texts(pod, &[22, 1]), ["object"]);
        let spec = named(pod, &[25, 1], "spec");
        assert_eq!(texts(spec, &[1]), ["#/definitions/io.k8s.api.core.v1.PodSpec"]);
        let gvks = named(pod, &[31], "x-kubernetes-group-version-kind");
        let gvks: Value = serde_yaml::from_str(texts(gvks, &[2])[0]).expect("YAML");
        assert_eq!(gvks, json!([{ "group": "", "version": "v1", "kind": "Pod" }]));

        let path = named(&bytes, &[8, 2], "/api/v1/namespaces/{namespace}/pods/{name}");
        assert_eq!(texts(path, &[9, 1, 2, 4, 4]), ["name"]);
        let references = texts(path, &[9, 2, 1]);
        let namespace = references[0].strip_prefix("#/parameters/").expect("a reference");
        let namespace = named(&bytes, &[10, 1], namespace);
        assert_eq!(texts(namespace, &[2, 4, 4]), ["namespace"]);
        assert_eq!(texts(path, &[3, 8, 1, 1, 2]), ["body"]);
        assert_eq!(texts(path, &[2, 9, 1, 1]), ["200", "401"]);
        assert_eq!(
            texts(path, &[2, 9, 1, 2, 1, 2, 1, 1]),
            ["#/definitions/io.k8s.api.core.v1.Pod"]
        );

        let json_size = open_api.v2().len();
        assert!((json_size / 4..json_size).contains(&bytes.len()), "{} bytes", bytes.len());
        assert_eq!(open_api.v2_protobuf().expect("kept").as_ptr(), bytes.as_ptr());
    }
}
