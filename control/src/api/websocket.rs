//! Watches over WebSockets, which browsers speak: each event is a message, of text where it is JSON.
//! Whoever watches has nothing to say; what is said all the same is skipped.
//!
//! Source: `k8s.io/apiserver/pkg/endpoints/handlers/watch.go` (HandleWS), `golang.org/x/net/websocket`
//! (hybi.go).

use std::io;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use futures::StreamExt as _;
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;

use super::call::Call;
use super::upgrade::is_upgrade;

/// What RFC 6455 puts behind a client's key.
const MAGIC: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// What a subprotocol begins with that is a token.
const TOKEN: &str = "base64url.bearer.authorization.k8s.io.";
/// A client that does not take a message for so long is cut.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pongs that wait to be sent; a client that sends more pings meanwhile gets no answer to them.
const PONGS_MAX: usize = 4;
const CONTROL_MAX: u64 = 125;

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// A client's side of a connection that becomes a WebSocket.
pub struct Socket {
    client: OnUpgrade,
    /// What the server says to that, or why it does not agree.
    handshake: Response,
}

/// The token that a page brings among its subprotocols, since it can set no other header, and the
/// subprotocols without it, of which there must be one.
///
/// Source: `k8s.io/apiserver/pkg/authentication/request/websocket/protocol.go`.
pub fn token(headers: &HeaderMap) -> Option<(String, HeaderValue)> {
    if !is_asked(headers) {
        return None;
    }
    let offered = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    let offered = offered.filter_map(|value| value.to_str().ok()).flat_map(|it| it.split(','));
    let (tokens, others): (Vec<&str>, Vec<&str>) =
        offered.map(str::trim).partition(|protocol| protocol.starts_with(TOKEN));
    let [token] = tokens[..] else { return None };
    let token = URL_SAFE_NO_PAD.decode(token.strip_prefix(TOKEN)?).ok()?;
    let others = HeaderValue::from_str(&others.join(",")).ok().filter(|others| !others.is_empty());
    Some((String::from_utf8(token).ok()?, others?))
}

fn is_asked(headers: &HeaderMap) -> bool {
    let upgrade = headers.get(header::UPGRADE).and_then(|upgrade| upgrade.to_str().ok());
    upgrade.is_some_and(|upgrade| upgrade.eq_ignore_ascii_case("websocket")) && is_upgrade(headers)
}

impl Socket {
    /// `None` where the request asks for none, or came over what cannot be upgraded.
    pub fn of(request: &mut Request<Body>) -> Option<Self> {
        if !is_asked(request.headers()) {
            return None;
        }
        let client = request.extensions_mut().remove::<OnUpgrade>()?;
        Some(Self { client, handshake: handshake(request.headers()) })
    }

    /// Sends the events of a watch as messages until either side has enough.
    pub fn serve(self, call: &Call, is_text: bool, events: Body) -> Response {
        let response = self.handshake;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return response;
        }
        let client = self.client;
        call.api.ambient().spawn(async move {
            let joined = async {
                let client = client.await.map_err(io::Error::other)?;
                let (input, output) = tokio::io::split(TokioIo::new(client));
                let (pongs, pings) = mpsc::channel(PONGS_MAX);
                tokio::select! {
                    listened = listen(input, &pongs) => listened,
                    talked = talk(output, is_text, events, pings) => talked,
                }
            };
            if let Err(error) = joined.await {
                tracing::debug!(%error, "a watch over a WebSocket broke");
            }
        });
        response
    }
}

/// Upstream talks to pages of known origin, in one protocol if any.
fn handshake(headers: &HeaderMap) -> Response {
    let text = |name: &str| {
        headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().trim()
    };
    let plain = |status: StatusCode| {
        let mut response = Response::default();
        *response.status_mut() = status;
        response
    };
    let (key, protocol) = (text("sec-websocket-key"), text("sec-websocket-protocol"));
    if text("sec-websocket-version") != "13" {
        let mut refused = plain(StatusCode::BAD_REQUEST);
        let known = HeaderValue::from_static("13");
        refused.headers_mut().insert(header::SEC_WEBSOCKET_VERSION, known);
        return refused;
    }
    if key.is_empty() || protocol.contains(',') {
        return plain(StatusCode::BAD_REQUEST);
    }
    if text("origin").is_empty() {
        return plain(StatusCode::FORBIDDEN);
    }
    let mut response = plain(StatusCode::SWITCHING_PROTOCOLS);
    let answers = response.headers_mut();
    answers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    answers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    if let Ok(proof) = HeaderValue::from_str(&proof(key)) {
        answers.insert(header::SEC_WEBSOCKET_ACCEPT, proof);
    }
    if let Some(protocol) = headers.get(header::SEC_WEBSOCKET_PROTOCOL) {
        answers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol.clone());
    }
    response
}

/// Shows a client that the server has understood what it wants.
fn proof(key: &str) -> String {
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{MAGIC}").as_bytes());
    STANDARD.encode(hash.as_ref())
}

async fn talk(
    mut output: impl AsyncWrite + Unpin,
    is_text: bool,
    events: Body,
    mut pongs: mpsc::Receiver<Vec<u8>>,
) -> io::Result<()> {
    let mut events = events.into_data_stream();
    loop {
        let out = tokio::select! {
            Some(pong) = pongs.recv() => frame(PONG, &pong),
            event = events.next() => match event {
                Some(chunk) => messages(is_text, &chunk.map_err(io::Error::other)?),
                None => break,
            },
        };
        let sent = async {
            output.write_all(&out).await?;
            output.flush().await
        };
        tokio::time::timeout(PATIENCE, sent).await??;
    }
    output.write_all(&frame(CLOSE, &1000_u16.to_be_bytes())).await?;
    output.shutdown().await
}

