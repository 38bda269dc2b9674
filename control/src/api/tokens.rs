//! The tokens of service accounts: issued at `serviceaccounts/{name}/token`, judged wherever one is
//! shown, and reviewed for others.
//!
//! Source: `pkg/registry/core/serviceaccount/storage/token.go`, `pkg/serviceaccount/claims.go`,
//! `pkg/registry/authentication/tokenreview/storage.go`.

use axum::body::Body;
use axum::response::Response;
use http::header::{AUTHORIZATION, CACHE_CONTROL};
use http::{HeaderMap, HeaderValue, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::auth::tokens::{self, Claims, Foreign, ISSUER, Kubernetes, LEEWAY_SECONDS, Reference};
use crate::auth::{AUTHENTICATED, UserInfo};
use crate::kinds::FieldError;
use crate::schema;
use crate::status::{About, ApiError};

use super::answer::{self, respond};
use super::body;
use super::call::Call;
use super::decode::{self, Expected};
use super::get;
use super::metadata;
use super::negotiate::Media;
use super::object::{self, Object};
use super::query::WriteOptions;
use super::state::Api;

const SCHEMA: &str = "io.k8s.api.authentication.v1.TokenRequest";
const EXPIRATION_SECONDS: i64 = 3600;
const EXPIRATION_SECONDS_MIN: i64 = 600;
const EXPIRATION_SECONDS_MAX: i64 = 1 << 32;
/// Whoever asks for exactly this may be a client that does not renew its token: the token lasts a
/// year then.
const EXTENDED_SECONDS: i64 = 3607;
const YEAR_SECONDS: i64 = 365 * 24 * 3600;
const INVALID: &str = "invalid bearer token";

/// POST to `serviceaccounts/{name}/token`.
pub async fn create(call: &Call, body: Body) -> Result<Response, ApiError> {
    let media = Media::of_body(&call.headers)?;
    let body = body::read(body).await?;
    let options = WriteOptions::parse(&call.query, "CreateOptions")?;
    let expected = Expected::new("authentication.k8s.io/v1", "TokenRequest", SCHEMA);
    let decoded = decode::object(&expected, media, &body, options.validation)?;
    let account = get::read(call).await?;
    let mut request = decoded.value;
    settle(call, &mut request, account.value())?;
    let bound = bind(call, &request).await?;
    let now = call.api.ambient().now();
    let claims = claims(call, &request, account.value(), bound, now);
    let token = call.api.tokens.sign(&claims);
    let token = token.ok_or_else(|| ApiError::internal("failed to generate token"))?;
    let lifetime = request["spec"]["expirationSeconds"].as_i64().unwrap_or(EXPIRATION_SECONDS);
    request["metadata"]["creationTimestamp"] = metadata::timestamp(now);
    request["status"] = json!({
        "token": token,
        "expirationTimestamp": metadata::timestamp(at(now.as_second() + lifetime)),
    });
    if let Some(ty) = schema::schema().by_name(SCHEMA) {
        schema::settle(ty, &mut request);
    }
    let mut response =
        answer::whole(&call.output, StatusCode::CREATED, SCHEMA, &Object::of_value(request));
    answer::warn(&mut response, &decoded.warnings);
    Ok(response)
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap_or(Timestamp::MAX)
}

/// Fills in what the request leaves open, and checks the rest.
fn settle(call: &Call, request: &mut Value, account: &Value) -> Result<(), ApiError> {
    let name = &call.address.name;
    let about = |name| About { group: "authentication.k8s.io", resource: "TokenRequest", name };
    for (field, wanted) in [("name", name), ("namespace", &call.address.namespace)] {
        let given = request["metadata"][field].as_str().unwrap_or_default();
        if !given.is_empty() && given != wanted {
            let why = format!("must match the service account {field} if specified");
            let error = FieldError::invalid(format!("metadata.{field}"), given, why);
            return Err(ApiError::invalid(about(name), &[error]));
        }
        request["metadata"][field] = wanted.as_str().into();
    }
    let (given, uid) = (object::uid(request).to_owned(), object::uid(account));
    if !given.is_empty() && given != uid {
        let why = format!(
            "the UID in the token request ({given}) does not match the UID of the service account ({uid})"
        );
        return Err(ApiError::conflict(about(name), &why));
    }
    request["metadata"]["uid"] = uid.into();
    if request["spec"]["audiences"].as_array().is_none_or(Vec::is_empty) {
        request["spec"]["audiences"] = json!([ISSUER]);
    }
    if request["spec"]["expirationSeconds"].is_null() {
        request["spec"]["expirationSeconds"] = EXPIRATION_SECONDS.into();
    }
    let seconds = request["spec"]["expirationSeconds"].as_i64().unwrap_or_default();
    let why = match seconds {
        ..EXPIRATION_SECONDS_MIN => "may not specify a duration less than 10 minutes",
        EXPIRATION_SECONDS_MIN..=EXPIRATION_SECONDS_MAX => return Ok(()),
        _ => "may not specify a duration larger than 2^32 seconds",
    };
    let error = FieldError::invalid("spec.expirationSeconds", seconds, why);
    Err(ApiError::invalid(about(""), &[error]))
}

/// What a token is bound to.
#[derive(Default)]
struct Bound {
    node: Option<Reference>,
    pod: Option<Reference>,
    secret: Option<Reference>,
}

fn reference(value: &Value) -> Reference {
    Reference { name: object::name(value).to_owned(), uid: object::uid(value).to_owned() }
}

/// Looks up what the token is to be bound to.
async fn bind(call: &Call, request: &Value) -> Result<Bound, ApiError> {
    let wanted = &request["spec"]["boundObjectRef"];
    if !wanted.is_object() {
        return Ok(Bound::default());
    }
    let text = |field: &str| wanted[field].as_str().unwrap_or_default();
    let (version, kind, name) = (text("apiVersion"), text("kind"), text("name"));
    let namespace = call.address.namespace.as_str();
    let (group, rest) = version.split_once('/').unwrap_or(("", version));
    let found = match (group, kind) {
        ("", "Pod") => required(&call.api, "pods", namespace, name).await?,
        ("", "Secret") => required(&call.api, "secrets", namespace, name).await?,
        ("", "Node") => required(&call.api, "nodes", "", name).await?,
        _ => {
            return Err(ApiError::bad_request(format!(
                "cannot bind token to object of type {group}/{rest}, Kind={kind}"
            )));
        }
    };
    let account = &call.address.name;
    if kind == "Pod" && found["spec"]["serviceAccountName"] != account.as_str() {
        return Err(ApiError::bad_request(format!(
            "cannot bind token for serviceaccount {account:?} to pod running with different serviceaccount name."
        )));
    }
    let uid = text("uid");
    if !uid.is_empty() && uid != object::uid(&found) {
        let why = format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
        );
        return Err(ApiError::conflict(About { group, resource: kind, name }, &why));
    }
    let mut bound = Bound::default();
    match kind {
        "Secret" => bound.secret = Some(reference(&found)),
        "Node" => bound.node = Some(reference(&found)),
        _ => {
            bound.pod = Some(reference(&found));
            bound.node = node_of(&call.api, &found).await?;
        }
    }
    Ok(bound)
}

