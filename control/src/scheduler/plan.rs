//! The decision: a pod and a snapshot → a node, or why none. Pure.

use std::collections::BTreeMap;
use std::fmt;

use super::filters::{FILTERS, Reason};
use super::scores;
use super::snapshot::{NodeInfo, PodInfo, Snapshot};

/// Below so many nodes all are looked at; above, a share that shrinks to a twentieth. Upstream's
/// adaptive `percentageOfNodesToScore`.
const NODES_ALWAYS: usize = 100;

/// Why no node fits: how many nodes there are, and how many each reason rules out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unschedulable {
    pub nodes: usize,
    pub reasons: BTreeMap<Reason, usize>,
}

impl fmt::Display for Unschedulable {
    /// Upstream's form: `0/3 nodes are available: 1 Insufficient cpu, 2 node(s) were unschedulable.`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nodes == 0 {
            return f.write_str("no nodes available to schedule pods");
        }
        write!(f, "0/{} nodes are available", self.nodes)?;
        let mut counted: Vec<String> =
            self.reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        counted.sort();
        match counted.is_empty() {
            true => f.write_str("."),
            false => write!(f, ": {}.", counted.join(", ")),
        }
    }
}

/// What the pod demands that no rule here can judge: better pending with a reason than placed wrongly.
pub fn unsupported(pod: &PodInfo) -> Option<String> {
    let spec = pod.pod.spec.as_ref()?;
    let affinity = spec.affinity.as_ref();
    let field =
        if affinity.and_then(|affinity| affinity.pod_affinity.as_ref()).is_some_and(|rules| {
            rules.required_during_scheduling_ignored_during_execution.is_some()
        }) {
            "spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution"
        } else if affinity.and_then(|affinity| affinity.pod_anti_affinity.as_ref()).is_some_and(
            |rules| rules.required_during_scheduling_ignored_during_execution.is_some(),
        ) {
            "spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution"
        } else if spec
            .topology_spread_constraints
            .iter()
            .flatten()
            .any(|constraint| constraint.when_unsatisfiable == "DoNotSchedule")
        {
            "spec.topologySpreadConstraints with DoNotSchedule"
        } else {
            return None;
        };
    Some(format!(
        "{field} is not supported by this scheduler yet; remove it to have the pod scheduled"
    ))
}

/// Chooses a node. `start`: where in the node list to begin, so that samples rotate; `tie`: a
/// random number that breaks ties.
pub fn plan(
    pod: &PodInfo,
    snapshot: &Snapshot,
    start: usize,
    tie: u64,
) -> Result<String, Unschedulable> {
    let nodes = snapshot.nodes();
    let enough = sample_size(nodes.len());
    let mut fitting: Vec<&NodeInfo> = Vec::with_capacity(enough.min(nodes.len()));
    let mut refused = Unschedulable { nodes: nodes.len(), reasons: BTreeMap::new() };
    for offset in 0..nodes.len() {
        let node = &nodes[(start + offset) % nodes.len()];
        let reasons = objections(pod, node);
        if reasons.is_empty() {
            fitting.push(node);
            if fitting.len() >= enough {
                break;
            }
        }
        for reason in reasons {
            *refused.reasons.entry(reason).or_default() += 1;
        }
    }
    best(pod, &fitting, tie).map(|node| node.name().to_owned()).ok_or(refused)
}

fn objections(pod: &PodInfo, node: &NodeInfo) -> Vec<Reason> {
    let mut reasons = Vec::new();
    for filter in FILTERS {
        filter(pod, node, &mut reasons);
        if !reasons.is_empty() {
            break;
        }
    }
    reasons
}

fn best<'a>(pod: &PodInfo, fitting: &[&'a NodeInfo], tie: u64) -> Option<&'a NodeInfo> {
    if let [only] = fitting {
        return Some(only);
    }
    let totals = scores::total(pod, fitting);
    let top = *totals.iter().max()?;
    let ties: Vec<&NodeInfo> = fitting
        .iter()
        .zip(&totals)
        .filter(|(_, total)| **total == top)
        .map(|(node, _)| *node)
        .collect();
    let nth = usize::try_from(tie % u64::try_from(ties.len()).ok()?).ok()?;
    ties.get(nth).copied()
}

