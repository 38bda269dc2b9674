//! Golden bytes, written by hand from the wire format, and properties over every kind.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::schema::sample::{self, Chooser};
use crate::schema::{Type, check_types, prune, schema, settle};

fn ty(api_version: &str, kind: &str) -> &'static Type {
    schema().by_api_version(api_version, kind).expect("kind")
}

/// Field `tag` with a length: a string or a message.
fn bytes(tag: u8, content: &[u8]) -> Vec<u8> {
    assert!(content.len() < 128 && tag < 16, "the short form only");
    [&[tag << 3 | 2, content.len() as u8], content].concat()
}

/// As `bytes`, for a tag of two bytes or a length of two.
fn long(tag: u16, content: &[u8]) -> Vec<u8> {
    let key = tag << 3 | 2;
    let varint = |value: u16| match value {
        0..128 => vec![value as u8],
        _ => vec![value as u8 | 0x80, (value >> 7) as u8],
    };
    [varint(key), varint(content.len() as u16), content.to_vec()].concat()
}

fn number(tag: u8, value: u8) -> Vec<u8> {
    assert!(value < 128 && tag < 16, "the short form only");
    vec![tag << 3, value]
}

fn envelope(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let type_meta = [bytes(1, api_version.as_bytes()), bytes(2, kind.as_bytes())].concat();
    [b"k8s\0".to_vec(), bytes(1, &type_meta), long(2, raw), bytes(3, b""), bytes(4, b"")].concat()
}

#[track_caller]
fn same(object: &Value, expected: &[u8]) {
    let (api_version, kind) = (object["apiVersion"].as_str(), object["kind"].as_str());
    let (api_version, kind) = (api_version.expect("apiVersion"), kind.expect("kind"));
    assert_eq!(encode(ty(api_version, kind), api_version, kind, object), expected);
    let decoded = decode(expected).expect("decodes");
    assert_eq!(decoded, (api_version.to_owned(), kind.to_owned(), object.clone()));
}

#[test]
fn a_config_map_has_these_bytes() {
    let meta = [
        bytes(1, b"conf"),
        bytes(3, b"ns"),
        bytes(11, &[bytes(1, b"app"), bytes(2, b"x")].concat()),
    ];
    let raw = [
        bytes(1, &meta.concat()),
        bytes(2, &[bytes(1, b"key"), bytes(2, b"value")].concat()),
        bytes(3, &[bytes(1, b"bin"), bytes(2, b"\x00\xff")].concat()),
        number(4, 1),
    ];
    same(
        &json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": { "name": "conf", "namespace": "ns", "labels": { "app": "x" } },
            "data": { "key": "value" }, "binaryData": { "bin": "AP8=" }, "immutable": true,
        }),
        &envelope("v1", "ConfigMap", &raw.concat()),
    );
}

#[test]
fn a_deployment_has_these_bytes() {
    let int_or_string = |is_string: u8, int: u8, text: &[u8]| {
        [number(1, is_string), number(2, int), bytes(3, text)].concat()
    };
    let rolling = [bytes(1, &int_or_string(0, 1, b"")), bytes(2, &int_or_string(1, 0, b"25%"))];
    let strategy = [bytes(1, b"RollingUpdate"), bytes(2, &rolling.concat())].concat();
    let spec = [
        number(1, 0),
        bytes(2, &bytes(1, &[bytes(1, b"app"), bytes(2, b"x")].concat())),
        bytes(4, &strategy),
    ];
    let raw = [bytes(1, &bytes(1, b"d")), bytes(2, &spec.concat())];
    same(
        &json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "d" },
            "spec": {
                "replicas": 0,
                "selector": { "matchLabels": { "app": "x" } },
                "strategy": { "type": "RollingUpdate",
                              "rollingUpdate": { "maxUnavailable": 1, "maxSurge": "25%" } },
            },
        }),
        &envelope("apps/v1", "Deployment", &raw.concat()),
    );
}

