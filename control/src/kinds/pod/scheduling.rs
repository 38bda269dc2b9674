//! The rules of what says where a pod may run: affinity, tolerations, spreading, gates.
//!
//! Source: `validateAffinity`, `ValidateTolerations`, `validateTopologySpreadConstraints` and what
//! they call, in `pkg/apis/core/validation`.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{
    NodeAffinity, PodAffinityTerm, PodSpec,
    Toleration, TopologySpreadConstraint, WeightedPodAffinityTerm,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::validation::{Errors, text};
use crate::kinds::rules::node_selector;
use crate::kinds::{FieldError, meta, names, selector};

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// Adds all problems of gates and of spreading.
pub fn validate(spec: &PodSpec, path: &str, errors: &mut Errors) {
    for (index, gate) in spec.readiness_gates.iter().flatten().enumerate() {
        let path = format!("{path}.readinessGates[{index}].conditionType");
        errors.extend(meta::validate_label_key(&gate.condition_type, &path));
    }
    let mut gates = BTreeSet::new();
    for (index, gate) in spec.scheduling_gates.iter().flatten().enumerate() {
        let path = format!("{path}.schedulingGates[{index}]");
        errors.extend(meta::validate_label_key(&gate.name, &path));
        if !gates.insert(gate.name.as_str()) {
            errors.push(FieldError::duplicate(path, gate.name.as_str()));
        }
    }
    let constraints = spec.topology_spread_constraints.as_deref().unwrap_or_default();
    validate_spreading(constraints, &format!("{path}.topologySpreadConstraints"), errors);
}

/// Adds an error where a taint's effect is none.
pub fn validate_effect(effect: &str, path: &str, errors: &mut Errors) {
    let effects = &["NoSchedule", "PreferNoSchedule", "NoExecute"];
    if !effects.contains(&effect) {
        errors.push(FieldError::not_supported(path, effect, effects));
    }
}

pub fn validate_tolerations(tolerations: &[Toleration], path: &str, errors: &mut Errors) {
    for (index, toleration) in tolerations.iter().enumerate() {
        validate_toleration(toleration, &format!("{path}[{index}]"), errors);
    }
}

fn validate_toleration(toleration: &Toleration, path: &str, errors: &mut Errors) {
    let (key, value) = (text(&toleration.key), text(&toleration.value));
    let (operator, effect) = (text(&toleration.operator), text(&toleration.effect));
    let operator_path = format!("{path}.operator");
    if !key.is_empty() {
        errors.extend(meta::validate_label_key(key, &format!("{path}.key")));
    }
    if key.is_empty() && operator != "Exists" {
        let detail = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
        errors.push(FieldError::invalid(&operator_path, operator, detail));
    }
    if toleration.toleration_seconds.is_some() && effect != "NoExecute" {
        let detail = "effect must be 'NoExecute' when `tolerationSeconds` is set";
        errors.push(FieldError::invalid(format!("{path}.effect"), effect, detail));
    }
    match operator {
        "" | "Equal" => {
            let messages = names::label_value(value);
            if !messages.is_empty() {
                errors.push(FieldError::invalid(operator_path, value, messages.join(";")));
            }
        }
        "Exists" if !value.is_empty() => {
            let detail = "value must be empty when `operator` is 'Exists'";
            errors.push(FieldError::invalid(operator_path, value, detail));
        }
        "Exists" => {}
        // Comparing tolerations are behind a gate that is closed; upstream names them all the same.
        "Lt" | "Gt" => errors.push(FieldError::not_supported(
            operator_path,
            operator,
            &["Equal", "Exists", "Lt", "Gt"],
        )),
        _ => {
            errors.push(FieldError::not_supported(operator_path, operator, &["Equal", "Exists"]));
        }
    }
    if !effect.is_empty() {
        validate_effect(effect, &format!("{path}.effect"), errors);
    }
}

