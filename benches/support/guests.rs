//! The guests that the benches run: those of the end-to-end tests, built as `copepod dev` builds.

use std::path::{Path, PathBuf};

use anyhow::Context;
use bytes::Bytes;
use copepod_sdk::guests;

/// The component of a guest under `tests/guests`.
pub async fn guest(name: &str) -> anyhow::Result<Bytes> {
    let path = built(name).await?;
    let bytes = std::fs::read(&path).with_context(|| format!("read {}", path.display()))?;
    Ok(bytes.into())
}

/// Where it lies.
pub async fn built(name: &str) -> anyhow::Result<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guests");
    let built = guests::build(&dir).await?;
    let guest = built.iter().find(|guest| guest.name == name);
    Ok(guest.with_context(|| format!("no guest {name} in {}", dir.display()))?.wasm.clone())
}
