//! The routing table: Services, EndpointSlices and local pods → where a connection goes.
//!
//! Pure: no I/O, no clock (`now` comes in). `mod.rs` feeds it from watches; the doors and the
//! guests' sockets ask it. Rules: <https://kubernetes.io/docs/reference/networking/virtual-ips/>
//! and <https://github.com/kubernetes/dns/blob/master/docs/specification.md>.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{ObjectReference, Service, ServicePort};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use parking_lot::Mutex;

/// The label by which a slice names its Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// A transport protocol that Services carry here. SCTP has no form in WASI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    fn parse(name: Option<&str>) -> Option<Self> {
        match name {
            None | Some("TCP") => Some(Self::Tcp),
            Some("UDP") => Some(Self::Udp),
            Some(_) => None,
        }
    }
}

/// Who a pod on this machine is: what name look-ups from it are relative to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodIdentity {
    pub namespace: String,
    pub name: String,
}

/// Where a connection to an address goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The address is a Service's; this endpoint was chosen.
    Endpoint(SocketAddr),
    /// The address is a Service's, and nothing stands behind it now.
    NoEndpoints,
    /// A Service's address without such a port.
    NoSuchPort,
    /// Not a Service's address: a pod's, or one outside.
    NotAService,
}

/// What a name means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Addresses(Vec<IpAddr>),
    /// An ExternalName Service: look this name up instead.
    Alias(String),
    /// In the cluster's domain, but nothing bears it.
    NoSuchName,
    /// Not a cluster name: ask the host's resolver.
    Outside,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Endpoint {
    address: SocketAddr,
    ready: bool,
    serving: bool,
}

/// A Service as its namespace's pods are told of it in their environment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServicePorts {
    pub name: String,
    pub ip: IpAddr,
    /// Name, number and protocol of each port.
    pub ports: Vec<(String, u16, Protocol)>,
}

type ServiceKey = (String, String);

/// One port of a Service, with what it needs to choose an endpoint.
struct Port {
    service: ServiceKey,
    /// Of the Service.
    uid: String,
    name: String,
    node_port: Option<u16>,
    /// `sessionAffinity: ClientIP`, and how long a client sticks.
    affinity: Option<Duration>,
    turn: AtomicUsize,
    stuck: Mutex<HashMap<IpAddr, (SocketAddr, Instant)>>,
}

struct ServiceEntry {
    cluster_ips: Vec<IpAddr>,
    headless: bool,
    external_name: Option<String>,
    publish_not_ready: bool,
    ports: Vec<(u16, Protocol, Arc<Port>)>,
}

/// A slice, reduced to what routing asks.
#[derive(Default)]
struct SliceEntry {
    /// Endpoints by port name and protocol.
    ports: Vec<(String, Protocol, Vec<Endpoint>)>,
    /// For headless Services: host name, address, ready.
    hosts: Vec<(Option<String>, IpAddr, bool)>,
    /// Addresses that are ready and not terminating.
    listed: Vec<IpAddr>,
}

/// See the module's documentation.
pub struct Index {
    domain: String,
    services: HashMap<ServiceKey, ServiceEntry>,
    slices: HashMap<ServiceKey, BTreeMap<String, SliceEntry>>,
    /// Which Service a slice belonged to when it was last seen.
    slice_owner: HashMap<ServiceKey, ServiceKey>,
    by_address: HashMap<(IpAddr, u16, Protocol), Arc<Port>>,
    service_ips: HashMap<IpAddr, ServiceKey>,
    by_node_port: BTreeMap<(u16, Protocol), Arc<Port>>,
    pods: HashMap<IpAddr, PodIdentity>,
    /// Pods on this machine that are ending: they get a new connection only where nobody else would take it.
    withdrawn: HashSet<IpAddr>,
    /// Pods that take no new connection any more, whatever the slices say.
    closed: HashSet<IpAddr>,
    /// How many slices call an address ready and not terminating.
    listed: HashMap<IpAddr, usize>,
}

