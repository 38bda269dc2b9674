//! What is filled in of pods and pod templates.
//!
//! Source: `pkg/apis/core/v1/defaults.go`, `conversion.go`.

use k8s_openapi::api::core::v1::{
    Container, ContainerPort, DownwardAPIVolumeFile, EmptyDirVolumeSource,
    EnvVar, HTTPGetAction, Lifecycle, ObjectFieldSelector, Pod, PodIP, PodSpec,
    PodStatus, Probe, ResourceFieldSelector, ResourceRequirements,
    Volume, VolumeProjection,
};
use k8s_openapi::apimachinery::pkg::api::resource;

use super::{ephemeral, image, requests};
use crate::kinds::quantity::{self, Quantity};
use crate::kinds::rules::{volume_claims, volume_sources as sources};

const GRACE_SECONDS: i64 = 30;
const TOKEN_SECONDS: i64 = 3600;
const FILE_MODE: i32 = 0o644;

/// Everything that a pod gets and its template does not, and everything that both get.
pub fn default_pod(pod: &mut Pod) {
    if let Some(status) = &mut pod.status {
        default_addresses(status);
    }
    let spec = pod.spec.get_or_insert_default();
    // Of pods alone: a template keeps what it was given.
    if let Some(seconds) = spec.termination_grace_period_seconds.as_mut().filter(|s| **s < 0) {
        *seconds = 1;
    }
    default_spec(spec);
    for container in spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()) {
        request_limits(container.resources.get_or_insert_default());
    }
    default_pod_resources(spec);
    spec.enable_service_links.get_or_insert(true);
    if spec.host_network == Some(true) {
        spec.containers.iter_mut().for_each(open_on_host);
        spec.init_containers.iter_mut().flatten().for_each(open_on_host);
    }
}

/// `podIP` is the first of `podIPs`: each fills in the other. Where they differ the older field,
/// `podIP`, has the word.
fn default_addresses(status: &mut PodStatus) {
    let first = status.pod_ips.as_ref().and_then(|ips| ips.first()).map(|first| first.ip.clone());
    match status.pod_ip.clone().filter(|ip| !ip.is_empty()) {
        Some(ip) if first.as_ref() != Some(&ip) => status.pod_ips = Some(vec![PodIP { ip }]),
        None if first.is_some() => status.pod_ip = first,
        _ => {}
    }
}

/// What pods and templates get alike.
pub fn default_spec(spec: &mut PodSpec) {
    fill(&mut spec.dns_policy, "ClusterFirst");
    fill(&mut spec.restart_policy, "Always");
    fill(&mut spec.scheduler_name, "default-scheduler");
    spec.security_context.get_or_insert_default();
    spec.termination_grace_period_seconds.get_or_insert(GRACE_SECONDS);
    alias_service_account(spec);
    // `false` is what absence means: upstream does not keep it.
    for flag in [&mut spec.host_ipc, &mut spec.host_network, &mut spec.host_pid] {
        *flag = flag.filter(|set| *set);
    }
    spec.volumes.iter_mut().flatten().for_each(default_volume);
    spec.init_containers.iter_mut().flatten().for_each(default_container);
    spec.containers.iter_mut().for_each(default_container);
    spec.ephemeral_containers.iter_mut().flatten().for_each(ephemeral::default);
    quantity::canonicalise_list(&mut spec.overhead);
    if let Some(resources) = &mut spec.resources {
        default_resources(resources);
    }
}

/// The deprecated `serviceAccount` always says the same as `serviceAccountName`.
fn alias_service_account(spec: &mut PodSpec) {
    let given = |name: &Option<String>| name.clone().filter(|name| !name.is_empty());
    let name = given(&spec.service_account_name).or_else(|| given(&spec.service_account));
    spec.service_account_name.clone_from(&name);
    spec.service_account = name;
}

pub fn default_container(container: &mut Container) {
    let image = container.image.as_deref().unwrap_or_default();
    fill(&mut container.image_pull_policy, pull_policy(image));
    fill(&mut container.termination_message_path, "/dev/termination-log");
    fill(&mut container.termination_message_policy, "File");
    container.ports.iter_mut().flatten().for_each(default_port);
    container.env.iter_mut().flatten().for_each(default_variable);
    default_resources(container.resources.get_or_insert_default());
    for probe in [
        &mut container.liveness_probe,
        &mut container.readiness_probe,
        &mut container.startup_probe,
    ] {
        probe.iter_mut().for_each(default_probe);
    }
    container.lifecycle.iter_mut().for_each(default_lifecycle);
}

/// An image that is `latest`, said or unsaid, may change behind its name.
fn pull_policy(image: &str) -> &'static str {
    if image::is_latest(image) { "Always" } else { "IfNotPresent" }
}

fn default_port(port: &mut ContainerPort) {
    fill(&mut port.protocol, "TCP");
}

