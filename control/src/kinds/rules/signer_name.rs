//! The names of those who sign certificates: `example.com/signer`.
//!
//! Source: `ValidateSignerName` in `pkg/apis/core/validation/names.go`.

use crate::kinds::{FieldError, names};

const DOMAIN_LENGTH_MAX: usize = 253;
const LENGTH_MAX: usize = DOMAIN_LENGTH_MAX + 1 + 253 + 63 + 1;

/// All problems of a signer's name.
pub fn validate(name: &str, path: &str) -> Vec<FieldError> {
    if name.is_empty() {
        return vec![FieldError::required(path, "")];
    }
    let segments: Vec<&str> = name.split('/').collect();
    let [domain, signer] = segments.as_slice() else {
        let why = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        return vec![FieldError::invalid(path, name, why)];
    };
    let mut errors = Vec::new();
    if domain.len() > DOMAIN_LENGTH_MAX {
        errors.push(FieldError::too_long(path, DOMAIN_LENGTH_MAX));
    }
    errors.extend(validate_labels(domain, names::label, path));
    if !domain.contains('.') {
        let why = "should be a domain with at least two segments separated by dots";
        errors.push(FieldError::invalid(path, *domain, why));
    }
    errors.extend(validate_labels(signer, names::subdomain, path));
    if name.len() > LENGTH_MAX {
        errors.push(FieldError::too_long(path, LENGTH_MAX));
    }
    errors
}

/// The problems of the first label that has any.
fn validate_labels(segment: &str, rule: fn(&str) -> Vec<String>, path: &str) -> Vec<FieldError> {
    let judged = segment.split('.').map(|label| (label, rule(label)));
    let wrong = judged.into_iter().find(|(_, problems)| !problems.is_empty());
    let Some((label, problems)) = wrong else { return Vec::new() };
    problems
        .into_iter()
        .map(|why| FieldError::invalid(path, segment, format!("validating label {label:?}: {why}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signer_is_a_domain_and_a_path() {
        let count = |name: &str| validate(name, "spec.signerName").len();
        let table = [
            ("kubernetes.io/kube-apiserver-client", 0),
            ("example.com/a.b", 0),
            ("", 1),
            ("example.com", 1),
            ("a.b/c/d", 1),
            ("local/signer", 1),
            ("Example.com/Signer", 2),
        ];
        for (name, problems) in table {
            assert_eq!(count(name), problems, "{name}");
        }
    }
}
