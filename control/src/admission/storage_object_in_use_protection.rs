//! StorageObjectInUseProtection: volumes, claims and classes of attributes go only when nobody uses
//! them any more. The controllers of their protection take the finalizers off again.
//!
//! Source: `plugin/pkg/admission/storage/storageobjectinuseprotection`.

use async_trait::async_trait;

use super::{Operation, Plugin, Review, Surroundings};
use crate::status::ApiError;

pub const VOLUME_FINALIZER: &str = "kubernetes.io/pv-protection";
pub const CLAIM_FINALIZER: &str = "kubernetes.io/pvc-protection";
pub const ATTRIBUTES_FINALIZER: &str = "kubernetes.io/vac-protection";

/// See the module's documentation.
pub struct StorageObjectInUseProtection;

#[async_trait]
impl Plugin for StorageObjectInUseProtection {
    fn name(&self) -> &'static str {
        "StorageObjectInUseProtection"
    }

    async fn admit(
        &self,
        _surroundings: &Surroundings,
        review: &mut Review<'_>,
    ) -> Result<(), ApiError> {
        if review.operation != Operation::Create || review.subresource.is_some() {
            return Ok(());
        }
        let finalizer = match review.info.group_resource().as_str() {
            "persistentvolumes" => VOLUME_FINALIZER,
            "persistentvolumeclaims" => CLAIM_FINALIZER,
            "volumeattributesclasses.storage.k8s.io" => ATTRIBUTES_FINALIZER,
            _ => return Ok(()),
        };
        let Some(object) = review.object.as_deref_mut() else { return Ok(()) };
        let finalizers = &mut object["metadata"]["finalizers"];
        match finalizers.as_array_mut() {
            Some(known) if known.iter().any(|known| known == finalizer) => {}
            Some(known) => known.push(finalizer.into()),
            None => *finalizers = vec![finalizer].into(),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{Request, surroundings};
    use super::*;

    #[tokio::test]
    async fn what_is_created_is_protected_once() {
        let around = surroundings(&[]).await;
        let cases = [
            ("persistentvolumes", json!({}), json!([VOLUME_FINALIZER])),
            ("persistentvolumeclaims", json!({}), json!([CLAIM_FINALIZER])),
            ("volumeattributesclasses", json!({}), json!([ATTRIBUTES_FINALIZER])),
            (
                "persistentvolumeclaims",
                json!({"finalizers": ["x.io/y", CLAIM_FINALIZER]}),
                json!(["x.io/y", CLAIM_FINALIZER]),
            ),
            (
                "persistentvolumes",
                json!({"finalizers": ["x.io/y"]}),
                json!(["x.io/y", VOLUME_FINALIZER]),
            ),
            ("configmaps", json!({}), json!(null)),
        ];
        for (resource, metadata, expected) in cases {
            let request = Request::create(resource, "", "x").with(json!({ "metadata": metadata }));
            let admitted = request.admit(&StorageObjectInUseProtection, &around).await.unwrap();
            assert_eq!(admitted["metadata"]["finalizers"], expected, "{resource}");
        }
    }
}
