//! What a PodDisruptionBudget says to an eviction. Pure.
//!
//! Source: `checkAndDecrement` and its neighbours in `pkg/registry/core/pod/storage/eviction.go`.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::{Value, json};

use crate::kinds::selector;
use crate::status::{About, ApiError};

use super::super::{metadata, object};

/// More evictions that the controller has not seen yet are not noted down.
const NOTED_MAX: usize = 2000;
const CONDITION: &str = "DisruptionAllowed";

/// Whether evicting the pod disrupts nothing: it has not begun, or is over.
pub fn ignores(pod: &Value) -> bool {
    is_over(pod) || object::text(pod, "/status/phase") == "Pending"
}

pub fn is_over(pod: &Value) -> bool {
    let phase = object::text(pod, "/status/phase");
    matches!(phase, "Succeeded" | "Failed") || object::is_deleting(pod)
}

pub fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    let mut ready = conditions.filter(|condition| condition["type"] == "Ready");
    ready.next().is_some_and(|condition| condition["status"] == "True")
}

/// Whether the pod counts in the budget. A budget without a selector guards nothing.
pub fn guards(budget: &Value, pod: &Value) -> bool {
    let selector = budget["spec"]["selector"].clone();
    let Ok(selector) = serde_json::from_value::<Option<LabelSelector>>(selector) else {
        return false;
    };
    let labels = serde_json::from_value(pod["metadata"]["labels"].clone()).unwrap_or_default();
    let labels: Option<std::collections::BTreeMap<String, String>> = labels;
    selector::matches_optional(selector.as_ref(), labels.as_ref())
}

/// Whether a pod that is not ready may go without counting: always, or while enough others are
/// well.
pub fn lets_unready_go(budget: &Value) -> bool {
    let status = &budget["status"];
    let (current, desired) = (number(status, "currentHealthy"), number(status, "desiredHealthy"));
    budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
        || (current >= desired && desired > 0)
}

/// The budget with one disruption less, and the pod noted down; or why there is none.
pub fn spent(budget: &Value, pod: &str, now: Timestamp) -> Result<Value, ApiError> {
    let name = object::name(budget);
    let status = &budget["status"];
    let generation = budget["metadata"]["generation"].as_i64().unwrap_or_default();
    if number(status, "observedGeneration") < generation {
        return Err(busy(name));
    }
    let about = About { group: "policy", resource: "poddisruptionbudget", name };
    let allowed = number(status, "disruptionsAllowed");
    if allowed < 0 {
        return Err(ApiError::forbidden(about, "pdb disruptions allowed is negative"));
    }
    if status["disruptedPods"].as_object().is_some_and(|noted| noted.len() > NOTED_MAX) {
        let why = "DisruptedPods map too big - too many evictions not confirmed by PDB controller";
        return Err(ApiError::forbidden(about, why));
    }
    if allowed == 0 {
        return Err(refusal(0, &why_not(name, status)));
    }
    let mut budget = budget.clone();
    let status = &mut budget["status"];
    status["disruptionsAllowed"] = (allowed - 1).into();
    if allowed == 1 {
        exhaust(status, now);
    }
    if !status["disruptedPods"].is_object() {
        status["disruptedPods"] = json!({});
    }
    status["disruptedPods"][pod] = metadata::timestamp(now);
    Ok(budget)
}

/// The budget is not up to date: in a while it may be.
pub fn busy(name: &str) -> ApiError {
    const RETRY_SECONDS: u32 = 10;
    let why = format!("The disruption budget {name} is still being processed by the server.");
    refusal(RETRY_SECONDS, &why)
}

fn refusal(retry_seconds: u32, why: &str) -> ApiError {
    let message = "Cannot evict pod as it would violate the pod's disruption budget.";
    let mut error = ApiError::new(429, "TooManyRequests", message);
    let mut details = json!({ "causes": [{ "reason": "DisruptionBudget", "message": why }] });
    if retry_seconds > 0 {
        details["retryAfterSeconds"] = retry_seconds.into();
    }
    error.details = Some(details);
    error
}

fn why_not(name: &str, status: &Value) -> String {
    let conditions = status["conditions"].as_array().into_iter().flatten();
    let refused = conditions
        .filter(|condition| condition["type"] == CONDITION && condition["status"] == "False")
        .map(|condition| (text(condition, "reason"), text(condition, "message")))
        .find(|(_, message)| !message.is_empty());
    let (current, desired) = (number(status, "currentHealthy"), number(status, "desiredHealthy"));
    match refused {
        // What could not be counted cannot be trusted.
        Some(("SyncFailed", message)) => format!(
            "The disruption budget {name} does not allow evicting pods currently because it failed sync: {message}"
        ),
        _ if current <= desired => format!(
            "The disruption budget {name} needs {desired} healthy pods and has {current} currently"
        ),
        Some((reason, message)) => format!(
            "The disruption budget {name} does not allow evicting pods currently ({reason}): {message}"
        ),
        None => format!("The disruption budget {name} does not allow evicting pods currently"),
    }
}

