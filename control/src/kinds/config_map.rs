//! ConfigMaps. Source: `pkg/registry/core/configmap/strategy.go`.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap as Object;
use serde_json::Value;

use super::meta::invalid_each;
use super::{Column, FieldError, Kind, KindInfo, meta, names};

/// What a ConfigMap's or a Secret's values may hold together, in bytes.
pub const SIZE_BYTES_MAX: usize = 1024 * 1024;

const IMMUTABLE: &str = "field is immutable when `immutable` is set";

pub struct ConfigMaps;

impl Kind for ConfigMaps {
    type Object = Object;
    const INFO: KindInfo = KindInfo {
        short_names: &["cm"],
        ..KindInfo::namespaced(
            "",
            "v1",
            "ConfigMap",
            "configmaps",
            "configmap",
            "io.k8s.api.core.v1.ConfigMap",
        )
    };

    fn validate(object: &Object) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut size_bytes = 0;
        for (key, value) in object.data.iter().flatten() {
            let path = format!("data[{key}]");
            errors.extend(invalid_each(&path, key, names::config_key(key)));
            if object.binary_data.as_ref().is_some_and(|binary| binary.contains_key(key)) {
                let why = "duplicate of key present in binaryData";
                errors.push(FieldError::invalid(path, key.as_str(), why));
            }
            size_bytes += value.len();
        }
        for (key, value) in object.binary_data.iter().flatten() {
            errors.extend(invalid_each(&format!("binaryData[{key}]"), key, names::config_key(key)));
            size_bytes += value.0.len();
        }
        if size_bytes > SIZE_BYTES_MAX {
            // The path that upstream shows for the whole object.
            errors.push(FieldError::too_long("[]", SIZE_BYTES_MAX));
        }
        errors
    }

    fn validate_update(new: &Object, old: &Object) -> Vec<FieldError> {
        if old.immutable != Some(true) {
            return Vec::new();
        }
        let changed = [
            ("immutable", new.immutable != Some(true)),
            ("data", differ(&new.data, &old.data)),
            ("binaryData", differ(&new.binary_data, &old.binary_data)),
        ];
        forbid_changed(&changed)
    }

    fn columns() -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::NAME,
            Column::new("Data", "string", 0, "How many keys the ConfigMap holds."),
            Column::AGE,
        ];
        COLUMNS
    }

    fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
        let keys = object.data.as_ref().map_or(0, |data| data.len())
            + object.binary_data.as_ref().map_or(0, |data| data.len());
        vec![
            meta::object_name(&object.metadata),
            keys.into(),
            meta::object_age(&object.metadata, now),
        ]
    }
}

/// Whether two maps differ, an absent one being empty.
pub(super) fn differ<M: Default + PartialEq>(new: &Option<M>, old: &Option<M>) -> bool {
    let empty = M::default();
    new.as_ref().unwrap_or(&empty) != old.as_ref().unwrap_or(&empty)
}

/// Refuses the fields marked as changed, of an object that is immutable.
pub(super) fn forbid_changed(fields: &[(&str, bool)]) -> Vec<FieldError> {
    fields
        .iter()
        .filter(|(_, changed)| *changed)
        .map(|(path, _)| FieldError::forbidden(*path, IMMUTABLE))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::{move_problems, problems, row};
    use serde_json::json;

    #[test]
    fn keys_and_size_are_checked_at_once() {
        let object = json!({
            "metadata": {"name": "a"},
            "data": {"a/b": "x", "both": "y"},
            "binaryData": {"both": "eA=="},
        });
        assert_eq!(
            problems::<ConfigMaps>(object),
            [
                "data[a/b]: Invalid value: \"a/b\": a valid config key must consist of \
                 alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or \
                 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')",
                "data[both]: Invalid value: \"both\": duplicate of key present in binaryData",
            ]
        );
        let big = json!({"data": {"a": "x".repeat(SIZE_BYTES_MAX + 1)}});
        assert_eq!(
            problems::<ConfigMaps>(big),
            ["[]: Too long: may not be more than 1048576 bytes"]
        );
    }

    #[test]
    fn an_immutable_config_map_keeps_its_data() {
        let old = json!({"immutable": true, "data": {"a": "1"}});
        assert_eq!(
            move_problems::<ConfigMaps>(json!({"data": {"a": "2"}}), old.clone()),
            [
                "immutable: Forbidden: field is immutable when `immutable` is set",
                "data: Forbidden: field is immutable when `immutable` is set",
            ]
        );
        assert!(move_problems::<ConfigMaps>(old.clone(), old).is_empty());
    }

    #[test]
    fn the_row_counts_both_bags() {
        let object =
            json!({"metadata": {"name": "a"}, "data": {"x": "1"}, "binaryData": {"y": ""}});
        assert_eq!(row::<ConfigMaps>(object), [json!("a"), json!(2), json!("<unknown>")]);
    }
}
