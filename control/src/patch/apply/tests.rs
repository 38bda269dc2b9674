//! One case for each rule of each walk, and what holds for all values.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::schema::schema;

fn shape(api_version: &str, kind: &str) -> Shape {
    Shape::of(schema().by_api_version(api_version, kind).expect("kind"))
}

fn pods() -> Shape {
    shape("v1", "Pod")
}

fn text(set: &Set<'_>) -> String {
    let mut out = Vec::new();
    write(set, &mut out);
    String::from_utf8(out).expect("JSON is text")
}

fn json_of(set: &Set<'_>) -> Value {
    serde_json::from_str(&text(set)).expect("JSON")
}

fn pod(spec: Value) -> Value {
    json!({ "spec": spec })
}

#[test]
fn the_text_form_is_read_and_written_in_the_order_of_paths() {
    for same in [
        "{}",
        r#"{"f:a":{},"f:b":{".":{},"f:c":{}}}"#,
        r#"{"f:l":{"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":{".":{}},"k:{\"containerPort\":443}":{}}}"#,
        r#"{"f:s":{"v:\"a\"":{},"v:\"b\"":{},"v:true":{},"i:3":{}}}"#,
        r#"{"f:s":{"v:2":{},"v:10":{},"v:\"1\"":{}}}"#,
        r#"{"f:with \"quotes\" and \\":{}}"#,
    ] {
        let expected = same.replace(r#"{".":{}}"#, "{}");
        assert_eq!(text(&parse(same).expect(same)), expected, "{same}");
    }
    let sorted = parse(
        r#"{"v:1":{},"f:b":{},"k:{\"b\":1,\"a\":2}":{},"f:a":{"f:x":null},"z:later":{"f:a":{}}}"#,
    );
    assert_eq!(
        text(&sorted.expect("read")),
        r#"{"f:a":{"f:x":{}},"f:b":{},"k:{\"a\":2,\"b\":1}":{},"v:1":{}}"#
    );
    for bad in ["[]", "{", r#"{"x":{}}"#, r#"{"fa":{}}"#, r#"{"f:a":1}"#, r#"{"k:[]":{}}"#, "{} {}"]
    {
        assert!(parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn paths_are_shown_as_upstream_shows_them() {
    let set = parse(
        r#"{"f:a":{".":{},"k:{\"name\":\"x\",\"port\":80}":{"f:b":{}}},"f:s":{"v:\"y\"":{},"i:0":{}}}"#,
    );
    let shown: Vec<String> = set.expect("read").paths().iter().map(ToString::to_string).collect();
    assert_eq!(shown, [".a", r#".a[name="x",port=80].b"#, r#".s[="y"]"#, ".s[0]"]);
}

#[test]
fn sets_are_joined_and_parted_by_path() {
    let of = |text: &'static str| parse(text).expect("read");
    let left = of(r#"{"f:a":{".":{},"f:x":{}},"f:b":{},"f:c":{"f:y":{}}}"#);
    let right = of(r#"{"f:a":{"f:x":{},"f:z":{}},"f:c":{},"f:d":{}}"#);
    assert_eq!(
        text(&left.union(&right)),
        r#"{"f:a":{".":{},"f:x":{},"f:z":{}},"f:b":{},"f:c":{".":{},"f:y":{}},"f:d":{}}"#
    );
    assert_eq!(text(&left.intersection(&right)), r#"{"f:a":{"f:x":{}}}"#);
    assert_eq!(text(&left.difference(&right)), r#"{"f:a":{},"f:b":{},"f:c":{"f:y":{}}}"#);
    assert_eq!(text(&left.clone().without_below(&right)), r#"{"f:a":{},"f:b":{}}"#);
}

#[test]
fn a_write_keeps_what_it_can_set() {
    let of = |text: &'static str| parse(text).expect("read");
    let paths = ["status".to_owned(), "metadata.labels".to_owned()];
    let set = of(
        r#"{"f:metadata":{"f:labels":{".":{},"f:a":{}},"f:annotations":{}},"f:spec":{},"f:status":{"f:x":{}}}"#,
    );
    assert_eq!(
        text(&set.kept(Keep::AllBut(&paths))),
        r#"{"f:metadata":{"f:annotations":{}},"f:spec":{}}"#
    );
    let set = of(
        r#"{"f:metadata":{"f:labels":{}},"f:spec":{"f:containers":{"k:{\"name\":\"a\"}":{"f:image":{},"f:resources":{"f:limits":{}}}},"f:resources":{}}}"#,
    );
    assert_eq!(
        text(&set.kept(Keep::Only(&["spec.containers.*.resources", "spec.resources"]))),
        r#"{"f:spec":{"f:containers":{"k:{\"name\":\"a\"}":{"f:resources":{"f:limits":{}}}},"f:resources":{}}}"#
    );
}

#[test]
fn a_configuration_owns_its_leaves_and_its_items() {
    let cases = [
        (json!({}), json!({})),
        (
            json!({ "metadata": { "name": "a", "labels": { "x": "y" } } }),
            json!({ "f:metadata": { "f:name": {}, "f:labels": { "f:x": {} } } }),
        ),
        // Nothing and an empty map are owned themselves; an empty list is not.
        (
            json!({ "metadata": { "labels": {}, "annotations": null } }),
            json!({ "f:metadata": { "f:labels": {}, "f:annotations": {} } }),
        ),
        (
            pod(json!({ "containers": [], "tolerations": [] })),
            json!({ "f:spec": { "f:tolerations": {} } }),
        ),
        // Items by key; the key that is left out has its default.
        (
            pod(
                json!({ "containers": [{ "name": "c", "ports": [{ "containerPort": 80 }], "args": ["x"] }] }),
            ),
            json!({ "f:spec": { "f:containers": { r#"k:{"name":"c"}"#: {
            ".": {}, "f:name": {}, "f:args": {},
            "f:ports": { r#"k:{"containerPort":80,"protocol":"TCP"}"#: { ".": {}, "f:containerPort": {} } },
         } } } }),
        ),
        // An item without its key has Go's zero for it.
        (
            pod(json!({ "containers": [{ "image": "i" }] })),
            json!({ "f:spec": { "f:containers": { r#"k:{"name":""}"#: { ".": {}, "f:image": {} } } } }),
        ),
        // Sets, atomic structs and atomic maps.
        (
            json!({ "metadata": { "finalizers": ["x/a", "x/b"] } }),
            json!({ "f:metadata": { "f:finalizers": { r#"v:"x/a""#: {}, r#"v:"x/b""#: {} } } }),
        ),
        (
            pod(json!({ "nodeSelector": { "a": "b" } })),
            json!({ "f:spec": { "f:nodeSelector": {} } }),
        ),
        (
            pod(json!({ "containers": [{ "name": "c", "env": [
            { "name": "E", "valueFrom": { "secretKeyRef": { "name": "s", "key": "k" } } }] }] })),
            json!({ "f:spec": { "f:containers": { r#"k:{"name":"c"}"#: { ".": {}, "f:name": {},
            "f:env": { r#"k:{"name":"E"}"#: { ".": {}, "f:name": {}, "f:valueFrom": { "f:secretKeyRef": {} } } } } } } }),
        ),
        // Quantities and ports are leaves; their maps are not.
        (
            pod(json!({ "containers": [{ "name": "c", "resources": { "limits": { "cpu": 1 } },
            "livenessProbe": { "httpGet": { "port": "http" } } }] })),
            json!({ "f:spec": { "f:containers": { r#"k:{"name":"c"}"#: { ".": {}, "f:name": {},
            "f:resources": { "f:limits": { "f:cpu": {} } },
            "f:livenessProbe": { "f:httpGet": { "f:port": {} } } } } } }),
        ),
        // What stands twice is owned as a whole.
        (
            pod(
                json!({ "containers": [{ "name": "c", "image": "1" }, { "name": "c", "image": "2" }] }),
            ),
            json!({ "f:spec": { "f:containers": { r#"k:{"name":"c"}"#: {} } } }),
        ),
    ];
    for (value, expected) in cases {
        assert_eq!(json_of(&collect(pods(), &value)), expected, "{value}");
    }
    let claim = json!({ "spec": { "claimRef": { "name": "a" } } });
    let set = collect(shape("v1", "PersistentVolume"), &claim);
    assert_eq!(text(&set), r#"{"f:spec":{"f:claimRef":{"f:name":{}}}}"#);
}

#[track_caller]
fn check_compare(old: Value, new: Value, removed: Value, modified: Value, added: Value) {
    let comparison = compare(pods(), &old, &new).expect("comparable");
    let found = [&comparison.removed, &comparison.modified, &comparison.added].map(json_of);
    assert_eq!(found, [removed, modified, added]);
}

#[test]
fn what_is_added_is_owned_with_all_that_is_around_it() {
    let nothing = || json!({});
    check_compare(
        json!({}),
        json!({ "metadata": { "labels": { "a": "b" } } }),
        nothing(),
        nothing(),
        json!({ "f:metadata": { ".": {}, "f:labels": { ".": {}, "f:a": {} } } }),
    );
    check_compare(
        pod(json!({ "containers": [{ "name": "a", "image": "1" }] })),
        pod(
            json!({ "containers": [{ "name": "a", "image": "2" }, { "name": "b" }], "volumes": [] }),
        ),
        nothing(),
        json!({ "f:spec": { "f:containers": { r#"k:{"name":"a"}"#: { "f:image": {} } } } }),
        json!({ "f:spec": { "f:containers": { r#"k:{"name":"b"}"#: { ".": {}, "f:name": {} } }, "f:volumes": {} } }),
    );
    check_compare(
        json!({ "metadata": { "labels": { "a": "b", "c": "d" }, "finalizers": ["x/a"] } }),
        json!({ "metadata": { "labels": { "a": "b" } } }),
        json!({ "f:metadata": { "f:labels": { "f:c": {} }, "f:finalizers": { ".": {}, r#"v:"x/a""#: {} } } }),
        nothing(),
        nothing(),
    );
    // An empty list becomes one with items: the list was there.
    check_compare(
        pod(json!({ "containers": null })),
        pod(json!({ "containers": [{ "name": "a" }] })),
        nothing(),
        nothing(),
        json!({ "f:spec": { "f:containers": { r#"k:{"name":"a"}"#: { ".": {}, "f:name": {} } } } }),
    );
    // Order is nobody's, and 1.0 is 1.
    check_compare(
        pod(json!({ "containers": [{ "name": "a" }, { "name": "b" }], "priority": 1 })),
        pod(json!({ "containers": [{ "name": "b" }, { "name": "a" }], "priority": 1.0 })),
        nothing(),
        nothing(),
        nothing(),
    );
    // Atomic values change as a whole.
    check_compare(
        pod(json!({ "nodeSelector": { "a": "1" }, "tolerations": [{ "key": "a" }] })),
        pod(json!({ "nodeSelector": { "a": "1", "b": "2" }, "tolerations": [] })),
        nothing(),
        json!({ "f:spec": { "f:nodeSelector": {}, "f:tolerations": {} } }),
        nothing(),
    );
}

#[test]
fn items_that_stand_twice_are_compared_as_one() {
    let nothing = || json!({});
    let env = |env: Value| pod(json!({ "containers": [{ "name": "c", "env": env }] }));
    let of = |below: Value| json!({ "f:spec": { "f:containers": { r#"k:{"name":"c"}"#: { "f:env": { r#"k:{"name":"E"}"#: below } } } } });
    let one = |value: &str| json!({ "name": "E", "value": value });
    check_compare(
        env(json!([one("1"), one("2")])),
        env(json!([one("1"), one("3")])),
        nothing(),
        of(json!({})),
        nothing(),
    );
    check_compare(
        env(json!([one("1"), one("2")])),
        env(json!([one("1"), one("2")])),
        nothing(),
        nothing(),
        nothing(),
    );
    check_compare(
        env(json!([one("1"), one("2")])),
        env(json!([one("1")])),
        of(json!({})),
        nothing(),
        of(json!({ ".": {}, "f:name": {}, "f:value": {} })),
    );
    check_compare(
        env(json!([one("1")])),
        env(json!([one("1"), one("2")])),
        of(json!({ ".": {}, "f:name": {}, "f:value": {} })),
        nothing(),
        of(json!({})),
    );
}

#[track_caller]
fn check_merge(live: Value, config: Value, expected: Value) {
    assert_eq!(merge(pods(), &live, &config), expected);
}

#[test]
fn a_configuration_is_merged_field_by_field() {
    check_merge(
        json!({ "metadata": { "labels": { "a": "1", "b": "2" }, "finalizers": ["x/a"] }, "spec": { "nodeSelector": { "a": "1" }, "hostname": "h" } }),
        json!({ "metadata": { "labels": { "b": "3", "c": "4" }, "finalizers": ["x/b"] }, "spec": { "nodeSelector": { "b": "2" }, "hostname": null } }),
        json!({ "metadata": { "labels": { "a": "1", "b": "3", "c": "4" }, "finalizers": ["x/a", "x/b"] }, "spec": { "nodeSelector": { "b": "2" }, "hostname": null } }),
    );
    check_merge(
        pod(json!({ "containers": [{ "name": "a", "image": "1", "args": ["x", "y"] }] })),
        pod(json!({ "containers": [{ "name": "a", "args": ["z"], "tty": true }] })),
        pod(json!({ "containers": [{ "name": "a", "image": "1", "args": ["z"], "tty": true }] })),
    );
    // Nothing takes away a map with something in it, nor a list.
    check_merge(
        json!({ "metadata": { "labels": { "a": "1" } }, "spec": { "containers": [{ "name": "a" }] } }),
        json!({ "metadata": { "labels": null }, "spec": { "containers": [] } }),
        json!({ "metadata": { "labels": { "a": "1" } }, "spec": { "containers": [{ "name": "a" }] } }),
    );
}

#[test]
fn items_stand_in_the_order_of_the_configuration() {
    let list = |names: &str| {
        let finalizers: Vec<String> = names.chars().map(|name| format!("x/{name}")).collect();
        json!({ "metadata": { "finalizers": finalizers } })
    };
    for (live, config, expected) in [
        ("abc", "", "abc"),
        ("", "abc", "abc"),
        ("abc", "cba", "cba"),
        ("abc", "d", "abcd"),
        ("abc", "da", "dabc"),
        ("abc", "ad", "abcd"),
        ("abc", "cd", "abcd"),
        ("abc", "dc", "abdc"),
        ("abcd", "db", "acdb"),
        ("abcd", "bxd", "abcxd"),
        ("abcde", "edc", "abedc"),
        ("xay", "ba", "xbay"),
    ] {
        let merged = merge(pods(), &list(live), &list(config));
        let empty = config.is_empty() && live.is_empty();
        assert!(empty || merged == list(expected), "{live} + {config}: {merged}");
    }
}

#[test]
fn what_is_removed_leaves_empty_containers() {
    let value = json!({
        "metadata": { "labels": { "a": "1", "b": "2" }, "finalizers": ["x/a", "x/b"] },
        "spec": { "containers": [{ "name": "a", "image": "1", "tty": true }, { "name": "b" }], "nodeSelector": { "a": "b" } },
    });
    for (paths, pointer, expected) in [
        (r#"{"f:metadata":{"f:labels":{"f:a":{}}}}"#, "/metadata/labels", json!({ "b": "2" })),
        (r#"{"f:metadata":{"f:labels":{"f:a":{},"f:b":{}}}}"#, "/metadata/labels", json!({})),
        (r#"{"f:metadata":{"f:labels":{}}}"#, "/metadata/labels", Value::Null),
        (
            r#"{"f:metadata":{"f:finalizers":{"v:\"x/a\"":{}}}}"#,
            "/metadata/finalizers",
            json!(["x/b"]),
        ),
        (
            r#"{"f:spec":{"f:containers":{"k:{\"name\":\"a\"}":{"f:tty":{}}}}}"#,
            "/spec/containers/0",
            json!({ "name": "a", "image": "1" }),
        ),
        (
            r#"{"f:spec":{"f:containers":{"k:{\"name\":\"a\"}":{".":{},"f:tty":{}}}}}"#,
            "/spec/containers",
            json!([{ "name": "b" }]),
        ),
        (r#"{"f:spec":{"f:nodeSelector":{"f:other":{}}}}"#, "/spec/nodeSelector", json!({})),
        (r#"{"f:spec":{"f:nothing":{}}}"#, "/spec/nodeSelector", json!({ "a": "b" })),
    ] {
        let left = remove(pods(), &value, &parse(paths).expect("read"));
        assert_eq!(left.pointer(pointer).unwrap_or(&Value::Null), &expected, "{paths}");
    }
}

#[test]
fn what_is_not_of_the_type_is_named_in_upstreams_words() {
    for (value, expected) in [
        (pod(json!({ "foo": 1 })), ".spec.foo: field not declared in schema"),
        (
            pod(json!({ "hostname": 1 })),
            ".spec.hostname: expected string, got &value.valueUnstructured{Value:1}",
        ),
        (
            pod(json!({ "priority": "1" })),
            ".spec.priority: expected numeric (int or float), got string",
        ),
        (pod(json!({ "hostNetwork": "x" })), ".spec.hostNetwork: expected boolean, got &{x}"),
        (pod(json!([1, "a"])), ".spec: expected map, got &{[1 a]}"),
        (
            pod(json!({ "containers": { "a": 1 } })),
            ".spec.containers: expected list, got &{map[a:1]}",
        ),
        (
            pod(json!({ "nodeSelector": { "a": 1 } })),
            ".spec.nodeSelector.a: expected string, got &value.valueUnstructured{Value:1}",
        ),
        (
            pod(json!({ "containers": [{ "name": "a" }, { "name": "a" }] })),
            r#".spec.containers: duplicate entries for key [name="a"]"#,
        ),
        (
            pod(json!({ "containers": [{ "name": "a", "args": [1] }] })),
            r#".spec.containers[name="a"].args[0]: expected string, got &value.valueUnstructured{Value:1}"#,
        ),
        (
            pod(json!({ "containers": [null] })),
            ".spec.containers: element 0: associative list with keys may not have a null element",
        ),
        (
            json!({ "metadata": { "finalizers": [null] } }),
            ".metadata.finalizers: element 0: associative list without keys has an element that's an explicit null",
        ),
        (
            json!({ "metadata": { "creationTimestamp": {} } }),
            ".metadata.creationTimestamp: expected any scalar, got &{map[]}",
        ),
        (
            json!({ "spec": { "hostname": 1, "priority": "x" } }),
            "errors:\n  .spec.hostname: expected string, got &value.valueUnstructured{Value:1}\n  .spec.priority: expected numeric (int or float), got string",
        ),
    ] {
        let found = check(pods(), &value).expect_err("a misfit").to_string();
        assert_eq!(found, expected, "{value}");
    }
    let account = json!({ "secrets": [{ "namespace": "n" }] });
    assert_eq!(
        check(shape("v1", "ServiceAccount"), &account).expect_err("a misfit").to_string(),
        r#".secrets: element 0: associative list with keys has an element that omits all key fields ["name"] (and doesn't have default values for any key fields)"#
    );
    let fine = pod(
        json!({ "hostname": null, "containers": [{ "name": "a", "resources": { "limits": { "cpu": 1 } },
        "livenessProbe": { "httpGet": { "port": 80 } } }] }),
    );
    assert_eq!(check(pods(), &fine), Ok(()));
}

#[test]
fn what_has_become_atomic_is_owned_as_a_whole() {
    let set = parse(
        r#"{"f:spec":{"f:nodeSelector":{"f:a":{}},"f:tolerations":{"k:{\"key\":\"a\"}":{}},"f:containers":{"k:{\"name\":\"c\"}":{"f:args":{"i:0":{}},"f:image":{}}},"f:gone":{"f:x":{}}}}"#,
    );
    let reconciled = set.expect("read").reconciled(pods()).expect("changed");
    assert_eq!(
        text(&reconciled),
        r#"{"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{"f:args":{},"f:image":{}}},"f:gone":{"f:x":{}},"f:nodeSelector":{},"f:tolerations":{}}}"#
    );
    assert!(reconciled.reconciled(pods()).is_none());
}

#[test]
fn structs_are_there_before_anything_is_set_in_them() {
    let zero = shape("apps/v1", "Deployment").zero();
    assert_eq!(zero["spec"]["selector"], Value::Null);
    assert_eq!(zero["spec"]["template"]["spec"], json!({ "containers": null }));
    assert_eq!(zero["metadata"], json!({}));
    let new = json!({ "metadata": { "name": "a", "labels": { "a": "b" } }, "spec": {
        "strategy": { "type": "Recreate" },
        "template": { "metadata": { "labels": { "a": "b" } }, "spec": { "containers": [{ "name": "c" }] } },
    } });
    let comparison = compare(shape("apps/v1", "Deployment"), &zero, &new).expect("comparable");
    assert_eq!(
        json_of(&comparison.set()),
        json!({
            "f:metadata": { "f:name": {}, "f:labels": { ".": {}, "f:a": {} } },
            "f:spec": {
                "f:strategy": { "f:type": {} },
                "f:template": {
                    "f:metadata": { "f:labels": { ".": {}, "f:a": {} } },
                    "f:spec": { "f:containers": { r#"k:{"name":"c"}"#: { ".": {}, "f:name": {} } } },
                },
            },
        })
    );
}

/// A value of these fields that others may have or not, from few names so that they meet.
fn pod_value() -> impl Strategy<Value = Value> {
    let name = prop::sample::select(vec!["a", "b", "c"]);
    let leaf = prop::sample::select(vec!["1", "2"]);
    let labels = prop::collection::btree_map(name.clone(), leaf.clone(), 0..3);
    let env = prop::collection::btree_map(name.clone(), leaf.clone(), 0..3);
    let container =
        (env, prop::option::of(leaf.clone()), prop::collection::vec(leaf.clone(), 0..2));
    let containers = prop::collection::btree_map(name.clone(), container, 0..3);
    let finalizers = prop::collection::btree_set(name, 0..3);
    (labels, containers, finalizers, any::<bool>()).prop_map(
        |(labels, containers, finalizers, turned)| {
            let mut list: Vec<Value> = containers
                .into_iter()
                .map(|(name, (env, image, args))| {
                    let env: Vec<Value> = env
                        .iter()
                        .map(|(name, value)| json!({ "name": name, "value": value }))
                        .collect();
                    let mut container = json!({ "name": name });
                    if !env.is_empty() {
                        container["env"] = env.into();
                    }
                    if !args.is_empty() {
                        container["args"] = args.into();
                    }
                    if let Some(image) = image {
                        container["image"] = image.into();
                    }
                    container
                })
                .collect();
            if turned {
                list.reverse();
            }
            let mut pod = json!({});
            if !labels.is_empty() {
                pod["metadata"]["labels"] = json!(labels);
            }
            if !finalizers.is_empty() {
                pod["metadata"]["finalizers"] = json!(finalizers);
            }
            if !list.is_empty() {
                pod["spec"]["containers"] = list.into();
            }
            pod
        },
    )
}

fn setting<'a>(versions: &'a OneVersion<'a>) -> Setting<'a> {
    Setting { api_version: "v1", shape: pods(), versions, keep: Keep::AllBut(&[]) }
}

fn actor(name: &str, applies: bool) -> Actor<'static> {
    Actor {
        manager: name.to_owned().into(),
        applies,
        api_version: if applies { "" } else { "v1" }.into(),
        subresource: "".into(),
    }
}

proptest! {
    #[test]
    fn text_and_set_are_the_same(value in pod_value()) {
        let set = collect(pods(), &value);
        let written = text(&set);
        prop_assert_eq!(&parse(&written).expect("read"), &set);
        prop_assert_eq!(text(&parse(&written).expect("read")), written);
    }

    #[test]
    fn sets_obey_the_laws_of_sets(left in pod_value(), right in pod_value()) {
        let (left, right) = (collect(pods(), &left), collect(pods(), &right));
        let union = left.union(&right);
        prop_assert_eq!(&union, &right.union(&left));
        prop_assert_eq!(&left.difference(&right).union(&left.intersection(&right)), &left);
        prop_assert_eq!(&union.difference(&right), &left.difference(&right));
        prop_assert!(left.difference(&left).is_empty());
        prop_assert_eq!(&left.intersection(&left), &left);
    }

    #[test]
    fn a_comparison_is_empty_for_the_same_and_turns_with_its_sides(left in pod_value(), right in pod_value()) {
        prop_assert!(compare(pods(), &left, &left).expect("comparable").is_same());
        let there = compare(pods(), &left, &right).expect("comparable");
        let back = compare(pods(), &right, &left).expect("comparable");
        prop_assert_eq!(&there.removed, &back.added);
        prop_assert_eq!(&there.modified, &back.modified);
    }

    #[test]
    fn a_merge_holds_the_configuration_and_is_done_once(live in pod_value(), config in pod_value()) {
        let merged = merge(pods(), &live, &config);
        let again = merge(pods(), &merged, &config);
        prop_assert_eq!(&again, &merged);
        let set = collect(pods(), &config);
        prop_assert_eq!(collect(pods(), &merged).intersection(&set), set);
    }

    #[test]
    fn what_was_applied_is_applied_again_without_a_change(live in pod_value(), config in pod_value()) {
        let versions = OneVersion("v1", pods());
        let setting = setting(&versions);
        let me = actor("me", true);
        let mut owners = Owners::new();
        let first = apply(setting, &live, &config, &mut owners, &me, false).expect("no conflict");
        let object = first.unwrap_or_else(|| live.clone());
        let before = owners.clone();
        let again = apply(setting, &object, &config, &mut owners, &me, false).expect("no conflict");
        prop_assert_eq!(again, None);
        let sets = |owners: &Owners<'_>| owners.iter().map(|(actor, owned)| (actor.manager.to_string(), text(&owned.set))).collect::<Vec<_>>();
        prop_assert_eq!(sets(&owners), sets(&before));
    }

    #[test]
    fn what_one_applies_and_takes_back_is_gone(live in pod_value(), config in pod_value()) {
        let versions = OneVersion("v1", pods());
        let setting = setting(&versions);
        // Somebody else has set all of the live object, and owns it.
        let mut owners = Owners::new();
        let empty = json!({});
        let set = compare(pods(), &empty, &live).expect("comparable").set();
        if !set.is_empty() {
            owners.insert(actor("other", false), Owned { api_version: "v1".into(), set, changed: false });
        }
        let me = actor("me", true);
        let applied = apply(setting, &live, &config, &mut owners, &me, true).expect("forced");
        let object = applied.unwrap_or_else(|| live.clone());
        let back = apply(setting, &object, &empty, &mut owners, &me, true).expect("forced");
        let back = back.unwrap_or(object);
        // What is left was there before, if only as something empty by now.
        let before = compare(pods(), &empty, &live).expect("comparable").set();
        prop_assert!(collect(pods(), &back).difference(&before).is_empty(), "{back}");
        for (actor, owned) in &owners {
            prop_assert!(*actor != me || owned.set.is_empty());
        }
    }

    #[test]
    fn two_appliers_who_do_not_force_never_take_from_each_other(live in pod_value(), first in pod_value(), second in pod_value()) {
        let versions = OneVersion("v1", pods());
        let setting = setting(&versions);
        let (one, two) = (actor("one", true), actor("two", true));
        let mut owners = Owners::new();
        let object = apply(setting, &live, &first, &mut owners, &one, false).expect("alone").unwrap_or_else(|| live.clone());
        let mine = owners.get(&one).map(|owned| owned.set.clone()).unwrap_or_default();
        match apply(setting, &object, &second, &mut owners, &two, false) {
            Ok(new) => {
                let new = new.unwrap_or(object);
                prop_assert_eq!(owners.get(&one).map(|owned| owned.set.clone()).unwrap_or_default(), mine);
                let merged = merge(pods(), &new, &first);
                prop_assert!(compare(pods(), &new, &merged).expect("comparable").is_same());
            }
            Err(Refused::Conflicts(conflicts)) => {
                for conflict in conflicts {
                    prop_assert_eq!(&conflict.actor, &one);
                    prop_assert!(mine.has(&conflict.path.0));
                }
            }
            Err(Refused::Misfits(misfits)) => prop_assert!(false, "{misfits}"),
        }
    }
}
