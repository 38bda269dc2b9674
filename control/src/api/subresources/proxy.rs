//! `nodes`, `pods` and `services/{name}/proxy/{path}`: passes a request through.
//!
//! `target` says to whom, `forward` sends it and passes the answer back, `rewrite` leads the links in
//! the answer through the proxy. Source: `pkg/registry/core/{pod,service}`,
//! `k8s.io/apimachinery/pkg/util/proxy`.

mod forward;
mod rewrite;
mod target;

use axum::body::Body;
use axum::response::Response;
use futures::{FutureExt as _, StreamExt as _};
use http::{HeaderMap, HeaderName, Method, Request, StatusCode, header};
use serde_json::Value;

use crate::status::ApiError;

use super::super::call::Call;
use super::log::node_object;

pub async fn proxy(call: &Call, request: Request<Body>) -> Result<Response, ApiError> {
    let path = onward_path(call, &request);
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    // Who is not there has no root either.
    let roots = path.is_empty() && is_read;
    let path = if path.is_empty() { "/".to_owned() } else { path };
    if call.info().resource == "nodes" {
        // `https:name:port` is upstream's full form; here the node alone says how it is reached.
        let name = call.address.name.split(':').find(|part| !matches!(*part, "http" | "https"));
        let node = node_object(call, name.unwrap_or_default()).await?;
        return if roots {
            Ok(to_root(&request))
        } else {
            to_node(call, &node, &path, request).await
        };
    }
    let target = match call.info().resource {
        "pods" => target::pod(call).await?,
        "services" => target::service(call).await?,
        _ => return Err(ApiError::page_not_found()),
    };
    if roots { Ok(to_root(&request)) } else { forward::to(call, &target, &path, request).await }
}

/// The path behind `/proxy`: empty where nothing follows, not even a slash.
fn onward_path(call: &Call, request: &Request<Body>) -> String {
    match (call.address.rest.as_str(), request.uri().path().ends_with('/')) {
        ("", false) => String::new(),
        (rest, _) => format!("/{rest}"),
    }
}

/// Relative links of a page work only below a path that ends in a slash.
fn to_root(request: &Request<Body>) -> Response {
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    if let Ok(location) = format!("{}/{query}", request.uri().path()).parse() {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

async fn to_node(
    call: &Call,
    node: &Value,
    path: &str,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let path = with_query(path, &request);
    let answered = call.api.kubelets.call(node, &path, request).await;
    let response = answered.map_err(|error| {
        ApiError::unavailable(format!("error trying to reach service: {error}"))
    })?;
    let (mut parts, body) = response.into_parts();
    drop_hop_headers(&mut parts.headers);
    Ok(Response::from_parts(parts, until_stop(call, body)))
}

fn with_query(path: &str, request: &Request<Body>) -> String {
    match request.uri().query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    }
}

/// The body, which ends when the control plane stops.
fn until_stop(call: &Call, body: Body) -> Body {
    let stopping = call.api.stopping.clone().cancelled_owned().map(|()| ());
    Body::from_stream(body.into_data_stream().take_until(stopping.boxed()))
}

/// Headers that concern one connection alone, and those that `Connection` names.
fn drop_hop_headers(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    const ALWAYS: [HeaderName; 7] = [
        header::CONNECTION,
        header::PROXY_AUTHENTICATE,
        header::PROXY_AUTHORIZATION,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ];
    for name in named.iter().chain(&ALWAYS) {
        headers.remove(name);
    }
    for name in ["keep-alive", "proxy-connection"] {
        headers.remove(name);
    }
}
