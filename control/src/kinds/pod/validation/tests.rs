//! One table for each part of a pod.

use super::super::{Pods, template};
use crate::kinds::testing::{defaulted, problems, texts};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde_json::{Value, json};

/// The problems of a pod with these fields in its spec, after defaulting.
fn of_spec(fields: Value) -> Vec<String> {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "default"},
        "spec": {"containers": [{"name": "a", "image": "web:1"}]},
    });
    for (field, value) in fields.as_object().unwrap() {
        pod["spec"][field] = value.clone();
    }
    problems::<Pods>(&defaulted::<Pods>(pod))
}

/// The problems of a container with these fields.
fn of_container(fields: Value) -> Vec<String> {
    let mut container = json!({"name": "a", "image": "web:1"});
    for (field, value) in fields.as_object().unwrap() {
        container[field] = value.clone();
    }
    let volumes =
        json!([{"name": "data"}, {"name": "disk", "persistentVolumeClaim": {"claimName": "c"}}]);
    of_spec(json!({"containers": [container], "volumes": volumes}))
}

fn check(judge: fn(Value) -> Vec<String>, cases: &[(Value, &[&str])]) {
    for (fields, expected) in cases {
        assert_eq!(judge(fields.clone()), *expected, "{fields}");
    }
}

#[test]
fn a_sound_pod_has_no_problems() {
    check(
        of_spec,
        &[
            (json!({}), &[]),
            (json!({"os": {"name": "linux"}, "hostname": "a", "subdomain": "b"}), &[]),
            (
                json!({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["10.0.0.10"], "searches": ["a_b.c."]}}),
                &[],
            ),
            (
                json!({"hostNetwork": true, "containers": [{"name": "a", "image": "x", "ports": [{"containerPort": 80}]}]}),
                &[],
            ),
            (
                json!({"securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}}}),
                &[],
            ),
            (
                json!({"tolerations": [{"operator": "Exists"}, {"key": "a", "value": "b", "effect": "NoExecute", "tolerationSeconds": 3}]}),
                &[],
            ),
        ],
    );
}

#[test]
fn fields_of_the_spec_are_checked() {
    check(
        of_spec,
        &[
            (json!({"containers": []}), &["spec.containers: Required value"]),
            (
                json!({"restartPolicy": "Sometimes", "dnsPolicy": "Odd"}),
                &[
                    "spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"OnFailure\", \"Never\"",
                    "spec.dnsPolicy: Unsupported value: \"Odd\": supported values: \"ClusterFirstWithHostNet\", \"ClusterFirst\", \"Default\", \"None\"",
                ],
            ),
            (
                json!({"activeDeadlineSeconds": 0}),
                &[
                    "spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive",
                ],
            ),
            (
                json!({"hostname": "a.b"}),
                &["spec.hostname: Invalid value: \"a.b\": must not contain dots"],
            ),
            (
                json!({"dnsPolicy": "None"}),
                &[
                    "spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None",
                ],
            ),
            (
                json!({"dnsConfig": {"nameservers": ["1", "1.1.1.1", "1.1.1.1", "1.1.1.1"], "options": [{}]}}),
                &[
                    "spec.dnsConfig.nameservers: Invalid value: [\"1\",\"1.1.1.1\",\"1.1.1.1\",\"1.1.1.1\"]: must not have more than 3 nameservers",
                    "spec.dnsConfig.nameservers[0]: Invalid value: \"1\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
                    "spec.dnsConfig.options[0]: Required value: must not be empty",
                ],
            ),
            (
                json!({"hostAliases": [{"ip": "::ffff:1.2.3.4"}]}),
                &[
                    "spec.hostAliases[0].ip: Invalid value: \"::ffff:1.2.3.4\": must not be an IPv4-mapped IPv6 address",
                ],
            ),
            (
                json!({"hostNetwork": true, "containers": [{"name": "a", "image": "x", "ports": [{"containerPort": 80, "hostPort": 81}]}]}),
                &[
                    "spec.containers[0].ports[0].hostPort: Invalid value: 81: must match `containerPort` when `hostNetwork` is true",
                ],
            ),
            (
                json!({"preemptionPolicy": "Maybe"}),
                &[
                    "spec.preemptionPolicy: Unsupported value: \"Maybe\": supported values: \"PreemptLowerPriority\", \"Never\"",
                ],
            ),
            (
                json!({"schedulingGates": [{"name": "a"}, {"name": "a"}]}),
                &["spec.schedulingGates[1]: Duplicate value: \"a\""],
            ),
            (
                json!({"schedulingGates": [{"name": "a"}], "nodeName": "n"}),
                &[
                    "spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared",
                ],
            ),
            (
                json!({"ephemeralContainers": [{"name": "e", "image": "i"}]}),
                &["spec.ephemeralContainers: Forbidden: cannot be set on create"],
            ),
            (
                json!({"hostUsers": false, "hostPID": true, "shareProcessNamespace": true}),
                &[
                    "spec.securityContext.shareProcessNamespace: Invalid value: true: ShareProcessNamespace and HostPID cannot both be enabled",
                    "spec.HostPID: Forbidden: when `hostUsers` is false",
                ],
            ),
            (
                json!({"os": {"name": "plan9"}}),
                &[
                    "spec.os: Unsupported value: \"plan9\": supported values: \"linux\", \"windows\"",
                ],
            ),
            (
                json!({"resources": {"requests": {"cpu": "100m"}}, "containers": [{"name": "a", "image": "x", "resources": {"requests": {"cpu": "200m"}}}]}),
                &[
                    "spec.resources.requests[cpu]: Invalid value: \"100m\": must be greater than or equal to aggregate container requests of 200m",
                ],
            ),
            (
                json!({"volumes": [{"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]}),
                &[
                    "spec.volumes[0].projected.sources[0].serviceAccountToken: Forbidden: must not be specified when serviceAccountName is not set",
                ],
            ),
        ],
    );
}

#[test]
fn without_defaults_what_is_needed_is_asked_for() {
    let pod = json!({"metadata": {}, "spec": {"containers": [{"name": "", "ports": [{"containerPort": 0}]}]}});
    assert_eq!(
        problems::<Pods>(&pod),
        [
            "spec.terminationGracePeriodSeconds: Required value",
            "spec.containers[0].name: Required value",
            "spec.containers[0].image: Required value",
            "spec.containers[0].terminationMessagePolicy: Required value",
            "spec.containers[0].ports[0].containerPort: Required value",
            "spec.containers[0].ports[0].protocol: Required value",
            "spec.containers[0].imagePullPolicy: Required value",
            "spec.restartPolicy: Required value",
            "spec.dnsPolicy: Required value",
        ]
    );
}

#[test]
fn containers_are_checked() {
    check(
        of_container,
        &[
            (
                json!({"image": " web"}),
                &[
                    "spec.containers[0].image: Invalid value: \" web\": must not have leading or trailing whitespace",
                ],
            ),
            (
                json!({"imagePullPolicy": "Odd"}),
                &[
                    "spec.containers[0].imagePullPolicy: Unsupported value: \"Odd\": supported values: \"Always\", \"IfNotPresent\", \"Never\"",
                ],
            ),
            (
                json!({"ports": [{"name": "http", "containerPort": 80}, {"name": "http", "containerPort": 70000, "protocol": "ICMP"}]}),
                &[
                    "spec.containers[0].ports[1].name: Duplicate value: \"http\"",
                    "spec.containers[0].ports[1].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
                    "spec.containers[0].ports[1].protocol: Unsupported value: \"ICMP\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
                ],
            ),
            (
                json!({"ports": [{"containerPort": 80, "hostPort": 80}, {"containerPort": 81, "hostPort": 80}]}),
                &["spec.containers[0].ports[1].hostPort: Duplicate value: \"TCP//80\""],
            ),
            (
                json!({"volumeMounts": [{"name": "none", "mountPath": "/a"}, {"name": "data", "mountPath": "/a", "subPath": "../x"}]}),
                &[
                    "spec.containers[0].volumeMounts[0].name: Not found: \"none\"",
                    "spec.containers[0].volumeMounts[1].mountPath: Invalid value: \"/a\": must be unique",
                    "spec.containers[0].volumeMounts.subPath: Invalid value: \"../x\": must not contain '..'",
                ],
            ),
            (
                json!({"volumeDevices": [{"name": "data", "devicePath": "/dev/a"}]}),
                &[
                    "spec.containers[0].volumeDevices[0].name: Invalid value: \"data\": can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode",
                ],
            ),
            (
                json!({"resources": {"limits": {"memory": "1Mi"}, "requests": {"memory": "2Mi"}}}),
                &[
                    "spec.containers[0].resources.requests: Invalid value: \"2Mi\": must be less than or equal to memory limit of 1Mi",
                ],
            ),
            (
                json!({"restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": "In"}}]}),
                &[
                    "spec.containers[0].restartPolicy: Required value: must specify restartPolicy when restart rules are used",
                ],
            ),
            (
                json!({"restartPolicy": "Never", "restartPolicyRules": [{"action": "Stop", "exitCodes": {"operator": "Eq"}}]}),
                &[
                    "spec.containers[0].restartPolicyRules[0].action: Unsupported value: \"Stop\": supported values: \"Restart\", \"RestartAllContainers\"",
                    "spec.containers[0].restartPolicyRules[0].exitCodes.operator: Unsupported value: \"Eq\": supported values: \"In\", \"NotIn\"",
                ],
            ),
            (
                json!({"securityContext": {"privileged": true, "allowPrivilegeEscalation": false}}),
                &[
                    "spec.containers[0].securityContext: Invalid value: {\"Capabilities\":null,\"Privileged\":true,\"SELinuxOptions\":null,\"WindowsOptions\":null,\"RunAsUser\":null,\"RunAsGroup\":null,\"RunAsNonRoot\":null,\"ReadOnlyRootFilesystem\":null,\"AllowPrivilegeEscalation\":false,\"ProcMount\":null,\"SeccompProfile\":null,\"AppArmorProfile\":null}: cannot set `allowPrivilegeEscalation` to false and `privileged` to true",
                ],
            ),
            (
                json!({"securityContext": {"runAsUser": -1}}),
                &[
                    "spec.containers[0].securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive",
                ],
            ),
        ],
    );
}

#[test]
fn variables_are_checked() {
    check(
        of_container,
        &[
            (json!({"env": [{"name": ""}]}), &["spec.containers[0].env[0].name: Required value"]),
            (
                json!({"env": [{"name": "a=b", "value": "x", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "k"}}}]}),
                &[
                    "spec.containers[0].env[0].name: Invalid value: \"a=b\": a valid environment variable name must consist only of printable ASCII characters other than '='",
                    "spec.containers[0].env[0].valueFrom: Invalid value: \"\": may not be specified when `value` is not empty",
                ],
            ),
            (
                json!({"env": [{"name": "a", "valueFrom": {}}]}),
                &[
                    "spec.containers[0].env[0].valueFrom: Invalid value: \"\": must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
                ],
            ),
            (
                json!({"env": [{"name": "a", "valueFrom": {"fieldRef": {"fieldPath": "status.phase"}}}]}),
                &[
                    "spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Unsupported value: \"status.phase\": supported values: \"metadata.name\", \"metadata.namespace\", \"metadata.uid\", \"spec.nodeName\", \"spec.serviceAccountName\", \"status.hostIP\", \"status.hostIPs\", \"status.podIP\", \"status.podIPs\"",
                ],
            ),
            (
                json!({"env": [{"name": "a", "valueFrom": {"fieldRef": {"fieldPath": "spec.foo"}}}]}),
                &[
                    "spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Invalid value: \"spec.foo\": error converting fieldPath: field label not supported: spec.foo",
                ],
            ),
            (
                json!({"env": [{"name": "a", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}}]}),
                &[],
            ),
            (
                json!({"env": [{"name": "a", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1k"}}}]}),
                &[
                    "spec.containers[0].env[0].valueFrom.resourceFieldRef.divisor: Invalid value: \"limits.cpu\": only divisor's values 1m and 1 are supported with the cpu resource",
                ],
            ),
            (
                json!({"envFrom": [{"prefix": "P_"}]}),
                &[
                    "spec.containers[0].envFrom: Invalid value: \"\": must specify one of: `configMapRef` or `secretRef`",
                ],
            ),
            (
                json!({"envFrom": [{"secretRef": {"name": ""}}]}),
                &["spec.containers[0].envFrom[0].secretRef.name: Required value"],
            ),
            (
                json!({"env": [{"name": "a", "valueFrom": {"fileKeyRef": {"volumeName": "disk", "path": "f", "key": "K"}}}]}),
                &[
                    "spec.containers[0].env[0].valueFrom.fileKeyRef.volumeName: Invalid value: \"disk\": referenced volume must be of type emptyDir",
                ],
            ),
        ],
    );
}

#[test]
fn probes_have_one_handler() {
    check(
        of_container,
        &[
            (
                json!({"livenessProbe": {}}),
                &["spec.containers[0].livenessProbe: Required value: must specify a handler type"],
            ),
            (
                json!({"readinessProbe": {"exec": {"command": ["a"]}, "tcpSocket": {"port": 1}}}),
                &[
                    "spec.containers[0].readinessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type",
                ],
            ),
            (
                json!({"livenessProbe": {"httpGet": {"port": "web_port", "scheme": "FTP"}, "successThreshold": 2, "periodSeconds": -1}}),
                &[
                    "spec.containers[0].livenessProbe.httpGet.port: Invalid value: \"web_port\": must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",
                    "spec.containers[0].livenessProbe.httpGet.scheme: Unsupported value: \"FTP\": supported values: \"HTTP\", \"HTTPS\"",
                    "spec.containers[0].livenessProbe.periodSeconds: Invalid value: -1: must be greater than or equal to 0",
                    "spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1",
                ],
            ),
            (
                json!({"readinessProbe": {"grpc": {"port": 0}, "terminationGracePeriodSeconds": 1}}),
                &[
                    "spec.containers[0].readinessProbe.grpc.port: Invalid value: 0: must be between 1 and 65535, inclusive",
                    "spec.containers[0].readinessProbe.terminationGracePeriodSeconds: Invalid value: 1: must not be set for readinessProbes",
                ],
            ),
            (
                json!({"lifecycle": {"preStop": {"sleep": {"seconds": 31}}, "stopSignal": "SIGTERM"}}),
                &[
                    "spec.containers[0].lifecycle.preStop.sleep: Invalid value: 31: must be non-negative and less than terminationGracePeriodSeconds (30)",
                    "spec.containers[0].lifecycle.stopSignal: Forbidden: may not be set for containers with empty `spec.os.name`",
                ],
            ),
        ],
    );
}

#[test]
fn init_containers_are_checked() {
    let init = |mut fields: Value| {
        fields["image"] = "x".into();
        json!({"initContainers": [fields]})
    };
    let probe = json!({"tcpSocket": {"port": 1}});
    check(
        of_spec,
        &[
            (init(json!({"name": "a"})), &["spec.initContainers[0].name: Duplicate value: \"a\""]),
            (
                init(json!({"name": "i", "livenessProbe": probe})),
                &[
                    "spec.initContainers[0].livenessProbe: Forbidden: may not be set for init containers without restartPolicy=Always",
                ],
            ),
            (init(json!({"name": "i", "livenessProbe": probe, "restartPolicy": "Always"})), &[]),
            (
                init(json!({"name": "i", "restartPolicy": "Odd"})),
                &[
                    "spec.initContainers[0].restartPolicy: Unsupported value: \"Odd\": supported values: \"Always\", \"Never\", \"OnFailure\"",
                ],
            ),
        ],
    );
}

#[test]
fn volumes_are_checked() {
    let volume = |mut fields: Value| {
        fields["name"] = "v".into();
        json!({"volumes": [fields]})
    };
    check(
        of_spec,
        &[
            (
                json!({"volumes": [{"name": "v"}, {"name": "v"}]}),
                &["spec.volumes[1].name: Duplicate value: \"v\""],
            ),
            (
                volume(json!({"emptyDir": {}, "hostPath": {"path": "/x"}})),
                &["spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type"],
            ),
            (
                volume(json!({"emptyDir": {"sizeLimit": "-1"}})),
                &[
                    "spec.volumes[0].emptyDir.sizeLimit: Forbidden: SizeLimit field must be a valid resource quantity",
                ],
            ),
            (
                volume(json!({"hostPath": {"path": "/a/../b", "type": "Odd"}})),
                &[
                    "spec.volumes[0].hostPath.path: Invalid value: \"/a/../b\": must not contain '..'",
                    "spec.volumes[0].hostPath.type: Unsupported value: \"Odd\": supported values: \"\", \"BlockDevice\", \"CharDevice\", \"Directory\", \"DirectoryOrCreate\", \"File\", \"FileOrCreate\", \"Socket\"",
                ],
            ),
            (
                volume(
                    json!({"configMap": {"name": "", "defaultMode": 512, "items": [{"key": "", "path": "..a"}]}}),
                ),
                &[
                    "spec.volumes[0].configMap.name: Required value",
                    "spec.volumes[0].configMap.defaultMode: Invalid value: 512: must be a number between 0 and 0777 (octal), both inclusive",
                    "spec.volumes[0].configMap.items[0].key: Required value",
                    "spec.volumes[0].configMap.items[0].path: Invalid value: \"..a\": must not start with '..'",
                ],
            ),
            (volume(json!({"secret": {}})), &["spec.volumes[0].secret.secretName: Required value"]),
            (
                volume(json!({"persistentVolumeClaim": {"claimName": ""}})),
                &["spec.volumes[0].persistentVolumeClaim.claimName: Required value"],
            ),
            (
                volume(
                    json!({"downwardAPI": {"items": [{"path": "/x"}, {"path": "y", "fieldRef": {"fieldPath": "spec.nodeName"}}]}}),
                ),
                &[
                    "spec.volumes[0].downwardAPI.path: Invalid value: \"/x\": must be a relative path",
                    "spec.volumes[0].downwardAPI: Required value: one of fieldRef and resourceFieldRef is required",
                    "spec.volumes[0].downwardAPI.fieldRef.fieldPath: Unsupported value: \"spec.nodeName\": supported values: \"metadata.annotations\", \"metadata.labels\", \"metadata.name\", \"metadata.namespace\", \"metadata.uid\"",
                ],
            ),
            (
                volume(json!({"projected": {"sources": [
                    {"secret": {"name": "s", "items": [{"key": "a", "path": "p"}]}},
                    {"configMap": {"name": "m", "items": [{"key": "a", "path": "p"}]}},
                ]}})),
                &["spec.volumes[0].projected: Invalid value: \"m\": conflicting duplicate paths"],
            ),
            (
                volume(json!({"ephemeral": {}})),
                &["spec.volumes[0].ephemeral.volumeClaimTemplate: Required value"],
            ),
            (
                volume(json!({"nfs": {"server": "", "path": "a"}})),
                &[
                    "spec.volumes[0].nfs.server: Required value",
                    "spec.volumes[0].nfs.path: Invalid value: \"a\": must be an absolute path",
                ],
            ),
        ],
    );
}

#[test]
fn scheduling_is_checked() {
    let node = |term: Value| json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}});
    let pods = |term: Value| json!({"affinity": {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 101, "podAffinityTerm": term}]}}});
    let at = "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0]";
    assert_eq!(
        of_spec(node(
            json!({"matchExpressions": [{"key": "a", "operator": "Gt", "values": []}], "matchFields": [{"key": "spec.x", "operator": "In", "values": ["n"]}]})
        )),
        [
            format!(
                "{at}.matchExpressions[0].values: Required value: must be specified single value when `operator` is 'Lt' or 'Gt'"
            ),
            format!(
                "{at}.matchFields[0].key: Invalid value: \"spec.x\": not a valid field selector key"
            ),
        ]
    );
    let at = "spec.affinity.podAffinity.preferredDuringSchedulingIgnoredDuringExecution[0]";
    let problems = of_spec(pods(json!({"topologyKey": "", "matchLabelKeys": ["a"]})));
    assert_eq!(
        problems[..3],
        [
            format!("{at}.weight: Invalid value: 101: must be in the range 1-100"),
            format!(
                "{at}.podAffinityTerm.matchLabelKeys: Forbidden: must not be specified when labelSelector is not set"
            ),
            format!("{at}.podAffinityTerm.topologyKey: Required value: can not be empty"),
        ]
    );
    check(
        of_spec,
        &[
            (
                json!({"tolerations": [{"operator": "Equal"}, {"key": "a", "operator": "Exists", "value": "b", "tolerationSeconds": 1}, {"key": "a", "operator": "Lt", "effect": "Odd"}]}),
                &[
                    "spec.tolerations[0].operator: Invalid value: \"Equal\": operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
                    "spec.tolerations[1].effect: Invalid value: \"\": effect must be 'NoExecute' when `tolerationSeconds` is set",
                    "spec.tolerations[1].operator: Invalid value: \"b\": value must be empty when `operator` is 'Exists'",
                    "spec.tolerations[2].operator: Unsupported value: \"Lt\": supported values: \"Equal\", \"Exists\", \"Lt\", \"Gt\"",
                    "spec.tolerations[2].effect: Unsupported value: \"Odd\": supported values: \"NoSchedule\", \"PreferNoSchedule\", \"NoExecute\"",
                ],
            ),
            (
                json!({"topologySpreadConstraints": [
                    {"maxSkew": 0, "topologyKey": "z", "whenUnsatisfiable": "ScheduleAnyway", "minDomains": 1},
                    {"maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "ScheduleAnyway", "nodeTaintsPolicy": "Odd"},
                ]}),
                &[
                    "spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero",
                    "spec.topologySpreadConstraints[0].{topologyKey, whenUnsatisfiable}: Duplicate value: \"{z, ScheduleAnyway}\"",
                    "spec.topologySpreadConstraints[0].minDomains: Invalid value: 1: can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ScheduleAnyway",
                    "spec.topologySpreadConstraints[1].nodeTaintsPolicy: Unsupported value: \"Odd\": supported values: \"Honor\", \"Ignore\"",
                ],
            ),
        ],
    );
}

