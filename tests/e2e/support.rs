//! What the tests share: guests, clusters, kubectl, HTTP, waiting.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use copepod_sdk::guests::{self, Guest};
use copepod_sdk::{Cluster, ClusterBuilder, Runtime, RuntimeConfig};
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::sync::OnceCell;

/// How long anything may take before a test gives up. Machines are slow and shared.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The component of a test guest (`agent`, `web`, `async_web`…) or of an example, built once.
pub async fn guest(name: &str) -> Bytes {
    static BUILT: OnceCell<Vec<Guest>> = OnceCell::const_new();
    let built = BUILT
        .get_or_init(|| async {
            let mut all = guests::build(&repository().join("tests/guests")).await.expect("guests");
            all.extend(guests::build(&repository().join("examples")).await.expect("examples"));
            all
        })
        .await;
    let guest = built.iter().find(|guest| guest.name == name);
    let path = &guest.unwrap_or_else(|| panic!("no guest {name}")).wasm;
    std::fs::read(path).expect("a component").into()
}

/// A loopback address of its own for each cluster, so that NodePorts never meet.
pub fn own_address() -> IpAddr {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    let [high, low] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let process = std::process::id() % 200 + 20;
    Ipv4Addr::new(127, u8::try_from(process).unwrap_or(99), high, low).into()
}

/// The sandboxes of all tests: each guest is compiled once, and the address space is reserved once.
fn runtime() -> Arc<Runtime> {
    static RUNTIME: OnceLock<Arc<Runtime>> = OnceLock::new();
    let new = || Runtime::new(RuntimeConfig::default()).expect("sandboxes");
    RUNTIME.get_or_init(new).clone()
}

/// A cluster in memory with short periods.
pub fn builder() -> ClusterBuilder {
    Cluster::builder()
        .memory()
        .runtime(runtime())
        .bind_address(own_address())
        .restart_backoff(Duration::from_millis(100))
        .drain(Duration::from_secs(5))
}

/// A cluster with kubectl beside it.
pub struct Fixture {
    pub cluster: Cluster,
    pub kubectl: Kubectl,
    pub address: IpAddr,
    _folder: tempfile::TempDir,
}

impl Fixture {
    /// One node, and the test guests imported as `agent:1`, `web:1` and `web:2`.
    pub async fn start() -> Self {
        Self::start_with(builder()).await
    }

    pub async fn start_with(builder: ClusterBuilder) -> Self {
        let address = own_address();
        let cluster = builder
            .bind_address(address)
            .listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
            .start()
            .await
            .expect("the cluster starts");
        import_guests(&cluster).await;
        let folder = tempfile::tempdir().expect("a folder");
        let kubeconfig = folder.path().join("kubeconfig");
        std::fs::write(&kubeconfig, cluster.kubeconfig()).expect("a kubeconfig");
        Self { cluster, kubectl: Kubectl { kubeconfig }, address, _folder: folder }
    }

    pub async fn stop(self) {
        self.cluster.stop().await;
    }
}

pub async fn import_guests(cluster: &Cluster) {
    for (reference, name) in [("agent:1", "agent"), ("web:1", "web"), ("web:2", "web")] {
        cluster.import_image(reference, guest(name).await).await.expect("the image is imported");
    }
}

/// The stock kubectl, pointed at a cluster.
#[derive(Clone)]
pub struct Kubectl {
    pub kubeconfig: PathBuf,
}

impl Kubectl {
    /// A call of kubectl, not yet started.
    pub fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new("kubectl");
        command
            .args(split(arguments))
            .env("KUBECONFIG", &self.kubeconfig)
            .env("HOME", self.kubeconfig.parent().unwrap_or(Path::new("/")))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Runs it; panics with its stderr unless it succeeds. Answers stdout.
    pub async fn ok(&self, arguments: &str) -> String {
        let (success, stdout, stderr) = self.run(arguments, "").await;
        assert!(success, "kubectl {arguments}\n{stdout}\n{stderr}");
        stdout
    }

    /// Runs it; panics if it succeeds. Answers stderr.
    pub async fn fails(&self, arguments: &str) -> String {
        let (success, stdout, stderr) = self.run(arguments, "").await;
        assert!(!success, "kubectl {arguments} succeeded\n{stdout}");
        stderr
    }

    /// `kubectl apply -f -` of this YAML.
    pub async fn apply(&self, yaml: &str) -> String {
        let (success, stdout, stderr) = self.run("apply -f -", yaml).await;
        assert!(success, "kubectl apply\n{yaml}\n{stderr}");
        stdout
    }

