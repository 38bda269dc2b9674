use std::time::Duration;

use proptest::prelude::*;

use super::*;

const QUEUES: Queuing = Queuing::Queues { count: 64, hand: 6, length_max: 50 };

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn set(queuing: Queuing, limit: usize) -> QueueSet<&'static str> {
    QueueSet::new(queuing, limit, ms(0))
}

impl<T> QueueSet<T> {
    fn state(&mut self, ticket: Ticket) -> State {
        self.request_mut(ticket).state
    }

    fn set_limit(&mut self, limit: usize, now: Duration) {
        self.configure(self.queuing, limit, now);
    }
}

/// What is counted is what is there.
fn check<T>(set: &QueueSet<T>) {
    let in_state = |state: State| set.requests().filter(move |(_, request)| request.state == state);
    assert_eq!(in_state(State::Waiting).count(), set.waiting);
    assert_eq!(in_state(State::Executing).count(), set.executing);
    assert_eq!(in_state(State::Lingering).count(), set.lingering.len());
    let seats = |state| in_state(state).map(|(_, request)| request.work.widest()).sum::<usize>();
    assert_eq!(seats(State::Executing) + seats(State::Lingering), set.seats_in_use);
    assert_eq!(seats(State::Waiting), set.seats_waiting);
    assert_eq!(set.queues.iter().filter(|queue| queue.is_active()).count(), set.active);
    let nonempty = set.queues.iter().enumerate().filter(|(_, queue)| queue.len() > 0);
    assert_eq!(nonempty.map(|(index, _)| index).collect::<Vec<_>>(), set.nonempty);
    assert_eq!(set.queues.iter().map(Queue::len).sum::<usize>(), set.waiting);
}

#[test]
fn a_free_seat_is_taken_at_once() {
    let mut set = set(QUEUES, 1);
    let first = set.arrive(1, Work::seats(1), "a", ms(0)).expect("room");
    assert_eq!(set.state(first), State::Executing);
    assert!(set.take_dispatched().is_empty(), "who is served at once is not told again");
    let second = set.arrive(1, Work::seats(1), "b", ms(1)).expect("room to wait");
    assert_eq!(set.state(second), State::Waiting);
    set.finish(first, ms(5));
    assert_eq!(set.take_dispatched(), [second]);
    set.finish(second, ms(6));
    assert!(set.is_idle());
    assert_eq!(set.totals(), Totals { dispatched: 2, ..Totals::default() });
}

#[test]
fn without_queues_the_limit_refuses() {
    let mut set = set(Queuing::Reject, 2);
    let wide = set.arrive(0, Work::seats(2), "a", ms(0)).expect("room");
    let refused = set.arrive(0, Work::seats(1), "b", ms(0));
    assert_eq!(refused, Err(Refusal::ConcurrencyLimit));
    set.finish(wide, ms(1));
    set.arrive(0, Work::seats(1), "c", ms(1)).expect("room again");
    assert_eq!(set.totals().rejected, 1);
}

#[test]
fn exempt_requests_never_wait() {
    let mut set = set(Queuing::Exempt, 0);
    for _ in 0..1000 {
        let ticket = set.arrive(0, Work::seats(3), "a", ms(0)).expect("always");
        assert_eq!(set.state(ticket), State::Executing);
    }
    assert_eq!(set.observed(ms(10)).most, 3000);
}

#[test]
fn a_full_queue_refuses_one_flow_and_not_the_others() {
    let mut set = set(Queuing::Queues { count: 64, hand: 2, length_max: 3 }, 1);
    set.arrive(7, Work::seats(1), "heavy", ms(0)).expect("a seat");
    let heavy = (0..10).filter(|_| set.arrive(7, Work::seats(1), "heavy", ms(0)).is_ok()).count();
    assert_eq!(heavy, 6, "two queues of three");
    assert_eq!(set.arrive(7, Work::seats(1), "heavy", ms(0)), Err(Refusal::QueueFull));
    // 64·63 hashes further, no card is the same.
    set.arrive(2 + 64 * 20, Work::seats(1), "light", ms(0)).expect("its own queue");
    check(&set);
}

#[test]
fn who_gives_up_leaves_its_queue() {
    let mut set = set(QUEUES, 1);
    let first = set.arrive(1, Work::seats(1), "a", ms(0)).expect("room");
    let second = set.arrive(1, Work::seats(1), "b", ms(0)).expect("room");
    assert!(set.give_up(second, ms(9)));
    assert!(!set.give_up(first, ms(9)), "it was dispatched");
    set.finish(first, ms(10));
    assert!(set.take_dispatched().is_empty() && set.is_idle());
    let expected = Totals { dispatched: 1, rejected: 1, cancelled: 1, ..Totals::default() };
    assert_eq!(set.totals(), expected);
}

