//! Which FlowSchema a request matches, and which flow of it.
//!
//! Source: `k8s.io/apiserver/pkg/util/flowcontrol/rule.go`.

use k8s_openapi::api::flowcontrol::v1::{
    FlowSchemaSpec, NonResourcePolicyRule, PolicyRulesWithSubjects, ResourcePolicyRule, Subject,
};
use sha2::{Digest as _, Sha256};

use crate::auth::UserInfo;

/// What rules look at.
#[derive(Clone, Copy, Debug)]
pub struct Digest<'a> {
    pub user: &'a UserInfo,
    /// Of the API, or the method in small letters where no resource is addressed.
    pub verb: &'a str,
    pub target: Target<'a>,
}

#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    Resource { group: &'a str, resource: &'a str, subresource: &'a str, namespace: &'a str },
    Path(&'a str),
}

pub fn matches(digest: &Digest<'_>, spec: &FlowSchemaSpec) -> bool {
    spec.rules.iter().flatten().any(|rule| matches_rule(digest, rule))
}

fn matches_rule(digest: &Digest<'_>, rule: &PolicyRulesWithSubjects) -> bool {
    if !rule.subjects.iter().any(|subject| matches_subject(digest.user, subject)) {
        return false;
    }
    match digest.target {
        Target::Resource { .. } => {
            let mut rules = rule.resource_rules.iter().flatten();
            rules.any(|rule| matches_resource(digest, rule))
        }
        Target::Path(path) => {
            let mut rules = rule.non_resource_rules.iter().flatten();
            rules.any(|rule| matches_path(digest.verb, path, rule))
        }
    }
}

fn matches_subject(user: &UserInfo, subject: &Subject) -> bool {
    match subject.kind.as_str() {
        "User" => {
            let subject = subject.user.as_ref();
            subject.is_some_and(|subject| subject.name == "*" || subject.name == user.name)
        }
        "Group" => subject
            .group
            .as_ref()
            .is_some_and(|subject| subject.name == "*" || user.groups.contains(&subject.name)),
        "ServiceAccount" => subject.service_account.as_ref().is_some_and(|subject| {
            let account = user.name.strip_prefix("system:serviceaccount:");
            let account = account.and_then(|account| account.split_once(':'));
            account.is_some_and(|(namespace, name)| {
                namespace == subject.namespace && (subject.name == "*" || name == subject.name)
            })
        }),
        _ => false,
    }
}

/// Whether the list holds the value, or is the wildcard.
fn holds(list: &[String], value: &str) -> bool {
    matches!(list, [only] if only == "*") || list.iter().any(|known| known == value)
}

fn matches_resource(digest: &Digest<'_>, rule: &ResourcePolicyRule) -> bool {
    let Target::Resource { group, resource, subresource, namespace } = digest.target else {
        return false;
    };
    holds(&rule.verbs, digest.verb)
        && holds_resource(&rule.resources, resource, subresource)
        && holds(&rule.api_groups, group)
        && match namespace {
            "" => rule.cluster_scope == Some(true),
            namespace => {
                rule.namespaces.as_ref().is_some_and(|namespaces| holds(namespaces, namespace))
            }
        }
}

fn holds_resource(list: &[String], resource: &str, subresource: &str) -> bool {
    if subresource.is_empty() {
        return holds(list, resource);
    }
    let is_it = |known: &String| known.split_once('/') == Some((resource, subresource));
    matches!(list, [only] if only == "*") || list.iter().any(is_it)
}

fn matches_path(verb: &str, path: &str, rule: &NonResourcePolicyRule) -> bool {
    holds(&rule.verbs, verb)
        && rule.non_resource_urls.iter().any(|known| {
            if known == "*" || known == path {
                return true;
            }
            let stem = known.strip_suffix('*').unwrap_or(known);
            let stem = stem.strip_suffix('/').unwrap_or(stem);
            path.strip_prefix(stem).is_some_and(|rest| rest.starts_with('/'))
        })
}

/// What tells a schema's flows apart.
pub fn distinguisher<'a>(digest: &Digest<'a>, spec: &FlowSchemaSpec) -> &'a str {
    let method = spec.distinguisher_method.as_ref().map(|method| method.type_.as_str());
    match (method, digest.target) {
        (Some("ByUser"), _) => &digest.user.name,
        (Some("ByNamespace"), Target::Resource { namespace, .. }) => namespace,
        _ => "",
    }
}

