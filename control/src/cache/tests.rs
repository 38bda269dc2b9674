//! The cache over the store in memory, and over one whose watch fails on command.

use async_trait::async_trait;
use futures::StreamExt;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::{Duration, timeout};

use super::*;
use crate::encode;
use crate::store::{Changes, History, Listed, Range, Stored, Write, memory};

struct Fixture {
    store: Arc<dyn Store>,
    caches: Arc<Caches>,
}

async fn fixture_with(store: Arc<dyn Store>, options: Options) -> Fixture {
    let resources = ["pods", "nodes", "deployments.apps"].map(str::to_owned).into();
    let caches = Caches::start_for(store.clone(), &Ambient::real(), resources, options).await;
    Fixture { store, caches: caches.unwrap() }
}

/// Nobody waits for seconds in a test.
fn quick() -> Options {
    Options {
        progress_every: Duration::from_millis(20),
        patience: Duration::from_secs(20),
        ..Options::default()
    }
}

async fn fixture() -> Fixture {
    fixture_with(memory::open(History::default(), &Ambient::real()), quick()).await
}

fn object(key: &Key, label: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "spec": {"nodeName": label},
        "metadata": {"name": key.name, "namespace": key.namespace, "uid": "u1", "labels": {"l": label}},
    })
}

impl Fixture {
    fn pods(&self) -> Arc<Cache> {
        self.caches.kind("pods").unwrap()
    }

    async fn create(&self, resource: &str, namespace: &str, name: &str) -> Revision {
        let key = Key::new(resource, namespace, name);
        let value = encode::stored(&object(&key, "one"));
        self.store.commit(Write::Create { key: key.to_string(), value, ttl: None }).await.unwrap()
    }

    async fn update(&self, name: &str, label: &str, expected: Revision) -> Revision {
        let key = Key::new("pods", "a", name);
        let value = encode::stored(&object(&key, label));
        let write = Write::Update { key: key.to_string(), value, expected, ttl: None };
        self.store.commit(write).await.unwrap()
    }

    async fn delete(&self, name: &str, expected: Revision) -> Revision {
        let key = Key::new("pods", "a", name).to_string();
        self.store.commit(Write::Delete { key, expected }).await.unwrap()
    }
}

fn names(snapshot: &Snapshot) -> Vec<String> {
    snapshot.items.iter().map(|item| format!("{}/{}", item.namespace(), item.name())).collect()
}

/// The next event in a few words; `end` where the watch has expired.
async fn next(watch: &mut CacheWatch) -> String {
    let event = timeout(Duration::from_secs(60), watch.next()).await.expect("an event");
    match event.as_deref().map(|event| &**event) {
        None => "end".to_owned(),
        Some(CacheEvent::Added { object }) => format!("+{}@{}", object.name(), object.revision),
        Some(CacheEvent::Modified { object, previous }) => {
            format!("~{}@{}<{}", object.name(), object.revision, previous.revision)
        }
        Some(CacheEvent::Deleted { object, previous }) => {
            format!("-{}@{}<{}", object.name(), object.revision, previous.revision)
        }
        Some(CacheEvent::Progress { revision }) => format!(".{revision}"),
    }
}

#[tokio::test]
async fn a_read_after_catching_up_sees_every_write() {
    let fixture = fixture().await;
    let pods = fixture.pods();
    for index in 0..20 {
        let name = format!("p{index}");
        let revision = fixture.create("pods", "a", &name).await;
        pods.caught_up(revision).await.unwrap();
        assert_eq!(pods.get("a", &name).unwrap().revision, revision);
    }
    // A write to another kind, or to one that nobody serves, counts too.
    fixture.create("nodes", "", "n").await;
    let last = fixture.create("unknown", "", "x").await;
    pods.latest().await.unwrap();
    assert_eq!(pods.list(None).revision, last);
}

#[tokio::test]
async fn a_wait_for_a_revision_that_does_not_come_ends() {
    let options = Options { patience: Duration::from_millis(20), ..quick() };
    let store = memory::open(History::default(), &Ambient::real());
    let fixture = fixture_with(store, options).await;
    let error = fixture.pods().caught_up(Revision(99)).await.unwrap_err();
    assert!(matches!(error, StoreError::Future { asked: Revision(99), .. }));
}

