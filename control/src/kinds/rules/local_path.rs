//! Paths that must stay below something.
//!
//! Source: `validateLocalDescendingPath` and its neighbours in `pkg/apis/core/validation`.

use crate::kinds::FieldError;

/// A path below something, such as a subPath or a seccomp profile: relative, and never upwards.
pub fn validate_relative(path: &str, field: &str, errors: &mut Vec<FieldError>) {
    if path.starts_with('/') {
        errors.push(FieldError::invalid(field, path, "must be a relative path"));
    }
    validate_no_backsteps(path, field, errors);
}

/// A path of any sort that never goes upwards.
pub fn validate_no_backsteps(path: &str, field: &str, errors: &mut Vec<FieldError>) {
    if path.split('/').any(|part| part == "..") {
        errors.push(FieldError::invalid(field, path, "must not contain '..'"));
    }
}

/// The path of a projected file. Names that begin with two dots are the node's.
pub fn validate_local(path: &str, field: &str, errors: &mut Vec<FieldError>) {
    validate_relative(path, field, errors);
    if path.starts_with("..") && !path.starts_with("../") {
        errors.push(FieldError::invalid(field, path, "must not start with '..'"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::texts;

    #[test]
    fn a_local_path_neither_climbs_nor_begins_with_two_dots() {
        let cases: [(&str, &[&str]); 5] = [
            ("a/..b", &[]),
            ("/a", &["p: Invalid value: \"/a\": must be a relative path"]),
            ("a/../b", &["p: Invalid value: \"a/../b\": must not contain '..'"]),
            ("../a", &["p: Invalid value: \"../a\": must not contain '..'"]),
            ("..a", &["p: Invalid value: \"..a\": must not start with '..'"]),
        ];
        for (path, expected) in cases {
            let mut errors = Vec::new();
            validate_local(path, "p", &mut errors);
            assert_eq!(texts(&errors), expected, "{path}");
        }
    }
}
