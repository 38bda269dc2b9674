//! Tokens of service accounts, certificate requests, access reviews, APIServices.

use super::*;

const ACCOUNT: &str = "/api/v1/namespaces/default/serviceaccounts/default";
const REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
const API: &str = "https://kubernetes.default.svc.cluster.local";

async fn token(server: &Server, spec: Value) -> Answer {
    server.post(&format!("{ACCOUNT}/token"), json!({ "spec": spec })).await
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The status of the review of a token.
async fn review(server: &Server, token: &str, audiences: Value) -> Value {
    let spec = json!({ "token": token, "audiences": audiences });
    server.post(REVIEWS, json!({ "spec": spec })).await.ok()["status"].clone()
}

#[tokio::test]
async fn a_token_says_who_its_bearer_is_until_its_account_is_gone() {
    let server = Server::start().await;
    with_service_account(&server).await;
    let issued = token(&server, json!({})).await.ok();
    assert_eq!(issued["kind"], "TokenRequest");
    assert_eq!(issued["spec"]["expirationSeconds"], 3600);
    assert_eq!(issued["spec"]["audiences"], json!([API]));
    let account = server.get(ACCOUNT).await.ok();
    assert_eq!(issued["metadata"]["uid"], account["metadata"]["uid"]);
    let bearer = text(&issued, "/status/token").to_owned();
    let status = review(&server, &bearer, Value::Null).await;
    assert_eq!(status["authenticated"], true, "{status}");
    assert_eq!(status["audiences"], json!([API]));
    assert_eq!(status["user"]["username"], "system:serviceaccount:default:default");
    assert_eq!(
        status["user"]["groups"],
        json!(["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"])
    );
    // As a client's own proof.
    let ask = async |path: &str, token: &str| {
        let request = Request::get(path).header("authorization", format!("Bearer {token}"));
        let request = request.body(Body::empty()).expect("a request");
        server.0.router().oneshot(request).await.expect("infallible").status().as_u16()
    };
    assert_eq!(ask("/api/v1/namespaces/default/configmaps", &bearer).await, 200);
    assert_eq!(ask("/api/v1/namespaces/default/configmaps", "nonsense").await, 401);
    let (signed, _) = bearer.rsplit_once('.').expect("three parts");
    assert_eq!(ask("/version", &format!("{signed}.AAAA")).await, 401);
    server.delete(ACCOUNT, Value::Null).await.ok();
    assert_eq!(ask("/version", &bearer).await, 401);
    let status = review(&server, &bearer, Value::Null).await;
    assert_eq!(status["authenticated"], Value::Null);
    assert_eq!(status["error"], "serviceaccounts \"default\" not found");
}

#[tokio::test]
async fn a_token_is_for_its_audience() {
    let server = Server::start().await;
    with_service_account(&server).await;
    let issued = token(&server, json!({ "audiences": ["vault"] })).await.ok();
    let bearer = text(&issued, "/status/token");
    let status = review(&server, bearer, json!(["vault", "other"])).await;
    assert_eq!((&status["authenticated"], &status["audiences"]), (&json!(true), &json!(["vault"])));
    let status = review(&server, bearer, Value::Null).await;
    assert_eq!(
        status["error"],
        format!("token audiences [\"vault\"] is invalid for the target audiences [\"{API}\"]")
    );
    let status = review(&server, "abc", Value::Null).await;
    assert_eq!(status["error"], "invalid bearer token");
    let why = server.post(REVIEWS, json!({ "spec": {} })).await.refused(400);
    assert_eq!(why, "token is required for TokenReview in authentication");
}

#[tokio::test]
async fn a_bound_token_goes_with_what_it_is_bound_to() {
    let server = Server::start().await;
    with_service_account(&server).await;
    let bound = |kind: &str, name: &str| json!({ "boundObjectRef": { "apiVersion": "v1", "kind": kind, "name": name } });
    let why = token(&server, bound("Pod", "p")).await.refused(404);
    assert_eq!(why, "pods \"p\" not found");
    let why = token(&server, bound("ConfigMap", "p")).await.refused(400);
    assert_eq!(why, "cannot bind token to object of type /v1, Kind=ConfigMap");
    let pods = "/api/v1/namespaces/default/pods";
    server.post(pods, pod("p")).await.ok();
    let issued = token(&server, bound("Pod", "p")).await.ok();
    let bearer = text(&issued, "/status/token");
    let status = review(&server, bearer, Value::Null).await;
    let extra = &status["user"]["extra"];
    assert_eq!(extra["authentication.kubernetes.io/pod-name"], json!(["p"]), "{status}");
    server.delete(&format!("{pods}/p"), json!({ "gracePeriodSeconds": 0 })).await.ok();
    let status = review(&server, bearer, Value::Null).await;
    assert_eq!(status["error"], "service account token has been invalidated");
}

#[tokio::test]
async fn a_token_request_is_checked() {
    let server = Server::start().await;
    with_service_account(&server).await;
    let why = token(&server, json!({ "expirationSeconds": 599 })).await.refused(422);
    assert!(why.ends_with("spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes"), "{why}");
    let path = format!("{ACCOUNT}/token");
    let other = json!({ "metadata": { "name": "other" }, "spec": {} });
    let why = server.post(&path, other).await.refused(422);
    assert!(why.contains("must match the service account name if specified"), "{why}");
    let other = json!({ "metadata": { "uid": "x" }, "spec": {} });
    let why = server.post(&path, other).await.refused(409);
    assert!(why.starts_with("Operation cannot be fulfilled on TokenRequest.authentication.k8s.io \"default\": the UID in the token request (x)"), "{why}");
}

#[tokio::test]
async fn the_keys_of_tokens_are_published() {
    let server = Server::start().await;
    let configuration = server.get("/.well-known/openid-configuration").await.ok();
    assert_eq!(configuration["issuer"], API);
    assert_eq!(configuration["id_token_signing_alg_values_supported"], json!(["ES256"]));
    let keys = server.get("/openid/v1/jwks").await;
    assert_eq!(keys.headers["content-type"], "application/jwk-set+json");
    let key = keys.ok()["keys"][0].clone();
    assert_eq!((&key["kty"], &key["crv"]), (&json!("EC"), &json!("P-256")));
}

#[tokio::test]
async fn a_certificate_request_is_of_its_user_and_is_approved_apart() {
    let server = Server::start().await;
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, "jane");
    let key = rcgen::KeyPair::generate().expect("a key");
    let pem = params.serialize_request(&key).expect("a request").pem().expect("PEM");
    let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, pem);
    let path = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let request = json!({
        "metadata": { "name": "jane" },
        "spec": {
            "request": encoded,
            "signerName": "kubernetes.io/kube-apiserver-client",
            "usages": ["client auth"],
            "username": "somebody",
        },
        "status": { "conditions": [{ "type": "Approved", "status": "True" }] },
    });
    let made = server.post(path, request).await.ok();
    assert_eq!(made["spec"]["username"], "kubernetes-admin");
    assert_eq!(made["status"], json!({}));
    let one = format!("{path}/jane");
    let mut approved = made.clone();
    approved["status"]["conditions"] =
        json!([{ "type": "Approved", "status": "True", "reason": "Mine" }]);
    let put = server.put(&one, approved.clone()).await.ok();
    assert_eq!(put["status"], json!({}));
    let put = server.put(&format!("{one}/approval"), approved).await.ok();
    let condition = &put["status"]["conditions"][0];
    assert_eq!(condition["type"], "Approved");
    assert!(!text(condition, "/lastTransitionTime").is_empty());
    let selected = server
        .get(&format!(
            "{path}?fieldSelector=spec.signerName%3Dkubernetes.io%2Fkube-apiserver-client"
        ))
        .await;
    assert_eq!(selected.ok()["items"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn everybody_who_is_somebody_may() {
    let server = Server::start().await;
    let group = "/apis/authorization.k8s.io/v1";
    let resource = json!({ "namespace": "default", "verb": "get", "resource": "pods" });
    let ask = json!({ "spec": { "user": "jane", "resourceAttributes": resource } });
    let path = format!("{group}/subjectaccessreviews");
    assert_eq!(server.post(&path, ask.clone()).await.ok()["status"], json!({ "allowed": true }));
    let local = format!("{group}/namespaces/default/localsubjectaccessreviews");
    assert_eq!(server.post(&local, ask.clone()).await.ok()["status"]["allowed"], true);
    let elsewhere = format!("{group}/namespaces/other/localsubjectaccessreviews");
    let why = server.post(&elsewhere, ask).await.refused(422);
    assert!(why.contains("must match metadata.namespace"), "{why}");
    let rules = json!({ "spec": { "namespace": "default" } });
    let path = format!("{group}/selfsubjectrulesreviews");
    let answer = server.post(&path, rules).await.ok();
    assert_eq!(answer["status"]["resourceRules"][0]["verbs"], json!(["*"]));
    assert_eq!(server.post(&path, json!({})).await.refused(400), "no namespace on request");
}

#[tokio::test]
async fn what_is_served_here_has_its_api_services() {
    let server = Server::start().await;
    let path = "/apis/apiregistration.k8s.io/v1/apiservices";
    let core = server.get(&format!("{path}/v1.")).await.ok();
    assert_eq!(core["spec"]["groupPriorityMinimum"], 18000);
    assert_eq!(core["status"]["conditions"][0]["reason"], "Local");
    let table = server
        .get_as(&format!("{path}/v1.apps"), "application/json;as=Table;g=meta.k8s.io;v=v1")
        .await;
    assert_eq!(
        table.ok()["rows"][0]["cells"].as_array().expect("cells")[..3],
        [json!("v1.apps"), json!("Local"), json!("True")]
    );
}

#[tokio::test]
async fn a_definition_is_stored_with_its_storage_version() {
    let server = Server::start().await;
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let schema = json!({ "openAPIV3Schema": { "type": "object" } });
    let definition = json!({
        "metadata": { "name": "tabs.example.com" },
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": { "plural": "tabs", "kind": "Tab" },
            "versions": [{ "name": "v1", "served": true, "storage": true, "schema": schema }],
        },
    });
    let made = server.post(path, definition).await.ok();
    assert_eq!(made["status"]["storedVersions"], json!(["v1"]));
    assert_eq!(made["spec"]["names"]["listKind"], "TabList");
    let mut next = made.clone();
    next["spec"]["versions"][0]["storage"] = false.into();
    let mut second = made["spec"]["versions"][0].clone();
    second["name"] = "v2".into();
    next["spec"]["versions"].as_array_mut().expect("versions").push(second);
    let put = server.put(&format!("{path}/tabs.example.com"), next).await.ok();
    assert_eq!(put["status"]["storedVersions"], json!(["v1", "v2"]));
    assert_eq!(put["metadata"]["generation"], 2);
    let mut lost = put;
    lost["spec"]["versions"].as_array_mut().expect("versions").remove(0);
    let why = server.put(&format!("{path}/tabs.example.com"), lost).await.refused(422);
    assert!(
        why.contains("status.storedVersions[0]: Invalid value: \"v1\": missing from spec.versions"),
        "{why}"
    );
}
