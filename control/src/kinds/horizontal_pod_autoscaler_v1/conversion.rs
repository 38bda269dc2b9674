//! The two forms of an autoscaler, one made of the other. Pure.
//!
//! Metrics, conditions and the behaviour travel as JSON in annotations; an annotation that does not
//! parse is as good as none. Source: `pkg/apis/autoscaling/v1/conversion.go`.

use std::collections::BTreeMap;

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use serde::Deserialize as _;
use serde_json::{Map, Value, json};

use crate::kinds::horizontal_pod_autoscaler::{
    BEHAVIOR, CONDITIONS, CURRENT_METRICS, METRICS, drop_annotations, utilization,
};
use crate::kinds::quantity::Quantity;

type Annotations = Option<BTreeMap<String, String>>;

const UTILIZATION_DEFAULT: i32 = 80;

/// Puts back what the annotations say of the status.
pub fn keep_status(new: &mut Annotations, old: &Annotations) {
    keep(new, old, &[CURRENT_METRICS, CONDITIONS]);
}

/// Puts back what they say of the spec.
pub fn keep_spec(new: &mut Annotations, old: &Annotations) {
    keep(new, old, &[METRICS, BEHAVIOR]);
}

fn keep(new: &mut Annotations, old: &Annotations, names: &[&str]) {
    for name in names {
        let known = old.as_ref().and_then(|old| old.get(*name));
        match (known, &mut *new) {
            (Some(known), new) => {
                new.get_or_insert_default().insert((*name).to_owned(), known.clone());
            }
            (None, Some(new)) => {
                new.remove(*name);
            }
            (None, None) => {}
        }
    }
}

/// `autoscaling/v1` → `autoscaling/v2`.
pub fn to_v2(value: Value) -> Value {
    let converted = convert(value.clone(), true);
    // Annotations that are JSON of something else are as good as none.
    let is_sound = HorizontalPodAutoscaler::deserialize(&converted).is_ok();
    if is_sound { converted } else { convert(value, false) }
}

fn convert(mut value: Value, with_annotations: bool) -> Value {
    value["apiVersion"] = "autoscaling/v2".into();
    let mut annotations = take_annotations(&mut value);
    if !with_annotations {
        annotations.clear();
    }
    let read = |name: &str| -> Option<Value> { serde_json::from_str(annotations.get(name)?).ok() };
    let spec = spec_to_v2(value["spec"].take(), read(METRICS), read(BEHAVIOR));
    value["spec"] = spec;
    let given = value["status"].take();
    let status = status_to_v2(given, read(CURRENT_METRICS), read(CONDITIONS));
    set(&mut value, "status", status);
    value
}

/// `autoscaling/v2` → `autoscaling/v1`.
pub fn to_v1(mut value: Value) -> Value {
    value["apiVersion"] = "autoscaling/v1".into();
    take_annotations(&mut value);
    let mut annotations = Map::new();
    let mut note = |name: &str, value: Value| {
        annotations.insert(name.to_owned(), value.to_string().into());
    };
    let mut spec = value["spec"].take();
    let metrics = items(spec["metrics"].take());
    if let Some(metric) = metrics.iter().find(|metric| is_cpu_target(metric)) {
        spec["targetCPUUtilizationPercentage"] =
            metric["resource"]["target"]["averageUtilization"].clone();
    }
    let others: Vec<Value> =
        metrics.into_iter().filter(|metric| !is_cpu_target(metric)).map(metric_to_v1).collect();
    if !others.is_empty() {
        note(METRICS, others.into());
    }
    let behavior = spec["behavior"].take();
    if behavior.is_object() {
        note(BEHAVIOR, behavior_to_internal(&behavior));
    }
    let mut status = value["status"].take();
    let current = items(status["currentMetrics"].take());
    for metric in current.iter().filter(|metric| metric["resource"]["name"] == "cpu") {
        let percent = &metric["resource"]["current"]["averageUtilization"];
        if metric["type"] == "Resource" && !percent.is_null() {
            status["currentCPUUtilizationPercentage"] = percent.clone();
        }
    }
    if !current.is_empty() {
        note(CURRENT_METRICS, current.into_iter().map(status_metric_to_v1).collect());
    }
    let conditions = items(status["conditions"].take());
    if !conditions.is_empty() {
        note(CONDITIONS, conditions.into());
    }
    // It is always told here.
    if status.is_object() && status["currentReplicas"].is_null() {
        status["currentReplicas"] = 0.into();
    }
    value["spec"] = without_nulls(spec);
    set(&mut value, "status", without_nulls(status));
    if !annotations.is_empty() {
        let known = &mut value["metadata"]["annotations"];
        if !known.is_object() {
            *known = json!({});
        }
        known.as_object_mut().into_iter().for_each(|known| known.extend(annotations.clone()));
    }
    value
}

