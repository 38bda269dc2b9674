//! What may not change of a Service. Source: `pkg/apis/core/validation/validation.go`.

use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use serde_json::Value;

use super::needs::{EXTERNAL_NAME, LOAD_BALANCER, Needs, cluster_ips, ip_families};
use crate::kinds::FieldError;
use crate::kinds::meta::IMMUTABLE;

const UNCHANGEABLE: &str = "may not change once set";

/// All problems of an update: what stays once it is set.
pub fn validate(new: &Service, old: &Service) -> Vec<FieldError> {
    let (Some(new), Some(old)) = (&new.spec, &old.spec) else { return Vec::new() };
    let mut errors = Vec::new();
    if new.type_() != EXTERNAL_NAME && old.type_() != EXTERNAL_NAME {
        errors.extend(validate_cluster_ips_update(new, old));
        if !new.is_headless() && !old.is_headless() {
            errors.extend(validate_families_update(new, old));
        }
    }
    let both_balance = new.type_() == LOAD_BALANCER && old.type_() == LOAD_BALANCER;
    if both_balance && new.load_balancer_class != old.load_balancer_class {
        let class = new.load_balancer_class.as_deref().map_or(Value::Null, Value::from);
        errors.push(FieldError::invalid("spec.loadBalancerClass", class, UNCHANGEABLE));
    }
    if new.needs_health_check()
        && old.needs_health_check()
        && new.health_check_node_port.unwrap_or(0) != old.health_check_node_port.unwrap_or(0)
    {
        errors.push(FieldError::forbidden("spec.healthCheckNodePort", IMMUTABLE));
    }
    errors
}

/// The first address stays; a second one may come, and go when the policy says `SingleStack`.
fn validate_cluster_ips_update(new: &ServiceSpec, old: &ServiceSpec) -> Vec<FieldError> {
    if new.is_headless() && old.is_headless() {
        return Vec::new();
    }
    let (now, before) = (cluster_ips(new), cluster_ips(old));
    let invalid =
        |index: usize, why| FieldError::invalid(format!("spec.clusterIPs[{index}]"), now, why);
    if now.len() == before.len() {
        let pairs = now.iter().zip(before).enumerate();
        let changed = pairs.filter(|(_, (now, before))| now != before);
        return changed.map(|(index, _)| invalid(index, UNCHANGEABLE)).collect();
    }
    let mut errors = Vec::new();
    match (now.first(), before.first()) {
        (None, _) => errors.push(invalid(0, "primary clusterIP can not be unset")),
        (Some(now), Some(before)) if now != before => errors.push(invalid(0, UNCHANGEABLE)),
        _ => {}
    }
    if now.len() == 1 && before.len() > 1 {
        errors.extend(validate_release(new, "clusterIP"));
    }
    errors
}

fn validate_families_update(new: &ServiceSpec, old: &ServiceSpec) -> Vec<FieldError> {
    const PATH: &str = "spec.ipFamilies[0]";
    let (now, before) = (ip_families(new), ip_families(old));
    if now.len() == before.len() {
        let changed = now.iter().zip(before).filter(|(now, before)| now != before);
        return changed.map(|_| FieldError::invalid(PATH, now, UNCHANGEABLE)).collect();
    }
    let mut errors = Vec::new();
    match (now.first(), before.first()) {
        (None, _) => {
            errors.push(FieldError::invalid(PATH, now, "primary ipFamily can not be unset"));
        }
        (Some(first), Some(before)) if first != before => {
            errors.push(FieldError::invalid(PATH, now, UNCHANGEABLE));
        }
        _ => {}
    }
    if now.len() == 1 && before.len() > 1 {
        errors.extend(validate_release(new, "ipFamily"));
    }
    errors
}

fn validate_release(new: &ServiceSpec, what: &str) -> Option<FieldError> {
    let policy = new.ip_family_policy.as_deref();
    (policy != Some("SingleStack")).then(|| {
        FieldError::invalid(
            "spec.ipFamilyPolicy",
            policy.map_or(Value::Null, Value::from),
            format!("must be set to 'SingleStack' when releasing the secondary {what}"),
        )
    })
}
