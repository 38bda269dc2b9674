//! Workloads, autoscalers and budgets, where more than the kind's own rules plays a part.

use serde_json::{Value, json};

use super::{MERGE, PODS, Server, pod, with_service_account};

const BUDGETS: &str = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
const STRATEGIC: &str = "application/strategic-merge-patch+json";

/// A pod that runs, and is ready.
async fn running(server: &Server, name: &str) {
    server.post(PODS, pod(name)).await.ok();
    let bind = json!({ "metadata": { "name": name }, "target": { "kind": "Node", "name": "n" } });
    server.post(&format!("{PODS}/{name}/binding"), bind).await.ok();
    let ready = json!([{ "type": "Ready", "status": "True" }]);
    let status = json!({ "status": { "phase": "Running", "conditions": ready } });
    server.patch(&format!("{PODS}/{name}/status"), MERGE, status).await.ok();
}

fn eviction(name: &str) -> Value {
    json!({ "apiVersion": "policy/v1", "kind": "Eviction", "metadata": { "name": name } })
}

#[tokio::test]
async fn an_eviction_is_refused_where_the_budget_is_spent() {
    let server = Server::start().await;
    with_service_account(&server).await;
    running(&server, "p").await;
    running(&server, "q").await;
    let selector = json!({ "matchExpressions": [{ "key": "app", "operator": "Exists" }] });
    let budget = json!({
        "metadata": { "name": "b" }, "spec": { "minAvailable": 1, "selector": selector },
    });
    server.post(BUDGETS, budget).await.ok();
    let evict =
        |name: &str, query: &str| (format!("{PODS}/{name}/eviction{query}"), eviction(name));
    // Nobody has counted yet.
    let (path, body) = evict("p", "");
    let busy = server.post(&path, body).await;
    assert_eq!((busy.status, busy.headers["retry-after"].as_bytes()), (429, b"10".as_slice()));
    assert_eq!(
        busy.json()["details"]["causes"][0],
        json!({
            "reason": "DisruptionBudget",
            "message": "The disruption budget b is still being processed by the server.",
        })
    );
    let status = json!({ "status": {
        "observedGeneration": 1, "disruptionsAllowed": 1, "currentHealthy": 2,
        "desiredHealthy": 1, "expectedPods": 2,
    }});
    let status_path = format!("{BUDGETS}/b/status");
    server.patch(&status_path, MERGE, status).await.ok();
    let (path, body) = evict("p", "?dryRun=All");
    assert_eq!(server.post(&path, body).await.status, 201);
    let left = server.get(&format!("{BUDGETS}/b")).await.ok();
    assert_eq!(left["status"]["disruptionsAllowed"], 1);
    let (path, body) = evict("p", "");
    assert_eq!(server.post(&path, body).await.status, 201);
    let left = server.get(&format!("{BUDGETS}/b")).await.ok();
    assert_eq!(left["status"]["disruptionsAllowed"], 0);
    assert!(left["status"]["disruptedPods"]["p"].is_string(), "{left}");
    let fewer = json!({ "status": { "currentHealthy": 1 } });
    server.patch(&status_path, MERGE, fewer).await.ok();
    let (path, body) = evict("q", "");
    let refused = server.post(&path, body.clone()).await;
    assert_eq!(
        refused.json()["details"]["causes"][0]["message"],
        "The disruption budget b needs 1 healthy pods and has 1 currently"
    );
    assert_eq!(
        refused.refused(429),
        "Cannot evict pod as it would violate the pod's disruption budget."
    );
    // Two budgets are one too many.
    let other = json!({ "metadata": { "name": "c" }, "spec": { "selector": {} } });
    server.post(BUDGETS, other).await.ok();
    let message = server.post(&path, body).await.refused(500);
    assert!(message.contains("more than one PodDisruptionBudget"), "{message}");
}

#[tokio::test]
async fn ephemeral_containers_are_added_and_stay() {
    let server = Server::start().await;
    with_service_account(&server).await;
    server.post(PODS, pod("p")).await.ok();
    let path = format!("{PODS}/p/ephemeralcontainers");
    let debug = json!({ "name": "debug", "image": "tools:1", "targetContainerName": "c" });
    let change = json!({
        "metadata": { "labels": { "new": "label" } },
        "spec": { "ephemeralContainers": [debug], "nodeName": "elsewhere" },
    });
    let pod = server.patch(&path, STRATEGIC, change).await.ok();
    assert_eq!(pod["spec"]["ephemeralContainers"][0]["imagePullPolicy"], "IfNotPresent");
    assert_eq!(pod["metadata"]["generation"], 2);
    assert_eq!(pod["metadata"]["labels"], json!({ "app": "p" }));
    assert_eq!(pod["spec"].get("nodeName"), None);
    let mut pod = server.get(&path).await.ok();
    assert_eq!(pod["spec"]["ephemeralContainers"][0]["targetContainerName"], "c");
    pod["spec"]["ephemeralContainers"] = json!([]);
    assert_eq!(
        server.put(&path, pod.clone()).await.refused(422),
        "Pod \"p\" is invalid: spec.ephemeralContainers: Forbidden: existing ephemeral containers \"debug\" may not be removed\n"
    );
    // The main part of the pod does not take them.
    let more = json!({ "spec": { "ephemeralContainers": [{ "name": "e", "image": "i" }] } });
    server.patch(&format!("{PODS}/p"), STRATEGIC, more).await.refused(422);
}

