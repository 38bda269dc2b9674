//! Memory and CPU of a container, shared by all of its instances.
//!
//! Memory: linear memories are charged as they grow; the growth that would pass the limit traps, and the container is
//! out of memory. Host-side handles are bounded by number. CPU: a token bucket that stops polling a guest in debt.
//!
//! A container with a CPU limit is charged the time that the thread has really run, read before and after each poll.
//! Reading it is a system call, too dear for a request of a few microseconds; of a container without a limit, a short
//! poll counts as long as it took, and only a long one is corrected for the time in which the thread had to wait.
//! A poll is never very long, because a running guest yields at each epoch.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, Sleep};
use wasmtime::ResourceLimiter;

/// Handles (files, sockets, streams…) an instance may hold at a time: what bounds the host's memory for it.
pub(crate) const HANDLES_MAX: usize = 100_000;
/// Elements of a table: enough for any language's function table, far from exhausting the host.
const TABLE_ELEMENTS_MAX: usize = 1_000_000;
/// A poll that takes longer may have waited for a processor.
const LONG_POLL: Duration = Duration::from_millis(1);
/// How much unused CPU a container may save up, as time of its limit.
const CPU_PERIOD: Duration = Duration::from_millis(100);

/// A container's memory and CPU.
#[derive(Debug)]
pub(crate) struct Account {
    memory_limit: u64,
    memory_used: AtomicU64,
    out_of_memory: AtomicBool,
    cpu_used_ns: AtomicU64,
    bucket: Option<Mutex<Bucket>>,
}

impl Account {
    pub(crate) fn new(memory_limit: Option<u64>, cpu_limit_millis: Option<u64>) -> Arc<Account> {
        Arc::new(Account {
            memory_limit: memory_limit.unwrap_or(u64::MAX),
            memory_used: AtomicU64::new(0),
            out_of_memory: AtomicBool::new(false),
            cpu_used_ns: AtomicU64::new(0),
            bucket: cpu_limit_millis.map(|millis| Mutex::new(Bucket::new(millis.max(1)))),
        })
    }

    pub(crate) fn memory_bytes(&self) -> u64 {
        self.memory_used.load(Ordering::Relaxed)
    }

    pub(crate) fn is_out_of_memory(&self) -> bool {
        self.out_of_memory.load(Ordering::Acquire)
    }

    pub(crate) fn cpu_time(&self) -> Duration {
        Duration::from_nanos(self.cpu_used_ns.load(Ordering::Relaxed))
    }

    /// False, and remembered, where the limit would be passed.
    fn charge(&self, bytes: u64) -> bool {
        let charged = self.memory_used.fetch_update(Ordering::AcqRel, Ordering::Acquire, |used| {
            used.checked_add(bytes).filter(|sum| *sum <= self.memory_limit)
        });
        if charged.is_err() {
            self.out_of_memory.store(true, Ordering::Release);
        }
        charged.is_ok()
    }
}

/// One instance's share of the account, given back when it drops.
pub(crate) struct Limiter {
    account: Arc<Account>,
    charged: u64,
}

impl Limiter {
    pub(crate) fn new(account: Arc<Account>) -> Self {
        Limiter { account, charged: 0 }
    }
}

impl ResourceLimiter for Limiter {
    /// An error traps at once; `false` would leave the guest to abort in a way that nobody can tell from a bug.
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let grown = desired.saturating_sub(current) as u64;
        if !self.account.charge(grown) {
            return Err(wasmtime::format_err!("memory limit exceeded"));
        }
        self.charged += grown;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let maximum = maximum.unwrap_or(usize::MAX).min(TABLE_ELEMENTS_MAX);
        Ok(desired <= maximum)
    }
}

impl Drop for Limiter {
    fn drop(&mut self) {
        self.account.memory_used.fetch_sub(self.charged, Ordering::AcqRel);
    }
}

/// Tokens are nanoseconds of CPU; below zero is debt.
#[derive(Debug)]
struct Bucket {
    millis: u64,
    tokens_ns: i64,
    filled: Instant,
}

impl Bucket {
    fn new(millis: u64) -> Self {
        let mut bucket = Bucket { millis, tokens_ns: 0, filled: Instant::now() };
        bucket.tokens_ns = bucket.capacity_ns();
        bucket
    }

    fn capacity_ns(&self) -> i64 {
        share(CPU_PERIOD, self.millis)
    }

    fn spend(&mut self, now: Instant, used: Duration) {
        self.fill(now);
        self.tokens_ns =
            self.tokens_ns.saturating_sub(i64::try_from(used.as_nanos()).unwrap_or(i64::MAX));
    }

    fn fill(&mut self, now: Instant) {
        let earned = share(now.saturating_duration_since(self.filled), self.millis);
        self.filled = now;
        self.tokens_ns = self.tokens_ns.saturating_add(earned).min(self.capacity_ns());
    }

