//! The kubelet API: logs, images, pods, statistics.
//!
//! Reached by the control plane alone: in memory, or over TLS with a client certificate. It asks
//! the driver for whatever concerns pods and keeps nothing itself.

mod containers;
mod streams;

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt::Write;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::images::{Images, StoreError};
use crate::pods::driver::{LogRefusal, Mailbox, PodStats, Question, WantedLog};
use crate::pods::effects::Means;
use crate::pods::logs::{self, LogQuery};

/// The largest image that is taken in: none larger is compiled.
pub const IMAGE_LIMIT: u64 = copepod_runtime::FILE_BYTES_MAX as u64;
/// Pieces of an image that wait to be written.
const IMAGE_PIECES: usize = 16;
/// A client that has not finished its handshake by then is let go.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// The body of an answer.
pub type KubeletBody = UnsyncBoxBody<Bytes, io::Error>;
type Answer = Result<Response<KubeletBody>, Refusal>;
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The kubelet API as a service over HTTP requests. Cheap to clone.
#[derive(Clone)]
pub struct Kubelet {
    means: Arc<Means>,
    mailbox: Mailbox,
}

impl<B> tower::Service<Request<B>> for Kubelet
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<KubeletBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let kubelet = self.clone();
        Box::pin(async move {
            let answer = kubelet.route(request).await;
            Ok(answer.unwrap_or_else(|Refusal(code, message)| respond(code, TEXT, message)))
        })
    }
}

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

impl Kubelet {
    pub(crate) fn new(means: Arc<Means>, mailbox: Mailbox) -> Self {
        Self { means, mailbox }
    }

    async fn route<B>(&self, request: Request<B>) -> Answer
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let (mut parts, body) = request.into_parts();
        let parameters = parameters(parts.uri.query().unwrap_or_default());
        let path = parts.uri.path().to_owned();
        let path: Vec<&str> = path.trim_matches('/').split('/').collect();
        match (&parts.method.clone(), path.as_slice()) {
            (&Method::GET, ["healthz"]) => Ok(respond(StatusCode::OK, TEXT, "ok".into())),
            (&Method::GET, ["pods"]) => pods(self).await,
            (&Method::GET, ["metrics"]) => metrics(self).await,
            (&Method::GET, ["metrics", "resource"]) => resource_metrics(self).await,
            (&Method::GET, ["stats", "summary"]) => summary(self).await,
            (&Method::GET, ["containerLogs", namespace, pod, container]) => {
                container_logs(self, namespace, pod, container, &parameters).await
            }
            (&Method::GET, ["connect", ip, port]) => {
                streams::connect(self, ip, port, asked(&mut parts, parameters)).await
            }
            (&Method::GET | &Method::POST, ["portForward", namespace, pod]) => {
                let asked = asked(&mut parts, parameters);
                streams::port_forward(self, namespace, pod, asked).await
            }
            (&Method::GET | &Method::POST, ["attach", namespace, pod, container]) => {
                let asked = asked(&mut parts, parameters);
                streams::attach(self, namespace, pod, container, asked).await
            }
            (&Method::GET | &Method::POST, ["exec", _, pod, container]) => {
                Err(streams::exec(pod, container))
            }
            (&Method::GET, ["images"]) => Ok(list_images(self)),
            (&Method::POST, ["images"]) => import_image(self, &parameters, body).await,
            (&Method::DELETE, ["images"]) => remove_image(self, &parameters).await,
            (_, ["healthz" | "pods" | "metrics" | "images"] | ["containerLogs", ..]) => {
                let message = format!("{} is not allowed here", parts.method);
                Err(Refusal(StatusCode::METHOD_NOT_ALLOWED, message))
            }
            _ => Err(Refusal(StatusCode::NOT_FOUND, "404 page not found".into())),
        }
    }
}

fn asked(parts: &mut http::request::Parts, parameters: Parameters) -> streams::Asked {
    let upgrade = parts.extensions.remove::<OnUpgrade>();
    streams::Asked { headers: std::mem::take(&mut parts.headers), parameters, upgrade }
}

fn respond(code: StatusCode, content_type: &'static str, text: String) -> Response<KubeletBody> {
    let body = Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync();
    with_type(code, content_type, body)
}

