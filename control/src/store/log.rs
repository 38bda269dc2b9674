//! The commit log: append-only segments, the truth of the durable store.
//!
//! `append` answers when the group is on the disk (one fdatasync). A refused append leaves nothing
//! behind: the segment is cut back to its good end, durably, before the refusal is told; where even
//! that fails, the log takes no more writes until it is opened anew.
//!
//! At open, a torn last group is cut off: it was never acknowledged, for a group is written only
//! when the one before it is synced. An unreadable group with a whole one behind it is damage.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::disk::{Disk, DiskFile};
use super::record::{self, Logged, SEGMENT_HEADER};
use super::{Revision, StoreError};

const SUFFIX: &str = ".log";
const MEND: &str = "restore the data folder from a backup, or start with an empty one: --data-dir";

/// The segments that exist, by their first revision; shared with the checkpointer, which deletes
/// the oldest.
pub(super) type Segments = Arc<Mutex<BTreeMap<Revision, PathBuf>>>;

struct Active {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    /// Behind the last acknowledged group.
    end: u64,
}

pub(super) struct Log {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    segment_bytes: u64,
    segments: Segments,
    active: Option<Active>,
    /// The revision of the next record.
    next: Revision,
    /// Why nothing can be appended any more.
    broken: Option<String>,
    buffer: Vec<u8>,
}

