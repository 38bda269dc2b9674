//! Pods that do not tolerate a NoExecute taint of their node leave it: at once, or when the time is
//! up for which they tolerate it.
//!
//! Source of the behaviour: upstream's `pkg/controller/tainteviction`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, ObjectReference, Pod, Taint, Toleration};
use parking_lot::Mutex;

use super::node_lifecycle::NODES;
use super::pods::{PODS, disruption, node};
use crate::engine::{
    Action, Change, Context, Controller, Delete, Key, Note, Plan, Reader, merge_patch,
};

/// See the module's documentation.
#[derive(Default)]
pub(super) struct TaintEviction {
    /// By node: since when each pod (by UID) has been on borrowed time. Starts anew with the process.
    since: Mutex<HashMap<String, HashMap<String, Borrowed>>>,
}

#[derive(Clone)]
struct Borrowed {
    since: Timestamp,
    namespace: String,
    name: String,
}

impl Controller for TaintEviction {
    fn name(&self) -> &'static str {
        "taint-eviction-controller"
    }

    fn observes(&self) -> &'static [&'static str] {
        &[NODES, PODS]
    }

    fn keys(&self, reader: &Reader, change: &Change) -> Vec<Key> {
        let object = &change.object;
        if &*change.resource == NODES {
            return vec![Key::new(NODES, "", object.name())];
        }
        // A pod that has just come to a tainted node, or whose tolerations changed.
        let Some(node) = change.head.node() else { return Vec::new() };
        let same = change.before.as_ref().is_some_and(|before| before.same_tolerance(&change.head));
        if change.deleted || same || !is_tainted(reader, node) {
            return Vec::new();
        }
        vec![Key::new(NODES, "", node)]
    }

    fn plan(&self, context: &Context<'_>, key: &Key) -> Plan {
        plan(context.now, &self.observe(context, key))
    }
}

fn is_tainted(reader: &Reader, node: &str) -> bool {
    reader.get::<Node>(NODES, "", node).is_some_and(|node| {
        let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
        taints.into_iter().flatten().any(|taint| taint.effect == "NoExecute")
    })
}

impl TaintEviction {
    fn observe(&self, context: &Context<'_>, key: &Key) -> Observed {
        let node: Option<Arc<Node>> = context.reader.at(key);
        let taints: Vec<Taint> = node
            .iter()
            .filter_map(|node| node.spec.as_ref())
            .flat_map(|spec| spec.taints.iter().flatten())
            .filter(|taint| taint.effect == "NoExecute")
            .cloned()
            .collect();
        let mut since = self.since.lock();
        if taints.is_empty() {
            let spared = since.remove(&*key.name).unwrap_or_default();
            let mut spared: Vec<Borrowed> = spared.into_values().collect();
            spared.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
            return Observed {
                taints,
                pods: Vec::new(),
                spared: if node.is_some() { spared } else { Vec::new() },
            };
        }
        let since = since.entry(key.name.to_string()).or_default();
        let pods: Vec<(Arc<Pod>, Timestamp)> = context
            .reader
            .pods_on_node::<Pod>(&key.name)
            .into_iter()
            .map(|pod| {
                let borrowed = since
                    .entry(pod.metadata.uid.clone().unwrap_or_default())
                    .or_insert_with(|| Borrowed {
                        since: context.now,
                        namespace: pod.metadata.namespace.clone().unwrap_or_default(),
                        name: pod.metadata.name.clone().unwrap_or_default(),
                    });
                let at = borrowed.since;
                (pod, at)
            })
            .collect();
        since.retain(|uid, _| {
            pods.iter().any(|(pod, _)| {
                pod.metadata.uid.as_ref() == Some(uid)
                    // Those that tolerate everything were never to be evicted.
                    && verdict(&taints, tolerations(pod)) != Verdict::Stay
            })
        });
        Observed { taints, pods, spared: Vec::new() }
    }
}

struct Observed {
    /// The node's NoExecute taints.
    taints: Vec<Taint>,
    /// The pods on it, with the time since when they have been on it with such taints.
    pods: Vec<(Arc<Pod>, Timestamp)>,
    /// Those that need not go any more.
    spared: Vec<Borrowed>,
}

/// What taints mean for a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Go,
    GoAfter(SignedDuration),
    Stay,
}

fn tolerations(pod: &Pod) -> &[Toleration] {
    let tolerations = pod.spec.as_ref().and_then(|spec| spec.tolerations.as_ref());
    tolerations.map_or(&[], Vec::as_slice)
}

fn verdict(taints: &[Taint], tolerations: &[Toleration]) -> Verdict {
    let mut shortest: Option<i64> = None;
    for taint in taints {
        let Some(toleration) = tolerations.iter().find(|t| tolerates(t, taint)) else {
            return Verdict::Go;
        };
        if let Some(seconds) = toleration.toleration_seconds {
            shortest = Some(shortest.map_or(seconds, |least| least.min(seconds)));
        }
    }
    match shortest {
        None => Verdict::Stay,
        Some(seconds) if seconds <= 0 => Verdict::Go,
        Some(seconds) => Verdict::GoAfter(SignedDuration::from_secs(seconds)),
    }
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let given = |field: &Option<String>| field.clone().filter(|text| !text.is_empty());
    if given(&toleration.effect).is_some_and(|effect| effect != taint.effect)
        || given(&toleration.key).is_some_and(|key| key != taint.key)
    {
        return false;
    }
    match toleration.operator.as_deref() {
        Some("Exists") => true,
        None | Some("" | "Equal") => given(&toleration.value) == given(&taint.value),
        Some(_) => false,
    }
}

