//! Which requests a webhook or a policy is asked about.
//!
//! Source: `pkg/apis/admissionregistration/{validation/validation.go,v1/defaults.go}`.

use k8s_openapi::api::admissionregistration::v1::{
    MatchCondition, MatchResources, NamedRuleWithOperations, ParamKind, ParamRef,
    RuleWithOperations,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::Value;

use crate::cel;
use crate::kinds::meta::invalid_each;
use crate::kinds::{FieldError, names, selector};

const CONDITIONS_MAX: usize = 64;
pub const FAILURE_POLICIES: &[&str] = &["Fail", "Ignore"];
pub const MATCH_POLICIES: &[&str] = &["Equivalent", "Exact"];
pub const REINVOCATION_POLICIES: &[&str] = &["IfNeeded", "Never"];
/// Names with this end belong to the server's own manifests.
const STATIC_SUFFIX: &str = ".static.k8s.io";

/// What every kind of this group is told of its name.
pub fn name_warning(name: Option<&str>) -> Option<String> {
    name.filter(|name| name.ends_with(STATIC_SUFFIX)).map(|_| {
        format!(
            "metadata.name: names ending with {STATIC_SUFFIX:?} are reserved for static manifest-based configurations and cannot be managed via the API"
        )
    })
}

/// A value among those that there are.
pub fn one_of(value: Option<&str>, supported: &[&str], path: String) -> Option<FieldError> {
    let wrong = value.filter(|value| !supported.contains(value))?;
    Some(FieldError::not_supported(path, wrong, supported))
}

/// The same where the field must be set.
pub fn required_one_of(
    value: Option<&str>,
    supported: &[&str],
    path: String,
) -> Option<FieldError> {
    match value {
        None => Some(FieldError::required(path, "")),
        value => one_of(value, supported, path),
    }
}

pub fn default_rule(rule: &mut RuleWithOperations) {
    rule.scope.get_or_insert_with(|| "*".to_owned());
}

/// What a rule says, whichever type it comes from.
struct Rule<'a> {
    operations: &'a [String],
    groups: &'a [String],
    versions: &'a [String],
    resources: &'a [String],
    scope: Option<&'a str>,
}

/// All problems of a webhook's rule.
pub fn validate_rule(rule: &RuleWithOperations, path: &str) -> Vec<FieldError> {
    Rule {
        operations: rule.operations.as_deref().unwrap_or_default(),
        groups: rule.api_groups.as_deref().unwrap_or_default(),
        versions: rule.api_versions.as_deref().unwrap_or_default(),
        resources: rule.resources.as_deref().unwrap_or_default(),
        scope: rule.scope.as_deref(),
    }
    .validate(path)
}

fn validate_named_rule(rule: &NamedRuleWithOperations, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let resource_names = rule.resource_names.as_deref().unwrap_or_default();
    for (index, name) in resource_names.iter().enumerate() {
        let path = format!("{path}.resourceNames[{index}]");
        errors.extend(invalid_each(&path, name, names::path_segment(name, false)));
        if resource_names[..index].contains(name) {
            errors.push(FieldError::duplicate(path, name.as_str()));
        }
    }
    let rule = Rule {
        operations: rule.operations.as_deref().unwrap_or_default(),
        groups: rule.api_groups.as_deref().unwrap_or_default(),
        versions: rule.api_versions.as_deref().unwrap_or_default(),
        resources: rule.resources.as_deref().unwrap_or_default(),
        scope: rule.scope.as_deref(),
    };
    errors.extend(rule.validate(path));
    errors
}

impl Rule<'_> {
    fn validate(&self, path: &str) -> Vec<FieldError> {
        const OPERATIONS: &[&str] = &["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
        const SCOPES: &[&str] = &["*", "Cluster", "Namespaced"];
        let mut errors = Vec::new();
        let field = |name: &str| format!("{path}.{name}");
        errors.extend(validate_list(self.operations, "operations", field("operations")));
        for (index, operation) in self.operations.iter().enumerate() {
            let path = format!("{path}.operations[{index}]");
            errors.extend(one_of(Some(operation), OPERATIONS, path));
        }
        errors.extend(validate_list(self.groups, "API groups", field("apiGroups")));
        errors.extend(validate_list(self.versions, "API versions", field("apiVersions")));
        for (index, version) in self.versions.iter().enumerate() {
            if version.is_empty() {
                errors.push(FieldError::required(format!("{path}.apiVersions[{index}]"), ""));
            }
        }
        errors.extend(validate_resources(self.resources, &field("resources")));
        errors.extend(one_of(self.scope, SCOPES, field("scope")));
        errors
    }
}

