//! Request bodies become values: JSON, YAML and protobuf, pruned by the schema. Pure.
//!
//! Source: `k8s.io/apiserver/pkg/endpoints/handlers/{create,rest}.go`.

use std::fmt::Display;

use serde_json::{Map, Value};

use crate::kinds::KindInfo;
use crate::schema::{self, protobuf, schema};
use crate::status::ApiError;

use super::answer;
use super::identify::{self, Misfit};
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
    /// How upstream calls the type that all versions are converted to.
    pub internal: String,
    /// Whether these are options: all groups have them in whatever version, and what is wrong is
    /// told as it is, not as something about the body.
    pub bare: bool,
}

impl<'a> Expected<'a> {
    pub fn of(info: &KindInfo) -> Self {
        let internal = answer::internal_type(info);
        Self { internal, ..Self::new(&info.api_version(), info.kind, info.schema) }
    }

    pub fn new(api_version: &str, kind: &'a str, schema: &'a str) -> Self {
        let group = api_version.split_once('/').map_or("core", |(group, _)| group);
        let package = group.split('.').next().unwrap_or_default();
        Self {
            api_version: api_version.to_owned(),
            kind,
            schema,
            also: &[],
            internal: format!("{package}.{kind}"),
            bare: false,
        }
    }

    fn version(&self) -> &str {
        self.api_version.rsplit('/').next().unwrap_or_default()
    }

    pub fn is_version(&self, api_version: &str) -> bool {
        self.bare || api_version == self.api_version || self.also.contains(&api_version)
    }

    fn refuse(&self, why: impl Display) -> ApiError {
        self.refuse_other(self.kind, self.version(), why)
    }

    fn refuse_other(&self, kind: &str, version: &str, why: impl Display) -> ApiError {
        if self.bare {
            return ApiError::bad_request(why.to_string());
        }
        ApiError::bad_request(format!(
            "{kind} in version {version:?} cannot be handled as a {}: {why}",
            self.kind
        ))
    }

    fn unrecognized(&self, why: impl Display, body: &[u8]) -> ApiError {
        if self.bare {
            return ApiError::bad_request(why.to_string());
        }
        ApiError::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): {why} ({})",
            self.kind,
            summary(body)
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
    check_type(expected, &mut value, body)?;
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
    let unrecognized = |why: String| expected.unrecognized(why, body);
    let (value, doubled) = match media {
        Media::Json => schema::decode_json(body).map_err(|why| {
            unrecognized(format!("couldn't get version/kind; json parse error: {why}"))
        })?,
        Media::Yaml => schema::decode_yaml(body).map_err(unrecognized)?,
        Media::Protobuf if body.is_empty() => return Err(unrecognized("empty data".into())),
        Media::Protobuf => {
            let (api_version, kind, mut value) =
                protobuf::decode(body).map_err(|why| unrecognized(why.to_string()))?;
            if let Some(object) = value.as_object_mut() {
                object.insert("apiVersion".into(), api_version.into());
                object.insert("kind".into(), kind.into());
            }
            (value, Vec::new())
        }
    };
    // Nothing at all is an object without fields.
    let value = if value.is_null() { Value::Object(Map::new()) } else { value };
    Ok((value, doubled))
}

/// The object must be what the path says; what it does not say of itself is filled in.
fn check_type(expected: &Expected<'_>, value: &mut Value, body: &[u8]) -> Result<(), ApiError> {
    identify::check(expected, value).map_err(|misfit| match misfit {
        Misfit::Unrecognized(why) => expected.unrecognized(why, body),
        Misfit::Other { kind, version, why } => expected.refuse_other(&kind, &version, why),
        Misfit::Version(given) => ApiError::bad_request(format!(
            "the API version in the data ({given}) does not match the expected API version ({})",
            expected.api_version
        )),
    })?;
    if let Some(object) = value.as_object_mut() {
        object.insert("apiVersion".into(), expected.api_version.as_str().into());
        object.insert("kind".into(), expected.kind.into());
    }
    Ok(())
}

/// The beginning of a body that could not be read: as it is where it looks like JSON.
///
/// Source: `k8s.io/apiserver/pkg/endpoints/handlers/rest.go` (summarizeData).
fn summary(body: &[u8]) -> String {
    const SHOWN: usize = 30;
    let shown = &body[..body.len().min(SHOWN)];
    let text = match body.first() {
        None => return "<empty>".to_owned(),
        Some(b'{') => String::from_utf8_lossy(shown).into_owned(),
        Some(_) => shown.iter().map(|byte| format!("{byte:02x}")).collect(),
    };
    if body.len() > SHOWN { format!("{text} ...") } else { text }
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
        let message = |body: &str| json(body, FieldValidation::Warn).expect_err("refused");
        assert_eq!(
            message(r#"{"kind":"Service","apiVersion":"v1"}"#),
            r#"Service in version "v1" cannot be handled as a Pod: converting (v1.Service) to (core.Pod): unknown conversion"#
        );
        assert_eq!(
            message(r#"{"kind":"Pod","apiVersion":"v2"}"#),
            r#"Pod in version "v2" cannot be handled as a Pod: no kind "Pod" is registered for version "v2" in scheme "pkg/api/legacyscheme/scheme.go:30""#
        );
    }

    #[test]
    fn what_cannot_be_read_is_shown() {
        let message = |media, body: &str| {
            object(&pod(), media, body.as_bytes(), FieldValidation::Warn)
                .map(|decoded| decoded.value["kind"].clone())
                .map_err(|error| error.message)
        };
        let unrecognized = |why: &str| {
            Err(format!("the object provided is unrecognized (must be of type Pod): {why}"))
        };
        let parse = "couldn't get version/kind; json parse error:";
        assert_eq!(
            message(Media::Json, "{"),
            unrecognized(&format!("{parse} unexpected end of JSON input ({{)"))
        );
        assert_eq!(
            message(Media::Json, ""),
            unrecognized(&format!("{parse} unexpected end of JSON input (<empty>)"))
        );
        assert_eq!(
            message(Media::Json, "a: b"),
            unrecognized(&format!(
                "{parse} invalid character 'a' looking for beginning of value (613a2062)"
            ))
        );
        assert_eq!(
            message(Media::Yaml, "{"),
            unrecognized("yaml: line 1: did not find expected node content ({)")
        );
        assert_eq!(message(Media::Protobuf, ""), unrecognized("empty data (<empty>)"));
        assert_eq!(message(Media::Json, "null"), Ok("Pod".into()));
        assert_eq!(message(Media::Yaml, ""), Ok("Pod".into()));
    }
}
