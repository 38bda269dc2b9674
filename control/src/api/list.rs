//! GET of a collection.
//!
//! A list is served from the cache's snapshot; the pages after the first, and lists at an exact
//! revision, come from the store as it was at that revision.

use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::{BufMut as _, Bytes, BytesMut};
use http::StatusCode;
use serde_json::{Map, Value, json};

use crate::encode;
use crate::kinds::Storage;
use crate::status::ApiError;
use crate::store::{Range, Revision, StoreError};

use super::answer::{self as answers, list_type, respond, to_protobuf};
use super::call::Call;
use super::negotiate::{JSON, Media, PROTOBUF, Shape};
use super::object::Object;
use super::query::{ListOptions, VersionMatch};
use super::selectors::Selectors;
use super::{table, write};

const CONTINUE_VERSION: &str = "meta.k8s.io/v1";
const CONTINUE_EXPIRED: &str = "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.";

/// Some or all of a collection, at one revision.
pub struct Page {
    pub items: Vec<Object>,
    revision: Revision,
    continued: Option<String>,
    remaining: Option<usize>,
}

pub async fn list(call: &Call) -> Result<Response, ApiError> {
    let options = ListOptions::parse(&call.query, false)?;
    let selectors = Selectors::parse(&call.query, call.kind.as_ref())?;
    let page = collect(call, &options, &selectors).await?;
    answer(call, &page)
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
            let at = Revision(version);
            wait_for(call, at).await?;
            let from = Position { at: Some(at), after: None };
            from_store(call, options, selectors, &from).await.map_err(write::store_failed)
        }
        (Some(0), _) => Ok(from_cache(call, 0, selectors)),
        (Some(version), _) => {
            wait_for(call, Revision(version)).await?;
            Ok(from_cache(call, options.limit, selectors))
        }
        (None, _) => {
            call.cache().latest().await.map_err(write::store_failed)?;
            Ok(from_cache(call, options.limit, selectors))
        }
    }
}

