//! The requests of one priority level: who waits, who is served, who is next.
//!
//! Fair queuing of requests that take several seats for an unknown time. In the fair world that is
//! imitated, all queues that have something to do are served side by side, each with an equal part
//! of the seats; `progress` counts the seat-seconds that each of them has got. The queue whose first
//! request would be done first there is dispatched first here. What a request really took is
//! charged to its queue when it is done.
//!
//! Nothing here asks for the time: every call brings it, and `advance` comes first in each. What
//! has been dispatched is told by `take_dispatched`.
//! Source: `k8s.io/apiserver/pkg/util/flowcontrol/fairqueuing/queueset`.

mod queue;
mod slab;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use super::demand::{Demand, Observed};
use super::shuffle;
use super::work::{SeatSeconds, Work};
use queue::Queue;
use slab::Slab;
pub use slab::Ticket;

/// How long a request is guessed to be served.
const GUESS: Duration = Duration::from_millis(3);

/// What becomes of requests that find no seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queuing {
    /// All are served at once, whatever the limit.
    Exempt,
    /// They are refused.
    Reject,
    /// They wait, in the shortest queue of their flow's hand.
    Queues { count: usize, hand: usize, length_max: usize },
}

impl Queuing {
    const fn count(self) -> usize {
        match self {
            Self::Exempt | Self::Reject => 0,
            Self::Queues { count, .. } => count,
        }
    }
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    ConcurrencyLimit,
    QueueFull,
    TimeOut,
}

impl Refusal {
    /// Its name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ConcurrencyLimit => "concurrency-limit",
            Self::QueueFull => "queue-full",
            Self::TimeOut => "time-out",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Waiting,
    Executing,
    /// Answered; its seats are held for what it caused.
    Lingering,
}

/// A request, and what its bringer wants to find again.
#[derive(Debug)]
pub struct Request<T> {
    pub tag: T,
    pub work: Work,
    pub state: State,
    /// `None`: it was dispatched without a queue.
    pub queue: Option<usize>,
    pub arrived: Duration,
    pub started: Option<Duration>,
    /// The progress when it arrived.
    arrival: SeatSeconds,
    /// The work that it is guessed to be in all.
    total: SeatSeconds,
}

/// Since the level has been there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub dispatched: usize,
    pub rejected: usize,
    pub timed_out: usize,
    pub cancelled: usize,
    /// Attempts to dispatch a request that was too wide for the seats that were free.
    pub no_accommodation: usize,
}

pub struct QueueSet<T> {
    queuing: Queuing,
    limit: usize,
    /// May be more than are wanted while those drain.
    queues: Vec<Queue>,
    /// Those where somebody waits, ascending.
    nonempty: Vec<usize>,
    requests: Slab<Request<T>>,
    lingering: BinaryHeap<Reverse<(Duration, Ticket)>>,
    dispatched: Vec<Ticket>,
    now: Duration,
    progress: SeatSeconds,
    /// The queue that was dispatched last.
    last: usize,
    /// How many have ever come to a queue.
    enqueued: usize,
    waiting: usize,
    executing: usize,
    seats_waiting: usize,
    seats_in_use: usize,
    /// The part of them that came through queues.
    seats_of_queues: usize,
    /// Queues with requests that wait or execute.
    active: usize,
    demand: Demand,
    totals: Totals,
}

impl<T> QueueSet<T> {
    pub fn new(queuing: Queuing, limit: usize, now: Duration) -> Self {
        let mut set = Self {
            queuing,
            limit,
            queues: Vec::new(),
            nonempty: Vec::new(),
            requests: Slab::default(),
            lingering: BinaryHeap::new(),
            dispatched: Vec::new(),
            now,
            progress: SeatSeconds::default(),
            last: 0,
            enqueued: 0,
            waiting: 0,
            executing: 0,
            seats_waiting: 0,
            seats_in_use: 0,
            seats_of_queues: 0,
            active: 0,
            demand: Demand::new(now),
            totals: Totals::default(),
        };
        set.configure(queuing, limit, now);
        set
    }

    /// Those who wait stay where they are. Queues that are too many get nobody new, and go when
    /// they are empty.
    pub fn configure(&mut self, queuing: Queuing, limit: usize, now: Duration) {
        self.advance(now);
        (self.queuing, self.limit) = (queuing, limit);
        if self.queues.len() < queuing.count() {
            self.queues.resize_with(queuing.count(), Queue::default);
        }
        self.dispatch();
        self.trim();
    }

