//! PUT of an object, or of its status.

use axum::body::Body;
use axum::response::Response;
use http::StatusCode;
use serde_json::Value;

use crate::status::ApiError;

use super::call::Call;
use super::create::{finish, owner_warning, requested_namespace};
use super::decode::{self, Expected};
use super::negotiate::Media;
use super::query::WriteOptions;
use super::write::{self, Change, Rules};
use super::{body, metadata, object, preconditions};

pub async fn update(call: &Call, body: Body, rules: Rules) -> Result<Response, ApiError> {
    let media = Media::of_body(&call.headers)?;
    let body = body::read(body).await?;
    let options = WriteOptions::parse(&call.query, "UpdateOptions")?;
    let expected = Expected::of(call.info());
    let decoded = decode::object(&expected, media, &body, options.validation)?;
    let (mut value, mut warnings) = (decoded.value, decoded.warnings);
    metadata::settle_namespace(&mut value, requested_namespace(call))
        .and_then(|()| metadata::check_name(&value, &call.address.name))
        .map_err(|error| error.warned(&warnings))?;
    warnings.extend(owner_warning(&mut value));
    let change = Change {
        name: &call.address.name,
        rules,
        dry_run: options.dry_run,
        transform: &|_| Ok(value.clone()),
    };
    match write::modify(call, &change).await {
        Err(missing) if missing.code == 404 && creates(call, rules) => {
            create(call, value, options.dry_run, &warnings).await
        }
        result => {
            let written = result.map_err(|error| error.warned(&warnings))?;
            finish(call, StatusCode::OK, written, &warnings)
        }
    }
}

fn creates(call: &Call, rules: Rules) -> bool {
    rules == Rules::Main && call.info().create_on_update
}

/// A PUT of something that does not exist, for the kinds that allow it.
async fn create(
    call: &Call,
    mut value: Value,
    dry_run: bool,
    warnings: &[String],
) -> Result<Response, ApiError> {
    let uid = object::uid(&value);
    if !uid.is_empty() {
        return Err(preconditions::wrong_uid(call, &call.address.name, dry_run, (uid, "")));
    }
    metadata::wipe_system_fields(&mut value);
    // Upstream compares it with that of an existing object alone.
    object::metadata_mut(&mut value).remove("resourceVersion");
    let written = write::insert(call, value, dry_run).await;
    finish(call, StatusCode::CREATED, written.map_err(|error| error.warned(warnings))?, warnings)
}
