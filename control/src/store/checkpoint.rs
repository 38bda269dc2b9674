//! Checkpoints: the whole state at one revision, in sled, so that a start need not read the log from
//! its beginning and old segments can go.
//!
//! sled's flush is no barrier against a power cut (it never calls fsync), and sled reuses its own
//! segments in place, so a database that is being written may lose even what was in it before.
//! Therefore there are two, `a` and `b`, and only the one with the older checkpoint is ever written:
//!
//! 1. its record is removed, durably: from here on it counts for nothing;
//! 2. what has changed is written into it, it is flushed and closed;
//! 3. it is opened again as at a start, and every entry's checksum and the sum over all are verified;
//! 4. it is closed, and its files and folders are fsynced;
//! 5. its record (revision, number of entries, digest) is written beside it, fsynced, renamed into
//!    place, and the folder fsynced.
//!
//! At any moment the other one lies untouched since its own fsync; it is fsynced once more before log
//! segments go, in case sled wrote something after it was closed. The log is kept from the older of
//! the two, so that one damaged database costs only time. sled is open during a checkpoint and at the
//! start, and not in between: it costs no memory and no work on the path of a write.
//!
//! Every call may run into a panic inside sled on damaged files: it counts as damage.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use sled::{Db, IVec};

use super::mvcc::Version;
use super::record::{Logged, Reader};
use super::{Revision, StoreError};

const CACHE_BYTES: u64 = 8 * 1024 * 1024;
const CHANGES_AT_ONCE: usize = 1000;
const SLOTS: [&str; 2] = ["a", "b"];
const TITLE: &str = "copepod checkpoint 1";
/// A database that was just closed may keep its lock for a moment.
const OPEN_ATTEMPTS: u32 = 50;
const OPEN_PAUSE: Duration = Duration::from_millis(20);

/// Why a checkpoint could not be read or made.
#[derive(Debug, thiserror::Error)]
pub(super) enum CheckpointError {
    #[error("cannot {verb} {}: {source}", path.display())]
    Io { verb: &'static str, path: PathBuf, source: io::Error },
    #[error("sled {}: {source}", path.display())]
    Sled { path: PathBuf, source: sled::Error },
    #[error("sled {} is damaged: {what}", path.display())]
    Damaged { path: PathBuf, what: String },
    #[error("stopped")]
    Stopped,
}

type Result<T, E = CheckpointError> = std::result::Result<T, E>;

/// The number of entries, the sum over their checksums, and the size of their values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    entries: u64,
    digest: u64,
    bytes: u64,
}

impl Tally {
    fn add(&mut self, crc: u32, length: usize) {
        self.entries += 1;
        self.digest =
            self.digest.wrapping_add((u64::from(crc) + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        self.bytes += length as u64;
    }
}

/// What a slot's record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Record {
    revision: Revision,
    tally: Tally,
}

#[derive(Debug)]
struct Slot {
    database: PathBuf,
    record_path: PathBuf,
    record: Option<Record>,
    /// Its files are not to be built upon.
    spoilt: bool,
}

/// An entry of a checkpoint: when it was modified, and the rest as in the log.
pub(super) type Entry = (Revision, Logged);
/// A checkpoint as read: the state at a revision.
pub(super) type Loaded = (Revision, Vec<Entry>);

/// The two databases. One thread at a time uses them.
#[derive(Debug)]
pub(super) struct Checkpoints {
    dir: PathBuf,
    slots: [Slot; 2],
}

impl Checkpoints {
    /// Finds the newest sound checkpoint in `dir`; without one, the log has everything.
    pub fn open(dir: &Path) -> Result<(Self, Option<Loaded>), StoreError> {
        fs::create_dir_all(dir)
            .and_then(|()| sync(dir.parent().unwrap_or(dir)))
            .map_err(|error| super::log::unavailable("create", dir, &error))?;
        let slots = SLOTS.map(|name| Slot::find(dir, name));
        let mut checkpoints = Self { dir: dir.to_owned(), slots };
        let loaded = checkpoints.load();
        Ok((checkpoints, loaded))
    }

