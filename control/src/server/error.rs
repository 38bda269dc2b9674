//! Why a control plane does not start: one line, with the mend.

use std::io;
use std::net::SocketAddr;

use crate::auth::pki::PkiError;
use crate::store::StoreError;

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(
        "cannot listen on {address}: it is in use; stop the process that has it, or choose another with --listen"
    )]
    AddressInUse { address: SocketAddr },
    #[error(
        "cannot listen on {address}: {source}; choose an address of this machine with --listen"
    )]
    Listen { address: SocketAddr, source: io::Error },
    #[error("service CIDR {0:?} is not a range of IPv4 addresses such as 10.96.0.0/12")]
    ServiceCidr(String),
    #[error(transparent)]
    Certificates(#[from] PkiError),
    #[error("cannot serve TLS: {0}")]
    Tls(#[from] rustls::Error),
    #[error("cannot check client certificates: {0}")]
    ClientCertificates(#[from] rustls::server::VerifierBuilderError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot put {what} in place: {why}")]
    Bootstrap { what: String, why: String },
}
