//! Deployments. Source: `pkg/registry/apps/deployment/strategy.go`.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{
    Deployment as Object, DeploymentSpec, DeploymentStatus, DeploymentStrategy,
    RollingUpdateDeployment,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

use super::config_map::differ;
use super::formats::{int_or_string, nonnegative};
use super::rules::int_or_percent;
use super::workload::{self, Counts};
use super::{Column, Context, FieldError, Generation, Kind, KindInfo, Subresource, meta, pod};

const RECREATE: &str = "Recreate";
const ROLLING_UPDATE: &str = "RollingUpdate";

pub struct Deployments;

impl Kind for Deployments {
    type Object = Object;
    const INFO: KindInfo = KindInfo {
        short_names: &["deploy"],
        categories: &["all"],
        subresources: &[Subresource::Status, Subresource::Scale],
        generation: Generation::Raised,
        fixed_by_status: &["labels"],
        ..KindInfo::namespaced(
            "apps",
            "v1",
            "Deployment",
            "deployments",
            "deployment",
            "io.k8s.api.apps.v1.Deployment",
        )
    };

    const NOTED: Option<&str> = Some(workload::SELECTOR_POINTER);

    fn note(object: &mut Object, given: &Value) -> Result<(), String> {
        workload::note_selector(object.spec.as_mut().map(|spec| &mut spec.selector), given);
        Ok(())
    }

    fn default(object: &mut Object) {
        let spec = object.spec.get_or_insert_default();
        spec.replicas.get_or_insert(1);
        default_strategy(spec.strategy.get_or_insert_default());
        spec.revision_history_limit.get_or_insert(10);
        spec.progress_deadline_seconds.get_or_insert(600);
        pod::template::default(&mut spec.template);
    }

    fn prepare_create(object: &mut Object, _context: &Context<'_>) {
        object.status = Some(DeploymentStatus::default());
        if let Some(spec) = &mut object.spec {
            pod::template::drop_disabled(&mut spec.template, None);
        }
    }

    /// Upstream raises the generation for a change of the annotations too, because they are copied
    /// to the ReplicaSets. (The handler raises it for a change of the spec.)
    fn prepare_update(new: &mut Object, old: &Object, _context: &Context<'_>) {
        if let Some(spec) = &mut new.spec {
            let known = old.spec.as_ref().map(|spec| &spec.template);
            pod::template::drop_disabled(&mut spec.template, known);
        }
        if new.spec == old.spec && differ(&new.metadata.annotations, &old.metadata.annotations) {
            new.metadata.generation = Some(old.metadata.generation.unwrap_or(0) + 1);
        }
    }

    /// Unlike other kinds' statuses, upstream's does not write the labels.
    fn prepare_status(new: &mut Object, old: &Object, _context: &Context<'_>) {
        new.metadata.labels.clone_from(&old.metadata.labels);
    }

    fn validate(object: &Object) -> Vec<FieldError> {
        let default = DeploymentSpec::default();
        let spec = object.spec.as_ref().unwrap_or(&default);
        let mut errors = nonnegative(spec.replicas.unwrap_or(0), "spec.replicas");
        errors.extend(workload::validate_selector(&spec.selector, "deployment"));
        errors.extend(workload::validate_template(&spec.template, &spec.selector));
        errors.extend(validate_strategy(spec.strategy.as_ref()));
        errors.extend(workload::validate_nonnegative(&[
            ("spec.minReadySeconds", spec.min_ready_seconds.map(Into::into)),
            ("spec.revisionHistoryLimit", spec.revision_history_limit.map(Into::into)),
            ("spec.progressDeadlineSeconds", spec.progress_deadline_seconds.map(Into::into)),
        ]));
        if let Some(deadline) = spec.progress_deadline_seconds
            && deadline <= spec.min_ready_seconds.unwrap_or(0)
        {
            let why = "must be greater than minReadySeconds";
            errors.push(FieldError::invalid("spec.progressDeadlineSeconds", deadline, why));
        }
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
            ("status.observedGeneration", status.observed_generation),
            ("status.replicas", status.replicas.map(Into::into)),
            ("status.updatedReplicas", status.updated_replicas.map(Into::into)),
            ("status.readyReplicas", status.ready_replicas.map(Into::into)),
            ("status.availableReplicas", status.available_replicas.map(Into::into)),
            ("status.unavailableReplicas", status.unavailable_replicas.map(Into::into)),
            ("status.terminatingReplicas", status.terminating_replicas.map(Into::into)),
            ("status.collisionCount", status.collision_count.map(Into::into)),
        ]);
        errors.extend(workload::validate_counts(&Counts {
            replicas: status.replicas.unwrap_or(0),
            parts: &[
                ("updatedReplicas", status.updated_replicas),
                ("readyReplicas", status.ready_replicas),
                ("availableReplicas", status.available_replicas),
            ],
            ready: status.ready_replicas,
            available: status.available_replicas,
        }));
        let old_collisions = old.status.as_ref().and_then(|status| status.collision_count);
        errors.extend(workload::validate_collisions(status.collision_count, old_collisions));
        errors
    }

    fn warnings(new: &Object, old: Option<&Object>) -> Vec<String> {
        let template = new.spec.as_ref().map(|spec| &spec.template);
        workload::warnings(&new.metadata, old.map(|old| &old.metadata), template)
    }

    fn columns() -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::NAME,
            Column::new("Ready", "string", 0, "How many pods are ready, of how many wanted."),
            Column::new("Up-to-date", "string", 0, "How many pods are of the current template."),
            Column::new("Available", "string", 0, "How many pods have been ready long enough."),
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
        let ready = status.ready_replicas.unwrap_or(0);
        let [names, images] = workload::container_cells(Some(&spec.template));
        vec![
            meta::object_name(&object.metadata),
            format!("{ready}/{}", spec.replicas.unwrap_or(0)).into(),
            status.updated_replicas.unwrap_or(0).into(),
            status.available_replicas.unwrap_or(0).into(),
            meta::object_age(&object.metadata, now),
            names,
            images,
            workload::selector_cell(Some(&spec.selector)),
        ]
    }
}

