//! ControllerRevisions. Source: `pkg/registry/apps/controllerrevision/strategy.go`.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::ControllerRevision as Object;
use serde_json::Value;

use super::formats::nonnegative;
use super::meta::IMMUTABLE;
use super::{Column, FieldError, Kind, KindInfo, meta};

pub struct ControllerRevisions;

impl Kind for ControllerRevisions {
    type Object = Object;
    const INFO: KindInfo = KindInfo::namespaced(
        "apps",
        "v1",
        "ControllerRevision",
        "controllerrevisions",
        "controllerrevision",
        "io.k8s.api.apps.v1.ControllerRevision",
    );

    fn validate(object: &Object) -> Vec<FieldError> {
        nonnegative(object.revision, "revision")
    }

    fn validate_create(object: &Object) -> Vec<FieldError> {
        let why = match object.data.as_ref().map(|data| &data.0) {
            Some(Value::Object(_)) => return Vec::new(),
            None | Some(Value::Null) => "data is mandatory",
            Some(_) => "data must be a valid JSON object",
        };
        vec![FieldError::required("data", why)]
    }

    fn validate_update(new: &Object, old: &Object) -> Vec<FieldError> {
        if new.data == old.data {
            return Vec::new();
        }
        let data = new.data.as_ref().map_or(Value::Null, |data| data.0.clone());
        vec![FieldError::invalid("data", data, IMMUTABLE)]
    }

    fn columns() -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::NAME,
            Column::new("Controller", "string", 0, "The object whose state this is."),
            Column::new("Revision", "string", 0, "The place of this state in the history."),
            Column::AGE,
        ];
        COLUMNS
    }

    fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
        vec![
            meta::object_name(&object.metadata),
            controller(object).into(),
            object.revision.into(),
            meta::object_age(&object.metadata, now),
        ]
    }
}

/// The controlling owner, such as `daemonset.apps/web`.
fn controller(object: &Object) -> String {
    let owners = object.metadata.owner_references.iter().flatten();
    let Some(owner) = owners.into_iter().find(|owner| owner.controller == Some(true)) else {
        return "<none>".to_owned();
    };
    let kind = owner.kind.to_lowercase();
    match owner.api_version.split_once('/') {
        Some((group, _)) => format!("{kind}.{}/{}", group.to_lowercase(), owner.name),
        None => format!("{kind}/{}", owner.name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::{move_problems, problems, row};
    use serde_json::json;

    #[test]
    fn data_is_an_object() {
        let cases = [
            (json!({"revision": 1}), vec!["data: Required value: data is mandatory"]),
            (
                json!({"revision": -1, "data": [1]}),
                vec![
                    "revision: Invalid value: -1: must be greater than or equal to 0",
                    "data: Required value: data must be a valid JSON object",
                ],
            ),
            (json!({"revision": 1, "data": {"a": 1}}), vec![]),
        ];
        for (object, expected) in cases {
            assert_eq!(problems::<ControllerRevisions>(object), expected);
        }
    }

    #[test]
    fn data_never_changes_but_the_revision_may() {
        let old = json!({"revision": 1, "data": {"a": 1}});
        let renumbered = json!({"revision": 2, "data": {"a": 1}});
        let changed = json!({"revision": 1, "data": {"a": 2}});
        assert!(move_problems::<ControllerRevisions>(renumbered, old.clone()).is_empty());
        assert_eq!(
            move_problems::<ControllerRevisions>(changed, old),
            ["data: Invalid value: {\"a\":2}: field is immutable"]
        );
    }

    #[test]
    fn the_row_names_the_controller() {
        let object = json!({
            "metadata": {"name": "web-1", "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "DaemonSet", "name": "web", "uid": "u",
                "controller": true,
            }]},
            "revision": 3,
        });
        assert_eq!(
            row::<ControllerRevisions>(object),
            [json!("web-1"), json!("daemonset.apps/web"), json!(3), json!("<unknown>")]
        );
    }
}
