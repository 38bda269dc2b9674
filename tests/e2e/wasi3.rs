//! Components of WASI 0.3 as pods.

use hyper::Method;

use super::support::{Fixture, agent, eventually, get, get_ok, guest, send, web};

async fn start() -> Fixture {
    let fixture = Fixture::start().await;
    for (reference, name) in [("async-web:1", "async_web"), ("async-job:1", "async_job")] {
        let wasm = guest(name).await;
        fixture.cluster.import_image(reference, wasm).await.expect("it is a component");
    }
    fixture
}

/// [`web`] of a component of WASI 0.3.
fn async_web(name: &str, replicas: u32, node_port: u16) -> String {
    web(name, replicas, node_port).replace("image: web:1", "image: async-web:1")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_of_a_component_of_wasi_0_3_answers_behind_its_service() {
    let fixture = start().await;
    let kubectl = &fixture.kubectl;
    kubectl.apply(&async_web("later", 2, 30100)).await;
    kubectl.apply(&web("earlier", 1, 30101)).await;
    for name in ["later", "earlier"] {
        kubectl.ok(&format!("rollout status deploy/{name} --timeout=60s")).await;
    }
    let url = |path: &str| format!("http://{}:30100/{path}", fixture.address);
    let body = get_ok(&url("")).await;
    assert!(body.starts_with("later-") && body.ends_with(", call 1"), "{body}");
    let long = "x".repeat(300_000);
    let (status, body) = send(Method::POST, &url("echo/"), &long).await.expect("an answer");
    assert!(status == 200 && body == long, "{status}, {} bytes", body.len());
    // By name, each version from the other.
    assert!(get_ok(&url("get/earlier/")).await.starts_with("earlier-"));
    let called = get_ok(&format!("http://{}:30101/get/later.default.svc/", fixture.address)).await;
    assert!(called.starts_with("later-"), "{called}");
    assert!(get_ok(&url("get/nothing.default.svc/")).await.starts_with("error: "));
    kubectl.until("logs -l app=later", |log| log.contains("answered")).await;
    // A trap is that request's alone.
    assert_eq!(get(&url("trap/")).await.map(|(status, _)| status), Ok(500));
    assert!(get_ok(&url("")).await.ends_with(", call 1"));
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_of_wasi_0_3_serve_again_where_an_annotation_says_so() {
    let fixture = start().await;
    let labels = "metadata: {labels: {app: warm}}\n    spec";
    let annotated = "metadata: {labels: {app: warm}, annotations: {copepod.dev/reuse-requests: '1000'}}\n    spec";
    let deployment = async_web("warm", 1, 30100);
    assert!(deployment.contains(labels));
    fixture.kubectl.apply(&deployment.replace(labels, annotated)).await;
    fixture.kubectl.ok("rollout status deploy/warm --timeout=60s").await;
    let url = format!("http://{}:30100/", fixture.address);
    eventually("an instance's third answer", || async {
        get_ok(&url).await.ends_with(", call 3").then_some(())
    })
    .await;
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_of_wasi_0_3_logs_and_ends_with_its_code() {
    let fixture = start().await;
    let kubectl = &fixture.kubectl;
    kubectl.ok("create configmap files --from-literal=a.txt=alpha").await;
    for (pod, steps, expected) in [
        ("good", &["print=out", "warn=err", "sleep=20"][..], "Succeeded:Completed:0"),
        ("own", &["exit=7"], "Failed:Error:7"),
        ("fails", &["print=before", "fail"], "Failed:Error:1"),
        ("breaks", &["trap"], "Failed:Error:134"),
    ] {
        let job = agent(pod, "Never", steps).replace("agent:1", "async-job:1");
        kubectl.apply(&job).await;
        let state = format!(
            "get pod {pod} -o jsonpath={{.status.phase}}:\
             {{.status.containerStatuses[0].state.terminated.reason}}:\
             {{.status.containerStatuses[0].state.terminated.exitCode}}"
        );
        kubectl.until(&state, |said| said == expected).await;
    }
    assert_eq!(kubectl.ok("logs good").await, "out\nerr\n");
    assert_eq!(kubectl.ok("logs fails").await, "before\n");
    assert!(kubectl.ok("logs breaks").await.contains("wasm trap"));
    let configured = "
apiVersion: v1
kind: Pod
metadata: {name: configured}
spec:
  restartPolicy: Never
  volumes: [{name: files, configMap: {name: files}}]
  containers:
  - name: job
    image: async-job:1
    args: [env=SIZE, cat=/files/a.txt, cat=/etc/passwd, resolve=kubernetes.default.svc, resolve=nowhere.example.invalid]
    env: [{name: SIZE, value: large}]
    volumeMounts: [{name: files, mountPath: /files}]
";
    kubectl.apply(configured).await;
    let log = kubectl.until("logs configured", |log| log.contains("nowhere")).await;
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(lines[..2], ["SIZE=large", "alpha"], "{log}");
    assert!(lines[2].starts_with("error"), "{log}");
    assert_eq!(lines[3], "kubernetes.default.svc: 1 addresses", "{log}");
    assert!(lines[4].contains("NameUnresolvable"), "{log}");
    fixture.stop().await;
}
