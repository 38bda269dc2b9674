//! The feed: one task that reads the store's watch and hands each change to its kind.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use super::{Cache, Key};
use crate::store::{Changes, Range, Revision, Store, StoreError, Stored, WatchItem};

/// Changes taken together: one mark and one waking for all of them.
const CHANGES_AT_ONCE: usize = 512;
/// How often views that nobody asks for any more are let go: they are the larger part of what a burst
/// of changes leaves in memory.
const REST_EVERY: Duration = Duration::from_secs(1);
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_LAST: Duration = Duration::from_secs(5);

type Kinds = BTreeMap<String, Arc<Cache>>;

/// The mark up to which every kind has been fed.
#[derive(Clone)]
pub(super) struct Fed {
    mark: Arc<watch::Sender<Revision>>,
    patience: Duration,
}

impl Fed {
    pub fn new(patience: Duration) -> Self {
        Self { mark: Arc::new(watch::Sender::new(Revision(0))), patience }
    }

    pub fn revision(&self) -> Revision {
        *self.mark.borrow()
    }

    fn set(&self, revision: Revision) {
        self.mark.send_replace(revision);
    }

    pub async fn wait(&self, to: Revision) -> Result<(), StoreError> {
        if self.revision() >= to {
            return Ok(());
        }
        let mut mark = self.mark.subscribe();
        let waited = tokio::time::timeout(self.patience, mark.wait_for(|mark| *mark >= to)).await;
        match waited {
            Ok(Ok(_)) => Ok(()),
            _ => Err(StoreError::Future { asked: to, current: self.revision() }),
        }
    }
}

/// Lists everything into the kinds, and answers with what happens after.
pub(super) async fn fill(
    store: &dyn Store,
    kinds: &Kinds,
    fed: &Fed,
) -> Result<Changes, StoreError> {
    let listed = store.list(Range::default(), None).await?;
    let changes = store.watch("", listed.revision).await?;
    let mut objects: BTreeMap<&str, Vec<&Stored>> = BTreeMap::new();
    for item in &listed.items {
        let Some(key) = Key::parse(&item.key) else { continue };
        let Some((resource, _)) = kinds.get_key_value(key.resource.as_str()) else { continue };
        objects.entry(resource).or_default().push(item);
    }
    for (resource, cache) in kinds {
        let values = objects.remove(resource.as_str()).unwrap_or_default();
        cache.replace(&values, listed.revision);
    }
    fed.set(listed.revision);
    kinds.values().for_each(|cache| cache.wake());
    Ok(changes)
}

/// Feeds the kinds until the store is closed; begins anew where the watch fails.
pub(super) async fn follow(
    store: Arc<dyn Store>,
    kinds: Arc<Kinds>,
    fed: Fed,
    mut changes: Changes,
    progress_every: Duration,
) {
    let mut pause = RETRY_FIRST;
    loop {
        let began = fed.revision();
        let error = feed(&kinds, &fed, changes, progress_every).await;
        if fed.revision() > began {
            pause = RETRY_FIRST;
        }
        if matches!(error, Some(StoreError::Closed)) {
            return;
        }
        let why = error.map_or_else(|| "it ended".to_owned(), |error| error.to_string());
        tracing::warn!(why, "the store's watch failed; listing anew");
        changes = loop {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY_LAST);
            match fill(&*store, &kinds, &fed).await {
                Ok(changes) => break changes,
                Err(StoreError::Closed) => return,
                Err(error) => tracing::warn!(%error, "cannot list the store; trying again"),
            }
        };
    }
}

/// Feeds until the watch fails or ends.
async fn feed(
    kinds: &Kinds,
    fed: &Fed,
    changes: Changes,
    progress_every: Duration,
) -> Option<StoreError> {
    let mut chunks = changes.ready_chunks(CHANGES_AT_ONCE);
    let mut ticks = tokio::time::interval(progress_every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut rests = tokio::time::interval(REST_EVERY);
    rests.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            chunk = chunks.next() => {
                if let Err(error) = take(kinds, fed, chunk?) {
                    return Some(error);
                }
            }
            now = ticks.tick() => {
                let mark = fed.revision();
                kinds.values().for_each(|cache| cache.progress(mark, now));
            }
            now = rests.tick() => kinds.values().for_each(|cache| cache.rest(now)),
        }
    }
}

fn take(
    kinds: &Kinds,
    fed: &Fed,
    chunk: Vec<Result<WatchItem, StoreError>>,
) -> Result<(), StoreError> {
    let now = Instant::now();
    let mut touched: Vec<&Arc<Cache>> = Vec::new();
    let mut mark = None;
    let mut failed = Ok(());
    for item in chunk {
        match item {
            Ok(WatchItem::Change(change)) => {
                mark = Some(change.revision);
                let resource = change.key.split('/').next().unwrap_or_default();
                if let Some(cache) = kinds.get(resource) {
                    cache.apply(&change, now);
                    if !touched.iter().any(|other| Arc::ptr_eq(other, cache)) {
                        touched.push(cache);
                    }
                }
            }
            Ok(WatchItem::Progress(revision)) => mark = Some(revision),
            Err(error) => failed = Err(error),
        }
    }
    // The mark first: who is woken sees it.
    if let Some(mark) = mark {
        fed.set(mark);
    }
    touched.into_iter().for_each(|cache| cache.wake());
    failed
}
