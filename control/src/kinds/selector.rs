//! Label selectors of objects (`metav1.LabelSelector`): validation and matching.
//!
//! Those of query strings are parsed in `api`. Source: `k8s.io/apimachinery/pkg/apis/meta/v1`.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

use super::{FieldError, meta, names};

/// Whether a selector picks an object with these labels. A selector without terms picks all; one
/// with an operator that does not exist picks nothing.
pub fn matches(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let pairs = selector.match_labels.iter().flatten();
    let terms = selector.match_expressions.iter().flatten();
    matches_pairs(pairs, labels) && terms.into_iter().all(|term| matches_term(term, labels))
}

/// The same for an absent selector, which picks nothing.
pub fn matches_optional(
    selector: Option<&LabelSelector>,
    labels: Option<&BTreeMap<String, String>>,
) -> bool {
    const NONE: &BTreeMap<String, String> = &BTreeMap::new();
    selector.is_some_and(|selector| matches(selector, labels.unwrap_or(NONE)))
}

/// Whether all these pairs are among the labels: the selectors of Services.
pub fn matches_pairs<'a>(
    pairs: impl IntoIterator<Item = (&'a String, &'a String)>,
    labels: &BTreeMap<String, String>,
) -> bool {
    pairs.into_iter().all(|(key, value)| labels.get(key) == Some(value))
}

/// Whether the selector picks everything.
pub fn is_empty(selector: &LabelSelector) -> bool {
    selector.match_labels.as_ref().is_none_or(BTreeMap::is_empty)
        && selector.match_expressions.as_ref().is_none_or(Vec::is_empty)
}

fn matches_term(term: &LabelSelectorRequirement, labels: &BTreeMap<String, String>) -> bool {
    let value = labels.get(&term.key);
    let listed =
        || value.is_some_and(|value| term.values.iter().flatten().any(|listed| listed == value));
    match term.operator.as_str() {
        "In" => listed(),
        // An absent label is not in any set.
        "NotIn" => !listed(),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        _ => false,
    }
}

/// Whether the selector can be used to pick.
pub fn is_sound(selector: &LabelSelector) -> bool {
    validate(selector, "").is_empty()
}

/// All problems of a selector at `path`.
pub fn validate(selector: &LabelSelector, path: &str) -> Vec<FieldError> {
    let pairs = selector.match_labels.as_ref();
    let mut errors = meta::validate_labels(pairs, &format!("{path}.matchLabels"));
    for (index, term) in selector.match_expressions.iter().flatten().enumerate() {
        errors.extend(validate_term(term, &format!("{path}.matchExpressions[{index}]")));
    }
    errors
}

fn validate_term(term: &LabelSelectorRequirement, path: &str) -> Vec<FieldError> {
    let values = term.values.as_deref().unwrap_or_default();
    let mut errors = Vec::new();
    match term.operator.as_str() {
        "In" | "NotIn" if values.is_empty() => errors.push(FieldError::required(
            format!("{path}.values"),
            "must be specified when `operator` is 'In' or 'NotIn'",
        )),
        "Exists" | "DoesNotExist" if !values.is_empty() => errors.push(FieldError::forbidden(
            format!("{path}.values"),
            "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
        )),
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        other => errors.push(FieldError::invalid(
            format!("{path}.operator"),
            other,
            "not a valid selector operator",
        )),
    }
    errors.extend(meta::validate_label_key(&term.key, &format!("{path}.key")));
    for (index, value) in values.iter().enumerate() {
        let path = format!("{path}.values[{index}]");
        errors.extend(meta::invalid_each(&path, value, names::label_value(value)));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn labels() -> BTreeMap<String, String> {
        [("app", "web"), ("tier", "front")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into()
    }

    fn selector(value: serde_json::Value) -> LabelSelector {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_selector_picks_what_meets_all_its_terms() {
        let term = |key: &str, operator: &str, values: &[&str]| json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]});
        let cases = [
            (json!({}), true),
            (json!({"matchLabels": {"app": "web"}}), true),
            (json!({"matchLabels": {"app": "db"}}), false),
            (json!({"matchLabels": {"zone": ""}}), false),
            (term("app", "In", &["web", "db"]), true),
            (term("zone", "In", &["a"]), false),
            (term("app", "NotIn", &["web"]), false),
            (term("zone", "NotIn", &["a"]), true),
            (term("app", "Exists", &[]), true),
            (term("zone", "Exists", &[]), false),
            (term("zone", "DoesNotExist", &[]), true),
            (term("app", "Like", &["w"]), false),
        ];
        for (value, picked) in cases {
            assert_eq!(matches(&selector(value.clone()), &labels()), picked, "{value}");
        }
    }

    #[test]
    fn an_absent_selector_picks_nothing_and_an_empty_one_all() {
        assert!(!matches_optional(None, Some(&labels())));
        assert!(matches_optional(Some(&LabelSelector::default()), None));
        assert!(is_empty(&LabelSelector::default()));
    }

    #[test]
    fn every_bad_term_is_named_with_its_path() {
        let bad = selector(json!({
            "matchLabels": {"app": "-"},
            "matchExpressions": [
                {"key": "a", "operator": "In"},
                {"key": "a", "operator": "Exists", "values": ["x"]},
                {"key": "a", "operator": "Like"},
            ],
        }));
        let texts: Vec<String> =
            validate(&bad, "spec.selector").iter().map(ToString::to_string).collect();
        assert!(
            texts[0].starts_with("spec.selector.matchLabels: Invalid value: \"-\": a valid label")
        );
        assert_eq!(
            texts[1..],
            [
                "spec.selector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
                "spec.selector.matchExpressions[1].values: Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
                "spec.selector.matchExpressions[2].operator: Invalid value: \"Like\": not a valid selector operator",
            ]
        );
    }
}
