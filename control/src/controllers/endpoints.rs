//! Endpoints: the older form of EndpointSlices, one object a service, cut at a thousand addresses.
//!
//! Source of the behaviour: upstream's `pkg/controller/endpoint`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{
    EndpointAddress, EndpointPort, EndpointSubset, Endpoints, ObjectReference, Pod, Service,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::pods::{PODS, is_ready, node};
use super::service_endpoints::{
    HEADLESS, Port, SERVICES, addresses, has_place, hostname, inherited_labels, is_headless,
    publishes_not_ready, resolved_ports, selector, services_of_pod,
};
use crate::engine::{
    Action, Change, Context, Controller, Create, Delete, Key, Plan, Reader, Update,
};

const ENDPOINTS: &str = "endpoints";
const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const MANAGER: &str = "endpoint-controller";
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
const ADDRESSES_MAX: usize = 1000;

/// One object holds everything: a burst of changes is gathered for so long per pod.
const REST_PER_POD: Duration = Duration::from_micros(500);
const REST_MAX: Duration = Duration::from_millis(500);
const REST_FROM: usize = 10;

/// See the module's documentation.
pub(super) struct EndpointsObjects;

impl Controller for EndpointsObjects {
    fn name(&self) -> &'static str {
        MANAGER
    }

    fn observes(&self) -> &'static [&'static str] {
        &[ENDPOINTS, PODS, SERVICES]
    }

    fn keys(&self, reader: &Reader, change: &Change) -> Vec<Key> {
        match &*change.resource {
            PODS => services_of_pod(reader, change),
            // Endpoints bear their service's name.
            _ => vec![Key::new(SERVICES, change.object.namespace(), change.object.name())],
        }
    }

    fn plan(&self, context: &Context<'_>, key: &Key) -> Plan {
        let observed = observe(context.reader, key);
        if observed.service.is_none() && context.reader.object_at(key).is_some() {
            return Plan::nothing("the service cannot be decoded");
        }
        plan(&observed)
    }
}

struct Observed {
    service: Option<Arc<Service>>,
    pods: Vec<Arc<Pod>>,
    endpoints: Option<Arc<Endpoints>>,
}

fn observe(reader: &Reader, key: &Key) -> Observed {
    let service: Option<Arc<Service>> = reader.at(key);
    let selector = service.as_ref().and_then(|service| selector(service).ok());
    let pods = selector
        .map(|selector| reader.selected(PODS, &key.namespace, selector))
        .unwrap_or_default();
    Observed { pods, endpoints: reader.get(ENDPOINTS, &key.namespace, &key.name), service }
}

fn plan(observed: &Observed) -> Plan {
    let Some(service) = &observed.service else { return without_service(observed) };
    if let Err(unmanaged) = selector(service) {
        return Plan::nothing(unmanaged.why());
    }
    if service.metadata.deletion_timestamp.is_some() {
        return Plan::nothing("being deleted");
    }
    let mut subsets = subsets(service, &observed.pods);
    let truncated = truncate(&mut subsets);
    let count = observed.pods.len();
    let rest = if count < REST_FROM {
        Duration::ZERO
    } else {
        REST_PER_POD.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX)).min(REST_MAX)
    };
    let mut new = match &observed.endpoints {
        Some(endpoints) => (**endpoints).clone(),
        None => Endpoints {
            metadata: ObjectMeta {
                name: service.metadata.name.clone(),
                namespace: service.metadata.namespace.clone(),
                ..ObjectMeta::default()
            },
            subsets: None,
        },
    };
    new.subsets = (!subsets.is_empty()).then_some(subsets);
    new.metadata.labels = Some(labels(service));
    annotate(&mut new.metadata, truncated);
    let namespace = service.metadata.namespace.as_deref().unwrap_or_default();
    let (action, why) = match &observed.endpoints {
        None => (Action::Create(Create::one(ENDPOINTS, namespace, &new)), "none yet"),
        Some(old) if same(old, &new) => {
            return Plan { rest, ..Plan::nothing("as they should be") };
        }
        Some(_) => {
            let key = Key::of(ENDPOINTS, &new.metadata);
            (Action::Update(Update::whole(key, &new)), "outdated")
        }
    };
    Plan { actions: vec![action], why: why.to_owned(), rest, ..Plan::default() }
}

