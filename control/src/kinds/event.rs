//! Events of the core group: the stored form of all events.
//!
//! Source: `pkg/registry/core/event/strategy.go`, `pkg/apis/core/validation/events.go`.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource};
use serde_json::Value;

use super::{Column, Dependents, FieldError, Kind, KindInfo, NameRule, meta, names};

const INSTANCE_BYTES_MAX: usize = 128;
const ACTION_BYTES_MAX: usize = 128;
const REASON_BYTES_MAX: usize = 128;
const MESSAGE_BYTES_MAX: usize = 1024;

/// Events are forgotten after this time (upstream's `--event-ttl`).
pub const LIFE: Duration = Duration::from_secs(3600);

pub struct Events;

impl Kind for Events {
    type Object = Event;

    const INFO: KindInfo = KindInfo {
        short_names: &["ev"],
        // Upstream asks no more of the older events' names.
        names: NameRule::PathSegment,
        create_on_update: true,
        dependents: Dependents::Ignored,
        time_to_live: Some(LIFE),
        ..KindInfo::namespaced("", "v1", "Event", "events", "event", "io.k8s.api.core.v1.Event")
    };

    fn validate(event: &Event) -> Vec<FieldError> {
        validate_legacy(event, "reportingComponent")
    }

    fn columns() -> &'static [Column] {
        COLUMNS
    }

    fn cells(event: &Event, now: Timestamp) -> Vec<Value> {
        let first = match &event.first_timestamp {
            Some(_) => meta::age(event.first_timestamp.as_ref(), now),
            None => meta::micro_age(event.event_time.as_ref(), now),
        };
        let last = match (&event.series, &event.last_timestamp) {
            (Some(series), _) => meta::micro_age(series.last_observed_time.as_ref(), now),
            (None, Some(_)) => meta::age(event.last_timestamp.as_ref(), now),
            (None, None) => first.clone(),
        };
        vec![
            last.into(),
            event.type_.clone().unwrap_or_default().into(),
            event.reason.clone().unwrap_or_default().into(),
            target(event).into(),
            event.involved_object.field_path.clone().unwrap_or_default().into(),
            source(event).into(),
            event.message.as_deref().unwrap_or_default().trim().into(),
            first.into(),
            count(event).into(),
            meta::object_name(&event.metadata),
        ]
    }

    fn selectable(event: &Event) -> Vec<(&'static str, String)> {
        let object = &event.involved_object;
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let component = event.source.as_ref().and_then(|source| source.component.clone());
        let source = component.filter(|component| !component.is_empty());
        vec![
            ("involvedObject.kind", text(&object.kind)),
            ("involvedObject.namespace", text(&object.namespace)),
            ("involvedObject.name", text(&object.name)),
            ("involvedObject.uid", text(&object.uid)),
            ("involvedObject.apiVersion", text(&object.api_version)),
            ("involvedObject.resourceVersion", text(&object.resource_version)),
            ("involvedObject.fieldPath", text(&object.field_path)),
            ("reason", text(&event.reason)),
            ("reportingComponent", text(&event.reporting_component)),
            ("source", source.unwrap_or_else(|| text(&event.reporting_component))),
            ("type", text(&event.type_)),
        ]
    }
}

const COLUMNS: &[Column] = &[
    Column::new("Last Seen", "string", 0, "When the event was last observed."),
    Column::new("Type", "string", 0, "Normal or Warning."),
    Column::new("Reason", "string", 0, "Why the event came about, in one word."),
    Column::new("Object", "string", 0, "The object that the event is about."),
    Column::new("Subobject", "string", 1, "The part of the object that the event is about."),
    Column::new("Source", "string", 1, "The component that reported the event."),
    Column::new("Message", "string", 0, "What happened, for people to read."),
    Column::new("First Seen", "string", 1, "When the event was first observed."),
    Column::new("Count", "string", 1, "How often the event was observed."),
    Column { priority: 1, ..Column::NAME },
];

fn target(event: &Event) -> String {
    let object = &event.involved_object;
    let kind = object.kind.as_deref().unwrap_or_default().to_lowercase();
    match object.name.as_deref().unwrap_or_default() {
        "" => kind,
        name => format!("{kind}/{name}"),
    }
}

fn source(event: &Event) -> String {
    let none = EventSource::default();
    let source = event.source.as_ref().unwrap_or(&none);
    let component = first_non_empty(&source.component, &event.reporting_component);
    match first_non_empty(&source.host, &event.reporting_instance) {
        "" => component.to_owned(),
        instance => format!("{component}, {instance}"),
    }
}

fn first_non_empty<'a>(one: &'a Option<String>, other: &'a Option<String>) -> &'a str {
    let other = other.as_deref().unwrap_or_default();
    one.as_deref().filter(|text| !text.is_empty()).unwrap_or(other)
}

