//! Namespaces that are being deleted: their content goes, pods first; then they are finalized.
//!
//! Source of the behaviour: upstream's `pkg/controller/namespace/deletion`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, NamespaceCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};

use super::pods::PODS;
use crate::cache::Cached;
use crate::engine::{
    Action, Change, Context, Controller, Delete, Failure, Key, Needs, Plan, Reader, Update,
};

pub(super) const NAMESPACES: &str = "namespaces";
const FINALIZER: &str = "kubernetes";

/// What remains is looked at again after so long, even if nothing was heard of it.
const AGAIN: Duration = Duration::from_secs(15);

pub(super) fn is_active(namespace: &Namespace) -> bool {
    let phase = namespace.status.as_ref().and_then(|status| status.phase.as_deref());
    phase == Some("Active") && namespace.metadata.deletion_timestamp.is_none()
}

/// See the module's documentation.
pub(super) struct Namespaces;

impl Controller for Namespaces {
    fn name(&self) -> &'static str {
        "namespace-controller"
    }

    /// Everything that can be in a namespace.
    fn observes(&self) -> &'static [&'static str] {
        &[]
    }

    fn keys(&self, reader: &Reader, change: &Change) -> Vec<Key> {
        let object = &change.object;
        let name = match &*change.resource {
            NAMESPACES => object.name(),
            _ => object.namespace(),
        };
        let leaving = !name.is_empty()
            && reader
                .object(NAMESPACES, "", name)
                .is_some_and(|namespace| namespace.meta().deletion_timestamp.is_some());
        if leaving { vec![Key::new(NAMESPACES, "", name)] } else { Vec::new() }
    }

    fn plan(&self, context: &Context<'_>, key: &Key) -> Plan {
        match observe(context, key) {
            Some(observed) => plan(context.now, &observed),
            None => Plan::nothing("gone"),
        }
    }

    /// What was created before the namespace was deleted must be known before it counts as empty.
    fn needs(&self, reader: &Reader, key: &Key) -> Needs {
        let Some(namespace) = reader.object_at(key) else { return Needs::default() };
        let resources = reader.resources().iter().filter(|resource| resource.namespaced);
        Needs(resources.map(|resource| (resource.name.clone(), namespace.revision)).collect())
    }
}

struct Observed {
    namespace: Arc<Namespace>,
    /// What is in it, by resource.
    content: BTreeMap<Arc<str>, Vec<ObjectMeta>>,
    failure: Option<Failure>,
}

fn observe(context: &Context<'_>, key: &Key) -> Option<Observed> {
    let reader = context.reader;
    let namespace: Arc<Namespace> = reader.at(key)?;
    let mut content = BTreeMap::new();
    if namespace.metadata.deletion_timestamp.is_some() {
        for resource in reader.resources().iter().filter(|resource| resource.namespaced) {
            let objects = reader.objects(&resource.name, Some(&key.name));
            let metadata: Vec<ObjectMeta> = objects.iter().filter_map(|o| metadata(o)).collect();
            if !metadata.is_empty() {
                content.insert(resource.name.clone(), metadata);
            }
        }
    }
    Some(Observed { namespace, content, failure: context.failure.cloned() })
}

/// The metadata of an object of any kind.
pub(super) fn metadata(object: &Cached) -> Option<ObjectMeta> {
    #[derive(serde::Deserialize)]
    struct Partial {
        metadata: ObjectMeta,
    }
    Some(object.decode::<Partial>().ok()?.metadata)
}

fn plan(now: Timestamp, observed: &Observed) -> Plan {
    let namespace = &*observed.namespace;
    if namespace.metadata.deletion_timestamp.is_none() {
        return Plan::nothing("not being deleted");
    }
    let finalizers = namespace.spec.as_ref().and_then(|spec| spec.finalizers.as_ref());
    if finalizers.is_none_or(Vec::is_empty) {
        return Plan::nothing("finalized already");
    }
    if observed.content.is_empty() {
        return finalize(namespace);
    }
    // Pods first: what they use stays until they have ended.
    let pods: Option<(&Arc<str>, &Vec<ObjectMeta>)> = observed.content.get_key_value(PODS);
    let now_going: Vec<(&Arc<str>, &Vec<ObjectMeta>)> = match pods {
        Some(pods) => vec![pods],
        None => observed.content.iter().collect(),
    };
    let actions: Vec<Action> = now_going
        .iter()
        .flat_map(|(resource, objects)| objects.iter().map(move |object| (*resource, object)))
        .filter(|(_, object)| object.deletion_timestamp.is_none())
        .map(|(resource, object)| Action::Delete(Delete::of(resource, object)))
        .collect();
    let why = format!("{} kinds of content; deleting {}", observed.content.len(), actions.len());
    Plan {
        actions,
        status: new_status(now, observed, &now_going),
        why,
        again: Some(AGAIN),
        ..Plan::default()
    }
}

