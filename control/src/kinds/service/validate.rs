//! Validation of Services. Source: `pkg/apis/core/validation/validation.go`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{
    LoadBalancerIngress, Service, ServicePort, ServiceSpec, SessionAffinityConfig,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Value, json};

use super::needs::{
    CLUSTER_IP, EXTERNAL_NAME, LOAD_BALANCER, NODE_PORT, Needs, cluster_ips, ip_families,
};
use super::{PROTOCOLS, text};
use crate::kinds::formats::{cidr, endpoint_ip, ip, port_number_or_name};
use crate::kinds::meta::{IMMUTABLE, invalid_each, validate_labels};
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

/// All problems of an update: what stays once it is set.
pub fn validate_update(new: &Service, old: &Service) -> Vec<FieldError> {
    let (Some(new), Some(old)) = (&new.spec, &old.spec) else { return Vec::new() };
    let mut errors = Vec::new();
    if new.type_() != EXTERNAL_NAME && old.type_() != EXTERNAL_NAME {
        errors.extend(validate_cluster_ips_update(new, old));
        if !new.is_headless() && !old.is_headless() {
            errors.extend(validate_families_update(new, old));
        }
    }
    let both_balance = new.type_() == LOAD_BALANCER && old.type_() == LOAD_BALANCER;
    if both_balance && new.load_balancer_class != old.load_balancer_class {
        let class = new.load_balancer_class.as_deref().map_or(Value::Null, Value::from);
        errors.push(FieldError::invalid("spec.loadBalancerClass", class, UNCHANGEABLE));
    }
    if new.needs_health_check()
        && old.needs_health_check()
        && new.health_check_node_port.unwrap_or(0) != old.health_check_node_port.unwrap_or(0)
    {
        errors.push(FieldError::forbidden("spec.healthCheckNodePort", IMMUTABLE));
    }
    errors
}

const UNCHANGEABLE: &str = "may not change once set";

/// The first address stays; a second one may come, and go when the policy says `SingleStack`.
fn validate_cluster_ips_update(new: &ServiceSpec, old: &ServiceSpec) -> Vec<FieldError> {
    if new.is_headless() && old.is_headless() {
        return Vec::new();
    }
    let (now, before) = (cluster_ips(new), cluster_ips(old));
    let invalid =
        |index: usize, why| FieldError::invalid(format!("spec.clusterIPs[{index}]"), now, why);
    if now.len() == before.len() {
        let pairs = now.iter().zip(before).enumerate();
        let changed = pairs.filter(|(_, (now, before))| now != before);
        return changed.map(|(index, _)| invalid(index, UNCHANGEABLE)).collect();
    }
    let mut errors = Vec::new();
    match (now.first(), before.first()) {
        (None, _) => errors.push(invalid(0, "primary clusterIP can not be unset")),
        (Some(now), Some(before)) if now != before => errors.push(invalid(0, UNCHANGEABLE)),
        _ => {}
    }
    if now.len() == 1 && before.len() > 1 {
        errors.extend(validate_release(new, "clusterIP"));
    }
    errors
}

fn validate_families_update(new: &ServiceSpec, old: &ServiceSpec) -> Vec<FieldError> {
    const PATH: &str = "spec.ipFamilies[0]";
    let (now, before) = (ip_families(new), ip_families(old));
    if now.len() == before.len() {
        let changed = now.iter().zip(before).filter(|(now, before)| now != before);
        return changed.map(|_| FieldError::invalid(PATH, now, UNCHANGEABLE)).collect();
    }
    let mut errors = Vec::new();
    match (now.first(), before.first()) {
        (None, _) => {
            errors.push(FieldError::invalid(PATH, now, "primary ipFamily can not be unset"));
        }
        (Some(first), Some(before)) if first != before => {
            errors.push(FieldError::invalid(PATH, now, UNCHANGEABLE));
        }
        _ => {}
    }
    if now.len() == 1 && before.len() > 1 {
        errors.extend(validate_release(new, "ipFamily"));
    }
    errors
}

fn validate_release(new: &ServiceSpec, what: &str) -> Option<FieldError> {
    let policy = new.ip_family_policy.as_deref();
    (policy != Some("SingleStack")).then(|| {
        FieldError::invalid(
            "spec.ipFamilyPolicy",
            policy.map_or(Value::Null, Value::from),
            format!("must be set to 'SingleStack' when releasing the secondary {what}"),
        )
    })
}

/// All problems of a status.
pub fn validate_status(object: &Service) -> Vec<FieldError> {
    const PATH: &str = "status.loadBalancer.ingress";
    let status = object.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let ingresses = status.and_then(|status| status.ingress.as_deref()).unwrap_or_default();
    let balances = object.spec.as_ref().is_some_and(|spec| spec.type_() == LOAD_BALANCER);
    if !balances && !ingresses.is_empty() {
        let why = "may only be used when `spec.type` is 'LoadBalancer'";
        return vec![FieldError::forbidden(PATH, why)];
    }
    let ingresses = ingresses.iter().enumerate();
    ingresses
        .flat_map(|(index, ingress)| validate_ingress(ingress, &format!("{PATH}[{index}]")))
        .collect()
}

