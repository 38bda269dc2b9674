//! The rules of a pod's volumes.
//!
//! Source: `ValidateVolumes` and what it calls, in `pkg/apis/core/validation`. Sources that volumes
//! of a cluster may have, too, are judged in `rules::volume_sources`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    CSIVolumeSource, ConfigMapVolumeSource, DownwardAPIVolumeFile, EphemeralVolumeSource,
    ISCSIVolumeSource, KeyToPath, SecretVolumeSource, Volume,
};

use super::containers::validate_pull_policy;
use super::projected;
use super::validation::{Errors, Whose, text};
use super::variables::{self, FILE_FIELDS};
use crate::kinds::quantity::Quantity;
use crate::kinds::rules::local_path::{validate_local, validate_relative};
use crate::kinds::rules::volume_claims;
use crate::kinds::rules::volume_sources::{self as sources, required};
use crate::kinds::{FieldError, meta, names};

const INITIATOR_BYTES_MAX: usize = 64;
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
        all_sources(volume).into_iter().filter(|(_, set)| *set).map(|(name, _)| name).collect();
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
fn all_sources(volume: &Volume) -> [(&'static str, bool); 30] {
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
        "hostPath" => {
            volume.host_path.iter().for_each(|host| sources::host_path(host, &child, errors))
        }
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

/// The sources that others serve.
fn validate_foreign(volume: &Volume, source: &str, path: &str, errors: &mut Errors) {
    let at = |name: &str| format!("{path}.{name}");
    // The names in paths are upstream's, which are not always those of the fields.
    match source {
        "gitRepo" => {
            let Some(git) = &volume.git_repo else { return };
            required(&[("repository", &git.repository)], &at("gitRepo"), errors);
            validate_relative(text(&git.directory), &at("gitRepo.directory"), errors);
        }
        "persistentVolumeClaim" => {
            let Some(claim) = &volume.persistent_volume_claim else { return };
            required(&[("claimName", &claim.claim_name)], &at(source), errors);
        }
        "gcePersistentDisk" => {
            let Some(disk) = &volume.gce_persistent_disk else { return };
            sources::gce_disk(disk, &at("persistentDisk"), errors);
        }
        "awsElasticBlockStore" => {
            let Some(disk) = &volume.aws_elastic_block_store else { return };
            sources::aws_disk(disk, &at(source), errors);
        }
        "nfs" => volume.nfs.iter().for_each(|nfs| sources::nfs(nfs, &at(source), errors)),
        "iscsi" => {
            let Some(iscsi) = &volume.iscsi else { return };
            validate_iscsi(iscsi, &at(source), errors);
            // A name and a colon before the portal.
            let length = volume.name.len() + 1 + iscsi.target_portal.len();
            if iscsi.initiator_name.is_some() && length > INITIATOR_BYTES_MAX {
                let detail = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.";
                errors.push(FieldError::invalid(at("name"), volume.name.as_str(), detail));
            }
        }
        "glusterfs" => {
            let Some(gluster) = &volume.glusterfs else { return };
            sources::glusterfs(&gluster.endpoints, &gluster.path, &at(source), errors);
        }
        "flocker" => {
            volume.flocker.iter().for_each(|flocker| sources::flocker(flocker, &at(source), errors))
        }
        "rbd" => {
            let Some(rbd) = &volume.rbd else { return };
            sources::rbd(&rbd.monitors, &rbd.image, &at(source), errors);
        }
        "cinder" => {
            let Some(cinder) = &volume.cinder else { return };
            required(&[("volumeID", &cinder.volume_id)], &at(source), errors);
            if let Some(secret) = &cinder.secret_ref {
                required(&[("name", &secret.name)], &at("cinder.secretRef"), errors);
            }
        }
        "cephFS" => {
            let Some(ceph) = &volume.cephfs else { return };
            sources::cephfs(&ceph.monitors, &at("cephfs"), errors);
        }
        "quobyte" => {
            volume.quobyte.iter().for_each(|quobyte| sources::quobyte(quobyte, &at(source), errors))
        }
        "fc" => volume.fc.iter().for_each(|fc| sources::fibre_channel(fc, &at(source), errors)),
        "flexVolume" => {
            let Some(flex) = &volume.flex_volume else { return };
            sources::flex(&flex.driver, flex.options.as_ref(), &at(source), errors);
        }
        "azureFile" => {
            let Some(azure) = &volume.azure_file else { return };
            sources::azure_file(&azure.secret_name, &azure.share_name, &at(source), errors);
        }
        "vsphereVolume" => {
            let Some(disk) = &volume.vsphere_volume else { return };
            required(&[("volumePath", &disk.volume_path)], &at(source), errors);
        }
        "photonPersistentDisk" => {
            let Some(disk) = &volume.photon_persistent_disk else { return };
            required(&[("pdID", &disk.pd_id)], &at(source), errors);
        }
        "portworxVolume" => {
            let Some(disk) = &volume.portworx_volume else { return };
            required(&[("volumeID", &disk.volume_id)], &at(source), errors);
        }
        "azureDisk" => {
            let Some(azure) = &volume.azure_disk else { return };
            sources::azure_disk(azure, &at(source), errors);
        }
        "storageos" => {
            let Some(os) = &volume.storageos else { return };
            let (name, namespace) = (text(&os.volume_name), text(&os.volume_namespace));
            sources::storage_os(name, namespace, &at(source), errors);
            if let Some(secret) = &os.secret_ref {
                required(&[("name", &secret.name)], &at("storageos.secretRef"), errors);
            }
        }
        "scaleIO" => {
            let Some(scale) = &volume.scale_io else { return };
            let name = text(&scale.volume_name);
            sources::scale_io(&scale.gateway, &scale.system, name, &at(source), errors);
        }
        "csi" => volume.csi.iter().for_each(|csi| validate_csi(csi, &at(source), errors)),
        _ => {}
    }
}

fn validate_iscsi(iscsi: &ISCSIVolumeSource, path: &str, errors: &mut Errors) {
    sources::Iscsi {
        portal: &iscsi.target_portal,
        name: &iscsi.iqn,
        unit: iscsi.lun,
        authenticates: iscsi.chap_auth_discovery == Some(true)
            || iscsi.chap_auth_session == Some(true),
        has_secret: iscsi.secret_ref.is_some(),
        initiator: iscsi.initiator_name.as_deref(),
        initiator_is_too_long: false,
        format_message: "must be valid format starting with iqn, eui, or naa",
    }
    .validate(path, errors);
}

fn validate_csi(csi: &CSIVolumeSource, path: &str, errors: &mut Errors) {
    errors.extend(sources::csi_driver(&csi.driver, &format!("{path}.driver")));
    let Some(secret) = &csi.node_publish_secret_ref else { return };
    if secret.name.is_empty() {
        let path = format!("{path}.nodePublishSecretRef.name");
        errors.push(FieldError::required(path, ""));
    } else {
        // The path is upstream's.
        let path = format!("{path}.name");
        errors.extend(meta::invalid_each(&path, &secret.name, names::subdomain(&secret.name)));
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
    match &ephemeral.volume_claim_template {
        Some(template) => errors.extend(volume_claims::validate_template(template, &path)),
        None => errors.push(FieldError::required(path, "")),
    }
}
