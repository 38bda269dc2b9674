//! How upstream prints a part of an object in an error: the JSON of its internal type, whose fields
//! bear Go's names, stand in Go's order and are all there.
//!
//! Source: `pkg/apis/*/types.go`; `Error.ErrorBody` in
//! `k8s.io/apimachinery/pkg/util/validation/field/errors.go`.

use serde_json::{Map, Value};

use super::types::{Alternative, Field, FieldKind, Type};
use super::{schema, table};

const POD_SPEC: &str = "io.k8s.api.core.v1.PodSpec";

/// An object of a type, or `null` for none.
pub fn internal(ty: &Type, value: &Value) -> String {
    let mut out = String::new();
    match value.as_object() {
        Some(fields) => write_object(ty, fields, &mut out),
        None => write_json(value, &mut out),
    }
    escaped(&out)
}

/// The value of the field at a path such as `spec.rules[0].http`, or of an item of that field.
/// `None` where the type has no such field, or the value is of another type: errors may show what
/// stands elsewhere.
pub fn internal_at(ty: &'static Type, path: &str, value: &Value) -> Option<String> {
    let place = Place::of(ty, path)?;
    let mut out = String::new();
    match (place.kind, value) {
        (_, Value::Null) => match place.field {
            Some((ty, field)) => write_absent(ty, field, &mut out),
            None => out.push_str("null"),
        },
        (FieldKind::List(item), Value::Object(_)) if is_of(item, value) => {
            write_value(item, value, &mut out);
        }
        (kind, value) if is_of(kind, value) => write_value(kind, value, &mut out),
        _ => return None,
    }
    Some(escaped(&out))
}

fn is_of(kind: &FieldKind, value: &Value) -> bool {
    match (kind, value) {
        (FieldKind::Object(id), Value::Object(fields)) => {
            fields.keys().all(|key| id.get().field(key).is_some())
        }
        (FieldKind::Object(_), _) | (FieldKind::List(_), Value::Object(_)) => false,
        (FieldKind::List(item), Value::Array(items)) => {
            items.iter().all(|value| is_of(item, value))
        }
        _ => true,
    }
}

/// JSON as Go writes it: safe within HTML.
pub fn go_json(value: &Value) -> String {
    let mut out = String::new();
    write_json(value, &mut out);
    escaped(&out)
}

fn escaped(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for letter in json.chars() {
        match letter {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(letter)));
            }
            other => out.push(other),
        }
    }
    out
}

/// What stands at a path.
struct Place {
    kind: &'static FieldKind,
    /// The field and its type, unless it is an item.
    field: Option<(&'static Type, &'static Field)>,
}

impl Place {
    fn of(ty: &'static Type, path: &str) -> Option<Self> {
        let mut place: Option<Self> = None;
        let mut rest = path;
        while !rest.is_empty() {
            if let Some(inside) = rest.strip_prefix('[') {
                let (_, after) = inside.split_once(']')?;
                let (FieldKind::List(item) | FieldKind::Map(item)) = place?.kind else {
                    return None;
                };
                place = Some(Self { kind: item, field: None });
                rest = after;
                continue;
            }
            rest = rest.strip_prefix('.').unwrap_or(rest);
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            let ty = match place {
                None => ty,
                Some(Self { kind: FieldKind::Object(id), .. }) => id.get(),
                Some(_) => return None,
            };
            let field = ty.field(&rest[..end])?;
            place = Some(Self { kind: &field.kind, field: Some((ty, field)) });
            rest = &rest[end..];
        }
        place
    }
}

