//! Which nodes a selector picks, as pods' affinities and volumes say it.
//!
//! Source: `ValidateNodeSelector` in `pkg/apis/core/validation/validation.go`,
//! `pkg/api/node/util.go`.

use k8s_openapi::api::core::v1::{NodeSelector, NodeSelectorRequirement, NodeSelectorTerm};

use crate::kinds::{FieldError, meta, names};

type Errors = Vec<FieldError>;

const OPERATOR_MESSAGE: &str = "not a valid selector operator";

const NODE_LABELS: [(&str, &str); 8] = [
    ("app.kubernetes.io/created-by", "deprecated since v1.9"),
    ("beta.kubernetes.io/arch", r#"deprecated since v1.14; use "kubernetes.io/arch" instead"#),
    (
        "beta.kubernetes.io/instance-type",
        r#"deprecated since v1.17; use "node.kubernetes.io/instance-type" instead"#,
    ),
    ("beta.kubernetes.io/os", r#"deprecated since v1.14; use "kubernetes.io/os" instead"#),
    (
        "failure-domain.beta.kubernetes.io/region",
        r#"deprecated since v1.17; use "topology.kubernetes.io/region" instead"#,
    ),
    (
        "failure-domain.beta.kubernetes.io/zone",
        r#"deprecated since v1.17; use "topology.kubernetes.io/zone" instead"#,
    ),
    ("node-role.kubernetes.io/master", r#"use "node-role.kubernetes.io/control-plane" instead"#),
    (
        "scheduler.alpha.kubernetes.io/preferAvoidPods",
        "deprecated since v1.22; use Taints and Tolerations instead",
    ),
];

/// Adds all problems of a selector at `path`. `strict`: values of labels are judged, too.
pub fn validate(selector: &NodeSelector, strict: bool, path: &str, errors: &mut Errors) {
    let path = format!("{path}.nodeSelectorTerms");
    if selector.node_selector_terms.is_empty() {
        errors.push(FieldError::required(&path, "must have at least one node selector term"));
    }
    for (index, term) in selector.node_selector_terms.iter().enumerate() {
        validate_term(term, strict, &format!("{path}[{index}]"), errors);
    }
}

/// Whether a term of the selector has a value that is no label's.
pub fn has_invalid_value(selector: &NodeSelector) -> bool {
    let terms = selector.node_selector_terms.iter();
    let expressions = terms.flat_map(|term| term.match_expressions.iter().flatten());
    let mut values = expressions.flat_map(|wanted| wanted.values.iter().flatten());
    values.any(|value| !names::label_value(value).is_empty())
}

/// Adds all problems of a term. `strict`: values of labels are judged, too.
pub fn validate_term(term: &NodeSelectorTerm, strict: bool, path: &str, errors: &mut Errors) {
    for (index, wanted) in term.match_expressions.iter().flatten().enumerate() {
        validate_label(wanted, strict, &format!("{path}.matchExpressions[{index}]"), errors);
    }
    for (index, wanted) in term.match_fields.iter().flatten().enumerate() {
        validate_field(wanted, &format!("{path}.matchFields[{index}]"), errors);
    }
}

fn validate_label(wanted: &NodeSelectorRequirement, strict: bool, path: &str, errors: &mut Errors) {
    let values = wanted.values.as_deref().unwrap_or_default();
    let values_path = format!("{path}.values");
    match wanted.operator.as_str() {
        "In" | "NotIn" if values.is_empty() => {
            let detail = "must be specified when `operator` is 'In' or 'NotIn'";
            errors.push(FieldError::required(&values_path, detail));
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            errors.push(FieldError::forbidden(&values_path, detail));
        }
        "Gt" | "Lt" if values.len() != 1 => {
            let detail = "must be specified single value when `operator` is 'Lt' or 'Gt'";
            errors.push(FieldError::required(&values_path, detail));
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
        other => {
            let path = format!("{path}.operator");
            errors.push(FieldError::invalid(path, other, OPERATOR_MESSAGE));
        }
    }
    errors.extend(meta::validate_label_key(&wanted.key, &format!("{path}.key")));
    for (index, value) in values.iter().enumerate().filter(|_| strict) {
        let messages = names::label_value(value);
        errors.extend(meta::invalid_each(&format!("{values_path}[{index}]"), value, messages));
    }
}

fn validate_field(wanted: &NodeSelectorRequirement, path: &str, errors: &mut Errors) {
    let values = wanted.values.as_deref().unwrap_or_default();
    match wanted.operator.as_str() {
        "In" | "NotIn" if values.len() != 1 => {
            let detail =
                "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
            errors.push(FieldError::required(format!("{path}.values"), detail));
        }
        "In" | "NotIn" => {}
        other => {
            let path = format!("{path}.operator");
            errors.push(FieldError::invalid(path, other, OPERATOR_MESSAGE));
        }
    }
    if wanted.key != "metadata.name" {
        let detail = "not a valid field selector key";
        return errors.push(FieldError::invalid(
            format!("{path}.key"),
            wanted.key.as_str(),
            detail,
        ));
    }
    for (index, value) in values.iter().enumerate() {
        let path = format!("{path}.values[{index}]");
        errors.extend(meta::invalid_each(&path, value, names::subdomain(value)));
    }
}

/// Gives the old selector the new one's name of a label wherever the old name is that of the beta.
/// Source: `getMaskNodeSelectorLabelChangeEqualities`.
pub fn renew_labels(old: &mut NodeSelector, new: &NodeSelector) {
    const RENEWED: &[(&str, &str)] = &[
        ("beta.kubernetes.io/arch", "kubernetes.io/arch"),
        ("beta.kubernetes.io/instance-type", "node.kubernetes.io/instance-type"),
        ("beta.kubernetes.io/os", "kubernetes.io/os"),
        ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"),
        ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ];
    for (old, new) in old.node_selector_terms.iter_mut().zip(&new.node_selector_terms) {
        let wanted = old.match_expressions.iter_mut().flatten();
        for (old, new) in wanted.zip(new.match_expressions.iter().flatten()) {
            if RENEWED.contains(&(old.key.as_str(), new.key.as_str())) {
                old.key.clone_from(&new.key);
            }
        }
    }
}

/// Why a node's label should not be used any more.
pub fn deprecated_label(key: &str) -> Option<&'static str> {
    NODE_LABELS.iter().find(|(label, _)| *label == key).map(|(_, message)| *message)
}

/// What a term is let through with but told of. `check_values`: validation lets a bad value of a
/// preference pass.
pub fn warn_of_term(term: &NodeSelectorTerm, check_values: bool, path: &str) -> Vec<String> {
    let mut warnings = Vec::new();
    for (index, expression) in term.match_expressions.iter().flatten().enumerate() {
        let path = format!("{path}.matchExpressions[{index}]");
        let key = &expression.key;
        if let Some(message) = deprecated_label(key) {
            warnings.push(format!("{path}.key: {key} is {message}"));
        }
        if !check_values {
            continue;
        }
        for (index, value) in expression.values.iter().flatten().enumerate() {
            for message in names::label_value(value) {
                warnings.push(format!("{path}.values[{index}]: {value} is invalid, {message}"));
            }
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::texts;
    use serde_json::json;

    #[test]
    fn a_selector_has_terms_that_can_be_met() {
        let selector = serde_json::from_value(json!({"nodeSelectorTerms": [
            {"matchExpressions": [
                {"key": "a", "operator": "In"},
                {"key": "a", "operator": "Gt", "values": ["1", "2"]},
                {"key": "a", "operator": "Like"},
            ]},
            {"matchFields": [{"key": "spec.x", "operator": "In", "values": ["n"]}]},
        ]}))
        .unwrap();
        let mut errors = Vec::new();
        validate(&selector, true, "p", &mut errors);
        validate(&NodeSelector::default(), true, "q", &mut errors);
        assert_eq!(
            texts(&errors),
            [
                "p.nodeSelectorTerms[0].matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
                "p.nodeSelectorTerms[0].matchExpressions[1].values: Required value: must be specified single value when `operator` is 'Lt' or 'Gt'",
                "p.nodeSelectorTerms[0].matchExpressions[2].operator: Invalid value: \"Like\": not a valid selector operator",
                "p.nodeSelectorTerms[1].matchFields[0].key: Invalid value: \"spec.x\": not a valid field selector key",
                "q.nodeSelectorTerms: Required value: must have at least one node selector term",
            ]
        );
        assert!(!has_invalid_value(&selector));
    }
}
