//! One container's part of the pod's state machine. Pure: no I/O, the time comes in as an argument.
//!
//! What a container does next is decided in `machine.rs`, which sees the whole pod.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, ContainerStateTerminated, ContainerStatus};

use super::backoff::{Backoff, BackoffPolicy};

/// The reason upstream gives where nobody knows how a container ended.
pub const STATUS_UNKNOWN: &str = "ContainerStatusUnknown";
const STATUS_UNKNOWN_MESSAGE: &str =
    "The container could not be located when the pod was terminated";

/// Where a container stands.
#[derive(Clone, Debug, PartialEq)]
pub enum ContainerState {
    /// Nothing was tried yet: the pod's volumes and sandbox come first.
    Created,
    /// Its image is being looked up and, the first time, compiled.
    Pulling,
    /// Its image is ready; the containers before it in the spec start first.
    InLine { digest: Arc<str> },
    /// It could not be started. Looked at again at `retry`; started again from `resume` on.
    Blocked { reason: String, message: String, retry: Timestamp, resume: Timestamp },
    /// The runtime was asked to start it.
    Starting,
    /// It runs.
    Running { since: Timestamp, id: Arc<str> },
    /// It was asked to stop and has not ended yet.
    Stopping { since: Timestamp, id: Arc<str> },
    /// It ended and starts again at `until`; `held` is why not at once.
    Restarting { ended: Ended, until: Timestamp, held: Option<String> },
    /// It ended for good.
    Ended(Ended),
}

/// How an instance of a container ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    pub code: i32,
    pub reason: String,
    pub message: Option<String>,
    pub started: Option<Timestamp>,
    pub finished: Option<Timestamp>,
    pub id: Option<String>,
}

impl Ended {
    /// The end of an instance that nobody saw end.
    pub fn unknown() -> Self {
        Self {
            code: 137,
            reason: STATUS_UNKNOWN.into(),
            message: Some(STATUS_UNKNOWN_MESSAGE.into()),
            started: None,
            finished: None,
            id: None,
        }
    }

    fn from_status(status: &ContainerStateTerminated) -> Self {
        Self {
            code: status.exit_code,
            reason: status.reason.clone().unwrap_or_default(),
            message: status.message.clone(),
            started: status.started_at.as_ref().map(|time| time.0),
            finished: status.finished_at.as_ref().map(|time| time.0),
            id: status.container_id.clone(),
        }
    }
}

/// When a container that ended is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartPolicy {
    Always,
    OnFailure,
    Never,
}

impl RestartPolicy {
    pub fn parse(text: Option<&str>) -> Self {
        match text {
            Some("OnFailure") => Self::OnFailure,
            Some("Never") => Self::Never,
            _ => Self::Always,
        }
    }

    pub fn restarts(self, code: i32) -> bool {
        match self {
            Self::Always => true,
            Self::OnFailure => code != 0,
            Self::Never => false,
        }
    }
}

/// A container and what is remembered about it.
#[derive(Clone, Debug)]
pub struct ContainerMachine {
    pub name: String,
    /// The image as the user wrote it, of the running instance or of the next.
    pub image: String,
    pub policy: RestartPolicy,
    /// The number of instances before the current one.
    pub attempt: u32,
    pub state: ContainerState,
    /// How the instance before the current one ended.
    pub last: Option<Ended>,
    /// The startup probe has passed, or there is none.
    pub started: bool,
    /// The readiness probe passes, or there is none, and the container has started.
    pub ready: bool,
    /// The digest of the image in use.
    pub digest: Option<Arc<str>>,
    /// Set where the next end is followed by a start whatever the restart policy says.
    pub restart_anyway: bool,
    pub restart_backoff: Backoff,
    pub image_backoff: Backoff,
    pub retry_backoff: Backoff,
}

/// The waits that a node is configured with.
#[derive(Clone, Copy, Debug)]
pub struct Backoffs {
    pub restart: BackoffPolicy,
    pub image: BackoffPolicy,
    pub retry: BackoffPolicy,
}

