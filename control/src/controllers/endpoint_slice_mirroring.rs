//! EndpointSlices of Endpoints that somebody wrote by hand: those of services without a selector.
//!
//! There is one slice for each set of ports and family; what it says is what the Endpoints say.
//! Source of the behaviour: upstream's `pkg/controller/endpointslicemirroring`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{EndpointAddress, EndpointSubset, Endpoints, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::endpoint_slice::{ENDPOINT_SLICES, MANAGED_BY, SERVICE_NAME};
use super::owners;
use super::service_endpoints::{Port, SERVICES};
use crate::engine::{
    Action, Change, Context, Controller, Create, Delete, Key, Note, Plan, Reader, Update, about,
};

const ENDPOINTS: &str = "endpoints";
const MANAGER: &str = "endpointslicemirroring-controller.k8s.io";
const SKIP_MIRROR: &str = "endpointslice.kubernetes.io/skip-mirror";
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
/// Annotations that say something of the Endpoints object alone.
const OWN_ANNOTATIONS: [&str; 2] = [
    "endpoints.kubernetes.io/last-change-trigger-time",
    "kubectl.kubernetes.io/last-applied-configuration",
];
/// More addresses of one subset are not mirrored.
const ADDRESSES_MAX: usize = 1000;

/// See the module's documentation.
pub(super) struct EndpointSliceMirroring;

impl Controller for EndpointSliceMirroring {
    fn name(&self) -> &'static str {
        "endpoint-slice-mirroring-controller"
    }

    fn observes(&self) -> &'static [&'static str] {
        &[ENDPOINTS, ENDPOINT_SLICES, SERVICES]
    }

    fn keys(&self, _reader: &Reader, change: &Change) -> Vec<Key> {
        let object = &change.object;
        if &*change.resource != ENDPOINT_SLICES {
            // Endpoints bear their service's name.
            return vec![Key::new(ENDPOINTS, object.namespace(), object.name())];
        }
        let labels = object.labels();
        let ours = labels.get(MANAGED_BY).is_some_and(|manager| manager == MANAGER);
        let service = labels.get(SERVICE_NAME).filter(|_| ours);
        service.map(|name| Key::new(ENDPOINTS, object.namespace(), name)).into_iter().collect()
    }

    fn plan(&self, context: &Context<'_>, key: &Key) -> Plan {
        let reader = context.reader;
        if reader.at::<Endpoints>(key).is_none() && reader.object_at(key).is_some() {
            return Plan::nothing("the Endpoints cannot be decoded");
        }
        let wanted = BTreeMap::from([
            (SERVICE_NAME.to_owned(), key.name.to_string()),
            (MANAGED_BY.to_owned(), MANAGER.to_owned()),
        ]);
        plan(&Observed {
            endpoints: reader.at(key),
            service: reader.get(SERVICES, &key.namespace, &key.name),
            slices: reader.selected(ENDPOINT_SLICES, &key.namespace, &wanted),
        })
    }
}

struct Observed {
    endpoints: Option<Arc<Endpoints>>,
    service: Option<Arc<Service>>,
    /// The mirrored ones.
    slices: Vec<Arc<EndpointSlice>>,
}

/// The Endpoints to mirror, or why there are none.
fn mirrored(observed: &Observed) -> Result<&Endpoints, &'static str> {
    let endpoints = observed.endpoints.as_deref().ok_or("no Endpoints")?;
    let label = endpoints.metadata.labels.as_ref().and_then(|labels| labels.get(SKIP_MIRROR));
    if label.is_some_and(|value| value == "true") {
        return Err("not to be mirrored");
    }
    let annotations = endpoints.metadata.annotations.as_ref();
    if annotations.is_some_and(|annotations| annotations.contains_key(LEADER)) {
        return Err("a leader is elected by them");
    }
    let service = observed.service.as_deref().ok_or("no service")?;
    let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    if selector.is_some_and(|selector| !selector.is_empty()) {
        return Err("the service has a selector");
    }
    Ok(endpoints)
}

