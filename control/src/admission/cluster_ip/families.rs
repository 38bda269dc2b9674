//! The IP families of a Service in a cluster of IPv4 alone. It performs no I/O.
//!
//! Source: `initIPFamilyFields` in `pkg/registry/core/service/storage/alloc.go`.

use k8s_openapi::api::core::v1::ServiceSpec;

use crate::kinds::FieldError;
use crate::kinds::service::{EXTERNAL_NAME, Needs, cluster_ips, ip_families, validate_cluster_ips};

const IPV4: &str = "IPv4";
const IPV6: &str = "IPv6";
const SINGLE: &str = "SingleStack";
const PREFER_DUAL: &str = "PreferDualStack";
const REQUIRE_DUAL: &str = "RequireDualStack";

const POLICY_PATH: &str = "spec.ipFamilyPolicy";

/// Fills in `ipFamilyPolicy` and `ipFamilies`; refuses what this cluster cannot do.
pub fn fill(new: &mut ServiceSpec, old: Option<&ServiceSpec>) -> Result<(), Vec<FieldError>> {
    if new.type_() == EXTERNAL_NAME || old.is_some_and(|old| is_unchanged_preference(new, old)) {
        return Ok(());
    }
    fill_policy(new, old);
    none_or(validate_cluster_ips(new))?;
    let mut errors = old.map_or_else(Vec::new, |old| settle_release(new, old));
    errors.extend(check_single(new));
    errors.extend(infer_families(new));
    none_or(errors)?;
    if is_headless(new) && !new.has_selector() {
        fill_both_families(new);
        return Ok(());
    }
    none_or(check_configured(new))?;
    if ip_families(new).is_empty() {
        new.ip_families = Some(vec![IPV4.to_owned()]);
    }
    Ok(())
}

