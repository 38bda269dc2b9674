//! The server's side of TLS: its certificate, renewed while it runs, and the check of clients'.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};

use crate::auth::pki::Authority;

use super::StartError;

/// Far shorter than a certificate's life.
pub const RENEW_EVERY: Duration = Duration::from_secs(30 * 24 * 3600);

/// What clients may call the server.
#[derive(Clone, Debug)]
pub struct Names {
    pub service_ip: Ipv4Addr,
    pub addresses: Vec<IpAddr>,
}

impl Names {
    fn dns(&self) -> Vec<String> {
        let mut names: Vec<String> = [
            "localhost",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
        ]
        .map(str::to_owned)
        .to_vec();
        names.extend(hostname());
        names
    }

    fn ips(&self) -> Vec<IpAddr> {
        let mut ips = vec![
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(Ipv6Addr::LOCALHOST),
            IpAddr::V4(self.service_ip),
        ];
        ips.extend(
            self.addresses.iter().filter(|ip| !ips.contains(ip)).copied().collect::<Vec<_>>(),
        );
        ips.dedup();
        ips
    }
}

/// This machine's name, where it is one that a certificate can bear.
fn hostname() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    let name = name.trim().to_ascii_lowercase();
    let plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '.');
    (!name.is_empty() && name != "localhost" && name.chars().all(plain)).then_some(name)
}

/// The server's certificate, which `renew` replaces.
pub struct Server {
    authority: Arc<Authority>,
    names: Names,
    provider: Arc<CryptoProvider>,
    current: RwLock<Arc<CertifiedKey>>,
}

impl Server {
    pub fn new(authority: Arc<Authority>, names: Names) -> Result<Arc<Self>, StartError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let current = issue(&authority, &names, &provider)?;
        Ok(Arc::new(Self { authority, names, provider, current: RwLock::new(Arc::new(current)) }))
    }

    pub fn renew(&self) -> Result<(), StartError> {
        let renewed = issue(&self.authority, &self.names, &self.provider)?;
        *self.current.write() = Arc::new(renewed);
        Ok(())
    }

    /// Clients show a certificate of the cluster's CA, or none; what they may do without is not
    /// decided here.
    pub fn config(self: &Arc<Self>) -> Result<ServerConfig, StartError> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.der().clone())?;
        let clients =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), self.provider.clone())
                .allow_unauthenticated()
                .build()?;
        let resolver = Arc::new(Resolver(self.clone()));
        let mut config = ServerConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(clients)
            .with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}

fn issue(
    authority: &Authority,
    names: &Names,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, StartError> {
    let credential = authority.server("kube-apiserver", &names.dns(), &names.ips())?;
    let key = provider.key_provider.load_private_key(credential.key())?;
    Ok(CertifiedKey::new(credential.chain(), key))
}

struct Resolver(Arc<Server>);

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Resolver")
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.current.read().clone())
    }
}
