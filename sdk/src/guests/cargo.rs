//! Rust guests, by cargo for wasm32-wasip2.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde::Deserialize;
use tokio::process::Command;

use super::{BuildError, Guest};

/// What tells of such a guest.
pub(super) const MARK: &str = "Cargo.toml";

const HELP: &str = "install Rust from https://rustup.rs";

/// The target that Rust guests are built for.
const TARGET: &str = "wasm32-wasip2";

pub(super) async fn build(package: &Path) -> Result<Vec<Guest>, BuildError> {
    ensure_target().await?;
    cargo_build(package).await
}

/// Installs the Rust target where rustup manages the toolchain and it is missing.
async fn ensure_target() -> Result<(), BuildError> {
    let sysroot = Command::new("rustc")
        .args(["--print", "sysroot"])
        .output()
        .await
        .map_err(|source| BuildError::NoToolchain { program: "rustc", source, help: HELP })?;
    let sysroot = PathBuf::from(String::from_utf8_lossy(&sysroot.stdout).trim());
    if sysroot.join("lib/rustlib").join(TARGET).is_dir() {
        return Ok(());
    }
    let added = Command::new("rustup")
        .args(["target", "add", TARGET])
        .output()
        .await
        .map_err(|source| BuildError::NoToolchain { program: "rustup", source, help: HELP })?;
    if added.status.success() {
        return Ok(());
    }
    Err(BuildError::NoTarget {
        target: TARGET,
        output: String::from_utf8_lossy(&added.stderr).into_owned(),
    })
}

/// One line of cargo's JSON output, as far as it matters here.
#[derive(Deserialize)]
struct Message {
    reason: String,
    #[serde(default)]
    filenames: Vec<PathBuf>,
    target: Option<Target>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

async fn cargo_build(package: &Path) -> Result<Vec<Guest>, BuildError> {
    let dir = package.display().to_string();
    let output = Command::new("cargo")
        .args(["build", "--release", "--target", TARGET])
        .arg("--message-format=json-render-diagnostics")
        .current_dir(package)
        // Wrappers and flags that were meant for the host's build do not suit a guest.
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .stdin(Stdio::null())
        .output()
        .await
        .map_err(|source| BuildError::NoToolchain { program: "cargo", source, help: HELP })?;
    if !output.status.success() {
        let output = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(BuildError::Failed { dir, output });
    }
    let guests = artifacts(&String::from_utf8_lossy(&output.stdout));
    if guests.is_empty() {
        return Err(BuildError::NoArtifact { dir, help: "is there a binary (src/main.rs) in it?" });
    }
    Ok(guests)
}

fn artifacts(messages: &str) -> Vec<Guest> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Message>(line).ok())
        .filter(|message| message.reason == "compiler-artifact")
        .filter_map(|message| {
            let target = message.target?;
            let is_guest = target.kind.iter().any(|kind| kind == "bin" || kind == "cdylib");
            let wasm = message
                .filenames
                .into_iter()
                .find(|file| file.extension().is_some_and(|extension| extension == "wasm"))?;
            is_guest.then_some(Guest { name: target.name, wasm })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn artifacts_are_the_wasm_programs() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"dep","kind":["lib"]},"filenames":["/t/dep.rlib"]}
{"reason":"compiler-artifact","target":{"name":"hello","kind":["bin"]},"filenames":["/t/hello.wasm"]}
{"reason":"build-finished","success":true}"#;
        let guest = Guest { name: "hello".to_owned(), wasm: "/t/hello.wasm".into() };
        assert_eq!(artifacts(messages), [guest]);
    }
}
