//! The rules of a pod's spec, for pods and templates alike.
//!
//! Source: `ValidatePodSpec` in `pkg/apis/core/validation`. Feature gates are as 1.36 sets them by
//! default.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{
    Container, HostAlias, Pod, PodDNSConfig, PodResourceClaim, PodSpec, Volume,
};

use super::requests;
use super::{annotations, containers, ephemeral, scheduling, security, variables, volumes, windows};
use crate::kinds::resources::{self, Of};
use crate::kinds::{FieldError, formats, meta, names};

const NAMESERVERS_MAX: usize = 3;
const SEARCHES_MAX: usize = 32;
const SEARCHES_BYTES_MAX: usize = 2048;
const HOSTNAME_BYTES_MAX: usize = 64;
const SECONDS_MAX: i64 = i32::MAX as i64;

pub type Errors = Vec<FieldError>;

/// Whose spec it is. Templates may leave open what is filled in when a pod is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose<'a> {
    /// A pod of this name.
    Pod(&'a str),
    Template,
}

/// What the checks of a container need to know of its pod.
pub struct Surroundings<'a> {
    /// The sound volumes, by name.
    pub volumes: BTreeMap<&'a str, &'a Volume>,
    pub claims: BTreeSet<&'a str>,
    pub grace_seconds: Option<i64>,
    /// The operating system's name, where one is given.
    pub os: Option<&'a str>,
    pub restart_policy: &'a str,
    /// Whether users of the pod are users of the host.
    pub host_users: bool,
}

/// All problems of a pod but those of its generic metadata.
pub fn validate(pod: &Pod) -> Errors {
    let none = PodSpec::default();
    let spec = pod.spec.as_ref().unwrap_or(&none);
    let mut errors = Errors::new();
    annotations::validate(&pod.metadata, spec, "metadata.annotations", &mut errors);
    let whose = Whose::Pod(pod.metadata.name.as_deref().unwrap_or_default());
    validate_spec(spec, whose, "spec", &mut errors);
    validate_token_volumes(spec, &mut errors);
    let inits = spec.init_containers.as_deref().unwrap_or_default();
    for (list, containers) in [("containers", spec.containers.as_slice()), ("initContainers", inits)] {
        for (index, container) in containers.iter().enumerate() {
            let path = format!("spec.{list}[{index}]");
            containers::validate_image_spacing(container, &path, &mut errors);
        }
    }
    errors
}

/// Problems that only a create can have.
pub fn validate_create(pod: &Pod) -> Errors {
    let none = PodSpec::default();
    let spec = pod.spec.as_ref().unwrap_or(&none);
    let mut errors = Errors::new();
    if is_set(&spec.ephemeral_containers) {
        errors.push(FieldError::forbidden("spec.ephemeralContainers", "cannot be set on create"));
    }
    if !text(&spec.node_name).is_empty() && is_set(&spec.scheduling_gates) {
        let detail = "cannot be set until all schedulingGates have been cleared";
        errors.push(FieldError::forbidden("spec.nodeName", detail));
    }
    annotations::validate_against_fields(&pod.metadata, spec, "spec", &mut errors);
    errors
}

/// Adds all problems of a spec at `path`.
pub fn validate_spec(spec: &PodSpec, whose: Whose<'_>, path: &str, errors: &mut Errors) {
    let child = |name: &str| format!("{path}.{name}");
    if spec.termination_grace_period_seconds.is_none() {
        errors.push(FieldError::required(child("terminationGracePeriodSeconds"), ""));
    }
    let pod_name = match whose {
        Whose::Pod(name) => Some(name).filter(|name| !name.is_empty()),
        Whose::Template => None,
    };
    let all_volumes = spec.volumes.as_deref().unwrap_or_default();
    let around = Surroundings {
        volumes: volumes::validate(all_volumes, pod_name, whose, &child("volumes"), errors),
        claims: validate_resource_claims(spec, &child("resourceClaims"), errors),
        grace_seconds: spec.termination_grace_period_seconds,
        os: spec.os.as_ref().map(|os| os.name.as_str()),
        restart_policy: spec.restart_policy.as_deref().unwrap_or_default(),
        host_users: spec.host_users.unwrap_or(true),
    };
    containers::validate_all(spec, &around, path, errors);
    validate_own_resources(spec, &around, &child("resources"), errors);
    validate_host_ports(spec, whose, &child("containers"), errors);
    one_of(
        around.restart_policy,
        &["Always", "OnFailure", "Never"],
        &child("restartPolicy"),
        errors,
    );
    let policies = &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    one_of(text(&spec.dns_policy), policies, &child("dnsPolicy"), errors);
    errors.extend(meta::validate_labels(spec.node_selector.as_ref(), &child("nodeSelector")));
    security::validate_pod(spec, &child("securityContext"), errors);
    scheduling::validate_affinity(spec, &child("affinity"), errors);
    validate_dns(spec, &child("dnsConfig"), errors);
    scheduling::validate(spec, path, errors);
    windows::validate_host_processes(spec, path, errors);
    security::validate_host_users(spec, path, errors);
    validate_hostname_override(spec, &child("hostnameOverride"), errors);
    validate_names(spec, path, errors);
    if let Some(policy) = &spec.preemption_policy {
        one_of(policy, &["PreemptLowerPriority", "Never"], &child("preemptionPolicy"), errors);
    }
    if let Some(limits) = &spec.overhead {
        let overhead = k8s_openapi::api::core::v1::ResourceRequirements {
            limits: Some(limits.clone()),
            ..Default::default()
        };
        // Upstream validates it as limits, and names them in the path.
        resources::validate_requirements(
            &overhead,
            Of::Container,
            &BTreeSet::new(),
            &child("overhead"),
            errors,
        );
    }
    security::validate_os(spec, path, errors);
    validate_scheduling_group(spec, &child("schedulingGroup.podGroupName"), errors);
    variables::validate_file_volumes(spec, path, errors);
}

