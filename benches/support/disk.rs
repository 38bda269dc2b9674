//! The disk's own speed, as a baseline: what no durable store beside it can beat.

use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A folder on a real disk (a temporary folder of the system may be memory), gone when dropped.
pub fn folder() -> io::Result<TempDir> {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))
}

/// Appends `bytes` and calls fdatasync, again and again: how often a second.
pub fn syncs_per_second(dir: &Path, bytes: usize, period: Duration) -> io::Result<f64> {
    let path = dir.join("raw");
    let mut file = std::fs::File::create(&path)?;
    let record = vec![7; bytes];
    let (start, mut count) = (Instant::now(), 0_u64);
    while start.elapsed() < period {
        file.write_all(&record)?;
        file.sync_data()?;
        count += 1;
    }
    let rate = count as f64 / start.elapsed().as_secs_f64();
    std::fs::remove_file(path)?;
    Ok(rate)
}
