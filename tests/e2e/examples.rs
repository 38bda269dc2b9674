//! Every example, through `copepod dev`, as its README tells.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use super::support::{PATIENCE, eventually, get_ok, own_address, repository, shell_kill};

/// `copepod dev` of a folder.
struct Dev {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    address: String,
}

impl Dev {
    fn start(dir: &Path) -> Self {
        let address = own_address().to_string();
        let mut child = Command::new(env!("CARGO_BIN_EXE_copepod"))
            .arg("dev")
            .arg(dir)
            .args(["--bind-address", &address])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("copepod starts");
        let lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
        Self { child, lines, address }
    }

    /// Reads on until a line contains this.
    async fn until(&mut self, wanted: &str) -> String {
        let mut seen = String::new();
        let found = tokio::time::timeout(PATIENCE * 2, async {
            while let Ok(Some(line)) = self.lines.next_line().await {
                seen.push_str(&line);
                seen.push('\n');
                if line.contains(wanted) {
                    return Some(line);
                }
            }
            None
        })
        .await;
        found.ok().flatten().unwrap_or_else(|| panic!("{wanted:?} was not said:\n{seen}"))
    }

    async fn stop(mut self) {
        let pid = self.child.id().expect("it runs").to_string();
        shell_kill("INT", &pid).status().await.expect("kill runs");
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("it ends");
        assert!(status.expect("it ends").success());
    }
}

fn example(name: &str) -> PathBuf {
    repository().join("examples").join(name)
}

#[tokio::test(flavor = "multi_thread")]
async fn hello_greets_and_is_rebuilt_on_change() {
    // A copy, since the test edits it.
    let folder = tempfile::tempdir().expect("a folder");
    let copied = Command::new("cp")
        .args(["-r", &example("hello").display().to_string()])
        .arg(folder.path())
        .status()
        .await
        .expect("cp runs");
    assert!(copied.success());
    let dir = folder.path().join("hello");
    let manifest = std::fs::read_to_string(example("Cargo.toml")).expect("the workspace");
    let line = manifest.lines().find(|line| line.starts_with("members = "));
    let line = line.expect("the list of members").to_owned();
    let manifest = manifest.replace(&line, "members = [\"hello\"]");
    std::fs::write(folder.path().join("Cargo.toml"), manifest).expect("a workspace");
    std::fs::copy(example("Cargo.lock"), folder.path().join("Cargo.lock")).expect("a lock file");

    let mut dev = Dev::start(&dir);
    dev.until("http://").await;
    let url = format!("http://{}:30080/", dev.address);
    let body = get_ok(&url).await;
    assert!(body.starts_with("Hello, copepod! This is hello-"), "{body}");
    dev.until("GET /").await;

    let source = dir.join("src/main.rs");
    let text = std::fs::read_to_string(&source).expect("the source");
    std::fs::write(&source, text.replace("Hello, ", "Ahoy, ")).expect("the source");
    dev.until("http://").await;
    eventually("the new greeting", || async {
        get_ok(&url).await.starts_with("Ahoy, ").then_some(())
    })
    .await;
    std::fs::write(&source, "fn main() { nonsense }").expect("the source");
    let failed = dev.until("failed:").await;
    assert!(failed.contains("does not build"), "{failed}");
    assert!(get_ok(&url).await.starts_with("Ahoy, "), "the last good build goes on");
    dev.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frontend_calls_backend_by_its_name() {
    let mut dev = Dev::start(&example("frontend-backend"));
    dev.until("http://").await;
    let body = get_ok(&format!("http://{}:30081/1", dev.address)).await;
    assert_eq!(
        body,
        "Did you know? A copepod can jump five hundred times its length in a second.\n"
    );
    dev.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn echo_tcp_says_back_what_it_hears() {
    let mut dev = Dev::start(&example("echo-tcp"));
    dev.until("tcp://").await;
    let said = eventually("an echo", || async {
        let mut stream =
            tokio::net::TcpStream::connect((dev.address.as_str(), 30007)).await.ok()?;
        stream.write_all(b"ahoy\n").await.ok()?;
        let mut said = [0; 5];
        stream.read_exact(&mut said).await.ok()?;
        Some(said)
    })
    .await;
    assert_eq!(&said, b"ahoy\n");
    dev.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn job_like_runs_to_completion() {
    let mut dev = Dev::start(&example("job-like"));
    let line = dev.until("primes below").await;
    assert_eq!(line, "primes | 78498 primes below 1000000");
    dev.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn composition_links_two_containers_of_a_pod() {
    let mut dev = Dev::start(&example("composition"));
    dev.until("http://").await;
    let body = get_ok(&format!("http://{}:30082/de/Ada", dev.address)).await;
    assert_eq!(body, "Moin, Ada!\n");
    dev.stop().await;
}
