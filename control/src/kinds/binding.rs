//! Bindings: the wish that a pod run on a node. Never kept: `pods/binding` writes the pod's
//! `spec.nodeName`.
//!
//! Source: `pkg/registry/core/pod/storage`, `ValidatePodBinding`.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Binding, Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::Value;

use super::{Column, FieldError, Kind, KindInfo, Storage, meta};

pub struct Bindings;

impl Kind for Bindings {
    type Object = Binding;

    const INFO: KindInfo = KindInfo {
        storage: Storage::Virtual,
        unconditional_update: false,
        ..KindInfo::namespaced(
            "",
            "v1",
            "Binding",
            "bindings",
            "binding",
            "io.k8s.api.core.v1.Binding",
        )
    };

    fn validate(binding: &Binding) -> Vec<FieldError> {
        let target = &binding.target;
        let mut errors = Vec::new();
        let kind = target.kind.as_deref().unwrap_or_default();
        if !matches!(kind, "" | "Node") {
            errors.push(FieldError::not_supported("target.kind", kind, &["Node", "<empty>"]));
        }
        if target.name.as_deref().unwrap_or_default().is_empty() {
            errors.push(FieldError::required("target.name", ""));
        }
        errors
    }

    fn columns() -> &'static [Column] {
        &[Column::NAME, Column::AGE]
    }

    fn cells(binding: &Binding, now: Timestamp) -> Vec<Value> {
        vec![meta::object_name(&binding.metadata), meta::object_age(&binding.metadata, now)]
    }
}

/// Why a pod cannot be bound. Upstream answers with a conflict on `pods/binding`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BindError {
    #[error("pod {pod} is being deleted, cannot be assigned to a host")]
    Deleted { pod: String },
    #[error("pod {pod} is already assigned to node {node:?}")]
    Assigned { pod: String, node: String },
    #[error("pod {pod} has non-empty .spec.schedulingGates")]
    Gated { pod: String },
}

/// Puts the pod on the binding's node: what a create of `pods/binding` writes. The binding's UID and
/// resourceVersion, where given, are preconditions that the caller checks.
pub fn bind(binding: &Binding, pod: &mut Pod, now: Timestamp) -> Result<(), BindError> {
    let name = || pod.metadata.name.clone().unwrap_or_default();
    if pod.metadata.deletion_timestamp.is_some() {
        return Err(BindError::Deleted { pod: name() });
    }
    let spec = pod.spec.as_ref();
    if let Some(node) = spec.and_then(|spec| spec.node_name.clone()).filter(|node| !node.is_empty())
    {
        return Err(BindError::Assigned { pod: name(), node });
    }
    let gates = spec.and_then(|spec| spec.scheduling_gates.as_ref());
    if gates.is_some_and(|gates| !gates.is_empty()) {
        return Err(BindError::Gated { pod: name() });
    }
    pod.spec.get_or_insert_default().node_name = binding.target.name.clone();
    if let Some(annotations) = &binding.metadata.annotations {
        pod.metadata.annotations.get_or_insert_default().extend(annotations.clone());
    }
    if let Some(labels) = &binding.metadata.labels {
        pod.metadata.labels.get_or_insert_default().extend(labels.clone());
    }
    let status = pod.status.get_or_insert_default();
    // Where it was to go is of no interest where it went.
    status.nominated_node_name = None;
    let conditions = status.conditions.get_or_insert_default();
    conditions.retain(|condition| condition.type_ != "PodScheduled");
    conditions.push(PodCondition {
        type_: "PodScheduled".to_owned(),
        status: "True".to_owned(),
        last_transition_time: Some(Time(now)),
        ..PodCondition::default()
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::{now, problems};
    use serde_json::json;

    #[test]
    fn a_binding_names_a_node() {
        let binding = |target| json!({"metadata": {"name": "web"}, "target": target});
        assert_eq!(problems::<Bindings>(&binding(json!({"name": "a"}))), [""; 0]);
        assert_eq!(problems::<Bindings>(&binding(json!({"kind": "Node", "name": "a"}))), [""; 0]);
        assert_eq!(
            problems::<Bindings>(&binding(json!({"kind": "Pod"}))),
            [
                "target.kind: Unsupported value: \"Pod\": supported values: \"Node\", \"<empty>\"",
                "target.name: Required value",
            ]
        );
    }

    #[test]
    fn a_pod_is_bound_once() {
        let binding: Binding = serde_json::from_value(json!({
            "metadata": {"name": "web", "annotations": {"a": "b"}}, "target": {"name": "n1"},
        }))
        .unwrap();
        let mut pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "web"}, "spec": {"containers": []},
            "status": {"nominatedNodeName": "n2", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]},
        }))
        .unwrap();
        assert_eq!(bind(&binding, &mut pod, now()), Ok(()));
        assert_eq!(
            serde_json::to_value(&pod).unwrap(),
            json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": "web", "annotations": {"a": "b"}},
                "spec": {"containers": [], "nodeName": "n1"},
                "status": {"conditions": [
                    {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-02T00:00:00Z"},
                ]},
            })
        );
        let error = bind(&binding, &mut pod, now()).unwrap_err();
        assert_eq!(error.to_string(), "pod web is already assigned to node \"n1\"");
    }

    #[test]
    fn a_gated_or_dying_pod_is_not_bound() {
        let binding = Binding::default();
        let gated = json!({"metadata": {"name": "web"}, "spec": {"containers": [], "schedulingGates": [{"name": "a.io/b"}]}});
        let dying =
            json!({"metadata": {"name": "web", "deletionTimestamp": "2026-01-01T00:00:00Z"}});
        for (pod, text) in [
            (gated, "pod web has non-empty .spec.schedulingGates"),
            (dying, "pod web is being deleted, cannot be assigned to a host"),
        ] {
            let mut pod = serde_json::from_value(pod).unwrap();
            assert_eq!(bind(&binding, &mut pod, now()).unwrap_err().to_string(), text);
        }
    }
}
