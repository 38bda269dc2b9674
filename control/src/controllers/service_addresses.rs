//! Every cluster IP of a Service has an IPAddress object, and no Service's IPAddress object outlives
//! what it stands for.
//!
//! Addresses are given out at admission (`admission::cluster_ip`), which looks at the Services; these
//! objects show what is taken. Upstream writes them when it allocates, and repairs them as this
//! controller does. Source of the behaviour: `pkg/registry/core/service/ipallocator`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::{IPAddress, IPAddressSpec, ParentReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::service_endpoints::SERVICES;
use crate::engine::{Action, Change, Context, Controller, Create, Delete, Key, Plan, Reader};
use crate::kinds::ip_address::{ALLOCATOR, MANAGED_BY};
use crate::kinds::service::cluster_ips;

pub(super) const IP_ADDRESSES: &str = "ipaddresses.networking.k8s.io";
const FAMILY: &str = "ipaddress.kubernetes.io/ip-family";

/// See the module's documentation.
pub(super) struct ServiceAddresses;

impl Controller for ServiceAddresses {
    fn name(&self) -> &'static str {
        "service-ip-address-controller"
    }

    fn observes(&self) -> &'static [&'static str] {
        &[IP_ADDRESSES, SERVICES]
    }

    /// Two sorts of keys: a Service that may lack addresses, an address that may be one too many.
    fn keys(&self, reader: &Reader, change: &Change) -> Vec<Key> {
        let object = &change.object;
        if &*change.resource == SERVICES {
            let mut keys = vec![Key::new(SERVICES, object.namespace(), object.name())];
            let service = object.view::<Service>();
            let held = service.as_deref().map(addresses).unwrap_or_default();
            if change.deleted {
                keys.extend(held.iter().map(|address| address_key(*address)));
            } else if service.as_deref().is_some_and(is_a_mere_name) {
                keys.extend(left_by(reader, object.namespace(), object.name()));
            }
            return keys;
        }
        let address = Key::new(IP_ADDRESSES, "", object.name());
        let parent = object.view::<IPAddress>().and_then(|address| service_of(&address));
        [address].into_iter().chain(parent).collect()
    }

    fn plan(&self, context: &Context<'_>, key: &Key) -> Plan {
        let reader = context.reader;
        if &*key.resource == SERVICES {
            let Some(service) = reader.at::<Service>(key) else { return Plan::nothing("gone") };
            let missing = addresses(&service);
            let missing = missing
                .into_iter()
                .filter(|address| reader.object_at(&address_key(*address)).is_none());
            return plan_service(&service, &missing.collect::<Vec<_>>());
        }
        let Some(address) = reader.at::<IPAddress>(key) else { return Plan::nothing("gone") };
        let service = service_of(&address).and_then(|service| reader.at(&service));
        plan_address(&address, service)
    }
}

fn address_key(address: IpAddr) -> Key {
    Key::new(IP_ADDRESSES, "", &address.to_string())
}

/// The cluster IPs of a Service.
fn addresses(service: &Service) -> Vec<IpAddr> {
    let ips = service.spec.as_ref().map(cluster_ips).unwrap_or_default();
    ips.iter().filter_map(|ip| ip.parse().ok()).collect()
}

/// Whether the Service may have had an address before it became the name that it is.
fn is_a_mere_name(service: &Service) -> bool {
    service.spec.as_ref().is_some_and(|spec| spec.type_.as_deref() == Some("ExternalName"))
}

/// The addresses that are taken for this Service.
fn left_by(reader: &Reader, namespace: &str, name: &str) -> Vec<Key> {
    let service = Key::new(SERVICES, namespace, name);
    let all = reader.list::<IPAddress>(IP_ADDRESSES, None);
    let its = all.iter().filter(|address| service_of(address).as_ref() == Some(&service));
    its.map(|address| Key::of(IP_ADDRESSES, &address.metadata)).collect()
}

