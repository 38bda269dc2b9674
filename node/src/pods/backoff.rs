//! How long to wait before something is tried again. Pure: the time comes in as an argument.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// The first wait and the longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackoffPolicy {
    pub initial: Duration,
    pub max: Duration,
}

impl BackoffPolicy {
    /// Upstream's waits between restarts of a container and between pulls of an image.
    pub const RESTART: Self =
        Self { initial: Duration::from_secs(10), max: Duration::from_secs(300) };
    /// Waits for what a user is about to create: a ConfigMap, a Secret.
    pub const RETRY: Self = Self { initial: Duration::from_secs(1), max: Duration::from_secs(30) };
}

/// One thing that fails again and again.
#[derive(Clone, Debug)]
pub struct Backoff {
    policy: BackoffPolicy,
    /// The wait that comes next; `None` before the first failure.
    next: Option<Duration>,
    /// When the last wait ended.
    last: Timestamp,
}

impl Backoff {
    pub fn new(policy: BackoffPolicy) -> Self {
        Self { policy, next: None, last: Timestamp::UNIX_EPOCH }
    }

    /// The wait before a container that ended at `ended` is started again.
    ///
    /// As upstream: none after the first end, then 10 s, 20 s… 300 s; forgotten after twice the
    /// longest wait without an end.
    pub fn after_exit(&mut self, ended: Timestamp) -> Duration {
        let forgotten = SignedDuration::try_from(self.policy.max * 2).unwrap_or_default();
        let Some(wait) = self.next.filter(|_| ended.duration_since(self.last) <= forgotten) else {
            self.next = Some(self.policy.initial);
            self.last = ended;
            return Duration::ZERO;
        };
        self.next = Some((wait * 2).min(self.policy.max));
        self.last = later(ended, wait);
        wait
    }

    /// The wait before a failed attempt is made again.
    pub fn after_failure(&mut self) -> Duration {
        let wait = self.next.unwrap_or(self.policy.initial);
        self.next = Some((wait * 2).min(self.policy.max));
        wait
    }

    /// Forgets all failures.
    pub fn reset(&mut self) {
        self.next = None;
    }
}

/// `at` plus `by`; stays where it is if that is beyond all time.
pub fn later(at: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by).ok().and_then(|by| at.checked_add(by).ok()).unwrap_or(at)
}

/// How long until `at`; zero where it has passed.
pub fn until(now: Timestamp, at: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(now)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restarts_wait_longer_each_time_and_are_forgiven_after_ten_minutes() {
        let mut backoff = Backoff::new(BackoffPolicy::RESTART);
        let mut now = Timestamp::from_second(1_000_000).unwrap();
        let mut waits = Vec::new();
        for _ in 0..8 {
            let wait = backoff.after_exit(now);
            waits.push(wait.as_secs());
            now = later(now, wait + Duration::from_secs(1));
        }
        assert_eq!(waits, [0, 10, 20, 40, 80, 160, 300, 300]);
        now = later(now, Duration::from_secs(601));
        assert_eq!(backoff.after_exit(now), Duration::ZERO);
        assert_eq!(backoff.after_exit(now), Duration::from_secs(10));
    }

    #[test]
    fn failures_wait_from_the_first_on() {
        let mut backoff = Backoff::new(BackoffPolicy::RETRY);
        let waits: Vec<_> = (0..6).map(|_| backoff.after_failure().as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30]);
        backoff.reset();
        assert_eq!(backoff.after_failure().as_secs(), 1);
    }
}
