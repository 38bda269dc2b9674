//! Bindings: the wish that a pod run on a node. Never kept: `pods/binding` writes the pod's
//! `spec.nodeName`.
//!
//! Source: `pkg/registry/core/pod/storage`, `ValidatePodBinding`.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Binding;
use serde_json::Value;

use super::{Column, FieldError, Kind, KindInfo, meta};

pub struct Bindings;

impl Kind for Bindings {
    type Object = Binding;

    const INFO: KindInfo = KindInfo {
        unconditional_update: false,
        ..KindInfo::computed(
            "",
            "v1",
            "Binding",
            "bindings",
            "binding",
            "io.k8s.api.core.v1.Binding",
        )
    };

    fn validate(binding: &Binding) -> Vec<FieldError> {
        let target = &binding.target;
        let mut errors = Vec::new();
        let kind = target.kind.as_deref().unwrap_or_default();
        if !matches!(kind, "" | "Node") {
            errors.push(FieldError::not_supported("target.kind", kind, &["Node", "<empty>"]));
        }
        if target.name.as_deref().unwrap_or_default().is_empty() {
            errors.push(FieldError::required("target.name", ""));
        }
        errors
    }

    fn columns() -> &'static [Column] {
        &[Column::NAME, Column::AGE]
    }

    fn cells(binding: &Binding, now: Timestamp) -> Vec<Value> {
        vec![meta::object_name(&binding.metadata), meta::object_age(&binding.metadata, now)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::problems;
    use serde_json::json;

    #[test]
    fn a_binding_names_a_node() {
        let binding = |target| json!({"metadata": {"name": "web"}, "target": target});
        assert_eq!(problems::<Bindings>(&binding(json!({"name": "a"}))), [""; 0]);
        assert_eq!(problems::<Bindings>(&binding(json!({"kind": "Node", "name": "a"}))), [""; 0]);
        assert_eq!(
            problems::<Bindings>(&binding(json!({"kind": "Pod"}))),
            [
                "target.kind: Unsupported value: \"Pod\": supported values: \"Node\", \"<empty>\"",
                "target.name: Required value",
            ]
        );
    }
}
