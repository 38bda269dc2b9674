//! The stock kubectl, verb by verb.

use super::support::{Fixture, PATIENCE, agent, get_ok, web};

/// Waits until a Deployment is rolled out, with kubectl's own word for it.
async fn rolled_out(fixture: &Fixture, name: &str) {
    let said = fixture.kubectl.ok(&format!("rollout status deployment/{name} --timeout=60s")).await;
    assert!(said.contains("successfully rolled out"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn apply_creates_configures_and_leaves_alone() {
    let fixture = Fixture::start().await;
    let said = fixture.kubectl.apply(&web("web", 1, 30100)).await;
    assert_eq!(said, "deployment.apps/web created\nservice/web created\n");
    let said = fixture.kubectl.apply(&web("web", 1, 30100)).await;
    assert_eq!(said, "deployment.apps/web unchanged\nservice/web unchanged\n");
    let said = fixture.kubectl.apply(&web("web", 2, 30100)).await;
    assert_eq!(said, "deployment.apps/web configured\nservice/web unchanged\n");
    rolled_out(&fixture, "web").await;
    let body = get_ok(&format!("http://{}:30100/", fixture.address)).await;
    assert!(body.starts_with("web-") && body.ends_with(" one"), "{body}");
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn diff_shows_what_apply_would_change() {
    let fixture = Fixture::start().await;
    fixture.kubectl.apply(&web("web", 1, 30100)).await;
    let (same, _, _) = fixture.kubectl.run("diff -f -", &web("web", 1, 30100)).await;
    assert!(same, "diff finds changes where there are none");
    let (same, stdout, stderr) = fixture.kubectl.run("diff -f -", &web("web", 3, 30100)).await;
    assert!(!same && stdout.contains("+  replicas: 3"), "{stdout}{stderr}");
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn create_run_and_expose_need_no_manifest() {
    let fixture = Fixture::start().await;
    let kubectl = &fixture.kubectl;
    kubectl.ok("create namespace team").await;
    kubectl.ok("create deployment shop --image=web:1 --port=8080 -n team --replicas=2").await;
    kubectl.ok("rollout status deployment/shop -n team --timeout=60s").await;
    kubectl.ok("expose deployment shop -n team --type=NodePort --port=80 --target-port=8080").await;
    let port = kubectl.ok("get service shop -n team -o jsonpath={.spec.ports[0].nodePort}").await;
    let body = get_ok(&format!("http://{}:{port}/", fixture.address)).await;
    assert!(body.starts_with("shop-"), "{body}");
    kubectl.ok("create configmap settings -n team --from-literal=a=1").await;
    kubectl.ok("create secret generic keys -n team --from-literal=k=v").await;
    kubectl.ok("create serviceaccount robot -n team").await;
    let data = kubectl.ok("get secret keys -n team -o jsonpath={.data.k}").await;
    assert_eq!(data, "dg==");
    kubectl.ok("run once --image=agent:1 --restart=Never -- print=hi").await;
    kubectl.until("get pod once -o jsonpath={.status.phase}", |phase| phase == "Succeeded").await;
    assert_eq!(kubectl.ok("logs once").await, "hi\n");
    assert_eq!(kubectl.ok("auth can-i create pods").await, "yes\n");
    assert!(kubectl.ok("auth whoami").await.contains("kubernetes-admin"));
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn get_prints_every_form() {
    let fixture = Fixture::start().await;
    let kubectl = &fixture.kubectl;
    kubectl.apply(&web("web", 2, 30100)).await;
    rolled_out(&fixture, "web").await;
    for (arguments, wanted) in [
        ("get pods", "READY   STATUS    RESTARTS   AGE"),
        ("get pods -o wide", "NOMINATED NODE   READINESS GATES"),
        ("get deploy,rs,svc", "service/kubernetes"),
        ("get all", "replicaset.apps/web-"),
        ("get deploy web -o yaml", "kind: Deployment"),
        ("get deploy web -o json", "\"kind\": \"Deployment\""),
        ("get deploy -o name", "deployment.apps/web"),
        ("get deploy web -o jsonpath={.spec.replicas}", "2"),
        ("get deploy web -o go-template={{.spec.replicas}}", "2"),
        ("get deploy -o custom-columns=N:.metadata.name,R:.spec.replicas", "web   2"),
        ("get pods -A", "NAMESPACE"),
        ("get pods -l app=web --no-headers", "1/1"),
        ("get pods --field-selector status.phase=Running", "web-"),
        ("get pods --show-labels", "pod-template-hash="),
        ("get pods --sort-by=.metadata.name", "web-"),
        ("get nodes", "Ready"),
        ("get nodes -o wide", "wasmtime://"),
        ("get ns", "kube-system"),
        ("get endpointslices", "web-"),
        ("get cm -n kube-system", "kube-root-ca.crt"),
        ("get sa", "default"),
        ("get leases -n kube-node-lease", "node-0"),
        ("get svc web", "80:30100/TCP"),
    ] {
        let said = kubectl.ok(arguments).await;
        assert!(said.contains(wanted), "kubectl {arguments}\n{said}");
    }
    let none = kubectl.run("get pods -l app=nothing", "").await;
    assert!(none.2.contains("No resources found in default namespace."), "{none:?}");
    let missing = kubectl.fails("get pod nothing").await;
    assert_eq!(missing, "Error from server (NotFound): pods \"nothing\" not found\n");
    let paths = kubectl.ok("get --raw /api/v1/namespaces/default/services/web").await;
    assert!(paths.contains("\"nodePort\":30100"), "{paths}");
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn get_watch_follows_changes() {
    use tokio::io::{AsyncBufReadExt, BufReader};
    let fixture = Fixture::start().await;
    let mut child = fixture.kubectl.command("get configmaps -w -o name").spawn().expect("kubectl");
    let mut lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
    let first = lines.next_line().await.expect("a line").expect("a line");
    assert_eq!(first, "configmap/kube-root-ca.crt");
    fixture.kubectl.ok("create configmap fresh --from-literal=a=1").await;
    let next = tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("a line in time");
    assert_eq!(next.expect("a line").expect("a line"), "configmap/fresh");
    child.kill().await.ok();
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn describe_tells_events_and_states() {
    let fixture = Fixture::start().await;
    let kubectl = &fixture.kubectl;
    kubectl.apply(&web("web", 1, 30100)).await;
    rolled_out(&fixture, "web").await;
    let pods = kubectl.until("describe pods -l app=web", |said| said.contains("Started")).await;
    for wanted in ["Node:             node-0/", "Scheduled", "Pulled", "Created", "Started"] {
        assert!(pods.contains(wanted), "{wanted} is missing:\n{pods}");
    }
    let deployment = kubectl.ok("describe deployment web").await;
    assert!(deployment.contains("Scaled up replica set"), "{deployment}");
    let service = kubectl.ok("describe service web").await;
    assert!(service.contains("Endpoints:") && service.contains(":8080"), "{service}");
    let node = kubectl.ok("describe node node-0").await;
    assert!(node.contains("KubeletReady") && node.contains("Allocatable:"), "{node}");
    assert!(kubectl.ok("describe namespace default").await.contains("Active"));
    let events = kubectl.ok("events --for deployment/web").await;
    assert!(events.contains("ScalingReplicaSet"), "{events}");
    assert!(kubectl.ok("get events").await.contains("SuccessfulCreate"));
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_follow_and_remember() {
    use tokio::io::{AsyncBufReadExt, BufReader};
    let fixture = Fixture::start().await;
    let kubectl = &fixture.kubectl;
    kubectl
        .apply(&agent(
            "talker",
            "Never",
            &["print=one", "print=two", "sleep=500", "print=three", "forever"],
        ))
        .await;
    kubectl.until("logs talker", |said| said.contains("two")).await;
    let mut child = kubectl.command("logs -f talker").spawn().expect("kubectl");
    let mut lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
    for wanted in ["one", "two", "three"] {
        let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("in time");
        assert_eq!(line.expect("a line").expect("a line"), wanted);
    }
    child.kill().await.ok();
    assert_eq!(kubectl.ok("logs talker --tail=1").await, "three\n");
    assert_eq!(kubectl.ok("logs talker --since=1h").await, "one\ntwo\nthree\n");
    let stamped = kubectl.ok("logs talker --timestamps --tail=1").await;
    assert!(stamped.starts_with("20") && stamped.ends_with("Z three\n"), "{stamped}");
    kubectl.apply(&agent("again", "OnFailure", &["print=first", "exit=1"])).await;
    kubectl
        .until("get pod again -o jsonpath={.status.containerStatuses[0].restartCount}", |count| {
            count.parse::<u32>().is_ok_and(|count| count > 0)
        })
        .await;
    assert_eq!(kubectl.ok("logs again --previous").await, "first\n");
    let refused =
        kubectl.fails("get --raw /api/v1/namespaces/default/pods/talker/log?stream=Stderr").await;
    assert!(refused.contains("not supported yet"), "{refused}");
    let missing = kubectl.fails("logs talker -c nothing").await;
    assert!(missing.contains("container nothing is not valid for pod talker"), "{missing}");
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn edit_opens_an_editor_and_applies() {
    let fixture = Fixture::start().await;
    let kubectl = &fixture.kubectl;
    kubectl.apply(&web("web", 1, 30100)).await;
    let mut command = kubectl.command("edit deployment web");
    command.env("KUBE_EDITOR", "sed -i s/replicas:.1/replicas:\\ 3/");
    let output = command.output().await.expect("kubectl");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let replicas = kubectl.ok("get deploy web -o jsonpath={.spec.replicas}").await;
    assert_eq!(replicas, "3");
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn patch_knows_three_types() {
    let fixture = Fixture::start().await;
    let kubectl = &fixture.kubectl;
    kubectl.apply(&web("web", 1, 30100)).await;
    kubectl.ok(r#"patch deploy web -p '{"spec":{"template":{"spec":{"containers":[{"name":"web","env":[{"name":"EXTRA","value":"x"}]}]}}}}'"#).await;
    let env = kubectl
        .ok("get deploy web -o jsonpath={.spec.template.spec.containers[0].env[*].name}")
        .await;
    assert_eq!(env, "EXTRA VERSION", "a strategic patch merges lists by name");
    kubectl.ok(r#"patch deploy web --type=merge -p '{"spec":{"replicas":2}}'"#).await;
    kubectl.ok(r#"patch deploy web --type=json -p '[{"op":"replace","path":"/spec/replicas","value":3}]'"#).await;
    assert_eq!(kubectl.ok("get deploy web -o jsonpath={.spec.replicas}").await, "3");
    let refused = kubectl
        .fails(r#"patch deploy web --type=merge -p '{"spec":{"selector":{"matchLabels":{"app":"x"}}}}'"#)
        .await;
    assert!(refused.contains("field is immutable"), "{refused}");
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn label_annotate_scale_and_set_image_change_a_deployment() {
    let fixture = Fixture::start().await;
    let kubectl = &fixture.kubectl;
    kubectl.apply(&web("web", 1, 30100)).await;
    rolled_out(&fixture, "web").await;
    kubectl.ok("label deploy web tier=front").await;
    assert!(kubectl.ok("get deploy -l tier=front -o name").await.contains("web"));
    kubectl.ok("label deploy web tier-").await;
    kubectl.ok("annotate deploy web note=hello").await;
    let note = kubectl.ok("get deploy web -o jsonpath={.metadata.annotations.note}").await;
    assert_eq!(note, "hello");
    kubectl.ok("scale deploy web --replicas=3").await;
    rolled_out(&fixture, "web").await;
    assert_eq!(kubectl.ok("get pods -l app=web -o name").await.lines().count(), 3);
    let refused = kubectl.fails("scale deploy web --replicas=1 --current-replicas=7").await;
    assert!(refused.contains("Expected replicas to be 7, was 3"), "{refused}");
    kubectl.ok("set image deploy/web web=web:2").await;
    rolled_out(&fixture, "web").await;
    let images = kubectl
        .until("get pods -l app=web -o jsonpath={.items[*].spec.containers[0].image}", |images| {
            !images.contains("web:1")
        })
        .await;
    assert_eq!(images, "web:2 web:2 web:2");
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rollouts_have_a_history_and_can_be_undone() {
    let fixture = Fixture::start().await;
    let kubectl = &fixture.kubectl;
    kubectl.apply(&web("web", 2, 30100)).await;
    rolled_out(&fixture, "web").await;
    kubectl.ok("set env deploy/web VERSION=two").await;
    rolled_out(&fixture, "web").await;
    let history = kubectl.ok("rollout history deploy/web").await;
    assert!(history.contains("\n1  ") && history.contains("\n2  "), "{history}");
    let second = kubectl.ok("rollout history deploy/web --revision=2").await;
    assert!(second.contains("two"), "{second}");
    let url = format!("http://{}:30100/", fixture.address);
    assert!(get_ok(&url).await.ends_with(" two"));
    kubectl.ok("rollout undo deploy/web").await;
    rolled_out(&fixture, "web").await;
    assert!(get_ok(&url).await.ends_with(" one"));
    let history = kubectl.ok("rollout history deploy/web").await;
    assert!(history.contains("\n3  ") && !history.contains("\n1  "), "{history}");

    kubectl.ok("rollout pause deploy/web").await;
    kubectl.ok("set env deploy/web VERSION=three").await;
    let refused = kubectl.fails("rollout undo deploy/web").await;
    assert!(refused.contains("paused"), "{refused}");
    assert!(get_ok(&url).await.ends_with(" one"));
    kubectl.ok("rollout resume deploy/web").await;
    rolled_out(&fixture, "web").await;
    assert!(get_ok(&url).await.ends_with(" three"));

    let before = kubectl.ok("get pods -l app=web -o name").await;
    kubectl.ok("rollout restart deploy/web").await;
    rolled_out(&fixture, "web").await;
    kubectl
        .until("get pods -l app=web -o name", |now| {
            now.lines().count() == 2 && before.lines().all(|pod| !now.contains(pod))
        })
        .await;
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wait_sees_conditions_and_deletions() {
    let fixture = Fixture::start().await;
    let kubectl = &fixture.kubectl;
    kubectl.apply(&web("web", 1, 30100)).await;
    kubectl.ok("wait deploy/web --for=condition=Available --timeout=60s").await;
    kubectl.ok("wait pod -l app=web --for=condition=Ready --timeout=60s").await;
    kubectl.ok("wait pod -l app=web --for=jsonpath={.status.phase}=Running --timeout=60s").await;
    kubectl.ok("delete deploy web --wait=false").await;
    kubectl.ok("wait deploy/web --for=delete --timeout=60s").await;
    let gone = kubectl.fails("get deploy web").await;
    assert!(gone.contains("NotFound"), "{gone}");
    let never =
        kubectl.fails("wait ns/default --for=jsonpath={.status.phase}=Gone --timeout=1s").await;
    assert!(never.contains("timed out waiting for the condition"), "{never}");
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_and_api_resources_describe_the_api() {
    let fixture = Fixture::start().await;
    let kubectl = &fixture.kubectl;
    let said = kubectl.ok("explain deployment.spec.strategy.rollingUpdate.maxSurge").await;
    assert!(said.contains("FIELD: maxSurge <IntOrString>"), "{said}");
    assert!(said.contains("maximum number of pods"), "{said}");
    let said = kubectl.ok("explain pod --recursive").await;
    assert!(said.contains("terminationGracePeriodSeconds"), "{said}");
    let said = kubectl.ok("api-resources").await;
    for kind in ["Pod", "Deployment", "EndpointSlice", "Lease", "Event", "ControllerRevision"] {
        assert!(said.lines().any(|line| line.trim_end().ends_with(kind)), "{kind}:\n{said}");
    }
    assert!(kubectl.ok("api-versions").await.contains("apps/v1"));
    assert!(kubectl.ok("version").await.contains("Server Version: v1.36"));
    assert!(kubectl.ok("get --raw /readyz").await.contains("ok"));
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn delete_cascades_as_told() {
    let fixture = Fixture::start().await;
    let kubectl = &fixture.kubectl;
    for (cascade, left) in [("background", 0), ("foreground", 0), ("orphan", 2)] {
        let name = format!("web-{cascade}");
        kubectl.ok(&format!("create deployment {name} --image=web:1 --replicas=2")).await;
        rolled_out(&fixture, &name).await;
        kubectl.ok(&format!("delete deploy {name} --cascade={cascade}")).await;
        let pods = format!("get pods -l app={name} -o name");
        if left == 0 {
            kubectl.until(&pods, str::is_empty).await;
        } else {
            let owners =
                format!("get rs -l app={name} -o jsonpath={{.items[*].metadata.ownerReferences}}");
            kubectl.until(&owners, str::is_empty).await;
            assert_eq!(kubectl.ok(&pods).await.lines().count(), left);
        }
    }
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn delete_knows_grace_periods_and_selectors() {
    let fixture = Fixture::start().await;
    let kubectl = &fixture.kubectl;
    for name in ["a", "b", "c"] {
        kubectl.apply(&agent(name, "Always", &["serve=80"])).await;
    }
    kubectl.ok("wait pod --all --for=condition=Ready --timeout=60s").await;
    kubectl.ok("delete pod a --grace-period=0 --force").await;
    kubectl.ok("delete pod b --grace-period=1").await;
    kubectl.ok("delete pod -l app=c --now").await;
    assert!(kubectl.ok("get pods -o name").await.is_empty());
    kubectl.ok("create namespace doomed").await;
    kubectl.ok("create deployment d --image=web:1 -n doomed").await;
    kubectl.ok("delete namespace doomed --timeout=60s").await;
    let gone = kubectl.fails("get namespace doomed").await;
    assert!(gone.contains("NotFound"), "{gone}");
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_cordoned_drained_and_tainted() {
    let fixture = Fixture::start_with(super::support::builder().nodes(2)).await;
    let kubectl = &fixture.kubectl;
    kubectl.ok("cordon node-0").await;
    assert!(kubectl.ok("get node node-0").await.contains("SchedulingDisabled"));
    kubectl.ok("create deployment web --image=web:1 --replicas=4").await;
    rolled_out(&fixture, "web").await;
    let nodes = "get pods -l app=web -o jsonpath={.items[*].spec.nodeName}";
    assert_eq!(kubectl.ok(nodes).await, "node-1 node-1 node-1 node-1");
    kubectl.ok("uncordon node-0").await;
    kubectl.ok("drain node-1 --ignore-daemonsets --delete-emptydir-data --timeout=60s").await;
    rolled_out(&fixture, "web").await;
    kubectl.until(nodes, |nodes| nodes == "node-0 node-0 node-0 node-0").await;
    kubectl.ok("uncordon node-1").await;
    kubectl.ok("taint node node-1 dedicated=db:NoSchedule").await;
    kubectl.ok("taint node node-0 full=yes:NoSchedule").await;
    kubectl.ok("run waits --image=agent:1 --restart=Never -- forever").await;
    let why =
        kubectl.until("events --for pod/waits", |said| said.contains("FailedScheduling")).await;
    assert!(why.contains("0/2 nodes are available"), "{why}");
    kubectl.ok("taint node node-0 full-").await;
    kubectl.until("get pod waits -o jsonpath={.spec.nodeName}", |node| node == "node-0").await;
    fixture.stop().await;
}
