//! Services. Source: `pkg/registry/core/service/strategy.go`.
//!
//! Cluster IPs and node ports are allocated by admission (`admission::cluster_ip`), before
//! validation: a Service that is validated here has them.

mod changes;
mod needs;
mod status;
mod validate;
mod warnings;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ClientIPConfig, LoadBalancerStatus, Service as Object, ServicePort, ServiceSpec, ServiceStatus,
    SessionAffinityConfig,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

use super::{Column, Context, FieldError, Kind, KindInfo, NameRule, Subresource, meta};

pub(crate) use needs::{
    CLUSTER_IP, EXTERNAL_NAME, LOAD_BALANCER, NODE_PORT, Needs, cluster_ips, ip_families,
};
pub(crate) use validate::validate_cluster_ips;

/// The protocols that a port may speak.
pub const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];

/// How long a client stays with its endpoint, unless told otherwise.
const AFFINITY_SECONDS: i32 = 10800;

pub struct Services;

impl Kind for Services {
    type Object = Object;
    const INFO: KindInfo = KindInfo {
        short_names: &["svc"],
        categories: &["all"],
        names: NameRule::ServiceLabel,
        returns_deleted: true,
        subresources: &[Subresource::Proxy, Subresource::Status],
        create_on_update: true,
        change_first: true,
        ..KindInfo::namespaced(
            "",
            "v1",
            "Service",
            "services",
            "service",
            "io.k8s.api.core.v1.Service",
        )
    };

    fn default(object: &mut Object) {
        let spec = object.spec.get_or_insert_default();
        fill(&mut spec.session_affinity, "None");
        default_affinity(spec);
        fill(&mut spec.type_, CLUSTER_IP);
        spec.ports.iter_mut().flatten().for_each(default_port);
        if spec.is_externally_accessible() {
            fill(&mut spec.external_traffic_policy, "Cluster");
        }
        match spec.type_() {
            CLUSTER_IP | NODE_PORT | LOAD_BALANCER => {
                spec.internal_traffic_policy.get_or_insert_with(|| "Cluster".to_owned());
            }
            // Upstream hides on read what older versions filled in for a name that leads outside.
            EXTERNAL_NAME => spec.internal_traffic_policy = None,
            _ => {}
        }
        if spec.type_() == LOAD_BALANCER {
            spec.allocate_load_balancer_node_ports.get_or_insert(true);
            default_ingress(object.status.as_mut());
        }
    }

    fn prepare_create(object: &mut Object, _context: &Context<'_>) {
        object.status = Some(empty_status());
    }

    fn prepare_update(new: &mut Object, old: &Object, _context: &Context<'_>) {
        let no_spec = ServiceSpec::default();
        let old_spec = old.spec.as_ref().unwrap_or(&no_spec);
        let new_spec = new.spec.get_or_insert_default();
        drop_what_the_type_lacks(new_spec, old_spec);
        let balances = new_spec.type_() == LOAD_BALANCER;
        let status = new.status.get_or_insert_with(empty_status);
        if !balances {
            status.load_balancer = Some(LoadBalancerStatus::default());
        }
    }

    fn validate(object: &Object) -> Vec<FieldError> {
        validate::validate(object)
    }

    fn validate_update(new: &Object, old: &Object) -> Vec<FieldError> {
        changes::validate(new, old)
    }

    fn validate_status(new: &Object, _old: &Object) -> Vec<FieldError> {
        status::validate(new)
    }

    fn warnings(new: &Object, _old: Option<&Object>) -> Vec<String> {
        warnings::of(new)
    }

