//! Building guests with their own toolchain: one file each, told by a file in the guest's folder.

mod cargo;
mod make;
mod npm;

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

/// A built guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guest {
    /// The name of the program, which its image bears too.
    pub name: String,
    /// The component or module on disk.
    pub wasm: PathBuf,
}

/// Why a guest was not built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error(
        "{dir}: no guest here: neither it nor a folder in it has a Cargo.toml, a package.json or a Makefile"
    )]
    NoGuest { dir: String },
    #[error("{dir}: {source}")]
    Folder { dir: String, source: std::io::Error },
    #[error("`{program}` cannot be run: {source}; {help}")]
    NoToolchain { program: &'static str, source: std::io::Error, help: &'static str },
    #[error(
        "the Rust target {target} cannot be installed; run `rustup target add {target}`:\n{output}"
    )]
    NoTarget { target: &'static str, output: String },
    #[error("{dir}: the guest does not build:\n{output}")]
    Failed { dir: String, output: String },
    #[error("{dir}: the build made no .wasm file; {help}")]
    NoArtifact { dir: String, help: &'static str },
}

/// What builds a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Toolchain {
    Cargo,
    Make,
    Npm,
}

impl Toolchain {
    /// In the order in which a folder is asked: of one with several, the first counts.
    const ALL: [Toolchain; 3] = [Toolchain::Cargo, Toolchain::Npm, Toolchain::Make];

    fn mark(self) -> &'static str {
        match self {
            Toolchain::Cargo => cargo::MARK,
            Toolchain::Make => make::MARK,
            Toolchain::Npm => npm::MARK,
        }
    }

    fn of(dir: &Path) -> Option<Toolchain> {
        Toolchain::ALL.into_iter().find(|toolchain| dir.join(toolchain.mark()).is_file())
    }

    async fn build(self, dir: &Path) -> Result<Vec<Guest>, BuildError> {
        match self {
            Toolchain::Cargo => cargo::build(dir).await,
            Toolchain::Make => make::build(dir).await,
            Toolchain::Npm => npm::build(dir).await,
        }
    }
}

/// Builds the guest in `dir`, or each guest in the folders of `dir`.
pub async fn build(dir: &Path) -> Result<Vec<Guest>, BuildError> {
    let mut guests = Vec::new();
    for (package, toolchain) in packages(dir)? {
        guests.extend(toolchain.build(&package).await?);
    }
    Ok(guests)
}

/// The folders with a guest: `dir` itself, or else those directly in it.
fn packages(dir: &Path) -> Result<Vec<(PathBuf, Toolchain)>, BuildError> {
    let fails = |source| BuildError::Folder { dir: dir.display().to_string(), source };
    if let Some(toolchain) = Toolchain::of(dir) {
        return Ok(vec![(dir.to_owned(), toolchain)]);
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(fails)? {
        let path = entry.map_err(fails)?.path();
        if let Some(toolchain) = Toolchain::of(&path) {
            found.push((path, toolchain));
        }
    }
    found.sort_by(|(left, _), (right, _)| left.cmp(right));
    if found.is_empty() {
        return Err(BuildError::NoGuest { dir: dir.display().to_string() });
    }
    Ok(found)
}

/// Runs a tool in a guest's folder; what it said is told only where it fails.
async fn run(
    dir: &Path,
    program: &'static str,
    args: &[&str],
    help: &'static str,
) -> Result<(), BuildError> {
    let output = Command::new(program)
        .args(args)
        .current_dir(dir)
        .stdin(Stdio::null())
        .output()
        .await
        .map_err(|source| BuildError::NoToolchain { program, source, help })?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    let output = String::from_utf8_lossy(&said).into_owned();
    Err(BuildError::Failed { dir: dir.display().to_string(), output })
}

/// What a build left in the folder `build`.
fn wasm_in(dir: &Path, help: &'static str) -> Result<Vec<Guest>, BuildError> {
    let named = || dir.display().to_string();
    let entries = std::fs::read_dir(dir.join("build"));
    let entries = entries.map_err(|_| BuildError::NoArtifact { dir: named(), help })?;
    let mut guests = Vec::new();
    for entry in entries {
        let wasm = entry.map_err(|source| BuildError::Folder { dir: named(), source })?.path();
        if wasm.extension().is_some_and(|extension| extension == "wasm")
            && let Some(name) = wasm.file_stem().and_then(|stem| stem.to_str())
        {
            guests.push(Guest { name: name.to_owned(), wasm: wasm.clone() });
        }
    }
    guests.sort_by(|left, right| left.name.cmp(&right.name));
    if guests.is_empty() {
        return Err(BuildError::NoArtifact { dir: named(), help });
    }
    Ok(guests)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_guests_is_named() {
        let dir = tempfile::tempdir().expect("a folder");
        let error = packages(dir.path()).expect_err("there is no guest");
        assert!(error.to_string().contains("no guest here"), "{error}");
    }

    #[test]
    fn a_guests_toolchain_is_told_by_the_files_in_its_folder() {
        let dir = tempfile::tempdir().expect("a folder");
        for (folder, mark) in [("a", "package.json"), ("b", "Makefile"), ("c", "README.md")] {
            std::fs::create_dir(dir.path().join(folder)).expect("a folder");
            std::fs::write(dir.path().join(folder).join(mark), "").expect("a file");
        }
        let found = |found: Vec<(PathBuf, Toolchain)>| -> Vec<Toolchain> {
            found.into_iter().map(|(_, toolchain)| toolchain).collect()
        };
        let packages_in = || found(packages(dir.path()).expect("guests"));
        assert_eq!(packages_in(), [Toolchain::Npm, Toolchain::Make]);
        // A folder that is a guest itself is the only one.
        std::fs::write(dir.path().join("Cargo.toml"), "").expect("a file");
        assert_eq!(packages_in(), [Toolchain::Cargo]);
    }

    #[tokio::test]
    async fn a_guest_of_a_makefile_is_what_it_leaves_in_build() {
        let dir = tempfile::tempdir().expect("a folder");
        let makefile = |recipe: &str| {
            std::fs::write(dir.path().join("Makefile"), format!("all:\n\t{recipe}\n"))
                .expect("a file");
        };
        makefile("@echo there is no compiler >&2; exit 1");
        let error = build(dir.path()).await.expect_err("it fails");
        assert!(error.to_string().contains("there is no compiler"), "{error}");
        makefile("@true");
        let error = build(dir.path()).await.expect_err("there is no component");
        assert!(error.to_string().contains("build/NAME.wasm"), "{error}");
        makefile("@mkdir -p build; touch build/words.wasm build/words.o");
        let guests = build(dir.path()).await.expect("a guest");
        let wasm = dir.path().join("build/words.wasm");
        assert_eq!(guests, [Guest { name: "words".to_owned(), wasm }]);
    }

    #[tokio::test]
    async fn a_missing_tool_is_named_with_what_installs_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let error = run(dir.path(), "no-such-tool", &[], "install it").await;
        let error = error.expect_err("there is no such tool").to_string();
        assert!(error.contains("`no-such-tool`") && error.contains("install it"), "{error}");
    }
}
