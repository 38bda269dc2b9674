//! LimitRanger: pods get the defaults of their namespace's ranges; pods and claims stay within them.
//!
//! Source: `plugin/pkg/admission/limitranger`.

use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{LimitRange, LimitRangeItem, PersistentVolumeClaimSpec, PodSpec};
use serde_json::{Value, json};

use super::{Operation, Plugin, Review, Surroundings, lookup};
use crate::kinds::limits::{self, Asked};
use crate::kinds::quantity::ResourceList;
use crate::status::ApiError;

const RANGES: &str = "limitranges";
const ANNOTATION: &str = "kubernetes.io/limit-ranger";

/// See the module's documentation.
pub struct LimitRanger;

/// What a range can speak of.
#[derive(Clone, Copy, PartialEq)]
enum Limited {
    Pod,
    Claim,
}

#[async_trait]
impl Plugin for LimitRanger {
    fn name(&self) -> &'static str {
        "LimitRanger"
    }

    async fn admit(
        &self,
        surroundings: &Surroundings,
        review: &mut Review<'_>,
    ) -> Result<(), ApiError> {
        if limited(review) == Some(Limited::Pod) {
            let ranges = ranges(surroundings, review.namespace).await?;
            let Some(object) = review.object.as_deref_mut() else { return Ok(()) };
            for range in &ranges {
                fill(object, range);
            }
        }
        Ok(())
    }

    async fn validate(
        &self,
        surroundings: &Surroundings,
        review: &mut Review<'_>,
    ) -> Result<(), ApiError> {
        let Some(limited) = limited(review) else { return Ok(()) };
        let ranges = ranges(surroundings, review.namespace).await?;
        let Some(object) = review.object.as_deref().filter(|_| !ranges.is_empty()) else {
            return Ok(());
        };
        let spec = object["spec"].clone();
        for range in &ranges {
            let problems = match limited {
                Limited::Pod => pod_problems(range, &spec),
                Limited::Claim => claim_problems(range, &spec),
            };
            let problems = problems.map_err(|why| ApiError::bad_request(why.to_string()))?;
            if let Some(why) = aggregate(&problems) {
                return Err(lookup::forbidden(review, &why));
            }
        }
        Ok(())
    }
}

/// The ranges of the namespace that is written to.
async fn ranges(
    surroundings: &Surroundings,
    namespace: &str,
) -> Result<Vec<Arc<LimitRange>>, ApiError> {
    let cache = lookup::cache(surroundings, RANGES)?;
    lookup::list(&cache, Some(namespace)).await
}

/// Whether the request is one that ranges speak of. What is on its way out is let through.
fn limited(review: &Review<'_>) -> Option<Limited> {
    let leaves = review.old.is_some_and(|old| !old["metadata"]["deletionTimestamp"].is_null());
    if leaves || review.object.is_none() {
        return None;
    }
    match (review.info.group_resource().as_str(), review.subresource, review.operation) {
        ("pods", None, Operation::Create) | ("pods", Some("resize"), Operation::Update) => {
            Some(Limited::Pod)
        }
        ("persistentvolumeclaims", None, Operation::Create | Operation::Update) => {
            Some(Limited::Claim)
        }
        _ => None,
    }
}

fn items<'a>(range: &'a LimitRange, of: &'a str) -> impl Iterator<Item = &'a LimitRangeItem> {
    let items = range.spec.iter().flat_map(|spec| &spec.limits);
    items.filter(move |item| item.type_ == of)
}

/// Gives the pod's containers the range's defaults, and notes which.
fn fill(pod: &mut Value, range: &LimitRange) {
    let mut requests = ResourceList::new();
    let mut limits = ResourceList::new();
    for item in items(range, "Container") {
        requests.extend(item.default_request.clone().unwrap_or_default());
        limits.extend(item.default.clone().unwrap_or_default());
    }
    let mut notes = Vec::new();
    for (list, called) in [("containers", "container"), ("initContainers", "init container")] {
        let containers = pod["spec"][list].as_array_mut();
        for container in containers.into_iter().flatten() {
            let name = container["name"].as_str().unwrap_or_default().to_owned();
            let resources = &mut container["resources"];
            for (field, defaults, what) in
                [("requests", &requests, "request"), ("limits", &limits, "limit")]
            {
                let set = complete(resources, field, defaults);
                if !set.is_empty() {
                    notes.push(format!("{} {what} for {called} {name}", set.join(", ")));
                }
            }
        }
    }
    if !notes.is_empty() {
        let note = format!("LimitRanger plugin set: {}", notes.join("; "));
        pod["metadata"]["annotations"][ANNOTATION] = note.into();
    }
}

/// Adds what a list lacks, and names it.
fn complete(resources: &mut Value, field: &str, defaults: &ResourceList) -> Vec<String> {
    let mut set = Vec::new();
    for (name, amount) in defaults {
        if resources[field][name].is_null() {
            resources[field][name] = json!(amount);
            set.push(name.clone());
        }
    }
    set
}

fn pod_problems(range: &LimitRange, spec: &Value) -> Result<Vec<String>, serde_json::Error> {
    let spec: PodSpec = serde_json::from_value(spec.clone())?;
    let mut problems = Vec::new();
    for item in items(range, "Container") {
        for container in spec.containers.iter().chain(spec.init_containers.iter().flatten()) {
            let asked = Asked::of_container(container);
            problems.extend(limits::problems(item, &asked));
        }
    }
    for item in items(range, "Pod") {
        problems.extend(limits::problems(item, &Asked::of_pod(&spec)));
    }
    Ok(problems)
}

