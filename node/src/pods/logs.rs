//! Container logs: written in the CRI format, rotated by size, read back for `kubectl logs`.
//!
//! A line on disk is `TIME STREAM TAG TEXT`; the tag is `F` for a full line and `P` for a piece of
//! a line too long for one. One file a start of the container, its older parts beside it as `.1`,
//! `.2`…; they stay until the pod's object is gone. The files of the last two starts are kept.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use copepod_runtime::{Output, OutputStream};
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};

use crate::ambient::Ambient;

/// A line longer than this is written in pieces.
const PIECE: usize = 16 * 1024;
/// How much is gathered before it is handed to a reader.
const CHUNK: usize = 32 * 1024;
/// Chunks in flight to a slow reader; the reading waits when it is full.
const CHUNKS: usize = 8;

/// When a log is rotated and how many parts are kept.
#[derive(Clone, Copy, Debug)]
pub struct Rotation {
    pub bytes: u64,
    pub parts: u32,
}

impl Default for Rotation {
    fn default() -> Self {
        Self { bytes: 10 << 20, parts: 5 }
    }
}

/// How far a log has come, for those who follow it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    writes: u64,
    rotations: u64,
    closed: bool,
}

/// The log of one start of a container, being written.
pub struct LogWriter {
    path: PathBuf,
    rotation: Rotation,
    ambient: Ambient,
    inner: Mutex<Inner>,
    progress: watch::Sender<Progress>,
}

#[derive(Default)]
struct Inner {
    /// Opened at the first byte: most of many pods never write one.
    file: Option<File>,
    size: u64,
    pending: [Vec<u8>; 2],
    closed: bool,
    failed: bool,
}

impl LogWriter {
    pub fn new(path: PathBuf, rotation: Rotation, ambient: Ambient) -> Self {
        let progress = watch::Sender::new(Progress::default());
        Self { path, rotation, ambient, inner: Mutex::default(), progress }
    }

    /// The container has ended: what is left without a line end is written as a line.
    pub fn close(&self) {
        let mut inner = self.inner.lock();
        let mut record = Vec::new();
        let time = self.ambient.now();
        for stream in [OutputStream::Stdout, OutputStream::Stderr] {
            let pending = std::mem::take(&mut inner.pending[slot(stream)]);
            if !pending.is_empty() {
                push_record(&mut record, time, stream, "F", &pending);
            }
        }
        self.append(&mut inner, &record);
        inner.closed = true;
        inner.file = None;
        drop(inner);
        self.progress.send_modify(|progress| progress.closed = true);
    }

    /// A source that sees what is written from now on.
    pub fn source(&self) -> LogSource {
        LogSource { path: self.path.clone(), live: Some(self.progress.subscribe()) }
    }

    fn append(&self, inner: &mut Inner, record: &[u8]) {
        if record.is_empty() || inner.closed {
            return;
        }
        if let Err(error) = self.try_append(inner, record)
            && !std::mem::replace(&mut inner.failed, true)
        {
            // Said once a log: a full disk would otherwise fill our own log too.
            tracing::warn!(path = %self.path.display(), %error, "container log cannot be written");
        }
    }

    fn try_append(&self, inner: &mut Inner, record: &[u8]) -> io::Result<()> {
        if inner.size >= self.rotation.bytes {
            inner.file = None;
            rotate(&self.path, self.rotation.parts)?;
            inner.size = 0;
            self.progress.send_modify(|progress| progress.rotations += 1);
        }
        if inner.file.is_none() {
            inner.file = Some(open_append(&self.path)?);
        }
        if let Some(file) = &mut inner.file {
            file.write_all(record)?;
            inner.size += record.len() as u64;
        }
        Ok(())
    }
}

