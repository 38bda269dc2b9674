//! What a CSI driver asks of the cluster.
//!
//! Source: `pkg/registry/storage/csidriver/strategy.go`, `pkg/apis/storage/validation`,
//! `pkg/apis/storage/v1/defaults.go`.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::api::storage::v1::{CSIDriver, CSIDriverSpec, TokenRequest};
use serde_json::{Value, json};

use super::{Column, Context, FieldError, Generation, Kind, KindInfo, meta};

const GROUP_POLICIES: &[&str] = &["File", "None", "ReadWriteOnceWithFSType"];
const LIFECYCLES: &[&str] = &["Persistent", "Ephemeral"];
const UPDATE_SECONDS_MIN: i64 = 10;
const TOKEN_SECONDS_MIN: i64 = 600;
const TOKEN_SECONDS_MAX: i64 = 1 << 32;
const TOKENS_WARNING: &str = "spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent possible logging of tokens in volume attributes";

pub struct CsiDrivers;

impl Kind for CsiDrivers {
    type Object = CSIDriver;

    const INFO: KindInfo = KindInfo {
        generation: Generation::RaisedFromNothing,
        managed_as_sent: true,
        unconditional_update: false,
        returns_deleted: true,
        ..KindInfo::cluster(
            "storage.k8s.io",
            "v1",
            "CSIDriver",
            "csidrivers",
            "csidriver",
            "io.k8s.api.storage.v1.CSIDriver",
        )
    };

    fn default(driver: &mut CSIDriver) {
        let spec = &mut driver.spec;
        spec.attach_required.get_or_insert(true);
        for flag in [
            &mut spec.pod_info_on_mount,
            &mut spec.storage_capacity,
            &mut spec.requires_republish,
            &mut spec.se_linux_mount,
        ] {
            flag.get_or_insert(false);
        }
        spec.fs_group_policy.get_or_insert_with(|| "ReadWriteOnceWithFSType".to_owned());
        let modes = spec.volume_lifecycle_modes.get_or_insert_default();
        if modes.is_empty() {
            modes.push("Persistent".to_owned());
        }
    }

    fn prepare_create(driver: &mut CSIDriver, _context: &Context<'_>) {
        // The gate is closed upstream (VolumeLimitScaling).
        driver.spec.prevent_pod_scheduling_if_missing = None;
    }

    fn prepare_update(new: &mut CSIDriver, old: &CSIDriver, _context: &Context<'_>) {
        if old.spec.prevent_pod_scheduling_if_missing.is_none() {
            new.spec.prevent_pod_scheduling_if_missing = None;
        }
    }

    fn validate(driver: &CSIDriver) -> Vec<FieldError> {
        validate_spec(&driver.spec)
    }

    fn validate_update(new: &CSIDriver, old: &CSIDriver) -> Vec<FieldError> {
        let fields = |driver: &CSIDriver| {
            [
                // The path is upstream's.
                ("spec.attachedRequired", json!(driver.spec.attach_required)),
                ("spec.volumeLifecycleModes", json!(driver.spec.volume_lifecycle_modes)),
            ]
        };
        let pairs = fields(new).into_iter().zip(fields(old));
        pairs.filter_map(|((path, new), (_, old))| meta::immutable(&new, &old, path)).collect()
    }

    fn warnings(new: &CSIDriver, old: Option<&CSIDriver>) -> Vec<String> {
        let requests = |driver: &CSIDriver| driver.spec.token_requests.clone().unwrap_or_default();
        let asked = requests(new);
        let is_unset = new.spec.service_account_token_in_secrets.is_none();
        if asked.is_empty() || !is_unset || old.is_some_and(|old| requests(old) == asked) {
            return Vec::new();
        }
        vec![TOKENS_WARNING.to_owned()]
    }

    fn columns() -> &'static [Column] {
        COLUMNS
    }

    fn cells(driver: &CSIDriver, now: Timestamp) -> Vec<Value> {
        let spec = &driver.spec;
        let flag = |flag: Option<bool>| Value::from(flag.unwrap_or_default());
        let tokens = spec.token_requests.as_ref().map(|requests| {
            let audiences: Vec<&str> =
                requests.iter().map(|request| request.audience.as_str()).collect();
            audiences.join(",")
        });
        let modes = spec.volume_lifecycle_modes.as_deref().unwrap_or_default().join(",");
        vec![
            meta::object_name(&driver.metadata),
            spec.attach_required.unwrap_or(true).into(),
            flag(spec.pod_info_on_mount),
            flag(spec.storage_capacity),
            tokens.unwrap_or_else(|| "<unset>".to_owned()).into(),
            flag(spec.requires_republish),
            if modes.is_empty() { "<none>".into() } else { modes.into() },
            meta::object_age(&driver.metadata, now),
        ]
    }
}

