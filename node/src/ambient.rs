//! What a node takes from the world outside: the wall clock and tasks.
//!
//! Passed to the driver and its effects; nothing else in this crate reads the wall clock or spawns a
//! task, so that a node can be run with a clock of the test's making. Work on files blocks, and has
//! tokio's threads for that.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::task::JoinHandle;

/// The clock for timestamps in objects. Delays use `tokio::time`, which tests can pause.
pub trait Clock: Send + Sync {
    fn now(&self) -> Timestamp;
}

/// The surroundings of a node.
#[derive(Clone)]
pub struct Ambient {
    clock: Arc<dyn Clock>,
}

impl Ambient {
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock }
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        tokio::spawn(task)
    }
}

impl Default for Ambient {
    fn default() -> Self {
        Self::new(Arc::new(SystemClock))
    }
}

impl fmt::Debug for Ambient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ambient")
    }
}

struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// `length` random hexadecimal digits: container ids and the like.
pub fn random_hex(length: usize) -> String {
    let mut text = String::with_capacity(length + 16);
    while text.len() < length {
        text.push_str(&format!("{:016x}", rand::random::<u64>()));
    }
    text.truncate(length);
    text
}
