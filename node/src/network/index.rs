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
    /// Names that this pod alone knows, in lower case: `hostAliases`, and its own full name.
    pub hosts: Box<[(String, IpAddr)]>,
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

/// Names a [`Port`] within the index; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct PortId(u64);

/// One port of a Service, with what it needs to choose an endpoint.
struct Port {
    service: ServiceKey,
    /// Of the Service.
    uid: String,
    name: String,
    protocol: Protocol,
    node_port: Option<u16>,
    /// `sessionAffinity: ClientIP`, and how long a client sticks.
    affinity: Option<Duration>,
    /// Ready endpoints that are not ending, in the addresses' order.
    ready: Vec<SocketAddr>,
    /// Where none is ready: those that serve while they end (KEP-1669), in the addresses' order.
    ending: Vec<SocketAddr>,
    turns: Turns,
}

/// Who had which endpoint: outlives a change of the Service.
#[derive(Default)]
struct Turns {
    next: AtomicUsize,
    stuck: Mutex<Stuck>,
}

/// The endpoint that each client had last, and when that was. A client is an address, with port 0,
/// or one flow of datagrams.
#[derive(Default)]
struct Stuck {
    clients: HashMap<SocketAddr, (SocketAddr, Instant)>,
    /// Those who stay away too long are forgotten when there are so many.
    sweep_at: usize,
}

/// How long datagrams of one flow go to one endpoint, as Linux tracks them for kube-proxy.
const FLOW_TIMEOUT: Duration = Duration::from_secs(120);
/// Fewer clients than these are not looked through for those who stay away.
const SWEEP_FROM: usize = 64;

impl Stuck {
    fn of(&self, client: SocketAddr, timeout: Duration, now: Instant) -> Option<SocketAddr> {
        let (endpoint, last) = self.clients.get(&client)?;
        (now.saturating_duration_since(*last) < timeout).then_some(*endpoint)
    }

    fn keep(&mut self, client: SocketAddr, endpoint: SocketAddr, timeout: Duration, now: Instant) {
        if self.clients.len() >= self.sweep_at.max(SWEEP_FROM) {
            self.clients.retain(|_, (_, last)| now.saturating_duration_since(*last) < timeout);
            self.sweep_at = self.clients.len() * 2;
        }
        self.clients.insert(client, (endpoint, now));
    }
}

impl Port {
    /// As whom a client is remembered, and how long; `None` where its turn is anybody's.
    fn sticks(&self, client: SocketAddr) -> Option<(SocketAddr, Duration)> {
        match (self.affinity, self.protocol) {
            (Some(timeout), _) => Some((SocketAddr::new(client.ip(), 0), timeout)),
            (None, Protocol::Udp) if client.port() != 0 => Some((client, FLOW_TIMEOUT)),
            (None, Protocol::Tcp | Protocol::Udp) => None,
        }
    }

    /// Takes turns over the ready endpoints, then over those that end, leaving out the `tried`.
    fn next(&self, tried: &[SocketAddr]) -> Option<SocketAddr> {
        let turn = self.turns.next.fetch_add(1, Ordering::Relaxed);
        let nth = |among: &[SocketAddr]| {
            let first = turn.checked_rem(among.len())?;
            let (before, from) = among.split_at(first);
            from.iter().chain(before).find(|endpoint| !tried.contains(endpoint)).copied()
        };
        nth(&self.ready).or_else(|| nth(&self.ending))
    }
}

/// What the slices say of an address.
#[derive(Default)]
struct Named {
    /// How many slices call it ready and not terminating.
    listed: usize,
    /// The Service of each slice that names it.
    services: Vec<Arc<ServiceKey>>,
}

struct ServiceEntry {
    cluster_ips: Vec<IpAddr>,
    headless: bool,
    external_name: Option<String>,
    publish_not_ready: bool,
    ports: Vec<(u16, Protocol, PortId)>,
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
    slice_owner: HashMap<ServiceKey, Arc<ServiceKey>>,
    ports: HashMap<PortId, Port>,
    last_port: PortId,
    by_address: HashMap<(IpAddr, u16, Protocol), PortId>,
    service_ips: HashMap<IpAddr, ServiceKey>,
    by_node_port: BTreeMap<(u16, Protocol), PortId>,
    pods: HashMap<IpAddr, PodIdentity>,
    /// Pods on this machine that are ending: they get a new connection only where nobody else would take it.
    withdrawn: HashSet<IpAddr>,
    /// Pods that take no new connection any more, whatever the slices say.
    closed: HashSet<IpAddr>,
    /// The addresses that slices name.
    named: HashMap<IpAddr, Named>,
}

