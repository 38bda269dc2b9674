//! The text form of a set, `fieldsV1`.
//!
//! Source: `fieldpath/serialize.go`.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};

use super::element::Element;
use super::set::{Node, Set};
use crate::schema::key::Key;

/// Appends the set's JSON.
pub fn write(set: &Set<'_>, out: &mut Vec<u8>) {
    out.push(b'{');
    write_nodes(set, out, true);
    out.push(b'}');
}

fn write_nodes(set: &Set<'_>, out: &mut Vec<u8>, mut first: bool) {
    for node in set.nodes() {
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        write_key(&node.element, out);
        out.extend_from_slice(b":{");
        if node.member && !node.children.is_empty() {
            out.extend_from_slice(b"\".\":{}");
        }
        write_nodes(&node.children, out, !node.member);
        out.push(b'}');
    }
}

fn write_key(element: &Element<'_>, out: &mut Vec<u8>) {
    let plain = |name: &str| {
        name.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\' && byte != 0x7f)
    };
    match element {
        Element::Field(name) if plain(name) => {
            out.extend_from_slice(b"\"f:");
            out.extend_from_slice(name.as_bytes());
            out.push(b'"');
        }
        other => serde_json::to_writer(out, &other.text()).expect("text goes to memory"),
    }
}

/// Reads a set.
pub fn parse(text: &str) -> Result<Set<'_>, String> {
    let mut json = serde_json::Deserializer::from_str(text);
    let (set, _) = json.deserialize_any(Level).map_err(|error| error.to_string())?;
    json.end().map_err(|error| error.to_string())?;
    Ok(set)
}

/// One level of the tree: what is below, and whether the level itself is a member.
struct Level;

impl<'de> DeserializeSeed<'de> for Level {
    type Value = (Set<'de>, bool);

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level {
    type Value = (Set<'de>, bool);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of fields")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok((Set::default(), true))
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut nodes = Vec::new();
        let mut member = false;
        while let Some(Key(key)) = map.next_key()? {
            if key == "." {
                member = true;
                map.next_value::<serde::de::IgnoredAny>()?;
                continue;
            }
            match Element::parse(key).map_err(M::Error::custom)? {
                None => {
                    map.next_value::<serde::de::IgnoredAny>()?;
                }
                Some(element) => {
                    let (children, member) = map.next_value_seed(Level)?;
                    nodes.push(Node { element, member, children });
                }
            }
        }
        let set = Set::of_nodes(nodes);
        let member = member || set.is_empty();
        Ok((set, member))
    }
}
