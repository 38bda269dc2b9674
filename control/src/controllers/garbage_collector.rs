//! Garbage collection: what becomes of objects whose owners go.
//!
//! Background: dependents of a vanished owner are deleted. Foreground (`foregroundDeletion`): an owner
//! waits for the dependents that block it. Orphan (`orphan`): dependents lose the reference, and stay.
//! An owner counts as gone only when the cache of its kind has seen everything up to the dependent's
//! own revision; references are compared by UID.
//!
//! Source of the behaviour: upstream's `pkg/controller/garbagecollector`.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde_json::{Value, json};

use super::namespace::metadata;
use super::owners;
use crate::cache::Cached;
use crate::engine::{
    Action, Change, Context, Controller, Delete, Head, Key, Needs, Plan, Propagation, Reader,
    merge_patch,
};

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";

/// See the module's documentation.
pub(super) struct GarbageCollector;

impl Controller for GarbageCollector {
    fn name(&self) -> &'static str {
        "garbage-collector-controller"
    }

    /// Everything.
    fn observes(&self) -> &'static [&'static str] {
        &[]
    }

    fn keys(&self, reader: &Reader, change: &Change) -> Vec<Key> {
        let object = &change.object;
        let own = Key {
            resource: change.resource.clone(),
            namespace: object.namespace().into(),
            name: object.name().into(),
        };
        let head = &change.head;
        if change.deleted {
            let mut keys = reader.dependents(&head.metadata.uid);
            keys.extend(waiting_owners(reader, object.namespace(), head));
            return keys;
        }
        let mut keys = Vec::new();
        let owners = &head.metadata.owner_references;
        let owners_changed =
            change.before.as_ref().is_none_or(|before| before.metadata.owner_references != *owners);
        if head.is_leaving() {
            if head.has_finalizer(FOREGROUND) || head.has_finalizer(ORPHAN) {
                keys.push(own);
            }
        } else if owners_changed && owners.iter().any(|named| !is_solid(reader, &own, named)) {
            keys.push(own);
        }
        if owners_changed && let Some(before) = &change.before {
            keys.extend(waiting_owners(reader, object.namespace(), before));
        }
        keys
    }

    fn plan(&self, context: &Context<'_>, key: &Key) -> Plan {
        match observe(context.reader, key) {
            Some(observed) => plan(&observed),
            None => Plan::nothing("gone"),
        }
    }

    /// Owners are looked for in caches that know at least what was when the dependent was written.
    fn needs(&self, reader: &Reader, key: &Key) -> Needs {
        let Some(object) = reader.object_at(key) else { return Needs::default() };
        let Some(head) = reader.head_at(key) else { return Needs::default() };
        let owners = head.metadata.owner_references.iter().filter_map(|owner| {
            let (resource, _) = resource_of(reader, owner)?;
            Some((resource, object.revision))
        });
        Needs(owners.collect())
    }

    fn workers(&self) -> usize {
        20
    }
}

/// The resource that an owner reference means, and whether its objects live in namespaces.
fn resource_of(reader: &Reader, owner: &OwnerReference) -> Option<(Arc<str>, bool)> {
    let resource = reader.resources().of(&owner.api_version, &owner.kind)?;
    Some((resource.name.clone(), resource.namespaced))
}

/// Whether an owner is there and stays, by what the caches know now. When it goes, its dependents are
/// looked for: this object is in the index before anybody is told of it.
fn is_solid(reader: &Reader, dependent: &Key, named: &OwnerReference) -> bool {
    owner(reader, &dependent.namespace, named) == Owner::Solid
}

/// The owners of an object that wait for their dependents to go.
fn waiting_owners(reader: &Reader, namespace: &str, head: &Head) -> Vec<Key> {
    let owners = head.metadata.owner_references.iter();
    owners
        .filter_map(|owner| {
            let (key, owner) = find_owner(reader, namespace, owner)?;
            owner.meta().deletion_timestamp.as_ref()?;
            let owner = Head::of(&owner);
            (owner.has_finalizer(FOREGROUND) || owner.has_finalizer(ORPHAN)).then_some(key)
        })
        .collect()
}

