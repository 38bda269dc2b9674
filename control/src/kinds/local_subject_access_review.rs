//! LocalSubjectAccessReviews: may somebody in one namespace. Source: `pkg/registry/authorization/localsubjectaccessreview/rest.go`.

use k8s_openapi::api::authorization::v1::LocalSubjectAccessReview as Object;

use super::rules::access_review;
use super::{Context, FieldError, Kind, KindInfo};
use crate::status::ApiError;

pub struct LocalSubjectAccessReviews;

impl Kind for LocalSubjectAccessReviews {
    type Object = Object;
    const INFO: KindInfo = KindInfo::computed(
        "authorization.k8s.io",
        "v1",
        "LocalSubjectAccessReview",
        "localsubjectaccessreviews",
        "localsubjectaccessreview",
        "io.k8s.api.authorization.v1.LocalSubjectAccessReview",
    );

    fn validate(object: &Object) -> Vec<FieldError> {
        let spec = &object.spec;
        let mut errors = access_review::validate_spec(spec);
        errors.extend(access_review::validate_metadata(&object.metadata, true));
        let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
        if let Some(resource) = &spec.resource_attributes {
            let asked = resource.namespace.as_deref().unwrap_or_default();
            if asked != namespace {
                let path = "spec.resourceAttributes.namespace";
                errors.push(FieldError::invalid(path, asked, "must match metadata.namespace"));
            }
        }
        if let Some(path) = &spec.non_resource_attributes {
            let value = serde_json::json!(path);
            let why = "disallowed on this kind of request";
            errors.push(FieldError::invalid("spec.nonResourceAttributes", value, why));
        }
        errors
    }

    fn review(object: &mut Object, _context: &Context<'_>) -> Result<(), ApiError> {
        object.status = Some(access_review::answer(&object.spec));
        Ok(())
    }
}
