//! Source: `pkg/apis/flowcontrol/validation/validation.go`.

use k8s_openapi::api::flowcontrol::v1::{
    FlowSchema, NonResourcePolicyRule, PolicyRulesWithSubjects, ResourcePolicyRule,
    ServiceAccountSubject, Subject,
};
use serde_json::{Value, json};

use super::super::meta::invalid_each;
use super::super::{FieldError, names, semantic};
use crate::fair::objects::{EXEMPT, FLOW_SCHEMAS};

const PRECEDENCE_MAX: i32 = 10_000;
const METHODS: &[&str] = &["ByNamespace", "ByUser"];
const SUBJECTS: &[&str] = &["Group", "ServiceAccount", "User"];
const VERBS: &[&str] = &[
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "proxy",
    "update",
    "watch",
];

pub fn spec(schema: &FlowSchema) -> Vec<FieldError> {
    let name = schema.metadata.name.as_deref().unwrap_or_default();
    let spec = schema.spec.clone().unwrap_or_default();
    let mut errors = precedence(name, spec.matching_precedence.unwrap_or(0));
    if let Some(method) = &spec.distinguisher_method
        && !METHODS.contains(&method.type_.as_str())
    {
        let value = json!({ "Type": method.type_ });
        errors.push(FieldError::not_supported("spec.distinguisherMethod.type", value, METHODS));
    }
    let (path, level) =
        ("spec.priorityLevelConfiguration.name", &spec.priority_level_configuration.name);
    if level.is_empty() {
        errors.push(FieldError::required(path, "must reference a priority level"));
    } else {
        errors.extend(invalid_each(path, level, names::subdomain(level)));
    }
    for (index, rule) in spec.rules.iter().flatten().enumerate() {
        errors.extend(validate_rule(rule, &format!("spec.rules[{index}]")));
    }
    errors.extend(fixed(schema, name));
    errors
}

fn precedence(name: &str, precedence: i32) -> Vec<FieldError> {
    let detail = match precedence {
        ..=0 => "must be a positive value".to_owned(),
        1 if name != EXEMPT => {
            "only the schema named 'exempt' may have matchingPrecedence 1".to_owned()
        }
        1..=PRECEDENCE_MAX => return Vec::new(),
        _ => format!("must not be greater than {PRECEDENCE_MAX}"),
    };
    vec![FieldError::invalid("spec.matchingPrecedence", precedence, detail)]
}

/// The mandatory schemas are as they are.
fn fixed(schema: &FlowSchema, name: &str) -> Option<FieldError> {
    let named = |known: &&FlowSchema| known.metadata.name.as_deref() == Some(name);
    let wanted = json!(FLOW_SCHEMAS.mandatory.iter().find(named)?.spec);
    let spec = json!(schema.spec);
    let detail = format!("spec of '{name}' must equal the fixed value");
    (!semantic::equal(&spec, &wanted))
        .then(|| FieldError::invalid("spec", spec.clone(), detail))
}

fn validate_rule(rule: &PolicyRulesWithSubjects, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if rule.subjects.is_empty() {
        let detail = "subjects must contain at least one value";
        errors.push(FieldError::required(format!("{path}.subjects"), detail));
    }
    for (index, subject) in rule.subjects.iter().enumerate() {
        errors.extend(validate_subject(subject, &format!("{path}.subjects[{index}]")));
    }
    let resources = rule.resource_rules.as_deref().unwrap_or_default();
    let urls = rule.non_resource_rules.as_deref().unwrap_or_default();
    if resources.is_empty() && urls.is_empty() {
        let detail = "at least one of resourceRules and nonResourceRules has to be non-empty";
        errors.push(FieldError::required(path, detail));
    }
    for (index, rule) in resources.iter().enumerate() {
        errors.extend(validate_resources(rule, &format!("{path}.resourceRules[{index}]")));
    }
    for (index, rule) in urls.iter().enumerate() {
        errors.extend(validate_urls(rule, &format!("{path}.nonResourceRules[{index}]")));
    }
    errors
}

