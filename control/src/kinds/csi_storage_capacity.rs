//! How much storage a driver can still make somewhere.
//!
//! Source: `pkg/registry/storage/csistoragecapacity/strategy.go`, `pkg/apis/storage/validation`.
//! Upstream has columns for this kind and does not use them.

use k8s_openapi::api::storage::v1::CSIStorageCapacity;
use serde_json::{Value, json};

use super::quantity::{self, Quantity};
use super::rules::node_selector;
use super::{FieldError, Kind, KindInfo, meta, names, selector};

pub struct CsiStorageCapacities;

impl Kind for CsiStorageCapacities {
    type Object = CSIStorageCapacity;

    const INFO: KindInfo = KindInfo {
        unconditional_update: false,
        ..KindInfo::namespaced(
            "storage.k8s.io",
            "v1",
            "CSIStorageCapacity",
            "csistoragecapacities",
            "csistoragecapacity",
            "io.k8s.api.storage.v1.CSIStorageCapacity",
        )
    };

    fn default(capacity: &mut CSIStorageCapacity) {
        capacity.capacity.iter_mut().for_each(quantity::canonicalise);
        capacity.maximum_volume_size.iter_mut().for_each(quantity::canonicalise);
    }

    fn validate(capacity: &CSIStorageCapacity) -> Vec<FieldError> {
        let class = capacity.storage_class_name.as_str();
        let mut errors = meta::invalid_each("storageClassName", class, names::subdomain(class));
        if let Some(text) = &capacity.capacity
            && Quantity::try_from(text).is_ok_and(Quantity::is_negative)
        {
            let detail = "must be greater than or equal to 0";
            errors.push(FieldError::invalid("capacity", text.0.as_str(), detail));
        }
        errors
    }

    fn validate_create(capacity: &CSIStorageCapacity) -> Vec<FieldError> {
        validate_topology(capacity)
    }

    fn validate_update(new: &CSIStorageCapacity, old: &CSIStorageCapacity) -> Vec<FieldError> {
        // A bad value from before may stay; nothing of it may change.
        let keeps = |error: &FieldError| {
            error.path.contains(".values[") && !validate_topology(old).is_empty()
        };
        let mut errors = validate_topology(new);
        errors.retain(|error| !keeps(error));
        let fields = |capacity: &CSIStorageCapacity| {
            [
                ("nodeTopology", json!(capacity.node_topology)),
                ("storageClassName", json!(capacity.storage_class_name)),
            ]
        };
        let pairs = fields(new).into_iter().zip(fields(old));
        let changed = pairs.filter_map(|((path, new), (_, old)): (_, (_, Value))| {
            meta::immutable(&new, &old, path)
        });
        errors.extend(changed);
        errors
    }

    fn warnings(new: &CSIStorageCapacity, _old: Option<&CSIStorageCapacity>) -> Vec<String> {
        let Some(topology) = &new.node_topology else { return Vec::new() };
        let terms = topology.match_expressions.iter().flatten().enumerate();
        let mut warnings: Vec<String> = terms
            .filter_map(|(index, term)| {
                let message = node_selector::deprecated_label(&term.key)?;
                let key = &term.key;
                Some(format!("nodeTopology.matchExpressions[{index}].key: {key} is {message}"))
            })
            .collect();
        let labels = topology.match_labels.iter().flatten();
        warnings.extend(labels.filter_map(|(key, _)| {
            let message = node_selector::deprecated_label(key)?;
            Some(format!("nodeTopology.matchLabels.{key}: {message}"))
        }));
        warnings
    }
}

fn validate_topology(capacity: &CSIStorageCapacity) -> Vec<FieldError> {
    let topology = capacity.node_topology.as_ref();
    topology.map(|topology| selector::validate(topology, "nodeTopology")).unwrap_or_default()
}
