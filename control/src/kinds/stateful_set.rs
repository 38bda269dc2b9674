//! StatefulSets. Source: `pkg/registry/apps/statefulset/strategy.go`,
//! `pkg/apis/apps/validation/validation.go`.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{
    RollingUpdateStatefulSetStrategy, StatefulSet as Object,
    StatefulSetPersistentVolumeClaimRetentionPolicy as RetentionPolicy, StatefulSetSpec,
    StatefulSetStatus, StatefulSetUpdateStrategy,
};
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaimVolumeSource, PodTemplateSpec, Volume,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Value, json};

use super::formats::{int_or_string, nonnegative};
use super::persistent_volume_claim::PersistentVolumeClaims;
use super::rules::{int_or_percent, volume_claims};
use super::workload::{self, Counts};
use super::{
    Column, Context, FieldError, Generation, Kind, KindInfo, NameRule, Subresource, meta, names,
    pod, semantic,
};

const ORDERED: &str = "OrderedReady";
const PARALLEL: &str = "Parallel";
const ROLLING_UPDATE: &str = "RollingUpdate";
const ON_DELETE: &str = "OnDelete";
const RETAIN: &str = "Retain";
const DELETE: &str = "Delete";

pub struct StatefulSets;

impl Kind for StatefulSets {
    type Object = Object;
    const INFO: KindInfo = KindInfo {
        short_names: &["sts"],
        categories: &["all"],
        names: NameRule::Label,
        subresources: &[Subresource::Status, Subresource::Scale],
        generation: Generation::Raised,
        not_yet: Some("no controller acts on it yet"),
        ..KindInfo::namespaced(
            "apps",
            "v1",
            "StatefulSet",
            "statefulsets",
            "statefulset",
            "io.k8s.api.apps.v1.StatefulSet",
        )
    };

    const NOTED: Option<&str> = Some(workload::SELECTOR_POINTER);

    fn note(object: &mut Object, given: &Value) -> Result<(), String> {
        workload::note_selector(object.spec.as_mut().map(|spec| &mut spec.selector), given);
        Ok(())
    }

    fn default(object: &mut Object) {
        let spec = object.spec.get_or_insert_default();
        set_if_empty(&mut spec.pod_management_policy, ORDERED);
        default_strategy(spec.update_strategy.get_or_insert_default());
        let retention = spec.persistent_volume_claim_retention_policy.get_or_insert_default();
        set_if_empty(&mut retention.when_deleted, RETAIN);
        set_if_empty(&mut retention.when_scaled, RETAIN);
        spec.replicas.get_or_insert(1);
        spec.revision_history_limit.get_or_insert(10);
        pod::template::default(&mut spec.template);
        spec.volume_claim_templates
            .iter_mut()
            .flatten()
            .for_each(PersistentVolumeClaims::default);
    }

    fn prepare_create(object: &mut Object, _context: &Context<'_>) {
        object.status = Some(StatefulSetStatus::default());
        drop_max_unavailable(object);
        if let Some(spec) = &mut object.spec {
            pod::template::drop_disabled(&mut spec.template, None);
        }
    }

    fn prepare_update(new: &mut Object, old: &Object, _context: &Context<'_>) {
        if max_unavailable(old).is_none() {
            drop_max_unavailable(new);
        }
        if let Some(spec) = &mut new.spec {
            let known = old.spec.as_ref().map(|spec| &spec.template);
            pod::template::drop_disabled(&mut spec.template, known);
        }
    }

    fn validate(object: &Object) -> Vec<FieldError> {
        let default = StatefulSetSpec::default();
        validate_spec(object.spec.as_ref().unwrap_or(&default))
    }

    /// What later never changes, and so is not judged again.
    fn validate_create(object: &Object) -> Vec<FieldError> {
        let Some(spec) = &object.spec else { return Vec::new() };
        let mut errors = Vec::new();
        for (index, claim) in spec.volume_claim_templates.iter().flatten().enumerate() {
            let path = format!("spec.volumeClaimTemplates[{index}].spec");
            let claim = claim.spec.clone().unwrap_or_default();
            let kept = volume_claims::Grandfathered::default();
            errors.extend(volume_claims::validate_spec(&claim, kept, &path));
        }
        if let Some(service) = spec.service_name.as_deref().filter(|name| !name.is_empty()) {
            errors.extend(meta::invalid_each("spec.serviceName", service, names::label(service)));
        }
        errors
    }

    fn validate_update(new: &Object, old: &Object) -> Vec<FieldError> {
        const WHY: &str = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";
        let fixed = |object: &Object| {
            let mut spec = object.spec.clone().unwrap_or_default();
            spec.min_ready_seconds = None;
            spec.ordinals = None;
            spec.persistent_volume_claim_retention_policy = None;
            spec.replicas = None;
            spec.revision_history_limit = None;
            spec.template = PodTemplateSpec::default();
            spec.update_strategy = None;
            serde_json::to_value(spec).unwrap_or_default()
        };
        if semantic::equal(&fixed(new), &fixed(old)) {
            return Vec::new();
        }
        vec![FieldError::forbidden("spec", WHY)]
    }

