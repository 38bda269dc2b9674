//! Classes of what can be changed of a volume while it is used.
//!
//! Source: `pkg/registry/storage/volumeattributesclass/strategy.go`,
//! `pkg/apis/storage/validation`.

use jiff::Timestamp;
use k8s_openapi::api::storage::v1::VolumeAttributesClass;
use serde_json::Value;

use super::storage_class::{validate_parameters, validate_provisioner};
use super::{Column, FieldError, Kind, KindInfo, meta};

pub struct VolumeAttributesClasses;

impl Kind for VolumeAttributesClasses {
    type Object = VolumeAttributesClass;

    const INFO: KindInfo = KindInfo {
        short_names: &["vac"],
        returns_deleted: true,
        change_first: true,
        ..KindInfo::cluster(
            "storage.k8s.io",
            "v1",
            "VolumeAttributesClass",
            "volumeattributesclasses",
            "volumeattributesclass",
            "io.k8s.api.storage.v1.VolumeAttributesClass",
        )
    };

    fn validate(class: &VolumeAttributesClass) -> Vec<FieldError> {
        let mut errors = validate_provisioner(&class.driver_name, "driverName");
        errors.extend(validate_parameters(class.parameters.as_ref(), false, "parameters"));
        errors
    }

    fn validate_update(
        new: &VolumeAttributesClass,
        old: &VolumeAttributesClass,
    ) -> Vec<FieldError> {
        let changed = [
            ("driverName", new.driver_name != old.driver_name),
            ("parameters", new.parameters != old.parameters),
        ];
        let changed = changed.into_iter().filter(|(_, changed)| *changed);
        changed
            .map(|(field, _)| {
                FieldError::forbidden(field, format!("updates to {field} are forbidden."))
            })
            .collect()
    }

    fn columns() -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::NAME,
            Column::new("DriverName", "string", 0, "The CSI driver that applies the class."),
            Column::AGE,
        ];
        COLUMNS
    }

    fn cells(class: &VolumeAttributesClass, now: Timestamp) -> Vec<Value> {
        vec![
            meta::object_name(&class.metadata),
            class.driver_name.clone().into(),
            meta::object_age(&class.metadata, now),
        ]
    }
}
