//! The logs of all pods of a namespace as one stream of lines.

use std::collections::HashSet;

use futures::{AsyncBufReadExt, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::api::LogParams;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, watcher};
use kube::{Api, ResourceExt};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// One line that a container wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub pod: String,
    pub container: String,
    pub text: String,
}

/// So many lines may wait for the reader; beyond, following pauses.
const WAITING_MAX: usize = 1024;

/// Follows every container of every pod in the namespace, restarts included, until the receiver
/// is dropped.
pub fn follow(client: kube::Client, namespace: &str) -> mpsc::Receiver<Line> {
    let (lines, receiver) = mpsc::channel(WAITING_MAX);
    let pods = Api::<Pod>::namespaced(client, namespace);
    tokio::spawn(async move {
        let closed = lines.clone();
        tokio::select! {
            () = closed.closed() => {}
            () = follow_pods(pods, lines) => {}
        }
    });
    receiver
}

async fn follow_pods(pods: Api<Pod>, lines: mpsc::Sender<Line>) {
    let mut started: HashSet<String> = HashSet::new();
    let mut followers = JoinSet::new();
    let changes =
        watcher(pods.clone(), watcher::Config::default()).default_backoff().applied_objects();
    let mut changes = std::pin::pin!(changes);
    while let Some(change) = changes.next().await {
        let Ok(pod) = change else { continue };
        for (container, id) in running(&pod) {
            if started.insert(id) {
                followers.spawn(follow_container(
                    pods.clone(),
                    pod.name_any(),
                    container,
                    lines.clone(),
                ));
            }
        }
    }
}

/// The containers that run or have run, each with the id of its present instance.
fn running(pod: &Pod) -> Vec<(String, String)> {
    pod.status
        .iter()
        .flat_map(|status| status.container_statuses.iter().flatten())
        .filter_map(|status| {
            Some((status.name.clone(), status.container_id.clone().filter(|id| !id.is_empty())?))
        })
        .collect()
}

async fn follow_container(
    pods: Api<Pod>,
    pod: String,
    container: String,
    lines: mpsc::Sender<Line>,
) {
    let parameters =
        LogParams { follow: true, container: Some(container.clone()), ..LogParams::default() };
    let Ok(stream) = pods.log_stream(&pod, &parameters).await else { return };
    let mut texts = stream.lines();
    while let Ok(Some(text)) = texts.try_next().await {
        let line = Line { pod: pod.clone(), container: container.clone(), text };
        if lines.send(line).await.is_err() {
            return;
        }
    }
}
