//! ReplicaSets. Source: `pkg/registry/apps/replicaset/strategy.go`.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet as Object, ReplicaSetSpec, ReplicaSetStatus};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde_json::Value;

use super::workload::{self, Counts};
use super::{Column, Context, FieldError, Generation, Kind, KindInfo, Subresource, meta, pod};

pub struct ReplicaSets;

impl Kind for ReplicaSets {
    type Object = Object;
    const INFO: KindInfo = KindInfo {
        short_names: &["rs"],
        categories: &["all"],
        subresources: &[Subresource::Status, Subresource::Scale],
        generation: Generation::Raised,
        ..KindInfo::namespaced(
            "apps",
            "v1",
            "ReplicaSet",
            "replicasets",
            "replicaset",
            "io.k8s.api.apps.v1.ReplicaSet",
        )
    };

    const NOTED: Option<&str> = Some(workload::SELECTOR_POINTER);

    fn note(object: &mut Object, given: &Value) -> Result<(), String> {
        workload::note_selector(object.spec.as_mut().map(|spec| &mut spec.selector), given);
        Ok(())
    }

    fn default(object: &mut Object) {
        let spec = object.spec.get_or_insert_default();
        spec.replicas.get_or_insert(1);
        pod::template::default(spec.template.get_or_insert_default());
    }

    fn prepare_create(object: &mut Object, _context: &Context<'_>) {
        object.status = Some(ReplicaSetStatus::default());
        if let Some(template) = object.spec.as_mut().and_then(|spec| spec.template.as_mut()) {
            pod::template::drop_disabled(template, None);
        }
    }

    fn prepare_update(new: &mut Object, old: &Object, _context: &Context<'_>) {
        let known = old.spec.as_ref().and_then(|spec| spec.template.as_ref());
        if let Some(template) = new.spec.as_mut().and_then(|spec| spec.template.as_mut()) {
            pod::template::drop_disabled(template, known);
        }
    }

    fn validate(object: &Object) -> Vec<FieldError> {
        let default = ReplicaSetSpec::default();
        let spec = object.spec.as_ref().unwrap_or(&default);
        let no_template = PodTemplateSpec::default();
        let template = spec.template.as_ref().unwrap_or(&no_template);
        let mut errors = workload::validate_nonnegative(&[
            ("spec.replicas", spec.replicas.map(Into::into)),
            ("spec.minReadySeconds", spec.min_ready_seconds.map(Into::into)),
        ]);
        errors.extend(workload::validate_selector(&spec.selector, "deployment"));
        errors.extend(workload::validate_template(template, &spec.selector));
        errors
    }

    fn validate_update(new: &Object, old: &Object) -> Vec<FieldError> {
        match (&new.spec, &old.spec) {
            (Some(new), Some(old)) => {
                workload::validate_selector_update(&new.selector, &old.selector)
            }
            _ => Vec::new(),
        }
    }

    fn validate_status(new: &Object, _old: &Object) -> Vec<FieldError> {
        let status = new.status.clone().unwrap_or_default();
        let mut errors = workload::validate_nonnegative(&[
            ("status.replicas", Some(status.replicas.into())),
            ("status.fullyLabeledReplicas", status.fully_labeled_replicas.map(Into::into)),
            ("status.readyReplicas", status.ready_replicas.map(Into::into)),
            ("status.availableReplicas", status.available_replicas.map(Into::into)),
            ("status.observedGeneration", status.observed_generation),
            ("status.terminatingReplicas", status.terminating_replicas.map(Into::into)),
        ]);
        errors.extend(workload::validate_counts(&Counts {
            replicas: status.replicas,
            parts: &[
                ("fullyLabeledReplicas", status.fully_labeled_replicas),
                ("readyReplicas", status.ready_replicas),
                ("availableReplicas", status.available_replicas),
            ],
            ready: status.ready_replicas,
            available: status.available_replicas,
        }));
        errors
    }

    fn warnings(new: &Object, old: Option<&Object>) -> Vec<String> {
        let template = new.spec.as_ref().and_then(|spec| spec.template.as_ref());
        workload::warnings(&new.metadata, old.map(|old| &old.metadata), template)
    }

    fn columns() -> &'static [Column] {
        workload::REPLICAS
    }

    fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
        let spec = object.spec.clone().unwrap_or_default();
        let status = object.status.clone().unwrap_or_default();
        let [names, images] = workload::container_cells(spec.template.as_ref());
        vec![
            meta::object_name(&object.metadata),
            spec.replicas.unwrap_or(0).into(),
            status.replicas.into(),
            status.ready_replicas.unwrap_or(0).into(),
            meta::object_age(&object.metadata, now),
            names,
            images,
            workload::selector_cell(Some(&spec.selector)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::{
        defaulted, move_problems, problems, row, status_problems, template,
    };
    use serde_json::json;

    fn replica_set() -> Value {
        defaulted::<ReplicaSets>(json!({
            "metadata": {"name": "web-1"},
            "spec": {
                "selector": {"matchLabels": {"app": "web"}},
                "template": template(json!({"app": "web"})),
            },
        }))
    }

    #[test]
    fn one_replica_is_the_default() {
        assert_eq!(replica_set()["spec"]["replicas"], 1);
        assert_eq!(problems::<ReplicaSets>(replica_set()), Vec::<String>::new());
    }

    #[test]
    fn problems_of_the_spec_are_named() {
        let mut object = replica_set();
        object["spec"]["replicas"] = json!(-1);
        object["spec"]["template"]["spec"]["activeDeadlineSeconds"] = json!(5);
        assert_eq!(
            problems::<ReplicaSets>(object),
            [
                "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
                "spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in \
                 ReplicaSet is not Supported",
            ]
        );
    }

    #[test]
    fn the_selector_never_changes() {
        let mut new = replica_set();
        new["spec"]["selector"] = json!({"matchLabels": {"app": "db"}});
        assert_eq!(
            move_problems::<ReplicaSets>(new, replica_set()),
            [
                "spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"db\"}}: field is immutable"
            ]
        );
    }

    #[test]
    fn a_status_is_consistent() {
        let new = json!({"status": {"replicas": 1, "readyReplicas": 2, "observedGeneration": -1}});
        assert_eq!(
            status_problems::<ReplicaSets>(new, json!({})),
            [
                "status.observedGeneration: Invalid value: -1: must be greater than or equal to 0",
                "status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas",
            ]
        );
    }

    #[test]
    fn the_row_is_that_of_kubectl() {
        let mut object = replica_set();
        object["status"] = json!({"replicas": 3, "readyReplicas": 2});
        assert_eq!(row::<ReplicaSets>(object)[..4], [json!("web-1"), json!(1), json!(3), json!(2)]);
    }
}
