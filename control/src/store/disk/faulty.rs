//! A disk in memory that can lose power, run full, and refuse to sync.
//!
//! It keeps what has been synced apart from what has only been written. A power cut keeps the first,
//! and of the second whatever a seeded draw decides, sector by sector and name by name.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::{Disk, DiskFile};

const SECTOR: usize = 512;

/// What was done, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    Create(PathBuf),
    Write {
        path: PathBuf,
        bytes: usize,
    },
    SetLen(PathBuf),
    Sync(PathBuf),
    Remove(PathBuf),
    SyncDir(PathBuf),
    /// Not the disk's: noted by the test when a write was acknowledged.
    Acknowledged(u64),
}

#[derive(Clone, Default)]
struct Contents {
    now: Vec<u8>,
    synced: Vec<u8>,
}

type Inode = Arc<Mutex<Contents>>;

#[derive(Default)]
struct State {
    names: BTreeMap<PathBuf, Inode>,
    synced_names: BTreeMap<PathBuf, Inode>,
    operations: Vec<Operation>,
    /// Bytes that may still be written.
    room: Option<usize>,
    sync_fails: bool,
    sync_takes: Duration,
}

/// See the module's documentation. Clones share the disk.
#[derive(Clone, Default)]
pub struct FaultyDisk {
    state: Arc<Mutex<State>>,
}

impl FaultyDisk {
    /// The disk as it is found after a power cut now. This one goes on as if nothing had happened.
    pub fn after_power_cut(&self, mut random: impl FnMut() -> u64) -> Self {
        let state = self.state.lock();
        let mut names = state.synced_names.clone();
        for (path, inode) in &state.names {
            if random().is_multiple_of(2) {
                names.insert(path.clone(), inode.clone());
            }
        }
        for path in state.synced_names.keys() {
            if !state.names.contains_key(path) && random().is_multiple_of(2) {
                names.remove(path);
            }
        }
        let names: BTreeMap<PathBuf, Inode> = names
            .into_iter()
            .map(|(path, inode)| {
                let found = torn(&inode.lock(), &mut random);
                let contents = Contents { now: found.clone(), synced: found };
                (path, Arc::new(Mutex::new(contents)))
            })
            .collect();
        let state = State { synced_names: names.clone(), names, ..State::default() };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    pub fn operations(&self) -> Vec<Operation> {
        self.state.lock().operations.clone()
    }

    pub fn note(&self, operation: Operation) {
        self.state.lock().operations.push(operation);
    }

    pub fn set_room(&self, room: Option<usize>) {
        self.state.lock().room = room;
    }

    pub fn set_sync_fails(&self, fails: bool) {
        self.state.lock().sync_fails = fails;
    }

    pub fn set_sync_takes(&self, time: Duration) {
        self.state.lock().sync_takes = time;
    }

    /// Changes a file behind the store's back.
    pub fn tamper(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let inode = self.state.lock().names[path].clone();
        let mut contents = inode.lock();
        change(&mut contents.now);
        contents.synced = contents.now.clone();
    }

    pub fn files(&self) -> Vec<PathBuf> {
        self.state.lock().names.keys().cloned().collect()
    }
}

/// What is found of a file: the synced bytes, over them some sectors of those written since.
fn torn(contents: &Contents, random: &mut impl FnMut() -> u64) -> Vec<u8> {
    let Contents { now, synced } = contents;
    if now == synced {
        return synced.clone();
    }
    // The length may have reached the disk before, after or in the middle of the bytes.
    let (short, long) = (now.len().min(synced.len()), now.len().max(synced.len()));
    let len = short + usize::try_from(random() % (long - short + 1) as u64).unwrap();
    let mut found = synced.clone();
    found.resize(len, 0);
    for start in (0..now.len().min(len)).step_by(SECTOR) {
        let end = (start + SECTOR).min(now.len()).min(len);
        if random().is_multiple_of(2) {
            found[start..end].copy_from_slice(&now[start..end]);
        }
    }
    found
}

fn missing(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{} is not there", path.display()))
}

impl Disk for FaultyDisk {
    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn names(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.state.lock();
        let inside = state.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect())
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let state = self.state.lock();
        let inode = state.names.get(path).ok_or_else(|| missing(path))?;
        Ok(inode.lock().now.clone())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state.lock();
        state.operations.push(Operation::Create(path.to_owned()));
        let inode = Inode::default();
        state.names.insert(path.to_owned(), inode.clone());
        Ok(Box::new(FaultyFile { path: path.to_owned(), inode, disk: self.clone() }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let inode = self.state.lock().names.get(path).ok_or_else(|| missing(path))?.clone();
        Ok(Box::new(FaultyFile { path: path.to_owned(), inode, disk: self.clone() }))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.operations.push(Operation::Remove(path.to_owned()));
        state.names.remove(path).map(|_| ()).ok_or_else(|| missing(path))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        if state.sync_fails {
            return Err(io::Error::other("the sync failed"));
        }
        state.operations.push(Operation::SyncDir(dir.to_owned()));
        let State { names, synced_names, .. } = &mut *state;
        synced_names.retain(|path, _| path.parent() != Some(dir));
        let inside = names.iter().filter(|(path, _)| path.parent() == Some(dir));
        synced_names.extend(inside.map(|(path, inode)| (path.clone(), inode.clone())));
        Ok(())
    }
}

struct FaultyFile {
    path: PathBuf,
    inode: Inode,
    disk: FaultyDisk,
}

impl DiskFile for FaultyFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        let fits = state.room.map_or(bytes.len(), |room| room.min(bytes.len()));
        state.room = state.room.map(|room| room - fits);
        state.operations.push(Operation::Write { path: self.path.clone(), bytes: fits });
        let offset = usize::try_from(offset).unwrap();
        let mut contents = self.inode.lock();
        if contents.now.len() < offset + fits {
            contents.now.resize(offset + fits, 0);
        }
        contents.now[offset..offset + fits].copy_from_slice(&bytes[..fits]);
        if fits < bytes.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.disk.note(Operation::SetLen(self.path.clone()));
        self.inode.lock().now.resize(usize::try_from(len).unwrap(), 0);
        Ok(())
    }

    fn sync_data(&mut self) -> io::Result<()> {
        let time = self.disk.state.lock().sync_takes;
        std::thread::sleep(time);
        let mut state = self.disk.state.lock();
        if state.sync_fails {
            return Err(io::Error::other("the sync failed"));
        }
        state.operations.push(Operation::Sync(self.path.clone()));
        let mut contents = self.inode.lock();
        contents.synced = contents.now.clone();
        Ok(())
    }

    fn sync_all(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}
