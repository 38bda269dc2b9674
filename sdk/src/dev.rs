//! `copepod dev`: build a folder's guests, run its manifests, follow its changes.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::{DynamicObject, ListParams};
use kube::{Api, ResourceExt};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use crate::guests::{self, BuildError, Guest};
use crate::images::{self, ImageError};
use crate::kubeconfig::{self, KubeconfigError};
use crate::logs::{self, Line};
use crate::manifests::{self, ManifestError};
use crate::{Cluster, ClusterError, wait};

/// The annotation of a pod template by which a rebuilt image becomes a rollout.
const DIGEST: &str = "copepod.dev/image-digest";
/// Changes closer together than this are one change.
const SETTLE: Duration = Duration::from_millis(150);
/// How long the workloads may take to become ready before dev says so.
const PATIENCE: Duration = Duration::from_secs(60);

/// What to develop, and where.
#[derive(Clone, Debug)]
pub struct DevOptions {
    pub dir: PathBuf,
    /// A running cluster to use; without one, an in-memory cluster is started.
    pub kubeconfig: Option<PathBuf>,
    /// Where the in-memory cluster's API listens; port 0 picks a free one.
    pub listen: SocketAddr,
    /// Where its NodePorts are opened.
    pub bind_address: IpAddr,
}

/// What happens, for whoever shows it.
#[derive(Clone, Debug)]
pub enum DevEvent {
    Building,
    Built {
        guests: Vec<String>,
        took: Duration,
    },
    Starting,
    /// The in-memory cluster runs; this kubeconfig reaches it.
    Started {
        kubeconfig: PathBuf,
        took: Duration,
    },
    Applied {
        objects: Vec<String>,
    },
    /// The workloads are ready and answer here.
    Ready {
        urls: Vec<String>,
        took: Duration,
    },
    /// They are not, yet.
    NotReady {
        why: String,
    },
    Log(Line),
    /// Files changed; a new round begins.
    Changed,
    /// This round failed; the next change tries again.
    Failed {
        error: String,
    },
}

