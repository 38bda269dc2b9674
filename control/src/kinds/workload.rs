//! What workloads share: selectors over a template, replica counts, cells.
//!
//! Source: `pkg/apis/apps/validation/validation.go`, `pkg/printers/internalversion/printers.go`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{
    LabelSelector, LabelSelectorRequirement, ObjectMeta,
};
use serde_json::Value;

use super::formats::nonnegative;
use super::{Column, FieldError, meta, pod, selector, warn};

/// What a cell says of nothing.
pub const NONE: &str = "<none>";
const TEMPLATE: &str = "spec.template";
const SELECTOR_PATH: &str = "spec.selector";

pub const CONTAINERS: Column =
    Column::new("Containers", "string", 1, "The names of the template's containers.");
pub const IMAGES: Column =
    Column::new("Images", "string", 1, "The images of the template's containers.");
pub const SELECTOR: Column =
    Column::new("Selector", "string", 1, "Which pods belong to the object, by their labels.");

/// The columns of what keeps a number of equal pods.
pub const REPLICAS: &[Column] = &[
    Column::NAME,
    Column::new("Desired", "integer", 0, "How many pods are wanted."),
    Column::new("Current", "integer", 0, "How many pods there are."),
    Column::new("Ready", "integer", 0, "How many pods are ready."),
    Column::AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

/// Where the selector stands.
pub const SELECTOR_POINTER: &str = "/spec/selector";

/// Marks a selector without terms as given, which its type cannot tell from an absent one: its
/// (empty) labels are there.
pub fn note_selector(selector: Option<&mut LabelSelector>, given: &Value) {
    let Some(selector) = selector else { return };
    if selector::is_empty(selector) && given.is_object() {
        selector.match_labels = Some(BTreeMap::new());
    }
}

fn is_absent(selector: &LabelSelector) -> bool {
    selector.match_labels.is_none() && selector::is_empty(selector)
}

fn selector_value(selector: &LabelSelector) -> Value {
    match selector::is_empty(selector) {
        true if is_absent(selector) => Value::Null,
        true => serde_json::json!({}),
        false => serde_json::to_value(selector).unwrap_or_default(),
    }
}

/// All problems of `spec.selector`. `of`: the kind that upstream names.
pub fn validate_selector(selector: &LabelSelector, of: &str) -> Vec<FieldError> {
    if is_absent(selector) {
        return vec![FieldError::required(SELECTOR_PATH, "")];
    }
    let mut errors = selector::validate(selector, SELECTOR_PATH);
    errors.extend(validate_not_empty(selector, of));
    errors
}

/// Refuses a selector that is given and picks everything.
pub fn validate_not_empty(selector: &LabelSelector, of: &str) -> Option<FieldError> {
    if is_absent(selector) || !selector::is_empty(selector) {
        return None;
    }
    let why = format!("empty selector is invalid for {of}");
    Some(FieldError::invalid(SELECTOR_PATH, selector_value(selector), why))
}

/// All problems of `spec.template` of a Deployment or a ReplicaSet.
pub fn validate_template(template: &PodTemplateSpec, selector: &LabelSelector) -> Vec<FieldError> {
    validate_selected(template, selector, "invalid label selector", || {
        let mut errors = pod::template::validate(template, TEMPLATE);
        errors.extend(validate_lasting(template, "ReplicaSet"));
        errors
    })
}

/// All problems of a template that `judge` finds, and whether the selector picks it. With a selector
/// that cannot be used (`unusable`: what is said of it) the template is not looked at.
pub fn validate_selected(
    template: &PodTemplateSpec,
    selector: &LabelSelector,
    unusable: &str,
    judge: impl FnOnce() -> Vec<FieldError>,
) -> Vec<FieldError> {
    if !selector::is_sound(selector) {
        return vec![FieldError::invalid(SELECTOR_PATH, selector_value(selector), unusable)];
    }
    let mut errors = validate_match(template, selector);
    errors.extend(judge());
    errors
}

/// Refuses a template whose pods the selector does not pick. One that cannot be used is refused
/// elsewhere.
pub fn validate_match(template: &PodTemplateSpec, selector: &LabelSelector) -> Vec<FieldError> {
    let given = (!is_absent(selector)).then_some(selector);
    let picks = selector::matches_optional(given, template_labels(template));
    if picks || !selector::is_sound(selector) { Vec::new() } else { vec![unmatched(template)] }
}

pub fn unmatched(template: &PodTemplateSpec) -> FieldError {
    FieldError::invalid(
        format!("{TEMPLATE}.metadata.labels"),
        template_labels(template)
            .map_or(Value::Null, |labels| labels.clone().into_iter().collect()),
        "`selector` does not match template `labels`",
    )
}

pub fn template_labels(template: &PodTemplateSpec) -> Option<&BTreeMap<String, String>> {
    template.metadata.as_ref().and_then(|metadata| metadata.labels.as_ref())
}

/// Refuses a template whose pods may end: those of `kind` always restart.
pub fn validate_lasting(template: &PodTemplateSpec, kind: &str) -> Vec<FieldError> {
    const PATH: &str = TEMPLATE;
    let mut errors = Vec::new();
    let spec = template.spec.as_ref();
    let restart = spec.and_then(|spec| spec.restart_policy.as_deref()).unwrap_or_default();
    if restart != "Always" {
        let path = format!("{PATH}.spec.restartPolicy");
        errors.push(FieldError::not_supported(path, restart, &["Always"]));
    }
    if spec.is_some_and(|spec| spec.active_deadline_seconds.is_some()) {
        errors.push(FieldError::forbidden(
            format!("{PATH}.spec.activeDeadlineSeconds"),
            format!("activeDeadlineSeconds in {kind} is not Supported"),
        ));
    }
    errors
}

/// The warnings of a workload whose template this is: of a new one, and of one that changed.
pub fn warnings(
    metadata: &ObjectMeta,
    old: Option<&ObjectMeta>,
    template: Option<&PodTemplateSpec>,
) -> Vec<String> {
    let mut warnings = Vec::new();
    match old {
        Some(old) if old.generation == metadata.generation => return warnings,
        Some(_) => {}
        None => {
            let name = metadata.name.as_deref();
            warnings.extend(warn::hostname(name, "Pod names and hostnames"));
        }
    }
    warnings
        .extend(template.into_iter().flat_map(|it| pod::template::warnings(it, "spec.template")));
    warnings
}

/// The error of a `spec.selector` that changed.
pub fn validate_selector_update(new: &LabelSelector, old: &LabelSelector) -> Vec<FieldError> {
    meta::immutable(&selector_value(new), &selector_value(old), SELECTOR_PATH).into_iter().collect()
}

/// The error of a count of collisions that went down.
pub fn validate_collisions(new: Option<i32>, old: Option<i32>) -> Option<FieldError> {
    // An absent count is less than any: `None` comes first in the order of options.
    let count = new.unwrap_or(0);
    (new < old)
        .then(|| FieldError::invalid("status.collisionCount", count, "cannot be decremented"))
}

/// The counts in a status that each may be no greater than `replicas`.
pub struct Counts<'a> {
    pub replicas: i32,
    /// With their field names, in upstream's order.
    pub parts: &'a [(&'a str, Option<i32>)],
    pub ready: Option<i32>,
    pub available: Option<i32>,
}

