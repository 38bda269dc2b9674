//! Where the bytes of a volume come from: the sources that pods and a cluster's volumes share.
//!
//! Nothing here mounts anything: these are the API's rules alone. Where the types of the two differ,
//! the functions take their fields. Source: `validate…VolumeSource` in
//! `pkg/apis/core/validation/validation.go`, `pkg/apis/core/v1/defaults.go`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    AWSElasticBlockStoreVolumeSource, AzureDiskVolumeSource, FCVolumeSource, FlockerVolumeSource,
    GCEPersistentDiskVolumeSource, HostPathVolumeSource, NFSVolumeSource, QuobyteVolumeSource,
};
use serde_json::json;

use super::local_path::validate_no_backsteps;
use crate::kinds::{FieldError, meta, names};

type Errors = Vec<FieldError>;

const DRIVER_BYTES_MAX: usize = 63;
const TENANT_BYTES_MAX: usize = 64;

/// Adds an error for each of these fields that is empty.
pub fn required(fields: &[(&str, &str)], path: &str, errors: &mut Errors) {
    for (field, _) in fields.iter().filter(|(_, value)| value.is_empty()) {
        errors.push(FieldError::required(format!("{path}.{field}"), ""));
    }
}

pub fn default_host_path(host: &mut HostPathVolumeSource) {
    host.type_.get_or_insert_default();
}

pub fn host_path(host: &HostPathVolumeSource, path: &str, errors: &mut Errors) {
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
    if host.path.is_empty() {
        return errors.push(FieldError::required(format!("{path}.path"), ""));
    }
    validate_no_backsteps(&host.path, &format!("{path}.path"), errors);
    if let Some(kind) = host.type_.as_deref().filter(|kind| !TYPES.contains(kind)) {
        errors.push(FieldError::not_supported(format!("{path}.type"), kind, TYPES));
    }
}

pub fn gce_disk(disk: &GCEPersistentDiskVolumeSource, path: &str, errors: &mut Errors) {
    required(&[("pdName", &disk.pd_name)], path, errors);
    partition(disk.partition, path, errors);
}

pub fn aws_disk(disk: &AWSElasticBlockStoreVolumeSource, path: &str, errors: &mut Errors) {
    required(&[("volumeID", &disk.volume_id)], path, errors);
    partition(disk.partition, path, errors);
}

/// Zero means the whole disk, although the message does not say so.
fn partition(partition: Option<i32>, path: &str, errors: &mut Errors) {
    if let Some(partition) = partition.filter(|partition| !(0..=255).contains(partition)) {
        let detail = "must be between 1 and 255, inclusive";
        errors.push(FieldError::invalid(format!("{path}.partition"), partition, detail));
    }
}

pub fn nfs(nfs: &NFSVolumeSource, path: &str, errors: &mut Errors) {
    required(&[("server", &nfs.server), ("path", &nfs.path)], path, errors);
    if !nfs.path.starts_with('/') {
        let detail = "must be an absolute path";
        errors.push(FieldError::invalid(format!("{path}.path"), nfs.path.as_str(), detail));
    }
}

/// What both forms of an iSCSI source have.
pub struct Iscsi<'a> {
    pub portal: &'a str,
    pub name: &'a str,
    pub unit: i32,
    /// Whether the target asks who it is (CHAP).
    pub authenticates: bool,
    pub has_secret: bool,
    pub initiator: Option<&'a str>,
    /// Whether the names of the volume and the portal are too long for an initiator's.
    pub initiator_is_too_long: bool,
    /// What is said of a name that begins as none does.
    pub format_message: &'static str,
}

