//! The rules of security contexts and of what an operating system has.
//!
//! Source: `ValidateSecurityContext`, `validatePodSpecSecurityContext`, `validateOS` and what they
//! call, in `pkg/apis/core/validation`.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{
    AppArmorProfile, Container, PodSecurityContext, PodSpec, SeccompProfile, Sysctl,
};
use serde_json::Value;

use super::validation::{Errors, Surroundings, visit_containers};
use super::windows;
use crate::kinds::rules::local_path;
use crate::kinds::{FieldError, names};

const PROFILE_TYPES: &[&str] = &["Localhost", "RuntimeDefault", "Unconfined"];
const PROFILE_BYTES_MAX: usize = 4095;
const SYSCTL_BYTES_MAX: usize = 253;
/// Those of the namespace that containers share memory and messages in.
const IPC_SYSCTLS: &[&str] = &[
    "kernel.msg",
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shm",
    "kernel.shm_rmid_forced",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
];
const SYSCTL_FORMAT: &str =
    r"^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
const WINDOWS_MESSAGE: &str = "cannot be set for a windows pod";

/// Adds all problems of a pod's security context.
pub fn validate_pod(spec: &PodSpec, path: &str, errors: &mut Errors) {
    let Some(context) = &spec.security_context else { return };
    let child = |name: &str| format!("{path}.{name}");
    validate_id(context.fs_group, &child("fsGroup"), errors);
    validate_id(context.run_as_user, &child("runAsUser"), errors);
    validate_id(context.run_as_group, &child("runAsGroup"), errors);
    for (index, group) in context.supplemental_groups.iter().flatten().enumerate() {
        validate_id(Some(*group), &child(&format!("supplementalGroups[{index}]")), errors);
    }
    if spec.share_process_namespace == Some(true) && spec.host_pid == Some(true) {
        let detail = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.push(FieldError::invalid(child("shareProcessNamespace"), true, detail));
    }
    validate_sysctls(
        spec,
        context.sysctls.as_deref().unwrap_or_default(),
        &child("sysctls"),
        errors,
    );
    let one_of = |field: &str, policy: &Option<String>, supported: &[&str], errors: &mut Errors| {
        if let Some(policy) = policy.as_deref().filter(|policy| !supported.contains(policy)) {
            errors.push(FieldError::not_supported(child(field), policy, supported));
        }
    };
    let changes = &["Always", "OnRootMismatch"];
    one_of("fsGroupChangePolicy", &context.fs_group_change_policy, changes, errors);
    validate_seccomp(context.seccomp_profile.as_ref(), &child("seccompProfile"), errors);
    windows::validate(context.windows_options.as_ref(), &child("windowsOptions"), errors);
    validate_app_armor(context.app_armor_profile.as_ref(), &child("appArmorProfile"), errors);
    let groups = &["Merge", "Strict"];
    one_of("supplementalGroupsPolicy", &context.supplemental_groups_policy, groups, errors);
    // Upstream takes `MountOption` with its gate `SELinuxMount` alone, which is off.
    one_of("seLinuxChangePolicy", &context.se_linux_change_policy, &["Recursive"], errors);
}

/// Adds all problems of a container's security context.
pub fn validate_container(
    container: &Container,
    around: &Surroundings<'_>,
    path: &str,
    errors: &mut Errors,
) {
    let Some(context) = &container.security_context else { return };
    let child = |name: &str| format!("{path}.{name}");
    validate_id(context.run_as_user, &child("runAsUser"), errors);
    validate_id(context.run_as_group, &child("runAsGroup"), errors);
    if let Some(mount) = context.proc_mount.as_deref() {
        if !matches!(mount, "Default" | "Unmasked") {
            let supported = &["Default", "Unmasked"];
            errors.push(FieldError::not_supported(child("procMount"), mount, supported));
        }
        if around.host_users && mount == "Unmasked" {
            let detail = "`hostUsers` must be false to use `Unmasked`";
            errors.push(FieldError::invalid(child("procMount"), mount, detail));
        }
    }
    validate_seccomp(context.seccomp_profile.as_ref(), &child("seccompProfile"), errors);
    if context.allow_privilege_escalation == Some(false) {
        let mut refuse = |detail: &str| {
            let value = serde_json::to_value(context).unwrap_or_default();
            errors.push(FieldError::invalid(path, value, detail));
        };
        if context.privileged == Some(true) {
            refuse("cannot set `allowPrivilegeEscalation` to false and `privileged` to true");
        }
        let added = context.capabilities.iter().flat_map(|c| c.add.iter().flatten());
        for _ in added.filter(|capability| *capability == "CAP_SYS_ADMIN") {
            refuse(
                "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN",
            );
        }
    }
    windows::validate(context.windows_options.as_ref(), &child("windowsOptions"), errors);
    validate_app_armor(context.app_armor_profile.as_ref(), &child("appArmorProfile"), errors);
}

