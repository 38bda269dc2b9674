//! Claims of volumes.
//!
//! What a claim may ask for stands in `rules::volume_claims`; this file judges changes and statuses.
//! Source: `pkg/registry/core/persistentvolumeclaim/strategy.go`, `ValidatePersistentVolumeClaim…` in
//! `pkg/apis/core/validation/validation.go`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, PersistentVolumeClaimStatus,
};
use serde_json::Value;

use super::quantity::{self, Quantity};
use super::rules::volume_claims::{self as rules, BETA_CLASS, Grandfathered};
use super::{
    Column, Context, FieldError, Kind, KindInfo, Subresource, meta, names, resources, semantic,
};

const CHANGEABLE: &str = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
const STORAGE: &str = "storage";
const RESIZE_STATUSES: &[&str] = &[
    "ControllerResizeInProgress",
    "ControllerResizeInfeasible",
    "NodeResizeInProgress",
    "NodeResizeInfeasible",
    "NodeResizePending",
];

pub struct PersistentVolumeClaims;

impl Kind for PersistentVolumeClaims {
    type Object = PersistentVolumeClaim;

    const INFO: KindInfo = KindInfo {
        short_names: &["pvc"],
        subresources: &[Subresource::Status],
        returns_deleted: true,
        managed_as_sent: true,
        not_yet: Some("it is not bound yet"),
        ..KindInfo::namespaced(
            "",
            "v1",
            "PersistentVolumeClaim",
            "persistentvolumeclaims",
            "persistentvolumeclaim",
            "io.k8s.api.core.v1.PersistentVolumeClaim",
        )
    };

    fn default(claim: &mut PersistentVolumeClaim) {
        rules::default_spec(claim.spec.get_or_insert_default());
        let status = claim.status.get_or_insert_default();
        if status.phase.as_deref().unwrap_or_default().is_empty() {
            status.phase = Some("Pending".to_owned());
        }
        quantity::canonicalise_list(&mut status.capacity);
        quantity::canonicalise_list(&mut status.allocated_resources);
    }

    fn prepare_create(claim: &mut PersistentVolumeClaim, _context: &Context<'_>) {
        prepare_sources(claim.spec.get_or_insert_default(), None);
    }

    fn prepare_update(
        new: &mut PersistentVolumeClaim,
        old: &PersistentVolumeClaim,
        _context: &Context<'_>,
    ) {
        prepare_sources(new.spec.get_or_insert_default(), old.spec.as_ref());
    }

    /// What may stay depends on the object before: see `validate_create` and `validate_update`.
    fn validate(_claim: &PersistentVolumeClaim) -> Vec<FieldError> {
        Vec::new()
    }

    fn validate_create(claim: &PersistentVolumeClaim) -> Vec<FieldError> {
        let none = PersistentVolumeClaimSpec::default();
        let spec = claim.spec.as_ref().unwrap_or(&none);
        rules::validate_spec(spec, Grandfathered::default(), "spec")
    }

    fn validate_update(
        new: &PersistentVolumeClaim,
        old: &PersistentVolumeClaim,
    ) -> Vec<FieldError> {
        let mut before = old.spec.clone().unwrap_or_default();
        let none = PersistentVolumeClaimSpec::default();
        let after = new.spec.as_ref().unwrap_or(&none);
        let mut errors = rules::validate_spec(after, Grandfathered::of(&before), "spec");
        rules::normalise_sources(&mut before);
        errors.extend(validate_change(new, old, after, &before));
        errors.extend(validate_size(after, &before, old.status.as_ref()));
        let mode = |spec: &PersistentVolumeClaimSpec| Value::from(spec.volume_mode.clone());
        errors.extend(meta::immutable(&mode(after), &mode(&before), "volumeMode"));
        errors.extend(validate_attributes(after, &before, old.status.as_ref()));
        errors
    }

    fn validate_status(
        new: &PersistentVolumeClaim,
        _old: &PersistentVolumeClaim,
    ) -> Vec<FieldError> {
        new.status.as_ref().map(validate_status).unwrap_or_default()
    }

