//! The life of each container: image, start, end, start again.
//!
//! Images are made ready side by side. Containers start in the order of the spec, as upstream: one whose image is ready
//! stands in line until each before it has started, or could not be.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::super::backoff::later;
use super::super::container::{ContainerMachine, ContainerState, Ended};
use super::{
    Effect, ExitSeen, ImageProblem, Outcome, PodMachine, ProbeKind, StartProblem, State, Urgency,
    container_id, grace_until,
};

/// How long a failed image pull is shown as such before it is shown as a back-off.
const PULL_ERROR_SHOWN: Duration = Duration::from_secs(2);

/// A container that imports from another one is shown so until that one runs, with what it waits for.
const WAITS: &str = "ContainerCreating";

impl PodMachine {
    /// Starts a container on its way: image, start.
    pub(super) fn begin(&mut self, _now: Timestamp, index: usize) {
        let container = &mut self.containers[index];
        match &container.state {
            ContainerState::Created
            | ContainerState::InLine { .. }
            | ContainerState::Blocked { .. } => {}
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

    pub(super) fn current(&mut self, index: usize, attempt: u32) -> Option<&mut ContainerMachine> {
        self.containers.get_mut(index).filter(|container| container.attempt == attempt)
    }

    pub(super) fn image(
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
                container.state = ContainerState::InLine { digest };
                let message = format!(
                    "Container image \"{}\" already present on machine and can be accessed by the pod",
                    container.image
                );
                self.event(Some(index), false, "Pulled", message);
            }
            Err(problem) => self.image_failed(now, index, problem),
        }
        self.start_next();
    }

    /// Starts whoever is first in line, where nobody before it is still on the way.
    fn start_next(&mut self) {
        if self.state != State::Running {
            return;
        }
        let first = self.containers.iter_mut().enumerate().find(|(_, c)| c.is_starting());
        let Some((index, container)) = first else { return };
        if let ContainerState::InLine { digest } = &container.state {
            let (attempt, digest) = (container.attempt, digest.clone());
            container.state = ContainerState::Starting;
            self.effects.push(Effect::StartContainer { container: index, attempt, digest });
        }
    }

    pub(super) fn image_failed(&mut self, now: Timestamp, index: usize, problem: ImageProblem) {
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

    pub(super) fn block(
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

    pub(super) fn started(
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
        self.start_next();
    }

    pub(super) fn running(&mut self, now: Timestamp, index: usize, id: Arc<str>) {
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
        self.begin_those_that_wait(now);
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

    /// One more container runs: it may be the one that others import from.
    fn begin_those_that_wait(&mut self, now: Timestamp) {
        for index in 0..self.containers.len() {
            let state = &self.containers[index].state;
            if matches!(state, ContainerState::Blocked { reason, .. } if reason == WAITS) {
                self.begin(now, index);
            }
        }
    }

    /// The container has started in Kubernetes' sense: the other probes begin.
    pub(super) fn has_started(&mut self, index: usize) {
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

    pub(super) fn start_failed(&mut self, now: Timestamp, index: usize, problem: StartProblem) {
        let (reason, message) = match problem {
            StartProblem::Config(message) => ("CreateContainerConfigError", message),
            StartProblem::Run(message) => ("RunContainerError", message),
            StartProblem::Create(message) => ("CreateContainerError", message),
            StartProblem::Waits(message) => (WAITS, message),
        };
        if reason != WAITS {
            self.event(Some(index), true, "Failed", format!("Error: {message}"));
        }
        let retry = later(now, self.containers[index].retry_backoff.after_failure());
        self.block(index, reason.into(), message, retry, retry);
        self.effects.push(Effect::WriteStatus(Urgency::Now));
        self.check_stopped();
    }

    pub(super) fn exited(&mut self, now: Timestamp, index: usize, attempt: u32, exit: ExitSeen) {
        let stopping = self.state != State::Running;
        let Some(container) = self.current(index, attempt) else { return };
        let (since, id) = match &container.state {
            ContainerState::Running { since, id } | ContainerState::Stopping { since, id } => {
                (*since, id.clone())
            }
            ContainerState::Created
            | ContainerState::Pulling
            | ContainerState::InLine { .. }
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

    pub(super) fn restart(&mut self, now: Timestamp, index: usize, ended: Ended, at_once: bool) {
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

    pub(super) fn finish_if_over(&mut self) {
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
    pub(super) fn outcome(&self) -> Outcome {
        let succeeded = self
            .containers
            .iter()
            .all(|c| matches!(&c.state, ContainerState::Ended(ended) if ended.code == 0));
        let phase = if succeeded { "Succeeded" } else { "Failed" };
        Outcome { phase, reason: None, message: None }
    }
}

/// Whole seconds as Go prints a duration: `10s`, `1m20s`, `5m0s`.
pub(super) fn go_duration(duration: Duration) -> String {
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
