//! Jobs. Source: `pkg/registry/batch/job/strategy.go`, `pkg/apis/batch/v1/defaults.go`.
//!
//! `spec` judges what CronJobs' templates hold too, `policies` its policies, `indexes` lists of
//! indexes, `update` and `status` judge changes, `columns` prints.

mod columns;
mod indexes;
mod policies;
pub mod spec;
mod status;
mod update;

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job as Object, JobSpec, JobStatus};
use serde_json::Value;

use super::{
    Column, Context, Dependents, FieldError, Generation, Kind, KindInfo, Subresource, names, pod,
    selector, warn, workload,
};

/// Labels of a job's pods, by which it finds them, each with its older spelling.
const UID_LABELS: [&str; 2] = ["controller-uid", "batch.kubernetes.io/controller-uid"];
const NAME_LABELS: [&str; 2] = ["job-name", "batch.kubernetes.io/job-name"];

pub struct Jobs;

impl Kind for Jobs {
    type Object = Object;
    const INFO: KindInfo = KindInfo {
        categories: &["all"],
        subresources: &[Subresource::Status],
        generation: Generation::Raised,
        managed_as_sent: true,
        dependents: Dependents::Orphaned,
        deletion_warning: Some(
            "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning",
        ),
        not_yet: Some("no controller acts on it yet"),
        ..KindInfo::namespaced(
            "batch",
            "v1",
            "Job",
            "jobs",
            "job",
            "io.k8s.api.batch.v1.Job",
        )
    };

    fn default(object: &mut Object) {
        let spec = object.spec.get_or_insert_default();
        default_counts(spec);
        if let Some(labels) = workload::template_labels(&spec.template)
            && object.metadata.labels.as_ref().is_none_or(|labels| labels.is_empty())
        {
            object.metadata.labels = Some(labels.clone());
        }
        spec.completion_mode.get_or_insert_with(|| spec::NON_INDEXED.to_owned());
        spec.suspend.get_or_insert(false);
        let replacement = match spec.pod_failure_policy {
            Some(_) => spec::FAILED,
            None => spec::TERMINATING_OR_FAILED,
        };
        spec.pod_replacement_policy.get_or_insert_with(|| replacement.to_owned());
        spec.manual_selector.get_or_insert(false);
        spec::default_parts(spec);
    }

    fn prepare_create(object: &mut Object, _context: &Context<'_>) {
        object.status = Some(JobStatus::default());
        if let Some(spec) = &mut object.spec {
            pod::template::drop_disabled(&mut spec.template, None);
        }
        let is_manual = object.spec.as_ref().is_some_and(|spec| spec.manual_selector == Some(true));
        if !is_manual {
            generate_selector(object);
        }
    }

    fn prepare_update(new: &mut Object, old: &Object, _context: &Context<'_>) {
        if let Some(spec) = &mut new.spec {
            let known = old.spec.as_ref().map(|spec| &spec.template);
            pod::template::drop_disabled(&mut spec.template, known);
        }
    }

    /// What is wrong depends on what was there before: see `judge`.
    fn validate(_object: &Object) -> Vec<FieldError> {
        Vec::new()
    }

    fn validate_create(object: &Object) -> Vec<FieldError> {
        judge(object, true)
    }

    fn validate_update(new: &Object, old: &Object) -> Vec<FieldError> {
        let known = old.spec.as_ref().and_then(|spec| workload::template_labels(&spec.template));
        let has = |label| known.is_some_and(|labels| labels.contains_key(label));
        let mut errors = judge(new, has(NAME_LABELS[1]) && has(UID_LABELS[1]));
        errors.extend(update::validate(new, old));
        errors
    }

    fn validate_status(new: &Object, old: &Object) -> Vec<FieldError> {
        status::validate(new, old)
    }

    fn warnings(new: &Object, old: Option<&Object>) -> Vec<String> {
        let mut warnings = Vec::new();
        match old {
            Some(old) if old.metadata.generation == new.metadata.generation => return warnings,
            Some(_) => {}
            None => {
                let name = new.metadata.name.as_deref();
                warnings.extend(warn::hostname(name, "Pod names and hostnames"));
            }
        }
        warnings.extend(new.spec.iter().flat_map(|it| spec::warnings(it, "spec")));
        warnings
    }

    fn columns() -> &'static [Column] {
        columns::COLUMNS
    }

    fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
        columns::cells(object, now)
    }

    fn selectable(object: &Object) -> Vec<(&'static str, String)> {
        let succeeded = object.status.as_ref().and_then(|status| status.succeeded).unwrap_or(0);
        vec![("status.successful", succeeded.to_string())]
    }
}

