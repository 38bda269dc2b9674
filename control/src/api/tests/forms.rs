//! What requests bring and what answers they take: media types, bodies that are something else.

use super::*;

const ACCESS: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";

#[tokio::test]
async fn a_path_gives_what_it_has_and_nothing_else() {
    let server = Server::start().await;
    server.post(MAPS, map("a", &json!({}))).await.ok();
    let objects = "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, application/vnd.kubernetes.protobuf";
    let lists = format!(
        "{objects}, application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch"
    );
    for (path, why) in [
        (format!("{MAPS}/a"), objects),
        (format!("{MAPS}/none"), objects),
        ("/api".to_owned(), objects),
        ("/apis/apps/v1".to_owned(), objects),
        (MAPS.to_owned(), lists.as_str()),
        (format!("{MAPS}?watch=1"), lists.as_str()),
    ] {
        for accept in ["text/html", "application/*", "APPLICATION/JSON"] {
            let refused = server.get_as(&path, accept).await;
            let status = refused.json();
            assert_eq!(refused.refused(406), why, "{path} {accept}");
            assert_eq!(
                (&status["reason"], &status["details"]),
                (&json!("NotAcceptable"), &json!({}))
            );
        }
    }
    // What gets past that, and cannot be had all the same.
    let accept = "application/json;as=Foo;v=v1;g=meta.k8s.io";
    assert_eq!(
        server.get_as(MAPS, accept).await.refused(406),
        "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf"
    );
    assert_eq!(server.get_as("/version", "application/yaml").await.status, 406);
    for (path, accept) in [("/openapi/v2", "garbage"), ("/openapi/v3/api/v1", "text/html")] {
        let refused = server.get_as(path, accept).await;
        assert_eq!((refused.status, refused.text.as_str()), (406, ""), "{path}");
    }
    server.get_as("/openapi/v3", "text/html").await.ok();
}

#[tokio::test]
async fn a_review_has_no_rows_but_metadata() {
    let server = Server::start().await;
    let post = async |accept: &str| {
        let review = json!({ "spec": { "nonResourceAttributes": { "path": "/", "verb": "get" } } });
        let request = Request::post(ACCESS).header("accept", accept);
        let request = request.header("content-type", "application/json");
        server.send(request.body(Body::from(review.to_string())).expect("a request")).await
    };
    let partial = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
    assert_eq!(post(partial).await.ok()["kind"], "PartialObjectMetadata");
    post(TABLE).await.refused(406);
    let none = server.post(ACCESS, json!({})).await;
    assert!(none.refused(422).starts_with(r#".authorization.k8s.io "" is invalid: "#));
}

#[tokio::test]
async fn a_body_must_be_what_the_path_holds() {
    let server = Server::start().await;
    let post = async |kind: &str, text: &'static str| {
        let request = Request::post(MAPS).header("content-type", kind);
        server.send(request.body(Body::from(text)).expect("a request")).await
    };
    let json = "application/json";
    let unreadable = "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: ";
    for (kind, text, why) in [
        (json, "", format!("{unreadable}unexpected end of JSON input (<empty>)")),
        (json, "{", format!("{unreadable}unexpected end of JSON input ({{)")),
        (
            json,
            "a: b",
            format!("{unreadable}invalid character 'a' looking for beginning of value (613a2062)"),
        ),
        (
            "application/yaml",
            "{",
            "the object provided is unrecognized (must be of type ConfigMap): yaml: line 1: did not find expected node content ({)".to_owned(),
        ),
        (
            PROTOBUF,
            "",
            "the object provided is unrecognized (must be of type ConfigMap): empty data (<empty>)".to_owned(),
        ),
        (
            json,
            r#"{"kind":"Secret"}"#,
            r#"Secret in version "v1" cannot be handled as a ConfigMap: converting (v1.Secret) to (core.ConfigMap): unknown conversion"#.to_owned(),
        ),
    ] {
        assert_eq!(post(kind, text).await.refused(400), why);
    }
    for text in ["null", "{}"] {
        assert!(post(json, text).await.refused(422).contains("name or generateName is required"));
    }
    post("application/yaml", "").await.refused(422);
}

#[tokio::test]
async fn what_is_told_of_a_request_is_told_though_it_fails() {
    let server = Server::start().await;
    let told = |answer: &Answer| {
        let warnings = answer.headers.get_all("warning").iter();
        warnings.map(|it| it.to_str().expect("text").to_owned()).collect::<Vec<_>>()
    };
    let expected = ["299 - \"unknown field \\\"odd\\\"\""];
    let odd = json!({ "metadata": { "name": "A" }, "odd": 1 });
    let created = server.post(MAPS, odd.clone()).await;
    assert_eq!((created.status, told(&created)), (422, expected.map(str::to_owned).to_vec()));
    let updated = server.put(&format!("{MAPS}/b"), odd.clone()).await;
    assert_eq!((updated.status, told(&updated)), (400, expected.map(str::to_owned).to_vec()));
    server.post(MAPS, map("a", &json!({}))).await.ok();
    let patch = json!({ "metadata": { "labels": { "a b": "" } }, "odd": 1 });
    let patched = server.patch(&format!("{MAPS}/a"), MERGE, patch).await;
    assert_eq!((patched.status, told(&patched)), (422, expected.map(str::to_owned).to_vec()));
}

#[tokio::test]
async fn a_patch_is_read_when_there_is_something_to_patch() {
    let server = Server::start().await;
    let path = format!("{MAPS}/a");
    let send = async |kind: Option<&str>, text: &'static str| {
        let request = Request::patch(&path);
        let request = match kind {
            Some(kind) => request.header("content-type", kind),
            None => request,
        };
        server.send(request.body(Body::from(text)).expect("a request")).await
    };
    let strategic = "application/strategic-merge-patch+json";
    let operations = "application/json-patch+json";
    for kind in [None, Some("application/json"), Some("*/*")] {
        assert_eq!(send(kind, "{}").await.refused(415), "415: Unsupported Media Type");
    }
    for kind in [MERGE, strategic, operations] {
        send(Some(kind), "{").await.refused(404);
    }
    server.post(MAPS, map("a", &json!({ "k": "v" }))).await.ok();
    let broken = "unexpected end of JSON input";
    assert_eq!(send(Some(strategic), "{").await.refused(400), broken);
    assert_eq!(
        send(Some(MERGE), "{").await.refused(400),
        format!("error decoding patch: {broken}")
    );
    for (kind, text) in
        [(strategic, "null"), (operations, "null"), (strategic, r#"{"kind":"List"}"#)]
    {
        assert_eq!(send(Some(kind), text).await.ok()["kind"], "ConfigMap", "{kind} {text}");
    }
    let why = send(Some(strategic), r#"{"data":{"k":1}}"#).await.refused(422);
    assert!(why.ends_with("cannot convert int64 to string"), "{why}");
    let why = send(Some(MERGE), r#"{"kind":"Nope"}"#).await.refused(422);
    assert!(why.contains(r#"\"managedFields\":"#), "{why}");
    let reason = r#"no kind "Nope" is registered for version "v1" in scheme "pkg/api/legacyscheme/scheme.go:30""#;
    assert!(why.ends_with(reason), "{why}");
}
