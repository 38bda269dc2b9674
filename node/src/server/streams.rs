//! Requests that become something else than HTTP: connections to pods, port-forwarding, attaching.
//!
//! `connect` is the control plane's own way to a pod's port. Clients speak WebSocket (`websocket`) or
//! SPDY (`spdy`), or SPDY in a WebSocket; `forward` and `attach` are the same for all of them.

mod attach;
mod forward;
mod spdy;
mod websocket;

pub(super) use attach::attach;
pub(super) use forward::port_forward;

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWriteExt, copy_bidirectional};
use tokio::sync::mpsc;

use super::{Answer, Kubelet, KubeletBody, Parameters, Refusal};
use crate::probes::dial_message;
use spdy::Server;
use websocket::Sink;

/// What the control plane calls its connections to pods.
const POD_CONNECTION: &str = "copepod-pod-connection";
const SPDY: &str = "SPDY/3.1";
/// Messages that wait to be written to a client.
const MESSAGES_MAX: usize = 16;
const SPDY_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");

/// The head of a request that asks for an upgrade.
pub(super) struct Asked {
    pub headers: HeaderMap,
    pub parameters: Parameters,
    /// `None` where the connection cannot be upgraded.
    pub upgrade: Option<OnUpgrade>,
}

/// What the client speaks from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wire {
    /// Channels in the messages of a WebSocket: the first byte of each says which.
    Channels,
    Spdy,
    SpdyInWebSocket,
}

impl Asked {
    /// Agrees on one of the protocols that are known here: those of WebSockets, and those of SPDY.
    fn agree(
        &self,
        web_sockets: &[(&str, Wire)],
        spdy: &[&str],
    ) -> Result<(Wire, HeaderMap), Refusal> {
        if websocket::is_asked_for(&self.headers) {
            let offered = websocket::offered(&self.headers);
            let chosen =
                offered.iter().find_map(|name| web_sockets.iter().find(|(known, _)| known == name));
            let (name, wire) = match chosen {
                Some((name, wire)) => (Some(*name), *wire),
                // The oldest clients name none.
                None if offered.is_empty() => (None, Wire::Channels),
                None => {
                    let known: Vec<&str> = web_sockets.iter().map(|(name, _)| *name).collect();
                    return Err(no_protocol(&offered, &known));
                }
            };
            let bad = || Refusal(StatusCode::BAD_REQUEST, "bad WebSocket handshake".to_owned());
            let headers = websocket::agreement(&self.headers, name).ok_or_else(bad)?;
            return Ok((wire, headers));
        }
        let upgrade = self.headers.get(header::UPGRADE).and_then(|value| value.to_str().ok());
        if !upgrade.is_some_and(|upgrade| upgrade.eq_ignore_ascii_case(SPDY)) {
            let why = "unable to upgrade: missing upgrade headers in request".to_owned();
            return Err(Refusal(StatusCode::BAD_REQUEST, why));
        }
        let offered: Vec<String> = self
            .headers
            .get_all(&SPDY_PROTOCOL)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(|name| name.trim().to_owned())
            .collect();
        let chosen = spdy.iter().find(|known| offered.iter().any(|name| name == *known));
        let chosen = chosen.ok_or_else(|| no_protocol(&offered, spdy))?;
        let mut headers = HeaderMap::new();
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static(SPDY));
        if let Ok(chosen) = HeaderValue::from_str(chosen) {
            headers.insert(SPDY_PROTOCOL, chosen);
        }
        Ok((Wire::Spdy, headers))
    }

    fn upgrade(&mut self) -> Result<OnUpgrade, Refusal> {
        let why = || "unable to upgrade: the connection cannot be upgraded".to_owned();
        self.upgrade.take().ok_or_else(|| Refusal(StatusCode::BAD_REQUEST, why()))
    }
}

fn no_protocol(offered: &[String], known: &[&str]) -> Refusal {
    let why = format!(
        "unable to upgrade: unable to negotiate protocol: client supports [{}], server accepts [{}]",
        offered.join(" "),
        known.join(" ")
    );
    Refusal(StatusCode::FORBIDDEN, why)
}

fn switching(headers: HeaderMap) -> Response<KubeletBody> {
    let empty = Empty::new().map_err(|never: Infallible| match never {});
    let mut response = Response::new(empty.boxed_unsync());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = headers;
    response
}

