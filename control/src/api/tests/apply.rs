//! Server-side apply and the managers of fields, through the service.

use super::*;
use crate::kinds::{Storage, golden, registry};

const APPLY: &str = "application/apply-patch+yaml";
const WEB: &str = "/apis/apps/v1/namespaces/default/deployments/web";

fn config(name: &str, data: &Value) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name }, "data": data })
}

/// Each manager with its operation, subresource and fields.
fn managers(object: &Value) -> Vec<(String, Value)> {
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let text = |entry: &Value, field: &str| entry[field].as_str().unwrap_or_default().to_owned();
    let named = |entry: &Value| {
        let name = [text(entry, "manager"), text(entry, "operation"), text(entry, "subresource")];
        name.join(" ").trim_end().to_owned()
    };
    entries.iter().map(|entry| (named(entry), entry["fieldsV1"].clone())).collect()
}

fn names(object: &Value) -> Vec<String> {
    managers(object).into_iter().map(|(name, _)| name).collect()
}

async fn apply(server: &Server, path: &str, query: &str, body: &Value) -> Answer {
    server.patch(&format!("{path}?{query}"), APPLY, body.clone()).await
}

#[tokio::test]
async fn an_apply_creates_changes_and_leaves_alone() {
    let server = Server::start().await;
    let path = format!("{MAPS}/a");
    let made = apply(&server, &path, "fieldManager=me", &config("a", &json!({ "x": "1" }))).await;
    assert_eq!(made.status, 201);
    let made = made.ok();
    assert_eq!(managers(&made), [("me Apply".to_owned(), json!({ "f:data": { "f:x": {} } }))]);
    let entry = &made["metadata"]["managedFields"][0];
    assert_eq!((&entry["apiVersion"], &entry["fieldsType"]), (&json!("v1"), &json!("FieldsV1")));
    assert!(entry["time"].as_str().is_some_and(|time| time.ends_with('Z')), "{entry}");
    let again = apply(&server, &path, "fieldManager=me", &config("a", &json!({ "x": "1" }))).await;
    assert_eq!(again.status, 200);
    assert_eq!(again.json(), made);
    assert_eq!(server.get(&path).await.json(), made);
    let more =
        apply(&server, &path, "fieldManager=me", &config("a", &json!({ "y": "2" }))).await.ok();
    assert_eq!(more["data"], json!({ "y": "2" }));
    assert_ne!(more["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"]);
    // Another comes to the same: shared, and stored.
    let shared =
        apply(&server, &path, "fieldManager=you", &config("a", &json!({ "y": "2" }))).await.ok();
    assert_eq!(names(&shared), ["you Apply", "me Apply"]);
    assert_eq!(shared["metadata"]["managedFields"][0].get("time"), None);
    let mine =
        apply(&server, &path, "fieldManager=me", &config("a", &json!({ "z": "3" }))).await.ok();
    assert_eq!(mine["data"], json!({ "y": "2", "z": "3" }));
}

#[tokio::test]
async fn conflicts_are_answered_until_they_are_forced() {
    let server = Server::start().await;
    let path = format!("{MAPS}/a");
    let query = format!("{MAPS}?fieldManager=maker");
    server.post(&query, map("a", &json!({ "x": "1", "y": "1" }))).await.ok();
    let wanted = config("a", &json!({ "x": "2" }));
    let refused = apply(&server, &path, "fieldManager=me", &wanted).await;
    assert_eq!(
        refused.json(),
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": r#"Apply failed with 1 conflict: conflict with "maker" using v1: .data.x"#,
            "reason": "Conflict",
            "details": { "causes": [{
                "reason": "FieldManagerConflict",
                "message": r#"conflict with "maker" using v1"#,
                "field": ".data.x",
            }] },
            "code": 409,
        })
    );
    let dry = apply(&server, &path, "fieldManager=me&force=true&dryRun=All", &wanted).await.ok();
    assert_eq!(dry["data"]["x"], "2");
    assert_eq!(names(&dry), ["me Apply", "maker Update"]);
    assert_eq!(server.get(&path).await.json()["data"]["x"], "1");
    let forced = apply(&server, &path, "fieldManager=me&force=true", &wanted).await.ok();
    assert_eq!(
        managers(&forced),
        [
            ("me Apply".to_owned(), json!({ "f:data": { "f:x": {} } })),
            ("maker Update".to_owned(), json!({ "f:data": { ".": {}, "f:y": {} } })),
        ]
    );
}

