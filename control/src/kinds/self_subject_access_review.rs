//! SelfSubjectAccessReviews: may I.
//! Source: `pkg/registry/authorization/selfsubjectaccessreview/rest.go`.

use jiff::Timestamp;
use k8s_openapi::api::authorization::v1::{
    FieldSelectorAttributes, LabelSelectorAttributes, SelfSubjectAccessReview as Object,
    SubjectAccessReviewStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use super::meta::invalid_each;
use super::{Context, FieldError, Kind, KindInfo, Scope, meta, names};
use crate::status::{About, ApiError};

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
        let mut errors = Vec::new();
        match (&spec.resource_attributes, &spec.non_resource_attributes) {
            (Some(_), Some(path)) => errors.push(FieldError::invalid(
                "spec.nonResourceAttributes",
                serde_json::to_value(path).unwrap_or_default(),
                "cannot be specified in combination with resourceAttributes",
            )),
            (None, None) => errors.push(FieldError::invalid(
                "spec.resourceAttributes",
                Value::Null,
                "exactly one of nonResourceAttributes or resourceAttributes must be specified",
            )),
            (Some(_), None) | (None, Some(_)) => {}
        }
        if let Some(resource) = &spec.resource_attributes {
            errors.extend(resource.field_selector.iter().flat_map(validate_field_selector));
            errors.extend(resource.label_selector.iter().flat_map(validate_label_selector));
        }
        let mut metadata = object.metadata.clone();
        metadata.managed_fields = None;
        if metadata != ObjectMeta::default() {
            let value = serde_json::to_value(&object.metadata).unwrap_or_default();
            errors.push(FieldError::invalid("metadata", value, "must be empty"));
        }
        errors
    }

    fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
        vec![meta::object_name(&object.metadata), meta::object_age(&object.metadata, now)]
    }

    /// Until authorisation comes, every authenticated user may do everything.
    fn review(object: &mut Object, context: &Context<'_>) -> Result<(), ApiError> {
        let errors = Self::validate(object);
        if !errors.is_empty() {
            let info = Self::INFO;
            let about = About { group: info.group, resource: info.kind, name: "" };
            return Err(ApiError::invalid(about, &errors));
        }
        object.status = Some(SubjectAccessReviewStatus {
            allowed: !context.user.name.is_empty() && context.user.name != "system:anonymous",
            ..SubjectAccessReviewStatus::default()
        });
        Ok(())
    }
}

fn validate_field_selector(selector: &FieldSelectorAttributes) -> Vec<FieldError> {
    const PATH: &str = "spec.resourceAttributes.fieldSelector";
    let requirements = selector.requirements.as_deref().unwrap_or_default();
    let mut errors = validate_forms(selector.raw_selector.as_deref(), requirements.len(), PATH);
    for (index, requirement) in requirements.iter().enumerate() {
        let path = format!("{PATH}.requirements[{index}]");
        if requirement.key.is_empty() {
            errors.push(FieldError::required(format!("{path}.key"), "must be specified"));
        }
        let values = requirement.values.as_ref().map_or(0, Vec::len);
        errors.extend(validate_values(&requirement.operator, values, &path));
    }
    errors
}

fn validate_label_selector(selector: &LabelSelectorAttributes) -> Vec<FieldError> {
    const PATH: &str = "spec.resourceAttributes.labelSelector";
    let requirements = selector.requirements.as_deref().unwrap_or_default();
    let mut errors = validate_forms(selector.raw_selector.as_deref(), requirements.len(), PATH);
    for (index, requirement) in requirements.iter().enumerate() {
        let path = format!("{PATH}.requirements[{index}]");
        let values = requirement.values.as_deref().unwrap_or_default();
        errors.extend(validate_values(&requirement.operator, values.len(), &path));
        let key = &requirement.key;
        errors.extend(invalid_each(&format!("{path}.key"), key, names::label_key(key)));
        for (index, value) in values.iter().enumerate() {
            errors.extend(invalid_each(
                &format!("{path}.values[{index}]"),
                value,
                names::label_value(value),
            ));
        }
    }
    errors
}

/// A selector comes as one text or as requirements.
fn validate_forms(raw: Option<&str>, requirements: usize, path: &str) -> Vec<FieldError> {
    match (raw.unwrap_or_default(), requirements) {
        ("", 0) => {
            let why = format!("when {path} is specified, requirements or rawSelector is required");
            vec![FieldError::required(format!("{path}.requirements"), why)]
        }
        ("", _) | (_, 0) => Vec::new(),
        (raw, _) => {
            let why = "may not specified at the same time as requirements";
            vec![FieldError::invalid(format!("{path}.rawSelector"), raw, why)]
        }
    }
}

/// An unknown operator passes: newer clients may know more than this server.
fn validate_values(operator: &str, values: usize, path: &str) -> Vec<FieldError> {
    let path = format!("{path}.values");
    match (operator, values) {
        ("In" | "NotIn", 0) => {
            let why = "must be specified when `operator` is 'In' or 'NotIn'";
            vec![FieldError::required(path, why)]
        }
        ("Exists" | "DoesNotExist", 1..) => {
            let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            vec![FieldError::forbidden(path, why)]
        }
        _ => Vec::new(),
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
            ["spec.nonResourceAttributes: Invalid value: {\"path\":\"/x\"}: cannot be specified \
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

    #[test]
    fn an_invalid_question_gets_no_answer() {
        let error =
            SelfSubjectAccessReviews::review(&mut Object::default(), &context()).unwrap_err();
        assert_eq!((error.code, error.reason), (422, "Invalid"));
    }
}