fn finalize(namespace: &Namespace) -> Plan {
    let mut finalized = namespace.clone();
    if let Some(spec) = &mut finalized.spec {
        spec.finalizers.get_or_insert_default().retain(|name| name != FINALIZER);
    }
    let key = Key::of(NAMESPACES, &namespace.metadata);
    let update = Update { subresource: Some("finalize"), ..Update::whole(key, &finalized) };
    Plan {
        actions: vec![Action::Update(update)],
        why: "empty: finalizing".to_owned(),
        ..Plan::default()
    }
}

/// The conditions tell what stays for a reason of its own; what is only about to go is not told.
fn new_status(
    now: Timestamp,
    observed: &Observed,
    looked_at: &[(&Arc<str>, &Vec<ObjectMeta>)],
) -> Option<Update> {
    let mut namespace = (*observed.namespace).clone();
    let status = namespace.status.get_or_insert_default();
    let before = status.clone();
    status.phase = Some("Terminating".to_owned());
    let remaining = remaining(looked_at);
    if !remaining.is_empty() || observed.failure.is_some() || status.conditions.is_some() {
        let conditions = status.conditions.get_or_insert_default();
        for wanted in conditions_of(looked_at, &remaining, observed.failure.as_ref(), now) {
            set_condition(conditions, wanted);
        }
    }
    let changed = before != *status;
    changed.then(|| Update::status(Key::of(NAMESPACES, &observed.namespace.metadata), &namespace))
}

/// By resource: how many objects are on their way out and not gone.
fn remaining(content: &[(&Arc<str>, &Vec<ObjectMeta>)]) -> Vec<(String, usize)> {
    content
        .iter()
        .filter_map(|(resource, objects)| {
            let count = objects.iter().filter(|object| object.deletion_timestamp.is_some()).count();
            // Upstream writes the empty group of core resources as a trailing dot.
            let name = match resource.split_once('.') {
                Some(_) => resource.to_string(),
                None => format!("{resource}."),
            };
            (count > 0).then_some((name, count))
        })
        .collect()
}

fn conditions_of(
    content: &[(&Arc<str>, &Vec<ObjectMeta>)],
    remaining: &[(String, usize)],
    failure: Option<&Failure>,
    now: Timestamp,
) -> Vec<NamespaceCondition> {
    let mut finalizers: BTreeMap<&str, usize> = BTreeMap::new();
    for object in content.iter().flat_map(|(_, objects)| objects.iter()) {
        for finalizer in object.finalizers.iter().flatten() {
            *finalizers.entry(finalizer).or_default() += 1;
        }
    }
    let resources: Vec<String> = remaining
        .iter()
        .map(|(resource, count)| format!("{resource} has {count} resource instances"))
        .collect();
    let held: Vec<String> = finalizers
        .iter()
        .map(|(finalizer, count)| format!("{finalizer} in {count} resource instances"))
        .collect();
    let one = |kind: &str, bad: Option<(&str, String)>, ok: (&str, &str)| {
        let status = if bad.is_some() { "True" } else { "False" };
        let (reason, message) = bad.unwrap_or((ok.0, ok.1.to_owned()));
        NamespaceCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message),
            last_transition_time: Some(Time(now)),
        }
    };
    vec![
        one(
            "NamespaceDeletionDiscoveryFailure",
            None,
            ("ResourcesDiscovered", "All resources successfully discovered"),
        ),
        one(
            "NamespaceDeletionGroupVersionParsingFailure",
            None,
            ("ParsedGroupVersions", "All legacy kube types successfully parsed"),
        ),
        one(
            "NamespaceDeletionContentFailure",
            failure.map(|failure| {
                let message = format!(
                    "Failed to delete all resource types, 1 remaining: {}",
                    failure.message
                );
                ("ContentDeletionFailed", message)
            }),
            ("ContentDeleted", "All content successfully deleted, may be waiting on finalization"),
        ),
        one(
            "NamespaceContentRemaining",
            (!resources.is_empty()).then(|| {
                let message = format!("Some resources are remaining: {}", resources.join(", "));
                ("SomeResourcesRemain", message)
            }),
            ("ContentRemoved", "All content successfully removed"),
        ),
        one(
            "NamespaceFinalizersRemaining",
            (!held.is_empty()).then(|| {
                let message = format!(
                    "Some content in the namespace has finalizers remaining: {}",
                    held.join(", ")
                );
                ("SomeFinalizersRemain", message)
            }),
            ("ContentHasNoFinalizers", "All content-preserving finalizers finished"),
        ),
    ]
}

