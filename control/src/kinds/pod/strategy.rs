//! What the server alone decides of a pod.
//!
//! Source: `pkg/registry/core/pod/strategy.go`.

use std::collections::{BTreeMap, VecDeque};

use k8s_openapi::api::core::v1::{Pod, PodAffinityTerm, PodCondition, PodSpec, PodStatus};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{
    LabelSelector, LabelSelectorRequirement, Time,
};

use super::{app_armor, features, qos};

type Labels = BTreeMap<String, String>;

/// A new pod is pending, of the class of service that its requests make it, and its label keys are
/// spelled out.
pub fn prepare_create(pod: &mut Pod, now: Timestamp) {
    let labels = pod.metadata.labels.clone().unwrap_or_default();
    let spec = pod.spec.get_or_insert_default();
    spell_out_affinity(spec, &labels);
    spell_out_spreading(spec, &labels);
    let gated = spec.scheduling_gates.as_ref().is_some_and(|gates| !gates.is_empty());
    pod.status = Some(PodStatus {
        phase: Some("Pending".to_owned()),
        qos_class: Some(qos::class(spec).to_owned()),
        conditions: gated.then(|| vec![gated_condition(now)]),
        ..PodStatus::default()
    });
    drop_disabled(pod, None);
    app_armor::fill_in(pod);
}

/// Drops what is switched off, unless the old pod has it.
pub fn drop_disabled(pod: &mut Pod, old: Option<&Pod>) {
    if let Some(spec) = &mut pod.spec {
        features::drop_disabled(spec, old.and_then(|old| old.spec.as_ref()));
    }
    let none = PodStatus::default();
    if let Some(status) = &mut pod.status {
        let old = old.and_then(|old| old.status.as_ref()).unwrap_or(&none);
        features::drop_disabled_status(status, old);
    }
}

/// Takes the status, and the metadata that users write, from the old pod.
pub fn keep_all_but_spec(new: &mut Pod, old: &Pod) {
    new.status.clone_from(&old.status);
    let (new, old) = (&mut new.metadata, &old.metadata);
    new.annotations.clone_from(&old.annotations);
    new.deletion_timestamp.clone_from(&old.deletion_timestamp);
    new.finalizers.clone_from(&old.finalizers);
    new.generation = old.generation;
    new.labels.clone_from(&old.labels);
    new.owner_references.clone_from(&old.owner_references);
}

/// An update of the status cannot take away the class of service or an observed generation.
pub fn prepare_status(new: &mut Pod, old: &Pod) {
    // Deletion and ownership are not a kubelet's to change.
    new.metadata.deletion_timestamp.clone_from(&old.metadata.deletion_timestamp);
    new.metadata.owner_references.clone_from(&old.metadata.owner_references);
    let none = PodStatus::default();
    let old = old.status.as_ref().unwrap_or(&none);
    let new = new.status.get_or_insert_default();
    if new.qos_class.as_deref().unwrap_or_default().is_empty() {
        new.qos_class.clone_from(&old.qos_class);
    }
    if new.observed_generation.unwrap_or_default() == 0 {
        new.observed_generation = old.observed_generation;
    }
    keep_observed_generations(new, old);
    features::drop_disabled_status(new, old);
}

/// By type, in order: a type may occur more than once.
fn keep_observed_generations(new: &mut PodStatus, old: &PodStatus) {
    let mut known: BTreeMap<&str, VecDeque<Option<i64>>> = BTreeMap::new();
    for condition in old.conditions.iter().flatten() {
        known.entry(&condition.type_).or_default().push_back(condition.observed_generation);
    }
    for condition in new.conditions.iter_mut().flatten() {
        let before = known.get_mut(condition.type_.as_str()).and_then(VecDeque::pop_front);
        if condition.observed_generation.unwrap_or_default() == 0 {
            condition.observed_generation = before.flatten();
        }
    }
}

fn gated_condition(now: Timestamp) -> PodCondition {
    PodCondition {
        type_: "PodScheduled".to_owned(),
        status: "False".to_owned(),
        last_transition_time: Some(Time(now)),
        reason: Some("SchedulingGated".to_owned()),
        message: Some("Scheduling is blocked due to non-empty scheduling gates".to_owned()),
        ..PodCondition::default()
    }
}

