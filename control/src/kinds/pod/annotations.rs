//! The rules of annotations that mean something for a pod.
//!
//! Source: `ValidatePodSpecificAnnotations` and its like in `pkg/apis/core/validation`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{PodSpec, SeccompProfile, Toleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::scheduling;
use super::validation::{Errors, text, visit_containers};
use crate::kinds::rules::local_path;
use crate::kinds::FieldError;

const MIRROR: &str = "kubernetes.io/config.mirror";
const TOLERATIONS: &str = "scheduler.alpha.kubernetes.io/tolerations";
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
pub const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
pub const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
pub const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";

type Annotations = BTreeMap<String, String>;

/// Whether a pod mirrors one that a node was given as a file.
pub fn is_mirror(metadata: &ObjectMeta) -> bool {
    let annotations = metadata.annotations.as_ref();
    annotations.is_some_and(|annotations| annotations.contains_key(MIRROR))
}

/// Adds all problems of a pod's or a template's annotations.
pub fn validate(metadata: &ObjectMeta, spec: &PodSpec, path: &str, errors: &mut Errors) {
    let none = Annotations::new();
    let annotations = metadata.annotations.as_ref().unwrap_or(&none);
    if let Some(value) = annotations.get(MIRROR)
        && text(&spec.node_name).is_empty()
    {
        let detail = "must set spec.nodeName if mirror pod annotation is set";
        errors.push(FieldError::invalid(format!("{path}[{MIRROR}]"), value.as_str(), detail));
    }
    if let Some(json) = annotations.get(TOLERATIONS).filter(|json| !json.is_empty()) {
        match serde_json::from_str::<Vec<Toleration>>(json) {
            Ok(tolerations) => {
                let path = format!("{path}.{TOLERATIONS}");
                scheduling::validate_tolerations(&tolerations, &path, errors);
            }
            Err(error) => errors.push(FieldError::invalid(path, TOLERATIONS, error.to_string())),
        }
    }
    if let Some(cost) = annotations.get(DELETION_COST).filter(|cost| !is_cost(cost)) {
        let path = format!("{path}[{DELETION_COST}]");
        errors.push(FieldError::invalid(path, cost.as_str(), "must be a 32bit integer"));
    }
    validate_seccomp(annotations, path, errors);
    validate_app_armor(annotations, spec, path, errors);
}

/// Adds an error for each annotation that says something else than the field that replaced it.
pub fn validate_against_fields(
    metadata: &ObjectMeta,
    spec: &PodSpec,
    path: &str,
    errors: &mut Errors,
) {
    let Some(annotations) = &metadata.annotations else { return };
    let of_pod =
        spec.security_context.as_ref().and_then(|context| context.seccomp_profile.as_ref());
    if let (Some(profile), Some(annotation)) = (of_pod, annotations.get(SECCOMP_POD)) {
        let path = format!("{path}.securityContext.seccompProfile");
        match_seccomp(annotation, profile, &path, errors);
    }
    visit_containers(spec, path, |container, path| {
        let context = container.security_context.as_ref();
        let profile = context.and_then(|context| context.seccomp_profile.as_ref());
        let annotation = annotations.get(&format!("{SECCOMP_CONTAINER}{}", container.name));
        if let (Some(profile), Some(annotation)) = (profile, annotation) {
            let path = format!("{path}.securityContext.seccompProfile");
            match_seccomp(annotation, profile, &path, errors);
        }
    });
    match_app_armor(annotations, spec, path, errors);
}

/// Adds an error for each annotation that an update may not touch and did.
pub fn validate_update(new: &ObjectMeta, old: &ObjectMeta, errors: &mut Errors) {
    let none = Annotations::new();
    let (new, old) =
        (new.annotations.as_ref().unwrap_or(&none), old.annotations.as_ref().unwrap_or(&none));
    let mut refuse = |key: &str, verb: &str| {
        let path = format!("metadata.annotations[{key}]");
        if key.starts_with(APP_ARMOR) {
            let detail = format!("may not {verb} AppArmor annotations");
            errors.push(FieldError::forbidden(&path, detail));
        }
        if key == MIRROR {
            let detail = format!("may not {verb} mirror pod annotation");
            errors.push(FieldError::forbidden(&path, detail));
        }
    };
    for (key, _) in old.iter().filter(|(key, value)| new.get(*key) != Some(value)) {
        refuse(key, "remove or update");
    }
    for key in new.keys().filter(|key| !old.contains_key(*key)) {
        refuse(key, "add");
    }
}

