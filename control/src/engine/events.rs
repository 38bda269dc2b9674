//! The event recorder: writes events in the background, aggregated as upstream aggregates them.
//!
//! Source: client-go's `tools/record` (`events_cache.go`): equal events raise a count, many similar
//! ones become one "(combined from similar events)", and a token bucket per object caps the rest.
//! Recording never blocks and never fails; what cannot be written is dropped. A burst of notes is
//! written when it is over, or has gone on for long: it lets go first what it tells of, and an event
//! is then one write, however often it was noted.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use http::{Method, Request};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::plan::{Note, NoteKind};
use crate::ambient::Ambient;

/// Events waiting to be written; beyond, new ones are dropped.
const WAITING_MAX: usize = 4096;
/// Notes that come within so long of each other are a burst.
const PAUSE: Duration = Duration::from_millis(20);
/// How long a burst is gathered at the most, and how many of its notes.
const GATHER_MAX: Duration = Duration::from_secs(1);
const NOTES_AT_ONCE: usize = 2048;
/// Events written side by side.
const WRITES_AT_ONCE: usize = 16;
/// Remembered events and objects; beyond, all are forgotten and counts begin anew.
const REMEMBERED_MAX: usize = 4096;
/// The bucket of an object's events: so many at once, then one per interval.
const BURST: f64 = 25.0;
const REFILL_SECONDS: f64 = 300.0;
/// So many different messages of one reason about one object within the interval are combined.
const SIMILAR_MAX: usize = 10;
const SIMILAR_SECONDS: i64 = 600;

/// Records the events of one component.
#[derive(Clone)]
pub struct Recorder {
    component: Arc<str>,
    waiting: mpsc::Sender<Noted>,
    ambient: Ambient,
}

/// Writes what recorders record.
pub struct RecorderHandle {
    waiting: mpsc::Sender<Noted>,
    writer: tokio::task::JoinHandle<()>,
    ambient: Ambient,
}

struct Noted {
    component: Arc<str>,
    about: Arc<ObjectReference>,
    kind: NoteKind,
    reason: String,
    message: String,
    at: Timestamp,
}

impl RecorderHandle {
    /// Starts the writer.
    pub fn start(client: kube::Client, ambient: &Ambient) -> Self {
        let (waiting, notes) = mpsc::channel(WAITING_MAX);
        let writer = ambient.spawn(write(client, notes));
        Self { waiting, writer, ambient: ambient.clone() }
    }

    /// A recorder whose events name this component as their source.
    pub fn recorder(&self, component: &str) -> Recorder {
        Recorder {
            component: component.into(),
            waiting: self.waiting.clone(),
            ambient: self.ambient.clone(),
        }
    }

    /// Ends the writer; what waits is dropped.
    pub async fn stop(self) {
        self.writer.abort();
        self.writer.await.ok();
    }
}

impl Recorder {
    /// Records an event. `message` replaces the note's where it names what was written.
    pub fn record(&self, note: &Note, message: String) {
        self.event(&note.about, note.kind, note.reason, message);
    }

    /// Records an event about an object.
    pub fn event(
        &self,
        about: &Arc<ObjectReference>,
        kind: NoteKind,
        reason: &str,
        message: String,
    ) {
        let noted = Noted {
            component: self.component.clone(),
            about: about.clone(),
            kind,
            reason: reason.to_owned(),
            message,
            at: self.ambient.now(),
        };
        if self.waiting.try_send(noted).is_err() {
            tracing::debug!(reason, "event dropped: too many are waiting");
        }
    }
}

async fn write(client: kube::Client, mut waiting: mpsc::Receiver<Noted>) {
    let mut correlator = Correlator::default();
    let mut notes = Vec::new();
    while gather(&mut waiting, &mut notes).await {
        let writes = correlator.gather(notes.drain(..));
        let writes = writes.into_iter().map(|(key, write)| {
            let client = client.clone();
            async move { (key, write.send(&client).await) }
        });
        let mut answers = futures::stream::iter(writes).buffer_unordered(WRITES_AT_ONCE);
        while let Some((key, answer)) = answers.next().await {
            if let Err(error) = answer {
                // It may have expired: begin with a new one.
                correlator.forget(&key);
                tracing::debug!(%error, "event not written");
            }
        }
    }
}