/// A list is not empty, and `*` stands alone in it.
fn validate_list(list: &[String], what: &str, path: String) -> Option<FieldError> {
    if list.is_empty() {
        return Some(FieldError::required(path, ""));
    }
    let is_mixed = list.len() > 1 && list.iter().any(|item| item == "*");
    let why = format!("if '*' is present, must not specify other {what}");
    is_mixed.then(|| FieldError::invalid(path, list.to_vec(), why))
}

fn validate_resources(resources: &[String], path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if resources.is_empty() {
        errors.push(FieldError::required(path, ""));
    }
    let (mut all_of, mut any_with) = (Vec::new(), Vec::new());
    // As upstream, the last one without a subresource decides.
    let mut has_plain = false;
    for (index, text) in resources.iter().enumerate() {
        let path = format!("{path}[{index}]");
        if text.is_empty() {
            errors.push(FieldError::required(path, ""));
            continue;
        }
        let Some((resource, subresource)) = text.split_once('/') else {
            has_plain = text != "*";
            continue;
        };
        if all_of.contains(&resource) {
            let why = format!("if '{resource}/*' is present, must not specify {text}");
            errors.push(FieldError::invalid(path.as_str(), text.as_str(), why));
        }
        if any_with.contains(&subresource) {
            let why = format!("if '*/{subresource}' is present, must not specify {text}");
            errors.push(FieldError::invalid(path, text.as_str(), why));
        }
        if subresource == "*" {
            all_of.push(resource);
        }
        if resource == "*" {
            any_with.push(subresource);
        }
    }
    let has = |wanted: &str| resources.iter().any(|text| text == wanted);
    if resources.len() > 1 && has("*/*") {
        let why = "if '*/*' is present, must not specify other resources";
        errors.push(FieldError::invalid(path, resources.to_vec(), why));
    }
    if has("*") && has_plain {
        let why = "if '*' is present, must not specify other resources without subresources";
        errors.push(FieldError::invalid(path, resources.to_vec(), why));
    }
    errors
}

pub fn default_resources(resources: &mut MatchResources) {
    resources.match_policy.get_or_insert_with(|| "Equivalent".to_owned());
    resources.namespace_selector.get_or_insert_default();
    resources.object_selector.get_or_insert_default();
    let rules = resources.resource_rules.iter_mut().flatten();
    for rule in rules.chain(resources.exclude_resource_rules.iter_mut().flatten()) {
        rule.scope.get_or_insert_with(|| "*".to_owned());
    }
}

/// All problems of what a policy or a binding matches.
pub fn validate_match(resources: &MatchResources, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let policy = resources.match_policy.as_deref();
    errors.extend(required_one_of(policy, MATCH_POLICIES, format!("{path}.matchPolicy")));
    for (field, selector) in [
        ("namespaceSelector", &resources.namespace_selector),
        ("objectSelector", &resources.object_selector),
    ] {
        let path = format!("{path}.{field}");
        match selector {
            None => errors.push(FieldError::required(path, "")),
            Some(selector) => errors.extend(selector::validate(selector, &path)),
        }
    }
    for (field, rules) in [
        ("resourceRules", &resources.resource_rules),
        ("excludeResourceRules", &resources.exclude_resource_rules),
    ] {
        for (index, rule) in rules.iter().flatten().enumerate() {
            errors.extend(validate_named_rule(rule, &format!("{path}.{field}[{index}]")));
        }
    }
    errors
}

/// What a policy matches: it names resources, which give its expressions their types.
pub fn validate_constraints(resources: Option<&MatchResources>) -> Vec<FieldError> {
    const PATH: &str = "spec.matchConstraints";
    let Some(resources) = resources else { return vec![FieldError::required(PATH, "")] };
    let mut errors = validate_match(resources, PATH);
    if resources.resource_rules.as_ref().is_none_or(Vec::is_empty) {
        errors.push(FieldError::required(format!("{PATH}.resourceRules"), ""));
    }
    errors
}

/// What is deleted cannot be mutated.
pub fn validate_mutable(resources: &MatchResources, path: &str) -> Vec<FieldError> {
    const OPERATIONS: &[&str] = &["*", "CONNECT", "CREATE", "UPDATE"];
    let rules = resources.resource_rules.iter().flatten();
    let operations = rules.flat_map(|rule| rule.operations.iter().flatten());
    operations
        .filter_map(|operation| {
            let path = format!("{path}.resourceRules.operations");
            one_of(Some(operation), OPERATIONS, path)
        })
        .collect()
}