impl Index {
    /// `domain`: the cluster's, such as `cluster.local`.
    pub fn new(domain: &str) -> Self {
        Self {
            domain: domain.trim_matches('.').to_ascii_lowercase(),
            services: HashMap::new(),
            slices: HashMap::new(),
            slice_owner: HashMap::new(),
            by_address: HashMap::new(),
            service_ips: HashMap::new(),
            by_node_port: BTreeMap::new(),
            pods: HashMap::new(),
            withdrawn: HashSet::new(),
            closed: HashSet::new(),
            listed: HashMap::new(),
        }
    }

    /// Where a connection from `client` to `to` goes.
    pub fn route(
        &self,
        client: IpAddr,
        to: SocketAddr,
        protocol: Protocol,
        now: Instant,
    ) -> Decision {
        match self.by_address.get(&(to.ip(), to.port(), protocol)) {
            Some(port) => self.choose(port, client, protocol, &[], now),
            None if self.service_ips.contains_key(&to.ip()) => Decision::NoSuchPort,
            None => Decision::NotAService,
        }
    }

    /// Where a connection that came in through a NodePort goes; not to those that were `tried` in vain.
    pub fn route_node_port(
        &self,
        client: IpAddr,
        node_port: u16,
        protocol: Protocol,
        tried: &[SocketAddr],
        now: Instant,
    ) -> Decision {
        match self.by_node_port.get(&(node_port, protocol)) {
            Some(port) => self.choose(port, client, protocol, tried, now),
            None => Decision::NoSuchPort,
        }
    }

    /// The NodePorts that want a door, and whether somebody stands behind it.
    pub fn node_ports(&self) -> BTreeMap<(u16, Protocol), bool> {
        self.by_node_port
            .iter()
            .map(|(key, port)| {
                let open = |endpoint: &Endpoint| {
                    (endpoint.ready || endpoint.serving)
                        && !self.closed.contains(&endpoint.address.ip())
                };
                (*key, self.endpoints(port, key.1).any(open))
            })
            .collect()
    }