impl Output for LogWriter {
    fn write(&self, stream: OutputStream, bytes: &[u8]) {
        let time = self.ambient.now();
        let mut inner = self.inner.lock();
        let mut record = Vec::with_capacity(bytes.len() + 64);
        let mut pending = std::mem::take(&mut inner.pending[slot(stream)]);
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            pending.extend_from_slice(piece);
            if pending.last() == Some(&b'\n') {
                pending.pop();
                while pending.len() > PIECE {
                    let rest = pending.split_off(PIECE);
                    push_record(&mut record, time, stream, "P", &pending);
                    pending = rest;
                }
                push_record(&mut record, time, stream, "F", &pending);
                pending.clear();
            }
            while pending.len() > PIECE {
                let rest = pending.split_off(PIECE);
                push_record(&mut record, time, stream, "P", &pending);
                pending = rest;
            }
        }
        inner.pending[slot(stream)] = pending;
        if !record.is_empty() {
            self.append(&mut inner, &record);
            drop(inner);
            self.progress.send_modify(|progress| progress.writes += 1);
        }
    }
}

fn slot(stream: OutputStream) -> usize {
    match stream {
        OutputStream::Stdout => 0,
        OutputStream::Stderr => 1,
    }
}

fn push_record(out: &mut Vec<u8>, time: Timestamp, stream: OutputStream, tag: &str, text: &[u8]) {
    let stream = match stream {
        OutputStream::Stdout => "stdout",
        OutputStream::Stderr => "stderr",
    };
    out.extend_from_slice(format!("{time:.9} {stream} {tag} ").as_bytes());
    out.extend_from_slice(text);
    out.push(b'\n');
}

fn open_append(path: &Path) -> io::Result<File> {
    match OpenOptions::new().create(true).append(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            OpenOptions::new().create(true).append(true).open(path)
        }
        opened => opened,
    }
}

