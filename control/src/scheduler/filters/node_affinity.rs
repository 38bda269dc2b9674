//! `nodeSelector` and required node affinity.
//!
//! Source: <https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/>.

use k8s_openapi::api::core::v1::{
    NodeAffinity, NodeSelectorRequirement, NodeSelectorTerm, PreferredSchedulingTerm,
};

use super::Reason;
use crate::scheduler::snapshot::{NodeInfo, PodInfo};

pub fn filter(pod: &PodInfo, node: &NodeInfo, reasons: &mut Vec<Reason>) {
    if !selector_matches(pod, node) || !required_matches(pod, node) {
        reasons.push("node(s) didn't match Pod's node affinity/selector".to_owned());
    }
}

/// The preferred terms of a pod with their weights.
pub fn preferred(pod: &PodInfo) -> &[PreferredSchedulingTerm] {
    affinity(pod)
        .and_then(|affinity| {
            affinity.preferred_during_scheduling_ignored_during_execution.as_deref()
        })
        .unwrap_or_default()
}

fn affinity(pod: &PodInfo) -> Option<&NodeAffinity> {
    pod.pod.spec.as_ref()?.affinity.as_ref()?.node_affinity.as_ref()
}

fn selector_matches(pod: &PodInfo, node: &NodeInfo) -> bool {
    let selector = pod.pod.spec.as_ref().and_then(|spec| spec.node_selector.as_ref());
    selector.into_iter().flatten().all(|(key, value)| label(node, key) == Some(value))
}

fn required_matches(pod: &PodInfo, node: &NodeInfo) -> bool {
    let required = affinity(pod)
        .and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
    // Terms are alternatives; no terms match nothing.
    required.is_none_or(|required| {
        required.node_selector_terms.iter().any(|term| matches_term(term, node))
    })
}

/// Whether a node matches all of a term. An empty term matches nothing.
pub fn matches_term(term: &NodeSelectorTerm, node: &NodeInfo) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    if expressions.is_empty() && fields.is_empty() {
        return false;
    }
    expressions
        .iter()
        .all(|expression| matches(expression, label(node, &expression.key).map(String::as_str)))
        && fields.iter().all(|field| {
            // Validation admits metadata.name alone.
            matches(field, Some(node.name()).filter(|_| field.key == "metadata.name"))
        })
}

fn label<'a>(node: &'a NodeInfo, key: &str) -> Option<&'a String> {
    node.labels().and_then(|labels| labels.get(key))
}

fn matches(requirement: &NodeSelectorRequirement, actual: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let listed = |actual: &str| values.iter().any(|value| value == actual);
    let compare = |order: std::cmp::Ordering| {
        let actual = actual.and_then(|actual| actual.parse::<i64>().ok());
        let wanted = values.first().and_then(|value| value.parse::<i64>().ok());
        matches!((actual, wanted), (Some(actual), Some(wanted)) if actual.cmp(&wanted) == order)
    };
    match requirement.operator.as_str() {
        "In" => actual.is_some_and(listed),
        "NotIn" => !actual.is_some_and(listed),
        "Exists" => actual.is_some(),
        "DoesNotExist" => actual.is_none(),
        "Gt" => compare(std::cmp::Ordering::Greater),
        "Lt" => compare(std::cmp::Ordering::Less),
        _ => false,
    }
}
