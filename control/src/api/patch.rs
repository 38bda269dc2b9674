//! PATCH of an object or a subresource: JSON patch, merge patch, strategic merge patch. An apply is
//! a patch by its content type; it stands in `apply`.
//!
//! Source: `k8s.io/apiserver/pkg/endpoints/handlers/patch.go`.

use std::borrow::Cow;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};

use crate::kinds::FieldError;
use crate::patch;
use crate::schema::{self, Type, schema};
use crate::status::{About, ApiError};

use super::call::Call;
use super::create::{finish, owner_warning, requested_namespace};
use super::decode::Expected;
use super::identify::{self, Misfit};
use super::negotiate::unsupported;
use super::query::{FieldValidation, WriteOptions};
use super::write::{self, Current, Edit, New, Rules};
use super::{apply, body, metadata};

pub const JSON_PATCH: &str = "application/json-patch+json";
pub const MERGE: &str = "application/merge-patch+json";
pub const STRATEGIC: &str = "application/strategic-merge-patch+json";

/// A patch, decoded but not applied.
pub struct Patch {
    form: Form,
    value: Value,
    /// Fields that stand twice in the patch.
    doubled: Vec<String>,
    validation: FieldValidation,
    /// Whether it may look at `managedFields`, which are large and left out where they can be.
    sees_managers: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Json,
    Merge,
    Strategic,
}

impl Form {
    fn of(headers: &HeaderMap) -> Result<Self, ApiError> {
        let given = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        match given.unwrap_or_default().split(';').next().unwrap_or_default().trim() {
            JSON_PATCH => Ok(Self::Json),
            MERGE => Ok(Self::Merge),
            STRATEGIC => Ok(Self::Strategic),
            _ => Err(unsupported(&[JSON_PATCH, MERGE, STRATEGIC, apply::APPLY])),
        }
    }
}

/// Whether a request is an apply.
pub fn applies(headers: &HeaderMap) -> bool {
    let given = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    given.unwrap_or_default().split(';').next().unwrap_or_default().trim() == apply::APPLY
}

impl Patch {
    pub async fn read(call: &Call, body: Body) -> Result<(Self, WriteOptions), ApiError> {
        let form = Form::of(&call.headers)?;
        let body = body::read(body).await?;
        let options = WriteOptions::of_patch(&call.query, false)?;
        match Self::parse(form, &body, options.validation) {
            Ok(patch) => Ok((patch, options)),
            // Upstream reads a patch when it has the object.
            Err(why) => write::newest(call, &call.address.name).await.and(Err(why)),
        }
    }

    fn parse(form: Form, body: &Bytes, validation: FieldValidation) -> Result<Self, ApiError> {
        let (value, doubled) = schema::decode_json(body).map_err(|why| {
            ApiError::bad_request(match form {
                Form::Json | Form::Merge => format!("error decoding patch: {why}"),
                Form::Strategic => why,
            })
        })?;
        let value = match (form, value) {
            // A list or a map of nothing.
            (Form::Json, Value::Null) => Value::Array(Vec::new()),
            (Form::Strategic, Value::Null) => Value::Object(Map::new()),
            (_, value) => value,
        };
        if let Some(why) = misfit(form, &value, validation) {
            return Err(ApiError::bad_request(why));
        }
        let doubled = match form {
            Form::Json => {
                let unknown = unknown_fields(&value);
                let all = schema::in_order(body, doubled, unknown);
                all.iter().map(|field| format!("json patch {field}")).collect()
            }
            Form::Merge | Form::Strategic => doubled,
        };
        const MANAGERS: &[u8] = b"managedFields";
        let mentioned = body.windows(MANAGERS.len()).any(|window| window == MANAGERS);
        let sees_managers = form == Form::Json || mentioned;
        Ok(Self { form, value, doubled, validation, sees_managers })
    }

