//! DaemonSets. Source: `pkg/registry/apps/daemonset/strategy.go`, `pkg/apis/apps/v1/conversion.go`.

use std::collections::BTreeMap;
use std::num::IntErrorKind;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{
    DaemonSet as Object, DaemonSetSpec, DaemonSetStatus, DaemonSetUpdateStrategy,
    RollingUpdateDaemonSet,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Value, json};

use super::formats::int_or_string;
use super::rules::int_or_percent;
use super::{
    Column, Context, FieldError, Generation, Kind, KindInfo, Subresource, meta, pod, selector,
    semantic, workload,
};

const ROLLING_UPDATE: &str = "RollingUpdate";
const ON_DELETE: &str = "OnDelete";
/// Where the version of the template is told, which was a field once.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

pub struct DaemonSets;

impl Kind for DaemonSets {
    type Object = Object;
    const INFO: KindInfo = KindInfo {
        short_names: &["ds"],
        categories: &["all"],
        subresources: &[Subresource::Status],
        generation: Generation::Raised,
        not_yet: Some("no controller acts on it yet"),
        ..KindInfo::namespaced(
            "apps",
            "v1",
            "DaemonSet",
            "daemonsets",
            "daemonset",
            "io.k8s.api.apps.v1.DaemonSet",
        )
    };

    const NOTED: Option<&str> = Some(workload::SELECTOR_POINTER);

    fn note(object: &mut Object, given: &Value) -> Result<(), String> {
        workload::note_selector(object.spec.as_mut().map(|spec| &mut spec.selector), given);
        let annotations = object.metadata.annotations.as_ref();
        match annotations.and_then(|annotations| annotations.get(TEMPLATE_GENERATION)) {
            Some(text) => check_number(text),
            None => Ok(()),
        }
    }

    fn default(object: &mut Object) {
        let spec = object.spec.get_or_insert_default();
        default_strategy(spec.update_strategy.get_or_insert_default());
        spec.revision_history_limit.get_or_insert(10);
        pod::template::default(&mut spec.template);
    }

    fn prepare_create(object: &mut Object, _context: &Context<'_>) {
        object.status = Some(DaemonSetStatus::default());
        if let Some(spec) = &mut object.spec {
            pod::template::drop_disabled(&mut spec.template, None);
        }
        let generation = template_generation(object).unwrap_or(0).max(1);
        set_template_generation(object, generation);
    }

    fn prepare_update(new: &mut Object, old: &Object, _context: &Context<'_>) {
        if let Some(spec) = &mut new.spec {
            let known = old.spec.as_ref().map(|spec| &spec.template);
            pod::template::drop_disabled(&mut spec.template, known);
        }
        let known = template_generation(old).unwrap_or(0);
        let generation = known + i64::from(template_differs(new, old));
        set_template_generation(new, generation);
    }

    fn prepare_status(new: &mut Object, old: &Object, _context: &Context<'_>) {
        set_template_generation(new, template_generation(old).unwrap_or(0));
    }

    fn validate(object: &Object) -> Vec<FieldError> {
        let default = DaemonSetSpec::default();
        let spec = object.spec.as_ref().unwrap_or(&default);
        let mut errors = selector::validate(&spec.selector, "spec.selector");
        errors.extend(workload::validate_match(&spec.template, &spec.selector));
        errors.extend(workload::validate_not_empty(&spec.selector, "daemonset"));
        errors.extend(pod::template::validate(&spec.template, "spec.template"));
        errors.extend(workload::validate_lasting(&spec.template, "DaemonSet"));
        errors.extend(workload::validate_nonnegative(&[
            ("spec.minReadySeconds", spec.min_ready_seconds.map(Into::into)),
            ("spec.templateGeneration", template_generation(object)),
        ]));
        errors.extend(validate_strategy(spec.update_strategy.as_ref()));
        errors.extend(workload::validate_nonnegative(&[(
            "spec.revisionHistoryLimit",
            spec.revision_history_limit.map(Into::into),
        )]));
        errors
    }