#[tokio::test]
async fn lists_are_in_the_order_of_the_keys_and_by_namespace() {
    let fixture = fixture().await;
    for (namespace, name) in [("b", "x"), ("a", "y"), ("a-b", "x"), ("a", "x")] {
        fixture.create("pods", namespace, name).await;
    }
    fixture.create("nodes", "", "n").await;
    let pods = fixture.pods();
    pods.latest().await.unwrap();
    assert_eq!(names(&pods.list(None)), ["a-b/x", "a/x", "a/y", "b/x"]);
    assert_eq!(names(&pods.list(Some("a"))), ["a/x", "a/y"]);
    assert_eq!(names(&pods.list(Some("c"))), [""; 0]);
    assert_eq!(names(&fixture.caches.kind("nodes").unwrap().list(None)), ["/n"]);
    assert!(fixture.caches.kind("unknown").is_none());
}

#[tokio::test]
async fn the_first_objects_come_with_a_count_of_the_rest() {
    let fixture = fixture().await;
    for (namespace, name) in [("a", "x"), ("a", "y"), ("a-b", "x"), ("b", "x")] {
        fixture.create("pods", namespace, name).await;
    }
    let pods = fixture.pods();
    pods.latest().await.unwrap();
    for (namespace, limit, expected, rest) in [
        (None, 3, &["a/x", "a/y", "a-b/x"][..], 1),
        (None, 4, &["a/x", "a/y", "a-b/x", "b/x"], 0),
        (Some("a"), 1, &["a/x"], 1),
        (Some("a"), 5, &["a/x", "a/y"], 0),
        (Some("c"), 1, &[], 0),
    ] {
        let (first, left) = pods.first(namespace, limit);
        let mut expected: Vec<_> = expected.to_vec();
        // `a-b/` sorts before `a/`.
        expected.sort_unstable();
        assert_eq!((names(&first), left), (to_strings(&expected), rest), "{namespace:?} {limit}");
    }
}

fn to_strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

