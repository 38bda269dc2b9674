//! The rules of allocation: what a Service gets when it is created or changed. It performs no I/O.
//!
//! Source: `pkg/registry/core/service/storage/{alloc,storage}.go`.

use std::collections::{BTreeMap, HashSet};
use std::net::Ipv4Addr;

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};

use super::families;
use super::pool::{Pool, Refusal, Span};
use crate::kinds::FieldError;
use crate::kinds::service::{EXTERNAL_NAME, Needs, cluster_ips};

const FULL: &str = "range is full";

/// Where numbers come from.
pub struct Pools<'a, A, P> {
    /// The ranges of the addresses, for messages: one for each of the pool's spans.
    pub cidrs: &'a [String],
    pub addresses: Pool<A>,
    pub ports: Pool<P>,
}

/// Why a Service gets nothing.
#[derive(Debug, PartialEq)]
pub enum Failure {
    /// The user asked for what is not to be had.
    Invalid(Vec<FieldError>),
    /// There is nothing left, or a health check's port is not to be had: upstream has no better
    /// word for these.
    Internal(String),
}

/// Fills in addresses and ports. `old`: the Service before an update.
pub fn allocate<A: Fn() -> HashSet<u32>, P: Fn() -> HashSet<u32>>(
    service: &mut Service,
    old: Option<&Service>,
    pools: &mut Pools<'_, A, P>,
    random: &dyn Fn() -> u64,
) -> Result<(), Failure> {
    let name = service.metadata.name.clone().unwrap_or_default();
    let spec = service.spec.get_or_insert_default();
    let old = old.and_then(|old| old.spec.as_ref());
    if let Some(old) = old {
        keep_allocated(spec, old);
    }
    align_singular(spec, old);
    families::fill(spec, old).map_err(Failure::Invalid)?;
    let mut take = Take { name: &name, pools, random };
    match old {
        None => {
            take.addresses(spec)?;
            take.new_ports(spec)?;
        }
        Some(old) => {
            // Only from a mere name to an address: other changes are refused by validation, and
            // what a Service gives up is free once the write is seen.
            if old.type_() == EXTERNAL_NAME {
                take.addresses(spec)?;
            }
            take.changed_ports(spec, old)?;
        }
    }
    take.health_check(spec, old)
}

/// Lets a manifest without the allocated values be applied again: they are taken from before.
fn keep_allocated(new: &mut ServiceSpec, old: &ServiceSpec) {
    if old.needs_cluster_ip() && new.needs_cluster_ip() {
        if is_empty(&new.cluster_ip) {
            new.cluster_ip.clone_from(&old.cluster_ip);
        }
        if cluster_ips(new).is_empty() && !cluster_ips(old).is_empty() {
            new.cluster_ips.clone_from(&old.cluster_ips);
        }
    }
    if old.allocates_node_ports() && new.allocates_node_ports() {
        keep_node_ports(new, old);
    }
    if old.needs_health_check()
        && new.needs_health_check()
        && new.health_check_node_port.unwrap_or(0) == 0
    {
        new.health_check_node_port = old.health_check_node_port;
    }
}

fn is_empty(field: &Option<String>) -> bool {
    field.as_deref().unwrap_or_default().is_empty()
}

/// A port keeps its node port by its name, unless another port asks for that one.
fn keep_node_ports(new: &mut ServiceSpec, old: &ServiceSpec) {
    let asked_for = new.node_ports();
    let ports = old.ports.iter().flatten();
    let by_name: BTreeMap<&str, i32> =
        ports.map(|port| (name(port), port.node_port.unwrap_or(0))).collect();
    for port in new.ports.iter_mut().flatten() {
        if port.node_port.unwrap_or(0) == 0 {
            let before = by_name.get(name(port)).copied().unwrap_or(0);
            if before != 0 && !asked_for.contains(&before) {
                port.node_port = Some(before);
            }
        }
    }
}

fn name(port: &ServicePort) -> &str {
    port.name.as_deref().unwrap_or_default()
}