fn default_variable(variable: &mut EnvVar) {
    let Some(source) = &mut variable.value_from else { return };
    source.field_ref.iter_mut().for_each(default_field);
    source.resource_field_ref.iter_mut().for_each(default_resource_field);
    if let Some(file) = &mut source.file_key_ref {
        file.optional.get_or_insert(false);
    }
}

fn default_field(field: &mut ObjectFieldSelector) {
    fill(&mut field.api_version, "v1");
}

/// A divisor that is not set is written as zero, and means one.
fn default_resource_field(field: &mut ResourceFieldSelector) {
    let divisor = field.divisor.get_or_insert_with(|| resource::Quantity("0".to_owned()));
    quantity::canonicalise(divisor);
}

fn default_resources(resources: &mut ResourceRequirements) {
    quantity::canonicalise_list(&mut resources.limits);
    quantity::canonicalise_list(&mut resources.requests);
}

fn default_probe(probe: &mut Probe) {
    let fill =
        |field: &mut Option<i32>, value| *field = field.filter(|set| *set != 0).or(Some(value));
    fill(&mut probe.timeout_seconds, 1);
    fill(&mut probe.period_seconds, 10);
    fill(&mut probe.success_threshold, 1);
    fill(&mut probe.failure_threshold, 3);
    probe.http_get.iter_mut().for_each(default_http);
    if let Some(grpc) = &mut probe.grpc {
        grpc.service.get_or_insert_default();
    }
}

fn default_lifecycle(lifecycle: &mut Lifecycle) {
    for hook in [&mut lifecycle.post_start, &mut lifecycle.pre_stop].into_iter().flatten() {
        hook.http_get.iter_mut().for_each(default_http);
    }
}

fn default_http(http: &mut HTTPGetAction) {
    fill(&mut http.path, "/");
    fill(&mut http.scheme, "HTTP");
}

fn default_volume(volume: &mut Volume) {
    let bare = Volume { name: volume.name.clone(), ..Volume::default() };
    if *volume == bare {
        volume.empty_dir = Some(EmptyDirVolumeSource::default());
    }
    if let Some(size) = volume.empty_dir.as_mut().and_then(|dir| dir.size_limit.as_mut()) {
        quantity::canonicalise(size);
    }
    volume.host_path.iter_mut().for_each(sources::default_host_path);
    if let Some(secret) = &mut volume.secret {
        secret.default_mode.get_or_insert(FILE_MODE);
    }
    if let Some(map) = &mut volume.config_map {
        map.default_mode.get_or_insert(FILE_MODE);
    }
    if let Some(downward) = &mut volume.downward_api {
        downward.default_mode.get_or_insert(FILE_MODE);
        downward.items.iter_mut().flatten().for_each(default_downward_file);
    }
    if let Some(projected) = &mut volume.projected {
        projected.default_mode.get_or_insert(FILE_MODE);
        projected.sources.iter_mut().flatten().for_each(default_projection);
    }
    if let Some(artifact) = &mut volume.image {
        let reference = artifact.reference.as_deref().unwrap_or_default();
        fill(&mut artifact.pull_policy, pull_policy(reference));
    }
    if let Some(claim) = volume.ephemeral.as_mut().and_then(|e| e.volume_claim_template.as_mut()) {
        volume_claims::default_spec(&mut claim.spec);
    }
    if let Some(iscsi) = &mut volume.iscsi {
        sources::default_iscsi(&mut iscsi.iscsi_interface);
    }
    if let Some(rbd) = &mut volume.rbd {
        sources::default_rbd(&mut rbd.pool, &mut rbd.user, &mut rbd.keyring);
    }
    volume.azure_disk.iter_mut().for_each(sources::default_azure_disk);
    if let Some(scale) = &mut volume.scale_io {
        sources::default_scale_io(&mut scale.storage_mode, &mut scale.fs_type);
    }
}

fn default_downward_file(file: &mut DownwardAPIVolumeFile) {
    file.field_ref.iter_mut().for_each(default_field);
    file.resource_field_ref.iter_mut().for_each(default_resource_field);
}

fn default_projection(source: &mut VolumeProjection) {
    if let Some(downward) = &mut source.downward_api {
        downward.items.iter_mut().flatten().for_each(default_downward_file);
    }
    if let Some(token) = &mut source.service_account_token {
        token.expiration_seconds.get_or_insert(TOKEN_SECONDS);
    }
}

/// Who limits a resource and does not request it requests the limit.
fn request_limits(resources: &mut ResourceRequirements) {
    let Some(limits) = &resources.limits else { return };
    let requests = resources.requests.get_or_insert_default();
    for (name, limit) in limits {
        requests.entry(name.clone()).or_insert_with(|| limit.clone());
    }
}

