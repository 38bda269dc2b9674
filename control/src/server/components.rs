//! What runs beside the API server: controllers and scheduler. The one place that knows them.

use std::sync::Arc;

use axum::Router;
use tokio_util::sync::CancellationToken;

use crate::admission::ChainConfig;
use crate::ambient::Ambient;
use crate::api;
use crate::auth::Identity;
use crate::cache::Caches;
use crate::config::ControlConfig;
use crate::engine::{self, EngineConfig, EngineHandle};
use crate::kinds::Registry;
use crate::scheduler::{self, SchedulerConfig, SchedulerHandle};

/// What the admission plug-ins are set to.
pub fn chain_config(config: &ControlConfig) -> ChainConfig {
    ChainConfig { default_toleration: config.default_toleration }
}

/// What the parts are started with.
pub struct Surroundings<'a> {
    pub config: &'a ControlConfig,
    pub caches: &'a Arc<Caches>,
    pub kinds: &'a Registry,
    pub ca_pem: &'a str,
    pub router: &'a Router,
    pub ambient: &'a Ambient,
    pub stopping: &'a CancellationToken,
}

/// The running parts.
#[derive(Default)]
pub struct Components {
    engine: Option<EngineHandle>,
    scheduler: Option<SchedulerHandle>,
}

impl Components {
    pub fn start(around: Surroundings<'_>) -> Self {
        let client = |name: &str| api::client(around.router.clone(), Identity::component(name));
        let engine = engine::start(
            EngineConfig {
                node_monitor_grace: around.config.node_monitor_grace,
                cluster_cidr: around.config.cluster_cidr.clone(),
                node_cidr_mask: around.config.node_cidr_mask,
                ca_pem: around.ca_pem.to_owned(),
                kinds: around.kinds.clone(),
                ..EngineConfig::default()
            },
            around.caches.clone(),
            client("kube-controller-manager"),
            around.ambient.clone(),
        );
        let scheduler = scheduler::start(
            around.caches.clone(),
            client("kube-scheduler"),
            around.ambient.clone(),
            SchedulerConfig::default(),
        );
        around.ambient.spawn(api::fair::keep(
            around.caches.clone(),
            client("apiserver"),
            around.stopping.clone(),
        ));
        Self { engine: Some(engine), scheduler: Some(scheduler) }
    }

    /// The scheduler first: what it binds no longer concerns the controllers that stop after it.
    pub async fn stop(self) {
        if let Some(scheduler) = self.scheduler {
            scheduler.stop().await;
        }
        if let Some(engine) = self.engine {
            engine.stop().await;
        }
    }
}