fn find_owner(
    reader: &Reader,
    namespace: &str,
    owner: &OwnerReference,
) -> Option<(Key, Arc<Cached>)> {
    let (resource, namespaced) = resource_of(reader, owner)?;
    let namespace = if namespaced { namespace } else { "" };
    let key = Key::new(&resource, namespace, &owner.name);
    let object = reader.object_at(&key)?;
    (owner.uid == object.uid()).then_some((key, object))
}

struct Observed {
    key: Key,
    metadata: ObjectMeta,
    /// Each reference with what its owner is.
    owners: Vec<(OwnerReference, Owner)>,
    dependents: Vec<Dependent>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    /// It is there (or of a kind that we do not know, or named in a way that cannot be checked).
    Solid,
    /// It is gone.
    Dangling,
    /// It is being deleted in the foreground.
    Waiting,
}

struct Dependent {
    key: Key,
    metadata: ObjectMeta,
}

impl Dependent {
    fn blocks(&self, uid: Option<&String>) -> bool {
        self.metadata
            .owner_references
            .iter()
            .flatten()
            .any(|owner| Some(&owner.uid) == uid && owner.block_owner_deletion == Some(true))
    }

    fn waits(&self) -> bool {
        self.metadata.deletion_timestamp.is_some() && has(&self.metadata, FOREGROUND)
    }
}

fn has(metadata: &ObjectMeta, finalizer: &str) -> bool {
    metadata.finalizers.iter().flatten().any(|name| name == finalizer)
}

fn observe(reader: &Reader, key: &Key) -> Option<Observed> {
    let object = reader.object_at(key)?;
    let metadata = metadata(&object)?;
    let owners = metadata
        .owner_references
        .iter()
        .flatten()
        .map(|reference| (reference.clone(), owner(reader, &key.namespace, reference)))
        .collect();
    let dependents = reader
        .dependents(object.uid())
        .into_iter()
        .filter_map(|key| {
            let dependent = reader.object_at(&key)?;
            Some(Dependent { metadata: self::metadata(&dependent)?, key })
        })
        .collect();
    Some(Observed { key: key.clone(), metadata, owners, dependents })
}

fn owner(reader: &Reader, namespace: &str, reference: &OwnerReference) -> Owner {
    let Some((_, namespaced)) = resource_of(reader, reference) else { return Owner::Solid };
    if namespaced && namespace.is_empty() {
        // A cluster-wide object cannot be owned from within a namespace: such a reference says nothing.
        return Owner::Solid;
    }
    match find_owner(reader, namespace, reference) {
        None => Owner::Dangling,
        Some((_, owner)) if owner.meta().deletion_timestamp.is_none() => Owner::Solid,
        Some((_, owner)) if Head::of(&owner).has_finalizer(FOREGROUND) => Owner::Waiting,
        Some(_) => Owner::Solid,
    }
}

fn plan(observed: &Observed) -> Plan {
    let metadata = &observed.metadata;
    if metadata.deletion_timestamp.is_some() {
        if has(metadata, ORPHAN) {
            return orphan_dependents(observed);
        }
        if has(metadata, FOREGROUND) {
            return delete_dependents(observed);
        }
        return Plan::nothing("being deleted already");
    }
    let of = |kind: Owner| {
        observed.owners.iter().filter(move |(_, owner)| *owner == kind).map(|(owner, _)| owner)
    };
    let (dangling, waiting) = (of(Owner::Dangling).count(), of(Owner::Waiting).count());
    if observed.owners.is_empty() {
        return Plan::nothing("has no owner");
    }
    if of(Owner::Solid).next().is_some() {
        if dangling + waiting == 0 {
            return Plan::nothing("its owners are there");
        }
        let solid: Vec<&OwnerReference> = of(Owner::Solid).collect();
        let patch = merge_patch(metadata, json!({ "metadata": { "ownerReferences": solid } }));
        return act(vec![patch_of(&observed.key, patch)], "some of its owners are going");
    }
    if waiting > 0 && !observed.dependents.is_empty() {
        return delete_in_foreground(observed);
    }
    let propagation = if has(metadata, ORPHAN) {
        Propagation::Orphan
    } else if has(metadata, FOREGROUND) {
        Propagation::Foreground
    } else {
        Propagation::Background
    };
    act(vec![delete(observed, propagation)], "its owners are gone or wait for it to go")
}

fn act(actions: Vec<Action>, why: &str) -> Plan {
    Plan { actions, why: why.to_owned(), ..Plan::default() }
}

