//! From an address or a name to a connection, as one sandbox sees it: own loopback and address first, then
//! what [`Outside`] says. The only place that opens real TCP connections.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::interface::{self, Interface, Side, Target};
use super::outside::{Outside, Protocol, Route};
use super::stream::{Read, Stream};
use super::switch::Switch;
use crate::http::{HttpHandler, Reserved};

/// Bytes moved at a time between a real socket and a guest's stream.
const BRIDGE_CHUNK: usize = 16 * 1024;

/// How often the way to an address is asked for where what it led to has just stopped listening.
const WAYS_MAX: usize = 8;

/// A sandbox's view of the network. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Dialer {
    pub(crate) interface: Arc<Interface>,
    pub(crate) switch: Arc<Switch>,
    pub(crate) outside: Arc<dyn Outside>,
    pub(crate) hostname: Arc<str>,
}

/// Where an address leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Destination {
    /// The sandbox itself.
    Own(Side),
    Switch(SocketAddr),
    Host(SocketAddr),
}

impl Destination {
    /// Whether it was chosen among several that stand behind `to` and took nothing: another may.
    fn is_choice(self, to: SocketAddr, error: &io::Error) -> bool {
        let gone = matches!(
            error.kind(),
            io::ErrorKind::ConnectionRefused | io::ErrorKind::HostUnreachable
        );
        gone && matches!(self, Destination::Switch(routed) if routed != to)
    }
}

/// What takes an HTTP request.
pub(crate) enum Reached {
    Handler(Reserved),
    Stream(Stream),
}

impl Dialer {
    pub(crate) fn destination(
        &self,
        to: SocketAddr,
        protocol: Protocol,
        from_port: u16,
    ) -> io::Result<Destination> {
        if let Some(side) = self.interface.own_side(to.ip()) {
            return Ok(Destination::Own(side));
        }
        let from = SocketAddr::new(self.interface.ip(), from_port);
        match self.outside.route(from, to, protocol) {
            Route::Switch(to) => Ok(Destination::Switch(to)),
            Route::Host(to) => Ok(Destination::Host(to)),
            Route::Refused => Err(io::ErrorKind::ConnectionRefused.into()),
            Route::Unreachable => Err(io::ErrorKind::HostUnreachable.into()),
        }
    }

    /// The HTTP component at a destination, if one stands there.
    fn http(&self, to: SocketAddr, destination: Destination) -> Option<HttpHandler> {
        match destination {
            Destination::Own(side) => match self.interface.target(side, to.port())? {
                Target::Http(handler) => Some(handler),
                Target::Listener { .. } => None,
            },
            Destination::Switch(to) => self.switch.http(to),
            Destination::Host(_) => None,
        }
    }

    /// Connects to `to`; the stream's peer address is `to`, whatever it was routed to.
    pub(crate) async fn connect(&self, to: SocketAddr, from_port: u16) -> io::Result<Stream> {
        let mut last = None;
        for _ in 0..WAYS_MAX {
            let destination = self.destination(to, Protocol::Tcp, from_port)?;
            match self.connect_to(to, destination, from_port).await {
                Err(error) if destination.is_choice(to, &error) => last = Some(error),
                done => return done,
            }
        }
        Err(last.unwrap_or_else(|| io::ErrorKind::ConnectionRefused.into()))
    }

    /// What takes an HTTP request for `to`: a place at a component, or a connection.
    pub(crate) async fn reach_http(&self, to: SocketAddr) -> io::Result<Reached> {
        let mut last = None;
        for _ in 0..WAYS_MAX {
            let destination = self.destination(to, Protocol::Tcp, 0)?;
            let reached = match self.http(to, destination) {
                Some(handler) => match handler.reserve() {
                    Some(place) => Ok(Reached::Handler(place)),
                    None => Err(io::ErrorKind::ConnectionRefused.into()),
                },
                None => {
                    let from_port = self.interface.ephemeral_port();
                    self.connect_to(to, destination, from_port).await.map(Reached::Stream)
                }
            };
            match reached {
                Err(error) if destination.is_choice(to, &error) => last = Some(error),
                done => return done,
            }
        }
        Err(last.unwrap_or_else(|| io::ErrorKind::ConnectionRefused.into()))
    }

    async fn connect_to(
        &self,
        to: SocketAddr,
        destination: Destination,
        from_port: u16,
    ) -> io::Result<Stream> {
        match destination {
            Destination::Own(side) => {
                let from = match side {
                    Side::Loopback => to.ip(),
                    Side::Outer => self.interface.ip(),
                };
                let target = self.interface.target(side, to.port());
                let target = target.ok_or(io::ErrorKind::ConnectionRefused)?;
                let from = SocketAddr::new(from, from_port);
                let stream = interface::connect(target, from, to).await;
                stream.ok_or_else(|| io::ErrorKind::ConnectionRefused.into())
            }
            Destination::Switch(routed) => {
                let from = SocketAddr::new(self.interface.ip(), from_port);
                self.switch.connect(from, routed).await
            }
            Destination::Host(routed) => {
                let real = TcpStream::connect(routed).await?;
                real.set_nodelay(true)?;
                let from = SocketAddr::new(self.interface.ip(), from_port);
                let (near, far) = Stream::pair(from, to);
                tokio::spawn(bridge(far, real));
                Ok(near)
            }
        }
    }

    /// Literals and the sandbox's own names are answered here, the rest outside.
    pub(crate) async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        if let Some(known) = self.known(name) {
            return Ok(known);
        }
        let found = self.outside.resolve(self.interface.ip(), name).await?;
        if found.is_empty() {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(found)
    }

    fn known(&self, name: &str) -> Option<Vec<IpAddr>> {
        let literal = name.trim_start_matches('[').trim_end_matches(']');
        if let Ok(ip) = literal.parse() {
            return Some(vec![ip]);
        }
        let name = name.strip_suffix('.').unwrap_or(name);
        if name.eq_ignore_ascii_case("localhost") {
            return Some(vec![Ipv4Addr::LOCALHOST.into()]);
        }
        name.eq_ignore_ascii_case(&self.hostname).then(|| vec![self.interface.ip()])
    }
}

/// Moves bytes between a guest's stream and a real socket until both directions have ended, or the guest reads no more.
async fn bridge(stream: Stream, real: TcpStream) {
    let (from_guest, to_guest) = stream.into_ends();
    let (mut from_real, mut to_real) = real.into_split();
    let up = async {
        loop {
            poll_fn(|cx| from_guest.poll_readable(cx)).await;
            match from_guest.try_read(usize::MAX) {
                Read::Bytes(bytes) => {
                    if to_real.write_all(&bytes).await.is_err() {
                        // The guest's next write fails.
                        return from_guest.close();
                    }
                }
                Read::Pending => continue,
                Read::End => {
                    // An error here means that the socket is gone already.
                    let _ = to_real.shutdown().await;
                    return;
                }
            }
        }
    };
    let down = async {
        let mut buffer = BytesMut::new();
        while let Ok(_room) = poll_fn(|cx| to_guest.poll_writable(cx)).await {
            buffer.reserve(BRIDGE_CHUNK);
            match from_real.read_buf(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(_) => {
                    if to_guest.write(buffer.split().freeze()).is_err() {
                        break;
                    }
                }
            }
        }
        to_guest.close();
    };
    let down = async {
        tokio::select! {
            () = down => {}
            () = poll_fn(|cx| to_guest.poll_gone(cx)) => {}
        }
    };
    tokio::join!(up, down);
}
