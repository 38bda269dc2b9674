//! Names and amounts of resources: what containers, pods and nodes may ask for and offer.
//!
//! Source: `pkg/apis/core/validation` (`ValidateResourceRequirements`), `pkg/apis/core/helper`.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{ResourceClaim, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource;

use super::quantity::Quantity;
use super::{FieldError, meta, names};

const HUGE_PAGES: &str = "hugepages-";
const CONTAINER_RESOURCES: &[&str] = &["cpu", "memory", "ephemeral-storage"];
const POD_RESOURCES: &[&str] = &["cpu", "memory"];
/// As upstream names them: huge pages by their prefix.
const POD_RESOURCES_SHOWN: &[&str] = &["cpu", HUGE_PAGES, "memory"];

/// Resources that quotas and nodes count in whole numbers.
const WHOLE_RESOURCES: &[&str] = &[
    "configmaps",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "services",
    "services.loadbalancers",
    "services.nodeports",
];

const STANDARD_RESOURCES: &[&str] = &[
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "requests.storage",
    "storage",
    "services.nodeports",
    "services.loadbalancers",
];

/// Whose resources they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    Container,
    Pod,
}

/// Whether the name is in the `kubernetes.io` namespace, to which names without a prefix belong.
pub fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

pub fn is_huge_pages(name: &str) -> bool {
    name.starts_with(HUGE_PAGES)
}

/// A vendor's resource, such as `example.com/gpu`.
pub fn is_extended(name: &str) -> bool {
    !is_native(name)
        && !name.starts_with("requests.")
        && names::label_key(&format!("requests.{name}")).is_empty()
}

/// Whether requests may be lower than limits.
pub fn may_overcommit(name: &str) -> bool {
    is_native(name) && !is_huge_pages(name)
}

/// All problems of an amount of a resource.
pub fn validate_amount(name: &str, text: &resource::Quantity, path: &str) -> Vec<FieldError> {
    let amount = match Quantity::try_from(text) {
        Ok(amount) => amount,
        Err(error) => {
            return vec![FieldError::invalid(path, text.0.as_str(), error.to_string())];
        }
    };
    let mut errors = Vec::new();
    if amount.is_negative() {
        let detail = "must be greater than or equal to 0";
        errors.push(FieldError::invalid(path, text.0.as_str(), detail));
    }
    if (WHOLE_RESOURCES.contains(&name) || is_extended(name)) && amount.milli_value() % 1000 != 0 {
        errors.push(FieldError::invalid(path, text.0.as_str(), "must be an integer"));
    }
    errors
}

/// The problem of an amount of anything: it is negative.
pub fn validate_basic(text: &resource::Quantity, path: &str) -> Option<FieldError> {
    let value = Quantity::try_from(text).ok()?.value();
    (value < 0).then(|| FieldError::invalid(path, value, "must be a valid resource quantity"))
}

/// Adds all problems of requests, limits and claims. `claims`: the names that the pod declares.
pub fn validate_requirements(
    requirements: &ResourceRequirements,
    of: Of,
    claims: &BTreeSet<&str>,
    path: &str,
    errors: &mut Vec<FieldError>,
) {
    let none = Default::default();
    let limits = requirements.limits.as_ref().unwrap_or(&none);
    let requests = requirements.requests.as_ref().unwrap_or(&none);
    for (name, amount) in limits {
        let own_path = format!("{path}.limits[{name}]");
        validate_entry(name, amount, of, &own_path, errors);
        errors.extend(validate_huge_pages(name, amount, &own_path));
    }
    for (name, amount) in requests {
        let own_path = format!("{path}.requests[{name}]");
        validate_entry(name, amount, of, &own_path, errors);
        validate_against_limit(name, amount, limits.get(name), path, errors);
        errors.extend(validate_huge_pages(name, amount, &own_path));
    }
    let named = || limits.keys().chain(requests.keys());
    let huge = named().any(|name| is_huge_pages(name));
    if huge && !named().any(|name| POD_RESOURCES.contains(&name.as_str())) {
        errors.push(FieldError::forbidden(path, "HugePages require cpu or memory"));
    }
    let uses = requirements.claims.as_deref().unwrap_or_default();
    validate_claims(uses, claims, &format!("{path}.claims"), errors);
}

