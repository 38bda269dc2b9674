//! Operations as OpenAPI writes them.

use serde_json::{Map, Value, json};

use super::Dialect;
use super::components::reference;
use super::operations::{Body, Operation, Parameter};

const ANSWERS: [&str; 3] =
    ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
const PATCHES: [&str; 4] = [
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];
const STREAMS: [&str; 2] =
    ["application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"];

pub(super) fn paths(operations: &[Operation], dialect: Dialect) -> Map<String, Value> {
    let mut paths = Map::new();
    for operation in operations {
        let path = paths.entry(operation.path.as_str()).or_insert_with(|| json!({}));
        path[operation.method] = render(operation, dialect);
        if !operation.place_holders.is_empty() {
            let list = operation.place_holders.iter();
            path["parameters"] = list.map(|it| parameter(it, dialect)).collect();
        }
    }
    paths
}

fn render(operation: &Operation, dialect: Dialect) -> Value {
    let [group, version, kind] = &operation.gvk;
    let mut parameters: Vec<Value> =
        operation.parameters.iter().map(|it| parameter(it, dialect)).collect();
    let mut out = json!({
        "description": operation.description,
        "operationId": operation.id,
        "tags": [operation.tag],
        "x-kubernetes-action": operation.action,
        "x-kubernetes-group-version-kind": { "group": group, "version": version, "kind": kind },
        "responses": answers(operation, dialect),
    });
    match dialect {
        Dialect::V3 => {
            if let Some(body) = &operation.body {
                out["requestBody"] = request_body(body);
            }
        }
        Dialect::V2 => {
            if let Some(body) = &operation.body {
                parameters.push(body_parameter(body));
            }
            out["schemes"] = json!(["https"]);
            out["consumes"] = match operation.body {
                Some(Body::Patch) => json!(PATCHES),
                _ => json!(["*/*"]),
            };
            out["produces"] = match operation.answer {
                Some(_) => produced(operation).into(),
                None => json!(["text/plain"]),
            };
        }
    }
    out["parameters"] = parameters.into();
    out
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

fn produced(operation: &Operation) -> Vec<&'static str> {
    let streams: &[&str] = if operation.action == "list" { &STREAMS } else { &[] };
    ANSWERS.iter().chain(streams).copied().collect()
}

fn answers(operation: &Operation, dialect: Dialect) -> Value {
    let mut out = json!({ "401": { "description": "Unauthorized" } });
    for code in &operation.answers {
        let mut answer = json!({ "description": reason(*code) });
        match (&operation.answer, dialect) {
            (Some(schema), Dialect::V2) => answer["schema"] = reference(schema, dialect),
            (None, Dialect::V2) => answer["schema"] = json!({ "type": "string" }),
            (Some(schema), Dialect::V3) => {
                let schema = json!({ "schema": reference(schema, dialect) });
                let media = produced(operation).into_iter();
                let content: Map<String, Value> =
                    media.map(|media| (media.to_owned(), schema.clone())).collect();
                answer["content"] = content.into();
            }
            (None, Dialect::V3) => {
                answer["content"] = json!({ "text/plain": { "schema": { "type": "string" } } });
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
