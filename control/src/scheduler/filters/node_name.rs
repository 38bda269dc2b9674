//! A pod that names its node fits there alone.

use super::Reason;
use crate::scheduler::snapshot::{NodeInfo, PodInfo};

pub fn filter(pod: &PodInfo, node: &NodeInfo, reasons: &mut Vec<Reason>) {
    let wanted = pod.pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    if wanted.is_some_and(|wanted| !wanted.is_empty() && wanted != node.name()) {
        reasons.push("node(s) didn't match the requested node name".to_owned());
    }
}
