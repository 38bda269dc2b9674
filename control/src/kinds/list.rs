//! THE list of built-in kinds, alphabetical by file.

use super::{
    BuiltIn, Registry, binding, config_map, controller_revision, deployment, endpoint_slice,
    endpoints, event, event_v1, flow_schema, lease, namespace, node, pod, priority_level_configuration, replica_set, secret,
    self_subject_access_review, self_subject_review, service, service_account,
};

/// Every built-in kind.
pub fn registry() -> Registry {
    Registry::new(vec![
        BuiltIn::<binding::Bindings>::entry(),
        BuiltIn::<config_map::ConfigMaps>::entry(),
        BuiltIn::<controller_revision::ControllerRevisions>::entry(),
        BuiltIn::<deployment::Deployments>::entry(),
        BuiltIn::<endpoint_slice::EndpointSlices>::entry(),
        BuiltIn::<endpoints::Endpoints>::entry(),
        BuiltIn::<event::Events>::entry(),
        BuiltIn::<event_v1::EventsV1>::entry(),
        BuiltIn::<flow_schema::FlowSchemas>::entry(),
        BuiltIn::<lease::Leases>::entry(),
        BuiltIn::<namespace::Namespaces>::entry(),
        BuiltIn::<node::Nodes>::entry(),
        BuiltIn::<pod::Pods>::entry(),
        BuiltIn::<priority_level_configuration::PriorityLevelConfigurations>::entry(),
        BuiltIn::<replica_set::ReplicaSets>::entry(),
        BuiltIn::<secret::Secrets>::entry(),
        BuiltIn::<self_subject_access_review::SelfSubjectAccessReviews>::entry(),
        BuiltIn::<self_subject_review::SelfSubjectReviews>::entry(),
        BuiltIn::<service::Services>::entry(),
        BuiltIn::<service_account::ServiceAccounts>::entry(),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::meta;

    #[test]
    fn every_kind_names_its_schema_and_its_columns() {
        for kind in registry().iter() {
            let info = kind.info();
            assert!(info.schema.starts_with("io.k8s.api."), "{}", info.kind);
            assert!(info.schema.ends_with(&format!(".{}.{}", info.version, info.kind)));
            assert!(kind.columns().iter().any(|column| column.name == "Name"), "{}", info.kind);
            assert_eq!(info.singular, info.kind.to_lowercase());
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
