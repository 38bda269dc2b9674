//! The pods that wait for a node: by priority, then by age; those that did not fit rest until
//! something changes, and back off as upstream's do (1 s doubling to 10 s). Pure: `now` comes in.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use super::snapshot::PodInfo;

const BACKOFF_FIRST: Duration = Duration::from_secs(1);
const BACKOFF_LAST: Duration = Duration::from_secs(10);
/// A pod that did not fit is tried again after so long, even if nothing was seen to change.
const REST: Duration = Duration::from_secs(5 * 60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// To be planned as soon as it is its turn.
    Active,
    /// Did not fit or could not be bound; active again at this instant.
    BackingOff(Instant),
    /// Did not fit; waits for a change, or for this instant.
    Resting(Instant),
}

struct Entry {
    pod: PodInfo,
    state: State,
    attempts: u32,
    last_attempt: Option<Instant>,
    order: Order,
}

/// Higher priority first, then first come.
type Order = (Reverse<i32>, u64);

/// See the module's documentation.
#[derive(Default)]
pub struct Queue {
    entries: HashMap<String, Entry>,
    active: BTreeMap<Order, String>,
    arrivals: u64,
    /// No waiting entry is due before this instant: spares the look at every one.
    quiet_until: Option<Instant>,
}

impl Queue {
    /// A pod without a node was seen. One already known is refreshed, and planned again when its
    /// spec has changed (a status written by ourselves changes nothing).
    pub fn add(&mut self, pod: PodInfo) {
        let uid = pod.uid().to_owned();
        if let Some(entry) = self.entries.get_mut(&uid) {
            let changed = entry.pod.pod.spec != pod.pod.spec;
            entry.pod = pod;
            if changed {
                self.activate(&uid);
            }
            return;
        }
        self.arrivals += 1;
        let order = (Reverse(pod.priority), self.arrivals);
        self.active.insert(order, uid.clone());
        let entry = Entry { pod, state: State::Active, attempts: 0, last_attempt: None, order };
        self.entries.insert(uid, entry);
    }

    /// The pod has a node, or is gone.
    pub fn remove(&mut self, uid: &str) {
        if let Some(entry) = self.entries.remove(uid) {
            self.active.remove(&entry.order);
        }
        if self.entries.is_empty() {
            self.quiet_until = None;
        }
    }

    /// The next pod to plan. It stays known until it is removed or has failed.
    pub fn pop(&mut self, now: Instant) -> Option<PodInfo> {
        self.wake_due(now);
        let (_, uid) = self.active.pop_first()?;
        let entry = self.entries.get_mut(&uid)?;
        entry.attempts += 1;
        entry.last_attempt = Some(now);
        let pod = entry.pod.clone();
        // Until the answer comes the entry rests; a lost answer would be tried again.
        self.wait(&uid, State::Resting(now + REST), now + REST);
        Some(pod)
    }

    /// The pod fits nowhere now: it rests until the cluster changes.
    pub fn unschedulable(&mut self, uid: &str, now: Instant) {
        self.wait(uid, State::Resting(now + REST), now + REST);
    }

    /// Binding failed: try again after the back-off.
    pub fn failed(&mut self, uid: &str, now: Instant) {
        if let Some(attempts) = self.entries.get(uid).map(|entry| entry.attempts) {
            let until = now + backoff(attempts);
            self.wait(uid, State::BackingOff(until), until);
        }
    }

    /// The cluster changed in a way that may make room.
    pub fn wake_all(&mut self, now: Instant) {
        let resting: Vec<String> = self
            .entries
            .iter()
            .filter(|(_, entry)| matches!(entry.state, State::Resting(_)))
            .map(|(uid, _)| uid.clone())
            .collect();
        for uid in resting {
            let Some(entry) = self.entries.get(&uid) else { continue };
            let until = entry.last_attempt.map_or(now, |last| last + backoff(entry.attempts));
            if until <= now {
                self.activate(&uid);
            } else {
                self.wait(&uid, State::BackingOff(until), until);
            }
        }
    }

