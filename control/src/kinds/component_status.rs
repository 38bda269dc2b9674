//! ComponentStatuses: whether the parts of the control plane are well. Nothing is kept.
//!
//! Source: `pkg/registry/core/componentstatus/rest.go`.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ComponentCondition, ComponentStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use super::{Column, FieldError, Kind, KindInfo, Storage, Verbs, meta};

pub struct ComponentStatuses;

impl Kind for ComponentStatuses {
    type Object = ComponentStatus;

    const INFO: KindInfo = KindInfo {
        short_names: &["cs"],
        storage: Storage::Virtual,
        verbs: Verbs::ReadOnly,
        deprecation: Some("v1 ComponentStatus is deprecated in v1.19+"),
        ..KindInfo::cluster(
            "",
            "v1",
            "ComponentStatus",
            "componentstatuses",
            "componentstatus",
            "io.k8s.api.core.v1.ComponentStatus",
        )
    };

    fn validate(_object: &ComponentStatus) -> Vec<FieldError> {
        Vec::new()
    }

    /// All parts run in the process that answers: where it answers, they are well. Upstream asks
    /// their health endpoints, and its store.
    fn computed() -> Vec<ComponentStatus> {
        ["controller-manager", "etcd-0", "scheduler"].map(healthy).into()
    }

    fn columns() -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::NAME,
            Column::new("Status", "string", 0, "Status of the component conditions"),
            Column::new("Message", "string", 0, "Message of the component conditions"),
            Column::new("Error", "string", 0, "Error of the component conditions"),
        ];
        COLUMNS
    }

    fn cells(object: &ComponentStatus, _now: Timestamp) -> Vec<Value> {
        let conditions = object.conditions.as_deref().unwrap_or_default();
        let health = conditions.iter().find(|condition| condition.type_ == "Healthy");
        let status = match health.map(|condition| condition.status.as_str()) {
            Some("True") => "Healthy",
            Some(_) => "Unhealthy",
            None => "Unknown",
        };
        let text = |pick: fn(&ComponentCondition) -> Option<&String>| {
            health.and_then(pick).cloned().unwrap_or_default().into()
        };
        vec![
            meta::object_name(&object.metadata),
            status.into(),
            text(|condition| condition.message.as_ref()),
            text(|condition| condition.error.as_ref()),
        ]
    }
}

fn healthy(name: &str) -> ComponentStatus {
    ComponentStatus {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        conditions: Some(vec![ComponentCondition {
            type_: "Healthy".to_owned(),
            status: "True".to_owned(),
            message: Some("ok".to_owned()),
            error: None,
        }]),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::testing::row;

    #[test]
    fn a_row_tells_of_the_health_alone() {
        let with = |conditions: Value| {
            row::<ComponentStatuses>(json!({"metadata": {"name": "a"}, "conditions": conditions}))
        };
        let ill = json!([{"type": "Odd", "status": "True"},
            {"type": "Healthy", "status": "False", "message": "m", "error": "e"}]);
        assert_eq!(with(ill), ["a", "Unhealthy", "m", "e"]);
        assert_eq!(with(json!([])), ["a", "Unknown", "", ""]);
        let all: Vec<String> =
            ComponentStatuses::computed().into_iter().filter_map(|it| it.metadata.name).collect();
        assert_eq!(all, ["controller-manager", "etcd-0", "scheduler"]);
    }
}