fn default_counts(spec: &mut JobSpec) {
    if spec.completions.is_none() && spec.parallelism.is_none() {
        spec.completions = Some(1);
    }
    spec.parallelism.get_or_insert(1);
    let limit = if spec.backoff_limit_per_index.is_some() { i32::MAX } else { 6 };
    spec.backoff_limit.get_or_insert(limit);
}

/// Marks the pods with the job's identity, and selects them by it. Labels that are there already
/// stay, for validation to judge.
fn generate_selector(object: &mut Object) {
    let uid = object.metadata.uid.clone().unwrap_or_default();
    let name = object.metadata.name.clone().unwrap_or_default();
    let spec = object.spec.get_or_insert_default();
    let metadata = spec.template.metadata.get_or_insert_default();
    let labels = metadata.labels.get_or_insert_default();
    for label in NAME_LABELS {
        labels.entry(label.to_owned()).or_insert_with(|| name.clone());
    }
    for label in UID_LABELS {
        labels.entry(label.to_owned()).or_insert_with(|| uid.clone());
    }
    let selector = spec.selector.get_or_insert_default();
    let pairs = selector.match_labels.get_or_insert_default();
    pairs.entry(UID_LABELS[1].to_owned()).or_insert(uid);
}

/// All problems of a job. `prefixed`: it has the newer labels with a prefix, too.
fn judge(object: &Object, prefixed: bool) -> Vec<FieldError> {
    let default = JobSpec::default();
    let spec = object.spec.as_ref().unwrap_or(&default);
    let mut errors = validate_generated(object, spec, prefixed);
    errors.extend(spec::validate(spec, "spec"));
    errors.extend(validate_selector(spec));
    errors.extend(validate_hostname(object, spec));
    errors
}

/// Judges the labels that the server made, unless the user chose to make them.
fn validate_generated(object: &Object, spec: &JobSpec, prefixed: bool) -> Vec<FieldError> {
    let Some(selector) = spec.selector.as_ref().filter(|_| spec.manual_selector != Some(true)) else {
        return Vec::new();
    };
    let (uid, name) = (&object.metadata.uid, &object.metadata.name);
    let (uid, name) =
        (uid.as_deref().unwrap_or_default(), name.as_deref().unwrap_or_default());
    let mut errors = Vec::new();
    if uid.is_empty() {
        errors.push(FieldError::required("metadata.uid", ""));
    }
    let mut expected = BTreeMap::new();
    let pairs = UID_LABELS.into_iter().zip(NAME_LABELS);
    for (uid_label, name_label) in pairs.take(if prefixed { 2 } else { 1 }) {
        for (label, value) in [(uid_label, uid), (name_label, name)] {
            errors.extend(validate_label(spec, label, value));
            expected.insert(label.to_owned(), value.to_owned());
        }
    }
    if selector::is_sound(selector) && !selector::matches(selector, &expected) {
        let value = serde_json::to_value(selector).unwrap_or_default();
        errors.push(FieldError::invalid("spec.selector", value, "`selector` not auto-generated"));
    }
    errors
}

fn validate_label(spec: &JobSpec, label: &str, value: &str) -> Option<FieldError> {
    let path = format!("spec.template.metadata.labels[{label}]");
    let why = format!("must be '{value}'");
    let labels = workload::template_labels(&spec.template);
    match labels.and_then(|labels| labels.get(label)) {
        None => Some(FieldError::required(path, why)),
        Some(known) if known != value => {
            let labels: Value = labels.into_iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
            Some(FieldError::invalid(path, labels, why))
        }
        Some(_) => None,
    }
}

fn validate_selector(spec: &JobSpec) -> Vec<FieldError> {
    let mut errors = match &spec.selector {
        None => vec![FieldError::required("spec.selector", "")],
        Some(selector) => selector::validate(selector, "spec.selector"),
    };
    let labels = workload::template_labels(&spec.template);
    let is_usable = spec.selector.as_ref().is_none_or(selector::is_sound);
    if is_usable && !selector::matches_optional(spec.selector.as_ref(), labels) {
        errors.push(workload::unmatched(&spec.template));
    }
    errors
}

/// The name of the last pod of an indexed job is a host name.
fn validate_hostname(object: &Object, spec: &JobSpec) -> Option<FieldError> {
    let last = spec.completions.filter(|count| *count > 0)? - 1;
    let name = object.metadata.name.as_deref().unwrap_or_default();
    let hostname = format!("{name}-{last}");
    if !spec::is_indexed(spec) || names::label(&hostname).is_empty() {
        return None;
    }
    let why = format!("will not able to create pod with invalid DNS label: {hostname}");
    Some(FieldError::invalid("metadata.name", name, why))
}
