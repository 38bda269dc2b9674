//! A node: its object in the API, its lease, and everything that runs on it.
//!
//! Labels say what a node is: `kubernetes.io/arch=wasm32`, `kubernetes.io/os=wasi`. A workload that
//! selects another architecture or system does not belong here.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use copepod_runtime::{Container, Runtime, WASMTIME_VERSION};
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::{
    ContainerImage, DaemonEndpoint, Node as NodeObject, NodeAddress, NodeCondition,
    NodeDaemonEndpoints, NodeStatus, NodeSystemInfo, ObjectReference,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference, Time};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::{Capacity, KUBELET_PORT, KubeletEndpoint, NodeConfig};
use crate::events::{Busy, Recorder, Report};
use crate::images::{Images, StoreError};
use crate::ipam::{Ipam, IpamError};
use crate::network::Network;
use crate::objects::Objects;
use crate::outage::Outage;
use crate::pods::driver::{Driver, Mailbox, Question};
use crate::pods::effects::{Means, chain};
use crate::server::{self, Kubelet};
use crate::tls::{self, TlsError};

/// What the user name of a node's credentials begins with.
const NODE_USER: &str = "system:node:";
const LEASE_NAMESPACE: &str = "kube-node-lease";
const KUBELET_VERSION: &str = concat!("v1.36.0+copepod-", env!("CARGO_PKG_VERSION"));
const ARCHITECTURE: &str = "wasm32";
const SYSTEM: &str = "wasi";
const IN_MEMORY: &str = "copepod.dev/kubelet-in-memory";
const CERTIFICATE: &str = "copepod.dev/kubelet-certificate-sha256";
/// As upstream: images beyond this number are not listed in the status.
const IMAGES_SHOWN: usize = 50;
/// Between attempts to reach an API that does not answer.
const RETRY: Duration = Duration::from_millis(500);
/// How long the first pods wait for the list of Services, which their environments tell of.
const SERVICES_WITHIN: Duration = Duration::from_secs(5);
/// Between looks for the podCIDR that the control plane gives out.
const CIDR_LOOK: Duration = Duration::from_millis(20);

/// Why a node could not start.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    #[error("the data folder {} cannot be used: {source}", path.display())]
    DataDir { path: PathBuf, source: io::Error },
    #[error(
        "the data folder {} is in use by another node: stop that one, or choose another folder",
        path.display()
    )]
    DataDirInUse { path: PathBuf },
    #[error("the image store cannot be used: {0}")]
    Images(#[from] StoreErrorText),
    #[error("the kubelet API cannot listen on {addr}: {source}; free the port, or choose another")]
    Listen { addr: SocketAddr, source: io::Error },
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("the podCIDR of the node cannot be used: {0}")]
    Ipam(#[from] IpamError),
    #[error("the API does not take this node: {0}")]
    Refused(String),
    #[error(
        "the credentials are those of node {bearer}, not of {name}: give --name {bearer}, or the kubeconfig made for {name}"
    )]
    Name { name: String, bearer: String },
}

/// The store's error, as text: its type is the store's own business.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StoreErrorText(String);

impl From<StoreError> for StoreErrorText {
    fn from(error: StoreError) -> Self {
        Self(error.to_string())
    }
}

/// A running node.
pub struct Node {
    mailbox: Mailbox,
    images: Arc<Images>,
    kubelet: Kubelet,
    drain: Duration,
    /// Cancelled when nothing of the node may do anything any more.
    gone: CancellationToken,
    driver: JoinHandle<()>,
    _lock: File,
}

