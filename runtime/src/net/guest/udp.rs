//! `wasi:sockets/udp` 0.2: datagrams through the switch, or through one real socket where the route says so.
//! WASI 0.3 (`p3/udp.rs`) has the same socket.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use parking_lot::Mutex;
use wasmtime::component::Resource;
use wasmtime_wasi::p2::bindings::sockets::network::{
    ErrorCode, IpAddressFamily, IpSocketAddress, Network,
};
use wasmtime_wasi::p2::bindings::sockets::udp::{
    Host, HostIncomingDatagramStream, HostOutgoingDatagramStream, HostUdpSocket, IncomingDatagram,
    IncomingDatagramStream, OutgoingDatagram, OutgoingDatagramStream,
};
use wasmtime_wasi::p2::bindings::sockets::udp_create_socket;
use wasmtime_wasi::p2::{DynPollable, Pollable, SocketError, SocketResult, UdpSocket, subscribe};
use wasmtime_wasi::runtime::AbortOnDropJoinHandle;

use super::network::{check_local, check_remote, error_code};
use super::tcp::positive;
use super::{NetView, ours, theirs};
use crate::limits::{Account, Place, REAL_SOCKET_PRICE};
use crate::net::datagram::{DATAGRAM_BYTES_MAX, Datagram, Inbox};
use crate::net::interface::{Reservation, Side};
use crate::net::{Destination, Dialer, Protocol};

/// Datagrams a guest may send after one check, and gets at most in one receive.
const BATCH_MAX: usize = 16;
/// Translations remembered a socket: beyond them the table begins anew.
const NAT_MAX: usize = 1024;

pub(super) enum State {
    Unbound,
    BindStarted(Arc<Binding>),
    Bound(Arc<Binding>),
}

pub(super) struct Socket {
    pub(super) family: IpAddressFamily,
    pub(super) state: State,
    pub(super) remote: Option<SocketAddr>,
    pub(super) hop_limit: u8,
    pub(super) receive_buffer: u64,
    pub(super) send_buffer: u64,
    _place: Place,
}

impl Socket {
    pub(super) fn new(family: IpAddressFamily, place: Place) -> Self {
        Socket {
            family,
            state: State::Unbound,
            remote: None,
            hop_limit: 64,
            receive_buffer: 208 * 1024,
            send_buffer: 208 * 1024,
            _place: place,
        }
    }

    /// Takes the port; the socket's state is the caller's to change.
    pub(super) fn bind(
        &self,
        dialer: Dialer,
        account: Arc<Account>,
        local: SocketAddr,
    ) -> Result<Arc<Binding>, ErrorCode> {
        check_local(local, self.family)?;
        match &self.state {
            State::Unbound => {}
            State::BindStarted(_) => return Err(ErrorCode::ConcurrencyConflict),
            State::Bound(_) => return Err(ErrorCode::InvalidState),
        }
        let scope = dialer.interface.scope_of(local.ip()).ok_or(ErrorCode::AddressNotBindable)?;
        let (port, inbox) =
            dialer.interface.bind_udp(scope, local.port()).map_err(|_| ErrorCode::AddressInUse)?;
        inbox.charge_to(&account);
        Ok(Arc::new(Binding {
            local: SocketAddr::new(local.ip(), port.port()),
            dialer,
            _port: port,
            inbox,
            nat: Arc::default(),
            account,
            real: Mutex::new(None),
        }))
    }

    pub(super) fn bound(&self) -> Result<&Arc<Binding>, ErrorCode> {
        match &self.state {
            State::Bound(binding) => Ok(binding),
            State::Unbound | State::BindStarted(_) => Err(ErrorCode::InvalidState),
        }
    }
}

/// A bound port: its inbox, and the real socket once a route led outside.
pub(super) struct Binding {
    dialer: Dialer,
    pub(super) local: SocketAddr,
    _port: Reservation,
    inbox: Arc<Inbox>,
    nat: Arc<Mutex<Nat>>,
    account: Arc<Account>,
    real: Mutex<Option<Real>>,
}

/// Where the answer to a routed datagram seems to come from: the address that the guest sent to.
#[derive(Default)]
struct Nat(HashMap<SocketAddr, SocketAddr>);

