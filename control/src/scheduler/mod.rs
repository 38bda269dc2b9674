//! The scheduler: gives every pending pod a node.
//!
//! One task owns the [`Snapshot`] and the [`Queue`], fed from the watch caches; each decision is
//! made by the pure `plan` and sent through the API as a Binding, many at once, while the pod
//! counts on its node already. `filters` and `scores` hold the rules, one file each.
//!
//! Not decided here yet, and refused by name: pod affinity and topology spread that are required.

mod filters;
mod plan;
mod queue;
mod resources;
mod scores;
mod snapshot;

use std::borrow::Cow;
use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Node, ObjectReference, Pod};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use crate::ambient::Ambient;
use crate::cache::{Cache, CacheEvent, Cached, Caches};
use crate::engine::{NoteKind, Recorder, RecorderHandle};
use queue::Queue;
use snapshot::{PodInfo, Snapshot};

/// The scheduler that pods name unless they name another.
const NAME: &str = "default-scheduler";

/// How the scheduler runs.
#[derive(Clone, Copy, Debug)]
pub struct SchedulerConfig {
    /// Bindings that may be on their way at once.
    pub bindings_in_flight: usize,
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        Self { bindings_in_flight: 64 }
    }
}

/// A running scheduler.
pub struct SchedulerHandle {
    task: tokio::task::JoinHandle<()>,
    events: RecorderHandle,
}

impl SchedulerHandle {
    pub async fn stop(self) {
        self.task.abort();
        self.task.await.ok();
        self.events.stop().await;
    }
}

/// Starts scheduling.
pub fn start(
    caches: Arc<Caches>,
    client: kube::Client,
    ambient: Ambient,
    config: SchedulerConfig,
) -> SchedulerHandle {
    let events = RecorderHandle::start(client.clone(), &ambient);
    let recorder = events.recorder(NAME);
    let scheduler = Scheduler {
        client,
        recorder,
        ambient: ambient.clone(),
        snapshot: Snapshot::default(),
        queue: Queue::default(),
        bindings: Arc::new(Semaphore::new(config.bindings_in_flight)),
        start: 0,
    };
    let task = ambient.spawn(scheduler.run(caches));
    SchedulerHandle { task, events }
}

/// What the API answered to a binding or a condition, told back to the one task.
enum Outcome {
    Bound { uid: String },
    Failed { uid: String },
}

struct Scheduler {
    client: kube::Client,
    recorder: Recorder,
    ambient: Ambient,
    snapshot: Snapshot,
    queue: Queue,
    bindings: Arc<Semaphore>,
    /// Where the next look over the nodes begins.
    start: usize,
}

impl Scheduler {
    async fn run(mut self, caches: Arc<Caches>) {
        let (Some(pods), Some(nodes)) = (caches.kind("pods"), caches.kind("nodes")) else {
            tracing::error!("the registry serves no pods or no nodes; nothing is scheduled");
            return;
        };
        // At most one outcome for each binding in flight, each sent without waiting for room.
        let (outcomes, mut answered) = mpsc::unbounded_channel();
        loop {
            self.follow(&pods, &nodes, &outcomes, &mut answered).await;
            tracing::debug!(
                "the scheduler fell behind its watches; it begins again from the caches"
            );
            self.snapshot = Snapshot::default();
            self.queue = Queue::default();
        }
    }

    /// Schedules until a watch is lost.
    async fn follow(
        &mut self,
        pods: &Cache,
        nodes: &Cache,
        outcomes: &mpsc::UnboundedSender<Outcome>,
        answered: &mut mpsc::UnboundedReceiver<Outcome>,
    ) {
        let (known_nodes, mut node_events) = nodes.snapshot_and_watch();
        for node in &known_nodes.items {
            self.node_seen(node);
        }
        let (known_pods, mut pod_events) = pods.snapshot_and_watch();
        for pod in &known_pods.items {
            self.pod_seen(pod);
        }
        loop {
            let wake = self.queue.next_wake();
            tokio::select! {
                biased;
                Some(outcome) = answered.recv() => self.outcome(outcome),
                event = node_events.next() => match event {
                    Some(event) => self.node_event(&event),
                    None => return,
                },
                event = pod_events.next() => match event {
                    Some(event) => self.pod_event(&event),
                    None => return,
                },
                permit = self.bindings.clone().acquire_owned(), if self.queue.has_active() => {
                    if let Ok(permit) = permit {
                        self.schedule_next(permit, outcomes);
                    }
                }
                () = sleep_until(wake) => self.queue.wake_due(Instant::now()),
            }
        }
    }

