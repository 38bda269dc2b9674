//! Preconditions of a write that do not hold.
//!
//! Source: `k8s.io/apiserver/pkg/storage/{interfaces,errors}.go`; the places of what is kept from
//! `pkg/kubeapiserver/default_storage_factory_builder.go`.

use crate::status::ApiError;

use super::call::Call;

/// A field of the metadata that was meant to have one value has another. Upstream tells where it
/// keeps the object.
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
