//! Answers: an object, a list, a `Status` or an error becomes an HTTP response in the form that was
//! asked for.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use serde_json::{Value, json};

use crate::kinds::KindInfo;
use crate::schema::{protobuf, schema};
use crate::status::ApiError;

use super::call::Call;
use super::negotiate::{JSON, Media, Output, PROTOBUF, Shape, YAML};
use super::object::Object;
use super::{table, yaml};

pub use super::warnings::warn;

const PARTIAL: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.PartialObjectMetadata";

/// A response with a body that is at hand.
pub fn respond(status: StatusCode, content_type: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

/// One object of the request's kind.
pub fn object(call: &Call, status: StatusCode, object: &Object) -> Result<Response, ApiError> {
    match call.output.shape {
        Shape::Table => {
            let options = table::Options::parse(&call.query)?;
            let kind = call.kind.as_ref();
            let table = table::of_object(&call.output, kind, object, options, now(call));
            Ok(value(&call.output, status, &table))
        }
        Shape::Partial if call.output.of_list => Err(no_list(&internal_type(call.info()))),
        Shape::Partial => Ok(partial(&call.output, status, object)),
        Shape::Whole => Ok(whole(&call.output, status, call.kind.info().schema, object)),
    }
}

/// Refuses to show an object of a type as a list of metadata.
pub fn no_list(ty: &str) -> ApiError {
    ApiError::not_acceptable(format!(
        "you requested PartialObjectMetadataList, but the requested object is not a list (*{ty})"
    ))
}

/// Refuses to show a list as one object's metadata.
pub fn not_a_list_form(call: &Call) -> Result<(), ApiError> {
    if call.output.shape != Shape::Partial || call.output.of_list {
        return Ok(());
    }
    let ty = internal_type(call.info());
    Err(ApiError::not_acceptable(format!(
        "you requested PartialObjectMetadata, but the requested object is a list (*{ty}List)"
    )))
}

/// How upstream calls the type of a kind: by its group's package.
pub fn internal_type(info: &KindInfo) -> String {
    let stored = info.stored_resource();
    let group = stored.split_once('.').map_or("core", |(_, group)| group);
    let package = group.split('.').next().unwrap_or_default();
    format!("{package}.{}", info.kind)
}

/// An object's metadata alone.
pub fn partial(output: &Output, status: StatusCode, object: &Object) -> Response {
    let shown = table::partial(output, object);
    match output.media {
        Media::Protobuf => respond(status, PROTOBUF, partial_protobuf(&shown)),
        Media::Json | Media::Yaml => value(output, status, &shown),
    }
}

/// The protobuf form of a `PartialObjectMetadata` of either version of `meta.k8s.io`.
pub fn partial_protobuf(shown: &Value) -> Vec<u8> {
    let api_version = shown["apiVersion"].as_str().unwrap_or_default();
    let ty = schema().by_name(PARTIAL).expect("the table has it");
    protobuf::encode(ty, api_version, "PartialObjectMetadata", shown)
}

fn now(call: &Call) -> jiff::Timestamp {
    call.api.ambient().now()
}

/// An object in its own form. `ty`: the name of its type, for protobuf.
pub fn whole(output: &Output, status: StatusCode, ty: &str, object: &Object) -> Response {
    match output.media {
        Media::Json if !output.pretty => respond(status, JSON, line(&object.bytes)),
        Media::Protobuf => match to_protobuf(ty, object) {
            Some(bytes) => respond(status, PROTOBUF, bytes),
            None => respond(status, JSON, line(&object.bytes)),
        },
        Media::Json | Media::Yaml => value(output, status, object.value()),
    }
}

/// The protobuf form, where the schema knows the type.
pub fn to_protobuf(ty: &str, object: &Object) -> Option<Vec<u8>> {
    schema().by_name(ty).map(|ty| protobuf::encode_text(ty, &object.bytes))
}

/// A value that names its own type, in the form that was asked for. What has no protobuf form is
/// JSON, which every client reads.
pub fn value(output: &Output, status: StatusCode, value: &Value) -> Response {
    match output.media {
        Media::Yaml => respond(status, YAML, yaml::text(value)),
        Media::Protobuf => match self_described(value) {
            Some(bytes) => respond(status, PROTOBUF, bytes),
            None => respond(status, JSON, json_text(value, output.pretty)),
        },
        Media::Json => respond(status, JSON, json_text(value, output.pretty)),
    }
}

/// The protobuf form of a value by its apiVersion and kind.
pub fn self_described(value: &Value) -> Option<Vec<u8>> {
    let text = |field: &str| value[field].as_str().unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let ty = schema().by_api_version(api_version, kind)?;
    Some(protobuf::encode(ty, api_version, kind, value))
}

/// JSON text; what is not pretty ends its line, as upstream's encoder does.
pub fn json_text(value: &Value, pretty: bool) -> Bytes {
    let text = if pretty { serde_json::to_vec_pretty(value) } else { serde_json::to_vec(value) };
    let mut text = text.expect("a value is JSON");
    if !pretty {
        text.push(b'\n');
    }
    text.into()
}

fn line(text: &[u8]) -> Bytes {
    [text, b"\n"].concat().into()
}

/// A `Status` of success.
pub fn success(output: &Output, status: StatusCode, details: Option<Value>) -> Response {
    let mut body = json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
    });
    match details {
        Some(details) => body["details"] = details,
        None => body["code"] = status.as_u16().into(),
    }
    value(output, status, &body)
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        self.respond(&Output::PLAIN)
    }
}

impl ApiError {
    /// The error's `Status` in the form that was asked for.
    pub fn respond(&self, output: &Output) -> Response {
        let code = StatusCode::from_u16(self.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let status = self.to_status();
        let mut response = value(output, code, &status);
        let retry = &status["details"]["retryAfterSeconds"];
        if let Some(seconds) = retry.as_u64() {
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        warn(&mut response, &self.warnings);
        response
    }
}
