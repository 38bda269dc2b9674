//! The watch of the pods bound to this node.

use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, watcher};
use tokio::sync::mpsc;

use super::super::effects::{Means, chain};

/// A change of this node's pods, as the watch tells it.
pub(super) enum Change {
    ListBegins,
    Listed(Arc<Pod>),
    ListEnds,
    Applied(Arc<Pod>),
    Deleted(Arc<Pod>),
}

/// Watches the pods bound to this node; lists and begins anew whenever the connection breaks.
pub(super) async fn watch(means: Arc<Means>, changes: mpsc::Sender<Change>) {
    let selector = format!("spec.nodeName={}", means.config.name);
    let api: Api<Pod> = Api::all(means.client.clone());
    let config = watcher::Config::default().fields(&selector);
    // Who manages which field is more than all the rest, and nothing to a node.
    let forget = |pod: &mut Pod| pod.metadata.managed_fields = None;
    let mut events = std::pin::pin!(watcher(api, config).default_backoff().modify(forget));
    while let Some(event) = events.next().await {
        let change = match event {
            Ok(watcher::Event::Init) => Change::ListBegins,
            Ok(watcher::Event::InitApply(pod)) => Change::Listed(Arc::new(pod)),
            Ok(watcher::Event::InitDone) => Change::ListEnds,
            Ok(watcher::Event::Apply(pod)) => Change::Applied(Arc::new(pod)),
            Ok(watcher::Event::Delete(pod)) => Change::Deleted(Arc::new(pod)),
            Err(error) => {
                tracing::debug!(error = chain(&error), "the watch of pods broke; it begins again");
                if let watcher::Error::InitialListFailed(error)
                | watcher::Error::WatchStartFailed(error) = error
                {
                    means.outage.note(&Err::<(), _>(error));
                }
                continue;
            }
        };
        if changes.send(change).await.is_err() {
            return;
        }
    }
}
