//! The doors from real sockets: one for every NodePort, on the network's bind address.
//!
//! Behind a door, an HTTP component is called directly, request by request, so that a kept-alive
//! connection outlives the replicas that answered its first requests. A client that does not send its
//! request's head in time is cut off, as it is on a connection through the switch; one of HTTP/2 that has
//! asked for nothing for as long is told to go, however lively it answers pings. Any other endpoint gets
//! the connection as a stream of bytes.
//!
//! A door without endpoints is shut: its port is bound but does not listen, so that the kernel
//! refuses connections, as kube-proxy's reject rule would, and no other process takes the port.
//! Between shutting a door and binding its port again is a moment in which another process could.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use copepod_runtime::{Body, HttpError, Reserved, Route};
use http::{Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Network, Protocol};
use crate::ambient::Ambient;
use crate::events::{Busy, Recorder, Report};

/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;

/// How long a client may take to send a request's head, its silence before it included. One of HTTP/2 is asked after that
/// time whether it is still there, and told to go where it has no request open.
const HEAD_WITHIN: Duration = copepod_runtime::HEAD_WITHIN;

/// A NodePort's door.
enum Door {
    /// Holds the port.
    Shut(TcpSocket),
    Open {
        /// Accepts until `shut`.
        accepting: JoinHandle<()>,
        shut: CancellationToken,
        /// The open connections end, gracefully, when it is cancelled.
        closed: CancellationToken,
    },
}

impl Door {
    fn reserve(network: &Network, port: u16) -> std::io::Result<Self> {
        let address = SocketAddr::new(network.config.bind_address, port);
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        // Connections that linger do not hinder the bind; once bound, nobody else may listen.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.set_reuseaddr(false)?;
        Ok(Self::Shut(socket))
    }

    /// Brings the door of `port` to what is wanted; `None` is no door yet.
    async fn turn(
        network: &Arc<Network>,
        port: u16,
        door: Option<Self>,
        open: bool,
    ) -> std::io::Result<Self> {
        let door = match door {
            Some(door) => door,
            None => Self::reserve(network, port)?,
        };
        match (door, open) {
            (Self::Shut(socket), true) => {
                socket.set_reuseaddr(true)?;
                let listener = socket.listen(BACKLOG)?;
                let closed = network.stop.child_token();
                let shut = closed.child_token();
                let serving = serve(network.clone(), listener, port, shut.clone(), closed.clone());
                // Not on the guests' threads: each step of a connection would wait there behind every guest that spins.
                let accepting = network.tasks.spawn(serving);
                Ok(Self::Open { accepting, shut, closed })
            }
            (Self::Open { accepting, shut, .. }, false) => {
                shut.cancel();
                // The listener is closed when its task has ended.
                let _ = accepting.await;
                Self::reserve(network, port)
            }
            (door, _) => Ok(door),
        }
    }

    /// The Service is gone, or its port.
    fn close(&self) {
        if let Self::Open { closed, .. } = self {
            closed.cancel();
        }
    }
}

/// Opens and closes doors as Services come and go, until the network stops.
pub(super) async fn keep(network: Arc<Network>, client: kube::Client) {
    let recorder = Recorder::start(
        client,
        String::new(),
        Busy::default(),
        Ambient::default(),
        network.stop.clone(),
    );
    let mut changed = network.changed.subscribe();
    let mut doors: BTreeMap<u16, Door> = BTreeMap::new();
    let mut refused: BTreeMap<u16, String> = BTreeMap::new();
    loop {
        let wanted = network.index.read().node_ports();
        doors.retain(|port, door| {
            let keep = wanted.contains_key(&(*port, Protocol::Tcp));
            if !keep {
                door.close();
            }
            keep
        });
        refused.retain(|port, _| wanted.keys().any(|(wanted, _)| wanted == port));
        for ((port, protocol), open) in wanted {
            let why = match protocol {
                Protocol::Tcp => {
                    match Door::turn(&network, port, doors.remove(&port), open).await {
                        Ok(door) => {
                            doors.insert(port, door);
                            refused.remove(&port);
                            continue;
                        }
                        Err(error) => format!(
                            "NodePort {port} cannot be opened on {}: {error}; free the port, or choose another nodePort",
                            network.config.bind_address
                        ),
                    }
                }
                Protocol::Udp => format!("NodePort {port}: UDP node ports are not supported yet"),
            };
            if refused.get(&port) != Some(&why) {
                tracing::warn!("{why}");
                report(&network, &recorder, port, protocol, &why);
                refused.insert(port, why);
            }
        }
        tokio::select! {
            () = network.stop.cancelled() => break,
            result = changed.changed() => if result.is_err() { break },
            // A port that was taken may have become free.
            () = tokio::time::sleep(std::time::Duration::from_secs(5)), if !refused.is_empty() => {}
        }
    }
    for door in doors.values() {
        door.close();
    }
}