impl Log {
    /// Opens the log in `dir`, and gives every record after `from` to `replay`, in order.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        segment_bytes: u64,
        from: Revision,
        replay: &mut dyn FnMut(Revision, Logged),
    ) -> Result<Self, StoreError> {
        disk.create_dir(dir).map_err(|error| unavailable("create", dir, &error))?;
        let segments = find_segments(&*disk, dir)?;
        let mut log = Self {
            disk,
            dir: dir.to_owned(),
            segment_bytes,
            segments: Arc::default(),
            active: None,
            next: Revision(from.0 + 1),
            broken: None,
            buffer: Vec::new(),
        };
        log.replay(&segments, replay)?;
        Ok(log)
    }

    fn replay(
        &mut self,
        segments: &[(Revision, PathBuf)],
        replay: &mut dyn FnMut(Revision, Logged),
    ) -> Result<(), StoreError> {
        for (index, (first, path)) in segments.iter().enumerate() {
            let following = segments.get(index + 1);
            let covered = following.is_some_and(|(following, _)| *following <= self.next);
            if covered {
                self.segments.lock().insert(*first, path.clone());
                continue;
            }
            if *first > self.next {
                let what = format!(
                    "the log goes on at revision {first}, but what is before it ends at {}; {MEND}",
                    self.next.0 - 1
                );
                return Err(damaged(path, what));
            }
            self.replay_segment(*first, path, following.is_none(), replay)?;
        }
        Ok(())
    }

    fn replay_segment(
        &mut self,
        first: Revision,
        path: &Path,
        is_last: bool,
        replay: &mut dyn FnMut(Revision, Logged),
    ) -> Result<(), StoreError> {
        let bytes = self.disk.read(path).map_err(|error| unavailable("read", path, &error))?;
        match record::read_segment_header(&bytes) {
            Ok(found) if found == first => {}
            Ok(found) => {
                let what = format!("its header says that it begins at revision {found}; {MEND}");
                return Err(damaged(path, what));
            }
            // A header is synced before any group follows it: this one held nothing.
            Err(_) if is_last && bytes.len() <= SEGMENT_HEADER => return self.drop_segment(path),
            Err(what) => return Err(damaged(path, format!("{what}; {MEND}"))),
        }
        let mut at = SEGMENT_HEADER;
        let mut expected = first;
        while let Some(group) = record::read_group(&bytes[at..]) {
            if group.first != expected {
                let what = format!(
                    "at byte {at} follows revision {}, expected {expected}; {MEND}",
                    group.first
                );
                return Err(damaged(path, what));
            }
            at += group.length;
            for logged in group.records {
                if expected >= self.next {
                    self.next = Revision(expected.0 + 1);
                    replay(expected, logged);
                }
                expected.0 += 1;
            }
        }
        if at < bytes.len() && (!is_last || record::find_group(&bytes[at + 1..]).is_some()) {
            let what = format!("the record at byte {at} is unreadable and others follow; {MEND}");
            return Err(damaged(path, what));
        }
        self.segments.lock().insert(first, path.to_owned());
        if is_last {
            self.resume(path, at, bytes.len(), expected)?;
        }
        Ok(())
    }

    /// Makes the last segment the active one, its torn tail cut off.
    fn resume(
        &mut self,
        path: &Path,
        end: usize,
        length: usize,
        next: Revision,
    ) -> Result<(), StoreError> {
        let failed = |error: io::Error| unavailable("open", path, &error);
        let mut file = self.disk.open(path).map_err(failed)?;
        if end < length {
            tracing::warn!(path = %path.display(), bytes = length - end, "cut off a torn, unacknowledged tail of the log");
            file.set_len(end as u64).map_err(failed)?;
            file.sync_all().map_err(failed)?;
        }
        // A checkpoint that reaches further than this segment: what follows begins a new one.
        if next == self.next {
            self.active = Some(Active { file, path: path.to_owned(), end: end as u64 });
        }
        Ok(())
    }

    fn drop_segment(&self, path: &Path) -> Result<(), StoreError> {
        self.disk
            .remove(path)
            .and_then(|()| self.disk.sync_dir(&self.dir))
            .map_err(|error| unavailable("remove", path, &error))
    }

    pub fn segments(&self) -> Segments {
        self.segments.clone()
    }

    /// Appends one group, durably. The number of bytes written.
    pub fn append(&mut self, records: &[Logged]) -> Result<u64, StoreError> {
        if let Some(why) = &self.broken {
            return Err(StoreError::Unavailable(why.clone()));
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let result = record::write_group(&mut buffer, self.next, records)
            .map_err(StoreError::Unavailable)
            .and_then(|()| self.write(&buffer));
        let written = buffer.len() as u64;
        // One huge group must not hold its memory for ever.
        buffer.shrink_to(1024 * 1024);
        self.buffer = buffer;
        result?;
        self.next.0 += records.len() as u64;
        Ok(written)
    }

    fn write(&mut self, group: &[u8]) -> Result<(), StoreError> {
        let active = self.writable_segment()?;
        let result = active.file.write_at(active.end, group).and_then(|()| active.file.sync_data());
        match result {
            Ok(()) => {
                active.end += group.len() as u64;
                Ok(())
            }
            Err(error) => Err(self.take_back(&error)),
        }
    }

    /// The active segment, or a new one where there is none or it is full.
    fn writable_segment(&mut self) -> Result<&mut Active, StoreError> {
        if self.active.as_ref().is_none_or(|active| active.end >= self.segment_bytes) {
            self.active = Some(self.new_segment()?);
        }
        self.active.as_mut().ok_or_else(|| StoreError::Unavailable("no log segment".to_owned()))
    }

    fn new_segment(&self) -> Result<Active, StoreError> {
        let path = self.dir.join(format!("{:020}{SUFFIX}", self.next.0));
        let created = self.disk.create(&path).and_then(|mut file| {
            file.write_at(0, &record::segment_header(self.next))?;
            file.sync_all()?;
            self.disk.sync_dir(&self.dir)?;
            Ok(file)
        });
        match created {
            Ok(file) => {
                self.segments.lock().insert(self.next, path.clone());
                Ok(Active { file, path, end: SEGMENT_HEADER as u64 })
            }
            Err(error) => {
                // It holds no record; if it stays, the next open or the next attempt replaces it.
                let _ = self.disk.remove(&path);
                Err(refused(&path, &error))
            }
        }
    }

    /// After a failed write or sync: cuts the segment back to its good end. What a failed sync has
    /// left of the file's cached pages is not to be trusted, so a new segment follows in any case.
    fn take_back(&mut self, error: &io::Error) -> StoreError {
        let Some(mut active) = self.active.take() else { return refused(&self.dir, error) };
        let path = active.path.clone();
        match active.file.set_len(active.end).and_then(|()| active.file.sync_all()) {
            Ok(()) if active.end > SEGMENT_HEADER as u64 => refused(&path, error),
            // An empty segment has the name that the next one will have: it is used again.
            Ok(()) => {
                self.active = Some(active);
                refused(&path, error)
            }
            Err(again) => {
                self.broken = Some(format!(
                    "{} could neither be written ({error}) nor cut back ({again}); restart when \
                     the disk is sound",
                    path.display()
                ));
                StoreError::OutcomeUnknown(format!("cannot write {}: {error}", path.display()))
            }
        }
    }
}