    fn columns() -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::NAME,
            Column::new("Type", "string", 0, "How the Service is reached."),
            Column::new("Cluster-IP", "string", 0, "The virtual address inside the cluster."),
            Column::new("External-IP", "string", 0, "The addresses from outside the cluster."),
            Column::new("Port(s)", "string", 0, "The ports, with their node ports."),
            Column::AGE,
            Column::new("Selector", "string", 1, "Which pods serve it, by their labels."),
        ];
        COLUMNS
    }

    fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
        let spec = object.spec.clone().unwrap_or_default();
        let cluster_ip = cluster_ips(&spec).first().map_or("<none>", |ip| ip.as_str());
        let ports: Vec<String> = spec.ports.iter().flatten().map(port_text).collect();
        let ports = if ports.is_empty() { "<none>".to_owned() } else { ports.join(",") };
        let selector: Vec<String> =
            spec.selector.iter().flatten().map(|(key, value)| format!("{key}={value}")).collect();
        vec![
            meta::object_name(&object.metadata),
            spec.type_().into(),
            cluster_ip.into(),
            external_ip(&spec, object.status.as_ref()).into(),
            ports.into(),
            meta::object_age(&object.metadata, now),
            if selector.is_empty() { "<none>".into() } else { selector.join(",").into() },
        ]
    }

    fn selectable(object: &Object) -> Vec<(&'static str, String)> {
        let spec = object.spec.as_ref();
        let cluster_ip = spec.and_then(|spec| spec.cluster_ip.clone()).unwrap_or_default();
        let type_ = spec.and_then(|spec| spec.type_.clone()).unwrap_or_default();
        vec![("spec.clusterIP", cluster_ip), ("spec.type", type_)]
    }
}

/// Sets a text that is absent or empty.
fn fill(field: &mut Option<String>, value: &str) {
    if field.as_deref().unwrap_or_default().is_empty() {
        *field = Some(value.to_owned());
    }
}

fn default_affinity(spec: &mut ServiceSpec) {
    match spec.session_affinity.as_deref() {
        Some("None") => spec.session_affinity_config = None,
        Some("ClientIP") => {
            let timeout = spec
                .session_affinity_config
                .as_ref()
                .and_then(|config| config.client_ip.as_ref())
                .and_then(|client_ip| client_ip.timeout_seconds)
                .unwrap_or(AFFINITY_SECONDS);
            spec.session_affinity_config = Some(SessionAffinityConfig {
                client_ip: Some(ClientIPConfig { timeout_seconds: Some(timeout) }),
            });
        }
        _ => {}
    }
}

fn default_port(port: &mut ServicePort) {
    fill(&mut port.protocol, "TCP");
    let is_unset = match &port.target_port {
        None | Some(IntOrString::Int(0)) => true,
        Some(IntOrString::Int(_)) => false,
        Some(IntOrString::String(name)) => name.is_empty(),
    };
    if is_unset {
        port.target_port = Some(IntOrString::Int(port.port));
    }
}

fn default_ingress(status: Option<&mut ServiceStatus>) {
    let balancer = status.and_then(|status| status.load_balancer.as_mut());
    let ingresses = balancer.and_then(|balancer| balancer.ingress.as_mut());
    for ingress in ingresses.into_iter().flatten() {
        if ingress.ip.as_deref().is_some_and(|ip| !ip.is_empty()) {
            ingress.ip_mode.get_or_insert_with(|| "VIP".to_owned());
        }
    }
}

fn empty_status() -> ServiceStatus {
    ServiceStatus { load_balancer: Some(LoadBalancerStatus::default()), conditions: None }
}

/// Clears the fields that a change of type left without meaning, unless the user changed them too:
/// then validation is to complain.
fn drop_what_the_type_lacks(new: &mut ServiceSpec, old: &ServiceSpec) {
    if old.needs_cluster_ip() && !new.needs_cluster_ip() {
        let same_ip = text(&old.cluster_ip) == text(&new.cluster_ip);
        if same_ip && cluster_ips(old) == cluster_ips(new) {
            new.cluster_ip = None;
            new.cluster_ips = None;
        }
        if ip_families(old) == ip_families(new) {
            new.ip_families = None;
        }
        if old.ip_family_policy == new.ip_family_policy {
            new.ip_family_policy = None;
        }
    }
    if old.may_have_node_ports() && !new.may_have_node_ports() {
        let had = old.node_ports();
        if new.node_ports().iter().all(|port| had.contains(port)) {
            new.ports.iter_mut().flatten().for_each(|port| port.node_port = None);
        }
    }
    if old.needs_health_check()
        && !new.needs_health_check()
        && old.health_check_node_port.unwrap_or(0) == new.health_check_node_port.unwrap_or(0)
    {
        new.health_check_node_port = None;
    }
    if old.type_() == LOAD_BALANCER && new.type_() != LOAD_BALANCER {
        if old.allocate_load_balancer_node_ports == new.allocate_load_balancer_node_ports {
            new.allocate_load_balancer_node_ports = None;
        }
        if old.load_balancer_class == new.load_balancer_class {
            new.load_balancer_class = None;
        }
    }
    if old.is_externally_accessible()
        && !new.is_externally_accessible()
        && text(&old.external_traffic_policy) == text(&new.external_traffic_policy)
    {
        new.external_traffic_policy = None;
    }
}

