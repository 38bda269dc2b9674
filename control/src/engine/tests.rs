//! The controllers against the real API, with a kubelet that only says that pods run.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::StreamExt;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{
    ConfigMap, Endpoints, Event, Namespace, Node, Pod, Service, ServiceAccount,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{Ambient, ControlConfig, ControlPlane, Identity, Io, NodeDialer};

struct NoNodes;

#[async_trait]
impl NodeDialer for NoNodes {
    async fn connect(&self, _node: &str, _ip: IpAddr, _port: u16) -> io::Result<Box<dyn Io>> {
        Err(io::ErrorKind::ConnectionRefused.into())
    }
}

/// A control plane with nodes that are made of this test.
struct Cluster {
    plane: ControlPlane,
    client: Client,
}

impl Cluster {
    async fn start(nodes: &[&str]) -> Self {
        let config = ControlConfig {
            node_monitor_grace: Duration::from_secs(2),
            ..ControlConfig::default()
        };
        let plane = ControlPlane::start(config, Arc::new(NoNodes), Ambient::real()).await.unwrap();
        let client = plane.client(Identity::admin());
        for node in nodes {
            let api: Api<Node> = Api::all(client.clone());
            let object = json!({"metadata": {"name": node}});
            api.create(&PostParams::default(), &from(object)).await.unwrap();
        }
        Self { plane, client }
    }

    fn api<T>(&self) -> Api<T>
    where
        T: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), "default")
    }

    async fn create<T>(&self, object: Value) -> T
    where
        T: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + serde::Serialize
            + DeserializeOwned,
    {
        self.api().create(&PostParams::default(), &from(object)).await.unwrap()
    }
}

fn from<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// Posts the node's status now and then, and what its pods are, until it is aborted.
fn kubelet(client: Client, node: &'static str, network: u8) -> [tokio::task::JoinHandle<()>; 2] {
    let nodes: Api<Node> = Api::all(client.clone());
    let heart = tokio::spawn(async move {
        loop {
            let now = jiff::Timestamp::now();
            let status = json!({"status": {
                "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "lastHeartbeatTime": now}],
                "capacity": {"cpu": "64", "memory": "256Gi", "pods": "5000"},
                "allocatable": {"cpu": "64", "memory": "256Gi", "pods": "5000"},
            }});
            let params = PatchParams::default();
            nodes.patch_status(node, &params, &Patch::Merge(status)).await.ok();
            tokio::time::sleep(Duration::from_millis(1000)).await;
        }
    });
    let pods = tokio::spawn(async move {
        let config = watcher::Config::default().fields(&format!("spec.nodeName={node}"));
        let pods: Api<Pod> = Api::all(client.clone());
        let changes = watcher(pods, config).default_backoff().touched_objects();
        let mut count = 0_u32;
        let changes = changes.filter_map(|pod| async move { pod.ok() });
        changes
            .map(|pod| {
                count += 1;
                let client = client.clone();
                let ip = format!("10.{network}.{}.{}", count / 250, count % 250 + 1);
                async move { attend(client, pod, ip).await }
            })
            .buffer_unordered(64)
            .for_each(|()| async {})
            .await;
    });
    [heart, pods]
}

async fn attend(client: Client, pod: Pod, ip: String) {
    let api: Api<Pod> =
        Api::namespaced(client, pod.metadata.namespace.as_deref().unwrap_or_default());
    let name = pod.metadata.name.clone().unwrap_or_default();
    if pod.metadata.deletion_timestamp.is_some() {
        api.delete(&name, &DeleteParams::default().grace_period(0)).await.ok();
        return;
    }
    if pod.status.as_ref().and_then(|status| status.pod_ip.as_ref()).is_some() {
        return;
    }
    let now = jiff::Timestamp::now();
    let status = json!({"status": {
        "phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}],
        "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": now}],
    }});
    api.patch_status(&name, &PatchParams::default(), &Patch::Strategic(status)).await.ok();
}

/// Asks until it is so.
async fn until<F, T>(what: &str, mut ask: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let start = Instant::now();
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn deployment(replicas: usize) -> Value {
    json!({
        "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c", "image": "v1"}], "terminationGracePeriodSeconds": 1},
            },
        },
    })
}

