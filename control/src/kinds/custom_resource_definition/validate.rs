//! The rules of a definition outside of its schemas.
//!
//! Source: `pkg/apis/apiextensions/validation/validation.go`, `pkg/apihelpers/helpers.go`.

use std::sync::LazyLock;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition as Object, CustomResourceDefinitionNames,
    CustomResourceDefinitionSpec, CustomResourceDefinitionStatus, CustomResourceDefinitionVersion,
    CustomResourceValidation,
};
use regex::Regex;
use serde_json::Value;

use super::versions::{Internal, Parts};
use super::{columns, conversion, openapi};
use crate::kinds::rules::url;
use crate::kinds::{FieldError, names};

/// What Go's `unicode.IsPrint` is false of.
static UNPRINTABLE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"[^\p{L}\p{M}\p{N}\p{P}\p{S} ]").expect("a regular expression")
});

const WARNING_LENGTH_MAX: usize = 256;
const APPROVAL: &str = "api-approved.kubernetes.io";

/// All problems of what a definition defines.
pub fn spec(spec: &CustomResourceDefinitionSpec) -> Vec<FieldError> {
    let internal = Internal::of(spec);
    let mut errors = validate_group(&spec.group);
    errors.extend(validate_scope(&spec.scope));
    errors.extend(validate_presence(&internal));
    let preserves = spec.preserve_unknown_fields == Some(true);
    if preserves && openapi::has_defaults(spec) {
        let why = "must be false in order to use defaults in the schema";
        errors.push(FieldError::invalid("spec.preserveUnknownFields", true, why));
    }
    for (index, version) in spec.versions.iter().enumerate() {
        let path = format!("spec.versions[{index}]");
        let problems = names::label_1035(&version.name);
        if !problems.is_empty() {
            let (path, why) = (format!("{path}.name"), problems.join(","));
            errors.push(FieldError::invalid(path, version.name.as_str(), why));
        }
        let (parts, has_status) = (&internal.versions[index], internal.has_status(index));
        errors.extend(validate_version(version, parts, has_status, &path));
    }
    errors.extend(validate_versions(&spec.versions, &internal));
    errors.extend(validate_names(&spec.names));
    errors.extend(validate_common(&internal));
    if let Some(conversion) = &spec.conversion {
        if conversion.strategy != "None" && preserves {
            let why = "must be None if spec.preserveUnknownFields is true";
            let strategy = conversion.strategy.as_str();
            errors.push(FieldError::invalid("spec.conversion.strategy", strategy, why));
        }
        errors.extend(conversion::validate(conversion));
    }
    errors
}

fn validate_group(group: &str) -> Vec<FieldError> {
    const PATH: &str = "spec.group";
    if group.is_empty() {
        return vec![FieldError::required(PATH, "")];
    }
    let problems = names::subdomain(group);
    if !problems.is_empty() {
        return vec![FieldError::invalid(PATH, group, problems.join(","))];
    }
    let why = "should be a domain with at least one dot";
    if group.contains('.') { Vec::new() } else { vec![FieldError::invalid(PATH, group, why)] }
}

fn validate_scope(scope: &str) -> Option<FieldError> {
    match scope {
        "" => Some(FieldError::required("spec.scope", "")),
        "Cluster" | "Namespaced" => None,
        _ => Some(FieldError::not_supported("spec.scope", scope, &["Cluster", "Namespaced"])),
    }
}

fn has_schema(schema: Option<&CustomResourceValidation>) -> bool {
    schema.is_some_and(|schema| schema.open_api_v3_schema.is_some())
}

/// Every version has a schema.
fn validate_presence(internal: &Internal<'_>) -> Vec<FieldError> {
    if has_schema(internal.common.schema) {
        return Vec::new();
    }
    let lacking = internal.versions.iter().enumerate().filter(|(_, it)| !has_schema(it.schema));
    lacking
        .map(|(index, _)| {
            FieldError::required(format!("spec.versions[{index}].schema.openAPIV3Schema"), "")
        })
        .collect()
}

fn validate_version(
    version: &CustomResourceDefinitionVersion,
    parts: &Parts<'_>,
    has_status: bool,
    path: &str,
) -> Vec<FieldError> {
    let mut errors = validate_deprecation(version, &format!("{path}.deprecationWarning"));
    errors.extend(openapi::validate(parts.schema, has_status, &format!("{path}.schema")));
    errors.extend(columns::validate_subresources(
        parts.subresources,
        &format!("{path}.subresources"),
    ));
    for (index, column) in parts.columns.iter().enumerate() {
        let path = format!("{path}.additionalPrinterColumns[{index}]");
        errors.extend(columns::validate_column(column, &path));
    }
    if !parts.selectable.is_empty() {
        let path = format!("{path}.selectableFields");
        match parts.schema.and_then(|schema| schema.open_api_v3_schema.as_ref()) {
            // Upstream's words, which mean the contrary.
            None => {
                let why = "may only be set when `version.schema.openAPIV3Schema` is not included";
                errors.push(FieldError::invalid(path, "", why));
            }
            Some(schema) => {
                errors.extend(columns::validate_selectable(parts.selectable, schema, &path));
            }
        }
    }
    errors
}