fn patch_of(key: &Key, patch: Value) -> Action {
    Action::Patch { key: key.clone(), subresource: None, patch, done: None }
}

fn delete(observed: &Observed, propagation: Propagation) -> Action {
    Action::Delete(Delete {
        key: observed.key.clone(),
        // Somebody may have adopted it meanwhile.
        resource_version: observed.metadata.resource_version.clone(),
        propagation,
        ..Delete::of(&observed.key.resource, &observed.metadata)
    })
}

fn without_finalizer(observed: &Observed, finalizer: &str) -> Action {
    let rest: Vec<&String> =
        observed.metadata.finalizers.iter().flatten().filter(|name| *name != finalizer).collect();
    let patch = json!({ "metadata": { "finalizers": rest } });
    patch_of(&observed.key, merge_patch(&observed.metadata, patch))
}

fn orphan_dependents(observed: &Observed) -> Plan {
    let uid = observed.metadata.uid.as_deref().unwrap_or_default();
    let mut actions: Vec<Action> = observed
        .dependents
        .iter()
        .map(|dependent| owners::release(&dependent.key.resource, &dependent.metadata, uid))
        .collect();
    let why = format!("orphaning {} dependents", actions.len());
    if actions.is_empty() {
        actions.push(without_finalizer(observed, ORPHAN));
    }
    Plan { wake: again_if(!observed.dependents.is_empty(), observed), ..act(actions, &why) }
}

/// Once the dependents are seen without the reference, the finalizer goes.
fn again_if(condition: bool, observed: &Observed) -> Vec<Key> {
    if condition { vec![observed.key.clone()] } else { Vec::new() }
}

fn delete_dependents(observed: &Observed) -> Plan {
    let uid = observed.metadata.uid.as_ref();
    let blocking: Vec<&Dependent> =
        observed.dependents.iter().filter(|dependent| dependent.blocks(uid)).collect();
    if blocking.is_empty() {
        return act(vec![without_finalizer(observed, FOREGROUND)], "no dependent blocks it");
    }
    Plan {
        why: format!("waiting for {} dependents", blocking.len()),
        wake: observed
            .dependents
            .iter()
            .filter(|dependent| dependent.metadata.deletion_timestamp.is_none())
            .map(|dependent| dependent.key.clone())
            .collect(),
        ..Plan::default()
    }
}

