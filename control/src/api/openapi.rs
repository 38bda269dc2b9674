//! `/openapi/v2` and `/openapi/v3`: the documents that `schema::openapi` makes, with their tags.
//!
//! Each is made when it is first asked for, and kept: they are large, and few clients ask.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::response::Response;
use bytes::Bytes;
use http::header::{ACCEPT, ETAG, IF_NONE_MATCH, VARY};
use http::{HeaderMap, HeaderValue, StatusCode};
use parking_lot::Mutex;
use serde_json::{Map, json};

use crate::schema::openapi;
use crate::status::ApiError;

use super::answer::{json_text, respond};
use super::discovery::tag;
use super::negotiate::{JSON, clauses, not_acceptable};
use super::state::Api;

#[derive(Clone)]
struct Document {
    bytes: Bytes,
    tag: HeaderValue,
}

impl Document {
    fn new(bytes: Bytes) -> Self {
        let tag = tag(&bytes);
        Self { bytes, tag }
    }

    /// The tag without its quotes.
    fn hash(&self) -> &str {
        self.tag.to_str().unwrap_or_default().trim_matches('"')
    }
}

/// The documents made so far, by path below `/openapi/`.
#[derive(Default)]
pub struct Documents(Mutex<BTreeMap<String, Document>>);

/// Answers a path below `/openapi/`.
pub fn answer(api: &Api, path: &str, headers: &HeaderMap) -> Result<Response, ApiError> {
    accepts_json(headers)?;
    if path == "v3" {
        return Ok(respond(StatusCode::OK, JSON, index(api)));
    }
    let document = document(api, path).ok_or_else(ApiError::page_not_found)?;
    let unchanged = headers.get(IF_NONE_MATCH) == Some(&document.tag);
    let mut response = if unchanged {
        respond(StatusCode::NOT_MODIFIED, JSON, Bytes::new())
    } else {
        respond(StatusCode::OK, JSON, document.bytes.clone())
    };
    response.headers_mut().insert(ETAG, document.tag);
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    Ok(response)
}

/// The documents exist in JSON alone. A client that names only others is told so; the old clients
/// that ask for protobuf of version 2 alone cannot be served.
fn accepts_json(headers: &HeaderMap) -> Result<(), ApiError> {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let clauses = clauses(accept);
    let fits = clauses.iter().any(|clause| {
        matches!((clause.kind, clause.subtype), ("*", "*") | ("application", "*" | "json"))
    });
    if clauses.is_empty() || fits { Ok(()) } else { Err(not_acceptable()) }
}

/// Where each group's document stands.
fn index(api: &Api) -> Bytes {
    let mut paths = Map::new();
    for version in api.discovery.versions() {
        let Some(document) = document(api, &format!("v3/{version}")) else { continue };
        let url = format!("/openapi/v3/{version}?hash={}", document.hash());
        paths.insert(version, json!({ "serverRelativeURL": url }));
    }
    json_text(&json!({ "paths": paths }), false)
}

fn document(api: &Api, path: &str) -> Option<Document> {
    if let Some(document) = api.openapi.0.lock().get(path) {
        return Some(document.clone());
    }
    let bytes: Arc<Bytes> = match path.strip_prefix("v3/") {
        Some(version) if api.discovery.versions().iter().any(|known| known == version) => {
            openapi::v3_group(&api.kinds, version)
        }
        None if path == "v2" => openapi::v2(&api.kinds),
        _ => return None,
    };
    let document = Document::new(Bytes::clone(&bytes));
    api.openapi.0.lock().insert(path.to_owned(), document.clone());
    Some(document)
}
