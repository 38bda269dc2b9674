//! TLS for `https` requests of guests, over whatever stream leads to the server: a pod's or a real one's.
//!
//! A server's certificate must chain to one of the usual web roots; there is no way to switch that off.

use std::io;
use std::sync::{Arc, OnceLock};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

use crate::http::HttpError;

/// The configuration that trusts the web's roots, and them alone.
pub(crate) fn web() -> Arc<ClientConfig> {
    static WEB: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    let new = || config(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.into() });
    WEB.get_or_init(new).clone()
}

fn config(roots: RootCertStore) -> Arc<ClientConfig> {
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring speaks TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

/// Shakes hands with the server called `host`, which its certificate must name.
pub(crate) async fn connect<S>(
    config: Arc<ClientConfig>,
    host: &str,
    stream: S,
) -> Result<TlsStream<S>, HttpError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let host = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
    let name =
        ServerName::try_from(host.to_owned()).map_err(|_| HttpError::HttpRequestUriInvalid)?;
    TlsConnector::from(config).connect(name, stream).await.map_err(error)
}

fn error(error: io::Error) -> HttpError {
    match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => {
            HttpError::TlsCertificateError
        }
        Some(_) => HttpError::TlsProtocolError,
        // The server went away in the middle of it.
        None => HttpError::ConnectionTerminated,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Stream;
    use rustls::ServerConfig;
    use rustls::pki_types::PrivateKeyDer;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// The near end of a stream to a server with a certificate of its own making, and that certificate.
    fn server(name: &str) -> (Stream, rustls::pki_types::CertificateDer<'static>) {
        let own = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let certificate = own.cert.der().clone();
        let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .unwrap();
        let from = ([10, 0, 0, 1], 5000).into();
        let (near, far) = Stream::pair(from, ([10, 0, 0, 2], 443).into());
        tokio::spawn(async move {
            let accepted = tokio_rustls::TlsAcceptor::from(Arc::new(config)).accept(far).await;
            if let Ok(mut stream) = accepted {
                let mut asked = [0; 4];
                stream.read_exact(&mut asked).await.unwrap();
                stream.write_all(&asked).await.unwrap();
                stream.shutdown().await.unwrap();
            }
        });
        (near, certificate)
    }

    #[tokio::test]
    async fn a_certificate_that_no_web_root_signed_is_refused() {
        let (stream, _) = server("backend");
        let refused = connect(web(), "backend", stream).await.err();
        assert!(matches!(refused, Some(HttpError::TlsCertificateError)), "{refused:?}");
    }

    #[tokio::test]
    async fn a_trusted_server_is_spoken_to_and_must_bear_its_name() {
        for (host, trusted) in [("backend", true), ("elsewhere", false)] {
            let (stream, certificate) = server("backend");
            let mut roots = RootCertStore::empty();
            roots.add(certificate).unwrap();
            let connected = connect(config(roots), host, stream).await;
            assert_eq!(connected.is_ok(), trusted, "{host}");
            let Ok(mut stream) = connected else { continue };
            stream.write_all(b"ping").await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert_eq!(answer, "ping");
        }
    }

    #[tokio::test]
    async fn a_server_without_tls_is_a_protocol_error() {
        let (near, mut far) =
            Stream::pair(([10, 0, 0, 1], 5000).into(), ([10, 0, 0, 2], 443).into());
        far.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        let refused = connect(web(), "backend", near).await.err();
        assert!(matches!(refused, Some(HttpError::TlsProtocolError)), "{refused:?}");
    }
}
