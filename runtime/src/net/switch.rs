//! The switch: which address belongs to which sandbox. One a process; sandboxes attach and detach.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::RwLock;

use super::datagram::Datagram;
use super::interface::{self, Interface, Side, Target};
use super::stream::Stream;
use crate::http::HttpHandler;

/// The virtual network of one process.
#[derive(Default)]
pub struct Switch {
    interfaces: RwLock<HashMap<IpAddr, Arc<Interface>>>,
}

impl Switch {
    pub fn new() -> Arc<Switch> {
        Arc::default()
    }

    /// Connects to a listener inside a sandbox; an HTTP component gets a server on the far end.
    /// Fails with `HostUnreachable` where no sandbox has the address, `ConnectionRefused` where none listens.
    /// Waits while the listener's backlog is full.
    pub async fn connect(&self, from: SocketAddr, to: SocketAddr) -> io::Result<Stream> {
        let interface = self.interface(to.ip()).ok_or(io::ErrorKind::HostUnreachable)?;
        let target =
            interface.target(Side::Outer, to.port()).ok_or(io::ErrorKind::ConnectionRefused)?;
        let stream = interface::connect(target, from, to).await;
        stream.ok_or_else(|| io::ErrorKind::ConnectionRefused.into())
    }

    /// The HTTP component that serves `to`, to be called without a stream between.
    pub fn http(&self, to: SocketAddr) -> Option<HttpHandler> {
        match self.interface(to.ip())?.target(Side::Outer, to.port())? {
            Target::Http(handler) => Some(handler),
            Target::Listener { .. } => None,
        }
    }

    pub fn is_listening(&self, to: SocketAddr) -> bool {
        self.interface(to.ip())
            .is_some_and(|interface| interface.target(Side::Outer, to.port()).is_some())
    }

    pub fn attached(&self, ip: IpAddr) -> bool {
        self.interfaces.read().contains_key(&ip)
    }

    /// Sends one datagram. `HostUnreachable` where no sandbox has the address; lost in silence where none listens.
    pub fn send_datagram(&self, from: SocketAddr, to: SocketAddr, data: Bytes) -> io::Result<()> {
        let interface = self.interface(to.ip()).ok_or(io::ErrorKind::HostUnreachable)?;
        if let Some(inbox) = interface.inbox(Side::Outer, to.port()) {
            inbox.push(Datagram { from, data });
        }
        Ok(())
    }

    fn interface(&self, ip: IpAddr) -> Option<Arc<Interface>> {
        self.interfaces.read().get(&ip).cloned()
    }

    /// False where the address is taken.
    pub(crate) fn attach(&self, interface: &Arc<Interface>) -> bool {
        use std::collections::hash_map::Entry;
        match self.interfaces.write().entry(interface.ip()) {
            Entry::Occupied(_) => false,
            Entry::Vacant(vacant) => {
                vacant.insert(interface.clone());
                true
            }
        }
    }

    /// Removes this very interface, not a later one with the same address.
    pub(crate) fn detach(&self, interface: &Arc<Interface>) {
        let mut interfaces = self.interfaces.write();
        if interfaces.get(&interface.ip()).is_some_and(|held| Arc::ptr_eq(held, interface)) {
            interfaces.remove(&interface.ip());
        }
    }
}
