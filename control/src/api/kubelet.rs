//! The way to nodes: control speaks to a kubelet's API over a stream that the dialer opens.
//!
//! A node says in its annotations how it is to be spoken to: over TLS with its certificate pinned
//! (and a client certificate of the cluster's CA shown), or in memory. Nothing else is trusted.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use hyper_util::rt::TokioIo;
use rustls::client::WantsClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ConfigBuilder, DigitallySignedStruct, SignatureScheme};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use crate::ambient::Ambient;
use crate::auth::pki::Credential;

use super::object;

const PINNED: &str = "copepod.dev/kubelet-certificate-sha256";
const IN_MEMORY: &str = "copepod.dev/kubelet-in-memory";
const DEFAULT_PORT: u16 = 10250;
/// What a connection to a pod through its node is called.
const POD_CONNECTION: &str = "copepod-pod-connection";
/// As much of a node's refusal as is read.
const REFUSAL_MAX: usize = 4096;

/// A stream to a node.
pub trait Io: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// Control's only way to addresses in the cluster.
#[async_trait]
pub trait NodeDialer: Send + Sync {
    async fn connect(&self, node: &str, ip: IpAddr, port: u16) -> io::Result<Box<dyn Io>>;
}

#[derive(Debug, thiserror::Error)]
pub enum KubeletError {
    #[error("node {0:?} has no InternalIP address")]
    NoAddress(String),
    #[error(
        "node {0:?} names neither a kubelet certificate to pin ({PINNED}) nor an in-memory kubelet"
    )]
    NotTrusted(String),
    #[error("{method} {url}: dial tcp: {source}")]
    Dial { method: String, url: String, source: io::Error },
    #[error("{method} {url}: tls: {source}")]
    Tls { method: String, url: String, source: io::Error },
    #[error("{method} {url}: {source}")]
    Request { method: String, url: String, source: hyper::Error },
    #[error("{0} is no path")]
    Path(String),
}

/// Why a pod cannot be reached.
#[derive(Debug, thiserror::Error)]
pub enum PodError {
    #[error(transparent)]
    Kubelet(#[from] KubeletError),
    /// What the node says of it.
    #[error("{0}")]
    Refused(String),
    #[error("the connection through the node broke: {0}")]
    Broken(#[from] hyper::Error),
    #[error("tls: {0}")]
    Tls(#[from] io::Error),
}

/// What is needed to speak to kubelets.
pub struct Kubelets {
    dialer: Arc<dyn NodeDialer>,
    /// What control shows to a kubelet that asks for a certificate.
    credential: Credential,
    provider: Arc<CryptoProvider>,
    ambient: Ambient,
}

/// Where and how a node's kubelet listens, as its Node object says. Pure.
#[derive(Debug, PartialEq)]
struct Endpoint {
    node: String,
    ip: IpAddr,
    port: u16,
    /// `None`: in memory, without TLS.
    pinned: Option<String>,
}

impl Endpoint {
    fn of(node: &Value) -> Result<Self, KubeletError> {
        let name = object::name(node).to_owned();
        let annotation = |key: &str| node["metadata"]["annotations"][key].as_str();
        let pinned = annotation(PINNED).map(str::to_ascii_lowercase);
        if pinned.is_none() && annotation(IN_MEMORY) != Some("true") {
            return Err(KubeletError::NotTrusted(name));
        }
        let addresses = node["status"]["addresses"].as_array();
        let ip = addresses
            .into_iter()
            .flatten()
            .find(|address| address["type"] == "InternalIP")
            .and_then(|address| address["address"].as_str()?.parse().ok())
            .ok_or_else(|| KubeletError::NoAddress(name.clone()))?;
        let port = &node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"];
        let port = port.as_u64().and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0);
        Ok(Self { node: name, ip, port: port.unwrap_or(DEFAULT_PORT), pinned })
    }

    fn url(&self, path: &str) -> String {
        let scheme = if self.pinned.is_some() { "https" } else { "http" };
        format!("\"{scheme}://{}{path}\"", std::net::SocketAddr::new(self.ip, self.port))
    }
}

impl Kubelets {
    pub fn new(dialer: Arc<dyn NodeDialer>, credential: Credential, ambient: Ambient) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        Self { dialer, credential, provider, ambient }
    }

    /// Sends a request to a node's kubelet. `path` has the query with it. Bodies are not buffered in
    /// either direction.
    pub async fn call(
        &self,
        node: &Value,
        path: &str,
        mut request: Request<Body>,
    ) -> Result<Response, KubeletError> {
        for name in [header::CONNECTION, header::UPGRADE] {
            request.headers_mut().remove(name);
        }
        self.upgrade(node, path, request).await
    }

    /// The same for a request that asks to become something else than HTTP.
    pub async fn upgrade(
        &self,
        node: &Value,
        path: &str,
        request: Request<Body>,
    ) -> Result<Response, KubeletError> {
        let endpoint = Endpoint::of(node)?;
        let (method, url) = (title_case(request.method()), endpoint.url(path));
        let dialled = self.dialer.connect(&endpoint.node, endpoint.ip, endpoint.port).await;
        let stream = dialled.map_err(|source| KubeletError::Dial {
            method: method.clone(),
            url: url.clone(),
            source,
        })?;
        let stream: Box<dyn Io> = match &endpoint.pinned {
            None => stream,
            Some(pin) => {
                let tls =
                    self.connector(pin).connect(ServerName::IpAddress(endpoint.ip.into()), stream);
                let tls = tls.await.map_err(|source| KubeletError::Tls {
                    method: method.clone(),
                    url: url.clone(),
                    source,
                })?;
                Box::new(tls)
            }
        };
        let request = onward(request, path, &endpoint)?;
        self.send(stream, request).await.map_err(|source| KubeletError::Request {
            method,
            url,
            source,
        })
    }

    /// A connection to a port of a pod on the node, from the node's own address.
    pub async fn dial_pod(
        &self,
        node: &Value,
        address: SocketAddr,
    ) -> Result<Box<dyn Io>, PodError> {
        let path = format!("/connect/{}/{}", address.ip(), address.port());
        let request = Request::get("/")
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, POD_CONNECTION)
            .body(Body::empty())
            .expect("constant headers");
        let mut response = self.upgrade(node, &path, request).await?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let stream = hyper::upgrade::on(&mut response).await?;
            return Ok(Box::new(TokioIo::new(stream)));
        }
        let why = Limited::new(response.into_body(), REFUSAL_MAX).collect().await;
        let why = why.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        Err(PodError::Refused(String::from_utf8_lossy(&why).trim_end().to_owned()))
    }

    /// The same with TLS in it. Pods' certificates are not verified: nobody vouches for them.
    pub async fn dial_pod_tls(
        &self,
        node: &Value,
        address: SocketAddr,
    ) -> Result<Box<dyn Io>, PodError> {
        let stream = self.dial_pod(node, address).await?;
        let config = self.client_config(Expected::Anything).with_no_client_auth();
        let connector = TlsConnector::from(Arc::new(config));
        Ok(Box::new(connector.connect(ServerName::IpAddress(address.ip().into()), stream).await?))
    }

    async fn send(
        &self,
        stream: Box<dyn Io>,
        request: Request<Body>,
    ) -> Result<Response, hyper::Error> {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        self.ambient.spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "a connection to a kubelet ended");
            }
        });
        Ok(sender.send_request(request).await?.map(Body::new))
    }

    fn connector(&self, pin: &str) -> TlsConnector {
        let config = self
            .client_config(Expected::Pinned { sha256: pin.to_owned() })
            .with_client_auth_cert(self.credential.chain(), self.credential.key())
            .expect("a certificate that was just made fits its key");
        TlsConnector::from(Arc::new(config))
    }

    fn client_config(&self, expected: Expected) -> ConfigBuilder<ClientConfig, WantsClientCert> {
        let verifier = Verifier { expected, provider: self.provider.clone() };
        ClientConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()
            .expect("ring speaks TLS 1.2 and 1.3")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
    }
}

