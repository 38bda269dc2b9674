//! Nodes.
//!
//! Source: `pkg/registry/core/node/strategy.go`, `ValidateNode…`.

mod validate;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeSpec, NodeStatus, NodeSystemInfo};
use serde_json::Value;

use super::{Column, Context, FieldError, Kind, KindInfo, Subresource, meta, quantity, warn};

const ROLE_PREFIX: &str = "node-role.kubernetes.io/";
const ROLE_LABEL: &str = "kubernetes.io/role";

pub struct Nodes;

impl Kind for Nodes {
    type Object = Node;

    const INFO: KindInfo = KindInfo {
        short_names: &["no"],
        subresources: &[Subresource::Status, Subresource::Proxy],
        keeps_status_on_create: true,
        managed_as_sent: true,
        ..KindInfo::cluster("", "v1", "Node", "nodes", "node", "io.k8s.api.core.v1.Node")
    };

    fn default(node: &mut Node) {
        if let Some(spec) = &mut node.spec {
            default_cidrs(spec);
        }
        let Some(status) = &mut node.status else { return };
        if status.allocatable.as_ref().is_none_or(BTreeMap::is_empty) {
            status.allocatable = status.capacity.clone();
        }
        quantity::canonicalise_list(&mut status.capacity);
        quantity::canonicalise_list(&mut status.allocatable);
    }

    fn prepare_create(node: &mut Node, _context: &Context<'_>) {
        // Dynamic kubelet configuration is gone upstream: its fields are dropped.
        if let Some(spec) = &mut node.spec {
            spec.config_source = None;
        }
        if let Some(status) = &mut node.status {
            status.config = None;
        }
    }

    fn prepare_update(new: &mut Node, old: &Node, _context: &Context<'_>) {
        if old.spec.as_ref().is_none_or(|spec| spec.config_source.is_none())
            && let Some(spec) = &mut new.spec
        {
            spec.config_source = None;
        }
    }

    fn prepare_status(new: &mut Node, old: &Node, _context: &Context<'_>) {
        if old.status.as_ref().is_none_or(|status| status.config.is_none())
            && let Some(status) = &mut new.status
        {
            status.config = None;
        }
    }

    fn validate(node: &Node) -> Vec<FieldError> {
        let mut errors = validate::annotations(node);
        errors.extend(validate::own_taints(node));
        if let Some(status) = &node.status {
            errors.extend(validate::amounts(status));
            errors.extend(validate::swap(status));
            errors.extend(validate::features(status));
        }
        let cidrs = node.spec.as_ref().and_then(|spec| spec.pod_cidrs.as_deref());
        errors.extend(validate::cidrs(cidrs.unwrap_or_default()));
        errors
    }

    fn validate_update(new: &Node, old: &Node) -> Vec<FieldError> {
        // Much of this repeats `validate`, and upstream tells of both.
        let mut errors = validate::annotations(new);
        if let Some(status) = &new.status {
            errors.extend(validate::amounts(status));
            errors.extend(validate::features(status));
            errors.extend(validate::addresses(status));
        }
        let taints = validate::own_taints(new);
        let none = NodeSpec::default();
        let (new, old) = (new.spec.as_ref().unwrap_or(&none), old.spec.as_ref().unwrap_or(&none));
        errors.extend(validate::cidrs_update(new, old));
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let old_provider = text(&old.provider_id);
        if !old_provider.is_empty() && old_provider != text(&new.provider_id) {
            let detail = "node updates may not change providerID except from \"\" to valid";
            errors.push(FieldError::forbidden("spec.providerID", detail));
        }
        errors.extend(taints);
        if text(&old.external_id) != text(&new.external_id) {
            errors.push(FieldError::forbidden("spec.externalID", "may not be updated"));
        }
        errors
    }

    fn validate_status(new: &Node, old: &Node) -> Vec<FieldError> {
        Self::validate_update(new, old)
    }

    fn warnings(new: &Node, _old: Option<&Node>) -> Vec<String> {
        let Some(spec) = &new.spec else { return Vec::new() };
        let mut warnings = Vec::new();
        if spec.config_source.is_some() {
            warnings.push("spec.configSource: the feature is removed".to_owned());
        }
        if spec.external_id.as_ref().is_some_and(|id| !id.is_empty()) {
            let detail = "this field is deprecated, and is unused by Kubernetes";
            warnings.push(format!("spec.externalID: {detail}"));
        }
        for (index, cidr) in spec.pod_cidrs.iter().flatten().enumerate() {
            warnings.extend(warn::cidr(cidr, &format!("spec.podCIDRs[{index}]")));
        }
        warnings
    }

