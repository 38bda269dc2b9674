//! Readiness, liveness and startup probes: what they ask, how often, and when an answer counts.
//!
//! A probe of a pod goes through the node's switch, an HTTP component's straight to its handler;
//! a real socket is opened only where the probe names another host.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use copepod_runtime::{Body, Switch};
use http::{HeaderName, HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{ContainerPort, HTTPGetAction, Probe, TCPSocketAction};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::pods::machine::ProbeKind;

const USER_AGENT: &str = "kube-probe/1.36";
/// How often it is looked whether a guest listens yet.
const LISTENING_LOOK: Duration = Duration::from_millis(5);
/// As upstream: redirects beyond this number are a failure.
const REDIRECTS_MAX: usize = 10;
/// As much of an answer is read.
const BODY_READ: usize = 10 * 1024;

/// What a probe found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// One probe failed; said each time.
    Failed(String),
    /// One probe could not be made; said each time.
    Errored(String),
    /// A threshold was crossed; said once each way.
    Verdict(bool),
}

/// Where a pod's probes go.
#[derive(Clone)]
pub struct Target {
    pub switch: Arc<Switch>,
    pub pod_ip: IpAddr,
    /// Where the probes come from.
    pub node_ip: IpAddr,
}

/// Probes until the future is dropped, or nothing is left to find out.
pub async fn run(
    kind: ProbeKind,
    probe: Probe,
    ports: Vec<ContainerPort>,
    target: Target,
    started: Instant,
    report: impl Fn(Report) + Send,
) {
    let schedule = Schedule::of(&probe);
    let action = Action::of(&probe, &ports, target.pod_ip);
    sleep_until(started + schedule.initial_delay).await;
    let mut counter = Counter::new(&schedule);
    let mut told = None;
    loop {
        let begun = Instant::now();
        // A guest that has just started is waited for, within the time a connection may take.
        let patient = kind != ProbeKind::Liveness && told != Some(true);
        let result = match &action {
            Ok(action) => {
                action.probe(&target, schedule.timeout, patient).await.map_err(Report::Failed)
            }
            Err(problem) => Err(Report::Errored(problem.clone())),
        };
        let healthy = result.is_ok();
        if let Err(problem) = result {
            report(problem);
        }
        if let Some(verdict) = counter.count(healthy).filter(|verdict| told != Some(*verdict)) {
            told = Some(verdict);
            report(Report::Verdict(verdict));
            let over = match kind {
                ProbeKind::Startup => true,
                ProbeKind::Liveness => !verdict,
                ProbeKind::Readiness => false,
            };
            if over {
                return;
            }
        }
        sleep_until(begun + schedule.period).await;
    }
}

/// When a probe asks and when its answers count, with upstream's defaults.
struct Schedule {
    initial_delay: Duration,
    period: Duration,
    timeout: Duration,
    successes: u32,
    failures: u32,
}

impl Schedule {
    fn of(probe: &Probe) -> Self {
        let seconds = |value: Option<i32>, default: u64, least: u64| {
            let value = value.and_then(|value| u64::try_from(value).ok()).unwrap_or(default);
            Duration::from_secs(value.max(least))
        };
        let times = |value: Option<i32>, default: u32| {
            value.and_then(|value| u32::try_from(value).ok()).unwrap_or(default).max(1)
        };
        Self {
            initial_delay: seconds(probe.initial_delay_seconds, 0, 0),
            period: seconds(probe.period_seconds, 10, 1),
            timeout: seconds(probe.timeout_seconds, 1, 1),
            successes: times(probe.success_threshold, 1),
            failures: times(probe.failure_threshold, 3),
        }
    }
}

/// Counts equal answers in a row.
struct Counter {
    successes: u32,
    failures: u32,
    last: bool,
    run: u32,
}

impl Counter {
    fn new(schedule: &Schedule) -> Self {
        Self { successes: schedule.successes, failures: schedule.failures, last: false, run: 0 }
    }

    /// The verdict, once as many equal answers came in a row as its threshold asks for.
    fn count(&mut self, healthy: bool) -> Option<bool> {
        self.run = if healthy == self.last { self.run.saturating_add(1) } else { 1 };
        self.last = healthy;
        let threshold = if healthy { self.successes } else { self.failures };
        (self.run >= threshold).then_some(healthy)
    }
}

/// What a probe does.
enum Action {
    Http { to: SocketAddr, own: bool, request: HttpRequest },
    Tcp { to: SocketAddr, own: bool },
}

