//! Roles and who has them: what the four kinds of RBAC share.
//!
//! Source: `pkg/apis/rbac/validation/validation.go`, `pkg/apis/rbac/v1/defaults.go`.

use k8s_openapi::api::rbac::v1::{PolicyRule, RoleRef, Subject};
use serde_json::{Value, json};

use crate::kinds::meta::invalid_each;
use crate::kinds::{Column, FieldError, names};

pub const GROUP: &str = "rbac.authorization.k8s.io";

/// What a role may not allow. `namespaced`: it holds in one namespace, where URLs are not.
pub fn validate_rules(rules: Option<&[PolicyRule]>, namespaced: bool) -> Vec<FieldError> {
    let rules = rules.unwrap_or_default().iter().enumerate();
    rules
        .flat_map(|(index, rule)| validate_rule(rule, namespaced, &format!("rules[{index}]")))
        .collect()
}

fn validate_rule(rule: &PolicyRule, namespaced: bool, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if rule.verbs.is_empty() {
        let why = "verbs must contain at least one value";
        errors.push(FieldError::required(format!("{path}.verbs"), why));
    }
    let is_empty = |list: &Option<Vec<String>>| list.as_ref().is_none_or(Vec::is_empty);
    let (groups, resources) = (is_empty(&rule.api_groups), is_empty(&rule.resources));
    if !is_empty(&rule.non_resource_urls) {
        let urls: Vec<String> = rule.non_resource_urls.clone().unwrap_or_default();
        let mut refuse = |why: &str| {
            errors.push(FieldError::invalid(format!("{path}.nonResourceURLs"), urls.clone(), why));
        };
        if namespaced {
            refuse("namespaced rules cannot apply to non-resource URLs");
        }
        if !groups || !resources || !is_empty(&rule.resource_names) {
            refuse("rules cannot apply to both regular resources and non-resource URLs");
        }
        return errors;
    }
    if groups {
        let why = "resource rules must supply at least one api group";
        errors.push(FieldError::required(format!("{path}.apiGroups"), why));
    }
    if resources {
        let why = "resource rules must supply at least one resource";
        errors.push(FieldError::required(format!("{path}.resources"), why));
    }
    errors
}

/// Fills in the groups of a binding's role and subjects.
pub fn default_binding(role: &mut RoleRef, subjects: Option<&mut Vec<Subject>>) {
    let is_unset = |group: &Option<String>| group.as_deref().unwrap_or_default().is_empty();
    if is_unset(&role.api_group) {
        role.api_group = Some(GROUP.to_owned());
    }
    for subject in subjects.into_iter().flatten() {
        if is_unset(&subject.api_group) && matches!(subject.kind.as_str(), "User" | "Group") {
            subject.api_group = Some(GROUP.to_owned());
        }
    }
}

/// All problems of a binding to one of these kinds of roles.
pub fn validate_binding(
    role: &RoleRef,
    subjects: Option<&[Subject]>,
    kinds: &[&str],
) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let group = role.api_group.as_deref().unwrap_or_default();
    if group != GROUP {
        errors.push(FieldError::not_supported("roleRef.apiGroup", group, &[GROUP]));
    }
    if !kinds.contains(&role.kind.as_str()) {
        errors.push(FieldError::not_supported("roleRef.kind", role.kind.as_str(), kinds));
    }
    if role.name.is_empty() {
        errors.push(FieldError::required("roleRef.name", ""));
    } else {
        let problems = names::path_segment(&role.name, false);
        errors.extend(invalid_each("roleRef.name", &role.name, problems));
    }
    let namespaced = kinds.contains(&"Role");
    for (index, subject) in subjects.unwrap_or_default().iter().enumerate() {
        errors.extend(validate_subject(subject, namespaced, &format!("subjects[{index}]")));
    }
    errors
}

fn validate_subject(subject: &Subject, namespaced: bool, path: &str) -> Vec<FieldError> {
    const KINDS: &[&str] = &["ServiceAccount", "User", "Group"];
    let mut errors = Vec::new();
    let group = subject.api_group.as_deref().unwrap_or_default();
    let name = format!("{path}.name");
    if subject.name.is_empty() {
        errors.push(FieldError::required(name.as_str(), ""));
    }
    match subject.kind.as_str() {
        "ServiceAccount" => {
            if !subject.name.is_empty() {
                let problems = names::subdomain(&subject.name);
                errors.extend(invalid_each(&name, &subject.name, problems));
            }
            if !group.is_empty() {
                errors.push(FieldError::not_supported(format!("{path}.apiGroup"), group, &[""]));
            }
            if !namespaced && subject.namespace.as_deref().unwrap_or_default().is_empty() {
                errors.push(FieldError::required(format!("{path}.namespace"), ""));
            }
        }
        "User" | "Group" => {
            if group != GROUP {
                let path = format!("{path}.apiGroup");
                errors.push(FieldError::not_supported(path, group, &[GROUP]));
            }
        }
        kind => errors.push(FieldError::not_supported(format!("{path}.kind"), kind, KINDS)),
    }
    errors
}

/// A binding stays with its role.
pub fn validate_role_update(new: &RoleRef, old: &RoleRef) -> Option<FieldError> {
    (new != old).then(|| FieldError::invalid("roleRef", json!(new), "cannot change roleRef"))
}

pub const ROLE: Column = Column::new("Role", "string", 0, "The role that is bound.");
pub const USERS: Column = Column::new("Users", "string", 1, "The users who have the role.");
pub const GROUPS: Column = Column::new("Groups", "string", 1, "The groups that have the role.");
pub const SERVICE_ACCOUNTS: Column =
    Column::new("ServiceAccounts", "string", 1, "The service accounts that have the role.");

/// The cell of the role that a binding is for.
pub fn role_cell(role: &RoleRef) -> Value {
    format!("{}/{}", role.kind, role.name).into()
}

/// The cells of a binding's users, groups and service accounts.
pub fn subject_cells(subjects: Option<&[Subject]>) -> [Value; 3] {
    ["User", "Group", "ServiceAccount"].map(|kind| {
        let of_kind = subjects.unwrap_or_default().iter().filter(|subject| subject.kind == kind);
        let texts: Vec<String> = of_kind
            .map(|subject| match kind {
                "ServiceAccount" => {
                    let namespace = subject.namespace.as_deref().unwrap_or_default();
                    format!("{namespace}/{}", subject.name)
                }
                _ => subject.name.clone(),
            })
            .collect();
        texts.join(", ").into()
    })
}
