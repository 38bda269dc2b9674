//! Objects as folders of files, replaced as a whole.
//!
//! As upstream: the files stand in a folder of their own, `..data` is a symbolic link to it, and
//! every visible name is a link through `..data`. An update writes a new folder and swaps the one
//! link, so a reader sees all of the old or all of the new.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use k8s_openapi::api::core::v1::KeyToPath;

use crate::ambient::random_hex;
use crate::objects::{ObjectRef, Objects, Payload};

const DEFAULT_MODE: i32 = 0o644;
const DATA: &str = "..data";

/// Which keys become files, under which names.
pub struct Selection<'a> {
    pub items: Option<&'a [KeyToPath]>,
    pub default_mode: Option<i32>,
    /// What is missing is left out.
    pub optional: bool,
    /// How a missing key is worded.
    pub missing_key: &'static str,
}

/// A file to be: its mode and content, by relative path.
type Files = BTreeMap<PathBuf, (u32, Vec<u8>)>;

pub async fn make(
    objects: &Objects,
    reference: &ObjectRef,
    selection: &Selection<'_>,
    folder: PathBuf,
) -> Result<(), String> {
    let payload = objects.get(reference).await?;
    let files = match &payload {
        Some(payload) => select(payload, selection)?,
        None if selection.optional => Files::new(),
        None => return Err(reference.not_found()),
    };
    let written = tokio::task::spawn_blocking(move || {
        write(&folder, &files).map_err(|error| format!("{}: {error}", folder.display()))
    });
    written.await.map_err(|error| error.to_string())?
}

fn select(payload: &Payload, selection: &Selection<'_>) -> Result<Files, String> {
    let mode = |own: Option<i32>| {
        let mode = own.or(selection.default_mode).unwrap_or(DEFAULT_MODE);
        u32::try_from(mode).unwrap_or(0o644) & 0o777
    };
    let Some(items) = selection.items.filter(|items| !items.is_empty()) else {
        let all = payload.keys();
        return Ok(all.map(|(key, value)| (key.into(), (mode(None), value.clone()))).collect());
    };
    let mut files = Files::new();
    for item in items {
        let path = PathBuf::from(&item.path);
        if !path.components().all(|part| matches!(part, Component::Normal(_))) {
            return Err(format!("invalid path {}", item.path));
        }
        match payload.get(&item.key) {
            Some(value) => {
                files.insert(path, (mode(item.mode), value.clone()));
            }
            None if selection.optional => {}
            None => return Err(format!("{}: {}", selection.missing_key, item.key)),
        }
    }
    Ok(files)
}

/// Brings a folder to hold these files, unless it does already.
fn write(folder: &Path, files: &Files) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let data = folder.join(DATA);
    let old = fs::read_link(&data).ok();
    if old.is_some() && same(&data, files)? {
        return Ok(());
    }
    let name = format!("..{}", random_hex(16));
    let fresh = folder.join(&name);
    write_files(&fresh, files)?;
    let beside = folder.join("..data_tmp");
    let _ = fs::remove_file(&beside);
    symlink(&name, &beside)?;
    fs::rename(&beside, &data)?;
    show(folder, files)?;
    if let Some(old) = old {
        fs::remove_dir_all(folder.join(old))?;
    }
    Ok(())
}

fn write_files(root: &Path, files: &Files) -> io::Result<()> {
    fs::create_dir_all(root)?;
    for (path, (mode, content)) in files {
        let path = root.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&path, content)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(*mode))?;
    }
    Ok(())
}

/// Whether the folder holds these files and no others.
fn same(root: &Path, files: &Files) -> io::Result<bool> {
    for (path, (mode, content)) in files {
        let path = root.join(path);
        let meta = match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            meta => meta?,
        };
        if meta.permissions().mode() & 0o777 != *mode || fs::read(&path)? != *content {
            return Ok(false);
        }
    }
    Ok(count(root)? == files.len())
}

fn count(root: &Path) -> io::Result<usize> {
    let mut found = 0;
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        found += if entry.file_type()?.is_dir() { count(&entry.path())? } else { 1 };
    }
    Ok(found)
}

/// Links the visible names through `..data` and takes away those that are no more.
fn show(folder: &Path, files: &Files) -> io::Result<()> {
    let wanted: std::collections::BTreeSet<OsString> = files
        .keys()
        .filter_map(|path| path.components().next())
        .map(|first| first.as_os_str().to_owned())
        .collect();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let ours = name.to_string_lossy().starts_with("..");
        if !ours && !wanted.contains(&name) {
            fs::remove_file(entry.path())?;
        }
    }
    for name in wanted {
        let link = folder.join(&name);
        if fs::symlink_metadata(&link).is_err() {
            symlink(Path::new(DATA).join(&name), link)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(data: &[(&str, &str)]) -> Payload {
        let text = data.iter().map(|(k, v)| ((*k).into(), v.as_bytes().to_vec())).collect();
        Payload { version: "1".into(), text, binary: BTreeMap::new() }
    }

    fn all() -> Selection<'static> {
        Selection { items: None, default_mode: None, optional: false, missing_key: "no such key" }
    }

    #[test]
    fn an_update_swaps_all_files_at_once() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("v");
        write(&folder, &select(&payload(&[("a", "1"), ("b", "2")]), &all()).unwrap()).unwrap();
        let first = fs::read_link(folder.join(DATA)).unwrap();
        write(&folder, &select(&payload(&[("a", "1"), ("b", "2")]), &all()).unwrap()).unwrap();
        assert_eq!(fs::read_link(folder.join(DATA)).unwrap(), first, "nothing has changed");
        write(&folder, &select(&payload(&[("a", "3"), ("c", "4")]), &all()).unwrap()).unwrap();
        assert_ne!(fs::read_link(folder.join(DATA)).unwrap(), first);
        assert_eq!(fs::read_to_string(folder.join("a")).unwrap(), "3");
        assert_eq!(fs::read_to_string(folder.join("c")).unwrap(), "4");
        assert!(!folder.join("b").exists());
        assert!(!folder.join(first).exists());
    }

    #[test]
    fn items_choose_names_and_modes() {
        let root = tempfile::tempdir().unwrap();
        let items = [KeyToPath { key: "a".into(), mode: Some(0o600), path: "sub/x".into() }];
        let selection = Selection { items: Some(&items), ..all() };
        write(root.path(), &select(&payload(&[("a", "1")]), &selection).unwrap()).unwrap();
        let path = root.path().join("sub/x");
        assert_eq!(fs::read_to_string(&path).unwrap(), "1");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let missing = select(&payload(&[]), &selection).unwrap_err();
        assert_eq!(missing, "no such key: a");
        let optional = Selection { optional: true, ..selection };
        assert!(select(&payload(&[]), &optional).unwrap().is_empty());
        let outside = [KeyToPath { key: "a".into(), mode: None, path: "../x".into() }];
        let selection = Selection { items: Some(&outside), ..all() };
        assert!(select(&payload(&[("a", "1")]), &selection).is_err());
    }
}
