//! A pod's class of service: how much of what it may use is promised to it.
//!
//! Source: `pkg/apis/core/helper/qos`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{PodSpec, ResourceRequirements};

use crate::kinds::quantity::{Quantity, ResourceList};

/// `Guaranteed`: limits for CPU and memory everywhere, and requests equal to them. `BestEffort`:
/// neither. `Burstable`: all else.
pub fn class(spec: &PodSpec) -> &'static str {
    let none = ResourceRequirements::default();
    let lists: Vec<&ResourceRequirements> = match &spec.resources {
        Some(of_pod) => vec![of_pod],
        None => spec
            .containers
            .iter()
            .chain(spec.init_containers.iter().flatten())
            .map(|container| container.resources.as_ref().unwrap_or(&none))
            .collect(),
    };
    let mut requests = BTreeMap::new();
    let mut limits = BTreeMap::new();
    let mut limited_everywhere = true;
    for list in lists {
        add(&mut requests, list.requests.as_ref());
        let kinds = add(&mut limits, list.limits.as_ref());
        // A pod with requests alone is judged by them, not by the limits it lacks.
        let judged =
            spec.resources.is_none() || list.limits.as_ref().is_some_and(|l| !l.is_empty());
        limited_everywhere &= !judged || kinds == 2;
    }
    if requests.is_empty() && limits.is_empty() {
        "BestEffort"
    } else if limited_everywhere && requests == limits {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

/// Adds the positive amounts of CPU and memory; how many of the two there were.
fn add<'a>(sums: &mut BTreeMap<&'a str, Quantity>, list: Option<&'a ResourceList>) -> usize {
    let mut count = 0;
    for (name, text) in list.into_iter().flatten() {
        let amount = Quantity::try_from(text).unwrap_or(Quantity::ZERO);
        if !matches!(name.as_str(), "cpu" | "memory") || amount <= Quantity::ZERO {
            continue;
        }
        count += 1;
        let sum = sums.entry(name).or_insert(Quantity::ZERO);
        *sum = sum.plus(amount);
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_class_follows_requests_and_limits() {
        let both = json!({"cpu": "1", "memory": "1Gi"});
        let full = json!({"name": "a", "resources": {"limits": both, "requests": both}});
        let cases = [
            (json!({"containers": [{"name": "a"}]}), "BestEffort"),
            (json!({"containers": [full]}), "Guaranteed"),
            (json!({"containers": [full, {"name": "b"}]}), "Burstable"),
            (
                json!({"containers": [full], "initContainers": [{"name": "b", "resources": {"limits": both, "requests": both}}]}),
                "Guaranteed",
            ),
            (
                json!({"containers": [{"name": "a", "resources": {"requests": {"cpu": "1m"}}}]}),
                "Burstable",
            ),
            (
                json!({"containers": [{"name": "a", "resources": {"requests": {"cpu": "0"}}}]}),
                "BestEffort",
            ),
            (
                json!({"containers": [{"name": "a"}], "resources": {"limits": both, "requests": both}}),
                "Guaranteed",
            ),
            (json!({"containers": [{"name": "a"}], "resources": {"requests": both}}), "Burstable"),
        ];
        for (spec, expected) in cases {
            let spec: PodSpec = serde_json::from_value(spec).unwrap();
            assert_eq!(class(&spec), expected, "{spec:?}");
        }
    }
}
