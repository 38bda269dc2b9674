//! What an update says of the object that it was made of: its uid and its resourceVersion. Pure.
//!
//! Source: `k8s.io/apiserver/pkg/registry/generic/registry/store.go` (Update),
//! `pkg/storage/errors.go`.

use serde_json::Value;

use crate::kinds::FieldError;
use crate::status::{About, ApiError};

use super::call::Call;
use super::object;
use super::query;
use super::write::{Edit, Rules};

/// Refuses what was made of another state of the object, or of another object.
pub fn check(call: &Call, edit: &Edit<'_>, new: &Value, old: &Value) -> Result<(), ApiError> {
    let about = call.about(edit.name);
    let (given, actual) = (object::uid(new), object::uid(old));
    if edit.checks_uid && !given.is_empty() && given != actual {
        return Err(wrong_uid(call, edit.name, edit.dry_run, (given, actual)));
    }
    let unconditional = call.info().unconditional_update || edit.rules == Rules::Raw;
    let given = object::resource_version(new);
    if !given.is_empty() && given.parse::<u64>().is_err() {
        return Err(ApiError::new(500, "", query::no_number(given)));
    }
    match given {
        "" | "0" if unconditional => Ok(()),
        "" | "0" => {
            let why = "must be specified for an update";
            let error = FieldError::invalid("metadata.resourceVersion", 0, why);
            let about = About { resource: call.info().resource, ..about };
            Err(ApiError::invalid(about, &[error]))
        }
        given if given == object::resource_version(old) => Ok(()),
        _ => Err(ApiError::modified(about)),
    }
}

/// The object that is meant is not the one that is there: their uids.
pub fn wrong_uid(
    call: &Call,
    name: &str,
    dry_run: bool,
    (given, actual): (&str, &str),
) -> ApiError {
    let key = upstream_key(call, name, dry_run);
    let why = format!(
        "StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: {given}, UID in object meta: {actual}"
    );
    ApiError::conflict(call.about(name), &why)
}

/// Where upstream keeps an object, as the store calls it that is asked: what would happen is found out
/// above the one that has a prefix.
fn upstream_key(call: &Call, name: &str, dry_run: bool) -> String {
    let root = if dry_run { "" } else { "/registry" };
    let info = call.info();
    let resource = info.stored_resource();
    let resource = resource.split('.').next().unwrap_or_default();
    match call.namespace() {
        "" => format!("{root}/{resource}/{name}"),
        namespace => format!("{root}/{resource}/{namespace}/{name}"),
    }
}