/// Takes a burst of notes; false where nobody can record any more.
async fn gather(waiting: &mut mpsc::Receiver<Noted>, notes: &mut Vec<Noted>) -> bool {
    if waiting.recv_many(notes, NOTES_AT_ONCE).await == 0 {
        return false;
    }
    let end = Instant::now() + GATHER_MAX;
    while notes.len() < NOTES_AT_ONCE {
        let until = end.min(Instant::now() + PAUSE);
        let room = NOTES_AT_ONCE - notes.len();
        let more = waiting.recv_many(notes, room);
        if tokio::time::timeout_at(until, more).await.is_err() || waiting.is_closed() {
            break;
        }
    }
    true
}

impl Write {
    async fn send(self, client: &kube::Client) -> Result<(), kube::Error> {
        match self {
            Self::Create(event) => post(client, &event).await,
            Self::Raise(raised) => raise(client, &raised).await,
        }
    }
}

async fn post(client: &kube::Client, event: &Event) -> Result<(), kube::Error> {
    let namespace = event.metadata.namespace.as_deref().unwrap_or("default");
    let body = serde_json::to_vec(event).unwrap_or_default();
    let path = format!("/api/v1/namespaces/{namespace}/events");
    send(client, Method::POST, &path, "application/json", body).await
}

async fn raise(client: &kube::Client, raised: &Raised) -> Result<(), kube::Error> {
    let Raised { namespace, name, count, message, at } = raised;
    let patch = json!({ "count": count, "lastTimestamp": Time(*at), "message": message });
    let body = serde_json::to_vec(&patch).unwrap_or_default();
    let path = format!("/api/v1/namespaces/{namespace}/events/{name}");
    send(client, Method::PATCH, &path, "application/merge-patch+json", body).await
}

async fn send(
    client: &kube::Client,
    method: Method,
    path: &str,
    content_type: &'static str,
    body: Vec<u8>,
) -> Result<(), kube::Error> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(http::header::CONTENT_TYPE, content_type)
        .body(body)
        .map_err(kube::Error::HttpError)?;
    tokio::time::timeout(Duration::from_secs(30), client.request_text(request))
        .await
        .unwrap_or_else(|_| Err(kube::Error::Service("event not answered in time".into())))
        .map(drop)
}

/// What makes two events the same.
type EventKey = (Arc<str>, String, NoteKind, String, String);
type SimilarKey = (Arc<str>, String, NoteKind, String);

/// A write that a note comes to.
enum Write {
    Create(Box<Event>),
    Raise(Raised),
}

/// An event that happened again.
struct Raised {
    namespace: String,
    name: String,
    count: i32,
    message: String,
    at: Timestamp,
}

impl Write {
    /// The same event happened once more before this was written.
    fn raise(&mut self, raised: Raised) {
        match self {
            Self::Create(event) => {
                event.count = Some(raised.count);
                event.last_timestamp = Some(Time(raised.at));
                event.message = Some(raised.message);
            }
            Self::Raise(earlier) => *earlier = raised,
        }
    }
}

#[derive(Default)]
struct Correlator {
    known: HashMap<EventKey, Known>,
    similar: HashMap<SimilarKey, Similar>,
    buckets: HashMap<(Arc<str>, String), Bucket>,
}

struct Known {
    namespace: String,
    name: String,
    count: i32,
}

struct Similar {
    messages: HashSet<String>,
    last: Timestamp,
}

struct Bucket {
    tokens: f64,
    filled: Timestamp,
}

impl Correlator {
    /// What to write for some notes: of each event once.
    fn gather(&mut self, notes: impl Iterator<Item = Noted>) -> Vec<(EventKey, Write)> {
        let mut writes: Vec<(EventKey, Write)> = Vec::new();
        let mut places: HashMap<EventKey, usize> = HashMap::new();
        for note in notes {
            let Some((key, write)) = self.decide(&note) else { continue };
            match (places.get(&key).copied(), write) {
                (Some(place), Write::Raise(raised)) => writes[place].1.raise(raised),
                (_, write) => {
                    places.insert(key.clone(), writes.len());
                    writes.push((key, write));
                }
            }
        }
        writes
    }

