//! Services, names and sockets between pods.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::support::{Fixture, agent, builder, get, get_ok, web};

#[tokio::test(flavor = "multi_thread")]
async fn pods_find_each_other_by_service_name() {
    let fixture = Fixture::start().await;
    let kubectl = &fixture.kubectl;
    kubectl.apply(&web("web", 2, 30100)).await;
    kubectl.apply(&web("caller", 1, 30101)).await;
    kubectl.ok("rollout status deploy/web --timeout=60s").await;
    kubectl.ok("rollout status deploy/caller --timeout=60s").await;
    for name in ["web", "web.default", "web.default.svc", "web.default.svc.cluster.local"] {
        let body = get_ok(&format!("http://{}:30101/get/{name}/", fixture.address)).await;
        assert!(body.starts_with("web-"), "{name}: {body}");
    }
    let body = get_ok(&format!("http://{}:30101/get/nothing.default.svc/", fixture.address)).await;
    assert!(body.starts_with("error"), "{body}");
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_std_net_listener_is_reached_through_its_service() {
    let fixture = Fixture::start().await;
    let kubectl = &fixture.kubectl;
    kubectl.apply(&agent("server", "Always", &["serve=80"])).await;
    kubectl.ok("expose pod server --port=8000 --target-port=80").await;
    kubectl.ok("wait pod/server --for=condition=Ready --timeout=60s").await;
    kubectl.until("logs server", |said| said.contains("listening")).await;
    kubectl.until("get endpointslices -l kubernetes.io/service-name=server -o jsonpath={.items[*].endpoints[*].conditions.ready}", |ready| ready == "true").await;
    kubectl
        .apply(&agent(
            "client",
            "Never",
            &[
                "ask=server:8000",
                "ask=server.default.svc:8000",
                "ask=server:81",
                "ask=127.0.0.1:80",
            ],
        ))
        .await;
    kubectl.until("get pod client -o jsonpath={.status.phase}", |phase| phase == "Succeeded").await;
    let said = kubectl.ok("logs client").await;
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[..2], ["server: hello", "server: hello"], "{said}");
    assert!(lines[2].starts_with("cannot ask") && lines[3].starts_with("cannot ask"), "{said}");
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_ready_pods_get_traffic() {
    let fixture = Fixture::start().await;
    let kubectl = &fixture.kubectl;
    let unready = web("web", 1, 30100).replace(
        "ports: [{name: http, containerPort: 8080}]",
        "ports: [{name: http, containerPort: 8080}]\n        readinessProbe: {httpGet: {path: /status/503, port: http}, periodSeconds: 1}",
    );
    kubectl.apply(&unready).await;
    kubectl
        .until("events", |said| {
            said.contains("Readiness probe failed: HTTP probe failed with statuscode: 503")
        })
        .await;
    let refused = get(&format!("http://{}:30100/", fixture.address)).await;
    assert!(refused.is_err(), "a Service without ready pods rejects connections: {refused:?}");
    assert!(kubectl.ok("get pods -l app=web").await.contains("0/1"));
    kubectl.apply(&web("web", 1, 30100)).await;
    assert!(get_ok(&format!("http://{}:30100/", fixture.address)).await.starts_with("web-"));
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_under_load_drops_no_request() {
    let fixture = Fixture::start_with(builder().nodes(2)).await;
    let kubectl = &fixture.kubectl;
    kubectl.apply(&web("web", 4, 30100)).await;
    kubectl.ok("rollout status deploy/web --timeout=60s").await;
    let url = format!("http://{}:30100/sleep/20", fixture.address);
    get_ok(&url).await;
    let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (url, stop, answered) = (url.clone(), stop.clone(), answered.clone());
            tokio::spawn(async move {
                let mut failures = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    match get(&url).await {
                        Ok((200, _)) => drop(answered.fetch_add(1, Ordering::Relaxed)),
                        other => failures.push(other),
                    }
                }
                failures
            })
        })
        .collect();
    for version in ["two", "three"] {
        kubectl.ok(&format!("set env deploy/web VERSION={version}")).await;
        kubectl.ok("rollout status deploy/web --timeout=60s").await;
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        let failures = client.await.expect("a client");
        assert!(failures.is_empty(), "{} requests failed: {:?}", failures.len(), failures.first());
    }
    assert!(answered.load(Ordering::Relaxed) > 20);
    fixture.stop().await;
}
