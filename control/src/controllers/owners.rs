//! Controller references: who controls an object, who may adopt it, who lets it go.
//!
//! Source: upstream's `controller_ref_manager.go`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use k8s_openapi::{Metadata, Resource};
use serde_json::json;

use super::selectors;
use crate::engine::{Action, Key, merge_patch};

/// What a controller does about an object that it owns or that matches its selector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// It is its own already.
    Own,
    /// It matches and nobody controls it.
    Adopt,
    /// It is its own but matches no more.
    Release,
    /// It is none of its business.
    Leave,
}

pub(super) fn controller_of(metadata: &ObjectMeta) -> Option<&OwnerReference> {
    metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

pub(super) fn is_controlled_by(metadata: &ObjectMeta, uid: Option<&str>) -> bool {
    uid.is_some() && controller_of(metadata).map(|owner| owner.uid.as_str()) == uid
}

/// The reference that makes `owner` the controller of what bears it.
pub(super) fn controller_reference<T>(owner: &T) -> OwnerReference
where
    T: Resource + Metadata<Ty = ObjectMeta>,
{
    let metadata = owner.metadata();
    OwnerReference {
        api_version: T::API_VERSION.to_owned(),
        kind: T::KIND.to_owned(),
        name: metadata.name.clone().unwrap_or_default(),
        uid: metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

pub(super) fn claim(owner: &ObjectMeta, selector: &LabelSelector, object: &ObjectMeta) -> Claim {
    let matches = selectors::matches(selector, object.labels.as_ref());
    let owner_leaves = owner.deletion_timestamp.is_some();
    match controller_of(object) {
        Some(controller) if Some(&controller.uid) != owner.uid.as_ref() => Claim::Leave,
        Some(_) if matches => Claim::Own,
        Some(_) if owner_leaves => Claim::Leave,
        Some(_) => Claim::Release,
        None if matches && !owner_leaves && object.deletion_timestamp.is_none() => Claim::Adopt,
        None => Claim::Leave,
    }
}

pub(super) fn adopt(resource: &str, object: &ObjectMeta, owner: &OwnerReference) -> Action {
    let mut owners = object.owner_references.clone().unwrap_or_default();
    owners.push(owner.clone());
    set_owners(resource, object, &owners)
}

/// Takes the reference to `uid` away.
pub(super) fn release(resource: &str, object: &ObjectMeta, uid: &str) -> Action {
    let mut owners = object.owner_references.clone().unwrap_or_default();
    owners.retain(|owner| owner.uid != uid);
    set_owners(resource, object, &owners)
}

fn set_owners(resource: &str, object: &ObjectMeta, owners: &[OwnerReference]) -> Action {
    // The whole list, guarded by the resourceVersion: a merge patch replaces lists.
    let patch = merge_patch(object, json!({ "metadata": { "ownerReferences": owners } }));
    Action::Patch { key: Key::of(resource, object), subresource: None, patch, done: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(owner: &str, object: &str) -> Claim {
        let selector = serde_yaml::from_str("{matchLabels: {app: web}}").unwrap();
        let metadata = |text: &str| serde_yaml::from_str::<ObjectMeta>(text).unwrap();
        claim(&metadata(owner), &selector, &metadata(object))
    }

    #[test]
    fn orphans_that_match_are_adopted_and_strays_released() {
        let mine =
            "ownerReferences: [{apiVersion: v1, kind: A, name: a, uid: me, controller: true}]";
        let other =
            "ownerReferences: [{apiVersion: v1, kind: A, name: a, uid: you, controller: true}]";
        let deleted = "deletionTimestamp: '2026-01-01T00:00:00Z'";
        assert_eq!(check("{uid: me}", "{labels: {app: web}}"), Claim::Adopt);
        assert_eq!(check("{uid: me}", "{labels: {app: db}}"), Claim::Leave);
        assert_eq!(check("{uid: me}", &format!("{{labels: {{app: web}}, {mine}}}")), Claim::Own);
        assert_eq!(check("{uid: me}", &format!("{{labels: {{app: db}}, {mine}}}")), Claim::Release);
        assert_eq!(check("{uid: me}", &format!("{{labels: {{app: web}}, {other}}}")), Claim::Leave);
        assert_eq!(check(&format!("{{uid: me, {deleted}}}"), "{labels: {app: web}}"), Claim::Leave);
        assert_eq!(
            check("{uid: me}", &format!("{{labels: {{app: web}}, {deleted}}}")),
            Claim::Leave
        );
    }
}
