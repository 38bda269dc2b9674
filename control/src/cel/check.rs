//! Which type an expression has, or why it has none.
//!
//! Nothing here computes an expression. Source: `checker/checker.go` of cel-go.

mod aggregates;

use super::ast::{Expr, Kind, Literal};
use super::declarations::{self, Overload};
use super::environment::Environment;
use super::source::{Issue, NOWHERE, Source};
use super::types::{Known, Type};

/// How many types may be in one. Nested literals can make it grow with each level.
const TYPE_SIZE_MAX: usize = 10_000;

/// What is found out about an expression: the type of each node by its number.
pub struct Checked {
    pub types: Vec<Type>,
    pub issues: Vec<Issue>,
}

pub fn check(root: &Expr, count: usize, source: &Source, environment: &Environment) -> Checked {
    let mut checker = Checker {
        source,
        environment,
        types: vec![Type::Dyn; count],
        issues: Vec::new(),
        known: Known::default(),
        unknown_count: 0,
        scopes: Vec::new(),
    };
    checker.check(root);
    let Checker { mut types, issues, known, .. } = checker;
    if issues.is_empty() {
        for found in &mut types {
            *found = known.resolve(found, true);
        }
    }
    Checked { types, issues }
}

struct Checker<'a> {
    source: &'a Source,
    environment: &'a Environment,
    types: Vec<Type>,
    issues: Vec<Issue>,
    known: Known,
    unknown_count: usize,
    /// The variables of the comprehensions that are around, the innermost last.
    scopes: Vec<(String, Type)>,
}

