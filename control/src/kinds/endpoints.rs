//! Endpoints. Source: `pkg/registry/core/endpoint/strategy.go`.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    EndpointAddress, EndpointPort, EndpointSubset, Endpoints as Object,
};
use serde_json::Value;

use super::formats::{endpoint_ip, ip};
use super::meta::invalid_each;
use super::service::PROTOCOLS;
use super::{Column, FieldError, Kind, KindInfo, meta, names, warn};

/// How many addresses a cell names.
const SHOWN: usize = 3;

pub struct Endpoints;

impl Kind for Endpoints {
    type Object = Object;
    const INFO: KindInfo = KindInfo {
        short_names: &["ep"],
        create_on_update: true,
        deprecation: Some(
            "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
        ),
        ..KindInfo::namespaced(
            "",
            "v1",
            "Endpoints",
            "endpoints",
            "endpoints",
            "io.k8s.api.core.v1.Endpoints",
        )
    };

    fn default(object: &mut Object) {
        let subsets = object.subsets.iter_mut().flatten();
        for port in subsets.flat_map(|subset| subset.ports.iter_mut().flatten()) {
            if port.protocol.as_deref().unwrap_or_default().is_empty() {
                port.protocol = Some("TCP".to_owned());
            }
        }
    }

    fn validate(object: &Object) -> Vec<FieldError> {
        object
            .subsets
            .iter()
            .flatten()
            .enumerate()
            .flat_map(|(index, subset)| validate_subset(subset, &format!("subsets[{index}]")))
            .collect()
    }

    /// The controller's own are canonical.
    fn warnings(new: &Object, _old: Option<&Object>) -> Vec<String> {
        const MANAGER: &str = "endpoints.kubernetes.io/managed-by";
        let labels = new.metadata.labels.as_ref();
        if labels
            .and_then(|labels| labels.get(MANAGER))
            .is_some_and(|by| by == "endpoint-controller")
        {
            return Vec::new();
        }
        let mut warnings = Vec::new();
        for (index, subset) in new.subsets.iter().flatten().enumerate() {
            for (field, addresses) in [
                ("addresses", &subset.addresses),
                ("notReadyAddresses", &subset.not_ready_addresses),
            ] {
                for (at, address) in addresses.iter().flatten().enumerate() {
                    let path = format!("subsets[{index}].{field}[{at}].ip");
                    warnings.extend(warn::ip(&address.ip, &path));
                }
            }
        }
        warnings
    }

    fn columns() -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::NAME,
            Column::new("Endpoints", "string", 0, "The ready addresses, with their ports."),
            Column::AGE,
        ];
        COLUMNS
    }

    fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
        vec![
            meta::object_name(&object.metadata),
            addresses(object.subsets.as_deref().unwrap_or_default()).into(),
            meta::object_age(&object.metadata, now),
        ]
    }
}

fn validate_subset(subset: &EndpointSubset, path: &str) -> Vec<FieldError> {
    let ready = subset.addresses.as_deref().unwrap_or_default();
    let not_ready = subset.not_ready_addresses.as_deref().unwrap_or_default();
    let ports = subset.ports.as_deref().unwrap_or_default();
    let mut errors = Vec::new();
    if ready.is_empty() && not_ready.is_empty() {
        let why = "must specify `addresses` or `notReadyAddresses`";
        errors.push(FieldError::required(path, why));
    }
    for (index, address) in ready.iter().enumerate() {
        errors.extend(validate_address(address, &format!("{path}.addresses[{index}]")));
    }
    for (index, address) in not_ready.iter().enumerate() {
        errors.extend(validate_address(address, &format!("{path}.notReadyAddresses[{index}]")));
    }
    for (index, port) in ports.iter().enumerate() {
        errors.extend(validate_port(port, ports.len() > 1, &format!("{path}.ports[{index}]")));
    }
    errors
}

fn validate_address(address: &EndpointAddress, path: &str) -> Vec<FieldError> {
    let ip_path = format!("{path}.ip");
    let mut errors = ip(&address.ip, &ip_path);
    if let Some(hostname) = address.hostname.as_deref().filter(|name| !name.is_empty()) {
        errors.extend(invalid_each(&format!("{path}.hostname"), hostname, names::label(hostname)));
    }
    if let Some(node) = &address.node_name {
        errors.extend(invalid_each(&format!("{path}.nodeName"), node, names::subdomain(node)));
    }
    errors.extend(endpoint_ip(&address.ip, &ip_path));
    errors
}

