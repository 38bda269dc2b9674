//! NamespaceLifecycle: nothing is written into a namespace that is missing or on its way out, and
//! some namespaces may not go.
//!
//! Source: `k8s.io/apiserver/pkg/admission/plugin/namespace/lifecycle`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Namespace;
use parking_lot::Mutex;
use serde_json::json;
use tokio::time::Instant;

use super::{Operation, Plugin, Review, Surroundings, lookup};
use crate::cache::Cached;
use crate::status::{About, ApiError};

/// Upstream's immortal namespaces: `kube-node-lease` is not among them.
const IMMORTAL: &[&str] = &["default", "kube-public", "kube-system"];

/// For how long after a deletion the cache is made to catch up before it is believed.
const DISTRUST: Duration = Duration::from_secs(30);

/// See the module's documentation.
#[derive(Default)]
pub struct NamespaceLifecycle {
    /// Namespaces whose deletion was asked for, and when: the cache may still show them as active.
    deleted: Mutex<BTreeMap<String, Instant>>,
}

#[async_trait]
impl Plugin for NamespaceLifecycle {
    fn name(&self) -> &'static str {
        "NamespaceLifecycle"
    }

    async fn admit(
        &self,
        surroundings: &Surroundings,
        review: &mut Review<'_>,
    ) -> Result<(), ApiError> {
        let is_namespace = review.info.group.is_empty() && review.info.kind == "Namespace";
        match review.operation {
            Operation::Delete if is_namespace => self.admit_end(review),
            Operation::Delete => Ok(()),
            Operation::Create | Operation::Update if is_namespace => Ok(()),
            Operation::Create | Operation::Update if review.namespace.is_empty() => Ok(()),
            Operation::Create | Operation::Update => {
                let namespace = self.find(surroundings, review.namespace).await?;
                if review.operation == Operation::Create && is_terminating(&namespace) {
                    return Err(terminating(review));
                }
                Ok(())
            }
        }
    }
}

impl NamespaceLifecycle {
    /// Refuses the end of an immortal namespace, and remembers that of others.
    fn admit_end(&self, review: &Review<'_>) -> Result<(), ApiError> {
        if IMMORTAL.contains(&review.name) {
            return Err(lookup::forbidden(review, "this namespace may not be deleted"));
        }
        let now = Instant::now();
        let mut deleted = self.deleted.lock();
        deleted.retain(|_, since| now.duration_since(*since) < DISTRUST);
        deleted.insert(review.name.to_owned(), now);
        Ok(())
    }

    async fn find(&self, surroundings: &Surroundings, name: &str) -> Result<Arc<Cached>, ApiError> {
        let cache = lookup::cache(surroundings, "namespaces")?;
        if self.was_deleted(name) {
            lookup::latest(&cache).await?;
        }
        lookup::find(&cache, "", name)
            .await?
            .ok_or_else(|| ApiError::not_found(About { group: "", resource: "namespaces", name }))
    }

    fn was_deleted(&self, name: &str) -> bool {
        self.deleted.lock().get(name).is_some_and(|since| since.elapsed() < DISTRUST)
    }
}

fn is_terminating(namespace: &Cached) -> bool {
    let Some(view) = namespace.view::<Namespace>() else {
        return namespace.meta().deletion_timestamp.is_some();
    };
    let phase = view.status.as_ref().and_then(|status| status.phase.as_deref());
    phase == Some("Terminating")
}

fn terminating(review: &Review<'_>) -> ApiError {
    let namespace = review.namespace;
    let mut error = lookup::forbidden(
        review,
        &format!(
            "unable to create new content in namespace {namespace} because it is being terminated"
        ),
    );
    if let Some(details) = &mut error.details {
        details["causes"] = json!([{
            "reason": "NamespaceTerminating",
            "message": format!("namespace {namespace} is being terminated"),
            "field": "metadata.namespace",
        }]);
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::testing::{Request, surroundings, with_phase};

    #[tokio::test]
    async fn creates_need_a_living_namespace() {
        let surroundings = surroundings(&[
            ("namespaces", with_phase("there", "Active")),
            ("namespaces", with_phase("going", "Terminating")),
        ])
        .await;
        let plugin = NamespaceLifecycle::default();
        let create = |namespace: &'static str| Request::create("pods", namespace, "web");
        assert!(create("there").admit(&plugin, &surroundings).await.is_ok());
        let error = create("nowhere").admit(&plugin, &surroundings).await.unwrap_err();
        assert_eq!((error.code, error.message.as_str()), (404, "namespaces \"nowhere\" not found"));
        let error = create("going").admit(&plugin, &surroundings).await.unwrap_err();
        assert_eq!(
            (error.code, error.message.as_str()),
            (
                403,
                "pods \"web\" is forbidden: unable to create new content in namespace going \
                 because it is being terminated"
            )
        );
        assert_eq!(error.details.unwrap()["causes"][0]["reason"], "NamespaceTerminating");
    }

    #[tokio::test]
    async fn updates_and_deletes_go_on_in_a_terminating_namespace() {
        let surroundings =
            surroundings(&[("namespaces", with_phase("going", "Terminating"))]).await;
        let plugin = NamespaceLifecycle::default();
        assert!(
            Request::update("pods", "going", "web").admit(&plugin, &surroundings).await.is_ok()
        );
        assert!(
            Request::delete("pods", "going", "web").admit(&plugin, &surroundings).await.is_ok()
        );
    }

    #[tokio::test]
    async fn some_namespaces_may_not_be_deleted() {
        let surroundings = surroundings(&[]).await;
        let plugin = NamespaceLifecycle::default();
        for name in ["default", "kube-system", "kube-public"] {
            let error = Request::delete("namespaces", "", name)
                .admit(&plugin, &surroundings)
                .await
                .unwrap_err();
            assert_eq!(
                error.message,
                format!("namespaces {name:?} is forbidden: this namespace may not be deleted")
            );
        }
        let lease = Request::delete("namespaces", "", "kube-node-lease");
        assert!(lease.admit(&plugin, &surroundings).await.is_ok());
    }
}
