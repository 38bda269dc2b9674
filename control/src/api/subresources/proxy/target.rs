//! To whom a proxied request goes: an address of a pod, found by the pod's or its Service's name.
//!
//! Source: `pkg/registry/core/pod/strategy.go` (ResourceLocation),
//! `pkg/registry/core/service/storage/storage.go`.

use std::net::{IpAddr, SocketAddr};

use k8s_openapi::api::core::v1::{EndpointSubset, Endpoints, Pod, Service};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::status::ApiError;

use super::super::super::call::Call;
use super::super::super::{get, write};
use super::super::log::node_object;

/// Where a request goes.
pub struct Target {
    /// The node that the pod runs on.
    pub node: Value,
    pub address: SocketAddr,
    pub is_https: bool,
}

/// `name`, `name:port` or `scheme:name:port`.
#[derive(Debug, PartialEq)]
struct Asked<'a> {
    scheme: &'a str,
    name: &'a str,
    port: &'a str,
}

impl<'a> Asked<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (scheme, name, port) = match text.split(':').collect::<Vec<_>>()[..] {
            [name] => ("", name, ""),
            [name, port] => ("", name, port),
            [scheme, name, port] => (scheme, name, port),
            _ => return None,
        };
        let is_valid = !name.is_empty() && matches!(scheme, "" | "http" | "https");
        is_valid.then_some(Self { scheme, name, port })
    }

    fn is_https(&self) -> bool {
        self.scheme == "https"
    }

    /// The port where none is asked for or known.
    fn default_port(&self) -> u16 {
        if self.is_https() { 443 } else { 80 }
    }
}

pub async fn pod(call: &Call) -> Result<Target, ApiError> {
    let text = &call.address.name;
    let asked = Asked::parse(text)
        .ok_or_else(|| ApiError::bad_request(format!("invalid pod request {text:?}")))?;
    let object = get::read(&call.at(&call.address.namespace, asked.name)).await?;
    let pod: Pod = decode(object.value())?;
    let ip = ip_of(&pod).filter(|ip| is_global_unicast(*ip));
    let ip = ip.ok_or_else(|| ApiError::bad_request("address not allowed"))?;
    let port = port_of(&asked, &pod)?;
    let node = node_of(call, &pod).await?;
    Ok(Target { node, address: SocketAddr::new(ip, port), is_https: asked.is_https() })
}

fn decode<T: DeserializeOwned>(value: &Value) -> Result<T, ApiError> {
    T::deserialize(value).map_err(ApiError::internal)
}

fn ip_of(pod: &Pod) -> Option<IpAddr> {
    let ips = pod.status.as_ref()?.pod_ips.as_ref()?;
    ips.first()?.ip.parse().ok()
}

/// As Go's IsGlobalUnicast: private addresses belong to it.
fn is_global_unicast(ip: IpAddr) -> bool {
    let is_link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    !(ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || is_link_local)
}

/// The port that is asked for, else the first that the pod declares.
fn port_of(asked: &Asked<'_>, pod: &Pod) -> Result<u16, ApiError> {
    if !asked.port.is_empty() {
        let reach =
            |why: &str| ApiError::unavailable(format!("error trying to reach service: {why}"));
        return asked
            .port
            .parse()
            .map_err(|_| reach(&format!("dial tcp: unknown port tcp/{}", asked.port)));
    }
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let declared = containers.flat_map(|container| container.ports.iter().flatten()).next();
    let declared = declared.and_then(|port| u16::try_from(port.container_port).ok());
    Ok(declared.unwrap_or_else(|| asked.default_port()))
}

async fn node_of(call: &Call, pod: &Pod) -> Result<Value, ApiError> {
    let name = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default();
    node_object(call, name).await
}

pub async fn service(call: &Call) -> Result<Target, ApiError> {
    let text = &call.address.name;
    let asked = Asked::parse(text)
        .ok_or_else(|| ApiError::bad_request(format!("invalid service request {text:?}")))?;
    let port = match asked.port.parse::<i64>() {
        Ok(number) => {
            let object = get::read(&call.at(&call.address.namespace, asked.name)).await?;
            let service: Service = decode(object.value())?;
            name_of_port(&service, number).ok_or_else(|| {
                let name = asked.name;
                ApiError::unavailable(format!(
                    "no service port {number} found for service {name:?}"
                ))
            })?
        }
        Err(_) => asked.port.to_owned(),
    };
    // Whoever has no endpoints is no Service to a proxy.
    let endpoints = other(call, "endpoints", asked.name).await.map_err(|error| match error.code {
        404 => ApiError::not_found(call.about(asked.name)),
        _ => error,
    });
    let endpoints: Endpoints = decode(&endpoints?)?;
    let none =
        |name: &str| ApiError::unavailable(format!("no endpoints available for service {name:?}"));
    let subsets = endpoints.subsets.unwrap_or_default();
    if subsets.is_empty() {
        return Err(none(asked.name));
    }
    for (address, pod) in candidates(&subsets, &port, call.api.ambient().u64()) {
        // Only to what is a pod: nobody can send the API server to an address of their choice.
        let Ok(pod) = other(call, "pods", &pod).await else { continue };
        let pod: Pod = decode(&pod)?;
        if has_address(&pod, address.ip()) {
            let node = node_of(call, &pod).await?;
            return Ok(Target { node, address, is_https: asked.is_https() });
        }
    }
    Err(none(text))
}

