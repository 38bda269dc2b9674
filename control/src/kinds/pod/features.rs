//! What upstream drops of pods because its features are off unless asked for (1.36).
//!
//! Who used such a field before may go on to. Source: `DropDisabledPodFields` in
//! `pkg/api/pod/util.go`. Off are: ClusterTrustBundleProjection, PodCertificateRequest,
//! GenericWorkload, ContainerStopSignals, ImageVolumeWithDigest, DRANodeAllocatableResources.

use k8s_openapi::api::core::v1::{
    ContainerStatus, Lifecycle, PodSpec, PodStatus, VolumeProjection,
};

/// Drops what of a spec is switched off, unless the old one has it.
pub fn drop_disabled(spec: &mut PodSpec, old: Option<&PodSpec>) {
    let uses = |test: fn(&VolumeProjection) -> bool| old.is_some_and(|old| projections(old).any(test));
    let bundles = uses(|source| source.cluster_trust_bundle.is_some());
    let certificates = uses(|source| source.pod_certificate.is_some());
    let volumes = spec.volumes.iter_mut().flatten().filter_map(|volume| volume.projected.as_mut());
    for source in volumes.flat_map(|projected| projected.sources.iter_mut().flatten()) {
        if !bundles {
            source.cluster_trust_bundle = None;
        }
        if !certificates {
            source.pod_certificate = None;
        }
    }
    if old.is_none_or(|old| old.scheduling_group.is_none()) {
        spec.scheduling_group = None;
    }
    if !old.is_some_and(sends_signals) {
        drop_signals(spec);
    }
}

/// The same of a status.
pub fn drop_disabled_status(status: &mut PodStatus, old: &PodStatus) {
    if !statuses(old).any(tells_digests) {
        let lists = [
            &mut status.container_statuses,
            &mut status.init_container_statuses,
            &mut status.ephemeral_container_statuses,
        ];
        let containers = lists.into_iter().flat_map(|list| list.iter_mut().flatten());
        for mount in containers.flat_map(|status| status.volume_mounts.iter_mut().flatten()) {
            mount.volume_status = None;
        }
    }
    let claims = &old.node_allocatable_resource_claim_statuses;
    if claims.as_ref().is_none_or(Vec::is_empty) {
        status.node_allocatable_resource_claim_statuses = None;
    }
}

fn projections(spec: &PodSpec) -> impl Iterator<Item = &VolumeProjection> {
    let volumes = spec.volumes.iter().flatten().filter_map(|volume| volume.projected.as_ref());
    volumes.flat_map(|projected| projected.sources.iter().flatten())
}

fn statuses(status: &PodStatus) -> impl Iterator<Item = &ContainerStatus> {
    let lists = [
        &status.container_statuses,
        &status.init_container_statuses,
        &status.ephemeral_container_statuses,
    ];
    lists.into_iter().flat_map(|list| list.iter().flatten())
}

fn tells_digests(status: &ContainerStatus) -> bool {
    status.volume_mounts.iter().flatten().any(|mount| mount.volume_status.is_some())
}

fn sends_signals(spec: &PodSpec) -> bool {
    let sends = |lifecycle: &Option<Lifecycle>| {
        lifecycle.as_ref().is_some_and(|lifecycle| lifecycle.stop_signal.is_some())
    };
    spec.containers.iter().any(|container| sends(&container.lifecycle))
        || spec.init_containers.iter().flatten().any(|container| sends(&container.lifecycle))
        || spec.ephemeral_containers.iter().flatten().any(|container| sends(&container.lifecycle))
}

fn drop_signals(spec: &mut PodSpec) {
    let drop = |lifecycle: &mut Option<Lifecycle>| {
        let Some(hooks) = lifecycle else { return };
        // Hooks that were empty before stay so.
        if hooks.stop_signal.take().is_some() && *hooks == Lifecycle::default() {
            *lifecycle = None;
        }
    };
    let inits = spec.init_containers.iter_mut().flatten();
    inits.chain(&mut spec.containers).for_each(|container| drop(&mut container.lifecycle));
    let ephemeral = spec.ephemeral_containers.iter_mut().flatten();
    ephemeral.for_each(|container| drop(&mut container.lifecycle));
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn spec(value: Value) -> PodSpec {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn what_is_off_is_dropped_unless_it_was_there() {
        let with = || {
            spec(json!({
                "schedulingGroup": {"podGroupName": "g"},
                "containers": [{"name": "a", "lifecycle": {"stopSignal": "SIGTERM"}}],
                "volumes": [{"name": "v", "projected": {"sources": [
                    {"clusterTrustBundle": {"path": "p"}},
                    {"podCertificate": {"signerName": "s", "keyType": "k"}},
                    {"secret": {"name": "s"}},
                ]}}],
            }))
        };
        let mut new = with();
        drop_disabled(&mut new, None);
        let dropped = spec(json!({
            "containers": [{"name": "a"}],
            "volumes": [{"name": "v", "projected": {"sources": [{}, {}, {"secret": {"name": "s"}}]}}],
        }));
        assert_eq!(new, dropped);
        let mut kept = with();
        drop_disabled(&mut kept, Some(&with()));
        assert_eq!(kept, with());
    }

    #[test]
    fn a_status_tells_no_digests_of_volumes() {
        let with = |told: bool| -> PodStatus {
            let mut mount = json!({"name": "v", "mountPath": "/v"});
            if told {
                mount["volumeStatus"] = json!({"image": {"imageRef": "x"}});
            }
            serde_json::from_value(json!({"containerStatuses": [{
                "name": "a", "image": "i", "imageID": "", "ready": true, "restartCount": 0,
                "volumeMounts": [mount],
            }]}))
            .unwrap()
        };
        let mut new = with(true);
        drop_disabled_status(&mut new, &with(false));
        assert_eq!(new, with(false));
        let mut new = with(true);
        drop_disabled_status(&mut new, &with(true));
        assert_eq!(new, with(true));
    }
}