fn set_condition(conditions: &mut Vec<NamespaceCondition>, mut wanted: NamespaceCondition) {
    match conditions.iter_mut().find(|condition| condition.type_ == wanted.type_) {
        None => conditions.push(wanted),
        Some(old) => {
            if old.status == wanted.status {
                wanted.last_transition_time = old.last_transition_time.clone();
            }
            *old = wanted;
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::engine::show_plan;

    fn check(namespace: &str, content: &[(&str, &str)], expected: Expect) {
        let mut by_resource: BTreeMap<Arc<str>, Vec<ObjectMeta>> = BTreeMap::new();
        for (resource, object) in content {
            let object = serde_yaml::from_str(object).unwrap();
            by_resource.entry((*resource).into()).or_default().push(object);
        }
        let observed = Observed {
            namespace: Arc::new(serde_yaml::from_str(namespace).unwrap()),
            content: by_resource,
            failure: None,
        };
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        expected.assert_eq(&show_plan(&plan(now, &observed)));
    }

    const LEAVING: &str = "
metadata: {name: shop, resourceVersion: '3', deletionTimestamp: '2026-01-01T00:00:00Z'}
spec: {finalizers: [kubernetes]}
status: {phase: Terminating}
";

    #[test]
    fn pods_go_before_what_they_use() {
        check(
            LEAVING,
            &[
                ("pods", "{name: a, namespace: shop, uid: a}"),
                ("configmaps", "{name: c, namespace: shop, uid: c}"),
            ],
            expect![[r#"
                delete pods/shop/a Background
                again in 15s
                why 2 kinds of content; deleting 1
            "#]],
        );
        check(
            LEAVING,
            &[
                ("configmaps", "{name: c, namespace: shop, uid: c}"),
                ("deployments.apps", "{name: d, namespace: shop, uid: d}"),
            ],
            expect![[r#"
                delete configmaps/shop/c Background
                delete deployments.apps/shop/d Background
                again in 15s
                why 2 kinds of content; deleting 2
            "#]],
        );
    }

    #[test]
    fn what_remains_is_told_in_the_conditions() {
        check(
            LEAVING,
            &[(
                "configmaps",
                "{name: c, namespace: shop, uid: c, finalizers: [example.com/hold], \
                 deletionTimestamp: '2026-01-01T00:00:00Z'}",
            )],
            expect![[r#"
                status namespaces/shop {"status":{"conditions":[{"lastTransitionTime":"2026-01-01T00:00:00Z","message":"All resources successfully discovered","reason":"ResourcesDiscovered","status":"False","type":"NamespaceDeletionDiscoveryFailure"},{"lastTransitionTime":"2026-01-01T00:00:00Z","message":"All legacy kube types successfully parsed","reason":"ParsedGroupVersions","status":"False","type":"NamespaceDeletionGroupVersionParsingFailure"},{"lastTransitionTime":"2026-01-01T00:00:00Z","message":"All content successfully deleted, may be waiting on finalization","reason":"ContentDeleted","status":"False","type":"NamespaceDeletionContentFailure"},{"lastTransitionTime":"2026-01-01T00:00:00Z","message":"Some resources are remaining: configmaps. has 1 resource instances","reason":"SomeResourcesRemain","status":"True","type":"NamespaceContentRemaining"},{"lastTransitionTime":"2026-01-01T00:00:00Z","message":"Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances","reason":"SomeFinalizersRemain","status":"True","type":"NamespaceFinalizersRemaining"}],"phase":"Terminating"}}
                again in 15s
                why 1 kinds of content; deleting 0
            "#]],
        );
    }

    #[test]
    fn an_empty_namespace_is_finalized() {
        check(
            LEAVING,
            &[],
            expect![[r#"
            update namespaces/shop finalize
            why empty: finalizing
        "#]],
        );
        check(
            "{metadata: {name: shop}, spec: {finalizers: [kubernetes]}}",
            &[],
            expect![[r#"
            why not being deleted
        "#]],
        );
    }
}
