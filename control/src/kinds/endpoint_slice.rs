//! EndpointSlices. Source: `pkg/registry/discovery/endpointslice/strategy.go`.

use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::api::discovery::v1::{
    Endpoint, EndpointHints, EndpointPort, EndpointSlice as Object,
};
use serde_json::Value;

use super::config_map::differ;
use super::formats::{canonical_ip, endpoint_ip, fully_qualified_domain, ip};
use super::meta::{IMMUTABLE, invalid_each};
use super::service::PROTOCOLS;
use super::{Column, Context, FieldError, Generation, Kind, KindInfo, meta, names, warn};

const ADDRESS_TYPES: &[&str] = &["FQDN", "IPv4", "IPv6"];
const ADDRESSES_MAX: usize = 100;
const PORTS_MAX: usize = 20000;
const ENDPOINTS_MAX: usize = 1000;
const HINTS_MAX: usize = 8;

/// How many ports or addresses a cell names.
const SHOWN: usize = 3;

pub struct EndpointSlices;

impl Kind for EndpointSlices {
    type Object = Object;
    const INFO: KindInfo = KindInfo {
        generation: Generation::Raised,
        ..KindInfo::namespaced(
            "discovery.k8s.io",
            "v1",
            "EndpointSlice",
            "endpointslices",
            "endpointslice",
            "io.k8s.api.discovery.v1.EndpointSlice",
        )
    };

    fn default(object: &mut Object) {
        for port in object.ports.iter_mut().flatten() {
            port.name.get_or_insert_default();
            port.protocol.get_or_insert_with(|| "TCP".to_owned());
        }
    }

    fn prepare_create(object: &mut Object, _context: &Context<'_>) {
        drop_topology(object);
    }

    /// Upstream raises the generation for a change of the labels too. (The handler raises it for a
    /// change of the rest.)
    fn prepare_update(new: &mut Object, old: &Object, _context: &Context<'_>) {
        drop_topology(new);
        let same = new.endpoints == old.endpoints && new.ports == old.ports;
        if same && differ(&new.metadata.labels, &old.metadata.labels) {
            new.metadata.generation = Some(old.metadata.generation.unwrap_or(0) + 1);
        }
    }

    fn validate(object: &Object) -> Vec<FieldError> {
        let mut errors = match object.address_type.as_str() {
            "" => vec![FieldError::required("addressType", "")],
            known if ADDRESS_TYPES.contains(&known) => Vec::new(),
            other => vec![FieldError::not_supported("addressType", other, ADDRESS_TYPES)],
        };
        errors.extend(validate_ports(object.ports.as_deref().unwrap_or_default()));
        let endpoints = object.endpoints.as_deref().unwrap_or_default();
        if endpoints.len() > ENDPOINTS_MAX {
            errors.push(FieldError::too_many("endpoints", endpoints.len(), ENDPOINTS_MAX));
            return errors;
        }
        for (index, endpoint) in endpoints.iter().enumerate() {
            let path = format!("endpoints[{index}]");
            errors.extend(validate_endpoint(endpoint, &object.address_type, &path));
        }
        errors
    }

    fn validate_update(new: &Object, old: &Object) -> Vec<FieldError> {
        if new.address_type == old.address_type {
            return Vec::new();
        }
        vec![FieldError::invalid("addressType", new.address_type.as_str(), IMMUTABLE)]
    }

    /// The controllers' own are canonical.
    fn warnings(new: &Object, old: Option<&Object>) -> Vec<String> {
        const MANAGER: &str = "endpointslice.kubernetes.io/managed-by";
        let mut warnings = Vec::new();
        if old.is_none() && new.address_type == "FQDN" {
            warnings.push("spec.addressType: FQDN endpoints are deprecated".to_owned());
        }
        let labels = new.metadata.labels.as_ref();
        let manager = labels.and_then(|labels| labels.get(MANAGER)).map(String::as_str);
        if matches!(
            manager,
            Some("endpointslice-controller.k8s.io" | "endpointslicemirroring-controller.k8s.io")
        ) {
            return warnings;
        }
        for (index, endpoint) in new.endpoints.iter().flatten().enumerate() {
            for (at, address) in endpoint.addresses.iter().enumerate() {
                let path = format!("endpoints[{index}].addresses[{at}]");
                warnings.extend(warn::ip(address, &path));
            }
        }
        warnings
    }

