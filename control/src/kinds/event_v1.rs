//! Events of `events.k8s.io`: another form of the core events, under which they are stored.
//!
//! Source: `pkg/apis/events/v1/conversion.go`, `pkg/apis/core/validation/events.go`.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event as CoreEvent;
use k8s_openapi::api::events::v1::Event;
use serde_json::Value;

use super::event::{Events, validate_legacy};
use super::{
    Column, Dependents, FieldError, Kind, KindInfo, Storage, event, meta, semantic,
};
use crate::schema;

/// What this version calls a field, and what the core group calls it.
const RENAMED: &[(&str, &str)] = &[
    ("deprecatedCount", "count"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedSource", "source"),
    ("note", "message"),
    ("regarding", "involvedObject"),
    ("reportingController", "reportingComponent"),
];

/// Go's zero time, the beginning of the year 1, in seconds since 1970.
const ZERO_SECONDS: i64 = -62_135_596_800;

pub struct EventsV1;

impl Kind for EventsV1 {
    type Object = Event;

    const INFO: KindInfo = KindInfo {
        short_names: &["ev"],
        storage: Storage::As { resource: "events" },
        create_on_update: true,
        dependents: Dependents::Ignored,
        time_to_live: Some(event::LIFE),
        ..KindInfo::namespaced(
            "events.k8s.io",
            "v1",
            "Event",
            "events",
            "event",
            "io.k8s.api.events.v1.Event",
        )
    };

    fn validate(event: &Event) -> Vec<FieldError> {
        validate_legacy(&core(event), "reportingController")
    }

    fn validate_create(event: &Event) -> Vec<FieldError> {
        let mut errors = validate_series(event);
        if event.event_time.is_none() {
            errors.push(FieldError::required("eventTime", ""));
        }
        let kind = event.type_.as_deref().unwrap_or_default();
        if !matches!(kind, "Normal" | "Warning") {
            let detail = format!("has invalid value: {kind}");
            errors.push(FieldError::invalid("type", "", detail));
        }
        let source = event.deprecated_source.as_ref();
        let sourced = source.is_some_and(|source| {
            let filled =
                |text: &Option<String>| text.as_deref().is_some_and(|text| !text.is_empty());
            filled(&source.component) || filled(&source.host)
        });
        let to_be_unset = [
            ("firstTimestamp", event.deprecated_first_timestamp.is_some()),
            ("lastTimestamp", event.deprecated_last_timestamp.is_some()),
            ("count", event.deprecated_count.is_some_and(|count| count != 0)),
            ("source", sourced),
        ];
        for (field, _) in to_be_unset.into_iter().filter(|(_, set)| *set) {
            errors.push(FieldError::invalid(field, "", "needs to be unset"));
        }
        errors
    }

    fn validate_update(new: &Event, old: &Event) -> Vec<FieldError> {
        let (old_value, new_value) = (stored(old), stored(new));
        let Some(core) = schema::schema().by_name(Events::INFO.schema) else { return Vec::new() };
        let mut errors = Vec::new();
        if new.series != old.series {
            errors.extend(validate_series(new));
        }
        let fields = [
            ("involvedObject", "involvedObject"),
            ("reason", "reason"),
            ("message", "message"),
            ("source", "source"),
            ("firstTimestamp", "firstTimestamp"),
            ("lastTimestamp", "lastTimestamp"),
            ("count", "count"),
            // Upstream asks this twice.
            ("reason", "reason"),
            ("type", "type"),
            ("eventTime", "eventTime"),
            ("action", "action"),
            ("related", "related"),
            ("reportingComponent", "reportingController"),
            ("reportingInstance", "reportingInstance"),
        ];
        for (field, path) in fields {
            let (new, old) = (&new_value[field], &old_value[field]);
            let error = (!semantic::equal(new, old)).then(|| {
                FieldError::invalid(field, new.clone(), meta::IMMUTABLE).settled(core)
            });
            errors.extend(error.map(|error| FieldError { path: path.to_owned(), ..error }));
        }
        errors
    }

    fn columns() -> &'static [Column] {
        Events::columns()
    }

    fn cells(event: &Event, now: Timestamp) -> Vec<Value> {
        Events::cells(&core(event), now)
    }

    fn selectable(event: &Event) -> Vec<(&'static str, String)> {
        let none = Default::default();
        let object = event.regarding.as_ref().unwrap_or(&none);
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        vec![
            ("reason", text(&event.reason)),
            ("regarding.kind", text(&object.kind)),
            ("regarding.namespace", text(&object.namespace)),
            ("regarding.name", text(&object.name)),
            ("regarding.uid", text(&object.uid)),
            ("regarding.apiVersion", text(&object.api_version)),
            ("regarding.resourceVersion", text(&object.resource_version)),
            ("regarding.fieldPath", text(&object.field_path)),
            ("reportingController", text(&event.reporting_controller)),
            ("type", text(&event.type_)),
        ]
    }

    fn to_stored(mut value: Value) -> Value {
        rename(&mut value, RENAMED.iter().copied());
        value["apiVersion"] = "v1".into();
        // The core form requires it.
        if value["involvedObject"].is_null() {
            value["involvedObject"] = serde_json::json!({});
        }
        value
    }

    fn restore(mut value: Value) -> Value {
        rename(&mut value, RENAMED.iter().map(|(ours, stored)| (*stored, *ours)));
        value["apiVersion"] = "events.k8s.io/v1".into();
        value
    }
}

