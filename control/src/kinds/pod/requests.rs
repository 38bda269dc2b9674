//! What a pod asks for in sum: its containers, its own resources, its overhead.
//!
//! Source: `k8s.io/component-helpers/resource`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, PodSpec, ResourceRequirements};

use crate::kinds::quantity::{Quantity, ResourceList};

/// Amounts by resource.
pub type Amounts = BTreeMap<String, Quantity>;

/// What the scheduler reserves for the pod: its own requests where it has them, else those of its
/// containers; and its overhead.
pub fn of_pod(spec: &PodSpec) -> Amounts {
    let mut total = of_containers(spec);
    let own = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    for (name, amount) in parsed(own) {
        total.insert(name, amount);
    }
    add(&mut total, parsed(spec.overhead.as_ref()));
    total
}

/// What the containers request together. Init containers run one after the other, before the others;
/// sidecars run beside all that follow them.
pub fn of_containers(spec: &PodSpec) -> Amounts {
    aggregate(spec, |resources| resources.requests.as_ref())
}

/// The same of the limits.
pub fn limits_of_containers(spec: &PodSpec) -> Amounts {
    aggregate(spec, |resources| resources.limits.as_ref())
}

/// Whether an init container is a sidecar.
pub fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

fn aggregate(
    spec: &PodSpec,
    list: impl Fn(&ResourceRequirements) -> Option<&ResourceList>,
) -> Amounts {
    let of = |container: &Container| parsed(container.resources.as_ref().and_then(&list));
    let mut total = Amounts::new();
    for container in &spec.containers {
        add(&mut total, of(container));
    }
    let mut sidecars = Amounts::new();
    let mut peak = Amounts::new();
    for container in spec.init_containers.iter().flatten() {
        if is_sidecar(container) {
            add(&mut total, of(container));
            add(&mut sidecars, of(container));
            raise(&mut peak, sidecars.clone());
        } else {
            let mut now = of(container);
            add(&mut now, sidecars.clone());
            raise(&mut peak, now);
        }
    }
    raise(&mut total, peak);
    total
}

fn parsed(list: Option<&ResourceList>) -> Amounts {
    let pairs = list.into_iter().flatten();
    pairs.filter_map(|(name, text)| Some((name.clone(), Quantity::try_from(text).ok()?))).collect()
}

fn add(total: &mut Amounts, amounts: Amounts) {
    for (name, amount) in amounts {
        let sum = total.entry(name).or_insert(Quantity::ZERO);
        *sum = sum.plus(amount);
    }
}

fn raise(total: &mut Amounts, amounts: Amounts) {
    for (name, amount) in amounts {
        let peak = total.entry(name).or_insert(amount);
        *peak = (*peak).max(amount);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sum(spec: serde_json::Value) -> Vec<(String, String)> {
        let spec: PodSpec = serde_json::from_value(spec).unwrap();
        of_pod(&spec).into_iter().map(|(name, amount)| (name, amount.to_string())).collect()
    }

    fn asks(cpu: &str) -> serde_json::Value {
        json!({"name": "c", "resources": {"requests": {"cpu": cpu}}})
    }

    #[test]
    fn a_pod_asks_for_the_larger_of_its_init_phase_and_its_life() {
        let sidecar = json!({"name": "s", "restartPolicy": "Always", "resources": {"requests": {"cpu": "50m"}}});
        let cases = [
            (json!({"containers": [asks("100m"), asks("200m")]}), "300m"),
            (json!({"containers": [asks("100m")], "initContainers": [asks("1"), asks("2")]}), "2"),
            (json!({"containers": [asks("100m")], "initContainers": [sidecar]}), "150m"),
            (
                json!({"containers": [asks("100m")], "initContainers": [sidecar, asks("1")]}),
                "1050m",
            ),
            (json!({"containers": [asks("100m")], "initContainers": [asks("1"), sidecar]}), "1"),
            (json!({"containers": [asks("100m")], "overhead": {"cpu": "10m"}}), "110m"),
            (json!({"containers": [asks("100m")], "resources": {"requests": {"cpu": "3"}}}), "3"),
        ];
        for (spec, cpu) in cases {
            assert_eq!(sum(spec.clone()), [("cpu".to_owned(), cpu.to_owned())], "{spec}");
        }
    }
}
