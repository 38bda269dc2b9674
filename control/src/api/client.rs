//! A client in this process: the same service, the same admission, no socket.

use std::convert::Infallible;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::header::USER_AGENT;
use http::{HeaderValue, Request};
use tower::{ServiceExt as _, service_fn};

use crate::auth::Identity;

use super::fair::InProcess;

/// Whoever speaks for the administrator.
const ADMINISTRATOR: &str = "copepod";

/// What a client calls itself that does not say: a field manager of this name owns what it sets.
fn agent(user: &str) -> String {
    match user.strip_prefix("system:") {
        Some(component) if component.starts_with("node:") => "kubelet".to_owned(),
        Some(component) => component.to_owned(),
        None => ADMINISTRATOR.to_owned(),
    }
}

/// A client that speaks to the router as this identity.
pub fn client(router: Router, identity: Identity) -> kube::Client {
    let agent = HeaderValue::from_str(&agent(&identity.user().name));
    let agent = agent.unwrap_or_else(|_| HeaderValue::from_static(ADMINISTRATOR));
    let service = service_fn(move |request: Request<kube::client::Body>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(identity.clone());
        request.headers_mut().entry(USER_AGENT).or_insert_with(|| agent.clone());
        request.extensions_mut().insert(InProcess);
        let router = router.clone();
        async move {
            let response: Result<Response, Infallible> = router.oneshot(request).await;
            response
        }
    });
    kube::Client::new(service, "default")
}
