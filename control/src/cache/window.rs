//! A kind's window of past events, bounded by count, bytes and age. It performs no I/O.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{CacheEvent, Expired, Occurred};
use crate::store::Revision;

/// How much of the past one kind keeps for those who watch (whatever is exceeded first counts), and
/// how long things take.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub events_max: usize,
    pub bytes_max: usize,
    pub age_max: Duration,
    /// How often sleeping watchers are told of progress, and old events are let go.
    pub progress_every: Duration,
    /// How long `caught_up` waits for a revision.
    pub patience: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            events_max: 10_000,
            bytes_max: 16 * 1024 * 1024,
            // Clients come back within seconds; what is older holds memory that idles. As upstream's
            // event freshness.
            age_max: Duration::from_secs(75),
            progress_every: Duration::from_secs(5),
            patience: Duration::from_secs(3),
        }
    }
}

/// How long an event's watchers may take to come for it, and share its frames.
const FRESH: Duration = Duration::from_secs(1);

struct Past {
    event: Arc<Occurred>,
    at: Instant,
}

/// Where a watcher stands: before the event with this number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position(u64);

pub(super) struct Window {
    options: Options,
    events: VecDeque<Past>,
    bytes: usize,
    /// The number of the first event held; they only rise.
    first: u64,
    /// Every event after this revision is held.
    start: Revision,
    /// Events before this number keep no frames any more.
    settled: u64,
}

impl Window {
    pub fn new(options: Options) -> Self {
        Self {
            options,
            events: VecDeque::new(),
            bytes: 0,
            first: 0,
            start: Revision(0),
            settled: 0,
        }
    }

    pub fn push(&mut self, event: Arc<Occurred>, now: Instant) {
        self.bytes += size(&event);
        self.events.push_back(Past { event, at: now });
        self.trim(now);
    }

    pub fn trim(&mut self, now: Instant) {
        while let Some(past) = self.events.front() {
            let excess = self.events.len() > self.options.events_max
                || self.bytes > self.options.bytes_max
                || now.duration_since(past.at) > self.options.age_max;
            if !excess {
                return;
            }
            self.forget_first();
        }
        self.events.shrink_to_fit();
    }

    fn forget_first(&mut self) {
        if let Some(past) = self.events.pop_front() {
            self.bytes -= size(&past.event);
            self.start = past.event.revision();
            self.first += 1;
        }
    }

    /// The events that have been here for a while since this was last asked.
    pub fn settled(&mut self, now: Instant) -> Vec<Arc<Occurred>> {
        let from = self.settled.max(self.first);
        let skip = usize::try_from(from - self.first).unwrap_or(usize::MAX);
        let settled: Vec<_> = self
            .events
            .iter()
            .skip(skip)
            .take_while(|past| now.duration_since(past.at) >= FRESH)
            .map(|past| past.event.clone())
            .collect();
        self.settled = from + settled.len() as u64;
        settled
    }

    /// Forgets all, so that every watcher has expired.
    pub fn restart(&mut self, at: Revision) {
        self.first += self.events.len() as u64 + 1;
        self.events.clear();
        self.bytes = 0;
        self.start = at;
    }

    /// The oldest revision that a watcher may begin at.
    pub fn start(&self) -> Revision {
        self.start
    }

    /// The position of a watcher that has seen everything up to `from`.
    pub fn position(&self, from: Revision) -> Result<Position, Expired> {
        if from < self.start {
            return Err(Expired);
        }
        let seen = self.events.partition_point(|past| past.event.revision() <= from);
        Ok(Position(self.first + seen as u64))
    }

    pub fn end(&self) -> Position {
        Position(self.first + self.events.len() as u64)
    }

    /// Up to `limit` events from a position, and the position behind them.
    pub fn read(
        &self,
        from: Position,
        limit: usize,
    ) -> Result<(impl Iterator<Item = &Arc<Occurred>>, Position), Expired> {
        let skip = from.0.checked_sub(self.first).ok_or(Expired)?;
        let skip = usize::try_from(skip).unwrap_or(usize::MAX).min(self.events.len());
        let end = self.events.len().min(skip.saturating_add(limit));
        let events = self.events.range(skip..end).map(|past| &past.event);
        Ok((events, Position(self.first + end as u64)))
    }
}

/// A previous object is the object of an earlier event, mostly: it is not counted twice.
fn size(event: &CacheEvent) -> usize {
    event.object().map_or(0, |object| object.stored().len())
}
