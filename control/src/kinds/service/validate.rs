//! Validation of Services. Source: `pkg/apis/core/validation/validation.go`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{
    Service, ServicePort, ServiceSpec, SessionAffinityConfig,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::json;

use super::needs::{
    CLUSTER_IP, EXTERNAL_NAME, LOAD_BALANCER, NODE_PORT, Needs, cluster_ips, ip_families,
};
use super::{PROTOCOLS, text};
use crate::kinds::formats::{cidr, endpoint_ip, ip, port_number_or_name};
use crate::kinds::meta::{invalid_each, validate_labels};
use crate::kinds::{FieldError, names};

const TYPES: &[&str] = &[CLUSTER_IP, EXTERNAL_NAME, LOAD_BALANCER, NODE_PORT];
const AFFINITIES: &[&str] = &["ClientIP", "None"];
const FAMILIES: &[&str] = &["IPv4", "IPv6"];
const FAMILY_POLICIES: &[&str] = &["PreferDualStack", "RequireDualStack", "SingleStack"];
const TRAFFIC_POLICIES: &[&str] = &["Cluster", "Local"];
const DISTRIBUTIONS: &[&str] = &["PreferClose", "PreferSameZone", "PreferSameNode"];
const AFFINITY_SECONDS_MAX: i32 = 86400;
const ONLY_LOAD_BALANCER: &str = "may only be used when `type` is 'LoadBalancer'";

const TOPOLOGY_MODE: &str = "service.kubernetes.io/topology-mode";
const TOPOLOGY_HINTS: &str = "service.kubernetes.io/topology-aware-hints";
const SOURCE_RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";

/// All problems of a Service but those of its metadata.
pub fn validate(object: &Service) -> Vec<FieldError> {
    let no_spec = ServiceSpec::default();
    let spec = object.spec.as_ref().unwrap_or(&no_spec);
    let no_annotations = BTreeMap::new();
    let annotations = object.metadata.annotations.as_ref().unwrap_or(&no_annotations);
    [
        validate_topology(annotations),
        validate_for_type(spec),
        validate_ports(spec),
        validate_labels(spec.selector.as_ref(), "spec.selector"),
        validate_affinity(spec),
        validate_cluster_ips(spec),
        validate_external_ips(spec),
        validate_type(spec),
        validate_node_ports(spec),
        validate_duplicate_ports(spec),
        validate_source_ranges(spec, annotations),
        validate_load_balancer(spec),
        validate_external_traffic(spec),
        validate_internal_traffic(spec),
        validate_distribution(spec),
    ]
    .concat()
}

fn validate_topology(annotations: &BTreeMap<String, String>) -> Vec<FieldError> {
    match (annotations.get(TOPOLOGY_MODE), annotations.get(TOPOLOGY_HINTS)) {
        (Some(mode), Some(hints)) if mode != hints => vec![FieldError::invalid(
            format!("metadata.annotations[{TOPOLOGY_MODE}]"),
            mode.as_str(),
            format!("must match annotations[{TOPOLOGY_HINTS}] when both are specified"),
        )],
        _ => Vec::new(),
    }
}

/// What each type requires and excludes.
fn validate_for_type(spec: &ServiceSpec) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let has_ports = spec.ports.as_ref().is_some_and(|ports| !ports.is_empty());
    if !has_ports && !spec.is_headless() && spec.type_() != EXTERNAL_NAME {
        errors.push(FieldError::required("spec.ports", ""));
    }
    match spec.type_() {
        LOAD_BALANCER | NODE_PORT if spec.is_headless() => errors.push(FieldError::invalid(
            "spec.clusterIPs[0]",
            "None",
            format!("may not be set to 'None' for {} services", spec.type_()),
        )),
        EXTERNAL_NAME => errors.extend(validate_external_name(spec)),
        _ => {}
    }
    errors
}

fn validate_external_name(spec: &ServiceSpec) -> Vec<FieldError> {
    let set = [
        ("spec.clusterIPs", !cluster_ips(spec).is_empty()),
        ("spec.ipFamilies", !ip_families(spec).is_empty()),
        ("spec.ipFamilyPolicy", spec.ip_family_policy.is_some()),
    ];
    let mut errors: Vec<FieldError> = set
        .into_iter()
        .filter(|(_, set)| *set)
        .map(|(path, _)| FieldError::forbidden(path, "may not be set for ExternalName services"))
        .collect();
    let name = text(&spec.external_name);
    // A final dot marks the name as absolute.
    match name.strip_suffix('.').unwrap_or(name) {
        "" => errors.push(FieldError::required("spec.externalName", "")),
        name => errors.extend(invalid_each("spec.externalName", name, names::subdomain(name))),
    }
    errors
}

