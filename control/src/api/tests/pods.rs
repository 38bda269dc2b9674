//! Pods and scales: what stands at paths of their own.

use super::*;

#[tokio::test]
async fn a_pod_is_bound_once_and_goes_gracefully() {
    let server = Server::start().await;
    with_service_account(&server).await;
    let made = server.post(PODS, pod("p")).await.ok();
    assert_eq!(made["status"]["phase"], "Pending");
    let bind = json!({ "metadata": { "name": "p" }, "target": { "kind": "Node", "name": "n" } });
    let path = format!("{PODS}/p");
    let mut other = bind.clone();
    other["metadata"]["uid"] = "u".into();
    let uid = made["metadata"]["uid"].as_str().expect("an id");
    assert_eq!(
        server.post(&format!("{path}/binding"), other).await.refused(409),
        format!(
            r#"Operation cannot be fulfilled on pods "p": StorageError: invalid object, Code: 4, Key: /registry/pods/default/p, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: u, UID in object meta: {uid}"#
        )
    );
    let bound = server.post(&format!("{path}/binding"), bind.clone()).await;
    assert_eq!(bound.status, 201, "{}", bound.text);
    assert_eq!(
        server.post("/api/v1/namespaces/default/bindings", bind).await.refused(409),
        r#"Operation cannot be fulfilled on pods/binding "p": pod p is already assigned to node "n""#
    );
    let read = server.get(&path).await.ok();
    assert_eq!(read["spec"]["nodeName"], "n");
    assert_eq!(read["status"]["conditions"][0]["type"], "PodScheduled");
    let going = server.delete(&path, Value::Null).await.ok();
    assert_eq!(going["metadata"]["deletionGracePeriodSeconds"], 30);
    let gone = server.delete(&path, json!({ "gracePeriodSeconds": 0 })).await.ok();
    assert_eq!(gone["kind"], "Pod");
    server.get(&path).await.refused(404);
}

#[tokio::test]
async fn an_eviction_deletes_the_pod() {
    let server = Server::start().await;
    with_service_account(&server).await;
    server.post(PODS, pod("p")).await.ok();
    let eviction =
        json!({ "apiVersion": "policy/v1", "kind": "Eviction", "metadata": { "name": "p" } });
    let path = format!("{PODS}/p/eviction");
    assert_eq!(server.post(&path, eviction.clone()).await.status, 201);
    server.post(&path, eviction.clone()).await.refused(404);
    // One that runs goes gracefully, and says why.
    server.post(PODS, pod("p")).await.ok();
    let bind = json!({ "metadata": { "name": "p" }, "target": { "kind": "Node", "name": "n" } });
    server.post(&format!("{PODS}/p/binding"), bind).await;
    assert_eq!(server.post(&format!("{path}?dryRun=All"), eviction.clone()).await.status, 201);
    let untouched = server.get(&format!("{PODS}/p")).await.ok();
    assert_eq!(untouched["status"]["conditions"].as_array().map(Vec::len), Some(1));
    assert_eq!(server.post(&path, eviction).await.status, 201);
    let going = server.get(&format!("{PODS}/p")).await.ok();
    assert!(going["metadata"]["deletionTimestamp"].is_string());
    let condition = &going["status"]["conditions"][1];
    assert_eq!(condition["type"], "DisruptionTarget");
    assert_eq!(condition["reason"], "EvictionByEvictionAPI");
}