    fn columns() -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::NAME,
            Column::new("AddressType", "string", 0, "What the addresses are."),
            Column::new("Ports", "string", 0, "The ports of every endpoint in this slice."),
            Column::new("Endpoints", "string", 0, "The addresses of the endpoints."),
            Column::AGE,
        ];
        COLUMNS
    }

    fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
        let ports = object.ports.iter().flatten().map(|port| match (port.port, &port.name) {
            (Some(number), _) => number.to_string(),
            (None, Some(name)) => name.clone(),
            (None, None) => "*".to_owned(),
        });
        let endpoints = object.endpoints.iter().flatten();
        let addresses = endpoints.flat_map(|endpoint| endpoint.addresses.iter().cloned());
        vec![
            meta::object_name(&object.metadata),
            object.address_type.as_str().into(),
            first_few(ports.collect()).into(),
            first_few(addresses.collect()).into(),
            meta::object_age(&object.metadata, now),
        ]
    }
}

/// The field of the beta API that v1 shows but never takes.
fn drop_topology(object: &mut Object) {
    for endpoint in object.endpoints.iter_mut().flatten() {
        endpoint.deprecated_topology = None;
    }
}

fn validate_ports(ports: &[EndpointPort]) -> Vec<FieldError> {
    if ports.len() > PORTS_MAX {
        return vec![FieldError::too_many("ports", ports.len(), PORTS_MAX)];
    }
    let mut errors = Vec::new();
    let mut names = std::collections::BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        let path = format!("ports[{index}]");
        let name = port.name.as_deref().unwrap_or_default();
        if !name.is_empty() {
            errors.extend(invalid_each(&format!("{path}.name"), name, names::label(name)));
        }
        if !names.insert(name) {
            errors.push(FieldError::duplicate(format!("{path}.name"), name));
        }
        let protocol_path = format!("{path}.protocol");
        match port.protocol.as_deref() {
            None => errors.push(FieldError::required(protocol_path, "")),
            Some(known) if PROTOCOLS.contains(&known) => {}
            Some(other) => errors.push(FieldError::not_supported(protocol_path, other, PROTOCOLS)),
        }
        if let Some(protocol) = &port.app_protocol {
            let path = format!("{path}.appProtocol");
            errors.extend(invalid_each(&path, protocol, names::label_key(protocol)));
        }
    }
    errors
}

fn validate_endpoint(endpoint: &Endpoint, address_type: &str, path: &str) -> Vec<FieldError> {
    let addresses_path = format!("{path}.addresses");
    let mut errors = match endpoint.addresses.len() {
        0 => vec![FieldError::required(&addresses_path, "must contain at least 1 address")],
        ADDRESSES_MAX.. if endpoint.addresses.len() > ADDRESSES_MAX => {
            let actual = endpoint.addresses.len();
            vec![FieldError::too_many(&addresses_path, actual, ADDRESSES_MAX)]
        }
        _ => Vec::new(),
    };
    for (index, address) in endpoint.addresses.iter().enumerate() {
        errors.extend(validate_address(address, address_type, &addresses_path, index));
    }
    if let Some(node) = &endpoint.node_name {
        errors.extend(invalid_each(&format!("{path}.nodeName"), node, names::subdomain(node)));
    }
    if let Some(hostname) = &endpoint.hostname {
        errors.extend(invalid_each(&format!("{path}.hostname"), hostname, names::label(hostname)));
    }
    if let Some(hints) = &endpoint.hints {
        errors.extend(validate_hints(hints, &format!("{path}.hints")));
    }
    errors
}

/// An address of an unknown type is not looked at: the type itself was refused.
fn validate_address(
    address: &str,
    address_type: &str,
    list_path: &str,
    index: usize,
) -> Vec<FieldError> {
    let path = format!("{list_path}[{index}]");
    let (malformed, is_of_family, family): (_, fn(&IpAddr) -> bool, _) = match address_type {
        "IPv4" => (ip(address, &path), IpAddr::is_ipv4, "must be an IPv4 address"),
        "IPv6" => (canonical_ip(address, &path), IpAddr::is_ipv6, "must be an IPv6 address"),
        "FQDN" => return fully_qualified_domain(address, &path),
        _ => return Vec::new(),
    };
    if !malformed.is_empty() {
        return malformed;
    }
    let mut errors = Vec::new();
    if !address.parse().is_ok_and(|address| is_of_family(&address)) {
        // Upstream points at the list here.
        errors.push(FieldError::invalid(list_path, address, family));
    }
    errors.extend(endpoint_ip(address, &path));
    errors
}

