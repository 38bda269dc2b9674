//! What the folder of compiled code holds on to. Code that nobody will ask for again goes, and of the rest what was used
//! least recently, beyond a bound. A file that is mapped stays readable to whoever has mapped it.
//!
//! Decided from a list of files, then done: a file that another thread has removed meanwhile is no trouble, since one
//! that is missing is compiled anew.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Bytes of compiled code that are kept where nothing else is said.
pub(crate) const CODE_BYTES_MAX: u64 = 2 << 30;
/// Code of an image that no store names, one of a file, is kept for so long after its last use.
const UNNAMED_FOR: Duration = Duration::from_secs(24 * 60 * 60);
/// What a file of compiled code ends in, and its checksum.
pub(crate) const CODE: &str = "cwasm";
pub(crate) const SUM: &str = "sha256";

/// A file of compiled code.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Kept {
    path: PathBuf,
    bytes: u64,
    used: SystemTime,
}

impl Kept {
    /// What it is the code of, as the folder spells it.
    fn name(&self) -> &str {
        self.path.file_stem().and_then(|name| name.to_str()).unwrap_or_default()
    }
}

/// A digest as the name of a file.
pub(crate) fn file_name(digest: &str) -> Option<String> {
    let name = digest.replace(':', "-");
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    (plain && !name.is_empty()).then_some(name)
}

/// What the extension of a file begins with that this process is writing.
pub(crate) fn temporary() -> String {
    format!("tmp-{}-", std::process::id())
}

/// Removes the code of these digests, of whichever engine.
pub(crate) fn remove(root: &Path, digests: &[&str]) {
    let names: HashSet<String> = digests.iter().filter_map(|digest| file_name(digest)).collect();
    for folder in folders(root) {
        for name in &names {
            unlink(&folder.join(name).with_extension(CODE));
        }
    }
}

/// Removes the folders of other keys than these, what a process that was cut off has left behind, and the code that
/// nothing in `named` asks for and nobody has used for a while. No other process may use the folder.
pub(crate) fn sweep(root: &Path, keys: &[String], named: &HashSet<String>) {
    for folder in folders(root) {
        let key = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if !keys.iter().any(|ours| ours == key) {
            tracing::info!(folder = %folder.display(), "removing compiled code of another version");
            if let Err(error) = fs::remove_dir_all(&folder) {
                tracing::warn!(folder = %folder.display(), "old compiled code remains: {error}");
            }
        }
    }
    for part in paths(root).filter(|path| is_left_over(path)) {
        let _ = fs::remove_file(part);
    }
    for file in unnamed(&code(root), named, SystemTime::now()) {
        unlink(&file.path);
    }
}

/// Removes what was used least recently beyond `bytes_max`, but for `newest`.
pub(crate) fn trim(root: &Path, newest: &Path, bytes_max: u64) {
    for file in beyond(code(root), newest, bytes_max) {
        tracing::debug!(file = %file.path.display(), "removing compiled code to make room");
        unlink(&file.path);
    }
}

fn unnamed<'a>(files: &'a [Kept], named: &HashSet<String>, now: SystemTime) -> Vec<&'a Kept> {
    let is_old =
        |file: &Kept| now.duration_since(file.used).is_ok_and(|since| since >= UNNAMED_FOR);
    files.iter().filter(|file| !named.contains(file.name()) && is_old(file)).collect()
}

fn beyond(mut files: Vec<Kept>, newest: &Path, bytes_max: u64) -> Vec<Kept> {
    let mut bytes: u64 = files.iter().map(|file| file.bytes).sum();
    files.sort_by_key(|file| file.used);
    files.retain(|file| {
        let goes = bytes > bytes_max && file.path != newest;
        if goes {
            bytes -= file.bytes;
        }
        goes
    });
    files
}

/// One for each key; what else lies in the root is not ours.
fn folders(root: &Path) -> Vec<PathBuf> {
    let is_key = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.len() == 16 && name.bytes().all(|byte| byte.is_ascii_hexdigit()) && path.is_dir()
    };
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(is_key).collect()
}

fn paths(root: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = folders(root).into_iter().flat_map(fs::read_dir).flatten().flatten();
    entries.map(|entry| entry.path())
}

fn code(root: &Path) -> Vec<Kept> {
    let code = paths(root).filter(|path| path.extension().is_some_and(|found| found == CODE));
    code.filter_map(|path| {
        let meta = fs::metadata(&path).ok()?;
        Some(Kept { path, bytes: meta.len(), used: meta.modified().ok()? })
    })
    .collect()
}

/// Written beside its place and never renamed, or a checksum without its code.
fn is_left_over(path: &Path) -> bool {
    let extension = path.extension().and_then(|found| found.to_str()).unwrap_or_default();
    match extension {
        CODE => false,
        SUM => !path.with_extension(CODE).exists(),
        // This process may be about to rename one.
        other => other.starts_with("tmp-") && !other.starts_with(&temporary()),
    }
}

fn unlink(code: &Path) {
    // The checksum first: code without it is never mapped.
    for path in [code.with_extension(SUM), code.to_owned()] {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(file = %path.display(), "compiled code remains: {error}");
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Used so many hours ago.
    fn file(name: &str, bytes: u64, hours: u64, now: SystemTime) -> Kept {
        let path = PathBuf::from(format!("{name}.{CODE}"));
        Kept { path, bytes, used: now - Duration::from_secs(hours * 3600) }
    }

    fn names(files: &[impl std::borrow::Borrow<Kept>]) -> Vec<String> {
        files.iter().map(|file| file.borrow().name().to_owned()).collect()
    }

    #[test]
    fn what_was_used_least_recently_goes_first_and_what_was_just_made_stays() {
        let now = SystemTime::now();
        let files = ["new", "old", "older", "oldest"];
        let files: Vec<_> =
            files.iter().zip(0..).map(|(name, at)| file(name, 10, at, now)).collect();
        for (bytes_max, newest, expected) in [
            (40, "new", &[][..]),
            (39, "new", &["oldest"]),
            (15, "new", &["oldest", "older", "old"]),
            (15, "oldest", &["older", "old", "new"]),
            (0, "new", &["oldest", "older", "old"]),
        ] {
            let newest = file(newest, 0, 0, now).path;
            assert_eq!(names(&beyond(files.clone(), &newest, bytes_max)), expected, "{bytes_max}");
        }
    }

    #[test]
    fn what_no_store_names_goes_a_day_after_its_last_use() {
        let now = SystemTime::now();
        let files = [file("a", 1, 90, now), file("b", 1, 25, now), file("c", 1, 23, now)];
        let named = HashSet::from(["a".to_owned()]);
        assert_eq!(names(&unnamed(&files, &named, now)), ["b"]);
        // A clock that was set back.
        assert!(unnamed(&files, &named, now - Duration::from_secs(100 * 3600)).is_empty());
    }
}
