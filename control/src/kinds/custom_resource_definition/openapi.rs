//! The schemas of a definition: what of OpenAPI may stand in them.
//!
//! Source: `ValidateCustomResourceDefinitionOpenAPISchema` in
//! `pkg/apis/apiextensions/validation/validation.go`.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinitionSpec, CustomResourceValidation, JSONSchemaProps,
    JSONSchemaPropsOrArray, JSONSchemaPropsOrBool, JSONSchemaPropsOrStringArray, ValidationRule,
};
use serde_json::{Value, json};

use super::{defaults, paths, rules, structural};
use crate::kinds::{FieldError, Shown};

const SCHEMA: &str =
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";

/// The schemas of all versions.
pub fn schemas(spec: &CustomResourceDefinitionSpec) -> impl Iterator<Item = &JSONSchemaProps> {
    let schemas = spec.versions.iter().filter_map(|version| version.schema.as_ref());
    schemas.filter_map(|schema| schema.open_api_v3_schema.as_ref())
}

/// Shows a schema and all schemas in it.
pub fn visit<'a>(schema: &'a JSONSchemaProps, see: &mut dyn FnMut(&'a JSONSchemaProps)) {
    see(schema);
    match &schema.items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => visit(items, see),
        Some(JSONSchemaPropsOrArray::Schemas(items)) => {
            items.iter().for_each(|items| visit(items, see));
        }
        None => {}
    }
    for list in [&schema.all_of, &schema.any_of, &schema.one_of] {
        list.iter().flatten().for_each(|schema| visit(schema, see));
    }
    schema.not.iter().for_each(|schema| visit(schema, see));
    for map in [&schema.properties, &schema.pattern_properties, &schema.definitions] {
        map.iter().flatten().for_each(|(_, schema)| visit(schema, see));
    }
    for either in [&schema.additional_properties, &schema.additional_items] {
        if let Some(JSONSchemaPropsOrBool::Schema(schema)) = either {
            visit(schema, see);
        }
    }
    for (_, either) in schema.dependencies.iter().flatten() {
        if let JSONSchemaPropsOrStringArray::Schema(schema) = either {
            visit(schema, see);
        }
    }
}

pub fn has_defaults(spec: &CustomResourceDefinitionSpec) -> bool {
    let mut found = false;
    for schema in schemas(spec) {
        visit(schema, &mut |schema| found |= schema.default.is_some());
    }
    found
}

fn is_set<T>(list: &Option<Vec<T>>) -> bool {
    list.as_ref().is_some_and(|list| !list.is_empty())
}

/// All problems of the schema at `path`. `has_status`: the objects have a status of their own.
pub fn validate(
    validation: Option<&CustomResourceValidation>,
    has_status: bool,
    path: &str,
) -> Vec<FieldError> {
    let Some(schema) = validation.and_then(|it| it.open_api_v3_schema.as_ref()) else {
        return Vec::new();
    };
    let path = format!("{path}.openAPIV3Schema");
    let mut errors = Vec::new();
    if has_status {
        errors.extend(validate_root(schema, &path));
    }
    if schema.nullable == Some(true) {
        let why = "nullable cannot be true at the root";
        errors.push(FieldError::forbidden(format!("{path}.nullable"), why));
    }
    let unsupported = structural::unsupported(schema);
    if unsupported.is_none() {
        let problems = structural::validate(schema, &path);
        if problems.is_empty() {
            errors.extend(defaults::validate(schema, &path));
        }
        errors.extend(problems);
    }
    let place = Place { is_root: true, in_metadata: false, no_defaults: None };
    validate_schema(schema, &path, &place, &mut errors);
    if unsupported.is_none() {
        let problems = rules::validate(schema, &path, &errors);
        errors.extend(problems);
    }
    // It is said in other words, too, unless nothing else is said.
    if let Some(why) = unsupported.filter(|_| errors.is_empty()) {
        errors.push(FieldError::invalid(path, "", why));
    }
    errors
}

