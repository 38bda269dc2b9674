//! Memory and CPU of a container, shared by all of its instances.
//!
//! Memory: linear memories and tables are charged as they grow, and what the host holds on the guest's behalf at fixed
//! prices: an instance, a handle, a socket, an open file. The charge that would pass the limit ends the container, out of
//! memory. Bytes on their way (streams, datagrams) are charged too, but only make their writers wait or are lost: another
//! sandbox may have sent them. Prices are what the host was seen to need, rounded up.
//!
//! CPU: a token bucket that stops polling a guest in debt; and `fair.rs`, where guests want more than there is.
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

use crate::bounds::Limits;
use crate::fair::{self, Party, Queue};

/// Handles (files, sockets, streams…) an instance may hold at a time.
pub(crate) const HANDLES_MAX: usize = 100_000;
/// Core instances, memories and tables an instance of a component may consist of.
const PARTS_MAX: usize = 1_000;

/// What an instance costs beside its memories: its stack as far as it is touched, its state, its output's buffers.
const INSTANCE_PRICE: u64 = 64 << 10;
/// An entry of an instance's resource table.
const HANDLE_PRICE: u64 = 256;
/// An element of a table.
const ELEMENT_PRICE: u64 = 8;
pub(crate) const SOCKET_PRICE: u64 = 1 << 10;
/// A real socket of the host with its reader's buffer.
pub(crate) const REAL_SOCKET_PRICE: u64 = 64 << 10;
pub(crate) const FILE_PRICE: u64 = 1 << 10;

/// A poll that takes longer may have waited for a processor.
const LONG_POLL: Duration = Duration::from_millis(1);
/// How much unused CPU a container may save up, as time of its limit.
const CPU_PERIOD: Duration = Duration::from_millis(100);

/// A container's memory, CPU and counts.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) limits: Limits,
    memory_used: AtomicU64,
    table_used: AtomicU64,
    sockets: AtomicU64,
    files: AtomicU64,
    out_of_memory: AtomicBool,
    cpu_used_ns: AtomicU64,
    bucket: Option<Mutex<Bucket>>,
    party: Arc<Party>,
}

/// Why one more is not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    Count,
    Memory,
}