/// Fills in `clusterIPs` for clients that know `clusterIP` alone. Those that know both write both.
fn align_singular(new: &mut ServiceSpec, old: Option<&ServiceSpec>) {
    let Some(old) = old else {
        if !is_empty(&new.cluster_ip) && cluster_ips(new).is_empty() {
            new.cluster_ips = new.cluster_ip.clone().map(|ip| vec![ip]);
        }
        return;
    };
    let same_singular = new.cluster_ip.as_deref().unwrap_or_default()
        == old.cluster_ip.as_deref().unwrap_or_default();
    let same_plural = cluster_ips(new) == cluster_ips(old);
    if same_singular {
        if cluster_ips(new).is_empty() && !cluster_ips(old).is_empty() {
            new.cluster_ips.clone_from(&old.cluster_ips);
        }
    } else if is_empty(&new.cluster_ip) {
        if same_plural {
            new.cluster_ips = None;
        }
    } else if same_plural {
        new.cluster_ips = new.cluster_ip.clone().map(|ip| vec![ip]);
    }
}

/// Taking numbers for one Service.
struct Take<'t, 'a, A, P> {
    name: &'t str,
    pools: &'t mut Pools<'a, A, P>,
    random: &'t dyn Fn() -> u64,
}

impl<A: Fn() -> HashSet<u32>, P: Fn() -> HashSet<u32>> Take<'_, '_, A, P> {
    /// An address for each family.
    fn addresses(&mut self, spec: &mut ServiceSpec) -> Result<(), Failure> {
        if !spec.needs_cluster_ip() || spec.is_headless() {
            return Ok(());
        }
        let families = spec.ip_families.as_ref().map_or(0, Vec::len);
        for index in 0..families {
            let address = match cluster_ips(spec).get(index).filter(|ip| !ip.is_empty()) {
                Some(asked) => self.claim_address(asked, cluster_ips(spec))?,
                None => self.pick_address()?,
            };
            let ips = spec.cluster_ips.get_or_insert_default();
            match ips.get_mut(index) {
                Some(ip) => *ip = address,
                None => ips.push(address),
            }
        }
        spec.cluster_ip = cluster_ips(spec).first().cloned();
        Ok(())
    }

    fn claim_address(&mut self, asked: &str, all: &[String]) -> Result<String, Failure> {
        let claimed = asked
            .parse::<Ipv4Addr>()
            .map_err(|_| Refusal::OutOfRange)
            .and_then(|address| self.pools.addresses.claim(address.to_bits()));
        claimed.map(|()| asked.to_owned()).map_err(|refusal| {
            let spans = self.pools.addresses.spans().iter().zip(self.pools.cidrs);
            let why = address_refusal(refusal, asked, spans);
            let why = format!("failed to allocate IP {asked}: {why}");
            Failure::Invalid(vec![FieldError::invalid("spec.clusterIPs", all, why)])
        })
    }

    fn pick_address(&mut self) -> Result<String, Failure> {
        let picked = self.pools.addresses.pick((self.random)()).ok_or_else(|| {
            Failure::Internal(format!(
                "failed to allocate a serviceIP for Service {:?}: {FULL}",
                self.name
            ))
        })?;
        Ok(Ipv4Addr::from_bits(picked).to_string())
    }

    /// Node ports of a new Service. Ports of one number (TCP and UDP) share a node port unless told
    /// otherwise.
    fn new_ports(&mut self, spec: &mut ServiceSpec) -> Result<(), Failure> {
        if !spec.may_have_node_ports() {
            return Ok(());
        }
        let allocates = spec.allocates_node_ports();
        let asked: Vec<(i32, i32)> = spec
            .ports
            .iter()
            .flatten()
            .filter_map(|port| Some((port.port, port.node_port.filter(|number| *number != 0)?)))
            .collect();
        let mut by_port: BTreeMap<i32, i32> = BTreeMap::new();
        for (index, port) in spec.ports.iter_mut().flatten().enumerate() {
            let own = port.node_port.unwrap_or(0);
            if own == 0 && !allocates {
                continue;
            }
            let number = match by_port.get(&port.port) {
                Some(&shared) if own == 0 || own == shared => shared,
                Some(_) => self.claim_port(own, index)?,
                None => match asked.iter().find(|(number, _)| *number == port.port) {
                    Some(&(_, asked)) => self.claim_port(asked, index)?,
                    None => self.pick_port("failed to allocate a nodePort")?,
                },
            };
            by_port.entry(port.port).or_insert(number);
            port.node_port = Some(number);
        }
        Ok(())
    }

