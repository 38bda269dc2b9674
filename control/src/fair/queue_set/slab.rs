//! Values under small numbers that are used again.

use std::ops::{Index, IndexMut};

/// Names a request from its arrival until its seats are free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(usize);

#[derive(Debug)]
pub struct Slab<V> {
    values: Vec<Option<V>>,
    free: Vec<usize>,
}

impl<V> Default for Slab<V> {
    fn default() -> Self {
        Self { values: Vec::new(), free: Vec::new() }
    }
}

impl<V> Slab<V> {
    pub fn insert(&mut self, value: V) -> Ticket {
        let at = self.free.pop().unwrap_or_else(|| {
            self.values.push(None);
            self.values.len() - 1
        });
        self.values[at] = Some(value);
        Ticket(at)
    }

    pub fn remove(&mut self, ticket: Ticket) -> V {
        self.free.push(ticket.0);
        self.values[ticket.0].take().expect("a ticket is valid until it is removed")
    }

    pub fn iter(&self) -> impl Iterator<Item = (Ticket, &V)> {
        let values = self.values.iter().enumerate();
        values.filter_map(|(at, value)| value.as_ref().map(|value| (Ticket(at), value)))
    }
}

impl<V> Index<Ticket> for Slab<V> {
    type Output = V;

    fn index(&self, ticket: Ticket) -> &V {
        self.values[ticket.0].as_ref().expect("a ticket is valid until it is removed")
    }
}

impl<V> IndexMut<Ticket> for Slab<V> {
    fn index_mut(&mut self, ticket: Ticket) -> &mut V {
        self.values[ticket.0].as_mut().expect("a ticket is valid until it is removed")
    }
}
