//! What is let through of a pod or a template, but told of: fields that are deprecated, that hide
//! one another, or that nothing comes of.
//!
//! Source: `pkg/api/pod/warnings.go`, `pkg/api/node/util.go`. What upstream runs and this cluster's
//! nodes ignore stands in `ignored`.

mod ignored;
mod paths;
mod ports;

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{
    Affinity, Container, PodAffinityTerm, PodSpec, Volume,
    WeightedPodAffinityTerm,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::annotations::{APP_ARMOR, SECCOMP_CONTAINER, SECCOMP_POD};
use super::app_armor::profile_of;
use super::validation::visit_containers;
use crate::kinds::quantity::{self, ResourceList};
use crate::kinds::rules::{node_selector, volume_claims};
use crate::kinds::warn;

/// Warnings, each beginning with the path of its field.
pub type Warnings = Vec<String>;

const DURING: &str = "DuringSchedulingIgnoredDuringExecution";
const SECCOMP_MESSAGE: &str = r#"non-functional in v1.27+; use the "seccompProfile" field instead"#;

const ANNOTATIONS: [(&str, &str); 3] = [
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        r#"non-functional in v1.16+; use the "priorityClassName" field instead"#,
    ),
    (
        "security.alpha.kubernetes.io/sysctls",
        r#"non-functional in v1.11+; use the "sysctls" field instead"#,
    ),
    (
        "security.alpha.kubernetes.io/unsafe-sysctls",
        r#"non-functional in v1.11+; use the "sysctls" field instead"#,
    ),
];

type VolumeTest = fn(&Volume) -> bool;

const VOLUMES: [(&str, VolumeTest, &str); 9] = [
    (
        "photonPersistentDisk",
        |v| v.photon_persistent_disk.is_some(),
        "deprecated in v1.11, non-functional in v1.16+",
    ),
    ("gitRepo", |v| v.git_repo.is_some(), "deprecated in v1.11, and disabled by default in v1.33+"),
    ("scaleIO", |v| v.scale_io.is_some(), "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", |v| v.flocker.is_some(), "deprecated in v1.22, non-functional in v1.25+"),
    ("storageOS", |v| v.storageos.is_some(), "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", |v| v.quobyte.is_some(), "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", |v| v.glusterfs.is_some(), "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", |v| v.cephfs.is_some(), "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", |v| v.rbd.is_some(), "deprecated in v1.28, non-functional in v1.31+"),
];

/// The warnings of a pod (`path` is empty) or of a template (`spec.template`).
pub fn of(metadata: &ObjectMeta, spec: &PodSpec, path: &str) -> Warnings {
    let at = |rest: &str| if path.is_empty() { rest.to_owned() } else { format!("{path}.{rest}") };
    let (annotations, path) = (at("metadata.annotations"), at("spec"));
    let mut warnings = Warnings::new();
    warn_of_node_labels(spec, &path, &mut warnings);
    warn_of_annotations(metadata, &annotations, &mut warnings);
    warn_of_volumes(spec, &path, &mut warnings);
    warn_of_doubles(spec, &path, &mut warnings);
    warn_of_fractions(spec.overhead.as_ref(), &format!("{path}.overhead"), &mut warnings);
    warn_of_profiles(metadata, spec, &annotations, &mut warnings);
    visit_containers(spec, &path, |container, path| {
        warn_of_container(container, path, &mut warnings);
    });
    ports::warn(spec, &path, &mut warnings);
    if spec.termination_grace_period_seconds.is_some_and(|seconds| seconds < 0) {
        warnings.push(format!(
            "{path}.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1"
        ));
    }
    warn_of_null_selectors(spec.affinity.as_ref(), &format!("{path}.affinity"), &mut warnings);
    warn_of_addresses(spec, &path, &mut warnings);
    ignored::warn(spec, &path, &mut warnings);
    warnings
}

fn warn_of_node_labels(spec: &PodSpec, path: &str, warnings: &mut Warnings) {
    for key in spec.node_selector.iter().flatten().map(|(key, _)| key) {
        if let Some(message) = node_selector::deprecated_label(key) {
            warnings.push(format!("{path}.nodeSelector[{key}]: {message}"));
        }
    }
    if let Some(affinity) = spec.affinity.as_ref().and_then(|all| all.node_affinity.as_ref()) {
        let path = format!("{path}.affinity.nodeAffinity");
        let required = affinity.required_during_scheduling_ignored_during_execution.as_ref();
        for (index, term) in required.iter().flat_map(|all| &all.node_selector_terms).enumerate() {
            let path = format!("{path}.required{DURING}.nodeSelectorTerms[{index}]");
            warnings.extend(node_selector::warn_of_term(term, false, &path));
        }
        let preferred = affinity.preferred_during_scheduling_ignored_during_execution.iter();
        for (index, term) in preferred.flatten().enumerate() {
            let path = format!("{path}.preferred{DURING}[{index}].preference");
            warnings.extend(node_selector::warn_of_term(&term.preference, true, &path));
        }
    }
    for (index, constraint) in spec.topology_spread_constraints.iter().flatten().enumerate() {
        let path = format!("{path}.topologySpreadConstraints[{index}]");
        let key = &constraint.topology_key;
        if let Some(message) = node_selector::deprecated_label(key) {
            warnings.push(format!("{path}.topologyKey: {key} is {message}"));
        }
        if constraint.label_selector.is_none() {
            warnings.push(null_selector(&path));
        }
    }
}