    /// What the patch is applied to.
    fn base<'a>(&self, current: &'a Current) -> Cow<'a, Value> {
        if self.sees_managers { Cow::Owned(current.whole()) } else { Cow::Borrowed(&current.value) }
    }

    /// The patched object, pruned by its type, and warnings.
    pub fn apply(
        &self,
        expected: &Expected<'_>,
        current: &Value,
    ) -> Result<(Value, Vec<String>), ApiError> {
        let ty = schema()
            .by_name(expected.schema)
            .ok_or_else(|| ApiError::internal(format!("no schema for {}", expected.schema)))?;
        let mut patched = self.patched(ty, current)?;
        if self.form != Form::Strategic && is_of_no_version(&patched) {
            return self.of_no_version(expected, patched);
        }
        let fits = match self.form {
            // It goes into the type at hand, whatever it says that it is.
            Form::Strategic => schema::convert_to(ty, &mut patched),
            Form::Json | Form::Merge => {
                is_expected(expected, &patched).and_then(|()| schema::check_types(ty, &patched))
            }
        };
        fits.map_err(|why| self.invalid(&patched, &why))?;
        if let Some(object) = patched.as_object_mut() {
            object.insert("apiVersion".into(), expected.api_version.as_str().into());
            object.insert("kind".into(), expected.kind.into());
        }
        let mut problems = self.doubled.clone();
        problems.extend(schema::prune(ty, &mut patched).unknown);
        // With what was pruned.
        let whole = || self.patched(ty, current);
        let invalid = |why: &str| whole().map_or_else(|error| error, |it| self.invalid(&it, why));
        self.judged(patched, problems, invalid)
    }

    /// What was patched, and the problems that do not matter.
    fn judged(
        &self,
        patched: Value,
        problems: Vec<String>,
        invalid: impl FnOnce(&str) -> ApiError,
    ) -> Result<(Value, Vec<String>), ApiError> {
        match self.validation {
            FieldValidation::Ignore => Ok((patched, Vec::new())),
            FieldValidation::Strict if !problems.is_empty() => {
                Err(invalid(&format!("strict decoding error: {}", problems.join(", "))))
            }
            FieldValidation::Warn | FieldValidation::Strict => Ok((patched, problems)),
        }
    }

    /// To upstream nothing of such an object is known but its kind.
    fn of_no_version(
        &self,
        expected: &Expected<'_>,
        patched: Value,
    ) -> Result<(Value, Vec<String>), ApiError> {
        is_expected(expected, &patched).map_err(|why| self.invalid(&patched, &why))?;
        let keys = patched.as_object().into_iter().flat_map(|object| object.keys());
        let unknown = keys.filter(|key| !matches!(key.as_str(), "apiVersion" | "kind"));
        let mut problems = self.doubled.clone();
        problems.extend(unknown.map(|key| format!("unknown field {key:?}")));
        let nothing = json!({ "apiVersion": expected.api_version, "kind": expected.kind });
        self.judged(nothing, problems, |why| self.invalid(&patched, why))
    }

    fn patched(&self, ty: &Type, current: &Value) -> Result<Value, ApiError> {
        Ok(match self.form {
            Form::Json => patch::json(current, &self.value)?,
            Form::Merge => patch::merge(current, &self.value),
            Form::Strategic => patch::strategic(ty, current, &self.value)?,
        })
    }

    /// What was patched does not decode. Of a strategic patch upstream shows the patch.
    fn invalid(&self, patched: &Value, why: &str) -> ApiError {
        let shown = match self.form {
            Form::Json | Form::Merge => patched.to_string(),
            Form::Strategic => patch::go_text(&self.value),
        };
        let error = FieldError::invalid("patch", shown, why);
        ApiError::invalid(About { group: "", resource: "", name: "" }, &[error])
    }
}

fn is_of_no_version(patched: &Value) -> bool {
    let said = patched.as_object().map(|object| object.get("apiVersion"));
    said.is_some_and(|said| said.is_none_or(|said| said.is_null() || said == ""))
}

