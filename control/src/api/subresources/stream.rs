//! `pods/{name}/attach`, `exec` and `portforward`: the client's connection is joined with one to the
//! pod's node, which speaks WebSocket or SPDY with it. What is said passes through unread.
//!
//! Source: `pkg/registry/core/pod/{strategy.go,rest/subresources.go}`.

use axum::body::Body;
use axum::response::Response;
use http::Request;
use serde_json::Value;

use crate::kinds::Subresource;
use crate::status::ApiError;

use super::super::call::Call;
use super::super::query::Query;
use super::super::{get, object, upgrade};
use super::log::{container, node_object};

pub async fn connect(
    call: &Call,
    subresource: Subresource,
    mut request: Request<Body>,
) -> Result<Response, ApiError> {
    let pod = get::read(call).await?;
    let pod = pod.value();
    let path = path(subresource, pod, &call.query)?;
    let node = object::text(pod, "/spec/nodeName");
    if node.is_empty() {
        let name = object::name(pod);
        return Err(ApiError::bad_request(format!("pod {name} does not have a host assigned")));
    }
    let node = node_object(call, node).await?;
    let Some(client) = upgrade::Client::of(&mut request) else {
        return Err(ApiError::bad_request("Upgrade request required"));
    };
    *request.body_mut() = Body::empty();
    let answered = call.api.kubelets.upgrade(&node, &path, request).await;
    let response = answered
        .map_err(|error| ApiError::new(500, "", format!("error dialing backend: {error}")))?;
    client.join(call, response).await
}

/// What the node is asked for.
fn path(subresource: Subresource, pod: &Value, query: &Query) -> Result<String, ApiError> {
    let (namespace, name) = (object::namespace(pod), object::name(pod));
    if subresource == Subresource::PortForward {
        let ports = query.all("ports").map(|port| {
            port.parse::<u16>().map_err(|_| ApiError::bad_request(format!("invalid port {port:?}")))
        });
        let ports: Vec<String> =
            ports.map(|port| port.map(|port| port.to_string())).collect::<Result<_, _>>()?;
        let query =
            if ports.is_empty() { String::new() } else { format!("?port={}", ports.join("%2C")) };
        return Ok(format!("/portForward/{namespace}/{name}{query}"));
    }
    let asked = query.text("container").filter(|container| !container.is_empty());
    let container = container(pod, asked)?;
    let mut pairs = Vec::new();
    if subresource == Subresource::Exec {
        pairs.extend(query.all("command").map(|word| format!("command={}", escaped(word))));
    }
    for (flag, kubelets) in
        [("stderr", "error"), ("stdin", "input"), ("stdout", "output"), ("tty", "tty")]
    {
        if query.flag(flag) {
            pairs.push(format!("{kubelets}=1"));
        }
    }
    let query = if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) };
    Ok(format!("/{}/{namespace}/{name}/{container}{query}", subresource.name()))
}

/// Percent-encoded, but for what means nothing in a query.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_nodes_path_names_the_container_and_the_streams() {
        let pod = json!({
            "metadata": { "name": "p", "namespace": "a" },
            "spec": { "containers": [{ "name": "c" }] },
        });
        let path = |subresource, query: &str| {
            path(subresource, &pod, &Query::parse(query)).map_err(|error| error.message)
        };
        let cases = [
            (
                Subresource::Exec,
                "command=sh&command=-c&command=a%20b&stdin=true&stdout=1&tty=false",
                Ok("/exec/a/p/c?command=sh&command=-c&command=a%20b&input=1&output=1"),
            ),
            (Subresource::Attach, "container=c&stderr=true", Ok("/attach/a/p/c?error=1")),
            (Subresource::Attach, "", Ok("/attach/a/p/c")),
            (Subresource::Attach, "container=d", Err("container d is not valid for pod p")),
            (Subresource::PortForward, "", Ok("/portForward/a/p")),
            (
                Subresource::PortForward,
                "ports=80&ports=8080",
                Ok("/portForward/a/p?port=80%2C8080"),
            ),
            (Subresource::PortForward, "ports=http", Err("invalid port \"http\"")),
        ];
        for (subresource, query, expected) in cases {
            let expected = expected.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(path(subresource, query), expected, "{query}");
        }
    }
}
