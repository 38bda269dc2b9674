//! What controllers ask of pods: phase, readiness, availability.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

pub(super) const PODS: &str = "pods";

pub(super) fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

pub(super) fn is_terminal(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// Neither finished nor on its way out.
pub(super) fn is_active(pod: &Pod) -> bool {
    !is_terminal(pod) && pod.metadata.deletion_timestamp.is_none()
}

/// On its way out, and not finished yet.
pub(super) fn is_terminating(pod: &Pod) -> bool {
    !is_terminal(pod) && pod.metadata.deletion_timestamp.is_some()
}

pub(super) fn node(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref().filter(|name| !name.is_empty())
}

pub(super) fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.iter().flatten().find(|condition| condition.type_ == kind)
}

pub(super) fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|ready| ready.status == "True")
}

/// Since when the pod has been ready.
pub(super) fn ready_since(pod: &Pod) -> Option<Timestamp> {
    let ready = condition(pod, "Ready").filter(|ready| ready.status == "True")?;
    ready.last_transition_time.as_ref().map(|time| time.0)
}

/// Whether a pod counts as available, or when it will.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Availability {
    NotReady,
    /// Ready, but not for long enough: ask again after this.
    In(Duration),
    Available,
}

pub(super) fn availability(pod: &Pod, min_ready_seconds: i32, now: Timestamp) -> Availability {
    if !is_ready(pod) {
        return Availability::NotReady;
    }
    if min_ready_seconds <= 0 {
        return Availability::Available;
    }
    let Some(since) = ready_since(pod) else { return Availability::NotReady };
    let ready_for = now.duration_since(since);
    let wanted = jiff::SignedDuration::from_secs(i64::from(min_ready_seconds));
    match Duration::try_from(wanted - ready_for) {
        Ok(left) if !left.is_zero() => Availability::In(left),
        _ => Availability::Available,
    }
}

/// The conditions of a pod with one of them set; `None` where nothing changes.
///
/// The transition time moves only where the status does.
pub(super) fn with_condition(
    pod: &Pod,
    kind: &str,
    status: &str,
    reason: Option<&str>,
    message: Option<&str>,
    now: Timestamp,
) -> Option<Vec<PodCondition>> {
    let mut conditions: Vec<PodCondition> =
        pod.status.iter().flat_map(|status| status.conditions.iter().flatten()).cloned().collect();
    let old = conditions.iter().position(|condition| condition.type_ == kind);
    let mut new = old.map(|at| conditions[at].clone()).unwrap_or_default();
    let moved = new.status != status;
    new.type_ = kind.to_owned();
    new.status = status.to_owned();
    if let Some(reason) = reason {
        new.reason = Some(reason.to_owned());
        new.message = message.map(str::to_owned);
    }
    if moved {
        new.last_transition_time = Some(Time(now));
    }
    match old {
        Some(at) if conditions[at] == new => return None,
        Some(at) => conditions[at] = new,
        None => conditions.push(new),
    }
    Some(conditions)
}

/// The status patch that marks a pod as disrupted; `None` where it is marked.
pub(super) fn disruption(pod: &Pod, reason: &str, message: &str, now: Timestamp) -> Option<Value> {
    let conditions =
        with_condition(pod, "DisruptionTarget", "True", Some(reason), Some(message), now)?;
    Some(json!({ "status": { "conditions": conditions } }))
}
