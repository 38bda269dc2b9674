//! Client libraries other than kubectl, unmodified: kube-rs here, Python's where it is asked for.

use std::time::Duration;

use copepod_sdk::Cluster;
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{
    DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams,
};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};
use serde_json::json;
use tokio::process::Command;

use super::support::{Fixture, PATIENCE, repository};

/// kube-rs as any program makes it, over HTTPS.
pub async fn kube_rs(cluster: &Cluster) -> Client {
    let kubeconfig = Kubeconfig::from_yaml(&cluster.kubeconfig()).expect("YAML");
    let options = KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await;
    Client::try_from(config.expect("a configuration")).expect("a client")
}

fn sea(colour: &str) -> ConfigMap {
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "sea", "labels": {"of": "rust"}},
        "data": {"colour": colour},
    });
    serde_json::from_value(object).expect("a config map")
}

fn colour(map: &ConfigMap) -> &str {
    &map.data.as_ref().expect("data")["colour"]
}

#[tokio::test(flavor = "multi_thread")]
async fn kube_rs_creates_lists_watches_applies_and_patches() {
    let fixture = Fixture::start().await;
    let client = kube_rs(&fixture.cluster).await;
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    let selected = ListParams::default().labels("of=rust");

    let created = maps.create(&PostParams::default(), &sea("blue")).await.expect("created");
    let list = maps.list(&selected).await.expect("a list");
    assert_eq!(list.items.len(), 1);
    let since = list.metadata.resource_version.expect("a revision");
    let events = maps.watch(&WatchParams::default().labels("of=rust"), &since).await;
    let mut events = events.expect("a watch").boxed();

    let merge = Patch::Merge(json!({ "data": { "colour": "green" } }));
    let patched = maps.patch("sea", &PatchParams::default(), &merge).await.expect("patched");
    assert_eq!(colour(&patched), "green");
    let strategic = Patch::Strategic(json!({ "data": { "colour": "red" } }));
    let patched = maps.patch("sea", &PatchParams::default(), &strategic).await.expect("patched");
    assert_eq!(colour(&patched), "red");

    let mut stale = created;
    stale.data = sea("stale").data;
    let refused = maps.replace("sea", &PostParams::default(), &stale).await;
    assert!(matches!(refused, Err(kube::Error::Api(status)) if status.code == 409));

    let conflict = maps.patch("sea", &PatchParams::apply("rust"), &Patch::Apply(sea("blue"))).await;
    let Err(kube::Error::Api(conflict)) = conflict else { panic!("another's field: {conflict:?}") };
    assert!(conflict.message.contains("conflict with"), "{conflict:?}");
    let force = PatchParams::apply("rust").force();
    let applied = maps.patch("sea", &force, &Patch::Apply(sea("blue"))).await.expect("applied");
    assert_eq!(colour(&applied), "blue");
    let again = maps.patch("sea", &force, &Patch::Apply(sea("blue"))).await.expect("applied");
    assert_eq!(again.metadata.resource_version, applied.metadata.resource_version);

    maps.delete("sea", &DeleteParams::default()).await.expect("deleted");
    let mut seen = Vec::new();
    loop {
        let event = tokio::time::timeout(PATIENCE, events.try_next()).await.expect("an event");
        match event.expect("a sound stream").expect("more") {
            WatchEvent::Modified(map) => seen.push(colour(&map).to_owned()),
            WatchEvent::Deleted(_) => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seen, ["green", "red", "blue"]);
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kube_rs_streams_lists_into_its_caches() {
    let fixture = Fixture::start().await;
    let client = kube_rs(&fixture.cluster).await;
    let deployments: Api<Deployment> = Api::default_namespaced(client);
    let object = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "image": "web:1"}]},
            },
        },
    });
    let object: Deployment = serde_json::from_value(object).expect("a deployment");
    deployments.create(&PostParams::default(), &object).await.expect("created");
    // A streamed list: the initial events end with an annotated bookmark.
    let config = watcher::Config::default().streaming_lists();
    let mut events = watcher(deployments, config).applied_objects().boxed();
    let first = tokio::time::timeout(PATIENCE, events.try_next()).await.expect("an event");
    assert_eq!(first.expect("a sound stream").expect("more").metadata.name.as_deref(), Some("web"));
    fixture.stop().await;
}

/// Outside of CI, since the client comes from PyPI: it runs where `COPEPOD_TEST_CLIENTS=all` is set
/// (`just clients`).
#[tokio::test(flavor = "multi_thread")]
async fn pythons_client_drives_a_cluster() {
    if std::env::var("COPEPOD_TEST_CLIENTS").as_deref() != Ok("all") {
        eprintln!("skipped: COPEPOD_TEST_CLIENTS is not `all`");
        return;
    }
    let fixture = Fixture::start().await;
    let sources = repository().join("tests/clients/python");
    let folder = tempfile::tempdir().expect("a folder");
    let kubeconfig = folder.path().join("kubeconfig");
    std::fs::write(&kubeconfig, fixture.cluster.kubeconfig()).expect("a kubeconfig");
    let environment = folder.path().join("venv");
    ran(Command::new("python3").args(["-m", "venv"]).arg(&environment)).await;
    let requirements = sources.join("requirements.txt");
    let pip = environment.join("bin/pip");
    ran(Command::new(pip).args(["install", "--quiet", "-r"]).arg(requirements)).await;
    let python = environment.join("bin/python");
    let said = ran(Command::new(python).arg(sources.join("drive.py")).arg(kubeconfig)).await;
    assert_eq!(said.trim(), "everything was as expected");
    fixture.stop().await;
}

/// The output of a program that must succeed.
async fn ran(command: &mut Command) -> String {
    const WITHIN: Duration = Duration::from_secs(600);
    let output = tokio::time::timeout(WITHIN, command.kill_on_drop(true).output()).await;
    let output = output.expect("it ends").expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}:\n{}", text(&output.stderr));
    text(&output.stdout)
}