    /// Whether a pod waits to be planned now.
    pub fn has_active(&self) -> bool {
        !self.active.is_empty()
    }

    /// When to look again if nothing happens before.
    pub fn next_wake(&self) -> Option<Instant> {
        self.quiet_until
    }

    /// Wakes the pods whose time has come.
    pub fn wake_due(&mut self, now: Instant) {
        if self.quiet_until.is_none_or(|quiet| now < quiet) {
            return;
        }
        let waits = |entry: &Entry| match entry.state {
            State::Active => None,
            State::BackingOff(until) | State::Resting(until) => Some(until),
        };
        let due: Vec<String> = self
            .entries
            .iter()
            .filter(|(_, entry)| waits(entry).is_some_and(|until| until <= now))
            .map(|(uid, _)| uid.clone())
            .collect();
        for uid in due {
            self.activate(&uid);
        }
        self.quiet_until = self.entries.values().filter_map(waits).min();
    }

    fn wait(&mut self, uid: &str, state: State, until: Instant) {
        if let Some(entry) = self.entries.get_mut(uid) {
            entry.state = state;
            self.active.remove(&entry.order);
            self.quiet_until = Some(self.quiet_until.map_or(until, |quiet| quiet.min(until)));
        }
    }

    fn activate(&mut self, uid: &str) {
        if let Some(entry) = self.entries.get_mut(uid) {
            entry.state = State::Active;
            self.active.insert(entry.order, uid.to_owned());
        }
    }
}

fn backoff(attempts: u32) -> Duration {
    let doublings = attempts.saturating_sub(1).min(4);
    (BACKOFF_FIRST * 2_u32.pow(doublings)).min(BACKOFF_LAST)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn pod(uid: &str, priority: i32) -> PodInfo {
        let pod = serde_json::json!({
            "metadata": {"name": uid, "uid": uid},
            "spec": {"containers": [], "priority": priority},
        });
        PodInfo::new(Arc::new(serde_json::from_value(pod).expect("a pod")))
    }

    fn popped(queue: &mut Queue, now: Instant) -> Vec<String> {
        std::iter::from_fn(|| queue.pop(now)).map(|pod| pod.uid().to_owned()).collect()
    }

    #[test]
    fn higher_priority_goes_first_then_age() {
        let mut queue = Queue::default();
        for (uid, priority) in [("a", 0), ("b", 10), ("c", 0), ("d", 10)] {
            queue.add(pod(uid, priority));
        }
        assert_eq!(popped(&mut queue, Instant::now()), ["b", "d", "a", "c"]);
    }

    #[test]
    fn a_pod_that_did_not_fit_waits_for_a_change_and_its_backoff() {
        let mut queue = Queue::default();
        let start = Instant::now();
        queue.add(pod("a", 0));
        assert_eq!(popped(&mut queue, start), ["a"]);
        queue.unschedulable("a", start);
        assert!(popped(&mut queue, start + Duration::from_secs(60)).is_empty());
        queue.wake_all(start + Duration::from_millis(500));
        assert!(popped(&mut queue, start + Duration::from_millis(900)).is_empty());
        assert_eq!(popped(&mut queue, start + Duration::from_millis(1000)), ["a"]);
    }

    #[test]
    fn a_pod_rests_at_most_five_minutes() {
        let mut queue = Queue::default();
        let start = Instant::now();
        queue.add(pod("a", 0));
        popped(&mut queue, start);
        queue.unschedulable("a", start);
        assert_eq!(queue.next_wake(), Some(start + REST));
        assert_eq!(popped(&mut queue, start + REST), ["a"]);
    }

    #[test]
    fn a_removed_pod_is_not_planned() {
        let mut queue = Queue::default();
        queue.add(pod("a", 0));
        queue.remove("a");
        assert!(popped(&mut queue, Instant::now()).is_empty());
        assert_eq!(queue.next_wake(), None);
    }
}