fn sample_size(nodes: usize) -> usize {
    if nodes <= NODES_ALWAYS {
        return nodes;
    }
    let percent = 50_usize.saturating_sub(nodes / 125).max(5);
    (nodes * percent / 100).max(NODES_ALWAYS)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;

    fn node(name: &str, spec: Value, labels: Value) -> Arc<k8s_openapi::api::core::v1::Node> {
        let node = json!({
            "metadata": {"name": name, "labels": labels},
            "spec": spec,
            "status": {"allocatable": {"cpu": "2", "memory": "4Gi", "pods": "3"}},
        });
        Arc::new(serde_json::from_value(node).expect("a node"))
    }

    fn pod(uid: &str, spec: Value) -> PodInfo {
        let mut pod = json!({
            "metadata": {"name": uid, "uid": uid, "ownerReferences": [
                {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "rs", "uid": "rs", "controller": true},
            ]},
            "spec": {"containers": [{"name": "c"}]},
        });
        for (key, value) in spec.as_object().expect("an object") {
            pod["spec"][key] = value.clone();
        }
        PodInfo::new(Arc::new(serde_json::from_value(pod).expect("a pod")))
    }

    fn cpu(amount: &str) -> Value {
        json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": amount}}}]})
    }

    fn three_nodes() -> Snapshot {
        let mut snapshot = Snapshot::default();
        snapshot.apply_node(node("a", json!({}), json!({"disk": "ssd"})));
        snapshot.apply_node(node("b", json!({"unschedulable": true}), json!({})));
        snapshot.apply_node(node(
            "c",
            json!({"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]}),
            json!({}),
        ));
        snapshot
    }

    fn check(pod: &PodInfo, expected: Result<&str, &str>) {
        let got = plan(pod, &three_nodes(), 0, 0);
        match (got, expected) {
            (Ok(node), Ok(expected)) => assert_eq!(node, expected),
            (Err(why), Err(expected)) => assert_eq!(why.to_string(), expected),
            (got, expected) => panic!("{got:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn a_pod_goes_where_it_fits() {
        check(&pod("p", json!({})), Ok("a"));
        check(&pod("p", json!({"nodeSelector": {"disk": "ssd"}})), Ok("a"));
    }

    #[test]
    fn the_reasons_are_counted_in_upstreams_form() {
        check(
            &pod("p", cpu("3")),
            Err(
                "0/3 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint(s) {k: v}, 1 node(s) were unschedulable.",
            ),
        );
        check(
            &pod(
                "p",
                json!({"nodeSelector": {"disk": "tape"}, "tolerations": [{"operator": "Exists"}]}),
            ),
            Err("0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector."),
        );
    }

    #[test]
    fn required_affinity_terms_are_alternatives() {
        let term = |key: &str, operator: &str| json!({"matchExpressions": [{"key": key, "operator": operator}]});
        let affinity = |terms: Value| {
            json!({
                "tolerations": [{"operator": "Exists"}],
                "affinity": {"nodeAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}},
            })
        };
        check(&pod("p", affinity(json!([term("disk", "Exists"), term("x", "Exists")]))), Ok("a"));
        check(
            &pod("p", affinity(json!([{}]))),
            Err("0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector."),
        );
    }

    #[test]
    fn replicas_of_one_controller_spread() {
        let mut snapshot = Snapshot::default();
        for name in ["a", "b", "c"] {
            snapshot.apply_node(node(name, json!({}), json!({})));
        }
        let mut nodes = Vec::new();
        for number in 0..6 {
            let pod = pod(&format!("p{number}"), json!({}));
            let node = plan(&pod, &snapshot, 0, number).expect("a node");
            snapshot.place(&pod, &node);
            nodes.push(node);
        }
        nodes.sort();
        assert_eq!(nodes, ["a", "a", "b", "b", "c", "c"]);
    }

    #[test]
    fn a_full_node_takes_no_more_pods_until_one_is_forgotten() {
        let mut snapshot = Snapshot::default();
        snapshot.apply_node(node("a", json!({}), json!({})));
        for uid in ["1", "2", "3"] {
            snapshot.place(&pod(uid, json!({})), "a");
        }
        let fourth = pod("4", json!({}));
        let why = plan(&fourth, &snapshot, 0, 0).expect_err("the node is full");
        assert_eq!(why.to_string(), "0/1 nodes are available: 1 Too many pods.");
        snapshot.forget("2");
        assert_eq!(plan(&fourth, &snapshot, 0, 0).as_deref(), Ok("a"));
    }

    #[test]
    fn a_cluster_without_nodes_says_so() {
        let why = plan(&pod("p", json!({})), &Snapshot::default(), 0, 0).expect_err("no node");
        assert_eq!(why.to_string(), "no nodes available to schedule pods");
    }
}
