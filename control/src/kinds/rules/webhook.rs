//! Webhooks of admission: what those that change and those that only judge share.
//!
//! Source: `pkg/apis/admissionregistration/{validation/validation.go,v1/defaults.go}`.

use k8s_openapi::api::admissionregistration::v1::{
    MatchCondition, RuleWithOperations, WebhookClientConfig,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::admission_match::{
    self as matching, FAILURE_POLICIES, MATCH_POLICIES, REINVOCATION_POLICIES,
};
use super::webhook_client::{self, Service};
use crate::kinds::{Column, FieldError, names, selector};

const TIMEOUT_SECONDS: i32 = 10;
const TIMEOUT_SECONDS_MAX: i32 = 30;

pub const WEBHOOKS: Column = Column::new("Webhooks", "integer", 0, "How many webhooks there are.");

/// A webhook of either kind.
pub struct Webhook<'a> {
    pub name: &'a str,
    pub client: &'a WebhookClientConfig,
    pub rules: Option<&'a [RuleWithOperations]>,
    pub conditions: Option<&'a [MatchCondition]>,
    pub failure_policy: Option<&'a str>,
    pub match_policy: Option<&'a str>,
    pub reinvocation_policy: Option<&'a str>,
    pub side_effects: &'a str,
    pub timeout_seconds: Option<i32>,
    pub namespaces: Option<&'a LabelSelector>,
    pub objects: Option<&'a LabelSelector>,
    pub versions: &'a [String],
}

/// A webhook's fields that have defaults.
pub struct Defaulted<'a> {
    pub client: &'a mut WebhookClientConfig,
    pub rules: &'a mut Option<Vec<RuleWithOperations>>,
    pub failure_policy: &'a mut Option<String>,
    pub match_policy: &'a mut Option<String>,
    pub timeout_seconds: &'a mut Option<i32>,
    pub namespaces: &'a mut Option<LabelSelector>,
    pub objects: &'a mut Option<LabelSelector>,
}

pub fn default(hook: Defaulted<'_>) {
    hook.failure_policy.get_or_insert_with(|| "Fail".to_owned());
    hook.match_policy.get_or_insert_with(|| "Equivalent".to_owned());
    hook.namespaces.get_or_insert_default();
    hook.objects.get_or_insert_default();
    hook.timeout_seconds.get_or_insert(TIMEOUT_SECONDS);
    hook.rules.iter_mut().flatten().for_each(matching::default_rule);
    if let Some(service) = &mut hook.client.service {
        service.port.get_or_insert(443);
    }
}

/// All problems of a configuration's webhooks.
pub fn validate_all(hooks: &[Webhook<'_>]) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (index, hook) in hooks.iter().enumerate() {
        let path = format!("webhooks[{index}]");
        errors.extend(validate(hook, &path));
        errors.extend(validate_versions(hook.versions, &format!("{path}.admissionReviewVersions")));
        let is_doubled = hooks[..index].iter().any(|earlier| earlier.name == hook.name);
        if is_doubled && !hook.name.is_empty() {
            errors.push(FieldError::duplicate(format!("{path}.name"), hook.name));
        }
    }
    errors
}

fn validate(hook: &Webhook<'_>, path: &str) -> Vec<FieldError> {
    const SIDE_EFFECTS: &[&str] = &["None", "NoneOnDryRun"];
    let field = |name: &str| format!("{path}.{name}");
    let mut errors: Vec<FieldError> = validate_name(hook.name, field("name")).into_iter().collect();
    for (index, rule) in hook.rules.unwrap_or_default().iter().enumerate() {
        errors.extend(matching::validate_rule(rule, &format!("{path}.rules[{index}]")));
    }
    for (value, supported, name) in [
        (hook.failure_policy, FAILURE_POLICIES, "failurePolicy"),
        (hook.match_policy, MATCH_POLICIES, "matchPolicy"),
    ] {
        errors.extend(matching::one_of(value, supported, field(name)));
    }
    if hook.side_effects.is_empty() {
        let why = format!("must specify one of {}", SIDE_EFFECTS.join(", "));
        errors.push(FieldError::required(field("sideEffects"), why));
    } else {
        errors.extend(matching::one_of(
            Some(hook.side_effects),
            SIDE_EFFECTS,
            field("sideEffects"),
        ));
    }
    let wrong = hook.timeout_seconds.filter(|it| !(1..=TIMEOUT_SECONDS_MAX).contains(it));
    if let Some(seconds) = wrong {
        let why = "the timeout value must be between 1 and 30 seconds";
        errors.push(FieldError::invalid(field("timeoutSeconds"), seconds, why));
    }
    for (selector, name) in
        [(hook.namespaces, "namespaceSelector"), (hook.objects, "objectSelector")]
    {
        let problems = selector.map(|selector| selector::validate(selector, &field(name)));
        errors.extend(problems.unwrap_or_default());
    }
    let reinvocation = field("reinvocationPolicy");
    errors.extend(matching::one_of(hook.reinvocation_policy, REINVOCATION_POLICIES, reinvocation));
    let service = hook.client.service.as_ref().map(|service| Service {
        namespace: &service.namespace,
        name: &service.name,
        path: service.path.as_deref(),
        port: service.port,
    });
    let link = hook.client.url.as_deref();
    errors.extend(webhook_client::validate(link, service.as_ref(), &field("clientConfig")));
    let path = field("matchConditions");
    errors.extend(matching::validate_conditions(hook.conditions, false, &path));
    errors
}

/// A domain of at least three segments.
fn validate_name(name: &str, path: String) -> Option<FieldError> {
    if name.is_empty() {
        return Some(FieldError::required(path, ""));
    }
    let problems = names::subdomain(name);
    if !problems.is_empty() {
        return Some(FieldError::invalid(path, name, problems.join(",")));
    }
    let why = "should be a domain with at least three segments separated by dots";
    (name.split('.').count() < 3).then(|| FieldError::invalid(path, name, why))
}

fn validate_versions(versions: &[String], path: &str) -> Vec<FieldError> {
    const ACCEPTED: [&str; 2] = ["v1", "v1beta1"];
    if versions.is_empty() {
        let why = format!("must specify one of {}", ACCEPTED.join(", "));
        return vec![FieldError::required(path, why)];
    }
    let mut errors = Vec::new();
    for (index, version) in versions.iter().enumerate() {
        let path = format!("{path}[{index}]");
        if versions[..index].contains(version) {
            errors.push(FieldError::invalid(path, version.as_str(), "duplicate version"));
            continue;
        }
        let problems = names::label_1035(version);
        errors.extend(
            problems.into_iter().map(|why| FieldError::invalid(&path, version.as_str(), why)),
        );
    }
    if !versions.iter().any(|version| ACCEPTED.contains(&version.as_str())) {
        let why = format!("must include at least one of {}", ACCEPTED.join(", "));
        errors.push(FieldError::invalid(path, versions.to_vec(), why));
    }
    errors
}
