//! Pods that nobody else will ever remove: on nodes that are gone or out of service, never bound and
//! being deleted, finished and too many.
//!
//! Source of the behaviour: upstream's `pkg/controller/podgc`.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, Pod};
use parking_lot::Mutex;
use serde_json::json;

use super::node_lifecycle::NODES;
use super::pods::{PODS, disruption, is_terminal, node};
use crate::engine::{
    Action, Change, Context, Controller, Delete, EngineConfig, Key, Plan, Reader, merge_patch,
};

const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

/// Finished pods are looked through no more often than this.
const CENSUS: Duration = Duration::from_secs(20);

/// See the module's documentation.
pub(super) struct PodGc {
    quarantine: Duration,
    terminated_max: usize,
    /// Since when each node has been missed.
    missing: Mutex<HashMap<String, Timestamp>>,
    /// The pods that have ended and are still there: namespace and name.
    finished: Mutex<BTreeSet<(String, String)>>,
}

impl PodGc {
    pub(super) fn new(config: &EngineConfig) -> Self {
        Self {
            quarantine: config.node_monitor_grace,
            terminated_max: config.terminated_pods_max,
            missing: Mutex::default(),
            finished: Mutex::default(),
        }
    }

    /// Keeps count of the pods that have ended; says whether there are too many.
    fn count(&self, change: &Change) -> bool {
        let place = (change.object.namespace().to_owned(), change.object.name().to_owned());
        let mut finished = self.finished.lock();
        if change.head.is_finished() && !change.deleted {
            finished.insert(place) && finished.len() > self.terminated_max
        } else {
            finished.remove(&place);
            false
        }
    }

    fn finished(&self, reader: &Reader) -> Vec<Arc<Pod>> {
        let finished = self.finished.lock();
        finished.iter().filter_map(|(namespace, name)| reader.get(PODS, namespace, name)).collect()
    }
}

impl Controller for PodGc {
    fn name(&self) -> &'static str {
        "pod-garbage-collector-controller"
    }

    fn observes(&self) -> &'static [&'static str] {
        &[NODES, PODS]
    }

    fn keys(&self, reader: &Reader, change: &Change) -> Vec<Key> {
        let object = &change.object;
        if &*change.resource == NODES {
            return vec![Key::new(NODES, "", object.name())];
        }
        let too_many = self.count(change);
        if change.deleted {
            return Vec::new();
        }
        let leaving = change.head.is_leaving();
        let mut keys = Vec::new();
        match change.head.node() {
            None if leaving => keys.push(Key::new(PODS, object.namespace(), object.name())),
            None => {}
            Some(name) => {
                let out = || {
                    let node = reader.get::<Node>(NODES, "", name);
                    node.is_some_and(|node| is_out_of_service(&node))
                };
                let missing = reader.object(NODES, "", name).is_none();
                if missing || (leaving && out()) {
                    keys.push(Key::new(NODES, "", name));
                }
            }
        }
        if too_many {
            keys.push(census());
        }
        keys
    }

    fn plan(&self, context: &Context<'_>, key: &Key) -> Plan {
        let reader = context.reader;
        if *key == census() {
            return plan_census(context.now, &self.finished(reader), self.terminated_max);
        }
        if &*key.resource == PODS {
            return match reader.at::<Pod>(key) {
                Some(pod) => plan_unbound(context.now, &pod),
                None => Plan::nothing("gone"),
            };
        }
        let node: Option<Arc<Node>> = reader.at(key);
        if node.is_none() && reader.object_at(key).is_some() {
            return Plan::nothing("the node cannot be decoded");
        }
        let mut missing = self.missing.lock();
        let missing_for = if node.is_some() {
            missing.remove(&*key.name);
            SignedDuration::ZERO
        } else {
            let since = *missing.entry(key.name.to_string()).or_insert(context.now);
            context.now.duration_since(since)
        };
        let observed = NodeObserved {
            node,
            pods: reader.pods_on_node(&key.name),
            missing_for,
            quarantine: self.quarantine,
        };
        if observed.pods.is_empty() {
            missing.remove(&*key.name);
        }
        plan_node(context.now, &observed)
    }
}

/// The key under which finished pods are counted.
fn census() -> Key {
    Key::new(PODS, "", "")
}

fn is_out_of_service(node: &Node) -> bool {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
    taints.into_iter().flatten().any(|taint| taint.key == OUT_OF_SERVICE)
}

struct NodeObserved {
    node: Option<Arc<Node>>,
    pods: Vec<Arc<Pod>>,
    missing_for: SignedDuration,
    quarantine: Duration,
}

fn plan_node(now: Timestamp, observed: &NodeObserved) -> Plan {
    let Some(node) = &observed.node else { return plan_missing(now, observed) };
    if !is_out_of_service(node) || is_node_ready(node) {
        return Plan::nothing("the node looks after its pods");
    }
    let leaving = |pod: &&Arc<Pod>| pod.metadata.deletion_timestamp.is_some();
    let actions: Vec<Action> =
        observed.pods.iter().filter(leaving).flat_map(|pod| remove(now, pod, None)).collect();
    Plan { actions, why: "the node is out of service".to_owned(), ..Plan::default() }
}

fn is_node_ready(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|ready| ready.type_ == "Ready" && ready.status == "True")
}

