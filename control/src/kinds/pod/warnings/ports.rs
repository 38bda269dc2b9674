//! Ports of a pod's containers that get in one another's way.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ContainerPort, PodSpec};

use super::super::validation::{text, visit_containers};
use super::Warnings;

struct Seen {
    path: String,
    port: ContainerPort,
}

/// Adds a warning for each port without a host port that it needs, for each that is defined before
/// it, and for each whose name is taken.
pub fn warn(spec: &PodSpec, path: &str, warnings: &mut Warnings) {
    let mut seen = BTreeMap::<(i32, String), Vec<Seen>>::new();
    let mut named = BTreeMap::<String, String>::new();
    let mut of_names = Warnings::new();
    visit_containers(spec, path, |container, path| {
        for (index, port) in container.ports.iter().flatten().enumerate() {
            let path = format!("{path}.ports[{index}]");
            if !text(&port.host_ip).is_empty() && host_port(port) == 0 {
                warnings.push(format!("{path}: hostIP set without hostPort: {}", shown(port)));
            }
            let key = (port.container_port, text(&port.protocol).to_owned());
            let before = seen.entry(key).or_default();
            for other in &*before {
                if let Some(how) = conflict(port, &other.port) {
                    warnings.push(format!("{path}: {how} port definition with {}", other.path));
                }
            }
            before.push(Seen { path: path.clone(), port: port.clone() });
            let name = text(&port.name);
            match named.get(name) {
                _ if name.is_empty() => {}
                Some(first) => of_names.push(format!(
                    "{path}: duplicate port name {name:?} with {first}, services and probes that select ports by name will use {first}"
                )),
                None => _ = named.insert(name.to_owned(), path),
            }
        }
    });
    warnings.append(&mut of_names);
}

/// How two definitions of the same port and protocol clash, if they do.
fn conflict(port: &ContainerPort, other: &ContainerPort) -> Option<&'static str> {
    let (ip, other_ip) = (text(&port.host_ip), text(&other.host_ip));
    if ip == other_ip && host_port(port) == host_port(other) {
        Some("duplicate")
    } else if host_port(port) == 0 || host_port(other) == 0 {
        Some("overlapping")
    } else if host_port(port) == host_port(other) && ip.is_empty() != other_ip.is_empty() {
        Some("dangerously ambiguous")
    } else {
        None
    }
}

fn host_port(port: &ContainerPort) -> i32 {
    port.host_port.unwrap_or_default()
}

/// As Go prints the structure.
fn shown(port: &ContainerPort) -> String {
    format!(
        "{{Name:{} HostPort:{} ContainerPort:{} Protocol:{} HostIP:{}}}",
        text(&port.name),
        host_port(port),
        port.container_port,
        text(&port.protocol),
        text(&port.host_ip)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn warnings(ports: &[Value]) -> Warnings {
        let containers: Vec<Value> =
            ports.iter().map(|port| json!({ "name": "c", "ports": [port] })).collect();
        let spec = serde_json::from_value(json!({ "containers": containers })).expect("a spec");
        let mut warnings = Warnings::new();
        warn(&spec, "spec", &mut warnings);
        warnings
    }

    #[test]
    fn ports_that_clash_are_told_of() {
        let port = |more: Value| {
            let mut port = json!({ "containerPort": 80, "protocol": "TCP" });
            port.as_object_mut().expect("an object").extend(more.as_object().expect("too").clone());
            port
        };
        let cases = [
            (vec![port(json!({})), port(json!({ "protocol": "UDP" }))], vec![]),
            (
                vec![port(json!({ "name": "a", "hostIP": "1.2.3.4" }))],
                vec![
                    "spec.containers[0].ports[0]: hostIP set without hostPort: {Name:a HostPort:0 ContainerPort:80 Protocol:TCP HostIP:1.2.3.4}",
                ],
            ),
            (
                vec![port(json!({})), port(json!({}))],
                vec![
                    "spec.containers[1].ports[0]: duplicate port definition with spec.containers[0].ports[0]",
                ],
            ),
            (
                vec![port(json!({})), port(json!({ "hostPort": 80 }))],
                vec![
                    "spec.containers[1].ports[0]: overlapping port definition with spec.containers[0].ports[0]",
                ],
            ),
            (
                vec![
                    port(json!({ "hostPort": 80 })),
                    port(json!({ "hostPort": 80, "hostIP": "1.2.3.4" })),
                ],
                vec![
                    "spec.containers[1].ports[0]: dangerously ambiguous port definition with spec.containers[0].ports[0]",
                ],
            ),
            (
                vec![
                    port(json!({ "name": "a" })),
                    port(json!({ "name": "a", "containerPort": 81 })),
                ],
                vec![
                    "spec.containers[1].ports[0]: duplicate port name \"a\" with spec.containers[0].ports[0], services and probes that select ports by name will use spec.containers[0].ports[0]",
                ],
            ),
        ];
        for (ports, expected) in cases {
            assert_eq!(warnings(&ports), expected, "{ports:?}");
        }
    }
}