fn plan(observed: &Observed) -> Plan {
    let endpoints = match mirrored(observed) {
        Ok(endpoints) => endpoints,
        Err(why) => {
            let actions = observed.slices.iter().map(|slice| delete(slice)).collect();
            return Plan { actions, why: why.to_owned(), ..Plan::default() };
        }
    };
    let (desired, left_out) = desired(endpoints.subsets.as_deref().unwrap_or_default());
    let mut existing: BTreeMap<Group, Vec<Arc<EndpointSlice>>> = BTreeMap::new();
    for slice in &observed.slices {
        existing.entry(Group::of(slice)).or_default().push(slice.clone());
    }
    let mut spare = Vec::new();
    let mut missing = Vec::new();
    let mut updates = Vec::new();
    for (group, wanted) in desired {
        let mut slices = existing.remove(&group).unwrap_or_default().into_iter();
        let new = new_slice(endpoints, &group, wanted);
        match slices.next() {
            Some(slice) if same(&slice, &new) => {}
            Some(slice) => updates.push(rewritten(&slice, new)),
            None => missing.push(new),
        }
        spare.extend(slices);
    }
    spare.extend(existing.into_values().flatten());
    let mut creates = Vec::new();
    for new in missing {
        // A slice that would go is rewritten rather, where its family is the same.
        match spare.iter().position(|slice| slice.address_type == new.address_type) {
            Some(at) => updates.push(rewritten(&spare.remove(at), new)),
            None => creates.push(new),
        }
    }
    let is_leaving = endpoints.metadata.deletion_timestamp.is_some();
    let namespace = endpoints.metadata.namespace.as_deref().unwrap_or_default();
    let why = format!(
        "{} slices created, {} rewritten, {} deleted",
        creates.len(),
        updates.len(),
        spare.len()
    );
    let creates = creates
        .iter()
        .filter(|_| !is_leaving)
        .map(|slice| Action::Create(Create::one(ENDPOINT_SLICES, namespace, slice)));
    let updates = updates.iter().map(|slice| {
        Action::Update(Update::whole(Key::of(ENDPOINT_SLICES, &slice.metadata), slice))
    });
    let deletes = spare.iter().map(|slice| delete(slice));
    let mut actions: Vec<Action> = creates.chain(updates).chain(deletes).collect();
    if left_out > 0 && !actions.is_empty() {
        actions.push(too_many(endpoints, left_out));
    }
    Plan { actions, why, ..Plan::default() }
}

fn delete(slice: &EndpointSlice) -> Action {
    Action::Delete(Delete::of(ENDPOINT_SLICES, &slice.metadata))
}

fn too_many(endpoints: &Endpoints, left_out: usize) -> Action {
    let message = format!(
        "A max of {ADDRESSES_MAX} addresses can be mirrored to EndpointSlices per Endpoints subset. {left_out} addresses were skipped"
    );
    Action::Event(Note::warning(&about(endpoints), "TooManyAddressesToMirror", message.into()))
}

/// What the endpoints of one slice have in common.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Group {
    family: String,
    ports: Vec<Port>,
}

impl Group {
    fn of(slice: &EndpointSlice) -> Self {
        let ports = slice.ports.iter().flatten().map(|port| {
            let text = |field: &Option<String>| field.clone().unwrap_or_default();
            (
                text(&port.name),
                text(&port.protocol),
                port.port.unwrap_or(0),
                port.app_protocol.clone(),
            )
        });
        Self::new(&slice.address_type, ports.collect())
    }

    fn new(family: &str, mut ports: Vec<Port>) -> Self {
        ports.sort();
        Self { family: family.to_owned(), ports }
    }
}

/// The endpoints of each group, by address; and how many there were too many.
fn desired(subsets: &[EndpointSubset]) -> (BTreeMap<Group, BTreeMap<IpAddr, Endpoint>>, usize) {
    let mut groups: BTreeMap<Group, BTreeMap<IpAddr, Endpoint>> = BTreeMap::new();
    let mut left_out = 0;
    for subset in subsets {
        let ports = subset.ports.iter().flatten().map(|port| {
            (
                port.name.clone().unwrap_or_default(),
                port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
                port.port,
                port.app_protocol.clone(),
            )
        });
        let ports: Vec<Port> = ports.collect();
        let ready = subset.addresses.iter().flatten().map(|address| (address, true));
        let not_ready = subset.not_ready_addresses.iter().flatten().map(|address| (address, false));
        let mut taken = 0;
        for (address, is_ready) in ready.chain(not_ready) {
            // Validation lets nothing else in.
            let Ok(ip) = address.ip.parse::<IpAddr>() else { continue };
            if taken == ADDRESSES_MAX {
                left_out += 1;
                continue;
            }
            taken += 1;
            let family = if ip.is_ipv6() { "IPv6" } else { "IPv4" };
            let group = groups.entry(Group::new(family, ports.clone())).or_default();
            group.insert(ip, endpoint(ip, address, is_ready));
        }
    }
    (groups, left_out)
}