impl Default for Backoffs {
    fn default() -> Self {
        Self {
            restart: BackoffPolicy::RESTART,
            image: BackoffPolicy::RESTART,
            retry: BackoffPolicy::RETRY,
        }
    }
}

impl ContainerMachine {
    /// A container as first seen, continuing from what the API remembers about it.
    pub fn new(
        spec: &Container,
        policy: RestartPolicy,
        remembered: Option<&ContainerStatus>,
        backoffs: &Backoffs,
        now: Timestamp,
    ) -> Self {
        let mut machine = Self {
            name: spec.name.clone(),
            image: spec.image.clone().unwrap_or_default(),
            policy,
            attempt: 0,
            state: ContainerState::Created,
            last: None,
            started: false,
            ready: false,
            digest: None,
            restart_anyway: false,
            restart_backoff: Backoff::new(backoffs.restart),
            image_backoff: Backoff::new(backoffs.image),
            retry_backoff: Backoff::new(backoffs.retry),
        };
        if let Some(status) = remembered {
            machine.remember(status, now);
        }
        machine
    }

    /// Takes over where an earlier process of this node left off.
    ///
    /// A sandbox dies with its process: what ran then has ended, seen by nobody. The start that
    /// follows such an end is the one without a wait; how long earlier waits were is forgotten, as
    /// upstream.
    fn remember(&mut self, status: &ContainerStatus, now: Timestamp) {
        let state = status.state.as_ref();
        let terminated = state.and_then(|s| s.terminated.as_ref()).map(Ended::from_status);
        let running = state.is_some_and(|s| s.running.is_some());
        let before =
            status.last_state.as_ref().and_then(|s| s.terminated.as_ref()).map(Ended::from_status);
        let count = u32::try_from(status.restart_count).unwrap_or(0);
        let ended = match terminated {
            Some(ended) => ended,
            None if running => Ended { id: status.container_id.clone(), ..Ended::unknown() },
            None => {
                self.last = before;
                // Nothing of this attempt ran; the count still tells of earlier ones.
                self.attempt = count + u32::from(self.last.is_some());
                if self.last.is_some() {
                    self.restart_backoff.after_exit(now);
                }
                return;
            }
        };
        self.attempt = count;
        if self.policy.restarts(ended.code) {
            self.attempt = count + 1;
            self.last = Some(ended);
            self.restart_backoff.after_exit(now);
        } else {
            self.last = before;
            self.state = ContainerState::Ended(ended);
        }
    }

    pub fn is_over(&self) -> bool {
        matches!(self.state, ContainerState::Ended(_))
    }

    pub fn is_live(&self) -> bool {
        matches!(self.state, ContainerState::Running { .. } | ContainerState::Stopping { .. })
    }

    /// Whether those after it in the spec wait for it to start, or to fail to. What is waited for always comes: an image
    /// is there or not, a start succeeds or not; a container that then waits, for whatever, holds nobody back.
    pub fn is_starting(&self) -> bool {
        match self.state {
            ContainerState::Created
            | ContainerState::Pulling
            | ContainerState::InLine { .. }
            | ContainerState::Starting => true,
            ContainerState::Blocked { .. }
            | ContainerState::Running { .. }
            | ContainerState::Stopping { .. }
            | ContainerState::Restarting { .. }
            | ContainerState::Ended(_) => false,
        }
    }

    /// The number of restarts to show: an instance counts once it runs.
    pub fn restarts_shown(&self) -> u32 {
        match self.state {
            ContainerState::Created
            | ContainerState::Pulling
            | ContainerState::InLine { .. }
            | ContainerState::Starting
            | ContainerState::Blocked { .. } => {
                self.attempt.saturating_sub(u32::from(self.last.is_some()))
            }
            ContainerState::Running { .. }
            | ContainerState::Stopping { .. }
            | ContainerState::Restarting { .. }
            | ContainerState::Ended(_) => self.attempt,
        }
    }
}
