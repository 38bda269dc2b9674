//! Fairness as clients meet it: through the service, over a store in memory.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _};
use http::{Method, Request};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tower::ServiceExt as _;

use crate::auth::{Identity, UserInfo};
use crate::config::ControlConfig;
use crate::server::ControlPlane;
use crate::{Ambient, Io, NodeDialer};

const LEVELS: &str = "/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations";
const SCHEMAS: &str = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const REFUSED: &str = "Too many requests, please try again later.\n";

struct NoNodes;

#[async_trait]
impl NodeDialer for NoNodes {
    async fn connect(&self, _node: &str, _ip: IpAddr, _port: u16) -> io::Result<Box<dyn Io>> {
        Err(io::ErrorKind::ConnectionRefused.into())
    }
}

struct Server(ControlPlane);

impl Server {
    /// Without controllers: there are no objects but those that a test makes.
    async fn start() -> Self {
        let config = ControlConfig::default();
        let started = ControlPlane::start_bare(config, Arc::new(NoNodes), Ambient::real()).await;
        Self(started.expect("it starts"))
    }

    /// As a client that came over a socket.
    fn send(&self, user: &str, request: Request<Body>) -> JoinHandle<Response> {
        let identity = match user {
            "admin" => Identity::admin(),
            user => Identity::of(UserInfo::authenticated(user, &[])),
        };
        let (router, mut request) = (self.0.router(), request);
        request.extensions_mut().insert(identity);
        tokio::spawn(async move { router.oneshot(request).await.expect("infallible") })
    }

    async fn call(&self, user: &str, method: Method, path: &str, body: &Value) -> Response {
        let request = Request::builder().method(method).uri(path);
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let request = request.header("content-type", "application/json").body(body);
        self.send(user, request.expect("a request")).await.expect("no panic")
    }

    async fn get(&self, user: &str, path: &str) -> Response {
        self.call(user, Method::GET, path, &Value::Null).await
    }

    /// A request that holds its seat until its body has been sent.
    fn hold(&self, user: &str, name: &str) -> (mpsc::UnboundedSender<Bytes>, JoinHandle<Response>) {
        let (body, chunks) = mpsc::unbounded_channel::<Bytes>();
        let chunks = futures::stream::unfold(chunks, |mut chunks| async move {
            let chunk = chunks.recv().await?;
            Some((Ok::<_, std::convert::Infallible>(chunk), chunks))
        });
        let map = json!({"metadata": {"name": name}}).to_string();
        body.send(Bytes::from(map)).expect("somebody reads");
        let request = Request::post(MAPS).header("content-type", "application/json");
        (body, self.send(user, request.body(Body::from_stream(chunks)).expect("a request")))
    }

    /// A level, and a schema that sends these users to it.
    async fn level(&self, name: &str, limited: Value, users: &[&str]) {
        let level =
            json!({"metadata": {"name": name}, "spec": {"type": "Limited", "limited": limited}});
        let created = self.call("admin", Method::POST, LEVELS, &level).await;
        assert_eq!(created.status(), 201, "{}", text(created).await);
        let subjects: Vec<Value> =
            users.iter().map(|user| json!({"kind": "User", "user": {"name": user}})).collect();
        let schema = json!({"metadata": {"name": name}, "spec": {
            "priorityLevelConfiguration": {"name": name},
            "matchingPrecedence": 50,
            "distinguisherMethod": {"type": "ByUser"},
            "rules": [{"subjects": subjects, "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"],
                "resources": ["*"], "namespaces": ["*"], "clusterScope": true}]}],
        }});
        let created = self.call("admin", Method::POST, SCHEMAS, &schema).await;
        assert_eq!(created.status(), 201, "{}", text(created).await);
        self.until("the schema is followed", async || {
            let uid = self.get("admin", &format!("{SCHEMAS}/{name}")).await;
            let uid = json_of(uid).await["metadata"]["uid"].as_str().map(str::to_owned);
            uid == header(&self.get(users[0], "/api/v1/nodes/none").await, SCHEMA_UID)
        })
        .await;
    }

    async fn until(&self, what: &str, holds: impl AsyncFn() -> bool) {
        let waited = async {
            while !holds().await {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), waited)
            .await
            .unwrap_or_else(|_| panic!("never: {what}"));
    }

    /// The row of a level in a dump, without commas.
    async fn row(&self, dump: &str, level: &str) -> Vec<String> {
        let path = format!("/debug/api_priority_and_fairness/{dump}");
        let dump = text(self.get("admin", &path).await).await;
        let row = dump.lines().find(|line| line.starts_with(&format!("{level},")));
        let row = row.unwrap_or_default().split(',');
        row.map(|cell| cell.trim().to_owned()).collect()
    }

    async fn executing(&self, level: &str) -> String {
        self.row("dump_priority_levels", level).await.get(5).cloned().unwrap_or_default()
    }
}

const SCHEMA_UID: &str = "x-kubernetes-pf-flowschema-uid";
const LEVEL_UID: &str = "x-kubernetes-pf-prioritylevel-uid";

