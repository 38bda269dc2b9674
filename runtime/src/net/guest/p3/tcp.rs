//! `tcp-socket` of `wasi:sockets/types` 0.3: connections come on a stream, and bytes go by streams, each of which keeps
//! the connection alive without its socket.

use std::future::poll_fn;
use std::iter;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use tokio::sync::oneshot;
use wasmtime::component::{
    Access, Accessor, Destination, FutureReader, Resource, Source, StreamConsumer, StreamProducer,
    StreamReader, StreamResult,
};
use wasmtime::{AsContextMut, StoreContextMut};
use wasmtime_wasi::p2::bindings::sockets::network;
use wasmtime_wasi::p3::bindings::sockets::types::{
    Duration, ErrorCode, HostTcpSocket, HostTcpSocketWithStore, IpAddressFamily, IpSocketAddress,
    TcpSocket,
};
use wasmtime_wasi::p3::sockets::{SocketError, SocketResult};

use super::super::tcp::{Bound, Connection, Options, READ_BYTES_MAX, Socket, State, positive};
use super::super::{HasNet, NetView, ours, theirs};
use super::{any, code, from_shared, to_shared};
use crate::net::interface::Listener;
use crate::net::stream::{PeerGone, Read};

/// How a direction of a connection ended, for the guest's future.
type Told = oneshot::Sender<Result<(), ErrorCode>>;

impl NetView<'_> {
    fn tcp_3(&mut self, socket: &Resource<TcpSocket>) -> SocketResult<&mut Socket> {
        self.table.get_mut(&ours::<_, Socket>(socket)).map_err(SocketError::trap)
    }
}

impl Socket {
    /// The connection for one direction, which is handed out once.
    fn hand_out(
        &mut self,
        direction: fn(&mut Socket) -> &mut bool,
    ) -> Result<Arc<Connection>, ErrorCode> {
        let State::Connected(connection) = &self.state else {
            return Err(ErrorCode::InvalidState);
        };
        let connection = connection.clone();
        match std::mem::replace(direction(self), true) {
            false => Ok(connection),
            true => Err(ErrorCode::InvalidState),
        }
    }
}