#[test]
fn a_pod_with_volumes_and_quantities_has_these_bytes() {
    let quantity = |name: &[u8], text: &[u8]| [bytes(1, name), bytes(2, &bytes(1, text))].concat();
    let empty_dir = [bytes(1, b"Memory"), bytes(2, &bytes(1, b"64Mi"))].concat();
    // Volume: the name, and its source as a message of its own.
    let volume = [bytes(1, b"tmp"), bytes(2, &bytes(2, &empty_dir))].concat();
    let limits = [bytes(1, &quantity(b"cpu", b"500m")), bytes(1, &quantity(b"memory", b"1Gi"))];
    let http_get =
        [bytes(1, b"/"), bytes(2, &[number(1, 0), number(2, 80), bytes(3, b"")].concat())];
    // Probe: the handler inlined in JSON is field 1.
    let probe = bytes(1, &bytes(2, &http_get.concat()));
    let container = [
        bytes(1, b"main"),
        bytes(2, b"img"),
        bytes(6, &[number(3, 80), bytes(4, b"TCP")].concat()),
        bytes(8, &limits.concat()),
        bytes(10, &probe),
    ];
    let spec = [bytes(1, &volume), bytes(2, &container.concat()), number(4, 30)];
    // 2026-01-02T03:04:05Z is 1767323045 seconds.
    let created = [0x08, 0xa5, 0xeb, 0xdc, 0xca, 0x06, 0x10, 0x00];
    let meta = [bytes(1, b"p"), bytes(8, &created)];
    let raw = [bytes(1, &meta.concat()), long(2, &spec.concat())];
    same(
        &json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": "p", "creationTimestamp": "2026-01-02T03:04:05Z" },
            "spec": {
                "volumes": [{ "name": "tmp", "emptyDir": { "medium": "Memory", "sizeLimit": "64Mi" } }],
                "containers": [{
                    "name": "main", "image": "img",
                    "ports": [{ "containerPort": 80, "protocol": "TCP" }],
                    "resources": { "limits": { "cpu": "500m", "memory": "1Gi" } },
                    "livenessProbe": { "httpGet": { "path": "/", "port": 80 } },
                }],
                "terminationGracePeriodSeconds": 30,
            },
        }),
        &envelope("v1", "Pod", &raw.concat()),
    );
}

#[test]
fn a_self_subject_access_review_as_go_sends_it_is_read() {
    // Go writes every field that is no pointer, empty or not.
    let attributes = [
        bytes(1, b"default"),
        bytes(2, b"create"),
        bytes(3, b"apps"),
        bytes(4, b""),
        bytes(5, b"deployments"),
        bytes(6, b""),
        bytes(7, b""),
    ];
    let spec = bytes(1, &attributes.concat());
    let meta: Vec<u8> =
        [[1, 2, 3, 4, 5, 6].map(|tag| bytes(tag, b"")).concat(), number(7, 0), bytes(8, b"")]
            .concat();
    let status = [number(1, 0), bytes(2, b""), bytes(3, b""), number(4, 0)];
    let raw = [bytes(1, &meta), bytes(2, &spec), bytes(3, &status.concat())];
    let sent = envelope("authorization.k8s.io/v1", "SelfSubjectAccessReview", &raw.concat());
    let (_, _, object) = decode(&sent).expect("decodes");
    assert_eq!(
        object,
        json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
            "spec": { "resourceAttributes": { "namespace": "default", "verb": "create",
                                              "group": "apps", "resource": "deployments" } },
            "status": { "allowed": false },
        })
    );
}

#[test]
fn string_lists_of_their_own_are_messages() {
    let extra = bytes(2, &[bytes(1, b"one"), bytes(1, b"two")].concat());
    let spec = bytes(5, &[bytes(1, b"k"), extra].concat());
    let raw = bytes(2, &spec);
    same(
        &json!({ "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
                 "spec": { "extra": { "k": ["one", "two"] } } }),
        &envelope("authorization.k8s.io/v1", "SubjectAccessReview", &raw),
    );
}

#[test]
fn a_watch_event_holds_its_object_in_protobuf() {
    let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "p" } });
    let event = json!({ "type": "ADDED", "object": pod });
    let watch_event = ty("v1", "WatchEvent");
    let sent = encode_message(watch_event, &event);
    let inner = encode(ty("v1", "Pod"), "v1", "Pod", &pod);
    assert_eq!(sent, [bytes(1, b"ADDED"), bytes(2, &bytes(1, &inner))].concat());
    assert_eq!(decode_as(watch_event, &sent), Ok(event));
}

#[test]
fn text_becomes_what_its_value_becomes() {
    let pod = ty("v1", "Pod");
    for text in [
        // Not in the order of the tags; inlined types; escapes; nulls; unknown fields.
        r#"{"status":{"phase":"Running"},"apiVersion":"v1","kind":"Pod","spec":{"volumes":[{"secret":{"secretName":"s"},"name":"a\u00e4"},{"name":"b"}],"containers":[{"ports":[{"containerPort":80}],"name":"c","livenessProbe":{"periodSeconds":3,"httpGet":{"port":"http"}},"env":null}]},"metadata":{"name":"p","labels":{"a":"b"},"none":[1,{}],"managedFields":[{"fieldsV1":{"f:spec":{"f:x":{}}}}]}}"#,
        // What is not of its type is left out.
        r#"{"metadata":{"name":7,"labels":["a"],"generation":1.5},"spec":{"hostNetwork":"yes","containers":{}}}"#,
        "{}",
    ] {
        let value = serde_json::from_str(text).expect("JSON");
        let mut fast = Vec::new();
        put_text(pod, text.as_bytes(), &mut fast);
        assert_eq!(fast, encode_message(pod, &value), "{text}");
        assert_eq!(
            encode_text(pod, text.as_bytes()),
            encode(
                pod,
                value["apiVersion"].as_str().unwrap_or_default(),
                value["kind"].as_str().unwrap_or_default(),
                &value
            )
        );
    }
}