/// Part `n` of a log: 0 is the one being written, higher are older.
fn part(path: &Path, n: u32) -> PathBuf {
    if n == 0 {
        return path.to_owned();
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{n}"));
    PathBuf::from(name)
}

fn rotate(path: &Path, parts: u32) -> io::Result<()> {
    for n in (0..parts.saturating_sub(1)).rev() {
        match fs::rename(part(path, n), part(path, n + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Where what concerns one container of a pod is.
pub fn container_dir(pod_dir: &Path, container: &str) -> PathBuf {
    pod_dir.join("containers").join(container)
}

/// Where the log of one start of a container is.
pub fn log_path(pod_dir: &Path, container: &str, attempt: u32) -> PathBuf {
    container_dir(pod_dir, container).join(format!("{attempt}.log"))
}

/// Removes the log of one start.
pub fn remove(path: &Path, parts: u32) {
    for n in 0..parts {
        if fs::remove_file(part(path, n)).is_err() {
            break;
        }
    }
}

/// A log to read; `live` where it is still being written by this process.
pub struct LogSource {
    pub path: PathBuf,
    pub live: Option<watch::Receiver<Progress>>,
}

/// What `kubectl logs` may ask for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LogQuery {
    pub follow: bool,
    pub previous: bool,
    pub timestamps: bool,
    pub tail_lines: Option<u64>,
    pub limit_bytes: Option<u64>,
    pub since: Option<Timestamp>,
}

impl LogQuery {
    /// Reads the query parameters of `/containerLogs`.
    pub fn parse(parameters: &HashMap<String, String>, now: Timestamp) -> Result<Self, String> {
        let number = |name: &str| match parameters.get(name).filter(|text| !text.is_empty()) {
            None => Ok(None),
            Some(text) => text
                .parse::<u64>()
                .map(Some)
                .map_err(|_| format!("invalid {name}: \"{text}\" is no number of zero or more")),
        };
        let flag = |name: &str| match parameters.get(name).map(String::as_str) {
            None | Some("false" | "0") => Ok(false),
            Some("" | "true" | "1") => Ok(true),
            Some(text) => Err(format!("invalid {name}: \"{text}\" is neither true nor false")),
        };
        let since_time = match parameters.get("sinceTime").filter(|text| !text.is_empty()) {
            None => None,
            Some(text) => Some(text.parse::<Timestamp>().map_err(|error| {
                format!("invalid sinceTime: \"{text}\" is no RFC 3339 time: {error}")
            })?),
        };
        let since = match number("sinceSeconds")? {
            None => since_time,
            Some(0) => return Err("invalid sinceSeconds: must be greater than 0".into()),
            Some(seconds) => Some(
                i64::try_from(seconds)
                    .ok()
                    .and_then(|s| now.checked_sub(jiff::SignedDuration::from_secs(s)).ok())
                    .unwrap_or(Timestamp::UNIX_EPOCH),
            ),
        };
        Ok(Self {
            follow: flag("follow")?,
            previous: flag("previous")?,
            timestamps: flag("timestamps")?,
            tail_lines: number("tailLines")?,
            limit_bytes: number("limitBytes")?,
            since,
        })
    }
}

/// Reads a log on a thread of its own and hands it out in chunks; ends when the reader goes away.
pub fn read(source: LogSource, query: LogQuery) -> mpsc::Receiver<io::Result<Bytes>> {
    let (sender, receiver) = mpsc::channel(CHUNKS);
    tokio::task::spawn_blocking(move || {
        let mut sink = Sink { sender, buffer: Vec::new(), left: query.limit_bytes };
        if let Err(Stop::Io(error)) = run(source, &query, &mut sink) {
            let _ = sink.sender.blocking_send(Err(error));
        }
    });
    receiver
}

/// Why a reading ends early.
enum Stop {
    Io(io::Error),
    /// The limit is reached or the reader has gone.
    Enough,
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

struct Sink {
    sender: mpsc::Sender<io::Result<Bytes>>,
    buffer: Vec<u8>,
    left: Option<u64>,
}

impl Sink {
    fn push(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        let taken = match self.left {
            None => bytes.len(),
            Some(left) => bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX)),
        };
        self.buffer.extend_from_slice(&bytes[..taken]);
        if let Some(left) = &mut self.left {
            *left -= taken as u64;
        }
        if self.buffer.len() >= CHUNK || taken < bytes.len() {
            self.flush()?;
        }
        if taken < bytes.len() || self.left == Some(0) {
            self.flush()?;
            return Err(Stop::Enough);
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Stop> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let chunk = Bytes::from(std::mem::take(&mut self.buffer));
        self.sender.blocking_send(Ok(chunk)).map_err(|_| Stop::Enough)
    }
}

fn run(mut source: LogSource, query: &LogQuery, sink: &mut Sink) -> Result<(), Stop> {
    // Taken before the files are read: what is written meanwhile is then seen as a change.
    let mut seen = source.live.as_mut().map(|live| *live.borrow_and_update());
    let mut printer = Printer { query: query.clone(), line_open: false };
    let mut reader = None;
    for (path, offset) in parts_to_read(&source.path, query.tail_lines)? {
        let mut file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            opened => opened?,
        };
        file.seek(SeekFrom::Start(offset))?;
        let mut lines = Lines::new(file);
        lines.drain(&mut printer, sink)?;
        reader = Some(lines);
    }
    sink.flush()?;
    let Some(live) = source.live.as_mut().filter(|_| query.follow) else { return Ok(()) };
    loop {
        let now = *live.borrow_and_update();
        let rotated = seen.is_some_and(|seen| seen.rotations != now.rotations);
        if let Some(lines) = &mut reader {
            lines.drain(&mut printer, sink)?;
        }
        if rotated || reader.is_none() {
            reader = match File::open(&source.path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                opened => Some(Lines::new(opened?)),
            };
            if let Some(lines) = &mut reader {
                lines.drain(&mut printer, sink)?;
            }
        }
        seen = Some(now);
        sink.flush()?;
        if now.closed {
            return Ok(());
        }
        if !wait(live, &sink.sender) {
            return Ok(());
        }
    }
}

/// Waits for a change; false where the writer or the reader has gone.
fn wait(live: &mut watch::Receiver<Progress>, sender: &mpsc::Sender<io::Result<Bytes>>) -> bool {
    tokio::runtime::Handle::current().block_on(async {
        tokio::select! {
            changed = live.changed() => changed.is_ok(),
            () = sender.closed() => false,
        }
    })
}

/// The files of a log from the oldest wanted on, each with the offset to start at.
fn parts_to_read(path: &Path, tail: Option<u64>) -> io::Result<Vec<(PathBuf, u64)>> {
    let mut wanted = tail;
    let mut found = Vec::new();
    for n in 0.. {
        let file_path = part(path, n);
        let mut file = match File::open(&file_path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            opened => opened?,
        };
        let Some(lines) = &mut wanted else {
            found.push((file_path, 0));
            continue;
        };
        let (offset, counted) = tail_offset(&mut file, *lines)?;
        found.push((file_path, offset));
        *lines -= counted;
        if *lines == 0 {
            break;
        }
    }
    found.reverse();
    Ok(found)
}

/// Where the last `lines` lines of a file begin, and how many there are.
fn tail_offset(file: &mut File, lines: u64) -> io::Result<(u64, u64)> {
    const BLOCK: u64 = 64 * 1024;
    let size = file.seek(SeekFrom::End(0))?;
    if lines == 0 {
        return Ok((size, 0));
    }
    let mut counted = 0;
    let mut end = size;
    let mut block = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        block.resize(usize::try_from(end - start).unwrap_or(0), 0);
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut block)?;
        for (at, byte) in block.iter().enumerate().rev() {
            let offset = start + at as u64;
            // The end of the last line begins nothing.
            if *byte == b'\n' && offset + 1 < size {
                counted += 1;
                if counted == lines {
                    return Ok((offset + 1, counted));
                }
            }
        }
        end = start;
    }
    Ok((0, (counted + u64::from(size > 0)).min(lines)))
}

/// The whole lines of a file that may still grow.
struct Lines {
    reader: BufReader<File>,
    line: Vec<u8>,
}

impl Lines {
    fn new(file: File) -> Self {
        Self { reader: BufReader::new(file), line: Vec::new() }
    }

    fn drain(&mut self, printer: &mut Printer, sink: &mut Sink) -> Result<(), Stop> {
        loop {
            self.reader.read_until(b'\n', &mut self.line)?;
            if self.line.last() != Some(&b'\n') {
                return Ok(());
            }
            self.line.pop();
            printer.print(&self.line, sink)?;
            self.line.clear();
        }
    }
}

/// Turns records into what is shown.
struct Printer {
    query: LogQuery,
    /// The last record was a piece of a line.
    line_open: bool,
}

impl Printer {
    fn print(&mut self, record: &[u8], sink: &mut Sink) -> Result<(), Stop> {
        let Some(record) = Record::parse(record) else { return Ok(()) };
        if let Some(since) = self.query.since
            && record.time.parse::<Timestamp>().is_ok_and(|time| time < since)
        {
            return Ok(());
        }
        if self.query.timestamps && !self.line_open {
            sink.push(record.time.as_bytes())?;
            sink.push(b" ")?;
        }
        self.line_open = record.partial;
        sink.push(record.text)?;
        if !record.partial {
            sink.push(b"\n")?;
        }
        Ok(())
    }
}

/// A line of the file taken apart.
struct Record<'a> {
    time: &'a str,
    partial: bool,
    text: &'a [u8],
}

impl<'a> Record<'a> {
    fn parse(line: &'a [u8]) -> Option<Self> {
        let mut fields = line.splitn(4, |byte| *byte == b' ');
        let time = std::str::from_utf8(fields.next()?).ok()?;
        let stream = fields.next()?;
        let tag = fields.next()?;
        let text = fields.next()?;
        matches!(stream, b"stdout" | b"stderr").then_some(())?;
        Some(Self { time, partial: tag == b"P", text })
    }
}

#[cfg(test)]
#[path = "logs_tests.rs"]
mod tests;
