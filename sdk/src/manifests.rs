//! YAML manifests: reading them, and applying them as `kubectl apply` would.

use std::path::{Path, PathBuf};

use kube::api::{DynamicObject, Patch, PatchParams, ValidationDirective};
use kube::core::GroupVersionKind;
use kube::discovery::Scope;
use kube::{Api, ResourceExt};
use serde::Deserialize;
use serde_json::{Map, Value};

/// Where `kubectl apply` and this module note what was applied last.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Why manifests were not read or applied.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    #[error("{path}: {source}")]
    Read { path: String, source: std::io::Error },
    #[error("{path}: not valid YAML: {source}")]
    Yaml { path: String, source: serde_yaml::Error },
    #[error("{path}: an object lacks {what}")]
    Incomplete { path: String, what: &'static str },
    #[error("{dir}: no manifests: put .yaml files into it or into its folder `manifests`")]
    None { dir: String },
    #[error("{what}: {}", said(source))]
    Refused { what: String, source: kube::Error },
}

/// Reads every object of a file (documents and Lists), in order.
pub fn read(file: &Path) -> Result<Vec<DynamicObject>, ManifestError> {
    let path = file.display().to_string();
    let text = std::fs::read_to_string(file)
        .map_err(|source| ManifestError::Read { path: path.clone(), source })?;
    let mut objects = Vec::new();
    for document in serde_yaml::Deserializer::from_str(&text) {
        let value = Value::deserialize(document)
            .map_err(|source| ManifestError::Yaml { path: path.clone(), source })?;
        if !value.is_null() {
            collect(value, &path, &mut objects)?;
        }
    }
    Ok(objects)
}

/// The manifests of a folder: `*.yaml`, `*.yml` in it and in its folder `manifests`, by name.
pub fn files(dir: &Path) -> Result<Vec<PathBuf>, ManifestError> {
    let mut found = Vec::new();
    for folder in [dir.to_owned(), dir.join("manifests")] {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let path = entry.path();
            let extension = path.extension().and_then(|extension| extension.to_str());
            if matches!(extension, Some("yaml" | "yml")) {
                found.push(path);
            }
        }
    }
    found.sort();
    if found.is_empty() {
        return Err(ManifestError::None { dir: dir.display().to_string() });
    }
    Ok(found)
}

fn collect(
    value: Value,
    path: &str,
    objects: &mut Vec<DynamicObject>,
) -> Result<(), ManifestError> {
    if value["kind"].as_str().is_some_and(|kind| kind.ends_with("List"))
        && let Value::Array(items) = &value["items"]
    {
        return items.iter().try_for_each(|item| collect(item.clone(), path, objects));
    }
    let lacks = |what| ManifestError::Incomplete { path: path.to_owned(), what };
    for what in ["apiVersion", "kind"] {
        if !value[what].is_string() {
            return Err(lacks(what));
        }
    }
    if !value["metadata"]["name"].is_string() && !value["metadata"]["generateName"].is_string() {
        return Err(lacks("metadata.name"));
    }
    objects.push(serde_json::from_value(value).map_err(|_| lacks("a mapping at its top"))?);
    Ok(())
}

/// What an object is called in messages: `Deployment/web`.
pub fn title(object: &DynamicObject) -> String {
    let kind = object.types.as_ref().map_or("", |types| types.kind.as_str());
    format!("{kind}/{}", object.name_any())
}

/// Creates the object, or changes the existing one by what changed since it was last applied.
pub async fn apply(
    client: &kube::Client,
    object: &DynamicObject,
) -> Result<DynamicObject, ManifestError> {
    let refused = |source| ManifestError::Refused { what: title(object), source };
    let api = api_of(client, object).await.map_err(refused)?;
    let noted = with_last_applied(object);
    match create(client, &api, &noted).await {
        Ok(created) => return Ok(created),
        Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => {}
        Err(error) => return Err(refused(error)),
    }
    let name = object.name_any();
    let current = api.get(&name).await.map_err(refused)?;
    let before = current
        .annotations()
        .get(LAST_APPLIED)
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or(Value::Null);
    let mut patch = serde_json::to_value(&noted).unwrap_or_default();
    mark_removed(&before, &mut patch);
    let patch = Patch::Strategic(patch);
    let strict = PatchParams {
        field_validation: Some(ValidationDirective::Strict),
        ..PatchParams::default()
    };
    api.patch(&name, &strict, &patch).await.map_err(refused)
}

