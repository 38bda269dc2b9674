//! The contract on a real folder, and what is particular to durability: power cuts, SIGKILL,
//! a full disk, damage, the lock, and the order of sync and acknowledgement.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use bytes::Bytes;

use super::*;
use crate::store::contract::{self, Fixture};
use crate::store::disk::faulty::{FaultyDisk, Operation};

async fn fixture(history: History) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { history, ..Options::default() };
    let store = open(folder.path(), options, &Ambient::real()).await.unwrap();
    Fixture { store, _folder: Some(folder) }
}

contract::tests!(fixture);

/// Small, so that segments and checkpoints follow each other quickly.
fn small() -> Options {
    Options { segment_bytes: 2000, checkpoint_bytes: 5000, ..Options::default() }
}

/// Opens, and asks again while the folder is locked: a child of another test, between its fork and its
/// exec, still holds every descriptor of this process, and so the lock of a store that is gone.
async fn open_in(dir: &Path) -> Result<Arc<dyn Store>, StoreError> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match open(dir, small(), &Ambient::real()).await {
            Err(StoreError::Locked { .. }) if Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            opened => return opened,
        }
    }
}

async fn open_on(disk: &FaultyDisk) -> Result<Arc<dyn Store>, StoreError> {
    let place = Place { dir: "/data".into(), disk: Arc::new(disk.clone()), on_real_disk: false };
    open_at(place, small(), &Ambient::real()).await
}

async fn create(
    store: &dyn Store,
    key: &str,
    value: impl Into<Bytes>,
) -> Result<Revision, StoreError> {
    store.commit(Write::Create { key: key.to_owned(), value: value.into(), ttl: None }).await
}

async fn all(store: &dyn Store) -> BTreeMap<String, Stored> {
    let listed = store.list(Range::default(), None).await.unwrap();
    listed.items.into_iter().map(|item| (item.key.clone(), item)).collect()
}

/// Creates, updates and deletes, until about `bytes` of log are written.
async fn churn(store: &dyn Store, bytes: usize) {
    for index in 0..bytes / 300 {
        let (key, value) = (format!("churn/{}", index % 7), vec![b'x'; 200]);
        match store.get(&key, None).await.unwrap() {
            None => create(store, &key, value).await.unwrap(),
            Some(old) if index % 3 == 0 => {
                store.commit(Write::Delete { key, expected: old.modified }).await.unwrap()
            }
            Some(old) => {
                let expected = old.modified;
                let update = Write::Update { key, value: value.into(), expected, ttl: None };
                store.commit(update).await.unwrap()
            }
        };
    }
}

#[tokio::test]
async fn what_was_written_is_there_after_reopening_closed_or_not() {
    let folder = tempfile::tempdir().unwrap();
    let mut before = BTreeMap::new();
    for round in 0..6 {
        let store = open_in(folder.path()).await.unwrap();
        assert_eq!(all(&*store).await, before, "round {round}");
        churn(&*store, 4000).await;
        create(&*store, &format!("round/{round}"), "1").await.unwrap();
        before = all(&*store).await;
        let revision = store.current().await.unwrap();
        if round % 2 == 0 {
            store.close().await.unwrap();
        }
        drop(store);
        let again = open_in(folder.path()).await.unwrap();
        assert_eq!(again.current().await.unwrap(), revision);
    }
}

#[tokio::test]
async fn revisions_before_the_checkpoint_are_compacted_after_a_start() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_in(folder.path()).await.unwrap();
    let first = create(&*store, "a", "1").await.unwrap();
    let second = create(&*store, "b", "1").await.unwrap();
    store.close().await.unwrap();
    drop(store);
    let store = open_in(folder.path()).await.unwrap();
    assert!(matches!(store.watch("", first).await.err(), Some(StoreError::Compacted { .. })));
    assert!(store.watch("", second).await.is_ok());
}

#[tokio::test]
async fn covered_segments_are_deleted_and_the_folder_stays_small() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_in(folder.path()).await.unwrap();
    let segments = || std::fs::read_dir(folder.path().join("log")).unwrap().count();
    let deleted = async {
        for _ in 0..6 {
            churn(&*store, 12_000).await;
            // Checkpoints run beside the writes, and a write is what begins one that is due.
            while segments() >= 12 {
                tokio::time::sleep(Duration::from_millis(10)).await;
                churn(&*store, 600).await;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), deleted).await.expect("segments are deleted");
    let before = all(&*store).await;
    store.close().await.unwrap();
    drop(store);
    assert!(segments() < 24, "{} segments of 72,000 bytes or more in all", segments());
    let first = folder.path().join("log/00000000000000000002.log");
    assert!(!first.exists());
    assert_eq!(all(&*open_in(folder.path()).await.unwrap()).await, before);
}