#[tokio::test]
async fn what_is_no_configuration_of_the_path_is_refused() {
    let server = Server::start().await;
    let path = format!("{MAPS}/a");
    let me = "fieldManager=me";
    let with = |pointer: &str, value: Value| {
        let mut body = config("a", &json!({ "x": "1" }));
        let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
        body.pointer_mut(parent).expect("a place")[field] = value;
        body
    };
    for (query, body, status, message) in [
        (
            "",
            config("a", &json!({})),
            422,
            r#"PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch"#,
        ),
        (me, json!({}), 400, "invalid object type: /, Kind="),
        (me, with("/kind", json!("Secret")), 400, "invalid object type: /v1, Kind=Secret"),
        (
            me,
            with("/apiVersion", json!("apps/v1")),
            400,
            "invalid object type: apps/v1, Kind=ConfigMap",
        ),
        (me, with("/metadata/managedFields", json!([])), 400, "metadata.managedFields must be nil"),
        (
            me,
            with("/foo", json!(1)),
            500,
            "failed to create typed patch object (/a; /v1, Kind=ConfigMap): .foo: field not declared in schema",
        ),
        (
            me,
            with("/metadata/name", json!("b")),
            400,
            "the name of the object (b) does not match the name on the URL (a)",
        ),
        (
            me,
            with("/metadata/namespace", json!("x")),
            400,
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
        (
            me,
            with("/metadata/uid", json!("u")),
            409,
            r#"Operation cannot be fulfilled on configmaps "a": uid mismatch: the provided object specified uid u, and no existing object was found"#,
        ),
        (
            me,
            json!("text"),
            400,
            "error decoding YAML: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal string into Go value of type map[string]interface {}",
        ),
    ] {
        let answer = apply(&server, &path, query, &body).await;
        assert_eq!(answer.refused(status), message, "{body}");
    }
    let forced = server.patch(&format!("{path}?force=true"), MERGE, json!({})).await;
    assert_eq!(
        forced.refused(422),
        r#"PatchOptions.meta.k8s.io "" is invalid: force: Forbidden: may not be specified for non-apply patch"#
    );
    let none =
        json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "none" } });
    let missing = apply(&server, &format!("{DEPLOYMENTS}/none/status"), me, &none).await;
    assert_eq!(missing.refused(404), r#"deployments.apps "none" not found"#);
    // The version that the configuration knows must be the newest.
    let made = apply(&server, &path, me, &config("a", &json!({}))).await.ok();
    let mut versioned = config("a", &json!({ "x": "1" }));
    versioned["metadata"]["resourceVersion"] = "1".into();
    assert!(apply(&server, &path, me, &versioned).await.refused(409).contains("has been modified"));
    versioned["metadata"]["resourceVersion"] = made["metadata"]["resourceVersion"].clone();
    apply(&server, &path, me, &versioned).await.ok();
}

