//! Pod templates: what workloads default and validate of the pods that they make.

use k8s_openapi::api::core::v1::{PodSpec, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::validation::{self, Whose};
use super::{annotations, defaults, features, warnings};
use crate::kinds::{FieldError, meta};

/// Fills in what the user left out of a template.
pub fn default(template: &mut PodTemplateSpec) {
    template.metadata.get_or_insert_default();
    defaults::default_spec(template.spec.get_or_insert_default());
}

/// Drops what is switched off, unless the old template has it.
pub fn drop_disabled(template: &mut PodTemplateSpec, old: Option<&PodTemplateSpec>) {
    if let Some(spec) = &mut template.spec {
        features::drop_disabled(spec, old.and_then(|old| old.spec.as_ref()));
    }
}

/// All problems of a template; `path` is where it stands, such as `spec.template`.
pub fn validate(template: &PodTemplateSpec, path: &str) -> Vec<FieldError> {
    let (no_metadata, no_spec) = (ObjectMeta::default(), PodSpec::default());
    let metadata = template.metadata.as_ref().unwrap_or(&no_metadata);
    let spec = template.spec.as_ref().unwrap_or(&no_spec);
    let annotations_path = format!("{path}.annotations");
    let spec_path = format!("{path}.spec");
    let mut errors = meta::validate_labels(metadata.labels.as_ref(), &format!("{path}.labels"));
    errors.extend(meta::validate_annotations(metadata.annotations.as_ref(), &annotations_path));
    annotations::validate(metadata, spec, &annotations_path, &mut errors);
    validation::validate_spec(spec, Whose::Template, &spec_path, &mut errors);
    annotations::validate_against_fields(metadata, spec, &spec_path, &mut errors);
    if spec.ephemeral_containers.as_ref().is_some_and(|containers| !containers.is_empty()) {
        let path = format!("{spec_path}.ephemeralContainers");
        errors
            .push(FieldError::forbidden(path, "ephemeral containers not allowed in pod template"));
    }
    errors
}

/// What is let through of a template but told of; `path` is where it stands.
pub fn warnings(template: &PodTemplateSpec, path: &str) -> Vec<String> {
    let no_metadata = ObjectMeta::default();
    let Some(spec) = &template.spec else { return Vec::new() };
    warnings::of(template.metadata.as_ref().unwrap_or(&no_metadata), spec, path)
}