impl Iscsi<'_> {
    pub fn validate(&self, path: &str, errors: &mut Errors) {
        let child = |name: &str| format!("{path}.{name}");
        required(&[("targetPortal", self.portal)], path, errors);
        if self.initiator_is_too_long {
            let detail = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.";
            errors.push(FieldError::invalid(child("targetportal"), self.portal, detail));
        }
        required(&[("iqn", self.name)], path, errors);
        if !self.name.is_empty() {
            self.validate_name(self.name, child("iqn"), errors);
        }
        if !(0..=255).contains(&self.unit) {
            let detail = "must be between 0 and 255, inclusive";
            errors.push(FieldError::invalid(child("lun"), self.unit, detail));
        }
        if self.authenticates && !self.has_secret {
            errors.push(FieldError::required(child("secretRef"), ""));
        }
        if let Some(initiator) = self.initiator {
            self.validate_name(initiator, child("initiatorname"), errors);
        }
    }

    fn validate_name(&self, name: &str, path: String, errors: &mut Errors) {
        let sound = match name.get(..3) {
            Some("iqn") => is_qualified_name(name),
            Some("eui") => has_digits(name, "eui", 16),
            Some("naa") => has_digits(name, "naa", 32),
            _ => return errors.push(FieldError::invalid(path, name, self.format_message)),
        };
        if !sound {
            errors.push(FieldError::invalid(path, name, "must be valid format"));
        }
    }
}

/// `iqn.yyyy-mm.domain:name`. Upstream's expression does not bind its beginning: the name may hold
/// what it describes at a later place, too.
fn is_qualified_name(name: &str) -> bool {
    let starts = name.match_indices("iqn.").map(|(start, _)| &name[start + 4..]);
    starts.into_iter().any(|rest| {
        let (Some(date), Some(rest)) = (rest.get(..8), rest.get(8..)) else { return false };
        let is_date = date.bytes().enumerate().all(|(index, byte)| match index {
            4 => byte == b'-',
            7 => byte == b'.',
            _ => byte.is_ascii_digit(),
        });
        let Some((domain, target)) = rest.split_once(':') else { return false };
        let in_domain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
        let in_target = |char: char| {
            !matches!(char, ',' | ';' | '*' | '&' | '$' | '|') && !char.is_ascii_whitespace()
        };
        is_date
            && !domain.is_empty()
            && domain.bytes().all(in_domain)
            && !target.is_empty()
            && target.chars().all(in_target)
    })
}

/// The prefix, one character of any sort, and so many letters and digits.
fn has_digits(name: &str, prefix: &str, count: usize) -> bool {
    let mut rest = name[prefix.len()..].chars();
    rest.next().is_some_and(|any| any != '\n')
        && rest.as_str().len() == count
        && rest.all(|char| char.is_ascii_alphanumeric())
}

pub fn default_iscsi(interface: &mut Option<String>) {
    fill(interface, "default");
}

pub fn glusterfs(endpoints: &str, volume: &str, path: &str, errors: &mut Errors) {
    required(&[("endpoints", endpoints), ("path", volume)], path, errors);
}

pub fn flocker(flocker: &FlockerVolumeSource, path: &str, errors: &mut Errors) {
    let name = flocker.dataset_name.as_deref().unwrap_or_default();
    let id = flocker.dataset_uuid.as_deref().unwrap_or_default();
    match (name.is_empty(), id.is_empty()) {
        (true, true) => {
            let detail = "one of datasetName and datasetUUID is required";
            errors.push(FieldError::required(path, detail));
        }
        (false, false) => {
            let detail = "datasetName and datasetUUID can not be specified simultaneously";
            errors.push(FieldError::invalid(path, "resource", detail));
        }
        _ => {}
    }
    if name.contains('/') {
        let path = format!("{path}.datasetName");
        errors.push(FieldError::invalid(path, name, "must not contain '/'"));
    }
}

pub fn default_rbd(
    pool: &mut Option<String>,
    user: &mut Option<String>,
    keyring: &mut Option<String>,
) {
    fill(pool, "rbd");
    fill(user, "admin");
    fill(keyring, "/etc/ceph/keyring");
}

pub fn rbd(monitors: &[String], image: &str, path: &str, errors: &mut Errors) {
    cephfs(monitors, path, errors);
    required(&[("image", image)], path, errors);
}

