//! What a server computes before it evaluates an expression: conversions of literals, patterns.
//!
//! Source: `interpreter/{planner,decorators}.go` of cel-go.

use super::ast::{Expr, Kind, Literal};
use super::types::Type;
use super::{declarations, regexp, time};

/// What is known of a value beforehand.
enum Value {
    Unknown,
    Known(Literal),
    /// Known, but not here: what it is called in the server.
    Elsewhere(&'static str),
}

const LIST: Value = Value::Elsewhere("*types.baseList");
const MAP: Value = Value::Elsewhere("*types.baseMap");
const STRING: Value = Value::Elsewhere("types.String");
const TYPE: Value = Value::Elsewhere("*types.Type");

/// Why the expression could not be prepared.
pub fn plan(expr: &Expr, types: &[Type]) -> Result<(), String> {
    value(expr, types).map(|_| ())
}

fn value(expr: &Expr, types: &[Type]) -> Result<Value, String> {
    let is_type = matches!(types[expr.id], Type::Meta(_));
    match &expr.kind {
        Kind::Literal(literal) => Ok(Value::Known(literal.clone())),
        Kind::Ident(name) if is_type => type_value(name),
        Kind::Select { is_test: false, .. } if is_type && expr.qualified_name().is_some() => {
            type_value(&expr.qualified_name().unwrap_or_default())
        }
        Kind::Select { operand, .. } => value(operand, types).map(|_| Value::Unknown),
        Kind::Call { function, target, args } => {
            let target = target.as_deref().filter(|target| !is_namespace(target, function));
            call(function, target, args, types)
        }
        Kind::List(_) | Kind::Map(_) => {
            let mut are_known = true;
            for child in expr.children() {
                are_known &= !matches!(value(child, types)?, Value::Unknown);
            }
            let known = if matches!(expr.kind, Kind::List(_)) { LIST } else { MAP };
            Ok(if are_known { known } else { Value::Unknown })
        }
        Kind::Fold(fold) => {
            for part in [&fold.initial, &fold.range, &fold.condition, &fold.step, &fold.result] {
                value(part, types)?;
            }
            Ok(Value::Unknown)
        }
        Kind::Broken | Kind::Ident(_) | Kind::Message { .. } => {
            for child in expr.children() {
                value(child, types)?;
            }
            Ok(Value::Unknown)
        }
    }
}

/// Whether what a function is called on is the first part of its name.
fn is_namespace(target: &Expr, function: &str) -> bool {
    target
        .qualified_name()
        .is_some_and(|prefix| declarations::find(&format!("{prefix}.{function}"), true).is_some())
}

fn type_value(name: &str) -> Result<Value, String> {
    let name = name.strip_prefix('.').unwrap_or(name);
    if declarations::type_named(name).is_some() || name == "google.protobuf.Empty" {
        return Ok(TYPE);
    }
    Err(format!("reference to undefined type: {name}"))
}

fn call(
    function: &str,
    target: Option<&Expr>,
    args: &[Expr],
    types: &[Type],
) -> Result<Value, String> {
    let mut values = Vec::new();
    for arg in target.into_iter().chain(args) {
        values.push(value(arg, types)?);
    }
    match (function.strip_prefix('.').unwrap_or(function), values.as_slice()) {
        ("find" | "findAll" | "matches", [_, Value::Known(Literal::String(pattern)), ..]) => {
            regexp::problem(pattern).map_or(Ok(Value::Unknown), Err)
        }
        ("_[_]" | "_[?_]", [_, index]) => check_index(index).map(|()| Value::Unknown),
        ("type", [Value::Known(_) | Value::Elsewhere(_)]) => Ok(TYPE),
        (
            "bool" | "bytes" | "double" | "dyn" | "int" | "string" | "uint" | "duration"
            | "timestamp",
            [Value::Elsewhere(name)],
        ) if target.is_none() => convert_other(function, name),
        ("dyn", [Value::Known(known)]) => Ok(Value::Known(known.clone())),
        (
            "bool" | "bytes" | "double" | "duration" | "int" | "string" | "timestamp" | "uint",
            [Value::Known(known)],
        ) if target.is_none() => convert(function, known),
        _ => Ok(Value::Unknown),
    }
}

/// A conversion of what is no literal.
fn convert_other(function: &str, name: &'static str) -> Result<Value, String> {
    let to = function.strip_prefix('.').unwrap_or(function);
    let from = match name {
        "*types.baseList" => "list",
        "*types.baseMap" => "map",
        "*types.Type" => "type",
        "types.Duration" => "google.protobuf.Duration",
        "types.Timestamp" => "google.protobuf.Timestamp",
        "types.String" => "string",
        _ => "int",
    };
    let is_known = matches!(from, "string" | "int");
    let is_time = from.starts_with("google") && matches!(to, "int" | "string");
    match to {
        "dyn" => Ok(Value::Elsewhere(name)),
        _ if from.to_lowercase().ends_with(to) => Ok(Value::Elsewhere(name)),
        _ if !is_known && !is_time => no_overload(to, from),
        "string" => Ok(STRING),
        "duration" => Ok(Value::Elsewhere("types.Duration")),
        "timestamp" => Ok(Value::Elsewhere("types.Timestamp")),
        _ => Ok(Value::Elsewhere("types.Int")),
    }
}

fn no_overload(to: &str, from: &str) -> Result<Value, String> {
    Err(format!("no such overload: {to}({from})"))
}

/// Only some values can be an index.
fn check_index(index: &Value) -> Result<(), String> {
    let name = match index {
        Value::Known(Literal::Null) => "types.Null",
        Value::Known(Literal::Bytes(_)) => "types.Bytes",
        Value::Elsewhere(name) if !matches!(*name, "types.Int" | "types.String") => name,
        _ => return Ok(()),
    };
    Err(format!("invalid qualifier type: {name}"))
}

/// A conversion of a literal.
fn convert(function: &str, from: &Literal) -> Result<Value, String> {
    let to = function.strip_prefix('.').unwrap_or(function);
    let converted = match (to, from) {
        ("int", _) => to_int(from)?,
        ("uint", _) => to_uint(from)?,
        ("double", _) => to_double(from),
        ("bool", Literal::Bool(_)) | ("bytes", Literal::Bytes(_)) => Some(from.clone()),
        ("bool", Literal::String(text)) => match text.as_str() {
            "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(Literal::Bool(true)),
            "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(Literal::Bool(false)),
            _ => None,
        },
        ("bytes", Literal::String(text)) => Some(Literal::Bytes(text.clone().into_bytes())),
        ("string", Literal::Double(_)) => return Ok(STRING),
        ("string", _) => to_string(from)?,
        ("duration", Literal::String(text)) if time::is_duration(text) => {
            return Ok(Value::Elsewhere("types.Duration"));
        }
        ("timestamp", Literal::String(text)) if time::is_timestamp(text) => {
            return Ok(Value::Elsewhere("types.Timestamp"));
        }
        ("timestamp", Literal::Int(seconds)) if time::is_in_range(*seconds) => {
            return Ok(Value::Elsewhere("types.Timestamp"));
        }
        ("timestamp", Literal::Int(_)) => return Err("timestamp overflow".to_owned()),
        _ => None,
    };
    if let Some(converted) = converted {
        return Ok(Value::Known(converted));
    }
    let (from, name) = match from {
        Literal::String(_) if to != "string" => ("string", to),
        Literal::Int(_) if to == "duration" => ("int", to),
        other => return no_overload(to, literal_name(other)),
    };
    let name = match name {
        "duration" => "google.protobuf.Duration",
        "timestamp" => "google.protobuf.Timestamp",
        other => other,
    };
    Err(format!("type conversion error from '{from}' to '{name}'"))
}

fn literal_name(literal: &Literal) -> &'static str {
    match literal {
        Literal::Bool(_) => "bool",
        Literal::Bytes(_) => "bytes",
        Literal::Double(_) => "double",
        Literal::Int(_) => "int",
        Literal::Null => "null_type",
        Literal::String(_) => "string",
        Literal::Uint(_) => "uint",
    }
}

