//! RuntimeClass: a pod of a class costs what the class says, and goes where it may.
//!
//! Source: `plugin/pkg/admission/runtimeclass`, `pkg/util/tolerations`.

use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Toleration;
use k8s_openapi::api::node::v1::{RuntimeClass as Class, Scheduling};
use serde_json::{Value, json};

use super::{Operation, Plugin, Review, Surroundings, lookup};
use crate::kinds::semantic;
use crate::status::ApiError;

const CLASSES: &str = "runtimeclasses.node.k8s.io";

/// See the module's documentation.
pub struct RuntimeClass;

#[async_trait]
impl Plugin for RuntimeClass {
    fn name(&self) -> &'static str {
        "RuntimeClass"
    }

    async fn admit(
        &self,
        surroundings: &Surroundings,
        review: &mut Review<'_>,
    ) -> Result<(), ApiError> {
        let operation = review.operation;
        let Some(pod) = review.pod().filter(|_| operation == Operation::Create) else {
            return Ok(());
        };
        let class = match pod["spec"]["runtimeClassName"].as_str().map(str::to_owned) {
            None => None,
            Some(name) => match find(surroundings, &name).await? {
                Some(class) => Some(class),
                None => {
                    let why = format!("pod rejected: RuntimeClass {name:?} not found");
                    return Err(lookup::forbidden(review, &why));
                }
            },
        };
        let Some(pod) = review.pod() else { return Ok(()) };
        apply(pod, class.as_deref()).map_err(|why| lookup::forbidden(review, &why))
    }
}

async fn find(surroundings: &Surroundings, name: &str) -> Result<Option<Arc<Class>>, ApiError> {
    let cache = lookup::cache(surroundings, CLASSES)?;
    let found = lookup::find(&cache, "", name).await?;
    found.map(|found| found.try_view().map_err(ApiError::internal)).transpose()
}

fn apply(pod: &mut Value, class: Option<&Class>) -> Result<(), String> {
    let spec = &mut pod["spec"];
    set_overhead(spec, class)?;
    match class.and_then(|class| class.scheduling.as_ref()) {
        Some(scheduling) => set_scheduling(spec, scheduling),
        None => Ok(()),
    }
}

fn set_overhead(spec: &mut Value, class: Option<&Class>) -> Result<(), String> {
    let given = spec["overhead"].is_object();
    let Some(overhead) = class.and_then(|class| class.overhead.as_ref()) else {
        if given {
            return Err("pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead".to_owned());
        }
        return Ok(());
    };
    let fixed = json!(overhead.pod_fixed);
    let is_empty = spec["overhead"].as_object().is_none_or(serde_json::Map::is_empty);
    let same =
        semantic::equal(&json!({ "overhead": fixed }), &json!({ "overhead": spec["overhead"] }));
    if !is_empty && !same {
        return Err(
            "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead".to_owned()
        );
    }
    if !fixed.is_null() {
        spec["overhead"] = fixed;
    }
    Ok(())
}

/// The pod goes to nodes that both pick, and tolerates what either does.
fn set_scheduling(spec: &mut Value, scheduling: &Scheduling) -> Result<(), String> {
    for (key, value) in scheduling.node_selector.iter().flatten() {
        let selector = &mut spec["nodeSelector"];
        if !selector.is_object() {
            *selector = json!({});
        }
        if let Some(own) = selector[key].as_str().filter(|own| own != value) {
            return Err(format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; pod.spec.nodeSelector[{key}] = {own}"
            ));
        }
        selector[key] = value.as_str().into();
    }
    let own: Option<Vec<Toleration>> = serde_json::from_value(spec["tolerations"].clone())
        .map_err(|why| format!("tolerations: {why}"))?;
    let mut all = own.unwrap_or_default();
    all.extend(scheduling.tolerations.iter().flatten().cloned());
    let merged = merge(&all);
    if !merged.is_empty() {
        spec["tolerations"] = json!(merged);
    }
    Ok(())
}

/// The tolerations without those that another one covers.
fn merge(all: &[Toleration]) -> Vec<Toleration> {
    let mut merged: Vec<Toleration> = Vec::new();
    for (index, toleration) in all.iter().enumerate() {
        let covered = merged.iter().any(|known| covers(known, toleration));
        let later = &all[index + 1..];
        // Of equal ones, the first stays.
        let will_be = later.iter().any(|other| other != toleration && covers(other, toleration));
        if !covered && !will_be {
            merged.push(toleration.clone());
        }
    }
    merged
}

