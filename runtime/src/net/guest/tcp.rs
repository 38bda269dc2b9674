//! `wasi:sockets/tcp`: a socket's states, and its streams on an in-memory connection.

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
    DynInputStream, DynOutputStream, DynPollable, InputStream, OutputStream, Pollable, SocketError,
    SocketResult, StreamError, StreamResult, TcpSocket, subscribe,
};

use super::network::{check_local, check_remote, error_code};
use super::{NetView, ours, theirs};
use crate::activity::Open;
use crate::limits::Place;
use crate::net::interface::{Incoming, Listener, Reservation};
use crate::net::stream::{PeerGone, Read, ReadEnd, Stream, WriteEnd};

/// Connections that wait to be accepted, where the guest sets no other number.
const BACKLOG_DEFAULT: usize = 128;
const BACKLOG_MAX: u64 = 4096;
/// Most bytes handed to a guest at a time.
const READ_BYTES_MAX: usize = 64 * 1024;

type Connect = Pin<Box<dyn Future<Output = io::Result<Stream>> + Send>>;

/// What a socket is doing. WASI splits each step in a start and a finish.
enum State {
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
    Connected(Connection),
    ListenStarted(Bound, Listener),
    Listening(Bound, Listener),
    /// A connect failed: WASI allows nothing further.
    Closed,
}

struct Bound {
    local: SocketAddr,
    port: Reservation,
}

/// Both ends are shared with the guest's stream resources: a direction ends when the socket and the stream are gone.
struct Connection {
    read: Arc<ReadEnd>,
    write: Arc<WriteEnd>,
    local: SocketAddr,
    peer: SocketAddr,
    _bound: Option<Bound>,
    /// Counts an accepted connection as open work.
    _open: Option<Open>,
}

/// Stored and reported, as a guest expects of a socket; an in-memory connection has no use for them.
#[derive(Clone)]
struct Options {
    backlog: usize,
    keep_alive: bool,
    keep_alive_idle_ns: u64,
    keep_alive_interval_ns: u64,
    keep_alive_count: u32,
    hop_limit: u8,
    receive_buffer: u64,
    send_buffer: u64,
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

struct Socket {
    family: IpAddressFamily,
    state: State,
    options: Options,
    _place: Place,
}

impl Socket {
    fn new(family: IpAddressFamily, place: Place) -> Self {
        Socket { family, state: State::Unbound, options: Options::default(), _place: place }
    }

    /// Moves a connect on; ready when there is something to do for the guest.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
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
            | State::Closed => Poll::Ready(()),
        }
    }

    /// The code for a step that the state does not allow.
    fn misplaced(&self) -> ErrorCode {
        match &self.state {
            State::BindStarted(_)
            | State::Connecting { .. }
            | State::ConnectDone { .. }
            | State::ListenStarted(..) => ErrorCode::ConcurrencyConflict,
            State::Unbound
            | State::Bound(_)
            | State::Connected(_)
            | State::Listening(..)
            | State::Closed => ErrorCode::InvalidState,
        }
    }

    fn take(&mut self) -> State {
        std::mem::replace(&mut self.state, State::Closed)
    }
}

