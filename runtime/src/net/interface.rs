//! One sandbox's side of the network: its address, its loopback, and who holds which port.
//!
//! Loopback is shared by the sandbox's containers and invisible to others. A port bound to every address is
//! reachable on both sides; one bound to loopback or to the own address on that side alone.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};

use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::datagram::Inbox;
use super::outside::Protocol;
use super::stream::Stream;
use crate::activity::{Activity, Open};
use crate::http::HttpHandler;

/// Where ports of outgoing connections and of binds to port 0 come from.
const EPHEMERAL_FIRST: u16 = 32_768;
const EPHEMERAL_LAST: u16 = 60_999;

/// Which side of the interface a bind covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    Any,
    Loopback,
    Outer,
}

/// Which side traffic arrives on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Loopback,
    Outer,
}

impl Scope {
    fn covers(self, side: Side) -> bool {
        matches!(
            (self, side),
            (Scope::Any, _) | (Scope::Loopback, Side::Loopback) | (Scope::Outer, Side::Outer)
        )
    }

    fn overlaps(self, other: Scope) -> bool {
        self == other || self == Scope::Any || other == Scope::Any
    }
}

/// An accepted connection, counted as open work of the container that listens.
pub(crate) struct Incoming {
    pub(crate) stream: Stream,
    pub(crate) open: Open,
}

/// What stands behind a TCP port.
enum Tcp {
    /// Bound; refuses connections.
    Reserved,
    Listening {
        queue: mpsc::Sender<Incoming>,
        owner: Arc<Activity>,
    },
    Http(HttpHandler),
}

/// What a connection to a port meets.
pub(crate) enum Target {
    Listener { queue: mpsc::Sender<Incoming>, owner: Arc<Activity> },
    Http(HttpHandler),
}

struct Binding<T> {
    id: u64,
    scope: Scope,
    what: T,
}

#[derive(Default)]
struct Ports {
    tcp: HashMap<u16, Vec<Binding<Tcp>>>,
    udp: HashMap<u16, Vec<Binding<Arc<Inbox>>>>,
    last_id: u64,
    last_ephemeral: u16,
}

/// The port is taken, or none is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PortTaken;

pub(crate) struct Interface {
    ip: IpAddr,
    ports: Mutex<Ports>,
}

impl Interface {
    pub(crate) fn new(ip: IpAddr) -> Arc<Interface> {
        Arc::new(Interface { ip, ports: Mutex::default() })
    }

    pub(crate) fn ip(&self) -> IpAddr {
        self.ip
    }

    /// The side that traffic for `to` from inside the sandbox arrives on; `None` where it leaves the sandbox.
    pub(crate) fn own_side(&self, to: IpAddr) -> Option<Side> {
        if to.is_loopback() || to.is_unspecified() {
            return Some(Side::Loopback);
        }
        (to == self.ip).then_some(Side::Outer)
    }

    /// The scope of a bind to `ip`; `None` where the address is not the sandbox's.
    pub(crate) fn scope_of(&self, ip: IpAddr) -> Option<Scope> {
        if ip.is_unspecified() {
            Some(Scope::Any)
        } else if ip.is_loopback() {
            Some(Scope::Loopback)
        } else {
            (ip == self.ip).then_some(Scope::Outer)
        }
    }

    pub(crate) fn ephemeral_port(&self) -> u16 {
        self.ports.lock().next_ephemeral()
    }

    /// Holds a TCP port (0: any free one) until the reservation drops.
    pub(crate) fn bind_tcp(
        self: &Arc<Self>,
        scope: Scope,
        port: u16,
    ) -> Result<Reservation, PortTaken> {
        self.insert_tcp(scope, port, Tcp::Reserved)
    }

    /// Serves an HTTP port until the reservation drops.
    pub(crate) fn serve_http(
        self: &Arc<Self>,
        port: u16,
        handler: HttpHandler,
    ) -> Result<Reservation, PortTaken> {
        self.insert_tcp(Scope::Any, port, Tcp::Http(handler))
    }

    fn insert_tcp(
        self: &Arc<Self>,
        scope: Scope,
        port: u16,
        what: Tcp,
    ) -> Result<Reservation, PortTaken> {
        let mut ports = self.ports.lock();
        let port = ports.choose(port, scope, |ports| &ports.tcp)?;
        let id = ports.next_id();
        let binding = Binding { id, scope, what };
        ports.tcp.entry(port).or_default().push(binding);
        Ok(self.reservation(Protocol::Tcp, port, id))
    }