/// Says that no more may go.
fn exhaust(status: &mut Value, now: Timestamp) {
    if !status["conditions"].is_array() {
        status["conditions"] = json!([]);
    }
    let observed = status["observedGeneration"].clone();
    let Some(conditions) = status["conditions"].as_array_mut() else { return };
    let mut condition = json!({
        "type": CONDITION,
        "status": "False",
        "reason": "InsufficientPods",
        "message": "",
        "lastTransitionTime": metadata::timestamp(now),
    });
    if !observed.is_null() {
        condition["observedGeneration"] = observed;
    }
    match conditions.iter_mut().find(|known| known["type"] == CONDITION) {
        Some(known) => {
            if known["status"] == "False" {
                condition["lastTransitionTime"] = known["lastTransitionTime"].clone();
            }
            *known = condition;
        }
        None => conditions.push(condition),
    }
}

fn number(of: &Value, field: &str) -> i64 {
    of[field].as_i64().unwrap_or_default()
}

fn text<'a>(of: &'a Value, field: &str) -> &'a str {
    of[field].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-01-01T00:00:00Z";

    fn budget(status: Value) -> Value {
        json!({
            "metadata": {"name": "web", "generation": 2},
            "spec": {"selector": {"matchLabels": {"app": "web"}}},
            "status": status,
        })
    }

    fn spend(status: Value) -> Result<Value, ApiError> {
        spent(&budget(status), "web-1", NOW.parse().expect("a time"))
    }

    #[test]
    fn a_disruption_is_taken_off_and_noted() {
        let left =
            spend(json!({"observedGeneration": 2, "disruptionsAllowed": 2})).expect("allowed");
        assert_eq!(left["status"]["disruptionsAllowed"], 1);
        assert_eq!(left["status"]["disruptedPods"], json!({"web-1": NOW}));
        assert_eq!(left["status"].get("conditions"), None);
        let status = json!({
            "observedGeneration": 2, "disruptionsAllowed": 1,
            "conditions": [{"type": CONDITION, "status": "True"}],
        });
        let left = spend(status).expect("allowed");
        assert_eq!(left["status"]["conditions"][0]["reason"], "InsufficientPods");
        assert_eq!(left["status"]["conditions"][0]["lastTransitionTime"], NOW);
    }

    #[test]
    fn refusals_say_why() {
        let refused = |message: &str, reason: &str| json!([{"type": CONDITION, "status": "False", "reason": reason, "message": message}]);
        let cases = [
            (
                json!({"observedGeneration": 1}),
                429,
                "The disruption budget web is still being processed by the server.",
            ),
            (
                json!({"observedGeneration": 2, "currentHealthy": 1, "desiredHealthy": 2}),
                429,
                "The disruption budget web needs 2 healthy pods and has 1 currently",
            ),
            (
                json!({"observedGeneration": 2, "conditions": refused("lost", "SyncFailed")}),
                429,
                "The disruption budget web does not allow evicting pods currently because it failed sync: lost",
            ),
            (
                json!({"observedGeneration": 2, "currentHealthy": 3, "desiredHealthy": 2, "conditions": refused("why", "Odd")}),
                429,
                "The disruption budget web does not allow evicting pods currently (Odd): why",
            ),
            (
                json!({"observedGeneration": 2, "currentHealthy": 3, "desiredHealthy": 2}),
                429,
                "The disruption budget web does not allow evicting pods currently",
            ),
        ];
        for (status, code, why) in cases {
            let error = spend(status).expect_err("refused");
            assert_eq!((error.code, error.reason), (code, "TooManyRequests"));
            let cause = &error.details.expect("it has details")["causes"][0];
            assert_eq!(*cause, json!({"reason": "DisruptionBudget", "message": why}));
        }
        let error = spend(json!({"observedGeneration": 2, "disruptionsAllowed": -1}));
        assert_eq!(
            error.expect_err("refused").message,
            "poddisruptionbudget.policy \"web\" is forbidden: pdb disruptions allowed is negative"
        );
    }

    #[test]
    fn a_budget_guards_what_it_selects() {
        let pod = json!({"metadata": {"labels": {"app": "web"}}});
        assert!(guards(&budget(json!({})), &pod));
        assert!(!guards(&budget(json!({})), &json!({"metadata": {}})));
        assert!(!guards(&json!({"spec": {}}), &pod));
        assert!(guards(&json!({"spec": {"selector": {}}}), &json!({"metadata": {}})));
    }

    #[test]
    fn unready_pods_go_where_enough_others_are_well() {
        let status = |current: i64| json!({"currentHealthy": current, "desiredHealthy": 2});
        assert!(lets_unready_go(&budget(status(2))));
        assert!(!lets_unready_go(&budget(status(1))));
        assert!(!lets_unready_go(&budget(json!({}))));
        let always = json!({"spec": {"unhealthyPodEvictionPolicy": "AlwaysAllow"}});
        assert!(lets_unready_go(&always));
    }
}