/// Takes all annotations of this sort out of the object, and tells them.
fn take_annotations(value: &mut Value) -> BTreeMap<String, String> {
    let Some(metadata) = value["metadata"].as_object_mut() else { return BTreeMap::new() };
    let given = metadata.remove("annotations").unwrap_or_default();
    let given: BTreeMap<String, String> = serde_json::from_value(given).unwrap_or_default();
    let mut kept = Some(given.clone());
    drop_annotations(&mut kept);
    let kept = kept.unwrap_or_default();
    if !kept.is_empty() {
        metadata.insert("annotations".to_owned(), json!(kept));
    }
    given
}

fn spec_to_v2(mut spec: Value, others: Option<Value>, behavior: Option<Value>) -> Value {
    let percent = spec["targetCPUUtilizationPercentage"].take();
    let cpu = |percent: i32| serde_json::to_value(utilization(percent)).unwrap_or_default();
    let mut metrics: Vec<Value> = match others {
        Some(Value::Array(others)) => others.into_iter().map(metric_to_v2).collect(),
        Some(_) | None => Vec::new(),
    };
    let percent = percent.as_i64().and_then(|percent| i32::try_from(percent).ok());
    metrics.extend(percent.map(cpu));
    // The default is this version's own: only here all metrics are known.
    if metrics.is_empty() {
        metrics.push(cpu(UTILIZATION_DEFAULT));
    }
    spec["metrics"] = metrics.into();
    if let Some(behavior) = behavior.map(|behavior| behavior_from_internal(&behavior))
        && behavior.as_object().is_some_and(|behavior| !behavior.is_empty())
    {
        spec["behavior"] = behavior;
    }
    without_nulls(spec)
}

fn status_to_v2(mut status: Value, current: Option<Value>, conditions: Option<Value>) -> Value {
    let told = status.is_object() || current.is_some() || conditions.is_some();
    if !told {
        return Value::Null;
    }
    let percent = status["currentCPUUtilizationPercentage"].take();
    if !percent.is_null() {
        status["currentMetrics"] = json!([{
            "type": "Resource",
            "resource": {"name": "cpu", "current": {"averageUtilization": percent}},
        }]);
    }
    // The annotation knows more.
    if let Some(Value::Array(current)) = current {
        status["currentMetrics"] = current.into_iter().map(status_metric_to_v2).collect();
    }
    if let Some(conditions @ Value::Array(_)) = conditions {
        status["conditions"] = conditions;
    }
    without_nulls(status)
}

fn is_cpu_target(metric: &Value) -> bool {
    metric["type"] == "Resource"
        && metric["resource"]["name"] == "cpu"
        && !metric["resource"]["target"]["averageUtilization"].is_null()
}

/// The sources of metrics by the fields that hold them.
const SOURCES: [&str; 5] = ["containerResource", "external", "object", "pods", "resource"];

fn metric_to_v1(metric: Value) -> Value {
    each_source(metric, |source, from| {
        let target = &from["target"];
        match source {
            "external" => json!({
                "metricName": from["metric"]["name"],
                "metricSelector": from["metric"]["selector"],
                "targetValue": target["value"],
                "targetAverageValue": target["averageValue"],
            }),
            "object" => json!({
                "target": from["describedObject"],
                "metricName": from["metric"]["name"],
                "selector": from["metric"]["selector"],
                "targetValue": or_zero(&target["value"]),
                "averageValue": target["averageValue"],
            }),
            "pods" => json!({
                "metricName": from["metric"]["name"],
                "selector": from["metric"]["selector"],
                "targetAverageValue": or_zero(&target["averageValue"]),
            }),
            _ => json!({
                "name": from["name"],
                "container": from["container"],
                "targetAverageUtilization": target["averageUtilization"],
                "targetAverageValue": target["averageValue"],
            }),
        }
    })
}

fn metric_to_v2(metric: Value) -> Value {
    each_source(metric, |source, from| match source {
        "external" => {
            let (value, average) = (&from["targetValue"], &from["targetAverageValue"]);
            let kind = if value.is_null() { "AverageValue" } else { "Value" };
            json!({
                "metric": {"name": from["metricName"], "selector": from["metricSelector"]},
                "target": {"type": kind, "value": value, "averageValue": average},
            })
        }
        "object" => {
            let (value, average) = (or_zero(&from["targetValue"]), &from["averageValue"]);
            let target = if average.is_null() {
                json!({"type": "Value", "value": value})
            } else {
                // A zero is how this version writes none.
                let value = if is_zero(&value) { Value::Null } else { value };
                json!({"type": "AverageValue", "value": value, "averageValue": average})
            };
            json!({
                "describedObject": from["target"],
                "metric": {"name": from["metricName"], "selector": from["selector"]},
                "target": target,
            })
        }
        "pods" => json!({
            "metric": {"name": from["metricName"], "selector": from["selector"]},
            "target": {
                "type": "AverageValue",
                "averageValue": or_zero(&from["targetAverageValue"]),
            },
        }),
        _ => {
            let part = &from["targetAverageUtilization"];
            let kind = if part.is_null() { "AverageValue" } else { "Utilization" };
            json!({
                "name": from["name"],
                "container": from["container"],
                "target": {
                    "type": kind,
                    "averageValue": from["targetAverageValue"],
                    "averageUtilization": part,
                },
            })
        }
    })
}

