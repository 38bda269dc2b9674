//! Classes of runtimes that pods may ask for.
//!
//! Source: `pkg/registry/node/runtimeclass/strategy.go`, `pkg/apis/node/validation`.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ResourceRequirements, Toleration};
use k8s_openapi::api::node::v1::RuntimeClass;
use serde_json::{Value, json};

use super::pod::scheduling;
use super::rules::node_selector;
use super::{Column, FieldError, Kind, KindInfo, meta, names, quantity, resources};

pub struct RuntimeClasses;

impl Kind for RuntimeClasses {
    type Object = RuntimeClass;

    const INFO: KindInfo = KindInfo {
        unconditional_update: false,
        create_on_update: true,
        ..KindInfo::cluster(
            "node.k8s.io",
            "v1",
            "RuntimeClass",
            "runtimeclasses",
            "runtimeclass",
            "io.k8s.api.node.v1.RuntimeClass",
        )
    };

    fn default(class: &mut RuntimeClass) {
        if let Some(overhead) = &mut class.overhead {
            quantity::canonicalise_list(&mut overhead.pod_fixed);
        }
    }

    fn validate(class: &RuntimeClass) -> Vec<FieldError> {
        let handler = class.handler.as_str();
        let mut errors = match handler {
            "" => vec![FieldError::required("handler", "")],
            _ => meta::invalid_each("handler", handler, names::label(handler)),
        };
        if let Some(overhead) = &class.overhead {
            let limits = overhead.pod_fixed.clone();
            let all = ResourceRequirements { limits, ..ResourceRequirements::default() };
            let none = BTreeSet::new();
            let of = resources::Of::Container;
            resources::validate_requirements(&all, of, &none, "overhead", &mut errors);
        }
        if let Some(scheduling) = &class.scheduling {
            let path = "scheduling.nodeSelector";
            errors.extend(meta::validate_labels(scheduling.node_selector.as_ref(), path));
            let tolerations = scheduling.tolerations.as_deref().unwrap_or_default();
            validate_tolerations(tolerations, "scheduling.tolerations", &mut errors);
        }
        errors
    }

    fn validate_update(new: &RuntimeClass, old: &RuntimeClass) -> Vec<FieldError> {
        let handler = |class: &RuntimeClass| json!(class.handler);
        meta::immutable(&handler(new), &handler(old), "handler").into_iter().collect()
    }

    fn warnings(new: &RuntimeClass, _old: Option<&RuntimeClass>) -> Vec<String> {
        let labels = new.scheduling.as_ref().and_then(|all| all.node_selector.as_ref());
        labels
            .into_iter()
            .flatten()
            .filter_map(|(key, _)| node_selector::deprecated_label(key))
            .map(|message| format!("scheduling.nodeSelector: {message}"))
            .collect()
    }

    fn columns() -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::NAME,
            Column::new("Handler", "string", 0, "What runs the class's pods."),
            Column::AGE,
        ];
        COLUMNS
    }

    fn cells(class: &RuntimeClass, now: Timestamp) -> Vec<Value> {
        vec![
            meta::object_name(&class.metadata),
            class.handler.clone().into(),
            meta::object_age(&class.metadata, now),
        ]
    }
}

/// Tolerations that differ, but for how long they last.
fn validate_tolerations(tolerations: &[Toleration], path: &str, errors: &mut Vec<FieldError>) {
    scheduling::validate_tolerations(tolerations, path, errors);
    let key = |toleration: &Toleration| {
        let rest = Toleration { toleration_seconds: None, ..toleration.clone() };
        json!(rest).to_string()
    };
    let mut known = BTreeSet::new();
    for (index, toleration) in tolerations.iter().enumerate() {
        if !known.insert(key(toleration)) {
            errors.push(FieldError::duplicate(format!("{path}[{index}]"), json!(toleration)));
        }
    }
}