fn write_value(kind: &FieldKind, value: &Value, out: &mut String) {
    match (kind, value) {
        (FieldKind::Object(id), Value::Object(fields)) => write_object(id.get(), fields, out),
        (FieldKind::List(item), Value::Array(items)) => {
            let items = items
                .iter()
                .map(|value| (None, move |out: &mut String| write_value(item, value, out)));
            write_all('[', items, ']', out);
        }
        (FieldKind::Map(item), Value::Object(entries)) => {
            let entries = entries.iter().map(|(key, value)| {
                (Some(key.as_str()), move |out: &mut String| write_value(item, value, out))
            });
            write_all('{', entries, '}', out);
        }
        (FieldKind::SchemaOr(other), value) => write_schema_or(*other, value, out),
        (_, value) => write_json(value, out),
    }
}

fn write_all<'a, W: FnOnce(&mut String)>(
    open: char,
    items: impl Iterator<Item = (Option<&'a str>, W)>,
    close: char,
    out: &mut String,
) {
    out.push(open);
    for (at, (key, write)) in items.enumerate() {
        if at > 0 {
            out.push(',');
        }
        if let Some(key) = key {
            write_json(&key.into(), out);
            out.push(':');
        }
        write(out);
    }
    out.push(close);
}

fn write_object(ty: &Type, fields: &Map<String, Value>, out: &mut String) {
    out.push('{');
    let opened = out.len();
    match ty.internal {
        Some(words) => write_internal(ty, words, fields, out),
        None => write_tagged(ty, fields, out),
    }
    // Every field is written with a comma behind it.
    if out.len() > opened {
        out.pop();
    }
    out.push('}');
}

/// A type that is its own internal type: its JSON, in Go's order.
fn write_tagged(ty: &Type, fields: &Map<String, Value>, out: &mut String) {
    let mut known: Vec<&Field> = ty.fields.iter().collect();
    known.sort_by_key(|field| field.tag);
    for field in known {
        let value = fields.get(field.json);
        if let Some(value) = value.filter(|value| !is_left_out(field, value)) {
            write_json(&field.json.into(), out);
            out.push(':');
            write_value(&field.kind, value, out);
            out.push(',');
        }
    }
}

fn is_left_out(field: &Field, value: &Value) -> bool {
    let is_empty = match value {
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => entries.is_empty() && matches!(field.kind, FieldKind::Map(_)),
        _ => false,
    };
    is_empty && field.omit_empty && !field.pointer
}

fn write_internal(ty: &Type, words: &str, fields: &Map<String, Value>, out: &mut String) {
    let moved;
    let mut fields = fields;
    if &*ty.name == POD_SPEC {
        moved = with_host_fields(fields);
        fields = &moved;
    }
    for word in words.split(',').map(Word::parse) {
        if word.name == "+" {
            write_metadata(ty, fields, out);
            continue;
        }
        write_json(&word.name.into(), out);
        out.push(':');
        let field = word.field(ty);
        let value = match field {
            Some(field) => fields.get(field.json),
            None => fields.get(&table::json_name(word.name)),
        };
        match (value.filter(|value| !value.is_null()), field) {
            (Some(value), Some(field)) => write_value(&field.kind, value, out),
            (Some(value), None) => write_json(value, out),
            (None, Some(field)) => write_zero(&word, field, out),
            (None, None) => out.push_str(word.zero.unwrap_or("null")),
        }
        out.push(',');
    }
}

/// Metadata is embedded in internal types: its fields stand among theirs.
fn write_metadata(ty: &Type, fields: &Map<String, Value>, out: &mut String) {
    let metadata = fields.get("metadata").and_then(Value::as_object);
    let kind = ty.field("metadata").map(|field| &field.kind);
    if let (Some(metadata), Some(FieldKind::Object(id))) = (metadata, kind) {
        write_tagged(id.get(), metadata, out);
    }
}

/// What a pod shares with its host stands in the security context of the internal type, which is
/// always there.
fn with_host_fields(fields: &Map<String, Value>) -> Map<String, Value> {
    const OF_HOST: [&str; 5] =
        ["hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace", "hostUsers"];
    let mut fields = fields.clone();
    let mut context = match fields.remove("securityContext") {
        Some(Value::Object(context)) => context,
        _ => Map::new(),
    };
    for field in OF_HOST {
        if let Some(value) = fields.remove(field) {
            context.insert(field.to_owned(), value);
        }
    }
    fields.insert("securityContext".to_owned(), context.into());
    fields
}

