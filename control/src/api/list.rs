//! GET of a collection.
//!
//! A list is served from the cache; the pages after the first, pages of a selection, and lists at an
//! exact revision come from the store as it was at that revision. What is collected are references:
//! `pieces` encodes the objects on their way out.

use axum::body::Body;
use axum::response::Response;
use http::StatusCode;
use serde_json::{Map, Value, json};
use std::convert::Infallible;
use std::sync::Arc;

use crate::cache::Cached;
use crate::kinds::Storage;
use crate::status::ApiError;
use crate::store::{Range, Revision, StoreError};

use super::answer::{not_a_list_form, respond};
use super::call::Call;
use super::continued::Continue;
use super::negotiate::Shape;
use super::pieces::{List, Pieces};
use super::query::{ListOptions, VersionMatch};
use super::selectors::Selectors;
use super::{object, table, write};

const CONTINUE_EXPIRED: &str = "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.";
/// How many objects are looked through at once for those that are selected, at the most.
const LOOK_MAX: usize = 10_000;

/// Some or all of a collection, at one revision.
pub struct Page {
    pub items: Vec<Arc<Cached>>,
    revision: Revision,
    continued: Option<Continue>,
    remaining: Option<usize>,
}

pub async fn list(call: &Call) -> Result<Response, ApiError> {
    let options = ListOptions::parse(&call.query, false)?;
    let selectors = Selectors::parse(&call.query, call.kind.as_ref())?;
    let page = collect(call, &options, &selectors).await?;
    answer(call, page)
}