    /// Success, stdout, stderr.
    pub async fn run(&self, arguments: &str, stdin: &str) -> (bool, String, String) {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| {
            panic!("kubectl cannot be run ({error}): install it, on Debian as kubernetes-client")
        });
        let mut input = child.stdin.take().expect("stdin is piped");
        input.write_all(stdin.as_bytes()).await.ok();
        drop(input);
        let output = tokio::time::timeout(PATIENCE, child.wait_with_output())
            .await
            .unwrap_or_else(|_| panic!("kubectl {arguments} hangs"))
            .expect("kubectl runs");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (output.status.success(), text(output.stdout), text(output.stderr))
    }

    /// Runs it until its output pleases.
    pub async fn until(&self, arguments: &str, pleases: impl Fn(&str) -> bool) -> String {
        let mut last = String::new();
        let done = tokio::time::timeout(PATIENCE, async {
            loop {
                let (_, stdout, stderr) = self.run(arguments, "").await;
                if pleases(&stdout) {
                    return stdout;
                }
                last = format!("{stdout}{stderr}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        })
        .await;
        done.unwrap_or_else(|_| panic!("kubectl {arguments} never pleased; last:\n{last}"))
    }
}

/// `kill` as the shell has it: the program is not on every machine.
pub fn shell_kill(signal: &str, pid: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("kill -{signal} {pid}")]);
    command
}

/// Splits as a shell would, as far as single quotes.
fn split(arguments: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (nth, part) in arguments.split('\'').enumerate() {
        if nth % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

/// Asks again and again until there is an answer.
pub async fn eventually<T, F>(what: &str, mut ask: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let asked = tokio::time::timeout(PATIENCE, async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    asked.await.unwrap_or_else(|_| panic!("never: {what}"))
}

/// GET, on a connection of its own: status and body.
pub async fn get(url: &str) -> Result<(u16, String), String> {
    send(Method::GET, url, "").await
}

/// Status and body of a request on a connection of its own.
pub async fn send(method: Method, url: &str, body: &str) -> Result<(u16, String), String> {
    let client: Client<_, Full<Bytes>> =
        Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build_http();
    let url: hyper::Uri = url.parse().map_err(|error| format!("{url}: {error}"))?;
    let answer = tokio::time::timeout(Duration::from_secs(10), async {
        let request = Request::builder().method(method).uri(url);
        let request = request.body(Full::from(body.to_owned())).map_err(|e| e.to_string())?;
        let response = client.request(request).await.map_err(|error| format!("{error:?}"))?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.map_err(|error| error.to_string())?;
        Ok((status, String::from_utf8_lossy(&body.to_bytes()).into_owned()))
    });
    answer.await.unwrap_or_else(|_| Err("no answer in 10 s".to_owned()))
}

/// A connection that is kept between requests. One that the server closes in between is an error.
pub struct Kept {
    sender: hyper::client::conn::http1::SendRequest<Full<Bytes>>,
    path: String,
}

impl Kept {
    pub async fn open(url: &str) -> Result<Self, String> {
        let url: hyper::Uri = url.parse().map_err(|error| format!("{url}: {error}"))?;
        let authority = url.authority().ok_or("no authority")?.as_str();
        let opened = async {
            let stream =
                tokio::net::TcpStream::connect(authority).await.map_err(|e| format!("{e:?}"))?;
            let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
                .await
                .map_err(|error| format!("{error:?}"))?;
            tokio::spawn(connection);
            Ok(Self { sender, path: url.path().to_owned() })
        };
        let opened = tokio::time::timeout(Duration::from_secs(10), opened).await;
        opened.unwrap_or_else(|_| Err("no connection in 10 s".to_owned()))
    }

    /// Status and body.
    pub async fn get(&mut self) -> Result<(u16, String), String> {
        let request = hyper::Request::get(&self.path)
            .header("host", "kept")
            .body(Full::default())
            .map_err(|error| error.to_string())?;
        let answer = tokio::time::timeout(Duration::from_secs(10), async {
            self.sender.ready().await.map_err(|error| format!("{error:?}"))?;
            let response =
                self.sender.send_request(request).await.map_err(|error| format!("{error:?}"))?;
            let status = response.status().as_u16();
            let body = response.into_body().collect().await.map_err(|error| error.to_string())?;
            Ok((status, String::from_utf8_lossy(&body.to_bytes()).into_owned()))
        });
        answer.await.unwrap_or_else(|_| Err("no answer in 10 s".to_owned()))
    }
}

/// GET until it answers 200: the body.
pub async fn get_ok(url: &str) -> String {
    eventually(&format!("200 from {url}"), || async {
        match get(url).await {
            Ok((200, body)) => Some(body),
            Ok(_) | Err(_) => None,
        }
    })
    .await
}

/// A Deployment of the `web` guest and its NodePort Service.
pub fn web(name: &str, replicas: u32, node_port: u16) -> String {
    format!(
        "
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}, labels: {{app: {name}}}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      containers:
      - name: web
        image: web:1
        env: [{{name: VERSION, value: one}}]
        ports: [{{name: http, containerPort: 8080}}]
---
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec:
  type: NodePort
  selector: {{app: {name}}}
  ports: [{{name: http, port: 80, targetPort: http, nodePort: {node_port}}}]
"
    )
}

/// A bare pod of the `agent` guest that takes these steps.
pub fn agent(name: &str, restart: &str, steps: &[&str]) -> String {
    let steps = serde_json::to_string(steps).expect("strings");
    format!(
        "
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: {name}}}}}
spec:
  restartPolicy: {restart}
  containers:
  - {{name: agent, image: 'agent:1', args: {steps}}}
"
    )
}
