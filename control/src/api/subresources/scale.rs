//! `…/scale`: the number of replicas, as an `autoscaling/v1` Scale.
//!
//! Source: `pkg/registry/apps/deployment/storage/storage.go` (ScaleREST).

use axum::body::Body;
use axum::response::Response;
use http::StatusCode;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::kinds::{Column, FieldError, meta};
use crate::patch::managers::{self, Given};
use crate::schema::schema;
use crate::status::{About, ApiError};

use super::super::apply::{Config, Target};
use super::super::call::Call;
use super::super::decode::{self, Expected};
use super::super::negotiate::{Media, Shape};
use super::super::object::{self, Object};
use super::super::patch::{Patch, applies};
use super::super::query::WriteOptions;
use super::super::write::{self, Current, Edit, Managers, New, Rules, Written};
use super::super::{answer, body, get, metadata, ownership, table};

const SCALE: &str = "io.k8s.api.autoscaling.v1.Scale";
const API_VERSION: &str = "autoscaling/v1";
const KIND: &str = "Scale";

pub async fn get(call: &Call) -> Result<Response, ApiError> {
    let object = get::read(call).await?;
    respond(call, object.value())
}

const COLUMNS: &[Column] = &[
    Column { format: "", ..Column::NAME },
    Column::new("Desired", "integer", 0, "How many replicas are wanted."),
    Column::new("Available", "integer", 0, "How many replicas there are."),
    Column::AGE,
];

fn respond(call: &Call, scaled: &Value) -> Result<Response, ApiError> {
    let (output, status) = (&call.output, StatusCode::OK);
    let scale = Object::of_value(of(scaled));
    Ok(match output.shape {
        Shape::Table => {
            let options = table::Options::parse(&call.query)?;
            let cells = cells(scale.value(), call.api.ambient().now());
            let table = table::of_cells(output, COLUMNS, cells, &scale, options);
            answer::value(output, status, &table)
        }
        Shape::Partial if output.of_list => return Err(answer::no_list("autoscaling.Scale")),
        Shape::Partial => answer::value(output, status, &table::partial(output, &scale)),
        Shape::Whole => answer::whole(output, status, SCALE, &scale),
    })
}

/// The row of a scale. Upstream calls available what there is.
fn cells(scale: &Value, now: Timestamp) -> Vec<Value> {
    let metadata = serde_json::from_value(scale["metadata"].clone()).unwrap_or_default();
    vec![
        meta::object_name(&metadata),
        scale["spec"]["replicas"].as_i64().unwrap_or_default().into(),
        scale["status"]["replicas"].as_i64().unwrap_or_default().into(),
        meta::object_age(&metadata, now),
    ]
}

pub async fn update(call: &Call, body: Body) -> Result<Response, ApiError> {
    let media = Media::of_body(&call.headers)?;
    let body = body::read(body).await?;
    let options = WriteOptions::parse(&call.query, "UpdateOptions")?;
    let expected = Expected::new(API_VERSION, KIND, SCALE);
    let decoded = decode::object(&expected, media, &body, options.validation)?;
    let mut scale = decoded.value;
    metadata::settle_namespace(&mut scale, &call.address.namespace)?;
    metadata::check_name(&scale, &call.address.name)?;
    let make = |current: &Current| managed(call, current, &scale);
    let written = edit(call, options.dry_run, true, &make).await;
    let warnings = decoded.warnings;
    finish(call, &written.map_err(|error| error.warned(&warnings))?, &warnings)
}

pub async fn patch(call: &Call, body: Body) -> Result<Response, ApiError> {
    if applies(&call.headers) {
        return apply(call, body).await;
    }
    let (patch, options) = Patch::read(call, body).await?;
    let warnings = Mutex::new(Vec::new());
    let expected = Expected::new(API_VERSION, KIND, SCALE);
    let make = |current: &Current| {
        let (mut scale, told) = patch.apply(&expected, &of(&current.value))?;
        metadata::settle_namespace(&mut scale, &call.address.namespace)?;
        metadata::check_name(&scale, &call.address.name)?;
        check_uid(call, current, &scale)?;
        *warnings.lock() = told;
        managed(call, current, &scale)
    };
    let written = edit(call, options.dry_run, false, &make).await;
    let warnings = warnings.into_inner();
    finish(call, &written.map_err(|error| error.warned(&warnings))?, &warnings)
}

async fn apply(call: &Call, body: Body) -> Result<Response, ApiError> {
    let config = Config::read(call, body).await?;
    let no_schema = || ApiError::internal(format!("no schema for {SCALE}"));
    let ty = schema().by_name(SCALE).ok_or_else(no_schema)?;
    let target = Target { api_version: API_VERSION, kind: KIND, ty };
    let api_version = call.info().api_version();
    let warnings = Mutex::new(Vec::new());
    let make = |current: &Current| {
        let scale = of(&current.value);
        let managers = managers::of_parent(current.managers(), &api_version);
        let live = (&scale, managers.as_deref());
        let applied = ownership::of_scale(call, &config.options.manager, |write| {
            config.apply(&target, write, Some(live))
        });
        let New { mut value, managers } = applied.ok_or_else(no_schema)??;
        *warnings.lock() = config.warnings()?;
        metadata::settle_namespace(&mut value, &call.address.namespace)?;
        metadata::check_name(&value, &call.address.name)?;
        check_uid(call, current, &value)?;
        let managers = match managers {
            Managers::Known(managers) => managers,
            Managers::Tracked => None,
        };
        scaled(&current.value, &value).map(|scaled| New {
            value: scaled,
            managers: of_scale(current, managers.as_deref(), &api_version),
        })
    };
    let written = edit(call, config.options.dry_run, false, &make).await;
    let warnings = warnings.into_inner();
    finish(call, &written.map_err(|error| error.warned(&warnings))?, &warnings)
}