#[tokio::test]
async fn keys_that_stand_twice_are_warned_of_or_refused() {
    let server = Server::start().await;
    let send = |query: &str| {
        let body =
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  x: '1'\n  x: '2'\n";
        let uri = format!("{MAPS}/a?fieldManager=me{query}");
        let request = Request::patch(uri).header("content-type", APPLY);
        server.send(request.body(Body::from(body)).expect("a request"))
    };
    let warned = send("").await;
    let warning = warned.headers["warning"].to_str().expect("text").to_owned();
    assert_eq!(warning, r#"299 - "line 7: key \"x\" already set in map""#);
    assert_eq!(warned.ok()["data"]["x"], "2");
    assert_eq!(
        send("&fieldValidation=Strict").await.refused(400),
        "error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:\n  line 7: key \"x\" already set in map"
    );
    assert!(send("&fieldValidation=Ignore").await.headers.get("warning").is_none());
}

#[tokio::test]
async fn every_write_says_who_made_it() {
    let server = Server::start().await;
    with_service_account(&server).await;
    let made = server.post(&format!("{PODS}?fieldManager=maker"), pod("p")).await.ok();
    let [(name, fields)] = &managers(&made)[..] else { panic!("{made}") };
    assert_eq!(name, "maker Update");
    let container = &fields["f:spec"]["f:containers"][r#"k:{"name":"c"}"#];
    assert_eq!(container["."], json!({}));
    assert_eq!(fields["f:spec"]["f:restartPolicy"], json!({}), "defaults are the maker's");
    assert_eq!(fields["f:metadata"], json!({ "f:labels": { ".": {}, "f:app": {} } }));
    assert_eq!(fields.get("f:status"), None);
    let path = format!("{PODS}/p");
    // Without a name, the client's is taken; the status has managers of its own.
    let request = Request::patch(format!("{path}/status")).header("content-type", MERGE);
    let request = request.header("user-agent", "kubelet/v1.36 (linux)");
    let status = json!({ "status": { "phase": "Running" }, "spec": { "hostname": "x" } });
    let status =
        server.send(request.body(Body::from(status.to_string())).expect("a request")).await.ok();
    let kubelet = ("kubelet Update status".to_owned(), json!({ "f:status": { "f:phase": {} } }));
    assert!(managers(&status).contains(&kubelet), "{status}");
    let labels = json!({ "metadata": { "labels": { "app": "q" } } });
    let labelled = server.patch(&format!("{path}?fieldManager=labeller"), MERGE, labels).await.ok();
    // Those of one second stand in the order of their names, others in that of time.
    let mut sorted = names(&labelled);
    sorted.sort();
    assert_eq!(sorted, ["kubelet Update status", "labeller Update", "maker Update"]);
    // An update that changes nothing takes nothing, and is not stored.
    let again = server.put(&format!("{path}?fieldManager=other"), labelled.clone()).await.ok();
    assert_eq!(again, labelled);
    // A list shows them too.
    let list = server.get(PODS).await.ok();
    assert_eq!(names(&list["items"][0]), names(&labelled));
}

#[tokio::test]
async fn managers_can_be_written_and_taken_away_by_a_user() {
    let server = Server::start().await;
    let path = format!("{MAPS}/a");
    server.post(&format!("{MAPS}?fieldManager=maker"), map("a", &json!({ "x": "1" }))).await.ok();
    // As kubectl moves what it applied on its own side.
    let moved = json!([
        { "op": "replace", "path": "/metadata/managedFields/0/manager", "value": "mover" },
        { "op": "replace", "path": "/metadata/managedFields/0/operation", "value": "Apply" },
    ]);
    let moved = server.patch(&path, "application/json-patch+json", moved).await.ok();
    assert_eq!(names(&moved), ["mover Apply"]);
    // What is not understood leaves what is there.
    let mut bad = moved.clone();
    bad["metadata"]["managedFields"][0]["operation"] = "Delete".into();
    assert_eq!(server.put(&path, bad).await.ok(), moved);
    let mut long = moved.clone();
    long["metadata"]["managedFields"][0]["manager"] = "x".repeat(129).into();
    assert!(
        server.put(&path, long).await.refused(422).contains(
            "metadata.managedFields[0].manager: Too long: may not be more than 128 bytes"
        )
    );
    let mut without = moved.clone();
    without["metadata"].as_object_mut().expect("metadata").remove("managedFields");
    assert_eq!(server.put(&path, without).await.ok(), moved);
    let mut reset = moved.clone();
    reset["metadata"]["managedFields"] = json!([]);
    let reset = server.put(&path, reset).await.ok();
    assert_eq!(reset["metadata"].get("managedFields"), None);
    // From then on nobody is tracked, until somebody applies.
    let patched = server.patch(&path, MERGE, json!({ "data": { "y": "2" } })).await.ok();
    assert_eq!(patched["metadata"].get("managedFields"), None);
    let applied =
        apply(&server, &path, "fieldManager=me", &config("a", &json!({ "z": "3" }))).await.ok();
    assert_eq!(names(&applied), ["me Apply", "before-first-apply Update"]);
}

#[tokio::test]
async fn a_scale_is_applied_to_and_hands_its_managers_back() {
    let server = Server::start().await;
    let mut wanted = deployment("web");
    wanted["apiVersion"] = "apps/v1".into();
    wanted["kind"] = "Deployment".into();
    wanted["spec"]["replicas"] = 1.into();
    apply(&server, WEB, "fieldManager=me", &wanted).await.ok();
    let scale = |replicas: u32| {
        json!({ "apiVersion": "autoscaling/v1", "kind": "Scale",
        "metadata": { "name": "web" }, "spec": { "replicas": replicas } })
    };
    let path = format!("{WEB}/scale");
    let refused = apply(&server, &path, "fieldManager=scaler", &scale(3)).await;
    assert_eq!(
        refused.refused(409),
        r#"Apply failed with 1 conflict: conflict with "me": .spec.replicas"#
    );
    let scaled = apply(&server, &path, "fieldManager=scaler&force=true", &scale(3)).await.ok();
    assert_eq!(scaled["spec"]["replicas"], 3);
    let object = server.get(WEB).await.ok();
    assert_eq!(object["spec"]["replicas"], 3);
    assert_eq!(object["metadata"]["generation"], 2);
    let all = managers(&object);
    assert!(
        all.contains(&("scaler Apply scale".to_owned(), json!({ "f:spec": { "f:replicas": {} } })))
    );
    let mine = all.iter().find(|(name, _)| name == "me Apply").expect("mine");
    assert_eq!(mine.1["f:spec"].get("f:replicas"), None);
    // A plain write of the scale takes them as well.
    let written = json!({ "metadata": { "name": "web" }, "spec": { "replicas": 4 } });
    server.put(&format!("{path}?fieldManager=hpa"), written).await.ok();
    let object = server.get(WEB).await.ok();
    let all = managers(&object);
    assert!(
        all.contains(&("hpa Update scale".to_owned(), json!({ "f:spec": { "f:replicas": {} } })))
    );
    assert!(!names(&object).contains(&"scaler Apply scale".to_owned()));
}

#[tokio::test]
async fn the_status_is_applied_to_apart_from_the_rest() {
    let server = Server::start().await;
    server.post(&format!("{DEPLOYMENTS}?fieldManager=maker"), deployment("web")).await.ok();
    let status = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web" },
        "spec": { "paused": true },
        "status": { "conditions": [{ "type": "Mine", "status": "True" }] } });
    let path = format!("{WEB}/status");
    let applied = apply(&server, &path, "fieldManager=me", &status).await.ok();
    assert_eq!(applied["spec"].get("paused"), None);
    let (name, fields) = managers(&applied)[0].clone();
    assert_eq!(name, "me Apply status");
    assert_eq!(fields.get("f:spec"), None);
    assert_eq!(
        fields["f:status"]["f:conditions"][r#"k:{"type":"Mine"}"#],
        json!({ ".": {}, "f:status": {}, "f:type": {} })
    );
    let again = apply(&server, &path, "fieldManager=me", &status).await.ok();
    assert_eq!(again, applied);
}

#[tokio::test]
async fn an_event_has_one_list_of_managers_in_both_its_versions() {
    let server = Server::start().await;
    let event = json!({
        "metadata": { "name": "e" }, "eventTime": "2026-01-01T00:00:00.000000Z",
        "reportingController": "x.io/c", "reportingInstance": "i", "action": "Act", "reason": "Why",
        "type": "Normal", "regarding": { "kind": "Pod", "namespace": "default", "name": "p" }, "note": "n",
    });
    let new = "/apis/events.k8s.io/v1/namespaces/default/events";
    let made = server.post(&format!("{new}?fieldManager=maker"), event).await.ok();
    assert_eq!(made["metadata"]["managedFields"][0]["apiVersion"], "events.k8s.io/v1");
    assert_eq!(managers(&made)[0].1["f:note"], json!({}));
    let old = "/api/v1/namespaces/default/events/e?fieldManager=other";
    let patched = server.patch(old, MERGE, json!({ "message": "m", "count": 2 })).await.ok();
    let all = managers(&patched);
    assert!(
        all.contains(&("other Update".to_owned(), json!({ "f:count": {}, "f:message": {} }))),
        "{all:?}"
    );
    let maker = all.iter().find(|(name, _)| name == "maker Update").expect("the maker");
    assert_eq!(maker.1.get("f:note"), None, "the note is the message");
    assert_eq!(maker.1["f:reason"], json!({}));
}

#[tokio::test]
async fn what_any_kind_was_applied_with_is_applied_again_without_a_write() {
    let server = Server::start().await;
    with_service_account(&server).await;
    let mut wrong = Vec::new();
    for kind in registry().iter() {
        let info = kind.info();
        if info.storage == Storage::Virtual || !info.verbs.names().contains(&"patch") {
            continue;
        }
        let mut object = golden::object(kind.as_ref());
        // Who applies nothing owns nothing, and is nobody by the next time.
        object["metadata"]["labels"]["of"] = "test".into();
        // What does not exist has no uid.
        object["metadata"].as_object_mut().expect("metadata").remove("uid");
        let mut name = object["metadata"]["name"].as_str().expect("a name").to_owned();
        if info.stored_resource() != info.group_resource() {
            // Another version of the same object would be an update of it.
            name.insert_str(0, "another-");
            object["metadata"]["name"] = name.as_str().into();
        }
        let root = match info.group {
            "" => format!("/api/{}", info.version),
            group => format!("/apis/{group}/{}", info.version),
        };
        let place = if info.is_namespaced() { "/namespaces/default" } else { "" };
        if info.is_namespaced() {
            object["metadata"]["namespace"] = "default".into();
        }
        let path = format!("{root}{place}/{}/{name}", info.resource);
        let first = apply(&server, &path, "fieldManager=me&force=true", &object).await;
        if first.status >= 300 {
            wrong.push(format!("{path}: {}", first.text));
            continue;
        }
        // The server's own controllers may write in between, but not for ever.
        let mut last = first.json();
        let mut settled = false;
        for _ in 0..3 {
            let again = apply(&server, &path, "fieldManager=me", &object).await.json();
            settled = again == last;
            if settled {
                break;
            }
            last = again;
        }
        if !settled {
            wrong.push(format!("{path}:\n{}\n{last}", first.text));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn what_a_write_is_prepared_with_has_no_manager() {
    let server = Server::start().await;
    let space = json!({ "metadata": { "name": "n", "labels": { "a": "b" } } });
    server.post("/api/v1/namespaces?fieldManager=me", space.clone()).await.ok();
    let put = server.put("/api/v1/namespaces/n?fieldManager=me", space).await.ok();
    assert_eq!(put["spec"]["finalizers"], json!(["kubernetes"]));
    assert_eq!(managers(&put)[0].1.get("f:spec"), None, "{put}");
    // Nobody keeps a review, and it shows them all the same.
    let resource = json!({ "verb": "get", "resource": "pods" });
    let ask = json!({ "spec": { "user": "jane", "resourceAttributes": resource } });
    let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews?fieldManager=me";
    assert_eq!(names(&server.post(path, ask).await.ok()), ["me Update"]);
}

#[tokio::test]
async fn a_refused_patch_tells_of_fields_that_are_not_known() {
    let server = Server::start().await;
    server.post(MAPS, map("a", &json!({ "k": "v" }))).await.ok();
    let patch = json!({ "apiVersion": "" });
    let refused = server.patch(&format!("{MAPS}/a"), MERGE, patch).await;
    let told = refused.headers.get_all("warning").iter().count();
    assert_eq!((refused.status, told), (400, 2), "{}", refused.text);
}