impl Index {
    /// `domain`: the cluster's, such as `cluster.local`.
    pub fn new(domain: &str) -> Self {
        Self {
            domain: domain.trim_matches('.').to_ascii_lowercase(),
            services: HashMap::new(),
            slices: HashMap::new(),
            slice_owner: HashMap::new(),
            ports: HashMap::new(),
            last_port: PortId(0),
            by_address: HashMap::new(),
            service_ips: HashMap::new(),
            by_node_port: BTreeMap::new(),
            pods: HashMap::new(),
            withdrawn: HashSet::new(),
            closed: HashSet::new(),
            named: HashMap::new(),
        }
    }

    /// Where a connection from `client` to `to` goes.
    pub fn route(
        &self,
        client: SocketAddr,
        to: SocketAddr,
        protocol: Protocol,
        now: Instant,
    ) -> Decision {
        match self.by_address.get(&(to.ip(), to.port(), protocol)) {
            Some(port) => self.choose(*port, client, &[], now),
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
            Some(port) => self.choose(*port, SocketAddr::new(client, 0), tried, now),
            None => Decision::NoSuchPort,
        }
    }

    /// The NodePorts that want a door, and whether somebody stands behind it.
    pub fn node_ports(&self) -> BTreeMap<(u16, Protocol), bool> {
        self.by_node_port
            .iter()
            .map(|(key, port)| {
                let port = self.ports.get(port);
                (*key, port.is_some_and(|port| !port.ready.is_empty() || !port.ending.is_empty()))
            })
            .collect()
    }