    fn validate_status(new: &Object, old: &Object) -> Vec<FieldError> {
        let status = new.status.clone().unwrap_or_default();
        let mut errors = workload::validate_nonnegative(&[
            ("status.replicas", Some(status.replicas.into())),
            ("status.readyReplicas", status.ready_replicas.map(Into::into)),
            ("status.currentReplicas", status.current_replicas.map(Into::into)),
            ("status.updatedReplicas", status.updated_replicas.map(Into::into)),
            ("status.availableReplicas", status.available_replicas.map(Into::into)),
            ("status.observedGeneration", status.observed_generation),
            ("status.collisionCount", status.collision_count.map(Into::into)),
        ]);
        errors.extend(workload::validate_counts(&Counts {
            replicas: status.replicas,
            parts: &[
                ("readyReplicas", status.ready_replicas),
                ("currentReplicas", status.current_replicas),
                ("updatedReplicas", status.updated_replicas),
                ("availableReplicas", status.available_replicas),
            ],
            ready: None,
            available: None,
        }));
        let available = status.available_replicas.unwrap_or(0);
        if available > status.ready_replicas.unwrap_or(0) {
            let why = "cannot be greater than status.readyReplicas";
            errors.push(FieldError::invalid("status.availableReplicas", available, why));
        }
        let known = old.status.as_ref().and_then(|status| status.collision_count);
        errors.extend(workload::validate_collisions(status.collision_count, known));
        errors
    }

    /// The name is no matter here: it is a label.
    fn warnings(new: &Object, old: Option<&Object>) -> Vec<String> {
        let Some(spec) = &new.spec else { return Vec::new() };
        let mut warnings = Vec::new();
        if old.is_none_or(|old| old.metadata.generation != new.metadata.generation) {
            warnings.extend(pod::template::warnings(&spec.template, "spec.template"));
        }
        // The paths are upstream's.
        let part = if old.is_none() { "" } else { ".Spec" };
        for (index, claim) in spec.volume_claim_templates.iter().flatten().enumerate() {
            let path = format!("spec.volumeClaimTemplates[{index}]{part}");
            warnings.extend(claim.spec.iter().flat_map(|it| volume_claims::warnings(it, &path)));
        }
        if spec.revision_history_limit.is_some_and(|limit| limit < 0) {
            warnings.push("spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended".to_owned());
        }
        warnings
    }

    fn columns() -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::NAME,
            Column::new("Ready", "string", 0, "How many pods are ready, of how many wanted."),
            Column::AGE,
            workload::CONTAINERS,
            workload::IMAGES,
        ];
        COLUMNS
    }

    fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
        let spec = object.spec.clone().unwrap_or_default();
        let ready = object.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0);
        let [names, images] = workload::container_cells(Some(&spec.template));
        vec![
            meta::object_name(&object.metadata),
            format!("{ready}/{}", spec.replicas.unwrap_or(0)).into(),
            meta::object_age(&object.metadata, now),
            names,
            images,
        ]
    }
}

fn set_if_empty(field: &mut Option<String>, value: &str) {
    if field.as_deref().unwrap_or_default().is_empty() {
        *field = Some(value.to_owned());
    }
}

/// A rolling update is spelled out where the user asked for none, or for one with settings.
fn default_strategy(strategy: &mut StatefulSetUpdateStrategy) {
    if strategy.type_.as_deref().unwrap_or_default().is_empty() {
        strategy.type_ = Some(ROLLING_UPDATE.to_owned());
        strategy.rolling_update.get_or_insert_default();
    }
    if strategy.type_.as_deref() == Some(ROLLING_UPDATE)
        && let Some(rolling) = &mut strategy.rolling_update
    {
        rolling.partition.get_or_insert(0);
    }
}

fn max_unavailable(object: &Object) -> Option<&IntOrString> {
    let strategy = object.spec.as_ref()?.update_strategy.as_ref()?;
    strategy.rolling_update.as_ref()?.max_unavailable.as_ref()
}

/// Upstream's feature is off unless asked for (MaxUnavailableStatefulSet).
fn drop_max_unavailable(object: &mut Object) {
    let strategy = object.spec.as_mut().and_then(|spec| spec.update_strategy.as_mut());
    if let Some(rolling) = strategy.and_then(|strategy| strategy.rolling_update.as_mut()) {
        rolling.max_unavailable = None;
    }
}

