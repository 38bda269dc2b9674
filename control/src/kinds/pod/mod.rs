//! Pods, and the templates that workloads make pods of.
//!
//! `defaults` fills in, `strategy` sets what the server alone decides, `validation` (with the files
//! that it calls) judges, `update` and `status` judge changes, `columns` prints.

mod annotations;
mod app_armor;
mod columns;
mod containers;
mod containers_told;
mod defaults;
mod ephemeral;
mod features;
mod image;
mod mounts;
mod probes;
mod projected;
pub mod qos;
pub mod requests;
mod resize;
pub mod scheduling;
mod security;
mod status;
mod strategy;
pub mod template;
mod update;
pub mod validation;
mod variables;
mod volumes;
mod warnings;
mod windows;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;

use super::{Column, Context, FieldError, Generation, Kind, KindInfo, Subresource, warn};

pub struct Pods;

impl Kind for Pods {
    type Object = Pod;

    const INFO: KindInfo = KindInfo {
        short_names: &["po"],
        categories: &["all"],
        subresources: &[
            Subresource::Attach,
            Subresource::Binding,
            Subresource::EphemeralContainers,
            Subresource::Eviction,
            Subresource::Exec,
            Subresource::Log,
            Subresource::PortForward,
            Subresource::Proxy,
            Subresource::Resize,
            Subresource::Status,
        ],
        generation: Generation::Raised,
        returns_deleted: true,
        fixed_by_status: &["ownerReferences"],
        field_aliases: &[("spec.host", "spec.nodeName")],
        graceful_deletion: true,
        ..KindInfo::namespaced("", "v1", "Pod", "pods", "pod", "io.k8s.api.core.v1.Pod")
    };

    fn early_warnings(pod: &Pod) -> Vec<String> {
        app_armor::warnings(pod)
    }

    fn default(pod: &mut Pod) {
        defaults::default_pod(pod);
    }

    fn prepare_create(pod: &mut Pod, context: &Context<'_>) {
        strategy::prepare_create(pod, context.now);
    }

    fn prepare_update(new: &mut Pod, old: &Pod, _context: &Context<'_>) {
        strategy::drop_disabled(new, Some(old));
    }

    fn prepare_subresource(
        new: &mut Pod,
        old: &Pod,
        subresource: Subresource,
        _context: &Context<'_>,
    ) {
        match subresource {
            Subresource::EphemeralContainers => ephemeral::prepare(new, old),
            Subresource::Resize => resize::prepare(new, old),
            // No other writes a part of a pod.
            _ => {}
        }
        strategy::drop_disabled(new, Some(old));
    }

    fn prepare_status(new: &mut Pod, old: &Pod, _context: &Context<'_>) {
        strategy::prepare_status(new, old);
    }

    fn validate(pod: &Pod) -> Vec<FieldError> {
        validation::validate(pod)
    }

    fn validate_create(pod: &Pod) -> Vec<FieldError> {
        validation::validate_create(pod)
    }

    fn validate_update(new: &Pod, old: &Pod) -> Vec<FieldError> {
        update::validate(new, old)
    }

    fn validate_status(new: &Pod, old: &Pod) -> Vec<FieldError> {
        status::validate(new, old)
    }

    fn validate_subresource(new: &Pod, old: &Pod, subresource: Subresource) -> Vec<FieldError> {
        match subresource {
            Subresource::EphemeralContainers => ephemeral::validate_update(new, old),
            Subresource::Resize => resize::validate_update(new, old),
            _ => Vec::new(),
        }
    }

    /// Updates are the controllers' and the nodes': no one would read their warnings.
    fn warnings(new: &Pod, old: Option<&Pod>) -> Vec<String> {
        let (None, Some(spec)) = (old, &new.spec) else { return Vec::new() };
        let mut warnings: Vec<String> =
            warn::hostname(new.metadata.name.as_deref(), "the Pod's hostname")
                .into_iter()
                .collect();
        warnings.extend(warnings::of(&new.metadata, spec, ""));
        warnings
    }

    fn columns() -> &'static [Column] {
        columns::COLUMNS
    }

    fn cells(pod: &Pod, now: Timestamp) -> Vec<Value> {
        columns::cells(pod, now)
    }

    fn selectable(pod: &Pod) -> Vec<(&'static str, String)> {
        columns::selectable(pod)
    }
}
