//! The pod's state machine: state × event → state, effects.
//!
//! It performs no I/O and asks nobody for the time: `now` comes in with every event, and what is to
//! be done goes out as [`Effect`]s, which the driver executes. Every step can run twice. How a pod's
//! status is worded from this state stands in `status.rs`.
//!
//! `words` is its vocabulary; `containers`, `probing` and `ending` are parts of the machine. What is
//! left here concerns the object, the volumes and the sandbox, and time.

mod containers;
mod ending;
mod probing;
mod words;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, PodSpec};

use super::admission::Rejection;
use super::backoff::{Backoff, later};
use super::container::{Backoffs, ContainerMachine, ContainerState, RestartPolicy};
use super::held::HeldPod;
use super::unsupported::{self, Verdict};

pub use words::{
    Effect, Ending, Event, ExitSeen, ImageProblem, Outcome, PodEvent, ProbeKind, StartProblem,
    State, Urgency,
};

/// A grace period is never shorter, so that open requests are not cut off needlessly.
const MINIMUM_GRACE: Duration = Duration::from_secs(1);
const DEADLINE_REASON: &str = "DeadlineExceeded";
const DEADLINE_MESSAGE: &str = "Pod was active on the node longer than the specified deadline";

/// A pod on this node.
#[derive(Clone, Debug)]
pub struct PodMachine {
    pub pod: HeldPod,
    pub state: State,
    pub containers: Vec<ContainerMachine>,
    pub address: Option<IpAddr>,
    pub start_time: Timestamp,
    /// Why the node has no room for it, where it has none.
    pub rejection: Option<Box<Rejection>>,
    volumes_backoff: Backoff,
    effects: Vec<Effect>,
}

impl PodMachine {
    /// A pod just heard of. Send it [`Event::Seen`] next.
    pub fn new(pod: Arc<Pod>, now: Timestamp, backoffs: Backoffs) -> Self {
        let status = pod.status.as_ref();
        let start_time = status.and_then(|s| s.start_time.as_ref()).map_or(now, |time| time.0);
        let containers = containers(&pod, &backoffs, now);
        let volumes_backoff = Backoff::new(backoffs.retry);
        Self {
            pod: pod.into(),
            state: State::Admitting,
            containers,
            address: None,
            start_time,
            rejection: None,
            volumes_backoff,
            effects: Vec::new(),
        }
    }

    /// Takes one event and says what is to be done.
    pub fn step(&mut self, now: Timestamp, event: Event) -> Vec<Effect> {
        match event {
            Event::Seen(pod) => self.seen(now, pod),
            Event::Gone => self.gone(now),
            Event::Volumes(result) => self.volumes(now, result),
            Event::Sandbox(result) => self.sandbox(now, result),
            Event::Image { container, attempt, result } => {
                self.image(now, container, attempt, result);
            }
            Event::Started { container, attempt, result } => {
                self.started(now, container, attempt, result);
            }
            Event::Exited { container, attempt, exit } => {
                self.exited(now, container, attempt, exit);
            }
            Event::Probed { container, attempt, kind, healthy } => {
                self.probed(now, container, attempt, kind, healthy);
            }
            Event::ProbeFailed { container, attempt, kind, said } => {
                self.probe_failed(container, attempt, kind, &said);
            }
            Event::ImagesChanged => self.images_changed(now),
            Event::FinalStatusWritten => self.final_status_written(),
            Event::Timer => self.timer(now),
        }
        std::mem::take(&mut self.effects)
    }

    pub fn spec(&self) -> &PodSpec {
        static NONE: std::sync::LazyLock<PodSpec> = std::sync::LazyLock::new(PodSpec::default);
        self.pod.spec.as_ref().unwrap_or(&NONE)
    }

    /// Whether the node's room counts as taken by it. One that is over, or whose object is gone,
    /// is not counted by the scheduler either.
    pub fn takes_room(&self) -> bool {
        match &self.state {
            State::WaitingForVolumes { .. }
            | State::WaitingForSandbox { .. }
            | State::Running
            | State::Stopping { why: Ending::Deleted, .. } => true,
            State::Admitting
            | State::Refused(_)
            | State::Stopping { why: Ending::Over(_) | Ending::Orphaned, .. }
            | State::WritingFinalStatus
            | State::DeletingObject
            | State::Finished(_)
            | State::Gone => false,
        }
    }

    pub fn container_spec(&self, container: usize) -> Option<&Container> {
        self.spec().containers.get(container)
    }

