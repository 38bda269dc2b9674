//! The pod's state machine: state × event → state, effects.
//!
//! It performs no I/O and asks nobody for the time: `now` comes in with every event, and what is to
//! be done goes out as [`Effect`]s, which the driver executes. Every step can run twice. How a pod's
//! status is worded from this state stands in `status.rs`.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, PodSpec};

use super::backoff::{Backoff, later};
use super::container::{Backoffs, ContainerMachine, ContainerState, Ended, RestartPolicy};
use super::held::HeldPod;
use super::unsupported::{self, Verdict};

/// Upstream's default grace period.
const DEFAULT_GRACE_SECONDS: i64 = 30;
/// How long a failed image pull is shown as such before it is shown as a back-off.
const PULL_ERROR_SHOWN: Duration = Duration::from_secs(2);
/// A grace period is never shorter, so that open requests are not cut off needlessly.
const MINIMUM_GRACE: Duration = Duration::from_secs(1);
const DEADLINE_REASON: &str = "DeadlineExceeded";
const DEADLINE_MESSAGE: &str = "Pod was active on the node longer than the specified deadline";

/// Where a pod stands.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// Just heard of. The first look at its object decides where it goes.
    Admitting,
    /// Its spec asks for what this node cannot honour. Nothing runs; it stays until deleted.
    Refused(Outcome),
    /// Its volumes are being made; `problem` is why they could not be so far.
    WaitingForVolumes { problem: Option<String>, retry: Option<Timestamp> },
    /// Its address and sandbox are being made.
    WaitingForSandbox { problem: Option<String>, retry: Option<Timestamp> },
    /// Each container lives its own life.
    Running,
    /// Its containers are being stopped, by `deadline` at the latest.
    Stopping { why: Ending, deadline: Timestamp, killed: bool },
    /// Deleted and stopped; the final status is being written.
    WritingFinalStatus,
    /// The final status is written; the object is being deleted.
    DeletingObject,
    /// Nothing of it runs or will run; the object is still there.
    Finished(Outcome),
    /// The object is gone; the driver forgets the pod.
    Gone,
}

/// Why a pod is being stopped.
#[derive(Clone, Debug, PartialEq)]
pub enum Ending {
    /// The API asked for its deletion.
    Deleted,
    /// The node decided so: `activeDeadlineSeconds` ran out.
    Failed(Outcome),
    /// The object has disappeared under it.
    Orphaned,
}

/// The phase that a pod ended in, with upstream's reason and message.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    pub phase: &'static str,
    pub reason: Option<String>,
    pub message: Option<String>,
}

/// What happens to a pod.
#[derive(Clone, Debug)]
pub enum Event {
    /// The object as the API has it now.
    Seen(Arc<Pod>),
    /// The object is gone from the API.
    Gone,
    /// The volumes are made, or why not.
    Volumes(Result<(), String>),
    /// The sandbox is made, or why not.
    Sandbox(Result<IpAddr, String>),
    /// The image of a container is ready to start, or why not.
    Image { container: usize, attempt: u32, result: Result<Arc<str>, ImageProblem> },
    /// The runtime has started a container, or why not.
    Started { container: usize, attempt: u32, result: Result<Arc<str>, StartProblem> },
    /// A container has ended.
    Exited { container: usize, attempt: u32, exit: ExitSeen },
    /// A probe crossed its threshold.
    Probed { container: usize, attempt: u32, kind: ProbeKind, healthy: bool },
    /// A probe failed, below its threshold or not.
    ProbeFailed { container: usize, attempt: u32, kind: ProbeKind, output: String },
    /// An image arrived in the node's store.
    ImagesChanged,
    /// The status asked for as final is stored in the API.
    FinalStatusWritten,
    /// A moment that was asked for has come.
    Timer,
}

/// Why an image cannot be used.
#[derive(Clone, Debug, PartialEq)]
pub enum ImageProblem {
    /// The reference is no image name.
    InvalidName { message: String },
    /// Not on this node, and the policy forbids to look elsewhere.
    NeverPull,
    /// Not to be had.
    Pull { message: String },
    /// Had, but not runnable here: not Wasm, no known world, unknown imports.
    Unusable { message: String },
}