/// Calls `visit` with each container and its path: init containers first, ephemeral ones last.
pub fn visit_containers(spec: &PodSpec, path: &str, mut visit: impl FnMut(&Container, &str)) {
    for (index, container) in spec.init_containers.iter().flatten().enumerate() {
        visit(container, &format!("{path}.initContainers[{index}]"));
    }
    for (index, container) in spec.containers.iter().enumerate() {
        visit(container, &format!("{path}.containers[{index}]"));
    }
    for (index, container) in spec.ephemeral_containers.iter().flatten().enumerate() {
        let container = ephemeral::as_container(container);
        visit(&container, &format!("{path}.ephemeralContainers[{index}]"));
    }
}

/// Adds an error where a value is missing or is not one of these.
pub fn one_of(value: &str, supported: &[&str], path: &str, errors: &mut Errors) {
    if value.is_empty() {
        errors.push(FieldError::required(path, ""));
    } else if !supported.contains(&value) {
        errors.push(FieldError::not_supported(path, value, supported));
    }
}

/// Adds an error where a number is negative.
pub fn not_negative(value: impl Into<i64>, path: &str, errors: &mut Errors) {
    let value = value.into();
    if value < 0 {
        errors.push(FieldError::invalid(path, value, "must be greater than or equal to 0"));
    }
}

/// Adds an error where an address does not parse. The strict rules: no leading zeros, no mapping.
pub fn ip(value: &str, path: &str, errors: &mut Errors) {
    errors.extend(formats::ip(value, path));
}

pub fn text(field: &Option<String>) -> &str {
    field.as_deref().unwrap_or_default()
}

pub fn is_set<T>(list: &Option<Vec<T>>) -> bool {
    list.as_ref().is_some_and(|list| !list.is_empty())
}

/// Names, and what upstream checks between them.
fn validate_names(spec: &PodSpec, path: &str, errors: &mut Errors) {
    type Rule = fn(&str) -> Vec<String>;
    let check = |field: &str, name: Option<&str>, rule: Rule, errors: &mut Errors| {
        let Some(name) = name else { return };
        errors.extend(meta::invalid_each(&format!("{path}.{field}"), name, rule(name)));
    };
    let given = |name| Some(text(name)).filter(|name| !name.is_empty());
    check("serviceAccountName", given(&spec.service_account_name), names::subdomain, errors);
    check("nodeName", given(&spec.node_name), names::subdomain, errors);
    validate_deadline(spec, &format!("{path}.activeDeadlineSeconds"), errors);
    check("hostname", given(&spec.hostname), names::label, errors);
    check("subdomain", given(&spec.subdomain), names::label, errors);
    let tolerations = spec.tolerations.as_deref().unwrap_or_default();
    scheduling::validate_tolerations(tolerations, &format!("{path}.tolerations"), errors);
    let aliases = spec.host_aliases.as_deref().unwrap_or_default();
    validate_host_aliases(aliases, &format!("{path}.hostAliases"), errors);
    check("priorityClassName", given(&spec.priority_class_name), names::subdomain, errors);
    // An empty name is given, too.
    check("runtimeClassName", spec.runtime_class_name.as_deref(), names::subdomain, errors);
}