fn validate_deprecation(
    version: &CustomResourceDefinitionVersion,
    path: &str,
) -> Vec<FieldError> {
    let Some(warning) = version.deprecation_warning.as_deref() else { return Vec::new() };
    let refuse = |why: String| FieldError::invalid(path, warning, why);
    if version.deprecated != Some(true) {
        return vec![refuse("can only be set for deprecated versions".to_owned())];
    }
    let mut errors = Vec::new();
    if warning.len() > WARNING_LENGTH_MAX {
        errors.push(refuse(format!("must be <= {WARNING_LENGTH_MAX} characters long")));
    }
    if warning.is_empty() {
        errors.push(refuse("must not be an empty string".to_owned()));
    }
    if let Some(index) = UNPRINTABLE.find(warning).map(|found| found.start()) {
        errors.push(refuse(format!(
            "must only contain printable UTF-8 characters; non-printable character found at index {index}"
        )));
    }
    errors
}

fn validate_versions(
    versions: &[CustomResourceDefinitionVersion],
    internal: &Internal<'_>,
) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut refuse = |why: &str| {
        let value = Some(versions).filter(|versions| !versions.is_empty());
        let value = value.map(|versions| internal.shown(versions));
        errors.push(FieldError::invalid("spec.versions", value, why));
    };
    let is_doubled = |index: usize| {
        versions[..index].iter().any(|earlier| earlier.name == versions[index].name)
    };
    if (0..versions.len()).any(is_doubled) {
        refuse("must contain unique version names");
    }
    if versions.iter().filter(|version| version.storage).count() != 1 {
        refuse("must have exactly one version marked as storage version");
    }
    // Upstream keeps the first version's name in a field of its own, too.
    let first = versions.first().map(|version| version.name.as_str()).unwrap_or_default();
    let problems = names::label_1035(first);
    if !first.is_empty() && !problems.is_empty() {
        errors.push(FieldError::invalid("spec.version", first, problems.join(",")));
    }
    errors
}

fn validate_names(names: &CustomResourceDefinitionNames) -> Vec<FieldError> {
    let text = |field: &Option<String>| field.as_deref().unwrap_or_default().is_empty();
    let absent = [
        ("plural", names.plural.is_empty()),
        ("singular", text(&names.singular)),
        ("kind", names.kind.is_empty()),
        ("listKind", text(&names.list_kind)),
    ];
    let mut errors: Vec<FieldError> = absent
        .into_iter()
        .filter(|(_, is_absent)| *is_absent)
        .map(|(field, _)| FieldError::required(format!("spec.names.{field}"), ""))
        .collect();
    errors.extend(validate_accepted_names(names, "spec.names"));
    errors
}

fn validate_accepted_names(names: &CustomResourceDefinitionNames, path: &str) -> Vec<FieldError> {
    const MIXED: &str = "may have mixed case, but should otherwise match: ";
    let mut errors = Vec::new();
    let judge = |field: String, value: &str, judged: &str, before: &str| {
        let problems = crate::kinds::names::label_1035(judged);
        let why = format!("{before}{}", problems.join(","));
        let error = || FieldError::invalid(format!("{path}.{field}"), value, why);
        (!problems.is_empty()).then(error)
    };
    let singular = names.singular.as_deref().unwrap_or_default();
    let list_kind = names.list_kind.as_deref().unwrap_or_default();
    for (field, value) in [("plural", names.plural.as_str()), ("singular", singular)] {
        if !value.is_empty() {
            errors.extend(judge(field.to_owned(), value, value, ""));
        }
    }
    for (field, value) in [("kind", names.kind.as_str()), ("listKind", list_kind)] {
        if !value.is_empty() {
            errors.extend(judge(field.to_owned(), value, &value.to_lowercase(), MIXED));
        }
    }
    for (index, name) in names.short_names.iter().flatten().enumerate() {
        errors.extend(judge(format!("shortNames[{index}]"), name, name, ""));
    }
    if !names.kind.is_empty() && names.kind == list_kind {
        let why = "kind and listKind may not be the same";
        errors.push(FieldError::invalid(format!("{path}.listKind"), list_kind, why));
    }
    for (index, name) in names.categories.iter().flatten().enumerate() {
        errors.extend(judge(format!("categories[{index}]"), name, name, ""));
    }
    errors
}