fn spell_out_affinity(spec: &mut PodSpec, labels: &Labels) {
    let Some(affinity) = &mut spec.affinity else { return };
    if let Some(with) = &mut affinity.pod_affinity {
        let preferred =
            with.preferred_during_scheduling_ignored_during_execution.iter_mut().flatten();
        preferred.for_each(|term| spell_out_term(&mut term.pod_affinity_term, labels));
        let required =
            with.required_during_scheduling_ignored_during_execution.iter_mut().flatten();
        required.for_each(|term| spell_out_term(term, labels));
    }
    if let Some(without) = &mut affinity.pod_anti_affinity {
        let preferred =
            without.preferred_during_scheduling_ignored_during_execution.iter_mut().flatten();
        preferred.for_each(|term| spell_out_term(&mut term.pod_affinity_term, labels));
        let required =
            without.required_during_scheduling_ignored_during_execution.iter_mut().flatten();
        required.for_each(|term| spell_out_term(term, labels));
    }
}

fn spell_out_term(term: &mut PodAffinityTerm, labels: &Labels) {
    // No selector picks nothing, whatever the keys say.
    let Some(selector) = &mut term.label_selector else { return };
    spell_out(selector, term.match_label_keys.iter().flatten(), "In", labels);
    spell_out(selector, term.mismatch_label_keys.iter().flatten(), "NotIn", labels);
}

fn spell_out_spreading(spec: &mut PodSpec, labels: &Labels) {
    for constraint in spec.topology_spread_constraints.iter_mut().flatten() {
        if let Some(selector) = &mut constraint.label_selector {
            spell_out(selector, constraint.match_label_keys.iter().flatten(), "In", labels);
        }
    }
}

/// Adds a term for each key that the pod has a label for.
fn spell_out<'a>(
    selector: &mut LabelSelector,
    keys: impl Iterator<Item = &'a String>,
    operator: &str,
    labels: &Labels,
) {
    for key in keys {
        let Some(value) = labels.get(key) else { continue };
        selector.match_expressions.get_or_insert_default().push(LabelSelectorRequirement {
            key: key.clone(),
            operator: operator.to_owned(),
            values: Some(vec![value.clone()]),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::now;
    use serde_json::json;

    fn pod(value: serde_json::Value) -> Pod {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_new_pod_is_pending_whatever_its_maker_says() {
        let mut pod = pod(json!({
            "metadata": {}, "spec": {"containers": []}, "status": {"phase": "Running", "podIP": "1.2.3.4"},
        }));
        prepare_create(&mut pod, now());
        assert_eq!(
            serde_json::to_value(pod.status).unwrap(),
            json!({"phase": "Pending", "qosClass": "BestEffort"})
        );
    }

    #[test]
    fn a_gated_pod_says_so() {
        let mut pod = pod(json!({
            "metadata": {}, "spec": {"containers": [], "schedulingGates": [{"name": "a.io/b"}]},
        }));
        prepare_create(&mut pod, now());
        let condition = &pod.status.unwrap().conditions.unwrap()[0];
        assert_eq!(condition.reason.as_deref(), Some("SchedulingGated"));
    }

    #[test]
    fn label_keys_become_terms_of_the_selectors() {
        let mut pod = pod(json!({
            "metadata": {"labels": {"app": "web"}},
            "spec": {
                "containers": [],
                "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
                    {"topologyKey": "zone", "labelSelector": {}, "mismatchLabelKeys": ["app", "other"]},
                ]}},
                "topologySpreadConstraints": [
                    {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
                     "labelSelector": {}, "matchLabelKeys": ["app"]},
                ],
            },
        }));
        prepare_create(&mut pod, now());
        let spec = serde_json::to_value(pod.spec).unwrap();
        assert_eq!(
            spec["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
                [0]["labelSelector"],
            json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]})
        );
        assert_eq!(
            spec["topologySpreadConstraints"][0]["labelSelector"],
            json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["web"]}]})
        );
    }

    #[test]
    fn a_status_keeps_what_it_knew() {
        let old = pod(json!({"metadata": {}, "status": {
            "qosClass": "Burstable", "observedGeneration": 2,
            "conditions": [{"type": "Ready", "status": "True", "observedGeneration": 2}],
        }}));
        let mut new = pod(json!({"metadata": {}, "status": {
            "conditions": [{"type": "Ready", "status": "False"}],
        }}));
        prepare_status(&mut new, &old);
        let status = new.status.unwrap();
        assert_eq!(status.qos_class.as_deref(), Some("Burstable"));
        assert_eq!(status.observed_generation, Some(2));
        assert_eq!(status.conditions.unwrap()[0].observed_generation, Some(2));
    }
}
