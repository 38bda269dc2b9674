//! Requests that become something else than HTTP: the two connections are joined, byte by byte.
//!
//! Source: `k8s.io/apimachinery/pkg/util/proxy/upgradeaware.go`.

use axum::body::Body;
use axum::response::Response;
use http::{HeaderMap, Request, StatusCode, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;

use crate::status::ApiError;

use super::call::Call;

/// The client's side of a connection that is to be upgraded.
pub struct Client(OnUpgrade);

impl Client {
    /// `None` where the request asks for no upgrade, or came over what cannot be upgraded: HTTP/2, or
    /// no connection at all.
    pub fn of(request: &mut Request<Body>) -> Option<Self> {
        let asked = is_upgrade(request.headers());
        request.extensions_mut().remove::<OnUpgrade>().filter(|_| asked).map(Self)
    }

    /// Passes the server's answer on. Where it agrees, what follows is passed on in both directions
    /// until both are done, or the control plane stops.
    pub async fn join(self, call: &Call, mut response: Response) -> Result<Response, ApiError> {
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let code = response.status().as_u16();
            if code < 400 {
                let why = format!("invalid upgrade response: status code {code}");
                return Err(ApiError::new(500, "", why));
            }
            return Ok(response);
        }
        let server = hyper::upgrade::on(&mut response);
        let stopping = call.api.stopping.clone();
        call.api.ambient().spawn(async move {
            let (client, server) = match tokio::try_join!(self.0, server) {
                Ok(both) => both,
                Err(error) => return tracing::debug!(%error, "an upgraded connection broke"),
            };
            let (mut client, mut server) = (TokioIo::new(client), TokioIo::new(server));
            let joined = copy_bidirectional(&mut client, &mut server);
            if let Some(Err(error)) = stopping.run_until_cancelled(joined).await {
                tracing::debug!(%error, "an upgraded connection broke");
            }
        });
        let (mut parts, _) = response.into_parts();
        parts.extensions.clear();
        Ok(Response::from_parts(parts, Body::empty()))
    }
}

/// Source: `k8s.io/apimachinery/pkg/util/httpstream` (IsUpgradeRequest).
pub fn is_upgrade(headers: &HeaderMap) -> bool {
    let connection = headers.get_all(header::CONNECTION).iter();
    connection
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.to_ascii_lowercase().contains("upgrade"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upgrade_is_asked_for_by_the_connection_header() {
        for (value, expected) in
            [("Upgrade", true), ("keep-alive, upgrade", true), ("keep-alive", false)]
        {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONNECTION, value.parse().expect("a value"));
            assert_eq!(is_upgrade(&headers), expected, "{value}");
        }
        assert!(!is_upgrade(&HeaderMap::new()));
    }
}
