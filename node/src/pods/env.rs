//! A container's environment and arguments, made as upstream's kubelet makes them. Pure.
//!
//! What the environment refers to is fetched beforehand: [`references`] says what that is.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{
    Container, EnvVarSource, ObjectFieldSelector, Pod, ResourceFieldSelector,
};

use crate::config::Capacity;
use crate::objects::{ObjectKind, ObjectRef, Payload};
use crate::quantity;

/// What a container's environment is made from besides its spec.
pub struct EnvContext<'a> {
    pub pod: &'a Pod,
    pub pod_ip: Option<IpAddr>,
    pub host_ip: IpAddr,
    pub hostname: &'a str,
    pub capacity: &'a Capacity,
    /// The Services that the pod is told of.
    pub services: &'a [ServiceLink],
    /// What [`references`] named; `None` for what does not exist.
    pub objects: &'a HashMap<ObjectRef, Option<Arc<Payload>>>,
}

/// A Service with an address, as the environment names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceLink {
    pub name: String,
    pub address: IpAddr,
    pub ports: Vec<ServiceLinkPort>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceLinkPort {
    /// Empty where the port has none.
    pub name: String,
    pub port: u16,
    /// `TCP` or `UDP`.
    pub protocol: &'static str,
}

/// The ConfigMaps and Secrets that a container's environment refers to.
pub fn references(namespace: &str, container: &Container) -> Vec<ObjectRef> {
    let mut found = Vec::new();
    let mut add = |kind, name: &str| {
        let reference = ObjectRef { kind, namespace: namespace.into(), name: name.into() };
        if !found.contains(&reference) {
            found.push(reference);
        }
    };
    for from in container.env_from.iter().flatten() {
        if let Some(source) = &from.config_map_ref {
            add(ObjectKind::ConfigMap, &source.name);
        }
        if let Some(source) = &from.secret_ref {
            add(ObjectKind::Secret, &source.name);
        }
    }
    for source in container.env.iter().flatten().filter_map(|var| var.value_from.as_ref()) {
        if let Some(key) = &source.config_map_key_ref {
            add(ObjectKind::ConfigMap, &key.name);
        }
        if let Some(key) = &source.secret_key_ref {
            add(ObjectKind::Secret, &key.name);
        }
    }
    found
}

/// The environment in the order of declaration: what the node adds, `envFrom`, `env`.
pub fn build(
    context: &EnvContext<'_>,
    container: &Container,
) -> Result<Vec<(String, String)>, String> {
    let services = service_variables(context.services);
    let mut declared = Variables::default();
    for from in container.env_from.iter().flatten() {
        let prefix = from.prefix.as_deref().unwrap_or_default();
        if let Some(source) = &from.config_map_ref {
            let payload = find(context, ObjectKind::ConfigMap, &source.name, source.optional)?;
            declared.add_all(prefix, payload);
        }
        if let Some(source) = &from.secret_ref {
            let payload = find(context, ObjectKind::Secret, &source.name, source.optional)?;
            declared.add_all(prefix, payload);
        }
    }
    for variable in container.env.iter().flatten() {
        let literal = variable.value.as_deref().unwrap_or_default();
        let value = match &variable.value_from {
            Some(source) if literal.is_empty() => match resolve(context, container, source)? {
                Some(value) => value,
                None => continue,
            },
            _ => expand(literal, |name| {
                declared.get(name).or_else(|| services.get(name).map(String::as_str))
            }),
        };
        declared.set(variable.name.clone(), value);
    }
    let mut all = vec![("HOSTNAME".to_owned(), context.hostname.to_owned())];
    all.extend(services);
    all.retain(|(name, _)| declared.get(name).is_none());
    all.extend(declared.entries);
    Ok(all)
}

/// The guest's argv: `command` and `args` expanded; without a command the program is named after
/// its image, which for Wasm is the program.
pub fn arguments(container: &Container, image: &str, env: &[(String, String)]) -> Vec<String> {
    let lookup =
        |name: &str| env.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let expanded = |list: &Option<Vec<String>>| -> Vec<String> {
        list.iter().flatten().map(|text| expand(text, lookup)).collect()
    };
    let mut argv = expanded(&container.command);
    if argv.is_empty() {
        argv.push(program_name(image));
    }
    argv.extend(expanded(&container.args));
    argv
}

/// The last part of an image's name, without tag, digest and `.wasm`.
fn program_name(image: &str) -> String {
    let name = image.split('@').next().unwrap_or(image);
    let name = name.rsplit('/').next().unwrap_or(name);
    let name = name.split(':').next().unwrap_or(name);
    name.strip_suffix(".wasm").unwrap_or(name).to_owned()
}

