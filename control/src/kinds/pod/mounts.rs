//! The rules of where containers mount a pod's volumes, as files or as devices.
//!
//! Source: `ValidateVolumeMounts`, `ValidateVolumeDevices` in `pkg/apis/core/validation`.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Container, VolumeMount};

use super::validation::{Errors, Surroundings, text};
use crate::kinds::rules::local_path::validate_relative;
use crate::kinds::FieldError;

/// Adds all problems of what a container mounts.
pub fn validate(container: &Container, around: &Surroundings<'_>, path: &str, errors: &mut Errors) {
    let mounts = container.volume_mounts.as_deref().unwrap_or_default();
    let devices = container.volume_devices.as_deref().unwrap_or_default();
    let mounts_path = format!("{path}.volumeMounts");
    // As upstream has it: of several with the same name, the last.
    let taken: BTreeMap<&str, &str> =
        devices.iter().map(|device| (&*device.name, &*device.device_path)).collect();
    let mut points = BTreeSet::new();
    for (index, mount) in mounts.iter().enumerate() {
        let child = |name: &str| format!("{mounts_path}[{index}].{name}");
        let (name, point) = (mount.name.as_str(), mount.mount_path.as_str());
        if name.is_empty() {
            errors.push(FieldError::required(child("name"), ""));
        }
        if !around.volumes.contains_key(name) {
            errors.push(FieldError::not_found(child("name"), name));
        }
        if point.is_empty() {
            errors.push(FieldError::required(child("mountPath"), ""));
        }
        if !points.insert(point) {
            errors.push(FieldError::invalid(child("mountPath"), point, "must be unique"));
        }
        if taken.contains_key(name) {
            let detail = "must not already exist in volumeDevices";
            errors.push(FieldError::invalid(child("name"), name, detail));
        }
        if taken.values().any(|path| *path == point) {
            let detail = "must not already exist as a path in volumeDevices";
            errors.push(FieldError::invalid(child("mountPath"), point, detail));
        }
        validate_sub_path(mount, &mounts_path, &child("subPathExpr"), errors);
        validate_propagation(mount, container, &mounts_path, errors);
    }
    validate_devices(container, around, &format!("{path}.volumeDevices"), errors);
}

/// The paths without an index are upstream's.
fn validate_sub_path(mount: &VolumeMount, path: &str, expression_path: &str, errors: &mut Errors) {
    let (plain, expression) = (text(&mount.sub_path), text(&mount.sub_path_expr));
    validate_relative(plain, &format!("{path}.subPath"), errors);
    if expression.is_empty() {
        return;
    }
    if !plain.is_empty() {
        let detail = "subPathExpr and subPath are mutually exclusive";
        errors.push(FieldError::invalid(expression_path, expression, detail));
    }
    validate_relative(expression, &format!("{path}.subPathExpr"), errors);
}

fn validate_propagation(
    mount: &VolumeMount,
    container: &Container,
    path: &str,
    errors: &mut Errors,
) {
    let propagation = mount.mount_propagation.as_deref();
    if let Some(mode) = propagation {
        let path = format!("{path}.mountPropagation");
        let supported = &["Bidirectional", "HostToContainer", "None"];
        if !supported.contains(&mode) {
            errors.push(FieldError::not_supported(&path, mode, supported));
        }
        let privileged = container.security_context.as_ref().and_then(|context| context.privileged)
            == Some(true);
        if mode == "Bidirectional" && !privileged {
            let detail =
                "Bidirectional mount propagation is available only to privileged containers";
            errors.push(FieldError::forbidden(path, detail));
        }
    }
    let path = format!("{path}.recursiveReadOnly");
    match mount.recursive_read_only.as_deref() {
        None | Some("Disabled") => {}
        Some("Enabled" | "IfPossible") => {
            if mount.read_only != Some(true) {
                let detail = "may only be specified when readOnly is true";
                errors.push(FieldError::forbidden(&path, detail));
            }
            if propagation.is_some_and(|mode| mode != "None") {
                let detail = "may only be specified when mountPropagation is None or not specified";
                errors.push(FieldError::forbidden(&path, detail));
            }
        }
        Some(other) => {
            let supported = &["Disabled", "Enabled", "IfPossible"];
            errors.push(FieldError::not_supported(path, other, supported));
        }
    }
}

fn validate_devices(
    container: &Container,
    around: &Surroundings<'_>,
    path: &str,
    errors: &mut Errors,
) {
    let mounts = container.volume_mounts.as_deref().unwrap_or_default();
    let taken: BTreeMap<&str, &str> =
        mounts.iter().map(|mount| (&*mount.name, &*mount.mount_path)).collect();
    let (mut seen_names, mut seen_paths) = (BTreeSet::new(), BTreeSet::new());
    for (index, device) in container.volume_devices.iter().flatten().enumerate() {
        let (name, point) = (device.name.as_str(), device.device_path.as_str());
        let (name_path, point_path) =
            (format!("{path}[{index}].name"), format!("{path}[{index}].devicePath"));
        let bad_name = |detail: &str| FieldError::invalid(name_path.as_str(), name, detail);
        if name.is_empty() {
            errors.push(FieldError::required(name_path.as_str(), ""));
        } else if !seen_names.insert(name) {
            errors.push(bad_name("must be unique"));
        }
        match around.volumes.get(name) {
            None => errors.push(FieldError::not_found(name_path.as_str(), name)),
            Some(volume)
                if volume.persistent_volume_claim.is_none() && volume.ephemeral.is_none() =>
            {
                errors.push(bad_name(
                    "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode",
                ));
            }
            Some(_) => {}
        }
        if point.is_empty() {
            errors.push(FieldError::required(point_path.as_str(), ""));
        }
        if seen_paths.contains(point) {
            errors.push(FieldError::invalid(point_path.as_str(), point, "must be unique"));
        }
        if point.split('/').any(|part| part == "..") {
            let detail = "can not contain backsteps ('..')";
            errors.push(FieldError::invalid(point_path.as_str(), point, detail));
        } else {
            seen_paths.insert(point);
        }
        if taken.contains_key(name) {
            errors.push(bad_name("must not already exist in volumeMounts"));
        }
        if taken.values().any(|path| *path == point) {
            let detail = "must not already exist as a path in volumeMounts";
            errors.push(FieldError::invalid(point_path.as_str(), point, detail));
        }
    }
}
