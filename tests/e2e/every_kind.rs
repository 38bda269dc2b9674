//! What holds for every kind alike: each verb, each form, each encoding, over the objects of the
//! golden files, as a client with its own connection sees it.

use std::collections::BTreeMap;

use bytes::Bytes;
use copepod_control::schema::{protobuf, schema};
use http_body_util::BodyExt as _;
use hyper::http::header::{ACCEPT, CONTENT_TYPE};
use hyper::{Method, Request, StatusCode};
use kube::client::Body;
use serde_json::{Value, json};

use super::clients::kube_rs;
use super::support::{Fixture, eventually, repository};

const JSON: &str = "application/json";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const MERGE: &str = "application/merge-patch+json";
const APPLY: &str = "application/apply-patch+yaml";
const LABEL: &str = "every-kind";

/// A client over HTTPS that says what it takes and sends.
struct Caller(kube::Client);

struct Answer {
    status: StatusCode,
    content_type: String,
    body: Bytes,
}

impl Answer {
    fn json(&self) -> Value {
        let text = String::from_utf8_lossy(&self.body);
        serde_json::from_str(&text).unwrap_or_else(|why| panic!("{why}: {text}"))
    }

    /// The object of a protobuf answer, with its own type.
    fn protobuf(&self) -> Value {
        assert_eq!(self.content_type, PROTOBUF, "{}", String::from_utf8_lossy(&self.body));
        let (api_version, kind, mut object) = protobuf::decode(&self.body).expect("protobuf");
        object["apiVersion"] = api_version.into();
        object["kind"] = kind.into();
        object
    }
}

impl Caller {
    async fn of(fixture: &Fixture) -> Self {
        Self(kube_rs(&fixture.cluster).await)
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        accept: &str,
        body: Option<(&str, Vec<u8>)>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path).header(ACCEPT, accept);
        let mut bytes = Vec::new();
        if let Some((content_type, body)) = body {
            request = request.header(CONTENT_TYPE, content_type);
            bytes = body;
        }
        let request = request.body(Body::from(bytes)).expect("a request");
        let answer = self.0.send(request).await.expect("an answer");
        let (head, body) = answer.into_parts();
        let content_type = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        Answer {
            status: head.status,
            content_type: content_type.unwrap_or_default().to_owned(),
            body: body.collect().await.expect("a body").to_bytes(),
        }
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, JSON, None).await
    }

    async fn write(&self, method: Method, path: &str, media: &str, object: &Value) -> Answer {
        let body = object.to_string().into_bytes();
        self.send(method, path, JSON, Some((media, body))).await
    }
}

/// A kind as discovery tells of it, with the object of its golden file.
struct Kind {
    title: String,
    collection: String,
    verbs: Vec<String>,
    subresources: Vec<String>,
    object: Value,
}

impl Kind {
    fn path(&self) -> String {
        let name = self.object["metadata"]["name"].as_str().expect("a name");
        format!("{}/{name}", self.collection)
    }

    fn can(&self, verb: &str) -> bool {
        self.verbs.iter().any(|known| known == verb)
    }

    fn selection(&self) -> String {
        format!("{}?labelSelector={LABEL}", self.collection)
    }
}

/// The objects of the golden files, by apiVersion and kind.
fn golden_objects() -> BTreeMap<(String, String), Value> {
    let folder = repository().join("control/testdata/kinds");
    let files = std::fs::read_dir(folder).expect("the golden files");
    let objects = files.map(|file| {
        let text = std::fs::read_to_string(file.expect("a file").path()).expect("text");
        let golden: Value = serde_yaml::from_str(&text).expect("YAML");
        let mut object = golden["object"].clone();
        // Only the server gives these.
        object["metadata"].as_object_mut().map(|metadata| metadata.remove("uid"));
        let text = |field: &str| object[field].as_str().expect("a type").to_owned();
        ((text("apiVersion"), text("kind")), object)
    });
    objects.collect()
}

fn strings(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().map(|item| text(item).to_owned()).collect()
}

/// A value without what says nothing in either encoding: nulls and empty objects.
fn bare(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, field)| (name.clone(), bare(field)));
            let says = |field: &Value| !field.is_null() && *field != json!({});
            fields.filter(|(_, field)| says(field)).collect::<serde_json::Map<_, _>>().into()
        }
        Value::Array(items) => items.iter().map(bare).collect::<Vec<_>>().into(),
        other => other.clone(),
    }
}

