//! The resizing of a pod's containers while they run, by the subresource `resize`.
//!
//! Source: `podResizeStrategy` in `pkg/registry/core/pod/strategy.go`, `ValidatePodResize` in
//! `pkg/apis/core/validation`.

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, PodStatus, ResourceRequirements};

use super::requests::is_sidecar;
use super::validation::{Errors, text};
use super::{annotations, qos, update, validation};
use crate::kinds::quantity::ResourceList;
use crate::kinds::{FieldError, semantic};

const PATH: &str = "spec";
/// What may be resized.
const RESIZABLE: [&str; 2] = ["cpu", "memory"];

/// Takes everything but resources and the policies of resizing from the old pod. Where containers
/// came, went or moved, nothing is taken, and validation tells.
pub fn prepare(new: &mut Pod, old: &Pod) {
    let none = PodSpec::default();
    let before = old.spec.as_ref().unwrap_or(&none);
    let Some(after) = &mut new.spec else { return };
    let count = |spec: &PodSpec| {
        (spec.containers.len(), spec.init_containers.as_ref().map_or(0, Vec::len))
    };
    if count(after) != count(before) {
        return;
    }
    let merged = PodSpec {
        containers: merge(&after.containers, &before.containers),
        init_containers: before.init_containers.as_ref().map(|inits| {
            merge(after.init_containers.as_deref().unwrap_or_default(), inits)
        }),
        resources: after.resources.take(),
        ..before.clone()
    };
    *after = merged;
    super::strategy::keep_all_but_spec(new, old);
}

fn merge(new: &[Container], old: &[Container]) -> Vec<Container> {
    if new.iter().zip(old).any(|(new, old)| new.name != old.name) {
        return new.to_vec();
    }
    let merged = new.iter().zip(old).map(|(new, old)| Container {
        resources: new.resources.clone(),
        resize_policy: new.resize_policy.clone(),
        ..old.clone()
    });
    merged.collect()
}

/// All problems of a resize.
pub fn validate_update(new: &Pod, old: &Pod) -> Errors {
    let none = PodSpec::default();
    let (after, before) = (new.spec.as_ref().unwrap_or(&none), old.spec.as_ref().unwrap_or(&none));
    if annotations::is_mirror(&old.metadata) {
        return vec![FieldError::forbidden("", "static pods cannot be resized")];
    }
    if before.os.as_ref().is_some_and(|os| os.name == "windows") {
        return vec![FieldError::forbidden("", "windows pods cannot be resized")];
    }
    let mut errors = validation::validate(new);
    let no_status = PodStatus::default();
    let status = old.status.as_ref().unwrap_or(&no_status);
    errors.extend(validate_class(status, after, before));
    if !is_supported(status) {
        let why = "Pod running on node without support for resize";
        errors.push(FieldError::forbidden(PATH, why));
    }
    let mut masked = after.clone();
    errors.extend(validate_own(&mut masked, after, before));
    let claims = status.node_allocatable_resource_claim_statuses.as_ref();
    if claims.is_some_and(|claims| !claims.is_empty()) {
        let why = "pods with node allocatable resource claims cannot be resized";
        errors.push(FieldError::forbidden(PATH, why));
    }
    let moved = validate_order(after, before);
    if !moved.is_empty() {
        errors.extend(moved);
        return errors;
    }
    errors.extend(validate_containers(&mut masked, after, before));
    if errors.is_empty() && !same(&masked, before) {
        errors.push(FieldError::forbidden(PATH, "only cpu and memory resources are mutable"));
    }
    errors
}

fn same<T: serde::Serialize>(a: &T, b: &T) -> bool {
    semantic::equal(&update::to_value(a), &update::to_value(b))
}

fn validate_class(status: &PodStatus, after: &PodSpec, before: &PodSpec) -> Option<FieldError> {
    let known = text(&status.qos_class);
    let class = if known.is_empty() { qos::class(before) } else { known };
    (class != qos::class(after)).then(|| {
        let why = "Pod QOS Class may not change as a result of resizing";
        FieldError::invalid(PATH, known, why)
    })
}

/// A node that resizes tells the resources of the containers that run.
fn is_supported(status: &PodStatus) -> bool {
    let mut statuses = status.container_statuses.iter().flatten();
    let running = statuses
        .find(|status| status.state.as_ref().is_some_and(|state| state.running.is_some()));
    running.is_none_or(|status| status.resources.is_some())
}

/// The resources of the pod as a whole. What of them may change is masked.
fn validate_own(masked: &mut PodSpec, after: &PodSpec, before: &PodSpec) -> Errors {
    let own = format!("{PATH}.resources");
    let mut errors = Errors::new();
    if !asks(after.resources.as_ref()) && !asks(before.resources.as_ref()) {
        return errors;
    }
    let (new, old) = (after.resources.as_ref(), before.resources.as_ref());
    if let Some(old) = old {
        let Some(new) = new else {
            return vec![FieldError::forbidden(own, "pod-level resources cannot be removed")];
        };
        if removes(new.requests.as_ref(), old.requests.as_ref()) {
            let why = "pod-level resource requests cannot be removed";
            errors.push(FieldError::forbidden(format!("{own}.requests"), why));
        }
        if removes(new.limits.as_ref(), old.limits.as_ref()) {
            let why = "pod-level resource limits cannot be removed";
            errors.push(FieldError::forbidden(format!("{own}.limits"), why));
        }
    }
    if let Some(resources) = &mut masked.resources {
        mask(resources, old);
        if old.is_none() && !asks(Some(resources)) && resources.claims.is_none() {
            masked.resources = None;
        }
    }
    if !same(&masked.resources, &before.resources) {
        let why = "only cpu and memory resources are mutable at pod-level";
        errors.push(FieldError::forbidden(PATH, why));
    }
    errors
}