    /// The Service behind a NodePort, for messages.
    pub fn node_port_owner(&self, node_port: u16, protocol: Protocol) -> Option<ObjectReference> {
        let port = self.by_node_port.get(&(node_port, protocol))?;
        Some(ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Service".to_owned()),
            namespace: Some(port.service.0.clone()),
            name: Some(port.service.1.clone()),
            uid: Some(port.uid.clone()),
            ..ObjectReference::default()
        })
    }

    /// The meaning of `name` to a pod in `namespace`, by the pod's search list.
    pub fn resolve(&self, namespace: Option<&str>, name: &str) -> Answer {
        let absolute = name.ends_with('.');
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        if let Some(inside) = self.inside_domain(&name) {
            return self.look_up(inside);
        }
        if !absolute {
            for candidate in Self::candidates(namespace, &name) {
                match self.look_up(&candidate) {
                    Answer::NoSuchName => {}
                    found => return found,
                }
            }
        }
        Answer::Outside
    }

    pub fn apply_service(&mut self, service: &Service) {
        let key = key(&service.metadata);
        self.delete_service(&key.0, &key.1);
        let Some(spec) = &service.spec else { return };
        let cluster_ips: Vec<IpAddr> = spec
            .cluster_ips
            .iter()
            .flatten()
            .chain(&spec.cluster_ip)
            .filter_map(|ip| ip.parse().ok())
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        let external_name = match spec.type_.as_deref() {
            Some("ExternalName") => spec.external_name.clone(),
            _ => None,
        };
        let affinity = (spec.session_affinity.as_deref() == Some("ClientIP")).then(|| {
            let seconds = spec
                .session_affinity_config
                .as_ref()
                .and_then(|config| config.client_ip.as_ref()?.timeout_seconds)
                .unwrap_or(10_800);
            Duration::from_secs(seconds.max(0).unsigned_abs().into())
        });
        let uid = service.metadata.uid.clone().unwrap_or_default();
        let ports: Vec<_> = spec
            .ports
            .iter()
            .flatten()
            .filter_map(|port| port_entry(&key, &uid, port, affinity))
            .collect();
        for (number, protocol, port) in &ports {
            for ip in &cluster_ips {
                self.by_address.insert((*ip, *number, *protocol), port.clone());
            }
            if let Some(node_port) = port.node_port {
                self.by_node_port.insert((node_port, *protocol), port.clone());
            }
        }
        for ip in &cluster_ips {
            self.service_ips.insert(*ip, key.clone());
        }
        let entry = ServiceEntry {
            headless: spec.cluster_ip.as_deref() == Some("None"),
            publish_not_ready: spec.publish_not_ready_addresses == Some(true),
            cluster_ips,
            external_name,
            ports,
        };
        self.services.insert(key, entry);
    }

    pub fn delete_service(&mut self, namespace: &str, name: &str) {
        let key = (namespace.to_owned(), name.to_owned());
        let Some(old) = self.services.remove(&key) else { return };
        for ip in &old.cluster_ips {
            self.service_ips.remove(ip);
        }
        for (number, protocol, port) in old.ports {
            for ip in &old.cluster_ips {
                self.by_address.remove(&(*ip, number, protocol));
            }
            if let Some(node_port) = port.node_port {
                self.by_node_port.remove(&(node_port, protocol));
            }
        }
    }

    pub fn apply_slice(&mut self, slice: &EndpointSlice) {
        let key = key(&slice.metadata);
        self.delete_slice(&key.0, &key.1);
        let labels = slice.metadata.labels.as_ref();
        let Some(service) = labels.and_then(|labels| labels.get(SERVICE_NAME)) else { return };
        let owner = (key.0.clone(), service.clone());
        self.slice_owner.insert(key.clone(), owner.clone());
        let entry = slice_entry(slice);
        for ip in &entry.listed {
            *self.listed.entry(*ip).or_default() += 1;
        }
        self.slices.entry(owner).or_default().insert(key.1, entry);
    }

    pub fn delete_slice(&mut self, namespace: &str, name: &str) {
        let key = (namespace.to_owned(), name.to_owned());
        let Some(owner) = self.slice_owner.remove(&key) else { return };
        if let Some(slices) = self.slices.get_mut(&owner) {
            for ip in slices.remove(name).into_iter().flat_map(|entry| entry.listed) {
                if let Some(count) = self.listed.get_mut(&ip) {
                    *count -= 1;
                    if *count == 0 {
                        self.listed.remove(&ip);
                    }
                }
            }
            if slices.is_empty() {
                self.slices.remove(&owner);
            }
        }
    }

    /// A pod on this machine got `ip`.
    pub fn attach_pod(&mut self, ip: IpAddr, pod: PodIdentity) {
        self.withdrawn.remove(&ip);
        self.closed.remove(&ip);
        self.pods.insert(ip, pod);
    }

    /// A pod on this machine is ending: a new connection goes to it only where nobody else is left.
    pub fn withdraw_pod(&mut self, ip: IpAddr) {
        self.withdrawn.insert(ip);
    }

    /// A pod on this machine closes its listeners: no new connection goes to it.
    pub fn close_pod(&mut self, ip: IpAddr) {
        self.closed.insert(ip);
    }

    /// The pod at `ip` is gone. It stays closed until the address is given out again, since a
    /// slice may still name it.
    pub fn detach_pod(&mut self, ip: IpAddr) {
        self.pods.remove(&ip);
        self.withdrawn.remove(&ip);
        self.closed.insert(ip);
    }

    /// Whether a slice still calls the address ready and not terminating.
    pub fn is_listed(&self, ip: IpAddr) -> bool {
        self.listed.contains_key(&ip)
    }

    pub fn pod(&self, ip: IpAddr) -> Option<&PodIdentity> {
        self.pods.get(&ip)
    }

    /// The ClusterIP Services of a namespace with their ports, for the environment of its pods.
    pub fn services_in(&self, namespace: &str) -> Vec<ServicePorts> {
        let mut found: Vec<_> = self
            .services
            .iter()
            .filter(|((ns, _), _)| ns == namespace)
            .filter_map(|((_, name), entry)| {
                let ip = *entry.cluster_ips.first()?;
                let ports = entry
                    .ports
                    .iter()
                    .map(|(number, protocol, port)| (port.name.clone(), *number, *protocol))
                    .collect();
                Some(ServicePorts { name: name.clone(), ip, ports })
            })
            .collect();
        found.sort();
        found
    }

    /// What the slices say about a port.
    fn endpoints<'a>(
        &'a self,
        port: &'a Port,
        protocol: Protocol,
    ) -> impl Iterator<Item = &'a Endpoint> {
        self.slices
            .get(&port.service)
            .into_iter()
            .flat_map(BTreeMap::values)
            .flat_map(|slice| &slice.ports)
            .filter(move |(name, its, _)| *name == port.name && *its == protocol)
            .flat_map(|(_, _, endpoints)| endpoints)
    }

    /// Takes turns over the ready endpoints; where none is ready, over those that still serve while
    /// they terminate (KEP-1669).
    fn choose(
        &self,
        port: &Port,
        client: IpAddr,
        protocol: Protocol,
        tried: &[SocketAddr],
        now: Instant,
    ) -> Decision {
        let all = || {
            self.endpoints(port, protocol).filter(|endpoint| {
                !self.closed.contains(&endpoint.address.ip()) && !tried.contains(&endpoint.address)
            })
        };
        let usable = |endpoint: &&Endpoint| {
            endpoint.ready && !self.withdrawn.contains(&endpoint.address.ip())
        };
        if let Some(timeout) = port.affinity {
            let mut stuck = port.stuck.lock();
            stuck.retain(|_, (_, until)| *until > now);
            if let Some((address, until)) = stuck.get_mut(&client)
                && all().filter(usable).any(|endpoint| endpoint.address == *address)
            {
                *until = now + timeout;
                return Decision::Endpoint(*address);
            }
        }
        let turn = port.turn.fetch_add(1, Ordering::Relaxed);
        let Some(chosen) = take_turn(|| all().filter(usable), turn)
            .or_else(|| take_turn(|| all().filter(|endpoint| endpoint.serving), turn))
        else {
            return Decision::NoEndpoints;
        };
        if let Some(timeout) = port.affinity {
            port.stuck.lock().insert(client, (chosen, now + timeout));
        }
        Decision::Endpoint(chosen)
    }

    /// What a relative name may stand for within the cluster's domain, nearest first.
    fn candidates(namespace: Option<&str>, name: &str) -> Vec<String> {
        namespace
            .map(|namespace| format!("{name}.{namespace}.svc"))
            .into_iter()
            .chain([format!("{name}.svc"), name.to_owned()])
            .collect()
    }

    /// The part of a full name before the cluster's domain.
    fn inside_domain<'a>(&self, name: &'a str) -> Option<&'a str> {
        name.strip_suffix(&self.domain)?.strip_suffix('.')
    }

    /// A name within the cluster's domain, such as `web.default.svc`.
    fn look_up(&self, name: &str) -> Answer {
        let labels: Vec<&str> = name.split('.').collect();
        match labels.as_slice() {
            [service, namespace, "svc"] => self.service_answer(namespace, service),
            [host, service, namespace, "svc"] => self.host_answer(namespace, service, host),
            [dashed, _namespace, "pod"] => match dashed.replace('-', ".").parse::<Ipv4Addr>() {
                Ok(ip) => Answer::Addresses(vec![ip.into()]),
                Err(_) => Answer::NoSuchName,
            },
            _ => Answer::NoSuchName,
        }
    }

    fn service_answer(&self, namespace: &str, name: &str) -> Answer {
        let key = (namespace.to_owned(), name.to_owned());
        let Some(service) = self.services.get(&key) else { return Answer::NoSuchName };
        if let Some(alias) = &service.external_name {
            return Answer::Alias(alias.clone());
        }
        if !service.headless {
            return Answer::Addresses(service.cluster_ips.clone());
        }
        let addresses = self.hosts(&key, service).map(|(_, ip)| ip).collect::<BTreeSet<_>>();
        answer(addresses.into_iter().collect())
    }

    fn host_answer(&self, namespace: &str, service: &str, host: &str) -> Answer {
        let key = (namespace.to_owned(), service.to_owned());
        let Some(entry) = self.services.get(&key) else { return Answer::NoSuchName };
        let addresses = self
            .hosts(&key, entry)
            .filter(|(name, _)| name.is_some_and(|name| name == host))
            .map(|(_, ip)| ip)
            .collect();
        answer(addresses)
    }

    fn hosts<'a>(
        &'a self,
        key: &ServiceKey,
        service: &ServiceEntry,
    ) -> impl Iterator<Item = (Option<&'a String>, IpAddr)> + use<'a> {
        let publish_not_ready = service.publish_not_ready;
        self.slices
            .get(key)
            .into_iter()
            .flat_map(BTreeMap::values)
            .flat_map(|slice| &slice.hosts)
            .filter(move |(_, _, ready)| *ready || publish_not_ready)
            .map(|(name, ip, _)| (name.as_ref(), *ip))
    }
}

