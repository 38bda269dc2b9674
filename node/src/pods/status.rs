//! The PodStatus that tells of a [`PodMachine`], worded as upstream's kubelet words it. Pure.
//!
//! Conditions keep their transition time while their status stays; what others wrote into the
//! conditions stays theirs.

use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container, ContainerState as ApiState, ContainerStateRunning, ContainerStateTerminated,
    ContainerStateWaiting, ContainerStatus, HostIP, Pod, PodCondition, PodIP, PodStatus,
    VolumeMountStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::container::{ContainerMachine, ContainerState, Ended};
use super::machine::{Ending, PodMachine, State, container_id};
use super::unsupported;

/// The condition that says whether this node can honour a pod's spec.
pub const SUPPORTED: &str = "copepod.dev/Supported";

/// What the termination messages of a pod may hold in all, as upstream.
const MESSAGES_BYTES: usize = 12 * 1024;

const OWNED: [&str; 6] = [
    "PodReadyToStartContainers",
    "Initialized",
    "Ready",
    "ContainersReady",
    "PodScheduled",
    SUPPORTED,
];

/// The status of a pod now. `previous` is the last one written, or the API's.
pub fn compute(
    machine: &PodMachine,
    host_ip: IpAddr,
    previous: &PodStatus,
    now: Timestamp,
) -> PodStatus {
    let mut statuses: Vec<ContainerStatus> = machine
        .containers
        .iter()
        .enumerate()
        .map(|(index, container)| {
            container_status(machine, container, machine.container_spec(index))
        })
        .collect();
    let phase = phase(machine);
    let (reason, message) = kept(phase, machine, previous);
    let address = machine
        .address
        .map(|ip| ip.to_string())
        .or_else(|| previous.pod_ip.clone().filter(|_| is_over(machine)));
    let refused = matches!(machine.state, State::Refused(_));
    PodStatus {
        phase: Some(phase.into()),
        reason,
        message,
        conditions: Some(conditions(machine, phase, &statuses, previous, now)),
        container_statuses: (!refused).then(|| {
            // As upstream, whatever their order in the spec.
            statuses.sort_by(|a, b| a.name.cmp(&b.name));
            statuses
        }),
        host_ip: Some(host_ip.to_string()),
        host_ips: Some(vec![HostIP { ip: host_ip.to_string() }]),
        pod_ips: address.as_ref().map(|ip| vec![PodIP { ip: ip.clone() }]),
        pod_ip: address,
        start_time: Some(Time(machine.start_time)),
        qos_class: previous.qos_class.clone(),
        observed_generation: machine.pod.metadata.generation,
        ..PodStatus::default()
    }
}

/// The reason and message of a phase. As upstream, those that others gave it stay while it lasts.
fn kept(
    phase: &str,
    machine: &PodMachine,
    previous: &PodStatus,
) -> (Option<String>, Option<String>) {
    let (reason, message) = reason_and_message(machine);
    if previous.phase.as_deref() != Some(phase) {
        return (reason, message);
    }
    let current = machine.pod.status.as_ref();
    let theirs = |text: fn(&PodStatus) -> &Option<String>| {
        let known = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        known(text(previous)).or_else(|| current.and_then(|status| known(text(status))))
    };
    (
        reason.or_else(|| theirs(|status| &status.reason)),
        message.or_else(|| theirs(|status| &status.message)),
    )
}

/// Whether somebody else has written over what this node last wrote about its pod.
pub fn is_overwritten(ours: &PodStatus, current: &PodStatus) -> bool {
    let container = |status: &ContainerStatus| {
        let state = status.state.as_ref();
        let running = state.is_some_and(|state| state.running.is_some());
        let ended = state.is_some_and(|state| state.terminated.is_some());
        (status.ready, status.started == Some(true), status.restart_count, running, ended)
    };
    let containers = |status: &PodStatus| -> Vec<_> {
        status.container_statuses.iter().flatten().map(container).collect()
    };
    let condition_differs = |condition: &PodCondition| {
        OWNED.contains(&&*condition.type_)
            && !current
                .conditions
                .iter()
                .flatten()
                .any(|c| c.type_ == condition.type_ && c.status == condition.status)
    };
    ours.phase != current.phase
        || ours.pod_ip != current.pod_ip
        || containers(ours) != containers(current)
        || ours.conditions.iter().flatten().any(condition_differs)
}

