//! Request bodies become values: JSON, YAML and protobuf, pruned by the schema. Pure.
//!
//! Source: `k8s.io/apiserver/pkg/endpoints/handlers/{create,rest}.go`.

use serde_json::Value;

use crate::kinds::KindInfo;
use crate::schema::{self, protobuf, schema};
use crate::status::ApiError;

use super::negotiate::Media;
use super::query::FieldValidation;

/// What a body must be.
#[derive(Clone, Debug)]
pub struct Expected<'a> {
    pub api_version: String,
    pub kind: &'a str,
    /// The name of its type in the schema.
    pub schema: &'a str,
    /// Other versions that are as good: an eviction of `policy/v1beta1`.
    pub also: &'a [&'a str],
}

impl<'a> Expected<'a> {
    pub fn of(info: &KindInfo) -> Self {
        Self { api_version: info.api_version(), kind: info.kind, schema: info.schema, also: &[] }
    }

    pub fn new(api_version: &str, kind: &'a str, schema: &'a str) -> Self {
        Self { api_version: api_version.to_owned(), kind, schema, also: &[] }
    }

    fn version(&self) -> &str {
        self.api_version.rsplit('/').next().unwrap_or_default()
    }

    fn refuse(&self, why: impl std::fmt::Display) -> ApiError {
        ApiError::bad_request(format!(
            "{} in version {:?} cannot be handled as a {}: {why}",
            self.kind,
            self.version(),
            self.kind
        ))
    }
}

/// A value, and what is wrong with it but does not matter: unknown and doubled fields.
#[derive(Debug)]
pub struct Decoded {
    pub value: Value,
    pub warnings: Vec<String>,
}

/// Decodes a whole object.
pub fn object(
    expected: &Expected<'_>,
    media: Media,
    body: &[u8],
    validation: FieldValidation,
) -> Result<Decoded, ApiError> {
    let (mut value, mut problems) = parse(expected, media, body)?;
    check_type(expected, &mut value)?;
    let unknown = prune(expected, &mut value)?;
    match media {
        Media::Json => problems = schema::in_order(body, problems, unknown),
        Media::Yaml | Media::Protobuf => problems.extend(unknown),
    }
    if validation == FieldValidation::Strict && !problems.is_empty() {
        return Err(expected.refuse(format!("strict decoding error: {}", problems.join(", "))));
    }
    if validation == FieldValidation::Ignore {
        problems.clear();
    }
    Ok(Decoded { value, warnings: problems })
}

/// Drops what the type does not know, and says what it was; 400 where a field has a wrong type.
fn prune(expected: &Expected<'_>, value: &mut Value) -> Result<Vec<String>, ApiError> {
    let Some(ty) = schema().by_name(expected.schema) else {
        return Err(ApiError::internal(format!("no schema for {}", expected.schema)));
    };
    schema::check_types(ty, value).map_err(|why| expected.refuse(why))?;
    Ok(schema::prune(ty, value).unknown)
}

fn parse(
    expected: &Expected<'_>,
    media: Media,
    body: &[u8],
) -> Result<(Value, Vec<String>), ApiError> {
    let unrecognized = |why: String| {
        ApiError::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): {why} ({})",
            expected.kind,
            summary(body)
        ))
    };
    match media {
        Media::Json => schema::decode_json(body).map_err(|why| {
            unrecognized(format!("couldn't get version/kind; json parse error: {why}"))
        }),
        Media::Yaml => {
            schema::decode_yaml(body).map_err(|why| unrecognized(format!("yaml: {why}")))
        }
        Media::Protobuf => {
            let (api_version, kind, mut value) =
                protobuf::decode(body).map_err(|why| unrecognized(why.to_string()))?;
            if let Some(object) = value.as_object_mut() {
                object.insert("apiVersion".into(), api_version.into());
                object.insert("kind".into(), kind.into());
            }
            Ok((value, Vec::new()))
        }
    }
}

