//! Request bodies, read whole up to the limit.

use axum::body::Body;
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use crate::status::ApiError;

/// As upstream's MaxRequestBodyBytes.
pub const LIMIT: usize = 3 * 1024 * 1024;

/// Reads the body; 413 where it is larger than the limit.
pub async fn read(body: Body) -> Result<Bytes, ApiError> {
    match Limited::new(body, LIMIT).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.downcast_ref::<LengthLimitError>().is_some() => Err(too_large()),
        Err(error) => {
            Err(ApiError::bad_request(format!("cannot read the request's body: {error}")))
        }
    }
}

fn too_large() -> ApiError {
    ApiError::new(
        413,
        "RequestEntityTooLarge",
        format!("Request entity too large: limit is {LIMIT}"),
    )
}