    fn warnings(
        new: &PersistentVolumeClaim,
        _old: Option<&PersistentVolumeClaim>,
    ) -> Vec<String> {
        let mut warnings = Vec::new();
        if rules::beta_class(new.metadata.annotations.as_ref()).is_some() {
            warnings.push(format!(
                r#"metadata.annotations[{BETA_CLASS}]: deprecated since v1.8; use "storageClassName" attribute instead"#
            ));
        }
        warnings.extend(new.spec.iter().flat_map(|spec| rules::warnings(spec, "spec")));
        warnings
    }

    fn columns() -> &'static [Column] {
        COLUMNS
    }

    fn cells(claim: &PersistentVolumeClaim, now: Timestamp) -> Vec<Value> {
        let none = PersistentVolumeClaimSpec::default();
        let spec = claim.spec.as_ref().unwrap_or(&none);
        let none = PersistentVolumeClaimStatus::default();
        let status = claim.status.as_ref().unwrap_or(&none);
        let volume = spec.volume_name.clone().unwrap_or_default();
        let (capacity, modes) = if volume.is_empty() {
            (String::new(), String::new())
        } else {
            (shown_amount(status.capacity.as_ref()), rules::short_modes(status.access_modes.as_ref()))
        };
        let phase = match claim.metadata.deletion_timestamp {
            Some(_) => "Terminating".to_owned(),
            None => status.phase.clone().unwrap_or_default(),
        };
        vec![
            meta::object_name(&claim.metadata),
            phase.into(),
            volume.into(),
            capacity.into(),
            modes.into(),
            class(claim).into(),
            or_unset(spec.volume_attributes_class_name.as_ref()),
            meta::object_age(&claim.metadata, now),
            or_unset(spec.volume_mode.as_ref()),
        ]
    }
}

const COLUMNS: &[Column] = &[
    Column::NAME,
    Column::new("Status", "string", 0, "Whether the claim has its volume."),
    Column::new("Volume", "string", 0, "The volume that the claim is bound to."),
    Column::new("Capacity", "string", 0, "How much the volume holds."),
    Column::new("Access Modes", "string", 0, "How the volume can be mounted."),
    Column::new("StorageClass", "string", 0, "StorageClass of the pvc"),
    Column::new("VolumeAttributesClass", "string", 0, "VolumeAttributesClass of the pvc"),
    Column::AGE,
    Column::new("VolumeMode", "string", 1, "Whether a file system or a block device is asked for."),
];

/// The amount of storage in a list, as a table shows it: none is `0`.
pub fn shown_amount(list: Option<&quantity::ResourceList>) -> String {
    quantity::get(list, STORAGE).unwrap_or(Quantity::ZERO).to_string()
}

/// What a table shows of a field that may be unset.
pub fn or_unset(field: Option<&String>) -> Value {
    field.map_or("<unset>", String::as_str).into()
}

/// The storage class: of the old annotation, else of the field.
fn class(claim: &PersistentVolumeClaim) -> String {
    let field = || claim.spec.as_ref().and_then(|spec| spec.storage_class_name.clone());
    let annotated = rules::beta_class(claim.metadata.annotations.as_ref()).map(str::to_owned);
    annotated.or_else(field).unwrap_or_default()
}

fn prepare_sources(
    spec: &mut PersistentVolumeClaimSpec,
    old: Option<&PersistentVolumeClaimSpec>,
) {
    rules::drop_foreign_source(spec, old);
    rules::drop_unknown_source(spec, old);
    rules::normalise_sources(spec);
}

