//! Format strings and what is put in them.
//!
//! Source: `ext/formatting.go` of cel-go.

use super::ast::{Expr, Kind};
use super::types::Type;

/// What is wrong, and where, if not where the call is.
#[derive(Debug, PartialEq)]
pub struct Problem {
    pub at: Option<usize>,
    pub text: String,
}

fn problem<T>(text: impl Into<String>) -> Result<T, Problem> {
    Err(Problem { at: None, text: text.into() })
}

/// Whether the values, whose types are known, are what the text asks for.
pub fn check(text: &str, values: &[&Expr], types: &[Type]) -> Result<(), Problem> {
    let mut rest = text.as_bytes();
    let mut count = 0;
    while let Some((letter, after)) = rest.split_first() {
        rest = after;
        if *letter != b'%' {
            continue;
        }
        if rest.first() == Some(&b'%') {
            rest = &rest[1..];
            continue;
        }
        if rest.is_empty() {
            return problem("unexpected end of string");
        }
        let Some(value) = values.get(count) else {
            return problem(format!("index {count} out of range"));
        };
        rest = check_clause(rest, value, types)?;
        count += 1;
    }
    if values.len() > count {
        let given = values.len();
        return problem(format!(
            "too many arguments supplied to string.format (expected {count}, got {given})"
        ));
    }
    Ok(())
}

/// One clause behind its `%`; what follows it.
fn check_clause<'a>(text: &'a [u8], value: &Expr, types: &[Type]) -> Result<&'a [u8], Problem> {
    const PARSING: &str = "could not parse formatting clause";
    const PRECISION: &str = "error while parsing precision";
    let mut rest = text;
    if rest[0] == b'.' {
        let digits = rest[1..].iter().take_while(|it| it.is_ascii_digit()).count();
        let number = String::from_utf8_lossy(&rest[1..=digits]).into_owned();
        if digits + 1 >= rest.len() {
            return problem(format!(
                "{PARSING}: {PRECISION}: could not find end of precision specifier"
            ));
        }
        if number.parse::<i64>().is_err() {
            let why = if number.is_empty() { "invalid syntax" } else { "value out of range" };
            return problem(format!(
                "{PARSING}: {PRECISION}: error while converting precision to integer: strconv.Atoi: parsing {number:?}: {why}"
            ));
        }
        rest = &rest[digits + 1..];
    }
    let (must, among): (_, &[&str]) = match rest[0] {
        b's' => {
            check_string(value, types)?;
            return Ok(&rest[1..]);
        }
        b'd' => ("decimal clause can only be used on integers", &["int", "uint"]),
        b'f' => ("fixed-point clause can only be used on doubles", &["double", "string"]),
        b'e' => ("scientific clause can only be used on doubles", &["double", "string"]),
        b'b' => ("only integers and bools can be formatted as binary", &["int", "uint", "bool"]),
        b'x' | b'X' => (
            "only integers, byte buffers, and strings can be formatted as hex",
            &["int", "uint", "string", "bytes"],
        ),
        b'o' => ("octal clause can only be used on integers", &["int", "uint"]),
        other => {
            let other = char::from(other);
            return problem(format!("{PARSING}: unrecognized formatting clause \"{other}\""));
        }
    };
    if !is_among(value, types, among) {
        let name = types[value.id].runtime_name();
        return Err(Problem {
            at: Some(value.at),
            text: format!("error during formatting: {must}, was given {name}"),
        });
    }
    Ok(&rest[1..])
}

fn is_among(value: &Expr, types: &[Type], names: &[&str]) -> bool {
    let found = &types[value.id];
    matches!(found, Type::Dyn)
        || !matches!(found, Type::Struct(_) | Type::Opaque(..))
            && names.contains(&found.runtime_name())
}

fn check_string(value: &Expr, types: &[Type]) -> Result<(), Problem> {
    const STRINGS: &[&str] = &[
        "list",
        "map",
        "int",
        "uint",
        "double",
        "bool",
        "string",
        "google.protobuf.Timestamp",
        "bytes",
        "google.protobuf.Duration",
        "type",
        "null_type",
    ];
    if !is_among(value, types, STRINGS) {
        let name = types[value.id].runtime_name();
        return Err(Problem {
            at: Some(value.at),
            text: format!(
                "error during formatting: string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, and timestamps, was given {name}"
            ),
        });
    }
    match &value.kind {
        Kind::List(_) | Kind::Map(_) => {
            value.children().into_iter().try_for_each(|child| check_string(child, types))
        }
        _ => Ok(()),
    }
}
