//! Names of things outside the API, such as a controller's: `example.com/path`.
//!
//! Source: `IsDomainPrefixedPath` in `k8s.io/apimachinery/pkg/util/validation/validation.go`.

use crate::kinds::{FieldError, meta, names};

const PATH_FORMAT: &str = r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+";

/// All problems of a domain, a slash and a path.
pub fn validate(value: &str, path: &str) -> Vec<FieldError> {
    if value.is_empty() {
        return vec![FieldError::required(path, "")];
    }
    let Some((domain, rest)) =
        value.split_once('/').filter(|(domain, rest)| !domain.is_empty() && !rest.is_empty())
    else {
        let why = "must be a domain-prefixed path (such as \"acme.io/foo\")";
        return vec![FieldError::invalid(path, value, why)];
    };
    let mut errors = meta::invalid_each(path, domain, names::subdomain(domain));
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&byte);
    if !rest.bytes().all(fits) {
        let why = names::mismatch("Invalid path", PATH_FORMAT, &[]);
        errors.push(FieldError::invalid(path, rest, why));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_a_domain_in_front() {
        let cases = [
            ("acme.io/foo/bar", ""),
            ("", "p: Required value"),
            ("acme.io", "p: Invalid value: \"acme.io\": must be a domain-prefixed path (such as"),
            ("acme.io/", "p: Invalid value: \"acme.io/\": must be a domain-prefixed path (such"),
            ("Acme.io/foo", "p: Invalid value: \"Acme.io\": a lowercase RFC 1123 subdomain must"),
            ("acme.io/a b", "p: Invalid value: \"a b\": Invalid path (regex used for validation"),
        ];
        for (value, expected) in cases {
            let texts: Vec<String> = validate(value, "p").iter().map(ToString::to_string).collect();
            assert_eq!(texts.is_empty(), expected.is_empty(), "{value}");
            assert!(texts.join("").starts_with(expected), "{texts:?}");
        }
    }
}
