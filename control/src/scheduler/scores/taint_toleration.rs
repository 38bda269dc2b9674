//! The number of `PreferNoSchedule` taints that a pod does not tolerate.

use crate::scheduler::filters::tolerates;
use crate::scheduler::snapshot::{NodeInfo, PodInfo};

pub fn points(pod: &PodInfo, node: &NodeInfo) -> i64 {
    let taints = node.node.spec.as_ref().and_then(|spec| spec.taints.as_deref());
    let untolerated = taints
        .unwrap_or_default()
        .iter()
        .filter(|taint| taint.effect == "PreferNoSchedule" && !tolerates(pod.tolerations(), taint));
    i64::try_from(untolerated.count()).unwrap_or(i64::MAX)
}
