//! What an update of a pod may change: images, a deadline, more tolerations, fewer gates.
//!
//! Source: `ValidatePodUpdate` in `pkg/apis/core/validation`.

use k8s_openapi::api::core::v1::{
    Affinity, Container, NodeAffinity, NodeSelectorTerm, Pod, PodSchedulingGate, PodSpec,
    Toleration,
};
use serde::Serialize;
use serde_json::Value;

use super::annotations;
use super::containers::validate_image_spacing;
use super::validation::{Errors, text};
use crate::kinds::{FieldError, names, semantic};

const SECONDS_MAX: i64 = i32::MAX as i64;
const CHANGEABLE: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// All problems of an update.
pub fn validate(new: &Pod, old: &Pod) -> Errors {
    let mut errors = Errors::new();
    annotations::validate_update(&new.metadata, &old.metadata, &mut errors);
    if new.spec == old.spec {
        return errors;
    }
    let none = PodSpec::default();
    let (new, old) = (new.spec.as_ref().unwrap_or(&none), old.spec.as_ref().unwrap_or(&none));
    // What follows compares container by container.
    if validate_spec(new, old, &mut errors).is_some() {
        validate_rest(new, old, &mut errors);
    }
    errors
}

/// Checks the changes that are allowed in part. None where the comparison cannot go on.
fn validate_spec(new: &PodSpec, old: &PodSpec, errors: &mut Errors) -> Option<()> {
    validate_containers(&new.containers, &old.containers, "spec.containers", errors)?;
    let (new_inits, old_inits) = (new.init_containers.as_deref(), old.init_containers.as_deref());
    validate_containers(
        new_inits.unwrap_or_default(),
        old_inits.unwrap_or_default(),
        "spec.initContainers",
        errors,
    )?;
    validate_deadline(new.active_deadline_seconds, old.active_deadline_seconds, errors)?;
    validate_tolerations(
        new.tolerations.as_deref().unwrap_or_default(),
        old.tolerations.as_deref().unwrap_or_default(),
        errors,
    );
    validate_gates(
        new.scheduling_gates.as_deref().unwrap_or_default(),
        old.scheduling_gates.as_deref().unwrap_or_default(),
        errors,
    );
    Some(())
}

fn validate_containers(
    new: &[Container],
    old: &[Container],
    path: &str,
    errors: &mut Errors,
) -> Option<()> {
    if new.len() != old.len() {
        let detail = "pod updates may not add or remove containers";
        errors.push(FieldError::forbidden(path, detail));
        return None;
    }
    for (index, container) in new.iter().enumerate() {
        let path = format!("{path}[{index}]");
        if text(&container.image).is_empty() {
            errors.push(FieldError::required(format!("{path}.image"), ""));
        }
        validate_image_spacing(container, &path, errors);
    }
    Some(())
}

/// A deadline may be set, and brought forward.
fn validate_deadline(new: Option<i64>, old: Option<i64>, errors: &mut Errors) -> Option<()> {
    const PATH: &str = "spec.activeDeadlineSeconds";
    match (new, old) {
        (Some(new), _) if !(0..=SECONDS_MAX).contains(&new) => {
            for detail in names::in_range(new, 0, SECONDS_MAX) {
                errors.push(FieldError::invalid(PATH, new, detail));
            }
            None
        }
        (Some(new), Some(old)) if old < new => {
            let detail = "must be less than or equal to previous value";
            errors.push(FieldError::invalid(PATH, new, detail));
            None
        }
        (None, Some(_)) => {
            let detail = "must not update from a positive integer to nil value";
            errors.push(FieldError::invalid(PATH, Value::Null, detail));
            Some(())
        }
        _ => Some(()),
    }
}

/// Tolerations may be added, and their seconds changed.
fn validate_tolerations(new: &[Toleration], old: &[Toleration], errors: &mut Errors) {
    let kept = |old: &Toleration| {
        new.iter().any(|new| {
            let seconds = new.toleration_seconds;
            *new == Toleration { toleration_seconds: seconds, ..old.clone() }
        })
    };
    if !old.iter().all(kept) {
        let detail = "existing toleration can not be modified except its tolerationSeconds";
        errors.push(FieldError::forbidden("spec.tolerations", detail));
    }
}

