//! The verbs, through the service as clients see it, over a store in memory.

mod access;
mod storage;
mod streams;

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use axum::response::Response;
use futures::StreamExt as _;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::auth::Identity;
use crate::config::ControlConfig;
use crate::server::ControlPlane;
use crate::{Ambient, Io, NodeDialer};

mod apply;
mod workloads;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const MERGE: &str = "application/merge-patch+json";
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";

/// The address of the node whose kubelet answers; all others refuse.
const LIVE_NODE: &str = "10.0.0.7";

/// Nodes with a kubelet that says what it was asked, and one log.
struct Nodes;

#[async_trait]
impl NodeDialer for Nodes {
    async fn connect(&self, _node: &str, ip: IpAddr, _port: u16) -> io::Result<Box<dyn Io>> {
        if ip.to_string() != LIVE_NODE {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let kubelet = hyper::service::service_fn(|request: Request<hyper::body::Incoming>| async {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.expect("a body").to_bytes();
            let waiting = parts.uri.path().contains("/waiting/");
            let text = if waiting {
                "container \"c\" in pod \"waiting\" is waiting to start: ContainerCreating"
                    .to_owned()
            } else {
                format!("{} {} {}", parts.method, parts.uri, String::from_utf8_lossy(&body))
            };
            let status = if waiting { 400 } else { 200 };
            Response::builder().status(status).body(Body::from(text))
        });
        let io = hyper_util::rt::TokioIo::new(theirs);
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(io, kubelet));
        Ok(Box::new(ours))
    }
}

struct Server(ControlPlane);

/// An answer, read to its end.
struct Answer {
    status: u16,
    headers: http::HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|why| panic!("{why}: {}", self.text))
    }

    #[track_caller]
    fn ok(self) -> Value {
        assert!((200..300).contains(&self.status), "{} {}", self.status, self.text);
        self.json()
    }

    #[track_caller]
    fn refused(self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", self.text);
        self.json()["message"].as_str().unwrap_or_default().to_owned()
    }
}

impl Server {
    async fn start() -> Self {
        Self::start_with(ControlConfig::default()).await
    }

    async fn start_with(config: ControlConfig) -> Self {
        // Without controllers: what is there was put there by the test.
        let started = ControlPlane::start_bare(config, Arc::new(Nodes), Ambient::real()).await;
        Self(started.expect("it starts"))
    }

    async fn raw(&self, request: Request<Body>) -> Response {
        let mut request = request;
        request.extensions_mut().insert(Identity::admin());
        self.0.router().oneshot(request).await.expect("infallible")
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.raw(request).await;
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.expect("a body").to_bytes();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Answer { status: parts.status.as_u16(), headers: parts.headers, text }
    }

    async fn call(&self, method: Method, path: &str, body: &Value) -> Answer {
        let request = Request::builder().method(method).uri(path);
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let request = request.header("content-type", "application/json");
        self.send(request.body(body).expect("a request")).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, &Value::Null).await
    }

    async fn get_as(&self, path: &str, accept: &str) -> Answer {
        let request = Request::get(path).header("accept", accept);
        self.send(request.body(Body::empty()).expect("a request")).await
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.call(Method::POST, path, &body).await
    }

    async fn put(&self, path: &str, body: Value) -> Answer {
        self.call(Method::PUT, path, &body).await
    }

    async fn delete(&self, path: &str, body: Value) -> Answer {
        self.call(Method::DELETE, path, &body).await
    }

    async fn patch(&self, path: &str, kind: &str, body: Value) -> Answer {
        let request = Request::patch(path).header("content-type", kind);
        self.send(request.body(Body::from(body.to_string())).expect("a request")).await
    }
}

/// The frames of a watch, one by one.
struct Frames {
    body: axum::body::BodyDataStream,
    rest: String,
}

impl Frames {
    async fn open(server: &Server, path: &str) -> Self {
        let response = server.raw(Request::get(path).body(Body::empty()).expect("a request")).await;
        assert_eq!(response.status(), StatusCode::OK);
        Self { body: response.into_body().into_data_stream(), rest: String::new() }
    }

    /// `None` when the watch has ended.
    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some((line, rest)) = self.rest.split_once('\n') {
                let frame = serde_json::from_str(line).expect("JSON");
                self.rest = rest.to_owned();
                return Some(frame);
            }
            let chunk = self.body.next().await?.expect("a chunk");
            self.rest.push_str(&String::from_utf8_lossy(&chunk));
        }
    }

    async fn summary(&mut self) -> String {
        let frame = self.next().await.expect("a frame");
        let name = frame["object"]["metadata"]["name"].as_str().unwrap_or("-");
        format!("{} {name}", frame["type"].as_str().unwrap_or_default())
    }
}

fn map(name: &str, data: &Value) -> Value {
    json!({ "metadata": { "name": name }, "data": data })
}

fn pod(name: &str) -> Value {
    json!({
        "metadata": { "name": name, "labels": { "app": name } },
        "spec": { "containers": [{ "name": "c", "image": "i" }], "automountServiceAccountToken": false },
    })
}

fn deployment(name: &str) -> Value {
    json!({
        "metadata": { "name": name },
        "spec": {
            "selector": { "matchLabels": { "app": name } },
            "template": {
                "metadata": { "labels": { "app": name } },
                "spec": { "containers": [{ "name": "c", "image": "i" }] },
            },
        },
    })
}

async fn with_service_account(server: &Server) {
    let account = json!({ "metadata": { "name": "default" } });
    server.post("/api/v1/namespaces/default/serviceaccounts", account).await.ok();
}

