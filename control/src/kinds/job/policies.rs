//! When a job has failed or succeeded before all its pods have ended.
//!
//! Source: `validatePodFailurePolicy` and `validateSuccessPolicy` in
//! `pkg/apis/batch/validation/validation.go`.

use std::collections::BTreeSet;

use k8s_openapi::api::batch::v1::{
    JobSpec, PodFailurePolicy, PodFailurePolicyOnExitCodesRequirement as ExitCodes,
    PodFailurePolicyOnPodConditionsPattern as Pattern, PodFailurePolicyRule, SuccessPolicy,
    SuccessPolicyRule,
};

use super::indexes;
use crate::kinds::formats::nonnegative;
use crate::kinds::{FieldError, meta};

const RULES_MAX: usize = 20;
const EXIT_CODES_MAX: usize = 255;
const PATTERNS_MAX: usize = 20;
const INDEXES_BYTES_MAX: usize = 64 * 1024;
const ACTIONS: &[&str] = &["Count", "FailIndex", "FailJob", "Ignore"];
const OPERATORS: &[&str] = &["In", "NotIn"];
const STATUSES: &[&str] = &["False", "True", "Unknown"];

pub fn validate_failure(policy: &PodFailurePolicy, spec: &JobSpec, path: &str) -> Vec<FieldError> {
    let path = format!("{path}.rules");
    let mut errors = Vec::new();
    if policy.rules.len() > RULES_MAX {
        errors.push(FieldError::too_many(&path, policy.rules.len(), RULES_MAX));
    }
    let pod = spec.template.spec.as_ref();
    let containers = pod.into_iter().flat_map(|pod| {
        pod.containers.iter().chain(pod.init_containers.iter().flatten())
    });
    let containers: BTreeSet<&str> = containers.map(|container| &*container.name).collect();
    let has_limit = spec.backoff_limit_per_index.is_some();
    for (index, rule) in policy.rules.iter().enumerate() {
        let path = format!("{path}[{index}]");
        errors.extend(validate_action(&rule.action, has_limit, &format!("{path}.action")));
        errors.extend(validate_failure_rule(rule, &containers, &path));
    }
    errors
}

fn validate_action(action: &str, has_limit: bool, path: &str) -> Option<FieldError> {
    match action {
        "" => Some(FieldError::required(path, valid_values(ACTIONS))),
        "FailIndex" if !has_limit => {
            let why = "requires the backoffLimitPerIndex to be set";
            Some(FieldError::invalid(path, action, why))
        }
        _ if ACTIONS.contains(&action) => None,
        _ => Some(FieldError::not_supported(path, action, ACTIONS)),
    }
}

/// As Go prints a list of texts.
fn valid_values(values: &[&str]) -> String {
    let quoted: Vec<String> = values.iter().map(|value| format!("{value:?}")).collect();
    format!("valid values: [{}]", quoted.join(" "))
}

fn validate_failure_rule(
    rule: &PodFailurePolicyRule,
    containers: &BTreeSet<&str>,
    path: &str,
) -> Vec<FieldError> {
    let patterns = rule.on_pod_conditions.as_deref().unwrap_or_default();
    let mut errors = Vec::new();
    if let Some(codes) = &rule.on_exit_codes {
        errors.extend(validate_exit_codes(codes, containers, &format!("{path}.onExitCodes")));
    }
    if !patterns.is_empty() {
        errors.extend(validate_patterns(patterns, &format!("{path}.onPodConditions")));
    }
    match (rule.on_exit_codes.is_some(), patterns.is_empty()) {
        (true, false) => errors.push(FieldError::invalid_whole(
            path,
            "specifying both OnExitCodes and OnPodConditions is not supported",
        )),
        (false, true) => errors.push(FieldError::invalid_whole(
            path,
            "specifying one of OnExitCodes and OnPodConditions is required",
        )),
        (true, true) | (false, false) => {}
    }
    errors
}