/// Of the spec, the volume's name may be set once, the class may move out of its old annotation or
/// be filled in, and what a bound claim asks for may change.
fn validate_change(
    new: &PersistentVolumeClaim,
    old: &PersistentVolumeClaim,
    after: &PersistentVolumeClaimSpec,
    before: &PersistentVolumeClaimSpec,
) -> Vec<FieldError> {
    let (mut rest, mut before) = (after.clone(), before.clone());
    let mut errors = Vec::new();
    if before.volume_name.as_deref().unwrap_or_default().is_empty() {
        before.volume_name.clone_from(&rest.volume_name);
    }
    let annotated = rules::beta_class(old.metadata.annotations.as_ref());
    let annotation = rules::beta_class(new.metadata.annotations.as_ref());
    if class_leaves_annotation(annotated, annotation, &before, after) {
        rest.storage_class_name = None;
    } else {
        let (was, is) = (annotated.unwrap_or_default(), annotation.unwrap_or_default());
        if was != is {
            let path = format!("metadata.annotations.{BETA_CLASS}");
            errors.push(FieldError::invalid(path, is, meta::IMMUTABLE));
        }
        let class = after.storage_class_name.as_deref();
        let fills_in = class.is_some() && before.storage_class_name.is_none();
        if fills_in && annotated.is_none_or(|annotated| Some(annotated) == class) {
            rest.storage_class_name = None;
        }
    }
    if new.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound") {
        put_back_size(&mut rest, &before);
        rest.volume_attributes_class_name.clone_from(&before.volume_attributes_class_name);
    }
    let json = |spec| serde_json::to_value(spec).unwrap_or_default();
    let (before, rest): (Value, Value) = (json(&before), json(&rest));
    if !semantic::equal(&rest, &before) {
        let differences = semantic::differences(&before, &rest, "spec");
        errors.push(FieldError::forbidden("spec", format!("{CHANGEABLE}\n{differences}")));
    }
    errors
}

fn class_leaves_annotation(
    was: Option<&str>,
    is: Option<&str>,
    before: &PersistentVolumeClaimSpec,
    after: &PersistentVolumeClaimSpec,
) -> bool {
    was.is_some()
        && before.storage_class_name.is_none()
        && after.storage_class_name.as_deref() == was
        && (is.is_none() || is == was)
}

fn put_back_size(rest: &mut PersistentVolumeClaimSpec, before: &PersistentVolumeClaimSpec) {
    let old = before.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    let old = old.and_then(|requests| requests.get(STORAGE));
    let requests = rest.resources.as_mut().and_then(|resources| resources.requests.as_mut());
    if let (Some(requests), Some(old)) = (requests, old) {
        requests.insert(STORAGE.to_owned(), old.clone());
    }
}

/// Who asked for more than can be had may ask for less again, but for more than there is.
fn validate_size(
    after: &PersistentVolumeClaimSpec,
    before: &PersistentVolumeClaimSpec,
    status: Option<&PersistentVolumeClaimStatus>,
) -> Option<FieldError> {
    let asked = |spec: &PersistentVolumeClaimSpec| {
        let requests = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref());
        quantity::get(requests, STORAGE).unwrap_or(Quantity::ZERO)
    };
    let capacity = status.and_then(|status| quantity::get(status.capacity.as_ref(), STORAGE));
    let (new, old) = (asked(after), asked(before));
    (new < old && new <= capacity.unwrap_or(Quantity::ZERO)).then(|| {
        let path = "spec.resources.requests.storage";
        FieldError::forbidden(path, "field can not be less than status.capacity")
    })
}

fn validate_attributes(
    after: &PersistentVolumeClaimSpec,
    before: &PersistentVolumeClaimSpec,
    status: Option<&PersistentVolumeClaimStatus>,
) -> Option<FieldError> {
    let applied = status.and_then(|status| status.current_volume_attributes_class_name.as_ref());
    if after.volume_attributes_class_name == before.volume_attributes_class_name {
        return None;
    }
    applied?;
    let to = match after.volume_attributes_class_name.as_deref() {
        None => "nil",
        Some("") => "empty string",
        Some(_) => return None,
    };
    let detail = format!(
        "update to {to} is forbidden when status.currentVolumeAttributesClassName is not nil"
    );
    Some(FieldError::forbidden("spec.volumeAttributesClassName", detail))
}

