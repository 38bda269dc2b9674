//! THE list of controllers, alphabetical by file.

use super::{
    deployment, disruption, endpoint_slice, endpoint_slice_mirroring, endpoints, garbage_collector,
    namespace, node_ipam, node_lifecycle, pod_gc, pv_protection, pvc_protection, replica_set,
    root_ca, service_account, service_addresses, service_cidr, taint_eviction, vac_protection,
};
use crate::engine::{Controller, EngineConfig};

/// Every controller.
pub fn all(config: &EngineConfig) -> Vec<Box<dyn Controller>> {
    vec![
        Box::new(deployment::Deployments),
        Box::new(disruption::Disruption),
        Box::new(endpoint_slice::EndpointSlices),
        Box::new(endpoint_slice_mirroring::EndpointSliceMirroring),
        Box::new(endpoints::EndpointsObjects),
        Box::new(garbage_collector::GarbageCollector),
        Box::new(namespace::Namespaces),
        Box::new(node_ipam::NodeIpam::new(config)),
        Box::new(node_lifecycle::NodeLifecycle::new(config)),
        Box::new(pod_gc::PodGc::new(config)),
        Box::new(pv_protection::PvProtection),
        Box::new(pvc_protection::PvcProtection),
        Box::new(replica_set::ReplicaSets),
        Box::new(root_ca::RootCa::new(config)),
        Box::new(service_account::ServiceAccounts),
        Box::new(service_addresses::ServiceAddresses),
        Box::new(service_cidr::ServiceCidrs),
        Box::new(taint_eviction::TaintEviction::default()),
        Box::new(vac_protection::VacProtection),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn controllers_have_distinct_names_that_end_in_controller() {
        let all = all(&EngineConfig::default());
        let names: BTreeSet<&str> = all.iter().map(|controller| controller.name()).collect();
        assert_eq!(names.len(), all.len());
        assert!(names.iter().all(|name| name.ends_with("controller")), "{names:?}");
    }
}
