//! ReplicationControllers. Source: `pkg/registry/core/replicationcontroller/strategy.go`,
//! `ValidateReplicationController` in `pkg/apis/core/validation/validation.go`.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    PodTemplateSpec, ReplicationController as Object, ReplicationControllerSpec,
    ReplicationControllerStatus,
};
use serde_json::Value;

use super::workload::{self, Counts};
use super::{
    Column, Context, Dependents, FieldError, Generation, Kind, KindInfo, Subresource, meta, pod,
    selector,
};

pub struct ReplicationControllers;

impl Kind for ReplicationControllers {
    type Object = Object;
    const INFO: KindInfo = KindInfo {
        short_names: &["rc"],
        categories: &["all"],
        subresources: &[Subresource::Status, Subresource::Scale],
        generation: Generation::Raised,
        dependents: Dependents::Orphaned,
        not_yet: Some("no controller acts on it yet"),
        ..KindInfo::namespaced(
            "",
            "v1",
            "ReplicationController",
            "replicationcontrollers",
            "replicationcontroller",
            "io.k8s.api.core.v1.ReplicationController",
        )
    };

    /// The template's labels select its pods, and mark the controller, where nothing else does.
    fn default(object: &mut Object) {
        let spec = object.spec.get_or_insert_default();
        spec.replicas.get_or_insert(1);
        let Some(template) = &mut spec.template else { return };
        pod::template::default(template);
        if let Some(labels) = workload::template_labels(template) {
            if spec.selector.as_ref().is_none_or(|selector| selector.is_empty()) {
                spec.selector = Some(labels.clone());
            }
            if object.metadata.labels.as_ref().is_none_or(|labels| labels.is_empty()) {
                object.metadata.labels = Some(labels.clone());
            }
        }
    }

    fn prepare_create(object: &mut Object, _context: &Context<'_>) {
        object.status = Some(ReplicationControllerStatus::default());
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
        let default = ReplicationControllerSpec::default();
        let spec = object.spec.as_ref().unwrap_or(&default);
        let mut errors = workload::validate_nonnegative(&[(
            "spec.minReadySeconds",
            spec.min_ready_seconds.map(Into::into),
        )]);
        let picks = spec.selector.as_ref().is_some_and(|selector| !selector.is_empty());
        if !picks {
            errors.push(FieldError::required("spec.selector", ""));
        }
        errors.extend(workload::validate_nonnegative(&[(
            "spec.replicas",
            spec.replicas.map(Into::into),
        )]));
        match &spec.template {
            Some(template) => errors.extend(validate_template(template, spec)),
            None => errors.push(FieldError::required("spec.template", "")),
        }
        errors
    }

    fn validate_status(new: &Object, _old: &Object) -> Vec<FieldError> {
        let status = new.status.clone().unwrap_or_default();
        let mut errors = workload::validate_nonnegative(&[
            ("status.replicas", Some(status.replicas.into())),
            ("status.fullyLabeledReplicas", status.fully_labeled_replicas.map(Into::into)),
            ("status.readyReplicas", status.ready_replicas.map(Into::into)),
            ("status.availableReplicas", status.available_replicas.map(Into::into)),
            ("status.observedGeneration", status.observed_generation),
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
            workload::pairs_text(spec.selector.as_ref()).into(),
        ]
    }

    fn selectable(object: &Object) -> Vec<(&'static str, String)> {
        let replicas = object.status.as_ref().map_or(0, |status| status.replicas);
        vec![("status.replicas", replicas.to_string())]
    }
}

fn validate_template(
    template: &PodTemplateSpec,
    spec: &ReplicationControllerSpec,
) -> Vec<FieldError> {
    let none = Default::default();
    let labels = workload::template_labels(template).unwrap_or(&none);
    let mut errors = Vec::new();
    if !selector::matches_pairs(spec.selector.iter().flatten(), labels) {
        errors.push(workload::unmatched(template));
    }
    errors.extend(pod::template::validate(template, "spec.template"));
    errors.extend(workload::validate_lasting(template, "ReplicationController"));
    errors
}
