//! What to do about one node: the next step, whichever it is.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, NodeCondition, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use super::NODES;
use super::taints::wanted_taints;
use crate::controllers::pods::{PODS, is_ready, with_condition};
use crate::engine::{Action, Key, Note, Plan, Update, about, merge_patch};

/// The conditions that a kubelet posts, and that become Unknown when it falls silent.
const POSTED: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

pub(super) struct Observed {
    pub(super) node: Arc<Node>,
    /// When it was last heard of, by our clock.
    pub(super) heard: Timestamp,
    /// Seen for the first time.
    pub(super) new: bool,
    pub(super) grace: Duration,
    /// Whether any node at all is ready.
    pub(super) any_ready: bool,
    /// The pods on it; filled only where it is lost.
    pub(super) pods: Vec<Arc<Pod>>,
}

pub(super) fn ready(node: &Node) -> Option<&NodeCondition> {
    condition(node, "Ready")
}

pub(super) fn ready_status(node: &Node) -> Option<&str> {
    ready(node).map(|condition| condition.status.as_str())
}

fn condition<'a>(node: &'a Node, kind: &str) -> Option<&'a NodeCondition> {
    node.status.as_ref()?.conditions.iter().flatten().find(|condition| condition.type_ == kind)
}

/// The node is gone: say so, where it was known.
pub(super) fn removed(name: &str, uid: Option<String>) -> Plan {
    let Some(uid) = uid else { return Plan::nothing("gone") };
    let about = Arc::new(ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Node".to_owned()),
        name: Some(name.to_owned()),
        uid: Some(uid),
        ..ObjectReference::default()
    });
    let message = format!("Node {name} event: Removing Node {name} from Controller");
    Plan {
        actions: vec![Action::Event(Note::normal(&about, "RemovingNode", message.into()))],
        why: "gone".to_owned(),
        ..Plan::default()
    }
}

pub(super) fn plan(now: Timestamp, observed: &Observed) -> Plan {
    let node = &*observed.node;
    if node.metadata.deletion_timestamp.is_some() {
        return Plan::nothing("being deleted");
    }
    let mut plan = step(now, observed);
    if observed.new {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let message = format!("Node {name} event: Registered Node {name} in Controller");
        let note = Note::normal(&about(node), "RegisteredNode", message.into());
        plan.actions.insert(0, Action::Event(note));
    }
    if ready_status(node) != Some("Unknown") && plan.again.is_none() {
        let left = silent_in(now, observed).max(SignedDuration::from_millis(10));
        plan.again = Duration::try_from(left).ok();
    }
    plan
}

/// How long until the node counts as lost.
fn silent_in(now: Timestamp, observed: &Observed) -> SignedDuration {
    // A node that starts has half as much time again for its first word.
    let starting = ready(&observed.node).is_none();
    let grace = if starting { observed.grace.mul_f64(1.5) } else { observed.grace };
    let grace = SignedDuration::try_from(grace).unwrap_or(SignedDuration::MAX);
    grace - now.duration_since(observed.heard)
}

fn step(now: Timestamp, observed: &Observed) -> Plan {
    let node = &*observed.node;
    if !silent_in(now, observed).is_positive()
        && let Some(plan) = lose(now, node)
    {
        return plan;
    }
    if let Some(taints) = wanted_taints(now, node, observed.any_ready) {
        let patch = json!({ "spec": { "taints": taints } });
        return Plan {
            actions: vec![Action::Patch {
                key: Key::of(NODES, &node.metadata),
                subresource: None,
                patch: merge_patch(&node.metadata, patch),
                done: None,
            }],
            why: "taints follow conditions".to_owned(),
            ..Plan::default()
        };
    }
    if ready_status(node) == Some("Unknown") {
        return unready_pods(now, observed);
    }
    Plan::nothing("heard of in time")
}