pub fn cephfs(monitors: &[String], path: &str, errors: &mut Errors) {
    if monitors.is_empty() {
        errors.push(FieldError::required(format!("{path}.monitors"), ""));
    }
}

pub fn quobyte(quobyte: &QuobyteVolumeSource, path: &str, errors: &mut Errors) {
    const PAIRS: &str = "must be a host:port pair or multiple pairs separated by commas";
    let registry_path = format!("{path}.registry");
    let tenant = quobyte.tenant.as_deref().unwrap_or_default();
    if quobyte.registry.is_empty() {
        errors.push(FieldError::required(registry_path, PAIRS));
    } else if tenant.len() > TENANT_BYTES_MAX {
        let detail = "must be a UUID and may not exceed a length of 64 characters";
        errors.push(FieldError::required(format!("{path}.tenant"), detail));
    } else {
        for _ in quobyte.registry.split(',').filter(|pair| !is_host_and_port(pair)) {
            errors.push(FieldError::invalid(&registry_path, quobyte.registry.as_str(), PAIRS));
        }
    }
    required(&[("volume", &quobyte.volume)], path, errors);
}

/// Whether Go's `net.SplitHostPort` takes it apart; either part may be empty.
fn is_host_and_port(pair: &str) -> bool {
    let Some((host, port)) = pair.rsplit_once(':') else { return false };
    let host = match host.strip_prefix('[') {
        Some(inner) => match inner.strip_suffix(']') {
            Some(inner) => inner,
            None => return false,
        },
        None if host.contains(':') => return false,
        None => host,
    };
    !host.contains(['[', ']']) && !port.contains(['[', ']'])
}

pub fn fibre_channel(channel: &FCVolumeSource, path: &str, errors: &mut Errors) {
    let names = channel.target_wwns.as_deref().unwrap_or_default();
    let ids = channel.wwids.as_deref().unwrap_or_default();
    let names_path = format!("{path}.targetWWNs");
    if names.is_empty() && ids.is_empty() {
        let detail = "must specify either targetWWNs or wwids, but not both";
        errors.push(FieldError::required(&names_path, detail));
    }
    if !names.is_empty() && !ids.is_empty() {
        let detail = "targetWWNs and wwids can not be specified simultaneously";
        errors.push(FieldError::invalid(names_path, json!(names), detail));
    }
    if names.is_empty() {
        return;
    }
    let path = format!("{path}.lun");
    match channel.lun {
        None => {
            errors.push(FieldError::required(path, "lun is required if targetWWNs is specified"));
        }
        Some(unit) if !(0..=255).contains(&unit) => {
            let detail = "must be between 0 and 255, inclusive";
            errors.push(FieldError::invalid(path, unit, detail));
        }
        Some(_) => {}
    }
}

pub fn flex(
    driver: &str,
    options: Option<&BTreeMap<String, String>>,
    path: &str,
    errors: &mut Errors,
) {
    required(&[("driver", driver)], path, errors);
    for key in options.into_iter().flatten().map(|(key, _)| key) {
        let namespace = key.split_once('/').map_or(key.as_str(), |(namespace, _)| namespace);
        let namespace = format!(".{}", namespace.to_lowercase());
        if namespace.ends_with(".kubernetes.io") || namespace.ends_with(".k8s.io") {
            let detail = "kubernetes.io and k8s.io namespaces are reserved";
            let path = format!("{path}.options[{key}]");
            errors.push(FieldError::invalid(path, key.as_str(), detail));
        }
    }
}

pub fn azure_file(secret: &str, share: &str, path: &str, errors: &mut Errors) {
    required(&[("secretName", secret), ("shareName", share)], path, errors);
}

pub fn default_azure_disk(disk: &mut AzureDiskVolumeSource) {
    disk.caching_mode.get_or_insert_with(|| "ReadWrite".to_owned());
    disk.fs_type.get_or_insert_with(|| "ext4".to_owned());
    disk.kind.get_or_insert_with(|| "Shared".to_owned());
    disk.read_only.get_or_insert(false);
}

