//! Quotas of what a namespace may hold. Nothing enforces them yet.
//!
//! Source: `pkg/registry/core/resourcequota/strategy.go`, `ValidateResourceQuota…` in
//! `pkg/apis/core/validation/validation.go`.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ResourceQuota, ResourceQuotaSpec, ResourceQuotaStatus, ScopedResourceSelectorRequirement,
};
use serde_json::{Value, json};

use super::quantity::{self, Quantity, ResourceList};
use super::{Column, FieldError, Kind, KindInfo, Shown, Subresource, meta, resources};

const SCOPES: &[&str] = &[
    "BestEffort",
    "CrossNamespacePodAffinity",
    "NotBestEffort",
    "NotTerminating",
    "PriorityClass",
    "Terminating",
    "VolumeAttributesClass",
];
const CONFLICTS: [[&str; 2]; 2] =
    [["BestEffort", "NotBestEffort"], ["Terminating", "NotTerminating"]];
const COMPUTE: &[&str] =
    &["cpu", "limits.cpu", "limits.memory", "memory", "requests.cpu", "requests.memory"];

pub struct ResourceQuotas;

impl Kind for ResourceQuotas {
    type Object = ResourceQuota;

    const INFO: KindInfo = KindInfo {
        short_names: &["quota"],
        subresources: &[Subresource::Status],
        returns_deleted: true,
        not_yet: Some("it is not counted yet"),
        ..KindInfo::namespaced(
            "",
            "v1",
            "ResourceQuota",
            "resourcequotas",
            "resourcequota",
            "io.k8s.api.core.v1.ResourceQuota",
        )
    };

    fn default(quota: &mut ResourceQuota) {
        quantity::canonicalise_list(&mut quota.spec.get_or_insert_default().hard);
        let status = quota.status.get_or_insert_default();
        quantity::canonicalise_list(&mut status.hard);
        quantity::canonicalise_list(&mut status.used);
    }

    fn validate(quota: &ResourceQuota) -> Vec<FieldError> {
        let Some(spec) = &quota.spec else { return Vec::new() };
        let mut errors = validate_amounts(spec.hard.as_ref(), "spec.hard");
        errors.extend(validate_scopes(spec));
        errors.extend(validate_selector(spec));
        errors
    }

    fn validate_update(new: &ResourceQuota, old: &ResourceQuota) -> Vec<FieldError> {
        let scopes = |quota: &ResourceQuota| -> BTreeSet<String> {
            quota.spec.iter().flat_map(|spec| spec.scopes.iter().flatten()).cloned().collect()
        };
        if scopes(new) == scopes(old) {
            return Vec::new();
        }
        let shown = json!(new.spec.as_ref().and_then(|spec| spec.scopes.as_ref()));
        vec![FieldError::invalid("spec.scopes", shown, meta::IMMUTABLE)]
    }

    fn validate_status(new: &ResourceQuota, _old: &ResourceQuota) -> Vec<FieldError> {
        let Some(status) = &new.status else { return Vec::new() };
        let mut errors = validate_amounts(status.hard.as_ref(), "status.hard");
        errors.extend(validate_amounts(status.used.as_ref(), "status.used"));
        errors
    }

    fn warnings(new: &ResourceQuota, old: Option<&ResourceQuota>) -> Vec<String> {
        let hard = new.spec.as_ref().and_then(|spec| spec.hard.as_ref());
        match (old, hard) {
            (None, Some(hard)) => ["cpu", "memory", "storage", "ephemeral-storage"]
                .into_iter()
                .filter_map(|resource| warn_of_order(hard, resource))
                .collect(),
            _ => Vec::new(),
        }
    }

    fn columns() -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::NAME,
            Column::new("Request", "string", 0, "What is used of what may be requested."),
            Column::new("Limit", "string", 0, "What is used of what limits may add up to."),
            Column::AGE,
        ];
        COLUMNS
    }

    fn cells(quota: &ResourceQuota, now: Timestamp) -> Vec<Value> {
        let none = ResourceQuotaStatus::default();
        let status = quota.status.as_ref().unwrap_or(&none);
        let (mut requests, mut limits) = (Vec::new(), Vec::new());
        for name in status.hard.iter().flatten().map(|(name, _)| name) {
            let shown = |list| quantity::get(list, name).unwrap_or(Quantity::ZERO);
            let (used, hard) = (shown(status.used.as_ref()), shown(status.hard.as_ref()));
            let column = if name.starts_with("limits.") { &mut limits } else { &mut requests };
            column.push(format!("{name}: {used}/{hard}"));
        }
        vec![
            meta::object_name(&quota.metadata),
            requests.join(", ").into(),
            limits.join(", ").into(),
            meta::object_age(&quota.metadata, now),
        ]
    }
}

