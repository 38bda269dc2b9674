//! What to do about one Deployment: the walk.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{
    Deployment, DeploymentSpec, DeploymentStatus, ReplicaSet, ReplicaSetSpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::bounds::{is_rolling, replicas};
use super::rollout::{Draft, Rollout, Which, sort_by_creation};
use super::status::{self, PROGRESSING, progress_deadline};
use super::template::{self, HASH_LABEL};
use super::{DEPLOYMENTS, recreate, revisions, rolling, scaling};
use crate::controllers::owners::{self, Claim};
use crate::controllers::replica_set::REPLICA_SETS;
use crate::controllers::selectors;
use crate::engine::{Action, Failure, Key, Message, Note, Plan, Update, about};

/// A name may have so many characters.
const NAME_MAX: usize = 253;

pub(super) struct Observed {
    pub(super) deployment: Arc<Deployment>,
    /// The ReplicaSets it controls, and those of its namespace that nobody controls.
    pub(super) sets: Vec<Arc<ReplicaSet>>,
    /// Unfinished pods by ReplicaSet UID; filled only where the strategy is Recreate.
    pub(super) running: Vec<(String, usize)>,
    /// Whether another ReplicaSet bears the name that a new one would get.
    pub(super) name_taken: bool,
    pub(super) failure: Option<Failure>,
}

pub(super) fn plan(now: Timestamp, observed: &Observed) -> Plan {
    // Objects keep whole seconds.
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    let deployment = &observed.deployment;
    let Some(spec) = &deployment.spec else { return Plan::nothing("no spec") };
    if selectors::is_empty(&spec.selector) {
        return selects_all(deployment);
    }
    let (sets, claims) = claim_sets(observed, spec);
    if !claims.is_empty() {
        return Plan {
            actions: claims,
            why: "adopting and releasing first".to_owned(),
            ..Plan::default()
        };
    }
    let mut walk = Walk::new(now, observed, spec, sets);
    let why = walk.decide();
    walk.finish(why)
}

fn selects_all(deployment: &Arc<Deployment>) -> Plan {
    let message = "This deployment is selecting all pods. A non-empty selector is required.";
    let mut updated = (**deployment).clone();
    updated.status.get_or_insert_default().observed_generation = deployment.metadata.generation;
    let changed = updated.status != deployment.status;
    let key = Key::of(DEPLOYMENTS, &deployment.metadata);
    Plan {
        actions: vec![Action::Event(Note::warning(
            &about(&**deployment),
            "SelectingAll",
            message.into(),
        ))],
        status: changed.then(|| Update::status(key, &updated)),
        why: "its selector is empty".to_owned(),
        ..Plan::default()
    }
}

/// Its ReplicaSets, and what is to be adopted or released before anything else.
fn claim_sets(observed: &Observed, spec: &DeploymentSpec) -> (Vec<Arc<ReplicaSet>>, Vec<Action>) {
    let deployment = &*observed.deployment;
    let mut own = Vec::new();
    let mut actions = Vec::new();
    for set in &observed.sets {
        match owners::claim(&deployment.metadata, &spec.selector, &set.metadata) {
            Claim::Own => own.push(set.clone()),
            Claim::Adopt => {
                let owner = owners::controller_reference(deployment);
                actions.push(owners::adopt(REPLICA_SETS, &set.metadata, &owner));
            }
            Claim::Release => {
                let uid = deployment.metadata.uid.as_deref().unwrap_or_default();
                actions.push(owners::release(REPLICA_SETS, &set.metadata, uid));
            }
            Claim::Leave => {}
        }
    }
    (own, actions)
}

/// The name of the ReplicaSet for the Deployment's template, and the template's hash.
pub(super) fn new_set_name(deployment: &Deployment) -> (String, String) {
    let collisions = deployment.status.as_ref().and_then(|status| status.collision_count);
    let spec = deployment.spec.as_ref();
    let hash = spec.map(|spec| template::hash(&spec.template, collisions)).unwrap_or_default();
    let mut name = deployment.metadata.name.clone().unwrap_or_default();
    name.truncate(NAME_MAX - 1 - hash.len());
    (format!("{name}-{hash}"), hash)
}

