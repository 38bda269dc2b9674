//! Which changes concern a service's slices, and what a plan for them looks at.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod, Service};

use super::plan::{Observed, plan};
use super::{ENDPOINT_SLICES, MANAGED_BY, MANAGER, SERVICE_NAME};
use crate::cache::Cached;
use crate::controllers::pods::{PODS, node};
use crate::controllers::service_endpoints::{SERVICES, selector, services_of_pod};
use crate::engine::{Change, Context, Controller, Key, Plan, Reader};

const NODES: &str = "nodes";
const ZONE: &str = "topology.kubernetes.io/zone";

/// See the module's documentation.
pub(in crate::controllers) struct EndpointSlices;

impl Controller for EndpointSlices {
    fn name(&self) -> &'static str {
        "endpoint-slice-controller"
    }

    fn observes(&self) -> &'static [&'static str] {
        &[ENDPOINT_SLICES, NODES, PODS, SERVICES]
    }

    fn keys(&self, reader: &Reader, change: &Change) -> Vec<Key> {
        let object = &change.object;
        match &*change.resource {
            SERVICES => vec![Key::new(SERVICES, object.namespace(), object.name())],
            PODS => services_of_pod(reader, change),
            NODES => services_on_node(reader, change),
            _ => service_of_slice(object).into_iter().collect(),
        }
    }

    fn plan(&self, context: &Context<'_>, key: &Key) -> Plan {
        match observe(context.reader, key) {
            Some(observed) => plan(&observed),
            None => Plan::nothing("gone: its slices go with it"),
        }
    }
}

/// A slice that somebody else changed is put right.
fn service_of_slice(slice: &Cached) -> Option<Key> {
    let labels = slice.labels();
    let ours = labels.get(MANAGED_BY).is_some_and(|manager| manager == MANAGER);
    let service = labels.get(SERVICE_NAME)?;
    ours.then(|| Key::new(SERVICES, slice.namespace(), service))
}

/// A node that changed its zone, or came after its pods.
fn services_on_node(reader: &Reader, change: &Change) -> Vec<Key> {
    let before = change.before.as_ref().and_then(|before| before.metadata.labels.get(ZONE));
    if change.head.metadata.labels.get(ZONE) == before {
        return Vec::new();
    }
    let mut keys: Vec<Key> = reader
        .pods_on_node::<Pod>(change.object.name())
        .iter()
        .flat_map(|pod| {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default().to_owned();
            let labels = pod.metadata.labels.clone().unwrap_or_default();
            reader
                .services_selecting(&namespace, &labels)
                .into_iter()
                .map(move |name| Key::new(SERVICES, &namespace, &name))
        })
        .collect();
    keys.sort();
    keys.dedup();
    keys
}

fn observe(reader: &Reader, key: &Key) -> Option<Observed> {
    let service: Arc<Service> = reader.at(key)?;
    let mut pods: Vec<Arc<Pod>> = match selector(&service) {
        Ok(selector) => reader.selected(PODS, &key.namespace, selector),
        Err(_) => Vec::new(),
    };
    pods.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    let mut zones = BTreeMap::new();
    for name in pods.iter().filter_map(|pod| node(pod)) {
        if !zones.contains_key(name)
            && let Some(node) = reader.get::<Node>(NODES, "", name)
        {
            let zone = node.metadata.labels.as_ref().and_then(|labels| labels.get(ZONE)).cloned();
            zones.insert(name.to_owned(), zone);
        }
    }
    let wanted = BTreeMap::from([
        (SERVICE_NAME.to_owned(), key.name.to_string()),
        (MANAGED_BY.to_owned(), MANAGER.to_owned()),
    ]);
    let slices = reader.selected(ENDPOINT_SLICES, &key.namespace, &wanted);
    Some(Observed { service, pods, zones, slices })
}