/// Users of a pod's own go with no namespace of the host.
pub fn validate_host_users(spec: &PodSpec, path: &str, errors: &mut Errors) {
    if spec.host_users.unwrap_or(true) {
        return;
    }
    const DETAIL: &str = "when `hostUsers` is false";
    // The capitals are upstream's.
    for (field, set) in
        [("hostNetwork", spec.host_network), ("HostPID", spec.host_pid), ("HostIPC", spec.host_ipc)]
    {
        if set == Some(true) {
            errors.push(FieldError::forbidden(format!("{path}.{field}"), DETAIL));
        }
    }
    visit_containers(spec, path, |container, path| {
        if container.volume_devices.as_ref().is_some_and(|devices| !devices.is_empty()) {
            errors.push(FieldError::forbidden(format!("{path}.volumeDevices"), DETAIL));
        }
    });
}

/// Adds all problems of the operating system that is asked for.
pub fn validate_os(spec: &PodSpec, path: &str, errors: &mut Errors) {
    let Some(os) = &spec.os else { return };
    match os.name.as_str() {
        "" => errors.push(FieldError::required(format!("{path}.os.name"), "")),
        "linux" => validate_linux(spec, path, errors),
        "windows" => validate_windows(spec, path, errors),
        other => {
            let supported = &["linux", "windows"];
            errors.push(FieldError::not_supported(format!("{path}.os"), other, supported));
        }
    }
}

fn validate_linux(spec: &PodSpec, path: &str, errors: &mut Errors) {
    let detail = "windows options cannot be set for a linux pod";
    if spec.security_context.as_ref().is_some_and(|context| context.windows_options.is_some()) {
        let path = format!("{path}.securityContext.windowsOptions");
        errors.push(FieldError::forbidden(path, detail));
    }
    visit_containers(spec, path, |container, path| {
        let context = container.security_context.as_ref();
        if context.is_some_and(|context| context.windows_options.is_some()) {
            let path = format!("{path}.securityContext.windowsOptions");
            errors.push(FieldError::forbidden(path, detail));
        }
    });
}

fn validate_windows(spec: &PodSpec, path: &str, errors: &mut Errors) {
    let none = PodSecurityContext::default();
    let context = spec.security_context.as_ref().unwrap_or(&none);
    let fields = [
        ("securityContext.appArmorProfile", context.app_armor_profile.is_some()),
        ("securityContext.seLinuxOptions", context.se_linux_options.is_some()),
        ("hostUsers", spec.host_users.is_some()),
        ("hostPID", spec.host_pid == Some(true)),
        ("hostIPC", spec.host_ipc == Some(true)),
        ("securityContext.seccompProfile", context.seccomp_profile.is_some()),
        ("securityContext.fsGroup", context.fs_group.is_some()),
        ("securityContext.fsGroupChangePolicy", context.fs_group_change_policy.is_some()),
        ("securityContext.sysctls", context.sysctls.as_ref().is_some_and(|s| !s.is_empty())),
        ("shareProcessNamespace", spec.share_process_namespace.is_some()),
        ("securityContext.runAsUser", context.run_as_user.is_some()),
        ("securityContext.runAsGroup", context.run_as_group.is_some()),
        ("securityContext.supplementalGroups", context.supplemental_groups.is_some()),
        ("securityContext.supplementalGroupsPolicy", context.supplemental_groups_policy.is_some()),
        ("securityContext.seLinuxChangePolicy", context.se_linux_change_policy.is_some()),
    ];
    for (field, _) in fields.into_iter().filter(|(_, set)| *set) {
        errors.push(FieldError::forbidden(format!("{path}.{field}"), WINDOWS_MESSAGE));
    }
    visit_containers(spec, path, |container, path| {
        let Some(context) = &container.security_context else { return };
        let fields = [
            ("appArmorProfile", context.app_armor_profile.is_some()),
            ("seLinuxOptions", context.se_linux_options.is_some()),
            ("seccompProfile", context.seccomp_profile.is_some()),
            ("capabilities", context.capabilities.is_some()),
            ("readOnlyRootFilesystem", context.read_only_root_filesystem.is_some()),
            ("privileged", context.privileged.is_some()),
            ("allowPrivilegeEscalation", context.allow_privilege_escalation.is_some()),
            ("procMount", context.proc_mount.is_some()),
            ("runAsUser", context.run_as_user.is_some()),
            ("runAsGroup", context.run_as_group.is_some()),
        ];
        for (field, _) in fields.into_iter().filter(|(_, set)| *set) {
            let path = format!("{path}.securityContext.{field}");
            errors.push(FieldError::forbidden(path, WINDOWS_MESSAGE));
        }
    });
}