    /// A request comes. Whether it executes or waits, its state tells.
    pub fn arrive(
        &mut self,
        hash: u64,
        work: Work,
        tag: T,
        now: Duration,
    ) -> Result<Ticket, Refusal> {
        self.advance(now);
        match self.queuing {
            Queuing::Exempt | Queuing::Reject => {
                if !self.has_room(work.widest()) {
                    self.totals.rejected += 1;
                    return Err(Refusal::ConcurrencyLimit);
                }
                let ticket = self.requests.insert(self.request(work, tag, None));
                self.execute(ticket);
                Ok(ticket)
            }
            Queuing::Queues { count, hand, length_max } => {
                let queue = self.choose(hash, count, hand);
                if self.seats_in_use >= self.limit && self.queues[queue].len() >= length_max {
                    self.totals.rejected += 1;
                    return Err(Refusal::QueueFull);
                }
                let ticket = self.requests.insert(self.request(work, tag, Some(queue)));
                self.enqueue(ticket, queue);
                self.dispatch();
                self.dispatched.retain(|dispatched| *dispatched != ticket);
                Ok(ticket)
            }
        }
    }

    /// A request will not wait any longer. Returns whether it was waiting: it is gone then. Where it
    /// was not, it has been dispatched, and must be finished.
    pub fn give_up(&mut self, ticket: Ticket, now: Duration) -> bool {
        self.advance(now);
        let request = &self.requests[ticket];
        let (State::Waiting, Some(queue)) = (request.state, request.queue) else { return false };
        let widest = request.work.widest();
        self.change(queue, |queue, requests| queue.remove(ticket, requests));
        self.waiting -= 1;
        self.seats_waiting -= widest;
        self.seats_of_queues -= widest;
        self.totals.rejected += 1;
        self.totals.cancelled += 1;
        self.requests.remove(ticket);
        self.note_demand();
        // It may have been what was too wide to be dispatched.
        self.dispatch();
        self.trim();
        true
    }

    /// A request has been served.
    pub fn finish(&mut self, ticket: Ticket, now: Duration) {
        self.advance(now);
        let (now, request) = (self.now, &mut self.requests[ticket]);
        debug_assert_eq!(request.state, State::Executing, "only what executes is finished");
        request.state = State::Lingering;
        let (work, queue) = (request.work, request.queue);
        let took = now.saturating_sub(request.started.unwrap_or(now));
        self.executing -= 1;
        if let Some(queue) = queue {
            let seats = work.initial as f64;
            self.change(queue, |queue, _| {
                queue.executing -= 1;
                queue.next_dispatch += SeatSeconds::of(seats, took);
                queue.next_dispatch -= SeatSeconds::of(seats, GUESS);
            });
        }
        if work.lingers.is_zero() {
            self.release(ticket);
        } else {
            self.lingering.push(Reverse((now + work.lingers, ticket)));
        }
        self.dispatch();
    }

    /// Lets time go by: seats that were held long enough become free.
    pub fn advance(&mut self, now: Duration) {
        while let Some(Reverse((due, ticket))) = self.lingering.peek().copied()
            && due <= now
        {
            self.lingering.pop();
            self.tick(due);
            self.release(ticket);
            self.dispatch();
        }
        self.tick(now);
    }

    /// When seats become free by time alone, next.
    pub fn next_release(&self) -> Option<Duration> {
        self.lingering.peek().map(|Reverse((due, _))| *due)
    }

    /// Those who waited and have been dispatched since this was asked last.
    pub fn take_dispatched(&mut self) -> Vec<Ticket> {
        std::mem::take(&mut self.dispatched)
    }

    pub fn request_mut(&mut self, ticket: Ticket) -> &mut Request<T> {
        &mut self.requests[ticket]
    }

    pub fn observed(&mut self, now: Duration) -> Observed {
        self.advance(now);
        self.demand.take(self.now)
    }

    pub fn is_idle(&self) -> bool {
        self.waiting == 0 && self.executing == 0
    }

    pub const fn waiting(&self) -> usize {
        self.waiting
    }

    pub const fn executing(&self) -> usize {
        self.executing
    }

    pub const fn totals(&self) -> Totals {
        self.totals
    }

    pub fn requests(&self) -> impl Iterator<Item = (Ticket, &Request<T>)> {
        self.requests.iter()
    }

    pub fn queues(&self) -> &[Queue] {
        &self.queues
    }

    fn request(&self, work: Work, tag: T, queue: Option<usize>) -> Request<T> {
        Request {
            tag,
            work,
            state: State::Waiting,
            queue,
            arrived: self.now,
            started: None,
            arrival: self.progress,
            total: work.total(GUESS),
        }
    }

