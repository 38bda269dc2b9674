//! The objects that a cluster has from the start: the system's namespaces and classes of
//! priority, and the API's own Service.
//!
//! They are written past admission and validation: nothing could admit them before they are there,
//! and the API's own address may be a loopback address, which no user's endpoint may.

use std::net::{Ipv4Addr, SocketAddr};

use serde_json::{Value, json};

use crate::api::{Api, ownership};
use crate::auth::UserInfo;
use crate::encode;
use crate::kinds::priority_class::{SYSTEM_CLASSES, SystemClass};
use crate::kinds::rules::ip::Block;
use crate::kinds::{Context, Generation, Part};
use crate::store::{StoreError, Stored, Write};

use super::{StartError, api_services};

/// Who manages what is there from the start.
const MANAGER: &str = "kube-apiserver";
const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// The first address of the range: the API's own ClusterIP.
pub fn first_service_ip(cidr: &str) -> Result<Ipv4Addr, StartError> {
    let refuse = || StartError::ServiceCidr(cidr.to_owned());
    let (base, bits) = cidr.split_once('/').ok_or_else(refuse)?;
    let base: Ipv4Addr = base.parse().map_err(|_| refuse())?;
    let bits: u32 = bits.parse().map_err(|_| refuse())?;
    if bits > 30 {
        return Err(refuse());
    }
    let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
    Ok(Ipv4Addr::from((base.to_bits() & mask) + 1))
}

pub async fn system_objects(
    api: &Api,
    service_ip: Ipv4Addr,
    advertised: Option<SocketAddr>,
) -> Result<(), StartError> {
    let place = Place::new("networking.k8s.io", "v1", "servicecidrs");
    put(api, place, service_cidr(api), Known::Stays).await?;
    for name in NAMESPACES {
        let namespace = json!({ "metadata": { "name": name } });
        put(api, Place::new("", "v1", "namespaces"), namespace, Known::Stays).await?;
    }
    for class in &SYSTEM_CLASSES {
        let place = Place::new("scheduling.k8s.io", "v1", "priorityclasses");
        put(api, place, priority_class(class), Known::Stays).await?;
    }
    let service = service(service_ip, advertised);
    put(api, Place::new("", "v1", "services"), service, Known::Stays).await?;
    put(api, Place::new("", "v1", "endpoints"), endpoints(advertised), Known::Follows).await?;
    let place = Place::new("discovery.k8s.io", "v1", "endpointslices");
    put(api, place, endpoint_slice(advertised), Known::Follows).await
}

/// What this server serves itself. At the start alone, as upstream: who deletes one of these has
/// nothing of it until the next start.
pub async fn api_services(api: &Api) -> Result<(), StartError> {
    const PLACE: Place = Place::new("apiregistration.k8s.io", "v1", "apiservices");
    let services = api_services::of(&api.kinds).into_iter();
    // Side by side, so that the store syncs but once or twice.
    let puts = services.map(|service| put(api, PLACE, service, Known::Follows));
    futures::future::try_join_all(puts).await.map(|_| ())
}

fn priority_class(class: &SystemClass) -> Value {
    json!({
        "metadata": { "name": class.name },
        "value": class.value,
        "description": class.description,
    })
}

/// The range that cluster IPs come from, which is ready from the start.
fn service_cidr(api: &Api) -> Value {
    let cidr = &api.surroundings.service_cidr;
    let cidr = cidr.parse::<Block>().map_or_else(|_| cidr.clone(), |block| block.to_string());
    json!({
        "metadata": { "name": "kubernetes" },
        "spec": { "cidrs": [cidr] },
        "status": { "conditions": [{
            "type": "Ready",
            "status": "True",
            "reason": "",
            "message": "Kubernetes default Service CIDR is ready",
            "lastTransitionTime": timestamp(api),
        }] },
    })
}

fn service(ip: Ipv4Addr, advertised: Option<SocketAddr>) -> Value {
    let port = advertised.map_or(6443, |address| address.port());
    json!({
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": { "component": "apiserver", "provider": "kubernetes" },
        },
        "spec": {
            "type": "ClusterIP",
            "clusterIP": ip.to_string(),
            "clusterIPs": [ip.to_string()],
            "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack",
            "internalTrafficPolicy": "Cluster",
            "sessionAffinity": "None",
            "ports": [{ "name": "https", "protocol": "TCP", "port": 443, "targetPort": port }],
        },
    })
}