pub fn azure_disk(disk: &AzureDiskVolumeSource, path: &str, errors: &mut Errors) {
    const CACHING: &[&str] = &["None", "ReadOnly", "ReadWrite"];
    const KINDS: &[&str] = &["Dedicated", "Managed", "Shared"];
    const MANAGED: &[&str] = &[
        "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}",
    ];
    const BLOB: &[&str] =
        &["https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"];
    required(&[("diskName", &disk.disk_name), ("diskURI", &disk.disk_uri)], path, errors);
    let mut one_of = |field: &str, value: &str, fits: bool, supported: &[&str]| {
        if !fits {
            errors.push(FieldError::not_supported(format!("{path}.{field}"), value, supported));
        }
    };
    if let Some(mode) = disk.caching_mode.as_deref() {
        one_of("cachingMode", mode, CACHING.contains(&mode), CACHING);
    }
    let uri = disk.disk_uri.as_str();
    match disk.kind.as_deref() {
        Some("Managed") => one_of("diskURI", uri, uri.starts_with("/subscriptions/"), MANAGED),
        Some(kind) => {
            one_of("kind", kind, KINDS.contains(&kind), KINDS);
            one_of("diskURI", uri, uri.starts_with("https://"), BLOB);
        }
        None => {}
    }
}

pub fn storage_os(name: &str, namespace: &str, path: &str, errors: &mut Errors) {
    let name_path = format!("{path}.volumeName");
    if name.is_empty() {
        errors.push(FieldError::required(name_path, ""));
    } else {
        errors.extend(meta::invalid_each(&name_path, name, names::label(name)));
    }
    if !namespace.is_empty() {
        let path = format!("{path}.volumeNamespace");
        errors.extend(meta::invalid_each(&path, namespace, names::label(namespace)));
    }
}

pub fn default_scale_io(mode: &mut Option<String>, file_system: &mut Option<String>) {
    fill(mode, "ThinProvisioned");
    fill(file_system, "xfs");
}

pub fn scale_io(gateway: &str, system: &str, volume: &str, path: &str, errors: &mut Errors) {
    required(&[("gateway", gateway), ("system", system), ("volumeName", volume)], path, errors);
}

/// All problems of the name of a CSI driver: a subdomain, but for its case.
pub fn csi_driver(name: &str, path: &str) -> Errors {
    if name.is_empty() {
        return vec![FieldError::required(path, "")];
    }
    let mut errors = Errors::new();
    if name.len() > DRIVER_BYTES_MAX {
        errors.push(FieldError::too_long(path, DRIVER_BYTES_MAX));
    }
    errors.extend(meta::invalid_each(path, name, names::subdomain(&name.to_lowercase())));
    errors
}

