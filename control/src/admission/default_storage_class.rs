//! DefaultStorageClass: a claim that names no class gets the default one, where there is one.
//!
//! Source: `plugin/pkg/admission/storage/storageclass/setdefault`,
//! `pkg/volume/util/storageclass.go`.

use std::cmp::Reverse;
use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::storage::v1::StorageClass;

use super::{Operation, Plugin, Review, Surroundings, lookup};
use crate::kinds::rules::volume_claims::BETA_CLASS;
use crate::kinds::storage_class::is_default;
use crate::status::ApiError;

const CLASSES: &str = "storageclasses.storage.k8s.io";

/// See the module's documentation.
pub struct DefaultStorageClass;

#[async_trait]
impl Plugin for DefaultStorageClass {
    fn name(&self) -> &'static str {
        "DefaultStorageClass"
    }

    async fn admit(
        &self,
        surroundings: &Surroundings,
        review: &mut Review<'_>,
    ) -> Result<(), ApiError> {
        let concerned = review.operation == Operation::Create
            && review.subresource.is_none()
            && review.info.group_resource() == "persistentvolumeclaims";
        let Some(claim) = review.object.as_deref_mut().filter(|_| concerned) else {
            return Ok(());
        };
        let has_class = !claim["spec"]["storageClassName"].is_null()
            || !claim["metadata"]["annotations"][BETA_CLASS].is_null();
        if has_class {
            return Ok(());
        }
        let cache = lookup::cache(surroundings, CLASSES)?;
        let classes: Vec<Arc<StorageClass>> = lookup::list(&cache, None).await?;
        // Of several, the newest; of equally old ones, the first by name.
        let default = classes
            .iter()
            .map(|class| &class.metadata)
            .filter(|metadata| is_default(metadata))
            .min_by_key(|metadata| {
                (Reverse(metadata.creation_timestamp.as_ref().map(|time| time.0)), &metadata.name)
            });
        if let Some(name) = default.and_then(|metadata| metadata.name.as_deref()) {
            claim["spec"]["storageClassName"] = name.into();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::{Request, surroundings};
    use super::*;

    fn class(name: &str, created: &str, is_default: bool) -> (&'static str, Value) {
        let annotations =
            json!({"storageclass.kubernetes.io/is-default-class": is_default.to_string()});
        let class = json!({
            "metadata": {"name": name, "creationTimestamp": created, "annotations": annotations},
            "provisioner": "x.io/disk",
        });
        (CLASSES, class)
    }

    #[tokio::test]
    async fn the_newest_default_is_filled_in_where_no_class_is_named() {
        let (old, new) = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
        let classes = [
            class("a", new, false),
            class("d", new, true),
            class("c", new, true),
            class("b", old, true),
        ];
        let around = surroundings(&classes).await;
        let cases = [
            (json!({"spec": {}}), json!("c")),
            (json!({"spec": {"storageClassName": ""}}), json!("")),
            (json!({"spec": {"storageClassName": "a"}}), json!("a")),
            (json!({"metadata": {"annotations": {BETA_CLASS: "a"}}, "spec": {}}), Value::Null),
        ];
        for (claim, expected) in cases {
            let request =
                Request::create("persistentvolumeclaims", "default", "x").with(claim.clone());
            let admitted = request.admit(&DefaultStorageClass, &around).await.unwrap();
            assert_eq!(admitted["spec"]["storageClassName"], expected, "{claim}");
        }
    }

    #[tokio::test]
    async fn without_a_default_a_claim_has_no_class() {
        let around = surroundings(&[class("a", "2026-01-01T00:00:00Z", false)]).await;
        let request =
            Request::create("persistentvolumeclaims", "default", "x").with(json!({"spec": {}}));
        let admitted = request.admit(&DefaultStorageClass, &around).await.unwrap();
        assert_eq!(admitted["spec"], json!({}));
    }
}
