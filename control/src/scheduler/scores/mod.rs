//! Which of the possible nodes is best: one file per wish, each from 0 to 100, with a weight.

mod least_allocated;
mod node_affinity;
mod spread;
mod taint_toleration;

use super::snapshot::{NodeInfo, PodInfo};

/// The best a node can do.
pub const MAX: i64 = 100;

/// Raw points for every node, in order; [`Score::normal`] brings them to 0–100.
pub struct Score {
    pub points: fn(&PodInfo, &NodeInfo) -> i64,
    pub normal: Normal,
    pub weight: i64,
}

/// How raw points become 0–100.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Normal {
    /// They are.
    Already,
    /// The most points are best.
    Most,
    /// The fewest points are best.
    Fewest,
}

/// All wishes, with upstream's weights.
pub const SCORES: &[Score] = &[
    Score { points: least_allocated::points, normal: Normal::Already, weight: 1 },
    Score { points: node_affinity::points, normal: Normal::Most, weight: 2 },
    Score { points: spread::points, normal: Normal::Fewest, weight: 2 },
    Score { points: taint_toleration::points, normal: Normal::Fewest, weight: 3 },
];

/// The weighted sum of all wishes, for each node in order.
pub fn total(pod: &PodInfo, nodes: &[&NodeInfo]) -> Vec<i64> {
    let mut totals = vec![0; nodes.len()];
    for score in SCORES {
        let raw: Vec<i64> = nodes.iter().map(|node| (score.points)(pod, node)).collect();
        let most = raw.iter().copied().max().unwrap_or(0);
        for (total, raw) in totals.iter_mut().zip(raw) {
            *total += score.weight * normal(score.normal, raw, most);
        }
    }
    totals
}

fn normal(normal: Normal, raw: i64, most: i64) -> i64 {
    match (normal, most) {
        (Normal::Already, _) => raw,
        (Normal::Most, 0) => 0,
        (Normal::Most, most) => raw * MAX / most,
        (Normal::Fewest, 0) => MAX,
        (Normal::Fewest, most) => MAX - raw * MAX / most,
    }
}
