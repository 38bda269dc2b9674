//! DefaultIngressClass: an Ingress that names no class gets the one that is marked for that.
//!
//! Source: `plugin/pkg/admission/network/defaultingressclass/admission.go`.

use std::cmp::Reverse;

use async_trait::async_trait;
use k8s_openapi::api::networking::v1::IngressClass;

use super::{Operation, Plugin, Review, Surroundings, lookup};
use crate::cache::Cache;
use crate::kinds::{ingress, ingress_class};
use crate::status::ApiError;

/// See the module's documentation.
pub struct DefaultIngressClass;

#[async_trait]
impl Plugin for DefaultIngressClass {
    fn name(&self) -> &'static str {
        "DefaultIngressClass"
    }

    async fn admit(
        &self,
        surroundings: &Surroundings,
        review: &mut Review<'_>,
    ) -> Result<(), ApiError> {
        let concerns = review.info.group_resource() == "ingresses.networking.k8s.io"
            && review.subresource.is_none()
            && review.operation == Operation::Create;
        let Some(object) = review.object.as_deref_mut().filter(|_| concerns) else {
            return Ok(());
        };
        let says = !object["spec"]["ingressClassName"].is_null()
            || !object["metadata"]["annotations"][ingress::CLASS_ANNOTATION].is_null();
        if says {
            return Ok(());
        }
        let classes = lookup::cache(surroundings, "ingressclasses.networking.k8s.io")?;
        if let Some(class) = newest_default(&classes) {
            object["spec"]["ingressClassName"] = class.into();
        }
        Ok(())
    }
}

/// Of several that are marked, the newest; of those, the first by name.
fn newest_default(classes: &Cache) -> Option<String> {
    let all = classes.list(None);
    let all = all.items.iter().filter_map(|cached| cached.view::<IngressClass>());
    let marked = all.filter(|class| ingress_class::is_default(class));
    let first = marked.min_by_key(|class| {
        let metadata = &class.metadata;
        let created = metadata.creation_timestamp.as_ref().map(|time| time.0);
        (Reverse(created), metadata.name.clone())
    });
    first.and_then(|class| class.metadata.name.clone())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::admission::testing::{Request, surroundings};

    #[tokio::test]
    async fn the_newest_marked_class_is_taken_unless_one_is_named() {
        let class = |name: &str, marked: &str, day: u8| {
            let class = json!({"metadata": {
                "name": name,
                "annotations": {ingress_class::DEFAULT_CLASS: marked},
                "creationTimestamp": format!("2026-01-0{day}T00:00:00Z"),
            }});
            ("ingressclasses.networking.k8s.io", class)
        };
        let surroundings = surroundings(&[
            class("old", "true", 1),
            class("new-b", "true", 2),
            class("new-a", "true", 2),
            class("unmarked", "false", 3),
        ])
        .await;
        let chosen = async |object: Value, operation| {
            let request = match operation {
                Operation::Update => Request::update("ingresses", "default", "i"),
                _ => Request::create("ingresses", "default", "i"),
            };
            let admitted = request.with(object).admit(&DefaultIngressClass, &surroundings).await;
            admitted.expect("it is admitted")["spec"]["ingressClassName"].clone()
        };
        let plain = json!({"metadata": {}, "spec": {}});
        assert_eq!(chosen(plain.clone(), Operation::Create).await, "new-a");
        assert_eq!(chosen(plain, Operation::Update).await, Value::Null);
        let named = json!({"metadata": {}, "spec": {"ingressClassName": "mine"}});
        assert_eq!(chosen(named, Operation::Create).await, "mine");
        let annotated =
            json!({"metadata": {"annotations": {ingress::CLASS_ANNOTATION: "mine"}}, "spec": {}});
        assert_eq!(chosen(annotated, Operation::Create).await, Value::Null);
    }

    #[tokio::test]
    async fn without_a_marked_class_there_is_none() {
        let surroundings = surroundings(&[]).await;
        let plain = json!({"metadata": {}, "spec": {}});
        let request = Request::create("ingresses", "default", "i").with(plain.clone());
        let admitted = request.admit(&DefaultIngressClass, &surroundings).await;
        assert_eq!(admitted.expect("it is admitted"), plain);
    }
}
