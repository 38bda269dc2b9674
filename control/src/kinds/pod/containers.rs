//! The rules of containers: names, ports, mounts, restart rules.
//!
//! Source: `validateContainers`, `validateInitContainers` and what they call, in
//! `pkg/apis/core/validation`.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{
    Container, ContainerPort, ContainerResizePolicy, ContainerRestartRule, PodSpec,
    ResourceRequirements,
};

use super::requests::is_sidecar;
use super::validation::{Errors, Surroundings, one_of, text};
use super::{ephemeral, mounts, probes, security, variables};
use crate::kinds::resources::{self, Of};
use crate::kinds::{FieldError, meta, names};

const RESTART_RULES_MAX: usize = 20;
const EXIT_CODES_MAX: usize = 255;
const RESTART_ACTIONS: &[&str] = &["Restart", "RestartAllContainers"];
const POLICY_MISSING: &str = "must specify restartPolicy when restart rules are used";

/// Adds all problems of a spec's containers, regular ones first as upstream does.
pub fn validate_all(spec: &PodSpec, around: &Surroundings<'_>, path: &str, errors: &mut Errors) {
    let regular_path = format!("{path}.containers");
    let mut taken = BTreeSet::new();
    if spec.containers.is_empty() {
        errors.push(FieldError::required(&regular_path, ""));
    }
    for (index, container) in spec.containers.iter().enumerate() {
        let path = format!("{regular_path}[{index}]");
        validate_any(container, around, &path, errors);
        if !taken.insert(container.name.as_str()) {
            errors.push(FieldError::duplicate(format!("{path}.name"), container.name.as_str()));
        }
        probes::validate(container, around, &path, errors);
        validate_restart(container, &path, errors);
    }
    // All of them run at the same time.
    validate_host_ports(&spec.containers, &regular_path, errors);
    let init_path = format!("{path}.initContainers");
    for (index, container) in spec.init_containers.iter().flatten().enumerate() {
        let path = format!("{init_path}[{index}]");
        validate_any(container, around, &path, errors);
        validate_init_restart(container, &path, errors);
        if !taken.insert(container.name.as_str()) && !container.name.is_empty() {
            errors.push(FieldError::duplicate(format!("{path}.name"), container.name.as_str()));
        }
        // They run one by one, so each is judged alone; the index in the path is upstream's zero.
        validate_host_ports(std::slice::from_ref(container), &init_path, errors);
        validate_init(container, around, &path, errors);
    }
    ephemeral::validate(spec, around, path, errors);
}

/// An image's name is not padded. Only for pods: templates were once let through.
pub fn validate_image_spacing(container: &Container, path: &str, errors: &mut Errors) {
    let image = text(&container.image);
    if image.trim() != image {
        let detail = "must not have leading or trailing whitespace";
        errors.push(FieldError::invalid(format!("{path}.image"), image, detail));
    }
}

/// What holds for containers of every sort.
pub fn validate_any(container: &Container, around: &Surroundings<'_>, path: &str, errors: &mut Errors) {
    let child = |name: &str| format!("{path}.{name}");
    if container.name.is_empty() {
        errors.push(FieldError::required(child("name"), ""));
    } else {
        let messages = names::label(&container.name);
        errors.extend(meta::invalid_each(&child("name"), &container.name, messages));
    }
    if text(&container.image).is_empty() {
        errors.push(FieldError::required(child("image"), ""));
    }
    let policies = &["File", "FallbackToLogsOnError"];
    let policy = text(&container.termination_message_policy);
    one_of(policy, policies, &child("terminationMessagePolicy"), errors);
    validate_ports(container.ports.as_deref().unwrap_or_default(), &child("ports"), errors);
    variables::validate(container, path, errors);
    mounts::validate(container, around, path, errors);
    validate_pull_policy(text(&container.image_pull_policy), &child("imagePullPolicy"), errors);
    let none = ResourceRequirements::default();
    let asked = container.resources.as_ref().unwrap_or(&none);
    resources::validate_requirements(
        asked,
        Of::Container,
        &around.claims,
        &child("resources"),
        errors,
    );
    let resizes = container.resize_policy.as_deref().unwrap_or_default();
    validate_resizes(resizes, around.restart_policy, &child("resizePolicy"), errors);
    security::validate_container(container, around, &child("securityContext"), errors);
}

pub fn validate_pull_policy(policy: &str, path: &str, errors: &mut Errors) {
    one_of(policy, &["Always", "IfNotPresent", "Never"], path, errors);
}

/// What holds for init containers alone. Those that are sidecars live on, and so may be probed.
fn validate_init(
    container: &Container,
    around: &Surroundings<'_>,
    path: &str,
    errors: &mut Errors,
) {
    if is_sidecar(container) {
        return probes::validate(container, around, path, errors);
    }
    for (field, set) in [
        ("lifecycle", container.lifecycle.is_some()),
        ("livenessProbe", container.liveness_probe.is_some()),
        ("readinessProbe", container.readiness_probe.is_some()),
        ("startupProbe", container.startup_probe.is_some()),
    ] {
        if set {
            let detail = "may not be set for init containers without restartPolicy=Always";
            errors.push(FieldError::forbidden(format!("{path}.{field}"), detail));
        }
    }
    for (index, resize) in container.resize_policy.iter().flatten().enumerate() {
        if resize.restart_policy == "RestartContainer" {
            let path = format!("{path}.resizePolicy[{index}].restartPolicy");
            let detail = "must not be set to 'RestartContainer' for non-sidecar initContainers";
            errors.push(FieldError::invalid(path, "RestartContainer", detail));
        }
    }
}