/// All problems of the conditions under which a webhook or a policy is asked at all.
/// `has_params`: of a policy with parameters, which they may name.
pub fn validate_conditions(
    conditions: Option<&[MatchCondition]>,
    has_params: bool,
    path: &str,
) -> Vec<FieldError> {
    let conditions = conditions.unwrap_or_default();
    let mut errors = Vec::new();
    if conditions.len() > CONDITIONS_MAX {
        errors.push(FieldError::too_many(path, conditions.len(), CONDITIONS_MAX));
    }
    for (index, condition) in conditions.iter().enumerate() {
        let expression = format!("{path}[{index}].expression");
        let compile = |text: &str| cel::match_condition(text, has_params).map(drop);
        errors.extend(validate_expression(condition.expression.trim(), "", expression, compile));
        let (name, path) = (condition.name.as_str(), format!("{path}[{index}].name"));
        if name.is_empty() {
            errors.push(FieldError::required(path, ""));
            continue;
        }
        errors.extend(invalid_each(&path, name, names::label_key(name)));
        if conditions[..index].iter().any(|earlier| earlier.name == name) {
            errors.push(FieldError::duplicate(path, name));
        }
    }
    errors
}

/// An expression is there, and compiles. `missing`: what is said where it is not there.
pub fn validate_expression(
    expression: &str,
    missing: &str,
    path: String,
    compile: impl FnOnce(&str) -> Result<(), String>,
) -> Option<FieldError> {
    if expression.trim().is_empty() {
        return Some(FieldError::required(path, missing));
    }
    let why = compile(expression).err()?;
    Some(FieldError::invalid(path, expression, why))
}

/// All problems of the kind of a policy's parameters.
pub fn validate_param_kind(kind: &ParamKind) -> Vec<FieldError> {
    const PATH: &str = "spec.paramKind";
    let text = |field: &'_ Option<String>| field.clone().unwrap_or_default();
    let (version, kind) = (text(&kind.api_version), text(&kind.kind));
    let mut errors = validate_api_version(&version, &format!("{PATH}.apiVersion"));
    let path = format!("{PATH}.kind");
    if kind.is_empty() {
        errors.push(FieldError::required(path, ""));
        return errors;
    }
    let problems = names::label_1035(&kind.to_lowercase());
    if !problems.is_empty() {
        let why =
            format!("may have mixed case, but should otherwise match: {}", problems.join(","));
        errors.push(FieldError::invalid(path, kind, why));
    }
    errors
}

fn validate_api_version(text: &str, path: &str) -> Vec<FieldError> {
    if text.is_empty() {
        return vec![FieldError::required(path, "")];
    }
    let (group, version) = match text.matches('/').count() {
        _ if text == "/" => ("", ""),
        0 => ("", text),
        1 => text.split_once('/').unwrap_or_default(),
        _ => {
            let why = format!("unexpected GroupVersion string: {text}");
            return vec![FieldError::invalid(path, text, why)];
        }
    };
    let mut errors = Vec::new();
    let mut judge = |value: &str, problems: Vec<String>| {
        if !problems.is_empty() {
            errors.push(FieldError::invalid(path, value, problems.join(",")));
        }
    };
    if !group.is_empty() {
        judge(group, names::subdomain(group));
    }
    if version.is_empty() {
        judge(text, vec!["version must be specified".to_owned()]);
    } else {
        judge(version, names::label_1035(version));
    }
    errors
}

/// All problems of which parameters a binding takes.
pub fn validate_param_ref(reference: &ParamRef) -> Vec<FieldError> {
    const PATH: &str = "spec.paramRef";
    const ACTIONS: &[&str] = &["Deny", "Allow"];
    const EXCLUSIVE: &str = "name and selector are mutually exclusive";
    let field = |name: &str| format!("{PATH}.{name}");
    let name = reference.name.as_deref().unwrap_or_default();
    let mut errors = Vec::new();
    if !name.is_empty() {
        errors.extend(invalid_each(&field("name"), name, names::path_segment(name, false)));
        if reference.selector.is_some() {
            errors.push(FieldError::forbidden(field("name"), EXCLUSIVE));
        }
    }
    if let Some(selector) = &reference.selector {
        errors.extend(selector::validate(selector, &field("selector")));
        if !name.is_empty() {
            errors.push(FieldError::forbidden(field("selector"), EXCLUSIVE));
        }
    }
    if name.is_empty() && reference.selector.is_none() {
        errors.push(FieldError::required(PATH, "one of name or selector must be specified"));
    }
    let action = reference.parameter_not_found_action.as_deref().filter(|it| !it.is_empty());
    errors.extend(required_one_of(action, ACTIONS, field("parameterNotFoundAction")));
    errors
}

