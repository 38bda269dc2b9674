//! What a control plane is started with. Parsed at the edge; nobody deeper reads the environment.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// Where objects are kept.
#[derive(Clone, Debug)]
pub enum StoreConfig {
    /// Nowhere but in memory.
    Memory,
    /// In this folder, durably.
    Sled { dir: PathBuf },
}

#[derive(Clone, Debug)]
pub struct ControlConfig {
    pub store: StoreConfig,
    /// For the certificate authority; `None` keeps it in memory.
    pub data_dir: Option<PathBuf>,
    /// Where HTTPS is served; `None` serves clients in this process only.
    pub listen: Option<SocketAddr>,
    /// ClusterIPs come from here; its first address is the API's own Service.
    pub service_cidr: String,
    /// Pod addresses come from here, split among the nodes.
    pub cluster_cidr: String,
    /// The prefix length of a node's share of `cluster_cidr`.
    pub node_cidr_mask: u8,
    pub node_port_range: RangeInclusive<u16>,
    /// A node that has not renewed for so long is not ready.
    pub node_monitor_grace: Duration,
    /// How long a pod stays on a node that is not ready, unless it says so itself.
    pub default_toleration: Duration,
    /// History older than this is forgotten: older watches and continued lists answer 410.
    pub history: Duration,
    /// How long open requests may take when the control plane stops.
    pub drain: Duration,
    /// A watcher that leaves what it was sent unread for so long is cut.
    pub reader_patience: Duration,
}

impl Default for ControlConfig {
    fn default() -> Self {
        Self {
            store: StoreConfig::Memory,
            data_dir: None,
            listen: None,
            service_cidr: "10.96.0.0/12".to_owned(),
            cluster_cidr: "10.128.0.0/9".to_owned(),
            // A node may have 10,000 pods.
            node_cidr_mask: 17,
            node_port_range: 30000..=32767,
            node_monitor_grace: Duration::from_secs(40),
            default_toleration: Duration::from_secs(300),
            history: Duration::from_secs(300),
            drain: Duration::from_secs(10),
            reader_patience: Duration::from_secs(60),
        }
    }
}
