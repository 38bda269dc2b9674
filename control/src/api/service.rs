//! The way of a request: who asks, what for, and to which handler it goes.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use futures::FutureExt as _;
use http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body::Body as _;
use serde_json::{Value, json};

use crate::auth::{Identity, UserInfo, impersonated};
use crate::kinds::{AnyKind, Subresource, Verbs};
use crate::status::ApiError;

use super::answer::{json_text, respond, warn};
use super::call::Call;
use super::fair::{self, InProcess, Turn};
use super::metrics::RequestLabels;
use super::negotiate::{JSON, Output, Shapes};
use super::query::{self, Query};
use super::readers::{Bounds, Hangup};
use super::request::{Address, Path, Verb, is_long_running};
use super::state::Api;
use super::websocket::{self, Socket};
use super::write::Rules;
use super::{
    body, compress, create, delete, get, health, list, openapi, patch, route, subresources, tokens,
    update, watch,
};

/// How long a write may take, as upstream's requestTimeoutUpperBound: less than what clients wait.
const WRITE_MAX: Duration = Duration::from_secs(34);
const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");
const DUMPS: &str = "/debug/api_priority_and_fairness/";

/// The API as a tower service. Who asks comes as an [`Identity`] among the request's extensions.
pub fn router(api: Arc<Api>) -> Router {
    Router::new().fallback(serve).with_state(api)
}

async fn serve(State(api): State<Arc<Api>>, request: Request<Body>) -> Response {
    let begun = Instant::now();
    let is_head = request.method() == Method::HEAD;
    let mut labels = RequestLabels {
        verb: "OTHER",
        group: String::new(),
        version: String::new(),
        resource: String::new(),
        subresource: String::new(),
        code: 0,
    };
    api.metrics.inflight.inc();
    let (headers, uri) = (request.headers().clone(), request.uri().clone());
    let (request, rest) = body::watched(request);
    let mut turn = Turn::default();
    let answered = answer(&api, request, &mut labels, &mut turn);
    let answered = AssertUnwindSafe(answered).catch_unwind().await;
    api.metrics.inflight.dec();
    let mut response = match answered {
        Ok(Ok(response)) => {
            if turn.is_refused() {
                rest.drain().await;
            }
            response
        }
        Ok(Err(error)) => {
            rest.drain().await;
            let query = Query::parse(uri.query().unwrap_or_default());
            // Whoever takes no form that there is gets JSON: the error must not get lost.
            error.respond(
                &Output::negotiate(&headers, &query, Shapes::None).unwrap_or(Output::PLAIN),
            )
        }
        Err(_) => {
            tracing::error!("a handler panicked");
            ApiError::internal("this request caused the server to panic").into_response()
        }
    };
    // Whatever became of the request, it was for a version that is on its way out.
    let kind = api.kinds.at(&labels.group, &labels.version, &labels.resource);
    if let Some(deprecation) = kind.and_then(|kind| kind.info().deprecation) {
        warn(&mut response, &[deprecation.to_owned()]);
    }
    response.headers_mut().entry(AUDIT_ID).or_insert_with(|| audit_id(&api, &headers));
    turn.go(&mut response);
    labels.code = response.status().as_u16();
    api.metrics.record(labels, begun.elapsed());
    if is_head {
        *response.body_mut() = Body::empty();
    }
    response
}

/// By what the request is known to its client and here: the client's own word, if it has one.
///
/// Source: `k8s.io/apiserver/pkg/endpoints/filters/audit_init.go`.
fn audit_id(api: &Api, headers: &HeaderMap) -> HeaderValue {
    let given = headers.get(AUDIT_ID).filter(|given| !given.is_empty()).cloned();
    given.unwrap_or_else(|| {
        let id = api.ambient().uuid().to_string();
        HeaderValue::try_from(id).expect("digits and dashes")
    })
}

async fn answer(
    api: &Arc<Api>,
    request: Request<Body>,
    labels: &mut RequestLabels,
    turn: &mut Turn,
) -> Result<Response, ApiError> {
    let path = request.uri().path().to_owned();
    let query = Query::parse(request.uri().query().unwrap_or_default());
    if health::is_health(&path) {
        return health::answer(api, &path, &query).await;
    }
    let identity = request.extensions().get::<Identity>().cloned();
    let mut token = tokens::bearer(request.headers()).map(str::to_owned);
    let mut protocols = None;
    if identity.is_none()
        && token.is_none()
        && let Some((brought, others)) = websocket::token(request.headers())
    {
        (token, protocols) = (Some(brought), Some(others));
    }
    let user = authenticate(api, identity, token).await?;
    let user = impersonated(request.headers(), &user)?.unwrap_or(user);
    // Who asks is known by now: what proves it goes no further.
    let mut request = request;
    request.headers_mut().remove(AUTHORIZATION);
    if let Some(protocols) = protocols {
        request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, protocols);
    }
    let parsed = Path::parse(&path);
    let in_process = request.extensions().get::<InProcess>().is_some();
    let method = request.method().clone();
    let addressed = (&parsed, &query);
    if let Err(refused) = turn.come(api, &user, (&method, &path), addressed, in_process).await {
        return Ok(refused);
    }
    match parsed {
        known if known.group().is_some_and(|group| !api.discovery.knows(group)) => {
            query::timeout(&query)?;
            Ok(page_not_found())
        }
        Path::Resource { address, watch } => {
            resource(api, address, watch, user, query, request, labels).await
        }
        Path::Other => {
            query::timeout(&query)?;
            other(api, &path, &query, &request)
        }
        discovery => {
            query::timeout(&query)?;
            let answered = api.discovery.answer(&discovery, &query, request.headers());
            let is_routed = matches!(discovery, Path::CoreVersions | Path::Version { .. });
            match answered {
                Err(missing) if missing.code == 404 => Err(missing),
                _ if is_routed && request.method() != Method::GET => Err(not_allowed()),
                answered => answered,
            }
        }
    }
}

