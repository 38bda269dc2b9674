//! How large the objects of a resource are, as far as lists need to know.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::cache::Cache;
use crate::fair::width::Stored;

/// How old a figure may be. (Upstream counts every minute.)
const AGE_MAX: Duration = Duration::from_secs(30);

#[derive(Default)]
pub struct Sizes(Mutex<HashMap<String, (Instant, Stored)>>);

impl Sizes {
    pub fn of(&self, cache: &Cache) -> Stored {
        let now = Instant::now();
        if let Some((at, stored)) = self.0.lock().get(cache.resource())
            && now.duration_since(*at) < AGE_MAX
        {
            return *stored;
        }
        let items = cache.list(None).items;
        let count = items.len() as u64;
        let bytes: u64 = items.iter().map(|object| object.stored().len() as u64).sum();
        let stored = Stored { count, bytes: bytes / count.max(1) };
        self.0.lock().insert(cache.resource().to_owned(), (now, stored));
        stored
    }
}