fn validate_spec(spec: &StatefulSetSpec) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let management = "spec.podManagementPolicy";
    match spec.pod_management_policy.as_deref().unwrap_or_default() {
        ORDERED | PARALLEL => {}
        "" => errors.push(FieldError::required(management, "")),
        other => {
            let why = format!("must be '{ORDERED}' or '{PARALLEL}'");
            errors.push(FieldError::invalid(management, other, why));
        }
    }
    errors.extend(validate_strategy(spec.update_strategy.as_ref()));
    errors.extend(validate_retention(spec.persistent_volume_claim_retention_policy.as_ref()));
    let start = spec.ordinals.as_ref().and_then(|ordinals| ordinals.start);
    errors.extend(workload::validate_nonnegative(&[
        ("spec.replicas", spec.replicas.map(Into::into)),
        ("spec.minReadySeconds", spec.min_ready_seconds.map(Into::into)),
        ("spec.ordinals.start", start.map(Into::into)),
    ]));
    errors.extend(workload::validate_selector(&spec.selector, "statefulset"));
    errors.extend(validate_template(spec));
    errors.extend(workload::validate_lasting(&spec.template, "StatefulSet"));
    errors
}

fn validate_strategy(strategy: Option<&StatefulSetUpdateStrategy>) -> Vec<FieldError> {
    const PATH: &str = "spec.updateStrategy";
    let default = StatefulSetUpdateStrategy::default();
    let strategy = strategy.unwrap_or(&default);
    match (strategy.type_.as_deref().unwrap_or_default(), &strategy.rolling_update) {
        (ON_DELETE | ROLLING_UPDATE, None) => Vec::new(),
        (ROLLING_UPDATE, Some(rolling)) => validate_rolling(rolling),
        (ON_DELETE, Some(rolling)) => {
            let why = format!("only allowed for updateStrategy '{ROLLING_UPDATE}'");
            let path = format!("{PATH}.rollingUpdate");
            vec![FieldError::invalid(path, json!(rolling), why)]
        }
        ("", _) => vec![FieldError::required(PATH, "")],
        _ => {
            let why = format!("must be '{ROLLING_UPDATE}' or '{ON_DELETE}'");
            vec![FieldError::invalid(PATH, json!(strategy), why)]
        }
    }
}

fn validate_rolling(rolling: &RollingUpdateStatefulSetStrategy) -> Vec<FieldError> {
    const PATH: &str = "spec.updateStrategy.rollingUpdate";
    let mut errors = nonnegative(rolling.partition.unwrap_or(0), &format!("{PATH}.partition"));
    let Some(unavailable) = &rolling.max_unavailable else { return errors };
    let path = format!("{PATH}.maxUnavailable");
    errors.extend(int_or_percent::validate(unavailable, &path));
    if int_or_percent::amount(unavailable) == 0 {
        errors.push(FieldError::invalid(&path, int_or_string(unavailable), "cannot be 0"));
    }
    errors.extend(int_or_percent::validate_at_most_all(unavailable, &path));
    errors
}

fn validate_retention(policy: Option<&RetentionPolicy>) -> Vec<FieldError> {
    const PATH: &str = "spec.persistentVolumeClaimRetentionPolicy";
    let Some(policy) = policy else { return Vec::new() };
    [("whenDeleted", &policy.when_deleted), ("whenScaled", &policy.when_scaled)]
        .into_iter()
        .map(|(field, value)| (field, value.as_deref().unwrap_or_default()))
        .filter(|(_, value)| !matches!(*value, RETAIN | DELETE))
        .map(|(field, value)| {
            FieldError::not_supported(format!("{PATH}.{field}"), value, &[RETAIN, DELETE])
        })
        .collect()
}

/// Judges the template as the controller will use it: with the claims as volumes, and with its own
/// host names.
fn validate_template(spec: &StatefulSetSpec) -> Vec<FieldError> {
    workload::validate_selected(&spec.template, &spec.selector, "", || {
        pod::template::validate(&as_used(spec), "spec.template")
    })
}

fn as_used(spec: &StatefulSetSpec) -> PodTemplateSpec {
    let mut template = spec.template.clone();
    let pod = template.spec.get_or_insert_default();
    pod.subdomain = None;
    pod.hostname = None;
    let claims = spec.volume_claim_templates.as_deref().unwrap_or_default();
    if !claims.is_empty() {
        let mut volumes: Vec<Volume> = Vec::new();
        for claim in claims {
            let volume = claim_volume(claim.metadata.name.as_deref().unwrap_or_default());
            if !volumes.contains(&volume) {
                volumes.push(volume);
            }
        }
        let given = pod.volumes.take().into_iter().flatten();
        let known = volumes.len();
        for volume in given {
            if !volumes[..known].iter().any(|claimed| claimed.name == volume.name) {
                volumes.push(volume);
            }
        }
        pod.volumes = Some(volumes);
    }
    template
}

fn claim_volume(name: &str) -> Volume {
    let claim = PersistentVolumeClaimVolumeSource {
        claim_name: name.to_owned(),
        ..PersistentVolumeClaimVolumeSource::default()
    };
    Volume {
        name: name.to_owned(),
        persistent_volume_claim: Some(claim),
        ..Volume::default()
    }
}
