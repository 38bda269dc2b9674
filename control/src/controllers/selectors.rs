//! Label selectors as controllers read them: where all other readers let an empty one select all, it
//! selects nothing here, for no controller may take hold of everything by an omission.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

pub(super) use crate::kinds::selector::is_empty;
use crate::kinds::selector::matches_optional;

type Labels = BTreeMap<String, String>;

pub(super) fn matches(selector: &LabelSelector, labels: Option<&Labels>) -> bool {
    !is_empty(selector) && matches_optional(Some(selector), labels)
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
