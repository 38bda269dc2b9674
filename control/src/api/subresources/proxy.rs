//! `nodes/{name}/proxy/{path}`: passes a request through to the node's kubelet.

use axum::body::Body;
use axum::response::Response;
use futures::{FutureExt as _, StreamExt as _};
use http::{Request, header};

use crate::status::ApiError;

use super::super::call::Call;
use super::log::node_object;

pub async fn proxy(call: &Call, request: Request<Body>) -> Result<Response, ApiError> {
    if call.info().resource != "nodes" {
        return Err(ApiError::page_not_found());
    }
    // `https:name:port` is upstream's full form; here the node alone says how it is reached.
    let name = call.address.name.split(':').find(|part| !matches!(*part, "http" | "https"));
    let node = node_object(call, name.unwrap_or_default()).await?;
    let path = match request.uri().query() {
        Some(query) => format!("/{}?{query}", call.address.rest),
        None => format!("/{}", call.address.rest),
    };
    let answered = call.api.kubelets.call(&node, &path, request).await;
    let response = answered.map_err(|error| {
        ApiError::unavailable(format!("error trying to reach service: {error}"))
    })?;
    let (mut parts, body) = response.into_parts();
    for name in [header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE] {
        parts.headers.remove(name);
    }
    let stopping = call.api.stopping.clone().cancelled_owned().map(|()| ());
    let body = body.into_data_stream().take_until(stopping.boxed());
    Ok(Response::from_parts(parts, Body::from_stream(body)))
}