    fn load(&mut self) -> Option<Loaded> {
        self.slots.sort_by_key(|slot| std::cmp::Reverse(slot.record.map(|record| record.revision)));
        for slot in &mut self.slots {
            let Some(record) = slot.record else { continue };
            match guarded(&slot.database, || slot.load(record)) {
                Ok(entries) => return Some((record.revision, entries)),
                Err(error) => {
                    tracing::warn!(%error, revision = %record.revision, "a checkpoint is unusable; starting from the one before it, or from the log");
                    slot.record = None;
                    slot.spoilt = true;
                }
            }
        }
        None
    }

    /// The newest checkpoint's revision.
    pub fn newest(&self) -> Option<Revision> {
        self.slots.iter().filter_map(|slot| Some(slot.record?.revision)).max()
    }

    /// The log up to here is in both checkpoints.
    pub fn covered(&self) -> Option<Revision> {
        let [a, b] = &self.slots;
        Some(a.record?.revision.min(b.record?.revision))
    }

    /// The size of the values in the newest checkpoint.
    pub fn bytes(&self) -> u64 {
        self.slots.iter().filter_map(|slot| Some(slot.record?.tally.bytes)).max().unwrap_or(0)
    }

    /// Makes a checkpoint of `live`, the whole state at `revision`, sorted by key.
    pub fn make(
        &mut self,
        revision: Revision,
        live: &[(Arc<str>, Version)],
        stop: &AtomicBool,
    ) -> Result<()> {
        let dir = self.dir.clone();
        let oldest = self.slots.iter_mut().min_by_key(|slot| slot.record.map(|r| r.revision));
        let Some(slot) = oldest else { return Ok(()) };
        slot.record = None;
        remove_file(&slot.record_path)
            .and_then(|()| sync(&dir))
            .map_err(|source| io_error("remove", &slot.record_path, source))?;
        let made = guarded(&slot.database.clone(), || slot.make(&dir, revision, live, stop));
        slot.spoilt = !matches!(made, Ok(_) | Err(CheckpointError::Stopped));
        slot.record = Some(made?);
        self.slots
            .iter()
            .filter(|slot| slot.record.is_some())
            .try_for_each(|slot| sync_tree(&slot.database))
            .map_err(|source| io_error("sync", &dir, source))
    }
}

impl Slot {
    fn find(dir: &Path, name: &str) -> Self {
        let record_path = dir.join(format!("{name}.checkpoint"));
        let record = fs::read_to_string(&record_path).ok().and_then(|text| {
            let record = read_record(&text);
            if record.is_none() {
                tracing::warn!(path = %record_path.display(), "a checkpoint's record is unreadable; ignored");
            }
            record
        });
        Self { database: dir.join(name), record, spoilt: record.is_none(), record_path }
    }

    fn load(&self, record: Record) -> Result<Vec<Entry>> {
        let mut entries = Vec::with_capacity(usize::try_from(record.tally.entries).unwrap_or(0));
        let tally = scan(&self.database, |key, value| {
            let entry = decode_entry(key, value).ok_or("a key is not text")?;
            entries.push(entry);
            Ok(())
        })?;
        self.compare(record.tally, tally)?;
        Ok(entries)
    }

    fn make(
        &self,
        dir: &Path,
        revision: Revision,
        live: &[(Arc<str>, Version)],
        stop: &AtomicBool,
    ) -> Result<Record> {
        if self.spoilt {
            remove_dir(&self.database)
                .map_err(|source| io_error("remove", &self.database, source))?;
        }
        let tally = self.update(live, stop)?;
        let found = scan(&self.database, |_, _| match stop.load(Ordering::Relaxed) {
            true => Err("stopped"),
            false => Ok(()),
        });
        if stop.load(Ordering::Relaxed) {
            return Err(CheckpointError::Stopped);
        }
        self.compare(tally, found?)?;
        sync_tree(&self.database)
            .and_then(|()| sync(dir))
            .map_err(|source| io_error("sync", &self.database, source))?;
        let record = Record { revision, tally };
        self.write_record(dir, record)
            .map_err(|source| io_error("write", &self.record_path, source))?;
        Ok(record)
    }

