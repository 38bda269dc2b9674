//! The guests' `wasi:sockets` 0.3. The sockets are those of 0.2, taken through the same states; what waits is a future or
//! a stream of the component model here, not a start and a finish.

mod names;
mod tcp;
mod udp;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use wasmtime::component::Linker;
use wasmtime_wasi::p2::bindings::sockets::network;
use wasmtime_wasi::p3::bindings::sockets::types::{ErrorCode, Host, IpAddressFamily};
use wasmtime_wasi::p3::bindings::sockets::{ip_name_lookup, types};
use wasmtime_wasi::p3::sockets::SocketError;

use super::{HasNet, NetView};

/// Registers every `wasi:sockets` interface of 0.3.
pub(crate) fn add_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    view: fn(&mut T) -> NetView<'_>,
) -> wasmtime::Result<()> {
    ip_name_lookup::add_to_linker::<T, HasNet>(linker, view)?;
    types::add_to_linker::<T, HasNet>(linker, view)?;
    Ok(())
}

impl Host for NetView<'_> {
    fn convert_error_code(&mut self, error: SocketError) -> wasmtime::Result<ErrorCode> {
        error.downcast()
    }
}

/// What the sockets say, in the words of 0.3.
fn code(code: network::ErrorCode) -> ErrorCode {
    use network::ErrorCode as Code;
    match code {
        Code::AccessDenied => ErrorCode::AccessDenied,
        Code::NotSupported => ErrorCode::NotSupported,
        Code::InvalidArgument => ErrorCode::InvalidArgument,
        Code::OutOfMemory | Code::NewSocketLimit => ErrorCode::OutOfMemory,
        Code::Timeout => ErrorCode::Timeout,
        // 0.3 knows no steps that are half done.
        Code::InvalidState | Code::ConcurrencyConflict | Code::NotInProgress | Code::WouldBlock => {
            ErrorCode::InvalidState
        }
        Code::AddressNotBindable => ErrorCode::AddressNotBindable,
        Code::AddressInUse => ErrorCode::AddressInUse,
        Code::RemoteUnreachable => ErrorCode::RemoteUnreachable,
        Code::ConnectionRefused => ErrorCode::ConnectionRefused,
        Code::ConnectionReset => ErrorCode::ConnectionReset,
        Code::ConnectionAborted => ErrorCode::ConnectionAborted,
        Code::DatagramTooLarge => ErrorCode::DatagramTooLarge,
        Code::Unknown
        | Code::NameUnresolvable
        | Code::TemporaryResolverFailure
        | Code::PermanentResolverFailure => ErrorCode::Other(None),
    }
}

/// Where a socket is bound that the guest did not bind.
fn any(family: network::IpAddressFamily) -> SocketAddr {
    match family {
        network::IpAddressFamily::Ipv4 => (Ipv4Addr::UNSPECIFIED, 0).into(),
        network::IpAddressFamily::Ipv6 => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

fn to_shared(family: IpAddressFamily) -> network::IpAddressFamily {
    match family {
        IpAddressFamily::Ipv4 => network::IpAddressFamily::Ipv4,
        IpAddressFamily::Ipv6 => network::IpAddressFamily::Ipv6,
    }
}

fn from_shared(family: network::IpAddressFamily) -> IpAddressFamily {
    match family {
        network::IpAddressFamily::Ipv4 => IpAddressFamily::Ipv4,
        network::IpAddressFamily::Ipv6 => IpAddressFamily::Ipv6,
    }
}
