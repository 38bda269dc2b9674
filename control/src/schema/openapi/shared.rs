//! The parameters that many operations of version 2 have in common: written once, referred to.
//!
//! Source: `k8s.io/kube-openapi/pkg/builder/parameters.go`.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use serde_json::{Map, Value, json};

/// Puts a reference in the place of each parameter of all paths that can be shared, and answers those.
pub(super) fn take_out(paths: &mut Map<String, Value>) -> Map<String, Value> {
    let mut shared = Shared::default();
    for path in paths.values_mut().filter_map(Value::as_object_mut) {
        for (key, value) in path {
            let list = if key == "parameters" { Some(value) } else { value.get_mut("parameters") };
            for parameter in list.and_then(Value::as_array_mut).into_iter().flatten() {
                if is_shared(parameter) {
                    *parameter = json!({ "$ref": shared.reference(parameter) });
                }
            }
        }
    }
    shared.parameters
}

/// Bodies and names are of a kind, and old clients look for `dryRun` and `fieldValidation` in place.
fn is_shared(parameter: &Value) -> bool {
    match parameter["name"].as_str() {
        Some("name" | "dryRun" | "fieldValidation") => false,
        Some("body") => parameter["schema"]["$ref"]
            .as_str()
            .is_some_and(|name| name.starts_with("#/definitions/io.k8s.apimachinery")),
        _ => true,
    }
}

#[derive(Default)]
struct Shared {
    parameters: Map<String, Value>,
    /// By their text.
    names: BTreeMap<String, String>,
}

impl Shared {
    fn reference(&mut self, parameter: &Value) -> String {
        let text = parameter.to_string();
        let name = match self.names.get(&text) {
            Some(name) => name.clone(),
            None => {
                let name = self.new_name(parameter["name"].as_str().unwrap_or("param"), &text);
                self.parameters.insert(name.clone(), parameter.clone());
                self.names.insert(text, name.clone());
                name
            }
        };
        format!("#/parameters/{name}")
    }

    fn new_name(&self, name: &str, text: &str) -> String {
        let hash = URL_SAFE.encode(&fnv1(text.as_bytes()).to_be_bytes()[..6]);
        let mut name = format!("{name}-{hash}");
        while self.parameters.contains_key(&name) {
            name.push('_');
        }
        name
    }
}

/// FNV-1, 64 bits.
fn fnv1(bytes: &[u8]) -> u64 {
    let start = 0xcbf2_9ce4_8422_2325;
    bytes
        .iter()
        .fold(start, |hash: u64, byte| hash.wrapping_mul(0x0100_0000_01b3) ^ u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The hash of upstream's own text of the parameter.
    #[test]
    fn names_are_made_as_upstream_makes_them() {
        let text = r##"{"name":"body","in":"body","schema":{"$ref":"#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"}}"##;
        assert!(Shared::default().new_name("body", text).starts_with("body-"));
    }

    #[test]
    fn what_recurs_is_written_once() {
        let limit = json!({ "name": "limit", "in": "query", "type": "integer" });
        let name = json!({ "name": "name", "in": "path", "type": "string" });
        let paths = json!({
            "/a": { "get": { "parameters": [limit, name] } },
            "/b": { "parameters": [limit] },
        });
        let Value::Object(mut paths) = paths else { unreachable!() };
        let shared = take_out(&mut paths);
        let names: Vec<&String> = shared.keys().collect();
        assert_eq!(names.len(), 1);
        let reference = json!({ "$ref": format!("#/parameters/{}", names[0]) });
        assert_eq!(paths["/a"]["get"]["parameters"], json!([reference, name]));
        assert_eq!(paths["/b"]["parameters"], json!([reference]));
    }
}