    fn node_event(&mut self, event: &CacheEvent) {
        match event {
            CacheEvent::Added { object } | CacheEvent::Modified { object, .. } => {
                self.node_seen(object);
                self.queue.wake_all(Instant::now());
            }
            CacheEvent::Deleted { object, .. } => self.snapshot.remove_node(object.name()),
            CacheEvent::Progress { .. } => {}
        }
    }

    fn node_seen(&mut self, object: &Cached) {
        if let Some(node) = object.view::<Node>() {
            self.snapshot.apply_node(node);
        }
    }

    fn pod_event(&mut self, event: &CacheEvent) {
        match event {
            CacheEvent::Added { object } | CacheEvent::Modified { object, .. } => {
                self.pod_seen(object);
            }
            CacheEvent::Deleted { object, .. } => self.pod_gone(object.uid()),
            CacheEvent::Progress { .. } => {}
        }
    }

    fn pod_seen(&mut self, object: &Cached) {
        let glance = Glance::of(object);
        let uid = &*glance.metadata.uid;
        if glance.has_ended() {
            self.pod_gone(uid);
            return;
        }
        let node = &*glance.spec.node_name;
        if !node.is_empty() {
            self.queue.remove(uid);
            if !self.snapshot.is_on(uid, node)
                && let Some(pod) = object.view()
            {
                self.snapshot.place(&PodInfo::new(pod), node);
            }
            return;
        }
        let Some(pod) = object.view::<Pod>() else { return };
        let Some(spec) = &pod.spec else { return };
        let ours = spec.scheduler_name.as_deref().unwrap_or(NAME) == NAME;
        let gated = spec.scheduling_gates.as_ref().is_some_and(|gates| !gates.is_empty());
        if ours && !gated && pod.metadata.deletion_timestamp.is_none() {
            self.queue.add(PodInfo::new(pod));
        } else {
            self.queue.remove(uid);
        }
    }

    fn pod_gone(&mut self, uid: &str) {
        self.queue.remove(uid);
        self.snapshot.forget(uid);
        self.queue.wake_all(Instant::now());
    }

    fn outcome(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Bound { uid } => self.queue.remove(&uid),
            Outcome::Failed { uid } => {
                self.snapshot.forget(&uid);
                self.queue.failed(&uid, Instant::now());
            }
        }
    }

    fn schedule_next(
        &mut self,
        permit: tokio::sync::OwnedSemaphorePermit,
        outcomes: &mpsc::UnboundedSender<Outcome>,
    ) {
        let Some(pod) = self.queue.pop(Instant::now()) else { return };
        let decision = match plan::unsupported(&pod) {
            Some(what) => Err(what),
            None => plan::plan(&pod, &self.snapshot, self.start, self.ambient.u64())
                .map_err(|why| why.to_string()),
        };
        self.start = self.start.wrapping_add(1);
        let (client, recorder) = (self.client.clone(), self.recorder.clone());
        let (outcomes, uid) = (outcomes.clone(), pod.uid().to_owned());
        match decision {
            Ok(node) => {
                self.snapshot.place(&pod, &node);
                self.ambient.spawn(async move {
                    let outcome = bind(&client, &recorder, &pod.pod, &node, uid).await;
                    outcomes.send(outcome).ok();
                    drop(permit);
                });
            }
            Err(why) => {
                self.queue.unschedulable(&uid, Instant::now());
                let now = self.ambient.now();
                self.ambient.spawn(async move {
                    say_unschedulable(&client, &recorder, &pod.pod, &why, now).await;
                    drop(permit);
                });
            }
        }
    }
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// What most changes of a pod are judged by; the rest of it is not decoded.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Glance<'a> {
    #[serde(borrow)]
    metadata: GlanceMetadata<'a>,
    #[serde(borrow)]
    spec: GlanceSpec<'a>,
    #[serde(borrow)]
    status: GlanceStatus<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct GlanceMetadata<'a> {
    #[serde(borrow)]
    uid: Cow<'a, str>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct GlanceSpec<'a> {
    #[serde(borrow)]
    node_name: Cow<'a, str>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct GlanceStatus<'a> {
    #[serde(borrow)]
    phase: Cow<'a, str>,
}

impl<'a> Glance<'a> {
    fn of(object: &'a Cached) -> Self {
        // What is stored has passed through the type: its fields are what they are there.
        serde_json::from_slice(object.stored()).unwrap_or_default()
    }

    fn has_ended(&self) -> bool {
        matches!(&*self.status.phase, "Succeeded" | "Failed")
    }
}

fn names(pod: &Pod) -> (&str, &str) {
    let metadata = &pod.metadata;
    (
        metadata.namespace.as_deref().unwrap_or_default(),
        metadata.name.as_deref().unwrap_or_default(),
    )
}

fn reference(pod: &Pod) -> Arc<ObjectReference> {
    let metadata = &pod.metadata;
    Arc::new(ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        namespace: metadata.namespace.clone(),
        name: metadata.name.clone(),
        uid: metadata.uid.clone(),
        resource_version: metadata.resource_version.clone(),
        field_path: None,
    })
}

