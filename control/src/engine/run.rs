//! The loop: changes become keys, keys become plans, plans become writes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::task::JoinHandle;

use super::config::EngineConfig;
use super::events::RecorderHandle;
use super::execute::{Executor, Traces};
use super::informer::{Change, Informer, Primed};
use super::plan::{Failure, Key, Plan};
use super::queue::Queue;
use super::reader::Reader;
use super::resources::Resources;
use crate::ambient::Ambient;
use crate::cache::Caches;
use crate::controllers;
use crate::store::Revision;

/// How fresh the caches must be before a key is planned: for controllers that act on absence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs(pub Vec<(Arc<str>, Revision)>);

/// What a plan is made with beside the objects.
pub struct Context<'a> {
    pub now: Timestamp,
    pub reader: &'a Reader,
    /// Why the previous attempt at this key failed.
    pub failure: Option<&'a Failure>,
}

/// A controller: which keys a change concerns, and what is to be done about a key.
pub trait Controller: Send + Sync + 'static {
    /// The name that its events bear as their source.
    fn name(&self) -> &'static str;

    /// The resources whose changes it is told; empty: all.
    fn observes(&self) -> &'static [&'static str];

    /// The keys that a change concerns. Cheap: runs on the informer's task.
    fn keys(&self, reader: &Reader, change: &Change) -> Vec<Key>;

    /// Gathers what concerns the key and decides. Deterministic in what it observes; no I/O.
    fn plan(&self, context: &Context<'_>, key: &Key) -> Plan;

    /// Asked before `plan`: most controllers can live with caches that lag.
    fn needs(&self, _reader: &Reader, _key: &Key) -> Needs {
        Needs::default()
    }

    /// How many keys are worked on at once.
    fn workers(&self) -> usize {
        5
    }
}

/// A controller with its queue.
struct Running {
    controller: Box<dyn Controller>,
    queue: Queue,
    /// The failures of the keys that are being retried.
    failures: Mutex<HashMap<Key, Failure>>,
    executor: Executor,
    reader: Reader,
    ambient: Ambient,
}

impl Running {
    fn tell(&self, change: &Change) {
        for key in self.controller.keys(&self.reader, change) {
            self.queue.add(key);
        }
    }

    async fn work(self: Arc<Self>) {
        while let Some(key) = self.queue.next().await {
            let rest = self.process(&key).await;
            self.queue.done(&key, rest);
        }
    }

    async fn process(&self, key: &Key) -> Duration {
        for (resource, revision) in self.controller.needs(&self.reader, key).0 {
            let Some(informer) = self.reader.informer(&resource) else { continue };
            if let Err(error) = informer.cache.caught_up(revision).await {
                tracing::debug!(%key, %error, "cache not caught up");
                self.queue.retry(key.clone());
                return Duration::ZERO;
            }
        }
        let failure = self.failures.lock().get(key).cloned();
        let context = Context {
            now: self.ambient.now(),
            reader: &self.reader,
            failure: failure.as_ref(),
        };
        let mut plan = self.controller.plan(&context, key);
        let (rest, again, wake) = (plan.rest, plan.again, std::mem::take(&mut plan.wake));
        tracing::debug!(
            controller = self.controller.name(),
            %key,
            actions = plan.actions.len(),
            why = plan.why,
            "planned"
        );
        if !plan.is_nothing() {
            let traces = Traces::default();
            let result = self.executor.execute(plan, failure.is_some(), &traces).await;
            traces.seen(&self.reader).await;
            if let Err(failure) = result {
                self.failed(key, failure);
                return rest;
            }
        }
        self.failures.lock().remove(key);
        self.queue.forget(key);
        for key in wake {
            self.queue.add(key);
        }
        if let Some(again) = again {
            self.queue.add_after(key.clone(), again);
        }
        rest
    }

    fn failed(&self, key: &Key, failure: Failure) {
        let controller = self.controller.name();
        let message = &failure.message;
        if matches!(failure.reason.as_str(), "Conflict" | "AlreadyExists") {
            tracing::debug!(controller, %key, message, "changed meanwhile; trying again");
            self.failures.lock().remove(key);
        } else {
            tracing::warn!(controller, %key, message, "failed; trying again");
            self.failures.lock().insert(key.clone(), failure);
        }
        self.queue.retry(key.clone());
    }
}

/// The running controllers.
pub struct EngineHandle {
    running: Vec<Arc<Running>>,
    informers: Vec<JoinHandle<()>>,
    workers: Vec<JoinHandle<()>>,
    recorder: RecorderHandle,
}

impl EngineHandle {
    /// Lets each worker finish what it is at, and ends everything.
    pub async fn stop(self) {
        for running in &self.running {
            running.queue.close();
        }
        for worker in self.workers {
            worker.await.ok();
        }
        for informer in self.informers {
            informer.abort();
            informer.await.ok();
        }
        self.recorder.stop().await;
    }

    /// How many keys wait, by controller: for metrics.
    pub fn waiting(&self) -> Vec<(&'static str, usize)> {
        self.running
            .iter()
            .map(|running| (running.controller.name(), running.queue.len()))
            .collect()
    }
}

/// Starts all controllers over the caches. `client` writes, as the controller manager.
pub fn start(
    config: EngineConfig,
    caches: Arc<Caches>,
    client: kube::Client,
    ambient: Ambient,
) -> EngineHandle {
    let resources = Resources::new(&config.kinds);
    let informers: BTreeMap<Arc<str>, Arc<Informer>> = resources
        .iter()
        .filter_map(|resource| {
            let cache = caches.kind(&resource.name)?;
            let informer = Informer::new(resource.name.clone(), cache);
            Some((resource.name.clone(), Arc::new(informer)))
        })
        .collect();
    let reader = Reader::new(informers.clone(), resources);
    let recorder = RecorderHandle::start(client.clone(), &ambient);
    let running: Vec<Arc<Running>> = controllers::all(&config)
        .into_iter()
        .map(|controller| {
            let executor = Executor::new(
                client.clone(),
                reader.clone(),
                recorder.recorder(controller.name()),
            );
            Arc::new(Running {
                controller,
                queue: Queue::default(),
                failures: Mutex::default(),
                executor,
                reader: reader.clone(),
                ambient: ambient.clone(),
            })
        })
        .collect();
    let primed: Vec<(Arc<Informer>, Primed)> =
        informers.into_values().map(|informer| (informer.clone(), informer.prime())).collect();
    let informers = primed
        .into_iter()
        .map(|(informer, primed)| {
            let listeners: Vec<Arc<Running>> = running
                .iter()
                .filter(|running| observes(&*running.controller, &informer.resource))
                .cloned()
                .collect();
            ambient.spawn(async move {
                let tell = |change: &Change| listeners.iter().for_each(|running| running.tell(change));
                informer.follow(primed, tell).await;
            })
        })
        .collect();
    let workers = running
        .iter()
        .flat_map(|running| std::iter::repeat_n(running, running.controller.workers()))
        .map(|running| ambient.spawn(running.clone().work()))
        .collect();
    EngineHandle { running, informers, workers, recorder }
}

fn observes(controller: &dyn Controller, resource: &str) -> bool {
    let observed = controller.observes();
    observed.is_empty() || observed.contains(&resource)
}
