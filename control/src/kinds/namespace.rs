//! Namespaces.
//!
//! Source: `pkg/registry/core/namespace/strategy.go`, `ValidateNamespace…`.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use serde_json::Value;

use super::rules::pod_security;
use super::{Column, Context, FieldError, Kind, KindInfo, NameRule, Scope, Subresource, Verbs, meta, names};

const NAME_LABEL: &str = "kubernetes.io/metadata.name";
/// In `spec.finalizers` until the namespace controller has emptied the namespace.
pub const FINALIZER: &str = "kubernetes";

pub struct Namespaces;

impl Kind for Namespaces {
    type Object = Namespace;

    const INFO: KindInfo = KindInfo {
        short_names: &["ns"],
        scope: Scope::Cluster,
        names: NameRule::Label,
        verbs: Verbs::AllButDeleteCollection,
        returns_deleted: true,
        managed_as_sent: true,
        subresources: &[Subresource::Status, Subresource::Finalize],
        ..KindInfo::namespaced(
            "",
            "v1",
            "Namespace",
            "namespaces",
            "namespace",
            "io.k8s.api.core.v1.Namespace",
        )
    };

    fn default(namespace: &mut Namespace) {
        label_with_name(namespace);
        let status = namespace.status.get_or_insert_default();
        status.phase.get_or_insert_with(|| "Active".to_owned());
    }

    fn prepare_create(namespace: &mut Namespace, _context: &Context<'_>) {
        // Defaulting may have run before the name was generated.
        label_with_name(namespace);
        namespace.status = None;
        namespace.status.get_or_insert_default().phase = Some("Active".to_owned());
        let finalizers = namespace.spec.get_or_insert_default().finalizers.get_or_insert_default();
        if !finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
            finalizers.push(FINALIZER.to_owned());
        }
    }

    fn prepare_update(new: &mut Namespace, old: &Namespace, _context: &Context<'_>) {
        // They go through the `finalize` subresource alone.
        let finalizers = old.spec.as_ref().and_then(|spec| spec.finalizers.clone());
        new.spec.get_or_insert_default().finalizers = finalizers;
    }

    fn validate(namespace: &Namespace) -> Vec<FieldError> {
        finalizers(namespace)
            .flat_map(|finalizer| validate_finalizer(finalizer, "spec.finalizers"))
            .collect()
    }

    fn validate_create(namespace: &Namespace) -> Vec<FieldError> {
        pod_security::validate(namespace.metadata.labels.as_ref())
    }

    /// What was wrong before may stay.
    fn validate_update(new: &Namespace, old: &Namespace) -> Vec<FieldError> {
        let problems = pod_security::validate(new.metadata.labels.as_ref());
        if problems == pod_security::validate(old.metadata.labels.as_ref()) {
            return Vec::new();
        }
        problems
    }

    fn validate_status(new: &Namespace, _old: &Namespace) -> Vec<FieldError> {
        let phase = phase(new);
        let (wanted, detail) = match new.metadata.deletion_timestamp {
            None => ("Active", "may only be 'Active' if `deletionTimestamp` is empty"),
            Some(_) => {
                ("Terminating", "may only be 'Terminating' if `deletionTimestamp` is not empty")
            }
        };
        if phase == wanted {
            return Vec::new();
        }
        vec![FieldError::invalid("status.Phase", phase, detail)]
    }

    fn columns() -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::NAME,
            Column::new("Status", "string", 0, "The status of the namespace"),
            Column::AGE,
        ];
        COLUMNS
    }

    fn cells(namespace: &Namespace, now: Timestamp) -> Vec<Value> {
        vec![
            meta::object_name(&namespace.metadata),
            phase(namespace).into(),
            meta::object_age(&namespace.metadata, now),
        ]
    }

    fn selectable(namespace: &Namespace) -> Vec<(&'static str, String)> {
        vec![("status.phase", phase(namespace).to_owned())]
    }
}