/// Deletes the segments whose every record is at or before `covered`, the oldest first, so that no
/// gap can appear. The newest segment always stays.
pub(super) fn delete_covered(disk: &dyn Disk, dir: &Path, segments: &Segments, covered: Revision) {
    loop {
        let mut held = segments.lock();
        let mut firsts = held.keys().copied();
        let (Some(oldest), Some(following)) = (firsts.next(), firsts.next()) else { return };
        if following.0 > covered.0 + 1 {
            return;
        }
        let Some(path) = held.remove(&oldest) else { return };
        drop(held);
        if let Err(error) = disk.remove(&path).and_then(|()| disk.sync_dir(dir)) {
            tracing::warn!(path = %path.display(), %error, "cannot delete a log segment that is no longer needed");
            return;
        }
    }
}

/// The segments in `dir` by the revision in their names.
fn find_segments(disk: &dyn Disk, dir: &Path) -> Result<Vec<(Revision, PathBuf)>, StoreError> {
    let names = disk.names(dir).map_err(|error| unavailable("read", dir, &error))?;
    let mut segments: Vec<_> = names
        .iter()
        .filter_map(|name| {
            let first = name.strip_suffix(SUFFIX)?.parse().ok()?;
            Some((Revision(first), dir.join(name)))
        })
        .collect();
    segments.sort();
    Ok(segments)
}

fn damaged(path: &Path, what: String) -> StoreError {
    StoreError::Damaged { path: path.display().to_string(), what }
}

pub(super) fn unavailable(verb: &str, path: &Path, error: &io::Error) -> StoreError {
    StoreError::Unavailable(format!("cannot {verb} {}: {error}", path.display()))
}

