//! GET of one object.

use axum::response::Response;
use http::StatusCode;

use crate::kinds::Storage;
use crate::status::ApiError;
use crate::store::Revision;

use super::call::Call;
use super::object::{self, Object};
use super::query::parse_version;
use super::{answer, list, write};

pub async fn get(call: &Call) -> Result<Response, ApiError> {
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
    match call.query.text("resourceVersion").map(parse_version).transpose()? {
        None => cache.latest().await.map_err(write::store_failed)?,
        Some(0) => {}
        Some(version) => list::wait_for(call, Revision(version)).await?,
    }
    let cached = cache.get(call.namespace(), name).ok_or_else(missing)?;
    Ok(Object::of_cached(call.kind.as_ref(), &cached))
}
