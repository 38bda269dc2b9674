//! Which changes concern a ReplicaSet, and what a plan for one looks at.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::ReplicaSet;

use super::REPLICA_SETS;
use super::outline::Outline;
use super::plan::{Observed, plan};
use crate::controllers::owners;
use crate::controllers::pods::{PODS, is_active, node};
use crate::controllers::selectors;
use crate::engine::{Change, Context, Controller, Key, Plan, Reader};

const KIND: &str = "ReplicaSet";

/// See the module's documentation.
pub(in crate::controllers) struct ReplicaSets;

impl Controller for ReplicaSets {
    fn name(&self) -> &'static str {
        "replicaset-controller"
    }

    fn observes(&self) -> &'static [&'static str] {
        &[PODS, REPLICA_SETS]
    }

    fn keys(&self, reader: &Reader, change: &Change) -> Vec<Key> {
        let object = &change.object;
        if &*change.resource == REPLICA_SETS {
            return vec![Key::new(REPLICA_SETS, object.namespace(), object.name())];
        }
        let owner = change.head.controlled_by(KIND);
        let before = change.before.as_ref().and_then(|before| before.controlled_by(KIND));
        let mut names: Vec<&str> = [owner, before].into_iter().flatten().collect();
        names.dedup();
        if change.head.controller().is_none() && !change.deleted && orphan_changed(change) {
            let mut keys = adopters(reader, change);
            keys.extend(before.map(|name| Key::new(REPLICA_SETS, object.namespace(), name)));
            return keys;
        }
        names.into_iter().map(|name| Key::new(REPLICA_SETS, object.namespace(), name)).collect()
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

/// An orphan is offered to adopters when it appears, and when its labels or owners change.
fn orphan_changed(change: &Change) -> bool {
    change.before.as_ref().is_none_or(|before| {
        let (before, now) = (&before.metadata, &change.head.metadata);
        before.labels != now.labels || before.owner_references != now.owner_references
    })
}

fn adopters(reader: &Reader, pod: &Change) -> Vec<Key> {
    let labels = &pod.head.metadata.labels;
    reader
        .list::<ReplicaSet>(REPLICA_SETS, Some(pod.object.namespace()))
        .iter()
        .filter(|set| {
            set.spec.as_ref().is_some_and(|spec| selectors::matches(&spec.selector, Some(labels)))
        })
        .map(|set| Key::of(REPLICA_SETS, &set.metadata))
        .collect()
}

fn observe(context: &Context<'_>, key: &Key) -> Option<Observed> {
    let reader = context.reader;
    let set: Arc<ReplicaSet> = reader.at(key)?;
    let uid = set.metadata.uid.clone().unwrap_or_default();
    let mut pods: Vec<Arc<Outline>> = reader.owned(PODS, &uid);
    pods.extend(reader.uncontrolled::<Outline>(PODS, &key.namespace));
    let active = pods.iter().filter(|pod| is_active(pod)).count();
    let wanted = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let neighbours = if active > usize::try_from(wanted).unwrap_or(0) {
        neighbours(reader, &set)
    } else {
        BTreeMap::new()
    };
    Some(Observed { set, pods, neighbours, failure: context.failure.cloned() })
}

/// How many active pods of this ReplicaSet and its siblings are on each node.
fn neighbours(reader: &Reader, set: &ReplicaSet) -> BTreeMap<String, usize> {
    let siblings = match owners::controller_of(&set.metadata) {
        Some(owner) => reader.owned::<ReplicaSet>(REPLICA_SETS, &owner.uid),
        None => vec![Arc::new(set.clone())],
    };
    let mut counts = BTreeMap::new();
    for sibling in siblings {
        let uid = sibling.metadata.uid.as_deref().unwrap_or_default();
        for pod in reader.owned::<Outline>(PODS, uid) {
            if let Some(node) = node(&pod).filter(|_| is_active(&pod)) {
                *counts.entry(node.to_owned()).or_default() += 1;
            }
        }
    }
    counts
}
