//! `copepod run`.

use anyhow::Context;
use copepod_sdk::run::{RunOptions, run as run_manifests};
use tokio::sync::mpsc;

use crate::cli::Run;
use crate::progress::Progress;

pub async fn run(options: Run) -> anyhow::Result<u8> {
    let (lines, mut printed) = mpsc::channel(256);
    let options = RunOptions {
        file: options.file,
        images: options.image,
        bind_address: options.bind_address,
    };
    let printer = tokio::spawn(async move {
        let mut progress = Progress::new();
        progress.wait("running");
        while let Some(line) = printed.recv().await {
            progress.log(&line);
        }
    });
    // Either way the sender is gone then, and the printer ends.
    let code = tokio::select! {
        code = run_manifests(options, lines) => code,
        stopped = super::asked_to_stop() => {
            stopped?;
            Ok(0)
        }
    };
    printer.await.context("logs were not printed")?;
    let code = code?;
    // A code that a process cannot have counts as a failure.
    Ok(u8::try_from(code).unwrap_or(1))
}