/// Whether what was patched is still what it was. Another version of the same kind is converted.
fn is_expected(expected: &Expected<'_>, patched: &Value) -> Result<(), String> {
    match identify::check(expected, patched) {
        Ok(()) | Err(Misfit::Version(_)) => Ok(()),
        Err(Misfit::Unrecognized(why) | Misfit::Other { why, .. }) => Err(why),
    }
}

/// Why a value cannot be a patch of this form, in Go's words.
fn misfit(form: Form, value: &Value, validation: FieldValidation) -> Option<String> {
    const MAP: &str = "map[string]interface {}";
    let lenient = validation == FieldValidation::Ignore;
    let (value, wanted) = match (form, value) {
        (Form::Json, Value::Array(operations)) => {
            let wrong = operations.iter().find(|operation| !operation.is_object())?;
            (wrong, if lenient { "jsonpatch.Operation" } else { "handlers.jsonPatchOp" })
        }
        (Form::Json, other) if lenient => (other, "jsonpatch.Patch"),
        (Form::Json, other) => (other, "[]handlers.jsonPatchOp"),
        (Form::Merge | Form::Strategic, Value::Object(_)) => return None,
        (Form::Merge, other) if lenient || other.is_null() => {
            return Some("Invalid JSON Patch".to_owned());
        }
        (Form::Merge | Form::Strategic, other) => (other, MAP),
    };
    let given = schema::check::word(value);
    let why = format!("json: cannot unmarshal {given} into Go value of type {wanted}");
    Some(match form {
        Form::Json | Form::Merge if !lenient => format!("error decoding patch: {why}"),
        Form::Json | Form::Merge | Form::Strategic => why,
    })
}

/// What the operations of a JSON patch hold besides what is known, such as `unknown field "[0].at"`.
fn unknown_fields(operations: &Value) -> Vec<String> {
    let mut unknown = Vec::new();
    for (at, operation) in operations.as_array().into_iter().flatten().enumerate() {
        for key in operation.as_object().into_iter().flat_map(|operation| operation.keys()) {
            if !matches!(key.as_str(), "op" | "path" | "from" | "value") {
                unknown.push(format!("unknown field {:?}", format!("[{at}].{key}")));
            }
        }
    }
    unknown
}

