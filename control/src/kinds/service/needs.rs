//! What a Service of its type needs, and reading its fields without regard to absence.

use k8s_openapi::api::core::v1::ServiceSpec;

pub(crate) const CLUSTER_IP: &str = "ClusterIP";
pub(crate) const NODE_PORT: &str = "NodePort";
pub(crate) const LOAD_BALANCER: &str = "LoadBalancer";
pub(crate) const EXTERNAL_NAME: &str = "ExternalName";

/// The clusterIP of a headless Service.
const NONE: &str = "None";

/// Questions to a Service's spec.
pub(crate) trait Needs {
    fn type_(&self) -> &str;
    fn needs_cluster_ip(&self) -> bool;
    fn is_headless(&self) -> bool;
    /// Whether the type has node ports, be they allocated or only asked for.
    fn may_have_node_ports(&self) -> bool;
    /// Whether ports without a node port are to get one.
    fn allocates_node_ports(&self) -> bool;
    fn node_ports(&self) -> Vec<i32>;
    fn is_externally_accessible(&self) -> bool;
    fn needs_health_check(&self) -> bool;
    fn has_selector(&self) -> bool;
}

impl Needs for ServiceSpec {
    fn type_(&self) -> &str {
        self.type_.as_deref().unwrap_or_default()
    }

    fn needs_cluster_ip(&self) -> bool {
        self.type_() != EXTERNAL_NAME
    }

    fn is_headless(&self) -> bool {
        matches!(cluster_ips(self), [only] if only == NONE)
    }

    fn may_have_node_ports(&self) -> bool {
        matches!(self.type_(), NODE_PORT | LOAD_BALANCER)
    }

    fn allocates_node_ports(&self) -> bool {
        match self.type_() {
            NODE_PORT => true,
            LOAD_BALANCER => self.allocate_load_balancer_node_ports.unwrap_or(true),
            _ => false,
        }
    }

    fn node_ports(&self) -> Vec<i32> {
        let ports = self.ports.iter().flatten();
        ports.filter_map(|port| port.node_port).filter(|port| *port != 0).collect()
    }

    fn is_externally_accessible(&self) -> bool {
        match self.type_() {
            NODE_PORT | LOAD_BALANCER => true,
            CLUSTER_IP => self.external_ips.as_ref().is_some_and(|ips| !ips.is_empty()),
            _ => false,
        }
    }

    fn needs_health_check(&self) -> bool {
        self.type_() == LOAD_BALANCER && self.external_traffic_policy.as_deref() == Some("Local")
    }

    fn has_selector(&self) -> bool {
        self.selector.as_ref().is_some_and(|selector| !selector.is_empty())
    }
}

pub(crate) fn cluster_ips(spec: &ServiceSpec) -> &[String] {
    spec.cluster_ips.as_deref().unwrap_or_default()
}

pub(crate) fn ip_families(spec: &ServiceSpec) -> &[String] {
    spec.ip_families.as_deref().unwrap_or_default()
}
