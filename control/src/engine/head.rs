//! What indexes and dispatch look at, of objects of any kind: decoded from the bytes, all else skipped.
//!
//! Much smaller than a typed view, and made only while a change is being told.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::cache::Cached;

/// See the module's documentation.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Head {
    pub metadata: HeadMetadata,
    #[serde(deserialize_with = "lenient")]
    spec: HeadSpec,
    #[serde(deserialize_with = "lenient")]
    status: HeadStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HeadMetadata {
    pub uid: String,
    pub labels: BTreeMap<String, String>,
    pub owner_references: Vec<OwnerReference>,
    pub finalizers: Vec<String>,
    deletion_timestamp: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct HeadSpec {
    node_name: String,
    selector: Option<Value>,
    tolerations: Fingerprint,
    #[serde(rename = "podCIDR")]
    pod_cidr: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct HeadStatus {
    phase: Option<Value>,
    conditions: Fingerprint,
    #[serde(rename = "podIP")]
    pod_ip: Fingerprint,
    #[serde(rename = "podIPs")]
    pod_ips: Fingerprint,
}

/// A part that is only ever compared: the hash of its text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Fingerprint(u64);

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <&RawValue>::deserialize(deserializer)?;
        let mut hasher = DefaultHasher::new();
        text.get().hash(&mut hasher);
        Ok(Self(hasher.finish()))
    }
}

/// Kinds use these names for other things too: what does not fit is nothing.
fn lenient<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    let text = <&RawValue>::deserialize(deserializer)?;
    Ok(serde_json::from_str(text.get()).unwrap_or_default())
}

impl Head {
    pub fn of(object: &Cached) -> Self {
        serde_json::from_slice(object.stored()).unwrap_or_default()
    }

    /// Marked for deletion.
    pub fn is_leaving(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }

    pub fn has_finalizer(&self, name: &str) -> bool {
        self.metadata.finalizers.iter().any(|finalizer| finalizer == name)
    }

    /// The reference to its controller.
    pub fn controller(&self) -> Option<&OwnerReference> {
        self.metadata.owner_references.iter().find(|owner| owner.controller == Some(true))
    }

    /// The name of its controller, if that is of this kind.
    pub fn controlled_by(&self, kind: &str) -> Option<&str> {
        self.controller().filter(|owner| owner.kind == kind).map(|owner| owner.name.as_str())
    }

    /// A pod's node.
    pub fn node(&self) -> Option<&str> {
        Some(self.spec.node_name.as_str()).filter(|name| !name.is_empty())
    }

    /// A service's selector.
    pub fn selector(&self) -> BTreeMap<String, String> {
        let selector = self.spec.selector.clone().unwrap_or_default();
        serde_json::from_value(selector).unwrap_or_default()
    }

    pub fn has_pod_cidr(&self) -> bool {
        !self.spec.pod_cidr.is_empty()
    }

    fn phase(&self) -> Option<&str> {
        self.status.phase.as_ref()?.as_str()
    }

    /// A pod that has ended.
    pub fn is_finished(&self) -> bool {
        matches!(self.phase(), Some("Succeeded" | "Failed"))
    }

    /// Whether two states of a pod look the same to what stands behind services.
    pub fn same_endpoint(&self, other: &Self) -> bool {
        self.metadata.labels == other.metadata.labels
            && self.is_leaving() == other.is_leaving()
            && self.spec.node_name == other.spec.node_name
            && self.phase() == other.phase()
            && self.status.conditions == other.status.conditions
            && self.status.pod_ip == other.status.pod_ip
            && self.status.pod_ips == other.status.pod_ips
    }

    /// Whether two states of a pod mean the same to taints.
    pub fn same_tolerance(&self, other: &Self) -> bool {
        self.spec.node_name == other.spec.node_name
            && self.spec.tolerations == other.spec.tolerations
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Head {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_head_skips_what_is_of_another_kind() {
        let secret = head(r#"{"metadata":{"uid":"u"},"data":{"a":"b"},"status":"Failure"}"#);
        assert_eq!(secret.metadata.uid, "u");
        let claim = head(r#"{"metadata":{},"spec":{"nodeName":{"not":"a name"}},"status":{}}"#);
        assert_eq!(claim.node(), None);
        let set = head(r#"{"metadata":{},"spec":{"selector":{"matchLabels":{"a":"b"}}}}"#);
        assert!(set.selector().is_empty());
    }

    #[test]
    fn a_head_of_a_pod_tells_what_services_and_taints_see() {
        let pod = r#"{"metadata":{"labels":{"a":"b"}},"spec":{"nodeName":"n"},"status":{"phase":"Running","podIP":"10.0.0.1"}}"#;
        let (a, b) = (head(pod), head(&pod.replace("0.1", "0.2")));
        assert_eq!(a.node(), Some("n"));
        assert!(!a.same_endpoint(&b));
        assert!(a.same_tolerance(&b));
        assert!(head(&pod.replace("Running", "Failed")).is_finished());
    }
}
