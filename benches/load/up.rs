//! `copepod up` as a process: started, measured, asked to stop. As a part: how soon it is ready, and what it holds idle.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::figures::{Figure, Figures, median, time};
use crate::{disk, guests, objects};

const ROUNDS: usize = 5;
/// After which a process counts as idle.
const REST: Duration = Duration::from_secs(5);
/// NodePorts open here, out of the way of whatever else listens on the machine.
const BIND_ADDRESS: &str = "127.77.0.1";

/// A running cluster; killed when dropped.
pub struct Up {
    child: Child,
    pub pid: u32,
    /// Over HTTPS, as everybody's.
    pub client: kube::Client,
    /// From the start of the process to `ready`.
    pub ready_after: Duration,
    /// The data folder, where this is the one who keeps it.
    folder: Option<TempDir>,
}

impl Up {
    /// On a fresh data folder, which goes with it.
    pub async fn fresh() -> anyhow::Result<Up> {
        let folder = disk::folder()?;
        let up = Up::start(folder.path()).await?;
        Ok(Up { folder: Some(folder), ..up })
    }

    /// With the HTTP guest imported and warm: a pod of it has run.
    pub async fn with_guest() -> anyhow::Result<Up> {
        let wasm = guests::guest("web").await?;
        let up = Up::fresh().await?;
        copepod_sdk::images::import(&up.client, objects::IMAGE, wasm).await?;
        objects::create(&up.client, &objects::deployment("warm", 1)?).await?;
        objects::ready(&up.client, "warm", 1).await?;
        objects::delete(&up.client, "warm").await?;
        Ok(up)
    }

    async fn start(dir: &Path) -> anyhow::Result<Up> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_copepod"));
        command
            .args(["up", "--listen", "127.0.0.1:0", "--bind-address", BIND_ADDRESS])
            .arg("--data-dir")
            .arg(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let start = Instant::now();
        let mut child = command.spawn().context("start copepod")?;
        let stdout = child.stdout.take().context("its output")?;
        let mut lines = BufReader::new(stdout).lines();
        let line = tokio::time::timeout(objects::PATIENCE, lines.next_line()).await;
        let ready_after = start.elapsed();
        let line = line.context("copepod is never ready")??.unwrap_or_default();
        let kubeconfig = line.strip_prefix("ready ").context("copepod did not start")?;
        let client = copepod_sdk::kubeconfig::client(Path::new(kubeconfig)).await?;
        let pid = child.id().context("it runs")?;
        Ok(Up { child, pid, client, ready_after, folder: None })
    }

    /// Where a NodePort is reached.
    pub fn door(&self, port: u16) -> anyhow::Result<SocketAddr> {
        Ok(SocketAddr::new(BIND_ADDRESS.parse()?, port))
    }

    pub fn data_dir(&self) -> anyhow::Result<&Path> {
        Ok(self.folder.as_ref().context("a folder of its own")?.path())
    }

    /// Resident memory once it has had time to come to rest.
    pub async fn memory_at_rest(&self) -> anyhow::Result<Memory> {
        tokio::time::sleep(REST).await;
        Memory::of(self.pid)
    }

    /// SIGTERM; it must end well.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        Command::new("kill").arg(self.pid.to_string()).status().await.context("run kill")?;
        let status = tokio::time::timeout(objects::PATIENCE, self.child.wait()).await;
        let status = status.context("copepod does not end")??;
        anyhow::ensure!(status.success(), "copepod ended with {status}");
        Ok(())
    }
}

/// Resident memory in MiB.
pub struct Memory {
    pub resident: f64,
    /// The part that no file backs: what the kernel could not drop.
    pub anonymous: f64,
}

impl Memory {
    pub fn of(pid: u32) -> anyhow::Result<Memory> {
        let path = format!("/proc/{pid}/status");
        let status = std::fs::read_to_string(&path).context(path)?;
        let mib = |field: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(field));
            let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
            let kib: f64 = kib.with_context(|| field.to_owned())?.trim().parse()?;
            anyhow::Ok(kib / 1024.0)
        };
        Ok(Memory { resident: mib("VmRSS:")?, anonymous: mib("RssAnon:")? })
    }
}

impl std::fmt::Display for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.0} MiB, {:.0} of it anonymous", self.resident, self.anonymous)
    }
}

pub async fn run(figures: &mut Figures) -> anyhow::Result<()> {
    let (mut fresh, mut again) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let mut up = Up::fresh().await?;
        expect_ready(&up).await?;
        fresh.push(up.ready_after.as_secs_f64());
        let folder = up.folder.take().context("a folder of its own")?;
        up.stop().await?;
        let up = Up::start(folder.path()).await?;
        expect_ready(&up).await?;
        again.push(up.ready_after.as_secs_f64());
        up.stop().await?;
    }
    let up = Up::fresh().await?;
    let memory = up.memory_at_rest().await?;
    up.stop().await?;
    let middle = |samples: &[f64]| time(Duration::from_secs_f64(median(samples)));
    figures.add(
        Figure::new("`copepod up` → `ready`, fresh data folder", middle(&fresh))
            .target("300 ms, then 150 ms"),
    );
    figures.add(Figure::new("`copepod up` → `ready`, the second start", middle(&again)));
    figures.add(Figure::new("idle memory, fresh", memory).target("80 MiB, then 50 MiB"));
    Ok(())
}

async fn expect_ready(up: &Up) -> anyhow::Result<()> {
    let request = hyper::Request::get("/readyz").body(Vec::new())?;
    up.client.request_text(request).await.context("/readyz")?;
    Ok(())
}