#[test]
fn security_contexts_are_checked() {
    check(
        of_spec,
        &[
            (
                json!({"securityContext": {"fsGroup": -1, "supplementalGroups": [1, -2], "fsGroupChangePolicy": "Odd", "sysctls": [{"name": "A", "value": "1"}]}}),
                &[
                    "spec.securityContext.fsGroup: Invalid value: -1: must be between 0 and 2147483647, inclusive",
                    "spec.securityContext.supplementalGroups[1]: Invalid value: -2: must be between 0 and 2147483647, inclusive",
                    "spec.securityContext.sysctls[0].name: Invalid value: \"A\": must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$",
                    "spec.securityContext.fsGroupChangePolicy: Unsupported value: \"Odd\": supported values: \"Always\", \"OnRootMismatch\"",
                ],
            ),
            (
                json!({"securityContext": {"seccompProfile": {"type": "Localhost"}, "appArmorProfile": {"type": "Odd"}}}),
                &[
                    "spec.securityContext.seccompProfile.localhostProfile: Required value: must be set when seccomp type is Localhost",
                    "spec.securityContext.appArmorProfile.type: Unsupported value: \"Odd\": supported values: \"Localhost\", \"RuntimeDefault\", \"Unconfined\"",
                ],
            ),
            (
                json!({"os": {"name": "windows"}, "securityContext": {"runAsUser": 1}}),
                &["spec.securityContext.runAsUser: Forbidden: cannot be set for a windows pod"],
            ),
        ],
    );
}

