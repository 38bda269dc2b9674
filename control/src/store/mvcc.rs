//! The versions of every key, and the history of changes: the state that the local backends share.
//!
//! Plain data: it decides whether a write may happen (`evaluate`), takes it in (`apply`), answers
//! reads at a revision, and forgets the oldest history within its limits. It performs no I/O, knows
//! no locks and asks no clock: `now` comes in as an argument.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::{Change, Listed, Range, Revision, StoreError, Stored, Write};

/// How much of the past is kept. Whatever is exceeded first makes the oldest revisions go.
#[derive(Clone, Copy, Debug)]
pub struct History {
    pub changes_max: usize,
    pub age_max: Duration,
    /// Bytes of values that are no longer the newest of their key.
    pub bytes_max: usize,
}

impl Default for History {
    fn default() -> Self {
        Self {
            changes_max: 100_000,
            age_max: Duration::from_secs(5 * 60),
            bytes_max: 16 * 1024 * 1024,
        }
    }
}

/// When a value is to go: on the timer's clock, and on the wall's for what outlives the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expiry {
    pub at: Instant,
    pub unix_ms: u64,
}

/// A write that has passed its check. `value: None` deletes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub key: Arc<str>,
    pub value: Option<Bytes>,
    pub created: Revision,
    pub expiry: Option<Expiry>,
}

#[derive(Clone, Debug)]
pub(super) struct Version {
    pub value: Option<Bytes>,
    pub created: Revision,
    pub modified: Revision,
    pub expiry: Option<Expiry>,
}

impl Version {
    fn size(&self) -> usize {
        self.value.as_ref().map_or(0, Bytes::len)
    }

    fn stored(&self, key: &str) -> Option<Stored> {
        let value = self.value.clone()?;
        Some(Stored { key: key.to_owned(), value, created: self.created, modified: self.modified })
    }
}

/// The versions of one key; nearly always there is only the newest.
struct Versions {
    latest: Version,
    /// Rising by revision, all older than `latest`.
    older: Vec<Version>,
}

impl Versions {
    fn at(&self, revision: Revision) -> Option<&Version> {
        if self.latest.modified <= revision {
            return Some(&self.latest);
        }
        self.older.iter().rev().find(|version| version.modified <= revision)
    }
}

struct Past {
    key: Arc<str>,
    value: Option<Bytes>,
    at: Instant,
}

/// The writes of a group that are checked but not yet applied: later ones build on earlier ones.
#[derive(Default)]
pub(super) struct Pending {
    heads: HashMap<Arc<str>, Version>,
    pub records: Vec<Record>,
}

/// See the module's documentation.
pub(super) struct Mvcc {
    current: Revision,
    /// Reads at it and watches after it are answered; `history[0]` is the change behind it.
    oldest: Revision,
    keys: BTreeMap<Arc<str>, Versions>,
    history: VecDeque<Past>,
    expiries: BTreeSet<(Instant, Arc<str>, Revision)>,
    superseded_bytes: usize,
    limits: History,
}

impl Mvcc {
    /// An empty state. Revisions begin at 1, as etcd's do: 0 means "any" to Kubernetes' clients.
    pub fn new(limits: History) -> Self {
        Self::starting_at(Revision(1), limits)
    }

    /// A state without history at `revision`, to be filled by `restore`.
    pub fn starting_at(revision: Revision, limits: History) -> Self {
        Self {
            current: revision,
            oldest: revision,
            keys: BTreeMap::new(),
            history: VecDeque::new(),
            expiries: BTreeSet::new(),
            superseded_bytes: 0,
            limits,
        }
    }

    /// Puts a value from a checkpoint in place: part of the state at the start, not a change.
    pub fn restore(&mut self, key: Arc<str>, latest: Version) {
        if let Some(expiry) = latest.expiry {
            self.expiries.insert((expiry.at, key.clone(), latest.modified));
        }
        self.keys.insert(key, Versions { latest, older: Vec::new() });
    }

    pub fn current(&self) -> Revision {
        self.current
    }