    /// What to write for a note; `None`: nothing, the object has had its share.
    fn decide(&mut self, note: &Noted) -> Option<(EventKey, Write)> {
        let object = object_text(&note.about);
        let message = self.combine(note, &object);
        if !self.take_token(note, &object) {
            return None;
        }
        let combined = message.starts_with(COMBINED);
        // Combined events are one, whatever their last message says.
        let identity = if combined { COMBINED.to_owned() } else { message.clone() };
        let key = (note.component.clone(), object, note.kind, note.reason.clone(), identity);
        let write = match self.known.get_mut(&key) {
            Some(known) => {
                known.count += 1;
                Write::Raise(Raised {
                    namespace: known.namespace.clone(),
                    name: known.name.clone(),
                    count: known.count,
                    message,
                    at: note.at,
                })
            }
            None => {
                let event = Box::new(event(note, message));
                self.remember(key.clone(), &event);
                Write::Create(event)
            }
        };
        Some((key, write))
    }

    fn combine(&mut self, note: &Noted, object: &str) -> String {
        bound(&mut self.similar);
        let key = (note.component.clone(), object.to_owned(), note.kind, note.reason.clone());
        let similar = self
            .similar
            .entry(key)
            .or_insert_with(|| Similar { messages: HashSet::new(), last: note.at });
        if note.at.as_second() - similar.last.as_second() > SIMILAR_SECONDS {
            similar.messages.clear();
        }
        similar.last = note.at;
        if similar.messages.len() >= SIMILAR_MAX && !similar.messages.contains(&note.message) {
            return format!("{COMBINED}{}", note.message);
        }
        similar.messages.insert(note.message.clone());
        note.message.clone()
    }

    fn take_token(&mut self, note: &Noted, object: &str) -> bool {
        bound(&mut self.buckets);
        let bucket = self
            .buckets
            .entry((note.component.clone(), object.to_owned()))
            .or_insert(Bucket { tokens: BURST, filled: note.at });
        let seconds = (note.at.as_millisecond() - bucket.filled.as_millisecond()) as f64 / 1000.0;
        bucket.tokens = (bucket.tokens + seconds.max(0.0) / REFILL_SECONDS).min(BURST);
        bucket.filled = note.at;
        let has = bucket.tokens >= 1.0;
        if has {
            bucket.tokens -= 1.0;
        }
        has
    }

    fn remember(&mut self, key: EventKey, event: &Event) {
        bound(&mut self.known);
        let known = Known {
            namespace: event.metadata.namespace.clone().unwrap_or_default(),
            name: event.metadata.name.clone().unwrap_or_default(),
            count: 1,
        };
        self.known.insert(key, known);
    }

    fn forget(&mut self, key: &EventKey) {
        self.known.remove(key);
    }
}

const COMBINED: &str = "(combined from similar events): ";

fn bound<K, V>(map: &mut HashMap<K, V>) {
    if map.len() >= REMEMBERED_MAX {
        map.clear();
    }
}

fn object_text(about: &ObjectReference) -> String {
    let part = |part: &Option<String>| part.clone().unwrap_or_default();
    [
        part(&about.kind),
        part(&about.namespace),
        part(&about.name),
        part(&about.uid),
        part(&about.field_path),
    ]
    .join("/")
}