    fn validate_update(new: &Object, old: &Object) -> Vec<FieldError> {
        match (&new.spec, &old.spec) {
            (Some(new), Some(old)) => {
                workload::validate_selector_update(&new.selector, &old.selector)
            }
            _ => Vec::new(),
        }
    }

    fn validate_status(new: &Object, old: &Object) -> Vec<FieldError> {
        let status = new.status.clone().unwrap_or_default();
        let mut errors = workload::validate_nonnegative(&[
            ("status.currentNumberScheduled", Some(status.current_number_scheduled.into())),
            ("status.numberMisscheduled", Some(status.number_misscheduled.into())),
            ("status.desiredNumberScheduled", Some(status.desired_number_scheduled.into())),
            ("status.numberReady", Some(status.number_ready.into())),
            ("status.observedGeneration", status.observed_generation),
            ("status.updatedNumberScheduled", status.updated_number_scheduled.map(Into::into)),
            ("status.numberAvailable", status.number_available.map(Into::into)),
            ("status.numberUnavailable", status.number_unavailable.map(Into::into)),
            ("status.collisionCount", status.collision_count.map(Into::into)),
        ]);
        let known = old.status.as_ref().and_then(|status| status.collision_count);
        errors.extend(workload::validate_collisions(status.collision_count, known));
        errors
    }

    /// Upstream asks for no label as the name here.
    fn warnings(new: &Object, old: Option<&Object>) -> Vec<String> {
        if old.is_some_and(|old| template_generation(old) == template_generation(new)) {
            return Vec::new();
        }
        let template = new.spec.as_ref().map(|spec| &spec.template);
        template
            .map(|template| pod::template::warnings(template, "spec.template"))
            .unwrap_or_default()
    }

    fn columns() -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::NAME,
            Column::new("Desired", "integer", 0, "How many nodes should run the pod."),
            Column::new("Current", "integer", 0, "How many of those nodes have it."),
            Column::new("Ready", "integer", 0, "How many nodes run it, ready."),
            Column::new("Up-to-date", "integer", 0, "How many nodes have the current template's."),
            Column::new("Available", "integer", 0, "How many have been ready long enough."),
            Column::new("Node Selector", "string", 0, "The labels that a node must have."),
            Column::AGE,
            workload::CONTAINERS,
            workload::IMAGES,
            workload::SELECTOR,
        ];
        COLUMNS
    }

    fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
        let spec = object.spec.clone().unwrap_or_default();
        let status = object.status.clone().unwrap_or_default();
        let [names, images] = workload::container_cells(Some(&spec.template));
        let nodes = spec.template.spec.as_ref().and_then(|spec| spec.node_selector.as_ref());
        vec![
            meta::object_name(&object.metadata),
            status.desired_number_scheduled.into(),
            status.current_number_scheduled.into(),
            status.number_ready.into(),
            status.updated_number_scheduled.unwrap_or(0).into(),
            status.number_available.unwrap_or(0).into(),
            workload::pairs_text(nodes).into(),
            meta::object_age(&object.metadata, now),
            names,
            images,
            workload::selector_cell(Some(&spec.selector)),
        ]
    }
}

/// Refuses what is no number in Go's words.
fn check_number(text: &str) -> Result<(), String> {
    let Err(error) = text.parse::<i64>() else { return Ok(()) };
    let why = match error.kind() {
        IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
        _ => "invalid syntax",
    };
    Err(format!("strconv.ParseInt: parsing {text:?}: {why}"))
}

/// The version of the template; `None` where there is none, or no number.
fn template_generation(object: &Object) -> Option<i64> {
    object.metadata.annotations.as_ref()?.get(TEMPLATE_GENERATION)?.parse().ok()
}

fn set_template_generation(object: &mut Object, generation: i64) {
    let annotations: &mut BTreeMap<_, _> = object.metadata.annotations.get_or_insert_default();
    annotations.insert(TEMPLATE_GENERATION.to_owned(), generation.to_string());
}

