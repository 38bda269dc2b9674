//! Structural schemas: every value has one type, and what is said under `allOf`, `anyOf`, `oneOf` and
//! `not` only narrows what the rest of the schema defines.
//!
//! Source: `pkg/apiserver/schema/{convert,validation,complete}.go`.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};

use crate::kinds::FieldError;
use crate::kinds::rules::go_regexp;

/// Where in a resource a schema stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

/// Why the schema cannot be one that is structural at all.
pub fn unsupported(schema: &JSONSchemaProps) -> Option<String> {
    let is_text = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    let is_filled = |map: &Option<std::collections::BTreeMap<String, JSONSchemaProps>>| {
        map.as_ref().is_some_and(|map| !map.is_empty())
    };
    let wrong = [
        (is_text(&schema.id), "id"),
        (is_text(&schema.schema), "schema"),
        (is_text(&schema.ref_path), "$ref"),
        (is_filled(&schema.pattern_properties), "patternProperties"),
        (schema.dependencies.as_ref().is_some_and(|it| !it.is_empty()), "dependencies"),
        (schema.additional_items.is_some(), "additionalItems"),
        (is_filled(&schema.definitions), "definitions"),
    ];
    if let Some((_, field)) = wrong.into_iter().find(|(is_there, _)| *is_there) {
        return Some(format!("OpenAPIV3Schema '{field}' is not supported"));
    }
    if schema.x_kubernetes_preserve_unknown_fields == Some(false) {
        let why = "internal error: 'x-kubernetes-preserve-unknown-fields' must be true or undefined";
        return Some(why.to_owned());
    }
    if matches!(&schema.items, Some(JSONSchemaPropsOrArray::Schemas(list)) if !list.is_empty()) {
        return Some("OpenAPIV3Schema 'items' must be a schema, but is an array".to_owned());
    }
    children(schema).find_map(unsupported)
}

/// The schemas right below.
fn children(schema: &JSONSchemaProps) -> impl Iterator<Item = &JSONSchemaProps> {
    let lists = [&schema.all_of, &schema.any_of, &schema.one_of].into_iter().flatten().flatten();
    let properties = schema.properties.iter().flatten().map(|(_, schema)| schema);
    lists
        .chain(schema.not.as_deref())
        .chain(items(schema))
        .chain(properties)
        .chain(additional(schema))
}

fn items(schema: &JSONSchemaProps) -> Option<&JSONSchemaProps> {
    match &schema.items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => Some(items),
        _ => None,
    }
}

fn additional(schema: &JSONSchemaProps) -> Option<&JSONSchemaProps> {
    match &schema.additional_properties {
        Some(JSONSchemaPropsOrBool::Schema(schema)) => Some(schema),
        _ => None,
    }
}

fn is(flag: Option<bool>) -> bool {
    flag == Some(true)
}

fn kind(schema: &JSONSchemaProps) -> &str {
    schema.type_.as_deref().unwrap_or_default()
}

/// All problems of a schema's structure, sorted as upstream sorts them.
pub fn validate(schema: &JSONSchemaProps, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    validate_invariants(schema, Level::Root, path, &mut errors);
    complete_values(schema, Some(schema), path, path, &mut errors);
    errors.sort_by_cached_key(ToString::to_string);
    errors
}