async fn complete(cluster: &Cluster, replicas: i32) -> Deployment {
    let api: Api<Deployment> = cluster.api();
    until("the deployment is complete", || async {
        let deployment = api.get("web").await.ok()?;
        let status = deployment.status.clone()?;
        let done = status.observed_generation == deployment.metadata.generation
            && status.updated_replicas.unwrap_or(0) == replicas
            && status.available_replicas.unwrap_or(0) == replicas
            && status.replicas.unwrap_or(0) == replicas;
        done.then_some(deployment)
    })
    .await
}

async fn count<T>(api: &Api<T>) -> usize
where
    T: Clone + DeserializeOwned + std::fmt::Debug,
{
    api.list(&ListParams::default()).await.map_or(usize::MAX, |list| list.items.len())
}

fn revision(deployment: &Deployment) -> &str {
    &deployment.metadata.annotations.as_ref().unwrap()["deployment.kubernetes.io/revision"]
}

async fn ready_addresses(cluster: &Cluster) -> (usize, usize) {
    let slices: Api<EndpointSlice> = cluster.api();
    let params = ListParams::default().labels("kubernetes.io/service-name=web");
    let slices = slices.list(&params).await.unwrap();
    let ready = |ready: Option<bool>| ready == Some(true);
    let sliced = slices
        .iter()
        .flat_map(|slice| slice.endpoints.iter().flatten())
        .filter(|endpoint| ready(endpoint.conditions.as_ref().and_then(|c| c.ready)))
        .count();
    let endpoints: Api<Endpoints> = cluster.api();
    let endpoints = endpoints.get("web").await.ok();
    let listed = endpoints
        .iter()
        .flat_map(|endpoints| endpoints.subsets.iter().flatten())
        .map(|subset| subset.addresses.as_ref().map_or(0, Vec::len))
        .sum();
    (sliced, listed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_comes_rolls_back_and_goes_with_all_it_owns() {
    let cluster = Cluster::start(&["n1"]).await;
    let tasks = kubelet(cluster.client.clone(), "n1", 1);
    cluster
        .create::<Service>(json!({
            "metadata": {"name": "web"},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
        }))
        .await;
    cluster.create::<Deployment>(deployment(3)).await;
    let first = complete(&cluster, 3).await;
    assert_eq!(revision(&first), "1");
    until("three addresses", || async {
        (ready_addresses(&cluster).await == (3, 3)).then_some(())
    })
    .await;

    let deployments: Api<Deployment> = cluster.api();
    let image = |image: &str| json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}});
    let params = PatchParams::default();
    deployments.patch("web", &params, &Patch::Strategic(image("v2"))).await.unwrap();
    assert_eq!(revision(&complete(&cluster, 3).await), "2");
    deployments.patch("web", &params, &Patch::Strategic(image("v1"))).await.unwrap();
    assert_eq!(revision(&complete(&cluster, 3).await), "3");
    let sets: Api<ReplicaSet> = cluster.api();
    assert_eq!(count(&sets).await, 2);

    let scale = json!({"spec": {"replicas": 1}});
    deployments.patch("web", &params, &Patch::Merge(scale)).await.unwrap();
    complete(&cluster, 1).await;
    let events: Api<Event> = cluster.api();
    until("the scaling is recorded", || async {
        let events = events.list(&ListParams::default()).await.ok()?;
        events
            .iter()
            .any(|event| event.message.iter().any(|m| m.ends_with("from 3 to 1")))
            .then_some(())
    })
    .await;

    let pods: Api<Pod> = cluster.api();
    deployments.delete("web", &DeleteParams::foreground()).await.unwrap();
    until("all is gone", || async {
        let left = count(&deployments).await + count(&sets).await + count(&pods).await;
        (left == 0).then_some(())
    })
    .await;
    until("no address", || async { (ready_addresses(&cluster).await == (0, 0)).then_some(()) })
        .await;
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
    cluster.plane.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orphans_stay_and_are_adopted_again() {
    let cluster = Cluster::start(&["n1"]).await;
    let tasks = kubelet(cluster.client.clone(), "n1", 1);
    cluster.create::<Deployment>(deployment(2)).await;
    complete(&cluster, 2).await;
    let deployments: Api<Deployment> = cluster.api();
    deployments.delete("web", &DeleteParams::orphan()).await.unwrap();
    until("the deployment is gone", || async {
        deployments.get_opt("web").await.ok()?.is_none().then_some(())
    })
    .await;
    let sets: Api<ReplicaSet> = cluster.api();
    let orphan = sets.list(&ListParams::default()).await.unwrap().items.remove(0);
    assert_eq!(orphan.metadata.owner_references.unwrap_or_default(), []);
    cluster.create::<Deployment>(deployment(2)).await;
    complete(&cluster, 2).await;
    assert_eq!(count(&sets).await, 1);
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
    cluster.plane.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_is_furnished_and_emptied() {
    let cluster = Cluster::start(&[]).await;
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    let shop = from(json!({"metadata": {"name": "shop"}}));
    namespaces.create(&PostParams::default(), &shop).await.unwrap();
    let accounts: Api<ServiceAccount> = Api::namespaced(cluster.client.clone(), "shop");
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), "shop");
    until("its account and CA", || async {
        let ca = maps.get_opt("kube-root-ca.crt").await.ok()??;
        assert!(ca.data?["ca.crt"].contains("BEGIN CERTIFICATE"));
        accounts.get_opt("default").await.ok()?
    })
    .await;
    let deployments: Api<Deployment> = Api::namespaced(cluster.client.clone(), "shop");
    deployments.create(&PostParams::default(), &from(deployment(2))).await.unwrap();
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), "shop");
    until("two pods", || async { (count(&pods).await == 2).then_some(()) }).await;
    namespaces.delete("shop", &DeleteParams::default()).await.unwrap();
    until("the namespace is gone", || async {
        namespaces.get_opt("shop").await.ok()?.is_none().then_some(())
    })
    .await;
    cluster.plane.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_of_a_lost_node_come_up_elsewhere() {
    let cluster = Cluster::start(&["n1", "n2"]).await;
    let lost = kubelet(cluster.client.clone(), "n1", 1);
    let kept = kubelet(cluster.client.clone(), "n2", 2);
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    until("both nodes have ranges", || async {
        let nodes = nodes.list(&ListParams::default()).await.ok()?;
        let ranges: Vec<_> =
            nodes.iter().filter_map(|node| node.spec.as_ref()?.pod_cidr.clone()).collect();
        (ranges.len() == 2 && ranges[0] != ranges[1]).then_some(())
    })
    .await;
    let mut object = deployment(4);
    let tolerations: Vec<Value> = ["not-ready", "unreachable"]
        .iter()
        .map(|key| {
            json!({"key": format!("node.kubernetes.io/{key}"), "operator": "Exists",
                   "effect": "NoExecute", "tolerationSeconds": 1})
        })
        .collect();
    object["spec"]["template"]["spec"]["tolerations"] = json!(tolerations);
    cluster.create::<Deployment>(object).await;
    complete(&cluster, 4).await;
    lost.iter().for_each(tokio::task::JoinHandle::abort);
    let pods: Api<Pod> = cluster.api();
    until("four ready pods on the other node", || async {
        let pods = pods.list(&ListParams::default().fields("spec.nodeName=n2")).await.ok()?;
        (pods.items.len() == 4).then_some(())
    })
    .await;
    complete(&cluster, 4).await;
    let node = nodes.get("n1").await.unwrap();
    let ready = node.status.unwrap().conditions.unwrap().remove(0);
    assert_eq!(
        (ready.status.as_str(), ready.reason.as_deref()),
        ("Unknown", Some("NodeStatusUnknown"))
    );
    // Once the node is taken away, what it left behind goes too.
    nodes.delete("n1", &DeleteParams::default()).await.unwrap();
    until("no pod on the lost node", || async { (count(&pods).await == 4).then_some(()) }).await;
    kept.iter().for_each(tokio::task::JoinHandle::abort);
    cluster.plane.stop().await;
}
