//! A TCP socket's states, and `wasi:sockets/tcp` 0.2 with its streams on an in-memory connection.
//! WASI 0.3 (`p3/tcp.rs`) takes the same socket through the same states.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use wasmtime::component::Resource;
use wasmtime_wasi::p2::bindings::sockets::network::{
    ErrorCode, IpAddressFamily, IpSocketAddress, Network,
};
use wasmtime_wasi::p2::bindings::sockets::tcp::{Host, HostTcpSocket, ShutdownType};
use wasmtime_wasi::p2::bindings::sockets::tcp_create_socket;
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, DynPollable, InputStream, OutputStream, Pollable,
    SocketResult, StreamError, StreamResult, TcpSocket, subscribe,
};

use super::network::{check_local, check_remote, error_code};
use super::{NetView, ours, theirs};
use crate::activity::Open;
use crate::limits::{Account, Place};
use crate::net::Dialer;
use crate::net::interface::{Incoming, Interface, Listener, Reservation};
use crate::net::stream::{PeerGone, Read, ReadEnd, Stream, WriteEnd};

/// Connections that wait to be accepted, where the guest sets no other number.
const BACKLOG_DEFAULT: usize = 128;
const BACKLOG_MAX: u64 = 4096;
/// Most bytes handed to a guest at a time.
pub(super) const READ_BYTES_MAX: usize = 64 * 1024;

type Connect = Pin<Box<dyn Future<Output = io::Result<Stream>> + Send>>;

/// What a socket is doing. WASI 0.2 splits each step in a start and a finish.
pub(super) enum State {
    Unbound,
    BindStarted(Bound),
    Bound(Bound),
    /// Holds the local port, where one was bound, while connecting.
    Connecting {
        connect: Connect,
        bound: Option<Bound>,
    },
    /// The connect has ended and waits for its finish.
    ConnectDone {
        result: io::Result<Stream>,
        bound: Option<Bound>,
    },
    Connected(Arc<Connection>),
    ListenStarted(Bound, Listener),
    Listening(Bound, Listener),
    /// Listens; the stream of connections that 0.3 hands out has the listener.
    Streaming(Arc<Bound>),
    /// A connect failed: WASI allows nothing further.
    Closed,
}

pub(super) struct Bound {
    local: SocketAddr,
    pub(super) port: Reservation,
}

/// Shared by the socket and the guest's streams: it ends when they all are gone.
pub(super) struct Connection {
    pub(super) read: ReadEnd,
    pub(super) write: WriteEnd,
    local: SocketAddr,
    peer: SocketAddr,
    _bound: Option<Bound>,
    /// Counts an accepted connection as open work.
    _open: Option<Open>,
}

/// Stored and reported, as a guest expects of a socket; an in-memory connection has no use for them.
#[derive(Clone)]
pub(super) struct Options {
    pub(super) backlog: usize,
    pub(super) keep_alive: bool,
    pub(super) keep_alive_idle_ns: u64,
    pub(super) keep_alive_interval_ns: u64,
    pub(super) keep_alive_count: u32,
    pub(super) hop_limit: u8,
    pub(super) receive_buffer: u64,
    pub(super) send_buffer: u64,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            backlog: BACKLOG_DEFAULT,
            keep_alive: false,
            keep_alive_idle_ns: 7_200_000_000_000,
            keep_alive_interval_ns: 75_000_000_000,
            keep_alive_count: 9,
            hop_limit: 64,
            receive_buffer: 64 * 1024,
            send_buffer: 64 * 1024,
        }
    }
}

pub(super) struct Socket {
    pub(super) family: IpAddressFamily,
    pub(super) state: State,
    pub(super) options: Options,
    /// 0.3 hands out each direction once.
    pub(super) sends: bool,
    pub(super) receives: bool,
    _place: Place,
}

impl Socket {
    pub(super) fn new(family: IpAddressFamily, place: Place) -> Self {
        Socket {
            family,
            state: State::Unbound,
            options: Options::default(),
            sends: false,
            receives: false,
            _place: place,
        }
    }

