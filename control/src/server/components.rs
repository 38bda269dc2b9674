//! What runs beside the API server: controllers and scheduler. The one place that knows them.

use std::sync::Arc;

use axum::Router;

use crate::admission::ChainConfig;
use crate::ambient::Ambient;
use crate::cache::Caches;
use crate::config::ControlConfig;

/// What the admission plug-ins are set to.
pub fn chain_config(config: &ControlConfig) -> ChainConfig {
    ChainConfig { default_toleration: config.default_toleration }
}

/// What the parts are started with.
pub struct Surroundings<'a> {
    pub config: &'a ControlConfig,
    pub caches: &'a Arc<Caches>,
    pub ca_pem: &'a str,
    pub router: &'a Router,
    pub ambient: &'a Ambient,
}

/// The running parts.
#[derive(Default)]
pub struct Components {}

impl Components {
    /// SEAM: `engine::start` and `scheduler::start` belong here once they are merged; each gets a
    /// client of its own identity (`api::client(router, Identity::component(…))`).
    pub fn start(_surroundings: Surroundings<'_>) -> Self {
        Self {}
    }

    pub async fn stop(self) {}
}
