//! Taints that say of a node what its conditions and its spec say.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// Condition, status, and the taint that goes with them.
const BY_CONDITION: [(&str, &str, &str); 6] = [
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
    ("Ready", "False", NOT_READY),
    ("Ready", "Unknown", UNREACHABLE),
];

/// The node's taints as they should be; `None` where they are. `evict`: whether pods may be driven
/// off a node that is not ready.
pub(super) fn wanted_taints(now: Timestamp, node: &Node, evict: bool) -> Option<Vec<Taint>> {
    let current = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    let wanted = wanted(node, evict);
    let mut taints: Vec<Taint> = current
        .iter()
        .filter(|taint| !is_ours(taint) || wanted.contains(&(taint.key.as_str(), &taint.effect)))
        .cloned()
        .collect();
    for (key, effect) in wanted {
        if !taints.iter().any(|taint| taint.key == key && taint.effect == effect) {
            taints.push(Taint {
                key: key.to_owned(),
                effect: effect.to_owned(),
                time_added: Some(Time(now)),
                value: None,
            });
        }
    }
    (taints != current).then_some(taints)
}

fn is_ours(taint: &Taint) -> bool {
    match taint.effect.as_str() {
        "NoSchedule" => {
            taint.key == UNSCHEDULABLE || BY_CONDITION.iter().any(|(_, _, key)| taint.key == *key)
        }
        "NoExecute" => [NOT_READY, UNREACHABLE].contains(&taint.key.as_str()),
        _ => false,
    }
}

fn wanted(node: &Node, evict: bool) -> Vec<(&'static str, &'static str)> {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let mut wanted: Vec<(&str, &str)> = conditions
        .filter_map(|condition| {
            BY_CONDITION
                .iter()
                .find(|(kind, status, _)| condition.type_ == *kind && condition.status == *status)
        })
        .map(|(_, _, key)| (*key, "NoSchedule"))
        .collect();
    if node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true) {
        wanted.push((UNSCHEDULABLE, "NoSchedule"));
    }
    for key in [NOT_READY, UNREACHABLE] {
        if evict && wanted.contains(&(key, "NoSchedule")) {
            wanted.push((key, "NoExecute"));
        }
    }
    wanted
}
