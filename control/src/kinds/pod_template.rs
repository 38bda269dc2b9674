//! PodTemplates. Source: `pkg/registry/core/podtemplate/strategy.go`.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::PodTemplate as Object;
use serde_json::Value;

use super::{Column, Context, FieldError, Generation, Kind, KindInfo, meta, pod, workload};

pub struct PodTemplates;

impl Kind for PodTemplates {
    type Object = Object;
    const INFO: KindInfo = KindInfo {
        generation: Generation::Raised,
        returns_deleted: true,
        ..KindInfo::namespaced(
            "",
            "v1",
            "PodTemplate",
            "podtemplates",
            "podtemplate",
            "io.k8s.api.core.v1.PodTemplate",
        )
    };

    fn default(object: &mut Object) {
        pod::template::default(object.template.get_or_insert_default());
    }

    fn prepare_create(object: &mut Object, _context: &Context<'_>) {
        if let Some(template) = &mut object.template {
            pod::template::drop_disabled(template, None);
        }
    }

    fn prepare_update(new: &mut Object, old: &Object, _context: &Context<'_>) {
        if let Some(template) = &mut new.template {
            pod::template::drop_disabled(template, old.template.as_ref());
        }
    }

    fn validate(object: &Object) -> Vec<FieldError> {
        let none = Default::default();
        pod::template::validate(object.template.as_ref().unwrap_or(&none), "template")
    }

    fn warnings(new: &Object, old: Option<&Object>) -> Vec<String> {
        if old.is_some_and(|old| old.metadata.generation == new.metadata.generation) {
            return Vec::new();
        }
        let template = new.template.iter();
        template.flat_map(|template| pod::template::warnings(template, "template")).collect()
    }

    fn columns() -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::NAME,
            Column { priority: 0, ..workload::CONTAINERS },
            Column { priority: 0, ..workload::IMAGES },
            Column::new("Pod Labels", "string", 0, "The labels of the template's pods."),
        ];
        COLUMNS
    }

    fn cells(object: &Object, _now: Timestamp) -> Vec<Value> {
        let [names, images] = workload::container_cells(object.template.as_ref());
        let labels = object.template.as_ref().and_then(workload::template_labels);
        vec![
            meta::object_name(&object.metadata),
            names,
            images,
            workload::pairs_text(labels).into(),
        ]
    }
}
