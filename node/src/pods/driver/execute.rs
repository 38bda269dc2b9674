//! The driver's hands: each effect that a machine asked for, done in place or set going.

use std::cmp::Reverse;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use copepod_runtime::SandboxSpec;
use k8s_openapi::api::core::v1::Pod;
use tokio::time::Instant;

use super::super::backoff::until;
use super::super::composition;
use super::super::config;
use super::super::container::{ContainerMachine, ContainerState};
use super::super::effects::{Deleted, Found, chain};
use super::super::env;
use super::super::hosts;
use super::super::logs::{self, LogWriter, Rotation};
use super::super::machine::{Effect, Event, ProbeKind, StartProblem, State};
use super::super::snapshot::StartFrom;
use super::super::termination::Termination;
use super::{Driver, Due, Message, Uid, name_of};
use crate::ambient::random_hex;
use crate::network::PodIdentity;
use crate::probes::{self, Report, Target};

/// How long a pod that ends keeps its listeners open until the slices no longer call it ready.
const UNLISTED_WITHIN: Duration = Duration::from_secs(2);

impl Driver {
    /// Does what can be done at once and returns what came of it; sets the rest going.
    pub(super) fn execute(&mut self, uid: &Uid, effect: Effect) -> Option<Event> {
        match effect {
            Effect::MakeVolumes => self.make_volumes(uid),
            Effect::StartSandbox => return Some(Event::Sandbox(self.start_sandbox(uid))),
            Effect::PullImage { container, attempt } => {
                return self.pull_image(uid, container, attempt);
            }
            Effect::StartContainer { container, attempt, digest } => {
                return self.begin_container(uid, container, attempt, digest);
            }
            Effect::Probe { container, attempt, kind } => {
                self.probe(uid, container, attempt, kind);
            }
            Effect::StopContainer { container, grace, .. } => {
                self.stop_container(uid, container, grace);
            }
            Effect::KillContainer { container, .. } => {
                let slot = self.entries.get(uid).and_then(|entry| entry.slots.get(container));
                if let Some(running) = slot.and_then(|slot| slot.running.as_ref()) {
                    running.kill();
                }
            }
            Effect::CloseSandbox => self.close_sandbox(uid),
            Effect::WriteStatus(urgency) => self.want_status(uid, urgency),
            Effect::Event(event) => {
                if let Some(entry) = self.entries.get(uid) {
                    self.means.record(&entry.machine, event);
                }
            }
            Effect::DeletePodObject => self.delete_object(uid),
            Effect::RemoveFiles => {
                if let Some(pod) = self.pod(uid) {
                    let means = self.means.clone();
                    self.spawn(async move { means.remove_files(&pod).await });
                }
            }
            Effect::Timer(at) => self.timers.push(Reverse((at, Due::Machine, uid.clone()))),
        }
        None
    }

    pub(super) fn pod(&self, uid: &Uid) -> Option<Arc<Pod>> {
        self.entries.get(uid).map(|entry| entry.machine.pod.shared())
    }

    pub(super) fn make_volumes(&self, uid: &Uid) {
        let Some(pod) = self.pod(uid) else { return };
        let (means, mailbox, uid) = (self.means.clone(), self.mailbox.clone(), uid.clone());
        self.spawn(async move {
            let result = means.make_volumes(&pod).await;
            mailbox.send(Message::Machine { uid, event: Event::Volumes(result) });
        });
    }

    pub(super) fn start_sandbox(&mut self, uid: &Uid) -> Result<IpAddr, String> {
        let entry = self.entries.get_mut(uid).ok_or("the pod is gone")?;
        let pod = entry.machine.pod.shared();
        let domain = self.means.network.cluster_domain();
        let hostname = hosts::hostname(&pod, domain)?;
        let ip = match self.kept.remove(uid) {
            Some(ip) => ip,
            None => self.ipam.allocate().map_err(|error| error.to_string())?,
        };
        let (namespace, name) = name_of(&pod);
        let spec = SandboxSpec {
            name: format!("{namespace}/{name}"),
            hostname,
            ip,
            outside: self.means.network.outside(),
        };
        match self.means.runtime.sandbox(self.means.network.switch(), spec) {
            Ok(sandbox) => {
                let hosts = hosts::own_hosts(&pod, ip, domain);
                self.means.network.attach_pod(ip, PodIdentity { namespace, name, hosts });
                entry.sandbox = Some(sandbox);
                entry.address = Some(ip);
                Ok(ip)
            }
            Err(error) => {
                self.ipam.release(ip);
                Err(chain(&error))
            }
        }
    }