    /// `name_namespace(uid)`, as upstream prints a pod.
    pub fn described(&self) -> String {
        let meta = &self.pod.metadata;
        format!(
            "{}_{}({})",
            meta.name.as_deref().unwrap_or_default(),
            meta.namespace.as_deref().unwrap_or_default(),
            meta.uid.as_deref().unwrap_or_default()
        )
    }

    fn deleted(&self) -> bool {
        self.pod.metadata.deletion_timestamp.is_some()
    }

    // ---- the object -------------------------------------------------------------------------

    fn seen(&mut self, now: Timestamp, pod: Arc<Pod>) {
        let before = std::mem::replace(&mut self.pod, pod.into());
        match &self.state {
            State::Admitting => self.admit(now),
            State::Refused(_) | State::Finished(_) => {
                if self.deleted() {
                    self.write_final_status();
                } else {
                    self.write_if_generation_moved(&before);
                }
            }
            State::WaitingForVolumes { .. } | State::WaitingForSandbox { .. } | State::Running => {
                if self.deleted() {
                    self.stop(now, Ending::Deleted);
                } else if let Some(outcome) = terminal_outcome(&self.pod) {
                    // Somebody has ended it: as upstream, a phase that is final stays.
                    self.stop(now, Ending::Over(outcome));
                } else {
                    self.follow_spec(now, &before);
                }
            }
            State::Stopping { why, .. } => {
                let was_over = matches!(why, Ending::Over(_));
                if self.deleted() && was_over {
                    self.stop(now, Ending::Deleted);
                } else {
                    self.shorten(now, &before);
                }
            }
            State::WritingFinalStatus | State::DeletingObject | State::Gone => {}
        }
    }

    fn admit(&mut self, now: Timestamp) {
        if let Some(outcome) = terminal_outcome(&self.pod) {
            self.state = State::Finished(outcome);
            if self.deleted() {
                self.write_final_status();
            }
            return;
        }
        if self.deleted() {
            self.stop(now, Ending::Deleted);
            return;
        }
        let problems = unsupported::problems(&self.pod);
        let (refused, warned): (Vec<_>, Vec<_>) =
            problems.into_iter().partition(|problem| problem.verdict == Verdict::Refuse);
        for problem in warned {
            self.event(None, true, unsupported::WARN_REASON, problem.message);
        }
        if !refused.is_empty() {
            let messages: Vec<_> = refused.into_iter().map(|problem| problem.message).collect();
            self.refuse(unsupported::REFUSE_REASON, messages.join("; "));
            return;
        }
        if let Some(rejection) = self.rejection.take() {
            self.refuse(rejection.reason, rejection.message);
            return;
        }
        self.watch_deadline(now);
        self.effects.push(Effect::WriteStatus(Urgency::Soon));
        self.make_volumes();
        self.finish_if_over();
    }

    fn refuse(&mut self, reason: &'static str, message: String) {
        self.event(None, true, reason, message.clone());
        self.state = State::Refused(Outcome {
            phase: "Failed",
            reason: Some(reason.into()),
            message: Some(format!("Pod was rejected: {message}")),
        });
        self.effects.push(Effect::WriteStatus(Urgency::Now));
    }

    fn gone(&mut self, now: Timestamp) {
        if self.containers.iter().any(ContainerMachine::is_live) {
            self.stop(now, Ending::Orphaned);
        } else {
            self.forget();
        }
    }

    fn forget(&mut self) {
        self.state = State::Gone;
        self.effects.push(Effect::CloseSandbox);
        self.effects.push(Effect::RemoveFiles);
    }

    fn write_if_generation_moved(&mut self, before: &Pod) {
        if self.pod.metadata.generation != before.metadata.generation {
            self.effects.push(Effect::WriteStatus(Urgency::Soon));
        }
    }

    /// Takes up what may change in a pod's spec: images, the active deadline, readiness gates.
    fn follow_spec(&mut self, now: Timestamp, before: &Pod) {
        self.write_if_generation_moved(before);
        if self.spec().readiness_gates.as_ref().is_some_and(|gates| !gates.is_empty()) {
            self.effects.push(Effect::WriteStatus(Urgency::Soon));
        }
        if self.spec().active_deadline_seconds
            != before.spec.as_ref().and_then(|spec| spec.active_deadline_seconds)
        {
            self.watch_deadline(now);
        }
        for index in 0..self.containers.len() {
            let Some(image) = self.container_spec(index).and_then(|spec| spec.image.clone()) else {
                continue;
            };
            if self.containers[index].image != image {
                self.change_image(now, index, image);
            }
        }
    }

