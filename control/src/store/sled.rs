//! The durable store: a commit log, and sled as the index that it is materialised into.
//!
//! ```text
//! DIR/lock                 held exclusively while the store is open
//! DIR/log/<revision>.log   the truth: every write, synced before it is acknowledged   (log)
//! DIR/index/{a,b}          sled: the state at a checkpoint                            (checkpoint)
//! ```
//!
//! One writer thread takes whatever writes have queued up, checks each against the newest state and
//! those before it, appends all that pass as one group with one fdatasync, applies them to the state
//! in memory, and only then answers. Readers see nothing that is not durable. While one group is
//! synced, the next one gathers. Values are held once, as `Bytes`, shared with those who read them.
//!
//! When enough log has gathered, a checkpoint is made on a thread of its own and segments that both
//! checkpoints cover are deleted. At open, the newest sound checkpoint is read and the log behind it
//! replayed. Reads and watches at revisions before that answer `Compacted`.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::checkpoint::{CheckpointError, Checkpoints, Loaded};
use super::disk::{Disk, RealDisk};
use super::log::{self, Log, Segments};
use super::mvcc::{Expiry, History, Mvcc, Pending, Record, Version};
use super::record::Logged;
use super::shared::{self, Shared};
use super::{Changes, Listed, Range, Revision, Store, StoreError, Stored, Write};
use crate::ambient::Ambient;

/// The most writes in a group, and about the most bytes.
const GROUP_WRITES_MAX: usize = 1024;
const GROUP_BYTES_MAX: usize = 8 * 1024 * 1024;
/// The longest that a group waits for those who were just answered.
const GATHER_MAX: Duration = Duration::from_millis(1);

#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub history: History,
    /// A log segment that has grown this large is followed by a new one.
    pub segment_bytes: u64,
    /// A checkpoint is made when this much log, and no less than the size of all values, has
    /// gathered behind the last.
    pub checkpoint_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            history: History::default(),
            segment_bytes: 16 * 1024 * 1024,
            checkpoint_bytes: 64 * 1024 * 1024,
        }
    }
}

/// Opens the store in `dir`, which is made if it is missing. Must be called within a tokio runtime.
pub async fn open(
    dir: &Path,
    options: Options,
    ambient: &Ambient,
) -> Result<Arc<dyn Store>, StoreError> {
    let place = Place { dir: dir.to_owned(), disk: Arc::new(RealDisk), on_real_disk: true };
    open_at(place, options, ambient).await
}

/// Where a store lives. Only a real disk has a lock and checkpoints: sled knows no other.
struct Place {
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    on_real_disk: bool,
}

async fn open_at(
    place: Place,
    options: Options,
    ambient: &Ambient,
) -> Result<Arc<dyn Store>, StoreError> {
    let now = Now { instant: Instant::now(), unix_ms: shared::unix_ms(ambient) };
    let writer =
        tokio::task::spawn_blocking(move || Writer::open(&place, options, now)).await.map_err(
            |error| StoreError::Unavailable(format!("opening the store failed: {error}")),
        )??;
    let shared = writer.shared.clone();
    let (requests, queue) = mpsc::channel();
    // A thread and not a task: it blocks in fdatasync most of the time.
    let thread = std::thread::Builder::new()
        .name("store-writer".to_owned())
        .spawn(move || writer.run(&queue))
        .map_err(|error| StoreError::Unavailable(format!("cannot start a thread: {error}")))?;
    let store: Arc<dyn Store> = Arc::new(Sled {
        shared: shared.clone(),
        ambient: ambient.clone(),
        requests,
        thread: Mutex::new(Some(thread)),
    });
    let weak: Weak<dyn Store> = Arc::downgrade(&store);
    ambient.spawn(shared::upkeep(shared, weak));
    Ok(store)
}

struct Sled {
    shared: Arc<Shared>,
    ambient: Ambient,
    /// Unbounded: each caller waits for its answer, so there are no more requests than callers.
    requests: mpsc::Sender<Message>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

enum Message {
    Write(Request),
    /// The last.
    Stop(Stop),
}

/// To finish, with a checkpoint or without, and answer.
struct Stop {
    checkpoint: bool,
    done: oneshot::Sender<()>,
}

struct Request {
    write: Write,
    now: Instant,
    expiry: Option<Expiry>,
    reply: oneshot::Sender<Result<Revision, StoreError>>,
}

#[async_trait]
impl Store for Sled {
    async fn current(&self) -> Result<Revision, StoreError> {
        Ok(self.shared.current())
    }