fn validate_invariants(
    schema: &JSONSchemaProps,
    level: Level,
    path: &str,
    errors: &mut Vec<FieldError>,
) {
    let field = |name: &str| format!("{path}.{name}");
    let is_embedded = is(schema.x_kubernetes_embedded_resource);
    let has_items = match &schema.items {
        Some(JSONSchemaPropsOrArray::Schemas(list)) => !list.is_empty(),
        items => items.is_some(),
    };
    if kind(schema) == "array" && !has_items {
        errors.push(FieldError::required(field("items"), "must be specified"));
    }
    if let Some(items) = items(schema) {
        validate_invariants(items, Level::Item, &field("items"), errors);
    }
    for (name, property) in schema.properties.iter().flatten() {
        let path = format!("{path}.properties[{name}]");
        validate_invariants(property, Level::Field, &path, errors);
    }
    if schema.additional_properties.is_some() && level == Level::Root {
        let why = "must not be used at the root";
        errors.push(FieldError::forbidden(field("additionalProperties"), why));
    }
    if let Some(additional) = additional(schema) {
        validate_invariants(additional, Level::Field, &field("additionalProperties"), errors);
    }
    if is(schema.x_kubernetes_int_or_string) {
        let why = "must be false if x-kubernetes-int-or-string is true";
        for (flag, name) in [
            (schema.x_kubernetes_preserve_unknown_fields, "x-kubernetes-preserve-unknown-fields"),
            (schema.x_kubernetes_embedded_resource, "x-kubernetes-embedded-resource"),
        ] {
            if is(flag) {
                errors.push(FieldError::invalid(field(name), true, why));
            }
        }
    }
    let skips = Skips {
        any_of: is_int_or_string(schema.any_of.as_deref()),
        first_all_of: schema
            .all_of
            .as_ref()
            .and_then(|list| list.first())
            .is_some_and(|first| is_int_or_string(first.any_of.as_deref())),
    };
    validate_values(schema, skips, path, errors);
    validate_type(schema, level, path, errors);
    let is_resource = level == Level::Root || is_embedded;
    for name in ["kind", "apiVersion"] {
        let property = schema.properties.as_ref().and_then(|properties| properties.get(name));
        if let Some(property) = property.filter(|it| is_resource && kind(it) != "string") {
            let path = format!("{path}.properties[{name}].type");
            errors.push(FieldError::invalid(path, kind(property), "must be string"));
        }
    }
    let metadata = schema.properties.as_ref().and_then(|properties| properties.get("metadata"));
    if let Some(metadata) = metadata {
        let path = format!("{path}.properties[metadata]");
        if is_resource && kind(metadata) != "object" {
            let why = "must be object";
            errors.push(FieldError::invalid(format!("{path}.type"), kind(metadata), why));
        }
        if level == Level::Root && !is_plain_metadata(metadata) {
            let why = "must not specify anything other than name and generateName, but metadata is implicitly specified";
            errors.push(FieldError::forbidden(path, why));
        }
    }
    let has_properties = schema.properties.as_ref().is_some_and(|it| !it.is_empty());
    if is_embedded && !is(schema.x_kubernetes_preserve_unknown_fields) && !has_properties {
        let why = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
        errors.push(FieldError::required(field("properties"), why));
    }
}

fn validate_type(
    schema: &JSONSchemaProps,
    level: Level,
    path: &str,
    errors: &mut Vec<FieldError>,
) {
    let field = |name: &str| format!("{path}.{name}");
    let kind = kind(schema);
    let is_embedded = is(schema.x_kubernetes_embedded_resource);
    let is_free = is(schema.x_kubernetes_int_or_string)
        || is(schema.x_kubernetes_preserve_unknown_fields);
    if is_embedded && kind != "object" {
        let why = "must be object if x-kubernetes-embedded-resource is true";
        errors.push(match kind {
            "" => FieldError::required(field("type"), why),
            kind => FieldError::invalid(field("type"), kind, why),
        });
    } else if kind.is_empty() && !is_free {
        let why = match level {
            Level::Root => "must not be empty at the root",
            Level::Item => "must not be empty for specified array items",
            Level::Field => "must not be empty for specified object fields",
        };
        errors.push(FieldError::required(field("type"), why));
    }
    if is_embedded && schema.additional_properties.is_some() {
        let why = "must not be used if x-kubernetes-embedded-resource is set";
        errors.push(FieldError::forbidden(field("additionalProperties"), why));
    }
    if level == Level::Root && !kind.is_empty() && kind != "object" {
        errors.push(FieldError::invalid(field("type"), kind, "must be object at the root"));
    }
}

/// Whether a schema of metadata says nothing but of the names.
fn is_plain_metadata(metadata: &JSONSchemaProps) -> bool {
    let names = metadata.properties.iter().flatten();
    let are_names =
        names.into_iter().all(|(name, _)| matches!(name.as_str(), "name" | "generateName"));
    let mut rest = metadata.clone();
    rest.type_ = None;
    rest.default = None;
    rest.properties = None;
    are_names && rest == JSONSchemaProps::default()
}