/// The messages for the frames of a stream: lines of JSON, or protobuf behind its length.
fn messages(is_text: bool, chunk: &Bytes) -> Vec<u8> {
    let mut out = Vec::with_capacity(chunk.len() + 16);
    if is_text {
        for line in chunk.split_inclusive(|byte| *byte == b'\n') {
            out.extend(frame(TEXT, line));
        }
        return out;
    }
    let mut rest = &chunk[..];
    while let Some((length, behind)) = rest.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*length) as usize;
        let (message, behind) = behind.split_at(length.min(behind.len()));
        out.extend(frame(BINARY, message));
        rest = behind;
    }
    out
}

/// A whole message. What a server sends is not masked.
fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(payload.len() + 10);
    frame.push(0x80 | kind);
    match payload.len() {
        length @ 0..=125 => frame.push(length as u8),
        length @ 126..=0xffff => {
            frame.push(126);
            frame.extend((length as u16).to_be_bytes());
        }
        length => {
            frame.push(127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    frame
}

/// Reads until the client closes. What it is to be answered goes to `pongs`.
async fn listen(
    mut input: impl AsyncRead + Unpin,
    pongs: &mpsc::Sender<Vec<u8>>,
) -> io::Result<()> {
    loop {
        let (kind, size) = (input.read_u8().await? & 0xf, input.read_u8().await?);
        let length = match size & 0x7f {
            126 => u64::from(input.read_u16().await?),
            127 => input.read_u64().await?,
            length => u64::from(length),
        };
        let mut mask = [0; 4];
        if size & 0x80 != 0 {
            input.read_exact(&mut mask).await?;
        }
        match kind {
            CLOSE => return Ok(()),
            PING if length <= CONTROL_MAX => {
                let mut payload = vec![0; length as usize];
                input.read_exact(&mut payload).await?;
                payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
                pongs.try_send(payload).ok();
            }
            _ => {
                let mut skipped = (&mut input).take(length);
                if tokio::io::copy(&mut skipped, &mut tokio::io::sink()).await? < length {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(headers: &[(&'static str, &'static str)]) -> Response {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, HeaderValue::from_static(value));
        }
        handshake(&map)
    }

    #[test]
    fn the_handshake_is_that_of_the_rfc() {
        let key = ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        let version = ("sec-websocket-version", "13");
        let origin = ("origin", "https://example.com");
        let agreed = ask(&[key, version, origin]);
        assert_eq!(agreed.status(), 101);
        assert_eq!(agreed.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let refused = |headers: &[(&'static str, &'static str)]| ask(headers).status().as_u16();
        assert_eq!(refused(&[key, version]), 403);
        assert_eq!(refused(&[version, origin]), 400);
        assert_eq!(refused(&[key, origin, ("sec-websocket-version", "8")]), 400);
        assert_eq!(refused(&[key, version, origin, ("sec-websocket-protocol", "a, b")]), 400);
    }

    #[test]
    fn a_page_brings_its_token_among_its_protocols() {
        let of = |protocols: &'static str| {
            let mut headers = HeaderMap::new();
            for (name, value) in [
                ("upgrade", "websocket"),
                ("connection", "Upgrade"),
                ("sec-websocket-protocol", protocols),
            ] {
                headers.insert(name, HeaderValue::from_static(value));
            }
            token(&headers)
        };
        let found = of("v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.c2VjcmV0");
        assert_eq!(found, Some(("secret".into(), HeaderValue::from_static("v5.channel.k8s.io"))));
        for none in [
            "v5.channel.k8s.io",
            "base64url.bearer.authorization.k8s.io.c2VjcmV0",
            "a, base64url.bearer.authorization.k8s.io.???",
        ] {
            assert_eq!(of(none), None, "{none}");
        }
        assert_eq!(token(&HeaderMap::new()), None);
    }

    #[test]
    fn each_event_is_a_message() {
        let lines = Bytes::from_static(b"{\"a\":1}\n{}\n");
        assert_eq!(messages(true, &lines), b"\x81\x08{\"a\":1}\n\x81\x03{}\n");
        let framed = Bytes::from_static(b"\0\0\0\x02ab\0\0\0\x01c");
        assert_eq!(messages(false, &framed), b"\x82\x02ab\x82\x01c");
        assert_eq!(frame(TEXT, &[7; 300])[..4], [0x81, 126, 1, 44]);
        assert_eq!(frame(TEXT, &[7; 70_000])[..10], [0x81, 127, 0, 0, 0, 0, 0, 1, 0x11, 0x70]);
    }

    #[tokio::test]
    async fn pings_are_answered_and_the_rest_is_skipped_until_the_end() {
        let (pongs, mut pings) = mpsc::channel(PONGS_MAX);
        let said = b"\x81\x82\x01\x02\x03\x04ab\x89\x82\x01\x02\x03\x04\x69\x6b\x88\x00\x81\x05";
        listen(&said[..], &pongs).await.expect("it closes");
        assert_eq!(pings.try_recv().ok(), Some(b"hi".to_vec()));
        listen(&b"\x81\x05ab"[..], &pongs).await.expect_err("it breaks off");
    }

    #[tokio::test]
    async fn the_end_of_a_watch_closes_the_socket() {
        let (_pongs, pings) = mpsc::channel(PONGS_MAX);
        let mut out = Vec::new();
        talk(&mut out, true, Body::from("{}\n"), pings).await.expect("it is sent");
        assert_eq!(out, b"\x81\x03{}\n\x88\x02\x03\xe8");
    }
}
