//! Watches: what they show, and when they end.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

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
async fn a_watch_of_less_than_no_time_is_over_at_once() {
    let server = Server::start().await;
    server.post(MAPS, map("a", &json!({}))).await.ok();
    let mut watch = Frames::open(&server, &format!("{MAPS}?watch=1&timeoutSeconds=-1")).await;
    let ended = async { while watch.next().await.is_some() {} };
    tokio::time::timeout(Duration::from_secs(20), ended).await.expect("it ends");
}

#[tokio::test]
async fn a_watch_speaks_over_a_websocket() {
    let server = Server::start().await;
    server.post(MAPS, map("a", &json!({}))).await.ok();
    let (mut client, io) = tokio::io::duplex(64 * 1024);
    let router = server.0.router();
    let service = hyper::service::service_fn(move |mut request: Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(Identity::admin());
        router.clone().oneshot(request.map(Body::new))
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .serve_connection(hyper_util::rt::TokioIo::new(io), service)
        .with_upgrades();
    tokio::spawn(connection);
    let ask = format!(
        "GET {MAPS}?watch=1&timeoutSeconds=1 HTTP/1.1\r\nHost: x\r\nOrigin: http://x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    client.write_all(ask.as_bytes()).await.expect("sent");
    let mut said = Vec::new();
    let read = client.read_to_end(&mut said);
    tokio::time::timeout(Duration::from_secs(20), read).await.expect("it ends").expect("read");
    let text = String::from_utf8_lossy(&said);
    assert!(text.starts_with("HTTP/1.1 101 "), "{text}");
    assert!(text.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{text}");
    let (_, messages) = text.split_once("\r\n\r\n").expect("a body");
    assert!(messages.contains(r#"{"type":"ADDED","object":"#), "{text}");
    assert!(said.ends_with(b"\x88\x02\x03\xe8"), "{said:?}");
}
