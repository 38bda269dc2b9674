//! Volumes of a cluster. `spec` judges what they are made of.
//!
//! Source: `pkg/registry/core/persistentvolume/strategy.go`, `ValidatePersistentVolume…` in
//! `pkg/apis/core/validation/validation.go`, `pkg/volume/validation`.

mod sources;
pub mod spec;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    NodeSelector, PersistentVolume, PersistentVolumeSpec, PersistentVolumeStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::persistent_volume_claim::{or_unset, shown_amount};
use super::rules::{node_selector, volume_claims};
use super::{Column, Context, FieldError, Kind, KindInfo, Shown, Subresource, meta, semantic};

const MOUNT_OPTIONS: &str = "volume.beta.kubernetes.io/mount-options";

pub struct PersistentVolumes;

impl Kind for PersistentVolumes {
    type Object = PersistentVolume;

    const INFO: KindInfo = KindInfo {
        short_names: &["pv"],
        subresources: &[Subresource::Status],
        returns_deleted: true,
        not_yet: Some("it is not bound yet"),
        ..KindInfo::cluster(
            "",
            "v1",
            "PersistentVolume",
            "persistentvolumes",
            "persistentvolume",
            "io.k8s.api.core.v1.PersistentVolume",
        )
    };

    fn default(volume: &mut PersistentVolume) {
        let spec = volume.spec.get_or_insert_default();
        spec::default(spec);
        let policy = spec.persistent_volume_reclaim_policy.get_or_insert_default();
        if policy.is_empty() {
            *policy = "Retain".to_owned();
        }
        spec.volume_mode.get_or_insert_with(|| "Filesystem".to_owned());
        let phase = volume.status.get_or_insert_default().phase.get_or_insert_default();
        if phase.is_empty() {
            *phase = "Pending".to_owned();
        }
    }

    fn prepare_create(volume: &mut PersistentVolume, context: &Context<'_>) {
        volume.status = Some(PersistentVolumeStatus {
            phase: Some("Pending".to_owned()),
            last_phase_transition_time: Some(Time(context.now)),
            ..PersistentVolumeStatus::default()
        });
    }

    fn prepare_status(new: &mut PersistentVolume, old: &PersistentVolume, context: &Context<'_>) {
        let none = PersistentVolumeStatus::default();
        let old = old.status.as_ref().unwrap_or(&none);
        let new = new.status.get_or_insert_default();
        let is_same = new.phase.as_deref().unwrap_or_default() == old.phase.as_deref().unwrap_or_default();
        let given = new.last_phase_transition_time.as_ref();
        if is_same && given.is_none() {
            new.last_phase_transition_time.clone_from(&old.last_phase_transition_time);
        } else if !is_same
            && given.is_none_or(|time| old.last_phase_transition_time.as_ref() == Some(time))
        {
            new.last_phase_transition_time = Some(Time(context.now));
        }
    }

    /// What may stay depends on the object before: see `validate_create` and `validate_update`.
    fn validate(_volume: &PersistentVolume) -> Vec<FieldError> {
        Vec::new()
    }

    fn validate_create(volume: &PersistentVolume) -> Vec<FieldError> {
        let none = PersistentVolumeSpec::default();
        let spec = volume.spec.as_ref().unwrap_or(&none);
        let whose = spec::Whose::Volume { name: name(volume), strict: true };
        let mut errors = spec::validate(spec, &whose, "spec");
        errors.extend(validate_mount_options(volume));
        errors
    }