#[tokio::test]
async fn damaged_sled_files_cost_only_time() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_in(folder.path()).await.unwrap();
    churn(&*store, 3000).await;
    let before = all(&*store).await;
    store.close().await.unwrap();
    drop(store);
    for slot in ["a", "b"] {
        let _ = std::fs::write(folder.path().join("index").join(slot).join("db"), [9; 5000]);
    }
    assert_eq!(all(&*open_in(folder.path()).await.unwrap()).await, before);
    std::fs::remove_dir_all(folder.path().join("index")).unwrap();
    assert_eq!(all(&*open_in(folder.path()).await.unwrap()).await, before);
}

#[tokio::test]
async fn a_time_to_live_outlives_the_process() {
    let folder = tempfile::tempdir().unwrap();
    for closes in [false, true] {
        let store = open_in(folder.path()).await.unwrap();
        let ttl = Some(Duration::from_millis(400));
        let write = Write::Create { key: "event".to_owned(), value: "1".into(), ttl };
        store.commit(write).await.unwrap();
        if closes {
            store.close().await.unwrap();
        }
        drop(store);
        let store = open_in(folder.path()).await.unwrap();
        let gone = async {
            while store.get("event", None).await.unwrap().is_some() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), gone).await.unwrap();
    }
}

#[tokio::test]
async fn a_second_process_is_told_that_the_folder_is_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), small(), &Ambient::real()).await.unwrap();
    let error = open(folder.path(), small(), &Ambient::real()).await.err().unwrap();
    assert!(matches!(error, StoreError::Locked { .. }));
    assert!(error.to_string().contains(folder.path().to_str().unwrap()));
    drop(store);
    assert!(open_in(folder.path()).await.is_ok());
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let dir = file.join("data");
    let error = open_in(&dir).await.err().unwrap();
    assert!(matches!(error, StoreError::Unavailable(_)));
    assert!(error.to_string().contains(file.to_str().unwrap()), "{error}");
}

#[tokio::test]
async fn damage_in_the_log_refuses_to_open() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_in(folder.path()).await.unwrap();
    create(&*store, "a", "1").await.unwrap();
    create(&*store, "b", "1").await.unwrap();
    drop(store);
    let path = folder.path().join("log/00000000000000000002.log");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[30] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let error = open_in(folder.path()).await.err().unwrap();
    assert!(matches!(error, StoreError::Damaged { .. }));
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
}

#[tokio::test]
async fn a_full_disk_refuses_writes_but_not_reads_and_recovers() {
    let disk = FaultyDisk::default();
    let store = open_on(&disk).await.unwrap();
    let first = create(&*store, "a", "1").await.unwrap();
    for room in [0, 10, 50] {
        disk.set_room(Some(room));
        let error = create(&*store, "b", "2").await.unwrap_err();
        assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
        assert_eq!(store.get("a", None).await.unwrap().unwrap().modified, first);
        assert_eq!(store.get("b", None).await.unwrap(), None);
        assert_eq!(store.current().await.unwrap(), first);
    }
    let cut = disk.after_power_cut(|| 0);
    assert_eq!(all(&*open_on(&cut).await.unwrap()).await.len(), 1);
    disk.set_room(None);
    assert_eq!(create(&*store, "b", "3").await.unwrap().0, first.0 + 1);
    drop(store);
    let store = open_on(&disk).await.unwrap();
    assert_eq!(store.get("b", None).await.unwrap().unwrap().value, "3");
}

#[tokio::test]
async fn a_failed_sync_leaves_the_outcome_unknown_and_the_store_readable() {
    let disk = FaultyDisk::default();
    let store = open_on(&disk).await.unwrap();
    create(&*store, "a", "1").await.unwrap();
    disk.set_sync_fails(true);
    assert!(matches!(create(&*store, "b", "1").await, Err(StoreError::OutcomeUnknown(_))));
    disk.set_sync_fails(false);
    assert!(matches!(create(&*store, "c", "1").await, Err(StoreError::Unavailable(_))));
    assert!(store.get("a", None).await.unwrap().is_some());
}