    async fn get(&self, key: &str, at: Option<Revision>) -> Result<Option<Stored>, StoreError> {
        self.shared.get(key, at)
    }

    async fn list(&self, range: Range, at: Option<Revision>) -> Result<Listed, StoreError> {
        self.shared.list(&range, at)
    }

    async fn commit(&self, write: Write) -> Result<Revision, StoreError> {
        let now = Instant::now();
        let expiry = shared::expiry_of(&write, now, &self.ambient);
        let (reply, answer) = oneshot::channel();
        let request = Request { write, now, expiry, reply };
        self.requests.send(Message::Write(request)).map_err(|_| shared::closed())?;
        answer.await.unwrap_or_else(|_| {
            Err(StoreError::OutcomeUnknown("the store was closed meanwhile".to_owned()))
        })
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<Changes, StoreError> {
        self.shared.watch(prefix, from)
    }

    async fn compact(&self, before: Revision) -> Result<(), StoreError> {
        self.shared.compact(before)
    }

    async fn close(&self) -> Result<(), StoreError> {
        let (done, finished) = oneshot::channel();
        let stop = Stop { checkpoint: true, done };
        if self.requests.send(Message::Stop(stop)).is_ok() {
            // An error means that it had ended on its own.
            let _ = finished.await;
        }
        Ok(())
    }
}

impl Drop for Sled {
    fn drop(&mut self) {
        let (done, _) = oneshot::channel();
        let _ = self.requests.send(Message::Stop(Stop { checkpoint: false, done }));
        // Waits for one sync at most, so that the folder can be opened again at once.
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join();
        }
    }
}

#[derive(Clone, Copy)]
struct Now {
    instant: Instant,
    unix_ms: u64,
}

impl Now {
    fn expiry(self, unix_ms: u64) -> Expiry {
        let left = Duration::from_millis(unix_ms.saturating_sub(self.unix_ms));
        Expiry { at: self.instant + left, unix_ms }
    }
}

/// The writer thread's own.
struct Writer {
    shared: Arc<Shared>,
    log: Log,
    disk: Arc<dyn Disk>,
    log_dir: PathBuf,
    checkpoints: Option<Arc<Mutex<Checkpoints>>>,
    options: Options,
    /// Log written since the last checkpoint began.
    uncovered_bytes: u64,
    /// How long the last group took to write and sync.
    append_took: Duration,
    checkpointing: Option<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    /// Held until the thread ends.
    _lock: Option<File>,
}

impl Writer {
    fn open(place: &Place, options: Options, now: Now) -> Result<Self, StoreError> {
        let Place { dir, disk, on_real_disk } = place;
        disk.create_dir(dir).map_err(|error| log::unavailable("create", dir, &error))?;
        let lock = on_real_disk.then(|| lock(dir)).transpose()?;
        let (checkpoints, loaded) = match on_real_disk {
            true => {
                let (checkpoints, loaded) = Checkpoints::open(&dir.join("index"))?;
                (Some(Arc::new(Mutex::new(checkpoints))), loaded)
            }
            false => (None, None),
        };
        let mut state = restore(loaded, options.history, now);
        let mut uncovered_bytes = 0;
        let log_dir = dir.join("log");
        let from = state.current();
        let mut replay = |_: Revision, logged: Logged| {
            uncovered_bytes += logged.value.as_ref().map_or(0, |value| value.len() as u64);
            state.apply(record(logged, now), now.instant);
        };
        let log = Log::open(disk.clone(), &log_dir, options.segment_bytes, from, &mut replay)?;
        Ok(Self {
            shared: Shared::new(state),
            log,
            disk: disk.clone(),
            log_dir,
            checkpoints,
            options,
            uncovered_bytes,
            append_took: Duration::ZERO,
            checkpointing: None,
            stop: Arc::default(),
            _lock: lock,
        })
    }