/// All problems of a request to the `finalize` subresource, which may change `spec.finalizers`.
pub fn validate_finalize(new: &Namespace) -> Vec<FieldError> {
    finalizers(new)
        .enumerate()
        .flat_map(|(index, finalizer)| {
            validate_finalizer(finalizer, &format!("spec.finalizers[{index}]"))
        })
        .collect()
}

fn label_with_name(namespace: &mut Namespace) {
    let Some(name) = namespace.metadata.name.clone().filter(|name| !name.is_empty()) else {
        return;
    };
    namespace.metadata.labels.get_or_insert_default().insert(NAME_LABEL.to_owned(), name);
}

fn phase(namespace: &Namespace) -> &str {
    let status = namespace.status.as_ref();
    status.and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

fn finalizers(namespace: &Namespace) -> impl Iterator<Item = &String> {
    namespace.spec.iter().flat_map(|spec| spec.finalizers.iter().flatten())
}

fn validate_finalizer(finalizer: &str, path: &str) -> Vec<FieldError> {
    let mut errors = meta::invalid_each(path, finalizer, names::label_key(finalizer));
    if !meta::is_known_finalizer(finalizer) {
        errors.push(FieldError::invalid(path, finalizer, meta::UNQUALIFIED));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::{context, defaulted, problems, row, status_problems};
    use serde_json::json;

    #[test]
    fn a_new_namespace_is_active_and_bears_its_name_as_a_label() {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}});
        assert_eq!(
            defaulted::<Namespaces>(namespace),
            json!({
                "apiVersion": "v1", "kind": "Namespace",
                "metadata": {"name": "a", "labels": {"kubernetes.io/metadata.name": "a"}},
                "spec": {},
                "status": {"phase": "Active"},
            })
        );
    }

    #[test]
    fn a_create_sets_the_finalizer_once_and_an_update_keeps_them() {
        let mut namespace: Namespace = serde_json::from_value(
            json!({"metadata": {"name": "a"}, "spec": {"finalizers": ["x.io/a"]}}),
        )
        .unwrap();
        Namespaces::prepare_create(&mut namespace, &context());
        Namespaces::prepare_create(&mut namespace, &context());
        let kept = namespace.spec.clone().unwrap().finalizers.unwrap();
        assert_eq!(kept, ["x.io/a", "kubernetes"]);
        let mut new = namespace.clone();
        new.spec = None;
        Namespaces::prepare_update(&mut new, &namespace, &context());
        assert_eq!(new, namespace);
    }

    #[test]
    fn finalizers_are_standard_or_qualified() {
        let namespace = json!({"metadata": {}, "spec": {"finalizers": ["kubernetes", "mine"]}});
        assert_eq!(
            problems::<Namespaces>(&namespace),
            [
                "spec.finalizers: Invalid value: \"mine\": name is neither a standard finalizer name nor is it fully qualified"
            ]
        );
        let namespace: Namespace = serde_json::from_value(namespace).unwrap();
        assert_eq!(validate_finalize(&namespace)[0].path, "spec.finalizers[1]");
    }

    #[test]
    fn the_phase_follows_the_deletion() {
        let phase = |phase: &str| json!({"metadata": {}, "status": {"phase": phase}});
        let old = phase("Active");
        assert_eq!(status_problems::<Namespaces>(&phase("Active"), &old), [""; 0]);
        assert_eq!(
            status_problems::<Namespaces>(&phase("Terminating"), &old),
            [
                "status.Phase: Invalid value: \"Terminating\": may only be 'Active' if `deletionTimestamp` is empty"
            ]
        );
    }

    #[test]
    fn the_phase_is_shown() {
        let namespace = json!({
            "metadata": {"name": "a", "creationTimestamp": "2026-01-01T23:59:00Z"},
            "status": {"phase": "Terminating"},
        });
        assert_eq!(row::<Namespaces>(&namespace), ["a", "Terminating", "60s"]);
    }
}