/// One field of an internal type: `NAME[=JSON_NAME][~ZERO]`.
struct Word<'a> {
    name: &'a str,
    json: Option<&'a str>,
    /// What it is when it is not set, where that is not as in the type that travels.
    zero: Option<&'a str>,
}

impl<'a> Word<'a> {
    fn parse(text: &'a str) -> Self {
        let (text, zero) = match text.split_once('~') {
            Some((text, zero)) => (text, Some(zero)),
            None => (text, None),
        };
        match text.split_once('=') {
            Some((name, json)) => Self { name, json: Some(json), zero },
            None => Self { name: text, json: None, zero },
        }
    }

    fn field<'t>(&self, ty: &'t Type) -> Option<&'t Field> {
        match self.json {
            Some(json) => ty.field(json),
            None => ty.fields.iter().find(|field| field.json.eq_ignore_ascii_case(self.name)),
        }
    }
}

fn write_absent(ty: &Type, field: &Field, out: &mut String) {
    let mut words = ty.internal.into_iter().flat_map(|words| words.split(',')).map(Word::parse);
    let word = words.find(|word| word.field(ty).is_some_and(|it| it.json == field.json));
    let plain = Word { name: field.json, json: None, zero: None };
    write_zero(&word.unwrap_or(plain), field, out);
}

fn write_zero(word: &Word<'_>, field: &Field, out: &mut String) {
    if let Some(zero) = word.zero {
        return out.push_str(zero);
    }
    if field.pointer {
        return out.push_str("null");
    }
    match &field.kind {
        FieldKind::String => out.push_str("\"\""),
        FieldKind::Bool => out.push_str("false"),
        FieldKind::Int32 | FieldKind::Int64 | FieldKind::Double | FieldKind::IntOrString => {
            out.push('0');
        }
        FieldKind::Quantity => out.push_str("\"0\""),
        FieldKind::Object(id) => write_object(id.get(), &Map::new(), out),
        FieldKind::Bytes
        | FieldKind::Time
        | FieldKind::MicroTime
        | FieldKind::RawExtension
        | FieldKind::Fields
        | FieldKind::Json
        | FieldKind::SchemaOr(_)
        | FieldKind::List(_)
        | FieldKind::Map(_) => out.push_str("null"),
    }
}

/// The internal types of these have a field for each alternative.
fn write_schema_or(other: Alternative, value: &Value, out: &mut String) {
    let schema = match (schema().by_name(super::types::JSON_SCHEMA_PROPS), value) {
        (Some(ty), Value::Object(_)) => internal(ty, value),
        _ => "null".to_owned(),
    };
    let schemas = |value: &Value| {
        let items = value.as_array().map(|items| {
            let ty = schema_type();
            items.iter().map(|item| internal(ty, item)).collect::<Vec<_>>().join(",")
        });
        items.map_or("null".to_owned(), |items| format!("[{items}]"))
    };
    out.push_str(&match other {
        Alternative::Bool => {
            format!("{{\"Allows\":{},\"Schema\":{schema}}}", *value != Value::Bool(false))
        }
        Alternative::Schemas => {
            format!("{{\"Schema\":{schema},\"JSONSchemas\":{}}}", schemas(value))
        }
        Alternative::Strings => {
            let strings = if value.is_array() { go_json(value) } else { "null".to_owned() };
            format!("{{\"Schema\":{schema},\"Property\":{strings}}}")
        }
    });
}

fn schema_type() -> &'static Type {
    let name = super::types::JSON_SCHEMA_PROPS;
    schema().by_name(name).unwrap_or_else(|| panic!("the table lacks {name}"))
}