/// Whether the first tolerates all that the second does.
fn covers(wide: &Toleration, narrow: &Toleration) -> bool {
    fn text(field: &Option<String>) -> &str {
        field.as_deref().unwrap_or_default()
    }
    if wide == narrow {
        return true;
    }
    let exists = text(&wide.operator) == "Exists";
    let same_key = text(&wide.key) == text(&narrow.key);
    let same_effect = text(&wide.effect) == text(&narrow.effect);
    let every_key = text(&wide.key).is_empty() && exists;
    if !(same_key || every_key) || !same_effect && !text(&wide.effect).is_empty() {
        return false;
    }
    if text(&wide.effect) == "NoExecute"
        && let Some(seconds) = wide.toleration_seconds
        && narrow.toleration_seconds.is_none_or(|narrow| narrow > seconds)
    {
        return false;
    }
    match text(&wide.operator) {
        "" | "Equal" => {
            text(&narrow.operator) == "Equal" && text(&narrow.value) == text(&wide.value)
        }
        _ => exists,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Request, surroundings};
    use super::*;

    async fn admit(spec: Value) -> Result<Value, String> {
        let class = |name: &str, rest: Value| {
            let mut class = rest;
            class["metadata"] = json!({ "name": name });
            class["handler"] = name.into();
            (CLASSES, class)
        };
        let around = surroundings(&[
            class("plain", json!({})),
            class(
                "micro",
                json!({
                    "overhead": {"podFixed": {"memory": "1Mi"}},
                    "scheduling": {
                        "nodeSelector": {"micro": "yes"},
                        "tolerations": [{"key": "micro", "operator": "Exists"}],
                    },
                }),
            ),
        ])
        .await;
        let request = Request::create("pods", "default", "p").with(json!({ "spec": spec }));
        let admitted = request.admit(&RuntimeClass, &around).await;
        admitted.map(|pod| pod["spec"].clone()).map_err(|error| error.message)
    }

    #[tokio::test]
    async fn a_class_gives_its_overhead_and_its_place() {
        assert_eq!(
            admit(json!({"runtimeClassName": "micro", "nodeSelector": {"a": "b"},
                "tolerations": [{"key": "micro", "operator": "Equal", "value": "x"}]}))
            .await,
            Ok(json!({
                "runtimeClassName": "micro", "overhead": {"memory": "1Mi"},
                "nodeSelector": {"a": "b", "micro": "yes"},
                "tolerations": [{"key": "micro", "operator": "Exists"}],
            }))
        );
        let plain = json!({"runtimeClassName": "plain"});
        assert_eq!(admit(plain.clone()).await, Ok(plain));
        assert_eq!(admit(json!({})).await, Ok(json!({})));
    }

    #[tokio::test]
    async fn what_does_not_fit_the_class_is_refused() {
        let without =
            "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead";
        let cases = [
            (json!({"runtimeClassName": "kata"}), "pod rejected: RuntimeClass \"kata\" not found"),
            (json!({"overhead": {"memory": "1Mi"}}), without),
            (json!({"runtimeClassName": "plain", "overhead": {}}), without),
            (
                json!({"runtimeClassName": "micro", "overhead": {"memory": "2Mi"}}),
                "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead",
            ),
            (
                json!({"runtimeClassName": "micro", "nodeSelector": {"micro": "no"}}),
                "conflict: runtimeClass.scheduling.nodeSelector[micro] = yes; pod.spec.nodeSelector[micro] = no",
            ),
        ];
        for (spec, why) in cases {
            let expected = format!("pods \"p\" is forbidden: {why}");
            assert_eq!(admit(spec.clone()).await, Err(expected), "{spec}");
        }
        let same = json!({"runtimeClassName": "micro", "overhead": {"memory": "1024Ki"}});
        assert!(admit(same).await.is_ok());
    }

    #[test]
    fn tolerations_that_others_cover_go() {
        let list = |value: Value| -> Vec<Toleration> { serde_json::from_value(value).unwrap() };
        let all = list(json!([
            {"key": "a", "operator": "Equal", "value": "x", "effect": "NoSchedule"},
            {"key": "a", "operator": "Equal", "value": "x", "effect": "NoSchedule"},
            {"key": "b", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5},
            {"key": "b", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 9},
            {"key": "c", "operator": "Equal", "value": "x"},
            {"key": "c", "operator": "Exists"},
        ]));
        assert_eq!(
            merge(&all),
            list(json!([
                {"key": "a", "operator": "Equal", "value": "x", "effect": "NoSchedule"},
                {"key": "b", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 9},
                {"key": "c", "operator": "Exists"},
            ]))
        );
    }
}
