//! What the controllers that protect storage share: a finalizer is there until nobody uses the
//! object any more.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::json;

use crate::engine::{Action, Key, Plan, merge_patch};

/// What becomes of a finalizer: an object that stays gets it where it lacks it, one that goes loses
/// it when `user` is `None`.
pub(super) fn plan(
    key: &Key,
    metadata: &ObjectMeta,
    finalizer: &str,
    user: impl FnOnce() -> Option<String>,
) -> Plan {
    let finalizers = metadata.finalizers.as_deref().unwrap_or_default();
    let has = finalizers.iter().any(|known| known == finalizer);
    match (metadata.deletion_timestamp.is_some(), has) {
        (true, true) => match user() {
            Some(user) => Plan::nothing(format!("used by {user}")),
            None => {
                let rest = finalizers.iter().filter(|known| *known != finalizer).cloned();
                write(key, metadata, rest.collect(), "deleted, and not used")
            }
        },
        (false, false) => {
            let all = finalizers.iter().cloned().chain([finalizer.to_owned()]);
            write(key, metadata, all.collect(), "not protected")
        }
        _ => Plan::nothing("as it should be"),
    }
}

fn write(key: &Key, metadata: &ObjectMeta, finalizers: Vec<String>, why: &str) -> Plan {
    let patch = merge_patch(metadata, json!({ "metadata": { "finalizers": finalizers } }));
    Plan {
        actions: vec![Action::Patch { key: key.clone(), subresource: None, patch, done: None }],
        why: why.to_owned(),
        ..Plan::default()
    }
}