/// The strategic merge patch that brings the API to `status`.
pub fn patch(pod: &Pod, status: &PodStatus) -> Value {
    let conditions: Vec<Value> =
        status.conditions.iter().flatten().map(condition_with_nulls).collect();
    let mut body = json!({
        "phase": status.phase,
        "reason": status.reason,
        "message": status.message,
        "conditions": conditions,
        "hostIP": status.host_ip,
        "hostIPs": status.host_ips,
        "startTime": status.start_time,
    });
    let fields = [
        ("containerStatuses", status.container_statuses.as_ref().map(|value| json!(value))),
        ("observedGeneration", status.observed_generation.map(|value| json!(value))),
        ("podIP", status.pod_ip.as_ref().map(|value| json!(value))),
        // Merged by address: an address from before a restart would stay without the directive.
        ("podIPs", status.pod_ip.as_ref().map(|ip| json!([{"ip": ip}, {"$patch": "replace"}]))),
    ];
    if let Some(body) = body.as_object_mut() {
        for (name, value) in fields {
            if let Some(value) = value {
                body.insert(name.into(), value);
            }
        }
    }
    json!({ "metadata": { "uid": pod.metadata.uid }, "status": body })
}

/// Conditions are merged by type: what is to be empty must be said.
fn condition_with_nulls(condition: &PodCondition) -> Value {
    json!({
        "type": condition.type_,
        "status": condition.status,
        "lastProbeTime": null,
        "lastTransitionTime": condition.last_transition_time,
        "observedGeneration": condition.observed_generation,
        "reason": condition.reason,
        "message": condition.message,
    })
}

fn is_over(machine: &PodMachine) -> bool {
    matches!(
        machine.state,
        State::Finished(_) | State::WritingFinalStatus | State::DeletingObject | State::Gone
    )
}

fn reason_and_message(machine: &PodMachine) -> (Option<String>, Option<String>) {
    match &machine.state {
        State::Finished(outcome)
        | State::Refused(outcome)
        | State::Stopping { why: Ending::Over(outcome), .. } => {
            (outcome.reason.clone(), outcome.message.clone())
        }
        State::Admitting
        | State::WaitingForVolumes { .. }
        | State::WaitingForSandbox { .. }
        | State::Running
        | State::Stopping { .. }
        | State::WritingFinalStatus
        | State::DeletingObject
        | State::Gone => (None, None),
    }
}

fn phase(machine: &PodMachine) -> &'static str {
    match &machine.state {
        State::Finished(outcome)
        | State::Refused(outcome)
        | State::Stopping { why: Ending::Over(outcome), .. } => return outcome.phase,
        State::WritingFinalStatus | State::DeletingObject | State::Gone => {
            return terminal_phase(machine);
        }
        State::Admitting
        | State::WaitingForVolumes { .. }
        | State::WaitingForSandbox { .. }
        | State::Running
        | State::Stopping { .. } => {}
    }
    let never_ran = machine.containers.iter().any(|container| {
        container.last.is_none()
            && matches!(
                container.state,
                ContainerState::Created
                    | ContainerState::Pulling
                    | ContainerState::InLine { .. }
                    | ContainerState::Starting
                    | ContainerState::Blocked { .. }
            )
    });
    if never_ran || machine.containers.is_empty() { "Pending" } else { "Running" }
}

fn terminal_phase(machine: &PodMachine) -> &'static str {
    // As upstream: a phase that the API calls final is not changed.
    match machine.pod.status.as_ref().and_then(|status| status.phase.as_deref()) {
        Some("Succeeded") => return "Succeeded",
        Some("Failed") => return "Failed",
        _ => {}
    }
    let all_well = machine
        .containers
        .iter()
        .all(|container| matches!(&container.state, ContainerState::Ended(e) if e.code == 0));
    if all_well { "Succeeded" } else { "Failed" }
}