fn endpoint(ip: IpAddr, address: &EndpointAddress, is_ready: bool) -> Endpoint {
    Endpoint {
        addresses: vec![ip.to_string()],
        conditions: Some(EndpointConditions {
            ready: Some(is_ready),
            ..EndpointConditions::default()
        }),
        hostname: address.hostname.clone().filter(|name| !name.is_empty()),
        node_name: address.node_name.clone(),
        target_ref: address.target_ref.clone(),
        ..Endpoint::default()
    }
}

fn new_slice(
    endpoints: &Endpoints,
    group: &Group,
    wanted: BTreeMap<IpAddr, Endpoint>,
) -> EndpointSlice {
    let name = endpoints.metadata.name.clone().unwrap_or_default();
    let mut labels = endpoints.metadata.labels.clone().unwrap_or_default();
    labels.insert(SERVICE_NAME.to_owned(), name.clone());
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    let mut annotations = endpoints.metadata.annotations.clone().unwrap_or_default();
    annotations.retain(|key, _| !OWN_ANNOTATIONS.contains(&key.as_str()));
    let ports = group.ports.iter().map(|(name, protocol, port, app_protocol)| EndpointPort {
        name: Some(name.clone()),
        protocol: Some(protocol.clone()),
        port: Some(*port),
        app_protocol: app_protocol.clone(),
    });
    EndpointSlice {
        metadata: ObjectMeta {
            generate_name: Some(format!("{name}-")),
            namespace: endpoints.metadata.namespace.clone(),
            labels: Some(labels),
            annotations: (!annotations.is_empty()).then_some(annotations),
            owner_references: Some(vec![owners::controller_reference(endpoints)]),
            ..ObjectMeta::default()
        },
        address_type: group.family.clone(),
        endpoints: Some(wanted.into_values().collect()),
        ports: Some(ports.collect()),
    }
}

/// The old slice with the new one's contents.
fn rewritten(old: &EndpointSlice, new: EndpointSlice) -> EndpointSlice {
    let mut slice = old.clone();
    slice.endpoints = new.endpoints;
    slice.ports = new.ports;
    slice.metadata.labels = new.metadata.labels;
    slice.metadata.annotations = new.metadata.annotations;
    slice.metadata.owner_references = new.metadata.owner_references;
    slice
}

