//! Answers: an object, a list, a `Status` or an error becomes an HTTP response in the form that was
//! asked for.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WARNING};
use http::{HeaderValue, StatusCode};
use serde_json::{Value, json};

use crate::kinds::AnyKind;
use crate::schema::{protobuf, schema};
use crate::status::ApiError;

use super::call::Call;
use super::negotiate::{JSON, Media, Output, PROTOBUF, Shape, YAML};
use super::object::Object;
use super::{table, yaml};

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
        Shape::Partial => Ok(value(&call.output, status, &table::partial(&call.output, object))),
        Shape::Whole => Ok(whole(&call.output, status, call.kind.info().schema, object)),
    }
}

fn now(call: &Call) -> jiff::Timestamp {
    call.api.ambient().now()
}

/// An object in its own form. `ty`: the name of its type, for protobuf.
pub fn whole(output: &Output, status: StatusCode, ty: &str, object: &Object) -> Response {
    match output.media {
        Media::Json if !output.pretty => respond(status, JSON, object.bytes.clone()),
        Media::Protobuf => match to_protobuf(ty, object.value()) {
            Some(bytes) => respond(status, PROTOBUF, bytes),
            None => respond(status, JSON, object.bytes.clone()),
        },
        Media::Json | Media::Yaml => value(output, status, object.value()),
    }
}

/// The protobuf form, where the schema knows the type.
pub fn to_protobuf(ty: &str, value: &Value) -> Option<Vec<u8>> {
    let ty = schema().by_name(ty)?;
    let text = |field: &str| value[field].as_str().unwrap_or_default();
    Some(protobuf::encode(ty, text("apiVersion"), text("kind"), value))
}

/// The name of a kind's list type.
pub fn list_type(kind: &dyn AnyKind) -> String {
    format!("{}List", kind.info().schema)
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

pub fn json_text(value: &Value, pretty: bool) -> Bytes {
    let text = if pretty { serde_json::to_vec_pretty(value) } else { serde_json::to_vec(value) };
    text.expect("a value is JSON").into()
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

/// Adds `Warning` headers. Source: `k8s.io/apimachinery/pkg/util/net/http.go` (NewWarningHeader).
pub fn warn(response: &mut Response, warnings: &[String]) {
    for warning in warnings {
        let mut escaped = String::with_capacity(warning.len() + 8);
        for letter in warning.chars().filter(|letter| !letter.is_control()) {
            if matches!(letter, '"' | '\\') {
                escaped.push('\\');
            }
            escaped.push(letter);
        }
        if let Ok(header) = HeaderValue::from_bytes(format!("299 - \"{escaped}\"").as_bytes()) {
            response.headers_mut().append(WARNING, header);
        }
    }
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
        response
    }
}
