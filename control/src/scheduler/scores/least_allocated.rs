//! Prefers the node with the largest free share of CPU and memory.

use super::MAX;
use crate::scheduler::snapshot::{NodeInfo, PodInfo};

/// What a pod without requests is taken to use, so that such pods spread too. Upstream's figures.
const UNSTATED_CPU_MILLI: i64 = 100;
const UNSTATED_MEMORY: i64 = 200 << 20;

pub fn points(pod: &PodInfo, node: &NodeInfo) -> i64 {
    let or = |stated: i64, unstated: i64| if stated == 0 { unstated } else { stated };
    let cpu = free_share(
        node.requested.cpu_milli + or(pod.requests.cpu_milli, UNSTATED_CPU_MILLI),
        node.allocatable.cpu_milli,
    );
    let memory = free_share(
        node.requested.memory + or(pod.requests.memory, UNSTATED_MEMORY),
        node.allocatable.memory,
    );
    i64::midpoint(cpu, memory)
}

fn free_share(taken: i64, given: i64) -> i64 {
    if given == 0 || taken > given { 0 } else { (given - taken) * MAX / given }
}
