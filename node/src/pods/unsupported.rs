//! What a pod may ask for that this node cannot give: refused by name, or ignored with a warning.
//!
//! The table below is the whole policy. A field that is in neither the table nor the code that
//! honours it is a mistake. Pure.

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, Volume};

/// The reason of the event, the phase and the condition of a refused pod.
pub const REFUSE_REASON: &str = "UnsupportedField";
/// The reason of the event about a field without effect.
pub const WARN_REASON: &str = "IgnoredField";

/// What is done about a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The pod would not be what was asked for: it is not run.
    Refuse,
    /// Upstream workloads set it as a matter of course, and nothing is lost without it.
    Warn,
}

/// A field that is not honoured.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    pub verdict: Verdict,
    pub message: String,
}

type PodTest = fn(&PodSpec) -> bool;
type ContainerTest = fn(&Container) -> bool;
type VolumeTest = fn(&Volume) -> bool;

use Verdict::{Refuse, Warn};

const POD: &[(&str, PodTest, Verdict)] = &[
    ("spec.dnsConfig", |s| s.dns_config.is_some(), Warn),
    ("spec.dnsPolicy", |s| s.dns_policy.as_deref().is_some_and(|p| p != "ClusterFirst"), Warn),
    ("spec.ephemeralContainers", |s| some(&s.ephemeral_containers), Refuse),
    ("spec.hostIPC", |s| s.host_ipc == Some(true), Refuse),
    ("spec.hostNetwork", |s| s.host_network == Some(true), Refuse),
    ("spec.hostPID", |s| s.host_pid == Some(true), Refuse),
    ("spec.hostUsers", |s| s.host_users.is_some(), Warn),
    ("spec.imagePullSecrets", |s| some(&s.image_pull_secrets), Warn),
    ("spec.initContainers", |s| some(&s.init_containers), Refuse),
    ("spec.os", |s| s.os.as_ref().is_some_and(|os| os.name == "windows"), Refuse),
    ("spec.resourceClaims", |s| some(&s.resource_claims), Refuse),
    ("spec.resources", |s| s.resources.is_some(), Refuse),
    ("spec.runtimeClassName", |s| s.runtime_class_name.is_some(), Warn),
    ("spec.securityContext.fsGroup", |s| security(s, |c| c.fs_group.is_some()), Warn),
    ("spec.securityContext.runAsGroup", |s| security(s, |c| c.run_as_group.is_some()), Warn),
    ("spec.securityContext.runAsNonRoot", |s| security(s, |c| c.run_as_non_root.is_some()), Warn),
    ("spec.securityContext.runAsUser", |s| security(s, |c| c.run_as_user.is_some()), Warn),
    (
        "spec.securityContext.seLinuxOptions",
        |s| security(s, |c| c.se_linux_options.is_some()),
        Warn,
    ),
    (
        "spec.securityContext.supplementalGroups",
        |s| security(s, |c| some(&c.supplemental_groups)),
        Warn,
    ),
    ("spec.securityContext.sysctls", |s| security(s, |c| some(&c.sysctls)), Refuse),
    (
        "spec.securityContext.windowsOptions",
        |s| security(s, |c| c.windows_options.is_some()),
        Refuse,
    ),
    ("spec.shareProcessNamespace", |s| s.share_process_namespace == Some(true), Refuse),
];

const CONTAINER: &[(&str, ContainerTest, Verdict)] = &[
    ("lifecycle.postStart", |c| lifecycle(c, |l| l.post_start.is_some()), Refuse),
    ("lifecycle.preStop", |c| lifecycle(c, |l| l.pre_stop.is_some()), Refuse),
    ("lifecycle.stopSignal", |c| lifecycle(c, |l| l.stop_signal.is_some()), Warn),
    ("livenessProbe.exec", |c| probe(&c.liveness_probe, |p| p.exec.is_some()), Refuse),
    ("livenessProbe.grpc", |c| probe(&c.liveness_probe, |p| p.grpc.is_some()), Refuse),
    ("livenessProbe.httpGet.scheme", |c| probe(&c.liveness_probe, is_https), Refuse),
    ("ports.hostPort", has_host_port, Refuse),
    ("readinessProbe.exec", |c| probe(&c.readiness_probe, |p| p.exec.is_some()), Refuse),
    ("readinessProbe.grpc", |c| probe(&c.readiness_probe, |p| p.grpc.is_some()), Refuse),
    ("readinessProbe.httpGet.scheme", |c| probe(&c.readiness_probe, is_https), Refuse),
    ("resources.claims", |c| c.resources.as_ref().is_some_and(|r| some(&r.claims)), Refuse),
    ("restartPolicyRules", |c| some(&c.restart_policy_rules), Refuse),
    ("securityContext.capabilities", adds_capabilities, Refuse),
    (
        "securityContext.privileged",
        |c| c.security_context.as_ref().is_some_and(|s| s.privileged == Some(true)),
        Refuse,
    ),
    (
        "securityContext.runAsNonRoot",
        |c| c.security_context.as_ref().is_some_and(|s| s.run_as_non_root.is_some()),
        Warn,
    ),
    (
        "securityContext.runAsUser",
        |c| c.security_context.as_ref().is_some_and(|s| s.run_as_user.is_some()),
        Warn,
    ),
    (
        "securityContext.windowsOptions",
        |c| c.security_context.as_ref().is_some_and(|s| s.windows_options.is_some()),
        Refuse,
    ),
    ("startupProbe.exec", |c| probe(&c.startup_probe, |p| p.exec.is_some()), Refuse),
    ("startupProbe.grpc", |c| probe(&c.startup_probe, |p| p.grpc.is_some()), Refuse),
    ("startupProbe.httpGet.scheme", |c| probe(&c.startup_probe, is_https), Refuse),
    ("stdin", |c| c.stdin == Some(true), Warn),
    ("tty", |c| c.tty == Some(true), Warn),
    ("volumeDevices", |c| some(&c.volume_devices), Refuse),
    ("volumeMounts.mountPropagation", |c| mounts(c, propagates), Refuse),
    ("volumeMounts.recursiveReadOnly", |c| mounts(c, recursive), Refuse),
    ("volumeMounts.subPath", |c| mounts(c, |m| m.sub_path.is_some()), Refuse),
    ("volumeMounts.subPathExpr", |c| mounts(c, |m| m.sub_path_expr.is_some()), Refuse),
];

