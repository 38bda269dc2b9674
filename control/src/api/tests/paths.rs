//! What the server says of itself, and whom it lets in.

use super::*;

#[tokio::test]
async fn discovery_names_what_is_served() {
    let server = Server::start().await;
    let core = server.get("/api/v1").await.ok();
    let named = |name: &str| {
        let all = core["resources"].as_array().cloned().unwrap_or_default();
        all.into_iter().find(|resource| resource["name"] == name).unwrap_or_default()
    };
    assert_eq!(named("pods")["shortNames"], json!(["po"]));
    assert_eq!(named("pods/eviction")["group"], "policy");
    assert_eq!(named("bindings")["verbs"], json!(["create"]));
    let groups = server.get("/apis").await.ok();
    assert_eq!(groups["kind"], "APIGroupList");
    let accept =
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
    let aggregated = server.get_as("/apis", accept).await;
    assert_eq!(
        aggregated.headers["content-type"],
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    );
    let tag = aggregated.headers["etag"].clone();
    let aggregated = aggregated.ok();
    let groups = aggregated["items"].as_array().expect("groups");
    assert!(groups.iter().any(|group| group["metadata"]["name"] == "apps"), "{groups:?}");
    let again = Request::get("/apis").header("accept", accept).header("if-none-match", tag);
    let again = server.send(again.body(Body::empty()).expect("a request")).await;
    assert_eq!(again.status, 304);
    assert_eq!(server.get("/apis/none").await.status, 404);
    assert_eq!(server.get("/version").await.ok()["minor"], "36");
}

#[tokio::test]
async fn nobody_gets_in_but_to_ask_for_health() {
    let server = Server::start().await;
    for (path, status) in
        [("/readyz", 200), ("/livez/ping", 200), ("/api/v1/pods", 401), ("/version", 401)]
    {
        let request = Request::get(path).body(Body::empty()).expect("a request");
        let response = server.0.router().oneshot(request).await.expect("infallible");
        assert_eq!(response.status().as_u16(), status, "{path}");
    }
    let verbose = server.get("/readyz?verbose").await;
    assert!(verbose.text.ends_with("readyz check passed\n"), "{}", verbose.text);
}

#[tokio::test]
async fn a_review_answers_and_is_not_kept() {
    let server = Server::start().await;
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let who = server.post(path, json!({})).await.ok();
    assert_eq!(who["status"]["userInfo"]["username"], "kubernetes-admin");
    server.get(path).await.refused(405);
}

#[tokio::test]
async fn methods_that_a_path_does_not_know_are_refused() {
    let server = Server::start().await;
    server.post("/api/v1/pods", pod("p")).await.refused(405);
    server.get("/api/v1/pods/p").await.refused(404);
    server.get("/api/v1/nonsense").await.refused(404);
    server.delete("/api/v1/namespaces", Value::Null).await.refused(405);
    server.get("/api/v1/namespaces/default/nodes").await.refused(404);
    for method in [Method::HEAD, Method::OPTIONS] {
        for path in [MAPS, "/api/v1", "/version"] {
            let answer = server.call(method.clone(), path, &Value::Null).await;
            assert_eq!(answer.status, 405, "{method} {path}");
        }
    }
    let refused = server.call(Method::OPTIONS, MAPS, &Value::Null).await.json();
    assert_eq!((&refused["reason"], &refused["details"]), (&json!("MethodNotAllowed"), &json!({})));
    for path in ["/nonsense", "/apis/nonsense.io", "/apis/nonsense.io/v1/things"] {
        let lost = server.get(path).await;
        assert_eq!((lost.status, lost.text.as_str()), (404, "404 page not found\n"), "{path}");
    }
    server.get("/apis/apps/v9/things").await.refused(404);
}

#[tokio::test]
async fn what_stands_nowhere_is_not_found_whatever_the_method() {
    let server = Server::start().await;
    server.post(MAPS, map("a", &json!({}))).await.ok();
    let binding = "/api/v1/bindings";
    let (status, nothing) = (format!("{MAPS}/a/status"), format!("{MAPS}/a/nothing"));
    let review = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews/x";
    let lost = [
        binding,
        &status,
        &nothing,
        review,
        "/apis/apps/v9",
        "/api/v1//namespaces",
        "/api/v1/pods/x",
    ];
    let encoded = format!("{MAPS}/a%2Fb");
    for path in lost.into_iter().chain([encoded.as_str()]) {
        for method in
            [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS]
        {
            let answer = server.call(method.clone(), path, &Value::Null).await;
            assert_eq!(answer.status, 404, "{method} {path}");
        }
    }
    for (method, path) in [
        (Method::DELETE, "/api/v1/watch/namespaces/default/configmaps/a"),
        (Method::PUT, "/api/v1/watch/namespaces/default/configmaps/a"),
        (Method::POST, "/api/v1/watch/configmaps"),
        (Method::HEAD, "/version"),
        (Method::POST, "/openid/v1/jwks"),
    ] {
        let answer = server.call(method.clone(), path, &Value::Null).await;
        assert_eq!(answer.status, 405, "{method} {path}");
    }
    server.get(&format!("{MAPS}/a")).await.ok();
    // These do not look at the method.
    for path in ["/", "/apis", "/apis/apps", "/healthz", "/metrics", "/openapi/v3"] {
        assert_eq!(server.post(path, json!({})).await.status, 200, "{path}");
    }
    let lost = server.post("/nonsense", json!({})).await;
    assert_eq!((lost.status, lost.text.as_str()), (404, "404 page not found\n"));
    let everywhere = server.get("/api/v1/namespaces//configmaps").await.ok();
    assert_eq!(everywhere["kind"], "ConfigMapList");
}