#[test]
fn what_is_no_object_is_refused() {
    let none = envelope("v1", "Nothing", b"");
    assert!(matches!(decode(&none), Err(ProtobufError::UnknownKind { .. })));
    assert_eq!(decode(b"{}"), Err(ProtobufError::NoMagic));
    assert!(matches!(
        decode(&envelope("v1", "Pod", &number(1, 0))),
        Err(ProtobufError::WrongWireType { field: "metadata", .. })
    ));
    assert!(matches!(
        decode(&envelope("v1", "Pod", &bytes(1, &bytes(1, b"\xff")))),
        Err(ProtobufError::BadValue { field: "name", .. })
    ));
}

#[test]
fn nesting_is_bounded() {
    // JSONSchemaProps.not (tag 26) holds another one.
    let mut message = Vec::new();
    for _ in 0..5_000 {
        let mut outer = Vec::new();
        wire::put_bytes(&mut outer, 26, &message);
        message = outer;
        if message.len() > 60_000 {
            break;
        }
    }
    let schema_props = schema().by_name(crate::schema::types::JSON_SCHEMA_PROPS).expect("type");
    assert_eq!(decode_as(schema_props, &message), Err(ProtobufError::TooDeep));

    // Lists within lists within lists, each in an envelope.
    let mut object = encode(ty("v1", "List"), "v1", "List", &json!({}));
    for _ in 0..200 {
        let mut item = Vec::new();
        wire::put_bytes(&mut item, 1, &object);
        let mut list = Vec::new();
        wire::put_bytes(&mut list, 2, &item);
        let mut outer = b"k8s\0".to_vec();
        outer.extend(bytes(1, &[bytes(1, b"v1"), bytes(2, b"List")].concat()));
        wire::put_bytes(&mut outer, 2, &list);
        object = outer;
    }
    assert_eq!(decode(&object), Err(ProtobufError::TooDeep));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn every_kind_survives_the_way_to_protobuf_and_back(seed in sample::seeds()) {
        for ty in sample::kinds() {
            let mut choose = Chooser::new(seed);
            let object = sample::object(ty, &mut choose, 0);
            prop_assert_eq!(check_types(ty, &object), Ok(()), "{}", ty.name);
            let mut copy = object.clone();
            prop_assert!(prune(ty, &mut copy).unknown.is_empty());
            prop_assert_eq!(&copy, &object);

            let message = encode_message(ty, &object);
            let mut read = decode_as(ty, &message).expect("decodes");
            settle(ty, &mut read);
            prop_assert_eq!(read, object.clone(), "{}", ty.name);

            let gvk = ty.gvks[0];
            let api_version = if gvk.group.is_empty() {
                gvk.version.to_owned()
            } else {
                format!("{}/{}", gvk.group, gvk.version)
            };
            let sent = encode(ty, &api_version, gvk.kind, &object);
            let (_, _, mut read) = decode(&sent).expect("decodes");
            settle(ty, &mut read);
            prop_assert_eq!(encode(ty, &api_version, gvk.kind, &read), sent, "{}", ty.name);

            let text = serde_json::to_vec(&object).expect("JSON");
            let mut fast = Vec::new();
            put_text(ty, &text, &mut fast);
            prop_assert_eq!(fast, encode_message(ty, &object), "{}", ty.name);
        }
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic(raw in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&raw);
        let _ = decode(&[b"k8s\0", raw.as_slice()].concat());
        for kind in ["Pod", "Node", "List", "Event"] {
            let _ = decode_as(ty("v1", kind), &raw);
        }
    }

    #[test]
    fn damaged_objects_never_panic(seed in sample::seeds(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
        let pod = ty("v1", "Pod");
        let mut sent = encode(pod, "v1", "Pod", &sample::object(pod, &mut Chooser::new(seed), 0));
        let place = at.index(sent.len());
        sent[place] = byte;
        let _ = decode(&sent);
        sent.truncate(cut.index(sent.len()));
        let _ = decode(&sent);
    }
}