fn with_type(
    code: StatusCode,
    content_type: &'static str,
    body: KubeletBody,
) -> Response<KubeletBody> {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn json_answer(value: &Value) -> Response<KubeletBody> {
    respond(StatusCode::OK, JSON, value.to_string())
}

/// The parameters of a query; of one that is given twice, the last.
fn parameters(query: &str) -> HashMap<String, String> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(name), decoded(value))
        })
        .collect()
}

/// Undoes percent-encoding; what is not well encoded stays as it is.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let digit = |at: usize| {
        bytes
            .get(at)
            .and_then(|byte| char::from(*byte).to_digit(16))
            .and_then(|d| u8::try_from(d).ok())
    };
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match (bytes[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push(high << 4 | low);
                at += 2;
            }
            (b'+', ..) => out.push(b' '),
            (byte, ..) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// An answer that is no success, as plain text.
#[derive(Debug)]
struct Refusal(StatusCode, String);

impl From<LogRefusal> for Refusal {
    fn from(refusal: LogRefusal) -> Self {
        let code = StatusCode::from_u16(refusal.code).unwrap_or(StatusCode::BAD_REQUEST);
        Self(code, refusal.message)
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        let code = match &error {
            StoreError::Reference(_) | StoreError::Form(_) | StoreError::Digest { .. } => {
                StatusCode::BAD_REQUEST
            }
            StoreError::Io { .. } | StoreError::Table { .. } | StoreError::Blob { .. } => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        Self(code, error.to_string())
    }
}

fn stopping() -> Refusal {
    Refusal(StatusCode::SERVICE_UNAVAILABLE, "the node is stopping".into())
}

type Parameters = HashMap<String, String>;

async fn pods(kubelet: &Kubelet) -> Answer {
    let pods = kubelet.mailbox.ask(Question::Pods).await.ok_or_else(stopping)?;
    let list = json!({ "kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": pods });
    Ok(json_answer(&list))
}

async fn container_logs(
    kubelet: &Kubelet,
    namespace: &str,
    pod: &str,
    container: &str,
    parameters: &Parameters,
) -> Answer {
    let now = kubelet.means.ambient().now();
    let query = LogQuery::parse(parameters, now)
        .map_err(|problem| Refusal(StatusCode::BAD_REQUEST, problem))?;
    let wanted = WantedLog {
        namespace: namespace.into(),
        pod: pod.into(),
        container: container.into(),
        previous: query.previous,
    };
    let source = kubelet
        .mailbox
        .ask(|reply| Question::Log { wanted, reply })
        .await
        .ok_or_else(stopping)??;
    let chunks = logs::read(source, query);
    let stream = futures::stream::unfold(chunks, |mut chunks| async move {
        chunks.recv().await.map(|chunk| (chunk, chunks))
    });
    let body = StreamBody::new(stream.map_ok(Frame::data)).boxed_unsync();
    Ok(with_type(StatusCode::OK, "text/plain", body))
}

// ---- images ---------------------------------------------------------------------------------

fn wanted_reference(parameters: &Parameters) -> Result<&str, Refusal> {
    let reference = parameters.get("reference").filter(|reference| !reference.is_empty());
    reference.map(String::as_str).ok_or_else(|| {
        Refusal(StatusCode::BAD_REQUEST, "the query parameter reference is missing".into())
    })
}

fn images(kubelet: &Kubelet) -> &Images {
    &kubelet.means.images
}

fn list_images(kubelet: &Kubelet) -> Response<KubeletBody> {
    json_answer(&json!({ "images": images(kubelet).list() }))
}

async fn import_image<B>(kubelet: &Kubelet, parameters: &Parameters, body: B) -> Answer
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let reference = wanted_reference(parameters)?;
    let too_large = || {
        let message = format!("the image is larger than {} MiB", IMAGE_LIMIT >> 20);
        Refusal(StatusCode::PAYLOAD_TOO_LARGE, message)
    };
    if body.size_hint().lower() > IMAGE_LIMIT {
        return Err(too_large());
    }
    let (pieces, receiver) = mpsc::channel(IMAGE_PIECES);
    let feed = async move {
        let mut body = Box::pin(body.map_err(Into::<BoxError>::into));
        let mut size = 0;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| {
                Refusal(StatusCode::BAD_REQUEST, format!("the upload broke: {error}"))
            })?;
            let Ok(bytes) = frame.into_data() else { continue };
            size += bytes.len() as u64;
            if size > IMAGE_LIMIT {
                return Err(too_large());
            }
            if pieces.send(Some(bytes)).await.is_err() {
                // The store has refused it and says why.
                return Ok(());
            }
        }
        let _ = pieces.send(None).await;
        Ok(())
    };
    let (fed, imported) = futures::join!(feed, images(kubelet).import(reference, receiver));
    fed?;
    let unfinished = || Refusal(StatusCode::BAD_REQUEST, "the upload broke".into());
    Ok(json_answer(&json!(imported?.ok_or_else(unfinished)?)))
}

