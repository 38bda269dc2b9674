//! What an update of a job may change: its pace, and its pods while it is suspended.
//!
//! Source: `ValidateJobSpecUpdate` in `pkg/apis/batch/validation/validation.go`.

use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{Affinity, Container, PodSpec, PodTemplateSpec};
use serde::Serialize;
use serde_json::Value;

use super::status::is_true;
use super::spec;
use crate::kinds::{FieldError, meta};

pub fn validate(new: &Job, old: &Job) -> Vec<FieldError> {
    let none = JobSpec::default();
    let (after, before) = (new.spec.as_ref().unwrap_or(&none), old.spec.as_ref().unwrap_or(&none));
    let mut errors: Vec<FieldError> = validate_completions(after, before).into_iter().collect();
    errors.extend(immutable(&after.selector, &before.selector, "selector"));
    errors.extend(validate_template(after, before, is_at_rest(old, before)));
    errors.extend(immutable(&after.completion_mode, &before.completion_mode, "completionMode"));
    let (policy, known) = (&after.pod_failure_policy, &before.pod_failure_policy);
    errors.extend(immutable(policy, known, "podFailurePolicy"));
    let (limit, known) = (&after.backoff_limit_per_index, &before.backoff_limit_per_index);
    errors.extend(immutable(limit, known, "backoffLimitPerIndex"));
    errors.extend(immutable(&after.managed_by, &before.managed_by, "managedBy"));
    errors.extend(immutable(&after.success_policy, &before.success_policy, "successPolicy"));
    errors
}

fn immutable<T: Serialize>(new: &T, old: &T, field: &str) -> Option<FieldError> {
    meta::immutable(&value(new), &value(old), &format!("spec.{field}"))
}

fn value(of: &impl Serialize) -> Value {
    serde_json::to_value(of).unwrap_or_default()
}

/// Indexed jobs may be made longer and shorter, at full parallelism.
fn validate_completions(new: &JobSpec, old: &JobSpec) -> Option<FieldError> {
    if !spec::is_indexed(new) {
        return immutable(&new.completions, &old.completions, "completions");
    }
    let completions = new.completions.filter(|_| new.completions != old.completions)?;
    (new.parallelism != Some(completions)).then(|| {
        let why = "can only be modified in tandem with spec.parallelism";
        FieldError::invalid("spec.completions", completions, why)
    })
}

/// Whether the job is suspended and nothing of it runs: then its pods may yet become others.
fn is_at_rest(old: &Job, spec: &JobSpec) -> bool {
    let none = Default::default();
    let status = old.status.as_ref().unwrap_or(&none);
    spec.suspend == Some(true)
        && (status.start_time.is_none() || is_true(status, "Suspended"))
        && status.active.unwrap_or(0) == 0
}

fn validate_template(new: &JobSpec, old: &JobSpec, is_at_rest: bool) -> Option<FieldError> {
    if !is_at_rest {
        return immutable(&new.template, &old.template, "template");
    }
    let mut allowed = old.template.clone();
    allow_scheduling(&mut allowed, &new.template);
    let none = PodSpec::default();
    let after = new.template.spec.as_ref().unwrap_or(&none);
    let mut before = allowed.spec.unwrap_or_default();
    allow_resources(&mut before.containers, &after.containers);
    let inits = before.init_containers.as_deref_mut().unwrap_or_default();
    allow_resources(inits, after.init_containers.as_deref().unwrap_or_default());
    immutable(after, &before, "template.spec")
}

/// Where the pods may run, and their labels and annotations.
fn allow_scheduling(old: &mut PodTemplateSpec, new: &PodTemplateSpec) {
    let none = PodSpec::default();
    let after = new.spec.as_ref().unwrap_or(&none);
    let before = old.spec.get_or_insert_default();
    match (&after.affinity, &mut before.affinity) {
        (None, Some(affinity)) => {
            affinity.node_affinity = None;
            if *affinity == Affinity::default() {
                before.affinity = None;
            }
        }
        (Some(affinity), known) => {
            known.get_or_insert_default().node_affinity.clone_from(&affinity.node_affinity);
        }
        (None, None) => {}
    }
    before.node_selector.clone_from(&after.node_selector);
    before.tolerations.clone_from(&after.tolerations);
    before.scheduling_gates.clone_from(&after.scheduling_gates);
}

fn allow_resources(old: &mut [Container], new: &[Container]) {
    if old.len() != new.len() {
        return;
    }
    for (old, new) in old.iter_mut().zip(new).filter(|(old, new)| old.name == new.name) {
        old.resources.clone_from(&new.resources);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn job(spec: Value, status: Value) -> Job {
        serde_json::from_value(json!({"metadata": {}, "spec": spec, "status": status})).unwrap()
    }

    fn spec(change: impl FnOnce(&mut Value)) -> Value {
        let mut spec = json!({
            "suspend": true,
            "template": {"spec": {"containers": [{"name": "a", "image": "b"}]}},
        });
        change(&mut spec);
        spec
    }

    #[test]
    fn pods_of_a_suspended_job_may_be_moved_and_resized() {
        type Change = fn(&mut Value);
        let cases: [(Change, &str); 6] = [
            (|s| s["template"]["spec"]["nodeSelector"] = json!({"a": "b"}), ""),
            (|s| s["template"]["spec"]["affinity"] = json!({"nodeAffinity": {}}), ""),
            (|s| s["template"]["metadata"] = json!({"labels": {"a": "b"}}), ""),
            (
                |s| s["template"]["spec"]["containers"][0]["resources"] = json!({"limits": {"cpu": "1"}}),
                "",
            ),
            (
                |s| s["template"]["spec"]["containers"][0]["image"] = json!("c"),
                "spec.template.spec",
            ),
            (|s| s["template"]["spec"]["affinity"] = json!({"podAffinity": {}}), "spec.template.spec"),
        ];
        for (change, path) in cases {
            let errors = validate(&job(spec(change), json!({})), &job(spec(|_| {}), json!({})));
            let paths: Vec<&str> = errors.iter().map(|error| &*error.path).collect();
            assert_eq!(paths.join(""), path);
        }
    }

    #[test]
    fn pods_of_a_running_job_stay() {
        let new = spec(|spec| spec["template"]["spec"]["nodeSelector"] = json!({"a": "b"}));
        let running = json!({"startTime": "2026-01-01T00:00:00Z", "active": 1});
        let errors = validate(&job(new, json!({})), &job(spec(|_| {}), running));
        assert_eq!(errors[0].path, "spec.template");
        assert!(errors[0].detail.contains("field is immutable"));
    }
}