    fn tick(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.now);
        if passed.is_zero() {
            return;
        }
        self.now = now;
        if self.active > 0 {
            let seats = self.seats_of_queues.min(self.limit) as f64;
            self.progress += SeatSeconds::of(seats / self.active as f64, passed);
        }
    }

    /// The queue of the hand with the least work; another card begins each time, so that equals
    /// share.
    fn choose(&mut self, hash: u64, count: usize, hand: usize) -> usize {
        if count == 1 {
            return 0;
        }
        let (mut cards, mut dealt) = ([0; shuffle::HAND_MAX], 0);
        shuffle::deal(hash, count, hand, |card| {
            cards[dealt] = card;
            dealt += 1;
        });
        let first = self.enqueued % dealt;
        let (before, after) = cards[..dealt].split_at(first);
        let in_turn = after.iter().chain(before).copied();
        in_turn.min_by_key(|queue| self.queues[*queue].work).unwrap_or_default()
    }

    fn enqueue(&mut self, ticket: Ticket, queue: usize) {
        let progress = self.progress;
        let widest = self.requests[ticket].work.widest();
        self.enqueued += 1;
        self.waiting += 1;
        self.seats_waiting += widest;
        self.seats_of_queues += widest;
        self.change(queue, |queue, requests| {
            if !queue.is_active() {
                queue.next_dispatch = progress;
            }
            queue.push(ticket, requests);
        });
        self.note_demand();
    }

    fn dispatch(&mut self) {
        while self.waiting > 0 && self.seats_in_use < self.limit {
            let Some((queue, ticket)) = self.next() else { return };
            if !self.has_room(self.requests[ticket].work.widest()) {
                self.totals.no_accommodation += 1;
                return;
            }
            self.last = queue;
            self.waiting -= 1;
            let widest = self.requests[ticket].work.widest();
            self.seats_waiting -= widest;
            self.seats_of_queues -= widest;
            let limit = self.limit;
            self.change(queue, |queue, requests| {
                queue.remove(ticket, requests);
                let work = &mut requests[ticket].work;
                if work.last > limit {
                    work.lingers = work.afterwards().per_seat(limit);
                    work.last = limit;
                }
                queue.executing += 1;
                queue.seats_in_use += work.widest();
                queue.next_dispatch += requests[ticket].total;
            });
            self.seats_of_queues += self.requests[ticket].work.widest();
            self.execute(ticket);
            self.dispatched.push(ticket);
        }
    }

    /// The request that would be done first, of those that are first in their queues. Equals take
    /// turns.
    fn next(&self) -> Option<(usize, Ticket)> {
        let after = self.nonempty.partition_point(|queue| *queue <= self.last);
        let (wrapped, coming) = self.nonempty.split_at(after);
        let in_turn = coming.iter().chain(wrapped).copied();
        let first = |queue: usize| self.queues[queue].first().map(|ticket| (queue, ticket));
        in_turn.filter_map(first).min_by_key(|(queue, ticket)| {
            self.queues[*queue].next_dispatch + self.requests[*ticket].total
        })
    }

    /// What is wider than all the seats that there are is served alone.
    fn has_room(&self, seats: usize) -> bool {
        match self.queuing {
            Queuing::Exempt => true,
            Queuing::Reject | Queuing::Queues { .. } if seats > self.limit => self.executing == 0,
            Queuing::Reject | Queuing::Queues { .. } => self.seats_in_use + seats <= self.limit,
        }
    }

    fn execute(&mut self, ticket: Ticket) {
        let now = self.now;
        let request = &mut self.requests[ticket];
        request.state = State::Executing;
        request.started = Some(now);
        self.seats_in_use += request.work.widest();
        self.executing += 1;
        self.totals.dispatched += 1;
        self.note_demand();
    }

    fn release(&mut self, ticket: Ticket) {
        let request = self.requests.remove(ticket);
        let seats = request.work.widest();
        self.seats_in_use -= seats;
        if let Some(queue) = request.queue {
            self.queues[queue].seats_in_use -= seats;
            self.seats_of_queues -= seats;
            self.trim();
        }
        self.note_demand();
    }

    fn note_demand(&mut self) {
        self.demand.set(self.seats_in_use + self.seats_waiting, self.now);
    }

    /// Changes a queue, and keeps what is known of all of them true.
    fn change(&mut self, index: usize, change: impl FnOnce(&mut Queue, &mut Slab<Request<T>>)) {
        let queue = &mut self.queues[index];
        let was_active = queue.is_active();
        change(queue, &mut self.requests);
        // A queue must not save up what it did not use while nobody waited.
        if let Some(first) = queue.first() {
            queue.next_dispatch = queue.next_dispatch.max(self.requests[first].arrival);
        }
        match (was_active, queue.is_active()) {
            (false, true) => self.active += 1,
            (true, false) => self.active -= 1,
            (true, true) | (false, false) => {}
        }
        match (self.nonempty.binary_search(&index), queue.first()) {
            (Err(at), Some(_)) => self.nonempty.insert(at, index),
            (Ok(at), None) => {
                self.nonempty.remove(at);
            }
            (Ok(_), Some(_)) | (Err(_), None) => {}
        }
    }

    /// Removes queues that are too many and empty.
    fn trim(&mut self) {
        let wanted = self.queuing.count();
        while self.queues.len() > wanted && self.queues.last().is_some_and(Queue::is_unused) {
            self.queues.pop();
        }
    }
}
