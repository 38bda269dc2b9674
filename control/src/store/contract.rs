//! The one suite that every backend passes. A backend gives a factory, and
//! `contract::tests!(factory)` makes a test of each function here.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;

use super::{Change, Changes, History, Range, Revision, Store, StoreError, WatchItem, Write};

/// A fresh store, and the folder that goes when the test is over.
pub struct Fixture {
    pub store: Arc<dyn Store>,
    pub _folder: Option<tempfile::TempDir>,
}

macro_rules! tests {
    ($factory:path) => {
        $crate::store::contract::tests!(@each $factory;
            a_create_succeeds_only_where_nothing_is,
            an_update_and_a_delete_need_the_expected_revision,
            a_conflict_tells_what_is_there,
            every_write_raises_the_revision_by_one,
            a_read_may_name_an_older_revision,
            a_read_in_the_future_is_refused,
            a_list_goes_by_prefix_in_byte_order,
            a_list_is_cut_at_its_limit_and_goes_on_behind_a_key,
            a_list_that_goes_on_sees_the_revision_it_began_with,
            a_watch_replays_then_follows,
            a_watch_sees_only_its_prefix_but_all_progress,
            a_watch_tells_progress_once_it_has_told_all,
            a_watch_from_the_future_begins_there,
            a_compacted_revision_is_refused,
            a_watcher_that_falls_behind_is_told,
            history_within_its_limits_is_forgotten_by_itself,
            an_expired_value_is_deleted_with_its_own_revision,
            an_update_replaces_the_time_to_live,
            concurrent_writers_lose_nothing,
            of_many_updates_expecting_one_revision_one_wins,
            a_closed_store_refuses_writes_and_ends_watches,
        );
    };
    (@each $factory:path; $($name:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                $crate::store::contract::$name(async |history| $factory(history).await).await;
            }
        )*
    };
}
pub(crate) use tests;

const PATIENCE: Duration = Duration::from_secs(20);

