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

/// Warnings of annotations that no field says the same as: of new pods, before they are filled in.
pub fn warnings(pod: &Pod) -> Vec<String> {
    let annotations = pod.metadata.annotations.as_ref();
    if !annotations.is_some_and(|all| all.keys().any(|key| key.starts_with(APP_ARMOR))) {
        return Vec::new();
    }
    let mut filled = pod.clone();
    let mut warnings = Vec::new();
    visit_unfilled(&mut filled, |key, profile, of_pod, _| {
        // What is wrong is told of, too.
        if profile.is_none() || profile != of_pod {
            warnings.push(format!(
                "metadata.annotations[{key}]: deprecated since v1.30; use the \"appArmorProfile\" field instead"
            ));
        }
    });
    warnings
}

/// Fills in the profiles of containers that only an annotation names.
pub fn fill_in(pod: &mut Pod) {
    visit_unfilled(pod, |_, profile, of_pod, context| {
        // What the pod says already need not be repeated.
        if profile.is_some() && profile != of_pod {
            context.get_or_insert_default().app_armor_profile = profile.cloned();
        }
    });
}

/// Calls `visit` for each container with an annotation and no field: with the annotation's key, the
/// sound profile that it stands for, the pod's own profile, and the container's security context.
fn visit_unfilled(
    pod: &mut Pod,
    mut visit: impl FnMut(
        &str,
        Option<&AppArmorProfile>,
        Option<&AppArmorProfile>,
        &mut Option<SecurityContext>,
    ),
) {
    let (Some(annotations), Some(spec)) = (&pod.metadata.annotations, &mut pod.spec) else {
        return;
    };
    if spec.os.as_ref().is_some_and(|os| os.name == "windows") {
        return;
    }
    let context = spec.security_context.as_ref();
    let of_pod = context.and_then(|context| context.app_armor_profile.clone());
    let mut visit = |name: &str, context: &mut Option<SecurityContext>| {
        let is_set = context.as_ref().is_some_and(|own| own.app_armor_profile.is_some());
        let key = format!("{APP_ARMOR}{name}");
        let Some(annotation) = annotations.get(&key).filter(|_| !is_set) else { return };
        let profile = profile_of(annotation).filter(|profile| {
            let mut problems = Vec::new();
            security::validate_app_armor(Some(profile), "", &mut problems);
            problems.is_empty()
        });
        visit(&key, profile.as_ref(), of_pod.as_ref(), context);
    };
    let inits = spec.init_containers.iter_mut().flatten();
    for container in inits.chain(&mut spec.containers) {
        visit(&container.name, &mut container.security_context);
    }
    for container in spec.ephemeral_containers.iter_mut().flatten() {
        visit(&container.name, &mut container.security_context);
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
