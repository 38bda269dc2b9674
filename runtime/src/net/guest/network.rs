//! `wasi:sockets/network` and `instance-network`: the capability handle, and errors as WASI codes.

use std::io;
use std::net::{IpAddr, SocketAddr};

use wasmtime::component::Resource;
use wasmtime_wasi::p2::SocketError;
use wasmtime_wasi::p2::bindings::sockets::instance_network;
use wasmtime_wasi::p2::bindings::sockets::network::{
    ErrorCode, Host, HostNetwork, IpAddressFamily, Network,
};

use super::{NetView, ours, theirs};

/// The handle says nothing: what a guest may reach is decided where it connects.
struct OurNetwork;

impl Host for NetView<'_> {
    fn convert_error_code(&mut self, error: SocketError) -> wasmtime::Result<ErrorCode> {
        error.downcast()
    }

    fn network_error_code(
        &mut self,
        error: Resource<wasmtime::Error>,
    ) -> wasmtime::Result<Option<ErrorCode>> {
        let error = self.table.get(&error)?;
        Ok(error.downcast_ref::<io::Error>().map(error_code))
    }
}

impl HostNetwork for NetView<'_> {
    fn drop(&mut self, network: Resource<Network>) -> wasmtime::Result<()> {
        self.table.delete(Resource::<OurNetwork>::new_own(network.rep()))?;
        Ok(())
    }
}

impl instance_network::Host for NetView<'_> {
    fn instance_network(&mut self) -> wasmtime::Result<Resource<Network>> {
        Ok(theirs(self.table.push(OurNetwork)?))
    }
}

impl NetView<'_> {
    /// Traps where the handle is not a network: the guest's types forbid it.
    pub(super) fn check_network(&self, network: &Resource<Network>) -> Result<(), SocketError> {
        self.table.get(&ours::<_, OurNetwork>(network))?;
        Ok(())
    }
}

/// The closest WASI code; `HostUnreachable` and its kin have none in wasmtime-wasi's own conversion.
pub(super) fn error_code(error: &io::Error) -> ErrorCode {
    match error.kind() {
        io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::NetworkDown => ErrorCode::RemoteUnreachable,
        io::ErrorKind::BrokenPipe => ErrorCode::ConnectionReset,
        _ => ErrorCode::from(error),
    }
}

pub(super) fn is_family(ip: IpAddr, family: IpAddressFamily) -> bool {
    match family {
        IpAddressFamily::Ipv4 => ip.is_ipv4(),
        IpAddressFamily::Ipv6 => ip.is_ipv6(),
    }
}

/// IPv4-mapped addresses are refused, as WASI demands: its IPv6 sockets are not dual-stack.
fn is_mapped(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some())
}

pub(super) fn check_local(address: SocketAddr, family: IpAddressFamily) -> Result<(), ErrorCode> {
    let ip = address.ip();
    if !is_family(ip, family) || is_mapped(ip) || ip.is_multicast() {
        return Err(ErrorCode::InvalidArgument);
    }
    Ok(())
}

pub(super) fn check_remote(address: SocketAddr, family: IpAddressFamily) -> Result<(), ErrorCode> {
    let ip = address.ip();
    let wrong = !is_family(ip, family) || is_mapped(ip) || ip.is_unspecified();
    if wrong || address.port() == 0 {
        return Err(ErrorCode::InvalidArgument);
    }
    Ok(())
}
