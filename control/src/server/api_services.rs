//! The APIServices of what this server serves itself: one for each version of a group.
//!
//! Source: `DefaultGenericAPIServicePriorities` in `pkg/controlplane/apiserver/aggregator.go`,
//! `apiVersionPriorities` in `cmd/kube-apiserver/app/aggregator.go`.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::kinds::Registry;

/// Where a group and its version stand among the others; what is not here gets no APIService.
const PRIORITIES: &[(&str, &str, u32, u32)] = &[
    ("", "v1", 18000, 1),
    ("admissionregistration.k8s.io", "v1", 16700, 15),
    ("apiextensions.k8s.io", "v1", 16700, 15),
    ("apps", "v1", 17800, 15),
    ("authentication.k8s.io", "v1", 17700, 15),
    ("authorization.k8s.io", "v1", 17600, 15),
    ("autoscaling", "v1", 17500, 15),
    ("autoscaling", "v2", 17500, 30),
    ("batch", "v1", 17400, 15),
    ("certificates.k8s.io", "v1", 17300, 15),
    ("coordination.k8s.io", "v1", 16500, 15),
    ("discovery.k8s.io", "v1", 16200, 15),
    ("events.k8s.io", "v1", 17750, 15),
    ("flowcontrol.apiserver.k8s.io", "v1", 16100, 21),
    ("networking.k8s.io", "v1", 17200, 15),
    ("node.k8s.io", "v1", 16300, 15),
    ("policy", "v1", 17100, 15),
    ("rbac.authorization.k8s.io", "v1", 17000, 15),
    ("resource.k8s.io", "v1", 16200, 21),
    ("scheduling.k8s.io", "v1", 16600, 15),
    ("storage.k8s.io", "v1", 16800, 15),
];

/// The APIServices of these kinds.
pub fn of(kinds: &Registry) -> Vec<Value> {
    let served: BTreeSet<(&str, &str)> =
        kinds.iter().map(|kind| (kind.info().group, kind.info().version)).collect();
    PRIORITIES
        .iter()
        .filter(|(group, version, _, _)| served.contains(&(group, version)))
        .map(|(group, version, minimum, priority)| {
            json!({
                "metadata": {
                    "name": format!("{version}.{group}"),
                    "labels": { "kube-aggregator.kubernetes.io/automanaged": "onstart" },
                },
                "spec": {
                    "group": group,
                    "version": version,
                    "groupPriorityMinimum": minimum,
                    "versionPriority": priority,
                },
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_group_has_its_service_but_that_of_the_services() {
        let kinds = crate::kinds::registry();
        let services = of(&kinds);
        let named = |name: &str| services.iter().any(|it| it["metadata"]["name"] == name);
        assert!(named("v1.") && named("v1.apps"));
        for kind in kinds.iter() {
            let info = kind.info();
            let name = format!("{}.{}", info.version, info.group);
            assert_eq!(named(&name), info.group != "apiregistration.k8s.io", "{name}");
        }
    }
}