fn validate_gates(new: &[PodSchedulingGate], old: &[PodSchedulingGate], errors: &mut Errors) {
    for (index, gate) in new.iter().enumerate().filter(|(_, gate)| !old.contains(gate)) {
        let detail =
            format!("only deletion is allowed, but found new scheduling gate '{}'", gate.name);
        let path = format!("spec.schedulingGates[{index}].name");
        errors.push(FieldError::forbidden(path, detail));
    }
}

/// With all that may change put back, nothing else has changed.
fn validate_rest(new: &PodSpec, old: &PodSpec, errors: &mut Errors) {
    let mut rest = new.clone();
    put_back(&mut rest, old);
    if old.scheduling_gates.as_ref().is_some_and(|gates| !gates.is_empty()) {
        put_back_of_gated(&mut rest, old, errors);
    }
    if rest == *old {
        return;
    }
    let (rest, old) = (to_value(&rest), to_value(old));
    if !semantic::equal(&rest, &old) {
        let differences = semantic::differences(&old, &rest, "spec");
        let detail = format!("{CHANGEABLE}\n{differences}");
        errors.push(FieldError::forbidden("spec", detail));
    }
}

fn put_back(rest: &mut PodSpec, old: &PodSpec) {
    let inits = rest.init_containers.iter_mut().flatten();
    for (new, old) in inits.zip(old.init_containers.iter().flatten()) {
        new.image.clone_from(&old.image);
    }
    for (new, old) in rest.containers.iter_mut().zip(&old.containers) {
        new.image.clone_from(&old.image);
    }
    rest.active_deadline_seconds = old.active_deadline_seconds;
    rest.scheduling_gates.clone_from(&old.scheduling_gates);
    rest.tolerations.clone_from(&old.tolerations);
    let was_negative = old.termination_grace_period_seconds.is_some_and(|seconds| seconds < 0);
    if was_negative && rest.termination_grace_period_seconds == Some(1) {
        rest.termination_grace_period_seconds = old.termination_grace_period_seconds;
    }
}

/// While a pod is gated, where it may run can be narrowed.
fn put_back_of_gated(rest: &mut PodSpec, old: &PodSpec, errors: &mut Errors) {
    let given = &rest.node_selector;
    let has = |key, value| given.as_ref().is_some_and(|given| given.get(key) == Some(value));
    if old.node_selector.iter().flatten().any(|(key, value)| !has(key, value)) {
        let detail = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
        errors.push(FieldError::invalid("spec.nodeSelector", to_value(given), detail));
    }
    rest.node_selector.clone_from(&old.node_selector);
    let nodes =
        |affinity: &Option<Affinity>| affinity.as_ref().and_then(|a| a.node_affinity.clone());
    let (given, before) = (nodes(&rest.affinity), nodes(&old.affinity));
    if given == before {
        return;
    }
    validate_narrowing(given.as_ref(), before.as_ref(), errors);
    let affinity = rest.affinity.get_or_insert_default();
    affinity.node_affinity = before;
    if *affinity == Affinity::default() && old.affinity.is_none() {
        rest.affinity = None;
    }
}

fn validate_narrowing(new: Option<&NodeAffinity>, old: Option<&NodeAffinity>, errors: &mut Errors) {
    const PATH: &str = "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms";
    let terms = |affinity: Option<&NodeAffinity>| -> Vec<NodeSelectorTerm> {
        let required =
            affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
        required.map(|required| required.node_selector_terms.clone()).unwrap_or_default()
    };
    let (new, old) = (terms(new), terms(old));
    if old.is_empty() {
        return;
    }
    if new.len() != old.len() {
        let detail = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        let value = if new.is_empty() { Value::Null } else { to_value(&new) };
        return errors.push(FieldError::invalid(PATH, value, detail));
    }
    for (index, (new, old)) in new.iter().zip(&old).enumerate() {
        if !only_adds(new, old) {
            let detail = "only additions are allowed (no mutations or deletions)";
            errors.push(FieldError::invalid(format!("{PATH}[{index}]"), to_value(new), detail));
        }
    }
}

/// Requirements are joined by "and", so one more narrows; but a term without any picks nothing.
fn only_adds(new: &NodeSelectorTerm, old: &NodeSelectorTerm) -> bool {
    let lists = |term: &NodeSelectorTerm| {
        (
            term.match_expressions.clone().unwrap_or_default(),
            term.match_fields.clone().unwrap_or_default(),
        )
    };
    let ((new_labels, new_fields), (old_labels, old_fields)) = (lists(new), lists(old));
    if old_labels.is_empty() && old_fields.is_empty() {
        return new_labels.is_empty() && new_fields.is_empty();
    }
    new_labels.starts_with(&old_labels) && new_fields.starts_with(&old_fields)
}