#[tokio::test]
async fn a_timeout_that_is_no_duration_is_refused_but_of_a_watch() {
    let server = Server::start().await;
    for path in [MAPS, "/apis", "/version"] {
        assert_eq!(
            server.get(&format!("{path}?timeout=invalid")).await.refused(400),
            r#"invalid timeout specified in the request URL - time: invalid duration "invalid""#
        );
        server.get(&format!("{path}?timeout=90s")).await.ok();
    }
    Frames::open(&server, &format!("{MAPS}?watch=1&timeout=invalid")).await;
}

#[tokio::test]
async fn the_system_objects_are_there_from_the_start() {
    let server = Server::start().await;
    for namespace in ["default", "kube-system", "kube-public", "kube-node-lease"] {
        let object = server.get(&format!("/api/v1/namespaces/{namespace}")).await.ok();
        assert_eq!(object["status"]["phase"], "Active", "{namespace}");
        assert_eq!(object["metadata"]["labels"]["kubernetes.io/metadata.name"], namespace);
    }
    let service = server.get("/api/v1/namespaces/default/services/kubernetes").await.ok();
    assert_eq!(service["spec"]["clusterIP"], "10.96.0.1");
}

#[tokio::test]
async fn openapi_is_served_with_tags() {
    let server = Server::start().await;
    let index = server.get("/openapi/v3").await.ok();
    let url = index["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().expect("a path");
    let document = server.get(url).await;
    let tag = document.headers["etag"].clone();
    assert!(document.ok()["components"]["schemas"]["io.k8s.api.apps.v1.Deployment"].is_object());
    let again = Request::get(url).header("if-none-match", tag).body(Body::empty());
    assert_eq!(server.send(again.expect("a request")).await.status, 304);
    assert_eq!(server.get("/openapi/v2").await.ok()["swagger"], "2.0");
    assert_eq!(server.get("/openapi/v3/apis/none/v1").await.status, 404);
    assert_eq!(server.get_as("/openapi/v2", "application/com.github.proto").await.status, 406);
}

#[tokio::test]
async fn an_error_has_the_form_that_was_asked_for() {
    let server = Server::start().await;
    let path = format!("{MAPS}/none");
    let raw = |accept: &str| {
        let request = Request::get(&path).header("accept", accept);
        server.raw(request.body(Body::empty()).expect("a request"))
    };
    let message = raw(PROTOBUF).await;
    assert_eq!(
        (message.status(), &message.headers()["content-type"]),
        (StatusCode::NOT_FOUND, &http::HeaderValue::from_static(PROTOBUF))
    );
    let bytes = message.into_body().collect().await.expect("a body").to_bytes();
    let (version, kind, status) = crate::schema::protobuf::decode(&bytes).expect("a message");
    assert_eq!((version.as_str(), kind.as_str()), ("v1", "Status"));
    assert_eq!(status["message"], r#"configmaps "none" not found"#);
    assert_eq!(raw("application/yaml").await.headers()["content-type"], "application/yaml");
    for other in ["text/html", TABLE] {
        let answer = server.get_as(&path, other).await;
        let expected = if other == TABLE { 404 } else { 406 };
        assert_eq!((answer.status, answer.json()["kind"].clone()), (expected, json!("Status")));
    }
    let partial = format!("{PROTOBUF};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1");
    let list = Request::get(MAPS).header("accept", partial).body(Body::empty());
    let list = server.raw(list.expect("a request")).await;
    assert_eq!(list.headers()["content-type"], PROTOBUF);
}

#[tokio::test]
async fn a_schema_is_found_by_its_hash() {
    let server = Server::start().await;
    let index = server.get("/openapi/v3").await;
    assert!(index.headers.contains_key("etag"));
    let address = index.ok()["paths"]["api/v1"]["serverRelativeURL"].clone();
    let address = address.as_str().expect("an address");
    let right = server.get(address).await;
    assert_eq!(right.status, 200);
    assert_eq!(right.headers["cache-control"], "public, immutable");
    assert!(right.headers["expires"].to_str().expect("text").ends_with(" GMT"));
    let tag = right.headers["etag"].to_str().expect("text").to_owned();
    let wrong = server.get("/openapi/v3/api/v1?hash=x").await;
    assert_eq!(
        (wrong.status, &wrong.headers["location"]),
        (301, &http::HeaderValue::from_str(address).expect("text"))
    );
    assert_eq!(
        server.get("/openapi/v3/api/v1").await.headers["cache-control"],
        "no-cache, private"
    );
    let again =
        Request::get("/openapi/v3/api/v1").header("if-none-match", format!("\"x\", W/{tag}"));
    assert_eq!(server.send(again.body(Body::empty()).expect("a request")).await.status, 304);
}

#[tokio::test]
async fn single_checks_bear_upstreams_names_and_can_be_left_out() {
    let server = Server::start().await;
    let single = server.get("/readyz/etcd").await;
    assert_eq!((single.status, single.text.as_str()), (200, "ok"));
    assert_eq!(single.headers["x-content-type-options"], "nosniff");
    let report = server.get("/livez?verbose&exclude=etcd&exclude=none").await;
    assert_eq!(
        report.text,
        "[+]ping ok\n[+]etcd excluded: ok\nwarn: some health checks cannot be excluded: no matches for \"none\"\nlivez check passed\n"
    );
    let metrics = server.get("/metrics").await;
    assert_eq!(metrics.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
}