    fn columns() -> &'static [Column] {
        COLUMNS
    }

    fn cells(node: &Node, now: Timestamp) -> Vec<Value> {
        let none = NodeStatus::default();
        let status = node.status.as_ref().unwrap_or(&none);
        let none = NodeSystemInfo::default();
        let info = status.node_info.as_ref().unwrap_or(&none);
        vec![
            meta::object_name(&node.metadata),
            readiness(node, status).into(),
            roles(node).into(),
            meta::object_age(&node.metadata, now),
            info.kubelet_version.clone().into(),
            address(status, "InternalIP").into(),
            address(status, "ExternalIP").into(),
            or_unknown(&info.os_image).into(),
            kernel(info).into(),
            or_unknown(&info.container_runtime_version).into(),
        ]
    }

    fn selectable(node: &Node) -> Vec<(&'static str, String)> {
        vec![("spec.unschedulable", is_unschedulable(node).to_string())]
    }
}

const COLUMNS: &[Column] = &[
    Column::NAME,
    Column::new("Status", "string", 0, "The status of the node"),
    Column::new("Roles", "string", 0, "The roles of the node"),
    Column::AGE,
    Column::new("Version", "string", 0, "The version of the kubelet."),
    Column::new("Internal-IP", "string", 1, "The node's address within the cluster."),
    Column::new("External-IP", "string", 1, "The node's address for the world outside."),
    Column::new("OS-Image", "string", 1, "The operating system."),
    Column::new("Kernel-Version", "string", 1, "The kernel's version and architecture."),
    Column::new("Container-Runtime", "string", 1, "The container runtime and its version."),
];

fn is_unschedulable(node: &Node) -> bool {
    node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or_default()
}

fn readiness(node: &Node, status: &NodeStatus) -> String {
    // The last one wins, should there be two.
    let ready = status.conditions.iter().flatten().rfind(|condition| condition.type_ == "Ready");
    let text = match ready.map(|condition| condition.status.as_str()) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    };
    if is_unschedulable(node) {
        return format!("{text},SchedulingDisabled");
    }
    text.to_owned()
}

fn roles(node: &Node) -> String {
    let labels = node.metadata.labels.iter().flatten();
    let roles: BTreeSet<&str> = labels
        .filter_map(|(key, value)| match key.strip_prefix(ROLE_PREFIX) {
            Some(role) => Some(role),
            None => (key == ROLE_LABEL).then_some(value.as_str()),
        })
        .filter(|role| !role.is_empty())
        .collect();
    if roles.is_empty() {
        return "<none>".to_owned();
    }
    roles.into_iter().collect::<Vec<_>>().join(",")
}

fn address(status: &NodeStatus, kind: &str) -> String {
    let address = status.addresses.iter().flatten().find(|address| address.type_ == kind);
    address.map_or_else(|| "<none>".to_owned(), |address| address.address.clone())
}

fn kernel(info: &NodeSystemInfo) -> String {
    match info.architecture.as_str() {
        "" => or_unknown(&info.kernel_version),
        architecture => format!("{} ({architecture})", or_unknown(&info.kernel_version)),
    }
}

fn or_unknown(text: &str) -> String {
    if text.is_empty() { "<unknown>".to_owned() } else { text.to_owned() }
}

