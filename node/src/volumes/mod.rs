//! Volumes: one file per source, each making a folder of this node that containers mount.
//!
//! A pod's volumes live under its own folder, `volumes/NAME`. Sources without a file here are
//! refused by name in `pods/unsupported.rs`.

mod config_map;
mod empty_dir;
mod projection;
mod secret;

use std::path::{Path, PathBuf};

use copepod_runtime::Mount;
use k8s_openapi::api::core::v1::{Container, Pod, Volume};

use crate::objects::Objects;

/// Makes every volume of a pod, or brings it up to date. May be called again at any time.
pub async fn make(objects: &Objects, pod_dir: &Path, pod: &Pod) -> Result<(), String> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
        let folder = folder(pod_dir, &volume.name);
        make_one(objects, namespace, volume, folder).await.map_err(|problem| {
            format!("MountVolume.SetUp failed for volume \"{}\" : {problem}", volume.name)
        })?;
    }
    Ok(())
}

async fn make_one(
    objects: &Objects,
    namespace: &str,
    volume: &Volume,
    folder: PathBuf,
) -> Result<(), String> {
    if let Some(source) = &volume.config_map {
        config_map::make(objects, namespace, source, folder).await
    } else if let Some(source) = &volume.secret {
        secret::make(objects, namespace, source, folder).await
    } else {
        // As upstream: a volume that names no source is an emptyDir.
        empty_dir::make(folder).await
    }
}

/// Whether a pod has volumes whose content follows an object of the API.
pub fn follows_objects(pod: &Pod) -> bool {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.into_iter().any(|volume| volume.config_map.is_some() || volume.secret.is_some())
}

/// The mounts of a container. Configuration is read-only whatever the mount says, as upstream.
pub fn mounts(pod_dir: &Path, pod: &Pod, container: &Container) -> Result<Vec<Mount>, String> {
    let volumes: Vec<&Volume> =
        pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()).collect();
    container
        .volume_mounts
        .iter()
        .flatten()
        .map(|mount| {
            let volume = volumes.iter().find(|volume| volume.name == mount.name);
            let volume = volume.ok_or_else(|| {
                format!("volume mount \"{}\" names no volume of the pod", mount.name)
            })?;
            let fixed = volume.config_map.is_some() || volume.secret.is_some();
            Ok(Mount {
                guest_path: mount.mount_path.clone(),
                host_dir: folder(pod_dir, &volume.name),
                read_only: fixed || mount.read_only == Some(true),
            })
        })
        .collect()
}

fn folder(pod_dir: &Path, name: &str) -> PathBuf {
    pod_dir.join("volumes").join(name)
}