/// Where there is a status of its own, its schema is taken out of the properties of the whole: what
/// else stands at the root would be lost.
fn validate_root(schema: &JSONSchemaProps, path: &str) -> Option<FieldError> {
    const ALLOWED: &str = "Description Type Format Title Maximum ExclusiveMaximum Minimum ExclusiveMinimum MaxLength MinLength Pattern MaxItems MinItems UniqueItems MultipleOf Required Items Properties ExternalDocs Example XPreserveUnknownFields XValidations";
    let refuse = || {
        let value = Shown::internal(SCHEMA, &json!(schema));
        let why = format!(
            "only [{ALLOWED}] fields are allowed at the root of the schema if the status subresource is enabled"
        );
        Some(FieldError::invalid(path, value, why))
    };
    let is_text = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    if is_text(&schema.id) || is_text(&schema.schema) || schema.ref_path.is_some() {
        return refuse();
    }
    let kind = schema.type_.as_deref().unwrap_or_default();
    if !kind.is_empty() && kind != "object" {
        let why = "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled";
        return Some(FieldError::invalid(format!("{path}.type"), kind, why));
    }
    let others = [
        schema.nullable == Some(true),
        is_set(&schema.enum_),
        schema.max_properties.is_some(),
        schema.min_properties.is_some(),
        is_set(&schema.all_of) || is_set(&schema.one_of) || is_set(&schema.any_of),
        schema.not.is_some(),
        schema.additional_properties.is_some() || schema.additional_items.is_some(),
        schema.pattern_properties.is_some() || schema.definitions.is_some(),
        schema.dependencies.is_some(),
        schema.default.is_some(),
        schema.x_kubernetes_embedded_resource == Some(true),
        schema.x_kubernetes_int_or_string == Some(true),
        is_set(&schema.x_kubernetes_list_map_keys),
        schema.x_kubernetes_list_type.is_some() || schema.x_kubernetes_map_type.is_some(),
    ];
    if others.contains(&true) { refuse() } else { None }
}

/// Where a schema stands.
#[derive(Clone)]
struct Place {
    is_root: bool,
    /// In the schema of a resource's metadata, kind or version.
    in_metadata: bool,
    /// Why no default may be set here.
    no_defaults: Option<String>,
}

impl Place {
    fn inside(&self) -> Self {
        Self { is_root: false, ..self.clone() }
    }
}

fn is(flag: Option<bool>) -> bool {
    flag == Some(true)
}

fn validate_schema(
    schema: &JSONSchemaProps,
    path: &str,
    place: &Place,
    errors: &mut Vec<FieldError>,
) {
    const METADATA: [&str; 3] = ["metadata", "kind", "apiVersion"];
    let inside = place.inside();
    validate_standard(schema, path, place, errors);
    if is(schema.unique_items) {
        let why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        errors.push(FieldError::forbidden(format!("{path}.uniqueItems"), why));
    }
    validate_additional(schema, path, &inside, errors);
    let is_resource = place.is_root || is(schema.x_kubernetes_embedded_resource);
    for (name, property) in schema.properties.iter().flatten() {
        let mut there = inside.clone();
        if is_resource && METADATA.contains(&name.as_str()) {
            there.in_metadata = true;
            if place.is_root {
                there.no_defaults = Some(format!("in top-level {name}"));
            }
        }
        validate_schema(property, &format!("{path}.properties[{name}]"), &there, errors);
    }
    if let Some(not) = &schema.not {
        validate_schema(not, &format!("{path}.not"), &inside, errors);
    }
    for (field, list) in
        [("allOf", &schema.all_of), ("oneOf", &schema.one_of), ("anyOf", &schema.any_of)]
    {
        for (index, schema) in list.iter().flatten().enumerate() {
            validate_schema(schema, &format!("{path}.{field}[{index}]"), &inside, errors);
        }
    }
    for (name, schema) in schema.definitions.iter().flatten() {
        validate_schema(schema, &format!("{path}.definitions[{name}]"), &inside, errors);
    }
    match &schema.items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => {
            validate_schema(items, &format!("{path}.items"), &inside, errors);
        }
        Some(JSONSchemaPropsOrArray::Schemas(list)) => {
            for (index, items) in list.iter().enumerate() {
                validate_schema(items, &format!("{path}.items[{index}]"), &inside, errors);
            }
        }
        None => {}
    }
    for (name, either) in schema.dependencies.iter().flatten() {
        if let JSONSchemaPropsOrStringArray::Schema(schema) = either {
            validate_schema(schema, &format!("{path}.dependencies[{name}]"), &inside, errors);
        }
    }
    validate_extensions(schema, path, errors);
    for (index, rule) in schema.x_kubernetes_validations.iter().flatten().enumerate() {
        let path = format!("{path}.x-kubernetes-validations[{index}]");
        validate_rule(rule, schema, &path, errors);
    }
}