/// Creates the object; unknown fields are refused, as kubectl has it.
async fn create(
    client: &kube::Client,
    api: &Api<DynamicObject>,
    object: &DynamicObject,
) -> Result<DynamicObject, kube::Error> {
    let body = serde_json::to_vec(object).map_err(kube::Error::SerdeError)?;
    let request = http::Request::post(format!("{}?fieldValidation=Strict", api.resource_url()))
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(body)
        .map_err(kube::Error::HttpError)?;
    client.request(request).await
}

/// What the API said, without what a program would want to know besides.
fn said(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

/// Deletes the object where it exists.
pub async fn delete(client: &kube::Client, object: &DynamicObject) -> Result<(), ManifestError> {
    let refused = |source| ManifestError::Refused { what: title(object), source };
    let api = api_of(client, object).await.map_err(refused)?;
    match api.delete(&object.name_any(), &Default::default()).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(refused(error)),
    }
}

async fn api_of(
    client: &kube::Client,
    object: &DynamicObject,
) -> Result<Api<DynamicObject>, kube::Error> {
    let types = object.types.clone().unwrap_or_default();
    let (group, version) =
        types.api_version.split_once('/').unwrap_or(("", types.api_version.as_str()));
    let gvk = GroupVersionKind::gvk(group, version, &types.kind);
    let (resource, capabilities) = kube::discovery::pinned_kind(client, &gvk).await?;
    Ok(match (capabilities.scope, object.namespace()) {
        (Scope::Cluster, _) => Api::all_with(client.clone(), &resource),
        (Scope::Namespaced, Some(namespace)) => {
            Api::namespaced_with(client.clone(), &namespace, &resource)
        }
        (Scope::Namespaced, None) => Api::default_namespaced_with(client.clone(), &resource),
    })
}

fn with_last_applied(object: &DynamicObject) -> DynamicObject {
    let mut noted = object.clone();
    let text = serde_json::to_string(object).unwrap_or_default();
    noted.annotations_mut().insert(LAST_APPLIED.to_owned(), text);
    noted
}

/// Sets to null in `patch` what `before` had and it no longer has.
fn mark_removed(before: &Value, patch: &mut Value) {
    let (Value::Object(before), Value::Object(patch)) = (before, patch) else { return };
    for (key, old) in before {
        match patch.get_mut(key) {
            Some(new) => mark_removed(old, new),
            None => drop(Map::insert(patch, key.clone(), Value::Null)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_no_longer_applied_becomes_null() {
        let before = json!({"metadata": {"labels": {"a": "1", "b": "2"}}, "spec": {"x": 1}});
        let mut patch = json!({"metadata": {"labels": {"a": "1"}}, "spec": {"y": 2}});
        mark_removed(&before, &mut patch);
        assert_eq!(
            patch,
            json!({"metadata": {"labels": {"a": "1", "b": null}}, "spec": {"x": null, "y": 2}})
        );
    }

    #[test]
    fn documents_and_lists_are_read_in_order() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("all.yaml");
        let text = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n---\n---\n\
            apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Secret, metadata: {name: b}}\n";
        std::fs::write(&file, text).expect("a file");
        let titles: Vec<String> = read(&file).expect("objects").iter().map(title).collect();
        assert_eq!(titles, ["ConfigMap/a", "Secret/b"]);
        assert_eq!(files(dir.path()).expect("files"), [file]);
    }

    #[test]
    fn an_object_without_a_kind_is_named() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("bad.yaml");
        std::fs::write(&file, "apiVersion: v1\nmetadata: {name: a}\n").expect("a file");
        let error = read(&file).expect_err("it lacks a kind");
        assert!(error.to_string().ends_with("bad.yaml: an object lacks kind"), "{error}");
    }
}
