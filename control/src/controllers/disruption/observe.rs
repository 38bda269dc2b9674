//! Which changes concern a budget, and what a plan for one looks at.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{Pod, ReplicationController};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::BUDGETS;
use super::plan::{Guarded, Observed, Scale, plan};
use crate::controllers::owners::controller_of;
use crate::controllers::pods::PODS;
use crate::engine::{Change, Context, Controller, Key, Plan, Reader};
use crate::kinds::selector::matches_optional;

type Labels = BTreeMap<String, String>;

/// See the module's documentation.
pub(in crate::controllers) struct Disruption;

impl Controller for Disruption {
    fn name(&self) -> &'static str {
        "disruption-controller"
    }

    fn observes(&self) -> &'static [&'static str] {
        &[PODS, BUDGETS]
    }

    fn keys(&self, reader: &Reader, change: &Change) -> Vec<Key> {
        let object = &change.object;
        if &*change.resource == BUDGETS {
            return vec![Key::new(BUDGETS, object.namespace(), object.name())];
        }
        let now = Some(&change.head.metadata.labels);
        let before = change.before.as_ref().map(|before| &before.metadata.labels);
        reader
            .list::<PodDisruptionBudget>(BUDGETS, Some(object.namespace()))
            .iter()
            .filter(|budget| guards(budget, now) || (before.is_some() && guards(budget, before)))
            .map(|budget| Key::of(BUDGETS, &budget.metadata))
            .collect()
    }

    fn plan(&self, context: &Context<'_>, key: &Key) -> Plan {
        let Some(budget) = context.reader.at::<PodDisruptionBudget>(key) else {
            return Plan::nothing("gone");
        };
        let pods = context.reader.list::<Pod>(PODS, Some(&key.namespace));
        let guarded = pods.into_iter().filter(|pod| guards(&budget, pod.metadata.labels.as_ref()));
        let pods = guarded.map(|pod| Guarded { scale: scale_of(context.reader, &pod), pod });
        plan(context.now, &Observed { pods: pods.collect(), budget })
    }
}

fn guards(budget: &PodDisruptionBudget, labels: Option<&Labels>) -> bool {
    let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    matches_optional(selector, labels)
}

/// How many pods are wanted of the sort of this one.
fn scale_of(reader: &Reader, pod: &Pod) -> Scale {
    let Some(owner) = controller_of(&pod.metadata) else { return Scale::Unmanaged };
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let Some(resource) = reader.resources().of(&owner.api_version, &owner.kind) else {
        let version = &owner.api_version;
        return Scale::Unknown(format!(
            "no matches for kind {:?} in version {version:?}",
            owner.kind
        ));
    };
    let name = owner.name.as_str();
    let found = match &*resource.name {
        "replicationcontrollers" => {
            let object = reader.get::<ReplicationController>(&resource.name, namespace, name);
            scaled(
                owner,
                object.as_deref().map(|it| (&it.metadata, replicas(&it.spec, |s| s.replicas))),
            )
        }
        "replicasets.apps" => {
            let object = reader.get::<ReplicaSet>(&resource.name, namespace, name);
            let of_set = scaled(
                owner,
                object.as_deref().map(|it| (&it.metadata, replicas(&it.spec, |s| s.replicas))),
            );
            object
                .filter(|_| of_set.is_some())
                .and_then(|set| deployment_scale(reader, namespace, &set.metadata))
                .or(of_set)
        }
        "statefulsets.apps" => {
            let object = reader.get::<StatefulSet>(&resource.name, namespace, name);
            scaled(
                owner,
                object.as_deref().map(|it| (&it.metadata, replicas(&it.spec, |s| s.replicas))),
            )
        }
        "deployments.apps" => deployment(reader, namespace, owner),
        other => {
            return Scale::Unknown(format!("{other} does not implement the scale subresource"));
        }
    };
    found.unwrap_or_else(|| {
        let pod = pod.metadata.name.as_deref().unwrap_or_default();
        Scale::Unknown(format!("found no controllers for pod {pod:?}"))
    })
}

/// The scale of the Deployment that controls a ReplicaSet.
fn deployment_scale(reader: &Reader, namespace: &str, set: &ObjectMeta) -> Option<Scale> {
    let owner = controller_of(set).filter(|owner| owner.kind == "Deployment")?;
    deployment(reader, namespace, owner)
}

fn deployment(reader: &Reader, namespace: &str, owner: &OwnerReference) -> Option<Scale> {
    let object: Arc<Deployment> = reader.get("deployments.apps", namespace, &owner.name)?;
    scaled(owner, Some((&object.metadata, replicas(&object.spec, |spec| spec.replicas))))
}

fn replicas<S>(spec: &Option<S>, of: impl Fn(&S) -> Option<i32>) -> i32 {
    spec.as_ref().and_then(of).unwrap_or(1)
}

/// The scale of the object, if it is the one that is meant and no later one of its name.
fn scaled(owner: &OwnerReference, object: Option<(&ObjectMeta, i32)>) -> Option<Scale> {
    let (metadata, replicas) = object?;
    let is_meant = metadata.uid.as_ref() == Some(&owner.uid);
    is_meant.then(|| Scale::Known { controller: owner.uid.clone(), replicas })
}
