//! ClusterIP: gives Services their cluster IPs and node ports.
//!
//! What is in use is what the Services in the cache hold, what requests that are under way have
//! reserved, and the addresses that somebody else has an IPAddress object for. All are looked at
//! behind one lock, and a reservation ends only when the cache has seen the write, so that no two
//! Services ever get the same. Nothing needs to be released: a Service that is gone or changed holds
//! nothing any more. (The Services' own IPAddress objects follow from them: a controller's work.)
//!
//! Addresses come from the range that the cluster was started with and, when that is full, from
//! those of the ServiceCIDRs that are ready.
//!
//! The rules stand in `plan` (pure), free numbers in `pool`. Source:
//! `pkg/registry/core/service/storage`.

mod families;
mod plan;
mod pool;

use std::cell::LazyCell;
use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::ServiceCIDR;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::Value;

use self::plan::{Failure, Pools};
use self::pool::{Pool, Span};
use super::{Operation, Plugin, Reservation, Review, Surroundings, lookup};
use crate::cache::{Cache, Cached};
use crate::kinds::ip_address::{ALLOCATOR, MANAGED_BY};
use crate::kinds::rules::ip::Block;
use crate::kinds::service::{Needs, cluster_ips};
use crate::kinds::service_cidr;
use crate::status::{About, ApiError};

/// See the module's documentation.
#[derive(Default)]
pub struct ClusterIp {
    reserved: Arc<Mutex<Numbers>>,
}

/// Addresses (as numbers) and ports.
#[derive(Clone, Debug, Default)]
struct Numbers {
    addresses: HashSet<u32>,
    ports: HashSet<u32>,
}

#[async_trait]
impl Plugin for ClusterIp {
    fn name(&self) -> &'static str {
        "ClusterIP"
    }

    async fn admit(
        &self,
        surroundings: &Surroundings,
        review: &mut Review<'_>,
    ) -> Result<(), ApiError> {
        let concerns_service =
            review.info.group_resource() == "services" && review.subresource.is_none();
        if !concerns_service || review.operation == Operation::Delete {
            return Ok(());
        }
        let Some(object) = review.object.as_deref_mut() else { return Ok(()) };
        let mut service = decode(object)?;
        let old = review.old.map(decode).transpose()?;
        let reservation = self.allocate(surroundings, &mut service, old.as_ref())?;
        review.reservations.extend(reservation);
        **object = serde_json::to_value(&service).map_err(ApiError::internal)?;
        Ok(())
    }
}

fn decode(value: &Value) -> Result<Service, ApiError> {
    Service::deserialize(value).map_err(|error| ApiError::bad_request(error.to_string()))
}

impl ClusterIp {
    /// Fills in the service, and holds what it got that it did not have before.
    fn allocate(
        &self,
        surroundings: &Surroundings,
        service: &mut Service,
        old: Option<&Service>,
    ) -> Result<Option<Reservation>, ApiError> {
        let (cidrs, spans) = ranges(surroundings)?;
        let services = lookup::cache(surroundings, "services")?;
        let addresses = lookup::cache(surroundings, "ipaddresses.networking.k8s.io")?;
        let mut reserved = self.reserved.lock();
        // Most updates need nothing new: look at the Services only when one does.
        let used = LazyCell::new(|| {
            let mut used = with_services(reserved.clone(), &services);
            used.addresses.extend(foreign(&addresses));
            used
        });
        let mut pools = Pools {
            cidrs: &cidrs,
            addresses: Pool::new(spans, || used.addresses.clone()),
            ports: Pool::new(vec![Span::of_ports(&surroundings.node_ports)], || used.ports.clone()),
        };
        let random = || surroundings.ambient.u64();
        plan::allocate(service, old, &mut pools, &random)
            .map_err(|failure| refusal(service, failure))?;
        let taken =
            Numbers { addresses: pools.addresses.into_taken(), ports: pools.ports.into_taken() };
        drop(used);
        Ok(self.reserve(&mut reserved, taken))
    }

    fn reserve(&self, reserved: &mut Numbers, taken: Numbers) -> Option<Reservation> {
        if taken.addresses.is_empty() && taken.ports.is_empty() {
            return None;
        }
        reserved.addresses.extend(&taken.addresses);
        reserved.ports.extend(&taken.ports);
        let reserved = self.reserved.clone();
        Some(Reservation::new(move || {
            let mut reserved = reserved.lock();
            reserved.addresses.retain(|address| !taken.addresses.contains(address));
            reserved.ports.retain(|port| !taken.ports.contains(port));
        }))
    }
}

fn refusal(service: &Service, failure: Failure) -> ApiError {
    let name = service.metadata.name.as_deref().unwrap_or_default();
    match failure {
        Failure::Invalid(errors) => {
            ApiError::invalid(About { group: "", resource: "Service", name }, &errors)
        }
        Failure::Internal(why) => ApiError::internal(why),
    }
}

