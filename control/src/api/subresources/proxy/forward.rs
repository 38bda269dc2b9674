//! A request to a pod, and its answer back: both are streamed, whatever they upgrade to is tunnelled.
//!
//! Source: `k8s.io/apimachinery/pkg/util/proxy/{upgradeaware,transport}.go`.

use axum::body::Body;
use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue, Request, header};
use http_body_util::{BodyExt as _, Limited};
use hyper_util::rt::TokioIo;

use crate::api::kubelet::{Io, PodError};
use crate::status::ApiError;

use super::super::super::call::Call;
use super::super::super::upgrade;
use super::rewrite::Seen;
use super::target::Target;
use super::{drop_hop_headers, until_stop, with_query};

/// A page larger than this is passed on as it is.
const PAGE_MAX: usize = 16 * 1024 * 1024;
const FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");
const CROSS_ORIGIN: [HeaderName; 4] = [
    header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
    header::ACCESS_CONTROL_ALLOW_HEADERS,
    header::ACCESS_CONTROL_ALLOW_METHODS,
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
];

/// Sends the request to the target, with this path.
pub async fn to(
    call: &Call,
    target: &Target,
    path: &str,
    mut request: Request<Body>,
) -> Result<Response, ApiError> {
    let own_path = request.uri().path().to_owned();
    let prefix = own_path.strip_suffix(path).unwrap_or(&own_path).to_owned();
    let client = upgrade::Client::of(&mut request);
    let host = host(&request);
    let onward = onward(&request, path, &host, client.is_some())?;
    let mut request = Request::from_parts(onward, request.into_body());
    let reached = reach(call, target).await;
    if let Some(client) = client {
        let stream = reached.map_err(|why| dial_failed(&why.to_string()))?;
        *request.body_mut() = Body::empty();
        let response = send(call, stream, request).await.map_err(|why| dial_failed(&why))?;
        return client.join(call, response).await;
    }
    let stream = reached.map_err(|why| unreachable(&why.to_string()))?;
    if let Ok(uri) = HeaderValue::from_str(&own_path) {
        request.headers_mut().insert(FORWARDED_URI, uri);
    }
    let response = send(call, stream, request).await.map_err(|why| unreachable(&why))?;
    let pod = target.address.to_string();
    answer(call, &Seen { prefix: &prefix, pod: &pod, host: &host }, response).await
}

fn unreachable(why: &str) -> ApiError {
    ApiError::unavailable(format!("error trying to reach service: {why}"))
}

fn dial_failed(why: &str) -> ApiError {
    ApiError::new(500, "", format!("error dialing backend: {why}"))
}

async fn reach(call: &Call, target: &Target) -> Result<Box<dyn Io>, PodError> {
    let kubelets = &call.api.kubelets;
    if target.is_https {
        kubelets.dial_pod_tls(&target.node, target.address).await
    } else {
        kubelets.dial_pod(&target.node, target.address).await
    }
}

/// The host that the client asked.
fn host(request: &Request<Body>) -> String {
    let named = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let authority = || request.uri().authority().map(ToString::to_string);
    named.map(str::to_owned).or_else(authority).unwrap_or_default()
}

/// The head of the request as the pod gets it: without what concerns the API server alone.
fn onward(
    request: &Request<Body>,
    path: &str,
    host: &str,
    upgrades: bool,
) -> Result<http::request::Parts, ApiError> {
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.method = request.method().clone();
    let path = with_query(path, request);
    parts.uri = path.parse().map_err(|_| ApiError::bad_request(format!("{path} is no path")))?;
    parts.headers = request.headers().clone();
    if !upgrades {
        drop_hop_headers(&mut parts.headers);
    }
    parts.headers.remove(header::AUTHORIZATION);
    let impersonates: Vec<HeaderName> = parts
        .headers
        .keys()
        .filter(|name| name.as_str().starts_with("impersonate-"))
        .cloned()
        .collect();
    for name in impersonates {
        parts.headers.remove(name);
    }
    if let Ok(host) = HeaderValue::from_str(host) {
        parts.headers.insert(header::HOST, host);
    }
    Ok(parts)
}

async fn send(
    call: &Call,
    stream: Box<dyn Io>,
    request: Request<Body>,
) -> Result<Response, String> {
    let shaken = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = shaken.map_err(|why| why.to_string())?;
    call.api.ambient().spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a proxied connection to a pod ended");
        }
    });
    let sent = sender.send_request(request).await;
    sent.map(|response| response.map(Body::new)).map_err(|why| why.to_string())
}

/// The answer as the client gets it.
async fn answer(call: &Call, seen: &Seen<'_>, response: Response) -> Result<Response, ApiError> {
    let (mut parts, body) = response.into_parts();
    drop_hop_headers(&mut parts.headers);
    for name in CROSS_ORIGIN {
        parts.headers.remove(name);
    }
    if let Some(location) = parts.headers.get(header::LOCATION) {
        let location = location.to_str().map_err(|error| {
            ApiError::internal(format!("error trying to parse Location header: {error}"))
        })?;
        if let Ok(location) = HeaderValue::from_str(&seen.link(location)) {
            parts.headers.insert(header::LOCATION, location);
        }
        return Ok(Response::from_parts(parts, until_stop(call, body)));
    }
    if !is_page(&parts.headers) {
        return Ok(Response::from_parts(parts, until_stop(call, body)));
    }
    let page = Limited::new(body, PAGE_MAX).collect().await;
    let page = page.map_err(|why| unreachable(&why.to_string()))?.to_bytes();
    let body = match std::str::from_utf8(&page) {
        Ok(text) => {
            parts.headers.remove(header::CONTENT_LENGTH);
            Body::from(seen.page(text))
        }
        Err(_) => Body::from(page),
    };
    Ok(Response::from_parts(parts, body))
}

/// Whether it is HTML of a size that can be looked into. What is compressed is passed on as it is.
fn is_page(headers: &HeaderMap) -> bool {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let media = text(header::CONTENT_TYPE).and_then(|media| media.split(';').next());
    let length = text(header::CONTENT_LENGTH).and_then(|length| length.parse::<usize>().ok());
    media.map(str::trim) == Some("text/html")
        && !headers.contains_key(header::CONTENT_ENCODING)
        && length.is_none_or(|length| length <= PAGE_MAX)
}
