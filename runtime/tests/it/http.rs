use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use copepod_runtime::{
    Body, Container, ExitCause, HttpError, HttpHandler, Route, Sandbox, StartError,
};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use tokio::io::AsyncReadExt;
use wasmtime_wasi_http::io::TokioIo;

use crate::support::{Net, Recorder, http, run, soon, spec};

const FIRST: ([u8; 4], u16) = ([10, 0, 0, 1], 80);

async fn serve(sandbox: &Sandbox) -> (Container, Arc<Recorder>) {
    let (spec, recorder) = spec(http().await, &[]);
    (sandbox.start(spec).unwrap(), recorder)
}

fn get(path: &str) -> Request<Body> {
    let empty = Empty::new().map_err(HttpError::from).boxed_unsync();
    let uri = format!("http://service.example{path}");
    Request::get(uri).body(empty).unwrap()
}

async fn text(response: Response<Body>) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.into()).unwrap()
}

async fn ask(handler: &HttpHandler, path: &str) -> (StatusCode, String) {
    let response = soon("the response", handler.call(get(path))).await.unwrap();
    (response.status(), soon("the body", text(response)).await)
}

#[tokio::test]
async fn each_request_gets_an_instance_of_its_own() {
    let net = Net::new();
    let sandbox = net.sandbox("10.0.0.1");
    let (container, _) = serve(&sandbox).await;
    let handler = net.switch.http(FIRST.into()).unwrap();
    for _ in 0..3 {
        let (status, text) = ask(&handler, "/hello").await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(text, "hello service.example, call 1");
    }
    let stats = container.stats();
    assert_eq!((stats.requests, stats.errors), (3, 0));
    let gone = async {
        while container.stats().memory_bytes > 0 {
            tokio::task::yield_now().await;
        }
    };
    soon("the instances' end", gone).await;
}

#[tokio::test]
async fn a_connection_through_the_switch_speaks_http() {
    let net = Net::new();
    let sandbox = net.sandbox("10.0.0.1");
    let _serving = serve(&sandbox).await;
    let from = SocketAddr::from(([10, 0, 0, 200], 5000));
    let stream = net.switch.connect(from, FIRST.into()).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    // Twice over one connection, and a body larger than any buffer between.
    for _ in 0..2 {
        let body = vec![b'x'; 300_000];
        let request = Request::post("/echo")
            .header("host", "elsewhere")
            .body(Full::new(Bytes::from(body.clone())))
            .unwrap();
        let response = soon("the response", sender.send_request(request)).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let echoed = soon("the body", response.into_body().collect()).await.unwrap();
        assert!(echoed.to_bytes() == body);
    }
    // A body that the component does not read does not cost the connection.
    for _ in 0..2 {
        let request = Request::post("/hello")
            .header("host", "elsewhere")
            .body(Full::new(Bytes::from(vec![b'x'; 200_000])))
            .unwrap();
        soon("the connection", sender.ready()).await.unwrap();
        let response = soon("the response", sender.send_request(request)).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        soon("the body", response.into_body().collect()).await.unwrap();
    }
}

#[tokio::test]
async fn a_request_without_a_host_gets_the_address_as_its_authority() {
    let net = Net::new();
    let sandbox = net.sandbox("10.0.0.1");
    let _serving = serve(&sandbox).await;
    let handler = net.switch.http(FIRST.into()).unwrap();
    let empty = Empty::new().map_err(HttpError::from).boxed_unsync();
    let request = Request::get("/hello").body(empty).unwrap();
    let response = handler.call(request).await.unwrap();
    assert_eq!(text(response).await, "hello 10.0.0.1:80, call 1");
}

#[tokio::test]
async fn a_failing_request_is_answered_500_and_harms_no_other() {
    let net = Net::new();
    let sandbox = net.sandbox("10.0.0.1");
    let (container, recorder) = serve(&sandbox).await;
    let handler = net.switch.http(FIRST.into()).unwrap();
    for path in ["/panic", "/silent"] {
        let (status, _) = ask(&handler, path).await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR, "{path}");
    }
    assert!(recorder.stderr().contains("on purpose"));
    assert!(recorder.stderr().contains("wasm trap"));
    assert_eq!(ask(&handler, "/hello").await.0, StatusCode::OK);
    assert_eq!(container.stats().errors, 2);
}

