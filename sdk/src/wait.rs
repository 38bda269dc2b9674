//! Waiting for a state of the cluster, with a deadline.

use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::runtime::wait::{Condition, await_condition};

/// The deadline passed, or the watch failed.
#[derive(Debug, thiserror::Error)]
pub enum WaitError {
    #[error("{what} did not happen within {seconds} s")]
    Deadline { what: String, seconds: u64 },
    #[error("watch failed: {0}")]
    Watch(#[from] kube::runtime::wait::Error),
}

/// Whether the node says that it is ready.
pub fn is_ready(node: &Node) -> bool {
    node.status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten())
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Waits until a node is ready.
pub async fn node_ready(
    client: &kube::Client,
    name: &str,
    patience: Duration,
) -> Result<(), WaitError> {
    let ready = |node: Option<&Node>| node.is_some_and(is_ready);
    object(Api::<Node>::all(client.clone()), name, ready, patience, "ready").await.map(drop)
}

/// Waits until the object meets the condition; `what` names it in the error.
pub async fn object<K>(
    api: Api<K>,
    name: &str,
    condition: impl Condition<K>,
    patience: Duration,
    what: &str,
) -> Result<Option<K>, WaitError>
where
    K: Clone + std::fmt::Debug + Send + serde::de::DeserializeOwned + kube::Resource + 'static,
{
    match tokio::time::timeout(patience, await_condition(api, name, condition)).await {
        Ok(outcome) => Ok(outcome?),
        Err(_) => Err(WaitError::Deadline {
            what: format!("{name}: {what}"),
            seconds: patience.as_secs(),
        }),
    }
}