/// A small generator: a power cut must be repeatable from its seed.
fn seeded(mut seed: u64) -> impl FnMut() -> u64 {
    move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed >> 11
    }
}

/// Every value says which key it belongs to, and is long enough to be torn.
fn long_value(key: &str) -> Bytes {
    key.repeat(1 + key.len() * 97 % 301).into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_power_cut_at_any_moment_loses_nothing_acknowledged() {
    for seed in 1..=40_u64 {
        let mut random = seeded(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let disk = FaultyDisk::default();
        let store = open_on(&disk).await.unwrap();
        let acknowledged: Arc<Mutex<BTreeMap<String, Revision>>> = Arc::default();
        let writers: Vec<_> = (0..8)
            .map(|writer| {
                let (store, acknowledged) = (store.clone(), acknowledged.clone());
                tokio::spawn(async move {
                    for index in 0..1000 {
                        let key = format!("{writer}/{index}");
                        let Ok(revision) = create(&*store, &key, long_value(&key)).await else {
                            return;
                        };
                        acknowledged.lock().insert(key, revision);
                    }
                })
            })
            .collect();
        for _ in 0..3 {
            // Not a wait for anything: the seed chooses the moment of the cut.
            tokio::time::sleep(Duration::from_micros(random() % 4000)).await;
            // The order matters: what is acknowledged by now must survive a cut from now on.
            let promised = acknowledged.lock().clone();
            let cut = disk.after_power_cut(&mut random);
            check_survivors(&cut, &promised, seed).await;
        }
        writers.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

async fn check_survivors(cut: &FaultyDisk, promised: &BTreeMap<String, Revision>, seed: u64) {
    let store = open_on(cut).await.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    let found = all(&*store).await;
    for (key, revision) in promised {
        let survivor = found.get(key).unwrap_or_else(|| panic!("seed {seed}: {key} is lost"));
        assert_eq!(survivor.modified, *revision, "seed {seed}");
    }
    for (key, item) in &found {
        assert_eq!(item.value, long_value(key), "seed {seed}: {key} is half written");
    }
    // One revision each, without a gap.
    assert_eq!(store.current().await.unwrap().0, 1 + found.len() as u64, "seed {seed}");
    create(&*store, "after", "1").await.unwrap();
    drop(store);
    assert_eq!(all(&*open_on(cut).await.unwrap()).await.len(), found.len() + 1, "seed {seed}");
}

#[tokio::test]
async fn the_log_is_synced_before_a_write_is_acknowledged() {
    let disk = FaultyDisk::default();
    let store = open_on(&disk).await.unwrap();
    for index in 0..30 {
        let revision = create(&*store, &format!("{index}"), vec![b'x'; 200]).await.unwrap();
        disk.note(Operation::Acknowledged(revision.0));
    }
    let mut written = Vec::new();
    let mut acknowledged = 0;
    for operation in disk.operations() {
        match operation {
            Operation::Write { path, .. } => written.push(path),
            Operation::Sync(path) => written.retain(|other| *other != path),
            Operation::Acknowledged(revision) => {
                assert!(written.is_empty(), "revision {revision}: {written:?} not yet synced");
                acknowledged += 1;
            }
            Operation::Create(_)
            | Operation::SetLen(_)
            | Operation::Remove(_)
            | Operation::SyncDir(_) => {}
        }
    }
    assert_eq!(acknowledged, 30);
    // And a new segment's name is synced before what is in it is acknowledged.
    let operations = disk.operations();
    let created = operations.iter().filter(|one| matches!(one, Operation::Create(_))).count();
    let synced = operations.iter().filter(|one| matches!(one, Operation::SyncDir(_))).count();
    assert!(created > 2 && synced >= created);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_writes_share_syncs() {
    let disk = FaultyDisk::default();
    let store = open_on(&disk).await.unwrap();
    disk.set_sync_takes(Duration::from_millis(4));
    let writers = (0..16).map(|writer| {
        let store = store.clone();
        tokio::spawn(async move {
            for index in 0..20 {
                create(&*store, &format!("{writer}/{index}"), "1").await.unwrap();
            }
        })
    });
    futures::future::join_all(writers).await;
    let syncs = disk.operations().iter().filter(|one| matches!(one, Operation::Sync(_))).count();
    assert!(syncs < 120, "{syncs} syncs for 320 writes");
}

const CHILD_DIR: &str = "COPEPOD_STORE_TEST_CHILD_DIR";
const CHILD_START: &str = "COPEPOD_STORE_TEST_CHILD_START";

/// The body of the child processes below; does nothing when run as a test of its own.
#[test]
fn child_writes_until_killed() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let start: u64 = std::env::var(CHILD_START).unwrap().parse().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = open_in(Path::new(&dir)).await.unwrap();
        let writers = (0..4).map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                for index in start..start + 100_000 {
                    let key = format!("{writer}/{index}");
                    let revision = create(&*store, &key, long_value(&key)).await.unwrap();
                    println!("ack {key} {revision}");
                }
            })
        });
        futures::future::join_all(writers).await;
    });
}