fn plan_missing(now: Timestamp, observed: &NodeObserved) -> Plan {
    if observed.pods.is_empty() {
        return Plan::nothing("no pods are left on it");
    }
    let quarantine = SignedDuration::try_from(observed.quarantine).unwrap_or(SignedDuration::MAX);
    let left = quarantine - observed.missing_for;
    if left.is_positive() {
        return Plan {
            again: Duration::try_from(left).ok(),
            ..Plan::nothing("the node may come back")
        };
    }
    let orphaned = Some(("DeletionByPodGC", "PodGC: node no longer exists"));
    let actions = observed.pods.iter().flat_map(|pod| remove(now, pod, orphaned)).collect();
    Plan { actions, why: "the node is gone".to_owned(), ..Plan::default() }
}

fn plan_unbound(now: Timestamp, pod: &Pod) -> Plan {
    if pod.metadata.deletion_timestamp.is_none() || node(pod).is_some() {
        return Plan::nothing("not ours to remove");
    }
    Plan {
        actions: remove(now, pod, None),
        why: "being deleted, and no node knows of it".to_owned(),
        ..Plan::default()
    }
}

fn plan_census(now: Timestamp, pods: &[Arc<Pod>], max: usize) -> Plan {
    let mut finished: Vec<&Arc<Pod>> = pods.iter().filter(|pod| is_terminal(pod)).collect();
    let count = finished.len();
    // Evicted ones first: those of controllers are worth more. Then the oldest.
    finished.sort_by_key(|pod| {
        let reason = pod.status.as_ref().and_then(|status| status.reason.as_deref());
        let created = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
        (reason != Some("Evicted"), created, pod.metadata.name.clone())
    });
    finished.truncate(count.saturating_sub(max));
    Plan {
        actions: finished.into_iter().flat_map(|pod| remove(now, pod, None)).collect(),
        why: format!("{count} finished pods, {max} are kept"),
        rest: CENSUS,
        ..Plan::default()
    }
}

/// Marks the pod as failed where it had not ended, and deletes it at once.
fn remove(now: Timestamp, pod: &Pod, disrupted: Option<(&str, &str)>) -> Vec<Action> {
    let mut patch = disrupted
        .and_then(|(reason, message)| disruption(pod, reason, message, now))
        .unwrap_or_else(|| json!({}));
    if !is_terminal(pod) {
        patch["status"]["phase"] = "Failed".into();
    }
    let mut actions = Vec::new();
    if patch.get("status").is_some() {
        actions.push(Action::Patch {
            key: Key::of(PODS, &pod.metadata),
            subresource: Some("status"),
            patch: merge_patch(&pod.metadata, patch),
            done: None,
        });
    }
    actions
        .push(Action::Delete(Delete { grace_seconds: Some(0), ..Delete::of(PODS, &pod.metadata) }));
    actions
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::engine::show_plan;

    fn pod(name: &str, more: &str, status: &str) -> Arc<Pod> {
        let text = format!(
            "{{metadata: {{name: {name}, namespace: shop, uid: {name}, resourceVersion: '4', {more}}}, \
             spec: {{containers: []}}, status: {status}}}"
        );
        Arc::new(serde_yaml::from_str(&text).unwrap())
    }

    fn check(plan: &Plan, expected: Expect) {
        expected.assert_eq(&show_plan(plan));
    }

    fn now() -> Timestamp {
        "2026-01-01T01:00:00Z".parse().unwrap()
    }

    fn missing(seconds: i64) -> NodeObserved {
        NodeObserved {
            node: None,
            pods: vec![pod("p", "", "{phase: Running}")],
            missing_for: SignedDuration::from_secs(seconds),
            quarantine: Duration::from_secs(40),
        }
    }

    #[test]
    fn pods_of_a_vanished_node_go_after_a_quarantine() {
        check(
            &plan_node(now(), &missing(10)),
            expect![[r#"
            again in 30s
            why the node may come back
        "#]],
        );
        check(
            &plan_node(now(), &missing(40)),
            expect![[r#"
            patch pods/shop/p/status {"metadata":{"resourceVersion":"4"},"status":{"conditions":[{"lastTransitionTime":"2026-01-01T01:00:00Z","message":"PodGC: node no longer exists","reason":"DeletionByPodGC","status":"True","type":"DisruptionTarget"}],"phase":"Failed"}}
            delete pods/shop/p Background grace=0
            why the node is gone
        "#]],
        );
    }

    #[test]
    fn an_unbound_pod_that_is_deleted_goes_at_once() {
        let leaving = "deletionTimestamp: '2026-01-01T00:00:00Z'";
        check(
            &plan_unbound(now(), &pod("p", leaving, "{phase: Pending}")),
            expect![[r#"
            patch pods/shop/p/status {"metadata":{"resourceVersion":"4"},"status":{"phase":"Failed"}}
            delete pods/shop/p Background grace=0
            why being deleted, and no node knows of it
        "#]],
        );
        check(
            &plan_unbound(now(), &pod("p", "", "{phase: Pending}")),
            expect![[r#"
            why not ours to remove
        "#]],
        );
    }

    #[test]
    fn of_too_many_finished_pods_the_evicted_and_the_oldest_go() {
        let pods = [
            pod("new", "creationTimestamp: '2026-01-01T00:00:03Z'", "{phase: Succeeded}"),
            pod("old", "creationTimestamp: '2026-01-01T00:00:01Z'", "{phase: Failed}"),
            pod(
                "evicted",
                "creationTimestamp: '2026-01-01T00:00:02Z'",
                "{phase: Failed, reason: Evicted}",
            ),
            pod("running", "", "{phase: Running}"),
        ];
        check(
            &plan_census(now(), &pods, 1),
            expect![[r#"
            delete pods/shop/evicted Background grace=0
            delete pods/shop/old Background grace=0
            why 3 finished pods, 1 are kept
        "#]],
        );
    }
}
