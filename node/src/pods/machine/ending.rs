//! How a pod ends: its containers are stopped, the final status is written, the object goes.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use super::super::backoff::later;
use super::super::container::{ContainerMachine, ContainerState, Ended};
use super::{Effect, Ending, MINIMUM_GRACE, PodMachine, State, Urgency};

/// Upstream's default grace period.
const DEFAULT_GRACE_SECONDS: i64 = 30;

impl PodMachine {
    pub(super) fn grace_of_spec(&self) -> Duration {
        let seconds = self.spec().termination_grace_period_seconds.unwrap_or(DEFAULT_GRACE_SECONDS);
        Duration::from_secs(u64::try_from(seconds).unwrap_or(0)).max(MINIMUM_GRACE)
    }

    pub(super) fn grace_of_deletion(&self) -> Duration {
        let seconds = self.pod.metadata.deletion_grace_period_seconds;
        match seconds.and_then(|seconds| u64::try_from(seconds).ok()) {
            Some(seconds) => Duration::from_secs(seconds).max(MINIMUM_GRACE),
            None => self.grace_of_spec(),
        }
    }

    pub(super) fn stop(&mut self, now: Timestamp, why: Ending) {
        let grace = match why {
            Ending::Deleted => self.grace_of_deletion(),
            Ending::Over(_) => self.grace_of_spec(),
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

    pub(super) fn stop_for_good(&mut self, index: usize, grace: Duration) {
        let container = &mut self.containers[index];
        match &container.state {
            ContainerState::Running { .. } => {
                let message = format!("Stopping container {}", container.name);
                self.stop_container(index, grace, message);
            }
            ContainerState::Restarting { ended, .. } => {
                container.state = ContainerState::Ended(ended.clone());
            }
            ContainerState::Created
            | ContainerState::Pulling
            | ContainerState::InLine { .. }
            | ContainerState::Blocked { .. } => {
                let ended = container.last.clone().unwrap_or_else(Ended::unknown);
                container.attempt = container.restarts_shown();
                container.state = ContainerState::Ended(ended);
            }
            // Stopped as soon as the runtime answers.
            ContainerState::Starting => {}
            ContainerState::Stopping { .. } | ContainerState::Ended(_) => {}
        }
    }

    pub(super) fn stop_container(&mut self, index: usize, grace: Duration, message: String) {
        let container = &mut self.containers[index];
        let ContainerState::Running { since, id } = &container.state else { return };
        container.state = ContainerState::Stopping { since: *since, id: id.clone() };
        let attempt = container.attempt;
        self.event(Some(index), false, "Killing", message);
        self.effects.push(Effect::StopContainer { container: index, attempt, grace });
    }

    /// A container that is stopped to be started again listens no more, while its pod goes on. One
    /// that ends with its pod stays as ready as it was: it serves until its listeners close.
    pub(super) fn unready(&mut self, index: usize) {
        if std::mem::take(&mut self.containers[index].ready) {
            self.effects.push(Effect::WriteStatus(Urgency::Now));
        }
    }

    /// A second deletion may ask for less grace than the first, never for more.
    pub(super) fn shorten(&mut self, now: Timestamp, before: &Pod) {
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

    pub(super) fn check_stopped(&mut self) {
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
            Ending::Over(outcome) => {
                self.state = State::Finished(outcome);
                self.effects.push(Effect::CloseSandbox);
                self.effects.push(Effect::WriteStatus(Urgency::Now));
            }
            Ending::Orphaned => self.forget(),
        }
    }

    pub(super) fn write_final_status(&mut self) {
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

    pub(super) fn final_status_written(&mut self) {
        if self.state == State::WritingFinalStatus {
            self.state = State::DeletingObject;
            self.effects.push(Effect::DeletePodObject);
        }
    }
}
