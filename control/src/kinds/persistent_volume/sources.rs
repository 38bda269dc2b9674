//! The sources of volumes: one each.
//!
//! What they share with pods' stands in `rules::volume_sources`. Source:
//! `ValidatePersistentVolumeSpec` and what it calls, in `pkg/apis/core/validation/validation.go`.

use k8s_openapi::api::core::v1::{
    AzureFilePersistentVolumeSource, CSIPersistentVolumeSource, CinderPersistentVolumeSource,
    GlusterfsPersistentVolumeSource, ISCSIPersistentVolumeSource, LocalVolumeSource,
    PersistentVolumeSpec, SecretReference, StorageOSPersistentVolumeSource,
};

use crate::kinds::rules::local_path::validate_no_backsteps;
use crate::kinds::rules::volume_sources::{self as sources, required};
use crate::kinds::{FieldError, meta, names};

type Errors = Vec<FieldError>;

/// An initiator's name is made of the volume's and the portal's.
const INITIATOR_BYTES_MAX: usize = 64;

type Check = fn(&PersistentVolumeSpec, &str, &str, &mut Errors);

/// A source: whether a spec has it, its field, its name in the paths of its own problems (upstream
/// does not always use the field's), and its rule over the spec, the volume's name and that path.
struct Source {
    field: &'static str,
    shown: &'static str,
    is_set: fn(&PersistentVolumeSpec) -> bool,
    check: Check,
}

/// Calls a rule with the source of this field.
macro_rules! source {
    ($field:literal, $shown:literal, $member:ident, $check:expr) => {
        Source {
            field: $field,
            shown: $shown,
            is_set: |spec| spec.$member.is_some(),
            check: |spec, name, path, errors| {
                let check = $check;
                if let Some(source) = &spec.$member {
                    check(source, name, path, errors);
                }
            },
        }
    };
}

/// All sources, in the order in which upstream looks at them.
const SOURCES: &[Source] = &[
    source!("hostPath", "hostPath", host_path, |s, _, path: &str, errors: &mut Errors| {
        sources::host_path(s, path, errors)
    }),
    source!(
        "gcePersistentDisk",
        "persistentDisk",
        gce_persistent_disk,
        |s, _, path: &str, errors: &mut Errors| sources::gce_disk(s, path, errors)
    ),
    source!(
        "awsElasticBlockStore",
        "awsElasticBlockStore",
        aws_elastic_block_store,
        |s, _, path: &str, errors: &mut Errors| sources::aws_disk(s, path, errors)
    ),
    source!("glusterfs", "glusterfs", glusterfs, validate_glusterfs),
    source!("flocker", "flocker", flocker, |s, _, path: &str, errors: &mut Errors| {
        sources::flocker(s, path, errors)
    }),
    source!("nfs", "nfs", nfs, |s, _, path: &str, errors: &mut Errors| {
        sources::nfs(s, path, errors)
    }),
    source!(
        "rbd",
        "rbd",
        rbd,
        |s: &k8s_openapi::api::core::v1::RBDPersistentVolumeSource,
         _,
         path: &str,
         errors: &mut Errors| sources::rbd(&s.monitors, &s.image, path, errors)
    ),
    source!("quobyte", "quobyte", quobyte, |s, _, path: &str, errors: &mut Errors| {
        sources::quobyte(s, path, errors)
    }),
    source!(
        "cephFS",
        "cephfs",
        cephfs,
        |s: &k8s_openapi::api::core::v1::CephFSPersistentVolumeSource,
         _,
         path: &str,
         errors: &mut Errors| sources::cephfs(&s.monitors, path, errors)
    ),
    source!("iscsi", "iscsi", iscsi, validate_iscsi),
    source!("cinder", "cinder", cinder, validate_cinder),
    source!("fc", "fc", fc, |s, _, path: &str, errors: &mut Errors| {
        sources::fibre_channel(s, path, errors)
    }),
    source!(
        "flexVolume",
        "flexVolume",
        flex_volume,
        |s: &k8s_openapi::api::core::v1::FlexPersistentVolumeSource,
         _,
         path: &str,
         errors: &mut Errors| sources::flex(&s.driver, s.options.as_ref(), path, errors)
    ),
    source!("azureFile", "azureFile", azure_file, validate_azure_file),
    source!(
        "vsphereVolume",
        "vsphereVolume",
        vsphere_volume,
        |s: &k8s_openapi::api::core::v1::VsphereVirtualDiskVolumeSource,
         _,
         path: &str,
         errors: &mut Errors| required(&[("volumePath", &s.volume_path)], path, errors)
    ),
    source!(
        "photonPersistentDisk",
        "photonPersistentDisk",
        photon_persistent_disk,
        |s: &k8s_openapi::api::core::v1::PhotonPersistentDiskVolumeSource,
         _,
         path: &str,
         errors: &mut Errors| required(&[("pdID", &s.pd_id)], path, errors)
    ),
    source!(
        "portworxVolume",
        "portworxVolume",
        portworx_volume,
        |s: &k8s_openapi::api::core::v1::PortworxVolumeSource,
         _,
         path: &str,
         errors: &mut Errors| required(&[("volumeID", &s.volume_id)], path, errors)
    ),
    source!("azureDisk", "azureDisk", azure_disk, |s, _, path: &str, errors: &mut Errors| {
        sources::azure_disk(s, path, errors)
    }),
    source!(
        "scaleIO",
        "scaleIO",
        scale_io,
        |s: &k8s_openapi::api::core::v1::ScaleIOPersistentVolumeSource,
         _,
         path: &str,
         errors: &mut Errors| {
            let name = s.volume_name.as_deref().unwrap_or_default();
            sources::scale_io(&s.gateway, &s.system, name, path, errors)
        }
    ),
    source!("local", "local", local, validate_local),
    source!("storageos", "storageos", storageos, validate_storage_os),
    source!("csi", "csi", csi, validate_csi),
];

