//! Keeps one of the guests' threads awake while containers start in quick succession.
//!
//! To wake a sleeping thread takes several times as long as to start a container. So where two starts came shortly after
//! one another, a thread stays awake for as long again, in case of a third, as a hypervisor does with a halted processor.
//! A start that comes alone costs nothing more than before.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

/// What counts as shortly after one another, and how long a thread stays awake for nothing.
const SUCCESSION: Duration = Duration::from_micros(100);

pub(crate) struct Awake {
    epoch: Instant,
    /// When something was last started, in nanoseconds since `epoch`.
    last_ns: AtomicU64,
    lingering: AtomicBool,
}

impl Awake {
    pub(crate) fn new() -> Arc<Awake> {
        Arc::new(Awake {
            epoch: Instant::now(),
            last_ns: AtomicU64::new(0),
            lingering: AtomicBool::new(false),
        })
    }

    /// To be called when something has been handed to the guests' threads.
    pub(crate) fn started(self: &Arc<Self>, guests: &Handle) {
        let now = self.now_ns();
        let before = self.last_ns.swap(now, Ordering::AcqRel);
        if is_over(before, now) || self.lingering.swap(true, Ordering::AcqRel) {
            return;
        }
        let awake = self.clone();
        guests.spawn(async move {
            while !is_over(awake.last_ns.load(Ordering::Acquire), awake.now_ns()) {
                // Another thread may have taken the work, and wait for this one's processor.
                std::thread::yield_now();
                // Looks for new work; where there is some, it goes first.
                tokio::task::yield_now().await;
            }
            awake.lingering.store(false, Ordering::Release);
        });
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

fn is_over(since_ns: u64, now_ns: u64) -> bool {
    u128::from(now_ns.saturating_sub(since_ns)) > SUCCESSION.as_nanos()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_thread_lingers_after_two_starts_and_not_for_long() {
        let guests = Handle::current();
        // The last start lies further back than any succession.
        let awake = Arc::new(Awake {
            epoch: Instant::now() - SUCCESSION * 2,
            last_ns: AtomicU64::new(0),
            lingering: AtomicBool::new(false),
        });
        awake.started(&guests);
        assert!(!awake.lingering.load(Ordering::Acquire));
        let deadline = Instant::now() + Duration::from_secs(20);
        while !awake.lingering.load(Ordering::Acquire) {
            assert!(Instant::now() < deadline, "two starts in succession");
            awake.started(&guests);
            awake.started(&guests);
        }
        while awake.lingering.load(Ordering::Acquire) {
            assert!(Instant::now() < deadline, "no more starts");
            tokio::task::yield_now().await;
        }
    }
}
