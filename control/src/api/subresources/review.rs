//! Kinds that are not kept: a create computes an answer, or does something else.

use axum::response::Response;
use http::StatusCode;
use serde_json::Value;

use crate::kinds::Part;
use crate::patch::managers::Given;
use crate::status::{About, ApiError};

use super::super::answer;
use super::super::call::Call;
use super::super::object::{self, Object};
use super::super::query::WriteOptions;
use super::super::tokens;
use super::super::{metadata, ownership};
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
    let given = Given::take(&mut value);
    let begun = call.kind.begin(&value, None, Part::Main, &context).map_err(refused)?;
    let mut value = begun.into_value();
    // Nobody keeps them, but the answer and the errors show them.
    let managers = ownership::created(call, &value, &given);
    if let Some(managers) = managers.and_then(|text| serde_json::from_str(&text).ok()) {
        object::metadata_mut(&mut value).insert("managedFields".into(), managers);
    }
    let errors = call.kind.validate(&value, None, Part::Main).errors;
    if !errors.is_empty() {
        // Upstream's authorization reviews forget their kind and name.
        let about = match call.info().group {
            "authorization.k8s.io" => About { resource: "", ..call.about_kind("") },
            _ => call.about_kind(object::name(&value)),
        };
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
