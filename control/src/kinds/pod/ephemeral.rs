//! Ephemeral containers: those that a running pod is given for debugging, by the subresource
//! `ephemeralcontainers`. They are added, and never changed or removed.
//!
//! Source: `podEphemeralContainersStrategy` in `pkg/registry/core/pod/strategy.go`,
//! `validateEphemeralContainers` and `ValidatePodEphemeralContainersUpdate` in
//! `pkg/apis/core/validation`.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Container, EphemeralContainer, Pod, PodSpec};

use super::validation::{Errors, Surroundings, is_set, text};
use super::{annotations, containers, defaults, update, validation};
use crate::kinds::{FieldError, semantic};

const PATH: &str = "spec.ephemeralContainers";
const UNSUITABLE: &str = "cannot be set for an Ephemeral Container";

/// Such a container as the rules of all containers know it.
pub fn as_container(container: &EphemeralContainer) -> Container {
    let value = serde_json::to_value(container).unwrap_or_default();
    serde_json::from_value(value).unwrap_or_default()
}

/// Fills in what containers of every sort get.
pub fn default(container: &mut EphemeralContainer) {
    let mut common = as_container(container);
    defaults::default_container(&mut common);
    let value = serde_json::to_value(common).unwrap_or_default();
    let Ok(defaulted) = serde_json::from_value::<EphemeralContainer>(value) else { return };
    let target_container_name = container.target_container_name.take();
    *container = EphemeralContainer { target_container_name, ..defaulted };
}

/// Takes everything but these containers from the old pod.
pub fn prepare(new: &mut Pod, old: &Pod) {
    let given = new.spec.as_mut().and_then(|spec| spec.ephemeral_containers.take());
    new.spec.clone_from(&old.spec);
    new.spec.get_or_insert_default().ephemeral_containers = given;
    super::strategy::keep_all_but_spec(new, old);
}

/// All problems of an update of these containers.
pub fn validate_update(new: &Pod, old: &Pod) -> Errors {
    if annotations::is_mirror(&old.metadata) {
        let why = "static pods do not support ephemeral containers";
        return vec![FieldError::forbidden("", why)];
    }
    let mut errors = validation::validate(new);
    annotations::validate_update(&new.metadata, &old.metadata, &mut errors);
    let listed = |pod: &Pod| {
        pod.spec.as_ref().and_then(|spec| spec.ephemeral_containers.clone()).unwrap_or_default()
    };
    let given = listed(new);
    for known in listed(old) {
        let name = known.name.as_str();
        let Some(container) = given.iter().rev().find(|container| container.name == name) else {
            let why = format!("existing ephemeral containers {name:?} may not be removed\n");
            errors.push(FieldError::forbidden(PATH, why));
            continue;
        };
        let (before, after) = (update::to_value(&known), update::to_value(container));
        if !semantic::equal(&after, &before) {
            let difference = semantic::differences(&before, &after, PATH);
            let why =
                format!("existing ephemeral containers {name:?} may not be changed\n{difference}");
            errors.push(FieldError::forbidden(PATH, why));
        }
    }
    errors
}

/// All problems of the containers of a spec at `path`.
pub fn validate(spec: &PodSpec, around: &Surroundings<'_>, path: &str, errors: &mut Errors) {
    let lasting = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let lasting: BTreeSet<&str> = lasting.map(|container| &*container.name).collect();
    let mut taken = lasting.clone();
    for (index, given) in spec.ephemeral_containers.iter().flatten().enumerate() {
        let path = format!("{path}.ephemeralContainers[{index}]");
        let container = as_container(given);
        containers::validate_any(&container, around, &path, errors);
        containers::validate_image_spacing(&container, &path, errors);
        if !taken.insert(&given.name) {
            errors.push(FieldError::duplicate(format!("{path}.name"), given.name.as_str()));
        }
        let target = text(&given.target_container_name);
        if !target.is_empty() && !lasting.contains(target) {
            errors.push(FieldError::not_found(format!("{path}.targetContainerName"), target));
        }
        validate_fields(&container, &path, errors);
    }
}

/// Nobody relies on such a container: it has no ports, no probes, no resources.
fn validate_fields(container: &Container, path: &str, errors: &mut Errors) {
    let asks = container.resources.as_ref().is_some_and(|resources| {
        resources.limits.is_some() || resources.requests.is_some() || resources.claims.is_some()
    });
    for (field, set) in [
        ("ports", is_set(&container.ports)),
        ("resources", asks),
        ("resizePolicy", is_set(&container.resize_policy)),
        ("restartPolicy", container.restart_policy.is_some()),
        ("restartPolicyRules", is_set(&container.restart_policy_rules)),
        ("livenessProbe", container.liveness_probe.is_some()),
        ("readinessProbe", container.readiness_probe.is_some()),
        ("startupProbe", container.startup_probe.is_some()),
        ("lifecycle", container.lifecycle.is_some()),
    ] {
        if set {
            errors.push(FieldError::forbidden(format!("{path}.{field}"), UNSUITABLE));
        }
    }
    for (index, mount) in container.volume_mounts.iter().flatten().enumerate() {
        for (field, part) in [("subPath", &mount.sub_path), ("subPathExpr", &mount.sub_path_expr)] {
            if !text(part).is_empty() {
                let path = format!("{path}.volumeMounts[{index}].{field}");
                errors.push(FieldError::forbidden(path, UNSUITABLE));
            }
        }
    }
}