fn validate_port(port: &EndpointPort, needs_name: bool, path: &str) -> Vec<FieldError> {
    let name_path = format!("{path}.name");
    let mut errors = match port.name.as_deref().unwrap_or_default() {
        "" if needs_name => vec![FieldError::required(name_path, "")],
        "" => Vec::new(),
        name => invalid_each(&name_path, name, names::label(name)),
    };
    for why in names::port_number(port.port.into()) {
        errors.push(FieldError::invalid(format!("{path}.port"), port.port, why));
    }
    let protocol_path = format!("{path}.protocol");
    match port.protocol.as_deref().unwrap_or_default() {
        "" => errors.push(FieldError::required(protocol_path, "")),
        protocol if PROTOCOLS.contains(&protocol) => {}
        protocol => errors.push(FieldError::not_supported(protocol_path, protocol, PROTOCOLS)),
    }
    if let Some(protocol) = &port.app_protocol {
        errors.extend(invalid_each(
            &format!("{path}.appProtocol"),
            protocol,
            names::label_key(protocol),
        ));
    }
    errors
}

/// The first addresses, and how many more there are.
fn addresses(subsets: &[EndpointSubset]) -> String {
    if subsets.is_empty() {
        return "<none>".to_owned();
    }
    let all: Vec<String> = subsets.iter().flat_map(subset_addresses).collect();
    let shown = all[..all.len().min(SHOWN)].join(",");
    match all.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} + {more} more..."),
    }
}

/// Each port of each address; the addresses alone where there are no ports.
fn subset_addresses(subset: &EndpointSubset) -> Vec<String> {
    let addresses = subset.addresses.as_deref().unwrap_or_default();
    match subset.ports.as_deref().unwrap_or_default() {
        [] => addresses.iter().map(|address| address.ip.clone()).collect(),
        ports => ports
            .iter()
            .flat_map(|port| addresses.iter().map(|address| host_port(&address.ip, port.port)))
            .collect(),
    }
}

fn host_port(host: &str, port: i32) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::{defaulted, problems, row};
    use serde_json::json;

    #[test]
    fn ports_speak_tcp_by_default() {
        let object = defaulted::<Endpoints>(json!({"subsets": [{"ports": [{"port": 1}]}]}));
        assert_eq!(object["subsets"][0]["ports"][0]["protocol"], "TCP");
    }

    #[test]
    fn every_problem_is_named() {
        let object = json!({"subsets": [
            {},
            {
                "addresses": [{"ip": "127.0.0.1", "hostname": "A"}],
                "notReadyAddresses": [{"ip": "x"}],
                "ports": [
                    {"port": 0, "protocol": "TCP"},
                    {"name": "a", "port": 1, "protocol": "HTTP"},
                ],
            },
        ]});
        let label = "a lowercase RFC 1123 label must consist of lower case alphanumeric \
            characters or '-', and must start and end with an alphanumeric character (e.g. \
            'my-name',  or '123-abc', regex used for validation is \
            '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
        assert_eq!(
            problems::<Endpoints>(object),
            [
                "subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`"
                    .to_owned(),
                format!("subsets[1].addresses[0].hostname: Invalid value: \"A\": {label}"),
                "subsets[1].addresses[0].ip: Invalid value: \"127.0.0.1\": may not be in the \
                 loopback range (127.0.0.0/8, ::1/128)"
                    .to_owned(),
                "subsets[1].notReadyAddresses[0].ip: Invalid value: \"x\": must be a valid IP \
                 address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
                    .to_owned(),
                "subsets[1].notReadyAddresses[0].ip: Invalid value: \"x\": must be a valid IP \
                 address"
                    .to_owned(),
                "subsets[1].ports[0].name: Required value".to_owned(),
                "subsets[1].ports[0].port: Invalid value: 0: must be between 1 and 65535, \
                 inclusive"
                    .to_owned(),
                "subsets[1].ports[1].protocol: Unsupported value: \"HTTP\": supported values: \
                 \"SCTP\", \"TCP\", \"UDP\""
                    .to_owned(),
            ]
        );
    }

    #[test]
    fn the_row_shows_three_addresses_and_a_count() {
        let row = |subsets: Value| {
            row::<Endpoints>(json!({"subsets": subsets}))[1].as_str().unwrap().to_owned()
        };
        let ips: Vec<Value> = (1..=6).map(|n| json!({"ip": format!("10.0.0.{n}")})).collect();
        assert_eq!(row(json!([])), "<none>");
        assert_eq!(row(json!([{"notReadyAddresses": ips}])), "");
        assert_eq!(
            row(json!([{"addresses": ips, "ports": [{"port": 80}]}])),
            "10.0.0.1:80,10.0.0.2:80,10.0.0.3:80 + 3 more..."
        );
        assert_eq!(
            row(json!([{"addresses": [{"ip": "fd00::1"}], "ports": [{"port": 80}]}])),
            "[fd00::1]:80"
        );
        assert_eq!(row(json!([{"addresses": [{"ip": "10.0.0.1"}]}])), "10.0.0.1");
    }
}