fn validate_subject(subject: &Subject, path: &str) -> Vec<FieldError> {
    let kind = subject.kind.as_str();
    if !SUBJECTS.contains(&kind) {
        return vec![FieldError::not_supported(format!("{path}.kind"), kind, SUBJECTS)];
    }
    let user = subject.user.as_ref().map(|user| user.name.as_str());
    let group = subject.group.as_ref().map(|group| group.name.as_str());
    let mut errors = match kind {
        "User" => validate_named(user, "user", kind, path),
        "Group" => validate_named(group, "group", kind, path),
        _ => validate_account(subject.service_account.as_ref(), &format!("{path}.serviceAccount")),
    };
    // In upstream's order: the account comes first where it is not the one that is meant.
    for (field, wanted, is_there) in [
        ("serviceAccount", "ServiceAccount", subject.service_account.is_some()),
        ("user", "User", user.is_some()),
        ("group", "Group", group.is_some()),
    ] {
        if is_there && kind != wanted {
            let detail = format!("{field} is forbidden when subject kind is not '{wanted}'");
            errors.push(FieldError::forbidden(format!("{path}.{field}"), detail));
        }
    }
    errors
}

fn validate_named(name: Option<&str>, field: &str, kind: &str, path: &str) -> Vec<FieldError> {
    let path = format!("{path}.{field}");
    match name {
        None => {
            let detail = format!("{field} is required when subject kind is '{kind}'");
            vec![FieldError::required(path, detail)]
        }
        Some("") => vec![FieldError::required(format!("{path}.name"), "")],
        Some(_) => Vec::new(),
    }
}

fn validate_account(account: Option<&ServiceAccountSubject>, path: &str) -> Vec<FieldError> {
    let Some(account) = account else {
        let detail = "serviceAccount is required when subject kind is 'ServiceAccount'";
        return vec![FieldError::required(path, detail)];
    };
    let (name, namespace) = (&account.name, &account.namespace);
    let mut errors = match name.as_str() {
        "" => vec![FieldError::required(format!("{path}.name"), "")],
        "*" => Vec::new(),
        _ => invalid_each(&format!("{path}.name"), name, names::subdomain(name)),
    };
    let path = format!("{path}.namespace");
    if namespace.is_empty() {
        errors.push(FieldError::required(path, "must specify namespace for service account"));
    } else {
        errors.extend(invalid_each(&path, namespace, names::label(namespace)));
    }
    errors
}

fn has_wildcard(values: &[String]) -> bool {
    values.iter().any(|value| value == "*")
}

/// The wildcard stands alone.
fn alone(values: &[String], path: &str, others: &str) -> Option<FieldError> {
    let detail = format!("if '*' is present, must not specify other {others}");
    (values.len() > 1 && has_wildcard(values))
        .then(|| FieldError::invalid(path, Value::from(values), detail))
}

fn validate_verbs(verbs: &[String], path: &str) -> Option<FieldError> {
    let path = format!("{path}.verbs");
    if verbs.is_empty() {
        return Some(FieldError::required(path, "verbs must contain at least one value"));
    }
    if has_wildcard(verbs) {
        return alone(verbs, &path, "verbs");
    }
    let known = verbs.iter().all(|verb| VERBS.contains(&verb.as_str()));
    (!known).then(|| FieldError::not_supported(path, Value::from(verbs), VERBS))
}

fn validate_resources(rule: &ResourcePolicyRule, path: &str) -> Vec<FieldError> {
    let mut errors: Vec<FieldError> = validate_verbs(&rule.verbs, path).into_iter().collect();
    for (field, values, what, others) in [
        ("apiGroups", &rule.api_groups, "api group", "api groups"),
        ("resources", &rule.resources, "resource", "resources"),
    ] {
        let path = format!("{path}.{field}");
        if values.is_empty() {
            let detail = format!("resource rules must supply at least one {what}");
            errors.push(FieldError::required(path, detail));
        } else {
            errors.extend(alone(values, &path, others));
        }
    }
    let namespaces = rule.namespaces.as_deref().unwrap_or_default();
    let path = format!("{path}.namespaces");
    if namespaces.is_empty() && rule.cluster_scope != Some(true) {
        let detail =
            "resource rules that are not cluster scoped must supply at least one namespace";
        errors.push(FieldError::required(path, detail));
    } else if has_wildcard(namespaces) {
        errors.extend(alone(namespaces, &path, "namespaces"));
    } else {
        for (index, namespace) in namespaces.iter().enumerate() {
            let path = format!("{path}[{index}]");
            let problems = names::label(namespace).into_iter().map(|problem| {
                format!("each member of this list must be '*' or a DNS-1123 label; {problem}")
            });
            errors.extend(invalid_each(&path, namespace, problems.collect()));
        }
    }
    errors
}

