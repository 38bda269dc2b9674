//! How a pod is shown in a table, and what of it can be selected by.
//!
//! Source: `printPod` in `pkg/printers/internalversion`, `ToSelectableFields` in
//! `pkg/registry/core/pod`.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateTerminated, ContainerStatus, Pod, PodCondition, PodSpec,
    PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::Value;

use super::requests::is_sidecar;
use crate::kinds::{Column, meta};

pub const COLUMNS: &[Column] = &[
    Column::NAME,
    Column::new("Ready", "string", 0, "How many of the pod's containers are ready for traffic."),
    Column::new("Status", "string", 0, "The state of the pod's containers, in one word."),
    Column::new("Restarts", "string", 0, "How often containers were restarted, and when last."),
    Column::AGE,
    Column::new("IP", "string", 1, "The pod's address."),
    Column::new("Node", "string", 1, "The node that the pod runs on."),
    Column::new("Nominated Node", "string", 1, "The node where the pod is to replace others."),
    Column::new("Readiness Gates", "string", 1, "How many readiness gates are open."),
];

pub fn cells(pod: &Pod, now: Timestamp) -> Vec<Value> {
    let (no_spec, no_status) = (PodSpec::default(), PodStatus::default());
    let spec = pod.spec.as_ref().unwrap_or(&no_spec);
    let status = pod.status.as_ref().unwrap_or(&no_status);
    let summary = summarise(pod, spec, status);
    vec![
        meta::object_name(&pod.metadata),
        format!("{}/{}", summary.ready, summary.total).into(),
        summary.reason.into(),
        summary.restarts.text(now).into(),
        meta::object_age(&pod.metadata, now),
        or_none(first_ip(status)).into(),
        or_none(spec.node_name.as_deref()).into(),
        or_none(status.nominated_node_name.as_deref()).into(),
        readiness_gates(spec, status).into(),
    ]
}

pub fn selectable(pod: &Pod) -> Vec<(&'static str, String)> {
    let (no_spec, no_status) = (PodSpec::default(), PodStatus::default());
    let spec = pod.spec.as_ref().unwrap_or(&no_spec);
    let status = pod.status.as_ref().unwrap_or(&no_status);
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let ips: Vec<&str> = status.pod_ips.iter().flatten().map(|ip| ip.ip.as_str()).collect();
    vec![
        ("spec.nodeName", text(&spec.node_name)),
        ("spec.restartPolicy", text(&spec.restart_policy)),
        ("spec.schedulerName", text(&spec.scheduler_name)),
        ("spec.serviceAccountName", text(&spec.service_account_name)),
        ("spec.hostNetwork", spec.host_network.unwrap_or_default().to_string()),
        ("status.phase", text(&status.phase)),
        ("status.podIP", first_ip(status).unwrap_or_default().to_owned()),
        ("status.podIPs", ips.join(",")),
        ("status.nominatedNodeName", text(&status.nominated_node_name)),
    ]
}

/// What the table tells of a pod's containers.
struct Summary {
    reason: String,
    ready: usize,
    total: usize,
    restarts: Restarts,
}

#[derive(Clone, Default)]
struct Restarts {
    count: i64,
    last: Option<Timestamp>,
}

impl Restarts {
    fn add(&mut self, container: &ContainerStatus) {
        self.count += i64::from(container.restart_count);
        let last = container.last_state.as_ref().and_then(|state| state.terminated.as_ref());
        let finished = last.and_then(|end| end.finished_at.as_ref()).map(|Time(time)| *time);
        self.last = self.last.max(finished);
    }

    fn text(&self, now: Timestamp) -> String {
        match self.last {
            Some(last) if self.count != 0 => {
                format!("{} ({} ago)", self.count, meta::since(last, now))
            }
            _ => self.count.to_string(),
        }
    }
}

