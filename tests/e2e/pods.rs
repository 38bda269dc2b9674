//! Pods: what a manifest says is what a guest sees.

use super::support::{Fixture, agent};

/// The logs of a pod that has ended well.
async fn said(fixture: &Fixture, pod: &str) -> String {
    let phase = format!("get pod {pod} -o jsonpath={{.status.phase}}");
    fixture.kubectl.until(&phase, |phase| phase == "Succeeded").await;
    fixture.kubectl.ok(&format!("logs {pod}")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_and_environment_come_from_the_manifest() {
    let fixture = Fixture::start().await;
    fixture
        .kubectl
        .ok("create configmap settings --from-literal=COLOUR=blue --from-literal=size=7")
        .await;
    fixture.kubectl.ok("create secret generic keys --from-literal=token=abc").await;
    fixture
        .kubectl
        .apply(
            "
apiVersion: v1
kind: Pod
metadata: {name: reader, labels: {tier: front}}
spec:
  restartPolicy: Never
  containers:
  - name: agent
    image: agent:1
    args: [print=$(GREETING) $(UNKNOWN) $$(COLOUR), env=COLOUR, env=P_size, env=TOKEN, env=POD, env=TIER, env=IP, env=MEMORY, env=KUBERNETES_SERVICE_PORT]
    resources: {limits: {memory: 64Mi}}
    envFrom:
    - configMapRef: {name: settings}
    - prefix: P_
      configMapRef: {name: settings}
    env:
    - {name: GREETING, value: 'hi from $(COLOUR)'}
    - {name: TOKEN, valueFrom: {secretKeyRef: {name: keys, key: token}}}
    - {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: TIER, valueFrom: {fieldRef: {fieldPath: \"metadata.labels['tier']\"}}}
    - {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    - {name: MEMORY, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Mi}}}
",
        )
        .await;
    let text = said(&fixture, "reader").await;
    let ip = fixture.kubectl.ok("get pod reader -o jsonpath={.status.podIP}").await;
    assert_eq!(
        text,
        format!(
            "hi from blue $(UNKNOWN) $(COLOUR)\nCOLOUR=blue\nP_size=7\nTOKEN=abc\nPOD=reader\nTIER=front\nIP={ip}\nMEMORY=64\nKUBERNETES_SERVICE_PORT=443\n"
        )
    );
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn volumes_are_mounted_and_shared() {
    let fixture = Fixture::start().await;
    fixture
        .kubectl
        .ok("create configmap files --from-literal=a.txt=alpha --from-literal=b.txt=beta")
        .await;
    fixture.kubectl.ok("create secret generic keys --from-literal=token=abc").await;
    fixture
        .kubectl
        .apply(
            "
apiVersion: v1
kind: Pod
metadata: {name: reader}
spec:
  restartPolicy: Never
  volumes:
  - {name: files, configMap: {name: files}}
  - {name: one, configMap: {name: files, items: [{key: a.txt, path: deep/x.txt}]}}
  - {name: keys, secret: {secretName: keys}}
  - {name: scratch, emptyDir: {}}
  containers:
  - name: agent
    image: agent:1
    args: [ls=/files, cat=/files/a.txt, print=, cat=/one/deep/x.txt, print=, cat=/keys/token, print=, write=/scratch/f:hello, cat=/scratch/f, print=, write=/files/a.txt:no, cat=/etc/passwd]
    volumeMounts:
    - {name: files, mountPath: /files}
    - {name: one, mountPath: /one}
    - {name: keys, mountPath: /keys, readOnly: true}
    - {name: scratch, mountPath: /scratch}
",
        )
        .await;
    let text = said(&fixture, "reader").await;
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[..6],
        ["a.txt b.txt", "alpha", "alpha", "abc", "wrote /scratch/f", "hello"],
        "{text}"
    );
    assert!(lines[6].starts_with("cannot write /files/a.txt"), "{text}");
    assert!(lines[7].starts_with("error: "), "{text}");
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_traps_and_memory_have_upstreams_reasons() {
    let fixture = Fixture::start().await;
    let kubectl = &fixture.kubectl;
    kubectl.apply(&agent("fails", "Never", &["exit=1"])).await;
    kubectl.apply(&agent("traps", "Never", &["trap"])).await;
    let eats = agent("eats", "Never", &["eat=64"])
        .replace("args:", "resources: {limits: {memory: 16Mi}}, args:");
    kubectl.apply(&eats).await;
    for (pod, reason, code) in
        [("fails", "Error", "1"), ("traps", "Error", "134"), ("eats", "OOMKilled", "137")]
    {
        let state = format!(
            "get pod {pod} -o jsonpath={{.status.phase}}:{{.status.containerStatuses[0].state.terminated.reason}}:{{.status.containerStatuses[0].state.terminated.exitCode}}"
        );
        kubectl.until(&state, |said| said == format!("Failed:{reason}:{code}")).await;
    }
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_guest_leaves_at_its_termination_message_path_is_in_the_status() {
    let fixture = Fixture::start().await;
    let kubectl = &fixture.kubectl;
    let says = |name: &str, fields: &str, steps: &[&str]| {
        agent(name, "Never", steps).replace("args:", &format!("{fields} args:"))
    };
    let from_logs = "terminationMessagePolicy: FallbackToLogsOnError,";
    let custom = "terminationMessagePath: /var/run/said,";
    let in_volume =
        "terminationMessagePath: /data/said, volumeMounts: [{name: data, mountPath: /data}],";
    let long = format!("write=/dev/termination-log:{}end", "x".repeat(5000));
    for (name, fields, steps, expected) in [
        ("default", "", &["write=/dev/termination-log:all well"][..], "all well"),
        ("long", "", &[&long], "end"),
        ("custom", custom, &["write=/var/run/said:it broke", "exit=3"], "it broke"),
        ("volume", in_volume, &["write=/data/said:in a volume"], "in a volume"),
        ("logs", from_logs, &["print=first", "print=last words", "exit=1"], "first\nlast words\n"),
        ("both", from_logs, &["print=log", "write=/dev/termination-log:file", "exit=1"], "file"),
        ("good", from_logs, &["print=log"], ""),
        ("traps", from_logs, &["write=/dev/termination-log:before", "trap"], "before"),
    ] {
        let mut pod = says(name, fields, steps);
        if fields == in_volume {
            pod = pod.replace("spec:", "spec:\n  volumes: [{name: data, emptyDir: {}}]");
        }
        kubectl.apply(&pod).await;
        let terminated = ".status.containerStatuses[0].state.terminated";
        let done = format!("get pod {name} -o jsonpath={{{terminated}.reason}}");
        kubectl.until(&done, |reason| !reason.is_empty()).await;
        let message =
            kubectl.ok(&format!("get pod {name} -o jsonpath={{{terminated}.message}}")).await;
        match name {
            "long" => assert!(message.len() == 4096 && message.ends_with("xend"), "{message}"),
            "traps" => assert!(message.ends_with(": before"), "{message}"),
            _ => assert_eq!(message, expected, "{name}"),
        }
    }
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_restart_as_their_policy_says_and_back_off() {
    let fixture = Fixture::start().await;
    let kubectl = &fixture.kubectl;
    kubectl.apply(&agent("always", "Always", &["print=done"])).await;
    kubectl.apply(&agent("crashes", "Always", &["exit=1"])).await;
    let count = "-o jsonpath={.status.containerStatuses[0].restartCount}";
    for pod in ["always", "crashes"] {
        kubectl
            .until(&format!("get pod {pod} {count}"), |n| n.parse::<u32>().is_ok_and(|n| n >= 2))
            .await;
    }
    kubectl.until("get pod crashes", |said| said.contains("CrashLoopBackOff")).await;
    kubectl
        .until("events --for pod/crashes", |said| {
            said.contains("Back-off restarting failed container agent in pod crashes")
        })
        .await;
    kubectl.until("describe pod crashes", |said| said.contains("(x")).await;
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn liveness_failures_restart_and_startup_probes_hold_readiness() {
    let fixture = Fixture::start().await;
    let kubectl = &fixture.kubectl;
    kubectl
        .apply(
            "
apiVersion: v1
kind: Pod
metadata: {name: sick}
spec:
  containers:
  - name: web
    image: web:1
    ports: [{containerPort: 8080}]
    livenessProbe: {httpGet: {path: /status/500, port: 8080}, periodSeconds: 1, failureThreshold: 1}
---
apiVersion: v1
kind: Pod
metadata: {name: slow}
spec:
  containers:
  - name: web
    image: web:1
    ports: [{containerPort: 8080}]
    startupProbe: {httpGet: {path: /status/500, port: 8080}, periodSeconds: 1, failureThreshold: 30}
---
apiVersion: v1
kind: Pod
metadata: {name: redirected}
spec:
  containers:
  - name: web
    image: web:1
    ports: [{containerPort: 8080}]
    readinessProbe: {httpGet: {path: /redirect/status/503, port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Pod
metadata: {name: portless}
spec:
  containers:
  - name: web
    image: web:1
    ports: [{containerPort: 8080}]
    readinessProbe: {tcpSocket: {port: nowhere}, periodSeconds: 1}
---
apiVersion: v1
kind: Pod
metadata: {name: deaf}
spec:
  containers:
  - name: agent
    image: agent:1
    args: [forever]
    readinessProbe: {tcpSocket: {port: 80}, periodSeconds: 1}
",
        )
        .await;
    kubectl
        .until("events --for pod/sick", |said| {
            said.contains("Container web failed liveness probe, will be restarted")
        })
        .await;
    kubectl
        .until("get pod sick -o jsonpath={.status.containerStatuses[0].restartCount}", |n| {
            n != "0" && !n.is_empty()
        })
        .await;
    kubectl.until("events --for pod/slow", |said| said.contains("Startup probe failed")).await;
    let started = kubectl.ok("get pod slow -o jsonpath={.status.containerStatuses[0].started}:{.status.containerStatuses[0].ready}").await;
    assert_eq!(started, "false:false");
    for (pod, wanted) in [
        ("deaf", "Readiness probe failed: dial tcp"),
        ("redirected", "Readiness probe failed: HTTP probe failed with statuscode: 503"),
        ("portless", "Readiness probe errored and resulted in unknown state: couldn't find port"),
    ] {
        kubectl.until(&format!("events --for pod/{pod}"), |said| said.contains(wanted)).await;
    }
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_yet_is_refused_by_field_name() {
    let fixture = Fixture::start().await;
    let kubectl = &fixture.kubectl;
    let base = agent("refused", "Never", &["print=hi"]);
    for (change, field) in [
        ("initContainers: [{name: i, image: 'agent:1'}]", "spec.initContainers"),
        ("hostNetwork: true", "spec.hostNetwork"),
        ("volumes: [{name: v, nfs: {server: s, path: /p}}]", "spec.volumes[0].nfs"),
    ] {
        kubectl
            .apply(&base.replace("restartPolicy:", &format!("{change}\n  restartPolicy:")))
            .await;
        kubectl.until("events --for pod/refused", |said| said.contains(field)).await;
        let status =
            kubectl.until("get pod refused -o yaml", |said| said.contains("phase: Failed")).await;
        assert!(status.contains(field), "{field}:\n{status}");
        kubectl.ok("delete pod refused --force --grace-period=0").await;
    }
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_knows_its_host_aliases_and_its_full_name() {
    let fixture = Fixture::start().await;
    let kubectl = &fixture.kubectl;
    let full = "resolve=h.s.default.svc.cluster.local";
    let steps = ["env=HOSTNAME", "resolve=foo.remote", "resolve=Bar", "resolve=h", full];
    let named = agent("named", "Never", &steps).replace(
        "restartPolicy:",
        "hostname: h\n  subdomain: s\n  setHostnameAsFQDN: true\n  hostAliases: [{ip: 123.45.67.89, hostnames: [foo.remote, bar]}]\n  restartPolicy:",
    );
    kubectl.apply(&named).await;
    kubectl.apply(&agent("other", "Never", &[full])).await;
    let said = said(&fixture, "named").await;
    let ip = kubectl.ok("get pod named -o jsonpath={.status.podIP}").await;
    assert_eq!(
        said,
        format!("HOSTNAME=h.s.default.svc.cluster.local\n123.45.67.89\n123.45.67.89\n{ip}\n{ip}\n")
    );
    let other = kubectl.until("logs other", |said| said.contains("resolve")).await;
    assert!(other.starts_with("cannot resolve"), "{other}");
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_put_on_a_node_without_room_is_turned_away() {
    let fixture = Fixture::start().await;
    let kubectl = &fixture.kubectl;
    let node = kubectl.ok("get nodes -o jsonpath={.items[0].metadata.name}").await;
    let asks = agent("asks", "Never", &["print=hi"])
        .replace("restartPolicy:", &format!("nodeName: {node}\n  restartPolicy:"));
    kubectl.apply(&asks.replace("args:", "resources: {requests: {cpu: 10000}}, args:")).await;
    let status = "get pod asks -o jsonpath={.status.phase}:{.status.reason}:{.status.message}";
    let said = kubectl.until(status, |said| said.starts_with("Failed")).await;
    let wanted = "Failed:OutOfcpu:Pod was rejected: Node didn't have enough resource: cpu, requested: 10000000,";
    assert!(said.starts_with(wanted), "{said}");
    kubectl.until("events --for pod/asks", |said| said.contains("OutOfcpu")).await;
    kubectl.ok("delete pod asks --timeout=60s").await;
    kubectl.apply(&asks).await;
    assert_eq!(self::said(&fixture, "asks").await, "hi\n");
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_written_by_hand_comes_right_and_a_final_phase_ends_the_pod() {
    let fixture = Fixture::start().await;
    let kubectl = &fixture.kubectl;
    kubectl.apply(&agent("touched", "Always", &["forever"])).await;
    kubectl.apply(&agent("ended", "Always", &["forever"])).await;
    kubectl.ok("wait pod/touched pod/ended --for=condition=Ready --timeout=60s").await;
    let patch = r#"patch pod touched --subresource=status -p '{"status":{"message":"by hand","conditions":[{"type":"Ready","status":"False"}]}}'"#;
    let patched = kubectl.ok(&format!("{patch} -o yaml")).await;
    assert!(patched.contains("message: by hand"), "{patched}");
    kubectl.ok("wait pod/touched --for=condition=Ready --timeout=60s").await;
    let message = kubectl.ok("get pod touched -o jsonpath={.status.message}").await;
    assert_eq!(message, "by hand", "a message that others gave a phase stays");
    kubectl
        .ok(r#"patch pod ended --subresource=status -p '{"status":{"phase":"Failed","reason":"Evicted"}}'"#)
        .await;
    let state = "get pod ended -o jsonpath={.status.phase}:{.status.reason}:{.status.containerStatuses[0].state.terminated.exitCode}";
    kubectl.until(state, |said| said == "Failed:Evicted:143").await;
    kubectl.ok("delete pod ended --timeout=60s").await;
    fixture.stop().await;
}

/// A command of one function that is all branches: the compiler's time grows with the square of its size.
fn slow_to_compile() -> Vec<u8> {
    let branch = "(if (local.get 0) (then (local.set 0 (i32.add (local.get 0) (i32.const 1)))))";
    let text = format!(
        r#"(module (memory (export "memory") 1) (func (export "_start") (local i32) {}))"#,
        branch.repeat(35_000)
    );
    wat::parse_str(text).expect("a module")
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_start_in_the_order_of_the_spec_and_one_without_an_image_holds_none_back() {
    let fixture = Fixture::start().await;
    let kubectl = &fixture.kubectl;
    // Of its own, so that no other test has it compiled.
    let slow = [&slow_to_compile()[..], b"\0\x02\x01o"].concat();
    fixture.cluster.import_image("slow:1", slow).await.expect("it is a module");
    kubectl
        .apply(
            "
apiVersion: v1
kind: Pod
metadata: {name: order}
spec:
  restartPolicy: Never
  containers:
  - {name: slow, image: 'slow:1'}
  - {name: absent, image: 'absent:1'}
  - {name: quick, image: 'agent:1', args: [print=hi]}
",
        )
        .await;
    let state = |name: &str, field: &str| {
        format!(
            "get pod order -o jsonpath={{.status.containerStatuses[?(@.name==\"{name}\")].state.{field}}}"
        )
    };
    // Its image is looked for while the first one's compiles.
    kubectl.until(&state("absent", "waiting.reason"), |why| why.contains("Pull")).await;
    let begun = kubectl.until(&state("quick", "terminated.startedAt"), |at| !at.is_empty()).await;
    let first = kubectl.ok(&state("slow", "terminated.startedAt")).await;
    assert!(!first.is_empty() && first <= begun, "slow at {first:?}, quick at {begun:?}");
    assert_eq!(kubectl.ok("logs order -c quick").await, "hi\n");
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_is_deleted_while_its_image_compiles_goes_at_once() {
    let fixture = Fixture::start().await;
    let kubectl = &fixture.kubectl;
    fixture.cluster.import_image("slow:1", slow_to_compile()).await.expect("it is a module");
    for pod in ["deleted", "stays"] {
        kubectl.apply(&agent(pod, "Never", &[]).replace("agent:1", "slow:1")).await;
    }
    let waiting =
        |pod: &str| format!("get pod {pod} -o jsonpath={{.status.containerStatuses[0].state}}");
    for pod in ["deleted", "stays"] {
        kubectl.until(&waiting(pod), |state| state.contains("ContainerCreating")).await;
    }
    kubectl.ok("delete pod deleted --timeout=30s").await;
    // The compiler is not done yet, or the other pod would have begun.
    let other = kubectl.ok(&waiting("stays")).await;
    assert!(other.contains("ContainerCreating"), "{other}");
    kubectl.until("get pod stays -o jsonpath={.status.phase}", |p| p == "Succeeded").await;
    fixture.stop().await;
}
