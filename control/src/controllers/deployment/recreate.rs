//! Recreation: all old pods go before the first new one comes.

use super::bounds::replicas;
use super::rollout::{Draft, Rollout, Which};

/// Asks the old ReplicaSets for nothing; says whether that is a change.
pub(super) fn stop_old(rollout: &mut Rollout) -> bool {
    let mut changed = false;
    for at in 0..rollout.old.len() {
        changed |= rollout.scale(Which::Old(at), 0);
    }
    changed
}

/// Whether old pods are still there. `running`: unfinished pods by ReplicaSet UID.
pub(super) fn old_pods_running(rollout: &Rollout, running: &[(String, usize)]) -> bool {
    let new = rollout.new.as_ref().map(Draft::uid);
    rollout.old.iter().any(|draft| draft.actual() > 0)
        || running.iter().any(|(uid, count)| *count > 0 && Some(uid.as_str()) != new)
}

pub(super) fn start_new(rollout: &mut Rollout) {
    let wanted = replicas(&rollout.deployment);
    rollout.scale(Which::New, wanted);
}
