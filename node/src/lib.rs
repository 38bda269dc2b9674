//! The kubelet: it runs the pods that are bound to this node as WebAssembly sandboxes.
//!
//! A node meets the control plane at the Kubernetes API alone, through a `kube::Client`, so it runs
//! pods under any API server. The walk: a watch feeds `pods/machine`, whose effects make
//! `volumes`, get `images` ready and start containers in `copepod_runtime`; `pods/status` tells the
//! API. `network` routes Services in user space; `server` is the kubelet API; `node` registers,
//! renews the lease and holds everything together.

mod ambient;
mod config;
mod events;
mod images;
mod ipam;
pub mod network;
mod node;
mod objects;
mod outage;
mod pods;
mod probes;
mod quantity;
mod server;
mod tls;
mod volumes;

pub use ambient::{Ambient, Clock};
pub use config::{Capacity, KUBELET_PORT, KubeletEndpoint, NodeConfig};
pub use ipam::IpamError;
pub use network::{Network, NetworkConfig, NetworkError};
pub use node::{Node, NodeError};
pub use pods::backoff::BackoffPolicy;
pub use server::{IMAGE_LIMIT, Kubelet, KubeletBody};
pub use tls::TlsError;
