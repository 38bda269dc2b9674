//! What a claim of a volume may ask for: for claims, the templates of ephemeral volumes and those of
//! stateful sets.
//!
//! Source: `ValidatePersistentVolumeClaimSpec` and `ValidatePersistentVolumeClaimTemplate` in
//! `pkg/apis/core/validation/validation.go`, `SetDefaults_PersistentVolumeClaimSpec`,
//! `pkg/api/persistentvolumeclaim/util.go`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    PersistentVolumeClaimSpec, PersistentVolumeClaimTemplate, TypedLocalObjectReference,
    TypedObjectReference,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::kinds::quantity::{self, Quantity};
use crate::kinds::{ErrorKind, FieldError, Shown, meta, names, resources, selector};

const ACCESS_MODES: &[&str] =
    &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
const VOLUME_MODES: &[&str] = &["Block", "Filesystem"];
const CLAIM: &str = "PersistentVolumeClaim";
const STORAGE: &str = "storage";

/// What the object before an update had that may stay although it would be refused today.
#[derive(Clone, Copy, Debug, Default)]
pub struct Grandfathered {
    pub selector_values: bool,
    pub source_groups: bool,
}

impl Grandfathered {
    /// What may stay of this spec.
    pub fn of(old: &PersistentVolumeClaimSpec) -> Self {
        let group = old.data_source.as_ref().and_then(|source| source.api_group.as_ref());
        let other = old.data_source_ref.as_ref().and_then(|source| source.api_group.as_ref());
        let values = old.selector.as_ref().map(|old| selector::validate(old, ""));
        Self {
            selector_values: values.is_some_and(|errors| !errors.is_empty()),
            source_groups: group.or(other).is_some(),
        }
    }
}

/// Fills in a claim's spec.
pub fn default_spec(spec: &mut PersistentVolumeClaimSpec) {
    spec.volume_mode.get_or_insert_with(|| "Filesystem".to_owned());
    let resources = spec.resources.get_or_insert_default();
    quantity::canonicalise_list(&mut resources.limits);
    quantity::canonicalise_list(&mut resources.requests);
}

/// All problems of a claim's spec at `path`.
pub fn validate_spec(
    spec: &PersistentVolumeClaimSpec,
    kept: Grandfathered,
    path: &str,
) -> Vec<FieldError> {
    let child = |name: &str| format!("{path}.{name}");
    let modes = spec.access_modes.as_deref().unwrap_or_default();
    let mut errors = Vec::new();
    if modes.is_empty() {
        let detail = "at least 1 access mode is required";
        errors.push(FieldError::required(child("accessModes"), detail));
    }
    if let Some(selector) = &spec.selector {
        let problems = selector::validate(selector, &child("selector"));
        let stays = |problem: &FieldError| kept.selector_values && is_of_value(problem);
        errors.extend(problems.into_iter().filter(|problem| !stays(problem)));
    }
    errors.extend(validate_access_modes(modes, &child("accessModes")));
    errors.extend(validate_size(spec, &child("resources[storage]")));
    errors.extend(validate_class(spec.storage_class_name.as_deref(), &child("storageClassName")));
    errors.extend(validate_volume_mode(spec.volume_mode.as_deref(), &child("volumeMode")));
    errors.extend(validate_sources(spec, kept, path));
    let attributes = spec.volume_attributes_class_name.as_deref();
    errors.extend(validate_class(attributes, &child("volumeAttributesClassName")));
    errors
}

/// Whether a selector's problem is a value of an expression.
fn is_of_value(problem: &FieldError) -> bool {
    problem.path.contains(".values[")
}

