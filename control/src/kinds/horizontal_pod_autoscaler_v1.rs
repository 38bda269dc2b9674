//! HorizontalPodAutoscalers of `autoscaling/v1`: another form of those of `autoscaling/v2`, under
//! which they are stored. What this version has no fields for it keeps in annotations.
//!
//! `conversion` maps the two. Source: `pkg/apis/autoscaling/v1/conversion.go`.

mod conversion;

use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v1::{
    HorizontalPodAutoscaler as Object, HorizontalPodAutoscalerStatus,
};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler as Stored;
use serde_json::Value;

use super::horizontal_pod_autoscaler::HorizontalPodAutoscalers;
use super::{Column, Context, FieldError, Kind, KindInfo, Storage, Subresource};

pub struct HorizontalPodAutoscalersV1;

impl Kind for HorizontalPodAutoscalersV1 {
    type Object = Object;
    const INFO: KindInfo = KindInfo {
        short_names: &["hpa"],
        categories: &["all"],
        storage: Storage::As { resource: "horizontalpodautoscalers.autoscaling" },
        subresources: &[Subresource::Status],
        not_yet: Some("no controller acts on it yet"),
        ..KindInfo::namespaced(
            "autoscaling",
            "v1",
            "HorizontalPodAutoscaler",
            "horizontalpodautoscalers",
            "horizontalpodautoscaler",
            "io.k8s.api.autoscaling.v1.HorizontalPodAutoscaler",
        )
    };

    /// What the other version defaults shows here as well: upstream reads every object from there.
    fn default(object: &mut Object) {
        object.spec.min_replicas.get_or_insert(1);
        let stored = serde_json::to_value(stored(object)).unwrap_or_default();
        if let Ok(shown) = serde_json::from_value(conversion::to_v1(stored)) {
            *object = shown;
        }
    }

    /// What the annotations say of the status goes too.
    fn prepare_create(object: &mut Object, _context: &Context<'_>) {
        object.status = Some(HorizontalPodAutoscalerStatus::default());
        conversion::keep_status(&mut object.metadata.annotations, &None);
    }

    fn prepare_update(new: &mut Object, old: &Object, _context: &Context<'_>) {
        conversion::keep_status(&mut new.metadata.annotations, &old.metadata.annotations);
    }

    fn prepare_status(new: &mut Object, old: &Object, _context: &Context<'_>) {
        conversion::keep_spec(&mut new.metadata.annotations, &old.metadata.annotations);
    }

    fn validate(_object: &Object) -> Vec<FieldError> {
        Vec::new()
    }

    fn validate_create(object: &Object) -> Vec<FieldError> {
        HorizontalPodAutoscalers::validate_create(&stored(object))
    }

    fn validate_update(new: &Object, old: &Object) -> Vec<FieldError> {
        HorizontalPodAutoscalers::validate_update(&stored(new), &stored(old))
    }

    fn validate_status(new: &Object, old: &Object) -> Vec<FieldError> {
        HorizontalPodAutoscalers::validate_status(&stored(new), &stored(old))
    }

    fn columns() -> &'static [Column] {
        HorizontalPodAutoscalers::columns()
    }

    fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
        HorizontalPodAutoscalers::cells(&stored(object), now)
    }

    fn to_stored(value: Value) -> Value {
        conversion::to_v2(value)
    }

    fn restore(value: Value) -> Value {
        conversion::to_v1(value)
    }
}

/// The object in the form in which upstream validates and prints it.
fn stored(object: &Object) -> Stored {
    let value = serde_json::to_value(object).map(conversion::to_v2).unwrap_or_default();
    let mut stored = serde_json::from_value(value).unwrap_or_default();
    HorizontalPodAutoscalers::default(&mut stored);
    stored
}