fn value(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

async fn create(store: &dyn Store, key: &str, text: &str) -> Result<Revision, StoreError> {
    store.commit(Write::Create { key: key.to_owned(), value: value(text), ttl: None }).await
}

async fn update(
    store: &dyn Store,
    key: &str,
    text: &str,
    expected: Revision,
) -> Result<Revision, StoreError> {
    let write = Write::Update { key: key.to_owned(), value: value(text), expected, ttl: None };
    store.commit(write).await
}

async fn delete(store: &dyn Store, key: &str, expected: Revision) -> Result<Revision, StoreError> {
    store.commit(Write::Delete { key: key.to_owned(), expected }).await
}

fn range(prefix: &str) -> Range {
    Range { prefix: prefix.to_owned(), ..Range::default() }
}

async fn keys(store: &dyn Store, range: Range, at: Option<Revision>) -> (Vec<String>, bool) {
    let listed = store.list(range, at).await.unwrap();
    (listed.items.into_iter().map(|item| item.key).collect(), listed.more)
}

async fn next(changes: &mut Changes) -> Result<WatchItem, StoreError> {
    let next = tokio::time::timeout(PATIENCE, changes.next()).await;
    next.expect("the watch should yield").expect("the watch should go on")
}

/// The next change, whatever progress comes before it.
async fn next_change(changes: &mut Changes) -> Change {
    loop {
        if let WatchItem::Change(change) = next(changes).await.unwrap() {
            return change;
        }
    }
}

fn change(key: &str, revision: Revision, text: Option<&str>) -> Change {
    Change { key: key.to_owned(), revision, value: text.map(value) }
}

pub async fn a_create_succeeds_only_where_nothing_is(new: impl AsyncFn(History) -> Fixture) {
    let fixture = new(History::default()).await;
    let store = &*fixture.store;
    let first = create(store, "a", "1").await.unwrap();
    assert!(matches!(create(store, "a", "2").await, Err(StoreError::Exists { .. })));
    let stored = store.get("a", None).await.unwrap().unwrap();
    assert_eq!((stored.value, stored.created, stored.modified), (value("1"), first, first));
    let gone = delete(store, "a", first).await.unwrap();
    assert_eq!(store.get("a", None).await.unwrap(), None);
    let again = create(store, "a", "3").await.unwrap();
    assert!(again > gone);
    assert_eq!(store.get("a", None).await.unwrap().unwrap().created, again);
}

pub async fn an_update_and_a_delete_need_the_expected_revision(
    new: impl AsyncFn(History) -> Fixture,
) {
    let fixture = new(History::default()).await;
    let store = &*fixture.store;
    let first = create(store, "a", "1").await.unwrap();
    let second = update(store, "a", "2", first).await.unwrap();
    assert!(matches!(update(store, "a", "3", first).await, Err(StoreError::Conflict { .. })));
    assert!(matches!(delete(store, "a", first).await, Err(StoreError::Conflict { .. })));
    let stored = store.get("a", None).await.unwrap().unwrap();
    assert_eq!((stored.value, stored.created, stored.modified), (value("2"), first, second));
    delete(store, "a", second).await.unwrap();
    assert_eq!(store.get("a", None).await.unwrap(), None);
}

pub async fn a_conflict_tells_what_is_there(new: impl AsyncFn(History) -> Fixture) {
    let fixture = new(History::default()).await;
    let store = &*fixture.store;
    let first = create(store, "a", "1").await.unwrap();
    let Err(StoreError::Conflict { key, current }) = update(store, "a", "2", Revision(0)).await
    else {
        panic!("a conflict is expected")
    };
    assert_eq!((key.as_str(), current.unwrap().modified), ("a", first));
    let missing = update(store, "b", "2", first).await;
    assert!(matches!(missing, Err(StoreError::Conflict { current: None, .. })));
    let missing = delete(store, "b", first).await;
    assert!(matches!(missing, Err(StoreError::Conflict { current: None, .. })));
}

pub async fn every_write_raises_the_revision_by_one(new: impl AsyncFn(History) -> Fixture) {
    let fixture = new(History::default()).await;
    let store = &*fixture.store;
    let start = store.current().await.unwrap();
    assert!(start.0 > 0, "0 means any revision to clients");
    let first = create(store, "a", "1").await.unwrap();
    let second = update(store, "a", "2", first).await.unwrap();
    let _ = create(store, "a", "refused").await;
    let third = delete(store, "a", second).await.unwrap();
    assert_eq!([first.0, second.0, third.0], [start.0 + 1, start.0 + 2, start.0 + 3]);
    assert_eq!(store.current().await.unwrap(), third);
}

pub async fn a_read_may_name_an_older_revision(new: impl AsyncFn(History) -> Fixture) {
    let fixture = new(History::default()).await;
    let store = &*fixture.store;
    let start = store.current().await.unwrap();
    let first = create(store, "a", "1").await.unwrap();
    let second = update(store, "a", "2", first).await.unwrap();
    let other = create(store, "b", "1").await.unwrap();
    let gone = delete(store, "a", second).await.unwrap();
    assert_eq!(store.get("a", Some(start)).await.unwrap(), None);
    let old = store.get("a", Some(first)).await.unwrap().unwrap();
    assert_eq!((old.value, old.modified), (value("1"), first));
    assert_eq!(store.get("a", Some(other)).await.unwrap().unwrap().modified, second);
    assert_eq!(store.get("a", Some(gone)).await.unwrap(), None);
    assert_eq!(keys(store, range(""), Some(second)).await.0, ["a"]);
    assert_eq!(keys(store, range(""), Some(other)).await.0, ["a", "b"]);
    assert_eq!(keys(store, range(""), Some(gone)).await.0, ["b"]);
    assert_eq!(store.list(range(""), Some(second)).await.unwrap().revision, second);
    assert_eq!(store.list(range(""), None).await.unwrap().revision, gone);
}

pub async fn a_read_in_the_future_is_refused(new: impl AsyncFn(History) -> Fixture) {
    let fixture = new(History::default()).await;
    let store = &*fixture.store;
    let future = Revision(store.current().await.unwrap().0 + 1);
    assert!(matches!(store.get("a", Some(future)).await, Err(StoreError::Future { .. })));
    assert!(matches!(store.list(range(""), Some(future)).await, Err(StoreError::Future { .. })));
    assert!(matches!(store.compact(future).await, Err(StoreError::Future { .. })));
}

pub async fn a_list_goes_by_prefix_in_byte_order(new: impl AsyncFn(History) -> Fixture) {
    let fixture = new(History::default()).await;
    let store = &*fixture.store;
    for key in ["pods/b/x", "pods/a/y", "pods/a-b/x", "podsx", "nodes/n", "pods/a/\u{e9}"] {
        create(store, key, "1").await.unwrap();
    }
    let cases: [(&str, &[&str]); 4] = [
        ("pods/", &["pods/a-b/x", "pods/a/y", "pods/a/\u{e9}", "pods/b/x"]),
        ("pods/a/", &["pods/a/y", "pods/a/\u{e9}"]),
        ("none/", &[]),
        ("n", &["nodes/n"]),
    ];
    for (prefix, expected) in cases {
        assert_eq!(keys(store, range(prefix), None).await.0, expected, "{prefix}");
    }
    assert_eq!(keys(store, range(""), None).await.0.len(), 6);
}

pub async fn a_list_is_cut_at_its_limit_and_goes_on_behind_a_key(
    new: impl AsyncFn(History) -> Fixture,
) {
    let fixture = new(History::default()).await;
    let store = &*fixture.store;
    for key in ["a/1", "a/2", "a/3", "a/4", "b/1"] {
        create(store, key, "1").await.unwrap();
    }
    let page = |after: Option<&str>, limit| Range {
        prefix: "a/".to_owned(),
        after: after.map(str::to_owned),
        limit,
        count: true,
    };
    let cases: [(Option<&str>, usize, &[&str], usize); 6] = [
        (None, 2, &["a/1", "a/2"], 2),
        (Some("a/2"), 2, &["a/3", "a/4"], 0),
        (Some("a/22"), 1, &["a/3"], 1),
        (None, 4, &["a/1", "a/2", "a/3", "a/4"], 0),
        (Some("a/4"), 2, &[], 0),
        (Some("A"), 1, &["a/1"], 3),
    ];
    for (after, limit, expected, rest) in cases {
        let listed = store.list(page(after, limit), None).await.unwrap();
        assert_eq!(listed.rest, Some(rest), "{after:?}");
        let found = keys(store, page(after, limit), None).await;
        assert_eq!((found.0.as_slice(), found.1), (&*to_strings(expected), rest > 0), "{after:?}");
    }
}

fn to_strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

pub async fn a_list_that_goes_on_sees_the_revision_it_began_with(
    new: impl AsyncFn(History) -> Fixture,
) {
    let fixture = new(History::default()).await;
    let store = &*fixture.store;
    create(store, "a", "1").await.unwrap();
    let second = create(store, "c", "1").await.unwrap();
    let page = Range { limit: 1, ..Range::default() };
    let first = store.list(page.clone(), None).await.unwrap();
    create(store, "b", "1").await.unwrap();
    delete(store, "c", second).await.unwrap();
    let rest = Range { after: Some("a".to_owned()), limit: 0, ..page };
    assert_eq!(keys(store, rest.clone(), Some(first.revision)).await.0, ["c"]);
    assert_eq!(keys(store, rest, None).await.0, ["b"]);
}

pub async fn a_watch_replays_then_follows(new: impl AsyncFn(History) -> Fixture) {
    let fixture = new(History::default()).await;
    let store = &*fixture.store;
    let first = create(store, "a", "1").await.unwrap();
    let second = update(store, "a", "2", first).await.unwrap();
    let third = delete(store, "a", second).await.unwrap();
    let mut changes = store.watch("", first).await.unwrap();
    assert_eq!(next_change(&mut changes).await, change("a", second, Some("2")));
    assert_eq!(next_change(&mut changes).await, change("a", third, None));
    let fourth = create(store, "b", "1").await.unwrap();
    assert_eq!(next_change(&mut changes).await, change("b", fourth, Some("1")));
}

pub async fn a_watch_sees_only_its_prefix_but_all_progress(new: impl AsyncFn(History) -> Fixture) {
    let fixture = new(History::default()).await;
    let store = &*fixture.store;
    let start = store.current().await.unwrap();
    let mut changes = store.watch("a/", start).await.unwrap();
    for index in 0..2000 {
        create(store, &format!("b/{index}"), "1").await.unwrap();
    }
    let last = create(store, "b/last", "1").await.unwrap();
    loop {
        match next(&mut changes).await.unwrap() {
            WatchItem::Progress(revision) if revision == last => break,
            WatchItem::Progress(revision) => assert!(revision < last),
            WatchItem::Change(change) => panic!("{change:?} is not watched"),
        }
    }
    let wanted = create(store, "a/x", "1").await.unwrap();
    assert_eq!(next_change(&mut changes).await, change("a/x", wanted, Some("1")));
}

pub async fn a_watch_tells_progress_once_it_has_told_all(new: impl AsyncFn(History) -> Fixture) {
    let fixture = new(History::default()).await;
    let store = &*fixture.store;
    let start = store.current().await.unwrap();
    let mut idle = store.watch("", start).await.unwrap();
    assert_eq!(next(&mut idle).await.unwrap(), WatchItem::Progress(start));
    let first = create(store, "a", "1").await.unwrap();
    let second = create(store, "b", "1").await.unwrap();
    let mut changes = store.watch("", start).await.unwrap();
    let mut seen = start;
    loop {
        match next(&mut changes).await.unwrap() {
            WatchItem::Change(change) => {
                assert_eq!(change.revision.0, seen.0 + 1);
                seen = change.revision;
            }
            WatchItem::Progress(revision) => {
                assert_eq!(revision, seen);
                if revision == second {
                    break;
                }
            }
        }
    }
    assert!(first < second);
}

pub async fn a_watch_from_the_future_begins_there(new: impl AsyncFn(History) -> Fixture) {
    let fixture = new(History::default()).await;
    let store = &*fixture.store;
    let start = store.current().await.unwrap();
    let mut changes = store.watch("", Revision(start.0 + 2)).await.unwrap();
    create(store, "a", "1").await.unwrap();
    create(store, "b", "1").await.unwrap();
    let third = create(store, "c", "1").await.unwrap();
    assert_eq!(next_change(&mut changes).await, change("c", third, Some("1")));
}

pub async fn a_compacted_revision_is_refused(new: impl AsyncFn(History) -> Fixture) {
    let fixture = new(History::default()).await;
    let store = &*fixture.store;
    let first = create(store, "a", "1").await.unwrap();
    let second = update(store, "a", "2", first).await.unwrap();
    let third = update(store, "a", "3", second).await.unwrap();
    store.compact(second).await.unwrap();
    store.compact(first).await.unwrap();
    let refused = |error| matches!(error, StoreError::Compacted { asked, oldest } if (asked, oldest) == (first, second));
    assert!(refused(store.get("a", Some(first)).await.unwrap_err()));
    assert!(refused(store.list(range(""), Some(first)).await.unwrap_err()));
    assert!(refused(store.watch("", first).await.err().unwrap()));
    assert_eq!(store.get("a", Some(second)).await.unwrap().unwrap().value, value("2"));
    assert_eq!(store.get("a", None).await.unwrap().unwrap().value, value("3"));
    let mut changes = store.watch("", second).await.unwrap();
    assert_eq!(next_change(&mut changes).await, change("a", third, Some("3")));
}

pub async fn a_watcher_that_falls_behind_is_told(new: impl AsyncFn(History) -> Fixture) {
    let fixture = new(History::default()).await;
    let store = &*fixture.store;
    let start = store.current().await.unwrap();
    let mut changes = store.watch("", start).await.unwrap();
    create(store, "a", "1").await.unwrap();
    let second = create(store, "b", "1").await.unwrap();
    store.compact(second).await.unwrap();
    assert!(matches!(next(&mut changes).await, Err(StoreError::Compacted { .. })));
    let end = tokio::time::timeout(PATIENCE, changes.next()).await.unwrap();
    assert!(end.is_none());
}

pub async fn history_within_its_limits_is_forgotten_by_itself(
    new: impl AsyncFn(History) -> Fixture,
) {
    let fixture = new(History { changes_max: 5, ..History::default() }).await;
    let store = &*fixture.store;
    let mut last = create(store, "a", "0").await.unwrap();
    let first = last;
    for _ in 0..10 {
        last = update(store, "a", "1", last).await.unwrap();
    }
    assert!(matches!(store.watch("", first).await.err(), Some(StoreError::Compacted { .. })));
    assert!(store.watch("", Revision(last.0 - 5)).await.is_ok());
}

async fn create_for(store: &dyn Store, key: &str, ttl: Duration) -> Revision {
    let write = Write::Create { key: key.to_owned(), value: value("1"), ttl: Some(ttl) };
    store.commit(write).await.unwrap()
}

pub async fn an_expired_value_is_deleted_with_its_own_revision(
    new: impl AsyncFn(History) -> Fixture,
) {
    let fixture = new(History::default()).await;
    let store = &*fixture.store;
    create(store, "stays", "1").await.unwrap();
    create_for(store, "later", Duration::from_secs(600)).await;
    let first = create_for(store, "a", Duration::from_millis(50)).await;
    let second = create_for(store, "b", Duration::from_millis(50)).await;
    let mut changes = store.watch("", second).await.unwrap();
    let mut gone = [next_change(&mut changes).await, next_change(&mut changes).await];
    assert_eq!(gone.each_ref().map(|change| change.revision.0), [second.0 + 1, second.0 + 2]);
    gone.sort_by(|a, b| a.key.cmp(&b.key));
    assert_eq!(
        gone.map(|change| (change.key, change.value)),
        [("a".to_owned(), None), ("b".to_owned(), None)]
    );
    assert_eq!(keys(store, range(""), None).await.0, ["later", "stays"]);
    assert!(store.get("a", Some(first)).await.unwrap().is_some());
}

pub async fn an_update_replaces_the_time_to_live(new: impl AsyncFn(History) -> Fixture) {
    let fixture = new(History::default()).await;
    let store = &*fixture.store;
    let ttl = Duration::from_millis(300);
    let kept = create_for(store, "kept", ttl).await;
    let kept = update(store, "kept", "2", kept).await.unwrap();
    let last = create_for(store, "marker", ttl).await;
    let mut changes = store.watch("", last).await.unwrap();
    assert_eq!(next_change(&mut changes).await.key, "marker");
    assert_eq!(store.get("kept", None).await.unwrap().unwrap().modified, kept);
}

pub async fn concurrent_writers_lose_nothing(new: impl AsyncFn(History) -> Fixture) {
    const WRITERS: u64 = 16;
    const WRITES: u64 = 50;
    let fixture = new(History::default()).await;
    let start = fixture.store.current().await.unwrap();
    let tasks: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let store = fixture.store.clone();
            tokio::spawn(async move {
                let mut revisions = Vec::new();
                for index in 0..WRITES {
                    let key = format!("{writer}/{index}");
                    revisions.push(create(&*store, &key, &key).await.unwrap());
                    assert!(store.current().await.unwrap() >= revisions[revisions.len() - 1]);
                }
                revisions
            })
        })
        .collect();
    let mut revisions = Vec::new();
    for task in tasks {
        revisions.extend(task.await.unwrap().into_iter().map(|revision| revision.0));
    }
    revisions.sort_unstable();
    let expected: Vec<u64> = (start.0 + 1..=start.0 + WRITERS * WRITES).collect();
    assert_eq!(revisions, expected);
    let listed = fixture.store.list(range(""), None).await.unwrap();
    assert_eq!(listed.items.len() as u64, WRITERS * WRITES);
    assert!(listed.items.iter().all(|item| item.value == item.key));
}