fn event(note: &Noted, message: String) -> Event {
    let about = &note.about;
    let namespace = about.namespace.clone().filter(|namespace| !namespace.is_empty());
    let name = about.name.as_deref().unwrap_or_default();
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{name}.{:x}", note.at.as_nanosecond())),
            namespace: Some(namespace.unwrap_or_else(|| "default".to_owned())),
            ..ObjectMeta::default()
        },
        involved_object: (**about).clone(),
        type_: Some(note.kind.name().to_owned()),
        reason: Some(note.reason.clone()),
        message: Some(message),
        source: Some(EventSource { component: Some(note.component.to_string()), host: None }),
        reporting_component: Some(note.component.to_string()),
        reporting_instance: Some(String::new()),
        first_timestamp: Some(Time(note.at)),
        last_timestamp: Some(Time(note.at)),
        count: Some(1),
        ..Event::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(message: &str, second: i64) -> Noted {
        Noted {
            component: "replicaset-controller".into(),
            about: Arc::new(ObjectReference {
                kind: Some("ReplicaSet".to_owned()),
                namespace: Some("shop".to_owned()),
                name: Some("web".to_owned()),
                ..ObjectReference::default()
            }),
            kind: NoteKind::Normal,
            reason: "SuccessfulCreate".to_owned(),
            message: message.to_owned(),
            at: Timestamp::from_second(1_700_000_000 + second).unwrap(),
        }
    }

    fn step(correlator: &mut Correlator, note: &Noted) -> String {
        match correlator.decide(note) {
            None => "dropped".to_owned(),
            Some((_, Write::Create(event))) => {
                format!("create {}", event.message.unwrap_or_default())
            }
            Some((_, Write::Raise(raised))) => format!("{}x {}", raised.count, raised.message),
        }
    }

    #[tokio::test]
    async fn a_burst_is_taken_when_it_is_over_or_has_gone_on_for_long() {
        const COUNT: usize = 400;
        let (sender, mut waiting) = mpsc::channel(WAITING_MAX);
        let mut notes = Vec::new();
        for _ in 0..3 {
            sender.send(note("a", 0)).await.unwrap();
        }
        assert!(gather(&mut waiting, &mut notes).await);
        assert_eq!(notes.len(), 3);
        notes.clear();
        let burst = async {
            for _ in 0..COUNT {
                sender.send(note("a", 0)).await.unwrap();
                tokio::time::sleep(PAUSE / 4).await;
            }
        };
        tokio::join!(burst, async { assert!(gather(&mut waiting, &mut notes).await) });
        assert!((2..COUNT).contains(&notes.len()), "{}", notes.len());
        drop(sender);
        assert!(gather(&mut waiting, &mut notes).await);
        assert!(!gather(&mut waiting, &mut notes).await);
    }

    #[test]
    fn notes_that_gather_are_written_once_an_event() {
        let mut correlator = Correlator::default();
        let mut gather = |notes: &[(&str, i64)]| {
            let notes = notes.iter().map(|(message, second)| note(message, *second));
            let show = |(_, write): (EventKey, Write)| match write {
                Write::Create(event) => (true, event.count.unwrap(), event.message.unwrap()),
                Write::Raise(raised) => (false, raised.count, raised.message),
            };
            correlator.gather(notes).into_iter().map(show).collect::<Vec<_>>()
        };
        let first = gather(&[("a", 0), ("b", 1), ("a", 2), ("a", 3)]);
        assert_eq!(first, [(true, 3, "a".to_owned()), (true, 1, "b".to_owned())]);
        let second = gather(&[("a", 4), ("b", 5), ("a", 6)]);
        assert_eq!(second, [(false, 5, "a".to_owned()), (false, 2, "b".to_owned())]);
    }

    #[test]
    fn equal_events_raise_the_count_of_the_first() {
        let mut correlator = Correlator::default();
        assert_eq!(step(&mut correlator, &note("a", 0)), "create a");
        assert_eq!(step(&mut correlator, &note("a", 1)), "2x a");
        assert_eq!(step(&mut correlator, &note("b", 2)), "create b");
        assert_eq!(step(&mut correlator, &note("a", 3)), "3x a");
    }

    #[test]
    fn many_similar_events_are_combined_and_the_bucket_caps_them() {
        let mut correlator = Correlator::default();
        let steps: Vec<String> =
            (0..30).map(|i| step(&mut correlator, &note(&format!("pod {i}"), 0))).collect();
        assert_eq!(steps[9], "create pod 9");
        assert_eq!(steps[10], "create (combined from similar events): pod 10");
        assert_eq!(steps[11], "2x (combined from similar events): pod 11");
        assert_eq!(steps[24], "15x (combined from similar events): pod 24");
        assert_eq!(steps[25], "dropped");
        assert_eq!(step(&mut correlator, &note("pod 31", 299)), "dropped");
        assert_eq!(
            step(&mut correlator, &note("pod 32", 301)),
            "16x (combined from similar events): pod 32"
        );
    }

    #[test]
    fn an_event_is_named_after_its_object_and_instant() {
        let event = event(&note("a", 0), "a".to_owned());
        assert_eq!(event.metadata.name.as_deref(), Some("web.17979cfe362a0000"));
        assert_eq!(event.metadata.namespace.as_deref(), Some("shop"));
    }
}
