//! Instances that serve more than one request: those at rest, each until it has served its number or reached its age.
//!
//! This module runs no guest. An instance is out while it serves, so that no request meets another's.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Lets the instances of an HTTP component serve again. What one request leaves in its instance, the next one finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reuse {
    /// Requests that an instance serves before it is dropped; at least one.
    pub requests: u32,
    /// How long after it was made an instance may still begin to serve. One at rest is dropped then.
    pub age: Duration,
}

impl Default for Reuse {
    fn default() -> Self {
        Reuse { requests: 1_000, age: Duration::from_secs(60) }
    }
}

/// An instance and what it has behind it.
pub(crate) struct Used<T> {
    pub(crate) what: T,
    born: Instant,
    served: u32,
}

impl<T> Used<T> {
    pub(crate) fn new(what: T) -> Self {
        Used { what, born: Instant::now(), served: 0 }
    }
}

/// The instances at rest of one container. The last one put is the first one taken: its memory is in the caches, and
/// those that a burst left behind come of age.
pub(crate) struct Warm<T> {
    reuse: Reuse,
    resting: Arc<Mutex<Resting<T>>>,
}

struct Resting<T> {
    /// In the order in which they were put.
    instances: Vec<Used<T>>,
    /// A task waits for the eldest to come of age.
    watched: bool,
    /// The container has ended: nothing rests any more.
    closed: bool,
}

impl<T: Send + 'static> Warm<T> {
    pub(crate) fn new(reuse: Reuse) -> Self {
        let resting = Resting { instances: Vec::new(), watched: false, closed: false };
        Warm { reuse, resting: Arc::new(Mutex::new(resting)) }
    }

    pub(crate) fn take(&self) -> Option<Used<T>> {
        while let Some(instance) = self.pop() {
            if instance.born.elapsed() < self.reuse.age {
                return Some(instance);
            }
        }
        None
    }

    fn pop(&self) -> Option<Used<T>> {
        self.resting.lock().instances.pop()
    }

    /// Keeps an instance that has served once more, where it may serve again; until `ended`.
    pub(crate) fn put(&self, mut used: Used<T>, guests: &Handle, ended: &CancellationToken) {
        used.served += 1;
        if used.served >= self.reuse.requests || used.born.elapsed() >= self.reuse.age {
            return;
        }
        let mut resting = self.resting.lock();
        if resting.closed {
            return;
        }
        resting.instances.push(used);
        if !resting.watched {
            resting.watched = true;
            let (age, ended) = (self.reuse.age, ended.clone());
            guests.spawn(watch(self.resting.clone(), age, ended));
        }
    }
}

/// Drops instances as they come of age, until none rests, and all of them when the container ends.
async fn watch<T>(resting: Arc<Mutex<Resting<T>>>, age: Duration, ended: CancellationToken) {
    loop {
        let (next, old) = {
            let mut resting = resting.lock();
            let is_old = |instance: &mut Used<T>| instance.born.elapsed() >= age;
            let old: Vec<_> = resting.instances.extract_if(.., is_old).collect();
            let next = resting.instances.iter().map(|instance| instance.born + age).min();
            resting.watched = next.is_some();
            (next, old)
        };
        // Outside the lock: to drop an instance takes a while.
        drop(old);
        let Some(next) = next else { return };
        tokio::select! {
            biased;
            () = ended.cancelled() => {
                let instances = {
                    let mut resting = resting.lock();
                    resting.closed = true;
                    std::mem::take(&mut resting.instances)
                };
                drop(instances);
                return;
            }
            () = tokio::time::sleep_until(next) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warm(requests: u32, age: Duration) -> (Warm<u32>, Handle, CancellationToken) {
        let warm = Warm::new(Reuse { requests, age });
        (warm, Handle::current(), CancellationToken::new())
    }

    async fn until(condition: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !condition() {
            assert!(Instant::now() < deadline, "not within 20 s");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    #[tokio::test]
    async fn an_instance_serves_its_number_of_requests() {
        let (warm, guests, ended) = warm(3, Duration::from_secs(600));
        let mut instance = Used::new(7);
        for _ in 0..2 {
            warm.put(instance, &guests, &ended);
            instance = warm.take().unwrap();
        }
        warm.put(instance, &guests, &ended);
        assert!(warm.take().is_none());
    }

    #[tokio::test]
    async fn an_instance_at_rest_is_dropped_at_its_age() {
        let (warm, guests, ended) = warm(100, Duration::from_millis(20));
        // The watch ends with the last instance, and begins anew with the next.
        for nth in 0..2 {
            warm.put(Used::new(nth), &guests, &ended);
            until(|| warm.resting.lock().instances.is_empty()).await;
        }
        let old = Used { what: 3, born: Instant::now() - Duration::from_secs(1), served: 0 };
        warm.resting.lock().instances.push(old);
        assert!(warm.take().is_none());
    }

    #[tokio::test]
    async fn nothing_rests_once_the_container_has_ended() {
        let (warm, guests, ended) = warm(100, Duration::from_secs(600));
        warm.put(Used::new(1), &guests, &ended);
        ended.cancel();
        until(|| warm.resting.lock().closed).await;
        assert!(warm.take().is_none());
        warm.put(Used::new(2), &guests, &ended);
        assert!(warm.take().is_none());
    }
}
