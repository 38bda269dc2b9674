//! What a container has open: accepted connections and requests in flight. A graceful stop waits for none.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Duration, Instant, sleep};

use crate::latency::Latency;
use crate::net::Watched;

/// A client that connected just before a stop may begin to speak for so long.
const FIRST_WORDS_WITHIN: Duration = Duration::from_secs(1);

/// Shared by a container, its sockets and its requests.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    open: AtomicUsize,
    drained: Notify,
    /// Accepted connections and when they were made; those that are gone are swept out when it is full.
    connections: Mutex<Vec<(Instant, Watched)>>,
    pub(crate) requests: AtomicU64,
    pub(crate) errors: AtomicU64,
    pub(crate) latency: Latency,
    /// Nanoseconds from the specification to the start; 0 before.
    started_ns: AtomicU64,
}

/// Held for as long as one connection or request is open.
#[derive(Debug)]
pub(crate) struct Open(Arc<Activity>);

impl Activity {
    pub(crate) fn enter(self: &Arc<Self>) -> Open {
        self.open.fetch_add(1, Ordering::AcqRel);
        Open(self.clone())
    }

    pub(crate) fn watch(&self, connection: Watched) {
        let mut connections = self.connections.lock();
        if connections.len() == connections.capacity() {
            connections.retain(|(_, connection)| !connection.is_gone());
        }
        connections.push((Instant::now(), connection));
    }

    /// Ends the connections on which nothing was said: no request is in flight there. No more may come.
    pub(crate) async fn end_silent(&self) -> Infallible {
        let old = |since: Instant| since.elapsed() >= FIRST_WORDS_WITHIN;
        self.end_silent_if(old);
        sleep(FIRST_WORDS_WITHIN).await;
        self.end_silent_if(|_| true);
        std::future::pending().await
    }

    fn end_silent_if(&self, old: impl Fn(Instant) -> bool) {
        for (_, connection) in self.connections.lock().iter().filter(|(since, _)| old(*since)) {
            connection.end_if_silent();
        }
    }

    /// The container has started, as told to at `begun`.
    pub(crate) fn started(&self, begun: std::time::Instant) {
        let ns = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.started_ns.store(ns.max(1), Ordering::Relaxed);
    }

    pub(crate) fn start_latency(&self) -> Option<Duration> {
        let ns = self.started_ns.load(Ordering::Relaxed);
        (ns > 0).then(|| Duration::from_nanos(ns))
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.open.load(Ordering::Acquire) == 0
    }

    pub(crate) async fn idle(&self) {
        loop {
            let drained = self.drained.notified();
            tokio::pin!(drained);
            drained.as_mut().enable();
            if self.is_idle() {
                return;
            }
            drained.await;
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if self.0.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.drained.notify_waiters();
        }
    }
}
