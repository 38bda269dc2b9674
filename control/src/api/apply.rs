//! PATCH with an apply configuration: what a manager wants of an object, merged into it.
//!
//! Source: `k8s.io/apiserver/pkg/endpoints/handlers/patch.go` (applyPatcher) and
//! `k8s.io/apimachinery/pkg/util/managedfields/internal/{versioncheck,structuredmerge}.go`.

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use parking_lot::Mutex;
use serde_json::Value;

use crate::kinds::Part;
use crate::patch::apply::{self, Shape};
use crate::patch::managers::{self, Rejected, Write};
use crate::schema::{self, Type, schema};
use crate::status::ApiError;

use super::call::Call;
use super::create::{finish, owner_warning, requested_namespace};
use super::query::{FieldValidation, WriteOptions};
use super::write::{self, Current, Edit, Managers, New, Rules};
use super::{body, metadata, object, ownership};

pub const APPLY: &str = "application/apply-patch+yaml";

/// Far more often than an object comes and goes while it is applied to.
const ATTEMPTS: usize = 8;

/// A configuration as it was sent.
pub struct Config {
    value: Value,
    /// Keys that stand twice, as the YAML reader words it.
    doubled: Vec<String>,
    pub options: WriteOptions,
}

/// What a configuration must be.
pub struct Target<'a> {
    pub api_version: &'a str,
    pub kind: &'a str,
    pub ty: &'static Type,
}

impl Config {
    pub async fn read(call: &Call, body: Body) -> Result<Self, ApiError> {
        let body = body::read(body).await?;
        Self::parse(&body, WriteOptions::of_patch(&call.query, true)?)
    }

    fn parse(body: &Bytes, options: WriteOptions) -> Result<Self, ApiError> {
        let refuse = |why: String| ApiError::bad_request(format!("error decoding YAML: {why}"));
        let (value, doubled) = schema::decode_yaml(body)
            .map_err(|why| refuse(format!("error converting YAML to JSON: {why}")))?;
        let value = match value {
            Value::Null => Value::Object(serde_json::Map::new()),
            Value::Object(fields) => Value::Object(fields),
            other => {
                let given = schema::check::word(&other);
                return Err(refuse(format!(
                    "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {given} into Go value of type map[string]interface {{}}"
                )));
            }
        };
        Ok(Self { value, doubled, options })
    }

    /// The object after this apply, decoded anew, and who manages it.
    pub fn apply(
        &self,
        target: &Target<'_>,
        write: Write<'_>,
        live: Option<(&Value, Option<&str>)>,
    ) -> Result<New, ApiError> {
        self.check(target)?;
        let applied = managers::applied(write, live, &self.value, self.options.force);
        let applied = applied.map_err(|rejected| match rejected {
            Rejected::Conflict(conflict) => conflict,
            Rejected::Misfit(why) => ApiError::new(
                500,
                "",
                format!("failed to create typed live object ({}): {why}", self.shown()),
            ),
        })?;
        let mut value = applied.object;
        schema::convert_to(target.ty, &mut value).map_err(|why| {
            let gvk = gvk(target.api_version, target.kind);
            ApiError::new(
                500,
                "",
                format!(
                    "failed to convert new object ({}) to proper version: unable to convert unstructured object to {gvk}: {why}",
                    self.shown()
                ),
            )
        })?;
        schema::prune(target.ty, &mut value);
        Ok(New { value, managers: Managers::Known(applied.managers) })
    }

    /// The configuration must be of the type that stands at the path.
    fn check(&self, target: &Target<'_>) -> Result<(), ApiError> {
        let (api_version, kind) = self.gvk();
        if (api_version, kind) != (target.api_version, target.kind) {
            // What is no version at all has no kind either.
            let is_version = api_version.matches('/').count() < 2;
            let gvk = if is_version { gvk(api_version, kind) } else { gvk("", "") };
            return Err(ApiError::bad_request(format!("invalid object type: {gvk}")));
        }
        if self.value["metadata"]["managedFields"].is_array() {
            return Err(ApiError::bad_request("metadata.managedFields must be nil"));
        }
        apply::check(Shape::of(target.ty), &self.value).map_err(|why| {
            let shown = self.shown();
            ApiError::new(500, "", format!("failed to create typed patch object ({shown}): {why}"))
        })
    }

