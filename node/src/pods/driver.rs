//! The one task that owns the state of a node's pods.
//!
//! It takes the API's changes, the results of effects and the moments that were asked for, steps
//! the machines, and sets the effects going. What can be done at once is done in place; everything
//! that waits runs in a task of its own and answers with a [`Message`].

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};
use std::future::Future;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use copepod_runtime::{Container, ContainerStats, Sandbox, SandboxSpec};
use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::Api;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, watcher};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::backoff::{later, until};
use super::container::{Backoffs, ContainerState};
use super::effects::{Deleted, Found, Means, Written, chain, hostname};
use super::env;
use super::logs::{self, LogSource, LogWriter, Rotation};
use super::machine::{Effect, Event, PodMachine, ProbeKind, StartProblem, State, Urgency};
use super::status;
use crate::ambient::random_hex;
use crate::ipam::Ipam;
use crate::network::PodIdentity;
use crate::probes::{self, Report, Target};
use crate::volumes;

/// Changes of pods that wait for the driver; the watch waits when it is full.
const WATCH_QUEUE: usize = 1024;
/// Status writes at a time.
const STATUS_WRITES: usize = 64;
/// How long a passing stage may wait for the next before it is written.
const SETTLE: Duration = Duration::from_millis(50);
/// A pod that nothing has happened to for so long, and up to twice that, is held as text.
const REST: Duration = Duration::from_secs(2);
/// When a status that the API would not take is tried again.
const STATUS_RETRY: Duration = Duration::from_secs(1);

type Uid = Arc<str>;

/// What reaches the driver from outside the watch.
pub enum Message {
    Machine {
        uid: Uid,
        event: Event,
    },
    /// The objects of a container's environment are there.
    Start {
        uid: Uid,
        container: usize,
        attempt: u32,
        digest: Arc<str>,
        found: Result<Found, String>,
    },
    StatusWritten {
        uid: Uid,
        status: Box<PodStatus>,
        urgency: Urgency,
        written: Written,
    },
    Ask(Question),
}

/// What the kubelet API wants to know.
pub enum Question {
    Pods(oneshot::Sender<Vec<Arc<Pod>>>),
    Stats(oneshot::Sender<Vec<PodStats>>),
    Log {
        wanted: WantedLog,
        reply: oneshot::Sender<Result<LogSource, LogRefusal>>,
    },
    /// Stop all containers, write nothing, and answer when they have ended.
    Drain {
        grace: Duration,
        reply: oneshot::Sender<()>,
    },
}

/// Which log is wanted.
pub struct WantedLog {
    pub namespace: String,
    pub pod: String,
    pub container: String,
    pub previous: bool,
}

/// Why there is no log to read, with the status to answer.
#[derive(Debug, PartialEq, Eq)]
pub struct LogRefusal {
    pub code: u16,
    pub message: String,
}

/// What a pod uses.
pub struct PodStats {
    pub pod: Arc<Pod>,
    pub start_time: Timestamp,
    pub containers: Vec<(String, Option<Timestamp>, ContainerStats)>,
}

/// The way to the driver. Cheap to clone.
#[derive(Clone)]
pub struct Mailbox(mpsc::UnboundedSender<Message>);

impl Mailbox {
    /// The mailbox is unbounded: a pod has a handful of tasks, and each answers once.
    pub fn new() -> (Self, mpsc::UnboundedReceiver<Message>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), receiver)
    }

    fn send(&self, message: Message) {
        // The driver has stopped: nobody is left to care.
        let _ = self.0.send(message);
    }

    /// Asks the driver; `None` once it has stopped.
    pub async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Question) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.send(Message::Ask(question(reply)));
        answer.await.ok()
    }
}

/// A container of an [`Entry`], as far as it is real.
#[derive(Default)]
struct Slot {
    running: Option<Container>,
    probes: Vec<AbortHandle>,
    /// The logs of the last two starts in this process, newest last.
    logs: VecDeque<(u32, Arc<LogWriter>)>,
}

impl Slot {
    fn end_probes(&mut self) {
        for probe in self.probes.drain(..) {
            probe.abort();
        }
    }
}

