//! What a volume is made of: of volumes, and of attachments that carry a volume's spec with them.
//!
//! Source: `ValidatePersistentVolumeSpec` in `pkg/apis/core/validation/validation.go`.

use k8s_openapi::api::core::v1::{PersistentVolumeSpec, VolumeNodeAffinity};
use serde_json::json;

use super::sources;
use crate::kinds::quantity::{self, Quantity};
use crate::kinds::rules::{node_selector, volume_claims, volume_sources};
use crate::kinds::{FieldError, resources};

type Errors = Vec<FieldError>;

const RECLAIM_POLICIES: &[&str] = &["Delete", "Recycle", "Retain"];
const STORAGE: &str = "storage";

/// Whose spec it is.
#[derive(Clone, Copy, Debug)]
pub enum Whose<'a> {
    Volume {
        name: &'a str,
        /// Whether values of nodes' labels are judged: a bad one from before may stay.
        strict: bool,
    },
    /// An attachment's: only a CSI volume, and only what says where it is.
    Inline,
}

/// What every spec gets, whosever it is.
pub fn default(spec: &mut PersistentVolumeSpec) {
    quantity::canonicalise_list(&mut spec.capacity);
    spec.host_path.iter_mut().for_each(volume_sources::default_host_path);
    spec.azure_disk.iter_mut().for_each(volume_sources::default_azure_disk);
    if let Some(rbd) = &mut spec.rbd {
        volume_sources::default_rbd(&mut rbd.pool, &mut rbd.user, &mut rbd.keyring);
    }
    if let Some(iscsi) = &mut spec.iscsi {
        volume_sources::default_iscsi(&mut iscsi.iscsi_interface);
    }
    if let Some(scale) = &mut spec.scale_io {
        volume_sources::default_scale_io(&mut scale.storage_mode, &mut scale.fs_type);
    }
}

/// All problems of a spec at `path`.
pub fn validate(spec: &PersistentVolumeSpec, whose: &Whose<'_>, path: &str) -> Errors {
    let child = |field: &str| format!("{path}.{field}");
    let modes = spec.access_modes.as_deref().unwrap_or_default();
    let mut errors = Errors::new();
    if matches!(whose, Whose::Inline) {
        errors.extend(validate_inline(spec, path));
    }
    if modes.is_empty() {
        errors.push(FieldError::required(child("accessModes"), ""));
    }
    errors.extend(volume_claims::validate_access_modes(modes, &child("accessModes")));
    if let Whose::Volume { .. } = whose {
        errors.extend(validate_capacity(spec, &child("capacity")));
    }
    errors.extend(validate_reclaim_policy(
        spec,
        whose,
        &child("persistentVolumeReclaimPolicy"),
    ));
    if let Some(affinity) = &spec.node_affinity {
        validate_affinity(affinity, whose, &child("nodeAffinity"), &mut errors);
    }
    let name = match whose {
        Whose::Volume { name, .. } => name,
        Whose::Inline => "",
    };
    sources::validate(spec, name, path, &mut errors);
    errors.extend(validate_recycling(spec, &child("persistentVolumeReclaimPolicy")));
    errors.extend(validate_class(spec, whose, &child("storageClassName")));
    errors.extend(validate_mode(spec, whose, &child("volumeMode")));
    // An attachment's is not looked at.
    if let Whose::Volume { .. } = whose {
        errors.extend(validate_attributes(spec, path));
    }
    errors
}

/// What an attachment's spec may not say, and must.
fn validate_inline(spec: &PersistentVolumeSpec, path: &str) -> Errors {
    const DETAIL: &str = "may not be specified in the context of inline volumes";
    let mut errors = Errors::new();
    if spec.claim_ref.is_some() {
        errors.push(FieldError::forbidden(format!("{path}.claimRef"), DETAIL));
    }
    if spec.capacity.as_ref().is_some_and(|capacity| !capacity.is_empty()) {
        errors.push(FieldError::forbidden(format!("{path}.capacity"), DETAIL));
    }
    if spec.csi.is_none() {
        let detail = "has to be specified in the context of inline volumes";
        errors.push(FieldError::required(format!("{path}.csi"), detail));
    }
    errors
}