/// What a flow's hand is dealt by.
pub fn flow_hash(schema: &str, distinguisher: &str) -> u64 {
    let digest =
        Sha256::new().chain_update(schema).chain_update([0]).chain_update(distinguisher).finalize();
    u64::from_le_bytes(std::array::from_fn(|at| digest[at]))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn spec(subjects: Value, resource: Value, path: Value) -> FlowSchemaSpec {
        let rules =
            json!([{ "subjects": subjects, "resourceRules": resource, "nonResourceRules": path }]);
        serde_json::from_value(json!({"priorityLevelConfiguration": {"name": "a"}, "rules": rules}))
            .expect("it decodes")
    }

    fn user(name: &str, groups: &[&str]) -> UserInfo {
        UserInfo::authenticated(name, groups)
    }

    fn everything() -> Value {
        json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"],
            "clusterScope": true}])
    }

    #[test]
    fn subjects_are_users_groups_and_service_accounts() {
        let account = |namespace: &str, name: &str| {
            json!({"kind": "ServiceAccount",
            "serviceAccount": {"namespace": namespace, "name": name}})
        };
        let named = |kind: &str, key: &str, name: &str| json!({"kind": kind, key: {"name": name}});
        let robot = "system:serviceaccount:shop:robot";
        for (subject, who, groups, expected) in [
            (named("User", "user", "ann"), "ann", vec![], true),
            (named("User", "user", "ann"), "anna", vec![], false),
            (named("User", "user", "*"), "bob", vec![], true),
            (named("Group", "group", "team"), "ann", vec!["team"], true),
            (named("Group", "group", "team"), "team", vec![], false),
            (named("Group", "group", "*"), "ann", vec![], true),
            (named("Group", "group", "system:authenticated"), "ann", vec![], true),
            (account("shop", "robot"), robot, vec![], true),
            (account("shop", "*"), robot, vec![], true),
            (account("shop", "rob"), robot, vec![], false),
            (account("sho", "*"), robot, vec![], false),
            (account("shop", "*"), "robot", vec![], false),
        ] {
            let spec = spec(json!([subject]), everything(), json!([]));
            let user = user(who, &groups);
            let target =
                Target::Resource { group: "", resource: "pods", subresource: "", namespace: "a" };
            let digest = Digest { user: &user, verb: "get", target };
            assert_eq!(matches(&digest, &spec), expected, "{subject} {who}");
        }
    }

    #[test]
    fn resource_rules_look_at_verb_group_resource_and_namespace() {
        let rule = json!([{"verbs": ["get", "list"], "apiGroups": ["", "apps"],
            "resources": ["pods", "pods/status"], "namespaces": ["a"]}]);
        let spec = spec(json!([{"kind": "User", "user": {"name": "*"}}]), rule, json!([]));
        for (verb, group, resource, subresource, namespace, expected) in [
            ("get", "", "pods", "", "a", true),
            ("list", "apps", "pods", "status", "a", true),
            ("watch", "", "pods", "", "a", false),
            ("get", "batch", "pods", "", "a", false),
            ("get", "", "pods", "log", "a", false),
            ("get", "", "nodes", "", "a", false),
            ("get", "", "pods", "", "b", false),
            ("get", "", "pods", "", "", false),
        ] {
            let user = user("ann", &[]);
            let target = Target::Resource { group, resource, subresource, namespace };
            let digest = Digest { user: &user, verb, target };
            let about = format!("{verb} {group} {resource} {subresource} {namespace}");
            assert_eq!(matches(&digest, &spec), expected, "{about}");
        }
    }

    #[test]
    fn path_rules_match_whole_paths_and_stems() {
        for (known, path, expected) in [
            ("*", "/anything", true),
            ("/healthz", "/healthz", true),
            ("/healthz", "/healthz/etcd", true),
            ("/healthz", "/healthzed", false),
            ("/debug/*", "/debug/pprof", true),
            ("/debug/*", "/debug", false),
            ("/", "/version", true),
        ] {
            let rule = json!([{"verbs": ["get"], "nonResourceURLs": [known]}]);
            let spec = spec(json!([{"kind": "User", "user": {"name": "*"}}]), json!([]), rule);
            let user = user("ann", &[]);
            let digest = Digest { user: &user, verb: "get", target: Target::Path(path) };
            assert_eq!(matches(&digest, &spec), expected, "{known} {path}");
            let digest = Digest { verb: "post", ..digest };
            assert!(!matches(&digest, &spec), "{known} {path}");
        }
    }

    #[test]
    fn flows_are_told_apart_by_user_or_namespace() {
        let user = user("ann", &[]);
        let target = Target::Resource { group: "", resource: "a", subresource: "", namespace: "b" };
        let digest = Digest { user: &user, verb: "get", target };
        let mut spec = spec(json!([]), json!([]), json!([]));
        assert_eq!(distinguisher(&digest, &spec), "");
        for (method, expected) in [("ByUser", "ann"), ("ByNamespace", "b")] {
            spec.distinguisher_method =
                serde_json::from_value(json!({"type": method})).expect("it decodes");
            assert_eq!(distinguisher(&digest, &spec), expected);
        }
        assert_ne!(flow_hash("a", "b"), flow_hash("ab", ""));
        assert_eq!(flow_hash("a", "b"), flow_hash("a", "b"));
    }
}