/// The ranges of addresses, in the order in which they are used.
fn ranges(surroundings: &Surroundings) -> Result<(Vec<String>, Vec<Span>), ApiError> {
    let cidr = &surroundings.service_cidr;
    let whole = cidr.parse::<Block>().ok();
    let first = Span::of_cidr(cidr)
        .ok_or_else(|| ApiError::internal(format!("service CIDR {cidr} is no IPv4 range")))?;
    let more = lookup::cache(surroundings, "servicecidrs.networking.k8s.io")?;
    let more = more.list(None);
    let more = more.items.iter().filter_map(|cached| cached.view::<ServiceCIDR>());
    let more: Vec<String> = more
        .filter(|object| service_cidr::is_ready(object))
        .flat_map(|object| service_cidr::cidrs(&object).to_vec())
        .filter(|other| other.parse().ok() != whole)
        .collect();
    // Those of IPv6 are left out: the cluster has no addresses of that family.
    let more = more.into_iter().filter_map(|cidr| Some((Span::of_cidr(&cidr)?, cidr)));
    let all = std::iter::once((first, cidr.clone())).chain(more);
    let (spans, cidrs) = all.unzip();
    Ok((cidrs, spans))
}

/// The addresses that are taken for something else than Services.
fn foreign(addresses: &Cache) -> Vec<u32> {
    let all = addresses.list(None);
    let is_ours = |it: &Cached| it.labels().get(MANAGED_BY).is_some_and(|by| by == ALLOCATOR);
    let foreign = all.items.iter().filter(|address| !is_ours(address));
    let parsed = foreign.filter_map(|address| address.name().parse::<Ipv4Addr>().ok());
    parsed.map(Ipv4Addr::to_bits).collect()
}

