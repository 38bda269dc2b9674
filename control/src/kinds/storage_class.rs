//! Classes of storage: who makes volumes, and how.
//!
//! Source: `pkg/registry/storage/storageclass/strategy.go`, `pkg/apis/storage/validation`,
//! `pkg/apis/storage/v1/defaults.go`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};

use super::rules::{node_selector, topology};
use super::{Column, FieldError, Kind, KindInfo, meta};

const PARAMETERS_MAX: usize = 512;
const PARAMETERS_BYTES_MAX: usize = 256 * 1024;
const RECLAIM_POLICIES: &[&str] = &["Delete", "Retain"];
const BINDING_MODES: &[&str] = &["Immediate", "WaitForFirstConsumer"];

pub struct StorageClasses;

impl Kind for StorageClasses {
    type Object = StorageClass;

    const INFO: KindInfo = KindInfo {
        short_names: &["sc"],
        returns_deleted: true,
        ..KindInfo::cluster(
            "storage.k8s.io",
            "v1",
            "StorageClass",
            "storageclasses",
            "storageclass",
            "io.k8s.api.storage.v1.StorageClass",
        )
    };

    fn default(class: &mut StorageClass) {
        class.reclaim_policy.get_or_insert_with(|| "Delete".to_owned());
        class.volume_binding_mode.get_or_insert_with(|| "Immediate".to_owned());
    }

    fn validate(class: &StorageClass) -> Vec<FieldError> {
        let mut errors = validate_provisioner(&class.provisioner, "provisioner");
        errors.extend(validate_parameters(class.parameters.as_ref(), true, "parameters"));
        let policy = class.reclaim_policy.as_deref().unwrap_or_default();
        if !policy.is_empty() && !RECLAIM_POLICIES.contains(&policy) {
            errors.push(FieldError::not_supported("reclaimPolicy", policy, RECLAIM_POLICIES));
        }
        match class.volume_binding_mode.as_deref() {
            None => errors.push(FieldError::required("volumeBindingMode", "")),
            Some(mode) if BINDING_MODES.contains(&mode) => {}
            Some(mode) => {
                errors.push(FieldError::not_supported("volumeBindingMode", mode, BINDING_MODES));
            }
        }
        let topologies = class.allowed_topologies.as_deref().unwrap_or_default();
        topology::validate(topologies, "allowedTopologies", &mut errors);
        errors
    }

    fn validate_update(new: &StorageClass, old: &StorageClass) -> Vec<FieldError> {
        let fields = |class: &StorageClass| {
            [
                ("parameters", json!(class.parameters)),
                ("provisioner", json!(class.provisioner)),
                ("reclaimPolicy", json!(class.reclaim_policy)),
                ("volumeBindingMode", json!(class.volume_binding_mode)),
            ]
        };
        let pairs = fields(new).into_iter().zip(fields(old));
        pairs.filter_map(|((path, new), (_, old))| meta::immutable(&new, &old, path)).collect()
    }

    fn warnings(new: &StorageClass, _old: Option<&StorageClass>) -> Vec<String> {
        let mut warnings = Vec::new();
        for (index, term) in new.allowed_topologies.iter().flatten().enumerate() {
            for (inner, wanted) in term.match_label_expressions.iter().flatten().enumerate() {
                if let Some(message) = node_selector::deprecated_label(&wanted.key) {
                    warnings.push(format!(
                        "allowedTopologies[{index}].matchLabelExpressions[{inner}].key: {message}"
                    ));
                }
            }
        }
        warnings
    }

    fn columns() -> &'static [Column] {
        COLUMNS
    }

    fn cells(class: &StorageClass, now: Timestamp) -> Vec<Value> {
        let mut name = class.metadata.name.clone().unwrap_or_default();
        if is_default(&class.metadata) {
            name += " (default)";
        }
        vec![
            name.into(),
            class.provisioner.clone().into(),
            class.reclaim_policy.as_deref().unwrap_or("Delete").into(),
            class.volume_binding_mode.as_deref().unwrap_or("Immediate").into(),
            class.allow_volume_expansion.unwrap_or_default().into(),
            meta::object_age(&class.metadata, now),
        ]
    }
}

