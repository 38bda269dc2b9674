//! The machine's vocabulary: where a pod stands, what happens to it, what is to be done about it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

/// Where a pod stands.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// Just heard of. The first look at its object decides where it goes.
    Admitting,
    /// This node cannot honour its spec, or has no room. Nothing runs; it stays until deleted.
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
    /// It is over before its containers are: `activeDeadlineSeconds` ran out, or the API says so.
    Over(Outcome),
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
    /// A probe failed, below its threshold or not; `said` is what its event says after the kind.
    ProbeFailed { container: usize, attempt: u32, kind: ProbeKind, said: String },
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
    /// Had, but not runnable here: not Wasm, no known world.
    Unusable { message: String },
}

/// Why a container could not be started.
#[derive(Clone, Debug, PartialEq)]
pub enum StartProblem {
    /// Its environment or mounts refer to what is not there.
    Config(String),
    /// The runtime refused.
    Run(String),
    /// It imports what neither the node nor another container of the pod gives.
    Create(String),
    /// It imports what a container of the pod gives that does not run yet.
    Waits(String),
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