/// The object must be what the path says; what it does not say of itself is filled in.
fn check_type(expected: &Expected<'_>, value: &mut Value) -> Result<(), ApiError> {
    let Some(object) = value.as_object_mut() else {
        return Err(ApiError::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): it is not an object",
            expected.kind
        )));
    };
    let own =
        |field: &str| object.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (api_version, kind) = (own("apiVersion"), own("kind"));
    let version_fits = api_version.is_empty()
        || api_version == expected.api_version
        || expected.also.contains(&api_version.as_str());
    if !kind.is_empty() && kind != expected.kind {
        let version = if api_version.is_empty() { &expected.api_version } else { &api_version };
        let short = version.rsplit('/').next().unwrap_or_default();
        return Err(ApiError::bad_request(format!(
            "{kind} in version {short:?} cannot be handled as a {}: no kind {kind:?} is registered for version {version:?} at this path",
            expected.kind
        )));
    }
    if !version_fits {
        return Err(ApiError::bad_request(format!(
            "the API version in the data ({api_version}) does not match the expected API version ({})",
            expected.api_version
        )));
    }
    object.insert("apiVersion".into(), expected.api_version.as_str().into());
    object.insert("kind".into(), expected.kind.into());
    Ok(())
}

/// The beginning of a body that could not be read.
fn summary(body: &[u8]) -> String {
    const SHOWN: usize = 30;
    let text = String::from_utf8_lossy(&body[..body.len().min(SHOWN)]).into_owned();
    if body.len() > SHOWN { format!("{text:?} ...") } else { format!("{text:?}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod() -> Expected<'static> {
        Expected::new("v1", "Pod", "io.k8s.api.core.v1.Pod")
    }

    fn json(body: &str, validation: FieldValidation) -> Result<Decoded, String> {
        object(&pod(), Media::Json, body.as_bytes(), validation).map_err(|error| error.message)
    }

    #[test]
    fn what_a_body_does_not_say_of_itself_is_filled_in() {
        let decoded = json(r#"{"metadata":{"name":"a"}}"#, FieldValidation::Strict).expect("fine");
        assert_eq!(decoded.value["kind"], "Pod");
        assert_eq!(decoded.value["apiVersion"], "v1");
    }

    #[test]
    fn unknown_fields_are_ignored_warned_of_or_refused() {
        let body = r#"{"kind":"Pod","apiVersion":"v1","spec":{"foo":1}}"#;
        let ignored = json(body, FieldValidation::Ignore).expect("ignored");
        assert!(ignored.warnings.is_empty());
        let warned = json(body, FieldValidation::Warn).expect("warned of");
        assert_eq!(warned.warnings, [r#"unknown field "spec.foo""#]);
        assert_eq!(warned.value["spec"].get("foo"), None);
        assert_eq!(
            json(body, FieldValidation::Strict).expect_err("refused"),
            r#"Pod in version "v1" cannot be handled as a Pod: strict decoding error: unknown field "spec.foo""#
        );
    }

    #[test]
    fn complaints_stand_in_the_order_of_the_body() {
        let body = r#"{"kind":"Pod","spec":{"zz":{"a":1,"a":2},"zz":1,"nodeName":"a","nodeName":"b",
            "containers":[{"name":"c","aa":1,"name":"d","name":"e"}]},"foo":1}"#;
        assert_eq!(
            json(body, FieldValidation::Warn).expect("warned of").warnings,
            [
                r#"unknown field "spec.zz""#,
                r#"duplicate field "spec.nodeName""#,
                r#"unknown field "spec.containers[0].aa""#,
                r#"duplicate field "spec.containers[0].name""#,
                r#"unknown field "foo""#,
            ]
        );
        let twice = r#"{"foo":1,"foo":2}"#;
        let warned = json(twice, FieldValidation::Warn).expect("warned of");
        assert_eq!(warned.warnings, [r#"unknown field "foo""#]);
    }

    #[test]
    fn another_version_or_kind_is_refused() {
        assert_eq!(
            json(r#"{"kind":"Pod","apiVersion":"v2"}"#, FieldValidation::Warn)
                .expect_err("refused"),
            "the API version in the data (v2) does not match the expected API version (v1)"
        );
        let error = json(r#"{"kind":"Service","apiVersion":"v1"}"#, FieldValidation::Warn);
        let error = error.expect_err("refused");
        assert!(
            error.starts_with("Service in version \"v1\" cannot be handled as a Pod: "),
            "{error}"
        );
    }
}