/// All problems of access modes, but that there are none.
pub fn validate_access_modes(modes: &[String], path: &str) -> Vec<FieldError> {
    let known = |mode: &String| ACCESS_MODES.contains(&mode.as_str());
    let mut errors: Vec<FieldError> = modes
        .iter()
        .filter(|mode| !known(mode))
        .map(|mode| FieldError::not_supported(path, mode.as_str(), ACCESS_MODES))
        .collect();
    let alone = modes.iter().any(|mode| mode == "ReadWriteOncePod");
    if alone && modes.iter().any(|mode| known(mode) && mode != "ReadWriteOncePod") {
        let detail = "may not use ReadWriteOncePod with other access modes";
        errors.push(FieldError::forbidden(path, detail));
    }
    errors
}

/// The problem of a volume's mode.
pub fn validate_volume_mode(mode: Option<&str>, path: &str) -> Option<FieldError> {
    let mode = mode.filter(|mode| !VOLUME_MODES.contains(mode))?;
    Some(FieldError::not_supported(path, mode, VOLUME_MODES))
}

/// All problems of the name of a class, unless it is absent or empty.
pub fn validate_class(name: Option<&str>, path: &str) -> Vec<FieldError> {
    let name = name.unwrap_or_default();
    if name.is_empty() {
        return Vec::new();
    }
    meta::invalid_each(path, name, names::subdomain(name))
}

fn validate_size(spec: &PersistentVolumeClaimSpec, path: &str) -> Vec<FieldError> {
    let requests = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    let Some(text) = requests.and_then(|requests| requests.get(STORAGE)) else {
        return vec![FieldError::required(path, "")];
    };
    match Quantity::try_from(text) {
        Ok(size) if size <= Quantity::ZERO => {
            vec![FieldError::invalid(path, size.to_string(), "must be greater than zero")]
        }
        _ => resources::validate_amount(STORAGE, text, path),
    }
}

fn validate_sources(
    spec: &PersistentVolumeClaimSpec,
    kept: Grandfathered,
    path: &str,
) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if let Some(source) = &spec.data_source {
        let path = format!("{path}.dataSource");
        let group = source.api_group.as_deref();
        errors.extend(validate_source(&source.name, &source.kind, group, kept, &path));
    }
    let Some(reference) = &spec.data_source_ref else { return errors };
    let reference_path = format!("{path}.dataSourceRef");
    let group = reference.api_group.as_deref();
    errors.extend(validate_source(&reference.name, &reference.kind, group, kept, &reference_path));
    let namespace = reference.namespace.as_deref().unwrap_or_default();
    if !namespace.is_empty() {
        let path = format!("{reference_path}.namespace");
        errors.extend(meta::invalid_each(&path, namespace, names::label(namespace)));
    }
    let Some(source) = &spec.data_source else { return errors };
    let differs = (&source.api_group, &source.kind, &source.name)
        != (&reference.api_group, &reference.kind, &reference.name);
    let detail = match (namespace, differs) {
        ("", false) => return errors,
        ("", true) => "must match dataSourceRef",
        _ => "may not be specified when dataSourceRef.namespace is specified",
    };
    // What upstream gives as the value is a path, which has no JSON.
    let value = Shown::Text("{}".to_owned());
    errors.push(FieldError::new(ErrorKind::Invalid(value), path, detail));
    errors
}

fn validate_source(
    name: &str,
    kind: &str,
    group: Option<&str>,
    kept: Grandfathered,
    path: &str,
) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (field, value) in [("name", name), ("kind", kind)] {
        if value.is_empty() {
            errors.push(FieldError::required(format!("{path}.{field}"), ""));
        }
    }
    let group = group.unwrap_or_default();
    if group.is_empty() && kind != CLAIM {
        let detail = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
        errors.push(FieldError::invalid(path, kind, detail));
    }
    if !group.is_empty() && !kept.source_groups {
        let path = format!("{path}.apiGroup");
        errors.extend(meta::invalid_each(&path, group, names::subdomain(group)));
    }
    errors
}

