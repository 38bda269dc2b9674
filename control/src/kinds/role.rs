//! Roles: what may be done in one namespace.
//!
//! Source: `pkg/registry/rbac/role/strategy.go`.

use k8s_openapi::api::rbac::v1::Role as Object;

use super::rules::rbac;
use super::{FieldError, Kind, KindInfo, NameRule};

pub struct Roles;

impl Kind for Roles {
    type Object = Object;
    const INFO: KindInfo = KindInfo {
        names: NameRule::PathSegment,
        create_on_update: true,
        not_yet: Some("access is not decided by it yet"),
        ..KindInfo::namespaced(
            rbac::GROUP,
            "v1",
            "Role",
            "roles",
            "role",
            "io.k8s.api.rbac.v1.Role",
        )
    };

    fn validate(object: &Object) -> Vec<FieldError> {
        rbac::validate_rules(object.rules.as_deref(), true)
    }
}
