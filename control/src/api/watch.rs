//! Watches.
//!
//! A watch is a stream of frames put together around bytes that the cache holds. What selectors do
//! to an event (an object that moves in or out of the selection) is decided by the pure `seen`.
//! Source: `k8s.io/apiserver/pkg/endpoints/handlers/watch.go`, `pkg/storage/cacher`.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::{BufMut as _, Bytes, BytesMut};
use futures::{FutureExt as _, StreamExt as _};
use http::StatusCode;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use crate::ambient::Ambient;
use crate::cache::{Cache, CacheEvent, CacheWatch, Cached};
use crate::kinds::AnyKind;
use crate::status::ApiError;
use crate::store::Revision;

use super::answer::{json_text, respond, self_described, to_protobuf};
use super::call::Call;
use super::negotiate::{JSON, Media, Output, Shape, not_acceptable};
use super::object::Object;
use super::query::ListOptions;
use super::selectors::Selectors;
use super::state::Api;
use super::{list, table, write};

const PROTOBUF_STREAM: &str = "application/vnd.kubernetes.protobuf;stream=watch";
/// As upstream's `--min-request-timeout`; a watch that names no timeout gets one to two of it.
const TIMEOUT_MIN: Duration = Duration::from_secs(1800);
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// The last bookmark comes this long before the timeout.
const BOOKMARK_BEFORE_END: Duration = Duration::from_secs(2);
/// Events that are at hand are sent together, up to this size.
const CHUNK: usize = 64 * 1024;
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

pub async fn watch(call: &Call) -> Result<Response, ApiError> {
    let options = ListOptions::parse(&call.query, true)?;
    let mut selectors = Selectors::parse(&call.query, call.kind.as_ref())?;
    if !call.address.name.is_empty() {
        selectors = selectors.named(&call.address.name)?;
    }
    let encoder = Encoder::new(call)?;
    let content_type = encoder.content_type();
    let start = begin(call, &options).await?;
    let now = Instant::now();
    let deadline = now + timeout(&options, call.api.ambient());
    let watching = Watching {
        deadline,
        next_bookmark: next_bookmark(now, deadline),
        api: call.api.clone(),
        namespace: Some(call.namespace().to_owned()).filter(|namespace| !namespace.is_empty()),
        selectors,
        encoder,
        bookmarks: options.bookmarks,
        announce_end: options.bookmarks && options.send_initial_events == Some(true),
        initial: start.initial.into_iter(),
        revision: start.revision,
        events: start.events,
        buffer: BytesMut::new(),
        ended: false,
    };
    let frames = futures::stream::unfold(watching, |mut watching| async move {
        let chunk = watching.next_chunk().await?;
        Some((Ok::<Bytes, Infallible>(chunk), watching))
    });
    Ok(respond(StatusCode::OK, content_type, Body::from_stream(frames)))
}

fn timeout(options: &ListOptions, ambient: &Ambient) -> Duration {
    match options.timeout_seconds {
        Some(seconds) if seconds > 0 => Duration::from_secs(seconds),
        _ => TIMEOUT_MIN + Duration::from_secs(ambient.u64() % TIMEOUT_MIN.as_secs()),
    }
}

/// A minute from now, or shortly before the end if that comes first.
fn next_bookmark(now: Instant, deadline: Instant) -> Instant {
    let (next, last) = (now + BOOKMARK_EVERY, deadline - BOOKMARK_BEFORE_END);
    if now < last { next.min(last) } else { next }
}

/// Where a watch begins.
struct Start {
    /// What is announced as ADDED first.
    initial: Vec<Arc<Cached>>,
    revision: Revision,
    /// `None`: too old a revision; the watch ends with an error event, as upstream's do.
    events: Option<CacheWatch>,
}

async fn begin(call: &Call, options: &ListOptions) -> Result<Start, ApiError> {
    let cache = call.cache();
    let state = |with_initial: bool| {
        let (snapshot, events) = cache.snapshot_and_watch();
        let initial = if with_initial { snapshot.items } else { Vec::new() };
        Start { initial, revision: snapshot.revision, events: Some(events) }
    };
    match (options.resource_version, options.send_initial_events) {
        (None, initial) => {
            cache.latest().await.map_err(write::store_failed)?;
            Ok(state(initial != Some(false)))
        }
        (Some(0), initial) => Ok(state(initial != Some(false))),
        (Some(version), Some(true)) => {
            list::wait_for(call, Revision(version)).await?;
            Ok(state(true))
        }
        (Some(version), _) => Ok(after(&cache, Revision(version))),
    }
}

fn after(cache: &Cache, revision: Revision) -> Start {
    Start { initial: Vec::new(), revision, events: cache.watch(revision).ok() }
}

