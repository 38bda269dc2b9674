//! What should stand in a service's slices: endpoints, by address family and by the ports they have.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{ObjectReference, Pod, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort};

use crate::controllers::pods::{is_ready, node};
use crate::controllers::service_endpoints::{
    Port, addresses, has_place, hostname, protocol, publishes_not_ready, resolved_ports,
};

/// What all endpoints of a slice have in common: the address family and the ports (a named port may
/// stand for different numbers on different pods).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Group {
    pub(super) family: &'static str,
    /// Sorted.
    pub(super) ports: Vec<Port>,
}

impl Group {
    pub(super) fn endpoint_ports(&self) -> Vec<EndpointPort> {
        self.ports
            .iter()
            .map(|(name, protocol, number, app_protocol)| EndpointPort {
                name: Some(name.clone()),
                protocol: Some(protocol.clone()),
                port: Some(*number),
                app_protocol: app_protocol.clone(),
            })
            .collect()
    }

    /// The group of a slice that exists.
    pub(super) fn ports_of(ports: &[EndpointPort]) -> Vec<Port> {
        let mut ports: Vec<Port> = ports
            .iter()
            .map(|port| {
                (
                    port.name.clone().unwrap_or_default(),
                    protocol(port.protocol.as_deref()).to_owned(),
                    port.port.unwrap_or(0),
                    port.app_protocol.clone(),
                )
            })
            .collect();
        ports.sort();
        ports
    }
}

/// The address families of a service.
pub(super) fn families(service: &Service) -> Vec<&'static str> {
    let families = service.spec.as_ref().and_then(|spec| spec.ip_families.as_ref());
    let mut families: Vec<&'static str> = families
        .into_iter()
        .flatten()
        .map(|family| if family == "IPv6" { "IPv6" } else { "IPv4" })
        .collect();
    if families.is_empty() {
        families.push("IPv4");
    }
    families
}

/// The endpoints by group, in the order of the pods.
pub(super) fn endpoints(
    service: &Service,
    pods: &[impl AsRef<Pod>],
    zones: &BTreeMap<String, Option<String>>,
) -> BTreeMap<Group, Vec<Endpoint>> {
    let mut groups: BTreeMap<Group, Vec<Endpoint>> = BTreeMap::new();
    for family in families(service) {
        for pod in pods.iter().map(AsRef::as_ref).filter(|pod| has_place(pod, true)) {
            let Some(address) = addresses(pod).into_iter().find(|ip| is_of(family, ip)) else {
                continue;
            };
            let Some(ports) = resolved_ports(service, pod) else { continue };
            let group = Group { family, ports };
            groups.entry(group).or_default().push(endpoint(service, pod, address, zones));
        }
    }
    groups
}

fn is_of(family: &str, ip: &IpAddr) -> bool {
    ip.is_ipv6() == (family == "IPv6")
}

fn endpoint(
    service: &Service,
    pod: &Pod,
    address: IpAddr,
    zones: &BTreeMap<String, Option<String>>,
) -> Endpoint {
    let serving = is_ready(pod);
    let terminating = pod.metadata.deletion_timestamp.is_some();
    let ready = publishes_not_ready(service) || (serving && !terminating);
    let node = node(pod);
    Endpoint {
        addresses: vec![address.to_string()],
        conditions: Some(EndpointConditions {
            ready: Some(ready),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hostname: hostname(pod, service).map(str::to_owned),
        node_name: node.map(str::to_owned),
        zone: node.and_then(|node| zones.get(node)).cloned().flatten(),
        target_ref: Some(ObjectReference {
            kind: Some("Pod".to_owned()),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectReference::default()
        }),
        ..Endpoint::default()
    }
}
