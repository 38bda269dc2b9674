//! ServiceAccounts. Source: `pkg/registry/core/serviceaccount/strategy.go`.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ObjectReference, ServiceAccount as Object};
use serde_json::Value;

use super::{Column, Context, FieldError, Kind, KindInfo, Subresource, meta};

const ENFORCE: &str = "kubernetes.io/enforce-mountable-secrets";

pub struct ServiceAccounts;

impl Kind for ServiceAccounts {
    type Object = Object;
    const INFO: KindInfo = KindInfo {
        short_names: &["sa"],
        returns_deleted: true,
        subresources: &[Subresource::Token],
        ..KindInfo::namespaced(
            "",
            "v1",
            "ServiceAccount",
            "serviceaccounts",
            "serviceaccount",
            "io.k8s.api.core.v1.ServiceAccount",
        )
    };

    fn prepare_create(object: &mut Object, _context: &Context<'_>) {
        keep_names(object);
    }

    fn prepare_update(new: &mut Object, _old: &Object, _context: &Context<'_>) {
        keep_names(new);
    }

    fn validate(_object: &Object) -> Vec<FieldError> {
        Vec::new()
    }

    /// Only of an annotation that this write sets.
    fn warnings(new: &Object, old: Option<&Object>) -> Vec<String> {
        let has = |object: &Object| {
            let annotations = object.metadata.annotations.as_ref();
            annotations.is_some_and(|annotations| annotations.contains_key(ENFORCE))
        };
        if !has(new) || old.is_some_and(has) {
            return Vec::new();
        }
        vec![format!(
            "metadata.annotations[{ENFORCE}]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets"
        )]
    }

    fn columns() -> &'static [Column] {
        const COLUMNS: &[Column] = &[Column::NAME, Column::AGE];
        COLUMNS
    }

    fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
        vec![meta::object_name(&object.metadata), meta::object_age(&object.metadata, now)]
    }
}

/// Of a reference to a Secret only the name counts.
fn keep_names(object: &mut Object) {
    for secret in object.secrets.iter_mut().flatten() {
        *secret = ObjectReference { name: secret.name.take(), ..ObjectReference::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::{context, warnings};
    use serde_json::json;

    #[test]
    fn an_annotation_is_told_of_when_it_is_set() {
        let with = || json!({"metadata": {"annotations": {ENFORCE: "true"}}});
        let without = || json!({"metadata": {}});
        let count = |new, old| warnings::<ServiceAccounts>(new, old).len();
        assert_eq!(count(with(), None), 1);
        assert_eq!(count(with(), Some(without())), 1);
        assert_eq!(count(with(), Some(with())), 0);
        assert_eq!(count(without(), None), 0);
    }

    #[test]
    fn references_to_secrets_keep_only_their_names() {
        let mut object: Object = serde_json::from_value(json!({
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "secrets": [{"name": "a", "namespace": "b", "kind": "Secret"}],
        }))
        .unwrap();
        ServiceAccounts::prepare_create(&mut object, &context());
        assert_eq!(
            object.secrets,
            Some(vec![ObjectReference { name: Some("a".into()), ..Default::default() }])
        );
    }
}
