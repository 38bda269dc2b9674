//! `pods/{name}/log`: a container's log, streamed from its node.
//!
//! Source: `pkg/registry/core/pod/{strategy.go,rest/log.go}`.

use axum::body::Body;
use axum::response::Response;
use futures::{FutureExt as _, StreamExt as _};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use serde_json::Value;

use crate::kinds::FieldError;
use crate::status::{About, ApiError};

use super::super::answer::respond;
use super::super::call::Call;
use super::super::object;
use super::super::query::Query;
use super::super::{get, write};

const TEXT: &str = "text/plain";
/// As much of a kubelet's complaint as is passed on.
const COMPLAINT_MAX: usize = 64 * 1024;

pub async fn get(call: &Call) -> Result<Response, ApiError> {
    let options = options(&call.query, &call.address.name)?;
    let pod = get::read(call).await?;
    let pod = pod.value();
    let container = container(pod, call.query.text("container"))?;
    let node = object::text(pod, "/spec/nodeName");
    if node.is_empty() {
        return Ok(respond(StatusCode::NO_CONTENT, TEXT, Body::empty()));
    }
    let node = node_object(call, node).await?;
    let (namespace, name) = (object::namespace(pod), object::name(pod));
    let path = format!("/containerLogs/{namespace}/{name}/{container}{options}");
    let request = Request::get("/").body(Body::empty()).map_err(ApiError::internal)?;
    let answered = call.api.kubelets.call(&node, &path, request).await;
    let response = answered.map_err(|error| ApiError::new(500, "", error.to_string()))?;
    if !response.status().is_success() {
        return Err(complaint(call, response).await);
    }
    let stopping = call.api.stopping.clone().cancelled_owned().map(|()| ());
    let log = response.into_body().into_data_stream().take_until(stopping.boxed());
    Ok(respond(StatusCode::OK, TEXT, Body::from_stream(log)))
}

/// The query for the kubelet.
fn options(query: &Query, pod: &str) -> Result<String, ApiError> {
    let mut errors = Vec::new();
    let mut at_least = |name: &str, least: i64, why: &str| -> Result<Option<i64>, ApiError> {
        let value = query.integer(name)?;
        if let Some(value) = value.filter(|value| *value < least) {
            errors.push(FieldError::invalid(name, value, why));
        }
        Ok(value)
    };
    let tail = at_least("tailLines", 0, "must be greater than or equal to 0")?;
    let limit = at_least("limitBytes", 1, "must be greater than 0")?;
    let since = at_least("sinceSeconds", 1, "must be greater than 0")?;
    let since_time = query.text("sinceTime");
    if since.is_some() && since_time.is_some() {
        let why = "at most one of `sinceTime` or `sinceSeconds` may be specified";
        errors.push(FieldError::forbidden("", why));
    }
    match query.text("stream") {
        None | Some("" | "All") => {}
        Some("Stdout" | "Stderr") => {
            let why = "one stream alone is not supported yet; leave it out to get both";
            errors.push(FieldError::forbidden("stream", why));
        }
        Some(other) => {
            let supported = ["All", "Stderr", "Stdout"];
            errors.push(FieldError::not_supported("stream", other, &supported));
        }
    }
    if !errors.is_empty() {
        let about = About { group: "", resource: "PodLogOptions", name: pod };
        return Err(ApiError::invalid(about, &errors));
    }
    let mut pairs = Vec::new();
    for flag in ["follow", "previous", "timestamps"] {
        if query.flag(flag) {
            pairs.push(format!("{flag}=true"));
        }
    }
    for (name, value) in [("tailLines", tail), ("limitBytes", limit), ("sinceSeconds", since)] {
        pairs.extend(value.map(|value| format!("{name}={value}")));
    }
    // A time holds no letters but `+` that mean something in a query.
    pairs.extend(since_time.map(|time| format!("sinceTime={}", time.replace('+', "%2B"))));
    Ok(if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) })
}

/// The container that is meant.
pub(super) fn container(pod: &Value, asked: Option<&str>) -> Result<String, ApiError> {
    let name = object::name(pod);
    let containers = names(pod, &["containers"]);
    let all = names(pod, &["initContainers", "containers", "ephemeralContainers"]);
    match (asked, containers.as_slice()) {
        (Some(asked), _) if all.contains(&asked) => Ok(asked.to_owned()),
        (Some(asked), _) => {
            Err(ApiError::bad_request(format!("container {asked} is not valid for pod {name}")))
        }
        (None, [only]) => Ok((*only).to_owned()),
        (None, []) => {
            Err(ApiError::bad_request(format!("a container name must be specified for pod {name}")))
        }
        (None, _) => Err(ApiError::bad_request(format!(
            "a container name must be specified for pod {name}, choose one of: [{}]",
            all.join(" ")
        ))),
    }
}

fn names<'a>(pod: &'a Value, lists: &[&str]) -> Vec<&'a str> {
    let containers = lists.iter().filter_map(|list| pod["spec"][*list].as_array()).flatten();
    containers.filter_map(|container| container["name"].as_str()).collect()
}

/// The node's object, which says where its kubelet is.
pub(super) async fn node_object(call: &Call, node: &str) -> Result<Value, ApiError> {
    let kind = call.api.kinds.at("", "v1", "nodes").ok_or_else(ApiError::page_not_found)?;
    let mut nodes = call.at("", node);
    nodes.kind = kind.clone();
    let cached = write::newest(&nodes, node).await?;
    cached.decode().map_err(ApiError::internal)
}

/// What a kubelet complained of, as upstream passes it on.
async fn complaint(call: &Call, response: Response) -> ApiError {
    let status = response.status();
    let body = Limited::new(response.into_body(), COMPLAINT_MAX).collect().await;
    let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let text = String::from_utf8_lossy(&body).trim_end().to_owned();
    match status {
        StatusCode::INTERNAL_SERVER_ERROR => ApiError::internal(text),
        StatusCode::BAD_REQUEST => ApiError::bad_request(text),
        StatusCode::NOT_FOUND => ApiError::new(
            404,
            "NotFound",
            format!(
                "the server could not find the requested resource ( pods/log {}): {text}",
                call.address.name
            ),
        ),
        status => ApiError::new(status.as_u16(), "", text),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_of_several_containers_needs_a_name() {
        let pod = json!({
            "metadata": { "name": "p" },
            "spec": { "containers": [{ "name": "a" }, { "name": "b" }] },
        });
        assert_eq!(container(&pod, Some("a")), Ok("a".to_owned()));
        let message = |asked| container(&pod, asked).expect_err("refused").message;
        assert_eq!(
            message(None),
            "a container name must be specified for pod p, choose one of: [a b]"
        );
        assert_eq!(message(Some("c")), "container c is not valid for pod p");
    }

    #[test]
    fn log_options_are_checked_and_passed_on() {
        let pass = |query| options(&Query::parse(query), "p");
        assert_eq!(pass("container=a"), Ok(String::new()));
        assert_eq!(
            pass("follow=true&tailLines=5&sinceTime=2026-01-01T00:00:00%2B01:00"),
            Ok("?follow=true&tailLines=5&sinceTime=2026-01-01T00:00:00%2B01:00".to_owned())
        );
        assert_eq!(
            pass("tailLines=-1").expect_err("refused").message,
            "PodLogOptions \"p\" is invalid: tailLines: Invalid value: -1: must be greater than or equal to 0"
        );
    }
}