/// Go writes a whole number without a fraction.
fn write_json(value: &Value, out: &mut String) {
    match value {
        Value::Array(items) => {
            let items =
                items.iter().map(|item| (None, move |out: &mut String| write_json(item, out)));
            write_all('[', items, ']', out);
        }
        Value::Object(fields) => {
            let fields = fields.iter().map(|(key, value)| {
                (Some(key.as_str()), move |out: &mut String| write_json(value, out))
            });
            write_all('{', fields, '}', out);
        }
        Value::Number(number) => {
            let text = number.to_string();
            out.push_str(text.strip_suffix(".0").unwrap_or(&text));
        }
        plain => out.push_str(&plain.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ty(name: &str) -> &'static Type {
        schema().by_name(&format!("io.k8s.api.{name}")).expect("a type")
    }

    #[test]
    fn fields_bear_gos_names_in_gos_order() {
        let toleration = json!({"key": "<a>", "operator": "Exists"});
        assert_eq!(
            internal(ty("core.v1.Toleration"), &toleration),
            r#"{"Key":"\u003ca\u003e","Operator":"Exists","Value":"","Effect":"","TolerationSeconds":null}"#
        );
    }

    #[test]
    fn what_stands_at_a_path_is_printed_as_its_type() {
        let table = [
            (
                "apps.v1.StatefulSet",
                "spec.updateStrategy.rollingUpdate",
                json!({}),
                r#"{"Partition":0,"MaxUnavailable":null}"#,
            ),
            (
                "apps.v1.Deployment",
                "spec.selector",
                json!({"matchExpressions": [{"values": ["b"], "key": "a", "operator": "In"}]}),
                r#"{"matchExpressions":[{"key":"a","operator":"In","values":["b"]}]}"#,
            ),
            (
                "core.v1.Pod",
                "spec.hostAliases[0]",
                json!({"ip": "::"}),
                r#"{"IP":"::","Hostnames":null}"#,
            ),
            ("core.v1.Pod", "spec.hostname", Value::Null, "\"\""),
            ("core.v1.Pod", "spec.priority", Value::Null, "null"),
            (
                "core.v1.PodTemplate",
                "template",
                json!({"metadata": {"labels": {"a": "b"}, "name": "c"}}),
                r#"{"name":"c","labels":{"a":"b"},"Spec":"#,
            ),
        ];
        for (name, path, value, expected) in table {
            let printed = internal_at(ty(name), path, &value).expect("a field");
            assert!(printed.starts_with(expected), "{path}: {printed}");
        }
        assert_eq!(internal_at(ty("core.v1.Pod"), "spec.none", &json!({})), None);
    }

    #[test]
    fn what_a_pod_shares_with_its_host_stands_in_its_security_context() {
        let printed = internal(ty("core.v1.PodSpec"), &json!({"hostPID": true}));
        let context = r#""SecurityContext":{"HostNetwork":false,"HostPID":true,"HostIPC":false,"ShareProcessNamespace":null,"HostUsers":null,"SELinuxOptions":null,"#;
        assert!(printed.contains(context), "{printed}");
    }

    #[test]
    fn alternatives_of_a_schema_are_fields() {
        let printed = internal(
            schema_type(),
            &json!({"additionalProperties": false, "minimum": 1.0, "items": [{"type": "string"}]}),
        );
        for part in [
            r#""AdditionalProperties":{"Allows":false,"Schema":null}"#,
            r#""Minimum":1,"#,
            r#""Items":{"Schema":null,"JSONSchemas":[{"ID":"""#,
        ] {
            assert!(printed.contains(part), "{printed}");
        }
    }

    #[test]
    fn every_word_of_an_internal_type_is_a_field_or_has_a_zero() {
        for ty in schema().types() {
            for word in ty.internal.into_iter().flat_map(|words| words.split(',')).map(Word::parse)
            {
                let is_known = word.name == "+" || word.field(ty).is_some() || word.zero.is_some();
                assert!(is_known, "{}: {}", ty.name, word.name);
            }
        }
    }
}
