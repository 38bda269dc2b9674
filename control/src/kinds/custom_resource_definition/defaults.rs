//! The default values in a schema, which are values of that schema.
//!
//! Judged are what would be pruned, and the types and limits of values. What upstream also judges, the
//! rules in CEL, is not. Source: `pkg/apiserver/schema/defaulting/{validation,prune}.go`.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaProps;

use crate::kinds::FieldError;
use crate::kinds::rules::json_schema;

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
        errors.extend(json_schema::validate(&default.0, schema, &path));
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
