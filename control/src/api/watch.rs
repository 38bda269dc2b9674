//! Watches.
//!
//! A watch is a stream of frames, each made once for all who watch in the same form (`frames`). What
//! selectors do to an event (an object that moves in or out of the selection) is decided for each
//! watcher by the pure `seen`. A watcher that does not read is cut (`readers`).
//! Source: `k8s.io/apiserver/pkg/endpoints/handlers/watch.go`, `pkg/storage/cacher`.

use std::sync::Arc;
use std::time::Duration;

use axum::response::Response;
use bytes::{BufMut as _, Bytes, BytesMut};
use futures::{FutureExt as _, StreamExt as _};
use http::StatusCode;
use serde_json::json;
use tokio::time::{Instant, sleep_until};

use crate::ambient::Ambient;
use crate::cache::{Cache, CacheEvent, CacheWatch, Cached, Occurred};
use crate::status::ApiError;
use crate::store::{Revision, StoreError};

use super::answer::respond;
use super::call::Call;
use super::frames::Encoder;
use super::list;
use super::negotiate::JSON;
use super::object::Object;
use super::query::ListOptions;
use super::readers::Bounds;
use super::selectors::Selectors;
use super::state::Api;
use super::websocket::Socket;

/// As upstream's `--min-request-timeout`; a watch that names no timeout gets one to two of it.
const TIMEOUT_MIN: Duration = Duration::from_secs(1800);
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// The last bookmark comes this long before the timeout.
const BOOKMARK_BEFORE_END: Duration = Duration::from_secs(2);
/// Events that are at hand are sent together, up to this size.
const CHUNK: usize = 64 * 1024;
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";
const NOT_READ: &str = "the events of this watch were not read in time; list again";

pub async fn watch(call: &Call, socket: Option<Socket>) -> Result<Response, ApiError> {
    let options = ListOptions::parse(&call.query, true)?;
    let mut selectors = Selectors::parse(&call.query, call.kind.as_ref())?;
    if !call.address.name.is_empty() {
        selectors = selectors.named(&call.address.name)?;
    }
    let encoder = Encoder::new(call)?;
    let content_type = encoder.content_type();
    let namespace = Some(call.namespace().to_owned()).filter(|namespace| !namespace.is_empty());
    let start = begin(call, &options, namespace.as_deref()).await;
    let now = Instant::now();
    let deadline = now + timeout(&options, call.api.ambient());
    let bounds = Bounds {
        farewell: Some(encoder.error(&ApiError::expired(NOT_READ))),
        hangup: call.hangup.clone(),
        ..Bounds::default()
    };
    let mut watching = Watching {
        deadline,
        next_bookmark: next_bookmark(now, deadline),
        api: call.api.clone(),
        cache: call.cache(),
        namespace,
        selectors,
        encoder,
        bookmarks: options.bookmarks,
        announce_end: options.bookmarks && options.send_initial_events == Some(true),
        initial: start.initial.into_iter(),
        revision: start.revision,
        events: start.events,
        ready: Ready::default(),
        ended: false,
    };
    if let Some(error) = start.failed {
        watching.fail(&error);
    }
    let frames = futures::stream::unfold(watching, |mut watching| async move {
        let chunk = watching.next_chunk().await?;
        Some((Ok(chunk), watching))
    });
    let events = call.api.readers.body(frames, bounds);
    Ok(match socket {
        Some(socket) => socket.serve(call, content_type == JSON, events),
        None => respond(StatusCode::OK, content_type, events),
    })
}

fn timeout(options: &ListOptions, ambient: &Ambient) -> Duration {
    match options.timeout_seconds {
        // One that is over before it begins.
        Some(seconds) if seconds != 0 => Duration::from_secs(u64::try_from(seconds).unwrap_or(0)),
        _ => TIMEOUT_MIN + Duration::from_secs(ambient.u64() % TIMEOUT_MIN.as_secs()),
    }
}

/// A minute from now, or shortly before the end if that comes first.
fn next_bookmark(now: Instant, deadline: Instant) -> Instant {
    let (next, last) = (now + BOOKMARK_EVERY, deadline - BOOKMARK_BEFORE_END);
    if now < last { next.min(last) } else { next }
}

/// Where a watch begins.
#[derive(Default)]
struct Start {
    /// What is announced as ADDED first.
    initial: Vec<Arc<Cached>>,
    revision: Revision,
    /// `None`: too old a revision; the watch ends with an error event, as upstream's do.
    events: Option<CacheWatch>,
    /// Why it cannot begin: such a watch, too, ends with an error event.
    failed: Option<ApiError>,
}

async fn begin(call: &Call, options: &ListOptions, namespace: Option<&str>) -> Start {
    let cache = call.cache();
    let waited = match (options.resource_version, options.send_initial_events) {
        (None, _) => cache.latest().await.map_err(|error| match error {
            StoreError::Future { asked, current } => list::too_new(asked, current),
            error => super::write::store_failed(error),
        }),
        (Some(0), _) => Ok(()),
        (Some(version), Some(true)) => list::wait_for(call, Revision(version)).await,
        (Some(version), _) => {
            let revision = Revision(version);
            return Start { revision, events: cache.watch(revision).ok(), ..Start::default() };
        }
    };
    if let Err(error) = waited {
        return Start { failed: Some(error), ..Start::default() };
    }
    if options.send_initial_events == Some(false) {
        let (revision, events) = cache.watch_on();
        return Start { revision, events: Some(events), ..Start::default() };
    }
    let (snapshot, events) = cache.snapshot_and_watch_in(namespace);
    Start {
        initial: snapshot.items,
        revision: snapshot.revision,
        events: Some(events),
        failed: None,
    }
}

