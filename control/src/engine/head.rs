//! What indexes and dispatch look at, of objects of any kind: decoded from the bytes in one pass, all
//! else skipped.
//!
//! Much smaller than a typed view, and kept only while changes of the object come one upon another.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::marker::PhantomData;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
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
    #[serde(deserialize_with = "lenient")]
    node_name: String,
    #[serde(deserialize_with = "lenient")]
    selector: Selector,
    tolerations: Fingerprint,
    #[serde(rename = "podCIDR", deserialize_with = "lenient")]
    pod_cidr: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct HeadStatus {
    #[serde(deserialize_with = "lenient")]
    phase: String,
    conditions: Fingerprint,
    #[serde(rename = "podIP")]
    pod_ip: Fingerprint,
    #[serde(rename = "podIPs")]
    pod_ips: Fingerprint,
}

/// A service's selector. Those of other kinds are no pairs of texts: empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Selector(BTreeMap<String, String>);

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
    T: Fitting<'de>,
{
    deserializer.deserialize_any(Lenient(PhantomData))
}

/// What is read where it has the form that is looked for, and is empty where it has another.
trait Fitting<'de>: Default {
    fn of_text(_text: &str) -> Self {
        Self::default()
    }

    /// Must take all of the map.
    fn of_map<A: MapAccess<'de>>(map: A) -> Result<Self, A::Error> {
        IgnoredAny.visit_map(map)?;
        Ok(Self::default())
    }
}

impl Fitting<'_> for String {
    fn of_text(text: &str) -> Self {
        text.to_owned()
    }
}

impl<'de> Fitting<'de> for HeadSpec {
    fn of_map<A: MapAccess<'de>>(map: A) -> Result<Self, A::Error> {
        Self::deserialize(MapAccessDeserializer::new(map))
    }
}

impl<'de> Fitting<'de> for HeadStatus {
    fn of_map<A: MapAccess<'de>>(map: A) -> Result<Self, A::Error> {
        Self::deserialize(MapAccessDeserializer::new(map))
    }
}

impl<'de> Fitting<'de> for Selector {
    fn of_map<A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        let mut pairs = BTreeMap::new();
        let mut fits = true;
        while let Some((key, Text(value))) = map.next_entry::<String, Text>()? {
            match value {
                Some(value) => drop(pairs.insert(key, value)),
                None => fits = false,
            }
        }
        Ok(if fits { Self(pairs) } else { Self::default() })
    }
}

/// A text; `None` for anything else.
#[derive(Default)]
struct Text(Option<String>);

impl Fitting<'_> for Text {
    fn of_text(text: &str) -> Self {
        Self(Some(text.to_owned()))
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        lenient(deserializer)
    }
}

struct Lenient<T>(PhantomData<T>);

impl<'de, T: Fitting<'de>> Visitor<'de> for Lenient<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<T, E> {
        Ok(T::default())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<T, E> {
        Ok(T::default())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<T, E> {
        Ok(T::default())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<T, E> {
        Ok(T::default())
    }

    fn visit_unit<E: Error>(self) -> Result<T, E> {
        Ok(T::default())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        Ok(T::of_text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<T, A::Error> {
        IgnoredAny.visit_seq(list)?;
        Ok(T::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::of_map(map)
    }
}

impl Head {
    pub fn of(object: &Cached) -> Self {
        serde_json::from_slice(object.stored()).unwrap_or_default()
    }

    /// Sooner read again than kept: that of an event.
    pub(super) fn is_small(&self) -> bool {
        self.metadata.labels.is_empty() && self.metadata.owner_references.is_empty()
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
    pub fn selector(&self) -> &BTreeMap<String, String> {
        &self.spec.selector.0
    }

    pub fn has_pod_cidr(&self) -> bool {
        !self.spec.pod_cidr.is_empty()
    }

    /// A pod that has ended.
    pub fn is_finished(&self) -> bool {
        matches!(&*self.status.phase, "Succeeded" | "Failed")
    }

    /// Whether the indexes have the same places for two states of an object.
    pub(super) fn same_places(&self, other: &Self) -> bool {
        self.metadata.owner_references == other.metadata.owner_references
            && self.metadata.labels == other.metadata.labels
            && self.spec.node_name == other.spec.node_name
            && self.spec.selector == other.spec.selector
    }

    /// Whether two states of a pod look the same to what stands behind services.
    pub fn same_endpoint(&self, other: &Self) -> bool {
        self.metadata.labels == other.metadata.labels
            && self.is_leaving() == other.is_leaving()
            && self.spec.node_name == other.spec.node_name
            && self.status.phase == other.status.phase
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
        let claim = head(
            r#"{"metadata":{"uid":"u"},"spec":{"nodeName":{"not":["a name"]},"podCIDR":[1,{}],"tolerations":7},"status":{"phase":null,"conditions":true}}"#,
        );
        assert_eq!((claim.node(), claim.is_finished()), (None, false));
        assert_eq!(claim.metadata.uid, "u");
        let set = head(r#"{"metadata":{},"spec":{"selector":{"matchLabels":{"a":"b"}}}}"#);
        assert!(set.selector().is_empty());
        let service = head(r#"{"metadata":{},"spec":{"selector":{"a":"b","c":"d"},"type":"x"}}"#);
        assert_eq!(service.selector().len(), 2);
        let half = head(r#"{"metadata":{},"spec":{"selector":{"a":"b","c":1},"nodeName":"n"}}"#);
        assert_eq!((half.selector().len(), half.node()), (0, Some("n")));
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