    /// Checks a write against the newest state and what is pending; adds it to the pending.
    pub fn evaluate(
        &self,
        pending: &mut Pending,
        write: &Write,
        expiry: Option<Expiry>,
    ) -> Result<Revision, StoreError> {
        let (key, value, expected) = match write {
            Write::Create { key, value, .. } => (key, Some(value), None),
            Write::Update { key, value, expected, .. } => (key, Some(value), Some(*expected)),
            Write::Delete { key, expected } => (key, None, Some(*expected)),
        };
        let found = self.keys.get_key_value(key.as_str());
        let head = pending.heads.get(key.as_str()).or(found.map(|(_, versions)| &versions.latest));
        let live = head.filter(|head| head.value.is_some());
        match (expected, live) {
            (None, Some(_)) => return Err(StoreError::Exists { key: key.clone() }),
            (Some(expected), live) if live.map(|head| head.modified) != Some(expected) => {
                let current = live.and_then(|head| head.stored(key));
                return Err(StoreError::Conflict { key: key.clone(), current });
            }
            _ => {}
        }
        let revision = Revision(self.current.0 + pending.records.len() as u64 + 1);
        let created = live.map_or(revision, |head| head.created);
        let record = Record {
            key: found.map_or_else(|| Arc::from(key.as_str()), |(key, _)| key.clone()),
            value: value.cloned(),
            created,
            expiry,
        };
        let head = Version { value: record.value.clone(), created, modified: revision, expiry };
        pending.heads.insert(record.key.clone(), head);
        pending.records.push(record);
        Ok(revision)
    }

    /// Takes a write in at the next revision. True where the next expiry comes earlier by it.
    pub fn apply(&mut self, record: Record, now: Instant) -> bool {
        self.current.0 += 1;
        let Record { key, value, created, expiry } = record;
        let latest = Version { value: value.clone(), created, modified: self.current, expiry };
        self.history.push_back(Past { key: key.clone(), value, at: now });
        let earlier = expiry.is_some_and(|expiry| {
            self.expiries.insert((expiry.at, key.clone(), self.current));
            self.expiries.first().is_some_and(|(_, first, _)| *first == key)
        });
        match self.keys.get_mut(&key) {
            Some(versions) => {
                let old = std::mem::replace(&mut versions.latest, latest);
                if let Some(expiry) = old.expiry {
                    self.expiries.remove(&(expiry.at, key, old.modified));
                }
                self.superseded_bytes += old.size();
                versions.older.push(old);
            }
            None => {
                self.keys.insert(key, Versions { latest, older: Vec::new() });
            }
        }
        self.trim(now);
        earlier
    }

    /// Forgets what exceeds the limits.
    pub fn trim(&mut self, now: Instant) {
        while let Some(first) = self.history.front() {
            let excess = self.history.len() > self.limits.changes_max
                || self.superseded_bytes > self.limits.bytes_max
                || now.duration_since(first.at) > self.limits.age_max;
            if !excess {
                return;
            }
            self.forget_first();
        }
    }

    /// Forgets the history before `before`.
    pub fn compact(&mut self, before: Revision) -> Result<(), StoreError> {
        if before > self.current {
            return Err(StoreError::Future { asked: before, current: self.current });
        }
        while self.oldest < before {
            self.forget_first();
        }
        Ok(())
    }

    /// The change behind `oldest` becomes the state: what that key was before is dropped.
    fn forget_first(&mut self) {
        let Some(past) = self.history.pop_front() else { return };
        self.oldest.0 += 1;
        let Some(versions) = self.keys.get_mut(&past.key) else { return };
        // A tombstone at the oldest revision says no more than no version at all.
        let needless = |version: &Version| {
            version.modified < self.oldest
                || (version.modified == self.oldest && version.value.is_none())
        };
        let dropped = versions.older.iter().take_while(|version| needless(version)).count();
        self.superseded_bytes -=
            versions.older.drain(..dropped).map(|old| old.size()).sum::<usize>();
        if versions.older.is_empty() && needless(&versions.latest) {
            self.keys.remove(&past.key);
        } else if versions.older.is_empty() {
            versions.older.shrink_to_fit();
        }
    }

