//! Writes: what happens between a decoded object and its commit.
//!
//! The order of each write: default → prepare → who manages what → admission → default again where
//! admission changed something → validate → what admission refuses → commit. `insert` makes new objects;
//! `update` and `end` run in a loop: they read the newest object, make the new one of it, and begin again
//! where somebody else was quicker; `commit` goes to the store.
//!
//! `metadata.managedFields` are no part of the values here: they are large, few look at them, and
//! they are JSON before and after. They stand beside the values, and are in the bytes.
//!
//! Source: `k8s.io/apiserver/pkg/registry/generic/registry/store.go`.

mod commit;
mod end;
mod insert;
mod update;

use serde_json::Value;

use crate::kinds::FieldError;
use crate::patch::managers::{self, Given};
use crate::status::ApiError;
use crate::store::StoreError;

use super::call::Call;
use super::object::Object;

pub use commit::newest;
pub use end::{Fate, Removed, end};
pub use insert::{insert, insert_new};
pub use update::{Change, Current, Edit, Make, Rules, edit, modify};

/// Far more than a fair race needs; ends a race that is not fair.
const ATTEMPTS: usize = 100;

/// The store key of an object of the request's kind.
pub fn key(call: &Call, namespace: &str, name: &str) -> String {
    format!("{}/{namespace}/{name}", call.info().stored_resource())
}

/// Why the store did not do it, for reads and for failures that no rule foresees.
pub fn store_failed(error: StoreError) -> ApiError {
    match error {
        StoreError::OutcomeUnknown(why) => ApiError::new(
            504,
            "Timeout",
            format!("Timeout: the write may or may not have happened: {why}"),
        ),
        StoreError::Unavailable(why) => ApiError::unavailable(why),
        StoreError::Compacted { .. } => {
            ApiError::expired("The resourceVersion for the provided list is too old.")
        }
        other => ApiError::internal(other),
    }
}

/// What a write has made, and what its client is to be told of it.
pub struct Written {
    pub object: Object,
    pub warnings: Vec<String>,
}

/// The object that a request makes.
pub struct New {
    pub value: Value,
    pub managers: Managers,
}

/// Who manages a new object.
#[derive(Clone)]
pub enum Managers {
    /// Whoever sets a field, from now on.
    Tracked,
    /// They are worked out already: the JSON of `managedFields`, if there are any.
    Known(Option<String>),
}

impl New {
    /// Whoever writes it manages what it changes.
    pub fn tracked(value: Value) -> Self {
        Self { value, managers: Managers::Tracked }
    }
}

/// What is wrong with managers that the request gave.
fn manager_problems(given: &Given, managers: Option<&str>) -> Vec<FieldError> {
    match (given, managers) {
        (Given::Entries(_), Some(managers)) => managers::problems(managers),
        _ => Vec::new(),
    }
}

fn undecodable(call: &Call, why: &str) -> ApiError {
    let info = call.info();
    ApiError::bad_request(format!(
        "{} in version {:?} cannot be handled as a {}: {why}",
        info.kind, info.version, info.kind
    ))
}

fn invalid_unless_empty(call: &Call, name: &str, errors: &[FieldError]) -> Result<(), ApiError> {
    if errors.is_empty() {
        return Ok(());
    }
    Err(ApiError::invalid(call.about_kind(name), errors))
}
