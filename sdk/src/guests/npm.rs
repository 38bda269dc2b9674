//! JavaScript guests, by the `build` script of a package: it leaves the component in `build/`.

use std::path::Path;

use super::{BuildError, Guest, run, wasm_in};

/// What tells of such a guest.
pub(super) const MARK: &str = "package.json";

const HELP: &str = "install Node.js 20 or newer with npm (Debian: apt-get install nodejs npm; or https://nodejs.org)";

pub(super) async fn build(package: &Path) -> Result<Vec<Guest>, BuildError> {
    if !is_installed(package) {
        let locked = package.join("package-lock.json").is_file();
        run(package, "npm", &[if locked { "ci" } else { "install" }], HELP).await?;
    }
    run(package, "npm", &["run", "build"], HELP).await?;
    wasm_in(package, "its `build` script writes it to build/NAME.wasm")
}

/// Whether the packages are those of the lock file: npm notes what it has installed, later than what it read.
fn is_installed(package: &Path) -> bool {
    let changed =
        |file: &str| std::fs::metadata(package.join(file)).and_then(|file| file.modified());
    let Ok(installed) = changed("node_modules/.package-lock.json") else { return false };
    ["package.json", "package-lock.json"]
        .into_iter()
        .all(|file| changed(file).map_or(true, |changed| changed <= installed))
}