async fn remove_image(kubelet: &Kubelet, parameters: &Parameters) -> Answer {
    let reference = wanted_reference(parameters)?;
    if images(kubelet).remove(reference).await? {
        return Ok(json_answer(&json!({ "removed": reference })));
    }
    Err(Refusal(StatusCode::NOT_FOUND, format!("image \"{reference}\" is not on this node")))
}

// ---- statistics -----------------------------------------------------------------------------

async fn stats(kubelet: &Kubelet) -> Result<Vec<PodStats>, Refusal> {
    kubelet.mailbox.ask(Question::Stats).await.ok_or_else(stopping)
}

async fn summary(kubelet: &Kubelet) -> Answer {
    let now = Time(kubelet.means.ambient().now());
    let stats = stats(kubelet).await?;
    let usage = |cpu_nanos: u128, memory: u64| {
        json!({
            "cpu": { "time": now, "usageCoreNanoSeconds": u64::try_from(cpu_nanos).unwrap_or(u64::MAX) },
            "memory": { "time": now, "workingSetBytes": memory, "usageBytes": memory },
        })
    };
    let pods: Vec<Value> = stats
        .iter()
        .map(|pod| {
            let containers: Vec<Value> = pod
                .containers
                .iter()
                .map(|used| {
                    let mut value = usage(used.stats.cpu_time.as_nanos(), used.stats.memory_bytes);
                    value["name"] = json!(used.name);
                    value["startTime"] = json!(Time(used.since));
                    value["userDefinedMetrics"] = containers::user_defined(used, &json!(now));
                    value
                })
                .collect();
            let mut value = usage(pod_cpu(pod).as_nanos(), pod_memory(pod));
            let meta = &pod.pod.metadata;
            value["podRef"] =
                json!({ "name": meta.name, "namespace": meta.namespace, "uid": meta.uid });
            value["startTime"] = json!(Time(pod.start_time));
            value["containers"] = json!(containers);
            value
        })
        .collect();
    let mut node = usage(
        stats.iter().map(pod_cpu).sum::<Duration>().as_nanos(),
        stats.iter().map(pod_memory).sum(),
    );
    node["nodeName"] = json!(kubelet.means.config.name);
    Ok(json_answer(&json!({ "node": node, "pods": pods })))
}

fn pod_cpu(pod: &PodStats) -> Duration {
    pod.containers.iter().map(|used| used.stats.cpu_time).sum()
}

fn pod_memory(pod: &PodStats) -> u64 {
    pod.containers.iter().map(|used| used.stats.memory_bytes).sum()
}

/// One family of the Prometheus text format; writing into a String cannot fail.
fn family(out: &mut String, name: &str, kind: &str, help: &str, samples: &[(String, f64)]) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
    for (labels, value) in samples {
        let _ = writeln!(out, "{name}{labels} {value}");
    }
}

async fn metrics(kubelet: &Kubelet) -> Answer {
    let stats = stats(kubelet).await?;
    let running = stats.iter().filter(|pod| !pod.containers.is_empty()).count();
    let running_containers: usize = stats.iter().map(|pod| pod.containers.len()).sum();
    let images = images(kubelet).list().len();
    let plain = |value: usize| [(String::new(), value as f64)];
    let mut out = String::new();
    family(
        &mut out,
        "kubelet_running_pods",
        "gauge",
        "Pods with a running container.",
        &plain(running),
    );
    family(
        &mut out,
        "kubelet_running_containers",
        "gauge",
        "Containers that run.",
        &plain(running_containers),
    );
    family(&mut out, "copepod_node_images", "gauge", "Images in the node's store.", &plain(images));
    containers::families(&mut out, &stats);
    Ok(respond(StatusCode::OK, METRICS, out))
}

