//! Who may do what. Until authorisation comes, everybody who proved who they are may do everything.
//!
//! Every decision is asked of here. Pure.

use k8s_openapi::api::authorization::v1::{
    NonResourceAttributes, NonResourceRule, ResourceAttributes, ResourceRule,
    SubjectRulesReviewStatus,
};

use super::UserInfo;

const ANONYMOUS: &str = "system:anonymous";
const UNAUTHENTICATED: &str = "system:unauthenticated";

/// What somebody would do.
#[derive(Clone, Copy, Debug)]
pub enum Action<'a> {
    Resource(&'a ResourceAttributes),
    Path(&'a NonResourceAttributes),
}

/// The answer. Neither allowed nor denied: nobody has an opinion, which is a no.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    pub allowed: bool,
    pub denied: bool,
    pub reason: String,
}

/// Whether the user may.
pub fn decide(user: &UserInfo, _action: Action<'_>) -> Decision {
    Decision { allowed: is_somebody(user), ..Decision::default() }
}

/// All that the user may do in a namespace. Source: `alwaysAllowAuthorizer` in
/// `k8s.io/apiserver/pkg/authorization/authorizerfactory`.
pub fn rules(user: &UserInfo, _namespace: &str) -> SubjectRulesReviewStatus {
    let all = || vec!["*".to_owned()];
    let mut status = SubjectRulesReviewStatus::default();
    if is_somebody(user) {
        status.resource_rules.push(ResourceRule {
            verbs: all(),
            api_groups: Some(all()),
            resources: Some(all()),
            resource_names: None,
        });
        status
            .non_resource_rules
            .push(NonResourceRule { verbs: all(), non_resource_urls: Some(all()) });
    }
    status
}

fn is_somebody(user: &UserInfo) -> bool {
    let is_named = !user.name.is_empty() || !user.groups.is_empty();
    is_named && user.name != ANONYMOUS && !user.groups.iter().any(|group| group == UNAUTHENTICATED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_may_but_nobody_may_not() {
        let user = |name: &str, groups: &[&str]| UserInfo {
            name: name.to_owned(),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            ..UserInfo::default()
        };
        let table = [
            (user("ada", &[]), true),
            (user("", &["dev"]), true),
            (user("", &[]), false),
            (user(ANONYMOUS, &[]), false),
            (user(ANONYMOUS, &[UNAUTHENTICATED]), false),
        ];
        let path = NonResourceAttributes::default();
        for (user, allowed) in table {
            assert_eq!(decide(&user, Action::Path(&path)).allowed, allowed, "{user:?}");
            assert_eq!(rules(&user, "default").resource_rules.len(), usize::from(allowed));
        }
    }
}