/// Marks the node as lost; `None` where it is marked.
fn lose(now: Timestamp, node: &Node) -> Option<Plan> {
    let mut lost = node.clone();
    let created = node.metadata.creation_timestamp.clone();
    let conditions = lost.status.get_or_insert_default().conditions.get_or_insert_default();
    for kind in POSTED {
        match conditions.iter_mut().find(|condition| condition.type_ == kind) {
            None => conditions.push(NodeCondition {
                type_: kind.to_owned(),
                status: "Unknown".to_owned(),
                reason: Some("NodeStatusNeverUpdated".to_owned()),
                message: Some("Kubelet never posted node status.".to_owned()),
                last_heartbeat_time: created.clone(),
                last_transition_time: Some(Time(now)),
            }),
            Some(condition) if condition.status != "Unknown" => {
                condition.status = "Unknown".to_owned();
                condition.reason = Some("NodeStatusUnknown".to_owned());
                condition.message = Some("Kubelet stopped posting node status.".to_owned());
                condition.last_transition_time = Some(Time(now));
            }
            Some(_) => {}
        }
    }
    if ready_status(node) == Some("Unknown") {
        return None;
    }
    let mut actions = Vec::new();
    if ready_status(node) == Some("True") {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let message = format!("Node {name} status is now: NodeNotReady");
        actions.push(Action::Event(Note::normal(&about(node), "NodeNotReady", message.into())));
    }
    Some(Plan {
        actions,
        status: Some(Update::status(Key::of(NODES, &node.metadata), &lost)),
        why: "not heard of in time".to_owned(),
        ..Plan::default()
    })
}

