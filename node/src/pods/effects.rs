//! What the driver does for a pod, apart from deciding: volumes, containers, writes to the API.
//!
//! Nothing here keeps state of a pod; results go back to the driver as messages.

use std::collections::HashMap;
use std::error::Error;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use copepod_runtime::{Artifact, ContainerSpec, Exit, ExitCause, Runtime, Stdin};
use k8s_openapi::api::core::v1::{Container, ObjectReference, Pod, PodStatus};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions, Request};
use kube::{Api, Client, Resource as _};

use super::config;
use super::env::{self, EnvContext, ServiceLink, ServiceLinkPort};
use super::hosts;
use super::logs::{self, LogWriter};
use super::machine::{ExitSeen, PodEvent, PodMachine, StartProblem};
use super::status;
use super::termination::Termination;
use super::tuning;
use crate::ambient::Ambient;
use crate::config::NodeConfig;
use crate::events::{Busy, Recorder, Report};
use crate::images::Images;
use crate::network::{Network, Protocol, ServicePorts};
use crate::objects::{ObjectRef, Objects, Payload};
use crate::outage::Outage;
use crate::volumes;

/// How much of the log a terminated container's message may repeat, as upstream.
const MESSAGE_BYTES: u64 = 2048;
const MESSAGE_LINES: u64 = 80;

/// What every pod of a node is made with.
pub struct Means {
    pub config: NodeConfig,
    pub client: Client,
    pub runtime: Arc<Runtime>,
    pub network: Arc<Network>,
    pub images: Arc<Images>,
    pub objects: Arc<Objects>,
    pub recorder: Recorder,
    pub busy: Busy,
    pub outage: Outage,
}

/// The objects that an environment or configuration refers to; `None` for what does not exist.
pub type Found = HashMap<ObjectRef, Option<Arc<Payload>>>;

impl Means {
    pub fn ambient(&self) -> &Ambient {
        &self.config.ambient
    }

    /// Everything of a pod on disk.
    pub fn pod_dir(&self, pod: &Pod) -> PathBuf {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        self.config.data_dir.join("pods").join(uid)
    }

    pub async fn make_volumes(&self, pod: &Pod) -> Result<(), String> {
        volumes::make(&self.objects, &self.pod_dir(pod), pod).await
    }

    pub async fn find(&self, references: &[ObjectRef]) -> Result<Found, String> {
        let mut found = Found::new();
        for reference in references {
            found.insert(reference.clone(), self.objects.get(reference).await?);
        }
        Ok(found)
    }

    /// Everything a container is started with.
    pub fn container_spec(
        &self,
        pod: &Pod,
        container: &Container,
        pod_ip: IpAddr,
        artifact: Arc<Artifact>,
        found: &Found,
        output: Arc<LogWriter>,
    ) -> Result<ContainerSpec, StartProblem> {
        let hostname = hosts::hostname(pod, self.network.cluster_domain());
        let hostname = hostname.map_err(StartProblem::Config)?;
        let context = EnvContext {
            pod,
            pod_ip: Some(pod_ip),
            host_ip: self.config.host_ip,
            hostname: &hostname,
            capacity: &self.config.capacity,
            services: &self.service_links(pod),
            objects: found,
        };
        let env = env::build(&context, container).map_err(StartProblem::Config)?;
        let image = container.image.as_deref().unwrap_or_default();
        let mounts =
            volumes::mounts(&self.pod_dir(pod), pod, container).map_err(StartProblem::Config)?;
        let tuning = tuning::tuning(pod, container).map_err(StartProblem::Config)?;
        let config = match artifact.imports(config::INTERFACE) {
            true => config::build(pod, container, &env, found),
            false => Vec::new(),
        };
        Ok(ContainerSpec {
            name: container.name.clone(),
            artifact,
            args: env::arguments(container, image, &env),
            config,
            env,
            mounts,
            working_dir: container.working_dir.clone().filter(|path| !path.is_empty()),
            limits: tuning.limits,
            clock_resolution: tuning.clock_resolution,
            determinism: tuning.determinism,
            http_port: http_port(container),
            reuse: tuning.reuse,
            output,
            stdin: Stdin::Closed,
        })
    }

