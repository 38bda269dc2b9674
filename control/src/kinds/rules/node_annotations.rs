//! What older schedulers kept in a node's annotations: it is still to be well formed.
//!
//! Source: `ValidateNodeSpecificAnnotations` in `pkg/apis/core/validation/validation.go`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Taint;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::json_text::{Shape, parse};
use crate::kinds::FieldError;

const TAINTS: &str = "scheduler.alpha.kubernetes.io/taints";
const AVOIDED: &str = "scheduler.alpha.kubernetes.io/preferAvoidPods";
const PATH: &str = "metadata.annotations";

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct AvoidPods {
    prefer_avoid_pods: Vec<Entry>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Entry {
    pod_signature: Signature,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Signature {
    pod_controller: Option<OwnerReference>,
}

/// All problems of the annotations; `taints` judges a list of taints at a path.
pub fn validate(
    annotations: Option<&BTreeMap<String, String>>,
    taints: impl Fn(&[Taint], &str) -> Vec<FieldError>,
) -> Vec<FieldError> {
    let said = |key| annotations?.get(key).filter(|text: &&String| !text.is_empty());
    let mut errors = Vec::new();
    if let Some(text) = said(TAINTS) {
        match read::<Vec<Taint>>(text, Shape::List, "[]core.Taint") {
            Ok(list) => errors.extend(taints(&list, &format!("{PATH}.{TAINTS}"))),
            Err(why) => errors.push(FieldError::invalid(PATH, TAINTS, why)),
        }
    }
    if let Some(text) = said(AVOIDED) {
        match read::<AvoidPods>(text, Shape::Object, "v1.AvoidPods") {
            Ok(avoided) => {
                let entries = avoided.prefer_avoid_pods.iter().enumerate();
                errors.extend(entries.filter_map(validate_avoided));
            }
            Err(why) => {
                errors.push(FieldError::invalid(format!("{PATH}.AvoidPods"), AVOIDED, why));
            }
        }
    }
    errors
}

fn read<T: DeserializeOwned + Default>(
    text: &str,
    shape: Shape,
    go_type: &str,
) -> Result<T, String> {
    match parse(text.as_bytes(), shape, go_type)? {
        Value::Null => Ok(T::default()),
        value => serde_json::from_value(value).map_err(|error| error.to_string()),
    }
}

fn validate_avoided((index, entry): (usize, &Entry)) -> Option<FieldError> {
    let path = format!("{PATH}.{AVOIDED}[{index}].PodSignature");
    let Some(controller) = &entry.pod_signature.pod_controller else {
        return Some(FieldError::required(path, ""));
    };
    (controller.controller != Some(true)).then(|| {
        let path = format!("{path}.PodController.Controller");
        FieldError::invalid(path, false, "must point to a controller")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::texts;

    fn problems(key: &str, text: &str) -> Vec<String> {
        let annotations = BTreeMap::from([(key.to_owned(), text.to_owned())]);
        texts(&validate(Some(&annotations), |taints, path| {
            taints.iter().map(|_| FieldError::required(path, "")).collect()
        }))
    }

    #[test]
    fn pods_are_avoided_by_their_controller() {
        let entry = |signature: &str| {
            format!(r#"{{"preferAvoidPods": [{{"podSignature": {signature}}}]}}"#)
        };
        let owner = r#"{"apiVersion": "v1", "kind": "A", "name": "a", "uid": "b", "controller": "#;
        assert!(
            problems(AVOIDED, &entry(&format!(r#"{{"podController": {owner} true}}}}"#)))
                .is_empty()
        );
        assert_eq!(
            problems(AVOIDED, &entry("{}")),
            [
                "metadata.annotations.scheduler.alpha.kubernetes.io/preferAvoidPods[0].PodSignature: Required value"
            ]
        );
        assert_eq!(
            problems(AVOIDED, &entry(&format!(r#"{{"podController": {owner} false}}}}"#))),
            [
                "metadata.annotations.scheduler.alpha.kubernetes.io/preferAvoidPods[0].PodSignature.PodController.Controller: Invalid value: false: must point to a controller"
            ]
        );
        assert_eq!(
            problems(AVOIDED, "x"),
            [
                "metadata.annotations.AvoidPods: Invalid value: \"scheduler.alpha.kubernetes.io/preferAvoidPods\": invalid character 'x' looking for beginning of value"
            ]
        );
    }

    #[test]
    fn taints_are_judged_as_those_of_the_spec() {
        assert!(problems(TAINTS, "[]").is_empty());
        assert_eq!(
            problems(TAINTS, r#"[{"key": "a", "effect": "b"}]"#),
            ["metadata.annotations.scheduler.alpha.kubernetes.io/taints: Required value"]
        );
        assert_eq!(
            problems(TAINTS, "{}"),
            [
                "metadata.annotations: Invalid value: \"scheduler.alpha.kubernetes.io/taints\": json: cannot unmarshal object into Go value of type []core.Taint"
            ]
        );
    }
}
