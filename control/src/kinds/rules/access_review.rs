//! Questions of whether somebody may do something: what the kinds that ask share.
//!
//! Source: `pkg/apis/authorization/validation/validation.go`, `pkg/registry/authorization/util`.

use k8s_openapi::api::authorization::v1::{
    FieldSelectorAttributes, LabelSelectorAttributes, NonResourceAttributes, ResourceAttributes,
    SubjectAccessReviewSpec, SubjectAccessReviewStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};

use crate::auth::UserInfo;
use crate::auth::authorizer::{self, Action};
use crate::kinds::meta::invalid_each;
use crate::kinds::{FieldError, names};

/// All problems of a question about some user.
pub fn validate_spec(spec: &SubjectAccessReviewSpec) -> Vec<FieldError> {
    let (resource, path) = (&spec.resource_attributes, &spec.non_resource_attributes);
    let mut errors = validate_either(resource.as_ref(), path.as_ref());
    if user_name(spec).is_empty() && spec.groups.as_ref().is_none_or(Vec::is_empty) {
        let why = "at least one of user or group must be specified";
        errors.push(FieldError::invalid("spec.user", "", why));
    }
    errors.extend(resource.iter().flat_map(validate_selectors));
    errors
}

/// All problems of what is asked for.
pub fn validate_attributes(
    resource: Option<&ResourceAttributes>,
    path: Option<&NonResourceAttributes>,
) -> Vec<FieldError> {
    let mut errors = validate_either(resource, path);
    errors.extend(resource.into_iter().flat_map(validate_selectors));
    errors
}

fn validate_either(
    resource: Option<&ResourceAttributes>,
    path: Option<&NonResourceAttributes>,
) -> Vec<FieldError> {
    match (resource, path) {
        (Some(_), Some(path)) => {
            let why = "cannot be specified in combination with resourceAttributes";
            vec![FieldError::invalid("spec.nonResourceAttributes", json!(path), why)]
        }
        (None, None) => {
            let why =
                "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            vec![FieldError::invalid("spec.resourceAttributes", Value::Null, why)]
        }
        (Some(_), None) | (None, Some(_)) => Vec::new(),
    }
}

/// A question bears no metadata; `namespaced`: but for its namespace.
pub fn validate_metadata(metadata: &ObjectMeta, namespaced: bool) -> Option<FieldError> {
    let mut rest = metadata.clone();
    rest.managed_fields = None;
    if namespaced {
        rest.namespace = None;
    }
    if rest == ObjectMeta::default() {
        return None;
    }
    let value = serde_json::to_value(metadata).unwrap_or_default();
    let why = if namespaced { "must be empty except for namespace" } else { "must be empty" };
    Some(FieldError::invalid("metadata", value, why))
}

/// The answer about the user whom the question names.
pub fn answer(spec: &SubjectAccessReviewSpec) -> SubjectAccessReviewStatus {
    let user = UserInfo {
        name: user_name(spec).to_owned(),
        uid: spec.uid.clone().unwrap_or_default(),
        groups: spec.groups.clone().unwrap_or_default(),
        extra: spec.extra.clone().unwrap_or_default(),
    };
    let (resource, path) = (&spec.resource_attributes, &spec.non_resource_attributes);
    answer_for(&user, resource.as_ref(), path.as_ref())
}

fn user_name(spec: &SubjectAccessReviewSpec) -> &str {
    spec.user.as_deref().unwrap_or_default()
}

/// The answer about a user.
pub fn answer_for(
    user: &UserInfo,
    resource: Option<&ResourceAttributes>,
    path: Option<&NonResourceAttributes>,
) -> SubjectAccessReviewStatus {
    let action = resource.map(Action::Resource).or(path.map(Action::Path));
    let decision = action.map(|action| authorizer::decide(user, action)).unwrap_or_default();
    SubjectAccessReviewStatus {
        allowed: decision.allowed,
        denied: decision.denied.then_some(true),
        reason: Some(decision.reason).filter(|reason| !reason.is_empty()),
        evaluation_error: resource.and_then(evaluation_error),
    }
}

