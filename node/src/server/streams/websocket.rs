//! WebSockets: the handshake, a stream of bytes in messages, and channels within one WebSocket.
//!
//! Source: `k8s.io/apimachinery/pkg/util/{httpstream/wsstream,remotecommand}`.

use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use http::{HeaderMap, HeaderValue, header};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_util::io::StreamReader;

/// Whether a request asks for a WebSocket.
pub fn is_asked_for(headers: &HeaderMap) -> bool {
    let upgrade = headers.get(header::UPGRADE).and_then(|value| value.to_str().ok());
    upgrade.is_some_and(|upgrade| upgrade.eq_ignore_ascii_case("websocket"))
}

/// The subprotocols that the client offers, in its order.
pub fn offered(headers: &HeaderMap) -> Vec<String> {
    let values = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    let names = values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    names.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect()
}

/// The headers that agree. `None` where the client did not send what a handshake needs.
pub fn agreement(headers: &HeaderMap, protocol: Option<&str>) -> Option<HeaderMap> {
    let key = headers.get(header::SEC_WEBSOCKET_KEY)?;
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes())).ok()?;
    let mut answer = HeaderMap::new();
    answer.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    answer.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    answer.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    if let Some(protocol) = protocol {
        answer.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_str(protocol).ok()?);
    }
    Some(answer)
}

fn broken(error: tungstenite::Error) -> io::Error {
    match error {
        tungstenite::Error::Io(error) => error,
        error => io::Error::other(error),
    }
}

/// The two halves of a WebSocket on an upgraded connection.
pub async fn open<S>(stream: S) -> (SplitSink<WebSocketStream<S>, Message>, Messages<S>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
    let (sink, messages) = socket.split();
    (sink, Messages(messages))
}

/// What the client sends, without what the protocol itself needs.
pub struct Messages<S>(SplitStream<WebSocketStream<S>>);

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Messages<S> {
    /// `None` at the end.
    pub async fn next(&mut self) -> Option<io::Result<Bytes>> {
        loop {
            return match self.0.next().await? {
                Ok(Message::Binary(bytes)) => Some(Ok(bytes)),
                Ok(Message::Text(text)) => Some(Ok(text.into())),
                Ok(Message::Close(_)) => None,
                Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => continue,
                Err(tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed) => {
                    None
                }
                Err(error) => Some(Err(broken(error))),
            };
        }
    }

    /// All messages as one stream of bytes.
    pub fn into_bytes(self) -> impl AsyncRead + Send + Unpin {
        let messages = futures::stream::unfold(self, |mut messages| async move {
            messages.next().await.map(|message| (message, messages))
        });
        StreamReader::new(Box::pin(messages))
    }
}

/// Where messages are written.
pub trait Sink {
    fn message(&mut self, bytes: Bytes) -> impl Future<Output = io::Result<()>> + Send;
    fn finish(&mut self) -> impl Future<Output = ()> + Send;
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Sink for SplitSink<WebSocketStream<S>, Message> {
    async fn message(&mut self, bytes: Bytes) -> io::Result<()> {
        self.send(Message::Binary(bytes)).await.map_err(broken)
    }

    async fn finish(&mut self) {
        // The other end may be gone already.
        let _ = self.send(Message::Close(None)).await;
    }
}

/// A message on a channel.
pub fn on_channel(channel: u8, data: &[u8]) -> Bytes {
    let mut message = BytesMut::with_capacity(1 + data.len());
    message.put_u8(channel);
    message.put_slice(data);
    message.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handshake_is_answered_with_the_chosen_protocol() {
        let mut asked = HeaderMap::new();
        asked.insert(header::UPGRADE, HeaderValue::from_static("WebSocket"));
        asked.append(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("a, b"));
        asked.append(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("c"));
        assert!(is_asked_for(&asked));
        assert_eq!(offered(&asked), ["a", "b", "c"]);
        assert_eq!(agreement(&asked, None), None);
        // The example of RFC 6455.
        asked.insert(
            header::SEC_WEBSOCKET_KEY,
            HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ=="),
        );
        let answer = agreement(&asked, Some("b")).expect("agreed");
        assert_eq!(answer[header::SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(answer[header::SEC_WEBSOCKET_PROTOCOL], "b");
    }
}