fn validate_amounts(list: Option<&ResourceList>, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (name, amount) in list.into_iter().flatten() {
        let path = format!("{path}[{name}]");
        errors.extend(resources::validate_quota_name(name, &path));
        errors.extend(resources::validate_amount(name, amount, &path));
    }
    errors
}

/// The resources of a quota that no scope of this name counts.
fn foreign_to<'a>(scope: &str, spec: &'a ResourceQuotaSpec) -> impl Iterator<Item = &'a String> {
    let counted: &[&[&str]] = match scope {
        "Terminating" | "NotTerminating" | "NotBestEffort" | "PriorityClass"
        | "CrossNamespacePodAffinity" => &[&["pods"], COMPUTE],
        "BestEffort" => &[&["pods"]],
        "VolumeAttributesClass" => &[&["persistentvolumeclaims", "requests.storage"]],
        _ => &[],
    };
    let names = spec.hard.iter().flatten().map(|(name, _)| name);
    names.filter(move |name| {
        let is_counted = counted.iter().any(|list| list.contains(&name.as_str()));
        !counted.is_empty() && resources::is_quota_resource(name) && !is_counted
    })
}

fn validate_scopes(spec: &ResourceQuotaSpec) -> Vec<FieldError> {
    let scopes = spec.scopes.as_deref().unwrap_or_default();
    let invalid = |detail: &str| FieldError::invalid("spec.scopes", json!(scopes), detail);
    let mut errors = Vec::new();
    for scope in scopes {
        if !SCOPES.contains(&scope.as_str()) {
            errors.push(invalid("unsupported scope"));
        }
        for _ in foreign_to(scope, spec) {
            errors.push(invalid("unsupported scope applied to resource"));
        }
    }
    for pair in CONFLICTS {
        if pair.iter().all(|one| scopes.iter().any(|scope| scope == one)) {
            errors.push(invalid("conflicting scopes"));
        }
    }
    errors
}

/// The paths are upstream's: no expression's index.
fn validate_selector(spec: &ResourceQuotaSpec) -> Vec<FieldError> {
    const PATH: &str = "spec.scopeSelector.matchExpressions";
    let Some(selector) = &spec.scope_selector else { return Vec::new() };
    let terms = selector.match_expressions.as_deref().unwrap_or_default();
    let mut errors = Vec::new();
    for term in terms {
        let scope = term.scope_name.as_str();
        if !SCOPES.contains(&scope) {
            let path = format!("{PATH}.scopeName");
            errors.push(FieldError::invalid(path, scope, "unsupported scope"));
        }
        for _ in foreign_to(scope, spec) {
            let detail = "unsupported scope applied to resource";
            errors.push(FieldError::invalid(PATH, shown(terms), detail));
        }
        errors.extend(validate_operator(term, PATH));
    }
    for pair in CONFLICTS {
        if pair.iter().all(|one| terms.iter().any(|term| term.scope_name == *one)) {
            // The value is upstream's: the scopes beside the selector.
            errors.push(FieldError::invalid(PATH, json!(spec.scopes), "conflicting scopes"));
        }
    }
    errors
}

/// A selector as upstream shows it.
fn shown(terms: &[ScopedResourceSelectorRequirement]) -> Shown {
    let selector = json!({ "matchExpressions": terms });
    Shown::internal("io.k8s.api.core.v1.ScopeSelector", &selector)
}

