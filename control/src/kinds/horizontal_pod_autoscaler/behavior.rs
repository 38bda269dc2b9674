//! How fast an autoscaler may scale.

use k8s_openapi::api::autoscaling::v2::{
    HPAScalingPolicy, HPAScalingRules, HorizontalPodAutoscalerBehavior,
};

use crate::kinds::FieldError;
use crate::kinds::quantity::Quantity;

const PERIOD_SECONDS: i32 = 15;
const PERIOD_SECONDS_MAX: i32 = 1800;
const WINDOW_SECONDS_MAX: i32 = 3600;
const PODS: &str = "Pods";
const PERCENT: &str = "Percent";
const SELECTIONS: &[&str] = &["Disabled", "Max", "Min"];

/// Fills in both directions where there is a behavior at all.
pub fn default(behavior: Option<&mut HorizontalPodAutoscalerBehavior>) {
    let Some(behavior) = behavior else { return };
    let up = behavior.scale_up.get_or_insert_default();
    up.stabilization_window_seconds.get_or_insert(0);
    default_rules(up, &[(PODS, 4), (PERCENT, 100)]);
    // The window of scaling down is a flag of the controller.
    default_rules(behavior.scale_down.get_or_insert_default(), &[(PERCENT, 100)]);
}

fn default_rules(rules: &mut HPAScalingRules, policies: &[(&str, i32)]) {
    rules.select_policy.get_or_insert_with(|| "Max".to_owned());
    let policy = |(kind, value): &(&str, i32)| HPAScalingPolicy {
        type_: (*kind).to_owned(),
        value: *value,
        period_seconds: PERIOD_SECONDS,
    };
    rules.policies.get_or_insert_with(|| policies.iter().map(policy).collect());
}

pub fn validate(behavior: Option<&HorizontalPodAutoscalerBehavior>, path: &str) -> Vec<FieldError> {
    let Some(behavior) = behavior else { return Vec::new() };
    let mut errors = Vec::new();
    for (field, rules) in [("scaleUp", &behavior.scale_up), ("scaleDown", &behavior.scale_down)] {
        let path = format!("{path}.{field}");
        errors.extend(rules.iter().flat_map(|rules| validate_rules(rules, &path)));
    }
    errors
}

fn validate_rules(rules: &HPAScalingRules, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let window_path = format!("{path}.stabilizationWindowSeconds");
    match rules.stabilization_window_seconds {
        Some(window @ ..0) => {
            let why = "must be greater than or equal to zero";
            errors.push(FieldError::invalid(window_path, window, why));
        }
        Some(window) if window > WINDOW_SECONDS_MAX => {
            let why = format!("must be less than or equal to {WINDOW_SECONDS_MAX}");
            errors.push(FieldError::invalid(window_path, window, why));
        }
        Some(_) | None => {}
    }
    if let Some(selection) = rules.select_policy.as_deref().filter(|it| !SELECTIONS.contains(it)) {
        let path = format!("{path}.selectPolicy");
        errors.push(FieldError::not_supported(path, selection, SELECTIONS));
    }
    let policies = rules.policies.as_deref().unwrap_or_default();
    if policies.is_empty() {
        let why = "must specify at least one Policy";
        errors.push(FieldError::required(format!("{path}.policies"), why));
    }
    for (index, policy) in policies.iter().enumerate() {
        errors.extend(validate_policy(policy, &format!("{path}.policies[{index}]")));
    }
    if let Some(tolerance) = &rules.tolerance
        && Quantity::try_from(tolerance).is_ok_and(Quantity::is_negative)
    {
        let why = "must be greater than or equal to 0";
        errors.push(FieldError::invalid(format!("{path}.tolerance"), tolerance.0.as_str(), why));
    }
    errors
}

fn validate_policy(policy: &HPAScalingPolicy, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let kind = policy.type_.as_str();
    if !matches!(kind, PODS | PERCENT) {
        errors.push(FieldError::not_supported(format!("{path}.type"), kind, &[PERCENT, PODS]));
    }
    for (field, value) in [("value", policy.value), ("periodSeconds", policy.period_seconds)] {
        if value <= 0 {
            let why = "must be greater than zero";
            errors.push(FieldError::invalid(format!("{path}.{field}"), value, why));
        }
    }
    if policy.period_seconds > PERIOD_SECONDS_MAX {
        let why = format!("must be less than or equal to {PERIOD_SECONDS_MAX}");
        errors.push(FieldError::invalid(
            format!("{path}.periodSeconds"),
            policy.period_seconds,
            why,
        ));
    }
    errors
}
