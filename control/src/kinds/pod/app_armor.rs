//! AppArmor annotations, which fields have replaced: a new pod's fields are filled in from them, for
//! nodes that know the fields alone.
//!
//! Source: `applyAppArmorVersionSkew` in `pkg/registry/core/pod/strategy.go`.

use k8s_openapi::api::core::v1::{AppArmorProfile, Pod, SecurityContext};

use super::annotations::APP_ARMOR;
use super::security;

/// The field that an annotation stands for.
pub fn profile_of(annotation: &str) -> Option<AppArmorProfile> {
    let (type_, localhost_profile) = match annotation {
        "runtime/default" => ("RuntimeDefault", None),
        "unconfined" => ("Unconfined", None),
        other => ("Localhost", Some(other.strip_prefix("localhost/")?.to_owned())),
    };
    Some(AppArmorProfile { type_: type_.to_owned(), localhost_profile })
}

/// Fills in the profiles of containers that only an annotation names.
pub fn fill_in(pod: &mut Pod) {
    let (Some(annotations), Some(spec)) = (&pod.metadata.annotations, &mut pod.spec) else {
        return;
    };
    if spec.os.as_ref().is_some_and(|os| os.name == "windows") {
        return;
    }
    let context = spec.security_context.as_ref();
    let of_pod = context.and_then(|context| context.app_armor_profile.clone());
    let fill = |name: &str, context: &mut Option<SecurityContext>| {
        let is_set = context.as_ref().is_some_and(|own| own.app_armor_profile.is_some());
        let annotation = annotations.get(&format!("{APP_ARMOR}{name}")).filter(|_| !is_set);
        let Some(profile) = annotation.and_then(|annotation| profile_of(annotation)) else { return };
        let mut problems = Vec::new();
        security::validate_app_armor(Some(&profile), "", &mut problems);
        // What is wrong is told of the annotation; what the pod says already need not be repeated.
        if problems.is_empty() && of_pod.as_ref() != Some(&profile) {
            context.get_or_insert_default().app_armor_profile = Some(profile);
        }
    };
    let inits = spec.init_containers.iter_mut().flatten();
    for container in inits.chain(&mut spec.containers) {
        fill(&container.name, &mut container.security_context);
    }
    for container in spec.ephemeral_containers.iter_mut().flatten() {
        fill(&container.name, &mut container.security_context);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn profiles_come_from_annotations_where_no_field_says_them() {
        let mut pod: Pod = serde_json::from_value(json!({
            "metadata": {"annotations": {
                "container.apparmor.security.beta.kubernetes.io/a": "localhost/web",
                "container.apparmor.security.beta.kubernetes.io/b": "unconfined",
                "container.apparmor.security.beta.kubernetes.io/c": "runtime/default",
                "container.apparmor.security.beta.kubernetes.io/d": "localhost/",
            }},
            "spec": {
                "securityContext": {"appArmorProfile": {"type": "RuntimeDefault"}},
                "containers": [
                    {"name": "a"},
                    {"name": "b", "securityContext": {"appArmorProfile": {"type": "RuntimeDefault"}}},
                    {"name": "c"},
                    {"name": "d"},
                ],
            },
        }))
        .unwrap();
        fill_in(&mut pod);
        let spec = serde_json::to_value(pod.spec).unwrap();
        let profile = |index: usize| {
            spec["containers"][index]["securityContext"]["appArmorProfile"].clone()
        };
        assert_eq!(profile(0), json!({"type": "Localhost", "localhostProfile": "web"}));
        assert_eq!(profile(1), json!({"type": "RuntimeDefault"}));
        assert_eq!((profile(2), profile(3)), (Value::Null, Value::Null));
    }
}