#[test]
fn annotations_are_checked() {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "p", "annotations": {
            "controller.kubernetes.io/pod-deletion-cost": "+1",
            "kubernetes.io/config.mirror": "x",
            "seccomp.security.alpha.kubernetes.io/pod": "odd",
        }},
        "spec": {"containers": [{"name": "a", "image": "web:1"}], "securityContext": {"seccompProfile": {"type": "Unconfined"}}},
    });
    assert_eq!(
        problems::<Pods>(&defaulted::<Pods>(pod)),
        [
            "metadata.annotations[kubernetes.io/config.mirror]: Invalid value: \"x\": must set spec.nodeName if mirror pod annotation is set",
            "metadata.annotations[controller.kubernetes.io/pod-deletion-cost]: Invalid value: \"+1\": must be a 32bit integer",
            "metadata.annotations.seccomp.security.alpha.kubernetes.io/pod: Invalid value: \"odd\": must be a valid seccomp profile",
            "spec.securityContext.seccompProfile.type: Forbidden: seccomp type in annotation and field must match",
        ]
    );
}

#[test]
fn templates_are_judged_at_their_path() {
    let mut of_a_deployment: PodTemplateSpec = serde_json::from_value(json!({
        "metadata": {"labels": {"app": "-"}, "annotations": {"a b": ""}},
        "spec": {"containers": [{"name": "a", "image": " web"}], "restartPolicy": "Odd", "ephemeralContainers": [{"name": "e", "image": "i"}]},
    }))
    .unwrap();
    template::default(&mut of_a_deployment);
    let problems = texts(&template::validate(&of_a_deployment, "spec.template"));
    assert!(problems[0].starts_with("spec.template.labels: Invalid value: \"-\""));
    assert!(problems[1].starts_with("spec.template.annotations: Invalid value: \"a b\""));
    assert_eq!(
        problems[2..],
        [
            "spec.template.spec.restartPolicy: Unsupported value: \"Odd\": supported values: \"Always\", \"OnFailure\", \"Never\"",
            "spec.template.spec.ephemeralContainers: Forbidden: ephemeral containers not allowed in pod template",
        ]
    );
}
