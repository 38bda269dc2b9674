//! Who runs next where guests want more CPU than there are threads: weighted fair turns.
//!
//! A guest that is done before the next epoch asks nobody, so an idle machine pays nothing for this, and a request of some
//! microseconds never waits for a turn. A guest that an epoch has interrupted needs a *turn* to go on; there are as many
//! turns as guests may run on and on, one fewer than threads,
//! and the next one goes to the party that has had the least CPU for its weight: first among sandboxes,
//! then among the containers of one. So twenty busy containers of one sandbox together get what a single one of another
//! gets, and a sandbox's weight is the sum of its containers'. While others wait for turns, a guest whose sandbox is ahead
//! of them by more than a slice needs one too: short bursts are no way around it.
//!
//! Those who wait are not in the executor's queue; what else is there (a kill, a neighbour's request) waits for a running
//! slice at the most.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;

/// The least weight, and everyone's who asks for nothing: a hundredth of a core's, as in cgroups.
const WEIGHT_MIN: u64 = 10;
/// How far ahead of those who wait a sandbox may be before it needs turns for short bursts as well; and how much it may
/// have saved up while it was idle.
const SLACK: Duration = Duration::from_millis(5);

/// CPU time divided by weight.
type Virtual = u64;

fn virtual_time(used: Duration, weight: u64) -> Virtual {
    let used = u64::try_from(used.as_nanos()).unwrap_or(u64::MAX);
    used.saturating_mul(1000) / weight.max(WEIGHT_MIN)
}

/// The turns of one runtime.
#[derive(Debug)]
pub(crate) struct Turns {
    /// How many wait, to be looked at without the lock.
    contenders: AtomicUsize,
    /// The virtual time of the sandbox that got the last turn: whoever is behind it has been idle.
    floor: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    free: usize,
    waiting: Vec<Arc<Seat>>,
}

/// A sandbox: its containers compete with other sandboxes together.
#[derive(Debug)]
pub(crate) struct Group {
    turns: Arc<Turns>,
    weight: AtomicU64,
    used: AtomicU64,
}

/// A container.
#[derive(Debug)]
pub(crate) struct Party {
    group: Arc<Group>,
    weight: u64,
    used: AtomicU64,
}

/// A guest that waits for a turn or holds one.
#[derive(Debug)]
struct Seat {
    party: Arc<Party>,
    granted: AtomicBool,
    waker: Mutex<Waker>,
}

impl Turns {
    pub(crate) fn new(threads: usize) -> Arc<Turns> {
        Arc::new(Turns {
            contenders: AtomicUsize::new(0),
            floor: AtomicU64::new(0),
            state: Mutex::new(State { free: threads.max(1), waiting: Vec::new() }),
        })
    }

    /// Gives free turns to those who have had the least.
    fn grant(&self, state: &mut State) {
        while state.free > 0 {
            let next =
                (0..state.waiting.len()).min_by_key(|at| state.waiting[*at].party.standing());
            let Some(next) = next else { break };
            let seat = state.waiting.swap_remove(next);
            state.free -= 1;
            self.floor.fetch_max(seat.party.group.used.load(Ordering::Relaxed), Ordering::Relaxed);
            seat.granted.store(true, Ordering::Release);
            seat.waker.lock().wake_by_ref();
        }
        self.contenders.store(state.waiting.len(), Ordering::Release);
    }
}

impl Group {
    pub(crate) fn new(turns: &Arc<Turns>) -> Arc<Group> {
        Arc::new(Group { turns: turns.clone(), weight: AtomicU64::new(0), used: AtomicU64::new(0) })
    }

    pub(crate) fn party(self: &Arc<Self>, weight: u64) -> Arc<Party> {
        self.weight.fetch_add(weight, Ordering::Relaxed);
        Arc::new(Party { group: self.clone(), weight, used: AtomicU64::new(0) })
    }

    fn slack(&self) -> Virtual {
        virtual_time(SLACK, self.weight.load(Ordering::Relaxed))
    }