/// Sends the Binding, and says so.
async fn bind(
    client: &kube::Client,
    recorder: &Recorder,
    pod: &Pod,
    node: &str,
    uid: String,
) -> Outcome {
    let (namespace, name) = names(pod);
    let binding = json!({
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"namespace": namespace, "name": name, "uid": uid},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    });
    let path = format!("/api/v1/namespaces/{namespace}/pods/{name}/binding");
    match post(client, &path, &binding).await {
        Ok(()) => {
            let message = format!("Successfully assigned {namespace}/{name} to {node}");
            recorder.event(&reference(pod), NoteKind::Normal, "Scheduled", message);
            Outcome::Bound { uid }
        }
        // Gone, or bound by someone else: the watch says so, or has said so.
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {
            Outcome::Failed { uid }
        }
        Err(error) => {
            let message = format!("binding rejected: {error}");
            recorder.event(&reference(pod), NoteKind::Warning, "FailedScheduling", message);
            Outcome::Failed { uid }
        }
    }
}

async fn post(
    client: &kube::Client,
    path: &str,
    body: &serde_json::Value,
) -> Result<(), kube::Error> {
    let body = serde_json::to_vec(body).map_err(kube::Error::SerdeError)?;
    let request = http::Request::post(path)
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(body)
        .map_err(kube::Error::HttpError)?;
    client.request_text(request).await.map(drop)
}

/// Writes the event and the `PodScheduled` condition that users look for.
async fn say_unschedulable(
    client: &kube::Client,
    recorder: &Recorder,
    pod: &Pod,
    why: &str,
    now: jiff::Timestamp,
) {
    recorder.event(&reference(pod), NoteKind::Warning, "FailedScheduling", why.to_owned());
    let known = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let said = known.into_iter().flatten().any(|condition| {
        condition.type_ == "PodScheduled" && condition.message.as_deref() == Some(why)
    });
    if said {
        return;
    }
    let (namespace, name) = names(pod);
    let patch = json!({
        "metadata": {"uid": pod.metadata.uid},
        "status": {"conditions": [{
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": why,
            "lastTransitionTime": format!("{now:.0}"),
        }]},
    });
    let pods = kube::Api::<Pod>::namespaced(client.clone(), namespace);
    let patch = kube::api::Patch::Strategic(patch);
    if let Err(error) = pods.patch_status(name, &Default::default(), &patch).await {
        tracing::debug!(%error, namespace, name, "condition not written");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glance_tells_where_a_pod_is_and_whether_it_has_ended() {
        let cases = [
            (r#"{"metadata":{"uid":"u"},"spec":{"containers":[]}}"#, ("u", "", false)),
            (
                r#"{"metadata":{"uid":"u"},"spec":{"nodeName":"n"},"status":{"phase":"Running"}}"#,
                ("u", "n", false),
            ),
            (
                r#"{"metadata":{"uid":"u"},"spec":{"nodeName":"n"},"status":{"phase":"Failed"}}"#,
                ("u", "n", true),
            ),
        ];
        for (stored, expected) in cases {
            let glance: Glance<'_> = serde_json::from_str(stored).unwrap();
            let seen = (&*glance.metadata.uid, &*glance.spec.node_name, glance.has_ended());
            assert_eq!(seen, expected, "{stored}");
        }
    }
}
