//! TokenReviews: whose token is this. The answer is the API's, which knows the accounts.
//! Source: `pkg/registry/authentication/tokenreview/storage.go`.

use k8s_openapi::api::authentication::v1::TokenReview as Object;

use super::{FieldError, Kind, KindInfo, Scope};

pub struct TokenReviews;

impl Kind for TokenReviews {
    type Object = Object;
    const INFO: KindInfo = KindInfo {
        scope: Scope::Cluster,
        ..KindInfo::computed(
            "authentication.k8s.io",
            "v1",
            "TokenReview",
            "tokenreviews",
            "tokenreview",
            "io.k8s.api.authentication.v1.TokenReview",
        )
    };

    fn validate(_object: &Object) -> Vec<FieldError> {
        Vec::new()
    }
}
