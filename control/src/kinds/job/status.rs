//! The rules of a job's status: what is over stays over, and its parts agree.
//!
//! Upstream holds only to what a write changes, so that a status that was wrong before can still be
//! mended in part. Source: `validateJobStatus` in `pkg/apis/batch/validation/validation.go`,
//! `getStatusValidationOptions` in `pkg/registry/batch/job/strategy.go`.

use std::collections::BTreeSet;

use k8s_openapi::api::batch::v1::{Job, JobSpec, JobStatus, UncountedTerminatedPods};
use serde_json::Value;

use super::{indexes, spec};
use crate::kinds::{FieldError, meta, workload};

/// A status with what it says of the job's end.
struct View<'a> {
    status: &'a JobStatus,
    complete: bool,
    failed: bool,
    failure_target: bool,
    success_met: bool,
}

impl<'a> View<'a> {
    fn of(status: &'a JobStatus) -> Self {
        Self {
            status,
            complete: is_true(status, "Complete"),
            failed: is_true(status, "Failed"),
            failure_target: is_true(status, "FailureTarget"),
            success_met: is_true(status, "SuccessCriteriaMet"),
        }
    }

    fn finished(&self) -> bool {
        self.complete || self.failed
    }
}

pub fn is_true(status: &JobStatus, condition: &str) -> bool {
    has(status, condition, "True")
}

fn has(status: &JobStatus, condition: &str, value: &str) -> bool {
    let mut conditions = status.conditions.iter().flatten();
    conditions.any(|found| found.type_ == condition && found.status == value)
}

pub fn validate(new: &Job, old: &Job) -> Vec<FieldError> {
    let (no_spec, no_status) = (JobSpec::default(), JobStatus::default());
    let spec = new.spec.as_ref().unwrap_or(&no_spec);
    let new = View::of(new.status.as_ref().unwrap_or(&no_status));
    let old = View::of(old.status.as_ref().unwrap_or(&no_status));
    let mut errors = validate_counts(new.status);
    errors.extend(validate_end(&new, &old));
    errors.extend(validate_rest(&new, &old, spec));
    errors.extend(validate_indexes(&new, &old, spec));
    errors.extend(validate_pods(&new, &old));
    errors.extend(validate_success(&new, spec));
    errors.extend(validate_move(&new, &old, spec));
    errors
}

fn validate_counts(status: &JobStatus) -> Vec<FieldError> {
    let mut errors = workload::validate_nonnegative(&[
        ("status.active", status.active.map(Into::into)),
        ("status.succeeded", status.succeeded.map(Into::into)),
        ("status.failed", status.failed.map(Into::into)),
        ("status.ready", status.ready.map(Into::into)),
        ("status.terminating", status.terminating.map(Into::into)),
    ]);
    errors.extend(status.uncounted_terminated_pods.iter().flat_map(validate_uncounted));
    errors
}

fn validate_uncounted(pods: &UncountedTerminatedPods) -> Vec<FieldError> {
    let mut seen = BTreeSet::new();
    let mut errors = Vec::new();
    for (list, ids) in [("succeeded", &pods.succeeded), ("failed", &pods.failed)] {
        for (index, id) in ids.iter().flatten().enumerate() {
            let path = format!("status.uncountedTerminatedPods.{list}[{index}]");
            if id.is_empty() {
                errors.push(FieldError::invalid(path, "", "must not be empty"));
            } else if !seen.insert(id) {
                errors.push(FieldError::duplicate(path, id.as_str()));
            }
        }
    }
    errors
}

fn conditions(why: &str) -> FieldError {
    FieldError::invalid_whole("status.conditions", why)
}

