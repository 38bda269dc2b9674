//! How many pods a budget lets go. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::BUDGETS;
use crate::controllers::pods::is_ready;
use crate::engine::{Action, Key, Note, Plan, Update};
use crate::kinds::formats::percent;

/// An evicted pod that is still there after this was not deleted after all.
const DELETION_TIMEOUT: SignedDuration = SignedDuration::from_secs(120);
const CONDITION: &str = "DisruptionAllowed";

pub(super) struct Observed {
    pub(super) budget: Arc<PodDisruptionBudget>,
    pub(super) pods: Vec<Guarded>,
}

/// A pod that counts in the budget.
pub(super) struct Guarded {
    pub(super) pod: Arc<Pod>,
    pub(super) scale: Scale,
}

/// How many pods are wanted of a pod's sort.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Scale {
    /// Nobody made it: it cannot be said.
    Unmanaged,
    Known {
        controller: String,
        replicas: i32,
    },
    /// What made it is gone, or has no scale.
    Unknown(String),
}

pub(super) fn plan(now: Timestamp, observed: &Observed) -> Plan {
    let budget = &*observed.budget;
    let about = about(budget);
    let mut actions = Vec::new();
    if observed.pods.is_empty() {
        let message = "No matching pods found".to_owned().into();
        actions.push(Action::Event(Note::normal(&about, "NoPods", message)));
    }
    let known = budget.status.clone().unwrap_or_default();
    let mut again = None;
    let (status, why) = match expect(observed) {
        Ok(expected) => {
            if expected.unmanaged {
                let note = Note::warning(&about, "UnmanagedPods", unmanaged_message(budget).into());
                actions.push(Action::Event(note));
            }
            let (disrupted, due) = disrupted(now, observed, &known);
            again = due;
            (counted(now, observed, &known, &expected, disrupted), "pods counted".to_owned())
        }
        Err(why) => {
            let message = format!("Failed to calculate the number of expected pods: {why}");
            let reason = "CalculateExpectedPodCountFailed";
            actions.push(Action::Event(Note::warning(&about, reason, message.into())));
            (failed(now, &known, &why), why)
        }
    };
    if status == known {
        // Nothing new, so no events either.
        return Plan { again, ..Plan::nothing("the status is right") };
    }
    let new = PodDisruptionBudget { status: Some(status), ..budget.clone() };
    let update = Update::status(Key::of(BUDGETS, &budget.metadata), &new);
    Plan { actions, status: Some(update), why, again, ..Plan::default() }
}

struct Expected {
    pods: i32,
    healthy: i32,
    unmanaged: bool,
}

/// How many pods there should be, and how many of them well.
fn expect(observed: &Observed) -> Result<Expected, String> {
    let none = Default::default();
    let spec = observed.budget.spec.as_ref().unwrap_or(&none);
    match (&spec.max_unavailable, &spec.min_available) {
        (Some(most), _) => {
            let (pods, unmanaged) = expected_scale(&observed.pods)?;
            Ok(Expected { pods, healthy: (pods - scaled(most, pods)?).max(0), unmanaged })
        }
        (None, Some(IntOrString::Int(least))) => {
            let pods = i32::try_from(observed.pods.len()).unwrap_or(i32::MAX);
            Ok(Expected { pods, healthy: *least, unmanaged: false })
        }
        (None, Some(least)) => {
            let (pods, unmanaged) = expected_scale(&observed.pods)?;
            Ok(Expected { pods, healthy: scaled(least, pods)?, unmanaged })
        }
        (None, None) => Ok(Expected { pods: 0, healthy: 0, unmanaged: false }),
    }
}

/// The sum of the scales of all that make the pods, each once; and whether some were made by none.
fn expected_scale(pods: &[Guarded]) -> Result<(i32, bool), String> {
    let mut scales = BTreeMap::new();
    let mut unmanaged = false;
    for guarded in pods {
        match &guarded.scale {
            Scale::Unmanaged => unmanaged = true,
            Scale::Known { controller, replicas } => {
                scales.insert(controller.as_str(), *replicas);
            }
            Scale::Unknown(why) => return Err(why.clone()),
        }
    }
    Ok((scales.into_values().fold(0, i32::saturating_add), unmanaged))
}

/// A number, or a part of `total`, rounded up.
fn scaled(bound: &IntOrString, total: i32) -> Result<i32, String> {
    match bound {
        IntOrString::Int(count) => Ok(*count),
        IntOrString::String(text) => {
            let hundredths = percent(text)?.saturating_mul(total.into());
            Ok(i32::try_from(hundredths.saturating_add(99).div_euclid(100)).unwrap_or(i32::MAX))
        }
    }
}