fn child(dir: &Path, start: u64, program: &[&str]) -> Command {
    let exe = std::env::current_exe().unwrap();
    let exe = exe.to_str().unwrap();
    let test = "store::sled::tests::child_writes_until_killed";
    let words: Vec<&str> =
        [program, &[exe, test, "--exact", "--nocapture", "--test-threads=1"]].concat();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).env(CHILD_DIR, dir).env(CHILD_START, start.to_string());
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

#[tokio::test]
async fn sigkill_at_any_moment_loses_nothing_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = BTreeMap::new();
    for round in 0..6_u64 {
        let mut child = child(folder.path(), round * 100_000, &[]).spawn().unwrap();
        let wanted = 50 + usize::try_from(round).unwrap() * 37;
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut seen = 0;
        let mut take = |line: std::io::Result<String>| {
            let line = line.unwrap();
            // A line that the kill has cut is no acknowledgement that was heard.
            let mut words = line.split(' ').skip_while(|word| !word.ends_with("ack")).skip(1);
            if let (Some(key), Some(Ok(revision))) =
                (words.next(), words.next().map(str::parse::<u64>))
            {
                acknowledged.insert(key.to_owned(), revision);
                seen += 1;
            }
            seen
        };
        while lines.next().map(&mut take).expect("the child goes on") < wanted {}
        child.kill().unwrap();
        child.wait().unwrap();
        // What it printed before it was killed, but for the last line, which may be cut short.
        let rest: Vec<_> = lines.map_while(Result::ok).collect();
        rest[..rest.len().saturating_sub(1)].iter().cloned().map(Ok).for_each(|line| {
            take(line);
        });
        let store = open_in(folder.path()).await.unwrap();
        let found = all(&*store).await;
        for (key, revision) in &acknowledged {
            assert_eq!(found[key].modified.0, *revision, "round {round}: {key}");
        }
        assert!(found.iter().all(|(key, item)| item.value == long_value(key)));
        assert_eq!(store.current().await.unwrap().0, 1 + found.len() as u64);
        if round % 2 == 1 {
            store.close().await.unwrap();
        }
    }
}

/// Beside the test on the disk layer's own record: what the kernel sees, where strace is installed
/// and may trace.
#[test]
fn the_kernel_sees_fdatasync_before_each_acknowledgement() {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    let program = ["strace", "-f", "-y", "-qq", "-s", "64", "-o", trace.to_str().unwrap(), "-e"];
    let program = [&program[..], &["trace=pwrite64,fdatasync,write"]].concat();
    let dir = folder.path().join("data");
    let spawned = child(&dir, 0, &program).spawn();
    let Ok(mut child) = spawned else {
        eprintln!("strace is not installed: only the disk layer's record was checked");
        return;
    };
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let acks = lines.map_while(Result::ok).filter(|line| line.contains("ack ")).take(40).count();
    child.kill().unwrap();
    child.wait().unwrap();
    if acks == 0 {
        eprintln!("strace may not trace here: only the disk layer's record was checked");
        return;
    }
    let text = String::from_utf8_lossy(&std::fs::read(&trace).unwrap()).into_owned();
    let (mut syncs, mut unsynced, mut checked) = (0, false, 0);
    // Revision r is in a group that was synced before r's line is printed: count what each sync
    // can have covered by the groups written, which is at most the four writers' one write each.
    for line in text.lines() {
        if line.contains("pwrite64(") && line.contains(".log>") {
            unsynced = true;
        } else if line.contains("fdatasync") && line.ends_with("= 0") {
            syncs += 1;
            unsynced = false;
        } else if line.contains("write(1") && line.contains("ack ") {
            checked += 1;
            assert!(checked <= syncs * 4, "acknowledgement {checked} after {syncs} syncs:\n{text}");
        }
    }
    assert!(checked > 0 && syncs > 0 && (!unsynced || syncs * 4 >= checked));
}
