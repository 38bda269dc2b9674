//! NetworkPolicies: which pods may speak with whom.
//!
//! Source: `pkg/registry/networking/networkpolicy/strategy.go`, `pkg/apis/networking/validation`.

use jiff::Timestamp;
use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

use super::meta::invalid_each;
use super::rules::ip::Block;
use super::{Column, FieldError, Generation, Kind, KindInfo, formats, meta, names, selector, warn, workload};

const PROTOCOLS: &[&str] = &["TCP", "UDP", "SCTP"];
const TYPES: &[&str] = &["Ingress", "Egress"];

pub struct NetworkPolicies;

impl Kind for NetworkPolicies {
    type Object = NetworkPolicy;

    const INFO: KindInfo = KindInfo {
        short_names: &["netpol"],
        generation: Generation::Raised,
        not_yet: Some("it is not enforced yet"),
        ..KindInfo::namespaced(
            "networking.k8s.io",
            "v1",
            "NetworkPolicy",
            "networkpolicies",
            "networkpolicy",
            "io.k8s.api.networking.v1.NetworkPolicy",
        )
    };

    fn default(policy: &mut NetworkPolicy) {
        let spec = policy.spec.get_or_insert_default();
        let ingress = spec.ingress.iter_mut().flatten().map(|rule| &mut rule.ports);
        let egress = spec.egress.iter_mut().flatten().map(|rule| &mut rule.ports);
        for port in ingress.chain(egress).flatten().flatten() {
            port.protocol.get_or_insert_with(|| "TCP".to_owned());
        }
        if spec.policy_types.as_ref().is_none_or(Vec::is_empty) {
            // A policy that does not say so is at least one of what comes in.
            let both = spec.egress.as_ref().is_some_and(|rules| !rules.is_empty());
            let types = if both { TYPES } else { &TYPES[..1] };
            spec.policy_types = Some(types.iter().map(|name| (*name).to_owned()).collect());
        }
    }

    fn validate(policy: &NetworkPolicy) -> Vec<FieldError> {
        policy.spec.as_ref().map(validate_spec).unwrap_or_default()
    }

    fn warnings(policy: &NetworkPolicy, _old: Option<&NetworkPolicy>) -> Vec<String> {
        let peers = policy.spec.iter().flat_map(rules).flat_map(|rule| rule.peers());
        let blocks = peers.filter_map(|(path, peer)| Some((path, peer.ip_block.as_ref()?)));
        blocks.flat_map(|(path, block)| block_warnings(block, &format!("{path}.ipBlock"))).collect()
    }

    fn columns() -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::NAME,
            Column::new("Pod-Selector", "string", 0, "The pods that the policy holds for, by their labels."),
            Column::AGE,
        ];
        COLUMNS
    }

    fn cells(policy: &NetworkPolicy, now: Timestamp) -> Vec<Value> {
        let selector = policy.spec.as_ref().and_then(|spec| spec.pod_selector.as_ref());
        let selector = selector.map(workload::selector_text).unwrap_or_default();
        vec![
            meta::object_name(&policy.metadata),
            if selector.is_empty() { "<none>".into() } else { selector.into() },
            meta::object_age(&policy.metadata, now),
        ]
    }
}

/// A rule of either direction.
struct Rule<'a> {
    path: String,
    ports: &'a [NetworkPolicyPort],
    /// What the peers' field is called.
    side: &'static str,
    peers: &'a [NetworkPolicyPeer],
}

impl<'a> Rule<'a> {
    fn peers(self) -> impl Iterator<Item = (String, &'a NetworkPolicyPeer)> {
        let (path, side) = (self.path, self.side);
        let peers = self.peers.iter().enumerate();
        peers.map(move |(index, peer)| (format!("{path}.{side}[{index}]"), peer))
    }
}

/// The rules for what comes in, then those for what goes out.
fn rules(spec: &NetworkPolicySpec) -> Vec<Rule<'_>> {
    let ingress = spec.ingress.iter().flatten().enumerate().map(|(index, rule)| Rule {
        path: format!("spec.ingress[{index}]"),
        ports: rule.ports.as_deref().unwrap_or_default(),
        side: "from",
        peers: rule.from.as_deref().unwrap_or_default(),
    });
    let egress = spec.egress.iter().flatten().enumerate().map(|(index, rule)| Rule {
        path: format!("spec.egress[{index}]"),
        ports: rule.ports.as_deref().unwrap_or_default(),
        side: "to",
        peers: rule.to.as_deref().unwrap_or_default(),
    });
    ingress.chain(egress).collect()
}

