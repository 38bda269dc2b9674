//! A claim that a pod on a node uses stays, though it be deleted, until the pod is gone.
//!
//! Source of the behaviour: upstream's `pkg/controller/volume/pvcprotection`.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Volume};

use super::pods::{PODS, node};
use super::protection;
use crate::admission::storage_object_in_use_protection::CLAIM_FINALIZER;
use crate::engine::{Change, Context, Controller, Key, Needs, Plan, Reader};

const CLAIMS: &str = "persistentvolumeclaims";

/// See the module's documentation.
pub(super) struct PvcProtection;

impl Controller for PvcProtection {
    fn name(&self) -> &'static str {
        "persistentvolumeclaim-protection-controller"
    }

    fn observes(&self) -> &'static [&'static str] {
        &[CLAIMS, PODS]
    }

    fn keys(&self, reader: &Reader, change: &Change) -> Vec<Key> {
        let object = &change.object;
        let namespace = object.namespace();
        if &*change.resource == CLAIMS {
            if change.deleted {
                return Vec::new();
            }
            return vec![Key::new(CLAIMS, namespace, object.name())];
        }
        // Only the end of a pod, or its last moments, can free a claim.
        if !change.deleted && object.meta().deletion_timestamp.is_none() {
            return Vec::new();
        }
        let leaves = |key: &Key| {
            let claim = reader.object_at(key);
            claim.is_some_and(|claim| claim.meta().deletion_timestamp.is_some())
        };
        let Some(pod) = object.view::<Pod>() else { return Vec::new() };
        let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
        let names = volumes.filter_map(|volume| claim_name(&pod, volume));
        names.map(|name| Key::new(CLAIMS, namespace, &name)).filter(leaves).collect()
    }

    /// Pods are looked for in a cache that knows at least what was when the claim was deleted: from
    /// then on no node starts one that uses it.
    fn needs(&self, reader: &Reader, key: &Key) -> Needs {
        let claim = reader.object_at(key);
        Needs(claim.into_iter().map(|claim| (PODS.into(), claim.revision)).collect())
    }

    fn plan(&self, context: &Context<'_>, key: &Key) -> Plan {
        let claim: Option<Arc<PersistentVolumeClaim>> = context.reader.at(key);
        let Some(claim) = claim else { return Plan::nothing("gone") };
        let deleted = claim.metadata.deletion_timestamp.is_some();
        let pods: Vec<Arc<Pod>> =
            if deleted { context.reader.list(PODS, Some(&key.namespace)) } else { Vec::new() };
        plan(key, &claim, &pods)
    }
}

fn plan(key: &Key, claim: &PersistentVolumeClaim, pods: &[Arc<Pod>]) -> Plan {
    protection::plan(key, &claim.metadata, CLAIM_FINALIZER, || {
        let user = pods.iter().find(|pod| uses(pod, claim))?;
        Some(format!("pod {}", user.metadata.name.as_deref().unwrap_or_default()))
    })
}

/// The claim that a volume is of: the one that it names, or the one that is made for it.
fn claim_name(pod: &Pod, volume: &Volume) -> Option<String> {
    if let Some(claim) = &volume.persistent_volume_claim {
        return Some(claim.claim_name.clone());
    }
    volume.ephemeral.as_ref()?;
    Some(format!("{}-{}", pod.metadata.name.as_deref().unwrap_or_default(), volume.name))
}

/// Whether a pod that has a node uses the claim. A node starts no pod whose claim is deleted.
fn uses(pod: &Pod, claim: &PersistentVolumeClaim) -> bool {
    let name = claim.metadata.name.as_ref();
    let owned = || {
        let owners = claim.metadata.owner_references.iter().flatten();
        owners.into_iter().any(|owner| Some(&owner.uid) == pod.metadata.uid.as_ref())
    };
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    node(pod).is_some()
        && volumes.into_iter().any(|volume| {
            claim_name(pod, volume).as_ref() == name
                && (volume.ephemeral.is_none() || (owned() && !is_shut_down(pod)))
        })
}

/// Whether the node is done with the pod.
fn is_shut_down(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
        && pod.metadata.deletion_grace_period_seconds == Some(0)
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::engine::show_plan;

    const DELETED: &str = "{metadata: {name: web-data, namespace: shop, resourceVersion: '5',
        deletionTimestamp: '2026-01-01T00:00:00Z', finalizers: [kubernetes.io/pvc-protection],
        ownerReferences: [{apiVersion: v1, kind: Pod, name: web, uid: u1}]}}";

    fn check(pod: &str, expected: Expect) {
        let claim = serde_yaml::from_str(DELETED).unwrap();
        let pods = [Arc::new(serde_yaml::from_str(pod).unwrap())];
        let key = Key::new(CLAIMS, "shop", "web-data");
        expected.assert_eq(&show_plan(&plan(&key, &claim, &pods)));
    }

    #[test]
    fn a_claim_stays_while_a_pod_on_a_node_uses_it() {
        let free = || {
            expect![[r#"
                patch persistentvolumeclaims/shop/web-data {"metadata":{"finalizers":[],"resourceVersion":"5"}}
                why deleted, and not used
            "#]]
        };
        let used = || {
            expect![[r#"
                why used by pod web
            "#]]
        };
        let named = "{name: v, persistentVolumeClaim: {claimName: web-data}}";
        let made = "{name: data, ephemeral: {volumeClaimTemplate: {spec: {}}}}";
        let pod = |uid: &str, rest: &str, volume: &str| {
            format!(
                "{{metadata: {{name: web, uid: {uid}{rest}}},
                   spec: {{nodeName: n, containers: [], volumes: [{volume}]}}}}"
            )
        };
        check(&pod("u1", "", named), used());
        check(&pod("u1", "", named).replace("nodeName: n,", ""), free());
        check(&pod("u1", "", named).replace("web-data", "other"), free());
        check(&pod("u1", "", made), used());
        check(&pod("u2", "", made), free());
        let over = ", deletionTimestamp: '2026-01-01T00:00:00Z', deletionGracePeriodSeconds: 0";
        check(&pod("u1", over, made), free());
        check(&pod("u1", over, named), used());
    }
}