    /// One that a listener with these options has accepted.
    pub(super) fn accepted(
        family: IpAddressFamily,
        options: &Options,
        incoming: Incoming,
        place: Place,
        account: &Arc<Account>,
    ) -> (Self, Arc<Connection>) {
        let Incoming { stream, open } = incoming;
        stream.charge_to(account);
        let connection = Arc::new(Connection::new(stream, None, Some(open)));
        let socket = Socket {
            state: State::Connected(connection.clone()),
            options: options.clone(),
            ..Socket::new(family, place)
        };
        (socket, connection)
    }

    /// Takes the port; the socket's state is the caller's to change.
    pub(super) fn bind(
        &self,
        interface: &Arc<Interface>,
        local: SocketAddr,
    ) -> Result<Bound, ErrorCode> {
        check_local(local, self.family)?;
        if !matches!(self.state, State::Unbound) {
            return Err(self.misplaced());
        }
        let scope = interface.scope_of(local.ip()).ok_or(ErrorCode::AddressNotBindable)?;
        let port = interface.bind_tcp(scope, local.port()).map_err(|_| ErrorCode::AddressInUse)?;
        let local = SocketAddr::new(local.ip(), port.port());
        Ok(Bound { local, port })
    }

    pub(super) fn begin_connect(
        &mut self,
        dialer: Dialer,
        remote: SocketAddr,
    ) -> Result<(), ErrorCode> {
        let bound = match self.take() {
            State::Unbound => None,
            State::Bound(bound) => Some(bound),
            other => {
                self.state = other;
                return Err(self.misplaced());
            }
        };
        if let Err(code) = check_remote(remote, self.family) {
            self.state = bound.map_or(State::Unbound, State::Bound);
            return Err(code);
        }
        let port = match &bound {
            Some(bound) => bound.local.port(),
            None => dialer.interface.ephemeral_port(),
        };
        let connect: Connect = Box::pin(async move { dialer.connect(remote, port).await });
        self.state = State::Connecting { connect, bound };
        // Within the switch a connect is mostly done at once.
        let _ = self.poll(&mut Context::from_waker(Waker::noop()));
        Ok(())
    }

    pub(super) fn end_connect(
        &mut self,
        account: &Arc<Account>,
    ) -> Result<Arc<Connection>, ErrorCode> {
        if matches!(self.state, State::Connecting { .. }) {
            let _ = self.poll(&mut Context::from_waker(Waker::noop()));
        }
        let (stream, bound) = match self.take() {
            State::ConnectDone { result, bound } => {
                (result.map_err(|error| error_code(&error))?, bound)
            }
            connecting @ State::Connecting { .. } => {
                self.state = connecting;
                return Err(ErrorCode::WouldBlock);
            }
            other => {
                self.state = other;
                return Err(ErrorCode::NotInProgress);
            }
        };
        stream.charge_to(account);
        let connection = Arc::new(Connection::new(stream, bound, None));
        self.state = State::Connected(connection.clone());
        Ok(connection)
    }

    pub(super) fn local_address(&self) -> Result<SocketAddr, ErrorCode> {
        match &self.state {
            State::Bound(bound)
            | State::ListenStarted(bound, _)
            | State::Listening(bound, _)
            | State::Connecting { bound: Some(bound), .. }
            | State::ConnectDone { bound: Some(bound), .. } => Ok(bound.local),
            State::Streaming(bound) => Ok(bound.local),
            State::Connected(connection) => Ok(connection.local),
            State::Unbound
            | State::BindStarted(_)
            | State::Connecting { bound: None, .. }
            | State::ConnectDone { bound: None, .. }
            | State::Closed => Err(ErrorCode::InvalidState),
        }
    }

    pub(super) fn remote_address(&self) -> Result<SocketAddr, ErrorCode> {
        match &self.state {
            State::Connected(connection) => Ok(connection.peer),
            _ => Err(ErrorCode::InvalidState),
        }
    }

    pub(super) fn is_listening(&self) -> bool {
        matches!(self.state, State::Listening(..) | State::Streaming(_))
    }

    pub(super) fn set_backlog(&mut self, value: u64) -> Result<(), ErrorCode> {
        if value == 0 {
            return Err(ErrorCode::InvalidArgument);
        }
        match &self.state {
            State::Unbound | State::BindStarted(_) | State::Bound(_) => {
                self.options.backlog = value.min(BACKLOG_MAX) as usize;
                Ok(())
            }
            // The queue's size is fixed once it exists.
            State::ListenStarted(..) | State::Listening(..) | State::Streaming(_) => {
                Err(ErrorCode::NotSupported)
            }
            State::Connecting { .. }
            | State::ConnectDone { .. }
            | State::Connected(_)
            | State::Closed => Err(ErrorCode::InvalidState),
        }
    }

