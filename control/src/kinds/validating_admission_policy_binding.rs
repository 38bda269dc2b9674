//! ValidatingAdmissionPolicyBindings: what a policy holds for, and with which parameters. The
//! API alone: nothing evaluates policies yet.
//!
//! Source: `pkg/registry/admissionregistration/validatingadmissionpolicybinding/strategy.go`.

use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicyBinding as Object;
use serde_json::Value;

use super::rules::admission_match as matching;
use super::{Column, FieldError, Generation, Kind, KindInfo, meta};

pub struct ValidatingAdmissionPolicyBindings;

impl Kind for ValidatingAdmissionPolicyBindings {
    type Object = Object;
    const INFO: KindInfo = KindInfo {
        categories: &["api-extensions"],
        generation: Generation::Raised,
        unconditional_update: false,
        not_yet: Some("it is not evaluated yet"),
        ..KindInfo::cluster(
            "admissionregistration.k8s.io",
            "v1",
            "ValidatingAdmissionPolicyBinding",
            "validatingadmissionpolicybindings",
            "validatingadmissionpolicybinding",
            "io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicyBinding",
        )
    };

    fn default(object: &mut Object) {
        if let Some(resources) = &mut object.spec.match_resources {
            matching::default_resources(resources);
        }
    }

    fn validate(object: &Object) -> Vec<FieldError> {
        let spec = &object.spec;
        let mut errors = matching::validate_policy_name(&spec.policy_name);
        errors.extend(spec.param_ref.iter().flat_map(matching::validate_param_ref));
        if let Some(resources) = &spec.match_resources {
            errors.extend(matching::validate_match(resources, "spec.matchResources"));
        }
        errors.extend(validate_actions(&spec.validation_actions));
        errors
    }

    fn warnings(new: &Object, _old: Option<&Object>) -> Vec<String> {
        matching::name_warning(new.metadata.name.as_deref()).into_iter().collect()
    }

    fn columns() -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::NAME,
            Column::new("PolicyName", "string", 0, "The policy that is bound."),
            Column::new("ParamRef", "string", 0, "The parameters that it is given."),
            Column::AGE,
        ];
        COLUMNS
    }

    fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
        let spec = &object.spec;
        vec![
            meta::object_name(&object.metadata),
            spec.policy_name.as_str().into(),
            matching::param_ref_cell(spec.param_ref.as_ref()),
            meta::object_age(&object.metadata, now),
        ]
    }
}

/// What is done where a validation fails.
fn validate_actions(actions: &[String]) -> Vec<FieldError> {
    const PATH: &str = "spec.validationActions";
    const ACTIONS: &[&str] = &["Audit", "Deny", "Warn"];
    let mut errors = Vec::new();
    for (index, action) in actions.iter().enumerate() {
        let path = format!("{PATH}[{index}]");
        errors.extend(matching::one_of(Some(action), ACTIONS, path.clone()));
        if actions[..index].contains(action) {
            errors.push(FieldError::duplicate(path, action.as_str()));
        }
    }
    let has = |wanted: &str| actions.iter().any(|action| action == wanted);
    if has("Deny") && has("Warn") {
        let why = "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)";
        errors.push(FieldError::invalid(PATH, actions.to_vec(), why));
    }
    if actions.is_empty() {
        errors.push(FieldError::required(PATH, "at least one validation action is required"));
    }
    errors
}
