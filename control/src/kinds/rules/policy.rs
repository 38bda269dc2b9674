//! Admission policies: what those that judge and those that change share.
//!
//! Source: `pkg/apis/admissionregistration/validation/validation.go`.

use k8s_openapi::api::admissionregistration::v1::Variable;

use super::admission_match as matching;
use crate::cel::{self, Policy};
use crate::kinds::{Column, FieldError};

pub const PARAM_KIND: Column =
    Column::new("ParamKind", "string", 0, "The kind of the policy's parameters.");

/// Variables have the names of identifiers, and a value, which what comes after may name.
pub fn validate_variables(variables: &[Variable], policy: &mut Policy) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (index, variable) in variables.iter().enumerate() {
        let field = |name: &str| format!("spec.variables[{index}].{name}");
        let name = variable.name.as_str();
        if name.trim().is_empty() {
            errors.push(FieldError::required(field("name"), "name is not specified"));
        } else if !is_identifier(name) {
            let why = "must be a valid CEL identifier";
            errors.push(FieldError::invalid(field("name"), name, why));
        }
        let missing = "expression is not specified";
        let path = field("expression");
        let compile = |expression: &str| policy.variable(name, expression);
        errors.extend(matching::validate_expression(&variable.expression, missing, path, compile));
    }
    errors
}

/// Whether a variable may bear this name. Source: `isCELIdentifier` in
/// `pkg/apis/admissionregistration/validation/validation.go`.
fn is_identifier(name: &str) -> bool {
    let is_start = |letter: char| letter == '_' || letter.is_ascii_alphabetic();
    name.starts_with(is_start)
        && name.chars().all(|letter| is_start(letter) || letter.is_ascii_digit())
        && !cel::KEYWORDS.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_not_reserved() {
        for (name, is) in [("a_1", true), ("_x", true), ("1a", false), ("in", false), ("", false)] {
            assert_eq!(is_identifier(name), is, "{name}");
        }
    }
}
