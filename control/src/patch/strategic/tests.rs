//! One case for each directive and each strategy.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::schema::schema;

fn patched(kind: &str, object: Value, patch: Value) -> Result<Value> {
    let api_version = if kind == "Deployment" { "apps/v1" } else { "v1" };
    let ty = schema().by_api_version(api_version, kind).expect("kind");
    strategic(ty, &object, &patch)
}

#[track_caller]
fn check(kind: &str, object: Value, patch: Value, expected: Value) {
    assert_eq!(patched(kind, object, patch), Ok(expected));
}

#[track_caller]
fn spec(object: Value, patch: Value, expected: Value) {
    let wrap = |spec: Value| json!({ "spec": spec });
    check("Pod", wrap(object), wrap(patch), wrap(expected));
}

#[test]
fn objects_merge_and_nulls_delete() {
    check(
        "Pod",
        json!({ "metadata": { "name": "p", "labels": { "a": "1", "b": "2" } } }),
        json!({ "metadata": { "labels": { "a": null, "c": "3", "absent": null }, "annotations": { "x": "y", "z": null } } }),
        json!({ "metadata": { "name": "p", "labels": { "b": "2", "c": "3" }, "annotations": { "x": "y" } } }),
    );
}

#[test]
fn lists_with_a_merge_key_merge_by_it() {
    // What is new comes before what the patch does not name: upstream's order.
    spec(
        json!({ "containers": [{ "name": "a", "image": "1", "tty": true }, { "name": "b", "image": "1" }] }),
        json!({ "containers": [{ "name": "a", "image": "2" }, { "name": "c", "image": "3" }] }),
        json!({ "containers": [{ "name": "a", "image": "2", "tty": true },
                               { "name": "c", "image": "3" }, { "name": "b", "image": "1" }] }),
    );
}

#[test]
fn ports_merge_by_container_port() {
    spec(
        json!({ "containers": [{ "name": "a", "ports": [{ "containerPort": 80 }, { "containerPort": 90 }] }] }),
        json!({ "containers": [{ "name": "a", "ports": [{ "containerPort": 80, "name": "http" }] }] }),
        json!({ "containers": [{ "name": "a", "ports": [{ "containerPort": 80, "name": "http" }, { "containerPort": 90 }] }] }),
    );
}

#[test]
fn lists_without_a_merge_strategy_are_replaced() {
    spec(
        json!({ "containers": [{ "name": "a", "args": ["1", "2"] }], "tolerations": [{ "key": "x" }] }),
        json!({ "containers": [{ "name": "a", "args": ["3"] }], "tolerations": [{ "key": "y" }] }),
        json!({ "containers": [{ "name": "a", "args": ["3"] }], "tolerations": [{ "key": "y" }] }),
    );
}

#[test]
fn primitive_lists_with_a_merge_strategy_are_united() {
    check(
        "Pod",
        json!({ "metadata": { "finalizers": ["a", "b"] } }),
        json!({ "metadata": { "finalizers": ["b", "c"] } }),
        json!({ "metadata": { "finalizers": ["a", "b", "c"] } }),
    );
}

#[test]
fn delete_from_primitive_list_takes_values_out() {
    check(
        "Pod",
        json!({ "metadata": { "finalizers": ["a", "b", "c"] } }),
        json!({ "metadata": { "$deleteFromPrimitiveList/finalizers": ["b", "z"] } }),
        json!({ "metadata": { "finalizers": ["a", "c"] } }),
    );
    check(
        "Pod",
        json!({ "metadata": { "finalizers": ["a", "b", "c"] } }),
        json!({ "metadata": { "$deleteFromPrimitiveList/finalizers": ["a"],
                              "$setElementOrder/finalizers": ["c", "d", "b"], "finalizers": ["d"] } }),
        json!({ "metadata": { "finalizers": ["c", "d", "b"] } }),
    );
    let wrong = json!({ "metadata": { "$deleteFromPrimitiveList": ["b"] } });
    assert_eq!(patched("Pod", json!({ "metadata": {} }), wrong), Err(PatchError::PrimitiveList));
}

#[test]
fn patch_replace_replaces_an_object() {
    spec(
        json!({ "securityContext": { "runAsUser": 1, "fsGroup": 2 } }),
        json!({ "securityContext": { "$patch": "replace", "runAsUser": 3 } }),
        json!({ "securityContext": { "runAsUser": 3 } }),
    );
}