#[tokio::test]
async fn passing_the_memory_limit_in_a_request_ends_the_container() {
    let net = Net::new();
    let sandbox = net.sandbox("10.0.0.1");
    let (mut spec, _) = spec(http().await, &[]);
    spec.limits.memory.bytes = Some(32 << 20);
    let container = sandbox.start(spec).unwrap();
    let handler = net.switch.http(FIRST.into()).unwrap();
    let (status, _) = ask(&handler, "/bomb").await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    let exit = soon("the exit", container.exited()).await;
    assert_eq!((exit.code, exit.cause), (137, ExitCause::OutOfMemory));
    assert!(net.switch.http(FIRST.into()).is_none());
}

#[tokio::test]
async fn a_response_begins_before_its_body_ends() {
    let net = Net::new();
    let sandbox = net.sandbox("10.0.0.1");
    let (container, _) = serve(&sandbox).await;
    let handler = net.switch.http(FIRST.into()).unwrap();
    let response = soon("the head", handler.call(get("/slow?3600000"))).await.unwrap();
    let mut body = response.into_body();
    let first = soon("the first part", body.frame()).await.unwrap().unwrap();
    assert_eq!(first.into_data().unwrap(), "first ");
    container.kill();
    assert_eq!(soon("the exit", container.exited()).await.code, 137);
    assert!(soon("the end", body.collect()).await.is_err());
}

#[tokio::test]
async fn a_stop_lets_requests_finish_and_takes_no_new_ones() {
    let net = Net::new();
    let sandbox = net.sandbox("10.0.0.1");
    let (container, _) = serve(&sandbox).await;
    let handler = net.switch.http(FIRST.into()).unwrap();
    let response = soon("the head", handler.call(get("/slow?200"))).await.unwrap();
    let stopping = tokio::spawn({
        let container = container.clone();
        async move { container.stop(Duration::from_secs(3600)).await }
    });
    let closed = async {
        while net.switch.is_listening(FIRST.into()) {
            tokio::task::yield_now().await;
        }
    };
    soon("the port's end", closed).await;
    let refused = handler.call(get("/hello")).await.unwrap_err();
    assert!(matches!(refused, HttpError::ConnectionRefused));
    assert_eq!(soon("the body", text(response)).await, "first second");
    let exit = soon("the exit", stopping).await.unwrap();
    assert_eq!((exit.code, exit.cause), (143, ExitCause::Stopped));
}

#[tokio::test]
async fn a_silent_connection_does_not_hold_up_a_stop() {
    let net = Net::new();
    let sandbox = net.sandbox("10.0.0.1");
    let (container, _) = serve(&sandbox).await;
    let from = ([10, 0, 0, 9], 1000).into();
    let mut silent = net.switch.connect(from, FIRST.into()).await.unwrap();
    let exit = soon("the exit", container.stop(Duration::from_secs(3600))).await;
    assert_eq!((exit.code, exit.cause), (143, ExitCause::Stopped));
    assert_eq!(soon("its end", silent.read(&mut [0; 1])).await.unwrap(), 0);
}

