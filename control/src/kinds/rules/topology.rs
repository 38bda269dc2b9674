//! Where volumes of a class may be made: terms over the labels of a topology.
//!
//! Source: `ValidateTopologySelectorTerm` in `pkg/apis/core/validation/validation.go`,
//! `validateAllowedTopologies` in `pkg/apis/storage/validation/validation.go`.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::TopologySelectorTerm;

use crate::kinds::{FieldError, meta};

/// What a term asks for: the values of each key.
type Wanted<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

/// Adds all problems of a list of terms at `path`.
pub fn validate(terms: &[TopologySelectorTerm], path: &str, errors: &mut Vec<FieldError>) {
    // Upstream begins with as many empty terms as there are terms: an empty one is their duplicate.
    let mut known: Vec<Wanted<'_>> = vec![Wanted::new(); terms.len()];
    for (index, term) in terms.iter().enumerate() {
        let path = format!("{path}[{index}].matchLabelExpressions");
        let wanted = validate_term(term, &path, errors);
        for _ in known.iter().filter(|known| **known == wanted) {
            errors.push(FieldError::duplicate(&path, ""));
        }
        known.push(wanted);
    }
}

fn validate_term<'a>(
    term: &'a TopologySelectorTerm,
    path: &str,
    errors: &mut Vec<FieldError>,
) -> Wanted<'a> {
    let mut wanted = Wanted::new();
    for (index, expression) in term.match_label_expressions.iter().flatten().enumerate() {
        let path = format!("{path}[{index}]");
        let mut values = BTreeSet::new();
        if expression.values.is_empty() {
            errors.push(FieldError::required(format!("{path}.values"), ""));
        }
        for (index, value) in expression.values.iter().enumerate() {
            if !values.insert(value.as_str()) {
                let path = format!("{path}.values[{index}]");
                errors.push(FieldError::duplicate(path, value.as_str()));
            }
        }
        let path = format!("{path}.key");
        errors.extend(meta::validate_label_key(&expression.key, &path));
        if wanted.insert(expression.key.as_str(), values).is_some() {
            errors.push(FieldError::duplicate(path, expression.key.as_str()));
        }
    }
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::texts;
    use serde_json::json;

    #[test]
    fn terms_differ_and_have_values() {
        let zone = |values: &[&str]| json!({"key": "zone", "values": values});
        let terms: Vec<TopologySelectorTerm> = serde_json::from_value(json!([
            {"matchLabelExpressions": [zone(&["a", "a"]), zone(&[])]},
            {"matchLabelExpressions": [zone(&["b"])]},
            {"matchLabelExpressions": [zone(&["b"])]},
        ]))
        .unwrap();
        let mut errors = Vec::new();
        validate(&terms, "p", &mut errors);
        assert_eq!(
            texts(&errors),
            [
                "p[0].matchLabelExpressions[0].values[1]: Duplicate value: \"a\"",
                "p[0].matchLabelExpressions[1].values: Required value",
                "p[0].matchLabelExpressions[1].key: Duplicate value: \"zone\"",
                "p[2].matchLabelExpressions: Duplicate value: \"\"",
            ]
        );
    }
}
