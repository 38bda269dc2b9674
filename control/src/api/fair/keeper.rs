//! Keeps the objects that every cluster has: at the start, and every minute.
//!
//! Source: `pkg/registry/flowcontrol/rest/storage_flowcontrol.go`.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::flowcontrol::v1::{FlowSchema, PriorityLevelConfiguration};
use kube::api::{DeleteParams, PostParams};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use crate::cache::{Cache, Caches};
use crate::fair::objects::{FLOW_SCHEMAS, PRIORITY_LEVELS};
use crate::fair::upkeep::{Configures, Step, plan};

use super::follow::Objects;

const EVERY: Duration = Duration::from_secs(60);
/// After a failure.
const AGAIN: Duration = Duration::from_secs(1);
const MANAGER: &str = "api-priority-and-fairness-config-producer-v1";

/// Runs until the control plane stops.
pub async fn keep(caches: Arc<Caches>, client: kube::Client, stopping: CancellationToken) {
    let objects = Objects::of(&caches);
    let levels: kube::Api<PriorityLevelConfiguration> = kube::Api::all(client.clone());
    let schemas: kube::Api<FlowSchema> = kube::Api::all(client);
    loop {
        let kept = async {
            let levels = ensure(&objects.levels, &levels, &PRIORITY_LEVELS);
            let schemas = ensure(&objects.schemas, &schemas, &FLOW_SCHEMAS);
            let (levels, schemas) = futures::join!(levels, schemas);
            levels && schemas
        };
        let kept = tokio::select! {
            () = stopping.cancelled() => return,
            kept = kept => kept,
        };
        tokio::select! {
            () = stopping.cancelled() => return,
            () = tokio::time::sleep(if kept { EVERY } else { AGAIN }) => {}
        }
    }
}

/// Returns whether everything is as it should be.
async fn ensure<T>(
    cache: &Cache,
    api: &kube::Api<T>,
    wanted: &crate::fair::objects::Objects<T>,
) -> bool
where
    T: Configures + Clone + Debug + Serialize + DeserializeOwned + Send + Sync + 'static,
    T: kube::Resource<DynamicType = ()>,
{
    if cache.latest().await.is_err() {
        return false;
    }
    let current: Vec<T> = cache
        .list(None)
        .items
        .iter()
        .filter_map(|cached| {
            let mut object = T::clone(&*cached.view::<T>()?);
            object.metadata_mut().resource_version = Some(cached.revision.to_string());
            Some(object)
        })
        .collect();
    let params = PostParams { field_manager: Some(MANAGER.into()), ..PostParams::default() };
    let steps = plan(current.iter(), wanted).into_iter().map(|step| {
        let params = &params;
        async move {
            let done = match step {
                Step::Create(object) => api.create(params, &object).await.map(drop),
                Step::Update(object) => {
                    let name = object.metadata().name.clone().unwrap_or_default();
                    api.replace(&name, params, &object).await.map(drop)
                }
                Step::Delete(name) => api.delete(&name, &DeleteParams::default()).await.map(drop),
            };
            match done {
                Ok(()) => true,
                // Somebody was quicker, or another control plane: what is there is looked at again.
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => true,
                Err(error) => {
                    tracing::debug!(%error, "an object of fairness cannot be kept");
                    false
                }
            }
        }
    });
    futures::future::join_all(steps).await.into_iter().all(|done| done)
}
