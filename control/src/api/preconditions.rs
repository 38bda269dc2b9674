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
        return Err(failed(call, edit.name, edit.dry_run, ["UID", given, actual]));
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

/// A field of the metadata that was meant to have one value has another. Upstream tells where it
/// keeps the object, as the store calls it that is asked: what would happen is found out above the one
/// that has a prefix.
pub fn failed(
    call: &Call,
    name: &str,
    dry_run: bool,
    [field, wanted, actual]: [&str; 3],
) -> ApiError {
    let resource = match call.info().stored_resource().as_str() {
        "apiservices.apiregistration.k8s.io" => "apiregistration.k8s.io/apiservices",
        "customresourcedefinitions.apiextensions.k8s.io" => {
            "apiextensions.k8s.io/customresourcedefinitions"
        }
        "endpoints" => "services/endpoints",
        "ingresses.networking.k8s.io" => "ingress",
        "nodes" => "minions",
        "replicationcontrollers" => "controllers",
        "services" => "services/specs",
        _ => call.info().resource,
    };
    let root = if dry_run { "" } else { "/registry" };
    let place = match call.namespace() {
        "" => name.to_owned(),
        namespace => format!("{namespace}/{name}"),
    };
    let why = format!(
        "StorageError: invalid object, Code: 4, Key: {root}/{resource}/{place}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: {field} in precondition: {wanted}, {field} in object meta: {actual}"
    );
    ApiError::conflict(call.about(name), &why)
}
