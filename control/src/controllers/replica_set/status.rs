//! A ReplicaSet's status, counted from its pods.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{
    ReplicaSet, ReplicaSetCondition, ReplicaSetSpec, ReplicaSetStatus,
};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::controllers::pods::{Availability, availability, is_ready};
use crate::engine::Failure;
use crate::kinds::selector::matches_pairs;

pub(super) const REPLICA_FAILURE: &str = "ReplicaFailure";

/// What its pods amount to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) fully_labeled: i32,
    pub(super) ready: i32,
    pub(super) available: i32,
    pub(super) terminating: i32,
    /// When the next ready pod becomes available.
    pub(super) next_available: Option<Duration>,
}

impl Counts {
    pub(super) fn of(active: &[&Pod], spec: &ReplicaSetSpec, now: Timestamp) -> Self {
        let metadata = spec.template.as_ref().and_then(|template| template.metadata.as_ref());
        let template_labels = metadata.and_then(|metadata| metadata.labels.as_ref());
        let min_ready_seconds = spec.min_ready_seconds.unwrap_or(0);
        let mut counts = Self::default();
        for pod in active {
            let fully_labeled = template_labels.is_none_or(|wanted| {
                pod.metadata.labels.as_ref().is_some_and(|labels| matches_pairs(wanted, labels))
            });
            counts.fully_labeled += i32::from(fully_labeled);
            counts.ready += i32::from(is_ready(pod));
            match availability(pod, min_ready_seconds, now) {
                Availability::Available => counts.available += 1,
                Availability::In(left) => {
                    let next = counts.next_available.map_or(left, |next| next.min(left));
                    counts.next_available = Some(next);
                }
                Availability::NotReady => {}
            }
        }
        counts
    }
}

/// The status, where it differs from what the object has.
pub(super) fn new_status(
    now: Timestamp,
    set: &ReplicaSet,
    active: &[&Pod],
    counts: &Counts,
    failure: Option<&Failure>,
) -> Option<ReplicaSetStatus> {
    let old = set.status.clone().unwrap_or_default();
    let replicas = i32::try_from(active.len()).unwrap_or(i32::MAX);
    let wanted = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let new = ReplicaSetStatus {
        replicas,
        fully_labeled_replicas: nonzero(counts.fully_labeled),
        ready_replicas: nonzero(counts.ready),
        available_replicas: nonzero(counts.available),
        terminating_replicas: Some(counts.terminating),
        observed_generation: set.metadata.generation,
        conditions: conditions(now, &old, replicas, wanted, failure),
    };
    (normal(&old) != normal(&new)).then_some(new)
}

fn conditions(
    now: Timestamp,
    old: &ReplicaSetStatus,
    replicas: i32,
    wanted: i32,
    failure: Option<&Failure>,
) -> Option<Vec<ReplicaSetCondition>> {
    let mut conditions = old.conditions.clone().unwrap_or_default();
    let has = conditions.iter().any(|condition| condition.type_ == REPLICA_FAILURE);
    match failure {
        Some(failure) if !has => conditions.push(ReplicaSetCondition {
            type_: REPLICA_FAILURE.to_owned(),
            status: "True".to_owned(),
            reason: Some(
                if replicas > wanted { "FailedDelete" } else { "FailedCreate" }.to_owned(),
            ),
            message: Some(failure.message.clone()),
            last_transition_time: Some(Time(now)),
        }),
        Some(_) => {}
        None => conditions.retain(|condition| condition.type_ != REPLICA_FAILURE),
    }
    (!conditions.is_empty()).then_some(conditions)
}

/// Counts that are zero are left out, as upstream leaves them out.
fn nonzero(count: i32) -> Option<i32> {
    (count != 0).then_some(count)
}

/// Absent and zero are the same.
fn normal(status: &ReplicaSetStatus) -> ReplicaSetStatus {
    ReplicaSetStatus {
        replicas: status.replicas,
        fully_labeled_replicas: Some(status.fully_labeled_replicas.unwrap_or(0)),
        ready_replicas: Some(status.ready_replicas.unwrap_or(0)),
        available_replicas: Some(status.available_replicas.unwrap_or(0)),
        terminating_replicas: status.terminating_replicas,
        observed_generation: Some(status.observed_generation.unwrap_or(0)),
        conditions: Some(status.conditions.clone().unwrap_or_default()),
    }
}