/// A service that is gone takes along the Endpoints that were kept for it.
fn without_service(observed: &Observed) -> Plan {
    let ours = observed.endpoints.as_ref().filter(|endpoints| {
        let labels = endpoints.metadata.labels.as_ref();
        labels.and_then(|labels| labels.get(MANAGED_BY)).is_some_and(|by| by == MANAGER)
            && endpoints.metadata.deletion_timestamp.is_none()
    });
    match ours {
        Some(endpoints) => Plan {
            actions: vec![Action::Delete(Delete::of(ENDPOINTS, &endpoints.metadata))],
            why: "their service is gone".to_owned(),
            ..Plan::default()
        },
        None => Plan::nothing("no service"),
    }
}

fn labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = inherited_labels(service);
    labels.remove(HEADLESS);
    if is_headless(service) {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    labels
}

fn annotate(metadata: &mut ObjectMeta, truncated: bool) {
    let annotations = metadata.annotations.get_or_insert_default();
    if truncated {
        annotations.insert(OVER_CAPACITY.to_owned(), "truncated".to_owned());
    } else {
        annotations.remove(OVER_CAPACITY);
    }
    if annotations.is_empty() {
        metadata.annotations = None;
    }
}

fn same(old: &Endpoints, new: &Endpoints) -> bool {
    let subsets = |endpoints: &Endpoints| endpoints.subsets.clone().unwrap_or_default();
    let annotations =
        |endpoints: &Endpoints| endpoints.metadata.annotations.clone().unwrap_or_default();
    subsets(old) == subsets(new)
        && old.metadata.labels == new.metadata.labels
        && annotations(old) == annotations(new)
}

/// Addresses with the same ports stand together, by address.
fn subsets(service: &Service, pods: &[Arc<Pod>]) -> Vec<EndpointSubset> {
    let publish = publishes_not_ready(service);
    let mut subsets: BTreeMap<Vec<Port>, (Vec<EndpointAddress>, Vec<EndpointAddress>)> =
        BTreeMap::new();
    for pod in pods.iter().filter(|pod| has_place(pod, publish)) {
        let Some(address) = address(service, pod) else { continue };
        // A pod without any of the ports has no place here, but for headless services without ports.
        let Some(ports) = resolved_ports(service, pod) else { continue };
        if ports.is_empty() && has_ports(service) {
            continue;
        }
        let (ready, not_ready) = subsets.entry(ports).or_default();
        if publish || is_ready(pod) { ready.push(address) } else { not_ready.push(address) }
    }
    subsets
        .into_iter()
        .map(|(ports, (mut ready, mut not_ready))| {
            for list in [&mut ready, &mut not_ready] {
                list.sort_by(|a, b| order(a).cmp(&order(b)));
            }
            EndpointSubset {
                addresses: filled(ready),
                not_ready_addresses: filled(not_ready),
                ports: filled(ports.into_iter().map(endpoint_port).collect()),
            }
        })
        .collect()
}

fn has_ports(service: &Service) -> bool {
    let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_ref());
    ports.is_some_and(|ports| !ports.is_empty())
}

fn order(address: &EndpointAddress) -> (&str, Option<&str>) {
    (&address.ip, address.target_ref.as_ref().and_then(|target| target.uid.as_deref()))
}

fn filled<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

fn endpoint_port((name, protocol, port, app_protocol): Port) -> EndpointPort {
    EndpointPort {
        name: (!name.is_empty()).then_some(name),
        protocol: Some(protocol),
        port,
        app_protocol,
    }
}

/// The pod's address in the service's first family.
fn address(service: &Service, pod: &Pod) -> Option<EndpointAddress> {
    let families = service.spec.as_ref().and_then(|spec| spec.ip_families.as_ref());
    let v6 = families.and_then(|families| families.first()).is_some_and(|first| first == "IPv6");
    let ip = addresses(pod).into_iter().find(|ip| ip.is_ipv6() == v6)?;
    Some(EndpointAddress {
        ip: ip.to_string(),
        hostname: hostname(pod, service).map(str::to_owned),
        node_name: node(pod).map(str::to_owned),
        target_ref: Some(ObjectReference {
            kind: Some("Pod".to_owned()),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectReference::default()
        }),
    })
}

