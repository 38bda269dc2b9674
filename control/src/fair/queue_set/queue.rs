//! One queue of a level: its requests in the order of their arrival.

use std::collections::VecDeque;

use super::Request;
use super::slab::{Slab, Ticket};
use crate::fair::work::SeatSeconds;

#[derive(Debug, Default)]
pub struct Queue {
    waiting: VecDeque<Ticket>,
    /// The progress at which its next request begins in the fair world.
    pub next_dispatch: SeatSeconds,
    pub executing: usize,
    /// Of those that execute, and of those that linger.
    pub seats_in_use: usize,
    /// Of those that wait.
    pub initial_seats: usize,
    pub widest_seats: usize,
    pub work: SeatSeconds,
}

impl Queue {
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    pub fn first(&self) -> Option<Ticket> {
        self.waiting.front().copied()
    }

    /// Who waits, in order.
    pub fn waiting(&self) -> impl Iterator<Item = Ticket> {
        self.waiting.iter().copied()
    }

    pub fn is_active(&self) -> bool {
        !self.waiting.is_empty() || self.executing > 0
    }

    pub fn is_unused(&self) -> bool {
        !self.is_active() && self.seats_in_use == 0
    }

    pub(super) fn push<T>(&mut self, ticket: Ticket, requests: &Slab<Request<T>>) {
        let Request { work, total, .. } = requests[ticket];
        self.waiting.push_back(ticket);
        self.initial_seats += work.initial;
        self.widest_seats += work.widest();
        self.work += total;
    }

    pub(super) fn remove<T>(&mut self, ticket: Ticket, requests: &Slab<Request<T>>) {
        let Request { work, total, .. } = requests[ticket];
        self.waiting.retain(|waiting| *waiting != ticket);
        self.initial_seats -= work.initial;
        self.widest_seats -= work.widest();
        self.work -= total;
    }
}