impl<T: Send + 'static> HostTcpSocketWithStore<T> for HasNet {
    async fn connect(
        store: &Accessor<T, Self>,
        this: Resource<TcpSocket>,
        remote: IpSocketAddress,
    ) -> SocketResult<()> {
        store.with(|mut access| -> SocketResult<()> {
            let mut view = access.get();
            let dialer = view.net.dialer.clone();
            let begun = view.tcp_3(&this)?.begin_connect(dialer, remote.into());
            Ok(begun.map_err(code)?)
        })?;
        let connected = poll_fn(|cx| {
            store.with(|mut access| {
                let mut view = access.get();
                let account = view.net.account.clone();
                let socket = match view.tcp_3(&this) {
                    Ok(socket) => socket,
                    Err(trap) => return Poll::Ready(Err(trap)),
                };
                ready!(socket.poll(cx));
                Poll::Ready(socket.end_connect(&account).map_err(|failed| code(failed).into()))
            })
        });
        connected.await.map(drop)
    }

    async fn listen(
        mut store: Access<'_, T, Self>,
        this: Resource<TcpSocket>,
    ) -> SocketResult<StreamReader<Resource<TcpSocket>>> {
        let view = store.getter();
        let mut net = store.get();
        let activity = net.net.activity.clone();
        let interface = net.net.dialer.interface.clone();
        let socket = net.tcp_3(&this)?;
        let bound = match socket.take() {
            State::Bound(bound) => bound,
            State::Unbound => {
                socket.state = State::Unbound;
                socket.bind(&interface, any(socket.family)).map_err(code)?
            }
            other => {
                socket.state = other;
                return Err(code(socket.misplaced()).into());
            }
        };
        let backlog = socket.options.backlog;
        let listener = bound.port.listen(&activity, backlog).ok_or(ErrorCode::InvalidState)?;
        let bound = Arc::new(bound);
        socket.state = State::Streaming(bound.clone());
        let accepting = Accepting {
            listener,
            family: socket.family,
            options: socket.options.clone(),
            view,
            _bound: bound,
        };
        StreamReader::new(&mut store, accepting).map_err(SocketError::trap)
    }

    fn send(
        mut store: Access<'_, T, Self>,
        this: Resource<TcpSocket>,
        mut data: StreamReader<u8>,
    ) -> wasmtime::Result<FutureReader<Result<(), ErrorCode>>> {
        let view = store.get();
        match view.table.get_mut(&ours::<_, Socket>(&this))?.hand_out(|socket| &mut socket.sends) {
            Ok(connection) => {
                let (told, result) = oneshot::channel();
                data.pipe(&mut store, Sending { connection, told: Some(told) })?;
                FutureReader::new(&mut store, result)
            }
            Err(code) => {
                data.close(&mut store)?;
                FutureReader::new(&mut store, async move { wasmtime::error::Ok(Err(code)) })
            }
        }
    }

    fn receive(
        mut store: Access<'_, T, Self>,
        this: Resource<TcpSocket>,
    ) -> wasmtime::Result<(StreamReader<u8>, FutureReader<Result<(), ErrorCode>>)> {
        let view = store.get();
        match view.table.get_mut(&ours::<_, Socket>(&this))?.hand_out(|socket| &mut socket.receives)
        {
            Ok(connection) => {
                let (told, result) = oneshot::channel();
                let receiving = Receiving { connection, told: Some(told) };
                let stream = StreamReader::new(&mut store, receiving)?;
                Ok((stream, FutureReader::new(&mut store, result)?))
            }
            Err(code) => {
                let stream = StreamReader::new(&mut store, iter::empty())?;
                let failed = async move { wasmtime::error::Ok(Err(code)) };
                Ok((stream, FutureReader::new(&mut store, failed)?))
            }
        }
    }
}

/// The stream of a listener's connections.
struct Accepting<T: 'static> {
    listener: Listener,
    family: network::IpAddressFamily,
    options: Options,
    view: fn(&mut T) -> NetView<'_>,
    _bound: Arc<Bound>,
}

impl<T: 'static> StreamProducer<T> for Accepting<T> {
    type Item = Resource<TcpSocket>;
    type Buffer = Option<Self::Item>;

    fn poll_produce<'a>(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut store: StoreContextMut<'a, T>,
        mut to: Destination<'a, Self::Item, Self::Buffer>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let this = &mut *self;
        loop {
            if this.listener.poll_ready(cx).is_pending() {
                return waiting(finish);
            }
            // A read of nothing asks whether there is something.
            if to.remaining(&mut store) == Some(0) {
                return Poll::Ready(Ok(StreamResult::Completed));
            }
            let Some(incoming) = this.listener.accept() else { return waiting(finish) };
            let view = (this.view)(store.data_mut());
            // One that there is no place for is closed: the stream has no way to say so.
            let Ok(place) = view.socket_place() else { continue };
            let account = &view.net.account;
            let (socket, _) =
                Socket::accepted(this.family, &this.options, incoming, place, account);
            to.set_buffer(Some(theirs(view.table.push(socket)?)));
            return Poll::Ready(Ok(StreamResult::Completed));
        }
    }
}

/// There is nothing yet; a guest that wants to give up may.
fn waiting(finish: bool) -> Poll<wasmtime::Result<StreamResult>> {
    match finish {
        true => Poll::Ready(Ok(StreamResult::Cancelled)),
        false => Poll::Pending,
    }
}

/// Takes what the guest sends; the direction is closed when the guest's stream ends.
struct Sending {
    connection: Arc<Connection>,
    /// `None` once told.
    told: Option<Told>,
}

impl Sending {
    fn end(&mut self, result: Result<(), ErrorCode>) {
        if let Some(told) = self.told.take() {
            self.connection.write.close();
            // A guest that does not ask how it went.
            let _ = told.send(result);
        }
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.end(Ok(()));
    }
}

