//! One file a command; each answers the process's exit code.

mod control;
mod dev;
mod image;
mod node;
mod run;
mod up;

use std::path::{Path, PathBuf};

use anyhow::Context;
use copepod_sdk::Storage;

use crate::cli::{Command, StorageArgs, Store};

/// Carries out the command.
pub async fn run(command: Command) -> anyhow::Result<u8> {
    match command {
        Command::Up(options) => up::up(options).await,
        Command::Control(options) => control::control(options).await,
        Command::Node(options) => node::node(options).await,
        Command::Dev(options) => dev::dev(options).await,
        Command::Run(options) => run::run(options).await,
        Command::Image { cluster, command } => image::image(cluster, command).await,
    }
}

/// Completes when the process is asked to end: SIGTERM, or Ctrl-C.
async fn asked_to_stop() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be awaited")?;
    tokio::select! {
        _ = terminate.recv() => {}
        result = tokio::signal::ctrl_c() => result.context("Ctrl-C cannot be awaited")?,
    }
    Ok(())
}

fn data_dir(given: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    given
        .or_else(|| copepod_sdk::kubeconfig::default_data_dir(|name| std::env::var(name).ok()))
        .context("there is no HOME to keep data in; pass --data-dir")
}

/// Where the cluster is kept, and the folder for its kubeconfig.
fn storage(arguments: StorageArgs) -> anyhow::Result<(Storage, PathBuf)> {
    let dir = data_dir(arguments.data_dir)?;
    let storage = match arguments.store {
        Store::Sled => Storage::Dir(dir.clone()),
        Store::Memory => Storage::Memory,
    };
    Ok((storage, dir))
}

/// Writes credentials so that the owner alone can read them.
fn write_private(file: &Path, text: &str) -> anyhow::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let written = (|| {
        if let Some(parent) = file.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let beside = file.with_extension("tmp");
        let mut out = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&beside)?;
        out.write_all(text.as_bytes())?;
        std::fs::rename(&beside, file)
    })();
    written.with_context(|| format!("{} cannot be written; choose another file", file.display()))
}
