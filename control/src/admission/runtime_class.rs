//! RuntimeClass: a pod names a class that exists, and has the overhead of its class.
//!
//! Source: `plugin/pkg/admission/runtimeclass`. The kind RuntimeClass is not served yet, so there is
//! no class that a pod could name, and none that gives it an overhead.

use async_trait::async_trait;
use serde_json::Value;

use super::{Operation, Plugin, Review, Surroundings};
use crate::status::{About, ApiError};

/// See the module's documentation.
pub struct RuntimeClass;

#[async_trait]
impl Plugin for RuntimeClass {
    fn name(&self) -> &'static str {
        "RuntimeClass"
    }

    async fn admit(
        &self,
        _surroundings: &Surroundings,
        review: &mut Review<'_>,
    ) -> Result<(), ApiError> {
        let (operation, name) = (review.operation, review.name);
        let Some(pod) = review.pod() else { return Ok(()) };
        match problem(pod) {
            Some(why) if operation == Operation::Create => {
                let prefix = pod["metadata"]["generateName"].as_str().unwrap_or_default();
                let name = if name.is_empty() { prefix } else { name };
                Err(ApiError::forbidden(About { group: "", resource: "pods", name }, &why))
            }
            _ => Ok(()),
        }
    }
}

fn problem(pod: &Value) -> Option<String> {
    let spec = &pod["spec"];
    if let Some(class) = spec["runtimeClassName"].as_str() {
        return Some(format!("pod rejected: RuntimeClass {class:?} not found"));
    }
    spec["overhead"].is_object().then(|| {
        "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{Request, surroundings};
    use super::*;

    #[tokio::test]
    async fn a_class_that_does_not_exist_is_refused_by_name() {
        let around = surroundings(&[]).await;
        for (spec, expected) in [
            (json!({}), None),
            (
                json!({ "runtimeClassName": "kata" }),
                Some(r#"pods "p" is forbidden: pod rejected: RuntimeClass "kata" not found"#),
            ),
            (
                json!({ "overhead": { "memory": "1Mi" } }),
                Some(
                    r#"pods "p" is forbidden: pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"#,
                ),
            ),
        ] {
            let request = Request::create("pods", "default", "p").with(json!({ "spec": spec }));
            let admitted = request.admit(&RuntimeClass, &around).await;
            let refused = admitted.err().map(|error| (error.code, error.message));
            assert_eq!(refused, expected.map(|why| (403, why.to_owned())), "{spec}");
        }
    }
}