fn plan(now: Timestamp, observed: &Observed) -> Plan {
    let mut marks = Vec::new();
    let mut deletes = Vec::new();
    let mut again: Option<Duration> = None;
    for (pod, since) in &observed.pods {
        if pod.metadata.deletion_timestamp.is_some() || node(pod).is_none() {
            continue;
        }
        let left = match verdict(&observed.taints, tolerations(pod)) {
            Verdict::Stay => continue,
            Verdict::Go => SignedDuration::ZERO,
            Verdict::GoAfter(time) => time - now.duration_since(*since),
        };
        match Duration::try_from(left) {
            Ok(left) if !left.is_zero() => {
                again = Some(again.map_or(left, |soonest| soonest.min(left)));
            }
            _ => evict(now, pod, &mut marks, &mut deletes),
        }
    }
    let why = match (observed.taints.len(), deletes.len()) {
        (0, _) => "no taint drives pods away".to_owned(),
        (taints, pods) => format!("{taints} taints; {pods} pods leave now"),
    };
    let spared = observed.spared.iter().map(|pod| {
        let (namespace, name) = (&pod.namespace, &pod.name);
        event(namespace, name, format!("Cancelling deletion of Pod {namespace}/{name}"))
    });
    let actions = spared.chain(marks).chain(deletes).collect();
    Plan { actions, why, again, ..Plan::default() }
}

fn evict(now: Timestamp, pod: &Pod, marks: &mut Vec<Action>, deletes: &mut Vec<Action>) {
    let message = "Taint manager: deleting due to NoExecute taint";
    if let Some(patch) = disruption(pod, "DeletionByTaintManager", message, now) {
        marks.push(Action::Patch {
            key: Key::of(PODS, &pod.metadata),
            subresource: Some("status"),
            patch: merge_patch(&pod.metadata, patch),
            done: None,
        });
    }
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let message = format!("Marking for deletion Pod {namespace}/{name}");
    let note = Note::normal(&reference(namespace, name), "TaintManagerEviction", message.into());
    deletes.push(Action::Delete(Delete { done: Some(note), ..Delete::of(PODS, &pod.metadata) }));
}

fn event(namespace: &str, name: &str, message: String) -> Action {
    Action::Event(Note::normal(&reference(namespace, name), "TaintManagerEviction", message.into()))
}

fn reference(namespace: &str, name: &str) -> Arc<ObjectReference> {
    Arc::new(ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        namespace: Some(namespace.to_owned()),
        name: Some(name.to_owned()),
        ..ObjectReference::default()
    })
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::engine::show_plan;

    fn check(taints: &str, tolerations: &str, seconds: i64, expected: Expect) {
        let now: Timestamp = "2026-01-01T01:00:00Z".parse().unwrap();
        let pod = format!(
            "{{metadata: {{name: p, namespace: shop, uid: p, resourceVersion: '4'}}, \
             spec: {{nodeName: n, containers: [], tolerations: [{tolerations}]}}, \
             status: {{conditions: [{{type: DisruptionTarget, status: 'True', reason: DeletionByTaintManager, \
             message: 'Taint manager: deleting due to NoExecute taint'}}]}}}}"
        );
        let observed = Observed {
            taints: serde_yaml::from_str(taints).unwrap(),
            pods: vec![(
                Arc::new(serde_yaml::from_str(&pod).unwrap()),
                now.checked_sub(SignedDuration::from_secs(seconds)).unwrap(),
            )],
            spared: Vec::new(),
        };
        expected.assert_eq(&show_plan(&plan(now, &observed)));
    }

    const LOST: &str = "[{key: node.kubernetes.io/unreachable, effect: NoExecute}]";
    const DEFAULT: &str = "{key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 300}";

    #[test]
    fn a_pod_without_toleration_leaves_at_once() {
        check(LOST, "", 0, expect![[r#""#]]);
        check(LOST, "{key: other, operator: Exists}", 0, expect![[r#""#]]);
    }

    #[test]
    fn a_toleration_with_seconds_lends_that_time() {
        check(LOST, DEFAULT, 100, expect![[r#""#]]);
        check(LOST, DEFAULT, 300, expect![[r#""#]]);
    }

    #[test]
    fn a_toleration_without_limit_keeps_the_pod() {
        check(LOST, "{operator: Exists}", 9999, expect![[r#""#]]);
        let two = "[{key: a, value: x, effect: NoExecute}, {key: b, effect: NoExecute}]";
        let forever = "{key: a, value: x}, {key: b, operator: Exists, tolerationSeconds: 20}";
        check(two, forever, 5, expect![[r#""#]]);
    }

    #[test]
    fn pods_are_told_when_they_may_stay_after_all() {
        let observed = Observed {
            taints: Vec::new(),
            pods: Vec::new(),
            spared: vec![Borrowed {
                since: Timestamp::UNIX_EPOCH,
                namespace: "shop".to_owned(),
                name: "p".to_owned(),
            }],
        };
        expect![[r#""#]].assert_eq(&show_plan(&plan(Timestamp::UNIX_EPOCH, &observed)));
    }
}