    /// Brings the database to `live`, and closes it.
    fn update(&self, live: &[(Arc<str>, Version)], stop: &AtomicBool) -> Result<Tally> {
        let failed = |source| CheckpointError::Sled { path: self.database.clone(), source };
        let db = open_sled(&self.database)?;
        let (puts, removals) = difference(&db, live).map_err(failed)?;
        let mut tally = Tally::default();
        for (key, version) in live {
            let (crc, _) = checksum(key, version);
            tally.add(crc, version.value.as_ref().map_or(0, Bytes::len));
        }
        let mut operations = puts
            .into_iter()
            .map(|(key, version)| (IVec::from(key.as_bytes()), Some(encode_entry(key, version))))
            .chain(removals.into_iter().map(|key| (key, None)))
            .peekable();
        while operations.peek().is_some() {
            if stop.load(Ordering::Relaxed) {
                return Err(CheckpointError::Stopped);
            }
            let mut batch = sled::Batch::default();
            for (key, value) in operations.by_ref().take(CHANGES_AT_ONCE) {
                match value {
                    Some(value) => batch.insert(key, value),
                    None => batch.remove(key),
                }
            }
            db.apply_batch(batch).map_err(failed)?;
        }
        db.flush().map_err(failed)?;
        Ok(tally)
    }

    fn compare(&self, expected: Tally, found: Tally) -> Result<()> {
        if expected == found {
            return Ok(());
        }
        let what = format!("{} entries, of {} recorded", found.entries, expected.entries);
        Err(CheckpointError::Damaged { path: self.database.clone(), what })
    }

    fn write_record(&self, dir: &Path, record: Record) -> io::Result<()> {
        let temporary = self.record_path.with_extension("new");
        let mut file = File::create(&temporary)?;
        file.write_all(record_text(record).as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, &self.record_path)?;
        sync(dir)
    }
}

type Puts<'a> = Vec<(&'a Arc<str>, &'a Version)>;

/// What to put and what to remove, by walking both in key order.
fn difference<'a>(
    db: &Db,
    live: &'a [(Arc<str>, Version)],
) -> std::result::Result<(Puts<'a>, Vec<IVec>), sled::Error> {
    let (mut puts, mut removals) = (Vec::new(), Vec::new());
    let mut live = live.iter().peekable();
    for entry in db.iter() {
        let (key, value) = entry?;
        while let Some((new, version)) = live.next_if(|(new, _)| new.as_bytes() < &key[..]) {
            puts.push((new, version));
        }
        match live.next_if(|(new, _)| new.as_bytes() == &key[..]) {
            Some((new, version)) => {
                // The checksum covers the revision: equal means the same version, undamaged.
                if value.get(..4) != Some(&checksum(new, version).0.to_le_bytes()[..]) {
                    puts.push((new, version));
                }
            }
            None => removals.push(key),
        }
    }
    puts.extend(live.map(|(new, version)| (new, version)));
    Ok((puts, removals))
}

const ENTRY_HEADER: usize = 4 + 24;

/// The checksum of an entry, and its numbers: created, modified, expiry.
fn checksum(key: &str, version: &Version) -> (u32, [u8; 24]) {
    let mut numbers = [0; 24];
    let expires = version.expiry.map_or(0, |expiry| expiry.unix_ms);
    for (at, number) in [version.created.0, version.modified.0, expires].into_iter().enumerate() {
        numbers[at * 8..][..8].copy_from_slice(&number.to_le_bytes());
    }
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key.as_bytes());
    hasher.update(&numbers);
    hasher.update(version.value.as_deref().unwrap_or_default());
    (hasher.finalize(), numbers)
}

fn encode_entry(key: &str, version: &Version) -> Vec<u8> {
    let value = version.value.as_deref().unwrap_or_default();
    let (crc, numbers) = checksum(key, version);
    [&crc.to_le_bytes()[..], &numbers, value].concat()
}