type Disrupted = BTreeMap<String, Time>;

/// The noted pods that are still expected to go, and when the first of them is overdue.
fn disrupted(
    now: Timestamp,
    observed: &Observed,
    known: &PodDisruptionBudgetStatus,
) -> (Disrupted, Option<Duration>) {
    let mut noted = Disrupted::new();
    let mut first: Option<SignedDuration> = None;
    for guarded in &observed.pods {
        let metadata = &guarded.pod.metadata;
        let name = metadata.name.as_deref().unwrap_or_default();
        let since = known.disrupted_pods.as_ref().and_then(|known| known.get(name));
        let Some(since) = since.filter(|_| metadata.deletion_timestamp.is_none()) else { continue };
        let left = DELETION_TIMEOUT - now.duration_since(since.0);
        if left.is_negative() {
            continue;
        }
        noted.insert(name.to_owned(), since.clone());
        first = Some(first.map_or(left, |first| first.min(left)));
    }
    // A little later than due: then it is overdue.
    let again = first.and_then(|left| Duration::try_from(left).ok());
    (noted, again.map(|left| left + Duration::from_millis(1)))
}

fn counted(
    now: Timestamp,
    observed: &Observed,
    known: &PodDisruptionBudgetStatus,
    expected: &Expected,
    disrupted: Disrupted,
) -> PodDisruptionBudgetStatus {
    let stays = |pod: &Pod| {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        pod.metadata.deletion_timestamp.is_none() && !disrupted.contains_key(name)
    };
    let healthy = observed.pods.iter().filter(|it| stays(&it.pod) && is_ready(&it.pod)).count();
    let healthy = i32::try_from(healthy).unwrap_or(i32::MAX);
    // Without pods nothing is allowed: the first ones may appear at any moment.
    let allowed = if expected.pods > 0 { (healthy - expected.healthy).max(0) } else { 0 };
    let generation = observed.budget.metadata.generation;
    let (status, reason) =
        if allowed > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
    let condition = condition(status, reason, "", generation);
    PodDisruptionBudgetStatus {
        conditions: Some(with_condition(now, known, condition)),
        current_healthy: Some(healthy),
        desired_healthy: Some(expected.healthy),
        disrupted_pods: Some(disrupted).filter(|disrupted| !disrupted.is_empty()),
        disruptions_allowed: Some(allowed),
        expected_pods: Some(expected.pods),
        observed_generation: generation,
    }
}

/// What cannot be counted lets nothing go.
fn failed(
    now: Timestamp,
    known: &PodDisruptionBudgetStatus,
    why: &str,
) -> PodDisruptionBudgetStatus {
    let condition = condition("False", "SyncFailed", why, known.observed_generation);
    PodDisruptionBudgetStatus {
        conditions: Some(with_condition(now, known, condition)),
        disruptions_allowed: Some(0),
        ..known.clone()
    }
}

fn condition(status: &str, reason: &str, message: &str, generation: Option<i64>) -> Condition {
    Condition {
        type_: CONDITION.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        observed_generation: generation,
        last_transition_time: Time(Timestamp::UNIX_EPOCH),
    }
}

/// The known conditions with this one, whose time is that of the last change of its status.
fn with_condition(
    now: Timestamp,
    known: &PodDisruptionBudgetStatus,
    mut condition: Condition,
) -> Vec<Condition> {
    let mut conditions = known.conditions.clone().unwrap_or_default();
    // Times are stored in seconds.
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    match conditions.iter_mut().find(|known| known.type_ == CONDITION) {
        Some(known) => {
            let moved = known.status != condition.status;
            condition.last_transition_time =
                if moved { Time(now) } else { known.last_transition_time.clone() };
            *known = condition;
        }
        None => {
            condition.last_transition_time = Time(now);
            conditions.push(condition);
        }
    }
    conditions
}

fn unmanaged_message(budget: &PodDisruptionBudget) -> String {
    let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    let selector = selector.map(crate::kinds::selector_text).unwrap_or_default();
    format!(
        "Pods selected by this PodDisruptionBudget (selector: {selector}) were found to be unmanaged. As a result, the status of the PDB cannot be calculated correctly, which may result in undefined behavior. To account for these pods please set \".spec.minAvailable\" field of the PDB to an integer value."
    )
}