fn validate_deadline(spec: &PodSpec, path: &str, errors: &mut Errors) {
    let Some(seconds) = spec.active_deadline_seconds else { return };
    for detail in names::in_range(seconds, 1, SECONDS_MAX) {
        errors.push(FieldError::invalid(path, seconds, detail));
    }
}

fn validate_hostname_override(spec: &PodSpec, path: &str, errors: &mut Errors) {
    let Some(name) = &spec.hostname_override else { return };
    if spec.set_hostname_as_fqdn == Some(true) {
        let detail = "may not be specified when setHostnameAsFQDN is true";
        errors.push(FieldError::forbidden(path, detail));
    }
    if spec.host_network == Some(true) {
        let detail = "may not be specified when hostNetwork is true";
        errors.push(FieldError::forbidden(path, detail));
    }
    if name.len() > HOSTNAME_BYTES_MAX {
        errors.push(FieldError::too_long(path, HOSTNAME_BYTES_MAX));
    }
    errors.extend(meta::invalid_each(path, name, names::subdomain(name)));
}

fn validate_dns(spec: &PodSpec, path: &str, errors: &mut Errors) {
    let config = spec.dns_config.as_ref();
    if text(&spec.dns_policy) == "None" {
        let Some(config) = config else {
            let detail = "must provide `dnsConfig` when `dnsPolicy` is None";
            return errors.push(FieldError::required(path, detail));
        };
        if !is_set(&config.nameservers) {
            let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            return errors.push(FieldError::required(format!("{path}.nameservers"), detail));
        }
    }
    if let Some(config) = config {
        validate_dns_config(config, path, errors);
    }
}

fn validate_dns_config(config: &PodDNSConfig, path: &str, errors: &mut Errors) {
    let servers = config.nameservers.as_deref().unwrap_or_default();
    let searches = config.searches.as_deref().unwrap_or_default();
    if servers.len() > NAMESERVERS_MAX {
        let detail = format!("must not have more than {NAMESERVERS_MAX} nameservers");
        errors.push(FieldError::invalid(format!("{path}.nameservers"), servers.to_vec(), detail));
    }
    for (index, server) in servers.iter().enumerate() {
        ip(server, &format!("{path}.nameservers[{index}]"), errors);
    }
    let path_of_searches = format!("{path}.searches");
    if searches.len() > SEARCHES_MAX {
        let detail = format!("must not have more than {SEARCHES_MAX} search paths");
        errors.push(FieldError::invalid(&path_of_searches, searches.to_vec(), detail));
    }
    if searches.join(" ").len() > SEARCHES_BYTES_MAX {
        let detail = format!(
            "must not have more than {SEARCHES_BYTES_MAX} characters (including spaces) in the search list"
        );
        errors.push(FieldError::invalid(&path_of_searches, searches.to_vec(), detail));
    }
    for (index, search) in searches.iter().enumerate().filter(|(_, search)| *search != ".") {
        let search = search.strip_suffix('.').unwrap_or(search);
        let messages = names::subdomain_with_underscore(search);
        errors.extend(meta::invalid_each(
            &format!("{path_of_searches}[{index}]"),
            search,
            messages,
        ));
    }
    for (index, option) in config.options.iter().flatten().enumerate() {
        if text(&option.name).is_empty() {
            let path = format!("{path}.options[{index}]");
            errors.push(FieldError::required(path, "must not be empty"));
        }
    }
}

fn validate_host_aliases(aliases: &[HostAlias], path: &str, errors: &mut Errors) {
    for (index, alias) in aliases.iter().enumerate() {
        ip(&alias.ip, &format!("{path}[{index}].ip"), errors);
        for (number, name) in alias.hostnames.iter().flatten().enumerate() {
            let path = format!("{path}[{index}].hostnames[{number}]");
            errors.extend(meta::invalid_each(&path, name, names::subdomain(name)));
        }
    }
}

/// Checks the claims, and returns their names.
fn validate_resource_claims<'a>(
    spec: &'a PodSpec,
    path: &str,
    errors: &mut Errors,
) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    for (index, claim) in spec.resource_claims.iter().flatten().enumerate() {
        let path = format!("{path}[{index}]");
        let name = claim.name.as_str();
        if name.is_empty() {
            errors.push(FieldError::required(format!("{path}.name"), ""));
        } else if !seen.insert(name) {
            errors.push(FieldError::duplicate(format!("{path}.name"), name));
        } else {
            errors.extend(meta::invalid_each(&format!("{path}.name"), name, names::label(name)));
        }
        validate_claim_source(claim, &path, errors);
    }
    seen
}

