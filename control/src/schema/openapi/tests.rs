//! What kubectl looks for, over a registry of two small kinds.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use serde_json::Value;

use super::*;
use crate::kinds::{BuiltIn, FieldError, Kind, KindInfo, Registry, Subresource};

macro_rules! kind {
    ($name:ident, $object:ty, $info:expr) => {
        struct $name;
        impl Kind for $name {
            type Object = $object;
            const INFO: KindInfo = $info;

            fn validate(_: &Self::Object) -> Vec<FieldError> {
                Vec::new()
            }

            fn cells(_: &Self::Object, _: Timestamp) -> Vec<Value> {
                Vec::new()
            }
        }
    };
}

kind!(
    ConfigMaps,
    ConfigMap,
    KindInfo::namespaced(
        "",
        "v1",
        "ConfigMap",
        "configmaps",
        "configmap",
        "io.k8s.api.core.v1.ConfigMap"
    )
);
kind!(
    Pods,
    Pod,
    KindInfo {
        subresources: &[
            Subresource::Status,
            Subresource::Log,
            Subresource::Binding,
            Subresource::Eviction,
            Subresource::Proxy
        ],
        ..KindInfo::namespaced("", "v1", "Pod", "pods", "pod", "io.k8s.api.core.v1.Pod")
    }
);
kind!(
    Deployments,
    Deployment,
    KindInfo {
        subresources: &[Subresource::Status, Subresource::Scale],
        ..KindInfo::namespaced(
            "apps",
            "v1",
            "Deployment",
            "deployments",
            "deployment",
            "io.k8s.api.apps.v1.Deployment"
        )
    }
);

fn open_api() -> OpenApi {
    OpenApi::new(Registry::new(vec![
        BuiltIn::<ConfigMaps>::entry(),
        BuiltIn::<Pods>::entry(),
        BuiltIn::<Deployments>::entry(),
    ]))
}

fn v3(path: &str) -> Value {
    let document = open_api().v3(path).expect("served");
    serde_json::from_slice(&document).expect("JSON")
}

fn v2() -> Value {
    serde_json::from_slice(&open_api().v2()).expect("JSON")
}

fn parameters(operation: &Value) -> Vec<&str> {
    let list = operation["parameters"].as_array().expect("parameters");
    list.iter().filter_map(|parameter| parameter["name"].as_str()).collect()
}

/// Every `$ref` in a document.
fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        Value::Object(map) => {
            for (key, value) in map {
                match value {
                    Value::String(text) if key == "$ref" => found.push(text),
                    value => references(value, found),
                }
            }
        }
        _ => {}
    }
}

