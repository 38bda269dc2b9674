//! How others speak to the driver: what effects report, and what the kubelet API asks.

use std::sync::Arc;
use std::time::Duration;

use copepod_runtime::{Container, ContainerStats};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use tokio::sync::{mpsc, oneshot};

use super::super::effects::{Found, Written};
use super::super::logs::LogSource;
use super::super::machine::{Event, Urgency};
use super::Uid;

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
    /// The running container of that name, for whoever calls into it.
    Container {
        namespace: String,
        pod: String,
        container: String,
        reply: oneshot::Sender<Option<Container>>,
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
    pub containers: Vec<Used>,
}

/// What a running container uses.
pub struct Used {
    pub name: String,
    pub since: Timestamp,
    pub restarts: u32,
    pub stats: ContainerStats,
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

    pub(super) fn send(&self, message: Message) {
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