fn validate_ports(spec: &ServiceSpec) -> Vec<FieldError> {
    let ports = spec.ports.as_deref().unwrap_or_default();
    let mut seen = BTreeSet::new();
    let mut errors = Vec::new();
    for (index, port) in ports.iter().enumerate() {
        let path = format!("spec.ports[{index}]");
        errors.extend(validate_port_name(port, ports.len() > 1, &mut seen, &path));
        for why in names::port_number(port.port.into()) {
            errors.push(FieldError::invalid(format!("{path}.port"), port.port, why));
        }
        let protocol_path = format!("{path}.protocol");
        errors.extend(one_of(&port.protocol, PROTOCOLS, &protocol_path));
        let target = port.target_port.as_ref().unwrap_or(&IntOrString::Int(0));
        errors.extend(port_number_or_name(target, &format!("{path}.targetPort")));
        if let Some(protocol) = &port.app_protocol {
            let path = format!("{path}.appProtocol");
            errors.extend(invalid_each(&path, protocol, names::label_key(protocol)));
        }
    }
    errors
}

fn validate_port_name<'a>(
    port: &'a ServicePort,
    required: bool,
    seen: &mut BTreeSet<&'a str>,
    path: &str,
) -> Vec<FieldError> {
    let path = format!("{path}.name");
    match text(&port.name) {
        "" if required => vec![FieldError::required(path, "")],
        "" => Vec::new(),
        name => {
            let mut errors = invalid_each(&path, name, names::label(name));
            if !seen.insert(name) {
                errors.push(FieldError::duplicate(path, name));
            }
            errors
        }
    }
}

/// A required text out of a closed set.
fn one_of(value: &Option<String>, supported: &[&str], path: &str) -> Vec<FieldError> {
    match text(value) {
        "" => vec![FieldError::required(path, "")],
        known if supported.contains(&known) => Vec::new(),
        other => vec![FieldError::not_supported(path, other, supported)],
    }
}

fn validate_affinity(spec: &ServiceSpec) -> Vec<FieldError> {
    const PATH: &str = "spec.sessionAffinityConfig";
    let mut errors = one_of(&spec.session_affinity, AFFINITIES, "spec.sessionAffinity");
    match (text(&spec.session_affinity), &spec.session_affinity_config) {
        ("ClientIP", config) => errors.extend(validate_client_ip(config.as_ref(), PATH)),
        ("None", Some(_)) => {
            let why = "must not be set when session affinity is None";
            errors.push(FieldError::forbidden(PATH, why));
        }
        _ => {}
    }
    errors
}

fn validate_client_ip(config: Option<&SessionAffinityConfig>, path: &str) -> Vec<FieldError> {
    let required =
        |path: String| vec![FieldError::required(path, "when session affinity type is ClientIP")];
    let Some(config) = config else { return required(path.to_owned()) };
    let path = format!("{path}.clientIP");
    let Some(client_ip) = &config.client_ip else { return required(path) };
    let path = format!("{path}.timeoutSeconds");
    match client_ip.timeout_seconds {
        None => required(path),
        Some(1..=AFFINITY_SECONDS_MAX) => Vec::new(),
        Some(other) => {
            let why = format!("must be greater than 0 and less than {AFFINITY_SECONDS_MAX}");
            vec![FieldError::invalid(path, other, why)]
        }
    }
}

/// All problems of clusterIP, clusterIPs, ipFamilies and ipFamilyPolicy. Admission asks too, before
/// it allocates.
pub(crate) fn validate_cluster_ips(spec: &ServiceSpec) -> Vec<FieldError> {
    const IPS: &str = "spec.clusterIPs";
    if spec.type_() == EXTERNAL_NAME {
        return Vec::new();
    }
    let ips = cluster_ips(spec);
    let mut errors = validate_singular(spec);
    errors.extend(validate_families(spec));
    let before = errors.len();
    for (index, address) in ips.iter().enumerate() {
        if index == 0 && address == "None" {
            if ips.len() > 1 {
                let why = "'None' must be the first and only value";
                errors.push(FieldError::invalid(IPS, ips, why));
            }
            continue;
        }
        errors.extend(ip(address, &format!("{IPS}[{index}]")));
    }
    let malformed = errors.len() > before;
    if ips.len() > 2 {
        errors.push(FieldError::invalid(IPS, ips, "may only hold up to 2 values"));
    }
    if malformed {
        // The checks of families below would speak of nonsense.
        return errors;
    }
    let parsed: Vec<Option<IpAddr>> = ips.iter().map(|ip| ip.parse().ok()).collect();
    let v6 = |ip: &Option<IpAddr>| ip.is_some_and(|ip| ip.is_ipv6());
    if ips.len() > 1 && parsed.iter().all(v6) == parsed.iter().any(v6) {
        let why = "may specify no more than one IP for each IP family";
        errors.push(FieldError::invalid(IPS, ips, why));
    }
    if spec.is_headless() {
        return errors;
    }
    for (index, (address, family)) in parsed.iter().zip(ip_families(spec)).enumerate() {
        let matches = match family.as_str() {
            "IPv4" => !v6(address),
            "IPv6" => v6(address),
            _ => true,
        };
        if !matches {
            let why = format!("expected an {family} value as indicated by `ipFamilies[{index}]`");
            let value = ips[index].as_str();
            errors.push(FieldError::invalid(format!("{IPS}[{index}]"), value, why));
        }
    }
    errors
}

