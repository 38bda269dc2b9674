//! Fields that are a number or a percentage of one (`intstr.IntOrString`): `maxUnavailable`.
//!
//! Source: `ValidatePositiveIntOrPercent` and its neighbours in
//! `pkg/apis/apps/validation/validation.go`, and `k8s.io/apimachinery/pkg/util/intstr`.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::kinds::FieldError;
use crate::kinds::formats::{nonnegative, percent};

/// Refuses what is neither a number from 0 nor a percentage.
pub fn validate(value: &IntOrString, path: &str) -> Vec<FieldError> {
    match value {
        IntOrString::Int(number) => nonnegative(*number, path),
        IntOrString::String(text) => percent(text)
            .err()
            .map(|why| FieldError::invalid(path, text.as_str(), why))
            .into_iter()
            .collect(),
    }
}

/// Refuses a percentage above all of it.
pub fn validate_at_most_all(value: &IntOrString, path: &str) -> Vec<FieldError> {
    match value {
        IntOrString::String(text) if percent(text).is_ok_and(|percent| percent > 100) => {
            vec![FieldError::invalid(path, text.as_str(), "must not be greater than 100%")]
        }
        IntOrString::Int(_) | IntOrString::String(_) => Vec::new(),
    }
}

/// The number or the percentage, whichever it is.
pub fn amount(value: &IntOrString) -> i64 {
    match value {
        IntOrString::Int(number) => (*number).into(),
        IntOrString::String(text) => {
            percent(text).unwrap_or_else(|_| text.parse().unwrap_or_default())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_a_number_or_a_percentage() {
        let int = IntOrString::Int;
        let text = |text: &str| IntOrString::String(text.to_owned());
        let cases = [
            (int(3), "", 3),
            (int(-1), "p: Invalid value: -1: must be greater than or equal to 0", -1),
            (text("25%"), "", 25),
            (text("101%"), "p: Invalid value: \"101%\": must not be greater than 100%", 101),
            (text("7"), "p: Invalid value: \"7\": a valid percent string must be a num", 7),
            (text("few"), "p: Invalid value: \"few\": a valid percent string must be a num", 0),
        ];
        for (value, problem, number) in cases {
            let mut errors = validate(&value, "p");
            errors.extend(validate_at_most_all(&value, "p"));
            let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
            assert_eq!(texts.is_empty(), problem.is_empty(), "{texts:?}");
            assert!(texts.join("").starts_with(problem), "{texts:?}");
            assert_eq!(amount(&value), number);
        }
    }
}
