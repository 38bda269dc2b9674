//! Datagram queues: one a bound UDP port. A full queue drops, as UDP does.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use parking_lot::Mutex;

/// Datagrams kept for a slow reader; further ones are dropped.
const QUEUE_MAX: usize = 512;
/// Bytes kept for a slow reader.
const QUEUE_BYTES_MAX: usize = 1024 * 1024;
/// Readers that wait at a time; when there are more they are all woken, and those that still wait come again.
const READERS_MAX: usize = 16;
/// The largest payload of UDP over IPv4.
pub(crate) const DATAGRAM_BYTES_MAX: usize = 65_507;

#[derive(Debug)]
pub(crate) struct Datagram {
    pub(crate) from: SocketAddr,
    pub(crate) data: Bytes,
}

#[derive(Debug, Default)]
pub(crate) struct Inbox {
    state: Mutex<InboxState>,
}

#[derive(Debug, Default)]
struct InboxState {
    queue: VecDeque<Datagram>,
    bytes: usize,
    /// WASI 0.3 allows several at a time; of 0.2 there is one.
    readers: Vec<Waker>,
}

impl InboxState {
    fn wake(&mut self) {
        for reader in self.readers.drain(..) {
            reader.wake();
        }
    }
}

impl Inbox {
    pub(crate) fn push(&self, datagram: Datagram) {
        let mut state = self.state.lock();
        let bytes = state.bytes + datagram.data.len();
        if state.queue.len() >= QUEUE_MAX || bytes > QUEUE_BYTES_MAX {
            return;
        }
        state.bytes = bytes;
        state.queue.push_back(datagram);
        state.wake();
    }

    pub(crate) fn pop(&self) -> Option<Datagram> {
        let mut state = self.state.lock();
        let datagram = state.queue.pop_front()?;
        state.bytes -= datagram.data.len();
        Some(datagram)
    }

    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state.lock();
        if state.queue.is_empty() {
            if !state.readers.iter().any(|reader| reader.will_wake(cx.waker())) {
                if state.readers.len() >= READERS_MAX {
                    state.wake();
                }
                state.readers.push(cx.waker().clone());
            }
            return Poll::Pending;
        }
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_inbox_drops_the_newest() {
        let inbox = Inbox::default();
        for i in 0..=QUEUE_MAX {
            inbox.push(Datagram {
                from: ([10, 0, 0, 1], i as u16).into(),
                data: Bytes::from_static(b"x"),
            });
        }
        let mut got = Vec::new();
        while let Some(datagram) = inbox.pop() {
            got.push(datagram.from.port());
        }
        assert_eq!(got.len(), QUEUE_MAX);
        assert_eq!(got[0], 0);
    }
}
