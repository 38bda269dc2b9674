//! ReplicaSets: as many pods of a template as asked for.
//!
//! `observe` gathers a ReplicaSet's pods through indexes, so that a plan costs what its own pods
//! cost; `outline` says what it looks at of them; `plan` decides; `ranking` says which pods go first; `status` counts.
//!
//! Source of the behaviour: upstream's `pkg/controller/replicaset`.

mod observe;
mod outline;
mod plan;
mod ranking;
mod status;

pub(super) use observe::ReplicaSets;

pub(super) const REPLICA_SETS: &str = "replicasets.apps";