/// Adds all problems of the sources of a volume of this name: of several, the first is judged.
pub fn validate(spec: &PersistentVolumeSpec, name: &str, path: &str, errors: &mut Errors) {
    let mut found = false;
    for source in SOURCES.iter().filter(|source| (source.is_set)(spec)) {
        // Upstream counts a flex volume, but never refuses it for another.
        if found && source.field != "flexVolume" {
            let detail = "may not specify more than 1 volume type";
            errors.push(FieldError::forbidden(format!("{path}.{}", source.field), detail));
            continue;
        }
        found = true;
        (source.check)(spec, name, &format!("{path}.{}", source.shown), errors);
        if source.field == "local" && spec.node_affinity.is_none() {
            let path = format!("{path}.nodeAffinity");
            errors.push(FieldError::required(path, "Local volume requires node affinity"));
        }
    }
    if !found {
        errors.push(FieldError::required(path, "must specify a volume type"));
    }
}

/// The spec with nothing but its sources.
pub fn only(spec: &PersistentVolumeSpec) -> PersistentVolumeSpec {
    PersistentVolumeSpec {
        access_modes: None,
        capacity: None,
        claim_ref: None,
        mount_options: None,
        node_affinity: None,
        persistent_volume_reclaim_policy: None,
        storage_class_name: None,
        volume_attributes_class_name: None,
        volume_mode: None,
        ..spec.clone()
    }
}

/// Whether the source is mounted with the options of the old annotation.
pub fn take_mount_options(spec: &PersistentVolumeSpec) -> bool {
    const TAKE: &[&str] = &[
        "awsElasticBlockStore",
        "azureDisk",
        "azureFile",
        "cephFS",
        "cinder",
        "gcePersistentDisk",
        "glusterfs",
        "iscsi",
        "nfs",
        "portworxVolume",
        "quobyte",
        "rbd",
        "vsphereVolume",
    ];
    SOURCES.iter().any(|source| TAKE.contains(&source.field) && (source.is_set)(spec))
}

/// Sources that upstream warns of: their drivers are gone.
pub fn warnings(spec: &PersistentVolumeSpec) -> Vec<String> {
    let deprecated = [
        ("cephfs", spec.cephfs.is_some(), "v1.28", "v1.31+"),
        ("photonPersistentDisk", spec.photon_persistent_disk.is_some(), "v1.11", "v1.16+"),
        ("scaleIO", spec.scale_io.is_some(), "v1.16", "v1.22+"),
        ("storageOS", spec.storageos.is_some(), "v1.22", "v1.25+"),
        ("glusterfs", spec.glusterfs.is_some(), "v1.25", "v1.26+"),
        ("rbd", spec.rbd.is_some(), "v1.28", "v1.31+"),
    ];
    deprecated
        .into_iter()
        .filter(|(_, is_set, _, _)| *is_set)
        .map(|(field, _, since, gone)| {
            format!("spec.{field}: deprecated in {since}, non-functional in {gone}")
        })
        .collect()
}

