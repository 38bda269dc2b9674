//! `wasi:keyvalue` store, atomics and batch: buckets by name, shared by the containers of a sandbox.
//!
//! Any name is a bucket; it is there when it is first opened. Where the pairs are kept is behind [`Buckets`]; the only
//! place so far is memory, for as long as the sandbox lives. Its size is bounded, and so is each answer: what would
//! pass a bound is refused with `error::other`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use wasmtime::component::{HasData, Resource, ResourceTable, ResourceTableError};

use super::Interface;
use crate::context::Ctx;

mod bindings {
    wasmtime::component::bindgen!({
        path: "wit/keyvalue",
        world: "wasi:keyvalue/imports",
        imports: { default: trappable },
        with: { "wasi:keyvalue/store.bucket": super::Bucket },
        trappable_error_type: { "wasi:keyvalue/store.error" => super::Problem },
    });
}

use bindings::wasi::keyvalue::{atomics, batch, store};

/// Keys and values of a sandbox together, each pair with [`PAIR_BYTES`] of bookkeeping.
const BYTES_MAX: usize = 16 << 20;
const KEYS_MAX: usize = 100_000;
const PAIR_BYTES: usize = 128;
/// A key or a bucket's name.
const NAME_BYTES_MAX: usize = 1024;
/// Keys that one call of `list-keys` answers.
const PAGE: usize = 1000;
/// Values that one call of `get-many` answers.
const ANSWER_BYTES_MAX: usize = BYTES_MAX;

pub(super) const STORE: Interface = Interface {
    name: "wasi:keyvalue/store",
    version: "0.2.0-draft",
    add: |linker| store::add_to_linker::<Ctx, KeyValue>(linker, view),
};

pub(super) const ATOMICS: Interface = Interface {
    name: "wasi:keyvalue/atomics",
    version: "0.2.0-draft",
    add: |linker| atomics::add_to_linker::<Ctx, KeyValue>(linker, view),
};

pub(super) const BATCH: Interface = Interface {
    name: "wasi:keyvalue/batch",
    version: "0.2.0-draft",
    add: |linker| batch::add_to_linker::<Ctx, KeyValue>(linker, view),
};

/// Where key-value pairs are kept. A bucket is named with each call.
pub(crate) trait Buckets: Send + Sync {
    fn get(&self, bucket: &str, key: &str) -> Result<Option<Arc<[u8]>>, Problem>;
    fn set(&self, bucket: &str, key: &str, value: &[u8]) -> Result<(), Problem>;
    fn delete(&self, bucket: &str, key: &str) -> Result<(), Problem>;
    /// The next keys, and where the ones after them begin.
    fn keys(&self, bucket: &str, from: u64) -> Result<(Vec<String>, Option<u64>), Problem>;
    /// Adds to a number in decimal digits, or to nothing, and answers the sum. Nobody sees it half done.
    fn increment(&self, bucket: &str, key: &str, delta: u64) -> Result<u64, Problem>;
}

/// Why a call was refused: the interface's own error.
#[derive(Debug)]
pub enum Problem {
    NoSuchStore,
    Other(String),
    Handle(ResourceTableError),
}

impl From<ResourceTableError> for Problem {
    fn from(error: ResourceTableError) -> Self {
        Problem::Handle(error)
    }
}

/// An open bucket.
pub struct Bucket {
    name: Arc<str>,
}

struct KeyValue;

impl HasData for KeyValue {
    type Data<'a> = View<'a>;
}

struct View<'a> {
    table: &'a mut ResourceTable,
    buckets: &'a Arc<dyn Buckets>,
}

fn view(ctx: &mut Ctx) -> View<'_> {
    View { table: &mut ctx.table, buckets: &ctx.host.setup.buckets }
}

impl View<'_> {
    fn name(&self, bucket: &Resource<Bucket>) -> Result<Arc<str>, Problem> {
        Ok(self.table.get(bucket)?.name.clone())
    }
}

impl store::Host for View<'_> {
    fn open(&mut self, identifier: String) -> Result<Resource<Bucket>, Problem> {
        if identifier.len() > NAME_BYTES_MAX {
            return Err(Problem::NoSuchStore);
        }
        Ok(self.table.push(Bucket { name: identifier.into() })?)
    }

    fn convert_error(&mut self, problem: Problem) -> wasmtime::Result<store::Error> {
        match problem {
            Problem::NoSuchStore => Ok(store::Error::NoSuchStore),
            Problem::Other(why) => Ok(store::Error::Other(why)),
            Problem::Handle(error @ ResourceTableError::Full) => {
                Ok(store::Error::Other(error.to_string()))
            }
            Problem::Handle(error) => Err(error.into()),
        }
    }
}

