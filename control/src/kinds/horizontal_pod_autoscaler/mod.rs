//! HorizontalPodAutoscalers of `autoscaling/v2`, the form that is stored.
//!
//! `behavior` judges how fast it may scale, `metrics` by what, `columns` prints. The older version
//! is `horizontal_pod_autoscaler_v1`. Source: `pkg/registry/autoscaling/horizontalpodautoscaler`,
//! `pkg/apis/autoscaling/v2/defaults.go`, `pkg/apis/autoscaling/validation/validation.go`.

mod behavior;
mod columns;
mod metrics;

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference, HorizontalPodAutoscaler as Object, HorizontalPodAutoscalerSpec,
    HorizontalPodAutoscalerStatus, MetricSpec, MetricTarget, ResourceMetricSource,
};
use serde_json::Value;

use super::{Column, Context, FieldError, Kind, KindInfo, Subresource, names, workload};

/// Where the older version keeps what it has no fields for. Nobody sets these in this one.
pub const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
pub const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
pub const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
pub const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
const ANNOTATIONS: &[&str] = &[
    METRICS,
    CURRENT_METRICS,
    CONDITIONS,
    BEHAVIOR,
    "autoscaling.alpha.kubernetes.io/scale-down-tolerance",
    "autoscaling.alpha.kubernetes.io/scale-up-tolerance",
];

const UTILIZATION_DEFAULT: i32 = 80;
const TARGET: &str = "spec.scaleTargetRef";

pub struct HorizontalPodAutoscalers;

impl Kind for HorizontalPodAutoscalers {
    type Object = Object;
    const INFO: KindInfo = KindInfo {
        short_names: &["hpa"],
        categories: &["all"],
        subresources: &[Subresource::Status],
        not_yet: Some("no controller acts on it yet"),
        ..KindInfo::namespaced(
            "autoscaling",
            "v2",
            "HorizontalPodAutoscaler",
            "horizontalpodautoscalers",
            "horizontalpodautoscaler",
            "io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler",
        )
    };

    fn default(object: &mut Object) {
        drop_annotations(&mut object.metadata.annotations);
        let spec = &mut object.spec;
        spec.min_replicas.get_or_insert(1);
        if spec.metrics.as_ref().is_none_or(Vec::is_empty) {
            spec.metrics = Some(vec![utilization(UTILIZATION_DEFAULT)]);
        }
        behavior::default(spec.behavior.as_mut());
    }

    fn prepare_create(object: &mut Object, _context: &Context<'_>) {
        object.status = Some(HorizontalPodAutoscalerStatus::default());
    }

    fn validate(_object: &Object) -> Vec<FieldError> {
        // What is let through depends on what was there before.
        Vec::new()
    }

    fn validate_create(object: &Object) -> Vec<FieldError> {
        validate(object, None)
    }

    fn validate_update(new: &Object, old: &Object) -> Vec<FieldError> {
        validate(new, Some(old))
    }

    fn validate_status(new: &Object, _old: &Object) -> Vec<FieldError> {
        let status = new.status.clone().unwrap_or_default();
        workload::validate_nonnegative(&[
            ("status.currentReplicas", status.current_replicas.map(Into::into)),
            ("status.desiredReplicas", Some(status.desired_replicas.into())),
        ])
    }

    fn columns() -> &'static [Column] {
        columns::COLUMNS
    }

    fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
        columns::cells(object, now)
    }
}

/// Takes the other version's annotations away.
pub fn drop_annotations(annotations: &mut Option<BTreeMap<String, String>>) {
    if let Some(annotations) = annotations {
        annotations.retain(|name, _| !ANNOTATIONS.contains(&name.as_str()));
    }
}

/// The metric that everyone gets who asks for none: the CPU, at so many per cent.
pub fn utilization(percent: i32) -> MetricSpec {
    MetricSpec {
        type_: "Resource".to_owned(),
        resource: Some(ResourceMetricSource {
            name: "cpu".to_owned(),
            target: MetricTarget {
                type_: "Utilization".to_owned(),
                average_utilization: Some(percent),
                ..MetricTarget::default()
            },
        }),
        ..MetricSpec::default()
    }
}