/// A watch under way.
struct Watching {
    api: Arc<Api>,
    namespace: Option<String>,
    selectors: Selectors,
    encoder: Encoder,
    bookmarks: bool,
    /// The end of the initial events has yet to be announced.
    announce_end: bool,
    initial: std::vec::IntoIter<Arc<Cached>>,
    /// Everything up to here has been sent.
    revision: Revision,
    events: Option<CacheWatch>,
    deadline: Instant,
    next_bookmark: Instant,
    buffer: BytesMut,
    ended: bool,
}

enum Next {
    Event(Option<Arc<CacheEvent>>),
    Bookmark,
    Timeout,
    Stopping,
}

impl Watching {
    /// The next frames; `None` when the watch is over.
    async fn next_chunk(&mut self) -> Option<Bytes> {
        loop {
            if self.write_initial() {
                return Some(self.buffer.split().freeze());
            }
            if self.ended {
                return None;
            }
            match self.next().await {
                Next::Event(Some(event)) => self.write_ready(&event),
                Next::Event(None) => self.expire(),
                Next::Bookmark => self.write_bookmark(false),
                Next::Timeout => self.ended = true,
                Next::Stopping => return None,
            }
            if !self.buffer.is_empty() {
                return Some(self.buffer.split().freeze());
            }
        }
    }

    async fn next(&mut self) -> Next {
        let Some(events) = &mut self.events else { return Next::Event(None) };
        tokio::select! {
            biased;
            () = self.api.stopping.cancelled() => Next::Stopping,
            event = events.next() => Next::Event(event),
            () = sleep_until(self.deadline) => Next::Timeout,
            () = sleep_until(self.next_bookmark), if self.bookmarks => Next::Bookmark,
        }
    }

    /// Whether initial events, or the mark of their end, have been written.
    fn write_initial(&mut self) -> bool {
        while self.buffer.len() < CHUNK {
            let Some(cached) = self.initial.next() else { break };
            if self.is_selected(&cached) {
                let object = Object::of_cached(self.encoder.kind.as_ref(), &cached);
                self.encoder.write(&mut self.buffer, "ADDED", &object);
            }
        }
        if self.announce_end && self.initial.len() == 0 {
            self.announce_end = false;
            self.write_bookmark(true);
        }
        !self.buffer.is_empty()
    }

    /// Writes this event, and those that are at hand behind it.
    fn write_ready(&mut self, event: &CacheEvent) {
        self.write_event(event);
        while self.buffer.len() < CHUNK {
            let next = self.events.as_mut().map(|events| events.next().now_or_never());
            match next.flatten() {
                Some(Some(event)) => self.write_event(&event),
                Some(None) => return self.expire(),
                None => return,
            }
        }
    }

    fn write_event(&mut self, event: &CacheEvent) {
        let revision = event.revision();
        // A revision in the future was named: what comes before it is not wanted.
        if revision < self.revision {
            return;
        }
        self.revision = revision;
        let kind = self.encoder.kind.clone();
        let (before, after) = match event {
            CacheEvent::Progress { .. } => return,
            CacheEvent::Added { object } => (None, Some(object)),
            CacheEvent::Modified { object, previous } => (Some(previous), Some(object)),
            CacheEvent::Deleted { previous, .. } => (Some(previous), None),
        };
        let was = before.is_some_and(|cached| self.is_selected(cached));
        let is = after.is_some_and(|cached| self.is_selected(cached));
        let (Some(what), Some(shown)) = (seen(was, is), after.or(event.object())) else { return };
        let object = match (what, before) {
            // It has left the selection: as it was when it was in, at the revision of the change.
            ("DELETED", Some(before)) => {
                Object::of_bytes(kind.as_ref(), before.bytes_at(shown.revision))
            }
            _ => Object::of_cached(kind.as_ref(), shown),
        };
        self.encoder.write(&mut self.buffer, what, &object);
    }

    fn is_selected(&self, cached: &Cached) -> bool {
        self.namespace.as_ref().is_none_or(|namespace| namespace == cached.namespace())
            && self.selectors.match_cached(self.encoder.kind.as_ref(), cached)
    }

    fn write_bookmark(&mut self, initial_events_end: bool) {
        self.next_bookmark = next_bookmark(Instant::now(), self.deadline);
        let info = self.encoder.kind.info();
        let mut bookmark = json!({
            "kind": info.kind,
            "apiVersion": info.api_version(),
            "metadata": { "resourceVersion": self.revision.to_string() },
        });
        if initial_events_end {
            bookmark["metadata"]["annotations"] = json!({ INITIAL_EVENTS_END: "true" });
        }
        self.encoder.write(&mut self.buffer, "BOOKMARK", &Object::of_value(bookmark));
    }

