use serde_json::{Value, json};

use super::*;

fn object(
    kind: ObjectKind,
    name: &str,
    data: &[(&str, &str)],
) -> (ObjectRef, Option<Arc<Payload>>) {
    let text = data.iter().map(|(key, value)| ((*key).into(), value.as_bytes().to_vec())).collect();
    let payload = Payload { version: "1".into(), text, binary: BTreeMap::new() };
    (ObjectRef { kind, namespace: "ns".into(), name: name.into() }, Some(Arc::new(payload)))
}

fn env_of(spec: Value) -> Result<Vec<(String, String)>, String> {
    let pod: Pod = serde_json::from_value(json!({
        "metadata": { "name": "web-1", "namespace": "ns", "uid": "u1", "labels": { "app": "web" } },
        "spec": { "nodeName": "n1", "containers": [spec] }
    }))
    .unwrap();
    let service = ServiceLink {
        name: "back-end".into(),
        address: "10.96.0.7".parse().unwrap(),
        ports: vec![ServiceLinkPort { name: "http".into(), port: 80, protocol: "TCP" }],
    };
    let objects = HashMap::from([
        object(ObjectKind::ConfigMap, "conf", &[("COLOUR", "blue"), ("size", "9")]),
        object(ObjectKind::Secret, "key", &[("token", "s3cret")]),
    ]);
    let capacity = Capacity {
        cpu_millis: 2000,
        memory_bytes: 1 << 30,
        pods: 10,
        ephemeral_storage_bytes: 1 << 30,
    };
    let context = EnvContext {
        pod: &pod,
        pod_ip: Some("10.244.0.5".parse().unwrap()),
        host_ip: "127.0.0.1".parse().unwrap(),
        hostname: "web-1",
        capacity: &capacity,
        services: &[service],
        objects: &objects,
    };
    build(&context, &pod.spec.as_ref().unwrap().containers[0])
}

fn value_of(spec: Value, name: &str) -> Option<String> {
    let env = env_of(spec).unwrap();
    env.into_iter().find(|(key, _)| key == name).map(|(_, value)| value)
}

#[test]
fn references_are_expanded_as_upstream_expands_them() {
    let lookup = |name: &str| match name {
        "A" => Some("1"),
        "EMPTY" => Some(""),
        _ => None,
    };
    for (text, expected) in [
        ("$(A)", "1"),
        ("x$(A)y$(A)", "x1y1"),
        ("$$(A)", "$(A)"),
        ("$(B)", "$(B)"),
        ("$(EMPTY)|", "|"),
        ("$A", "$A"),
        ("$(A", "$(A"),
        ("100$", "100$"),
        ("$$$(A)", "$1"),
    ] {
        assert_eq!(expand(text, lookup), expected, "{text}");
    }
}

#[test]
fn env_overrides_env_from_and_sees_what_stands_before_it() {
    let spec = json!({
        "name": "c",
        "envFrom": [{ "configMapRef": { "name": "conf" } }, { "prefix": "P_", "secretRef": { "name": "key" } }],
        "env": [
            { "name": "COLOUR", "value": "dark-$(COLOUR)" },
            { "name": "URL", "value": "http://$(BACK_END_SERVICE_HOST):$(BACK_END_SERVICE_PORT)/$(LATER)" },
            { "name": "LATER", "value": "x" }
        ]
    });
    assert_eq!(value_of(spec.clone(), "COLOUR").unwrap(), "dark-blue");
    assert_eq!(value_of(spec.clone(), "P_token").unwrap(), "s3cret");
    assert_eq!(value_of(spec.clone(), "URL").unwrap(), "http://10.96.0.7:80/$(LATER)");
    assert_eq!(value_of(spec, "HOSTNAME").unwrap(), "web-1");
}

#[test]
fn fields_resources_and_keys_are_resolved() {
    let from = |source: Value| {
        let spec = json!({
            "name": "c",
            "resources": { "limits": { "cpu": "250m" }, "requests": { "memory": "64Mi" } },
            "env": [{ "name": "V", "valueFrom": source }]
        });
        value_of(spec, "V")
    };
    let field = |path: &str| from(json!({ "fieldRef": { "fieldPath": path } })).unwrap();
    assert_eq!(field("metadata.name"), "web-1");
    assert_eq!(field("metadata.labels['app']"), "web");
    assert_eq!(field("metadata.labels"), "app=\"web\"");
    assert_eq!(field("status.podIP"), "10.244.0.5");
    assert_eq!(field("spec.nodeName"), "n1");
    let resource = |resource: &str, divisor: &str| {
        from(json!({ "resourceFieldRef": { "resource": resource, "divisor": divisor } })).unwrap()
    };
    assert_eq!(resource("limits.cpu", "1m"), "250");
    assert_eq!(resource("limits.cpu", "0"), "1");
    assert_eq!(resource("limits.memory", "1Mi"), "1024");
    assert_eq!(resource("requests.memory", "1Mi"), "64");
    let key = |name: &str, key: &str, optional: bool| {
        from(json!({ "configMapKeyRef": { "name": name, "key": key, "optional": optional } }))
    };
    assert_eq!(key("conf", "size", false).unwrap(), "9");
    assert_eq!(key("conf", "nope", true), None);
    assert_eq!(key("nope", "size", true), None);
}

#[test]
fn what_is_missing_is_named() {
    let key = json!({ "configMapKeyRef": { "name": "conf", "key": "nope" } });
    let spec = json!({ "name": "c", "env": [{ "name": "V", "valueFrom": key }] });
    assert_eq!(env_of(spec).unwrap_err(), "couldn't find key nope in ConfigMap ns/conf");
    let spec = json!({ "name": "c", "envFrom": [{ "secretRef": { "name": "gone" } }] });
    assert_eq!(env_of(spec).unwrap_err(), "secret \"gone\" not found");
}

#[test]
fn argv_starts_with_the_image_name_unless_there_is_a_command() {
    let argv = |command: Value, image: &str| {
        let container: Container = serde_json::from_value(
            json!({ "name": "c", "command": command, "args": ["$(A)", "b"] }),
        )
        .unwrap();
        arguments(&container, image, &[("A".into(), "1".into())])
    };
    assert_eq!(argv(json!(null), "example.org/team/hello.wasm:v1"), ["hello", "1", "b"]);
    assert_eq!(argv(json!(["/bin/x"]), "hello"), ["/bin/x", "1", "b"]);
}