pub async fn collect(
    call: &Call,
    options: &ListOptions,
    selectors: &Selectors,
) -> Result<Page, ApiError> {
    if call.info().storage == Storage::Virtual {
        return Ok(computed(call, selectors));
    }
    if let Some(token) = &options.continued {
        if options.resource_version.is_some_and(|version| version != 0) {
            return Err(ApiError::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        return next_page(call, options, selectors, &Continue::parse(token)?).await;
    }
    match (options.resource_version, exactness(options)) {
        (Some(version), Some(VersionMatch::Exact)) => {
            let at = Some(Revision(version));
            let begin = Position { at, ..Position::default() };
            let page = from_store(call, options.limit, selectors, &begin).await;
            return page.map_err(|error| match error {
                StoreError::Future { asked, current } => too_new(asked, current),
                error => write::store_failed(error),
            });
        }
        (Some(0), _) => return Ok(whole(call, selectors)),
        (Some(version), _) => wait_for(call, Revision(version)).await?,
        (None, _) => call.cache().latest().await.map_err(write::store_failed)?,
    }
    if options.limit == 0 {
        return Ok(whole(call, selectors));
    }
    if selectors.is_empty() {
        return Ok(first_page(call, options.limit));
    }
    let page = from_store(call, options.limit, selectors, &Position::default()).await;
    page.map_err(write::store_failed)
}

/// What is not kept has no revision, and is no more than a page.
fn computed(call: &Call, selectors: &Selectors) -> Page {
    let kind = call.kind.as_ref();
    let of_value = |value| {
        let name = object::name(&value).to_owned();
        Arc::new(Cached::computed(call.info().group_resource(), &name, &value))
    };
    let mut items: Vec<Arc<Cached>> = kind.computed().into_iter().map(of_value).collect();
    items.retain(|item| selectors.match_cached(kind, item));
    Page { items, revision: Revision(0), continued: None, remaining: None }
}

/// How the resourceVersion is meant. A page at a revision is one of exactly that revision, unless
/// the request says otherwise: so it was before requests could say it.
fn exactness(options: &ListOptions) -> Option<VersionMatch> {
    let page_at_revision =
        options.limit > 0 && options.resource_version.is_some_and(|version| version > 0);
    options.version_match.or(page_at_revision.then_some(VersionMatch::Exact))
}

/// Waits until the cache has seen a revision; 504 where it is in the future.
pub async fn wait_for(call: &Call, revision: Revision) -> Result<(), ApiError> {
    let cache = call.cache();
    cache.caught_up(revision).await.map_err(|error| match error {
        StoreError::Future { current, .. } => too_new(revision, current),
        error => write::store_failed(error),
    })
}

/// Source: `k8s.io/apiserver/pkg/storage/errors.go` (NewTooLargeResourceVersionError).
pub fn too_new(asked: Revision, current: Revision) -> ApiError {
    let message = format!("Timeout: Too large resource version: {asked}, current: {current}");
    let mut error = ApiError::new(504, "Timeout", message);
    error.details = Some(json!({
        "causes": [{ "reason": "ResourceVersionTooLarge", "message": "Too large resource version" }],
        "retryAfterSeconds": 1,
    }));
    error
}

/// The namespace to look into; `None` looks into all.
fn scope<'a>(call: &'a Call, selectors: &'a Selectors) -> Option<&'a str> {
    let named = Some(call.namespace()).filter(|namespace| !namespace.is_empty());
    let selected = || selectors.exact("metadata.namespace").filter(|name| !name.is_empty());
    named.or_else(|| if call.info().is_namespaced() { selected() } else { None })
}

fn whole(call: &Call, selectors: &Selectors) -> Page {
    let kind = call.kind.as_ref();
    let snapshot = call.cache().list(scope(call, selectors));
    let mut items = snapshot.items;
    if !selectors.is_empty() {
        items.retain(|cached| selectors.match_cached(kind, cached));
    }
    Page { items, revision: snapshot.revision, continued: None, remaining: None }
}

/// The first objects of a collection that nothing is selected from.
fn first_page(call: &Call, limit: usize) -> Page {
    let namespace = Some(call.namespace()).filter(|namespace| !namespace.is_empty());
    let (snapshot, rest) = call.cache().first(namespace, limit);
    let revision = snapshot.revision;
    let last = snapshot.items.last().filter(|_| rest > 0);
    let continued = last.map(|last| {
        let after = match (namespace, call.info().is_namespaced()) {
            (None, true) => format!("{}/{}", last.namespace(), last.name()),
            _ => last.name().to_owned(),
        };
        Continue { revision: Some(revision), after, rest: Some(rest) }
    });
    let remaining = continued.is_some().then_some(rest);
    Page { items: snapshot.items, revision, continued, remaining }
}

/// Where a list from the store begins.
#[derive(Clone, Debug, Default)]
struct Position {
    /// `None`: the newest.
    at: Option<Revision>,
    /// The last key that was shown, within what is listed.
    after: Option<String>,
    /// How many there are behind that, where it is known.
    rest: Option<usize>,
}

async fn next_page(
    call: &Call,
    options: &ListOptions,
    selectors: &Selectors,
    token: &Continue,
) -> Result<Page, ApiError> {
    let from = Position {
        at: token.revision,
        after: Some(token.after.clone()),
        rest: token.rest.filter(|_| token.revision.is_some()),
    };
    match from_store(call, options.limit, selectors, &from).await {
        Err(StoreError::Compacted { .. }) => {
            let mut error = ApiError::expired(CONTINUE_EXPIRED);
            let newest = Continue { revision: None, rest: None, ..token.clone() };
            error.continued = Some(newest.write().into());
            Err(error)
        }
        result => result.map_err(write::store_failed),
    }
}

async fn from_store(
    call: &Call,
    limit: usize,
    selectors: &Selectors,
    from: &Position,
) -> Result<Page, StoreError> {
    let (cache, kind) = (call.cache(), call.kind.as_ref());
    let prefix = prefix(call);
    let counts = limit > 0 && selectors.is_empty();
    let mut at = from.at;
    let mut after = from.after.as_ref().map(|after| format!("{prefix}{after}"));
    let mut items = Vec::new();
    let mut look = limit;
    loop {
        let range = Range {
            prefix: prefix.clone(),
            after: after.take(),
            limit: look,
            count: counts && from.rest.is_none(),
        };
        let listed = call.api.store.list(range, at).await?;
        let revision = *at.get_or_insert(listed.revision);
        let last = listed.items.last().map(|stored| stored.key.clone());
        let mut found = listed.items.into_iter();
        for stored in found.by_ref() {
            let cached = cache.of_stored(&stored);
            if !selectors.is_empty() && !selectors.match_cached(kind, &cached) {
                continue;
            }
            items.push(cached);
            if limit == 0 || items.len() < limit {
                continue;
            }
            let more = listed.more || found.len() > 0;
            let rest = from.rest.map(|rest| rest.saturating_sub(items.len())).or(listed.rest);
            let rest = rest.filter(|_| counts && more);
            let continued = more.then(|| {
                let after = stored.key.strip_prefix(&prefix).unwrap_or(&stored.key).to_owned();
                Continue { revision: Some(revision), after, rest }
            });
            return Ok(Page { items, revision, continued, remaining: rest });
        }
        if !listed.more {
            return Ok(Page { items, revision, continued: None, remaining: None });
        }
        after = last;
        look = (look * 2).clamp(1, LOOK_MAX.max(limit));
    }
}

/// What the keys of all that is listed begin with.
fn prefix(call: &Call) -> String {
    let root = call.info().stored_resource();
    match (call.info().is_namespaced(), call.namespace()) {
        (true, "") => format!("{root}/"),
        (_, namespace) => format!("{root}/{namespace}/"),
    }
}

impl Page {
    fn metadata(&self) -> Value {
        let mut metadata = Map::new();
        if self.revision != Revision(0) {
            metadata.insert("resourceVersion".into(), self.revision.to_string().into());
        }
        if let Some(token) = &self.continued {
            metadata.insert("continue".into(), token.write().into());
        }
        if let Some(remaining) = self.remaining {
            metadata.insert("remainingItemCount".into(), remaining.into());
        }
        metadata.into()
    }
}

pub fn answer(call: &Call, mut page: Page) -> Result<Response, ApiError> {
    not_a_list_form(call)?;
    if let (Shape::Table, Some(order)) = (call.output.shape, call.info().row_order) {
        page.items.sort_by_cached_key(|cached| cached.decode().map_or(0, |value| order(&value)));
    }
    let list = List {
        kind: call.kind.clone(),
        output: call.output,
        table: table::Options::of(&call.output, &call.query)?,
        now: call.api.ambient().now(),
        metadata: page.metadata(),
        items: page.items,
    };
    let pieces = list.pieces();
    Ok(respond(StatusCode::OK, pieces.content_type(), body(pieces)))
}

/// A list of one piece goes out as such, with its length.
fn body(mut pieces: Pieces) -> Body {
    let first = pieces.next().unwrap_or_default();
    if pieces.is_done() {
        return Body::from(first);
    }
    let pieces = std::iter::once(first).chain(pieces).map(Ok::<_, Infallible>);
    Body::from_stream(futures::stream::iter(pieces))
}