    pub(crate) fn bind_udp(
        self: &Arc<Self>,
        scope: Scope,
        port: u16,
    ) -> Result<(Reservation, Arc<Inbox>), PortTaken> {
        let mut ports = self.ports.lock();
        let port = ports.choose(port, scope, |ports| &ports.udp)?;
        let id = ports.next_id();
        let inbox = Arc::new(Inbox::default());
        let binding = Binding { id, scope, what: inbox.clone() };
        ports.udp.entry(port).or_default().push(binding);
        Ok((self.reservation(Protocol::Udp, port, id), inbox))
    }

    fn reservation(self: &Arc<Self>, protocol: Protocol, port: u16, id: u64) -> Reservation {
        Reservation { interface: self.clone(), protocol, port, id }
    }

    /// What a connection arriving at `port` on `side` meets; `None` refuses it.
    pub(crate) fn target(&self, side: Side, port: u16) -> Option<Target> {
        let ports = self.ports.lock();
        let binding = find(ports.tcp.get(&port)?, side)?;
        match &binding.what {
            Tcp::Reserved => None,
            Tcp::Listening { queue, owner } => {
                Some(Target::Listener { queue: queue.clone(), owner: owner.clone() })
            }
            Tcp::Http(handler) => Some(Target::Http(handler.clone())),
        }
    }

    pub(crate) fn inbox(&self, side: Side, port: u16) -> Option<Arc<Inbox>> {
        let ports = self.ports.lock();
        Some(find(ports.udp.get(&port)?, side)?.what.clone())
    }

    /// Refuses further connections to `owner`'s listeners; the ports stay taken. Returns how many there were.
    pub(crate) fn close_listeners(&self, owner: &Arc<Activity>) -> usize {
        let mut closed = 0;
        for binding in self.ports.lock().tcp.values_mut().flatten() {
            if matches!(&binding.what, Tcp::Listening { owner: own, .. } if Arc::ptr_eq(own, owner))
            {
                binding.what = Tcp::Reserved;
                closed += 1;
            }
        }
        closed
    }

    /// Forgets every port.
    pub(crate) fn clear(&self) {
        let mut ports = self.ports.lock();
        ports.tcp = HashMap::new();
        ports.udp = HashMap::new();
    }
}

fn find<T>(bindings: &[Binding<T>], side: Side) -> Option<&Binding<T>> {
    bindings.iter().find(|binding| binding.scope.covers(side))
}

impl Ports {
    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    fn next_ephemeral(&mut self) -> u16 {
        self.last_ephemeral = match self.last_ephemeral {
            EPHEMERAL_FIRST..EPHEMERAL_LAST => self.last_ephemeral + 1,
            _ => EPHEMERAL_FIRST,
        };
        self.last_ephemeral
    }

    fn choose<T>(
        &mut self,
        port: u16,
        scope: Scope,
        table: impl Fn(&Ports) -> &HashMap<u16, Vec<Binding<T>>>,
    ) -> Result<u16, PortTaken> {
        let free = |ports: &Ports, port: u16| {
            table(ports)
                .get(&port)
                .is_none_or(|held| held.iter().all(|binding| !binding.scope.overlaps(scope)))
        };
        if port != 0 {
            return if free(self, port) { Ok(port) } else { Err(PortTaken) };
        }
        for _ in EPHEMERAL_FIRST..=EPHEMERAL_LAST {
            let port = self.next_ephemeral();
            if free(self, port) {
                return Ok(port);
            }
        }
        Err(PortTaken)
    }
}

/// A port held; dropped, it is free again.
pub(crate) struct Reservation {
    interface: Arc<Interface>,
    protocol: Protocol,
    port: u16,
    id: u64,
}

