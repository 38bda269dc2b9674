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
        Err(r#"map: {"image":"x"} does not contain declared merge key: name"#.to_owned())
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