fn validate_ingress(ingress: &LoadBalancerIngress, path: &str) -> Vec<FieldError> {
    const MODES: &[&str] = &["Proxy", "VIP"];
    let address = text(&ingress.ip);
    let mut errors = Vec::new();
    if !address.is_empty() {
        errors.extend(ip(address, &format!("{path}.ip")));
    }
    let mode_path = format!("{path}.ipMode");
    match (address, ingress.ip_mode.as_deref()) {
        ("", None) => {}
        ("", Some(_)) => {
            let why = "may not be specified when `ip` is not set";
            errors.push(FieldError::forbidden(mode_path, why));
        }
        (_, None) => {
            errors.push(FieldError::required(mode_path, "must be specified when `ip` is set"));
        }
        (_, Some(mode)) if MODES.contains(&mode) => {}
        (_, Some(mode)) => errors.push(FieldError::not_supported(mode_path, mode, MODES)),
    }
    let hostname = text(&ingress.hostname);
    if !hostname.is_empty() {
        let path = format!("{path}.hostname");
        errors.extend(invalid_each(&path, hostname, names::subdomain(hostname)));
        if hostname.parse::<IpAddr>().is_ok() {
            let why = "must be a DNS name, not an IP address";
            errors.push(FieldError::invalid(path, hostname, why));
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::super::Services as Kind;
    use crate::kinds::testing::{defaulted, move_problems, problems, status_problems};
    use serde_json::{Value, json};

    /// A service as it is after defaulting and admission, with `change` merged into its spec.
    fn service(change: Value) -> Value {
        let mut object = json!({"metadata": {"name": "s"}, "spec": {
            "clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"],
            "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
            "ports": [{"port": 80}],
        }});
        let spec = object["spec"].as_object_mut().unwrap();
        for (key, value) in change.as_object().unwrap() {
            if value.is_null() {
                spec.remove(key);
            } else {
                spec.insert(key.clone(), value.clone());
            }
        }
        defaulted::<Kind>(object)
    }

    #[test]
    fn a_good_service_has_no_problems() {
        assert_eq!(problems::<Kind>(service(json!({}))), Vec::<String>::new());
    }

    #[test]
    fn problems_of_the_spec_are_named() {
        let cases = [
            (json!({"ports": null}), vec!["spec.ports: Required value"]),
            (json!({"ports": null, "clusterIP": "None", "clusterIPs": ["None"]}), vec![]),
            (
                json!({"type": "NodePort", "clusterIP": "None", "clusterIPs": ["None"]}),
                vec![
                    "spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for \
                     NodePort services",
                ],
            ),
            (
                json!({"ports": [{"port": 80}, {"port": 80, "name": "a"}]}),
                vec![
                    "spec.ports[0].name: Required value",
                    "spec.ports[1]: Duplicate value: {\"Name\":\"\",\"Protocol\":\"TCP\",\"AppProtocol\":null,\"Port\":80,\"TargetPort\":0,\"NodePort\":0}",
                ],
            ),
            (
                json!({"ports": [{"port": 0, "targetPort": "toolongforaportname", "protocol": "X",
                                  "nodePort": 30000}]}),
                vec![
                    "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
                    "spec.ports[0].protocol: Unsupported value: \"X\": supported values: \
                     \"SCTP\", \"TCP\", \"UDP\"",
                    "spec.ports[0].targetPort: Invalid value: \"toolongforaportname\": must be no \
                     more than 15 characters",
                    "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'",
                ],
            ),
            (
                json!({"type": "ExternalName"}),
                vec![
                    "spec.clusterIPs: Forbidden: may not be set for ExternalName services",
                    "spec.ipFamilies: Forbidden: may not be set for ExternalName services",
                    "spec.ipFamilyPolicy: Forbidden: may not be set for ExternalName services",
                    "spec.externalName: Required value",
                ],
            ),
            (
                json!({"type": "Magic"}),
                vec![
                    "spec.type: Unsupported value: \"Magic\": supported values: \"ClusterIP\", \
                     \"ExternalName\", \"LoadBalancer\", \"NodePort\"",
                ],
            ),
            (
                json!({"sessionAffinity": "ClientIP",
                       "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 86401}}}),
                vec![
                    "spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 86401: \
                     must be greater than 0 and less than 86400",
                ],
            ),
            (
                json!({"clusterIPs": ["10.96.0.8"]}),
                vec![
                    "spec.clusterIPs: Invalid value: [\"10.96.0.8\"]: first value must match \
                     `clusterIP`",
                ],
            ),
            (
                json!({"clusterIP": "x", "clusterIPs": ["x"]}),
                vec![
                    "spec.clusterIPs[0]: Invalid value: \"x\": must be a valid IP address, (e.g. \
                     10.9.8.7 or 2001:db8::ffff)",
                ],
            ),
            (
                json!({"clusterIPs": ["10.96.0.9", "10.96.0.8"]}),
                vec![
                    "spec.clusterIPs: Invalid value: [\"10.96.0.9\",\"10.96.0.8\"]: may specify \
                     no more than one IP for each IP family",
                ],
            ),
            (
                json!({"ipFamilies": ["IPv6"]}),
                vec![
                    "spec.clusterIPs[0]: Invalid value: \"10.96.0.9\": expected an IPv6 value as \
                     indicated by `ipFamilies[0]`",
                ],
            ),
            (
                json!({"externalIPs": ["0.0.0.0"]}),
                vec![
                    "spec.externalIPs[0]: Invalid value: \"0.0.0.0\": may not be unspecified \
                     (0.0.0.0)",
                ],
            ),
            (
                json!({"type": "NodePort", "ports": [
                    {"name": "a", "port": 1, "nodePort": 30000},
                    {"name": "b", "port": 2, "nodePort": 30000},
                    {"name": "c", "port": 1, "nodePort": 30000, "protocol": "UDP"},
                ]}),
                vec!["spec.ports[1].nodePort: Duplicate value: 30000"],
            ),
            (
                json!({"loadBalancerSourceRanges": ["10.0.0.0/33"], "loadBalancerClass": "a",
                       "allocateLoadBalancerNodePorts": false}),
                vec![
                    "spec.LoadBalancerSourceRanges: Forbidden: may only be used when `type` is \
                     'LoadBalancer'",
                    "spec.LoadBalancerSourceRanges[0]: Invalid value: \"10.0.0.0/33\": must be a \
                     valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
                    "spec.allocateLoadBalancerNodePorts: Forbidden: may only be used when `type` \
                     is 'LoadBalancer'",
                    "spec.loadBalancerClass: Forbidden: may only be used when `type` is \
                     'LoadBalancer'",
                ],
            ),
            (
                json!({"externalTrafficPolicy": "Local", "healthCheckNodePort": 30000}),
                vec![
                    "spec.externalTrafficPolicy: Invalid value: \"Local\": may only be set for \
                     externally-accessible services",
                    "spec.healthCheckNodePort: Invalid value: 30000: may only be set when `type` \
                     is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
                ],
            ),
            (
                json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local"}),
                vec!["spec.healthCheckNodePort: Required value"],
            ),
            (
                json!({"internalTrafficPolicy": "Near", "trafficDistribution": "Far"}),
                vec![
                    "spec.internalTrafficPolicy: Unsupported value: \"Near\": supported values: \
                     \"Cluster\", \"Local\"",
                    "spec.trafficDistribution: Unsupported value: \"Far\": supported values: \
                     \"PreferClose\", \"PreferSameZone\", \"PreferSameNode\"",
                ],
            ),
        ];
        for (change, expected) in cases {
            assert_eq!(problems::<Kind>(service(change.clone())), expected, "{change}");
        }
    }

    #[test]
    fn what_is_set_stays() {
        let cases = [
            (json!({}), json!({}), vec![]),
            (
                json!({"clusterIP": "10.96.0.8", "clusterIPs": ["10.96.0.8"]}),
                json!({}),
                vec!["spec.clusterIPs[0]: Invalid value: [\"10.96.0.8\"]: may not change once set"],
            ),
            (
                json!({"clusterIP": null, "clusterIPs": null}),
                json!({}),
                vec!["spec.clusterIPs[0]: Invalid value: []: primary clusterIP can not be unset"],
            ),
            (
                json!({"type": "LoadBalancer", "loadBalancerClass": "a"}),
                json!({"type": "LoadBalancer"}),
                vec!["spec.loadBalancerClass: Invalid value: \"a\": may not change once set"],
            ),
            (
                json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local",
                       "healthCheckNodePort": 30001}),
                json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local",
                       "healthCheckNodePort": 30002}),
                vec!["spec.healthCheckNodePort: Forbidden: field is immutable"],
            ),
        ];
        for (new, old, expected) in cases {
            let (new, old) = (service(new), service(old));
            assert_eq!(move_problems::<Kind>(new, old), expected);
        }
    }

    #[test]
    fn only_load_balancers_have_ingresses() {
        let status = json!({"loadBalancer": {"ingress": [{"ip": "1.2.3.4", "ipMode": "VIP"}]}});
        let object = |type_: &str| json!({"spec": {"type": type_}, "status": status});
        assert!(status_problems::<Kind>(object("LoadBalancer"), object("LoadBalancer")).is_empty());
        assert_eq!(
            status_problems::<Kind>(object("NodePort"), object("NodePort")),
            ["status.loadBalancer.ingress: Forbidden: may only be used when `spec.type` is \
              'LoadBalancer'"]
        );
    }
}