    /// The Service behind a NodePort, for messages.
    pub fn node_port_owner(&self, node_port: u16, protocol: Protocol) -> Option<ObjectReference> {
        let port = self.ports.get(self.by_node_port.get(&(node_port, protocol))?)?;
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

    /// What the pod at `from` alone knows `name` to be.
    pub fn own_host(&self, from: IpAddr, name: &str) -> Option<Vec<IpAddr>> {
        let name = name.strip_suffix('.').unwrap_or(name);
        let mut found = Vec::new();
        for (host, ip) in &self.pods.get(&from)?.hosts {
            if host.eq_ignore_ascii_case(name) && !found.contains(ip) {
                found.push(*ip);
            }
        }
        (!found.is_empty()).then_some(found)
    }

    /// Takes a Service up. Clients stick to their endpoints while its port of the same name lives.
    pub fn apply_service(&mut self, service: &Service) {
        let key = key(&service.metadata);
        let mut before = self.take_service(&key);
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
        let mut ports = Vec::new();
        for port in spec.ports.iter().flatten() {
            let Some((number, mut entry)) = port_entry(&key, &uid, port, affinity) else {
                continue;
            };
            let same = |old: &Port| {
                old.uid == uid
                    && old.name == entry.name
                    && old.protocol == entry.protocol
                    && old.affinity.is_some() == affinity.is_some()
            };
            if let Some(at) = before.iter().position(same) {
                entry.turns = before.swap_remove(at).turns;
            }
            self.last_port.0 += 1;
            let id = self.last_port;
            for ip in &cluster_ips {
                self.by_address.insert((*ip, number, entry.protocol), id);
            }
            if let Some(node_port) = entry.node_port {
                self.by_node_port.insert((node_port, entry.protocol), id);
            }
            ports.push((number, entry.protocol, id));
            self.ports.insert(id, entry);
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
        self.services.insert(key.clone(), entry);
        self.refresh(&key);
    }

    pub fn delete_service(&mut self, namespace: &str, name: &str) {
        self.take_service(&(namespace.to_owned(), name.to_owned()));
    }

    /// Forgets a Service; its ports are the caller's.
    fn take_service(&mut self, key: &ServiceKey) -> Vec<Port> {
        let Some(old) = self.services.remove(key) else { return Vec::new() };
        for ip in &old.cluster_ips {
            if self.service_ips.get(ip) == Some(key) {
                self.service_ips.remove(ip);
            }
        }
        let mut ports = Vec::new();
        for (number, protocol, id) in old.ports {
            // An address or a NodePort may be another's by now.
            for ip in &old.cluster_ips {
                let address = (*ip, number, protocol);
                if self.by_address.get(&address) == Some(&id) {
                    self.by_address.remove(&address);
                }
            }
            let Some(port) = self.ports.remove(&id) else { continue };
            if let Some(node_port) = port.node_port
                && self.by_node_port.get(&(node_port, protocol)) == Some(&id)
            {
                self.by_node_port.remove(&(node_port, protocol));
            }
            ports.push(port);
        }
        ports
    }

    pub fn apply_slice(&mut self, slice: &EndpointSlice) {
        let key = key(&slice.metadata);
        let before = self.take_slice(&key);
        let labels = slice.metadata.labels.as_ref();
        let service = labels.and_then(|labels| labels.get(SERVICE_NAME));
        let owner = service.map(|service| Arc::new((key.0.clone(), service.clone())));
        if let Some(owner) = &owner {
            let entry = slice_entry(slice);
            for (_, ip, _) in &entry.hosts {
                self.named.entry(*ip).or_default().services.push(owner.clone());
            }
            for ip in &entry.listed {
                self.named.entry(*ip).or_default().listed += 1;
            }
            self.slice_owner.insert(key.clone(), owner.clone());
            self.slices.entry((**owner).clone()).or_default().insert(key.1, entry);
            self.refresh(owner);
        }
        if let Some(before) = before.filter(|before| owner.as_ref() != Some(before)) {
            self.refresh(&before);
        }
    }

    pub fn delete_slice(&mut self, namespace: &str, name: &str) {
        let key = (namespace.to_owned(), name.to_owned());
        if let Some(owner) = self.take_slice(&key) {
            self.refresh(&owner);
        }
    }

    /// Forgets a slice, and says which Service is to be refreshed.
    fn take_slice(&mut self, key: &ServiceKey) -> Option<Arc<ServiceKey>> {
        let owner = self.slice_owner.remove(key)?;
        if let Some(slices) = self.slices.get_mut(&*owner) {
            if let Some(entry) = slices.remove(&key.1) {
                Self::forget_names(&mut self.named, &entry, &owner);
            }
            if slices.is_empty() {
                self.slices.remove(&*owner);
            }
        }
        Some(owner)
    }

    fn forget_names(
        named: &mut HashMap<IpAddr, Named>,
        entry: &SliceEntry,
        owner: &Arc<ServiceKey>,
    ) {
        for ip in &entry.listed {
            if let Some(name) = named.get_mut(ip) {
                name.listed -= 1;
            }
        }
        for (_, ip, _) in &entry.hosts {
            let Some(name) = named.get_mut(ip) else { continue };
            if let Some(at) = name.services.iter().position(|service| service == owner) {
                name.services.swap_remove(at);
            }
            if name.services.is_empty() {
                named.remove(ip);
            }
        }
    }

    /// Finds out anew who stands behind the ports of a Service.
    fn refresh(&mut self, key: &ServiceKey) {
        let Some(entry) = self.services.get(key) else { return };
        for (.., id) in &entry.ports {
            let Some(port) = self.ports.get(id) else { continue };
            let (ready, ending) = self.behind(port);
            if let Some(port) = self.ports.get_mut(id) {
                port.ready = ready;
                port.ending = ending;
            }
        }
    }

    /// The ready endpoints of a port and, where there is none, those that end.
    fn behind(&self, port: &Port) -> (Vec<SocketAddr>, Vec<SocketAddr>) {
        let open = |endpoint: &&Endpoint| !self.closed.contains(&endpoint.address.ip());
        let usable = |endpoint: &&Endpoint| {
            endpoint.ready && !self.withdrawn.contains(&endpoint.address.ip())
        };
        let all = || self.endpoints(port).filter(open);
        let ready = in_order(all().filter(usable));
        let ending = match ready.is_empty() {
            true => in_order(all().filter(|endpoint| endpoint.ready || endpoint.serving)),
            false => Vec::new(),
        };
        (ready, ending)
    }

    /// An address is no longer what it was: those Services that name it look again.
    fn refresh_named(&mut self, ip: IpAddr) {
        let Some(named) = self.named.get(&ip) else { return };
        for service in named.services.clone() {
            self.refresh(&service);
        }
    }

    /// Takes an address that ends, or has ended, from those that connections are given.
    fn pass_over(&mut self, ip: IpAddr) {
        let Some(named) = self.named.get(&ip) else { return };
        let mut empty = Vec::new();
        for service in &named.services {
            for (.., id) in self.services.get(&**service).into_iter().flat_map(|s| &s.ports) {
                let Some(port) = self.ports.get_mut(id) else { continue };
                port.ready.retain(|endpoint| endpoint.ip() != ip);
                if port.ready.is_empty() {
                    empty.push(service.clone());
                }
            }
        }
        for service in empty {
            self.refresh(&service);
        }
    }

    /// A pod on this machine got `ip`.
    pub fn attach_pod(&mut self, ip: IpAddr, pod: PodIdentity) {
        self.pods.insert(ip, pod);
        let withdrawn = self.withdrawn.remove(&ip);
        if self.closed.remove(&ip) || withdrawn {
            self.refresh_named(ip);
        }
    }

    /// A pod on this machine is ending: a new connection goes to it only where nobody else is left.
    pub fn withdraw_pod(&mut self, ip: IpAddr) {
        if self.withdrawn.insert(ip) {
            self.pass_over(ip);
        }
    }

    /// A pod on this machine closes its listeners: no new connection goes to it.
    pub fn close_pod(&mut self, ip: IpAddr) {
        if self.closed.insert(ip) {
            self.pass_over(ip);
        }
    }

    /// The pod at `ip` is gone. It stays closed until the address is given out again, since a
    /// slice may still name it.
    pub fn detach_pod(&mut self, ip: IpAddr) {
        self.pods.remove(&ip);
        self.close_pod(ip);
        self.withdrawn.remove(&ip);
    }

    /// Whether a slice still calls the address ready and not terminating.
    pub fn is_listed(&self, ip: IpAddr) -> bool {
        self.named.get(&ip).is_some_and(|named| named.listed > 0)
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
                let named = |(number, protocol, id): &(u16, Protocol, PortId)| {
                    Some((self.ports.get(id)?.name.clone(), *number, *protocol))
                };
                let ports = entry.ports.iter().filter_map(named).collect();
                Some(ServicePorts { name: name.clone(), ip, ports })
            })
            .collect();
        found.sort();
        found
    }