/// A 32-bit integer in its shortest form.
fn is_cost(text: &str) -> bool {
    let first_fits =
        text == "0" || text.starts_with(['-', '1', '2', '3', '4', '5', '6', '7', '8', '9']);
    first_fits && text.parse::<i32>().is_ok()
}

fn validate_seccomp(annotations: &Annotations, path: &str, errors: &mut Errors) {
    let profiles = annotations
        .iter()
        .filter(|(key, _)| *key == SECCOMP_POD || key.starts_with(SECCOMP_CONTAINER));
    for (key, profile) in profiles {
        let path = format!("{path}.{key}");
        if matches!(profile.as_str(), "runtime/default" | "docker/default" | "unconfined") {
            continue;
        }
        match profile.strip_prefix("localhost/") {
            Some(file) => local_path::validate_relative(file, &path, errors),
            None => errors.push(FieldError::invalid(
                path,
                profile.as_str(),
                "must be a valid seccomp profile",
            )),
        }
    }
}

fn validate_app_armor(annotations: &Annotations, spec: &PodSpec, path: &str, errors: &mut Errors) {
    for (key, profile) in annotations {
        let Some(name) = key.strip_prefix(APP_ARMOR) else { continue };
        let path = format!("{path}[{key}]");
        let mut found = false;
        visit_containers(spec, "", |container, _| found |= container.name == name);
        if !found {
            errors.push(FieldError::invalid(&path, name, "container not found"));
        }
        let known = matches!(profile.as_str(), "" | "runtime/default" | "unconfined");
        if !known && !profile.starts_with("localhost/") {
            let detail = format!("invalid AppArmor profile name: {profile:?}");
            errors.push(FieldError::invalid(path, profile.as_str(), detail));
        }
    }
}

fn match_seccomp(annotation: &str, profile: &SeccompProfile, path: &str, errors: &mut Errors) {
    let file = annotation.strip_prefix("localhost/");
    let kind_fits = match profile.type_.as_str() {
        "Unconfined" => annotation == "unconfined",
        "RuntimeDefault" => matches!(annotation, "runtime/default" | "docker/default"),
        "Localhost" => file.is_some(),
        _ => true,
    };
    if !kind_fits {
        let detail = "seccomp type in annotation and field must match";
        errors.push(FieldError::forbidden(format!("{path}.type"), detail));
    } else if profile.type_ == "Localhost" && file != profile.localhost_profile.as_deref() {
        let detail = "seccomp profile in annotation and field must match";
        errors.push(FieldError::forbidden(format!("{path}.localhostProfile"), detail));
    }
}

fn match_app_armor(annotations: &Annotations, spec: &PodSpec, path: &str, errors: &mut Errors) {
    if spec.os.as_ref().is_some_and(|os| os.name == "windows") {
        return;
    }
    let of_pod = spec.security_context.as_ref().and_then(|c| c.app_armor_profile.as_ref());
    visit_containers(spec, path, |container, path| {
        let own = container.security_context.as_ref().and_then(|c| c.app_armor_profile.as_ref());
        let annotation = annotations.get(&format!("{APP_ARMOR}{}", container.name));
        let (Some(profile), Some(annotation)) = (own.or(of_pod), annotation) else { return };
        let path = format!("{path}.securityContext.appArmorProfile");
        let file = annotation.strip_prefix("localhost/");
        let kind_fits = match profile.type_.as_str() {
            "Unconfined" => annotation == "unconfined",
            "RuntimeDefault" => annotation == "runtime/default",
            "Localhost" => file.is_some(),
            _ => true,
        };
        if !kind_fits {
            let detail = "apparmor type in annotation and field must match";
            errors.push(FieldError::forbidden(format!("{path}.type"), detail));
        } else if profile.type_ == "Localhost" && file != profile.localhost_profile.as_deref() {
            let detail = "apparmor profile in annotation and field must match";
            errors.push(FieldError::forbidden(format!("{path}.localhostProfile"), detail));
        }
    });
}