/// Why a container could not be started.
#[derive(Clone, Debug, PartialEq)]
pub enum StartProblem {
    /// Its environment or mounts refer to what is not there.
    Config(String),
    /// The runtime refused.
    Run(String),
}

/// An end as the runtime reports it.
#[derive(Clone, Debug, PartialEq)]
pub struct ExitSeen {
    pub code: i32,
    pub reason: &'static str,
    pub message: Option<String>,
}

/// The three probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProbeKind {
    Startup,
    Readiness,
    Liveness,
}

impl ProbeKind {
    /// The word that upstream's events begin with.
    pub fn word(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Readiness => "Readiness",
            Self::Liveness => "Liveness",
        }
    }
}

/// What is to be done about a pod.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    MakeVolumes,
    StartSandbox,
    PullImage {
        container: usize,
        attempt: u32,
    },
    StartContainer {
        container: usize,
        attempt: u32,
        digest: Arc<str>,
    },
    Probe {
        container: usize,
        attempt: u32,
        kind: ProbeKind,
    },
    StopContainer {
        container: usize,
        attempt: u32,
        grace: Duration,
    },
    KillContainer {
        container: usize,
        attempt: u32,
    },
    /// The sandbox closes, its address goes back.
    CloseSandbox,
    WriteStatus(Urgency),
    Event(PodEvent),
    /// Delete the object with grace 0, if it still has this UID.
    DeletePodObject,
    /// Volumes, logs and everything else on disk goes.
    RemoveFiles,
    /// Send [`Event::Timer`] then.
    Timer(Timestamp),
}

/// How soon a status is to be written. Writes that wait are merged with those that come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// A passing stage: may be left out if the next comes at once.
    Soon,
    /// Somebody waits for it.
    Now,
    /// As `Now`, and answered with [`Event::FinalStatusWritten`].
    Final,
}

/// An event to be recorded, worded as upstream's kubelet words it.
#[derive(Clone, Debug, PartialEq)]
pub struct PodEvent {
    /// The container it is about; `None` for the whole pod.
    pub container: Option<usize>,
    pub warning: bool,
    pub reason: &'static str,
    pub message: String,
}

/// A pod on this node.
#[derive(Clone, Debug)]
pub struct PodMachine {
    pub pod: HeldPod,
    pub state: State,
    pub containers: Vec<ContainerMachine>,
    pub address: Option<IpAddr>,
    pub start_time: Timestamp,
    volumes_backoff: Backoff,
    effects: Vec<Effect>,
}