fn validate_glusterfs(
    gluster: &GlusterfsPersistentVolumeSource,
    _name: &str,
    path: &str,
    errors: &mut Errors,
) {
    sources::glusterfs(&gluster.endpoints, &gluster.path, path, errors);
    let path = format!("{path}.endpointsNamespace");
    match gluster.endpoints_namespace.as_deref() {
        None => {}
        Some("") => {
            let detail = "if the endpointnamespace is set, it must be a valid namespace name";
            errors.push(FieldError::invalid(path, "", detail));
        }
        Some(namespace) => {
            errors.extend(meta::invalid_each(&path, namespace, names::label(namespace)));
        }
    }
}

fn validate_iscsi(
    iscsi: &ISCSIPersistentVolumeSource,
    name: &str,
    path: &str,
    errors: &mut Errors,
) {
    let portal = iscsi.target_portal.as_str();
    sources::Iscsi {
        portal,
        name: &iscsi.iqn,
        unit: iscsi.lun,
        authenticates: iscsi.chap_auth_discovery == Some(true)
            || iscsi.chap_auth_session == Some(true),
        has_secret: iscsi.secret_ref.is_some(),
        initiator: iscsi.initiator_name.as_deref(),
        initiator_is_too_long: iscsi.initiator_name.is_some()
            && name.len() + 1 + portal.len() > INITIATOR_BYTES_MAX,
        format_message: "must be valid format",
    }
    .validate(path, errors);
    if let Some(secret) = &iscsi.secret_ref {
        let name = secret.name.as_deref().unwrap_or_default();
        required(&[("secretRef.name", name)], path, errors);
    }
}

fn validate_cinder(
    cinder: &CinderPersistentVolumeSource,
    _name: &str,
    path: &str,
    errors: &mut Errors,
) {
    required(&[("volumeID", &cinder.volume_id)], path, errors);
    if let Some(secret) = &cinder.secret_ref {
        let name = secret.name.as_deref().unwrap_or_default();
        let namespace = secret.namespace.as_deref().unwrap_or_default();
        required(&[("secretRef.name", name), ("secretRef.namespace", namespace)], path, errors);
    }
}

fn validate_azure_file(
    azure: &AzureFilePersistentVolumeSource,
    _name: &str,
    path: &str,
    errors: &mut Errors,
) {
    sources::azure_file(&azure.secret_name, &azure.share_name, path, errors);
    if let Some(namespace) = &azure.secret_namespace {
        required(&[("secretNamespace", namespace)], path, errors);
    }
}

fn validate_local(local: &LocalVolumeSource, _name: &str, path: &str, errors: &mut Errors) {
    required(&[("path", &local.path)], path, errors);
    validate_no_backsteps(&local.path, &format!("{path}.path"), errors);
}

fn validate_storage_os(
    os: &StorageOSPersistentVolumeSource,
    _name: &str,
    path: &str,
    errors: &mut Errors,
) {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    sources::storage_os(&text(&os.volume_name), &text(&os.volume_namespace), path, errors);
    if let Some(secret) = &os.secret_ref {
        let (name, namespace) = (text(&secret.name), text(&secret.namespace));
        required(&[("secretRef.name", &name), ("secretRef.namespace", &namespace)], path, errors);
    }
}

fn validate_csi(csi: &CSIPersistentVolumeSource, _name: &str, path: &str, errors: &mut Errors) {
    errors.extend(sources::csi_driver(&csi.driver, &format!("{path}.driver")));
    required(&[("volumeHandle", &csi.volume_handle)], path, errors);
    // The secret to stage a volume with is not looked at.
    let secrets = [
        ("controllerPublishSecretRef", &csi.controller_publish_secret_ref),
        ("controllerExpandSecretRef", &csi.controller_expand_secret_ref),
        ("nodePublishSecretRef", &csi.node_publish_secret_ref),
        ("nodeExpandSecretRef", &csi.node_expand_secret_ref),
    ];
    for (field, secret) in secrets {
        let path = format!("{path}.{field}");
        secret.iter().for_each(|secret| validate_secret(secret, &path, errors));
    }
}

