//! GET of one object.

use axum::response::Response;
use http::StatusCode;

use crate::kinds::Storage;
use crate::status::ApiError;
use crate::store::Revision;

use super::call::Call;
use super::object::{self, Object};
use super::query::version_of_get;
use super::{answer, list, write};

pub async fn get(call: &Call) -> Result<Response, ApiError> {
    if call.query.flag("export") {
        return Err(ApiError::bad_request(
            "the export parameter, deprecated since v1.14, is no longer supported",
        ));
    }
    let object = read(call).await?;
    answer::object(call, StatusCode::OK, &object)
}

/// The object in the path, no older than the query asks.
pub async fn read(call: &Call) -> Result<Object, ApiError> {
    let name = &call.address.name;
    let missing = || ApiError::not_found(call.about(name));
    if call.info().storage == Storage::Virtual {
        let all = Object::computed(call.kind.as_ref());
        return all.into_iter().find(|one| object::name(one.value()) == name).ok_or_else(missing);
    }
    let cache = call.cache();
    match version_of_get(&call.query)? {
        None => cache.latest().await.map_err(write::store_failed)?,
        Some(0) => {}
        Some(version) => list::wait_for(call, Revision(version)).await?,
    }
    let cached = cache.get(call.namespace(), name).ok_or_else(missing)?;
    Ok(Object::of_cached(call.kind.as_ref(), &cached))
}
