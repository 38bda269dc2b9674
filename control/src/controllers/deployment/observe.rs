//! Which changes concern a Deployment, and what a plan for one looks at.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;

use super::DEPLOYMENTS;
use super::plan::{Observed, new_set_name, plan};
use super::template;
use crate::cache::Cached;
use crate::controllers::owners;
use crate::controllers::pods::{PODS, is_terminal};
use crate::controllers::replica_set::REPLICA_SETS;
use crate::controllers::selectors;
use crate::engine::{Change, Context, Controller, Key, Plan, Reader};

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
            _ if change.deleted || finished(change) => of_pod(reader, object),
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

fn controller<'a>(object: &'a Cached, kind: &str) -> Option<&'a str> {
    let owners = object.value.pointer("/metadata/ownerReferences")?.as_array()?;
    let owner = owners.iter().find(|owner| owner["controller"].as_bool() == Some(true))?;
    (owner["kind"] == kind).then(|| owner["name"].as_str()).flatten()
}

fn has_controller(object: &Cached) -> bool {
    let owners = object.value.pointer("/metadata/ownerReferences").and_then(|v| v.as_array());
    owners.into_iter().flatten().any(|owner| owner["controller"].as_bool() == Some(true))
}

fn of_replica_set(reader: &Reader, change: &Change) -> Vec<Key> {
    let object = &change.object;
    let previous = change.previous.as_deref().and_then(|previous| controller(previous, "Deployment"));
    let mut names: Vec<&str> =
        [controller(object, "Deployment"), previous].into_iter().flatten().collect();
    names.dedup();
    let mut keys: Vec<Key> =
        names.iter().map(|name| Key::new(DEPLOYMENTS, object.namespace(), name)).collect();
    if !change.deleted && !has_controller(object) {
        keys.extend(adopters(reader, object));
    }
    keys
}

fn adopters(reader: &Reader, object: &Cached) -> Vec<Key> {
    let set = object.view::<ReplicaSet>();
    reader
        .list::<Deployment>(DEPLOYMENTS, Some(object.namespace()))
        .iter()
        .filter(|deployment| {
            deployment.spec.as_ref().is_some_and(|spec| {
                selectors::matches(&spec.selector, set.metadata.labels.as_ref())
            })
        })
        .map(|deployment| Key::of(DEPLOYMENTS, &deployment.metadata))
        .collect()
}

fn finished(change: &Change) -> bool {
    let phase = |object: &Cached| {
        let phase = object.value.pointer("/status/phase").and_then(|phase| phase.as_str());
        matches!(phase, Some("Succeeded" | "Failed"))
    };
    phase(&change.object) && change.previous.as_deref().is_some_and(|previous| !phase(previous))
}

fn of_pod(reader: &Reader, pod: &Cached) -> Vec<Key> {
    let Some(set) = controller(pod, "ReplicaSet") else { return Vec::new() };
    reader
        .object(REPLICA_SETS, pod.namespace(), set)
        .and_then(|set| Some(Key::new(DEPLOYMENTS, pod.namespace(), controller(&set, "Deployment")?)))
        .filter(is_recreated(reader))
        .into_iter()
        .collect()
}

fn is_recreated(reader: &Reader) -> impl Fn(&Key) -> bool + '_ {
    |key| {
        reader.object_at(key).is_some_and(|deployment| {
            deployment.value.pointer("/spec/strategy/type").is_some_and(|kind| kind == "Recreate")
        })
    }
}

fn observe(context: &Context<'_>, key: &Key) -> Option<Observed> {
    let reader = context.reader;
    let deployment: Arc<Deployment> = reader.at(key)?;
    let uid = deployment.metadata.uid.clone().unwrap_or_default();
    let mut sets: Vec<Arc<ReplicaSet>> = reader.owned(REPLICA_SETS, &uid);
    sets.extend(reader.uncontrolled::<ReplicaSet>(REPLICA_SETS, &key.namespace));
    let recreated = is_recreated(reader)(key);
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
