//! The way to the store and back: what is kept of an object, and what its client sees of it.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use crate::admission::Reservation;
use crate::cache::Cached;
use crate::encode;
use crate::kinds::Storage;
use crate::status::ApiError;
use crate::store::{Revision, StoreError, Write};

use super::super::call::Call;
use super::super::object::{self, Object};
use super::super::size;
use super::{key, store_failed};

/// One turn of the loop.
pub(super) enum Attempt<T> {
    Done(T),
    /// Somebody else wrote first.
    Lost(Option<Revision>),
}

/// The newest object of this name.
pub async fn newest(call: &Call, name: &str) -> Result<Arc<Cached>, ApiError> {
    let cache = call.cache();
    cache.latest().await.map_err(store_failed)?;
    cache.get(call.namespace(), name).ok_or_else(|| ApiError::not_found(call.about(name)))
}

pub(super) async fn catch_up(call: &Call, winner: Option<Revision>) -> Result<(), ApiError> {
    match winner {
        Some(revision) => call.cache().caught_up(revision).await,
        None => call.cache().latest().await,
    }
    .map_err(store_failed)
}

/// What is stored of an object, and the managers that are kept with it. Where it is too large with
/// those that were tracked, it does without, as upstream; an apply does not.
pub(super) fn fitting<'m>(
    call: &Call,
    value: &Value,
    managers: Option<&'m str>,
    tracked: bool,
) -> Result<(Bytes, Option<&'m str>), ApiError> {
    let stored = stored_form(call, value, managers);
    match size::check(call.info(), &stored) {
        Err(_) if tracked && managers.is_some() => fitting(call, value, None, tracked),
        checked => checked.map(|()| (stored, managers)),
    }
}

/// What is stored of an object.
fn stored_form(call: &Call, value: &Value, managers: Option<&str>) -> Bytes {
    match call.info().storage {
        Storage::Own | Storage::Virtual => encode::stored_with(value, managers),
        Storage::As { .. } => encode::stored_with(&call.kind.to_stored(value.clone()), managers),
    }
}

/// The object that was stored at a revision, in the form of the request's kind.
pub(super) fn written(
    call: &Call,
    mut value: Value,
    stored: &Bytes,
    managers: Option<&str>,
    revision: Revision,
) -> Object {
    match call.info().storage {
        Storage::Own | Storage::Virtual if managers.is_some() => {
            Object::of_text(encode::splice(stored, revision))
        }
        Storage::Own | Storage::Virtual => {
            object::set_revision(&mut value, revision);
            Object::of_parts(value, encode::splice(stored, revision))
        }
        Storage::As { .. } => {
            object::set_revision(&mut value, revision);
            shown(&value, managers)
        }
    }
}

/// An object that was not stored, with its managers.
pub(super) fn shown(value: &Value, managers: Option<&str>) -> Object {
    let bytes = encode::stored_with(value, managers);
    match object::revision_of(value) {
        Some(revision) => Object::of_text(encode::splice(&bytes, revision)),
        None => Object::of_text(bytes),
    }
}

/// What a write reserved is free again only when the cache knows that it is in use.
pub(super) async fn release(
    call: &Call,
    reservations: Vec<Reservation>,
    revision: Revision,
) -> Result<(), ApiError> {
    if !reservations.is_empty() {
        call.cache().caught_up(revision).await.map_err(store_failed)?;
    }
    Ok(())
}

pub(super) async fn remove(
    call: &Call,
    current: &Cached,
    last: &Value,
    managers: Option<&str>,
    dry_run: bool,
) -> Result<Attempt<Object>, ApiError> {
    if dry_run {
        return Ok(Attempt::Done(shown(last, managers)));
    }
    Ok(match delete(call, current).await? {
        Attempt::Done(_) => Attempt::Done(shown(last, managers)),
        Attempt::Lost(winner) => Attempt::Lost(winner),
    })
}

/// Takes an object out of the store, unless it has changed meanwhile. Returns the revision at which
/// it went.
pub(super) async fn delete(call: &Call, current: &Cached) -> Result<Attempt<Revision>, ApiError> {
    let key = key(call, current.namespace(), current.name());
    let write = Write::Delete { key, expected: current.revision };
    match call.api.store.commit(write).await {
        Ok(revision) => Ok(Attempt::Done(revision)),
        Err(StoreError::Conflict { current, .. }) => {
            Ok(Attempt::Lost(current.map(|stored| stored.modified)))
        }
        Err(error) => Err(store_failed(error)),
    }
}

pub(super) async fn commit(
    call: &Call,
    current: &Cached,
    new: Value,
    managers: Option<&str>,
    tracked: bool,
    dry_run: bool,
    reservations: Vec<Reservation>,
) -> Result<Attempt<Object>, ApiError> {
    if dry_run {
        return Ok(Attempt::Done(shown(&new, managers)));
    }
    let key = key(call, object::namespace(&new), object::name(&new));
    let (stored, managers) = fitting(call, &new, managers, tracked)?;
    let ttl = call.info().time_to_live;
    let (value, expected) = (stored.clone(), current.revision);
    let write = Write::Update { key, value, expected, ttl };
    match call.api.store.commit(write).await {
        Ok(revision) => {
            release(call, reservations, revision).await?;
            Ok(Attempt::Done(written(call, new, &stored, managers, revision)))
        }
        Err(StoreError::Conflict { current, .. }) => {
            Ok(Attempt::Lost(current.map(|stored| stored.modified)))
        }
        Err(error) => Err(store_failed(error)),
    }
}