/// The singular field is the first of the plural one.
fn validate_singular(spec: &ServiceSpec) -> Vec<FieldError> {
    const IPS: &str = "spec.clusterIPs";
    let ips = cluster_ips(spec);
    match (text(&spec.cluster_ip), ips.first()) {
        ("", None) => Vec::new(),
        ("", Some(_)) => {
            let why = "must be empty when `clusterIP` is not specified";
            vec![FieldError::invalid(IPS, ips, why)]
        }
        (_, None) => vec![FieldError::required(IPS, "")],
        (singular, Some(first)) if singular == first => Vec::new(),
        (_, Some(_)) => {
            vec![FieldError::invalid(IPS, ips, "first value must match `clusterIP`")]
        }
    }
}

fn validate_families(spec: &ServiceSpec) -> Vec<FieldError> {
    let families = ip_families(spec);
    let mut errors = Vec::new();
    for (index, family) in families.iter().enumerate() {
        let path = format!("spec.ipFamilies[{index}]");
        if !FAMILIES.contains(&family.as_str()) {
            errors.push(FieldError::not_supported(&path, family.as_str(), FAMILIES));
        }
        if families[..index].contains(family) {
            errors.push(FieldError::duplicate(path, family.as_str()));
        }
    }
    if spec.ip_family_policy.is_some() && !FAMILY_POLICIES.contains(&text(&spec.ip_family_policy)) {
        let policy = text(&spec.ip_family_policy);
        errors.push(FieldError::not_supported("spec.ipFamilyPolicy", policy, FAMILY_POLICIES));
    }
    errors
}

fn validate_external_ips(spec: &ServiceSpec) -> Vec<FieldError> {
    let ips = spec.external_ips.iter().flatten().enumerate();
    ips.flat_map(|(index, address)| {
        let path = format!("spec.externalIPs[{index}]");
        let malformed = ip(address, &path);
        if malformed.is_empty() { endpoint_ip(address, &path) } else { malformed }
    })
    .collect()
}

fn validate_type(spec: &ServiceSpec) -> Vec<FieldError> {
    let mut errors = one_of(&spec.type_, TYPES, "spec.type");
    if spec.type_() == CLUSTER_IP {
        for (index, port) in spec.ports.iter().flatten().enumerate() {
            if port.node_port.unwrap_or(0) != 0 {
                errors.push(FieldError::forbidden(
                    format!("spec.ports[{index}].nodePort"),
                    "may not be used when `type` is 'ClusterIP'",
                ));
            }
        }
    }
    errors
}

fn validate_node_ports(spec: &ServiceSpec) -> Vec<FieldError> {
    let mut seen = BTreeSet::new();
    let mut errors = Vec::new();
    for (index, port) in spec.ports.iter().flatten().enumerate() {
        let node_port = port.node_port.unwrap_or(0);
        if node_port != 0 && !seen.insert((text(&port.protocol), node_port)) {
            errors.push(FieldError::duplicate(format!("spec.ports[{index}].nodePort"), node_port));
        }
    }
    errors
}

fn validate_duplicate_ports(spec: &ServiceSpec) -> Vec<FieldError> {
    let mut seen = BTreeSet::new();
    let mut errors = Vec::new();
    for (index, port) in spec.ports.iter().flatten().enumerate() {
        let protocol = text(&port.protocol);
        if !seen.insert((protocol, port.port)) {
            // Upstream prints a port with only the key filled in.
            let key = json!({"protocol": protocol, "port": port.port, "targetPort": 0});
            errors.push(FieldError::duplicate(format!("spec.ports[{index}]"), key));
        }
    }
    errors
}

