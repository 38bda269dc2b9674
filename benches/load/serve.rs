//! A baseline of the HTTP part: `wasmtime serve` as it comes, of the same wasmtime and with the same guest.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::Context;
use copepod_runtime::WASMTIME_VERSION;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// Where `just wasmtime` puts the program.
const INSTALLED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/tools/bin/wasmtime");

/// A running server; killed when dropped.
pub struct Serve {
    pub address: std::net::SocketAddr,
    pub pid: u32,
    _child: Child,
}

/// The program of our version, or why there is none.
pub async fn program() -> anyhow::Result<PathBuf> {
    for program in [INSTALLED, "wasmtime"] {
        let Ok(said) = Command::new(program).arg("--version").output().await else { continue };
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        if said.split_whitespace().nth(1) == Some(WASMTIME_VERSION) {
            return Ok(program.into());
        }
    }
    anyhow::bail!("no wasmtime {WASMTIME_VERSION} here: `just wasmtime` builds it")
}

impl Serve {
    pub async fn start(program: &Path, guest: &Path) -> anyhow::Result<Serve> {
        let mut child = Command::new(program)
            .args(["serve", "--addr", "127.0.0.1:0"])
            .arg(guest)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("start wasmtime serve")?;
        let stderr = child.stderr.take().context("its output")?;
        let mut lines = BufReader::new(stderr).lines();
        let line = lines.next_line().await?.context("its address")?;
        let address = line.split("http://").nth(1).map(|rest| rest.trim_end_matches('/'));
        let address = address.with_context(|| format!("an address in {line:?}"))?.parse()?;
        let pid = child.id().context("it runs")?;
        // What it says from now on must not fill the pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Serve { address, pid, _child: child })
    }
}