/// Adds all problems of the affinity.
pub fn validate_affinity(spec: &PodSpec, path: &str, errors: &mut Errors) {
    let Some(affinity) = &spec.affinity else { return };
    if let Some(nodes) = &affinity.node_affinity {
        validate_node_affinity(nodes, &format!("{path}.nodeAffinity"), errors);
    }
    if let Some(pods) = &affinity.pod_affinity {
        let required = pods.required_during_scheduling_ignored_during_execution.as_deref();
        let preferred = pods.preferred_during_scheduling_ignored_during_execution.as_deref();
        validate_pod_terms(required, preferred, &format!("{path}.podAffinity"), errors);
    }
    if let Some(pods) = &affinity.pod_anti_affinity {
        let required = pods.required_during_scheduling_ignored_during_execution.as_deref();
        let preferred = pods.preferred_during_scheduling_ignored_during_execution.as_deref();
        validate_pod_terms(required, preferred, &format!("{path}.podAntiAffinity"), errors);
    }
}

fn validate_node_affinity(affinity: &NodeAffinity, path: &str, errors: &mut Errors) {
    if let Some(required) = &affinity.required_during_scheduling_ignored_during_execution {
        node_selector::validate(required, true, &format!("{path}.{REQUIRED}"), errors);
    }
    let preferred = affinity.preferred_during_scheduling_ignored_during_execution.as_deref();
    for (index, preferred) in preferred.unwrap_or_default().iter().enumerate() {
        let path = format!("{path}.{PREFERRED}[{index}]");
        validate_weight(preferred.weight, &path, errors);
        // Values of labels are not judged where they are only preferred.
        let path = format!("{path}.preference");
        node_selector::validate_term(&preferred.preference, false, &path, errors);
    }
}

fn validate_weight(weight: i32, path: &str, errors: &mut Errors) {
    if !(1..=100).contains(&weight) {
        let path = format!("{path}.weight");
        errors.push(FieldError::invalid(path, weight, "must be in the range 1-100"));
    }
}

fn validate_pod_terms(
    required: Option<&[PodAffinityTerm]>,
    preferred: Option<&[WeightedPodAffinityTerm]>,
    path: &str,
    errors: &mut Errors,
) {
    for (index, term) in required.unwrap_or_default().iter().enumerate() {
        validate_pod_term(term, &format!("{path}.{REQUIRED}[{index}]"), errors);
    }
    for (index, weighted) in preferred.unwrap_or_default().iter().enumerate() {
        let path = format!("{path}.{PREFERRED}[{index}]");
        validate_weight(weighted.weight, &path, errors);
        validate_pod_term(&weighted.pod_affinity_term, &format!("{path}.podAffinityTerm"), errors);
    }
}

fn validate_pod_term(term: &PodAffinityTerm, path: &str, errors: &mut Errors) {
    if let Some(pods) = &term.label_selector {
        errors.extend(selector::validate(pods, &format!("{path}.labelSelector")));
    }
    if let Some(namespaces) = &term.namespace_selector {
        errors.extend(selector::validate(namespaces, &format!("{path}.namespaceSelector")));
    }
    for namespace in term.namespaces.iter().flatten() {
        let messages = names::label(namespace);
        errors.extend(meta::invalid_each(&format!("{path}.namespace"), namespace, messages));
    }
    validate_label_keys(
        term.match_label_keys.as_deref().unwrap_or_default(),
        term.mismatch_label_keys.as_deref().unwrap_or_default(),
        term.label_selector.as_ref(),
        path,
        errors,
    );
    let path = format!("{path}.topologyKey");
    if term.topology_key.is_empty() {
        errors.push(FieldError::required(&path, "can not be empty"));
    }
    errors.extend(meta::validate_label_key(&term.topology_key, &path));
}

fn validate_spreading(constraints: &[TopologySpreadConstraint], path: &str, errors: &mut Errors) {
    for (index, constraint) in constraints.iter().enumerate() {
        let path = format!("{path}[{index}]");
        validate_constraint(constraint, &constraints[index + 1..], &path, errors);
    }
}

/// Refuses a constraint that a later one repeats.
fn validate_unique(
    constraint: &TopologySpreadConstraint,
    later: &[TopologySpreadConstraint],
    path: &str,
    errors: &mut Errors,
) {
    let repeated = later.iter().any(|other| {
        other.topology_key == constraint.topology_key
            && other.when_unsatisfiable == constraint.when_unsatisfiable
    });
    if repeated {
        let pair = format!("{{{}, {}}}", constraint.topology_key, constraint.when_unsatisfiable);
        let path = format!("{path}.{{topologyKey, whenUnsatisfiable}}");
        errors.push(FieldError::duplicate(path, pair));
    }
}