    /// The Services that a pod's environment tells of: its namespace's, and always `kubernetes`.
    fn service_links(&self, pod: &Pod) -> Vec<ServiceLink> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let wanted = pod.spec.as_ref().and_then(|spec| spec.enable_service_links) != Some(false);
        let mut links = Vec::new();
        if namespace != "default" || !wanted {
            links.extend(
                self.links_of("default").into_iter().filter(|link| link.name == "kubernetes"),
            );
        }
        if wanted {
            links.extend(self.links_of(namespace));
        }
        links
    }

    fn links_of(&self, namespace: &str) -> Vec<ServiceLink> {
        let services = self.network.services_in(namespace);
        let link = |service: ServicePorts| {
            let ports = service.ports.into_iter().map(|(name, port, protocol)| ServiceLinkPort {
                name,
                port,
                protocol: match protocol {
                    Protocol::Tcp => "TCP",
                    Protocol::Udp => "UDP",
                },
            });
            ServiceLink { name: service.name, address: service.ip, ports: ports.collect() }
        };
        services.into_iter().map(link).collect()
    }

    pub fn record(&self, machine: &PodMachine, event: PodEvent) {
        let meta = &machine.pod.metadata;
        let container = event.container.and_then(|index| machine.containers.get(index));
        let about = ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Pod".into()),
            name: meta.name.clone(),
            namespace: meta.namespace.clone(),
            uid: meta.uid.clone(),
            resource_version: meta.resource_version.clone(),
            field_path: container.map(|c| format!("spec.containers{{{}}}", c.name)),
        };
        self.recorder.record(Report {
            about,
            warning: event.warning,
            reason: event.reason,
            message: event.message,
        });
    }

    /// Writes a status once.
    pub async fn write_status(&self, pod: &Pod, status: &PodStatus) -> Written {
        let _busy = self.busy.enter();
        let meta = &pod.metadata;
        let namespace = meta.namespace.as_deref().unwrap_or_default();
        let name = meta.name.as_deref().unwrap_or_default();
        let patch = Patch::Strategic(status::patch(pod, status));
        let request = Request::new(Pod::url_path(&(), Some(namespace)))
            .patch_subresource("status", name, &PatchParams::default(), &patch)
            .map_err(kube::Error::BuildRequest);
        // The pod in the answer is not looked at: the watch brings it.
        let patched = match request {
            Ok(request) => self.client.request_text(request).await.map(drop),
            Err(error) => Err(error),
        };
        if !self.outage.note(&patched) {
            return Written::Unanswered;
        }
        match patched {
            Ok(()) => Written::Stored,
            Err(kube::Error::Api(error)) if error.code == 404 || error.code == 409 => {
                // Gone, or another pod of that name by now.
                Written::Gone
            }
            Err(error) => Written::Failed(chain(&error)),
        }
    }

    /// Deletes the object of a pod that has ended. Tries until the API has answered.
    pub async fn delete_object(&self, pod: &Pod) -> Deleted {
        let meta = &pod.metadata;
        let namespace = meta.namespace.as_deref().unwrap_or_default();
        let name = meta.name.as_deref().unwrap_or_default();
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let params = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions { uid: meta.uid.clone(), resource_version: None }),
            ..DeleteParams::default()
        };
        loop {
            match api.delete(name, &params).await {
                Ok(_) => return Deleted::Accepted,
                Err(kube::Error::Api(error)) if error.code == 404 || error.code == 409 => {
                    return Deleted::WasGone;
                }
                Err(error) => {
                    tracing::debug!(%namespace, %name, %error, "a pod's object is still there");
                    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                }
            }
        }
    }

    /// Removes what a pod has left on disk.
    pub async fn remove_files(&self, pod: &Pod) {
        let folder = self.pod_dir(pod);
        match tokio::fs::remove_dir_all(&folder).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(folder = %folder.display(), %error, "a pod's files are still there");
            }
            _ => {}
        }
    }

    /// An end as the machine wants it, with the message that the container left.
    pub async fn exit_seen(
        &self,
        message_policy: Option<&str>,
        log: &LogWriter,
        termination: Termination,
        exit: Exit,
    ) -> ExitSeen {
        let (reason, cause) = match exit.cause {
            ExitCause::Completed => ("Completed", None),
            ExitCause::DeadlineExceeded => ("DeadlineExceeded", None),
            ExitCause::OutOfMemory => ("OOMKilled", None),
            ExitCause::Trap(trap) => ("Error", Some(trap)),
            ExitCause::Error | ExitCause::Killed | ExitCause::Stopped => ("Error", None),
        };
        let from_log = exit.code != 0 && message_policy == Some("FallbackToLogsOnError");
        let said = match tokio::task::spawn_blocking(move || termination.take()).await {
            Ok(said) if said.is_empty() && from_log => last_lines(log).await.unwrap_or_default(),
            Ok(said) => said,
            // The process ends, and nobody will read it.
            Err(_) => String::new(),
        };
        let parts: Vec<String> =
            cause.into_iter().chain([said]).filter(|s| !s.is_empty()).collect();
        let message = (!parts.is_empty()).then(|| parts.join(": "));
        ExitSeen { code: exit.code, reason, message }
    }
}

/// What became of a status write.
#[derive(Debug)]
pub enum Written {
    Stored,
    Gone,
    Failed(String),
    /// The API server is not there; said already.
    Unanswered,
}

/// What became of a deletion.
pub enum Deleted {
    /// The watch will tell when the object is gone: finalizers may hold it.
    Accepted,
    WasGone,
}

async fn last_lines(log: &LogWriter) -> Option<String> {
    let query = logs::LogQuery { tail_lines: Some(MESSAGE_LINES), ..logs::LogQuery::default() };
    let mut chunks = logs::read(log.source(), query);
    let mut text = Vec::new();
    while let Some(Ok(chunk)) = chunks.recv().await {
        text.extend_from_slice(&chunk);
    }
    let from = text.len().saturating_sub(usize::try_from(MESSAGE_BYTES).unwrap_or(0));
    let text = String::from_utf8_lossy(&text[from..]).into_owned();
    (!text.is_empty()).then_some(text)
}

/// Where an HTTP component is served: the port named `http`, else the first, else 80.
pub fn http_port(container: &Container) -> u16 {
    let ports = container.ports.as_deref().unwrap_or_default();
    let named = ports.iter().find(|port| port.name.as_deref() == Some("http"));
    named.or(ports.first()).and_then(|port| u16::try_from(port.container_port).ok()).unwrap_or(80)
}

/// An error with everything that caused it, for messages that people read.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.contains(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        cause = error.source();
    }
    text
}