fn container_status(
    machine: &PodMachine,
    container: &ContainerMachine,
    spec: Option<&Container>,
) -> ContainerStatus {
    let running = container.is_live();
    let (mut state, mut last) = states(container);
    let share = MESSAGES_BYTES / machine.containers.len().max(1);
    for terminated in [&mut state, &mut last].into_iter().filter_map(|s| s.terminated.as_mut()) {
        if let Some(message) = &mut terminated.message {
            truncate(message, share);
        }
    }
    let id = match &container.state {
        ContainerState::Running { id, .. } | ContainerState::Stopping { id, .. } => {
            Some(container_id(id))
        }
        ContainerState::Restarting { ended, .. } | ContainerState::Ended(ended) => ended.id.clone(),
        ContainerState::Created
        | ContainerState::Pulling
        | ContainerState::InLine { .. }
        | ContainerState::Starting
        | ContainerState::Blocked { .. } => {
            container.last.as_ref().and_then(|ended| ended.id.clone())
        }
    };
    // As upstream: once it has run.
    let resources = spec.and_then(|spec| spec.resources.clone()).filter(|_| id.is_some());
    ContainerStatus {
        name: container.name.clone(),
        image: container.image.clone(),
        image_id: container.digest.as_deref().map(str::to_owned).unwrap_or_default(),
        container_id: id,
        state: Some(state),
        last_state: Some(last),
        ready: running && container.ready,
        started: Some(running && container.started),
        restart_count: i32::try_from(container.restarts_shown()).unwrap_or(i32::MAX),
        allocated_resources: resources.as_ref().and_then(|r| r.requests.clone()),
        resources,
        volume_mounts: spec.and_then(mounts).filter(|_| machine.address.is_some()),
        ..ContainerStatus::default()
    }
}

/// Cuts a text to so many bytes, and not within a character.
fn truncate(text: &mut String, mut bytes: usize) {
    while !text.is_char_boundary(bytes.min(text.len())) {
        bytes -= 1;
    }
    text.truncate(bytes);
}

fn mounts(spec: &Container) -> Option<Vec<VolumeMountStatus>> {
    let mounts = spec.volume_mounts.as_ref()?;
    Some(
        mounts
            .iter()
            .map(|mount| VolumeMountStatus {
                name: mount.name.clone(),
                mount_path: mount.mount_path.clone(),
                read_only: mount.read_only,
                recursive_read_only: mount
                    .read_only
                    .filter(|read_only| *read_only)
                    .map(|_| "Disabled".to_owned()),
                ..VolumeMountStatus::default()
            })
            .collect(),
    )
}

/// The state to show and the one before it.
fn states(container: &ContainerMachine) -> (ApiState, ApiState) {
    let last = container.last.as_ref().map(terminated).unwrap_or_default();
    match &container.state {
        ContainerState::Created => (waiting("ContainerCreating", None), last),
        ContainerState::Pulling | ContainerState::InLine { .. } | ContainerState::Starting => {
            match &container.last {
                // As upstream: the old end is shown until the new instance runs.
                Some(ended) => (terminated(ended), ApiState::default()),
                None => (waiting("ContainerCreating", None), last),
            }
        }
        ContainerState::Blocked { reason, message, .. } => {
            (waiting(reason, Some(message.clone())), last)
        }
        ContainerState::Running { since, .. } | ContainerState::Stopping { since, .. } => {
            let running = ContainerStateRunning { started_at: Some(Time(*since)) };
            (ApiState { running: Some(running), ..ApiState::default() }, last)
        }
        ContainerState::Restarting { ended, held: Some(held), .. } => {
            (waiting("CrashLoopBackOff", Some(held.clone())), terminated(ended))
        }
        ContainerState::Restarting { ended, held: None, .. } | ContainerState::Ended(ended) => {
            (terminated(ended), last)
        }
    }
}

fn waiting(reason: &str, message: Option<String>) -> ApiState {
    let waiting = ContainerStateWaiting { reason: Some(reason.into()), message };
    ApiState { waiting: Some(waiting), ..ApiState::default() }
}

fn terminated(ended: &Ended) -> ApiState {
    let terminated = ContainerStateTerminated {
        container_id: ended.id.clone(),
        exit_code: ended.code,
        finished_at: ended.finished.map(Time),
        message: ended.message.clone(),
        reason: Some(ended.reason.clone()),
        signal: None,
        started_at: ended.started.map(Time),
    };
    ApiState { terminated: Some(terminated), ..ApiState::default() }
}

