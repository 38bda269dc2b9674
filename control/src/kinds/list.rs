//! THE list of built-in kinds, alphabetical by file.

use super::{
    BuiltIn, Registry, config_map, controller_revision, deployment, endpoint_slice, endpoints,
    replica_set, secret, self_subject_access_review, self_subject_review, service, service_account,
};

/// Every built-in kind.
pub fn registry() -> Registry {
    Registry::new(vec![
        BuiltIn::<config_map::ConfigMap>::entry(),
        BuiltIn::<controller_revision::ControllerRevision>::entry(),
        BuiltIn::<deployment::Deployment>::entry(),
        BuiltIn::<endpoint_slice::EndpointSlice>::entry(),
        BuiltIn::<endpoints::Endpoints>::entry(),
        BuiltIn::<replica_set::ReplicaSet>::entry(),
        BuiltIn::<secret::Secret>::entry(),
        BuiltIn::<self_subject_access_review::SelfSubjectAccessReview>::entry(),
        BuiltIn::<self_subject_review::SelfSubjectReview>::entry(),
        BuiltIn::<service::Service>::entry(),
        BuiltIn::<service_account::ServiceAccount>::entry(),
    ])
}