fn about(budget: &PodDisruptionBudget) -> Arc<ObjectReference> {
    let metadata = &budget.metadata;
    Arc::new(ObjectReference {
        api_version: Some("policy/v1".to_owned()),
        kind: Some("PodDisruptionBudget".to_owned()),
        name: metadata.name.clone(),
        namespace: metadata.namespace.clone(),
        resource_version: metadata.resource_version.clone(),
        uid: metadata.uid.clone(),
        ..ObjectReference::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const NOW: &str = "2026-01-01T00:10:00Z";

    fn pod(name: &str, ready: bool, replicas: Option<i32>) -> Guarded {
        let status = if ready { "True" } else { "False" };
        let pod = json!({
            "metadata": {"name": name},
            "status": {"conditions": [{"type": "Ready", "status": status}]},
        });
        let scale = replicas.map_or(Scale::Unmanaged, |replicas| Scale::Known {
            controller: "c".to_owned(),
            replicas,
        });
        Guarded { pod: Arc::new(serde_json::from_value(pod).unwrap()), scale }
    }

    fn budget(spec: Value, status: Value) -> Arc<PodDisruptionBudget> {
        let budget = json!({
            "metadata": {"name": "b", "namespace": "a", "generation": 3}, "spec": spec,
            "status": status,
        });
        Arc::new(serde_json::from_value(budget).unwrap())
    }

    fn status(spec: Value, known: Value, pods: Vec<Guarded>) -> Value {
        let observed = Observed { budget: budget(spec, known), pods };
        let plan = plan(NOW.parse().unwrap(), &observed);
        plan.status.map_or(Value::Null, |update| update.object["status"].clone())
    }

    fn numbers(status: &Value) -> [i64; 4] {
        ["currentHealthy", "desiredHealthy", "expectedPods", "disruptionsAllowed"]
            .map(|field| status[field].as_i64().unwrap())
    }

    #[test]
    fn pods_are_counted_against_the_bound() {
        let three =
            || vec![pod("1", true, Some(4)), pod("2", true, Some(4)), pod("3", false, Some(4))];
        let cases = [
            (json!({"minAvailable": 1}), [2, 1, 3, 1]),
            (json!({"minAvailable": 5}), [2, 5, 3, 0]),
            (json!({"minAvailable": "30%"}), [2, 2, 4, 0]),
            (json!({"maxUnavailable": 3}), [2, 1, 4, 1]),
            (json!({"maxUnavailable": "51%"}), [2, 1, 4, 1]),
            (json!({"maxUnavailable": 9}), [2, 0, 4, 2]),
            (json!({}), [2, 0, 0, 0]),
        ];
        for (spec, expected) in cases {
            assert_eq!(numbers(&status(spec.clone(), json!({}), three())), expected, "{spec}");
        }
    }

    #[test]
    fn the_condition_says_whether_pods_may_go() {
        let found = status(json!({"minAvailable": 0}), json!({}), vec![pod("1", true, None)]);
        assert_eq!(
            found["conditions"],
            json!([{
                "type": CONDITION, "status": "True", "reason": "SufficientPods", "message": "",
                "observedGeneration": 3, "lastTransitionTime": NOW,
            }])
        );
        assert_eq!(found["observedGeneration"], 3);
        // The second look finds nothing to do.
        let again = status(json!({"minAvailable": 0}), found, vec![pod("1", true, None)]);
        assert_eq!(again, Value::Null);
        let none = status(json!({"minAvailable": 0}), json!({}), Vec::new());
        assert_eq!(none["conditions"][0]["reason"], "InsufficientPods");
    }

    #[test]
    fn a_noted_pod_does_not_count_until_it_is_overdue() {
        let known = |time: &str| json!({"disruptedPods": {"1": time, "gone": time}});
        let pods = || vec![pod("1", true, None), pod("2", true, None)];
        let spec = json!({"minAvailable": 1});
        let soon = status(spec.clone(), known("2026-01-01T00:09:00Z"), pods());
        assert_eq!(numbers(&soon), [1, 1, 2, 0]);
        assert_eq!(soon["disruptedPods"], json!({"1": "2026-01-01T00:09:00Z"}));
        let late = status(spec, known("2026-01-01T00:07:59Z"), pods());
        assert_eq!(numbers(&late), [2, 1, 2, 1]);
        assert_eq!(late.get("disruptedPods"), None);
    }

    #[test]
    fn what_cannot_be_counted_lets_nothing_go() {
        let mut lost = pod("1", true, None);
        lost.scale = Scale::Unknown("found no controllers for pod \"1\"".to_owned());
        let found =
            status(json!({"maxUnavailable": 1}), json!({"disruptionsAllowed": 2}), vec![lost]);
        assert_eq!(found["disruptionsAllowed"], 0);
        assert_eq!(found["conditions"][0]["reason"], "SyncFailed");
        assert_eq!(found["conditions"][0]["message"], "found no controllers for pod \"1\"");
    }
}
