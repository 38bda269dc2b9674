//! An HTTP component of WASI 0.3 that does what the path says: `/step/value…`; else it tells of its pod and how often
//! its instance has answered.

use std::sync::atomic::{AtomicU32, Ordering};

use wasip3::http::client;
use wasip3::http::types::{ErrorCode, Fields, Request, Response, Scheme};
use wasip3::{spawn_local, wit_future, wit_stream};

struct Component;

wasip3::http::service::export!(Component);

static CALLS: AtomicU32 = AtomicU32::new(0);

impl wasip3::exports::http::handler::Guest for Component {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let target = request.get_path_with_query().unwrap_or_default();
        let (step, value) = target.trim_start_matches('/').split_once('/').unwrap_or_default();
        match step {
            "echo" => {
                let (_, result) = wit_future::new(|| Ok(()));
                let (body, trailers) = Request::consume_body(request, result);
                Ok(Response::new(Fields::new(), Some(body), trailers).0)
            }
            "get" => Ok(text(get(value).await.unwrap_or_else(|error| format!("error: {error:?}")))),
            "trap" => std::process::abort(),
            _ => {
                let calls = CALLS.fetch_add(1, Ordering::Relaxed) + 1;
                println!("answered");
                let host = std::env::var("HOSTNAME").unwrap_or_default();
                Ok(text(format!("{host}, call {calls}")))
            }
        }
    }
}

fn text(body: String) -> Response {
    let (mut sender, receiver) = wit_stream::new();
    let (_, trailers) = wit_future::new(|| Ok(None));
    spawn_local(async move {
        sender.write_all(body.into_bytes()).await;
    });
    Response::new(Fields::new(), Some(receiver), trailers).0
}

/// `authority/path`
async fn get(target: &str) -> Result<String, ErrorCode> {
    let (authority, path) = target.split_once('/').unwrap_or((target, ""));
    let (_, trailers) = wit_future::new(|| Ok(None));
    let (request, _) = Request::new(Fields::new(), None, trailers, None);
    request.set_scheme(Some(&Scheme::Http)).ok();
    request.set_authority(Some(authority)).ok();
    request.set_path_with_query(Some(&format!("/{path}"))).ok();
    let response = client::send(request).await?;
    let (_, result) = wit_future::new(|| Ok(()));
    let (body, trailers) = Response::consume_body(response, result);
    let body = body.collect().await;
    // Here it shows whether the body is whole.
    trailers.await?;
    Ok(String::from_utf8_lossy(&body).into_owned())
}