fn is_int_or_string(list: Option<&[JSONSchemaProps]>) -> bool {
    let only = |kind: &str| JSONSchemaProps { type_: Some(kind.to_owned()), ..Default::default() };
    list.is_some_and(|list| *list == [only("integer"), only("string")])
}

/// Which pattern of `x-kubernetes-int-or-string` is let through though it names types.
#[derive(Clone, Copy, Default)]
struct Skips {
    any_of: bool,
    first_all_of: bool,
}

fn validate_values(
    schema: &JSONSchemaProps,
    skips: Skips,
    path: &str,
    errors: &mut Vec<FieldError>,
) {
    for (field, list) in
        [("anyOf", &schema.any_of), ("allOf", &schema.all_of), ("oneOf", &schema.one_of)]
    {
        if field == "anyOf" && skips.any_of {
            continue;
        }
        for (index, nested) in list.iter().flatten().enumerate() {
            let any_of = field == "allOf" && index == 0 && skips.first_all_of;
            let skips = Skips { any_of, ..Skips::default() };
            validate_nested(nested, skips, &format!("{path}.{field}[{index}]"), errors);
        }
    }
    if let Some(not) = &schema.not {
        validate_nested(not, Skips::default(), &format!("{path}.not"), errors);
    }
    let pattern = schema.pattern.as_deref().unwrap_or_default();
    if let Err(why) = go_regexp::compile(pattern) {
        let why = format!("must be a valid regular expression, but isn't: {why}");
        errors.push(FieldError::invalid(format!("{path}.pattern"), pattern, why));
    }
}

/// What stands under a junctor defines nothing.
fn validate_nested(
    schema: &JSONSchemaProps,
    skips: Skips,
    path: &str,
    errors: &mut Vec<FieldError>,
) {
    validate_values(schema, skips, path, errors);
    if let Some(items) = items(schema) {
        validate_nested(items, Skips::default(), &format!("{path}.items"), errors);
    }
    for (name, property) in schema.properties.iter().flatten() {
        let path = format!("{path}.properties[{name}]");
        validate_nested(property, Skips::default(), &path, errors);
    }
    const EMPTY: &str = "must be empty to be structural";
    const UNDEFINED: &str = "must be undefined to be structural";
    const FALSE: &str = "must be false to be structural";
    let is_text = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    let has_additional = matches!(
        &schema.additional_properties,
        Some(JSONSchemaPropsOrBool::Schema(_) | JSONSchemaPropsOrBool::Bool(true))
    );
    let has_keys = schema.x_kubernetes_list_map_keys.as_ref().is_some_and(|it| !it.is_empty());
    let has_rules = schema.x_kubernetes_validations.as_ref().is_some_and(|it| !it.is_empty());
    let forbidden = [
        (is_text(&schema.type_), "type", EMPTY),
        (has_additional, "additionalProperties", UNDEFINED),
        (schema.default.is_some(), "default", UNDEFINED),
        (is_text(&schema.title), "title", EMPTY),
        (is_text(&schema.description), "description", EMPTY),
        (is(schema.nullable), "nullable", FALSE),
        (
            is(schema.x_kubernetes_preserve_unknown_fields),
            "x-kubernetes-preserve-unknown-fields",
            FALSE,
        ),
        (is(schema.x_kubernetes_embedded_resource), "x-kubernetes-embedded-resource", FALSE),
        (is(schema.x_kubernetes_int_or_string), "x-kubernetes-int-or-string", FALSE),
        (has_keys, "x-kubernetes-list-map-keys", EMPTY),
        (schema.x_kubernetes_list_type.is_some(), "x-kubernetes-list-type", UNDEFINED),
        (schema.x_kubernetes_map_type.is_some(), "x-kubernetes-map-type", UNDEFINED),
        (has_rules, "x-kubernetes-validations", EMPTY),
        (
            schema.properties.as_ref().is_some_and(|it| it.contains_key("metadata")),
            "properties[metadata]",
            "must not be specified in a nested context",
        ),
    ];
    let wrong = forbidden.into_iter().filter(|(is_there, _, _)| *is_there);
    errors.extend(
        wrong.map(|(_, field, why)| FieldError::forbidden(format!("{path}.{field}"), why)),
    );
}