impl Nat {
    fn remember(&mut self, routed: SocketAddr, asked: SocketAddr) {
        if routed == asked {
            return;
        }
        if self.0.len() >= NAT_MAX {
            self.0.clear();
        }
        self.0.insert(routed, asked);
    }

    fn original(&self, from: SocketAddr) -> SocketAddr {
        self.0.get(&from).copied().unwrap_or(from)
    }
}

struct Real {
    _place: Place,
    /// Sends: tokio's would lose what is sent before its reactor has first seen the socket.
    sender: Arc<std::net::UdpSocket>,
    _reader: AbortOnDropJoinHandle<()>,
}

impl Binding {
    /// Sends to `to`, which must be the connected peer where there is one.
    pub(super) fn send_from(
        &self,
        family: IpAddressFamily,
        connected: Option<SocketAddr>,
        to: Option<SocketAddr>,
        data: Bytes,
    ) -> Result<(), ErrorCode> {
        let to = match (to, connected) {
            (None, Some(peer)) => peer,
            (Some(to), None) => to,
            (Some(to), Some(peer)) if to == peer => to,
            (None, None) | (Some(_), Some(_)) => return Err(ErrorCode::InvalidArgument),
        };
        check_remote(to, family)?;
        self.send(to, data)
    }

    /// The next datagram, unless it comes from another than the connected peer.
    pub(super) fn next(&self, connected: Option<SocketAddr>) -> Option<Datagram> {
        loop {
            let mut datagram = self.inbox.pop()?;
            datagram.from = self.nat.lock().original(datagram.from);
            if connected.is_none_or(|peer| peer == datagram.from) {
                return Some(datagram);
            }
        }
    }

    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.inbox.poll_readable(cx)
    }

    fn send(&self, to: SocketAddr, data: Bytes) -> Result<(), ErrorCode> {
        if data.len() > DATAGRAM_BYTES_MAX {
            return Err(ErrorCode::DatagramTooLarge);
        }
        let destination = match self.dialer.destination(to, Protocol::Udp, self.local.port()) {
            Ok(destination) => destination,
            // What refuses a datagram says so by ICMP at best: it is lost.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Ok(()),
            Err(error) => return Err(error_code(&error)),
        };
        let interface = &self.dialer.interface;
        match destination {
            Destination::Own(side) => {
                let ip = match side {
                    Side::Loopback => to.ip(),
                    Side::Outer => interface.ip(),
                };
                let from = SocketAddr::new(ip, self.local.port());
                if let Some(inbox) = interface.inbox(side, to.port()) {
                    inbox.push(Datagram { from, data });
                }
                Ok(())
            }
            Destination::Switch(routed) => {
                self.nat.lock().remember(routed, to);
                let from = SocketAddr::new(interface.ip(), self.local.port());
                let sent = self.dialer.switch.send_datagram(from, routed, data);
                sent.map_err(|error| error_code(&error))
            }
            Destination::Host(routed) => {
                self.nat.lock().remember(routed, to);
                let sent = self.real(routed).and_then(|real| real.send_to(&data, routed));
                match sent {
                    Ok(_) => Ok(()),
                    // The host's buffer is full: the datagram is lost.
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
                    Err(error) => Err(error_code(&error)),
                }
            }
        }
    }

    /// The real socket, opened at the first datagram that leaves.
    fn real(&self, to: SocketAddr) -> io::Result<Arc<std::net::UdpSocket>> {
        let mut real = self.real.lock();
        if let Some(real) = &*real {
            return Ok(real.sender.clone());
        }
        let place = self.account.reserve(REAL_SOCKET_PRICE);
        let place = place.map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        let any: SocketAddr = match to {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = std::net::UdpSocket::bind(any)?;
        socket.set_nonblocking(true)?;
        let receiver = tokio::net::UdpSocket::from_std(socket.try_clone()?)?;
        let sender = Arc::new(socket);
        *real = Some(Real {
            _place: place,
            sender: sender.clone(),
            _reader: wasmtime_wasi::runtime::spawn(receive(receiver, self.inbox.clone())),
        });
        Ok(sender)
    }
}

async fn receive(socket: tokio::net::UdpSocket, inbox: Arc<Inbox>) {
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        match socket.recv_from(&mut buffer).await {
            Ok((size, from)) => {
                inbox.push(Datagram { from, data: Bytes::copy_from_slice(&buffer[..size]) })
            }
            // An ICMP answer to an earlier datagram; the socket lives on.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(_) => return,
        }
    }
}

