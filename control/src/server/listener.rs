//! HTTPS: accepts connections, finds out who is at the other end, serves HTTP/1.1 and HTTP/2.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::{Request, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::ambient::Ambient;
use crate::api::Hangup;
use crate::auth::{Identity, user_of_certificate};

use super::{StartError, tls};

const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
const HEADER_MAX: Duration = Duration::from_secs(30);
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// As upstream's `--http2-max-streams-per-connection`, which etcd-heavy clients rely on.
const STREAMS_MAX: u32 = 250;
/// As Go's DefaultMaxHeaderBytes: long selectors stand in the path.
const HEADERS_MAX: u32 = 1024 * 1024;
/// A rest before accepting again, where the process is out of file descriptors.
const ACCEPT_REST: Duration = Duration::from_millis(100);

pub async fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => StartError::AddressInUse { address },
        _ => StartError::Listen { address, source },
    })
}

pub struct Listener {
    closing: CancellationToken,
    task: JoinHandle<()>,
    renewal: JoinHandle<()>,
}

impl Listener {
    pub fn start(
        socket: TcpListener,
        tls: Arc<tls::Server>,
        router: Router,
        ambient: &Ambient,
        drain: Duration,
    ) -> Result<Self, StartError> {
        let acceptor = TlsAcceptor::from(Arc::new(tls.config()?));
        let closing = CancellationToken::new();
        let accepting = Accepting { acceptor, router, ambient: ambient.clone() };
        let task = ambient.spawn(accepting.run(socket, closing.clone(), drain));
        let renewal = ambient.spawn(async move {
            loop {
                tokio::time::sleep(tls::RENEW_EVERY).await;
                if let Err(error) = tls.renew() {
                    tracing::warn!(%error, "the serving certificate was not renewed");
                }
            }
        });
        Ok(Self { closing, task, renewal })
    }

    /// Accepts no more, waits for open requests, no longer than it was told to.
    pub async fn stop(self) {
        self.renewal.abort();
        self.closing.cancel();
        self.task.await.ok();
    }
}

struct Accepting {
    acceptor: TlsAcceptor,
    router: Router,
    ambient: Ambient,
}

impl Accepting {
    async fn run(self, socket: TcpListener, closing: CancellationToken, drain: Duration) {
        let graceful = GracefulShutdown::new();
        loop {
            let accepted = tokio::select! {
                () = closing.cancelled() => break,
                accepted = socket.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    let (acceptor, router) = (self.acceptor.clone(), self.router.clone());
                    let serving = serve(acceptor, router, stream, graceful.watcher());
                    let closing = closing.clone();
                    self.ambient.spawn(async move {
                        tokio::pin!(serving);
                        tokio::select! {
                            () = &mut serving => {}
                            // A connection that does not drain is cut.
                            () = async { closing.cancelled().await; tokio::time::sleep(drain).await } => {}
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(ACCEPT_REST).await;
                }
            }
        }
        drop(socket);
        if timeout(drain, graceful.shutdown()).await.is_err() {
            tracing::warn!("open connections were cut");
        }
    }
}

async fn serve(acceptor: TlsAcceptor, router: Router, stream: TcpStream, watcher: Watcher) {
    // Small frames of watches must not wait for one another.
    stream.set_nodelay(true).ok();
    let stream = match timeout(HANDSHAKE_MAX, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%error, "TLS handshake failed"),
        Err(_) => return,
    };
    let identity = identity(&stream);
    let hangup = CancellationToken::new();
    let closing = hangup.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        if let Some(identity) = &identity {
            request.extensions_mut().insert(identity.clone());
        }
        // Over HTTP/2 a request that nobody reads hinders no other: its stream alone stands still.
        if request.version() < Version::HTTP_2 {
            request.extensions_mut().insert(Hangup(hangup.clone()));
        }
        let router = router.clone();
        async move {
            let response: Result<_, Infallible> = router.oneshot(request).await;
            response
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE)
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADERS_MAX);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::select! {
        ended = watcher.watch(connection.into_owned()) => if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended");
        },
        () = closing.cancelled() => tracing::debug!("a connection that nobody read was closed"),
    }
}

/// Who the verified client certificate names; `None` where the client shows none.
fn identity(stream: &TlsStream<TcpStream>) -> Option<Identity> {
    let certificate = stream.get_ref().1.peer_certificates()?.first()?;
    user_of_certificate(certificate).map(Identity::of)
}