    /// Node ports of a changed Service: those that it had are its own.
    fn changed_ports(&mut self, spec: &mut ServiceSpec, old: &ServiceSpec) -> Result<(), Failure> {
        if !spec.may_have_node_ports() {
            return Ok(());
        }
        let allocates = spec.allocates_node_ports();
        let mut owned = old.node_ports();
        for (index, port) in spec.ports.iter_mut().flatten().enumerate() {
            match port.node_port.unwrap_or(0) {
                0 if !allocates => {}
                0 => port.node_port = Some(self.pick_port("failed to allocate a nodePort")?),
                asked if owned.contains(&asked) => {}
                asked => {
                    owned.push(self.claim_port(asked, index)?);
                }
            }
        }
        Ok(())
    }

    fn claim_port(&mut self, number: i32, index: usize) -> Result<i32, Failure> {
        self.claim(number).map_err(|why| {
            let path = format!("spec.ports[{index}].nodePort");
            Failure::Invalid(vec![FieldError::invalid(path, number, why)])
        })
    }

    fn claim(&mut self, number: i32) -> Result<i32, String> {
        let claimed = u32::try_from(number)
            .map_err(|_| Refusal::OutOfRange)
            .and_then(|port| self.pools.ports.claim(port));
        claimed.map(|()| number).map_err(|refusal| port_refusal(refusal, self.pools.ports.spans()))
    }

    fn pick_port(&mut self, failed: &str) -> Result<i32, Failure> {
        self.pools
            .ports
            .pick((self.random)())
            .and_then(|port| i32::try_from(port).ok())
            .ok_or_else(|| Failure::Internal(format!("{failed}: {FULL}")))
    }

    /// The health check's port, where one is needed that was not before.
    fn health_check(
        &mut self,
        spec: &mut ServiceSpec,
        old: Option<&ServiceSpec>,
    ) -> Result<(), Failure> {
        if !spec.needs_health_check() || old.is_some_and(|old| old.needs_health_check()) {
            return Ok(());
        }
        let number = match spec.health_check_node_port.unwrap_or(0) {
            0 => self.pick_port("failed to allocate a HealthCheck NodePort 0")?,
            asked => self.claim(asked).map_err(|why| {
                let failed = "failed to allocate requested HealthCheck NodePort";
                Failure::Internal(format!("{failed} {asked}: {why}"))
            })?,
        };
        spec.health_check_node_port = Some(number);
        Ok(())
    }
}

fn address_refusal<'a>(
    refusal: Refusal,
    asked: &str,
    mut spans: impl Iterator<Item = (&'a Span, &'a String)>,
) -> String {
    if refusal == Refusal::Taken {
        return "provided IP is already allocated".to_owned();
    }
    let asked_bits = asked.parse::<Ipv4Addr>().ok().map(Ipv4Addr::to_bits);
    let enclosing = spans.find(|(span, _)| asked_bits.is_some_and(|bits| span.encloses(bits)));
    match enclosing {
        Some((_, cidr)) => format!(
            "the provided IP ({asked}) is not in the valid range. The range of valid IPs is {cidr}"
        ),
        None => "the provided network does not match the current range".to_owned(),
    }
}

