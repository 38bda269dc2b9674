//! PersistentVolumeClaimResize: a claim grows only where it is bound and its class lets it.
//!
//! Source: `plugin/pkg/admission/storage/persistentvolume/resize`.

use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::storage::v1::StorageClass;
use serde_json::Value;

use super::{Operation, Plugin, Review, Surroundings, lookup};
use crate::kinds::quantity::Quantity;
use crate::kinds::rules::volume_claims::BETA_CLASS;
use crate::status::ApiError;

const CLASSES: &str = "storageclasses.storage.k8s.io";

/// See the module's documentation.
pub struct PersistentVolumeClaimResize;

#[async_trait]
impl Plugin for PersistentVolumeClaimResize {
    fn name(&self) -> &'static str {
        "PersistentVolumeClaimResize"
    }

    async fn validate(
        &self,
        surroundings: &Surroundings,
        review: &mut Review<'_>,
    ) -> Result<(), ApiError> {
        let concerned = review.operation == Operation::Update
            && review.subresource.is_none()
            && review.info.group_resource() == "persistentvolumeclaims";
        let (Some(new), Some(old)) = (review.object.as_deref().filter(|_| concerned), review.old)
        else {
            return Ok(());
        };
        if size(new) <= size(old) {
            return Ok(());
        }
        if old["status"]["phase"] != "Bound" {
            let why = "Only bound persistent volume claims can be expanded";
            return Err(lookup::forbidden(review, why));
        }
        let name = class(new);
        let same = !name.is_empty() && name == class(old);
        if same && expands(surroundings, name).await? {
            return Ok(());
        }
        let why = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize";
        Err(lookup::forbidden(review, why))
    }
}

fn size(claim: &Value) -> Quantity {
    let text = claim["spec"]["resources"]["requests"]["storage"].as_str().unwrap_or_default();
    Quantity::parse(text).unwrap_or(Quantity::ZERO)
}

fn class(claim: &Value) -> &str {
    let annotated = claim["metadata"]["annotations"][BETA_CLASS].as_str();
    annotated.or_else(|| claim["spec"]["storageClassName"].as_str()).unwrap_or_default()
}

async fn expands(surroundings: &Surroundings, class: &str) -> Result<bool, ApiError> {
    let cache = lookup::cache(surroundings, CLASSES)?;
    let Some(found) = lookup::find(&cache, "", class).await? else { return Ok(false) };
    let class: Arc<StorageClass> = found.try_view().map_err(ApiError::internal)?;
    Ok(class.allow_volume_expansion == Some(true))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{Request, surroundings};
    use super::*;

    #[tokio::test]
    async fn a_bound_claim_grows_where_its_class_lets_it() {
        let class = |name: &str, expands: bool| {
            let class = json!({"metadata": {"name": name}, "provisioner": "x",
                "allowVolumeExpansion": expands});
            (CLASSES, class)
        };
        let around = surroundings(&[class("grows", true), class("fixed", false)]).await;
        let claim = |size: &str, class: &str, phase: &str| {
            json!({
                "spec": {"storageClassName": class, "resources": {"requests": {"storage": size}}},
                "status": {"phase": phase},
            })
        };
        let bound = "Only bound persistent volume claims can be expanded";
        let dynamic = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize";
        let cases = [
            (claim("2Gi", "grows", "Bound"), claim("1Gi", "grows", "Bound"), None),
            (claim("1Gi", "fixed", "Bound"), claim("2Gi", "fixed", "Bound"), None),
            (claim("2Gi", "grows", "Pending"), claim("1Gi", "grows", "Pending"), Some(bound)),
            (claim("2Gi", "fixed", "Bound"), claim("1Gi", "fixed", "Bound"), Some(dynamic)),
            (claim("2Gi", "gone", "Bound"), claim("1Gi", "gone", "Bound"), Some(dynamic)),
            (claim("2Gi", "", "Bound"), claim("1Gi", "", "Bound"), Some(dynamic)),
        ];
        for (new, old, expected) in cases {
            let request = Request::update("persistentvolumeclaims", "default", "x");
            let request = request.with(new.clone()).before(old);
            let refused = request.admit(&PersistentVolumeClaimResize, &around).await.err();
            let expected =
                expected.map(|why| format!("persistentvolumeclaims \"x\" is forbidden: {why}"));
            assert_eq!(refused.map(|error| error.message), expected, "{new}");
        }
    }
}