/// The node of a pod. One that is gone is still named.
async fn node_of(api: &Api, pod: &Value) -> Result<Option<Reference>, ApiError> {
    let name = object::text(pod, "/spec/nodeName");
    if name.is_empty() {
        return Ok(None);
    }
    let node = find(api, "nodes", "", name).await?;
    let gone = || Reference { name: name.to_owned(), uid: String::new() };
    Ok(Some(node.as_ref().map_or_else(gone, reference)))
}

/// The newest object of this name, if there is one.
async fn find(
    api: &Api,
    resource: &str,
    namespace: &str,
    name: &str,
) -> Result<Option<Value>, ApiError> {
    let cache = api.caches().kind(resource);
    let cache = cache.ok_or_else(|| ApiError::internal(format!("{resource} are not served")))?;
    cache.latest().await.map_err(super::write::store_failed)?;
    let kind = api.kinds.at("", "v1", resource).ok_or_else(ApiError::page_not_found)?;
    let found = cache.get(namespace, name);
    Ok(found.map(|found| Object::of_cached(kind.as_ref(), &found).into_value()))
}

async fn required(
    api: &Api,
    resource: &str,
    namespace: &str,
    name: &str,
) -> Result<Value, ApiError> {
    let missing = || ApiError::not_found(About { group: "", resource, name });
    find(api, resource, namespace, name).await?.ok_or_else(missing)
}

