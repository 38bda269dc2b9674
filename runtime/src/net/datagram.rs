//! Datagram queues: one a bound UDP port. A full queue drops, as UDP does.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::limits::Account;

/// Datagrams kept for a slow reader; further ones are dropped.
const QUEUE_MAX: usize = 512;
/// Bytes kept for a slow reader.
const QUEUE_BYTES_MAX: usize = 1024 * 1024;
/// Readers that wait at a time; when there are more they are all woken, and those that still wait come again.
const READERS_MAX: usize = 16;
/// Charged for each datagram beside its bytes.
const DATAGRAM_OVERHEAD: usize = 64;
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
    /// Whom the queue is charged to.
    payer: Option<Arc<Account>>,
}

impl InboxState {
    fn wake(&mut self) {
        for reader in self.readers.drain(..) {
            reader.wake();
        }
    }
}

impl Inbox {
    /// From now on, what is queued is memory of the receiver's container; what it has no room for is dropped.
    pub(crate) fn charge_to(&self, account: &Arc<Account>) {
        self.state.lock().payer = Some(account.clone());
    }

    pub(crate) fn push(&self, datagram: Datagram) {
        let mut state = self.state.lock();
        let bytes = state.bytes + datagram.data.len();
        if state.queue.len() >= QUEUE_MAX || bytes > QUEUE_BYTES_MAX {
            return;
        }
        if let Some(payer) = &state.payer {
            if payer.is_full() {
                return;
            }
            payer.hold(datagram.data.len() + DATAGRAM_OVERHEAD);
        }
        state.bytes = bytes;
        state.queue.push_back(datagram);
        state.wake();
    }

    pub(crate) fn pop(&self) -> Option<Datagram> {
        let mut state = self.state.lock();
        let datagram = state.queue.pop_front()?;
        state.bytes -= datagram.data.len();
        if let Some(payer) = &state.payer {
            payer.release(datagram.data.len() + DATAGRAM_OVERHEAD);
        }
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

impl Drop for InboxState {
    fn drop(&mut self) {
        if let Some(payer) = &self.payer {
            payer.release(self.bytes + self.queue.len() * DATAGRAM_OVERHEAD);
        }
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