impl store::HostBucket for View<'_> {
    fn get(&mut self, bucket: Resource<Bucket>, key: String) -> Result<Option<Vec<u8>>, Problem> {
        let name = self.name(&bucket)?;
        Ok(self.buckets.get(&name, &key)?.map(|value| value.to_vec()))
    }

    fn set(
        &mut self,
        bucket: Resource<Bucket>,
        key: String,
        value: Vec<u8>,
    ) -> Result<(), Problem> {
        let name = self.name(&bucket)?;
        self.buckets.set(&name, &key, &value)
    }

    fn delete(&mut self, bucket: Resource<Bucket>, key: String) -> Result<(), Problem> {
        let name = self.name(&bucket)?;
        self.buckets.delete(&name, &key)
    }

    fn exists(&mut self, bucket: Resource<Bucket>, key: String) -> Result<bool, Problem> {
        let name = self.name(&bucket)?;
        Ok(self.buckets.get(&name, &key)?.is_some())
    }

    fn list_keys(
        &mut self,
        bucket: Resource<Bucket>,
        cursor: Option<u64>,
    ) -> Result<store::KeyResponse, Problem> {
        let name = self.name(&bucket)?;
        let (keys, cursor) = self.buckets.keys(&name, cursor.unwrap_or(0))?;
        Ok(store::KeyResponse { keys, cursor })
    }

    fn drop(&mut self, bucket: Resource<Bucket>) -> wasmtime::Result<()> {
        self.table.delete(bucket)?;
        Ok(())
    }
}

impl atomics::Host for View<'_> {
    fn increment(
        &mut self,
        bucket: Resource<Bucket>,
        key: String,
        delta: u64,
    ) -> Result<u64, Problem> {
        let name = self.name(&bucket)?;
        self.buckets.increment(&name, &key, delta)
    }
}

type Pair = (String, Vec<u8>);

impl batch::Host for View<'_> {
    fn get_many(
        &mut self,
        bucket: Resource<Bucket>,
        keys: Vec<String>,
    ) -> Result<Vec<Option<Pair>>, Problem> {
        let name = self.name(&bucket)?;
        let mut pairs = Vec::new();
        let mut bytes = 0;
        for key in keys {
            let value = self.buckets.get(&name, &key)?;
            // A key may be asked for many times.
            bytes += value.as_ref().map_or(0, |value| value.len());
            if bytes > ANSWER_BYTES_MAX {
                let why = format!("the values are more than {ANSWER_BYTES_MAX} bytes together");
                return Err(Problem::Other(why));
            }
            pairs.push(value.map(|value| (key, value.to_vec())));
        }
        Ok(pairs)
    }

    fn set_many(&mut self, bucket: Resource<Bucket>, pairs: Vec<Pair>) -> Result<(), Problem> {
        let name = self.name(&bucket)?;
        pairs.iter().try_for_each(|(key, value)| self.buckets.set(&name, key, value))
    }

    fn delete_many(&mut self, bucket: Resource<Bucket>, keys: Vec<String>) -> Result<(), Problem> {
        let name = self.name(&bucket)?;
        keys.iter().try_for_each(|key| self.buckets.delete(&name, key))
    }
}

/// The buckets of a sandbox in memory: gone with it.
#[derive(Default)]
pub(crate) struct InMemory(Mutex<Held>);

#[derive(Default)]
struct Held {
    buckets: HashMap<String, Pairs>,
    keys: usize,
    bytes: usize,
    /// Keys so far: the place of the next one.
    placed: u64,
}

#[derive(Default)]
struct Pairs {
    by_key: HashMap<Arc<str>, (u64, Arc<[u8]>)>,
    /// The keys as they came: a cursor stays true whatever comes or goes.
    by_place: BTreeMap<u64, Arc<str>>,
}

fn size(key: &str, value: &[u8]) -> usize {
    PAIR_BYTES + key.len() + value.len()
}

impl Held {
    fn get(&self, bucket: &str, key: &str) -> Option<&Arc<[u8]>> {
        let pairs = self.buckets.get(bucket)?;
        pairs.by_key.get(key).map(|(_, value)| value)
    }

    fn set(&mut self, bucket: &str, key: &str, value: &[u8]) -> Result<(), Problem> {
        if key.len() > NAME_BYTES_MAX {
            return Err(Problem::Other(format!("a key has at most {NAME_BYTES_MAX} bytes")));
        }
        let before = self.get(bucket, key).map(|before| size(key, before));
        let bytes = self.bytes - before.unwrap_or(0) + size(key, value);
        let keys = self.keys + usize::from(before.is_none());
        if bytes > BYTES_MAX || keys > KEYS_MAX {
            let why = format!(
                "no room: the buckets of a sandbox hold {BYTES_MAX} bytes and {KEYS_MAX} keys together"
            );
            return Err(Problem::Other(why));
        }
        (self.bytes, self.keys) = (bytes, keys);
        let pairs = match self.buckets.get_mut(bucket) {
            Some(pairs) => pairs,
            None => self.buckets.entry(bucket.to_owned()).or_default(),
        };
        if let Some((_, held)) = pairs.by_key.get_mut(key) {
            *held = value.into();
            return Ok(());
        }
        self.placed += 1;
        let key: Arc<str> = key.into();
        pairs.by_place.insert(self.placed, key.clone());
        pairs.by_key.insert(key, (self.placed, value.into()));
        Ok(())
    }

