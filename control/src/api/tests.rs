//! The verbs, through the service as clients see it, over a store in memory.

mod access;
mod apply;
mod deletions;
mod forms;
mod lists;
mod paths;
mod pods;
mod storage;
mod streams;
mod watches;
mod workloads;
mod writes;

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

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const MERGE: &str = "application/merge-patch+json";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
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
