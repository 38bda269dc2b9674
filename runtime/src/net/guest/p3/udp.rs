//! `udp-socket` of `wasi:sockets/types` 0.3.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Poll, ready};

use bytes::Bytes;
use wasmtime::component::{Accessor, Resource};
use wasmtime_wasi::p3::bindings::sockets::types::{
    ErrorCode, HostUdpSocket, HostUdpSocketWithStore, IpAddressFamily, IpSocketAddress, UdpSocket,
};
use wasmtime_wasi::p3::sockets::{SocketError, SocketResult};

use super::super::network::check_remote;
use super::super::tcp::positive;
use super::super::udp::{Binding, Socket, State};
use super::super::{HasNet, NetView, ours, theirs};
use super::{any, code, from_shared, to_shared};
use crate::limits::Account;
use crate::net::Dialer;

impl NetView<'_> {
    fn udp_3(&mut self, socket: &Resource<UdpSocket>) -> SocketResult<&mut Socket> {
        self.table.get_mut(&ours::<_, Socket>(socket)).map_err(SocketError::trap)
    }
}

impl Socket {
    /// The binding, made where there is none yet.
    fn bound_somewhere(
        &mut self,
        dialer: Dialer,
        account: Arc<Account>,
    ) -> Result<Arc<Binding>, ErrorCode> {
        if matches!(self.state, State::Unbound) {
            let binding = self.bind(dialer, account, any(self.family)).map_err(code)?;
            self.state = State::Bound(binding);
        }
        self.bound().cloned().map_err(code)
    }
}

impl<T: 'static> HostUdpSocketWithStore<T> for HasNet {
    async fn send(
        store: &Accessor<T, Self>,
        this: Resource<UdpSocket>,
        data: Vec<u8>,
        to: Option<IpSocketAddress>,
    ) -> SocketResult<()> {
        store.with(|mut access| {
            let mut view = access.get();
            let (dialer, account) = (view.net.dialer.clone(), view.net.account.clone());
            let socket = view.udp_3(&this)?;
            let binding = socket.bound_somewhere(dialer, account)?;
            let to = to.map(SocketAddr::from);
            let sent = binding.send_from(socket.family, socket.remote, to, Bytes::from(data));
            Ok(sent.map_err(code)?)
        })
    }

    async fn receive(
        store: &Accessor<T, Self>,
        this: Resource<UdpSocket>,
    ) -> SocketResult<(Vec<u8>, IpSocketAddress)> {
        let received = poll_fn(|cx| {
            store.with(|mut access| -> Poll<SocketResult<_>> {
                let mut view = access.get();
                let socket = match view.udp_3(&this) {
                    Ok(socket) => socket,
                    Err(trap) => return Poll::Ready(Err(trap)),
                };
                let binding = match socket.bound() {
                    Ok(binding) => binding,
                    Err(unbound) => return Poll::Ready(Err(code(unbound).into())),
                };
                loop {
                    ready!(binding.poll_readable(cx));
                    // Another receive may have taken it, or it comes from a stranger.
                    if let Some(datagram) = binding.next(socket.remote) {
                        return Poll::Ready(Ok(datagram));
                    }
                }
            })
        });
        let datagram = received.await?;
        Ok((datagram.data.into(), datagram.from.into()))
    }
}

impl HostUdpSocket for NetView<'_> {
    async fn create(&mut self, family: IpAddressFamily) -> SocketResult<Resource<UdpSocket>> {
        let place = self.socket_place().map_err(code)?;
        let socket = self.table.push(Socket::new(to_shared(family), place));
        Ok(theirs(socket.map_err(SocketError::trap)?))
    }

    async fn bind(
        &mut self,
        this: Resource<UdpSocket>,
        local: IpSocketAddress,
    ) -> SocketResult<()> {
        let (dialer, account) = (self.net.dialer.clone(), self.net.account.clone());
        let socket = self.udp_3(&this)?;
        socket.state = State::Bound(socket.bind(dialer, account, local.into()).map_err(code)?);
        Ok(())
    }

    async fn connect(
        &mut self,
        this: Resource<UdpSocket>,
        remote: IpSocketAddress,
    ) -> SocketResult<()> {
        let (dialer, account) = (self.net.dialer.clone(), self.net.account.clone());
        let socket = self.udp_3(&this)?;
        let remote = SocketAddr::from(remote);
        check_remote(remote, socket.family).map_err(code)?;
        socket.bound_somewhere(dialer, account)?;
        socket.remote = Some(remote);
        Ok(())
    }

    fn disconnect(&mut self, this: Resource<UdpSocket>) -> SocketResult<()> {
        match self.udp_3(&this)?.remote.take() {
            Some(_) => Ok(()),
            None => Err(ErrorCode::InvalidState.into()),
        }
    }

    fn get_local_address(&mut self, this: Resource<UdpSocket>) -> SocketResult<IpSocketAddress> {
        Ok(self.udp_3(&this)?.bound().map_err(code)?.local.into())
    }

    fn get_remote_address(&mut self, this: Resource<UdpSocket>) -> SocketResult<IpSocketAddress> {
        let remote = self.udp_3(&this)?.remote;
        Ok(remote.ok_or(ErrorCode::InvalidState)?.into())
    }

    fn get_address_family(
        &mut self,
        this: Resource<UdpSocket>,
    ) -> wasmtime::Result<IpAddressFamily> {
        Ok(from_shared(self.table.get(&ours::<_, Socket>(&this))?.family))
    }

    fn get_unicast_hop_limit(&mut self, this: Resource<UdpSocket>) -> SocketResult<u8> {
        Ok(self.udp_3(&this)?.hop_limit)
    }

    fn set_unicast_hop_limit(&mut self, this: Resource<UdpSocket>, value: u8) -> SocketResult<()> {
        self.udp_3(&this)?.hop_limit = positive(value).map_err(code)?;
        Ok(())
    }

    fn get_receive_buffer_size(&mut self, this: Resource<UdpSocket>) -> SocketResult<u64> {
        Ok(self.udp_3(&this)?.receive_buffer)
    }

    fn set_receive_buffer_size(
        &mut self,
        this: Resource<UdpSocket>,
        value: u64,
    ) -> SocketResult<()> {
        self.udp_3(&this)?.receive_buffer = positive(value).map_err(code)?;
        Ok(())
    }

    fn get_send_buffer_size(&mut self, this: Resource<UdpSocket>) -> SocketResult<u64> {
        Ok(self.udp_3(&this)?.send_buffer)
    }

    fn set_send_buffer_size(&mut self, this: Resource<UdpSocket>, value: u64) -> SocketResult<()> {
        self.udp_3(&this)?.send_buffer = positive(value).map_err(code)?;
        Ok(())
    }

    fn drop(&mut self, this: Resource<UdpSocket>) -> wasmtime::Result<()> {
        self.table.delete(Resource::<Socket>::new_own(this.rep()))?;
        Ok(())
    }
}