    fn gvk(&self) -> (&str, &str) {
        (object::text(&self.value, "/apiVersion"), object::text(&self.value, "/kind"))
    }

    fn shown(&self) -> String {
        let (api_version, kind) = self.gvk();
        let (namespace, name) = (object::namespace(&self.value), object::name(&self.value));
        format!("{namespace}/{name}; {}", gvk(api_version, kind))
    }

    /// What is told of keys that stand twice. Upstream looks for them when all else is fine.
    pub fn warnings(&self) -> Result<Vec<String>, ApiError> {
        match self.options.validation {
            FieldValidation::Ignore => Ok(Vec::new()),
            FieldValidation::Strict if !self.doubled.is_empty() => {
                let lines: Vec<String> =
                    self.doubled.iter().map(|line| format!("\n  {line}")).collect();
                Err(ApiError::bad_request(format!(
                    "error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:{}",
                    lines.concat()
                )))
            }
            FieldValidation::Warn | FieldValidation::Strict => Ok(self.doubled.clone()),
        }
    }
}

/// As Go prints a GroupVersionKind.
fn gvk(api_version: &str, kind: &str) -> String {
    let slash = if api_version.contains('/') { "" } else { "/" };
    format!("{slash}{api_version}, Kind={kind}")
}

pub async fn apply(call: &Call, body: Body, rules: Rules) -> Result<Response, ApiError> {
    let config = Config::read(call, body).await?;
    for _ in 0..ATTEMPTS {
        match update(call, &config, rules).await {
            Err(missing) if missing.code == 404 && rules == Rules::Main => {}
            result => return result,
        }
        match create(call, &config).await {
            Err(taken) if taken.reason == "AlreadyExists" => {}
            result => return result,
        }
    }
    Err(ApiError::modified(call.about(&call.address.name)))
}

async fn update(call: &Call, config: &Config, rules: Rules) -> Result<Response, ApiError> {
    let part = match rules {
        Rules::Main | Rules::Raw => Part::Main,
        Rules::Status => Part::Status,
        Rules::Sub(subresource) => Part::Sub(subresource),
    };
    let warnings = Mutex::new(Vec::new());
    let make = |current: &Current| {
        let live = (&current.value, current.managers());
        let (new, told) = applied(call, config, part, Some(live))?;
        *warnings.lock() = told;
        Ok(new)
    };
    let (name, dry_run) = (&call.address.name, config.options.dry_run);
    let edit = Edit { name, rules, dry_run, checks_uid: false, make: &make };
    let written = write::edit(call, &edit).await;
    let warnings = warnings.into_inner();
    finish(call, StatusCode::OK, written.map_err(|error| error.warned(&warnings))?, &warnings)
}

async fn create(call: &Call, config: &Config) -> Result<Response, ApiError> {
    let (mut new, warnings) = applied(call, config, Part::Main, None)?;
    let uid = object::uid(&new.value);
    if !uid.is_empty() {
        let why = format!(
            "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
        );
        return Err(ApiError::conflict(call.about(&call.address.name), &why));
    }
    metadata::wipe_system_fields(&mut new.value);
    // Upstream compares it with that of an existing object alone.
    object::metadata_mut(&mut new.value).remove("resourceVersion");
    let written = write::insert_new(call, new, config.options.dry_run).await;
    finish(call, StatusCode::CREATED, written.map_err(|error| error.warned(&warnings))?, &warnings)
}

/// The object after the apply, under the name in the path, and warnings.
fn applied(
    call: &Call,
    config: &Config,
    part: Part,
    live: Option<(&Value, Option<&str>)>,
) -> Result<(New, Vec<String>), ApiError> {
    let info = call.info();
    let no_schema = || ApiError::internal(format!("no schema for {}", info.schema));
    let ty = schema().by_name(info.schema).ok_or_else(no_schema)?;
    let target = Target { api_version: &info.api_version(), kind: info.kind, ty };
    let manager = &config.options.manager;
    let new = ownership::of_part(call, part, manager, |write| config.apply(&target, write, live));
    let mut new = new.ok_or_else(no_schema)??;
    let mut warnings = config.warnings()?;
    metadata::settle_namespace(&mut new.value, requested_namespace(call))?;
    metadata::check_name(&new.value, &call.address.name)?;
    warnings.extend(owner_warning(&mut new.value));
    Ok((new, warnings))
}
