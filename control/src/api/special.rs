//! What upstream's generic handlers know of single kinds. Pure.
//!
//! These are facts of upstream's `pkg/registry/*/storage` that a kind's strategy does not hold.

use std::time::Duration;

use serde_json::Value;

use crate::kinds::{KindInfo, Part, Subresource};

/// Events are forgotten after this time (upstream's `--event-ttl`).
const EVENT_LIFE: Duration = Duration::from_secs(3600);

/// How long an object of this kind lives after its last write.
pub fn time_to_live(info: &KindInfo) -> Option<Duration> {
    (info.stored_resource() == "events").then_some(EVENT_LIFE)
}

/// Kinds whose deletion answers the object instead of a `Status` (ReturnDeletedObject).
pub fn returns_deleted(info: &KindInfo) -> bool {
    matches!(
        (info.group, info.resource),
        (
            "",
            "namespaces"
                | "persistentvolumeclaims"
                | "persistentvolumes"
                | "pods"
                | "podtemplates"
                | "resourcequotas"
                | "serviceaccounts"
                | "services"
        ) | ("storage.k8s.io", _)
    )
}

/// Kinds that garbage collection leaves alone: no finalizer is added for their dependents.
pub fn is_collected(info: &KindInfo) -> bool {
    info.stored_resource() != "events"
}

/// The name that a selectable field bears today.
///
/// Source: `AddFieldLabelConversionFunc` in `pkg/apis/core/v1/conversion.go`.
pub fn selectable_field<'a>(info: &KindInfo, field: &'a str) -> &'a str {
    match (info.group, info.resource, field) {
        ("", "pods", "spec.host") => "spec.nodeName",
        _ => field,
    }
}

pub fn is_namespaces(info: &KindInfo) -> bool {
    info.group.is_empty() && info.resource == "namespaces"
}

/// Whether a create drops the status that was sent. A node registers with its status.
pub fn drops_status_on_create(info: &KindInfo) -> bool {
    info.has(Subresource::Status) && !(info.group.is_empty() && info.resource == "nodes")
}

/// Whether an emptied list of finalizers lets a deleting object go. A namespace also waits for
/// `spec.finalizers`.
pub fn may_vanish(info: &KindInfo, object: &Value) -> bool {
    !is_namespaces(info) || spec_finalizers(object).is_empty()
}

pub fn spec_finalizers(namespace: &Value) -> &[Value] {
    namespace["spec"]["finalizers"].as_array().map_or(&[], Vec::as_slice)
}

/// Metadata that an update of this part may not change.
pub fn fixed_metadata(info: &KindInfo, part: Part) -> &'static [&'static str] {
    match (part, info.group, info.resource) {
        (Part::Status, "", "pods") => &["ownerReferences"],
        (Part::Status, "apps", "deployments") => &["labels"],
        (Part::Status, "flowcontrol.apiserver.k8s.io", _) => {
            &["annotations", "finalizers", "labels", "ownerReferences"]
        }
        (Part::Main | Part::Status, _, _) => &[],
    }
}

/// What everyone is told who uses a kind that has a successor.
///
/// Source: `APILifecycleDeprecated` in `k8s.io/api`.
pub fn deprecation(info: &KindInfo) -> Option<&'static str> {
    match (info.group, info.resource) {
        ("", "endpoints") => {
            Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice")
        }
        _ => None,
    }
}
