//! Status writes: a bounded number at a time, each with the status as it is by then, tried again until stored.

use std::cmp::Reverse;
use std::time::Duration;

use k8s_openapi::api::core::v1::PodStatus;

use super::super::backoff::later;
use super::super::effects::Written;
use super::super::machine::{Event, Urgency};
use super::super::status;
use super::{Driver, Due, Message, Uid};

/// Status writes at a time.
const STATUS_WRITES: usize = 64;
/// How long a passing stage may wait for the next before it is written.
const SETTLE: Duration = Duration::from_millis(50);
/// When a status that the API would not take is tried again.
const STATUS_RETRY: Duration = Duration::from_secs(1);

impl Driver {
    pub(super) fn want_status(&mut self, uid: &Uid, urgency: Urgency) {
        let now = self.now();
        let Some(entry) = self.entries.get_mut(uid) else { return };
        if entry.wanted.is_none() && urgency == Urgency::Soon {
            self.timers.push(Reverse((later(now, SETTLE), Due::Status, uid.clone())));
        }
        entry.wanted = entry.wanted.max(Some(urgency));
    }

    pub(super) fn queue_write(&mut self, uid: &Uid) {
        let Some(entry) = self.entries.get_mut(uid) else { return };
        if entry.wanted.is_none() || entry.queued || entry.writing {
            return;
        }
        entry.queued = true;
        self.to_write.push_back(uid.clone());
        self.write_next();
    }

    /// Starts as many writes as may run; each takes the status as it is by then.
    pub(super) fn write_next(&mut self) {
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

    pub(super) fn status_written(
        &mut self,
        uid: &Uid,
        status: PodStatus,
        urgency: Urgency,
        written: Written,
    ) {
        self.writes -= 1;
        let now = self.now();
        let mut done = true;
        if let Some(entry) = self.entries.get_mut(uid) {
            entry.writing = false;
            match written {
                Written::Stored | Written::Gone => entry.written = status,
                Written::Failed(_) | Written::Unanswered => {
                    if let Written::Failed(error) = &written {
                        let pod = entry.machine.described();
                        tracing::warn!(%pod, %error, "a pod's status could not be written");
                    }
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
}