/// All problems of the template of an ephemeral volume's claim.
pub fn validate_template(template: &PersistentVolumeClaimTemplate, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if let Some(metadata) = &template.metadata {
        errors.extend(validate_template_metadata(metadata, &format!("{path}.metadata")));
    }
    let kept = Grandfathered::default();
    errors.extend(validate_spec(&template.spec, kept, &format!("{path}.spec")));
    errors
}

/// All problems of a template's metadata: only labels and annotations are taken over.
pub fn validate_template_metadata(metadata: &ObjectMeta, path: &str) -> Vec<FieldError> {
    let annotations = metadata.annotations.as_ref();
    let labels = metadata.labels.as_ref();
    let mut errors = meta::validate_annotations(annotations, &format!("{path}.annotations"));
    errors.extend(meta::validate_labels(labels, &format!("{path}.labels")));
    let set = |list: Option<bool>| list == Some(false);
    let text = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    let owners = metadata.owner_references.as_ref().map(Vec::is_empty);
    // `uID` is upstream's: the name in Go with its first letter small.
    let others = [
        ("name", text(&metadata.name)),
        ("generateName", text(&metadata.generate_name)),
        ("namespace", text(&metadata.namespace)),
        ("selfLink", text(&metadata.self_link)),
        ("uID", text(&metadata.uid)),
        ("resourceVersion", text(&metadata.resource_version)),
        ("generation", metadata.generation.is_some_and(|generation| generation != 0)),
        ("creationTimestamp", metadata.creation_timestamp.is_some()),
        ("deletionTimestamp", metadata.deletion_timestamp.is_some()),
        ("deletionGracePeriodSeconds", metadata.deletion_grace_period_seconds.is_some()),
        ("ownerReferences", set(owners)),
        ("finalizers", set(metadata.finalizers.as_ref().map(Vec::is_empty))),
        ("managedFields", set(metadata.managed_fields.as_ref().map(Vec::is_empty))),
    ];
    errors.extend(
        others
            .into_iter()
            .filter(|(_, set)| *set)
            .map(|(field, _)| FieldError::forbidden(format!("{path}.{field}"), "cannot be set")),
    );
    errors
}

/// Sources of other kinds than claims and snapshots were ignored once, and still are where only the
/// older field has one. Source: `EnforceDataSourceBackwardsCompatibility`.
pub fn drop_unknown_source(
    spec: &mut PersistentVolumeClaimSpec,
    old: Option<&PersistentVolumeClaimSpec>,
) {
    let in_use = old.is_some_and(|old| old.data_source.is_some() || old.data_source_ref.is_some());
    if in_use || spec.data_source_ref.is_some() {
        return;
    }
    spec.data_source.take_if(|source| {
        let group = source.api_group.as_deref().unwrap_or_default();
        !matches!(
            (group, source.kind.as_str()),
            ("", CLAIM) | ("snapshot.storage.k8s.io", "VolumeSnapshot")
        )
    });
}

/// Sources in other namespaces are behind a gate that is closed: they are dropped, unless an older
/// object has one. Source: `DropDisabledFields`.
pub fn drop_foreign_source(
    spec: &mut PersistentVolumeClaimSpec,
    old: Option<&PersistentVolumeClaimSpec>,
) {
    if old.is_some_and(|old| old.data_source_ref.is_some()) {
        return;
    }
    spec.data_source_ref.take_if(|reference| is_foreign(reference));
}

/// `dataSource` and `dataSourceRef` say the same: each fills in the other.
/// Source: `NormalizeDataSources`.
pub fn normalise_sources(spec: &mut PersistentVolumeClaimSpec) {
    match (&spec.data_source, &spec.data_source_ref) {
        (Some(source), None) => {
            spec.data_source_ref = Some(TypedObjectReference {
                api_group: source.api_group.clone(),
                kind: source.kind.clone(),
                name: source.name.clone(),
                namespace: None,
            });
        }
        (None, Some(reference)) if !is_foreign(reference) => {
            spec.data_source = Some(TypedLocalObjectReference {
                api_group: reference.api_group.clone(),
                kind: reference.kind.clone(),
                name: reference.name.clone(),
            });
        }
        _ => {}
    }
}

