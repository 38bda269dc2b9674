//! The control plane from outside: over TLS, and across a restart.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use kube::Api;
use kube::api::{ListParams, PostParams};
use kube::client::ConfigExt as _;
use kube::config::{KubeConfigOptions, Kubeconfig};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{ControlPlane, StartError};
use crate::{Ambient, ControlConfig, Identity, Io, NodeDialer, StoreConfig};

struct NoNodes;

#[async_trait]
impl NodeDialer for NoNodes {
    async fn connect(&self, _node: &str, _ip: IpAddr, _port: u16) -> io::Result<Box<dyn Io>> {
        Err(io::ErrorKind::ConnectionRefused.into())
    }
}

async fn start(config: ControlConfig) -> Result<ControlPlane, StartError> {
    ControlPlane::start_bare(config, Arc::new(NoNodes), Ambient::real()).await
}

fn listening() -> ControlConfig {
    ControlConfig { listen: Some(SocketAddr::from(([127, 0, 0, 1], 0))), ..<_>::default() }
}

async fn client(kubeconfig: &str) -> kube::Client {
    let kubeconfig = Kubeconfig::from_yaml(kubeconfig).expect("a kubeconfig");
    let options = KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.expect("usable");
    kube::Client::try_from(config).expect("a client")
}

fn map(name: &str) -> ConfigMap {
    let mut map = ConfigMap::default();
    map.metadata.name = Some(name.to_owned());
    map
}

#[tokio::test]
async fn a_kubeconfig_opens_the_api_over_tls() {
    let plane = start(listening()).await.expect("it starts");
    let admin = client(&plane.admin_kubeconfig()).await;
    let namespaces: Api<Namespace> = Api::all(admin);
    let list = namespaces.list(&ListParams::default()).await.expect("a list");
    assert_eq!(list.items.len(), 4);
    let node = client(&plane.node_kubeconfig("n")).await;
    let version = node.apiserver_version().await.expect("a version");
    assert_eq!(version.git_version, "v1.36.0+copepod");
    plane.stop().await;
}

#[tokio::test]
async fn without_a_certificate_nothing_but_health_is_answered() {
    let plane = start(listening()).await.expect("it starts");
    let mut kubeconfig = Kubeconfig::from_yaml(&plane.admin_kubeconfig()).expect("a kubeconfig");
    for user in &mut kubeconfig.auth_infos {
        user.auth_info = None;
    }
    let anonymous = client(&serde_yaml::to_string(&kubeconfig).expect("YAML")).await;
    let error = anonymous.apiserver_version().await.expect_err("refused");
    assert!(matches!(&error, kube::Error::Api(status) if status.code == 401), "{error}");
    let request = http::Request::get("/readyz").body(Vec::new()).expect("a request");
    assert_eq!(anonymous.request_text(request).await.expect("an answer"), "ok");
    plane.stop().await;
}

#[tokio::test]
async fn a_client_in_the_process_needs_no_socket() {
    let plane = start(ControlConfig::default()).await.expect("it starts");
    let client = plane.client(Identity::admin());
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let made = maps.create(&PostParams::default(), &map("a")).await.expect("created");
    assert_eq!(maps.get("a").await.expect("read").metadata.uid, made.metadata.uid);
    plane.stop().await;
}