fn default_strategy(strategy: &mut DeploymentStrategy) {
    let is_unset = strategy.type_.as_deref().unwrap_or_default().is_empty();
    if is_unset {
        strategy.type_ = Some(ROLLING_UPDATE.to_owned());
    }
    if strategy.type_.as_deref() == Some(ROLLING_UPDATE) {
        let quarter = || IntOrString::String("25%".to_owned());
        let rolling = strategy.rolling_update.get_or_insert_default();
        rolling.max_unavailable.get_or_insert_with(quarter);
        rolling.max_surge.get_or_insert_with(quarter);
    }
}

fn validate_strategy(strategy: Option<&DeploymentStrategy>) -> Vec<FieldError> {
    const PATH: &str = "spec.strategy";
    let default = DeploymentStrategy::default();
    let strategy = strategy.unwrap_or(&default);
    match (strategy.type_.as_deref().unwrap_or_default(), &strategy.rolling_update) {
        (RECREATE, None) => Vec::new(),
        (RECREATE, Some(_)) => {
            let why = "may not be specified when strategy `type` is 'Recreate'";
            vec![FieldError::forbidden(format!("{PATH}.rollingUpdate"), why)]
        }
        (ROLLING_UPDATE, None) => {
            let why = "this should be defaulted and never be nil";
            vec![FieldError::required(format!("{PATH}.rollingUpdate"), why)]
        }
        (ROLLING_UPDATE, Some(rolling)) => validate_rolling(rolling),
        _ => {
            let value = serde_json::to_value(strategy).unwrap_or_default();
            vec![FieldError::not_supported(PATH, value, &[RECREATE, ROLLING_UPDATE])]
        }
    }
}

