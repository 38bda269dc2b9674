//! Deletions: finalizers, preconditions, collections.

use super::*;

#[tokio::test]
async fn finalizers_hold_an_object_until_the_last_one_is_taken() {
    let server = Server::start().await;
    let path = format!("{MAPS}/a");
    let held = json!({ "metadata": { "name": "a", "finalizers": ["x.io/a"] } });
    server.post(MAPS, held).await.ok();
    let marked = server.delete(&path, Value::Null).await.ok();
    assert!(marked["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 0);
    let add = json!({ "metadata": { "finalizers": ["x.io/a", "x.io/b"] } });
    server.patch(&path, MERGE, add).await.refused(422);
    let again = server.post(MAPS, map("a", &json!({}))).await;
    assert_eq!(again.refused(409), r#"object is being deleted: configmaps "a" already exists"#);
    server.patch(&path, MERGE, json!({ "metadata": { "finalizers": null } })).await.ok();
    server.get(&path).await.refused(404);
    server.post(MAPS, map("b", &json!({}))).await.ok();
    let unqualified = json!({ "metadata": { "finalizers": ["mine"] } });
    server.patch(&format!("{MAPS}/b"), MERGE, unqualified).await.refused(422);
}

#[tokio::test]
async fn a_deletion_says_what_went_and_keeps_to_its_preconditions() {
    let server = Server::start().await;
    let path = format!("{MAPS}/a");
    let made = server.post(MAPS, map("a", &json!({}))).await.ok();
    let other = json!({ "preconditions": { "uid": "x" } });
    let refused = server.delete(&path, other).await.refused(409);
    assert!(refused.contains("the UID in the precondition (x) does not match"), "{refused}");
    let gone = server.delete(&path, json!({ "propagationPolicy": "Background" })).await.ok();
    assert_eq!(gone["status"], "Success");
    assert_eq!(
        gone["details"],
        json!({ "name": "a", "kind": "configmaps", "uid": made["metadata"]["uid"] })
    );
    server.post(MAPS, map("b", &json!({}))).await.ok();
    let path = format!("{MAPS}/b?propagationPolicy=Foreground");
    let waiting = server.delete(&path, Value::Null).await.ok();
    assert_eq!(waiting["metadata"]["finalizers"], json!(["foregroundDeletion"]));
}

#[tokio::test]
async fn a_collection_is_deleted_by_selector() {
    let server = Server::start().await;
    for (name, app) in [("a", "x"), ("b", "x"), ("c", "y")] {
        let map = json!({ "metadata": { "name": name, "labels": { "app": app } } });
        server.post(MAPS, map).await.ok();
    }
    let gone = server.delete(&format!("{MAPS}?labelSelector=app%3Dx"), Value::Null).await.ok();
    assert_eq!(gone["items"].as_array().map(Vec::len), Some(2));
    let left = server.get(MAPS).await.ok();
    assert_eq!(left["items"][0]["metadata"]["name"], "c");
    assert_eq!(left["items"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn a_namespace_waits_for_its_finalizers() {
    let server = Server::start().await;
    let path = "/api/v1/namespaces/a";
    let made = server.post("/api/v1/namespaces", json!({ "metadata": { "name": "a" } })).await.ok();
    assert_eq!(made["spec"]["finalizers"], json!(["kubernetes"]));
    let other = json!({ "preconditions": { "uid": "x" } });
    let refused = server.delete(path, other).await.refused(409);
    assert!(refused.contains("UID in precondition: x, UID in object meta: "), "{refused}");
    let going = server.delete(path, Value::Null).await.ok();
    assert_eq!(going["status"]["phase"], "Terminating");
    let late = server.post("/api/v1/namespaces/a/configmaps", map("m", &json!({}))).await;
    late.refused(403);
    let mut done = server.get(path).await.ok();
    done["spec"]["finalizers"] = json!([]);
    server.put(&format!("{path}/finalize"), done).await.ok();
    server.get(path).await.refused(404);
}

#[tokio::test]
async fn a_deletion_is_begun_by_deleting_alone() {
    let server = Server::start().await;
    server.post(MAPS, map("a", &json!({}))).await.ok();
    let path = format!("{MAPS}/a");
    for (field, value, shown) in [
        ("deletionTimestamp", json!("2030-01-01T00:00:00Z"), "\"2030-01-01T00:00:00Z\""),
        ("deletionGracePeriodSeconds", json!(5), "5"),
    ] {
        let patch = json!({ "metadata": { field: value } });
        let refused = server.patch(&path, MERGE, patch).await.refused(422);
        let why = format!(
            "ConfigMap \"a\" is invalid: metadata.{field}: Invalid value: {shown}: field is immutable"
        );
        assert_eq!(refused, why);
    }
    let held = json!({ "metadata": { "finalizers": ["x.io/a"] } });
    server.patch(&path, MERGE, held).await.ok();
    let marked = server.delete(&path, Value::Null).await.ok();
    let patch = json!({ "metadata": { "deletionTimestamp": "2030-01-01T00:00:00Z" } });
    let kept = server.patch(&path, MERGE, patch).await.ok();
    assert_eq!(kept["metadata"]["deletionTimestamp"], marked["metadata"]["deletionTimestamp"]);
}

#[tokio::test]
async fn options_are_options_whatever_version_they_say() {
    let server = Server::start().await;
    let path = format!("{MAPS}/none");
    for version in ["v1", "v2", "apps/v1"] {
        let options = json!({ "kind": "DeleteOptions", "apiVersion": version });
        server.delete(&path, options).await.refused(404);
    }
    assert_eq!(
        server.delete(&path, json!({ "kind": "Pod", "apiVersion": "v1" })).await.refused(400),
        r#"no kind "Pod" is registered for version "v1" in scheme "k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:27""#
    );
    assert_eq!(
        server.delete(&path, json!({ "gracePeriodSeconds": "x" })).await.refused(400),
        "json: cannot unmarshal string into Go struct field DeleteOptions.gracePeriodSeconds of type int64"
    );
    let why = server.delete(&format!("{path}?dryRun=x"), Value::Null).await.refused(422);
    assert!(why.ends_with(r#"dryRun: Unsupported value: ["x"]: supported values: "All""#), "{why}");
}

#[tokio::test]
async fn a_collection_at_a_revision_is_that_of_exactly_then() {
    let server = Server::start().await;
    let first = server.post(MAPS, map("a", &json!({}))).await.ok();
    let version = first["metadata"]["resourceVersion"].as_str().expect("a version");
    server.post(MAPS, map("b", &json!({}))).await.ok();
    let gone = server.delete(&format!("{MAPS}?dryRun=All&resourceVersion=1"), Value::Null).await;
    assert!(matches!(gone.status, 200 | 410), "{}", gone.text);
    // The same number is a precondition of each deletion.
    let path = format!("{MAPS}?resourceVersion={version}");
    let deleted = server.delete(&path, Value::Null).await.ok();
    assert_eq!(deleted["items"].as_array().map(Vec::len), Some(1));
    server.get(&format!("{MAPS}/a")).await.refused(404);
    server.get(&format!("{MAPS}/b")).await.ok();
}