/// Either the field or the older annotation; padding is part of the API.
fn validate_source_ranges(
    spec: &ServiceSpec,
    annotations: &BTreeMap<String, String>,
) -> Vec<FieldError> {
    let ranges = spec.load_balancer_source_ranges.as_deref().unwrap_or_default();
    // Upstream's spelling.
    let field_path = "spec.LoadBalancerSourceRanges".to_owned();
    let (path, ranges): (String, Vec<(String, &str)>) = if !ranges.is_empty() {
        let ranges = ranges.iter().enumerate();
        let paths = ranges.map(|(index, range)| (format!("{field_path}[{index}]"), range.trim()));
        (field_path.clone(), paths.collect())
    } else if let Some(value) = annotations.get(SOURCE_RANGES) {
        let path = format!("metadata.annotations[{SOURCE_RANGES}]");
        let value = value.trim();
        let ranges = value.split(',').filter(|_| !value.is_empty());
        let ranges = ranges.map(|range| (path.clone(), range.trim())).collect();
        (path, ranges)
    } else {
        return Vec::new();
    };
    let mut errors = Vec::new();
    if spec.type_() != LOAD_BALANCER {
        errors.push(FieldError::forbidden(path, ONLY_LOAD_BALANCER));
    }
    errors.extend(ranges.iter().flat_map(|(path, range)| cidr(range, path)));
    errors
}

fn validate_load_balancer(spec: &ServiceSpec) -> Vec<FieldError> {
    const CLASS: &str = "spec.loadBalancerClass";
    const ALLOCATE: &str = "allocateLoadBalancerNodePorts";
    let mut errors = Vec::new();
    let balances = spec.type_() == LOAD_BALANCER;
    match (balances, spec.allocate_load_balancer_node_ports) {
        (true, None) => errors.push(FieldError::required(ALLOCATE, "")),
        (false, Some(_)) => {
            errors.push(FieldError::forbidden(format!("spec.{ALLOCATE}"), ONLY_LOAD_BALANCER));
        }
        (true, Some(_)) | (false, None) => {}
    }
    match (balances, &spec.load_balancer_class) {
        (true, Some(class)) => errors.extend(invalid_each(CLASS, class, names::label_key(class))),
        (false, Some(_)) => errors.push(FieldError::forbidden(CLASS, ONLY_LOAD_BALANCER)),
        (_, None) => {}
    }
    errors
}

fn validate_external_traffic(spec: &ServiceSpec) -> Vec<FieldError> {
    const POLICY: &str = "spec.externalTrafficPolicy";
    const HEALTH: &str = "spec.healthCheckNodePort";
    let mut errors = Vec::new();
    if spec.is_externally_accessible() {
        errors.extend(one_of(&spec.external_traffic_policy, TRAFFIC_POLICIES, POLICY));
    } else if !text(&spec.external_traffic_policy).is_empty() {
        let why = "may only be set for externally-accessible services";
        errors.push(FieldError::invalid(POLICY, text(&spec.external_traffic_policy), why));
    }
    match (spec.needs_health_check(), spec.health_check_node_port.unwrap_or(0)) {
        (true, 0) => errors.push(FieldError::required(HEALTH, "")),
        (true, port) => {
            for why in names::port_number(port.into()) {
                errors.push(FieldError::invalid(HEALTH, port, why));
            }
        }
        (false, 0) => {}
        (false, port) => {
            let why = "may only be set when `type` is 'LoadBalancer' and \
                `externalTrafficPolicy` is 'Local'";
            errors.push(FieldError::invalid(HEALTH, port, why));
        }
    }
    errors
}

fn validate_internal_traffic(spec: &ServiceSpec) -> Vec<FieldError> {
    const PATH: &str = "spec.internalTrafficPolicy";
    match spec.internal_traffic_policy.as_deref() {
        None if matches!(spec.type_(), CLUSTER_IP | NODE_PORT | LOAD_BALANCER) => {
            vec![FieldError::required(PATH, "")]
        }
        None => Vec::new(),
        Some(known) if TRAFFIC_POLICIES.contains(&known) => Vec::new(),
        Some(other) => vec![FieldError::not_supported(PATH, other, TRAFFIC_POLICIES)],
    }
}

fn validate_distribution(spec: &ServiceSpec) -> Vec<FieldError> {
    match spec.traffic_distribution.as_deref() {
        Some(other) if !DISTRIBUTIONS.contains(&other) => {
            let path = "spec.trafficDistribution";
            vec![FieldError::not_supported(path, other, DISTRIBUTIONS)]
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests;
