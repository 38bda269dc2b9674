//! Files in a folder that guests can write, seen from the host: no link is followed out of it.

use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::time::SystemTime;

use cap_std::ambient_authority;
use cap_std::fs::Dir;

/// Size and time of the last change of a file, by its path within `folder`; `None` where there is none.
pub fn state(folder: &Path, file: &Path) -> io::Result<Option<(u64, SystemTime)>> {
    match Dir::open_ambient_dir(folder, ambient_authority())?.metadata(file) {
        Ok(metadata) => Ok(Some((metadata.len(), metadata.modified()?.into_std()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The last `max` bytes of a file, by its path within `folder`.
pub fn read_end(folder: &Path, file: &Path, max: u64) -> io::Result<Vec<u8>> {
    let mut file = Dir::open_ambient_dir(folder, ambient_authority())?.open(file)?;
    let size = file.metadata()?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(max)))?;
    let mut end = Vec::new();
    file.take(max).read_to_end(&mut end)?;
    Ok(end)
}