/// How the end is told: by conditions and by times.
fn validate_end(new: &View<'_>, old: &View<'_>) -> Vec<FieldError> {
    const COMPLETION: &str = "status.completionTime";
    let completed = new.complete != old.complete;
    let (start, end) = (&new.status.start_time, &new.status.completion_time);
    let end_moved = *end != old.status.completion_time;
    let mut errors = Vec::new();
    if (completed || new.failed != old.failed) && new.complete && new.failed {
        errors.push(conditions("cannot set Complete=True and Failed=true conditions"));
    }
    if (completed || new.failure_target != old.failure_target)
        && new.complete
        && new.failure_target
    {
        errors.push(conditions("cannot set Complete=True and FailureTarget=true conditions"));
    }
    match end {
        Some(end) if (completed || end_moved) && !new.complete => {
            let why = "cannot set completionTime when there is no Complete=True condition";
            errors.push(FieldError::invalid(COMPLETION, time(end), why));
        }
        None if (completed || end_moved) && new.complete => {
            let why = "completionTime is required for Complete jobs";
            errors.push(FieldError::required(COMPLETION, why));
        }
        Some(_) | None => {}
    }
    if (*start != old.status.start_time || end_moved)
        && let (Some(start), Some(end)) = (start, end)
        && end < start
    {
        let why = "must be equal to or after `startTime`";
        errors.push(FieldError::invalid(COMPLETION, time(end), why));
    }
    let failed_moved =
        new.failed != old.failed || new.status.failed_indexes != old.status.failed_indexes;
    if failed_moved && new.failed && !new.failure_target {
        errors.push(conditions(
            "cannot set Failed=True condition without the FailureTarget=true condition",
        ));
    }
    if (completed || new.success_met != old.success_met) && new.complete && !new.success_met {
        errors.push(conditions(
            "cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
        ));
    }
    errors
}

fn time(of: &impl serde::Serialize) -> Value {
    serde_json::to_value(of).unwrap_or_default()
}

/// What is over rests.
fn validate_rest(new: &View<'_>, old: &View<'_>, spec: &JobSpec) -> Vec<FieldError> {
    let ended = new.finished() != old.finished();
    let (status, known) = (new.status, old.status);
    let mut errors = Vec::new();
    if !new.finished() {
        return errors;
    }
    let active = status.active.unwrap_or(0);
    if (ended || active != known.active.unwrap_or(0)) && active > 0 {
        let why = "active>0 is invalid for finished job";
        errors.push(FieldError::invalid("status.active", active, why));
    }
    let never_starts = spec.suspend == Some(true) && spec.completions == Some(0);
    let start_moved = status.start_time != known.start_time;
    if (ended || start_moved) && !never_starts && status.start_time.is_none() {
        let why = "startTime is required for finished job";
        errors.push(FieldError::required("status.startTime", why));
    }
    let pods = status.uncounted_terminated_pods.as_ref();
    if (ended || pods != known.uncounted_terminated_pods.as_ref())
        && let Some(pods) = pods
        && pods.failed.iter().chain(&pods.succeeded).any(|ids| !ids.is_empty())
    {
        let why = "must be empty for finished job";
        let pods = serde_json::json!(pods);
        errors.push(FieldError::invalid("status.uncountedTerminatedPods", pods, why));
    }
    errors
}

fn validate_indexes(new: &View<'_>, old: &View<'_>, spec: &JobSpec) -> Vec<FieldError> {
    const COMPLETED: &str = "status.completedIndexes";
    const FAILED: &str = "status.failedIndexes";
    let text = |status: &JobStatus| status.completed_indexes.clone().unwrap_or_default();
    let completed = text(new.status);
    let failed = new.status.failed_indexes.as_deref();
    let completed_moved = completed != text(old.status);
    let failed_moved = failed != old.status.failed_indexes.as_deref();
    let has_limit = spec.backoff_limit_per_index.is_some();
    let mut errors = Vec::new();
    if let Some(completions) = spec.completions {
        if completed_moved && let Err(why) = indexes::count(&completed, completions) {
            let why = format!("error parsing completedIndexes: {why}");
            errors.push(FieldError::invalid(COMPLETED, completed.as_str(), why));
        }
        if let Some(failed) = failed.filter(|_| failed_moved && has_limit)
            && let Err(why) = indexes::count(failed, completions)
        {
            let why = format!("error parsing failedIndexes: {why}");
            errors.push(FieldError::invalid(FAILED, failed, why));
        }
    }
    if completed_moved && !completed.is_empty() && !spec::is_indexed(spec) {
        let why = "cannot set non-empty completedIndexes when non-indexed completion mode";
        errors.push(FieldError::invalid(COMPLETED, completed.as_str(), why));
    }
    if let Some(failed) = failed.filter(|_| failed_moved && !has_limit) {
        let why = "cannot set non-null failedIndexes when backoffLimitPerIndex is null";
        errors.push(FieldError::invalid(FAILED, failed, why));
    }
    if (failed_moved || completed_moved)
        && let (Some(completions), Some(failed)) = (spec.completions, failed)
        && let Some(why) = indexes::overlap(&completed, failed, completions)
    {
        errors.push(FieldError::invalid(FAILED, failed, why));
    }
    errors
}

