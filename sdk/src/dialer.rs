//! How the control plane reaches nodes: in memory where they live in this process, else by TCP.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use copepod_control::{Io, NodeDialer};
use copepod_node::Kubelet;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use parking_lot::RwLock;

/// What a node's in-memory connection buffers in each direction.
const BUFFER: usize = 64 * 1024;

/// The nodes of this process by name.
#[derive(Default)]
pub(crate) struct Dialer {
    nodes: RwLock<HashMap<String, Kubelet>>,
}

impl Dialer {
    pub(crate) fn add(&self, node: &str, kubelet: Kubelet) {
        self.nodes.write().insert(node.to_owned(), kubelet);
    }

    pub(crate) fn remove(&self, node: &str) {
        self.nodes.write().remove(node);
    }
}

#[async_trait]
impl NodeDialer for Dialer {
    async fn connect(&self, node: &str, ip: IpAddr, port: u16) -> io::Result<Box<dyn Io>> {
        let kubelet = self.nodes.read().get(node).cloned();
        match kubelet {
            Some(kubelet) => Ok(Box::new(serve_in_memory(kubelet))),
            None => Ok(Box::new(tokio::net::TcpStream::connect((ip, port)).await?)),
        }
    }
}

/// A connection whose far end serves the kubelet API.
fn serve_in_memory(kubelet: Kubelet) -> tokio::io::DuplexStream {
    let (near, far) = tokio::io::duplex(BUFFER);
    tokio::spawn(async move {
        let service = TowerToHyperService::new(kubelet);
        let server = auto::Builder::new(TokioExecutor::new());
        let connection = server.serve_connection_with_upgrades(TokioIo::new(far), service);
        if let Err(error) = connection.await {
            tracing::debug!(%error, "in-memory kubelet connection ended");
        }
    });
    near
}

/// A dialer without nodes in this process.
pub(crate) fn remote_only() -> Arc<Dialer> {
    Arc::default()
}
