//! The kinds that the API serves: one file each, and the list of them.
//!
//! A kind says what is particular to it: defaults, validation, what an update may change, the
//! columns of `kubectl get`. All else (verbs, patches, watches, encodings) is one generic handler
//! in `api`. To add a kind, copy the smallest file here, fill it in, and add a line to the list
//! below. This module performs no I/O.

mod any;
mod field_error;
pub mod formats;
#[cfg(test)]
pub mod golden;
mod info;
pub mod limits;
pub mod meta;
pub mod names;
pub mod quantity;
pub mod resources;
pub mod rules;
pub mod selector;
pub mod semantic;
mod shown;
mod subresource;
#[cfg(test)]
mod testing;
mod warn;
mod workload;

pub use any::{AnyKind, BuiltIn, Draft, Findings, Old, Registry};
pub use field_error::{ErrorKind, FieldError};
pub use info::{
    Column, Dependents, Generation, KindInfo, NameRule, Part, Reset, Scope, Storage, USER_METADATA,
    Verbs,
};
pub use shown::Shown;
pub use subresource::{Form, Subresource};
pub use workload::selector_text;

use jiff::Timestamp;
use k8s_openapi::Metadata;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::auth::UserInfo;
use crate::status::ApiError;

/// Declares the files of the kinds, and makes their registry.
macro_rules! kinds {
    ($($file:ident :: $kind:ident),* $(,)?) => {
        $(pub(crate) mod $file;)*

        /// Every built-in kind.
        pub fn registry() -> Registry {
            Registry::new(vec![$(BuiltIn::<$file::$kind>::entry()),*])
        }
    };
}

// THE list, alphabetical by file.
kinds! {
    api_service::ApiServices,
    binding::Bindings,
    certificate_signing_request::CertificateSigningRequests,
    cluster_role::ClusterRoles,
    cluster_role_binding::ClusterRoleBindings,
    component_status::ComponentStatuses,
    config_map::ConfigMaps,
    controller_revision::ControllerRevisions,
    cron_job::CronJobs,
    csi_driver::CsiDrivers,
    csi_node::CsiNodes,
    csi_storage_capacity::CsiStorageCapacities,
    custom_resource_definition::CustomResourceDefinitions,
    daemon_set::DaemonSets,
    deployment::Deployments,
    endpoint_slice::EndpointSlices,
    endpoints::Endpoints,
    event::Events,
    event_v1::EventsV1,
    flow_schema::FlowSchemas,
    horizontal_pod_autoscaler::HorizontalPodAutoscalers,
    horizontal_pod_autoscaler_v1::HorizontalPodAutoscalersV1,
    ingress::Ingresses,
    ingress_class::IngressClasses,
    ip_address::IpAddresses,
    job::Jobs,
    lease::Leases,
    limit_range::LimitRanges,
    local_subject_access_review::LocalSubjectAccessReviews,
    mutating_admission_policy::MutatingAdmissionPolicies,
    mutating_admission_policy_binding::MutatingAdmissionPolicyBindings,
    mutating_webhook_configuration::MutatingWebhookConfigurations,
    namespace::Namespaces,
    network_policy::NetworkPolicies,
    node::Nodes,
    persistent_volume::PersistentVolumes,
    persistent_volume_claim::PersistentVolumeClaims,
    pod::Pods,
    pod_disruption_budget::PodDisruptionBudgets,
    pod_template::PodTemplates,
    priority_class::PriorityClasses,
    priority_level_configuration::PriorityLevelConfigurations,
    replica_set::ReplicaSets,
    replication_controller::ReplicationControllers,
    resource_quota::ResourceQuotas,
    role::Roles,
    role_binding::RoleBindings,
    runtime_class::RuntimeClasses,
    secret::Secrets,
    self_subject_access_review::SelfSubjectAccessReviews,
    self_subject_review::SelfSubjectReviews,
    self_subject_rules_review::SelfSubjectRulesReviews,
    service::Services,
    service_account::ServiceAccounts,
    service_cidr::ServiceCidrs,
    stateful_set::StatefulSets,
    storage_class::StorageClasses,
    subject_access_review::SubjectAccessReviews,
    token_review::TokenReviews,
    validating_admission_policy::ValidatingAdmissionPolicies,
    validating_admission_policy_binding::ValidatingAdmissionPolicyBindings,
    validating_webhook_configuration::ValidatingWebhookConfigurations,
    volume_attachment::VolumeAttachments,
    volume_attributes_class::VolumeAttributesClasses,
}

/// Who writes an object, when, and where.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    pub user: &'a UserInfo,
    pub now: Timestamp,
    /// The request's namespace and name; the name is empty where one is generated.
    pub namespace: &'a str,
    pub name: &'a str,
}