#[test]
fn seats_are_held_for_what_a_request_caused() {
    let mut set = set(QUEUES, 4);
    let work = Work { initial: 1, last: 4, lingers: ms(5) };
    let write = set.arrive(1, work, "write", ms(0)).expect("room");
    let next = set.arrive(2, Work::seats(1), "next", ms(0)).expect("room");
    assert_eq!(set.state(next), State::Waiting, "it holds its widest from the beginning");
    set.finish(write, ms(2));
    assert!(set.is_idle() || set.waiting() == 1);
    assert_eq!(set.next_release(), Some(ms(7)));
    set.advance(ms(6));
    assert_eq!(set.state(next), State::Waiting);
    set.advance(ms(8));
    assert_eq!(set.take_dispatched(), [next]);
    assert_eq!(set.request_mut(next).started, Some(ms(7)), "when the seats became free");
}

#[test]
fn what_is_wider_than_the_level_is_served_alone() {
    let mut set = set(QUEUES, 2);
    let narrow = set.arrive(1, Work::seats(1), "narrow", ms(0)).expect("room");
    let wide = set.arrive(2, Work::seats(9), "wide", ms(0)).expect("room");
    let behind = set.arrive(3, Work::seats(1), "behind", ms(0)).expect("room");
    let states = [wide, behind].map(|ticket| set.state(ticket));
    assert_eq!(states, [State::Waiting, State::Executing], "the narrow one would be done first");
    set.finish(narrow, ms(4));
    assert_eq!(set.state(wide), State::Waiting);
    set.finish(behind, ms(5));
    assert_eq!(set.take_dispatched(), [wide]);
    set.finish(wide, ms(6));
    assert!(set.is_idle());
    assert!(set.totals().no_accommodation > 0);
}

#[test]
fn a_higher_limit_lets_waiting_requests_in_and_fewer_queues_drain() {
    let mut set = set(QUEUES, 1);
    for hash in 0..5 {
        set.arrive(hash * 977, Work::seats(1), "a", ms(0)).expect("room");
    }
    set.set_limit(3, ms(1));
    assert_eq!((set.take_dispatched().len(), set.executing()), (2, 3));
    set.configure(Queuing::Queues { count: 2, hand: 1, length_max: 5 }, 3, ms(2));
    assert!(set.queues().len() > 2, "they drain first");
    let all: Vec<Ticket> = set.requests().map(|(ticket, _)| ticket).collect();
    for ticket in all.iter().copied() {
        if set.state(ticket) == State::Executing {
            set.finish(ticket, ms(3));
        }
    }
    for ticket in set.take_dispatched() {
        if all.contains(&ticket) && set.requests().any(|(known, _)| known == ticket) {
            set.finish(ticket, ms(4));
        }
    }
    assert!(set.is_idle());
    assert_eq!(set.queues().len(), 2);
}

/// A heavy flow has all its places taken all the time, a light one asks now and then.
#[test]
fn a_light_flow_does_not_wait_behind_a_heavy_one() {
    let mut set = set(Queuing::Queues { count: 64, hand: 1, length_max: 500 }, 10);
    let mut now = 0;
    let mut executing: Vec<(u64, Ticket)> = Vec::new();
    let mut light_waited = Vec::new();
    for step in 0..2000 {
        now += 1;
        while set.waiting() < 400 {
            if let Ok(ticket) = set.arrive(5, Work::seats(1), "heavy", ms(now))
                && set.state(ticket) == State::Executing
            {
                executing.push((now + 10, ticket));
            }
        }
        if step % 50 == 0 {
            let ticket = set.arrive(9, Work::seats(1), "light", ms(now)).expect("its own queue");
            if set.state(ticket) == State::Executing {
                executing.push((now + 10, ticket));
            }
        }
        let (done, left): (Vec<_>, Vec<_>) = executing.iter().partition(|(due, _)| *due <= now);
        executing = left;
        for (_, ticket) in done {
            set.finish(ticket, ms(now));
        }
        for ticket in set.take_dispatched() {
            executing.push((now + 10, ticket));
            let request = set.request_mut(ticket);
            if request.tag == "light" {
                light_waited.push(ms(now) - request.arrived);
            }
        }
    }
    assert!(light_waited.len() >= 39, "{}", light_waited.len());
    let longest = light_waited.iter().max().expect("some");
    assert!(*longest <= ms(50), "a request of the heavy flow waits 400 ms, this one {longest:?}");
}