/// Adds what the Services hold.
fn with_services(mut numbers: Numbers, services: &Cache) -> Numbers {
    for service in &services.list(None).items {
        // The type that controllers and nodes look at, so that it is decoded once.
        let Some(service) = service.view::<Service>() else { continue };
        let Some(spec) = &service.spec else { continue };
        let ips = cluster_ips(spec).iter().filter_map(|ip| ip.parse::<Ipv4Addr>().ok());
        numbers.addresses.extend(ips.map(Ipv4Addr::to_bits));
        let ports = spec.node_ports().into_iter().chain(spec.health_check_node_port);
        numbers.ports.extend(ports.filter_map(|port| u32::try_from(port).ok()));
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::testing::{Request, create, surroundings, surroundings_and_store};
    use serde_json::json;

    fn service(spec: Value) -> Request {
        let service = json!({"metadata": {"name": "new", "namespace": "default"}, "spec": spec});
        Request::create("services", "default", "new").with(service)
    }

    fn existing(spec: Value) -> (&'static str, Value) {
        ("services", json!({"metadata": {"name": "old", "namespace": "default"}, "spec": spec}))
    }

    #[tokio::test]
    async fn a_service_gets_an_address_out_of_the_range() {
        let surroundings = surroundings(&[]).await;
        let spec = service(json!({"type": "ClusterIP", "ports": [{"port": 80}]}))
            .admit(&ClusterIp::default(), &surroundings)
            .await
            .unwrap()["spec"]
            .clone();
        let ip: Ipv4Addr = spec["clusterIP"].as_str().unwrap().parse().unwrap();
        assert_eq!(ip.octets()[..2], [10, 96]);
        assert_eq!(spec["clusterIPs"], json!([ip.to_string()]));
        assert_eq!(spec["ipFamilies"], json!(["IPv4"]));
        assert_eq!(spec["ipFamilyPolicy"], "SingleStack");
    }

    #[tokio::test]
    async fn what_other_services_hold_is_refused() {
        let surroundings = surroundings(&[existing(json!({
            "clusterIPs": ["10.96.0.7"],
            "ports": [{"port": 80, "nodePort": 30080}],
            "healthCheckNodePort": 30081,
        }))])
        .await;
        let plugin = ClusterIp::default();
        let refused =
            async |spec| service(spec).admit(&plugin, &surroundings).await.unwrap_err().message;
        assert_eq!(
            refused(json!({"type": "ClusterIP", "clusterIP": "10.96.0.7"})).await,
            "Service \"new\" is invalid: spec.clusterIPs: Invalid value: [\"10.96.0.7\"]: failed \
             to allocate IP 10.96.0.7: provided IP is already allocated"
        );
        for port in [30080, 30081] {
            assert_eq!(
                refused(json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": port}]}))
                    .await,
                format!(
                    "Service \"new\" is invalid: spec.ports[0].nodePort: Invalid value: {port}: \
                     provided port is already allocated"
                )
            );
        }
    }

    #[tokio::test]
    async fn addresses_of_others_are_taken_and_ready_ranges_are_used_too() {
        let range = |name: &str, cidr: &str, status: &str| {
            let object = json!({"metadata": {"name": name}, "spec": {"cidrs": [cidr]},
                "status": {"conditions": [{"type": "Ready", "status": status, "reason": "",
                    "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}});
            ("servicecidrs.networking.k8s.io", object)
        };
        let taken = |ip: &str, labels: Value| {
            let object = json!({"metadata": {"name": ip, "labels": labels},
                "spec": {"parentRef": {"resource": "widgets", "name": "w"}}});
            ("ipaddresses.networking.k8s.io", object)
        };
        let surroundings = surroundings(&[
            range("ready", "10.200.0.0/24", "True"),
            range("not-ready", "10.201.0.0/24", "False"),
            taken("10.96.0.7", json!({})),
            taken("10.96.0.8", json!({MANAGED_BY: ALLOCATOR})),
        ])
        .await;
        let plugin = ClusterIp::default();
        let ask = async |ip: &str| {
            let spec = json!({"type": "ClusterIP", "clusterIP": ip});
            let admitted = service(spec).admit(&plugin, &surroundings).await;
            admitted.map_err(|error| error.message.rsplit(": ").next().unwrap().to_owned())
        };
        assert_eq!(ask("10.96.0.7").await.unwrap_err(), "provided IP is already allocated");
        assert!(ask("10.96.0.8").await.is_ok());
        assert!(ask("10.200.0.9").await.is_ok());
        let mismatch = "the provided network does not match the current range";
        assert_eq!(ask("10.201.0.9").await.unwrap_err(), mismatch);
        assert!(ask("10.200.0.255").await.unwrap_err().ends_with("IPs is 10.200.0.0/24"));
    }

    #[tokio::test]
    async fn what_is_reserved_is_held_until_the_write_is_seen() {
        let surroundings = surroundings(&[]).await;
        let plugin = ClusterIp::default();
        let fixed = || service(json!({"type": "ClusterIP", "clusterIP": "10.96.0.7"}));
        let mut reservations = Vec::new();
        let first = fixed().admit_holding(&plugin, &surroundings, &mut reservations).await;
        assert!(first.is_ok());
        assert!(fixed().admit(&plugin, &surroundings).await.is_err());
        drop(reservations);
        assert!(fixed().admit(&plugin, &surroundings).await.is_ok());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn concurrent_creates_never_share_an_address_or_a_port() {
        let mut surroundings = surroundings(&[]).await;
        surroundings.service_cidr = "10.96.0.0/24".to_owned();
        surroundings.node_ports = 30000..=30199;
        let surroundings = Arc::new(surroundings);
        let plugin = Arc::new(ClusterIp::default());
        let tasks: Vec<_> = (0..200)
            .map(|_| {
                let (surroundings, plugin) = (surroundings.clone(), plugin.clone());
                tokio::spawn(async move {
                    let mut reservations = Vec::new();
                    let object = service(json!({"type": "NodePort", "ports": [{"port": 80}]}))
                        .admit_holding(&*plugin, &surroundings, &mut reservations)
                        .await
                        .unwrap();
                    (object, reservations)
                })
            })
            .collect();
        let mut ips = HashSet::new();
        let mut ports = HashSet::new();
        let mut held = Vec::new();
        for task in tasks {
            let (object, reservations) = task.await.unwrap();
            assert!(ips.insert(object["spec"]["clusterIP"].as_str().unwrap().to_owned()));
            assert!(ports.insert(object["spec"]["ports"][0]["nodePort"].as_u64().unwrap()));
            held.push(reservations);
        }
        let error = service(json!({"type": "NodePort", "ports": [{"port": 80}]}))
            .admit(&*plugin, &surroundings)
            .await
            .unwrap_err();
        assert_eq!(
            error.message,
            "Internal error occurred: failed to allocate a nodePort: range is full"
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn creates_that_let_go_once_the_cache_has_seen_them_never_share() {
        let (mut surroundings, store) = surroundings_and_store(&[]).await;
        surroundings.service_cidr = "10.96.0.0/26".to_owned();
        let surroundings = Arc::new(surroundings);
        let plugin = Arc::new(ClusterIp::default());
        let tasks: Vec<_> = (0..62)
            .map(|number| {
                let (surroundings, plugin) = (surroundings.clone(), plugin.clone());
                let store = store.clone();
                tokio::spawn(async move {
                    let name = format!("s{number}");
                    let object = json!({
                        "metadata": {"name": name, "namespace": "default"},
                        "spec": {"type": "ClusterIP"},
                    });
                    let mut held = Vec::new();
                    let object = Request::create("services", "default", &name)
                        .with(object)
                        .admit_holding(&*plugin, &surroundings, &mut held)
                        .await
                        .unwrap();
                    create(&*store, "services", &object).await;
                    surroundings.caches.kind("services").unwrap().latest().await.unwrap();
                    drop(held);
                    object["spec"]["clusterIP"].as_str().unwrap().to_owned()
                })
            })
            .collect();
        let ips: HashSet<String> =
            futures::future::join_all(tasks).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(ips.len(), 62);
        assert!(plugin.reserved.lock().addresses.is_empty());
    }

    #[tokio::test]
    async fn status_updates_are_let_alone() {
        let surroundings = surroundings(&[]).await;
        let object = Request::update("services", "default", "new")
            .at("status")
            .with(json!({"spec": {"type": "ClusterIP"}}))
            .admit(&ClusterIp::default(), &surroundings)
            .await
            .unwrap();
        assert_eq!(object["spec"], json!({"type": "ClusterIP"}));
    }
}
