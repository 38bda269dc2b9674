//! The store in memory: nothing outlives the process.

use std::sync::{Arc, Weak};

use async_trait::async_trait;
use tokio::time::Instant;

use super::mvcc::{History, Mvcc, Pending};
use super::shared::{self, Shared};
use super::{Changes, Listed, Range, Revision, Store, StoreError, Stored, Write};
use crate::ambient::Ambient;

struct Memory {
    shared: Arc<Shared>,
    ambient: Ambient,
}

/// An empty store. Must be called within a tokio runtime: expiry needs a task.
pub fn open(history: History, ambient: &Ambient) -> Arc<dyn Store> {
    let shared = Shared::new(Mvcc::new(history));
    let store: Arc<dyn Store> =
        Arc::new(Memory { shared: shared.clone(), ambient: ambient.clone() });
    let weak: Weak<dyn Store> = Arc::downgrade(&store);
    ambient.spawn(shared::upkeep(shared, weak));
    store
}

impl Memory {
    fn write(&self, write: &Write) -> Result<Revision, StoreError> {
        let now = Instant::now();
        let expiry = shared::expiry_of(write, now, &self.ambient);
        let mut pending = Pending::default();
        let mut state = self.shared.state.write();
        let revision = state.evaluate(&mut pending, write, expiry)?;
        let mut earlier = false;
        for record in pending.records {
            earlier |= state.apply(record, now);
        }
        // Under the lock, or the marks of two writers could cross.
        self.shared.publish(revision, earlier);
        Ok(revision)
    }
}

#[async_trait]
impl Store for Memory {
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
        if self.shared.is_closed() {
            return Err(shared::closed());
        }
        self.write(&write)
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<Changes, StoreError> {
        self.shared.watch(prefix, from)
    }

    async fn compact(&self, before: Revision) -> Result<(), StoreError> {
        self.shared.compact(before)
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.shared.close();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::store::contract::{self, Fixture};

    async fn fixture(history: super::History) -> Fixture {
        Fixture { store: super::open(history, &crate::ambient::Ambient::real()), _folder: None }
    }

    contract::tests!(fixture);
}