fn validate_patterns(patterns: &[Pattern], path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if patterns.len() > PATTERNS_MAX {
        errors.push(FieldError::too_many(path, patterns.len(), PATTERNS_MAX));
    }
    for (index, pattern) in patterns.iter().enumerate() {
        let path = format!("{path}[{index}]");
        errors.extend(meta::validate_label_key(&pattern.type_, &format!("{path}.type")));
        let path = format!("{path}.status");
        match pattern.status.as_deref().unwrap_or_default() {
            "" => errors.push(FieldError::required(path, valid_values(STATUSES))),
            status if STATUSES.contains(&status) => {}
            status => errors.push(FieldError::not_supported(path, status, STATUSES)),
        }
    }
    errors
}

fn validate_exit_codes(
    codes: &ExitCodes,
    containers: &BTreeSet<&str>,
    path: &str,
) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let operator = codes.operator.as_str();
    let operator_path = format!("{path}.operator");
    match operator {
        "" => errors.push(FieldError::required(operator_path, valid_values(OPERATORS))),
        _ if OPERATORS.contains(&operator) => {}
        _ => errors.push(FieldError::not_supported(operator_path, operator, OPERATORS)),
    }
    if let Some(name) = codes.container_name.as_deref().filter(|name| !containers.contains(name)) {
        let why = "must be one of the container or initContainer names in the pod template";
        errors.push(FieldError::invalid(format!("{path}.containerName"), name, why));
    }
    errors.extend(validate_codes(&codes.values, operator, &format!("{path}.values")));
    errors
}

fn validate_codes(values: &[i32], operator: &str, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if values.is_empty() {
        errors.push(FieldError::invalid(path, values, "at least one value is required"));
    } else if values.len() > EXIT_CODES_MAX {
        errors.push(FieldError::too_many(path, values.len(), EXIT_CODES_MAX));
    }
    let mut seen = BTreeSet::new();
    for (index, value) in values.iter().enumerate() {
        let path = format!("{path}[{index}]");
        if operator == "In" && *value == 0 {
            errors.push(FieldError::invalid(&path, 0, "must not be 0 for the In operator"));
        }
        if !seen.insert(value) {
            errors.push(FieldError::duplicate(&path, *value));
        }
    }
    if !values.is_sorted() {
        errors.push(FieldError::invalid(path, values, "must be ordered"));
    }
    errors
}

pub fn validate_success(policy: &SuccessPolicy, completions: i32, path: &str) -> Vec<FieldError> {
    let path = format!("{path}.rules");
    let mut errors = Vec::new();
    if policy.rules.is_empty() {
        let why = "at least one rules must be specified when the successPolicy is specified";
        errors.push(FieldError::required(&path, why));
    }
    if policy.rules.len() > RULES_MAX {
        errors.push(FieldError::too_many(&path, policy.rules.len(), RULES_MAX));
    }
    for (index, rule) in policy.rules.iter().enumerate() {
        errors.extend(validate_success_rule(rule, completions, &format!("{path}[{index}]")));
    }
    errors
}

fn validate_success_rule(
    rule: &SuccessPolicyRule,
    completions: i32,
    path: &str,
) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if rule.succeeded_count.is_none() && rule.succeeded_indexes.is_none() {
        let why = "at least one of succeededCount or succeededIndexes must be specified";
        errors.push(FieldError::required(path, why));
    }
    let mut listed = 0;
    if let Some(text) = &rule.succeeded_indexes {
        let path = format!("{path}.succeededIndexes");
        if text.len() > INDEXES_BYTES_MAX {
            errors.push(FieldError::too_long(&path, INDEXES_BYTES_MAX));
        }
        match indexes::count(text, completions) {
            Ok(count) => listed = count,
            Err(why) => {
                let why = format!("error parsing succeededIndexes: {why}");
                errors.push(FieldError::invalid(path, text.as_str(), why));
            }
        }
    }
    let Some(count) = rule.succeeded_count else { return errors };
    let path = format!("{path}.succeededCount");
    errors.extend(nonnegative(count, &path));
    if count > completions {
        let why = format!(
            "must be less than or equal to {completions} (the number of specified completions)"
        );
        errors.push(FieldError::invalid(&path, count, why));
    }
    if rule.succeeded_indexes.is_some() && count > listed {
        let why = format!(
            "must be less than or equal to {listed} (the number of indexes in the specified succeededIndexes field)"
        );
        errors.push(FieldError::invalid(&path, count, why));
    }
    errors
}
