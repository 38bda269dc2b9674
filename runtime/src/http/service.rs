//! Calls `wasi:http/handler` 0.3: the guest returns its response, and goes on beside it until its tasks have ended and
//! the response's body has been read.

use std::future::poll_fn;

use http::uri::{Authority, Scheme};
use http::{Request, Response, header};
use tokio::sync::watch;
use wasmtime::Store;
use wasmtime::component::Accessor;
use wasmtime_wasi_http::p3::Request as WasiRequest;
use wasmtime_wasi_http::p3::bindings::Service;
use wasmtime_wasi_http::{FieldMap, WasiHttpView};

use super::{Body, HttpError, Respond};
use crate::context::Ctx;

/// Among a response's extensions, where the guest waits to be told how the reading of its body ended. Dropped before, it
/// says that the body is gone.
#[derive(Clone)]
pub(super) struct Reader(watch::Sender<Option<Reading>>);

/// How the reading of a response's body ended.
#[derive(Clone, Copy)]
pub(super) enum Reading {
    Whole,
    /// It broke, or the reader went away.
    Cut,
}

impl Reader {
    pub(super) fn tell(self, reading: Reading) {
        self.0.send_replace(Some(reading));
    }
}

/// Returns once the guest has nothing more to do; its response has gone to `respond` by then.
pub(super) async fn call(
    store: &mut Store<Ctx>,
    service: &Service,
    request: Request<Body>,
    respond: Respond,
) -> wasmtime::Result<()> {
    let request = incoming(store.data_mut(), request);
    let (reading, mut read) = watch::channel(None);
    let mut sent = read.clone();
    let sent = async move {
        match sent.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(Reading::Whole)) => Ok(()),
            _ => Err(HttpError::ConnectionTerminated),
        }
    };
    let guest = async |guest: &Accessor<Ctx>| {
        let mut response: Response<Body> = match service.handle(guest, request).await? {
            Ok(response) => guest.with(|mut store| response.into_http(&mut store, sent))?,
            Err(code) => return Err(wasmtime::format_err!("the response was an error: {code:?}")),
        };
        response.extensions_mut().insert(Reader(reading));
        // A caller that went away has aborted the task.
        let _ = respond.send(Ok(response));
        poll_fn(|cx| guest.poll_no_interesting_tasks(cx)).await;
        // The body may still come from the host alone, through a store that must live. An error says that it is gone, which
        // is all that is asked.
        let _ = read.wait_for(Option::is_some).await;
        Ok(())
    };
    store.run_concurrent(guest).await?
}

fn incoming(ctx: &mut Ctx, request: Request<Body>) -> WasiRequest {
    let (parts, body) = request.into_parts();
    let uri = parts.uri.into_parts();
    let named = || {
        let host = parts.headers.get(header::HOST)?.to_str().ok()?;
        host.parse::<Authority>().ok()
    };
    let authority = uri.authority.or_else(named);
    let scheme = uri.scheme.unwrap_or(Scheme::HTTP);
    let headers = FieldMap::new_immutable(ctx.http().hooks, parts.headers);
    let (request, _result) = WasiRequest::new(
        parts.method,
        Some(scheme),
        authority,
        uri.path_and_query,
        headers,
        None,
        body,
    );
    request
}