async fn resource_metrics(kubelet: &Kubelet) -> Answer {
    let stats = stats(kubelet).await?;
    let mut cpu = Vec::new();
    let mut memory = Vec::new();
    let mut started = Vec::new();
    let mut pod_cpu_samples = Vec::new();
    let mut pod_memory_samples = Vec::new();
    for pod in &stats {
        let meta = &pod.pod.metadata;
        let owner = format!(
            "namespace=\"{}\",pod=\"{}\"",
            meta.namespace.as_deref().unwrap_or_default(),
            meta.name.as_deref().unwrap_or_default()
        );
        for used in &pod.containers {
            let labels = format!("{{container=\"{}\",{owner}}}", used.name);
            started.push((labels.clone(), containers::started(used)));
            cpu.push((labels.clone(), used.stats.cpu_time.as_secs_f64()));
            memory.push((labels, used.stats.memory_bytes as f64));
        }
        pod_cpu_samples.push((format!("{{{owner}}}"), pod_cpu(pod).as_secs_f64()));
        pod_memory_samples.push((format!("{{{owner}}}"), pod_memory(pod) as f64));
    }
    let node_cpu = [(String::new(), stats.iter().map(pod_cpu).sum::<Duration>().as_secs_f64())];
    let node_memory = [(String::new(), stats.iter().map(pod_memory).sum::<u64>() as f64)];
    let mut out = String::new();
    let seconds = "Processor time used, in seconds.";
    let bytes = "Memory used, in bytes.";
    family(&mut out, "container_cpu_usage_seconds_total", "counter", seconds, &cpu);
    family(&mut out, "container_memory_working_set_bytes", "gauge", bytes, &memory);
    let since = "When a container started, in seconds since 1970.";
    family(&mut out, "container_start_time_seconds", "gauge", since, &started);
    family(&mut out, "pod_cpu_usage_seconds_total", "counter", seconds, &pod_cpu_samples);
    family(&mut out, "pod_memory_working_set_bytes", "gauge", bytes, &pod_memory_samples);
    family(&mut out, "node_cpu_usage_seconds_total", "counter", seconds, &node_cpu);
    family(&mut out, "node_memory_working_set_bytes", "gauge", bytes, &node_memory);
    Ok(respond(StatusCode::OK, METRICS, out))
}

// ---- TLS ------------------------------------------------------------------------------------

/// Serves the kubelet API to clients of the cluster's CA until the node stops.
pub async fn serve(
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    kubelet: Kubelet,
    means: Arc<Means>,
    gone: CancellationToken,
) {
    let acceptor = TlsAcceptor::from(tls);
    loop {
        let accepted = tokio::select! {
            () = gone.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (acceptor, kubelet, gone) = (acceptor.clone(), kubelet.clone(), gone.clone());
                means.ambient().spawn(async move {
                    let served = connection(stream, peer, acceptor, kubelet);
                    let _ = gone.run_until_cancelled(served).await;
                });
            }
            Err(error) => {
                // Out of file descriptors, most often: some will come back.
                tracing::warn!(%error, "the kubelet API could not accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, peer: SocketAddr, acceptor: TlsAcceptor, kubelet: Kubelet) {
    let stream = match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(%peer, %error, "TLS to the kubelet API failed");
            return;
        }
        Err(_) => return,
    };
    let service = TowerToHyperService::new(kubelet);
    let server = auto::Builder::new(TokioExecutor::new());
    if let Err(error) = server.serve_connection_with_upgrades(TokioIo::new(stream), service).await {
        tracing::debug!(%peer, %error, "a connection to the kubelet API broke");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_decoded() {
        let found = parameters("reference=a%2Fb%3Av1&follow&x=1+2&x=%zz");
        assert_eq!(found["reference"], "a/b:v1");
        assert_eq!(found["follow"], "");
        assert_eq!(found["x"], "%zz");
    }
}
