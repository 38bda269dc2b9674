//! The control plane as one thing that starts and stops.
//!
//! `start` opens the store, fills the caches, makes the certificates, puts the system's own objects
//! in place (`bootstrap`), starts controllers and scheduler (`components`) and serves HTTPS
//! (`listener`). What a client in this process gets is the same service without the socket.

mod api_services;
mod bootstrap;
mod components;
mod error;
mod listener;
#[cfg(test)]
mod tests;
mod tls;

pub use error::StartError;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

use axum::Router;
use tokio_util::sync::CancellationToken;

use crate::admission::Surroundings;
use crate::ambient::Ambient;
use crate::api::{self, Api, NodeDialer, kubelet::Kubelets};
use crate::auth::pki::Authority;
use crate::auth::tokens::{ISSUER, Tokens};
use crate::auth::{Identity, MASTERS, kubeconfig};
use crate::cache::Caches;
use crate::config::{ControlConfig, StoreConfig};
use crate::kinds;
use crate::store::{self, Store, memory, sled};

use components::Components;
use listener::Listener;

/// A running control plane. Dropped without `stop`, it ends without draining.
pub struct ControlPlane {
    router: Router,
    authority: Arc<Authority>,
    admin_kubeconfig: String,
    server_url: String,
    address: Option<SocketAddr>,
    listener: Option<Listener>,
    components: Components,
    store: Arc<dyn Store>,
    stopping: CancellationToken,
}

impl ControlPlane {
    /// Returns when `/readyz` would answer ok.
    pub async fn start(
        config: ControlConfig,
        dialer: Arc<dyn NodeDialer>,
        ambient: Ambient,
    ) -> Result<Self, StartError> {
        Self::start_with(config, dialer, ambient, Components::start).await
    }

    /// The API server without controllers and scheduler: nothing happens but what is asked for.
    #[cfg(test)]
    pub(crate) async fn start_bare(
        config: ControlConfig,
        dialer: Arc<dyn NodeDialer>,
        ambient: Ambient,
    ) -> Result<Self, StartError> {
        Self::start_with(config, dialer, ambient, |_| Components::default()).await
    }

