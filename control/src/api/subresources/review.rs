//! Kinds that are not kept: a create computes an answer, or does something else.

use axum::response::Response;
use http::StatusCode;
use serde_json::Value;

use crate::kinds::Part;
use crate::status::{About, ApiError};

use super::super::answer;
use super::super::call::Call;
use super::super::metadata;
use super::super::object::{self, Object};
use super::super::query::WriteOptions;
use super::super::tokens;
use super::binding;

pub async fn review(
    call: &Call,
    value: Value,
    options: &WriteOptions,
) -> Result<Response, ApiError> {
    if call.info().group.is_empty() && call.info().resource == "bindings" {
        return binding::bind(call, &value, options.dry_run).await;
    }
    let mut value = value;
    metadata::wipe_system_fields(&mut value);
    metadata::settle_namespace(&mut value, call.namespace())?;
    let refused = |why: String| ApiError::bad_request(why);
    let context = call.context("");
    let value = call.kind.begin(&value, None, Part::Main, &context).map_err(refused)?.into_value();
    let errors = call.kind.validate(&value, None, Part::Main).errors;
    if !errors.is_empty() {
        // Upstream's authorization reviews forget their kind.
        let kind = if call.info().group == "authorization.k8s.io" { "" } else { call.info().kind };
        let about = About { resource: kind, ..call.about_kind(object::name(&value)) };
        return Err(ApiError::invalid(about, &errors));
    }
    let answered = if call.info().group_resource() == "tokenreviews.authentication.k8s.io" {
        tokens::review(&call.api, value).await?
    } else {
        call.kind.review(value, &context)?
    };
    let object = Object::of_value(answered);
    answer::object(call, StatusCode::CREATED, &object)
}
