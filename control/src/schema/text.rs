//! JSON and YAML text → value, with what strict decoding reports: fields that stand twice.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, EnumAccess, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::go_json;
use super::path::Path;

/// Upstream stops collecting there.
const COMPLAINTS_MAX: usize = 100;
/// Each costs another reading of the text.
const YAML_COMPLAINTS_MAX: usize = 16;

/// Reads JSON. The second answer is `duplicate field "spec.replicas"` for each; the last one counts.
pub fn decode_json(bytes: &[u8]) -> Result<(Value, Vec<String>), String> {
    let found = Found::default();
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Seed { path: Path::Root, found: &found }
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value))
        .map_err(|error| go_json::complaint(bytes).unwrap_or_else(|| error.to_string()))?;
    let mut complaints: Vec<String> = Vec::new();
    for path in found.0.into_inner().duplicates {
        // A field that stands three times is named once.
        let complaint = format!("duplicate field {path:?}");
        if !complaints.contains(&complaint) {
            complaints.push(complaint);
        }
    }
    Ok((value, complaints))
}

/// Complaints about a JSON text in the order in which a decoder meets them: an unknown field at its
/// key, a duplicate at the key that repeats another. Of what stands in an unknown field nothing
/// is said.
pub fn in_order(bytes: &[u8], duplicates: Vec<String>, unknown: Vec<String>) -> Vec<String> {
    if duplicates.is_empty() && unknown.len() < 2 {
        return unknown;
    }
    let found = Found(RefCell::new(Findings { keys: Some(Vec::new()), ..Findings::default() }));
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    // The text was read before: it is JSON.
    Seed { path: Path::Root, found: &found }.deserialize(&mut deserializer).ok();
    let keys = found.0.into_inner().keys.unwrap_or_default();
    let wanted: HashSet<String> = duplicates.into_iter().chain(unknown).collect();
    let (mut ordered, mut told, mut met) = (Vec::new(), HashSet::new(), HashSet::new());
    let mut left_out: Option<&str> = None;
    for path in &keys {
        if left_out.is_some_and(|unknown| is_within(path, unknown)) {
            continue;
        }
        let mut complaint = format!("unknown field {path:?}");
        if wanted.contains(&complaint) {
            left_out = Some(path.as_str());
        } else if met.insert(path) {
            continue;
        } else {
            complaint = format!("duplicate field {path:?}");
        }
        if wanted.contains(&complaint) && told.insert(complaint.clone()) {
            ordered.push(complaint);
        }
    }
    ordered.truncate(COMPLAINTS_MAX);
    ordered
}

/// Whether a path is the other, or leads into it.
fn is_within(path: &str, other: &str) -> bool {
    path.strip_prefix(other).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// Reads one YAML document. The second answer is `line 10: key "foo" already set in map` for each
/// key that stands twice; the last one counts.
pub fn decode_yaml(bytes: &[u8]) -> Result<(Value, Vec<String>), String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "yaml: invalid UTF-8".to_owned())?;
    let found = Found::default();
    let mut value = Seed { path: Path::Root, found: &found }
        .deserialize(serde_yaml::Deserializer::from_str(text))
        .map_err(|error| format!("yaml: {}", go_yaml(&error)))?;
    let found = found.0.into_inner();
    if found.merges {
        apply_merges(&mut value)?;
    }
    let count = found.duplicates.len().min(YAML_COMPLAINTS_MAX);
    let duplicates = (0..count).filter_map(|at| yaml_duplicate(text, at));
    Ok((value, duplicates.collect()))
}