fn port_refusal(refusal: Refusal, spans: &[Span]) -> String {
    match refusal {
        Refusal::Taken => "provided port is already allocated".to_owned(),
        Refusal::OutOfRange => {
            let spans: Vec<String> = spans.iter().map(Span::to_string).collect();
            let spans = spans.join(",");
            format!("provided port is not in the valid range. The range of valid ports is {spans}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// The outcome with 10.96.0.5, 30005 and 30006 in use, and zeros for random numbers, so that
    /// the first free numbers are 10.96.0.17 and 30016.
    fn allocated(new: Value, old: Option<Value>) -> Result<Value, String> {
        let decode = |spec: Value| -> Service {
            serde_json::from_value(json!({"metadata": {"name": "s"}, "spec": spec})).unwrap()
        };
        let mut new = decode(new);
        let old = old.map(decode);
        let used = HashSet::from([Ipv4Addr::new(10, 96, 0, 5).to_bits()]);
        let mut pools = Pools {
            cidrs: &["10.96.0.0/24".to_owned()],
            addresses: Pool::new(vec![Span::of_cidr("10.96.0.0/24").unwrap()], || used.clone()),
            ports: Pool::new(vec![Span::of_ports(&(30000..=30099))], || {
                HashSet::from([30005, 30006])
            }),
        };
        match allocate(&mut new, old.as_ref(), &mut pools, &|| 0) {
            Ok(()) => Ok(serde_json::to_value(new.spec).unwrap()),
            Err(Failure::Invalid(errors)) => Err(errors[0].to_string()),
            Err(Failure::Internal(why)) => Err(why),
        }
    }

    fn node_ports(spec: &Value) -> Vec<i64> {
        let ports = spec["ports"].as_array().unwrap();
        ports.iter().map(|port| port["nodePort"].as_i64().unwrap_or(0)).collect()
    }

    #[test]
    fn addresses_are_given_or_claimed() {
        let cases = [
            (json!({"type": "ClusterIP"}), Ok("10.96.0.17")),
            (json!({"type": "ClusterIP", "clusterIP": "10.96.0.9"}), Ok("10.96.0.9")),
            (json!({"type": "ClusterIP", "clusterIP": "None", "selector": {"a": "b"}}), Ok("None")),
            (
                json!({"type": "ClusterIP", "clusterIP": "10.96.0.5"}),
                Err("spec.clusterIPs: Invalid value: [\"10.96.0.5\"]: failed to allocate IP \
                     10.96.0.5: provided IP is already allocated"),
            ),
            (
                json!({"type": "ClusterIP", "clusterIP": "10.96.0.255"}),
                Err("spec.clusterIPs: Invalid value: [\"10.96.0.255\"]: failed to allocate IP \
                     10.96.0.255: the provided IP (10.96.0.255) is not in the valid range. The \
                     range of valid IPs is 10.96.0.0/24"),
            ),
            (
                json!({"type": "ClusterIP", "clusterIP": "10.97.0.1"}),
                Err("spec.clusterIPs: Invalid value: [\"10.97.0.1\"]: failed to allocate IP \
                     10.97.0.1: the provided network does not match the current range"),
            ),
        ];
        for (spec, expected) in cases {
            let ip = allocated(spec, None).map(|spec| {
                assert_eq!(spec["clusterIPs"], json!([spec["clusterIP"]]));
                spec["clusterIP"].as_str().unwrap().to_owned()
            });
            assert_eq!(ip, expected.map(str::to_owned).map_err(str::to_owned));
        }
    }

    #[test]
    fn an_external_name_gets_nothing() {
        let spec = json!({"type": "ExternalName", "externalName": "a.b"});
        assert_eq!(allocated(spec.clone(), None), Ok(spec));
    }

    #[test]
    fn new_node_ports_are_given_or_claimed() {
        let cases = [
            (
                json!({"type": "NodePort", "ports": [{"port": 80}, {"port": 81}]}),
                vec![30016, 30017],
            ),
            // One number, two protocols.
            (
                json!({"type": "NodePort", "ports": [{"port": 53}, {"port": 53}]}),
                vec![30016, 30016],
            ),
            (
                json!({"type": "NodePort", "ports": [{"port": 53}, {"port": 53, "nodePort": 30001}]}),
                vec![30001, 30001],
            ),
            (
                json!({"type": "NodePort", "ports": [
                    {"port": 53, "nodePort": 30001}, {"port": 53, "nodePort": 30002},
                ]}),
                vec![30001, 30002],
            ),
            (json!({"type": "ClusterIP", "ports": [{"port": 80}]}), vec![0]),
            (
                json!({"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false, "ports": [
                    {"port": 80}, {"port": 81, "nodePort": 30001},
                ]}),
                vec![0, 30001],
            ),
        ];
        for (spec, expected) in cases {
            assert_eq!(node_ports(&allocated(spec, None).unwrap()), expected);
        }
    }

    #[test]
    fn a_node_port_that_is_not_to_be_had_is_refused() {
        let ask = |port: i32| {
            let ports = json!([{"port": 80}, {"port": 81, "nodePort": port}]);
            allocated(json!({"type": "NodePort", "ports": ports}), None).unwrap_err()
        };
        assert_eq!(
            ask(30005),
            "spec.ports[1].nodePort: Invalid value: 30005: provided port is already allocated"
        );
        assert_eq!(
            ask(80),
            "spec.ports[1].nodePort: Invalid value: 80: provided port is not in the valid range. \
             The range of valid ports is 30000-30099"
        );
    }

    #[test]
    fn a_local_load_balancer_gets_a_health_check_port() {
        let spec = |port: i32| {
            json!({
                "type": "LoadBalancer", "externalTrafficPolicy": "Local",
                "healthCheckNodePort": port, "ports": [{"port": 80}],
            })
        };
        let given = allocated(spec(0), None).unwrap();
        assert_eq!(given["healthCheckNodePort"], 30017);
        assert_eq!(allocated(spec(30001), None).unwrap()["healthCheckNodePort"], 30001);
        assert_eq!(
            allocated(spec(30005), None).unwrap_err(),
            "failed to allocate requested HealthCheck NodePort 30005: provided port is already \
             allocated"
        );
    }

    #[test]
    fn an_update_without_the_allocated_values_keeps_them() {
        let old = json!({
            "type": "NodePort", "clusterIP": "10.96.0.5", "clusterIPs": ["10.96.0.5"],
            "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
            "ports": [
                {"name": "a", "port": 80, "nodePort": 30005},
                {"name": "b", "port": 81, "nodePort": 30006},
            ],
        });
        let new = json!({"type": "NodePort", "ports": [
            {"name": "b", "port": 81}, {"name": "c", "port": 82}, {"name": "a", "port": 8080},
        ]});
        let spec = allocated(new, Some(old.clone())).unwrap();
        assert_eq!(spec["clusterIPs"], json!(["10.96.0.5"]));
        assert_eq!(spec["ipFamilyPolicy"], "SingleStack");
        assert_eq!(node_ports(&spec), [30006, 30016, 30005]);
        assert_eq!(allocated(old.clone(), Some(old.clone())), Ok(old));
    }

    #[test]
    fn a_changed_type_takes_what_it_needs() {
        let old = json!({"type": "ExternalName", "externalName": "a.b"});
        let new = json!({"type": "NodePort", "ports": [{"port": 80}]});
        let spec = allocated(new, Some(old)).unwrap();
        assert_eq!(spec["clusterIP"], "10.96.0.17");
        assert_eq!(node_ports(&spec), [30016]);
    }

    #[test]
    fn a_swapped_node_port_is_not_kept_twice() {
        let old = json!({"type": "NodePort", "ports": [
            {"name": "a", "port": 80, "nodePort": 30005},
            {"name": "b", "port": 81, "nodePort": 30006},
        ]});
        let new = json!({"type": "NodePort", "ports": [
            {"name": "a", "port": 80}, {"name": "b", "port": 81, "nodePort": 30005},
        ]});
        assert_eq!(node_ports(&allocated(new, Some(old)).unwrap()), [30016, 30005]);
    }
}
