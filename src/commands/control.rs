//! `copepod control`.

use copepod_sdk::remote;

use crate::cli::Control;

pub async fn control(options: Control) -> anyhow::Result<u8> {
    let (storage, dir) = super::storage(options.storage)?;
    let kubeconfig = options.kubeconfig.unwrap_or_else(|| dir.join("kubeconfig"));
    let control = remote::Control::start(storage, options.listen).await?;
    super::write_private(&kubeconfig, &control.kubeconfig())?;
    for (node, file) in &options.node_kubeconfig {
        super::write_private(file, &control.node_kubeconfig(node))?;
    }
    crate::progress::line(format_args!("ready {}", kubeconfig.display()));
    super::asked_to_stop().await?;
    control.stop().await;
    Ok(0)
}