    /// What the slices say about a port.
    fn endpoints<'a>(&'a self, port: &'a Port) -> impl Iterator<Item = &'a Endpoint> {
        self.slices
            .get(&port.service)
            .into_iter()
            .flat_map(BTreeMap::values)
            .flat_map(|slice| &slice.ports)
            .filter(move |(name, protocol, _)| *name == port.name && *protocol == port.protocol)
            .flat_map(|(_, _, endpoints)| endpoints)
    }

    /// The endpoint that the client had, where it sticks; else the next in turn.
    fn choose(
        &self,
        port: PortId,
        client: SocketAddr,
        tried: &[SocketAddr],
        now: Instant,
    ) -> Decision {
        let Some(port) = self.ports.get(&port) else { return Decision::NoSuchPort };
        let Some((client, timeout)) = port.sticks(client) else {
            return self.next(port, tried).map_or(Decision::NoEndpoints, Decision::Endpoint);
        };
        let mut stuck = port.turns.stuck.lock();
        let had = stuck.of(client, timeout, now).filter(|endpoint| {
            !tried.contains(endpoint) && port.ready.binary_search(endpoint).is_ok()
        });
        let Some(chosen) = had.or_else(|| self.next(port, tried)) else {
            return Decision::NoEndpoints;
        };
        stuck.keep(client, chosen, timeout, now);
        Decision::Endpoint(chosen)
    }

