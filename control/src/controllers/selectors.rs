//! Label selectors over labels. An absent or empty selector selects nothing here: no controller may
//! take hold of everything by an omission.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

type Labels = BTreeMap<String, String>;

pub(super) fn is_empty(selector: &LabelSelector) -> bool {
    selector.match_labels.as_ref().is_none_or(BTreeMap::is_empty)
        && selector.match_expressions.as_ref().is_none_or(Vec::is_empty)
}

pub(super) fn matches(selector: &LabelSelector, labels: Option<&Labels>) -> bool {
    let none = Labels::new();
    let labels = labels.unwrap_or(&none);
    !is_empty(selector)
        && selector.match_labels.as_ref().is_none_or(|wanted| contains(labels, wanted))
        && selector.match_expressions.iter().flatten().all(|wanted| satisfies(labels, wanted))
}

/// Whether all of `wanted` are among `labels`.
pub(super) fn contains(labels: &Labels, wanted: &Labels) -> bool {
    wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
}

fn satisfies(labels: &Labels, wanted: &LabelSelectorRequirement) -> bool {
    let value = labels.get(&wanted.key);
    let listed = || value.is_some_and(|value| wanted.values.iter().flatten().any(|v| v == value));
    match wanted.operator.as_str() {
        "In" => listed(),
        "NotIn" => !listed(),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        // Validation admits no other; an unknown one selects nothing.
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(selector: &str, labels: &[(&str, &str)]) -> bool {
        let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        matches(&serde_yaml::from_str(selector).unwrap(), Some(&labels))
    }

    #[test]
    fn selectors_match_as_upstream() {
        assert!(!check("{}", &[("app", "web")]));
        assert!(check("{matchLabels: {app: web}}", &[("app", "web"), ("x", "y")]));
        assert!(!check("{matchLabels: {app: web}}", &[("app", "db")]));
        let not_in = "{matchExpressions: [{key: tier, operator: NotIn, values: [a]}]}";
        assert!(check(not_in, &[]));
        assert!(!check(not_in, &[("tier", "a")]));
        assert!(check("{matchExpressions: [{key: t, operator: Exists}]}", &[("t", "")]));
        assert!(check("{matchExpressions: [{key: t, operator: DoesNotExist}]}", &[]));
    }
}