pub async fn patch(call: &Call, body: Body, rules: Rules) -> Result<Response, ApiError> {
    if applies(&call.headers) {
        return apply::apply(call, body, rules).await;
    }
    let (patch, options) = Patch::read(call, body).await?;
    let (warnings, expected) = (Mutex::new(Vec::new()), Expected::of(call.info()));
    let make = |current: &Current| {
        let patched = patch.apply(&expected, &patch.base(current));
        // An error shows all of the object.
        let patched = patched.or_else(|_| patch.apply(&expected, &current.whole()));
        let (mut value, told) = patched?;
        *warnings.lock() = told;
        metadata::settle_namespace(&mut value, requested_namespace(call))?;
        metadata::check_name(&value, &call.address.name)?;
        warnings.lock().extend(owner_warning(&mut value));
        Ok(New::tracked(value))
    };
    let (name, dry_run) = (&call.address.name, options.dry_run);
    let edit = Edit { name, rules, dry_run, checks_uid: false, make: &make };
    let written = write::edit(call, &edit).await;
    let warnings = warnings.into_inner();
    finish(call, StatusCode::OK, written.map_err(|error| error.warned(&warnings))?, &warnings)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn maps() -> Expected<'static> {
        Expected::new("v1", "ConfigMap", "io.k8s.api.core.v1.ConfigMap")
    }

    #[test]
    fn what_is_no_patch_is_refused_in_upstreams_words() {
        use FieldValidation::{Ignore, Warn};
        let string = "json: cannot unmarshal string into Go value of type";
        let cases = [
            (Form::Json, json!([{ "op": "remove" }]), Warn, None),
            (Form::Merge, json!({}), Warn, None),
            (
                Form::Json,
                json!("a"),
                Warn,
                Some(format!("error decoding patch: {string} []handlers.jsonPatchOp")),
            ),
            (Form::Json, json!("a"), Ignore, Some(format!("{string} jsonpatch.Patch"))),
            (
                Form::Json,
                json!(["a"]),
                Warn,
                Some(format!("error decoding patch: {string} handlers.jsonPatchOp")),
            ),
            (
                Form::Merge,
                json!("a"),
                Warn,
                Some(format!("error decoding patch: {string} map[string]interface {{}}")),
            ),
            (Form::Merge, json!("a"), Ignore, Some("Invalid JSON Patch".to_owned())),
            (
                Form::Strategic,
                json!("a"),
                Warn,
                Some(format!("{string} map[string]interface {{}}")),
            ),
        ];
        for (form, value, validation, expected) in cases {
            assert_eq!(misfit(form, &value, validation), expected, "{form:?} {value}");
            let parsed = Patch::parse(form, &value.to_string().into(), validation);
            assert_eq!(
                parsed.err().map(|error| (error.code, error.message)),
                expected.map(|why| (400, why))
            );
        }
    }

    #[test]
    fn odd_operations_of_a_json_patch_are_told_of() {
        let body = r#"[{"op":"test","op":"add","path":"/metadata/labels","value":{},"at":1}]"#;
        let patch = Patch::parse(Form::Json, &body.into(), FieldValidation::Warn);
        let patch = patch.map_err(|error| error.message).expect("it is a patch");
        let told =
            [r#"json patch duplicate field "[0].op""#, r#"json patch unknown field "[0].at""#];
        assert_eq!(patch.doubled, told);
        let object = json!({ "apiVersion": "v1", "metadata": {} });
        let (_, warnings) = patch.apply(&maps(), &object).expect("fits");
        assert_eq!(warnings, told);
    }

    #[test]
    fn what_has_no_version_has_nothing_else() {
        let of = |validation| {
            let patch = Patch::parse(Form::Merge, &r#"{"apiVersion":null}"#.into(), validation);
            let patch = patch.map_err(|error| error.message).expect("it is a patch");
            let object = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": {} });
            patch.apply(&maps(), &object).map_err(|error| error.message)
        };
        let nothing = json!({ "apiVersion": "v1", "kind": "ConfigMap" });
        let unknown = r#"unknown field "metadata""#.to_owned();
        assert_eq!(of(FieldValidation::Warn), Ok((nothing, vec![unknown.clone()])));
        let error = of(FieldValidation::Strict).expect_err("strict");
        assert!(error.ends_with(&format!("strict decoding error: {unknown}")), "{error}");
    }

    #[test]
    fn a_strict_patch_shows_what_does_not_decode() {
        let message = |form, patch: Value| {
            let patch = Patch::parse(form, &patch.to_string().into(), FieldValidation::Strict);
            let patch = patch.map_err(|error| error.message).expect("it is a patch");
            let object = json!({ "apiVersion": "v1", "metadata": { "name": "a" } });
            let error = patch.apply(&maps(), &object).expect_err("strict");
            (error.code, error.message)
        };
        let why = r#"strict decoding error: unknown field "odd""#;
        assert_eq!(
            message(Form::Strategic, json!({ "odd": { "a": 1 } })),
            (422, format!(r#" "" is invalid: patch: Invalid value: "map[odd:map[a:1]]": {why}"#))
        );
        assert_eq!(
            message(Form::Merge, json!({ "odd": 1 })),
            (
                422,
                format!(
                    r#" "" is invalid: patch: Invalid value: "{{\"apiVersion\":\"v1\",\"metadata\":{{\"name\":\"a\"}},\"odd\":1}}": {why}"#
                )
            )
        );
    }
}