fn status_metric_to_v1(metric: Value) -> Value {
    each_source(metric, |source, from| {
        let current = &from["current"];
        match source {
            "external" => json!({
                "metricName": from["metric"]["name"],
                "metricSelector": from["metric"]["selector"],
                "currentValue": or_zero(&current["value"]),
                "currentAverageValue": current["averageValue"],
            }),
            "object" => json!({
                "target": from["describedObject"],
                "metricName": from["metric"]["name"],
                "selector": from["metric"]["selector"],
                "currentValue": or_zero(&current["value"]),
                "averageValue": current["averageValue"],
            }),
            "pods" => json!({
                "metricName": from["metric"]["name"],
                "selector": from["metric"]["selector"],
                "currentAverageValue": or_zero(&current["averageValue"]),
            }),
            _ => json!({
                "name": from["name"],
                "container": from["container"],
                "currentAverageUtilization": current["averageUtilization"],
                "currentAverageValue": or_zero(&current["averageValue"]),
            }),
        }
    })
}

fn status_metric_to_v2(metric: Value) -> Value {
    each_source(metric, |source, from| match source {
        "external" => json!({
            "metric": {"name": from["metricName"], "selector": from["metricSelector"]},
            "current": {
                "value": or_zero(&from["currentValue"]),
                "averageValue": from["currentAverageValue"],
            },
        }),
        "object" => json!({
            "describedObject": from["target"],
            "metric": {"name": from["metricName"], "selector": from["selector"]},
            "current": {
                "value": or_zero(&from["currentValue"]),
                "averageValue": from["averageValue"],
            },
        }),
        "pods" => json!({
            "metric": {"name": from["metricName"], "selector": from["selector"]},
            "current": {"averageValue": or_zero(&from["currentAverageValue"])},
        }),
        _ => json!({
            "name": from["name"],
            "container": from["container"],
            "current": {
                "averageValue": or_zero(&from["currentAverageValue"]),
                "averageUtilization": from["currentAverageUtilization"],
            },
        }),
    })
}

fn each_source(mut metric: Value, convert: impl Fn(&str, &Value) -> Value) -> Value {
    for source in SOURCES {
        if metric[source].is_object() {
            metric[source] = convert(source, &metric[source]);
        }
    }
    without_nulls(metric)
}

fn or_zero(amount: &Value) -> Value {
    if amount.is_null() { "0".into() } else { amount.clone() }
}

fn is_zero(amount: &Value) -> bool {
    amount.as_str().is_some_and(|text| Quantity::parse(text).is_ok_and(Quantity::is_zero))
}

/// The behaviour as upstream's internal type shows it: its names begin with capitals, and nothing
/// is left out.
fn behavior_to_internal(behavior: &Value) -> Value {
    let rules = |rules: &Value| {
        if rules.is_null() {
            return Value::Null;
        }
        let policies = rules["policies"].as_array().map(|policies| -> Value {
            let policy = |policy: &Value| {
                json!({
                    "Type": policy["type"],
                    "Value": policy["value"],
                    "PeriodSeconds": policy["periodSeconds"],
                })
            };
            policies.iter().map(policy).collect()
        });
        json!({
            "StabilizationWindowSeconds": rules["stabilizationWindowSeconds"],
            "SelectPolicy": rules["selectPolicy"],
            "Policies": policies,
            "Tolerance": rules["tolerance"],
        })
    };
    json!({"ScaleUp": rules(&behavior["scaleUp"]), "ScaleDown": rules(&behavior["scaleDown"])})
}

/// The way back. Go reads names in any case.
fn behavior_from_internal(value: &Value) -> Value {
    const NAMES: &[&str] = &[
        "scaleUp",
        "scaleDown",
        "stabilizationWindowSeconds",
        "selectPolicy",
        "policies",
        "tolerance",
        "type",
        "value",
        "periodSeconds",
    ];
    match value {
        Value::Object(fields) => {
            let fields = fields.iter().filter(|(_, value)| !value.is_null());
            let known = fields.filter_map(|(name, value)| {
                let name = NAMES.iter().find(|known| known.eq_ignore_ascii_case(name))?;
                Some(((*name).to_owned(), behavior_from_internal(value)))
            });
            Value::Object(known.collect())
        }
        Value::Array(items) => items.iter().map(behavior_from_internal).collect(),
        other => other.clone(),
    }
}