    /// How long until the debt is paid.
    fn wait(&mut self, now: Instant) -> Option<Duration> {
        self.fill(now);
        let debt = u64::try_from(-self.tokens_ns).ok().filter(|debt| *debt > 0)?;
        let wait = u128::from(debt) * 1000 / u128::from(self.millis);
        Some(Duration::from_nanos(u64::try_from(wait).unwrap_or(u64::MAX)))
    }
}

/// The CPU that `millis` thousandths of a core give in `time`.
fn share(time: Duration, millis: u64) -> i64 {
    let share = time.as_nanos().saturating_mul(u128::from(millis)) / 1000;
    i64::try_from(share).unwrap_or(i64::MAX)
}

/// Polls a guest, measures it, and leaves it alone while its container is in debt.
pub(crate) struct Metered<F> {
    guest: Pin<Box<F>>,
    account: Arc<Account>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl<F: Future> Metered<F> {
    pub(crate) fn new(guest: F, account: Arc<Account>) -> Self {
        Metered { guest: Box::pin(guest), account, pause: None }
    }

    fn pause(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(bucket) = &self.account.bucket else {
            return Poll::Ready(());
        };
        loop {
            if let Some(pause) = &mut self.pause {
                std::task::ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            let Some(wait) = bucket.lock().wait(Instant::now()) else {
                return Poll::Ready(());
            };
            self.pause = Some(Box::pin(tokio::time::sleep(wait)));
        }
    }
}

impl<F: Future> Future for Metered<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        std::task::ready!(this.pause(cx));
        let guest = this.guest.as_mut();
        let (polled, used) = match &this.account.bucket {
            Some(bucket) => {
                let begun = thread_time();
                let polled = guest.poll(cx);
                let used = thread_time().saturating_sub(begun);
                bucket.lock().spend(Instant::now(), used);
                (polled, used)
            }
            None => {
                let begun = Instant::now();
                let polled = guest.poll(cx);
                (polled, corrected(begun.elapsed()))
            }
        };
        let used_ns = u64::try_from(used.as_nanos()).unwrap_or(u64::MAX);
        this.account.cpu_used_ns.fetch_add(used_ns, Ordering::Relaxed);
        polled
    }
}

/// How long this thread has run on a processor.
fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// The processor time of a poll that took `took`: all of it, or where it was long, no more than the thread has run
/// since it was last asked, less what other polls have been charged since then.
fn corrected(took: Duration) -> Duration {
    thread_local! {
        /// The thread's time when it was last read, and what was charged since then.
        static LAST: Cell<(Duration, Duration)> = const { Cell::new((Duration::ZERO, Duration::ZERO)) };
    }
    let (read, charged) = LAST.get();
    if took < LONG_POLL {
        LAST.set((read, charged + took));
        return took;
    }
    let now = thread_time();
    LAST.set((now, Duration::ZERO));
    took.min(now.saturating_sub(read).saturating_sub(charged))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_in_debt_waits_in_proportion_to_the_limit() {
        let begun = Instant::now();
        let mut bucket = Bucket::new(100);
        assert_eq!(bucket.wait(begun), None);
        // The saved-up 10 ms are spent, and 5 ms more: at a tenth of a core that is paid in 50 ms.
        bucket.spend(begun, Duration::from_millis(15));
        assert_eq!(bucket.wait(begun), Some(Duration::from_millis(50)));
        assert_eq!(bucket.wait(begun + Duration::from_millis(50)), None);
    }

    #[tokio::test]
    async fn waiting_for_a_processor_is_not_charged() {
        // A thread that sleeps inside a poll is off the processor, as one is that others have pushed aside.
        let wait = || std::thread::sleep(Duration::from_millis(30));
        for limit in [Some(1000), None] {
            let account = Account::new(None, limit);
            // The first long poll tells when the thread's time was read.
            for _ in 0..2 {
                Metered::new(async { wait() }, account.clone()).await;
            }
            assert!(
                account.cpu_time() < Duration::from_millis(40),
                "{limit:?}: {:?}",
                account.cpu_time()
            );
            let spin = async {
                let begun = thread_time();
                while thread_time() - begun < Duration::from_millis(20) {}
            };
            let before = account.cpu_time();
            Metered::new(spin, account.clone()).await;
            assert!(account.cpu_time() - before >= Duration::from_millis(15), "{limit:?}");
        }
    }

    #[test]
    fn memory_is_shared_by_instances_and_given_back() {
        let account = Account::new(Some(100), None);
        let mut one = Limiter::new(account.clone());
        let mut two = Limiter::new(account.clone());
        assert!(one.memory_growing(0, 60, None).unwrap());
        assert!(two.memory_growing(0, 60, None).is_err());
        assert!(account.is_out_of_memory());
        drop(one);
        assert_eq!(account.memory_bytes(), 0);
        assert!(two.memory_growing(0, 60, None).unwrap());
    }
}