    /// What was not used while nobody asked is not saved up.
    fn catch_up(&self) {
        let floor = self.turns.floor.load(Ordering::Relaxed);
        self.used.fetch_max(floor.saturating_sub(self.slack()), Ordering::Relaxed);
    }
}

impl Party {
    fn standing(&self) -> (Virtual, Virtual) {
        (self.group.used.load(Ordering::Relaxed), self.used.load(Ordering::Relaxed))
    }

    pub(crate) fn spend(&self, used: Duration) {
        self.used.fetch_add(virtual_time(used, self.weight), Ordering::Relaxed);
        let weight = self.group.weight.load(Ordering::Relaxed);
        self.group.used.fetch_add(virtual_time(used, weight), Ordering::Relaxed);
    }

    fn is_ahead(&self) -> bool {
        let turns = &self.group.turns;
        turns.contenders.load(Ordering::Acquire) > 0 && {
            self.group.catch_up();
            let floor = turns.floor.load(Ordering::Relaxed);
            self.group.used.load(Ordering::Relaxed) > floor.saturating_add(self.group.slack())
        }
    }
}

impl Drop for Party {
    fn drop(&mut self) {
        self.group.weight.fetch_sub(self.weight, Ordering::Relaxed);
    }
}

/// One guest's way to its turns.
#[derive(Debug)]
pub(crate) struct Queue {
    party: Arc<Party>,
    /// An epoch has interrupted the guest since its last turn.
    interrupted: bool,
    seat: Option<Arc<Seat>>,
}

impl Queue {
    pub(crate) fn new(party: Arc<Party>) -> Queue {
        Queue { party, interrupted: false, seat: None }
    }

