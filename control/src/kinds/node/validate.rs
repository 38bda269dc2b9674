//! What a node may say of itself. Source: `ValidateNode…` in `pkg/apis/core/validation/validation.go`.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Node, NodeSpec, NodeStatus, Taint};

use crate::kinds::pod::scheduling;
use crate::kinds::quantity::ResourceList;
use crate::kinds::rules::node_annotations;
use crate::kinds::{FieldError, meta, names, resources};

const FEATURE_BYTES_MAX: usize = 253;

fn taints(taints: &[Taint], path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, taint) in taints.iter().enumerate() {
        let path = format!("{path}[{index}]");
        errors.extend(meta::validate_label_key(&taint.key, &format!("{path}.key")));
        let value = taint.value.as_deref().unwrap_or_default();
        let messages = names::label_value(value);
        if !messages.is_empty() {
            let path = format!("{path}.value");
            errors.push(FieldError::invalid(path, value, messages.join(";")));
        }
        let effect = format!("{path}.effect");
        if taint.effect.is_empty() {
            errors.push(FieldError::required(effect, ""));
        } else {
            scheduling::validate_effect(&taint.effect, &effect, &mut errors);
        }
        if !seen.insert((&taint.effect, &taint.key)) {
            let value = serde_json::to_value(taint).unwrap_or_default();
            let mut error = FieldError::duplicate(path, value);
            error.detail = "taints must be unique by key and effect pair".to_owned();
            errors.push(error);
        }
    }
    errors
}

pub fn annotations(node: &Node) -> Vec<FieldError> {
    node_annotations::validate(node.metadata.annotations.as_ref(), taints)
}

/// The path is upstream's.
pub fn own_taints(node: &Node) -> Vec<FieldError> {
    let own = node.spec.as_ref().and_then(|spec| spec.taints.as_deref());
    taints(own.unwrap_or_default(), "metadata.taints")
}

pub fn amounts(status: &NodeStatus) -> Vec<FieldError> {
    let mut errors = resource_list(status.capacity.as_ref(), "status.capacity");
    errors.extend(resource_list(status.allocatable.as_ref(), "status.allocatable"));
    errors
}

pub fn swap(status: &NodeStatus) -> Option<FieldError> {
    let swap = status.node_info.as_ref().and_then(|info| info.swap.as_ref());
    let bytes = swap.and_then(|swap| swap.capacity).filter(|bytes| *bytes <= 0)?;
    // The path is upstream's.
    let path = "metadata.nodeSwapStatus.capacity";
    Some(FieldError::invalid(path, bytes, "must be greater than zero"))
}

/// The ranges of a node's pods are set once: an error for each that is another.
pub fn cidrs_update(new: &NodeSpec, old: &NodeSpec) -> Vec<FieldError> {
    let cidrs = |spec: &NodeSpec| spec.pod_cidrs.clone().unwrap_or_default();
    let (new, old) = (cidrs(new), cidrs(old));
    let changes = match old.len() {
        0 => 0,
        count if count != new.len() => 1,
        _ => old.iter().zip(&new).filter(|(old, new)| old != new).count(),
    };
    let detail = "node updates may not change podCIDR except from \"\" to valid";
    vec![FieldError::forbidden("spec.podCIDRs", detail); changes]
}

fn resource_list(list: Option<&ResourceList>, path: &str) -> Vec<FieldError> {
    let pairs = list.into_iter().flatten();
    pairs
        .flat_map(|(name, amount)| {
            resources::validate_amount(name, amount, &format!("{path}.{name}"))
        })
        .collect()
}

pub fn features(status: &NodeStatus) -> Vec<FieldError> {
    let features = status.declared_features.as_deref().unwrap_or_default();
    let mut errors = Vec::new();
    for (index, feature) in features.iter().enumerate() {
        let path = format!("status.declaredFeatures[{index}]");
        match index.checked_sub(1).map(|before| feature.cmp(&features[before])) {
            Some(Ordering::Equal) => errors.push(FieldError::duplicate(&path, feature.as_str())),
            Some(Ordering::Less) => {
                let detail = "list must be sorted alphabetically";
                errors.push(FieldError::invalid(&path, feature.as_str(), detail));
            }
            _ => {}
        }
        if feature.len() > FEATURE_BYTES_MAX {
            let detail = format!(
                "invalid feature name {feature:?}: must be no more than {FEATURE_BYTES_MAX} characters"
            );
            errors.push(FieldError::invalid(&path, feature.as_str(), detail));
        } else if !is_feature_name(feature) {
            let detail = format!(
                "invalid feature name {feature:?}: must start with an UpperCamelCase segment, with subsequent segments separated by '/' (e.g., MyFeature or MyFeature/mySubFeature), and contain only alphanumeric characters and slashes"
            );
            errors.push(FieldError::invalid(&path, feature.as_str(), detail));
        }
    }
    errors
}

fn is_feature_name(feature: &str) -> bool {
    feature.starts_with(|first: char| first.is_ascii_uppercase())
        && feature.split('/').all(|segment| {
            segment.starts_with(|first: char| first.is_ascii_alphabetic())
                && segment.bytes().all(|byte| byte.is_ascii_alphanumeric())
        })
}

pub fn addresses(status: &NodeStatus) -> Vec<FieldError> {
    let addresses = status.addresses.as_deref().unwrap_or_default();
    let mut seen = BTreeMap::new();
    let mut errors = Vec::new();
    for (index, address) in addresses.iter().enumerate() {
        if seen.insert((&address.type_, &address.address), index).is_some() {
            let value = serde_json::to_value(address).unwrap_or_default();
            errors.push(FieldError::duplicate(format!("status.addresses[{index}]"), value));
        }
    }
    errors
}

pub fn cidrs(cidrs: &[String]) -> Vec<FieldError> {
    const PATH: &str = "spec.podCIDRs";
    let mut errors = Vec::new();
    let mut families = BTreeSet::new();
    for (index, cidr) in cidrs.iter().enumerate() {
        match parse_cidr(cidr) {
            Some(address) => _ = families.insert(address.is_ipv4()),
            None => errors.push(FieldError::invalid(
                format!("{PATH}[{index}]"),
                cidr.as_str(),
                "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
            )),
        }
    }
    if cidrs.len() > 1 && (families.len() != 2 || cidrs.len() > 2) {
        let detail = "may specify no more than one CIDR for each IP family";
        errors.push(FieldError::invalid(PATH, cidrs.to_vec(), detail));
    }
    errors
}

fn parse_cidr(cidr: &str) -> Option<IpAddr> {
    let (address, length) = cidr.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let length: u8 = length.parse().ok()?;
    (length <= if address.is_ipv4() { 32 } else { 128 }).then_some(address)
}