fn summarise(pod: &Pod, spec: &PodSpec, status: &PodStatus) -> Summary {
    let inits = spec.init_containers.as_deref().unwrap_or_default();
    let mut summary = Summary {
        reason: base_reason(status),
        ready: 0,
        total: spec.containers.len() + inits.iter().filter(|init| is_sidecar(init)).count(),
        restarts: Restarts::default(),
    };
    let mut sidecars = Restarts::default();
    let initialising = summarise_inits(spec, status, &mut summary, &mut sidecars);
    if !initialising || is_true(condition(status, "Initialized")) {
        summary.restarts = sidecars;
        summarise_containers(status, &mut summary);
    }
    if let Some(reason) = leaving_reason(pod, status) {
        summary.reason = reason.to_owned();
    }
    summary
}

fn base_reason(status: &PodStatus) -> String {
    let gated = status.conditions.iter().flatten().any(|condition| {
        condition.type_ == "PodScheduled" && condition.reason.as_deref() == Some("SchedulingGated")
    });
    if gated {
        return "SchedulingGated".to_owned();
    }
    let reason = status.reason.as_ref().filter(|reason| !reason.is_empty());
    reason.or(status.phase.as_ref()).cloned().unwrap_or_default()
}

/// Looks at the init containers up to the first that is not done; whether there is one.
fn summarise_inits(
    spec: &PodSpec,
    status: &PodStatus,
    summary: &mut Summary,
    sidecars: &mut Restarts,
) -> bool {
    let inits = spec.init_containers.as_deref().unwrap_or_default();
    for (index, container) in status.init_container_statuses.iter().flatten().enumerate() {
        let sidecar = inits.iter().any(|init| init.name == container.name && is_sidecar(init));
        summary.restarts.add(container);
        if sidecar {
            sidecars.add(container);
        }
        let state = state(container);
        match (&state.terminated, waiting_reason(state)) {
            (Some(end), _) if end.exit_code == 0 => continue,
            _ if sidecar && container.started == Some(true) => {
                summary.ready += usize::from(container.ready);
                continue;
            }
            (Some(end), _) => summary.reason = format!("Init:{}", end_reason(end)),
            (None, Some(reason)) if reason != "PodInitializing" => {
                summary.reason = format!("Init:{reason}");
            }
            _ => summary.reason = format!("Init:{index}/{}", inits.len()),
        }
        return true;
    }
    false
}

/// Looks at the containers from last to first, so that the first with something to tell is heard.
fn summarise_containers(status: &PodStatus, summary: &mut Summary) {
    let mut running = false;
    let mut error: Option<String> = None;
    for container in status.container_statuses.iter().flatten().rev() {
        summary.restarts.add(container);
        let state = state(container);
        if let Some(reason) = waiting_reason(state) {
            summary.reason = reason.to_owned();
        } else if let Some(end) = &state.terminated {
            summary.reason = end_reason(end);
            if end.exit_code != 0 {
                error = Some(summary.reason.clone());
            }
        } else if container.ready && state.running.is_some() {
            running = true;
            summary.ready += 1;
        }
    }
    // One container that is done does not make the pod complete.
    if summary.reason != "Completed" {
        return;
    }
    if running && is_true(condition(status, "Ready")) {
        summary.reason = "Running".to_owned();
    } else if let Some(error) = error {
        summary.reason = error;
    } else if running {
        summary.reason = "NotReady".to_owned();
    }
}

fn leaving_reason(pod: &Pod, status: &PodStatus) -> Option<&'static str> {
    pod.metadata.deletion_timestamp.as_ref()?;
    if status.reason.as_deref() == Some("NodeLost") {
        return Some("Unknown");
    }
    let over = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
    (!over).then_some("Terminating")
}

fn state(container: &ContainerStatus) -> &ContainerState {
    const NONE: &ContainerState =
        &ContainerState { running: None, terminated: None, waiting: None };
    container.state.as_ref().unwrap_or(NONE)
}

fn waiting_reason(state: &ContainerState) -> Option<&str> {
    let reason = state.waiting.as_ref()?.reason.as_deref()?;
    (!reason.is_empty()).then_some(reason)
}

