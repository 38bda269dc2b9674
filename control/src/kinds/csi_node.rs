//! The CSI drivers that a node has.
//!
//! Source: `pkg/registry/storage/csinode/strategy.go`, `pkg/apis/storage/validation`.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::api::storage::v1::{CSINode, CSINodeDriver};
use serde_json::{Value, json};

use super::rules::volume_sources;
use super::{Column, FieldError, Kind, KindInfo, formats, meta};

const ID_BYTES_MAX: usize = 256;

pub struct CsiNodes;

impl Kind for CsiNodes {
    type Object = CSINode;

    const INFO: KindInfo = KindInfo {
        unconditional_update: false,
        returns_deleted: true,
        ..KindInfo::cluster(
            "storage.k8s.io",
            "v1",
            "CSINode",
            "csinodes",
            "csinode",
            "io.k8s.api.storage.v1.CSINode",
        )
    };

    fn validate(node: &CSINode) -> Vec<FieldError> {
        let mut names = BTreeSet::new();
        let mut errors = Vec::new();
        for (index, driver) in node.spec.drivers.iter().enumerate() {
            let path = format!("spec.drivers[{index}]");
            errors.extend(validate_driver(driver, &path));
            if !names.insert(driver.name.as_str()) {
                let path = format!("{path}.name");
                errors.push(FieldError::duplicate(path, driver.name.as_str()));
            }
            errors.extend(validate_keys(driver, &path));
        }
        errors
    }

    /// Of a driver that stays, only how many volumes it takes may change.
    fn validate_update(new: &CSINode, old: &CSINode) -> Vec<FieldError> {
        let rest = |driver: &CSINodeDriver| {
            let mut driver = driver.clone();
            driver.allocatable = None;
            json!(driver)
        };
        let mut errors = Vec::new();
        for old in &old.spec.drivers {
            for new in new.spec.drivers.iter().filter(|new| new.name == old.name) {
                if rest(new) != rest(old) {
                    let driver = rest(new);
                    errors.push(FieldError::invalid("spec.drivers", driver, meta::IMMUTABLE));
                }
            }
        }
        errors
    }

    fn columns() -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::NAME,
            Column::new("Drivers", "integer", 0, "How many drivers the node has."),
            Column::AGE,
        ];
        COLUMNS
    }

    fn cells(node: &CSINode, now: Timestamp) -> Vec<Value> {
        vec![
            meta::object_name(&node.metadata),
            node.spec.drivers.len().into(),
            meta::object_age(&node.metadata, now),
        ]
    }
}

fn validate_driver(driver: &CSINodeDriver, path: &str) -> Vec<FieldError> {
    let mut errors = volume_sources::csi_driver(&driver.name, &format!("{path}.name"));
    let id_path = format!("{path}.nodeID");
    if driver.node_id.is_empty() {
        errors.push(FieldError::required(id_path, ""));
    } else if driver.node_id.len() > ID_BYTES_MAX {
        let detail = format!("must be {ID_BYTES_MAX} characters or less");
        errors.push(FieldError::invalid(id_path, driver.node_id.as_str(), detail));
    }
    let count = driver.allocatable.as_ref().and_then(|allocatable| allocatable.count);
    errors.extend(
        count.into_iter().flat_map(|count| {
            formats::nonnegative(count, &format!("{path}.allocatable.count"))
        }),
    );
    errors
}

/// The paths are upstream's: the driver's, whatever key it is.
fn validate_keys(driver: &CSINodeDriver, path: &str) -> Vec<FieldError> {
    let mut known = BTreeSet::new();
    let mut errors = Vec::new();
    for key in driver.topology_keys.iter().flatten() {
        if key.is_empty() {
            errors.push(FieldError::required(path, ""));
        }
        if !known.insert(key) {
            errors.push(FieldError::duplicate(path, key.as_str()));
        }
        errors.extend(meta::validate_label_key(key, path));
    }
    errors
}