/// Replaces `$(NAME)`; `$$` is a literal dollar; what is not defined stays as it is written.
pub fn expand<'a>(text: &str, lookup: impl Fn(&str) -> Option<&'a str>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(remaining) = after.strip_prefix('$') {
            out.push('$');
            rest = remaining;
        } else if let Some((name, remaining)) =
            after.strip_prefix('(').and_then(|inner| inner.split_once(')'))
        {
            match lookup(name) {
                Some(value) => out.push_str(value),
                None => {
                    out.push_str("$(");
                    out.push_str(name);
                    out.push(')');
                }
            }
            rest = remaining;
        } else {
            out.push('$');
            rest = after;
        }
    }
    out.push_str(rest);
    out
}

/// Variables in order of their first mention.
#[derive(Default)]
struct Variables {
    entries: Vec<(String, String)>,
    positions: HashMap<String, usize>,
}

impl Variables {
    fn get(&self, name: &str) -> Option<&str> {
        self.positions.get(name).map(|&at| self.entries[at].1.as_str())
    }

    fn set(&mut self, name: String, value: String) {
        if let Some(&at) = self.positions.get(&name) {
            self.entries[at].1 = value;
        } else {
            self.positions.insert(name.clone(), self.entries.len());
            self.entries.push((name, value));
        }
    }

    fn add_all(&mut self, prefix: &str, payload: Option<&Payload>) {
        for (key, value) in payload.iter().flat_map(|payload| payload.text.iter()) {
            self.set(format!("{prefix}{key}"), String::from_utf8_lossy(value).into_owned());
        }
    }
}

fn find<'a>(
    context: &'a EnvContext<'_>,
    kind: ObjectKind,
    name: &str,
    optional: Option<bool>,
) -> Result<Option<&'a Payload>, String> {
    let namespace = context.pod.metadata.namespace.clone().unwrap_or_default();
    let reference = ObjectRef { kind, namespace, name: name.into() };
    match context.objects.get(&reference) {
        Some(Some(payload)) => Ok(Some(payload)),
        _ if optional == Some(true) => Ok(None),
        _ => Err(reference.not_found()),
    }
}

fn resolve(
    context: &EnvContext<'_>,
    container: &Container,
    source: &EnvVarSource,
) -> Result<Option<String>, String> {
    if let Some(field) = &source.field_ref {
        return pod_field(context, field).map(Some);
    }
    if let Some(field) = &source.resource_field_ref {
        return resource(context, container, field).map(Some);
    }
    if let Some(key) = &source.config_map_key_ref {
        return key_of(context, ObjectKind::ConfigMap, &key.name, &key.key, key.optional);
    }
    if let Some(key) = &source.secret_key_ref {
        return key_of(context, ObjectKind::Secret, &key.name, &key.key, key.optional);
    }
    Ok(Some(String::new()))
}

fn key_of(
    context: &EnvContext<'_>,
    kind: ObjectKind,
    name: &str,
    key: &str,
    optional: Option<bool>,
) -> Result<Option<String>, String> {
    let payload = find(context, kind, name, optional)?;
    let Some(payload) = payload else { return Ok(None) };
    match payload.text.get(key) {
        Some(value) => Ok(Some(String::from_utf8_lossy(value).into_owned())),
        None if optional == Some(true) => Ok(None),
        None => {
            let namespace = context.pod.metadata.namespace.as_deref().unwrap_or_default();
            Err(format!("couldn't find key {key} in {} {namespace}/{name}", kind.title()))
        }
    }
}

fn pod_field(context: &EnvContext<'_>, field: &ObjectFieldSelector) -> Result<String, String> {
    let meta = &context.pod.metadata;
    let spec = context.pod.spec.as_ref();
    let pod_ip = || context.pod_ip.map(|ip| ip.to_string()).unwrap_or_default();
    Ok(match field.field_path.as_str() {
        "metadata.name" => meta.name.clone().unwrap_or_default(),
        "metadata.namespace" => meta.namespace.clone().unwrap_or_default(),
        "metadata.uid" => meta.uid.clone().unwrap_or_default(),
        "metadata.labels" => format_map(meta.labels.as_ref()),
        "metadata.annotations" => format_map(meta.annotations.as_ref()),
        "spec.nodeName" => spec.and_then(|s| s.node_name.clone()).unwrap_or_default(),
        "spec.serviceAccountName" => {
            spec.and_then(|s| s.service_account_name.clone()).unwrap_or_default()
        }
        "status.hostIP" | "status.hostIPs" => context.host_ip.to_string(),
        "status.podIP" | "status.podIPs" => pod_ip(),
        path => {
            let (map, key) = subscript(path)
                .ok_or_else(|| format!("unsupported pod field selector \"{path}\""))?;
            let map = match map {
                "metadata.labels" => meta.labels.as_ref(),
                "metadata.annotations" => meta.annotations.as_ref(),
                _ => return Err(format!("unsupported pod field selector \"{path}\"")),
            };
            map.and_then(|map| map.get(key)).cloned().unwrap_or_default()
        }
    })
}