fn end_reason(end: &ContainerStateTerminated) -> String {
    match (end.reason.as_deref().unwrap_or_default(), end.signal.unwrap_or_default()) {
        ("", 0) => format!("ExitCode:{}", end.exit_code),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

fn condition<'a>(status: &'a PodStatus, kind: &str) -> Option<&'a PodCondition> {
    status.conditions.iter().flatten().find(|condition| condition.type_ == kind)
}

fn is_true(condition: Option<&PodCondition>) -> bool {
    condition.is_some_and(|condition| condition.status == "True")
}

fn readiness_gates(spec: &PodSpec, status: &PodStatus) -> String {
    let gates = spec.readiness_gates.as_deref().unwrap_or_default();
    if gates.is_empty() {
        return "<none>".to_owned();
    }
    let open = gates.iter().filter(|gate| is_true(condition(status, &gate.condition_type))).count();
    format!("{open}/{}", gates.len())
}

fn first_ip(status: &PodStatus) -> Option<&str> {
    let first = status.pod_ips.as_ref().and_then(|ips| ips.first());
    first.map(|ip| ip.ip.as_str()).or(status.pod_ip.as_deref())
}

fn or_none(text: Option<&str>) -> &str {
    text.filter(|text| !text.is_empty()).unwrap_or("<none>")
}

#[cfg(test)]
mod tests {
    use super::super::Pods;
    use crate::kinds::Kind;
    use crate::kinds::testing::row;
    use serde_json::{Value, json};

    fn pod(spec: Value, status: Value) -> Value {
        json!({
            "metadata": {"name": "p", "creationTimestamp": "2026-01-01T23:00:00Z"},
            "spec": spec, "status": status,
        })
    }

    /// Ready, Status and Restarts of a pod with these containers.
    fn shown(phase: &str, inits: &[(Value, Value)], containers: &[Value]) -> [String; 3] {
        let spec = json!({
            "initContainers": inits.iter().map(|(spec, _)| spec).collect::<Vec<_>>(),
            "containers": containers.iter().map(|c| json!({"name": c["name"]})).collect::<Vec<_>>(),
        });
        let status = json!({
            "phase": phase, "containerStatuses": containers,
            "initContainerStatuses": inits.iter().map(|(_, status)| status).collect::<Vec<_>>(),
        });
        let row = row::<Pods>(&pod(spec, status));
        [1, 2, 3].map(|index| row[index].as_str().unwrap().to_owned())
    }

