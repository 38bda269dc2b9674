//! What a status may tell of containers: their users, and what was allocated to them.
//!
//! Source: `validateContainerStatusUsers`, `validateContainerStatusAllocatedResourcesStatus`,
//! `validatePodExtendedResourceClaimStatus` in `pkg/apis/core/validation`.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{
    Container, ContainerStatus, PodExtendedResourceClaimStatus, PodSpec, PodStatus, ResourceHealth,
    ResourceStatus,
};

use super::validation::{Errors, text};
use crate::kinds::{FieldError, meta, names};

const HEALTH: &[&str] = &["Healthy", "Unhealthy", "Unknown"];
const MESSAGE_BYTES_MAX: usize = 1024;

/// Adds all problems of the containers' statuses.
pub fn validate(status: &PodStatus, spec: &PodSpec, errors: &mut Errors) {
    let inits = spec.init_containers.as_deref().unwrap_or_default();
    let lists = [
        ("containerStatuses", &status.container_statuses, Some(spec.containers.as_slice())),
        ("initContainerStatuses", &status.init_container_statuses, Some(inits)),
        ("ephemeralContainerStatuses", &status.ephemeral_container_statuses, None),
    ];
    for (list, statuses, _) in lists {
        for (index, status) in statuses.iter().flatten().enumerate() {
            validate_user(status, spec, &format!("status.{list}[{index}].user.linux"), errors);
        }
    }
    for (list, statuses, containers) in lists {
        for (index, status) in statuses.iter().flatten().enumerate() {
            let path = format!("status.{list}[{index}].allocatedResourcesStatus");
            let told = status.allocated_resources_status.as_deref().unwrap_or_default();
            match containers {
                Some(containers) => {
                    let container = containers.iter().find(|known| known.name == status.name);
                    validate_allocated(told, container, &path, errors);
                }
                None if told.is_empty() => {}
                None => {
                    let detail = "must not be specified in container status";
                    errors.push(FieldError::forbidden(path, detail));
                }
            }
        }
    }
}

fn validate_user(status: &ContainerStatus, spec: &PodSpec, path: &str, errors: &mut Errors) {
    let Some(user) = status.user.as_ref().and_then(|user| user.linux.as_ref()) else { return };
    match spec.os.as_ref().map_or("linux", |os| os.name.as_str()) {
        "windows" => errors.push(FieldError::forbidden(path, "cannot be set for a windows pod")),
        "linux" => {
            let groups = user.supplemental_groups.iter().flatten().enumerate();
            let groups = groups.map(|(at, group)| (format!("supplementalGroups[{at}]"), *group));
            let ids = [("uid".to_owned(), user.uid), ("gid".to_owned(), user.gid)];
            for (field, id) in ids.into_iter().chain(groups) {
                for detail in names::user_id(id) {
                    errors.push(FieldError::invalid(format!("{path}.{field}"), id, detail));
                }
            }
        }
        _ => {}
    }
}

/// A container that the pod does not have is passed over.
fn validate_allocated(
    told: &[ResourceStatus],
    container: Option<&Container>,
    path: &str,
    errors: &mut Errors,
) {
    for (index, resource) in told.iter().enumerate() {
        let path = format!("{path}[{index}]");
        let name = resource.name.as_str();
        if container.is_some_and(|container| !asks_for(container, name)) {
            let detail = if name.starts_with("claim:") {
                "must match one of the container's resource claims in a format 'claim:<claimName>/<request>' or 'claim:<claimName>' if request is empty"
            } else {
                "must match one of the container's resource requests"
            };
            errors.push(FieldError::invalid(format!("{path}.name"), name, detail));
        }
        let mut seen = BTreeSet::new();
        for (number, health) in resource.resources.iter().flatten().enumerate() {
            let path = format!("{path}.resources[{number}]");
            validate_health(health, &path, errors);
            if !seen.insert(health.resource_id.as_str()) {
                let id = health.resource_id.as_str();
                errors.push(FieldError::duplicate(format!("{path}.resourceID"), id));
            }
        }
    }
}

/// Whether a container requests the resource, or has a claim of that name (`claim:name/request`).
fn asks_for(container: &Container, name: &str) -> bool {
    let Some(resources) = &container.resources else { return false };
    match name.strip_prefix("claim:") {
        Some(name) => resources.claims.iter().flatten().any(|claim| match text(&claim.request) {
            "" => name == claim.name,
            request => name == format!("{}/{request}", claim.name),
        }),
        None => resources.requests.as_ref().is_some_and(|requests| requests.contains_key(name)),
    }
}

fn validate_health(health: &ResourceHealth, path: &str, errors: &mut Errors) {
    let state = text(&health.health);
    if !HEALTH.contains(&state) {
        errors.push(FieldError::not_supported(format!("{path}.health"), state, HEALTH));
    }
    let Some(message) = &health.message else { return };
    let path = format!("{path}.message");
    if message.is_empty() {
        errors.push(FieldError::required(path, "must be non-empty if specified"));
    } else if message.len() > MESSAGE_BYTES_MAX {
        errors.push(FieldError::too_long(path, MESSAGE_BYTES_MAX));
    }
}

/// Adds all problems of the claim that stands for the extended resources.
pub fn validate_extended(
    status: &PodExtendedResourceClaimStatus,
    spec: &PodSpec,
    errors: &mut Errors,
) {
    const PATH: &str = "status.extendedResourceClaimStatus";
    if status.request_mappings.is_empty() {
        let detail = "at least one request mapping is required";
        errors.push(FieldError::required(format!("{PATH}.requestMappings"), detail));
    }
    let mut seen = BTreeSet::new();
    for (index, mapping) in status.request_mappings.iter().enumerate() {
        let child = |field: &str| format!("{PATH}.requestMappings[{index}].{field}");
        let (container, resource, request) = (
            mapping.container_name.as_str(),
            mapping.resource_name.as_str(),
            mapping.request_name.as_str(),
        );
        let mut all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
        match all.find(|known| known.name == container) {
            None => {
                let detail = "must match the name of an entry in spec.initContainers.name or spec.containers.name";
                errors.push(FieldError::invalid(child("containerName"), container, detail));
            }
            Some(known) if !asks_for(known, resource) => {
                let detail = "must match the extended resource name of an entry in spec.initContainers.resources.requests or spec.containers.resources.requests";
                errors.push(FieldError::invalid(child("resourceName"), resource, detail));
            }
            Some(_) => {}
        }
        // The path is upstream's.
        let path = format!("{PATH}.requestName");
        errors.extend(meta::invalid_each(&path, request, names::label(request)));
        if !seen.insert((container, resource, request)) {
            for (field, value) in
                [("containerName", container), ("resourceName", resource), ("requestName", request)]
            {
                errors.push(FieldError::duplicate(child(field), value));
            }
        }
    }
    let name = status.resource_claim_name.as_str();
    let path = format!("{PATH}.resourceClaimName");
    if name.is_empty() {
        errors.push(FieldError::required(path, ""));
    } else {
        errors.extend(meta::invalid_each(&path, name, names::subdomain(name)));
    }
}