fn claims(call: &Call, request: &Value, account: &Value, bound: Bound, now: Timestamp) -> Claims {
    let audiences = request["spec"]["audiences"].as_array();
    let aud: Vec<String> = audiences
        .into_iter()
        .flatten()
        .filter_map(|audience| audience.as_str().map(str::to_owned))
        .collect();
    let asked = request["spec"]["expirationSeconds"].as_i64().unwrap_or(EXPIRATION_SECONDS);
    let extends = asked == EXTENDED_SECONDS
        && bound.pod.is_some()
        && aud.iter().all(|audience| audience == ISSUER);
    let now = now.as_second();
    let (namespace, name) = (&call.address.namespace, &call.address.name);
    Claims {
        aud,
        exp: now + if extends { YEAR_SECONDS } else { asked },
        iat: now,
        iss: ISSUER.to_owned(),
        jti: call.api.ambient().uuid().to_string(),
        kubernetes: Kubernetes {
            namespace: namespace.clone(),
            node: bound.node,
            pod: bound.pod,
            secret: bound.secret,
            serviceaccount: reference(account),
            warnafter: extends.then_some(now + asked),
        },
        nbf: now,
        sub: format!("system:serviceaccount:{namespace}:{name}"),
    }
}

/// Whose token it is, and for which of the audiences.
pub struct Bearer {
    pub user: UserInfo,
    audiences: Vec<String>,
}

/// The token among the headers of a request.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?.trim();
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// Judges a token. The error says why it is worth nothing.
pub async fn authenticate(api: &Api, token: &str, audiences: &[String]) -> Result<Bearer, String> {
    let claims = api.tokens.verify(token).map_err(|foreign| match foreign {
        Foreign::Unknown => INVALID.to_owned(),
        Foreign::Forged(why) => why.to_owned(),
    })?;
    let common: Vec<String> =
        claims.aud.iter().filter(|audience| audiences.contains(audience)).cloned().collect();
    if common.is_empty() {
        return Err(format!(
            "token audiences {} is invalid for the target audiences {}",
            go_list(&claims.aud),
            go_list(audiences)
        ));
    }
    let now = api.ambient().now();
    claims.check_times(now)?;
    check_references(api, &claims, now).await?;
    Ok(Bearer { user: user(&claims), audiences: common })
}

/// A list as Go's `%q` prints it.
fn go_list(list: &[String]) -> String {
    let quoted: Vec<String> = list.iter().map(|item| format!("{item:?}")).collect();
    format!("[{}]", quoted.join(" "))
}

