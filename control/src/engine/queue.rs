//! A work queue of keys: each key once, never in two hands, with back-off and delays.
//!
//! Source of the semantics: client-go's `workqueue` (dirty and processing sets, exponential
//! back-off from 5 ms to 1000 s). One lock, held for map operations only.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::plan::Key;

const BACKOFF_FIRST: Duration = Duration::from_millis(5);
const BACKOFF_MAX: Duration = Duration::from_secs(1000);

/// See the module's documentation.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    wakeup: Notify,
}

#[derive(Default)]
struct State {
    ready: VecDeque<Key>,
    /// In `ready`, or to go there when whoever holds it is done.
    dirty: HashSet<Key>,
    processing: HashSet<Key>,
    /// By time; the entry of a key in `due` is the one that counts.
    delayed: BTreeSet<(Instant, Key)>,
    due: HashMap<Key, Instant>,
    failures: HashMap<Key, u32>,
    /// Keys that let changes gather until then.
    resting: HashMap<Key, Instant>,
    closed: bool,
}

impl State {
    /// Whether a waiting worker has something to do by it, or to wait for less long.
    fn add(&mut self, key: Key, now: Instant) -> bool {
        if self.closed || self.dirty.contains(&key) {
            return false;
        }
        if let Some(until) = self.resting.get(&key).copied() {
            if until > now {
                return self.add_at(key, until);
            }
            self.resting.remove(&key);
        }
        if let Some(at) = self.due.remove(&key) {
            self.delayed.remove(&(at, key.clone()));
        }
        self.dirty.insert(key.clone());
        let is_free = !self.processing.contains(&key);
        if is_free {
            self.ready.push_back(key);
        }
        is_free
    }

    /// The earlier of two delays wins. The answer is as that of `add`.
    fn add_at(&mut self, key: Key, at: Instant) -> bool {
        if self.closed {
            return false;
        }
        if let Some(old) = self.due.get(&key).copied() {
            if old <= at {
                return false;
            }
            self.delayed.remove(&(old, key.clone()));
        }
        let is_first = self.delayed.first().is_none_or(|(first, _)| at < *first);
        self.due.insert(key.clone(), at);
        self.delayed.insert((at, key));
        is_first
    }

    fn release_due(&mut self, now: Instant) {
        while let Some((at, _)) = self.delayed.first() {
            if *at > now {
                return;
            }
            if let Some((_, key)) = self.delayed.pop_first() {
                self.due.remove(&key);
                self.resting.remove(&key);
                self.add(key, now);
            }
        }
    }

    fn take(&mut self) -> Option<Key> {
        let key = self.ready.pop_front()?;
        self.dirty.remove(&key);
        self.processing.insert(key.clone());
        Some(key)
    }
}

impl Queue {
    /// To be looked at as soon as a worker is free (and the key has rested).
    pub(super) fn add(&self, key: Key) {
        let wakes = self.state.lock().add(key, Instant::now());
        self.wake_if(wakes);
    }

    pub(super) fn add_after(&self, key: Key, delay: Duration) {
        let wakes = self.state.lock().add_at(key, Instant::now() + delay);
        self.wake_if(wakes);
    }

    /// Adds the key again after its back-off, which doubles with each failure.
    pub(super) fn retry(&self, key: Key) {
        let mut state = self.state.lock();
        let failures = state.failures.entry(key.clone()).or_default();
        let backoff = backoff(*failures);
        *failures = failures.saturating_add(1);
        let wakes = state.add_at(key, Instant::now() + backoff);
        drop(state);
        self.wake_if(wakes);
    }

    /// Most adds of a burst are of keys that wait already: they wake nobody.
    fn wake_if(&self, wakes: bool) {
        if wakes {
            self.wakeup.notify_one();
        }
    }

    /// The key succeeded: its next failure starts with the first back-off.
    pub(super) fn forget(&self, key: &Key) {
        self.state.lock().failures.remove(key);
    }

    /// The next key; `None` when the queue is closed. `done` must follow.
    pub(super) async fn next(&self) -> Option<Key> {
        loop {
            let notified = self.wakeup.notified();
            let wait = {
                let mut state = self.state.lock();
                if state.closed {
                    return None;
                }
                state.release_due(Instant::now());
                if let Some(key) = state.take() {
                    if !state.ready.is_empty() {
                        // One notification may stand for several keys.
                        self.wakeup.notify_one();
                    }
                    return Some(key);
                }
                state.delayed.first().map(|(at, _)| *at)
            };
            match wait {
                Some(at) => {
                    tokio::select! {
                        () = notified => {}
                        () = tokio::time::sleep_until(at) => {}
                    }
                }
                None => notified.await,
            }
        }
    }

