//! A priority level: its requests behind a lock, and those who wait for a seat.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::ambient::Ambient;
use crate::fair::demand::Observed;
use crate::fair::dropped::Dropped;
use crate::fair::queue_set::{QueueSet, Queuing, Refusal, State, Ticket};
use crate::fair::work::Work;

use super::config::Schema;
use super::turn::Asked;

/// What a request leaves with its level.
pub struct Tag {
    pub schema: Arc<Schema>,
    pub asked: Arc<Asked>,
    pub distinguisher: Box<str>,
    /// Wakes the one who waits.
    wake: Option<oneshot::Sender<()>>,
}

pub struct Level {
    pub name: String,
    ambient: Ambient,
    /// All times of the queues are since then.
    began: Instant,
    inner: Mutex<Inner>,
}

struct Inner {
    queues: QueueSet<Tag>,
    dropped: Dropped,
    /// A task sees to it that seats which linger become free.
    is_timed: bool,
}

impl Level {
    pub fn new(name: &str, queuing: Queuing, limit: usize, ambient: Ambient) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            ambient,
            began: Instant::now(),
            inner: Mutex::new(Inner {
                queues: QueueSet::new(queuing, limit, Duration::ZERO),
                dropped: Dropped::default(),
                is_timed: false,
            }),
        })
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    pub fn configure(self: &Arc<Self>, queuing: Queuing, limit: usize) {
        let mut inner = self.inner.lock();
        inner.queues.configure(queuing, limit, self.now());
        self.settle(&mut inner);
    }

    pub fn observed(self: &Arc<Self>) -> Observed {
        let mut inner = self.inner.lock();
        let observed = inner.queues.observed(self.now());
        self.settle(&mut inner);
        observed
    }

    pub fn is_idle(&self) -> bool {
        self.inner.lock().queues.is_idle()
    }

    /// Looks at the requests, for those who tell of them.
    pub fn look<R>(&self, look: impl FnOnce(&QueueSet<Tag>) -> R) -> R {
        look(&self.inner.lock().queues)
    }

    /// The wall clock's word for a time of the queues.
    pub fn time(&self, at: Duration) -> jiff::Timestamp {
        let ago = self.now().saturating_sub(at);
        let ago = jiff::SignedDuration::try_from(ago).unwrap_or_default();
        self.ambient.now().checked_sub(ago).unwrap_or_default()
    }

    /// Counts a refusal; returns the seconds after which to come again.
    pub fn drop_one(&self) -> u64 {
        let second = u64::try_from(self.ambient.now().as_second()).unwrap_or_default();
        self.inner.lock().dropped.record(second)
    }

    /// Takes a seat, or waits for one until the deadline.
    pub async fn enter(
        self: &Arc<Self>,
        hash: u64,
        work: Work,
        (schema, asked, distinguisher): (&Arc<Schema>, &Arc<Asked>, &str),
        deadline: Instant,
    ) -> Result<Seat, Refusal> {
        let tag = Tag {
            schema: schema.clone(),
            asked: asked.clone(),
            distinguisher: distinguisher.into(),
            wake: None,
        };
        let (mut held, wakes) = {
            let mut inner = self.inner.lock();
            let ticket = inner.queues.arrive(hash, work, tag, self.now())?;
            let request = inner.queues.request_mut(ticket);
            let wakes = (request.state == State::Waiting).then(|| {
                let (wake, wakes) = oneshot::channel();
                request.tag.wake = Some(wake);
                wakes
            });
            self.settle(&mut inner);
            (Held { level: self.clone(), ticket: Some(ticket) }, wakes)
        };
        if let Some(wakes) = wakes
            && tokio::time::timeout_at(deadline, wakes).await.is_err()
            && held.give_up()
        {
            return Err(Refusal::TimeOut);
        }
        Ok(Seat { _held: held })
    }

    /// Wakes those who were dispatched, and has an eye on seats that linger while others wait.
    fn settle(self: &Arc<Self>, inner: &mut MutexGuard<'_, Inner>) {
        for ticket in inner.queues.take_dispatched() {
            if let Some(wake) = inner.queues.request_mut(ticket).tag.wake.take() {
                // Who has gone meanwhile finds that it was dispatched, and finishes.
                let _ = wake.send(());
            }
        }
        let lingers = inner.queues.waiting() > 0 && inner.queues.next_release().is_some();
        if lingers && !inner.is_timed {
            inner.is_timed = true;
            self.ambient.spawn(release(self.clone()));
        }
    }
}

/// Frees seats by time alone, as long as somebody waits for them.
async fn release(level: Arc<Level>) {
    loop {
        let due = {
            let mut inner = level.inner.lock();
            inner.queues.advance(level.now());
            level.settle(&mut inner);
            match inner.queues.next_release() {
                Some(due) if inner.queues.waiting() > 0 => due,
                Some(_) | None => {
                    inner.is_timed = false;
                    return;
                }
            }
        };
        tokio::time::sleep_until(level.began + due).await;
    }
}

/// A place in the level: among those who wait, or among those who are served.
struct Held {
    level: Arc<Level>,
    ticket: Option<Ticket>,
}

impl Held {
    /// Returns whether it was still waiting.
    fn give_up(&mut self) -> bool {
        let Some(ticket) = self.ticket else { return false };
        let mut inner = self.level.inner.lock();
        let was_waiting = inner.queues.give_up(ticket, self.level.now());
        self.level.settle(&mut inner);
        if was_waiting {
            self.ticket = None;
        }
        was_waiting
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.give_up() {
            return;
        }
        let Some(ticket) = self.ticket.take() else { return };
        let mut inner = self.level.inner.lock();
        inner.queues.finish(ticket, self.level.now());
        self.level.settle(&mut inner);
    }
}

/// The right to be served. Dropped, it goes to the next.
pub struct Seat {
    _held: Held,
}