/// No address is no such name: a headless Service without pods has no records.
fn answer(addresses: Vec<IpAddr>) -> Answer {
    if addresses.is_empty() { Answer::NoSuchName } else { Answer::Addresses(addresses) }
}

fn take_turn<'a, I: Iterator<Item = &'a Endpoint>>(
    endpoints: impl Fn() -> I,
    turn: usize,
) -> Option<SocketAddr> {
    let count = endpoints().count();
    let nth = turn.checked_rem(count)?;
    endpoints().nth(nth).map(|endpoint| endpoint.address)
}

fn key(metadata: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta) -> ServiceKey {
    (metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default())
}

fn port_entry(
    service: &ServiceKey,
    uid: &str,
    port: &ServicePort,
    affinity: Option<Duration>,
) -> Option<(u16, Protocol, Arc<Port>)> {
    let protocol = Protocol::parse(port.protocol.as_deref())?;
    let number = u16::try_from(port.port).ok()?;
    let entry = Port {
        service: service.clone(),
        uid: uid.to_owned(),
        name: port.name.clone().unwrap_or_default(),
        node_port: port.node_port.and_then(|port| u16::try_from(port).ok()).filter(|p| *p > 0),
        affinity,
        turn: AtomicUsize::new(0),
        stuck: Mutex::default(),
    };
    Some((number, protocol, Arc::new(entry)))
}

