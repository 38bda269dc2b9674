//! Creates, updates and patches.

use super::*;

#[tokio::test]
async fn an_object_is_created_read_and_not_created_twice() {
    let server = Server::start().await;
    let answer = server.post(MAPS, map("a", &json!({ "k": "v" }))).await;
    assert_eq!(answer.status, 201);
    let created = answer.ok();
    assert_eq!(created["kind"], "ConfigMap");
    assert_eq!(created["metadata"]["namespace"], "default");
    assert_eq!(created["metadata"]["uid"].as_str().map(str::len), Some(36));
    let read = server.get(&format!("{MAPS}/a")).await.ok();
    assert_eq!(read, created);
    let again = server.post(MAPS, map("a", &json!({}))).await;
    assert_eq!(again.json()["details"], json!({ "name": "a", "kind": "configmaps" }));
    assert_eq!(again.refused(409), r#"configmaps "a" already exists"#);
    let missing = server.get(&format!("{MAPS}/b")).await;
    assert_eq!(missing.refused(404), r#"configmaps "b" not found"#);
}

#[tokio::test]
async fn names_and_namespaces_must_agree_with_the_path() {
    let server = Server::start().await;
    let other = json!({ "metadata": { "name": "a", "namespace": "other" } });
    assert_eq!(
        server.post(MAPS, other).await.refused(400),
        "the namespace of the provided object does not match the namespace sent on the request"
    );
    server.post(MAPS, map("a", &json!({}))).await.ok();
    assert_eq!(
        server.put(&format!("{MAPS}/a"), map("b", &json!({}))).await.refused(400),
        "the name of the object (b) does not match the name on the URL (a)"
    );
    let lost = server.post("/api/v1/namespaces/none/configmaps", map("a", &json!({}))).await;
    assert_eq!(lost.refused(404), r#"namespaces "none" not found"#);
    let versioned = json!({ "metadata": { "name": "c", "resourceVersion": "5" } });
    assert_eq!(
        server.post(MAPS, versioned).await.refused(500),
        "resourceVersion should not be set on objects to be created"
    );
    let bad = server.post(MAPS, map("A_b", &json!({}))).await;
    assert_eq!(bad.json()["details"]["causes"][0]["field"], "metadata.name");
    bad.refused(422);
}

#[tokio::test]
async fn generated_names_are_unique() {
    let server = Server::start().await;
    let mut names = Vec::new();
    for _ in 0..5 {
        let made = server.post(MAPS, json!({ "metadata": { "generateName": "web-" } })).await.ok();
        names.push(made["metadata"]["name"].as_str().expect("a name").to_owned());
    }
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 5);
    assert!(names.iter().all(|name| name.starts_with("web-") && name.len() == 9), "{names:?}");
    let both = json!({ "metadata": { "name": names[0], "generateName": "web-" } });
    let taken = server.post(MAPS, both).await;
    assert_eq!(taken.json()["details"]["retryAfterSeconds"], 1);
    assert_eq!(
        taken.refused(409),
        format!(
            "configmaps {:?} already exists, the server was not able to generate a unique name for the object",
            names[0]
        )
    );
}

#[tokio::test]
async fn a_stale_update_conflicts_and_one_that_changes_nothing_keeps_the_version() {
    let server = Server::start().await;
    let path = format!("{MAPS}/a");
    let first = server.post(MAPS, map("a", &json!({ "k": "1" }))).await.ok();
    let same = server.put(&path, first.clone()).await.ok();
    assert_eq!(same["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    let mut changed = first.clone();
    changed["data"]["k"] = "2".into();
    let second = server.put(&path, changed.clone()).await.ok();
    assert_ne!(second["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    changed["data"]["k"] = "3".into();
    assert_eq!(
        server.put(&path, changed).await.refused(409),
        r#"Operation cannot be fulfilled on configmaps "a": the object has been modified; please apply your changes to the latest version and try again"#
    );
    let unconditional = server.put(&path, map("a", &json!({ "k": "4" }))).await.ok();
    assert_eq!(unconditional["data"]["k"], "4");
    assert_eq!(unconditional["metadata"]["uid"], first["metadata"]["uid"]);
    let mut other = map("a", &json!({}));
    other["metadata"]["uid"] = "another".into();
    server.put(&path, other).await.refused(409);
}

#[tokio::test]
async fn the_generation_rises_with_the_spec_alone() {
    let server = Server::start().await;
    let made = server.post(DEPLOYMENTS, deployment("web")).await.ok();
    assert_eq!(made["metadata"]["generation"], 1);
    let path = format!("{DEPLOYMENTS}/web");
    let labelled = json!({ "metadata": { "labels": { "a": "b" } } });
    assert_eq!(server.patch(&path, MERGE, labelled).await.ok()["metadata"]["generation"], 1);
    let status = json!({ "status": { "replicas": 3 }, "spec": { "replicas": 9 } });
    let status = server.patch(&format!("{path}/status"), MERGE, status).await.ok();
    assert_eq!(status["status"]["replicas"], 3);
    assert_eq!(
        (&status["spec"]["replicas"], &status["metadata"]["generation"]),
        (&json!(1), &json!(1))
    );
    let scaled = json!({ "spec": { "replicas": 2 }, "status": { "replicas": 7 } });
    let scaled = server.patch(&path, MERGE, scaled).await.ok();
    assert_eq!(scaled["metadata"]["generation"], 2);
    assert_eq!(scaled["status"]["replicas"], 3);
}

#[tokio::test]
async fn three_kinds_of_patch_apply_and_the_fourth_is_refused() {
    let server = Server::start().await;
    server.post(DEPLOYMENTS, deployment("web")).await.ok();
    let path = format!("{DEPLOYMENTS}/web");
    let strategic = json!({ "spec": { "template": { "spec": { "containers": [
        { "name": "c", "image": "j" }, { "name": "d", "image": "k" },
    ]}}}});
    let kind = "application/strategic-merge-patch+json";
    let patched = server.patch(&path, kind, strategic).await.ok();
    let containers = &patched["spec"]["template"]["spec"]["containers"];
    assert_eq!(containers.as_array().map(Vec::len), Some(2));
    let json_patch = json!([{ "op": "replace", "path": "/spec/replicas", "value": 4 }]);
    let patched = server.patch(&path, "application/json-patch+json", json_patch).await.ok();
    assert_eq!(patched["spec"]["replicas"], 4);
    let fifth = server.patch(&path, "application/yaml", json!({})).await;
    assert_eq!(fifth.refused(415), "415: Unsupported Media Type");
    let stale = json!({ "metadata": { "resourceVersion": "1" }, "spec": { "replicas": 1 } });
    server.patch(&path, MERGE, stale).await.refused(409);
}

#[tokio::test]
async fn unknown_fields_are_warned_of_or_refused() {
    let server = Server::start().await;
    let mut body = map("a", &json!({}));
    body["foo"] = 1.into();
    let strict = server.post(&format!("{MAPS}?fieldValidation=Strict"), body.clone()).await;
    assert_eq!(
        strict.refused(400),
        r#"ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: unknown field "foo""#
    );
    // As the conformance test of field validation sends it.
    let doubled = r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"d"},
        "spec":{"unknownField":"foo","replicas":2,"replicas":3}}"#;
    let request = Request::post(format!("{DEPLOYMENTS}?fieldValidation=Strict"));
    let request = request.header("content-type", "application/json").body(Body::from(doubled));
    let refused = server.send(request.expect("a request")).await.refused(400);
    let both = r#"strict decoding error: unknown field "spec.unknownField", duplicate field "spec.replicas""#;
    assert!(refused.ends_with(both), "{refused}");
    let warned = server.post(MAPS, body).await;
    assert_eq!(warned.headers["warning"], r#"299 - "unknown field \"foo\"""#);
    warned.ok();
}

#[tokio::test]
async fn a_dry_run_goes_all_the_way_but_leaves_nothing() {
    let server = Server::start().await;
    let made = server.post(&format!("{MAPS}?dryRun=All"), map("a", &json!({}))).await.ok();
    assert_eq!(made["metadata"].get("resourceVersion"), None);
    server.get(&format!("{MAPS}/a")).await.refused(404);
    server.post(MAPS, map("a", &json!({ "k": "1" }))).await.ok();
    server.post(&format!("{MAPS}?dryRun=All"), map("a", &json!({}))).await.refused(409);
    let path = format!("{MAPS}/a?dryRun=All");
    let put = server.put(&path, map("a", &json!({ "k": "2" }))).await.ok();
    assert_eq!(put["data"]["k"], "2");
    server.delete(&path, Value::Null).await.ok();
    assert_eq!(server.get(&format!("{MAPS}/a")).await.ok()["data"]["k"], "1");
}

#[tokio::test]
async fn protobuf_goes_in_and_out() {
    let server = Server::start().await;
    let protobuf = "application/vnd.kubernetes.protobuf";
    let ty = crate::schema::schema().by_name("io.k8s.api.core.v1.ConfigMap").expect("known");
    let body = map("a", &json!({ "k": "v" }));
    let body = crate::schema::protobuf::encode(ty, "v1", "ConfigMap", &body);
    let request = Request::post(MAPS).header("content-type", protobuf).header("accept", protobuf);
    let response = server.raw(request.body(Body::from(body)).expect("a request")).await;
    assert_eq!(response.status(), StatusCode::CREATED);
    assert_eq!(response.headers()["content-type"], protobuf);
    let bytes = response.into_body().collect().await.expect("a body").to_bytes();
    let (_, kind, value) = crate::schema::protobuf::decode(&bytes).expect("protobuf");
    assert_eq!((kind.as_str(), &value["data"]["k"]), ("ConfigMap", &json!("v")));
}

#[tokio::test]
async fn a_put_creates_where_the_kind_allows_it_whatever_version_it_names() {
    let server = Server::start().await;
    let lease = |version: &str| {
        json!({
            "metadata": { "name": "l", "resourceVersion": version },
            "spec": { "holderIdentity": "h" },
        })
    };
    let path = "/apis/coordination.k8s.io/v1/namespaces/default/leases/l";
    let made = server.put(path, lease("5")).await;
    assert_eq!(made.status, 201, "{}", made.text);
    server.put(path, lease("5")).await.refused(409);
    server.put(path, lease("")).await.refused(422);
    server.patch(&format!("{path}2"), MERGE, json!({})).await.refused(404);
    server.put(&format!("{MAPS}/none"), map("none", &json!({}))).await.refused(404);
}

#[tokio::test]
async fn a_status_update_may_write_what_of_the_metadata_its_kind_allows() {
    let server = Server::start().await;
    with_service_account(&server).await;
    server.post(PODS, pod("p")).await.ok();
    server.post(DEPLOYMENTS, deployment("d")).await.ok();
    let service = json!({ "metadata": { "name": "s" }, "spec": { "ports": [{ "port": 80 }] } });
    server.post("/api/v1/namespaces/default/services", service).await.ok();
    let patch = json!({ "metadata": {
        "labels": { "l": "1" }, "annotations": { "a": "1" },
        "ownerReferences": [{ "apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u" }],
    }});
    for (path, labelled, owned) in [
        (format!("{PODS}/p"), true, false),
        (format!("{DEPLOYMENTS}/d"), false, true),
        ("/api/v1/namespaces/default/services/s".to_owned(), true, true),
    ] {
        let patched = server.patch(&format!("{path}/status"), MERGE, patch.clone()).await.ok();
        let metadata = &patched["metadata"];
        assert_eq!(metadata["annotations"]["a"], "1", "{path}");
        assert_eq!(metadata["labels"]["l"] == "1", labelled, "{path}");
        assert_eq!(metadata["ownerReferences"].is_array(), owned, "{path}");
    }
}

#[tokio::test]
async fn a_condition_needs_no_time_and_a_series_does() {
    let server = Server::start().await;
    let service = json!({ "metadata": { "name": "s" }, "spec": { "ports": [{ "port": 80 }] } });
    let mut made = server.post("/api/v1/namespaces/default/services", service).await.ok();
    let condition = json!({
        "type": "t", "status": "True", "reason": "r", "message": "m", "lastTransitionTime": null,
    });
    made["status"]["conditions"] = json!([condition]);
    let path = "/api/v1/namespaces/default/services/s/status";
    let written = server.put(path, made).await.ok();
    assert_eq!(written["status"]["conditions"][0]["type"], "t");
    let event = json!({
        "metadata": { "name": "e" }, "regarding": { "namespace": "default" }, "action": "a",
        "eventTime": "2026-01-01T00:00:00.000000Z", "reason": "r", "type": "Normal",
        "reportingController": "x.io/c", "reportingInstance": "i", "series": { "count": 2 },
    });
    let refused = server.post("/apis/events.k8s.io/v1/namespaces/default/events", event).await;
    assert_eq!(
        refused.refused(422),
        r#"Event "e" is invalid: series.lastObservedTime: Required value"#
    );
}

#[tokio::test]
async fn who_uses_endpoints_is_told_of_their_successor() {
    let server = Server::start().await;
    let told = |answer: &Answer| answer.headers.get("warning").cloned();
    let listed = server.get("/api/v1/namespaces/default/endpoints").await;
    let expected =
        r#"299 - "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice""#;
    assert_eq!(told(&listed).expect("a warning"), expected);
    assert_eq!(told(&server.get(MAPS).await), None);
}

#[tokio::test]
async fn events_of_both_groups_are_one() {
    let server = Server::start().await;
    let event = json!({
        "metadata": { "name": "e" },
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "reportingController": "test.io/c",
        "reportingInstance": "i",
        "action": "Act",
        "reason": "Because",
        "type": "Normal",
        "regarding": { "kind": "Pod", "namespace": "default", "name": "p" },
        "note": "something",
    });
    let path = "/apis/events.k8s.io/v1/namespaces/default/events";
    let made = server.post(path, event).await.ok();
    assert_eq!(made["note"], "something");
    let core = server.get("/api/v1/namespaces/default/events/e").await.ok();
    assert_eq!(core["message"], "something");
    assert_eq!(core["apiVersion"], "v1");
    let read = server.get(&format!("{path}/e")).await.ok();
    assert_eq!(
        (&read["apiVersion"], &read["note"]),
        (&json!("events.k8s.io/v1"), &json!("something"))
    );
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused() {
    let server = Server::start().await;
    let large = map("a", &json!({ "k": "x".repeat(4 * 1024 * 1024) }));
    server.post(MAPS, large).await.refused(413);
}

#[tokio::test]
async fn an_object_that_is_let_through_may_come_with_warnings() {
    let server = Server::start().await;
    with_service_account(&server).await;
    let texts = |answer: &Answer| -> Vec<String> {
        let all = answer.headers.get_all("warning").into_iter();
        all.map(|value| value.to_str().expect("text").to_owned()).collect()
    };
    let mut odd = pod("a.b");
    odd["spec"]["securityContext"] = json!({ "runAsUser": 1 });
    let created = server.post(PODS, odd).await;
    assert_eq!(created.status, 201, "{}", created.text);
    let told = texts(&created);
    assert!(told[0].contains("metadata.name: this is used in the Pod's hostname"), "{told:?}");
    assert_eq!(told[1], r#"299 - "spec.securityContext.runAsUser: has no effect on Copepod""#);
    let label = json!({ "metadata": { "labels": { "a": "b" } } });
    let patched = server.patch(&format!("{PODS}/a.b"), MERGE, label).await;
    assert_eq!((patched.status, texts(&patched).len()), (200, 0));
    let created = server.post(DEPLOYMENTS, deployment("d")).await;
    assert_eq!((created.status, texts(&created).len()), (201, 0));
    let selector = json!({ "beta.kubernetes.io/os": "linux" });
    let patch = json!({ "spec": { "template": { "spec": { "nodeSelector": selector } } } });
    let patched = server.patch(&format!("{DEPLOYMENTS}/d"), MERGE, patch.clone()).await;
    assert_eq!(
        texts(&patched),
        [
            r#"299 - "spec.template.spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \"kubernetes.io/os\" instead""#
        ]
    );
    let again = server.patch(&format!("{DEPLOYMENTS}/d"), MERGE, patch).await;
    assert_eq!((again.status, texts(&again).len()), (200, 0));
}

#[tokio::test]
async fn versions_and_uids_in_bodies_say_which_object_is_meant() {
    let server = Server::start().await;
    let path = format!("{MAPS}/a");
    let with = |field: &str, value: &str| {
        let mut map = map("a", &json!({}));
        map["metadata"][field] = value.into();
        map
    };
    let versioned = with("resourceVersion", "7");
    let dry = server.post(&format!("{MAPS}?dryRun=All"), versioned.clone()).await.ok();
    assert_eq!(dry["metadata"]["resourceVersion"], "7");
    let set = "resourceVersion should not be set on objects to be created";
    assert_eq!(server.post(MAPS, versioned.clone()).await.refused(500), set);
    // What is no number says nothing.
    server.post(MAPS, with("resourceVersion", "abc")).await.ok();
    server.post(&format!("{MAPS}?dryRun=All"), versioned).await.refused(409);
    assert_eq!(
        server.put(&path, with("resourceVersion", "abc")).await.refused(500),
        r#"strconv.ParseUint: parsing "abc": invalid syntax"#
    );
    let other = with("uid", "abc");
    let why = server.put(&path, other.clone()).await.refused(409);
    assert!(
        why.contains("Code: 4, Key: /registry/configmaps/default/a, ResourceVersion: 0, "),
        "{why}"
    );
    let why = server.put(&format!("{path}?dryRun=All"), other.clone()).await.refused(409);
    assert!(why.contains("Key: /configmaps/default/a, "), "{why}");
    let why = server.patch(&path, MERGE, other).await.refused(422);
    assert!(why.contains(r#"metadata.uid: Invalid value: "abc": field is immutable"#), "{why}");
    server.post(MAPS, with("generation", "x")).await.refused(400);
    let mut negative = map("b", &json!({}));
    negative["metadata"]["generation"] = (-1).into();
    let why = server.post(MAPS, negative).await.refused(422);
    assert!(why.contains("metadata.generation: Invalid value: -1"), "{why}");
}

#[tokio::test]
async fn a_patch_of_a_scale_stays_with_its_object() {
    let server = Server::start().await;
    server.post(DEPLOYMENTS, deployment("d")).await.ok();
    let path = format!("{DEPLOYMENTS}/d/scale");
    let patch =
        async |metadata: Value| server.patch(&path, MERGE, json!({ "metadata": metadata })).await;
    patch(json!({ "namespace": "other" })).await.refused(400);
    let why = patch(json!({ "uid": "x" })).await.refused(409);
    let start =
        r#"Operation cannot be fulfilled on deployments/scale.apps "d": Precondition failed: "#;
    assert!(why.starts_with(start), "{why}");
    let why = patch(json!({ "labels": { "-": "x" } })).await.refused(422);
    assert!(why.starts_with(r#"Scale.autoscaling "d" is invalid: metadata.labels: "#), "{why}");
    let accept = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
    assert!(server.get_as(&path, accept).await.refused(406).ends_with("(*autoscaling.Scale)"));
}