/// What of OpenAPI is not taken.
fn validate_standard(
    schema: &JSONSchemaProps,
    path: &str,
    place: &Place,
    errors: &mut Vec<FieldError>,
) {
    const TYPES: &[&str] = &["array", "boolean", "integer", "number", "object", "string"];
    let kind = schema.type_.as_deref().unwrap_or_default();
    if !kind.is_empty() && !TYPES.contains(&kind) {
        errors.push(FieldError::not_supported(format!("{path}.type"), kind, TYPES));
    }
    if let (Some(_), Some(reason)) = (&schema.default, &place.no_defaults) {
        let why = format!("must not be set {reason}");
        errors.push(FieldError::forbidden(format!("{path}.default"), why));
    }
    let has_items = matches!(
        &schema.items,
        Some(JSONSchemaPropsOrArray::Schemas(items)) if !items.is_empty()
    );
    let is_filled = |map: &Option<std::collections::BTreeMap<_, _>>| {
        map.as_ref().is_some_and(|map: &std::collections::BTreeMap<String, JSONSchemaProps>| !map.is_empty())
    };
    for (is_there, field) in [
        (schema.id.as_ref().is_some_and(|id| !id.is_empty()), "id"),
        (schema.additional_items.is_some(), "additionalItems"),
        (is_filled(&schema.pattern_properties), "patternProperties"),
        (is_filled(&schema.definitions), "definitions"),
        (schema.dependencies.is_some(), "dependencies"),
        (schema.ref_path.is_some(), "$ref"),
    ] {
        if is_there {
            let why = format!("{field} is not supported");
            errors.push(FieldError::forbidden(format!("{path}.{field}"), why));
        }
    }
    let others = [
        (kind == "null", "type", "type cannot be set to null, use nullable as an alternative"),
        (has_items, "items", "items must be a schema object and not an array"),
        (
            place.in_metadata && is(schema.x_kubernetes_embedded_resource),
            "x-kubernetes-embedded-resource",
            "must not be used inside of resource meta",
        ),
    ];
    for (is_there, field, why) in others {
        if is_there {
            errors.push(FieldError::forbidden(format!("{path}.{field}"), why));
        }
    }
}

/// Maps and objects exclude each other.
fn validate_additional(
    schema: &JSONSchemaProps,
    path: &str,
    inside: &Place,
    errors: &mut Vec<FieldError>,
) {
    let Some(additional) = &schema.additional_properties else { return };
    let path = format!("{path}.additionalProperties");
    let has_properties = schema.properties.as_ref().is_some_and(|it| !it.is_empty());
    if has_properties && !matches!(additional, JSONSchemaPropsOrBool::Bool(true)) {
        let why = "additionalProperties and properties are mutual exclusive";
        errors.push(FieldError::forbidden(path.as_str(), why));
    }
    if let JSONSchemaPropsOrBool::Schema(schema) = additional {
        let mut there = inside.clone();
        if there.in_metadata {
            let why = "inside additionalProperties applying to object metadata";
            there.no_defaults = Some(why.to_owned());
        }
        validate_schema(schema, &path, &there, errors);
    }
}

fn single_items(schema: &JSONSchemaProps) -> Option<&JSONSchemaProps> {
    match &schema.items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => Some(items),
        _ => None,
    }
}