    async fn start_with(
        config: ControlConfig,
        dialer: Arc<dyn NodeDialer>,
        ambient: Ambient,
        components: impl FnOnce(components::Surroundings<'_>) -> Components,
    ) -> Result<Self, StartError> {
        let service_ip = bootstrap::first_service_ip(&config.service_cidr)?;
        let authority = Arc::new(match &config.data_dir {
            Some(folder) => Authority::in_folder(folder)?,
            None => Authority::in_memory()?,
        });
        // Before the store: a port in use is the commonest mistake, and the cheapest to find.
        let socket = match config.listen {
            Some(address) => Some(listener::bind(address).await?),
            None => None,
        };
        let address = socket.as_ref().and_then(|socket| socket.local_addr().ok());
        let store = open_store(&config, &ambient).await?;
        let kinds = kinds::registry();
        let caches = Caches::start(store.clone(), &ambient, &kinds).await?;
        let kubelet_client = authority.client("kube-apiserver-kubelet-client", &[MASTERS])?;
        let stopping = CancellationToken::new();
        let advertised = address.map(advertised);
        let tokens = tokens(&config, advertised)?;
        let parts = api::Parts {
            kubelets: Kubelets::new(dialer, kubelet_client, ambient.clone()),
            tokens,
            plugins: crate::admission::chain_with(components::chain_config(&config)),
            stopping: stopping.clone(),
            reader_patience: config.reader_patience,
        };
        let surroundings = surroundings(&config, caches.clone(), &ambient);
        let api = Api::new(store.clone(), kinds, surroundings, parts);
        bootstrap::system_objects(&api, service_ip, advertised).await?;
        bootstrap::api_services(&api).await?;
        ambient.spawn(keep_system_objects(api.clone(), service_ip, advertised, stopping.clone()));
        let router = api::router(api.clone());
        let itself = api::client(router.clone(), Identity::component("apiserver"));
        api::fair::follow(&api, itself);
        let components = components(components::Surroundings {
            config: &config,
            caches: &caches,
            kinds: &api.kinds,
            ca_pem: authority.pem(),
            router: &router,
            ambient: &ambient,
            stopping: &stopping,
        });
        let listener = match socket {
            Some(socket) => {
                let names = tls::Names { service_ip, addresses: reachable(address, advertised) };
                let tls = tls::Server::new(authority.clone(), names)?;
                Some(Listener::start(socket, tls, router.clone(), &ambient, config.drain)?)
            }
            None => None,
        };
        api.readiness.set();
        let server_url = format!("https://{}", advertised_url(address));
        let admin = authority.client("kubernetes-admin", &[MASTERS])?;
        let admin_kubeconfig =
            kubeconfig::write(&server_url, authority.pem(), "kubernetes-admin", &admin);
        Ok(Self {
            router,
            authority,
            admin_kubeconfig,
            server_url,
            address,
            listener,
            components,
            store,
            stopping,
        })
    }

    /// A client in this process, without a socket.
    pub fn client(&self, identity: Identity) -> kube::Client {
        api::client(self.router.clone(), identity)
    }

    #[cfg(test)]
    pub(crate) fn router(&self) -> Router {
        self.router.clone()
    }

    /// Where HTTPS is served.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// The administrator's kubeconfig: the same for the life of this control plane.
    pub fn admin_kubeconfig(&self) -> String {
        self.admin_kubeconfig.clone()
    }

    /// A kubeconfig for a node's kubelet, with a new certificate.
    ///
    /// # Panics
    /// Where no certificate can be made for the name, which is no node's name then.
    pub fn node_kubeconfig(&self, name: &str) -> String {
        let user = format!("system:node:{name}");
        let credential =
            self.authority.client(&user, &["system:nodes"]).expect("a node's name fits");
        kubeconfig::write(&self.server_url, self.authority.pem(), &user, &credential)
    }

    /// The cluster's certificate authority.
    pub fn ca_pem(&self) -> String {
        self.authority.pem().to_owned()
    }

    /// Ends watches, lets open requests finish, stops. Objects stay as they are, and the data folder
    /// is free: what clients in this process that are still held write is refused from here on.
    pub async fn stop(self) {
        self.components.stop().await;
        self.stopping.cancel();
        if let Some(listener) = self.listener {
            listener.stop().await;
        }
        if let Err(error) = self.store.close().await {
            tracing::warn!(%error, "the store did not close cleanly");
        }
    }
}

async fn open_store(
    config: &ControlConfig,
    ambient: &Ambient,
) -> Result<Arc<dyn Store>, StartError> {
    let history = store::History { age_max: config.history, ..store::History::default() };
    Ok(match &config.store {
        StoreConfig::Memory => memory::open(history, ambient),
        StoreConfig::Sled { dir } => {
            let options = sled::Options { history, ..sled::Options::default() };
            sled::open(dir, options, ambient).await?
        }
    })
}

/// The key of the service accounts' tokens, published where others find the API.
fn tokens(config: &ControlConfig, advertised: Option<SocketAddr>) -> Result<Tokens, StartError> {
    let server = advertised.map_or(ISSUER.to_owned(), |address| format!("https://{address}"));
    Ok(match &config.data_dir {
        Some(folder) => Tokens::in_folder(folder, &server)?,
        None => Tokens::in_memory(&server)?,
    })
}

fn surroundings(config: &ControlConfig, caches: Arc<Caches>, ambient: &Ambient) -> Surroundings {
    Surroundings {
        caches,
        ambient: ambient.clone(),
        service_cidr: config.service_cidr.clone(),
        node_ports: config.node_port_range.clone(),
    }
}

/// The address that others find the API at: where it listens on all, the one towards the world.
fn advertised(address: SocketAddr) -> SocketAddr {
    if !address.ip().is_unspecified() {
        return address;
    }
    // Connecting a datagram socket sends nothing; it only chooses the route.
    let outward = UdpSocket::bind("0.0.0.0:0")
        .and_then(|socket| socket.connect("192.0.2.1:9").map(|()| socket))
        .and_then(|socket| socket.local_addr());
    let ip = outward.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |local| local.ip());
    SocketAddr::new(ip, address.port())
}

/// The address in kubeconfigs: this machine reaches a socket on all addresses by loopback.
fn advertised_url(address: Option<SocketAddr>) -> SocketAddr {
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    match address {
        Some(address) if address.ip().is_unspecified() => SocketAddr::new(loopback, address.port()),
        Some(address) => address,
        None => SocketAddr::new(loopback, 6443),
    }
}

/// The addresses that the serving certificate names.
fn reachable(address: Option<SocketAddr>, advertised: Option<SocketAddr>) -> Vec<IpAddr> {
    let both = [address, advertised].into_iter().flatten().map(|address| address.ip());
    both.filter(|ip| !ip.is_unspecified()).collect()
}

/// Puts back what a user deleted of the system's own objects, as upstream does.
async fn keep_system_objects(
    api: Arc<Api>,
    service_ip: Ipv4Addr,
    advertised: Option<SocketAddr>,
    stopping: CancellationToken,
) {
    const EVERY: std::time::Duration = std::time::Duration::from_secs(10);
    loop {
        tokio::select! {
            () = stopping.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        if let Err(error) = bootstrap::system_objects(&api, service_ip, advertised).await {
            tracing::warn!(%error, "the system's objects cannot be kept");
        }
    }
}
