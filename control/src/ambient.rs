//! What the control plane takes from the world outside: the wall clock, randomness, tasks.
//!
//! Passed as a constructor argument to the store, the engine and the scheduler; nothing else in this
//! crate reads the wall clock, draws a random number or spawns a task, so that a cluster in memory can
//! be run from a seed on one thread. The durable store has threads of its own, which wait for the disk.

use std::future::Future;
use std::sync::Arc;

use jiff::Timestamp;
use uuid::Uuid;

/// The clock: wall time for timestamps in objects. Delays use `tokio::time`, which tests can pause.
pub trait Clock: Send + Sync {
    fn now(&self) -> Timestamp;
}

/// Randomness for UIDs, generated names and jitter.
pub trait Random: Send + Sync {
    fn u64(&self) -> u64;
}

/// The surroundings of the control plane.
#[derive(Clone)]
pub struct Ambient {
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

impl Ambient {
    pub fn new(clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Self {
        Self { clock, random }
    }

    /// The machine's clock and the operating system's randomness.
    pub fn real() -> Self {
        Self::new(Arc::new(SystemClock), Arc::new(SystemRandom))
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub fn u64(&self) -> u64 {
        self.random.u64()
    }

    /// A random (version 4) UID.
    pub fn uuid(&self) -> Uuid {
        uuid::Builder::from_random_bytes(
            ((u128::from(self.u64()) << 64) | u128::from(self.u64())).to_be_bytes(),
        )
        .into_uuid()
    }

    /// The `length` letters that upstream appends to generated names: no vowels, no look-alikes.
    ///
    /// Source: `k8s.io/apimachinery/pkg/util/rand`.
    pub fn suffix(&self, length: usize) -> String {
        const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
        (0..length)
            .map(|_| char::from(LETTERS[(self.u64() % LETTERS.len() as u64) as usize]))
            .collect()
    }

    /// Spawns a task of the control plane.
    pub fn spawn<F>(&self, task: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        tokio::spawn(task)
    }
}

struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

struct SystemRandom;

impl Random for SystemRandom {
    fn u64(&self) -> u64 {
        rand::random()
    }
}