fn decode_entry(key: &[u8], entry: &[u8]) -> Option<Entry> {
    let mut reader = Reader(entry);
    let _crc = reader.u32()?;
    let (created, modified, expires) = (reader.u64()?, reader.u64()?, reader.u64()?);
    let logged = Logged {
        key: std::str::from_utf8(key).ok()?.into(),
        value: Some(Bytes::copy_from_slice(reader.0)),
        created: Revision(created),
        expires_unix_ms: (expires != 0).then_some(expires),
    };
    Some((Revision(modified), logged))
}

/// Reads every entry of a database, checks its checksum, and closes it.
fn scan(
    path: &Path,
    mut each: impl FnMut(&[u8], &[u8]) -> Result<(), &'static str>,
) -> Result<Tally> {
    let damaged =
        |what: &str| CheckpointError::Damaged { path: path.to_owned(), what: what.into() };
    let db = open_sled(path)?;
    let mut tally = Tally::default();
    for entry in db.iter() {
        let (key, value) =
            entry.map_err(|source| CheckpointError::Sled { path: path.to_owned(), source })?;
        let Some((crc, rest)) = value.split_first_chunk::<4>() else {
            return Err(damaged("an entry is cut short"));
        };
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&key);
        hasher.update(rest);
        if rest.len() < ENTRY_HEADER - 4 || hasher.finalize() != u32::from_le_bytes(*crc) {
            return Err(damaged("an entry's checksum is wrong"));
        }
        each(&key, &value).map_err(damaged)?;
        tally.add(u32::from_le_bytes(*crc), value.len() - ENTRY_HEADER);
    }
    Ok(tally)
}

fn open_sled(path: &Path) -> Result<Db> {
    let config = sled::Config::new().path(path).cache_capacity(CACHE_BYTES).flush_every_ms(None);
    let mut attempt = 0;
    loop {
        match config.open() {
            Ok(db) => return Ok(db),
            Err(sled::Error::Io(_)) if attempt < OPEN_ATTEMPTS && path.is_dir() => {
                attempt += 1;
                std::thread::sleep(OPEN_PAUSE);
            }
            Err(source) => return Err(CheckpointError::Sled { path: path.to_owned(), source }),
        }
    }
}

fn guarded<T>(path: &Path, work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        let what = "sled panicked on it".to_owned();
        Err(CheckpointError::Damaged { path: path.to_owned(), what })
    })
}

fn record_text(record: Record) -> String {
    let Record { revision, tally: Tally { entries, digest, bytes } } = record;
    let body = format!(
        "{TITLE}\nrevision {revision}\nentries {entries}\ndigest {digest:016x}\nbytes {bytes}\n"
    );
    format!("{body}crc {:08x}\n", crc32fast::hash(body.as_bytes()))
}

fn read_record(text: &str) -> Option<Record> {
    let field =
        |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let record = Record {
        revision: Revision(field("revision")?.parse().ok()?),
        tally: Tally {
            entries: field("entries")?.parse().ok()?,
            digest: u64::from_str_radix(field("digest")?, 16).ok()?,
            bytes: field("bytes")?.parse().ok()?,
        },
    };
    (record_text(record) == text).then_some(record)
}

fn io_error(verb: &'static str, path: &Path, source: io::Error) -> CheckpointError {
    CheckpointError::Io { verb, path: path.to_owned(), source }
}

fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Syncs every file under a folder, and the folders.
fn sync_tree(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() { sync_tree(&path)? } else { sync(&path)? }
    }
    sync(dir)
}

fn remove_file(path: &Path) -> io::Result<()> {
    ignore_missing(fs::remove_file(path))
}

