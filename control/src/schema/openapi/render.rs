//! Operations as OpenAPI writes them.
//!
//! Source: `k8s.io/kube-openapi/pkg/{builder,builder3}/openapi.go`.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::Dialect;
use super::components::reference;
use super::operation::{Answer, Body, Operation};
use super::parameters::Parameter;

const PATCHES: [&str; 4] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];

pub(super) fn paths(operations: &[Operation], dialect: Dialect) -> Map<String, Value> {
    let mut by_path: BTreeMap<&str, Vec<&Operation>> = BTreeMap::new();
    for operation in operations {
        by_path.entry(&operation.path).or_default().push(operation);
    }
    let written = by_path.into_iter().map(|(path, of)| (path.to_owned(), item(&of, dialect)));
    written.collect()
}

/// A path: what its operations have in common stands beside them.
fn item(operations: &[&Operation], dialect: Dialect) -> Value {
    let mut common: Vec<&Parameter> = Vec::new();
    if let [first, others @ ..] = operations {
        let everywhere = |it: &&Parameter| others.iter().all(|other| has(other, it));
        common.extend(first.parameters.iter().filter(everywhere));
    }
    let mut out = json!({});
    if !common.is_empty() {
        out["parameters"] = parameters(common.iter().copied(), None, dialect);
    }
    for operation in operations {
        out[operation.method] = render(operation, &common, dialect);
    }
    out
}

fn has(operation: &Operation, wanted: &Parameter) -> bool {
    operation.parameters.iter().any(|it| it.name == wanted.name && it.in_path == wanted.in_path)
}

fn render(operation: &Operation, common: &[&Parameter], dialect: Dialect) -> Value {
    let mut out = json!({
        "operationId": operation.id,
        "tags": [operation.tag],
        "responses": answers(operation, dialect),
    });
    if !operation.description.is_empty() {
        out["description"] = operation.description.as_str().into();
    }
    if let Some(on) = &operation.on {
        let [group, version, kind] = on.gvk;
        out["x-kubernetes-action"] = on.action.into();
        out["x-kubernetes-group-version-kind"] =
            json!({ "group": group, "version": version, "kind": kind });
    }
    let mut body = None;
    match (dialect, &operation.body) {
        (Dialect::V3, Some(it)) => out["requestBody"] = request_body(it),
        (Dialect::V2, Some(it)) => body = Some(body_parameter(it)),
        (Dialect::V2 | Dialect::V3, None) => {}
    }
    if dialect == Dialect::V2 {
        out["schemes"] = json!(["https"]);
        let consumed = match operation.body {
            Some(Body::Patch) => &PATCHES[..],
            Some(Body::Object(_) | Body::Options(_)) | None => operation.media.consumed(),
        };
        for (key, media) in [("consumes", consumed), ("produces", &operation.media.produced())] {
            if !media.is_empty() {
                out[key] = media.into();
            }
        }
    }
    let own = operation.parameters.iter().filter(|it| {
        !common.iter().any(|common| common.name == it.name && common.in_path == it.in_path)
    });
    let own = parameters(own, body, dialect);
    if own.as_array().is_some_and(|list| !list.is_empty()) {
        out["parameters"] = own;
    }
    out
}

/// A list of parameters, by name.
fn parameters<'a>(
    list: impl Iterator<Item = &'a Parameter>,
    body: Option<Value>,
    dialect: Dialect,
) -> Value {
    let mut list: Vec<Value> = list.map(|it| parameter(it, dialect)).chain(body).collect();
    let text = |it: &Value, key: &str| it[key].as_str().unwrap_or_default().to_owned();
    list.sort_by_cached_key(|it| (text(it, "name"), text(it, "in")));
    list.into()
}

fn parameter(parameter: &Parameter, dialect: Dialect) -> Value {
    let mut out = json!({
        "name": parameter.name,
        "in": if parameter.in_path { "path" } else { "query" },
        "description": parameter.description,
    });
    if parameter.in_path {
        out["required"] = true.into();
    }
    let form = match dialect {
        Dialect::V2 => &mut out,
        Dialect::V3 => &mut out["schema"],
    };
    form["type"] = parameter.kind.into();
    form["uniqueItems"] = true.into();
    out
}

fn request_body(body: &Body) -> Value {
    let schema = json!({ "schema": reference(body.schema(), Dialect::V3) });
    let types: &[&str] = match body {
        Body::Patch => &PATCHES,
        Body::Object(_) | Body::Options(_) => &["*/*"],
    };
    let content: Map<String, Value> =
        types.iter().map(|&media| (media.to_owned(), schema.clone())).collect();
    match body {
        Body::Options(_) => json!({ "content": content }),
        Body::Object(_) | Body::Patch => json!({ "content": content, "required": true }),
    }
}

fn body_parameter(body: &Body) -> Value {
    let mut out = json!({
        "name": "body",
        "in": "body",
        "schema": reference(body.schema(), Dialect::V2),
    });
    if !matches!(body, Body::Options(_)) {
        out["required"] = true.into();
    }
    out
}

fn answers(operation: &Operation, dialect: Dialect) -> Value {
    let mut out = json!({ "401": { "description": "Unauthorized" } });
    let schema = match &operation.answer {
        Answer::Object(name) => reference(name, dialect),
        Answer::Text => json!({ "type": "string" }),
        Answer::Nothing => return out,
    };
    for code in operation.codes {
        let mut answer = json!({ "description": reason(*code) });
        match dialect {
            Dialect::V2 => answer["schema"] = schema.clone(),
            Dialect::V3 => {
                let schema = json!({ "schema": schema });
                let media = operation.media.produced().into_iter();
                let content: Map<String, Value> =
                    media.map(|media| (media.to_owned(), schema.clone())).collect();
                answer["content"] = content.into();
            }
        }
        out[code.to_string()] = answer;
    }
    out
}

fn reason(code: u16) -> &'static str {
    match code {
        201 => "Created",
        202 => "Accepted",
        _ => "OK",
    }
}
