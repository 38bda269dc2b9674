//! The functions that expressions may call.
//!
//! Each line of a table is one overload, `name = (arguments) -> result`, or
//! `name = receiver.(arguments) -> result` for one that is called on something. The order of a
//! function's overloads decides between them. One capital letter is a type that a call finds out.

mod extensions;
mod kubernetes;
mod standard;

use std::collections::HashMap;
use std::sync::LazyLock;

use super::types::Type;

/// One way to call a function.
pub struct Overload {
    /// Whether the first argument is what the function is called on.
    pub is_method: bool,
    pub args: Vec<Type>,
    pub result: Type,
    /// The names of the types that a call finds out.
    pub params: Vec<String>,
}

pub type Functions = HashMap<&'static str, Vec<Overload>>;

/// What every environment has.
static BASE: LazyLock<Functions> = LazyLock::new(|| {
    functions(&[standard::STANDARD, extensions::EXTENSIONS, kubernetes::KUBERNETES])
});
static PATCHES: LazyLock<Functions> = LazyLock::new(|| functions(&[kubernetes::PATCHES]));

/// The overloads of a function.
pub fn find(name: &str, has_patches: bool) -> Option<&'static [Overload]> {
    let patches = has_patches.then(|| PATCHES.get(name)).flatten();
    patches.or_else(|| BASE.get(name)).map(Vec::as_slice)
}

/// The types that are values by their names, beside messages.
pub fn type_named(name: &str) -> Option<Type> {
    let inner = match name {
        "bool" => Type::Bool,
        "bytes" => Type::Bytes,
        "double" => Type::Double,
        "google.protobuf.Duration" => Type::Duration,
        "google.protobuf.Timestamp" => Type::Timestamp,
        "int" => Type::Int,
        "list" => Type::list(Type::Param("A".into())),
        "map" => Type::map(Type::Param("A".into()), Type::Param("B".into())),
        "net.CIDR" | "net.IP" | "optional_type" => Type::opaque(name, []),
        "null_type" => Type::Null,
        "string" => Type::String,
        "type" => return Some(Type::of(Type::Meta(None))),
        "uint" => Type::Uint,
        _ => return None,
    };
    Some(Type::of(inner))
}

fn functions(tables: &[&'static str]) -> Functions {
    let mut functions = Functions::new();
    for line in tables.iter().flat_map(|table| table.lines()).filter(|line| !line.is_empty()) {
        let (name, signature) = line.split_once(" = ").expect("a line names its function");
        functions.entry(name).or_default().push(overload(signature));
    }
    functions
}

fn overload(signature: &str) -> Overload {
    let (args, result) = signature.rsplit_once(" -> ").expect("a function has a result");
    let (receiver, args) = match args.find(".(") {
        Some(dot) => (Some(&args[..dot]), &args[dot + 1..]),
        None => (None, args),
    };
    let inner = args.strip_prefix('(').and_then(|args| args.strip_suffix(')'));
    let args = split(inner.expect("arguments are in parentheses"));
    let args: Vec<Type> = receiver.into_iter().chain(args).map(read).collect();
    let mut params = Vec::new();
    args.iter().for_each(|arg| collect_params(arg, &mut params));
    let result = read(result);
    collect_params(&result, &mut params);
    Overload { is_method: receiver.is_some(), args, result, params }
}

fn collect_params(within: &Type, names: &mut Vec<String>) {
    if let Type::Param(name) = within
        && !names.iter().any(|it| **it == **name)
    {
        names.push(name.to_string());
    }
    within.params().into_iter().for_each(|param| collect_params(param, names));
}

/// What commas are between, outside of parentheses.
fn split(text: &str) -> Vec<&str> {
    let mut depth = 0;
    let parts = text.split(|letter| {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        depth == 0 && letter == ','
    });
    parts.map(str::trim).filter(|part| !part.is_empty()).collect()
}

/// A type as the tables write it.
pub fn read(text: &str) -> Type {
    let (name, params) = text.split_once('(').unwrap_or((text, ""));
    let params = params.strip_suffix(')').unwrap_or(params);
    let params: Vec<Type> = split(params).into_iter().map(read).collect();
    match (name, params.as_slice()) {
        ("list", [item]) => Type::list(item.clone()),
        ("map", [key, value]) => Type::map(key.clone(), value.clone()),
        ("optional", [value]) => Type::optional(value.clone()),
        ("type", [value]) => Type::of(value.clone()),
        ("duration", _) => Type::Duration,
        ("timestamp", _) => Type::Timestamp,
        ("dyn", _) => Type::Dyn,
        ("null", _) => Type::Null,
        ("any", _) => Type::Any,
        ("wrapper", [value]) => Type::Wrapper(value.clone().into()),
        _ if name.len() == 1 => Type::Param(name.into()),
        _ if name.starts_with("net.") => Type::opaque(name, []),
        _ if name.contains('.') => Type::object(name),
        _ => match type_named(name) {
            Some(Type::Meta(Some(inner))) => (*inner).clone(),
            _ => unreachable!("the tables name no other type: {name}"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_tables_is_an_overload() {
        let count: usize = BASE.values().map(Vec::len).sum();
        assert_eq!((BASE.len(), count), (154, 340));
        assert!(find("jsonpatch.escapeKey", true).is_some());
        assert!(find("jsonpatch.escapeKey", false).is_none());
    }

    #[test]
    fn types_are_read_as_they_are_told() {
        for text in ["int", "list(string)", "map(K, list(V))", "dyn", "net.IP", "type(A)"] {
            assert_eq!(read(text).told(), text);
        }
        assert_eq!(read("optional(list(T))").told(), "optional_type(list(T))");
        assert_eq!(read("timestamp").to_string(), "google.protobuf.Timestamp");
    }
}