fn validate_secret(secret: &SecretReference, path: &str, errors: &mut Errors) {
    let name = secret.name.as_deref().unwrap_or_default();
    let namespace = secret.namespace.as_deref().unwrap_or_default();
    required(&[("name", name)], path, errors);
    if !name.is_empty() {
        errors.extend(meta::invalid_each(&format!("{path}.name"), name, names::subdomain(name)));
    }
    required(&[("namespace", namespace)], path, errors);
    if !namespace.is_empty() {
        let path = format!("{path}.namespace");
        errors.extend(meta::invalid_each(&path, namespace, names::label(namespace)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::texts;
    use serde_json::{Value, json};

    fn problems(spec: Value) -> Vec<String> {
        let spec = serde_json::from_value(spec).expect("it decodes");
        let mut errors = Errors::new();
        validate(&spec, "disk", "spec", &mut errors);
        texts(&errors)
    }

    #[test]
    fn every_source_has_what_it_needs() {
        let cases: [(Value, &[&str]); 13] = [
            (
                json!({"glusterfs": {"endpoints": "", "path": "a", "endpointsNamespace": ""}}),
                &[
                    "spec.glusterfs.endpoints: Required value",
                    "spec.glusterfs.endpointsNamespace: Invalid value: \"\": if the endpointnamespace is set, it must be a valid namespace name",
                ],
            ),
            (
                json!({"gcePersistentDisk": {"pdName": ""}}),
                &["spec.persistentDisk.pdName: Required value"],
            ),
            (json!({"cephfs": {"monitors": []}}), &["spec.cephfs.monitors: Required value"]),
            (
                json!({"rbd": {"monitors": [], "image": ""}}),
                &["spec.rbd.monitors: Required value", "spec.rbd.image: Required value"],
            ),
            (
                json!({"iscsi": {"targetPortal": "p", "iqn": "disk", "lun": 0, "secretRef": {}}}),
                &[
                    "spec.iscsi.iqn: Invalid value: \"disk\": must be valid format",
                    "spec.iscsi.secretRef.name: Required value",
                ],
            ),
            (
                json!({"cinder": {"volumeID": "a", "secretRef": {"name": "b"}}}),
                &["spec.cinder.secretRef.namespace: Required value"],
            ),
            (
                json!({"azureFile": {"secretName": "a", "shareName": "b", "secretNamespace": ""}}),
                &["spec.azureFile.secretNamespace: Required value"],
            ),
            (
                json!({"local": {"path": "/a/../b"}}),
                &[
                    "spec.local.path: Invalid value: \"/a/../b\": must not contain '..'",
                    "spec.nodeAffinity: Required value: Local volume requires node affinity",
                ],
            ),
            (
                json!({"storageos": {"secretRef": {"name": "a"}}}),
                &[
                    "spec.storageos.volumeName: Required value",
                    "spec.storageos.secretRef.namespace: Required value",
                ],
            ),
            (
                json!({"csi": {"driver": "", "volumeHandle": "", "nodePublishSecretRef": {}}}),
                &[
                    "spec.csi.driver: Required value",
                    "spec.csi.volumeHandle: Required value",
                    "spec.csi.nodePublishSecretRef.name: Required value",
                    "spec.csi.nodePublishSecretRef.namespace: Required value",
                ],
            ),
            (
                json!({"csi": {"driver": "a", "volumeHandle": "b", "nodeStageSecretRef": {}}}),
                &[],
            ),
            (
                json!({"cephfs": {"monitors": ["a"]}, "hostPath": {"path": "/a"}}),
                &["spec.cephFS: Forbidden: may not specify more than 1 volume type"],
            ),
            (json!({}), &["spec: Required value: must specify a volume type"]),
        ];
        for (spec, expected) in cases {
            assert_eq!(problems(spec.clone()), expected, "{spec}");
        }
    }

    #[test]
    fn sources_whose_drivers_are_gone_are_told_of() {
        let spec = json!({"storageos": {}, "rbd": {"monitors": [], "image": ""}});
        assert_eq!(
            warnings(&serde_json::from_value(spec).unwrap()),
            [
                "spec.storageOS: deprecated in v1.22, non-functional in v1.25+",
                "spec.rbd: deprecated in v1.28, non-functional in v1.31+",
            ]
        );
    }
}
