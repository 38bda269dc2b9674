//! The ReplicaSets of a Deployment while a plan is being made: changed in place, written at the end.

use std::cmp::{Ordering, Reverse};
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::bounds::{max_surge, replicas};
use super::revisions;
use crate::controllers::replica_set::REPLICA_SETS;
use crate::engine::{Action, Create, Key, Message, Note, Update};

/// A ReplicaSet with what has been decided about it.
pub(super) struct Draft {
    pub(super) set: ReplicaSet,
    origin: Origin,
}

enum Origin {
    /// As observed; written if it differs.
    Observed(Arc<ReplicaSet>),
    /// To be created.
    New { failed: Note },
}

impl Draft {
    pub(super) fn observed(set: &Arc<ReplicaSet>) -> Self {
        Self { set: (**set).clone(), origin: Origin::Observed(set.clone()) }
    }

    /// To be created, with no replicas yet. `failed` is recorded if it cannot be.
    pub(super) fn new(set: ReplicaSet, failed: Note) -> Self {
        Self { set, origin: Origin::New { failed } }
    }

    pub(super) fn name(&self) -> &str {
        self.set.metadata.name.as_deref().unwrap_or_default()
    }

    pub(super) fn uid(&self) -> &str {
        self.set.metadata.uid.as_deref().unwrap_or_default()
    }

    pub(super) fn replicas(&self) -> i32 {
        self.set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
    }

    pub(super) fn is_active(&self) -> bool {
        self.replicas() > 0
    }

    pub(super) fn actual(&self) -> i32 {
        self.set.status.as_ref().map_or(0, |status| status.replicas)
    }

    pub(super) fn ready(&self) -> i32 {
        self.set.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0)
    }

    pub(super) fn available(&self) -> i32 {
        self.set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0)
    }

    pub(super) fn created(&self) -> Option<&Time> {
        self.set.metadata.creation_timestamp.as_ref()
    }

    fn replicas_before(&self) -> i32 {
        match &self.origin {
            Origin::Observed(set) => set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1),
            Origin::New { .. } => 0,
        }
    }

    fn scaled(&self, about: &Arc<ObjectReference>) -> Option<Note> {
        let (before, after) = (self.replicas_before(), self.replicas());
        let direction = match before.cmp(&after) {
            Ordering::Less => "up",
            Ordering::Greater => "down",
            Ordering::Equal => return None,
        };
        let name = self.name();
        let message = format!("Scaled {direction} replica set {name} from {before} to {after}");
        Some(Note::normal(about, "ScalingReplicaSet", Message::Text(message)))
    }

    /// The write that makes what was decided so.
    fn into_action(self, about: &Arc<ObjectReference>) -> Option<Action> {
        let done = self.scaled(about);
        let namespace = self.set.metadata.namespace.as_deref().unwrap_or_default();
        match self.origin {
            Origin::Observed(before) if *before == self.set => None,
            Origin::Observed(_) => Some(Action::Update(Update {
                done,
                ..Update::whole(Key::of(REPLICA_SETS, &self.set.metadata), &self.set)
            })),
            Origin::New { failed } => Some(Action::Create(Create {
                done,
                failed: Some(failed),
                ..Create::one(REPLICA_SETS, namespace, &self.set)
            })),
        }
    }
}

/// See the module's documentation.
pub(super) struct Rollout {
    pub(super) deployment: Arc<Deployment>,
    pub(super) about: Arc<ObjectReference>,
    /// That of the Deployment's template, where there is one.
    pub(super) new: Option<Draft>,
    /// By creation, oldest first.
    pub(super) old: Vec<Draft>,
}

impl Rollout {
    /// All, the old ones first.
    pub(super) fn all(&self) -> impl Iterator<Item = &Draft> {
        self.old.iter().chain(&self.new)
    }

    /// How many replicas all are asked for together.
    pub(super) fn total(&self) -> i32 {
        self.all().map(Draft::replicas).sum()
    }

    pub(super) fn available(&self) -> i32 {
        self.all().map(Draft::available).sum()
    }

    /// Asks a ReplicaSet for so many replicas; says whether that is a change.
    pub(super) fn scale(&mut self, which: Which, wanted: i32) -> bool {
        let deployment = self.deployment.clone();
        let Some(draft) = self.draft(which) else { return false };
        if draft.replicas() == wanted {
            return false;
        }
        if let Some(spec) = &mut draft.set.spec {
            spec.replicas = Some(wanted);
        }
        annotate_size(draft, &deployment);
        true
    }

    /// Brings the size annotations up to date, even where the replicas stay.
    pub(super) fn annotate(&mut self, which: Which) {
        let deployment = self.deployment.clone();
        if let Some(draft) = self.draft(which) {
            annotate_size(draft, &deployment);
        }
    }

    pub(super) fn draft(&mut self, which: Which) -> Option<&mut Draft> {
        match which {
            Which::New => self.new.as_mut(),
            Which::Old(at) => self.old.get_mut(at),
        }
    }

    pub(super) fn get(&self, which: Which) -> Option<&Draft> {
        match which {
            Which::New => self.new.as_ref(),
            Which::Old(at) => self.old.get(at),
        }
    }

    /// Those that are asked for replicas.
    pub(super) fn active(&self) -> Vec<Which> {
        let old = (0..self.old.len()).map(Which::Old);
        let mut active: Vec<Which> = old.chain([Which::New]).collect();
        active.retain(|which| self.get(*which).is_some_and(Draft::is_active));
        active
    }

    /// The only active one; with none active the newest; `None` where several are active.
    pub(super) fn active_or_latest(&self) -> Option<Which> {
        match self.active().as_slice() {
            [] if self.new.is_some() => Some(Which::New),
            [] => self.old.len().checked_sub(1).map(Which::Old),
            [only] => Some(*only),
            _ => None,
        }
    }

    /// The writes, in an order that never goes below: the new one first.
    pub(super) fn into_actions(self) -> Vec<Action> {
        let about = self.about;
        self.new.into_iter().chain(self.old).filter_map(|draft| draft.into_action(&about)).collect()
    }
}

/// One of a rollout's ReplicaSets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    New,
    Old(usize),
}

fn annotate_size(draft: &mut Draft, deployment: &Deployment) {
    let desired = replicas(deployment);
    let annotations = draft.set.metadata.annotations.get_or_insert_default();
    annotations.insert(revisions::DESIRED.to_owned(), desired.to_string());
    annotations.insert(revisions::MAX.to_owned(), (desired + max_surge(deployment)).to_string());
}

/// Oldest first, then by name.
pub(super) fn sort_by_creation(drafts: &mut [Draft]) {
    drafts.sort_by(|a, b| (a.created(), a.name()).cmp(&(b.created(), b.name())));
}

/// Largest first; of equals the newer first (`newer`), or the older.
pub(super) fn sort_by_size(rollout: &Rollout, which: &mut [Which], newer: bool) {
    which.sort_by_key(|which| {
        let draft = rollout.get(*which);
        let created = draft.and_then(Draft::created).map(|time| time.0.as_second());
        let created = created.unwrap_or_default();
        let name = draft.map(|draft| draft.name().to_owned());
        (Reverse(draft.map_or(0, Draft::replicas)), if newer { -created } else { created }, name)
    });
}
