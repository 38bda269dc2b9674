//! MutatingAdmissionPolicies: expressions that change what requests write. The API alone: nothing
//! evaluates them yet.
//!
//! Source: `pkg/registry/admissionregistration/mutatingadmissionpolicy/strategy.go`.

use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingAdmissionPolicy as Object, MutatingAdmissionPolicySpec, Mutation,
};
use serde_json::Value;

use crate::cel::Policy;
use super::rules::admission_match::{self as matching, FAILURE_POLICIES, REINVOCATION_POLICIES};
use super::rules::policy;
use super::{Column, FieldError, Generation, Kind, KindInfo, meta};

pub struct MutatingAdmissionPolicies;

impl Kind for MutatingAdmissionPolicies {
    type Object = Object;
    const INFO: KindInfo = KindInfo {
        categories: &["api-extensions"],
        generation: Generation::Raised,
        unconditional_update: false,
        not_yet: Some("it is not evaluated yet"),
        ..KindInfo::cluster(
            "admissionregistration.k8s.io",
            "v1",
            "MutatingAdmissionPolicy",
            "mutatingadmissionpolicies",
            "mutatingadmissionpolicy",
            "io.k8s.api.admissionregistration.v1.MutatingAdmissionPolicy",
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
        object.spec.as_ref().map(validate_spec).unwrap_or_default()
    }

    fn warnings(new: &Object, _old: Option<&Object>) -> Vec<String> {
        let name = new.metadata.name.as_deref();
        matching::name_warning(name).into_iter().collect()
    }

    fn columns() -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::NAME,
            Column::new("Mutations", "integer", 0, "How many mutations the policy has."),
            policy::PARAM_KIND,
            Column::AGE,
        ];
        COLUMNS
    }

    fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
        let spec = object.spec.as_ref();
        let mutations = spec.and_then(|spec| spec.mutations.as_ref());
        vec![
            meta::object_name(&object.metadata),
            mutations.map_or(0, Vec::len).into(),
            matching::param_kind_cell(spec.and_then(|spec| spec.param_kind.as_ref())),
            meta::object_age(&object.metadata, now),
        ]
    }
}

fn validate_spec(spec: &MutatingAdmissionPolicySpec) -> Vec<FieldError> {
    let policy = spec.failure_policy.as_deref();
    let mut errors: Vec<FieldError> =
        matching::required_one_of(policy, FAILURE_POLICIES, "spec.failurePolicy".to_owned())
            .into_iter()
            .collect();
    errors.extend(spec.param_kind.iter().flat_map(matching::validate_param_kind));
    errors.extend(matching::validate_constraints(spec.match_constraints.as_ref()));
    if let Some(resources) = &spec.match_constraints {
        errors.extend(matching::validate_mutable(resources, "spec.matchConstraints"));
    }
    let (has_params, variables) =
        (spec.param_kind.is_some(), spec.variables.as_deref().unwrap_or_default());
    let conditions = spec.match_conditions.as_deref();
    errors.extend(matching::validate_conditions(conditions, has_params, "spec.matchConditions"));
    let mut expressions = Policy::new(has_params, !variables.is_empty());
    errors.extend(policy::validate_variables(variables, &mut expressions));
    let mutations = spec.mutations.as_deref().unwrap_or_default();
    if mutations.is_empty() {
        let why = "mutations must contain at least one item";
        errors.push(FieldError::required("spec.mutations", why));
    }
    for (index, mutation) in mutations.iter().enumerate() {
        let path = format!("spec.mutations[{index}]");
        errors.extend(validate_mutation(mutation, &path, &expressions));
    }
    let reinvocation = spec.reinvocation_policy.as_deref().filter(|policy| !policy.is_empty());
    let path = "spec.reinvocationPolicy".to_owned();
    errors.extend(matching::required_one_of(reinvocation, REINVOCATION_POLICIES, path));
    errors
}

/// Exactly the patch of the mutation's type is given.
fn validate_mutation(mutation: &Mutation, path: &str, expressions: &Policy) -> Vec<FieldError> {
    const TYPES: &[&str] = &["ApplyConfiguration", "JSONPatch"];
    let patch = mutation.json_patch.as_ref().map(|patch| patch.expression.as_deref());
    let apply = mutation.apply_configuration.as_ref().map(|apply| apply.expression.as_deref());
    let (patch, apply) = (("jsonPatch", patch), ("applyConfiguration", apply));
    let kind = mutation.patch_type.as_str();
    let (wanted, other) = match kind {
        "JSONPatch" => (patch, apply),
        "ApplyConfiguration" => (apply, patch),
        "" => return vec![FieldError::required(format!("{path}.patchType"), "")],
        _ => {
            return vec![FieldError::not_supported(format!("{path}.patchType"), kind, TYPES)];
        }
    };
    let mut errors = Vec::new();
    match wanted {
        (field, None) => {
            let why = format!("must be specified when patchType is {kind}");
            errors.push(FieldError::required(format!("{path}.{field}"), why));
        }
        (field, Some(expression)) => errors.extend(matching::validate_expression(
            expression.unwrap_or_default().trim(),
            "",
            format!("{path}.{field}.expression"),
            |expression| match field {
                "jsonPatch" => expressions.json_patch(expression),
                _ => expressions.apply_configuration(expression),
            },
        )),
    }
    if let (field, Some(_)) = other {
        let why = format!("must not be specified when patchType is {kind}");
        let value = format!("{{{field}}}");
        errors.push(FieldError::invalid(format!("{path}.{field}"), value, why));
    }
    errors
}