fn validate_capacity(spec: &PersistentVolumeSpec, path: &str) -> Errors {
    let mut errors = Errors::new();
    let none = quantity::ResourceList::new();
    let capacity = spec.capacity.as_ref().unwrap_or(&none);
    if capacity.is_empty() {
        errors.push(FieldError::required(path, ""));
    }
    if !capacity.contains_key(STORAGE) || capacity.len() > 1 {
        let shown = json!(spec.capacity);
        errors.push(FieldError::not_supported(path, shown, &[STORAGE]));
    }
    for (name, amount) in capacity {
        let path = format!("{path}[{name}]");
        errors.extend(resources::validate_basic(amount, &path));
        if let Ok(amount) = Quantity::try_from(amount)
            && amount <= Quantity::ZERO
        {
            let detail = "must be greater than zero";
            errors.push(FieldError::invalid(path, amount.to_string(), detail));
        }
    }
    errors
}

fn validate_reclaim_policy(
    spec: &PersistentVolumeSpec,
    whose: &Whose<'_>,
    path: &str,
) -> Option<FieldError> {
    let policy = spec.persistent_volume_reclaim_policy.as_deref().unwrap_or_default();
    match (whose, policy) {
        (_, "" | "Retain") => None,
        (Whose::Inline, _) => {
            let detail = "may only be Retain in the context of inline volumes";
            Some(FieldError::forbidden(path, detail))
        }
        (Whose::Volume { .. }, policy) if RECLAIM_POLICIES.contains(&policy) => None,
        (Whose::Volume { .. }, policy) => {
            Some(FieldError::not_supported(path, policy, RECLAIM_POLICIES))
        }
    }
}

fn validate_affinity(
    affinity: &VolumeNodeAffinity,
    whose: &Whose<'_>,
    path: &str,
    errors: &mut Errors,
) {
    let Whose::Volume { strict, .. } = whose else {
        let detail = "may not be specified in the context of inline volumes";
        return errors.push(FieldError::forbidden(path, detail));
    };
    let path = format!("{path}.required");
    match &affinity.required {
        Some(nodes) => node_selector::validate(nodes, *strict, &path, errors),
        None => errors.push(FieldError::required(path, "must specify required node constraints")),
    }
}

/// Nobody recycles a whole host.
fn validate_recycling(spec: &PersistentVolumeSpec, path: &str) -> Option<FieldError> {
    let host = spec.host_path.as_ref()?;
    let recycles = spec.persistent_volume_reclaim_policy.as_deref() == Some("Recycle");
    (recycles && is_root(&host.path)).then(|| {
        FieldError::forbidden(path, "may not be 'recycle' for a hostPath mount of '/'")
    })
}

/// Whether the path, cleaned, is `/`.
fn is_root(path: &str) -> bool {
    let Some(path) = path.strip_prefix('/') else { return false };
    let mut depth = 0_usize;
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => depth = depth.saturating_sub(1),
            _ => depth += 1,
        }
    }
    depth == 0
}

fn validate_class(spec: &PersistentVolumeSpec, whose: &Whose<'_>, path: &str) -> Errors {
    let class = spec.storage_class_name.as_deref();
    match whose {
        Whose::Inline if class.is_some_and(|class| !class.is_empty()) => {
            let detail = "may not be specified in the context of inline volumes";
            vec![FieldError::forbidden(path, detail)]
        }
        Whose::Inline => Errors::new(),
        Whose::Volume { .. } => volume_claims::validate_class(class, path),
    }
}

fn validate_mode(
    spec: &PersistentVolumeSpec,
    whose: &Whose<'_>,
    path: &str,
) -> Option<FieldError> {
    let mode = spec.volume_mode.as_deref();
    match whose {
        Whose::Volume { .. } => volume_claims::validate_volume_mode(mode, path),
        Whose::Inline => mode.filter(|mode| *mode != "Filesystem").map(|_| {
            let detail =
                "may not specify volumeMode other than Filesystem in the context of inline volumes";
            FieldError::forbidden(path, detail)
        }),
    }
}