fn endpoints(advertised: Option<SocketAddr>) -> Value {
    let mut endpoints = json!({
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": { "endpointslice.kubernetes.io/skip-mirror": "true" },
        },
    });
    if let Some(address) = advertised {
        endpoints["subsets"] = json!([{
            "addresses": [{ "ip": address.ip().to_string() }],
            "ports": [{ "name": "https", "port": address.port(), "protocol": "TCP" }],
        }]);
    }
    endpoints
}

fn endpoint_slice(advertised: Option<SocketAddr>) -> Value {
    let ready = |address: SocketAddr| json!({ "addresses": [address.ip().to_string()], "conditions": { "ready": true } });
    let is_v6 = advertised.is_some_and(|address| address.is_ipv6());
    json!({
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": { "kubernetes.io/service-name": "kubernetes" },
        },
        "addressType": if is_v6 { "IPv6" } else { "IPv4" },
        "endpoints": advertised.map(ready).into_iter().collect::<Vec<_>>(),
        "ports": [{
            "name": "https",
            "protocol": "TCP",
            "port": advertised.map_or(6443, |address| address.port()),
        }],
    })
}

/// Where an object is kept.
#[derive(Clone, Copy)]
struct Place {
    group: &'static str,
    version: &'static str,
    resource: &'static str,
}

impl Place {
    const fn new(group: &'static str, version: &'static str, resource: &'static str) -> Self {
        Self { group, version, resource }
    }
}

/// What becomes of an object that is there already.
#[derive(Clone, Copy, PartialEq)]
enum Known {
    Stays,
    /// It takes on what it should be now.
    Follows,
}

async fn put(api: &Api, place: Place, value: Value, known: Known) -> Result<(), StartError> {
    let name = value["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let what = || format!("{} {name:?}", place.resource);
    let failed = |why: String| StartError::Bootstrap { what: what(), why };
    let Some(kind) = api.kinds.at(place.group, place.version, place.resource) else {
        return Err(failed("the kind is not served".into()));
    };
    let info = kind.info();
    let namespace = value["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
    let key = format!("{}/{namespace}/{name}", info.stored_resource());
    let existing = api.store.get(&key, None).await?;
    if existing.is_some() && known == Known::Stays {
        return Ok(());
    }
    let mut value = value;
    value["apiVersion"] = info.api_version().into();
    value["kind"] = info.kind.into();
    let user = UserInfo::authenticated("system:apiserver", &["system:masters"]);
    let context =
        Context { user: &user, now: api.ambient().now(), namespace: &namespace, name: &name };
    let value = kind.begin(&value, None, Part::Main, &context).map_err(failed)?.into_value();
    let write = match existing {
        None => {
            let mut value = value;
            if matches!(info.generation, Generation::Raised | Generation::Once) {
                value["metadata"]["generation"] = 1.into();
            }
            let now = context.now;
            let managers = ownership::of_seed(&api.kinds, info, MANAGER, now, &value);
            create(api, key, value, managers.as_deref())
        }
        Some(existing) => match update(key, value, &existing) {
            Some(write) => write,
            None => return Ok(()),
        },
    };
    match api.store.commit(write).await {
        // Another control plane on the same store was quicker: it is there.
        Ok(_) | Err(StoreError::Exists { .. } | StoreError::Conflict { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn create(api: &Api, key: String, mut value: Value, managers: Option<&str>) -> Write {
    value["metadata"]["uid"] = api.ambient().uuid().to_string().into();
    value["metadata"]["creationTimestamp"] = timestamp(api).into();
    Write::Create { key, value: encode::stored_with(&value, managers), ttl: None }
}

fn timestamp(api: &Api) -> String {
    api.ambient().now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// `None` where nothing but the metadata would change.
fn update(key: String, mut value: Value, existing: &Stored) -> Option<Write> {
    let old: Value = serde_json::from_slice(&existing.value).ok()?;
    value["metadata"] = old["metadata"].clone();
    if !old["status"].is_null() {
        value["status"] = old["status"].clone();
    }
    if value == old {
        return None;
    }
    let stored = encode::stored(&value);
    Some(Write::Update { key, value: stored, expected: existing.modified, ttl: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_api_gets_the_first_address_of_the_range() {
        let table = [
            ("10.96.0.0/12", Some("10.96.0.1")),
            ("10.96.3.7/16", Some("10.96.0.1")),
            ("10.96.0.0", None),
            ("10.96.0.0/33", None),
            ("fd00::/108", None),
        ];
        for (cidr, expected) in table {
            let found = first_service_ip(cidr).ok().map(|ip| ip.to_string());
            assert_eq!(found.as_deref(), expected, "{cidr}");
        }
    }
}
