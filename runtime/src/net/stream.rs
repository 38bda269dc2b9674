//! In-memory connections: two pipes, one a direction, each a bounded queue of byte chunks.
//!
//! Guests write and read `Bytes` without a copy; hosts use `AsyncRead` and `AsyncWrite`.
//! Back-pressure is the queue's bound, half close is one pipe's end. This module performs no I/O and spawns nothing.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::limits::Account;

/// What one direction holds before its writer waits.
const PIPE_BYTES_MAX: usize = 64 * 1024;

/// What it holds at least, even where the container that pays for it has no memory left.
const PIPE_BYTES_MIN: usize = 4 * 1024;

/// Charged for each chunk beside its bytes, so that a writer of single bytes cannot make the queue's own memory large.
const CHUNK_OVERHEAD: usize = 64;

/// One direction of a connection. One reader and one writer: each side keeps one waker.
#[derive(Debug, Default)]
struct Pipe {
    state: Mutex<PipeState>,
}

#[derive(Debug, Default)]
struct PipeState {
    chunks: VecDeque<Bytes>,
    /// Bytes queued, plus the overhead of each chunk.
    charged: usize,
    /// Something was written once.
    used: bool,
    write_closed: bool,
    read_closed: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// Whom the queue is charged to: the guest at its end, the first one where there are two.
    payer: Option<Arc<Account>>,
}

/// The answer of a read that does not wait.
#[derive(Debug)]
pub(crate) enum Read {
    Bytes(Bytes),
    Pending,
    End,
}

/// The other side reads no more.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PeerGone;

impl PipeState {
    fn room(&self) -> Result<usize, PeerGone> {
        if self.read_closed || self.write_closed {
            return Err(PeerGone);
        }
        let max = match &self.payer {
            // A container without memory still moves its connections on, in small parts.
            Some(payer) if payer.is_full() => PIPE_BYTES_MIN,
            _ => PIPE_BYTES_MAX,
        };
        Ok(max.saturating_sub(self.charged).saturating_sub(CHUNK_OVERHEAD))
    }

    fn charge(&mut self, bytes: usize) {
        self.charged += bytes;
        if let Some(payer) = &self.payer {
            payer.hold(bytes);
        }
    }

    fn release(&mut self, bytes: usize) {
        self.charged -= bytes;
        if let Some(payer) = &self.payer {
            payer.release(bytes);
        }
    }

    fn push(&mut self, bytes: Bytes) {
        self.used = true;
        self.charge(bytes.len() + CHUNK_OVERHEAD);
        self.chunks.push_back(bytes);
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    fn pop(&mut self, max: usize) -> Read {
        let Some(front) = self.chunks.front_mut() else {
            return if self.write_closed || self.read_closed { Read::End } else { Read::Pending };
        };
        let bytes = if front.len() <= max {
            let bytes = self.chunks.pop_front().unwrap_or_default();
            self.release(CHUNK_OVERHEAD);
            bytes
        } else {
            front.split_to(max)
        };
        self.release(bytes.len());
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
        Read::Bytes(bytes)
    }

    fn wake_all(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
    }
}

impl Drop for PipeState {
    fn drop(&mut self) {
        self.release(self.charged);
    }
}

impl Pipe {
    fn charge_to(&self, account: &Arc<Account>) {
        let mut state = self.state.lock();
        if state.payer.is_none() {
            state.payer = Some(account.clone());
            account.hold(state.charged);
        }
    }
}

/// The reading end. Closes the direction when the last holder drops it.
#[derive(Debug)]
pub(crate) struct ReadEnd(Arc<Pipe>);

impl ReadEnd {
    pub(crate) fn try_read(&self, max: usize) -> Read {
        if max == 0 {
            return Read::Bytes(Bytes::new());
        }
        self.0.state.lock().pop(max)
    }

    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.state.lock();
        if !state.chunks.is_empty() || state.write_closed || state.read_closed {
            return Poll::Ready(());
        }
        state.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    /// What is queued is lost, and the writer learns that nobody reads.
    pub(crate) fn close(&self) {
        let mut state = self.0.state.lock();
        state.read_closed = true;
        state.chunks.clear();
        let charged = state.charged;
        state.release(charged);
        state.wake_all();
    }
}

impl Drop for ReadEnd {
    fn drop(&mut self) {
        self.close();
    }
}

/// The writing end. What is queued stays readable after it closes.
#[derive(Debug)]
pub(crate) struct WriteEnd(Arc<Pipe>);

impl WriteEnd {
    pub(crate) fn room(&self) -> Result<usize, PeerGone> {
        self.0.state.lock().room()
    }

    /// Takes all of `bytes`; the caller has asked [`room`](Self::room).
    pub(crate) fn write(&self, bytes: Bytes) -> Result<(), PeerGone> {
        let mut state = self.0.state.lock();
        state.room()?;
        if !bytes.is_empty() {
            state.push(bytes);
        }
        Ok(())
    }

    pub(crate) fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<Result<usize, PeerGone>> {
        let mut state = self.0.state.lock();
        match state.room() {
            Ok(0) => {
                state.writer = Some(cx.waker().clone());
                Poll::Pending
            }
            other => Poll::Ready(other),
        }
    }