fn count(event: &Event) -> i32 {
    match &event.series {
        Some(series) => series.count.unwrap_or_default(),
        // Events of the newer API that happened once have no count.
        None => event.count.filter(|count| *count != 0).unwrap_or(1),
    }
}

/// The rules that events of every version are held to. `reporter`: what that version calls the
/// reporting controller.
pub(super) fn validate_legacy(event: &Event, reporter: &str) -> Vec<FieldError> {
    let namespace = event.metadata.namespace.as_deref().unwrap_or_default();
    let object_namespace = event.involved_object.namespace.as_deref().unwrap_or_default();
    let fits = match (event.event_time.is_some(), object_namespace) {
        (true, "") => matches!(namespace, "default" | "kube-system"),
        (false, "") => matches!(namespace, "" | "default"),
        (true, _) => true,
        (false, _) => namespace == object_namespace,
    };
    let mut errors = Vec::new();
    if !fits {
        let detail = "does not match event.namespace";
        errors.push(FieldError::invalid("involvedObject.namespace", object_namespace, detail));
    }
    // Only the newer events have an event time.
    if event.event_time.is_some() {
        errors.extend(validate_reporter(event, reporter));
    }
    errors.extend(meta::invalid_each("namespace", namespace, names::subdomain(namespace)));
    errors
}

fn validate_reporter(event: &Event, reporter: &str) -> Vec<FieldError> {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let controller = text(&event.reporting_component);
    let mut errors = Vec::new();
    if controller.is_empty() {
        errors.push(FieldError::required(reporter, ""));
    }
    errors.extend(meta::validate_label_key(&controller, reporter));
    let bounded = [
        ("reportingInstance", text(&event.reporting_instance), INSTANCE_BYTES_MAX),
        ("action", text(&event.action), ACTION_BYTES_MAX),
        ("reason", text(&event.reason), REASON_BYTES_MAX),
    ];
    for (field, value, max) in &bounded {
        if value.is_empty() {
            errors.push(FieldError::required(*field, ""));
        }
        errors.extend(too_long(field, value, *max));
    }
    errors.extend(too_long("message", &text(&event.message), MESSAGE_BYTES_MAX));
    errors
}

fn too_long(field: &str, value: &str, max: usize) -> Option<FieldError> {
    let detail = format!("can have at most {max} characters");
    (value.len() > max).then(|| FieldError::invalid(field, "", detail))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::{problems, row};
    use serde_json::json;

    #[test]
    fn an_old_event_lies_in_its_object_s_namespace() {
        let event = |namespace: &str, object: &str| json!({"metadata": {"namespace": namespace}, "involvedObject": {"namespace": object}});
        assert_eq!(problems::<Events>(&event("a", "a")), [""; 0]);
        assert_eq!(problems::<Events>(&event("default", "")), [""; 0]);
        assert_eq!(
            problems::<Events>(&event("a", "b")),
            ["involvedObject.namespace: Invalid value: \"b\": does not match event.namespace"]
        );
    }

    #[test]
    fn an_event_with_a_time_names_its_reporter() {
        let event = json!({
            "metadata": {"namespace": "a"}, "involvedObject": {"namespace": "a"},
            "eventTime": "2026-01-01T00:00:00.000000Z", "reportingComponent": "x.io/c",
            "reportingInstance": "c-0", "reason": "r".repeat(129),
        });
        assert_eq!(
            problems::<Events>(&event),
            [
                "action: Required value",
                "reason: Invalid value: \"\": can have at most 128 characters",
            ]
        );
    }

    #[test]
    fn an_old_event_shows_its_times_and_its_source() {
        let event = json!({
            "metadata": {"name": "web.1"},
            "involvedObject": {"kind": "Pod", "name": "web", "fieldPath": "spec.containers{a}"},
            "type": "Normal", "reason": "Started", "message": " started \n", "count": 3,
            "firstTimestamp": "2026-01-01T22:00:00Z", "lastTimestamp": "2026-01-01T23:59:55Z",
            "source": {"component": "kubelet", "host": "n1"},
        });
        assert_eq!(
            row::<Events>(&event),
            [
                json!("5s"),
                json!("Normal"),
                json!("Started"),
                json!("pod/web"),
                json!("spec.containers{a}"),
                json!("kubelet, n1"),
                json!("started"),
                json!("120m"),
                json!(3),
                json!("web.1"),
            ]
        );
    }

    #[test]
    fn a_new_event_shows_its_series() {
        let event = json!({
            "metadata": {"name": "web.1"}, "involvedObject": {"kind": "Node"},
            "eventTime": "2026-01-01T23:00:00.000000Z", "reportingComponent": "scheduler",
            "series": {"count": 7, "lastObservedTime": "2026-01-01T23:59:00.000000Z"},
        });
        let row = row::<Events>(&event);
        assert_eq!([&row[0], &row[3], &row[5], &row[7]], ["60s", "node", "scheduler", "60m"]);
        assert_eq!(row[8], 7);
    }
}
