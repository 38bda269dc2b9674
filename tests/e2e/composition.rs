//! Containers of a pod that import from each other, and functions called from outside.

use copepod_sdk::{ClusterError, ContainerName, Val};

use super::support::{Fixture, eventually, guest};

const INTERFACE: Option<&str> = Some("example:phrases/greet");

/// A pod of these (container, image) pairs; each mounts the ConfigMap `phrases`.
fn pod(name: &str, containers: &[(&str, &str)]) -> String {
    let mut yaml = format!(
        "
apiVersion: v1
kind: ConfigMap
metadata: {{name: phrases}}
data: {{en: 'Hello, NAME!', de: 'Moin, NAME!'}}
---
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  restartPolicy: Never
  volumes: [{{name: phrases, configMap: {{name: phrases}}}}]
  containers:
"
    );
    for (container, image) in containers {
        yaml.push_str(&format!(
            "  - name: {container}
    image: {image}
    env: [{{name: de, value: 'Servus, NAME!'}}]
    volumeMounts: [{{name: phrases, mountPath: /phrases}}]
"
        ));
    }
    yaml
}

fn waiting(pod: &str, container: usize) -> String {
    format!(
        "get pod {pod} -o jsonpath={{.status.containerStatuses[{container}].state.waiting.reason}}{{\":\"}}\
         {{.status.containerStatuses[{container}].state.waiting.message}}"
    )
}

async fn call(fixture: &Fixture, pod: &str, language: &str) -> Result<Vec<Val>, ClusterError> {
    let name = ContainerName { namespace: "default", pod, container: "phrasebook" };
    let arguments = [Val::String(language.to_owned()), Val::String("Ada".to_owned())];
    fixture.cluster.call(&name, INTERFACE, "greeting", &arguments).await
}

fn said(text: &str) -> Vec<Val> {
    vec![Val::Result(Ok(Some(Box::new(Val::String(text.to_owned())))))]
}

#[tokio::test(flavor = "multi_thread")]
async fn an_embedder_calls_a_library_that_is_configured_by_its_pod() {
    let fixture = Fixture::start().await;
    let phrasebook = guest("phrasebook").await;
    fixture.cluster.import_image("phrasebook:1", phrasebook).await.expect("it is a component");
    fixture.kubectl.apply(&pod("book", &[("phrasebook", "phrasebook:1")])).await;
    let hello =
        eventually("a running library", || async { call(&fixture, "book", "en").await.ok() }).await;
    assert_eq!(hello, said("Hello, Ada!"), "a ConfigMap that is mounted");
    let hello = call(&fixture, "book", "de").await.expect("it runs");
    assert_eq!(hello, said("Servus, Ada!"), "the environment counts first");
    let running = fixture.kubectl.until("get pod book", |said| said.contains("1/1")).await;
    assert!(running.contains("Running"), "{running}");
    let error = call(&fixture, "nobody", "en").await.expect_err("there is no such pod");
    assert!(error.to_string().contains("default/nobody/phrasebook"), "{error}");
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_waits_for_the_one_it_imports_from() {
    let fixture = Fixture::start().await;
    let kubectl = &fixture.kubectl;
    let front = guest("front").await;
    fixture.cluster.import_image("front:1", front).await.expect("it is a component");

    // Nobody in the pod would give it what it wants.
    kubectl.apply(&pod("alone", &[("front", "front:1")])).await;
    let why = kubectl.until(&waiting("alone", 0), |why| why.contains("CreateContainerError")).await;
    assert!(
        why.contains(
            "imports that nobody gives: example:phrases/greet@0.1.0 (nothing of example:phrases is offered)"
        ),
        "{why}"
    );

    // Somebody may: its image is not here yet.
    let both = [("front", "front:1"), ("phrasebook", "phrasebook:1")];
    kubectl.apply(&pod("both", &both)).await;
    let why = kubectl
        .until(&waiting("both", 0), |why| why.contains("waiting for the image of phrasebook"))
        .await;
    assert!(why.starts_with("ContainerCreating:"), "{why}");
    let phrasebook = guest("phrasebook").await;
    fixture.cluster.import_image("phrasebook:1", phrasebook).await.expect("it is a component");
    kubectl.until("get pod both", |said| said.contains("2/2")).await;
    let events = kubectl.ok("events --for pod/both").await;
    assert!(!events.contains("CreateContainerError"), "{events}");
    fixture.stop().await;
}

/// A library that exports one interface and imports another.
fn link(imports: &str, exports: &str) -> Vec<u8> {
    let text = format!(
        r#"(component
        (import "{imports}" (instance $in (export "f" (func (result u32)))))
        (core func $f (canon lower (func $in "f")))
        (core module $m
            (import "" "f" (func $f (result i32)))
            (func (export "f") (result i32) call $f))
        (core instance $i (instantiate $m (with "" (instance (export "f" (func $f))))))
        (func $g (result u32) (canon lift (core func $i "f")))
        (instance $e (export "f" (func $g)))
        (export "{exports}" (instance $e)))"#
    );
    wat::parse_str(text).expect("a component")
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_that_import_from_each_other_are_refused() {
    let fixture = Fixture::start().await;
    for (image, imports, exports) in
        [("a:1", "acme:a/x", "acme:b/x"), ("b:1", "acme:b/x", "acme:a/x")]
    {
        fixture.cluster.import_image(image, link(imports, exports)).await.expect("a component");
    }
    fixture.kubectl.apply(&pod("circle", &[("one", "a:1"), ("two", "b:1")])).await;
    let wanted = "containers import from each other, so that none can start first: one → two → one";
    let why = fixture.kubectl.until(&waiting("circle", 0), |why| why.contains(wanted)).await;
    assert!(why.starts_with("CreateContainerError:"), "{why}");
    fixture.stop().await;
}
