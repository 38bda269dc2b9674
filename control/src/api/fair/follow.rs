//! Follows the objects: whenever one changes, levels and schemas are made anew; every ten seconds
//! the seats are divided anew. FlowSchemas are told whether their level is there.
//!
//! Source: `k8s.io/apiserver/pkg/util/flowcontrol/apf_controller.go`.

use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _};
use k8s_openapi::api::flowcontrol::v1::{
    FlowSchema, FlowSchemaCondition, PriorityLevelConfiguration,
};
use kube::api::{Patch, PatchParams};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::api::state::Api;
use crate::cache::{Cache, CacheEvent, CacheWatch};
use crate::fair::upkeep;

const EVERY: Duration = Duration::from_secs(10);
const MANAGER: &str = "api-priority-and-fairness-config-consumer-v1";

/// The caches of the two kinds.
pub(super) struct Objects {
    pub levels: Arc<Cache>,
    pub schemas: Arc<Cache>,
}

impl Objects {
    pub fn of(caches: &crate::cache::Caches) -> Self {
        let cache = |resource: &str| {
            let resource = format!("{resource}.flowcontrol.apiserver.k8s.io");
            caches.kind(&resource).expect("both kinds are among those that are served")
        };
        Self { levels: cache("prioritylevelconfigurations"), schemas: cache("flowschemas") }
    }
}

pub(super) fn views<T: DeserializeOwned + Send + Sync + 'static>(cache: &Cache) -> Vec<Arc<T>> {
    cache.list(None).items.iter().filter_map(|object| object.view()).collect()
}

/// Takes on what is there, at once, and follows from there.
pub fn follow(api: &Arc<Api>, client: kube::Client) {
    let objects = Objects::of(api.caches());
    let follower = Follower {
        level_events: objects.levels.snapshot_and_watch().1,
        schema_events: objects.schemas.snapshot_and_watch().1,
        objects,
        api: api.clone(),
        client: kube::Api::all(client),
        stopping: api.stopping.clone(),
    };
    let conditions = follower.configure();
    api.ambient().spawn(follower.run(conditions));
}

/// What a FlowSchema, by its name, is to be told.
type Conditions = Vec<(String, FlowSchemaCondition)>;

struct Follower {
    api: Arc<Api>,
    objects: Objects,
    level_events: CacheWatch,
    schema_events: CacheWatch,
    client: kube::Api<FlowSchema>,
    stopping: CancellationToken,
}

impl Follower {
    async fn run(mut self, mut conditions: Conditions) {
        let mut every = tokio::time::interval(EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        every.tick().await;
        loop {
            let lacking = std::mem::take(&mut conditions);
            let told = tell(&self.client, &self.objects.schemas, lacking).await;
            let again = loop {
                tokio::select! {
                    () = self.stopping.cancelled() => return,
                    _ = every.tick() => {
                        let could_go = self.api.fairness.rebalance();
                        if could_go || !told {
                            break true;
                        }
                    }
                    event = self.level_events.next() => {
                        if matters(event.as_ref().map(|event| &***event)) { break event.is_some() }
                    }
                    event = self.schema_events.next() => {
                        if matters(event.as_ref().map(|event| &***event)) { break event.is_some() }
                    }
                }
            };
            if !again {
                // Too slow for the events: from the beginning.
                self.level_events = self.objects.levels.snapshot_and_watch().1;
                self.schema_events = self.objects.schemas.snapshot_and_watch().1;
            }
            while let Some(Some(_)) = self.level_events.next().now_or_never() {}
            while let Some(Some(_)) = self.schema_events.next().now_or_never() {}
            conditions = self.configure();
        }
    }

    fn configure(&self) -> Conditions {
        let levels = views::<PriorityLevelConfiguration>(&self.objects.levels);
        let schemas = views::<FlowSchema>(&self.objects.schemas);
        let known = self.api.fairness.configure(&levels, &schemas);
        let now = self.api.ambient().now();
        let condition = |schema: &Arc<FlowSchema>| {
            let level = &schema.spec.as_ref()?.priority_level_configuration.name;
            let condition = upkeep::dangling(schema, known.contains(level), now)?;
            Some((schema.metadata.name.clone()?, condition))
        };
        schemas.iter().filter_map(condition).collect()
    }
}

/// Returns whether all could be told.
async fn tell(client: &kube::Api<FlowSchema>, cache: &Cache, conditions: Conditions) -> bool {
    if conditions.is_empty() {
        return true;
    }
    let writes = conditions.into_iter().map(|(name, condition)| async move {
        let params = PatchParams::apply(MANAGER).force();
        let patch = Patch::Apply(json!({
            "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
            "kind": "FlowSchema",
            "metadata": { "name": name },
            "status": { "conditions": [condition] },
        }));
        match client.patch_status(&name, &params, &patch).await {
            Ok(_) => true,
            Err(kube::Error::Api(status)) if status.code == 404 => true,
            Err(error) => {
                tracing::debug!(name, %error, "a FlowSchema could not be told of its level");
                false
            }
        }
    });
    let told = futures::future::join_all(writes).await;
    // What was written must not be found lacking.
    told.into_iter().all(|told| told) && cache.latest().await.is_ok()
}

fn matters(event: Option<&CacheEvent>) -> bool {
    !matches!(event, Some(CacheEvent::Progress { .. }))
}