struct Incoming {
    binding: Arc<Binding>,
    remote: Option<SocketAddr>,
}

struct Outgoing {
    binding: Arc<Binding>,
    family: IpAddressFamily,
    remote: Option<SocketAddr>,
    permitted: usize,
}

impl Outgoing {
    fn send(&self, datagram: OutgoingDatagram) -> Result<(), ErrorCode> {
        let to = datagram.remote_address.map(SocketAddr::from);
        self.binding.send_from(self.family, self.remote, to, Bytes::from(datagram.data))
    }
}

impl NetView<'_> {
    fn udp(&mut self, socket: &Resource<UdpSocket>) -> SocketResult<&mut Socket> {
        Ok(self.table.get_mut(&ours::<_, Socket>(socket))?)
    }
}

impl udp_create_socket::Host for NetView<'_> {
    async fn create_udp_socket(
        &mut self,
        family: IpAddressFamily,
    ) -> SocketResult<Resource<UdpSocket>> {
        Ok(theirs(self.table.push(Socket::new(family, self.socket_place()?))?))
    }
}

impl Host for NetView<'_> {}

impl HostUdpSocket for NetView<'_> {
    async fn start_bind(
        &mut self,
        this: Resource<UdpSocket>,
        network: Resource<Network>,
        local: IpSocketAddress,
    ) -> SocketResult<()> {
        self.check_network(&network)?;
        let (dialer, account) = (self.net.dialer.clone(), self.net.account.clone());
        let socket = self.udp(&this)?;
        let binding = socket.bind(dialer, account, local.into())?;
        socket.state = State::BindStarted(binding);
        Ok(())
    }

    fn finish_bind(&mut self, this: Resource<UdpSocket>) -> SocketResult<()> {
        let socket = self.udp(&this)?;
        let State::BindStarted(binding) = &socket.state else {
            return Err(ErrorCode::NotInProgress.into());
        };
        socket.state = State::Bound(binding.clone());
        Ok(())
    }

    async fn stream(
        &mut self,
        this: Resource<UdpSocket>,
        remote: Option<IpSocketAddress>,
    ) -> SocketResult<(Resource<IncomingDatagramStream>, Resource<OutgoingDatagramStream>)> {
        let handle = ours::<_, Socket>(&this);
        let busy = self
            .table
            .iter_children(&handle)?
            .any(|child| child.is::<Incoming>() || child.is::<Outgoing>());
        if busy {
            let error = wasmtime::format_err!("the socket's former datagram streams still live");
            return Err(SocketError::trap(error));
        }
        let socket = self.udp(&this)?;
        let binding = socket.bound()?.clone();
        let family = socket.family;
        let remote = remote.map(SocketAddr::from);
        if let Some(remote) = remote {
            check_remote(remote, family)?;
        }
        socket.remote = remote;
        let incoming = Incoming { binding: binding.clone(), remote };
        let outgoing = Outgoing { binding, family, remote, permitted: 0 };
        let incoming = self.table.push_child(incoming, &handle)?;
        let outgoing = self.table.push_child(outgoing, &handle)?;
        Ok((theirs(incoming), theirs(outgoing)))
    }

    fn local_address(&mut self, this: Resource<UdpSocket>) -> SocketResult<IpSocketAddress> {
        Ok(self.udp(&this)?.bound()?.local.into())
    }

    fn remote_address(&mut self, this: Resource<UdpSocket>) -> SocketResult<IpSocketAddress> {
        let remote = self.udp(&this)?.remote;
        Ok(remote.ok_or(ErrorCode::InvalidState)?.into())
    }

    fn address_family(&mut self, this: Resource<UdpSocket>) -> wasmtime::Result<IpAddressFamily> {
        Ok(self.table.get(&ours::<_, Socket>(&this))?.family)
    }

    fn unicast_hop_limit(&mut self, this: Resource<UdpSocket>) -> SocketResult<u8> {
        Ok(self.udp(&this)?.hop_limit)
    }

    fn set_unicast_hop_limit(&mut self, this: Resource<UdpSocket>, value: u8) -> SocketResult<()> {
        self.udp(&this)?.hop_limit = positive(value)?;
        Ok(())
    }

    fn receive_buffer_size(&mut self, this: Resource<UdpSocket>) -> SocketResult<u64> {
        Ok(self.udp(&this)?.receive_buffer)
    }

    fn set_receive_buffer_size(
        &mut self,
        this: Resource<UdpSocket>,
        value: u64,
    ) -> SocketResult<()> {
        self.udp(&this)?.receive_buffer = positive(value)?;
        Ok(())
    }

    fn send_buffer_size(&mut self, this: Resource<UdpSocket>) -> SocketResult<u64> {
        Ok(self.udp(&this)?.send_buffer)
    }

    fn set_send_buffer_size(&mut self, this: Resource<UdpSocket>, value: u64) -> SocketResult<()> {
        self.udp(&this)?.send_buffer = positive(value)?;
        Ok(())
    }

    fn subscribe(&mut self, this: Resource<UdpSocket>) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(self.table, ours::<_, Socket>(&this))
    }

    fn drop(&mut self, this: Resource<UdpSocket>) -> wasmtime::Result<()> {
        self.table.delete(Resource::<Socket>::new_own(this.rep()))?;
        Ok(())
    }
}