/// Why a text is no YAML, in the words and with the line of Go's reader: it counts lines from zero
/// where its parser stops, and from one where its scanner does.
fn go_yaml(error: &serde_yaml::Error) -> String {
    let text = error.to_string();
    let (problem, context) = match text.split_once(", ") {
        Some((problem, context)) => (problem, context),
        None => (text.as_str(), ""),
    };
    let place = |part: &str| -> Option<(usize, String)> {
        let (what, place) = part.split_once(" at line ")?;
        let line = place.split(' ').next()?.parse().ok()?;
        Some((line, what.to_owned()))
    };
    let Some((mut line, problem)) = place(problem) else { return problem.to_owned() };
    if let Some((begun, _)) = place(context).filter(|(begun, _)| *begun > 1) {
        line = begun;
    }
    let scans = context.starts_with("while scanning")
        || problem.starts_with("found ")
        || problem.ends_with("not allowed in this context");
    match (line, scans) {
        (0 | 1, _) => problem,
        (line, true) => format!("line {line}: {problem}"),
        (line, false) => format!("line {}: {problem}", line - 1),
    }
}

/// Says where the duplicate at `at` stands. Lines are known only of errors, so the text is read
/// once more and stops there: duplicates are rare.
fn yaml_duplicate(text: &str, at: usize) -> Option<String> {
    let found = Found(RefCell::new(Findings { stop_at: Some(at), ..Findings::default() }));
    let error = Seed { path: Path::Root, found: &found }
        .deserialize(serde_yaml::Deserializer::from_str(text))
        .err()?;
    let key = found.0.into_inner().stopped_by?;
    let line = error.location().map_or(0, |location| location.line());
    Some(format!("line {line}: key {key:?} already set in map"))
}

#[derive(Default)]
struct Findings {
    duplicates: Vec<String>,
    /// The paths of all keys in the order of the text, where they are asked for.
    keys: Option<Vec<String>>,
    /// Whether YAML's merge key `<<` was met.
    merges: bool,
    /// The duplicate to stop at with an error, and its key once it is met.
    stop_at: Option<usize>,
    stopped_by: Option<String>,
}

#[derive(Default)]
struct Found(RefCell<Findings>);

impl Found {
    fn duplicate(&self, path: &Path<'_>, key: &str) -> bool {
        let mut findings = self.0.borrow_mut();
        if findings.stop_at == Some(findings.duplicates.len()) {
            findings.stopped_by = Some(key.to_owned());
            return true;
        }
        if findings.duplicates.len() < COMPLAINTS_MAX {
            findings.duplicates.push(Path::Key(path, key).to_string());
        }
        false
    }
}