fn slice_entry(slice: &EndpointSlice) -> SliceEntry {
    let mut entry = SliceEntry::default();
    let endpoints: Vec<(IpAddr, bool, bool)> = slice
        .endpoints
        .iter()
        .flatten()
        .flat_map(|endpoint| {
            let conditions = endpoint.conditions.as_ref();
            let ready = conditions.and_then(|c| c.ready).unwrap_or(true);
            let serving = conditions.and_then(|c| c.serving).unwrap_or(ready);
            let ips = endpoint.addresses.iter().filter_map(|ip| ip.parse().ok());
            let terminating = conditions.and_then(|c| c.terminating).unwrap_or(false);
            if ready && !terminating {
                entry.listed.extend(ips.clone());
            }
            for ip in ips.clone() {
                entry.hosts.push((endpoint.hostname.clone(), ip, ready));
            }
            ips.map(move |ip| (ip, ready, serving)).collect::<Vec<_>>()
        })
        .collect();
    for port in slice.ports.iter().flatten() {
        let Some(protocol) = Protocol::parse(port.protocol.as_deref()) else { continue };
        let Some(number) = port.port.and_then(|port| u16::try_from(port).ok()) else { continue };
        let endpoints = endpoints
            .iter()
            .map(|&(ip, ready, serving)| Endpoint {
                address: SocketAddr::new(ip, number),
                ready,
                serving,
            })
            .collect();
        entry.ports.push((port.name.clone().unwrap_or_default(), protocol, endpoints));
    }
    entry
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn service(value: serde_json::Value) -> Service {
        serde_json::from_value(value).expect("a Service")
    }

    fn web(node_port: u16, extra: serde_json::Value) -> Service {
        let mut value = json!({
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {
                "clusterIP": "10.96.0.10", "clusterIPs": ["10.96.0.10"],
                "ports": [{"name": "http", "port": 80, "nodePort": node_port, "protocol": "TCP"}],
            },
        });
        json_merge(&mut value["spec"], extra);
        service(value)
    }

    fn json_merge(into: &mut serde_json::Value, from: serde_json::Value) {
        for (key, value) in from.as_object().expect("an object") {
            into[key] = value.clone();
        }
    }

    /// Endpoints as (address, ready, serving).
    fn slice(service: &str, endpoints: &[(&str, bool, bool)]) -> EndpointSlice {
        let endpoints: Vec<_> = endpoints
            .iter()
            .map(|(ip, ready, serving)| {
                json!({"addresses": [ip], "hostname": format!("h{}", ip.replace('.', "")),
                       "conditions": {"ready": ready, "serving": serving}})
            })
            .collect();
        serde_json::from_value(json!({
            "metadata": {"name": format!("{service}-x"), "namespace": "default",
                         "labels": {"kubernetes.io/service-name": service}},
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
            "endpoints": endpoints,
        }))
        .expect("a slice")
    }

    fn client() -> IpAddr {
        "10.128.0.9".parse().expect("an address")
    }

    fn route(index: &Index, to: &str) -> Decision {
        index.route(client(), to.parse().expect("an address"), Protocol::Tcp, Instant::now())
    }

    fn index(endpoints: &[(&str, bool, bool)]) -> Index {
        let mut index = Index::new("cluster.local");
        index.apply_service(&web(30080, json!({})));
        index.apply_slice(&slice("web", endpoints));
        index
    }

    #[test]
    fn a_cluster_ip_takes_turns_over_ready_endpoints() {
        let index = index(&[
            ("10.128.0.1", true, true),
            ("10.128.0.2", false, false),
            ("10.128.0.3", true, true),
        ]);
        let seen: BTreeSet<String> =
            (0..4).map(|_| format!("{:?}", route(&index, "10.96.0.10:80"))).collect();
        assert_eq!(
            seen.into_iter().collect::<Vec<_>>(),
            ["Endpoint(10.128.0.1:8080)", "Endpoint(10.128.0.3:8080)"]
        );
    }

    #[test]
    fn other_addresses_and_ports_are_told_apart() {
        let index = index(&[]);
        assert_eq!(route(&index, "10.96.0.10:80"), Decision::NoEndpoints);
        assert_eq!(route(&index, "10.96.0.10:81"), Decision::NoSuchPort);
        assert_eq!(route(&index, "10.128.0.1:80"), Decision::NotAService);
    }

    #[test]
    fn terminating_endpoints_serve_where_none_is_ready() {
        let index = index(&[("10.128.0.1", false, true), ("10.128.0.2", false, false)]);
        assert_eq!(
            route(&index, "10.96.0.10:80"),
            Decision::Endpoint("10.128.0.1:8080".parse().expect("an address"))
        );
    }

    #[test]
    fn a_withdrawn_pod_gets_no_connection_while_another_is_ready() {
        let mut index = index(&[("10.128.0.1", true, true), ("10.128.0.2", true, true)]);
        index.withdraw_pod("10.128.0.1".parse().expect("an address"));
        for _ in 0..4 {
            assert_eq!(
                route(&index, "10.96.0.10:80"),
                Decision::Endpoint("10.128.0.2:8080".parse().expect("an address"))
            );
        }
    }

    #[test]
    fn the_last_endpoint_is_used_while_it_ends_until_it_closes() {
        let mut index = index(&[("10.128.0.1", true, true)]);
        let ip = "10.128.0.1".parse().expect("an address");
        let only = Decision::Endpoint(SocketAddr::new(ip, 8080));
        assert!(index.is_listed(ip));
        index.withdraw_pod(ip);
        assert_eq!(route(&index, "10.96.0.10:80"), only);
        index.apply_slice(&slice("web", &[("10.128.0.1", false, true)]));
        assert!(!index.is_listed(ip));
        assert_eq!(route(&index, "10.96.0.10:80"), only);
        index.close_pod(ip);
        assert_eq!(route(&index, "10.96.0.10:80"), Decision::NoEndpoints);
    }

    #[test]
    fn client_ip_affinity_sticks_until_its_timeout() {
        let mut index = index(&[]);
        index.apply_service(&web(
            0,
            json!({"sessionAffinity": "ClientIP",
                   "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10}}}),
        ));
        index.apply_slice(&slice("web", &[("10.128.0.1", true, true), ("10.128.0.2", true, true)]));
        let to = "10.96.0.10:80".parse().expect("an address");
        let start = Instant::now();
        let at = |seconds| {
            index.route(client(), to, Protocol::Tcp, start + Duration::from_secs(seconds))
        };
        let first = at(0);
        assert_eq!([at(1), at(9), at(18)], [first; 3]);
        assert_ne!(at(40), first);
    }

    #[test]
    fn a_node_port_leads_to_the_service_and_goes_with_it() {
        let mut index = index(&[("10.128.0.1", true, true)]);
        let through = |index: &Index, tried: &[SocketAddr]| {
            index.route_node_port(client(), 30080, Protocol::Tcp, tried, Instant::now())
        };
        let only = "10.128.0.1:8080".parse().expect("an address");
        assert_eq!(index.node_ports(), BTreeMap::from([((30080, Protocol::Tcp), true)]));
        assert_eq!(through(&index, &[]), Decision::Endpoint(only));
        assert_eq!(through(&index, &[only]), Decision::NoEndpoints);
        index.delete_slice("default", "web-x");
        assert_eq!(index.node_ports(), BTreeMap::from([((30080, Protocol::Tcp), false)]));
        index.delete_service("default", "web");
        assert!(index.node_ports().is_empty());
        assert_eq!(route(&index, "10.96.0.10:80"), Decision::NotAService);
    }

    #[test]
    fn names_resolve_by_the_pods_search_list() {
        let mut index = index(&[("10.128.0.1", true, true)]);
        index.apply_service(&service(json!({
            "metadata": {"name": "out", "namespace": "default"},
            "spec": {"type": "ExternalName", "externalName": "example.org"},
        })));
        index.apply_service(&service(json!({
            "metadata": {"name": "headless", "namespace": "default"},
            "spec": {"clusterIP": "None", "ports": [{"name": "http", "port": 80}]},
        })));
        index.apply_slice(&slice("headless", &[("10.128.0.7", true, true)]));
        let ip = |ip: &str| Answer::Addresses(vec![ip.parse().expect("an address")]);
        for (namespace, name, expected) in [
            (Some("default"), "web", ip("10.96.0.10")),
            (Some("other"), "web", Answer::Outside),
            (None, "web", Answer::Outside),
            (Some("other"), "web.default", ip("10.96.0.10")),
            (Some("other"), "WEB.default.svc", ip("10.96.0.10")),
            (None, "web.default.svc.cluster.local.", ip("10.96.0.10")),
            (None, "nothing.default.svc.cluster.local", Answer::NoSuchName),
            (Some("default"), "headless", ip("10.128.0.7")),
            (Some("default"), "h1012807.headless", ip("10.128.0.7")),
            (Some("default"), "out", Answer::Alias("example.org".to_owned())),
            (Some("default"), "10-1-2-3.default.pod.cluster.local", ip("10.1.2.3")),
            (Some("default"), "example.org", Answer::Outside),
        ] {
            assert_eq!(index.resolve(namespace, name), expected, "{name} from {namespace:?}");
        }
    }
}
