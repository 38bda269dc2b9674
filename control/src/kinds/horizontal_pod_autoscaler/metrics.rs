//! What an autoscaler goes by.

use k8s_openapi::api::autoscaling::v2::{MetricIdentifier, MetricSpec, MetricTarget};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Amount;

use super::{ApiGroup, check_version, validate_reference};
use crate::kinds::quantity::Quantity;
use crate::kinds::{FieldError, meta, names, resources};

const TYPES: &[&str] = &["ContainerResource", "External", "Object", "Pods", "Resource"];

/// Whether the objects that metrics describe name their versions rightly.
pub fn describe_groups(metrics: &[MetricSpec]) -> bool {
    let described = metrics.iter().filter(|metric| metric.type_ == "Object");
    described.filter_map(|metric| metric.object.as_ref()).all(|source| {
        let version = source.described_object.api_version.as_deref().unwrap_or_default();
        check_version(version, ApiGroup::MayBeEmpty).is_ok()
    })
}

pub fn validate(
    metrics: &[MetricSpec],
    min_replicas: Option<i32>,
    group: ApiGroup,
    path: &str,
) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (index, metric) in metrics.iter().enumerate() {
        errors.extend(validate_metric(metric, group, &format!("{path}[{index}]")));
    }
    let wakes = |metric: &MetricSpec| matches!(metric.type_.as_str(), "Object" | "External");
    if min_replicas == Some(0) && !metrics.iter().any(wakes) {
        let why = "must specify at least one Object or External metric to support scaling to zero replicas";
        errors.push(FieldError::forbidden(path, why));
    }
    errors
}

/// A metric has one source, that of its type.
fn validate_metric(metric: &MetricSpec, group: ApiGroup, path: &str) -> Vec<FieldError> {
    let kind = metric.type_.as_str();
    let type_path = format!("{path}.type");
    let mut errors = Vec::new();
    if kind.is_empty() {
        errors.push(FieldError::required(&type_path, "must specify a metric source type"));
    }
    if !TYPES.contains(&kind) {
        errors.push(FieldError::not_supported(&type_path, kind, TYPES));
    }
    let sources = [
        ("Object", "object", metric.object.is_some()),
        ("External", "external", metric.external.is_some()),
        ("Pods", "pods", metric.pods.is_some()),
        ("Resource", "resource", metric.resource.is_some()),
        ("ContainerResource", "containerResource", metric.container_resource.is_some()),
    ];
    let present: Vec<&str> =
        sources.iter().filter(|(.., set)| *set).map(|(_, field, _)| *field).collect();
    // Only the first is looked into.
    if let Some(first) = present.first() {
        errors.extend(validate_source(metric, first, group, &format!("{path}.{first}")));
    }
    let expected = sources.iter().find(|(of, ..)| *of == kind);
    match expected {
        Some((_, field, false)) => {
            let why = "must populate information for the given metric source";
            errors.push(FieldError::required(format!("{path}.{field}"), why));
        }
        Some(_) => {}
        None => errors.push(FieldError::not_supported(&type_path, kind, TYPES)),
    }
    if present.len() > 1 {
        let own = expected.map(|(_, field, _)| *field);
        for field in present.into_iter().filter(|field| Some(*field) != own) {
            let why = "must populate the given metric source only";
            errors.push(FieldError::forbidden(format!("{path}.{field}"), why));
        }
    }
    errors
}