impl Reservation {
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Begins to accept; at most `backlog` connections wait, further ones wait to be queued.
    pub(crate) fn listen(&self, owner: &Arc<Activity>, backlog: usize) -> Option<Listener> {
        let (queue, waiting) = mpsc::channel(backlog.max(1));
        let mut ports = self.interface.ports.lock();
        let held = ports.tcp.get_mut(&self.port)?;
        let binding = held.iter_mut().find(|binding| binding.id == self.id)?;
        binding.what = Tcp::Listening { queue, owner: owner.clone() };
        Some(Listener { waiting, next: None })
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut ports = self.interface.ports.lock();
        match self.protocol {
            Protocol::Tcp => remove(&mut ports.tcp, self.port, self.id),
            Protocol::Udp => remove(&mut ports.udp, self.port, self.id),
        }
    }
}

fn remove<T>(table: &mut HashMap<u16, Vec<Binding<T>>>, port: u16, id: u64) {
    if let Some(held) = table.get_mut(&port) {
        held.retain(|binding| binding.id != id);
        if held.is_empty() {
            table.remove(&port);
        }
    }
}

/// The accepting end of a port.
pub(crate) struct Listener {
    waiting: mpsc::Receiver<Incoming>,
    next: Option<Incoming>,
}

impl Listener {
    /// Pending for good once the port no longer listens: a stopping guest is to finish what it has, not to fail.
    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.next.is_none() {
            match self.waiting.poll_recv(cx) {
                Poll::Ready(Some(incoming)) => self.next = Some(incoming),
                Poll::Ready(None) | Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(())
    }

    pub(crate) fn accept(&mut self) -> Option<Incoming> {
        self.next.take().or_else(|| self.waiting.try_recv().ok())
    }
}

/// Connects two ends; waits while the listener's backlog is full. `None`: refused.
pub(crate) async fn connect(target: Target, from: SocketAddr, to: SocketAddr) -> Option<Stream> {
    let (near, far) = Stream::pair(from, to);
    match target {
        Target::Listener { queue, owner } => {
            let open = owner.enter();
            owner.watch(far.watched());
            let incoming = Incoming { stream: far, open };
            queue.send(incoming).await.ok()?;
        }
        Target::Http(handler) if !handler.serve(far) => return None,
        Target::Http(_) => {}
    }
    Some(near)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_bound_to_every_address_excludes_narrower_binds() {
        let interface = Interface::new([10, 0, 0, 1].into());
        let any = interface.bind_tcp(Scope::Any, 80).unwrap();
        assert!(interface.bind_tcp(Scope::Loopback, 80).is_err());
        assert!(interface.bind_tcp(Scope::Outer, 80).is_err());
        assert!(interface.bind_udp(Scope::Any, 80).is_ok());
        drop(any);
        let _loopback = interface.bind_tcp(Scope::Loopback, 80).unwrap();
        let _outer = interface.bind_tcp(Scope::Outer, 80).unwrap();
    }

    #[test]
    fn a_loopback_listener_is_invisible_from_outside() {
        let interface = Interface::new([10, 0, 0, 1].into());
        let bound = interface.bind_tcp(Scope::Loopback, 80).unwrap();
        assert!(interface.target(Side::Loopback, 80).is_none());
        let _listener = bound.listen(&Arc::default(), 1).unwrap();
        assert!(interface.target(Side::Loopback, 80).is_some());
        assert!(interface.target(Side::Outer, 80).is_none());
    }

    #[test]
    fn port_zero_takes_a_free_ephemeral_port() {
        let interface = Interface::new([10, 0, 0, 1].into());
        let a = interface.bind_tcp(Scope::Any, 0).unwrap();
        let b = interface.bind_tcp(Scope::Any, 0).unwrap();
        assert_ne!(a.port(), b.port());
        assert!((EPHEMERAL_FIRST..=EPHEMERAL_LAST).contains(&a.port()));
    }

    #[test]
    fn closing_an_owners_listeners_keeps_the_others() {
        let interface = Interface::new([10, 0, 0, 1].into());
        let (one, two) = (Arc::default(), Arc::default());
        let a = interface.bind_tcp(Scope::Any, 1).unwrap();
        let b = interface.bind_tcp(Scope::Any, 2).unwrap();
        let _a = a.listen(&one, 1);
        let _b = b.listen(&two, 1);
        assert_eq!(interface.close_listeners(&one), 1);
        assert!(interface.target(Side::Outer, 1).is_none());
        assert!(interface.target(Side::Outer, 2).is_some());
        assert!(interface.bind_tcp(Scope::Any, 1).is_err());
    }
}
