//! Literals that are wrong though their types are right.
//!
//! Source: `cel/validator.go` and `ext/formatting.go` of cel-go.

use super::ast::{Element, Entry, Expr, Kind, Literal};
use super::source::{Issue, Source};
use super::types::Type;
use super::{format, regexp, time};

pub fn validate(root: &Expr, types: &[Type], source: &Source) -> Vec<Issue> {
    let mut validator = Validator { types, source, issues: Vec::new() };
    validator.visit(root, false);
    validator.issues
}

struct Validator<'a> {
    types: &'a [Type],
    source: &'a Source,
    issues: Vec<Issue>,
}

impl Validator<'_> {
    fn report(&mut self, at: usize, text: String) {
        self.issues.push(Issue { place: self.source.place(at), text });
    }

    /// `is_formatted`: the node is in a call that takes all sorts of values in one list.
    fn visit(&mut self, expr: &Expr, is_formatted: bool) {
        let mut is_formatted_below = is_formatted;
        match &expr.kind {
            Kind::Call { function, target, args } => {
                self.visit_call(expr, function, target.as_deref(), args);
                is_formatted_below |= function == "format";
            }
            Kind::List(elements) if !is_formatted => self.visit_list(elements),
            Kind::Map(entries) if !is_formatted => self.visit_map(entries),
            _ => {}
        }
        for child in expr.children() {
            self.visit(child, is_formatted_below);
        }
    }

    fn visit_call(&mut self, expr: &Expr, function: &str, target: Option<&Expr>, args: &[Expr]) {
        let name = function.strip_prefix('.').unwrap_or(function);
        if name == "format" {
            return self.visit_format(expr, target, args);
        }
        let Some((at, Kind::Literal(value))) = args.first().map(|arg| (arg.at, &arg.kind)) else {
            return;
        };
        let is_right = match (name, value) {
            ("duration", Literal::String(text)) => time::is_duration(text),
            ("duration", Literal::Int(_) | Literal::Null) => false,
            ("timestamp", Literal::Null) => false,
            ("timestamp", Literal::String(text)) => time::is_timestamp(text),
            ("timestamp", Literal::Int(seconds)) => time::is_in_range(*seconds),
            ("matches", Literal::String(pattern)) => regexp::problem(pattern).is_none(),
            _ => true,
        };
        if !is_right {
            self.report(at, format!("invalid {name} argument"));
        }
    }

    fn visit_format(&mut self, expr: &Expr, target: Option<&Expr>, args: &[Expr]) {
        let Some(Kind::Literal(Literal::String(text))) = target.map(|it| &it.kind) else { return };
        let [Expr { kind: Kind::List(elements), .. }] = args else { return };
        let values: Vec<&Expr> = elements.iter().map(|element| &element.value).collect();
        if let Err(format::Problem { at, text }) = format::check(text, &values, self.types) {
            self.report(at.unwrap_or(expr.at), text);
        }
    }

    fn type_of(&self, value: &Expr, is_optional: bool) -> Type {
        let found = &self.types[value.id];
        let inner = is_optional.then(|| found.optional_of()).flatten();
        inner.unwrap_or(found).clone()
    }

    fn mismatch(&mut self, at: usize, expected: &Type, found: &Type) {
        let (expected, found) = (expected.told(), found.told());
        self.report(at, format!("expected type '{expected}' but found '{found}'"));
    }

    fn visit_list(&mut self, elements: &[Element]) {
        let Some((first, others)) = elements.split_first() else { return };
        let expected = self.type_of(&first.value, first.is_optional);
        for element in others {
            let found = self.type_of(&element.value, element.is_optional);
            if !expected.is_equivalent(&found) {
                return self.mismatch(element.value.at, &expected, &found);
            }
        }
    }

    fn visit_map(&mut self, entries: &[Entry]) {
        let Some((first, others)) = entries.split_first() else { return };
        let key = self.type_of(&first.key, false);
        let value = self.type_of(&first.value, first.is_optional);
        for entry in others {
            let found = self.type_of(&entry.key, false);
            if !key.is_equivalent(&found) {
                self.mismatch(entry.key.at, &key, &found);
            }
            let found = self.type_of(&entry.value, entry.is_optional);
            if !value.is_equivalent(&found) {
                self.mismatch(entry.value.at, &value, &found);
            }
        }
    }
}
