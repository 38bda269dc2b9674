//! One HTTP component for all tests: the path says what to do.

use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    Fields, IncomingBody, IncomingRequest, OutgoingBody, OutgoingRequest, OutgoingResponse,
    ResponseOutparam, Scheme,
};
use wasip2::io::streams::{InputStream, StreamError};

struct Component;

wasip2::http::proxy::export!(Component);

static CALLS: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);

impl wasip2::exports::http::incoming_handler::Guest for Component {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let target = request.path_with_query().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        match path {
            "/hello" => {
                let calls = CALLS.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
                let host = request.authority().unwrap_or_default();
                respond(out, 200, format!("hello {host}, call {calls}").as_bytes());
            }
            "/echo" => {
                let body = read_all(request.consume().unwrap());
                respond(out, 200, &body);
            }
            "/headers" => {
                let headers = request.headers().entries();
                let lines = headers
                    .iter()
                    .map(|(name, value)| format!("{name}: {}\n", String::from_utf8_lossy(value)));
                respond(out, 200, lines.collect::<String>().as_bytes());
            }
            "/fetch" => {
                let (status, body) = fetch(query);
                respond(out, status, &body);
            }
            "/late" => {
                let (status, body) = fetch_then_write(query);
                respond(out, status, &body);
            }
            "/panic" => panic!("on purpose"),
            "/silent" => {}
            "/spin" => loop {
                std::hint::black_box(0);
            },
            "/bomb" => {
                let mut all = Vec::new();
                loop {
                    all.push(vec![1u8; 1 << 20]);
                    std::hint::black_box(&all);
                }
            }
            "/slow" => {
                let wait = query.parse::<u64>().unwrap();
                let response = OutgoingResponse::new(Fields::new());
                let body = response.body().unwrap();
                ResponseOutparam::set(out, Ok(response));
                let stream = body.write().unwrap();
                stream.blocking_write_and_flush(b"first ").unwrap();
                wasip2::clocks::monotonic_clock::subscribe_duration(wait * 1_000_000).block();
                stream.blocking_write_and_flush(b"second").unwrap();
                drop(stream);
                OutgoingBody::finish(body, None).unwrap();
            }
            _ => respond(out, 404, b"no such path"),
        }
    }
}

fn respond(out: ResponseOutparam, status: u16, bytes: &[u8]) {
    let response = OutgoingResponse::new(Fields::new());
    response.set_status_code(status).unwrap();
    let body = response.body().unwrap();
    ResponseOutparam::set(out, Ok(response));
    let stream = body.write().unwrap();
    for chunk in bytes.chunks(4096) {
        stream.blocking_write_and_flush(chunk).unwrap();
    }
    drop(stream);
    OutgoingBody::finish(body, None).unwrap();
}

fn read_all(body: IncomingBody) -> Vec<u8> {
    let stream: InputStream = body.stream().unwrap();
    let mut all = Vec::new();
    loop {
        match stream.blocking_read(64 * 1024) {
            Ok(bytes) => all.extend(bytes),
            Err(StreamError::Closed) => return all,
            Err(error) => panic!("{error:?}"),
        }
    }
}

/// POSTs to `authority/path` and writes the body only once the answer has come.
fn fetch_then_write(target: &str) -> (u16, Vec<u8>) {
    let (authority, path) = target.split_once('/').unwrap_or((target, ""));
    let request = OutgoingRequest::new(Fields::new());
    request.set_method(&wasip2::http::types::Method::Post).unwrap();
    request.set_scheme(Some(&Scheme::Http)).unwrap();
    request.set_authority(Some(authority)).unwrap();
    request.set_path_with_query(Some(&format!("/{path}"))).unwrap();
    let body = request.body().unwrap();
    let stream = body.write().unwrap();
    let future = outgoing_handler::handle(request, None).unwrap();
    future.subscribe().block();
    let response = future.get().unwrap().unwrap().unwrap();
    let answer = read_all(response.consume().unwrap());
    // For a while, since the callee's instance goes some time after its answer.
    for _ in 0..20 {
        if let Err(error) = stream.blocking_write_and_flush(b"late") {
            return (502, format!("{error:?}").into_bytes());
        }
        wasip2::clocks::monotonic_clock::subscribe_duration(2_000_000).block();
    }
    drop(stream);
    match OutgoingBody::finish(body, None) {
        Ok(()) => (response.status(), answer),
        Err(error) => (502, format!("{error:?}").into_bytes()),
    }
}

/// `authority/path` over plain HTTP, `https:authority/path` over TLS.
fn fetch(target: &str) -> (u16, Vec<u8>) {
    let (scheme, target) = match target.strip_prefix("https:") {
        Some(target) => (Scheme::Https, target),
        None => (Scheme::Http, target),
    };
    let (authority, path) = target.split_once('/').unwrap_or((target, ""));
    let request = OutgoingRequest::new(Fields::new());
    request.set_scheme(Some(&scheme)).unwrap();
    request.set_authority(Some(authority)).unwrap();
    request.set_path_with_query(Some(&format!("/{path}"))).unwrap();
    let future = match outgoing_handler::handle(request, None) {
        Ok(future) => future,
        Err(error) => return (502, format!("{error:?}").into_bytes()),
    };
    future.subscribe().block();
    match future.get().unwrap().unwrap() {
        Ok(response) => (response.status(), read_all(response.consume().unwrap())),
        Err(error) => (502, format!("{error:?}").into_bytes()),
    }
}