impl<T> StreamConsumer<T> for Sending {
    type Item = u8;

    fn poll_consume(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        store: StoreContextMut<'_, T>,
        from: Source<'_, u8>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let room = match self.connection.write.poll_writable(cx) {
            Poll::Pending => return waiting(finish),
            Poll::Ready(room) => room,
        };
        let mut from = from.as_direct(store);
        let bytes = from.remaining();
        // A write of nothing asks whether there is room.
        if bytes.is_empty() && room.is_ok() {
            return Poll::Ready(Ok(StreamResult::Completed));
        }
        let sent = room.and_then(|room| {
            let size = room.min(bytes.len());
            let written = self.connection.write.write(Bytes::copy_from_slice(&bytes[..size]));
            written.map(|()| size)
        });
        match sent {
            Ok(size) => {
                from.mark_read(size);
                Poll::Ready(Ok(StreamResult::Completed))
            }
            Err(PeerGone) => {
                self.end(Err(ErrorCode::ConnectionBroken));
                Poll::Ready(Ok(StreamResult::Dropped))
            }
        }
    }
}

/// Gives what the peer sent; the direction is closed when the guest drops its stream.
struct Receiving {
    connection: Arc<Connection>,
    /// `None` once told.
    told: Option<Told>,
}

impl Receiving {
    fn end(&mut self) {
        if let Some(told) = self.told.take() {
            self.connection.read.close();
            // A guest that does not ask how it went.
            let _ = told.send(Ok(()));
        }
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        self.end();
    }
}

impl<T> StreamProducer<T> for Receiving {
    type Item = u8;
    type Buffer = BytesMut;

    fn poll_produce<'a>(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut store: StoreContextMut<'a, T>,
        to: Destination<'a, u8, BytesMut>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        if self.connection.read.poll_readable(cx).is_pending() {
            return waiting(finish);
        }
        if to.remaining(store.as_context_mut()) == Some(0) {
            return Poll::Ready(Ok(StreamResult::Completed));
        }
        let mut to = to.as_direct(store, READ_BYTES_MAX);
        let buffer = to.remaining();
        let mut size = 0;
        while size < buffer.len() {
            match self.connection.read.try_read(buffer.len() - size) {
                Read::Bytes(bytes) => {
                    buffer[size..][..bytes.len()].copy_from_slice(&bytes);
                    size += bytes.len();
                }
                Read::Pending | Read::End => break,
            }
        }
        if size == 0 {
            self.end();
            return Poll::Ready(Ok(StreamResult::Dropped));
        }
        to.mark_written(size);
        Poll::Ready(Ok(StreamResult::Completed))
    }
}