fn validate_urls(rule: &NonResourcePolicyRule, path: &str) -> Vec<FieldError> {
    let mut errors: Vec<FieldError> = validate_verbs(&rule.verbs, path).into_iter().collect();
    let urls = &rule.non_resource_urls;
    let path = format!("{path}.nonResourceURLs");
    if urls.is_empty() {
        let detail = "nonResourceURLs must contain at least one value";
        errors.push(FieldError::required(path, detail));
    } else if has_wildcard(urls) {
        errors.extend(alone(urls, &path, "non-resource URLs"));
    } else {
        for (index, url) in urls.iter().enumerate() {
            let problem = url_problem(url);
            let path = format!("{path}[{index}]");
            errors.extend(problem.map(|problem| FieldError::invalid(path, url.as_str(), problem)));
        }
    }
    errors
}

fn url_problem(url: &str) -> Option<&'static str> {
    match url {
        "" => Some("must not be empty"),
        "/" => None,
        _ if !url.starts_with('/') => Some("must start with slash"),
        _ if url.contains(' ') => Some("must not contain white-space"),
        _ if url.contains("//") => Some("must not contain double slash"),
        _ => match url.matches('*').count() {
            0 => None,
            1 if url.ends_with("/*") => None,
            _ => Some("wildcard can only do suffix matching"),
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::kinds::flow_schema::FlowSchemas;
    use crate::kinds::testing::{defaulted, problems, row, status_problems};

    fn schema(path: &str, value: Value) -> Value {
        let mut schema = json!({
            "metadata": {"name": "mine"},
            "spec": {
                "matchingPrecedence": 50,
                "priorityLevelConfiguration": {"name": "system"},
                "distinguisherMethod": {"type": "ByUser"},
                "rules": [{
                    "subjects": [{"kind": "User", "user": {"name": "ann"}}],
                    "resourceRules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"],
                        "namespaces": ["a"]}],
                    "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/a"]}],
                }],
            },
        });
        *schema.pointer_mut(path).expect("it is there") = value;
        schema
    }

    const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
    const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
    const VERBS: &str = r#"supported values: "create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch""#;

    #[test]
    fn a_good_schema_has_no_problems() {
        for (path, value) in [
            ("/spec/matchingPrecedence", json!(10000)),
            ("/spec/distinguisherMethod", Value::Null),
            ("/spec/rules", json!([])),
            ("/spec/rules/0/resourceRules", json!([])),
            ("/spec/rules/0/nonResourceRules", json!([])),
            ("/spec/rules/0/nonResourceRules/0/nonResourceURLs", json!(["/", "/a/*"])),
            ("/spec/rules/0/nonResourceRules/0/verbs", json!(["*"])),
            ("/spec/rules/0/subjects/0", json!({"kind": "ServiceAccount",
                "serviceAccount": {"namespace": "a", "name": "*"}})),
        ] {
            let found = problems::<FlowSchemas>(schema(path, value.clone()));
            assert!(found.is_empty(), "{path} {value}: {found:?}");
        }
    }

    #[test]
    fn precedence_method_and_level_are_checked() {
        let table = [
            ("/spec/matchingPrecedence", json!(-1), "spec.matchingPrecedence: Invalid value: -1: must be a positive value"),
            ("/spec/matchingPrecedence", json!(1), "spec.matchingPrecedence: Invalid value: 1: only the schema named 'exempt' may have matchingPrecedence 1"),
            ("/spec/matchingPrecedence", json!(10001), "spec.matchingPrecedence: Invalid value: 10001: must not be greater than 10000"),
            ("/spec/distinguisherMethod/type", json!("x"), r#"spec.distinguisherMethod.type: Unsupported value: {"Type":"x"}: supported values: "ByNamespace", "ByUser""#),
            ("/spec/priorityLevelConfiguration/name", json!(""), "spec.priorityLevelConfiguration.name: Required value: must reference a priority level"),
            ("/spec/priorityLevelConfiguration/name", json!("+"), &*format!("spec.priorityLevelConfiguration.name: Invalid value: \"+\": {SUBDOMAIN}")),
        ];
        for (path, value, expected) in table {
            assert_eq!(problems::<FlowSchemas>(schema(path, value)), [expected]);
        }
    }

    #[test]
    fn rules_and_subjects_are_checked() {
        let of = |subject: Value| json!([subject]);
        let account = |namespace: &str, name: &str| json!([{"kind": "ServiceAccount",
            "serviceAccount": {"namespace": namespace, "name": name}}]);
        let extra = |mut subject: Value, key: &str| {
            subject[key] = json!({"namespace": "a", "name": "b"});
            json!([subject])
        };
        let (user, group) = (
            json!({"kind": "User", "user": {"name": "a"}}),
            json!({"kind": "Group", "group": {"name": "a"}}),
        );
        let path = "spec.rules[0].subjects";
        let table: Vec<(Value, String)> = vec![
            (json!([]), format!("{path}: Required value: subjects must contain at least one value")),
            (of(json!({"kind": "Robot"})), format!(r#"{path}[0].kind: Unsupported value: "Robot": supported values: "Group", "ServiceAccount", "User""#)),
            (of(json!({"kind": "User"})), format!("{path}[0].user: Required value: user is required when subject kind is 'User'")),
            (of(json!({"kind": "Group"})), format!("{path}[0].group: Required value: group is required when subject kind is 'Group'")),
            (of(json!({"kind": "ServiceAccount"})), format!("{path}[0].serviceAccount: Required value: serviceAccount is required when subject kind is 'ServiceAccount'")),
            (of(json!({"kind": "User", "user": {"name": ""}})), format!("{path}[0].user.name: Required value")),
            (of(json!({"kind": "Group", "group": {"name": ""}})), format!("{path}[0].group.name: Required value")),
            (account("a", ""), format!("{path}[0].serviceAccount.name: Required value")),
            (account("a", "+"), format!("{path}[0].serviceAccount.name: Invalid value: \"+\": {SUBDOMAIN}")),
            (account("", "a"), format!("{path}[0].serviceAccount.namespace: Required value: must specify namespace for service account")),
            (account("+", "*"), format!("{path}[0].serviceAccount.namespace: Invalid value: \"+\": {LABEL}")),
            (extra(user.clone(), "group"), format!("{path}[0].group: Forbidden: group is forbidden when subject kind is not 'Group'")),
            (extra(user, "serviceAccount"), format!("{path}[0].serviceAccount: Forbidden: serviceAccount is forbidden when subject kind is not 'ServiceAccount'")),
            (extra(group, "user"), format!("{path}[0].user: Forbidden: user is forbidden when subject kind is not 'User'")),
        ];
        for (subjects, expected) in table {
            let found = problems::<FlowSchemas>(schema("/spec/rules/0/subjects", subjects));
            assert_eq!(found, [expected]);
        }
        let mut empty = schema("/spec/rules/0/resourceRules", json!([]));
        empty["spec"]["rules"][0]["nonResourceRules"] = json!([]);
        assert_eq!(
            problems::<FlowSchemas>(empty),
            ["spec.rules[0]: Required value: at least one of resourceRules and nonResourceRules has to be non-empty"]
        );
    }

    #[test]
    fn resource_rules_are_checked() {
        let path = "spec.rules[0].resourceRules[0]";
        for (field, value, expected) in [
            ("verbs", json!([]), "Required value: verbs must contain at least one value".to_owned()),
            ("verbs", json!(["*", "get"]), r#"Invalid value: ["*","get"]: if '*' is present, must not specify other verbs"#.to_owned()),
            ("verbs", json!(["get", "fly"]), format!(r#"Unsupported value: ["get","fly"]: {VERBS}"#)),
            ("apiGroups", json!([]), "Required value: resource rules must supply at least one api group".to_owned()),
            ("apiGroups", json!(["a", "*"]), r#"Invalid value: ["a","*"]: if '*' is present, must not specify other api groups"#.to_owned()),
            ("resources", json!([]), "Required value: resource rules must supply at least one resource".to_owned()),
            ("resources", json!(["*", "a"]), r#"Invalid value: ["*","a"]: if '*' is present, must not specify other resources"#.to_owned()),
            ("namespaces", json!([]), "Required value: resource rules that are not cluster scoped must supply at least one namespace".to_owned()),
            ("namespaces", json!(["*", "a"]), r#"Invalid value: ["*","a"]: if '*' is present, must not specify other namespaces"#.to_owned()),
        ] {
            let at = format!("/spec/rules/0/resourceRules/0/{field}");
            assert_eq!(problems::<FlowSchemas>(schema(&at, value)), [format!("{path}.{field}: {expected}")]);
        }
        let names = schema("/spec/rules/0/resourceRules/0/namespaces", json!(["a", "-b"]));
        assert_eq!(
            problems::<FlowSchemas>(names),
            [format!("{path}.namespaces[1]: Invalid value: \"-b\": each member of this list must be '*' or a DNS-1123 label; {LABEL}")]
        );
    }

    #[test]
    fn paths_are_checked() {
        let path = "spec.rules[0].nonResourceRules[0].nonResourceURLs";
        let at = "/spec/rules/0/nonResourceRules/0/nonResourceURLs";
        for (value, expected) in [
            (json!([]), format!("{path}: Required value: nonResourceURLs must contain at least one value")),
            (json!(["*", "/a"]), format!(r#"{path}: Invalid value: ["*","/a"]: if '*' is present, must not specify other non-resource URLs"#)),
            (json!([""]), format!(r#"{path}[0]: Invalid value: "": must not be empty"#)),
            (json!(["a"]), format!(r#"{path}[0]: Invalid value: "a": must start with slash"#)),
            (json!(["/a b"]), format!(r#"{path}[0]: Invalid value: "/a b": must not contain white-space"#)),
            (json!(["/a//b"]), format!(r#"{path}[0]: Invalid value: "/a//b": must not contain double slash"#)),
            (json!(["/a*"]), format!(r#"{path}[0]: Invalid value: "/a*": wildcard can only do suffix matching"#)),
            (json!(["/", "/*/*"]), format!(r#"{path}[1]: Invalid value: "/*/*": wildcard can only do suffix matching"#)),
        ] {
            assert_eq!(problems::<FlowSchemas>(schema(at, value)), [expected]);
        }
    }

    #[test]
    fn mandatory_schemas_are_fixed() {
        for name in ["exempt", "catch-all"] {
            let known = crate::fair::objects::FLOW_SCHEMAS.mandatory.iter();
            let mut known = known.filter(|known| known.metadata.name.as_deref() == Some(name));
            let mut object = json!(known.next());
            assert_eq!(problems::<FlowSchemas>(defaulted::<FlowSchemas>(object.clone())), [""; 0]);
            object["spec"]["rules"] = json!([]);
            let found = problems::<FlowSchemas>(object);
            let expected = format!("spec of '{name}' must equal the fixed value");
            assert!(found[0].starts_with("spec: Invalid value: {\"PriorityLevelConfiguration\":{\"Name\":"), "{found:?}");
            assert!(found.len() == 1 && found[0].ends_with(&expected), "{found:?}");
        }
    }

    #[test]
    fn conditions_have_a_type_each_of_its_own() {
        let object = json!({"metadata": {"name": "a"}, "spec": {"priorityLevelConfiguration":
            {"name": "a"}}, "status": {"conditions": [{"type": "A"}, {"type": "A"}, {}]}});
        assert_eq!(
            status_problems::<FlowSchemas>(&object, &object),
            [
                "status.conditions[1].type: Duplicate value: \"A\"",
                "status.conditions[2].type: Required value",
            ]
        );
    }

    #[test]
    fn the_precedence_is_filled_in_and_the_row_says_what_is_missing() {
        let object = json!({"metadata": {"name": "a", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"priorityLevelConfiguration": {"name": "b"}}});
        let object = defaulted::<FlowSchemas>(object);
        assert_eq!(object["spec"]["matchingPrecedence"], 1000);
        let cells = [json!("a"), json!("b"), json!(1000), json!("<none>"), json!("24h"), json!("?")];
        assert_eq!(row::<FlowSchemas>(&object), cells);
        let mut object = schema("/spec/matchingPrecedence", json!(0));
        object["status"] = json!({"conditions": [{"type": "Dangling", "status": "True"}]});
        let row = row::<FlowSchemas>(defaulted::<FlowSchemas>(object));
        assert_eq!((&row[2], &row[3], &row[5]), (&json!(1000), &json!("ByUser"), &json!("True")));
    }
}