const VOLUME: &[(&str, VolumeTest, Verdict)] = &[
    ("awsElasticBlockStore", |v| v.aws_elastic_block_store.is_some(), Refuse),
    ("azureDisk", |v| v.azure_disk.is_some(), Refuse),
    ("azureFile", |v| v.azure_file.is_some(), Refuse),
    ("cephfs", |v| v.cephfs.is_some(), Refuse),
    ("cinder", |v| v.cinder.is_some(), Refuse),
    ("csi", |v| v.csi.is_some(), Refuse),
    ("downwardAPI", |v| v.downward_api.is_some(), Refuse),
    // Kept on disk: what a pod writes there does not count against its memory.
    ("emptyDir.medium", |v| medium(v) == "Memory", Warn),
    ("emptyDir.medium", |v| !matches!(medium(v), "" | "Memory"), Refuse),
    (
        "emptyDir.sizeLimit",
        |v| v.empty_dir.as_ref().is_some_and(|e| e.size_limit.is_some()),
        Refuse,
    ),
    ("ephemeral", |v| v.ephemeral.is_some(), Refuse),
    ("fc", |v| v.fc.is_some(), Refuse),
    ("flexVolume", |v| v.flex_volume.is_some(), Refuse),
    ("flocker", |v| v.flocker.is_some(), Refuse),
    ("gcePersistentDisk", |v| v.gce_persistent_disk.is_some(), Refuse),
    ("gitRepo", |v| v.git_repo.is_some(), Refuse),
    ("glusterfs", |v| v.glusterfs.is_some(), Refuse),
    ("hostPath", |v| v.host_path.is_some(), Refuse),
    ("image", |v| v.image.is_some(), Refuse),
    ("iscsi", |v| v.iscsi.is_some(), Refuse),
    ("nfs", |v| v.nfs.is_some(), Refuse),
    ("persistentVolumeClaim", |v| v.persistent_volume_claim.is_some(), Refuse),
    ("photonPersistentDisk", |v| v.photon_persistent_disk.is_some(), Refuse),
    ("portworxVolume", |v| v.portworx_volume.is_some(), Refuse),
    ("projected", |v| v.projected.is_some(), Refuse),
    ("quobyte", |v| v.quobyte.is_some(), Refuse),
    ("rbd", |v| v.rbd.is_some(), Refuse),
    ("scaleIO", |v| v.scale_io.is_some(), Refuse),
    ("storageos", |v| v.storageos.is_some(), Refuse),
    ("vsphereVolume", |v| v.vsphere_volume.is_some(), Refuse),
];

/// All fields of a pod that are not honoured, refusals and warnings.
pub fn problems(pod: &Pod) -> Vec<Problem> {
    let Some(spec) = pod.spec.as_ref() else { return Vec::new() };
    let mut found = Vec::new();
    for (path, test, verdict) in POD {
        if test(spec) {
            found.push(problem(path, *verdict));
        }
    }
    for (index, volume) in spec.volumes.iter().flatten().enumerate() {
        for (path, test, verdict) in VOLUME {
            if test(volume) {
                found.push(problem(&format!("spec.volumes[{index}].{path}"), *verdict));
            }
        }
    }
    for (index, container) in spec.containers.iter().enumerate() {
        for (path, test, verdict) in CONTAINER {
            if test(container) {
                found.push(problem(&format!("spec.containers[{index}].{path}"), *verdict));
            }
        }
        env_problems(index, container, &mut found);
    }
    found
}

fn env_problems(index: usize, container: &Container, found: &mut Vec<Problem>) {
    for (at, variable) in container.env.iter().flatten().enumerate() {
        if variable.value_from.as_ref().is_some_and(|from| from.file_key_ref.is_some()) {
            let path = format!("spec.containers[{index}].env[{at}].valueFrom.fileKeyRef");
            found.push(problem(&path, Refuse));
        }
    }
}