/// Whether nothing but the order of the endpoints differs.
fn same(old: &EndpointSlice, new: &EndpointSlice) -> bool {
    let endpoints = |slice: &EndpointSlice| {
        let mut endpoints = slice.endpoints.clone().unwrap_or_default();
        endpoints.sort_by(|a, b| a.addresses.cmp(&b.addresses));
        endpoints
    };
    let annotations =
        |slice: &EndpointSlice| slice.metadata.annotations.clone().unwrap_or_default();
    endpoints(old) == endpoints(new)
        && old.metadata.labels == new.metadata.labels
        && annotations(old) == annotations(new)
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::engine::show_plan;

    const SERVICE: &str = "{metadata: {name: db, namespace: shop}, spec: {ports: [{port: 80}]}}";

    fn observe(service: Option<&str>, endpoints: Option<&str>) -> Observed {
        Observed {
            service: service.map(|text| Arc::new(serde_yaml::from_str(text).unwrap())),
            endpoints: endpoints.map(|text| Arc::new(serde_yaml::from_str(text).unwrap())),
            slices: Vec::new(),
        }
    }

    fn endpoints(metadata: &str, subsets: &str) -> String {
        format!(
            "{{metadata: {{name: db, namespace: shop, uid: e, {metadata}}}, subsets: {subsets}}}"
        )
    }

    /// The slices that a plan creates, as they would be stored.
    fn created(plan: &Plan) -> Vec<Arc<EndpointSlice>> {
        let creates = plan.actions.iter().filter_map(|action| match action {
            Action::Create(create) => Some(create.object.clone()),
            _ => None,
        });
        creates
            .enumerate()
            .map(|(number, object)| {
                let mut slice: EndpointSlice = serde_json::from_value(object).unwrap();
                slice.metadata.name = Some(format!("db-{number}"));
                slice.metadata.uid = Some(format!("s{number}"));
                Arc::new(slice)
            })
            .collect()
    }

    fn check(observed: &Observed, expected: Expect) {
        expected.assert_eq(&show_plan(&plan(observed)));
    }

    #[test]
    fn a_slice_says_what_the_endpoints_say() {
        let text = endpoints(
            "labels: {team: a}, annotations: {note: b, kubectl.kubernetes.io/last-applied-configuration: c}",
            "[{addresses: [{ip: 10.0.0.2, nodeName: n}], notReadyAddresses: [{ip: 10.0.0.1, hostname: h}], \
              ports: [{name: http, port: 80, appProtocol: h2c}]}]",
        );
        let observed = observe(Some(SERVICE), Some(&text));
        let slices = created(&plan(&observed));
        expect![[r#"
            apiVersion: discovery.k8s.io/v1
            kind: EndpointSlice
            addressType: IPv4
            endpoints:
            - addresses:
              - 10.0.0.1
              conditions:
                ready: false
              hostname: h
            - addresses:
              - 10.0.0.2
              conditions:
                ready: true
              nodeName: n
            metadata:
              annotations:
                note: b
              generateName: db-
              labels:
                endpointslice.kubernetes.io/managed-by: endpointslicemirroring-controller.k8s.io
                kubernetes.io/service-name: db
                team: a
              name: db-0
              namespace: shop
              ownerReferences:
              - apiVersion: v1
                blockOwnerDeletion: true
                controller: true
                kind: Endpoints
                name: db
                uid: e
              uid: s0
            ports:
            - appProtocol: h2c
              name: http
              port: 80
              protocol: TCP
        "#]]
        .assert_eq(&serde_yaml::to_string(&*slices[0]).unwrap());
        check(
            &Observed { slices, ..observed },
            expect![[r#"
                why 0 slices created, 0 rewritten, 0 deleted
            "#]],
        );
    }

    #[test]
    fn families_and_ports_have_slices_of_their_own_and_spare_slices_are_used_again() {
        let both = endpoints(
            "",
            "[{addresses: [{ip: 10.0.0.1}, {ip: 'fd00::1'}], ports: [{port: 80}]}, \
             {addresses: [{ip: 10.0.0.1}], ports: [{port: 81}]}]",
        );
        let observed = observe(Some(SERVICE), Some(&both));
        let slices = created(&plan(&observed));
        assert_eq!(slices.len(), 3);
        let other_port = endpoints("", "[{addresses: [{ip: 10.0.0.1}], ports: [{port: 82}]}]");
        check(
            &Observed { slices, ..observe(Some(SERVICE), Some(&other_port)) },
            expect![[r#"
                update endpointslices.discovery.k8s.io/shop/db-0 whole
                delete endpointslices.discovery.k8s.io/shop/db-1 Background
                delete endpointslices.discovery.k8s.io/shop/db-2 Background
                why 0 slices created, 1 rewritten, 2 deleted
            "#]],
        );
    }

    #[test]
    fn what_is_not_to_be_mirrored_leaves_no_slice() {
        let text = endpoints("", "[{addresses: [{ip: 10.0.0.1}], ports: [{port: 80}]}]");
        let slices = created(&plan(&observe(Some(SERVICE), Some(&text))));
        let selecting = "{metadata: {name: db, namespace: shop}, spec: {selector: {a: b}}}";
        let skipped = endpoints("labels: {endpointslice.kubernetes.io/skip-mirror: 'true'}", "[]");
        let leading = endpoints("annotations: {control-plane.alpha.kubernetes.io/leader: x}", "[]");
        let cases = [
            (None, Some(&text), "no service"),
            (Some(SERVICE), None, "no Endpoints"),
            (Some(selecting), Some(&text), "the service has a selector"),
            (Some(SERVICE), Some(&skipped), "not to be mirrored"),
            (Some(SERVICE), Some(&leading), "a leader is elected by them"),
        ];
        for (service, endpoints, why) in cases {
            let observed = observe(service, endpoints.map(String::as_str));
            let plan = plan(&Observed { slices: slices.clone(), ..observed });
            assert!(matches!(&plan.actions[..], [Action::Delete(_)]), "{why}");
            assert_eq!(plan.why, why);
        }
    }

    #[test]
    fn too_many_addresses_are_told_of() {
        let addresses: Vec<String> =
            (0..1002).map(|at| format!("{{ip: 10.0.{}.{}}}", at / 250, at % 250 + 1)).collect();
        let subsets = format!("[{{addresses: [{}], ports: [{{port: 80}}]}}]", addresses.join(", "));
        let plan = plan(&observe(Some(SERVICE), Some(&endpoints("", &subsets))));
        let shown = show_plan(&plan);
        assert!(shown.contains("2 addresses were skipped"), "{shown}");
        assert_eq!(created(&plan)[0].endpoints.as_ref().unwrap().len(), 1000);
    }
}
