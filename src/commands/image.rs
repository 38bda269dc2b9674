//! `copepod image`.

use copepod_sdk::{images, kubeconfig};

use crate::cli::{ClusterArg, Image};

pub async fn image(cluster: ClusterArg, command: Image) -> anyhow::Result<u8> {
    let kubeconfig = cluster.kubeconfig.ok_or(kubeconfig::KubeconfigError::None)?;
    let client = kubeconfig::client(&kubeconfig).await?;
    match command {
        Image::Import { file, reference } => {
            let image = images::import_file(&kubeconfig, &reference, &file).await?;
            crate::progress::line(format_args!("{} {}", image.reference, image.digest));
        }
        Image::Ls => {
            crate::progress::line(format_args!(
                "{:<16} {:<40} {:<20} {:>10}",
                "NODE", "REFERENCE", "DIGEST", "SIZE"
            ));
            for (node, image) in images::list(&client).await? {
                let digest: String = image.digest.chars().take(19).collect();
                crate::progress::line(format_args!(
                    "{node:<16} {:<40} {digest:<20} {:>10}",
                    image.reference, image.size
                ));
            }
        }
        Image::Rm { reference } => {
            let removed = images::remove(&client, &reference).await?;
            anyhow::ensure!(
                removed > 0,
                "no node has an image {reference}; see `copepod image ls`"
            );
            crate::progress::line(format_args!("{reference} removed from {removed} node(s)"));
        }
    }
    Ok(0)
}