fn validate_operator(term: &ScopedResourceSelectorRequirement, path: &str) -> Vec<FieldError> {
    const EXISTS: &[&str] = &[
        "BestEffort",
        "CrossNamespacePodAffinity",
        "NotBestEffort",
        "NotTerminating",
        "Terminating",
    ];
    let operator = term.operator.as_str();
    let operator_path = format!("{path}.operator");
    let values_path = format!("{path}.values");
    let values = term.values.as_deref().unwrap_or_default();
    let mut errors = Vec::new();
    if EXISTS.contains(&term.scope_name.as_str()) && operator != "Exists" {
        let detail = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
        errors.push(FieldError::invalid(&operator_path, operator, detail));
    }
    match operator {
        "In" | "NotIn" if values.is_empty() => {
            let detail =
                "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
            errors.push(FieldError::required(values_path, detail));
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            let detail =
                "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
            errors.push(FieldError::invalid(values_path, json!(values), detail));
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        _ => {
            let detail = "not a valid selector operator";
            errors.push(FieldError::invalid(operator_path, operator, detail));
        }
    }
    errors
}

/// More may be requested of a resource than limits may add up to.
fn warn_of_order(hard: &ResourceList, resource: &str) -> Option<String> {
    let mut name = format!("requests.{resource}");
    let has_bare_name = matches!(resource, "cpu" | "memory");
    if has_bare_name && !hard.contains_key(&name) {
        name = resource.to_owned();
    }
    let limit_name = format!("limits.{resource}");
    let request = quantity::get(Some(hard), &name)?;
    let limit = quantity::get(Some(hard), &limit_name)?;
    (request > limit).then(|| {
        format!("ResourceQuota {name} ({request}) should be less than {limit_name} ({limit})")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::{problems, row, warnings};

    #[test]
    fn scopes_fit_their_resources() {
        let quota = json!({"metadata": {"name": "a"}, "spec": {
            "hard": {"services": "1", "x.io/a": "1"},
            "scopes": ["BestEffort", "NotBestEffort", "Odd"],
        }});
        let shown = "[\"BestEffort\",\"NotBestEffort\",\"Odd\"]";
        assert_eq!(
            problems::<ResourceQuotas>(&quota),
            [
                format!("spec.scopes: Invalid value: {shown}: unsupported scope applied to resource"),
                format!("spec.scopes: Invalid value: {shown}: unsupported scope applied to resource"),
                format!("spec.scopes: Invalid value: {shown}: unsupported scope"),
                format!("spec.scopes: Invalid value: {shown}: conflicting scopes"),
            ]
        );
    }

    #[test]
    fn selectors_fit_their_operators() {
        let quota = json!({"metadata": {"name": "a"}, "spec": {"scopeSelector": {
            "matchExpressions": [
                {"scopeName": "PriorityClass", "operator": "In"},
                {"scopeName": "Terminating", "operator": "DoesNotExist", "values": ["a"]},
                {"scopeName": "Odd", "operator": "Like"},
            ],
        }}});
        let path = "spec.scopeSelector.matchExpressions";
        assert_eq!(
            problems::<ResourceQuotas>(&quota),
            [
                format!("{path}.values: Required value: must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"),
                format!("{path}.operator: Invalid value: \"DoesNotExist\": must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity"),
                format!("{path}.values: Invalid value: [\"a\"]: must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"),
                format!("{path}.scopeName: Invalid value: \"Odd\": unsupported scope"),
                format!("{path}.operator: Invalid value: \"Like\": not a valid selector operator"),
            ]
        );
    }

    #[test]
    fn requests_beyond_limits_are_told_of() {
        let quota = json!({"metadata": {"name": "a"}, "spec": {"hard": {
            "cpu": "2", "limits.cpu": "1", "requests.memory": "1Gi", "limits.memory": "1Gi",
            "requests.storage": "2Gi", "limits.storage": "1Gi",
        }}});
        assert_eq!(
            warnings::<ResourceQuotas>(quota, None),
            [
                "ResourceQuota cpu (2) should be less than limits.cpu (1)",
                "ResourceQuota requests.storage (2Gi) should be less than limits.storage (1Gi)",
            ]
        );
    }

    #[test]
    fn what_is_used_is_shown() {
        let quota = json!({"metadata": {"name": "a"}, "status": {
            "hard": {"pods": "2", "cpu": "1", "limits.cpu": "2"}, "used": {"cpu": "500m"},
        }});
        assert_eq!(
            row::<ResourceQuotas>(&quota),
            ["a", "cpu: 500m/1, pods: 0/2", "limits.cpu: 0/2", "<unknown>"]
        );
    }
}
