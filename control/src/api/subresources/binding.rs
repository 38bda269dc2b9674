//! `pods/{name}/binding` and `bindings`: a pod gets its node.
//!
//! Source: `pkg/registry/core/pod/storage/storage.go` (BindingREST).

use axum::body::Body;
use axum::response::Response;
use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::kinds::Part;
use crate::status::{About, ApiError};

use super::super::call::Call;
use super::super::decode::{self, Expected};
use super::super::negotiate::Media;
use super::super::object;
use super::super::precondition;
use super::super::query::WriteOptions;
use super::super::write::{self, Change, Rules};
use super::super::{answer, body, metadata};
use super::condition;

pub async fn create(call: &Call, body: Body) -> Result<Response, ApiError> {
    let media = Media::of_body(&call.headers)?;
    let body = body::read(body).await?;
    let options = WriteOptions::parse(&call.query, "CreateOptions")?;
    let expected = Expected::new("v1", "Binding", "io.k8s.api.core.v1.Binding");
    let decoded = decode::object(&expected, media, &body, options.validation)?;
    if object::name(&decoded.value) != call.address.name {
        return Err(ApiError::bad_request("name in URL does not match name in Binding object"));
    }
    let mut response = bind(call, &decoded.value, options.dry_run).await?;
    answer::warn(&mut response, &decoded.warnings);
    Ok(response)
}

/// Binds the pod that the binding names. Also what a POST to `bindings` comes to.
pub async fn bind(call: &Call, binding: &Value, dry_run: bool) -> Result<Response, ApiError> {
    let mut settled = binding.clone();
    metadata::settle_namespace(&mut settled, &call.address.namespace)?;
    check(call, binding)?;
    let name = object::name(binding);
    if name.is_empty() {
        return Err(ApiError::bad_request("Name parameter required."));
    }
    let now = call.api.ambient().now();
    let pods = pods(call)?;
    let transform = |pod: &Value| {
        check_preconditions(&pods, pod, binding, dry_run)?;
        bound(pod, binding, now)
    };
    let change = Change { name, rules: Rules::Raw, dry_run, transform: &transform };
    write::modify(&pods, &change).await?;
    Ok(answer::success(&call.output, StatusCode::CREATED, None))
}

/// The request as one for the pod.
fn pods(call: &Call) -> Result<Call, ApiError> {
    let kind = call.api.kinds.at("", "v1", "pods").ok_or_else(ApiError::page_not_found)?;
    let mut pods = call.at(&call.address.namespace, &call.address.name);
    pods.kind = kind.clone();
    pods.address.resource = "pods".to_owned();
    pods.address.subresource = "binding".to_owned();
    Ok(pods)
}

fn check(call: &Call, binding: &Value) -> Result<(), ApiError> {
    let Some(kind) = call.api.kinds.at("", "v1", "bindings") else { return Ok(()) };
    let errors = kind.validate(binding, None, Part::Main).errors;
    let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
    // Upstream takes it for a failure of its own.
    match errors.as_slice() {
        [] => Ok(()),
        [one] => Err(ApiError::new(500, "", one)),
        many => Err(ApiError::new(500, "", format!("[{}]", many.join(", ")))),
    }
}

/// The pod is the one that is meant.
fn check_preconditions(
    call: &Call,
    pod: &Value,
    binding: &Value,
    dry_run: bool,
) -> Result<(), ApiError> {
    for (field, wanted, actual) in [
        ("UID", object::uid(binding), object::uid(pod)),
        ("ResourceVersion", object::resource_version(binding), object::resource_version(pod)),
    ] {
        if !wanted.is_empty() && wanted != actual {
            let problem = [field, wanted, actual];
            return Err(precondition::failed(call, object::name(pod), dry_run, problem));
        }
    }
    Ok(())
}

/// The pod on its node.
fn bound(pod: &Value, binding: &Value, now: Timestamp) -> Result<Value, ApiError> {
    let name = object::name(pod);
    let refuse = |why: String| {
        let about = About { group: "", resource: "pods/binding", name };
        Err(ApiError::conflict(about, &why))
    };
    if object::is_deleting(pod) {
        return refuse(format!("pod {name} is being deleted, cannot be assigned to a host"));
    }
    let node = object::text(pod, "/spec/nodeName");
    if !node.is_empty() {
        return refuse(format!("pod {name} is already assigned to node {node:?}"));
    }
    if pod["spec"]["schedulingGates"].as_array().is_some_and(|gates| !gates.is_empty()) {
        return refuse(format!("pod {name} has non-empty .spec.schedulingGates"));
    }
    let mut pod = pod.clone();
    pod["spec"]["nodeName"] = binding["target"]["name"].clone();
    if let Some(status) = pod["status"].as_object_mut() {
        status.remove("nominatedNodeName");
    }
    for field in ["annotations", "labels"] {
        merge(&mut pod, &binding["metadata"][field], field);
    }
    condition::set(&mut pod, json!({ "type": "PodScheduled", "status": "True" }), now);
    Ok(pod)
}

fn merge(pod: &mut Value, from: &Value, field: &str) {
    let Some(from) = from.as_object().filter(|from| !from.is_empty()) else { return };
    if !pod["metadata"][field].is_object() {
        pod["metadata"][field] = json!({});
    }
    for (key, value) in from {
        pod["metadata"][field][key] = value.clone();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-01-01T00:00:00Z".parse().expect("a time")
    }

    #[test]
    fn a_pod_is_bound_once() {
        let pod = json!({ "metadata": { "name": "p", "uid": "u" }, "spec": {} });
        let binding = json!({
            "metadata": { "name": "p", "annotations": { "a": "b" } },
            "target": { "kind": "Node", "name": "n" },
        });
        let bound_pod = bound(&pod, &binding, now()).expect("bound");
        assert_eq!(bound_pod["spec"]["nodeName"], "n");
        assert_eq!(bound_pod["metadata"]["annotations"]["a"], "b");
        assert_eq!(bound_pod["status"]["conditions"][0]["status"], "True");
        let again = bound(&bound_pod, &binding, now()).expect_err("refused");
        assert_eq!(
            (again.code, again.message.as_str()),
            (
                409,
                r#"Operation cannot be fulfilled on pods/binding "p": pod p is already assigned to node "n""#
            )
        );
    }
}