fn claim_problems(range: &LimitRange, spec: &Value) -> Result<Vec<String>, serde_json::Error> {
    let spec: PersistentVolumeClaimSpec = serde_json::from_value(spec.clone())?;
    let asked = Asked::of_claim(&spec);
    let items = items(range, "PersistentVolumeClaim");
    Ok(items.flat_map(|item| limits::claim_problems(item, &asked)).collect())
}

/// Several problems in one message, as upstream writes them: each once.
fn aggregate(problems: &[String]) -> Option<String> {
    let mut unique: Vec<&str> = Vec::new();
    for problem in problems {
        if !unique.contains(&problem.as_str()) {
            unique.push(problem);
        }
    }
    match unique.as_slice() {
        [] => None,
        [one] => Some((*one).to_owned()),
        several => Some(format!("[{}]", several.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Request, surroundings};
    use super::*;

    fn range(item: Value) -> (&'static str, Value) {
        let range = json!({
            "metadata": {"name": "limits", "namespace": "default"}, "spec": {"limits": [item]},
        });
        (RANGES, range)
    }

    async fn admit(item: Value, resource: &str, spec: Value) -> Result<Value, String> {
        let around = surroundings(&[range(item)]).await;
        let object = json!({"metadata": {"name": "x", "namespace": "default"}, "spec": spec});
        let request = Request::create(resource, "default", "x").with(object);
        request.admit(&LimitRanger, &around).await.map_err(|error| error.message)
    }

    #[tokio::test]
    async fn containers_get_the_defaults_of_the_range() {
        let item = json!({"type": "Container", "default": {"cpu": "2", "memory": "1Gi"},
            "defaultRequest": {"cpu": "1"}});
        let spec = json!({
            "containers": [{"name": "a", "resources": {"limits": {"cpu": "3"}}}],
            "initContainers": [{"name": "b"}],
        });
        let pod = admit(item, "pods", spec).await.unwrap();
        assert_eq!(
            pod["spec"]["containers"][0]["resources"],
            json!({"limits": {"cpu": "3", "memory": "1Gi"}, "requests": {"cpu": "1"}})
        );
        assert_eq!(
            pod["metadata"]["annotations"][ANNOTATION],
            "LimitRanger plugin set: cpu request for container a; memory limit for container a; cpu request for init container b; cpu, memory limit for init container b"
        );
    }

    #[tokio::test]
    async fn pods_and_claims_stay_within_the_range() {
        let pod = |requests: Value, limits: Value| {
            let resources = json!({"requests": requests, "limits": limits});
            json!({"containers": [{"name": "a", "resources": resources}]})
        };
        let container = json!({"type": "Container", "min": {"cpu": "1"}, "max": {"cpu": "2"},
            "maxLimitRequestRatio": {"cpu": "1500m"}});
        let claim = json!({"type": "PersistentVolumeClaim", "min": {"storage": "1Gi"},
            "max": {"storage": "2Gi"}});
        let storage = |size: &str| json!({"resources": {"requests": {"storage": size}}});
        let cases = [
            (&container, "pods", pod(json!({"cpu": "1"}), json!({"cpu": "1500m"})), None),
            (
                &container,
                "pods",
                pod(json!({"cpu": "500m"}), json!({"cpu": "3"})),
                Some(
                    "pods \"x\" is forbidden: [minimum cpu usage per Container is 1, but request is 500m, maximum cpu usage per Container is 2, but limit is 3, cpu max limit to request ratio per Container is 1500m, but provided ratio is 6.000000]",
                ),
            ),
            (
                &container,
                "pods",
                pod(json!({}), json!({})),
                Some(
                    "pods \"x\" is forbidden: [minimum cpu usage per Container is 1.  No request is specified, maximum cpu usage per Container is 2.  No limit is specified, cpu max limit to request ratio per Container is 1500m, but no request is specified or request is 0]",
                ),
            ),
            (&claim, "persistentvolumeclaims", storage("1500Mi"), None),
            (
                &claim,
                "persistentvolumeclaims",
                storage("3Gi"),
                Some(
                    "persistentvolumeclaims \"x\" is forbidden: maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 3Gi",
                ),
            ),
            (
                &claim,
                "persistentvolumeclaims",
                storage("1Mi"),
                Some(
                    "persistentvolumeclaims \"x\" is forbidden: minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 1Mi",
                ),
            ),
        ];
        for (item, resource, spec, expected) in cases {
            let refused = admit(item.clone(), resource, spec.clone()).await.err();
            assert_eq!(refused.as_deref(), expected, "{spec}");
        }
    }

    #[tokio::test]
    async fn a_pod_is_judged_by_its_sum() {
        let item = json!({"type": "Pod", "max": {"cpu": "2"}});
        let one = json!({"resources": {"requests": {"cpu": "1500m"}, "limits": {"cpu": "1500m"}}});
        let spec = json!({"containers": [one, one]});
        assert_eq!(
            admit(item.clone(), "pods", spec.clone()).await,
            Err("pods \"x\" is forbidden: maximum cpu usage per Pod is 2, but limit is 3".into())
        );
        let mut whole = spec;
        whole["resources"] = json!({"limits": {"cpu": "2"}, "requests": {"cpu": "2"}});
        assert!(admit(item, "pods", whole).await.is_ok());
    }
}