#[test]
fn the_index_names_each_group_version_with_a_hash() {
    let index = open_api().v3_index();
    let paths: Vec<&String> = index["paths"].as_object().expect("paths").keys().collect();
    assert_eq!(
        paths,
        [
            ".well-known/openid-configuration",
            "api",
            "api/v1",
            "apis",
            "apis/apps",
            "apis/apps/v1",
            "logs",
            "openid/v1/jwks",
            "version"
        ]
    );
    let url = index["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().expect("url");
    let hash = url.strip_prefix("/openapi/v3/apis/apps/v1?hash=").expect("prefix");
    assert_eq!(open_api().v3_hash("apis/apps/v1").as_deref(), Some(hash));
    assert!(open_api().v3("apis/none/v1").is_none());
}

#[test]
fn kubectl_finds_the_parameters_that_it_validates_with() {
    let apps = v3("apis/apps/v1");
    let path = "/apis/apps/v1/namespaces/{namespace}/deployments";
    let gvk = serde_json::json!({ "group": "apps", "version": "v1", "kind": "Deployment" });
    for (path, method) in [
        (path.to_owned(), "post"),
        (format!("{path}/{{name}}"), "put"),
        (format!("{path}/{{name}}"), "patch"),
    ] {
        let operation = &apps["paths"][path.as_str()][method];
        assert_eq!(operation["x-kubernetes-group-version-kind"], gvk, "{method}");
        for name in ["dryRun", "fieldManager", "fieldValidation"] {
            assert!(parameters(operation).contains(&name), "{method} {name}");
        }
    }
    let patch = &apps["paths"][format!("{path}/{{name}}")]["patch"];
    assert!(parameters(patch).contains(&"force"));
    let accepted: Vec<&String> =
        patch["requestBody"]["content"].as_object().expect("content").keys().collect();
    assert!(accepted.contains(&&"application/strategic-merge-patch+json".to_owned()));
    let all = &apps["paths"]["/apis/apps/v1/deployments"]["get"];
    assert_eq!(all["operationId"], "listAppsV1DeploymentForAllNamespaces");
    let scale = &apps["paths"][format!("{path}/{{name}}/scale")]["put"];
    assert_eq!(scale["x-kubernetes-group-version-kind"]["kind"], "Scale");
}

#[test]
fn every_reference_resolves() {
    for document in [v3("api/v1"), v3("apis/apps/v1"), v2()] {
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 100);
        for reference in found {
            let pointer = reference.strip_prefix('#').expect("local");
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
    }
}

#[test]
fn every_component_is_referred_to_or_a_list() {
    let document = v3("api/v1");
    let mut found = Vec::new();
    references(&document, &mut found);
    for name in document["components"]["schemas"].as_object().expect("schemas").keys() {
        let reference = format!("#/components/schemas/{name}");
        assert!(found.contains(&reference.as_str()), "{name}");
    }
}

#[test]
fn schemas_carry_what_the_table_says() {
    let document = v3("api/v1");
    let schemas = &document["components"]["schemas"];
    let pod = &schemas["io.k8s.api.core.v1.Pod"];
    assert_eq!(
        pod["x-kubernetes-group-version-kind"],
        serde_json::json!([{ "group": "", "version": "v1", "kind": "Pod" }])
    );
    assert_eq!(pod["properties"]["spec"]["default"], serde_json::json!({}));
    assert_eq!(
        pod["properties"]["spec"]["allOf"][0]["$ref"],
        "#/components/schemas/io.k8s.api.core.v1.PodSpec"
    );
    let spec = &schemas["io.k8s.api.core.v1.PodSpec"];
    assert_eq!(spec["required"], serde_json::json!(["containers"]));
    let containers = &spec["properties"]["containers"];
    assert_eq!(containers["x-kubernetes-list-type"], "map");
    assert_eq!(containers["x-kubernetes-list-map-keys"], serde_json::json!(["name"]));
    assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
    assert_eq!(containers["x-kubernetes-patch-strategy"], "merge");
    let port = &schemas["io.k8s.api.core.v1.ContainerPort"]["properties"];
    assert_eq!(port["protocol"]["default"], "TCP");
    assert_eq!(port["containerPort"]["format"], "int32");
    assert!(schemas["io.k8s.api.core.v1.Volume"]["properties"]["emptyDir"].is_object());
    let time = &schemas["io.k8s.apimachinery.pkg.apis.meta.v1.Time"];
    assert_eq!(time["format"], "date-time");
    let int_or_string = &schemas["io.k8s.apimachinery.pkg.util.intstr.IntOrString"];
    assert_eq!(int_or_string["format"], "int-or-string");
    assert_eq!(
        schemas["io.k8s.api.core.v1.ResourceRequirements"]["properties"]["limits"]["additionalProperties"]
            ["$ref"],
        "#/components/schemas/io.k8s.apimachinery.pkg.api.resource.Quantity"
    );
}

#[test]
fn the_prose_comes_from_the_library() {
    let document = v3("api/v1");
    let schemas = document["components"]["schemas"].as_object().expect("schemas");
    let of = |name: &str| schemas[name]["description"].as_str().unwrap_or_default();
    assert!(of("io.k8s.api.core.v1.ConfigMap").starts_with("ConfigMap holds configuration data"));
    assert!(of("io.k8s.apimachinery.pkg.api.resource.Quantity").starts_with("Quantity is"));
    let described = |field: &str| {
        schemas["io.k8s.api.core.v1.PodSpec"]["properties"][field]["description"].is_string()
    };
    assert!(described("containers") && described("affinity") && described("nodeName"));
    let undescribed: Vec<&String> = schemas
        .iter()
        .filter(|(_, schema)| schema["description"].as_str().is_none_or(str::is_empty))
        .map(|(name, _)| name)
        .collect();
    assert!(undescribed.is_empty(), "{undescribed:?}");
}

#[test]
fn version_two_has_definitions_and_body_parameters() {
    let document = v2();
    assert_eq!(document["swagger"], "2.0");
    let pod = &document["definitions"]["io.k8s.api.core.v1.Pod"];
    assert_eq!(pod["properties"]["spec"]["$ref"], "#/definitions/io.k8s.api.core.v1.PodSpec");
    let path = "/api/v1/namespaces/{namespace}/configmaps/{name}";
    let put = &document["paths"][path]["put"];
    // The others are referred to.
    assert_eq!(parameters(put), ["body", "dryRun", "fieldValidation"]);
    let mut found = Vec::new();
    references(put, &mut found);
    let manager = found.iter().find_map(|name| name.strip_prefix("#/parameters/")).expect("one");
    assert_eq!(document["parameters"][manager]["name"], "fieldManager");
    assert_eq!(document["paths"][path]["parameters"][0]["type"], "string");
}

#[test]
fn documents_that_nobody_asks_for_are_let_go() {
    let open_api = open_api();
    assert!(!open_api.begin_to_rest(), "there is nothing to let go");
    let first = open_api.v3("api/v1").expect("served");
    assert!(open_api.begin_to_rest() && !open_api.begin_to_rest(), "one does it");
    assert!(open_api.rest(), "it was asked for of late");
    assert!(!open_api.rest());
    let again = open_api.v3("api/v1").expect("served");
    assert_ne!(first.as_ptr(), again.as_ptr());
    assert!(open_api.begin_to_rest());
}

#[test]
fn operation_ids_are_unique() {
    let document = v2();
    let mut ids = Vec::new();
    for path in document["paths"].as_object().expect("paths").values() {
        for operation in path.as_object().expect("path").values() {
            ids.extend(operation["operationId"].as_str());
        }
    }
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count);
}

#[test]
fn documents_are_made_once() {
    let open_api = open_api();
    let (first, second) = (open_api.v3("api/v1"), open_api.v3("api/v1"));
    let address = |document: &Option<bytes::Bytes>| document.as_ref().map(|bytes| bytes.as_ptr());
    assert_eq!(address(&first), address(&second));
    assert_eq!(open_api.v2().as_ptr(), open_api.v2().as_ptr());
}
