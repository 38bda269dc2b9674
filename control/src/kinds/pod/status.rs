//! What an update of a pod's status may say.
//!
//! Source: `ValidatePodStatusUpdate` in `pkg/apis/core/validation`.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{
    Container, ContainerRestartRule, ContainerState, ContainerStatus, Pod, PodSpec, PodStatus,
};

use super::{annotations, containers_told};
use super::validation::{Errors, ip, text};
use crate::kinds::{FieldError, meta, names};

const STATE_MESSAGE: &str = "may not be transitioned to non-terminated state";

/// All problems of an update of the status.
pub fn validate(new: &Pod, old: &Pod) -> Errors {
    let (no_spec, no_status) = (PodSpec::default(), PodStatus::default());
    let old_spec = old.spec.as_ref().unwrap_or(&no_spec);
    let new_spec = new.spec.as_ref().unwrap_or(&no_spec);
    let new_status = new.status.as_ref().unwrap_or(&no_status);
    let old_status = old.status.as_ref().unwrap_or(&no_status);
    let mut errors = Errors::new();
    annotations::validate_update(&new.metadata, &old.metadata, &mut errors);
    validate_conditions(new_status, &mut errors);
    if text(&new_spec.node_name) != text(&old_spec.node_name) {
        errors.push(FieldError::forbidden("status.nodeName", "may not be changed directly"));
    }
    validate_nomination(new_status, old_status, old_spec, &mut errors);
    validate_generation(new_status.observed_generation, "status.observedGeneration", &mut errors);
    let (class, old_class) = (text(&new_status.qos_class), text(&old_status.qos_class));
    if !class.is_empty() && class != old_class {
        errors.push(FieldError::invalid("status.qosClass", class, meta::IMMUTABLE));
    }
    validate_transitions(new_status, old_status, old_spec, &mut errors);
    validate_claims(new_status, new_spec, &mut errors);
    if let Some(extended) = &new_status.extended_resource_claim_status {
        containers_told::validate_extended(extended, new_spec, &mut errors);
    }
    validate_addresses(new_status, old_status, &mut errors);
    containers_told::validate(new_status, new_spec, &mut errors);
    errors
}

fn validate_conditions(status: &PodStatus, errors: &mut Errors) {
    for (index, condition) in status.conditions.iter().flatten().enumerate() {
        let path = format!("status.conditions[{index}]");
        validate_generation(
            condition.observed_generation,
            &format!("{path}.observedGeneration"),
            errors,
        );
        if !matches!(condition.type_.as_str(), "PodScheduled" | "Ready" | "Initialized") {
            errors.extend(meta::validate_label_key(&condition.type_, &format!("{path}.Type")));
        }
    }
}

fn validate_generation(generation: Option<i64>, path: &str, errors: &mut Errors) {
    if let Some(generation) = generation.filter(|generation| *generation < 0) {
        errors.push(FieldError::invalid(path, generation, "must be a non-negative integer"));
    }
}

fn validate_nomination(new: &PodStatus, old: &PodStatus, spec: &PodSpec, errors: &mut Errors) {
    const PATH: &str = "status.nominatedNodeName";
    let node = text(&new.nominated_node_name);
    if node.is_empty() || node == text(&old.nominated_node_name) {
        return;
    }
    errors.extend(meta::invalid_each(PATH, node, names::subdomain(node)));
    if !text(&spec.node_name).is_empty() {
        let detail = "may not be set on pods that are already bound to a node";
        errors.push(FieldError::forbidden(PATH, detail));
    }
}