fn validate_rolling(rolling: &RollingUpdateDeployment) -> Vec<FieldError> {
    const UNAVAILABLE: &str = "spec.strategy.rollingUpdate.maxUnavailable";
    const SURGE: &str = "spec.strategy.rollingUpdate.maxSurge";
    let zero = IntOrString::Int(0);
    let unavailable = rolling.max_unavailable.as_ref().unwrap_or(&zero);
    let surge = rolling.max_surge.as_ref().unwrap_or(&zero);
    let mut errors = int_or_percent::validate(unavailable, UNAVAILABLE);
    errors.extend(int_or_percent::validate(surge, SURGE));
    if int_or_percent::amount(unavailable) == 0 && int_or_percent::amount(surge) == 0 {
        let why = "may not be 0 when `maxSurge` is 0";
        errors.push(FieldError::invalid(UNAVAILABLE, int_or_string(unavailable), why));
    }
    errors.extend(int_or_percent::validate_at_most_all(unavailable, UNAVAILABLE));
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::{
        defaulted, move_problems, prepared, problems, row, status_problems, template,
    };
    use serde_json::json;

    fn deployment(change: impl FnOnce(&mut Value)) -> Value {
        let mut object = defaulted::<Deployments>(json!({
            "metadata": {"name": "web"},
            "spec": {
                "selector": {"matchLabels": {"app": "web"}},
                "template": template(json!({"app": "web"})),
            },
        }));
        change(&mut object);
        object
    }

    #[test]
    fn defaults_are_those_of_upstream() {
        let object = deployment(|_| {});
        let spec = &object["spec"];
        assert_eq!(spec["replicas"], 1);
        assert_eq!(
            spec["strategy"],
            json!({
                "type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"},
            })
        );
        assert_eq!(spec["revisionHistoryLimit"], 10);
        assert_eq!(spec["progressDeadlineSeconds"], 600);
        let recreate =
            defaulted::<Deployments>(json!({"spec": {"strategy": {"type": "Recreate"}}}));
        assert_eq!(recreate["spec"]["strategy"], json!({"type": "Recreate"}));
    }

    #[test]
    fn a_good_deployment_has_no_problems() {
        assert_eq!(problems::<Deployments>(deployment(|_| {})), Vec::<String>::new());
    }

    #[test]
    fn problems_of_the_spec_are_named() {
        type Spoil = fn(&mut Value);
        let cases: Vec<(Spoil, Vec<&str>)> = vec![
            (
                |object| object["spec"]["replicas"] = json!(-1),
                vec!["spec.replicas: Invalid value: -1: must be greater than or equal to 0"],
            ),
            (
                |object| object["spec"]["selector"] = json!({}),
                vec![
                    "spec.selector: Invalid value: {}: empty selector is invalid for deployment",
                ],
            ),
            (
                |object| object["spec"]["selector"]["matchLabels"]["tier"] = json!("x"),
                vec![
                    "spec.template.metadata.labels: Invalid value: {\"app\":\"web\"}: `selector` \
                     does not match template `labels`",
                ],
            ),
            (
                |object| object["spec"]["template"]["spec"]["restartPolicy"] = json!("Never"),
                vec![
                    "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported \
                     values: \"Always\"",
                ],
            ),
            (
                |object| {
                    object["spec"]["strategy"]["rollingUpdate"] =
                        json!({"maxSurge": 0, "maxUnavailable": "0%"});
                },
                vec![
                    "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"0%\": may not \
                     be 0 when `maxSurge` is 0",
                ],
            ),
            (
                |object| {
                    object["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] = json!("101%");
                },
                vec![
                    "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"101%\": must \
                     not be greater than 100%",
                ],
            ),
            (
                |object| object["spec"]["strategy"]["rollingUpdate"]["maxSurge"] = json!("few"),
                vec![
                    "spec.strategy.rollingUpdate.maxSurge: Invalid value: \"few\": a valid \
                     percent string must be a numeric string followed by an ending '%' (e.g. \
                     '1%',  or '93%', regex used for validation is '[0-9]+%')",
                ],
            ),
            (
                |object| object["spec"]["strategy"]["type"] = json!("Recreate"),
                vec![
                    "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy \
                     `type` is 'Recreate'",
                ],
            ),
            (
                |object| object["spec"]["strategy"] = json!({"type": "Big"}),
                vec![
                    "spec.strategy: Unsupported value: {\"Type\":\"Big\",\"RollingUpdate\":null}: supported values: \
                     \"Recreate\", \"RollingUpdate\"",
                ],
            ),
            (
                |object| object["spec"]["minReadySeconds"] = json!(600),
                vec![
                    "spec.progressDeadlineSeconds: Invalid value: 600: must be greater than \
                     minReadySeconds",
                ],
            ),
        ];
        for (change, expected) in cases {
            assert_eq!(problems::<Deployments>(deployment(change)), expected);
        }
    }

    #[test]
    fn the_selector_never_changes() {
        let new = deployment(|object| {
            object["spec"]["selector"] = json!({"matchLabels": {"app": "db"}});
        });
        assert_eq!(
            move_problems::<Deployments>(new, deployment(|_| {})),
            [
                "spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"db\"}}: field is immutable"
            ]
        );
    }

    #[test]
    fn a_changed_annotation_raises_the_generation() {
        let old = deployment(|object| object["metadata"]["generation"] = json!(3));
        let mut new = old.clone();
        assert_eq!(prepared::<Deployments>(new.clone(), &old)["metadata"]["generation"], 3);
        new["metadata"]["annotations"] = json!({"a": "b"});
        assert_eq!(prepared::<Deployments>(new, &old)["metadata"]["generation"], 4);
    }

    #[test]
    fn a_status_is_consistent() {
        let status = |status: Value| json!({"status": status});
        let new = status(json!({"replicas": 1, "updatedReplicas": 2, "availableReplicas": 1}));
        assert_eq!(
            status_problems::<Deployments>(new, status(json!({"collisionCount": 1}))),
            [
                "status.updatedReplicas: Invalid value: 2: cannot be greater than status.replicas",
                "status.availableReplicas: Invalid value: 1: cannot be greater than readyReplicas",
                "status.collisionCount: Invalid value: 0: cannot be decremented",
            ]
        );
    }

    #[test]
    fn the_row_is_that_of_kubectl() {
        let object = deployment(|object| {
            object["status"] = json!({
                "readyReplicas": 1, "updatedReplicas": 2, "availableReplicas": 1, "replicas": 2,
            });
        });
        assert_eq!(
            row::<Deployments>(object),
            [
                json!("web"),
                json!("1/1"),
                json!(2),
                json!(1),
                json!("<unknown>"),
                json!("main"),
                json!("web:1"),
                json!("app=web"),
            ]
        );
    }
}
