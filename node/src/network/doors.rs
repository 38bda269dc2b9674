//! The doors from real sockets: a listener for every NodePort, on the network's bind address.
//!
//! Behind a door, an HTTP component is called directly, request by request, so that a kept-alive
//! connection outlives the replicas that answered its first requests. Any other endpoint gets the
//! connection as a stream of bytes.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use copepod_runtime::{Body, HttpError, Route};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::{Network, Protocol};
use crate::ambient::Ambient;
use crate::events::{Busy, Recorder, Report};

/// How often another endpoint is tried where one refuses the connection.
const ATTEMPTS: usize = 5;

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
    let mut doors: BTreeMap<u16, CancellationToken> = BTreeMap::new();
    let mut refused: BTreeMap<u16, String> = BTreeMap::new();
    loop {
        let wanted = network.index.read().node_ports();
        doors.retain(|port, door| {
            let keep = wanted.contains(&(*port, Protocol::Tcp));
            if !keep {
                door.cancel();
            }
            keep
        });
        refused.retain(|port, _| wanted.iter().any(|(wanted, _)| wanted == port));
        for (port, protocol) in wanted {
            if doors.contains_key(&port) {
                continue;
            }
            let why = match protocol {
                Protocol::Tcp => match open(&network, port).await {
                    Ok(door) => {
                        doors.insert(port, door);
                        refused.remove(&port);
                        continue;
                    }
                    Err(error) => format!(
                        "NodePort {port} cannot be opened on {}: {error}; free the port, or choose another nodePort",
                        network.config.bind_address
                    ),
                },
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
        door.cancel();
    }
}

async fn open(network: &Arc<Network>, port: u16) -> std::io::Result<CancellationToken> {
    let address = (network.config.bind_address, port);
    let listener = network.guests.spawn(TcpListener::bind(address)).await??;
    let door = network.stop.child_token();
    let serving = serve(network.clone(), listener, port, door.clone());
    network.tasks.spawn_on(serving, &network.guests);
    Ok(door)
}

/// Accepts until the door closes.
async fn serve(network: Arc<Network>, listener: TcpListener, port: u16, door: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            () = door.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, client)) => {
                let (network, door) = (network.clone(), door.clone());
                network.tasks.clone().spawn(async move {
                    if let Err(error) = connection(network, socket, client.ip(), port, door).await {
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

/// Serves one connection: HTTP where its first endpoint is an HTTP component, else bytes.
async fn connection(
    network: Arc<Network>,
    mut socket: TcpStream,
    client: IpAddr,
    port: u16,
    door: CancellationToken,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    socket.set_nodelay(true)?;
    let first = network.route_node_port(client, port);
    if let Route::Switch(endpoint) = first
        && network.switch.http(endpoint).is_some()
    {
        return serve_http(network, socket, client, port, door).await;
    }
    let mut way = first;
    let mut last = None;
    for _ in 0..ATTEMPTS {
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
        way = network.route_node_port(client, port);
    }
    // No endpoint took the connection: reset it, as kube-proxy's reject rule would.
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
    door: CancellationToken,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let service = service_fn(|request: Request<Incoming>| {
        let network = network.clone();
        async move { Ok::<_, Infallible>(answer(&network, client, port, request).await) }
    });
    let builder = auto::Builder::new(TokioExecutor::new());
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(socket), service));
    tokio::select! {
        result = connection.as_mut() => return result,
        () = door.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    connection.await
}

/// Calls a ready replica; one that has just closed its listener is passed over.
async fn answer(
    network: &Network,
    client: IpAddr,
    port: u16,
    request: Request<Incoming>,
) -> Response<Body> {
    let place = (0..ATTEMPTS).find_map(|_| match network.route_node_port(client, port) {
        Route::Switch(endpoint) => network.switch.http(endpoint)?.reserve(),
        Route::Host(_) | Route::Refused | Route::Unreachable => None,
    });
    let Some(place) = place else {
        return plain(StatusCode::SERVICE_UNAVAILABLE, "no ready endpoint behind this Service\n");
    };
    let request = request.map(|body| body.map_err(HttpError::from).boxed_unsync());
    match place.call(request).await {
        Ok(response) => response,
        Err(error) => plain(StatusCode::BAD_GATEWAY, format!("{error}\n")),
    }
}

fn plain(status: StatusCode, text: impl Into<bytes::Bytes>) -> Response<Body> {
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
