//! What lies beyond a sandbox's own loopback. The embedder decides; this crate only asks.

use std::io;
use std::net::{IpAddr, SocketAddr};

use async_trait::async_trait;

/// Names and routes, as the sandbox at `from` sees them.
#[async_trait]
pub trait Outside: Send + Sync {
    /// The addresses of `name`. `NotFound`, or no address, means that the name does not exist.
    async fn resolve(&self, from: IpAddr, name: &str) -> io::Result<Vec<IpAddr>>;

    /// Where traffic for `to` goes. Asked at each TCP connect, datagram and outgoing HTTP request; must not block.
    /// Datagrams from one port to one address are one flow; the port is 0 where none is taken for the traffic.
    fn route(&self, from: SocketAddr, to: SocketAddr, protocol: Protocol) -> Route;
}

/// What carries the traffic: the same port may be another's for the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Tcp,
    Udp,
}

/// The way to an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// An address in the switch.
    Switch(SocketAddr),
    /// A real socket of the host.
    Host(SocketAddr),
    Refused,
    Unreachable,
}
