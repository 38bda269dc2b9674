//! Observability: trace context in and out, spans, latencies.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use copepod_runtime::{Body, Container, HttpError, HttpHandler, Sandbox};
use http::Request;
use http_body_util::{BodyExt, Empty};
use tracing::Subscriber;
use tracing::span::{Attributes, Id, Record};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry;

use crate::support::{Net, http, soon, spec, start};

const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

async fn serve(sandbox: &Sandbox) -> Container {
    sandbox.start(spec(http().await, &[]).0).unwrap()
}

/// Asks with a trace context.
async fn ask(handler: &HttpHandler, path: &str, parent: &str) -> String {
    let empty = Empty::new().map_err(HttpError::from).boxed_unsync();
    let request: Request<Body> = Request::get(format!("http://service.example{path}"))
        .header("traceparent", parent)
        .header("tracestate", "vendor=1")
        .body(empty)
        .unwrap();
    let response = soon("the response", handler.call(request)).await.unwrap();
    assert!(response.status().is_success(), "{response:?}");
    let bytes = soon("the body", response.into_body().collect()).await.unwrap().to_bytes();
    String::from_utf8(bytes.into()).unwrap()
}

fn headers(text: &str) -> HashMap<&str, &str> {
    text.lines().filter_map(|line| line.split_once(": ")).collect()
}

#[tokio::test]
async fn a_trace_goes_into_the_guest_and_out_of_it_with_a_new_span() {
    let net = Net::new();
    let (caller, callee) = (net.sandbox("10.0.0.1"), net.sandbox("10.0.0.2"));
    let _serving = (serve(&caller).await, serve(&callee).await);
    let handler = net.switch.http("10.0.0.1:80".parse().unwrap()).unwrap();
    let parent = format!("00-{ID}-00f067aa0ba902b7-01");
    let seen = ask(&handler, "/headers", &parent).await;
    assert_eq!(headers(&seen)["traceparent"], parent);
    assert_eq!(headers(&seen)["tracestate"], "vendor=1");
    let mut spans = Vec::new();
    for _ in 0..2 {
        let passed = ask(&handler, "/fetch?10.0.0.2/headers", &parent).await;
        let passed = headers(&passed);
        let child: Vec<_> = passed["traceparent"].split('-').map(str::to_owned).collect();
        assert_eq!((&*child[0], &*child[1], &*child[3]), ("00", ID, "01"));
        assert_eq!(passed["tracestate"], "vendor=1");
        spans.push(child[2].clone());
    }
    assert_ne!(spans[0], spans[1]);
    assert!(!spans.contains(&"00f067aa0ba902b7".to_owned()), "{spans:?}");
    let passed = ask(&handler, "/fetch?10.0.0.2/headers", "nonsense").await;
    assert!(!headers(&passed).contains_key("traceparent"), "{passed}");
}

#[tokio::test]
async fn starts_and_requests_are_timed() {
    let net = Net::new();
    let sandbox = net.sandbox("10.0.0.1");
    let (command, recorder) = start(&sandbox, &["sleep"]).await;
    recorder.says("sleeping").await;
    let began = command.stats().start_latency.expect("it has started");
    assert!(began.as_nanos() > 0);
    assert_eq!(command.stats().request_latency.count(), 0);
    let serving = serve(&sandbox).await;
    assert!(serving.stats().start_latency.is_some());
    let handler = net.switch.http("10.0.0.1:80".parse().unwrap()).unwrap();
    for _ in 0..3 {
        ask(&handler, "/hello", "none").await;
    }
    ask(&handler, "/slow?30", "none").await;
    let latency = serving.stats().request_latency;
    assert_eq!(latency.count(), 4);
    assert!(latency.sum.as_nanos() > 0);
    command.kill();
}

/// Keeps what spans are made, and what is recorded in them later. (Their ends are not seen by the listener of one
/// thread alone: a request's span ends with the guest's, on the guest's thread.)
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Vec<String>>>);

impl<S: Subscriber> Layer<S> for Spans {
    fn on_new_span(&self, span: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        let line = format!("{} {:?}", span.metadata().name(), span.values());
        self.0.lock().unwrap().push(line);
    }

    fn on_record(&self, _: &Id, values: &Record<'_>, _: Context<'_, S>) {
        self.0.lock().unwrap().push(format!("recorded {values:?}"));
    }
}

#[tokio::test]
async fn a_start_and_a_request_are_spans() {
    let spans = Spans::default();
    let listening = tracing::subscriber::set_default(registry().with(spans.clone()));
    let net = Net::new();
    let sandbox = net.sandbox("10.0.0.1");
    let _serving = serve(&sandbox).await;
    let handler = net.switch.http("10.0.0.1:80".parse().unwrap()).unwrap();
    let parent = format!("00-{ID}-00f067aa0ba902b7-01");
    ask(&handler, "/hello", &parent).await;
    drop(listening);
    let spans = spans.0.lock().unwrap().clone();
    for (begins, fields) in [
        ("start ", &["test:http", "Http"][..]),
        ("request ", &["main", "/hello", ID]),
        ("recorded ", &["status", "200"]),
    ] {
        let found = spans.iter().find(|line| line.starts_with(begins));
        let found = found.unwrap_or_else(|| panic!("no {begins}: {spans:?}"));
        for field in fields {
            assert!(found.contains(field), "{found}");
        }
    }
}
