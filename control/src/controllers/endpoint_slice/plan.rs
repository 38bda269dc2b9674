//! What to do about the slices of one service.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::desired::{Group, endpoints, families};
use super::packing::pack;
use super::{ENDPOINT_SLICES, MANAGED_BY, MANAGER, SERVICE_NAME};
use crate::controllers::owners;
use crate::controllers::service_endpoints::{HEADLESS, inherited_labels, is_headless, selector};
use crate::engine::{Action, Create, Delete, Key, Plan, Update};

/// A burst of changes is gathered for so long per pod.
const REST_PER_POD: Duration = Duration::from_micros(50);
const REST_MAX: Duration = Duration::from_millis(50);
const REST_FROM: usize = 25;

pub(super) struct Observed {
    pub(super) service: Arc<Service>,
    /// The pods that it selects, by name.
    pub(super) pods: Vec<Arc<Pod>>,
    pub(super) zones: BTreeMap<String, Option<String>>,
    /// The service's slices that are ours.
    pub(super) slices: Vec<Arc<EndpointSlice>>,
}

pub(super) fn plan(observed: &Observed) -> Plan {
    let service = &*observed.service;
    if let Err(unmanaged) = selector(service) {
        return Plan::nothing(unmanaged.why());
    }
    if service.metadata.deletion_timestamp.is_some() {
        return Plan::nothing("being deleted");
    }
    let labels = labels(service);
    let mut desired = endpoints(service, &observed.pods, &observed.zones);
    let mut slices = by_group(&observed.slices, service);
    let groups: BTreeSet<Group> = desired.keys().chain(slices.keys()).cloned().collect();
    let mut writes = Writes::default();
    for slice in &observed.slices {
        if !families(service).contains(&slice.address_type.as_str()) {
            writes.deletes.push(slice.clone());
        }
    }
    for group in groups {
        let existing = slices.remove(&group).unwrap_or_default();
        let wanted = desired.remove(&group).unwrap_or_default();
        reconcile(service, &labels, &group, &existing, wanted, &mut writes);
    }
    for family in families(service) {
        // A service with nothing behind it still has a slice, which says so.
        if !writes.families.contains(family) {
            writes.placeholder(service, &labels, family);
        }
    }
    let count = observed.pods.len();
    let rest = if count < REST_FROM {
        Duration::ZERO
    } else {
        REST_PER_POD.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX)).min(REST_MAX)
    };
    let why = format!(
        "{count} pods: {} slices created, {} rewritten, {} deleted, {} untouched",
        writes.creates.len(),
        writes.updates.len(),
        writes.deletes.len(),
        writes.untouched
    );
    Plan { actions: writes.into_actions(), why, rest, ..Plan::default() }
}

#[derive(Default)]
struct Writes {
    creates: Vec<EndpointSlice>,
    updates: Vec<EndpointSlice>,
    deletes: Vec<Arc<EndpointSlice>>,
    untouched: usize,
    /// The families that have a slice when all is written.
    families: BTreeSet<&'static str>,
}

impl Writes {
    fn placeholder(
        &mut self,
        service: &Service,
        labels: &BTreeMap<String, String>,
        family: &'static str,
    ) {
        let group = Group { family, ports: Vec::new() };
        let empty = new_slice(service, labels, &group, Vec::new());
        let reused = self.deletes.iter().position(|slice| slice.address_type == family);
        match reused.map(|at| self.deletes.remove(at)) {
            Some(slice) => {
                // Absent and empty are the same.
                let is_empty = slice.endpoints.as_ref().is_none_or(Vec::is_empty)
                    && slice.ports.as_ref().is_none_or(Vec::is_empty);
                if is_empty && slice.metadata.labels == empty.metadata.labels {
                    self.untouched += 1;
                } else {
                    let mut emptied = (*slice).clone();
                    emptied.endpoints = empty.endpoints;
                    emptied.ports = empty.ports;
                    emptied.metadata.labels = empty.metadata.labels;
                    self.updates.push(emptied);
                }
            }
            None => self.creates.push(empty),
        }
    }

    fn into_actions(self) -> Vec<Action> {
        // Creates before deletes: an endpoint that moves is never nowhere.
        let creates = self.creates.iter().map(|slice| {
            let namespace = slice.metadata.namespace.as_deref().unwrap_or_default();
            Action::Create(Create::one(ENDPOINT_SLICES, namespace, slice))
        });
        let updates = self.updates.iter().map(|slice| {
            Action::Update(Update::whole(Key::of(ENDPOINT_SLICES, &slice.metadata), slice))
        });
        let deletes = self
            .deletes
            .iter()
            .map(|slice| Action::Delete(Delete::of(ENDPOINT_SLICES, &slice.metadata)));
        creates.chain(updates).chain(deletes).collect()
    }
}