fn block_warnings(block: &IPBlock, path: &str) -> Vec<String> {
    let except = block.except.iter().flatten().enumerate();
    let except = except
        .filter_map(|(index, except)| warn::cidr(except, &format!("{path}.except[{index}]")));
    warn::cidr(&block.cidr, &format!("{path}.cidr")).into_iter().chain(except).collect()
}

fn validate_spec(spec: &NetworkPolicySpec) -> Vec<FieldError> {
    let selected = spec.pod_selector.as_ref();
    let mut errors: Vec<FieldError> = selected
        .map(|selected| selector::validate(selected, "spec.podSelector"))
        .unwrap_or_default();
    for rule in rules(spec) {
        for (index, port) in rule.ports.iter().enumerate() {
            errors.extend(validate_port(port, &format!("{}.ports[{index}]", rule.path)));
        }
        errors.extend(rule.peers().flat_map(|(path, peer)| validate_peer(peer, &path)));
    }
    let types = spec.policy_types.as_deref().unwrap_or_default();
    if types.len() > TYPES.len() {
        let why = "may not specify more than two policyTypes";
        errors.push(FieldError::invalid("spec.policyTypes", types, why));
        return errors;
    }
    for (index, name) in types.iter().enumerate() {
        if !TYPES.contains(&name.as_str()) {
            let path = format!("spec.policyTypes[{index}]");
            errors.push(FieldError::not_supported(path, name.as_str(), TYPES));
        }
    }
    errors
}

fn validate_port(port: &NetworkPolicyPort, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if let Some(protocol) = &port.protocol
        && !PROTOCOLS.contains(&protocol.as_str())
    {
        let path = format!("{path}.protocol");
        errors.push(FieldError::not_supported(path, protocol.as_str(), PROTOCOLS));
    }
    let end_path = format!("{path}.endPort");
    let mut refuse_end = |end: i32, why: &str| {
        errors.push(FieldError::invalid(end_path.as_str(), end, why));
    };
    match (&port.port, port.end_port) {
        (None, Some(end)) => refuse_end(end, "may not be specified when `port` is not specified"),
        (Some(IntOrString::String(_)), Some(end)) => {
            refuse_end(end, "may not be specified when `port` is non-numeric");
        }
        _ => {}
    }
    let Some(number_or_name) = &port.port else { return errors };
    errors.extend(formats::port_number_or_name(number_or_name, &format!("{path}.port")));
    if let (IntOrString::Int(number), Some(end)) = (number_or_name, port.end_port) {
        if end < *number {
            // Upstream shows the port, not its end.
            let why = "must be greater than or equal to `port`";
            errors.push(FieldError::invalid(end_path.as_str(), *number, why));
        }
        for why in names::port_number(end.into()) {
            errors.push(FieldError::invalid(end_path.as_str(), end, why));
        }
    }
    errors
}

fn validate_peer(peer: &NetworkPolicyPeer, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if let Some(pods) = &peer.pod_selector {
        errors.extend(selector::validate(pods, &format!("{path}.podSelector")));
    }
    if let Some(namespaces) = &peer.namespace_selector {
        errors.extend(selector::validate(namespaces, &format!("{path}.namespaceSelector")));
    }
    if let Some(block) = &peer.ip_block {
        errors.extend(validate_block(block, &format!("{path}.ipBlock")));
    }
    let selects = peer.pod_selector.is_some() || peer.namespace_selector.is_some();
    match (selects, peer.ip_block.is_some()) {
        (false, false) => errors.push(FieldError::required(path, "must specify a peer")),
        (true, true) => {
            let why = "may not specify both ipBlock and another peer";
            errors.push(FieldError::forbidden(path, why));
        }
        (true, false) | (false, true) => {}
    }
    errors
}

fn validate_block(block: &IPBlock, path: &str) -> Vec<FieldError> {
    let cidr_path = format!("{path}.cidr");
    if block.cidr.is_empty() {
        return vec![FieldError::required(cidr_path, "")];
    }
    let mut errors = formats::cidr(&block.cidr, &cidr_path);
    let Ok(whole) = block.cidr.parse::<Block>() else { return errors };
    for (index, text) in block.except.iter().flatten().enumerate() {
        let path = format!("{path}.except[{index}]");
        errors.extend(formats::cidr(text, &path));
        if let Ok(except) = text.parse::<Block>()
            && !whole.strictly_contains(&except)
        {
            errors.extend(invalid_each(&path, text, vec!["must be a strict subset of `cidr`".into()]));
        }
    }
    errors
}
