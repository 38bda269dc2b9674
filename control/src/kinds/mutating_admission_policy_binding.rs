//! MutatingAdmissionPolicyBindings: what a policy holds for, and with which parameters. The
//! API alone: nothing evaluates policies yet.
//!
//! Source: `pkg/registry/admissionregistration/mutatingadmissionpolicybinding/strategy.go`.

use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::MutatingAdmissionPolicyBinding as Object;
use serde_json::Value;

use super::rules::admission_match as matching;
use super::{Column, FieldError, Generation, Kind, KindInfo, meta};

pub struct MutatingAdmissionPolicyBindings;

impl Kind for MutatingAdmissionPolicyBindings {
    type Object = Object;
    const INFO: KindInfo = KindInfo {
        categories: &["api-extensions"],
        generation: Generation::Raised,
        unconditional_update: false,
        not_yet: Some("it is not evaluated yet"),
        ..KindInfo::cluster(
            "admissionregistration.k8s.io",
            "v1",
            "MutatingAdmissionPolicyBinding",
            "mutatingadmissionpolicybindings",
            "mutatingadmissionpolicybinding",
            "io.k8s.api.admissionregistration.v1.MutatingAdmissionPolicyBinding",
        )
    };

    fn default(object: &mut Object) {
        let spec = object.spec.as_mut();
        if let Some(resources) = spec.and_then(|spec| spec.match_resources.as_mut()) {
            matching::default_resources(resources);
        }
    }

    fn validate(object: &Object) -> Vec<FieldError> {
        let Some(spec) = &object.spec else { return matching::validate_policy_name("") };
        let policy = spec.policy_name.as_deref().unwrap_or_default();
        let mut errors = matching::validate_policy_name(policy);
        errors.extend(spec.param_ref.iter().flat_map(matching::validate_param_ref));
        if let Some(resources) = &spec.match_resources {
            const PATH: &str = "spec.matchResources";
            errors.extend(matching::validate_match(resources, PATH));
            errors.extend(matching::validate_mutable(resources, PATH));
        }
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
        let spec = object.spec.as_ref();
        let policy = spec.and_then(|spec| spec.policy_name.clone()).unwrap_or_default();
        vec![
            meta::object_name(&object.metadata),
            policy.into(),
            matching::param_ref_cell(spec.and_then(|spec| spec.param_ref.as_ref())),
            meta::object_age(&object.metadata, now),
        ]
    }
}