    fn change_image(&mut self, now: Timestamp, index: usize, image: String) {
        let container = &mut self.containers[index];
        container.image = image;
        container.image_backoff.reset();
        match container.state {
            ContainerState::Running { .. } => {
                container.restart_anyway = true;
                let message =
                    format!("Container {} definition changed, will be restarted", container.name);
                let grace = self.grace_of_spec();
                self.stop_container(index, grace, message);
                self.unready(index);
            }
            ContainerState::InLine { .. } | ContainerState::Blocked { .. } => {
                self.begin(now, index);
            }
            ContainerState::Created
            | ContainerState::Pulling
            | ContainerState::Starting
            | ContainerState::Stopping { .. }
            | ContainerState::Restarting { .. }
            | ContainerState::Ended(_) => {}
        }
    }

    fn watch_deadline(&mut self, now: Timestamp) {
        if let Some(at) = self.active_deadline() {
            self.effects.push(Effect::Timer(at.max(now)));
        }
    }

    fn active_deadline(&self) -> Option<Timestamp> {
        let seconds = u64::try_from(self.spec().active_deadline_seconds?).ok()?;
        Some(later(self.start_time, Duration::from_secs(seconds)))
    }

    // ---- the sandbox ------------------------------------------------------------------------

    fn make_volumes(&mut self) {
        if self.spec().volumes.as_ref().is_none_or(Vec::is_empty) {
            self.start_sandbox();
            return;
        }
        self.state = State::WaitingForVolumes { problem: None, retry: None };
        self.effects.push(Effect::MakeVolumes);
    }

    fn volumes(&mut self, now: Timestamp, result: Result<(), String>) {
        if !matches!(self.state, State::WaitingForVolumes { .. }) {
            return;
        }
        match result {
            Ok(()) => self.start_sandbox(),
            Err(problem) => {
                let retry = later(now, self.volumes_backoff.after_failure());
                self.event(None, true, "FailedMount", problem.clone());
                self.state =
                    State::WaitingForVolumes { problem: Some(problem), retry: Some(retry) };
                self.effects.push(Effect::Timer(retry));
                self.effects.push(Effect::WriteStatus(Urgency::Soon));
            }
        }
    }

    fn start_sandbox(&mut self) {
        self.state = State::WaitingForSandbox { problem: None, retry: None };
        self.effects.push(Effect::StartSandbox);
    }

    fn sandbox(&mut self, now: Timestamp, result: Result<IpAddr, String>) {
        if !matches!(self.state, State::WaitingForSandbox { .. }) {
            if result.is_ok() {
                self.effects.push(Effect::CloseSandbox);
            }
            return;
        }
        match result {
            Ok(address) => {
                self.address = Some(address);
                self.state = State::Running;
                for index in 0..self.containers.len() {
                    self.begin(now, index);
                }
                self.finish_if_over();
            }
            Err(problem) => {
                let retry = later(now, self.volumes_backoff.after_failure());
                let message = format!("Failed to create pod sandbox: {problem}");
                self.event(None, true, "FailedCreatePodSandBox", message);
                self.state =
                    State::WaitingForSandbox { problem: Some(problem), retry: Some(retry) };
                self.effects.push(Effect::Timer(retry));
            }
        }
    }

    // ---- time -------------------------------------------------------------------------------

    fn images_changed(&mut self, now: Timestamp) {
        if self.state != State::Running {
            return;
        }
        for index in 0..self.containers.len() {
            let container = &mut self.containers[index];
            if let ContainerState::Blocked { reason, .. } = &container.state
                && !matches!(reason.as_str(), "CreateContainerConfigError" | "RunContainerError")
            {
                container.image_backoff.reset();
                self.begin(now, index);
            }
        }
    }

    fn timer(&mut self, now: Timestamp) {
        match &self.state {
            State::WaitingForVolumes { retry, .. } => {
                if retry.is_some_and(|at| at <= now) {
                    self.make_volumes();
                }
            }
            State::WaitingForSandbox { retry, .. } => {
                if retry.is_some_and(|at| at <= now) {
                    self.start_sandbox();
                }
            }
            State::Running => {
                for index in 0..self.containers.len() {
                    self.container_timer(now, index);
                }
            }
            State::Stopping { deadline, killed, .. } => {
                if *deadline <= now && !killed {
                    self.kill_all();
                }
            }
            State::Admitting
            | State::Refused(_)
            | State::WritingFinalStatus
            | State::DeletingObject
            | State::Finished(_)
            | State::Gone => {}
        }
        self.check_deadline(now);
    }

