//! Validation of what a load balancer says of a Service. Source:
//! `pkg/apis/core/validation/validation.go`.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{LoadBalancerIngress, Service};

use super::needs::{LOAD_BALANCER, Needs};
use super::text;
use crate::kinds::formats::ip;
use crate::kinds::meta::invalid_each;
use crate::kinds::{FieldError, names};

/// All problems of a status.
pub fn validate(object: &Service) -> Vec<FieldError> {
    const PATH: &str = "status.loadBalancer.ingress";
    let status = object.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let ingresses = status.and_then(|status| status.ingress.as_deref()).unwrap_or_default();
    let balances = object.spec.as_ref().is_some_and(|spec| spec.type_() == LOAD_BALANCER);
    if !balances && !ingresses.is_empty() {
        let why = "may only be used when `spec.type` is 'LoadBalancer'";
        return vec![FieldError::forbidden(PATH, why)];
    }
    let ingresses = ingresses.iter().enumerate();
    ingresses
        .flat_map(|(index, ingress)| validate_ingress(ingress, &format!("{PATH}[{index}]")))
        .collect()
}

fn validate_ingress(ingress: &LoadBalancerIngress, path: &str) -> Vec<FieldError> {
    const MODES: &[&str] = &["Proxy", "VIP"];
    let address = text(&ingress.ip);
    let mut errors = Vec::new();
    if !address.is_empty() {
        errors.extend(ip(address, &format!("{path}.ip")));
    }
    let mode_path = format!("{path}.ipMode");
    match (address, ingress.ip_mode.as_deref()) {
        ("", None) => {}
        ("", Some(_)) => {
            let why = "may not be specified when `ip` is not set";
            errors.push(FieldError::forbidden(mode_path, why));
        }
        (_, None) => {
            errors.push(FieldError::required(mode_path, "must be specified when `ip` is set"));
        }
        (_, Some(mode)) if MODES.contains(&mode) => {}
        (_, Some(mode)) => errors.push(FieldError::not_supported(mode_path, mode, MODES)),
    }
    let hostname = text(&ingress.hostname);
    if !hostname.is_empty() {
        let path = format!("{path}.hostname");
        errors.extend(invalid_each(&path, hostname, names::subdomain(hostname)));
        if hostname.parse::<IpAddr>().is_ok() {
            let why = "must be a DNS name, not an IP address";
            errors.push(FieldError::invalid(path, hostname, why));
        }
    }
    errors
}