/// One plan under way.
struct Walk<'a> {
    now: Timestamp,
    observed: &'a Observed,
    spec: &'a DeploymentSpec,
    rollout: Rollout,
    /// The status as it is, with what this plan notes on its way.
    noted: DeploymentStatus,
    /// Progress is judged only where a rollout was looked at.
    judged: bool,
    /// The number of the newest ReplicaSet, which the Deployment bears too.
    revision: Option<String>,
    /// Done after the ReplicaSets are written.
    after: Vec<Action>,
}

impl<'a> Walk<'a> {
    fn new(
        now: Timestamp,
        observed: &'a Observed,
        spec: &'a DeploymentSpec,
        sets: Vec<Arc<ReplicaSet>>,
    ) -> Self {
        let mut drafts: Vec<Draft> = sets.iter().map(Draft::observed).collect();
        sort_by_creation(&mut drafts);
        // Of several with this template the oldest is the one.
        let same = drafts.iter().position(|draft| {
            let set = draft.set.spec.as_ref();
            set.and_then(|set| set.template.as_ref())
                .is_some_and(|template| template::same(template, &spec.template))
        });
        let new = same.map(|at| drafts.remove(at));
        let deployment = observed.deployment.clone();
        Self {
            now,
            observed,
            spec,
            noted: deployment.status.clone().unwrap_or_default(),
            rollout: Rollout { about: about(&*deployment), deployment, new, old: drafts },
            judged: false,
            revision: None,
            after: Vec::new(),
        }
    }

    /// Decides what moves; says why.
    fn decide(&mut self) -> String {
        let deployment = self.observed.deployment.clone();
        if deployment.metadata.deletion_timestamp.is_some() {
            return "being deleted: only counting".to_owned();
        }
        status::note_pause(&mut self.noted, &deployment, self.now);
        self.keep_revision();
        if self.spec.paused == Some(true) {
            scaling::scale(&mut self.rollout);
            self.clean_up();
            return "paused: only scaling".to_owned();
        }
        if scaling::is_scaling(&self.rollout) {
            scaling::scale(&mut self.rollout);
            return "its size changed".to_owned();
        }
        self.judged = true;
        if is_rolling(&deployment) { self.roll() } else { self.recreate() }
    }

    /// Numbers the newest ReplicaSet, and the Deployment after it.
    fn keep_revision(&mut self) {
        let next = revisions::next(&self.rollout.old);
        let min_ready_seconds = self.spec.min_ready_seconds;
        let deployment = self.observed.deployment.clone();
        let Some(new) = &mut self.rollout.new else { return };
        revisions::annotate(&mut new.set.metadata, &deployment, next, false);
        if let Some(spec) = &mut new.set.spec
            && spec.min_ready_seconds.unwrap_or(0) != min_ready_seconds.unwrap_or(0)
        {
            spec.min_ready_seconds = min_ready_seconds;
        }
        let annotations = new.set.metadata.annotations.as_ref();
        let revision = annotations.and_then(|all| all.get(revisions::REVISION)).cloned();
        let message = format!("Found new replica set {:?}", new.name());
        self.revision = revision;
        if progress_deadline(&deployment).is_some()
            && status::condition(&self.noted, PROGRESSING).is_none()
        {
            let reason = "FoundNewReplicaSet";
            status::set_condition(&mut self.noted, self.now, PROGRESSING, "True", reason, message);
        }
    }

    fn roll(&mut self) -> String {
        if self.rollout.new.is_none() && !self.create_new() {
            return "another replica set has its name: trying another hash".to_owned();
        }
        if rolling::step(&mut self.rollout) {
            return "rolling".to_owned();
        }
        self.clean_up_complete()
    }

    fn recreate(&mut self) -> String {
        if recreate::stop_old(&mut self.rollout) {
            return "stopping the old pods".to_owned();
        }
        if recreate::old_pods_running(&self.rollout, &self.observed.running) {
            return "waiting for the old pods to end".to_owned();
        }
        if self.rollout.new.is_none() && !self.create_new() {
            return "another replica set has its name: trying another hash".to_owned();
        }
        recreate::start_new(&mut self.rollout);
        self.clean_up_complete()
    }

    fn clean_up_complete(&mut self) -> String {
        let status = self.observed.deployment.status.clone().unwrap_or_default();
        if status::is_complete(&self.observed.deployment, &status) {
            self.clean_up();
            return "complete".to_owned();
        }
        "waiting for pods".to_owned()
    }

