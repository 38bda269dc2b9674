//! POST to a collection.

use axum::body::Body;
use axum::response::Response;
use http::StatusCode;

use crate::kinds::Storage;
use crate::status::ApiError;

use super::call::Call;
use super::decode::{self, Expected};
use super::negotiate::Media;
use super::query::WriteOptions;
use super::write::Written;
use super::{answer, body, metadata, special, subresources, write};

const DOUBLED_OWNERS: &str = ".metadata.ownerReferences contains duplicate entries; API server dedups owner references in 1.20+, and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: ";

pub async fn create(call: &Call, body: Body) -> Result<Response, ApiError> {
    let media = Media::of_body(&call.headers)?;
    let body = body::read(body).await?;
    let options = WriteOptions::parse(&call.query, "CreateOptions")?;
    let expected = Expected::of(call.info());
    let decoded = decode::object(&expected, media, &body, options.validation)?;
    let (mut value, mut warnings) = (decoded.value, decoded.warnings);
    if call.info().storage == Storage::Virtual {
        let mut response = subresources::review(call, value, &options).await?;
        answer::warn(&mut response, &warnings);
        return Ok(response);
    }
    metadata::wipe_system_fields(&mut value);
    metadata::settle_namespace(&mut value, requested_namespace(call))
        .map_err(|error| error.warned(&warnings))?;
    warnings.extend(owner_warning(&mut value));
    let written = write::insert(call, value, options.dry_run).await;
    finish(call, StatusCode::CREATED, written.map_err(|error| error.warned(&warnings))?, &warnings)
}

/// The namespace an object must be in; namespaces and other cluster objects are in none.
pub fn requested_namespace(call: &Call) -> &str {
    if special::is_namespaces(call.info()) { "" } else { call.namespace() }
}

/// Dedups the owner references and says so.
pub fn owner_warning(value: &mut serde_json::Value) -> Option<String> {
    let dropped = metadata::dedup_owners(value);
    (!dropped.is_empty()).then(|| format!("{DOUBLED_OWNERS}{}", dropped.join(", ")))
}

/// The answer to a write. `warnings`: those about the request, before those about the object.
pub fn finish(
    call: &Call,
    status: StatusCode,
    written: Written,
    warnings: &[String],
) -> Result<Response, ApiError> {
    let mut response = answer::object(call, status, &written.object)?;
    answer::warn(&mut response, warnings);
    answer::warn(&mut response, &written.warnings);
    Ok(response)
}