fn validate_constraint(
    constraint: &TopologySpreadConstraint,
    later: &[TopologySpreadConstraint],
    path: &str,
    errors: &mut Errors,
) {
    let child = |name: &str| format!("{path}.{name}");
    positive(constraint.max_skew, &child("maxSkew"), errors);
    if constraint.topology_key.is_empty() {
        errors.push(FieldError::required(child("topologyKey"), "can not be empty"));
    }
    let action = constraint.when_unsatisfiable.as_str();
    if !matches!(action, "DoNotSchedule" | "ScheduleAnyway") {
        let supported = &["DoNotSchedule", "ScheduleAnyway"];
        errors.push(FieldError::not_supported(child("whenUnsatisfiable"), action, supported));
    }
    validate_unique(constraint, later, path, errors);
    if let Some(domains) = constraint.min_domains {
        positive(domains, &child("minDomains"), errors);
        if action != "DoNotSchedule" {
            let detail =
                format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}");
            errors.push(FieldError::invalid(child("minDomains"), domains, detail));
        }
    }
    for (field, policy) in [
        ("nodeAffinityPolicy", &constraint.node_affinity_policy),
        ("nodeTaintsPolicy", &constraint.node_taints_policy),
    ] {
        let Some(policy) = policy else { continue };
        if !matches!(policy.as_str(), "Honor" | "Ignore") {
            let supported = &["Honor", "Ignore"];
            errors.push(FieldError::not_supported(child(field), policy.as_str(), supported));
        }
    }
    let pods = constraint.label_selector.as_ref();
    let keys = constraint.match_label_keys.as_deref().unwrap_or_default();
    validate_label_keys(keys, &[], pods, path, errors);
    if let Some(pods) = pods {
        errors.extend(selector::validate(pods, &child("labelSelector")));
    }
}

fn positive(value: i32, path: &str, errors: &mut Errors) {
    if value <= 0 {
        errors.push(FieldError::invalid(path, value, "must be greater than zero"));
    }
}

/// Keys that stand for "the same (or another) value as this pod's own label".
fn validate_label_keys(
    same: &[String],
    other: &[String],
    pods: Option<&LabelSelector>,
    path: &str,
    errors: &mut Errors,
) {
    for (field, keys) in [("matchLabelKeys", same), ("mismatchLabelKeys", other)] {
        let path = format!("{path}.{field}");
        if !keys.is_empty() && pods.is_none() {
            let detail = "must not be specified when labelSelector is not set";
            errors.push(FieldError::forbidden(path, detail));
            continue;
        }
        for (index, key) in keys.iter().enumerate() {
            errors.extend(meta::validate_label_key(key, &format!("{path}[{index}]")));
        }
    }
    if let Some(pods) = pods {
        validate_repeated_keys(same, pods, path, errors);
    }
    for (index, key) in same.iter().enumerate().filter(|(_, key)| other.contains(key)) {
        let path = format!("{path}.matchLabelKeys[{index}]");
        let detail = "exists in both matchLabelKeys and mismatchLabelKeys";
        errors.push(FieldError::invalid(path, key.as_str(), detail));
    }
}

/// A create has added a term for each key already: a second term with it is the user's.
fn validate_repeated_keys(same: &[String], pods: &LabelSelector, path: &str, errors: &mut Errors) {
    let mut seen: BTreeSet<&String> =
        pods.match_labels.iter().flat_map(|labels| labels.keys()).collect();
    for term in pods.match_expressions.iter().flatten() {
        let index = same.iter().rposition(|key| *key == term.key);
        if let Some(index) = index.filter(|_| seen.contains(&term.key)) {
            let path = format!("{path}[{index}]");
            let detail = "exists in both matchLabelKeys and labelSelector";
            errors.push(FieldError::invalid(path, term.key.as_str(), detail));
        }
        seen.insert(&term.key);
    }
}
