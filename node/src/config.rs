//! The settings of a node, parsed once by whoever starts it; each default stands beside its field.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::ambient::Ambient;
use crate::pods::backoff::BackoffPolicy;

/// The port a kubelet answers on upstream; the one announced where none is listened on.
pub const KUBELET_PORT: u16 = 10250;

/// Everything that a node is told at its start.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// The name of the Node object.
    pub name: String,
    /// Images, volumes and logs. Belongs to this node alone.
    pub data_dir: PathBuf,
    /// Labels added to those that every node carries. Default: none.
    pub labels: BTreeMap<String, String>,
    /// What the node offers. Default: the machine's.
    pub capacity: Capacity,
    /// Folders that `file://` images may come from. Default: none.
    pub allowed_image_dirs: Vec<PathBuf>,
    /// The node's InternalIP. Default: 127.0.0.1.
    pub host_ip: IpAddr,
    /// Where the kubelet API answers. Default: in memory.
    pub kubelet: KubeletEndpoint,
    /// How long the lease is good for. Default: 40 s.
    pub lease_duration: Duration,
    /// How often the lease is renewed. Default: 10 s.
    pub renew_every: Duration,
    /// How often an unchanged node status is written all the same. Default: 5 min.
    pub status_every: Duration,
    /// How often ConfigMaps and Secrets of running pods are looked at again. Default: 10 s.
    pub resync_every: Duration,
    /// How long open requests may go on when the node stops. Default: 10 s.
    pub drain: Duration,
    /// Waits before a container is started again. Default: 10 s, doubled up to 300 s.
    pub restart_backoff: BackoffPolicy,
    /// Waits before an image is looked for again. Default: 10 s, doubled up to 300 s.
    pub image_backoff: BackoffPolicy,
    /// Waits before volumes and environments are tried again. Default: 1 s, doubled up to 30 s.
    pub retry_backoff: BackoffPolicy,
    /// The clock and the spawner.
    pub ambient: Ambient,
}

impl NodeConfig {
    /// The defaults for a node of this name with its data in `data_dir`.
    pub fn new(name: impl Into<String>, data_dir: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            data_dir: data_dir.into(),
            labels: BTreeMap::new(),
            capacity: Capacity::default(),
            allowed_image_dirs: Vec::new(),
            host_ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            kubelet: KubeletEndpoint::InMemory,
            lease_duration: Duration::from_secs(40),
            renew_every: Duration::from_secs(10),
            status_every: Duration::from_secs(300),
            resync_every: Duration::from_secs(10),
            drain: Duration::from_secs(10),
            restart_backoff: BackoffPolicy::RESTART,
            image_backoff: BackoffPolicy::RESTART,
            retry_backoff: BackoffPolicy::RETRY,
            ambient: Ambient::default(),
        }
    }
}

/// What a node offers to the scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    pub cpu_millis: u64,
    pub memory_bytes: u64,
    pub pods: u32,
    pub ephemeral_storage_bytes: u64,
}

impl Default for Capacity {
    /// The machine's processors and memory, and 10,000 pods.
    fn default() -> Self {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from) as u64;
        Self {
            cpu_millis: cpus * 1000,
            memory_bytes: machine_memory().unwrap_or(4 << 30),
            pods: 10_000,
            ephemeral_storage_bytes: 100 << 30,
        }
    }
}

fn machine_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

/// Where the kubelet API answers.
#[derive(Clone, Debug)]
pub enum KubeletEndpoint {
    /// Only through [`crate::Node::kubelet`], by whoever holds the node in the same process.
    InMemory,
    /// TLS with a certificate of the node's own making, whose digest stands in the Node's
    /// annotations; clients must present a certificate of `ca_pem`.
    Listen { addr: SocketAddr, ca_pem: String },
}
