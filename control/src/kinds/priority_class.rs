//! Classes of pods' priority.
//!
//! Source: `pkg/registry/scheduling/priorityclass/strategy.go`,
//! `pkg/apis/scheduling/validation`, `pkg/apis/scheduling/v1/helpers.go`.

use jiff::Timestamp;
use k8s_openapi::api::scheduling::v1::PriorityClass;
use serde_json::{Value, json};

use super::{Column, FieldError, Generation, Kind, KindInfo, meta};

/// The highest value that a user's class may have.
pub const USER_VALUE_MAX: i32 = 1_000_000_000;
const SYSTEM_VALUE: i32 = 2 * USER_VALUE_MAX;
const SYSTEM_PREFIX: &str = "system-";
const PREEMPTION_POLICIES: &[&str] = &["PreemptLowerPriority", "Never"];

/// A class that every cluster has from the start.
pub struct SystemClass {
    pub name: &'static str,
    pub value: i32,
    pub description: &'static str,
}

pub const SYSTEM_CLASSES: [SystemClass; 2] = [
    SystemClass {
        name: "system-node-critical",
        value: SYSTEM_VALUE + 1000,
        description: "Used for system critical pods that must not be moved from their current node.",
    },
    SystemClass {
        name: "system-cluster-critical",
        value: SYSTEM_VALUE,
        description: "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    },
];

pub struct PriorityClasses;

impl Kind for PriorityClasses {
    type Object = PriorityClass;

    const INFO: KindInfo = KindInfo {
        short_names: &["pc"],
        generation: Generation::Once,
        ..KindInfo::cluster(
            "scheduling.k8s.io",
            "v1",
            "PriorityClass",
            "priorityclasses",
            "priorityclass",
            "io.k8s.api.scheduling.v1.PriorityClass",
        )
    };

    fn default(class: &mut PriorityClass) {
        class.value.get_or_insert_default();
        class.preemption_policy.get_or_insert_with(|| "PreemptLowerPriority".to_owned());
    }

    /// An update can change nothing that there is a rule for.
    fn validate(_class: &PriorityClass) -> Vec<FieldError> {
        Vec::new()
    }

    fn validate_create(class: &PriorityClass) -> Vec<FieldError> {
        let name = class.metadata.name.as_deref().unwrap_or_default();
        let value = class.value.unwrap_or_default();
        let mut errors = Vec::new();
        if name.starts_with(SYSTEM_PREFIX) {
            if let Some(why) = system_problem(name, value, class.global_default == Some(true)) {
                let detail = format!(
                    "priority class names with '{SYSTEM_PREFIX}' prefix are reserved for system use only. error: {why}"
                );
                errors.push(FieldError::forbidden("metadata.name", detail));
            }
        } else if value > USER_VALUE_MAX {
            let detail =
                format!("maximum allowed value of a user defined priority is {USER_VALUE_MAX}");
            errors.push(FieldError::forbidden("value", detail));
        }
        match class.preemption_policy.as_deref() {
            None => {}
            Some("") => errors.push(FieldError::required("preemptionPolicy", "")),
            Some(policy) if PREEMPTION_POLICIES.contains(&policy) => {}
            Some(policy) => errors.push(FieldError::not_supported(
                "preemptionPolicy",
                policy,
                PREEMPTION_POLICIES,
            )),
        }
        errors
    }

    fn validate_update(new: &PriorityClass, old: &PriorityClass) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if new.value.unwrap_or_default() != old.value.unwrap_or_default() {
            errors.push(FieldError::forbidden("value", "may not be changed in an update."));
        }
        let policy = |class: &PriorityClass| json!(class.preemption_policy);
        errors.extend(meta::immutable(&policy(new), &policy(old), "preemptionPolicy"));
        errors
    }

    fn columns() -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::NAME,
            Column::new("Value", "integer", 0, "The priority of the class's pods."),
            Column::new("Global-Default", "boolean", 0, "Whether pods without a class get it."),
            Column::AGE,
            Column::new("PreemptionPolicy", "string", 0, "Whether its pods take others' places."),
        ];
        COLUMNS
    }

    fn cells(class: &PriorityClass, now: Timestamp) -> Vec<Value> {
        vec![
            meta::object_name(&class.metadata),
            class.value.unwrap_or_default().into(),
            class.global_default.unwrap_or_default().into(),
            meta::object_age(&class.metadata, now),
            class.preemption_policy.clone().unwrap_or_default().into(),
        ]
    }
}

/// Why a class with the system's prefix is not one of the system's.
fn system_problem(name: &str, value: i32, is_default: bool) -> Option<String> {
    let Some(class) = SYSTEM_CLASSES.iter().find(|class| class.name == name) else {
        return Some(format!("{name} is not a known system priority class"));
    };
    if value != class.value {
        return Some(format!("value of {name} PriorityClass must be {}", class.value));
    }
    is_default.then(|| format!("globalDefault of {name} PriorityClass must be false"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::problems;

    #[test]
    fn the_systems_names_are_the_systems() {
        let reserved = "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. error: ";
        let cases = [
            (json!({"metadata": {"name": "a"}, "value": 1_000_000_000}), None),
            (json!({"metadata": {"name": "system-cluster-critical"}, "value": 2_000_000_000}), None),
            (
                json!({"metadata": {"name": "system-a"}}),
                Some(format!("{reserved}system-a is not a known system priority class")),
            ),
            (
                json!({"metadata": {"name": "system-node-critical"}, "value": 1}),
                Some(format!(
                    "{reserved}value of system-node-critical PriorityClass must be 2000001000"
                )),
            ),
            (
                json!({"metadata": {"name": "system-cluster-critical"}, "value": 2_000_000_000,
                    "globalDefault": true}),
                Some(format!(
                    "{reserved}globalDefault of system-cluster-critical PriorityClass must be false"
                )),
            ),
        ];
        for (class, expected) in cases {
            let found = problems::<PriorityClasses>(&class);
            assert_eq!(found, expected.into_iter().collect::<Vec<_>>(), "{class}");
        }
    }
}