impl HostTcpSocket for NetView<'_> {
    fn create(&mut self, family: IpAddressFamily) -> SocketResult<Resource<TcpSocket>> {
        let place = self.socket_place().map_err(code)?;
        let socket = self.table.push(Socket::new(to_shared(family), place));
        Ok(theirs(socket.map_err(SocketError::trap)?))
    }

    async fn bind(
        &mut self,
        this: Resource<TcpSocket>,
        local: IpSocketAddress,
    ) -> SocketResult<()> {
        let interface = self.net.dialer.interface.clone();
        let socket = self.tcp_3(&this)?;
        socket.state = State::Bound(socket.bind(&interface, local.into()).map_err(code)?);
        Ok(())
    }

    fn get_local_address(&mut self, this: Resource<TcpSocket>) -> SocketResult<IpSocketAddress> {
        Ok(self.tcp_3(&this)?.local_address().map_err(code)?.into())
    }

    fn get_remote_address(&mut self, this: Resource<TcpSocket>) -> SocketResult<IpSocketAddress> {
        Ok(self.tcp_3(&this)?.remote_address().map_err(code)?.into())
    }

    fn get_is_listening(&mut self, this: Resource<TcpSocket>) -> wasmtime::Result<bool> {
        Ok(self.table.get(&ours::<_, Socket>(&this))?.is_listening())
    }

    fn get_address_family(
        &mut self,
        this: Resource<TcpSocket>,
    ) -> wasmtime::Result<IpAddressFamily> {
        Ok(from_shared(self.table.get(&ours::<_, Socket>(&this))?.family))
    }

    fn set_listen_backlog_size(
        &mut self,
        this: Resource<TcpSocket>,
        value: u64,
    ) -> SocketResult<()> {
        Ok(self.tcp_3(&this)?.set_backlog(value).map_err(code)?)
    }

    fn get_keep_alive_enabled(&mut self, this: Resource<TcpSocket>) -> SocketResult<bool> {
        Ok(self.tcp_3(&this)?.options.keep_alive)
    }

    fn set_keep_alive_enabled(
        &mut self,
        this: Resource<TcpSocket>,
        value: bool,
    ) -> SocketResult<()> {
        self.tcp_3(&this)?.options.keep_alive = value;
        Ok(())
    }

    fn get_keep_alive_idle_time(&mut self, this: Resource<TcpSocket>) -> SocketResult<Duration> {
        Ok(self.tcp_3(&this)?.options.keep_alive_idle_ns)
    }

    fn set_keep_alive_idle_time(
        &mut self,
        this: Resource<TcpSocket>,
        value: Duration,
    ) -> SocketResult<()> {
        self.tcp_3(&this)?.options.keep_alive_idle_ns = positive(value).map_err(code)?;
        Ok(())
    }

    fn get_keep_alive_interval(&mut self, this: Resource<TcpSocket>) -> SocketResult<Duration> {
        Ok(self.tcp_3(&this)?.options.keep_alive_interval_ns)
    }

    fn set_keep_alive_interval(
        &mut self,
        this: Resource<TcpSocket>,
        value: Duration,
    ) -> SocketResult<()> {
        self.tcp_3(&this)?.options.keep_alive_interval_ns = positive(value).map_err(code)?;
        Ok(())
    }

    fn get_keep_alive_count(&mut self, this: Resource<TcpSocket>) -> SocketResult<u32> {
        Ok(self.tcp_3(&this)?.options.keep_alive_count)
    }

    fn set_keep_alive_count(&mut self, this: Resource<TcpSocket>, value: u32) -> SocketResult<()> {
        self.tcp_3(&this)?.options.keep_alive_count = positive(value).map_err(code)?;
        Ok(())
    }

    fn get_hop_limit(&mut self, this: Resource<TcpSocket>) -> SocketResult<u8> {
        Ok(self.tcp_3(&this)?.options.hop_limit)
    }

    fn set_hop_limit(&mut self, this: Resource<TcpSocket>, value: u8) -> SocketResult<()> {
        self.tcp_3(&this)?.options.hop_limit = positive(value).map_err(code)?;
        Ok(())
    }

    fn get_receive_buffer_size(&mut self, this: Resource<TcpSocket>) -> SocketResult<u64> {
        Ok(self.tcp_3(&this)?.options.receive_buffer)
    }

    fn set_receive_buffer_size(
        &mut self,
        this: Resource<TcpSocket>,
        value: u64,
    ) -> SocketResult<()> {
        self.tcp_3(&this)?.options.receive_buffer = positive(value).map_err(code)?;
        Ok(())
    }

    fn get_send_buffer_size(&mut self, this: Resource<TcpSocket>) -> SocketResult<u64> {
        Ok(self.tcp_3(&this)?.options.send_buffer)
    }

    fn set_send_buffer_size(&mut self, this: Resource<TcpSocket>, value: u64) -> SocketResult<()> {
        self.tcp_3(&this)?.options.send_buffer = positive(value).map_err(code)?;
        Ok(())
    }

    fn drop(&mut self, this: Resource<TcpSocket>) -> wasmtime::Result<()> {
        self.table.delete(Resource::<Socket>::new_own(this.rep()))?;
        Ok(())
    }
}
