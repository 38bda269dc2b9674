//! Priority: a pod's priority comes from its class, never from its author; and one class at most is
//! the default. The classes that every cluster has stay.
//!
//! Source: `plugin/pkg/admission/priority`, `pkg/registry/scheduling/priorityclass/storage`.

use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::scheduling::v1::PriorityClass;
use serde_json::Value;

use super::{Operation, Plugin, Review, Surroundings, lookup};
use crate::cache::Cache;
use crate::kinds::priority_class::SYSTEM_CLASSES;
use crate::status::ApiError;

const CLASSES: &str = "priorityclasses.scheduling.k8s.io";
const PREEMPTION_DEFAULT: &str = "PreemptLowerPriority";

/// See the module's documentation.
pub struct Priority;

#[async_trait]
impl Plugin for Priority {
    fn name(&self) -> &'static str {
        "Priority"
    }

    async fn admit(
        &self,
        surroundings: &Surroundings,
        review: &mut Review<'_>,
    ) -> Result<(), ApiError> {
        let (resource, operation) = (review.info.group_resource(), review.operation);
        if resource == CLASSES && operation == Operation::Delete && is_system(review.name) {
            let why = "this is a system priority class and cannot be deleted";
            return Err(lookup::forbidden(review, why));
        }
        if review.subresource.is_some() || review.object.is_none() {
            return Ok(());
        }
        match (resource.as_str(), operation) {
            ("pods", Operation::Create) => admit_pod(surroundings, review).await,
            ("pods", Operation::Update) => {
                keep(review);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn validate(
        &self,
        surroundings: &Surroundings,
        review: &mut Review<'_>,
    ) -> Result<(), ApiError> {
        let concerns_class = review.info.group_resource() == CLASSES
            && review.subresource.is_none()
            && review.object.is_some();
        if concerns_class { validate_class(surroundings, review).await } else { Ok(()) }
    }
}

fn is_system(name: &str) -> bool {
    SYSTEM_CLASSES.iter().any(|class| class.name == name)
}

/// What a pod gets of its class.
struct Granted {
    class: String,
    priority: i64,
    policy: Option<String>,
}

impl Granted {
    fn of(class: &PriorityClass) -> Self {
        Self {
            class: name(class).to_owned(),
            priority: class.value.unwrap_or_default().into(),
            policy: class.preemption_policy.clone(),
        }
    }
}

async fn admit_pod(surroundings: &Surroundings, review: &mut Review<'_>) -> Result<(), ApiError> {
    let cache = lookup::cache(surroundings, CLASSES)?;
    let Some(pod) = review.object.as_deref() else { return Ok(()) };
    let class = pod["spec"]["priorityClassName"].as_str().unwrap_or_default().to_owned();
    let granted = if class.is_empty() {
        default_class(&cache).await?.as_deref().map(Granted::of).unwrap_or_else(|| Granted {
            class: String::new(),
            priority: 0,
            policy: Some(PREEMPTION_DEFAULT.to_owned()),
        })
    } else {
        let found = lookup::find(&cache, "", &class).await?;
        let found = found.ok_or_else(|| {
            lookup::forbidden(review, &format!("no PriorityClass with name {class} was found"))
        })?;
        Granted::of(&*found.try_view::<PriorityClass>().map_err(ApiError::internal)?)
    };
    let Some(pod) = review.object.as_deref_mut() else { return Ok(()) };
    prioritise(pod, granted).map_err(|why| lookup::forbidden(review, &why))
}

/// Sets the priority and the preemption policy of the pod's class, or says what is wrong.
fn prioritise(pod: &mut Value, granted: Granted) -> Result<(), String> {
    let spec = &mut pod["spec"];
    let priority = granted.priority;
    if let Some(given) = spec["priority"].as_i64().filter(|given| *given != priority) {
        return Err(format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller computed {priority} from the given PriorityClass name"
        ));
    }
    if let Some(policy) = granted.policy {
        if let Some(given) = spec["preemptionPolicy"].as_str().filter(|given| *given != policy) {
            return Err(format!(
                "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission controller computed {policy} from the given PriorityClass name"
            ));
        }
        spec["preemptionPolicy"] = policy.into();
    }
    if !granted.class.is_empty() {
        spec["priorityClassName"] = granted.class.into();
    }
    spec["priority"] = priority.into();
    Ok(())
}

/// Clients that do not know the fields leave them out of an update.
fn keep(review: &mut Review<'_>) {
    let Some(old) = review.old else { return };
    let Some(pod) = review.object.as_deref_mut() else { return };
    for field in ["priority", "preemptionPolicy"] {
        let known = &old["spec"][field];
        if !known.is_null() && pod["spec"][field].is_null() {
            pod["spec"][field] = known.clone();
        }
    }
}

/// A class that would be the second default is refused.
async fn validate_class(
    surroundings: &Surroundings,
    review: &mut Review<'_>,
) -> Result<(), ApiError> {
    let Some(class) = review.object.as_deref() else { return Ok(()) };
    if class["globalDefault"] != true {
        return Ok(());
    }
    let own = class["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let cache = lookup::cache(surroundings, CLASSES)?;
    let Some(known) = default_class(&cache).await? else { return Ok(()) };
    let known = name(&known);
    if review.operation == Operation::Update && known == own {
        return Ok(());
    }
    let why =
        format!("PriorityClass {known} is already marked as default. Only one default can exist");
    Err(lookup::forbidden(review, &why))
}

/// The class of pods that name none. Of several, which only a race can make, the lowest.
async fn default_class(cache: &Cache) -> Result<Option<Arc<PriorityClass>>, ApiError> {
    let classes: Vec<Arc<PriorityClass>> = lookup::list(cache, None).await?;
    let defaults = classes.into_iter().filter(|class| class.global_default == Some(true));
    Ok(defaults.min_by_key(|class| class.value))
}

fn name(class: &PriorityClass) -> &str {
    class.metadata.name.as_deref().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{Request, surroundings};
    use super::*;

    fn class(name: &str, value: i32, is_default: bool) -> (&'static str, Value) {
        let class = json!({
            "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
            "metadata": {"name": name}, "value": value, "globalDefault": is_default,
            "preemptionPolicy": "Never",
        });
        (CLASSES, class)
    }

    #[tokio::test]
    async fn the_class_decides() {
        let around = surroundings(&[class("high", 1000, false)]).await;
        for (spec, expected) in [
            (json!({}), Ok((0, PREEMPTION_DEFAULT))),
            (json!({"priorityClassName": "high"}), Ok((1000, "Never"))),
            (json!({"priority": 0}), Ok((0, PREEMPTION_DEFAULT))),
            (
                json!({"priorityClassName": "nosuch"}),
                Err("no PriorityClass with name nosuch was found"),
            ),
            (json!({"priority": 7}), Err("the integer value of priority (7) must not be provided")),
            (
                json!({"preemptionPolicy": "Never"}),
                Err("the string value of PreemptionPolicy (Never)"),
            ),
        ] {
            let request =
                Request::create("pods", "default", "p").with(json!({ "spec": spec.clone() }));
            match (request.admit(&Priority, &around).await, expected) {
                (Ok(pod), Ok((priority, policy))) => {
                    assert_eq!(pod["spec"]["priority"], priority, "{spec}");
                    assert_eq!(pod["spec"]["preemptionPolicy"], policy, "{spec}");
                }
                (Err(error), Err(begins)) => {
                    let begins = format!("pods \"p\" is forbidden: {begins}");
                    assert!(error.message.starts_with(&begins), "{}", error.message);
                }
                (got, expected) => panic!("{spec}: {got:?}, expected {expected:?}"),
            }
        }
    }

    #[tokio::test]
    async fn pods_without_a_class_get_the_default() {
        let around = surroundings(&[class("usual", 5, true), class("high", 1000, false)]).await;
        let request = Request::create("pods", "default", "p").with(json!({ "spec": {} }));
        let pod = request.admit(&Priority, &around).await.unwrap();
        assert_eq!(
            pod["spec"],
            json!({"priority": 5, "priorityClassName": "usual", "preemptionPolicy": "Never"})
        );
    }

    #[tokio::test]
    async fn one_class_is_the_default() {
        let around = surroundings(&[class("usual", 5, true)]).await;
        let request =
            Request::create("priorityclasses", "", "other").with(class("other", 1, true).1);
        let error = request.admit(&Priority, &around).await.unwrap_err();
        assert_eq!(
            error.message,
            "priorityclasses.scheduling.k8s.io \"other\" is forbidden: PriorityClass usual is already marked as default. Only one default can exist"
        );
        for request in [
            Request::create("priorityclasses", "", "other").with(class("other", 1, false).1),
            Request::update("priorityclasses", "", "usual").with(class("usual", 5, true).1),
        ] {
            assert!(request.admit(&Priority, &around).await.is_ok());
        }
    }
}
