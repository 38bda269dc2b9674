//! Guests of any other language, by a Makefile: its first target leaves the module or component in `build/`.

use std::path::Path;

use super::{BuildError, Guest, run, wasm_in};

/// What tells of such a guest.
pub(super) const MARK: &str = "Makefile";

pub(super) async fn build(dir: &Path) -> Result<Vec<Guest>, BuildError> {
    run(dir, "make", &[], "install make (Debian: apt-get install make)").await?;
    wasm_in(dir, "the Makefile's first target writes it to build/NAME.wasm")
}