/// What of the selectors the authoriser cannot take into account.
fn evaluation_error(resource: &ResourceAttributes) -> Option<String> {
    let field = resource.field_selector.as_ref().and_then(|selector| {
        let terms = selector.requirements.iter().flatten();
        ignored(terms.map(|term| {
            matches!(term.operator.as_str(), "In" | "NotIn")
                && term.values.as_ref().is_some_and(|values| values.len() == 1)
        }))
    });
    let label = resource.label_selector.as_ref().and_then(|selector| {
        let terms = selector.requirements.iter().flatten();
        ignored(terms.map(|term| {
            matches!(term.operator.as_str(), "In" | "NotIn" | "Exists" | "DoesNotExist")
        }))
    });
    let told = [("fieldSelector", field), ("labelSelector", label)].into_iter().filter_map(
        |(name, ignored)| {
            let how = ignored?;
            Some(format!("spec.resourceAttributes.{name} {how} due to parse error"))
        },
    );
    let told: Vec<String> = told.collect();
    (!told.is_empty()).then(|| told.join("; "))
}

/// How much is ignored where not every term is understood.
fn ignored(understood: impl Iterator<Item = bool>) -> Option<&'static str> {
    let understood: Vec<bool> = understood.collect();
    match (understood.contains(&true), understood.contains(&false)) {
        (_, false) => None,
        (true, true) => Some("partially ignored"),
        (false, true) => Some("ignored"),
    }
}

fn validate_selectors(resource: &ResourceAttributes) -> Vec<FieldError> {
    let mut errors: Vec<FieldError> =
        resource.field_selector.iter().flat_map(validate_field_selector).collect();
    errors.extend(resource.label_selector.iter().flat_map(validate_label_selector));
    errors
}

fn validate_field_selector(selector: &FieldSelectorAttributes) -> Vec<FieldError> {
    const PATH: &str = "spec.resourceAttributes.fieldSelector";
    let requirements = selector.requirements.as_deref().unwrap_or_default();
    let mut errors = validate_forms(selector.raw_selector.as_deref(), requirements.len(), PATH);
    for (index, requirement) in requirements.iter().enumerate() {
        let path = format!("{PATH}.requirements[{index}]");
        if requirement.key.is_empty() {
            errors.push(FieldError::required(format!("{path}.key"), "must be specified"));
        }
        let values = requirement.values.as_ref().map_or(0, Vec::len);
        errors.extend(validate_values(&requirement.operator, values, &path));
    }
    errors
}

fn validate_label_selector(selector: &LabelSelectorAttributes) -> Vec<FieldError> {
    const PATH: &str = "spec.resourceAttributes.labelSelector";
    let requirements = selector.requirements.as_deref().unwrap_or_default();
    let mut errors = validate_forms(selector.raw_selector.as_deref(), requirements.len(), PATH);
    for (index, requirement) in requirements.iter().enumerate() {
        let path = format!("{PATH}.requirements[{index}]");
        let values = requirement.values.as_deref().unwrap_or_default();
        errors.extend(validate_values(&requirement.operator, values.len(), &path));
        let key = &requirement.key;
        errors.extend(invalid_each(&format!("{path}.key"), key, names::label_key(key)));
        for (index, value) in values.iter().enumerate() {
            errors.extend(invalid_each(
                &format!("{path}.values[{index}]"),
                value,
                names::label_value(value),
            ));
        }
    }
    errors
}

/// A selector comes as one text or as requirements.
fn validate_forms(raw: Option<&str>, requirements: usize, path: &str) -> Vec<FieldError> {
    match (raw.unwrap_or_default(), requirements) {
        ("", 0) => {
            let why = format!("when {path} is specified, requirements or rawSelector is required");
            vec![FieldError::required(format!("{path}.requirements"), why)]
        }
        ("", _) | (_, 0) => Vec::new(),
        (raw, _) => {
            let why = "may not specified at the same time as requirements";
            vec![FieldError::invalid(format!("{path}.rawSelector"), raw, why)]
        }
    }
}

/// An unknown operator passes: newer clients may know more than this server.
fn validate_values(operator: &str, values: usize, path: &str) -> Vec<FieldError> {
    let path = format!("{path}.values");
    match (operator, values) {
        ("In" | "NotIn", 0) => {
            let why = "must be specified when `operator` is 'In' or 'NotIn'";
            vec![FieldError::required(path, why)]
        }
        ("Exists" | "DoesNotExist", 1..) => {
            let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            vec![FieldError::forbidden(path, why)]
        }
        _ => Vec::new(),
    }
}