fn validate_ports(ports: &[ContainerPort], path: &str, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        let child = |name: &str| format!("{path}[{index}].{name}");
        let name = text(&port.name);
        if !name.is_empty() {
            let messages = names::port_name(name);
            if messages.is_empty() && !seen.insert(name) {
                errors.push(FieldError::duplicate(child("name"), name));
            }
            errors.extend(meta::invalid_each(&child("name"), name, messages));
        }
        if port.container_port == 0 {
            errors.push(FieldError::required(child("containerPort"), ""));
        } else {
            validate_number(port.container_port, &child("containerPort"), errors);
        }
        if let Some(number) = port.host_port.filter(|number| *number != 0) {
            validate_number(number, &child("hostPort"), errors);
        }
        one_of(text(&port.protocol), &["SCTP", "TCP", "UDP"], &child("protocol"), errors);
    }
}

fn validate_number(port: i32, path: &str, errors: &mut Errors) {
    for detail in names::port_number(port.into()) {
        errors.push(FieldError::invalid(path, port, detail));
    }
}

/// No port of the host is taken twice.
fn validate_host_ports(containers: &[Container], path: &str, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for (index, container) in containers.iter().enumerate() {
        for (number, port) in container.ports.iter().flatten().enumerate() {
            let Some(host_port) = port.host_port.filter(|port| *port != 0) else { continue };
            let key = format!("{}/{}/{host_port}", text(&port.protocol), text(&port.host_ip));
            if !seen.insert(key.clone()) {
                let path = format!("{path}[{index}].ports[{number}].hostPort");
                errors.push(FieldError::duplicate(path, key));
            }
        }
    }
}

fn validate_resizes(
    resizes: &[ContainerResizePolicy],
    pod_restart_policy: &str,
    path: &str,
    errors: &mut Errors,
) {
    let mut seen = BTreeSet::new();
    for (index, resize) in resizes.iter().enumerate() {
        let name = resize.resource_name.as_str();
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(format!("{path}[{index}]"), name));
        }
        one_of(name, &["cpu", "memory"], path, errors);
        let policy = resize.restart_policy.as_str();
        one_of(policy, &["NotRequired", "RestartContainer"], path, errors);
        if pod_restart_policy == "Never" && policy != "NotRequired" {
            let detail = "must be 'NotRequired' when pod `restartPolicy` is 'Never'";
            errors.push(FieldError::invalid(path, policy, detail));
        }
    }
}

/// Rules without a policy are not looked at.
fn validate_init_restart(container: &Container, path: &str, errors: &mut Errors) {
    let ruled = container.restart_policy_rules.as_ref().is_some_and(|rules| !rules.is_empty());
    match &container.restart_policy {
        Some(_) => validate_restart(container, path, errors),
        None if ruled => {
            errors.push(FieldError::required(format!("{path}.restartPolicy"), POLICY_MISSING));
        }
        None => {}
    }
}

fn validate_restart(container: &Container, path: &str, errors: &mut Errors) {
    let rules = container.restart_policy_rules.as_deref().unwrap_or_default();
    let policy_path = format!("{path}.restartPolicy");
    match container.restart_policy.as_deref() {
        None if rules.is_empty() => return,
        None => {
            errors.push(FieldError::required(policy_path, POLICY_MISSING));
        }
        Some(policy) => {
            let supported = &["Always", "Never", "OnFailure"];
            if !supported.contains(&policy) {
                errors.push(FieldError::not_supported(policy_path, policy, supported));
            }
        }
    }
    let path = format!("{path}.restartPolicyRules");
    if rules.len() > RESTART_RULES_MAX {
        errors.push(FieldError::too_many(&path, rules.len(), RESTART_RULES_MAX));
    }
    for (index, rule) in rules.iter().enumerate() {
        validate_restart_rule(rule, &format!("{path}[{index}]"), errors);
    }
}

fn validate_restart_rule(rule: &ContainerRestartRule, path: &str, errors: &mut Errors) {
    if !RESTART_ACTIONS.contains(&rule.action.as_str()) {
        let path = format!("{path}.action");
        errors.push(FieldError::not_supported(path, rule.action.as_str(), RESTART_ACTIONS));
    }
    let Some(codes) = &rule.exit_codes else {
        return errors.push(FieldError::required(format!("{path}.exitCodes"), "must be specified"));
    };
    if !matches!(codes.operator.as_str(), "In" | "NotIn") {
        let path = format!("{path}.exitCodes.operator");
        errors.push(FieldError::not_supported(path, codes.operator.as_str(), &["In", "NotIn"]));
    }
    let count = codes.values.as_ref().map_or(0, Vec::len);
    if count > EXIT_CODES_MAX {
        errors.push(FieldError::too_many(
            format!("{path}.exitCodes.values"),
            count,
            EXIT_CODES_MAX,
        ));
    }
}