#[derive(Debug, thiserror::Error)]
pub enum DevError {
    #[error("{0}")]
    Build(#[from] BuildError),
    #[error("{0}")]
    Cluster(#[from] ClusterError),
    #[error("{0}")]
    Kubeconfig(#[from] KubeconfigError),
    #[error("{0}")]
    Manifest(#[from] ManifestError),
    #[error("{0}")]
    Image(#[from] ImageError),
    #[error("{path}: {source}")]
    File { path: String, source: std::io::Error },
    #[error("{dir} cannot be watched: {source}")]
    Watch { dir: String, source: notify::Error },
    #[error("{0}")]
    Api(#[from] kube::Error),
}

/// Runs until `stop` completes; tells `events` what happens. A failure before the first round is
/// done ends it; later ones wait for the next change.
pub async fn dev(
    options: DevOptions,
    events: mpsc::Sender<DevEvent>,
    stop: impl Future<Output = ()>,
) -> Result<(), DevError> {
    let session = Session::open(&options, events).await?;
    let result = session.follow(&options, stop).await;
    session.close().await;
    result
}

struct Session {
    events: mpsc::Sender<DevEvent>,
    client: kube::Client,
    /// The address of the cluster's doors.
    host: String,
    cluster: Option<(Cluster, tempfile::TempDir)>,
}

impl Session {
    async fn open(options: &DevOptions, events: mpsc::Sender<DevEvent>) -> Result<Self, DevError> {
        // Read first: a mistake in the manifests should not cost a build.
        read_all(&options.dir)?;
        if let Some(file) = &options.kubeconfig {
            let client = kubeconfig::client(file).await?;
            let host = api_host(file);
            return Ok(Self { events, client, host, cluster: None });
        }
        events.send(DevEvent::Starting).await.ok();
        let begun = Instant::now();
        let cluster = Cluster::builder()
            .memory()
            .listen(options.listen)
            .bind_address(options.bind_address)
            .allow_images_in(&options.dir)
            .restart_backoff(Duration::from_secs(1))
            .drain(Duration::from_secs(2))
            .start()
            .await?;
        let folder = tempfile::Builder::new().prefix("copepod-dev-").tempdir();
        let folder = folder.map_err(|source| DevError::File {
            path: std::env::temp_dir().display().to_string(),
            source,
        })?;
        let kubeconfig = folder.path().join("kubeconfig");
        std::fs::write(&kubeconfig, cluster.kubeconfig())
            .map_err(|source| DevError::File { path: kubeconfig.display().to_string(), source })?;
        events.send(DevEvent::Started { kubeconfig, took: begun.elapsed() }).await.ok();
        let client = cluster.client();
        let host = options.bind_address.to_string();
        Ok(Self { events, client, host, cluster: Some((cluster, folder)) })
    }

    async fn close(self) {
        if let Some((cluster, _folder)) = self.cluster {
            cluster.stop().await;
        }
    }

    async fn follow(
        &self,
        options: &DevOptions,
        stop: impl Future<Output = ()>,
    ) -> Result<(), DevError> {
        let (_watcher, mut changes) = watch(&options.dir)?;
        let mut lines = logs::follow(self.client.clone(), "default");
        let mut applied = BTreeMap::new();
        let mut stop = std::pin::pin!(stop);
        // The first round's failure is the command's failure.
        tokio::select! {
            round = self.round(options, &mut applied) => round?,
            () = &mut stop => return Ok(()),
        }
        loop {
            tokio::select! {
                () = &mut stop => return Ok(()),
                Some(line) = lines.recv() => drop(self.events.send(DevEvent::Log(line)).await),
                Some(()) = changes.recv() => {
                    settle(&mut changes).await;
                    self.events.send(DevEvent::Changed).await.ok();
                    tokio::select! {
                        round = self.round(options, &mut applied) => if let Err(error) = round {
                            self.events.send(DevEvent::Failed { error: error.to_string() }).await.ok();
                        },
                        () = &mut stop => return Ok(()),
                    }
                }
            }
        }
    }

    /// Builds, imports, applies, and waits until all is ready.
    async fn round(
        &self,
        options: &DevOptions,
        applied: &mut BTreeMap<String, DynamicObject>,
    ) -> Result<(), DevError> {
        self.events.send(DevEvent::Building).await.ok();
        let begun = Instant::now();
        let guests = guests::build(&options.dir).await?;
        let names = guests.iter().map(|guest| guest.name.clone()).collect();
        self.events.send(DevEvent::Built { guests: names, took: begun.elapsed() }).await.ok();

        let begun = Instant::now();
        let objects = read_all(&options.dir)?;
        let digests = self.import(&guests, &objects).await?;
        self.apply(objects, &digests, applied).await?;
        match self.ready(applied).await {
            Ok(urls) => {
                let ready = DevEvent::Ready { urls, took: begun.elapsed() };
                self.events.send(ready).await.ok();
            }
            Err(why) => drop(self.events.send(DevEvent::NotReady { why }).await),
        }
        Ok(())
    }

    /// Imports each guest under every reference that the manifests know it by; answers the digest
    /// of each reference.
    async fn import(
        &self,
        guests: &[Guest],
        objects: &[DynamicObject],
    ) -> Result<BTreeMap<String, String>, DevError> {
        let mut digests = BTreeMap::new();
        for guest in guests {
            let wasm = tokio::fs::read(&guest.wasm).await.map_err(|source| DevError::File {
                path: guest.wasm.display().to_string(),
                source,
            })?;
            for reference in references(objects, &guest.name) {
                let digest = format!("sha256:{}", hex(&Sha256::digest(&wasm)));
                images::import(&self.client, &reference, wasm.clone().into()).await?;
                digests.insert(reference, digest);
            }
        }
        Ok(digests)
    }

    async fn apply(
        &self,
        objects: Vec<DynamicObject>,
        digests: &BTreeMap<String, String>,
        applied: &mut BTreeMap<String, DynamicObject>,
    ) -> Result<(), DevError> {
        let mut titles = Vec::new();
        let mut gone = std::mem::take(applied);
        for mut object in objects {
            let title = manifests::title(&object);
            stamp(&mut object, digests);
            let before = gone.remove(&title);
            if before.as_ref().is_none_or(|before| before != &object) {
                self.apply_one(&object, before.is_some()).await?;
                titles.push(title.clone());
            }
            applied.insert(title, object);
        }
        for object in gone.values() {
            manifests::delete(&self.client, object).await?;
        }
        self.events.send(DevEvent::Applied { objects: titles }).await.ok();
        Ok(())
    }

    /// A pod's spec cannot change, so a changed pod is made anew.
    async fn apply_one(&self, object: &DynamicObject, known: bool) -> Result<(), DevError> {
        if known && kind(object) == "Pod" {
            manifests::delete(&self.client, object).await?;
            let pods = self.pods(object);
            let gone = |pod: Option<&Pod>| pod.is_none();
            wait::object(pods, &object.name_any(), gone, PATIENCE, "deleted").await.ok();
        }
        manifests::apply(&self.client, object).await?;
        Ok(())
    }

    fn pods(&self, object: &DynamicObject) -> Api<Pod> {
        match object.namespace() {
            Some(namespace) => Api::namespaced(self.client.clone(), &namespace),
            None => Api::default_namespaced(self.client.clone()),
        }
    }

    /// Waits for Deployments to be rolled out; answers the URLs of the NodePort Services.
    async fn ready(
        &self,
        applied: &BTreeMap<String, DynamicObject>,
    ) -> Result<Vec<String>, String> {
        use k8s_openapi::api::apps::v1::Deployment;
        let deadline = Instant::now() + PATIENCE;
        for object in applied.values().filter(|object| kind(object) == "Deployment") {
            let namespace = object.namespace().unwrap_or_else(|| "default".to_owned());
            let api = Api::<Deployment>::namespaced(self.client.clone(), &namespace);
            let left = deadline.saturating_duration_since(Instant::now());
            wait::object(api, &object.name_any(), rolled_out, left, "rolled out")
                .await
                .map_err(|error| error.to_string())?;
        }
        self.urls(applied).await.map_err(|error| error.to_string())
    }

    async fn urls(
        &self,
        applied: &BTreeMap<String, DynamicObject>,
    ) -> Result<Vec<String>, kube::Error> {
        let services =
            Api::<Service>::all(self.client.clone()).list(&ListParams::default()).await?;
        let mut urls = Vec::new();
        for service in services {
            if !applied.contains_key(&format!("Service/{}", service.name_any())) {
                continue;
            }
            for port in service.spec.iter().flat_map(|spec| spec.ports.iter().flatten()) {
                if let Some(node_port) = port.node_port {
                    urls.push(url(
                        &self.host,
                        port.name.as_deref(),
                        port.app_protocol.as_deref(),
                        node_port,
                    ));
                }
            }
        }
        Ok(urls)
    }
}

/// A cluster elsewhere opens its doors where its API is.
fn api_host(kubeconfig: &Path) -> String {
    kube::config::Kubeconfig::read_from(kubeconfig)
        .ok()
        .and_then(|config| config.clusters.into_iter().next()?.cluster?.server)
        .and_then(|server| server.parse::<http::Uri>().ok()?.host().map(str::to_owned))
        .unwrap_or_else(|| "127.0.0.1".to_owned())
}

fn url(host: &str, name: Option<&str>, protocol: Option<&str>, port: i32) -> String {
    let tcp = name.is_some_and(|name| name.starts_with("tcp")) || protocol == Some("tcp");
    if tcp { format!("tcp://{host}:{port}") } else { format!("http://{host}:{port}") }
}

fn read_all(dir: &Path) -> Result<Vec<DynamicObject>, ManifestError> {
    let mut objects = Vec::new();
    for file in manifests::files(dir)? {
        objects.extend(manifests::read(&file)?);
    }
    Ok(objects)
}

fn kind(object: &DynamicObject) -> &str {
    object.types.as_ref().map_or("", |types| types.kind.as_str())
}

/// The pod spec within an object: a pod's own, or a template's.
fn pod_spec(object: &DynamicObject) -> Option<&Value> {
    match kind(object) {
        "Pod" => object.data.get("spec"),
        _ => object.data.get("spec")?.get("template")?.get("spec"),
    }
}

/// The image references of the manifests whose last path segment, without its tag, is `name`.
fn references(objects: &[DynamicObject], name: &str) -> Vec<String> {
    let mut found: Vec<String> = objects
        .iter()
        .filter_map(pod_spec)
        .flat_map(images_of)
        .filter(|image| {
            let last = image.rsplit('/').next().unwrap_or(image);
            last.split([':', '@']).next() == Some(name)
        })
        .map(str::to_owned)
        .collect();
    found.sort();
    found.dedup();
    found
}

fn images_of(spec: &Value) -> impl Iterator<Item = &str> {
    spec["containers"].as_array().into_iter().flatten().filter_map(|c| c["image"].as_str())
}

/// Notes the digests of its images on a pod template (or pod), so that a rebuild is a change.
fn stamp(object: &mut DynamicObject, digests: &BTreeMap<String, String>) {
    let Some(spec) = pod_spec(object) else { return };
    let used: Vec<&str> =
        images_of(spec).filter_map(|image| digests.get(image)).map(String::as_str).collect();
    if used.is_empty() {
        return;
    }
    let digest = used.join(",");
    if kind(object) == "Pod" {
        object.annotations_mut().insert(DIGEST.to_owned(), digest);
        return;
    }
    // Where something else than an object stands there, the API will say so better than we could.
    let annotations = child(&mut object.data["spec"]["template"], "metadata")
        .and_then(|metadata| child(metadata, "annotations"))
        .and_then(Value::as_object_mut);
    if let Some(annotations) = annotations {
        annotations.insert(DIGEST.to_owned(), digest.into());
    }
}

/// A field of an object, made an object where there is none.
fn child<'a>(value: &'a mut Value, key: &str) -> Option<&'a mut Value> {
    let child = value.as_object_mut()?.entry(key).or_insert(Value::Null);
    if child.is_null() {
        *child = json!({});
    }
    Some(child)
}

fn rolled_out(deployment: Option<&k8s_openapi::api::apps::v1::Deployment>) -> bool {
    let Some(deployment) = deployment else { return false };
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let Some(status) = &deployment.status else { return false };
    status.observed_generation >= deployment.metadata.generation
        && status.updated_replicas.unwrap_or(0) == wanted
        && status.replicas.unwrap_or(0) == wanted
        && status.available_replicas.unwrap_or(0) == wanted
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").ok();
        text
    })
}

/// Tells of changes below `dir` that matter: not those of build folders and hidden files.
fn watch(dir: &Path) -> Result<(RecommendedWatcher, mpsc::Receiver<()>), DevError> {
    // One waiting change is as good as many.
    let (changed, changes) = mpsc::channel(1);
    let root = dir.to_owned();
    let fails = |source| DevError::Watch { dir: dir.display().to_string(), source };
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let matters = event.is_ok_and(|event| {
            !event.kind.is_access() && event.paths.iter().any(|path| is_source(&root, path))
        });
        if matters {
            changed.try_send(()).ok();
        }
    })
    .map_err(fails)?;
    watcher.watch(dir, RecursiveMode::Recursive).map_err(fails)?;
    Ok((watcher, changes))
}