fn null_selector(path: &str) -> String {
    format!("{path}.labelSelector: a null labelSelector results in matching no pod")
}

fn warn_of_annotations(metadata: &ObjectMeta, path: &str, warnings: &mut Warnings) {
    let Some(annotations) = &metadata.annotations else { return };
    let there = ANNOTATIONS.iter().filter(|(key, _)| annotations.contains_key(*key));
    warnings.extend(there.map(|(key, message)| format!("{path}[{key}]: {message}")));
}

fn warn_of_volumes(spec: &PodSpec, path: &str, warnings: &mut Warnings) {
    for (index, volume) in spec.volumes.iter().flatten().enumerate() {
        for (field, _, message) in VOLUMES.iter().filter(|(_, test, _)| test(volume)) {
            warnings.push(format!("{path}.volumes[{index}].{field}: {message}"));
        }
        let ephemeral = volume.ephemeral.as_ref().and_then(|e| e.volume_claim_template.as_ref());
        if let Some(template) = ephemeral {
            let path = format!("{path}.volumes[{index}].ephemeral.volumeClaimTemplate.spec");
            warnings.extend(volume_claims::warnings(&template.spec, &path));
        }
    }
    paths::warn(spec.volumes.as_deref().unwrap_or_default(), warnings);
}

fn warn_of_doubles(spec: &PodSpec, path: &str, warnings: &mut Warnings) {
    let mut seen = BTreeSet::new();
    for (index, alias) in spec.host_aliases.iter().flatten().enumerate() {
        if !seen.insert(&alias.ip) {
            warnings.push(format!("{path}.hostAliases[{index}].ip: duplicate ip {:?}", alias.ip));
        }
    }
    let mut seen = BTreeSet::new();
    let secrets = || spec.image_pull_secrets.iter().flatten().enumerate();
    for (index, secret) in secrets() {
        if !seen.insert(&secret.name) {
            let name = &secret.name;
            warnings
                .push(format!("{path}.imagePullSecrets[{index}].name: duplicate name {name:?}"));
        }
    }
    for (index, _) in secrets().filter(|(_, secret)| secret.name.is_empty()) {
        warnings.push(format!("{path}.imagePullSecrets[{index}].name: invalid empty name \"\""));
    }
}

fn warn_of_fractions(list: Option<&ResourceList>, path: &str, warnings: &mut Warnings) {
    for resource in ["memory", "ephemeral-storage"] {
        let amount = quantity::get(list, resource).filter(|amount| !amount.is_whole());
        if let Some(amount) = amount {
            let amount = amount.to_string();
            warnings.push(format!(
                "{path}[{resource}]: fractional byte value {amount:?} is invalid, must be an integer"
            ));
        }
    }
}

/// Annotations that a field has replaced, where the field does not say the same.
fn warn_of_profiles(metadata: &ObjectMeta, spec: &PodSpec, path: &str, warnings: &mut Warnings) {
    let Some(annotations) = &metadata.annotations else { return };
    let context = spec.security_context.as_ref();
    if context.is_none_or(|context| context.seccomp_profile.is_none())
        && annotations.contains_key(SECCOMP_POD)
    {
        warnings.push(format!("{path}[{SECCOMP_POD}]: {SECCOMP_MESSAGE}"));
    }
    let of_pod = context.and_then(|context| context.app_armor_profile.as_ref());
    let is_pod = path == "metadata.annotations";
    visit_containers(spec, "", |container, _| {
        let own = container.security_context.as_ref();
        let key = format!("{SECCOMP_CONTAINER}{}", container.name);
        if own.is_none_or(|own| own.seccomp_profile.is_none()) && annotations.contains_key(&key) {
            warnings.push(format!("{path}[{key}]: {SECCOMP_MESSAGE}"));
        }
        let key = format!("{APP_ARMOR}{}", container.name);
        let Some(annotation) = annotations.get(&key) else { return };
        let profile = profile_of(annotation);
        let has_field = own.is_some_and(|own| own.app_armor_profile.is_some());
        let is_said = of_pod.is_some_and(|of_pod| Some(of_pod) == profile.as_ref());
        // Of a pod's it is told before the field is filled in.
        if !is_pod && !has_field && !is_said {
            warnings.push(format!(
                "{path}[{key}]: deprecated since v1.30; use the \"appArmorProfile\" field instead"
            ));
        }
    });
}

