//! `copepod up`.

use copepod_sdk::{Cluster, Storage};

use crate::cli::Up;

pub async fn up(options: Up) -> anyhow::Result<u8> {
    let (storage, dir) = super::storage(options.storage)?;
    let kubeconfig = options.kubeconfig.unwrap_or_else(|| dir.join("kubeconfig"));
    let builder = Cluster::builder()
        .nodes(options.nodes.into())
        .listen(options.listen)
        .bind_address(options.bind_address);
    let builder = match storage {
        Storage::Memory => builder.memory(),
        Storage::Dir(dir) => builder.data_dir(dir),
    };
    let builder = options
        .allow_images_in
        .into_iter()
        .fold(builder, |builder, dir| builder.allow_images_in(dir));
    let cluster = builder.start().await?;
    super::write_private(&kubeconfig, &cluster.kubeconfig())?;
    crate::progress::line(format_args!("ready {}", kubeconfig.display()));
    super::asked_to_stop().await?;
    cluster.stop().await;
    Ok(0)
}