#[tokio::test]
async fn a_scale_reads_and_writes_the_replicas() {
    let server = Server::start().await;
    server.post(DEPLOYMENTS, deployment("web")).await.ok();
    let path = format!("{DEPLOYMENTS}/web/scale");
    let mut scale = server.get(&path).await.ok();
    assert_eq!(scale["status"]["selector"], "app=web");
    scale["spec"]["replicas"] = 3.into();
    assert_eq!(server.put(&path, scale.clone()).await.ok()["spec"]["replicas"], 3);
    server.put(&path, scale).await.refused(409);
    let patched = server.patch(&path, MERGE, json!({ "spec": { "replicas": 5 } })).await.ok();
    assert_eq!(patched["spec"]["replicas"], 5);
    assert_eq!(server.get(&format!("{DEPLOYMENTS}/web")).await.ok()["spec"]["replicas"], 5);
    let warned = server.patch(&path, MERGE, json!({ "spec": { "foo": 1 } })).await;
    assert_eq!(warned.headers["warning"], r#"299 - "unknown field \"spec.foo\"""#);
}

async fn bound_pod(server: &Server, pod_name: &str, node: &str, ip: &str) {
    let node_object = json!({
        "metadata": { "name": node, "annotations": { "copepod.dev/kubelet-in-memory": "true" } },
        "status": { "addresses": [{ "type": "InternalIP", "address": ip }] },
    });
    server.post("/api/v1/nodes", node_object).await;
    server.post(PODS, pod(pod_name)).await.ok();
    let target = json!({ "kind": "Node", "name": node });
    let bind = json!({ "metadata": { "name": pod_name }, "target": target });
    server.post(&format!("{PODS}/{pod_name}/binding"), bind).await.ok();
}

#[tokio::test]
async fn a_log_comes_from_the_pods_node() {
    let server = Server::start().await;
    with_service_account(&server).await;
    server.post(PODS, pod("idle")).await.ok();
    assert_eq!(server.get(&format!("{PODS}/idle/log")).await.status, 204);
    server.get(&format!("{PODS}/idle/log?container=x")).await.refused(400);
    bound_pod(&server, "p", "alive", LIVE_NODE).await;
    let log = server.get(&format!("{PODS}/p/log?tailLines=3&follow=true")).await;
    assert_eq!(log.text, "GET /containerLogs/default/p/c?follow=true&tailLines=3 ");
    assert_eq!(log.headers["content-type"], "text/plain");
    bound_pod(&server, "waiting", "alive", LIVE_NODE).await;
    assert_eq!(
        server.get(&format!("{PODS}/waiting/log")).await.refused(400),
        r#"container "c" in pod "waiting" is waiting to start: ContainerCreating"#
    );
    bound_pod(&server, "lost", "dead", "10.0.0.8").await;
    let refused = server.get(&format!("{PODS}/lost/log")).await.refused(500);
    assert!(refused.contains("dial tcp"), "{refused}");
}

#[tokio::test]
async fn a_nodes_proxy_passes_paths_and_bodies_through() {
    let server = Server::start().await;
    with_service_account(&server).await;
    bound_pod(&server, "p", "alive", LIVE_NODE).await;
    let request = Request::post("/api/v1/nodes/alive/proxy/images/x?reference=a%3Ab");
    let answer = server.send(request.body(Body::from("wasm")).expect("a request")).await;
    assert_eq!(answer.text, "POST /images/x?reference=a%3Ab wasm");
    bound_pod(&server, "q", "dead", "10.0.0.8").await;
    server.get("/api/v1/nodes/dead/proxy/healthz").await.refused(503);
    server.get("/api/v1/nodes/none/proxy/healthz").await.refused(404);
}

#[tokio::test]
async fn a_scale_is_shown_as_a_table_of_its_own() {
    let server = Server::start().await;
    server.post(DEPLOYMENTS, deployment("web")).await.ok();
    let path = format!("{DEPLOYMENTS}/web/scale");
    let table = server.get_as(&path, TABLE).await.ok();
    assert_eq!(table["kind"], "Table");
    let columns = table["columnDefinitions"].as_array().expect("columns").iter();
    let names: Vec<&Value> = columns.map(|column| &column["name"]).collect();
    assert_eq!(names, ["Name", "Desired", "Available", "Age"]);
    let row = &table["rows"][0];
    assert_eq!(row["cells"].as_array().expect("cells")[..3], [json!("web"), json!(1), json!(0)]);
    assert_eq!(row["object"]["kind"], "PartialObjectMetadata");
    assert_eq!(server.get(&path).await.ok()["kind"], "Scale");
}