/// Accepts until the door is shut.
async fn serve(
    network: Arc<Network>,
    listener: TcpListener,
    port: u16,
    shut: CancellationToken,
    closed: CancellationToken,
) {
    loop {
        let accepted = tokio::select! {
            () = shut.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, client)) => {
                let (network, closed) = (network.clone(), closed.clone());
                network.tasks.clone().spawn(async move {
                    if let Err(error) = connection(network, socket, client.ip(), port, closed).await
                    {
                        tracing::debug!(%error, port, "connection through a NodePort ended");
                    }
                });
            }
            Err(error) => {
                // Out of file descriptors, most likely: let some close.
                tracing::warn!(%error, port, "cannot accept");
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        }
    }
}

/// Serves one connection: HTTP where its endpoint is an HTTP component, else bytes.
async fn connection(
    network: Arc<Network>,
    mut socket: TcpStream,
    client: IpAddr,
    port: u16,
    closed: CancellationToken,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    socket.set_nodelay(true)?;
    let mut tried = Vec::new();
    let mut last = None;
    while let Some((endpoint, way)) = network.route_node_port(client, port, &tried) {
        if matches!(way, Route::Switch(to) if network.switch.http(to).is_some()) {
            return serve_http(network, socket, client, port, closed).await;
        }
        match dial(&network, client, way).await {
            Ok(Far::Pod(mut stream)) => {
                copy_bidirectional(&mut socket, &mut stream).await?;
                return Ok(());
            }
            Ok(Far::Host(mut stream)) => {
                copy_bidirectional(&mut socket, &mut stream).await?;
                return Ok(());
            }
            Err(error) => last = Some(error),
        }
        tried.push(endpoint);
    }
    // No endpoint took the connection: reset it, as a refused one would be.
    socket.set_zero_linger()?;
    Err(last.map_or_else(|| "no endpoint".into(), Into::into))
}

enum Far {
    Pod(copepod_runtime::Stream),
    Host(TcpStream),
}

async fn dial(network: &Network, client: IpAddr, way: Route) -> std::io::Result<Far> {
    match way {
        Route::Switch(to) => {
            network.switch.connect(SocketAddr::new(client, 0), to).await.map(Far::Pod)
        }
        Route::Host(to) => TcpStream::connect(to).await.map(Far::Host),
        Route::Refused => Err(std::io::ErrorKind::ConnectionRefused.into()),
        Route::Unreachable => Err(std::io::ErrorKind::HostUnreachable.into()),
    }
}

async fn serve_http(
    network: Arc<Network>,
    socket: TcpStream,
    client: IpAddr,
    port: u16,
    closed: CancellationToken,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    speak_http(socket, closed, HEAD_WITHIN, |request| {
        let network = network.clone();
        async move { answer(&network, client, port, request).await }
    })
    .await
}