impl Checker<'_> {
    fn report(&mut self, at: usize, text: String) {
        self.issues.push(Issue { place: self.source.place(at), text });
    }

    fn mismatch(&mut self, at: usize, expected: &Type, found: &Type) {
        let (expected, found) = (expected.told(), found.told());
        self.report(at, format!("expected type '{expected}' but found '{found}'"));
    }

    fn undeclared(&mut self, at: usize, name: &str) -> Type {
        self.report(at, format!("undeclared reference to '{name}' (in container '')"));
        Type::Error
    }

    fn unknown(&mut self) -> Type {
        self.unknown_count += 1;
        Type::Param(format!("_var{}", self.unknown_count - 1).into())
    }

    fn find(&self, name: &str) -> Option<Type> {
        let name = name.strip_prefix('.').unwrap_or(name);
        let local = self.scopes.iter().rev().find(|(it, _)| it == name);
        local.map(|(_, found)| found.clone()).or_else(|| self.environment.find(name))
    }

    fn find_function(&self, name: &str) -> Option<&'static [Overload]> {
        let name = name.strip_prefix('.').unwrap_or(name);
        declarations::find(name, self.environment.has_patches())
    }

    /// Finds a node's type, and keeps it.
    fn check(&mut self, expr: &Expr) -> Type {
        let found = match &expr.kind {
            Kind::Broken => Type::Error,
            Kind::Literal(value) => literal_type(value),
            Kind::Ident(name) => self.find(name).unwrap_or_else(|| self.undeclared(expr.at, name)),
            Kind::Select { operand, field, is_test } => {
                self.check_select(expr, operand, field, *is_test)
            }
            Kind::Call { function, target, args } => {
                self.check_call(expr, function, target.as_deref(), args)
            }
            Kind::List(elements) => self.check_list(elements),
            Kind::Map(entries) => self.check_map(entries),
            Kind::Message { name, fields } => self.check_message(expr, name, fields),
            Kind::Fold(fold) => self.check_fold(fold),
        };
        if found.is_larger_than(TYPE_SIZE_MAX) {
            let text = "max recursion depth exceeded".to_owned();
            self.issues.push(Issue { place: NOWHERE, text });
            return Type::Error;
        }
        self.types[expr.id] = found.clone();
        found
    }

    fn check_select(&mut self, expr: &Expr, operand: &Expr, field: &str, is_test: bool) -> Type {
        if let Some(found) = expr.qualified_name().and_then(|name| self.find(&name)) {
            return found;
        }
        let found = self.check_field(expr.at, operand, field, false);
        if is_test { Type::Bool } else { self.known.resolve(&found, false) }
    }

    /// The type of what is selected, which is optional where asked or where the operand is.
    fn check_field(&mut self, at: usize, operand: &Expr, field: &str, is_optional: bool) -> Type {
        let operand = self.check(operand);
        let operand = self.known.resolve(&operand, false);
        let inner = operand.optional_of();
        let target = inner.unwrap_or(&operand);
        let found = match target {
            Type::Map(pair) => pair.1.clone(),
            Type::Struct(name) => self.field_type(at, name, field).unwrap_or(Type::Error),
            Type::Param(_) => {
                self.known.assign(&Type::Dyn, target);
                Type::Dyn
            }
            other => {
                if !other.is_dyn() && !other.is_error() {
                    let told = other.told();
                    self.report(at, format!("type '{told}' does not support field selection"));
                }
                Type::Dyn
            }
        };
        if is_optional || inner.is_some() { Type::optional(found) } else { found }
    }

    fn field_type(&mut self, at: usize, message: &str, field: &str) -> Option<Type> {
        if !self.environment.has_message(message) {
            self.report(at, format!("unexpected failed resolution of '{message}'"));
            return None;
        }
        let found = self.environment.field_type(message, field);
        if found.is_none() {
            self.report(at, format!("undefined field '{field}'"));
        }
        found
    }

    fn check_call(
        &mut self,
        expr: &Expr,
        function: &str,
        target: Option<&Expr>,
        args: &[Expr],
    ) -> Type {
        if function == "_?._" {
            return self.check_optional_select(expr.at, args);
        }
        let mut types: Vec<Type> = args.iter().map(|arg| self.check(arg)).collect();
        let Some(target) = target else {
            return match self.find_function(function) {
                Some(overloads) => self.resolve_call(expr.at, function, overloads, args, types),
                None => self.undeclared(expr.at, function),
            };
        };
        if let Some(prefix) = target.qualified_name() {
            let name = format!("{prefix}.{function}");
            if let Some(overloads) = self.find_function(&name) {
                return self.resolve_call(expr.at, &name, overloads, args, types);
            }
        }
        types.insert(0, self.check(target));
        match self.find_function(function) {
            Some(overloads) => self.resolve_method(expr.at, function, overloads, types),
            None => self.undeclared(expr.at, function),
        }
    }

    fn check_optional_select(&mut self, at: usize, args: &[Expr]) -> Type {
        let [operand, field] = args else { return Type::Error };
        let Kind::Literal(Literal::String(name)) = &field.kind else { return Type::Error };
        let found = self.check_field(at, operand, name, true);
        self.known.resolve(&found, false)
    }

    fn resolve_call(
        &mut self,
        at: usize,
        name: &str,
        overloads: &[Overload],
        args: &[Expr],
        types: Vec<Type>,
    ) -> Type {
        let name = name.strip_prefix('.').unwrap_or(name);
        if name == "_&&_" || name == "_||_" {
            return self.resolve_logic(args, &types);
        }
        let found = self.resolve(overloads, false, &types);
        found.unwrap_or_else(|| self.no_overload(at, name, "", &types))
    }

    fn resolve_method(
        &mut self,
        at: usize,
        name: &str,
        overloads: &[Overload],
        types: Vec<Type>,
    ) -> Type {
        if let Some(found) = self.resolve(overloads, true, &types) {
            return found;
        }
        let receiver = format!("{}.", self.known.resolve(&types[0], true).told());
        self.no_overload(at, name, &receiver, &types[1..])
    }

    fn no_overload(&mut self, at: usize, name: &str, receiver: &str, args: &[Type]) -> Type {
        let args: Vec<String> =
            args.iter().map(|arg| self.known.resolve(arg, true).told()).collect();
        let applied = format!("{receiver}({})", args.join(", "));
        self.report(at, format!("found no matching overload for '{name}' applied to '{applied}'"));
        Type::Error
    }

    fn resolve_logic(&mut self, args: &[Expr], types: &[Type]) -> Type {
        let mut result = Type::Bool;
        for (arg, found) in args.iter().zip(types) {
            if !self.known.assign(found, &Type::Bool) {
                self.mismatch(arg.at, &Type::Bool, found);
                result = Type::Error;
            }
        }
        result
    }

    /// The result of the overloads that fit: the first one's, or anything where they differ.
    fn resolve(&mut self, overloads: &[Overload], is_method: bool, args: &[Type]) -> Option<Type> {
        let mut result: Option<Type> = None;
        for overload in overloads.iter().filter(|overload| overload.is_method == is_method) {
            let mut fresh = Known::default();
            for name in &overload.params {
                let unknown = self.unknown();
                fresh.assign(&unknown, &Type::Param(name.as_str().into()));
            }
            let wanted: Vec<Type> =
                overload.args.iter().map(|arg| fresh.resolve(arg, false)).collect();
            let (given, wanted): (Vec<&Type>, Vec<&Type>) =
                (args.iter().collect(), wanted.iter().collect());
            if !self.known.assign_all(&given, &wanted) {
                continue;
            }
            let found = self.known.resolve(&fresh.resolve(&overload.result, false), false);
            result = Some(match result {
                None => found,
                Some(result) if !result.is_dyn() && !found.is_exactly(&result) => Type::Dyn,
                Some(result) => result,
            });
        }
        result
    }
}

fn literal_type(value: &Literal) -> Type {
    match value {
        Literal::Bool(_) => Type::Bool,
        Literal::Bytes(_) => Type::Bytes,
        Literal::Double(_) => Type::Double,
        Literal::Int(_) => Type::Int,
        Literal::Null => Type::Null,
        Literal::String(_) => Type::String,
        Literal::Uint(_) => Type::Uint,
    }
}