fn validate_source(
    metric: &MetricSpec,
    field: &str,
    group: ApiGroup,
    path: &str,
) -> Vec<FieldError> {
    match field {
        "object" => metric.object.iter().flat_map(|source| {
            let object_path = format!("{path}.describedObject");
            let mut errors = validate_reference(&source.described_object, group, &object_path);
            errors.extend(validate_identifier(&source.metric, path));
            errors.extend(validate_target(&source.target, path));
            let why = "must set either a target value or averageValue";
            errors.extend(require(has_value(&source.target), path, "averageValue", why));
            errors
        })
        .collect(),
        "external" => metric.external.iter().flat_map(|source| {
            let target = &source.target;
            let mut errors = validate_identifier(&source.metric, path);
            errors.extend(validate_target(target, path));
            let why = "must set either a target value for metric or a per-pod target";
            errors.extend(require(has_value(target), path, "averageValue", why));
            if target.value.is_some() && target.average_value.is_some() {
                let why = "may not set both a target value for metric and a per-pod target";
                errors.push(FieldError::forbidden(format!("{path}.target.value"), why));
            }
            errors
        })
        .collect(),
        "pods" => metric.pods.iter().flat_map(|source| {
            let mut errors = validate_identifier(&source.metric, path);
            errors.extend(validate_target(&source.target, path));
            let why = "must specify a positive target averageValue";
            let has = source.target.average_value.is_some();
            errors.extend(require(has, path, "averageValue", why));
            errors
        })
        .collect(),
        "resource" => metric.resource.iter().flat_map(|source| {
            let mut errors = validate_resource_name(&source.name, path);
            errors.extend(validate_usage(&source.target, path));
            errors
        })
        .collect(),
        _ => metric.container_resource.iter().flat_map(|source| {
            let mut errors = validate_resource_name(&source.name, path);
            if !source.name.is_empty() {
                let name_path = format!("{path}.name");
                errors.extend(resources::validate_of_container(&source.name, &name_path));
            }
            let container_path = format!("{path}.container");
            if source.container.is_empty() {
                errors.push(FieldError::required(container_path, "must specify a container"));
            } else {
                let problems = names::label(&source.container);
                errors.extend(meta::invalid_each(&container_path, &source.container, problems));
            }
            errors.extend(validate_usage(&source.target, path));
            errors
        })
        .collect(),
    }
}

fn has_value(target: &MetricTarget) -> bool {
    target.value.is_some() || target.average_value.is_some()
}

fn require(has: bool, path: &str, field: &str, why: &str) -> Option<FieldError> {
    (!has).then(|| FieldError::required(format!("{path}.target.{field}"), why))
}

fn validate_resource_name(name: &str, path: &str) -> Vec<FieldError> {
    match name {
        "" => vec![FieldError::required(format!("{path}.name"), "must specify a resource name")],
        _ => Vec::new(),
    }
}

/// The target of what is measured of pods: an amount, or a part of what they ask for.
fn validate_usage(target: &MetricTarget, path: &str) -> Vec<FieldError> {
    let mut errors = validate_target(target, path);
    let (part, amount) = (target.average_utilization.is_some(), target.average_value.is_some());
    let why = "must set either a target raw value or a target utilization";
    errors.extend(require(part || amount, path, "averageUtilization", why));
    if part && amount {
        let why = "may not set both a target raw value and a target utilization";
        errors.push(FieldError::forbidden(format!("{path}.target.averageValue"), why));
    }
    errors
}

fn validate_target(target: &MetricTarget, path: &str) -> Vec<FieldError> {
    let child = |name: &str| format!("{path}.target.{name}");
    let kind = target.type_.as_str();
    let mut errors = Vec::new();
    if kind.is_empty() {
        errors.push(FieldError::required(child("type"), "must specify a metric target type"));
    }
    if !matches!(kind, "Utilization" | "Value" | "AverageValue") {
        let why = "must be either Utilization, Value, or AverageValue";
        errors.push(FieldError::invalid(child("type"), kind, why));
    }
    for (field, amount) in [("value", &target.value), ("averageValue", &target.average_value)] {
        if let Some(amount) = amount.as_ref().filter(|amount| !is_positive(amount)) {
            errors.push(FieldError::invalid(child(field), amount.0.as_str(), "must be positive"));
        }
    }
    if let Some(percent) = target.average_utilization.filter(|percent| *percent < 1) {
        let why = "must be greater than 0";
        errors.push(FieldError::invalid(child("averageUtilization"), percent, why));
    }
    errors
}

fn is_positive(amount: &Amount) -> bool {
    Quantity::try_from(amount).is_ok_and(|amount| !amount.is_negative() && !amount.is_zero())
}

fn validate_identifier(metric: &MetricIdentifier, path: &str) -> Vec<FieldError> {
    let path = format!("{path}.metric.name");
    if metric.name.is_empty() {
        return vec![FieldError::required(path, "must specify a metric name")];
    }
    let problems = names::path_segment(&metric.name, false).into_iter();
    problems.map(|why| FieldError::invalid(&path, metric.name.as_str(), why)).collect()
}