    fn run(mut self, queue: &mpsc::Receiver<Message>) {
        let mut gathered = Group::default();
        let (mut expected, mut until) = (0, std::time::Instant::now());
        loop {
            if gathered.is_empty() {
                let Ok(first) = queue.recv() else { return self.finish(false) };
                gathered.add(first);
            }
            gathered.fill(queue, expected, until);
            let group = std::mem::take(&mut gathered);
            let answers = self.commit(&group.requests);
            // Those who came meanwhile, and soon those who are answered now: together they make the
            // next group, if it waits a little. Otherwise two halves would take turns, a sync each.
            gathered.fill(queue, 0, until);
            expected = gathered.requests.len() + answers.len();
            until = std::time::Instant::now() + (self.append_took / 4).min(GATHER_MAX);
            for (request, result) in group.requests.into_iter().zip(answers) {
                // A caller that has gone away does not undo its write.
                let _ = request.reply.send(result);
            }
            self.checkpoint_if_due();
            if let Some(stop) = group.stop {
                self.finish(stop.checkpoint);
                drop(self);
                let _ = stop.done.send(());
                return;
            }
        }
    }

    /// One group: check, append, sync, apply. The answers, which may be given now.
    fn commit(&mut self, group: &[Request]) -> Vec<Result<Revision, StoreError>> {
        let mut pending = Pending::default();
        let answers: Vec<_> = {
            let state = self.shared.state.read();
            let check =
                |request: &Request| state.evaluate(&mut pending, &request.write, request.expiry);
            group.iter().map(check).collect()
        };
        if let Err(error) = self.append(&pending.records) {
            // Those that failed their check may have failed for what now was not written.
            return group.iter().map(|_| Err(same(&error))).collect();
        }
        if let Some(last) = group.last() {
            self.apply(pending.records, last.now);
        }
        answers
    }

    fn append(&mut self, records: &[Record]) -> Result<(), StoreError> {
        if records.is_empty() {
            return Ok(());
        }
        let logged: Vec<_> = records.iter().map(logged).collect();
        let start = std::time::Instant::now();
        self.uncovered_bytes += self.log.append(&logged)?;
        self.append_took = start.elapsed();
        Ok(())
    }

    fn apply(&self, records: Vec<Record>, now: Instant) {
        if records.is_empty() {
            return;
        }
        let mut state = self.shared.state.write();
        let mut expiry_changed = false;
        for record in records {
            expiry_changed |= state.apply(record, now);
        }
        let current = state.current();
        drop(state);
        self.shared.publish(current, expiry_changed);
    }

    fn checkpoint_if_due(&mut self) {
        let Some(checkpoints) = &self.checkpoints else { return };
        if self.uncovered_bytes < self.options.checkpoint_bytes
            || self.checkpointing.as_ref().is_some_and(|thread| !thread.is_finished())
            || self.uncovered_bytes < checkpoints.lock().bytes()
        {
            return;
        }
        self.uncovered_bytes = 0;
        let work = self.checkpoint_work(checkpoints.clone());
        let thread = std::thread::Builder::new().name("store-checkpoint".to_owned()).spawn(work);
        match thread {
            Ok(thread) => self.checkpointing = Some(thread),
            Err(error) => tracing::warn!(%error, "cannot start a checkpoint; the log grows"),
        }
    }

    fn checkpoint_work(&self, checkpoints: Arc<Mutex<Checkpoints>>) -> impl FnOnce() + use<> {
        let (shared, stop) = (self.shared.clone(), self.stop.clone());
        let (disk, log_dir) = (self.disk.clone(), self.log_dir.clone());
        let segments = self.log.segments();
        move || checkpoint(&mut checkpoints.lock(), &shared, &stop, &*disk, &log_dir, &segments)
    }

