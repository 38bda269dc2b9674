//! The crates depend on each other only as ARCHITECTURE.md says.

use std::collections::BTreeSet;
use std::process::Command;

/// All packages that a crate of the workspace builds with.
fn dependencies(package: &str) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--edges", "normal", "--prefix", "none", "--format", "{p}"])
        .args(["--package", package])
        .current_dir(super::support::repository())
        .output()
        .expect("cargo tree runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .collect()
}

#[test]
fn the_crate_arrows_hold() {
    for (package, never) in [
        ("copepod-control", &["wasmtime", "copepod-runtime", "copepod-node", "copepod-sdk"][..]),
        ("copepod-runtime", &["k8s-openapi", "kube", "copepod-control", "copepod-node"]),
        ("copepod-node", &["copepod-control", "copepod-sdk"]),
    ] {
        let dependencies = dependencies(package);
        for name in never {
            assert!(!dependencies.contains(*name), "{package} depends on {name}");
        }
    }
}

#[test]
fn one_tls_provider_is_locked() {
    let lock = super::support::repository().join("Cargo.lock");
    let lock = std::fs::read_to_string(lock).expect("the lock file");
    for name in ["aws-lc-sys", "aws-lc-rs", "openssl-sys"] {
        assert!(!lock.contains(&format!("name = \"{name}\"")), "{name} is in the lock file");
    }
}

#[test]
fn the_smallest_kind_is_shown_as_it_is() {
    let repository = super::support::repository();
    let read = |path: &str| std::fs::read_to_string(repository.join(path)).expect(path);
    let smallest = read("control/src/kinds/role.rs");
    assert!(read("ARCHITECTURE.md").contains(&format!("```rust\n{smallest}```\n")));
}