struct HttpRequest {
    url: String,
    path: String,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Action {
    fn of(probe: &Probe, ports: &[ContainerPort], pod_ip: IpAddr) -> Result<Self, String> {
        if let Some(get) = &probe.http_get {
            return Self::http(get, ports, pod_ip);
        }
        if let Some(socket) = &probe.tcp_socket {
            return Self::tcp(socket, ports, pod_ip);
        }
        Err("missing probe handler".into())
    }

    fn http(get: &HTTPGetAction, ports: &[ContainerPort], pod_ip: IpAddr) -> Result<Self, String> {
        let (to, own) = address(get.host.as_deref(), &get.port, ports, pod_ip)?;
        let path = match get.path.as_deref() {
            None | Some("") => "/".to_owned(),
            Some(path) if path.starts_with('/') => path.to_owned(),
            Some(path) => format!("/{path}"),
        };
        let mut headers = Vec::new();
        for pair in get.http_headers.iter().flatten() {
            let name = HeaderName::from_bytes(pair.name.as_bytes());
            let value = HeaderValue::from_str(&pair.value);
            match (name, value) {
                (Ok(name), Ok(value)) => headers.push((name, value)),
                _ => return Err(format!("invalid probe header {}", pair.name)),
            }
        }
        let url = format!("http://{to}{path}");
        Ok(Self::Http { to, own, request: HttpRequest { url, path, headers } })
    }

    fn tcp(
        socket: &TCPSocketAction,
        ports: &[ContainerPort],
        pod_ip: IpAddr,
    ) -> Result<Self, String> {
        let (to, own) = address(socket.host.as_deref(), &socket.port, ports, pod_ip)?;
        Ok(Self::Tcp { to, own })
    }

    async fn probe(&self, target: &Target, limit: Duration, patient: bool) -> Result<(), String> {
        let (to, own) = match self {
            Self::Http { to, own, .. } | Self::Tcp { to, own } => (*to, *own),
        };
        let begun = Instant::now();
        if own && patient {
            while !target.switch.is_listening(to) && begun.elapsed() < limit {
                sleep(LISTENING_LOOK).await;
            }
        }
        // What was spent waiting for the guest is given back: the answer has its full time.
        match self {
            Self::Tcp { .. } => in_time(limit, connect(target, to, own))
                .await
                .unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))
                .map(drop)
                .map_err(|error| dial_message(to, &error)),
            Self::Http { request, .. } => {
                let answer = in_time(limit, get(target, to, own, request)).await;
                answer.unwrap_or_else(|| {
                    Err("context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
                        .into())
                })
                .map_err(|problem| match problem.strip_prefix("HTTP probe failed") {
                    Some(_) => problem,
                    None => format!("Get \"{}\": {problem}", request.url),
                })
            }
        }
    }
}

async fn in_time<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    timeout(limit, work).await.ok()
}

fn address(
    host: Option<&str>,
    port: &IntOrString,
    ports: &[ContainerPort],
    pod_ip: IpAddr,
) -> Result<(SocketAddr, bool), String> {
    let port = resolve_port(port, ports)?;
    match host.filter(|host| !host.is_empty()) {
        None => Ok((SocketAddr::new(pod_ip, port), true)),
        Some("localhost") => Ok((SocketAddr::from(([127, 0, 0, 1], port)), false)),
        Some(host) => {
            let ip: IpAddr =
                host.parse().map_err(|_| format!("probe host \"{host}\" is no IP address"))?;
            Ok((SocketAddr::new(ip, port), ip == pod_ip))
        }
    }
}

fn resolve_port(port: &IntOrString, ports: &[ContainerPort]) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => {
            let named = ports.iter().find(|port| port.name.as_deref() == Some(name));
            match named {
                Some(port) => port.container_port,
                None => name.parse().map_err(|_| format!("couldn't find port: \"{name}\""))?,
            }
        }
    };
    u16::try_from(number)
        .ok()
        .filter(|port| *port > 0)
        .ok_or_else(|| format!("invalid port number: {number}"))
}

/// A stream in the switch or a real one.
trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

async fn connect(target: &Target, to: SocketAddr, own: bool) -> io::Result<Box<dyn Io>> {
    if own {
        let stream = target.switch.connect(SocketAddr::new(target.node_ip, 0), to).await?;
        Ok(Box::new(stream))
    } else {
        Ok(Box::new(tokio::net::TcpStream::connect(to).await?))
    }
}

