//! Things break, and the cluster heals.

use std::time::Duration;

use super::support::{Fixture, builder, get_ok, web};

#[tokio::test(flavor = "multi_thread")]
async fn pods_of_a_lost_node_are_replaced_elsewhere() {
    let fixture = Fixture::start_with(
        builder()
            .nodes(3)
            .lease_renewal(Duration::from_millis(300))
            .node_monitor_grace(Duration::from_secs(2))
            .default_toleration(Duration::from_secs(1)),
    )
    .await;
    let kubectl = &fixture.kubectl;
    kubectl.apply(&web("web", 3, 30100)).await;
    kubectl.ok("rollout status deploy/web --timeout=60s").await;
    let nodes = kubectl.ok("get pods -l app=web -o jsonpath={.items[*].spec.nodeName}").await;
    let mut nodes: Vec<&str> = nodes.split(' ').collect();
    nodes.sort_unstable();
    assert_eq!(nodes, ["node-0", "node-1", "node-2"], "replicas spread");

    fixture.cluster.kill_node("node-1").expect("node-1 is here");
    let url = format!("http://{}:30100/", fixture.address);
    for _ in 0..20 {
        assert!(get_ok(&url).await.starts_with("web-"));
    }
    kubectl.until("get node node-1", |said| said.contains("NotReady")).await;
    let taints = kubectl
        .until("get node node-1 -o jsonpath={.spec.taints[*].key}", |taints| {
            taints.contains("node.kubernetes.io/unreachable")
        })
        .await;
    assert!(taints.contains("unreachable"), "{taints}");
    kubectl
        .until("get pods -l app=web --field-selector spec.nodeName!=node-1 --no-headers", |pods| {
            pods.matches("1/1").count() == 3
        })
        .await;
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trapping_request_leaves_the_others_alone() {
    let fixture = Fixture::start().await;
    fixture.kubectl.apply(&web("web", 1, 30100)).await;
    let base = format!("http://{}:30100", fixture.address);
    get_ok(&format!("{base}/")).await;
    let (status, _) = super::support::get(&format!("{base}/trap")).await.expect("an answer");
    assert_eq!(status, 500);
    assert!(get_ok(&format!("{base}/")).await.starts_with("web-"));
    fixture
        .kubectl
        .until("logs deploy/web", |said| said.contains("trap") || said.contains("unreachable"))
        .await;
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spinning_guest_does_not_stop_its_neighbours() {
    let fixture = Fixture::start().await;
    fixture.kubectl.apply(&web("web", 1, 30100)).await;
    fixture.kubectl.apply(&super::support::agent("spins", "Never", &["spin"])).await;
    fixture.kubectl.ok("wait pod/spins --for=condition=Ready --timeout=60s").await;
    get_ok(&format!("http://{}:30100/", fixture.address)).await;
    fixture.kubectl.ok("delete pod spins --grace-period=1 --timeout=30s").await;
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_deleted_comes_back() {
    let fixture = Fixture::start().await;
    let kubectl = &fixture.kubectl;
    kubectl.apply(&web("web", 2, 30100)).await;
    kubectl.ok("rollout status deploy/web --timeout=60s").await;
    kubectl.ok("delete pods -l app=web").await;
    kubectl
        .until("get pods -l app=web --no-headers", |pods| pods.matches("1/1").count() == 2)
        .await;
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_systems_own_service_comes_back() {
    let fixture = Fixture::start().await;
    let kubectl = &fixture.kubectl;
    kubectl.ok("delete service kubernetes").await;
    kubectl
        .until("get service kubernetes -o jsonpath={.spec.clusterIP}", |ip| ip == "10.96.0.1")
        .await;
    fixture.stop().await;
}