    /// The history that the watcher needs is gone: it must list again.
    fn expire(&mut self) {
        let oldest = self.api.cache(self.encoder.kind.as_ref()).oldest();
        let message = format!("too old resource version: {} ({oldest})", self.revision);
        let status = ApiError::expired(message).to_status();
        self.encoder.write_status(&mut self.buffer, &status);
        self.ended = true;
    }
}

/// How an event shows to one who sees only a selection.
fn seen(was_selected: bool, is_selected: bool) -> Option<&'static str> {
    match (was_selected, is_selected) {
        (false, true) => Some("ADDED"),
        (true, true) => Some("MODIFIED"),
        (true, false) => Some("DELETED"),
        (false, false) => None,
    }
}

/// Puts events into the form that was asked for.
struct Encoder {
    kind: Arc<dyn AnyKind>,
    output: Output,
    table: table::Options,
    ambient: Ambient,
}

impl Encoder {
    fn new(call: &Call) -> Result<Self, ApiError> {
        if call.output.media == Media::Yaml {
            return Err(not_acceptable());
        }
        Ok(Self {
            kind: call.kind.clone(),
            output: call.output,
            table: table::Options::parse(&call.query)?,
            ambient: call.api.ambient().clone(),
        })
    }

    fn content_type(&self) -> &'static str {
        if self.output.media == Media::Protobuf { PROTOBUF_STREAM } else { JSON }
    }

    fn write(&mut self, buffer: &mut BytesMut, what: &str, object: &Object) {
        match self.output.shape {
            Shape::Whole if self.output.media == Media::Protobuf => {
                let ty = self.kind.info().schema;
                match to_protobuf(ty, object.value()) {
                    Some(bytes) => protobuf_frame(buffer, what, &bytes),
                    None => json_frame(buffer, what, &object.bytes),
                }
            }
            Shape::Whole => json_frame(buffer, what, &object.bytes),
            Shape::Partial => {
                let partial = table::partial(&self.output, object);
                match self.output.media {
                    Media::Protobuf => {
                        if let Some(bytes) = self_described(&partial) {
                            protobuf_frame(buffer, what, &bytes);
                        }
                    }
                    Media::Json | Media::Yaml => {
                        json_frame(buffer, what, &json_text(&partial, false));
                    }
                }
            }
            Shape::Table => {
                let (kind, now) = (self.kind.as_ref(), self.ambient.now());
                let table = table::of_object(&self.output, kind, object, self.table, now);
                self.table.headless = true;
                json_frame(buffer, what, &json_text(&table, false));
            }
        }
    }

    fn write_status(&self, buffer: &mut BytesMut, status: &Value) {
        match self.output.media {
            Media::Protobuf => {
                if let Some(bytes) = self_described(status) {
                    protobuf_frame(buffer, "ERROR", &bytes);
                }
            }
            Media::Json | Media::Yaml => {
                json_frame(buffer, "ERROR", &json_text(status, false));
            }
        }
    }
}

fn json_frame(buffer: &mut BytesMut, what: &str, object: &[u8]) {
    buffer.reserve(object.len() + what.len() + 24);
    buffer.put_slice(b"{\"type\":\"");
    buffer.put_slice(what.as_bytes());
    buffer.put_slice(b"\",\"object\":");
    buffer.put_slice(object);
    buffer.put_slice(b"}\n");
}

/// A `meta.v1.WatchEvent` (type = 1, object = 2, a RawExtension whose raw = 1) behind its length.
fn protobuf_frame(buffer: &mut BytesMut, what: &str, object: &[u8]) {
    let mut raw = Vec::with_capacity(object.len() + 8);
    field(&mut raw, 1, object);
    let mut event = Vec::with_capacity(raw.len() + 24);
    field(&mut event, 1, what.as_bytes());
    field(&mut event, 2, &raw);
    buffer.put_u32(event.len() as u32);
    buffer.put_slice(&event);
}

/// A length-delimited protobuf field.
fn field(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push((tag << 3) | 2);
    let mut length = bytes.len();
    while length >= 0x80 {
        out.push((length as u8) | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_move_in_and_out_of_a_selection() {
        assert_eq!(seen(false, true), Some("ADDED"));
        assert_eq!(seen(true, true), Some("MODIFIED"));
        assert_eq!(seen(true, false), Some("DELETED"));
        assert_eq!(seen(false, false), None);
    }

    #[test]
    fn frames_wrap_the_bytes_as_they_are() {
        let mut buffer = BytesMut::new();
        json_frame(&mut buffer, "ADDED", b"{}");
        assert_eq!(&buffer[..], b"{\"type\":\"ADDED\",\"object\":{}}\n");
        let mut buffer = BytesMut::new();
        protobuf_frame(&mut buffer, "ADDED", b"xy");
        assert_eq!(&buffer[..], b"\x00\x00\x00\x0d\x0a\x05ADDED\x12\x04\x0a\x02xy");
    }
}