fn remove_dir(path: &Path) -> io::Result<()> {
    ignore_missing(fs::remove_dir_all(path))
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live(values: &[(&str, u64)]) -> Vec<(Arc<str>, Version)> {
        let version = |modified| Version {
            value: Some(format!("value {modified}").into()),
            created: Revision(1),
            modified: Revision(modified),
            expiry: None,
        };
        values.iter().map(|(key, modified)| (Arc::from(*key), version(*modified))).collect()
    }

    fn keys(loaded: &Option<Loaded>) -> Vec<(&str, u64)> {
        let entries = loaded.iter().flat_map(|(_, entries)| entries);
        entries.map(|(modified, logged)| (&*logged.key, modified.0)).collect()
    }

    fn make(checkpoints: &mut Checkpoints, revision: u64, values: &[(&str, u64)]) {
        let stop = AtomicBool::new(false);
        checkpoints.make(Revision(revision), &live(values), &stop).unwrap();
    }

    #[test]
    fn the_newest_checkpoint_is_loaded_and_the_other_one_is_written_next() {
        let dir = tempfile::tempdir().unwrap();
        let (mut checkpoints, loaded) = Checkpoints::open(dir.path()).unwrap();
        assert!(loaded.is_none());
        make(&mut checkpoints, 3, &[("a", 2), ("b", 3)]);
        assert_eq!(checkpoints.covered(), None);
        make(&mut checkpoints, 4, &[("a", 4), ("b", 3)]);
        make(&mut checkpoints, 6, &[("a", 5), ("c", 6)]);
        assert_eq!(checkpoints.covered(), Some(Revision(4)));
        let (checkpoints, loaded) = Checkpoints::open(dir.path()).unwrap();
        assert_eq!(checkpoints.newest(), Some(Revision(6)));
        assert_eq!(keys(&loaded), [("a", 5), ("c", 6)]);
    }

    #[test]
    fn a_damaged_checkpoint_gives_way_to_the_one_before_it() {
        let dir = tempfile::tempdir().unwrap();
        let (mut checkpoints, _) = Checkpoints::open(dir.path()).unwrap();
        make(&mut checkpoints, 3, &[("a", 2), ("b", 3)]);
        make(&mut checkpoints, 4, &[("a", 4), ("b", 3)]);
        fs::write(dir.path().join("b/db"), vec![7; 10_000]).unwrap();
        let (mut checkpoints, loaded) = Checkpoints::open(dir.path()).unwrap();
        assert_eq!(keys(&loaded), [("a", 2), ("b", 3)]);
        make(&mut checkpoints, 5, &[("a", 5)]);
        let (_, loaded) = Checkpoints::open(dir.path()).unwrap();
        assert_eq!(keys(&loaded), [("a", 5)]);
    }

    #[test]
    fn a_database_whose_entries_differ_from_its_record_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let (mut checkpoints, _) = Checkpoints::open(dir.path()).unwrap();
        make(&mut checkpoints, 3, &[("a", 2), ("b", 3)]);
        let db = open_sled(&dir.path().join("a")).unwrap();
        db.remove("a").unwrap();
        db.flush().unwrap();
        drop(db);
        let (_, loaded) = Checkpoints::open(dir.path()).unwrap();
        assert!(loaded.is_none());
    }

    #[test]
    fn a_stopped_checkpoint_leaves_the_other_in_force() {
        let dir = tempfile::tempdir().unwrap();
        let (mut checkpoints, _) = Checkpoints::open(dir.path()).unwrap();
        make(&mut checkpoints, 3, &[("a", 2)]);
        let stop = AtomicBool::new(true);
        assert!(checkpoints.make(Revision(5), &live(&[("b", 5)]), &stop).is_err());
        let (_, loaded) = Checkpoints::open(dir.path()).unwrap();
        assert_eq!(keys(&loaded), [("a", 2)]);
    }

    #[test]
    fn a_record_with_a_changed_figure_is_not_believed() {
        let record =
            Record { revision: Revision(12), tally: Tally { entries: 1, digest: 2, bytes: 3 } };
        let text = record_text(record);
        assert_eq!(read_record(&text), Some(record));
        assert_eq!(read_record(&text.replace("12", "13")), None);
        assert_eq!(read_record(""), None);
    }
}