fn text(field: &Option<String>) -> &str {
    field.as_deref().unwrap_or_default()
}

/// `80/TCP`, or `80:30080/TCP` with its node port.
fn port_text(port: &ServicePort) -> String {
    let protocol = text(&port.protocol);
    match port.node_port.unwrap_or(0) {
        1.. => format!("{}:{}/{protocol}", port.port, port.node_port.unwrap_or(0)),
        _ => format!("{}/{protocol}", port.port),
    }
}

fn external_ip(spec: &ServiceSpec, status: Option<&ServiceStatus>) -> String {
    let listed = spec.external_ips.clone().unwrap_or_default();
    match spec.type_() {
        CLUSTER_IP | NODE_PORT if listed.is_empty() => "<none>".to_owned(),
        CLUSTER_IP | NODE_PORT => listed.join(","),
        LOAD_BALANCER => {
            let mut all = ingress_addresses(status);
            all.extend(listed);
            if all.is_empty() { "<pending>".to_owned() } else { all.join(",") }
        }
        EXTERNAL_NAME => spec.external_name.clone().unwrap_or_default(),
        _ => "<unknown>".to_owned(),
    }
}

/// The addresses or names of the load balancer, sorted, each once.
fn ingress_addresses(status: Option<&ServiceStatus>) -> Vec<String> {
    let balancer = status.and_then(|status| status.load_balancer.as_ref());
    let ingresses = balancer.and_then(|balancer| balancer.ingress.as_ref());
    let addresses: std::collections::BTreeSet<&String> = ingresses
        .into_iter()
        .flatten()
        .filter_map(|ingress| {
            let filled = |field: &'_ Option<String>| !text(field).is_empty();
            match (filled(&ingress.ip), filled(&ingress.hostname)) {
                (true, _) => ingress.ip.as_ref(),
                (false, true) => ingress.hostname.as_ref(),
                (false, false) => None,
            }
        })
        .collect();
    addresses.into_iter().cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::{defaulted, prepared, row};
    use serde_json::json;

    fn spec(spec: Value) -> Value {
        defaulted::<Services>(json!({"spec": spec}))["spec"].clone()
    }

    #[test]
    fn defaults_follow_the_type() {
        let cases = [
            (
                json!({"ports": [{"port": 80}, {"port": 81, "targetPort": "http"}]}),
                json!({
                    "type": "ClusterIP",
                    "sessionAffinity": "None",
                    "internalTrafficPolicy": "Cluster",
                    "ports": [
                        {"port": 80, "protocol": "TCP", "targetPort": 80},
                        {"port": 81, "protocol": "TCP", "targetPort": "http"},
                    ],
                }),
            ),
            (
                json!({"type": "NodePort", "sessionAffinity": "ClientIP"}),
                json!({
                    "type": "NodePort",
                    "sessionAffinity": "ClientIP",
                    "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10800}},
                    "internalTrafficPolicy": "Cluster",
                    "externalTrafficPolicy": "Cluster",
                }),
            ),
            (
                json!({"type": "LoadBalancer"}),
                json!({
                    "type": "LoadBalancer",
                    "sessionAffinity": "None",
                    "internalTrafficPolicy": "Cluster",
                    "externalTrafficPolicy": "Cluster",
                    "allocateLoadBalancerNodePorts": true,
                }),
            ),
            (
                json!({"type": "ExternalName", "externalName": "a.b"}),
                json!({"type": "ExternalName", "externalName": "a.b", "sessionAffinity": "None"}),
            ),
            (
                json!({"externalIPs": ["1.2.3.4"]}),
                json!({
                    "type": "ClusterIP",
                    "sessionAffinity": "None",
                    "internalTrafficPolicy": "Cluster",
                    "externalTrafficPolicy": "Cluster",
                    "externalIPs": ["1.2.3.4"],
                }),
            ),
        ];
        for (given, expected) in cases {
            assert_eq!(spec(given), expected);
        }
    }

    #[test]
    fn a_changed_type_drops_what_it_does_not_need() {
        let old = json!({"spec": {
            "type": "LoadBalancer",
            "clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"],
            "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
            "allocateLoadBalancerNodePorts": true, "loadBalancerClass": "a/b",
            "externalTrafficPolicy": "Local", "healthCheckNodePort": 30001,
            "ports": [{"port": 80, "targetPort": 80, "nodePort": 30080}],
        }, "status": {"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}}});
        let with_type = |type_: &str| {
            let mut new = old.clone();
            new["spec"]["type"] = json!(type_);
            prepared::<Services>(new, &old)
        };
        assert_eq!(
            with_type("ClusterIP")["spec"],
            json!({
                "type": "ClusterIP",
                "clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"],
                "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
                "ports": [{"port": 80, "targetPort": 80}],
            })
        );
        assert_eq!(
            with_type("ExternalName")["spec"],
            json!({"type": "ExternalName", "ports": [{"port": 80, "targetPort": 80}]})
        );
        assert_eq!(with_type("NodePort")["status"], json!({"loadBalancer": {}}));
        assert_eq!(with_type("NodePort")["spec"]["externalTrafficPolicy"], "Local");
    }

    #[test]
    fn a_field_that_the_user_changed_is_kept_for_validation() {
        let old = json!({"spec": {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]}});
        let new =
            json!({"spec": {"type": "ClusterIP", "ports": [{"port": 80, "nodePort": 30081}]}});
        let object = prepared::<Services>(new, &old);
        assert_eq!(object["spec"]["ports"][0]["nodePort"], 30081);
    }

    #[test]
    fn the_row_is_that_of_kubectl() {
        let cases = [
            (
                json!({
                    "type": "ClusterIP", "clusterIPs": ["None"], "selector": {"b": "2", "a": "1"},
                }),
                json!({}),
                ["ClusterIP", "None", "<none>", "<none>", "a=1,b=2"],
            ),
            (
                json!({
                    "type": "NodePort", "clusterIPs": ["10.96.0.9"],
                    "ports": [
                        {"port": 80, "nodePort": 30080, "protocol": "TCP"},
                        {"port": 53, "protocol": "UDP"},
                    ],
                }),
                json!({}),
                ["NodePort", "10.96.0.9", "<none>", "80:30080/TCP,53/UDP", "<none>"],
            ),
            (
                json!({"type": "LoadBalancer"}),
                json!({}),
                ["LoadBalancer", "<none>", "<pending>", "<none>", "<none>"],
            ),
            (
                json!({"type": "LoadBalancer", "externalIPs": ["5.6.7.8"]}),
                json!({"loadBalancer": {"ingress": [{"ip": "2.2.2.2"}, {"hostname": "1.example"}]}}),
                ["LoadBalancer", "<none>", "1.example,2.2.2.2,5.6.7.8", "<none>", "<none>"],
            ),
            (
                json!({"type": "ExternalName", "externalName": "a.b"}),
                json!({}),
                ["ExternalName", "<none>", "a.b", "<none>", "<none>"],
            ),
        ];
        for (spec, status, [type_, ip, external, ports, selector]) in cases {
            let object = json!({"metadata": {"name": "s"}, "spec": spec, "status": status});
            let expected = ["s", type_, ip, external, ports, "<unknown>", selector];
            assert_eq!(row::<Services>(object), expected.map(Value::from));
        }
    }
}