pub async fn of_many_updates_expecting_one_revision_one_wins(
    new: impl AsyncFn(History) -> Fixture,
) {
    let fixture = new(History::default()).await;
    let first = create(&*fixture.store, "a", "0").await.unwrap();
    let tasks: Vec<_> = (0..16)
        .map(|writer| {
            let store = fixture.store.clone();
            tokio::spawn(async move { update(&*store, "a", &writer.to_string(), first).await })
        })
        .collect();
    let mut won = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(_) => won += 1,
            Err(StoreError::Conflict { current, .. }) => {
                assert_eq!(current.unwrap().modified.0, first.0 + 1);
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(won, 1);
}

pub async fn a_closed_store_refuses_writes_and_ends_watches(new: impl AsyncFn(History) -> Fixture) {
    let fixture = new(History::default()).await;
    let store = &*fixture.store;
    let first = create(store, "a", "1").await.unwrap();
    let mut changes = store.watch("", first).await.unwrap();
    store.close().await.unwrap();
    store.close().await.unwrap();
    assert!(matches!(create(store, "b", "1").await, Err(StoreError::Closed)));
    loop {
        match next(&mut changes).await {
            Ok(WatchItem::Progress(_)) => {}
            Ok(WatchItem::Change(change)) => panic!("{change:?}"),
            Err(error) => break assert!(matches!(error, StoreError::Closed)),
        }
    }
}