/// The pod's own requests, where it has limits of its own: what its containers ask for, else the
/// limits. Limits of huge pages come from the containers.
fn default_pod_resources(spec: &mut PodSpec) {
    let containers_request = requests::of_containers(spec);
    let containers_limit = requests::limits_of_containers(spec);
    let Some(resources) = &mut spec.resources else { return };
    let set = |list: &Option<quantity::ResourceList>| list.as_ref().is_some_and(|l| !l.is_empty());
    if set(&resources.limits) || set(&resources.requests) {
        let requested = resources.requests.clone().unwrap_or_default();
        let huge = |name: &str| name.starts_with("hugepages-") && !requested.contains_key(name);
        complete(&mut resources.limits, containers_limit, huge);
    }
    if !set(&resources.limits) {
        return;
    }
    complete(&mut resources.requests, containers_request, |name| matches!(name, "cpu" | "memory"));
    let requests = resources.requests.get_or_insert_default();
    for (name, limit) in resources.limits.iter().flatten() {
        if matches!(name.as_str(), "cpu" | "memory") || name.starts_with("hugepages-") {
            requests.entry(name.clone()).or_insert_with(|| limit.clone());
        }
    }
}

fn complete(
    list: &mut Option<quantity::ResourceList>,
    amounts: impl IntoIterator<Item = (String, Quantity)>,
    wanted: impl Fn(&str) -> bool,
) {
    for (name, amount) in amounts.into_iter().filter(|(name, _)| wanted(name)) {
        list.get_or_insert_default().entry(name).or_insert_with(|| amount.into());
    }
}

/// On the host's network every port of a container is the host's.
fn open_on_host(container: &mut Container) {
    for port in container.ports.iter_mut().flatten() {
        if port.host_port.unwrap_or_default() == 0 {
            port.host_port = Some(port.container_port);
        }
    }
}

