//! A value as an error shows it.
//!
//! Source: `Error.ErrorBody` in `k8s.io/apimachinery/pkg/util/validation/field/errors.go`.

use std::fmt;

use serde_json::Value;

use super::field_error::quoted;
use crate::schema::{self, Type};

/// A value, or its text where it is a part of an object that upstream prints by its internal type.
#[derive(Clone, Debug, PartialEq)]
pub enum Shown {
    Value(Value),
    Text(String),
}

impl Shown {
    /// A part of an object, of the type with this name in OpenAPI. For where it stands elsewhere than
    /// the error's path says: what stands there is shown by its type without further ado.
    pub fn internal(ty: &str, value: &Value) -> Self {
        match schema::schema().by_name(ty) {
            Some(ty) => Self::Text(schema::internal(ty, value)),
            None => Self::Value(value.clone()),
        }
    }

    /// A field of such a part.
    pub fn internal_field(ty: &str, field: &str, value: Value) -> Self {
        let mut shown = Self::Value(value);
        if let Some(ty) = schema::schema().by_name(ty) {
            shown.settle(ty, field);
        }
        shown
    }

    /// What stands at a path of an object of this type is shown by its own type.
    pub fn settle(&mut self, root: &'static Type, path: &str) {
        if let Self::Value(value @ (Value::Null | Value::Array(_) | Value::Object(_))) = self
            && let Some(text) = schema::internal_at(root, path, value)
        {
            *self = Self::Text(text);
        }
    }
}

impl<T: Into<Value>> From<T> for Shown {
    fn from(value: T) -> Self {
        Self::Value(value.into())
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Value(Value::String(text)) => f.write_str(&quoted(text)),
            Self::Value(value @ (Value::Array(_) | Value::Number(_) | Value::Object(_))) => {
                f.write_str(&schema::go_json(value))
            }
            Self::Value(plain) => write!(f, "{plain}"),
        }
    }
}