fn is_foreign(reference: &TypedObjectReference) -> bool {
    reference.namespace.as_ref().is_some_and(|namespace| !namespace.is_empty())
}

/// Amounts of storage that are no whole bytes. Source: `GetWarningsForPersistentVolumeClaimSpec`.
pub fn warnings(spec: &PersistentVolumeClaimSpec, path: &str) -> Vec<String> {
    let resources = spec.resources.as_ref();
    let lists = [
        ("requests", resources.and_then(|resources| resources.requests.as_ref())),
        ("limits", resources.and_then(|resources| resources.limits.as_ref())),
    ];
    lists
        .into_iter()
        .filter_map(|(field, list)| {
            warn_of_fraction(list, &format!("{path}.resources.{field}[storage]"))
        })
        .collect()
}

/// The warning about an amount of storage in a list.
pub fn warn_of_fraction(list: Option<&quantity::ResourceList>, path: &str) -> Option<String> {
    let amount = quantity::get(list, STORAGE)?;
    (amount.milli_value() % 1000 != 0).then(|| {
        let shown = amount.to_string();
        format!("{path}: fractional byte value {shown:?} is invalid, must be an integer")
    })
}

/// Access modes in short, as tables show them: `RWO,ROX,RWX,RWOP`, each once and in that order.
/// Source: `GetAccessModesAsString` in `pkg/apis/core/helper`.
pub fn short_modes(modes: Option<&Vec<String>>) -> String {
    const SHORT: [(&str, &str); 4] = [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ];
    let has = |mode: &str| modes.into_iter().flatten().any(|given| given == mode);
    let short: Vec<&str> =
        SHORT.iter().filter(|(mode, _)| has(mode)).map(|(_, short)| *short).collect();
    short.join(",")
}

/// The annotation that named a storage class before there was a field, with its value.
pub fn beta_class(annotations: Option<&BTreeMap<String, String>>) -> Option<&str> {
    annotations?.get(BETA_CLASS).map(String::as_str)
}

