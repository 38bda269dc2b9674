//! Ways to a running pod through the API: proxies, port-forwarding, attaching.

use std::process::Stdio;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::AttachParams;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::clients::kube_rs;
use super::support::{Fixture, Kubectl, PATIENCE, agent, eventually, get, web};

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_proxied_to_pods_and_services() {
    let fixture = Fixture::start().await;
    let kubectl = &fixture.kubectl;
    kubectl.apply(&web("web", 2, 30100)).await;
    kubectl.ok("rollout status deploy/web --timeout=60s").await;
    let raw = |path: &str| format!("get --raw /api/v1/namespaces/default/{path}");
    kubectl.until(&raw("services/web:http/proxy/env/VERSION"), |said| said == "one").await;
    for path in [
        "services/web:80/proxy/env/VERSION",
        "services/http:web:http/proxy/env/VERSION?a=b",
        // The pod's redirect leads through the proxy.
        "services/web:http/proxy/redirect/env/VERSION",
    ] {
        assert_eq!(kubectl.ok(&raw(path)).await, "one", "{path}");
    }
    let pod = kubectl.ok("get pods -l app=web -o jsonpath={.items[0].metadata.name}").await;
    // No slash behind `proxy`: kubectl is led to the root.
    for path in [format!("pods/{pod}/proxy"), format!("pods/{pod}:8080/proxy/")] {
        assert_eq!(kubectl.ok(&raw(&path)).await, format!("{pod} one"), "{path}");
    }
    let echo = format!("create --raw /api/v1/namespaces/default/pods/{pod}/proxy/echo -f -");
    let (done, said, why) = kubectl.run(&echo, "{\"a\": 1}").await;
    assert!(done && said == "{\"a\": 1}", "{said} {why}");

    let cases = [
        ("services/web/proxy/", "no endpoints available for service \"web\""),
        ("services/web:81/proxy/", "no service port 81 found for service \"web\""),
        ("services/none:http/proxy/", "services \"none\" not found"),
        ("services/ftp:web:http/proxy/", "invalid service request \"ftp:web:http\""),
        ("pods/none/proxy/", "pods \"none\" not found"),
    ];
    for (path, why) in cases {
        let said = kubectl.fails(&raw(path)).await;
        assert!(said.contains(why), "{path}: {said}");
    }
    let said = kubectl.fails(&raw(&format!("pods/{pod}:81/proxy/"))).await;
    assert!(said.contains("error trying to reach service: dial tcp 10."), "{said}");
    assert!(said.contains(":81: connect: connection refused"), "{said}");
    fixture.stop().await;
}

/// A pod that answers what it is told on its port 80.
async fn server(kubectl: &Kubectl) {
    kubectl.apply(&agent("server", "Always", &["serve=80"])).await;
    kubectl.ok("wait pod/server --for=condition=Ready --timeout=60s").await;
    kubectl.until("logs server", |said| said.contains("listening")).await;
}

