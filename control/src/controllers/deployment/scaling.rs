//! A changed size: given to the one active ReplicaSet, or shared by the active ones in proportion,
//! so that a rollout under way keeps its risk.

use k8s_openapi::api::apps::v1::Deployment;

use super::bounds::{is_rolling, max_surge, replicas};
use super::revisions::{DESIRED, MAX};
use super::rollout::{Draft, Rollout, Which, sort_by_size};

/// Whether the size asked for has changed since the active ReplicaSets were last sized.
pub(super) fn is_scaling(rollout: &Rollout) -> bool {
    let wanted = replicas(&rollout.deployment);
    rollout
        .all()
        .filter(|draft| draft.is_active())
        .filter_map(|draft| annotated(draft, DESIRED))
        .any(|desired| desired != wanted)
}

fn annotated(draft: &Draft, key: &str) -> Option<i32> {
    let annotations = draft.set.metadata.annotations.as_ref()?;
    annotations.get(key)?.parse().ok().filter(|count| *count >= 0)
}

pub(super) fn scale(rollout: &mut Rollout) {
    let wanted = replicas(&rollout.deployment);
    if rollout.new.is_none() && rollout.old.is_empty() {
        return;
    }
    if let Some(which) = rollout.active_or_latest() {
        rollout.scale(which, wanted);
        return;
    }
    if is_saturated(rollout, wanted) {
        for at in 0..rollout.old.len() {
            rollout.scale(Which::Old(at), 0);
        }
        return;
    }
    if is_rolling(&rollout.deployment) {
        scale_in_proportion(rollout, wanted);
    }
}

/// The new ReplicaSet has all replicas, and all are available.
fn is_saturated(rollout: &Rollout, wanted: i32) -> bool {
    rollout.new.as_ref().is_some_and(|new| {
        new.replicas() == wanted
            && annotated(new, DESIRED) == Some(wanted)
            && new.available() == wanted
    })
}

fn scale_in_proportion(rollout: &mut Rollout, wanted: i32) {
    let allowed = if wanted > 0 { wanted + max_surge(&rollout.deployment) } else { 0 };
    let to_add = allowed - rollout.total();
    let mut active = rollout.active();
    sort_by_size(rollout, &mut active, to_add > 0);
    let mut sizes = Vec::new();
    let mut added = 0;
    for which in &active {
        let Some(draft) = rollout.get(*which) else { continue };
        let share = proportion(draft, &rollout.deployment, to_add, added);
        sizes.push((*which, draft.replicas() + share));
        added += share;
    }
    if let Some((_, size)) = sizes.first_mut() {
        // What rounding left over goes to the largest.
        *size = (*size + to_add - added).max(0);
    }
    for (which, size) in sizes {
        rollout.scale(which, size);
        rollout.annotate(which);
    }
}

fn proportion(draft: &Draft, deployment: &Deployment, to_add: i32, added: i32) -> i32 {
    if to_add == 0 || to_add == added {
        return 0;
    }
    let share = fraction(draft, deployment);
    let left = to_add - added;
    if to_add > 0 { share.min(left) } else { share.max(left) }
}

fn fraction(draft: &Draft, deployment: &Deployment) -> i32 {
    let wanted = replicas(deployment);
    if wanted == 0 {
        return -draft.replicas();
    }
    let max_now = wanted + max_surge(deployment);
    let max_before = annotated(draft, MAX).filter(|max| *max > 0).or_else(|| {
        let status = deployment.status.as_ref();
        status.and_then(|status| status.replicas).filter(|replicas| *replicas > 0)
    });
    let Some(max_before) = max_before else { return 0 };
    let size = f64::from(draft.replicas()) * f64::from(max_now) / f64::from(max_before);
    // The counts are small: the cast is exact.
    size.round() as i32 - draft.replicas()
}
