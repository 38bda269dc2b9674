//! ValidatingAdmissionPolicies: expressions that judge requests. The API alone: nothing evaluates
//! them yet.
//!
//! Source: `pkg/registry/admissionregistration/validatingadmissionpolicy/strategy.go`.

use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::{
    AuditAnnotation, ValidatingAdmissionPolicy as Object, ValidatingAdmissionPolicySpec,
    Validation,
};
use serde_json::{Value, json};

use crate::cel::Policy;
use super::meta::invalid_each;
use super::rules::admission_match::{self as matching, FAILURE_POLICIES};
use super::rules::{conditions, policy};
use super::{
    Column, FieldError, Generation, Kind, KindInfo, Subresource, USER_METADATA, meta, names,
};

const ANNOTATIONS_MAX: usize = 20;
const VALUE_EXPRESSION_LENGTH_MAX: usize = 5 * 1024;

pub struct ValidatingAdmissionPolicies;

impl Kind for ValidatingAdmissionPolicies {
    type Object = Object;
    const INFO: KindInfo = KindInfo {
        categories: &["api-extensions"],
        subresources: &[Subresource::Status],
        generation: Generation::Raised,
        unconditional_update: false,
        fixed_by_status: USER_METADATA,
        not_yet: Some("it is not evaluated yet"),
        ..KindInfo::cluster(
            "admissionregistration.k8s.io",
            "v1",
            "ValidatingAdmissionPolicy",
            "validatingadmissionpolicies",
            "validatingadmissionpolicy",
            "io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicy",
        )
    };

    fn default(object: &mut Object) {
        let spec = object.spec.get_or_insert_default();
        spec.failure_policy.get_or_insert_with(|| "Fail".to_owned());
        if let Some(resources) = &mut spec.match_constraints {
            matching::default_resources(resources);
        }
    }

    fn validate(object: &Object) -> Vec<FieldError> {
        let name = object.metadata.name.as_deref().unwrap_or_default();
        object.spec.as_ref().map(|spec| validate_spec(name, spec)).unwrap_or_default()
    }

    fn validate_status(new: &Object, _old: &Object) -> Vec<FieldError> {
        let Some(status) = &new.status else { return Vec::new() };
        let mut errors = Vec::new();
        let warnings = status.type_checking.iter().flat_map(|it| it.expression_warnings.iter());
        for (index, warning) in warnings.flatten().enumerate() {
            let path = format!("status.typeChecking.expressionWarnings[{index}]");
            if warning.warning.is_empty() {
                errors.push(FieldError::required(format!("{path}.warning"), ""));
            }
            if warning.field_ref.trim().is_empty() {
                errors.push(FieldError::required(format!("{path}.fieldRef"), ""));
            }
        }
        let list = status.conditions.as_deref().unwrap_or_default();
        errors.extend(conditions::validate(list, "status.conditions"));
        errors
    }

    fn warnings(new: &Object, _old: Option<&Object>) -> Vec<String> {
        let name = new.metadata.name.as_deref();
        matching::name_warning(name).into_iter().collect()
    }

    fn columns() -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::NAME,
            Column::new("Validations", "integer", 0, "How many validations the policy has."),
            policy::PARAM_KIND,
            Column::AGE,
        ];
        COLUMNS
    }

    fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
        let spec = object.spec.as_ref();
        let validations = spec.and_then(|spec| spec.validations.as_ref());
        vec![
            meta::object_name(&object.metadata),
            validations.map_or(0, Vec::len).into(),
            matching::param_kind_cell(spec.and_then(|spec| spec.param_kind.as_ref())),
            meta::object_age(&object.metadata, now),
        ]
    }
}