/// A pod and what is held for it.
struct Entry {
    machine: PodMachine,
    sandbox: Option<Sandbox>,
    address: Option<IpAddr>,
    slots: Vec<Slot>,
    /// The status that the API has, as far as we wrote it.
    written: PodStatus,
    wanted: Option<Urgency>,
    queued: bool,
    writing: bool,
    /// Has volumes that follow ConfigMaps or Secrets.
    follows_objects: bool,
}

impl Entry {
    fn new(machine: PodMachine) -> Self {
        let written = machine.pod.status.clone().unwrap_or_default();
        let slots = machine.containers.iter().map(|_| Slot::default()).collect();
        let follows_objects = volumes::follows_objects(&machine.pod);
        Self {
            machine,
            sandbox: None,
            address: None,
            slots,
            written,
            wanted: None,
            queued: false,
            writing: false,
            follows_objects,
        }
    }

    /// Whether nothing is on its way for this pod: it may lie untouched for days.
    fn is_at_rest(&self) -> bool {
        self.wanted.is_none()
            && !self.writing
            && matches!(self.machine.state, State::Running | State::Finished(_))
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        for slot in &mut self.slots {
            slot.end_probes();
        }
    }
}

/// What a moment was asked for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Machine,
    Status,
}

pub struct Driver {
    means: Arc<Means>,
    ipam: Ipam,
    mailbox: Mailbox,
    messages: mpsc::UnboundedReceiver<Message>,
    entries: HashMap<Uid, Entry>,
    names: HashMap<(String, String), Uid>,
    /// Addresses from before a restart, kept for the pods that had them.
    kept: HashMap<Uid, IpAddr>,
    timers: BinaryHeap<Reverse<(Timestamp, Due, Uid)>>,
    to_write: VecDeque<Uid>,
    writes: usize,
    /// Pods that something has happened to since the last look, and before that.
    stirred: HashSet<Uid>,
    settling: HashSet<Uid>,
    /// What earlier pods left on disk has been seen to.
    swept: bool,
    /// Cancelled when the node is gone: nothing may be written after that.
    gone: CancellationToken,
}

impl Driver {
    pub fn new(
        means: Arc<Means>,
        ipam: Ipam,
        mailbox: Mailbox,
        messages: mpsc::UnboundedReceiver<Message>,
        gone: CancellationToken,
    ) -> Self {
        Self {
            means,
            ipam,
            mailbox,
            messages,
            entries: HashMap::new(),
            names: HashMap::new(),
            kept: HashMap::new(),
            timers: BinaryHeap::new(),
            to_write: VecDeque::new(),
            writes: 0,
            stirred: HashSet::new(),
            settling: HashSet::new(),
            swept: false,
            gone,
        }
    }

    /// Runs until the node stops or is gone.
    pub async fn run(mut self) {
        let (sender, mut changes) = mpsc::channel(WATCH_QUEUE);
        self.spawn(watch(self.means.clone(), sender));
        let mut images = self.means.images.changes();
        let mut resync = tokio::time::interval(self.means.config.resync_every);
        resync.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut rest = tokio::time::interval(REST);
        rest.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let gone = self.gone.clone();
        let mut listed = Vec::new();
        loop {
            let timer = sleep_until(self.next_timer(), self.now());
            tokio::select! {
                () = gone.cancelled() => return,
                Some(change) = changes.recv() => self.change(change, &mut listed),
                Some(message) = self.messages.recv() => {
                    if let Message::Ask(Question::Drain { grace, reply }) = message {
                        self.drain(grace).await;
                        let _ = reply.send(());
                        return;
                    }
                    self.message(message);
                }
                () = timer => self.ring(),
                Ok(()) = images.changed() => self.all(|_| true, &Event::ImagesChanged),
                _ = resync.tick() => self.resync(),
                _ = rest.tick() => self.rest(),
            }
        }
    }

    fn now(&self) -> Timestamp {
        self.means.ambient().now()
    }