fn asks(resources: Option<&ResourceRequirements>) -> bool {
    let filled = |list: &Option<ResourceList>| list.as_ref().is_some_and(|list| !list.is_empty());
    resources.is_some_and(|resources| filled(&resources.requests) || filled(&resources.limits))
}

/// Whether a resource that was listed is no more.
fn removes(new: Option<&ResourceList>, old: Option<&ResourceList>) -> bool {
    let keeps = |name: &String| new.is_some_and(|new| new.contains_key(name));
    old.into_iter().flatten().any(|(name, _)| !keeps(name))
}

/// Puts the resizable amounts of old requirements back.
fn mask(resources: &mut ResourceRequirements, old: Option<&ResourceRequirements>) {
    mask_list(&mut resources.requests, old.and_then(|old| old.requests.as_ref()));
    mask_list(&mut resources.limits, old.and_then(|old| old.limits.as_ref()));
}

fn mask_list(list: &mut Option<ResourceList>, old: Option<&ResourceList>) {
    if list.is_none() && old.is_none() {
        return;
    }
    let list = list.get_or_insert_default();
    for name in RESIZABLE {
        match old.and_then(|old| old.get(name)) {
            Some(amount) => list.insert(name.to_owned(), amount.clone()),
            None => list.remove(name),
        };
    }
}

fn validate_order(after: &PodSpec, before: &PodSpec) -> Errors {
    let mut errors = Errors::new();
    let inits = |spec: &PodSpec| spec.init_containers.clone().unwrap_or_default();
    for (list, new, old) in [
        ("containers", after.containers.clone(), before.containers.clone()),
        ("initContainers", inits(after), inits(before)),
    ] {
        let path = format!("{PATH}.{list}");
        if new.len() != old.len() {
            let why = format!("{list} may not be added or removed on resize");
            errors.push(FieldError::forbidden(path, why));
            continue;
        }
        for (index, _) in
            new.iter().zip(&old).enumerate().filter(|(_, (new, old))| new.name != old.name)
        {
            let why = format!("{list} may not be renamed or reordered on resize");
            errors.push(FieldError::forbidden(format!("{path}[{index}].name"), why));
        }
    }
    errors
}

/// What of the containers' resources may change is masked.
fn validate_containers(masked: &mut PodSpec, after: &PodSpec, before: &PodSpec) -> Errors {
    let mut errors = Errors::new();
    let inits = |spec: &PodSpec| spec.init_containers.clone().unwrap_or_default();
    for (list, new, old) in [
        ("initContainers", inits(after), inits(before)),
        ("containers", after.containers.clone(), before.containers.clone()),
    ] {
        for (index, (new, old)) in new.iter().zip(&old).enumerate() {
            let path = format!("{PATH}.{list}[{index}].resources");
            errors.extend(validate_removal(new, old, &path));
        }
    }
    for (new, old) in masked.containers.iter_mut().zip(&before.containers) {
        mask_container(new, old);
        if !same(new, old) {
            let why = "only cpu and memory resources are mutable";
            errors.push(FieldError::forbidden(PATH, why));
        }
    }
    let old_inits = inits(before);
    let new_inits = masked.init_containers.iter_mut().flatten();
    for (index, (new, old)) in new_inits.zip(&old_inits).enumerate() {
        let path = format!("{PATH}.initContainers[{index}]");
        let changes = !same(new, old);
        mask_container(new, old);
        if !same(new, old) {
            let why =
                "only cpu and memory resources for init or sidecar containers are mutable";
            errors.push(FieldError::forbidden(&path, why));
        }
        let policies = new.resize_policy.iter().flatten();
        let restarts = policies.filter(|policy| policy.restart_policy == "RestartContainer").count();
        for _ in 0..if changes && !is_sidecar(new) { restarts } else { 0 } {
            let why = "non-sidecar init containers with a resize policy of RestartContainer cannot be resized";
            errors.push(FieldError::forbidden(&path, why));
        }
    }
    errors
}

fn validate_removal(new: &Container, old: &Container, path: &str) -> Errors {
    let none = ResourceRequirements::default();
    let new = new.resources.as_ref().unwrap_or(&none);
    let old = old.resources.as_ref().unwrap_or(&none);
    let mut errors = Errors::new();
    if removes(new.requests.as_ref(), old.requests.as_ref()) {
        let why = "resource requests cannot be removed";
        errors.push(FieldError::forbidden(format!("{path}.requests"), why));
    }
    if removes(new.limits.as_ref(), old.limits.as_ref()) {
        let why = "resource limits cannot be removed";
        errors.push(FieldError::forbidden(format!("{path}.limits"), why));
    }
    errors
}

/// Claims are not compared: upstream builds the requirements anew.
fn mask_container(container: &mut Container, old: &Container) {
    let resources = container.resources.get_or_insert_default();
    mask(resources, old.resources.as_ref());
    resources.claims = None;
}
