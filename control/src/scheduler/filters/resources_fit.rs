//! What the pod requests must be left on the node; limits do not count.

use super::Reason;
use crate::scheduler::snapshot::{NodeInfo, PodInfo};

pub fn filter(pod: &PodInfo, node: &NodeInfo, reasons: &mut Vec<Reason>) {
    if node.pods + 1 > node.allowed_pods {
        reasons.push("Too many pods".to_owned());
    }
    let (wanted, given, taken) = (&pod.requests, &node.allocatable, &node.requested);
    let lacks = |wanted: i64, given: i64, taken: i64| wanted > 0 && wanted > given - taken;
    if lacks(wanted.cpu_milli, given.cpu_milli, taken.cpu_milli) {
        reasons.push("Insufficient cpu".to_owned());
    }
    if lacks(wanted.memory, given.memory, taken.memory) {
        reasons.push("Insufficient memory".to_owned());
    }
    for (name, amount) in &wanted.others {
        let of = |list: &std::collections::BTreeMap<String, i64>| {
            list.get(name).copied().unwrap_or_default()
        };
        if lacks(*amount, of(&given.others), of(&taken.others)) {
            reasons.push(format!("Insufficient {name}"));
        }
    }
}
