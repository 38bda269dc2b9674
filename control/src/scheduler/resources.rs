//! What a pod asks for and a node gives, as integers.
//!
//! Source: <https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/> and, for
//! init containers and sidecars, KEP-753.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;

use crate::kinds::quantity::Quantity;

/// Amounts by resource name: CPU in thousandths of a core, all else in whole units.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    pub cpu_milli: i64,
    pub memory: i64,
    /// Extended resources and ephemeral storage.
    pub others: BTreeMap<String, i64>,
}

impl Resources {
    pub fn of_list(list: Option<&BTreeMap<String, ApiQuantity>>) -> Self {
        let mut resources = Self::default();
        for (name, quantity) in list.into_iter().flatten() {
            // Validation has seen it; a quantity that does not parse counts as nothing.
            let Ok(quantity) = Quantity::parse(&quantity.0) else { continue };
            match name.as_str() {
                "cpu" => resources.cpu_milli = quantity.milli_value(),
                "memory" => resources.memory = quantity.value(),
                "pods" => {}
                _ => {
                    resources.others.insert(name.clone(), quantity.value());
                }
            }
        }
        resources
    }

    /// What a pod needs at its peak: the sum of its containers and sidecars, or the largest init
    /// container beside the sidecars that were started before it.
    pub fn of_pod(spec: &PodSpec) -> Self {
        let mut sidecars = Self::default();
        let mut peak = Self::default();
        for container in spec.init_containers.iter().flatten() {
            let mut now = sidecars.clone();
            now.add(&requests(container));
            if container.restart_policy.as_deref() == Some("Always") {
                sidecars = now.clone();
            }
            peak.raise_to(&now);
        }
        let mut running = sidecars;
        for container in &spec.containers {
            running.add(&requests(container));
        }
        running.raise_to(&peak);
        if let Some(requirements) = &spec.resources {
            running.override_with(requirements);
        }
        running.add(&Self::of_list(spec.overhead.as_ref()));
        running
    }

    pub fn add(&mut self, more: &Self) {
        self.cpu_milli += more.cpu_milli;
        self.memory += more.memory;
        for (name, amount) in &more.others {
            *self.others.entry(name.clone()).or_default() += amount;
        }
    }

    pub fn subtract(&mut self, less: &Self) {
        self.cpu_milli -= less.cpu_milli;
        self.memory -= less.memory;
        for (name, amount) in &less.others {
            *self.others.entry(name.clone()).or_default() -= amount;
        }
    }

    fn raise_to(&mut self, other: &Self) {
        self.cpu_milli = self.cpu_milli.max(other.cpu_milli);
        self.memory = self.memory.max(other.memory);
        for (name, amount) in &other.others {
            let own = self.others.entry(name.clone()).or_default();
            *own = (*own).max(*amount);
        }
    }

    /// Requests of the pod as a whole (KEP-2837) replace the containers' sum.
    fn override_with(&mut self, requirements: &ResourceRequirements) {
        let whole = Self::of_list(requirements.requests.as_ref());
        let named = |name| requirements.requests.as_ref().is_some_and(|r| r.contains_key(name));
        if named("cpu") {
            self.cpu_milli = whole.cpu_milli;
        }
        if named("memory") {
            self.memory = whole.memory;
        }
    }
}

fn requests(container: &Container) -> Resources {
    Resources::of_list(container.resources.as_ref().and_then(|r| r.requests.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(yaml: &str) -> PodSpec {
        serde_yaml::from_str(yaml).expect("a pod spec")
    }

    #[test]
    fn a_pod_needs_the_larger_of_its_init_peak_and_its_containers() {
        let spec = spec(
            "
initContainers:
- {name: big, resources: {requests: {cpu: '3', memory: 10Mi}}}
- {name: sidecar, restartPolicy: Always, resources: {requests: {cpu: 500m}}}
containers:
- {name: a, resources: {requests: {cpu: '1', memory: 1Gi}}}
- {name: b, resources: {requests: {cpu: 250m, example.com/card: '2'}}}
",
        );
        let expected = Resources {
            cpu_milli: 3000,
            memory: 1 << 30,
            others: BTreeMap::from([("example.com/card".to_owned(), 2)]),
        };
        assert_eq!(Resources::of_pod(&spec), expected);
    }
}