fn warn_of_container(container: &Container, path: &str, warnings: &mut Warnings) {
    if let Some(resources) = &container.resources {
        let path = format!("{path}.resources");
        warn_of_fractions(resources.limits.as_ref(), &format!("{path}.limits"), warnings);
        warn_of_fractions(resources.requests.as_ref(), &format!("{path}.requests"), warnings);
    }
    let mut seen = BTreeSet::new();
    for (index, variable) in container.env.iter().flatten().enumerate() {
        let name = &variable.name;
        if seen.insert(name) {
            continue;
        }
        // `X="$(X)more"` builds on what was there; all else hides it.
        let reference = format!("$({name})");
        let value = variable.value.as_deref().unwrap_or_default();
        if variable.value_from.is_some() || value == reference || !value.contains(&reference) {
            warnings.push(format!(
                "{path}.env[{index}]: hides previous definition of {name:?}, which may be dropped when using apply"
            ));
        }
    }
}

fn warn_of_null_selectors(affinity: Option<&Affinity>, path: &str, warnings: &mut Warnings) {
    let Some(affinity) = affinity else { return };
    let mut warn = |field: &str,
                    required: Option<&Vec<PodAffinityTerm>>,
                    preferred: Option<&Vec<WeightedPodAffinityTerm>>| {
        for (index, term) in required.into_iter().flatten().enumerate() {
            if term.label_selector.is_none() {
                warnings.push(null_selector(&format!("{path}.{field}.required{DURING}[{index}]")));
            }
        }
        for (index, term) in preferred.into_iter().flatten().enumerate() {
            if term.pod_affinity_term.label_selector.is_none() {
                let path = format!("{path}.{field}.preferred{DURING}[{index}].podAffinityTerm");
                warnings.push(null_selector(&path));
            }
        }
    };
    if let Some(with) = &affinity.pod_affinity {
        warn(
            "podAffinity",
            with.required_during_scheduling_ignored_during_execution.as_ref(),
            with.preferred_during_scheduling_ignored_during_execution.as_ref(),
        );
    }
    if let Some(without) = &affinity.pod_anti_affinity {
        warn(
            "podAntiAffinity",
            without.required_during_scheduling_ignored_during_execution.as_ref(),
            without.preferred_during_scheduling_ignored_during_execution.as_ref(),
        );
    }
}

