//! `copepod node`.

use copepod_sdk::remote::{NodeOptions, NodeProcess};

use crate::cli::Node;

pub async fn node(options: Node) -> anyhow::Result<u8> {
    let dir = super::data_dir(options.data_dir)?;
    let node = NodeProcess::start(NodeOptions {
        data_dir: dir.join("nodes").join(&options.name),
        name: options.name.clone(),
        kubeconfig: options.kubeconfig,
        kubelet_listen: options.kubelet_listen,
        bind_address: options.bind_address,
        allowed_image_dirs: options.allow_images_in,
    })
    .await?;
    crate::progress::line(format_args!("ready {}", options.name));
    super::asked_to_stop().await?;
    node.stop().await;
    Ok(0)
}