fn validate_id(id: Option<i64>, path: &str, errors: &mut Errors) {
    let Some(id) = id else { return };
    for detail in names::user_id(id) {
        errors.push(FieldError::invalid(path, id, detail));
    }
}

fn validate_sysctls(spec: &PodSpec, sysctls: &[Sysctl], path: &str, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for (index, sysctl) in sysctls.iter().enumerate() {
        let path = format!("{path}[{index}].name");
        let name = sysctl.name.as_str();
        if name.is_empty() {
            errors.push(FieldError::required(&path, ""));
        } else if !is_sysctl(name) {
            let detail = format!(
                "must have at most {SYSCTL_BYTES_MAX} characters and match regex {SYSCTL_FORMAT}"
            );
            errors.push(FieldError::invalid(&path, name, detail));
        } else if !seen.insert(name) {
            errors.push(FieldError::duplicate(&path, name));
        }
        let dotted = name.replace('/', ".");
        if spec.host_network == Some(true) && dotted.starts_with("net.") {
            let detail = "may not be specified when 'hostNetwork' is true";
            errors.push(FieldError::invalid(&path, name, detail));
        } else if spec.host_ipc == Some(true)
            && (IPC_SYSCTLS.contains(&&*dotted) || dotted.starts_with("fs.mqueue."))
        {
            let detail = "may not be specified when 'hostIPC' is true";
            errors.push(FieldError::invalid(&path, name, detail));
        }
    }
}

fn is_sysctl(name: &str) -> bool {
    let letter = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.len() <= SYSCTL_BYTES_MAX
        && name.split(['.', '/']).all(|segment| {
            let bytes = segment.as_bytes();
            bytes.first().is_some_and(letter)
                && bytes.last().is_some_and(letter)
                && bytes.iter().all(|byte| letter(byte) || b"-_".contains(byte))
        })
}

fn validate_seccomp(profile: Option<&SeccompProfile>, path: &str, errors: &mut Errors) {
    let Some(profile) = profile else { return };
    let kind = profile.type_.as_str();
    if kind.is_empty() {
        let detail = "type is required when seccompProfile is set";
        errors.push(FieldError::required(format!("{path}.type"), detail));
    } else if !PROFILE_TYPES.contains(&kind) {
        errors.push(FieldError::not_supported(format!("{path}.type"), kind, PROFILE_TYPES));
    }
    let file_path = format!("{path}.localhostProfile");
    match (kind, &profile.localhost_profile) {
        ("Localhost", None) => {
            let detail = "must be set when seccomp type is Localhost";
            errors.push(FieldError::required(file_path, detail));
        }
        ("Localhost", Some(file)) => local_path::validate_relative(file, &file_path, errors),
        (_, Some(_)) => {
            let value = serde_json::to_value(profile).unwrap_or_default();
            let detail = "can only be set when seccomp type is Localhost";
            errors.push(FieldError::invalid(file_path, value, detail));
        }
        (_, None) => {}
    }
}

pub fn validate_app_armor(profile: Option<&AppArmorProfile>, path: &str, errors: &mut Errors) {
    let Some(profile) = profile else { return };
    let file_path = format!("{path}.localhostProfile");
    let missing = "must be set when AppArmor type is Localhost";
    match (profile.type_.as_str(), profile.localhost_profile.as_deref()) {
        ("Localhost", None | Some("")) => errors.push(FieldError::required(file_path, missing)),
        ("Localhost", Some(file)) => {
            if file.trim() != file {
                let detail = "must not be padded with whitespace";
                errors.push(FieldError::invalid(&file_path, file, detail));
            }
            if file.len() > PROFILE_BYTES_MAX {
                errors.push(FieldError::too_long(file_path, PROFILE_BYTES_MAX));
            }
        }
        ("RuntimeDefault" | "Unconfined", Some(file)) => {
            let detail = "can only be set when AppArmor type is Localhost";
            errors.push(FieldError::invalid(file_path, Value::from(file), detail));
        }
        ("RuntimeDefault" | "Unconfined", None) => {}
        ("", _) => {
            let detail = "type is required when appArmorProfile is set";
            errors.push(FieldError::required(format!("{path}.type"), detail));
        }
        (other, _) => {
            errors.push(FieldError::not_supported(format!("{path}.type"), other, PROFILE_TYPES));
        }
    }
}