/// HTTP/1 or 2, whichever the client begins with.
async fn speak_http<F>(
    socket: TcpStream,
    closed: CancellationToken,
    head_within: Duration,
    answer: impl Fn(Request<Incoming>) -> F,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>>
where
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let begun = AtomicBool::new(false);
    let streams = watch::Sender::new(None);
    let service = service_fn(|request| {
        begun.store(true, Ordering::Relaxed);
        let open = (request.version() == Version::HTTP_2).then(|| OpenStream::begin(&streams));
        let answer = answer(request);
        async move {
            let response = answer.await;
            Ok::<_, Infallible>(match open {
                Some(open) => response.map(|body| open.until_end_of(body)),
                None => response,
            })
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(head_within);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(head_within)
        .keep_alive_timeout(head_within);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(socket), service));
    // Until the client's first words show which version it speaks, hyper has no clock running.
    let silent = async {
        tokio::time::sleep(head_within).await;
        if begun.load(Ordering::Relaxed) {
            std::future::pending().await
        }
    };
    tokio::select! {
        result = connection.as_mut() => return result,
        () = silent => return Err("no request in time".into()),
        () = idle(streams.subscribe(), head_within) => {}
        () = closed.cancelled() => {}
    }
    connection.as_mut().graceful_shutdown();
    // Of one that does not go when it is told to, the same is asked once more; requests in between are answered.
    tokio::select! {
        result = connection.as_mut() => result,
        () = idle(streams.subscribe(), head_within) => Err("it was told to go and stayed".into()),
    }
}

/// Returns once a connection of HTTP/2 has had no stream open for so long. Of HTTP/1, hyper itself counts how long one is
/// silent between requests.
async fn idle(mut streams: watch::Receiver<Option<usize>>, time: Duration) {
    loop {
        // An error is the end of the connection, which the caller sees.
        if streams.wait_for(|open| *open == Some(0)).await.is_err() {
            return std::future::pending().await;
        }
        let busy = streams.wait_for(|open| *open != Some(0));
        if tokio::time::timeout(time, busy).await.is_err() {
            return;
        }
    }
}

/// A stream of HTTP/2, counted from its request's head to the end of its answer, or until its client gives it up. `None`:
/// there was none yet.
struct OpenStream(watch::Sender<Option<usize>>);

impl OpenStream {
    fn begin(streams: &watch::Sender<Option<usize>>) -> Self {
        streams.send_modify(|open| *open = Some(open.unwrap_or(0) + 1));
        Self(streams.clone())
    }

    /// The body, which holds the stream open for as long as there is something of it.
    fn until_end_of(self, body: Body) -> Body {
        let held = move |error| {
            let _open = &self;
            error
        };
        body.map_err(held).boxed_unsync()
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open = open.map(|open| open - 1));
    }
}

/// Calls a ready replica; one that has just closed its listener is passed over.
async fn answer(
    network: &Network,
    client: IpAddr,
    port: u16,
    request: Request<Incoming>,
) -> Response<Body> {
    let Some(place) = reserve(network, client, port) else {
        return plain(StatusCode::SERVICE_UNAVAILABLE, "no ready endpoint behind this Service\n");
    };
    let request = request.map(|body| body.map_err(HttpError::from).boxed_unsync());
    match place.call(request).await {
        Ok(response) => response,
        Err(error) => plain(StatusCode::BAD_GATEWAY, format!("{error}\n")),
    }
}

/// A place at an endpoint; each is asked once.
fn reserve(network: &Network, client: IpAddr, port: u16) -> Option<Reserved> {
    let mut tried = Vec::new();
    while let Some((endpoint, way)) = network.route_node_port(client, port, &tried) {
        let handler = match way {
            Route::Switch(to) => network.switch.http(to),
            Route::Host(_) | Route::Refused | Route::Unreachable => None,
        };
        if let Some(place) = handler.and_then(|handler| handler.reserve()) {
            return Some(place);
        }
        tried.push(endpoint);
    }
    None
}

