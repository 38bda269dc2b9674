//! A Deployment's status: counts, and the conditions that `kubectl rollout status` reads.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::bounds::{max_unavailable, replicas};
use super::rollout::{Draft, Rollout};

const AVAILABLE: &str = "Available";
pub(super) const PROGRESSING: &str = "Progressing";
const REPLICA_FAILURE: &str = "ReplicaFailure";

const NEW_AVAILABLE: &str = "NewReplicaSetAvailable";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const PAUSED: &str = "DeploymentPaused";

pub(super) fn progress_deadline(deployment: &Deployment) -> Option<i32> {
    let seconds = deployment.spec.as_ref().and_then(|spec| spec.progress_deadline_seconds);
    seconds.filter(|seconds| *seconds != i32::MAX)
}

pub(super) fn condition<'a>(
    status: &'a DeploymentStatus,
    kind: &str,
) -> Option<&'a DeploymentCondition> {
    status.conditions.iter().flatten().find(|condition| condition.type_ == kind)
}

/// Sets a condition, unless it has that status and reason already.
pub(super) fn set_condition(
    status: &mut DeploymentStatus,
    now: Timestamp,
    kind: &str,
    value: &str,
    reason: &str,
    message: String,
) {
    let old = condition(status, kind);
    if old.is_some_and(|old| old.status == value && old.reason.as_deref() == Some(reason)) {
        return;
    }
    let moved = old
        .filter(|old| old.status == value)
        .and_then(|old| old.last_transition_time.clone())
        .unwrap_or(Time(now));
    remove_condition(status, kind);
    status.conditions.get_or_insert_default().push(DeploymentCondition {
        type_: kind.to_owned(),
        status: value.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message),
        last_update_time: Some(Time(now)),
        last_transition_time: Some(moved),
    });
}

fn remove_condition(status: &mut DeploymentStatus, kind: &str) {
    status.conditions.get_or_insert_default().retain(|condition| condition.type_ != kind);
}

/// Notes a pause or its end, so that the time spent paused is not taken for a lack of progress.
pub(super) fn note_pause(status: &mut DeploymentStatus, deployment: &Deployment, now: Timestamp) {
    if progress_deadline(deployment).is_none() {
        return;
    }
    let reason = condition(status, PROGRESSING).and_then(|condition| condition.reason.as_deref());
    let paused = deployment.spec.as_ref().and_then(|spec| spec.paused).unwrap_or(false);
    match (paused, reason) {
        // A lack of progress that was reported stays reported.
        (_, Some(TIMED_OUT)) => {}
        (true, reason) if reason != Some(PAUSED) => {
            let message = "Deployment is paused".to_owned();
            set_condition(status, now, PROGRESSING, "Unknown", PAUSED, message);
        }
        (false, Some(PAUSED)) => {
            let message = "Deployment is resumed".to_owned();
            set_condition(status, now, PROGRESSING, "Unknown", "DeploymentResumed", message);
        }
        _ => {}
    }
}

/// The counts, and whether enough is available. Conditions are carried over from `before`.
pub(super) fn counted(
    rollout: &Rollout,
    before: &DeploymentStatus,
    now: Timestamp,
) -> DeploymentStatus {
    let deployment = &rollout.deployment;
    let available = rollout.available();
    let sum = |count: fn(&Draft) -> i32| rollout.all().map(count).sum::<i32>();
    let mut status = DeploymentStatus {
        observed_generation: deployment.metadata.generation,
        replicas: nonzero(sum(Draft::actual)),
        updated_replicas: nonzero(rollout.new.as_ref().map_or(0, Draft::actual)),
        ready_replicas: nonzero(sum(Draft::ready)),
        available_replicas: nonzero(available),
        unavailable_replicas: nonzero((rollout.total() - available).max(0)),
        terminating_replicas: terminating(rollout),
        collision_count: before.collision_count,
        conditions: before.conditions.clone(),
    };
    if available >= replicas(deployment) - max_unavailable(deployment) {
        let message = "Deployment has minimum availability.".to_owned();
        set_condition(&mut status, now, AVAILABLE, "True", "MinimumReplicasAvailable", message);
    } else {
        let message = "Deployment does not have minimum availability.".to_owned();
        set_condition(&mut status, now, AVAILABLE, "False", "MinimumReplicasUnavailable", message);
    }
    status
}

/// The sum, where every ReplicaSet that was ever looked at has told its part.
fn terminating(rollout: &Rollout) -> Option<i32> {
    let mut sum = 0;
    for draft in rollout.all() {
        let status = draft.set.status.as_ref();
        let told = status.and_then(|status| status.terminating_replicas);
        let looked_at = status.and_then(|status| status.observed_generation).unwrap_or(0) != 0;
        match told {
            Some(count) => sum += count,
            None if looked_at => return None,
            None => {}
        }
    }
    Some(sum)
}

pub(super) fn is_complete(deployment: &Deployment, status: &DeploymentStatus) -> bool {
    let wanted = replicas(deployment);
    status.updated_replicas.unwrap_or(0) == wanted
        && status.replicas.unwrap_or(0) == wanted
        && status.available_replicas.unwrap_or(0) == wanted
        && status.observed_generation.unwrap_or(0) >= deployment.metadata.generation.unwrap_or(0)
}

fn has_progressed(old: &DeploymentStatus, new: &DeploymentStatus) -> bool {
    let count = |count: Option<i32>| count.unwrap_or(0);
    let old_pods =
        |status: &DeploymentStatus| count(status.replicas) - count(status.updated_replicas);
    count(new.updated_replicas) > count(old.updated_replicas)
        || old_pods(new) < old_pods(old)
        || count(new.ready_replicas) > count(old.ready_replicas)
        || count(new.available_replicas) > count(old.available_replicas)
}