    /// Moves a connect on; ready when there is something to do for the guest.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.state {
            State::Connecting { connect, bound } => {
                let result = std::task::ready!(connect.as_mut().poll(cx));
                let bound = bound.take();
                self.state = State::ConnectDone { result, bound };
                Poll::Ready(())
            }
            State::Listening(_, listener) => listener.poll_ready(cx),
            State::Unbound
            | State::BindStarted(_)
            | State::Bound(_)
            | State::ConnectDone { .. }
            | State::Connected(_)
            | State::ListenStarted(..)
            | State::Streaming(_)
            | State::Closed => Poll::Ready(()),
        }
    }

    /// The code for a step that the state does not allow.
    pub(super) fn misplaced(&self) -> ErrorCode {
        match &self.state {
            State::BindStarted(_)
            | State::Connecting { .. }
            | State::ConnectDone { .. }
            | State::ListenStarted(..) => ErrorCode::ConcurrencyConflict,
            State::Unbound
            | State::Bound(_)
            | State::Connected(_)
            | State::Listening(..)
            | State::Streaming(_)
            | State::Closed => ErrorCode::InvalidState,
        }
    }

    pub(super) fn take(&mut self) -> State {
        std::mem::replace(&mut self.state, State::Closed)
    }
}

impl NetView<'_> {
    fn tcp(&mut self, socket: &Resource<TcpSocket>) -> SocketResult<&mut Socket> {
        Ok(self.table.get_mut(&ours::<_, Socket>(socket))?)
    }

    fn push_streams(
        &mut self,
        connection: Arc<Connection>,
        socket: &Resource<Socket>,
    ) -> SocketResult<(Resource<DynInputStream>, Resource<DynOutputStream>)> {
        let input: DynInputStream = Box::new(Input(connection.clone()));
        let output: DynOutputStream = Box::new(Output(connection));
        let input = self.table.push_child(input, socket)?;
        let output = self.table.push_child(output, socket)?;
        Ok((input, output))
    }
}

impl tcp_create_socket::Host for NetView<'_> {
    fn create_tcp_socket(&mut self, family: IpAddressFamily) -> SocketResult<Resource<TcpSocket>> {
        Ok(theirs(self.table.push(Socket::new(family, self.socket_place()?))?))
    }
}

impl Host for NetView<'_> {}