fn validate_hints(hints: &EndpointHints, path: &str) -> Vec<FieldError> {
    let zones: Vec<&str> = hints.for_zones.iter().flatten().map(|zone| &*zone.name).collect();
    let nodes: Vec<&str> = hints.for_nodes.iter().flatten().map(|node| &*node.name).collect();
    let zones_path = format!("{path}.forZones");
    if zones.len() > HINTS_MAX {
        return vec![FieldError::too_many(zones_path, zones.len(), HINTS_MAX)];
    }
    let mut errors = validate_hint_names(&zones, &zones_path, names::label_value);
    let nodes_path = format!("{path}.forNodes");
    if nodes.len() > HINTS_MAX {
        errors.push(FieldError::too_many(nodes_path, nodes.len(), HINTS_MAX));
        return errors;
    }
    errors.extend(validate_hint_names(&nodes, &nodes_path, names::subdomain));
    errors
}

fn validate_hint_names(
    hinted: &[&str],
    path: &str,
    complaints: fn(&str) -> Vec<String>,
) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (index, name) in hinted.iter().enumerate() {
        let path = format!("{path}[{index}].name");
        if hinted[..index].contains(name) {
            errors.push(FieldError::duplicate(&path, *name));
        }
        errors.extend(invalid_each(&path, name, complaints(name)));
    }
    errors
}

fn first_few(all: Vec<String>) -> String {
    let shown = all[..all.len().min(SHOWN)].join(",");
    match all.len().saturating_sub(SHOWN) {
        0 if shown.is_empty() => "<unset>".to_owned(),
        0 => shown,
        more => format!("{shown} + {more} more..."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::{defaulted, move_problems, problems, row};
    use serde_json::json;

    #[test]
    fn ports_get_an_empty_name_and_tcp() {
        let object = defaulted::<EndpointSlices>(json!({"ports": [{"port": 80}]}));
        assert_eq!(object["ports"], json!([{"name": "", "port": 80, "protocol": "TCP"}]));
    }

    #[test]
    fn every_problem_is_named() {
        let object = json!({
            "addressType": "IPv4",
            "ports": [
                {"name": "a", "protocol": "TCP"},
                {"name": "a", "protocol": "X"},
            ],
            "endpoints": [
                {"addresses": []},
                {"addresses": ["fd00::1", "127.0.0.1"]},
                {"addresses": ["10.0.0.1"], "hints": {"forZones": [{"name": "z"}, {"name": "z"}]}},
            ],
        });
        assert_eq!(
            problems::<EndpointSlices>(object),
            [
                "ports[1].name: Duplicate value: \"a\"",
                "ports[1].protocol: Unsupported value: \"X\": supported values: \"SCTP\", \
                 \"TCP\", \"UDP\"",
                "endpoints[0].addresses: Required value: must contain at least 1 address",
                "endpoints[1].addresses: Invalid value: \"fd00::1\": must be an IPv4 address",
                "endpoints[1].addresses[1]: Invalid value: \"127.0.0.1\": may not be in the \
                 loopback range (127.0.0.0/8, ::1/128)",
                "endpoints[2].hints.forZones[1].name: Duplicate value: \"z\"",
            ]
        );
    }

    #[test]
    fn the_address_type_is_known_and_never_changes() {
        assert_eq!(problems::<EndpointSlices>(json!({})), ["addressType: Required value"]);
        assert_eq!(
            problems::<EndpointSlices>(json!({"addressType": "IP"})),
            ["addressType: Unsupported value: \"IP\": supported values: \"FQDN\", \"IPv4\", \
              \"IPv6\""]
        );
        assert_eq!(
            move_problems::<EndpointSlices>(
                json!({"addressType": "IPv6"}),
                json!({"addressType": "IPv4"})
            ),
            ["addressType: Invalid value: \"IPv6\": field is immutable"]
        );
    }

    #[test]
    fn the_row_shows_three_and_a_count() {
        let object = json!({
            "metadata": {"name": "s"},
            "addressType": "IPv4",
            "ports": [{"port": 80}, {"name": "any"}],
            "endpoints": [
                {"addresses": ["10.0.0.1", "10.0.0.2"]},
                {"addresses": ["10.0.0.3", "10.0.0.4"]},
            ],
        });
        assert_eq!(
            row::<EndpointSlices>(object)[..4],
            [
                json!("s"),
                json!("IPv4"),
                json!("80,any"),
                json!("10.0.0.1,10.0.0.2,10.0.0.3 + 1 more...")
            ]
        );
        assert_eq!(row::<EndpointSlices>(json!({}))[2..4], [json!("<unset>"), json!("<unset>")]);
    }
}
