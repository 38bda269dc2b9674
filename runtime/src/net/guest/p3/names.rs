//! `wasi:sockets/ip-name-lookup` 0.3, answered by the sandbox's dialer.

use std::io;

use wasmtime::component::Accessor;
use wasmtime_wasi::p3::bindings::sockets::ip_name_lookup::{ErrorCode, Host, HostWithStore};
use wasmtime_wasi::p3::bindings::sockets::types::IpAddress;

use super::super::names::is_name;
use super::super::{HasNet, NetView};

impl<T: 'static> HostWithStore<T> for HasNet {
    async fn resolve_addresses(
        store: &Accessor<T, Self>,
        name: String,
    ) -> wasmtime::Result<Result<Vec<IpAddress>, ErrorCode>> {
        if !is_name(&name) {
            return Ok(Err(ErrorCode::InvalidArgument));
        }
        let dialer = store.with(|mut access| access.get().net.dialer.clone());
        let found = dialer.resolve(&name).await;
        Ok(match found {
            Ok(addresses) => Ok(addresses.into_iter().map(IpAddress::from).collect()),
            Err(error) => Err(code(&error)),
        })
    }
}

impl Host for NetView<'_> {}

fn code(error: &io::Error) -> ErrorCode {
    match error.kind() {
        io::ErrorKind::NotFound => ErrorCode::NameUnresolvable,
        io::ErrorKind::InvalidInput => ErrorCode::InvalidArgument,
        io::ErrorKind::PermissionDenied => ErrorCode::AccessDenied,
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => {
            ErrorCode::TemporaryResolverFailure
        }
        _ => ErrorCode::PermanentResolverFailure,
    }
}
