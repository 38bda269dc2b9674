//! Expressions in the Common Expression Language (CEL).
//!
//! Nothing here evaluates them. A [`Compiler`] says what is wrong with an expression; until there is
//! one, [`Uncompiled`] takes every expression as it is, and whoever writes one is told so.

/// Says what is wrong with an expression, in upstream's words.
pub trait Compiler {
    fn check(&self, expression: &str) -> Result<(), String>;
    /// What whoever writes an expression is told of it, if anything.
    fn caveat(&self) -> Option<&'static str>;
}

/// Takes every expression.
pub struct Uncompiled;

impl Compiler for Uncompiled {
    fn check(&self, _expression: &str) -> Result<(), String> {
        Ok(())
    }

    fn caveat(&self) -> Option<&'static str> {
        Some("the CEL expression was stored without being compiled: its errors are not found yet")
    }
}

/// The one that every kind asks.
pub fn compiler() -> &'static dyn Compiler {
    &Uncompiled
}

/// A warning for each field that holds an expression.
pub fn warnings(paths: impl IntoIterator<Item = String>) -> Vec<String> {
    let Some(caveat) = compiler().caveat() else { return Vec::new() };
    paths.into_iter().map(|path| format!("{path}: {caveat}")).collect()
}

/// Whether a variable may bear this name. Source: `isCELIdentifier` in
/// `pkg/apis/admissionregistration/validation/validation.go`.
pub fn is_identifier(name: &str) -> bool {
    const RESERVED: &[&str] = &[
        "as",
        "break",
        "const",
        "continue",
        "else",
        "false",
        "for",
        "function",
        "if",
        "import",
        "in",
        "let",
        "loop",
        "namespace",
        "null",
        "package",
        "return",
        "true",
        "var",
        "void",
        "while",
    ];
    let is_start = |letter: char| letter == '_' || letter.is_ascii_alphabetic();
    name.starts_with(is_start)
        && name.chars().all(|letter| is_start(letter) || letter.is_ascii_digit())
        && !RESERVED.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_not_reserved() {
        for (name, is) in [("a_1", true), ("_x", true), ("1a", false), ("in", false), ("", false)] {
            assert_eq!(is_identifier(name), is, "{name}");
        }
    }
}