fn validate(new: &Object, old: Option<&Object>) -> Vec<FieldError> {
    let (spec, old) = (&new.spec, old.map(|old| &old.spec));
    let lowest = i32::from(old.is_none_or(|old| old.min_replicas != Some(0)));
    let mut errors = validate_bounds(spec, lowest);
    errors.extend(validate_reference(&spec.scale_target_ref, target_group(spec, old), TARGET));
    let listed = |spec: &HorizontalPodAutoscalerSpec| spec.metrics.clone().unwrap_or_default();
    let was_wrong = old.is_some_and(|old| !metrics::describe_groups(&listed(old)));
    let group = if was_wrong { ApiGroup::Any } else { ApiGroup::MayBeEmpty };
    errors.extend(metrics::validate(&listed(spec), spec.min_replicas, group, "spec.metrics"));
    errors.extend(behavior::validate(spec.behavior.as_ref(), "spec.behavior"));
    errors
}

fn validate_bounds(spec: &HorizontalPodAutoscalerSpec, lowest: i32) -> Vec<FieldError> {
    const MAX: &str = "spec.maxReplicas";
    let (min, max) = (spec.min_replicas, spec.max_replicas);
    let mut errors = Vec::new();
    if let Some(min) = min.filter(|min| *min < lowest) {
        let why = format!("must be greater than or equal to {lowest}");
        errors.push(FieldError::invalid("spec.minReplicas", min, why));
    }
    if max == 0 {
        errors.push(FieldError::required(MAX, "must be set and greater than 0"));
    } else if max < 0 {
        errors.push(FieldError::invalid(MAX, max, "must be greater than or equal to 1"));
    }
    if min.is_some_and(|min| max < min) {
        let why = "must be greater than or equal to `minReplicas`";
        errors.push(FieldError::invalid(MAX, max, why));
    }
    errors
}

/// What the `apiVersion` of a reference must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ApiGroup {
    Required,
    MayBeEmpty,
    /// It is as it was: no matter what.
    Any,
}

fn target_group(
    new: &HorizontalPodAutoscalerSpec,
    old: Option<&HorizontalPodAutoscalerSpec>,
) -> ApiGroup {
    let (new, old) = (&new.scale_target_ref, old.map(|old| &old.scale_target_ref));
    let version =
        |target: &CrossVersionObjectReference| target.api_version.clone().unwrap_or_default();
    match old {
        Some(old) if version(old) == version(new) && old.kind == new.kind => ApiGroup::Any,
        // The only thing of the core group that scales.
        _ if new.kind == "ReplicationController" => ApiGroup::MayBeEmpty,
        _ => ApiGroup::Required,
    }
}

fn validate_reference(
    target: &CrossVersionObjectReference,
    group: ApiGroup,
    path: &str,
) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (field, value) in [("kind", &target.kind), ("name", &target.name)] {
        let path = format!("{path}.{field}");
        if value.is_empty() {
            errors.push(FieldError::required(path, ""));
            continue;
        }
        let problems = names::path_segment(value, false).into_iter();
        errors.extend(problems.map(|why| FieldError::invalid(&path, value.as_str(), why)));
    }
    let version = target.api_version.as_deref().unwrap_or_default();
    if let Err(why) = check_version(version, group) {
        errors.push(FieldError::invalid(format!("{path}.apiVersion"), version, why));
    }
    errors
}

fn check_version(version: &str, group: ApiGroup) -> Result<(), String> {
    if group == ApiGroup::Any {
        return Ok(());
    }
    if version.matches('/').count() > 1 {
        return Err(format!("unexpected GroupVersion string: {version}"));
    }
    let name = version.split_once('/').map_or("", |(group, _)| group);
    if name.is_empty() && group == ApiGroup::Required {
        return Err("apiVersion must specify API group".to_owned());
    }
    Ok(())
}
