//! Which nodes can take a pod: one file per rule, each answering why not in upstream's words.

mod node_affinity;
mod node_name;
mod node_unschedulable;
mod resources_fit;
mod taint_toleration;

pub use node_affinity::{matches_term, preferred as preferred_terms};
pub use taint_toleration::tolerates;

use super::snapshot::{NodeInfo, PodInfo};

/// Why a node cannot take a pod: what `FailedScheduling` counts.
pub type Reason = String;

/// A rule. Pushes every reason that it finds.
pub type Filter = fn(&PodInfo, &NodeInfo, &mut Vec<Reason>);

/// All rules, cheapest first; the first that objects ends the look at a node, as upstream.
pub const FILTERS: &[Filter] = &[
    node_unschedulable::filter,
    node_name::filter,
    taint_toleration::filter,
    node_affinity::filter,
    resources_fit::filter,
];
