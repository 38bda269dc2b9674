//! A handler of WASI 0.3 for all tests: the path says what to do.

use std::sync::atomic::{AtomicU32, Ordering};

use wasip3::clocks::monotonic_clock;
use wasip3::http::client;
use wasip3::http::types::{ErrorCode, Fields, Method, Request, Response, Scheme};
use wasip3::wit_bindgen::{StreamResult, StreamWriter};
use wasip3::{spawn_local, wit_future, wit_stream};

struct Component;

wasip3::http::service::export!(Component);

static CALLS: AtomicU32 = AtomicU32::new(0);

impl wasip3::exports::http::handler::Guest for Component {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let target = request.get_path_with_query().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        match path {
            "/hello" => {
                let calls = CALLS.fetch_add(1, Ordering::Relaxed) + 1;
                let host = request.get_authority().unwrap_or_default();
                let method = request.get_method();
                let scheme = request.get_scheme();
                Ok(respond(200, format!("{method:?} {scheme:?} {host}, call {calls}").into_bytes()))
            }
            // As `/hello`, but the request and its body are held for as long as the instance lives.
            "/keep" => {
                let calls = CALLS.fetch_add(1, Ordering::Relaxed) + 1;
                std::mem::forget(request);
                Ok(respond(200, format!("kept, call {calls}").into_bytes()))
            }
            // As `/keep`, after the first part of the body was read.
            "/keep-rest" => {
                let calls = CALLS.fetch_add(1, Ordering::Relaxed) + 1;
                let (received, result) = wit_future::new(|| Ok(()));
                let (mut body, trailers) = Request::consume_body(request, result);
                let (_, chunk) = body.read(Vec::with_capacity(1024)).await;
                std::mem::forget((received, body, trailers));
                Ok(respond(200, format!("kept all but {}, call {calls}", chunk.len()).into_bytes()))
            }
            "/headers" => {
                let fields = Fields::new();
                let error = loop {
                    if let Err(error) = fields.append("x-long", &[b'x'; 1000]) {
                        break error;
                    }
                };
                Ok(respond(200, format!("{error:?}").into_bytes()))
            }
            "/echo" => Ok(echo(request)),
            // The whole body before the answer, as most programs have it.
            "/length" => {
                let (_, result) = wit_future::new(|| Ok(()));
                let (body, trailers) = Request::consume_body(request, result);
                let body = body.collect().await;
                match trailers.await {
                    Ok(_) => Ok(respond(200, body.len().to_string().into_bytes())),
                    Err(error) => Ok(respond(400, format!("{error:?}").into_bytes())),
                }
            }
            "/pass" => {
                let (_, result) = wit_future::new(|| Ok(()));
                let (body, trailers) = Request::consume_body(request, result);
                Ok(Response::new(Fields::new(), Some(body), trailers).0)
            }
            "/fetch" => {
                let (status, body) = fetch(query, None).await;
                Ok(respond(status, body))
            }
            "/post" => {
                let (status, body) = fetch(query, Some(vec![b'x'; 300_000])).await;
                Ok(respond(status, body))
            }
            "/late" => Ok(late(query.parse().unwrap())),
            "/panic" => panic!("on purpose"),
            "/late-panic" => {
                let (mut sender, response) = streamed();
                spawn_local(async move {
                    sender.write_all(b"first ".to_vec()).await;
                    panic!("after the response");
                });
                Ok(response)
            }
            "/after" => {
                spawn_local(async {
                    monotonic_clock::wait_for(20_000_000).await;
                    println!("after the response");
                });
                Ok(respond(200, b"soon".to_vec()))
            }
            "/error" => Err(ErrorCode::InternalError(Some("no luck".to_owned()))),
            "/broken-body" => {
                let (mut sender, receiver) = wit_stream::new();
                let (end, trailers) = wit_future::new(|| Ok(None));
                spawn_local(async move {
                    sender.write_all(b"first ".to_vec()).await;
                    drop(sender);
                    end.write(Err(ErrorCode::HttpResponseIncomplete)).await.ok();
                });
                Ok(Response::new(Fields::new(), Some(receiver), trailers).0)
            }
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
            "/wait" => {
                monotonic_clock::wait_for(query.parse::<u64>().unwrap() * 1_000_000).await;
                Ok(respond(200, b"waited".to_vec()))
            }
            _ => Ok(respond(404, b"no such path".to_vec())),
        }
    }
}