fn validate_pods(new: &View<'_>, old: &View<'_>) -> Vec<FieldError> {
    let (status, known) = (new.status, old.status);
    let ended = new.finished() != old.finished();
    let mut errors = Vec::new();
    if let Some(count) = status.terminating.filter(|count| *count > 0)
        && new.finished()
        && (ended || status.terminating != known.terminating)
    {
        let why = "terminating>0 is invalid for finished job";
        errors.push(FieldError::invalid("status.terminating", count, why));
    }
    let (active, known_active) = (status.active.unwrap_or(0), known.active.unwrap_or(0));
    if let Some(ready) = status.ready.filter(|ready| *ready > active)
        && (status.ready != known.ready || active != known_active)
    {
        let why = "cannot set more ready pods than active";
        errors.push(FieldError::invalid("status.ready", ready, why));
    }
    errors
}

fn validate_success(new: &View<'_>, spec: &JobSpec) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if new.success_met && new.failed {
        errors.push(conditions("cannot set SuccessCriteriaMet=True and Failed=true conditions"));
    }
    if new.success_met && new.failure_target {
        errors.push(conditions(
            "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions",
        ));
    }
    if spec.success_policy.is_some() && !new.success_met && new.complete {
        errors.push(conditions(
            "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True",
        ));
    }
    errors
}