/// An owner waits for this object, which has dependents of its own: they go first.
fn delete_in_foreground(observed: &Observed) -> Plan {
    let mut actions = Vec::new();
    if observed.dependents.iter().any(Dependent::waits) {
        // A dependent waits too: there may be a circle. Nobody shall wait for this one.
        let open: Vec<OwnerReference> = observed
            .owners
            .iter()
            .map(|(owner, _)| OwnerReference {
                block_owner_deletion: owner.block_owner_deletion.map(|_| false),
                ..owner.clone()
            })
            .collect();
        let patch = json!({ "metadata": { "ownerReferences": open } });
        actions.push(patch_of(&observed.key, merge_patch(&observed.metadata, patch)));
    }
    actions.push(delete(observed, Propagation::Foreground));
    act(actions, "an owner waits for it, and it has dependents")
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::engine::show_plan;

    fn reference(uid: &str, block: bool) -> OwnerReference {
        OwnerReference {
            api_version: "apps/v1".to_owned(),
            kind: "ReplicaSet".to_owned(),
            name: uid.to_owned(),
            uid: uid.to_owned(),
            controller: None,
            block_owner_deletion: block.then_some(true),
        }
    }

    fn meta(text: &str) -> ObjectMeta {
        serde_yaml::from_str(text).unwrap()
    }

    fn check(
        metadata: &str,
        owners: &[(&str, Owner)],
        dependents: &[(&str, bool)],
        expected: Expect,
    ) {
        let dependents = dependents
            .iter()
            .map(|(text, block)| {
                let mut metadata = meta(text);
                metadata.owner_references = Some(vec![reference("x", *block)]);
                Dependent { key: Key::of("pods", &metadata), metadata }
            })
            .collect();
        let owners = owners.iter().map(|(uid, owner)| (reference(uid, true), *owner)).collect();
        let observed = Observed {
            key: Key::new("configmaps", "shop", "x"),
            metadata: meta(metadata),
            owners,
            dependents,
        };
        expected.assert_eq(&show_plan(&plan(&observed)));
    }

    const PLAIN: &str = "{name: x, namespace: shop, uid: x, resourceVersion: '5'}";
    const POD: &str = "{name: p, namespace: shop, uid: p, resourceVersion: '6'}";

    #[test]
    fn an_object_goes_when_all_its_owners_are_gone() {
        check(
            PLAIN,
            &[("a", Owner::Dangling)],
            &[],
            expect![[r#"
            delete configmaps/shop/x Background
            why its owners are gone or wait for it to go
        "#]],
        );
        check(
            PLAIN,
            &[("a", Owner::Solid)],
            &[],
            expect![[r#"
            why its owners are there
        "#]],
        );
        check(
            PLAIN,
            &[("a", Owner::Solid), ("b", Owner::Dangling)],
            &[],
            expect![[r#"
            patch configmaps/shop/x {"metadata":{"ownerReferences":[{"apiVersion":"apps/v1","blockOwnerDeletion":true,"kind":"ReplicaSet","name":"a","uid":"a"}],"resourceVersion":"5"}}
            why some of its owners are going
        "#]],
        );
        check(
            PLAIN,
            &[],
            &[],
            expect![[r#"
            why has no owner
        "#]],
        );
    }

    #[test]
    fn an_owner_in_the_foreground_waits_for_those_that_block_it() {
        let waiting = "{name: x, namespace: shop, uid: x, resourceVersion: '5', \
                       deletionTimestamp: '2026-01-01T00:00:00Z', finalizers: [foregroundDeletion, mine]}";
        check(
            waiting,
            &[],
            &[(POD, true)],
            expect![[r#"
            wake pods/shop/p
            why waiting for 1 dependents
        "#]],
        );
        check(
            waiting,
            &[],
            &[(POD, false)],
            expect![[r#"
            patch configmaps/shop/x {"metadata":{"finalizers":["mine"],"resourceVersion":"5"}}
            why no dependent blocks it
        "#]],
        );
        check(
            waiting,
            &[],
            &[],
            expect![[r#"
            patch configmaps/shop/x {"metadata":{"finalizers":["mine"],"resourceVersion":"5"}}
            why no dependent blocks it
        "#]],
        );
    }

    #[test]
    fn a_dependent_of_a_waiting_owner_goes_its_own_dependents_first() {
        check(
            PLAIN,
            &[("a", Owner::Waiting)],
            &[],
            expect![[r#"
            delete configmaps/shop/x Background
            why its owners are gone or wait for it to go
        "#]],
        );
        check(
            PLAIN,
            &[("a", Owner::Waiting)],
            &[(POD, true)],
            expect![[r#"
            delete configmaps/shop/x Foreground
            why an owner waits for it, and it has dependents
        "#]],
        );
        let circle = "{name: p, namespace: shop, uid: p, deletionTimestamp: '2026-01-01T00:00:00Z', \
                      finalizers: [foregroundDeletion]}";
        check(
            PLAIN,
            &[("a", Owner::Waiting)],
            &[(circle, true)],
            expect![[r#"
            patch configmaps/shop/x {"metadata":{"ownerReferences":[{"apiVersion":"apps/v1","blockOwnerDeletion":false,"kind":"ReplicaSet","name":"a","uid":"a"}],"resourceVersion":"5"}}
            delete configmaps/shop/x Foreground
            why an owner waits for it, and it has dependents
        "#]],
        );
    }

    #[test]
    fn orphans_lose_the_reference_and_stay() {
        let orphaning = "{name: x, namespace: shop, uid: x, resourceVersion: '5', \
                         deletionTimestamp: '2026-01-01T00:00:00Z', finalizers: [orphan]}";
        check(
            orphaning,
            &[],
            &[(POD, true)],
            expect![[r#"
            patch pods/shop/p {"metadata":{"ownerReferences":[],"resourceVersion":"6"}}
            wake configmaps/shop/x
            why orphaning 1 dependents
        "#]],
        );
        check(
            orphaning,
            &[],
            &[],
            expect![[r#"
            patch configmaps/shop/x {"metadata":{"finalizers":[],"resourceVersion":"5"}}
            why orphaning 0 dependents
        "#]],
        );
    }
}
