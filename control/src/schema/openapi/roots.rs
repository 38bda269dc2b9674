//! The operations of no kind: discovery, the version, logs of the server, the issuer's documents.

use super::components::{VERSION_INFO, meta};
use super::operation::{
    Answer, Media, Operation, base, capital, group_name, group_version_word, tag,
};
use super::parameters::in_path;

/// `/api/`.
pub(super) fn core_versions() -> Vec<Operation> {
    vec![discovery(
        "/api/",
        "getCoreAPIVersions",
        "get available API versions",
        "core",
        "APIVersions",
    )]
}

/// `/apis/`.
pub(super) fn groups() -> Vec<Operation> {
    vec![discovery(
        "/apis/",
        "getAPIVersions",
        "get available API versions",
        "apis",
        "APIGroupList",
    )]
}

/// `/apis/{group}/`.
pub(super) fn group(group: &str) -> Vec<Operation> {
    let name = group_name(group);
    let id = format!("get{}APIGroup", capital(&name));
    let path = format!("/apis/{group}/");
    vec![discovery(&path, &id, "get information of a group", &name, "APIGroup")]
}

/// `/apis/{group}/{version}/`.
pub(super) fn resources(group: &str, version: &str) -> Vec<Operation> {
    let id = format!("get{}APIResources", group_version_word(group, version));
    let path = format!("{}/", base(group, version));
    let tag = tag(group, version);
    vec![discovery(&path, &id, "get available resources", &tag, "APIResourceList")]
}

fn discovery(path: &str, id: &str, description: &str, tag: &str, answer: &str) -> Operation {
    let answer = Answer::Object(meta(answer));
    get(path, id, description, tag, answer, Media::Discovery)
}

/// `/version/`.
pub(super) fn version() -> Vec<Operation> {
    let answer = Answer::Object(VERSION_INFO.to_owned());
    let description = "get the version information for this server";
    vec![get("/version/", "getCodeVersion", description, "version", answer, Media::Json)]
}

/// `/logs/`: files of the server's log.
pub(super) fn logs() -> Vec<Operation> {
    let nothing = || Answer::Nothing;
    let list = get("/logs/", "logFileListHandler", "", "logs", nothing(), Media::Unknown);
    let mut file = get("/logs/{logpath}", "logFileHandler", "", "logs", nothing(), Media::Unknown);
    file.parameters.push(in_path("logpath", "The path to the log."));
    vec![list, file]
}

/// `/.well-known/openid-configuration/`.
pub(super) fn issuer() -> Vec<Operation> {
    vec![get(
        "/.well-known/openid-configuration/",
        "getServiceAccountIssuerOpenIDConfiguration",
        "get the OpenID configuration of the issuer of service accounts' tokens",
        "WellKnown",
        Answer::Text,
        Media::Document("application/json"),
    )]
}

/// `/openid/v1/jwks/`.
pub(super) fn key_set() -> Vec<Operation> {
    vec![get(
        "/openid/v1/jwks/",
        "getServiceAccountIssuerOpenIDKeyset",
        "get the public keys that service accounts' tokens are verified with",
        "openid",
        Answer::Text,
        Media::Document("application/jwk-set+json"),
    )]
}

fn get(
    path: &str,
    id: &str,
    description: &str,
    tag: &str,
    answer: Answer,
    media: Media,
) -> Operation {
    Operation {
        path: path.to_owned(),
        method: "get",
        id: id.to_owned(),
        description: description.to_owned(),
        tag: tag.to_owned(),
        on: None,
        parameters: Vec::new(),
        body: None,
        codes: &[200],
        answer,
        media,
    }
}
