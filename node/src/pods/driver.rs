//! The one task that owns the state of a node's pods.
//!
//! It takes the API's changes, the results of effects and the moments that were asked for, steps
//! the machines, and sets the effects going. What can be done at once is done in place; everything
//! that waits runs in a task of its own and answers with a [`Message`].
//!
//! `mailbox` is how others speak to it, `watch` what it hears from the API, `execute` what it does for
//! a machine, `report` how statuses are written, `questions` what the kubelet API asks.

mod execute;
mod mailbox;
mod questions;
mod report;
mod watch;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};
use std::future::Future;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use copepod_runtime::{Container, Sandbox};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::admission::{self, Requests};
use super::backoff::until;
use super::container::Backoffs;
use super::effects::Means;
use super::logs::LogWriter;
use super::machine::{Event, PodMachine, StartProblem, State, Urgency};
use super::status;
use crate::ipam::Ipam;
use crate::volumes;

pub use mailbox::{LogRefusal, Mailbox, Message, PodStats, Question, Used, WantedLog};
use watch::{Change, watch};

/// Changes of pods that wait for the driver; the watch waits when it is full.
const WATCH_QUEUE: usize = 1024;
/// A pod that nothing has happened to for so long, and up to twice that, is held as text.
const REST: Duration = Duration::from_secs(2);

type Uid = Arc<str>;

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
    /// Somebody else seems to have written over the status: looked at again at the next resync.
    overwritten: bool,
    requests: Requests,
    /// Whether `requests` are part of what the node's pods take.
    counted: bool,
}

impl Entry {
    fn new(machine: PodMachine) -> Self {
        let written = machine.pod.status.clone().unwrap_or_default();
        let slots = machine.containers.iter().map(|_| Slot::default()).collect();
        let follows_objects = volumes::follows_objects(&machine.pod);
        let requests = Requests::of(&machine.pod);
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
            overwritten: false,
            requests,
            counted: false,
        }
    }

    /// What the API shows may be older than what we wrote: a watch is late while a write is under way.
    fn compare_status(&mut self, pod: &Pod) {
        if !self.writing && self.wanted.is_none() {
            let current = pod.status.as_ref();
            self.overwritten =
                current.is_some_and(|current| status::is_overwritten(&self.written, current));
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
    /// What the pods that take room ask for together.
    used: Requests,
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
            used: Requests::default(),
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
            let mut entry = Entry::new(machine);
            // One that was taken before a restart is not turned away.
            let taken = pod.status.as_ref().is_some_and(|status| status.start_time.is_some());
            let rejection = admission::rejection(&entry.requests, &self.used, &config.capacity);
            entry.machine.rejection = rejection.filter(|_| !taken).map(Box::new);
            self.names.insert(name_of(&pod), uid.clone());
            self.entries.insert(uid.clone(), entry);
        }
        if let Some(entry) = self.entries.get_mut(&uid) {
            entry.compare_status(&pod);
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
        let Some(entry) = self.entries.get_mut(uid) else { return };
        match (entry.counted, entry.machine.takes_room()) {
            (false, true) => self.used.add(&entry.requests),
            (true, false) => self.used.subtract(&entry.requests),
            (false, false) | (true, true) => {}
        }
        entry.counted = entry.machine.takes_room();
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

    /// Brings ConfigMap and Secret volumes of running pods up to date, and statuses that somebody
    /// else has written over.
    fn resync(&mut self) {
        self.write_over();
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

    fn write_over(&mut self) {
        let overwritten = self.entries.iter().filter(|(_, entry)| entry.overwritten);
        let uids: Vec<Uid> = overwritten.map(|(uid, _)| uid.clone()).collect();
        for uid in uids {
            let Some(entry) = self.entries.get_mut(&uid) else { continue };
            // What seemed so in the middle of our own writes may have come right since.
            let pod = entry.machine.pod.shared();
            entry.compare_status(&pod);
            if std::mem::take(&mut entry.overwritten) {
                entry.written = pod.status.clone().unwrap_or_default();
                self.want_status(&uid, Urgency::Now);
                self.settle(&uid);
            }
        }
    }

    /// Lets every pod finish what it does, and ends them all; the API is not told.
    async fn drain(&mut self, grace: Duration) {
        let mut stops = Vec::new();
        for entry in self.entries.values_mut() {
            if let Some(ip) = entry.address {
                self.means.network.close_pod(ip);
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