/// The slices of the service's families, by what their endpoints have in common; by name.
fn by_group(
    slices: &[Arc<EndpointSlice>],
    service: &Service,
) -> BTreeMap<Group, Vec<Arc<EndpointSlice>>> {
    let mut groups: BTreeMap<Group, Vec<Arc<EndpointSlice>>> = BTreeMap::new();
    for slice in slices {
        let family = families(service).into_iter().find(|family| *family == slice.address_type);
        let Some(family) = family else { continue };
        let ports = Group::ports_of(slice.ports.as_deref().unwrap_or_default());
        groups.entry(Group { family, ports }).or_default().push(slice.clone());
    }
    groups
}

fn reconcile(
    service: &Service,
    labels: &BTreeMap<String, String>,
    group: &Group,
    existing: &[Arc<EndpointSlice>],
    wanted: Vec<Endpoint>,
    writes: &mut Writes,
) {
    let uid = service.metadata.uid.as_deref();
    let outdated: BTreeSet<usize> = existing
        .iter()
        .enumerate()
        .filter(|(_, slice)| {
            slice.metadata.labels.as_ref() != Some(labels)
                || !owners::is_controlled_by(&slice.metadata, uid)
        })
        .map(|(at, _)| at)
        .collect();
    let endpoints: Vec<&[Endpoint]> =
        existing.iter().map(|slice| slice.endpoints.as_deref().unwrap_or_default()).collect();
    let packed = pack(&endpoints, &outdated, wanted);
    if !packed.changed.is_empty() || !packed.created.is_empty() || !packed.unchanged.is_empty() {
        writes.families.insert(group.family);
    }
    writes.untouched += packed.unchanged.len();
    writes.deletes.extend(packed.deleted.iter().map(|at| existing[*at].clone()));
    for (at, endpoints) in packed.changed {
        let mut slice = (*existing[at]).clone();
        slice.endpoints = Some(endpoints);
        slice.metadata.labels = Some(labels.clone());
        slice.metadata.owner_references = Some(vec![owners::controller_reference(service)]);
        writes.updates.push(slice);
    }
    for endpoints in packed.created {
        writes.creates.push(new_slice(service, labels, group, endpoints));
    }
}

fn labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = inherited_labels(service);
    labels.remove(HEADLESS);
    if is_headless(service) {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    labels.insert(SERVICE_NAME.to_owned(), service.metadata.name.clone().unwrap_or_default());
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    labels
}