    fn readable(&self, at: Option<Revision>) -> Result<Revision, StoreError> {
        let at = at.unwrap_or(self.current);
        if at > self.current {
            return Err(StoreError::Future { asked: at, current: self.current });
        }
        if at < self.oldest {
            return Err(StoreError::Compacted { asked: at, oldest: self.oldest });
        }
        Ok(at)
    }

    pub fn get(&self, key: &str, at: Option<Revision>) -> Result<Option<Stored>, StoreError> {
        let at = self.readable(at)?;
        let version = self.keys.get(key).and_then(|versions| versions.at(at));
        Ok(version.and_then(|version| version.stored(key)))
    }

    pub fn list(&self, range: &Range, at: Option<Revision>) -> Result<Listed, StoreError> {
        let revision = self.readable(at)?;
        let mut live =
            self.range(&range.prefix, range.after.as_deref()).filter_map(|(key, versions)| {
                let version = versions.at(revision)?;
                version.value.is_some().then_some((key, version))
            });
        let limit = if range.limit == 0 { usize::MAX } else { range.limit };
        let shown = live.by_ref().take(limit);
        let items = shown.filter_map(|(key, version)| version.stored(key)).collect();
        let more = live.next().is_some();
        let rest = range.count.then(|| usize::from(more) + live.count());
        Ok(Listed { items, revision, more, rest })
    }

    /// The newest values of all keys with what a checkpoint keeps of them, by key, and their revision.
    pub fn live(&self) -> (Revision, Vec<(Arc<str>, Version)>) {
        let live = self.keys.iter().filter(|(_, versions)| versions.latest.value.is_some());
        let copied = live.map(|(key, versions)| (key.clone(), versions.latest.clone()));
        (self.current, copied.collect())
    }