/// What Kubernetes adds to OpenAPI.
fn validate_extensions(schema: &JSONSchemaProps, path: &str, errors: &mut Vec<FieldError>) {
    if schema.x_kubernetes_preserve_unknown_fields == Some(false) {
        let path = format!("{path}.x-kubernetes-preserve-unknown-fields");
        errors.push(FieldError::invalid(path, false, "must be true or undefined"));
    }
    let kind = schema.type_.as_deref().unwrap_or_default();
    let map_type = schema.x_kubernetes_map_type.as_deref();
    if map_type.is_some() && kind != "object" {
        let why = "must be object if x-kubernetes-map-type is specified";
        errors.push(typed(path, kind, why));
    }
    if let Some(map_type) = map_type.filter(|it| !matches!(*it, "atomic" | "granular")) {
        let path = format!("{path}.x-kubernetes-map-type");
        errors.push(FieldError::not_supported(path, map_type, &["atomic", "granular"]));
    }
    let list_type = schema.x_kubernetes_list_type.as_deref();
    if list_type.is_some() && kind != "array" {
        let why = "must be array if x-kubernetes-list-type is specified";
        errors.push(typed(path, kind, why));
    } else if let (Some("set"), Some(items)) = (list_type, single_items(schema)) {
        validate_set_items(items, path, errors);
    }
    if let Some(list_type) = list_type.filter(|it| !matches!(*it, "atomic" | "set" | "map")) {
        let path = format!("{path}.x-kubernetes-list-type");
        errors.push(FieldError::not_supported(path, list_type, &["atomic", "set", "map"]));
    }
    if is_set(&schema.x_kubernetes_list_map_keys) {
        let why = "must be map if x-kubernetes-list-map-keys is non-empty";
        let path = format!("{path}.x-kubernetes-list-type");
        match list_type {
            None => errors.push(FieldError::required(path, why)),
            Some("map") => {}
            Some(other) => errors.push(FieldError::invalid(path, other, why)),
        }
    }
    if list_type == Some("map") {
        validate_list_map(schema, path, errors);
    }
    if let (Some(list_type @ ("set" | "map")), Some(items)) = (list_type, single_items(schema)) {
        validate_keyed_items(schema, items, list_type, path, errors);
    }
}

/// A type that is missing or another one.
fn typed(path: &str, kind: &str, why: &str) -> FieldError {
    let path = format!("{path}.type");
    match kind {
        "" => FieldError::required(path, why),
        kind => FieldError::invalid(path, kind, why),
    }
}

/// The items of sets are compared as a whole.
fn validate_set_items(items: &JSONSchemaProps, path: &str, errors: &mut Vec<FieldError>) {
    const WHY: &str = "must be atomic as item of a list with x-kubernetes-list-type=set";
    let list_type = items.x_kubernetes_list_type.as_deref();
    // Upstream shows the list's type in both cases.
    let shown = list_type.map_or(Value::Null, Value::from);
    match items.type_.as_deref() {
        Some("array") if list_type.is_some_and(|it| it != "atomic") => {
            let path = format!("{path}.items.x-kubernetes-list-type");
            errors.push(FieldError::invalid(path, shown, WHY));
        }
        Some("object") if items.x_kubernetes_map_type.as_deref() != Some("atomic") => {
            let path = format!("{path}.items.x-kubernetes-map-type");
            errors.push(FieldError::invalid(path, shown, WHY));
        }
        _ => {}
    }
}

/// A list that is a map has objects as items, and keys among their properties.
fn validate_list_map(schema: &JSONSchemaProps, path: &str, errors: &mut Vec<FieldError>) {
    let keys = schema.x_kubernetes_list_map_keys.as_deref().unwrap_or_default();
    let keys_path = format!("{path}.x-kubernetes-list-map-keys");
    if keys.is_empty() {
        let why = "must not be empty if x-kubernetes-list-type is map";
        errors.push(FieldError::required(keys_path.as_str(), why));
    }
    let items_path = format!("{path}.items");
    let items = match &schema.items {
        None => {
            let why = "must have a schema if x-kubernetes-list-type is map";
            errors.push(FieldError::required(items_path, why));
            return;
        }
        Some(JSONSchemaPropsOrArray::Schemas(list)) => {
            let why = "must only have a single schema if x-kubernetes-list-type is map";
            let value = Shown::internal_field(SCHEMA, "items", json!(list));
            errors.push(FieldError::invalid(items_path, value, why));
            return;
        }
        Some(JSONSchemaPropsOrArray::Schema(items)) => items,
    };
    let kind = items.type_.as_deref().unwrap_or_default();
    if kind != "object" {
        let why = "must be object if parent array's x-kubernetes-list-type is map";
        errors.push(FieldError::invalid(format!("{items_path}.type"), kind, why));
        return;
    }
    for (index, key) in keys.iter().enumerate() {
        match items.properties.as_ref().and_then(|properties| properties.get(key)) {
            None => {
                let why = "entries must all be names of item properties";
                errors.push(FieldError::invalid(keys_path.as_str(), keys.to_vec(), why));
            }
            Some(property) => {
                if matches!(property.type_.as_deref(), Some("array" | "object")) {
                    let path = format!("{items_path}.properties[{key}].type");
                    let why =
                        "must be a scalar type if parent array's x-kubernetes-list-type is map";
                    errors.push(FieldError::invalid(path, kind, why));
                }
            }
        }
        if keys[..index].contains(key) {
            let why = "must not contain duplicate entries";
            errors.push(FieldError::invalid(keys_path.as_str(), keys.to_vec(), why));
        }
    }
}

