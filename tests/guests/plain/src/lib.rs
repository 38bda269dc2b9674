//! The least that an HTTP component can be: one answer, on WASI's bare bindings. For the benches, where a guest's own
//! framework would be measured along.

use wasip2::http::types::{
    Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam,
};

struct Plain;

wasip2::http::proxy::export!(Plain);

const ANSWER: &[u8] = b"hello from nobody";

impl wasip2::exports::http::incoming_handler::Guest for Plain {
    fn handle(_: IncomingRequest, out: ResponseOutparam) {
        let response = OutgoingResponse::new(Fields::new());
        let Ok(body) = response.body() else { return };
        ResponseOutparam::set(out, Ok(response));
        // A caller that went away needs no answer.
        if let Ok(stream) = body.write() {
            let _ = stream.blocking_write_and_flush(ANSWER);
        }
        let _ = OutgoingBody::finish(body, None);
    }
}