fn kept(folder: &Path) -> ControlConfig {
    ControlConfig {
        store: StoreConfig::Sled { dir: folder.join("store") },
        data_dir: Some(folder.to_owned()),
        ..ControlConfig::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_start_finds_the_same_authority_and_the_objects() {
    let folder = tempfile::tempdir().expect("a folder");
    let plane = start(kept(folder.path())).await.expect("it starts");
    let authority = plane.ca_pem();
    let maps: Api<ConfigMap> = Api::default_namespaced(plane.client(Identity::admin()));
    maps.create(&PostParams::default(), &map("a")).await.expect("created");
    let second = start(kept(folder.path())).await.err().expect("the folder is in use");
    assert!(second.to_string().contains("--data-dir"), "{second}");
    // `maps` is still held: that must not keep the folder busy.
    plane.stop().await;
    assert!(maps.create(&PostParams::default(), &map("b")).await.is_err());
    let plane = start(kept(folder.path())).await.expect("it starts again");
    assert_eq!(plane.ca_pem(), authority);
    let maps: Api<ConfigMap> = Api::default_namespaced(plane.client(Identity::admin()));
    maps.get("a").await.expect("it is still there");
    plane.stop().await;
}

#[tokio::test]
async fn a_port_in_use_names_the_mend() {
    let plane = start(listening()).await.expect("it starts");
    let config = ControlConfig { listen: plane.address(), ..ControlConfig::default() };
    let error = start(config).await.err().expect("refused").to_string();
    assert!(error.contains("in use") && error.contains("--listen"), "{error}");
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn controllers_and_scheduler_run_beside_the_api() {
    let plane =
        ControlPlane::start(ControlConfig::default(), Arc::new(NoNodes), Ambient::real()).await;
    let plane = plane.expect("it starts");
    let accounts: Api<ServiceAccount> = Api::default_namespaced(plane.client(Identity::admin()));
    let appears = async {
        while accounts.get_opt("default").await.expect("an answer").is_none() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), appears).await.expect("a service account");
    plane.stop().await;
}

/// An HTTP/2 connection of the admin's; kube's own client speaks HTTP/1.1 alone.
async fn http2(plane: &ControlPlane) -> http2::SendRequest<Full<Bytes>> {
    let kubeconfig = Kubeconfig::from_yaml(&plane.admin_kubeconfig()).expect("a kubeconfig");
    let options = KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.expect("usable");
    let mut tls = config.rustls_client_config().expect("TLS");
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let address = plane.address().expect("it listens");
    let stream = TcpStream::connect(address).await.expect("it accepts");
    let name = ServerName::from(address.ip());
    let stream =
        TlsConnector::from(Arc::new(tls)).connect(name, stream).await.expect("a handshake");
    let io = TokioIo::new(stream);
    let (requests, connection) =
        http2::handshake(TokioExecutor::new(), io).await.expect("an HTTP/2 connection");
    tokio::spawn(connection);
    requests
}

#[tokio::test]
async fn headers_over_http2_may_be_as_long_as_go_allows() {
    let plane = start(listening()).await.expect("it starts");
    let mut requests = http2(&plane).await;
    let authority = plane.address().expect("it listens");
    let request = http::Request::get(format!("https://{authority}/readyz"))
        .header("x-long", "x".repeat(200 * 1024))
        .body(Full::default());
    let answer = requests.send_request(request.expect("a request")).await.expect("an answer");
    assert_eq!(answer.status(), 200);
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_whose_watch_nobody_reads_is_closed() {
    let patience = Duration::from_secs(1);
    let config = ControlConfig { reader_patience: patience, ..listening() };
    let plane = start(config).await.expect("it starts");
    let maps: Api<ConfigMap> = Api::default_namespaced(plane.client(Identity::admin()));
    // More than the sockets of both sides hold.
    for index in 0..50 {
        let mut map = map(&format!("m{index}"));
        map.data = Some([("k".to_owned(), "v".repeat(500_000))].into());
        maps.create(&PostParams::default(), &map).await.expect("created");
    }
    let admin = client(&plane.admin_kubeconfig()).await;
    let request = http::Request::get("/api/v1/namespaces/default/configmaps?watch=1");
    let request = request.body(kube::client::Body::empty()).expect("a request");
    let mut body = admin.send(request).await.expect("an answer").into_body();
    // Not to read takes its time.
    tokio::time::sleep(patience * 6).await;
    let read = async {
        loop {
            match body.frame().await {
                Some(Ok(_)) => {}
                Some(Err(_)) => return true,
                None => return false,
            }
        }
    };
    let broken = tokio::time::timeout(Duration::from_secs(60), read).await.expect("an end");
    assert!(broken, "the watch came to a good end");
    plane.stop().await;
}
