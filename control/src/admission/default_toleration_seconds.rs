//! DefaultTolerationSeconds: pods stay on a failing node for a while, unless they say otherwise.
//!
//! Source: `plugin/pkg/admission/defaulttolerationseconds`.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{Plugin, Review, Surroundings};
use crate::status::ApiError;

const TAINTS: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];

/// See the module's documentation.
pub struct DefaultTolerationSeconds {
    seconds: u64,
}

impl DefaultTolerationSeconds {
    pub fn new(toleration: Duration) -> Self {
        Self { seconds: toleration.as_secs() }
    }
}

#[async_trait]
impl Plugin for DefaultTolerationSeconds {
    fn name(&self) -> &'static str {
        "DefaultTolerationSeconds"
    }

    async fn admit(
        &self,
        _surroundings: &Surroundings,
        review: &mut Review<'_>,
    ) -> Result<(), ApiError> {
        if let Some(pod) = review.pod() {
            tolerate(pod, self.seconds);
        }
        Ok(())
    }
}

/// Adds a toleration for each taint that the pod has none for.
fn tolerate(pod: &mut Value, seconds: u64) {
    let list = &mut pod["spec"]["tolerations"];
    if !list.is_array() {
        *list = json!([]);
    }
    let Some(tolerations) = list.as_array_mut() else { return };
    for taint in TAINTS {
        if !tolerations.iter().any(|toleration| tolerates(toleration, taint)) {
            tolerations.push(json!({
                "key": taint,
                "operator": "Exists",
                "effect": "NoExecute",
                "tolerationSeconds": seconds,
            }));
        }
    }
}

/// Whether the toleration speaks of the taint, for however long. An empty key or effect means all.
fn tolerates(toleration: &Value, taint: &str) -> bool {
    let is = |field: &str, wanted: &str| {
        let value = toleration[field].as_str().unwrap_or_default();
        value.is_empty() || value == wanted
    };
    is("key", taint) && is("effect", "NoExecute")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tolerated(tolerations: Value) -> Value {
        let mut pod = json!({"spec": {"tolerations": tolerations}});
        tolerate(&mut pod, 300);
        pod["spec"]["tolerations"].clone()
    }

    fn default(taint: &str) -> Value {
        json!({
            "key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300,
        })
    }

    #[test]
    fn both_taints_are_tolerated_for_a_while() {
        let both = json!([default(TAINTS[0]), default(TAINTS[1])]);
        assert_eq!(tolerated(Value::Null), both);
        assert_eq!(tolerated(both.clone()), both);
    }

    #[test]
    fn what_the_pod_says_is_kept() {
        let own = json!({"key": TAINTS[0], "operator": "Exists", "tolerationSeconds": 5});
        assert_eq!(tolerated(json!([own])), json!([own, default(TAINTS[1])]));
        let all = json!([{"operator": "Exists"}]);
        assert_eq!(tolerated(all.clone()), all);
        let other = json!({"key": TAINTS[0], "operator": "Exists", "effect": "NoSchedule"});
        assert_eq!(tolerated(json!([other])).as_array().unwrap().len(), 3);
    }
}