/// Judges progress. `old`: the status before this plan's counts.
pub(super) fn judge(
    rollout: &Rollout,
    old: &DeploymentStatus,
    new: &mut DeploymentStatus,
    now: Timestamp,
) {
    let deployment = &rollout.deployment;
    let subject = match &rollout.new {
        Some(draft) => format!("ReplicaSet {:?}", draft.name()),
        None => {
            format!("Deployment {:?}", deployment.metadata.name.as_deref().unwrap_or_default())
        }
    };
    match progress_deadline(deployment) {
        None => remove_condition(new, PROGRESSING),
        Some(deadline) => judge_progress(deployment, old, new, now, &subject, deadline),
    }
    promote_failures(rollout, new);
}

fn judge_progress(
    deployment: &Deployment,
    old: &DeploymentStatus,
    new: &mut DeploymentStatus,
    now: Timestamp,
    subject: &str,
    deadline: i32,
) {
    let current = condition(old, PROGRESSING).cloned();
    let reason = current.as_ref().and_then(|condition| condition.reason.as_deref());
    let done_before = new.replicas == new.updated_replicas && reason == Some(NEW_AVAILABLE);
    if done_before {
        return;
    }
    if is_complete(deployment, new) {
        let message = format!("{subject} has successfully progressed.");
        set_condition(new, now, PROGRESSING, "True", NEW_AVAILABLE, message);
    } else if has_progressed(old, new) {
        // Even with the same reason: the update time is what the deadline counts from.
        let transition = current
            .filter(|current| current.status == "True")
            .and_then(|current| current.last_transition_time);
        remove_condition(new, PROGRESSING);
        let message = format!("{subject} is progressing.");
        set_condition(new, now, PROGRESSING, "True", "ReplicaSetUpdated", message);
        if let (Some(transition), Some(last)) =
            (transition, new.conditions.as_mut().and_then(|conditions| conditions.last_mut()))
        {
            last.last_transition_time = Some(transition);
        }
    } else if timed_out(new, now, deadline) {
        let message = format!("{subject} has timed out progressing.");
        set_condition(new, now, PROGRESSING, "False", TIMED_OUT, message);
    }
}

fn timed_out(status: &DeploymentStatus, now: Timestamp, deadline: i32) -> bool {
    let Some(progressing) = condition(status, PROGRESSING) else { return false };
    match progressing.reason.as_deref() {
        Some(NEW_AVAILABLE) => false,
        Some(TIMED_OUT) => true,
        _ => overdue_in(progressing, now, deadline).is_some_and(|left| left.is_negative()),
    }
}

fn overdue_in(
    progressing: &DeploymentCondition,
    now: Timestamp,
    deadline: i32,
) -> Option<SignedDuration> {
    let since = progressing.last_update_time.as_ref()?.0;
    Some(SignedDuration::from_secs(i64::from(deadline)) - now.duration_since(since))
}

/// When to look again whether a rollout that stands still has run out of time.
pub(super) fn check_again(
    deployment: &Deployment,
    status: &DeploymentStatus,
    now: Timestamp,
) -> Option<Duration> {
    let deadline = progress_deadline(deployment)?;
    let progressing = condition(status, PROGRESSING)?;
    if is_complete(deployment, status) || progressing.reason.as_deref() == Some(TIMED_OUT) {
        return None;
    }
    // Timestamps are cut to seconds: one more makes sure that it is over.
    let left = overdue_in(progressing, now, deadline)? + SignedDuration::from_secs(1);
    Some(Duration::try_from(left).unwrap_or(Duration::from_secs(1)))
}

/// What keeps a ReplicaSet from its pods is shown on the Deployment; the new one's failure first.
fn promote_failures(rollout: &Rollout, status: &mut DeploymentStatus) {
    let failure = rollout.new.iter().chain(&rollout.old).find_map(|draft| {
        let conditions = draft.set.status.as_ref()?.conditions.as_ref()?;
        conditions.iter().find(|condition| condition.type_ == REPLICA_FAILURE)
    });
    let Some(failure) = failure else {
        remove_condition(status, REPLICA_FAILURE);
        return;
    };
    let known = condition(status, REPLICA_FAILURE)
        .is_some_and(|known| known.status == failure.status && known.reason == failure.reason);
    if known {
        return;
    }
    remove_condition(status, REPLICA_FAILURE);
    status.conditions.get_or_insert_default().push(DeploymentCondition {
        type_: REPLICA_FAILURE.to_owned(),
        status: failure.status.clone(),
        reason: failure.reason.clone(),
        message: failure.message.clone(),
        last_update_time: failure.last_transition_time.clone(),
        last_transition_time: failure.last_transition_time.clone(),
    });
}

fn nonzero(count: i32) -> Option<i32> {
    (count != 0).then_some(count)
}

/// Whether two statuses say the same: absent and zero, absent and empty are equal.
pub(super) fn same(a: &DeploymentStatus, b: &DeploymentStatus) -> bool {
    let normal = |status: &DeploymentStatus| DeploymentStatus {
        observed_generation: status.observed_generation.filter(|count| *count != 0),
        replicas: status.replicas.and_then(nonzero),
        updated_replicas: status.updated_replicas.and_then(nonzero),
        ready_replicas: status.ready_replicas.and_then(nonzero),
        available_replicas: status.available_replicas.and_then(nonzero),
        unavailable_replicas: status.unavailable_replicas.and_then(nonzero),
        terminating_replicas: status.terminating_replicas,
        collision_count: status.collision_count,
        conditions: status.conditions.clone().filter(|conditions| !conditions.is_empty()),
    };
    normal(a) == normal(b)
}
