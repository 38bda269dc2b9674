//! The weights of the preferred affinity terms that a node matches.

use crate::scheduler::filters::{matches_term, preferred_terms};
use crate::scheduler::snapshot::{NodeInfo, PodInfo};

pub fn points(pod: &PodInfo, node: &NodeInfo) -> i64 {
    preferred_terms(pod)
        .iter()
        .filter(|term| matches_term(&term.preference, node))
        .map(|term| i64::from(term.weight))
        .sum()
}
