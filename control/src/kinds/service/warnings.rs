//! What is let through of a Service but told of.
//!
//! Source: `pkg/api/service/warnings.go`.

use k8s_openapi::api::core::v1::{Service, ServiceSpec};

use super::needs::{CLUSTER_IP, EXTERNAL_NAME, LOAD_BALANCER, Needs as _};
use crate::kinds::warn;

const HINTS: &str = "service.kubernetes.io/topology-aware-hints";
const MODE: &str = "service.kubernetes.io/topology-mode";

/// The warnings of a Service.
pub fn of(service: &Service) -> Vec<String> {
    let mut warnings = Vec::new();
    let annotations = service.metadata.annotations.as_ref();
    if annotations.is_some_and(|annotations| annotations.contains_key(HINTS)) {
        warnings.push(format!("annotation {HINTS} is deprecated, please use {MODE} instead"));
    }
    let Some(spec) = &service.spec else { return warnings };
    let is_set = |field: &Option<String>| field.as_ref().is_some_and(|text| !text.is_empty());
    let is_headless = spec.type_() == CLUSTER_IP && spec.cluster_ip.as_deref() == Some("None");
    let externals = spec.external_ips.as_deref().unwrap_or_default();
    let external_name = spec.type_() == EXTERNAL_NAME;
    if !is_headless {
        warnings.extend(each(spec.cluster_ips.as_deref(), "spec.clusterIPs", warn::ip));
    } else {
        if is_set(&spec.load_balancer_ip) {
            warnings.push("spec.loadBalancerIP is ignored for headless services".to_owned());
        }
        if !externals.is_empty() {
            warnings.push("spec.externalIPs is ignored for headless services".to_owned());
        }
        if spec.session_affinity.as_deref() != Some("None") {
            warnings.push("spec.SessionAffinity is ignored for headless services".to_owned());
        }
    }
    warnings.extend(each(Some(externals), "spec.externalIPs", warn::ip));
    if !externals.is_empty() && !is_headless && !external_name {
        warnings.push(
            "spec.externalIPs is deprecated and may no longer be implemented in some clusters"
                .to_owned(),
        );
    }
    let balancer = spec.load_balancer_ip.as_deref().unwrap_or_default();
    warnings.extend(warn::ip(balancer, "spec.loadBalancerIP"));
    let ranges = spec.load_balancer_source_ranges.as_deref();
    warnings.extend(each(ranges, "spec.loadBalancerSourceRanges", warn::cidr));
    if external_name && !externals.is_empty() {
        warnings.push(format!("spec.externalIPs is ignored when spec.type is {EXTERNAL_NAME:?}"));
    }
    if !external_name && is_set(&spec.external_name) {
        warnings
            .push(format!("spec.externalName is ignored when spec.type is not {EXTERNAL_NAME:?}"));
    }
    if spec.traffic_distribution.as_deref() == Some("PreferClose") {
        warnings.push(
            "spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\""
                .to_owned(),
        );
    }
    if !is_headless && !external_name {
        warnings.extend(not_yet(spec));
    }
    warnings
}

/// Ours: what routes nothing in this network so far.
fn not_yet(spec: &ServiceSpec) -> impl Iterator<Item = String> {
    let is_local = |policy: &Option<String>| policy.as_deref() == Some("Local");
    let everywhere = "has no effect yet: every ready endpoint gets traffic";
    [
        (is_local(&spec.internal_traffic_policy), "internalTrafficPolicy", everywhere),
        (is_local(&spec.external_traffic_policy), "externalTrafficPolicy", everywhere),
        (spec.traffic_distribution.is_some(), "trafficDistribution", everywhere),
        (
            spec.external_ips.as_ref().is_some_and(|ips| !ips.is_empty()),
            "externalIPs",
            "has no effect yet: these addresses are not opened",
        ),
        (
            spec.type_() == LOAD_BALANCER,
            "type",
            "\"LoadBalancer\" gets no address yet: the cluster IP and the node ports work",
        ),
    ]
    .into_iter()
    .filter(|(applies, ..)| *applies)
    .map(|(_, field, why)| format!("spec.{field}: {why}"))
}

/// The warnings about the texts of a list at `path`.
fn each(
    texts: Option<&[String]>,
    path: &str,
    warning: fn(&str, &str) -> Option<String>,
) -> Vec<String> {
    let texts = texts.unwrap_or_default().iter().enumerate();
    texts.filter_map(|(index, text)| warning(text, &format!("{path}[{index}]"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::service::Services;
    use crate::kinds::testing::warnings;
    use serde_json::json;

    #[test]
    fn what_a_service_asks_for_in_vain_is_told_of() {
        let cases = [
            (
                json!({"type": "ClusterIP", "clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"]}),
                vec![],
            ),
            (
                json!({
                    "type": "ClusterIP", "clusterIP": "None", "clusterIPs": ["None"],
                    "loadBalancerIP": "1.2.3.4", "externalIPs": ["1.2.3.4"],
                    "sessionAffinity": "ClientIP",
                }),
                vec![
                    "spec.loadBalancerIP is ignored for headless services",
                    "spec.externalIPs is ignored for headless services",
                    "spec.SessionAffinity is ignored for headless services",
                ],
            ),
            (
                json!({
                    "type": "LoadBalancer", "externalIPs": ["1.2.3.4"], "externalName": "a",
                    "loadBalancerSourceRanges": ["10.0.0.1/24"],
                    "trafficDistribution": "PreferClose",
                }),
                vec![
                    "spec.externalIPs is deprecated and may no longer be implemented in some clusters",
                    "spec.loadBalancerSourceRanges[0]: CIDR value \"10.0.0.1/24\" is ambiguous in this context (should be \"10.0.0.0/24\" or \"10.0.0.1/32\"?)",
                    "spec.externalName is ignored when spec.type is not \"ExternalName\"",
                    "spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"",
                    "spec.trafficDistribution: has no effect yet: every ready endpoint gets traffic",
                    "spec.externalIPs: has no effect yet: these addresses are not opened",
                    "spec.type: \"LoadBalancer\" gets no address yet: the cluster IP and the node ports work",
                ],
            ),
            (
                json!({"type": "ClusterIP", "internalTrafficPolicy": "Local"}),
                vec![
                    "spec.internalTrafficPolicy: has no effect yet: every ready endpoint gets traffic",
                ],
            ),
            (
                json!({"type": "ExternalName", "externalName": "a", "externalIPs": ["1.2.3.4"]}),
                vec!["spec.externalIPs is ignored when spec.type is \"ExternalName\""],
            ),
        ];
        for (spec, expected) in cases {
            let service = json!({"metadata": {}, "spec": spec});
            assert_eq!(warnings::<Services>(service, None), expected, "{spec}");
        }
        let hinted = json!({"metadata": {"annotations": {HINTS: "auto"}}});
        assert_eq!(warnings::<Services>(hinted, None).len(), 1);
    }
}