    pub(super) fn close_sandbox(&mut self, uid: &Uid) {
        let Some(entry) = self.entries.get_mut(uid) else { return };
        for slot in &mut entry.slots {
            slot.end_probes();
            slot.running = None;
        }
        if let Some(sandbox) = entry.sandbox.take() {
            sandbox.close();
        }
        if let Some(ip) = entry.address.take() {
            self.means.network.detach_pod(ip);
            self.ipam.release(ip);
        }
        if let Some(ip) = self.kept.remove(uid) {
            self.ipam.release(ip);
        }
    }

    pub(super) fn pull_image(
        &mut self,
        uid: &Uid,
        container: usize,
        attempt: u32,
    ) -> Option<Event> {
        let entry = self.entries.get(uid)?;
        let of = entry.machine.containers.get(container)?;
        let image = of.image.clone();
        // A bad annotation is told when the container starts, with all else that its configuration lacks.
        let start =
            StartFrom::annotated(&entry.machine.pod, &of.name).unwrap_or(StartFrom::Scratch);
        if let Some(digest) = self.means.images.ready(&image, start) {
            return Some(Event::Image { container, attempt, result: Ok(digest) });
        }
        let policy =
            entry.machine.container_spec(container).and_then(|spec| spec.image_pull_policy.clone());
        let (means, mailbox, uid) = (self.means.clone(), self.mailbox.clone(), uid.clone());
        self.spawn(async move {
            let result = means.images.ensure(&image, policy.as_deref(), start).await;
            let event = Event::Image { container, attempt, result };
            mailbox.send(Message::Machine { uid, event });
        });
        None
    }

    pub(super) fn begin_container(
        &mut self,
        uid: &Uid,
        container: usize,
        attempt: u32,
        digest: Arc<str>,
    ) -> Option<Event> {
        let machine = &self.entries.get(uid)?.machine;
        let namespace = machine.pod.metadata.namespace.as_deref().unwrap_or_default();
        let spec = machine.container_spec(container)?;
        let mut references = env::references(namespace, spec);
        let from = StartFrom::annotated(&machine.pod, &spec.name).unwrap_or(StartFrom::Scratch);
        let artifact = self.means.images.artifact(&digest, from);
        if artifact.is_some_and(|artifact| artifact.imports(config::INTERFACE)) {
            references.extend(config::references(&machine.pod, spec));
        }
        if references.is_empty() {
            let found = Found::new();
            let result = self.start_container(uid, container, attempt, &digest, &found);
            return Some(Event::Started { container, attempt, result });
        }
        let (means, mailbox, uid) = (self.means.clone(), self.mailbox.clone(), uid.clone());
        self.spawn(async move {
            let found = means.find(&references).await;
            mailbox.send(Message::Start { uid, container, attempt, digest, found });
        });
        None
    }

    /// Starts a container in its sandbox and returns its id.
    pub(super) fn start_container(
        &mut self,
        uid: &Uid,
        index: usize,
        attempt: u32,
        digest: &str,
        found: &Found,
    ) -> Result<Arc<str>, StartProblem> {
        let run = |text: &str| StartProblem::Run(text.to_owned());
        let entry = self.entries.get_mut(uid).ok_or_else(|| run("the pod is gone"))?;
        let pod = entry.machine.pod.shared();
        let spec = entry.machine.container_spec(index).ok_or_else(|| run("no such container"))?;
        let spec = spec.clone();
        let sandbox = entry.sandbox.as_ref().ok_or_else(|| run("the sandbox is closed"))?;
        let from = StartFrom::annotated(&pod, &spec.name).map_err(StartProblem::Config)?;
        let artifact = self.means.images.artifact(digest, from);
        let artifact = artifact.ok_or_else(|| run("the image was removed or replaced"))?;
        let folder = self.means.pod_dir(&pod);
        let path = logs::log_path(&folder, &spec.name, attempt);
        let ambient = self.means.ambient().clone();
        let log = Arc::new(LogWriter::new(path, Rotation::default(), ambient));
        let world = artifact.world();
        let mut start =
            self.means.container_spec(&pod, &spec, sandbox.ip(), artifact, found, log.clone())?;
        let own_folder = logs::container_dir(&folder, &spec.name).join("termination");
        let termination = Termination::prepare(&spec, world, &start.mounts, own_folder)
            .map_err(|error| StartProblem::Run(format!("terminationMessagePath: {error}")))?;
        start.mounts.extend(termination.mount());
        let container = sandbox.start(start).map_err(|error| {
            let containers = &entry.machine.containers;
            let artifact = |container: &ContainerMachine| {
                let from = StartFrom::annotated(&pod, &container.name).ok()?;
                self.means.images.artifact(container.digest.as_ref()?, from)
            };
            let artifacts: Vec<_> = containers.iter().map(artifact).collect();
            composition::problem(&error, index, containers, &artifacts)
        })?;
        let slot = &mut entry.slots[index];
        slot.running = Some(container.clone());
        slot.logs.push_back((attempt, log.clone()));
        if slot.logs.len() > 2 {
            slot.logs.pop_front();
        }
        if let Some(old) = attempt.checked_sub(2) {
            logs::remove(&logs::log_path(&folder, &spec.name, old), Rotation::default().parts);
        }
        let (means, mailbox, uid) = (self.means.clone(), self.mailbox.clone(), uid.clone());
        let policy = spec.termination_message_policy;
        self.spawn(async move {
            let exit = container.exited().await;
            log.close();
            // Boxed: until the end, nothing of it is held.
            let exit = Box::pin(means.exit_seen(policy.as_deref(), &log, termination, exit)).await;
            let event = Event::Exited { container: index, attempt, exit };
            mailbox.send(Message::Machine { uid, event });
        });
        Ok(random_hex(64).into())
    }

