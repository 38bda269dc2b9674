//! The node's events: queued in the background, equal ones counted, written after what matters more.
//!
//! An event is a courtesy: it never holds up a pod. The queue is bounded, and what does not fit is
//! dropped, as upstream does.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Patch, PatchParams, PostParams, Request};
use kube::{Client, Resource as _};
use serde_json::json;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::ambient::Ambient;

/// Events that wait to be written; what comes when it is full is dropped.
const QUEUE: usize = 20_000;
/// Events written at a time.
const WRITERS: usize = 4;
/// Kept to count repetitions.
const REMEMBERED: usize = 4096;
/// How long events stand back for statuses at the most.
const STAND_BACK: Duration = Duration::from_secs(2);
/// As upstream: an object may have this many events at once, and one more every [`REFILL`].
const BURST: f64 = 25.0;
const REFILL: Duration = Duration::from_secs(300);
const COMPONENT: &str = "kubelet";

/// How many status writes are under way: events let them go first.
#[derive(Clone, Default)]
pub struct Busy(Arc<Writes>);

#[derive(Default)]
struct Writes {
    under_way: AtomicUsize,
    none: Notify,
}

impl Busy {
    pub fn enter(&self) -> BusyGuard {
        self.0.under_way.fetch_add(1, Ordering::AcqRel);
        BusyGuard(self.clone())
    }

    /// Waits for a moment without status writes.
    async fn idle(&self) {
        loop {
            let none = self.0.none.notified();
            tokio::pin!(none);
            none.as_mut().enable();
            if self.0.under_way.load(Ordering::Acquire) == 0 {
                return;
            }
            none.await;
        }
    }
}

/// A status write under way.
pub struct BusyGuard(Busy);

impl Drop for BusyGuard {
    fn drop(&mut self) {
        if self.0.0.under_way.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.0.none.notify_waiters();
        }
    }
}

/// Something to be told.
pub struct Report {
    pub about: ObjectReference,
    pub warning: bool,
    pub reason: &'static str,
    pub message: String,
}

struct Queued {
    report: Report,
    at: Timestamp,
}

/// Takes events and never waits. Cheap to clone.
#[derive(Clone)]
pub struct Recorder {
    queue: mpsc::Sender<Queued>,
    ambient: Ambient,
}

impl Recorder {
    /// Starts the writing; it ends when the last recorder is dropped, or the node is gone.
    pub fn start(
        client: Client,
        host: String,
        busy: Busy,
        ambient: Ambient,
        gone: CancellationToken,
    ) -> Self {
        let (queue, reports) = mpsc::channel(QUEUE);
        let writing = write_all(client, host, busy, reports);
        ambient.spawn(async move {
            let _ = gone.run_until_cancelled(writing).await;
        });
        Self { queue, ambient }
    }

    pub fn record(&self, report: Report) {
        let queued = Queued { report, at: self.ambient.now() };
        if self.queue.try_send(queued).is_err() {
            tracing::debug!("an event was dropped: too many wait");
        }
    }
}

/// What makes two events the same.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Sameness {
    uid: String,
    field_path: Option<String>,
    reason: &'static str,
    message: String,
}

struct Seen {
    namespace: String,
    name: String,
    count: i32,
}

/// What was written lately, oldest first.
#[derive(Default)]
struct Memory {
    seen: HashMap<Sameness, Seen>,
    order: VecDeque<Sameness>,
    buckets: HashMap<String, (f64, Timestamp)>,
}

enum Write {
    Create(Box<Event>, String),
    Count { namespace: String, name: String, count: i32, at: Timestamp },
}

impl Write {
    /// The event's name.
    fn name(&self) -> String {
        match self {
            Self::Create(event, _) => event.metadata.name.clone().unwrap_or_default(),
            Self::Count { name, .. } => name.clone(),
        }
    }
}

impl Memory {
    /// Whether an object may have one more event now.
    fn admit(&mut self, uid: &str, at: Timestamp) -> bool {
        if self.buckets.len() > REMEMBERED {
            self.buckets.clear();
        }
        let (left, since) = self.buckets.entry(uid.to_owned()).or_insert((BURST, at));
        let elapsed = at.duration_since(*since).as_secs_f64().max(0.0);
        *left = (*left + elapsed / REFILL.as_secs_f64()).min(BURST);
        *since = at;
        let admitted = *left >= 1.0;
        if admitted {
            *left -= 1.0;
        }
        admitted
    }

    fn plan(&mut self, queued: Queued, host: &str) -> Option<Write> {
        let Queued { report, at } = queued;
        let uid = report.about.uid.clone().unwrap_or_default();
        if !self.admit(&uid, at) {
            return None;
        }
        let sameness = Sameness {
            uid,
            field_path: report.about.field_path.clone(),
            reason: report.reason,
            message: report.message.clone(),
        };
        if let Some(seen) = self.seen.get_mut(&sameness) {
            seen.count += 1;
            return Some(Write::Count {
                namespace: seen.namespace.clone(),
                name: seen.name.clone(),
                count: seen.count,
                at,
            });
        }
        let namespace = report.about.namespace.clone().unwrap_or_else(|| "default".into());
        let name = format!(
            "{}.{:x}{:04x}",
            report.about.name.as_deref().unwrap_or_default(),
            at.as_nanosecond(),
            rand::random::<u16>()
        );
        self.remember(sameness, &namespace, &name);
        let event = event(report, &namespace, name, at, host);
        Some(Write::Create(Box::new(event), namespace))
    }

