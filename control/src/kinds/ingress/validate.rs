//! Validation of Ingresses. Source: `pkg/apis/networking/validation/validation.go`.

use std::net::IpAddr;

use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, IngressBackend, IngressRule, IngressServiceBackend, IngressSpec,
    IngressStatus, IngressTLS,
};

use crate::kinds::meta::invalid_each;
use crate::kinds::rules::object_reference;
use crate::kinds::{FieldError, Shown, formats, names};

const PATH_TYPES: &[&str] = &["Exact", "ImplementationSpecific", "Prefix"];
const PATH_SEQUENCES: &[&str] = &["//", "/./", "/../", "%2f", "%2F"];
const PATH_SUFFIXES: &[&str] = &["/..", "/."];
const NOT_AN_ADDRESS: &str = "must be a DNS name, not an IP address";

/// All problems of a spec.
pub fn spec(spec: &IngressSpec) -> Vec<FieldError> {
    let rules = spec.rules.as_deref().unwrap_or_default();
    let mut errors = Vec::new();
    if rules.is_empty() && spec.default_backend.is_none() {
        // Upstream shows the rules at the path of the spec.
        let value = Shown::Text(if spec.rules.is_some() { "[]" } else { "null" }.to_owned());
        let why = "either `defaultBackend` or `rules` must be specified";
        errors.push(FieldError::invalid("spec", value, why));
    }
    if let Some(default) = &spec.default_backend {
        errors.extend(backend(default, "spec.defaultBackend"));
    }
    for (index, one) in rules.iter().enumerate() {
        errors.extend(rule(one, &format!("spec.rules[{index}]")));
    }
    for (index, one) in spec.tls.iter().flatten().enumerate() {
        errors.extend(tls(one, &format!("spec.tls[{index}]")));
    }
    if let Some(class) = &spec.ingress_class_name {
        errors.extend(invalid_each("spec.ingressClassName", class, names::subdomain(class)));
    }
    errors
}

fn host(host: &str, path: &str) -> Vec<FieldError> {
    let problems =
        if host.contains('*') { names::wildcard(host) } else { names::subdomain(host) };
    invalid_each(path, host, problems)
}

fn rule(rule: &IngressRule, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if let Some(name) = rule.host.as_deref().filter(|host| !host.is_empty()) {
        let path = format!("{path}.host");
        if name.parse::<IpAddr>().is_ok() {
            errors.push(FieldError::invalid(path.as_str(), name, NOT_AN_ADDRESS));
        }
        errors.extend(host(name, &path));
    }
    let Some(http) = &rule.http else { return errors };
    let path = format!("{path}.http.paths");
    if http.paths.is_empty() {
        errors.push(FieldError::required(path.as_str(), ""));
    }
    for (index, one) in http.paths.iter().enumerate() {
        errors.extend(http_path(one, &format!("{path}[{index}]")));
    }
    errors
}

fn http_path(http: &HTTPIngressPath, path: &str) -> Vec<FieldError> {
    let text = http.path.as_deref().unwrap_or_default();
    let text_path = format!("{path}.path");
    let refuse = |why: String| FieldError::invalid(text_path.as_str(), text, why);
    let is_absolute = text.starts_with('/');
    let mut errors = Vec::new();
    match http.path_type.as_str() {
        "" => {
            let path = format!("{path}.pathType");
            return vec![FieldError::required(path, "pathType must be specified")];
        }
        "Exact" | "Prefix" => {
            if !is_absolute {
                errors.push(refuse("must be an absolute path".to_owned()));
            }
            let sequences = PATH_SEQUENCES.iter().filter(|part| text.contains(**part));
            errors.extend(sequences.map(|part| refuse(format!("must not contain '{part}'"))));
            let suffixes = PATH_SUFFIXES.iter().filter(|part| text.ends_with(**part));
            errors.extend(suffixes.map(|part| refuse(format!("cannot end with '{part}'"))));
        }
        "ImplementationSpecific" => {
            if !text.is_empty() && !is_absolute {
                errors.push(refuse("must be an absolute path".to_owned()));
            }
        }
        other => {
            errors.push(FieldError::not_supported(format!("{path}.pathType"), other, PATH_TYPES));
        }
    }
    errors.extend(backend(&http.backend, &format!("{path}.backend")));
    errors
}

fn backend(backend: &IngressBackend, path: &str) -> Vec<FieldError> {
    match (&backend.resource, &backend.service) {
        (Some(_), Some(_)) => {
            vec![FieldError::invalid(path, "", "cannot set both resource and service backends")]
        }
        (Some(resource), None) => object_reference::typed(
            resource.api_group.as_deref(),
            &resource.kind,
            &resource.name,
            &format!("{path}.resource"),
        ),
        (None, Some(service)) => service_backend(service, path),
        (None, None) => {
            vec![FieldError::invalid(path, "", "resource or service backend is required")]
        }
    }
}

fn service_backend(service: &IngressServiceBackend, path: &str) -> Vec<FieldError> {
    let name_path = format!("{path}.service.name");
    let mut errors = if service.name.is_empty() {
        vec![FieldError::required(name_path, "")]
    } else {
        invalid_each(&name_path, &service.name, names::label(&service.name))
    };
    let port = service.port.clone().unwrap_or_default();
    let name = port.name.as_deref().filter(|name| !name.is_empty());
    let number = port.number.filter(|number| *number != 0);
    let path_of = |field: &str| format!("{path}.service.port.{field}");
    match (name, number) {
        (Some(_), Some(_)) => {
            let why = "cannot set both port name & port number";
            errors.push(FieldError::invalid(path, "", why));
        }
        (Some(name), None) => {
            errors.extend(invalid_each(&path_of("name"), name, names::port_name(name)));
        }
        (None, Some(number)) => {
            for why in names::port_number(number.into()) {
                errors.push(FieldError::invalid(path_of("number"), number, why));
            }
        }
        (None, None) => {
            errors.push(FieldError::required(path, "port name or number is required"));
        }
    }
    errors
}

fn tls(tls: &IngressTLS, path: &str) -> Vec<FieldError> {
    let hosts = tls.hosts.iter().flatten().enumerate();
    let mut errors: Vec<FieldError> = hosts
        .flat_map(|(index, name)| host(name, &format!("{path}.hosts[{index}]")))
        .collect();
    if let Some(secret) = tls.secret_name.as_deref().filter(|name| !name.is_empty()) {
        errors.extend(invalid_each(&format!("{path}.secretName"), secret, names::subdomain(secret)));
    }
    errors
}

/// All problems of a status.
pub fn status(status: &IngressStatus) -> Vec<FieldError> {
    let balancer = status.load_balancer.as_ref();
    let points = balancer.and_then(|balancer| balancer.ingress.as_deref()).unwrap_or_default();
    let mut errors = Vec::new();
    for (index, point) in points.iter().enumerate() {
        let path = format!("status.loadBalancer.ingress[{index}]");
        if let Some(address) = point.ip.as_deref().filter(|text| !text.is_empty()) {
            errors.extend(formats::ip(address, &format!("{path}.ip")));
        }
        if let Some(name) = point.hostname.as_deref().filter(|text| !text.is_empty()) {
            let path = format!("{path}.hostname");
            errors.extend(invalid_each(&path, name, names::subdomain(name)));
            if name.parse::<IpAddr>().is_ok() {
                errors.push(FieldError::invalid(path, name, NOT_AN_ADDRESS));
            }
        }
    }
    errors
}
