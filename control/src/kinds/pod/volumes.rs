//! The rules of a pod's volumes.
//!
//! Source: `ValidateVolumes` and what it calls, in `pkg/apis/core/validation`. Of the sources that only a cloud or a storage vendor can serve,
//! the required fields are checked.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, DownwardAPIVolumeFile, EphemeralVolumeSource, KeyToPath,
    SecretVolumeSource, Volume,
};

use super::containers::validate_pull_policy;
use super::projected;
use super::validation::{Errors, Whose, text};
use super::variables::{self, FILE_FIELDS};
use crate::kinds::quantity::Quantity;
use crate::kinds::{FieldError, meta, names};

const MODE_MESSAGE: &str = "must be a number between 0 and 0777 (octal), both inclusive";

/// Checks the volumes, and returns the sound ones by name.
pub fn validate<'a>(
    volumes: &'a [Volume],
    pod_name: Option<&str>,
    whose: Whose<'_>,
    path: &str,
    errors: &mut Errors,
) -> BTreeMap<&'a str, &'a Volume> {
    let mut sound = BTreeMap::new();
    let claims_made: Vec<String> = volumes
        .iter()
        .filter(|volume| volume.ephemeral.is_some())
        .filter_map(|volume| Some(format!("{}-{}", pod_name?, volume.name)))
        .collect();
    for (index, volume) in volumes.iter().enumerate() {
        let path = format!("{path}[{index}]");
        let mut problems = Errors::new();
        validate_source(volume, pod_name, whose, &path, &mut problems);
        validate_name(volume, &sound, &format!("{path}.name"), &mut problems);
        if problems.is_empty() {
            sound.insert(volume.name.as_str(), volume);
        }
        errors.append(&mut problems);
        let claim = volume.persistent_volume_claim.as_ref().map(|claim| &claim.claim_name);
        if let Some(claim) = claim.filter(|claim| claims_made.contains(claim)) {
            let path = format!("{path}.persistentVolumeClaim.claimName");
            let detail = "must not reference a PVC that gets created for an ephemeral volume";
            errors.push(FieldError::invalid(path, claim.as_str(), detail));
        }
    }
    sound
}

fn validate_name(
    volume: &Volume,
    sound: &BTreeMap<&str, &Volume>,
    path: &str,
    errors: &mut Errors,
) {
    let name = volume.name.as_str();
    if name.is_empty() {
        errors.push(FieldError::required(path, ""));
    } else {
        errors.extend(meta::invalid_each(path, name, names::label(name)));
    }
    if sound.contains_key(name) {
        errors.push(FieldError::duplicate(path, name));
    }
}

/// A volume has exactly one source; of several, the first in upstream's order is judged.
fn validate_source(
    volume: &Volume,
    pod_name: Option<&str>,
    whose: Whose<'_>,
    path: &str,
    errors: &mut Errors,
) {
    let given: Vec<&str> =
        sources(volume).into_iter().filter(|(_, set)| *set).map(|(name, _)| name).collect();
    let Some((first, others)) = given.split_first() else {
        return errors.push(FieldError::required(path, "must specify a volume type"));
    };
    validate_common(volume, pod_name, whose, first, path, errors);
    validate_foreign(volume, first, path, errors);
    for other in others {
        // The misspelling is upstream's.
        let other = if *other == "downwardAPI" { "downwarAPI" } else { other };
        let detail = "may not specify more than 1 volume type";
        errors.push(FieldError::forbidden(format!("{path}.{other}"), detail));
    }
}