    fn remember(&mut self, sameness: Sameness, namespace: &str, name: &str) {
        if self.order.len() >= REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.seen.remove(&oldest);
        }
        let seen = Seen { namespace: namespace.into(), name: name.into(), count: 1 };
        self.seen.insert(sameness.clone(), seen);
        self.order.push_back(sameness);
    }
}

fn event(report: Report, namespace: &str, name: String, at: Timestamp, host: &str) -> Event {
    Event {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some(namespace.into()),
            ..ObjectMeta::default()
        },
        involved_object: report.about,
        reason: Some(report.reason.into()),
        message: Some(report.message),
        type_: Some(if report.warning { "Warning" } else { "Normal" }.into()),
        count: Some(1),
        first_timestamp: Some(Time(at)),
        last_timestamp: Some(Time(at)),
        source: Some(EventSource { component: Some(COMPONENT.into()), host: Some(host.into()) }),
        reporting_component: Some(COMPONENT.into()),
        reporting_instance: Some(host.into()),
        ..Event::default()
    }
}

async fn write_all(client: Client, host: String, busy: Busy, mut reports: mpsc::Receiver<Queued>) {
    let mut memory = Memory::default();
    let mut writes = FuturesUnordered::new();
    // A count must not overtake the creation of its event, nor another count.
    let mut under_way: HashSet<String> = HashSet::new();
    // The next event, and until when it stands back.
    let mut next: Option<(Queued, Instant)> = None;
    loop {
        let until = next.as_ref().map(|(_, until)| *until);
        let room = writes.len() < WRITERS;
        tokio::select! {
            Some(done) = writes.next() => drop(under_way.remove(&done)),
            queued = reports.recv(), if until.is_none() && room => {
                let Some(queued) = queued else { break };
                next = Some((queued, Instant::now() + STAND_BACK));
            }
            () = stand_back(&busy, until), if until.is_some() && room => {
                let Some((queued, _)) = next.take() else { continue };
                let Some(write) = memory.plan(queued, &host) else { continue };
                let name = write.name();
                while under_way.contains(&name) {
                    let Some(done) = writes.next().await else { break };
                    under_way.remove(&done);
                }
                under_way.insert(name.clone());
                writes.push(perform(client.clone(), write, name));
            }
        }
    }
    while writes.next().await.is_some() {}
}

/// Lets status writes go first, but no longer than `until`.
async fn stand_back(busy: &Busy, until: Option<Instant>) {
    if let Some(until) = until {
        // In vain where they do not end: then both go on beside each other.
        let _ = timeout_at(until, busy.idle()).await;
    }
}

/// Writes, and answers the event's name.
async fn perform(client: Client, write: Write, name: String) -> String {
    if let Err(error) = try_perform(client, write).await {
        tracing::debug!(%error, "an event could not be written");
    }
    name
}

async fn try_perform(client: Client, write: Write) -> Result<(), kube::Error> {
    let events = |namespace: &str| Request::new(Event::url_path(&(), Some(namespace)));
    let request = match write {
        Write::Create(event, namespace) => {
            let body = serde_json::to_vec(&event).map_err(kube::Error::SerdeError)?;
            events(&namespace).create(&PostParams::default(), body)
        }
        Write::Count { namespace, name, count, at } => {
            let patch = json!({ "count": count, "lastTimestamp": Time(at) });
            events(&namespace).patch(&name, &PatchParams::default(), &Patch::Merge(patch))
        }
    };
    // The event in the answer is not looked at.
    client.request_text(request.map_err(kube::Error::BuildRequest)?).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queued(message: &str, second: i64) -> Queued {
        let about = ObjectReference {
            uid: Some("u".into()),
            name: Some("web".into()),
            namespace: Some("ns".into()),
            ..ObjectReference::default()
        };
        Queued {
            report: Report { about, warning: true, reason: "BackOff", message: message.into() },
            at: Timestamp::from_second(1_700_000_000 + second).unwrap(),
        }
    }

    #[tokio::test]
    async fn an_event_waits_for_status_writes_but_not_for_ever() {
        let busy = Busy::default();
        let late = Some(Instant::now() + Duration::from_secs(3600));
        stand_back(&busy, late).await;
        let (first, second) = (busy.enter(), busy.enter());
        {
            let mut waiting = std::pin::pin!(stand_back(&busy, late));
            assert!(futures::poll!(&mut waiting).is_pending());
            drop(first);
            assert!(futures::poll!(&mut waiting).is_pending(), "one is still under way");
            drop(second);
            assert!(futures::poll!(&mut waiting).is_ready(), "at once");
        }
        let _held = busy.enter();
        stand_back(&busy, Some(Instant::now())).await;
    }

    #[test]
    fn equal_events_are_counted_and_a_flood_is_cut() {
        let mut memory = Memory::default();
        assert!(matches!(memory.plan(queued("a", 0), "n"), Some(Write::Create(..))));
        let second = memory.plan(queued("a", 1), "n");
        assert!(matches!(second, Some(Write::Count { count: 2, .. })));
        assert!(matches!(memory.plan(queued("b", 1), "n"), Some(Write::Create(..))));
        let admitted = (0..40).filter(|_| memory.plan(queued("a", 2), "n").is_some()).count();
        assert_eq!(admitted, 22);
        assert!(memory.plan(queued("a", 400), "n").is_some());
    }
}
