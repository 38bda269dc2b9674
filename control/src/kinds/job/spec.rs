//! What a job is to do: the part that CronJobs hold as a template.
//!
//! Source: `validateJobSpec` in `pkg/apis/batch/validation/validation.go`, `pkg/api/job/warnings.go`.

use k8s_openapi::api::batch::v1::JobSpec;

use super::policies;
use crate::kinds::rules::domain_path;
use crate::kinds::{FieldError, pod, workload};

pub const INDEXED: &str = "Indexed";
pub const NON_INDEXED: &str = "NonIndexed";
pub const FAILED: &str = "Failed";
pub const TERMINATING_OR_FAILED: &str = "TerminatingOrFailed";

const PARALLELISM_MAX: i32 = 100_000;
const FAILED_INDEXES_MAX: i32 = 100_000;
/// From here on, more is tracked than the status of a job may hold at full parallelism.
const MANY_COMPLETIONS: i32 = 100_000;
const PARALLELISM_OF_MANY_MAX: i32 = 10_000;
const FAILED_INDEXES_OF_MANY_MAX: i32 = 10_000;
const MANAGER_BYTES_MAX: usize = 63;

pub fn is_indexed(spec: &JobSpec) -> bool {
    spec.completion_mode.as_deref() == Some(INDEXED)
}

/// Fills in what jobs and templates of jobs have in common: the pods' defaults, and the policies'.
pub fn default_parts(spec: &mut JobSpec) {
    pod::template::default(&mut spec.template);
    let rules = spec.pod_failure_policy.iter_mut().flat_map(|policy| &mut policy.rules);
    for pattern in rules.flat_map(|rule| rule.on_pod_conditions.iter_mut().flatten()) {
        if pattern.status.as_deref().unwrap_or_default().is_empty() {
            pattern.status = Some("True".to_owned());
        }
    }
}

/// All problems but those of the selector.
pub fn validate(spec: &JobSpec, path: &str) -> Vec<FieldError> {
    let child = |name: &str| format!("{path}.{name}");
    let mut errors = validate_numbers(spec, path);
    if let Some(manager) = &spec.managed_by {
        errors.extend(domain_path::validate(manager, &child("managedBy")));
        if manager.len() > MANAGER_BYTES_MAX {
            errors.push(FieldError::too_long(child("managedBy"), MANAGER_BYTES_MAX));
        }
    }
    errors.extend(validate_mode(spec, path));
    if let Some(policy) = &spec.pod_failure_policy {
        let path = child("podFailurePolicy");
        errors.extend(policies::validate_failure(policy, spec, &path));
    }
    if let Some(policy) = &spec.success_policy {
        let path = child("successPolicy");
        if is_indexed(spec) {
            let completions = spec.completions.unwrap_or(0);
            errors.extend(policies::validate_success(policy, completions, &path));
        } else {
            let value = serde_json::json!(policy);
            errors.push(FieldError::invalid(path, value, "requires indexed completion mode"));
        }
    }
    errors.extend(validate_replacement(spec, &child("podReplacementPolicy")));
    errors.extend(pod::template::validate(&spec.template, &child("template")));
    errors.extend(validate_restart(spec, &child("template.spec.restartPolicy")));
    errors
}

fn validate_numbers(spec: &JobSpec, path: &str) -> Vec<FieldError> {
    let child = |name: &str| format!("{path}.{name}");
    let fields = [
        ("parallelism", spec.parallelism.map(Into::into)),
        ("completions", spec.completions.map(Into::into)),
        ("activeDeadlineSeconds", spec.active_deadline_seconds),
        ("backoffLimit", spec.backoff_limit.map(Into::into)),
        ("ttlSecondsAfterFinished", spec.ttl_seconds_after_finished.map(Into::into)),
        ("backoffLimitPerIndex", spec.backoff_limit_per_index.map(Into::into)),
        ("maxFailedIndexes", spec.max_failed_indexes.map(Into::into)),
    ];
    let mut errors: Vec<FieldError> = fields
        .into_iter()
        .flat_map(|(name, value)| workload::validate_nonnegative(&[(&child(name), value)]))
        .collect();
    if spec.max_failed_indexes.is_some() && spec.backoff_limit_per_index.is_none() {
        let why = "when maxFailedIndexes is specified";
        errors.push(FieldError::required(child("backoffLimitPerIndex"), why));
    }
    errors
}