fn validate_claim_source(claim: &PodResourceClaim, path: &str, errors: &mut Errors) {
    let detail = match (&claim.resource_claim_name, &claim.resource_claim_template_name) {
        (Some(_), Some(_)) => {
            "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"
        }
        (None, None) => "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`",
        _ => "",
    };
    if !detail.is_empty() {
        let value = serde_json::to_value(claim).unwrap_or_default();
        errors.push(FieldError::invalid(path, value, detail));
    }
    for (field, name) in [
        ("resourceClaimName", &claim.resource_claim_name),
        ("resourceClaimTemplateName", &claim.resource_claim_template_name),
    ] {
        let Some(name) = name else { continue };
        errors.extend(meta::invalid_each(&format!("{path}.{field}"), name, names::subdomain(name)));
    }
}

/// The pod's own resources, and how they relate to its containers'.
fn validate_own_resources(
    spec: &PodSpec,
    around: &Surroundings<'_>,
    path: &str,
    errors: &mut Errors,
) {
    let Some(own) = &spec.resources else { return };
    if around.os == Some("windows") {
        return errors.push(FieldError::forbidden(path, "may not be set for a windows pod"));
    }
    if own.claims.is_some() {
        let detail = "claims may not be set for Resources at pod-level";
        errors.push(FieldError::forbidden(format!("{path}.claims"), detail));
    }
    resources::validate_requirements(own, Of::Pod, &around.claims, path, errors);
    for (name, asked) in requests::of_containers(spec) {
        let Some(given) = crate::kinds::quantity::get(own.requests.as_ref(), &name) else {
            continue;
        };
        if asked > given {
            let detail =
                format!("must be greater than or equal to aggregate container requests of {asked}");
            let path = format!("{path}.requests[{name}]");
            errors.push(FieldError::invalid(path, given.to_string(), detail));
        }
    }
    let huge = requests::limits_of_containers(spec);
    for (name, used) in huge.into_iter().filter(|(name, _)| resources::is_huge_pages(name)) {
        let Some(given) = crate::kinds::quantity::get(own.limits.as_ref(), &name) else {
            continue;
        };
        if used > given {
            let detail =
                format!("must be greater than or equal to aggregate container limits of {used}");
            let path = format!("{path}.limits[{name}]");
            errors.push(FieldError::invalid(path, given.to_string(), detail));
        }
    }
    for (index, container) in spec.containers.iter().enumerate() {
        let limits = container.resources.as_ref().and_then(|resources| resources.limits.as_ref());
        for name in limits.into_iter().flat_map(BTreeMap::keys) {
            let one = crate::kinds::quantity::get(limits, name);
            let all = crate::kinds::quantity::get(own.limits.as_ref(), name);
            let (Some(one), Some(all)) = (one, all) else { continue };
            if one > all {
                let path = format!("{path}.containers[{index}][{name}].limits");
                let detail = format!("must be less than or equal to pod limits of {all}");
                errors.push(FieldError::invalid(path, one.to_string(), detail));
            }
        }
    }
}

fn validate_host_ports(spec: &PodSpec, whose: Whose<'_>, path: &str, errors: &mut Errors) {
    if spec.host_network != Some(true) {
        return;
    }
    for (index, container) in spec.containers.iter().enumerate() {
        for (number, port) in container.ports.iter().flatten().enumerate() {
            let host_port = port.host_port.unwrap_or_default();
            let open = whose == Whose::Template && host_port == 0;
            if open || host_port == port.container_port {
                continue;
            }
            let path = format!("{path}[{index}].ports[{number}].hostPort");
            let detail = "must match `containerPort` when `hostNetwork` is true";
            errors.push(FieldError::invalid(path, host_port, detail));
        }
    }
}

fn validate_scheduling_group(spec: &PodSpec, path: &str, errors: &mut Errors) {
    let Some(group) = &spec.scheduling_group else { return };
    let Some(name) = &group.pod_group_name else {
        let detail = "must specify one of: `podGroupName`";
        return errors.push(FieldError::invalid(path, serde_json::Value::Null, detail));
    };
    errors.extend(meta::invalid_each(path, name, names::subdomain(name)));
}

/// A token is someone's.
fn validate_token_volumes(spec: &PodSpec, errors: &mut Errors) {
    if !text(&spec.service_account_name).is_empty() {
        return;
    }
    for (index, volume) in spec.volumes.iter().flatten().enumerate() {
        let sources =
            volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten());
        for (number, source) in sources.enumerate() {
            if source.service_account_token.is_some() {
                let path = format!(
                    "spec.volumes[{index}].projected.sources[{number}].serviceAccountToken"
                );
                let detail = "must not be specified when serviceAccountName is not set";
                errors.push(FieldError::forbidden(path, detail));
            }
        }
    }
}

#[cfg(test)]
mod tests;
