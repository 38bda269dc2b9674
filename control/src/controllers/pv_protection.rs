//! A volume that is bound to a claim stays, though it be deleted, until it is bound no more.
//!
//! Source of the behaviour: upstream's `pkg/controller/volume/pvprotection`.

use std::sync::Arc;

use k8s_openapi::api::core::v1::PersistentVolume;

use super::protection;
use crate::admission::storage_object_in_use_protection::VOLUME_FINALIZER;
use crate::engine::{Change, Context, Controller, Key, Plan, Reader};

const VOLUMES: &str = "persistentvolumes";

/// See the module's documentation.
pub(super) struct PvProtection;

impl Controller for PvProtection {
    fn name(&self) -> &'static str {
        "persistentvolume-protection-controller"
    }

    fn observes(&self) -> &'static [&'static str] {
        &[VOLUMES]
    }

    fn keys(&self, _reader: &Reader, change: &Change) -> Vec<Key> {
        if change.deleted {
            return Vec::new();
        }
        vec![Key::new(VOLUMES, "", change.object.name())]
    }

    fn plan(&self, context: &Context<'_>, key: &Key) -> Plan {
        let volume: Option<Arc<PersistentVolume>> = context.reader.at(key);
        match volume {
            Some(volume) => plan(key, &volume),
            None => Plan::nothing("gone"),
        }
    }
}

fn plan(key: &Key, volume: &PersistentVolume) -> Plan {
    protection::plan(key, &volume.metadata, VOLUME_FINALIZER, || {
        let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref());
        (phase == Some("Bound")).then(|| "its claim".to_owned())
    })
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::engine::show_plan;

    fn check(volume: &str, expected: Expect) {
        let volume = serde_yaml::from_str(volume).unwrap();
        expected.assert_eq(&show_plan(&plan(&Key::new(VOLUMES, "", "disk"), &volume)));
    }

    #[test]
    fn a_bound_volume_stays() {
        let deleted = "{metadata: {name: disk, resourceVersion: '5', deletionTimestamp: '2026-01-01T00:00:00Z',
                        finalizers: [mine, kubernetes.io/pv-protection]}, status: {phase: PHASE}}";
        check(
            &deleted.replace("PHASE", "Bound"),
            expect![[r#"
            why used by its claim
        "#]],
        );
        check(
            &deleted.replace("PHASE", "Released"),
            expect![[r#"
            patch persistentvolumes/disk {"metadata":{"finalizers":["mine"],"resourceVersion":"5"}}
            why deleted, and not used
        "#]],
        );
    }

    #[test]
    fn a_volume_that_stays_is_protected() {
        check(
            "{metadata: {name: disk, resourceVersion: '5'}, status: {phase: Pending}}",
            expect![[r#"
            patch persistentvolumes/disk {"metadata":{"finalizers":["kubernetes.io/pv-protection"],"resourceVersion":"5"}}
            why not protected
        "#]],
        );
        check(
            "{metadata: {name: disk, finalizers: [kubernetes.io/pv-protection]}}",
            expect![[r#"
            why as it should be
        "#]],
        );
    }
}