impl Node {
    /// Registers, waits for the node's podCIDR, and begins to run pods.
    pub async fn start(
        config: NodeConfig,
        client: Client,
        runtime: Arc<Runtime>,
        network: Arc<Network>,
    ) -> Result<Node, NodeError> {
        let lock = lock(&config.data_dir)?;
        let images = Images::open(
            &config.data_dir.join("images"),
            runtime.clone(),
            config.allowed_image_dirs.clone(),
        )
        .map_err(StoreErrorText::from)?;
        let door = Door::open(&config).await?;
        let busy = Busy::default();
        let ambient = config.ambient.clone();
        let gone = CancellationToken::new();
        let recorder = Recorder::start(
            client.clone(),
            config.name.clone(),
            busy.clone(),
            ambient.clone(),
            gone.clone(),
        );
        let means = Arc::new(Means {
            objects: Arc::new(Objects::new(client.clone())),
            images: Arc::new(images),
            config,
            client,
            runtime,
            network,
            recorder,
            busy,
            outage: Outage::new(ambient.clone()),
        });
        let registration = Registration::new(means.clone(), door.port(), door.annotation());
        let uid = registration.register().await?;
        let lease = keep_lease(means.clone(), uid.clone());
        spawn(&means, &gone, lease);
        let ipam = Ipam::new(&registration.pod_cidr().await)?;
        let listed = means.network.services_listed();
        if tokio::time::timeout(SERVICES_WITHIN, listed).await.is_err() {
            tracing::warn!("the Services are not known yet; pods start without being told of them");
        }
        let (mailbox, messages) = Mailbox::new();
        let driver = Driver::new(means.clone(), ipam, mailbox.clone(), messages, gone.clone());
        let driver = ambient.spawn(driver.run());
        let kubelet = Kubelet::new(means.clone(), mailbox.clone());
        if let Door::Listening { listener, tls, .. } = door {
            let serving =
                server::serve(listener, tls.config, kubelet.clone(), means.clone(), gone.clone());
            spawn(&means, &gone, serving);
        }
        registration.report(true).await;
        registration.event("Starting", "Starting kubelet.");
        registration
            .event("NodeReady", &format!("Node {} status is now: NodeReady", means.config.name));
        spawn(&means, &gone, registration.keep());
        let drain = means.config.drain;
        let images = means.images.clone();
        Ok(Node { mailbox, images, kubelet, drain, gone, driver, _lock: lock })
    }

    /// The digests of the images in the node's store.
    pub fn image_digests(&self) -> Vec<String> {
        self.images.list().into_iter().map(|image| image.digest).collect()
    }

    /// The kubelet API, for whoever holds the node in the same process.
    pub fn kubelet(&self) -> Kubelet {
        self.kubelet.clone()
    }

    /// A running container of this node, for whoever calls its functions in the same process.
    pub fn find(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
    ) -> impl Future<Output = Option<Container>> + Send + use<> {
        let (namespace, pod, container) =
            (namespace.to_owned(), pod.to_owned(), container.to_owned());
        let mailbox = self.mailbox.clone();
        async move {
            let question = |reply| Question::Container { namespace, pod, container, reply };
            mailbox.ask(question).await.flatten()
        }
    }

    /// Lets open requests finish and stops; the pods' objects stay as they are.
    pub async fn stop(mut self) {
        let grace = self.drain;
        let drained = self.mailbox.ask(|reply| Question::Drain { grace, reply });
        if tokio::time::timeout(grace * 2, drained).await.is_err() {
            tracing::warn!("containers were still running when the node stopped");
        }
        self.gone.cancel();
        if (&mut self.driver).await.is_err() {
            tracing::warn!("the node's driver had failed before it was stopped");
        }
    }

    /// Gone without goodbye: sandboxes end at once, and no status is written.
    pub fn kill(self) {
        self.gone.cancel();
        self.driver.abort();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.gone.cancel();
        self.driver.abort();
    }
}

fn spawn(means: &Means, gone: &CancellationToken, task: impl Future<Output = ()> + Send + 'static) {
    let gone = gone.clone();
    means.ambient().spawn(async move {
        let _ = gone.run_until_cancelled(task).await;
    });
}