#[test]
fn patch_delete_empties_an_object() {
    spec(
        json!({ "securityContext": { "runAsUser": 1 }, "nodeName": "n" }),
        json!({ "securityContext": { "$patch": "delete" } }),
        json!({ "securityContext": {}, "nodeName": "n" }),
    );
}

#[test]
fn patch_delete_takes_an_element_out() {
    spec(
        json!({ "containers": [{ "name": "a" }, { "name": "b" }, { "name": "c" }] }),
        json!({ "containers": [{ "name": "b", "$patch": "delete" }, { "name": "absent", "$patch": "delete" }] }),
        json!({ "containers": [{ "name": "a" }, { "name": "c" }] }),
    );
}

#[test]
fn patch_replace_in_a_list_replaces_the_list() {
    spec(
        json!({ "containers": [{ "name": "a" }, { "name": "b" }] }),
        json!({ "containers": [{ "$patch": "replace" }, { "name": "z" }, { "name": "y" }] }),
        json!({ "containers": [{ "name": "z" }, { "name": "y" }] }),
    );
}

#[test]
fn unknown_directives_are_refused() {
    let object = json!({ "spec": { "containers": [{ "name": "a" }] } });
    let error = patched("Pod", object.clone(), json!({ "spec": { "$patch": "twist" } }));
    assert!(matches!(error, Err(PatchError::UnknownDirective { .. })));
    let error = patched("Pod", object.clone(), json!({ "spec": { "$patch": "merge" } }));
    assert!(matches!(error, Err(PatchError::UnknownDirective { .. })));
    let in_list = |directive: &str| json!({ "spec": { "containers": [{ "name": "a", "$patch": directive }] } });
    let error = patched("Pod", object.clone(), in_list("merge"));
    assert_eq!(error, Err(PatchError::MergeDirectiveInList));
    let error = patched("Pod", object, in_list("twist"));
    assert!(matches!(error, Err(PatchError::UnknownDirective { .. })));
}