/// Reads one value and knows where it stands.
#[derive(Clone, Copy)]
struct Seed<'a> {
    path: Path<'a>,
    found: &'a Found,
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom(format_args!("json: unsupported value: {value}")))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.deserialize(deserializer)
    }

    /// A value with a YAML tag of the user's own: the value counts.
    fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<Value, A::Error> {
        use serde::de::VariantAccess as _;
        let (_tag, contents) = data.variant::<String>()?;
        contents.newtype_variant_seed(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        loop {
            let path = Path::Index(&self.path, array.len());
            match items.next_element_seed(Seed { path, found: self.found })? {
                Some(item) => array.push(item),
                None => return Ok(Value::Array(array)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = entries.next_key_seed(Key { map: &map, seed: &self })? {
            let path = Path::Key(&self.path, &key);
            let value = entries.next_value_seed(Seed { path, found: self.found })?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

/// Reads a key; YAML's may be numbers and booleans. A duplicate is noticed here, where an error
/// carries the key's own line.
struct Key<'a> {
    map: &'a Map<String, Value>,
    seed: &'a Seed<'a>,
}

impl Key<'_> {
    fn take<E: serde::de::Error>(self, key: String) -> Result<String, E> {
        if self.map.contains_key(&key) && self.seed.found.duplicate(&self.seed.path, &key) {
            return Err(E::custom("already set"));
        }
        if let Some(keys) = &mut self.seed.found.0.borrow_mut().keys {
            keys.push(Path::Key(&self.seed.path, &key).to_string());
        }
        if key == "<<" {
            self.seed.found.0.borrow_mut().merges = true;
        }
        Ok(key)
    }
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Key<'_> {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<String, E> {
        self.take(key.to_owned())
    }

    fn visit_string<E: serde::de::Error>(self, key: String) -> Result<String, E> {
        self.take(key)
    }

    fn visit_bool<E: serde::de::Error>(self, key: bool) -> Result<String, E> {
        self.take(key.to_string())
    }

    fn visit_i64<E: serde::de::Error>(self, key: i64) -> Result<String, E> {
        self.take(key.to_string())
    }

    fn visit_u64<E: serde::de::Error>(self, key: u64) -> Result<String, E> {
        self.take(key.to_string())
    }

    fn visit_f64<E: serde::de::Error>(self, key: f64) -> Result<String, E> {
        self.take(key.to_string())
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<String, E> {
        self.take("null".to_owned())
    }
}

/// Resolves `<<: *anchor`, as upstream's YAML reader does: a key of the map itself wins.
fn apply_merges(value: &mut Value) -> Result<(), String> {
    match value {
        Value::Array(items) => items.iter_mut().try_for_each(apply_merges),
        Value::Object(map) => {
            map.values_mut().try_for_each(apply_merges)?;
            let sources = match map.remove("<<") {
                None => return Ok(()),
                Some(Value::Array(sources)) => sources,
                Some(source) => vec![source],
            };
            for source in sources {
                let Value::Object(source) = source else {
                    return Err(
                        "yaml: map merge requires map or sequence of maps as the value".into()
                    );
                };
                for (key, value) in source {
                    map.entry(key).or_insert(value);
                }
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_duplicates_are_named_and_the_last_one_counts() {
        let text = br#"{"spec": {"replicas": 1, "list": [{}, {"a": 1, "a": 2}], "replicas": 2}}"#;
        let (value, duplicates) = decode_json(text).expect("JSON");
        assert_eq!(value, json!({ "spec": { "replicas": 2, "list": [{}, { "a": 2 }] } }));
        assert_eq!(
            duplicates,
            [r#"duplicate field "spec.list[1].a""#, r#"duplicate field "spec.replicas""#]
        );
    }

    #[test]
    fn json_numbers_keep_their_form() {
        let text = br#"[1, -1, 18446744073709551615, 1.5, 1e3, true, null, "x"]"#;
        let (value, _) = decode_json(text).expect("JSON");
        assert_eq!(value, serde_json::from_slice::<Value>(text).expect("JSON"));
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in ["", "{", "{} {}", "{\"a\": 1,}", "nul", "\"\\ud800\""] {
            assert!(decode_json(text.as_bytes()).is_err(), "{text}");
        }
        assert!(decode_json("[".repeat(100_000).as_bytes()).is_err());
        assert!(decode_json(b"\"\xff\"").is_err());
    }

    #[test]
    fn yaml_duplicates_are_named_by_their_line() {
        let text = "spec:\n  replicas: 1\n  foo: a\n  replicas: 2\nspec2:\n- a: 1\n  a: 2\n";
        let (value, duplicates) = decode_yaml(text.as_bytes()).expect("YAML");
        assert_eq!(value["spec"]["replicas"], 2);
        assert_eq!(
            duplicates,
            [
                r#"line 4: key "replicas" already set in map"#,
                r#"line 7: key "a" already set in map"#,
            ]
        );
    }

    #[test]
    fn yaml_becomes_json() {
        let text =
            "a: &x\n  1: one\n  true: t\nb:\n  <<: *x\n  c: 1.5\nd: !own v\ne: ~\nf: \"1\"\n";
        let (value, duplicates) = decode_yaml(text.as_bytes()).expect("YAML");
        assert_eq!(
            value,
            json!({ "a": { "1": "one", "true": "t" }, "b": { "1": "one", "true": "t", "c": 1.5 },
                    "d": "v", "e": null, "f": "1" })
        );
        assert!(duplicates.is_empty());
        assert!(decode_yaml(b"a: .nan").is_err());
        assert!(decode_yaml(b"a: [").is_err());
    }
}
