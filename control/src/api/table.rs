//! Tables, as `kubectl get` prints them, and objects cut down to their metadata. Pure.
//!
//! Source: `k8s.io/apiserver/pkg/endpoints/handlers/response.go`.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::kinds::{AnyKind, Column, FieldError};
use crate::status::ApiError;

use super::negotiate::{Output, Shape};
use super::object::Object;
use super::query::Query;

/// What of the object each row carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Include {
    None,
    Metadata,
    Object,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    pub include: Include,
    /// The column definitions are left out: a watch sends them once.
    pub headless: bool,
}

impl Options {
    /// Of a request whose answer is shown so; who wants no table is asked for nothing.
    pub fn of(output: &Output, query: &Query) -> Result<Self, ApiError> {
        if output.shape == Shape::Table {
            return Self::parse(query);
        }
        Ok(Self { include: Include::Metadata, headless: false })
    }

    pub fn parse(query: &Query) -> Result<Self, ApiError> {
        let include = match query.get("includeObject").unwrap_or_default() {
            "" | "Metadata" => Include::Metadata,
            "None" => Include::None,
            "Object" => Include::Object,
            other => {
                let why = "must be 'Metadata', 'Object', 'None', or empty";
                let error = FieldError::invalid("includeObject", other, why);
                return Err(ApiError::bad_request(format!(
                    "Unable to convert to Table as requested: {error}"
                )));
            }
        };
        Ok(Self { include, headless: false })
    }
}

/// A table with this list metadata and these rows.
pub fn assemble(
    output: &Output,
    columns: &[Column],
    metadata: &Value,
    rows: Vec<Value>,
    options: Options,
) -> Value {
    let mut table = json!({
        "kind": "Table",
        "apiVersion": format!("meta.k8s.io/{}", output.meta_version),
        "metadata": metadata,
        "columnDefinitions": null,
        "rows": rows,
    });
    if !options.headless {
        table["columnDefinitions"] = definitions(columns);
    }
    table
}

/// The table of one object.
pub fn of_object(
    output: &Output,
    kind: &dyn AnyKind,
    object: &Object,
    options: Options,
    now: Timestamp,
) -> Value {
    of_cells(output, kind.columns(), kind.cells(object.value(), now), object, options)
}

/// The table of one object whose cells are at hand.
pub fn of_cells(
    output: &Output,
    columns: &[Column],
    cells: Vec<Value>,
    object: &Object,
    options: Options,
) -> Value {
    let metadata = json!({ "resourceVersion": object.value()["metadata"]["resourceVersion"] });
    let rows = vec![carrying(output, cells, object, options)];
    assemble(output, columns, &metadata, rows, options)
}

pub fn row(
    output: &Output,
    kind: &dyn AnyKind,
    object: &Object,
    options: Options,
    now: Timestamp,
) -> Value {
    carrying(output, kind.cells(object.value(), now), object, options)
}

/// A row of these cells, with what of the object is asked for.
fn carrying(output: &Output, cells: Vec<Value>, object: &Object, options: Options) -> Value {
    let mut row = json!({ "cells": cells });
    match options.include {
        Include::None => row["object"] = Value::Null,
        Include::Metadata => row["object"] = partial(output, object),
        Include::Object => row["object"] = Value::clone(object.value()),
    }
    row
}

pub fn definitions(columns: &[Column]) -> Value {
    let columns = columns.iter().map(|column| {
        json!({
            "name": column.name,
            "type": column.kind,
            "format": column.format,
            "description": column.description,
            "priority": column.priority,
        })
    });
    columns.collect()
}

/// `PartialObjectMetadata`.
pub fn partial(output: &Output, object: &Object) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": format!("meta.k8s.io/{}", output.meta_version),
        "metadata": object.metadata(),
    })
}
