//! Types: how they are written, and which stands for which.
//!
//! Source: `common/types/types.go`, `checker/types.go` and `checker/format.go` of cel-go.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// The type of an expression.
#[derive(Clone, Debug, Default)]
pub enum Type {
    /// A field that is there but has no type.
    #[default]
    Unspecified,
    /// What an erroneous expression has.
    Error,
    Dyn,
    Any,
    Null,
    Bool,
    Int,
    Uint,
    Double,
    String,
    Bytes,
    Duration,
    Timestamp,
    List(Arc<Type>),
    Map(Arc<(Type, Type)>),
    /// An object with declared fields.
    Struct(Arc<str>),
    /// Something that only functions look into.
    Opaque(Arc<str>, Arc<[Type]>),
    /// The type of a type.
    Meta(Option<Arc<Type>>),
    /// A type that is not known yet.
    Param(Arc<str>),
    /// A value that may be null.
    Wrapper(Arc<Type>),
}

const OPTIONAL: &str = "optional_type";

impl Type {
    pub fn list(item: Type) -> Self {
        Self::List(Arc::new(item))
    }

    pub fn map(key: Type, value: Type) -> Self {
        Self::Map(Arc::new((key, value)))
    }

    pub fn optional(value: Type) -> Self {
        Self::opaque(OPTIONAL, [value])
    }

    pub fn object(name: &str) -> Self {
        Self::Struct(name.into())
    }

    pub fn opaque<const N: usize>(name: &str, params: [Type; N]) -> Self {
        Self::Opaque(name.into(), Arc::new(params))
    }

    pub fn of(value: Type) -> Self {
        Self::Meta(Some(Arc::new(value)))
    }

    /// The type without its permission to be null.
    fn unwrapped(&self) -> &Type {
        match self {
            Self::Wrapper(inner) => inner,
            other => other,
        }
    }

    /// What types are told apart by, before their parameters.
    fn rank(&self) -> u8 {
        match self.unwrapped() {
            Self::Unspecified => 0,
            Self::Error => 1,
            Self::Dyn => 2,
            Self::Any => 3,
            Self::Null => 4,
            Self::Bool => 5,
            Self::Int => 6,
            Self::Uint => 7,
            Self::Double => 8,
            Self::String => 9,
            Self::Bytes => 10,
            Self::Duration => 11,
            Self::Timestamp => 12,
            Self::List(_) => 13,
            Self::Map(_) => 14,
            Self::Struct(_) => 15,
            Self::Opaque(..) => 16,
            Self::Meta(_) => 17,
            Self::Param(_) => 18,
            Self::Wrapper(_) => 19,
        }
    }

    pub fn is_same_kind(&self, other: &Type) -> bool {
        self.rank() == other.rank()
    }

    /// The types in this one.
    pub fn params(&self) -> Vec<&Type> {
        match self {
            Self::List(item) => vec![item],
            Self::Map(pair) => vec![&pair.0, &pair.1],
            Self::Opaque(_, params) => params.iter().collect(),
            Self::Meta(Some(inner)) => vec![inner],
            _ => Vec::new(),
        }
    }

    /// Whether there are more types in this one.
    pub fn is_larger_than(&self, count_max: usize) -> bool {
        fn count(within: &Type, left: &mut usize) -> bool {
            let Some(fewer) = left.checked_sub(1) else { return false };
            *left = fewer;
            within.params().into_iter().all(|param| count(param, left))
        }
        !count(self, &mut count_max.clone())
    }

    /// The name of what the type is of when the expression is evaluated.
    pub fn runtime_name(&self) -> &str {
        match self.unwrapped() {
            Self::Unspecified | Self::Wrapper(_) => "",
            Self::Error => "error",
            Self::Dyn => "dyn",
            Self::Any => "google.protobuf.Any",
            Self::Null => "null_type",
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Uint => "uint",
            Self::Double => "double",
            Self::String => "string",
            Self::Bytes => "bytes",
            Self::Duration => "google.protobuf.Duration",
            Self::Timestamp => "google.protobuf.Timestamp",
            Self::List(_) => "list",
            Self::Map(_) => "map",
            Self::Struct(name) | Self::Opaque(name, _) | Self::Param(name) => name,
            Self::Meta(_) => "type",
        }
    }

