//! The event recorder: writes events in the background, aggregated as upstream aggregates them.
//!
//! Source: client-go's `tools/record` (`events_cache.go`): equal events raise a count, many similar
//! ones become one "(combined from similar events)", and a token bucket per object caps the rest.
//! Recording never blocks and never fails; what cannot be written is dropped.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde_json::json;
use tokio::sync::mpsc;

use super::plan::{Note, NoteKind};
use crate::ambient::Ambient;

/// Events waiting to be written; beyond, new ones are dropped.
const WAITING_MAX: usize = 4096;
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

async fn write(client: kube::Client, mut notes: mpsc::Receiver<Noted>) {
    let mut correlator = Correlator::default();
    while let Some(note) = notes.recv().await {
        let Some((key, decision)) = correlator.decide(&note) else { continue };
        let written = match decision {
            Decision::Create(event) => post(&client, &event).await.map(|()| Some(event)),
            Decision::Raise { namespace, name, count, message } => {
                raise(&client, &namespace, &name, count, &message, note.at).await.map(|()| None)
            }
        };
        match written {
            Ok(Some(event)) => correlator.created(key, &event),
            Ok(None) => {}
            Err(error) => {
                // It may have expired: begin with a new one.
                correlator.forget(&key);
                tracing::debug!(%error, "event not written");
            }
        }
    }
}

async fn post(client: &kube::Client, event: &Event) -> Result<(), kube::Error> {
    let namespace = event.metadata.namespace.as_deref().unwrap_or("default");
    let body = serde_json::to_vec(event).unwrap_or_default();
    let path = format!("/api/v1/namespaces/{namespace}/events");
    send(client, Method::POST, &path, "application/json", body).await
}

async fn raise(
    client: &kube::Client,
    namespace: &str,
    name: &str,
    count: i32,
    message: &str,
    at: Timestamp,
) -> Result<(), kube::Error> {
    let patch = json!({ "count": count, "lastTimestamp": Time(at), "message": message });
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

enum Decision {
    Create(Box<Event>),
    Raise { namespace: String, name: String, count: i32, message: String },
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
    /// What to write for a note; `None`: nothing, the object has had its share.
    fn decide(&mut self, note: &Noted) -> Option<(EventKey, Decision)> {
        let object = object_text(&note.about);
        let message = self.combine(note, &object);
        if !self.take_token(note, &object) {
            return None;
        }
        let combined = message.starts_with(COMBINED);
        // Combined events are one, whatever their last message says.
        let identity = if combined { COMBINED.to_owned() } else { message.clone() };
        let key = (note.component.clone(), object, note.kind, note.reason.clone(), identity);
        let decision = match self.known.get_mut(&key) {
            Some(known) => {
                known.count += 1;
                Decision::Raise {
                    namespace: known.namespace.clone(),
                    name: known.name.clone(),
                    count: known.count,
                    message,
                }
            }
            None => Decision::Create(Box::new(event(note, message))),
        };
        Some((key, decision))
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

    fn created(&mut self, key: EventKey, event: &Event) {
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
            Some((key, Decision::Create(event))) => {
                correlator.created(key, &event);
                format!("create {}", event.message.unwrap_or_default())
            }
            Some((_, Decision::Raise { count, message, .. })) => format!("{count}x {message}"),
        }
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
