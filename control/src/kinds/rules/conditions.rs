//! The conditions of statuses (`metav1.Condition`).
//!
//! Source: `k8s.io/apimachinery/pkg/apis/meta/v1/validation/validation.go`.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::kinds::{FieldError, meta, names};

const REASON_BYTES_MAX: usize = 1024;
const MESSAGE_BYTES_MAX: usize = 32 * 1024;
const REASON_MESSAGE: &str = "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an alphanumeric character or '_'";
const REASON_FORMAT: &str = "[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?";
/// Go's zero time, which is what a condition without a time holds.
const NO_TIME_SECONDS: i64 = -62_135_596_800;

/// All problems of a list of conditions at `path`.
pub fn validate(conditions: &[Condition], path: &str) -> Vec<FieldError> {
    let mut seen = BTreeSet::new();
    let mut errors = Vec::new();
    for (index, condition) in conditions.iter().enumerate() {
        let path = format!("{path}[{index}]");
        if !seen.insert(condition.type_.as_str()) {
            errors.push(FieldError::duplicate(format!("{path}.type"), condition.type_.as_str()));
        }
        errors.extend(validate_one(condition, &path));
    }
    errors
}

fn validate_one(condition: &Condition, path: &str) -> Vec<FieldError> {
    let child = |name: &str| format!("{path}.{name}");
    let mut errors = meta::validate_label_key(&condition.type_, &child("type"));
    let statuses = &["False", "True", "Unknown"];
    let status = condition.status.as_str();
    if !statuses.contains(&status) {
        errors.push(FieldError::not_supported(child("status"), status, statuses));
    }
    if let Some(generation) = condition.observed_generation.filter(|generation| *generation < 0) {
        let why = "must be greater than or equal to zero";
        errors.push(FieldError::invalid(child("observedGeneration"), generation, why));
    }
    if condition.last_transition_time.0.as_second() == NO_TIME_SECONDS {
        errors.push(FieldError::required(child("lastTransitionTime"), ""));
    }
    errors.extend(validate_reason(&condition.reason, &child("reason")));
    if condition.message.len() > MESSAGE_BYTES_MAX {
        errors.push(FieldError::too_long(child("message"), MESSAGE_BYTES_MAX));
    }
    errors
}

fn validate_reason(reason: &str, path: &str) -> Vec<FieldError> {
    if reason.is_empty() {
        return vec![FieldError::required(path, "")];
    }
    let mut errors = Vec::new();
    if !is_reason(reason) {
        let examples = &["my_name", "MY_NAME", "MyName", "ReasonA,ReasonB", "ReasonA:ReasonB"];
        let why = names::mismatch(REASON_MESSAGE, REASON_FORMAT, examples);
        errors.push(FieldError::invalid(path, reason, why));
    }
    if reason.len() > REASON_BYTES_MAX {
        errors.push(FieldError::too_long(path, REASON_BYTES_MAX));
    }
    errors
}

fn is_reason(reason: &str) -> bool {
    let letter_or_digit = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let inner = |byte: u8| letter_or_digit(byte) || matches!(byte, b',' | b':');
    match reason.as_bytes() {
        [] => false,
        [first, rest @ ..] => {
            first.is_ascii_alphabetic()
                && rest.iter().all(|byte| inner(*byte))
                && rest.last().is_none_or(|last| letter_or_digit(*last))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn problems(conditions: Value) -> Vec<String> {
        let conditions: Vec<Condition> = serde_json::from_value(conditions).unwrap();
        validate(&conditions, "c").iter().map(ToString::to_string).collect()
    }

    fn condition(change: impl FnOnce(&mut Value)) -> Value {
        let mut condition = json!({
            "type": "Ready", "status": "True", "reason": "AllGood", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        });
        change(&mut condition);
        condition
    }

    #[test]
    fn a_sound_condition_has_no_problems() {
        assert_eq!(problems(json!([condition(|_| {})])), [""; 0]);
        assert_eq!(problems(json!([condition(|c| c["reason"] = "A:b,C_".into())])), [""; 0]);
    }

    #[test]
    fn every_field_is_held_to_its_rule() {
        type Spoil = fn(&mut Value);
        let cases: Vec<(Spoil, &str)> = vec![
            (|c| c["type"] = "".into(), "c[0].type: Invalid value: \"\": name part must be"),
            (|c| c["status"] = "Yes".into(), "c[0].status: Unsupported value: \"Yes\": supported"),
            (
                |c| c["observedGeneration"] = (-1).into(),
                "c[0].observedGeneration: Invalid value: -1: must be greater than or equal to zero",
            ),
            (
                |c| c["lastTransitionTime"] = "0001-01-01T00:00:00Z".into(),
                "c[0].lastTransitionTime: Required value",
            ),
            (|c| c["reason"] = "".into(), "c[0].reason: Required value"),
            (|c| c["reason"] = "A:".into(), "c[0].reason: Invalid value: \"A:\": a condition"),
            (
                |c| c["message"] = "x".repeat(32_769).into(),
                "c[0].message: Too long: may not be more than 32768 bytes",
            ),
        ];
        for (spoil, expected) in cases {
            let found = problems(json!([condition(spoil)]));
            assert!(found[0].starts_with(expected), "{found:?}");
        }
        assert_eq!(
            problems(json!([condition(|_| {}), condition(|_| {})])),
            ["c[1].type: Duplicate value: \"Ready\""]
        );
    }
}