impl Account {
    pub(crate) fn new(limits: Limits, party: Arc<Party>) -> Arc<Account> {
        let quota = limits.cpu.quota_millis;
        Arc::new(Account {
            limits,
            memory_used: AtomicU64::new(0),
            table_used: AtomicU64::new(0),
            sockets: AtomicU64::new(0),
            files: AtomicU64::new(0),
            out_of_memory: AtomicBool::new(false),
            cpu_used_ns: AtomicU64::new(0),
            bucket: quota.map(|millis| Mutex::new(Bucket::new(millis.max(1)))),
            party,
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

    fn memory_limit(&self) -> u64 {
        self.limits.memory.bytes.unwrap_or(u64::MAX)
    }

    /// False, and remembered, where the limit would be passed.
    fn charge(&self, bytes: u64) -> bool {
        let charged = add_within(&self.memory_used, bytes, self.memory_limit());
        if !charged {
            self.out_of_memory.store(true, Ordering::Release);
        }
        charged
    }

    /// Charges bytes on their way, which are there already; [`is_full`](Self::is_full) is asked before more are taken.
    pub(crate) fn hold(&self, bytes: usize) {
        self.memory_used.fetch_add(bytes as u64, Ordering::AcqRel);
    }

    pub(crate) fn release(&self, bytes: usize) {
        self.memory_used.fetch_sub(bytes as u64, Ordering::AcqRel);
    }

    fn is_in_debt(&self) -> bool {
        self.bucket.as_ref().is_some_and(|bucket| bucket.lock().wait(Instant::now()).is_some())
    }

    pub(crate) fn is_full(&self) -> bool {
        self.memory_bytes() >= self.memory_limit()
    }

    /// A place for a socket or an outgoing connection.
    pub(crate) fn socket(self: &Arc<Self>) -> Result<Place, Refused> {
        let max = self.limits.counts.sockets;
        self.place(|account| Some(&account.sockets), max, SOCKET_PRICE)
    }

    /// A place for an open file or folder.
    pub(crate) fn file(self: &Arc<Self>) -> Result<Place, Refused> {
        let max = self.limits.counts.files;
        self.place(|account| Some(&account.files), max, FILE_PRICE)
    }

    /// Memory that the host needs for the guest, as long as the place is held.
    pub(crate) fn reserve(self: &Arc<Self>, bytes: u64) -> Result<Place, Refused> {
        self.place(|_| None, 0, bytes)
    }

    fn place(
        self: &Arc<Self>,
        count: fn(&Account) -> Option<&AtomicU64>,
        max: u64,
        price: u64,
    ) -> Result<Place, Refused> {
        if count(self).is_some_and(|count| !add_within(count, 1, max)) {
            return Err(Refused::Count);
        }
        let account = self.clone();
        if !add_within(&self.memory_used, price, self.memory_limit()) {
            // Gives the count back.
            drop(Place { account, count, price: 0 });
            return Err(Refused::Memory);
        }
        Ok(Place { account, count, price })
    }
}

fn add_within(sum: &AtomicU64, more: u64, max: u64) -> bool {
    let added = sum.fetch_update(Ordering::AcqRel, Ordering::Acquire, |sum| {
        sum.checked_add(more).filter(|sum| *sum <= max)
    });
    added.is_ok()
}

/// One of a bounded number, and its price; given back when it drops.
#[derive(Debug)]
pub(crate) struct Place {
    account: Arc<Account>,
    count: fn(&Account) -> Option<&AtomicU64>,
    price: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.account.memory_used.fetch_sub(self.price, Ordering::AcqRel);
        if let Some(count) = (self.count)(&self.account) {
            count.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// One instance's share of the account, given back when it drops.
pub(crate) struct Limiter {
    pub(crate) account: Arc<Account>,
    memory: u64,
    tables: u64,
    handles: u64,
}

impl Limiter {
    pub(crate) fn new(account: Arc<Account>) -> Self {
        Limiter { account, memory: 0, tables: 0, handles: 0 }
    }

    /// Charges what every instance costs, one without a memory, too. An error beyond the limit.
    pub(crate) fn enter(&mut self) -> wasmtime::Result<()> {
        if !self.account.charge(INSTANCE_PRICE) {
            return Err(wasmtime::format_err!(OUT_OF_MEMORY));
        }
        self.memory += INSTANCE_PRICE;
        Ok(())
    }

    /// Bytes of linear memories that are charged, with what the instance costs.
    pub(crate) fn memory(&self) -> u64 {
        self.memory
    }

    /// Charges a resource table of so many entries. Beyond the limit, the guest breaks off at the next epoch.
    pub(crate) fn set_handles(&mut self, count: usize) {
        let price = count as u64 * HANDLE_PRICE;
        if price <= self.handles {
            self.account.memory_used.fetch_sub(self.handles - price, Ordering::AcqRel);
            self.handles = price;
        } else if self.account.charge(price - self.handles) {
            self.handles = price;
        }
    }

    /// An error once the container is out of memory.
    pub(crate) fn check(&self) -> wasmtime::Result<()> {
        match self.account.is_out_of_memory() {
            true => Err(wasmtime::format_err!(OUT_OF_MEMORY)),
            false => Ok(()),
        }
    }
}

const OUT_OF_MEMORY: &str = "memory limit exceeded";

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
            return Err(wasmtime::format_err!(OUT_OF_MEMORY));
        }
        self.memory += grown;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let grown = (desired.saturating_sub(current) as u64).saturating_mul(ELEMENT_PRICE);
        let account = &self.account;
        if !add_within(&account.table_used, grown, account.limits.memory.table_bytes) {
            return Ok(false);
        }
        self.tables += grown;
        if !account.charge(grown) {
            return Err(wasmtime::format_err!(OUT_OF_MEMORY));
        }
        self.memory += grown;
        Ok(true)
    }

    fn instances(&self) -> usize {
        PARTS_MAX
    }

    fn memories(&self) -> usize {
        PARTS_MAX
    }

    fn tables(&self) -> usize {
        PARTS_MAX
    }
}

impl Drop for Limiter {
    fn drop(&mut self) {
        let account = &self.account;
        account.memory_used.fetch_sub(self.memory + self.handles, Ordering::AcqRel);
        account.table_used.fetch_sub(self.tables, Ordering::AcqRel);
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

/// Polls a guest, measures it, and leaves it alone while its container is in debt or others are to run.
pub(crate) struct Metered<F> {
    guest: Pin<Box<F>>,
    account: Arc<Account>,
    pause: Option<Pin<Box<Sleep>>>,
    queue: Queue,
}

impl<F: Future> Metered<F> {
    pub(crate) fn new(guest: F, account: Arc<Account>) -> Self {
        let queue = Queue::new(account.party.clone());
        Metered { guest: Box::pin(guest), account, pause: None, queue }
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
        if this.pause(cx).is_pending() {
            this.queue.leave();
            return Poll::Pending;
        }
        std::task::ready!(this.queue.poll_turn(cx));
        fair::interrupted::take();
        let lap = Lap::begin(this.account.bucket.is_some());
        let polled = this.guest.as_mut().poll(cx);
        let used = lap.end();
        if let Some(bucket) = &this.account.bucket {
            bucket.lock().spend(Instant::now(), used);
        }
        let used_ns = u64::try_from(used.as_nanos()).unwrap_or(u64::MAX);
        this.account.cpu_used_ns.fetch_add(used_ns, Ordering::Relaxed);
        let interrupted = fair::interrupted::take() && polled.is_pending();
        this.queue.ran(used, interrupted.then(|| !this.account.is_in_debt()));
        polled
    }
}

/// A poll on this thread as it is measured. Of polls within polls the innermost alone is: while a container waits for
/// another one that it calls, the time is the other's.
struct Lap {
    /// Whose poll this one is in, and what it had used when this one began.
    outer: Option<(Clock, Duration)>,
}

/// A clock since its reading.
#[derive(Clone, Copy)]
enum Clock {
    /// That of the thread.
    Exact(Duration),
    /// That on the wall, [`corrected`].
    Cheap(Instant),
}

thread_local! {
    /// The innermost poll's clock since it was last begun, and what was used until then.
    static RUNNING: Cell<Option<(Clock, Duration)>> = const { Cell::new(None) };
    /// The thread's time when it was last read, and what [`corrected`] has charged since then.
    static LAST: Cell<(Duration, Duration)> = const { Cell::new((Duration::ZERO, Duration::ZERO)) };
}

impl Clock {
    fn begin(exact: bool) -> Clock {
        match exact {
            true => Clock::Exact(read()),
            false => Clock::Cheap(Instant::now()),
        }
    }

    fn again(self) -> Clock {
        Clock::begin(matches!(self, Clock::Exact(_)))
    }

    fn used(self) -> Duration {
        match self {
            Clock::Exact(begun) => read().saturating_sub(begun),
            Clock::Cheap(begun) => corrected(begun.elapsed()),
        }
    }
}

impl Lap {
    fn begin(exact: bool) -> Lap {
        let outer = RUNNING.take().map(|(clock, before)| (clock, before + clock.used()));
        RUNNING.set(Some((Clock::begin(exact), Duration::ZERO)));
        Lap { outer }
    }

    fn end(self) -> Duration {
        // The outer one goes on as this one drops.
        RUNNING.take().map_or(Duration::ZERO, |(clock, before)| before + clock.used())
    }
}

impl Drop for Lap {
    fn drop(&mut self) {
        RUNNING.set(self.outer.take().map(|(clock, used)| (clock.again(), used)));
    }
}

/// How long this thread has run on a processor.
fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// The thread's time, remembered.
fn read() -> Duration {
    let now = thread_time();
    LAST.set((now, Duration::ZERO));
    now
}

/// The processor time of a poll that took `took`: all of it, or where it was long, no more than the thread has run
/// since it was last asked, less what other polls have been charged since then.
fn corrected(took: Duration) -> Duration {
    let (last, charged) = LAST.get();
    if took < LONG_POLL {
        LAST.set((last, charged + took));
        return took;
    }
    took.min(read().saturating_sub(last).saturating_sub(charged))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounds::{CpuLimits, MemoryLimits};
    use crate::fair::{Group, Turns};

    fn account(bytes: Option<u64>, quota_millis: Option<u64>) -> Arc<Account> {
        let memory = MemoryLimits { bytes, ..MemoryLimits::default() };
        let cpu = CpuLimits { quota_millis, weight_millis: 0 };
        let party = Group::new(&Turns::new(1)).party(0);
        Account::new(Limits { memory, cpu, ..Limits::default() }, party)
    }

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
            let account = account(None, limit);
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

    #[tokio::test]
    async fn the_time_of_a_call_into_another_container_is_the_callees_alone() {
        let spin = |millis| {
            let begun = thread_time();
            while thread_time() - begun < Duration::from_millis(millis) {}
        };
        // The caller's time before, the callee's, the caller's after; in milliseconds.
        for (caller_limit, callee_limit, before, within, after) in [
            (None, None, 20, 40, 20),
            (None, None, 0, 60, 0),
            (None, None, 40, 0, 0),
            (Some(4_000), Some(4_000), 20, 40, 20),
            (Some(4_000), None, 20, 40, 20),
            (None, Some(4_000), 20, 40, 20),
        ] {
            let (caller, callee) = (account(None, caller_limit), account(None, callee_limit));
            // The first long poll tells when the thread's time was read.
            Metered::new(async { spin(2) }, account(None, None)).await;
            let call = async {
                spin(before);
                Metered::new(async { spin(within) }, callee.clone()).await;
                spin(after);
            };
            Metered::new(call, caller.clone()).await;
            let case = format!("{caller_limit:?} {callee_limit:?} {before} {within} {after}");
            for (account, expected) in [(caller, before + after), (callee, within)] {
                let used = account.cpu_time();
                let about = expected.saturating_sub(5)..=expected + 15;
                let used_ms = u64::try_from(used.as_millis()).unwrap();
                assert!(about.contains(&used_ms), "{case}: {used:?}, not {expected} ms");
            }
        }
        assert!(RUNNING.get().is_none());
    }

    #[test]
    fn memory_is_shared_by_instances_and_given_back() {
        let account = account(Some(100), None);
        let mut one = Limiter::new(account.clone());
        let mut two = Limiter::new(account.clone());
        assert!(one.memory_growing(0, 60, None).unwrap());
        assert!(two.memory_growing(0, 60, None).is_err());
        assert!(account.is_out_of_memory());
        drop(one);
        assert_eq!(account.memory_bytes(), 0);
        assert!(two.memory_growing(0, 60, None).unwrap());
    }

    #[test]
    fn tables_are_bounded_and_charged() {
        let account = account(Some(1 << 30), None);
        let mut limiter = Limiter::new(account.clone());
        assert!(limiter.table_growing(0, 1000, None).unwrap());
        assert_eq!(account.memory_bytes(), 8000);
        let most = account.limits.memory.table_bytes / ELEMENT_PRICE;
        assert!(!limiter.table_growing(1000, most as usize + 1, None).unwrap());
        assert!(!account.is_out_of_memory());
        drop(limiter);
        assert_eq!(account.memory_bytes(), 0);
    }

    #[test]
    fn handles_are_charged_as_they_come_and_go() {
        let account = account(Some(HANDLE_PRICE * 10), None);
        let mut limiter = Limiter::new(account.clone());
        limiter.set_handles(8);
        limiter.set_handles(3);
        assert_eq!(account.memory_bytes(), HANDLE_PRICE * 3);
        assert!(limiter.check().is_ok());
        limiter.set_handles(11);
        assert!(limiter.check().is_err());
        drop(limiter);
        assert_eq!(account.memory_bytes(), 0);
    }

    #[test]
    fn a_place_refused_costs_nothing() {
        let account = account(Some(SOCKET_PRICE), None);
        let held = account.socket().unwrap();
        assert_eq!(account.socket().unwrap_err(), Refused::Memory);
        assert_eq!(account.sockets.load(Ordering::Relaxed), 1);
        assert!(!account.is_out_of_memory());
        drop(held);
        assert!(account.socket().is_ok());
        assert_eq!(account.memory_bytes(), 0);
    }
}