/// Items that are told apart are there, and so are their keys.
fn validate_keyed_items(
    schema: &JSONSchemaProps,
    items: &JSONSchemaProps,
    list_type: &str,
    path: &str,
    errors: &mut Vec<FieldError>,
) {
    let path = format!("{path}.items");
    if is(items.nullable) {
        let why = format!("cannot be nullable when x-kubernetes-list-type is {list_type}");
        errors.push(FieldError::forbidden(format!("{path}.nullable"), why));
    }
    if list_type != "map" {
        return;
    }
    for key in schema.x_kubernetes_list_map_keys.iter().flatten() {
        let properties = items.properties.as_ref();
        let Some(property) = properties.and_then(|properties| properties.get(key)) else {
            continue;
        };
        let is_required = items.required.iter().flatten().any(|required| required == key);
        if !is_required && property.default.is_none() {
            let why = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
            errors.push(FieldError::required(format!("{path}.properties[{key}].default"), why));
        }
        if is(property.nullable) {
            let why =
                "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
            errors.push(FieldError::forbidden(format!("{path}.properties[{key}].nullable"), why));
        }
    }
}

fn validate_rule(
    rule: &ValidationRule,
    schema: &JSONSchemaProps,
    path: &str,
    errors: &mut Vec<FieldError>,
) {
    const REASONS: &[&str] = &[
        "FieldValueDuplicate",
        "FieldValueForbidden",
        "FieldValueInvalid",
        "FieldValueRequired",
    ];
    const EMPTY: &str = "must be non-empty if specified";
    const BREAKS: &str = "must not contain line breaks";
    let breaks = |text: &str| text.contains(['\n', '\r']);
    let field = |name: &str| format!("{path}.{name}");
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let (message, expression) = (text(&rule.message), text(&rule.message_expression));
    let trimmed = rule.rule.trim();
    if trimmed.is_empty() {
        errors.push(FieldError::required(field("rule"), "rule is not specified"));
    } else if !message.is_empty() && message.trim().is_empty() {
        errors.push(FieldError::invalid(field("message"), message.as_str(), EMPTY));
    } else if breaks(message.trim()) {
        errors.push(FieldError::invalid(field("message"), message.as_str(), BREAKS));
    } else if breaks(trimmed) && message.trim().is_empty() {
        let why = "message must be specified if rule contains line breaks";
        errors.push(FieldError::required(field("message"), why));
    }
    if !expression.is_empty() && expression.trim().is_empty() {
        let why = "messageExpression must be non-empty if specified";
        errors.push(FieldError::required(field("messageExpression"), why));
    }
    if let Some(reason) = rule.reason.as_deref().filter(|reason| !REASONS.contains(reason)) {
        errors.push(FieldError::not_supported(field("reason"), reason, REASONS));
    }
    let target = text(&rule.field_path);
    if target.is_empty() {
        return;
    }
    if target.trim().is_empty() {
        errors.push(FieldError::invalid(field("fieldPath"), target.as_str(), EMPTY));
    }
    if breaks(&target) {
        errors.push(FieldError::invalid(field("fieldPath"), target.as_str(), BREAKS));
    }
    if structural::unsupported(schema).is_none()
        && paths::resolve(&target, schema, paths::Arrays::Allowed).is_err()
    {
        let why = "must be a valid path";
        errors.push(FieldError::invalid(field("fieldPath"), target, why));
    }
}