fn rename(value: &mut Value, names: impl Iterator<Item = (&'static str, &'static str)>) {
    let Some(fields) = value.as_object_mut() else { return };
    for (from, to) in names {
        if let Some(field) = fields.remove(from) {
            fields.insert(to.to_owned(), field);
        }
    }
}

fn stored(event: &Event) -> Value {
    serde_json::to_value(event).map(EventsV1::to_stored).unwrap_or_default()
}

/// The event in the core group's form, in which upstream prints and validates it.
fn core(event: &Event) -> CoreEvent {
    serde_json::from_value(stored(event)).unwrap_or_default()
}

fn validate_series(event: &Event) -> Vec<FieldError> {
    let Some(series) = &event.series else { return Vec::new() };
    let mut errors = Vec::new();
    if series.count < 2 {
        errors.push(FieldError::invalid("series.count", "", "should be at least 2"));
    }
    // Go's zero time stands for none.
    if series.last_observed_time.0.as_second() == ZERO_SECONDS {
        errors.push(FieldError::required("series.lastObservedTime", ""));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::{problems, row, update_problems};
    use serde_json::json;

    fn event() -> Value {
        json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event",
            "metadata": {"name": "web.1", "namespace": "a"},
            "eventTime": "2026-01-01T23:00:00.000000Z", "type": "Normal", "reason": "Scheduled",
            "action": "Binding", "note": "assigned", "reportingController": "x.io/scheduler",
            "reportingInstance": "s-0", "regarding": {"kind": "Pod", "name": "web", "namespace": "a"},
        })
    }

    #[test]
    fn an_event_is_stored_in_the_core_form_and_comes_back() {
        let stored = EventsV1::to_stored(event());
        assert_eq!(stored["apiVersion"], "v1");
        assert_eq!(stored["message"], "assigned");
        assert_eq!(stored["involvedObject"]["name"], "web");
        assert_eq!(stored["reportingComponent"], "x.io/scheduler");
        assert_eq!(stored.get("note"), None);
        assert_eq!(EventsV1::restore(stored), event());
    }

    #[test]
    fn a_new_event_has_a_time_and_none_of_the_deprecated_fields() {
        assert_eq!(problems::<EventsV1>(&event()), [""; 0]);
        let mut bad = event();
        bad["type"] = "Odd".into();
        bad["deprecatedCount"] = 1.into();
        bad["series"] = json!({"count": 1, "lastObservedTime": "2026-01-01T23:00:00.000000Z"});
        assert_eq!(
            problems::<EventsV1>(&bad),
            [
                "series.count: Invalid value: \"\": should be at least 2",
                "type: Invalid value: \"\": has invalid value: Odd",
                "count: Invalid value: \"\": needs to be unset",
            ]
        );
    }

    #[test]
    fn an_update_changes_the_series_alone() {
        let mut new = event();
        new["series"] = json!({"count": 2, "lastObservedTime": "2026-01-01T23:00:00.000000Z"});
        assert_eq!(update_problems::<EventsV1>(&new, &event()), [""; 0]);
        new["note"] = "other".into();
        assert_eq!(
            update_problems::<EventsV1>(&new, &event()),
            ["message: Invalid value: \"other\": field is immutable"]
        );
    }

    #[test]
    fn it_is_shown_like_a_core_event() {
        assert_eq!(row::<EventsV1>(&event())[3], "pod/web");
        assert_eq!(row::<EventsV1>(&event())[5], "x.io/scheduler, s-0");
    }
}