/// What is not kept has no revision, and is no more than a page.
fn computed(call: &Call, selectors: &Selectors) -> Page {
    let kind = call.kind.as_ref();
    let mut items = Object::computed(kind);
    items.retain(|item| selectors.matches(kind, item.value()));
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

fn too_new(asked: Revision, current: Revision) -> ApiError {
    let message = format!("Timeout: Too large resource version: {asked}, current: {current}");
    let mut error = ApiError::new(504, "Timeout", message);
    error.details = Some(json!({
        "causes": [{ "reason": "ResourceVersionTooLarge", "message": "Too large resource version" }],
        "retryAfterSeconds": 1,
    }));
    error
}

/// The namespace to look into; `None` looks into all.
fn scope(call: &Call) -> Option<&str> {
    Some(call.namespace()).filter(|namespace| !namespace.is_empty())
}

fn from_cache(call: &Call, limit: usize, selectors: &Selectors) -> Page {
    let kind = call.kind.as_ref();
    let snapshot = call.cache().list(scope(call));
    let mut items = Vec::new();
    let mut matching = snapshot.items.iter().filter(|cached| selectors.match_cached(kind, cached));
    let mut last = None;
    for cached in matching.by_ref() {
        items.push(Object::of_cached(kind, cached));
        if limit > 0 && items.len() == limit {
            last = Some(cached);
            break;
        }
    }
    let rest = matching.count();
    let last = last.filter(|_| rest > 0);
    Page {
        items,
        revision: snapshot.revision,
        continued: last.map(|last| {
            Continue::write(snapshot.revision, &format!("{}/{}", last.namespace(), last.name()))
        }),
        remaining: last.filter(|_| selectors.is_empty()).map(|_| rest),
    }
}

/// Where a list from the store begins.
struct Position {
    /// `None`: the newest.
    at: Option<Revision>,
    /// The last key that was shown.
    after: Option<String>,
}

async fn next_page(
    call: &Call,
    options: &ListOptions,
    selectors: &Selectors,
    token: &Continue,
) -> Result<Page, ApiError> {
    let from = Position { at: token.revision, after: Some(token.after.clone()) };
    match from_store(call, options, selectors, &from).await {
        Err(StoreError::Compacted { .. }) => {
            let mut error = ApiError::expired(CONTINUE_EXPIRED);
            error.continued = Some(Continue::write_newest(&token.after));
            Err(error)
        }
        result => result.map_err(write::store_failed),
    }
}

async fn from_store(
    call: &Call,
    options: &ListOptions,
    selectors: &Selectors,
    from: &Position,
) -> Result<Page, StoreError> {
    let root = format!("{}/", call.info().stored_resource());
    let prefix = match scope(call) {
        Some(namespace) => format!("{root}{namespace}/"),
        None => root.clone(),
    };
    let after = from.after.as_ref().map(|after| format!("{root}{after}"));
    let listed = call.api.store.list(Range { prefix, after, limit: 0 }, from.at).await?;
    let mut page = Page {
        items: Vec::new(),
        revision: from.at.unwrap_or(listed.revision),
        continued: None,
        remaining: None,
    };
    for (index, stored) in listed.items.iter().enumerate() {
        let bytes = encode::splice(&stored.value, stored.modified);
        let object = Object::of_bytes(call.kind.as_ref(), bytes);
        if !selectors.is_empty() && !selectors.matches(call.kind.as_ref(), object.value()) {
            continue;
        }
        page.items.push(object);
        let rest = listed.items.len() - index - 1;
        if options.limit > 0 && page.items.len() == options.limit && rest > 0 {
            let key = stored.key.strip_prefix(&root).unwrap_or(&stored.key);
            page.continued = Some(Continue::write(page.revision, key));
            page.remaining = selectors.is_empty().then_some(rest);
            break;
        }
    }
    Ok(page)
}

/// Where a cut list goes on. Upstream's token, but that it holds the last key, not the next.
#[derive(Debug, PartialEq)]
struct Continue {
    /// `None`: at the newest revision, after the list's own was compacted.
    revision: Option<Revision>,
    /// `namespace/name` of the last object shown.
    after: String,
}

impl Continue {
    fn parse(token: &str) -> Result<Self, ApiError> {
        let refuse = |why: &str| {
            ApiError::bad_request(format!("invalid continue token: continue key is not valid{why}"))
        };
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|error| refuse(&format!(": {error}")))?;
        let token: Value =
            serde_json::from_slice(&bytes).map_err(|error| refuse(&format!(": {error}")))?;
        if token["v"] != CONTINUE_VERSION {
            let version = token["v"].as_str().unwrap_or_default();
            return Err(refuse(&format!(
                ": server does not recognize this encoded version {version}"
            )));
        }
        let revision = match token["rv"].as_i64() {
            None | Some(0) => {
                return Err(refuse(
                    ": incorrect encoded start resourceVersion (version meta.k8s.io/v1)",
                ));
            }
            Some(revision) => u64::try_from(revision).ok().map(Revision),
        };
        let after = token["start"].as_str().unwrap_or_default().to_owned();
        if after.is_empty() {
            return Err(refuse(": encoded start key empty (version meta.k8s.io/v1)"));
        }
        Ok(Self { revision, after })
    }

    fn write(revision: Revision, after: &str) -> String {
        Self::encode(&revision.0.into(), after)
    }

    fn write_newest(after: &str) -> String {
        Self::encode(&(-1).into(), after)
    }

    fn encode(revision: &Value, after: &str) -> String {
        let token = json!({ "v": CONTINUE_VERSION, "rv": revision, "start": after });
        URL_SAFE_NO_PAD.encode(token.to_string())
    }
}

impl Page {
    fn metadata(&self) -> Value {
        let mut metadata = Map::new();
        if self.revision != Revision(0) {
            metadata.insert("resourceVersion".into(), self.revision.to_string().into());
        }
        if let Some(token) = &self.continued {
            metadata.insert("continue".into(), token.as_str().into());
        }
        if let Some(remaining) = self.remaining {
            metadata.insert("remainingItemCount".into(), remaining.into());
        }
        metadata.into()
    }
}