fn validate_mode(spec: &JobSpec, path: &str) -> Vec<FieldError> {
    let child = |name: &str| format!("{path}.{name}");
    let mut errors = Vec::new();
    match spec.completion_mode.as_deref() {
        Some(INDEXED) => errors.extend(validate_indexed(spec, path)),
        None | Some(NON_INDEXED) => {
            for (name, value) in [
                ("backoffLimitPerIndex", spec.backoff_limit_per_index),
                ("maxFailedIndexes", spec.max_failed_indexes),
            ] {
                let Some(value) = value else { continue };
                let why = "requires indexed completion mode";
                errors.push(FieldError::invalid(child(name), value, why));
            }
        }
        Some(other) => {
            let modes = &[NON_INDEXED, INDEXED];
            errors.push(FieldError::not_supported(child("completionMode"), other, modes));
        }
    }
    errors
}

fn validate_indexed(spec: &JobSpec, path: &str) -> Vec<FieldError> {
    let (parallelism, failed) = (spec.parallelism, spec.max_failed_indexes);
    let mut errors = Vec::new();
    let invalid = |name: &str, value: i32, why: String| {
        FieldError::invalid(format!("{path}.{name}"), value, why)
    };
    if let Some(count) = parallelism.filter(|count| *count > PARALLELISM_MAX) {
        let why = format!(
            "must be less than or equal to {PARALLELISM_MAX} when completion mode is {INDEXED}"
        );
        errors.push(invalid("parallelism", count, why));
    }
    if let (Some(failed), Some(completions)) = (failed, spec.completions)
        && failed > completions
    {
        let why = "must be less than or equal to completions";
        errors.push(invalid("maxFailedIndexes", failed, why.to_owned()));
    }
    if let Some(failed) = failed.filter(|failed| *failed > FAILED_INDEXES_MAX) {
        let why = format!("must be less than or equal to {FAILED_INDEXES_MAX}");
        errors.push(invalid("maxFailedIndexes", failed, why));
    }
    let is_long = spec.completions.is_some_and(|count| count > MANY_COMPLETIONS)
        && spec.backoff_limit_per_index.is_some();
    if is_long && failed.is_none() {
        let why = format!("must be specified when completions is above {MANY_COMPLETIONS}");
        errors.push(FieldError::required(format!("{path}.maxFailedIndexes"), why));
    }
    if is_long {
        let why = |max: i32| {
            format!(
                "must be less than or equal to {max} when completions are above {MANY_COMPLETIONS} and used with backoff limit per index"
            )
        };
        if let Some(count) = parallelism.filter(|count| *count > PARALLELISM_OF_MANY_MAX) {
            errors.push(invalid("parallelism", count, why(PARALLELISM_OF_MANY_MAX)));
        }
        if let Some(failed) = failed.filter(|failed| *failed > FAILED_INDEXES_OF_MANY_MAX) {
            errors.push(invalid("maxFailedIndexes", failed, why(FAILED_INDEXES_OF_MANY_MAX)));
        }
    }
    if spec.completions.is_none() {
        let why = format!("when completion mode is {INDEXED}");
        errors.insert(0, FieldError::required(format!("{path}.completions"), why));
    }
    errors
}

fn validate_replacement(spec: &JobSpec, path: &str) -> Option<FieldError> {
    let policy = spec.pod_replacement_policy.as_deref()?;
    let supported: &[&str] = match spec.pod_failure_policy {
        Some(_) => &[FAILED],
        None => &[FAILED, TERMINATING_OR_FAILED],
    };
    (!supported.contains(&policy)).then(|| FieldError::not_supported(path, policy, supported))
}

/// Pods that always restart never end.
fn validate_restart(spec: &JobSpec, path: &str) -> Option<FieldError> {
    let pod = spec.template.spec.as_ref();
    match pod.and_then(|pod| pod.restart_policy.as_deref()).unwrap_or_default() {
        "" | "Always" => {
            Some(FieldError::required(path, "valid values: \"OnFailure\", \"Never\""))
        }
        "OnFailure" if spec.pod_failure_policy.is_some() => {
            let why = "only \"Never\" is supported when podFailurePolicy is specified";
            Some(FieldError::invalid(path, "OnFailure", why))
        }
        "OnFailure" | "Never" => None,
        other => Some(FieldError::not_supported(path, other, &["OnFailure", "Never"])),
    }
}

/// What is let through but told of; `path` is where the spec stands.
pub fn warnings(spec: &JobSpec, path: &str) -> Vec<String> {
    let mut warnings = Vec::new();
    if is_indexed(spec)
        && spec.completions.unwrap_or(0) > MANY_COMPLETIONS
        && spec.parallelism.unwrap_or(0) > PARALLELISM_OF_MANY_MAX
    {
        warnings.push(format!("{path}: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail"));
    }
    warnings.extend(pod::template::warnings(&spec.template, &format!("{path}.template")));
    warnings
}