async fn greet(port: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(format!("127.0.0.1:{port}")).await?;
    stream.write_all(b"hello").await?;
    let mut said = String::new();
    stream.read_to_string(&mut said).await?;
    Ok(said)
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_forwards_ports_over_web_sockets_and_spdy() {
    let fixture = Fixture::start().await;
    let kubectl = &fixture.kubectl;
    server(kubectl).await;
    for web_sockets in ["true", "false"] {
        let mut command = kubectl.command("port-forward pod/server :80 :81");
        command.env("KUBECTL_PORT_FORWARD_WEBSOCKETS", web_sockets);
        let mut child = command.spawn().expect("kubectl runs");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut errors = BufReader::new(child.stderr.take().expect("piped")).lines();
        let mut ports = Vec::new();
        while ports.len() < 2 {
            let line = timeout(PATIENCE, lines.next_line()).await.expect("in time");
            let Some(line) = line.expect("text") else {
                panic!("{web_sockets}: {:?}", errors.next_line().await);
            };
            // Forwarding from 127.0.0.1:40123 -> 80
            let port = line.strip_prefix("Forwarding from 127.0.0.1:");
            ports.extend(port.and_then(|rest| rest.split_once(" -> ")).map(|(a, _)| a.to_owned()));
        }
        for _ in 0..3 {
            let said = timeout(PATIENCE, greet(&ports[0])).await.expect("in time").expect("said");
            assert_eq!(said, "server: hello", "{web_sockets}");
        }
        greet(&ports[1]).await.ok();
        let refused = timeout(PATIENCE, async {
            while let Ok(Some(line)) = errors.next_line().await {
                if line.contains("connection refused") {
                    return line;
                }
            }
            panic!("kubectl says nothing of a port that nobody listens on");
        });
        let refused = refused.await.expect("in time");
        assert!(refused.contains("error forwarding port 81 to pod server_default"), "{refused}");
        child.kill().await.expect("kubectl ends");
    }
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kube_rs_forwards_ports_and_attaches() {
    let fixture = Fixture::start().await;
    let kubectl = &fixture.kubectl;
    server(kubectl).await;
    let pods: Api<Pod> = Api::namespaced(kube_rs(&fixture.cluster).await, "default");
    let mut forwarder = pods.portforward("server", &[80]).await.expect("forwarded");
    let mut stream = forwarder.take_stream(80).expect("a stream");
    stream.write_all(b"hello").await.expect("written");
    let mut said = vec![0; 13];
    timeout(PATIENCE, stream.read_exact(&mut said)).await.expect("in time").expect("said");
    assert_eq!(said, b"server: hello");
    drop(stream);
    forwarder.abort();

    kubectl.apply(&web("web", 1, 30100)).await;
    kubectl.ok("rollout status deploy/web --timeout=60s").await;
    let pod = kubectl.ok("get pods -l app=web -o jsonpath={.items[0].metadata.name}").await;
    let asked = AttachParams::default().stderr(false);
    let mut attached = pods.attach(&pod, &asked).await.expect("attached");
    let mut output = BufReader::new(attached.stdout().expect("stdout")).lines();
    let url = format!("http://{}:30100/log/heard", fixture.address);
    let heard = async {
        while let Some(line) = output.next_line().await.expect("text") {
            if line == "heard" {
                return;
            }
        }
        panic!("the attachment ended");
    };
    let speaking = async {
        loop {
            get(&url).await.ok();
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, async {
        tokio::select! {
            () = heard => {}
            () = speaking => {}
        }
    })
    .await
    .expect("in time");
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_attaches_and_is_told_what_cannot_be_done() {
    let fixture = Fixture::start().await;
    let kubectl = &fixture.kubectl;
    kubectl.apply(&web("web", 1, 30100)).await;
    kubectl.ok("rollout status deploy/web --timeout=60s").await;
    let pod = kubectl.ok("get pods -l app=web -o jsonpath={.items[0].metadata.name}").await;
    let url = format!("http://{}:30100/log/heard", fixture.address);
    for (what, remote) in [("WebSocket", "true"), ("SPDY", "false")] {
        let mut command = kubectl.command(&format!("attach {pod}"));
        command.env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", remote).stdin(Stdio::null());
        let mut child = command.spawn().expect("kubectl runs");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let lines = tokio::sync::Mutex::new(lines);
        eventually(&format!("a line over {what}"), || async {
            get(&url).await.ok();
            let mut lines = lines.lock().await;
            let line = timeout(std::time::Duration::from_millis(200), lines.next_line()).await;
            matches!(line, Ok(Ok(Some(line))) if line == "heard").then_some(())
        })
        .await;
        child.kill().await.expect("kubectl ends");
    }
    let said = kubectl.fails(&format!("exec {pod} -- ls")).await;
    assert!(said.contains("a Wasm component is one program, with no shell"), "{said}");
    let said = kubectl.fails(&format!("exec {pod} -c other -- ls")).await;
    assert!(said.contains("container other is not valid for pod"), "{said}");
    let raw = format!("get --raw /api/v1/namespaces/default/pods/{pod}/exec?command=ls&stdout=1");
    let said = kubectl.fails(&raw).await;
    assert!(said.contains("Upgrade request required"), "{said}");
    fixture.stop().await;
}
