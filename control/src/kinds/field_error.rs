//! A problem with one field, worded as upstream words it.
//!
//! Source: `k8s.io/apimachinery/pkg/util/validation/field/errors.go`.

use std::fmt;

use super::Shown;
use crate::schema::Type;

/// What is wrong with the field.
#[derive(Clone, Debug, PartialEq)]
pub enum ErrorKind {
    Required,
    Invalid(Shown),
    /// The value would tell nothing: the problem is of the whole.
    InvalidWhole,
    NotSupported {
        value: Shown,
        supported: Vec<String>,
    },
    Duplicate(Shown),
    Forbidden,
    TooLong {
        max: usize,
    },
    TooMany {
        actual: usize,
        max: usize,
    },
    NotFound(Shown),
    TypeInvalid(Shown),
    /// It cannot be judged.
    Internal,
}

impl ErrorKind {
    /// The cause's reason in a `Status`.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Required => "FieldValueRequired",
            Self::Invalid(_) | Self::InvalidWhole => "FieldValueInvalid",
            Self::NotSupported { .. } => "FieldValueNotSupported",
            Self::Duplicate(_) => "FieldValueDuplicate",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong { .. } => "FieldValueTooLong",
            Self::TooMany { .. } => "FieldValueTooMany",
            Self::NotFound(_) => "FieldValueNotFound",
            Self::TypeInvalid(_) => "FieldValueTypeInvalid",
            Self::Internal => "InternalError",
        }
    }
}

/// A problem, its path (`spec.containers[0].name`) and the detail behind the value.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldError {
    pub kind: ErrorKind,
    pub path: String,
    pub detail: String,
}

impl FieldError {
    pub fn new(kind: ErrorKind, path: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { kind, path: path.into(), detail: detail.into() }
    }

    pub fn required(path: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Required, path, detail)
    }

    pub fn invalid(
        path: impl Into<String>,
        value: impl Into<Shown>,
        detail: impl Into<String>,
    ) -> Self {
        Self::new(ErrorKind::Invalid(value.into()), path, detail)
    }

    /// Invalid, without the value (upstream's OmitValueType).
    pub fn invalid_whole(path: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidWhole, path, detail)
    }

    pub fn not_supported(
        path: impl Into<String>,
        value: impl Into<Shown>,
        supported: &[&str],
    ) -> Self {
        let supported = supported.iter().map(|value| (*value).to_owned()).collect();
        Self::new(ErrorKind::NotSupported { value: value.into(), supported }, path, "")
    }

    pub fn duplicate(path: impl Into<String>, value: impl Into<Shown>) -> Self {
        Self::new(ErrorKind::Duplicate(value.into()), path, "")
    }

    pub fn forbidden(path: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Forbidden, path, detail)
    }

    pub fn too_long(path: impl Into<String>, max: usize) -> Self {
        Self::new(ErrorKind::TooLong { max }, path, "")
    }

    pub fn too_many(path: impl Into<String>, actual: usize, max: usize) -> Self {
        Self::new(ErrorKind::TooMany { actual, max }, path, "")
    }

    pub fn not_found(path: impl Into<String>, value: impl Into<Shown>) -> Self {
        Self::new(ErrorKind::NotFound(value.into()), path, "")
    }

    /// Shows a value that is a part of an object as upstream does, by the type that stands at the
    /// error's path in an object of type `root`.
    #[must_use]
    pub fn settled(mut self, root: &'static Type) -> Self {
        match &mut self.kind {
            ErrorKind::Invalid(value)
            | ErrorKind::NotSupported { value, .. }
            | ErrorKind::Duplicate(value)
            | ErrorKind::NotFound(value)
            | ErrorKind::TypeInvalid(value) => value.settle(root, &self.path),
            ErrorKind::Required
            | ErrorKind::InvalidWhole
            | ErrorKind::Forbidden
            | ErrorKind::Internal
            | ErrorKind::TooLong { .. }
            | ErrorKind::TooMany { .. } => {}
        }
        self
    }

    /// The message without the path: a cause's `message`.
    pub fn body(&self) -> String {
        let head = match &self.kind {
            ErrorKind::Required => "Required value".to_owned(),
            ErrorKind::Invalid(value) => format!("Invalid value: {value}"),
            ErrorKind::InvalidWhole => "Invalid value".to_owned(),
            ErrorKind::NotSupported { value, supported } => {
                let supported: Vec<String> = supported.iter().map(|value| quoted(value)).collect();
                return format!(
                    "Unsupported value: {value}: supported values: {}",
                    supported.join(", ")
                );
            }
            ErrorKind::Duplicate(value) => format!("Duplicate value: {value}"),
            ErrorKind::Forbidden => "Forbidden".to_owned(),
            ErrorKind::Internal => "Internal error".to_owned(),
            ErrorKind::TooLong { max } => {
                return format!("Too long: may not be more than {max} bytes");
            }
            ErrorKind::TooMany { actual, max } => {
                return format!("Too many: {actual}: must have at most {max} items");
            }
            ErrorKind::NotFound(value) => format!("Not found: {value}"),
            ErrorKind::TypeInvalid(value) => format!("Invalid value: {value}"),
        };
        if self.detail.is_empty() { head } else { format!("{head}: {}", self.detail) }
    }
}

/// A text as Go's `%q` prints it.
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            letter if letter.is_ascii_control() => {
                out.push_str(&format!("\\x{:02x}", u32::from(letter)));
            }
            letter if is_printable(letter) => out.push(letter),
            letter if u32::from(letter) > 0xffff => {
                out.push_str(&format!("\\U{:08x}", u32::from(letter)));
            }
            letter => out.push_str(&format!("\\u{:04x}", u32::from(letter))),
        }
    }
    out.push('"');
    out
}

/// Rust's own escaping knows what is printable; a mark that joins the letter before it is.
fn is_printable(letter: char) -> bool {
    letter.is_ascii() || !format!("a{letter}").escape_debug().any(|escaped| escaped == '\\')
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.body())
    }
}