/// Whether the account and what the token is bound to still exist.
async fn check_references(api: &Api, claims: &Claims, now: Timestamp) -> Result<(), String> {
    const GONE: &str = "service account token has been invalidated";
    let told = |error: ApiError| error.message;
    let is_gone = |value: &Value| {
        let deleted = metadata::parse_timestamp(&value["metadata"]["deletionTimestamp"]);
        deleted.is_some_and(|deleted| deleted.as_second() < now.as_second() - LEEWAY_SECONDS)
    };
    let kubernetes = &claims.kubernetes;
    let (namespace, account) = (kubernetes.namespace.as_str(), &kubernetes.serviceaccount);
    let found = required(api, "serviceaccounts", namespace, &account.name).await.map_err(told)?;
    let uid = object::uid(&found);
    if uid != account.uid {
        let claimed = &account.uid;
        return Err(format!("service account UID ({uid}) does not match claim ({claimed})"));
    }
    if is_gone(&found) {
        return Err(format!("service account {namespace}/{} has been deleted", account.name));
    }
    // The node of a pod is only told.
    let node = kubernetes.node.as_ref().filter(|_| kubernetes.pod.is_none());
    for (resource, namespace, what, claimed) in [
        ("secrets", namespace, "secret", kubernetes.secret.as_ref()),
        ("pods", namespace, "pod", kubernetes.pod.as_ref()),
        ("nodes", "", "node", node),
    ] {
        let Some(claimed) = claimed else { continue };
        let found = find(api, resource, namespace, &claimed.name).await.map_err(told)?;
        let found = found.filter(|found| !is_gone(found)).ok_or(GONE)?;
        let uid = object::uid(&found);
        if uid != claimed.uid {
            let claimed = &claimed.uid;
            return Err(format!(
                "{what} UID ({uid}) does not match service account {what} ref claim ({claimed})"
            ));
        }
    }
    Ok(())
}

/// Source: `k8s.io/apiserver/pkg/authentication/serviceaccount/util.go`.
fn user(claims: &Claims) -> UserInfo {
    let kubernetes = &claims.kubernetes;
    let groups = [
        "system:serviceaccounts".to_owned(),
        format!("system:serviceaccounts:{}", kubernetes.namespace),
        AUTHENTICATED.to_owned(),
    ];
    let mut user = UserInfo {
        name: claims.sub.clone(),
        uid: kubernetes.serviceaccount.uid.clone(),
        groups: groups.into(),
        ..UserInfo::default()
    };
    let mut tell = |key: &str, value: &str| {
        if !value.is_empty() {
            let key = format!("authentication.kubernetes.io/{key}");
            user.extra.insert(key, vec![value.to_owned()]);
        }
    };
    if !claims.jti.is_empty() {
        tell("credential-id", &format!("JTI={}", claims.jti));
    }
    for (what, claimed) in [("pod", &kubernetes.pod), ("node", &kubernetes.node)] {
        if let Some(claimed) = claimed {
            tell(&format!("{what}-name"), &claimed.name);
            tell(&format!("{what}-uid"), &claimed.uid);
        }
    }
    user
}

/// The audiences of the API itself.
pub fn own_audiences() -> Vec<String> {
    vec![ISSUER.to_owned()]
}

/// The answer to a TokenReview.
pub async fn review(api: &Api, mut review: Value) -> Result<Value, ApiError> {
    let token = review["spec"]["token"].as_str().unwrap_or_default().to_owned();
    if token.is_empty() {
        let why = "token is required for TokenReview in authentication";
        return Err(ApiError::bad_request(why));
    }
    let asked = review["spec"]["audiences"].as_array().into_iter().flatten();
    let asked: Vec<String> =
        asked.filter_map(|audience| audience.as_str().map(str::to_owned)).collect();
    let audiences = if asked.is_empty() { own_audiences() } else { asked };
    review["status"] = match authenticate(api, &token, &audiences).await {
        Err(why) => json!({ "user": {}, "error": why }),
        Ok(bearer) => {
            let user = bearer.user;
            json!({
                "authenticated": true,
                "audiences": bearer.audiences,
                "user": {
                    "username": user.name,
                    "uid": user.uid,
                    "groups": user.groups,
                    "extra": user.extra,
                },
            })
        }
    };
    Ok(review)
}

/// What others need to know the tokens by: `None` for other paths.
pub fn published(api: &Api, path: &str) -> Option<(&'static str, Response)> {
    let (media, text) = match path {
        "/.well-known/openid-configuration" => ("application/json", api.tokens.configuration()),
        tokens::KEYS_PATH => ("application/jwk-set+json", api.tokens.keys()),
        _ => return None,
    };
    let mut response = respond(StatusCode::OK, media, text.to_owned());
    let cache = HeaderValue::from_static("public, max-age=3600");
    response.headers_mut().insert(CACHE_CONTROL, cache);
    Some((media, response))
}
