//! Fields that upstream workloads set as a matter of course and that mean nothing for a sandbox,
//! which has no users, no kernel of its own and no host files.
//!
//! A field that asks for what every sandbox is anyway (`capabilities.drop`, a root file system that
//! is read-only, no escalation of privileges) is not worth a word. What a node refuses to run is
//! the node's to say.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{PodSecurityContext, PodSpec, SecurityContext};

use super::super::validation::visit_containers;
use super::Warnings;

type PodTest = fn(&PodSecurityContext) -> bool;
type ContainerTest = fn(&SecurityContext) -> bool;

const POD: &[(&str, PodTest)] = &[
    ("appArmorProfile", |c| c.app_armor_profile.is_some()),
    ("fsGroup", |c| c.fs_group.is_some()),
    ("fsGroupChangePolicy", |c| c.fs_group_change_policy.is_some()),
    ("runAsGroup", |c| c.run_as_group.is_some()),
    ("runAsNonRoot", |c| c.run_as_non_root.is_some()),
    ("runAsUser", |c| c.run_as_user.is_some()),
    ("seccompProfile", |c| c.seccomp_profile.is_some()),
    ("seLinuxChangePolicy", |c| c.se_linux_change_policy.is_some()),
    ("seLinuxOptions", |c| c.se_linux_options.is_some()),
    ("supplementalGroups", |c| c.supplemental_groups.as_ref().is_some_and(|all| !all.is_empty())),
    ("supplementalGroupsPolicy", |c| c.supplemental_groups_policy.is_some()),
];

const CONTAINER: &[(&str, ContainerTest)] = &[
    ("allowPrivilegeEscalation", |c| c.allow_privilege_escalation == Some(true)),
    ("appArmorProfile", |c| c.app_armor_profile.is_some()),
    ("procMount", |c| c.proc_mount.is_some()),
    ("runAsGroup", |c| c.run_as_group.is_some()),
    ("runAsNonRoot", |c| c.run_as_non_root.is_some()),
    ("runAsUser", |c| c.run_as_user.is_some()),
    ("seccompProfile", |c| c.seccomp_profile.is_some()),
    ("seLinuxOptions", |c| c.se_linux_options.is_some()),
];

/// Adds one warning for each field that is set anywhere, at the first place where it is.
pub fn warn(spec: &PodSpec, path: &str, warnings: &mut Warnings) {
    let mut told = BTreeSet::new();
    let mut tell = |field: &'static str, path: &str| {
        if told.insert(field) {
            warnings.push(format!("{path}.securityContext.{field}: has no effect on Copepod"));
        }
    };
    if let Some(context) = &spec.security_context {
        for (field, _) in POD.iter().filter(|(_, test)| test(context)) {
            tell(field, path);
        }
    }
    visit_containers(spec, path, |container, path| {
        let Some(context) = &container.security_context else { return };
        for (field, _) in CONTAINER.iter().filter(|(_, test)| test(context)) {
            tell(field, path);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_alphabetical() {
        let sorted = |names: Vec<&str>| names.is_sorted_by_key(|name| name.to_lowercase());
        assert!(sorted(POD.iter().map(|entry| entry.0).collect()));
        assert!(sorted(CONTAINER.iter().map(|entry| entry.0).collect()));
    }
}