fn warn_of_addresses(spec: &PodSpec, path: &str, warnings: &mut Warnings) {
    let servers = spec.dns_config.as_ref().and_then(|config| config.nameservers.as_ref());
    for (index, server) in servers.into_iter().flatten().enumerate() {
        warnings.extend(warn::ip(server, &format!("{path}.dnsConfig.nameservers[{index}]")));
    }
    for (index, alias) in spec.host_aliases.iter().flatten().enumerate() {
        warnings.extend(warn::ip(&alias.ip, &format!("{path}.hostAliases[{index}].ip")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn warnings_of(pod: Value, path: &str) -> Warnings {
        let metadata = serde_json::from_value(pod["metadata"].clone()).expect("metadata");
        let spec = serde_json::from_value(pod["spec"].clone()).expect("a spec");
        of(&metadata, &spec, path)
    }

    fn of_spec(mut spec: Value) -> Warnings {
        spec.as_object_mut().expect("an object").entry("containers").or_insert(json!([]));
        warnings_of(json!({ "metadata": {}, "spec": spec }), "")
    }

    #[test]
    fn a_plain_pod_gives_no_warnings() {
        let spec = json!({
            "containers": [{
                "name": "a", "image": "x",
                "env": [{ "name": "A", "value": "1" }, { "name": "A", "value": "$(A)2" }],
                "ports": [{ "containerPort": 80, "protocol": "TCP" }],
                "resources": { "limits": { "memory": "1Gi" } },
                "securityContext": {
                    "allowPrivilegeEscalation": false,
                    "capabilities": { "drop": ["ALL"] },
                    "readOnlyRootFilesystem": true,
                },
            }],
            "nodeSelector": { "kubernetes.io/os": "linux" },
            "securityContext": {},
        });
        assert_eq!(of_spec(spec), Warnings::new());
    }

    #[test]
    fn deprecated_labels_and_annotations_are_told_of() {
        let pod = json!({
            "metadata": { "annotations": {
                "scheduler.alpha.kubernetes.io/critical-pod": "",
                "seccomp.security.alpha.kubernetes.io/pod": "unconfined",
                "container.apparmor.security.beta.kubernetes.io/a": "unconfined",
            }},
            "spec": {
                "containers": [{ "name": "a" }],
                "nodeSelector": { "beta.kubernetes.io/os": "linux" },
                "affinity": {
                    "nodeAffinity": { "preferredDuringSchedulingIgnoredDuringExecution": [{
                        "weight": 1, "preference": { "matchExpressions": [
                            { "key": "beta.kubernetes.io/arch", "operator": "In", "values": ["-"] },
                        ]},
                    }]},
                    "podAntiAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": [
                        { "topologyKey": "z" },
                    ]},
                },
                "topologySpreadConstraints": [
                    { "maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule" },
                ],
            },
        });
        let warnings = warnings_of(pod, "spec.template");
        let invalid = warnings.iter().position(|text| text.contains("- is invalid, a valid label"));
        let mut warnings = warnings;
        warnings.remove(invalid.expect("a bad value is told of"));
        assert_eq!(
            warnings,
            [
                r#"spec.template.spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead"#,
                r#"spec.template.spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].preference.matchExpressions[0].key: beta.kubernetes.io/arch is deprecated since v1.14; use "kubernetes.io/arch" instead"#,
                "spec.template.spec.topologySpreadConstraints[0].labelSelector: a null labelSelector results in matching no pod",
                r#"spec.template.metadata.annotations[scheduler.alpha.kubernetes.io/critical-pod]: non-functional in v1.16+; use the "priorityClassName" field instead"#,
                r#"spec.template.metadata.annotations[seccomp.security.alpha.kubernetes.io/pod]: non-functional in v1.27+; use the "seccompProfile" field instead"#,
                r#"spec.template.metadata.annotations[container.apparmor.security.beta.kubernetes.io/a]: deprecated since v1.30; use the "appArmorProfile" field instead"#,
                "spec.template.spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].labelSelector: a null labelSelector results in matching no pod",
            ]
        );
    }

    #[test]
    fn what_stands_twice_or_hides_is_told_of() {
        let spec = json!({
            "hostAliases": [{ "ip": "1.2.3.4" }, { "ip": "1.2.3.4" }, { "ip": "2001:DB8::1" }],
            "imagePullSecrets": [{ "name": "a" }, { "name": "a" }, {}],
            "overhead": { "memory": "1500m" },
            "terminationGracePeriodSeconds": -1,
            "volumes": [{ "name": "v", "rbd": { "monitors": [], "image": "i" } }],
            "initContainers": [{
                "name": "i",
                "env": [
                    { "name": "A", "value": "1" }, { "name": "A", "value": "2" },
                    { "name": "A", "value": "$(A)" },
                ],
                "resources": { "requests": { "ephemeral-storage": "100m" } },
            }],
        });
        assert_eq!(
            of_spec(spec),
            [
                "spec.volumes[0].rbd: deprecated in v1.28, non-functional in v1.31+",
                r#"spec.hostAliases[1].ip: duplicate ip "1.2.3.4""#,
                r#"spec.imagePullSecrets[1].name: duplicate name "a""#,
                r#"spec.imagePullSecrets[2].name: invalid empty name """#,
                r#"spec.overhead[memory]: fractional byte value "1500m" is invalid, must be an integer"#,
                r#"spec.initContainers[0].resources.requests[ephemeral-storage]: fractional byte value "100m" is invalid, must be an integer"#,
                r#"spec.initContainers[0].env[1]: hides previous definition of "A", which may be dropped when using apply"#,
                r#"spec.initContainers[0].env[2]: hides previous definition of "A", which may be dropped when using apply"#,
                "spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1",
                r#"spec.hostAliases[2].ip: IPv6 address "2001:DB8::1" should be in RFC 5952 canonical format ("2001:db8::1")"#,
            ]
        );
    }

    #[test]
    fn what_nodes_ignore_is_told_of_once() {
        let spec = json!({
            "securityContext": { "runAsUser": 1, "fsGroup": 2, "seccompProfile": { "type": "Unconfined" } },
            "containers": [
                { "name": "a", "securityContext": { "runAsUser": 3, "procMount": "Default" } },
                { "name": "b", "securityContext": { "procMount": "Default", "allowPrivilegeEscalation": true } },
            ],
        });
        assert_eq!(
            of_spec(spec),
            [
                "spec.securityContext.fsGroup: has no effect on Copepod",
                "spec.securityContext.runAsUser: has no effect on Copepod",
                "spec.securityContext.seccompProfile: has no effect on Copepod",
                "spec.containers[0].securityContext.procMount: has no effect on Copepod",
                "spec.containers[1].securityContext.allowPrivilegeEscalation: has no effect on Copepod",
            ]
        );
    }
}