    fn range<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
    ) -> impl Iterator<Item = (&'a Arc<str>, &'a Versions)> {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        self.keys
            .range::<str, _>((start, Bound::Unbounded))
            .take_while(move |(key, _)| key.starts_with(prefix))
    }

    /// Whether a watch after `from` can be answered. A revision that is not yet written is allowed:
    /// the watch begins behind it.
    pub fn watchable(&self, from: Revision) -> Result<(), StoreError> {
        if from < self.oldest {
            return Err(StoreError::Compacted { asked: from, oldest: self.oldest });
        }
        Ok(())
    }

    /// The next changes after `from` to keys with `prefix`, looking at no more than `limit`
    /// changes; and the revision up to which was looked.
    pub fn changes(
        &self,
        prefix: &str,
        from: Revision,
        limit: usize,
    ) -> Result<(Vec<Change>, Revision), StoreError> {
        self.watchable(from)?;
        let skip = usize::try_from(from.0 - self.oldest.0).unwrap_or(usize::MAX);
        if skip >= self.history.len() {
            return Ok((Vec::new(), from));
        }
        let end = self.history.len().min(skip + limit);
        let changes = self
            .history
            .range(skip..end)
            .zip(from.0 + 1..)
            .filter(|(past, _)| past.key.starts_with(prefix))
            .map(|(past, revision)| Change {
                key: past.key.to_string(),
                revision: Revision(revision),
                value: past.value.clone(),
            });
        Ok((changes.collect(), Revision(self.oldest.0 + end as u64)))
    }

    pub fn next_expiry(&self) -> Option<Instant> {
        self.expiries.first().map(|(at, ..)| *at)
    }

    /// Deletions for what has expired, at most `limit`.
    pub fn expired(&self, now: Instant, limit: usize) -> Vec<Write> {
        self.expiries
            .iter()
            .take_while(|(at, ..)| *at <= now)
            .take(limit)
            .map(|(_, key, modified)| Write::Delete { key: key.to_string(), expected: *modified })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(state: &mut Mvcc, write: Write) -> Result<Revision, StoreError> {
        let mut pending = Pending::default();
        let revision = state.evaluate(&mut pending, &write, None)?;
        for record in pending.records {
            state.apply(record, Instant::now());
        }
        Ok(revision)
    }

    fn create(key: &str, value: &'static str) -> Write {
        Write::Create { key: key.to_owned(), value: value.into(), ttl: None }
    }

    fn update(key: &str, value: &'static str, expected: Revision) -> Write {
        Write::Update { key: key.to_owned(), value: value.into(), expected, ttl: None }
    }

    fn delete(key: &str, expected: Revision) -> Write {
        Write::Delete { key: key.to_owned(), expected }
    }

    #[test]
    fn a_group_builds_on_its_own_earlier_writes() {
        let state = Mvcc::new(History::default());
        let mut pending = Pending::default();
        let first = state.evaluate(&mut pending, &create("a", "1"), None).unwrap();
        assert!(state.evaluate(&mut pending, &create("a", "2"), None).is_err());
        let second = state.evaluate(&mut pending, &update("a", "2", first), None).unwrap();
        assert!(state.evaluate(&mut pending, &update("a", "3", first), None).is_err());
        state.evaluate(&mut pending, &delete("a", second), None).unwrap();
        let again = state.evaluate(&mut pending, &create("a", "4"), None).unwrap();
        assert_eq!(again, Revision(first.0 + 3));
        assert_eq!(pending.records[3].created, again);
    }

    #[test]
    fn forgetting_keeps_the_oldest_readable_state_and_drops_tombstones() {
        let mut state = Mvcc::new(History::default());
        let one = write(&mut state, create("a", "1")).unwrap();
        let two = write(&mut state, update("a", "2", one)).unwrap();
        let gone = write(&mut state, delete("a", two)).unwrap();
        let back = write(&mut state, create("a", "3")).unwrap();
        state.compact(two).unwrap();
        assert_eq!(state.get("a", Some(two)).unwrap().unwrap().value, "2");
        assert!(state.get("a", Some(one)).is_err());
        state.compact(gone).unwrap();
        assert_eq!(state.get("a", Some(gone)).unwrap(), None);
        assert_eq!(state.get("a", Some(back)).unwrap().unwrap().value, "3");
        assert_eq!(state.superseded_bytes, 0);
        let gone = write(&mut state, delete("a", back)).unwrap();
        assert_eq!(state.superseded_bytes, 1);
        state.compact(gone).unwrap();
        assert!(state.keys.is_empty());
        assert_eq!(state.superseded_bytes, 0);
    }

    #[test]
    fn history_is_bounded_by_count_by_age_and_by_bytes() {
        let wide = History::default();
        let cases = [
            (History { changes_max: 3, ..wide }, Duration::ZERO, 3),
            (History { age_max: Duration::from_secs(9), ..wide }, Duration::from_secs(10), 0),
            (History { bytes_max: 2, ..wide }, Duration::ZERO, 2),
        ];
        for (limits, pause, kept) in cases {
            let mut state = Mvcc::new(limits);
            let mut last = write(&mut state, create("a", "0")).unwrap();
            for _ in 0..9 {
                last = write(&mut state, update("a", "1", last)).unwrap();
            }
            state.trim(Instant::now() + pause);
            assert_eq!(state.history.len(), kept, "{limits:?}");
            assert_eq!(state.oldest.0, last.0 - kept as u64);
            assert!(state.get("a", Some(state.oldest)).unwrap().is_some());
        }
    }

    #[test]
    fn a_refreshed_value_expires_by_its_newest_deadline_alone() {
        let mut state = Mvcc::new(History::default());
        let now = Instant::now();
        let expiry = |seconds| Some(Expiry { at: now + Duration::from_secs(seconds), unix_ms: 0 });
        let record = |expiry| Record {
            key: "a".into(),
            value: Some("1".into()),
            created: Revision(2),
            expiry,
        };
        assert!(state.apply(record(expiry(1)), now));
        state.apply(record(expiry(5)), now);
        assert!(state.expired(now + Duration::from_secs(2), 9).is_empty());
        assert_eq!(state.expired(now + Duration::from_secs(5), 9).len(), 1);
        state.apply(record(None), now);
        assert_eq!(state.next_expiry(), None);
    }
}