const COLUMNS: &[Column] = &[
    Column::NAME,
    Column::new("Provisioner", "string", 0, "Who makes the volumes."),
    Column::new("ReclaimPolicy", "string", 0, "What becomes of a volume without its claim."),
    Column::new("VolumeBindingMode", "string", 0, "When volumes are made and bound."),
    Column::new("AllowVolumeExpansion", "string", 0, "Whether a claim may ask for more later."),
    Column::AGE,
];

/// Whether claims that name no class get this one. Source: `pkg/apis/storage/util`.
pub fn is_default(metadata: &ObjectMeta) -> bool {
    const ANNOTATIONS: [&str; 2] = [
        "storageclass.kubernetes.io/is-default-class",
        "storageclass.beta.kubernetes.io/is-default-class",
    ];
    let annotations = metadata.annotations.as_ref();
    let says = |key: &str| annotations.and_then(|annotations| annotations.get(key));
    ANNOTATIONS.iter().any(|key| says(key).is_some_and(|value| value == "true"))
}

/// All problems of who makes volumes or changes them: a qualified name, but for its case.
pub fn validate_provisioner(name: &str, path: &str) -> Vec<FieldError> {
    if name.is_empty() {
        return vec![FieldError::required(path, "")];
    }
    meta::validate_label_key(&name.to_lowercase(), path)
}

/// All problems of what is handed to a provisioner.
pub fn validate_parameters(
    parameters: Option<&BTreeMap<String, String>>,
    may_be_empty: bool,
    path: &str,
) -> Vec<FieldError> {
    let none = BTreeMap::new();
    let parameters = parameters.unwrap_or(&none);
    if parameters.len() > PARAMETERS_MAX {
        return vec![FieldError::too_long(path, PARAMETERS_MAX)];
    }
    let mut errors = Vec::new();
    if parameters.contains_key("") {
        errors.push(FieldError::invalid(path, "", "field can not be empty."));
    }
    let size: usize = parameters.iter().map(|(key, value)| key.len() + value.len()).sum();
    if size > PARAMETERS_BYTES_MAX {
        errors.push(FieldError::too_long(path, PARAMETERS_BYTES_MAX));
    }
    if !may_be_empty && parameters.is_empty() {
        errors.push(FieldError::required(path, "must contain at least one key/value pair"));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::{row, texts, warnings};

    #[test]
    fn the_default_class_says_so() {
        let mut class = json!({"metadata": {"name": "fast"}, "provisioner": "x.io/disk"});
        assert_eq!(row::<StorageClasses>(&class)[0], "fast");
        class["metadata"]["annotations"]["storageclass.kubernetes.io/is-default-class"] =
            "true".into();
        assert_eq!(row::<StorageClasses>(&class)[0], "fast (default)");
    }

    #[test]
    fn parameters_are_few_and_short() {
        let many = |count: usize| (0..count).map(|i| (i.to_string(), String::new())).collect();
        let check = |parameters: BTreeMap<String, String>, may_be_empty| {
            texts(&validate_parameters(Some(&parameters), may_be_empty, "p"))
        };
        assert_eq!(check(many(512), true), [""; 0]);
        assert_eq!(check(many(513), true), ["p: Too long: may not be more than 512 bytes"]);
        assert_eq!(
            check([(String::new(), "x".repeat(PARAMETERS_BYTES_MAX + 1))].into(), true),
            [
                "p: Invalid value: \"\": field can not be empty.",
                "p: Too long: may not be more than 262144 bytes",
            ]
        );
        assert_eq!(
            check(BTreeMap::new(), false),
            ["p: Required value: must contain at least one key/value pair"]
        );
    }

    #[test]
    fn deprecated_labels_are_told_of() {
        let class = json!({"metadata": {}, "provisioner": "a", "allowedTopologies": [
            {"matchLabelExpressions": [{"key": "beta.kubernetes.io/arch", "values": ["x"]}]}]});
        assert_eq!(
            warnings::<StorageClasses>(class, None),
            [
                "allowedTopologies[0].matchLabelExpressions[0].key: deprecated since v1.14; use \"kubernetes.io/arch\" instead"
            ]
        );
    }
}
