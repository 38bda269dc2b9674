//! A request's turn: it is classified, waits for a seat, and gives it back.
//!
//! Source: `k8s.io/apiserver/pkg/server/filters/priority-and-fairness.go`.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::{RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use http_body::{Frame, SizeHint};
use tokio::time::Instant;

use crate::api::answer::respond;
use crate::api::query::Query;
use crate::api::request::{Address, Path, Verb, is_long_running};
use crate::api::state::Api;
use crate::auth::UserInfo;
use crate::fair::matching::{self, Digest, Target};
use crate::fair::queue_set::Refusal;
use crate::fair::width::{self, List};
use crate::fair::work::Work;

use super::Fairness;
use super::config::Schema;
use super::level::Seat;
use super::watchers::Watcher;

/// Source: `k8s.io/api/flowcontrol/v1/types.go`.
const SCHEMA_UID: HeaderName = HeaderName::from_static("x-kubernetes-pf-flowschema-uid");
const LEVEL_UID: HeaderName = HeaderName::from_static("x-kubernetes-pf-prioritylevel-uid");

/// A request waits a quarter of its time at most.
const PATIENCE: u32 = 4;

/// An extension of requests that come from a client in this process.
#[derive(Clone, Copy, Debug)]
pub struct InProcess;

/// What is asked, as fairness looks at it.
#[derive(Debug)]
pub struct Asked {
    pub user: String,
    /// Of the API; the method in small letters where no resource is addressed.
    pub verb: &'static str,
    pub path: String,
    /// `None`: no resource.
    pub address: Option<Address>,
}

/// A request between its arrival and its answer.
#[derive(Default)]
pub struct Turn {
    schema: Option<Arc<Schema>>,
    began: Option<Instant>,
    seat: Option<Seat>,
    /// It is a watch: the seat is for its beginning alone.
    watcher: Option<Option<Watcher>>,
    is_refused: bool,
}

impl Turn {
    /// Waits for a seat. The answer is the one of a request that gets none.
    pub async fn come(
        &mut self,
        api: &Api,
        user: &UserInfo,
        (method, path): (&Method, &str),
        (parsed, query): (&Path, &Query),
        in_process: bool,
    ) -> Result<(), Response> {
        let (address, verb) = match parsed {
            Path::Resource { address, watch } => {
                (Some(address), address.verb(method, query, *watch))
            }
            _ => (None, None),
        };
        let is_watch = verb == Some(Verb::Watch);
        if let (Some(address), Some(verb)) = (address, verb)
            && !is_watch
            && is_long_running(address, verb)
        {
            return Ok(());
        }
        let fairness = &api.fairness;
        let name =
            if address.is_some() { verb.map_or("", Verb::name) } else { method_name(method) };
        let target = address.map_or(Target::Path(path), |address| Target::Resource {
            group: &address.group,
            resource: &address.resource,
            subresource: &address.subresource,
            namespace: &address.namespace,
        });
        let digest = Digest { user, verb: name, target };
        let schema = fairness.classify(&digest);
        self.schema = Some(schema.clone());
        if let (true, Some(address)) = (is_watch, address) {
            self.watcher = Some(fairness.watchers.register(address, query));
        }
        if in_process {
            return Ok(());
        }
        let work = match (address, verb) {
            (Some(address), Some(verb)) => guess(api, address, verb, query, &schema),
            _ => Work::seats(1),
        };
        let distinguisher =
            if schema.is_sharded { matching::distinguisher(&digest, &schema.spec) } else { "" };
        let hash =
            if schema.is_sharded { matching::flow_hash(&schema.name, distinguisher) } else { 0 };
        let asked = Arc::new(Asked {
            user: user.name.clone(),
            verb: name,
            path: path.to_owned(),
            address: address.cloned(),
        });
        let came = Instant::now();
        let deadline = came + patience(query);
        let flow = (&schema, &asked, distinguisher);
        let entered = schema.level.enter(hash, work, flow, deadline).await;
        let now = Instant::now();
        if !schema.exempt {
            schema.counts.waited(now - came, entered.is_ok());
        }
        match entered {
            Ok(seat) => {
                schema.counts.dispatched();
                self.seat = Some(seat);
                self.began = Some(now);
                Ok(())
            }
            Err(refusal) => {
                self.is_refused = true;
                self.watcher = None;
                Err(refuse(&schema, refusal))
            }
        }
    }

    pub fn is_refused(&self) -> bool {
        self.is_refused
    }

