//! Keeps one of the guests' threads awake while containers start in quick succession.
//!
//! To wake a sleeping thread takes several times as long as to start a container. So where two starts came shortly after
//! one another, the thread that ran the second stays awake for as long again, in case of a third, as a hypervisor does
//! with a halted processor, and is handed the third directly, past the executor's queues: those would wake another thread
//! for it, which would contend for the same processors. A start that comes alone costs nothing more than before.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::runtime::Handle;

/// What counts as shortly after one another, and how long a thread stays awake for nothing.
const SUCCESSION: Duration = Duration::from_micros(200);

/// How long one task runs guests after one another. What they have woken meanwhile may lie where only the executor's thread
/// itself finds it, once the task is done.
const TASK_MAX: Duration = Duration::from_millis(1);

type Guest<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// `T` is what a guest leaves: once dropped, others know that the guest has ended, and may start the next.
pub(crate) struct Awake<T> {
    /// Whether a thread may stay awake at all: a machine's only processor has better to do.
    enabled: bool,
    epoch: Instant,
    /// When something was last started, in nanoseconds since `epoch`.
    last_ns: AtomicU64,
    seat: Mutex<Seat<T>>,
    /// Changed with `seat` locked; looked at without the lock.
    handed: AtomicBool,
}

/// Of the one thread that stays awake.
enum Seat<T> {
    /// Nobody stays awake.
    Free,
    /// A thread runs a guest, and will wait for the next.
    Busy,
    /// A thread waits for a guest.
    Waiting,
    /// It has been given one.
    Handed(Guest<T>),
}

impl<T> Awake<T> {
    pub(crate) fn new(processors: usize) -> Arc<Awake<T>> {
        Arc::new(Awake {
            enabled: processors > 1,
            epoch: Instant::now(),
            last_ns: AtomicU64::new(0),
            seat: Mutex::new(Seat::Free),
            handed: AtomicBool::new(false),
        })
    }

    /// Runs `guest` on the guests' threads.
    pub(crate) fn start<F>(self: &Arc<Self>, guests: &Handle, guest: F)
    where
        F: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        let now = self.now_ns();
        let before = self.last_ns.swap(now, Ordering::AcqRel);
        let mut seat = self.seat.lock();
        match *seat {
            Seat::Waiting => {
                *seat = Seat::Handed(Box::pin(guest));
                self.handed.store(true, Ordering::Release);
            }
            Seat::Free if self.enabled && !is_over(SUCCESSION, before, now) => {
                *seat = Seat::Busy;
                drop(seat);
                guests.spawn(stay(Thread(self.clone()), Some(Box::pin(guest))));
            }
            Seat::Free | Seat::Busy | Seat::Handed(_) => {
                drop(seat);
                guests.spawn(guest);
            }
        }
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

fn is_over(time: Duration, since_ns: u64, now_ns: u64) -> bool {
    u128::from(now_ns.saturating_sub(since_ns)) > time.as_nanos()
}

/// The thread that stays awake: holds the seat, and leaves it when dropped.
struct Thread<T: Send + 'static>(Arc<Awake<T>>);

impl<T: Send + 'static> Thread<T> {
    /// Waits, awake, for the next guest; `None` where none has come in time.
    /// Drops what the last one `left` when it waits, and no sooner: the next may come at once.
    fn next(&self, left: Option<T>) -> Option<Guest<T>> {
        let awake = &self.0;
        *awake.seat.lock() = Seat::Waiting;
        drop(left);
        while !awake.handed.load(Ordering::Acquire)
            && !is_over(SUCCESSION, awake.last_ns.load(Ordering::Acquire), awake.now_ns())
        {
            // Whoever would start the next guest may wait for this very processor.
            std::thread::yield_now();
        }
        let mut seat = awake.seat.lock();
        awake.handed.store(false, Ordering::Release);
        match std::mem::replace(&mut *seat, Seat::Busy) {
            Seat::Handed(guest) => Some(guest),
            Seat::Free | Seat::Busy | Seat::Waiting => None,
        }
    }
}

impl<T: Send + 'static> Drop for Thread<T> {
    fn drop(&mut self) {
        let mut seat = self.0.seat.lock();
        let left = std::mem::replace(&mut *seat, Seat::Free);
        self.0.handed.store(false, Ordering::Release);
        drop(seat);
        // What the last guest left may have panicked when the next one had come.
        if let Seat::Handed(guest) = left
            && let Ok(guests) = Handle::try_current()
        {
            guests.spawn(guest);
        }
    }
}

