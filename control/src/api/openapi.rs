//! `/openapi/v2` and `/openapi/v3`: the documents that `schema::openapi` makes, with their tags.

use axum::response::Response;
use bytes::Bytes;
use http::header::{ACCEPT, ETAG, IF_NONE_MATCH, VARY};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::status::ApiError;

use super::answer::{json_text, respond};
use super::negotiate::{JSON, clauses, not_acceptable};
use super::state::Api;

/// Answers a path below `/openapi/`.
pub fn answer(api: &Api, path: &str, headers: &HeaderMap) -> Result<Response, ApiError> {
    accepts_json(headers)?;
    if path == "v3" {
        return Ok(respond(StatusCode::OK, JSON, json_text(&api.openapi.v3_index(), false)));
    }
    let hash = match path.strip_prefix("v3/") {
        Some(version) => api.openapi.v3_hash(version),
        None => (path == "v2").then(|| api.openapi.v2_hash()),
    };
    let tag = HeaderValue::from_str(&format!("\"{}\"", hash.ok_or_else(ApiError::page_not_found)?))
        .map_err(ApiError::internal)?;
    let mut response = if headers.get(IF_NONE_MATCH) == Some(&tag) {
        respond(StatusCode::NOT_MODIFIED, JSON, Bytes::new())
    } else {
        respond(StatusCode::OK, JSON, document(api, path)?)
    };
    response.headers_mut().insert(ETAG, tag);
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    Ok(response)
}

fn document(api: &Api, path: &str) -> Result<Bytes, ApiError> {
    match path.strip_prefix("v3/") {
        Some(version) => api.openapi.v3_group(version).ok_or_else(ApiError::page_not_found),
        None => Ok(api.openapi.v2()),
    }
}

/// The documents exist in JSON alone. A client that names only others is told so, rather than sent
/// what it cannot read: the old clients that ask for protobuf of version 2 and nothing else.
fn accepts_json(headers: &HeaderMap) -> Result<(), ApiError> {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let clauses = clauses(accept);
    let fits = clauses.iter().any(|clause| {
        matches!((clause.kind, clause.subtype), ("*", "*") | ("application", "*" | "json"))
    });
    if clauses.is_empty() || fits { Ok(()) } else { Err(not_acceptable()) }
}
