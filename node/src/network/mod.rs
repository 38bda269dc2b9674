//! The network of a process: one switch, the routing table, and the doors from real sockets.
//!
//! [`Network`] watches Services and EndpointSlices through a client, keeps the [`Index`] true, and
//! answers the sandboxes' questions as their [`Outside`]. Nodes of one process share it. Which
//! address a connection goes to is decided in `index` alone; `doors` opens NodePorts.

mod doors;
mod index;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use copepod_runtime::{Outside, Protocol as Carrier, Route, Switch};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, ResourceExt};
use parking_lot::RwLock;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use index::{Answer, Decision, Index, PodIdentity, Protocol, ServicePorts};

/// An ExternalName may point at another, so many times.
const ALIASES_MAX: usize = 8;
/// How the host's resolver words EAI_NONAME and EAI_NODATA.
const NO_SUCH_NAME: [&str; 2] = ["Name or service not known", "No address associated"];

/// What a network is started with.
#[derive(Clone, Debug)]
pub struct NetworkConfig {
    /// Where NodePorts are opened.
    pub bind_address: IpAddr,
    /// The cluster's DNS domain.
    pub cluster_domain: String,
    /// The addresses of pods. One that is not attached to the switch is unreachable, never dialled.
    pub cluster_cidr: Cidr,
    /// How long open connections may go on when the network stops.
    pub drain: Duration,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self {
            bind_address: IpAddr::from([127, 0, 0, 1]),
            cluster_domain: "cluster.local".to_owned(),
            cluster_cidr: Cidr { address: [10, 128, 0, 0].into(), prefix: 9 },
            drain: Duration::from_secs(10),
        }
    }
}

/// A block of IPv4 addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    pub address: std::net::Ipv4Addr,
    pub prefix: u8,
}

impl Cidr {
    /// Parses the form `10.128.0.0/9`.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/')?;
        let prefix = prefix.parse().ok().filter(|prefix| *prefix <= 32)?;
        Some(Self { address: address.parse().ok()?, prefix })
    }

    pub fn contains(&self, ip: IpAddr) -> bool {
        let IpAddr::V4(ip) = ip else { return false };
        let mask = u32::MAX.checked_shl(u32::from(32 - self.prefix)).unwrap_or(0);
        u32::from(ip) & mask == u32::from(self.address) & mask
    }
}

/// See the module's documentation.
pub struct Network {
    config: NetworkConfig,
    switch: Arc<Switch>,
    index: RwLock<Index>,
    /// Told after every change of the index, so that doors open and close.
    changed: watch::Sender<()>,
    /// Whether all Services were listed once.
    listed: watch::Sender<bool>,
    stop: CancellationToken,
    tasks: tokio_util::task::TaskTracker,
}

/// Why a network could not be started.
#[derive(Debug, thiserror::Error)]
#[error(
    "NodePorts cannot be opened on {address}: {source}; give --bind-address an address of this machine"
)]
pub struct NetworkError {
    address: IpAddr,
    source: io::Error,
}

impl Network {
    /// Begins to watch and to open doors; does not wait for the first list.
    pub fn start(config: NetworkConfig, client: kube::Client) -> Result<Arc<Self>, NetworkError> {
        let address = config.bind_address;
        // Any free port tells whether the address is this machine's.
        std::net::TcpListener::bind((address, 0))
            .map_err(|source| NetworkError { address, source })?;
        let network = Arc::new(Self {
            index: RwLock::new(Index::new(&config.cluster_domain)),
            config,
            switch: Switch::new(),
            changed: watch::Sender::new(()),
            listed: watch::Sender::new(false),
            stop: CancellationToken::new(),
            tasks: tokio_util::task::TaskTracker::new(),
        });
        network.spawn(watch_services(network.clone(), client.clone()));
        network.spawn(watch_slices(network.clone(), client.clone()));
        network.tasks.spawn(doors::keep(network.clone(), client));
        Ok(network)
    }

    /// The cluster's DNS domain.
    pub fn cluster_domain(&self) -> &str {
        self.config.cluster_domain.trim_matches('.')
    }

    pub fn switch(&self) -> &Arc<Switch> {
        &self.switch
    }

    /// This network as the sandboxes ask it.
    pub fn outside(self: &Arc<Self>) -> Arc<dyn Outside> {
        self.clone()
    }