    fn container_timer(&mut self, now: Timestamp, index: usize) {
        match &self.containers[index].state {
            ContainerState::Restarting { until, .. } if *until <= now => self.begin(now, index),
            ContainerState::Blocked { retry, resume, reason, message } if *retry <= now => {
                if *resume <= now {
                    self.begin(now, index);
                } else {
                    let (message, resume) = (format!("{reason}: {message}"), *resume);
                    self.back_off_pulling(index, &message, resume);
                }
            }
            ContainerState::Created
            | ContainerState::Pulling
            | ContainerState::InLine { .. }
            | ContainerState::Blocked { .. }
            | ContainerState::Starting
            | ContainerState::Running { .. }
            | ContainerState::Stopping { .. }
            | ContainerState::Restarting { .. }
            | ContainerState::Ended(_) => {}
        }
    }

    fn back_off_pulling(&mut self, index: usize, cause: &str, resume: Timestamp) {
        let message = format!("Back-off pulling image \"{}\"", self.containers[index].image);
        self.event(Some(index), false, "BackOff", message.clone());
        self.event(Some(index), true, "Failed", "Error: ImagePullBackOff".into());
        let message = format!("{message}: {cause}");
        self.block(index, "ImagePullBackOff".into(), message, resume, resume);
        self.effects.push(Effect::WriteStatus(Urgency::Now));
    }

    fn kill_all(&mut self) {
        if let State::Stopping { killed, .. } = &mut self.state {
            *killed = true;
        }
        for (index, container) in self.containers.iter().enumerate() {
            if container.is_live() {
                let attempt = container.attempt;
                self.effects.push(Effect::KillContainer { container: index, attempt });
            }
        }
    }

    fn check_deadline(&mut self, now: Timestamp) {
        let alive = matches!(
            self.state,
            State::WaitingForVolumes { .. } | State::WaitingForSandbox { .. } | State::Running
        );
        if !alive || self.active_deadline().is_none_or(|at| now < at) {
            return;
        }
        self.event(None, false, DEADLINE_REASON, DEADLINE_MESSAGE.into());
        self.stop(
            now,
            Ending::Over(Outcome {
                phase: "Failed",
                reason: Some(DEADLINE_REASON.into()),
                message: Some(DEADLINE_MESSAGE.into()),
            }),
        );
        self.effects.push(Effect::WriteStatus(Urgency::Now));
    }

    fn event(
        &mut self,
        container: Option<usize>,
        warning: bool,
        reason: &'static str,
        message: String,
    ) {
        self.effects.push(Effect::Event(PodEvent { container, warning, reason, message }));
    }
}

fn containers(pod: &Pod, backoffs: &Backoffs, now: Timestamp) -> Vec<ContainerMachine> {
    let Some(spec) = pod.spec.as_ref() else { return Vec::new() };
    let of_pod = spec.restart_policy.as_deref();
    // Of a pod that is over, nothing starts again, whatever its policy was.
    let over = terminal_outcome(pod).is_some();
    let remembered: &[ContainerStatus] =
        pod.status.as_ref().and_then(|s| s.container_statuses.as_deref()).unwrap_or_default();
    spec.containers
        .iter()
        .map(|container| {
            let status = remembered.iter().find(|status| status.name == container.name);
            let policy = match over {
                true => RestartPolicy::Never,
                false => RestartPolicy::parse(container.restart_policy.as_deref().or(of_pod)),
            };
            ContainerMachine::new(container, policy, status, backoffs, now)
        })
        .collect()
}

/// The outcome that the API already knows of.
fn terminal_outcome(pod: &Pod) -> Option<Outcome> {
    let status = pod.status.as_ref()?;
    let phase = match status.phase.as_deref()? {
        "Succeeded" => "Succeeded",
        "Failed" => "Failed",
        _ => return None,
    };
    Some(Outcome { phase, reason: status.reason.clone(), message: status.message.clone() })
}

fn grace_until(now: Timestamp, deadline: Timestamp) -> Duration {
    super::backoff::until(now, deadline).max(MINIMUM_GRACE)
}

/// A container id as the API shows it.
pub fn container_id(id: &str) -> String {
    format!("wasm://{id}")
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
