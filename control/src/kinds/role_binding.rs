//! RoleBindings: who has a role in one namespace.
//!
//! Source: `pkg/registry/rbac/rolebinding/strategy.go`.

use jiff::Timestamp;
use k8s_openapi::api::rbac::v1::RoleBinding as Object;
use serde_json::Value;

use super::rules::rbac;
use super::{Column, FieldError, Kind, KindInfo, NameRule, meta};

pub struct RoleBindings;

impl Kind for RoleBindings {
    type Object = Object;
    const INFO: KindInfo = KindInfo {
        names: NameRule::PathSegment,
        create_on_update: true,
        not_yet: Some("access is not decided by it yet"),
        ..KindInfo::namespaced(
            rbac::GROUP,
            "v1",
            "RoleBinding",
            "rolebindings",
            "rolebinding",
            "io.k8s.api.rbac.v1.RoleBinding",
        )
    };

    fn default(object: &mut Object) {
        rbac::default_binding(&mut object.role_ref, object.subjects.as_mut());
    }

    fn validate(object: &Object) -> Vec<FieldError> {
        const ROLES: &[&str] = &["Role", "ClusterRole"];
        rbac::validate_binding(&object.role_ref, object.subjects.as_deref(), ROLES)
    }

    fn validate_update(new: &Object, old: &Object) -> Vec<FieldError> {
        rbac::validate_role_update(&new.role_ref, &old.role_ref).into_iter().collect()
    }

    fn columns() -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::NAME,
            rbac::ROLE,
            Column::AGE,
            rbac::USERS,
            rbac::GROUPS,
            rbac::SERVICE_ACCOUNTS,
        ];
        COLUMNS
    }

    fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
        let [users, groups, accounts] = rbac::subject_cells(object.subjects.as_deref());
        vec![
            meta::object_name(&object.metadata),
            rbac::role_cell(&object.role_ref),
            meta::object_age(&object.metadata, now),
            users,
            groups,
            accounts,
        ]
    }
}