/// `metadata.labels['key']` → its two parts.
fn subscript(path: &str) -> Option<(&str, &str)> {
    path.strip_suffix("']")?.split_once("['")
}

/// One `key="value"` a line, as upstream formats a map of labels.
fn format_map(map: Option<&BTreeMap<String, String>>) -> String {
    let lines: Vec<String> = map
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", serde_json::Value::String(value.clone())))
        .collect();
    lines.join("\n")
}

fn resource(
    context: &EnvContext<'_>,
    container: &Container,
    field: &ResourceFieldSelector,
) -> Result<String, String> {
    let named = field.container_name.as_deref().filter(|name| !name.is_empty());
    let container = match named {
        None => container,
        Some(name) => context
            .pod
            .spec
            .iter()
            .flat_map(|spec| &spec.containers)
            .find(|container| container.name == name)
            .ok_or_else(|| format!("container {name} not found"))?,
    };
    let (side, name) = field
        .resource
        .split_once('.')
        .ok_or_else(|| format!("unsupported container resource : {}", field.resource))?;
    let requirements = container.resources.as_ref();
    let limit = requirements.and_then(|r| r.limits.as_ref()).and_then(|l| l.get(name));
    let request = requirements.and_then(|r| r.requests.as_ref()).and_then(|l| l.get(name));
    let given = match side {
        "limits" => limit,
        "requests" => request,
        _ => return Err(format!("unsupported container resource : {}", field.resource)),
    };
    let millis = match given {
        Some(quantity) => quantity::millis(quantity).unwrap_or(0),
        // Upstream: a limit that is not set is what the node can give.
        None if side == "limits" => allocatable_millis(context.capacity, name),
        None => 0,
    };
    let divisor = field.divisor.as_ref().filter(|divisor| !matches!(&*divisor.0, "" | "0"));
    let divisor = divisor.and_then(quantity::millis).unwrap_or(1000).max(1);
    Ok((millis.div_euclid(divisor) + i128::from(millis.rem_euclid(divisor) != 0)).to_string())
}

fn allocatable_millis(capacity: &Capacity, name: &str) -> i128 {
    match name {
        "cpu" => i128::from(capacity.cpu_millis),
        "memory" => i128::from(capacity.memory_bytes) * 1000,
        "ephemeral-storage" => i128::from(capacity.ephemeral_storage_bytes) * 1000,
        _ => 0,
    }
}

/// `{SVC}_SERVICE_HOST` and the rest.
fn service_variables(services: &[ServiceLink]) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    for service in services {
        add_service(&mut variables, service);
    }
    variables
}

fn add_service(variables: &mut BTreeMap<String, String>, service: &ServiceLink) {
    let Some(first) = service.ports.first() else { return };
    let name = variable_name(&service.name);
    let address = service.address.to_string();
    variables.insert(format!("{name}_SERVICE_HOST"), address.clone());
    variables.insert(format!("{name}_SERVICE_PORT"), first.port.to_string());
    for (index, port) in service.ports.iter().enumerate() {
        if !port.name.is_empty() {
            let key = format!("{name}_SERVICE_PORT_{}", variable_name(&port.name));
            variables.insert(key, port.port.to_string());
        }
        let protocol = port.protocol.to_lowercase();
        let url = format!("{protocol}://{}", SocketAddr::new(service.address, port.port));
        if index == 0 {
            variables.insert(format!("{name}_PORT"), url.clone());
        }
        let prefix = format!("{name}_PORT_{}_{}", port.port, port.protocol);
        variables.insert(format!("{prefix}_PROTO"), protocol);
        variables.insert(format!("{prefix}_PORT"), port.port.to_string());
        variables.insert(format!("{prefix}_ADDR"), address.clone());
        variables.insert(prefix, url);
    }
}

fn variable_name(text: &str) -> String {
    text.replace('-', "_").to_uppercase()
}

#[cfg(test)]
#[path = "env_tests.rs"]
mod tests;