/// Runs guests for as long as they come in quick succession.
fn stay<T: Send + 'static>(thread: Thread<T>, first: Option<Guest<T>>) -> Guest<()> {
    Box::pin(async move {
        let begun = thread.0.now_ns();
        let mut next = first.or_else(|| thread.next(None));
        while let Some(mut guest) = next {
            let Poll::Ready(left) =
                poll_fn(|context| Poll::Ready(guest.as_mut().poll(context))).await
            else {
                // The guest keeps this task; the thread stays in another.
                tokio::spawn(stay(thread, None));
                guest.await;
                return;
            };
            next = thread.next(Some(left));
            if next.is_some() && is_over(TASK_MAX, begun, thread.0.now_ns()) {
                tokio::spawn(stay(thread, next));
                return;
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::thread::ThreadId;

    use tokio::sync::mpsc;

    /// The last start lies further back than any succession.
    fn rested<T>() -> Arc<Awake<T>> {
        Arc::new(Awake {
            enabled: true,
            epoch: Instant::now() - SUCCESSION * 2,
            last_ns: AtomicU64::new(0),
            seat: Mutex::new(Seat::Free),
            handed: AtomicBool::new(false),
        })
    }

    fn is_free<T>(awake: &Awake<T>) -> bool {
        matches!(*awake.seat.lock(), Seat::Free)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 3)]
    async fn a_thread_stays_after_two_starts_and_not_for_long() {
        let (guests, awake) = (Handle::current(), rested::<()>());
        awake.start(&guests, async {});
        assert!(is_free(&awake), "a start that comes alone");
        let deadline = Instant::now() + Duration::from_secs(20);
        while is_free(&awake) {
            assert!(Instant::now() < deadline, "two starts in succession");
            awake.start(&guests, async {});
            awake.start(&guests, async {});
        }
        while !is_free(&awake) {
            assert!(Instant::now() < deadline, "no more starts");
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 3)]
    async fn starts_in_succession_share_a_thread_and_none_is_lost() {
        let (guests, awake) = (Handle::current(), rested::<()>());
        let (ran, mut runs) = mpsc::unbounded_channel::<(ThreadId, bool)>();
        let mut succession = 0;
        let mut last = None;
        for nth in 0..10_000 {
            let ran = ran.clone();
            // Some end at once, some wait for something first.
            let waits = nth % 3 == 0;
            awake.start(&guests, async move {
                let thread = std::thread::current().id();
                if waits {
                    tokio::task::yield_now().await;
                }
                _ = ran.send((thread, waits));
            });
            let (thread, waited) = runs.recv().await.expect("each guest runs");
            assert_eq!(waited, waits);
            succession += u32::from(last.replace(thread) == Some(thread));
        }
        assert!(succession > 0);
    }

    /// Starts the next guest when it is dropped, so that no moment lies between one and the next.
    struct Relay {
        awake: Arc<Awake<Relay>>,
        nth: u32,
        woken: mpsc::UnboundedSender<u32>,
        ended: mpsc::UnboundedSender<()>,
    }

    impl Relay {
        const WAKES: u32 = 100;
        /// A second's worth.
        const GUESTS: u32 = 50_000;

        async fn run(mut self) -> Relay {
            if self.nth == Relay::WAKES {
                let woken = self.woken.clone();
                tokio::spawn(async move { woken.send(Relay::WAKES) });
            }
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_micros(20) {
                std::hint::spin_loop();
            }
            self.nth += 1;
            self
        }
    }

    impl Drop for Relay {
        fn drop(&mut self) {
            if self.nth == Relay::GUESTS || self.ended.is_closed() {
                _ = self.woken.send(Relay::GUESTS);
                return;
            }
            let Relay { awake, nth, woken, ended } = &*self;
            let (awake, woken, ended) = (awake.clone(), woken.clone(), ended.clone());
            let next = Relay { awake, nth: *nth, woken, ended };
            self.awake.start(&Handle::current(), next.run());
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 3)]
    async fn what_a_guest_wakes_does_not_wait_for_the_end_of_a_succession() {
        let (woken, mut events) = mpsc::unbounded_channel();
        let (ended, until_ended) = mpsc::unbounded_channel();
        drop(Relay { awake: rested(), nth: 0, woken, ended });
        assert_eq!(events.recv().await, Some(Relay::WAKES), "the one that was woken came last");
        drop(until_ended);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 3)]
    async fn a_guest_that_panics_leaves_the_seat() {
        let (guests, awake) = (Handle::current(), rested::<()>());
        let deadline = Instant::now() + Duration::from_secs(20);
        while is_free(&awake) {
            assert!(Instant::now() < deadline, "two starts in succession");
            awake.start(&guests, async {});
            awake.start(&guests, async { panic!("a defect of ours, on purpose") });
        }
        while !is_free(&awake) {
            assert!(Instant::now() < deadline, "the seat is left");
            tokio::task::yield_now().await;
        }
    }

    /// Starts another guest when it is dropped, and then panics.
    struct Fatal(Option<(Arc<Awake<Fatal>>, mpsc::UnboundedSender<()>)>);

    impl Drop for Fatal {
        fn drop(&mut self) {
            if let Some((awake, ran)) = self.0.take() {
                awake.start(&Handle::current(), async move {
                    _ = ran.send(());
                    Fatal(None)
                });
                panic!("a defect of ours, on purpose");
            }
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 3)]
    async fn a_guest_that_comes_amid_a_panic_runs() {
        let (guests, awake) = (Handle::current(), rested::<Fatal>());
        let (ran, mut runs) = mpsc::unbounded_channel();
        for _ in 0..100 {
            let left = Fatal(Some((awake.clone(), ran.clone())));
            awake.start(&guests, async { Fatal(None) });
            awake.start(&guests, async move { left });
            let run = tokio::time::timeout(Duration::from_secs(20), runs.recv()).await;
            assert_eq!(run, Ok(Some(())), "lost");
        }
    }

    #[tokio::test]
    async fn the_only_processor_is_left_to_others() {
        let (guests, awake) = (Handle::current(), Awake::new(1));
        for _ in 0..100 {
            awake.start(&guests, async {});
            assert!(is_free(&awake));
        }
    }
}
