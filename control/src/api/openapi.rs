//! `/openapi/v2` and `/openapi/v3`: the documents that `schema::openapi` makes, with their tags.

use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_TYPE, ETAG, EXPIRES, IF_NONE_MATCH, LOCATION, VARY,
};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use jiff::SignedDuration;

use crate::status::ApiError;

use super::answer::{json_text, respond};
use super::negotiate::{Clause, JSON, clauses};
use super::query::Query;
use super::state::Api;

/// What Go takes the index for.
const INDEX: &str = "text/plain; charset=utf-8";
const GNOSTIC: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// What a document is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Json,
    /// gnostic's message of version 2. kubectl asks for it by an older name, with an `@`, which no
    /// media type may hold; the answer bears the name without.
    ///
    /// Source: `k8s.io/kube-openapi/pkg/handler/handler.go` (RegisterOpenAPIVersionedService).
    Gnostic,
}

impl Form {
    /// The forms of a path below `/openapi/`, the first for clients that take any.
    fn of(path: &str) -> &'static [Self] {
        if path == "v2" { &[Self::Json, Self::Gnostic] } else { &[Self::Json] }
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::Json => JSON,
            Self::Gnostic => GNOSTIC,
        }
    }

    fn fits(self, clause: &Clause<'_>) -> bool {
        match (clause.kind, clause.subtype, self) {
            ("*" | "application", "*", _) => true,
            ("application", "json", Self::Json) => true,
            (
                "application",
                "com.github.proto-openapi.spec.v2@v1.0+protobuf"
                | "com.github.proto-openapi.spec.v2.v1.0+protobuf",
                Self::Gnostic,
            ) => true,
            (_, _, Self::Json | Self::Gnostic) => false,
        }
    }
}

/// For the documents whose address holds their hash: they never change.
const IMMUTABLE: HeaderValue = HeaderValue::from_static("public, immutable");
/// A document that nobody asks for this long is made anew for the next one who does.
const REST_EVERY: Duration = Duration::from_secs(180);
const YEAR_SECONDS: i64 = 365 * 24 * 3600;

/// Answers a path below `/openapi/`.
///
/// Source: `k8s.io/kube-openapi/pkg/handler3/handler.go`.
pub fn answer(
    api: &Api,
    path: &str,
    request: &Request<Body>,
) -> Result<Option<Response>, ApiError> {
    let headers = request.headers();
    if path == "v3" {
        // The index is made of all that version two is made of. It has one form for everybody.
        let tag = quoted(&api.openapi.v2_hash())?;
        let index = || Ok(json_text(&api.openapi.v3_index(), false));
        return tagged(headers, tag, INDEX, index).map(Some);
    }
    let hash = match path.strip_prefix("v3/") {
        Some(version) => api.openapi.v3_hash(version),
        None if path == "v2" => Some(api.openapi.v2_hash()),
        None => return Ok(None),
    };
    let Some(hash) = hash else { return Ok(Some(empty(StatusCode::NOT_FOUND))) };
    let Some(form) = negotiate(headers, Form::of(path)) else {
        return Ok(Some(empty(StatusCode::NOT_ACCEPTABLE)));
    };
    let tag = quoted(&hash)?;
    let query = Query::parse(request.uri().query().unwrap_or_default());
    let wanted = query.text("hash").filter(|_| path.starts_with("v3/"));
    if wanted.is_some_and(|wanted| wanted != hash) {
        return moved(path, &hash, tag).map(Some);
    }
    let mut response = tagged(headers, tag, form.content_type(), || document(api, path, form))?;
    if wanted.is_some() {
        let expires = api.ambient().now() + SignedDuration::from_secs(YEAR_SECONDS);
        let expires = expires.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, IMMUTABLE);
        headers.insert(EXPIRES, expires.try_into().map_err(ApiError::internal)?);
    }
    Ok(Some(response))
}

/// What upstream answers without a word.
fn empty(status: StatusCode) -> Response {
    let mut response = respond(status, JSON, Bytes::new());
    response.headers_mut().remove(CONTENT_TYPE);
    response
}

/// Has the documents let go of again when nobody has asked for them for a while.
fn let_rest(api: &Api) {
    if !api.openapi.begin_to_rest() {
        return;
    }
    let (documents, stopping) = (api.openapi.clone(), api.stopping.clone());
    api.ambient().spawn(async move {
        let rest = async {
            loop {
                tokio::time::sleep(REST_EVERY).await;
                if !documents.rest() {
                    return;
                }
            }
        };
        stopping.run_until_cancelled(rest).await;
    });
}

fn quoted(hash: &str) -> Result<HeaderValue, ApiError> {
    HeaderValue::from_str(&format!("\"{hash}\"")).map_err(ApiError::internal)
}

