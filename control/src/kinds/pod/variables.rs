//! The rules of a container's environment, and of what the downward API may name.
//!
//! Source: `ValidateEnv`, `ValidateEnvFrom` and what they call, in `pkg/apis/core/validation`;
//! `pkg/apis/core/pods`.

use k8s_openapi::api::core::v1::{
    Container, EnvFromSource, EnvVar, EnvVarSource, FileKeySelector, ObjectFieldSelector, PodSpec,
    ResourceFieldSelector,
};

use super::validation::{Errors, text, visit_containers};
use crate::kinds::rules::local_path;
use crate::kinds::quantity::Quantity;
use crate::kinds::{FieldError, meta, names};

/// What a variable may be taken from.
const VARIABLE_FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

/// What a file may be taken from.
pub const FILE_FIELDS: &[&str] = &[
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
];

/// Fields that the downward API knows, here or there.
const KNOWN_FIELDS: &[&str] = &[
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.serviceAccountName",
    "spec.schedulerName",
    "status.phase",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

const RESOURCE_FIELDS: &[&str] = &[
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

const BYTE_DIVISORS: &[&str] =
    &["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];

/// Adds all problems of a container's environment.
pub fn validate(container: &Container, path: &str, errors: &mut Errors) {
    for (index, variable) in container.env.iter().flatten().enumerate() {
        validate_variable(variable, &format!("{path}.env[{index}]"), errors);
    }
    let path = format!("{path}.envFrom");
    for (index, source) in container.env_from.iter().flatten().enumerate() {
        validate_from(source, &path, index, errors);
    }
}

fn validate_variable(variable: &EnvVar, path: &str, errors: &mut Errors) {
    let name_path = format!("{path}.name");
    if variable.name.is_empty() {
        errors.push(FieldError::required(name_path, ""));
    } else {
        let messages = names::variable_name(&variable.name);
        errors.extend(meta::invalid_each(&name_path, &variable.name, messages));
    }
    let Some(source) = &variable.value_from else { return };
    let path = format!("{path}.valueFrom");
    let detail = match validate_source(source, &path, errors) {
        0 => {
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
        }
        _ if !text(&variable.value).is_empty() => "may not be specified when `value` is not empty",
        1 => return,
        _ => "may not have more than one field specified at a time",
    };
    errors.push(FieldError::invalid(path, "", detail));
}

/// Checks the sources, and counts them.
fn validate_source(source: &EnvVarSource, path: &str, errors: &mut Errors) -> usize {
    if let Some(field) = &source.field_ref {
        validate_field(field, VARIABLE_FIELDS, &format!("{path}.fieldRef"), errors);
    }
    if let Some(field) = &source.resource_field_ref {
        validate_resource_field(field, false, &format!("{path}.resourceFieldRef"), errors);
    }
    if let Some(key) = &source.config_map_key_ref {
        validate_key(&key.name, &key.key, &format!("{path}.configMapKeyRef"), errors);
    }
    if let Some(key) = &source.secret_key_ref {
        validate_key(&key.name, &key.key, &format!("{path}.secretKeyRef"), errors);
    }
    if let Some(key) = &source.file_key_ref {
        validate_file_key(key, &format!("{path}.fileKeyRef"), errors);
    }
    [
        source.field_ref.is_some(),
        source.resource_field_ref.is_some(),
        source.config_map_key_ref.is_some(),
        source.secret_key_ref.is_some(),
        source.file_key_ref.is_some(),
    ]
    .into_iter()
    .filter(|set| *set)
    .count()
}

fn validate_from(source: &EnvFromSource, path: &str, index: usize, errors: &mut Errors) {
    let prefix = text(&source.prefix);
    if !prefix.is_empty() {
        let messages = names::variable_name(prefix);
        errors.extend(meta::invalid_each(&format!("{path}[{index}].prefix"), prefix, messages));
    }
    let named = [
        ("configMapRef", source.config_map_ref.as_ref().map(|map| map.name.as_str())),
        ("secretRef", source.secret_ref.as_ref().map(|secret| secret.name.as_str())),
    ];
    for (field, name) in named {
        let path = format!("{path}[{index}].{field}.name");
        match name {
            None => {}
            Some("") => errors.push(FieldError::required(path, "")),
            Some(name) => {
                errors.extend(meta::invalid_each(&path, name, names::check_reference(name)))
            }
        }
    }
    // The path without the index is upstream's.
    match (&source.config_map_ref, &source.secret_ref) {
        (None, None) => {
            let detail = "must specify one of: `configMapRef` or `secretRef`";
            errors.push(FieldError::invalid(path, "", detail));
        }
        (Some(_), Some(_)) => {
            let detail = "may not have more than one field specified at a time";
            errors.push(FieldError::invalid(path, "", detail));
        }
        _ => {}
    }
}

/// Adds the problems of a reference to one of the pod's own fields.
pub fn validate_field(
    field: &ObjectFieldSelector,
    allowed: &[&str],
    path: &str,
    errors: &mut Errors,
) {
    let version = text(&field.api_version);
    if version.is_empty() {
        return errors.push(FieldError::required(format!("{path}.apiVersion"), ""));
    }
    let name = field.field_path.as_str();
    let name_path = format!("{path}.fieldPath");
    if name.is_empty() {
        return errors.push(FieldError::required(name_path, ""));
    }
    if version != "v1" {
        let detail = format!("error converting fieldPath: unsupported pod version: {version}");
        return errors.push(FieldError::invalid(name_path, name, detail));
    }
    if let Some((base, key)) = subscript(name) {
        let key = match base {
            "metadata.annotations" => key.to_lowercase(),
            "metadata.labels" => key.to_owned(),
            _ => {
                let detail = format!(
                    "error converting fieldPath: field label does not support subscript: {name}"
                );
                return errors.push(FieldError::invalid(name_path, name, detail));
            }
        };
        return errors.extend(meta::validate_label_key(&key, path));
    }
    // A name of an early version.
    let name = if name == "spec.host" { "spec.nodeName" } else { name };
    if !KNOWN_FIELDS.contains(&name) {
        let detail = format!("error converting fieldPath: field label not supported: {name}");
        errors.push(FieldError::invalid(name_path, name, detail));
    } else if !allowed.contains(&name) {
        errors.push(FieldError::not_supported(name_path, name, allowed));
    }
}

/// `metadata.labels['app']` → `metadata.labels` and `app`.
fn subscript(path: &str) -> Option<(&str, &str)> {
    let (base, key) = path.strip_suffix("']")?.split_once("['")?;
    (!base.is_empty()).then_some((base, key))
}

/// Adds the problems of a reference to a container's resource. A file names its container.
pub fn validate_resource_field(
    field: &ResourceFieldSelector,
    in_file: bool,
    path: &str,
    errors: &mut Errors,
) {
    let name = field.resource.as_str();
    let huge = name.starts_with("requests.hugepages-") || name.starts_with("limits.hugepages-");
    if in_file && text(&field.container_name).is_empty() {
        errors.push(FieldError::required(format!("{path}.containerName"), ""));
    } else if name.is_empty() {
        errors.push(FieldError::required(format!("{path}.resource"), ""));
    } else if !RESOURCE_FIELDS.contains(&name) && !huge {
        errors.push(FieldError::not_supported(format!("{path}.resource"), name, RESOURCE_FIELDS));
    }
    validate_divisor(field, huge, &format!("{path}.divisor"), errors);
}

fn validate_divisor(field: &ResourceFieldSelector, huge: bool, path: &str, errors: &mut Errors) {
    let Some(text) = &field.divisor else { return };
    let divisor = match Quantity::try_from(text) {
        Ok(divisor) if divisor.is_zero() => return,
        Ok(divisor) => divisor.to_string(),
        Err(error) => {
            return errors.push(FieldError::invalid(path, text.0.as_str(), error.to_string()));
        }
    };
    let bytes = |what: &str| {
        let detail = format!(
            "only divisor's values {} are supported with the {what} resource",
            BYTE_DIVISORS.join(", ")
        );
        (BYTE_DIVISORS, detail)
    };
    let (supported, detail): (&[&str], String) = match field.resource.as_str() {
        "limits.cpu" | "requests.cpu" => (
            &["1m", "1"],
            "only divisor's values 1m and 1 are supported with the cpu resource".to_owned(),
        ),
        "limits.memory" | "requests.memory" => bytes("memory"),
        "limits.ephemeral-storage" | "requests.ephemeral-storage" => {
            bytes("local ephemeral storage")
        }
        _ if huge => bytes("hugepages"),
        _ => return,
    };
    if !supported.contains(&divisor.as_str()) {
        errors.push(FieldError::invalid(path, field.resource.as_str(), detail));
    }
}

fn validate_key(name: &str, key: &str, path: &str, errors: &mut Errors) {
    errors.extend(meta::invalid_each(&format!("{path}.name"), name, names::subdomain(name)));
    let path = format!("{path}.key");
    if key.is_empty() {
        errors.push(FieldError::required(path, ""));
    } else {
        errors.extend(meta::invalid_each(&path, key, names::config_key(key)));
    }
}

fn validate_file_key(key: &FileKeySelector, path: &str, errors: &mut Errors) {
    let required = |field: &str, value: &str, messages: Vec<String>, errors: &mut Errors| {
        let path = format!("{path}.{field}");
        if value.is_empty() {
            errors.push(FieldError::required(path, ""));
        } else {
            errors.extend(meta::invalid_each(&path, value, messages));
        }
    };
    required("key", &key.key, names::variable_name(&key.key), errors);
    required("volumeName", &key.volume_name, names::label(&key.volume_name), errors);
    required("path", &key.path, Vec::new(), errors);
    local_path::validate_no_backsteps(&key.path, &format!("{path}.path"), errors);
}

/// A variable's file lies in an `emptyDir` of the pod.
pub fn validate_file_volumes(spec: &PodSpec, path: &str, errors: &mut Errors) {
    let volumes = spec.volumes.as_deref().unwrap_or_default();
    visit_containers(spec, path, |container, path| {
        for (index, variable) in container.env.iter().flatten().enumerate() {
            let source = variable.value_from.as_ref().and_then(|from| from.file_key_ref.as_ref());
            let Some(file) = source else { continue };
            let path = format!("{path}.env[{index}].valueFrom.fileKeyRef.volumeName");
            let name = file.volume_name.as_str();
            // As in upstream, the last of the volumes with the same name counts.
            match volumes.iter().rfind(|volume| volume.name == name) {
                None => errors.push(FieldError::not_found(path, name)),
                Some(volume) if volume.empty_dir.is_none() => {
                    let detail = "referenced volume must be of type emptyDir";
                    errors.push(FieldError::invalid(path, name, detail));
                }
                Some(_) => {}
            }
        }
    });
}