    /// A pod on this machine got `ip`.
    pub fn attach_pod(&self, ip: IpAddr, pod: PodIdentity) {
        self.index.write().attach_pod(ip, pod);
    }

    /// A pod on this machine begins to end: from now on a new connection is routed to it only where
    /// nobody else would take it.
    pub fn withdraw_pod(&self, ip: IpAddr) {
        self.index.write().withdraw_pod(ip);
    }

    /// A pod on this machine is about to close its listeners: no new connection is routed to it.
    pub fn close_pod(&self, ip: IpAddr) {
        self.index.write().close_pod(ip);
        self.changed.send_replace(());
    }

    /// The pod at `ip` is gone.
    pub fn detach_pod(&self, ip: IpAddr) {
        self.index.write().detach_pod(ip);
    }

    /// Whether `ip` is that of a pod on this machine, of this namespace and name.
    pub fn is_of_pod(&self, ip: IpAddr, namespace: &str, name: &str) -> bool {
        let index = self.index.read();
        index.pod(ip).is_some_and(|pod| pod.namespace == namespace && pod.name == name)
    }

    /// Waits until no slice calls `ip` ready any more. What says so was written by somebody who had
    /// seen every pod that became ready before this one began to end: its successors are known here
    /// then.
    pub async fn unlisted(&self, ip: IpAddr) {
        let mut changed = self.changed.subscribe();
        while self.index.read().is_listed(ip) {
            if changed.changed().await.is_err() {
                return;
            }
        }
    }

    /// Waits until the Services were listed once: before, no environment can tell of them.
    pub async fn services_listed(&self) {
        // The sender lives in `self`: the channel cannot close first.
        let mut listed = self.listed.subscribe();
        let _ = listed.wait_for(|listed| *listed).await;
    }

    /// The ClusterIP Services of a namespace with their ports, for the environment of its pods.
    pub fn services_in(&self, namespace: &str) -> Vec<ServicePorts> {
        self.index.read().services_in(namespace)
    }

    /// Closes the doors and lets open connections end within the configured time.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(self.config.drain, self.tasks.wait()).await.is_err() {
            tracing::warn!("connections were still open when the network stopped");
        }
    }

    /// Runs a task until the network stops.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = task => {}
            }
        });
    }

    /// An address that is not a Service's: a pod's on this machine, or one outside.
    fn beyond_services(&self, to: SocketAddr) -> Route {
        if self.switch.attached(to.ip()) {
            Route::Switch(to)
        } else if self.config.cluster_cidr.contains(to.ip()) {
            Route::Unreachable
        } else {
            Route::Host(to)
        }
    }

    fn way(&self, decision: Decision, to: SocketAddr) -> Route {
        match decision {
            Decision::Endpoint(endpoint) => self.beyond_services(endpoint),
            // kube-proxy rejects both alike.
            Decision::NoEndpoints | Decision::NoSuchPort => Route::Refused,
            Decision::NotAService => self.beyond_services(to),
        }
    }

    /// Where a connection through a NodePort goes: the endpoint, and the way to it. `None` where
    /// nobody is left but those that were tried.
    fn route_node_port(
        &self,
        client: IpAddr,
        node_port: u16,
        tried: &[SocketAddr],
    ) -> Option<(SocketAddr, Route)> {
        let now = Instant::now();
        let decision =
            self.index.read().route_node_port(client, node_port, Protocol::Tcp, tried, now);
        match decision {
            Decision::Endpoint(endpoint) => Some((endpoint, self.beyond_services(endpoint))),
            Decision::NoEndpoints | Decision::NoSuchPort | Decision::NotAService => None,
        }
    }
}

#[async_trait]
impl Outside for Network {
    async fn resolve(&self, from: IpAddr, name: &str) -> io::Result<Vec<IpAddr>> {
        if let Some(own) = self.index.read().own_host(from, name) {
            return Ok(own);
        }
        let mut name = name.to_owned();
        for _ in 0..ALIASES_MAX {
            let answer = {
                let index = self.index.read();
                let namespace = index.pod(from).map(|pod| pod.namespace.clone());
                index.resolve(namespace.as_deref(), &name)
            };
            match answer {
                Answer::Addresses(addresses) => return Ok(addresses),
                Answer::NoSuchName => return Err(no_such_name(&name)),
                Answer::Alias(alias) => name = alias,
                Answer::Outside => return look_up_outside(&name).await,
            }
        }
        Err(no_such_name(&name))
    }