/// Why a connection failed, in Go's words.
pub(crate) fn dial_message(to: SocketAddr, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => format!("dial tcp {to}: connect: connection refused"),
        io::ErrorKind::TimedOut => format!("dial tcp {to}: i/o timeout"),
        io::ErrorKind::HostUnreachable => format!("dial tcp {to}: connect: no route to host"),
        _ => format!("dial tcp {to}: {error}"),
    }
}

/// Asks, and goes where a redirect leads as long as that is the same host. As upstream, an answer
/// that leads elsewhere is healthy in itself.
async fn get(
    target: &Target,
    to: SocketAddr,
    own: bool,
    request: &HttpRequest,
) -> Result<(), String> {
    let (mut to, mut path) = (to, request.path.clone());
    for _ in 0..=REDIRECTS_MAX {
        let location = get_once(target, to, own, request, &path).await?;
        match location.and_then(|location| redirected(to, &path, &location)) {
            Some(next) => (to, path) = next,
            None => return Ok(()),
        }
    }
    Err(format!("stopped after {REDIRECTS_MAX} redirects"))
}

/// Where a redirect leads; `None` where it leaves the host, or plain HTTP.
fn redirected(from: SocketAddr, path: &str, location: &str) -> Option<(SocketAddr, String)> {
    if location.contains("://") {
        let uri: http::Uri = location.parse().ok()?;
        let host: IpAddr = uri.host()?.trim_matches(['[', ']']).parse().ok()?;
        if uri.scheme_str() != Some("http") || host != from.ip() {
            return None;
        }
        let to = SocketAddr::new(host, uri.port_u16().unwrap_or(80));
        return Some((to, uri.path_and_query().map_or("/", |path| path.as_str()).to_owned()));
    }
    if location.starts_with("//") {
        return None;
    }
    if location.starts_with('/') {
        return Some((from, location.to_owned()));
    }
    let path = path.split('?').next().unwrap_or(path);
    let folder = &path[..=path.rfind('/')?];
    Some((from, format!("{folder}{location}")))
}

/// One question; answers the place that a redirect names.
async fn get_once(
    target: &Target,
    to: SocketAddr,
    own: bool,
    request: &HttpRequest,
    path: &str,
) -> Result<Option<String>, String> {
    if own && let Some(handler) = target.switch.http(to) {
        let body: Body = Empty::<Bytes>::new().map_err(|never| match never {}).boxed_unsync();
        let uri = format!("http://{to}{path}");
        let request = build(request, &uri, to, body)?;
        let response = handler.call(request).await.map_err(|error| error.to_string())?;
        return judge(response).await;
    }
    let stream = connect(target, to, own).await.map_err(|error| dial_message(to, &error))?;
    let (mut sender, connection) = http1::handshake::<_, Empty<Bytes>>(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    let request = build(request, path, to, Empty::new())?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        judge(response).await
    };
    tokio::pin!(answer, connection);
    tokio::select! {
        answer = &mut answer => answer,
        // The connection may end before its last answer is read out of it.
        _ = &mut connection => answer.await,
    }
}

fn build<B>(
    wanted: &HttpRequest,
    uri: &str,
    to: SocketAddr,
    body: B,
) -> Result<Request<B>, String> {
    let mut request = Request::get(uri).body(body).map_err(|error| error.to_string())?;
    let headers = request.headers_mut();
    for (name, value) in &wanted.headers {
        headers.append(name, value.clone());
    }
    let mut default = |name: HeaderName, value: &str| {
        if let (false, Ok(value)) = (headers.contains_key(&name), HeaderValue::from_str(value)) {
            headers.insert(name, value);
        }
    };
    default(header::HOST, &to.to_string());
    default(header::USER_AGENT, USER_AGENT);
    default(header::ACCEPT, "*/*");
    Ok(request)
}

/// As upstream, 2xx and 3xx are healthy; a redirect says where to ask next.
async fn judge<B>(response: http::Response<B>) -> Result<Option<String>, String>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let status = response.status();
    // Read before it is judged, as upstream: a guest whose answer nobody takes fails in the middle of it.
    let (head, body) = response.into_parts();
    let body = http_body_util::Limited::new(body, BODY_READ);
    if let Err(error) = body.collect().await
        && !error.is::<http_body_util::LengthLimitError>()
    {
        return Err(error.to_string());
    }
    if status >= StatusCode::OK && status < StatusCode::BAD_REQUEST {
        let location = head.headers.get(header::LOCATION);
        let followed = matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308);
        let location = location.filter(|_| followed).and_then(|value| value.to_str().ok());
        return Ok(location.map(str::to_owned));
    }
    Err(format!("HTTP probe failed with statuscode: {}", status.as_u16()))
}

