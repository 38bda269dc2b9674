//! Lists, maps, messages and comprehensions.

use super::super::ast::{Element, Entry, Expr, Field, Fold};
use super::super::messages;
use super::super::types::{Type, most_general};
use super::Checker;

impl Checker<'_> {
    pub(super) fn check_list(&mut self, elements: &[Element]) -> Type {
        let mut items = None;
        for element in elements {
            let found = self.check(&element.value);
            let found = self.unwrap_if(element.is_optional, &element.value, found);
            items = Some(self.join(items, found));
        }
        Type::list(items.unwrap_or_else(|| self.unknown()))
    }

    pub(super) fn check_map(&mut self, entries: &[Entry]) -> Type {
        let (mut keys, mut values) = (None, None);
        for entry in entries {
            let key = self.check(&entry.key);
            keys = Some(self.join(keys, key));
            let value = self.check(&entry.value);
            let value = self.unwrap_if(entry.is_optional, &entry.value, value);
            values = Some(self.join(values, value));
        }
        let keys = keys.unwrap_or_else(|| self.unknown());
        Type::map(keys, values.unwrap_or_else(|| self.unknown()))
    }

    /// What a part that may be absent is of.
    fn unwrap_if(&mut self, is_optional: bool, value: &Expr, found: Type) -> Type {
        if !is_optional {
            return found;
        }
        if let Some(inner) = found.optional_of() {
            return inner.clone();
        }
        if !found.is_dyn() {
            self.mismatch(value.at, &Type::optional(found.clone()), &found);
        }
        found
    }

    /// The type of what holds the earlier ones and this one.
    fn join(&mut self, earlier: Option<Type>, found: Type) -> Type {
        let Some(earlier) = earlier else { return found };
        if self.known.assign(&earlier, &found) { most_general(earlier, found) } else { Type::Dyn }
    }

    pub(super) fn check_message(&mut self, expr: &Expr, name: &str, fields: &[Field]) -> Type {
        let Some(declared) = self.find(name) else { return self.undeclared(expr.at, name) };
        let mut message = name.strip_prefix('.').unwrap_or(name).to_owned();
        let result = match declared {
            Type::Error => Type::Error,
            Type::Meta(inner) => {
                let inner = inner.as_deref().cloned().unwrap_or_default();
                if let Some(name) = messages::well_known_name(&inner) {
                    message = name;
                    inner
                } else if let Type::Struct(name) = &inner {
                    message = name.to_string();
                    inner
                } else {
                    let name = inner.declared_name();
                    self.report(expr.at, format!("'{name}' is not a message type"));
                    Type::Error
                }
            }
            other => {
                let name = other.declared_name();
                self.report(expr.at, format!("'{name}' is not a type"));
                Type::Error
            }
        };
        for field in fields {
            self.check_message_field(&message, field);
        }
        result
    }

    fn check_message_field(&mut self, message: &str, field: &Field) {
        let value = self.check(&field.value);
        let wanted = self.field_type(field.at, message, &field.name).unwrap_or(Type::Error);
        let value = self.unwrap_if(field.is_optional, &field.value, value);
        if !self.known.assign(&wanted, &value) {
            let (wanted, value) = (wanted.told(), value.told());
            let name = &field.name;
            self.report(
                field.at,
                format!(
                    "expected type of field '{name}' is '{wanted}' but provided type is '{value}'"
                ),
            );
        }
    }

    pub(super) fn check_fold(&mut self, fold: &Fold) -> Type {
        let range = self.check(&fold.range);
        let accumulated = self.check(&fold.initial);
        let range = self.known.resolve(&range, false);
        self.scopes.push((fold.accumulator.clone(), accumulated.clone()));
        let (item, value) = self.items_of(&range, fold);
        let outer = self.scopes.len();
        match &fold.second_item {
            None => self.scopes.push((fold.item.clone(), item)),
            Some(name) => {
                self.scopes.push((fold.item.clone(), item));
                self.scopes.push((name.clone(), value));
            }
        }
        let condition = self.check(&fold.condition);
        self.assert(&fold.condition, &Type::Bool, &condition);
        let step = self.check(&fold.step);
        self.assert(&fold.step, &accumulated, &step);
        self.scopes.truncate(outer);
        let result = self.check(&fold.result);
        self.scopes.truncate(outer - 1);
        self.known.resolve(&result, false)
    }

    /// What the variables of a comprehension are: the only one or the key, and the value.
    fn items_of(&mut self, range: &Type, fold: &Fold) -> (Type, Type) {
        match range {
            Type::List(item) if fold.second_item.is_some() => (Type::Int, (**item).clone()),
            Type::List(item) => ((**item).clone(), Type::Unspecified),
            Type::Map(pair) => (pair.0.clone(), pair.1.clone()),
            Type::Dyn | Type::Error | Type::Param(_) => {
                self.known.assign(&Type::Dyn, range);
                (Type::Dyn, Type::Dyn)
            }
            other => {
                let told = other.told();
                self.report(
                    fold.range.at,
                    format!(
                        "expression of type '{told}' cannot be range of a comprehension (must be list, map, or dynamic)"
                    ),
                );
                (Type::Error, Type::Error)
            }
        }
    }

    fn assert(&mut self, expr: &Expr, wanted: &Type, found: &Type) {
        if !self.known.assign(wanted, found) {
            self.mismatch(expr.at, wanted, found);
        }
    }
}