    /// The name, which says whether null is allowed.
    pub fn declared_name(&self) -> String {
        match self {
            Self::Wrapper(inner) => format!("wrapper({})", inner.runtime_name()),
            other => other.runtime_name().to_owned(),
        }
    }

    /// The type as what is wrong with an expression tells of it.
    pub fn told(&self) -> String {
        let special = match self {
            Self::Any => "any",
            Self::Duration => "duration",
            Self::Error => "!error!",
            Self::Null => "null",
            Self::Timestamp => "timestamp",
            _ => "",
        };
        if !special.is_empty() {
            return special.to_owned();
        }
        let params: Vec<String> = self.params().into_iter().map(Self::told).collect();
        match params.as_slice() {
            [] => self.declared_name(),
            _ => format!("{}({})", self.runtime_name(), params.join(", ")),
        }
    }

    /// Whether it is the same type. Being allowed to be null makes no difference.
    pub fn is_exactly(&self, other: &Type) -> bool {
        self.is_like(other, true)
    }

    /// The same, whatever unknown types are called.
    pub fn is_equivalent(&self, other: &Type) -> bool {
        self.is_like(other, false)
    }

    fn is_like(&self, other: &Type, by_name: bool) -> bool {
        let (these, those) = (self.params(), other.params());
        self.is_same_kind(other)
            && these.len() == those.len()
            && (!by_name && matches!(self, Self::Param(_))
                || self.runtime_name() == other.runtime_name())
            && these.iter().zip(those).all(|(this, that)| this.is_like(that, by_name))
    }

    pub fn is_dyn(&self) -> bool {
        matches!(self, Self::Dyn | Self::Any)
    }

    pub fn is_error(&self) -> bool {
        matches!(self, Self::Error)
    }

    /// What an optional is of.
    pub fn optional_of(&self) -> Option<&Type> {
        match self {
            Self::Opaque(name, params) if &**name == OPTIONAL => params.first(),
            _ => None,
        }
    }

    fn takes_null(&self) -> bool {
        let may_be_absent = matches!(
            self,
            Self::Opaque(..) | Self::Struct(_) | Self::Any | Self::Duration | Self::Timestamp
        );
        may_be_absent || matches!(self, Self::Wrapper(_) | Self::Null | Self::Dyn | Self::Param(_))
    }

    /// Whether a value of this type, which has no parameters, may be where `other` is wanted.
    fn stands_for(&self, other: &Type) -> bool {
        matches!(other, Self::Dyn | Self::Any | Self::Param(_)) || other.is_exactly(self)
    }

    fn is_less_specific(&self, other: &Type) -> bool {
        if self.is_dyn() || matches!(self, Self::Param(_)) {
            return true;
        }
        if other.is_dyn() || matches!(other, Self::Param(_)) || !self.is_same_kind(other) {
            return false;
        }
        let all = || {
            let (these, those) = (self.params(), other.params());
            these.len() == those.len()
                && these.iter().zip(those).all(|(this, that)| this.is_less_specific(that))
        };
        match self {
            Self::Meta(_) => true,
            Self::Opaque(name, _) => **name == *other.runtime_name() && all(),
            Self::List(_) | Self::Map(_) => all(),
            _ => self.is_exactly(other),
        }
    }
}

/// The type in full, as what an expression should have been tells of it.
impl fmt::Display for Type {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Param(name) = self {
            return write!(to, "<{name}>");
        }
        let params: Vec<String> = self.params().into_iter().map(Self::to_string).collect();
        match params.as_slice() {
            [] => to.write_str(&self.declared_name()),
            _ => write!(to, "{}({})", self.declared_name(), params.join(", ")),
        }
    }
}

/// What is found out about types that were not known.
#[derive(Default)]
pub struct Known {
    types: HashMap<Arc<str>, Type>,
    /// What each change replaced, so that it can be taken back.
    changes: Vec<(Arc<str>, Option<Type>)>,
}

impl Known {
    fn find(&self, unknown: &Type) -> Option<&Type> {
        match unknown {
            Type::Param(name) => self.types.get(name),
            _ => None,
        }
    }

