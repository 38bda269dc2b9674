//! Nodes: lost ones become Unknown, taints follow conditions, pods on lost nodes stop being ready.
//!
//! `observe` remembers when each node was last heard of, by the controller's own clock (a restart
//! grants everyone a full grace period); `plan` decides one thing at a time, so that every step can
//! run twice; `taints` derives taints from conditions.
//!
//! Source of the behaviour: upstream's `pkg/controller/nodelifecycle`. Not kept: zones and the rate
//! limits on tainting them. Kept: where no node is ready, nothing is evicted.

mod observe;
mod plan;
mod taints;

pub(super) use observe::NodeLifecycle;

pub(super) const NODES: &str = "nodes";
