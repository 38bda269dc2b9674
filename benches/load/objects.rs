//! The objects that the parts create, and waiting for them.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use serde_json::json;

/// What the `web` guest is imported as.
pub const IMAGE: &str = "web:1";
/// Passed only where something is broken.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// A Deployment of the HTTP guest.
pub fn deployment(name: &str, replicas: usize) -> anyhow::Result<Deployment> {
    deployment_of(name, replicas, IMAGE, &[])
}

/// A Deployment of an HTTP component, its pods annotated.
pub fn deployment_of(
    name: &str,
    replicas: usize,
    image: &str,
    annotations: &[(&str, &str)],
) -> anyhow::Result<Deployment> {
    let annotations: BTreeMap<_, _> = annotations.iter().copied().collect();
    Ok(serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}, "annotations": annotations},
                "spec": {"containers": [{
                    "name": "web",
                    "image": image,
                    "imagePullPolicy": "IfNotPresent",
                    "ports": [{"name": "http", "containerPort": 8080}],
                }]},
            },
        },
    }))?)
}

/// A NodePort Service for the Deployment of the same name.
pub fn node_port(name: &str, port: u16) -> anyhow::Result<Service> {
    Ok(serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {
            "type": "NodePort",
            "selector": {"app": name},
            "ports": [{"name": "http", "port": 80, "targetPort": "http", "nodePort": port}],
        },
    }))?)
}

pub async fn create_service(client: &kube::Client, service: &Service) -> anyhow::Result<()> {
    let services = Api::default_namespaced(client.clone());
    services.create(&PostParams::default(), service).await.context("create a Service")?;
    Ok(())
}

pub async fn create(client: &kube::Client, deployment: &Deployment) -> anyhow::Result<()> {
    let deployments = Api::default_namespaced(client.clone());
    deployments.create(&PostParams::default(), deployment).await.context("create a Deployment")?;
    Ok(())
}

/// Waits, by a watch of this one object, until so many replicas are ready.
pub async fn ready(client: &kube::Client, name: &str, replicas: usize) -> anyhow::Result<()> {
    let is_ready = |deployment: Option<&Deployment>| {
        let status = deployment.and_then(|deployment| deployment.status.as_ref());
        let ready = status.and_then(|status| status.ready_replicas).unwrap_or(0);
        usize::try_from(ready).is_ok_and(|ready| ready >= replicas)
    };
    let deployments = Api::<Deployment>::default_namespaced(client.clone());
    copepod_sdk::wait::object(deployments, name, is_ready, PATIENCE, "all replicas ready").await?;
    Ok(())
}

/// Deletes the Deployment and waits until its pods are gone.
pub async fn delete(client: &kube::Client, name: &str) -> anyhow::Result<()> {
    let deployments = Api::<Deployment>::default_namespaced(client.clone());
    deployments.delete(name, &DeleteParams::background()).await.context("delete a Deployment")?;
    let pods = Api::<Pod>::default_namespaced(client.clone());
    let its = ListParams::default().labels(&format!("app={name}")).limit(1);
    let gone = async {
        while !pods.list(&its).await.context("list pods")?.items.is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    };
    tokio::time::timeout(PATIENCE, gone).await.with_context(|| format!("pods of {name} stay"))?
}
