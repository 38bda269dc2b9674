//! Pod templates: what workloads default and validate of the pods that they make.

use k8s_openapi::api::core::v1::PodTemplateSpec;

use crate::kinds::FieldError;

/// Fills in what the user left out of a template.
pub fn default(_template: &mut PodTemplateSpec) {}

/// All problems of a template; `path` is where it stands, such as `spec.template`.
pub fn validate(_template: &PodTemplateSpec, _path: &str) -> Vec<FieldError> {
    Vec::new()
}