fn items(value: Value) -> Vec<Value> {
    match value {
        Value::Array(items) => items,
        _ => Vec::new(),
    }
}

fn set(value: &mut Value, field: &str, to: Value) {
    match value.as_object_mut() {
        Some(fields) if to.is_null() => {
            fields.remove(field);
        }
        Some(fields) => {
            fields.insert(field.to_owned(), to);
        }
        None => {}
    }
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(fields.map(|(name, value)| (name, without_nulls(value))).collect())
        }
        Value::Array(items) => items.into_iter().map(without_nulls).collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v2() -> Value {
        json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "a", "annotations": {"mine": "x"}},
            "spec": {
                "minReplicas": 1, "maxReplicas": 3,
                "scaleTargetRef": {"kind": "Deployment", "name": "web", "apiVersion": "apps/v1"},
                "metrics": [
                    {"type": "External", "external": {
                        "metric": {"name": "q", "selector": {"matchLabels": {"a": "b"}}},
                        "target": {"type": "Value", "value": "7"},
                    }},
                    {"type": "Object", "object": {
                        "describedObject": {"kind": "Service", "name": "s", "apiVersion": "v1"},
                        "metric": {"name": "r"},
                        "target": {"type": "AverageValue", "averageValue": "2"},
                    }},
                    {"type": "Pods", "pods": {
                        "metric": {"name": "p"},
                        "target": {"type": "AverageValue", "averageValue": "5"},
                    }},
                    {"type": "ContainerResource", "containerResource": {
                        "name": "memory", "container": "main",
                        "target": {"type": "AverageValue", "averageValue": "1Gi"},
                    }},
                    {"type": "Resource", "resource": {
                        "name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50},
                    }},
                ],
                "behavior": {"scaleUp": {
                    "stabilizationWindowSeconds": 0, "selectPolicy": "Max",
                    "policies": [{"type": "Pods", "value": 4, "periodSeconds": 15}],
                }},
            },
            "status": {
                "currentReplicas": 2, "desiredReplicas": 2,
                "currentMetrics": [{"type": "Resource", "resource": {
                    "name": "cpu", "current": {"averageUtilization": 10, "averageValue": "100m"},
                }}],
                "conditions": [{"type": "AbleToScale", "status": "True"}],
            },
        })
    }

    #[test]
    fn nothing_is_lost_on_the_way_there_and_back() {
        let old = to_v1(v2());
        assert_eq!(old["apiVersion"], "autoscaling/v1");
        assert_eq!(old["spec"]["targetCPUUtilizationPercentage"], 50);
        assert_eq!(old["status"]["currentCPUUtilizationPercentage"], 10);
        assert_eq!(old["spec"].get("metrics"), None);
        assert_eq!(old["metadata"]["annotations"].as_object().map(Map::len), Some(5));
        assert_eq!(to_v2(old), v2());
    }

    #[test]
    fn annotations_are_written_as_upstream_writes_them() {
        let old = to_v1(v2());
        let annotation = |name: &str| -> Value {
            serde_json::from_str(old["metadata"]["annotations"][name].as_str().unwrap()).unwrap()
        };
        assert_eq!(
            annotation(BEHAVIOR),
            json!({
                "ScaleUp": {
                    "StabilizationWindowSeconds": 0, "SelectPolicy": "Max",
                    "Policies": [{"Type": "Pods", "Value": 4, "PeriodSeconds": 15}],
                    "Tolerance": null,
                },
                "ScaleDown": null,
            })
        );
        assert_eq!(
            annotation(METRICS)[1],
            json!({"type": "Object", "object": {
                "target": {"kind": "Service", "name": "s", "apiVersion": "v1"},
                "metricName": "r", "targetValue": "0", "averageValue": "2",
            }})
        );
        assert_eq!(
            annotation(CURRENT_METRICS),
            json!([{"type": "Resource", "resource": {
                "name": "cpu", "currentAverageUtilization": 10, "currentAverageValue": "100m",
            }}])
        );
    }

    #[test]
    fn one_without_metrics_goes_by_the_cpu() {
        let stored = to_v2(json!({
            "metadata": {"annotations": {METRICS: "not JSON"}},
            "spec": {"maxReplicas": 3},
        }));
        assert_eq!(
            stored["spec"]["metrics"][0]["resource"]["target"],
            json!({"type": "Utilization", "averageUtilization": 80})
        );
        assert_eq!(stored["metadata"], json!({}));
        assert_eq!(stored.get("status"), None);
        assert_eq!(to_v1(stored)["spec"]["targetCPUUtilizationPercentage"], 80);
    }
}
