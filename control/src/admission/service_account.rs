//! ServiceAccount: every pod runs as an account that exists.
//!
//! Source: `plugin/pkg/admission/serviceaccount`. No token volume is mounted: there are no tokens
//! yet that one could hold.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::ServiceAccount as Account;
use serde_json::{Value, json};

use super::{Operation, Plugin, Review, Surroundings, lookup};
use crate::cache::Cached;
use crate::status::ApiError;

const DEFAULT: &str = "default";
/// Marks the API's picture of a pod that a node runs out of a file.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// The default account comes from a controller, shortly after its namespace: wait for it so often.
const ATTEMPTS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(100);

/// See the module's documentation.
pub struct ServiceAccount;

#[async_trait]
impl Plugin for ServiceAccount {
    fn name(&self) -> &'static str {
        "ServiceAccount"
    }

    async fn admit(
        &self,
        surroundings: &Surroundings,
        review: &mut Review<'_>,
    ) -> Result<(), ApiError> {
        let concerns_pod = review.info.group_resource() == "pods" && review.subresource.is_none();
        if !concerns_pod || review.operation != Operation::Create {
            return Ok(());
        }
        let Some(pod) = review.object.as_deref() else { return Ok(()) };
        let name = account_name(pod);
        if pod["metadata"]["annotations"].get(MIRROR).is_some() {
            return match name {
                "" => Ok(()),
                _ => {
                    let why = "a mirror pod may not reference service accounts";
                    Err(lookup::forbidden(review, why))
                }
            };
        }
        let name = if name.is_empty() { DEFAULT } else { name }.to_owned();
        let namespace = review.namespace;
        let account = find(surroundings, namespace, &name).await?.ok_or_else(|| {
            let why = format!(
                "error looking up service account {namespace}/{name}: \
                 serviceaccount {name:?} not found"
            );
            lookup::forbidden(review, &why)
        })?;
        let account: Arc<Account> = account.try_view().map_err(ApiError::internal)?;
        if let Some(pod) = review.object.as_deref_mut() {
            fill(pod, &name, &account);
        }
        Ok(())
    }
}

/// The account that the pod asks for, in the field or in its older name.
fn account_name(pod: &Value) -> &str {
    let field = |name: &str| pod["spec"][name].as_str().filter(|name| !name.is_empty());
    field("serviceAccountName").or(field("serviceAccount")).unwrap_or_default()
}

async fn find(
    surroundings: &Surroundings,
    namespace: &str,
    name: &str,
) -> Result<Option<Arc<Cached>>, ApiError> {
    let cache = lookup::cache(surroundings, "serviceaccounts")?;
    let attempts = if name == DEFAULT { ATTEMPTS } else { 1 };
    for attempt in 0..attempts {
        if attempt > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        let found = lookup::find(&cache, namespace, name).await?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// Names the account in both fields, and takes its image pull secrets where the pod has none.
fn fill(pod: &mut Value, name: &str, account: &Account) {
    let spec = &mut pod["spec"];
    spec["serviceAccountName"] = name.into();
    spec["serviceAccount"] = name.into();
    let has_secrets = spec["imagePullSecrets"].as_array().is_some_and(|list| !list.is_empty());
    let secrets = account.image_pull_secrets.as_deref().unwrap_or_default();
    if !has_secrets && !secrets.is_empty() {
        spec["imagePullSecrets"] = secrets.iter().map(|secret| json!(secret)).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::testing::{Request, named, surroundings};

    async fn admit(pod: Value) -> Result<Value, ApiError> {
        let mut builder = named("builder");
        builder["imagePullSecrets"] = json!([{"name": "registry"}]);
        let surroundings =
            surroundings(&[("serviceaccounts", named(DEFAULT)), ("serviceaccounts", builder)])
                .await;
        let request = Request::create("pods", "default", "web").with(pod);
        request.admit(&ServiceAccount, &surroundings).await
    }

    #[tokio::test]
    async fn a_pod_runs_as_default_unless_it_names_an_account() {
        let pod = admit(json!({"spec": {}})).await.unwrap();
        assert_eq!(
            pod["spec"],
            json!({"serviceAccountName": "default", "serviceAccount": "default"})
        );
        let pod = admit(json!({"spec": {"serviceAccount": "builder"}})).await.unwrap();
        assert_eq!(
            pod["spec"],
            json!({
                "serviceAccountName": "builder",
                "serviceAccount": "builder",
                "imagePullSecrets": [{"name": "registry"}],
            })
        );
    }

    #[tokio::test]
    async fn an_account_that_does_not_exist_is_refused() {
        let error = admit(json!({"spec": {"serviceAccountName": "ghost"}})).await.unwrap_err();
        assert_eq!(
            error.message,
            "pods \"web\" is forbidden: error looking up service account default/ghost: \
             serviceaccount \"ghost\" not found"
        );
    }

    #[tokio::test]
    async fn a_mirror_pod_has_no_account() {
        let mut pod = json!({"metadata": {"annotations": {MIRROR: "x"}}, "spec": {}});
        assert_eq!(admit(pod.clone()).await.unwrap()["spec"], json!({}));
        pod["spec"]["serviceAccountName"] = json!("default");
        let error = admit(pod).await.unwrap_err();
        assert_eq!(
            error.message,
            "pods \"web\" is forbidden: a mirror pod may not reference service accounts"
        );
    }
}