fn name_of_port(service: &Service, number: i64) -> Option<String> {
    let mut ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    let port = ports.find(|port| i64::from(port.port) == number)?;
    Some(port.name.clone().unwrap_or_default())
}

/// An object of another core kind in the same namespace.
async fn other(call: &Call, resource: &str, name: &str) -> Result<Value, ApiError> {
    let kind = call.api.kinds.at("", "v1", resource).ok_or_else(ApiError::page_not_found)?;
    let mut other = call.at(&call.address.namespace, name);
    other.kind = kind.clone();
    let cached = write::newest(&other, name).await?;
    cached.decode().map_err(ApiError::internal)
}

/// The ready addresses behind a port, each with the name of its pod, from a random one on.
fn candidates(subsets: &[EndpointSubset], port: &str, random: u64) -> Vec<(SocketAddr, String)> {
    let mut found: Vec<(SocketAddr, String)> = Vec::new();
    for subset in subsets {
        let mut ports = subset.ports.iter().flatten();
        let known = ports.find(|known| known.name.as_deref().unwrap_or_default() == port);
        let Some(number) = known.and_then(|known| u16::try_from(known.port).ok()) else { continue };
        found.extend(subset.addresses.iter().flatten().filter_map(|address| {
            let pod = address.target_ref.as_ref()?.name.clone()?;
            Some((SocketAddr::new(address.ip.parse().ok()?, number), pod))
        }));
    }
    if !found.is_empty() {
        let first = usize::try_from(random % found.len() as u64).unwrap_or(0);
        found.rotate_left(first);
    }
    found
}

fn has_address(pod: &Pod, ip: IpAddr) -> bool {
    let ips = pod.status.iter().flat_map(|status| status.pod_ips.iter().flatten());
    ips.filter_map(|known| known.ip.parse::<IpAddr>().ok()).any(|known| known == ip)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_may_come_with_a_scheme_and_a_port() {
        let asked = |scheme, name, port| Some(Asked { scheme, name, port });
        let cases = [
            ("web", asked("", "web", "")),
            ("web:http", asked("", "web", "http")),
            ("https:web:443", asked("https", "web", "443")),
            ("https:web:", asked("https", "web", "")),
            ("ftp:web:21", None),
            (":80", None),
            ("a:b:c:d", None),
        ];
        for (text, expected) in cases {
            assert_eq!(Asked::parse(text), expected, "{text}");
        }
    }

    #[test]
    fn a_pods_first_declared_port_is_the_default() {
        let pod: Pod = serde_json::from_value(json!({"spec": {"containers": [
            {"name": "a"}, {"name": "b", "ports": [{"containerPort": 8080}]},
        ]}}))
        .unwrap();
        let port = |text, pod: &Pod| port_of(&Asked::parse(text).unwrap(), pod);
        assert_eq!(port("p", &pod), Ok(8080));
        assert_eq!(port("p:81", &pod), Ok(81));
        assert_eq!(port("https:p:", &Pod::default()), Ok(443));
        assert_eq!(
            port("p:web", &pod).unwrap_err().message,
            "error trying to reach service: dial tcp: unknown port tcp/web"
        );
    }

    #[test]
    fn addresses_of_the_machine_are_not_allowed() {
        let cases = [
            ("10.0.0.1", true),
            ("fd00::1", true),
            ("127.0.0.1", false),
            ("169.254.169.254", false),
            ("0.0.0.0", false),
            ("224.0.0.1", false),
            ("fe80::1", false),
        ];
        for (ip, allowed) in cases {
            assert_eq!(is_global_unicast(ip.parse().unwrap()), allowed, "{ip}");
        }
    }

    #[test]
    fn only_pods_behind_the_named_port_are_candidates() {
        let subsets: Vec<EndpointSubset> = serde_json::from_value(json!([
            {"addresses": [{"ip": "10.0.0.1", "targetRef": {"name": "a"}}, {"ip": "10.0.0.9"}],
             "notReadyAddresses": [{"ip": "10.0.0.2", "targetRef": {"name": "b"}}],
             "ports": [{"name": "http", "port": 8080}, {"name": "admin", "port": 9090}]},
            {"addresses": [{"ip": "10.0.0.3", "targetRef": {"name": "c"}}],
             "ports": [{"name": "http", "port": 8081}]},
        ]))
        .unwrap();
        let names = |port, random| -> Vec<String> {
            let found = candidates(&subsets, port, random).into_iter();
            found.map(|(address, pod)| format!("{pod} {address}")).collect()
        };
        assert_eq!(names("http", 0), ["a 10.0.0.1:8080", "c 10.0.0.3:8081"]);
        assert_eq!(names("http", 3), ["c 10.0.0.3:8081", "a 10.0.0.1:8080"]);
        assert_eq!(names("admin", 0), ["a 10.0.0.1:9090"]);
        assert_eq!(names("", 0), [""; 0]);
    }
}