/// A built-in kind, over its `k8s-openapi` type. Every method has upstream's strategy as its source.
pub trait Kind: Send + Sync + 'static {
    type Object: Metadata<Ty = ObjectMeta>
        + Serialize
        + DeserializeOwned
        + schemars::JsonSchema
        + Send
        + Sync
        + 'static;
    const INFO: KindInfo;

    /// The part of what the user wrote that `note` looks at, as a JSON pointer.
    const NOTED: Option<&str> = None;

    /// Notes what the decoded type alone does not tell of the part that is `NOTED` (null where there
    /// is none), so that `validate` can. The error is the decoder's.
    fn note(_object: &mut Self::Object, _given: &Value) -> Result<(), String> {
        Ok(())
    }

    /// What a create is told of before anything is filled in, in `Warning` headers.
    fn early_warnings(_object: &Self::Object) -> Vec<String> {
        Vec::new()
    }

    /// Fills in what the user left out. Idempotent; runs on create, update and patch.
    fn default(_object: &mut Self::Object) {}

    /// Before a create: sets what the server alone decides. (A `status` that the user sent is
    /// already dropped where the kind has a status subresource.)
    fn prepare_create(_object: &mut Self::Object, _context: &Context<'_>) {}

    /// Before an update of the main part: restores what an update may not touch. (`status` is
    /// already restored where the kind has a status subresource.)
    fn prepare_update(_new: &mut Self::Object, _old: &Self::Object, _context: &Context<'_>) {}

    /// Before an update of the status: restores what such an update may not touch. (Everything but
    /// `status` and `metadata` is already restored.)
    fn prepare_status(_new: &mut Self::Object, _old: &Self::Object, _context: &Context<'_>) {}

    /// Before another subresource writes its part: restores everything that is not that part.
    fn prepare_subresource(
        _new: &mut Self::Object,
        _old: &Self::Object,
        _subresource: Subresource,
        _context: &Context<'_>,
    ) {
    }

    /// All problems of an object, new or updated, but those of its metadata.
    fn validate(object: &Self::Object) -> Vec<FieldError>;

    /// Problems that only a create can have. `validate` runs beside it.
    fn validate_create(_object: &Self::Object) -> Vec<FieldError> {
        Vec::new()
    }

    /// All problems of an update: immutable fields, forbidden moves. `validate(new)` runs beside it.
    fn validate_update(_new: &Self::Object, _old: &Self::Object) -> Vec<FieldError> {
        Vec::new()
    }

    /// All problems of a status update.
    fn validate_status(_new: &Self::Object, _old: &Self::Object) -> Vec<FieldError> {
        Vec::new()
    }

    /// All problems of what another subresource writes.
    fn validate_subresource(
        _new: &Self::Object,
        _old: &Self::Object,
        _subresource: Subresource,
    ) -> Vec<FieldError> {
        Vec::new()
    }

    /// What is let through but told of, in `Warning` headers: `path.of.field: message`. `old`: `None`
    /// for a create. Only of objects without problems, and not of updates of the status.
    fn warnings(_new: &Self::Object, _old: Option<&Self::Object>) -> Vec<String> {
        Vec::new()
    }

    /// The columns of the Table form, the name first. Upstream shows kinds without columns of their
    /// own by name and time of creation: those leave `columns` and `cells` as they are.
    fn columns() -> &'static [Column] {
        &[Column::NAME, Column::CREATED_AT]
    }

    /// One row: a cell for each column. `meta::age` prints ages. Empty for the columns of a kind
    /// without its own.
    fn cells(_object: &Self::Object, _now: Timestamp) -> Vec<Value> {
        Vec::new()
    }

    /// The field selectors beyond `metadata.name` and `metadata.namespace`, with their values.
    fn selectable(_object: &Self::Object) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// For `Storage::As`: this version's form → the stored form, and back.
    fn to_stored(value: Value) -> Value {
        value
    }
    fn restore(value: Value) -> Value {
        value
    }

    /// For `Verbs::ReadOnly`: all objects, which are not kept.
    fn computed() -> Vec<Self::Object> {
        Vec::new()
    }

    /// For `Storage::Virtual`: fills in the answer.
    fn review(_object: &mut Self::Object, _context: &Context<'_>) -> Result<(), ApiError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_names_its_schema_and_its_columns() {
        for kind in registry().iter() {
            let info = kind.info();
            assert!(info.schema.ends_with(&format!(".{}.{}", info.version, info.kind)));
            assert!(crate::schema::schema().by_name(info.schema).is_some(), "{}", info.schema);
            assert!(kind.columns().iter().any(|column| column.name == "Name"), "{}", info.kind);
            assert_eq!(info.singular, info.kind.to_lowercase());
            let is_computed = matches!(info.verbs, Verbs::Create | Verbs::ReadOnly);
            assert_eq!(info.storage == Storage::Virtual, is_computed);
        }
    }

    #[test]
    fn an_object_without_a_name_is_refused_by_every_kind() {
        for kind in registry().iter() {
            let errors = meta::validate(&serde_json::json!({}), kind.info());
            assert_eq!(errors[0].path, "metadata.name", "{}", kind.info().kind);
        }
    }
}