    fn finish(&mut self, with_checkpoint: bool) {
        self.shared.close();
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.checkpointing.take() {
            let _ = thread.join();
        }
        self.stop.store(false, Ordering::Relaxed);
        let Some(checkpoints) = self.checkpoints.clone() else { return };
        let (newest, bytes) = {
            let checkpoints = checkpoints.lock();
            (checkpoints.newest(), checkpoints.bytes())
        };
        // A little log is replayed sooner than a large state is gone through.
        let is_worthwhile = self.uncovered_bytes.saturating_mul(8) >= bytes;
        if with_checkpoint && is_worthwhile && newest < Some(self.shared.current()) {
            self.checkpoint_work(checkpoints)();
        }
    }
}

/// Writes that are synced together, and the stop where it came behind them.
#[derive(Default)]
struct Group {
    requests: Vec<Request>,
    bytes: usize,
    stop: Option<Stop>,
}

impl Group {
    fn is_empty(&self) -> bool {
        self.requests.is_empty() && self.stop.is_none()
    }

    fn is_full(&self) -> bool {
        self.requests.len() >= GROUP_WRITES_MAX
            || self.bytes >= GROUP_BYTES_MAX
            || self.stop.is_some()
    }

    fn add(&mut self, message: Message) {
        match message {
            Message::Write(request) => {
                self.bytes += size(&request.write);
                self.requests.push(request);
            }
            Message::Stop(stop) => self.stop = Some(stop),
        }
    }

    /// Takes what has queued up; waits for more where there are fewer than `expected`.
    fn fill(
        &mut self,
        queue: &mpsc::Receiver<Message>,
        expected: usize,
        until: std::time::Instant,
    ) {
        while !self.is_full() {
            let left = until.saturating_duration_since(std::time::Instant::now());
            let next = match queue.try_recv() {
                Err(mpsc::TryRecvError::Empty)
                    if self.requests.len() < expected && !left.is_zero() =>
                {
                    queue.recv_timeout(left).ok()
                }
                next => next.ok(),
            };
            let Some(message) = next else { return };
            self.add(message);
        }
    }
}

fn size(write: &Write) -> usize {
    match write {
        Write::Create { key, value, .. } | Write::Update { key, value, .. } => {
            key.len() + value.len()
        }
        Write::Delete { key, .. } => key.len(),
    }
}

/// The error of a group, for each of its writes.
fn same(error: &StoreError) -> StoreError {
    match error {
        StoreError::OutcomeUnknown(why) => StoreError::OutcomeUnknown(why.clone()),
        StoreError::Unavailable(why) => StoreError::Unavailable(why.clone()),
        StoreError::Closed => StoreError::Closed,
        other => StoreError::Unavailable(other.to_string()),
    }
}

fn checkpoint(
    checkpoints: &mut Checkpoints,
    shared: &Shared,
    stop: &AtomicBool,
    disk: &dyn Disk,
    log_dir: &Path,
    segments: &Segments,
) {
    let (revision, live) = shared.state.read().live();
    match checkpoints.make(revision, &live, stop) {
        Ok(()) => {
            if let Some(covered) = checkpoints.covered() {
                log::delete_covered(disk, log_dir, segments, covered);
            }
        }
        Err(CheckpointError::Stopped) => {}
        Err(error) => tracing::warn!(%error, "a checkpoint failed; the log is kept and grows"),
    }
}

fn lock(dir: &Path) -> Result<File, StoreError> {
    let path = dir.join("lock");
    let failed = |error| log::unavailable("write to", &path, &error);
    let file =
        OpenOptions::new().write(true).create(true).truncate(false).open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked { dir: dir.display().to_string() }),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

fn restore(loaded: Option<Loaded>, history: History, now: Now) -> Mvcc {
    let Some((revision, entries)) = loaded else { return Mvcc::new(history) };
    let mut state = Mvcc::starting_at(revision, history);
    for (modified, logged) in entries {
        let expiry = logged.expires_unix_ms.map(|unix_ms| now.expiry(unix_ms));
        let (value, created) = (logged.value, logged.created);
        state.restore(logged.key, Version { value, created, modified, expiry });
    }
    state
}

fn record(logged: Logged, now: Now) -> Record {
    let Logged { key, value, created, expires_unix_ms } = logged;
    Record { key, value, created, expiry: expires_unix_ms.map(|unix_ms| now.expiry(unix_ms)) }
}

fn logged(record: &Record) -> Logged {
    Logged {
        key: record.key.clone(),
        value: record.value.clone(),
        created: record.created,
        expires_unix_ms: record.expiry.map(|expiry| expiry.unix_ms),
    }
}

#[cfg(test)]
mod tests;