fn validate_attributes(spec: &PersistentVolumeSpec, path: &str) -> Errors {
    let Some(class) = spec.volume_attributes_class_name.as_deref() else { return Errors::new() };
    let class_path = format!("{path}.volumeAttributesClassName");
    let mut errors = volume_claims::validate_class(Some(class), &class_path);
    if class.is_empty() {
        errors.push(FieldError::required(class_path, "an empty string is disallowed"));
    }
    if spec.csi.is_none() {
        let detail = "has to be specified when using volumeAttributesClassName";
        errors.push(FieldError::required(format!("{path}.csi"), detail));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::texts;
    use serde_json::Value;

    fn problems(spec: Value, whose: Whose<'_>) -> Vec<String> {
        let spec = serde_json::from_value(spec).expect("it decodes");
        texts(&validate(&spec, &whose, "spec"))
    }

    const VOLUME: Whose<'static> = Whose::Volume { name: "a", strict: true };

    #[test]
    fn a_volume_has_modes_a_capacity_and_a_source() {
        assert_eq!(
            problems(json!({}), VOLUME),
            [
                "spec.accessModes: Required value",
                "spec.capacity: Required value",
                "spec.capacity: Unsupported value: null: supported values: \"storage\"",
                "spec: Required value: must specify a volume type",
            ]
        );
        let spec = json!({
            "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "-1", "cpu": "0"},
            "persistentVolumeReclaimPolicy": "Keep", "volumeMode": "Tape",
            "volumeAttributesClassName": "", "nodeAffinity": {},
            "hostPath": {"path": "/a"}, "nfs": {"server": "s", "path": "/"},
        });
        assert_eq!(
            problems(spec, VOLUME),
            [
                "spec.capacity: Unsupported value: {\"cpu\":\"0\",\"storage\":\"-1\"}: supported values: \"storage\"",
                "spec.capacity[cpu]: Invalid value: \"0\": must be greater than zero",
                "spec.capacity[storage]: Invalid value: -1: must be a valid resource quantity",
                "spec.capacity[storage]: Invalid value: \"-1\": must be greater than zero",
                "spec.persistentVolumeReclaimPolicy: Unsupported value: \"Keep\": supported values: \"Delete\", \"Recycle\", \"Retain\"",
                "spec.nodeAffinity.required: Required value: must specify required node constraints",
                "spec.nfs: Forbidden: may not specify more than 1 volume type",
                "spec.volumeMode: Unsupported value: \"Tape\": supported values: \"Block\", \"Filesystem\"",
                "spec.volumeAttributesClassName: Required value: an empty string is disallowed",
                "spec.csi: Required value: has to be specified when using volumeAttributesClassName",
            ]
        );
    }

    #[test]
    fn an_attachments_volume_is_a_csi_volume_and_no_more() {
        let spec = json!({
            "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "claimRef": {},
            "persistentVolumeReclaimPolicy": "Delete", "volumeMode": "Block",
            "storageClassName": "a", "nodeAffinity": {}, "hostPath": {"path": "/a"},
        });
        let detail = "may not be specified in the context of inline volumes";
        assert_eq!(
            problems(spec, Whose::Inline),
            [
                &format!("spec.claimRef: Forbidden: {detail}"),
                &format!("spec.capacity: Forbidden: {detail}"),
                "spec.csi: Required value: has to be specified in the context of inline volumes",
                "spec.persistentVolumeReclaimPolicy: Forbidden: may only be Retain in the context of inline volumes",
                &format!("spec.nodeAffinity: Forbidden: {detail}"),
                &format!("spec.storageClassName: Forbidden: {detail}"),
                "spec.volumeMode: Forbidden: may not specify volumeMode other than Filesystem in the context of inline volumes",
            ]
        );
    }

    #[test]
    fn a_whole_host_is_not_recycled() {
        for (path, refused) in [("/", true), ("/a/..", true), ("/a", false), ("a", false)] {
            let spec = json!({
                "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"},
                "persistentVolumeReclaimPolicy": "Recycle", "hostPath": {"path": path},
            });
            let detail = "spec.persistentVolumeReclaimPolicy: Forbidden: may not be 'recycle' for a hostPath mount of '/'";
            assert_eq!(problems(spec, VOLUME).iter().any(|text| text == detail), refused, "{path}");
        }
    }
}