    pub(super) fn stop_container(&mut self, uid: &Uid, index: usize, grace: Duration) {
        let Some(entry) = self.entries.get_mut(uid) else { return };
        let ends = matches!(entry.machine.state, State::Stopping { .. });
        // From here on a pod that ends gets a new connection only where nobody else would take it.
        let withdrawn = entry.address.filter(|_| ends);
        if let Some(ip) = withdrawn {
            self.means.network.withdraw_pod(ip);
        }
        let Some(slot) = entry.slots.get_mut(index) else { return };
        slot.end_probes();
        let Some(container) = slot.running.clone() else { return };
        let network = self.means.network.clone();
        self.spawn(async move {
            let begun = Instant::now();
            if let Some(ip) = withdrawn {
                let within = UNLISTED_WITHIN.min(grace / 2);
                // In vain where the slices are late: then its listeners close all the same.
                let _ = tokio::time::timeout(within, network.unlisted(ip)).await;
                network.close_pod(ip);
            }
            container.stop(grace.saturating_sub(begun.elapsed())).await;
        });
    }

    pub(super) fn probe(&mut self, uid: &Uid, index: usize, attempt: u32, kind: ProbeKind) {
        let Some(entry) = self.entries.get(uid) else { return };
        let (Some(spec), Some(pod_ip)) = (entry.machine.container_spec(index), entry.address)
        else {
            return;
        };
        let probe = match kind {
            ProbeKind::Startup => spec.startup_probe.clone(),
            ProbeKind::Readiness => spec.readiness_probe.clone(),
            ProbeKind::Liveness => spec.liveness_probe.clone(),
        };
        let Some(probe) = probe else { return };
        let ports = spec.ports.clone().unwrap_or_default();
        let now = self.now();
        let ran_for = match &entry.machine.containers[index].state {
            ContainerState::Running { since, .. } => until(*since, now),
            _ => Duration::ZERO,
        };
        let clock = Instant::now();
        let started = clock.checked_sub(ran_for).unwrap_or(clock);
        let target = Target {
            switch: self.means.network.switch().clone(),
            pod_ip,
            node_ip: self.means.config.host_ip,
        };
        let (mailbox, to) = (self.mailbox.clone(), uid.clone());
        let report = move |report| {
            let failed = |said| Event::ProbeFailed { container: index, attempt, kind, said };
            let event = match report {
                Report::Failed(output) => failed(format!("failed: {output}")),
                // What upstream calls a result that it could not get.
                Report::Errored(problem) => {
                    failed(format!("errored and resulted in unknown state: {problem}"))
                }
                Report::Verdict(healthy) => {
                    Event::Probed { container: index, attempt, kind, healthy }
                }
            };
            mailbox.send(Message::Machine { uid: to.clone(), event });
        };
        let task = self.spawn(probes::run(kind, probe, ports, target, started, report));
        if let Some(entry) = self.entries.get_mut(uid) {
            entry.slots[index].probes.push(task);
        }
    }

    pub(super) fn delete_object(&self, uid: &Uid) {
        let Some(pod) = self.pod(uid) else { return };
        let (means, mailbox, uid) = (self.means.clone(), self.mailbox.clone(), uid.clone());
        self.spawn(async move {
            match means.delete_object(&pod).await {
                Deleted::Accepted => {}
                Deleted::WasGone => mailbox.send(Message::Machine { uid, event: Event::Gone }),
            }
        });
    }
}