    fn clean_up(&mut self) {
        self.after.extend(revisions::clean_up(&self.observed.deployment, &self.rollout.old));
    }

    /// Drafts the ReplicaSet of the template; `false` where its name is taken.
    fn create_new(&mut self) -> bool {
        if self.observed.name_taken {
            *self.noted.collision_count.get_or_insert_default() += 1;
            return false;
        }
        let deployment = self.observed.deployment.clone();
        let (name, _) = new_set_name(&deployment);
        let set = new_set(&deployment, self.spec);
        let failed_message = format!("Failed to create new replica set {name:?}: ");
        let about = self.rollout.about.clone();
        let failed =
            Note::warning(&about, "ReplicaSetCreateError", Message::Error(failed_message.clone()));
        let revision = revisions::next(&self.rollout.old);
        let mut draft = Draft::new(set, failed);
        revisions::annotate(&mut draft.set.metadata, &deployment, revision, true);
        self.rollout.new = Some(draft);
        let count = if is_rolling(&deployment) {
            rolling::new_replicas(&self.rollout)
        } else {
            replicas(&deployment)
        };
        self.rollout.scale(Which::New, count);
        self.revision = Some(revision.to_string());
        if progress_deadline(&deployment).is_some() {
            let (value, reason, message) = match &self.observed.failure {
                Some(failure) => (
                    "False",
                    "ReplicaSetCreateError",
                    format!("{failed_message}{}", failure.message),
                ),
                None => {
                    ("True", "NewReplicaSetCreated", format!("Created new replica set {name:?}"))
                }
            };
            status::set_condition(&mut self.noted, self.now, PROGRESSING, value, reason, message);
        }
        true
    }

    /// The Deployment's annotations with the revision, where that is new.
    fn numbered(&self) -> Option<BTreeMap<String, String>> {
        let revision = self.revision.clone()?;
        let mut annotations =
            self.observed.deployment.metadata.annotations.clone().unwrap_or_default();
        let old = annotations.insert(revisions::REVISION.to_owned(), revision.clone());
        (old != Some(revision)).then_some(annotations)
    }

    fn finish(self, why: String) -> Plan {
        let deployment = self.observed.deployment.clone();
        let before = deployment.status.clone().unwrap_or_default();
        let mut new = status::counted(&self.rollout, &self.noted, self.now);
        if self.judged {
            status::judge(&self.rollout, &self.noted, &mut new, self.now);
        }
        let again = status::check_again(&deployment, &new, self.now).filter(|_| self.judged);
        let numbered = self.numbered();
        // With the status, as upstream: a main update of annotations would raise the generation.
        let status = (!status::same(&before, &new) || numbered.is_some()).then(|| {
            let mut updated = Deployment { status: Some(new), ..(*deployment).clone() };
            updated.metadata.annotations =
                numbered.or_else(|| deployment.metadata.annotations.clone());
            Update::status(Key::of(DEPLOYMENTS, &deployment.metadata), &updated)
        });
        let rest = Duration::from_millis(if replicas(&deployment) > 25 { 10 } else { 0 });
        let mut actions = self.rollout.into_actions();
        actions.extend(self.after);
        Plan { actions, status, why, again, rest, wake: Vec::new() }
    }
}

/// The ReplicaSet of a Deployment's template, with no replicas yet.
fn new_set(deployment: &Deployment, spec: &DeploymentSpec) -> ReplicaSet {
    let (name, hash) = new_set_name(deployment);
    let mut template = spec.template.clone();
    let metadata = template.metadata.get_or_insert_default();
    let mut labels = metadata.labels.clone().unwrap_or_default();
    labels.insert(HASH_LABEL.to_owned(), hash.clone());
    metadata.labels = Some(labels.clone());
    let mut selector = spec.selector.clone();
    selector.match_labels.get_or_insert_with(BTreeMap::new).insert(HASH_LABEL.to_owned(), hash);
    ReplicaSet {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: deployment.metadata.namespace.clone(),
            labels: Some(labels),
            owner_references: Some(vec![owners::controller_reference(deployment)]),
            ..ObjectMeta::default()
        },
        spec: Some(ReplicaSetSpec {
            replicas: Some(0),
            min_ready_seconds: spec.min_ready_seconds,
            selector,
            template: Some(template),
        }),
        status: None,
    }
}