fn to_int(from: &Literal) -> Result<Option<Literal>, String> {
    const OVERFLOW: &str = "integer overflow";
    let value = match from {
        Literal::Int(value) => Some(*value),
        Literal::String(text) => text.parse().ok(),
        Literal::Uint(value) => Some(i64::try_from(*value).map_err(|_| OVERFLOW)?),
        Literal::Double(value) if *value <= i64::MIN as f64 || *value >= i64::MAX as f64 => {
            return Err(OVERFLOW.to_owned());
        }
        Literal::Double(value) => Some(*value as i64),
        _ => None,
    };
    Ok(value.map(Literal::Int))
}

fn to_uint(from: &Literal) -> Result<Option<Literal>, String> {
    const OVERFLOW: &str = "unsigned integer overflow";
    let value = match from {
        Literal::Uint(value) => Some(*value),
        Literal::String(text) => text.parse().ok().filter(|_| !text.starts_with('+')),
        Literal::Int(value) => Some(u64::try_from(*value).map_err(|_| OVERFLOW)?),
        Literal::Double(value) if *value < 0.0 || *value >= u64::MAX as f64 => {
            return Err(OVERFLOW.to_owned());
        }
        Literal::Double(value) => Some(*value as u64),
        _ => None,
    };
    Ok(value.map(Literal::Uint))
}

fn to_double(from: &Literal) -> Option<Literal> {
    let value = match from {
        Literal::Double(value) => Some(*value),
        Literal::Int(value) => Some(*value as f64),
        Literal::Uint(value) => Some(*value as f64),
        Literal::String(text) => {
            let is_read = |value: &f64| !value.is_infinite() || text.contains(['n', 'N']);
            text.parse().ok().filter(is_read)
        }
        _ => None,
    };
    value.map(Literal::Double)
}

fn to_string(from: &Literal) -> Result<Option<Literal>, String> {
    let text = match from {
        Literal::String(text) => text.clone(),
        Literal::Bytes(bytes) => String::from_utf8(bytes.clone())
            .map_err(|_| "invalid UTF-8 in bytes, cannot convert to string")?,
        Literal::Int(value) => value.to_string(),
        Literal::Uint(value) => value.to_string(),
        Literal::Bool(value) => value.to_string(),
        Literal::Double(_) | Literal::Null => return Ok(None),
    };
    Ok(Some(Literal::String(text)))
}
