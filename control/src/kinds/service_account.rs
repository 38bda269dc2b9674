//! ServiceAccounts. Source: `pkg/registry/core/serviceaccount/strategy.go`.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ObjectReference, ServiceAccount as Object};
use serde_json::Value;

use super::{FieldError, Kind, KindInfo, meta};

pub struct ServiceAccounts;

impl Kind for ServiceAccounts {
    type Object = Object;
    const INFO: KindInfo = KindInfo {
        short_names: &["sa"],
        ..KindInfo::namespaced(
            "",
            "v1",
            "ServiceAccount",
            "serviceaccounts",
            "serviceaccount",
            "io.k8s.api.core.v1.ServiceAccount",
        )
    };

    fn prepare_create(object: &mut Object) {
        keep_names(object);
    }

    fn prepare_update(new: &mut Object, _old: &Object) {
        keep_names(new);
    }

    fn validate(_object: &Object) -> Vec<FieldError> {
        Vec::new()
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
    use serde_json::json;

    #[test]
    fn references_to_secrets_keep_only_their_names() {
        let mut object: Object = serde_json::from_value(json!({
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "secrets": [{"name": "a", "namespace": "b", "kind": "Secret"}],
        }))
        .unwrap();
        ServiceAccounts::prepare_create(&mut object);
        assert_eq!(
            object.secrets,
            Some(vec![ObjectReference { name: Some("a".into()), ..Default::default() }])
        );
    }
}