    /// Ready when the guest may run.
    pub(crate) fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.seat.is_none() {
            if !self.interrupted && !self.party.is_ahead() {
                return Poll::Ready(());
            }
            self.line_up();
        }
        let Some(seat) = &self.seat else { return Poll::Ready(()) };
        // The waker first: a grant in between wakes the new one, or is seen below.
        seat.waker.lock().clone_from(cx.waker());
        match seat.granted.load(Ordering::Acquire) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }

    /// The guest has run for `used`. `Some`: an epoch interrupted it, and whether it may go on at once but for others.
    pub(crate) fn ran(&mut self, used: Duration, interrupted: Option<bool>) {
        self.party.spend(used);
        self.interrupted = interrupted.is_some();
        match interrupted {
            // Its own claim to the turn that it gives back is weighed against the others'.
            Some(true) => self.line_up(),
            Some(false) | None => self.leave(),
        }
    }

    /// Gives back the turn that it may hold, and waits for one with the others.
    fn line_up(&mut self) {
        self.party.group.catch_up();
        let seat = self.seat.take().unwrap_or_else(|| {
            Arc::new(Seat {
                party: self.party.clone(),
                granted: AtomicBool::new(false),
                waker: Mutex::new(Waker::noop().clone()),
            })
        });
        let turns = &self.party.group.turns;
        let mut state = turns.state.lock();
        if seat.granted.swap(false, Ordering::AcqRel) {
            state.free += 1;
        }
        state.waiting.push(seat.clone());
        turns.grant(&mut state);
        drop(state);
        self.seat = Some(seat);
    }

    /// Gives back its turn, or its place among those who wait for one.
    pub(crate) fn leave(&mut self) {
        let Some(seat) = self.seat.take() else { return };
        let turns = &self.party.group.turns;
        let mut state = turns.state.lock();
        if seat.granted.load(Ordering::Acquire) {
            state.free += 1;
        } else {
            state.waiting.retain(|waiting| !Arc::ptr_eq(waiting, &seat));
        }
        turns.grant(&mut state);
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Set by a guest that an epoch interrupts, for whoever polls it on this thread.
pub(crate) mod interrupted {
    use std::cell::Cell;

    thread_local! {
        static INTERRUPTED: Cell<bool> = const { Cell::new(false) };
    }

    pub(crate) fn set() {
        INTERRUPTED.set(true);
    }

    pub(crate) fn take() -> bool {
        INTERRUPTED.take()
    }
}

/// Lets what else is to run on this thread run once.
pub(crate) fn interrupt() -> Pin<Box<dyn Future<Output = ()> + Send>> {
    interrupted::set();
    // Wasmtime's own yield lets timers slip by hundreds of milliseconds under load: its wake-up overtakes them.
    Box::pin(tokio::task::yield_now())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLICE: Duration = Duration::from_millis(5);

    /// Runs spinners on one thread, each interrupted after a slice, and returns how many slices each had.
    fn slices(parties: &[Arc<Party>], count: usize) -> Vec<usize> {
        let mut had = vec![0; parties.len()];
        let mut queues: Vec<_> = parties.iter().cloned().map(Queue::new).collect();
        let mut cx = Context::from_waker(Waker::noop());
        for queue in &mut queues {
            queue.interrupted = true;
            let _ = queue.poll_turn(&mut cx);
        }
        for _ in 0..count {
            let running = (0..queues.len()).find(|at| queues[*at].poll_turn(&mut cx).is_ready());
            let running = running.expect("somebody holds the turn");
            had[running] += 1;
            queues[running].ran(SLICE, Some(true));
        }
        had
    }

    #[test]
    fn many_containers_of_one_sandbox_share_what_one_of_another_gets() {
        let turns = Turns::new(1);
        let (crowd, single) = (Group::new(&turns), Group::new(&turns));
        let mut parties: Vec<_> = (0..20).map(|_| crowd.party(0)).collect();
        parties.push(single.party(0));
        let had = slices(&parties, 400);
        assert!((190..=210).contains(&had[20]), "{had:?}");
        assert!(had[..20].iter().all(|had| (8..=12).contains(had)), "{had:?}");
    }

    #[test]
    fn turns_are_in_proportion_to_weights() {
        let turns = Turns::new(1);
        let (large, small) = (Group::new(&turns), Group::new(&turns));
        let parties = [large.party(300), small.party(100)];
        let had = slices(&parties, 400);
        assert!((298..=302).contains(&had[0]), "{had:?}");
        // Within a sandbox, too.
        let group = Group::new(&turns);
        let had = slices(&[group.party(300), group.party(100)], 400);
        assert!((298..=302).contains(&had[0]), "{had:?}");
    }

    #[test]
    fn idle_time_is_not_saved_up() {
        let turns = Turns::new(1);
        let (early, late) = (Group::new(&turns), Group::new(&turns));
        let early = early.party(0);
        slices(std::slice::from_ref(&early), 1000);
        let had = slices(&[early, late.party(0)], 100);
        assert!(had[0] >= 45, "{had:?}");
    }

    #[test]
    fn a_guest_that_is_not_interrupted_needs_no_turn_while_nobody_waits() {
        let turns = Turns::new(1);
        let group = Group::new(&turns);
        let mut queue = Queue::new(group.party(0));
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..100 {
            assert!(queue.poll_turn(&mut cx).is_ready());
            assert!(queue.seat.is_none());
            queue.ran(SLICE, None);
        }
    }

    #[test]
    fn short_bursts_of_a_sandbox_that_is_ahead_wait_for_turns() {
        let turns = Turns::new(1);
        let (bursts, other) = (Group::new(&turns), Group::new(&turns));
        let mut cx = Context::from_waker(Waker::noop());
        let mut running = Queue::new(other.party(0));
        let mut waiting = Queue::new(other.party(0));
        for queue in [&mut running, &mut waiting] {
            queue.interrupted = true;
            let _ = queue.poll_turn(&mut cx);
        }
        let mut bursts = Queue::new(bursts.party(0));
        for _ in 0..3 {
            bursts.ran(SLICE, None);
        }
        assert!(bursts.poll_turn(&mut cx).is_pending());
        // One that goes away hands its turn on.
        drop(running);
        assert!(waiting.poll_turn(&mut cx).is_ready());
        drop(waiting);
        assert!(bursts.poll_turn(&mut cx).is_ready());
    }
}