#[tokio::test]
async fn frames_go_when_their_event_is_no_longer_fresh() {
    let fixture = fixture().await;
    let pods = fixture.pods();
    let mut watch = pods.watch(Revision(1)).unwrap();
    fixture.create("pods", "a", "p").await;
    let event = loop {
        let event = watch.next().await.expect("an event");
        if event.object().is_some() {
            break event;
        }
    };
    let form = Form { schema: "Pod", what: "ADDED", encoding: 0 };
    let frame = event.frame(form, || vec![1].into());
    assert_eq!(event.frame(form, || vec![2].into()), frame);
    let gone = async {
        while event.frame(form, || vec![3].into()) == frame {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(60), gone).await.expect("the frames go");
    assert_eq!(event.frame(form, || vec![4].into()), [4][..]);
}

#[tokio::test]
async fn fields_that_mean_something_else_leave_the_labels_alone() {
    let fixture = fixture().await;
    let odd = json!({ "metadata": { "name": "odd", "labels": { "l": "x" } }, "spec": "text" });
    let key = Key::new("pods", "a", "odd");
    let value = encode::stored(&odd);
    let write = Write::Create { key: key.to_string(), value, ttl: None };
    fixture.store.commit(write).await.unwrap();
    fixture.create("pods", "a", "plain").await;
    let pods = fixture.pods();
    pods.latest().await.unwrap();
    let (odd, plain) = (pods.get("a", "odd").unwrap(), pods.get("a", "plain").unwrap());
    assert_eq!((odd.labels().get("l"), odd.meta().node_name.as_deref()), (Some("x"), None));
    assert_eq!(plain.meta().node_name.as_deref(), Some("one"));
}

#[tokio::test]
async fn what_was_stored_before_the_start_is_there() {
    let before = fixture().await;
    let revision = before.create("pods", "a", "old").await;
    let after = fixture_with(before.store.clone(), quick()).await;
    assert_eq!(after.pods().get("a", "old").unwrap().revision, revision);
    assert!(after.pods().watch(Revision(revision.0 - 1)).is_err(), "older than the cache");
    assert!(after.pods().watch(revision).is_ok());
}

#[tokio::test]
async fn a_view_goes_when_nobody_asks_for_it_any_more() {
    let fixture = fixture().await;
    fixture.create("pods", "a", "p").await;
    let pods = fixture.pods();
    pods.latest().await.unwrap();
    let object = pods.get("a", "p").unwrap();
    let view = Arc::downgrade(&object.view::<Value>().unwrap());
    assert!(view.upgrade().is_some(), "kept at first");
    let gone = async {
        while view.upgrade().is_some() {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(20), gone).await.expect("let go");
    assert_eq!(object.view::<Value>().unwrap()["metadata"]["name"], "p", "and decoded again");
}

#[tokio::test]
async fn a_view_goes_with_its_revision() {
    let options = Options { progress_every: Duration::from_secs(3600), ..quick() };
    let store = memory::open(History::default(), &Ambient::real());
    let fixture = fixture_with(store, options).await;
    let first = fixture.create("pods", "a", "p").await;
    let pods = fixture.pods();
    pods.latest().await.unwrap();
    let old = pods.get("a", "p").unwrap();
    let view = Arc::downgrade(&old.view::<Value>().unwrap());
    assert!(view.upgrade().is_some());
    fixture.update("p", "two", first).await;
    pods.latest().await.unwrap();
    assert!(view.upgrade().is_none(), "the old revision's view is let go");
    let again = Arc::downgrade(&old.view::<Value>().unwrap());
    assert!(again.upgrade().is_none(), "and not kept again");
    let new = pods.get("a", "p").unwrap();
    let view = Arc::downgrade(&new.view::<Value>().unwrap());
    assert!(view.upgrade().is_some(), "the new revision's is");
}

#[tokio::test]
async fn an_object_bears_its_revision_and_its_views_are_shared() {
    #[derive(serde::Deserialize)]
    struct Named {
        metadata: BTreeMap<String, Value>,
    }
    let fixture = fixture().await;
    let revision = fixture.create("pods", "a", "p").await;
    let pods = fixture.pods();
    pods.latest().await.unwrap();
    let object = pods.get("a", "p").unwrap();
    let expected = revision.to_string();
    assert_eq!(object.decode::<Value>().unwrap()["metadata"]["resourceVersion"], expected);
    assert_eq!((object.uid(), object.labels().get("l")), ("u1", Some("one")));
    let stored = fixture.store.get("pods/a/p", None).await.unwrap().unwrap().value;
    assert_eq!(stored.as_ptr(), object.stored().as_ptr(), "the store's own bytes");
    let view = object.view::<Named>().unwrap();
    assert_eq!(view.metadata["resourceVersion"], expected);
    assert!(Arc::ptr_eq(&view, &pods.get("a", "p").unwrap().view::<Named>().unwrap()));
    assert_eq!(
        object.view::<Value>().unwrap()["metadata"]["name"],
        "p",
        "a second type is another view"
    );
    assert!(object.try_view::<Vec<u8>>().is_err());
    assert!(object.view::<Vec<u8>>().is_none(), "what it is not, it is passed over as");
}

#[tokio::test]
async fn a_watch_replays_what_it_missed_then_follows() {
    let fixture = fixture().await;
    let start = fixture.store.current().await.unwrap();
    let first = fixture.create("pods", "a", "p").await;
    let second = fixture.update("p", "two", first).await;
    fixture.pods().latest().await.unwrap();
    let mut watch = fixture.pods().watch(start).unwrap();
    assert_eq!(next(&mut watch).await, format!("+p@{first}"));
    assert_eq!(next(&mut watch).await, format!("~p@{second}<{first}"));
    assert_eq!(next(&mut watch).await, format!(".{second}"));
    let third = fixture.delete("p", second).await;
    assert_eq!(next(&mut watch).await, format!("-p@{third}<{second}"));
    let mut late = fixture.pods().watch(first).unwrap();
    assert_eq!(next(&mut late).await, format!("~p@{second}<{first}"));
}

#[tokio::test]
async fn a_deleted_object_is_its_last_state_with_the_deletions_revision() {
    let fixture = fixture().await;
    let first = fixture.create("pods", "a", "p").await;
    let second = fixture.update("p", "last", first).await;
    let third = fixture.delete("p", second).await;
    fixture.pods().latest().await.unwrap();
    let event = fixture.pods().watch(second).unwrap().next().await.unwrap();
    let CacheEvent::Deleted { object, previous } = &**event else { panic!("{event:?}") };
    let decoded = |object: &Cached| object.decode::<Value>().unwrap();
    assert_eq!(decoded(object)["metadata"]["resourceVersion"], third.to_string());
    assert_eq!(decoded(previous)["metadata"]["resourceVersion"], second.to_string());
    assert_eq!(object.labels().get("l"), Some("last"));
    assert!(fixture.pods().get("a", "p").is_none());
}

#[tokio::test]
async fn a_watch_from_the_future_begins_there() {
    let fixture = fixture().await;
    let start = fixture.store.current().await.unwrap();
    let mut watch = fixture.pods().watch(Revision(start.0 + 1)).unwrap();
    fixture.create("pods", "a", "unwanted").await;
    fixture.pods().latest().await.unwrap();
    assert_eq!(next(&mut watch).await, format!(".{}", start.0 + 1));
    let wanted = fixture.create("pods", "a", "wanted").await;
    assert_eq!(next(&mut watch).await, format!("+wanted@{wanted}"));
}

#[tokio::test]
async fn a_snapshot_and_its_watch_leave_no_gap_and_no_overlap() {
    let fixture = fixture().await;
    let writer = async {
        for index in 0..500 {
            fixture.create("pods", "a", &format!("p{index}")).await;
            tokio::task::yield_now().await;
        }
    };
    let reader = async {
        for _ in 0..40 {
            let (snapshot, mut watch) = fixture.pods().snapshot_and_watch();
            let listed = snapshot.items.iter().map(|item| item.revision).max();
            assert!(listed.unwrap_or_default() <= snapshot.revision);
            let mut seen = snapshot.items.len();
            while seen < 60.min(snapshot.items.len() + 5) {
                let event = watch.next().await.unwrap();
                if let CacheEvent::Added { object } = &**event {
                    assert_eq!(object.name(), format!("p{seen}"));
                    assert!(object.revision > snapshot.revision);
                    seen += 1;
                }
            }
            tokio::task::yield_now().await;
        }
    };
    futures::join!(writer, reader);
}

#[tokio::test]
async fn a_sleeping_watcher_is_told_of_progress_and_knows_its_position() {
    let fixture = fixture().await;
    let start = fixture.store.current().await.unwrap();
    let mut watch = fixture.pods().watch(start).unwrap();
    assert_eq!(next(&mut watch).await, format!(".{start}"));
    let other = fixture.create("nodes", "", "n").await;
    fixture.pods().latest().await.unwrap();
    assert_eq!(watch.position(), other);
    assert_eq!(next(&mut watch).await, format!(".{other}"));
    let own = fixture.create("pods", "a", "p").await;
    fixture.pods().latest().await.unwrap();
    assert_eq!(watch.position(), other, "the event has not been yielded yet");
    assert_eq!(next(&mut watch).await, format!("+p@{own}"));
    assert_eq!(watch.position(), own);
}

#[tokio::test]
async fn a_slow_watcher_expires_and_an_old_revision_is_refused() {
    let options = Options { events_max: 5, ..quick() };
    let store = memory::open(History::default(), &Ambient::real());
    let fixture = fixture_with(store, options).await;
    let start = fixture.store.current().await.unwrap();
    let mut slow = fixture.pods().watch(start).unwrap();
    let mut last = start;
    for index in 0..6 {
        last = fixture.create("pods", "a", &format!("p{index}")).await;
    }
    fixture.pods().latest().await.unwrap();
    assert_eq!(next(&mut slow).await, "end");
    assert_eq!(fixture.pods().watch(start).err(), Some(Expired));
    assert_eq!(fixture.pods().oldest(), Revision(last.0 - 5));
    let mut watch = fixture.pods().watch(Revision(last.0 - 5)).unwrap();
    assert_eq!(next(&mut watch).await, format!("+p1@{}", last.0 - 4));
}

#[tokio::test]
async fn events_grow_old() {
    let options = Options { age_max: Duration::from_millis(200), ..quick() };
    let store = memory::open(History::default(), &Ambient::real());
    let fixture = fixture_with(store, options).await;
    let start = fixture.store.current().await.unwrap();
    fixture.create("pods", "a", "p").await;
    fixture.pods().latest().await.unwrap();
    assert!(fixture.pods().watch(start).is_ok());
    let old = async {
        while fixture.pods().watch(start).is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), old).await.expect("the event grows old");
}

/// A store whose watches fail when told.
struct Failing {
    inner: Arc<dyn Store>,
    fail: Arc<Notify>,
    blind: Mutex<bool>,
    /// Told when a list was refused.
    refused: Notify,
}

#[async_trait]
impl Store for Failing {
    async fn current(&self) -> Result<Revision, StoreError> {
        self.inner.current().await
    }

    async fn get(&self, key: &str, at: Option<Revision>) -> Result<Option<Stored>, StoreError> {
        self.inner.get(key, at).await
    }

    async fn list(&self, range: Range, at: Option<Revision>) -> Result<Listed, StoreError> {
        if *self.blind.lock() {
            self.refused.notify_one();
            return Err(StoreError::Unavailable("told to fail".to_owned()));
        }
        self.inner.list(range, at).await
    }

    async fn commit(&self, write: Write) -> Result<Revision, StoreError> {
        self.inner.commit(write).await
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<Changes, StoreError> {
        let fail = self.fail.clone();
        let failure = futures::stream::once(async move {
            fail.notified().await;
            Err(StoreError::Unavailable("told to fail".to_owned()))
        });
        let changes = self.inner.watch(prefix, from).await?;
        Ok(futures::stream::select(failure, changes).boxed())
    }

    async fn compact(&self, before: Revision) -> Result<(), StoreError> {
        self.inner.compact(before).await
    }
}

#[tokio::test]
async fn after_a_failed_watch_everything_is_listed_anew_and_watchers_expire() {
    let inner = memory::open(History::default(), &Ambient::real());
    let fail = Arc::new(Notify::new());
    let (blind, refused) = (Mutex::new(false), Notify::new());
    let failing = Arc::new(Failing { inner, fail: fail.clone(), blind, refused });
    let fixture = fixture_with(failing.clone(), quick()).await;
    let gone = fixture.create("pods", "a", "gone").await;
    let kept = fixture.create("pods", "a", "kept").await;
    fixture.pods().latest().await.unwrap();
    let before = fixture.pods().get("a", "kept").unwrap();
    let mut watch = fixture.pods().watch(kept).unwrap();
    assert_eq!(next(&mut watch).await, format!(".{kept}"));
    *failing.blind.lock() = true;
    fail.notify_one();
    let refused = failing.refused.notified();
    tokio::time::timeout(Duration::from_secs(20), refused).await.expect("it lists anew");
    fixture.delete("gone", gone).await;
    let new = fixture.create("pods", "a", "new").await;
    *failing.blind.lock() = false;
    assert_eq!(next(&mut watch).await, "end");
    fixture.pods().caught_up(new).await.unwrap();
    assert_eq!(names(&fixture.pods().list(None)), ["a/kept", "a/new"]);
    let after = fixture.pods().get("a", "kept").unwrap();
    assert!(Arc::ptr_eq(&before, &after), "what was decoded is kept");
    assert_eq!(fixture.pods().watch(kept).err(), Some(Expired));
    let later = fixture.create("pods", "a", "later").await;
    fixture.pods().caught_up(later).await.unwrap();
    assert!(fixture.pods().get("a", "later").is_some());
}

#[tokio::test]
async fn dropping_the_caches_ends_the_feed_and_the_watches() {
    let Fixture { store, caches } = fixture().await;
    let pods = caches.kind("pods").unwrap();
    let start = store.current().await.unwrap();
    let mut watch = pods.watch(start).unwrap();
    assert_eq!(next(&mut watch).await, format!(".{start}"));
    drop((caches, pods));
    assert_eq!(next(&mut watch).await, "end");
    tokio::task::yield_now().await;
    assert_eq!(Arc::strong_count(&store), 1);
}
