//! SelfSubjectReviews: who am I. Source: `pkg/registry/authentication/selfsubjectreview/rest.go`.

use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::{
    SelfSubjectReview as Object, SelfSubjectReviewStatus, UserInfo as ReviewedUser,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde_json::Value;

use super::{Context, FieldError, Kind, KindInfo, Scope, meta};
use crate::status::ApiError;

pub struct SelfSubjectReviews;

impl Kind for SelfSubjectReviews {
    type Object = Object;
    const INFO: KindInfo = KindInfo {
        scope: Scope::Cluster,
        ..KindInfo::computed(
            "authentication.k8s.io",
            "v1",
            "SelfSubjectReview",
            "selfsubjectreviews",
            "selfsubjectreview",
            "io.k8s.api.authentication.v1.SelfSubjectReview",
        )
    };

    fn validate(_object: &Object) -> Vec<FieldError> {
        Vec::new()
    }

    fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
        vec![meta::object_name(&object.metadata), meta::object_age(&object.metadata, now)]
    }

    fn review(object: &mut Object, context: &Context<'_>) -> Result<(), ApiError> {
        let user = context.user;
        let filled = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        *object = Object {
            status: Some(SelfSubjectReviewStatus {
                user_info: Some(ReviewedUser {
                    username: filled(&user.name),
                    uid: filled(&user.uid),
                    groups: (!user.groups.is_empty()).then(|| user.groups.clone()),
                    extra: (!user.extra.is_empty()).then(|| user.extra.clone()),
                }),
            }),
            metadata: ObjectMeta {
                creation_timestamp: Some(Time(context.now)),
                ..ObjectMeta::default()
            },
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::UserInfo;
    use crate::kinds::testing::context;
    use serde_json::json;

    #[test]
    fn the_answer_is_the_user_of_the_request() {
        let user = UserInfo {
            name: "ada".to_owned(),
            groups: vec!["system:authenticated".to_owned()],
            ..UserInfo::default()
        };
        let mut object = Object::default();
        SelfSubjectReviews::review(&mut object, &Context { user: &user, ..context() }).unwrap();
        assert_eq!(
            serde_json::to_value(&object).unwrap()["status"],
            json!({"userInfo": {"username": "ada", "groups": ["system:authenticated"]}})
        );
    }
}
