//! How a job is printed. Source: `printJob` in `pkg/printers/internalversion/printers.go`.

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobSpec, JobStatus};
use serde_json::Value;

use super::status::is_true;
use crate::kinds::{Column, meta, workload};

pub const COLUMNS: &[Column] = &[
    Column::NAME,
    Column::new("Status", "string", 0, "How far the job is."),
    Column::new("Completions", "string", 0, "How many pods have succeeded, of how many wanted."),
    Column::new("Duration", "string", 0, "How long the job has run, or ran."),
    Column::AGE,
    workload::CONTAINERS,
    workload::IMAGES,
    workload::SELECTOR,
];

pub fn cells(job: &Job, now: Timestamp) -> Vec<Value> {
    let spec = job.spec.clone().unwrap_or_default();
    let status = job.status.clone().unwrap_or_default();
    let [names, images] = workload::container_cells(Some(&spec.template));
    vec![
        meta::object_name(&job.metadata),
        state(job, &status).into(),
        completions(&spec, &status).into(),
        duration(&status, now).into(),
        meta::object_age(&job.metadata, now),
        names,
        images,
        workload::selector_cell(spec.selector.as_ref()),
    ]
}

fn state(job: &Job, status: &JobStatus) -> &'static str {
    let first = |names: &[&'static str]| names.iter().copied().find(|name| is_true(status, name));
    if let Some(end) = first(&["Complete", "Failed"]) {
        return end;
    }
    if job.metadata.deletion_timestamp.is_some() {
        return "Terminating";
    }
    first(&["Suspended", "FailureTarget", "SuccessCriteriaMet"]).unwrap_or("Running")
}

fn completions(spec: &JobSpec, status: &JobStatus) -> String {
    let succeeded = status.succeeded.unwrap_or(0);
    match (spec.completions, spec.parallelism.unwrap_or(0)) {
        (Some(wanted), _) => format!("{succeeded}/{wanted}"),
        (None, parallelism @ 2..) => format!("{succeeded}/1 of {parallelism}"),
        (None, _) => format!("{succeeded}/1"),
    }
}

fn duration(status: &JobStatus, now: Timestamp) -> String {
    let end = status.completion_time.as_ref().map_or(now, |end| end.0);
    let start = status.start_time.as_ref();
    start.map_or_else(String::new, |start| meta::since(start.0, end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::job::Jobs;
    use crate::kinds::testing::row;
    use serde_json::json;

    #[test]
    fn rows_are_those_of_kubectl() {
        let cases = [
            (json!({"completions": 3}), json!({"succeeded": 1}), ["Running", "1/3", ""]),
            (
                json!({"parallelism": 4}),
                json!({"startTime": "2026-01-01T23:59:30Z"}),
                ["Running", "0/1 of 4", "30s"],
            ),
            (
                json!({"parallelism": 1}),
                json!({
                    "startTime": "2026-01-01T00:00:00Z", "completionTime": "2026-01-01T00:05:00Z",
                    "conditions": [{"type": "Complete", "status": "True"}],
                }),
                ["Complete", "0/1", "5m"],
            ),
            (
                json!({}),
                json!({"conditions": [{"type": "Suspended", "status": "True"}]}),
                ["Suspended", "0/1", ""],
            ),
        ];
        for (spec, status, expected) in cases {
            let row = row::<Jobs>(json!({"metadata": {"name": "a"}, "spec": spec, "status": status}));
            assert_eq!(row[1..4], expected.map(Value::from));
        }
    }
}
