//! Why a patch does not apply, and the answer that upstream gives.

use crate::status::ApiError;

/// Messages are upstream's (`k8s.io/apimachinery/pkg/util/mergepatch`, `apiserver/…/patch.go`).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// The patch is no patch.
    #[error("{0}")]
    Malformed(String),
    #[error("The allowed maximum operations in a JSON patch is {max}, got {got}")]
    TooLong { max: usize, got: usize },
    /// An operation of a JSON patch cannot be done to this object, a failed `test` among them.
    #[error("{0}")]
    Unprocessable(String),
    #[error("invalid patch format of primitive list")]
    PrimitiveList,
    #[error("invalid patch format of retainKeys")]
    RetainKeys,
    #[error("invalid patch format of setElementOrder list")]
    SetElementOrder,
    #[error("lists of lists are not supported")]
    ListOfLists,
    #[error("map: {map} does not contain declared merge key: {key}")]
    NoMergeKey { map: String, key: &'static str },
    #[error("value for key {at} is not a map")]
    NoMap { at: usize },
    #[error("unknown patch type: {directive} in map: {map}")]
    UnknownDirective { directive: String, map: String },
    #[error("expected a {expected}, but received a {received}")]
    WrongType { expected: &'static str, received: &'static str },
    #[error("unable to find api field in struct {ty} for the json field {field:?}")]
    NoField { field: String, ty: String },
    #[error("merging lists cannot yet be specified in the patch")]
    MergeDirectiveInList,
    #[error("cannot merge lists without merge key for {0}")]
    MergeWithoutKey(String),
    #[error("list element types are not identical: {lists}")]
    MixedList { lists: String },
    #[error("The order in patch list:\n{patch}\n doesn't match $setElementOrder list:\n{order}\n")]
    OrderMismatch { patch: String, order: String },
}

impl From<PatchError> for ApiError {
    fn from(error: PatchError) -> Self {
        let message = error.to_string();
        match error {
            PatchError::Malformed(_)
            | PatchError::PrimitiveList
            | PatchError::RetainKeys
            | PatchError::SetElementOrder => Self::bad_request(message),
            PatchError::TooLong { .. } => Self::new(413, "RequestEntityTooLarge", message),
            PatchError::Unprocessable(_) | PatchError::ListOfLists => {
                let mut error = Self::new(
                    422,
                    "Invalid",
                    "the server rejected our request due to an error in our request",
                );
                error.details = Some(serde_json::json!({}));
                error
            }
            // Upstream hands these on as plain errors, which become internal errors.
            PatchError::NoMergeKey { .. }
            | PatchError::NoMap { .. }
            | PatchError::UnknownDirective { .. }
            | PatchError::WrongType { .. }
            | PatchError::NoField { .. }
            | PatchError::MergeDirectiveInList
            | PatchError::MergeWithoutKey(_)
            | PatchError::MixedList { .. }
            | PatchError::OrderMismatch { .. } => Self::new(500, "", message),
        }
    }
}