fn validate_status(status: &PersistentVolumeClaimStatus) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (name, amount) in status.capacity.iter().flatten() {
        errors.extend(resources::validate_basic(amount, &format!("status.capacity[{name}]")));
    }
    let statuses = status.allocated_resource_statuses.as_ref();
    errors.extend(statuses.map(validate_resize_statuses).unwrap_or_default());
    for (name, amount) in status.allocated_resources.iter().flatten() {
        let path = "status.allocatedResources";
        let problems = validate_key(name, path);
        if !problems.is_empty() {
            errors.extend(problems);
            continue;
        }
        let path = format!("{path}[{name}]");
        match resources::validate_basic(amount, &path) {
            Some(problem) => errors.push(problem),
            None => errors.extend(resources::validate_amount(STORAGE, amount, &path)),
        }
    }
    errors
}

fn validate_resize_statuses(statuses: &BTreeMap<String, String>) -> Vec<FieldError> {
    const PATH: &str = "status.allocatedResourceStatuses";
    let mut errors = Vec::new();
    for (name, status) in statuses {
        errors.extend(validate_key(name, PATH));
        if !RESIZE_STATUSES.contains(&status.as_str()) {
            // Upstream names the key.
            errors.push(FieldError::not_supported(PATH, name.as_str(), RESIZE_STATUSES));
        }
    }
    errors
}