fn template_differs(new: &Object, old: &Object) -> bool {
    let template = |object: &Object| {
        object
            .spec
            .as_ref()
            .map(|spec| serde_json::to_value(&spec.template).unwrap_or_default())
            .unwrap_or_default()
    };
    !semantic::equal(&template(new), &template(old))
}

fn default_strategy(strategy: &mut DaemonSetUpdateStrategy) {
    if strategy.type_.as_deref().unwrap_or_default().is_empty() {
        strategy.type_ = Some(ROLLING_UPDATE.to_owned());
    }
    if strategy.type_.as_deref() == Some(ROLLING_UPDATE) {
        let rolling = strategy.rolling_update.get_or_insert_default();
        rolling.max_unavailable.get_or_insert(IntOrString::Int(1));
        rolling.max_surge.get_or_insert(IntOrString::Int(0));
    }
}

fn validate_strategy(strategy: Option<&DaemonSetUpdateStrategy>) -> Vec<FieldError> {
    const PATH: &str = "spec.updateStrategy";
    let default = DaemonSetUpdateStrategy::default();
    let strategy = strategy.unwrap_or(&default);
    match (strategy.type_.as_deref().unwrap_or_default(), &strategy.rolling_update) {
        (ON_DELETE, _) => Vec::new(),
        (ROLLING_UPDATE, None) => {
            vec![FieldError::required(format!("{PATH}.rollingUpdate"), "")]
        }
        (ROLLING_UPDATE, Some(rolling)) => validate_rolling(rolling),
        _ => vec![FieldError::not_supported(PATH, json!(strategy), &[ROLLING_UPDATE, ON_DELETE])],
    }
}

fn validate_rolling(rolling: &RollingUpdateDaemonSet) -> Vec<FieldError> {
    const UNAVAILABLE: &str = "spec.updateStrategy.rollingUpdate.maxUnavailable";
    const SURGE: &str = "spec.updateStrategy.rollingUpdate.maxSurge";
    let zero = IntOrString::Int(0);
    let unavailable = rolling.max_unavailable.as_ref().unwrap_or(&zero);
    let surge = rolling.max_surge.as_ref().unwrap_or(&zero);
    let mut errors = int_or_percent::validate(unavailable, UNAVAILABLE);
    errors.extend(int_or_percent::validate(surge, SURGE));
    errors.extend(int_or_percent::validate_at_most_all(unavailable, UNAVAILABLE));
    errors.extend(int_or_percent::validate_at_most_all(surge, SURGE));
    match (int_or_percent::amount(unavailable) != 0, int_or_percent::amount(surge) != 0) {
        (true, true) => {
            let why = "may not be set when maxUnavailable is non-zero";
            errors.push(FieldError::invalid(SURGE, int_or_string(surge), why));
        }
        (false, false) => {
            errors.push(FieldError::required(UNAVAILABLE, "cannot be 0 when maxSurge is 0"));
        }
        (true, false) | (false, true) => {}
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::{defaulted, prepared, template};

    #[test]
    fn the_templates_version_is_the_servers_to_count() {
        let mut old = defaulted::<DaemonSets>(json!({
            "metadata": {"name": "a"},
            "spec": {
                "selector": {"matchLabels": {"app": "web"}},
                "template": template(json!({"app": "web"})),
            },
        }));
        old["metadata"]["annotations"] = json!({TEMPLATE_GENERATION: "3"});
        let count = |object: &Value| object["metadata"]["annotations"][TEMPLATE_GENERATION].clone();
        let mut new = old.clone();
        new["metadata"]["annotations"] = json!({TEMPLATE_GENERATION: "9"});
        assert_eq!(count(&prepared::<DaemonSets>(new.clone(), &old)), "3");
        new["spec"]["minReadySeconds"] = json!(5);
        assert_eq!(count(&prepared::<DaemonSets>(new.clone(), &old)), "3");
        new["spec"]["template"]["spec"]["hostname"] = json!("x");
        assert_eq!(count(&prepared::<DaemonSets>(new, &old)), "4");
    }
}