/// The error of a write that has left no trace.
fn refused(path: &Path, error: &io::Error) -> StoreError {
    let mend = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; make room on its disk",
        _ => "",
    };
    StoreError::Unavailable(format!("cannot write {}: {error}{mend}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::disk::faulty::FaultyDisk;

    const DIR: &str = "/log";

    fn open(disk: &FaultyDisk, from: u64) -> Result<(Log, Vec<(u64, String)>), StoreError> {
        let mut seen = Vec::new();
        let mut replay = |revision: Revision, logged: Logged| {
            seen.push((revision.0, logged.key.to_string()));
        };
        let disk = Arc::new(disk.clone());
        let log = Log::open(disk, Path::new(DIR), 200, Revision(from), &mut replay)?;
        Ok((log, seen))
    }

    fn logged(key: &str) -> Logged {
        Logged {
            key: key.into(),
            value: Some("value".into()),
            created: Revision(1),
            expires_unix_ms: None,
        }
    }

    /// A disk with a log of `count` groups of one record each, in several segments.
    fn written(count: u64) -> FaultyDisk {
        let disk = FaultyDisk::default();
        let (mut log, _) = open(&disk, 1).unwrap();
        for index in 0..count {
            log.append(&[logged(&format!("key-{index}"))]).unwrap();
        }
        disk
    }

    #[test]
    fn what_was_appended_is_replayed_after_the_revision_asked_for() {
        let disk = written(20);
        assert!(disk.files().len() > 3);
        let (log, seen) = open(&disk, 1).unwrap();
        assert_eq!(seen.len(), 20);
        assert_eq!(seen[0], (2, "key-0".to_owned()));
        assert_eq!(log.next, Revision(22));
        let (_, seen) = open(&disk, 15).unwrap();
        assert_eq!(seen[0], (16, "key-14".to_owned()));
    }

    #[test]
    fn a_torn_tail_is_cut_off_and_writing_goes_on() {
        for cut in 1..60 {
            let disk = written(2);
            let path = disk.files().pop().unwrap();
            disk.tamper(&path, |bytes| bytes.truncate(bytes.len() - cut));
            let (mut log, seen) = open(&disk, 1).unwrap();
            assert_eq!(seen.len(), 1, "cut {cut}");
            log.append(&[logged("again")]).unwrap();
            let (_, seen) = open(&disk, 1).unwrap();
            assert_eq!(seen[1], (3, "again".to_owned()));
        }
    }

    #[test]
    fn damage_in_the_middle_is_told_with_the_file_and_the_mend() {
        let disk = written(2);
        let path = disk.files().pop().unwrap();
        disk.tamper(&path, |bytes| bytes[SEGMENT_HEADER + 40] ^= 1);
        let error = open(&disk, 1).err().unwrap().to_string();
        assert!(error.contains("00002.log"), "{error}");
        assert!(error.contains("byte 24") && error.contains("backup"), "{error}");
    }

    #[test]
    fn damage_in_an_earlier_segment_and_a_missing_one_are_told() {
        let disk = written(20);
        let path = disk.files()[1].clone();
        disk.tamper(&path, |bytes| bytes.truncate(bytes.len() - 1));
        assert!(matches!(open(&disk, 1), Err(StoreError::Damaged { .. })));
        let disk = written(20);
        disk.remove(&disk.files()[1]).unwrap();
        let error = open(&disk, 1).err().unwrap().to_string();
        assert!(error.contains("the log goes on at revision"), "{error}");
        assert!(open(&disk, 20).is_ok(), "a checkpoint covers the gap");
    }

    #[test]
    fn a_full_disk_refuses_the_write_and_later_ones_work() {
        for room in 0..64 {
            let disk = written(1);
            let (mut log, _) = open(&disk, 1).unwrap();
            disk.set_room(Some(room));
            let error = log.append(&[logged("refused")]).unwrap_err().to_string();
            assert!(error.contains("make room"), "{error}");
            disk.set_room(None);
            log.append(&[logged("later")]).unwrap();
            let (_, seen) = open(&disk, 1).unwrap();
            let expected = [(2, "key-0".to_owned()), (3, "later".to_owned())];
            assert_eq!(seen, expected, "room {room}");
        }
    }

    #[test]
    fn after_a_failed_sync_nothing_is_written_until_reopened() {
        let disk = written(1);
        let (mut log, _) = open(&disk, 1).unwrap();
        disk.set_sync_fails(true);
        assert!(matches!(log.append(&[logged("a")]), Err(StoreError::OutcomeUnknown(_))));
        disk.set_sync_fails(false);
        assert!(matches!(log.append(&[logged("b")]), Err(StoreError::Unavailable(_))));
        let (mut log, _) = open(&disk, 1).unwrap();
        log.append(&[logged("c")]).unwrap();
    }

    #[test]
    fn only_segments_that_are_covered_are_deleted() {
        let disk = written(20);
        let (log, _) = open(&disk, 1).unwrap();
        delete_covered(&disk, Path::new(DIR), &log.segments(), Revision(1));
        assert_eq!(open(&disk, 1).unwrap().1.len(), 20);
        delete_covered(&disk, Path::new(DIR), &log.segments(), Revision(12));
        assert!(matches!(open(&disk, 1), Err(StoreError::Damaged { .. })));
        assert_eq!(open(&disk, 12).unwrap().1.len(), 9);
        delete_covered(&disk, Path::new(DIR), &log.segments(), Revision(21));
        assert_eq!(disk.files().len(), 1);
    }
}