#[tokio::test]
async fn a_pod_is_resized_within_its_class() {
    let server = Server::start().await;
    with_service_account(&server).await;
    let mut small = pod("p");
    small["spec"]["containers"][0]["resources"] = json!({ "requests": { "cpu": "100m" } });
    server.post(PODS, small).await.ok();
    let path = format!("{PODS}/p/resize");
    let resize = |resources: Value| json!({ "spec": { "containers": [{ "name": "c", "image": "other", "resources": resources }] } });
    let asked = resize(json!({ "requests": { "cpu": "200m" } }));
    let pod = server.patch(&path, STRATEGIC, asked).await.ok();
    let container = &pod["spec"]["containers"][0];
    assert_eq!(container["resources"], json!({ "requests": { "cpu": "200m" } }));
    assert_eq!(container["image"], "i");
    assert_eq!(pod["metadata"]["generation"], 2);
    let gone = resize(json!({ "requests": { "cpu": null } }));
    let refused = server.patch(&path, STRATEGIC, gone).await.refused(422);
    assert!(refused.contains("Pod QOS Class may not change as a result of resizing"), "{refused}");
    assert!(refused.contains("resource requests cannot be removed"), "{refused}");
    let more = resize(
        json!({ "requests": { "example.com/chip": "1" }, "limits": { "example.com/chip": "1" } }),
    );
    let refused = server.patch(&path, STRATEGIC, more).await.refused(422);
    assert!(refused.contains("only cpu and memory resources are mutable"), "{refused}");
}

#[tokio::test]
async fn a_replication_controller_scales_by_its_map_of_labels() {
    let server = Server::start().await;
    let path = "/api/v1/namespaces/default/replicationcontrollers";
    let template = json!({
        "metadata": { "labels": { "app": "web", "tier": "a" } },
        "spec": { "containers": [{ "name": "c", "image": "i" }] },
    });
    let controller = json!({ "metadata": { "name": "web" }, "spec": { "template": template } });
    server.post(path, controller).await.ok();
    let scale = server.get(&format!("{path}/web/scale")).await.ok();
    assert_eq!(scale["status"]["selector"], "app=web,tier=a");
}

#[tokio::test]
async fn a_job_selects_its_pods_by_its_uid() {
    let server = Server::start().await;
    let template = json!({ "spec": { "containers": [{ "name": "c", "image": "i" }], "restartPolicy": "Never" } });
    let job = json!({ "metadata": { "generateName": "work-" }, "spec": { "template": template } });
    let job = server.post("/apis/batch/v1/namespaces/default/jobs", job).await.ok();
    let labels = &job["spec"]["template"]["metadata"]["labels"];
    let (uid, name) = (&job["metadata"]["uid"], &job["metadata"]["name"]);
    assert_eq!(labels["batch.kubernetes.io/controller-uid"], *uid);
    assert_eq!(labels["batch.kubernetes.io/job-name"], *name);
    let selector = json!({ "batch.kubernetes.io/controller-uid": uid });
    assert_eq!(job["spec"]["selector"]["matchLabels"], selector);
    let path = format!("/apis/batch/v1/namespaces/default/jobs/{}", name.as_str().unwrap());
    let mut kept = job.clone();
    kept["metadata"]["finalizers"] = json!(["x.io/kept"]);
    server.put(&path, kept).await.ok();
    let told = server.delete(&path, json!({ "propagationPolicy": "Background" })).await;
    assert_eq!(told.headers.get("warning"), None);
    let told = server.delete(&path, Value::Null).await;
    let warning = told.headers["warning"].to_str().unwrap();
    assert!(
        warning.contains("child pods are preserved by default when jobs are deleted"),
        "{warning}"
    );
}

#[tokio::test]
async fn an_autoscaler_is_one_object_in_two_versions() {
    let server = Server::start().await;
    let path = |version: &str| {
        format!("/apis/autoscaling/{version}/namespaces/default/horizontalpodautoscalers")
    };
    let target = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "name": "web" });
    let made = json!({
        "metadata": { "name": "web" }, "spec": { "maxReplicas": 5, "scaleTargetRef": target },
    });
    let old = server.post(&path("v1"), made).await.ok();
    assert_eq!(old["spec"]["targetCPUUtilizationPercentage"], 80);
    let new = format!("{}/web", path("v2"));
    let shown = server.get(&new).await.ok();
    assert_eq!(shown["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 80);
    let behavior =
        json!({ "spec": { "behavior": { "scaleDown": { "selectPolicy": "Disabled" } } } });
    server.patch(&new, MERGE, behavior).await.ok();
    let old = server.get(&format!("{}/web", path("v1"))).await.ok();
    let told = old["metadata"]["annotations"]["autoscaling.alpha.kubernetes.io/behavior"].as_str();
    assert!(told.is_some_and(|told| told.contains("\"SelectPolicy\":\"Disabled\"")), "{old}");
    let fewer = json!({ "spec": { "targetCPUUtilizationPercentage": 50 } });
    server.patch(&format!("{}/web", path("v1")), MERGE, fewer).await.ok();
    let shown = server.get(&new).await.ok();
    assert_eq!(shown["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 50);
    assert_eq!(shown["spec"]["behavior"]["scaleDown"]["selectPolicy"], "Disabled");
    assert_eq!(shown["metadata"].get("annotations"), None);
}