/// A container that has ended for good does not live again.
fn validate_transitions(new: &PodStatus, old: &PodStatus, spec: &PodSpec, errors: &mut Errors) {
    let lists = [
        (
            "containerStatuses",
            &new.container_statuses,
            &old.container_statuses,
            Some(&spec.containers),
        ),
        (
            "initContainerStatuses",
            &new.init_container_statuses,
            &old.init_container_statuses,
            spec.init_containers.as_ref(),
        ),
        (
            "ephemeralContainerStatuses",
            &new.ephemeral_container_statuses,
            &old.ephemeral_container_statuses,
            None,
        ),
    ];
    let policy = text(&spec.restart_policy);
    let all_may_restart = restarts_all(spec);
    for (field, new, old, containers) in lists {
        if all_may_restart && field != "ephemeralContainerStatuses" {
            continue;
        }
        for (index, old) in old.iter().flatten().enumerate() {
            let Some(end) = old.state.as_ref().and_then(|state| state.terminated.as_ref()) else {
                continue;
            };
            let lives =
                new.iter().flatten().find(|new| new.name == old.name).is_some_and(has_not_ended);
            let container = containers.into_iter().flatten().find(|c| c.name == old.name);
            if lives && !container.is_some_and(|c| may_restart(c, policy, end.exit_code)) {
                let path = format!("status.{field}[{index}].state");
                errors.push(FieldError::forbidden(path, STATE_MESSAGE));
            }
        }
    }
}

/// Whether the end of one container may restart all.
fn restarts_all(spec: &PodSpec) -> bool {
    let all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let mut rules = all.flat_map(|container| container.restart_policy_rules.iter().flatten());
    rules.any(|rule| rule.action == "RestartAllContainers")
}

fn has_not_ended(status: &ContainerStatus) -> bool {
    let none = ContainerState::default();
    status.state.as_ref().unwrap_or(&none).terminated.is_none()
}

/// Whether a container that ended with this code is started again.
fn may_restart(container: &Container, pod_policy: &str, exit_code: i32) -> bool {
    let rules = container.restart_policy_rules.iter().flatten();
    if container.restart_policy.is_some() && rules.into_iter().any(|rule| applies(rule, exit_code))
    {
        return true;
    }
    match container.restart_policy.as_deref().unwrap_or(pod_policy) {
        "Never" => false,
        "OnFailure" => exit_code != 0,
        _ => true,
    }
}

fn applies(rule: &ContainerRestartRule, exit_code: i32) -> bool {
    let Some(codes) = &rule.exit_codes else { return false };
    let listed = codes.values.iter().flatten().any(|code| *code == exit_code);
    match codes.operator.as_str() {
        "In" => listed,
        "NotIn" => !listed,
        _ => false,
    }
}

fn validate_claims(status: &PodStatus, spec: &PodSpec, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for (index, claim) in status.resource_claim_statuses.iter().flatten().enumerate() {
        let path = format!("status.resourceClaimStatuses[{index}].name");
        let name = claim.name.as_str();
        if !spec.resource_claims.iter().flatten().any(|known| known.name == name) {
            let detail = "must match the name of an entry in `spec.resourceClaims`";
            errors.push(FieldError::invalid(&path, name, detail));
        }
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(path, name));
        }
        if let Some(made) = &claim.resource_claim_name {
            let path = format!("status.resourceClaimStatuses[{index}].resourceClaimName");
            errors.extend(meta::invalid_each(&path, made, names::subdomain(made)));
        }
    }
}

fn validate_addresses(new: &PodStatus, old: &PodStatus, errors: &mut Errors) {
    let pod_ips = |status: &PodStatus| -> Vec<String> {
        status.pod_ips.iter().flatten().map(|ip| ip.ip.clone()).collect()
    };
    let host_ips = |status: &PodStatus| -> Vec<String> {
        status.host_ips.iter().flatten().map(|ip| ip.ip.clone()).collect()
    };
    validate_ips(&pod_ips(new), &pod_ips(old), "status.podIPs", errors);
    let hosts = host_ips(new);
    if let Some(first) = hosts.first().filter(|first| *first != text(&new.host_ip)) {
        let detail = "must be equal to `hostIP`";
        errors.push(FieldError::invalid("status.hostIPs[0].ip", first.as_str(), detail));
    }
    validate_ips(&hosts, &host_ips(old), "status.hostIPs", errors);
}