impl HostIncomingDatagramStream for NetView<'_> {
    fn receive(
        &mut self,
        this: Resource<IncomingDatagramStream>,
        max_results: u64,
    ) -> SocketResult<Vec<IncomingDatagram>> {
        let incoming = self.table.get(&ours::<_, Incoming>(&this))?;
        let max = max_results.min(BATCH_MAX as u64) as usize;
        let datagrams = std::iter::from_fn(|| incoming.binding.next(incoming.remote)).take(max);
        Ok(datagrams
            .map(|datagram| IncomingDatagram {
                data: datagram.data.into(),
                remote_address: datagram.from.into(),
            })
            .collect())
    }

    fn subscribe(
        &mut self,
        this: Resource<IncomingDatagramStream>,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(self.table, ours::<_, Incoming>(&this))
    }

    fn drop(&mut self, this: Resource<IncomingDatagramStream>) -> wasmtime::Result<()> {
        self.table.delete(Resource::<Incoming>::new_own(this.rep()))?;
        Ok(())
    }
}

impl HostOutgoingDatagramStream for NetView<'_> {
    fn check_send(&mut self, this: Resource<OutgoingDatagramStream>) -> SocketResult<u64> {
        let outgoing = self.table.get_mut(&ours::<_, Outgoing>(&this))?;
        outgoing.permitted = BATCH_MAX;
        Ok(BATCH_MAX as u64)
    }

    fn send(
        &mut self,
        this: Resource<OutgoingDatagramStream>,
        datagrams: Vec<OutgoingDatagram>,
    ) -> SocketResult<u64> {
        let outgoing = self.table.get_mut(&ours::<_, Outgoing>(&this))?;
        if datagrams.is_empty() {
            return Ok(0);
        }
        if datagrams.len() > outgoing.permitted {
            let error = wasmtime::format_err!("more datagrams than check-send permitted");
            return Err(SocketError::trap(error));
        }
        outgoing.permitted = 0;
        let mut sent = 0;
        for datagram in datagrams {
            match outgoing.send(datagram) {
                Ok(()) => sent += 1,
                // WASI: once one was sent, the failure is the next call's.
                Err(_) if sent > 0 => break,
                Err(code) => return Err(code.into()),
            }
        }
        Ok(sent)
    }

    fn subscribe(
        &mut self,
        this: Resource<OutgoingDatagramStream>,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(self.table, ours::<_, Outgoing>(&this))
    }

    async fn drop(&mut self, this: Resource<OutgoingDatagramStream>) -> wasmtime::Result<()> {
        self.table.delete(Resource::<Outgoing>::new_own(this.rep()))?;
        Ok(())
    }
}

#[async_trait::async_trait]
impl Pollable for Socket {
    /// Nothing of the socket itself ever waits.
    async fn ready(&mut self) {}
}

#[async_trait::async_trait]
impl Pollable for Incoming {
    async fn ready(&mut self) {
        std::future::poll_fn(|cx| self.binding.poll_readable(cx)).await;
    }
}

#[async_trait::async_trait]
impl Pollable for Outgoing {
    /// Datagrams are handed on at once, or lost.
    async fn ready(&mut self) {}
}