/// The name of the policy that a binding is for.
pub fn validate_policy_name(name: &str) -> Vec<FieldError> {
    const PATH: &str = "spec.policyName";
    if name.is_empty() {
        return vec![FieldError::required(PATH, "")];
    }
    invalid_each(PATH, name, names::subdomain(name))
}

/// The cell of the kind of a policy's parameters.
pub fn param_kind_cell(kind: Option<&ParamKind>) -> Value {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    match kind {
        Some(kind) => format!("{}/{}", text(&kind.api_version), text(&kind.kind)).into(),
        None => "<unset>".into(),
    }
}

/// The cell of a binding's parameters.
pub fn param_ref_cell(reference: Option<&ParamRef>) -> Value {
    let Some(reference) = reference else { return "<unset>".into() };
    let name = reference.name.as_deref().unwrap_or_default();
    let namespace = reference.namespace.as_deref().unwrap_or_default();
    match (name, namespace, &reference.selector) {
        ("", _, Some(selector)) => go_text(selector).into(),
        ("", _, None) => "<unset>".into(),
        (name, "", _) => format!("*/{name}").into(),
        (name, namespace, _) => format!("{namespace}/{name}").into(),
    }
}

/// A selector as Go's generated `String` writes it.
fn go_text(selector: &LabelSelector) -> String {
    let labels = selector.match_labels.iter().flatten();
    let labels: String = labels.map(|(key, value)| format!("{key}: {value},")).collect();
    let terms = selector.match_expressions.iter().flatten();
    let terms: String = terms
        .map(|term| {
            let values = term.values.as_deref().unwrap_or_default().join(" ");
            format!(
                "LabelSelectorRequirement{{Key:{},Operator:{},Values:[{values}],}},",
                term.key, term.operator
            )
        })
        .collect();
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{labels}}},MatchExpressions:[]LabelSelectorRequirement{{{terms}}},}}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn wildcards_of_resources_stand_alone() {
        let problems = |list: &[&str]| {
            let list: Vec<String> = list.iter().map(|item| (*item).to_owned()).collect();
            validate_resources(&list, "r").iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let none: [String; 0] = [];
        for good in [&["*"] as &[_], &["*/*"], &["pods", "pods/log"], &["*", "*/scale"]] {
            assert_eq!(problems(good), none, "{good:?}");
        }
        assert_eq!(problems(&[]), ["r: Required value"]);
        assert_eq!(
            problems(&["pods/*", "pods/log"]),
            [
                "r[1]: Invalid value: \"pods/log\": if 'pods/*' is present, must not specify pods/log"
            ]
        );
        assert_eq!(
            problems(&["*/log", "pods/log"]),
            ["r[1]: Invalid value: \"pods/log\": if '*/log' is present, must not specify pods/log"]
        );
        assert_eq!(
            problems(&["*/*", "pods"]),
            [
                "r: Invalid value: [\"*/*\",\"pods\"]: if '*/*' is present, must not specify other resources"
            ]
        );
        assert_eq!(
            problems(&["*", "pods"]),
            [
                "r: Invalid value: [\"*\",\"pods\"]: if '*' is present, must not specify other resources without subresources"
            ]
        );
    }

    #[test]
    fn parameters_are_shown_by_name_or_selector() {
        let cell = |value: Value| {
            let reference: ParamRef = serde_json::from_value(value).expect("it decodes");
            param_ref_cell(Some(&reference))
        };
        assert_eq!(cell(json!({"name": "a"})), "*/a");
        assert_eq!(cell(json!({"name": "a", "namespace": "b"})), "b/a");
        assert_eq!(
            cell(json!({"selector": {"matchLabels": {"a": "b"}}})),
            "&LabelSelector{MatchLabels:map[string]string{a: b,},MatchExpressions:[]LabelSelectorRequirement{},}"
        );
        assert_eq!(param_ref_cell(None), "<unset>");
    }

    #[test]
    fn versions_of_parameters_are_a_group_and_a_version() {
        let count = |text: &str| validate_api_version(text, "p").len();
        for (text, problems) in
            [("v1", 0), ("a.b/v1", 0), ("", 1), ("/", 1), ("a/b/c", 1), ("A/1", 2), ("a/", 1)]
        {
            assert_eq!(count(text), problems, "{text}");
        }
    }
}