    fn validate_update(new: &PersistentVolume, old: &PersistentVolume) -> Vec<FieldError> {
        let none = PersistentVolumeSpec::default();
        let after = new.spec.as_ref().unwrap_or(&none);
        let before = old.spec.as_ref().unwrap_or(&none);
        let strict = !required_nodes(before).is_some_and(node_selector::has_invalid_value);
        let whose = spec::Whose::Volume { name: name(new), strict };
        let of_spec = spec::validate(after, &whose, "spec");
        // Upstream looks at the spec twice, and tells of both.
        let mut errors = of_spec.clone();
        errors.extend(validate_mount_options(new));
        errors.extend(of_spec);
        errors.extend(validate_source_change(after, before));
        let mode = |spec: &PersistentVolumeSpec| Value::from(spec.volume_mode.clone());
        // The paths without `spec` are upstream's.
        errors.extend(meta::immutable(&mode(after), &mode(before), "volumeMode"));
        errors.extend(validate_affinity_change(after, before));
        let attributes = |spec: &PersistentVolumeSpec| spec.volume_attributes_class_name.is_some();
        if attributes(before) && !attributes(after) {
            let detail = "update from non-nil value to nil is forbidden";
            errors.push(FieldError::forbidden("spec.volumeAttributesClassName", detail));
        }
        errors
    }

    fn warnings(new: &PersistentVolume, _old: Option<&PersistentVolume>) -> Vec<String> {
        let mut warnings = Vec::new();
        let annotations = new.metadata.annotations.as_ref();
        for (key, message) in DEPRECATED_ANNOTATIONS {
            if annotations.is_some_and(|annotations| annotations.contains_key(key)) {
                warnings.push(format!("metadata.annotations[{key}]: {message}"));
            }
        }
        let Some(spec) = &new.spec else { return warnings };
        if spec.persistent_volume_reclaim_policy.as_deref() == Some("Recycle") {
            warnings.push("spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.".to_owned());
        }
        let terms = required_nodes(spec).into_iter().flat_map(|nodes| &nodes.node_selector_terms);
        for (index, term) in terms.enumerate() {
            let path = format!("spec.nodeAffinity.required.nodeSelectorTerms[{index}]");
            warnings.extend(node_selector::warn_of_term(term, false, &path));
        }
        warnings.extend(sources::warnings(spec));
        warnings
    }

    fn columns() -> &'static [Column] {
        COLUMNS
    }

    fn cells(volume: &PersistentVolume, now: Timestamp) -> Vec<Value> {
        let none = PersistentVolumeSpec::default();
        let spec = volume.spec.as_ref().unwrap_or(&none);
        let none = PersistentVolumeStatus::default();
        let status = volume.status.as_ref().unwrap_or(&none);
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        let claim = spec.claim_ref.as_ref();
        let claim = claim.map(|claim| format!("{}/{}", text(&claim.namespace), text(&claim.name)));
        let phase = match volume.metadata.deletion_timestamp {
            Some(_) => "Terminating".to_owned(),
            None => text(&status.phase),
        };
        let annotated = volume_claims::beta_class(volume.metadata.annotations.as_ref());
        let class = annotated.map_or_else(|| text(&spec.storage_class_name), str::to_owned);
        vec![
            meta::object_name(&volume.metadata),
            shown_amount(spec.capacity.as_ref()).into(),
            volume_claims::short_modes(spec.access_modes.as_ref()).into(),
            text(&spec.persistent_volume_reclaim_policy).into(),
            phase.into(),
            claim.unwrap_or_default().into(),
            class.into(),
            or_unset(spec.volume_attributes_class_name.as_ref()),
            text(&status.reason).into(),
            meta::object_age(&volume.metadata, now),
            or_unset(spec.volume_mode.as_ref()),
        ]
    }
}

const COLUMNS: &[Column] = &[
    Column::NAME,
    Column::new("Capacity", "string", 0, "How much the volume holds."),
    Column::new("Access Modes", "string", 0, "How the volume can be mounted."),
    Column::new("Reclaim Policy", "string", 0, "What becomes of the volume without its claim."),
    Column::new("Status", "string", 0, "Whether the volume is available, bound or released."),
    Column::new("Claim", "string", 0, "The claim that the volume is bound to."),
    Column::new("StorageClass", "string", 0, "StorageClass of the pv"),
    Column::new("VolumeAttributesClass", "string", 0, "VolumeAttributesClass of the pv"),
    Column::new("Reason", "string", 0, "Why the volume is in this state."),
    Column::AGE,
    Column::new("VolumeMode", "string", 1, "Whether it is a file system or a block device."),
];

