//! Whether a node has room for one more pod, as upstream's kubelet asks before it takes one. Pure.
//!
//! The scheduler has asked already, but not about a pod whose author has named its node.

use k8s_openapi::api::core::v1::Pod;

use crate::config::Capacity;
use crate::quantity;

/// What a pod, or all pods of a node, ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    pub cpu_millis: u64,
    pub memory_bytes: u64,
    pub storage_bytes: u64,
    pub pods: u64,
}

/// Why a pod is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    pub reason: &'static str,
    pub message: String,
}

impl Requests {
    /// What its containers ask for together, and its overhead.
    pub fn of(pod: &Pod) -> Self {
        let mut asked = Self { pods: 1, ..Self::default() };
        let Some(spec) = &pod.spec else { return asked };
        let requests = spec.containers.iter().filter_map(|container| {
            container.resources.as_ref().and_then(|resources| resources.requests.as_ref())
        });
        for list in requests.chain(&spec.overhead) {
            let units = |name: &str| list.get(name).and_then(quantity::units);
            let millis = list.get("cpu").and_then(quantity::millis);
            asked.cpu_millis += whole(millis);
            asked.memory_bytes += whole(units("memory"));
            asked.storage_bytes += whole(units("ephemeral-storage"));
        }
        asked
    }

    pub fn add(&mut self, other: &Self) {
        self.cpu_millis += other.cpu_millis;
        self.memory_bytes += other.memory_bytes;
        self.storage_bytes += other.storage_bytes;
        self.pods += other.pods;
    }

    pub fn subtract(&mut self, other: &Self) {
        self.cpu_millis -= other.cpu_millis;
        self.memory_bytes -= other.memory_bytes;
        self.storage_bytes -= other.storage_bytes;
        self.pods -= other.pods;
    }
}

fn whole(amount: Option<i128>) -> u64 {
    amount.and_then(|amount| u64::try_from(amount).ok()).unwrap_or(0).min(1 << 60)
}

/// Why a node that gives `used` already has no room; the first of the reasons, as upstream.
pub fn rejection(asked: &Requests, used: &Requests, capacity: &Capacity) -> Option<Rejection> {
    let resources = [
        ("OutOfpods", "pods", asked.pods, used.pods, u64::from(capacity.pods)),
        ("OutOfcpu", "cpu", asked.cpu_millis, used.cpu_millis, capacity.cpu_millis),
        ("OutOfmemory", "memory", asked.memory_bytes, used.memory_bytes, capacity.memory_bytes),
        (
            "OutOfephemeral-storage",
            "ephemeral-storage",
            asked.storage_bytes,
            used.storage_bytes,
            capacity.ephemeral_storage_bytes,
        ),
    ];
    let short = |(_, _, asked, used, capacity): &(_, _, u64, u64, u64)| {
        *asked > 0 && *asked > capacity.saturating_sub(*used)
    };
    let (reason, name, asked, used, capacity) = resources.into_iter().find(short)?;
    let message = format!(
        "Node didn't have enough resource: {name}, requested: {asked}, used: {used}, capacity: {capacity}"
    );
    Some(Rejection { reason, message })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_first_resource_that_is_short_is_named() {
        let capacity = Capacity {
            cpu_millis: 2000,
            memory_bytes: 1 << 30,
            pods: 2,
            ephemeral_storage_bytes: 1 << 30,
        };
        let pod: Pod = serde_json::from_value(json!({ "metadata": {}, "spec": {
            "overhead": { "cpu": "100m" },
            "containers": [
                { "name": "a", "resources": { "requests": { "cpu": "1", "memory": "1Mi" } } },
                { "name": "b", "resources": { "requests": { "cpu": "200m" } } },
                { "name": "c" },
            ],
        } }))
        .unwrap();
        let asked = Requests::of(&pod);
        let expected =
            Requests { cpu_millis: 1300, memory_bytes: 1 << 20, storage_bytes: 0, pods: 1 };
        assert_eq!(asked, expected);
        let mut used = Requests::default();
        assert_eq!(rejection(&asked, &used, &capacity), None);
        used.add(&asked);
        let rejected = rejection(&asked, &used, &capacity).unwrap();
        assert_eq!(rejected.reason, "OutOfcpu");
        assert_eq!(
            rejected.message,
            "Node didn't have enough resource: cpu, requested: 1300, used: 1300, capacity: 2000"
        );
        // What a pod does not ask for cannot be short.
        let small = Requests { pods: 1, ..Requests::default() };
        assert_eq!(rejection(&small, &Requests { cpu_millis: 9999, ..used }, &capacity), None);
        used.add(&small);
        assert_eq!(rejection(&small, &used, &capacity).unwrap().reason, "OutOfpods");
        used.subtract(&asked);
        assert_eq!(used, small);
    }
}