#[tokio::test]
async fn an_object_is_created_read_and_not_created_twice() {
    let server = Server::start().await;
    let answer = server.post(MAPS, map("a", &json!({ "k": "v" }))).await;
    assert_eq!(answer.status, 201);
    let created = answer.ok();
    assert_eq!(created["kind"], "ConfigMap");
    assert_eq!(created["metadata"]["namespace"], "default");
    assert_eq!(created["metadata"]["uid"].as_str().map(str::len), Some(36));
    let read = server.get(&format!("{MAPS}/a")).await.ok();
    assert_eq!(read, created);
    let again = server.post(MAPS, map("a", &json!({}))).await;
    assert_eq!(again.json()["details"], json!({ "name": "a", "kind": "configmaps" }));
    assert_eq!(again.refused(409), r#"configmaps "a" already exists"#);
    let missing = server.get(&format!("{MAPS}/b")).await;
    assert_eq!(missing.refused(404), r#"configmaps "b" not found"#);
}

#[tokio::test]
async fn names_and_namespaces_must_agree_with_the_path() {
    let server = Server::start().await;
    let other = json!({ "metadata": { "name": "a", "namespace": "other" } });
    assert_eq!(
        server.post(MAPS, other).await.refused(400),
        "the namespace of the provided object does not match the namespace sent on the request"
    );
    server.post(MAPS, map("a", &json!({}))).await.ok();
    assert_eq!(
        server.put(&format!("{MAPS}/a"), map("b", &json!({}))).await.refused(400),
        "the name of the object (b) does not match the name on the URL (a)"
    );
    let lost = server.post("/api/v1/namespaces/none/configmaps", map("a", &json!({}))).await;
    assert_eq!(lost.refused(404), r#"namespaces "none" not found"#);
    let versioned = json!({ "metadata": { "name": "c", "resourceVersion": "5" } });
    assert_eq!(
        server.post(MAPS, versioned).await.refused(500),
        "resourceVersion should not be set on objects to be created"
    );
    let bad = server.post(MAPS, map("A_b", &json!({}))).await;
    assert_eq!(bad.json()["details"]["causes"][0]["field"], "metadata.name");
    bad.refused(422);
}

#[tokio::test]
async fn generated_names_are_unique() {
    let server = Server::start().await;
    let mut names = Vec::new();
    for _ in 0..5 {
        let made = server.post(MAPS, json!({ "metadata": { "generateName": "web-" } })).await.ok();
        names.push(made["metadata"]["name"].as_str().expect("a name").to_owned());
    }
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 5);
    assert!(names.iter().all(|name| name.starts_with("web-") && name.len() == 9), "{names:?}");
    let both = json!({ "metadata": { "name": names[0], "generateName": "web-" } });
    let taken = server.post(MAPS, both).await;
    assert_eq!(taken.json()["details"]["retryAfterSeconds"], 1);
    assert_eq!(
        taken.refused(409),
        format!(
            "configmaps {:?} already exists, the server was not able to generate a unique name for the object",
            names[0]
        )
    );
}

#[tokio::test]
async fn a_stale_update_conflicts_and_one_that_changes_nothing_keeps_the_version() {
    let server = Server::start().await;
    let path = format!("{MAPS}/a");
    let first = server.post(MAPS, map("a", &json!({ "k": "1" }))).await.ok();
    let same = server.put(&path, first.clone()).await.ok();
    assert_eq!(same["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    let mut changed = first.clone();
    changed["data"]["k"] = "2".into();
    let second = server.put(&path, changed.clone()).await.ok();
    assert_ne!(second["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    changed["data"]["k"] = "3".into();
    assert_eq!(
        server.put(&path, changed).await.refused(409),
        r#"Operation cannot be fulfilled on configmaps "a": the object has been modified; please apply your changes to the latest version and try again"#
    );
    let unconditional = server.put(&path, map("a", &json!({ "k": "4" }))).await.ok();
    assert_eq!(unconditional["data"]["k"], "4");
    assert_eq!(unconditional["metadata"]["uid"], first["metadata"]["uid"]);
    let mut other = map("a", &json!({}));
    other["metadata"]["uid"] = "another".into();
    server.put(&path, other).await.refused(409);
}

#[tokio::test]
async fn the_generation_rises_with_the_spec_alone() {
    let server = Server::start().await;
    let made = server.post(DEPLOYMENTS, deployment("web")).await.ok();
    assert_eq!(made["metadata"]["generation"], 1);
    let path = format!("{DEPLOYMENTS}/web");
    let labelled = json!({ "metadata": { "labels": { "a": "b" } } });
    assert_eq!(server.patch(&path, MERGE, labelled).await.ok()["metadata"]["generation"], 1);
    let status = json!({ "status": { "replicas": 3 }, "spec": { "replicas": 9 } });
    let status = server.patch(&format!("{path}/status"), MERGE, status).await.ok();
    assert_eq!(status["status"]["replicas"], 3);
    assert_eq!(
        (&status["spec"]["replicas"], &status["metadata"]["generation"]),
        (&json!(1), &json!(1))
    );
    let scaled = json!({ "spec": { "replicas": 2 }, "status": { "replicas": 7 } });
    let scaled = server.patch(&path, MERGE, scaled).await.ok();
    assert_eq!(scaled["metadata"]["generation"], 2);
    assert_eq!(scaled["status"]["replicas"], 3);
}

#[tokio::test]
async fn three_kinds_of_patch_apply_and_the_fourth_is_refused() {
    let server = Server::start().await;
    server.post(DEPLOYMENTS, deployment("web")).await.ok();
    let path = format!("{DEPLOYMENTS}/web");
    let strategic = json!({ "spec": { "template": { "spec": { "containers": [
        { "name": "c", "image": "j" }, { "name": "d", "image": "k" },
    ]}}}});
    let kind = "application/strategic-merge-patch+json";
    let patched = server.patch(&path, kind, strategic).await.ok();
    let containers = &patched["spec"]["template"]["spec"]["containers"];
    assert_eq!(containers.as_array().map(Vec::len), Some(2));
    let json_patch = json!([{ "op": "replace", "path": "/spec/replicas", "value": 4 }]);
    let patched = server.patch(&path, "application/json-patch+json", json_patch).await.ok();
    assert_eq!(patched["spec"]["replicas"], 4);
    let fifth = server.patch(&path, "application/yaml", json!({})).await;
    assert_eq!(
        fifth.refused(415),
        "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, application/apply-patch+yaml"
    );
    let stale = json!({ "metadata": { "resourceVersion": "1" }, "spec": { "replicas": 1 } });
    server.patch(&path, MERGE, stale).await.refused(409);
}

#[tokio::test]
async fn unknown_fields_are_warned_of_or_refused() {
    let server = Server::start().await;
    let mut body = map("a", &json!({}));
    body["foo"] = 1.into();
    let strict = server.post(&format!("{MAPS}?fieldValidation=Strict"), body.clone()).await;
    assert_eq!(
        strict.refused(400),
        r#"ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: unknown field "foo""#
    );
    // As the conformance test of field validation sends it.
    let doubled = r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"d"},
        "spec":{"unknownField":"foo","replicas":2,"replicas":3}}"#;
    let request = Request::post(format!("{DEPLOYMENTS}?fieldValidation=Strict"));
    let request = request.header("content-type", "application/json").body(Body::from(doubled));
    let refused = server.send(request.expect("a request")).await.refused(400);
    let both = r#"strict decoding error: unknown field "spec.unknownField", duplicate field "spec.replicas""#;
    assert!(refused.ends_with(both), "{refused}");
    let warned = server.post(MAPS, body).await;
    assert_eq!(warned.headers["warning"], r#"299 - "unknown field \"foo\"""#);
    warned.ok();
}

#[tokio::test]
async fn a_dry_run_goes_all_the_way_but_leaves_nothing() {
    let server = Server::start().await;
    let made = server.post(&format!("{MAPS}?dryRun=All"), map("a", &json!({}))).await.ok();
    assert_eq!(made["metadata"].get("resourceVersion"), None);
    server.get(&format!("{MAPS}/a")).await.refused(404);
    server.post(MAPS, map("a", &json!({ "k": "1" }))).await.ok();
    server.post(&format!("{MAPS}?dryRun=All"), map("a", &json!({}))).await.refused(409);
    let path = format!("{MAPS}/a?dryRun=All");
    let put = server.put(&path, map("a", &json!({ "k": "2" }))).await.ok();
    assert_eq!(put["data"]["k"], "2");
    server.delete(&path, Value::Null).await.ok();
    assert_eq!(server.get(&format!("{MAPS}/a")).await.ok()["data"]["k"], "1");
}

#[tokio::test]
async fn finalizers_hold_an_object_until_the_last_one_is_taken() {
    let server = Server::start().await;
    let path = format!("{MAPS}/a");
    let held = json!({ "metadata": { "name": "a", "finalizers": ["x.io/a"] } });
    server.post(MAPS, held).await.ok();
    let marked = server.delete(&path, Value::Null).await.ok();
    assert!(marked["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 0);
    let add = json!({ "metadata": { "finalizers": ["x.io/a", "x.io/b"] } });
    server.patch(&path, MERGE, add).await.refused(422);
    let again = server.post(MAPS, map("a", &json!({}))).await;
    assert_eq!(again.refused(409), r#"object is being deleted: configmaps "a" already exists"#);
    server.patch(&path, MERGE, json!({ "metadata": { "finalizers": null } })).await.ok();
    server.get(&path).await.refused(404);
    server.post(MAPS, map("b", &json!({}))).await.ok();
    let unqualified = json!({ "metadata": { "finalizers": ["mine"] } });
    server.patch(&format!("{MAPS}/b"), MERGE, unqualified).await.refused(422);
}

#[tokio::test]
async fn a_deletion_says_what_went_and_keeps_to_its_preconditions() {
    let server = Server::start().await;
    let path = format!("{MAPS}/a");
    let made = server.post(MAPS, map("a", &json!({}))).await.ok();
    let other = json!({ "preconditions": { "uid": "x" } });
    let refused = server.delete(&path, other).await.refused(409);
    assert!(refused.contains("the UID in the precondition (x) does not match"), "{refused}");
    let gone = server.delete(&path, json!({ "propagationPolicy": "Background" })).await.ok();
    assert_eq!(gone["status"], "Success");
    assert_eq!(
        gone["details"],
        json!({ "name": "a", "kind": "configmaps", "uid": made["metadata"]["uid"] })
    );
    server.post(MAPS, map("b", &json!({}))).await.ok();
    let path = format!("{MAPS}/b?propagationPolicy=Foreground");
    let waiting = server.delete(&path, Value::Null).await.ok();
    assert_eq!(waiting["metadata"]["finalizers"], json!(["foregroundDeletion"]));
}

#[tokio::test]
async fn a_collection_is_deleted_by_selector() {
    let server = Server::start().await;
    for (name, app) in [("a", "x"), ("b", "x"), ("c", "y")] {
        let map = json!({ "metadata": { "name": name, "labels": { "app": app } } });
        server.post(MAPS, map).await.ok();
    }
    let gone = server.delete(&format!("{MAPS}?labelSelector=app%3Dx"), Value::Null).await.ok();
    assert_eq!(gone["items"].as_array().map(Vec::len), Some(2));
    let left = server.get(MAPS).await.ok();
    assert_eq!(left["items"][0]["metadata"]["name"], "c");
    assert_eq!(left["items"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn a_pod_is_bound_once_and_goes_gracefully() {
    let server = Server::start().await;
    with_service_account(&server).await;
    let made = server.post(PODS, pod("p")).await.ok();
    assert_eq!(made["status"]["phase"], "Pending");
    let bind = json!({ "metadata": { "name": "p" }, "target": { "kind": "Node", "name": "n" } });
    let path = format!("{PODS}/p");
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

#[tokio::test]
async fn a_namespace_waits_for_its_finalizers() {
    let server = Server::start().await;
    let path = "/api/v1/namespaces/a";
    let made = server.post("/api/v1/namespaces", json!({ "metadata": { "name": "a" } })).await.ok();
    assert_eq!(made["spec"]["finalizers"], json!(["kubernetes"]));
    let other = json!({ "preconditions": { "uid": "x" } });
    let refused = server.delete(path, other).await.refused(409);
    assert!(refused.contains("UID in precondition: x, UID in object meta: "), "{refused}");
    let going = server.delete(path, Value::Null).await.ok();
    assert_eq!(going["status"]["phase"], "Terminating");
    let late = server.post("/api/v1/namespaces/a/configmaps", map("m", &json!({}))).await;
    late.refused(403);
    let mut done = server.get(path).await.ok();
    done["spec"]["finalizers"] = json!([]);
    server.put(&format!("{path}/finalize"), done).await.ok();
    server.get(path).await.refused(404);
}

#[tokio::test]
async fn lists_are_cut_into_pages_of_one_revision() {
    let server = Server::start().await;
    for index in 0..5 {
        server.post(MAPS, map(&format!("m{index}"), &json!({}))).await.ok();
    }
    let first = server.get(&format!("{MAPS}?limit=2")).await.ok();
    assert_eq!(first["metadata"]["remainingItemCount"], 3);
    let token = first["metadata"]["continue"].as_str().expect("a token");
    server.post(MAPS, map("m9", &json!({}))).await.ok();
    let second = server.get(&format!("{MAPS}?limit=2&continue={token}")).await.ok();
    assert_eq!(second["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    assert_eq!(second["items"][0]["metadata"]["name"], "m2");
    let token = second["metadata"]["continue"].as_str().expect("a token");
    let third = server.get(&format!("{MAPS}?limit=2&continue={token}")).await.ok();
    assert_eq!(third["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(third["metadata"].get("continue"), None);
}

#[tokio::test]
async fn a_list_whose_revision_is_gone_can_go_on_with_what_there_is() {
    let config = ControlConfig { history: Duration::ZERO, ..ControlConfig::default() };
    let server = Server::start_with(config).await;
    for index in 0..4 {
        server.post(MAPS, map(&format!("m{index}"), &json!({}))).await.ok();
    }
    let first = server.get(&format!("{MAPS}?limit=2")).await.ok();
    let token = first["metadata"]["continue"].as_str().expect("a token");
    // Each write lets go of what came before.
    for index in 0..3 {
        server.post(MAPS, map(&format!("n{index}"), &json!({}))).await.ok();
    }
    let expired = server.get(&format!("{MAPS}?limit=2&continue={token}")).await;
    let status = expired.json();
    assert_eq!(status["reason"], "Expired");
    expired.refused(410);
    let token = status["metadata"]["continue"].as_str().expect("another token");
    let second = server.get(&format!("{MAPS}?limit=2&continue={token}")).await.ok();
    assert_ne!(second["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    assert_eq!(second["items"][0]["metadata"]["name"], "m2");
    assert_eq!(second["metadata"]["remainingItemCount"], 3);
}

#[tokio::test]
async fn selectors_select_and_unknown_fields_are_named() {
    let server = Server::start().await;
    with_service_account(&server).await;
    for name in ["a", "b"] {
        server.post(PODS, pod(name)).await.ok();
    }
    let names = |list: Value| {
        let items = list["items"].as_array().cloned().unwrap_or_default();
        items.iter().map(|item| item["metadata"]["name"].clone()).collect::<Value>()
    };
    let by = |query: &'static str| server.get(query);
    assert_eq!(names(by("/api/v1/pods?labelSelector=app%20in%20(a,c)").await.ok()), json!(["a"]));
    assert_eq!(names(by("/api/v1/pods?fieldSelector=metadata.name!%3Da").await.ok()), json!(["b"]));
    assert_eq!(
        names(by("/api/v1/pods?fieldSelector=spec.nodeName%3D").await.ok()),
        json!(["a", "b"])
    );
    assert_eq!(
        names(by("/api/v1/pods?fieldSelector=spec.restartPolicy%3DNever").await.ok()),
        json!([])
    );
    let unknown = by("/api/v1/pods?fieldSelector=foo%3Dbar").await;
    assert_eq!(unknown.refused(400), "field label not supported: foo");
    let unknown = by("/api/v1/configmaps?fieldSelector=foo%3Dbar").await;
    assert_eq!(
        unknown.refused(400),
        r#""foo" is not a known field selector: only "metadata.name", "metadata.namespace""#
    );
}

#[tokio::test]
async fn tables_and_partial_objects_are_made_on_demand() {
    let server = Server::start().await;
    server.post(MAPS, map("a", &json!({ "k": "v" }))).await.ok();
    let table = server.get_as(MAPS, TABLE).await.ok();
    assert_eq!((&table["kind"], &table["apiVersion"]), (&json!("Table"), &json!("meta.k8s.io/v1")));
    assert_eq!(table["columnDefinitions"][0]["name"], "Name");
    assert_eq!(table["rows"][0]["cells"][0], "a");
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    let accept = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
    let partial = server.get_as(MAPS, accept).await.ok();
    assert_eq!(partial["items"][0].get("data"), None);
    assert_eq!(partial["items"][0]["metadata"]["name"], "a");
    server.get_as(MAPS, "text/html").await.refused(406);
    let yaml = server.get_as(&format!("{MAPS}/a"), "application/yaml").await;
    assert!(yaml.text.contains("kind: ConfigMap\n"), "{}", yaml.text);
}

#[tokio::test]
async fn protobuf_goes_in_and_out() {
    let server = Server::start().await;
    let protobuf = "application/vnd.kubernetes.protobuf";
    let ty = crate::schema::schema().by_name("io.k8s.api.core.v1.ConfigMap").expect("known");
    let body = map("a", &json!({ "k": "v" }));
    let body = crate::schema::protobuf::encode(ty, "v1", "ConfigMap", &body);
    let request = Request::post(MAPS).header("content-type", protobuf).header("accept", protobuf);
    let response = server.raw(request.body(Body::from(body)).expect("a request")).await;
    assert_eq!(response.status(), StatusCode::CREATED);
    assert_eq!(response.headers()["content-type"], protobuf);
    let bytes = response.into_body().collect().await.expect("a body").to_bytes();
    let (_, kind, value) = crate::schema::protobuf::decode(&bytes).expect("protobuf");
    assert_eq!((kind.as_str(), &value["data"]["k"]), ("ConfigMap", &json!("v")));
}

#[tokio::test]
async fn a_watch_shows_what_happens_after_a_revision() {
    let server = Server::start().await;
    let first = server.post(MAPS, map("a", &json!({}))).await.ok();
    let version = first["metadata"]["resourceVersion"].as_str().expect("a version");
    let mut watch =
        Frames::open(&server, &format!("{MAPS}?watch=true&resourceVersion={version}")).await;
    server.post(MAPS, map("b", &json!({}))).await.ok();
    let patch = json!({ "data": { "k": "v" } });
    server.patch(&format!("{MAPS}/a"), MERGE, patch).await.ok();
    server.post("/api/v1/namespaces/kube-system/configmaps", map("z", &json!({}))).await.ok();
    server.delete(&format!("{MAPS}/b"), Value::Null).await.ok();
    for expected in ["ADDED b", "MODIFIED a", "DELETED b"] {
        assert_eq!(watch.summary().await, expected);
    }
}

#[tokio::test]
async fn objects_enter_and_leave_a_selection() {
    let server = Server::start().await;
    let path = format!("{MAPS}/a");
    let mut watch =
        Frames::open(&server, &format!("{MAPS}?watch=1&labelSelector=in&resourceVersion=0")).await;
    server.post(MAPS, map("a", &json!({}))).await.ok();
    let label = |value: Value| json!({ "metadata": { "labels": { "in": value } } });
    server.patch(&path, MERGE, label("1".into())).await.ok();
    server.patch(&path, MERGE, label("2".into())).await.ok();
    let out = server.patch(&path, MERGE, label(Value::Null)).await.ok();
    assert_eq!(watch.summary().await, "ADDED a");
    assert_eq!(watch.summary().await, "MODIFIED a");
    let left = watch.next().await.expect("a frame");
    assert_eq!(left["type"], "DELETED");
    assert_eq!(left["object"]["metadata"]["labels"]["in"], "2");
    assert_eq!(left["object"]["metadata"]["resourceVersion"], out["metadata"]["resourceVersion"]);
}

#[tokio::test]
async fn a_watch_can_begin_with_the_state_and_says_when_that_ends() {
    let server = Server::start().await;
    server.post(MAPS, map("a", &json!({}))).await.ok();
    let query =
        "watch=1&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan";
    let mut watch = Frames::open(&server, &format!("{MAPS}?{query}")).await;
    assert_eq!(watch.summary().await, "ADDED a");
    let bookmark = watch.next().await.expect("a frame");
    assert_eq!(bookmark["type"], "BOOKMARK");
    let annotations = &bookmark["object"]["metadata"]["annotations"];
    assert_eq!(annotations["k8s.io/initial-events-end"], "true");
}

#[tokio::test]
async fn a_watch_ends_at_its_timeout_behind_a_last_bookmark() {
    let server = Server::start().await;
    let query = "watch=1&timeoutSeconds=3&allowWatchBookmarks=true&resourceVersion=0";
    let mut watch = Frames::open(&server, &format!("{MAPS}?{query}")).await;
    // The first says that the state ends, the second that the watch does.
    assert_eq!(watch.summary().await, "BOOKMARK -");
    assert_eq!(watch.summary().await, "BOOKMARK -");
    assert_eq!(watch.next().await, None);
}

#[tokio::test]
async fn watches_end_when_the_control_plane_stops() {
    let server = Server::start().await;
    let mut watch = Frames::open(&server, &format!("{MAPS}?watch=1&resourceVersion=0")).await;
    server.0.stop().await;
    assert_eq!(watch.next().await, None);
}

#[tokio::test]
async fn discovery_names_what_is_served() {
    let server = Server::start().await;
    let core = server.get("/api/v1").await.ok();
    let named = |name: &str| {
        let all = core["resources"].as_array().cloned().unwrap_or_default();
        all.into_iter().find(|resource| resource["name"] == name).unwrap_or_default()
    };
    assert_eq!(named("pods")["shortNames"], json!(["po"]));
    assert_eq!(named("pods/eviction")["group"], "policy");
    assert_eq!(named("bindings")["verbs"], json!(["create"]));
    let groups = server.get("/apis").await.ok();
    assert_eq!(groups["kind"], "APIGroupList");
    let accept =
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
    let aggregated = server.get_as("/apis", accept).await;
    assert_eq!(
        aggregated.headers["content-type"],
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    );
    let tag = aggregated.headers["etag"].clone();
    let aggregated = aggregated.ok();
    let groups = aggregated["items"].as_array().expect("groups");
    assert!(groups.iter().any(|group| group["metadata"]["name"] == "apps"), "{groups:?}");
    let again = Request::get("/apis").header("accept", accept).header("if-none-match", tag);
    let again = server.send(again.body(Body::empty()).expect("a request")).await;
    assert_eq!(again.status, 304);
    assert_eq!(server.get("/apis/none").await.status, 404);
    assert_eq!(server.get("/version").await.ok()["minor"], "36");
}

#[tokio::test]
async fn nobody_gets_in_but_to_ask_for_health() {
    let server = Server::start().await;
    for (path, status) in
        [("/readyz", 200), ("/livez/ping", 200), ("/api/v1/pods", 401), ("/version", 401)]
    {
        let request = Request::get(path).body(Body::empty()).expect("a request");
        let response = server.0.router().oneshot(request).await.expect("infallible");
        assert_eq!(response.status().as_u16(), status, "{path}");
    }
    let verbose = server.get("/readyz?verbose").await;
    assert!(verbose.text.ends_with("readyz check passed\n"), "{}", verbose.text);
}

#[tokio::test]
async fn a_review_answers_and_is_not_kept() {
    let server = Server::start().await;
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let who = server.post(path, json!({})).await.ok();
    assert_eq!(who["status"]["userInfo"]["username"], "kubernetes-admin");
    server.get(path).await.refused(405);
}

#[tokio::test]
async fn methods_that_a_path_does_not_know_are_refused() {
    let server = Server::start().await;
    server.post("/api/v1/pods", pod("p")).await.refused(405);
    server.get("/api/v1/pods/p").await.refused(404);
    server.get("/api/v1/nonsense").await.refused(404);
    server.delete("/api/v1/namespaces", Value::Null).await.refused(405);
    server.get("/api/v1/namespaces/default/nodes").await.refused(404);
    for method in [Method::HEAD, Method::OPTIONS] {
        for path in [MAPS, "/api/v1", "/apis"] {
            let answer = server.call(method.clone(), path, &Value::Null).await;
            assert_eq!(answer.status, 405, "{method} {path}");
        }
    }
    let refused = server.call(Method::OPTIONS, MAPS, &Value::Null).await.json();
    assert_eq!((&refused["reason"], &refused["details"]), (&json!("MethodNotAllowed"), &json!({})));
    for path in ["/nonsense", "/apis/nonsense.io", "/apis/nonsense.io/v1/things"] {
        let lost = server.get(path).await;
        assert_eq!((lost.status, lost.text.as_str()), (404, "404 page not found\n"), "{path}");
    }
    server.get("/apis/apps/v9/things").await.refused(404);
}

#[tokio::test]
async fn a_timeout_that_is_no_duration_is_refused_but_of_a_watch() {
    let server = Server::start().await;
    for path in [MAPS, "/apis", "/version"] {
        assert_eq!(
            server.get(&format!("{path}?timeout=invalid")).await.refused(400),
            r#"invalid timeout specified in the request URL - time: invalid duration "invalid""#
        );
        server.get(&format!("{path}?timeout=90s")).await.ok();
    }
    Frames::open(&server, &format!("{MAPS}?watch=1&timeout=invalid")).await;
}

#[tokio::test]
async fn a_page_at_a_revision_is_of_that_revision() {
    let server = Server::start().await;
    for name in ["a", "b"] {
        server.post(MAPS, map(name, &json!({}))).await.ok();
    }
    let before = server.get(MAPS).await.ok();
    let revision = before["metadata"]["resourceVersion"].as_str().expect("a revision");
    server.delete(&format!("{MAPS}/a"), Value::Null).await.ok();
    // The newest list waits until the cache has seen the deletion.
    server.get(MAPS).await.ok();
    let first = async |query: &str| {
        let page = server.get(&format!("{MAPS}?resourceVersion={revision}{query}")).await.ok();
        page["items"][0]["metadata"]["name"].clone()
    };
    assert_eq!(first("&limit=1").await, "a");
    assert_eq!(first("&limit=1&resourceVersionMatch=Exact").await, "a");
    assert_eq!(first("&limit=1&resourceVersionMatch=NotOlderThan").await, "b");
    assert_eq!(first("").await, "b");
}

#[tokio::test]
async fn a_put_creates_where_the_kind_allows_it_whatever_version_it_names() {
    let server = Server::start().await;
    let lease = |version: &str| {
        json!({
            "metadata": { "name": "l", "resourceVersion": version },
            "spec": { "holderIdentity": "h" },
        })
    };
    let path = "/apis/coordination.k8s.io/v1/namespaces/default/leases/l";
    let made = server.put(path, lease("5")).await;
    assert_eq!(made.status, 201, "{}", made.text);
    server.put(path, lease("5")).await.refused(409);
    server.put(path, lease("")).await.refused(422);
    server.patch(&format!("{path}2"), MERGE, json!({})).await.refused(404);
    server.put(&format!("{MAPS}/none"), map("none", &json!({}))).await.refused(404);
}

#[tokio::test]
async fn a_status_update_may_write_what_of_the_metadata_its_kind_allows() {
    let server = Server::start().await;
    with_service_account(&server).await;
    server.post(PODS, pod("p")).await.ok();
    server.post(DEPLOYMENTS, deployment("d")).await.ok();
    let service = json!({ "metadata": { "name": "s" }, "spec": { "ports": [{ "port": 80 }] } });
    server.post("/api/v1/namespaces/default/services", service).await.ok();
    let patch = json!({ "metadata": {
        "labels": { "l": "1" }, "annotations": { "a": "1" },
        "ownerReferences": [{ "apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u" }],
    }});
    for (path, labelled, owned) in [
        (format!("{PODS}/p"), true, false),
        (format!("{DEPLOYMENTS}/d"), false, true),
        ("/api/v1/namespaces/default/services/s".to_owned(), true, true),
    ] {
        let patched = server.patch(&format!("{path}/status"), MERGE, patch.clone()).await.ok();
        let metadata = &patched["metadata"];
        assert_eq!(metadata["annotations"]["a"], "1", "{path}");
        assert_eq!(metadata["labels"]["l"] == "1", labelled, "{path}");
        assert_eq!(metadata["ownerReferences"].is_array(), owned, "{path}");
    }
}

#[tokio::test]
async fn a_condition_needs_no_time_and_a_series_does() {
    let server = Server::start().await;
    let service = json!({ "metadata": { "name": "s" }, "spec": { "ports": [{ "port": 80 }] } });
    let mut made = server.post("/api/v1/namespaces/default/services", service).await.ok();
    let condition = json!({
        "type": "t", "status": "True", "reason": "r", "message": "m", "lastTransitionTime": null,
    });
    made["status"]["conditions"] = json!([condition]);
    let path = "/api/v1/namespaces/default/services/s/status";
    let written = server.put(path, made).await.ok();
    assert_eq!(written["status"]["conditions"][0]["type"], "t");
    let event = json!({
        "metadata": { "name": "e" }, "regarding": { "namespace": "default" }, "action": "a",
        "eventTime": "2026-01-01T00:00:00.000000Z", "reason": "r", "type": "Normal",
        "reportingController": "x.io/c", "reportingInstance": "i", "series": { "count": 2 },
    });
    let refused = server.post("/apis/events.k8s.io/v1/namespaces/default/events", event).await;
    assert_eq!(
        refused.refused(422),
        r#"Event.events.k8s.io "e" is invalid: series.lastObservedTime: Required value"#
    );
}

#[tokio::test]
async fn who_uses_endpoints_is_told_of_their_successor() {
    let server = Server::start().await;
    let told = |answer: &Answer| answer.headers.get("warning").cloned();
    let listed = server.get("/api/v1/namespaces/default/endpoints").await;
    let expected =
        r#"299 - "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice""#;
    assert_eq!(told(&listed).expect("a warning"), expected);
    assert_eq!(told(&server.get(MAPS).await), None);
}

#[tokio::test]
async fn events_of_both_groups_are_one() {
    let server = Server::start().await;
    let event = json!({
        "metadata": { "name": "e" },
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "reportingController": "test.io/c",
        "reportingInstance": "i",
        "action": "Act",
        "reason": "Because",
        "type": "Normal",
        "regarding": { "kind": "Pod", "namespace": "default", "name": "p" },
        "note": "something",
    });
    let path = "/apis/events.k8s.io/v1/namespaces/default/events";
    let made = server.post(path, event).await.ok();
    assert_eq!(made["note"], "something");
    let core = server.get("/api/v1/namespaces/default/events/e").await.ok();
    assert_eq!(core["message"], "something");
    assert_eq!(core["apiVersion"], "v1");
    let read = server.get(&format!("{path}/e")).await.ok();
    assert_eq!(
        (&read["apiVersion"], &read["note"]),
        (&json!("events.k8s.io/v1"), &json!("something"))
    );
}

#[tokio::test]
async fn the_system_objects_are_there_from_the_start() {
    let server = Server::start().await;
    for namespace in ["default", "kube-system", "kube-public", "kube-node-lease"] {
        let object = server.get(&format!("/api/v1/namespaces/{namespace}")).await.ok();
        assert_eq!(object["status"]["phase"], "Active", "{namespace}");
        assert_eq!(object["metadata"]["labels"]["kubernetes.io/metadata.name"], namespace);
    }
    let service = server.get("/api/v1/namespaces/default/services/kubernetes").await.ok();
    assert_eq!(service["spec"]["clusterIP"], "10.96.0.1");
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused() {
    let server = Server::start().await;
    let large = map("a", &json!({ "k": "x".repeat(4 * 1024 * 1024) }));
    server.post(MAPS, large).await.refused(413);
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
async fn openapi_is_served_with_tags() {
    let server = Server::start().await;
    let index = server.get("/openapi/v3").await.ok();
    let url = index["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().expect("a path");
    let document = server.get(url).await;
    let tag = document.headers["etag"].clone();
    assert!(document.ok()["components"]["schemas"]["io.k8s.api.apps.v1.Deployment"].is_object());
    let again = Request::get(url).header("if-none-match", tag).body(Body::empty());
    assert_eq!(server.send(again.expect("a request")).await.status, 304);
    assert_eq!(server.get("/openapi/v2").await.ok()["swagger"], "2.0");
    server.get("/openapi/v3/apis/none/v1").await.refused(404);
    server.get_as("/openapi/v2", "application/com.github.proto").await.refused(406);
}

#[test]
fn every_stored_kind_has_a_list_type_for_protobuf() {
    for kind in crate::kinds::registry().iter() {
        if kind.info().storage != crate::kinds::Storage::Virtual {
            let ty = format!("{}List", kind.info().schema);
            assert!(crate::schema::schema().by_name(&ty).is_some(), "{ty}");
        }
    }
}

#[tokio::test]
async fn protobuf_watches_are_framed_by_length() {
    let server = Server::start().await;
    server.post(MAPS, map("a", &json!({}))).await.ok();
    let request = Request::get(format!("{MAPS}?watch=1&resourceVersion=0"))
        .header("accept", "application/vnd.kubernetes.protobuf,application/json");
    let response = server.raw(request.body(Body::empty()).expect("a request")).await;
    assert_eq!(
        response.headers()["content-type"],
        "application/vnd.kubernetes.protobuf;stream=watch"
    );
    let chunk = response.into_body().into_data_stream().next().await;
    let chunk = chunk.expect("a frame").expect("a chunk");
    let length = u32::from_be_bytes(chunk[..4].try_into().expect("four bytes")) as usize;
    assert_eq!(chunk.len(), 4 + length);
    assert_eq!(&chunk[4..11], b"\x0a\x05ADDED");
}

#[tokio::test]
async fn an_object_that_is_let_through_may_come_with_warnings() {
    let server = Server::start().await;
    with_service_account(&server).await;
    let texts = |answer: &Answer| -> Vec<String> {
        let all = answer.headers.get_all("warning").into_iter();
        all.map(|value| value.to_str().expect("text").to_owned()).collect()
    };
    let mut odd = pod("a.b");
    odd["spec"]["securityContext"] = json!({ "runAsUser": 1 });
    let created = server.post(PODS, odd).await;
    assert_eq!(created.status, 201, "{}", created.text);
    let told = texts(&created);
    assert!(told[0].contains("metadata.name: this is used in the Pod's hostname"), "{told:?}");
    assert_eq!(told[1], r#"299 - "spec.securityContext.runAsUser: has no effect on Copepod""#);
    let label = json!({ "metadata": { "labels": { "a": "b" } } });
    let patched = server.patch(&format!("{PODS}/a.b"), MERGE, label).await;
    assert_eq!((patched.status, texts(&patched).len()), (200, 0));
    let created = server.post(DEPLOYMENTS, deployment("d")).await;
    assert_eq!((created.status, texts(&created).len()), (201, 0));
    let selector = json!({ "beta.kubernetes.io/os": "linux" });
    let patch = json!({ "spec": { "template": { "spec": { "nodeSelector": selector } } } });
    let patched = server.patch(&format!("{DEPLOYMENTS}/d"), MERGE, patch.clone()).await;
    assert_eq!(
        texts(&patched),
        [
            r#"299 - "spec.template.spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \"kubernetes.io/os\" instead""#
        ]
    );
    let again = server.patch(&format!("{DEPLOYMENTS}/d"), MERGE, patch).await;
    assert_eq!((again.status, texts(&again).len()), (200, 0));
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

#[tokio::test]
async fn a_deletion_is_begun_by_deleting_alone() {
    let server = Server::start().await;
    server.post(MAPS, map("a", &json!({}))).await.ok();
    let path = format!("{MAPS}/a");
    for (field, value, shown) in [
        ("deletionTimestamp", json!("2030-01-01T00:00:00Z"), "\"2030-01-01T00:00:00Z\""),
        ("deletionGracePeriodSeconds", json!(5), "5"),
    ] {
        let patch = json!({ "metadata": { field: value } });
        let refused = server.patch(&path, MERGE, patch).await.refused(422);
        let why = format!(
            "ConfigMap \"a\" is invalid: metadata.{field}: Invalid value: {shown}: field is immutable"
        );
        assert_eq!(refused, why);
    }
    let held = json!({ "metadata": { "finalizers": ["x.io/a"] } });
    server.patch(&path, MERGE, held).await.ok();
    let marked = server.delete(&path, Value::Null).await.ok();
    let patch = json!({ "metadata": { "deletionTimestamp": "2030-01-01T00:00:00Z" } });
    let kept = server.patch(&path, MERGE, patch).await.ok();
    assert_eq!(kept["metadata"]["deletionTimestamp"], marked["metadata"]["deletionTimestamp"]);
}

#[tokio::test]
async fn fields_are_selected_by_the_names_that_upstream_knows() {
    let server = Server::start().await;
    with_service_account(&server).await;
    let mut placed = pod("p");
    placed["spec"]["nodeName"] = "n".into();
    server.post(PODS, placed).await.ok();
    server.post(PODS, pod("q")).await.ok();
    for (field, count) in [
        ("spec.host=n", 1),
        ("spec.nodeName=n", 1),
        ("spec.hostNetwork=false", 2),
        ("status.nominatedNodeName=", 2),
        ("metadata.namespace=default", 2),
    ] {
        let list = server.get(&format!("{PODS}?fieldSelector={field}")).await.ok();
        assert_eq!(list["items"].as_array().map(Vec::len), Some(count), "{field}");
    }
    for (path, field) in [
        (PODS, "spec.hostname"),
        ("/api/v1/nodes", "metadata.namespace"),
        ("/api/v1/namespaces", "name"),
    ] {
        let refused = server.get(&format!("{path}?fieldSelector={field}%3Da")).await.refused(400);
        assert_eq!(refused, format!("field label not supported: {field}"));
    }
    let sets = "/apis/apps/v1/replicasets?fieldSelector=status.replicas%3D1";
    assert_eq!(
        server.get(sets).await.refused(400),
        r#""status.replicas" is not a known field selector: only "metadata.name", "metadata.namespace""#
    );
}

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

#[tokio::test]
async fn an_error_has_the_form_that_was_asked_for() {
    let server = Server::start().await;
    let path = format!("{MAPS}/none");
    let raw = |accept: &str| {
        let request = Request::get(&path).header("accept", accept);
        server.raw(request.body(Body::empty()).expect("a request"))
    };
    let message = raw(PROTOBUF).await;
    assert_eq!(
        (message.status(), &message.headers()["content-type"]),
        (StatusCode::NOT_FOUND, &http::HeaderValue::from_static(PROTOBUF))
    );
    let bytes = message.into_body().collect().await.expect("a body").to_bytes();
    let (version, kind, status) = crate::schema::protobuf::decode(&bytes).expect("a message");
    assert_eq!((version.as_str(), kind.as_str()), ("v1", "Status"));
    assert_eq!(status["message"], r#"configmaps "none" not found"#);
    assert_eq!(raw("application/yaml").await.headers()["content-type"], "application/yaml");
    for other in ["text/html", TABLE] {
        let answer = server.get_as(&path, other).await;
        let expected = if other == TABLE { 404 } else { 406 };
        assert_eq!((answer.status, answer.json()["kind"].clone()), (expected, json!("Status")));
    }
    let partial = format!("{PROTOBUF};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1");
    let list = Request::get(MAPS).header("accept", partial).body(Body::empty());
    let list = server.raw(list.expect("a request")).await;
    assert_eq!(list.headers()["content-type"], PROTOBUF);
}

#[tokio::test]
async fn a_schema_is_found_by_its_hash() {
    let server = Server::start().await;
    let index = server.get("/openapi/v3").await;
    assert!(index.headers.contains_key("etag"));
    let address = index.ok()["paths"]["api/v1"]["serverRelativeURL"].clone();
    let address = address.as_str().expect("an address");
    let right = server.get(address).await;
    assert_eq!(right.status, 200);
    assert_eq!(right.headers["cache-control"], "public, immutable");
    assert!(right.headers["expires"].to_str().expect("text").ends_with(" GMT"));
    let tag = right.headers["etag"].to_str().expect("text").to_owned();
    let wrong = server.get("/openapi/v3/api/v1?hash=x").await;
    assert_eq!(
        (wrong.status, &wrong.headers["location"]),
        (301, &http::HeaderValue::from_str(address).expect("text"))
    );
    assert_eq!(
        server.get("/openapi/v3/api/v1").await.headers["cache-control"],
        "no-cache, private"
    );
    let again =
        Request::get("/openapi/v3/api/v1").header("if-none-match", format!("\"x\", W/{tag}"));
    assert_eq!(server.send(again.body(Body::empty()).expect("a request")).await.status, 304);
}

#[tokio::test]
async fn single_checks_bear_upstreams_names_and_can_be_left_out() {
    let server = Server::start().await;
    let single = server.get("/readyz/etcd").await;
    assert_eq!((single.status, single.text.as_str()), (200, "ok"));
    assert_eq!(single.headers["x-content-type-options"], "nosniff");
    let report = server.get("/livez?verbose&exclude=etcd&exclude=none").await;
    assert_eq!(
        report.text,
        "[+]ping ok\n[+]etcd excluded: ok\nwarn: some health checks cannot be excluded: no matches for \"none\"\nlivez check passed\n"
    );
    let metrics = server.get("/metrics").await;
    assert_eq!(metrics.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
}