/// Joins the upgraded connection with one to a port of a pod on this node.
pub(super) async fn connect(kubelet: &Kubelet, ip: &str, port: &str, mut asked: Asked) -> Answer {
    let (Ok(ip), Ok(port)) = (ip.parse::<IpAddr>(), port.parse::<u16>()) else {
        return Err(Refusal(StatusCode::BAD_REQUEST, format!("{ip}:{port} is no address")));
    };
    let upgrade = asked.upgrade()?;
    let to = SocketAddr::new(ip, port);
    let mut pod = dial(kubelet, to).await.map_err(|why| Refusal(StatusCode::BAD_GATEWAY, why))?;
    kubelet.means.ambient().spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        if let Err(error) = copy_bidirectional(&mut TokioIo::new(upgraded), &mut pod).await {
            tracing::debug!(%error, %to, "a connection to a pod broke");
        }
    });
    let mut headers = HeaderMap::new();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static(POD_CONNECTION));
    Ok(switching(headers))
}

/// A connection to a port of a pod on this node; else what is wrong, in Go's words.
async fn dial(kubelet: &Kubelet, to: SocketAddr) -> Result<copepod_runtime::Stream, String> {
    let from = SocketAddr::new(kubelet.means.config.host_ip, 0);
    let dialled = kubelet.means.network.switch().connect(from, to).await;
    dialled.map_err(|error| dial_message(to, &error))
}

/// What a Wasm component cannot do.
/// (Without a colon: kubectl would read a mapping.)
pub(super) fn exec(pod: &str, container: &str) -> Refusal {
    let why = format!(
        "exec into container {container:?} of pod {pod:?} is not supported, as a Wasm component is one program, with no shell or other command beside it"
    );
    Refusal(StatusCode::NOT_IMPLEMENTED, why)
}

/// The server's side of SPDY on an upgraded connection; its frames are written as long as it is held.
async fn spdy_server(
    kubelet: &Kubelet,
    upgraded: Upgraded,
    wire: Wire,
) -> Server<Box<dyn AsyncRead + Send + Unpin>> {
    let io = TokioIo::new(upgraded);
    if wire == Wire::SpdyInWebSocket {
        let (mut sink, messages) = websocket::open(io).await;
        let (server, mut frames): (Server<Box<dyn AsyncRead + Send + Unpin>>, _) =
            Server::new(Box::new(messages.into_bytes()));
        kubelet.means.ambient().spawn(async move {
            while let Some(frame) = frames.recv().await {
                if sink.message(frame).await.is_err() {
                    return;
                }
            }
            sink.finish().await;
        });
        return server;
    }
    let (input, mut output) = tokio::io::split(io);
    let (server, mut frames): (Server<Box<dyn AsyncRead + Send + Unpin>>, _) =
        Server::new(Box::new(input));
    kubelet.means.ambient().spawn(async move {
        while let Some(frame) = frames.recv().await {
            if output.write_all(&frame).await.is_err() {
                return;
            }
        }
        let _ = output.shutdown().await;
    });
    server
}

/// Messages for a client, which are written by a task of their own; the WebSocket is closed when
/// nobody can send any more.
fn writer(kubelet: &Kubelet, mut sink: impl Sink + Send + 'static) -> mpsc::Sender<Bytes> {
    let (sender, mut messages) = mpsc::channel::<Bytes>(MESSAGES_MAX);
    kubelet.means.ambient().spawn(async move {
        while let Some(message) = messages.recv().await {
            if sink.message(message).await.is_err() {
                return;
            }
        }
        sink.finish().await;
    });
    sender
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(headers: &[(&str, &str)]) -> Asked {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        Asked { headers: map, parameters: Parameters::new(), upgrade: None }
    }

    #[test]
    fn client_and_server_agree_on_a_protocol_or_say_why_not() {
        const WEB: &[(&str, Wire)] = &[("a", Wire::Channels), ("b", Wire::SpdyInWebSocket)];
        let key = ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        let web = ("upgrade", "websocket");
        let spdy = ("upgrade", "spdy/3.1");
        type Case<'a> = (&'a [(&'a str, &'a str)], Result<Wire, &'a str>);
        let cases: [Case<'_>; 7] = [
            (&[web, key, ("sec-websocket-protocol", "x, b")], Ok(Wire::SpdyInWebSocket)),
            (&[web, key], Ok(Wire::Channels)),
            (
                &[web, key, ("sec-websocket-protocol", "x")],
                Err(
                    "unable to upgrade: unable to negotiate protocol: client supports [x], server accepts [a b]",
                ),
            ),
            (&[web], Err("bad WebSocket handshake")),
            (&[spdy, ("x-stream-protocol-version", "p")], Ok(Wire::Spdy)),
            (
                &[spdy, ("x-stream-protocol-version", "q")],
                Err(
                    "unable to upgrade: unable to negotiate protocol: client supports [q], server accepts [p]",
                ),
            ),
            (&[], Err("unable to upgrade: missing upgrade headers in request")),
        ];
        for (headers, expected) in cases {
            let agreed = asked(headers).agree(WEB, &["p"]);
            let found = agreed.map(|(wire, _)| wire).map_err(|refusal| refusal.1);
            assert_eq!(found, expected.map_err(str::to_owned), "{headers:?}");
        }
    }
}