/// Frames that are at hand.
#[derive(Default)]
struct Ready {
    frames: Vec<Bytes>,
    size: usize,
}

impl Ready {
    fn push(&mut self, frame: Bytes) {
        self.size += frame.len();
        self.frames.push(frame);
    }

    /// One frame goes out as it is, in memory that it shares with all who watch.
    fn take(&mut self) -> Option<Bytes> {
        let size = std::mem::take(&mut self.size);
        if self.frames.len() < 2 {
            return self.frames.pop();
        }
        let mut chunk = BytesMut::with_capacity(size);
        self.frames.drain(..).for_each(|frame| chunk.put(frame));
        Some(chunk.freeze())
    }
}

/// A watch under way.
struct Watching {
    api: Arc<Api>,
    cache: Arc<Cache>,
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
    ready: Ready,
    ended: bool,
}

enum Next {
    Event(Option<Arc<Occurred>>),
    Bookmark,
    Timeout,
    Stopping,
}

impl Watching {
    /// The next frames; `None` when the watch is over.
    async fn next_chunk(&mut self) -> Option<Bytes> {
        loop {
            if !self.ended {
                self.write_initial();
            }
            if let Some(chunk) = self.ready.take() {
                return Some(chunk);
            }
            if self.ended {
                return None;
            }
            match self.next().await {
                Next::Event(Some(event)) => self.write_ready(&event),
                Next::Event(None) => self.expire(),
                Next::Bookmark => self.write_bookmark(false),
                Next::Timeout | Next::Stopping => self.ended = true,
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

    /// Writes of the initial events what goes out together, and the mark of their end.
    fn write_initial(&mut self) {
        if self.initial.len() > 0 {
            if Instant::now() >= self.deadline || self.api.stopping.is_cancelled() {
                return self.end();
            }
            // What has happened since is gone already: to go on would hold the state for nothing.
            if self.cache.oldest() > self.revision {
                return self.expire();
            }
        }
        while self.ready.size < CHUNK {
            let Some(cached) = self.initial.next() else { break };
            if self.is_selected(&cached) {
                let object = Object::of_cached(self.encoder.kind.as_ref(), &cached);
                let frame = self.encoder.frame("ADDED", &object);
                self.ready.push(frame);
            }
        }
        if self.announce_end && self.initial.len() == 0 {
            self.announce_end = false;
            self.write_bookmark(true);
        }
    }

    /// Writes this event, and those that are at hand behind it.
    fn write_ready(&mut self, event: &Occurred) {
        self.write_event(event);
        while self.ready.size < CHUNK {
            let next = self.events.as_mut().map(|events| events.next().now_or_never());
            match next.flatten() {
                Some(Some(event)) => self.write_event(&event),
                Some(None) => return self.expire(),
                None => return,
            }
        }
    }

    fn write_event(&mut self, event: &Occurred) {
        let revision = event.revision();
        // A revision in the future was named: what comes before it is not wanted.
        if revision < self.revision {
            return;
        }
        self.revision = revision;
        let (before, after) = match &**event {
            CacheEvent::Progress { .. } => return,
            CacheEvent::Added { object } => (None, Some(object)),
            CacheEvent::Modified { object, previous } => (Some(previous), Some(object)),
            CacheEvent::Deleted { previous, .. } => (Some(previous), None),
        };
        let was = before.is_some_and(|cached| self.is_selected(cached));
        let is = after.is_some_and(|cached| self.is_selected(cached));
        let (Some(what), Some(shown)) = (seen(was, is), after.or(event.object())) else { return };
        let kind = self.encoder.kind.clone();
        let frame = self.encoder.shared(event, what, || match (what, before) {
            // It has left the selection: as it was when it was in, at the revision of the change.
            ("DELETED", Some(before)) => {
                Object::of_bytes(kind.as_ref(), before.bytes_at(shown.revision))
            }
            _ => Object::of_cached(kind.as_ref(), shown),
        });
        self.ready.push(frame);
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
        let frame = self.encoder.bookmark(&Object::of_value(bookmark), initial_events_end);
        self.ready.push(frame);
    }

    /// The history that the watcher needs is gone: it must list again.
    fn expire(&mut self) {
        let oldest = self.cache.oldest();
        let message = format!("too old resource version: {} ({oldest})", self.revision);
        self.fail(&ApiError::expired(message));
    }

    /// The last thing that the watcher is told.
    fn fail(&mut self, error: &ApiError) {
        self.ready.push(self.encoder.error(error));
        self.end();
    }

    fn end(&mut self) {
        self.ended = true;
        self.initial = Vec::new().into_iter();
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
}
