//! The guests' `wasi:sockets`, on the switch instead of the host's network: 0.2 here, 0.3 in `p3/`.
//!
//! The traits that wasmtime-wasi generates are implemented on [`NetView`] and registered interface by interface.
//! Their resource types are wasmtime-wasi's own, which cannot be built outside that crate; a resource is only a typed
//! index, so ours lie in the table under that index and are read back by it (`ours`, `theirs`).

mod names;
mod network;
pub(crate) mod p3;
mod tcp;
mod udp;

use std::sync::Arc;

use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime_wasi::p2::bindings::sockets;
use wasmtime_wasi::p2::bindings::sockets::network::ErrorCode;

use super::Dialer;
use crate::activity::Activity;
use crate::limits::{Account, Place, Refused};

/// What a guest's sockets need of their container.
pub(crate) struct NetCtx {
    pub(crate) dialer: Dialer,
    pub(crate) activity: Arc<Activity>,
    pub(crate) account: Arc<Account>,
}

pub(crate) struct NetView<'a> {
    pub(crate) table: &'a mut ResourceTable,
    pub(crate) net: &'a mut NetCtx,
}

struct HasNet;

impl HasData for HasNet {
    type Data<'a> = NetView<'a>;
}

/// Our resource under a handle of their type.
fn ours<Theirs, Ours>(handle: &Resource<Theirs>) -> Resource<Ours>
where
    Theirs: 'static,
    Ours: 'static,
{
    Resource::new_borrow(handle.rep())
}

/// A handle of their type to our resource, which the guest now owns.
fn theirs<Ours, Theirs>(handle: Resource<Ours>) -> Resource<Theirs>
where
    Ours: 'static,
    Theirs: 'static,
{
    Resource::new_own(handle.rep())
}

impl NetView<'_> {
    /// A place for one more socket.
    fn socket_place(&self) -> Result<Place, ErrorCode> {
        self.net.account.socket().map_err(|refused| match refused {
            Refused::Count => ErrorCode::NewSocketLimit,
            Refused::Memory => ErrorCode::OutOfMemory,
        })
    }
}

/// Registers every `wasi:sockets` interface of 0.2.
pub(crate) fn add_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    view: fn(&mut T) -> NetView<'_>,
) -> wasmtime::Result<()> {
    let options = sockets::network::LinkOptions::default();
    sockets::network::add_to_linker::<T, HasNet>(linker, &options, view)?;
    sockets::instance_network::add_to_linker::<T, HasNet>(linker, view)?;
    sockets::ip_name_lookup::add_to_linker::<T, HasNet>(linker, view)?;
    sockets::tcp_create_socket::add_to_linker::<T, HasNet>(linker, view)?;
    sockets::tcp::add_to_linker::<T, HasNet>(linker, view)?;
    sockets::udp_create_socket::add_to_linker::<T, HasNet>(linker, view)?;
    sockets::udp::add_to_linker::<T, HasNet>(linker, view)?;
    Ok(())
}
