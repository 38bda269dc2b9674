//! Calls `wasi:http/handler` 0.3: the guest returns its response, and goes on beside it until its tasks have ended and
//! the response's body has been read.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::uri::{Authority, Scheme};
use http::{Request, Response, header};
use http_body_util::BodyExt;
use tokio::sync::watch;
use wasmtime::Store;
use wasmtime::component::Accessor;
use wasmtime_wasi_http::p3::Request as WasiRequest;
use wasmtime_wasi_http::p3::bindings::Service;
use wasmtime_wasi_http::{FieldMap, WasiHttpView};

use super::{Body, HttpError, Respond};
use crate::context::Ctx;

/// How the reading of a response's body ended.
#[derive(Clone, Copy)]
enum Reading {
    Whole,
    /// It broke, or the reader went away.
    Cut,
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
        let response = match service.handle(guest, request).await? {
            Ok(response) => guest.with(|mut store| response.into_http(&mut store, sent))?,
            Err(code) => return Err(wasmtime::format_err!("the response was an error: {code:?}")),
        };
        // The body may still come from the host alone, through a store that must live.
        let response: Response<Body> =
            response.map(|body| Watched { body, reading: Some(reading) }.boxed_unsync());
        // A caller that went away has aborted the task.
        let _ = respond.send(Ok(response));
        poll_fn(|cx| guest.poll_no_interesting_tasks(cx)).await;
        // An error says that the body is gone, which is all that is asked.
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

/// A body that tells how its reading ended.
struct Watched {
    body: Body,
    reading: Option<watch::Sender<Option<Reading>>>,
}

impl Watched {
    fn end(&mut self, reading: Reading) {
        if let Some(told) = self.reading.take() {
            told.send_replace(Some(reading));
        }
    }
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, HttpError>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            None => self.end(Reading::Whole),
            Some(Err(_)) => self.end(Reading::Cut),
            Some(Ok(_)) => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // A body that is known to be at its end is not always asked for it.
        let whole = http_body::Body::is_end_stream(&self.body);
        self.end(if whole { Reading::Whole } else { Reading::Cut });
    }
}
