//! A class of volumes' attributes that a claim or a volume has stays, though it be deleted.
//!
//! Source of the behaviour: upstream's `pkg/controller/volume/vacprotection`.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::VolumeAttributesClass;

use super::protection;
use crate::admission::storage_object_in_use_protection::ATTRIBUTES_FINALIZER;
use crate::engine::{Change, Context, Controller, Key, Needs, Plan, Reader};

const CLASSES: &str = "volumeattributesclasses.storage.k8s.io";
const VOLUMES: &str = "persistentvolumes";
const CLAIMS: &str = "persistentvolumeclaims";

/// See the module's documentation.
pub(super) struct VacProtection;

impl Controller for VacProtection {
    fn name(&self) -> &'static str {
        "volumeattributesclass-protection-controller"
    }

    fn observes(&self) -> &'static [&'static str] {
        &[CLAIMS, CLASSES, VOLUMES]
    }

    fn keys(&self, reader: &Reader, change: &Change) -> Vec<Key> {
        if &*change.resource == CLASSES {
            if change.deleted {
                return Vec::new();
            }
            return vec![Key::new(CLASSES, "", change.object.name())];
        }
        // A claim or a volume that changed may have used any class that waits to go.
        let classes = reader.objects(CLASSES, None);
        let leaving = classes.iter().filter(|class| class.meta().deletion_timestamp.is_some());
        leaving.map(|class| Key::new(CLASSES, "", class.name())).collect()
    }

    /// Users are looked for in caches that know at least what was when the class was deleted.
    fn needs(&self, reader: &Reader, key: &Key) -> Needs {
        let Some(class) = reader.object_at(key) else { return Needs::default() };
        Needs([CLAIMS, VOLUMES].map(|resource| (resource.into(), class.revision)).to_vec())
    }

    fn plan(&self, context: &Context<'_>, key: &Key) -> Plan {
        let class: Option<Arc<VolumeAttributesClass>> = context.reader.at(key);
        let Some(class) = class else { return Plan::nothing("gone") };
        if class.metadata.deletion_timestamp.is_none() {
            return plan(key, &class, &[], &[]);
        }
        let volumes: Vec<Arc<PersistentVolume>> = context.reader.list(VOLUMES, None);
        let claims: Vec<Arc<PersistentVolumeClaim>> = context.reader.list(CLAIMS, None);
        plan(key, &class, &volumes, &claims)
    }
}

fn plan(
    key: &Key,
    class: &VolumeAttributesClass,
    volumes: &[Arc<PersistentVolume>],
    claims: &[Arc<PersistentVolumeClaim>],
) -> Plan {
    let name = Some(&*key.name);
    protection::plan(key, &class.metadata, ATTRIBUTES_FINALIZER, || {
        let volume = volumes.iter().any(|volume| {
            let spec = volume.spec.as_ref();
            spec.and_then(|spec| spec.volume_attributes_class_name.as_deref()) == name
        });
        let claim = claims.iter().any(|claim| names(claim).any(|used| Some(used) == name));
        match (volume, claim) {
            (true, _) => Some("a volume".to_owned()),
            (_, true) => Some("a claim".to_owned()),
            _ => None,
        }
    })
}

/// The classes that a claim asks for, has, and is to get.
fn names(claim: &PersistentVolumeClaim) -> impl Iterator<Item = &str> {
    let spec = claim.spec.as_ref();
    let status = claim.status.as_ref();
    let target = status.and_then(|status| status.modify_volume_status.as_ref());
    [
        spec.and_then(|spec| spec.volume_attributes_class_name.as_deref()),
        status.and_then(|status| status.current_volume_attributes_class_name.as_deref()),
        target.and_then(|target| target.target_volume_attributes_class_name.as_deref()),
    ]
    .into_iter()
    .flatten()
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::engine::show_plan;

    fn check(claim: &str, expected: Expect) {
        let class = "{metadata: {name: gold, resourceVersion: '5', finalizers: [kubernetes.io/vac-protection],
                      deletionTimestamp: '2026-01-01T00:00:00Z'}, driverName: x}";
        let class = serde_yaml::from_str(class).unwrap();
        let claims = [Arc::new(serde_yaml::from_str(claim).unwrap())];
        let key = Key::new(CLASSES, "", "gold");
        expected.assert_eq(&show_plan(&plan(&key, &class, &[], &claims)));
    }

    #[test]
    fn a_class_stays_while_a_claim_has_it() {
        check(
            "{metadata: {name: a}, status: {currentVolumeAttributesClassName: gold}}",
            expect![[r#"
            why used by a claim
        "#]],
        );
        check(
            "{metadata: {name: a}, spec: {volumeAttributesClassName: silver}}",
            expect![[r#"
            patch volumeattributesclasses.storage.k8s.io/gold {"metadata":{"finalizers":[],"resourceVersion":"5"}}
            why deleted, and not used
        "#]],
        );
    }
}