fn validate_entry(
    name: &str,
    amount: &resource::Quantity,
    of: Of,
    path: &str,
    errors: &mut Vec<FieldError>,
) {
    match of {
        Of::Container => validate_container_name(name, path, errors),
        Of::Pod => validate_pod_name(name, path, errors),
    }
    errors.extend(validate_amount(name, amount, path));
}

fn validate_against_limit(
    name: &str,
    request: &resource::Quantity,
    limit: Option<&resource::Quantity>,
    path: &str,
    errors: &mut Vec<FieldError>,
) {
    let Some(limit) = limit else {
        if !may_overcommit(name) {
            let detail = "Limit must be set for non overcommitable resources";
            errors.push(FieldError::required(format!("{path}.limits"), detail));
        }
        return;
    };
    let (Ok(asked), Ok(allowed)) = (Quantity::try_from(request), Quantity::try_from(limit)) else {
        return;
    };
    let relation = if asked != allowed && !may_overcommit(name) {
        "equal to"
    } else if asked > allowed {
        "less than or equal to"
    } else {
        return;
    };
    let detail = format!("must be {relation} {name} limit of {allowed}");
    errors.push(FieldError::invalid(format!("{path}.requests"), asked.to_string(), detail));
}

/// A resource's name of any sort: standard, or with a prefix.
pub fn validate_name(name: &str, path: &str) -> Vec<FieldError> {
    let errors = meta::invalid_each(path, name, names::label_key(name));
    let standard = STANDARD_RESOURCES.contains(&name)
        || is_huge_pages(name)
        || name.starts_with("requests.hugepages-");
    if errors.is_empty() && !name.contains('/') && !standard {
        let detail = "must be a standard resource type or fully qualified";
        return vec![FieldError::invalid(path, name, detail)];
    }
    errors
}

/// All problems of a resource's name in a quota, which counts no bare `storage`.
pub fn validate_quota_name(name: &str, path: &str) -> Vec<FieldError> {
    let mut errors = validate_name(name, path);
    if !name.contains('/') && !is_quota_resource(name) {
        let detail = "must be a standard resource for quota";
        errors.push(FieldError::invalid(path, name, detail));
    }
    errors
}

/// Whether quotas know the resource by this name, which has no prefix.
pub fn is_quota_resource(name: &str) -> bool {
    let standard = name != "storage" && STANDARD_RESOURCES.contains(&name);
    standard || is_huge_pages(name) || name.starts_with("requests.hugepages-")
}

/// The name of a resource that containers ask for.
pub fn validate_of_container(name: &str, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    validate_container_name(name, path, &mut errors);
    errors
}

/// Adds all problems of a resource's name of a container.
pub fn validate_container_name(name: &str, path: &str, errors: &mut Vec<FieldError>) {
    errors.extend(validate_name(name, path));
    if !name.contains('/') {
        if !CONTAINER_RESOURCES.contains(&name) && !is_huge_pages(name) {
            let detail = "must be a standard resource for containers";
            errors.push(FieldError::invalid(path, name, detail));
        }
    } else if !is_native(name) && !is_extended(name) {
        let detail = "doesn't follow extended resource name standard";
        errors.push(FieldError::invalid(path, name, detail));
    }
}

fn validate_pod_name(name: &str, path: &str, errors: &mut Vec<FieldError>) {
    let problems = validate_name(name, path);
    if problems.is_empty() && !POD_RESOURCES.contains(&name) && !is_huge_pages(name) {
        errors.push(FieldError::not_supported(path, name, POD_RESOURCES_SHOWN));
    }
    errors.extend(problems);
}

fn validate_huge_pages(name: &str, amount: &resource::Quantity, path: &str) -> Option<FieldError> {
    let page = Quantity::parse(name.strip_prefix(HUGE_PAGES)?).ok();
    let amount = Quantity::try_from(amount).ok()?;
    let page = page.filter(|page| page.is_whole() && page.value() > 0);
    if page.is_some_and(|page| amount.value() % page.value() == 0) {
        return None;
    }
    let detail = format!("{amount} is not positive integer multiple of {name}");
    Some(FieldError::invalid(path, amount.to_string(), detail))
}

