//! The kubelet API's TLS: a certificate of the node's own making, clients by the cluster's CA.
//!
//! The API server does not verify a name: it pins the certificate by the digest that the node has
//! written into its annotations.

use std::net::IpAddr;
use std::sync::Arc;

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ServerConfig, VerifierBuilderError, WebPkiClientVerifier};
use sha2::{Digest, Sha256};

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("a certificate could not be made: {0}")]
    Make(#[from] rcgen::Error),
    #[error("the client CA is no PEM certificate: {0}")]
    ClientCa(String),
    #[error("the client CA cannot be used: {0}")]
    Verifier(#[from] VerifierBuilderError),
    #[error("TLS cannot be set up: {0}")]
    Rustls(#[from] rustls::Error),
}

/// What a listener needs, and the certificate's digest for the annotation.
pub struct Identity {
    pub config: Arc<ServerConfig>,
    /// SHA-256 of the certificate's DER, hexadecimal.
    pub fingerprint: String,
}

pub fn identity(node: &str, ip: IpAddr, client_ca_pem: &str) -> Result<Identity, TlsError> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(vec![node.to_owned()])?;
    params.subject_alt_names.push(SanType::IpAddress(ip));
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, format!("system:node:{node}"));
    params.distinguished_name = subject;
    let certificate = params.self_signed(&key)?;
    let der = certificate.der().clone();
    let fingerprint = Sha256::digest(&der).iter().map(|byte| format!("{byte:02x}")).collect();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let clients = WebPkiClientVerifier::builder_with_provider(
        Arc::new(roots(client_ca_pem)?),
        provider.clone(),
    )
    .build()?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(clients)
        .with_single_cert(vec![der], key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Identity { config: Arc::new(config), fingerprint })
}

fn roots(pem: &str) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|error| TlsError::ClientCa(error.to_string()))?;
        roots.add(certificate)?;
    }
    if roots.is_empty() {
        return Err(TlsError::ClientCa("it holds none".into()));
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_has_the_digest_of_its_certificate() {
        let ca_key = KeyPair::generate().unwrap();
        let ca = CertificateParams::new(vec!["ca".into()]).unwrap().self_signed(&ca_key).unwrap();
        let ip = "127.0.0.1".parse().unwrap();
        let identity = identity("n1", ip, &ca.pem()).unwrap();
        assert_eq!(identity.fingerprint.len(), 64);
        assert!(matches!(super::identity("n1", ip, "nonsense"), Err(TlsError::ClientCa(_))));
    }
}
