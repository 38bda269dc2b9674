//! PodDisruptionBudgets. Source: `pkg/registry/policy/poddisruptionbudget/strategy.go`,
//! `pkg/apis/policy/validation/validation.go`.

use jiff::Timestamp;
use k8s_openapi::api::policy::v1::{
    PodDisruptionBudget as Object, PodDisruptionBudgetSpec, PodDisruptionBudgetStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Value, json};

use super::rules::{conditions, int_or_percent};
use super::{
    Column, Context, FieldError, Generation, Kind, KindInfo, Subresource, meta, selector, workload,
};

/// The term by which `policy/v1beta1` told "none" from "all"; it means nothing beside others.
const LEGACY_TERM: &str = "pdb.kubernetes.io/deprecated-v1beta1-empty-selector-match";

pub struct PodDisruptionBudgets;

impl Kind for PodDisruptionBudgets {
    type Object = Object;
    const INFO: KindInfo = KindInfo {
        short_names: &["pdb"],
        subresources: &[Subresource::Status],
        generation: Generation::Raised,
        unconditional_update: false,
        ..KindInfo::namespaced(
            "policy",
            "v1",
            "PodDisruptionBudget",
            "poddisruptionbudgets",
            "poddisruptionbudget",
            "io.k8s.api.policy.v1.PodDisruptionBudget",
        )
    };

    fn default(object: &mut Object) {
        if let Some(selector) = object.spec.as_mut().and_then(|spec| spec.selector.as_mut()) {
            drop_legacy_term(selector);
        }
    }

    fn prepare_create(object: &mut Object, _context: &Context<'_>) {
        object.status = Some(PodDisruptionBudgetStatus::default());
    }

    fn validate(object: &Object) -> Vec<FieldError> {
        let default = PodDisruptionBudgetSpec::default();
        let spec = object.spec.as_ref().unwrap_or(&default);
        let mut errors = Vec::new();
        if spec.min_available.is_some() && spec.max_unavailable.is_some() {
            let why = "minAvailable and maxUnavailable cannot be both set";
            errors.push(FieldError::invalid("spec", json!(spec), why));
        }
        for (amount, path) in [
            (&spec.min_available, "spec.minAvailable"),
            (&spec.max_unavailable, "spec.maxUnavailable"),
        ] {
            let Some(amount) = amount else { continue };
            errors.extend(int_or_percent::validate(amount, path));
            errors.extend(int_or_percent::validate_at_most_all(amount, path));
        }
        if let Some(selector) = &spec.selector {
            errors.extend(selector::validate(selector, "spec.selector"));
        }
        let policies = &["AlwaysAllow", "IfHealthyBudget"];
        if let Some(policy) = &spec.unhealthy_pod_eviction_policy
            && !policies.contains(&policy.as_str())
        {
            let path = "spec.unhealthyPodEvictionPolicy";
            errors.push(FieldError::not_supported(path, policy.as_str(), policies));
        }
        errors
    }

    fn validate_status(new: &Object, _old: &Object) -> Vec<FieldError> {
        let status = new.status.clone().unwrap_or_default();
        let listed = status.conditions.as_deref().unwrap_or_default();
        let mut errors = conditions::validate(listed, "status.conditions");
        errors.extend(workload::validate_nonnegative(&[
            ("status.disruptionsAllowed", status.disruptions_allowed.map(Into::into)),
            ("status.currentHealthy", status.current_healthy.map(Into::into)),
            ("status.desiredHealthy", status.desired_healthy.map(Into::into)),
            ("status.expectedPods", status.expected_pods.map(Into::into)),
        ]));
        errors
    }

    fn columns() -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::NAME,
            Column::new("Min Available", "string", 0, "How many pods must stay available."),
            Column::new("Max Unavailable", "string", 0, "How many pods may be unavailable."),
            Column::new("Allowed Disruptions", "integer", 0, "How many pods may go now."),
            Column::AGE,
        ];
        COLUMNS
    }

    fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
        let spec = object.spec.clone().unwrap_or_default();
        let status = object.status.clone().unwrap_or_default();
        vec![
            meta::object_name(&object.metadata),
            amount_text(spec.min_available.as_ref()).into(),
            amount_text(spec.max_unavailable.as_ref()).into(),
            status.disruptions_allowed.unwrap_or(0).into(),
            meta::object_age(&object.metadata, now),
        ]
    }
}

fn amount_text(amount: Option<&IntOrString>) -> String {
    match amount {
        None => "N/A".to_owned(),
        Some(IntOrString::Int(number)) => number.to_string(),
        Some(IntOrString::String(text)) => text.clone(),
    }
}

/// A selector of that term alone still picks nothing.
fn drop_legacy_term(selector: &mut LabelSelector) {
    let Some(terms) = &mut selector.match_expressions else { return };
    let is_alone = selector.match_labels.as_ref().is_none_or(|labels| labels.is_empty())
        && matches!(terms.as_slice(), [term]
            if term.operator == "Exists" && term.values.as_ref().is_none_or(Vec::is_empty));
    if !is_alone {
        terms.retain(|term| term.key != LEGACY_TERM);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::defaulted;

    #[test]
    fn the_term_of_the_older_version_counts_only_alone() {
        let terms = |terms: Value| {
            let object = json!({"spec": {"selector": {"matchExpressions": terms}}});
            defaulted::<PodDisruptionBudgets>(object)["spec"]["selector"]["matchExpressions"].clone()
        };
        let legacy = json!({"key": LEGACY_TERM, "operator": "Exists"});
        let other = json!({"key": "app", "operator": "Exists"});
        assert_eq!(terms(json!([legacy])), json!([legacy]));
        assert_eq!(terms(json!([legacy, other])), json!([other]));
        let absent = json!({"key": LEGACY_TERM, "operator": "DoesNotExist"});
        assert_eq!(terms(json!([absent])), Value::Null);
    }
}