fn validate_claims(
    uses: &[ResourceClaim],
    claims: &BTreeSet<&str>,
    path: &str,
    errors: &mut Vec<FieldError>,
) {
    let mut seen: BTreeSet<(&str, &str)> = BTreeSet::new();
    for (index, claim) in uses.iter().enumerate() {
        let path = format!("{path}[{index}]");
        let name = claim.name.as_str();
        if name.is_empty() {
            errors.push(FieldError::required(path, ""));
            continue;
        }
        let request = claim.request.as_deref().unwrap_or_default();
        if !request.is_empty() {
            let path = format!("{path}.request");
            errors.extend(meta::invalid_each(&path, request, names::label(request)));
        }
        // The whole claim overlaps with each of its requests.
        if seen.contains(&(name, "")) || (request.is_empty() && seen.iter().any(|s| s.0 == name)) {
            errors.push(FieldError::duplicate(&path, name));
        } else if !seen.insert((name, request)) {
            errors.push(FieldError::duplicate(&path, format!("{name}/{request}")));
        }
        if !claims.contains(name) {
            let mut error = FieldError::not_found(&path, name);
            let known: Vec<&str> = claims.iter().copied().collect();
            error.detail = match known.as_slice() {
                [] => {
                    "must be one of the names in pod.spec.resourceClaims which is empty".to_owned()
                }
                known => {
                    format!(
                        "must be one of the names in pod.spec.resourceClaims: {}",
                        known.join(", ")
                    )
                }
            };
            errors.push(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::texts;
    use serde_json::json;

    fn problems(value: serde_json::Value, of: Of) -> Vec<String> {
        let requirements = serde_json::from_value(value).unwrap();
        let mut errors = Vec::new();
        validate_requirements(&requirements, of, &BTreeSet::new(), "resources", &mut errors);
        texts(&errors)
    }

    #[test]
    fn requests_stay_within_limits() {
        assert_eq!(
            problems(
                json!({"limits": {"cpu": "1", "x.io/gpu": "2"}, "requests": {"cpu": "1500m", "x.io/gpu": "1"}}),
                Of::Container
            ),
            [
                "resources.requests: Invalid value: \"1500m\": must be less than or equal to cpu limit of 1",
                "resources.requests: Invalid value: \"1\": must be equal to x.io/gpu limit of 2",
            ]
        );
    }

    #[test]
    fn names_and_amounts_are_checked() {
        assert_eq!(
            problems(
                json!({"limits": {"cpu": "-1", "disk": "1", "memory": "much", "x.io/gpu": "500m"}}),
                Of::Container
            ),
            [
                "resources.limits[cpu]: Invalid value: \"-1\": must be greater than or equal to 0",
                "resources.limits[disk]: Invalid value: \"disk\": must be a standard resource type or fully qualified",
                "resources.limits[disk]: Invalid value: \"disk\": must be a standard resource for containers",
                "resources.limits[memory]: Invalid value: \"much\": quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
                "resources.limits[x.io/gpu]: Invalid value: \"500m\": must be an integer",
            ]
        );
    }

    #[test]
    fn pods_have_few_resources_of_their_own() {
        assert_eq!(
            problems(json!({"requests": {"ephemeral-storage": "1Gi"}}), Of::Pod),
            [
                "resources.requests[ephemeral-storage]: Unsupported value: \"ephemeral-storage\": supported values: \"cpu\", \"hugepages-\", \"memory\""
            ]
        );
    }

    #[test]
    fn huge_pages_come_with_cpu_or_memory_and_in_whole_pages() {
        assert_eq!(
            problems(json!({"limits": {"hugepages-2Mi": "3Mi"}}), Of::Container),
            [
                "resources.limits[hugepages-2Mi]: Invalid value: \"3Mi\": 3Mi is not positive integer multiple of hugepages-2Mi",
                "resources: Forbidden: HugePages require cpu or memory",
            ]
        );
    }

    #[test]
    fn claims_are_those_of_the_pod() {
        assert_eq!(
            problems(json!({"claims": [{"name": "a"}, {"name": "a"}]}), Of::Container)[0],
            "resources.claims[0]: Not found: \"a\": must be one of the names in pod.spec.resourceClaims which is empty"
        );
    }
}
