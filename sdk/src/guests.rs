//! Building guests with their own toolchain. Cargo for now; another is one more file like this.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde::Deserialize;
use tokio::process::Command;

/// The target that Rust guests are built for.
const TARGET: &str = "wasm32-wasip2";

/// A built guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guest {
    /// The name of the program, which its image bears too.
    pub name: String,
    /// The component on disk.
    pub wasm: PathBuf,
}

/// Why a guest was not built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("{dir}: no guest here: neither it nor a folder in it has a Cargo.toml")]
    NoGuest { dir: String },
    #[error("{dir}: {source}")]
    Folder { dir: String, source: std::io::Error },
    #[error("`{program}` cannot be run: {source}; install Rust from https://rustup.rs")]
    NoToolchain { program: &'static str, source: std::io::Error },
    #[error(
        "the Rust target {TARGET} cannot be installed; run `rustup target add {TARGET}`:\n{output}"
    )]
    NoTarget { output: String },
    #[error("{dir}: the guest does not build:\n{output}")]
    Failed { dir: String, output: String },
    #[error("{dir}: the build made no .wasm file; is there a binary (src/main.rs) in it?")]
    NoArtifact { dir: String },
}

/// Builds the guest in `dir`, or each guest in the folders of `dir`.
pub async fn build(dir: &Path) -> Result<Vec<Guest>, BuildError> {
    ensure_target().await?;
    let mut guests = Vec::new();
    for package in packages(dir)? {
        guests.extend(cargo_build(&package).await?);
    }
    Ok(guests)
}

/// The folders with a `Cargo.toml`: `dir` itself, or else those directly in it.
fn packages(dir: &Path) -> Result<Vec<PathBuf>, BuildError> {
    let fails = |source| BuildError::Folder { dir: dir.display().to_string(), source };
    if dir.join("Cargo.toml").is_file() {
        return Ok(vec![dir.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(fails)? {
        let path = entry.map_err(fails)?.path();
        if path.join("Cargo.toml").is_file() {
            found.push(path);
        }
    }
    found.sort();
    if found.is_empty() {
        return Err(BuildError::NoGuest { dir: dir.display().to_string() });
    }
    Ok(found)
}

/// Installs the Rust target where rustup manages the toolchain and it is missing.
async fn ensure_target() -> Result<(), BuildError> {
    let sysroot = Command::new("rustc")
        .args(["--print", "sysroot"])
        .output()
        .await
        .map_err(|source| BuildError::NoToolchain { program: "rustc", source })?;
    let sysroot = PathBuf::from(String::from_utf8_lossy(&sysroot.stdout).trim());
    if sysroot.join("lib/rustlib").join(TARGET).is_dir() {
        return Ok(());
    }
    let added = Command::new("rustup")
        .args(["target", "add", TARGET])
        .output()
        .await
        .map_err(|source| BuildError::NoToolchain { program: "rustup", source })?;
    if added.status.success() {
        return Ok(());
    }
    Err(BuildError::NoTarget { output: String::from_utf8_lossy(&added.stderr).into_owned() })
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
        .map_err(|source| BuildError::NoToolchain { program: "cargo", source })?;
    if !output.status.success() {
        let output = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(BuildError::Failed { dir, output });
    }
    let guests = artifacts(&String::from_utf8_lossy(&output.stdout));
    if guests.is_empty() { Err(BuildError::NoArtifact { dir }) } else { Ok(guests) }
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

    #[test]
    fn a_folder_without_guests_is_named() {
        let dir = tempfile::tempdir().expect("a folder");
        let error = packages(dir.path()).expect_err("there is no guest");
        assert!(error.to_string().contains("no guest here"), "{error}");
    }
}