    fn delete(&mut self, bucket: &str, key: &str) {
        let Some(pairs) = self.buckets.get_mut(bucket) else { return };
        let Some((place, value)) = pairs.by_key.remove(key) else { return };
        pairs.by_place.remove(&place);
        if pairs.by_key.is_empty() {
            self.buckets.remove(bucket);
        }
        self.bytes -= size(key, &value);
        self.keys -= 1;
    }
}

impl Buckets for InMemory {
    fn get(&self, bucket: &str, key: &str) -> Result<Option<Arc<[u8]>>, Problem> {
        Ok(self.0.lock().get(bucket, key).cloned())
    }

    fn set(&self, bucket: &str, key: &str, value: &[u8]) -> Result<(), Problem> {
        self.0.lock().set(bucket, key, value)
    }

    fn delete(&self, bucket: &str, key: &str) -> Result<(), Problem> {
        self.0.lock().delete(bucket, key);
        Ok(())
    }

    fn keys(&self, bucket: &str, from: u64) -> Result<(Vec<String>, Option<u64>), Problem> {
        let held = self.0.lock();
        let Some(pairs) = held.buckets.get(bucket) else { return Ok((Vec::new(), None)) };
        let mut rest = pairs.by_place.range(from..);
        let keys = rest.by_ref().take(PAGE).map(|(_, key)| key.to_string()).collect();
        Ok((keys, rest.next().map(|(place, _)| *place)))
    }

    fn increment(&self, bucket: &str, key: &str, delta: u64) -> Result<u64, Problem> {
        let mut held = self.0.lock();
        let before = match held.get(bucket, key) {
            None => 0,
            Some(value) => {
                let digits = std::str::from_utf8(value).ok();
                let number = digits.and_then(|digits| digits.parse::<u64>().ok());
                number.ok_or_else(|| Problem::Other("the value is not a number".to_owned()))?
            }
        };
        let sum = before.checked_add(delta);
        let sum = sum.ok_or_else(|| Problem::Other("the sum is beyond 64 bits".to_owned()))?;
        held.set(bucket, key, sum.to_string().as_bytes())?;
        Ok(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(result: Result<impl Sized, Problem>) -> String {
        match result {
            Err(Problem::Other(why)) => why,
            _ => panic!("not refused"),
        }
    }

    #[test]
    fn what_would_pass_a_bound_is_refused_and_room_comes_back() {
        let buckets = InMemory::default();
        let half = vec![0; BYTES_MAX / 2 - PAIR_BYTES - 1];
        buckets.set("a", "1", &half).unwrap();
        buckets.set("b", "2", &half).unwrap();
        assert!(refusal(buckets.set("a", "3", b"")).contains("no room"));
        // One that is there may be replaced.
        buckets.set("a", "1", &half).unwrap();
        buckets.delete("a", "1").unwrap();
        buckets.set("a", "3", b"").unwrap();
        assert!(refusal(buckets.set("a", &"k".repeat(NAME_BYTES_MAX + 1), b"")).contains("key"));
    }

    #[test]
    fn keys_are_bounded_in_number() {
        let buckets = InMemory::default();
        for number in 0..KEYS_MAX {
            buckets.set("a", &number.to_string(), b"").unwrap();
        }
        assert!(refusal(buckets.set("b", "one more", b"")).contains("no room"));
    }

    #[test]
    fn a_cursor_stays_true_while_keys_come_and_go() {
        let buckets = InMemory::default();
        for number in 0..PAGE + 2 {
            buckets.set("a", &number.to_string(), b"x").unwrap();
        }
        let (page, cursor) = buckets.keys("a", 0).unwrap();
        assert_eq!(page.len(), PAGE);
        buckets.delete("a", "0").unwrap();
        buckets.delete("a", &PAGE.to_string()).unwrap();
        let (page, cursor) = buckets.keys("a", cursor.unwrap()).unwrap();
        assert_eq!((page, cursor), (vec![(PAGE + 1).to_string()], None));
        assert_eq!(buckets.keys("a", u64::MAX).unwrap(), (vec![], None));
    }

    #[test]
    fn only_numbers_are_incremented() {
        let buckets = InMemory::default();
        assert_eq!(buckets.increment("a", "n", 3).unwrap(), 3);
        assert_eq!(buckets.increment("a", "n", 4).unwrap(), 7);
        assert_eq!(&*buckets.get("a", "n").unwrap().unwrap(), b"7");
        assert!(refusal(buckets.increment("a", "n", u64::MAX)).contains("64 bits"));
        buckets.set("a", "n", b"seven").unwrap();
        assert!(refusal(buckets.increment("a", "n", 1)).contains("not a number"));
    }
}