    /// Gives a key back. If it was added meanwhile, it is looked at again after `rest`.
    pub(super) fn done(&self, key: &Key, rest: Duration) {
        let now = Instant::now();
        let mut state = self.state.lock();
        state.processing.remove(key);
        if !rest.is_zero() {
            state.resting.insert(key.clone(), now + rest);
        }
        let wakes = if state.dirty.remove(key) {
            state.add(key.clone(), now)
        } else {
            if rest.is_zero() {
                state.resting.remove(key);
            }
            false
        };
        drop(state);
        self.wake_if(wakes);
    }

    /// No key is handed out any more; waiting workers end.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.wakeup.notify_waiters();
        self.wakeup.notify_one();
    }

    pub(super) fn len(&self) -> usize {
        self.state.lock().ready.len()
    }
}

fn backoff(failures: u32) -> Duration {
    BACKOFF_FIRST.saturating_mul(1_u32.checked_shl(failures).unwrap_or(u32::MAX)).min(BACKOFF_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key::new("pods", "default", name)
    }

    #[test]
    fn backoff_doubles_from_five_milliseconds_to_a_thousand_seconds() {
        let steps: Vec<u128> = [0, 1, 2, 10, 17, 18, 40].map(|n| backoff(n).as_millis()).to_vec();
        assert_eq!(steps, [5, 10, 20, 5120, 655_360, 1_000_000, 1_000_000]);
    }

    #[tokio::test]
    async fn a_key_added_while_it_is_processed_comes_once_more() {
        let queue = Queue::default();
        queue.add(key("a"));
        let a = queue.next().await.unwrap();
        queue.add(key("a"));
        queue.add(key("a"));
        assert_eq!(queue.len(), 0);
        queue.done(&a, Duration::ZERO);
        assert_eq!(queue.next().await, Some(key("a")));
        queue.done(&a, Duration::ZERO);
        assert_eq!(queue.len(), 0);
    }

    #[tokio::test]
    async fn a_resting_key_gathers_changes() {
        let queue = Queue::default();
        let start = Instant::now();
        queue.add(key("a"));
        let a = queue.next().await.unwrap();
        queue.done(&a, Duration::from_millis(50));
        queue.add(key("a"));
        queue.add(key("a"));
        assert_eq!(queue.next().await, Some(key("a")));
        assert!(start.elapsed() >= Duration::from_millis(50));
    }

    #[tokio::test]
    async fn the_earlier_delay_wins_and_a_plain_add_beats_both() {
        let queue = Queue::default();
        let start = Instant::now();
        queue.add_after(key("a"), Duration::from_secs(60));
        queue.add_after(key("a"), Duration::from_millis(40));
        queue.add_after(key("b"), Duration::from_secs(30));
        queue.add(key("b"));
        assert_eq!(queue.next().await, Some(key("b")));
        assert_eq!(queue.next().await, Some(key("a")));
        let elapsed = start.elapsed();
        assert!((Duration::from_millis(40)..Duration::from_secs(20)).contains(&elapsed));
    }

    #[test]
    fn only_what_is_new_to_do_or_due_earlier_wakes_a_worker() {
        let (mut state, now) = (State::default(), Instant::now());
        let at = |millis| now + Duration::from_millis(millis);
        assert!(state.add(key("a"), now));
        assert!(!state.add(key("a"), now), "it waits already");
        state.take().unwrap();
        assert!(!state.add(key("a"), now), "whoever holds it puts it back");
        assert!(state.add_at(key("b"), at(20)));
        assert!(!state.add_at(key("c"), at(30)), "others are due before");
        assert!(state.add_at(key("c"), at(10)));
        assert!(!state.add_at(key("c"), at(15)));
    }

    #[tokio::test]
    async fn closing_ends_waiting_workers() {
        let queue = std::sync::Arc::new(Queue::default());
        let waiting = tokio::spawn({
            let queue = queue.clone();
            async move { queue.next().await }
        });
        tokio::task::yield_now().await;
        queue.close();
        assert_eq!(waiting.await.unwrap(), None);
    }
}