/// The object with the replicas of a scale, and who manages them then.
fn managed(call: &Call, current: &Current, scale: &Value) -> Result<New, ApiError> {
    let value = scaled(&current.value, scale)?;
    let api_version = call.info().api_version();
    let live = managers::of_parent(current.managers(), &api_version);
    let managers = ownership::of_scale(call, &ownership::manager(call), |write| {
        let old = of(&current.value);
        managers::updated(write, live.as_deref(), &Given::Nothing, &old, scale)
    });
    let managers = of_scale(current, managers.flatten().as_deref(), &api_version);
    Ok(New { value, managers })
}

fn of_scale(current: &Current, scale: Option<&str>, api_version: &str) -> Managers {
    Managers::Known(managers::to_parent(current.managers(), scale, api_version))
}

/// A patch may not make another object's scale of it.
fn check_uid(call: &Call, current: &Current, scale: &Value) -> Result<(), ApiError> {
    let (given, actual) = (object::uid(scale), object::uid(&current.value));
    if given.is_empty() || given == actual {
        return Ok(());
    }
    let resource = format!("{}/scale", call.info().resource);
    let about = About { resource: &resource, ..call.about(&call.address.name) };
    let why =
        format!("Precondition failed: UID in precondition: {given}, UID in object meta: {actual}");
    Err(ApiError::conflict(about, &why))
}

async fn edit(
    call: &Call,
    dry_run: bool,
    checks_uid: bool,
    make: write::Make<'_>,
) -> Result<Written, ApiError> {
    let name = &call.address.name;
    write::edit(call, &Edit { name, rules: Rules::Main, dry_run, checks_uid, make }).await
}

/// `warnings`: those about the request, before those about the object.
fn finish(call: &Call, written: &Written, warnings: &[String]) -> Result<Response, ApiError> {
    let mut response = respond(call, written.object.value())?;
    answer::warn(&mut response, warnings);
    answer::warn(&mut response, &written.warnings);
    Ok(response)
}

/// The scale of an object.
fn of(scaled: &Value) -> Value {
    let metadata = &scaled["metadata"];
    let mut scale = json!({
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {},
        "spec": {},
        "status": {
            "replicas": scaled["status"]["replicas"].as_i64().unwrap_or_default(),
            "selector": selector(&scaled["spec"]["selector"]),
        },
    });
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if !metadata[field].is_null() {
            scale["metadata"][field] = metadata[field].clone();
        }
    }
    if let Some(replicas) = scaled["spec"]["replicas"].as_i64().filter(|replicas| *replicas != 0) {
        scale["spec"]["replicas"] = replicas.into();
    }
    scale
}

/// The object with the replicas, and the preconditions, of a scale.
fn scaled(current: &Value, scale: &Value) -> Result<Value, ApiError> {
    let replicas = scale["spec"]["replicas"].as_i64().unwrap_or_default();
    let mut errors = meta::validate_mutable(&scale["metadata"]);
    if replicas < 0 {
        let why = "must be greater than or equal to 0";
        errors.push(FieldError::invalid("spec.replicas", replicas, why));
    }
    if !errors.is_empty() {
        let about = About { group: "autoscaling", resource: "Scale", name: object::name(current) };
        return Err(ApiError::invalid(about, &errors));
    }
    let mut new = current.clone();
    new["spec"]["replicas"] = replicas.into();
    let metadata = object::metadata_mut(&mut new);
    for field in ["uid", "resourceVersion"] {
        match &scale["metadata"][field] {
            Value::Null => metadata.remove(field),
            value => metadata.insert(field.to_owned(), value.clone()),
        };
    }
    Ok(new)
}

/// A label selector in its text form, by key. Those of replication controllers are maps of labels.
fn selector(selector: &Value) -> String {
    let has_terms = selector["matchLabels"].is_object() || selector["matchExpressions"].is_array();
    let equal = if has_terms { &selector["matchLabels"] } else { selector };
    let equal = equal.as_object().into_iter().flatten();
    let mut terms: Vec<(String, String)> = equal
        .map(|(key, value)| (key.clone(), format!("{key}={}", value.as_str().unwrap_or_default())))
        .collect();
    for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
        let key = expression["key"].as_str().unwrap_or_default();
        let values = expression["values"].as_array().into_iter().flatten();
        let mut values: Vec<&str> = values.filter_map(Value::as_str).collect();
        values.sort_unstable();
        let values = values.join(",");
        let term = match expression["operator"].as_str().unwrap_or_default() {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_owned(),
        };
        terms.push((key.to_owned(), term));
    }
    terms.sort();
    terms.into_iter().map(|(_, term)| term).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_shows_and_sets_the_replicas() {
        let deployment = json!({
            "metadata": { "name": "d", "namespace": "n", "uid": "u", "resourceVersion": "5" },
            "spec": { "replicas": 2, "selector": {
                "matchLabels": { "b": "c" },
                "matchExpressions": [{ "key": "a", "operator": "In", "values": ["y", "x"] }],
            }},
            "status": { "replicas": 1 },
        });
        let mut scale = of(&deployment);
        assert_eq!(scale["spec"]["replicas"], 2);
        assert_eq!(scale["status"], json!({ "replicas": 1, "selector": "a in (x,y),b=c" }));
        scale["spec"]["replicas"] = 5.into();
        let new = scaled(&deployment, &scale).expect("scaled");
        assert_eq!(new["spec"]["replicas"], 5);
        scale["spec"]["replicas"] = (-1).into();
        assert_eq!(scaled(&deployment, &scale).expect_err("refused").code, 422);
    }
}
