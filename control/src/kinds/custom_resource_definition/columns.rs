//! The columns, subresources and selectable fields of a kind that users bring.
//!
//! Source: `pkg/apis/apiextensions/validation/validation.go`.

use std::collections::BTreeSet;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceColumnDefinition, CustomResourceSubresources, JSONSchemaProps, SelectableField,
};

use super::paths;
use crate::kinds::FieldError;

const SELECTABLE_MAX: usize = 8;

pub fn validate_column(column: &CustomResourceColumnDefinition, path: &str) -> Vec<FieldError> {
    const TYPES: &[&str] = &["boolean", "date", "integer", "number", "string"];
    const FORMATS: &[&str] =
        &["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];
    let field = |name: &str| format!("{path}.{name}");
    let mut errors = Vec::new();
    if column.name.is_empty() {
        errors.push(FieldError::required(field("name"), ""));
    }
    let kind = column.type_.as_str();
    let why = format!("must be one of {}", TYPES.join(","));
    if kind.is_empty() {
        errors.push(FieldError::required(field("type"), why));
    } else if !TYPES.contains(&kind) {
        errors.push(FieldError::invalid(field("type"), kind, why));
    }
    let format = column.format.as_deref().unwrap_or_default();
    if !format.is_empty() && !FORMATS.contains(&format) {
        let why = format!("must be one of {}", FORMATS.join(","));
        errors.push(FieldError::invalid(field("format"), format, why));
    }
    if column.json_path.is_empty() {
        errors.push(FieldError::required(field("JSONPath"), ""));
    } else {
        errors.extend(validate_simple_path(&column.json_path, field("JSONPath")));
    }
    errors
}

fn validate_simple_path(text: &str, path: String) -> Option<FieldError> {
    let why = "must be a simple json path starting with .";
    (!text.starts_with('.')).then(|| FieldError::invalid(path, text, why))
}

pub fn validate_subresources(
    subresources: Option<&CustomResourceSubresources>,
    path: &str,
) -> Vec<FieldError> {
    let Some(scale) = subresources.and_then(|subresources| subresources.scale.as_ref()) else {
        return Vec::new();
    };
    let mut errors = Vec::new();
    for (text, field, under) in [
        (&scale.spec_replicas_path, "specReplicasPath", ".spec"),
        (&scale.status_replicas_path, "statusReplicasPath", ".status"),
    ] {
        let path = format!("{path}.scale.{field}");
        if text.is_empty() {
            errors.push(FieldError::required(path, ""));
        } else if let Some(error) = validate_simple_path(text, path.clone()) {
            errors.push(error);
        } else if !text.starts_with(&format!("{under}.")) {
            let why = format!("should be a json path under {under}");
            errors.push(FieldError::invalid(path, text.as_str(), why));
        }
    }
    let selector = scale.label_selector_path.as_deref().unwrap_or_default();
    if !selector.is_empty() {
        let path = format!("{path}.scale.labelSelectorPath");
        if let Some(error) = validate_simple_path(selector, path.clone()) {
            errors.push(error);
        } else if ![".spec.", ".status."].iter().any(|under| selector.starts_with(under)) {
            let why = "should be a json path under either .spec or .status";
            errors.push(FieldError::invalid(path, selector, why));
        }
    }
    errors
}

pub fn validate_selectable(
    fields: &[SelectableField],
    schema: &JSONSchemaProps,
    path: &str,
) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, field) in fields.iter().enumerate() {
        let (text, at) = (field.json_path.as_str(), format!("{path}[{index}].jsonPath"));
        if text.is_empty() {
            errors.push(FieldError::required(at, ""));
            continue;
        }
        let found = match paths::resolve(text, schema, paths::Arrays::Refused) {
            Ok(found) => found,
            Err(why) => {
                let why = format!("is an invalid path: {why}");
                errors.push(FieldError::invalid(at, text, why));
                continue;
            }
        };
        if found.names.first().is_some_and(|first| first == "metadata") {
            let why = "must not point to fields in metadata";
            errors.push(FieldError::invalid(at.as_str(), text, why));
        }
        let kind = found.schema.and_then(|schema| schema.type_.as_deref());
        if !matches!(kind, Some("string" | "boolean" | "integer")) {
            let why = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.";
            errors.push(FieldError::invalid(at.as_str(), text, why));
        }
        if !seen.insert(found.names) {
            errors.push(FieldError::duplicate(at, text));
        }
    }
    if seen.len() > SELECTABLE_MAX {
        errors.push(FieldError::too_many(path, seen.len(), SELECTABLE_MAX));
    }
    errors
}
