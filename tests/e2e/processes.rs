//! The `copepod` command as processes: start, kill, start again.

use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::support::{
    Kubectl, PATIENCE, agent, eventually, get_ok, guest, own_address, shell_kill, web,
};

/// A running `copepod`; killed when dropped.
struct Process {
    child: Child,
    /// What it has said on stderr.
    said: Arc<Mutex<String>>,
    /// The first line on stdout, behind `ready `.
    ready: String,
}

fn copepod(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_copepod"));
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

async fn start(arguments: &[&str]) -> Process {
    let mut child = copepod(arguments).spawn().expect("copepod starts");
    let mut lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
    let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("ready in time");
    let line = line.expect("stdout").unwrap_or_default();
    let ready = line.strip_prefix("ready ").unwrap_or_else(|| panic!("first line: {line:?}"));
    let ready = ready.to_owned();
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    let said = Arc::new(Mutex::new(String::new()));
    let mut errors = BufReader::new(child.stderr.take().expect("stderr")).lines();
    tokio::spawn({
        let said = said.clone();
        async move {
            while let Ok(Some(line)) = errors.next_line().await {
                let mut said = said.lock().expect("no panic");
                said.push_str(&line);
                said.push('\n');
            }
        }
    });
    Process { child, said, ready }
}

/// Runs to the end: exit code, stdout, stderr.
async fn finish(arguments: &[&str]) -> (i32, String, String) {
    let output = tokio::time::timeout(PATIENCE, copepod(arguments).output());
    let output = output.await.expect("ends in time").expect("copepod runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

impl Process {
    fn kubectl(&self) -> Kubectl {
        Kubectl { kubeconfig: self.ready.clone().into() }
    }

    async fn terminate(mut self) -> i32 {
        let pid = self.child.id().expect("it runs").to_string();
        shell_kill("TERM", &pid).status().await.expect("kill runs");
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("it ends");
        status.expect("it ends").code().unwrap_or(-1)
    }

    /// Waits until stderr has a line with `part`; gives all of it.
    async fn says(&self, part: &str) -> String {
        eventually(part, || async {
            let said = self.said.lock().expect("no panic").clone();
            said.contains(part).then_some(said)
        })
        .await
    }

    async fn kill(mut self) {
        self.child.kill().await.expect("SIGKILL");
    }
}

async fn import(process: &Process, folder: &Path, name: &str) {
    let file = folder.join(format!("{name}.wasm"));
    std::fs::write(&file, guest(name).await).expect("a file");
    let reference = format!("{name}:1");
    let file = file.display().to_string();
    let (code, _, stderr) =
        finish(&["image", "--kubeconfig", &process.ready, "import", &file, &reference]).await;
    assert_eq!(code, 0, "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_survives_sigkill_and_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data").display().to_string();
    let address = own_address().to_string();
    let up = ["up", "--data-dir", &data, "--listen", "127.0.0.1:0", "--bind-address", &address];
    let first = start(&up).await;
    import(&first, folder.path(), "web").await;
    import(&first, folder.path(), "agent").await;
    let kubectl = first.kubectl();
    kubectl.apply(&web("web", 2, 30100)).await;
    kubectl.apply(&agent("stays", "Always", &["serve=80"])).await;
    kubectl.apply(&agent("ends", "Never", &["forever"])).await;
    kubectl.ok("rollout status deploy/web --timeout=60s").await;
    kubectl.ok("wait pod/stays pod/ends --for=condition=Ready --timeout=60s").await;
    let uid = kubectl.ok("get pod stays -o jsonpath={.metadata.uid}").await;
    for number in 0..20 {
        kubectl.ok(&format!("create configmap kept-{number}")).await;
    }
    first.kill().await;

    let second = start(&up).await;
    let kubectl = second.kubectl();
    let kept = kubectl.ok("get configmaps -o name").await;
    assert_eq!(kept.matches("kept-").count(), 20, "{kept}");
    kubectl
        .until("get pod stays -o jsonpath={.metadata.uid}:{.status.containerStatuses[0].restartCount}:{.status.containerStatuses[0].ready}", |said| said == format!("{uid}:1:true"))
        .await;
    kubectl.until("get pod ends -o jsonpath={.status.phase}", |phase| phase == "Failed").await;
    let body = get_ok(&format!("http://{address}:30100/")).await;
    assert!(body.starts_with("web-"), "{body}");

    // The same cluster authority: the first kubeconfig still serves, but for the port.
    let (code, _, stderr) = finish(&up).await;
    assert_eq!(code, 1);
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.contains("in use by another process"), "{stderr}");
    assert_eq!(second.terminate().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn anonymous_requests_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().display().to_string();
    let up =
        start(&["up", "--data-dir", &data, "--store", "memory", "--listen", "127.0.0.1:0"]).await;
    let config = std::fs::read_to_string(&up.ready).expect("a kubeconfig");
    let server = config.lines().find_map(|line| line.trim().strip_prefix("server: "));
    let server = server.expect("a server").trim_matches('"');
    let answer = Command::new("curl")
        .args(["-sk", &format!("{server}/api/v1/namespaces")])
        .output()
        .await
        .expect("curl runs");
    let answer = String::from_utf8_lossy(&answer.stdout).into_owned();
    assert!(answer.contains("\"code\":401") || answer.contains("\"code\": 401"), "{answer}");
    assert_eq!(up.terminate().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn control_and_node_run_as_two_processes() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let node_kubeconfig = format!("far={}", path("far.kubeconfig"));
    let control = start(&[
        "control",
        "--data-dir",
        &path("control"),
        "--listen",
        "127.0.0.1:0",
        "--node-kubeconfig",
        &node_kubeconfig,
    ])
    .await;
    let address = own_address().to_string();
    let node = start(&[
        "node",
        "--name",
        "far",
        "--kubeconfig",
        &path("far.kubeconfig"),
        "--data-dir",
        &path("node"),
        "--kubelet-listen",
        "127.0.0.1:0",
        "--bind-address",
        &address,
    ])
    .await;
    assert_eq!(node.ready, "far");
    let kubectl = control.kubectl();
    kubectl.ok("wait node/far --for=condition=Ready --timeout=60s").await;
    import(&control, folder.path(), "web").await;
    import(&control, folder.path(), "agent").await;
    kubectl.apply(&web("web", 2, 30100)).await;
    assert!(get_ok(&format!("http://{address}:30100/")).await.starts_with("web-"));
    kubectl.apply(&agent("talks", "Never", &["print=over tls"])).await;
    kubectl.until("logs talks", |said| said == "over tls\n").await;
    // A node cannot pass for another one.
    let another_address = own_address().to_string();
    let elsewhere = path("elsewhere");
    let far = path("far.kubeconfig");
    let (code, _, stderr) = finish(&[
        "node",
        "--name",
        "near",
        "--kubeconfig",
        &far,
        "--data-dir",
        &elsewhere,
        "--kubelet-listen",
        "127.0.0.1:0",
        "--bind-address",
        &another_address,
    ])
    .await;
    assert_eq!((code, stderr.lines().count()), (1, 1), "{stderr}");
    assert!(stderr.contains("--name far"), "{stderr}");
    assert_eq!(node.terminate().await, 0);
    assert_eq!(control.terminate().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_says_once_that_the_api_is_gone_and_once_that_it_is_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
    let listen = free.local_addr().expect("an address").to_string();
    drop(free);
    let far = format!("far={}", path("far.kubeconfig"));
    let control_data = path("control");
    let up =
        ["control", "--data-dir", &control_data, "--listen", &listen, "--node-kubeconfig", &far];
    let control = start(&up).await;
    let address = own_address().to_string();
    let node = start(&[
        "node",
        "--name",
        "far",
        "--kubeconfig",
        &path("far.kubeconfig"),
        "--data-dir",
        &path("node"),
        "--kubelet-listen",
        "127.0.0.1:0",
        "--bind-address",
        &address,
    ])
    .await;
    control.kill().await;
    node.says("the API server cannot be reached").await;
    let control = start(&up).await;
    let said = node.says("the API server answers again").await;
    assert_eq!(said.lines().count(), 2, "{said}");
    assert_eq!(node.terminate().await, 0);
    assert_eq!(control.terminate().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_hinders_a_start_is_said_in_one_line() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
    let listen = taken.local_addr().expect("an address").to_string();
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data").display().to_string();
    let file = folder.path().join("file");
    std::fs::write(&file, "").expect("a file");
    let below_a_file = file.join("data").display().to_string();
    for (arguments, code, wanted) in [
        (vec!["up", "--data-dir", &data, "--listen", &listen], 1, "--listen"),
        (vec!["up", "--data-dir", &below_a_file, "--listen", "127.0.0.1:0"], 1, "--data-dir"),
        (
            vec![
                "up",
                "--store",
                "memory",
                "--data-dir",
                &data,
                "--listen",
                "127.0.0.1:0",
                "--bind-address",
                "192.0.2.1",
            ],
            1,
            "--bind-address",
        ),
        (vec!["image", "ls"], 1, "--kubeconfig"),
        (vec!["run", "-f", "/nonexistent.yaml"], 1, "/nonexistent.yaml"),
        (vec!["dev", "/nonexistent"], 1, "/nonexistent"),
        (vec!["up", "--nodes", "zero"], 2, "--nodes"),
        (vec!["up", "--ingress-https", "443"], 2, "--ingress-https comes later"),
        (vec!["control", "--store", "etcd=http://127.0.0.1:2379"], 2, "etcd comes later"),
        (vec!["sideways"], 2, "sideways"),
    ] {
        let (got, _, stderr) = finish(&arguments).await;
        assert_eq!(got, code, "{arguments:?}: {stderr}");
        assert!(stderr.contains(wanted), "{arguments:?}: {stderr}");
        if code == 1 {
            assert_eq!(stderr.lines().count(), 1, "{arguments:?}: {stderr}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn run_ends_with_the_pods_exit_code() {
    let folder = tempfile::tempdir().expect("a folder");
    let wasm = folder.path().join("agent.wasm");
    std::fs::write(&wasm, guest("agent").await).expect("a file");
    let image = format!("agent:1={}", wasm.display());
    let file = folder.path().join("pod.yaml");
    for (steps, code) in [(&["print=working"][..], 0), (&["print=working", "exit=1"], 1)] {
        std::fs::write(&file, agent("task", "Never", steps)).expect("a manifest");
        let (got, stdout, stderr) =
            finish(&["run", "-f", &file.display().to_string(), "--image", &image]).await;
        assert_eq!(got, code, "{stderr}");
        assert_eq!(stdout, "task | working\n");
    }
    std::fs::write(&file, agent("task", "Never", &[]).replace("agent:1", "nothing:1"))
        .expect("a manifest");
    let (got, _, stderr) = finish(&["run", "-f", &file.display().to_string()]).await;
    assert_eq!(got, 1);
    assert!(stderr.contains("nothing:1"), "{stderr}");
    std::fs::write(&file, agent("task", "Never", &[]).replace("args:", "argz:"))
        .expect("a manifest");
    let (got, _, stderr) = finish(&["run", "-f", &file.display().to_string()]).await;
    assert_eq!((got, stderr.lines().count()), (1, 1), "{stderr}");
    assert!(stderr.contains("unknown field \"spec.containers[0].argz\""), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn image_commands_list_and_remove() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data").display().to_string();
    let up =
        start(&["up", "--data-dir", &data, "--store", "memory", "--listen", "127.0.0.1:0"]).await;
    import(&up, folder.path(), "agent").await;
    let image = |arguments: &[&str]| {
        let all = [&["image", "--kubeconfig", &up.ready], arguments].concat();
        let all: Vec<String> = all.into_iter().map(str::to_owned).collect();
        async move { finish(&all.iter().map(String::as_str).collect::<Vec<_>>()).await }
    };
    let (_, listed, _) = image(&["ls"]).await;
    assert!(listed.contains("agent:1") && listed.contains("sha256:"), "{listed}");
    assert_eq!(image(&["rm", "agent:1"]).await.0, 0);
    let (code, _, stderr) = image(&["rm", "agent:1"]).await;
    assert!(code == 1 && stderr.contains("copepod image ls"), "{stderr}");
    let text = folder.path().join("text.wasm");
    std::fs::write(&text, "not wasm at all").expect("a file");
    let huge = folder.path().join("huge.wasm");
    let sparse = std::fs::File::create(&huge).expect("a file");
    sparse.set_len(300 << 20).expect("a sparse file");
    let nothing = folder.path().join("nothing.wasm");
    // A section of 20 MiB.
    let wasm = [&b"\0asm\x01\0\0\0\0\x80\x80\x80\x0a"[..], &vec![7; 20 << 20]].concat();
    let short = folder.path().join("short.wasm");
    std::fs::write(&short, &wasm[..wasm.len() - 1]).expect("a file");
    for (file, wanted) in [
        (&text, "no WebAssembly"),
        (&huge, "up to 256 MiB"),
        (&nothing, "cannot be read"),
        (&short, "the file is cut off"),
    ] {
        let (code, _, stderr) = image(&["import", &file.display().to_string(), "x:1"]).await;
        assert!(code == 1 && stderr.contains(wanted), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
    // Some megabytes go through in pieces, and arrive as they were.
    let large = folder.path().join("large.wasm");
    std::fs::write(&large, &wasm).expect("a file");
    let (code, stdout, stderr) = image(&["import", &large.display().to_string(), "l:1"]).await;
    assert_eq!(code, 0, "{stderr}");
    let sum = Command::new("sha256sum").arg(&large).output().await.expect("sha256sum runs");
    let sum = String::from_utf8_lossy(&sum.stdout).into_owned();
    assert!(stdout.contains(sum.split(' ').next().expect("a digest")), "{stdout} {sum}");
    assert_eq!(up.terminate().await, 0);
}