/// The Service that an address is taken for.
fn service_of(address: &IPAddress) -> Option<Key> {
    let parent = &address.spec.parent_ref;
    let is_service =
        parent.resource == SERVICES && parent.group.as_deref().unwrap_or("").is_empty();
    is_service
        .then(|| Key::new(SERVICES, parent.namespace.as_deref().unwrap_or_default(), &parent.name))
}

fn plan_service(service: &Service, missing: &[IpAddr]) -> Plan {
    let creates = missing
        .iter()
        .map(|address| Action::Create(Create::one(IP_ADDRESSES, "", &object(service, *address))));
    let why = format!("{} addresses lack their objects", missing.len());
    Plan { actions: creates.collect(), why, ..Plan::default() }
}

fn object(service: &Service, address: IpAddr) -> IPAddress {
    let family = if address.is_ipv6() { "IPv6" } else { "IPv4" };
    let labels = [(FAMILY, family), (MANAGED_BY, ALLOCATOR)];
    let labels: BTreeMap<String, String> =
        labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    IPAddress {
        metadata: ObjectMeta {
            name: Some(address.to_string()),
            labels: Some(labels),
            ..ObjectMeta::default()
        },
        spec: IPAddressSpec {
            parent_ref: ParentReference {
                group: None,
                resource: SERVICES.to_owned(),
                namespace: service.metadata.namespace.clone(),
                name: service.metadata.name.clone().unwrap_or_default(),
            },
        },
    }
}

/// `service`: the one that the address is taken for, if it exists.
fn plan_address(address: &IPAddress, service: Option<Arc<Service>>) -> Plan {
    let labels = address.metadata.labels.as_ref();
    if labels.and_then(|labels| labels.get(MANAGED_BY)).is_none_or(|by| by != ALLOCATOR) {
        return Plan::nothing("somebody else's");
    }
    let name = address.metadata.name.as_deref().unwrap_or_default();
    let held = service.as_deref().map(addresses).unwrap_or_default();
    if held.iter().any(|held| held.to_string() == name) {
        return Plan::nothing("its Service has it");
    }
    Plan {
        actions: vec![Action::Delete(Delete::of(IP_ADDRESSES, &address.metadata))],
        why: "no Service has it".to_owned(),
        ..Plan::default()
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::engine::show_plan;

    fn service(cluster_ip: &str) -> Service {
        serde_yaml::from_str(&format!(
            "{{metadata: {{name: web, namespace: shop}}, spec: {{clusterIP: '{cluster_ip}', \
             clusterIPs: ['{cluster_ip}']}}}}"
        ))
        .unwrap()
    }

    #[test]
    fn an_address_is_shown_by_an_object_that_names_its_service() {
        let address = addresses(&service("10.96.0.7"));
        let created = object(&service("10.96.0.7"), address[0]);
        expect![[r#"
            apiVersion: networking.k8s.io/v1
            kind: IPAddress
            metadata:
              labels:
                ipaddress.kubernetes.io/ip-family: IPv4
                ipaddress.kubernetes.io/managed-by: ipallocator.k8s.io
              name: 10.96.0.7
            spec:
              parentRef:
                name: web
                namespace: shop
                resource: services
        "#]]
        .assert_eq(&serde_yaml::to_string(&created).unwrap());
        let plan = plan_service(&service("10.96.0.7"), &address);
        assert_eq!(plan.actions.len(), 1);
        assert_eq!(addresses(&service("None")), [] as [IpAddr; 0]);
    }

    #[test]
    fn an_address_goes_with_what_held_it() {
        let holder = service("10.96.0.7");
        let address = object(&holder, "10.96.0.7".parse().unwrap());
        let why = |service: Option<Service>| plan_address(&address, service.map(Arc::new)).why;
        assert_eq!(why(Some(holder.clone())), "its Service has it");
        assert_eq!(why(Some(service("10.96.0.8"))), "no Service has it");
        expect![[r#"
            delete ipaddresses.networking.k8s.io/10.96.0.7 Background
            why no Service has it
        "#]]
        .assert_eq(&show_plan(&plan_address(&address, None)));
        let mut foreign = address;
        foreign.metadata.labels = None;
        assert_eq!(plan_address(&foreign, None).why, "somebody else's");
    }
}
