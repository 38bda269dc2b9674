//! The keys of objects in the store: `resource/namespace/name`. It performs no I/O.

use std::cmp::Ordering;
use std::fmt;

/// Where an object is stored. Ordered as its text is, which is the order of lists.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// `pods`, or `deployments.apps`.
    pub resource: String,
    /// Empty for cluster-scoped objects.
    pub namespace: String,
    pub name: String,
}

impl Key {
    pub fn new(
        resource: impl Into<String>,
        namespace: impl Into<String>,
        name: impl Into<String>,
    ) -> Self {
        Self { resource: resource.into(), namespace: namespace.into(), name: name.into() }
    }

    /// The key of a text form; `None` where it is none. A name may contain slashes.
    pub fn parse(text: &str) -> Option<Self> {
        let (resource, rest) = text.split_once('/')?;
        let (namespace, name) = rest.split_once('/')?;
        if resource.is_empty() || name.is_empty() {
            return None;
        }
        Some(Self::new(resource, namespace, name))
    }

    /// What is behind the resource: the key within a kind.
    pub(super) fn within_kind(text: &str) -> &str {
        text.split_once('/').map_or("", |(_, rest)| rest)
    }

    fn bytes(&self) -> impl Iterator<Item = u8> {
        let parts = [&self.resource, "/", &self.namespace, "/", &self.name];
        parts.into_iter().flat_map(str::bytes)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.resource, self.namespace, self.name)
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        self.bytes().cmp(other.bytes())
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_are_read_from_their_text() {
        let cases = [
            ("pods/default/web", Some(Key::new("pods", "default", "web"))),
            ("nodes//one", Some(Key::new("nodes", "", "one"))),
            ("roles.rbac/ns/system:a/b", Some(Key::new("roles.rbac", "ns", "system:a/b"))),
            ("pods/default/", None),
            ("pods/default", None),
            ("/default/web", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(Key::parse(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn keys_are_ordered_as_their_texts(
            a in ("[a-b.-]{1,3}", "[a-b.-]{0,3}", "[a-b.-]{1,3}"),
            b in ("[a-b.-]{1,3}", "[a-b.-]{0,3}", "[a-b.-]{1,3}"),
        ) {
            let (a, b) = (Key::new(a.0, a.1, a.2), Key::new(b.0, b.1, b.2));
            prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
            prop_assert_eq!(Key::parse(&a.to_string()), Some(a));
        }
    }
}
