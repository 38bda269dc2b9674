//! Services, names and sockets between pods.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::support::{Fixture, Kept, agent, builder, eventually, get, get_ok, web};

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

/// Clients that ask without a pause until they are told to stop, and what they did not get.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    clients: Vec<tokio::task::JoinHandle<Vec<String>>>,
}

impl Load {
    /// Four clients that connect for each request, and four that keep their connections.
    fn start(url: &str) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let mut load = Self { stop, answered, clients: Vec::new() };
        for _ in 0..4 {
            load.connects(url, "slept");
            load.keeps(url, "slept");
        }
        load
    }

    fn connects(&mut self, url: &str, wanted: &'static str) {
        let (url, stop, answered) = (url.to_owned(), self.stop.clone(), self.answered.clone());
        self.clients.push(tokio::spawn(async move {
            let mut failures = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                match get(&url).await {
                    Ok((200, body)) if body == wanted => {
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                    other => failures.push(format!("new connection: {other:?}")),
                }
            }
            failures
        }));
    }

    fn keeps(&mut self, url: &str, wanted: &'static str) {
        let (url, stop, answered) = (url.to_owned(), self.stop.clone(), self.answered.clone());
        self.clients.push(tokio::spawn(async move {
            let mut failures = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let mut kept = match Kept::open(&url).await {
                    Ok(kept) => kept,
                    Err(error) => {
                        failures.push(format!("kept connection, opening: {error}"));
                        continue;
                    }
                };
                while !stop.load(Ordering::Relaxed) {
                    match kept.get().await {
                        Ok((200, body)) if body == wanted => {
                            answered.fetch_add(1, Ordering::Relaxed);
                        }
                        other => {
                            failures.push(format!("kept connection: {other:?}"));
                            break;
                        }
                    }
                }
            }
            failures
        }));
    }

    async fn stop(self) -> (usize, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let mut failures = Vec::new();
        for client in self.clients {
            failures.extend(client.await.expect("a client"));
        }
        (self.answered.load(Ordering::Relaxed), failures)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_deleted_under_load_lose_no_request() {
    let fixture = Fixture::start_with(builder().nodes(2)).await;
    let kubectl = &fixture.kubectl;
    kubectl.apply(&web("web", 4, 30100)).await;
    kubectl.apply(&web("caller", 1, 30101)).await;
    kubectl.ok("rollout status deploy/web --timeout=60s").await;
    let url = format!("http://{}:30100/sleep/20", fixture.address);
    let through_a_guest = format!("http://{}:30101/get/web/sleep/20", fixture.address);
    get_ok(&url).await;
    get_ok(&through_a_guest).await;
    let mut load = Load::start(&url);
    load.connects(&through_a_guest, "slept");
    load.connects(&through_a_guest, "slept");
    let pods = "get pods -l app=web --field-selector status.phase=Running -o name";
    for _ in 0..3 {
        for pod in kubectl.ok(pods).await.lines() {
            kubectl.ok(&format!("delete {pod} --timeout=60s")).await;
            kubectl.ok("rollout status deploy/web --timeout=60s").await;
        }
    }
    // Half of them at once, while the other half is ready.
    let half = kubectl.ok(pods).await.replace('\n', " ");
    kubectl.ok("scale deploy/web --replicas=8").await;
    kubectl.ok("rollout status deploy/web --timeout=60s").await;
    kubectl.ok(&format!("delete {half} --timeout=60s")).await;
    kubectl.ok("rollout status deploy/web --timeout=60s").await;
    let (answered, failures) = load.stop().await;
    assert!(failures.is_empty(), "{} of {answered} lost: {:?}", failures.len(), failures.first());
    assert!(answered > 200, "{answered}");
    fixture.stop().await;
}

/// The one replica there is goes as soon as its successor is ready: who routes may hear of both at once.
#[tokio::test(flavor = "multi_thread")]
async fn the_only_replica_is_replaced_without_a_lost_request() {
    let fixture = Fixture::start().await;
    let kubectl = &fixture.kubectl;
    kubectl.apply(&web("web", 1, 30100)).await;
    kubectl.ok("rollout status deploy/web --timeout=60s").await;
    let url = format!("http://{}:30100/sleep/5", fixture.address);
    get_ok(&url).await;
    let load = Load::start(&url);
    for version in ["two", "three", "four", "five"] {
        kubectl.ok(&format!("set env deploy/web VERSION={version}")).await;
        kubectl.ok("rollout status deploy/web --timeout=60s").await;
    }
    let (answered, failures) = load.stop().await;
    assert!(failures.is_empty(), "{} of {answered} lost: {:?}", failures.len(), failures.first());
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_without_ready_pods_refuses_connections() {
    let fixture = Fixture::start().await;
    let kubectl = &fixture.kubectl;
    kubectl.apply(&web("web", 1, 30100)).await;
    let door = (fixture.address, 30100);
    let url = format!("http://{}:30100/sleep/1", fixture.address);
    get_ok(&url).await;
    for _ in 0..2 {
        kubectl.ok("scale deploy/web --replicas=0").await;
        eventually("the door is shut", || async {
            let refused = tokio::net::TcpStream::connect(door).await.err()?;
            (refused.kind() == std::io::ErrorKind::ConnectionRefused).then_some(())
        })
        .await;
        // Nobody else gets the port meanwhile.
        let taken = std::net::TcpListener::bind(door).expect_err("the port is held");
        assert_eq!(taken.kind(), std::io::ErrorKind::AddrInUse);
        kubectl.ok("scale deploy/web --replicas=1").await;
        get_ok(&url).await;
    }
    kubectl.ok("scale deploy/web --replicas=0").await;
    kubectl
        .until("get pods -l app=web --no-headers --ignore-not-found", |pods| pods.is_empty())
        .await;
    kubectl.apply(&agent("client", "Never", &["ask=web:80"])).await;
    kubectl.until("get pod client -o jsonpath={.status.phase}", |phase| phase == "Succeeded").await;
    let said = kubectl.ok("logs client").await;
    assert!(said.starts_with("cannot ask web:80: Connection refused"), "{said}");
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
    let load = Load::start(&url);
    for version in ["two", "three"] {
        kubectl.ok(&format!("set env deploy/web VERSION={version}")).await;
        kubectl.ok("rollout status deploy/web --timeout=60s").await;
    }
    let (answered, failures) = load.stop().await;
    assert!(failures.is_empty(), "{} of {answered} lost: {:?}", failures.len(), failures.first());
    assert!(answered > 20);
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_keeps_its_endpoint_while_its_service_changes() {
    let fixture = Fixture::start().await;
    let kubectl = &fixture.kubectl;
    let sticky = web("web", 3, 30100)
        .replace("type: NodePort", "type: NodePort\n  sessionAffinity: ClientIP");
    kubectl.apply(&sticky).await;
    kubectl.ok("rollout status deploy/web --timeout=60s").await;
    let url = format!("http://{}:30100/", fixture.address);
    let first = get_ok(&url).await;
    for n in 0..4 {
        kubectl.ok(&format!("label service web n={n} --overwrite")).await;
        assert_eq!(get_ok(&url).await, first);
        assert_eq!(get_ok(&url).await, first);
    }
    let other = r#"patch service web -p '{"spec":{"sessionAffinity":"None"}}'"#;
    kubectl.ok(other).await;
    eventually("another endpoint answers", || async {
        (get_ok(&url).await != first).then_some(())
    })
    .await;
    fixture.stop().await;
}
