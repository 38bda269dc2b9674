//! SelfSubjectAccessReviews: may I.
//! Source: `pkg/registry/authorization/selfsubjectaccessreview/rest.go`.

use jiff::Timestamp;
use k8s_openapi::api::authorization::v1::SelfSubjectAccessReview as Object;
use serde_json::Value;

use super::rules::access_review;
use super::{Context, FieldError, Kind, KindInfo, Scope, meta};
use crate::status::ApiError;

pub struct SelfSubjectAccessReviews;

impl Kind for SelfSubjectAccessReviews {
    type Object = Object;
    const INFO: KindInfo = KindInfo {
        scope: Scope::Cluster,
        ..KindInfo::computed(
            "authorization.k8s.io",
            "v1",
            "SelfSubjectAccessReview",
            "selfsubjectaccessreviews",
            "selfsubjectaccessreview",
            "io.k8s.api.authorization.v1.SelfSubjectAccessReview",
        )
    };

    fn validate(object: &Object) -> Vec<FieldError> {
        let spec = &object.spec;
        let (resource, path) = (&spec.resource_attributes, &spec.non_resource_attributes);
        let mut errors = access_review::validate_attributes(resource.as_ref(), path.as_ref());
        errors.extend(access_review::validate_metadata(&object.metadata, false));
        errors
    }

    fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
        vec![meta::object_name(&object.metadata), meta::object_age(&object.metadata, now)]
    }

    fn review(object: &mut Object, context: &Context<'_>) -> Result<(), ApiError> {
        let spec = &object.spec;
        let (resource, path) = (&spec.resource_attributes, &spec.non_resource_attributes);
        object.status =
            Some(access_review::answer_for(context.user, resource.as_ref(), path.as_ref()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::UserInfo;
    use crate::kinds::testing::context;
    use crate::kinds::testing::problems;
    use serde_json::json;

    #[test]
    fn exactly_one_kind_of_attributes_is_given() {
        assert_eq!(
            problems::<SelfSubjectAccessReviews>(json!({"spec": {}})),
            ["spec.resourceAttributes: Invalid value: null: exactly one of \
              nonResourceAttributes or resourceAttributes must be specified"]
        );
        let both = json!({"spec": {
            "resourceAttributes": {"verb": "get"},
            "nonResourceAttributes": {"path": "/x"},
        }});
        assert_eq!(
            problems::<SelfSubjectAccessReviews>(both),
            ["spec.nonResourceAttributes: Invalid value: {\"Path\":\"/x\",\"Verb\":\"\"}: cannot be specified \
              in combination with resourceAttributes"]
        );
    }

    #[test]
    fn an_authenticated_user_may() {
        let ask = |name: &str| {
            let mut object: Object = serde_json::from_value(json!({
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SelfSubjectAccessReview",
                "spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}},
            }))
            .unwrap();
            let user = UserInfo { name: name.to_owned(), ..UserInfo::default() };
            let context = Context { user: &user, ..context() };
            SelfSubjectAccessReviews::review(&mut object, &context).unwrap();
            object.status.unwrap().allowed
        };
        assert!(ask("ada"));
        assert!(!ask("system:anonymous"));
    }
}