/// Cuts to the capacity, each subset in proportion, ready addresses before the others.
fn truncate(subsets: &mut [EndpointSubset]) -> bool {
    let len = |list: &Option<Vec<EndpointAddress>>| list.as_ref().map_or(0, Vec::len);
    let ready: usize = subsets.iter().map(|subset| len(&subset.addresses)).sum();
    let not_ready: usize = subsets.iter().map(|subset| len(&subset.not_ready_addresses)).sum();
    if ready + not_ready <= ADDRESSES_MAX {
        return false;
    }
    let cut_ready = ready > ADDRESSES_MAX;
    let (mut left, total) =
        if cut_ready { (ADDRESSES_MAX, ready) } else { (ADDRESSES_MAX - ready, not_ready) };
    let capacity = left;
    for subset in subsets {
        let list = if cut_ready { &mut subset.addresses } else { &mut subset.not_ready_addresses };
        let share = (len(list) * capacity).div_ceil(total.max(1)).min(left);
        if let Some(addresses) = list {
            addresses.truncate(share);
            left -= addresses.len();
        }
        if list.as_ref().is_some_and(Vec::is_empty) {
            *list = None;
        }
        if cut_ready {
            subset.not_ready_addresses = None;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    const SERVICE: &str = "
metadata: {name: web, namespace: shop, uid: s}
spec: {selector: {app: web}, clusterIP: 10.96.0.9, ports: [{port: 80, targetPort: 8080}]}
";

    fn pod(i: usize, ready: bool) -> String {
        let ready = if ready { "True" } else { "False" };
        format!(
            "{{metadata: {{name: p{i}, namespace: shop, uid: u{i}}}, spec: {{nodeName: n1, containers: []}}, \
             status: {{phase: Running, podIP: 10.0.{}.{}, conditions: [{{type: Ready, status: '{ready}'}}]}}}}",
            i / 250,
            i % 250
        )
    }

    fn observe(pods: &[String], endpoints: Option<Endpoints>) -> Observed {
        Observed {
            service: Some(Arc::new(serde_yaml::from_str(SERVICE).unwrap())),
            pods: pods.iter().map(|pod| Arc::new(serde_yaml::from_str(pod).unwrap())).collect(),
            endpoints: endpoints.map(Arc::new),
        }
    }

    fn created(pods: &[String]) -> Endpoints {
        let plan = plan(&observe(pods, None));
        let Some(Action::Create(create)) = plan.actions.into_iter().next() else {
            panic!("nothing created")
        };
        serde_json::from_value(create.object).unwrap()
    }

    fn check(pods: &[String], expected: Expect) {
        expected.assert_eq(&serde_yaml::to_string(&created(pods)).unwrap());
    }

    #[test]
    fn ready_and_other_addresses_stand_apart() {
        check(
            &[pod(2, true), pod(1, false)],
            expect![[r#"
            apiVersion: v1
            kind: Endpoints
            metadata:
              labels:
                endpoints.kubernetes.io/managed-by: endpoint-controller
              name: web
              namespace: shop
            subsets:
            - addresses:
              - ip: 10.0.0.2
                nodeName: n1
                targetRef:
                  kind: Pod
                  name: p2
                  namespace: shop
                  uid: u2
              notReadyAddresses:
              - ip: 10.0.0.1
                nodeName: n1
                targetRef:
                  kind: Pod
                  name: p1
                  namespace: shop
                  uid: u1
              ports:
              - port: 8080
                protocol: TCP
        "#]],
        );
    }

    #[test]
    fn a_thousand_addresses_are_the_limit() {
        let pods: Vec<String> = (0..1200).map(|i| pod(i, i >= 100)).collect();
        let endpoints = created(&pods);
        let subset = &endpoints.subsets.as_ref().unwrap()[0];
        assert_eq!(subset.addresses.as_ref().unwrap().len(), 1000);
        assert_eq!(subset.not_ready_addresses, None);
        assert_eq!(endpoints.metadata.annotations.unwrap()[OVER_CAPACITY], "truncated");
        let pods: Vec<String> = (0..1200).map(|i| pod(i, i >= 300)).collect();
        let subset = created(&pods).subsets.unwrap().remove(0);
        assert_eq!(subset.addresses.unwrap().len(), 900);
        assert_eq!(subset.not_ready_addresses.unwrap().len(), 100);
    }

    #[test]
    fn endpoints_as_they_should_be_are_not_written_and_orphans_go() {
        let pods = [pod(1, true)];
        let endpoints = created(&pods);
        assert!(plan(&observe(&pods, Some(endpoints.clone()))).is_nothing());
        let mut gone = observe(&pods, Some(endpoints));
        gone.service = None;
        assert_eq!(plan(&gone).why, "their service is gone");
    }
}