    fn set(&mut self, unknown: &Type, value: Type) {
        if let Type::Param(name) = unknown {
            let before = self.types.insert(name.clone(), value);
            self.changes.push((name.clone(), before));
        }
    }

    /// Whether a value of the second type may be where the first is wanted; learns from it.
    pub fn assign(&mut self, to: &Type, from: &Type) -> bool {
        self.assign_all(&[to], &[from])
    }

    pub fn assign_all(&mut self, to: &[&Type], from: &[&Type]) -> bool {
        self.changes.clear();
        let is_right = self.all_assignable(to, from);
        while !is_right && let Some((name, before)) = self.changes.pop() {
            match before {
                Some(before) => self.types.insert(name, before),
                None => self.types.remove(&name),
            };
        }
        is_right
    }

    fn all_assignable(&mut self, to: &[&Type], from: &[&Type]) -> bool {
        to.len() == from.len() && to.iter().zip(from).all(|(to, from)| self.is_assignable(to, from))
    }

    fn is_assignable(&mut self, to: &Type, from: &Type) -> bool {
        if matches!(from, Type::Param(_)) {
            let (is_valid, is_known) = self.substitute_for(to, from);
            if is_valid || is_known {
                return is_valid;
            }
        }
        if matches!(to, Type::Param(_)) {
            return self.substitute_for(from, to).0;
        }
        let is_any = |it: &Type| it.is_dyn() || it.is_error();
        if is_any(to) || is_any(from) {
            return true;
        }
        match (to, from) {
            (Type::Null, other) | (other, Type::Null) => other.takes_null(),
            (Type::Meta(_), _) => matches!(from, Type::Meta(_)),
            (Type::Opaque(..) | Type::List(_) | Type::Map(_), _) => {
                to.is_same_kind(from)
                    && to.runtime_name() == from.runtime_name()
                    && self.all_assignable(&to.params(), &from.params())
            }
            (Type::Unspecified, _) => false,
            _ => to.stands_for(from),
        }
    }

    /// Whether the unknown type can be this one, and whether it was already something.
    fn substitute_for(&mut self, value: &Type, unknown: &Type) -> (bool, bool) {
        if value.is_same_kind(unknown) && value.is_exactly(unknown) {
            return (true, true);
        }
        if let Some(known) = self.find(unknown).cloned() {
            if value.is_same_kind(&known) && value.is_exactly(&known) {
                return (true, true);
            }
            if !self.is_assignable(value, &known) {
                return (false, true);
            }
            let general = if value.is_less_specific(&known) { value } else { &known };
            if self.is_apart(unknown, general) {
                self.set(unknown, general.clone());
            }
            return (true, true);
        }
        let is_new = self.is_apart(unknown, value);
        if is_new {
            self.set(unknown, value.clone());
        }
        (is_new, false)
    }

    /// Whether the type does not contain the unknown one.
    fn is_apart(&self, unknown: &Type, within: &Type) -> bool {
        if unknown.is_exactly(within) {
            return false;
        }
        match within {
            Type::Param(_) => self.find(within).is_none_or(|known| self.is_apart(unknown, known)),
            _ => within.params().into_iter().all(|param| self.is_apart(unknown, param)),
        }
    }

    /// The type with what is known put in. `finally`: what is still unknown may be anything.
    pub fn resolve(&self, unknown: &Type, finally: bool) -> Type {
        if let Some(known) = self.find(unknown) {
            return self.resolve(known, finally);
        }
        match unknown {
            Type::Param(_) if finally => Type::Dyn,
            Type::List(item) => Type::list(self.resolve(item, finally)),
            Type::Map(pair) => {
                Type::map(self.resolve(&pair.0, finally), self.resolve(&pair.1, finally))
            }
            Type::Opaque(name, params) if !params.is_empty() => {
                let params = params.iter().map(|param| self.resolve(param, finally));
                Type::Opaque(name.clone(), params.collect())
            }
            Type::Meta(Some(inner)) => Type::of(self.resolve(inner, finally)),
            other => other.clone(),
        }
    }
}

/// What a type that can hold both is: the less specific one.
pub fn most_general(first: Type, second: Type) -> Type {
    if first.is_less_specific(&second) { first } else { second }
}
