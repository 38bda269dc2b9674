//! The rules of a pod's volumes, and of where containers mount them.
//!
//! Source: `ValidateVolumes`, `ValidateVolumeMounts` and what they call, in
//! `pkg/apis/core/validation`. Of the sources that only a cloud or a storage vendor can serve,
//! the required fields are checked.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{
    ClusterTrustBundleProjection, ConfigMapVolumeSource, Container, DownwardAPIVolumeFile,
    EphemeralVolumeSource, KeyToPath, PodCertificateProjection, ProjectedVolumeSource,
    SecretVolumeSource, ServiceAccountTokenProjection, Volume, VolumeMount, VolumeProjection,
};

use super::containers::validate_pull_policy;
use super::validation::{Errors, Surroundings, Whose, text};
use super::variables::{self, FILE_FIELDS};
use crate::kinds::quantity::Quantity;
use crate::kinds::{FieldError, meta, names, selector};

const MODE_MESSAGE: &str = "must be a number between 0 and 0777 (octal), both inclusive";
const TOKEN_SECONDS_MIN: i64 = 600;
const TOKEN_SECONDS_MAX: i64 = 1 << 32;

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
        "projected" => volume.projected.iter().for_each(|p| validate_projected(p, &child, errors)),
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

fn validate_items(items: Option<&[KeyToPath]>, path: &str, errors: &mut Errors) {
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

fn validate_mode(mode: Option<i32>, path: &str, errors: &mut Errors) {
    if let Some(mode) = mode.filter(|mode| !(0..=0o777).contains(mode)) {
        errors.push(FieldError::invalid(path, mode, MODE_MESSAGE));
    }
}

fn validate_downward_file(file: &DownwardAPIVolumeFile, path: &str, errors: &mut Errors) {
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

fn validate_projected(projected: &ProjectedVolumeSource, path: &str, errors: &mut Errors) {
    validate_mode(projected.default_mode, &format!("{path}.defaultMode"), errors);
    let mut taken = BTreeSet::new();
    for (index, source) in projected.sources.iter().flatten().enumerate() {
        let own_path = format!("{path}.sources[{index}]");
        validate_projection(source, &own_path, path, errors);
        let files = projected_files(source);
        for (file, about) in files.into_iter().filter(|(file, _)| !file.is_empty()) {
            if !taken.insert(file) {
                errors.push(FieldError::invalid(path, about, "conflicting duplicate paths"));
            }
        }
        let count = [
            source.secret.is_some(),
            source.config_map.is_some(),
            source.downward_api.is_some(),
            source.service_account_token.is_some(),
            source.cluster_trust_bundle.is_some(),
            source.pod_certificate.is_some(),
        ];
        if count.into_iter().filter(|set| *set).count() > 1 {
            let detail = "may not specify more than 1 volume type per source";
            errors.push(FieldError::forbidden(own_path, detail));
        }
    }
}

/// The files of a source, each with what an error about it shows.
fn projected_files(source: &VolumeProjection) -> Vec<(&str, &str)> {
    let mut files = Vec::new();
    if let Some(secret) = &source.secret {
        let items = secret.items.iter().flatten();
        files.extend(items.map(|item| (item.path.as_str(), secret.name.as_str())));
    }
    if let Some(map) = &source.config_map {
        let items = map.items.iter().flatten();
        files.extend(items.map(|item| (item.path.as_str(), map.name.as_str())));
    }
    if let Some(downward) = &source.downward_api {
        let items = downward.items.iter().flatten();
        files.extend(items.map(|item| (item.path.as_str(), item.path.as_str())));
    }
    if let Some(bundle) = &source.cluster_trust_bundle {
        files.push((bundle.path.as_str(), bundle.path.as_str()));
    }
    if let Some(certificate) = &source.pod_certificate {
        let paths = [
            &certificate.credential_bundle_path,
            &certificate.key_path,
            &certificate.certificate_chain_path,
        ];
        files.extend(paths.into_iter().flatten().map(|path| (path.as_str(), path.as_str())));
    }
    files
}

fn validate_projection(
    source: &VolumeProjection,
    path: &str,
    volume_path: &str,
    errors: &mut Errors,
) {
    if let Some(secret) = &source.secret {
        let path = format!("{path}.secret");
        if secret.name.is_empty() {
            errors.push(FieldError::required(format!("{path}.name"), ""));
        }
        validate_items(secret.items.as_deref(), &path, errors);
    }
    if let Some(map) = &source.config_map {
        let path = format!("{path}.configMap");
        if map.name.is_empty() {
            errors.push(FieldError::required(format!("{path}.name"), ""));
        }
        validate_items(map.items.as_deref(), &path, errors);
    }
    for file in source.downward_api.iter().flat_map(|downward| downward.items.iter().flatten()) {
        validate_downward_file(file, &format!("{path}.downwardAPI"), errors);
    }
    if let Some(token) = &source.service_account_token {
        validate_token(token, &format!("{path}.serviceAccountToken"), volume_path, errors);
    }
    if let Some(bundle) = &source.cluster_trust_bundle {
        validate_trust_bundle(bundle, &format!("{path}.clusterTrustBundle"), errors);
    }
    if let Some(certificate) = &source.pod_certificate {
        validate_certificate(certificate, &format!("{path}.podCertificate"), errors);
    }
}

fn validate_token(
    token: &ServiceAccountTokenProjection,
    path: &str,
    volume_path: &str,
    errors: &mut Errors,
) {
    let seconds = token.expiration_seconds.unwrap_or_default();
    let path = format!("{path}.expirationSeconds");
    if seconds < TOKEN_SECONDS_MIN {
        let detail = "may not specify a duration less than 10 minutes";
        errors.push(FieldError::invalid(&path, seconds, detail));
    }
    if seconds > TOKEN_SECONDS_MAX {
        let detail = "may not specify a duration larger than 2^32 seconds";
        errors.push(FieldError::invalid(&path, seconds, detail));
    }
    // The path of the volume, not of the source, is upstream's.
    let path = format!("{volume_path}.path");
    if token.path.is_empty() {
        errors.push(FieldError::required(path, ""));
    } else {
        validate_local(&token.path, &path, errors);
    }
}

fn validate_trust_bundle(bundle: &ClusterTrustBundleProjection, path: &str, errors: &mut Errors) {
    let name_path = format!("{path}.name");
    match (&bundle.name, &bundle.signer_name) {
        (Some(_), Some(_)) => {
            let value = serde_json::to_value(bundle).unwrap_or_default();
            let detail = "only one of name and signerName may be used";
            errors.push(FieldError::invalid(path, value, detail));
        }
        (Some(name), None) => {
            if name.is_empty() {
                errors.push(FieldError::required(name_path, "must be a valid object name"));
            }
            if bundle.label_selector.is_some() {
                let detail = "labelSelector must be unset if name is specified";
                let value = serde_json::to_value(&bundle.label_selector).unwrap_or_default();
                errors.push(FieldError::invalid(format!("{path}.labelSelector"), value, detail));
            }
        }
        (None, Some(signer)) => {
            let signer_path = format!("{path}.signerName");
            if signer.is_empty() {
                errors.push(FieldError::required(&signer_path, "must be a valid signer name"));
            }
            validate_signer(signer, &signer_path, errors);
            if let Some(selector) = &bundle.label_selector {
                errors.extend(selector::validate(selector, &format!("{path}.labelSelector")));
            }
        }
        (None, None) => {
            errors.push(FieldError::required(path, "either name or signerName must be specified"));
        }
    }
    if bundle.path.is_empty() {
        errors.push(FieldError::required(format!("{path}.path"), ""));
    }
    validate_local(&bundle.path, &format!("{path}.path"), errors);
}

fn validate_certificate(certificate: &PodCertificateProjection, path: &str, errors: &mut Errors) {
    const KEYS: &[&str] = &["RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519"];
    validate_signer(&certificate.signer_name, &format!("{path}.signerName"), errors);
    if !KEYS.contains(&certificate.key_type.as_str()) {
        let path = format!("{path}.keyType");
        errors.push(FieldError::not_supported(path, certificate.key_type.as_str(), KEYS));
    }
    if let Some(seconds) = certificate.max_expiration_seconds.filter(|seconds| *seconds < 3600) {
        let detail = "if provided, maxExpirationSeconds must be >= 3600";
        errors.push(FieldError::invalid(format!("{path}.maxExpirationSeconds"), seconds, detail));
    }
    let files = [
        ("credentialBundlePath", text(&certificate.credential_bundle_path)),
        ("keyPath", text(&certificate.key_path)),
        ("certificateChainPath", text(&certificate.certificate_chain_path)),
    ];
    for (field, file) in files {
        validate_local(file, &format!("{path}.{field}"), errors);
    }
    if files.iter().all(|(_, file)| file.is_empty()) {
        let detail =
            "specify at least one of credentialBundlePath, keyPath, and certificateChainPath";
        errors.push(FieldError::required(path, detail));
    }
}

/// A signer is a domain with at least two labels, a slash and a path.
fn validate_signer(signer: &str, path: &str, errors: &mut Errors) {
    if signer.is_empty() {
        return errors.push(FieldError::required(path, ""));
    }
    let Some((domain, rest)) = signer.split_once('/').filter(|(_, rest)| !rest.is_empty()) else {
        let detail =
            "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        return errors.push(FieldError::invalid(path, signer, detail));
    };
    let messages = names::subdomain(domain);
    if messages.is_empty() && !domain.contains('.') {
        let detail = "should be a domain with at least two segments separated by dots";
        errors.push(FieldError::invalid(path, domain, detail));
    }
    errors.extend(meta::invalid_each(path, domain, messages));
    errors.extend(meta::invalid_each(path, rest, names::subdomain(rest)));
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

/// A path below something: relative, and never upwards.
fn validate_relative(path: &str, field: &str, errors: &mut Errors) {
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
fn validate_local(path: &str, field: &str, errors: &mut Errors) {
    validate_relative(path, field, errors);
    if path.starts_with("..") && path != ".." && !path.starts_with("../") {
        errors.push(FieldError::invalid(field, path, "must not start with '..'"));
    }
}

/// The path of a seccomp profile.
pub fn validate_profile_path(path: &str, field: &str, errors: &mut Errors) {
    validate_relative(path, field, errors);
}

/// Adds all problems of what a container mounts.
pub fn validate_mounts(
    container: &Container,
    around: &Surroundings<'_>,
    path: &str,
    errors: &mut Errors,
) {
    let mounts = container.volume_mounts.as_deref().unwrap_or_default();
    let devices = container.volume_devices.as_deref().unwrap_or_default();
    let mounts_path = format!("{path}.volumeMounts");
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
        if devices.iter().any(|device| device.name == name) {
            let detail = "must not already exist in volumeDevices";
            errors.push(FieldError::invalid(child("name"), name, detail));
        }
        if devices.iter().any(|device| device.device_path == point) {
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
        if mounts.iter().any(|mount| mount.name == name) {
            errors.push(bad_name("must not already exist in volumeMounts"));
        }
        if mounts.iter().any(|mount| mount.mount_path == point) {
            let detail = "must not already exist as a path in volumeMounts";
            errors.push(FieldError::invalid(point_path.as_str(), point, detail));
        }
    }
}
