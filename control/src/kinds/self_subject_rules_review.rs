//! SelfSubjectRulesReviews: what may I, in a namespace.
//! Source: `pkg/registry/authorization/selfsubjectrulesreview/rest.go`.

use k8s_openapi::api::authorization::v1::{
    SelfSubjectRulesReview as Object, SelfSubjectRulesReviewSpec,
};

use super::{Context, FieldError, Kind, KindInfo, Scope};
use crate::auth::authorizer;
use crate::status::ApiError;

pub struct SelfSubjectRulesReviews;

impl Kind for SelfSubjectRulesReviews {
    type Object = Object;
    const INFO: KindInfo = KindInfo {
        scope: Scope::Cluster,
        ..KindInfo::computed(
            "authorization.k8s.io",
            "v1",
            "SelfSubjectRulesReview",
            "selfsubjectrulesreviews",
            "selfsubjectrulesreview",
            "io.k8s.api.authorization.v1.SelfSubjectRulesReview",
        )
    };

    fn validate(_object: &Object) -> Vec<FieldError> {
        Vec::new()
    }

    /// The answer is without the question, as upstream's.
    fn review(object: &mut Object, context: &Context<'_>) -> Result<(), ApiError> {
        let namespace = object.spec.namespace.as_deref().unwrap_or_default();
        if namespace.is_empty() {
            return Err(ApiError::bad_request("no namespace on request"));
        }
        *object = Object {
            status: Some(authorizer::rules(context.user, namespace)),
            spec: SelfSubjectRulesReviewSpec::default(),
            ..Object::default()
        };
        Ok(())
    }
}
