//! CronJobs. Source: `pkg/registry/batch/cronjob/strategy.go`, `ValidateCronJobCreate` in
//! `pkg/apis/batch/validation/validation.go`.

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{CronJob as Object, CronJobStatus};
use serde_json::Value;

use super::job::spec as job_spec;
use super::rules::{cron, time_zone};
use super::{
    Column, Context, FieldError, Generation, Kind, KindInfo, Subresource, meta, pod, warn, workload,
};

/// A job's name is the CronJob's and eleven characters more, and at most 63 long.
const NAME_LENGTH_MAX: usize = 52;
const SCHEDULE: &str = "spec.schedule";
const JOB: &str = "spec.jobTemplate.spec";

pub struct CronJobs;

impl Kind for CronJobs {
    type Object = Object;
    const INFO: KindInfo = KindInfo {
        short_names: &["cj"],
        categories: &["all"],
        subresources: &[Subresource::Status],
        generation: Generation::Raised,
        not_yet: Some("no controller acts on it yet"),
        ..KindInfo::namespaced(
            "batch",
            "v1",
            "CronJob",
            "cronjobs",
            "cronjob",
            "io.k8s.api.batch.v1.CronJob",
        )
    };

    /// The job in it is not given a job's defaults: the jobs made of it are.
    fn default(object: &mut Object) {
        let spec = &mut object.spec;
        if spec.concurrency_policy.as_deref().unwrap_or_default().is_empty() {
            spec.concurrency_policy = Some("Allow".to_owned());
        }
        spec.suspend.get_or_insert(false);
        spec.successful_jobs_history_limit.get_or_insert(3);
        spec.failed_jobs_history_limit.get_or_insert(1);
        spec.job_template.metadata.get_or_insert_default();
        job_spec::default_parts(spec.job_template.spec.get_or_insert_default());
    }

    fn prepare_create(object: &mut Object, _context: &Context<'_>) {
        object.status = Some(CronJobStatus::default());
        if let Some(job) = &mut object.spec.job_template.spec {
            pod::template::drop_disabled(&mut job.template, None);
        }
    }

    fn prepare_update(new: &mut Object, old: &Object, _context: &Context<'_>) {
        let known = old.spec.job_template.spec.as_ref().map(|job| &job.template);
        if let Some(job) = &mut new.spec.job_template.spec {
            pod::template::drop_disabled(&mut job.template, known);
        }
    }

    /// What is wrong depends on what was there before: see `judge`.
    fn validate(_object: &Object) -> Vec<FieldError> {
        Vec::new()
    }

    fn validate_create(object: &Object) -> Vec<FieldError> {
        let mut errors = judge(object, None);
        let name = object.metadata.name.as_deref().unwrap_or_default();
        if name.len() > NAME_LENGTH_MAX {
            let why = format!("must be no more than {NAME_LENGTH_MAX} characters");
            errors.push(FieldError::invalid("metadata.name", name, why));
        }
        errors
    }

    fn validate_update(new: &Object, old: &Object) -> Vec<FieldError> {
        judge(new, Some(old))
    }

    fn warnings(new: &Object, old: Option<&Object>) -> Vec<String> {
        let mut warnings = Vec::new();
        if old.is_none() {
            let name = new.metadata.name.as_deref();
            warnings.extend(warn::hostname(name, "Pod names and hostnames"));
        }
        if old.is_none_or(|old| old.metadata.generation != new.metadata.generation) {
            let job = new.spec.job_template.spec.iter();
            warnings.extend(job.flat_map(|job| job_spec::warnings(job, JOB)));
        }
        // The path is upstream's.
        if old.is_some() && new.spec.schedule.contains("TZ") {
            warnings.push("cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details".to_owned());
        }
        warnings
    }