fn header(response: &Response, name: &str) -> Option<String> {
    Some(response.headers().get(name)?.to_str().expect("text").to_owned())
}

async fn text(response: Response) -> String {
    let bytes = response.into_body().collect().await.expect("a body").to_bytes();
    String::from_utf8_lossy(&bytes).into_owned()
}

async fn json_of(response: Response) -> Value {
    serde_json::from_str(&text(response).await).expect("JSON")
}

/// One request at a time.
fn jail() -> Value {
    json!({"nominalConcurrencyShares": 0, "lendablePercent": 0, "borrowingLimitPercent": 0,
        "limitResponse": {"type": "Reject"}})
}

#[tokio::test]
async fn an_overloaded_level_refuses_its_own_and_nobody_else() {
    let server = Server::start().await;
    server.level("jail", jail(), &["heavy"]).await;
    let (body, held) = server.hold("heavy", "held");
    server.until("it is served", async || server.executing("jail").await == "1").await;
    let refused = server.get("heavy", MAPS).await;
    assert_eq!(refused.status(), 429);
    assert_eq!(header(&refused, "retry-after").as_deref(), Some("1"));
    assert_eq!(header(&refused, "x-content-type-options").as_deref(), Some("nosniff"));
    assert_eq!(header(&refused, "content-type").as_deref(), Some("text/plain; charset=utf-8"));
    let level = json_of(server.get("admin", &format!("{LEVELS}/jail")).await).await;
    assert_eq!(header(&refused, LEVEL_UID).as_deref(), level["metadata"]["uid"].as_str());
    assert_eq!(text(refused).await, REFUSED);
    for other in ["light", "admin"] {
        assert_eq!(server.get(other, MAPS).await.status(), 200, "{other}");
    }
    drop(body);
    assert_eq!(held.await.expect("no panic").status(), 201);
    assert_eq!(server.get("heavy", MAPS).await.status(), 200);
    let metrics = text(server.get("admin", "/metrics").await).await;
    for line in [
        r#"apiserver_flowcontrol_rejected_requests_total{priority_level="jail",flow_schema="jail",reason="concurrency-limit"} 1"#,
        r#"apiserver_flowcontrol_current_executing_requests{priority_level="jail",flow_schema="jail"} 0.0"#,
        r#"apiserver_flowcontrol_nominal_limit_seats{priority_level="catch-all"} 600.0"#,
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
}

#[tokio::test]
async fn a_request_waits_a_quarter_of_its_time_and_is_served_when_a_seat_is_free() {
    let server = Server::start().await;
    let queued = json!({"nominalConcurrencyShares": 0, "lendablePercent": 0,
        "borrowingLimitPercent": 0, "limitResponse": {"type": "Queue", "queuing":
        {"queues": 2, "handSize": 1, "queueLengthLimit": 1}}});
    server.level("busy", queued.clone(), &["heavy"]).await;
    // Without seats nobody is served.
    let refused = server.get("heavy", &format!("{MAPS}?timeout=40ms")).await;
    assert_eq!((refused.status().as_u16(), text(refused).await.as_str()), (429, REFUSED));
    let request = || Request::get(MAPS).body(Body::empty()).expect("a request");
    let waiting = server.send("heavy", request());
    server
        .until("it waits", async || {
            server.row("dump_priority_levels", "busy").await.get(4).is_some_and(|n| n == "1")
        })
        .await;
    let asked = server.row("dump_requests?includeRequestDetails=1", "busy").await;
    assert_eq!((&*asked[1], &*asked[3], &*asked[4]), ("busy", "0", "heavy"), "{asked:?}");
    assert_eq!((&*asked[11], &*asked[12], &*asked[16]), ("list", MAPS, "configmaps"), "{asked:?}");
    let full = server.get("heavy", MAPS).await;
    assert_eq!(full.status(), 429, "the queue is full");
    // More seats: it is served.
    let mut wider = queued;
    wider["nominalConcurrencyShares"] = 5.into();
    let patch = json!({"spec": {"limited": wider}}).to_string();
    let request = Request::patch(format!("{LEVELS}/busy"))
        .header("content-type", "application/merge-patch+json")
        .body(Body::from(patch));
    let patched = server.send("admin", request.expect("a request")).await.expect("no panic");
    assert_eq!(patched.status(), 200, "{}", text(patched).await);
    assert_eq!(waiting.await.expect("no panic").status(), 200);
}

#[tokio::test]
async fn a_client_that_goes_leaves_its_place() {
    let server = Server::start().await;
    server.level("jail", jail(), &["heavy"]).await;
    let (_body, held) = server.hold("heavy", "held");
    server.until("it is served", async || server.executing("jail").await == "1").await;
    held.abort();
    server.until("the seat is free", async || server.executing("jail").await == "0").await;
    assert_eq!(server.get("heavy", MAPS).await.status(), 200);
}

#[tokio::test]
async fn a_watch_holds_a_seat_while_it_begins() {
    let server = Server::start().await;
    server.level("jail", jail(), &["heavy"]).await;
    let map = json!({"metadata": {"name": "a"}});
    server.call("admin", Method::POST, MAPS, &map).await;
    let watch = server.get("heavy", &format!("{MAPS}?watch=true")).await;
    assert_eq!(watch.status(), 200);
    assert_eq!(server.get("heavy", MAPS).await.status(), 429, "the watch has not begun");
    let mut events = watch.into_body().into_data_stream();
    let first = events.next().await.expect("an event").expect("sound");
    assert!(String::from_utf8_lossy(&first).contains("ADDED"));
    while events.next().now_or_never().is_some() {}
    assert_eq!(server.get("heavy", MAPS).await.status(), 200, "the watch goes on without a seat");
    let one_more = json!({"metadata": {"name": "b"}});
    server.call("admin", Method::POST, MAPS, &one_more).await;
    let second = events.next().await.expect("an event").expect("sound");
    assert!(String::from_utf8_lossy(&second).contains("\"b\""));
}

#[tokio::test]
async fn schemas_are_told_whether_their_level_is_there() {
    let server = Server::start().await;
    let schema = json!({"metadata": {"name": "lost"}, "spec": {
        "priorityLevelConfiguration": {"name": "nowhere"}}});
    let created = server.call("admin", Method::POST, SCHEMAS, &schema).await;
    assert_eq!(created.status(), 201);
    let path = format!("{SCHEMAS}/lost");
    let condition = async || {
        let schema = json_of(server.get("admin", &path).await).await;
        schema["status"]["conditions"][0].clone()
    };
    server.until("it dangles", async || condition().await["status"] == "True").await;
    let told = condition().await;
    assert_eq!((&told["type"], &told["reason"]), (&json!("Dangling"), &json!("NotFound")));
    let level = json!({"metadata": {"name": "nowhere"},
        "spec": {"type": "Limited", "limited": {"limitResponse": {"type": "Reject"}}}});
    server.call("admin", Method::POST, LEVELS, &level).await;
    server.until("it is found", async || condition().await["status"] == "False").await;
    assert_eq!(
        condition().await["message"],
        "This FlowSchema references the PriorityLevelConfiguration object named \"nowhere\" and it exists"
    );
}

#[tokio::test]
async fn a_cluster_has_its_objects_and_keeps_them() {
    let config = ControlConfig::default();
    let plane = ControlPlane::start(config, Arc::new(NoNodes), Ambient::real()).await;
    let server = Server(plane.expect("it starts"));
    let count = async |path: &str| {
        json_of(server.get("admin", path).await).await["items"].as_array().map_or(0, Vec::len)
    };
    server
        .until("all are there", async || (count(LEVELS).await, count(SCHEMAS).await) == (8, 11))
        .await;
    server
        .until("all are told", async || {
            let schemas = json_of(server.get("admin", SCHEMAS).await).await;
            let mut items = schemas["items"].as_array().expect("items").iter();
            items.all(|schema| schema["status"]["conditions"][0]["status"] == "False")
        })
        .await;
    let uid = |response: &Response| header(response, SCHEMA_UID).filter(|uid| !uid.is_empty());
    server
        .until("requests bear UIDs", async || uid(&server.get("ann", MAPS).await).is_some())
        .await;
    let (admin, ann) = (server.get("admin", MAPS).await, server.get("ann", MAPS).await);
    assert_ne!(uid(&admin), uid(&ann));
    let change = json!({"spec": {"matchingPrecedence": 7}}).to_string();
    for (name, status) in [("catch-all", 422), ("system-nodes", 200)] {
        let request = Request::patch(format!("{SCHEMAS}/{name}"))
            .header("content-type", "application/merge-patch+json")
            .body(Body::from(change.clone()));
        let patched = server.send("admin", request.expect("a request")).await.expect("no panic");
        assert_eq!(patched.status(), status, "{name}");
    }
    let queues = server.row("dump_queues", "workload-low").await;
    assert_eq!(queues.len(), 9, "{queues:?}");
    server.0.stop().await;
}

/// One seat for everybody, and many who want it.
#[tokio::test(flavor = "multi_thread")]
async fn everybody_who_may_wait_is_served_in_the_end() {
    let server = Server::start().await;
    let narrow = json!({"nominalConcurrencyShares": 1, "lendablePercent": 0,
        "borrowingLimitPercent": 0, "limitResponse": {"type": "Queue", "queuing":
        {"queues": 64, "handSize": 6, "queueLengthLimit": 50}}});
    server.level("narrow", narrow, &["a", "b", "c"]).await;
    let sent: Vec<_> = (0..240)
        .map(|index| {
            let user = ["a", "b", "c"][index % 3];
            let map = json!({"metadata": {"name": format!("m{index}")}}).to_string();
            let request = Request::post(MAPS).header("content-type", "application/json");
            server.send(user, request.body(Body::from(map)).expect("a request"))
        })
        .collect();
    for response in futures::future::join_all(sent).await {
        assert_eq!(response.expect("no panic").status(), 201);
    }
    server.until("all is quiet", async || server.executing("narrow").await == "0").await;
    let row = server.row("dump_priority_levels", "narrow").await;
    assert_eq!((&*row[4], &*row[7]), ("0", "0"), "{row:?}");
}
