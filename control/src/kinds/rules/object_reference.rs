//! References to objects of any kind, by group, kind or resource, and name.
//!
//! Source: `pkg/apis/networking/validation/validation.go`.

use crate::kinds::meta::invalid_each;
use crate::kinds::{FieldError, names};

/// The problems of an API group; nothing and the core group are right.
pub fn group(group: Option<&str>, path: &str) -> Vec<FieldError> {
    group.map_or_else(Vec::new, |group| invalid_each(path, group, names::subdomain(group)))
}

/// The problems of a required name of a kind, a resource or an object: one segment of a path.
pub fn segment(value: &str, path: &str) -> Vec<FieldError> {
    if value.is_empty() {
        return vec![FieldError::required(path, "")];
    }
    invalid_each(path, value, names::path_segment(value, false))
}

/// The problems of a reference by kind and name.
pub fn typed(api_group: Option<&str>, kind: &str, name: &str, path: &str) -> Vec<FieldError> {
    let mut errors = group(api_group, &format!("{path}.apiGroup"));
    errors.extend(segment(kind, &format!("{path}.kind")));
    errors.extend(segment(name, &format!("{path}.name")));
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_name_a_kind_and_an_object() {
        assert_eq!(typed(None, "Bucket", "a:b", "p"), []);
        let texts: Vec<String> =
            typed(Some("A"), "", "a/b", "p").iter().map(ToString::to_string).collect();
        assert!(texts[0].starts_with("p.apiGroup: Invalid value: \"A\": a lowercase RFC 1123"));
        assert_eq!(
            texts[1..],
            ["p.kind: Required value", "p.name: Invalid value: \"a/b\": may not contain '/'"]
        );
    }
}