/// A method as Go's errors write it: `Get`.
fn title_case(method: &http::Method) -> String {
    let (first, rest) = method.as_str().split_at(1);
    format!("{first}{}", rest.to_ascii_lowercase())
}

/// The request as the kubelet gets it: its own path, and no headers that concern this hop alone or
/// tell who the client is.
fn onward(
    request: Request<Body>,
    path: &str,
    endpoint: &Endpoint,
) -> Result<Request<Body>, KubeletError> {
    let (mut parts, body) = request.into_parts();
    parts.uri = path.parse().map_err(|_| KubeletError::Path(path.to_owned()))?;
    parts.version = http::Version::HTTP_11;
    parts.extensions = http::Extensions::new();
    for name in [
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::AUTHORIZATION,
        header::PROXY_AUTHORIZATION,
    ] {
        parts.headers.remove(name);
    }
    let host = std::net::SocketAddr::new(endpoint.ip, endpoint.port).to_string();
    if let Ok(host) = HeaderValue::from_str(&host) {
        parts.headers.insert(header::HOST, host);
    }
    Ok(Request::from_parts(parts, body))
}

/// Which certificate is accepted.
#[derive(Debug)]
enum Expected {
    /// The one of this SHA-256.
    Pinned {
        sha256: String,
    },
    Anything,
}

#[derive(Debug)]
struct Verifier {
    expected: Expected,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match &self.expected {
            Expected::Pinned { sha256 } if sha256_hex(end_entity) != *sha256 => Err(
                rustls::Error::General("the kubelet's certificate is not the pinned one".into()),
            ),
            Expected::Pinned { .. } | Expected::Anything => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// SHA-256, by the hash that the TLS library brings.
pub(super) fn sha256(bytes: &[u8]) -> Vec<u8> {
    let suite = rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
    let hash = suite.tls13().expect("a suite of TLS 1.3").common.hash_provider;
    hash.hash(bytes).as_ref().to_vec()
}

pub(super) fn sha256_hex(bytes: &[u8]) -> String {
    sha256(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_node_must_say_how_it_is_to_be_trusted() {
        let mut node = json!({
            "metadata": { "name": "n" },
            "status": {
                "addresses": [{ "type": "InternalIP", "address": "10.0.0.5" }],
                "daemonEndpoints": { "kubeletEndpoint": { "Port": 4194 } },
            },
        });
        assert!(matches!(Endpoint::of(&node), Err(KubeletError::NotTrusted(_))));
        node["metadata"]["annotations"] = json!({ IN_MEMORY: "true" });
        let endpoint = Endpoint::of(&node).expect("trusted");
        assert_eq!((endpoint.port, endpoint.pinned), (4194, None));
        node["metadata"]["annotations"] = json!({ PINNED: "AB" });
        assert_eq!(Endpoint::of(&node).expect("trusted").pinned.as_deref(), Some("ab"));
    }

    #[test]
    fn digests_are_sha256() {
        assert_eq!(
            sha256_hex(b""),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }
}
