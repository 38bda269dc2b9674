//! `namespaces/{name}/finalize`: takes finalizers off a namespace.
//!
//! Source: `pkg/registry/core/namespace` (FinalizeREST).

use axum::body::Body;
use axum::response::Response;
use http::StatusCode;
use serde_json::Value;

use crate::kinds::namespace;
use crate::status::ApiError;

use super::super::call::Call;
use super::super::create::finish;
use super::super::decode::{self, Expected};
use super::super::negotiate::Media;
use super::super::query::WriteOptions;
use super::super::write::{self, Change, Rules};
use super::super::{body, metadata};

pub async fn update(call: &Call, body: Body) -> Result<Response, ApiError> {
    let media = Media::of_body(&call.headers)?;
    let body = body::read(body).await?;
    let options = WriteOptions::parse(&call.query, "UpdateOptions")?;
    let decoded = decode::object(&Expected::of(call.info()), media, &body, options.validation)?;
    metadata::check_name(&decoded.value, &call.address.name)?;
    let transform = |current: &Value| {
        let new = finalized(current, &decoded.value);
        let namespace = serde_json::from_value(new.clone())
            .map_err(|error| ApiError::bad_request(error.to_string()))?;
        let errors = namespace::validate_finalize(&namespace);
        if errors.is_empty() {
            return Ok(new);
        }
        Err(ApiError::invalid(call.about_kind(&call.address.name), &errors))
    };
    let change = Change {
        name: &call.address.name,
        rules: Rules::Raw,
        dry_run: options.dry_run,
        transform: &transform,
    };
    let written = write::modify(call, &change).await?;
    finish(call, StatusCode::OK, written, &decoded.warnings)
}

/// The namespace with the finalizers of the request; nothing else of it is taken.
fn finalized(current: &Value, wanted: &Value) -> Value {
    let mut new = current.clone();
    for field in ["resourceVersion", "uid"] {
        new["metadata"][field] = wanted["metadata"][field].clone();
    }
    match wanted["spec"]["finalizers"].as_array().filter(|list| !list.is_empty()) {
        Some(finalizers) => new["spec"]["finalizers"] = finalizers.clone().into(),
        None => {
            if let Some(spec) = new["spec"].as_object_mut() {
                spec.remove("finalizers");
            }
        }
    }
    if new["metadata"]["uid"].is_null() {
        new["metadata"]["uid"] = current["metadata"]["uid"].clone();
    }
    new
}