pub const BETA_CLASS: &str = "volume.beta.kubernetes.io/storage-class";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::texts;
    use serde_json::{Value, json};

    fn spec(value: Value) -> PersistentVolumeClaimSpec {
        serde_json::from_value(value).expect("it decodes")
    }

    fn problems(value: Value) -> Vec<String> {
        texts(&validate_spec(&spec(value), Grandfathered::default(), "spec"))
    }

    fn sound() -> Value {
        json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}})
    }

    #[test]
    fn a_claim_asks_for_a_mode_and_an_amount() {
        assert_eq!(problems(sound()), [""; 0]);
        assert_eq!(
            problems(json!({})),
            [
                "spec.accessModes: Required value: at least 1 access mode is required",
                "spec.resources[storage]: Required value",
            ]
        );
        let mut bad = sound();
        bad["accessModes"] = json!(["ReadWriteOncePod", "ReadWriteOnce", "Sometimes"]);
        bad["resources"]["requests"]["storage"] = "0".into();
        bad["volumeMode"] = "Tape".into();
        bad["storageClassName"] = "Fast".into();
        let found = problems(bad);
        assert_eq!(
            found[..3],
            [
                "spec.accessModes: Unsupported value: \"Sometimes\": supported values: \"ReadOnlyMany\", \"ReadWriteMany\", \"ReadWriteOnce\", \"ReadWriteOncePod\"",
                "spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes",
                "spec.resources[storage]: Invalid value: \"0\": must be greater than zero",
            ]
        );
        assert!(
            found[3].starts_with("spec.storageClassName: Invalid value: \"Fast\": a lowercase")
        );
        assert_eq!(
            found[4],
            "spec.volumeMode: Unsupported value: \"Tape\": supported values: \"Block\", \"Filesystem\""
        );
    }

    #[test]
    fn both_sources_name_the_same() {
        let mut claim = sound();
        claim["dataSource"] = json!({"kind": "PersistentVolumeClaim", "name": "a"});
        claim["dataSourceRef"] = json!({"kind": "PersistentVolumeClaim", "name": "b"});
        assert_eq!(problems(claim.clone()), ["spec: Invalid value: {}: must match dataSourceRef"]);
        claim["dataSourceRef"] = json!({"kind": "Image", "name": "", "namespace": "other"});
        assert_eq!(
            problems(claim),
            [
                "spec.dataSourceRef.name: Required value",
                "spec.dataSourceRef: Invalid value: \"Image\": must be 'PersistentVolumeClaim' when referencing the default apiGroup",
                "spec: Invalid value: {}: may not be specified when dataSourceRef.namespace is specified",
            ]
        );
    }

    #[test]
    fn what_was_there_may_stay() {
        let mut claim = sound();
        claim["selector"] =
            json!({"matchExpressions": [{"key": "a", "operator": "In", "values": ["-"]}]});
        claim["dataSource"] = json!({"apiGroup": "Bad", "kind": "X", "name": "a"});
        let claim = spec(claim);
        assert_eq!(validate_spec(&claim, Grandfathered::default(), "spec").len(), 2);
        assert_eq!(validate_spec(&claim, Grandfathered::of(&claim), "spec"), []);
    }

    #[test]
    fn sources_fill_in_each_other() {
        let cases = [
            (
                json!({"dataSource": {"kind": "PersistentVolumeClaim", "name": "a"}}),
                Some(("PersistentVolumeClaim", "PersistentVolumeClaim")),
            ),
            (json!({"dataSource": {"kind": "Image", "apiGroup": "x.io", "name": "a"}}), None),
            (
                json!({"dataSourceRef": {"kind": "Image", "apiGroup": "x.io", "name": "a"}}),
                Some(("Image", "Image")),
            ),
            (
                json!({"dataSourceRef": {"kind": "Image", "apiGroup": "x.io", "name": "a", "namespace": "n"}}),
                None,
            ),
        ];
        for (value, expected) in cases {
            let mut claim = spec(value.clone());
            drop_foreign_source(&mut claim, None);
            drop_unknown_source(&mut claim, None);
            normalise_sources(&mut claim);
            let source = claim.data_source.map(|source| source.kind);
            let reference = claim.data_source_ref.map(|reference| reference.kind);
            let expected = expected.map(|(a, b)| (a.to_owned(), b.to_owned()));
            assert_eq!(source.zip(reference), expected, "{value}");
        }
    }

    #[test]
    fn a_template_has_labels_and_annotations_only() {
        let metadata =
            serde_json::from_value(json!({"name": "a", "labels": {"b": "c"}, "generation": 1}));
        assert_eq!(
            texts(&validate_template_metadata(&metadata.unwrap(), "t.metadata")),
            [
                "t.metadata.name: Forbidden: cannot be set",
                "t.metadata.generation: Forbidden: cannot be set",
            ]
        );
    }

    #[test]
    fn fractions_of_bytes_are_told_of() {
        let claim = spec(
            json!({"resources": {"requests": {"storage": "500m"}, "limits": {"storage": "1"}}}),
        );
        assert_eq!(
            warnings(&claim, "spec"),
            [
                "spec.resources.requests[storage]: fractional byte value \"500m\" is invalid, must be an integer"
            ]
        );
    }

    #[test]
    fn modes_are_shown_once_and_in_order() {
        let modes = ["ReadOnlyMany", "ReadWriteOnce", "ReadOnlyMany"].map(str::to_owned).to_vec();
        assert_eq!(short_modes(Some(&modes)), "RWO,ROX");
        assert_eq!(short_modes(None), "");
    }
}
