//! The history: revision numbers and copied annotations, for `kubectl rollout history` and `undo`,
//! and the clean-up of ReplicaSets beyond the limit.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::bounds::{max_surge, replicas};
use super::rollout::Draft;
use crate::controllers::replica_set::REPLICA_SETS;
use crate::engine::{Action, Delete};

pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
pub(super) const HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub(super) const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
pub(super) const MAX: &str = "deployment.kubernetes.io/max-replicas";

/// Annotations that belong to one object alone.
const NOT_COPIED: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    HISTORY,
    DESIRED,
    MAX,
    "deprecated.deployment.rollback.to",
];

/// The length that a ReplicaSet's list of former revisions may have.
const HISTORY_CHARS_MAX: usize = 2000;

pub(super) fn revision(metadata: &ObjectMeta) -> Option<i64> {
    match metadata.annotations.as_ref().and_then(|annotations| annotations.get(REVISION)) {
        None => Some(0),
        Some(text) => text.parse().ok(),
    }
}

/// The revision after the highest of these.
pub(super) fn next(old: &[Draft]) -> i64 {
    old.iter().filter_map(|draft| revision(&draft.set.metadata)).max().unwrap_or(0).max(0) + 1
}

/// Gives the newest ReplicaSet the Deployment's annotations and its revision number. A ReplicaSet
/// that becomes the newest again (a rollback) remembers the numbers it had.
pub(super) fn annotate(metadata: &mut ObjectMeta, deployment: &Deployment, next: i64, new: bool) {
    let mut annotations = metadata.annotations.take().unwrap_or_default();
    for (key, value) in deployment.metadata.annotations.iter().flatten() {
        if !NOT_COPIED.contains(&key.as_str()) {
            annotations.insert(key.clone(), value.clone());
        }
    }
    number(&mut annotations, next);
    if new {
        let desired = replicas(deployment);
        annotations.insert(DESIRED.to_owned(), desired.to_string());
        annotations.insert(MAX.to_owned(), (desired + max_surge(deployment)).to_string());
    }
    metadata.annotations = Some(annotations);
}

fn number(annotations: &mut BTreeMap<String, String>, next: i64) {
    let old = annotations.get(REVISION).cloned();
    let Ok(current) = old.as_deref().unwrap_or("0").parse::<i64>() else {
        // Somebody wrote something else there: leave it.
        return;
    };
    if current >= next {
        return;
    }
    annotations.insert(REVISION.to_owned(), next.to_string());
    let Some(old) = old else { return };
    let history = annotations.get(HISTORY).cloned().unwrap_or_default();
    let mut former: Vec<&str> = history.split(',').filter(|part| !part.is_empty()).collect();
    former.push(&old);
    while former.join(",").len() > HISTORY_CHARS_MAX {
        former.remove(0);
    }
    let history = former.join(",");
    annotations.insert(HISTORY.to_owned(), history);
}

/// Deletes the oldest revisions beyond the limit, where nothing runs of them any more.
pub(super) fn clean_up(deployment: &Deployment, old: &[Draft]) -> Vec<Action> {
    let limit = deployment.spec.as_ref().and_then(|spec| spec.revision_history_limit);
    let Some(limit) = limit.filter(|limit| *limit != i32::MAX) else { return Vec::new() };
    let mut alive: Vec<&Draft> =
        old.iter().filter(|draft| draft.set.metadata.deletion_timestamp.is_none()).collect();
    let surplus = alive.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
    alive.sort_by(|a, b| {
        let order = |draft: &Draft| revision(&draft.set.metadata).unwrap_or(0);
        (order(a), a.created(), a.name()).cmp(&(order(b), b.created(), b.name()))
    });
    alive
        .into_iter()
        .take(surplus)
        .filter(|draft| !draft.is_active() && draft.actual() == 0 && is_observed(draft))
        .map(|draft| Action::Delete(Delete::of(REPLICA_SETS, &draft.set.metadata)))
        .collect()
}

fn is_observed(draft: &Draft) -> bool {
    let observed = draft.set.status.as_ref().and_then(|status| status.observed_generation);
    draft.set.metadata.generation.unwrap_or(0) <= observed.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(annotations: &[(&str, &str)], next: i64) -> Vec<String> {
        let mut annotations =
            annotations.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        number(&mut annotations, next);
        annotations.iter().map(|(key, value)| format!("{key}={value}")).collect()
    }

    #[test]
    fn a_replicaset_that_becomes_the_newest_again_remembers_its_numbers() {
        assert_eq!(check(&[], 1), ["deployment.kubernetes.io/revision=1"]);
        assert_eq!(check(&[(REVISION, "3")], 2), ["deployment.kubernetes.io/revision=3"]);
        assert_eq!(
            check(&[(REVISION, "3"), (HISTORY, "1")], 5),
            [
                "deployment.kubernetes.io/revision=5",
                "deployment.kubernetes.io/revision-history=1,3"
            ]
        );
        assert_eq!(check(&[(REVISION, "x")], 2), ["deployment.kubernetes.io/revision=x"]);
    }
}
