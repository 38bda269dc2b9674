//! A client in this process: the same service, the same admission, no socket.

use std::convert::Infallible;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::Request;
use tower::{ServiceExt as _, service_fn};

use crate::auth::Identity;

use super::fair::InProcess;

/// A client that speaks to the router as this identity.
pub fn client(router: Router, identity: Identity) -> kube::Client {
    let service = service_fn(move |request: Request<kube::client::Body>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(identity.clone());
        request.extensions_mut().insert(InProcess);
        let router = router.clone();
        async move {
            let response: Result<Response, Infallible> = router.oneshot(request).await;
            response
        }
    });
    kube::Client::new(service, "default")
}