pub fn to_value(value: &impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::Pods;
    use super::CHANGEABLE;
    use crate::kinds::testing::{defaulted, update_problems};
    use serde_json::{Value, json};

    fn pod(spec: Value) -> Value {
        let mut pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
            "spec": {"containers": [{"name": "a", "image": "web:1"}]},
        });
        for (field, value) in spec.as_object().unwrap() {
            pod["spec"][field] = value.clone();
        }
        defaulted::<Pods>(pod)
    }

    fn problems(old: Value, new: Value) -> Vec<String> {
        update_problems::<Pods>(&pod(new), &pod(old))
    }

    #[test]
    fn some_fields_may_change() {
        let images = |image: &str| {
            json!({
                "containers": [{"name": "a", "image": image, "imagePullPolicy": "Always"}],
                "initContainers": [{"name": "i", "image": image, "imagePullPolicy": "Always"}],
            })
        };
        let toleration = json!({"key": "a", "operator": "Exists", "effect": "NoExecute"});
        let sooner = json!({"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5});
        let cases = [
            (images("web:1"), images("web:2")),
            (json!({}), json!({"activeDeadlineSeconds": 10})),
            (json!({"activeDeadlineSeconds": 10}), json!({"activeDeadlineSeconds": 5})),
            (
                json!({"tolerations": [toleration]}),
                json!({"tolerations": [{"operator": "Exists"}, sooner]}),
            ),
            (
                json!({"terminationGracePeriodSeconds": -1}),
                json!({"terminationGracePeriodSeconds": 1}),
            ),
            (json!({"schedulingGates": [{"name": "a.io/b"}]}), json!({})),
            (
                json!({"schedulingGates": [{"name": "a.io/b"}]}),
                json!({"schedulingGates": [{"name": "a.io/b"}], "nodeSelector": {"a": "b"}}),
            ),
            (json!({"volumes": []}), json!({})),
        ];
        for (old, new) in cases {
            assert_eq!(problems(old.clone(), new.clone()), [""; 0], "{old} {new}");
        }
    }

    #[test]
    fn any_other_change_is_refused_with_the_difference() {
        assert_eq!(
            problems(json!({"hostname": "a"}), json!({"hostname": "b", "nodeName": "n"})),
            [format!(
                "spec: Forbidden: {CHANGEABLE}\n- spec.hostname: \"a\"\n+ spec.hostname: \"b\"\n+ spec.nodeName: \"n\""
            )]
        );
    }

    #[test]
    fn forbidden_moves_are_told() {
        let container = |name: &str| json!({"name": name, "image": "web:1"});
        let cases = [
            (
                json!({}),
                json!({"containers": [container("a"), container("b")]}),
                "spec.containers: Forbidden: pod updates may not add or remove containers",
            ),
            (
                json!({"activeDeadlineSeconds": 5}),
                json!({"activeDeadlineSeconds": 10}),
                "spec.activeDeadlineSeconds: Invalid value: 10: must be less than or equal to previous value",
            ),
            (
                json!({"activeDeadlineSeconds": 5}),
                json!({}),
                "spec.activeDeadlineSeconds: Invalid value: null: must not update from a positive integer to nil value",
            ),
            (
                json!({"tolerations": [{"operator": "Exists"}]}),
                json!({}),
                "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds",
            ),
            (
                json!({}),
                json!({"schedulingGates": [{"name": "a.io/b"}]}),
                "spec.schedulingGates[0].name: Forbidden: only deletion is allowed, but found new scheduling gate 'a.io/b'",
            ),
            (
                json!({"schedulingGates": [{"name": "a.io/b"}], "nodeSelector": {"a": "b"}}),
                json!({"schedulingGates": [{"name": "a.io/b"}]}),
                "spec.nodeSelector: Invalid value: null: only additions to spec.nodeSelector are allowed (no mutations or deletions)",
            ),
        ];
        for (old, new, problem) in cases {
            assert_eq!(problems(old, new), [problem]);
        }
    }

    #[test]
    fn a_mirror_pod_stays_one() {
        let mut new = pod(json!({"nodeName": "n"}));
        let old = new.clone();
        new["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
        assert_eq!(
            update_problems::<Pods>(&new, &old),
            [
                "metadata.annotations[kubernetes.io/config.mirror]: Forbidden: may not add mirror pod annotation"
            ]
        );
    }
}
