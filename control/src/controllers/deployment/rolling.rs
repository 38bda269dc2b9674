//! Rolling updates: the new ReplicaSet grows within the surge, the old ones shrink within the
//! unavailability.

use super::bounds::{max_surge, max_unavailable, replicas};
use super::rollout::{Draft, Rollout, Which};

/// How many replicas the new ReplicaSet may have now.
pub(super) fn new_replicas(rollout: &Rollout) -> i32 {
    let wanted = replicas(&rollout.deployment);
    let current = rollout.new.as_ref().map_or(0, Draft::replicas);
    let room = wanted + max_surge(&rollout.deployment) - rollout.total();
    if room <= 0 {
        return current;
    }
    current + room.min(wanted - current)
}

/// Takes one step; says whether there was one to take.
pub(super) fn step(rollout: &mut Rollout) -> bool {
    grow(rollout) || shrink(rollout)
}

fn grow(rollout: &mut Rollout) -> bool {
    let wanted = replicas(&rollout.deployment);
    let current = rollout.new.as_ref().map_or(0, Draft::replicas);
    let next = if current > wanted { wanted } else { new_replicas(rollout) };
    rollout.scale(Which::New, next)
}

fn shrink(rollout: &mut Rollout) -> bool {
    if rollout.old.iter().all(|draft| !draft.is_active()) {
        return false;
    }
    let min_available = replicas(&rollout.deployment) - max_unavailable(&rollout.deployment);
    let new_unavailable =
        rollout.new.as_ref().map_or(0, |draft| draft.replicas() - draft.available());
    let surplus = rollout.total() - min_available - new_unavailable;
    if surplus <= 0 {
        return false;
    }
    // First what does not work anyway: it costs no availability and must not block the rest.
    let cleaned = shrink_unhealthy(rollout, surplus);
    let shrunk = shrink_available(rollout, min_available);
    cleaned + shrunk > 0
}

fn shrink_unhealthy(rollout: &mut Rollout, surplus: i32) -> i32 {
    let mut gone = 0;
    for at in 0..rollout.old.len() {
        let unhealthy = rollout.old[at].replicas() - rollout.old[at].available();
        let count = unhealthy.min(surplus - gone);
        if !rollout.old[at].is_active() || count <= 0 {
            continue;
        }
        rollout.scale(Which::Old(at), rollout.old[at].replicas() - count);
        gone += count;
    }
    gone
}

fn shrink_available(rollout: &mut Rollout, min_available: i32) -> i32 {
    let surplus = rollout.available() - min_available;
    let mut gone = 0;
    for at in 0..rollout.old.len() {
        let count = rollout.old[at].replicas().min(surplus - gone);
        if count <= 0 {
            continue;
        }
        rollout.scale(Which::Old(at), rollout.old[at].replicas() - count);
        gone += count;
    }
    gone
}
