//! The engine's settings, each default beside its field.

use std::time::Duration;

use crate::kinds::{self, Registry};

/// How the controllers behave.
#[derive(Clone)]
pub struct EngineConfig {
    /// After so long without a heartbeat a node's conditions become Unknown; pods that are bound to
    /// a node that is missing for so long are deleted. Default 40 s.
    pub node_monitor_grace: Duration,
    /// So many finished pods are kept; the oldest beyond go. Default 12,500.
    pub terminated_pods_max: usize,
    /// Where nodes' pod ranges are cut from. Default `10.128.0.0/9`.
    pub cluster_cidr: String,
    /// The prefix length of a node's pod range. Default 17.
    pub node_cidr_mask: u8,
    /// The cluster's CA, published to each namespace as `kube-root-ca.crt`; empty: not published.
    pub ca_pem: String,
    /// The kinds that the garbage collector and the namespace controller look after.
    pub kinds: Registry,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            node_monitor_grace: Duration::from_secs(40),
            terminated_pods_max: 12_500,
            cluster_cidr: "10.128.0.0/9".to_owned(),
            node_cidr_mask: 17,
            ca_pem: String::new(),
            kinds: kinds::registry(),
        }
    }
}
