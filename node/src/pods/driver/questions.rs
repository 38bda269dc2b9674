//! What the kubelet API asks the driver: pods, statistics, logs.

use std::path::PathBuf;

use copepod_runtime::Container;

use super::super::container::{ContainerMachine, ContainerState};
use super::super::logs::{self, LogSource};
use super::{Driver, Entry, LogRefusal, PodStats, Question, Used, WantedLog};

impl Driver {
    pub(super) fn answer(&self, question: Question) {
        match question {
            Question::Pods(reply) => {
                let pods = self.entries.values().map(|entry| entry.machine.pod.shared());
                let _ = reply.send(pods.collect());
            }
            Question::Stats(reply) => {
                let _ = reply.send(self.entries.values().map(stats).collect());
            }
            Question::Log { wanted, reply } => {
                let _ = reply.send(self.log(&wanted));
            }
            Question::Container { namespace, pod, container, reply } => {
                let _ = reply.send(self.running(namespace, pod, &container));
            }
            // Answered by the loop, which ends with it.
            Question::Drain { .. } => {}
        }
    }

    fn running(&self, namespace: String, pod: String, container: &str) -> Option<Container> {
        let entry = self.entries.get(self.names.get(&(namespace, pod))?)?;
        let index = entry.machine.containers.iter().position(|c| c.name == container)?;
        entry.slots[index].running.clone().filter(|_| entry.machine.containers[index].is_live())
    }

    pub(super) fn log(&self, wanted: &WantedLog) -> Result<LogSource, LogRefusal> {
        let refuse = |code, message| Err(LogRefusal { code, message });
        let (name, container) = (&wanted.pod, &wanted.container);
        let key = (wanted.namespace.clone(), wanted.pod.clone());
        let Some(entry) = self.names.get(&key).and_then(|uid| self.entries.get(uid)) else {
            return refuse(404, format!("pod \"{name}\" not found"));
        };
        let index = entry.machine.containers.iter().position(|c| c.name == *container);
        let Some(index) = index else {
            let message = format!("container \"{container}\" in pod \"{name}\" is not available");
            return refuse(404, message);
        };
        let machine = &entry.machine.containers[index];
        let (latest, before) = attempts(machine);
        let attempt = match (wanted.previous, latest, before) {
            (true, _, Some(before)) => before,
            (true, _, None) => {
                return refuse(
                    400,
                    format!(
                        "previous terminated container \"{container}\" in pod \"{name}\" not found"
                    ),
                );
            }
            (false, Some(latest), _) => latest,
            (false, None, _) => {
                let why = waiting_words(&machine.state);
                return refuse(
                    400,
                    format!(
                        "container \"{container}\" in pod \"{name}\" is waiting to start: {why}"
                    ),
                );
            }
        };
        let slot = &entry.slots[index];
        if let Some((_, log)) = slot.logs.iter().find(|(number, _)| *number == attempt) {
            return Ok(log.source());
        }
        // From before a restart of this process.
        let path: PathBuf =
            logs::log_path(&self.means.pod_dir(&entry.machine.pod), container, attempt);
        Ok(LogSource { path, live: None })
    }
}

/// The number of the latest start and, where it was kept, of the one before.
///
/// As upstream: while a container waits to be started again, its latest start is the one that ended,
/// and that one is the previous too.
fn attempts(machine: &ContainerMachine) -> (Option<u32>, Option<u32>) {
    let shown = machine.restarts_shown();
    match &machine.state {
        ContainerState::Running { .. } | ContainerState::Stopping { .. } => {
            (Some(shown), machine.last.as_ref().and_then(|_| shown.checked_sub(1)))
        }
        ContainerState::Ended(ended) => {
            let ran = ended.id.is_some().then_some(shown);
            (ran, machine.last.as_ref().and_then(|_| shown.checked_sub(1)))
        }
        ContainerState::Restarting { .. } => (Some(shown), Some(shown)),
        ContainerState::Created
        | ContainerState::Pulling
        | ContainerState::InLine { .. }
        | ContainerState::Starting
        | ContainerState::Blocked { .. } => {
            let ran = machine.last.as_ref().map(|_| shown);
            (ran, ran)
        }
    }
}

fn waiting_words(state: &ContainerState) -> String {
    match state {
        ContainerState::Blocked { reason, .. } => match reason.as_str() {
            "ImagePullBackOff" => "trying and failing to pull image".into(),
            "ErrImagePull" => "image can't be pulled".into(),
            reason => reason.into(),
        },
        _ => "ContainerCreating".into(),
    }
}

fn stats(entry: &Entry) -> PodStats {
    let containers = entry.machine.containers.iter().zip(&entry.slots);
    let containers = containers.filter_map(|(machine, slot)| {
        let since = match &machine.state {
            ContainerState::Running { since, .. } | ContainerState::Stopping { since, .. } => {
                *since
            }
            _ => return None,
        };
        let running = slot.running.as_ref()?;
        Some(Used {
            name: machine.name.clone(),
            since,
            restarts: machine.restarts_shown(),
            stats: running.stats(),
        })
    });
    PodStats {
        pod: entry.machine.pod.shared(),
        start_time: entry.machine.start_time,
        containers: containers.collect(),
    }
}
