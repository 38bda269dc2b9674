//! Admission policies: what those that judge and those that change share.
//!
//! Source: `pkg/apis/admissionregistration/validation/validation.go`.

use k8s_openapi::api::admissionregistration::v1::Variable;

use super::{admission_match as matching, cel};
use crate::kinds::{Column, FieldError};

pub const PARAM_KIND: Column =
    Column::new("ParamKind", "string", 0, "The kind of the policy's parameters.");

/// Variables have the names of identifiers, and a value.
pub fn validate_variables(variables: Option<&[Variable]>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (index, variable) in variables.unwrap_or_default().iter().enumerate() {
        let field = |name: &str| format!("spec.variables[{index}].{name}");
        let name = variable.name.as_str();
        if name.trim().is_empty() {
            errors.push(FieldError::required(field("name"), "name is not specified"));
        } else if !cel::is_identifier(name) {
            let why = "must be a valid CEL identifier";
            errors.push(FieldError::invalid(field("name"), name, why));
        }
        let missing = "expression is not specified";
        let path = field("expression");
        errors.extend(matching::validate_expression(&variable.expression, missing, path));
    }
    errors
}

/// The paths of the variables' expressions.
pub fn variable_paths(variables: Option<&[Variable]>) -> Vec<String> {
    let count = variables.map_or(0, <[_]>::len);
    (0..count).map(|index| format!("spec.variables[{index}].expression")).collect()
}
