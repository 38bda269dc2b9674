//! Looking things up in the caches, and refusing in upstream's words.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Review, Surroundings};
use crate::cache::{Cache, Cached};
use crate::status::{About, ApiError};

/// The cache of a built-in kind.
pub fn cache(surroundings: &Surroundings, resource: &str) -> Result<Arc<Cache>, ApiError> {
    let cache = surroundings.caches.kind(resource);
    cache.ok_or_else(|| ApiError::internal(format!("{resource} are not served")))
}

/// The object, if it exists by now: where the cache does not know it, it is given the time to see
/// everything that is committed.
pub async fn find(
    cache: &Cache,
    namespace: &str,
    name: &str,
) -> Result<Option<Arc<Cached>>, ApiError> {
    if let Some(found) = cache.get(namespace, name) {
        return Ok(Some(found));
    }
    latest(cache).await?;
    Ok(cache.get(namespace, name))
}

/// All objects, or those of a namespace, that are committed by now.
pub async fn list<T>(cache: &Cache, namespace: Option<&str>) -> Result<Vec<Arc<T>>, ApiError>
where
    T: DeserializeOwned + Send + Sync + 'static,
{
    latest(cache).await?;
    let found = cache.list(namespace);
    found.items.iter().map(|object| object.try_view().map_err(ApiError::internal)).collect()
}

/// Waits until the cache has seen everything that is committed.
pub async fn latest(cache: &Cache) -> Result<(), ApiError> {
    cache.latest().await.map_err(|error| ApiError::unavailable(error.to_string()))
}

/// The refusal of a request by a plug-in.
pub fn forbidden(review: &Review<'_>, why: &str) -> ApiError {
    let name = name(review);
    ApiError::forbidden(
        About { group: review.info.group, resource: review.info.resource, name: &name },
        why,
    )
}

/// The object's name, or what it is generated from.
fn name(review: &Review<'_>) -> String {
    if !review.name.is_empty() {
        return review.name.to_owned();
    }
    let metadata = review.object.as_deref().map_or(&Value::Null, |object| &object["metadata"]);
    ["name", "generateName"]
        .into_iter()
        .filter_map(|field| metadata[field].as_str())
        .find(|name| !name.is_empty())
        .unwrap_or("Unknown")
        .to_owned()
}
