//! ClusterRoles: what may be done in the whole cluster.
//!
//! Source: `pkg/registry/rbac/clusterrole/strategy.go`.

use k8s_openapi::api::rbac::v1::{AggregationRule, ClusterRole as Object};
use serde_json::Value;

use super::rules::rbac;
use super::{FieldError, Kind, KindInfo, NameRule, selector};

pub struct ClusterRoles;

impl Kind for ClusterRoles {
    type Object = Object;
    const INFO: KindInfo = KindInfo {
        names: NameRule::PathSegment,
        create_on_update: true,
        not_yet: Some("access is not decided by it yet"),
        ..KindInfo::cluster(
            rbac::GROUP,
            "v1",
            "ClusterRole",
            "clusterroles",
            "clusterrole",
            "io.k8s.api.rbac.v1.ClusterRole",
        )
    };

    fn validate(object: &Object) -> Vec<FieldError> {
        let mut errors = rbac::validate_rules(object.rules.as_deref(), false);
        errors.extend(object.aggregation_rule.iter().flat_map(validate_aggregation));
        errors
    }
}

fn validate_aggregation(rule: &AggregationRule) -> Vec<FieldError> {
    const PATH: &str = "aggregationRule.clusterRoleSelectors";
    let selectors = rule.cluster_role_selectors.as_deref().unwrap_or_default();
    if selectors.is_empty() {
        let why = "at least one clusterRoleSelector required if aggregationRule is non-nil";
        return vec![FieldError::required(PATH, why)];
    }
    let mut errors = Vec::new();
    for (index, selector) in selectors.iter().enumerate() {
        let path = format!("{PATH}[{index}]");
        let problems = selector::validate(selector, &path);
        let is_unusable = !problems.is_empty();
        errors.extend(problems);
        if is_unusable {
            errors.push(FieldError::invalid(path, Value::Null, "invalid label selector."));
        }
    }
    errors
}