/// One address of each family; those that were there before are not judged again.
fn validate_ips(new: &[String], old: &[String], path: &str, errors: &mut Errors) {
    for (index, address) in new.iter().enumerate().filter(|(_, address)| !old.contains(address)) {
        ip(address, &format!("{path}[{index}]"), errors);
    }
    let families: BTreeSet<bool> = new.iter().map(|address| address.contains(':')).collect();
    if new.len() > families.len() {
        let detail = "may specify no more than one IP for each IP family";
        let value: Vec<_> = new.iter().map(|ip| serde_json::json!({"ip": ip})).collect();
        errors.push(FieldError::invalid(path, value, detail));
    }
}

#[cfg(test)]
mod tests {
    use super::super::Pods;
    use crate::kinds::testing::status_problems;
    use serde_json::{Value, json};

    fn pod(spec: Value, status: Value) -> Value {
        json!({"metadata": {"name": "p"}, "spec": spec, "status": status})
    }

    fn container(state: Value) -> Value {
        json!({"containerStatuses": [
            {"name": "a", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state},
        ]})
    }

    #[test]
    fn only_containers_that_restart_live_again() {
        let ended = |code: i32| container(json!({"terminated": {"exitCode": code}}));
        let running = container(json!({"running": {}}));
        let problem = "status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state";
        let rule = json!({"name": "a", "restartPolicy": "Never", "restartPolicyRules": [
            {"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}},
        ]});
        let cases = [
            ("Always", json!({"name": "a"}), 0, true),
            ("OnFailure", json!({"name": "a"}), 1, true),
            ("OnFailure", json!({"name": "a"}), 0, false),
            ("Never", json!({"name": "a"}), 1, false),
            ("Never", json!({"name": "a", "restartPolicy": "Always"}), 0, true),
            ("Always", rule.clone(), 42, true),
            ("Always", rule, 1, false),
        ];
        for (policy, spec, code, lives) in cases {
            let spec = json!({"restartPolicy": policy, "containers": [spec]});
            let old = pod(spec.clone(), ended(code));
            let problems = status_problems::<Pods>(&pod(spec.clone(), running.clone()), &old);
            assert_eq!(problems, if lives { vec![] } else { vec![problem] }, "{spec}");
        }
    }

    #[test]
    fn the_class_of_service_and_the_node_stay() {
        let old = pod(json!({"containers": [], "nodeName": "n"}), json!({"qosClass": "Burstable"}));
        let new = pod(
            json!({"containers": []}),
            json!({"qosClass": "Guaranteed", "nominatedNodeName": "m", "observedGeneration": -1}),
        );
        assert_eq!(
            status_problems::<Pods>(&new, &old),
            [
                "status.nodeName: Forbidden: may not be changed directly",
                "status.nominatedNodeName: Forbidden: may not be set on pods that are already bound to a node",
                "status.observedGeneration: Invalid value: -1: must be a non-negative integer",
                "status.qosClass: Invalid value: \"Guaranteed\": field is immutable",
            ]
        );
    }

    #[test]
    fn addresses_are_one_of_each_family() {
        let spec = json!({"containers": []});
        let new = pod(
            spec.clone(),
            json!({
                "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}, {"ip": "10.0.0.300"}],
                "hostIP": "10.0.0.2", "hostIPs": [{"ip": "10.0.0.3"}],
            }),
        );
        assert_eq!(
            status_problems::<Pods>(&new, &pod(spec, json!({}))),
            [
                "status.podIPs[2]: Invalid value: \"10.0.0.300\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
                "status.podIPs: Invalid value: [{\"IP\":\"10.0.0.1\"},{\"IP\":\"fd00::1\"},{\"IP\":\"10.0.0.300\"}]: may specify no more than one IP for each IP family",
                "status.hostIPs[0].ip: Invalid value: \"10.0.0.3\": must be equal to `hostIP`",
            ]
        );
    }

    #[test]
    fn conditions_have_qualified_names() {
        let spec = json!({"containers": []});
        let new = pod(spec.clone(), json!({"conditions": [{"type": "a b", "status": "True"}]}));
        let problems = status_problems::<Pods>(&new, &pod(spec, json!({})));
        assert!(
            problems[0].starts_with("status.conditions[0].Type: Invalid value: \"a b\": name part")
        );
    }
}
