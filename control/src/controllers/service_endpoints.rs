//! What Endpoints and EndpointSlices share: which pods stand behind a service, and on which ports.
//!
//! Source: upstream's `k8s.io/endpointslice`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Container, Pod, Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::pods::is_terminal;
use crate::engine::{Change, Key, Reader};

pub(super) const SERVICES: &str = "services";

/// Marks what stands behind a service without an address of its own.
pub(super) const HEADLESS: &str = "service.kubernetes.io/headless";

/// Why nothing is kept for a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unmanaged {
    ExternalName,
    NoSelector,
}

impl Unmanaged {
    pub(super) const fn why(self) -> &'static str {
        match self {
            Self::ExternalName => "an external name has no endpoints",
            Self::NoSelector => "no selector: its endpoints are somebody else's",
        }
    }
}

/// The selector of a service whose endpoints are ours to keep.
pub(super) fn selector(service: &Service) -> Result<&BTreeMap<String, String>, Unmanaged> {
    let spec = service.spec.as_ref();
    if spec.and_then(|spec| spec.type_.as_deref()) == Some("ExternalName") {
        return Err(Unmanaged::ExternalName);
    }
    spec.and_then(|spec| spec.selector.as_ref())
        .filter(|selector| !selector.is_empty())
        .ok_or(Unmanaged::NoSelector)
}

pub(super) fn publishes_not_ready(service: &Service) -> bool {
    let spec = service.spec.as_ref();
    spec.and_then(|spec| spec.publish_not_ready_addresses).unwrap_or(false)
}

pub(super) fn is_headless(service: &Service) -> bool {
    let ip = service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref());
    matches!(ip, None | Some("" | "None"))
}

fn ports(service: &Service) -> &[ServicePort] {
    let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_ref());
    ports.map_or(&[], Vec::as_slice)
}

/// Whether the pod may stand behind a service at all; `terminating` ones only where they are asked for.
pub(super) fn has_place(pod: &Pod, terminating: bool) -> bool {
    !is_terminal(pod)
        && !addresses(pod).is_empty()
        && (terminating || pod.metadata.deletion_timestamp.is_none())
}

/// The pod's addresses, the main one first.
pub(super) fn addresses(pod: &Pod) -> Vec<IpAddr> {
    let Some(status) = &pod.status else { return Vec::new() };
    let mut addresses: Vec<IpAddr> =
        status.pod_ips.iter().flatten().filter_map(|ip| ip.ip.parse().ok()).collect();
    if addresses.is_empty() {
        addresses.extend(status.pod_ip.as_deref().and_then(|ip| ip.parse::<IpAddr>().ok()));
    }
    addresses
}

/// The name that a headless service gives the pod.
pub(super) fn hostname<'a>(pod: &'a Pod, service: &Service) -> Option<&'a str> {
    let spec = pod.spec.as_ref()?;
    let same = spec.subdomain.as_deref() == service.metadata.name.as_deref()
        && pod.metadata.namespace == service.metadata.namespace;
    spec.hostname.as_deref().filter(|name| same && !name.is_empty())
}

/// The number behind a service's port on this pod: a named target is looked up in its containers.
fn target_port(pod: &Pod, port: &ServicePort) -> Option<i32> {
    match &port.target_port {
        None | Some(IntOrString::Int(0)) => Some(port.port),
        Some(IntOrString::Int(number)) => Some(*number),
        Some(IntOrString::String(name)) => {
            let spec = pod.spec.as_ref()?;
            let sidecars = spec
                .init_containers
                .iter()
                .flatten()
                .filter(|init| init.restart_policy.as_deref() == Some("Always"));
            let protocol = protocol(port.protocol.as_deref());
            spec.containers
                .iter()
                .chain(sidecars)
                .find_map(|container| named_port(container, name, protocol))
        }
    }
}

fn named_port(container: &Container, name: &str, wanted: &str) -> Option<i32> {
    container
        .ports
        .iter()
        .flatten()
        .find(|port| {
            port.name.as_deref() == Some(name) && protocol(port.protocol.as_deref()) == wanted
        })
        .map(|port| port.container_port)
}

/// A resolved port, in the order in which ports are compared: name, protocol, number, application
/// protocol.
pub(super) type Port = (String, String, i32, Option<String>);

/// The service's ports that resolve on this pod, sorted; `None` where the service has none at all
/// and is no headless one.
pub(super) fn resolved_ports(service: &Service, pod: &Pod) -> Option<Vec<Port>> {
    let wanted = ports(service);
    if wanted.is_empty() {
        return is_headless(service).then(Vec::new);
    }
    let mut found: Vec<Port> = wanted
        .iter()
        .filter_map(|port| {
            Some((
                port.name.clone().unwrap_or_default(),
                protocol(port.protocol.as_deref()).to_owned(),
                target_port(pod, port)?,
                port.app_protocol.clone(),
            ))
        })
        .collect();
    found.sort();
    Some(found)
}

pub(super) fn protocol(protocol: Option<&str>) -> &str {
    protocol.filter(|protocol| !protocol.is_empty()).unwrap_or("TCP")
}

/// The keys of the services that a pod's change concerns: those that select it now or did before.
pub(super) fn services_of_pod(reader: &Reader, change: &Change) -> Vec<Key> {
    let same = change.before.as_ref().is_some_and(|before| before.same_endpoint(&change.head));
    if same && !change.deleted {
        return Vec::new();
    }
    let namespace = change.object.namespace();
    let mut names = reader.services_selecting(namespace, &change.head.metadata.labels);
    let before = change.before.as_ref().map(|before| &before.metadata.labels);
    if let Some(labels) = before.filter(|labels| **labels != change.head.metadata.labels) {
        names.extend(reader.services_selecting(namespace, labels));
    }
    names.iter().map(|name| Key::new(SERVICES, namespace, name)).collect()
}

/// A service's own labels for its endpoints: those of the system are set by us alone.
pub(super) fn inherited_labels(service: &Service) -> BTreeMap<String, String> {
    service.metadata.labels.clone().unwrap_or_default()
}