/// Two flows that both want everything get the same, even if one sends ten times as much.
#[test]
fn two_greedy_flows_get_the_same() {
    let mut set = set(Queuing::Queues { count: 64, hand: 1, length_max: 1000 }, 4);
    let mut executing = Vec::new();
    for index in 0..1100 {
        let (hash, tag) = if index % 11 == 0 { (9, "small") } else { (5, "large") };
        let ticket = set.arrive(hash, Work::seats(1), tag, ms(0)).expect("room");
        if set.state(ticket) == State::Executing {
            executing.push(ticket);
        }
    }
    let (mut small, mut large) = (0, 0);
    for now in 1..=40 {
        for ticket in std::mem::take(&mut executing) {
            set.finish(ticket, ms(now * 7));
        }
        executing = set.take_dispatched();
        for ticket in &executing {
            match set.request_mut(*ticket).tag {
                "small" => small += 1,
                _ => large += 1,
            }
        }
    }
    let difference = i32::abs(small - large);
    assert!(difference <= 8, "small {small}, large {large}");
}

#[derive(Clone, Debug)]
enum Step {
    Arrive { hash: u64, initial: usize, last: usize, lingers: u64 },
    Finish(usize),
    GiveUp(usize),
    Wait(u64),
    Limit(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (any::<u64>(), 1usize..4, 0usize..4, 0u64..20).prop_map(
            |(hash, initial, last, lingers)| Step::Arrive { hash, initial, last, lingers }
        ),
        5 => any::<usize>().prop_map(Step::Finish),
        1 => any::<usize>().prop_map(Step::GiveUp),
        3 => (1u64..30).prop_map(Step::Wait),
        1 => (4usize..9).prop_map(Step::Limit),
    ];
    prop::collection::vec(step, 1..300)
}

proptest! {
    #[test]
    fn seats_are_never_given_twice_and_nobody_starves(steps in steps(), length_max in 1usize..6) {
        let queuing = Queuing::Queues { count: 8, hand: 3, length_max };
        let (mut set, mut now, mut held) = (QueueSet::new(queuing, 8, ms(0)), 0, Vec::new());
        let mut highest = 8;
        for step in steps {
            match step {
                Step::Arrive { hash, initial, last, lingers } => {
                    let lingers = ms(if last == 0 { 0 } else { lingers });
                    let work = Work { initial, last, lingers };
                    if let Ok(ticket) = set.arrive(hash, work, (), ms(now))
                        && set.state(ticket) == State::Executing
                    {
                        held.push(ticket);
                    }
                }
                Step::Finish(which) if !held.is_empty() => {
                    let ticket = held.swap_remove(which % held.len());
                    set.finish(ticket, ms(now));
                }
                Step::GiveUp(which) => {
                    let waiting: Vec<Ticket> = set
                        .requests()
                        .filter(|(_, request)| request.state == State::Waiting)
                        .map(|(ticket, _)| ticket)
                        .collect();
                    if !waiting.is_empty() {
                        let ticket = waiting[which % waiting.len()];
                        set.give_up(ticket, ms(now));
                    }
                }
                Step::Finish(_) => {}
                Step::Wait(millis) => now += millis,
                Step::Limit(limit) => set.set_limit(limit, ms(now)),
            }
            held.extend(set.take_dispatched());
            check(&set);
            // A limit that was lowered takes no seat away.
            highest = set.limit.max(set.seats_in_use.min(highest));
            prop_assert!(set.seats_in_use <= highest);
            // Nobody waits where the first could be served.
            if let Some((_, first)) = set.next() {
                let widest = set.request_mut(first).work.widest();
                prop_assert!(set.seats_in_use + widest > set.limit);
            }
        }
        let mut rounds = 0;
        while !set.is_idle() {
            now += 50;
            set.advance(ms(now));
            held.extend(set.take_dispatched());
            prop_assert!(!held.is_empty(), "somebody waits and nobody is served");
            for ticket in std::mem::take(&mut held) {
                set.finish(ticket, ms(now));
            }
            held.extend(set.take_dispatched());
            rounds += 1;
            prop_assert!(rounds < 2000);
        }
        set.advance(ms(now + 1000));
        prop_assert_eq!((set.seats_in_use, set.seats_of_queues, set.active), (0, 0, 0));
        let fresh = SeatSeconds::default();
        prop_assert!(set.queues().iter().all(|queue| queue.work == fresh && queue.is_unused()));
    }

    #[test]
    fn a_queue_is_no_longer_than_it_may_be(hashes in prop::collection::vec(any::<u64>(), 1..400)) {
        let mut set = QueueSet::new(Queuing::Queues { count: 4, hand: 2, length_max: 7 }, 3, ms(0));
        for hash in hashes {
            let _ = set.arrive(hash, Work::seats(1), (), ms(0));
        }
        prop_assert!(set.queues().iter().all(|queue| queue.len() <= 7));
        prop_assert_eq!(set.executing(), 3.min(set.totals().dispatched));
    }
}
