//! Request bodies, read whole up to the limit.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::Request;
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use parking_lot::Mutex;

use crate::status::ApiError;

/// As upstream's MaxRequestBodyBytes.
pub const LIMIT: usize = 3 * 1024 * 1024;
/// How much of a refused body is read, and how long, so that its sender comes to read the answer.
const DRAINED_MAX: usize = 16 * 1024 * 1024;
const DRAINING_MAX: Duration = Duration::from_secs(5);

/// Reads the body; 413 where it is larger than the limit.
pub async fn read(body: Body) -> Result<Bytes, ApiError> {
    match Limited::new(body, LIMIT).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.downcast_ref::<LengthLimitError>().is_some() => Err(too_large()),
        Err(error) => {
            Err(ApiError::bad_request(format!("cannot read the request's body: {error}")))
        }
    }
}

fn too_large() -> ApiError {
    ApiError::new(
        413,
        "RequestEntityTooLarge",
        format!("Request entity too large: limit is {LIMIT}"),
    )
}

/// A body that two hold: the handler, and the one who reads what the handler leaves.
struct Watched(Arc<Mutex<Body>>);

/// What a handler has left of a request's body; `None` where there was no body.
pub struct Rest(Option<Arc<Mutex<Body>>>);

/// The request, and a hold on its body.
pub fn watched(request: Request<Body>) -> (Request<Body>, Rest) {
    if http_body::Body::is_end_stream(request.body()) {
        return (request, Rest(None));
    }
    let (parts, body) = request.into_parts();
    let body = Arc::new(Mutex::new(body));
    let request = Request::from_parts(parts, Body::new(Watched(body.clone())));
    (request, Rest(Some(body)))
}

impl Rest {
    /// Reads the rest, within bounds. A client that still sends when its stream is closed reports
    /// that, and not the answer.
    pub async fn drain(self) {
        let Some(body) = self.0 else { return };
        let mut body = Watched(body);
        let drained = async {
            let mut left = DRAINED_MAX;
            while let Some(Ok(frame)) = body.frame().await {
                let size = frame.data_ref().map_or(0, Bytes::len);
                let Some(rest) = left.checked_sub(size) else { return };
                left = rest;
            }
        };
        tokio::time::timeout(DRAINING_MAX, drained).await.ok();
    }
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut *self.0.lock()).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.lock().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.lock().size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// A body of chunks, and how many of them have been taken.
    fn chunks(count: usize, size: usize) -> (Body, Arc<AtomicUsize>) {
        let taken = Arc::new(AtomicUsize::new(0));
        let counter = taken.clone();
        let chunks = futures::stream::iter((0..count).map(move |_| {
            counter.fetch_add(1, Ordering::Relaxed);
            Ok::<_, Infallible>(Bytes::from(vec![0; size]))
        }));
        (Body::from_stream(chunks), taken)
    }

    #[tokio::test]
    async fn what_a_handler_leaves_is_read_within_bounds() {
        let (body, taken) = chunks(5, LIMIT / 4);
        let (request, rest) = watched(Request::new(body));
        assert_eq!(read(request.into_body()).await.expect_err("too large").code, 413);
        rest.drain().await;
        assert_eq!(taken.load(Ordering::Relaxed), 5);
        let (body, taken) = chunks(1000, 1024 * 1024);
        let (request, rest) = watched(Request::new(body));
        drop(request);
        rest.drain().await;
        assert_eq!(taken.load(Ordering::Relaxed), 17);
    }
}