    /// Ready once nobody will read what is written. Shares the writer's waker: poll it in the writer's task.
    pub(crate) fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.state.lock();
        if state.read_closed {
            return Poll::Ready(());
        }
        state.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    pub(crate) fn close(&self) {
        let mut state = self.0.state.lock();
        state.write_closed = true;
        state.wake_all();
    }
}

impl Drop for WriteEnd {
    fn drop(&mut self) {
        self.close();
    }
}

fn pipe() -> (WriteEnd, ReadEnd) {
    let pipe = Arc::new(Pipe::default());
    (WriteEnd(pipe.clone()), ReadEnd(pipe))
}

/// One end of an in-memory connection.
#[derive(Debug)]
pub struct Stream {
    read: ReadEnd,
    write: WriteEnd,
    local: SocketAddr,
    peer: SocketAddr,
}

impl Stream {
    /// Both ends of a new connection: the first is `a`'s.
    pub fn pair(a: SocketAddr, b: SocketAddr) -> (Stream, Stream) {
        let (a_write, b_read) = pipe();
        let (b_write, a_read) = pipe();
        (
            Stream { read: a_read, write: a_write, local: a, peer: b },
            Stream { read: b_read, write: b_write, local: b, peer: a },
        )
    }

    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    pub fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    /// From now on, what is queued in it is memory of this container; its writers wait where there is no room.
    pub(crate) fn charge_to(&self, account: &Arc<Account>) {
        self.read.0.charge_to(account);
        self.write.0.charge_to(account);
    }

    pub(crate) fn watched(&self) -> Watched {
        Watched { read: Arc::downgrade(&self.read.0), write: Arc::downgrade(&self.write.0) }
    }

    pub(crate) fn into_ends(self) -> (ReadEnd, WriteEnd) {
        (self.read, self.write)
    }
}

/// A look at one end of a connection that does not hold it open.
#[derive(Debug)]
pub(crate) struct Watched {
    read: Weak<Pipe>,
    write: Weak<Pipe>,
}

impl Watched {
    pub(crate) fn is_gone(&self) -> bool {
        self.read.strong_count() == 0 && self.write.strong_count() == 0
    }

    /// Ends both directions where neither was used yet.
    pub(crate) fn end_if_silent(&self) {
        let (Some(read), Some(write)) = (self.read.upgrade(), self.write.upgrade()) else { return };
        // Both at once, so that nothing is said in between. Nobody else holds two pipes.
        let (mut read, mut write) = (read.state.lock(), write.state.lock());
        if !read.used && !write.used {
            for state in [&mut *read, &mut *write] {
                state.write_closed = true;
                state.wake_all();
            }
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        if self.read.poll_readable(cx).is_pending() {
            return Poll::Pending;
        }
        while buf.remaining() > 0 {
            match self.read.try_read(buf.remaining()) {
                Read::Bytes(bytes) => buf.put_slice(&bytes),
                Read::Pending | Read::End => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let room = match self.write.poll_writable(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(room)) => room.min(buf.len()),
            Poll::Ready(Err(PeerGone)) => {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
        };
        let written = self
            .write
            .write(Bytes::copy_from_slice(&buf[..room]))
            .map(|()| room)
            .map_err(|PeerGone| io::ErrorKind::BrokenPipe.into());
        Poll::Ready(written)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.write.close();
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn pair() -> (Stream, Stream) {
        Stream::pair(([10, 0, 0, 1], 1).into(), ([10, 0, 0, 2], 2).into())
    }

    #[tokio::test]
    async fn half_close_ends_one_direction_only() {
        let (mut a, mut b) = pair();
        a.write_all(b"question").await.unwrap();
        a.shutdown().await.unwrap();
        let mut question = String::new();
        b.read_to_string(&mut question).await.unwrap();
        assert_eq!(question, "question");
        b.write_all(b"answer").await.unwrap();
        drop(b);
        let mut answer = String::new();
        a.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "answer");
    }

    #[tokio::test]
    async fn a_writer_waits_until_the_reader_makes_room() {
        let (mut a, mut b) = pair();
        let all = vec![7u8; PIPE_BYTES_MAX * 4];
        let mut writing = Box::pin(a.write_all(&all));
        assert!(futures::poll!(&mut writing).is_pending());
        let mut read = vec![0; all.len()];
        let (wrote, got) = tokio::join!(writing, b.read_exact(&mut read));
        wrote.unwrap();
        got.unwrap();
        assert_eq!(read, all);
    }

    #[tokio::test]
    async fn writing_to_a_dropped_peer_is_a_broken_pipe() {
        let (mut a, b) = pair();
        drop(b);
        let error = a.write_all(b"x").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    #[tokio::test]
    async fn a_connection_is_ended_from_beside_while_it_is_silent() {
        let (mut a, b) = pair();
        let watched = b.watched();
        a.write_all(b"x").await.unwrap();
        watched.end_if_silent();
        a.write_all(b"y").await.unwrap();
        drop((a, b));
        assert!(watched.is_gone());
        let (mut a, mut b) = pair();
        b.watched().end_if_silent();
        assert_eq!(a.read(&mut [0; 1]).await.unwrap(), 0);
        assert_eq!(b.read(&mut [0; 1]).await.unwrap(), 0);
    }

    #[test]
    fn single_byte_chunks_are_charged_for_their_overhead() {
        let (write, _read) = pipe();
        let mut chunks = 0;
        while write.room().unwrap() > 0 {
            write.write(Bytes::from_static(b"x")).unwrap();
            chunks += 1;
        }
        assert!(chunks <= PIPE_BYTES_MAX / CHUNK_OVERHEAD);
    }
}
