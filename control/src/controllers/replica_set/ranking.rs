//! Which pods go first when there are too many.
//!
//! Source: upstream's `ActivePodsWithRanks`. Ours is one key, hence a total order: where upstream
//! compares UIDs in between, ours does so last.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use crate::controllers::pods::{is_ready, node, phase, ready_since};

/// The `count` pods that are to go. `neighbours`: active pods of the same owner by node.
pub(super) fn first_to_go<'a>(
    now: Timestamp,
    mut pods: Vec<&'a Pod>,
    neighbours: &BTreeMap<String, usize>,
    count: usize,
) -> Vec<&'a Pod> {
    if count < pods.len() {
        pods.sort_by_cached_key(|pod| rank(now, pod, neighbours));
    }
    pods.truncate(count);
    pods
}

/// Lower goes first: not assigned, not running, not ready, cheap to delete, doubled up on its node,
/// ready for a short time, often restarted, young.
type Rank = (
    bool,
    u8,
    bool,
    i32,
    Reverse<usize>,
    Option<i64>,
    (Reverse<i32>, Reverse<i32>),
    Option<i64>,
    String,
);

fn rank(now: Timestamp, pod: &Pod, neighbours: &BTreeMap<String, usize>) -> Rank {
    let node = node(pod);
    let ready = is_ready(pod);
    (
        node.is_some(),
        match phase(pod) {
            "Pending" => 0,
            "Running" => 2,
            _ => 1,
        },
        ready,
        deletion_cost(pod),
        Reverse(node.and_then(|node| neighbours.get(node)).copied().unwrap_or(0)),
        // An unknown time goes before all known ones.
        if ready { ready_since(pod).map(|since| age_magnitude(now, since)) } else { None },
        restarts(pod),
        pod.metadata.creation_timestamp.as_ref().map(|time| age_magnitude(now, time.0)),
        pod.metadata.uid.clone().unwrap_or_default(),
    )
}

fn deletion_cost(pod: &Pod) -> i32 {
    let annotations = pod.metadata.annotations.as_ref();
    annotations
        .and_then(|annotations| annotations.get("controller.kubernetes.io/pod-deletion-cost"))
        .and_then(|cost| cost.parse().ok())
        .unwrap_or(0)
}

/// Ages are compared by their binary magnitude, so that among pods of about the same age the choice
/// is as good as random.
fn age_magnitude(now: Timestamp, then: Timestamp) -> i64 {
    let age = now.as_nanosecond() - then.as_nanosecond();
    if age <= 0 { -1 } else { i64::from(age.ilog2()) }
}

/// The most restarts of a container, then of a sidecar.
fn restarts(pod: &Pod) -> (Reverse<i32>, Reverse<i32>) {
    let Some(status) = &pod.status else { return (Reverse(0), Reverse(0)) };
    let is_sidecar = |container: &&ContainerStatus| {
        pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten()).any(|init| {
            init.name == container.name && init.restart_policy.as_deref() == Some("Always")
        })
    };
    let most = |count: i32, container: &ContainerStatus| count.max(container.restart_count);
    let regular = status.container_statuses.iter().flatten().fold(0, most);
    let sidecars = status.init_container_statuses.iter().flatten().filter(is_sidecar).fold(0, most);
    (Reverse(regular), Reverse(sidecars))
}

#[cfg(test)]
mod tests {
    use super::super::outline::Outline;
    use super::*;

    /// The names in the order in which they go.
    fn check(pods: &[&str], neighbours: &[(&str, usize)]) -> Vec<String> {
        let pods: Vec<Outline> =
            pods.iter().map(|pod| serde_yaml::from_str(pod).unwrap()).collect();
        let neighbours = neighbours.iter().map(|(n, count)| ((*n).to_owned(), *count)).collect();
        let now = "2026-01-01T01:00:00Z".parse().unwrap();
        // Asking for all but one sorts; the last is added by hand.
        let mut all: Vec<&Pod> = pods.iter().map(|pod| &**pod).collect();
        all.sort_by_cached_key(|pod| rank(now, pod, &neighbours));
        all.iter().map(|pod| pod.metadata.name.clone().unwrap()).collect()
    }

    fn ready(name: &str, node: &str, since: &str, more: &str) -> String {
        format!(
            "{{metadata: {{name: {name}, uid: {name}, creationTimestamp: '2026-01-01T00:00:00Z', {more}}}, \
             spec: {{nodeName: {node}, containers: []}}, status: {{phase: Running, conditions: \
             [{{type: Ready, status: 'True', lastTransitionTime: '{since}'}}]}}}}"
        )
    }

    #[test]
    fn unassigned_pending_and_unready_pods_go_before_ready_ones() {
        let order = check(
            &[
                &ready("ready", "a", "2026-01-01T00:00:00Z", ""),
                "{metadata: {name: unready}, spec: {nodeName: a, containers: []}, status: {phase: Running}}",
                "{metadata: {name: pending}, spec: {nodeName: a, containers: []}, status: {phase: Pending}}",
                "{metadata: {name: unknown}, spec: {nodeName: a, containers: []}, status: {phase: Unknown}}",
                "{metadata: {name: unassigned}, spec: {containers: []}, status: {phase: Pending}}",
            ],
            &[],
        );
        assert_eq!(order, ["unassigned", "pending", "unknown", "unready", "ready"]);
    }

    #[test]
    fn deletion_cost_beats_crowding_and_crowding_beats_age() {
        let since = "2026-01-01T00:00:00Z";
        let cheap = "annotations: {controller.kubernetes.io/pod-deletion-cost: '-5'}";
        let order = check(
            &[
                &ready("crowded", "a", since, ""),
                &ready("young", "b", "2026-01-01T00:59:50Z", ""),
                &ready("old", "b", since, ""),
                &ready("cheap", "b", since, cheap),
            ],
            &[("a", 3), ("b", 1)],
        );
        assert_eq!(order, ["cheap", "crowded", "young", "old"]);
    }

    #[test]
    fn ready_times_of_one_magnitude_are_equal_and_restarts_decide() {
        let restarted = ready("restarted", "a", "2026-01-01T00:00:00Z", "")
            .replace("phase: Running", "phase: Running, containerStatuses: [{name: c, image: i, imageID: '', ready: true, restartCount: 4}]");
        let order = check(&[&ready("calm", "a", "2026-01-01T00:05:00Z", ""), &restarted], &[]);
        assert_eq!(order, ["restarted", "calm"]);
    }
}