struct Verdict {
    type_: &'static str,
    ok: bool,
    reason: Option<&'static str>,
    message: Option<String>,
}

fn conditions(
    machine: &PodMachine,
    phase: &str,
    statuses: &[ContainerStatus],
    previous: &PodStatus,
    now: Timestamp,
) -> Vec<PodCondition> {
    let old = previous.conditions.as_deref().unwrap_or_default();
    let current = machine.pod.status.as_ref().and_then(|s| s.conditions.as_deref());
    let foreign = current.unwrap_or_default().iter().filter(|c| !OWNED.contains(&&*c.type_));
    let containers_ready = containers_ready(phase, statuses);
    let ready = match containers_ready.ok {
        true => gates_ready(machine, foreign.clone()),
        false => Verdict {
            type_: "Ready",
            message: containers_ready.message.clone(),
            ..containers_ready
        },
    };
    let mut verdicts = vec![
        plain("PodReadyToStartContainers", machine.address.is_some() && !is_over(machine)),
        Verdict {
            type_: "Initialized",
            ok: true,
            reason: (phase == "Succeeded").then_some("PodCompleted"),
            message: None,
        },
        ready,
        containers_ready,
        plain("PodScheduled", true),
    ];
    if let State::Refused(outcome) = &machine.state
        && outcome.reason.as_deref() == Some(unsupported::REFUSE_REASON)
    {
        verdicts.push(Verdict {
            type_: SUPPORTED,
            ok: false,
            reason: Some(unsupported::REFUSE_REASON),
            message: outcome.message.clone(),
        });
    }
    let generation = machine.pod.metadata.generation;
    let owned = verdicts.into_iter().map(|verdict| {
        let before = old.iter().find(|condition| condition.type_ == verdict.type_);
        condition(verdict, before, generation, now)
    });
    foreign.cloned().chain(owned).collect()
}

fn plain(type_: &'static str, ok: bool) -> Verdict {
    Verdict { type_, ok, reason: None, message: None }
}

fn containers_ready(phase: &str, statuses: &[ContainerStatus]) -> Verdict {
    let verdict = |ok, reason, message| Verdict { type_: "ContainersReady", ok, reason, message };
    match phase {
        "Succeeded" => return verdict(false, Some("PodCompleted"), None),
        "Failed" => return verdict(false, Some("PodFailed"), None),
        _ => {}
    }
    let unready: Vec<&str> =
        statuses.iter().filter(|s| !s.ready).map(|status| status.name.as_str()).collect();
    if unready.is_empty() {
        return verdict(true, None, None);
    }
    let message = format!("containers with unready status: [{}]", unready.join(" "));
    verdict(false, Some("ContainersNotReady"), Some(message))
}

fn gates_ready<'a>(
    machine: &PodMachine,
    conditions: impl Iterator<Item = &'a PodCondition> + Clone,
) -> Verdict {
    let problems: Vec<String> = machine
        .spec()
        .readiness_gates
        .iter()
        .flatten()
        .filter_map(|gate| {
            let name = &gate.condition_type;
            match conditions.clone().find(|condition| condition.type_ == *name) {
                None => Some(format!(
                    "corresponding condition of pod readiness gate \"{name}\" does not exist."
                )),
                Some(condition) if condition.status != "True" => Some(format!(
                    "the status of pod readiness gate \"{name}\" is not \"True\", but {}",
                    condition.status
                )),
                Some(_) => None,
            }
        })
        .collect();
    if problems.is_empty() {
        return plain("Ready", true);
    }
    Verdict {
        type_: "Ready",
        ok: false,
        reason: Some("ReadinessGatesNotReady"),
        message: Some(problems.join(", ")),
    }
}

fn condition(
    verdict: Verdict,
    before: Option<&PodCondition>,
    generation: Option<i64>,
    now: Timestamp,
) -> PodCondition {
    let status = if verdict.ok { "True" } else { "False" };
    let since = before
        .filter(|before| before.status == status)
        .and_then(|before| before.last_transition_time.clone())
        .unwrap_or(Time(now));
    PodCondition {
        type_: verdict.type_.into(),
        status: status.into(),
        reason: verdict.reason.map(str::to_owned),
        message: verdict.message,
        last_transition_time: Some(since),
        last_probe_time: None,
        observed_generation: generation,
    }
}