#[test]
fn retain_keys_drops_what_it_does_not_name() {
    check(
        "Deployment",
        json!({ "spec": { "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 1 } } } }),
        json!({ "spec": { "strategy": { "$retainKeys": ["type"], "type": "Recreate" } } }),
        json!({ "spec": { "strategy": { "type": "Recreate" } } }),
    );
    spec(
        json!({ "volumes": [{ "name": "v", "emptyDir": {} }] }),
        json!({ "volumes": [{ "name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": { "path": "/x" } }] }),
        json!({ "volumes": [{ "name": "v", "hostPath": { "path": "/x" } }] }),
    );
    let foreign =
        json!({ "spec": { "strategy": { "$retainKeys": ["type"], "rollingUpdate": {} } } });
    let object = json!({ "spec": { "strategy": { "type": "Recreate" } } });
    assert_eq!(patched("Deployment", object, foreign), Err(PatchError::RetainKeys));
}

#[test]
fn set_element_order_orders_what_it_names_and_keeps_the_rest_in_place() {
    spec(
        json!({ "containers": [{ "name": "a" }, { "name": "server" }, { "name": "b" }, { "name": "c" }] }),
        json!({ "$setElementOrder/containers": [{ "name": "c" }, { "name": "b" }, { "name": "a" }] }),
        json!({ "containers": [{ "name": "server" }, { "name": "c" }, { "name": "b" }, { "name": "a" }] }),
    );
    spec(
        json!({ "containers": [{ "name": "a" }, { "name": "server" }, { "name": "b" }] }),
        json!({ "$setElementOrder/containers": [{ "name": "a" }, { "name": "new" }, { "name": "b" }],
                "containers": [{ "name": "new", "image": "i" }, { "name": "b", "image": "j" }] }),
        json!({ "containers": [{ "name": "a" }, { "name": "new", "image": "i" },
                               { "name": "server" }, { "name": "b", "image": "j" }] }),
    );
}

#[test]
fn set_element_order_works_beside_deletions_and_on_new_lists() {
    spec(
        json!({ "containers": [{ "name": "a" }, { "name": "b" }, { "name": "c" }] }),
        json!({ "$setElementOrder/containers": [{ "name": "c" }, { "name": "a" }],
                "containers": [{ "name": "b", "$patch": "delete" }] }),
        json!({ "containers": [{ "name": "c" }, { "name": "a" }] }),
    );
    spec(
        json!({}),
        json!({ "$setElementOrder/volumes": [{ "name": "x" }],
                "volumes": [{ "name": "x", "emptyDir": {} }, { "name": "gone", "$patch": "delete" }] }),
        json!({ "volumes": [{ "name": "x", "emptyDir": {} }] }),
    );
}

#[test]
fn set_element_order_must_agree_with_the_patch() {
    let object = json!({ "spec": { "containers": [{ "name": "a" }] } });
    let patch = json!({ "spec": { "$setElementOrder/containers": [{ "name": "a" }, { "name": "b" }],
                                  "containers": [{ "name": "b" }, { "name": "a" }] } });
    assert!(matches!(patched("Pod", object.clone(), patch), Err(PatchError::OrderMismatch { .. })));
    let patch = json!({ "spec": { "$setElementOrder": [] } });
    assert_eq!(patched("Pod", object, patch), Err(PatchError::SetElementOrder));
}

#[test]
fn elements_without_their_merge_key_are_refused() {
    let object = json!({ "spec": { "containers": [{ "name": "a" }] } });
    let error = patched("Pod", object, json!({ "spec": { "containers": [{ "image": "x" }] } }));
    assert_eq!(
        error.map_err(|error| error.to_string()),
        Err("map: map[image:x] does not contain declared merge key: name".to_owned())
    );
}

#[test]
fn directives_and_nulls_in_new_values_vanish() {
    spec(
        json!({}),
        json!({ "containers": [{ "name": "a", "image": null }, { "name": "b", "$patch": "delete" }],
                "securityContext": { "$patch": "delete" },
                "affinity": { "nodeAffinity": null } }),
        json!({ "containers": [{ "name": "a" }], "affinity": {} }),
    );
}

#[test]
fn a_field_of_another_type_is_replaced() {
    spec(
        json!({ "containers": [] }),
        json!({ "containers": "odd" }),
        json!({ "containers": "odd" }),
    );
}

#[test]
fn raw_extensions_merge_as_plain_json() {
    let ty = schema().by_api_version("apps/v1", "ControllerRevision").expect("kind");
    let object = json!({ "data": { "spec": { "a": [1], "b": { "c": 1 } } } });
    let patch = json!({ "data": { "spec": { "a": [2], "b": { "d": 2 } } } });
    assert_eq!(
        strategic(ty, &object, &patch),
        Ok(json!({ "data": { "spec": { "a": [2], "b": { "c": 1, "d": 2 } } } }))
    );
}

proptest! {
    #[test]
    fn a_patch_of_the_object_itself_changes_nothing(names in prop::collection::btree_set("[a-d]", 1..4), finalizers in prop::collection::btree_set("[a-d]", 1..4)) {
        let containers: Vec<Value> = names.iter().map(|name| json!({ "name": name, "args": ["x"] })).collect();
        let object = json!({ "metadata": { "finalizers": finalizers }, "spec": { "containers": containers } });
        prop_assert_eq!(patched("Pod", object.clone(), object.clone()), Ok(object));
    }
}

#[test]
fn fields_that_the_type_does_not_have_are_refused_where_they_would_merge() {
    let object = json!({ "spec": { "odd": { "a": 1 } } });
    let error = patched("Pod", object, json!({ "spec": { "odd": { "b": 1 } } }));
    assert_eq!(
        error.map_err(|error| error.to_string()),
        Err(r#"unable to find api field in struct PodSpec for the json field "odd""#.to_owned())
    );
}

/// What each directive makes of a pod's spec, or what is said of it: `live`, `patch`, `expected`.
///
/// Source: the rules of `strategicpatch/patch.go`, and the pages of the documentation about `kubectl
/// patch` and about strategic merge patches (`sig-api-machinery/strategic-merge-patch.md`).
#[test]
fn every_directive_in_every_place() {
    let named = |name: &str| json!({ "name": name });
    let table: Vec<(Value, Value, std::result::Result<Value, &str>)> = vec![
        // The documentation's own examples.
        (
            json!({ "containers": [{ "name": "patch-demo-ctr", "image": "nginx" }], "tolerations": [{ "effect": "NoSchedule", "key": "dedicated", "value": "test-team" }] }),
            json!({ "containers": [{ "name": "patch-demo-ctr-2", "image": "redis" }] }),
            Ok(
                json!({ "containers": [{ "name": "patch-demo-ctr-2", "image": "redis" }, { "name": "patch-demo-ctr", "image": "nginx" }],
                       "tolerations": [{ "effect": "NoSchedule", "key": "dedicated", "value": "test-team" }] }),
            ),
        ),
        (
            json!({ "tolerations": [{ "effect": "NoSchedule", "key": "dedicated", "value": "test-team" }] }),
            json!({ "tolerations": [{ "effect": "NoSchedule", "key": "disktype", "value": "ssd" }] }),
            Ok(
                json!({ "tolerations": [{ "effect": "NoSchedule", "key": "disktype", "value": "ssd" }] }),
            ),
        ),
        // $patch: replace
        (
            json!({ "nodeSelector": { "a": "1", "b": "2" } }),
            json!({ "nodeSelector": { "$patch": "replace", "c": "3" } }),
            Ok(json!({ "nodeSelector": { "c": "3" } })),
        ),
        (
            json!({ "containers": [{ "name": "a", "image": "1", "resources": { "limits": { "cpu": "1" } } }] }),
            json!({ "containers": [{ "name": "a", "resources": { "$patch": "replace", "requests": { "cpu": "1" } } }] }),
            Ok(
                json!({ "containers": [{ "name": "a", "image": "1", "resources": { "requests": { "cpu": "1" } } }] }),
            ),
        ),
        (
            json!({ "containers": [named("a"), named("b")] }),
            json!({ "containers": [{ "$patch": "replace" }] }),
            Ok(json!({ "containers": [] })),
        ),
        (
            json!({ "containers": [named("a"), named("b")] }),
            json!({ "containers": [{ "$patch": "replace" }, { "name": "b", "$patch": "delete" }, named("c")] }),
            Ok(json!({ "containers": [named("c")] })),
        ),
        // $patch: delete
        (
            json!({ "containers": [named("a")], "nodeName": "n" }),
            json!({ "$patch": "delete" }),
            Ok(json!({})),
        ),
        (
            json!({ "containers": [named("a")] }),
            json!({ "containers": [{ "$patch": "delete", "image": "x" }] }),
            Err("map: map[$patch:delete image:x] does not contain declared merge key: name"),
        ),
        (
            json!({ "containers": [named("a")] }),
            json!({ "containers": [{ "name": "a", "$patch": "delete" }, { "name": "a", "image": "x" }] }),
            Ok(json!({ "containers": [{ "name": "a", "image": "x" }] })),
        ),
        // Other values of $patch
        (
            json!({ "nodeSelector": { "a": "1" } }),
            json!({ "nodeSelector": { "$patch": "merge", "b": "2" } }),
            Err("unknown patch type: merge in map: map[$patch:merge b:2]"),
        ),
        (
            json!({ "containers": [named("a")] }),
            json!({ "containers": [{ "name": "a", "$patch": "merge" }] }),
            Err("merging lists cannot yet be specified in the patch"),
        ),
        (
            json!({ "containers": [named("a")] }),
            json!({ "containers": [{ "name": "a", "$patch": "spin" }] }),
            Err("unknown patch type: spin in map: map[$patch:spin name:a]"),
        ),
        // Beside what is not there, directives do nothing.
        (
            json!({}),
            json!({ "nodeSelector": { "$patch": "spin" }, "volumes": [{ "name": "v", "$patch": "delete" }] }),
            Ok(json!({ "volumes": [] })),
        ),
        // $retainKeys
        (
            json!({ "volumes": [{ "name": "v", "emptyDir": {} }, { "name": "w", "emptyDir": {} }] }),
            json!({ "volumes": [{ "name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": { "path": "/" } }] }),
            Ok(
                json!({ "volumes": [{ "name": "v", "hostPath": { "path": "/" } }, { "name": "w", "emptyDir": {} }] }),
            ),
        ),
        (
            json!({ "volumes": [{ "name": "v", "emptyDir": {} }] }),
            json!({ "volumes": [{ "name": "v", "$retainKeys": ["name"], "emptyDir": null }] }),
            Ok(json!({ "volumes": [named("v")] })),
        ),
        (
            json!({ "volumes": [{ "name": "v", "emptyDir": {} }] }),
            json!({ "volumes": [{ "name": "v", "$retainKeys": "name" }] }),
            Err("invalid patch format of retainKeys"),
        ),
        (
            json!({ "volumes": [{ "name": "v", "emptyDir": {} }] }),
            json!({ "volumes": [{ "name": "v", "$retainKeys": ["name"], "hostPath": { "path": "/" } }] }),
            Err("invalid patch format of retainKeys"),
        ),
        // $setElementOrder
        (
            json!({ "containers": [named("a"), named("b"), named("c")] }),
            json!({ "$setElementOrder/containers": [named("c"), named("a")] }),
            Ok(json!({ "containers": [named("b"), named("c"), named("a")] })),
        ),
        (
            json!({ "containers": [named("a")] }),
            json!({ "$setElementOrder/containers": [named("b"), named("a")], "containers": [named("b")] }),
            Ok(json!({ "containers": [named("b"), named("a")] })),
        ),
        (json!({}), json!({ "$setElementOrder/volumes": [named("b"), named("a")] }), Ok(json!({}))),
        (
            json!({ "containers": [named("a")] }),
            json!({ "$setElementOrder/containers": "a" }),
            Err("expected a []interface {}, but received a string"),
        ),
        (
            json!({ "containers": [named("a")] }),
            json!({ "$setElementOrder": [] }),
            Err("invalid patch format of setElementOrder list"),
        ),
        (
            json!({ "containers": [named("a"), named("b")] }),
            json!({ "$setElementOrder/containers": [named("a")], "containers": [{ "name": "b", "image": "x" }] }),
            Err(
                "The order in patch list:\n[map[image:x name:b]]\n doesn't match $setElementOrder list:\n[map[name:a]]\n",
            ),
        ),
        (
            json!({ "containers": [named("a")] }),
            json!({ "$setElementOrder/containers": [named("a")], "containers": [{ "image": "x" }] }),
            Err("map: map[image:x] does not contain declared merge key: name"),
        ),
        // Lists of things that do not belong together
        (
            json!({ "containers": [named("a")] }),
            json!({ "containers": ["a"] }),
            Err("list element types are not identical: [[map[name:a]] [a]]"),
        ),
        (
            json!({ "containers": [named("a")] }),
            json!({ "containers": [["a"]] }),
            Err("list element types are not identical: [[map[name:a]] [[a]]]"),
        ),
        (
            json!({ "containers": [] }),
            json!({ "containers": [["a"]] }),
            Err("lists of lists are not supported"),
        ),
        // What was null in the object is as good as absent.
        (
            json!({ "containers": null }),
            json!({ "$setElementOrder/containers": [named("a")], "containers": [named("a")] }),
            Ok(json!({ "containers": [named("a")] })),
        ),
        (
            json!({ "containers": null }),
            json!({ "containers": [named("a")] }),
            Ok(json!({ "containers": [named("a")] })),
        ),
        // Lists in elements of lists
        (
            json!({ "containers": [{ "name": "a", "env": [{ "name": "X", "value": "1" }, { "name": "Y", "value": "2" }] }] }),
            json!({ "containers": [{ "name": "a", "$setElementOrder/env": [named("Y"), named("Z")],
                                     "env": [{ "name": "X", "$patch": "delete" }, { "name": "Z", "value": "3" }] }] }),
            Ok(
                json!({ "containers": [{ "name": "a", "env": [{ "name": "Y", "value": "2" }, { "name": "Z", "value": "3" }] }] }),
            ),
        ),
    ];
    for (live, patch, expected) in table {
        let wrap = |spec: &Value| json!({ "spec": spec });
        let found = patched("Pod", wrap(&live), wrap(&patch)).map_err(|error| error.to_string());
        assert_eq!(found, expected.map(|it| wrap(&it)).map_err(str::to_owned), "{live} {patch}");
    }
}

/// Merge keys and strategies of each kind of field come from the schema.
#[test]
fn keys_and_strategies_are_those_of_the_schema() {
    type Case = (&'static str, &'static str, Value, Value, Value);
    let table: [Case; 7] = [
        (
            "v1",
            "Service",
            json!({ "spec": { "ports": [{ "port": 80, "name": "http" }, { "port": 443 }] } }),
            json!({ "spec": { "ports": [{ "port": 80, "nodePort": 30080 }] } }),
            json!({ "spec": { "ports": [{ "port": 80, "name": "http", "nodePort": 30080 }, { "port": 443 }] } }),
        ),
        (
            "v1",
            "ServiceAccount",
            json!({ "imagePullSecrets": [{ "name": "a" }], "secrets": [{ "name": "s" }] }),
            json!({ "imagePullSecrets": [{ "name": "b" }], "secrets": [{ "name": "s", "$patch": "delete" }] }),
            json!({ "imagePullSecrets": [{ "name": "b" }], "secrets": [] }),
        ),
        (
            "v1",
            "Node",
            json!({ "status": { "conditions": [{ "type": "Ready", "status": "True" }, { "type": "DiskPressure" }],
                                "addresses": [{ "type": "InternalIP", "address": "10.0.0.1" }] },
                    "spec": { "podCIDRs": ["10.0.0.0/24"], "taints": [{ "key": "a" }] } }),
            json!({ "status": { "conditions": [{ "type": "Ready", "status": "False" }],
                                "addresses": [{ "type": "InternalIP", "address": "10.0.0.2" }] },
                    "spec": { "podCIDRs": ["fd00::/64"], "taints": [{ "key": "b" }] } }),
            json!({ "status": { "conditions": [{ "type": "Ready", "status": "False" }, { "type": "DiskPressure" }],
                                "addresses": [{ "type": "InternalIP", "address": "10.0.0.2" }] },
                    "spec": { "podCIDRs": ["fd00::/64", "10.0.0.0/24"], "taints": [{ "key": "b" }] } }),
        ),
        (
            "v1",
            "Pod",
            json!({ "spec": { "topologySpreadConstraints": [{ "topologyKey": "zone", "maxSkew": 1 }],
                              "hostAliases": [{ "ip": "1.1.1.1", "hostnames": ["a"] }] } }),
            json!({ "spec": { "topologySpreadConstraints": [{ "topologyKey": "zone", "maxSkew": 2 }],
                              "hostAliases": [{ "ip": "1.1.1.1", "hostnames": ["b"] }] } }),
            json!({ "spec": { "topologySpreadConstraints": [{ "topologyKey": "zone", "maxSkew": 2 }],
                              "hostAliases": [{ "ip": "1.1.1.1", "hostnames": ["b"] }] } }),
        ),
        (
            "policy/v1",
            "PodDisruptionBudget",
            json!({ "spec": { "selector": { "matchLabels": { "a": "1" } } } }),
            json!({ "spec": { "selector": { "matchLabels": { "b": "2" } } } }),
            json!({ "spec": { "selector": { "matchLabels": { "b": "2" } } } }),
        ),
        (
            "apps/v1",
            "Deployment",
            json!({ "spec": { "selector": { "matchLabels": { "a": "1" } }, "strategy": { "type": "RollingUpdate", "rollingUpdate": {} } } }),
            json!({ "spec": { "selector": { "matchLabels": { "b": "2" } }, "strategy": { "$retainKeys": ["type"], "type": "Recreate" } } }),
            json!({ "spec": { "selector": { "matchLabels": { "a": "1", "b": "2" } }, "strategy": { "type": "Recreate" } } }),
        ),
        (
            "v1",
            "ConfigMap",
            json!({ "data": { "a": "1", "b": "2" }, "metadata": { "ownerReferences": [{ "uid": "u", "name": "n" }] } }),
            json!({ "data": { "a": null, "c": "3" }, "metadata": { "ownerReferences": [{ "uid": "u", "$patch": "delete" }] } }),
            json!({ "data": { "b": "2", "c": "3" }, "metadata": { "ownerReferences": [] } }),
        ),
    ];
    for (api_version, kind, live, patch, expected) in table {
        let ty = schema().by_api_version(api_version, kind).expect(kind);
        assert_eq!(strategic(ty, &live, &patch), Ok(expected), "{kind}");
    }
}