/// All sources in the order in which upstream looks at them, and whether they are given.
fn sources(volume: &Volume) -> [(&'static str, bool); 30] {
    [
        ("emptyDir", volume.empty_dir.is_some()),
        ("hostPath", volume.host_path.is_some()),
        ("gitRepo", volume.git_repo.is_some()),
        ("gcePersistentDisk", volume.gce_persistent_disk.is_some()),
        ("awsElasticBlockStore", volume.aws_elastic_block_store.is_some()),
        ("secret", volume.secret.is_some()),
        ("nfs", volume.nfs.is_some()),
        ("iscsi", volume.iscsi.is_some()),
        ("glusterfs", volume.glusterfs.is_some()),
        ("flocker", volume.flocker.is_some()),
        ("persistentVolumeClaim", volume.persistent_volume_claim.is_some()),
        ("rbd", volume.rbd.is_some()),
        ("cinder", volume.cinder.is_some()),
        ("cephFS", volume.cephfs.is_some()),
        ("quobyte", volume.quobyte.is_some()),
        ("downwardAPI", volume.downward_api.is_some()),
        ("fc", volume.fc.is_some()),
        ("flexVolume", volume.flex_volume.is_some()),
        ("configMap", volume.config_map.is_some()),
        ("azureFile", volume.azure_file.is_some()),
        ("vsphereVolume", volume.vsphere_volume.is_some()),
        ("photonPersistentDisk", volume.photon_persistent_disk.is_some()),
        ("portworxVolume", volume.portworx_volume.is_some()),
        ("azureDisk", volume.azure_disk.is_some()),
        ("storageos", volume.storageos.is_some()),
        ("projected", volume.projected.is_some()),
        ("scaleIO", volume.scale_io.is_some()),
        ("csi", volume.csi.is_some()),
        ("ephemeral", volume.ephemeral.is_some()),
        ("image", volume.image.is_some()),
    ]
}

/// The sources that Kubernetes itself serves.
fn validate_common(
    volume: &Volume,
    pod_name: Option<&str>,
    whose: Whose<'_>,
    source: &str,
    path: &str,
    errors: &mut Errors,
) {
    let child = format!("{path}.{source}");
    match source {
        "emptyDir" => validate_empty_dir(volume, &child, errors),
        "hostPath" => validate_host_path(volume, &child, errors),
        "secret" => volume.secret.iter().for_each(|s| validate_secret(s, &child, errors)),
        "configMap" => {
            volume.config_map.iter().for_each(|m| validate_config_map(m, &child, errors))
        }
        "downwardAPI" => {
            let Some(downward) = &volume.downward_api else { return };
            validate_mode(downward.default_mode, &format!("{child}.defaultMode"), errors);
            for file in downward.items.iter().flatten() {
                validate_downward_file(file, &child, errors);
            }
        }
        "projected" => volume.projected.iter().for_each(|p| projected::validate(p, &child, errors)),
        "ephemeral" => {
            volume.ephemeral.iter().for_each(|e| validate_ephemeral(e, &child, errors));
            let Some(pod_name) = pod_name.filter(|_| !volume.name.is_empty()) else { return };
            let claim = format!("{pod_name}-{}", volume.name);
            for message in names::subdomain(&claim) {
                let detail = format!("PVC name {claim:?}: {message}");
                errors.push(FieldError::invalid(
                    format!("{path}.name"),
                    volume.name.as_str(),
                    detail,
                ));
            }
        }
        "image" => {
            let Some(image) = &volume.image else { return };
            if whose != Whose::Template && text(&image.reference).is_empty() {
                errors.push(FieldError::required(format!("{child}.reference"), ""));
            }
            validate_pull_policy(text(&image.pull_policy), &format!("{child}.pullPolicy"), errors);
        }
        _ => {}
    }
}

/// The sources that others serve: what must not be empty.
fn validate_foreign(volume: &Volume, source: &str, path: &str, errors: &mut Errors) {
    let mut required = |field: &str, empty: bool| {
        if empty {
            errors.push(FieldError::required(format!("{path}.{field}"), ""));
        }
    };
    match source {
        "gitRepo" => {
            let Some(git) = &volume.git_repo else { return };
            required("gitRepo.repository", git.repository.is_empty());
            let directory = text(&git.directory);
            validate_relative(directory, &format!("{path}.gitRepo.directory"), errors);
        }
        "gcePersistentDisk" => {
            let empty = volume.gce_persistent_disk.iter().any(|disk| disk.pd_name.is_empty());
            required("persistentDisk.pdName", empty);
        }
        "awsElasticBlockStore" => {
            let empty = volume.aws_elastic_block_store.iter().any(|disk| disk.volume_id.is_empty());
            required("awsElasticBlockStore.volumeID", empty);
        }
        "nfs" => {
            let Some(nfs) = &volume.nfs else { return };
            required("nfs.server", nfs.server.is_empty());
            required("nfs.path", nfs.path.is_empty());
            if !nfs.path.is_empty() && !nfs.path.starts_with('/') {
                let detail = "must be an absolute path";
                let path = format!("{path}.nfs.path");
                errors.push(FieldError::invalid(path, nfs.path.as_str(), detail));
            }
        }
        "iscsi" => {
            let Some(iscsi) = &volume.iscsi else { return };
            required("iscsi.targetPortal", iscsi.target_portal.is_empty());
            required("iscsi.iqn", iscsi.iqn.is_empty());
        }
        "glusterfs" => {
            let Some(gluster) = &volume.glusterfs else { return };
            required("glusterfs.endpoints", gluster.endpoints.is_empty());
            required("glusterfs.path", gluster.path.is_empty());
        }
        "persistentVolumeClaim" => {
            let empty = volume.persistent_volume_claim.iter().any(|c| c.claim_name.is_empty());
            required("persistentVolumeClaim.claimName", empty);
        }
        "rbd" => {
            let Some(rbd) = &volume.rbd else { return };
            required("rbd.monitors", rbd.monitors.is_empty());
            required("rbd.image", rbd.image.is_empty());
        }
        "cinder" => {
            required("cinder.volumeID", volume.cinder.iter().any(|disk| disk.volume_id.is_empty()));
        }
        "cephFS" => {
            required("cephfs.monitors", volume.cephfs.iter().any(|ceph| ceph.monitors.is_empty()));
        }
        "quobyte" => {
            let Some(quobyte) = &volume.quobyte else { return };
            required("quobyte.registry", quobyte.registry.is_empty());
            required("quobyte.volume", quobyte.volume.is_empty());
        }
        "flexVolume" => {
            required(
                "flexVolume.driver",
                volume.flex_volume.iter().any(|flex| flex.driver.is_empty()),
            );
        }
        "azureFile" => {
            let Some(azure) = &volume.azure_file else { return };
            required("azureFile.secretName", azure.secret_name.is_empty());
            required("azureFile.shareName", azure.share_name.is_empty());
        }
        "vsphereVolume" => {
            let empty = volume.vsphere_volume.iter().any(|disk| disk.volume_path.is_empty());
            required("vsphereVolume.volumePath", empty);
        }
        "photonPersistentDisk" => {
            let empty = volume.photon_persistent_disk.iter().any(|disk| disk.pd_id.is_empty());
            required("photonPersistentDisk.pdID", empty);
        }
        "portworxVolume" => {
            let empty = volume.portworx_volume.iter().any(|disk| disk.volume_id.is_empty());
            required("portworxVolume.volumeID", empty);
        }
        "azureDisk" => {
            let Some(azure) = &volume.azure_disk else { return };
            required("azureDisk.diskName", azure.disk_name.is_empty());
            required("azureDisk.diskURI", azure.disk_uri.is_empty());
        }
        "storageos" => {
            let empty = volume.storageos.iter().any(|os| text(&os.volume_name).is_empty());
            required("storageos.volumeName", empty);
        }
        "scaleIO" => {
            let Some(scale) = &volume.scale_io else { return };
            required("scaleIO.gateway", scale.gateway.is_empty());
            required("scaleIO.system", scale.system.is_empty());
            required("scaleIO.volumeName", text(&scale.volume_name).is_empty());
        }
        "csi" => {
            let Some(csi) = &volume.csi else { return };
            required("csi.driver", csi.driver.is_empty());
            let secret = csi.node_publish_secret_ref.as_ref();
            required("csi.nodePublishSecretRef.name", secret.is_some_and(|s| s.name.is_empty()));
            if !csi.driver.is_empty() {
                let driver = csi.driver.to_lowercase();
                let path = format!("{path}.csi.driver");
                errors.extend(meta::invalid_each(&path, &csi.driver, names::subdomain(&driver)));
            }
        }
        _ => {}
    }
}

fn validate_empty_dir(volume: &Volume, path: &str, errors: &mut Errors) {
    let limit = volume.empty_dir.as_ref().and_then(|dir| dir.size_limit.as_ref());
    // What does not parse is refused with the same words.
    if limit.is_some_and(|limit| Quantity::try_from(limit).map_or(true, Quantity::is_negative)) {
        let detail = "SizeLimit field must be a valid resource quantity";
        errors.push(FieldError::forbidden(format!("{path}.sizeLimit"), detail));
    }
}

fn validate_host_path(volume: &Volume, path: &str, errors: &mut Errors) {
    const TYPES: &[&str] = &[
        "",
        "BlockDevice",
        "CharDevice",
        "Directory",
        "DirectoryOrCreate",
        "File",
        "FileOrCreate",
        "Socket",
    ];
    let Some(host) = &volume.host_path else { return };
    if host.path.is_empty() {
        return errors.push(FieldError::required(format!("{path}.path"), ""));
    }
    validate_no_backsteps(&host.path, &format!("{path}.path"), errors);
    if let Some(kind) = host.type_.as_deref().filter(|kind| !TYPES.contains(kind)) {
        errors.push(FieldError::not_supported(format!("{path}.type"), kind, TYPES));
    }
}

fn validate_secret(secret: &SecretVolumeSource, path: &str, errors: &mut Errors) {
    if text(&secret.secret_name).is_empty() {
        errors.push(FieldError::required(format!("{path}.secretName"), ""));
    }
    validate_mode(secret.default_mode, &format!("{path}.defaultMode"), errors);
    validate_items(secret.items.as_deref(), path, errors);
}

fn validate_config_map(map: &ConfigMapVolumeSource, path: &str, errors: &mut Errors) {
    if map.name.is_empty() {
        errors.push(FieldError::required(format!("{path}.name"), ""));
    }
    validate_mode(map.default_mode, &format!("{path}.defaultMode"), errors);
    validate_items(map.items.as_deref(), path, errors);
}

pub fn validate_items(items: Option<&[KeyToPath]>, path: &str, errors: &mut Errors) {
    for (index, item) in items.unwrap_or_default().iter().enumerate() {
        let child = |name: &str| format!("{path}.items[{index}].{name}");
        if item.key.is_empty() {
            errors.push(FieldError::required(child("key"), ""));
        }
        if item.path.is_empty() {
            errors.push(FieldError::required(child("path"), ""));
        }
        validate_local(&item.path, &child("path"), errors);
        validate_mode(item.mode, &child("mode"), errors);
    }
}

pub fn validate_mode(mode: Option<i32>, path: &str, errors: &mut Errors) {
    if let Some(mode) = mode.filter(|mode| !(0..=0o777).contains(mode)) {
        errors.push(FieldError::invalid(path, mode, MODE_MESSAGE));
    }
}

pub fn validate_downward_file(file: &DownwardAPIVolumeFile, path: &str, errors: &mut Errors) {
    if file.path.is_empty() {
        errors.push(FieldError::required(format!("{path}.path"), ""));
    }
    validate_local(&file.path, &format!("{path}.path"), errors);
    match (&file.field_ref, &file.resource_field_ref) {
        (Some(field), other) => {
            variables::validate_field(field, FILE_FIELDS, &format!("{path}.fieldRef"), errors);
            if other.is_some() {
                let detail = "fieldRef and resourceFieldRef can not be specified simultaneously";
                errors.push(FieldError::invalid(path, "resource", detail));
            }
        }
        (None, Some(field)) => {
            let path = format!("{path}.resourceFieldRef");
            variables::validate_resource_field(field, true, &path, errors);
        }
        (None, None) => {
            let detail = "one of fieldRef and resourceFieldRef is required";
            errors.push(FieldError::required(path, detail));
        }
    }
    validate_mode(file.mode, &format!("{path}.mode"), errors);
}

fn validate_ephemeral(ephemeral: &EphemeralVolumeSource, path: &str, errors: &mut Errors) {
    let path = format!("{path}.volumeClaimTemplate");
    let Some(template) = &ephemeral.volume_claim_template else {
        return errors.push(FieldError::required(path, ""));
    };
    if let Some(metadata) = &template.metadata {
        let annotations = metadata.annotations.as_ref();
        let labels = metadata.labels.as_ref();
        errors.extend(meta::validate_annotations(
            annotations,
            &format!("{path}.metadata.annotations"),
        ));
        errors.extend(meta::validate_labels(labels, &format!("{path}.metadata.labels")));
    }
    if template.spec.access_modes.as_ref().is_none_or(Vec::is_empty) {
        let detail = "at least 1 access mode is required";
        errors.push(FieldError::required(format!("{path}.spec.accessModes"), detail));
    }
    let requests =
        template.spec.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    if requests.is_none_or(|requests| !requests.contains_key("storage")) {
        errors.push(FieldError::required(format!("{path}.spec.resources[storage]"), ""));
    }
}

/// A path below something, such as a subPath or a seccomp profile: relative, and never upwards.
pub fn validate_relative(path: &str, field: &str, errors: &mut Errors) {
    if path.starts_with('/') {
        errors.push(FieldError::invalid(field, path, "must be a relative path"));
    }
    validate_no_backsteps(path, field, errors);
}

pub fn validate_no_backsteps(path: &str, field: &str, errors: &mut Errors) {
    if path.split('/').any(|part| part == "..") {
        errors.push(FieldError::invalid(field, path, "must not contain '..'"));
    }
}

/// The path of a projected file. Names that begin with two dots are the node's.
pub fn validate_local(path: &str, field: &str, errors: &mut Errors) {
    validate_relative(path, field, errors);
    if path.starts_with("..") && path != ".." && !path.starts_with("../") {
        errors.push(FieldError::invalid(field, path, "must not start with '..'"));
    }
}