    fn next(&self, port: &Port, tried: &[SocketAddr]) -> Option<SocketAddr> {
        port.next(tried).or_else(|| {
            // All that are ready were tried in vain: the rest is looked for in the slices.
            let left = |endpoint: &&Endpoint| {
                (endpoint.ready || endpoint.serving)
                    && !self.closed.contains(&endpoint.address.ip())
                    && !tried.contains(&endpoint.address)
            };
            let mut endpoints = self.endpoints(port).filter(|_| !tried.is_empty());
            endpoints.find(left).map(|endpoint| endpoint.address)
        })
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

/// The addresses in order, each once.
fn in_order<'a>(endpoints: impl Iterator<Item = &'a Endpoint>) -> Vec<SocketAddr> {
    let mut addresses: Vec<_> = endpoints.map(|endpoint| endpoint.address).collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

fn key(metadata: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta) -> ServiceKey {
    (metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default())
}

fn port_entry(
    service: &ServiceKey,
    uid: &str,
    port: &ServicePort,
    affinity: Option<Duration>,
) -> Option<(u16, Port)> {
    let protocol = Protocol::parse(port.protocol.as_deref())?;
    let number = u16::try_from(port.port).ok()?;
    let entry = Port {
        service: service.clone(),
        uid: uid.to_owned(),
        name: port.name.clone().unwrap_or_default(),
        protocol,
        node_port: port.node_port.and_then(|port| u16::try_from(port).ok()).filter(|p| *p > 0),
        affinity,
        ready: Vec::new(),
        ending: Vec::new(),
        turns: Turns::default(),
    };
    Some((number, entry))
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

    fn from() -> SocketAddr {
        SocketAddr::new(client(), 4000)
    }

    fn route(index: &Index, to: &str) -> Decision {
        index.route(from(), to.parse().expect("an address"), Protocol::Tcp, Instant::now())
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
    fn a_port_of_both_protocols_leads_each_to_its_own_endpoints() {
        let mut index = Index::new("cluster.local");
        let both = json!([
            {"name": "t", "port": 80, "protocol": "TCP"},
            {"name": "u", "port": 80, "protocol": "UDP"},
        ]);
        index.apply_service(&web(0, json!({ "ports": both })));
        let mut slice = slice("web", &[("10.128.0.1", true, true)]);
        slice.ports = serde_json::from_value(json!([
            {"name": "t", "port": 8080, "protocol": "TCP"},
            {"name": "u", "port": 8053, "protocol": "UDP"},
        ]))
        .expect("ports");
        index.apply_slice(&slice);
        let to = "10.96.0.10:80".parse().expect("an address");
        for (protocol, port) in [(Protocol::Tcp, 8080), (Protocol::Udp, 8053)] {
            let found = index.route(from(), to, protocol, Instant::now());
            assert_eq!(found, Decision::Endpoint(([10, 128, 0, 1], port).into()));
        }
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
        let at =
            |seconds| index.route(from(), to, Protocol::Tcp, start + Duration::from_secs(seconds));
        let first = at(0);
        assert_eq!([at(1), at(9), at(18)], [first; 3]);
        assert_ne!(at(40), first);
    }

    #[test]
    fn datagrams_of_one_flow_go_to_one_endpoint() {
        let mut index = Index::new("cluster.local");
        let ports = json!([{"name": "u", "port": 53, "protocol": "UDP"}]);
        index.apply_service(&web(0, json!({ "ports": ports })));
        let mut slice = slice("web", &[("10.128.0.1", true, true), ("10.128.0.2", true, true)]);
        slice.ports = serde_json::from_value(ports).expect("ports");
        index.apply_slice(&slice);
        let to = "10.96.0.10:53".parse().expect("an address");
        let start = Instant::now();
        let send = |index: &Index, port, seconds| {
            let from = SocketAddr::new(client(), port);
            index.route(from, to, Protocol::Udp, start + Duration::from_secs(seconds))
        };
        let first = send(&index, 4000, 0);
        assert_eq!([send(&index, 4000, 1), send(&index, 4000, 100)], [first; 2]);
        assert_ne!(send(&index, 4001, 100), first, "another flow");
        let Decision::Endpoint(endpoint) = first else { panic!("chosen") };
        index.close_pod(endpoint.ip());
        assert_ne!(send(&index, 4000, 101), first, "the endpoint has gone");
    }

    #[test]
    fn a_client_sticks_through_a_change_of_its_service_and_of_other_endpoints() {
        let sticky = |timeout: u32, extra: &str| {
            let mut web = web(
                0,
                json!({"sessionAffinity": "ClientIP",
                       "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": timeout}}}),
            );
            web.metadata.labels = Some([("changed".to_owned(), extra.to_owned())].into());
            web
        };
        let two = [("10.128.0.1", true, true), ("10.128.0.2", true, true)];
        let mut index = index(&two);
        index.apply_service(&sticky(100, "a"));
        let to = "10.96.0.10:80".parse().expect("an address");
        let start = Instant::now();
        let at = |index: &Index, seconds| {
            index.route(from(), to, Protocol::Tcp, start + Duration::from_secs(seconds))
        };
        let first = at(&index, 0);
        index.apply_service(&sticky(100, "b"));
        assert_eq!(at(&index, 1), first, "the Service has changed");
        index.apply_slice(&slice("web", &[two[0], two[1], ("10.128.0.3", true, true)]));
        assert_eq!(at(&index, 2), first, "the endpoints have changed");
        // A shorter time holds for those who stick already.
        index.apply_service(&sticky(5, "b"));
        assert_ne!(at(&index, 30), first);
        // Without affinity, nobody is remembered.
        index.apply_service(&sticky(1000, "b"));
        let second = at(&index, 31);
        index.apply_service(&web(0, json!({})));
        index.apply_service(&sticky(1000, "c"));
        assert_ne!(at(&index, 32), second);
    }

    #[test]
    fn a_client_leaves_an_endpoint_that_ends() {
        let mut index = index(&[("10.128.0.1", true, true), ("10.128.0.2", true, true)]);
        index.apply_service(&web(0, json!({"sessionAffinity": "ClientIP"})));
        let Decision::Endpoint(first) = route(&index, "10.96.0.10:80") else { panic!("chosen") };
        index.withdraw_pod(first.ip());
        let Decision::Endpoint(second) = route(&index, "10.96.0.10:80") else { panic!("chosen") };
        assert_ne!(first, second);
        assert_eq!(route(&index, "10.96.0.10:80"), Decision::Endpoint(second));
    }

    #[test]
    fn an_address_given_out_again_is_used_again() {
        let mut index = index(&[("10.128.0.1", true, true)]);
        let ip: IpAddr = "10.128.0.1".parse().expect("an address");
        index.detach_pod(ip);
        assert_eq!(route(&index, "10.96.0.10:80"), Decision::NoEndpoints);
        let pod = PodIdentity { namespace: "default".into(), name: "b".into(), hosts: [].into() };
        index.attach_pod(ip, pod);
        assert_eq!(route(&index, "10.96.0.10:80"), Decision::Endpoint(SocketAddr::new(ip, 8080)));
    }

    #[test]
    fn a_slice_that_changes_its_service_leaves_the_old_one() {
        let mut index = index(&[("10.128.0.1", true, true)]);
        let mut moved = slice("web", &[("10.128.0.1", true, true)]);
        moved.metadata.labels = Some([(SERVICE_NAME.to_owned(), "other".to_owned())].into());
        index.apply_slice(&moved);
        assert_eq!(route(&index, "10.96.0.10:80"), Decision::NoEndpoints);
        assert!(index.is_listed("10.128.0.1".parse().expect("an address")));
    }

    #[test]
    fn a_node_port_that_moved_stays_with_its_new_service() {
        let mut index = index(&[("10.128.0.1", true, true)]);
        let mut other =
            web(30080, json!({"clusterIP": "10.96.0.11", "clusterIPs": ["10.96.0.11"]}));
        other.metadata.name = Some("other".to_owned());
        index.apply_service(&other);
        index.delete_service("default", "web");
        assert_eq!(index.node_ports(), BTreeMap::from([((30080, Protocol::Tcp), false)]));
    }

    #[test]
    fn a_pod_knows_its_own_hosts_without_regard_to_case() {
        let mut index = index(&[]);
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        let hosts = [
            ("foo.remote".to_owned(), ip("10.9.9.9")),
            ("two".to_owned(), ip("10.1.1.1")),
            ("two".to_owned(), ip("10.1.1.2")),
        ];
        let pod = PodIdentity { namespace: "d".into(), name: "b".into(), hosts: hosts.into() };
        index.attach_pod(client(), pod);
        assert_eq!(index.own_host(client(), "Foo.Remote."), Some(vec![ip("10.9.9.9")]));
        assert_eq!(index.own_host(client(), "two"), Some(vec![ip("10.1.1.1"), ip("10.1.1.2")]));
        assert_eq!(index.own_host(client(), "foo"), None);
        assert_eq!(index.own_host(ip("10.128.0.8"), "two"), None);
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
