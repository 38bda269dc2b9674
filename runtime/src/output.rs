//! Where a guest's standard output and error go: each write of the guest is one call, unbuffered, in order.
//! A guest that writes faster than it may waits before its next write: nothing is lost, nothing piles up.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::AsyncWrite;
use tokio::time::{Instant, Sleep};
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream as WasiOutputStream, Pollable, StreamResult};

/// Most bytes a guest writes at a time.
const WRITE_BYTES_MAX: usize = 64 * 1024;

/// Receives a container's output. Chunks are as the guest wrote them, not lines.
pub trait Output: Send + Sync {
    /// Called on the guest's thread; must not block long.
    fn write(&self, stream: OutputStream, bytes: &[u8]);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputStream {
    Stdout,
    Stderr,
}

/// A container's output, both streams of all instances: counted, so that it can be slowed down.
pub(crate) struct Faucet {
    output: Arc<dyn Output>,
    /// `None`: as fast as it will.
    level: Option<Mutex<Level>>,
}

/// A token bucket of bytes that holds one second's worth. A write may overdraw it; the next one waits for that.
#[derive(Debug)]
struct Level {
    per_second: u64,
    bytes: i64,
    filled: Instant,
}

impl Level {
    fn new(per_second: u64, now: Instant) -> Level {
        let per_second = per_second.max(1);
        Level { per_second, bytes: i64::try_from(per_second).unwrap_or(i64::MAX), filled: now }
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.filled).as_nanos();
        let earned = passed.saturating_mul(u128::from(self.per_second)) / 1_000_000_000;
        if earned == 0 {
            return;
        }
        self.filled = now;
        let most = i64::try_from(self.per_second).unwrap_or(i64::MAX);
        let earned = i64::try_from(earned).unwrap_or(i64::MAX);
        self.bytes = self.bytes.saturating_add(earned).min(most);
    }

    fn spend(&mut self, now: Instant, bytes: usize) {
        self.fill(now);
        self.bytes = self.bytes.saturating_sub(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// How long until something may be written; `None`: now.
    fn wait(&mut self, now: Instant) -> Option<Duration> {
        self.fill(now);
        let missing = u64::try_from(1 - self.bytes).ok().filter(|missing| *missing > 0)?;
        let nanos = u128::from(missing) * 1_000_000_000 / u128::from(self.per_second);
        // A millisecond's worth at least, so that a slowed writer does not wake for each byte.
        Some(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)).max(WAIT_MIN))
    }
}

const WAIT_MIN: Duration = Duration::from_millis(1);

impl Faucet {
    pub(crate) fn new(output: Arc<dyn Output>, per_second: Option<u64>) -> Arc<Faucet> {
        let level = per_second.map(|per_second| Mutex::new(Level::new(per_second, Instant::now())));
        Arc::new(Faucet { output, level })
    }

    /// Writes at once: what the host itself has to say, or a guest that has waited.
    pub(crate) fn write(&self, stream: OutputStream, bytes: &[u8]) {
        if let Some(level) = &self.level {
            level.lock().spend(Instant::now(), bytes.len());
        }
        self.output.write(stream, bytes);
    }

    /// Once a guest may write.
    pub(crate) async fn ready(&self) {
        while let Some(wait) = self.wait() {
            tokio::time::sleep(wait).await;
        }
    }

    fn wait(&self) -> Option<Duration> {
        self.level.as_ref().and_then(|level| level.lock().wait(Instant::now()))
    }
}

/// One of a guest's two output streams.
pub(crate) struct Pipe {
    faucet: Arc<Faucet>,
    stream: OutputStream,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Clone for Pipe {
    fn clone(&self) -> Self {
        Pipe { faucet: self.faucet.clone(), stream: self.stream, pause: None }
    }
}

impl Pipe {
    pub(crate) fn new(faucet: &Arc<Faucet>, stream: OutputStream) -> Self {
        Pipe { faucet: faucet.clone(), stream, pause: None }
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Some(pause) = &mut self.pause {
                std::task::ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            let Some(wait) = self.faucet.wait() else { return Poll::Ready(()) };
            self.pause = Some(Box::pin(tokio::time::sleep(wait)));
        }
    }
}

impl IsTerminal for Pipe {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Pipe {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn WasiOutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait::async_trait]
impl WasiOutputStream for Pipe {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if !bytes.is_empty() {
            self.faucet.write(self.stream, &bytes);
        }
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(match self.faucet.wait() {
            Some(_) => 0,
            None => WRITE_BYTES_MAX,
        })
    }
}

#[async_trait::async_trait]
impl Pollable for Pipe {
    async fn ready(&mut self) {
        std::future::poll_fn(|cx| self.poll_ready(cx)).await;
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        std::task::ready!(self.poll_ready(cx));
        let bytes = &bytes[..bytes.len().min(WRITE_BYTES_MAX)];
        self.faucet.write(self.stream, bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_overdrawn_waits_until_it_is_paid() {
        let now = Instant::now();
        let mut level = Level::new(1000, now);
        assert_eq!(level.wait(now), None);
        level.spend(now, 1499);
        assert_eq!(level.wait(now), Some(Duration::from_millis(500)));
        assert_eq!(level.wait(now + Duration::from_millis(500)), None);
        // No more than a second's worth is saved up.
        level.spend(now + Duration::from_secs(3600), 1000);
        assert!(level.wait(now + Duration::from_secs(3600)).is_some());
    }
}
