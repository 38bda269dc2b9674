//! Admission: what the cluster adds to an object (`admit`: after decoding and defaulting, before
//! validation), and what it refuses of one that is valid (`validate`). One file per plug-in; `chain` lists them in upstream's order.

mod certificate_subject_restriction;
mod chain;
mod cluster_ip;
mod default_ingress_class;
mod default_storage_class;
mod default_toleration_seconds;
mod limit_ranger;
mod lookup;
mod namespace_lifecycle;
mod persistent_volume_claim_resize;
mod priority;
mod runtime_class;
mod service_account;
pub mod storage_object_in_use_protection;
#[cfg(test)]
mod testing;

pub use chain::{ChainConfig, chain, chain_with};

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

use crate::ambient::Ambient;
use crate::auth::UserInfo;
use crate::cache::Caches;
use crate::kinds::{Draft, KindInfo};
use crate::status::ApiError;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Create,
    Update,
    Delete,
}

/// What a plug-in sees of a request.
pub struct Review<'a> {
    pub operation: Operation,
    pub info: &'a KindInfo,
    pub subresource: Option<&'a str>,
    pub namespace: &'a str,
    /// Empty for a create with `generateName`.
    pub name: &'a str,
    /// The new object (create, update), which a plug-in may change.
    pub object: Option<&'a mut Draft>,
    /// The object as it was (update, delete).
    pub old: Option<&'a Value>,
    pub user: &'a UserInfo,
    pub dry_run: bool,
    /// What plug-ins hold until the write is committed (an IP, a port).
    pub reservations: &'a mut Vec<Reservation>,
}

impl Review<'_> {
    /// The pod that is created or updated; `None` of other kinds and of subresources.
    pub fn pod(&mut self) -> Option<&mut Draft> {
        let concerns_pod = self.info.group_resource() == "pods" && self.subresource.is_none();
        self.object.as_deref_mut().filter(|_| concerns_pod)
    }
}

/// Something taken for a write that is under way; given back when dropped. By then the cache has
/// seen a committed write, and so knows the thing as used.
pub struct Reservation(Option<Box<dyn FnOnce() + Send>>);

impl Reservation {
    pub fn new(release: impl FnOnce() + Send + 'static) -> Self {
        Self(Some(Box::new(release)))
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(release) = self.0.take() {
            release();
        }
    }
}

/// What plug-ins may look at.
pub struct Surroundings {
    pub caches: Arc<Caches>,
    pub ambient: Ambient,
    /// For ClusterIPs, such as `10.96.0.0/12`.
    pub service_cidr: String,
    pub node_ports: std::ops::RangeInclusive<u16>,
}

/// One admission plug-in.
#[async_trait]
pub trait Plugin: Send + Sync {
    /// Upstream's name, such as `NamespaceLifecycle`.
    fn name(&self) -> &'static str;

    async fn admit(
        &self,
        _surroundings: &Surroundings,
        _review: &mut Review<'_>,
    ) -> Result<(), ApiError> {
        Ok(())
    }

    /// Sees what is written, once the kind's own rules have found nothing wrong. Changes nothing.
    async fn validate(
        &self,
        _surroundings: &Surroundings,
        _review: &mut Review<'_>,
    ) -> Result<(), ApiError> {
        Ok(())
    }
}
