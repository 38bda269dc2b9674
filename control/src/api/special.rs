//! What upstream's generic handlers know of namespaces. Pure.

use serde_json::Value;

use crate::kinds::KindInfo;

pub fn is_namespaces(info: &KindInfo) -> bool {
    info.group.is_empty() && info.resource == "namespaces"
}

/// Whether an emptied list of finalizers lets a deleting object go. A namespace also waits for
/// `spec.finalizers`.
pub fn may_vanish(info: &KindInfo, object: &Value) -> bool {
    !is_namespaces(info) || spec_finalizers(object).is_empty()
}

pub fn spec_finalizers(namespace: &Value) -> &[Value] {
    namespace["spec"]["finalizers"].as_array().map_or(&[], Vec::as_slice)
}