fn plain(status: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    let body = Full::new(text.into()).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

/// Tells the Service's owner why a door stays shut.
fn report(network: &Network, recorder: &Recorder, port: u16, protocol: Protocol, why: &str) {
    let Some(about) = network.index.read().node_port_owner(port, protocol) else { return };
    recorder.record(Report {
        about,
        warning: true,
        reason: "NodePortUnavailable",
        message: why.to_owned(),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    use http_body::Frame;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::timeout;

    /// Far beyond what anything here takes: passed only by a bug.
    const DEADLINE: Duration = Duration::from_secs(60);
    const HTTP_2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

    /// A client of a door, with so long for each head.
    async fn client(head_within: Duration) -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (socket, _) = listener.accept().await.unwrap();
        tokio::spawn(async move {
            let closed = CancellationToken::new();
            speak_http(socket, closed, head_within, |request| async move {
                let slow = tokio::time::sleep(Duration::from_millis(700));
                match request.uri().path() {
                    "/slow" => slow.await,
                    "/slow-body" => {
                        let part = async {
                            slow.await;
                            Ok(Frame::data(Bytes::from_static(b"answered\n")))
                        };
                        let parts = futures::stream::once(part);
                        return Response::new(
                            http_body_util::StreamBody::new(parts).boxed_unsync(),
                        );
                    }
                    _ => {}
                }
                plain(StatusCode::OK, "answered\n")
            })
            .await
        });
        client
    }

    /// Everything until the door cuts the connection off, which is an end or a reset.
    async fn rest(client: &mut TcpStream) -> String {
        let mut read = Vec::new();
        let _ = timeout(DEADLINE, client.read_to_end(&mut read)).await.expect("it is cut off");
        String::from_utf8_lossy(&read).into_owned()
    }

    #[tokio::test]
    async fn a_client_that_does_not_send_its_head_in_time_is_cut_off() {
        for words in [&b""[..], b"P", b"PRI * HTTP/2.0\r\n", b"GET / HT", HTTP_2] {
            let mut client = client(Duration::from_millis(300)).await;
            client.write_all(words).await.unwrap();
            assert!(!rest(&mut client).await.contains("200 OK"));
        }
    }

    #[tokio::test]
    async fn a_client_that_sends_a_byte_at_a_time_is_cut_off() {
        let client = client(Duration::from_millis(300)).await;
        let (mut read, mut write) = client.into_split();
        let writing = tokio::spawn(async move {
            write.write_all(b"GET / HTTP/1.1\r\nx: ").await.unwrap();
            while write.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        let mut words = Vec::new();
        let _ = timeout(DEADLINE, read.read_to_end(&mut words)).await.expect("it is cut off");
        timeout(DEADLINE, writing).await.expect("nobody reads any more").unwrap();
    }

    #[tokio::test]
    async fn a_client_that_is_silent_after_its_request_is_cut_off_and_a_slow_answer_is_not() {
        let mut client = client(Duration::from_millis(300)).await;
        client.write_all(b"GET /slow HTTP/1.1\r\nHost: me\r\n\r\n").await.unwrap();
        let said = rest(&mut client).await;
        assert!(said.contains("200 OK") && said.ends_with("answered\n"), "{said}");
    }

    #[tokio::test]
    async fn a_client_of_http_2_that_asks_for_nothing_more_is_told_to_go_and_an_open_stream_is_not_cut()
     {
        for path in ["/", "/slow", "/slow-body"] {
            let client = client(Duration::from_millis(300)).await;
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(client))
                    .await
                    .unwrap();
            // It answers pings for as long as it lasts.
            let lasting = tokio::spawn(connection);
            for _ in 0..2 {
                let uri = format!("http://me{path}");
                let request = Request::get(uri).body(Full::<Bytes>::default()).unwrap();
                let response = timeout(DEADLINE, sender.send_request(request)).await.unwrap();
                let body = timeout(DEADLINE, response.unwrap().into_body().collect()).await;
                assert_eq!(body.unwrap().unwrap().to_bytes(), "answered\n", "{path}");
            }
            let end = timeout(DEADLINE, lasting).await.expect("it is told to go").unwrap();
            assert!(end.is_ok(), "with a word: {end:?}");
            drop(sender);
        }
    }
}
