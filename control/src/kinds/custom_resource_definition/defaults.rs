//! The default values in a schema, which are values of that schema.
//!
//! Judged are what would be pruned, and the types and limits of values. What upstream also judges, the
//! rules in CEL, is not. Source: `pkg/apiserver/schema/{defaulting/{validation,prune},objectmeta/validation}.go`.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrBool,
};
use serde_json::Value;

use crate::kinds::rules::json_schema;
use crate::kinds::{FieldError, names};

/// All problems of the defaults at and below `path`.
pub fn validate(schema: &JSONSchemaProps, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    validate_in(schema, path, true, &mut errors);
    errors
}

fn validate_in(
    schema: &JSONSchemaProps,
    path: &str,
    is_resource: bool,
    errors: &mut Vec<FieldError>,
) {
    if let Some(default) = &schema.default {
        let path = format!("{path}.default");
        let mut pruned = default.0.clone();
        json_schema::prune(&mut pruned, schema, is_resource);
        if pruned != default.0 {
            let why = "must not have unknown fields";
            errors.push(FieldError::invalid(path.as_str(), default.0.clone(), why));
        }
        let mut problems = Vec::new();
        validate_resources(&default.0, schema, is_resource, &path, &mut problems);
        if problems.is_empty() {
            problems = json_schema::validate(&default.0, schema, &path);
        }
        errors.extend(problems);
    }
    if let Some(items) = json_schema::items(schema) {
        let is_resource = items.x_kubernetes_embedded_resource == Some(true);
        validate_in(items, &format!("{path}.items"), is_resource, errors);
    }
    for (name, property) in schema.properties.iter().flatten() {
        let is_resource = property.x_kubernetes_embedded_resource == Some(true);
        validate_in(property, &format!("{path}.properties[{name}]"), is_resource, errors);
    }
}

/// The version and the kind of a resource within a value: both are there.
fn validate_resources(
    value: &Value,
    schema: &JSONSchemaProps,
    is_resource: bool,
    path: &str,
    errors: &mut Vec<FieldError>,
) {
    let is_embedded = |schema: &JSONSchemaProps| schema.x_kubernetes_embedded_resource == Some(true);
    match value {
        Value::Object(fields) => {
            if is_resource {
                let version = validate_word(fields.get("apiVersion"), &format!("{path}.apiVersion"));
                errors.extend(version.err());
                match validate_word(fields.get("kind"), &format!("{path}.kind")) {
                    Ok(kind) => errors.extend(validate_kind(kind, &format!("{path}.kind"))),
                    Err(error) => errors.push(error),
                }
            }
            for (key, value) in fields {
                let property = schema.properties.as_ref().and_then(|all| all.get(key));
                match (property, &schema.additional_properties) {
                    (Some(schema), _) => {
                        let path = format!("{path}.{key}");
                        validate_resources(value, schema, is_embedded(schema), &path, errors);
                    }
                    (None, Some(JSONSchemaPropsOrBool::Schema(schema))) => {
                        let path = format!("{path}[{key}]");
                        validate_resources(value, schema, is_embedded(schema), &path, errors);
                    }
                    (None, Some(JSONSchemaPropsOrBool::Bool(_)) | None) => {}
                }
            }
        }
        Value::Array(list) => {
            let Some(schema) = json_schema::items(schema) else { return };
            for (index, value) in list.iter().enumerate() {
                let path = format!("{path}[{index}]");
                validate_resources(value, schema, is_embedded(schema), &path, errors);
            }
        }
        _ => {}
    }
}

fn validate_word<'a>(word: Option<&'a Value>, path: &str) -> Result<&'a str, FieldError> {
    match word {
        None => Err(FieldError::required(path, "")),
        Some(Value::String(word)) if word.is_empty() => {
            Err(FieldError::invalid(path, "", "must not be empty"))
        }
        Some(Value::String(word)) => Ok(word),
        Some(other) => Err(FieldError::invalid(path, other.clone(), "must be a string")),
    }
}

fn validate_kind(kind: &str, path: &str) -> Option<FieldError> {
    let problems = names::label_1035(&kind.to_lowercase());
    let why = "may have mixed case, but should otherwise match: ";
    (!problems.is_empty())
        .then(|| FieldError::invalid(path, kind, format!("{why}{}", problems.join(","))))
}