    /// Runs a task that ends, unfinished, when the node is gone.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        let gone = self.gone.clone();
        // Boxed: a future that moves into another is paid for twice, as long as the task lives.
        let task = Box::pin(task);
        let task = async move {
            let _ = gone.run_until_cancelled(task).await;
        };
        self.means.ambient().spawn(task).abort_handle()
    }

    // ---- the watch --------------------------------------------------------------------------

    fn change(&mut self, change: Change, listed: &mut Vec<Arc<Pod>>) {
        match change {
            Change::ListBegins => listed.clear(),
            Change::Listed(pod) => listed.push(pod),
            Change::ListEnds => self.listed(std::mem::take(listed)),
            Change::Applied(pod) => self.seen(pod),
            Change::Deleted(pod) => {
                if let Some(uid) = uid_of(&pod) {
                    self.drive(&uid, Event::Gone);
                }
            }
        }
    }

    /// A whole list: what it does not hold is gone.
    fn listed(&mut self, pods: Vec<Arc<Pod>>) {
        let present: HashSet<Uid> = pods.iter().filter_map(|pod| uid_of(pod)).collect();
        let missing: Vec<Uid> =
            self.entries.keys().filter(|uid| !present.contains(*uid)).cloned().collect();
        for uid in missing {
            self.drive(&uid, Event::Gone);
        }
        // Addresses of pods that were here before a restart are taken before any are given out.
        for pod in &pods {
            let known = uid_of(pod).is_some_and(|uid| self.entries.contains_key(&uid));
            if !known
                && let (Some(uid), Some(ip)) = (uid_of(pod), former_address(pod))
                && self.ipam.claim(ip)
            {
                self.kept.insert(uid, ip);
            }
        }
        if !std::mem::replace(&mut self.swept, true) {
            self.remove_strays(&present);
        }
        for pod in pods {
            self.seen(pod);
        }
    }

    /// Removes the folders of pods that were deleted while no process ran here.
    ///
    /// What is to go is listed before any new pod can have made a folder.
    fn remove_strays(&self, present: &HashSet<Uid>) {
        let folder = self.means.config.data_dir.join("pods");
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let strays: Vec<PathBuf> = entries
            .filter(|entry| !present.contains(&*entry.file_name().to_string_lossy()))
            .map(|entry| entry.path())
            .collect();
        self.spawn(async move {
            for stray in strays {
                if let Err(error) = tokio::fs::remove_dir_all(&stray).await {
                    tracing::warn!(folder = %stray.display(), %error, "an old pod's files remain");
                }
            }
        });
    }

    fn seen(&mut self, pod: Arc<Pod>) {
        let Some(uid) = uid_of(&pod) else { return };
        if !self.entries.contains_key(&uid) {
            let now = self.now();
            let config = &self.means.config;
            let backoffs = Backoffs {
                restart: config.restart_backoff,
                image: config.image_backoff,
                retry: config.retry_backoff,
            };
            let machine = PodMachine::new(pod.clone(), now, backoffs);
            self.names.insert(name_of(&pod), uid.clone());
            self.entries.insert(uid.clone(), Entry::new(machine));
        }
        self.drive(&uid, Event::Seen(pod));
    }

    // ---- machines ---------------------------------------------------------------------------

    /// Steps a machine, and again for whatever could be done on the spot.
    fn drive(&mut self, uid: &Uid, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let now = self.now();
            let Some(entry) = self.entries.get_mut(uid) else { return };
            let effects = entry.machine.step(now, event);
            for effect in effects {
                events.extend(self.execute(uid, effect));
            }
        }
        self.settle(uid);
    }

    /// After a machine has come to rest: forget the pod, or see to its status.
    fn settle(&mut self, uid: &Uid) {
        let Some(entry) = self.entries.get(uid) else { return };
        if !self.stirred.contains(uid) {
            self.stirred.insert(uid.clone());
        }
        if entry.machine.state == State::Gone {
            let name = name_of(&entry.machine.pod);
            if self.names.get(&name) == Some(uid) {
                self.names.remove(&name);
            }
            self.entries.remove(uid);
            return;
        }
        match entry.wanted {
            Some(Urgency::Now | Urgency::Final) => self.queue_write(uid),
            Some(Urgency::Soon) | None => {}
        }
    }

    fn all(&mut self, which: impl Fn(&Entry) -> bool, event: &Event) {
        let uids: Vec<Uid> = self
            .entries
            .iter()
            .filter(|(_, entry)| which(entry))
            .map(|(uid, _)| uid.clone())
            .collect();
        for uid in uids {
            self.drive(&uid, event.clone());
        }
    }

    fn message(&mut self, message: Message) {
        match message {
            Message::Machine { uid, event } => self.drive(&uid, event),
            Message::Start { uid, container, attempt, digest, found } => {
                let result = match found {
                    Ok(found) => self.start_container(&uid, container, attempt, &digest, &found),
                    Err(problem) => Err(StartProblem::Config(problem)),
                };
                self.drive(&uid, Event::Started { container, attempt, result });
            }
            Message::StatusWritten { uid, status, urgency, written } => {
                self.status_written(&uid, *status, urgency, written);
            }
            Message::Ask(question) => self.answer(question),
        }
    }

    // ---- effects ----------------------------------------------------------------------------

    /// Does what can be done at once and returns what came of it; sets the rest going.
    fn execute(&mut self, uid: &Uid, effect: Effect) -> Option<Event> {
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

    fn pod(&self, uid: &Uid) -> Option<Arc<Pod>> {
        self.entries.get(uid).map(|entry| entry.machine.pod.shared())
    }

    fn make_volumes(&self, uid: &Uid) {
        let Some(pod) = self.pod(uid) else { return };
        let (means, mailbox, uid) = (self.means.clone(), self.mailbox.clone(), uid.clone());
        self.spawn(async move {
            let result = means.make_volumes(&pod).await;
            mailbox.send(Message::Machine { uid, event: Event::Volumes(result) });
        });
    }

    fn start_sandbox(&mut self, uid: &Uid) -> Result<IpAddr, String> {
        let entry = self.entries.get_mut(uid).ok_or("the pod is gone")?;
        let pod = entry.machine.pod.shared();
        let ip = match self.kept.remove(uid) {
            Some(ip) => ip,
            None => self.ipam.allocate().map_err(|error| error.to_string())?,
        };
        let (namespace, name) = name_of(&pod);
        let spec = SandboxSpec {
            name: format!("{namespace}/{name}"),
            hostname: hostname(&pod),
            ip,
            outside: self.means.network.outside(),
        };
        match self.means.runtime.sandbox(self.means.network.switch(), spec) {
            Ok(sandbox) => {
                self.means.network.attach_pod(ip, PodIdentity { namespace, name });
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

    fn close_sandbox(&mut self, uid: &Uid) {
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

    fn pull_image(&mut self, uid: &Uid, container: usize, attempt: u32) -> Option<Event> {
        let entry = self.entries.get(uid)?;
        let image = entry.machine.containers.get(container)?.image.clone();
        if let Some(digest) = self.means.images.ready(&image) {
            return Some(Event::Image { container, attempt, result: Ok(digest) });
        }
        let policy =
            entry.machine.container_spec(container).and_then(|spec| spec.image_pull_policy.clone());
        let (means, mailbox, uid) = (self.means.clone(), self.mailbox.clone(), uid.clone());
        self.spawn(async move {
            let result = means.images.ensure(&image, policy.as_deref()).await;
            let event = Event::Image { container, attempt, result };
            mailbox.send(Message::Machine { uid, event });
        });
        None
    }

    fn begin_container(
        &mut self,
        uid: &Uid,
        container: usize,
        attempt: u32,
        digest: Arc<str>,
    ) -> Option<Event> {
        let machine = &self.entries.get(uid)?.machine;
        let namespace = machine.pod.metadata.namespace.as_deref().unwrap_or_default();
        let references = env::references(namespace, machine.container_spec(container)?);
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
    fn start_container(
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
        let artifact =
            self.means.images.artifact(digest).ok_or_else(|| run("the image was removed"))?;
        let folder = self.means.pod_dir(&pod);
        let path = logs::log_path(&folder, &spec.name, attempt);
        let ambient = self.means.ambient().clone();
        let log = Arc::new(LogWriter::new(path, Rotation::default(), ambient));
        let start =
            self.means.container_spec(&pod, &spec, sandbox.ip(), artifact, found, log.clone())?;
        let container = sandbox.start(start).map_err(|error| StartProblem::Run(chain(&error)))?;
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
            let exit = Box::pin(means.exit_seen(policy.as_deref(), &log, exit)).await;
            let event = Event::Exited { container: index, attempt, exit };
            mailbox.send(Message::Machine { uid, event });
        });
        Ok(random_hex(64).into())
    }

    fn stop_container(&mut self, uid: &Uid, index: usize, grace: Duration) {
        let Some(entry) = self.entries.get_mut(uid) else { return };
        // A pod that ends gets no new connections from here on, before its listeners close.
        if let (State::Stopping { .. }, Some(ip)) = (&entry.machine.state, entry.address) {
            self.means.network.withdraw_pod(ip);
        }
        let Some(slot) = entry.slots.get_mut(index) else { return };
        slot.end_probes();
        if let Some(container) = slot.running.clone() {
            self.spawn(async move {
                container.stop(grace).await;
            });
        }
    }

    fn probe(&mut self, uid: &Uid, index: usize, attempt: u32, kind: ProbeKind) {
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
            let event = match report {
                Report::Failed(output) => {
                    Event::ProbeFailed { container: index, attempt, kind, output }
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

    fn delete_object(&self, uid: &Uid) {
        let Some(pod) = self.pod(uid) else { return };
        let (means, mailbox, uid) = (self.means.clone(), self.mailbox.clone(), uid.clone());
        self.spawn(async move {
            match means.delete_object(&pod).await {
                Deleted::Accepted => {}
                Deleted::WasGone => mailbox.send(Message::Machine { uid, event: Event::Gone }),
            }
        });
    }

    // ---- status -----------------------------------------------------------------------------

    fn want_status(&mut self, uid: &Uid, urgency: Urgency) {
        let now = self.now();
        let Some(entry) = self.entries.get_mut(uid) else { return };
        if entry.wanted.is_none() && urgency == Urgency::Soon {
            self.timers.push(Reverse((later(now, SETTLE), Due::Status, uid.clone())));
        }
        entry.wanted = entry.wanted.max(Some(urgency));
    }

    fn queue_write(&mut self, uid: &Uid) {
        let Some(entry) = self.entries.get_mut(uid) else { return };
        if entry.wanted.is_none() || entry.queued || entry.writing {
            return;
        }
        entry.queued = true;
        self.to_write.push_back(uid.clone());
        self.write_next();
    }

    /// Starts as many writes as may run; each takes the status as it is by then.
    fn write_next(&mut self) {
        while self.writes < STATUS_WRITES {
            let Some(uid) = self.to_write.pop_front() else { return };
            let now = self.now();
            let Some(entry) = self.entries.get_mut(&uid) else { continue };
            entry.queued = false;
            let Some(urgency) = entry.wanted.take() else { continue };
            let host_ip = self.means.config.host_ip;
            let status = status::compute(&entry.machine, host_ip, &entry.written, now);
            let pod = entry.machine.pod.shared();
            if status == entry.written {
                if urgency == Urgency::Final {
                    self.mailbox.send(Message::Machine { uid, event: Event::FinalStatusWritten });
                }
                continue;
            }
            entry.writing = true;
            self.writes += 1;
            let (means, mailbox) = (self.means.clone(), self.mailbox.clone());
            self.spawn(async move {
                let written = means.write_status(&pod, &status).await;
                let status = Box::new(status);
                mailbox.send(Message::StatusWritten { uid, status, urgency, written });
            });
        }
    }

    fn status_written(&mut self, uid: &Uid, status: PodStatus, urgency: Urgency, written: Written) {
        self.writes -= 1;
        let now = self.now();
        let mut done = true;
        if let Some(entry) = self.entries.get_mut(uid) {
            entry.writing = false;
            match written {
                Written::Stored | Written::Gone => entry.written = status,
                Written::Failed(error) => {
                    let pod = entry.machine.described();
                    tracing::warn!(%pod, %error, "a pod's status could not be written");
                    entry.wanted = entry.wanted.max(Some(urgency));
                    self.timers.push(Reverse((later(now, STATUS_RETRY), Due::Status, uid.clone())));
                    done = false;
                }
            }
        }
        if done {
            if urgency == Urgency::Final {
                self.drive(uid, Event::FinalStatusWritten);
            }
            self.queue_write(uid);
        }
        self.write_next();
    }

    // ---- time -------------------------------------------------------------------------------

    fn next_timer(&self) -> Option<Timestamp> {
        self.timers.peek().map(|Reverse((at, ..))| *at)
    }

    fn ring(&mut self) {
        let now = self.now();
        while let Some(Reverse((at, ..))) = self.timers.peek() {
            if *at > now {
                return;
            }
            let Some(Reverse((_, due, uid))) = self.timers.pop() else { return };
            match due {
                Due::Machine => self.drive(&uid, Event::Timer),
                Due::Status => self.queue_write(&uid),
            }
        }
    }

    /// Lays the objects of those pods to rest that nothing has happened to since the last look.
    fn rest(&mut self) {
        let settling = std::mem::replace(&mut self.settling, std::mem::take(&mut self.stirred));
        for uid in settling.difference(&self.settling) {
            if let Some(entry) = self.entries.get_mut(uid).filter(|entry| entry.is_at_rest()) {
                entry.machine.pod.rest();
            }
        }
    }

    /// Brings ConfigMap and Secret volumes of running pods up to date.
    fn resync(&self) {
        for entry in self.entries.values() {
            if entry.machine.state == State::Running && entry.follows_objects {
                let pod = entry.machine.pod.shared();
                let means = self.means.clone();
                self.spawn(async move {
                    if let Err(problem) = means.make_volumes(&pod).await {
                        tracing::debug!(%problem, "a volume could not be brought up to date");
                    }
                });
            }
        }
    }

    /// Lets every pod finish what it does, and ends them all; the API is not told.
    async fn drain(&mut self, grace: Duration) {
        let mut stops = Vec::new();
        for entry in self.entries.values_mut() {
            if let Some(ip) = entry.address {
                self.means.network.withdraw_pod(ip);
            }
            for slot in &mut entry.slots {
                slot.end_probes();
                stops.extend(slot.running.clone());
            }
        }
        futures::future::join_all(stops.iter().map(|container| container.stop(grace))).await;
        let uids: Vec<Uid> = self.entries.keys().cloned().collect();
        for uid in uids {
            self.close_sandbox(&uid);
        }
    }

    // ---- questions --------------------------------------------------------------------------

    fn answer(&self, question: Question) {
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
            // Answered by the loop, which ends with it.
            Question::Drain { .. } => {}
        }
    }

    fn log(&self, wanted: &WantedLog) -> Result<LogSource, LogRefusal> {
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
fn attempts(machine: &super::container::ContainerMachine) -> (Option<u32>, Option<u32>) {
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
        Some((machine.name.clone(), Some(since), running.stats()))
    });
    PodStats {
        pod: entry.machine.pod.shared(),
        start_time: entry.machine.start_time,
        containers: containers.collect(),
    }
}

fn uid_of(pod: &Pod) -> Option<Uid> {
    pod.metadata.uid.as_deref().map(Uid::from)
}

fn name_of(pod: &Pod) -> (String, String) {
    let meta = &pod.metadata;
    (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
}

/// The address that a pod had before this process began.
fn former_address(pod: &Pod) -> Option<IpAddr> {
    let status = pod.status.as_ref()?;
    if matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")) {
        return None;
    }
    status.pod_ip.as_deref()?.parse().ok()
}

async fn sleep_until(at: Option<Timestamp>, now: Timestamp) {
    match at {
        Some(at) => tokio::time::sleep(until(now, at)).await,
        None => std::future::pending().await,
    }
}

/// A change of this node's pods, as the watch tells it.
enum Change {
    ListBegins,
    Listed(Arc<Pod>),
    ListEnds,
    Applied(Arc<Pod>),
    Deleted(Arc<Pod>),
}

/// Watches the pods bound to this node; lists and begins anew whenever the connection breaks.
async fn watch(means: Arc<Means>, changes: mpsc::Sender<Change>) {
    let selector = format!("spec.nodeName={}", means.config.name);
    let api: Api<Pod> = Api::all(means.client.clone());
    let config = watcher::Config::default().fields(&selector);
    let mut events = std::pin::pin!(watcher(api, config).default_backoff());
    while let Some(event) = events.next().await {
        let change = match event {
            Ok(watcher::Event::Init) => Change::ListBegins,
            Ok(watcher::Event::InitApply(pod)) => Change::Listed(Arc::new(pod)),
            Ok(watcher::Event::InitDone) => Change::ListEnds,
            Ok(watcher::Event::Apply(pod)) => Change::Applied(Arc::new(pod)),
            Ok(watcher::Event::Delete(pod)) => Change::Deleted(Arc::new(pod)),
            Err(error) => {
                tracing::debug!(error = chain(&error), "the watch of pods broke; it begins again");
                continue;
            }
        };
        if changes.send(change).await.is_err() {
            return;
        }
    }
}