/// Of the resources that Kubernetes knows, a volume has storage alone.
fn validate_key(name: &str, path: &str) -> Vec<FieldError> {
    let errors = meta::invalid_each(path, name, names::label_key(name));
    if errors.is_empty() && resources::is_native(name) && name != STORAGE {
        return vec![FieldError::not_supported(path, name, &[STORAGE])];
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::{move_problems, row, status_problems, warnings};
    use serde_json::json;

    fn claim(size: &str, phase: &str) -> Value {
        json!({
            "metadata": {"name": "data"},
            "spec": {
                "accessModes": ["ReadWriteOnce"], "volumeMode": "Filesystem",
                "resources": {"requests": {"storage": size}},
            },
            "status": {"phase": phase, "capacity": {"storage": "1Gi"}},
        })
    }

    fn moved(new: Value, old: Value) -> Vec<String> {
        let first_line = |text: &String| text.lines().next().unwrap_or_default().to_owned();
        move_problems::<PersistentVolumeClaims>(new, old).iter().map(first_line).collect()
    }

    #[test]
    fn a_bound_claim_may_grow_and_give_up_growing() {
        let forbidden = format!("spec: Forbidden: {CHANGEABLE}");
        let too_small = "spec.resources.requests.storage: Forbidden: field can not be less than status.capacity";
        let cases: [(Value, Value, &[&str]); 5] = [
            (claim("2Gi", "Bound"), claim("1Gi", "Bound"), &[]),
            (claim("2Gi", "Bound"), claim("3Gi", "Bound"), &[]),
            (claim("1Gi", "Bound"), claim("3Gi", "Bound"), &[too_small]),
            (claim("2Gi", "Pending"), claim("1Gi", "Pending"), &[&forbidden]),
            (claim("1024Mi", "Pending"), claim("1Gi", "Pending"), &[]),
        ];
        for (new, old, expected) in cases {
            assert_eq!(moved(new.clone(), old), expected, "{new}");
        }
    }

    #[test]
    fn a_claim_is_bound_once() {
        let forbidden = format!("spec: Forbidden: {CHANGEABLE}");
        let mut bound = claim("1Gi", "Pending");
        bound["spec"]["volumeName"] = "a".into();
        assert_eq!(moved(bound.clone(), claim("1Gi", "Pending")), [""; 0]);
        let mut other = bound.clone();
        other["spec"]["volumeName"] = "b".into();
        assert_eq!(moved(other, bound), [forbidden]);
    }

    #[test]
    fn a_class_is_filled_in_or_leaves_its_annotation() {
        let with = |class: Option<&str>, annotation: Option<&str>| {
            let mut claim = claim("1Gi", "Pending");
            if let Some(class) = class {
                claim["spec"]["storageClassName"] = class.into();
            }
            if let Some(annotation) = annotation {
                claim["metadata"]["annotations"][BETA_CLASS] = annotation.into();
            }
            claim
        };
        let forbidden = format!("spec: Forbidden: {CHANGEABLE}");
        let annotation = "metadata.annotations.volume.beta.kubernetes.io/storage-class: Invalid value: \"slow\": field is immutable";
        let cases: [(Value, Value, &[&str]); 5] = [
            (with(Some("fast"), None), with(None, None), &[]),
            (with(Some("fast"), None), with(None, Some("fast")), &[]),
            (with(Some("fast"), Some("fast")), with(None, Some("fast")), &[]),
            (with(Some("slow"), Some("slow")), with(None, Some("fast")), &[annotation, &forbidden]),
            (with(Some("slow"), None), with(Some("fast"), None), &[&forbidden]),
        ];
        for (new, old, expected) in cases {
            assert_eq!(moved(new.clone(), old.clone()), expected, "{old} -> {new}");
        }
    }

    #[test]
    fn an_applied_class_of_attributes_cannot_be_removed() {
        let mut old = claim("1Gi", "Bound");
        old["spec"]["volumeAttributesClassName"] = "gold".into();
        old["status"]["currentVolumeAttributesClassName"] = "gold".into();
        assert_eq!(
            moved(claim("1Gi", "Bound"), old),
            [
                "spec.volumeAttributesClassName: Forbidden: update to nil is forbidden when status.currentVolumeAttributesClassName is not nil"
            ]
        );
    }

    #[test]
    fn a_status_speaks_of_storage() {
        let mut new = claim("1Gi", "Bound");
        new["status"] = json!({
            "capacity": {"storage": "-1"},
            "allocatedResourceStatuses": {"storage": "Growing", "cpu": "NodeResizePending"},
            "allocatedResources": {"cpu": "1", "storage": "1Gi", "x.io/a": "-1"},
        });
        let supported = "supported values: \"ControllerResizeInProgress\", \"ControllerResizeInfeasible\", \"NodeResizeInProgress\", \"NodeResizeInfeasible\", \"NodeResizePending\"";
        assert_eq!(
            status_problems::<PersistentVolumeClaims>(new, claim("1Gi", "Bound")),
            [
                "status.capacity[storage]: Invalid value: -1: must be a valid resource quantity",
                "status.allocatedResourceStatuses: Unsupported value: \"cpu\": supported values: \"storage\"",
                &format!("status.allocatedResourceStatuses: Unsupported value: \"storage\": {supported}"),
                "status.allocatedResources: Unsupported value: \"cpu\": supported values: \"storage\"",
                "status.allocatedResources[x.io/a]: Invalid value: -1: must be a valid resource quantity",
            ]
        );
    }

    #[test]
    fn the_old_annotation_is_told_of() {
        let mut old = claim("1500m", "Pending");
        old["metadata"]["annotations"][BETA_CLASS] = "fast".into();
        assert_eq!(
            warnings::<PersistentVolumeClaims>(old, None),
            [
                "metadata.annotations[volume.beta.kubernetes.io/storage-class]: deprecated since v1.8; use \"storageClassName\" attribute instead",
                "spec.resources.requests[storage]: fractional byte value \"1500m\" is invalid, must be an integer",
            ]
        );
    }

    #[test]
    fn a_bound_claim_shows_its_volume() {
        let mut bound = claim("1Gi", "Bound");
        bound["spec"]["volumeName"] = "pv-1".into();
        bound["spec"]["storageClassName"] = "fast".into();
        bound["status"]["accessModes"] = json!(["ReadWriteOnce"]);
        assert_eq!(
            row::<PersistentVolumeClaims>(&bound),
            ["data", "Bound", "pv-1", "1Gi", "RWO", "fast", "<unset>", "<unknown>", "Filesystem"]
        );
        bound["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        assert_eq!(row::<PersistentVolumeClaims>(&bound)[1], "Terminating");
    }
}
