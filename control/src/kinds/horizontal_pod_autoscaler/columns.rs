//! How an autoscaler is printed. Source: `printHorizontalPodAutoscaler` and `formatHPAMetrics` in
//! `pkg/printers/internalversion/printers.go`.

use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v2::{
    HorizontalPodAutoscaler, MetricSpec, MetricStatus, MetricTarget, MetricValueStatus,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::Value;

use crate::kinds::{Column, meta, workload};

const SHOWN_MAX: usize = 2;
const UNKNOWN: &str = "<unknown>";

pub const COLUMNS: &[Column] = &[
    Column::NAME,
    Column::new("Reference", "string", 0, "What is scaled."),
    Column::new("Targets", "string", 0, "What is measured, and what it should be."),
    Column::new("MinPods", "string", 0, "The fewest replicas."),
    Column::new("MaxPods", "string", 0, "The most replicas."),
    Column::new("Replicas", "string", 0, "How many replicas there are."),
    Column::AGE,
];

pub fn cells(object: &HorizontalPodAutoscaler, now: Timestamp) -> Vec<Value> {
    let spec = &object.spec;
    let status = object.status.clone().unwrap_or_default();
    let target = &spec.scale_target_ref;
    let least = spec.min_replicas.map_or_else(|| "<unset>".to_owned(), |min| min.to_string());
    let metrics = spec.metrics.as_deref().unwrap_or_default();
    let current = status.current_metrics.as_deref().unwrap_or_default();
    vec![
        meta::object_name(&object.metadata),
        format!("{}/{}", target.kind, target.name).into(),
        targets(metrics, current).into(),
        least.into(),
        spec.max_replicas.into(),
        status.current_replicas.unwrap_or(0).into(),
        meta::object_age(&object.metadata, now),
    ]
}

fn targets(metrics: &[MetricSpec], current: &[MetricStatus]) -> String {
    if metrics.is_empty() {
        return workload::NONE.to_owned();
    }
    let shown = metrics.iter().take(SHOWN_MAX).enumerate();
    let shown: Vec<String> = shown.map(|(at, metric)| one(metric, current.get(at))).collect();
    let shown = shown.join(", ");
    match metrics.len().saturating_sub(SHOWN_MAX) {
        0 => shown,
        more => format!("{shown} + {more} more..."),
    }
}

fn one(metric: &MetricSpec, status: Option<&MetricStatus>) -> String {
    match metric.type_.as_str() {
        "External" => {
            let target = metric.external.as_ref().map(|source| &source.target);
            let now = status.and_then(|status| status.external.as_ref()).map(|it| &it.current);
            value(target, now)
        }
        "Object" => {
            let target = metric.object.as_ref().map(|source| &source.target);
            let now = status.and_then(|status| status.object.as_ref()).map(|it| &it.current);
            value(target, now)
        }
        "Pods" => {
            let target = metric.pods.as_ref().and_then(|it| it.target.average_value.as_ref());
            let now = status.and_then(|status| status.pods.as_ref()).map(|it| &it.current);
            format!("{}/{}", average(now), amount(target))
        }
        "Resource" => {
            let source = metric.resource.as_ref();
            let now = status.and_then(|status| status.resource.as_ref()).map(|it| &it.current);
            let name = source.map_or("", |source| &source.name);
            format!("{name}: {}", usage(source.map(|source| &source.target), now))
        }
        "ContainerResource" => {
            let source = metric.container_resource.as_ref();
            let now = status.and_then(|it| it.container_resource.as_ref()).map(|it| &it.current);
            let name = source.map_or("", |source| &source.name);
            format!("{name}: {}", usage(source.map(|source| &source.target), now))
        }
        _ => "<unknown type>".to_owned(),
    }
}

/// Of one thing, or of the average of the pods.
fn value(target: Option<&MetricTarget>, now: Option<&MetricValueStatus>) -> String {
    if let Some(wanted) = target.and_then(|target| target.average_value.as_ref()) {
        let now = now.and_then(|now| now.average_value.as_ref());
        let now = now.map_or(UNKNOWN, |now| &now.0);
        return format!("{now}/{} (avg)", wanted.0);
    }
    let now = now.map_or(UNKNOWN, |now| amount(now.value.as_ref()));
    format!("{now}/{}", amount(target.and_then(|target| target.value.as_ref())))
}

/// An amount, or a part of what the pods ask for.
fn usage(target: Option<&MetricTarget>, now: Option<&MetricValueStatus>) -> String {
    if let Some(wanted) = target.and_then(|target| target.average_value.as_ref()) {
        return format!("{}/{}", average(now), wanted.0);
    }
    let percent = |part: i32| format!("{part}%");
    let now = now.and_then(|now| now.average_utilization).map_or(UNKNOWN.to_owned(), percent);
    let wanted = target.and_then(|target| target.average_utilization);
    format!("{now}/{}", wanted.map_or("<auto>".to_owned(), percent))
}

fn average(now: Option<&MetricValueStatus>) -> &str {
    now.map_or(UNKNOWN, |now| amount(now.average_value.as_ref()))
}

/// As Go prints a quantity that is not there.
fn amount(amount: Option<&Quantity>) -> &str {
    amount.map_or("<nil>", |amount| &amount.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn two_targets_are_told_and_the_rest_counted() {
        let metrics: Vec<MetricSpec> = serde_json::from_value(json!([
            {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}},
            {"type": "Pods", "pods": {"metric": {"name": "q"}, "target": {"type": "AverageValue", "averageValue": "5"}}},
            {"type": "External", "external": {"metric": {"name": "q"}, "target": {"type": "Value", "value": "7"}}},
        ]))
        .unwrap();
        let current: Vec<MetricStatus> = serde_json::from_value(json!([
            {"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 12}}},
        ]))
        .unwrap();
        assert_eq!(targets(&metrics, &current), "cpu: 12%/80%, <unknown>/5 + 1 more...");
        assert_eq!(targets(&metrics[2..], &[]), "<unknown>/7");
        assert_eq!(targets(&[], &[]), "<none>");
    }
}