/// Sets a text that is absent or empty.
fn fill(field: &mut Option<String>, value: &str) {
    if field.as_deref().unwrap_or_default().is_empty() {
        *field = Some(value.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::texts;
    use serde_json::Value;

    fn problems<T: serde::de::DeserializeOwned>(
        value: Value,
        validate: impl Fn(&T, &str, &mut Errors),
    ) -> Vec<String> {
        let mut errors = Errors::new();
        validate(&serde_json::from_value(value).expect("it decodes"), "p", &mut errors);
        texts(&errors)
    }

    #[test]
    fn names_of_iscsi_targets_have_a_format() {
        let cases = [
            ("iqn.2001-04.com.example:storage.disk1", None),
            ("eui.02004567A425678D", None),
            ("naa.62004567BA64678D0123456789ABCDEF", None),
            ("iqn.2001-04.com.example", Some("must be valid format")),
            ("iqn.2001.com.example:a", Some("must be valid format")),
            ("iqn.2001-04.com.example:a b", Some("must be valid format")),
            ("eui.02", Some("must be valid format")),
            ("disk", Some("unknown")),
        ];
        for (name, expected) in cases {
            let iscsi = Iscsi {
                portal: "p",
                name,
                unit: 0,
                authenticates: false,
                has_secret: false,
                initiator: None,
                initiator_is_too_long: false,
                format_message: "unknown",
            };
            let mut errors = Errors::new();
            iscsi.validate("p", &mut errors);
            let found = errors.first().map(|error| error.detail.as_str());
            assert_eq!(found, expected, "{name}");
        }
    }

    #[test]
    fn iscsi_needs_a_portal_a_unit_and_a_secret_to_authenticate_with() {
        let iscsi = Iscsi {
            portal: "",
            name: "",
            unit: 256,
            authenticates: true,
            has_secret: false,
            initiator: Some("x"),
            initiator_is_too_long: true,
            format_message: "must be valid format",
        };
        let mut errors = Errors::new();
        iscsi.validate("p", &mut errors);
        assert_eq!(
            texts(&errors),
            [
                "p.targetPortal: Required value",
                "p.targetportal: Invalid value: \"\": Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.",
                "p.iqn: Required value",
                "p.lun: Invalid value: 256: must be between 0 and 255, inclusive",
                "p.secretRef: Required value",
                "p.initiatorname: Invalid value: \"x\": must be valid format",
            ]
        );
    }

    #[test]
    fn sources_have_what_they_need() {
        assert_eq!(
            problems(json!({"path": "../a", "type": "Tape"}), host_path)[0],
            "p.path: Invalid value: \"../a\": must not contain '..'"
        );
        assert_eq!(
            problems(json!({"pdName": "", "partition": 256}), gce_disk),
            [
                "p.pdName: Required value",
                "p.partition: Invalid value: 256: must be between 1 and 255, inclusive",
            ]
        );
        assert_eq!(
            problems(json!({"server": "s", "path": "a"}), nfs),
            ["p.path: Invalid value: \"a\": must be an absolute path"]
        );
        assert_eq!(
            problems(json!({"datasetName": "a/b", "datasetUUID": "c"}), flocker),
            [
                "p: Invalid value: \"resource\": datasetName and datasetUUID can not be specified simultaneously",
                "p.datasetName: Invalid value: \"a/b\": must not contain '/'",
            ]
        );
        assert_eq!(
            problems(json!({"registry": "a:1,b", "volume": ""}), quobyte),
            [
                "p.registry: Invalid value: \"a:1,b\": must be a host:port pair or multiple pairs separated by commas",
                "p.volume: Required value",
            ]
        );
        assert_eq!(
            problems(json!({"targetWWNs": ["a"], "wwids": ["b"]}), fibre_channel),
            [
                "p.targetWWNs: Invalid value: [\"a\"]: targetWWNs and wwids can not be specified simultaneously",
                "p.lun: Required value: lun is required if targetWWNs is specified",
            ]
        );
        assert_eq!(
            problems(
                json!({"diskName": "d", "diskURI": "file:x", "kind": "Managed", "cachingMode": "All"}),
                azure_disk
            ),
            [
                "p.cachingMode: Unsupported value: \"All\": supported values: \"None\", \"ReadOnly\", \"ReadWrite\"",
                "p.diskURI: Unsupported value: \"file:x\": supported values: \"/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}\"",
            ]
        );
    }

    #[test]
    fn names_are_checked() {
        let mut errors = Errors::new();
        let options =
            [("k8s.io/a".to_owned(), String::new()), ("x.io/b".to_owned(), String::new())];
        flex("", Some(&options.into()), "p", &mut errors);
        storage_os("", "", "q", &mut errors);
        assert_eq!(
            texts(&errors),
            [
                "p.driver: Required value",
                "p.options[k8s.io/a]: Invalid value: \"k8s.io/a\": kubernetes.io and k8s.io namespaces are reserved",
                "q.volumeName: Required value",
            ]
        );
        assert_eq!(csi_driver("CSI.example.com", "p"), []);
        assert_eq!(texts(&csi_driver("", "p")), ["p: Required value"]);
        assert_eq!(
            texts(&csi_driver(&"a.".repeat(32), "p"))[0],
            "p: Too long: may not be more than 63 bytes"
        );
    }
}
