//! `emptyDir`: a folder that lives as long as its pod, on disk whatever its medium says.

use std::path::PathBuf;

pub async fn make(folder: PathBuf) -> Result<(), String> {
    tokio::fs::create_dir_all(&folder)
        .await
        .map_err(|error| format!("{}: {error}", folder.display()))
}
