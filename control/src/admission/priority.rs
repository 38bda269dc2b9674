//! Priority: a pod's priority comes from its class, never from its author.
//!
//! Source: `plugin/pkg/admission/priority`. The kind PriorityClass is not served yet, so the two
//! classes that every cluster has are all there are.

use async_trait::async_trait;
use serde_json::Value;

use super::{Operation, Plugin, Review, Surroundings};
use crate::status::{About, ApiError};

/// The system's classes and their priorities.
const CLASSES: [(&str, i64); 2] =
    [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];
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
        _surroundings: &Surroundings,
        review: &mut Review<'_>,
    ) -> Result<(), ApiError> {
        let (operation, name) = (review.operation, review.name);
        match review.pod() {
            Some(pod) if operation == Operation::Create => prioritise(pod).map_err(|why| {
                ApiError::forbidden(About { group: "", resource: "pods", name }, &why)
            }),
            _ => Ok(()),
        }
    }
}

/// Sets the priority and the preemption policy of the pod's class, or says what is wrong.
fn prioritise(pod: &mut Value) -> Result<(), String> {
    let spec = &mut pod["spec"];
    let class = spec["priorityClassName"].as_str().unwrap_or_default();
    let priority = match CLASSES.iter().find(|(name, _)| *name == class) {
        Some((_, priority)) => *priority,
        None if class.is_empty() => 0,
        None => return Err(format!("no PriorityClass with name {class} was found")),
    };
    if let Some(given) = spec["priority"].as_i64().filter(|given| *given != priority) {
        return Err(format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller computed {priority} from the given PriorityClass name"
        ));
    }
    let policy = spec["preemptionPolicy"].as_str().unwrap_or(PREEMPTION_DEFAULT);
    if policy != PREEMPTION_DEFAULT {
        return Err(format!(
            "the string value of PreemptionPolicy ({policy}) must not be provided in pod spec; priority admission controller computed {PREEMPTION_DEFAULT} from the given PriorityClass name"
        ));
    }
    spec["priority"] = priority.into();
    spec["preemptionPolicy"] = PREEMPTION_DEFAULT.into();
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_class_decides() {
        for (spec, expected) in [
            (json!({}), Ok(0)),
            (json!({"priorityClassName": "system-node-critical"}), Ok(2_000_001_000)),
            (json!({"priority": 0}), Ok(0)),
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
            let mut pod = json!({ "spec": spec });
            match (prioritise(&mut pod), expected) {
                (Ok(()), Ok(priority)) => assert_eq!(pod["spec"]["priority"], priority, "{spec}"),
                (Err(why), Err(begins)) => assert!(why.starts_with(begins), "{why}"),
                (got, expected) => panic!("{spec}: {got:?}, expected {expected:?}"),
            }
        }
    }
}
