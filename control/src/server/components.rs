//! What runs beside the API server: controllers and scheduler. The one place that knows them.

use std::sync::Arc;

use axum::Router;

use crate::admission::ChainConfig;
use crate::ambient::Ambient;
use crate::auth::pki::Authority;
use crate::cache::Caches;
use crate::config::ControlConfig;

/// What the admission plug-ins are set to.
pub fn chain_config(config: &ControlConfig) -> ChainConfig {
    ChainConfig { default_toleration: config.default_toleration }
}

/// The running parts.
pub struct Components {}

impl Components {
    /// SEAM: `engine::start` and `scheduler::start` belong here once they are merged; each gets a
    /// client of its own identity (`api::client(router, Identity::component(…))`).
    pub fn start(
        _config: &ControlConfig,
        _caches: &Arc<Caches>,
        _authority: &Authority,
        _router: &Router,
        _ambient: &Ambient,
    ) -> Self {
        Self {}
    }

    pub async fn stop(self) {}
}