fn is_source(root: &Path, path: &Path) -> bool {
    let below = path.strip_prefix(root).unwrap_or(path);
    let ignored = |part: &std::ffi::OsStr| {
        let part = part.to_string_lossy();
        let built = ["target", "build", "node_modules", "__pycache__", "Cargo.lock"];
        built.contains(&&*part) || part.starts_with('.') || part.ends_with('~')
    };
    !below.components().any(|component| ignored(component.as_os_str()))
}

async fn settle(changes: &mut mpsc::Receiver<()>) {
    while let Ok(Some(())) = tokio::time::timeout(SETTLE, changes.recv()).await {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment(image: &str) -> DynamicObject {
        serde_json::from_value(json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
            "spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}},
        }))
        .expect("an object")
    }

    #[test]
    fn a_guest_is_known_by_the_last_part_of_its_images_name() {
        let objects = [
            deployment("hello:dev"),
            deployment("ghcr.example/x/hello@sha256:00"),
            deployment("hello-not:dev"),
        ];
        assert_eq!(references(&objects, "hello"), ["ghcr.example/x/hello@sha256:00", "hello:dev"]);
    }

    #[test]
    fn a_rebuilt_image_changes_the_template() {
        let mut object = deployment("hello:dev");
        stamp(&mut object, &BTreeMap::from([("hello:dev".to_owned(), "sha256:1".to_owned())]));
        let annotations = &object.data["spec"]["template"]["metadata"]["annotations"];
        assert_eq!(annotations[DIGEST], "sha256:1");
    }

    #[test]
    fn metadata_that_is_no_object_is_left_to_the_api() {
        let digests = BTreeMap::from([("hello:dev".to_owned(), "sha256:1".to_owned())]);
        for metadata in [json!("text"), json!({"annotations": ["text"]})] {
            let mut object = deployment("hello:dev");
            object.data["spec"]["template"]["metadata"] = metadata.clone();
            stamp(&mut object, &digests);
            assert_eq!(object.data["spec"]["template"]["metadata"], metadata);
        }
    }

    #[test]
    fn build_folders_and_hidden_files_are_no_sources() {
        let root = Path::new("/d");
        for (path, source) in [
            ("/d/src/main.rs", true),
            ("/d/manifests/a.yaml", true),
            ("/d/target/x.wasm", false),
            ("/d/.git/index", false),
            ("/d/build/x.wasm", false),
            ("/d/node_modules/a/index.js", false),
            ("/d/__pycache__/app.cpython-312.pyc", false),
            ("/d/Cargo.lock", false),
            ("/d/build.mjs", true),
        ] {
            assert_eq!(is_source(root, Path::new(path)), source, "{path}");
        }
    }
}