pub fn answer(call: &Call, page: &Page) -> Result<Response, ApiError> {
    let (output, kind) = (&call.output, call.kind.as_ref());
    let metadata = page.metadata();
    match output.shape {
        Shape::Table => {
            let options = table::Options::parse(&call.query)?;
            let now = call.api.ambient().now();
            let rows = page.items.iter();
            let rows = rows.map(|item| table::row(output, kind, item, options, now)).collect();
            let table = table::assemble(output, kind.columns(), &metadata, rows, options);
            Ok(answers::value(output, StatusCode::OK, &table))
        }
        Shape::Partial => {
            let items: Vec<Value> =
                page.items.iter().map(|item| table::partial(output, item)).collect();
            let list = json!({
                "kind": "PartialObjectMetadataList",
                "apiVersion": format!("meta.k8s.io/{}", output.meta_version),
                "metadata": metadata,
                "items": items,
            });
            Ok(answers::value(output, StatusCode::OK, &list))
        }
        Shape::Whole => Ok(whole(call, page, &metadata)),
    }
}

fn whole(call: &Call, page: &Page, metadata: &Value) -> Response {
    let (output, info) = (&call.output, call.info());
    let kind = format!("{}List", info.kind);
    if output.media == Media::Json && !output.pretty {
        return respond(
            StatusCode::OK,
            JSON,
            concatenated(&kind, &info.api_version(), metadata, &page.items),
        );
    }
    let items: Vec<Value> = page.items.iter().map(|item| Value::clone(item.value())).collect();
    let list = json!({
        "kind": kind,
        "apiVersion": info.api_version(),
        "metadata": metadata,
        "items": items,
    });
    if output.media == Media::Protobuf
        && let Some(bytes) = to_protobuf(&list_type(call.kind.as_ref()), &list)
    {
        return respond(StatusCode::OK, PROTOBUF, bytes);
    }
    answers::value(output, StatusCode::OK, &list)
}

/// The JSON of a list, put together from its items' text.
fn concatenated(kind: &str, api_version: &str, metadata: &Value, items: &[Object]) -> Bytes {
    let head = format!(
        "{{\"kind\":\"{kind}\",\"apiVersion\":\"{api_version}\",\"metadata\":{metadata},\"items\":["
    );
    let size = items.iter().map(|item| item.bytes.len() + 1).sum::<usize>();
    let mut text = BytesMut::with_capacity(head.len() + size + 2);
    text.put_slice(head.as_bytes());
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            text.put_u8(b',');
        }
        text.put_slice(&item.bytes);
    }
    text.put_slice(b"]}");
    text.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn continue_tokens_are_read_back() {
        let token = Continue::write(Revision(7), "default/web");
        let parsed = Continue { revision: Some(Revision(7)), after: "default/web".into() };
        assert_eq!(Continue::parse(&token), Ok(parsed));
        let newest = Continue { revision: None, after: "default/web".into() };
        assert_eq!(Continue::parse(&Continue::write_newest("default/web")), Ok(newest));
        for junk in
            ["%%%", "e30", &Continue::write(Revision(0), "a"), &Continue::write(Revision(1), "")]
        {
            assert_eq!(Continue::parse(junk).expect_err(junk).code, 400);
        }
    }

    #[test]
    fn a_list_is_put_together_from_its_items() {
        let items =
            ["a", "b"].map(|name| Object::of_value(json!({ "metadata": { "name": name } })));
        let text = concatenated("PodList", "v1", &json!({ "resourceVersion": "5" }), &items);
        let list: Value = serde_json::from_slice(&text).expect("JSON");
        assert_eq!(list["items"][1], json!({ "metadata": { "name": "b" } }));
        assert_eq!(list["metadata"]["resourceVersion"], "5");
    }
}