    fn status(name: &str, state: Value) -> Value {
        json!({"name": name, "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state})
    }

    fn running(name: &str) -> Value {
        let mut status = status(name, json!({"running": {}}));
        status["ready"] = true.into();
        status
    }

    fn waiting(reason: &str) -> Value {
        json!({"waiting": {"reason": reason}})
    }

    fn ended(code: i32, reason: &str) -> Value {
        json!({"terminated": {"exitCode": code, "reason": reason}})
    }

    #[test]
    fn a_pod_s_status_is_that_of_its_containers() {
        let cases = [
            (vec![], ["0/0", "Pending", "0"]),
            (vec![running("a")], ["1/1", "Running", "0"]),
            (vec![status("a", waiting("ContainerCreating"))], ["0/1", "ContainerCreating", "0"]),
            (
                vec![running("a"), status("b", waiting("CrashLoopBackOff"))],
                ["1/2", "CrashLoopBackOff", "0"],
            ),
            (vec![status("a", ended(0, "Completed"))], ["0/1", "Completed", "0"]),
            (vec![status("a", ended(1, "Error"))], ["0/1", "Error", "0"]),
            (vec![status("a", ended(137, "OOMKilled"))], ["0/1", "OOMKilled", "0"]),
            (vec![status("a", ended(2, ""))], ["0/1", "ExitCode:2", "0"]),
            (
                vec![status("a", json!({"terminated": {"exitCode": 1, "signal": 9}}))],
                ["0/1", "Signal:9", "0"],
            ),
            (vec![status("a", ended(0, "Completed")), running("b")], ["1/2", "NotReady", "0"]),
            (
                vec![status("a", ended(0, "Completed")), status("b", ended(1, "Error"))],
                ["0/2", "Error", "0"],
            ),
        ];
        for (containers, expected) in cases {
            let phase = if expected[1] == "Running" { "Running" } else { "Pending" };
            assert_eq!(shown(phase, &[], &containers), expected, "{containers:?}");
        }
    }

    #[test]
    fn init_containers_come_first() {
        let plain = || json!({"name": "i"});
        let sidecar = || json!({"name": "i", "restartPolicy": "Always"});
        let started = || {
            let mut status = running("i");
            status["started"] = true.into();
            status
        };
        let web = || status("web", waiting("PodInitializing"));
        let cases = [
            ((plain(), status("i", json!({}))), ["0/1", "Init:0/1", "0"]),
            ((plain(), status("i", waiting("PodInitializing"))), ["0/1", "Init:0/1", "0"]),
            (
                (plain(), status("i", waiting("ImagePullBackOff"))),
                ["0/1", "Init:ImagePullBackOff", "0"],
            ),
            ((plain(), status("i", ended(1, "Error"))), ["0/1", "Init:Error", "0"]),
            ((plain(), status("i", ended(3, ""))), ["0/1", "Init:ExitCode:3", "0"]),
            ((plain(), status("i", ended(0, "Completed"))), ["0/1", "PodInitializing", "0"]),
            ((sidecar(), started()), ["1/2", "PodInitializing", "0"]),
        ];
        for (init, expected) in cases {
            assert_eq!(
                shown("Pending", std::slice::from_ref(&init), &[web()]),
                expected,
                "{init:?}"
            );
        }
    }

    #[test]
    fn restarts_tell_when_the_last_was() {
        let mut container = running("a");
        container["restartCount"] = 3.into();
        assert_eq!(shown("Running", &[], std::slice::from_ref(&container))[2], "3");
        container["lastState"] =
            json!({"terminated": {"exitCode": 1, "finishedAt": "2026-01-01T23:58:00Z"}});
        assert_eq!(shown("Running", &[], &[container])[2], "3 (2m ago)");
    }

    #[test]
    fn a_pod_that_is_being_deleted_is_terminating() {
        let mut pod = pod(json!({"containers": []}), json!({"phase": "Running"}));
        pod["metadata"]["deletionTimestamp"] = "2026-01-01T23:00:00Z".into();
        assert_eq!(row::<Pods>(&pod)[2], "Terminating");
        pod["status"]["phase"] = "Failed".into();
        pod["status"]["reason"] = "Evicted".into();
        assert_eq!(row::<Pods>(&pod)[2], "Evicted");
        pod["status"]["reason"] = "NodeLost".into();
        assert_eq!(row::<Pods>(&pod)[2], "Unknown");
    }

    #[test]
    fn gates_and_places_are_shown_wide() {
        let pod = pod(
            json!({"containers": [], "nodeName": "n1", "readinessGates": [{"conditionType": "a.io/b"}]}),
            json!({
                "podIPs": [{"ip": "10.0.0.1"}],
                "conditions": [
                    {"type": "a.io/b", "status": "True"},
                    {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"},
                ],
            }),
        );
        assert_eq!(
            row::<Pods>(&pod),
            ["p", "0/0", "SchedulingGated", "0", "60m", "10.0.0.1", "n1", "<none>", "1/1"]
        );
    }

    #[test]
    fn pods_are_selected_by_place_phase_and_address() {
        let pod = serde_json::from_value(pod(
            json!({"containers": [], "nodeName": "n1", "restartPolicy": "Never"}),
            json!({"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}]}),
        ))
        .unwrap();
        let fields: std::collections::BTreeMap<_, _> = Pods::selectable(&pod).into_iter().collect();
        assert_eq!(fields["spec.nodeName"], "n1");
        assert_eq!(fields["spec.hostNetwork"], "false");
        assert_eq!(fields["status.podIP"], "10.0.0.1");
        assert_eq!(fields.len(), 9);
    }
}
