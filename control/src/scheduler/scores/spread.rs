//! Prefers nodes with fewer pods of the same controller, then with fewer pods at all.

use crate::scheduler::snapshot::{NodeInfo, PodInfo};

/// A replica of the same controller weighs more than any number of strangers.
const REPLICA: i64 = 100_000;

pub fn points(pod: &PodInfo, node: &NodeInfo) -> i64 {
    let replicas =
        pod.owner.as_ref().and_then(|owner| node.by_owner.get(owner)).copied().unwrap_or(0);
    replicas * REPLICA + node.pods
}
