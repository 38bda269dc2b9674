//! What an expression may name, and compiling with it.

use std::collections::HashMap;
use std::sync::Arc;

use super::ast::{Expr, Kind};
use super::check::check;
use super::parser::{self, Failure};
use super::source::Source;
use super::types::Type;
use super::{declarations, messages, plan, syntax, validate};

/// How much stack the deepest expression may take, and how many brackets may be open without it.
const STACK_BYTES: usize = 64 << 20;
const BRACKETS_MAX: usize = 24;
/// How long an expression may be without a stack of its own.
const LENGTH_MAX: usize = 400;

/// Words that name nothing, and that are fields by a longer name: `namespace` is `__namespace__`.
pub const KEYWORDS: &[&str] = &[
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// A type that a name stands for: what constructing it gives, and its fields if it has any.
#[derive(Clone, Debug)]
pub struct Declared {
    pub constructed: Type,
    pub fields: Option<HashMap<String, Type>>,
}

/// The names of an expression, beside those that every expression has.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    pub(super) variables: HashMap<String, Type>,
    pub(super) types: Arc<HashMap<String, Declared>>,
    /// The fields of the type that is called so, which grow.
    pub(super) grown: Option<(&'static str, HashMap<String, Type>)>,
    /// Whether there are objects and JSON patches to construct.
    pub(super) has_patches: bool,
}

/// An expression without a mistake.
#[derive(Debug)]
pub struct Compiled {
    pub result: Type,
    names: Vec<String>,
}

impl Compiled {
    /// Whether the expression refers to a variable.
    pub fn uses(&self, name: &str) -> bool {
        self.names.iter().any(|it| it == name)
    }
}

impl Environment {
    pub(super) fn has_patches(&self) -> bool {
        self.has_patches
    }

    /// The type of what a name stands for.
    pub(super) fn find(&self, name: &str) -> Option<Type> {
        let variable = self.variables.get(name).cloned();
        variable
            .or_else(|| declarations::type_named(name))
            .or_else(|| self.message(name).map(Type::of))
            .or_else(|| (name == messages::NULL_VALUE).then_some(Type::Int))
    }

    /// What constructing the message gives.
    fn message(&self, name: &str) -> Option<Type> {
        let is_patch = name == "JSONPatch" || name == "Object" || name.starts_with("Object.");
        if self.has_patches && is_patch {
            return Some(Type::object(name));
        }
        if self.grown.as_ref().is_some_and(|(grown, _)| *grown == name) {
            return Some(Type::object(name));
        }
        if let Some(declared) = self.types.get(name) {
            return Some(declared.constructed.clone());
        }
        match name {
            "duration" => Some(Type::Duration),
            "timestamp" => Some(Type::Timestamp),
            _ => messages::type_of(name),
        }
    }

    pub(super) fn has_message(&self, name: &str) -> bool {
        self.message(name).is_some()
    }

    pub(super) fn field_type(&self, message: &str, field: &str) -> Option<Type> {
        if self.has_patches && (message == "Object" || message.starts_with("Object.")) {
            return Some(Type::Dyn);
        }
        if self.has_patches && message == "JSONPatch" {
            return Some(match field {
                "op" | "from" | "path" => Type::String,
                "value" => Type::Dyn,
                _ => Type::Unspecified,
            });
        }
        let grown = self.grown.as_ref().filter(|(name, _)| *name == message);
        let declared = || self.types.get(message).and_then(|it| it.fields.as_ref());
        let Some(fields) = grown.map(|(_, fields)| fields).or_else(declared) else {
            return messages::field_type(message, field);
        };
        let keyword = || {
            let is = KEYWORDS.contains(&field);
            is.then(|| fields.get(&format!("__{field}__"))).flatten()
        };
        fields.get(field).or_else(keyword).cloned()
    }

    /// An expression's type, or all that is wrong with it. With `wanted`, it is one of them.
    pub fn compile(&self, text: &str, wanted: &[Type]) -> Result<Compiled, String> {
        self.compile_as(text, |found| {
            if wanted.is_empty() || wanted.iter().any(|it| found.is_exactly(it)) {
                return None;
            }
            let names: Vec<String> = wanted.iter().map(Type::to_string).collect();
            Some(match names.as_slice() {
                [name] => format!("must evaluate to {name} but got {found}"),
                _ => format!("must evaluate to one of [{}] but got {found}", names.join(" ")),
            })
        })
    }

    /// The same with `refuse` to say why a type is a wrong one.
    pub(super) fn compile_as(
        &self,
        text: &str,
        refuse: impl Fn(&Type) -> Option<String> + Send,
    ) -> Result<Compiled, String> {
        let brackets = text.bytes().filter(|it| matches!(it, b'(' | b'[' | b'{')).count();
        if brackets <= BRACKETS_MAX && text.len() <= LENGTH_MAX {
            return self.compile_here(text, refuse);
        }
        on_stack(STACK_BYTES, || self.compile_here(text, refuse))
            .unwrap_or_else(|| Err("compilation failed: the expression is too deep".to_owned()))
    }

    fn compile_here(
        &self,
        text: &str,
        refuse: impl Fn(&Type) -> Option<String>,
    ) -> Result<Compiled, String> {
        let source = Source::new(text);
        let fail = |issues| Err(format!("compilation failed: {}", source.show_all(issues)));
        let parsed = match parser::parse(&source) {
            Ok(parsed) => parsed,
            Err(Failure::Issues(issues)) => return fail(issues),
            Err(Failure::Syntax) => return fail(syntax::issues(&source)),
        };
        let checked = check(&parsed.root, parsed.count, &source, self);
        if !checked.issues.is_empty() {
            return fail(checked.issues);
        }
        let issues = validate::validate(&parsed.root, &checked.types, &source);
        if !issues.is_empty() {
            return fail(issues);
        }
        let result = checked.types[parsed.root.id].clone();
        if let Some(why) = refuse(&result) {
            return Err(why);
        }
        let is_lost = |found: &Type| matches!(found, Type::Unspecified);
        if checked.types.iter().any(|it| is_lost(it) || it.optional_of().is_some_and(is_lost)) {
            const WHY: &str = "missing type conversion to proto: ";
            return Err(format!("unexpected compilation error: {WHY}"));
        }
        plan::plan(&parsed.root, &checked.types)
            .map_err(|why| format!("program instantiation failed: {why}"))?;
        Ok(Compiled { result, names: names(&parsed.root) })
    }
}

/// The variables that are referred to.
fn names(root: &Expr) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    root.walk(&mut |expr| {
        if let Kind::Ident(name) = &expr.kind {
            let name = name.strip_prefix('.').unwrap_or(name);
            if !names.iter().any(|it| it == name) {
                names.push(name.to_owned());
            }
        }
    });
    names
}

/// Runs with more stack than a task has. Nothing: it failed.
pub(super) fn on_stack<T: Send>(bytes: usize, run: impl FnOnce() -> T + Send) -> Option<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(bytes).spawn_scoped(scope, run);
        thread.ok()?.join().ok()
    })
}
