//! What all handlers share.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::admission::{Plugin, Surroundings};
use crate::ambient::Ambient;
use crate::auth::tokens::Tokens;
use crate::cache::{Cache, Caches};
use crate::kinds::{AnyKind, Registry};
use crate::schema::openapi::OpenApi;
use crate::store::Store;

use super::discovery::Discovery;
use super::fair::Fairness;
use super::health::Readiness;
use super::kubelet::Kubelets;
use super::metrics::Metrics;
use super::readers::Readers;

/// The API server's state. One for each control plane; cheap to share.
pub struct Api {
    pub store: Arc<dyn Store>,
    pub kinds: Registry,
    pub surroundings: Surroundings,
    pub plugins: Vec<Arc<dyn Plugin>>,
    pub kubelets: Kubelets,
    pub tokens: Tokens,
    /// Cancelled when the control plane stops: watches and followed logs end.
    pub stopping: CancellationToken,
    pub readiness: Readiness,
    pub(super) readers: Arc<Readers>,
    pub(super) fairness: Arc<Fairness>,
    pub(super) metrics: Metrics,
    pub(super) discovery: Discovery,
    pub(super) openapi: Arc<OpenApi>,
}

/// What the API is made of besides its objects.
pub struct Parts {
    pub kubelets: Kubelets,
    pub tokens: Tokens,
    pub plugins: Vec<Arc<dyn Plugin>>,
    pub stopping: CancellationToken,
    /// How long a piece of an answer may wait for its reader.
    pub reader_patience: Duration,
}

impl Api {
    pub fn new(
        store: Arc<dyn Store>,
        kinds: Registry,
        surroundings: Surroundings,
        parts: Parts,
    ) -> Arc<Self> {
        let Parts { kubelets, tokens, plugins, stopping, reader_patience } = parts;
        let fairness = Fairness::new(surroundings.ambient.clone());
        Arc::new(Self {
            store,
            discovery: Discovery::new(&kinds),
            openapi: Arc::new(OpenApi::new(kinds.clone())),
            kinds,
            readers: Readers::start(&surroundings.ambient, reader_patience),
            surroundings,
            plugins,
            kubelets,
            tokens,
            stopping,
            readiness: Readiness::default(),
            metrics: Metrics::new(&fairness),
            fairness,
        })
    }

    pub fn ambient(&self) -> &Ambient {
        &self.surroundings.ambient
    }

    pub fn caches(&self) -> &Arc<Caches> {
        &self.surroundings.caches
    }

    /// The cache that holds a kind's objects.
    pub fn cache(&self, kind: &dyn AnyKind) -> Arc<Cache> {
        let resource = kind.info().stored_resource();
        self.caches().kind(&resource).expect("every stored kind has a cache")
    }
}
