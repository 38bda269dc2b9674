//! What a pod asks for and a node gives, as integers.
//!
//! Source: <https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/>.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::PodSpec;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;

use crate::kinds::pod::requests;
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
            if let Ok(amount) = Quantity::parse(&quantity.0) {
                resources.set(name, amount);
            }
        }
        resources
    }

    /// What the scheduler reserves for a pod.
    pub fn of_pod(spec: &PodSpec) -> Self {
        let mut resources = Self::default();
        for (name, amount) in requests::of_pod(spec) {
            resources.set(&name, amount);
        }
        resources
    }

    fn set(&mut self, name: &str, amount: Quantity) {
        match name {
            "cpu" => self.cpu_milli = amount.milli_value(),
            "memory" => self.memory = amount.value(),
            "pods" => {}
            _ => drop(self.others.insert(name.to_owned(), amount.value())),
        }
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
