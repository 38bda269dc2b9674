//! A cluster in this process: a control plane, a network, and nodes.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use copepod_control::{Ambient, ControlConfig, ControlPlane, Identity, StoreConfig};
use copepod_node::{BackoffPolicy, Network, NetworkConfig, Node, NodeConfig};
use copepod_runtime::{Runtime, RuntimeConfig, RuntimeError, Val};
use parking_lot::Mutex;
use tempfile::TempDir;

use crate::dialer::Dialer;
use crate::{images, wait};

/// Where a cluster keeps its objects, images, volumes and logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Storage {
    /// Objects in memory, the rest in a temporary folder: all gone when the cluster stops.
    Memory,
    /// On disk, and there again at the next start.
    Dir(PathBuf),
}

/// Why a cluster could not be started or used.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    #[error("{0}")]
    Control(#[from] copepod_control::StartError),
    #[error("{0}")]
    Node(#[from] copepod_node::NodeError),
    #[error("{0}")]
    Network(#[from] copepod_node::NetworkError),
    #[error("sandboxes cannot be set up: {0}")]
    Runtime(#[from] RuntimeError),
    #[error("data folder {path} cannot be written: {source}; choose another with --data-dir")]
    DataDir { path: String, source: std::io::Error },
    #[error("there is no node {0:?} in this process")]
    NoSuchNode(String),
    #[error("node {node} did not become ready within {seconds} s")]
    NotReady { node: String, seconds: u64 },
    #[error("{0}")]
    Image(#[from] images::ImageError),
    #[error("no container {name} runs on a node of this process")]
    NoSuchContainer { name: String },
    #[error("{0}")]
    Call(#[from] copepod_runtime::CallError),
}

/// The address of a container, for [`Cluster::call`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContainerName<'a> {
    pub namespace: &'a str,
    pub pod: &'a str,
    pub container: &'a str,
}

/// Every setting of a cluster, each with its default.
#[derive(Clone)]
pub struct ClusterBuilder {
    nodes: usize,
    storage: Storage,
    listen: Option<SocketAddr>,
    bind_address: IpAddr,
    node_name: String,
    node_monitor_grace: Duration,
    default_toleration: Duration,
    lease_renewal: Duration,
    restart_backoff: Duration,
    allowed_image_dirs: Vec<PathBuf>,
    drain: Duration,
    runtime: Option<Arc<Runtime>>,
}

impl Default for ClusterBuilder {
    fn default() -> Self {
        Self {
            nodes: 1,
            storage: Storage::Memory,
            listen: None,
            bind_address: IpAddr::from([127, 0, 0, 1]),
            node_name: "node".to_owned(),
            node_monitor_grace: Duration::from_secs(40),
            default_toleration: Duration::from_secs(300),
            lease_renewal: Duration::from_secs(10),
            restart_backoff: Duration::from_secs(10),
            allowed_image_dirs: Vec::new(),
            drain: Duration::from_secs(10),
            runtime: None,
        }
    }
}

impl ClusterBuilder {
    /// So many nodes in this process, named `node-0`, `node-1`, … Default 1.
    #[must_use]
    pub fn nodes(mut self, nodes: usize) -> Self {
        self.nodes = nodes;
        self
    }

    /// Keep everything in `dir`, durably. Default: memory.
    #[must_use]
    pub fn data_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.storage = Storage::Dir(dir.into());
        self
    }

    /// Keep objects in memory, and all else in a folder that goes with the cluster. The default.
    #[must_use]
    pub fn memory(mut self) -> Self {
        self.storage = Storage::Memory;
        self
    }

    /// Serve the HTTPS API on a real socket too; port 0 picks a free one. Default: no socket.
    #[must_use]
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = Some(address);
        self
    }

    /// Where NodePorts are opened. Default 127.0.0.1.
    #[must_use]
    pub fn bind_address(mut self, address: IpAddr) -> Self {
        self.bind_address = address;
        self
    }

    /// How long a silent node counts as ready. Default 40 s.
    #[must_use]
    pub fn node_monitor_grace(mut self, grace: Duration) -> Self {
        self.node_monitor_grace = grace;
        self
    }

    /// How long pods stay on a lost node unless they say otherwise. Default 300 s.
    #[must_use]
    pub fn default_toleration(mut self, toleration: Duration) -> Self {
        self.default_toleration = toleration;
        self
    }

    /// How often nodes renew their leases. Default 10 s.
    #[must_use]
    pub fn lease_renewal(mut self, every: Duration) -> Self {
        self.lease_renewal = every;
        self
    }

    /// The first pause before a failed container is restarted; it doubles. Default 10 s.
    #[must_use]
    pub fn restart_backoff(mut self, first: Duration) -> Self {
        self.restart_backoff = first;
        self
    }

    /// A folder that `file://` images may come from. Default: none.
    #[must_use]
    pub fn allow_images_in(mut self, dir: impl Into<PathBuf>) -> Self {
        self.allowed_image_dirs.push(dir.into());
        self
    }

    /// How long open connections and requests may go on when the cluster stops. Default 10 s.
    #[must_use]
    pub fn drain(mut self, drain: Duration) -> Self {
        self.drain = drain;
        self
    }

    /// Share these sandboxes' engines with other clusters of the process: compiled code is shared,
    /// and the address space that a pool of sandboxes reserves is reserved once. Default: its own.
    #[must_use]
    pub fn runtime(mut self, runtime: Arc<Runtime>) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// Starts the cluster; answers when the API is up and every node is ready.
    pub async fn start(self) -> Result<Cluster, ClusterError> {
        Cluster::start(self).await
    }
}

/// A running cluster. Stop it with [`Cluster::stop`]; dropping it kills it.
pub struct Cluster {
    control: ControlPlane,
    dialer: Arc<Dialer>,
    network: Arc<Network>,
    nodes: Mutex<Vec<(String, Node)>>,
    /// Removed with the cluster where storage is memory.
    temporary: Option<TempDir>,
}

impl Cluster {
    pub fn builder() -> ClusterBuilder {
        ClusterBuilder::default()
    }

    async fn start(settings: ClusterBuilder) -> Result<Self, ClusterError> {
        let (dir, temporary) = folder(&settings.storage)?;
        let dialer = Arc::new(Dialer::default());
        let control =
            ControlPlane::start(control_config(&settings, &dir), dialer.clone(), Ambient::real())
                .await?;
        let runtime = match settings.runtime.clone() {
            Some(runtime) => runtime,
            None => sandboxes(&dir)?,
        };
        let network = Network::start(
            NetworkConfig {
                bind_address: settings.bind_address,
                drain: settings.drain,
                ..NetworkConfig::default()
            },
            control.client(Identity::component("copepod-network")),
        )?;
        let cluster = Self { control, dialer, network, nodes: Mutex::default(), temporary };
        for number in 0..settings.nodes {
            let name = format!("{}-{number}", settings.node_name);
            cluster.start_node(&settings, &dir, &name, runtime.clone()).await?;
        }
        // What others share, others may still need.
        if settings.runtime.is_none() {
            let nodes = cluster.nodes.lock();
            sweep(runtime, nodes.iter().flat_map(|(_, node)| node.image_digests()).collect());
        }
        cluster.wait_for_nodes().await?;
        Ok(cluster)
    }

    async fn start_node(
        &self,
        settings: &ClusterBuilder,
        dir: &Path,
        name: &str,
        runtime: Arc<Runtime>,
    ) -> Result<(), ClusterError> {
        let config = NodeConfig {
            allowed_image_dirs: settings.allowed_image_dirs.clone(),
            renew_every: settings.lease_renewal,
            restart_backoff: BackoffPolicy {
                initial: settings.restart_backoff,
                ..BackoffPolicy::RESTART
            },
            drain: settings.drain,
            ..NodeConfig::new(name, dir.join("nodes").join(name))
        };
        let client = self.control.client(Identity::node(name));
        let node = Node::start(config, client, runtime, self.network.clone()).await?;
        self.dialer.add(name, node.kubelet());
        self.nodes.lock().push((name.to_owned(), node));
        Ok(())
    }

    async fn wait_for_nodes(&self) -> Result<(), ClusterError> {
        const PATIENCE: Duration = Duration::from_secs(60);
        for node in self.node_names() {
            wait::node_ready(&self.client(), &node, PATIENCE)
                .await
                .map_err(|_| ClusterError::NotReady { node, seconds: PATIENCE.as_secs() })?;
        }
        Ok(())
    }

    /// A client with the administrator's rights, without a socket.
    pub fn client(&self) -> kube::Client {
        self.control.client(Identity::admin())
    }

    /// Where the HTTPS API listens, if it does.
    pub fn address(&self) -> Option<SocketAddr> {
        self.control.address()
    }

    /// The administrator's kubeconfig, for programs outside. Only with [`ClusterBuilder::listen`].
    pub fn kubeconfig(&self) -> String {
        self.control.admin_kubeconfig()
    }

    /// A kubeconfig for `copepod node` as another process.
    pub fn node_kubeconfig(&self, node: &str) -> String {
        self.control.node_kubeconfig(node)
    }

    /// The nodes of this process that still live.
    pub fn node_names(&self) -> Vec<String> {
        self.nodes.lock().iter().map(|(name, _)| name.clone()).collect()
    }

    /// Puts a Wasm binary onto every node, for pods to name as their image.
    pub async fn import_image(
        &self,
        reference: &str,
        wasm: impl Into<Bytes>,
    ) -> Result<images::Imported, ClusterError> {
        Ok(images::import(&self.client(), reference, wasm.into()).await?)
    }

    /// Calls a function that a container's component exports, in a fresh instance; `interface` is `None` for a
    /// function outside of any. The pod must run on a node of this process. The container's bounds of requests hold.
    pub async fn call(
        &self,
        container: &ContainerName<'_>,
        interface: Option<&str>,
        function: &str,
        arguments: &[Val],
    ) -> Result<Vec<Val>, ClusterError> {
        let ContainerName { namespace, pod, container } = *container;
        let asked = {
            let nodes = self.nodes.lock();
            let ask = |(_, node): &(String, Node)| node.find(namespace, pod, container);
            nodes.iter().map(ask).collect::<Vec<_>>()
        };
        let found = futures::future::join_all(asked).await.into_iter().flatten().next();
        let found = found.ok_or_else(|| ClusterError::NoSuchContainer {
            name: format!("{namespace}/{pod}/{container}"),
        })?;
        Ok(found.call(interface, function, arguments).await?)
    }

    /// Makes a node vanish without goodbye, as a power cut would.
    pub fn kill_node(&self, name: &str) -> Result<(), ClusterError> {
        let mut nodes = self.nodes.lock();
        let place = nodes
            .iter()
            .position(|(node, _)| node == name)
            .ok_or_else(|| ClusterError::NoSuchNode(name.to_owned()))?;
        let (_, node) = nodes.remove(place);
        drop(nodes);
        self.dialer.remove(name);
        node.kill();
        Ok(())
    }

    /// Drains connections, stops pods and the control plane; the objects stay.
    pub async fn stop(self) {
        let nodes = std::mem::take(&mut *self.nodes.lock());
        let network = self.network.stop();
        let pods = futures::future::join_all(nodes.into_iter().map(|(_, node)| node.stop()));
        futures::future::join(network, pods).await;
        self.control.stop().await;
        drop(self.temporary);
    }
}

/// Sandboxes whose compiled code is kept in a data folder.
pub(crate) fn sandboxes(data_dir: &Path) -> Result<Arc<Runtime>, RuntimeError> {
    Runtime::new(RuntimeConfig {
        cache_dir: Some(data_dir.join("compiled")),
        ..RuntimeConfig::default()
    })
}

/// Lets go of compiled code that no image of these digests needs, beside all else. The nodes hold the lock of the data
/// folder by now.
pub(crate) fn sweep(runtime: Arc<Runtime>, digests: Vec<String>) {
    tokio::task::spawn_blocking(move || runtime.sweep(digests.iter().map(String::as_str)));
}

fn folder(storage: &Storage) -> Result<(PathBuf, Option<TempDir>), ClusterError> {
    let fails =
        |path: &Path, source| ClusterError::DataDir { path: path.display().to_string(), source };
    match storage {
        Storage::Dir(dir) => {
            std::fs::create_dir_all(dir).map_err(|source| fails(dir, source))?;
            Ok((dir.clone(), None))
        }
        Storage::Memory => {
            let dir = tempfile::Builder::new()
                .prefix("copepod-")
                .tempdir()
                .map_err(|source| fails(&std::env::temp_dir(), source))?;
            Ok((dir.path().to_owned(), Some(dir)))
        }
    }
}

fn control_config(settings: &ClusterBuilder, dir: &Path) -> ControlConfig {
    let (store, data_dir) = match &settings.storage {
        Storage::Memory => (StoreConfig::Memory, None),
        Storage::Dir(_) => (StoreConfig::Sled { dir: dir.join("store") }, Some(dir.to_owned())),
    };
    ControlConfig {
        store,
        data_dir,
        listen: settings.listen,
        node_monitor_grace: settings.node_monitor_grace,
        default_toleration: settings.default_toleration,
        ..ControlConfig::default()
    }
}
