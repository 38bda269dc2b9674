//! An HTTP component that does its host and its callers harm: the path says how.

use wasip2::clocks::monotonic_clock::subscribe_duration;
use wasip2::http::types::{
    Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam,
};

struct Component;

wasip2::http::proxy::export!(Component);

impl wasip2::exports::http::incoming_handler::Guest for Component {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let target = request.path_with_query().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        match path {
            "/hello" => respond(out, Fields::new(), b"hello"),
            "/spin" => loop {
                std::hint::black_box(0);
            },
            // A byte at a time, for ever.
            "/drip" => {
                let response = OutgoingResponse::new(Fields::new());
                let body = response.body().unwrap();
                ResponseOutparam::set(out, Ok(response));
                let stream = body.write().unwrap();
                loop {
                    if stream.blocking_write_and_flush(b".").is_err() {
                        return;
                    }
                    subscribe_duration(1_000_000_000).block();
                }
            }
            // Writes as fast as it may.
            "/gush" => {
                let response = OutgoingResponse::new(Fields::new());
                let body = response.body().unwrap();
                ResponseOutparam::set(out, Ok(response));
                let stream = body.write().unwrap();
                let chunk = vec![b'x'; 1 << 20];
                loop {
                    stream.subscribe().block();
                    let Ok(room) = stream.check_write() else { return };
                    let room = (room as usize).min(chunk.len());
                    if stream.write(&chunk[..room]).is_err() {
                        return;
                    }
                }
            }
            // Takes the request's body and never reads it.
            "/ignore" => {
                let body = request.consume().unwrap();
                let _stream = body.stream().unwrap();
                subscribe_duration(3_600_000_000_000).block();
            }
            "/read" => {
                let body = request.consume().unwrap();
                let stream = body.stream().unwrap();
                let mut read = 0;
                while let Ok(bytes) = stream.blocking_read(64 * 1024) {
                    read += bytes.len();
                }
                respond(out, Fields::new(), format!("read {read}").as_bytes());
            }
            "/headers" => {
                let size: usize = query.parse().unwrap();
                let fields = Fields::new();
                let value = vec![b'v'; 1000];
                let mut appended = 0;
                for at in 0..size / 1000 {
                    match fields.append(&format!("x-{at}"), &value) {
                        Ok(()) => appended += 1,
                        Err(_) => break,
                    }
                }
                let text = format!("appended {appended}");
                respond(out, fields, text.as_bytes());
            }
            "/count-headers" => {
                let count = request.headers().entries().len();
                respond(out, Fields::new(), format!("headers {count}").as_bytes());
            }
            other => panic!("unknown attack {other:?}"),
        }
    }
}

fn respond(out: ResponseOutparam, fields: Fields, bytes: &[u8]) {
    let response = OutgoingResponse::new(fields);
    let body = response.body().unwrap();
    ResponseOutparam::set(out, Ok(response));
    let stream = body.write().unwrap();
    stream.blocking_write_and_flush(bytes).unwrap();
    drop(stream);
    OutgoingBody::finish(body, None).unwrap();
}
