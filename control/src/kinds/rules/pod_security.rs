//! The labels by which a namespace says how its pods are held back: nothing here holds them to it.
//!
//! Source: `PolicyToEvaluate` in `k8s.io/pod-security-admission/api/helpers.go`.

use std::collections::BTreeMap;

use crate::kinds::FieldError;

const PREFIX: &str = "pod-security.kubernetes.io/";
const MODES: [&str; 3] = ["enforce", "audit", "warn"];
const LEVELS: [&str; 3] = ["privileged", "baseline", "restricted"];

/// All problems of a namespace's labels.
pub fn validate(labels: Option<&BTreeMap<String, String>>) -> Vec<FieldError> {
    let Some(labels) = labels else { return Vec::new() };
    let mut errors = Vec::new();
    for mode in MODES {
        let level = format!("{PREFIX}{mode}");
        let version = format!("{level}-version");
        if let Some(value) = labels.get(&level).filter(|value| !is_level(value)) {
            errors.push(invalid(&level, value, &format!("must be one of {}", LEVELS.join(", "))));
        }
        if let Some(value) = labels.get(&version).filter(|value| !is_version(value)) {
            errors.push(invalid(&version, value, r#"must be "latest" or "v1.x""#));
        }
    }
    errors
}

fn invalid(label: &str, value: &str, detail: &str) -> FieldError {
    FieldError::invalid(format!("metadata.labels[{label}]"), value, detail)
}

fn is_level(text: &str) -> bool {
    LEVELS.contains(&text)
}

/// `latest`, or `v1.` and a number without leading zeros.
fn is_version(text: &str) -> bool {
    let Some(minor) = text.strip_prefix("v1.") else { return text == "latest" };
    let is_number = !minor.is_empty() && minor.bytes().all(|byte| byte.is_ascii_digit());
    is_number && (minor == "0" || !minor.starts_with('0'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::texts;

    fn problems(key: &str, value: &str) -> Vec<String> {
        texts(&validate(Some(&BTreeMap::from([(key.to_owned(), value.to_owned())]))))
    }

    #[test]
    fn levels_and_versions_are_known_ones() {
        for level in LEVELS {
            assert!(problems("pod-security.kubernetes.io/warn", level).is_empty());
        }
        assert_eq!(
            problems("pod-security.kubernetes.io/audit", "strict"),
            [
                "metadata.labels[pod-security.kubernetes.io/audit]: Invalid value: \"strict\": must be one of privileged, baseline, restricted"
            ]
        );
        for (version, fine) in [
            ("latest", true),
            ("v1.0", true),
            ("v1.25", true),
            ("v1.025", false),
            ("v2.1", false),
            ("", false),
        ] {
            let problems = problems("pod-security.kubernetes.io/enforce-version", version);
            assert_eq!(problems.is_empty(), fine, "{version}");
        }
        assert!(problems("pod-security.kubernetes.io/other", "strict").is_empty());
    }
}