    fn columns() -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::NAME,
            Column::new("Schedule", "string", 0, "When jobs are made, as cron writes it."),
            Column::new("Timezone", "string", 0, "The time zone of the schedule."),
            Column::new("Suspend", "boolean", 0, "Whether no more jobs are made."),
            Column::new("Active", "integer", 0, "How many jobs run."),
            Column::new("Last Schedule", "string", 0, "Time since a job was last made."),
            Column::AGE,
            workload::CONTAINERS,
            workload::IMAGES,
            workload::SELECTOR,
        ];
        COLUMNS
    }

    fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
        let spec = &object.spec;
        let status = object.status.clone().unwrap_or_default();
        let job = spec.job_template.spec.as_ref();
        let [names, images] = workload::container_cells(job.map(|job| &job.template));
        let suspend = match spec.suspend {
            Some(true) => "True",
            Some(false) => "False",
            None => "<unset>",
        };
        let last = status.last_schedule_time.as_ref();
        let last = last.map_or_else(|| workload::NONE.to_owned(), |time| meta::age(Some(time), now));
        vec![
            meta::object_name(&object.metadata),
            spec.schedule.as_str().into(),
            spec.time_zone.as_deref().unwrap_or(workload::NONE).into(),
            suspend.into(),
            status.active.map_or(0, |active| active.len()).into(),
            last.into(),
            meta::object_age(&object.metadata, now),
            names,
            images,
            workload::selector_cell(job.and_then(|job| job.selector.as_ref())),
        ]
    }
}

fn validate_schedule(schedule: &str) -> Vec<FieldError> {
    if schedule.is_empty() {
        return vec![FieldError::required(SCHEDULE, "")];
    }
    let parsed = cron::Schedule::parse(schedule);
    parsed.err().map(|why| FieldError::invalid(SCHEDULE, schedule, why)).into_iter().collect()
}

/// A schedule no longer names its zone, unless it did so before.
/// All problems of a new object, or of one that changed.
fn judge(object: &Object, old: Option<&Object>) -> Vec<FieldError> {
    let spec = &object.spec;
    let mut errors = validate_schedule(&spec.schedule);
    errors.extend(validate_zones(object, old.is_some_and(|old| old.spec.schedule.contains("TZ"))));
    errors.extend(workload::validate_nonnegative(&[(
        "spec.startingDeadlineSeconds",
        spec.starting_deadline_seconds,
    )]));
    if old.is_none_or(|old| old.spec.time_zone != spec.time_zone) {
        errors.extend(validate_zone(object));
    }
    let policies = &["Allow", "Forbid", "Replace"];
    match spec.concurrency_policy.as_deref().unwrap_or_default() {
        "" => errors.push(FieldError::required("spec.concurrencyPolicy", "")),
        policy if policies.contains(&policy) => {}
        policy => {
            errors.push(FieldError::not_supported("spec.concurrencyPolicy", policy, policies));
        }
    }
    errors.extend(validate_job(object));
    errors.extend(workload::validate_nonnegative(&[
        ("spec.successfulJobsHistoryLimit", spec.successful_jobs_history_limit.map(Into::into)),
        ("spec.failedJobsHistoryLimit", spec.failed_jobs_history_limit.map(Into::into)),
    ]));
    errors
}

fn validate_zones(object: &Object, was_named: bool) -> Vec<FieldError> {
    let schedule = object.spec.schedule.as_str();
    let why = match (was_named, &object.spec.time_zone) {
        _ if !schedule.contains("TZ") => return Vec::new(),
        (true, None) => return Vec::new(),
        (true, Some(_)) => "cannot use both timeZone field and TZ or CRON_TZ in schedule",
        (false, _) => "cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
    };
    vec![FieldError::invalid(SCHEDULE, schedule, why)]
}

fn validate_zone(object: &Object) -> Vec<FieldError> {
    let zone = object.spec.time_zone.iter();
    zone.flat_map(|zone| time_zone::validate(zone, "spec.timeZone")).collect()
}

/// The selectors of the jobs are theirs to make.
fn validate_job(object: &Object) -> Vec<FieldError> {
    let none = Default::default();
    let job = object.spec.job_template.spec.as_ref().unwrap_or(&none);
    let mut errors = job_spec::validate(job, JOB);
    if let Some(selector) = &job.selector {
        let value = serde_json::to_value(selector).unwrap_or_default();
        let why = "`selector` will be auto-generated";
        errors.push(FieldError::invalid(format!("{JOB}.selector"), value, why));
    }
    if job.manual_selector == Some(true) {
        let path = format!("{JOB}.manualSelector");
        errors.push(FieldError::not_supported(path, true, &["nil", "false"]));
    }
    errors
}
