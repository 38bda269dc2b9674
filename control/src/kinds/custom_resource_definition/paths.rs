//! Paths into a schema: `.spec.replicas`, `.spec['odd.name']`.
//!
//! Source: `ValidFieldPath` in `pkg/apiserver/schema/cel/validation.go`.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrBool,
};

/// Whether names may stand in brackets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Arrays {
    Allowed,
    Refused,
}

/// Where a path leads.
#[derive(Debug)]
pub struct Found<'a> {
    pub names: Vec<String>,
    /// `None` where values have no schema.
    pub schema: Option<&'a JSONSchemaProps>,
}

/// Follows a path. The error is upstream's.
pub fn resolve<'a>(
    path: &str,
    schema: &'a JSONSchemaProps,
    arrays: Arrays,
) -> Result<Found<'a>, String> {
    const END: &str = "unexpected end of JSON path";
    let mut found = Found { names: Vec::new(), schema: Some(schema) };
    let mut tokens = tokens(path).into_iter();
    while let Some(token) = tokens.next() {
        match token {
            "[" => {
                if arrays == Arrays::Refused {
                    return Err("array notation is not allowed".to_owned());
                }
                let quoted = tokens.next().ok_or(END)?;
                let name = quoted
                    .strip_prefix('\'')
                    .and_then(|rest| rest.strip_suffix('\''))
                    .ok_or_else(|| format!("expected single quoted string but got {quoted}"))?;
                step(&mut found, &name.replace("\\'", "'").replace("\\\\", "\\"))?;
                match tokens.next().ok_or(END)? {
                    "]" => {}
                    other => return Err(format!("expected ] but got {other}")),
                }
            }
            "." => step(&mut found, tokens.next().ok_or(END)?)?,
            other => return Err(format!("expected [ or . but got: {other}")),
        }
    }
    Ok(found)
}

fn step(found: &mut Found<'_>, name: &str) -> Result<(), String> {
    let nowhere = || "does not refer to a valid field".to_owned();
    let schema = found.schema.ok_or_else(nowhere)?;
    let properties = schema.properties.as_ref().filter(|properties| !properties.is_empty());
    found.schema = match (properties, &schema.additional_properties) {
        (Some(properties), _) => Some(properties.get(name).ok_or_else(nowhere)?),
        (None, Some(JSONSchemaPropsOrBool::Schema(schema))) => Some(schema),
        (None, Some(JSONSchemaPropsOrBool::Bool(_))) => None,
        (None, None) => return Err(nowhere()),
    };
    found.names.push(name.to_owned());
    Ok(())
}

/// The delimiters, each for itself, and what stands between them. A quoted text is one token.
fn tokens(path: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        let end = if rest.starts_with('\'') {
            let mut before = '\'';
            let closing = rest.char_indices().skip(1).find(|(_, letter)| {
                let closes = *letter == '\'' && before != '\\';
                before = *letter;
                closes
            });
            closing.map_or(rest.len(), |(index, _)| index + 1)
        } else {
            match rest.find(['.', '[', ']']) {
                Some(0) => 1,
                Some(index) => index,
                None => rest.len(),
            }
        };
        let (token, more) = rest.split_at(end);
        tokens.push(token);
        rest = more;
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_path_leads_to_a_schema_or_says_why_not() {
        let schema: JSONSchemaProps = serde_json::from_value(json!({"properties": {
            "spec": {"properties": {"a": {"type": "string"}, "b.c": {"type": "integer"}}},
            "map": {"additionalProperties": {"type": "boolean"}},
        }}))
        .expect("a schema");
        let told = |path: &str, arrays| match resolve(path, &schema, arrays) {
            Ok(found) => found.schema.and_then(|it| it.type_.clone()).unwrap_or_default(),
            Err(why) => why,
        };
        let table = [
            (".spec.a", "string"),
            (".spec['b.c']", "integer"),
            (".map.anything", "boolean"),
            (".spec.x", "does not refer to a valid field"),
            (".spec.a.b", "does not refer to a valid field"),
            ("spec", "expected [ or . but got: spec"),
            (".spec.", "unexpected end of JSON path"),
            (".spec[a]", "expected single quoted string but got a"),
        ];
        for (path, expected) in table {
            assert_eq!(told(path, Arrays::Allowed), expected, "{path}");
        }
        assert_eq!(told(".spec['a']", Arrays::Refused), "array notation is not allowed");
    }
}
