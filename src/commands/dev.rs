//! `copepod dev`.

use copepod_sdk::dev::{DevOptions, dev as develop};
use tokio::sync::mpsc;

use crate::cli::Dev;
use crate::progress::Progress;

pub async fn dev(options: Dev) -> anyhow::Result<u8> {
    let options = DevOptions {
        dir: options.dir,
        kubeconfig: options.kubeconfig,
        listen: options.listen,
        bind_address: options.bind_address,
    };
    let (events, mut shown) = mpsc::channel(256);
    let mut progress = Progress::new();
    let display = tokio::spawn(async move {
        while let Some(event) = shown.recv().await {
            progress.show(event);
        }
    });
    let stop = async {
        if let Err(error) = super::asked_to_stop().await {
            tracing::error!(%error, "cannot await the end");
        }
    };
    let result = develop(options, events, stop).await;
    display.await?;
    result?;
    Ok(0)
}