impl HostTcpSocket for NetView<'_> {
    async fn start_bind(
        &mut self,
        this: Resource<TcpSocket>,
        network: Resource<Network>,
        local: IpSocketAddress,
    ) -> SocketResult<()> {
        self.check_network(&network)?;
        let interface = self.net.dialer.interface.clone();
        let socket = self.tcp(&this)?;
        let bound = socket.bind(&interface, local.into())?;
        socket.state = State::BindStarted(bound);
        Ok(())
    }

    fn finish_bind(&mut self, this: Resource<TcpSocket>) -> SocketResult<()> {
        let socket = self.tcp(&this)?;
        match socket.take() {
            State::BindStarted(bound) => {
                socket.state = State::Bound(bound);
                Ok(())
            }
            other => {
                socket.state = other;
                Err(ErrorCode::NotInProgress.into())
            }
        }
    }

    fn start_connect(
        &mut self,
        this: Resource<TcpSocket>,
        network: Resource<Network>,
        remote: IpSocketAddress,
    ) -> SocketResult<()> {
        self.check_network(&network)?;
        let dialer = self.net.dialer.clone();
        Ok(self.tcp(&this)?.begin_connect(dialer, remote.into())?)
    }

    fn finish_connect(
        &mut self,
        this: Resource<TcpSocket>,
    ) -> SocketResult<(Resource<DynInputStream>, Resource<DynOutputStream>)> {
        let account = self.net.account.clone();
        let connection = self.tcp(&this)?.end_connect(&account)?;
        self.push_streams(connection, &ours(&this))
    }

    async fn start_listen(&mut self, this: Resource<TcpSocket>) -> SocketResult<()> {
        let activity = self.net.activity.clone();
        let socket = self.tcp(&this)?;
        match socket.take() {
            State::Bound(bound) => {
                let listener = bound
                    .port
                    .listen(&activity, socket.options.backlog)
                    .ok_or(ErrorCode::InvalidState)?;
                socket.state = State::ListenStarted(bound, listener);
                Ok(())
            }
            other => {
                socket.state = other;
                Err(socket.misplaced().into())
            }
        }
    }

    fn finish_listen(&mut self, this: Resource<TcpSocket>) -> SocketResult<()> {
        let socket = self.tcp(&this)?;
        match socket.take() {
            State::ListenStarted(bound, listener) => {
                socket.state = State::Listening(bound, listener);
                Ok(())
            }
            other => {
                socket.state = other;
                Err(ErrorCode::NotInProgress.into())
            }
        }
    }

    fn accept(
        &mut self,
        this: Resource<TcpSocket>,
    ) -> SocketResult<(Resource<TcpSocket>, Resource<DynInputStream>, Resource<DynOutputStream>)>
    {
        let account = self.net.account.clone();
        // Where there is none, the connection goes on waiting in the backlog.
        let place = self.socket_place();
        let socket = self.tcp(&this)?;
        let State::Listening(_, listener) = &mut socket.state else {
            return Err(ErrorCode::InvalidState.into());
        };
        let place = place?;
        let incoming = listener.accept().ok_or(ErrorCode::WouldBlock)?;
        let (accepted, connection) =
            Socket::accepted(socket.family, &socket.options, incoming, place, &account);
        let accepted = self.table.push(accepted)?;
        let (input, output) = self.push_streams(connection, &accepted)?;
        Ok((theirs(accepted), input, output))
    }

    fn local_address(&mut self, this: Resource<TcpSocket>) -> SocketResult<IpSocketAddress> {
        Ok(self.tcp(&this)?.local_address()?.into())
    }

    fn remote_address(&mut self, this: Resource<TcpSocket>) -> SocketResult<IpSocketAddress> {
        Ok(self.tcp(&this)?.remote_address()?.into())
    }

    fn is_listening(&mut self, this: Resource<TcpSocket>) -> wasmtime::Result<bool> {
        Ok(self.table.get(&ours::<_, Socket>(&this))?.is_listening())
    }

    fn address_family(&mut self, this: Resource<TcpSocket>) -> wasmtime::Result<IpAddressFamily> {
        Ok(self.table.get(&ours::<_, Socket>(&this))?.family)
    }

    fn set_listen_backlog_size(
        &mut self,
        this: Resource<TcpSocket>,
        value: u64,
    ) -> SocketResult<()> {
        Ok(self.tcp(&this)?.set_backlog(value)?)
    }

    fn keep_alive_enabled(&mut self, this: Resource<TcpSocket>) -> SocketResult<bool> {
        Ok(self.tcp(&this)?.options.keep_alive)
    }

    fn set_keep_alive_enabled(
        &mut self,
        this: Resource<TcpSocket>,
        value: bool,
    ) -> SocketResult<()> {
        self.tcp(&this)?.options.keep_alive = value;
        Ok(())
    }

    fn keep_alive_idle_time(&mut self, this: Resource<TcpSocket>) -> SocketResult<u64> {
        Ok(self.tcp(&this)?.options.keep_alive_idle_ns)
    }

    fn set_keep_alive_idle_time(
        &mut self,
        this: Resource<TcpSocket>,
        value: u64,
    ) -> SocketResult<()> {
        self.tcp(&this)?.options.keep_alive_idle_ns = positive(value)?;
        Ok(())
    }

    fn keep_alive_interval(&mut self, this: Resource<TcpSocket>) -> SocketResult<u64> {
        Ok(self.tcp(&this)?.options.keep_alive_interval_ns)
    }

    fn set_keep_alive_interval(
        &mut self,
        this: Resource<TcpSocket>,
        value: u64,
    ) -> SocketResult<()> {
        self.tcp(&this)?.options.keep_alive_interval_ns = positive(value)?;
        Ok(())
    }

    fn keep_alive_count(&mut self, this: Resource<TcpSocket>) -> SocketResult<u32> {
        Ok(self.tcp(&this)?.options.keep_alive_count)
    }

    fn set_keep_alive_count(&mut self, this: Resource<TcpSocket>, value: u32) -> SocketResult<()> {
        self.tcp(&this)?.options.keep_alive_count = positive(value)?;
        Ok(())
    }

    fn hop_limit(&mut self, this: Resource<TcpSocket>) -> SocketResult<u8> {
        Ok(self.tcp(&this)?.options.hop_limit)
    }

    fn set_hop_limit(&mut self, this: Resource<TcpSocket>, value: u8) -> SocketResult<()> {
        self.tcp(&this)?.options.hop_limit = positive(value)?;
        Ok(())
    }

    fn receive_buffer_size(&mut self, this: Resource<TcpSocket>) -> SocketResult<u64> {
        Ok(self.tcp(&this)?.options.receive_buffer)
    }

    fn set_receive_buffer_size(
        &mut self,
        this: Resource<TcpSocket>,
        value: u64,
    ) -> SocketResult<()> {
        self.tcp(&this)?.options.receive_buffer = positive(value)?;
        Ok(())
    }

    fn send_buffer_size(&mut self, this: Resource<TcpSocket>) -> SocketResult<u64> {
        Ok(self.tcp(&this)?.options.send_buffer)
    }

    fn set_send_buffer_size(&mut self, this: Resource<TcpSocket>, value: u64) -> SocketResult<()> {
        self.tcp(&this)?.options.send_buffer = positive(value)?;
        Ok(())
    }

    fn subscribe(&mut self, this: Resource<TcpSocket>) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(self.table, ours::<_, Socket>(&this))
    }

    fn shutdown(&mut self, this: Resource<TcpSocket>, how: ShutdownType) -> SocketResult<()> {
        let State::Connected(connection) = &self.tcp(&this)?.state else {
            return Err(ErrorCode::InvalidState.into());
        };
        if matches!(how, ShutdownType::Receive | ShutdownType::Both) {
            connection.read.close();
        }
        if matches!(how, ShutdownType::Send | ShutdownType::Both) {
            connection.write.close();
        }
        Ok(())
    }

    fn drop(&mut self, this: Resource<TcpSocket>) -> wasmtime::Result<()> {
        self.table.delete(Resource::<Socket>::new_own(this.rep()))?;
        Ok(())
    }
}