#[cfg(test)]
mod tests {
    use http_body::Frame;
    use http_body_util::StreamBody;

    use super::*;

    fn verdicts(successes: u32, failures: u32, answers: &str) -> String {
        let mut counter = Counter { successes, failures, last: false, run: 0 };
        let verdict = |answer| match counter.count(answer == '+') {
            Some(true) => '+',
            Some(false) => '-',
            None => '.',
        };
        answers.chars().map(verdict).collect()
    }

    #[tokio::test]
    async fn an_answer_is_read_before_it_is_judged() {
        let judged = async |frames: Vec<Result<usize, &'static str>>| {
            let all = frames.len();
            let mut read = 0;
            let frames = frames.into_iter().inspect(|_| read += 1).map(|frame| match frame {
                Ok(size) => Ok(Frame::data(Bytes::from(vec![0; size]))),
                Err(error) => Err(Box::<dyn std::error::Error + Send + Sync>::from(error)),
            });
            let body = StreamBody::new(futures::stream::iter(frames));
            let verdict = judge(http::Response::new(body)).await;
            (verdict, read == all)
        };
        assert_eq!(judged(vec![Ok(1), Ok(1)]).await, (Ok(None), true));
        assert_eq!(judged(vec![Ok(1), Err("cut off")]).await, (Err("cut off".to_owned()), true));
        let (verdict, all) = judged(vec![Ok(BODY_READ), Ok(1), Ok(1), Ok(1)]).await;
        assert_eq!((verdict, all), (Ok(None), false), "a long one is not read to its end");
    }

    #[test]
    fn answers_count_when_enough_come_in_a_row() {
        assert_eq!(verdicts(1, 3, "---+--+---"), "..-+..+..-");
        assert_eq!(verdicts(2, 1, "+-++-"), ".-.+-");
        assert_eq!(verdicts(1, 1, "-+"), "-+");
    }

    #[test]
    fn ports_are_found_by_number_and_by_name() {
        let ports = [ContainerPort {
            container_port: 8080,
            name: Some("http".into()),
            ..ContainerPort::default()
        }];
        let port = |text: &str| resolve_port(&IntOrString::String(text.into()), &ports);
        assert_eq!(port("http"), Ok(8080));
        assert_eq!(port("81"), Ok(81));
        assert_eq!(port("nope").unwrap_err(), "couldn't find port: \"nope\"");
        assert!(resolve_port(&IntOrString::Int(0), &ports).is_err());
    }

    #[test]
    fn a_redirect_is_followed_on_the_same_host_alone() {
        let from: SocketAddr = "10.1.0.2:80".parse().unwrap();
        for (location, expected) in [
            ("/status/500", Some("10.1.0.2:80/status/500")),
            ("next?a=b", Some("10.1.0.2:80/deep/next?a=b")),
            ("http://10.1.0.2:8080/x", Some("10.1.0.2:8080/x")),
            ("http://10.1.0.2", Some("10.1.0.2:80/")),
            ("http://10.1.0.3/x", None),
            ("http://example.org/", None),
            ("https://10.1.0.2/", None),
            ("//10.1.0.2/", None),
        ] {
            let found = redirected(from, "/deep/page?q", location);
            let found = found.map(|(to, path)| format!("{to}{path}"));
            assert_eq!(found.as_deref(), expected, "{location}");
        }
    }

    #[test]
    fn a_probe_goes_to_the_pod_unless_it_names_a_host() {
        let pod_ip: IpAddr = "10.1.0.2".parse().unwrap();
        let to = |host| address(host, &IntOrString::Int(80), &[], pod_ip);
        assert_eq!(to(None).unwrap(), ("10.1.0.2:80".parse().unwrap(), true));
        assert!(to(Some("10.1.0.2")).unwrap().1);
        assert_eq!(to(Some("127.0.0.1")).unwrap(), ("127.0.0.1:80".parse().unwrap(), false));
        assert!(to(Some("example.org")).is_err());
    }
}
