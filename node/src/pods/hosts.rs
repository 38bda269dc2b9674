//! A pod's names: its own host's, and those that it alone knows. Pure.
//!
//! Upstream writes them into the pod's `/etc/hosts`; here name look-ups are answered with them.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Pod, PodSpec};

/// As upstream: a host name has so many characters at the most.
const HOSTNAME_MAX: usize = 63;
/// As upstream: what a kernel takes as its node's name.
const FULL_NAME_MAX: usize = 64;

/// The name that a pod's guests see as their host's, or why it has none.
pub fn hostname(pod: &Pod, cluster_domain: &str) -> Result<String, String> {
    let as_full_name = spec(pod).and_then(|spec| spec.set_hostname_as_fqdn) == Some(true);
    let Some(full) = full_name(pod, cluster_domain).filter(|_| as_full_name) else {
        return Ok(short_name(pod));
    };
    if full.len() > FULL_NAME_MAX {
        return Err(format!(
            "the host name {full} is too long for setHostnameAsFQDN: {} characters, where {FULL_NAME_MAX} is the most",
            full.len()
        ));
    }
    Ok(full)
}

/// The names that the pod at `ip` alone knows, in lower case.
pub fn own_hosts(pod: &Pod, ip: IpAddr, cluster_domain: &str) -> Box<[(String, IpAddr)]> {
    let full = full_name(pod, cluster_domain).map(|full| [full, short_name(pod)]);
    let own = full.into_iter().flatten().map(|name| (name.to_ascii_lowercase(), ip));
    let aliases = spec(pod).into_iter().flat_map(|spec| spec.host_aliases.iter().flatten());
    let aliases = aliases.filter_map(|alias| {
        let ip: IpAddr = alias.ip.parse().ok()?;
        let names = alias.hostnames.iter().flatten();
        Some(names.map(move |name| (name.to_ascii_lowercase(), ip)))
    });
    own.chain(aliases.flatten()).collect()
}

fn spec(pod: &Pod) -> Option<&PodSpec> {
    pod.spec.as_ref()
}

fn short_name(pod: &Pod) -> String {
    let given = spec(pod).and_then(|spec| spec.hostname_override.clone().or(spec.hostname.clone()));
    let name = given.filter(|name| !name.is_empty()).or_else(|| pod.metadata.name.clone());
    let mut name = name.unwrap_or_default();
    name.truncate(HOSTNAME_MAX);
    name.truncate(name.trim_end_matches(['-', '.']).len());
    name
}

/// The name with its domain, of a pod that has a `subdomain`. An override stands without one.
fn full_name(pod: &Pod, cluster_domain: &str) -> Option<String> {
    let spec = spec(pod).filter(|spec| spec.hostname_override.is_none())?;
    let subdomain = spec.subdomain.as_deref().filter(|subdomain| !subdomain.is_empty())?;
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    Some(format!("{}.{subdomain}.{namespace}.svc.{cluster_domain}", short_name(pod)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(name: &str, spec: Value) -> Pod {
        let mut spec = spec;
        spec["containers"] = json!([]);
        let object = json!({ "metadata": { "name": name, "namespace": "ns" }, "spec": spec });
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn a_pod_is_named_as_its_spec_says() {
        let cut = "a".repeat(62);
        let long = format!("{cut}-.b");
        for (name, spec, expected) in [
            ("web", json!({}), "web"),
            (long.as_str(), json!({}), cut.as_str()),
            ("web", json!({ "hostname": "h" }), "h"),
            (
                "web",
                json!({ "hostname": "h", "hostnameOverride": "other.example" }),
                "other.example",
            ),
            ("web", json!({ "subdomain": "s" }), "web"),
            ("web", json!({ "setHostnameAsFQDN": true }), "web"),
            (
                "web",
                json!({ "subdomain": "s", "setHostnameAsFQDN": true }),
                "web.s.ns.svc.cluster.local",
            ),
        ] {
            assert_eq!(
                hostname(&pod(name, spec.clone()), "cluster.local").unwrap(),
                expected,
                "{spec}"
            );
        }
        let spec = json!({ "subdomain": "s", "setHostnameAsFQDN": true });
        let problem = hostname(&pod(&"a".repeat(60), spec), "cluster.local").unwrap_err();
        assert!(problem.contains("too long"), "{problem}");
    }

    #[test]
    fn a_pod_alone_knows_its_aliases_and_its_full_name() {
        let ip: IpAddr = "10.1.0.2".parse().unwrap();
        let spec = json!({
            "hostname": "h", "subdomain": "s",
            "hostAliases": [{ "ip": "123.45.67.89", "hostnames": ["Foo", "bar"] }],
        });
        let hosts = own_hosts(&pod("web", spec), ip, "cluster.local");
        let far: IpAddr = "123.45.67.89".parse().unwrap();
        let expected = [("h.s.ns.svc.cluster.local", ip), ("h", ip), ("foo", far), ("bar", far)];
        let hosts: Vec<_> = hosts.iter().map(|(name, ip)| (name.as_str(), *ip)).collect();
        assert_eq!(hosts, expected);
        assert!(own_hosts(&pod("web", json!({})), ip, "cluster.local").is_empty());
    }
}