fn lock(data_dir: &Path) -> Result<File, NodeError> {
    let failed = |source| NodeError::DataDir { path: data_dir.to_owned(), source };
    fs::create_dir_all(data_dir).map_err(failed)?;
    let file = File::create(data_dir.join("node.lock")).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(NodeError::DataDirInUse { path: data_dir.to_owned() }),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// Where the kubelet API answers, made before the node announces it.
enum Door {
    InMemory,
    Listening { listener: TcpListener, tls: tls::Identity, port: u16 },
}

impl Door {
    async fn open(config: &NodeConfig) -> Result<Self, NodeError> {
        let KubeletEndpoint::Listen { addr, ca_pem } = &config.kubelet else {
            return Ok(Self::InMemory);
        };
        let tls = tls::identity(&config.name, config.host_ip, ca_pem)?;
        let failed = |source| NodeError::Listen { addr: *addr, source };
        let listener = TcpListener::bind(addr).await.map_err(failed)?;
        let port = listener.local_addr().map_err(failed)?.port();
        Ok(Self::Listening { listener, tls, port })
    }

    fn port(&self) -> u16 {
        match self {
            Self::InMemory => KUBELET_PORT,
            Self::Listening { port, .. } => *port,
        }
    }

    /// How the control plane is to reach it. The other way's mark is taken away.
    fn annotation(&self) -> Value {
        match self {
            Self::InMemory => json!({ IN_MEMORY: "true", CERTIFICATE: null }),
            Self::Listening { tls, .. } => {
                json!({ IN_MEMORY: null, CERTIFICATE: tls.fingerprint })
            }
        }
    }
}

// ---- the Node object ------------------------------------------------------------------------

/// Keeps the Node object true.
struct Registration {
    means: Arc<Means>,
    api: Api<NodeObject>,
    port: u16,
    annotations: Value,
    system: NodeSystemInfo,
}

impl Registration {
    fn new(means: Arc<Means>, port: u16, annotations: Value) -> Self {
        let api = Api::all(means.client.clone());
        let system = system_info(&means.config);
        Self { means, api, port, annotations, system }
    }

    /// Makes the object, or takes over the one from before, and returns its UID.
    async fn register(&self) -> Result<String, NodeError> {
        let name = &self.means.config.name;
        loop {
            let registered = match self.bearer().await {
                Ok(Some(bearer)) if bearer != *name => {
                    return Err(NodeError::Name { name: name.clone(), bearer });
                }
                Ok(_) => self.try_register().await,
                Err(error) => Err(error),
            };
            let answered = self.means.outage.note(&registered);
            match registered {
                Ok(node) => return Ok(node.metadata.uid.unwrap_or_default()),
                Err(kube::Error::Api(error)) if matches!(error.code, 400 | 401 | 403 | 422) => {
                    return Err(NodeError::Refused(error.message.clone()));
                }
                Err(error) if answered => {
                    tracing::warn!(error = chain(&error), "the node is not registered yet");
                }
                Err(_) => {}
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// The node that the credentials are made out to; `None` where they are no node's.
    async fn bearer(&self) -> Result<Option<String>, kube::Error> {
        let api: Api<SelfSubjectReview> = Api::all(self.means.client.clone());
        let review = match api.create(&PostParams::default(), &SelfSubjectReview::default()).await {
            Ok(review) => review,
            // An API server that does not say who we are: what follows will show what we may.
            Err(kube::Error::Api(error)) if matches!(error.code, 403 | 404) => return Ok(None),
            Err(error) => return Err(error),
        };
        let user = review.status.and_then(|status| status.user_info?.username);
        Ok(user.and_then(|user| Some(user.strip_prefix(NODE_USER)?.to_owned())))
    }

    async fn try_register(&self) -> Result<NodeObject, kube::Error> {
        let name = &self.means.config.name;
        let labels = labels(&self.means.config);
        if self.api.get_opt(name).await?.is_some() {
            let patch =
                json!({ "metadata": { "labels": labels, "annotations": self.annotations } });
            return self.api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await;
        }
        let annotations = self.annotations.as_object().into_iter().flatten();
        let annotations = annotations
            .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
            .collect();
        let node = NodeObject {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                labels: Some(labels),
                annotations: Some(annotations),
                ..ObjectMeta::default()
            },
            status: Some(self.status(false, None)),
            ..NodeObject::default()
        };
        match self.api.create(&PostParams::default(), &node).await {
            Err(kube::Error::Api(error)) if error.code == 409 => self.api.get(name).await,
            created => created,
        }
    }

    /// Waits for the part of the pod network that the control plane gives to this node.
    async fn pod_cidr(&self) -> String {
        let mut looks = 0u32;
        loop {
            let node = self.api.get(&self.means.config.name).await;
            let cidr = node.ok().and_then(|node| node.spec).and_then(|spec| spec.pod_cidr);
            if let Some(cidr) = cidr.filter(|cidr| !cidr.is_empty()) {
                return cidr;
            }
            looks += 1;
            if looks.is_multiple_of(500) {
                tracing::warn!("the control plane has not given this node a podCIDR yet");
            }
            tokio::time::sleep(CIDR_LOOK).await;
        }
    }

    /// Writes the status: at a change, when somebody else has changed it, and every few minutes.
    async fn keep(self) {
        let config = &self.means.config;
        let mut images = self.means.images.changes();
        let mut look = tokio::time::interval(config.renew_every);
        let mut full = tokio::time::interval(config.status_every);
        look.reset();
        full.reset();
        loop {
            tokio::select! {
                _ = look.tick() => self.look().await,
                _ = full.tick() => { self.report(true).await; }
                Ok(()) = images.changed() => { self.report(true).await; }
            }
        }
    }

    /// A control plane that missed our heartbeats has called us unknown: say that we are here.
    async fn look(&self) {
        match self.api.get_opt(&self.means.config.name).await {
            Ok(Some(node)) => {
                let ready = ready_status(node.status.as_ref());
                if ready != Some("True") {
                    self.report(true).await;
                }
            }
            Ok(None) => {
                if self.try_register().await.is_ok() {
                    self.report(true).await;
                }
            }
            Err(error) => tracing::debug!(%error, "the node's object could not be read"),
        }
    }

    async fn report(&self, ready: bool) -> bool {
        let name = &self.means.config.name;
        let before = self.api.get_opt(name).await.ok().flatten().and_then(|node| node.status);
        let status = self.status(ready, before.as_ref());
        let patch = Patch::Strategic(json!({ "status": status }));
        let patched = self.api.patch_status(name, &PatchParams::default(), &patch).await;
        let answered = self.means.outage.note(&patched);
        if let Err(error) = &patched
            && answered
        {
            tracing::warn!(error = chain(error), "the node's status could not be written");
        }
        patched.is_ok()
    }

    fn status(&self, ready: bool, before: Option<&NodeStatus>) -> NodeStatus {
        let config = &self.means.config;
        let resources = resources(&config.capacity);
        NodeStatus {
            addresses: Some(addresses(&config.name, config.host_ip)),
            allocatable: Some(resources.clone()),
            capacity: Some(resources),
            conditions: Some(self.conditions(ready, before)),
            daemon_endpoints: Some(NodeDaemonEndpoints {
                kubelet_endpoint: Some(DaemonEndpoint { port: i32::from(self.port) }),
            }),
            images: Some(self.images()),
            node_info: Some(self.system.clone()),
            ..NodeStatus::default()
        }
    }

    fn conditions(&self, ready: bool, before: Option<&NodeStatus>) -> Vec<NodeCondition> {
        let now = self.means.ambient().now();
        let readiness = if ready {
            ("Ready", true, "KubeletReady", "kubelet is posting ready status")
        } else {
            ("Ready", false, "KubeletNotReady", "the node waits for its podCIDR")
        };
        let conditions = [
            (
                "MemoryPressure",
                false,
                "KubeletHasSufficientMemory",
                "kubelet has sufficient memory available",
            ),
            ("DiskPressure", false, "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
            (
                "PIDPressure",
                false,
                "KubeletHasSufficientPID",
                "kubelet has sufficient PID available",
            ),
            readiness,
        ];
        let old = before.and_then(|status| status.conditions.as_deref()).unwrap_or_default();
        let condition = |(type_, ok, reason, message): (&str, bool, &str, &str)| {
            let status = if ok { "True" } else { "False" };
            let since = old
                .iter()
                .find(|condition| condition.type_ == type_ && condition.status == status)
                .and_then(|condition| condition.last_transition_time.clone());
            NodeCondition {
                type_: type_.into(),
                status: status.into(),
                reason: Some(reason.into()),
                message: Some(message.into()),
                last_heartbeat_time: Some(Time(now)),
                last_transition_time: since.or(Some(Time(now))),
            }
        };
        conditions.into_iter().map(condition).collect()
    }

    fn images(&self) -> Vec<ContainerImage> {
        let mut images: BTreeMap<String, ContainerImage> = BTreeMap::new();
        for stored in self.means.images.list() {
            let image = images.entry(stored.digest.clone()).or_insert_with(|| {
                let repository = stored.reference.rsplit_once([':', '@']);
                let repository = repository.map_or(&*stored.reference, |(name, _)| name);
                ContainerImage {
                    names: Some(vec![format!("{repository}@{}", stored.digest)]),
                    size_bytes: i64::try_from(stored.size).ok(),
                }
            });
            if let Some(names) = &mut image.names {
                names.push(stored.reference);
            }
        }
        let mut images: Vec<ContainerImage> = images.into_values().collect();
        images.sort_by_key(|image| std::cmp::Reverse(image.size_bytes));
        images.truncate(IMAGES_SHOWN);
        images
    }

    fn event(&self, reason: &'static str, message: &str) {
        let name = &self.means.config.name;
        self.means.recorder.record(Report {
            about: ObjectReference {
                kind: Some("Node".into()),
                name: Some(name.clone()),
                // As upstream: the kubelet does not know its object's UID when it begins.
                uid: Some(name.clone()),
                ..ObjectReference::default()
            },
            warning: false,
            reason,
            message: message.into(),
        });
    }
}

fn ready_status(status: Option<&NodeStatus>) -> Option<&str> {
    let conditions = status?.conditions.as_ref()?;
    conditions.iter().find(|c| c.type_ == "Ready").map(|condition| condition.status.as_str())
}

fn labels(config: &NodeConfig) -> BTreeMap<String, String> {
    let mut labels = config.labels.clone();
    for (key, value) in [
        ("kubernetes.io/hostname", config.name.as_str()),
        ("kubernetes.io/arch", ARCHITECTURE),
        ("kubernetes.io/os", SYSTEM),
        ("beta.kubernetes.io/arch", ARCHITECTURE),
        ("beta.kubernetes.io/os", SYSTEM),
    ] {
        labels.insert(key.into(), value.into());
    }
    labels
}

fn addresses(name: &str, ip: IpAddr) -> Vec<NodeAddress> {
    let address = |type_: &str, address: String| NodeAddress { type_: type_.into(), address };
    vec![address("InternalIP", ip.to_string()), address("Hostname", name.to_owned())]
}

fn resources(capacity: &Capacity) -> BTreeMap<String, Quantity> {
    let cpu = match capacity.cpu_millis % 1000 {
        0 => (capacity.cpu_millis / 1000).to_string(),
        _ => format!("{}m", capacity.cpu_millis),
    };
    BTreeMap::from([
        ("cpu".into(), Quantity(cpu)),
        ("memory".into(), Quantity(format!("{}Ki", capacity.memory_bytes / 1024))),
        ("pods".into(), Quantity(capacity.pods.to_string())),
        (
            "ephemeral-storage".into(),
            Quantity(format!("{}Ki", capacity.ephemeral_storage_bytes / 1024)),
        ),
    ])
}

fn system_info(config: &NodeConfig) -> NodeSystemInfo {
    let read = |path: &str| fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
    let known = |text: Option<String>| text.filter(|text| !text.is_empty());
    let machine_id = known(read("/etc/machine-id")).unwrap_or_else(|| config.name.clone());
    let os_image = known(read("/etc/os-release").and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
        Some(line.trim_matches('"').to_owned())
    }));
    NodeSystemInfo {
        architecture: ARCHITECTURE.into(),
        boot_id: known(read("/proc/sys/kernel/random/boot_id")).unwrap_or_default(),
        container_runtime_version: format!("wasmtime://{WASMTIME_VERSION}"),
        kernel_version: known(read("/proc/sys/kernel/osrelease")).unwrap_or_default(),
        kube_proxy_version: String::new(),
        kubelet_version: KUBELET_VERSION.into(),
        system_uuid: machine_id.clone(),
        machine_id,
        operating_system: SYSTEM.into(),
        os_image: os_image.unwrap_or_else(|| std::env::consts::OS.into()),
        swap: None,
    }
}

// ---- the lease ------------------------------------------------------------------------------

/// Renews the node's lease for as long as the node is here.
async fn keep_lease(means: Arc<Means>, node_uid: String) {
    let api: Api<Lease> = Api::namespaced(means.client.clone(), LEASE_NAMESPACE);
    let mut wait = RETRY;
    loop {
        let renewed = renew(&means, &api, &node_uid).await;
        means.outage.note(&renewed);
        match renewed {
            Ok(()) => {
                wait = RETRY;
                tokio::time::sleep(means.config.renew_every).await;
            }
            Err(error) => {
                tracing::debug!(error = chain(&error), "the node's lease was not renewed");
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(means.config.renew_every);
            }
        }
    }
}

async fn renew(means: &Means, api: &Api<Lease>, node_uid: &str) -> Result<(), kube::Error> {
    let name = &means.config.name;
    let now = MicroTime(means.ambient().now());
    let seconds = i32::try_from(means.config.lease_duration.as_secs()).ok();
    let patch = json!({ "spec": {
        "holderIdentity": name, "leaseDurationSeconds": seconds, "renewTime": now,
    }});
    match api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await {
        Err(kube::Error::Api(error)) if error.code == 404 => {}
        renewed => return renewed.map(drop),
    }
    let lease = Lease {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            namespace: Some(LEASE_NAMESPACE.into()),
            owner_references: Some(vec![OwnerReference {
                api_version: "v1".into(),
                kind: "Node".into(),
                name: name.clone(),
                uid: node_uid.to_owned(),
                ..OwnerReference::default()
            }]),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(name.clone()),
            lease_duration_seconds: seconds,
            renew_time: Some(now),
            ..LeaseSpec::default()
        }),
    };
    api.create(&PostParams::default(), &lease).await.map(drop)
}