/// Every kind that is served.
async fn kinds(caller: &Caller) -> Vec<Kind> {
    let mut objects = golden_objects();
    let groups = caller.get("/apis").await.json();
    let groups = groups["groups"].as_array().expect("groups").iter();
    let versions = groups.flat_map(|group| group["versions"].as_array().expect("versions"));
    let mut roots = vec!["/api/v1".to_owned()];
    roots.extend(versions.map(|entry| format!("/apis/{}", text(&entry["groupVersion"]))));
    let mut found = Vec::new();
    for root in roots {
        let list = caller.get(&root).await.json();
        let resources = list["resources"].as_array().expect("resources");
        let own = |name: &str| !name.contains('/');
        for resource in resources.iter().filter(|resource| own(text(&resource["name"]))) {
            let (name, kind) = (text(&resource["name"]), text(&resource["kind"]));
            let key = (text(&list["groupVersion"]).to_owned(), kind.to_owned());
            let mut object =
                objects.remove(&key).unwrap_or_else(|| panic!("no golden file for {key:?}"));
            let verbs = strings(&resource["verbs"]);
            if verbs.iter().any(|verb| verb == "list") {
                object["metadata"]["labels"][LABEL] = "1".into();
            }
            let namespaced = resource["namespaced"].as_bool().expect("a scope");
            let collection = if namespaced {
                format!("{root}/namespaces/default/{name}")
            } else {
                format!("{root}/{name}")
            };
            let prefix = format!("{name}/");
            let subresources = resources
                .iter()
                .filter_map(|other| text(&other["name"]).strip_prefix(&prefix))
                .map(str::to_owned);
            found.push(Kind {
                title: format!("{kind} of {root}"),
                collection,
                verbs,
                subresources: subresources.collect(),
                object,
            });
        }
    }
    assert!(objects.is_empty(), "golden files of kinds that are not served: {:?}", objects.keys());
    found
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn revision(object: &Value) -> &str {
    text(&object["metadata"]["resourceVersion"])
}

/// Deletes an object, its finalizers too, and waits until it is gone.
async fn remove(caller: &Caller, kind: &Kind) {
    let path = kind.path();
    let now = json!({ "gracePeriodSeconds": 0 });
    let deleted = caller.write(Method::DELETE, &path, JSON, &now).await;
    assert!(deleted.status.is_success(), "{}: {}", kind.title, deleted.json());
    gone(caller, kind).await;
}

/// Waits until an object is gone. Finalizers that only other programs take off are taken off.
async fn gone(caller: &Caller, kind: &Kind) {
    let path = kind.path();
    eventually(&format!("the end of {}", kind.title), || async {
        if caller.get(&path).await.status == StatusCode::NOT_FOUND {
            return Some(());
        }
        if !path.starts_with("/api/v1/namespaces/web") {
            let without = json!({ "metadata": { "finalizers": null } });
            caller.write(Method::PATCH, &path, MERGE, &without).await;
        }
        None
    })
    .await;
}

async fn created(caller: &Caller, kind: &Kind) -> Value {
    let answer = caller.write(Method::POST, &kind.collection, JSON, &kind.object).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}: {}", kind.title, answer.json());
    answer.json()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_knows_every_verb() {
    let fixture = Fixture::start().await;
    let caller = Caller::of(&fixture).await;
    for kind in kinds(&caller).await {
        let title = &kind.title;
        if !kind.can("list") {
            let answer = caller.write(Method::POST, &kind.collection, JSON, &kind.object).await;
            // What is bound is a pod that is not there.
            let expected = if title.starts_with("Binding") {
                StatusCode::NOT_FOUND
            } else {
                StatusCode::CREATED
            };
            assert_eq!(answer.status, expected, "{title}: {}", answer.json());
            continue;
        }
        if !kind.can("create") {
            assert_eq!(caller.get(&kind.collection).await.status, StatusCode::OK, "{title}");
            continue;
        }
        let path = kind.path();
        let dry = format!("{}?dryRun=All", kind.collection);
        let answer = caller.write(Method::POST, &dry, JSON, &kind.object).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{title}: {}", answer.json());
        assert_eq!(caller.get(&path).await.status, StatusCode::NOT_FOUND, "{title}");

        let object = created(&caller, &kind).await;
        assert_ne!(revision(&object), "", "{title}");
        let again = caller.write(Method::POST, &kind.collection, JSON, &kind.object).await;
        assert_eq!(again.json()["reason"], "AlreadyExists", "{title}");
        assert_eq!(caller.get(&path).await.json()["metadata"]["uid"], object["metadata"]["uid"]);

        let list = caller.get(&kind.selection()).await.json();
        assert_eq!(list["items"].as_array().map(Vec::len), Some(1), "{title}: {list}");
        assert_eq!(text(&list["kind"]), format!("{}List", text(&kind.object["kind"])));
        let watch = format!("{}&watch=true&timeoutSeconds=1", kind.selection());
        let events = caller.get(&watch).await;
        let first: Value = serde_json::Deserializer::from_slice(&events.body)
            .into_iter()
            .next()
            .expect("an event")
            .expect("JSON");
        assert_eq!(first["type"], "ADDED", "{title}");

        let patch = json!({ "metadata": { "annotations": { "colour": "blue" } } });
        let patched = caller.write(Method::PATCH, &path, MERGE, &patch).await;
        assert_eq!(patched.status, StatusCode::OK, "{title}: {}", patched.json());
        assert_eq!(patched.json()["metadata"]["annotations"]["colour"], "blue", "{title}");
        assert_ne!(revision(&patched.json()), revision(&object), "{title}");
        // Controllers may write meanwhile: then once more.
        eventually(&format!("an update of {title} that changes nothing"), || async {
            let known = caller.get(&path).await.json();
            let put = caller.write(Method::PUT, &path, JSON, &known).await;
            let same = put.status == StatusCode::OK && revision(&put.json()) == revision(&known);
            same.then_some(())
        })
        .await;
        if kind.subresources.iter().any(|name| name == "status") {
            let status = format!("{path}/status");
            assert_eq!(caller.get(&status).await.status, StatusCode::OK, "{title}");
            let patched = caller.write(Method::PATCH, &status, MERGE, &json!({})).await;
            assert_eq!(patched.status, StatusCode::OK, "{title}: {}", patched.json());
        }

        let dry = json!({ "dryRun": ["All"] });
        let kept = caller.write(Method::DELETE, &path, JSON, &dry).await;
        assert!(kept.status.is_success(), "{title}: {}", kept.json());
        assert_eq!(caller.get(&path).await.status, StatusCode::OK, "{title}");
        remove(&caller, &kind).await;

        if kind.can("deletecollection") {
            created(&caller, &kind).await;
            let gone_all = caller.write(Method::DELETE, &kind.selection(), JSON, &json!({})).await;
            assert_eq!(gone_all.status, StatusCode::OK, "{title}: {}", gone_all.json());
            gone(&caller, &kind).await;
        }
    }
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_goes_through_protobuf_and_back() {
    let fixture = Fixture::start().await;
    let caller = Caller::of(&fixture).await;
    for kind in kinds(&caller).await.iter().filter(|kind| kind.can("list") && kind.can("create")) {
        let title = &kind.title;
        let (api_version, name) = (text(&kind.object["apiVersion"]), text(&kind.object["kind"]));
        let ty = schema().by_api_version(api_version, name).expect("the type");
        let encode = |object: &Value| protobuf::encode(ty, api_version, name, object);
        let body = Some((PROTOBUF, encode(&kind.object)));
        let answer = caller.send(Method::POST, &kind.collection, PROTOBUF, body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{title}");
        assert_eq!(answer.protobuf()["kind"], kind.object["kind"], "{title}");
        // Controllers may write between the two reads: then once more.
        let path = kind.path();
        let object = eventually(&format!("two equal readings of {title}"), || async {
            let json = caller.get(&path).await.json();
            let other = caller.send(Method::GET, &path, PROTOBUF, None).await.protobuf();
            (revision(&json) == revision(&other)).then_some((json, other))
        })
        .await;
        let mut known = object.0;
        // Protobuf knows the type of whole objects alone.
        let claims = known.pointer_mut("/spec/volumeClaimTemplates").and_then(Value::as_array_mut);
        for claim in claims.into_iter().flatten().filter_map(Value::as_object_mut) {
            claim.retain(|field, _| !matches!(field.as_str(), "apiVersion" | "kind"));
        }
        assert_eq!(bare(&known), bare(&object.1), "{title}");
        eventually(&format!("a PUT of {title} that changes nothing"), || async {
            let known = caller.send(Method::GET, &path, PROTOBUF, None).await.protobuf();
            let body = Some((PROTOBUF, encode(&known)));
            let put = caller.send(Method::PUT, &path, PROTOBUF, body).await;
            let same =
                put.status == StatusCode::OK && revision(&put.protobuf()) == revision(&known);
            same.then_some(())
        })
        .await;
        let list = caller.send(Method::GET, &kind.selection(), PROTOBUF, None).await.protobuf();
        assert_eq!(list["items"].as_array().map(Vec::len), Some(1), "{title}");
        remove(&caller, kind).await;
    }
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn applying_every_kind_twice_writes_once() {
    let fixture = Fixture::start().await;
    let caller = Caller::of(&fixture).await;
    for kind in kinds(&caller).await.iter().filter(|kind| kind.can("patch")) {
        let (title, path) = (&kind.title, kind.path());
        let apply = format!("{path}?fieldManager=one");
        let made = caller.write(Method::PATCH, &apply, APPLY, &kind.object).await;
        assert_eq!(made.status, StatusCode::CREATED, "{title}: {}", made.json());
        let managers = |object: &Value| {
            let entries = object["metadata"]["managedFields"].as_array().cloned();
            let own =
                entries.unwrap_or_default().into_iter().find(|entry| entry["manager"] == "one");
            own.unwrap_or_else(|| panic!("{title}: {object}"))
        };
        let entry = managers(&made.json());
        assert_eq!((text(&entry["operation"]), text(&entry["fieldsType"])), ("Apply", "FieldsV1"));
        // Controllers may write meanwhile: then once more.
        eventually(&format!("a second apply of {title} that changes nothing"), || async {
            let known = caller.get(&path).await.json();
            let again = caller.write(Method::PATCH, &apply, APPLY, &kind.object).await;
            assert_eq!(again.status, StatusCode::OK, "{title}: {}", again.json());
            assert_eq!(managers(&again.json()), entry, "{title}");
            (revision(&again.json()) == revision(&known)).then_some(())
        })
        .await;
        let mut other = kind.object.clone();
        other["metadata"]["labels"][LABEL] = "2".into();
        let refused = caller
            .write(Method::PATCH, &format!("{path}?fieldManager=two"), APPLY, &other)
            .await
            .json();
        assert_eq!(refused["reason"], "Conflict", "{title}: {refused}");
        let label = format!(".metadata.labels.{LABEL}");
        let causes = refused["details"]["causes"].as_array().expect("causes");
        let told = causes.iter().find(|cause| text(&cause["field"]) == label);
        let told = told.unwrap_or_else(|| panic!("{title}: {refused}"));
        assert_eq!(told["message"], "conflict with \"one\"", "{title}");
        remove(&caller, kind).await;
    }
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_has_a_table_and_a_metadata_only_form() {
    let fixture = Fixture::start().await;
    let caller = Caller::of(&fixture).await;
    let form = |kind: &str| format!("application/json;as={kind};v=v1;g=meta.k8s.io");
    for kind in kinds(&caller).await.iter().filter(|kind| kind.can("list")) {
        let (title, path) = (&kind.title, kind.path());
        if kind.can("create") {
            created(&caller, kind).await;
        }
        for at in [kind.collection.as_str(), path.as_str()] {
            if at == path && !kind.can("create") {
                continue;
            }
            let table = caller.send(Method::GET, at, &form("Table"), None).await.json();
            assert_eq!(table["kind"], "Table", "{title}: {table}");
            let columns = table["columnDefinitions"].as_array().expect("columns").len();
            let rows = table["rows"].as_array().expect("rows");
            assert!(!rows.is_empty(), "{title}");
            // Upstream's rows of IPAddresses have a cell too many.
            let cells = columns + usize::from(title.starts_with("IPAddress"));
            let fits = |row: &Value| row["cells"].as_array().map(Vec::len) == Some(cells);
            assert!(rows.iter().all(fits), "{title}: {table}");
            assert_eq!(rows[0]["object"]["kind"], "PartialObjectMetadata", "{title}");
        }
        if kind.can("create") {
            let partial = form("PartialObjectMetadata");
            let partial = caller.send(Method::GET, &path, &partial, None).await.json();
            assert_eq!(partial["kind"], "PartialObjectMetadata", "{title}: {partial}");
            assert_eq!(partial["metadata"]["labels"][LABEL], "1");
            assert!(partial.get("spec").is_none());
            remove(&caller, kind).await;
        }
    }
    fixture.stop().await;
}