/// Sets a text that is absent or empty.
fn fill(field: &mut Option<String>, value: &str) {
    if field.as_deref().unwrap_or_default().is_empty() {
        *field = Some(value.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Pods, template};
    use crate::kinds::testing::defaulted;
    use k8s_openapi::api::core::v1::PodTemplateSpec;
    use serde_json::{Value, json};

    fn pod(spec: Value) -> Value {
        let pod =
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec});
        defaulted::<Pods>(pod)["spec"].take()
    }

    fn container(container: Value) -> Value {
        pod(json!({"containers": [container]}))["containers"][0].take()
    }

    #[test]
    fn a_bare_pod_gets_all_the_defaults() {
        assert_eq!(
            pod(json!({"containers": [{"name": "a", "image": "web:1"}]})),
            json!({
                "containers": [{
                    "name": "a", "image": "web:1", "imagePullPolicy": "IfNotPresent",
                    "resources": {}, "terminationMessagePath": "/dev/termination-log",
                    "terminationMessagePolicy": "File",
                }],
                "dnsPolicy": "ClusterFirst", "enableServiceLinks": true, "restartPolicy": "Always",
                "schedulerName": "default-scheduler", "securityContext": {},
                "terminationGracePeriodSeconds": 30,
            })
        );
    }

    #[test]
    fn defaulting_twice_changes_nothing() {
        let once = pod(json!({
            "hostNetwork": true,
            "resources": {"limits": {"cpu": "2"}},
            "containers": [{"name": "a", "image": "web", "ports": [{"containerPort": 80}],
                "resources": {"limits": {"cpu": "0.5"}}, "livenessProbe": {"grpc": {"port": 1}}}],
            "volumes": [{"name": "v"}],
        }));
        assert_eq!(pod(once.clone()), once);
    }

    #[test]
    fn a_template_gets_neither_requests_nor_host_ports_nor_service_links() {
        let mut template: PodTemplateSpec = serde_json::from_value(json!({"spec": {
            "hostNetwork": true,
            "containers": [{"name": "a", "image": "web", "ports": [{"containerPort": 80}],
                "resources": {"limits": {"cpu": "1000m"}}}],
        }}))
        .unwrap();
        template::default(&mut template);
        let spec = serde_json::to_value(template).unwrap()["spec"].take();
        assert_eq!(spec.get("enableServiceLinks"), None);
        let container = &spec["containers"][0];
        assert_eq!(container["ports"], json!([{"containerPort": 80, "protocol": "TCP"}]));
        assert_eq!(container["resources"], json!({"limits": {"cpu": "1"}}));
        assert_eq!(container["imagePullPolicy"], "Always");
    }

    #[test]
    fn the_pull_policy_follows_the_tag() {
        let cases = [
            ("web", "Always"),
            ("web:latest", "Always"),
            ("registry.example:5000/a/web", "Always"),
            ("web:1", "IfNotPresent"),
            ("registry.example:5000/a/web:1", "IfNotPresent"),
            (
                "web@sha256:0123456789012345678901234567890123456789012345678901234567890123",
                "IfNotPresent",
            ),
            ("file:///srv/web.wasm", "IfNotPresent"),
        ];
        for (image, policy) in cases {
            let container = container(json!({"name": "a", "image": image}));
            assert_eq!(container["imagePullPolicy"], policy, "{image}");
        }
    }

    #[test]
    fn requests_come_from_limits() {
        let container = container(json!({"name": "a", "resources": {
            "limits": {"cpu": "0.5", "memory": "1024Mi"}, "requests": {"cpu": "100m"},
        }}));
        assert_eq!(
            container["resources"],
            json!({
                "limits": {"cpu": "500m", "memory": "1Gi"},
                "requests": {"cpu": "100m", "memory": "1Gi"},
            })
        );
    }

    #[test]
    fn a_pod_with_limits_of_its_own_requests_what_its_containers_do() {
        let pod = pod(json!({
            "resources": {"limits": {"cpu": "2", "memory": "1Gi"}},
            "containers": [
                {"name": "a", "resources": {"requests": {"cpu": "100m"}}},
                {"name": "b", "resources": {"requests": {"cpu": "150m"}}},
            ],
        }));
        assert_eq!(pod["resources"]["requests"], json!({"cpu": "250m", "memory": "1Gi"}));
    }

    #[test]
    fn probes_and_hooks_are_filled_in() {
        let container = container(json!({"name": "a",
            "livenessProbe": {"httpGet": {"port": 80}, "periodSeconds": 0},
            "readinessProbe": {"grpc": {"port": 9000}, "failureThreshold": 1},
            "lifecycle": {"preStop": {"httpGet": {"port": 80}}},
        }));
        assert_eq!(
            container["livenessProbe"],
            json!({
                "httpGet": {"path": "/", "port": 80, "scheme": "HTTP"}, "timeoutSeconds": 1,
                "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3,
            })
        );
        assert_eq!(container["readinessProbe"]["grpc"], json!({"port": 9000, "service": ""}));
        assert_eq!(container["readinessProbe"]["failureThreshold"], 1);
        assert_eq!(container["lifecycle"]["preStop"]["httpGet"]["scheme"], "HTTP");
    }

    #[test]
    fn variables_of_the_downward_api_are_filled_in() {
        let container = container(json!({"name": "a", "env": [
            {"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "B", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
        ]}));
        assert_eq!(container["env"][0]["valueFrom"]["fieldRef"]["apiVersion"], "v1");
        assert_eq!(container["env"][1]["valueFrom"]["resourceFieldRef"]["divisor"], "0");
    }

    #[test]
    fn volumes_are_filled_in() {
        let pod = pod(json!({"containers": [], "volumes": [
            {"name": "a"},
            {"name": "b", "emptyDir": {"sizeLimit": "1024Ki"}},
            {"name": "c", "configMap": {"name": "x"}},
            {"name": "d", "secret": {"secretName": "x", "defaultMode": 256}},
            {"name": "e", "hostPath": {"path": "/x"}},
            {"name": "f", "projected": {"sources": [
                {"serviceAccountToken": {"path": "token"}},
                {"downwardAPI": {"items": [{"path": "n", "fieldRef": {"fieldPath": "metadata.name"}}]}},
            ]}},
        ]}));
        let volumes = &pod["volumes"];
        assert_eq!(volumes[0]["emptyDir"], json!({}));
        assert_eq!(volumes[1]["emptyDir"]["sizeLimit"], "1Mi");
        assert_eq!(volumes[2]["configMap"]["defaultMode"], 420);
        assert_eq!(volumes[3]["secret"]["defaultMode"], 256);
        assert_eq!(volumes[4]["hostPath"]["type"], "");
        let projected = &volumes[5]["projected"];
        assert_eq!(projected["defaultMode"], 420);
        assert_eq!(projected["sources"][0]["serviceAccountToken"]["expirationSeconds"], 3600);
        assert_eq!(
            projected["sources"][1]["downwardAPI"]["items"][0]["fieldRef"]["apiVersion"],
            "v1"
        );
    }

    #[test]
    fn the_service_account_has_two_names() {
        for spec in [
            json!({"containers": [], "serviceAccount": "a"}),
            json!({"containers": [], "serviceAccountName": "a", "serviceAccount": "b"}),
        ] {
            let pod = pod(spec);
            assert_eq!([&pod["serviceAccountName"], &pod["serviceAccount"]], ["a", "a"]);
        }
    }

    #[test]
    fn ports_on_the_host_network_are_the_host_s() {
        let pod = pod(json!({"hostNetwork": true, "containers": [
            {"name": "a", "ports": [{"containerPort": 80}]},
        ]}));
        assert_eq!(
            pod["containers"][0]["ports"],
            json!([{"containerPort": 80, "hostPort": 80, "protocol": "TCP"}])
        );
    }
}