/// A response whose body is written to the stream.
fn streamed() -> (StreamWriter<u8>, Response) {
    let (sender, receiver) = wit_stream::new();
    let (_, trailers) = wit_future::new(|| Ok(None));
    (sender, Response::new(Fields::new(), Some(receiver), trailers).0)
}

fn respond(status: u16, body: Vec<u8>) -> Response {
    let (mut sender, response) = streamed();
    response.set_status_code(status).unwrap();
    spawn_local(async move {
        sender.write_all(body).await;
    });
    response
}

/// Hands the body on as it comes, then its trailers with one more.
fn echo(request: Request) -> Response {
    let (received, result) = wit_future::new(|| Ok(()));
    let (mut body, trailers) = Request::consume_body(request, result);
    drop(received);
    let (mut sender, receiver) = wit_stream::new();
    let (end, ended) = wit_future::new(|| Ok(None));
    spawn_local(async move {
        let mut total = 0;
        loop {
            let (result, chunk) = body.read(Vec::with_capacity(16 * 1024)).await;
            total += chunk.len();
            if !chunk.is_empty() && !sender.write_all(chunk).await.is_empty() {
                return;
            }
            if result == StreamResult::Dropped {
                break;
            }
        }
        drop(sender);
        let fields = match trailers.await.unwrap() {
            // What came is immutable.
            Some(fields) => Fields::from_list(&fields.copy_all()).unwrap(),
            None => Fields::new(),
        };
        fields.append("x-total", total.to_string().as_bytes()).unwrap();
        end.write(Ok(Some(fields))).await.ok();
    });
    Response::new(Fields::new(), Some(receiver), ended).0
}

/// The first part at once, the second after a while.
fn late(wait_ms: u64) -> Response {
    let (mut sender, response) = streamed();
    spawn_local(async move {
        // To write again where nobody reads is a trap.
        if !sender.write_all(b"first ".to_vec()).await.is_empty() {
            return;
        }
        monotonic_clock::wait_for(wait_ms * 1_000_000).await;
        sender.write_all(b"second".to_vec()).await;
    });
    response
}

/// `authority/path` over plain HTTP; a POST where there is a body.
async fn fetch(target: &str, body: Option<Vec<u8>>) -> (u16, Vec<u8>) {
    let (authority, path) = target.split_once('/').unwrap_or((target, ""));
    let (_, trailers) = wit_future::new(|| Ok(None));
    let is_post = body.is_some();
    let contents = body.map(|body| {
        let (mut sender, receiver) = wit_stream::new();
        spawn_local(async move {
            sender.write_all(body).await;
        });
        receiver
    });
    let (request, _) = Request::new(Fields::new(), contents, trailers, None);
    if is_post {
        request.set_method(&Method::Post).unwrap();
    }
    request.set_scheme(Some(&Scheme::Http)).unwrap();
    request.set_authority(Some(authority)).unwrap();
    request.set_path_with_query(Some(&format!("/{path}"))).unwrap();
    match client::send(request).await {
        Ok(response) => {
            let status = response.get_status_code();
            let (_, result) = wit_future::new(|| Ok(()));
            let (body, trailers) = Response::consume_body(response, result);
            let body = body.collect().await;
            match trailers.await {
                Ok(_) => (status, body),
                Err(error) => (502, format!("{error:?}").into_bytes()),
            }
        }
        Err(error) => (502, format!("{error:?}").into_bytes()),
    }
}