impl PodMachine {
    /// A pod just heard of. Send it [`Event::Seen`] next.
    pub fn new(pod: Arc<Pod>, now: Timestamp, backoffs: Backoffs) -> Self {
        let status = pod.status.as_ref();
        let start_time = status.and_then(|s| s.start_time.as_ref()).map_or(now, |time| time.0);
        let containers = containers(&pod, &backoffs);
        let volumes_backoff = Backoff::new(backoffs.retry);
        Self {
            pod: pod.into(),
            state: State::Admitting,
            containers,
            address: None,
            start_time,
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
            Event::ProbeFailed { container, attempt, kind, output } => {
                self.probe_failed(container, attempt, kind, &output);
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
                } else {
                    self.follow_spec(now, &before);
                }
            }
            State::Stopping { why, .. } => {
                let node_decided = matches!(why, Ending::Failed(_));
                if self.deleted() && node_decided {
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
            }
            ContainerState::Blocked { .. } => self.begin(now, index),
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

    // ---- containers -------------------------------------------------------------------------

    /// Starts a container on its way: image, start.
    fn begin(&mut self, _now: Timestamp, index: usize) {
        let container = &mut self.containers[index];
        match &container.state {
            ContainerState::Created | ContainerState::Blocked { .. } => {}
            ContainerState::Restarting { ended, .. } => {
                container.last = Some(ended.clone());
                container.attempt += 1;
            }
            ContainerState::Pulling
            | ContainerState::Starting
            | ContainerState::Running { .. }
            | ContainerState::Stopping { .. }
            | ContainerState::Ended(_) => return,
        }
        container.state = ContainerState::Pulling;
        let attempt = container.attempt;
        self.effects.push(Effect::PullImage { container: index, attempt });
    }

    fn current(&mut self, index: usize, attempt: u32) -> Option<&mut ContainerMachine> {
        self.containers.get_mut(index).filter(|container| container.attempt == attempt)
    }

    fn image(
        &mut self,
        now: Timestamp,
        index: usize,
        attempt: u32,
        result: Result<Arc<str>, ImageProblem>,
    ) {
        let running = self.state == State::Running;
        let Some(container) = self.current(index, attempt) else { return };
        if container.state != ContainerState::Pulling || !running {
            return;
        }
        match result {
            Ok(digest) => {
                container.image_backoff.reset();
                container.digest = Some(digest.clone());
                container.state = ContainerState::Starting;
                let message =
                    format!("Container image \"{}\" already present on machine", container.image);
                self.event(Some(index), false, "Pulled", message);
                self.effects.push(Effect::StartContainer { container: index, attempt, digest });
            }
            Err(problem) => self.image_failed(now, index, problem),
        }
    }

    fn image_failed(&mut self, now: Timestamp, index: usize, problem: ImageProblem) {
        let container = &mut self.containers[index];
        let image = container.image.clone();
        let resume = later(now, container.image_backoff.after_failure());
        let (reason, message) = match problem {
            ImageProblem::InvalidName { message } => {
                self.event(Some(index), true, "InspectFailed", message.clone());
                ("InvalidImageName", message)
            }
            ImageProblem::NeverPull => {
                let message =
                    format!("Container image \"{image}\" is not present with pull policy of Never");
                self.event(Some(index), true, "ErrImageNeverPull", message.clone());
                ("ErrImageNeverPull", message)
            }
            ImageProblem::Pull { message } => {
                let pulling = format!("Pulling image \"{image}\"");
                self.event(Some(index), false, "Pulling", pulling);
                let failed = format!("Failed to pull image \"{image}\": {message}");
                self.event(Some(index), true, "Failed", failed);
                ("ErrImagePull", message)
            }
            ImageProblem::Unusable { message } => ("CreateContainerError", message),
        };
        let detail = if reason == "CreateContainerError" { &message } else { reason };
        self.event(Some(index), true, "Failed", format!("Error: {detail}"));
        let retry = match reason {
            "ErrImagePull" => later(now, PULL_ERROR_SHOWN).min(resume),
            _ => resume,
        };
        self.block(index, reason.into(), message, retry, resume);
        self.effects.push(Effect::WriteStatus(Urgency::Now));
    }

    fn block(
        &mut self,
        index: usize,
        reason: String,
        message: String,
        retry: Timestamp,
        resume: Timestamp,
    ) {
        self.containers[index].state = ContainerState::Blocked { reason, message, retry, resume };
        self.effects.push(Effect::Timer(retry));
    }

    fn started(
        &mut self,
        now: Timestamp,
        index: usize,
        attempt: u32,
        result: Result<Arc<str>, StartProblem>,
    ) {
        let Some(container) = self.current(index, attempt) else { return };
        if container.state != ContainerState::Starting {
            return;
        }
        match result {
            Ok(id) => self.running(now, index, id),
            Err(problem) => self.start_failed(now, index, problem),
        }
    }

    fn running(&mut self, now: Timestamp, index: usize, id: Arc<str>) {
        self.event(Some(index), false, "Created", "Container created".into());
        self.event(Some(index), false, "Started", "Container started".into());
        let container = &mut self.containers[index];
        container.retry_backoff.reset();
        container.state = ContainerState::Running { since: now, id };
        container.started = false;
        container.ready = false;
        let attempt = container.attempt;
        if let State::Stopping { deadline, .. } = self.state {
            let grace = grace_until(now, deadline);
            let message = format!("Stopping container {}", self.containers[index].name);
            self.stop_container(index, grace, message);
            return;
        }
        let startup = self.container_spec(index).is_some_and(|spec| spec.startup_probe.is_some());
        if startup {
            let kind = ProbeKind::Startup;
            self.effects.push(Effect::Probe { container: index, attempt, kind });
        } else {
            self.has_started(index);
        }
        let all_run = self.containers.iter().all(ContainerMachine::is_live);
        let all_ready = self.containers.iter().all(|container| container.ready);
        let urgency = if all_run && all_ready { Urgency::Now } else { Urgency::Soon };
        self.effects.push(Effect::WriteStatus(urgency));
    }

    /// The container has started in Kubernetes' sense: the other probes begin.
    fn has_started(&mut self, index: usize) {
        let spec = self.container_spec(index);
        let readiness = spec.is_some_and(|spec| spec.readiness_probe.is_some());
        let liveness = spec.is_some_and(|spec| spec.liveness_probe.is_some());
        let container = &mut self.containers[index];
        container.started = true;
        container.ready = !readiness;
        let attempt = container.attempt;
        for (wanted, kind) in [(readiness, ProbeKind::Readiness), (liveness, ProbeKind::Liveness)] {
            if wanted {
                self.effects.push(Effect::Probe { container: index, attempt, kind });
            }
        }
    }

    fn start_failed(&mut self, now: Timestamp, index: usize, problem: StartProblem) {
        let (reason, message) = match problem {
            StartProblem::Config(message) => ("CreateContainerConfigError", message),
            StartProblem::Run(message) => ("RunContainerError", message),
        };
        self.event(Some(index), true, "Failed", format!("Error: {message}"));
        let retry = later(now, self.containers[index].retry_backoff.after_failure());
        self.block(index, reason.into(), message, retry, retry);
        self.effects.push(Effect::WriteStatus(Urgency::Now));
        self.check_stopped();
    }

    fn exited(&mut self, now: Timestamp, index: usize, attempt: u32, exit: ExitSeen) {
        let stopping = self.state != State::Running;
        let Some(container) = self.current(index, attempt) else { return };
        let (since, id) = match &container.state {
            ContainerState::Running { since, id } | ContainerState::Stopping { since, id } => {
                (*since, id.clone())
            }
            ContainerState::Created
            | ContainerState::Pulling
            | ContainerState::Blocked { .. }
            | ContainerState::Starting
            | ContainerState::Restarting { .. }
            | ContainerState::Ended(_) => return,
        };
        let ended = Ended {
            code: exit.code,
            reason: exit.reason.into(),
            message: exit.message,
            started: Some(since),
            finished: Some(now),
            id: Some(container_id(&id)),
        };
        container.started = false;
        container.ready = false;
        if stopping {
            container.state = ContainerState::Ended(ended);
            self.check_stopped();
            return;
        }
        let anyway = std::mem::take(&mut container.restart_anyway);
        if anyway || container.policy.restarts(ended.code) {
            self.restart(now, index, ended, anyway);
        } else {
            container.state = ContainerState::Ended(ended);
        }
        self.effects.push(Effect::WriteStatus(Urgency::Now));
        self.finish_if_over();
    }

    fn restart(&mut self, now: Timestamp, index: usize, ended: Ended, at_once: bool) {
        let described = self.described();
        let container = &mut self.containers[index];
        let wait = if at_once { Duration::ZERO } else { container.restart_backoff.after_exit(now) };
        let until = later(now, wait);
        if wait.is_zero() {
            container.state = ContainerState::Restarting { ended, until, held: None };
            self.begin(now, index);
            return;
        }
        let name = container.name.clone();
        let held = format!(
            "back-off {} restarting failed container={name} pod={described}",
            go_duration(wait)
        );
        container.state = ContainerState::Restarting { ended, until, held: Some(held) };
        let message = format!("Back-off restarting failed container {name} in pod {described}");
        self.event(Some(index), true, "BackOff", message);
        self.effects.push(Effect::Timer(until));
    }

    fn finish_if_over(&mut self) {
        let preparing = matches!(
            self.state,
            State::Running | State::WaitingForVolumes { .. } | State::WaitingForSandbox { .. }
        );
        if !preparing || !self.containers.iter().all(ContainerMachine::is_over) {
            return;
        }
        self.state = State::Finished(self.outcome());
        self.effects.push(Effect::CloseSandbox);
        self.effects.push(Effect::WriteStatus(Urgency::Now));
    }

    /// The outcome of a pod whose containers have all ended.
    fn outcome(&self) -> Outcome {
        let succeeded = self
            .containers
            .iter()
            .all(|c| matches!(&c.state, ContainerState::Ended(ended) if ended.code == 0));
        let phase = if succeeded { "Succeeded" } else { "Failed" };
        Outcome { phase, reason: None, message: None }
    }

    // ---- probes -----------------------------------------------------------------------------

    fn probed(
        &mut self,
        _now: Timestamp,
        index: usize,
        attempt: u32,
        kind: ProbeKind,
        healthy: bool,
    ) {
        let Some(container) = self.current(index, attempt) else { return };
        if !matches!(container.state, ContainerState::Running { .. }) {
            return;
        }
        match (kind, healthy) {
            (ProbeKind::Readiness, ready) => {
                if container.ready != ready {
                    container.ready = ready;
                    self.effects.push(Effect::WriteStatus(Urgency::Now));
                }
            }
            (ProbeKind::Startup, true) => {
                if !container.started {
                    self.has_started(index);
                    self.effects.push(Effect::WriteStatus(Urgency::Now));
                }
            }
            (ProbeKind::Liveness, true) => {}
            (ProbeKind::Startup | ProbeKind::Liveness, false) => self.fail_health(index, kind),
        }
    }

    fn fail_health(&mut self, index: usize, kind: ProbeKind) {
        if self.state != State::Running {
            return;
        }
        let container = &mut self.containers[index];
        let mut message = match kind {
            ProbeKind::Startup => format!("Container {} failed startup probe", container.name),
            ProbeKind::Liveness | ProbeKind::Readiness => {
                format!("Container {} failed liveness probe", container.name)
            }
        };
        if container.policy != RestartPolicy::Never {
            container.restart_anyway = false;
            message.push_str(", will be restarted");
        }
        let grace = self.probe_grace(index, kind);
        self.stop_container(index, grace, message);
    }

    fn probe_grace(&self, index: usize, kind: ProbeKind) -> Duration {
        let spec = self.container_spec(index);
        let probe = match kind {
            ProbeKind::Startup => spec.and_then(|spec| spec.startup_probe.as_ref()),
            ProbeKind::Liveness => spec.and_then(|spec| spec.liveness_probe.as_ref()),
            ProbeKind::Readiness => None,
        };
        probe
            .and_then(|probe| probe.termination_grace_period_seconds)
            .and_then(|seconds| u64::try_from(seconds).ok())
            .map_or_else(|| self.grace_of_spec(), |s| Duration::from_secs(s).max(MINIMUM_GRACE))
    }

    fn probe_failed(&mut self, index: usize, attempt: u32, kind: ProbeKind, output: &str) {
        let Some(container) = self.current(index, attempt) else { return };
        if !matches!(container.state, ContainerState::Running { .. }) {
            return;
        }
        let message = format!("{} probe failed: {output}", kind.word());
        self.event(Some(index), true, "Unhealthy", message);
    }

    // ---- ending -----------------------------------------------------------------------------

    fn grace_of_spec(&self) -> Duration {
        let seconds = self.spec().termination_grace_period_seconds.unwrap_or(DEFAULT_GRACE_SECONDS);
        Duration::from_secs(u64::try_from(seconds).unwrap_or(0)).max(MINIMUM_GRACE)
    }

    fn grace_of_deletion(&self) -> Duration {
        let seconds = self.pod.metadata.deletion_grace_period_seconds;
        match seconds.and_then(|seconds| u64::try_from(seconds).ok()) {
            Some(seconds) => Duration::from_secs(seconds).max(MINIMUM_GRACE),
            None => self.grace_of_spec(),
        }
    }

    fn stop(&mut self, now: Timestamp, why: Ending) {
        let grace = match why {
            Ending::Deleted => self.grace_of_deletion(),
            Ending::Failed(_) => self.grace_of_spec(),
            Ending::Orphaned => MINIMUM_GRACE,
        };
        let deadline = later(now, grace);
        self.state = State::Stopping { why, deadline, killed: false };
        self.effects.push(Effect::Timer(deadline));
        for index in 0..self.containers.len() {
            self.stop_for_good(index, grace);
        }
        self.check_stopped();
    }

    fn stop_for_good(&mut self, index: usize, grace: Duration) {
        let container = &mut self.containers[index];
        match &container.state {
            ContainerState::Running { .. } => {
                let message = format!("Stopping container {}", container.name);
                self.stop_container(index, grace, message);
            }
            ContainerState::Restarting { ended, .. } => {
                container.state = ContainerState::Ended(ended.clone());
            }
            ContainerState::Created | ContainerState::Pulling | ContainerState::Blocked { .. } => {
                let ended = container.last.clone().unwrap_or_else(Ended::unknown);
                container.attempt = container.restarts_shown();
                container.state = ContainerState::Ended(ended);
            }
            // Stopped as soon as the runtime answers.
            ContainerState::Starting => {}
            ContainerState::Stopping { .. } | ContainerState::Ended(_) => {}
        }
    }

    fn stop_container(&mut self, index: usize, grace: Duration, message: String) {
        let container = &mut self.containers[index];
        let ContainerState::Running { since, id } = &container.state else { return };
        container.state = ContainerState::Stopping { since: *since, id: id.clone() };
        container.ready = false;
        let attempt = container.attempt;
        self.event(Some(index), false, "Killing", message);
        self.effects.push(Effect::StopContainer { container: index, attempt, grace });
    }

    /// A second deletion may ask for less grace than the first, never for more.
    fn shorten(&mut self, now: Timestamp, before: &Pod) {
        let asked = self.pod.metadata.deletion_grace_period_seconds;
        if asked == before.metadata.deletion_grace_period_seconds || !self.deleted() {
            return;
        }
        let sooner = later(now, self.grace_of_deletion());
        if let State::Stopping { deadline, .. } = &mut self.state
            && sooner < *deadline
        {
            *deadline = sooner;
            self.effects.push(Effect::Timer(sooner));
        }
    }

    fn check_stopped(&mut self) {
        let State::Stopping { why, .. } = &self.state else { return };
        let why = why.clone();
        for index in 0..self.containers.len() {
            if let ContainerState::Blocked { .. } = self.containers[index].state {
                self.stop_for_good(index, Duration::ZERO);
            }
        }
        if !self.containers.iter().all(ContainerMachine::is_over) {
            return;
        }
        match why {
            Ending::Deleted => self.write_final_status(),
            Ending::Failed(outcome) => {
                self.state = State::Finished(outcome);
                self.effects.push(Effect::CloseSandbox);
                self.effects.push(Effect::WriteStatus(Urgency::Now));
            }
            Ending::Orphaned => self.forget(),
        }
    }

    fn write_final_status(&mut self) {
        self.state = match &self.state {
            // Nothing is left to say: the outcome stands in the API already.
            State::Finished(_) | State::Refused(_) => {
                self.effects.push(Effect::CloseSandbox);
                self.effects.push(Effect::DeletePodObject);
                State::DeletingObject
            }
            _ => {
                self.effects.push(Effect::CloseSandbox);
                self.effects.push(Effect::WriteStatus(Urgency::Final));
                State::WritingFinalStatus
            }
        };
    }

    fn final_status_written(&mut self) {
        if self.state == State::WritingFinalStatus {
            self.state = State::DeletingObject;
            self.effects.push(Effect::DeletePodObject);
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
            Ending::Failed(Outcome {
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

fn containers(pod: &Pod, backoffs: &Backoffs) -> Vec<ContainerMachine> {
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
            ContainerMachine::new(container, policy, status, backoffs)
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

/// Whole seconds as Go prints a duration: `10s`, `1m20s`, `5m0s`.
fn go_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if duration.subsec_nanos() != 0 && seconds == 0 {
        return format!("{}ms", duration.as_millis());
    }
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m{s}s"),
        (h, m, s) => format!("{h}h{m}m{s}s"),
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
