//! `copepod run`: manifests in an ephemeral cluster, to their end.

use std::net::IpAddr;
use std::path::PathBuf;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::api::DynamicObject;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, watcher};
use kube::{Api, ResourceExt};
use tokio::sync::mpsc;

use crate::logs::{self, Line};
use crate::manifests::{self, ManifestError};
use crate::{Cluster, ClusterError};

/// What to run.
#[derive(Clone, Debug)]
pub struct RunOptions {
    pub file: PathBuf,
    /// Images to import first: reference and file.
    pub images: Vec<(String, PathBuf)>,
    /// Where NodePorts are opened.
    pub bind_address: IpAddr,
}

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("{0}")]
    Cluster(#[from] ClusterError),
    #[error("{0}")]
    Manifest(#[from] ManifestError),
    #[error("image {reference}: {path}: {source}")]
    Image { reference: String, path: String, source: std::io::Error },
    #[error("pod {pod} cannot start: {reason}: {message}")]
    CannotStart { pod: String, reason: String, message: String },
}

/// Waiting reasons that will not mend themselves in a cluster that nobody else touches.
const HOPELESS: [&str; 7] = [
    "CreateContainerConfigError",
    "CreateContainerError",
    "ErrImageNeverPull",
    "ErrImagePull",
    "ImageInspectError",
    "ImagePullBackOff",
    "InvalidImageName",
];

/// Runs the manifests; each log line goes to `lines`. Answers the exit code of the first bare pod
/// (or Job's pod) to end; manifests without one run until the caller drops this future.
pub async fn run(options: RunOptions, lines: mpsc::Sender<Line>) -> Result<i32, RunError> {
    let objects = manifests::read(&options.file)?;
    let folder = options.file.parent().map(PathBuf::from).unwrap_or_default();
    let folder = if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder };
    let cluster = Cluster::builder()
        .memory()
        .bind_address(options.bind_address)
        .allow_images_in(folder)
        .start()
        .await?;
    let code = run_in(&cluster, &options, &objects, lines).await;
    cluster.stop().await;
    code
}

async fn run_in(
    cluster: &Cluster,
    options: &RunOptions,
    objects: &[DynamicObject],
    lines: mpsc::Sender<Line>,
) -> Result<i32, RunError> {
    for (reference, path) in &options.images {
        let wasm = tokio::fs::read(path).await.map_err(|source| RunError::Image {
            reference: reference.clone(),
            path: path.display().to_string(),
            source,
        })?;
        cluster.import_image(reference, wasm).await?;
    }
    for object in objects {
        manifests::apply(&cluster.client(), object).await?;
    }
    let mut logs = logs::follow(cluster.client(), "default");
    let ended = first_end(cluster.client());
    let mut ended = std::pin::pin!(ended);
    loop {
        tokio::select! {
            biased;
            Some(line) = logs.recv() => drop(lines.send(line).await),
            code = &mut ended => {
                drain(&mut logs, &lines).await;
                return code;
            }
        }
    }
}

/// The last lines may still be on their way when the pod's end is known.
async fn drain(logs: &mut mpsc::Receiver<Line>, lines: &mpsc::Sender<Line>) {
    const QUIET: std::time::Duration = std::time::Duration::from_millis(200);
    while let Ok(Some(line)) = tokio::time::timeout(QUIET, logs.recv()).await {
        lines.send(line).await.ok();
    }
}

/// Waits for a pod that is meant to end: its first container's exit code.
async fn first_end(client: kube::Client) -> Result<i32, RunError> {
    let pods = Api::<Pod>::default_namespaced(client);
    let changes = watcher(pods, watcher::Config::default()).default_backoff().applied_objects();
    let mut changes = std::pin::pin!(changes);
    loop {
        let Some(Ok(pod)) = changes.next().await else { continue };
        if let Some(error) = hopeless(&pod) {
            return Err(error);
        }
        if let Some(code) = exit_code(&pod) {
            return Ok(code);
        }
    }
}

fn hopeless(pod: &Pod) -> Option<RunError> {
    let status = pod.status.as_ref()?;
    let cannot = |reason: &str, message: Option<&String>| RunError::CannotStart {
        pod: pod.name_any(),
        reason: reason.to_owned(),
        message: message.cloned().unwrap_or_default(),
    };
    let refused = status.phase.as_deref() == Some("Failed")
        && status.container_statuses.iter().flatten().all(|container| {
            container.state.as_ref().is_none_or(|state| state.terminated.is_none())
        });
    if refused {
        return Some(cannot(status.reason.as_deref().unwrap_or("Failed"), status.message.as_ref()));
    }
    status
        .container_statuses
        .iter()
        .flatten()
        .filter_map(|container| container.state.as_ref()?.waiting.as_ref())
        .find(|waiting| waiting.reason.as_deref().is_some_and(|reason| HOPELESS.contains(&reason)))
        .map(|waiting| {
            cannot(waiting.reason.as_deref().unwrap_or_default(), waiting.message.as_ref())
        })
}

fn exit_code(pod: &Pod) -> Option<i32> {
    let status = pod.status.as_ref()?;
    if !matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")) {
        return None;
    }
    let codes = status
        .container_statuses
        .iter()
        .flatten()
        .filter_map(|container| Some(container.state.as_ref()?.terminated.as_ref()?.exit_code));
    // A failure of any container is the pod's failure.
    codes.max_by_key(|code| *code != 0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(status: serde_json::Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p"}, "status": status})).expect("a pod")
    }

    #[test]
    fn the_exit_code_is_that_of_the_container_that_failed() {
        let terminated = |code: i32| json!({"name": "c", "state": {"terminated": {"exitCode": code}}, "image": "", "imageID": "", "ready": false, "restartCount": 0});
        let ended = |phase: &str, codes: &[i32]| {
            exit_code(&pod(json!({
                "phase": phase,
                "containerStatuses": codes.iter().map(|code| terminated(*code)).collect::<Vec<_>>(),
            })))
        };
        assert_eq!(ended("Running", &[0]), None);
        assert_eq!(ended("Succeeded", &[0, 0]), Some(0));
        assert_eq!(ended("Failed", &[0, 3]), Some(3));
    }
}
