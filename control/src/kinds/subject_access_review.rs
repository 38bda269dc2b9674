//! SubjectAccessReviews: may somebody. Source: `pkg/registry/authorization/subjectaccessreview/rest.go`.

use k8s_openapi::api::authorization::v1::SubjectAccessReview as Object;

use super::rules::access_review;
use super::{Context, FieldError, Kind, KindInfo, Scope};
use crate::status::ApiError;

pub struct SubjectAccessReviews;

impl Kind for SubjectAccessReviews {
    type Object = Object;
    const INFO: KindInfo = KindInfo { scope: Scope::Cluster, ..KindInfo::computed(
        "authorization.k8s.io",
        "v1",
        "SubjectAccessReview",
        "subjectaccessreviews",
        "subjectaccessreview",
        "io.k8s.api.authorization.v1.SubjectAccessReview",
    ) };

    fn validate(object: &Object) -> Vec<FieldError> {
        let mut errors = access_review::validate_spec(&object.spec);
        errors.extend(access_review::validate_metadata(&object.metadata, false));
        errors
    }

    fn review(object: &mut Object, _context: &Context<'_>) -> Result<(), ApiError> {
        object.status = Some(access_review::answer(&object.spec));
        Ok(())
    }
}