/// What only the move from the old status to the new one can do wrong.
fn validate_move(new: &View<'_>, old: &View<'_>, spec: &JobSpec) -> Vec<FieldError> {
    let (status, known) = (new.status, old.status);
    let mut errors = Vec::new();
    for (name, was, is) in [
        ("Failed", old.failed, new.failed),
        ("Complete", old.complete, new.complete),
        ("FailureTarget", old.failure_target, new.failure_target),
    ] {
        if was && !is {
            errors.push(conditions(&format!("cannot disable the terminal {name}=True condition")));
        }
    }
    let shrinks = spec::is_indexed(spec) && spec.completions == spec.parallelism;
    for (name, was, is, may_shrink) in [
        ("failed", known.failed, status.failed, false),
        ("succeeded", known.succeeded, status.succeeded, shrinks),
    ] {
        let is = is.unwrap_or(0);
        if is < was.unwrap_or(0) && !may_shrink {
            let why = format!("cannot decrease the {name} counter");
            errors.push(FieldError::invalid(format!("status.{name}"), is, why));
        }
    }
    if let (Some(end), Some(was)) = (&status.completion_time, &known.completion_time)
        && end != was
    {
        errors.push(FieldError::invalid("status.completionTime", time(end), meta::IMMUTABLE));
    }
    let resumes = is_true(known, "Suspended") && has(status, "Suspended", "False");
    if known.start_time.is_some()
        && known.start_time != status.start_time
        && spec.suspend != Some(true)
        && !resumes
    {
        let why = "field is immutable for unsuspended job once set";
        errors.push(FieldError::invalid("status.startTime", time(&status.start_time), why));
    }
    if old.success_met && !new.success_met {
        errors.push(conditions("cannot disable the SuccessCriteriaMet=True condition"));
    }
    if old.complete && !old.success_met && new.success_met {
        errors.push(conditions(
            "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions",
        ));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn problems(spec: Value, new: Value, old: Value) -> Vec<String> {
        let job = |status: Value| -> Job {
            serde_json::from_value(json!({"metadata": {}, "spec": spec, "status": status})).unwrap()
        };
        let (new, old) = (job(new), job(old));
        validate(&new, &old).iter().map(ToString::to_string).collect()
    }

    fn is(names: &[&str]) -> Value {
        names.iter().map(|name| json!({"type": name, "status": "True"})).collect()
    }

    const START: &str = "2026-01-01T00:00:00Z";
    const END: &str = "2026-01-01T00:01:00Z";

    #[test]
    fn a_sound_end_is_let_through() {
        let running = json!({"startTime": START, "active": 1});
        let done = json!({
            "startTime": START, "completionTime": END, "succeeded": 1,
            "conditions": is(&["SuccessCriteriaMet", "Complete"]),
        });
        assert_eq!(problems(json!({}), done, running.clone()), [""; 0]);
        let failed = json!({
            "startTime": START, "failed": 1, "conditions": is(&["FailureTarget", "Failed"]),
        });
        assert_eq!(problems(json!({}), failed, running), [""; 0]);
    }

    #[test]
    fn every_rule_is_told() {
        let indexed = json!({"completionMode": "Indexed", "completions": 5, "parallelism": 2});
        let with_limit = json!({
            "completionMode": "Indexed", "completions": 5, "parallelism": 2,
            "backoffLimitPerIndex": 1,
        });
        let cases = [
            (json!({}), json!({"active": -1}), json!({}), vec!["status.active: Invalid value: -1: must be greater than or equal to 0"]),
            (
                json!({}),
                json!({"uncountedTerminatedPods": {"succeeded": ["a", ""], "failed": ["a"]}}),
                json!({}),
                vec![
                    "status.uncountedTerminatedPods.succeeded[1]: Invalid value: \"\": must not be empty",
                    "status.uncountedTerminatedPods.failed[0]: Duplicate value: \"a\"",
                ],
            ),
            (
                json!({}),
                json!({"conditions": is(&["Complete"])}),
                json!({}),
                vec![
                    "status.completionTime: Required value: completionTime is required for Complete jobs",
                    "status.conditions: Invalid value: cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
                    "status.startTime: Required value: startTime is required for finished job",
                ],
            ),
            (
                json!({}),
                json!({"conditions": is(&["Failed"]), "startTime": START, "active": 1, "terminating": 1}),
                json!({}),
                vec![
                    "status.conditions: Invalid value: cannot set Failed=True condition without the FailureTarget=true condition",
                    "status.active: Invalid value: 1: active>0 is invalid for finished job",
                    "status.terminating: Invalid value: 1: terminating>0 is invalid for finished job",
                ],
            ),
            (
                json!({}),
                json!({"completionTime": START, "startTime": END}),
                json!({}),
                vec![
                    "status.completionTime: Invalid value: \"2026-01-01T00:00:00Z\": cannot set completionTime when there is no Complete=True condition",
                    "status.completionTime: Invalid value: \"2026-01-01T00:00:00Z\": must be equal to or after `startTime`",
                ],
            ),
            (
                json!({}),
                json!({"completedIndexes": "1"}),
                json!({}),
                vec!["status.completedIndexes: Invalid value: \"1\": cannot set non-empty completedIndexes when non-indexed completion mode"],
            ),
            (
                indexed.clone(),
                json!({"completedIndexes": "5", "failedIndexes": ""}),
                json!({}),
                vec![
                    "status.completedIndexes: Invalid value: \"5\": error parsing completedIndexes: too large index: \"5\"",
                    "status.failedIndexes: Invalid value: \"\": cannot set non-null failedIndexes when backoffLimitPerIndex is null",
                ],
            ),
            (
                with_limit,
                json!({"completedIndexes": "1-3", "failedIndexes": "3"}),
                json!({}),
                vec!["status.failedIndexes: Invalid value: \"3\": failedIndexes and completedIndexes overlap at index: 3"],
            ),
            (json!({}), json!({"ready": 2, "active": 1}), json!({}), vec!["status.ready: Invalid value: 2: cannot set more ready pods than active"]),
            (
                json!({}),
                json!({}),
                json!({"conditions": is(&["FailureTarget"]), "failed": 2, "succeeded": 1}),
                vec![
                    "status.conditions: Invalid value: cannot disable the terminal FailureTarget=True condition",
                    "status.failed: Invalid value: 0: cannot decrease the failed counter",
                    "status.succeeded: Invalid value: 0: cannot decrease the succeeded counter",
                ],
            ),
            (
                json!({}),
                json!({"startTime": END}),
                json!({"startTime": START}),
                vec!["status.startTime: Invalid value: \"2026-01-01T00:01:00Z\": field is immutable for unsuspended job once set"],
            ),
            // What was wrong before may stay.
            (json!({}), json!({"ready": 2}), json!({"ready": 2}), vec![]),
        ];
        for (spec, new, old, expected) in cases {
            assert_eq!(problems(spec, new.clone(), old), expected, "{new}");
        }
    }
}
