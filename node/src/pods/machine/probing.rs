//! What probes' verdicts mean.

use std::time::Duration;

use jiff::Timestamp;

use super::super::container::{ContainerState, RestartPolicy};
use super::{Effect, MINIMUM_GRACE, PodMachine, ProbeKind, State, Urgency};

impl PodMachine {
    pub(super) fn probed(
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

    pub(super) fn fail_health(&mut self, index: usize, kind: ProbeKind) {
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
        self.unready(index);
    }

    pub(super) fn probe_grace(&self, index: usize, kind: ProbeKind) -> Duration {
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

    pub(super) fn probe_failed(&mut self, index: usize, attempt: u32, kind: ProbeKind, said: &str) {
        let Some(container) = self.current(index, attempt) else { return };
        if !matches!(container.state, ContainerState::Running { .. }) {
            return;
        }
        let message = format!("{} probe {said}", kind.word());
        self.event(Some(index), true, "Unhealthy", message);
    }
}