/// What runs on a lost node cannot be relied on.
fn unready_pods(now: Timestamp, observed: &Observed) -> Plan {
    let actions: Vec<Action> = observed
        .pods
        .iter()
        .filter(|pod| is_ready(pod))
        .filter_map(|pod| {
            let conditions = with_condition(pod, "Ready", "False", None, None, now)?;
            let patch = json!({ "status": { "conditions": conditions } });
            Some(Action::Patch {
                key: Key::of(PODS, &pod.metadata),
                subresource: Some("status"),
                patch: merge_patch(&pod.metadata, patch),
                done: Some(Note::warning(
                    &about(&**pod),
                    "NodeNotReady",
                    "Node is not ready".into(),
                )),
            })
        })
        .collect();
    let why = format!("lost; {} of its pods become unready", actions.len());
    Plan { actions, why, ..Plan::default() }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::engine::show_plan;

    fn node(conditions: &str, spec: &str) -> String {
        format!(
            "{{metadata: {{name: n1, uid: u, resourceVersion: '8', creationTimestamp: '2026-01-01T00:00:00Z'}}, \
             spec: {{{spec}}}, status: {{conditions: [{conditions}]}}}}"
        )
    }

    const READY: &str = "{type: Ready, status: 'True', reason: KubeletReady, lastTransitionTime: '2026-01-01T00:00:00Z'}";
    const LOST: &str = "{type: Ready, status: Unknown}, {type: MemoryPressure, status: Unknown}, \
                        {type: DiskPressure, status: Unknown}, {type: PIDPressure, status: Unknown}";

    fn check(node: &str, silent_seconds: i64, any_ready: bool, pods: &[&str], expected: Expect) {
        let now: Timestamp = "2026-01-01T01:00:00Z".parse().unwrap();
        let observed = Observed {
            node: Arc::new(serde_yaml::from_str(node).unwrap()),
            heard: now.checked_sub(SignedDuration::from_secs(silent_seconds)).unwrap(),
            new: false,
            grace: Duration::from_secs(40),
            any_ready,
            pods: pods.iter().map(|pod| Arc::new(serde_yaml::from_str(pod).unwrap())).collect(),
        };
        expected.assert_eq(&show_plan(&plan(now, &observed)));
    }

    #[test]
    fn a_node_that_is_heard_of_is_left_alone_until_its_grace_ends() {
        check(
            &node(READY, ""),
            10,
            true,
            &[],
            expect![[r#"
            again in 30s
            why heard of in time
        "#]],
        );
    }

    #[test]
    fn a_silent_node_becomes_unknown() {
        check(
            &node(READY, ""),
            41,
            true,
            &[],
            expect![[r#"
            event Normal NodeNotReady: Node n1 status is now: NodeNotReady
            status nodes/n1 {"status":{"conditions":[{"lastTransitionTime":"2026-01-01T01:00:00Z","message":"Kubelet stopped posting node status.","reason":"NodeStatusUnknown","status":"Unknown","type":"Ready"},{"lastHeartbeatTime":"2026-01-01T00:00:00Z","lastTransitionTime":"2026-01-01T01:00:00Z","message":"Kubelet never posted node status.","reason":"NodeStatusNeverUpdated","status":"Unknown","type":"MemoryPressure"},{"lastHeartbeatTime":"2026-01-01T00:00:00Z","lastTransitionTime":"2026-01-01T01:00:00Z","message":"Kubelet never posted node status.","reason":"NodeStatusNeverUpdated","status":"Unknown","type":"DiskPressure"},{"lastHeartbeatTime":"2026-01-01T00:00:00Z","lastTransitionTime":"2026-01-01T01:00:00Z","message":"Kubelet never posted node status.","reason":"NodeStatusNeverUpdated","status":"Unknown","type":"PIDPressure"}]}}
            again in 10ms
            why not heard of in time
        "#]],
        );
        check(
            &node("", ""),
            41,
            true,
            &[],
            expect![[r#"
            again in 19s
            why heard of in time
        "#]],
        );
        check(
            &node("", ""),
            61,
            true,
            &[],
            expect![[r#"
            status nodes/n1 {"status":{"conditions":[{"lastHeartbeatTime":"2026-01-01T00:00:00Z","lastTransitionTime":"2026-01-01T01:00:00Z","message":"Kubelet never posted node status.","reason":"NodeStatusNeverUpdated","status":"Unknown","type":"Ready"},{"lastHeartbeatTime":"2026-01-01T00:00:00Z","lastTransitionTime":"2026-01-01T01:00:00Z","message":"Kubelet never posted node status.","reason":"NodeStatusNeverUpdated","status":"Unknown","type":"MemoryPressure"},{"lastHeartbeatTime":"2026-01-01T00:00:00Z","lastTransitionTime":"2026-01-01T01:00:00Z","message":"Kubelet never posted node status.","reason":"NodeStatusNeverUpdated","status":"Unknown","type":"DiskPressure"},{"lastHeartbeatTime":"2026-01-01T00:00:00Z","lastTransitionTime":"2026-01-01T01:00:00Z","message":"Kubelet never posted node status.","reason":"NodeStatusNeverUpdated","status":"Unknown","type":"PIDPressure"}]}}
            again in 10ms
            why not heard of in time
        "#]],
        );
    }

    #[test]
    fn a_lost_node_is_tainted_and_its_pods_become_unready() {
        check(
            &node(LOST, ""),
            45,
            true,
            &[],
            expect![[r#"
            patch nodes/n1 {"metadata":{"resourceVersion":"8"},"spec":{"taints":[{"effect":"NoSchedule","key":"node.kubernetes.io/unreachable","timeAdded":"2026-01-01T01:00:00Z"},{"effect":"NoExecute","key":"node.kubernetes.io/unreachable","timeAdded":"2026-01-01T01:00:00Z"}]}}
            why taints follow conditions
        "#]],
        );
        let tainted = "taints: [{key: node.kubernetes.io/unreachable, effect: NoSchedule}, \
                       {key: node.kubernetes.io/unreachable, effect: NoExecute}]";
        let pod = "{metadata: {name: p, namespace: shop, uid: p, resourceVersion: '9'}, \
                   status: {phase: Running, conditions: [{type: Ready, status: 'True'}]}}";
        check(
            &node(LOST, tainted),
            45,
            true,
            &[pod],
            expect![[r#"
            patch pods/shop/p/status {"metadata":{"resourceVersion":"9"},"status":{"conditions":[{"lastTransitionTime":"2026-01-01T01:00:00Z","status":"False","type":"Ready"}]}}
              event Warning NodeNotReady: Node is not ready
            why lost; 1 of its pods become unready
        "#]],
        );
    }

    #[test]
    fn where_no_node_is_ready_nothing_is_evicted() {
        check(
            &node(LOST, ""),
            45,
            false,
            &[],
            expect![[r#"
            patch nodes/n1 {"metadata":{"resourceVersion":"8"},"spec":{"taints":[{"effect":"NoSchedule","key":"node.kubernetes.io/unreachable","timeAdded":"2026-01-01T01:00:00Z"}]}}
            why taints follow conditions
        "#]],
        );
    }

    #[test]
    fn a_node_that_came_back_loses_its_taints_and_keeps_others() {
        let tainted = "taints: [{key: mine, effect: NoExecute}, {key: node.kubernetes.io/unreachable, effect: NoSchedule}, \
                       {key: node.kubernetes.io/unreachable, effect: NoExecute}]";
        check(
            &node(READY, tainted),
            1,
            true,
            &[],
            expect![[r#"
            patch nodes/n1 {"metadata":{"resourceVersion":"8"},"spec":{"taints":[{"effect":"NoExecute","key":"mine"}]}}
            again in 39s
            why taints follow conditions
        "#]],
        );
    }

    #[test]
    fn a_cordoned_node_is_tainted() {
        check(
            &node(READY, "unschedulable: true"),
            1,
            true,
            &[],
            expect![[r#"
            patch nodes/n1 {"metadata":{"resourceVersion":"8"},"spec":{"taints":[{"effect":"NoSchedule","key":"node.kubernetes.io/unschedulable","timeAdded":"2026-01-01T01:00:00Z"}]}}
            again in 39s
            why taints follow conditions
        "#]],
        );
    }
}
