//! THE list of admission plug-ins, in upstream's order.
//!
//! Source: `pkg/kubeapiserver/options/plugins.go`. Allocation comes last: upstream does it in the
//! registry, behind all of admission.

use std::sync::Arc;
use std::time::Duration;

use super::Plugin;
use super::certificate_subject_restriction::CertificateSubjectRestriction;
use super::cluster_ip::ClusterIp;
use super::default_ingress_class::DefaultIngressClass;
use super::default_storage_class::DefaultStorageClass;
use super::default_toleration_seconds::DefaultTolerationSeconds;
use super::limit_ranger::LimitRanger;
use super::namespace_lifecycle::NamespaceLifecycle;
use super::persistent_volume_claim_resize::PersistentVolumeClaimResize;
use super::priority::Priority;
use super::runtime_class::RuntimeClass;
use super::service_account::ServiceAccount;
use super::storage_object_in_use_protection::StorageObjectInUseProtection;

/// What can be set of the plug-ins.
#[derive(Clone, Copy, Debug)]
pub struct ChainConfig {
    /// How long pods stay on a node that is not ready or unreachable. Default: 300 s.
    pub default_toleration: Duration,
}

impl Default for ChainConfig {
    fn default() -> Self {
        Self { default_toleration: Duration::from_secs(300) }
    }
}

/// Every plug-in, as upstream sets them by default.
pub fn chain() -> Vec<Arc<dyn Plugin>> {
    chain_with(ChainConfig::default())
}

/// Every plug-in.
pub fn chain_with(config: ChainConfig) -> Vec<Arc<dyn Plugin>> {
    vec![
        Arc::new(NamespaceLifecycle::default()),
        Arc::new(LimitRanger),
        Arc::new(ServiceAccount),
        Arc::new(Priority),
        Arc::new(DefaultTolerationSeconds::new(config.default_toleration)),
        Arc::new(DefaultStorageClass),
        Arc::new(StorageObjectInUseProtection),
        Arc::new(PersistentVolumeClaimResize),
        Arc::new(RuntimeClass),
        Arc::new(CertificateSubjectRestriction),
        Arc::new(DefaultIngressClass),
        Arc::new(ClusterIp::default()),
    ]
}