/// What upstream answers where nothing claims the path: plain text, no `Status`.
fn page_not_found() -> Response {
    let mut response =
        respond(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", "404 page not found\n");
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Who asks: by certificate, or by the token of a service account.
async fn authenticate(
    api: &Api,
    identity: Option<Identity>,
    token: Option<String>,
) -> Result<UserInfo, ApiError> {
    match (identity, token) {
        (Some(identity), _) => Ok(identity.user().clone()),
        (None, Some(token)) => {
            let known = tokens::authenticate(api, &token, &tokens::own_audiences()).await;
            known.map(|known| known.user).map_err(|why| {
                tracing::debug!(why, "a bearer token is refused");
                ApiError::unauthorized()
            })
        }
        (None, None) => Err(ApiError::unauthorized()),
    }
}

fn not_allowed() -> ApiError {
    ApiError::method_not_allowed("the server does not allow this method on the requested resource")
}

/// Source: `k8s.io/apimachinery/pkg/api/errors` (NewMethodNotSupported).
fn unwatched(kind: &Arc<dyn AnyKind>) -> ApiError {
    let (group, resource) = (kind.info().group, kind.info().resource);
    let full = kind.info().group_resource();
    let error = ApiError::method_not_allowed(format!(
        "watch is not supported on resources of kind {full:?}"
    ));
    let mut details = json!({ "kind": resource });
    if !group.is_empty() {
        details["group"] = group.into();
    }
    ApiError { details: Some(details), ..error }
}

/// Whatever is not under `/api` or `/apis`. What upstream routes by method is read with GET alone;
/// the rest does not look at the method.
fn other(
    api: &Api,
    path: &str,
    query: &Query,
    request: &Request<Body>,
) -> Result<Response, ApiError> {
    match path.trim_end_matches('/') {
        "" => Ok(respond(
            StatusCode::OK,
            JSON,
            json_text(&json!({ "paths": api.discovery.paths() }), true),
        )),
        "/version" => {
            routed(request, JSON)?;
            Ok(respond(StatusCode::OK, JSON, json_text(&version(), true)))
        }
        "/metrics" => api.metrics.answer(request.headers()),
        path => match (path.strip_prefix("/openapi/"), path.strip_prefix(DUMPS)) {
            (Some(document), _) => {
                Ok(openapi::answer(api, document, request)?.unwrap_or_else(page_not_found))
            }
            (None, Some(dump)) => {
                Ok(fair::dump(&api.fairness, dump, query).unwrap_or_else(page_not_found))
            }
            (None, None) => match tokens::published(api, path) {
                Some((media, response)) => routed(request, media).map(|()| response),
                None => Ok(page_not_found()),
            },
        },
    }
}

fn routed(request: &Request<Body>, media: &str) -> Result<(), ApiError> {
    if request.method() != Method::GET {
        return Err(not_allowed());
    }
    route::accepts(request.headers(), &[media])
}

/// What `/version` says: the API that is served, and that another server serves it.
fn version() -> Value {
    json!({
        "major": "1",
        "minor": "36",
        "emulationMajor": "1",
        "emulationMinor": "36",
        "minCompatibilityMajor": "1",
        "minCompatibilityMinor": "35",
        "gitVersion": "v1.36.0+copepod",
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "none",
        "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, platform()),
    })
}

/// The machine in Go's words.
fn platform() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

async fn resource(
    api: &Arc<Api>,
    address: Address,
    watch_prefix: bool,
    user: UserInfo,
    query: Query,
    request: Request<Body>,
    labels: &mut RequestLabels,
) -> Result<Response, ApiError> {
    let kind = api.kinds.at(&address.group, &address.version, &address.resource);
    let kind = kind.ok_or_else(ApiError::page_not_found)?.clone();
    if !route::stands(kind.as_ref(), &address, watch_prefix) {
        return Err(ApiError::page_not_found());
    }
    let verb = address.verb(request.method(), &query, watch_prefix).ok_or_else(not_allowed)?;
    if !route::takes(kind.info(), &address, verb) {
        // What can be listed has a handler, which says it itself.
        let can_list = route::takes(kind.info(), &address, Verb::List);
        return Err(if verb == Verb::Watch && can_list { unwatched(&kind) } else { not_allowed() });
    }
    *labels = RequestLabels {
        verb: if passes_through(&address) { "connect" } else { verb.name() },
        group: address.group.clone(),
        version: address.version.clone(),
        resource: address.resource.clone(),
        subresource: address.subresource.clone(),
        code: 0,
    };
    if is_long_running(&address, verb) {
        handle(api, kind, address, verb, user, query, request).await
    } else {
        let limit = query::timeout(&query)?;
        let deadline = tokio::time::Instant::now() + limit;
        let accepts_gzip = compress::accepts_gzip(request.headers());
        let hangup = request.extensions().get::<Hangup>().cloned();
        let handled = handle(api, kind, address, verb, user, query, request);
        let response = in_time(verb, limit, handled).await?;
        let response = compress::compress(accepts_gzip, response).await;
        Ok(bounded(api, response, Bounds { deadline: Some(deadline), hangup, farewell: None }))
    }
}

/// Upstream's words differ by who gives up first: the write itself, or the one who waits for it.
///
/// Source: `k8s.io/apiserver/pkg/server/filters/timeout.go`, `pkg/endpoints/handlers/finisher`.
async fn in_time(
    verb: Verb,
    limit: Duration,
    handled: impl Future<Output = Result<Response, ApiError>>,
) -> Result<Response, ApiError> {
    let (limit, why) = match verb {
        Verb::Get | Verb::List | Verb::Watch => {
            (limit, "request did not complete within the allotted timeout")
        }
        _ => (
            limit.min(WRITE_MAX),
            "request did not complete within requested timeout - context deadline exceeded",
        ),
    };
    tokio::time::timeout(limit, handled).await.unwrap_or_else(|_| {
        let mut error = ApiError::new(504, "Timeout", format!("Timeout: {why}"));
        error.details = Some(json!({}));
        Err(error)
    })
}

/// An answer that is made while it is read ends at the request's deadline.
fn bounded(api: &Api, response: Response, bounds: Bounds) -> Response {
    if response.body().size_hint().exact().is_some() {
        return response;
    }
    let (parts, body) = response.into_parts();
    let body = api.readers.body(body.into_data_stream(), bounds);
    Response::from_parts(parts, body)
}

async fn handle(
    api: &Arc<Api>,
    kind: Arc<dyn AnyKind>,
    address: Address,
    verb: Verb,
    user: UserInfo,
    query: Query,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    if !address.subresource.is_empty() {
        let subresource = subresources::find(kind.as_ref(), &address)?;
        route::check(request.headers(), &address, verb)?;
        let call = call(api, kind, address, user, query, &request, Shapes::All)?;
        return subresources::serve(&call, subresource, verb, request).await;
    }
    route::check(request.headers(), &address, verb)?;
    let shapes = if kind.info().verbs == Verbs::Create { Shapes::Partial } else { Shapes::All };
    let call = call(api, kind, address, user, query, &request, shapes)?;
    let mut request = request;
    let socket = Socket::of(&mut request).filter(|_| verb == Verb::Watch);
    let body = request.into_body();
    match verb {
        Verb::Create => create::create(&call, body).await,
        Verb::Get => get::get(&call).await,
        Verb::List => list::list(&call).await,
        Verb::Watch => watch::watch(&call, socket).await,
        Verb::Update => update::update(&call, body, Rules::Main).await,
        Verb::Patch => patch::patch(&call, body, Rules::Main).await,
        Verb::Delete => delete::delete(&call, body).await,
        Verb::DeleteCollection => delete::delete_collection(&call, body).await,
    }
}

fn passes_through(address: &Address) -> bool {
    Subresource::named(&address.subresource).is_some_and(Subresource::passes_through)
}

fn call(
    api: &Arc<Api>,
    kind: Arc<dyn AnyKind>,
    address: Address,
    user: UserInfo,
    query: Query,
    request: &Request<Body>,
    shapes: Shapes,
) -> Result<Call, ApiError> {
    let output = if passes_through(&address) {
        Output::PLAIN
    } else {
        Output::negotiate(request.headers(), &query, shapes)?
    };
    let headers = request.headers().clone();
    let hangup = request.extensions().get::<Hangup>().cloned();
    Ok(Call { api: api.clone(), kind, address, user, query, headers, output, hangup })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_gives_a_request_up_says_so_in_his_words() {
        for (verb, why) in [
            (Verb::Get, "request did not complete within the allotted timeout"),
            (
                Verb::Create,
                "request did not complete within requested timeout - context deadline exceeded",
            ),
        ] {
            let never = std::future::pending();
            let error = in_time(verb, Duration::from_millis(1), never).await.expect_err("late");
            assert_eq!((error.code, error.reason), (504, "Timeout"));
            assert_eq!(error.message, format!("Timeout: {why}"));
        }
    }
}