fn problem(path: &str, verdict: Verdict) -> Problem {
    let message = match verdict {
        Refuse => format!("{path} is not supported by Copepod yet"),
        Warn => format!("{path} has no effect on Copepod"),
    };
    Problem { verdict, message }
}

fn some<T>(list: &Option<Vec<T>>) -> bool {
    list.as_ref().is_some_and(|list| !list.is_empty())
}

fn security(
    spec: &PodSpec,
    test: fn(&k8s_openapi::api::core::v1::PodSecurityContext) -> bool,
) -> bool {
    spec.security_context.as_ref().is_some_and(test)
}

fn lifecycle(
    container: &Container,
    test: fn(&k8s_openapi::api::core::v1::Lifecycle) -> bool,
) -> bool {
    container.lifecycle.as_ref().is_some_and(test)
}

fn probe(
    probe: &Option<k8s_openapi::api::core::v1::Probe>,
    test: fn(&k8s_openapi::api::core::v1::Probe) -> bool,
) -> bool {
    probe.as_ref().is_some_and(test)
}

fn mounts(
    container: &Container,
    test: fn(&k8s_openapi::api::core::v1::VolumeMount) -> bool,
) -> bool {
    container.volume_mounts.iter().flatten().any(test)
}

fn is_https(probe: &k8s_openapi::api::core::v1::Probe) -> bool {
    probe.http_get.as_ref().is_some_and(|get| get.scheme.as_deref() == Some("HTTPS"))
}

fn medium(volume: &Volume) -> &str {
    volume.empty_dir.as_ref().and_then(|source| source.medium.as_deref()).unwrap_or_default()
}

fn propagates(mount: &k8s_openapi::api::core::v1::VolumeMount) -> bool {
    mount.mount_propagation.as_deref().is_some_and(|mode| mode != "None")
}

fn recursive(mount: &k8s_openapi::api::core::v1::VolumeMount) -> bool {
    mount.recursive_read_only.as_deref() == Some("Enabled")
}

fn has_host_port(container: &Container) -> bool {
    container.ports.iter().flatten().any(|port| port.host_port.is_some_and(|port| port != 0))
}

/// Dropping capabilities is harmless: a sandbox has none.
fn adds_capabilities(container: &Container) -> bool {
    let capabilities =
        container.security_context.as_ref().and_then(|context| context.capabilities.as_ref());
    capabilities.is_some_and(|capabilities| some(&capabilities.add))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn messages(spec: serde_json::Value) -> Vec<String> {
        let pod: Pod = serde_json::from_value(json!({ "metadata": {}, "spec": spec })).unwrap();
        problems(&pod).into_iter().map(|problem| problem.message).collect()
    }

    #[test]
    fn a_plain_pod_has_no_problems() {
        let spec = json!({
            "containers": [{
                "name": "a", "image": "x",
                "ports": [{ "containerPort": 80 }],
                "volumeMounts": [{ "name": "v", "mountPath": "/v", "readOnly": true }],
                "securityContext": {
                    "allowPrivilegeEscalation": false,
                    "capabilities": { "drop": ["ALL"] },
                    "readOnlyRootFilesystem": true
                }
            }],
            "volumes": [{ "name": "v", "emptyDir": {} }],
            "dnsPolicy": "ClusterFirst", "securityContext": {}, "enableServiceLinks": true
        });
        assert_eq!(messages(spec), Vec::<String>::new());
    }

    #[test]
    fn every_problem_is_named_by_its_field() {
        let spec = json!({
            "hostNetwork": true,
            "initContainers": [{ "name": "i", "image": "x" }],
            "securityContext": { "runAsNonRoot": true },
            "containers": [{
                "name": "a", "image": "x",
                "readinessProbe": { "exec": { "command": ["true"] } },
                "lifecycle": { "preStop": { "sleep": { "seconds": 1 } } },
                "securityContext": { "privileged": true }
            }],
            "volumes": [{ "name": "v", "nfs": { "server": "s", "path": "/" } }]
        });
        assert_eq!(
            messages(spec),
            [
                "spec.hostNetwork is not supported by Copepod yet",
                "spec.initContainers is not supported by Copepod yet",
                "spec.securityContext.runAsNonRoot has no effect on Copepod",
                "spec.volumes[0].nfs is not supported by Copepod yet",
                "spec.containers[0].lifecycle.preStop is not supported by Copepod yet",
                "spec.containers[0].readinessProbe.exec is not supported by Copepod yet",
                "spec.containers[0].securityContext.privileged is not supported by Copepod yet",
            ]
        );
    }

    #[test]
    fn the_tables_are_alphabetical() {
        let sorted = |names: Vec<&str>| names.is_sorted_by_key(|name| name.to_lowercase());
        assert!(sorted(POD.iter().map(|entry| entry.0).collect()));
        assert!(sorted(VOLUME.iter().map(|entry| entry.0).collect()));
        assert!(sorted(CONTAINER.iter().map(|entry| entry.0).collect()));
    }
}