#[tokio::test]
async fn a_spinning_request_outlives_the_grace_and_is_killed() {
    let net = Net::new();
    let sandbox = net.sandbox("10.0.0.1");
    let (container, _) = serve(&sandbox).await;
    let handler = net.switch.http(FIRST.into()).unwrap();
    let spinning = tokio::spawn(async move { handler.call(get("/spin")).await });
    let begun = async {
        while container.stats().requests == 0 {
            tokio::task::yield_now().await;
        }
    };
    soon("the request", begun).await;
    let exit = soon("the exit", container.stop(Duration::from_millis(50))).await;
    assert_eq!((exit.code, exit.cause), (137, ExitCause::Killed));
    let answer = soon("the answer", spinning).await.unwrap().unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn an_http_guest_calls_another_by_name_and_through_a_routed_address() {
    let net = Net::new();
    net.name("backend", "10.96.0.1");
    net.route("10.96.0.1:80", Route::Switch(([10, 0, 0, 2], 80).into()));
    let (front, back) = (net.sandbox("10.0.0.1"), net.sandbox("10.0.0.2"));
    let _serving = (serve(&front).await, serve(&back).await);
    let handler = net.switch.http(FIRST.into()).unwrap();
    let (status, text) = ask(&handler, "/fetch?backend/hello").await;
    assert_eq!((status, text.as_str()), (StatusCode::OK, "hello backend, call 1"));
    // Itself, over loopback.
    let (_, text) = ask(&handler, "/fetch?localhost/hello").await;
    assert_eq!(text, "hello localhost, call 1");
    for (target, expected) in [
        ("nowhere/", "DnsError"),
        ("10.0.0.2:81/", "ConnectionRefused"),
        ("10.0.0.9/", "DestinationIpUnroutable"),
        ("https:10.0.0.2/", "ConnectionRefused"),
        // A component speaks no TLS.
        ("https:backend:80/", "TlsProtocolError"),
    ] {
        let (status, text) = ask(&handler, &format!("/fetch?{target}")).await;
        assert_eq!(status, StatusCode::BAD_GATEWAY);
        assert!(text.contains(expected), "{text}");
    }
}

#[tokio::test]
async fn a_caller_may_send_its_body_to_a_component_that_has_answered_without_it() {
    let net = Net::new();
    let (front, back) = (net.sandbox("10.0.0.1"), net.sandbox("10.0.0.2"));
    let _serving = (serve(&front).await, serve(&back).await);
    let handler = net.switch.http(FIRST.into()).unwrap();
    let (status, text) = ask(&handler, "/late?10.0.0.2/hello").await;
    assert_eq!((status, text.as_str()), (StatusCode::OK, "hello 10.0.0.2, call 1"));
}

/// The first way leads to a component that has stopped, the next to one that serves.
#[tokio::test]
async fn a_request_to_a_closed_component_goes_another_way() {
    let net = Net::new();
    net.name("backend", "10.96.0.1");
    let (front, back) = (net.sandbox("10.0.0.1"), net.sandbox("10.0.0.2"));
    let _stopped = net.sandbox("10.0.0.3");
    let _serving = (serve(&front).await, serve(&back).await);
    net.turns("10.96.0.1:80", &["10.0.0.3:80", "10.0.0.4:80", "10.0.0.2:80"]);
    let handler = net.switch.http(FIRST.into()).unwrap();
    let (status, text) = ask(&handler, "/fetch?backend/hello").await;
    assert_eq!((status, text.as_str()), (StatusCode::OK, "hello backend, call 1"));
    let question = "GET /hello HTTP/1.1\r\nHost: me\r\nConnection: close\r\n\r\n";
    net.turns("10.96.0.1:80", &["10.0.0.3:80", "10.0.0.4:80", "10.0.0.2:80"]);
    let answer = run(&net.sandbox("10.0.0.5"), &["ask", "10.96.0.1:80", question]).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
}

#[tokio::test]
async fn an_http_guest_calls_a_real_server() {
    let net = Net::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    net.name("example.org", "192.0.2.1");
    net.route("192.0.2.1:80", Route::Host(listener.local_addr().unwrap()));
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let service =
            hyper::service::service_fn(|request: Request<hyper::body::Incoming>| async move {
                let host = request.headers()["host"].to_str().unwrap();
                let text = format!("real {host} {}", request.uri());
                Ok::<_, std::convert::Infallible>(Response::new(Full::new(Bytes::from(text))))
            });
        let _ = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .await;
    });
    let sandbox = net.sandbox("10.0.0.1");
    let _serving = serve(&sandbox).await;
    let handler = net.switch.http(FIRST.into()).unwrap();
    let (_, text) = ask(&handler, "/fetch?example.org/path?a=b").await;
    assert_eq!(text, "real example.org /path?a=b");
}

#[tokio::test]
async fn a_command_speaks_http_to_an_http_guest_over_a_socket() {
    let net = Net::new();
    let (front, client) = (net.sandbox("10.0.0.1"), net.sandbox("10.0.0.2"));
    let _serving = serve(&front).await;
    let question = "GET /hello HTTP/1.1\r\nHost: me\r\nConnection: close\r\n\r\n";
    let answer = run(&client, &["ask", "10.0.0.1:80", question]).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(answer.contains("hello me, call 1"), "{answer}");
}

#[tokio::test]
async fn a_full_pool_overflows_instead_of_failing() {
    let net = Net::new();
    let sandbox = net.sandbox("10.0.0.1");
    let _serving = serve(&sandbox).await;
    let handler = net.switch.http(FIRST.into()).unwrap();
    // More than the tests' pool holds.
    let calls = (0..250).map(|_| handler.call(get("/slow?1000")));
    let responses = soon("the responses", futures::future::join_all(calls)).await;
    for response in responses {
        let response = response.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(soon("the body", text(response)).await, "first second");
    }
}

#[tokio::test]
async fn two_http_containers_cannot_share_a_port() {
    let sandbox = Net::new().sandbox("10.0.0.1");
    let _serving = serve(&sandbox).await;
    let (spec, _) = spec(http().await, &[]);
    let error = sandbox.start(spec).err().unwrap();
    assert!(matches!(error, StartError::PortInUse { port: 80 }), "{error}");
}