fn new_slice(
    service: &Service,
    labels: &BTreeMap<String, String>,
    group: &Group,
    endpoints: Vec<Endpoint>,
) -> EndpointSlice {
    let name = service.metadata.name.as_deref().unwrap_or_default();
    EndpointSlice {
        metadata: ObjectMeta {
            generate_name: Some(format!("{name}-")),
            namespace: service.metadata.namespace.clone(),
            labels: Some(labels.clone()),
            owner_references: Some(vec![owners::controller_reference(service)]),
            ..ObjectMeta::default()
        },
        address_type: group.family.to_owned(),
        endpoints: Some(endpoints),
        ports: Some(group.endpoint_ports()),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    const SERVICE: &str = "
metadata: {name: web, namespace: shop, uid: s, labels: {team: a}}
spec: {selector: {app: web}, clusterIP: 10.96.0.9, ports: [{name: http, port: 80, targetPort: web}]}
";

    fn pod(name: &str, ip: &str, port: u16, more: &str, ready: bool) -> String {
        let ready = if ready { "True" } else { "False" };
        format!(
            "{{metadata: {{name: {name}, namespace: shop, uid: u-{name}, {more}}}, \
             spec: {{nodeName: n1, containers: [{{name: c, ports: [{{name: web, containerPort: {port}}}]}}]}}, \
             status: {{phase: Running, podIP: {ip}, conditions: [{{type: Ready, status: '{ready}'}}]}}}}"
        )
    }

    fn observe(service: &str, pods: &[String]) -> Observed {
        Observed {
            service: Arc::new(serde_yaml::from_str(service).unwrap()),
            pods: pods.iter().map(|pod| Arc::new(serde_yaml::from_str(pod).unwrap())).collect(),
            zones: BTreeMap::from([("n1".to_owned(), Some("zone-a".to_owned()))]),
            slices: Vec::new(),
        }
    }

    fn check(service: &str, pods: &[String], expected: Expect) {
        let plan = plan(&observe(service, pods));
        let mut out = String::new();
        for action in &plan.actions {
            if let Action::Create(create) = action {
                let mut slice: EndpointSlice =
                    serde_json::from_value(create.object.clone()).unwrap();
                slice.metadata.owner_references = None;
                for endpoint in slice.endpoints.iter_mut().flatten() {
                    endpoint.target_ref = None;
                }
                out.push_str(&serde_yaml::to_string(&slice).unwrap());
            }
        }
        out.push_str(&plan.why);
        expected.assert_eq(&out);
    }

    #[test]
    fn slices_tell_ready_serving_and_terminating_apart() {
        let leaving = "deletionTimestamp: '2026-01-01T00:00:00Z'";
        check(
            SERVICE,
            &[
                pod("a", "10.0.0.1", 8080, "", true),
                pod("b", "10.0.0.2", 8080, "", false),
                pod("c", "10.0.0.3", 8080, leaving, true),
            ],
            expect![[r#"
                apiVersion: discovery.k8s.io/v1
                kind: EndpointSlice
                addressType: IPv4
                endpoints:
                - addresses:
                  - 10.0.0.1
                  conditions:
                    ready: true
                    serving: true
                    terminating: false
                  nodeName: n1
                  zone: zone-a
                - addresses:
                  - 10.0.0.2
                  conditions:
                    ready: false
                    serving: false
                    terminating: false
                  nodeName: n1
                  zone: zone-a
                - addresses:
                  - 10.0.0.3
                  conditions:
                    ready: false
                    serving: true
                    terminating: true
                  nodeName: n1
                  zone: zone-a
                metadata:
                  generateName: web-
                  labels:
                    endpointslice.kubernetes.io/managed-by: endpointslice-controller.k8s.io
                    kubernetes.io/service-name: web
                    team: a
                  namespace: shop
                ports:
                - name: http
                  port: 8080
                  protocol: TCP
                3 pods: 1 slices created, 0 rewritten, 0 deleted, 0 untouched"#]],
        );
    }

    #[test]
    fn a_named_port_that_differs_between_pods_makes_two_slices() {
        let pods = [pod("a", "10.0.0.1", 8080, "", true), pod("b", "10.0.0.2", 9090, "", true)];
        let plan = plan(&observe(SERVICE, &pods));
        expect!["2 pods: 2 slices created, 0 rewritten, 0 deleted, 0 untouched"]
            .assert_eq(&plan.why);
    }

    #[test]
    fn a_headless_service_without_ports_lists_its_pods() {
        let service = "
metadata: {name: db, namespace: shop, uid: s}
spec: {selector: {app: db}, clusterIP: None, publishNotReadyAddresses: true}
";
        check(
            service,
            &[pod("a", "10.0.0.1", 1, "", false)],
            expect![[r#"
            apiVersion: discovery.k8s.io/v1
            kind: EndpointSlice
            addressType: IPv4
            endpoints:
            - addresses:
              - 10.0.0.1
              conditions:
                ready: true
                serving: false
                terminating: false
              nodeName: n1
              zone: zone-a
            metadata:
              generateName: db-
              labels:
                endpointslice.kubernetes.io/managed-by: endpointslice-controller.k8s.io
                kubernetes.io/service-name: db
                service.kubernetes.io/headless: ''
              namespace: shop
            ports: []
            1 pods: 1 slices created, 0 rewritten, 0 deleted, 0 untouched"#]],
        );
    }

    #[test]
    fn a_service_without_pods_has_an_empty_slice() {
        check(
            SERVICE,
            &[],
            expect![[r#"
            apiVersion: discovery.k8s.io/v1
            kind: EndpointSlice
            addressType: IPv4
            endpoints: []
            metadata:
              generateName: web-
              labels:
                endpointslice.kubernetes.io/managed-by: endpointslice-controller.k8s.io
                kubernetes.io/service-name: web
                team: a
              namespace: shop
            ports: []
            0 pods: 1 slices created, 0 rewritten, 0 deleted, 0 untouched"#]],
        );
    }

    #[test]
    fn services_without_selector_are_left_alone() {
        let service = "{metadata: {name: web}, spec: {ports: [{port: 80}]}}";
        check(service, &[], expect!["no selector: its endpoints are somebody else's"]);
    }

    #[test]
    fn a_written_slice_is_not_written_again() {
        let pods: Vec<String> = (0..150)
            .map(|i| pod(&format!("p{i:03}"), &format!("10.0.0.{i}"), 80, "", true))
            .collect();
        let mut observed = observe(SERVICE, &pods);
        for (at, action) in plan(&observed).actions.into_iter().enumerate() {
            let Action::Create(create) = action else { panic!("{action:?}") };
            let mut slice: EndpointSlice = serde_json::from_value(create.object).unwrap();
            slice.metadata.name = Some(format!("web-{at}"));
            observed.slices.push(Arc::new(slice));
        }
        assert!(plan(&observed).is_nothing());
        // One pod leaves: one slice is rewritten.
        observed.pods.remove(120);
        expect!["149 pods: 0 slices created, 1 rewritten, 0 deleted, 1 untouched"]
            .assert_eq(&plan(&observed).why);
        // All leave: one slice stays, empty.
        observed.pods.clear();
        expect!["0 pods: 0 slices created, 1 rewritten, 1 deleted, 0 untouched"]
            .assert_eq(&plan(&observed).why);
    }
}