    /// The answer's head is there: says whose it is. The seat of a watch is kept until what it
    /// begins with has been taken, that of a body made on its way until its end; others are free.
    pub fn go(mut self, response: &mut Response) {
        let Some(schema) = self.schema.take() else { return };
        let headers = response.headers_mut();
        for (name, uid) in [(SCHEMA_UID, &schema.uid), (LEVEL_UID, &schema.level_uid)] {
            // A UID is digits and dashes; of objects that are not there yet it is empty.
            if let Ok(uid) = HeaderValue::try_from(uid) {
                headers.insert(name, uid);
            }
        }
        let held = Held { seat: self.seat.take(), began: self.began, schema };
        let is_watch = self.watcher.is_some() && response.status().is_success();
        let body = response.body_mut();
        if is_watch || http_body::Body::size_hint(body).exact().is_none() {
            let watcher = self.watcher.take().flatten();
            let seated = Seated {
                body: std::mem::take(body),
                is_watch,
                held: Some(held),
                _watcher: watcher,
            };
            *body = Body::new(seated);
        }
    }
}

/// A seat, and who pays for it.
struct Held {
    seat: Option<Seat>,
    began: Option<Instant>,
    schema: Arc<Schema>,
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(began) = self.began {
            self.schema.counts.executed(began.elapsed());
        }
        self.seat = None;
    }
}

/// A body that holds a seat until its end; of a watch, until nothing more is at hand.
struct Seated {
    body: Body,
    is_watch: bool,
    held: Option<Held>,
    _watcher: Option<Watcher>,
}

impl http_body::Body for Seated {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        let is_seated = match polled {
            Poll::Ready(Some(Ok(_))) => true,
            Poll::Ready(_) => false,
            Poll::Pending => !self.is_watch,
        };
        if !is_seated {
            self.held = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Fairness {
    /// The first schema that matches; the last resort matches everyone.
    fn classify(&self, digest: &Digest<'_>) -> Arc<Schema> {
        let schemas = self.schemas.read();
        let mut matching = schemas.iter().filter(|schema| matching::matches(digest, &schema.spec));
        let found = matching.next().or_else(|| schemas.last());
        found.cloned().expect("the mandatory schemas are always there")
    }
}

fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "get",
        Method::HEAD => "head",
        Method::POST => "post",
        Method::PUT => "put",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        Method::OPTIONS => "options",
        _ => "",
    }
}

fn patience(query: &Query) -> Duration {
    // What is no duration is refused by the handler, at once.
    crate::api::query::timeout(query).unwrap_or_default() / PATIENCE
}

fn guess(api: &Api, address: &Address, verb: Verb, query: &Query, schema: &Schema) -> Work {
    let version = query.text("resourceVersion").unwrap_or_default();
    match verb {
        Verb::Watch
            if query.option("sendInitialEvents") != Some(true) && !matches!(version, "" | "0") =>
        {
            Work::seats(1)
        }
        Verb::List | Verb::Watch => {
            let limit = query.integer("limit").ok().flatten().unwrap_or(0);
            let selector = query.text("fieldSelector").unwrap_or_default();
            let by_name = selector.split(',').any(|term| term.starts_with("metadata.name="));
            let limited = limit > 0 && !matches!(version, "" | "0");
            let is_exact = query.get("resourceVersionMatch") == Some("Exact");
            let list = List {
                single: by_name || !address.name.is_empty(),
                limit: u64::try_from(limit).unwrap_or(0),
                selects: !selector.is_empty() || query.text("labelSelector").is_some(),
                from_cache: verb == Verb::Watch
                    || !(limited || is_exact || query.text("continue").is_some()),
            };
            let kind = api.kinds.at(&address.group, &address.version, &address.resource);
            let cache = kind.and_then(|kind| api.caches().kind(&kind.info().stored_resource()));
            width::list(list, cache.map(|cache| api.fairness.sizes.of(&cache)), schema.widest)
        }
        Verb::Create | Verb::Update | Verb::Patch | Verb::Delete => {
            let is_token = address.resource == "serviceaccounts" && address.subresource == "token";
            let watchers = if is_token { 0 } else { api.fairness.watchers.interested(address) };
            width::write(watchers, schema.widest)
        }
        Verb::Get | Verb::DeleteCollection => Work::seats(1),
    }
}

/// As Go's `http.Error`: plain text, of which clients make a Status.
fn refuse(schema: &Schema, refusal: Refusal) -> Response {
    schema.counts.rejected(refusal);
    let text = "Too many requests, please try again later.\n";
    let mut response = respond(StatusCode::TOO_MANY_REQUESTS, "text/plain; charset=utf-8", text);
    let headers = response.headers_mut();
    headers.insert(RETRY_AFTER, HeaderValue::from(schema.level.drop_one()));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