/// Problems of the counts' relations; whether they are negative is checked apart.
pub fn validate_counts(counts: &Counts<'_>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (name, count) in counts.parts {
        let count = count.unwrap_or(0);
        if count > counts.replicas {
            let why = "cannot be greater than status.replicas";
            errors.push(FieldError::invalid(format!("status.{name}"), count, why));
        }
    }
    let available = counts.available.unwrap_or(0);
    if available > counts.ready.unwrap_or(0) {
        let why = "cannot be greater than readyReplicas";
        errors.push(FieldError::invalid("status.availableReplicas", available, why));
    }
    errors
}

/// Refuses negative numbers; the fields are named with their paths.
pub fn validate_nonnegative(fields: &[(&str, Option<i64>)]) -> Vec<FieldError> {
    fields.iter().flat_map(|(path, value)| nonnegative(value.unwrap_or(0), path)).collect()
}

/// The names and the images of the containers.
pub fn container_cells(template: Option<&PodTemplateSpec>) -> [Value; 2] {
    let containers = template
        .and_then(|template| template.spec.as_ref())
        .map_or(&[][..], |spec| spec.containers.as_slice());
    let names: Vec<&str> = containers.iter().map(|container| &*container.name).collect();
    let images: Vec<&str> =
        containers.iter().map(|container| container.image.as_deref().unwrap_or_default()).collect();
    [names.join(",").into(), images.join(",").into()]
}

/// A selector as its text form: `app=web,tier in (a,b),!legacy`, sorted by key.
pub fn selector_text(selector: &LabelSelector) -> String {
    let pairs = selector.match_labels.iter().flatten();
    let mut terms: Vec<(&str, String)> =
        pairs.map(|(key, value)| (key.as_str(), format!("{key}={value}"))).collect();
    for term in selector.match_expressions.iter().flatten() {
        terms.push((&term.key, term_text(term)));
    }
    terms.sort_by_key(|(key, _)| *key);
    terms.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(",")
}

/// Pairs as their text form: `app=web,tier=front`.
pub fn pairs_text(pairs: Option<&BTreeMap<String, String>>) -> String {
    let pairs = pairs.into_iter().flatten();
    let texts: Vec<String> = pairs.map(|(key, value)| format!("{key}={value}")).collect();
    if texts.is_empty() { NONE.to_owned() } else { texts.join(",") }
}

/// A selector's cell.
pub fn selector_cell(selector: Option<&LabelSelector>) -> Value {
    match selector.map(selector_text) {
        Some(text) if !text.is_empty() => text.into(),
        Some(_) | None => NONE.into(),
    }
}

fn term_text(term: &LabelSelectorRequirement) -> String {
    let key = &term.key;
    let values = || {
        let mut values = term.values.clone().unwrap_or_default();
        values.sort();
        values.join(",")
    };
    match term.operator.as_str() {
        "In" => format!("{key} in ({})", values()),
        "NotIn" => format!("{key} notin ({})", values()),
        "Exists" => key.clone(),
        "DoesNotExist" => format!("!{key}"),
        // Validation lets no other operator in.
        _ => "<invalid>".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn selectors_print_sorted_by_key() {
        let selector = serde_json::from_value(json!({
            "matchLabels": {"tier": "web", "app": ""},
            "matchExpressions": [
                {"key": "legacy", "operator": "DoesNotExist"},
                {"key": "zone", "operator": "NotIn", "values": ["b", "a"]},
                {"key": "env", "operator": "In", "values": ["x"]},
                {"key": "b", "operator": "Exists"},
            ],
        }))
        .unwrap();
        assert_eq!(selector_text(&selector), "app=,b,env in (x),!legacy,tier=web,zone notin (a,b)");
    }
}
