//! Which changes concern a Deployment, and what a plan for one looks at.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;

use super::DEPLOYMENTS;
use super::bounds::is_rolling;
use super::plan::{Observed, new_set_name, plan};
use super::template;
use crate::controllers::owners;
use crate::controllers::pods::{PODS, is_terminal};
use crate::controllers::replica_set::REPLICA_SETS;
use crate::controllers::selectors;
use crate::engine::{Change, Context, Controller, Key, Plan, Reader};

const KIND: &str = "Deployment";

/// See the module's documentation.
pub(in crate::controllers) struct Deployments;

impl Controller for Deployments {
    fn name(&self) -> &'static str {
        "deployment-controller"
    }

    fn observes(&self) -> &'static [&'static str] {
        &[DEPLOYMENTS, PODS, REPLICA_SETS]
    }

    fn keys(&self, reader: &Reader, change: &Change) -> Vec<Key> {
        let object = &change.object;
        match &*change.resource {
            DEPLOYMENTS => vec![Key::new(DEPLOYMENTS, object.namespace(), object.name())],
            REPLICA_SETS => of_replica_set(reader, change),
            // A recreated Deployment waits for its old pods to be gone.
            _ if change.deleted || finished(change) => of_pod(reader, change),
            _ => Vec::new(),
        }
    }

    fn plan(&self, context: &Context<'_>, key: &Key) -> Plan {
        match observe(context, key) {
            Some(observed) => plan(context.now, &observed),
            None => Plan::nothing("gone"),
        }
    }

    fn workers(&self) -> usize {
        16
    }
}

fn of_replica_set(reader: &Reader, change: &Change) -> Vec<Key> {
    let namespace = change.object.namespace();
    let now = change.head.controlled_by(KIND);
    let before = change.before.as_ref().and_then(|before| before.controlled_by(KIND));
    let mut names: Vec<&str> = [now, before].into_iter().flatten().collect();
    names.dedup();
    let mut keys: Vec<Key> =
        names.iter().map(|name| Key::new(DEPLOYMENTS, namespace, name)).collect();
    if !change.deleted && change.head.controller().is_none() {
        keys.extend(adopters(reader, change));
    }
    keys
}

fn adopters(reader: &Reader, set: &Change) -> Vec<Key> {
    let labels = &set.head.metadata.labels;
    reader
        .list::<Deployment>(DEPLOYMENTS, Some(set.object.namespace()))
        .iter()
        .filter(|deployment| {
            let spec = deployment.spec.as_ref();
            spec.is_some_and(|spec| selectors::matches(&spec.selector, Some(labels)))
        })
        .map(|deployment| Key::of(DEPLOYMENTS, &deployment.metadata))
        .collect()
}

fn finished(change: &Change) -> bool {
    change.head.is_finished() && change.before.as_ref().is_some_and(|before| !before.is_finished())
}

fn of_pod(reader: &Reader, pod: &Change) -> Vec<Key> {
    let namespace = pod.object.namespace();
    let Some(set) = pod.head.controlled_by("ReplicaSet") else { return Vec::new() };
    let Some(set) = reader.get::<ReplicaSet>(REPLICA_SETS, namespace, set) else {
        return Vec::new();
    };
    let owner = owners::controller_of(&set.metadata).filter(|owner| owner.kind == KIND);
    owner
        .map(|owner| Key::new(DEPLOYMENTS, namespace, &owner.name))
        .filter(|key| is_recreated(reader, key))
        .into_iter()
        .collect()
}

fn is_recreated(reader: &Reader, key: &Key) -> bool {
    reader.at::<Deployment>(key).is_some_and(|deployment| !is_rolling(&deployment))
}

fn observe(context: &Context<'_>, key: &Key) -> Option<Observed> {
    let reader = context.reader;
    let deployment: Arc<Deployment> = reader.at(key)?;
    let uid = deployment.metadata.uid.clone().unwrap_or_default();
    let mut sets: Vec<Arc<ReplicaSet>> = reader.owned(REPLICA_SETS, &uid);
    sets.extend(reader.uncontrolled::<ReplicaSet>(REPLICA_SETS, &key.namespace));
    let recreated = is_recreated(reader, key);
    let pods_running = |set: &Arc<ReplicaSet>| {
        let uid = set.metadata.uid.as_deref().unwrap_or_default();
        let count = reader.owned::<Pod>(PODS, uid).iter().filter(|pod| !is_terminal(pod)).count();
        (uid.to_owned(), count)
    };
    Some(Observed {
        // Only recreation asks for pods.
        running: if recreated { sets.iter().map(pods_running).collect() } else { Vec::new() },
        name_taken: name_taken(reader, &deployment),
        deployment,
        sets,
        failure: context.failure.cloned(),
    })
}

/// Whether the name of the ReplicaSet that the template asks for belongs to another.
fn name_taken(reader: &Reader, deployment: &Deployment) -> bool {
    let (name, _) = new_set_name(deployment);
    let namespace = deployment.metadata.namespace.as_deref().unwrap_or_default();
    let Some(set) = reader.get::<ReplicaSet>(REPLICA_SETS, namespace, &name) else { return false };
    let templates = set
        .spec
        .as_ref()
        .and_then(|set| set.template.as_ref())
        .zip(deployment.spec.as_ref().map(|spec| &spec.template));
    let same = templates.is_some_and(|(set, wanted)| template::same(set, wanted));
    !(same && owners::is_controlled_by(&set.metadata, deployment.metadata.uid.as_deref()))
}