/// What all versions have in common.
fn validate_common(internal: &Internal<'_>) -> Vec<FieldError> {
    let common = &internal.common;
    let mut errors =
        openapi::validate(common.schema, internal.has_any_status(), "spec.validation");
    errors.extend(columns::validate_subresources(common.subresources, "spec.subresources"));
    for (index, column) in common.columns.iter().enumerate() {
        let path = format!("spec.additionalPrinterColumns[{index}]");
        errors.extend(columns::validate_column(column, &path));
    }
    if !common.selectable.is_empty() {
        const PATH: &str = "spec.selectableFields";
        match common.schema.and_then(|schema| schema.open_api_v3_schema.as_ref()) {
            None => {
                let why = "may only be set when validations.schema is included";
                errors.push(FieldError::invalid(PATH, "", why));
            }
            Some(schema) => {
                errors.extend(columns::validate_selectable(common.selectable, schema, PATH));
            }
        }
    }
    errors
}

/// All problems of a definition's status.
pub fn status(status: Option<&CustomResourceDefinitionStatus>) -> Vec<FieldError> {
    let names = status.and_then(|status| status.accepted_names.as_ref());
    names
        .map(|names| validate_accepted_names(names, "status.acceptedNames"))
        .unwrap_or_default()
}

/// What is stored is still defined.
pub fn stored_versions(object: &Object) -> Vec<FieldError> {
    const PATH: &str = "status.storedVersions";
    let stored = object.status.as_ref().and_then(|status| status.stored_versions.as_deref());
    let stored = stored.unwrap_or_default();
    let mut errors = Vec::new();
    let mut refuse = |path: String, value: Value, why: String| {
        errors.push(FieldError::invalid(path, value, why));
    };
    if stored.is_empty() {
        let why = "must have at least one stored version".to_owned();
        refuse(PATH.to_owned(), Value::Null, why);
        return errors;
    }
    let versions = &object.spec.versions;
    for (index, version) in versions.iter().enumerate().filter(|(_, version)| version.storage) {
        // A name that stands twice is found once.
        let is_known = versions[..index].iter().any(|earlier| earlier.name == version.name);
        if is_known || !stored.contains(&version.name) {
            let why = format!("must have the storage version {}", version.name);
            refuse(PATH.to_owned(), stored.to_vec().into(), why);
        }
    }
    for (index, name) in stored.iter().enumerate() {
        if !versions.iter().any(|version| version.name == *name) {
            let why = format!(
                "missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in {name} and removes {name} from status.storedVersions"
            );
            refuse(format!("{PATH}[{index}]"), name.as_str().into(), why);
        }
    }
    errors
}

#[derive(PartialEq, Eq)]
enum Approval {
    Missing,
    Bypassed,
    Approved,
    Invalid,
}

/// The groups of the Kubernetes community want an approval, unless nothing changes of it.
pub fn approval(new: &Object, old: Option<&Object>) -> Option<FieldError> {
    const MORE: &str = "see https://github.com/kubernetes/enhancements/pull/1111";
    let group = new.spec.group.as_str();
    let is_protected = ["k8s.io", "kubernetes.io"].iter().any(|domain| {
        group.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    });
    let now = approval_of(new);
    if !is_protected || old.is_some_and(|old| approval_of(old) == now) {
        return None;
    }
    let path = format!("metadata.annotations[{APPROVAL}]");
    match now {
        Approval::Approved | Approval::Bypassed => None,
        Approval::Missing => {
            let why =
                format!("protected groups must have approval annotation {APPROVAL:?}, {MORE}");
            Some(FieldError::required(path, why))
        }
        Approval::Invalid => {
            let why = format!(
                "protected groups must have approval annotation {APPROVAL:?} with either a URL or a reason starting with \"unapproved\", {MORE}"
            );
            Some(FieldError::invalid(path, annotation(new), why))
        }
    }
}

fn annotation(object: &Object) -> &str {
    let annotations = object.metadata.annotations.as_ref();
    annotations.and_then(|annotations| annotations.get(APPROVAL)).map_or("", String::as_str)
}

fn approval_of(object: &Object) -> Approval {
    let text = annotation(object);
    match url::parse(text) {
        _ if text.is_empty() => Approval::Missing,
        _ if text.starts_with("unapproved") => Approval::Bypassed,
        Ok(url) if !url.host.is_empty() && !url.scheme.is_empty() => Approval::Approved,
        _ => Approval::Invalid,
    }
}