fn none_or(errors: Vec<FieldError>) -> Result<(), Vec<FieldError>> {
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

fn policy(spec: &ServiceSpec) -> &str {
    spec.ip_family_policy.as_deref().unwrap_or_default()
}

/// Only the first address counts here: `clusterIPs` may not be filled in yet.
fn is_headless(spec: &ServiceSpec) -> bool {
    spec.cluster_ip.as_deref() == Some("None")
}

/// A Service that prefers two families and changes none of its addresses is let alone: it is not to
/// gain or lose one because the cluster did.
pub fn is_unchanged_preference(new: &ServiceSpec, old: &ServiceSpec) -> bool {
    new.type_() == old.type_()
        && new.type_() != EXTERNAL_NAME
        && policy(new) == PREFER_DUAL
        && matches!(policy(old), PREFER_DUAL | "")
        && cluster_ips(new) == cluster_ips(old)
        && ip_families(new) == ip_families(old)
}

fn fill_policy(new: &mut ServiceSpec, old: Option<&ServiceSpec>) {
    if new.ip_family_policy.is_some() {
        return;
    }
    let kept = old.and_then(|old| old.ip_family_policy.clone());
    let default = if is_headless(new) && !new.has_selector() { REQUIRE_DUAL } else { SINGLE };
    new.ip_family_policy = kept.or_else(|| Some(default.to_owned()));
}

/// With the policy `SingleStack`, second addresses and families that were there before go; with
/// another, leaving them out is an error.
fn settle_release(new: &mut ServiceSpec, old: &ServiceSpec) -> Vec<FieldError> {
    if policy(new) == SINGLE {
        if cluster_ips(new) == cluster_ips(old)
            && let Some(ips) = &mut new.cluster_ips
        {
            ips.truncate(1);
        }
        if ip_families(new) == ip_families(old)
            && let Some(families) = &mut new.ip_families
        {
            families.truncate(1);
        }
        return Vec::new();
    }
    let reduced = |new: &[String], old: &[String]| !new.is_empty() && new.len() < old.len();
    let mut errors = Vec::new();
    if reduced(cluster_ips(new), cluster_ips(old)) {
        let why = "must be 'SingleStack' to release the secondary cluster IP";
        errors.push(FieldError::invalid(POLICY_PATH, policy(new), why));
    }
    if reduced(ip_families(new), ip_families(old)) {
        let why = "must be 'SingleStack' to release the secondary IP family";
        errors.push(FieldError::invalid(POLICY_PATH, policy(new), why));
    }
    errors
}

fn check_single(new: &ServiceSpec) -> Vec<FieldError> {
    if policy(new) != SINGLE {
        return Vec::new();
    }
    let doubled = [
        (cluster_ips(new).len() == 2, "cluster IPs"),
        (ip_families(new).len() == 2, "IP families"),
    ];
    doubled
        .into_iter()
        .filter(|(doubled, _)| *doubled)
        .map(|(_, what)| {
            let why = format!(
                "must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified"
            );
            FieldError::invalid(POLICY_PATH, SINGLE, why)
        })
        .collect()
}

/// Takes the families that are not given from the addresses that are.
fn infer_families(new: &mut ServiceSpec) -> Vec<FieldError> {
    let ips = cluster_ips(new).to_vec();
    let mut errors = Vec::new();
    for (index, ip) in ips.iter().enumerate() {
        if ip == "None" {
            break;
        }
        if index < ip_families(new).len() {
            continue;
        }
        if ip.contains(':') {
            let why = "IPv6 is not configured on this cluster";
            let path = format!("spec.clusterIPs[{index}]");
            errors.push(FieldError::invalid(path, ips.as_slice(), why));
        } else {
            new.ip_families.get_or_insert_default().push(IPV4.to_owned());
        }
    }
    errors
}

/// A headless Service without selector may have endpoints of any family, whatever the cluster has.
fn fill_both_families(new: &mut ServiceSpec) {
    let single = policy(new) == SINGLE;
    let families = new.ip_families.get_or_insert_default();
    if families.is_empty() {
        families.push(IPV4.to_owned());
    }
    if families.len() < 2 && !single {
        let other = if families[0] == IPV4 { IPV6 } else { IPV4 };
        families.push(other.to_owned());
    }
}

fn check_configured(new: &ServiceSpec) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if policy(new) == REQUIRE_DUAL {
        let why = "this cluster is not configured for dual-stack services";
        errors.push(FieldError::invalid(POLICY_PATH, REQUIRE_DUAL, why));
    }
    for (index, family) in ip_families(new).iter().enumerate() {
        if family != IPV4 {
            let path = format!("spec.ipFamilies[{index}]");
            let why = "not configured on this cluster";
            errors.push(FieldError::invalid(path, family.as_str(), why));
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn filled(spec: Value) -> Result<Value, Vec<String>> {
        let mut spec: ServiceSpec = serde_json::from_value(spec).unwrap();
        match fill(&mut spec, None) {
            Ok(()) => Ok(json!([spec.ip_family_policy, spec.ip_families])),
            Err(errors) => Err(errors.iter().map(ToString::to_string).collect()),
        }
    }

    #[test]
    fn families_are_filled_in() {
        let none = json!({"clusterIP": "None", "clusterIPs": ["None"]});
        let mut selecting = none.clone();
        selecting["selector"] = json!({"app": "web"});
        let cases = [
            (json!({"type": "ClusterIP"}), json!(["SingleStack", ["IPv4"]])),
            (json!({"ipFamilyPolicy": "PreferDualStack"}), json!(["PreferDualStack", ["IPv4"]])),
            (none, json!(["RequireDualStack", ["IPv4", "IPv6"]])),
            (selecting, json!(["SingleStack", ["IPv4"]])),
            (json!({"type": "ExternalName"}), json!([null, null])),
        ];
        for (spec, expected) in cases {
            assert_eq!(filled(spec.clone()), Ok(expected), "{spec}");
        }
    }

    #[test]
    fn what_the_cluster_cannot_do_is_refused() {
        let cases = [
            (
                json!({"ipFamilyPolicy": "RequireDualStack"}),
                "spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": this cluster is not \
                 configured for dual-stack services",
            ),
            (
                json!({"ipFamilies": ["IPv6"]}),
                "spec.ipFamilies[0]: Invalid value: \"IPv6\": not configured on this cluster",
            ),
            (
                json!({"clusterIP": "fd00::1", "clusterIPs": ["fd00::1"]}),
                "spec.clusterIPs[0]: Invalid value: [\"fd00::1\"]: IPv6 is not configured on this \
                 cluster",
            ),
            (
                json!({"ipFamilies": ["IPv4", "IPv6"]}),
                "spec.ipFamilyPolicy: Invalid value: \"SingleStack\": must be 'RequireDualStack' \
                 or 'PreferDualStack' when multiple IP families are specified",
            ),
        ];
        for (spec, expected) in cases {
            assert_eq!(filled(spec), Err(vec![expected.to_owned()]));
        }
    }
}
