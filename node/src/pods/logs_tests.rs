use std::sync::Arc;

use super::*;
use crate::ambient::Clock;

struct Ticks(Mutex<i64>);

impl Clock for Ticks {
    fn now(&self) -> Timestamp {
        let mut second = self.0.lock();
        *second += 1;
        Timestamp::from_second(1_700_000_000 + *second).unwrap()
    }
}

fn writer(folder: &Path, rotation: Rotation) -> Arc<LogWriter> {
    let ambient = Ambient::new(Arc::new(Ticks(Mutex::new(0))));
    Arc::new(LogWriter::new(log_path(folder, "c", 0), rotation, ambient))
}

async fn text(source: LogSource, query: LogQuery) -> String {
    let mut chunks = read(source, query);
    let mut all = Vec::new();
    while let Some(chunk) = chunks.recv().await {
        all.extend_from_slice(&chunk.unwrap());
    }
    String::from_utf8(all).unwrap()
}

fn query(parameters: &[(&str, &str)]) -> Result<LogQuery, String> {
    let map = parameters.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    LogQuery::parse(&map, Timestamp::from_second(1_700_000_010).unwrap())
}

#[tokio::test]
async fn lines_come_back_as_they_were_written() {
    let folder = tempfile::tempdir().unwrap();
    let log = writer(folder.path(), Rotation::default());
    log.write(OutputStream::Stdout, b"one\ntw");
    log.write(OutputStream::Stderr, b"error\n");
    log.write(OutputStream::Stdout, b"o\n\nend");
    log.close();
    let on_disk = fs::read_to_string(log_path(folder.path(), "c", 0)).unwrap();
    assert_eq!(on_disk.lines().next().unwrap(), "2023-11-14T22:13:21.000000000Z stdout F one");
    let all = text(log.source(), LogQuery::default()).await;
    assert_eq!(all, "one\nerror\ntwo\n\nend\n");
    let tail = LogQuery { tail_lines: Some(2), ..LogQuery::default() };
    assert_eq!(text(log.source(), tail).await, "\nend\n");
    let none = LogQuery { tail_lines: Some(0), ..LogQuery::default() };
    assert_eq!(text(log.source(), none).await, "");
    let limited = LogQuery { limit_bytes: Some(5), ..LogQuery::default() };
    assert_eq!(text(log.source(), limited).await, "one\ne");
    let since = LogQuery {
        since: Some(Timestamp::from_second(1_700_000_002).unwrap()),
        timestamps: true,
        ..LogQuery::default()
    };
    let shown = text(log.source(), since).await;
    assert!(shown.starts_with("2023-11-14T22:13:22.000000000Z error\n"), "{shown}");
}

#[tokio::test]
async fn long_lines_are_stored_in_pieces_and_shown_whole() {
    let folder = tempfile::tempdir().unwrap();
    let log = writer(folder.path(), Rotation::default());
    let long = "x".repeat(PIECE * 2 + 10);
    log.write(OutputStream::Stdout, format!("{long}\nshort\n").as_bytes());
    log.close();
    let on_disk = fs::read_to_string(log_path(folder.path(), "c", 0)).unwrap();
    assert_eq!(on_disk.lines().filter(|line| line.contains(" P ")).count(), 2);
    assert_eq!(text(log.source(), LogQuery::default()).await, format!("{long}\nshort\n"));
}

#[tokio::test]
async fn a_log_is_rotated_and_read_across_its_parts() {
    let folder = tempfile::tempdir().unwrap();
    let log = writer(folder.path(), Rotation { bytes: 100, parts: 3 });
    for n in 0..12 {
        log.write(OutputStream::Stdout, format!("line {n}\n").as_bytes());
    }
    log.close();
    let shown = text(log.source(), LogQuery::default()).await;
    assert!(shown.ends_with("line 10\nline 11\n"), "{shown}");
    assert!(!shown.contains("line 0\n"), "the oldest part is gone");
    let tail = LogQuery { tail_lines: Some(4), ..LogQuery::default() };
    assert_eq!(text(log.source(), tail).await, "line 8\nline 9\nline 10\nline 11\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_sees_what_comes_until_the_container_ends() {
    let folder = tempfile::tempdir().unwrap();
    let log = writer(folder.path(), Rotation { bytes: 100, parts: 3 });
    let follow = LogQuery { follow: true, ..LogQuery::default() };
    let mut chunks = read(log.source(), follow);
    for n in 0..6 {
        let line = format!("line {n}\n");
        log.write(OutputStream::Stdout, line.as_bytes());
        let seen = tokio::time::timeout(std::time::Duration::from_secs(20), chunks.recv()).await;
        assert_eq!(seen.expect("it is followed").unwrap().unwrap(), line);
    }
    log.close();
    assert!(chunks.recv().await.is_none());
}

#[test]
fn queries_are_parsed_and_mistakes_named() {
    let parsed = query(&[("follow", "true"), ("tailLines", "5"), ("sinceSeconds", "10")]).unwrap();
    assert!(parsed.follow && !parsed.previous);
    assert_eq!(parsed.tail_lines, Some(5));
    assert_eq!(parsed.since, Some(Timestamp::from_second(1_700_000_000).unwrap()));
    assert!(query(&[("tailLines", "-1")]).unwrap_err().contains("tailLines"));
    assert!(query(&[("sinceTime", "yesterday")]).unwrap_err().contains("sinceTime"));
    assert!(query(&[("follow", "maybe")]).unwrap_err().contains("follow"));
}