fn validate_spec(name: &str, spec: &ValidatingAdmissionPolicySpec) -> Vec<FieldError> {
    const NOTHING: &str = "validations or auditAnnotations must contain at least one item";
    let policy = spec.failure_policy.as_deref();
    let mut errors: Vec<FieldError> =
        matching::required_one_of(policy, FAILURE_POLICIES, "spec.failurePolicy".to_owned())
            .into_iter()
            .collect();
    errors.extend(spec.param_kind.iter().flat_map(matching::validate_param_kind));
    errors.extend(matching::validate_constraints(spec.match_constraints.as_ref()));
    let (has_params, variables) =
        (spec.param_kind.is_some(), spec.variables.as_deref().unwrap_or_default());
    let conditions = spec.match_conditions.as_deref();
    errors.extend(matching::validate_conditions(conditions, has_params, "spec.matchConditions"));
    let mut expressions = Policy::new(has_params, !variables.is_empty());
    errors.extend(policy::validate_variables(variables, &mut expressions));
    let validations = spec.validations.as_deref().unwrap_or_default();
    let annotations = spec.audit_annotations.as_deref().unwrap_or_default();
    if validations.is_empty() && annotations.is_empty() {
        errors.push(FieldError::required("spec.validations", NOTHING));
        errors.push(FieldError::required("spec.auditAnnotations", NOTHING));
        return errors;
    }
    for (index, validation) in validations.iter().enumerate() {
        let path = format!("spec.validations[{index}]");
        errors.extend(validate_validation(validation, &path, &expressions));
    }
    errors.extend(validate_annotations(name, annotations, &expressions));
    errors
}

fn validate_validation(
    validation: &Validation,
    path: &str,
    expressions: &Policy,
) -> Vec<FieldError> {
    const REASONS: &[&str] = &["Forbidden", "Invalid", "RequestEntityTooLarge"];
    const EMPTY: &str = "must be non-empty if specified";
    let field = |name: &str| format!("{path}.{name}");
    let mut errors: Vec<FieldError> = matching::validate_expression(
        &validation.expression,
        "expression is not specified",
        field("expression"),
        |expression| expressions.validation(expression),
    )
    .into_iter()
    .collect();
    let expression = validation.message_expression.as_deref().unwrap_or_default();
    if !expression.is_empty() && expression.trim().is_empty() {
        errors.push(FieldError::invalid(field("messageExpression"), expression, EMPTY));
    } else if !expression.is_empty() {
        let path = field("messageExpression");
        let compile = |expression: &str| expressions.message_expression(expression);
        errors.extend(matching::validate_expression(expression, "", path, compile));
    }
    let message = validation.message.as_deref().unwrap_or_default();
    if !message.is_empty() && message.trim().is_empty() {
        errors.push(FieldError::invalid(field("message"), message, EMPTY));
    } else if message.trim().contains(['\n', '\r']) {
        errors.push(FieldError::invalid(field("message"), message, "must not contain line breaks"));
    }
    errors.extend(matching::one_of(validation.reason.as_deref(), REASONS, field("reason")));
    errors
}

fn validate_annotations(
    policy: &str,
    annotations: &[AuditAnnotation],
    expressions: &Policy,
) -> Vec<FieldError> {
    const PATH: &str = "spec.auditAnnotations";
    let mut errors = Vec::new();
    if annotations.len() > ANNOTATIONS_MAX {
        let why = format!("must not have more than {ANNOTATIONS_MAX} auditAnnotations");
        errors.push(FieldError::invalid(PATH, json!(annotations), why));
    }
    for (index, annotation) in annotations.iter().enumerate() {
        let (key, path) = (annotation.key.as_str(), format!("{PATH}[{index}]"));
        let qualified = format!("{policy}/{key}");
        let key_path = format!("{path}.key");
        errors.extend(invalid_each(&key_path, &qualified, names::label_key(&qualified)));
        let expression = annotation.value_expression.as_str();
        let value_path = format!("{path}.valueExpression");
        if expression.trim().len() > VALUE_EXPRESSION_LENGTH_MAX {
            let why = format!("must not exceed {VALUE_EXPRESSION_LENGTH_MAX} bytes in length");
            errors.push(FieldError::required(value_path, why));
        } else {
            let missing = "valueExpression is not specified";
            let compile = |expression: &str| expressions.audit_annotation(expression);
            errors.extend(matching::validate_expression(expression, missing, value_path, compile));
        }
        if annotations[..index].iter().any(|earlier| earlier.key == key) {
            errors.push(FieldError::duplicate(key_path, key));
        }
    }
    errors
}