const DEPRECATED_ANNOTATIONS: [(&str, &str); 2] = [
    (
        volume_claims::BETA_CLASS,
        r#"deprecated since v1.8; use "storageClassName" attribute instead"#,
    ),
    (MOUNT_OPTIONS, r#"deprecated since v1.31; use "mountOptions" attribute instead"#),
];

fn name(volume: &PersistentVolume) -> &str {
    volume.metadata.name.as_deref().unwrap_or_default()
}

fn required_nodes(spec: &PersistentVolumeSpec) -> Option<&NodeSelector> {
    spec.node_affinity.as_ref().and_then(|affinity| affinity.required.as_ref())
}

/// Only some sources can be mounted with options.
fn validate_mount_options(volume: &PersistentVolume) -> Option<FieldError> {
    let annotations = volume.metadata.annotations.as_ref()?;
    if !annotations.contains_key(MOUNT_OPTIONS)
        || volume.spec.as_ref().is_some_and(sources::take_mount_options)
    {
        return None;
    }
    let path = format!("metadata.annotations.{MOUNT_OPTIONS}");
    Some(FieldError::forbidden(path, "may not specify mount options for this volume type"))
}

/// A source stays as it is; only the secret that a driver needs to expand it may be added.
fn validate_source_change(
    after: &PersistentVolumeSpec,
    before: &PersistentVolumeSpec,
) -> Option<FieldError> {
    let (mut after, before) = (sources::only(after), sources::only(before));
    if let (Some(new), Some(old)) = (&mut after.csi, &before.csi)
        && old.controller_expand_secret_ref.is_none()
    {
        new.controller_expand_secret_ref = None;
    }
    let json = |spec| serde_json::to_value(spec).unwrap_or_default();
    let (after, before): (Value, Value) = (json(&after), json(&before));
    if semantic::equal(&after, &before) {
        return None;
    }
    let differences = semantic::differences(&before, &after, "spec");
    let detail = format!("spec.persistentvolumesource is immutable after creation\n{differences}");
    Some(FieldError::forbidden("spec.persistentvolumesource", detail))
}

/// Which nodes reach a volume is said once; only labels of the beta may become those of today.
fn validate_affinity_change(
    after: &PersistentVolumeSpec,
    before: &PersistentVolumeSpec,
) -> Option<FieldError> {
    before.node_affinity.as_ref()?;
    let new = json!(after.node_affinity);
    let mut renewed = before.node_affinity.clone();
    let nodes = renewed.as_mut().and_then(|affinity| affinity.required.as_mut());
    if let (Some(old), Some(new)) = (nodes, required_nodes(after)) {
        node_selector::renew_labels(old, new);
    }
    if semantic::equal(&new, &json!(renewed)) {
        return None;
    }
    let detail = format!("{}, except for updating from beta label to GA", meta::IMMUTABLE);
    let shown = Shown::internal("io.k8s.api.core.v1.VolumeNodeAffinity", &new);
    Some(FieldError::invalid("nodeAffinity", shown, detail))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::{context, move_problems, problems, row};

    fn volume() -> Value {
        json!({
            "metadata": {"name": "disk"},
            "spec": {
                "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"},
                "persistentVolumeReclaimPolicy": "Retain", "volumeMode": "Filesystem",
                "csi": {"driver": "csi.example.com", "volumeHandle": "a"},
            },
        })
    }

    fn moved(change: impl Fn(&mut Value)) -> Vec<String> {
        let mut new = volume();
        change(&mut new);
        let first_line = |text: &String| text.lines().next().unwrap_or_default().to_owned();
        move_problems::<PersistentVolumes>(new, volume()).iter().map(first_line).collect()
    }

    #[test]
    fn a_source_stays_but_for_a_secret_to_expand_it_with() {
        let secret = json!({"name": "a", "namespace": "b"});
        assert_eq!(moved(|new| new["spec"]["csi"]["controllerExpandSecretRef"] = secret.clone()), [""; 0]);
        assert_eq!(
            moved(|new| new["spec"]["csi"]["volumeHandle"] = "b".into()),
            ["spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation"]
        );
        assert_eq!(
            moved(|new| new["spec"]["volumeMode"] = "Block".into()),
            ["volumeMode: Invalid value: \"Block\": field is immutable"]
        );
        assert_eq!(moved(|new| new["spec"]["capacity"]["storage"] = "2Gi".into()), [""; 0]);
    }

    #[test]
    fn affinity_may_be_added_and_its_labels_renewed() {
        let on = |key: &str| {
            json!({"required": {"nodeSelectorTerms": [
                {"matchExpressions": [{"key": key, "operator": "In", "values": ["a"]}]}]}})
        };
        let (beta, today) = ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone");
        let with = |affinity: Value| {
            let mut volume = volume();
            volume["spec"]["nodeAffinity"] = affinity;
            volume
        };
        let check = |new, old| move_problems::<PersistentVolumes>(new, old).len();
        assert_eq!(check(with(on(beta)), volume()), 0);
        assert_eq!(check(with(on(today)), with(on(beta))), 0);
        assert_eq!(check(with(on(beta)), with(on(today))), 1);
        assert_eq!(check(volume(), with(on(today))), 1);
    }

    #[test]
    fn the_time_of_a_phase_is_kept_with_it() {
        let volume = |phase: &str, time: Option<&str>| -> PersistentVolume {
            let time: Option<Timestamp> = time.map(|time| time.parse().unwrap());
            let status = PersistentVolumeStatus {
                phase: Some(phase.to_owned()),
                last_phase_transition_time: time.map(Time),
                ..PersistentVolumeStatus::default()
            };
            PersistentVolume { status: Some(status), ..PersistentVolume::default() }
        };
        let (then, other) = ("2026-01-01T00:00:00Z", "2026-01-01T12:00:00Z");
        let now = "2026-01-02T00:00:00Z";
        let cases = [
            (volume("Bound", None), volume("Bound", Some(then)), then),
            (volume("Released", None), volume("Bound", Some(then)), now),
            (volume("Released", Some(then)), volume("Bound", Some(then)), now),
            (volume("Released", Some(other)), volume("Bound", Some(then)), other),
        ];
        for (mut new, old, expected) in cases {
            PersistentVolumes::prepare_status(&mut new, &old, &context());
            let time = new.status.and_then(|status| status.last_phase_transition_time);
            assert_eq!(time.map(|time| time.0.to_string()).as_deref(), Some(expected));
        }
    }

    #[test]
    fn mount_options_are_for_sources_that_take_them() {
        let mut options = volume();
        options["metadata"]["annotations"][MOUNT_OPTIONS] = "ro".into();
        assert_eq!(
            problems::<PersistentVolumes>(&options),
            ["metadata.annotations.volume.beta.kubernetes.io/mount-options: Forbidden: may not specify mount options for this volume type"]
        );
        options["spec"]["csi"].take();
        options["spec"]["nfs"] = json!({"server": "s", "path": "/a"});
        assert_eq!(problems::<PersistentVolumes>(&options), [""; 0]);
    }

    #[test]
    fn a_bound_volume_shows_its_claim() {
        let mut bound = volume();
        bound["spec"]["claimRef"] = json!({"namespace": "default", "name": "data"});
        bound["status"] = json!({"phase": "Bound"});
        assert_eq!(
            row::<PersistentVolumes>(&bound),
            [
                "disk", "1Gi", "RWO", "Retain", "Bound", "default/data", "", "<unset>", "",
                "<unknown>", "Filesystem",
            ]
        );
    }
}