impl NetView<'_> {
    fn tcp(&mut self, socket: &Resource<TcpSocket>) -> SocketResult<&mut Socket> {
        Ok(self.table.get_mut(&ours::<_, Socket>(socket))?)
    }

    fn push_streams(
        &mut self,
        read: Arc<ReadEnd>,
        write: Arc<WriteEnd>,
        socket: &Resource<Socket>,
    ) -> SocketResult<(Resource<DynInputStream>, Resource<DynOutputStream>)> {
        let input: DynInputStream = Box::new(Input(read));
        let output: DynOutputStream = Box::new(Output(write));
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
        let local = SocketAddr::from(local);
        check_local(local, socket.family)?;
        if !matches!(socket.state, State::Unbound) {
            return Err(socket.misplaced().into());
        }
        let scope = interface.scope_of(local.ip()).ok_or(ErrorCode::AddressNotBindable)?;
        let port = interface.bind_tcp(scope, local.port()).map_err(|_| ErrorCode::AddressInUse)?;
        let local = SocketAddr::new(local.ip(), port.port());
        socket.state = State::BindStarted(Bound { local, port });
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
        let socket = self.tcp(&this)?;
        let remote = SocketAddr::from(remote);
        let bound = match socket.take() {
            State::Unbound => None,
            State::Bound(bound) => Some(bound),
            other => {
                socket.state = other;
                return Err(socket.misplaced().into());
            }
        };
        if let Err(code) = check_remote(remote, socket.family) {
            socket.state = bound.map_or(State::Unbound, State::Bound);
            return Err(code.into());
        }
        let port = match &bound {
            Some(bound) => bound.local.port(),
            None => dialer.interface.ephemeral_port(),
        };
        let connect: Connect = Box::pin(async move { dialer.connect(remote, port).await });
        socket.state = State::Connecting { connect, bound };
        // Within the switch a connect is mostly done at once.
        let _ = socket.poll(&mut Context::from_waker(Waker::noop()));
        Ok(())
    }

    fn finish_connect(
        &mut self,
        this: Resource<TcpSocket>,
    ) -> SocketResult<(Resource<DynInputStream>, Resource<DynOutputStream>)> {
        let account = self.net.account.clone();
        let socket = self.tcp(&this)?;
        if matches!(socket.state, State::Connecting { .. }) {
            let _ = socket.poll(&mut Context::from_waker(Waker::noop()));
        }
        let (stream, bound) = match socket.take() {
            State::ConnectDone { result, bound } => {
                (result.map_err(|error| error_code(&error))?, bound)
            }
            connecting @ State::Connecting { .. } => {
                socket.state = connecting;
                return Err(ErrorCode::WouldBlock.into());
            }
            other => {
                socket.state = other;
                return Err(ErrorCode::NotInProgress.into());
            }
        };
        stream.charge_to(&account);
        let connection = Connection::new(stream, bound, None);
        let (read, write) = (connection.read.clone(), connection.write.clone());
        socket.state = State::Connected(connection);
        self.push_streams(read, write, &ours(&this))
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
        let Some(Incoming { stream, open }) = listener.accept() else {
            return Err(ErrorCode::WouldBlock.into());
        };
        stream.charge_to(&account);
        let connection = Connection::new(stream, None, Some(open));
        let (read, write) = (connection.read.clone(), connection.write.clone());
        let accepted = Socket {
            family: socket.family,
            state: State::Connected(connection),
            options: socket.options.clone(),
            _place: place,
        };
        let accepted = self.table.push(accepted)?;
        let (input, output) = self.push_streams(read, write, &accepted)?;
        Ok((theirs(accepted), input, output))
    }

    fn local_address(&mut self, this: Resource<TcpSocket>) -> SocketResult<IpSocketAddress> {
        let socket = self.tcp(&this)?;
        match &socket.state {
            State::Bound(bound)
            | State::ListenStarted(bound, _)
            | State::Listening(bound, _)
            | State::Connecting { bound: Some(bound), .. }
            | State::ConnectDone { bound: Some(bound), .. } => Ok(bound.local.into()),
            State::Connected(connection) => Ok(connection.local.into()),
            State::Unbound
            | State::BindStarted(_)
            | State::Connecting { bound: None, .. }
            | State::ConnectDone { bound: None, .. }
            | State::Closed => Err(ErrorCode::InvalidState.into()),
        }
    }

    fn remote_address(&mut self, this: Resource<TcpSocket>) -> SocketResult<IpSocketAddress> {
        match &self.tcp(&this)?.state {
            State::Connected(connection) => Ok(connection.peer.into()),
            _ => Err(ErrorCode::InvalidState.into()),
        }
    }

    fn is_listening(&mut self, this: Resource<TcpSocket>) -> wasmtime::Result<bool> {
        let socket = self.table.get(&ours::<_, Socket>(&this))?;
        Ok(matches!(socket.state, State::Listening(..)))
    }

    fn address_family(&mut self, this: Resource<TcpSocket>) -> wasmtime::Result<IpAddressFamily> {
        Ok(self.table.get(&ours::<_, Socket>(&this))?.family)
    }

    fn set_listen_backlog_size(
        &mut self,
        this: Resource<TcpSocket>,
        value: u64,
    ) -> SocketResult<()> {
        let socket = self.tcp(&this)?;
        if value == 0 {
            return Err(ErrorCode::InvalidArgument.into());
        }
        match &socket.state {
            State::Unbound | State::BindStarted(_) | State::Bound(_) => {
                socket.options.backlog = value.min(BACKLOG_MAX) as usize;
                Ok(())
            }
            // The queue's size is fixed once it exists.
            State::ListenStarted(..) | State::Listening(..) => Err(ErrorCode::NotSupported.into()),
            State::Connecting { .. }
            | State::ConnectDone { .. }
            | State::Connected(_)
            | State::Closed => Err(ErrorCode::InvalidState.into()),
        }
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
        if value == 0 {
            return Err(ErrorCode::InvalidArgument.into());
        }
        self.tcp(&this)?.options.keep_alive_count = value;
        Ok(())
    }

    fn hop_limit(&mut self, this: Resource<TcpSocket>) -> SocketResult<u8> {
        Ok(self.tcp(&this)?.options.hop_limit)
    }

    fn set_hop_limit(&mut self, this: Resource<TcpSocket>, value: u8) -> SocketResult<()> {
        if value == 0 {
            return Err(ErrorCode::InvalidArgument.into());
        }
        self.tcp(&this)?.options.hop_limit = value;
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

pub(super) fn positive(value: u64) -> Result<u64, SocketError> {
    match value {
        0 => Err(ErrorCode::InvalidArgument.into()),
        value => Ok(value),
    }
}

impl Connection {
    fn new(stream: Stream, bound: Option<Bound>, open: Option<Open>) -> Self {
        let (local, peer) = (stream.local_addr(), stream.peer_addr());
        let (read, write) = stream.into_ends();
        Connection {
            read: Arc::new(read),
            write: Arc::new(write),
            local,
            peer,
            _bound: bound,
            _open: open,
        }
    }
}

#[async_trait::async_trait]
impl Pollable for Socket {
    async fn ready(&mut self) {
        std::future::poll_fn(|cx| self.poll(cx)).await;
    }
}

/// What the guest reads of a connection.
struct Input(Arc<ReadEnd>);

#[async_trait::async_trait]
impl InputStream for Input {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        match self.0.try_read(size.min(READ_BYTES_MAX)) {
            Read::Bytes(bytes) => Ok(bytes),
            Read::Pending => Ok(Bytes::new()),
            Read::End => Err(StreamError::Closed),
        }
    }
}

#[async_trait::async_trait]
impl Pollable for Input {
    async fn ready(&mut self) {
        std::future::poll_fn(|cx| self.0.poll_readable(cx)).await;
    }
}

/// What the guest writes to a connection.
struct Output(Arc<WriteEnd>);

#[async_trait::async_trait]
impl OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let written = self.0.write(bytes);
        written.map_err(|PeerGone| StreamError::Closed)
    }

    /// Written bytes are with the reader already.
    fn flush(&mut self) -> StreamResult<()> {
        self.check_write().map(drop)
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.0.room().map_err(|PeerGone| StreamError::Closed)
    }
}

#[async_trait::async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {
        let _ = std::future::poll_fn(|cx| self.0.poll_writable(cx)).await;
    }
}