pub(super) fn positive<T: Default + PartialEq>(value: T) -> Result<T, ErrorCode> {
    if value == T::default() {
        return Err(ErrorCode::InvalidArgument);
    }
    Ok(value)
}

impl Connection {
    fn new(stream: Stream, bound: Option<Bound>, open: Option<Open>) -> Self {
        let (local, peer) = (stream.local_addr(), stream.peer_addr());
        let (read, write) = stream.into_ends();
        Connection { read, write, local, peer, _bound: bound, _open: open }
    }
}

#[async_trait::async_trait]
impl Pollable for Socket {
    async fn ready(&mut self) {
        std::future::poll_fn(|cx| self.poll(cx)).await;
    }
}

/// What the guest reads of a connection.
struct Input(Arc<Connection>);

#[async_trait::async_trait]
impl InputStream for Input {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        match self.0.read.try_read(size.min(READ_BYTES_MAX)) {
            Read::Bytes(bytes) => Ok(bytes),
            Read::Pending => Ok(Bytes::new()),
            Read::End => Err(StreamError::Closed),
        }
    }
}

#[async_trait::async_trait]
impl Pollable for Input {
    async fn ready(&mut self) {
        std::future::poll_fn(|cx| self.0.read.poll_readable(cx)).await;
    }
}

/// What the guest writes to a connection.
struct Output(Arc<Connection>);

#[async_trait::async_trait]
impl OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let written = self.0.write.write(bytes);
        written.map_err(|PeerGone| StreamError::Closed)
    }

    /// Written bytes are with the reader already.
    fn flush(&mut self) -> StreamResult<()> {
        self.check_write().map(drop)
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.0.write.room().map_err(|PeerGone| StreamError::Closed)
    }
}

#[async_trait::async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {
        let _ = std::future::poll_fn(|cx| self.0.write.poll_writable(cx)).await;
    }
}