const COLUMNS: &[Column] = &[
    Column::NAME,
    Column::new("AttachRequired", "boolean", 0, "Whether volumes must be attached to nodes."),
    Column::new("PodInfoOnMount", "boolean", 0, "Whether the driver is told of the pod."),
    Column::new("StorageCapacity", "boolean", 0, "Whether the driver tells its capacity."),
    Column::new("TokenRequests", "string", 0, "The audiences of the tokens that it gets."),
    Column::new("RequiresRepublish", "boolean", 0, "Whether it publishes volumes again and again."),
    Column::new("Modes", "string", 0, "The lives of volumes that it supports."),
    Column::AGE,
];

fn validate_spec(spec: &CSIDriverSpec) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (path, flag) in [
        ("spec.attachedRequired", spec.attach_required),
        ("spec.podInfoOnMount", spec.pod_info_on_mount),
        ("spec.storageCapacity", spec.storage_capacity),
    ] {
        if flag.is_none() {
            errors.push(FieldError::required(path, ""));
        }
    }
    if let Some(policy) = spec.fs_group_policy.as_deref()
        && !GROUP_POLICIES.contains(&policy)
    {
        errors.push(FieldError::not_supported("spec.fsGroupPolicy", policy, GROUP_POLICIES));
    }
    let requests = spec.token_requests.as_deref().unwrap_or_default();
    errors.extend(validate_requests(requests));
    for mode in spec.volume_lifecycle_modes.iter().flatten() {
        if !LIFECYCLES.contains(&mode.as_str()) {
            let path = "spec.volumeLifecycleModes";
            errors.push(FieldError::not_supported(path, mode.as_str(), LIFECYCLES));
        }
    }
    if spec.se_linux_mount.is_none() {
        errors.push(FieldError::required("spec.seLinuxMount", ""));
    }
    if let Some(seconds) =
        spec.node_allocatable_update_period_seconds.filter(|seconds| *seconds < UPDATE_SECONDS_MIN)
    {
        let path = "spec.nodeAllocatableUpdatePeriodSeconds";
        let detail = "must be greater than or equal to 10 seconds";
        errors.push(FieldError::invalid(path, seconds, detail));
    }
    if let Some(in_secrets) = spec.service_account_token_in_secrets
        && requests.is_empty()
    {
        let path = "spec.serviceAccountTokenInSecrets";
        let detail = "serviceAccountTokenInSecrets is set but no tokenRequests are specified";
        errors.push(FieldError::invalid(path, in_secrets, detail));
    }
    errors
}

fn validate_requests(requests: &[TokenRequest]) -> Vec<FieldError> {
    let mut audiences = BTreeSet::new();
    let mut errors = Vec::new();
    for (index, request) in requests.iter().enumerate() {
        let path = format!("spec.tokenRequests[{index}]");
        if !audiences.insert(request.audience.as_str()) {
            let path = format!("{path}.audience");
            errors.push(FieldError::duplicate(path, request.audience.as_str()));
            continue;
        }
        let detail = match request.expiration_seconds {
            Some(..TOKEN_SECONDS_MIN) => "may not specify a duration less than 10 minutes",
            Some(seconds) if seconds > TOKEN_SECONDS_MAX => {
                "may not specify a duration larger than 2^32 seconds"
            }
            _ => continue,
        };
        let path = format!("{path}.expirationSeconds");
        errors.push(FieldError::invalid(path, request.expiration_seconds, detail));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::{row, warnings};

    #[test]
    fn who_gets_tokens_should_say_where_they_go() {
        let driver = |requests: Value, in_secrets: Option<bool>| {
            json!({"metadata": {"name": "a"},
                "spec": {"tokenRequests": requests, "serviceAccountTokenInSecrets": in_secrets}})
        };
        let one = json!([{"audience": "a"}]);
        let cases = [
            (driver(one.clone(), None), None, true),
            (driver(one.clone(), Some(true)), None, false),
            (driver(json!([]), None), None, false),
            (driver(one.clone(), None), Some(driver(one.clone(), None)), false),
            (driver(one.clone(), None), Some(driver(json!([]), None)), true),
        ];
        for (new, old, told) in cases {
            assert_eq!(warnings::<CsiDrivers>(new.clone(), old).is_empty(), !told, "{new}");
        }
        assert_eq!(row::<CsiDrivers>(driver(one, None))[4], "a");
    }
}