/// To the address of the document as it is now.
fn moved(path: &str, hash: &str, tag: HeaderValue) -> Result<Response, ApiError> {
    let mut response = respond(StatusCode::MOVED_PERMANENTLY, JSON, Bytes::new());
    let location = format!("/openapi/{path}?hash={hash}");
    let headers = response.headers_mut();
    headers.insert(LOCATION, location.try_into().map_err(ApiError::internal)?);
    headers.insert(ETAG, tag);
    headers.insert(VARY, HeaderValue::from_static("Accept"));
    Ok(response)
}

/// The document, unless the client has it. One tag for both forms, as upstream's: `Vary` keeps them
/// apart.
fn tagged(
    headers: &HeaderMap,
    tag: HeaderValue,
    content_type: &'static str,
    document: impl FnOnce() -> Result<Bytes, ApiError>,
) -> Result<Response, ApiError> {
    let known =
        headers.get(IF_NONE_MATCH).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let known = known.split(',').map(str::trim).any(|known| {
        known == "*" || known.strip_prefix("W/").unwrap_or(known).as_bytes() == tag.as_bytes()
    });
    let mut response = if known {
        respond(StatusCode::NOT_MODIFIED, content_type, Bytes::new())
    } else {
        respond(StatusCode::OK, content_type, document()?)
    };
    response.headers_mut().insert(ETAG, tag);
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    Ok(response)
}

fn document(api: &Api, path: &str, form: Form) -> Result<Bytes, ApiError> {
    let document = match (path.strip_prefix("v3/"), form) {
        (Some(version), _) => api.openapi.v3(version).ok_or_else(ApiError::page_not_found),
        (None, Form::Json) => Ok(api.openapi.v2()),
        (None, Form::Gnostic) => api.openapi.v2_protobuf().map_err(ApiError::internal),
    };
    let_rest(api);
    document
}

/// `None` for a client that names only forms that do not exist: it is told so, rather than sent what
/// it cannot read.
fn negotiate(headers: &HeaderMap, forms: &[Form]) -> Option<Form> {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if accept.is_empty() {
        return Some(Form::Json);
    }
    clauses(accept).iter().find_map(|clause| forms.iter().find(|form| form.fits(clause))).copied()
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::net::IpAddr;
    use std::sync::Arc;

    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    use super::*;
    use crate::auth::Identity;
    use crate::config::ControlConfig;
    use crate::server::ControlPlane;
    use crate::{Ambient, Io, NodeDialer};

    const OLD: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

    fn form(path: &str, accept: &str) -> Option<Form> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, accept.parse().expect("a header value"));
        negotiate(&headers, Form::of(path))
    }

    #[test]
    fn version_two_is_written_as_the_client_asks() {
        assert_eq!(form("v2", OLD), Some(Form::Gnostic));
        assert_eq!(form("v2", GNOSTIC), Some(Form::Gnostic));
        assert_eq!(form("v2", &format!("{GNOSTIC};q=0.5, application/json")), Some(Form::Json));
        assert_eq!(form("v2", &format!("*/*, {OLD}")), Some(Form::Gnostic));
        for any in ["", "*/*", "application/*", "application/json"] {
            assert_eq!(form("v2", any), Some(Form::Json), "{any}");
        }
        assert_eq!(form("v2", "text/html"), None);
    }

    #[test]
    fn version_three_has_no_gnostic_message() {
        assert_eq!(form("v3/api/v1", OLD), None);
        assert_eq!(form("v3", &format!("{OLD}, application/json")), Some(Form::Json));
    }

    struct NoNodes;

    #[async_trait::async_trait]
    impl NodeDialer for NoNodes {
        async fn connect(&self, _: &str, _: IpAddr, _: u16) -> io::Result<Box<dyn Io>> {
            Err(io::ErrorKind::ConnectionRefused.into())
        }
    }

    #[tokio::test]
    async fn the_gnostic_message_has_its_newer_name_and_the_tag_of_the_json() {
        let config = ControlConfig::default();
        let plane = ControlPlane::start_bare(config, Arc::new(NoNodes), Ambient::real()).await;
        let plane = plane.expect("it starts");
        let get = |accept: &str, tag: &str| {
            let request = Request::get("/openapi/v2").header(ACCEPT, accept);
            let request = request.header(IF_NONE_MATCH, tag).extension(Identity::admin());
            plane.router().oneshot(request.body(Body::empty()).expect("a request"))
        };
        let json = get(JSON, "").await.expect("infallible");
        let message = get(OLD, "").await.expect("infallible");
        assert_eq!(message.status(), 200);
        assert_eq!(message.headers()[CONTENT_TYPE], GNOSTIC);
        assert_eq!(message.headers()[VARY], "Accept");
        assert_eq!(message.headers()[ETAG], json.headers()[ETAG]);
        let tag = message.headers()[ETAG].to_str().expect("text").to_owned();
        let body = message.into_body().collect().await.expect("a body").to_bytes();
        let json = json.into_body().collect().await.expect("a body").to_bytes();
        assert!(json.starts_with(b"{") && !body.starts_with(b"{"));
        let again = get(OLD, &tag).await.expect("infallible");
        assert_eq!(again.status(), 304);
        assert_eq!(again.headers()[CONTENT_TYPE], GNOSTIC);
    }
}