    fn route(&self, from: SocketAddr, to: SocketAddr, protocol: Carrier) -> Route {
        let protocol = match protocol {
            Carrier::Tcp => Protocol::Tcp,
            Carrier::Udp => Protocol::Udp,
        };
        let decision = self.index.read().route(from, to, protocol, Instant::now());
        self.way(decision, to)
    }
}

fn no_such_name(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("no such name: {name}"))
}

async fn look_up_outside(name: &str) -> io::Result<Vec<IpAddr>> {
    match tokio::net::lookup_host((name, 0)).await {
        Ok(found) => Ok(found.map(|address| address.ip()).collect()),
        // The resolver's verdict has no kind of its own in `std`.
        Err(error) if NO_SUCH_NAME.iter().any(|said| error.to_string().contains(said)) => {
            Err(no_such_name(name))
        }
        Err(error) => Err(error),
    }
}

async fn watch_services(network: Arc<Network>, client: kube::Client) {
    let events = watcher(Api::<Service>::all(client), watcher::Config::default());
    follow(events, "services", |event| {
        let mut index = network.index.write();
        match event {
            Change::Applied(service) => index.apply_service(&service),
            Change::Gone(namespace, name) => index.delete_service(&namespace, &name),
            Change::Listed => {
                network.listed.send_if_modified(|listed| !std::mem::replace(listed, true));
            }
        }
        drop(index);
        network.changed.send_replace(());
    })
    .await;
}

async fn watch_slices(network: Arc<Network>, client: kube::Client) {
    let events = watcher(Api::<EndpointSlice>::all(client), watcher::Config::default());
    follow(events, "endpointslices", |event| {
        let mut index = network.index.write();
        match event {
            Change::Applied(slice) => index.apply_slice(&slice),
            Change::Gone(namespace, name) => index.delete_slice(&namespace, &name),
            Change::Listed => {}
        }
        drop(index);
        network.changed.send_replace(());
    })
    .await;
}

/// One change of a watched object.
enum Change<K> {
    Applied(K),
    /// Namespace and name.
    Gone(String, String),
    /// All that there is was applied.
    Listed,
}

/// Turns a watch into changes; after a new list, what it no longer holds is gone. Runs until dropped.
async fn follow<K>(
    events: impl futures::Stream<Item = Result<Event<K>, watcher::Error>>,
    what: &str,
    mut apply: impl FnMut(Change<K>),
) where
    K: kube::Resource,
{
    use std::collections::HashSet;
    let identity = |object: &K| (object.namespace().unwrap_or_default(), object.name_any());
    let mut known: HashSet<(String, String)> = HashSet::new();
    let mut relisted: HashSet<(String, String)> = HashSet::new();
    let mut backoff = tokio::time::interval(Duration::from_millis(500));
    backoff.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut events = std::pin::pin!(events.into_stream());
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => relisted.clear(),
            Ok(Event::InitApply(object)) => {
                relisted.insert(identity(&object));
                apply(Change::Applied(object));
            }
            Ok(Event::InitDone) => {
                for (namespace, name) in known.difference(&relisted) {
                    apply(Change::Gone(namespace.clone(), name.clone()));
                }
                known = std::mem::take(&mut relisted);
                apply(Change::Listed);
            }
            Ok(Event::Apply(object)) => {
                known.insert(identity(&object));
                apply(Change::Applied(object));
            }
            Ok(Event::Delete(object)) => {
                let (namespace, name) = identity(&object);
                known.remove(&(namespace.clone(), name.clone()));
                apply(Change::Gone(namespace, name));
            }
            Err(error) => {
                tracing::debug!(%error, what, "watch broken; it begins again");
                backoff.tick().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Cidr;

    #[test]
    fn a_cidr_contains_its_block_alone() {
        let cidr = Cidr::parse("10.128.0.0/9").expect("a CIDR");
        for (ip, inside) in
            [("10.128.0.1", true), ("10.255.255.255", true), ("10.127.0.1", false), ("::1", false)]
        {
            assert_eq!(cidr.contains(ip.parse().expect("an address")), inside, "{ip}");
        }
        assert_eq!(Cidr::parse("10.0.0.0/33"), None);
        assert_eq!(Cidr::parse("10.0.0.0"), None);
    }
}