/// What is narrowed is defined outside of the junctors. `path` is where it should be defined, `at`
/// where it is narrowed.
fn complete_values(
    values: &JSONSchemaProps,
    schema: Option<&JSONSchemaProps>,
    path: &str,
    at: &str,
    errors: &mut Vec<FieldError>,
) {
    if let Some(not) = &values.not {
        complete_nested(not, schema, path, &format!("{at}.not"), errors);
    }
    for (field, list) in
        [("allOf", &values.all_of), ("anyOf", &values.any_of), ("oneOf", &values.one_of)]
    {
        for (index, nested) in list.iter().flatten().enumerate() {
            complete_nested(nested, schema, path, &format!("{at}.{field}[{index}]"), errors);
        }
    }
}

fn complete_nested(
    values: &JSONSchemaProps,
    schema: Option<&JSONSchemaProps>,
    path: &str,
    at: &str,
    errors: &mut Vec<FieldError>,
) {
    let Some(schema) = schema else {
        errors.push(FieldError::required(path, format!("because it is defined in {at}")));
        return;
    };
    complete_values(values, Some(schema), path, at, errors);
    if let Some(nested) = items(values) {
        let (path, at) = (format!("{path}.items"), format!("{at}.items"));
        complete_nested(nested, items(schema), &path, &at, errors);
    }
    for (name, nested) in values.properties.iter().flatten() {
        let property = schema.properties.as_ref().and_then(|properties| properties.get(name));
        let step = |path: &str| format!("{path}.properties[{name}]");
        complete_nested(nested, property, &step(path), &step(at), errors);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn texts(schema: Value) -> Vec<String> {
        let schema: JSONSchemaProps = serde_json::from_value(schema).expect("a schema");
        validate(&schema, "s").iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_value_has_a_type() {
        let none: [String; 0] = [];
        let schema = json!({"type": "object", "properties": {
            "a": {"type": "array", "items": {"type": "string"}},
            "b": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]},
            "c": {"x-kubernetes-preserve-unknown-fields": true},
            "metadata": {"type": "object", "properties": {"name": {"type": "string", "maxLength": 5}}},
        }});
        assert_eq!(texts(schema), none);
        let schema = json!({"properties": {
            "a": {"type": "array"},
            "b": {"items": {}},
            "kind": {"type": "integer"},
            "metadata": {"type": "object", "properties": {"labels": {"type": "object"}}},
        }, "additionalProperties": true});
        assert_eq!(
            texts(schema),
            [
                "s.additionalProperties: Forbidden: must not be used at the root",
                "s.properties[a].items: Required value: must be specified",
                "s.properties[b].items.type: Required value: must not be empty for specified array items",
                "s.properties[b].type: Required value: must not be empty for specified object fields",
                "s.properties[kind].type: Invalid value: \"integer\": must be string",
                "s.properties[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata is implicitly specified",
                "s.type: Required value: must not be empty at the root",
            ]
        );
    }

    #[test]
    fn junctors_only_narrow() {
        let schema = json!({
            "type": "object",
            "properties": {"a": {"type": "string"}},
            "anyOf": [
                {"properties": {"a": {"minLength": 1}, "b": {"minLength": 1}}},
                {"type": "object", "description": "x", "properties": {"metadata": {}}},
            ],
            "not": {"items": {"minLength": 1}, "nullable": true},
        });
        assert_eq!(
            texts(schema),
            [
                "s.anyOf[1].description: Forbidden: must be empty to be structural",
                "s.anyOf[1].properties[metadata]: Forbidden: must not be specified in a nested context",
                "s.anyOf[1].type: Forbidden: must be empty to be structural",
                "s.items: Required value: because it is defined in s.not.items",
                "s.not.nullable: Forbidden: must be false to be structural",
                "s.properties[b]: Required value: because it is defined in s.anyOf[0].properties[b]",
                "s.properties[metadata]: Required value: because it is defined in s.anyOf[1].properties[metadata]",
            ]
        );
    }

    #[test]
    fn patterns_are_regular_expressions() {
        let schema = json!({"type": "object", "properties": {"a": {"type": "string", "pattern": "("}}});
        let told = texts(schema);
        assert!(told[0].starts_with("s.properties[a].pattern: Invalid value: \"(\": must be a valid regular expression, but isn't: "), "{told:?}");
    }
}
