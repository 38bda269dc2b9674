//! A pod's conditions. Pure.
//!
//! Source: `UpdatePodCondition` in `pkg/api/pod`.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::metadata;

/// Sets a condition, which names its type and its status. Its time is that of the last change of
/// the status.
pub fn set(pod: &mut Value, condition: Value, now: Timestamp) {
    if !pod["status"].is_object() {
        pod["status"] = json!({});
    }
    if !pod["status"]["conditions"].is_array() {
        pod["status"]["conditions"] = json!([]);
    }
    let Some(conditions) = pod["status"]["conditions"].as_array_mut() else { return };
    let known = conditions.iter().position(|known| known["type"] == condition["type"]);
    let since =
        known.filter(|index| conditions[*index]["status"] == condition["status"]).map_or_else(
            || metadata::timestamp(now),
            |index| conditions[index]["lastTransitionTime"].clone(),
        );
    let mut condition = condition;
    condition["lastProbeTime"] = Value::Null;
    condition["lastTransitionTime"] = since;
    match known {
        Some(index) => conditions[index] = condition,
        None => conditions.push(condition),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_keeps_the_time_at_which_its_status_changed() {
        let at = |time: &str| -> Timestamp { time.parse().expect("a time") };
        let ready = |status: &str| json!({ "type": "Ready", "status": status });
        let mut pod = json!({});
        set(&mut pod, ready("True"), at("2026-01-01T00:00:00Z"));
        set(&mut pod, ready("True"), at("2026-01-01T00:00:01Z"));
        let shown = |pod: &Value| pod["status"]["conditions"][0]["lastTransitionTime"].clone();
        assert_eq!(shown(&pod), "2026-01-01T00:00:00Z");
        set(&mut pod, ready("False"), at("2026-01-01T00:00:02Z"));
        assert_eq!(shown(&pod), "2026-01-01T00:00:02Z");
        assert_eq!(pod["status"]["conditions"].as_array().map(Vec::len), Some(1));
    }
}