/// `podCIDR` is the first of `podCIDRs`: each fills in the other. Where they differ `podCIDR` counts,
/// for the sake of clients that know no other.
fn default_cidrs(spec: &mut NodeSpec) {
    let first = spec.pod_cidrs.as_ref().and_then(|cidrs| cidrs.first().cloned());
    let alone = spec.pod_cidr.clone().filter(|cidr| !cidr.is_empty());
    match (alone, first) {
        (Some(alone), first) if first.as_ref() != Some(&alone) => {
            spec.pod_cidrs = Some(vec![alone]);
        }
        (None, Some(first)) => spec.pod_cidr = Some(first),
        (Some(_), _) | (None, None) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::{defaulted, problems, row, status_problems, update_problems};
    use serde_json::json;

    #[test]
    fn allocatable_is_the_capacity_unless_said() {
        let node = json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": "n"}, "spec": {"podCIDR": "10.0.0.0/24"},
            "status": {"capacity": {"cpu": "4000m", "memory": "1024Mi"}},
        });
        let node = defaulted::<Nodes>(node);
        assert_eq!(node["status"]["allocatable"], json!({"cpu": "4", "memory": "1Gi"}));
        assert_eq!(node["spec"]["podCIDRs"], json!(["10.0.0.0/24"]));
    }

    #[test]
    fn the_older_field_of_an_address_range_counts_and_is_set_once() {
        let node = |cidr: &str, cidrs: &[&str]| {
            defaulted::<Nodes>(json!({
                "metadata": {"name": "n", "resourceVersion": "1"},
                "spec": {"podCIDR": cidr, "podCIDRs": cidrs},
            }))
        };
        let cidrs = |cidr, cidrs| node(cidr, cidrs)["spec"]["podCIDRs"].clone();
        let both = ["10.0.0.0/24", "2001:db8::/64"];
        assert_eq!(cidrs("10.0.1.0/24", &both), json!(["10.0.1.0/24"]));
        assert_eq!(cidrs("10.0.0.0/24", &both), json!(both));
        assert_eq!(node("", &both)["spec"]["podCIDR"], "10.0.0.0/24");
        let old = node("10.0.0.0/24", &[]);
        assert_eq!(
            update_problems::<Nodes>(node("10.0.1.0/24", &["10.0.0.0/24"]), &old),
            [
                "spec.podCIDRs: Forbidden: node updates may not change podCIDR except from \"\" to valid"
            ]
        );
        let empty = node("", &[]);
        assert_eq!(update_problems::<Nodes>(&old, &empty), Vec::<String>::new());
    }

    #[test]
    fn taints_are_unique_and_well_formed() {
        let node = json!({"metadata": {}, "spec": {"taints": [
            {"key": "a", "effect": "NoSchedule"}, {"key": "a", "effect": "NoSchedule"},
            {"key": "b", "effect": "Maybe"}, {"key": "c", "effect": "", "value": "-"},
        ]}});
        let problems = problems::<Nodes>(&node);
        assert_eq!(
            problems[0],
            "metadata.taints[1]: Duplicate value: {\"effect\":\"NoSchedule\",\"key\":\"a\"}: taints must be unique by key and effect pair"
        );
        assert_eq!(
            problems[1],
            "metadata.taints[2].effect: Unsupported value: \"Maybe\": supported values: \"NoSchedule\", \"PreferNoSchedule\", \"NoExecute\""
        );
        assert!(problems[2].starts_with("metadata.taints[3].value: Invalid value: \"-\""));
        assert_eq!(problems[3], "metadata.taints[3].effect: Required value");
    }

    #[test]
    fn addresses_of_pods_and_amounts_are_checked() {
        let node = json!({
            "metadata": {}, "spec": {"podCIDRs": ["10.0.0.0/24", "10.0.1.0/24", "x"]},
            "status": {"capacity": {"cpu": "-1", "pods": "1500m"}, "declaredFeatures": ["B", "A", "x"]},
        });
        assert_eq!(
            problems::<Nodes>(&node),
            [
                "status.capacity.cpu: Invalid value: \"-1\": must be greater than or equal to 0",
                "status.capacity.pods: Invalid value: \"1500m\": must be an integer",
                "status.declaredFeatures[1]: Invalid value: \"A\": list must be sorted alphabetically",
                "status.declaredFeatures[2]: Invalid value: \"x\": invalid feature name \"x\": must start with an UpperCamelCase segment, with subsequent segments separated by '/' (e.g., MyFeature or MyFeature/mySubFeature), and contain only alphanumeric characters and slashes",
                "spec.podCIDRs[2]: Invalid value: \"x\": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
                "spec.podCIDRs: Invalid value: [\"10.0.0.0/24\",\"10.0.1.0/24\",\"x\"]: may specify no more than one CIDR for each IP family",
            ]
        );
    }

    #[test]
    fn what_names_the_machine_is_set_once() {
        let old = json!({"metadata": {}, "spec": {"podCIDRs": ["10.0.0.0/24"], "providerID": "a"}});
        let new = json!({"metadata": {}, "spec": {"providerID": "b", "unschedulable": true}});
        assert_eq!(
            update_problems::<Nodes>(&new, &old),
            [
                "spec.podCIDRs: Forbidden: node updates may not change podCIDR except from \"\" to valid",
                "spec.providerID: Forbidden: node updates may not change providerID except from \"\" to valid",
            ]
        );
        assert_eq!(update_problems::<Nodes>(&new, &json!({"metadata": {}})), [""; 0]);
    }

    #[test]
    fn a_status_has_no_address_twice() {
        let address = json!({"type": "InternalIP", "address": "10.0.0.1"});
        let node = json!({"metadata": {}, "status": {"addresses": [address, address]}});
        assert_eq!(
            status_problems::<Nodes>(&node, &node),
            [
                "status.addresses[1]: Duplicate value: {\"Type\":\"InternalIP\",\"Address\":\"10.0.0.1\"}"
            ]
        );
    }

    #[test]
    fn a_node_shows_its_readiness_its_roles_and_its_system() {
        let node = json!({
            "metadata": {
                "name": "n1", "creationTimestamp": "2026-01-01T23:00:00Z",
                "labels": {"node-role.kubernetes.io/control-plane": "", "kubernetes.io/role": "edge"},
            },
            "spec": {"unschedulable": true},
            "status": {
                "conditions": [{"type": "Ready", "status": "True"}],
                "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
                "nodeInfo": {"kubeletVersion": "v1.36.0", "osImage": "wasi", "kernelVersion": "6", "architecture": "amd64"},
            },
        });
        assert_eq!(
            row::<Nodes>(&node),
            [
                "n1",
                "Ready,SchedulingDisabled",
                "control-plane,edge",
                "60m",
                "v1.36.0",
                "10.0.0.1",
                "<none>",
                "wasi",
                "6 (amd64)",
                "<unknown>",
            ]
        );
        assert_eq!(row::<Nodes>(&json!({"metadata": {"name": "n"}}))[1..3], ["Unknown", "<none>"]);
    }
}
