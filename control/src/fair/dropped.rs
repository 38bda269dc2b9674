//! How long refused clients are told to stay away: longer, the more come.
//!
//! Source: `k8s.io/apiserver/pkg/util/flowcontrol/dropped_requests_tracker.go`.

use std::collections::VecDeque;

const SECONDS_MAX: u64 = 32;

/// The refusals of one level. Times are whole seconds.
#[derive(Debug)]
pub struct Dropped {
    /// The second that is counted, and how many it has.
    current: (u64, u64),
    history: VecDeque<(u64, u64)>,
    retry_after: u64,
    raised: Option<u64>,
}

impl Default for Dropped {
    fn default() -> Self {
        Self { current: (0, 0), history: VecDeque::new(), retry_after: 1, raised: None }
    }
}

impl Dropped {
    /// Counts a refusal; returns the seconds after which to come again.
    pub fn record(&mut self, second: u64) -> u64 {
        if self.current.0 == second {
            self.current.1 += 1;
            return self.retry_after;
        }
        self.history.push_back(self.current);
        let kept = (2 * self.retry_after).min(SECONDS_MAX);
        while self.history.front().is_some_and(|(at, _)| second.saturating_sub(*at) > kept) {
            self.history.pop_front();
        }
        self.current = (second, 1);
        self.adjust(second);
        self.retry_after
    }

    /// Doubles where they come in spite of it, and not twice for one rush; goes back step by step.
    fn adjust(&mut self, second: u64) {
        let within = self.retry_after;
        let recent = self.history.iter().filter(|(at, _)| second.saturating_sub(*at) <= within);
        let dropped: u64 = recent.map(|(_, count)| count).sum();
        let rested = self.raised.is_none_or(|raised| second.saturating_sub(raised) >= within);
        if rested && dropped >= 3 * within {
            self.retry_after = (2 * within).min(SECONDS_MAX);
            self.raised = Some(second);
        } else if dropped < within && within > 1 {
            self.retry_after -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_under_pressure_and_goes_back() {
        let mut dropped = Dropped::default();
        let mut at = |second: u64, count: usize| (0..count).fold(0, |_, _| dropped.record(second));
        assert_eq!(at(100, 2), 1);
        assert_eq!(at(101, 3), 1, "two in a second are no rush");
        assert_eq!(at(102, 10), 2);
        assert_eq!(at(103, 10), 2, "just raised");
        assert_eq!(at(104, 30), 4);
        assert_eq!(at(108, 1), 8);
        assert_eq!(at(130, 1), 7);
        assert_eq!(at(131, 1), 6);
    }

    #[test]
    fn nobody_is_sent_away_for_longer_than_half_a_minute() {
        let mut dropped = Dropped::default();
        let longest = (0..100_000).map(|index| dropped.record(1000 + index / 200)).max();
        assert_eq!(longest, Some(SECONDS_MAX));
    }
}
