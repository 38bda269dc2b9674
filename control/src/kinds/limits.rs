//! What a range of limits says of what somebody asks for. Pure.
//!
//! Source: the constraints in `plugin/pkg/admission/limitranger/admission.go`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Container, LimitRangeItem, PersistentVolumeClaimSpec, PodSpec, ResourceRequirements,
};

use super::pod::requests::{self, Amounts};
use super::quantity::{Quantity, ResourceList};

/// Beyond it, thousandths would overflow.
const MILLI_VALUE_MAX: i64 = i64::MAX / 1000;

/// What a pod may ask for as a whole.
const POD_RESOURCES: [&str; 2] = ["cpu", "memory"];

/// What is asked for.
#[derive(Debug, Default)]
pub struct Asked {
    requests: Amounts,
    limits: Amounts,
}

impl Asked {
    pub fn of_container(container: &Container) -> Self {
        let none = ResourceRequirements::default();
        let resources = container.resources.as_ref().unwrap_or(&none);
        Self {
            requests: parsed(resources.requests.as_ref()).collect(),
            limits: parsed(resources.limits.as_ref()).collect(),
        }
    }

    /// The sum of a pod's containers, unless the pod says itself.
    pub fn of_pod(spec: &PodSpec) -> Self {
        let none = ResourceRequirements::default();
        let own = spec.resources.as_ref().unwrap_or(&none);
        let of_pods = |(name, _): &(String, Quantity)| POD_RESOURCES.contains(&name.as_str());
        let mut asked = Self {
            requests: requests::of_containers(spec),
            limits: requests::limits_of_containers(spec),
        };
        asked.requests.extend(parsed(own.requests.as_ref()).filter(of_pods));
        asked.limits.extend(parsed(own.limits.as_ref()).filter(of_pods));
        asked
    }

    /// Of a claim, limits do not count.
    pub fn of_claim(spec: &PersistentVolumeClaimSpec) -> Self {
        let requests = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref());
        Self { requests: parsed(requests).collect(), limits: BTreeMap::new() }
    }

    fn of(&self, name: &str) -> (Option<Quantity>, Option<Quantity>) {
        (self.requests.get(name).copied(), self.limits.get(name).copied())
    }
}

fn parsed(list: Option<&ResourceList>) -> impl Iterator<Item = (String, Quantity)> {
    let pairs = list.into_iter().flatten();
    pairs.filter_map(|(name, text)| Some((name.clone(), Quantity::try_from(text).ok()?)))
}

/// What is wrong with what a container or a pod asks for.
pub fn problems(item: &LimitRangeItem, asked: &Asked) -> Vec<String> {
    let kind = item.type_.as_str();
    let mut problems = Vec::new();
    for (name, bound) in parsed(item.min.as_ref()) {
        problems.extend(below(kind, &name, bound, asked.of(&name)));
    }
    for (name, bound) in parsed(item.max.as_ref()) {
        problems.extend(above(kind, &name, bound, asked.of(&name)));
    }
    for (name, bound) in parsed(item.max_limit_request_ratio.as_ref()) {
        problems.extend(beyond_ratio(kind, &name, bound, asked.of(&name)));
    }
    problems
}

/// What is wrong with what a claim asks for.
pub fn claim_problems(item: &LimitRangeItem, asked: &Asked) -> Vec<String> {
    let kind = item.type_.as_str();
    let mut problems = Vec::new();
    for (name, bound) in parsed(item.min.as_ref()) {
        problems.extend(below(kind, &name, bound, asked.of(&name)));
    }
    for (name, bound) in parsed(item.max.as_ref()) {
        let head = format!("maximum {name} usage per {kind} is {bound}");
        match asked.of(&name).0 {
            None => problems.push(format!("{head}.  No request is specified")),
            Some(request) if request > bound => {
                problems.push(format!("{head}, but request is {request}"));
            }
            Some(_) => {}
        }
    }
    problems
}

type Pair = (Option<Quantity>, Option<Quantity>);

fn below(kind: &str, name: &str, bound: Quantity, (request, limit): Pair) -> Option<String> {
    let head = format!("minimum {name} usage per {kind} is {bound}");
    match (request, limit) {
        (None, _) => Some(format!("{head}.  No request is specified")),
        (Some(request), _) if request < bound => Some(format!("{head}, but request is {request}")),
        (_, Some(limit)) if limit < bound => Some(format!("{head}, but limit is {limit}")),
        _ => None,
    }
}

fn above(kind: &str, name: &str, bound: Quantity, (request, limit): Pair) -> Option<String> {
    let head = format!("maximum {name} usage per {kind} is {bound}");
    match (request, limit) {
        (_, None) => Some(format!("{head}.  No limit is specified")),
        (_, Some(limit)) if limit > bound => Some(format!("{head}, but limit is {limit}")),
        (Some(request), _) if request > bound => Some(format!("{head}, but request is {request}")),
        _ => None,
    }
}

fn beyond_ratio(kind: &str, name: &str, bound: Quantity, (request, limit): Pair) -> Option<String> {
    let head = format!("{name} max limit to request ratio per {kind} is {bound}");
    let Some(request) = request.filter(|request| !request.is_zero()) else {
        return Some(format!("{head}, but no request is specified or request is 0"));
    };
    let Some(limit) = limit.filter(|limit| !limit.is_zero()) else {
        return Some(format!("{head}, but no limit is specified or limit is 0"));
    };
    let fits = |amount: &Quantity| amount.value() <= MILLI_VALUE_MAX;
    let ratio = if [request, limit, bound].iter().all(fits) {
        limit.milli_value() as f64 / request.milli_value() as f64
    } else {
        limit.value() as f64 / request.value() as f64
    };
    let most =
        if fits(&bound) { bound.milli_value() as f64 } else { bound.value() as f64 * 1000.0 };
    (ratio * 1000.0 > most).then(|| format!("{head}, but provided ratio is {ratio:.6}"))
}
