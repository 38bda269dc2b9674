//! The two halves of a cluster as processes of their own: a control plane, and a node.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use copepod_control::{Ambient, ControlConfig, ControlPlane, StoreConfig};
use copepod_node::{KubeletEndpoint, Network, NetworkConfig, Node, NodeConfig};

use crate::cluster::{ClusterError, Storage, sandboxes, sweep};
use crate::dialer::remote_only;
use crate::kubeconfig::{self, KubeconfigError};

/// A control plane without a node.
pub struct Control(ControlPlane);

impl Control {
    /// Starts the control plane; answers when it is ready.
    pub async fn start(storage: Storage, listen: SocketAddr) -> Result<Self, ClusterError> {
        let (store, data_dir) = match storage {
            Storage::Memory => (StoreConfig::Memory, None),
            Storage::Dir(dir) => {
                std::fs::create_dir_all(&dir).map_err(|source| ClusterError::DataDir {
                    path: dir.display().to_string(),
                    source,
                })?;
                (StoreConfig::Sled { dir: dir.join("store") }, Some(dir))
            }
        };
        let config =
            ControlConfig { store, data_dir, listen: Some(listen), ..ControlConfig::default() };
        Ok(Self(ControlPlane::start(config, remote_only(), Ambient::real()).await?))
    }

    pub fn address(&self) -> Option<SocketAddr> {
        self.0.address()
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> String {
        self.0.admin_kubeconfig()
    }

    /// A kubeconfig that a node of this name can join with.
    pub fn node_kubeconfig(&self, node: &str) -> String {
        self.0.node_kubeconfig(node)
    }

    pub async fn stop(self) {
        self.0.stop().await;
    }
}

/// What a node process is started with.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    pub name: String,
    /// Names the API server, and holds the node's credentials.
    pub kubeconfig: PathBuf,
    pub data_dir: PathBuf,
    /// Where the kubelet API listens; port 0 picks a free one.
    pub kubelet_listen: SocketAddr,
    /// Where NodePorts are opened.
    pub bind_address: IpAddr,
    pub allowed_image_dirs: Vec<PathBuf>,
}

/// Why a node process did not start.
#[derive(Debug, thiserror::Error)]
pub enum NodeProcessError {
    #[error("{0}")]
    Kubeconfig(#[from] KubeconfigError),
    #[error(
        "kubeconfig {path} names no certificate authority; take one that the control plane wrote"
    )]
    NoAuthority { path: String },
    #[error("{0}")]
    Node(#[from] copepod_node::NodeError),
    #[error("{0}")]
    Network(#[from] copepod_node::NetworkError),
    #[error("sandboxes cannot be set up: {0}")]
    Runtime(#[from] copepod_runtime::RuntimeError),
}

/// A node of a cluster whose control plane is elsewhere.
pub struct NodeProcess {
    node: Node,
    network: std::sync::Arc<Network>,
}

impl NodeProcess {
    /// Registers the node and begins to run its pods.
    pub async fn start(options: NodeOptions) -> Result<Self, NodeProcessError> {
        let client = kubeconfig::client_as(&options.kubeconfig, "kubelet").await?;
        let ca_pem = authority(&options)?;
        let runtime = sandboxes(&options.data_dir)?;
        let network = Network::start(
            NetworkConfig { bind_address: options.bind_address, ..NetworkConfig::default() },
            client.clone(),
        )?;
        let config = NodeConfig {
            allowed_image_dirs: options.allowed_image_dirs,
            host_ip: options.kubelet_listen.ip(),
            kubelet: KubeletEndpoint::Listen { addr: options.kubelet_listen, ca_pem },
            ..NodeConfig::new(&options.name, options.data_dir)
        };
        let node = Node::start(config, client, runtime.clone(), network.clone()).await?;
        sweep(runtime, node.image_digests());
        Ok(Self { node, network })
    }

    pub async fn stop(self) {
        futures::future::join(self.network.stop(), self.node.stop()).await;
    }
}

/// The cluster's CA, which the kubelet API demands its callers' certificates from.
fn authority(options: &NodeOptions) -> Result<String, NodeProcessError> {
    let path = options.kubeconfig.display().to_string();
    let kubeconfig = kube::config::Kubeconfig::read_from(&options.kubeconfig)
        .map_err(|source| KubeconfigError::Unusable { path: path.clone(), source })?;
    kubeconfig
        .clusters
        .iter()
        .filter_map(|cluster| cluster.cluster.as_ref()?.certificate_authority_data.as_ref())
        .find_map(|data| {
            let der = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, data);
            String::from_utf8(der.ok()?).ok()
        })
        .ok_or(NodeProcessError::NoAuthority { path })
}
