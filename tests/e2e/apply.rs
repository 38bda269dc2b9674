//! Server-side apply, with the stock kubectl.

use serde_json::Value;

use super::support::{Fixture, Kubectl};

fn settings(data: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: settings\ndata: {data}\n")
}

fn deployment(replicas: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web\nspec:\n  {replicas}\n  selector:\n    matchLabels: {{app: web}}\n  template:\n    metadata:\n      labels: {{app: web}}\n    spec:\n      containers:\n      - {{name: web, image: 'web:1'}}\n"
    )
}

async fn apply(kubectl: &Kubectl, flags: &str, yaml: &str) -> Result<String, String> {
    let (success, stdout, stderr) =
        kubectl.run(&format!("apply --server-side {flags} -f -"), yaml).await;
    if success { Ok(stdout) } else { Err(stderr) }
}

async fn read(kubectl: &Kubectl, what: &str) -> Value {
    let text = kubectl.ok(&format!("get {what} -o json --show-managed-fields")).await;
    serde_json::from_str(&text).expect("JSON")
}

/// `manager operation [subresource]` of each entry.
fn managers(object: &Value) -> Vec<String> {
    let entries = object["metadata"]["managedFields"].as_array().expect("managers");
    let text = |entry: &Value, field: &str| entry[field].as_str().unwrap_or_default().to_owned();
    let shown = |entry: &Value| {
        let parts = [text(entry, "manager"), text(entry, "operation"), text(entry, "subresource")];
        parts.join(" ").trim_end().to_owned()
    };
    entries.iter().map(shown).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_is_applied_changed_and_handed_over() {
    let fixture = Fixture::start().await;
    let kubectl = &fixture.kubectl;
    let said = apply(kubectl, "", &settings("{a: '1', b: '1'}")).await;
    assert_eq!(said.as_deref(), Ok("configmap/settings serverside-applied\n"));
    let first = read(kubectl, "configmap settings").await;
    assert_eq!(managers(&first), ["kubectl Apply"]);
    let hidden = kubectl.ok("get configmap settings -o yaml").await;
    assert!(!hidden.contains("managedFields"), "{hidden}");
    // The same again changes nothing, not even the version.
    apply(kubectl, "", &settings("{a: '1', b: '1'}")).await.expect("applied");
    assert_eq!(read(kubectl, "configmap settings").await, first);
    // What is left out goes.
    apply(kubectl, "", &settings("{a: '1'}")).await.expect("applied");
    assert_eq!(read(kubectl, "configmap settings").await["data"], serde_json::json!({ "a": "1" }));
    // Another manager conflicts, until it forces.
    let refused = apply(kubectl, "--field-manager=other", &settings("{a: '2'}")).await;
    let refused = refused.expect_err("a conflict");
    let told = "Apply failed with 1 conflict: conflict with \"kubectl\": .data.a\n";
    assert!(refused.contains(told), "{refused}");
    assert!(refused.contains("Please review the fields above"), "{refused}");
    apply(kubectl, "--field-manager=other --force-conflicts", &settings("{a: '2'}"))
        .await
        .expect("forced");
    let taken = read(kubectl, "configmap settings").await;
    assert_eq!(
        (managers(&taken), &taken["data"]["a"]),
        (vec!["other Apply".to_owned()], &"2".into())
    );
    // The first gives way by applying the same; then both share, and the second lets go.
    apply(kubectl, "", &settings("{a: '2'}")).await.expect("applied");
    apply(kubectl, "--field-manager=other", &settings("{}")).await.expect("applied");
    let shared = read(kubectl, "configmap settings").await;
    assert_eq!(shared["data"]["a"], "2");
    let said = apply(kubectl, "--dry-run=server", &settings("{a: '3'}")).await;
    assert_eq!(said.as_deref(), Ok("configmap/settings serverside-applied (server dry run)\n"));
    let unknown = apply(kubectl, "", &(settings("{}") + "foo: 1\n")).await.expect_err("refused");
    assert!(unknown.contains("field not declared in schema"), "{unknown}");
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_applied_on_the_client_s_side_moves_over() {
    let fixture = Fixture::start().await;
    let kubectl = &fixture.kubectl;
    kubectl.apply(&deployment("replicas: 0")).await;
    let before = read(kubectl, "deployment web").await;
    assert!(managers(&before).contains(&"kubectl-client-side-apply Update".to_owned()), "{before}");
    apply(kubectl, "", &deployment("paused: true")).await.expect("applied");
    let after = read(kubectl, "deployment web").await;
    let names = managers(&after);
    assert!(names.contains(&"kubectl Apply".to_owned()), "{names:?}");
    assert!(!names.contains(&"kubectl-client-side-apply Update".to_owned()), "{names:?}");
    assert_eq!(after["spec"]["paused"], true);
    // The replicas were given on the client's side, and are not any more: the default is back.
    assert_eq!(after["spec"]["replicas"], 1);
    apply(kubectl, "", &deployment("replicas: 0")).await.expect("applied");
    // And back again.
    let said = kubectl.apply(&deployment("replicas: 0")).await;
    assert!(said.starts_with("deployment.apps/web "), "{said}");
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scale_and_status_have_managers_of_their_own() {
    let fixture = Fixture::start().await;
    let kubectl = &fixture.kubectl;
    apply(kubectl, "", &deployment("replicas: 0")).await.expect("applied");
    kubectl.ok("scale deployment web --replicas=1").await;
    kubectl.ok("rollout status deployment/web --timeout=60s").await;
    let scaled = read(kubectl, "deployment web").await;
    let names = managers(&scaled);
    assert!(names.contains(&"kubectl Update scale".to_owned()), "{names:?}");
    assert!(names.contains(&"kube-controller-manager Update status".to_owned()), "{names:?}");
    let refused = apply(kubectl, "", &deployment("replicas: 0")).await.expect_err("a conflict");
    let told = r#"conflict with "kubectl" with subresource "scale" using apps/v1: .spec.replicas"#;
    assert!(refused.contains(told), "{refused}");
    // Who does not name the replicas leaves them alone.
    apply(kubectl, "", &deployment("minReadySeconds: 1")).await.expect("applied");
    assert_eq!(read(kubectl, "deployment web").await["spec"]["replicas"], 1);
    let status = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nstatus:\n  conditions:\n  - {type: Mine, status: 'True'}\n";
    apply(kubectl, "--subresource=status --field-manager=me", status).await.expect("applied");
    let object = read(kubectl, "deployment web").await;
    assert!(managers(&object).contains(&"me Apply status".to_owned()), "{object}");
    let conditions = object["status"]["conditions"].as_array().expect("conditions");
    assert!(conditions.iter().any(|condition| condition["type"] == "Mine"), "{object}");
    // A pod's status is its kubelet's, and its node is nobody's.
    let pods = read(kubectl, "pods -l app=web").await;
    let pod = &pods["items"][0];
    let names = managers(pod);
    assert!(names.contains(&"kubelet Update status".to_owned()), "{names:?}");
    assert!(names.contains(&"kube-controller-manager Update".to_owned()), "{names:?}");
    let node = |entry: &Value| !entry["fieldsV1"]["f:spec"]["f:nodeName"].is_null();
    assert!(!pod["metadata"]["managedFields"].as_array().expect("managers").iter().any(node));
    fixture.stop().await;
}
